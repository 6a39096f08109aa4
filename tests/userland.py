"""Tests of the programs in user/. They speak Linux's system-call convention, so most
of what they do can be tested right here, against programs that do the same.

Each test is given a Test, the folder that became the ramdisk, and the compiler.
"""

import os
import pathlib
import pty
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import termios
import time

import patience
import session

TESTS = pathlib.Path(__file__).resolve().parent
ALL = []


def test(function):
    ALL.append((function.__name__, function))
    return function


def run(t, command, path, folder, stdin=b"", limit=60, **more):
    """Runs a command; returns its status and what it wrote to either output."""
    child = subprocess.Popen([str(word) for word in command], cwd=folder, start_new_session=True,
                             env={"PATH": path, "HOME": "/", "LC_ALL": "C", "TZ": "UTC"},
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, **more)
    out, err, ended = patience.communicate(child, limit, stdin)
    return child.returncode, out.decode("latin1"), \
        err.decode("latin1") + ("" if ended else "(killed)\n")


def playground(t, name="files"):
    """A folder with a few files in it."""
    folder = t.dir / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "d/e").mkdir(parents=True)
    for file in "a.c", "b.c", "c.h", ".hid", "d/x.c", "d/e/y.c":
        (folder / file).write_text("")
    return folder


def compare(t, cases, ours, theirs, stdin=b""):
    """Runs each case twice; outputs and statuses must be the same."""
    different = []
    for case in cases:
        got = run(t, ours(case)[0], ours(case)[1], playground(t), stdin)
        wanted = run(t, theirs(case)[0], theirs(case)[1], playground(t), stdin)
        if got[:2] != wanted[:2]:
            different.append(f"{case}\n  expected {wanted[:2]}\n  got      {got}")
    t.check(not different, "\n".join(different))


# ---- The shell ---------------------------------------------------------------

@test
def shell(t, root, cc):
    """Does what dash does. In shell.txt each line is a script, in which @@ is a newline."""
    cases = (TESTS / "shell.txt").read_text().splitlines()[::1 if cc == "gcc" else 4]
    programs = t.dir / "programs"       # what the scripts start is the host's, but for sh
    programs.mkdir()
    (programs / "sh").symlink_to(root / "bin/sh")
    words = ["x", "a", "b c", "d*"]
    compare(t, [case.replace("@@", "\n") for case in cases],
            lambda case: ([root / "bin/sh", "-c", case, *words], f"{programs}:/usr/bin:/bin"),
            lambda case: (["dash", "-c", case, *words], "/usr/bin:/bin"), b"l1\nl2\n")


TOKENS = """if then else elif fi while until do done for in case esac { } ( ) ;; ; & && || | !
    < > >> 2>&1 <& >&- 3<&0 <> 2> $( $(( )) ` " " ' ' \\ ${ } ${x ${x:- ${x# ${x% ${#x ${x:?
    $x $1 $@ "$@" $* $? $$ $! $# x= x=5 y=$x a b * ?.c [a [!a] [ ] ~ # echo cd read set --
    shift export unset eval . : true false break continue return wait jobs fg help exit exec pwd
    type 1+ 2* 3/0 - %0 99999999999999999999 x=$x$x""".split() + ["\n", "\n", "\0", "\xff", "\\\n"]


@test
def garbage(t, root, cc):
    """No script, however senseless, makes the shell crash."""
    for seed in range(400 if cc == "gcc" else 100):
        r = random.Random(seed)
        if r.random() < 0.3:
            script = "".join(chr(r.randrange(1, 127)) for _ in range(r.randrange(1, 80)))
        else:
            script = "".join(r.choice(TOKENS) + r.choice([" ", " ", ""])
                             for _ in range(r.randrange(1, 30)))
        (t.dir / "script").write_bytes(script.encode("latin1"))
        status, _, errors = run(t, [root / "bin/sh"], "/nonexistent", playground(t),
                                script.encode("latin1"), 5, preexec_fn=limits)
        if "(killed)" not in errors:    # a loop without end is not a crash
            t.check(status >= 0 and "SEGV" not in errors,
                    f"seed {seed}: status {status}\n{script!r}\n{errors}")


def limits():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@test
def typing(t, root, cc):
    """Keys of the line editor: what was typed, and what the command then was."""
    left, right, up, down = "\33[D", "\33[C", "\33[A", "\33[B"
    home, end, delete = "\33[H", "\33[F", "\33[3~"
    typed = [
        ("echo plain\r", "plain"),
        (f"echo ac{left}b\r", "abc"),
        (f"cho x{home}e{end}y\r", "xy"),
        (f"echo a1b{left}\177\r", "ab"),
        (f"echo a1b{left}{left}{delete}\r", "ab"),
        (f"echo abc{left}{left}{right}X\r", "abXc"),
        ("echo abc def\27ghi\r", "abc ghi"),
        ("rubbish\25echo good\r", "good"),
        (f"echo keep drop{left * 4}\13\r", "keep "),
        ("ho end\1ec\5!\r", "end!"),
        (f"{up}\r", "end!"),
        (f"{up}{up}{down}\177?\r", "end?"),
        (f"{up}{up}{up}{up}\r", "good"),
        ("not run\3echo after\r", "after"),
        ("echo 'two\rlines'\r", "two\r\nlines"),
        ("sleep 100\r", None), ("\3", None), ("echo $?\r", "130"),
        ("cat\r", None), ("line\r\4", "line"),
        ("while true; do sleep 1; done\r", None), ("\3", None), ("echo $?\r", "130"),
        ("read x\r", None), ("\3", None), ("echo $?\r", "130"),
        ("sleep 9 & wait; echo no\r", None), ("\3", None), ("echo $?\r", "130"),
        ("x=$(sleep 9)\r", None), ("\3", None), ("echo $?\r", "130"),
        ("echo " + "x" * 200 + "\r", "x" * 200),
        ("exec nosuch\r", ""), ("echo $?\r", "127"),
        ("sh -c 'exit 5'\r", ""), ("\4", None),
    ]
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(t.dir)
        os.execve(root / "bin/sh", ["sh"], {"PATH": str(root / "bin")})
    screen = Screen(fd)
    screen.until_prompt(0)
    for keys, wanted in typed:
        before = len(screen.text)
        os.write(fd, keys.encode())
        if wanted is not None:
            screen.until(f"\n{wanted.strip(' ')}")
            screen.until_prompt(before)
        elif keys.endswith("\r"):
            screen.until_mode(termios.ICANON)       # a command runs
            screen.until_asleep()
        elif keys == "\3":
            screen.interrupted(before)
    waiting, ended, status = patience.Patience(30), 0, 0
    while not ended and not waiting.over():
        screen.read(0.1)
        ended, status = os.waitpid(pid, os.WNOHANG)
    status = os.waitstatus_to_exitcode(status)
    (t.dir / "screen").write_text(screen.text)
    t.check(status == 5, f"^D at the end: status {status}\n{screen.text}")


class Screen:
    def __init__(self, fd):
        self.fd, self.text, self.seen = fd, "", 0

    def read(self, patience):
        if not select.select([self.fd], [], [], patience)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:     # nobody has the other side open any more
            data = b""
        self.text += data.decode("latin1")
        return bool(data)

    def until(self, wanted, start=None):
        """Reads on until something comes that was not there before."""
        start = self.seen if start is None else max(start, self.seen)
        waiting = patience.Patience(30)
        while (at := self.text.find(wanted, start)) < 0:
            if not self.read(0.1) and waiting.over():
                raise AssertionError(f"{wanted!r} did not come after {self.text[start:]!r}")
        self.seen = at + len(wanted)

    def until_asleep(self):
        """Waits until nobody in the terminal's group has done anything for a while. A ^C that
        comes while the shell is still about to start a command may be lost to both."""
        waiting, before = patience.Patience(30), None
        while True:
            group, now = os.tcgetpgrp(self.fd), {}
            for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
                try:
                    words = stat.read_text().rpartition(")")[2].split()
                except OSError:         # it has just ended
                    continue
                if int(words[2]) == group:
                    now[stat] = words[0], words[11], words[12]
            if now == before and all(state == "S" for state, *_ in now.values()):
                return
            before = now
            self.read(0.2)
            if waiting.over():
                raise AssertionError(f"they do not sleep: {now}")

    def until_prompt(self, start):
        self.until("$ ", start)
        self.until_mode(0)

    def interrupted(self, start):
        """A command that has just begun may not own the terminal yet, and then ^C is the
        shell's, which does nothing. So would anybody, we press it again."""
        for attempt in range(4):
            waiting = patience.Patience(5)
            while "$ " not in self.text[max(start, self.seen):] and not waiting.over():
                self.read(0.1)
            if "$ " in self.text[max(start, self.seen):]:
                break
            os.write(self.fd, b"\3")
        self.until_prompt(start)

    def until_mode(self, mode):
        """The shell reads single keys; while a command runs the terminal is canonical."""
        waiting = patience.Patience(30)
        while termios.tcgetattr(self.fd)[3] & termios.ICANON != mode:
            if not self.read(0.01) and waiting.over():
                raise AssertionError(f"mode {mode} did not come after {self.text[-200:]!r}")


# ---- The others --------------------------------------------------------------

TOOLS = r"""
cat a.c nothing; echo x >f; cat f - f </dev/null; cat f f | cat
cat d
cat </etc/passwd >/dev/full
echo; echo -n a b; echo c  d; env echo x y
ls; ls -a; ls -1 d; ls d a.c; ls -d d *.c; ls nothing >/dev/null || echo fails
mkdir n n/m n/m/o; ls n; mkdir n; mkdir /no/where
mkdir -p p/q/r p/q; ls p/q; mkdir -p a.c/x
rmdir d/e; rmdir d; rm d/*; rmdir d d; ls
cp -r d copy; ls copy copy/e; cp a.c copy; ls copy; cp a.c b.c copy/e; ls copy/e
echo text >f; cp f g; cat g; cp g f; cp f f; cp nothing x; cp d x; cp a.c b.c f; cat f
mv a.c z.c; mv z.c d; ls d; mv b.c c.h d; ls . d; mv nothing x; mv d q; ls q
rm a.c nothing; rm d; rm -f nothing; rm -r d; ls; rm -rf d; rm .; rm -r ..; echo end
ln -s a.c link; ln -s nowhere dead; rm link; cp -r dead d; rm dead; ls -a d; ls a.c
touch new a.c; ls; touch no/where
wc -l /etc/passwd; wc -c </etc/passwd; wc -w /etc/passwd; printf 'no newline' | wc -l
head -3 /etc/passwd; head -n 1 /etc/passwd; head -1 nothing; yes | head -2
grep root /etc/passwd; grep -n '^[a-d].*sh$' /etc/passwd; grep -c nologin /etc/passwd
grep -v nologin /etc/passwd; grep -i ROOT /etc/passwd; grep -q zzz /etc/passwd; echo $?
grep 'b[^a]*n' /etc/passwd /etc/group; grep '\.' /etc/hosts; grep 'o*:x' /etc/passwd
grep x nothing; echo $?; echo 'a]b' | grep '[]]'; echo abc | grep -v b; echo $?
date +%Y-%m-%d,%H:%M; date | wc -w; uname; uname -s -m; uname -n -r
pwd; cd d; env pwd; env | grep PATH | wc -l; env X=1 sh -c 'echo $X'; env nothing 2>/dev/null
sleep 0; sleep .01; sleep 0.01 0.01; sleep; sleep x
sleep 50 & kill $!; wait $!; echo $?; sleep 50 & kill -9 $!; wait $!; echo $?; kill -0 $$
sleep 50 & env kill -s 2>/dev/null; env kill -TERM $!; wait $!; echo $?; env kill 99999999
env test; echo $?; env test ''; echo $?; env test x; echo $?; env test ! x; echo $?
env test a = a; echo $?; env test a != a; echo $?; env test -5 -lt 3; echo $?
env test x -lt 3; echo $?; env test 3 -ge 3; echo $?; env test -z ''; echo $?
env test -n a -a -d d; echo $?; env test ! -f a.c -o 1 -gt 2; echo $?; env test !; echo $?
env test '(' a = b ')'; echo $?; env [ a = a ]; echo $?; env [ a = a; echo $?
env test -e nothing; echo $?; env test -s a.c; echo $?; env test -x d -a -r a.c; echo $?
env test ! = !; echo $?; env test = = =; echo $?; env test -f; echo $?; env test a b; echo $?
env true; echo $?; env false; echo $?
""".strip().splitlines()


@test
def tools(t, root, cc):
    """The same commands, with our programs and with those of the host."""
    compare(t, TOOLS, lambda case: (["/bin/sh", "-c", case], f"{root}/bin:/usr/bin:/bin"),
            lambda case: (["/bin/sh", "-c", case], "/usr/bin:/bin"))


@test
def calendar(t, root, cc):
    """Dates of files, over four centuries, as Python computes them."""
    folder = playground(t)
    for seconds in [0, 951782400, 951868799, 4107542399, 4107542400, *range(1, 14 << 30, 98765432)]:
        os.utime(folder / "a.c", (seconds, seconds))
        _, out, _ = run(t, [root / "bin/ls", "-l", "a.c"], "", folder)
        t.check(time.strftime(" %Y-%m-%d %H:%M a.c\n", time.gmtime(seconds)) in out,
                f"{seconds}: {out}")


def plain(text):
    """What a script wrote, without what differs from one machine to the next."""
    text = re.sub(r"^(user: |sh: process \d+ was ended).*\n", "", text, flags=re.M)
    return re.sub(r" +", " ", re.sub(r"^ +| +$", "", text, flags=re.M))


@test
def scripts(t, root, cc):
    """The scripts in /test: our shell and programs write what dash and the host's do."""
    folder, programs = playground(t), t.dir / "programs"
    programs.mkdir()
    (programs / "sh").symlink_to(shutil.which("dash"))
    for name in "crash", "spin":
        (programs / name).symlink_to(root / "bin" / name)
    for name in sorted(path.name for path in (root / "test").iterdir()):
        script = root / "test" / name
        _, wanted, _ = run(t, ["dash", script], f"{programs}:/usr/bin:/bin", folder, limit=300)
        _, got, errors = run(t, [root / "bin/sh", script], f"{root}/bin", folder, limit=300)
        t.same_text(f"{name}\n{plain(wanted)}", f"{name}\n{plain(got)}")


@test
def rustica(t, root, cc):
    """The same programs run the same scripts on Rustica, and the same is written."""
    _, wanted, _ = run(t, [root / "bin/sh", "-c", 'exec 2>&1; sh "$1"', "sh",
                           root / "test/everything"], f"{root}/bin", playground(t), limit=300)
    (t.dir / "input").write_text("cd /tmp; sh /test/everything\n")
    text = t.boot(CC=cc, stdin=t.dir / "input")
    got = text[text.index("== "):]
    end = got.rindex("== status")
    t.same_text(plain(wanted), plain(got[:got.index("\n", end) + 1]))


@test
def edges(t, root, cc):
    """Corner cases of system calls: Linux is the oracle."""
    _, wanted, _ = run(t, [root / "bin/edges"], "", playground(t))
    (t.dir / "input").write_text("cd /tmp; edges\n")
    text = t.boot(CC=cc, stdin=t.dir / "input")
    t.same_text(wanted, text[text.index("a sleeper beside"):])


@test
def family(t, root, cc):
    """Processes, signals, their frames: Linux is the oracle."""
    _, wanted, _ = run(t, [root / "bin/family"], "", playground(t))
    (t.dir / "input").write_text("cd /tmp; family </dev/null\n")
    text = t.boot(CC=cc, stdin=t.dir / "input")
    t.same_text(wanted, re.sub("^user: .*\n", "", text[text.index("nobody: "):], flags=re.M))


@test
def threads(t, root, cc):
    """Races, locks and a dinner: Linux is the oracle, each of several times."""
    _, wanted, _ = run(t, [root / "bin/threads"], "", playground(t))
    (t.dir / "input").write_text("for i in 1 2 3 4 5; do threads; done; echo the end\n")
    text = t.boot(CC=cc, OPT="audit", stdin=t.dir / "input")
    t.check("with a mutex: 2000" in wanted and wanted.count("\n") == 6, wanted)
    t.same_text(5 * wanted, text[text.index("without care"):text.index("the end")])


@test
def files(t, root, cc):
    """Files, pipes, and who has to wait for them: Linux is the oracle, except that on a busy
    host it may not give everybody his turn, and on some disks does not note who reads."""
    _, wanted, _ = run(t, [root / "bin/files"], "", playground(t), limit=60)
    wanted = re.sub(r"(get their turns:).*", r"\1 1, 1, 1", wanted)
    wanted = re.sub(r"(to read(?: nothing)?): ,", r"\1: a,", wanted)
    (t.dir / "input").write_text("cd /tmp; files\n")
    text = t.boot(CC=cc, stdin=t.dir / "input")
    t.same_text(wanted, text[text.index("written, read"):])


@test
def terminal(t, root, cc):
    """The same keys, at a terminal of Linux and at ours: keys that are none, bytes that come
    together or alone, lines that are too long."""
    typed = [("line", "abc\r"), ("three", "a\0\3"), ("slow", "hi"), ("long", "x" * 5000 + "\r")]
    answers = []
    for command, start in (([str(root / "bin/files"), "terminal"], None),
                           (["make", "run", "O=2", f"CC={cc}", f"LOG={t.dir}/debug.log"],
                            "files terminal\r")):
        screen = session.Terminal(command, 120)
        try:
            if start:
                screen.expect(session.PROMPT)
                screen.type(start)
            for wait, keys in typed:
                screen.expect(re.escape(f"[{wait}]"))
                screen.type(keys)
            screen.expect(r"and that is all\n")
        finally:
            screen.close()
        answers.append(screen.text[screen.text.index("answers:"):screen.seen])
    t.same_text(*answers)


@test
def fed(t, root, cc):
    """Of what comes from a file nothing is lost: not of long lines, nor keys that would edit."""
    (t.dir / "input").write_bytes(b"wc -c\n" + b"x" * 10000 + b"\b\25\27\177\n\4echo end\n")
    t.expect(r"^ *10005\nend$", t.boot(CC=cc, stdin=t.dir / "input"))


WATCHED = r"""
strace cat /etc/motd
[1] execve("/bin/cat", ADDRESS, ADDRESS) = 0
[1] open("/etc/motd", O_RDONLY, 0000) = 3
[1] read(3, "This is Rustica. help lists what"..., 65536) = 72
This is Rustica. help lists what the shell knows, ls /bin the programs.
[1] write(1, "This is Rustica. help lists what"..., 72) = 72
[1] read(3, "", 65536) = 0
[1] close(3) = 0
[1] exit(0)
strace mkdir /etc/motd 2>/dev/null
[1] execve("/bin/mkdir", ADDRESS, ADDRESS) = 0
[1] mkdir("/etc/motd", 0777) = -17 EEXIST
[1] write(2, "mkdir: /etc/motd: File exists\n", 30) = 30
[1] exit(1)
echo 'echo x >>f; hello | wc -c' >s; strace sh s
[1] execve("/bin/sh", ADDRESS, ADDRESS) = 0
[1] open("f", O_WRONLY|O_CREAT|O_APPEND, 0666) = 3
[1] pipe(ADDRESS) = 0
[1] fork() = 2
[1] fork() = 3
[2] dup2(4, 1) = 1
[2] execve("/bin/hello", ADDRESS, ADDRESS) = 0
[2] write(1, "Hello from userspace!\n", 22) = 22
[2] exit(0)
[3] dup2(3, 0) = 0
[3] execve("/bin/wc", ADDRESS, ADDRESS) = 0
[3] read(0, "Hello from userspace!\n", 16384) = 22
[3] write(1, "22\n", 3) = 3
[3] exit(0)
[1] wait4(2, ADDRESS, 0, 0) = 2
[1] wait4(3, ADDRESS, 0, 0) = 3
[1] exit(0)
strace signals >/dev/null
[1] execve("/bin/signals", ADDRESS, ADDRESS) = 0
[1] rt_sigsuspend(ADDRESS, 8) = -4 EINTR
[1] rt_sigaction(SIGSEGV, ADDRESS, 0, 8) = 0
[1] mmap(ADDRESS, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0) = ADDRESS
[1] kill(1, SIGTERM) = 0
""".strip().splitlines()


def calls_of(text, command):
    """The lines of a command, behind its echo: processes count from 1, addresses are alike."""
    text = text.split(f"> {command}\n", 1)[1].split("\n> ", 1)[0]
    found = dict.fromkeys(re.findall(r"\[(\d+)\]", text))
    numbers = {pid: str(n) for n, pid in enumerate(found, 1)}
    lines = re.sub("0x[0-9a-f]{6,}", "ADDRESS", text).splitlines()
    return [re.sub(r"\d+", lambda m: numbers.get(m[0], m[0]), line)
            if re.match(r"\[\d+\] (fork|wait4|kill)", line)
            else re.sub(r"^\[(\d+)\]", lambda m: f"[{numbers[m[1]]}]", line) for line in lines]


@test
def strace(t, root, cc):
    """What a program asks of the kernel is shown, with its children's, in order and in words;
    and nobody else's, neither before it nor behind it."""
    commands = [line for line in WATCHED if not line.startswith("[") and " " in line
                and re.match("strace|echo", line)]
    (t.dir / "input").write_text("cd /tmp; hello\n" + "".join(
        f"echo '> {command.replace(chr(39), '')}'\n{command}\n" for command in commands) +
        "echo '> end'; hello\n")
    text = t.boot(CC=cc, stdin=t.dir / "input")
    before, _, rest = text.partition("> ")
    t.check("[" not in before and "[" not in text.split("> end\n")[1], text)
    wanted, command = {}, None
    for line in WATCHED:
        if line in commands:
            command = wanted.setdefault(line, [])
        else:
            command.append(line)
    for command, lines in wanted.items():
        got = calls_of(text, command.replace("'", ""))
        for process in sorted({line[:3] for line in lines}):
            mine = iter([line for line in got if line.startswith(process)])
            for line in (line for line in lines if line.startswith(process)):
                t.check(line in mine, f"{command}: missing, or not in its place:\n{line}\n"
                                      "got\n" + "\n".join(got))
