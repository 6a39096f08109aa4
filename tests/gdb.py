"""Tests of the debugger: the sessions in the book are what happens, and what our commands
show is what the kernel says, or a sentence, whatever is in memory.

(There is a module called gdb inside of GDB; this is another one.)
"""

import functools
import os
import pathlib
import re
import shutil
import signal
import socket
import time

import session
from patience import Patience

ROOT = pathlib.Path(__file__).resolve().parent.parent
SESSIONS = ROOT / "book" / "gdb"
LIMIT = 120
LONG = float(os.environ.get("RUSTICA_LONG", "1"))
ALL = []


def test(function):
    ALL.append((function.__name__.replace("_", "-"), function))
    return function


def play(t, ch, path, **variables):
    """Plays a session; returns what there is to see, without the messages of make."""
    words = [f"{k}={v}" for k, v in {**variables, "CH": ch}.items() if v]
    t.make("gdb-machine", **variables, CH=ch)
    status, text = t.run("make", "gdb", *words, f"PLAY={path}")
    t.check(status == 0, f"make gdb: status {status}\n{text}")
    return "".join(line.expandtabs().rstrip() + "\n" for line in text.strip().splitlines())


def tell(t, ch, commands, **variables):
    """Plays some lines; returns [(command, what came of it)]."""
    path = t.dir / f"commands-{ch}"
    path.write_text(commands)
    text = play(t, ch, path.relative_to(ROOT), **variables)
    return re.findall(r"^\(gdb\) (.*)\n((?:(?!\(gdb\) |# ).*\n)*)", text, re.M)


# ---- Sessions --------------------------------------------------------------------

def transcript(t, ch):
    return play(t, ch, f"book/gdb/ch{ch:02}.gdb")


def replay(filtered, ch, t):
    """A session shows what the book shows, apart from addresses and line numbers."""
    golden = SESSIONS / f"ch{ch:02}.txt"
    text = transcript(t, ch)
    if golden.exists() and filtered(golden.read_text()) != filtered(text):
        text = transcript(t, ch)    # beside much other work QEMU has missed a breakpoint, once
    t.check(golden.exists(), f"{golden} is missing; after a look at this, `make golden`:\n{text}")
    t.same_text(filtered(golden.read_text()), filtered(text))
    for bad in "No symbol", "Cannot access", "not defined", "WRONG", "Python", "Sorry":
        t.check(ch == 4 or bad not in text, f"a session should not meet this: {bad}\n{text}")


def another_machine(filtered, t):
    """Without its new protections, and with less memory, chapter 7 looks the same."""
    text = play(t, 7, "book/gdb/ch07.gdb", CPU="qemu64", MEM="96M")
    t.expect("^user: protections on: NX WP$", text)
    golden = (SESSIONS / "ch07.txt").read_text()
    golden, text = (re.sub("user: protections.*", "", each) for each in (golden, text))
    t.same_text(filtered(golden), filtered(text))


@test
def tcc(t):
    """Of tcc's kernel GDB knows the functions, the variables and what types they have."""
    said = tell(t, 7, "break user_enter\ncontinue\nrustica as\nprint user.call[1]\nstepi\n"
                      "tbreak sys_write\ncontinue\nbacktrace\n", CC="tcc")
    text = "".join(answer for _, answer in said)
    t.expect(r"in user_enter \(\)$", text)
    t.expect(r"^=> 0x\w+ <user_enter>:", text)
    t.expect(r"^  0x\w+400000 to 0x\w+ r-- VMO", text)
    t.expect(r"<sys_write>$", text)
    t.expect(r"^#1 .* in user_syscall \(\)\n#2 .* in syscall_entry \(\)$", text)


@test
def across_traps(t):
    """A backtrace goes on beyond a trap or a system call: to the function that crashed, to
    what was interrupted, to the program, as far as its symbols are known."""
    for level in "0", "2":
        said = tell(t, 1, "tbreak trap_report\ncontinue\nbacktrace\n",
                    OPT="provoke=canonical", O=level)
        t.expect(r"^#1 .* trap_dispatch \(.*\n#2 .* trap_entry \(\)\n#3 .*provoke_canonical \(.*"
                 r" at rustica\.c:\d+\n(.*\n)*.* boot_start \(", said[-1][1])
    said = tell(t, 8, "tbreak user_enter\ncontinue\ntbreak sys_transfer\ncontinue\nbacktrace\n"
                      "rustica user hello\ntbreak sys_page_fault if f->cs == 8\ncontinue\n"
                      "backtrace\nup 11\nprint $cs & 3\nprint size\n")
    t.expect(r"^#4 .* sys_entry \(\)\n#5  0x0+40\w+ in \?\? \(\)$", said[4][1])
    t.expect(r"trap_dispatch \(.*\n#2 .* trap_entry \(\)\n#3 .* sys_copy_words \(.*\n#4 .*"
             r" sys_copy_smap \(.*\n#5 .* sys_copy_in \(.*\n(.*\n)*#11 .* sys_entry \(\)\n#12 .*"
             r" syscall3 \(number=1, .*\n#13 .* write \(.*\n#14 .* main \(\) at hello", said[8][1])
    said = tell(t, 14, "tbreak trap_report\nbreak sched_begin\ncontinue\nbacktrace\n")
    t.expect(r"^#0 .*sched_begin \(.*\n#1 .* thread_begin \(\)\n#2  0x0+40\w+ in ", said[-1][1])


@test
def another_kernel(t):
    """O= debugs what it says, also if the usual kernel has been debugged before."""
    for level, wanted in ("", "-O0"), ("2", "-O2"), ("", "-O0"):
        said = tell(t, 1, "info source\n", O=level)
        producer = t.expect("^Producer is (.*)", said[-1][1])[1]
        t.check(re.findall(r" (-O\d)", producer) == [wanted], producer)


STEPS = "continue\nc\nstep\nnext\nstepi\nnexti\nfinish\nuntil\nadvance boot_start\n"


@test
def after_the_end(t):
    """A machine that has panicked, met a triple fault or is off can be examined, `delete` or
    not; what would make it go on says a sentence instead, and `run` starts it again."""
    def end(sentence, commands, **variables):
        said = tell(t, 1, commands + STEPS + "print boot.panics\nbacktrace\nrun\nbacktrace 1\n",
                    **variables)
        reached = [command for command, _ in said].index("continue")
        t.expect(f"^{sentence} Its memory can still be looked at;", said[reached][1])
        for command, answer in said[reached + 1:-4]:
            t.expect(f"^{sentence} Its memory can still be looked at;[^\n]*\n\\Z", answer)
        t.expect(r"^#0  ch01_main \(", said[-1][1])
        return said[-4][1] + said[-3][1]

    for first in "", "delete\n":
        text = end("The kernel has given up.", first, OPT="provoke=assert")
        t.expect(r"^\$\d+ = 1\n#0  boot_exit \(status=1\)(.*\n)*#\d+ .* provoke_assert \(\)", text)
    end("The machine is off.", "delete\nc\nnext\nstep\n")
    end("A triple fault: .*, and gave up.", "delete\ntbreak cpu_int3\nc\npython gdb.selected_"
        "inferior().write_memory(int(gdb.parse_and_eval('&cpu.idt')), bytes(4096))\n")


# ---- Commands --------------------------------------------------------------------

@test
def as_the_kernel_says(t):
    """What our commands show is what the kernel prints."""
    end = "tbreak boot_exit\ncontinue\n"
    said = tell(t, 2, end + "rustica zones\n")
    console, shown = said[-2][1], said[-1][1]
    for line in console[console.index("zones: the boundary"):].splitlines():
        if line.startswith(("zones: ", "  KERNEL", "  USER")):
            t.expect("^" + re.escape(line) + "$", shown)
    said = tell(t, 3, end + "rustica pmm\nrustica pmm ch03_main::trial.pmm\n")
    console = said[-3][1]
    for line in re.findall(r"^pmm: +\d+ frames \w+$", console, re.M):
        t.expect("^" + line + "$", said[-2][1])
    t.expect("^pmm: table, counters and bitmap agree$", said[-2][1])
    t.check(t.expect("what they left: (.*)$", console)[1] ==
            "".join(re.findall(r"\|(\S*) *\|", said[-1][1])), str(said[-2:]))
    said = tell(t, 4, "break heap_show_use if $_streq(when, \"busy:\")\ncontinue\n"
                      "rustica heap\nfinish\n")
    use = t.expect(r"busy: +(\d+) blocks, +(.*) in use, +(\d+) frames", said[-1][1])
    t.expect(f"^heap: {use[1]} blocks, {use[2]} in use, {use[3]} frames held$", said[-2][1])
    t.expect(r"^heap: sound, \d+ blocks in \d+ regions$", said[-2][1])
    said = tell(t, 5, "tbreak vmo_slice\ncontinue\nrustica vmo\n")
    frames = set(re.findall(r"-> frame (0x\w+)", said[-1][1]))
    t.check(len(frames) == int(re.findall(r"(\d+) frames in all", said[-2][1])[-1]), str(said))
    said = tell(t, 6, "tbreak elf_unload\ncontinue\nrustica elf image\n")
    for line in re.findall(r"^elf: +0x.*$", said[-2][1], re.M):
        t.expect("^" + re.escape(line) + "$", said[-1][1])


# What somebody has: the heap's frames count by what is in them.
USED = ("pmm.states[FRAME_USED] - heap.frames - as.spare.tables - as.spare.spaces"
        " - stacks.tables, heap.blocks - as.spare.spaces,"
        " heap.bytes - as.spare.spaces * sizeof(struct as)")

STARVE = """tbreak tty_read
continue
set $n = -1
set $begins = 0
break sys_ioctl if f->rsi == 0x5403 && $_streq(process_current()->name, "sh")
commands
silent
if *(int *)(f->rdx + 12) & 2
if $begins
set $begins = 0
set $n = $n + 1
set var {part}.fail_in = $n
end
continue
end
if !{part}.fail_in
if $n == 0
printf "%lu frames, %lu blocks, %lu bytes\\n", {used}
end
set $begins = 1
rustica type {line}
continue
end
end
rustica type {line}
set $begins = 1
continue
printf "%lu frames, %lu blocks, %lu bytes\\n", {used}
rustica pmm
rustica heap
print $n
"""


def starve(part, t):
    """The n-th allocation of a command fails, for every n: somebody says so, the shell goes
    on, and nothing is missing. (When the shell begins with what was typed, and when a command
    of it has ended, it makes its terminal canonical; for a next line, it is not.)"""
    said = tell(t, "", STARVE.format(part=part, used=USED,
                                    line="echo x | cat >/tmp/f; cat /tmp/f; rm /tmp/f"))
    console = said[-5][1] + said[-4][1]
    used = re.findall(r"^\d+ frames, \d+ blocks, \d+ bytes$", console, re.M)
    t.check(len(used) == 2 and used[0] == used[1], f"used: {used}\n{console}")
    t.expect("^pmm: table, counters and bitmap agree$", said[-3][1])
    t.expect(r"^heap: sound, \d+ blocks in \d+ regions?$", said[-2][1])
    tries = int(t.expect(r"^\$\d+ = (\d+)$", said[-1][1])[1])
    t.proof("tries", tries)
    complaints = len(re.findall("annot allocate|unavailable|no memory left", console))
    t.check(tries > 20 and tries - 10 < complaints <= tries,
            f"{complaints} complaints from {tries} tries\n{console}")


for part in "pmm", "heap":
    ALL.append((f"every-allocation-{part}", functools.partial(starve, part)))


# What there is of everything that can leak. Each line is typed once before it is counted:
# shell and heap grow once.
TYPES = ["vmo", "console", "process", "node", "terminal", "file", "pipe_reader", "pipe_writer"]
COUNTED = ", ".join([USED, "sched.threads", *(f"{name}_type.live" for name in TYPES)])
SPAWNS = ("i=0; while [ $i -lt {count} ]; do case $((i%10)) in 0) crash kernel;; "
          "1) sleep 99 & kill -9 $!; wait $!;; 2) hello | wc -c;; *) env true;; esac; "
          "i=$((i+1)); done; uname")


@test
def spawns(t):
    """Programs come and go, are killed, crash: every counter is what it was. (uname is where
    GDB looks; the process that runs it is there each time.)"""
    count = min(round(2000 * LONG), 100000)
    formats = ", ".join(["%lu"] * (COUNTED.count(",") + 1))
    look = f'printf "counted {formats}\\n", {COUNTED}\nprint sched.last_pid\n'
    typed = "".join(f"rustica type {SPAWNS.format(count=n)}\n" for n in (20, count))
    said = tell(t, "", f"tbreak tty_read\ncontinue\nbreak sys_uname\n{typed}continue\n{look}"
                       f"continue\n{look}")
    text = "".join(answer for _, answer in said)
    first, last = re.findall(r"^counted (.*)$", text, re.M)
    pids = [int(n) for n in re.findall(r"^\$\d+ = (\d+)$", text, re.M)]
    t.proof("spawns", pids[1] - pids[0] - 1)
    t.proof("differences", sum(a != b for a, b in zip(first.split(","), last.split(","))))
    t.check(first == last, f"the counters were\n{first}\nand are, after {count} programs,\n{last}")


SCREEN = """tbreak tty_read
continue
tbreak sys_execve
python
def keys():
    while b"running" not in machine.ask("info status"):
        time.sleep(0.1)                 # a machine that stands still has no keyboard
    for key in "l", "s", "ret":
        machine.ask("sendkey " + key)
threading.Thread(target=keys, daemon=True).start()
end
continue
tbreak tty_read
continue
python
def rows():
    screen = gdb.parse_and_eval("screen")
    width, height = int(screen["columns"]), int(screen["rows"])
    cells = bytes(gdb.selected_inferior().read_memory(int(screen["cell"].address),
                                                      2 * width * height))
    for y in range(height):
        print("|" + cells[2 * width * y:2 * width * (y + 1):2].decode("ascii").rstrip() + "|")
end
python rows()
python
for c in {text!r}:
    gdb.parse_and_eval("screen_put(%d)" % ord(c))
gdb.parse_and_eval("screen_flush()")
end
python rows()
monitor screendump {picture}
"""
SENT = ("\033[2J\033[Hone\033(B\033[1;31mtwo\033[m\033]0;title\007three\r\n"
        "\033[5;11Hfive\033[>4;2mX\033[?25l\0337\033[H\033M\0338!")
SHOWN = ["", "onetwothree", "", "", " " * 15 + "!", " " * 10 + "fiveX", ""]


def colours(picture, x, y, count=1):
    """Those of `count` cells from column x of row y on, in a PPM file."""
    _, size, _, pixels = picture.split(b"\n", 3)
    width = int(size.split()[0])
    return {pixels[at:at + 3] for line in range(16 * y, 16 * y + 16)
            for at in range(3 * (width * line + 8 * x), 3 * (width * line + 8 * (x + count)), 3)}


@test
def screen_and_keyboard(t):
    """What is typed at the keyboard is done; the screen shows it, and does what it is told."""
    path = t.dir / "screen.ppm"
    said = tell(t, "", SCREEN.format(text=SENT, picture=path), QFLAGS="-vga std")
    before, after = (re.findall(r"^\|(.*)\|$", said[i][1], re.M) for i in (-4, -2))
    prompt = max((i for i, row in enumerate(before) if row.startswith("$ ls")), default=None)
    t.check(prompt is not None and "bin" in before[prompt + 1].split(), "\n".join(before))
    t.check(after[:7] == SHOWN, "\n".join(after[:7]))
    picture = path.read_bytes()
    ground = colours(picture, 60, 30)
    one, two = colours(picture, 0, 1, 3) - ground, colours(picture, 3, 1, 3) - ground
    t.check(len(ground) == len(one) == len(two) == 1 and one != two, f"{ground} {one} {two}")
    red, green, blue = two.pop()
    t.check(red > 2 * max(green, blue), f"red is {red} {green} {blue}")
    t.check(colours(picture, 11, 1, 40) == ground, "there is something behind the text")


KERNEL_COMMANDS = ["zones", "pmm", "pmm kernel", "pmm 0x1000000", "heap", "heap all", "vmo",
                   "elf hello", "as", "walk $rip", "walk 0", "walk 0x7fffffffe000", "trap",
                   "syscalls", "handles", "handles 1", "ps", "timers", "files", "futexes", "user"]
STRUCTURES = ["zones", "pmm", "heap", "vmo", "as", "user", "sched", "vfs", "tty", "cpu", "boot"]
GARBAGE = """python
import random
chance = random.Random({seed})
def spoil(address, size):
    for at in range(address, address + size, 4096):
        bytes = chance.choice([chance.randbytes(4096), b"\\xff" * 4096, b"\\0" * 4096,
                               bytes_of({pointers}) * 512])
        gdb.selected_inferior().write_memory(at, bytes[:min(4096, address + size - at)])
def bytes_of(numbers):
    return chance.choice(numbers).to_bytes(8, "little")
for name in {names}:
    value = gdb.parse_and_eval(name)
    spoil(int(value.address), value.type.sizeof)
end
"""


def show_all():
    return "".join(f"rustica {command}\nhelp rustica {command.split()[0]}\n"
                   for command in KERNEL_COMMANDS) + "print zones\nprint pmm\nprint heap\n" \
        "print cpu.idt\nprint *(struct vmo *)0x10\nprint *(struct frame *)&pmm\n" \
        "print *(struct block *)&heap\nprint *(struct mapping *)&as\n"


@test
def garbage(t):
    """Each command ends, with something or with a sentence, whatever is in memory."""
    text = "tbreak proc_fork\ncontinue\n" + show_all() + "rustica elf *(struct elf_image *)&heap\n"
    for seed in range(12):
        # Single structures first, so that the commands that need several get far.
        names = [STRUCTURES[seed]] if seed < len(STRUCTURES) else STRUCTURES
        text += GARBAGE.format(seed=seed, names=names, pointers="[0xffff800000000000 + 0x42000, "
                               "0xffffffff80000000, 1 << 47, 0xffff800000042040]") + show_all()
    text += "python spoil(0xffff800000042000, 0x10000)\n" + show_all()     # the heap
    text += "python spoil(0xffff800000000000 + (register('cr3') & -4096), 2048)\n" + show_all()
    text += "print 6 * 7\n"
    said = tell(t, 14, text)
    t.check(said[-1][1].endswith(" = 42\n"), f"GDB did not get to the end:\n{said[-1]}")
    for command, answer in said:
        t.check("Traceback" not in answer and "Python Exception" not in answer and
                "internal-error" not in answer, f"{command}\n{answer}")
        t.check(answer.strip() or command.startswith(("python", "tbreak")), f"{command}: no answer")
        if command.startswith("help"):
            t.expect("^Usage: rustica ", answer)


@test
def too_early(t):
    """Before the machine's first instruction, and without a machine, there are sentences."""
    text = "python machine.connect()\n" + show_all() + "disconnect\n" + show_all() + \
        "print 6 * 7\n"
    said = tell(t, 14, text)
    t.check(said[-1][1].endswith(" = 42\n"), f"GDB did not get to the end:\n{said[-1]}")
    for command, answer in said:
        t.check("Traceback" not in answer and "Python Exception" not in answer and
                (answer.strip() or not command.startswith("rustica")), f"{command}\n{answer}")


def unprepared(ch, t):
    """At the first line of a chapter nothing of it is there: each command says a sentence, or
    what there is, with any words."""
    words = ["", " 0", " 1", " $rip", " &boot", " boot", " nosuch", " *(char *)8", " 1 +", " '",
             " -1", " kernel", " all", " hello", " etc/motd", " 0xffff800000000000"]
    text = "".join(f"rustica {command}{word}\n" for command in
                   dict.fromkeys(c.split()[0] for c in KERNEL_COMMANDS) for word in words)
    said = tell(t, ch, text + "rustica hint\nrustica session nosuch\nprint 6 * 7\n")
    t.check(said[-1][1].endswith(" = 42\n"), f"GDB did not get to the end:\n{said[-1]}")
    for command, answer in said:
        t.check("Traceback" not in answer and "Python Exception" not in answer and
                answer.strip(), f"{command}\n{answer}")
    for command in "rustica trap", "rustica hint":
        t.check(dict(said)[command].count("\n") == 1, f"{command}\n{dict(said)[command]}")


for chapter in range(1, 15):
    ALL.append((f"unprepared-ch{chapter:02}", functools.partial(unprepared, chapter)))


@test
def unknown_commands(t):
    """What is no command of ours gets one line, with names that are like it."""
    said = dict(tell(t, 1, "rustica hep\nrustica xyzzy\nrustica trap &boot_start\nrustica\n"))
    t.check(said["rustica hep"].count("\n") == said["rustica xyzzy"].count("\n") == 1, str(said))
    t.expect("did you mean heap", said["rustica hep"])
    t.expect("^There is no `rustica xyzzy`", said["rustica xyzzy"])
    t.expect("^trap: WRONG: no trap has made this", said["rustica trap &boot_start"])
    t.expect("^rustica trap --", said["rustica"])


@test
def log(t):
    """`rustica log` is what the kernel has said up to now, though nobody has listened."""
    said = tell(t, 1, "rustica log\ntbreak boot_exit\ncontinue\nrustica log 100\nrustica log 2\n"
                      "rustica log nosuch\n")
    t.expect("^The kernel has not said anything yet", said[0][1])
    console = said[2][1][said[2][1].index("Rustica\n"):].split("\n\nTemporary")[0].rstrip()
    t.same_text(console + "\n", said[3][1])
    t.same_text("\n".join(console.splitlines()[-2:]) + "\n", said[4][1])
    t.expect('^No symbol "nosuch"', said[5][1])


@test
def typing(t):
    """What is typed is done, and somebody takes what comes back. To a kernel that does not
    read, one would type in vain, and is told."""
    said = tell(t, 5, "rustica type x\nstart\n")
    t.expect("^This kernel does not read what is typed", said[0][1])
    t.expect(r"^Temporary breakpoint \d+, ch05_main", said[1][1])
    said = tell(t, "", "tbreak tty_read\ncontinue\nrustica type ls -l /bin; ls -l /bin; poweroff\n"
                       "continue\nprint boot.serial_stuck\n")
    t.check(said[-2][1].count("poweroff") > 2, said[-2][1])
    t.expect(r"^\$\d+ = false$", said[-1][1])


@test
def firmware(t):
    """`rustica efi` finds the prologue, its lines and variables, and later the kernel's; and
    the same once more."""
    for cold in "", "1":
        said = tell(t, 1, "rustica efi\nrustica efi\nwhile !efi.system\nnext\nend\n"
                          "print efi.system == system\nfinish\n"
                          "break boot_show_trap\ncontinue\n", COLD=cold)
        text = "".join(answer for _, answer in said)
        for _, answer in said[:2]:
            t.expect(r"efi_main \(image=0x\w+, system=0x\w+\) at efi_main\.c:\d+$", answer)
        t.expect(r"^\$1 = 1$", text)
        t.expect(r"^#0  boot_start \(info=0x\w+\) at rustica\.c:\d+$", text)
        t.expect(r"boot_show_trap \(f=0x\w+\) at rustica\.c:\d+$", said[-1][1])


# ---- Backwards -------------------------------------------------------------------

BACK = r"""reverse-stepi
info registers rip
stepi
info registers rip
tbreak vmo_clone
continue
reverse-next
reverse-next
reverse-step
reverse-step
break vmo_put
continue
reverse-finish
continue
reverse-continue
continue
up
watch -location v->committed
reverse-continue
reverse-continue
rustica when v->committed
delete
rustica when zones.count
next
print zones.count
reverse-nexti
set variable zones.count = 99
next
print zones.count
print pmm_memory(&pmm, 0)
next
print $_
run
reverse-stepi 3
reverse-next
reverse-step 1000
reverse-stepi
continue
continue
reverse-next
reverse-step
"""


@test
def backwards(t):
    """Each reverse command leads to where GDB's manual says, `when` to the last change, and
    what somebody changes is undone."""
    said = tell(t, 5, BACK, BACK="1")
    at = iter(said)

    def came(command, *patterns):
        typed, answer = next(at)
        t.check(typed == command, f"{typed} instead of {command}\n{said}")
        for pattern in patterns:
            t.expect(pattern, answer)
        return answer

    came("reverse-stepi", r"^0x\w+ in ch05_main \(\)")
    before = came("info registers rip")
    came("stepi", r"ch05_init\(\);$")
    t.check(before != came("info registers rip"), "a step has not led elsewhere")
    came("tbreak vmo_clone")
    came("continue", r"^zones: 14 MiB", r", vmo_clone \(")
    came("reverse-next", r"^vmo_show_clone \(.*\n.* \*clone = vmo_clone\(")
    came("reverse-next", r"^ch05_main \(.*\n.* vmo_show_clone\(v\);")
    came("reverse-step", r"^vmo_show \(.*\n\d+\s+\}$")
    came("reverse-step", r"^printf \(")
    came("break vmo_put")
    first = came("continue", r", vmo_put \(v=(0x\w+)\)")
    came("reverse-finish", r"^Run back to call of #0 ",
         r"in vmo_show_clone \(.*\n.* vmo_put\(slice")
    t.same_text(first.split("\n\n")[-1], came("continue").split("\n\n")[-1])
    came("reverse-continue", r"^No more reverse-execution history\.\nboot_start \(")
    t.check(re.findall(r", vmo_put .*", first) == re.findall(r", vmo_put .*", came("continue")),
            "forwards it is another call than before")
    came("up")
    came("watch -location v->committed")
    for _ in range(2):
        came("reverse-continue", r"^Hardware watchpoint \d+: v->committed$|"
                                 r"No more reverse-execution history")
    came("rustica when v->committed")
    came("delete")
    came("rustica when zones.count", r"^zones\.count has changed [\d,]+ instructions ago, here:",
         r"^Old value = (\d+)\nNew value = \d+\n#0 .* zone_add_range \(", r"^#1 .*\n#2 ")
    came("next")
    count = t.expect(r" = (\d+)$", came("print zones.count"))[1]
    came("reverse-nexti", "zone_add_range|zone_")
    came("set variable zones.count = 99")
    came("next", r"^What you have changed is not in the recording: it is undone\.$")
    t.check(t.expect(r" = (\d+)$", came("print zones.count"))[1] == count, "it stays changed")
    came("print pmm_memory(&pmm, 0)")
    came("next", r"^What you have changed is not in the recording: it is undone\.$")
    came("print $_")
    came("run", r"^ch05_main \(|^#0  ch05_main \(")
    came("reverse-stepi 3")
    came("reverse-next", r"^boot_start \(.*\n.* kernel_main\(\);$")
    came("reverse-step 1000", r"^No more reverse-execution history\.\nboot_start \(")
    came("reverse-stepi", r"^No more reverse-execution history\.\nboot_start \(")
    came("continue", r"^zones: 14 MiB", r"^#0  boot_exit \(status=0\)",
         "^The recording ends here: the machine went off\\.")
    came("continue", "\\AThe recording ends here: .*\n\\Z")
    came("reverse-next", r"^boot_start \(.*\n.* boot_exit\(0\);$")
    came("reverse-step", r"\n\d+\s+")


@test
def backwards_in_vain(t):
    """What cannot be said of the past is told in a sentence; where nothing can be recorded,
    the session goes forwards."""
    said = dict(tell(t, 5, "rustica when\nrustica when nosuch\nrustica when 1 +\n"
                     "rustica when $rip\nrustica when zones.count + 1\n"
                     "rustica when *(int *)8\nrustica when pmm.free_bits[0]\nreverse-next 0\n"
                     "reverse-step nosuch\nrustica type x\nrustica efi\nprint 6 * 7\n", BACK="1"))
    for command, sentence in (
            ("rustica when", "^When what"), ("rustica when nosuch", '^No symbol "nosuch"'),
            ("rustica when 1 +", "^A syntax error"),
            ("rustica when $rip", "^\\$rip is not in memory"),
            ("rustica when zones.count + 1", "^zones.count \\+ 1 is not in memory"),
            ("rustica when *(int *)8", "^(Cannot access memory|.* cannot be read here)"),
            ("rustica when pmm.free_bits[0]", "^(Cannot access memory|.* cannot be read here)|"
             "nobody has written anything else"),
            ("reverse-next 0", "^How often"), ("reverse-step nosuch", '^No symbol "nosuch"'),
            ("rustica type x", "TYPE=FILE"), ("rustica efi", "BACK=")):
        t.expect(sentence, said[command])
        t.check("Python" not in said[command], f"{command}: {said[command]}")
    t.check(said["print 6 * 7"].endswith(" = 42\n"), str(said))
    said = dict(tell(t, 5, "python past.hits = lambda *_: (machine.process.kill(), past.resume())\n"
                     "reverse-next\nprint 6 * 7\n", BACK="1"))
    t.expect("^QEMU does not get on: we are where we were", said["reverse-next"])
    t.expect(" = 42$", said["print 6 * 7"])
    text = play(t, 1, commands(t, "reverse-step\nreverse-continue\nrustica when boot.panics\n"
                                  "next\n"), BACK="1", QFLAGS="-vga none")
    t.expect("^This run cannot be recorded: .*QFLAGS=. So this session goes forwards", text)
    t.check(len(re.findall("^This session goes forwards only", text, re.M)) == 3, text)
    t.expect(r"^\d+\s+boot_check_options", text)
    status, text = t.run("make", "gdb", "CH=1", "BACK=1", "TYPE=no/such", "PLAY=/dev/null")
    t.expect("^There is no file .*/no/such to type", text)


@test
def backwards_from_a_fault(t):
    """A recording that ends with a panic shows what it said, and one that ends with a triple
    fault begins at the instruction; both go backwards from there."""
    text = play(t, 4, commands(t, "reverse-next\n"), BACK="1", OPT="provoke=heap-overrun")
    t.expect(r"^\*\*\* panic at .* written past its 100 bytes(.*\n)*#0  boot_exit \(status=1\)",
             text)
    tree = t.dir / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git", "golden"))
    source = (tree / "rustica.c").read_text()
    changed = source.replace("\n    cpu_init_traps();\n", "\n    (void)cpu_init_traps;\n")
    t.check(changed != source, "there is no cpu_init_traps() to leave out")
    (tree / "rustica.c").write_text(changed)
    (tree / "session").write_text("x/i $pc\nreverse-next\ncontinue\nreverse-stepi\nbacktrace\n")
    _, text = t.run("make", "gdb", "CH=1", "BACK=1", "PLAY=session",
                    f"WARM={ROOT}/build/warm", cwd=tree)
    t.expect(r"^Recorded: until a triple fault: (.*\n)*The recording ends here: a triple fault: "
             r"(.*\n)*=> 0x\w+ <cpu_int3\+\d+>:\s+int3\n(.*\n)*ch01_main \(.*\n.*\n"
             r"(.*\n)*The recording ends here: (.*\n)*#0 .* cpu_int3 \(.*\n#1 .* ch01_main", text)


def commands(t, text):
    path = t.dir / "commands"
    path.write_text(text)
    return path.relative_to(ROOT)


@test
def recordings(t):
    """A recording is made once for each kernel and what it is told; two at a time do not
    disturb each other, and whoever is killed leaves nothing that runs."""
    folder = ROOT / "build" / "gcc-O0" / "ch02" / "back"
    shutil.rmtree(folder, ignore_errors=True)
    for options, count in ("", 1), ("", 1), ("audit", 2):
        tell(t, 2, "next\nreverse-next\n", BACK="1", OPT=options)
        t.check(len(list(folder.iterdir())) == count, str(list(folder.iterdir())))
    commands(t, "")
    two = [start("CH=2", "BACK=1", f"TYPE={t.dir}/commands") for _ in range(2)]
    try:
        for each in two:
            each.type("next\n", r"\n\d+\s+.*\n\(gdb\) ")
        for each in two:
            each.type("reverse-next\n", r"\n\d+\s+ch02_init\(\);\n\(gdb\) ")
        os.kill(two[0].gdb, signal.SIGKILL)
        await_end(t, two[0].qemu)
        two[1].type("quit\n")
        await_end(t, two[1].qemu)
    finally:
        for each in two:
            each.close()
    tell(t, 2, "next\n", BACK="1")
    t.check(not list(folder.glob("session-*")), f"not swept: {list(folder.iterdir())}")


@test
def recorded_typing(t):
    """What TYPE= names is typed, and is in the replay; across processes, `when` finds who it
    was. A recording begins at a hang, and ends where it was cut."""
    typed = t.dir / "typed"
    typed.write_text("echo first\nhello | wc -c\n")
    said = dict(tell(t, "", "tbreak pipe_close_reader\ncontinue\nnext\nrustica when p->written\n"
                     "print $thread()->process->name\nrustica ps\n", BACK="1", TYPE=str(typed)))
    t.expect("^first$", said["continue"])
    t.expect(r"^#0 .* pipe_write \(", said["rustica when p->written"])
    t.expect('"hello"', said["print $thread()->process->name"])
    t.expect("hello +child of ", said["rustica ps"])


# ---- Front ends ------------------------------------------------------------------

def alive(pid):
    """Does it still run? Who has ended may wait for somebody to ask, in a container for ever."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def await_end(t, pid):
    patience = Patience(LIMIT)
    while alive(pid):
        t.check(not patience.over(), f"QEMU, process {pid}, is still there")
        time.sleep(0.05)


def start(*words):
    """A debugger that has come to its first stop, started by a shell: this one stays when make
    goes. (If the first process on a terminal ends, all others there are told to.)"""
    command = ["sh", "-c", 'make gdb "$@"; status=$?; [ $status = 0 ] || sleep 1000; exit $status']
    terminal = session.Terminal([*command, "sh", *words], LIMIT)
    terminal.expect(r"ch\d\d_main \(\) at rustica.c:\d+\n(.|\n)*\(gdb\) ")
    terminal.type("python print('processes', machine.process.pid, os.getpid())\n",
                  r"\nprocesses \d+ \d+\n")
    terminal.qemu, terminal.gdb = map(int, re.findall(r"\nprocesses (\d+) (\d+)\n",
                                                      terminal.text)[-1])
    with open(f"/proc/{terminal.pid}/task/{terminal.pid}/children") as children:
        terminal.make = int(children.read().split()[0])
    return terminal


@test
def terminal(t):
    """^C stops the kernel, not the session; two sessions do not disturb each other; a
    session that ends, or is killed, takes its machine with it."""
    for ch in "", "1":
        t.make("gdb-machine", CH=ch)
    one, two, three = start(), start("CH=1"), start("CH=1")
    try:
        one.type("continue\n", r"\$ ")
        patience, reads = Patience(LIMIT), r"  sh +child of 1, \d+ turns?: sleeps in tty_read <"
        while not patience.over():      # the shell is about to wait for more
            one.type("\x03", "SIGINT", r"\(gdb\) ")     # GDB loses it if the kernel stands still
            one.type("rustica ps\n", r"sh +child of 1, .*\n(.|\n)*\(gdb\) ")
            if "\nok\n" in one.text and re.search(reads, one.text):
                break
            one.type("rustica type echo o''k\n", r"\(gdb\) ")
            one.type("continue\n", "\nok\n", r"\$ ")
        t.check(re.search(reads, one.text), f"the shell does not read:\n{one.text[-500:]}")
        for other in two, three:
            other.type("break boot_show_trap\n", r"\(gdb\) ")
            other.type("continue\n", r"\nBreakpoint \d+, boot_show_trap", r"\(gdb\) ")
        one.type("quit\n")
        await_end(t, one.qemu)
        t.check(alive(two.qemu) and alive(three.qemu), "other machines have ended, too")
        t.check(one.status() == 0, f"the end:\n{one.text[-500:]}")
        two.type("continue\n", r"boot_exit .*\n(.|\n)*\(gdb\) ")
        two.type("continue\n", r"The machine is off(.|\n)*\(gdb\) ")
        two.type("step\n", r"The machine is off(.|\n)*\(gdb\) ")
        t.check("Python" not in two.text and "Traceback" not in two.text, two.text[-800:])
        for again in "run\n", "start\n":
            two.type(again, r"Temporary breakpoint \d+, ch01_main", r"\(gdb\) ")
        two.type("quit\n")
        await_end(t, two.qemu)
        os.kill(three.gdb, signal.SIGKILL)
        await_end(t, three.qemu)
    finally:
        for each in one, two, three:
            each.close()


@test
def killed_make(t):
    """Whoever kills make need not look for its debugger and its machine."""
    t.make("gdb-machine", CH=1)
    for number in signal.SIGTERM, signal.SIGKILL:
        terminal = start("CH=1")
        try:
            if number == signal.SIGTERM:
                terminal.type("tbreak boot_show_trap\ncontinue\n", "Temporary breakpoint")
            os.kill(terminal.make, number)
            for pid in terminal.qemu, terminal.gdb:
                await_end(t, pid)
        finally:
            terminal.close()


@test
def machine_interface(t):
    """What .vscode/launch.json says to GDB: the same commands, in its own way."""
    t.make("gdb-machine", CH=1)
    text = (ROOT / ".vscode" / "launch.json").read_text()
    said = re.findall(r'"text": "(.*)" \}', text[:text.index('"Rustica: join')])
    t.check(len(said) > 2 and "launch.json" not in said, f"not found: {said}")
    commands = "".join(line.replace('\\"', '"').replace("${workspaceFolder}", str(ROOT))
                       .replace("${input:chapter}", "1") + "\n" for line in said)
    path = t.dir / "commands"
    path.write_text(commands + "-exec-next\n")
    front = session.Terminal(["gdb", "-q", "-nx", "--interpreter=mi"], LIMIT)
    try:
        for line in commands.splitlines():
            front.type(line + "\n", r"\n\^(done|running)")
        front.expect(r'\*stopped,reason="breakpoint-hit".*func="ch01_main".*file="rustica.c"')
        front.type("-break-insert boot_show_trap\n", r'\^done,bkpt=')
        front.type("-exec-continue\n", r'\*stopped,reason="breakpoint-hit".*boot_show_trap')
        console, patience = "", Patience(LIMIT)
        while "console on the serial line" not in console and not patience.over():
            front.read(0.1)             # it comes in pieces, GDB's own words between them
            console = re.sub(r'=breakpoint-m[^*]*\*stopped.*\n\(gdb\) \n', "", front.text)
            console = console.replace('"\n~"', "")
        t.check("boot: a console on the serial line" in console,
                f"the console is not in the stream:\n{front.text}")
        front.type('-interpreter-exec console "rustica trap f"\n', "#BP breakpoint")
        front.type("-stack-list-variables 1\n", r'name="f"')
        front.type("-gdb-exit\n", r"\^exit")
    finally:
        front.close()


def plain(t, said):
    """A GDB without our commands that is told what `make gdb-server` says to tell it: its
    breakpoint is behind the function's prologue, so it has found the code."""
    lines = re.findall(r"^(?:Your debugger:)? +(target .*|set .*|add-.*)$", said, re.M)
    lines += ["hbreak ch01_main", "info address ch01_main", "disconnect"]
    text, patience = "", Patience(LIMIT)
    while "breakpoint 1 at" not in text and not patience.over():
        _, text = t.run("gdb", "-q", "-nx", "-batch", *(x for line in lines for x in ("-ex", line)))
    at = t.expect(r"breakpoint 1 at (0x\w+): file", text)[1]
    t.check(f"at address {at}" not in text, f"a breakpoint before the prologue:\n{text}")


@test
def server(t):
    """`make gdb-server` waits for any debugger, at a port or at a socket."""
    t.make("gdb-machine", CH=1)
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    for place, words in ("build/gcc-O0/ch01/gdb.socket", []), \
                        (f"tcp:127.0.0.1:{port}", [f"PORT={port}"]):
        waiting = session.Terminal(["make", "gdb-server", "CH=1", *words], LIMIT)
        try:
            waiting.expect(f"target remote {re.escape(place)}\n")
            waiting.expect(r" add-symbol-file \S+ -o 0x\w+\n")
            plain(t, waiting.text)
            text, patience = "", Patience(LIMIT)
            while "ch01_main" not in text and not patience.over():
                _, text = t.run("gdb", "-q", "-batch", "-x", "tools/rustica-gdb.py", "-ex",
                                f"rustica join {place} CH=1", "-ex", "backtrace", "-ex", "kill")
            t.expect(r"^#0  ch01_main \(\) at rustica\.c:\d+$", text)
        finally:
            waiting.close()
