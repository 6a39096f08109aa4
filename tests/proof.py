#!/usr/bin/env python3
"""How do we know? What is promised, what was reached, and the command that shows it.

    tests/proof.py [ROW ...]          the table; ROW is a number        make proof ROW=3
    tests/proof.py --fresh [ROW ...]  run all tests of it, whatever earlier runs have found
    tests/proof.py --long [ROW ...]   the figures of the long run, too: for a night

A figure is nowhere but in the log of a test that has passed: a line `proof: WHAT NUMBER`,
which the test writes from what has happened. A test that ends leaves beside its log for which
source that was; `make test` does so, too. Whatever has changed since, be it a file or a
compiler, a result of before counts for nothing, and the test runs again. The status is 1 if a
first figure is not reached.
"""

import collections
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "test"

# A figure: what is counted, the word in the logs, the tests that count it; what has to be
# reached, at least or (negative: -0.0 is none) at most; in the long run; with which
# RUSTICA_LONG. If no test measures it yet, there is none, and the table says so.
Figure = collections.namedtuple("Figure", "what word tests goal long scale",
                                defaults=[None, None])
# How: in a sentence or two, which the book prints as well.
Row = collections.namedtuple("Row", "number promise how figures")
NONE, HALF, MISSING = ("at most", 0), ("at most", 50), []


def least(number):
    return "at least", number


COMPILERS = "gcc", "tcc"
HOST = ["host/boot", "host/elf", "host/zones"]
SHOWN = [f"boot/ch{ch:02}-{cc}" for ch in (5, 7, 8, 9, 11, 12, 13) for cc in COMPILERS]
BOMBS = ["abuse/bombs-96M-tcc", "abuse/bombs-128M", "abuse/bombs-512M"]
PROBES = [f"panic/{name}-gcc" for name in ("opcode", "null", "text", "data", "canonical", "divide",
                                           "stack")]
DISKS = [f"machine/disk-{bus}" for bus in ("sata", "nvme", "virtio", "usb")]

TABLE = [
    Row(1, "Nothing leaks: whatever programs do, every counter is afterwards what it was",
        "What there is of frames, bytes of the heap, threads and each type of object is counted "
        "from outside, by the debugger, before and after programs that end, crash and are "
        "killed.", [
        Figure("programs that ran and ended, crashed or were killed", "spawns", ["gdb/spawns"],
               least(2000), least(100_000), 50),
        Figure("counters that differ", "differences", ["gdb/spawns"], NONE, NONE, 50),
        Figure("frames lost by the chapters' examples", "lost", SHOWN, NONE)]),
    Row(2, "Every allocation may fail, and then somebody says so and nothing is half done",
        "The n-th allocation fails, for n = 1, 2, 3 and on, until the command succeeds; each "
        "time somebody has to say so, and the audits have to find nothing.", [
        Figure("allocations of a shell's command that failed in turn", "tries",
               ["gdb/every-allocation-pmm", "gdb/every-allocation-heap"], least(40)),
        Figure("per cent of all places that allocate", "places", MISSING, least(100))]),
    Row(3, "No pointer of a program's hurts the kernel",
        "Each argument that is a pointer, of the system calls that Linux has as well, times "
        "pointers that lead to what a program must not touch, times lengths that go over every "
        "edge: refused with the same error.", [
        Figure("pairs of hostile pointers and lengths", "pairs", ["abuse/pointers"],
               least(4000))]),
    Row(4, "The processor's protections are on",
        "Something forbidden is done on purpose, and the exception has to be the right one. "
        "Besides, all page tables are walked: nothing is both writable and executable, and no "
        "frame of the kernel's can be reached by programs.", [
        Figure("probes that fault as they must", "probes", [*PROBES, "boot/ch07-gcc"], least(30)),
        Figure("audits of all page tables", "audits", ["abuse/audit-gcc", "abuse/audit-tcc"],
               least(400))]),
    Row(5, "Whatever a file, a table or a line contains, who reads it accepts or refuses it",
        "The kernel's own readers run as a program of the host, under sanitizers, with what "
        "chance makes of good input; installed files are also judged by a second reader.", [
        Figure("random files, maps, tables, lines read", "executions", HOST, least(1_000_000),
               least(100_000_000), 800),
        Figure("installed files judged as by another reader", "files", ["host/elf"], least(500)),
        Figure("wrong ELF files by name", "cases", ["host/elf"], least(60))]),
    Row(6, "The allocators do what simple models of them do",
        "The allocators run side by side with a model that is too simple to be wrong, and after "
        "each step both must say the same; sanitizers watch.", [
        Figure("steps of the frames' allocator", "steps", ["host/pmm"], least(10_000_000),
               least(1_000_000_000), 100),
        Figure("steps of the heap", "steps", ["host/heap"], least(10_000_000),
               least(1_000_000_000), 5000),
        Figure("steps inside the kernel", "steps", ["boot/ch03-gcc"], least(1_000_000))]),
    Row(7, "Every system call returns, whatever it is given",
        "Several processes make system calls with arguments drawn by chance from a known seed, "
        "while the kernel's audits are on; afterwards nothing is missing.", [
        Figure("random calls", "calls", ["abuse/fuzz-gcc", "abuse/fuzz-tcc"], least(200_000),
               least(50_000_000), 250),
        Figure("errors of the manual that were seen, per cent", "errors", MISSING, least(100))]),
    Row(8, "Copy-on-write is the same as a copy",
        "Trees of memory objects, their clones and slices are written to at random, beside "
        "arrays of bytes that are simply copied; afterwards each byte has to be the same.", [
        Figure("random operations beside arrays of bytes", "operations", ["host/vmo"],
               least(1_000_000)),
        Figure("orders in which five relatives are closed", "orders", ["host/vmo"], least(120))]),
    Row(9, "Who takes all there is of something does not stop the others",
        "Programs take all there is of memory, processes, handles, pipes, files. Afterwards the "
        "shell answers, and every counter is what it was.", [
        Figure("bombs survived, on three sizes of memory", "bombs", BOMBS, least(30))]),
    Row(10, "The tests can fail",
        "Small changes are planted in the kernel, one at a time: operators, constants, "
        "conditions, statements dropped. The tests have to notice.", [
        Figure("per cent of small changes that they notice", "killed", "mutants", least(90)),
        Figure("small changes tried", "tried", "mutants", least(20), least(2000)),
        Figure("per cent of lines that host tests reach", "lines", MISSING, least(100)),
        Figure("per cent of branches", "branches", MISSING, least(95))]),
    Row(11, "The processor is shared fairly, and nobody notices that he was interrupted",
        "Threads fill their registers with patterns of their own and look whether they keep "
        "them.", [
        Figure("registers found disturbed", "disturbed", ["boot/ch09-gcc", "boot/ch09-tcc"], NONE),
        Figure("switches among those who look", "switches", MISSING, least(100_000))]),
    Row(12, "It boots everywhere, and accounts for each frame of the firmware's map",
        "Machines with little and with much memory, with either chipset, firmware and processor "
        "boot to the end, and the frames counted add up to what the firmware's map says.", [
        Figure("machines: memory, chipset, firmware, processor", "machines", ["machine/matrix"],
               least(10), least(40), 2),
        Figure("kinds of disk", "machines", DISKS, least(4)),
        Figure("models of processors", "processors", ["machine/processors"], least(8),
               least(20), 2)]),
    Row(13, "The kernel's stacks are large enough",
        "Kernel stacks are filled with a pattern at first; at power-off we look how far down it "
        "is gone. Below each lies a page that is not there.", [
        Figure("per cent used of the fullest, by gcc", "percent", ["abuse/stacks-gcc"], HALF),
        Figure("per cent used of the fullest, by tcc", "percent", ["abuse/stacks-tcc"], HALF)]),
    Row(14, "It stays up, and does not grow",
        "One machine, a terminal, and a conversation with the shell over and over: lines "
        "edited, programs interrupted, pipes. The memory in use after each round is that of the "
        "first.", [
        Figure("seconds of conversation with the shell", "seconds", ["session/soak"], least(180),
               least(1800), 10)]),
    Row(15, "The same source makes the same bytes, wherever and whenever",
        "The tree is built again in a folder of another name, at another time.", [
        Figure("kernels and disks that are identical", "identical",
               ["build/folders-gcc", "build/folders-tcc"], least(8))]),
]

# What no row is about; the book says it as well.
OUTSIDE = """\
Faults of the compiler, of the firmware and of the emulator: we test with those that there
are, and trust them for the rest. Timing channels: how long a call takes may tell one program
what another has done. Leaks like Spectre, by what a processor does ahead of time and takes
back. Devices that mean harm: one that may write to memory may write to all of it, for we have
no IOMMU between them. And what nobody has thought of: a test shows a mistake, never that
there is none."""


# ---- What a result is of ---------------------------------------------------------

@functools.lru_cache(None)
def tools():
    """Those that decide what a test finds, as they call themselves."""
    return [subprocess.run([name, flag], text=True, capture_output=True).stdout
            for name, flag in (("gcc", "--version"), ("tcc", "-v"), ("ld", "--version"),
                               ("qemu-system-x86_64", "--version"), ("gdb", "--version"))
            if any((pathlib.Path(folder) / name).exists()
                   for folder in os.environ["PATH"].split(":"))]


SUMS = {}       # path -> (what stat() says, checksum): a test asks twice, and there are many


def checksum(path):
    if path.is_symlink():
        return os.readlink(path)
    now = path.stat()
    now = now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino
    if SUMS.get(path, (None,))[0] != now:
        SUMS[path] = now, hashlib.sha256(path.read_bytes()).hexdigest()
    return SUMS[path][1]


def source(root=ROOT):
    """A checksum of all files that are nobody's output, and of the tools."""
    total = hashlib.sha256(repr(tools()).encode())
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - {"build", ".git", "__pycache__"})
        for path in (pathlib.Path(folder) / name for name in sorted(files)):
            total.update(f"{path.relative_to(root)} {checksum(path)}\n".encode())
    return total.hexdigest()[:16]


def keep(folder, of, scale, passed):
    """A test has ended."""
    if folder.exists():
        (folder / "result").write_text(json.dumps({"source": of, "scale": scale,
                                                   "passed": passed}) + "\n")


def result(test, now, scale, out=OUT):
    """What a test has left for the present source, at least at this scale; None if nothing."""
    try:
        found = json.loads((out / test / "result").read_text())
    except (OSError, ValueError):
        return None
    return found if found["source"] == now and found["scale"] >= scale else None


# ---- Figures ---------------------------------------------------------------------

def numbers(figure, out=OUT):
    """What each of the tests has counted: one list of numbers for each."""
    return [[int(number) for number in re.findall(
        rf"^proof: {figure.word} (\d+)$", (out / test / "log").read_text(errors="replace"), re.M)]
        for test in figure.tests]


def from_mutants(figure):
    """build/mutants/results, which has a checksum of its own for each line."""
    import mutants
    version = next(iter(mutants.draw(1, 1)))["id"].split(":")[0]
    tried = [m for m in mutants.known().values()
             if m["killer"] != "" and m["id"].startswith(version)]
    if not tried:
        return None, "not measured: make mutants"
    killed = sum(bool(m["killer"]) for m in tried)
    return (len(tried) if figure.word == "tried" else 100 * killed // len(tried)), ""


def reached(figure, now, long=False, out=OUT):
    """The figure, and if there is none, why."""
    if figure.tests == "mutants":
        return from_mutants(figure)
    if not figure.tests:
        return None, "not measured"
    found = [result(test, now, figure.scale or 1 if long else 1, out) for test in figure.tests]
    if not all(found):
        return None, "did not run"
    if not all(one["passed"] for one in found):
        return None, "FAILED"
    figures = numbers(figure, out)
    return (sum(map(sum, figures)), "") if all(figures) else (None, "no figure")


def good(number, goal):
    return number is not None and (number >= goal[1] if goal[0] == "at least" else
                                   number <= goal[1])


def tests_of(row):
    return list(dict.fromkeys(test for figure in row.figures if figure.tests != "mutants"
                              for test in figure.tests))


def command(row):
    """What reproduces a row. The tests that count something are named in the book."""
    mutants = any(figure.tests == "mutants" for figure in row.figures)
    return "make mutants N=20 && " * mutants + f"make proof FRESH=1 ROW={row.number}"


# ---- The table -------------------------------------------------------------------

def lines(row, now, long=False, out=OUT):
    """What there is to say of a row, and whether its first figures are reached."""
    said, whole = [f"{row.number:2}  {row.promise}"], True
    for figure in row.figures:
        is_long = long and figure.long is not None
        number, why = reached(figure, now, is_long, out)
        fine = good(number, figure.goal)
        whole = whole and fine
        goal = figure.long if is_long else figure.goal
        verdict = "yes" if good(number, goal) else "less" if fine else "NO"
        said.append(f"      {figure.what:52} {why or format(number, ','):>14}  "
                    f"{goal[0]} {goal[1]:>13,}  {verdict}")
    return said + [f"      {command(row)}"], whole


def run(rows, now, fresh, long):
    """Runs the tests that have left nothing for the present source."""
    wanted = {}
    for row in rows:
        for figure in row.figures:
            scale = figure.scale if long and figure.scale else 1
            for test in figure.tests if figure.tests != "mutants" else ():
                wanted[test] = max(scale, wanted.get(test, 1))
    missing = {test: scale for test, scale in wanted.items()
               if fresh or not result(test, now, scale)}
    print(f"proof: {len(wanted)} tests; {len(wanted) - len(missing)} have passed or failed with "
          f"this source, {len(missing)} run now", flush=True)
    for scale in sorted(set(missing.values())):
        subprocess.run([sys.executable, ROOT / "tests" / "run.py",
                        *(test for test, wants in missing.items() if wants == scale)],
                       env={**os.environ, "RUSTICA_LONG": str(scale)}, cwd=ROOT)


def main(words):
    flags = {word for word in words if word.startswith("-")}
    chosen = [word for word in words if word not in flags]
    known = [str(row.number) for row in TABLE]
    if flags - {"--fresh", "--long"} or set(chosen) - set(known):
        print(__doc__ if flags & {"-h", "--help"} else
              f"make proof: ROW= is some of {' '.join(known)}, not "
              f"{' '.join(sorted(set(words) - set(known) - {'--fresh', '--long'}))}")
        return 2
    rows = [row for row in TABLE if not chosen or str(row.number) in chosen]
    now, long = source(), "--long" in flags
    run(rows, now, "--fresh" in flags, long)
    if source() != now:
        print("make proof: the source has changed meanwhile; run it again")
        return 1
    print(f"\n{'':6}{'what is counted':52} {'reached':>14}  goal")
    count = 0
    for row in rows:
        said, whole = lines(row, now, long)
        count += whole
        print("\n" + "\n".join(said))
    print(f"\n{count} of {len(rows)} promises are kept to their first figures")
    return 0 if count == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
