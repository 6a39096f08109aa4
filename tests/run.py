#!/usr/bin/env python3
"""Run the tests; the last line is "N passed, N failed".

    tests/run.py            all tests
    tests/run.py WORD ...   those that have one of the words in their names
    tests/run.py --golden   write tests/golden/ from what the chapters print now, and
                            book/gdb/ from what GDB says, with the present line numbers

A test is a function that is given a Test and raises Failed, or any other
exception. What it did is kept in build/test/NAME/. As many tests run at a time as
there are processors. Slow and busy machines have more time; RUSTICA_SLOW=3 allows three
times as much, and with RUSTICA_LONG=3 the tests that go on as long as one likes do so for
three times as long.
"""

import concurrent.futures
import difflib
import functools
import itertools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import book
import exercises
import gdb
import hunts
import image
import lint
import machines
import mutants
import patience
import proof
import recordings
import session
import userland

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
OUT = ROOT / "build" / "test"
LONG = float(os.environ.get("RUSTICA_LONG", "1"))
LIMIT = 300 * max(LONG, 1)
COMPILERS = ["gcc", "tcc"]
FASTER = "tcc" if shutil.which("tcc") else "gcc"


class Failed(Exception):
    pass


class Test:
    def __init__(self, name):
        self.name = name
        self.dir = OUT / name
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)

    def run(self, *command, cwd=ROOT, env=None, stdin=None):
        """Runs a command, with a file as its input; returns its status and all it wrote."""
        command = [str(word) for word in command]
        child = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})},
                                 stdin=open(stdin or os.devnull), stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        output, _, ended = patience.communicate(child, LIMIT)
        ending = "" if ended else "(killed) "
        text = output.decode("ascii", "backslashreplace")
        with open(self.dir / "log", "a") as log:
            log.write(f"$ {' '.join(command)}\n{text}{ending}(status {child.returncode})\n")
        if not ended:
            raise Failed(f"{' '.join(command)}: this does not end; it wrote\n{text}")
        return child.returncode, text

    def make(self, *goals, cwd=ROOT, **variables):
        """Runs make, which must succeed; returns what it wrote."""
        words = [f"{k}={v}" for k, v in variables.items() if v]
        status, text = self.run("make", *goals, *words, cwd=cwd)
        self.check(status == 0, f"make {' '.join([*goals, *words])}: status {status}\n{text}")
        return text

    def boot(self, status=0, stdin=None, **variables):
        """Builds and boots the kernel of an image, which must end with `status`; returns its
        console."""
        build(variables.get("CH", ""), variables.get("CC", ""))
        if "COLD" not in variables:
            build("", "", "snapshot")
        words = ["O=2"] + [f"{k}={v}" for k, v in variables.items() if v]
        log = self.dir.relative_to(ROOT) / "debug.log"
        got, text = self.run("make", "run", f"LOG={log}", *words, stdin=stdin)
        text = re.sub(r"^make: \*\*\* .*\n", "", text, flags=re.M)
        wanted = 2 if status else 0     # make's own status for any failure
        self.check(got == wanted and (not status or f"Error {status}" in self.log()),
                   f"make run {' '.join(words)} should end with status {status}\n{text}")
        return text

    def log(self):
        return (self.dir / "log").read_text()

    def proof(self, what, figure):
        """Enters a figure that `make proof` shows, counted from what has happened."""
        with open(self.dir / "log", "a") as log:
            log.write(f"proof: {what} {figure}\n")

    def check(self, truth, complaint):
        if not truth:
            raise Failed(complaint or "there is nothing")   # "" would mean that all is well

    def expect(self, pattern, text):
        found = re.search(pattern, text, re.M)
        self.check(found, f"expected to find: {pattern}\nin:\n{text}")
        return found

    def same_text(self, expected, got):
        self.check(expected == got, "\n".join(difflib.unified_diff(
            expected.splitlines(), got.splitlines(), "expected", "got", lineterm="")))

    def same_bytes(self, one, other):
        self.check(one.read_bytes() == other.read_bytes(), f"{one} and {other} differ")


# ---- The kernels -------------------------------------------------------------

def chapters():
    """(number, first line of the next chapter) for each chapter of rustica.c."""
    lines = (ROOT / "rustica.c").read_text().splitlines(keepends=True)
    starts = [(int(m[1]), i) for i, line in enumerate(lines)
              if (m := re.match(r"// # Chapter (\d+)\. ", line))]
    ends = [i for _, i in starts[1:]] + [len(lines)]
    return [(n, "".join(lines[:end])) for (n, _), end in zip(starts, ends)]


CHAPTERS = chapters()
LAST = CHAPTERS[-1][0] if CHAPTERS else 0


def kernel(ch, cc, name="BOOTX64.EFI"):
    folder = ROOT / "build" / ("" if (cc or "gcc") == "gcc" and not ch else cc or "gcc")
    return folder / (f"ch{ch:02}" if ch else "") / name


@functools.lru_cache(None)
def build_once(ch, cc, goal):
    return threading.Lock(), []


def build(ch="", cc="", goal=""):
    """Builds a kernel (for the whole one also its disk), once for all tests."""
    goal, cc = goal or ("all" if ch else "image"), cc or "gcc"
    lock, done = build_once(ch, cc, goal)
    with lock:
        if not done:
            words = [f"CH={ch}"] * bool(ch) + [f"CC={cc}"] * bool(cc)
            status, text = Test(f"build/{goal}-ch{ch or 's'}-{cc or 'gcc'}").run(
                "make", goal, *words)
            done.append(text if status else "")
        if done[0]:
            raise Failed(f"does not build:\n{done[0]}")


def filtered(text):
    return subprocess.run(["sed", "-E", "-f", TESTS / "filter.sed"], input=text, text=True,
                          capture_output=True, check=True).stdout


# ---- Groups of tests ---------------------------------------------------------

ALL, WITHOUT_TCC, WITHOUT_CHECK = [], [], []


def add(name, function, *args, **keywords):
    """Enters a test. (Those that need tcc, which not every release has, say so.)"""
    if "tcc" in name and FASTER != "tcc":
        WITHOUT_TCC.append(name)
    else:
        ALL.append((name, functools.partial(function, *args, **keywords)))


def lint_rule(rule, t):
    complaints, notes = rule()
    (t.dir / "notes").write_text("".join(note + "\n" for note in notes))
    t.check(not complaints, "\n".join(complaints))


for rule in lint.RULES:
    add("lint/" + rule.__name__, lint_rule, rule)


def host(source, t):
    """One file of host tests. Each of its tests counts as one of ours."""
    program = t.dir / source.stem
    flags = re.findall(r"^/\* host-cflags: (.*) \*/", source.read_text(), re.M)
    status, text = t.run("gcc", "-std=gnu11", "-g", "-O1", "-Wall",
                         "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                         *" ".join(flags).split(), source, "-o", program, "-lcmocka")
    t.check(status == 0, text)
    status, text = t.run(program, env={"CMOCKA_MESSAGE_OUTPUT": "STDOUT",
                                       "RUSTICA_TEST_SCALE": str(max(1, int(LONG)))})
    results = []
    for part in re.split(r"^(?=\[ RUN )", text, flags=re.M)[1:]:
        name = re.match(r"\[ RUN +\] (\w+)", part)[1]
        good = re.search(rf"^\[ +OK \] {name}$", part, re.M)
        results.append((f"{t.name}/{name}", "" if good else part))
    t.check(results and (status == 0) == (not any(why for _, why in results)),
            f"status {status}\n{text}")
    return results


for source in sorted(TESTS.glob("host/*.c")):
    add("host/" + source.stem, host, source)


def commands(ch):
    """What is typed at a chapter, if anything."""
    path = TESTS / "golden" / f"ch{ch:02}.in"
    return path if path.exists() else None


def transcript(ch, cc, t):
    """A chapter prints what it should, the same to both consoles."""
    golden = TESTS / "golden" / f"ch{ch:02}.txt"
    text = t.boot(CH=ch, CC=cc, stdin=commands(ch))
    t.check(golden.exists(), f"{golden} is missing; after a look at this, `make golden`:\n{text}")
    t.same_text(filtered(golden.read_text()), filtered(text))
    t.same_text((t.dir / "debug.log").read_text(), text)
    for pattern, what in FROM_TRANSCRIPTS.items():
        if found := re.findall(pattern, text, re.M):
            t.proof(what, sum(map(int, found)) if found[0].isdigit() else len(found))


# What `make proof` takes from the chapters' transcripts.
FROM_TRANSCRIPTS = {r"frames lost: (\d+)": "lost", r"registers disturbed: (\d+)": "disturbed",
                    r"^pmm: (\d+) random steps in lock step": "steps",
                    r"killed at 0x\w+ by (#\w+)": "probes"}


def copy_tree(t, name):
    tree = t.dir / name
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git", "book", "golden"))
    return tree


def prefix(ch, text, cc, t):
    """CH=n is what a copy of the file without the later chapters gives, and the compiler has
    nothing to say about it. (Here all of it is compiled, while of what `build()` makes some may
    be there already.)"""
    tree = copy_tree(t, "tree")
    (tree / "rustica.c").write_text(text)
    said = t.make(cwd=tree, CC=cc)
    t.check("warning" not in said, f"the compiler should have nothing to say, but says:\n{said}")
    build(ch, cc)
    out = tree / "build" / ("" if cc == "gcc" else cc) / "BOOTX64.EFI"
    t.same_bytes(out, kernel(ch, cc))
    if ch == LAST:
        build("", cc)
        t.same_bytes(out, kernel("", cc))


def folders(cc, t):
    """The bytes do not depend on where, or when, the tree was built."""
    build("", cc)
    for name in "here", "a/folder-with-a-longer-name/there":
        tree = copy_tree(t, name)
        t.make("image", cwd=tree, CC=cc)
        for file in "BOOTX64.EFI", "rustica.img":
            t.same_bytes(kernel("", cc, file),
                         tree / kernel("", cc, file).relative_to(ROOT))
            t.proof("identical", 1)


for ch, text in CHAPTERS:
    for cc in COMPILERS:
        add(f"boot/ch{ch:02}-{cc}", transcript, ch, cc)
        add(f"prefix/ch{ch:02}-{cc}", prefix, ch, text, cc)
for cc in COMPILERS:
    add(f"build/folders-{cc}", folders, cc)


# ---- Machines ----------------------------------------------------------------

def machine(t, **variables):
    """The whole kernel gets to the end on this machine, and its sums are right."""
    text = t.boot(OPT="map", COLD=1, stdin=TESTS / "golden" / "ch14.in", **variables)
    accounting(t, text)
    t.expect("^Hello from userspace!$", text)
    t.expect("^awake$", text)
    t.proof("machines", 1)


def counters(t, **variables):
    """Chapter 3 counts as many frames as there are in the zones of chapter 2."""
    text = t.boot(OPT="map", CH=3, COLD=1, **variables)
    zones = accounting(t, text)
    total = int(t.expect(r"^pmm: \w+ over (\d+) frames", text)[1])
    absent, reserved, free, used = [int(t.expect(rf"^pmm: +(\d+) frames {state}$", text)[1])
                                    for state in ("absent", "reserved", "free", "used")]
    t.check(free + used == zones, f"{free} free + {used} used frames, but {zones} in the zones")
    t.check(absent + reserved + free + used == total, f"the counters do not add up to {total}")


def accounting(t, text):
    """Does the sums of chapter 2 again, from the firmware's map, frame by frame."""
    usable, other, ours = set(), set(), set(range(256))     # the first MiB is nobody's
    entries = re.findall(r"^map: start 0x(\w+) pages (\d+) type (\d+) attributes 0x(\w+)$",
                         text, re.M)
    for start, pages, kind, attributes in entries:
        if int(start, 16) < 1 << 40:
            ordinary = int(attributes, 16) & 0x40008 == 8
            kinds = usable if int(kind) in (1, 2, 3, 4, 7) and ordinary else other
            kinds.update(frames(start, pages))
    for start, pages in re.findall(r"^map: reserved 0x(\w+) pages (\d+) ", text, re.M):
        ours.update(frames(start, pages))
    usable -= other
    said = t.expect(r"^map: usable (\d+) reserved (\d+) withheld (\d+) kernel (\d+) "
                    r"user (\d+)$", text)
    total, reserved, withheld, in_kernel, in_user = map(int, said.groups())
    t.check(len(usable) > 10000, "the firmware's map is not there")
    t.check(total == len(usable), f"{total} usable frames; the map has {len(usable)}")
    t.check(reserved == len(usable & ours), f"{reserved} reserved; should be {len(usable & ours)}")
    t.check(in_kernel + in_user + withheld == len(usable - ours) and not withheld,
            f"zones of {in_kernel} + {in_user} + {withheld}; there are {len(usable - ours)}")
    return in_kernel + in_user


def frames(start, pages):
    first = int(start, 16) >> 12
    return range(first, first + int(pages))


def accelerated(t):
    """With ACCEL=kvm the processor is the host's, unless we say otherwise. (A QEMU that only
    says what it is told does for that.)"""
    folder = t.dir / "bin"
    folder.mkdir()
    (folder / "qemu-system-x86_64").write_text('#!/bin/sh\necho "told: $*"\n')
    (folder / "qemu-system-x86_64").chmod(0o755)
    build("", "")
    for words, wanted in (["ACCEL=kvm"], "host"), (["ACCEL=kvm", "CPU=qemu64"], "qemu64"):
        status, text = t.run("make", "run", "O=2", *words,
                             env={"PATH": f"{folder}:{os.environ['PATH']}"})
        t.check(status == 0, text)
        t.expect(rf"^told: .* -cpu {wanted} .*-accel kvm ", text)


def screen(t):
    t.expect(r"^boot: a screen of \d+ x \d+ pixels$", t.boot(CH=1, QFLAGS="-vga std"))


def disk(bus, t):
    typed = t.dir / "typed"         # no options come from a disk, so there is an echo
    typed.write_text("hello\npoweroff\n")
    text = t.boot(DISK=bus, stdin=typed)
    t.check(text.count("Hello from userspace!\n") == 2, f"from init and from us, not:\n{text}")
    t.proof("machines", 1)


def matrix(t):
    """Every size of memory with either chipset, firmware and processor; in the short run each
    size with either of them, though not in all combinations."""
    folder = pathlib.Path("/usr/share/OVMF")
    firmwares = [path for name in ("OVMF_CODE.fd", "OVMF_CODE_4M.fd")
                 if (path := folder / name).exists()]
    t.check(firmwares, f"no firmware in {folder}")
    rows = itertools.product(["96M", "128M", "512M", "2G", "5G"], enumerate(["q35", "pc"]),
                             enumerate(firmwares), enumerate(["max", "qemu64"]))
    for n, (size, (m, board), (f, firmware), (c, processor)) in enumerate(rows):
        if LONG > 1 or m != f % 2 and c == (m + n // 8) % 2:
            machine(t, MEM=size, MACHINE=board, OVMF=firmware, CPU=processor)


for name, variables in {
        "96M": {"MEM": "96M"}, "173M": {"MEM": "173M"}, "5G": {"MEM": "5G"},
        "pc": {"MACHINE": "pc"}, "pc-96M-qemu64": {"MACHINE": "pc", "MEM": "96M", "CPU": "qemu64"},
        "qemu64": {"CPU": "qemu64"}, "4-processors": {"SMP": "4"}, "tcc": {"CC": "tcc"},
        "tcc-qemu64": {"CC": "tcc", "CPU": "qemu64"}}.items():
    add("machine/" + name, machine, **variables)
add("machine/screen", screen)
add("machine/accelerated", accelerated)
for size in "96M", "173M", "5G":
    add("machine/counters-" + size, counters, MEM=size)
add("machine/matrix", matrix)
for bus in "sata", "nvme", "virtio", "usb":
    add("machine/disk-" + bus, disk, bus)
for name, test in image.ALL:
    add("image/" + name, test)
add("image/drift", image.drift, copy_tree)
for name, test in machines.ALL:
    add("machine/" + name, test)


def programs(cc, t):
    """Linux is the oracle: a program prints the same there, and ends the same."""
    text = t.boot(CC=cc, CH=7)
    runs = re.findall(r"^user: running (\w+) ?(.*)\n((?:.*\n)*?)user: \1 ended with status (\d+)$",
                      text, re.M)
    t.check(("hello", "") in [run[:2] for run in runs], f"hello did not run:\n{text}")
    for name, argument, output, ending in runs:
        status, expected = t.run(f"build/{cc}/ch07/user/{name}", *argument.split())
        status = status if status >= 0 else 128 - status    # as a shell counts signals
        ours = "".join(line + "\n" for line in output.splitlines()
                       if not line.startswith("user: "))
        t.same_text(f"{name} {argument}\n{expected}status {status}",
                    f"{name} {argument}\n{ours}status {ending}")


for cc in COMPILERS:
    add("programs/" + cc, programs, cc)


def user_program(test, cc, t):
    build("", cc)
    test(t, ROOT / "build" / cc / "ramdisk" / "root", cc)


for name, test in userland.ALL:
    for cc in COMPILERS:
        add(f"programs/{name}-{cc}", user_program, test, cc)


def pthreads(library, t):
    """A program with threads, linked with a C library of others, gets from us what Linux gives
    it."""
    tree = copy_tree(t, "tree")
    program = tree / "user" / "root" / "pthreads"
    status, text = t.run(library, "-O1", "-static", "-pthread", TESTS / "pthreads.c",
                         "-o", program)
    t.check(status == 0, text)
    status, wanted, complaints = userland.run(t, [program], "", t.dir)
    t.check(status == 0 and not complaints, f"on the host:\n{wanted}{complaints}")
    (t.dir / "input").write_text("/pthreads; echo status $?\npoweroff\n")
    status, text = t.run("make", "run", "O=2", f"CC={FASTER}", "OPT=audit", cwd=tree,
                         stdin=t.dir / "input")
    t.check(status == 0, text)
    got = re.sub("^user: pthreads killed .*\n", "", text, flags=re.M)   # by its own crash
    t.same_text(wanted + "status 0\n", got[got.index("counted "):got.index("audit: walked")])


for library in "gcc", "musl-gcc":
    add(f"programs/pthreads-{library}", pthreads, library)


# ---- The shell ---------------------------------------------------------------

def shell(t):
    """Somebody types: editing, ^C, ^D, a crash, the end of a shell, poweroff."""
    build("", "")
    build("", "", "snapshot")
    log = t.dir.relative_to(ROOT) / "debug.log"
    try:
        status, text = session.conversation(["make", "run", "O=2", f"LOG={log}"], LIMIT)
    except AssertionError as complaint:
        raise Failed(str(complaint) or repr(complaint))
    (t.dir / "log").write_text(text)
    t.check(status == 0, f"the session should end with status 0, not {status}\n{text[-500:]}")


def soak(t):
    """The same conversation over and over, for minutes: nothing becomes more, nothing less."""
    build("", "")
    build("", "", "snapshot")
    log = t.dir.relative_to(ROOT) / "debug.log"
    seconds = min(180 * LONG, 1800)
    try:
        status, text, rounds, spent = session.soak(["make", "run", "O=2", f"LOG={log}"], LIMIT,
                                                   seconds)
    except AssertionError as complaint:
        raise Failed(str(complaint) or repr(complaint))
    (t.dir / "log").write_text(text)
    t.check(status == 0, f"the session should end with status 0, not {status}\n{text[-500:]}")
    t.proof("rounds", rounds)
    t.proof("seconds", int(spent))


add("session/shell", shell)
add("session/soak", soak)


def terminal(cc, t):
    """Who owns the terminal, and which group its signals go to: Linux is the oracle."""
    build("", cc)
    build("", "", "snapshot")
    words = ["make", "run", "O=2", f"CC={cc}", f"LOG={t.dir.relative_to(ROOT) / 'debug.log'}"]
    try:
        status, wanted, got = session.ask_both(words, str(
            ROOT / "build" / cc / "ramdisk/root/bin/family"), LIMIT / 4)
    except AssertionError as complaint:
        raise Failed(str(complaint) or repr(complaint))
    t.same_text(wanted, got)
    t.check(status == 0, f"the session should end with status 0, not {status}")


for cc in COMPILERS:
    add("session/terminal-" + cc, terminal, cc)


# ---- Abuse -------------------------------------------------------------------

def typed_ahead(t):
    """A file may be longer than the terminal's buffer: what has no room there waits."""
    typed = t.dir / "typed"
    lines = [f"line {n} of many" for n in range(3000)]
    typed.write_text("sleep 1\n" + "".join(f"echo {line}\n" for line in ["begin", *lines]))
    text = t.boot(stdin=typed)
    t.same_text("\n".join(lines), text[text.index("begin\n") + 6:].rstrip("\n"))


add("session/typed-ahead", typed_ahead)


def abuse(commands, t, **variables):
    """Whatever programs do, the shell answers afterwards, and no memory is missing."""
    typed = t.dir / "typed"             # first a line like the others: the shell grows once
    typed.write_text(f"false && {commands[0]}\n" +
                     "".join(f"free\n{command}\n" for command in commands) + "free; echo alive\n")
    text = t.boot(stdin=typed, **variables)
    t.expect(r"^alive$", text)
    used = re.findall(r"^ +\d+ +(\d+) +\d+$", text, re.M)
    t.check(len(used) == len(commands) + 1 and len(set(used)) == 1,
            f"expected the same memory in use before and after each, got {' '.join(used)} KiB")


def fuzz(cc, t):
    """System calls by chance: from the same seed on, other ones with each further round."""
    rounds = range(1, 1 + round(4 * LONG))
    left = "/tmp/* /a /b /link"         # by a link to `.`, some go up and leave files there
    abuse([f"fuzz {seed} 25000; rm -r {left}" for seed in rounds], t, CC=cc)
    for seed in rounds:
        said = t.expect(rf"^fuzz: (\d+) calls by (\d+) threads from seed {seed}, in (\d+) rounds$",
                        (t.dir / "debug.log").read_text())
        calls, threads, made = map(int, said.groups())
        t.check(calls >= 25000, f"25000 calls were wanted, not {calls}")
        t.check(threads > 8 * made, f"only {threads} threads in {made} rounds of 4 workers")
        t.proof("calls", calls)


def bombs(t, **variables):
    """Programs that take all there is of something, on small and on larger machines."""
    abuse(["bomb"] * round(LONG), t, COLD=1, **variables)
    t.proof("bombs", len(re.findall(r"^bomb: \w+ is over$", t.log(), re.M)))


def pointers(t):
    """Each pointer that a call takes, times places that a program must not touch, times lengths:
    refused as Linux refuses it, and never the kernel's own fault."""
    tree = copy_tree(t, "tree")
    shutil.copy(TESTS / "pointers.c", tree / "user")
    t.make("all", cwd=tree, CC=FASTER)
    program = tree / "build" / FASTER / "ramdisk/root/bin/pointers"
    _, wanted, _ = userland.run(t, [program], "", t.dir)
    pairs = t.expect(r"^pointers: (\d+) pairs tried, 0 wrong$", wanted)
    (t.dir / "input").write_text("pointers\npoweroff\n")
    status, text = t.run("make", "run", "O=2", f"CC={FASTER}", "OPT=audit", cwd=tree,
                         stdin=t.dir / "input")
    t.check(status == 0, text)
    t.same_text("".join(re.findall("^pointers: .*\n", wanted, re.M)),
                "".join(re.findall("^pointers: .*\n", text, re.M)))
    t.proof("pairs", pairs[1])


add("abuse/pointers", pointers)


def hogs(t, **variables):
    """Whoever takes all memory and sleeps, alone or as a crowd, is the one who is ended; the
    shell and what it starts get theirs."""
    typed = t.dir / "typed"
    typed.write_text("".join(f"{hog} &\nsleep 1\nls / | wc -l; hello; sleep 0.1; ps\n"
                             for hog in ("hog", "hog crowd", "hog")) + "free; echo alive\n")
    text = t.boot(stdin=typed, **variables)
    t.expect("^alive$", text)
    ended = re.findall(r"^memory: none is left; the family of process \d+, (\w+), is ended: (\d+)",
                       text, re.M)
    t.check([name for name, _ in ended] == 3 * ["hog"], f"expected that three hogs end:\n{text}")
    t.check(int(ended[1][1]) > 100, f"expected that a crowd ends:\n{text}")
    t.check(text.count("Hello from userspace!\n") == 4 and
            re.findall(r"^ *(\d+)$", text, re.M) == 3 * ["8"], f"expected all answers:\n{text}")
    t.check(not re.search(r"^ *\d+ +\d+ [^Z].* hog$", text, re.M) and
            re.findall(r"^ +(\d+) +1 S.* sh$", text, re.M) == 3 * ["4"],
            f"expected one shell, always the same, and no hog:\n{text}")


def audited(cc, t):
    """With OPT=audit all audits are walked at every fork, exec and end, and find nothing."""
    typed = t.dir / "typed"
    typed.write_text("cd /tmp; ls / | wc -l; family </dev/null; edges 2>/dev/null; fuzz 1 3000\n"
                     "for n in 1 2 3; do echo line $n; done | grep 2; sleep 0.1 & wait; ps\n")
    text = t.boot(CC=cc, OPT="audit", stdin=typed)
    walked = t.expect(r"^audit: walked (\d+) times: zones frames heap tables threads files "
                      r"signals processes groups futexes$", text)
    t.check(int(walked[1]) > 200, f"walked only {walked[1]} times")
    t.proof("audits", walked[1])


def stacks(cc, t):
    """Half of each kernel stack is enough for all that programs ask for."""
    typed = t.dir / "typed"
    typed.write_text("cd /tmp; edges; files; family </dev/null; fuzz 1 3000\n"
                     "for n in 1 2 3; do echo line $n; done | grep 2; sleep 0.1 & wait; ps\n")
    text = t.boot(CC=cc, OPT="stacks", stdin=typed)
    size, used = map(int, t.expect(r"^sched: of a kernel stack's (\d+) bytes, (\d+) were used at "
                                   "most$", text).groups())
    t.proof("percent", -(-100 * used // size))
    t.check(1000 < used <= size // 2, f"of {size} bytes {used} were used")


for cc in COMPILERS:
    add(f"abuse/audit-{cc}", audited, cc)
    add(f"abuse/stacks-{cc}", stacks, cc)
    add(f"abuse/fuzz-{cc}", fuzz, cc)
add("abuse/hogs-gcc", hogs)
add("abuse/hogs-96M-tcc", hogs, MEM="96M", CC="tcc")
add("abuse/bombs-96M-tcc", bombs, MEM="96M", CC="tcc", OPT="pmm=bitmap")
add("abuse/bombs-128M", bombs, OPT="pmm=array")
add("abuse/bombs-512M", bombs, MEM="512M", OPT="pmm=bitmap")


# ---- The loop: build, wake up, look ------------------------------------------

def incremental(t):
    """An edit makes what depends on it, and nothing else."""
    tree = copy_tree(t, "tree")

    def made(edited="", **variables):
        if edited:
            (tree / edited).touch()
        return re.findall(r"^  \w+ +(.*)$", t.make(cwd=tree, CC=FASTER, **variables), re.M)

    efi, ramdisk = str(kernel("", FASTER).relative_to(ROOT)), f"build/{FASTER}/ramdisk.tar"
    made(), made(CH=3)
    t.check(not made() and not made(CH=3), "something is made although nothing has changed")
    t.check(made("rustica.c") == ["rustica.c", efi], "after an edit of rustica.c")
    t.check(not made(CH=3), "chapter 3 is made anew though its text is the same")
    t.check(made("efi_main.c") == ["efi_main.c", efi], "after an edit of efi_main.c")
    wanted = {"user/cat.c for the ramdisk", ramdisk, efi}
    t.check(set(made("user/cat.c")) == wanted, "after an edit of user/cat.c")


def snapshot_of(t):
    """A copy of the snapshot that all tests use, in a folder of the test's own."""
    build("", "", "snapshot")
    folder = t.dir / "warm"
    folder.mkdir()
    name = re.search(r"snapshot-\d+-\d+", t.make("-n", "snapshot"))[0]
    for file in name, "waiter.efi":
        shutil.copy2(ROOT / "build" / "warm" / file, folder)
    return folder / name


def wake(t, sentence, folder):
    """Boots chapter 1, warm if there is nothing to be said about it."""
    golden = (TESTS / "golden" / "ch01.txt").read_text()
    text = t.boot(CH=1, WARM=folder.relative_to(ROOT))
    text = re.sub(r"^  warm .*\n", "", text, flags=re.M)
    said, text = re.search(r"\A((?:make run: .*\n)*)((?:.*\n)*)", text).groups()
    t.same_text(filtered(golden), filtered(text))
    t.check(re.fullmatch(sentence, said), f"expected: {sentence}\ngot: {said}")
    t.check((t.dir / "debug.err").exists() or "failed says why" in said, "nobody tried to wake it")


def wakes(t):
    """With a good snapshot nothing is said; a bad one is removed, and the boot is cold."""
    snapshot = snapshot_of(t)
    good = snapshot.read_bytes()
    wake(t, "", snapshot.parent)
    for bad in good[:len(good) // 2], b"Q", b"x" * 100000:
        snapshot.write_bytes(bad)
        wake(t, "make run: no warm start; the next run makes a new snapshot\n", snapshot.parent)
        t.check(not snapshot.exists(), "the bad snapshot is still there")


def names_of_snapshots(t):
    """Each machine, firmware and QEMU has a snapshot of its own."""
    other = t.dir / "other.fd"
    other.write_bytes(b"firmware")
    qemu = t.dir / "bin" / "qemu-system-x86_64"
    qemu.parent.mkdir()
    qemu.write_text("#!/bin/sh\n")
    qemu.chmod(0o755)

    def name(word, **env):
        status, text = t.run("make", "-n", "snapshot", word, env=env)
        return t.expect(r"snapshot-\d+-\d+", text)[0]

    words = ["MACHINE=pc", "CPU=qemu64", "MEM=96M", "SMP=2", "GUI=1", f"OVMF={other}"]
    names = [name(word) for word in words] + [
        name("V="), name("V=", PATH=f"{qemu.parent}:{os.environ['PATH']}")]
    t.check(len(set(names)) == len(words) + 2, f"two of {words} have the same name of {names}")
    for word in "CH=1", "CC=tcc", "OPT=map":
        t.check(name(word) == name("V="), f"{word} wants another snapshot")


def no_room(t):
    """Where a snapshot has no room, we boot cold and say why; no piece of it remains."""
    folder = t.dir / "warm"
    build(1, "")
    status, text = t.run("bash", "-c", "ulimit -f 20000; exec make run CH=1 O=2 "
                         f"WARM={folder.relative_to(ROOT)} LOG={folder.parent}/debug.log")
    t.check(status == 0, text)
    t.expect(r"^make run: no warm start for ten minutes; .*\.failed says why$", text)
    t.expect(r"^boot: nothing left to do, switching off$", text)
    left = [path.name for path in folder.glob("snapshot-*")]
    t.check(len(left) == 1 and left[0].endswith(".failed"), f"left: {left}")
    wake(t, r"make run: no warm start for .*\n", folder)


def killed(t):
    """Killed while it makes a snapshot, make leaves nothing that hurts the next two."""
    folder = t.dir / "warm"
    child = subprocess.Popen(["make", "snapshot", f"WARM={folder.relative_to(ROOT)}"], cwd=ROOT,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             start_new_session=True)
    while child.poll() is None and not any(folder.glob("snapshot-*.new.*")):
        time.sleep(0.001)
    os.killpg(child.pid, signal.SIGKILL)
    t.check(child.wait() == -signal.SIGKILL, "it was not killed in time")
    t.check([path for path in folder.glob("snapshot-*")], "it was killed too early")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for boot in [pool.submit(wake, t, "", folder) for _ in range(2)]:
            boot.result()
    left = [path.name for path in folder.glob("snapshot-*")]
    t.check(len(left) == 1 and re.fullmatch(r"snapshot-\d+-\d+", left[0]), f"left: {left}")


def loop(t):
    """`make loop` shows each edit's effect, a mistake too, and leaves no machine behind."""
    tree = copy_tree(t, "tree")
    log = open(t.dir / "log", "ab+")
    child = subprocess.Popen(["make", "loop", "CH=1", f"CC={FASTER}"], cwd=tree,
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             start_new_session=True)
    source = tree / "rustica.c"
    good = source.read_text()
    try:
        await_text(t, 1, r"switching off\r?\n")
        source.write_text(good.replace("switching off", "switching it off"))
        await_text(t, 1, r"switching it off\r?\n")
        source.write_text("mistake\n" + good)
        await_text(t, 1, r"error: ")
        source.write_text(good)
        await_text(t, 1, r"(?s)error: .*switching off\r?\nmake loop: waiting for you to save")
        os.killpg(child.pid, signal.SIGINT)
        t.check(patience.communicate(child, LIMIT)[2], "^C does not end it")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)


def await_text(t, times, pattern):
    waiting = patience.Patience(LIMIT)
    while len(re.findall(pattern, t.log())) < times:
        t.check(not waiting.over(), f"waited in vain for {pattern}:\n{t.log()}")
        time.sleep(0.1)


HARDER = """cd /tmp; family </dev/null; files; edges 2>/dev/null; fuzz 1 5000
rm -r /tmp/* /a /b /link; cd /; bomb; echo x | grep x; echo al''ive
"""


def tried_out(t):
    """What `make run` and `make gdb` boot, for which gcc takes less time, is made without a
    warning, says what the other kernel says, and has stack enough for what programs do."""
    t.check("warning" not in t.make("gdb-machine"), t.log())
    golden = TESTS / "golden" / f"ch{LAST:02}.txt"
    t.same_text(filtered(golden.read_text()), filtered(run_as_told(t, commands(LAST))))
    (t.dir / "typed").write_text(HARDER)
    t.expect("^alive$", run_as_told(t, t.dir / "typed"))


def run_as_told(t, stdin):
    """`make run`, with nothing said but where to log."""
    log = t.dir.relative_to(ROOT) / "debug.log"
    status, text = t.run("make", "run", f"LOG={log}", stdin=stdin)
    t.check(status == 0, text)
    return text


add("loop/incremental", incremental)
add("loop/wakes", wakes)
add("loop/names-of-snapshots", names_of_snapshots)
add("loop/no-room", no_room)
add("loop/killed", killed)
add("loop/loop", loop)
add("loop/tried-out", tried_out)


# ---- What things cost --------------------------------------------------------

def bench_rows(cc, t):
    """The program that measures gets to its end. (What it measures, `make bench` tells.)"""
    (t.dir / "in").write_text("bench\n")
    text = t.boot(CC=cc, stdin=t.dir / "in")
    for row in re.findall(r'^    \{"(.*)", \w+\},$', (ROOT / "user/bench.c").read_text(), re.M):
        t.expect(rf"^{re.escape(row)} +\d+$", text)


FIGURES = TESTS / "golden" / "speed.txt"


def figures(text, what=r"\S.*?"):
    """{what: instructions} of a table that `make bench-speed` has printed."""
    return {what: int(cost.replace(",", ""))
            for what, cost in re.findall(rf"^({what}) {{2,}}([\d,]+)(?: |$)", text, re.M)}


def bench_figures(t):
    """What the book says of costs is true, within a quarter: compilers differ."""
    build("", "gcc")
    wanted, got = figures(FIGURES.read_text()), figures(t.make("bench-speed", ALONE="1"))
    t.check(list(wanted) == list(got), f"expected the rows {list(wanted)}, got {list(got)}")
    wrong = [f"{what}: expected about {cost:,} instructions, got {got[what]:,}"
             for what, cost in wanted.items() if abs(got[what] - cost) > cost / 4]
    t.check(not wrong, "\n".join(wrong + ["If that is right, `make golden T=speed`"]))


GROWTH = TESTS / "golden" / "growth.txt"
AMONG = r"\S.*? \d+"            # what, among how many


def bench_growth(t):
    """Where there are many things, nothing takes much longer, as the book says."""
    build("", "gcc")
    wanted = figures(GROWTH.read_text(), AMONG)
    got = figures(t.make("bench-growth", ALONE="1"), AMONG)
    t.check(list(wanted) == list(got), f"expected the rows {list(wanted)}, got {list(got)}")
    least = {}
    for row, cost in got.items():
        what, _, many = row.rpartition(" ")
        first = least.setdefault(what.strip(), cost)
        t.check(cost < 2.5 * first, f"{row}: {cost:,} instructions, among ten {first:,}")
        t.check(abs(cost - wanted[row]) < wanted[row] / 2, f"{row}: expected {wanted[row]:,}")


for cc in COMPILERS:
    add("bench/rows-" + cc, bench_rows, cc)
add("bench/figures", bench_figures)
add("bench/growth", bench_growth)


# ---- What goes wrong ---------------------------------------------------------

def wrong_chapter(t):
    for ch in "99", "foo":
        status, text = t.run("make", "run", f"CH={ch}")
        t.check(status != 0, text)
        for number, _ in CHAPTERS:
            t.expect(rf"CH={number} or CH=\w+: ", text)
        t.expect(f'no chapter "{ch}"', text)


SETTINGS = {
    ("run", "CC=clang"): 'CC is gcc or tcc, not "clang"',
    ("run", "DISK=floppy"): "DISK is sata, nvme, virtio or usb",
    ("run", "DISK=usb", "OPT=map"): "say DISK= or OPT=, not both",
    ("run", "MEM=16M"): "MEM=16M is too little for the firmware",
    ("run", "BUG=vmo3"): "'make hunt BUG=vmo3' boots a kernel with this bug",
    ("run", "MEM=much", "O=2"): "QEMU ended with status 1",
    ("book", "WHAT=mobi"): "no mobi",
    ("test", "T=nonsense"): "No test has nonsense in its name",
}


def wrong_settings(t):
    """A mistake is called by its name, and costs no snapshot."""
    build("", "")
    build("", "", "snapshot")
    for words, complaint in SETTINGS.items():
        status, text = t.run("make", *words)
        t.check(status != 0 and complaint in text and "triple" not in text, f"{words}: {text}")
    folder = t.dir / "it's here"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    status, text = t.run("make", cwd=folder)
    t.check(status != 0 and "Please move it" in text, text)
    t.check("warm" not in t.make("run", O=2), "there should be a snapshot")


def disk_without_terminal(t):
    """Commands may come from a file even where the kernel cannot be told so."""
    build("", "")
    t.make("image")
    typed = t.dir / "typed"
    typed.write_text("echo do''ne\n")
    for way in {"DISK": "sata"}, {"COLD": "1"}:     # what else is typed may be echoed before it
        t.expect("done$", t.boot(stdin=typed, **way))


def two_at_once(t):
    """Each of two runs gets its own input, and ends."""
    build("", "")
    build("", "", "snapshot")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for status, text in pool.map(lambda _: t.run("make", "run", "O=2"), range(6)):
            t.check(status == 0 and "Hello from userspace!" in text, text)


def where_is_it(t):
    """What has been built since a panic is not what its addresses mean."""
    tree = copy_tree(t, "tree")
    status, text = t.run("make", "run", "CH=1", "OPT=provoke=null", cwd=tree)
    t.expect("'make where CH=1' tells its lines", text)
    before = t.make("where", CH=1, cwd=tree)
    t.expect(r"^0x\w+  provoke_null at rustica.c:\d+$", before)
    source = tree / "rustica.c"
    source.write_text("// Another line.\n" + source.read_text())
    t.same_text(before, t.make("where", CH=1, cwd=tree))
    t.make("all", CH=1, cwd=tree)      # that is another kernel, and the one before is still there
    t.same_text(before, t.make("where", CH=1, cwd=tree))
    t.make("all", CH=1, O="0", cwd=tree)
    t.expect("has been built anew", t.run("make", "where", "CH=1", cwd=tree)[1])


def wrong_option(t):
    text = t.boot(OPT="colour=green mem=much provoke=nonsense")
    t.expect(r"^boot: unknown option .colour. ignored$", text)
    t.expect(r"^zones: mem=much is not a size", text)
    t.expect(r"^boot: nothing to provoke by the name .nonsense.; there is ", text)


def refused(sentence, t, **variables):
    text = t.boot(status=3, **variables)
    t.expect(sentence, text)


# What the report of each `provoke=` says. (A new one has to be entered here.)
REPORTS = {
    "assert": r"panic at rustica\.c:\d+: assertion failed: 1 \+ 1 == 3",
    "opcode": r"exception 6, #UD",
    "null": r"exception 14, #PF .*\n  attempt to write 0x0, which is not mapped",
    "text": r"exception 14, #PF .*\n  attempt to write 0x\w+, which is mapped but forbids it",
    "data": r"exception 14, #PF .*\n  attempt to execute 0x\w+, which is mapped but forbids it",
    "canonical": r"exception 13, #GP",
    "divide": r"exception 0, #DE",
    "stack": r"exception 8, #DF .*\n  the kernel's stack has overflowed into its guard page",
    "double-free": r"panic at rustica\.c:\d+: frame 0x\w+ is free, not used",
    "late-write": r"panic at rustica\.c:\d+: free frame 0x\w+ was written to at offset 0x0",
    "heap-twice": r"panic at .* freed twice, by provoke_heap_twice\+\w+ and by provoke_heap_tw",
    "heap-overrun": r"panic at .* written past its 100 bytes \(allocated by provoke_heap_overrun",
    "parent": r"panic at rustica\.c:\d+: assertion failed: n->parent == directory",
    "queue": r"panic at rustica\.c:\d+: assertion failed: ready == \(t != thread_current",
    "interrupts": r"panic at rustica\.c:\d+: assertion failed: !cpu_interrupts_on\(\)",
    "wrong-stack": r"panic at rustica\.c:\d+: assertion failed: old->stack_top - ",
    "heap-wild": r"panic at .*: 0x\w+, passed by provoke_heap_wild\+\w+, is not from the heap",
}


def provoked(name, cc, t):
    """A mistake ends in a report, whose addresses `make where` turns into lines."""
    text = t.boot(status=3, CC=cc, OPT="provoke=" + name)
    t.check(name in REPORTS, f"tests/run.py does not know what provoke={name} should report")
    t.expect(r"^\*\*\* " + REPORTS[name], text)
    if REPORTS[name].startswith("exception"):
        t.proof("probes", 1)
    backtrace = re.findall(r"^  (0x\w+)  (\w+)\+0x\w+$", text, re.M)
    t.check("boot_start" == backtrace[-1][1], f"the backtrace should end in boot_start:\n{text}")
    source = (ROOT / "rustica.c").read_text().splitlines()
    for place in map(int, re.findall(r"panic at rustica\.c:(\d+)", text)):
        call = "\n".join(source[place - (3 if cc == "tcc" else 1):place])  # tcc names its end
        t.check("panic(" in call or "assert(" in call, f"rustica.c:{place} is: {call}")
    if cc == "gcc":     # tcc's line numbers do not survive the linker
        lines = t.make("where", O=2, LOG=(t.dir / "debug.log").relative_to(ROOT))
        for address, function in backtrace:
            if function != "cpu_boot":  # where provoke=data jumps to
                t.expect(rf"^{address}  \w+ at rustica\.c:\d+$", lines)
                name = function.replace("kernel_main", f"ch{LAST:02}_main")
                t.expect(rf"\b{name} at rustica\.c:\d+$", lines)


def missing_tool(tool, t):
    """Without a tool, make says which, and what to do; never "command not found"."""
    tools = t.dir / "bin"
    tools.mkdir()
    for folder in "/usr/bin", "/bin":
        for path in pathlib.Path(folder).iterdir():
            if path.name != tool and not (tools / path.name).exists():
                (tools / path.name).symlink_to(path)
    goal = ["image"] if tool == "mformat" else ["run"]
    status, text = t.run("make", *goal, cwd=copy_tree(t, "tree"), env={"PATH": str(tools)})
    t.check(status != 0 and "not found" not in text, text)
    t.expect(rf"^make: {tool} is missing\. 'make setup' installs it", text)
    shutil.rmtree(tools)


def nothing_to_do(t):
    """Where everything is installed, setup says so and doctor is content."""
    t.check("MISSING" not in t.make("doctor"), "make doctor misses something")
    t.expect("^Nothing to install", t.make("setup"))


add("wrong/nothing", nothing_to_do)
add("wrong/chapter", wrong_chapter)
add("wrong/settings", wrong_settings)
add("wrong/no-terminal", disk_without_terminal)
add("wrong/two-at-once", two_at_once)
add("wrong/where", where_is_it)
add("wrong/option", wrong_option)
add("wrong/little-memory", refused, "cannot run here: of .* of memory only", OPT="mem=18M")
for name in re.findall(r'\{"([\w-]+)", provoke_', (ROOT / "rustica.c").read_text()):
    for cc in COMPILERS:
        add(f"panic/{name}-{cc}", provoked, name, cc)
for tool in "gcc", "ld", "qemu-system-x86_64", "mformat":
    add("wrong/without-" + tool, missing_tool, tool)


# ---- Running them ------------------------------------------------------------

def run_one(name, function):
    """Returns [(name, complaint or "")] and the seconds it took."""
    started, source = time.monotonic(), proof.source()
    try:
        results = function(Test(name)) or [(name, "")]
    except Failed as failure:
        results = [(name, str(failure))]
    except Exception as failure:
        results = [(name, f"{type(failure).__name__}: {failure}")]
    if source == proof.source():        # else nobody knows what was tested
        proof.keep(OUT / name, source, LONG, not any(why for _, why in results))
    return results, time.monotonic() - started


def shortened(complaint, most=40):
    said = complaint.splitlines()
    gap = len(said) - most
    return said if gap < 2 else said[:4] + [f"... {gap} lines ..."] + said[gap + 4:]


# ---- The debugger ------------------------------------------------------------

for ch, _ in CHAPTERS:
    add(f"gdb/session-ch{ch:02}", gdb.replay, filtered, ch)
add("gdb/another-machine", gdb.another_machine, filtered)
for name, test in gdb.ALL:
    add("gdb/" + name, test)


# ---- Bug hunts ---------------------------------------------------------------

def hunt(name, t):
    build("", "", "snapshot")
    return hunts.hunt(name, filtered, t)


add("hunts/list", hunts.listed)
add("hunts/mended", hunts.mended, filtered)
for name in hunts.EXPECTED:
    add("hunts/" + name, hunt, name)


# ---- Exercises ---------------------------------------------------------------

def exercise(e, t):
    build(e.chapter, FASTER)
    build("", "", "snapshot")
    return exercises.exercise(e, FASTER, kernel(e.chapter, FASTER).parent, t)


add("check/table", exercises.whole, FASTER)
for e in exercises.ALL:
    if e.name in exercises.UNCHECKED:
        WITHOUT_CHECK.append(e.name)
    else:
        add("check/" + e.name, exercise, e)


# ---- Mutants -----------------------------------------------------------------

def mutants_differ(t):
    """Each mutant is another program text, of one line of code in a function."""
    drawn = list(mutants.draw(300, 7))
    for m in drawn:
        line = (ROOT / m["file"]).read_text().split("\n")[m["line"] - 1]
        t.check(line.strip() == m["was"] and m["text"].strip() != m["was"] and
                not line.startswith(("//", "#", "}")), str(m))
    t.check({m["chapter"] for m in drawn} == {0, *(ch for ch, _ in CHAPTERS)}, "all chapters")
    t.check(drawn[:100] == list(mutants.draw(100, 7)), "the same seed, other mutants")


add("mutants/differ", mutants_differ)


# ---- Proof -------------------------------------------------------------------

def proof_shown(t):
    """The table shows a figure only if its tests have passed, with the present source, for as
    long as is wanted, and have counted it."""
    figure = proof.Figure("things counted", "things", ["one", "two"], proof.least(5),
                          proof.least(50), 10)
    row = proof.Row(99, "All is well", "Somebody looks.", [figure])

    def table(long=False, **logs):
        """Of logs: one=(source, scale, passed, log)."""
        for name, (of, scale, passed, text) in logs.items():
            (t.dir / name).mkdir(exist_ok=True)
            (t.dir / name / "log").write_text(text)
            proof.keep(t.dir / name, of, scale, passed)
        said, whole = proof.lines(row, "now", long, t.dir)
        return " ".join(said[1].split()), whole

    def expect(words, whole, **logs):
        got = table(**logs)
        t.check(got == (f"things counted {words}", whole),
                f"expected: things counted {words}, {whole}\n     got: {got[0]}, {got[1]}")

    good = "now", 1, True, "proof: things 2\nproof: thingsome 7\nproof: things 1\n"
    expect("did not run at least 5 NO", False)
    expect("did not run at least 5 NO", False, one=good)
    expect("6 at least 5 yes", True, one=good, two=good)
    expect("3 at least 5 NO", False, two=("now", 1, True, "proof: things 0\n"))
    expect("no figure at least 5 NO", False, two=("now", 1, True, "proof: nothings 4\n"))
    expect("FAILED at least 5 NO", False, two=("now", 1, False, "proof: things 9\n"))
    expect("did not run at least 5 NO", False, two=("before", 1, True, "proof: things 9\n"))
    expect("did not run at least 50 NO", False, two=good, long=True)
    ten = "now", 10, True, "proof: things 9\n"
    expect("18 at least 50 less", True, one=ten, two=ten, long=True)
    expect("36 at least 50 less", True, one=(*ten[:3], ten[3] * 3), long=True)
    expect("54 at least 50 yes", True, two=(*ten[:3], ten[3] * 3), long=True)
    row = row._replace(figures=[figure._replace(tests=proof.MISSING)])
    expect("not measured at least 5 NO", False)
    row = row._replace(figures=[figure._replace(goal=proof.NONE)])
    expect("54 at most 0 NO", False)
    expect("0 at most 0 yes", True, one=(*good[:3], "proof: things 0\n"),
           two=(*good[:3], "proof: things 0\n"))


def proof_source(t):
    """Whatever changes in a tree, but for what is built, makes it another source."""
    tree = t.dir / "tree"
    (tree / "build").mkdir(parents=True)
    (tree / "a").write_text("one")
    seen = [proof.source(tree)]
    for change in (lambda: (tree / "a").write_text("two"), lambda: (tree / "b").write_text(""),
                   lambda: (tree / "b").rename(tree / "c"),
                   lambda: (tree / "d").symlink_to("a")):
        change()
        t.check(proof.source(tree) not in seen, f"{len(seen)} changes, and one is not seen")
        seen.append(proof.source(tree))
    (tree / "build" / "log").write_text("what a test says")
    t.check(proof.source(tree) == seen[-1], "what is in build/ counts as source")
    (tree / "a").write_text("one")
    (tree / "d").unlink()
    (tree / "c").unlink()
    t.check(proof.source(tree) == seen[0], "all is as it was, and it counts as another source")


def proof_table(t):
    """Each figure is of tests that there are, its command runs these, and rows are wanted by
    numbers."""
    there = {*(job[0] for job in ALL), *WITHOUT_TCC}
    for row in proof.TABLE:
        gone = [name for name in proof.tests_of(row) if name not in there]
        t.check(not gone, f"row {row.number} is of tests that there are not: {gone}")
        t.check(f"ROW={row.number}" in proof.command(row), proof.command(row))
    numbers = [row.number for row in proof.TABLE]
    t.check(numbers == list(range(1, 16)), f"the rows are {numbers}, not 1 to 15")
    status, text = t.run(sys.executable, "tests/proof.py", "16", "--fresh")
    t.check(status == 2, f"the status for a row that there is not is {status}, not 2")
    t.expect(r"^make proof: ROW= is some of 1 2 .* 15, not 16$", text)


add("proof/shown", proof_shown)
add("proof/source", proof_source)
add("proof/table", proof_table)


# ---- The book ----------------------------------------------------------------

def about_book(function, t):
    build()
    function(t)


def round_trip(function, cc, t):
    """The code taken back out of the book is the same kernel."""
    build("", cc)
    function(cc, copy_tree(t, "tree"), t, kernel("", cc))


for name, test in book.ALL:
    add("book/" + name, about_book, test)
for mark in recordings.MARKS:
    add(f"book/walk-{mark.name}", recordings.replay, filtered, mark)
add("book/walk-mistakes", recordings.mistakes)
for name, test in book.ROUND_TRIPS:
    for cc in COMPILERS:
        add(f"book/round-trip-{name}-{cc}", round_trip, test, cc)


def main(words):
    chosen = [job for job in ALL if not words or any(word in job[0] for word in words)]
    passed, failed, times = 0, [], []
    with concurrent.futures.ThreadPoolExecutor(patience.PROCESSORS) as pool:
        for job in concurrent.futures.as_completed(pool.submit(run_one, *job) for job in chosen):
            results, seconds = job.result()
            times.append((seconds, results[0][0]))
            for name, complaint in results:
                if complaint:
                    failed.append(name)
                else:
                    passed += 1
                print(f"{'FAILED' if complaint else 'ok':6} {seconds:6.1f}  {name}")
                for line in shortened(complaint):
                    print("       |", line)
            sys.stdout.flush()
    if len(times) > 5:
        slowest = sorted(times, reverse=True)[:5]
        print("slowest:", ", ".join(f"{name} {seconds:.0f} s" for seconds, name in slowest))
    for what in book.SKIPPED:
        if words and not any(word in what for word in words):
            continue
        print("skipped:", what)
    without = [name for name in WITHOUT_TCC if not words or any(word in name for word in words)]
    if without:
        print(f"skipped: {len(without)} tests of tcc, which is not installed")
    if WITHOUT_CHECK and (not words or any("check/".startswith(word) for word in words)):
        print("skipped: exercises that have no check yet:", " ".join(WITHOUT_CHECK))
    if failed:
        print("failed:", " ".join(sorted(failed)))
    if not chosen and not without:
        print(f"No test has {' or '.join(words)} in its name.")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


def golden(words):
    """Writes the transcripts, as gcc's kernels print them."""
    (TESTS / "golden").mkdir(exist_ok=True)
    for ch, _ in CHAPTERS:
        name = f"golden/ch{ch:02}"
        if not words or any(word in name for word in words):
            text = Test(name).boot(CH=ch, CC="gcc", stdin=commands(ch))
            (TESTS / f"{name}.txt").write_text(text)
            print(f"tests/{name}.txt: {len(text.splitlines())} lines")
        if not words or any(word in f"gdb/session-ch{ch:02}" for word in words):
            text = gdb.transcript(Test(f"golden/gdb-ch{ch:02}"), ch)
            (gdb.SESSIONS / f"ch{ch:02}.txt").write_text(text)
            print(f"book/gdb/ch{ch:02}.txt: {len(text.splitlines())} lines")
    if not words or "speed" in words:
        text = Test("golden/speed").make("bench-speed")
        FIGURES.write_text(text[text.index("instructions"):])
        print(f"tests/golden/speed.txt: {len(figures(text))} rows")
    if not words or "growth" in words:
        text = Test("golden/growth").make("bench-growth")
        GROWTH.write_text(text[text.index("instructions"):])
        print(f"tests/golden/growth.txt: {len(figures(text, AMONG))} rows")
    for mark in recordings.MARKS:
        name = f"book/walk-{mark.name}"
        if not words or any(word in name for word in words):
            try:
                text = recordings.recording(Test("golden/" + name), mark)
            except Failed as failure:
                sys.exit(f"{failure}")
            (ROOT / mark.file()).write_text(text)
            print(f"{mark.file()}: {len(text.splitlines()) - 1} steps")
    for hunt in hunts.EXPECTED:
        name = f"hunts/{hunt}"
        if not words or any(word in name for word in words):
            for back in [""] + ["-back"] * (hunt in hunts.PROOF_BACK):
                text = hunts.play(hunt, Test("golden/" + name), back)
                (hunts.HUNTS / f"{hunt}{back}.txt").write_text(text)
                print(f"book/{name}{back}.txt: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    patience.inherit_nothing()
    if sys.argv[1:2] == ["--hunt"]:
        sys.exit(hunts.verdict(*sys.argv[2:], filtered, Test("hunt-check")))
    words = [word for word in sys.argv[1:] if word != "--golden"]
    sys.exit(golden(words) if "--golden" in sys.argv else main(words))
