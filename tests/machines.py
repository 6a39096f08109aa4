"""Machines that lack something, or have it in another form: the kernel runs there, or says
in a sentence why not, and never falls silent.
"""

import functools
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import time

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent
LONG = float(os.environ.get("RUSTICA_LONG", "1"))
ALL = []


def add(name, function, *args, **keywords):
    ALL.append((name, functools.partial(function, *args, **keywords)))


# ---- Boards ----------------------------------------------------------------------

def board(sentences, t, status=0, **variables):
    """Boots the whole and types at it; each sentence must come."""
    typed = t.dir / "typed"
    typed.write_text("sleep 0.1\necho a''wake\n")
    text = t.boot(status=status, OPT="map", COLD=1, stdin=typed, **variables)
    for sentence in sentences:
        t.expect(sentence, text)


ON = "boot: this machine cannot be switched off by us; please do it$"
NO_TIMER = "^Rustica cannot run here: there is no timer that interrupts"
RUNS = ["^awake$"]

for name, machine in {"pic-off": "q35,pic=off", "pit-off": "q35,pit=off",
                      "hpet-off": "q35,hpet=off", "i8042-off": "q35,i8042=off",
                      "old-chips-off": "pc,pic=off,pit=off,hpet=off"}.items():
    add(name, board, RUNS, MACHINE=machine)
add("acpi-off", board, RUNS + [ON], MACHINE="q35,acpi=off")
add("acpi-and-pit-off", board, RUNS + [ON], MACHINE="q35,acpi=off,pit=off")
add("apic-off", board, RUNS, CPU="max,-apic")
add("timers-off", board, [NO_TIMER], status=3, CPU="max,-apic", MACHINE="q35,pit=off")
add("pic-and-apic-off", board, [NO_TIMER], status=3, CPU="max,-apic", MACHINE="q35,pic=off")
for flag, lack in {"nx": "NX, the no-execute", "syscall": "SYSCALL", "sse2": "SSE2",
                   "tsc": "a counter of its cycles"}.items():
    add(f"no-{flag}", board, [f"cannot start: the processor lacks {lack}"], status=3,
        CPU=f"max,-{flag}")


# ---- Processors ------------------------------------------------------------------

SAMPLE = ["core2duo", "Nehalem", "Haswell", "Icelake-Server", "Denverton", "phenom",
          "Opteron_G1", "EPYC"]


def processors(t):
    """Every model of either maker that this QEMU emulates and that has 64 bits, in the long
    run; in the short one, some of each."""
    known = subprocess.run(["qemu-system-x86_64", "-cpu", "help"], text=True,
                           capture_output=True, check=True).stdout
    models = re.findall(r"^(?:x86 |  )([\w.-]+)", known[:known.index("CPUID flags")], re.M)
    old = re.compile(r"(486|athlon|coreduo|kvm32|n270|pentium\d?|qemu32)(-v1)?$|base$|host$")
    models = [m for m in models if not old.match(m)]
    t.check(set(SAMPLE) <= set(models), f"not found: {set(SAMPLE) - set(models)}")
    for model in models if LONG > 1 else SAMPLE:
        text = t.boot(CH=9, OPT="map", COLD=1, CPU=model)
        t.expect("registers disturbed: 0; fair: ", text)
        t.expect("^sched: frames lost: 0, processes left: 0, threads left: 0$", text)
        t.proof("processors", 1)


add("processors", processors)


# ---- Consoles --------------------------------------------------------------------

def silent(t, *words):
    """The command for our machine with the whole kernel, but with neither debug port nor
    serial line."""
    t.boot(stdin=TESTS / "golden" / "ch14.in")          # so it is built, and we know that it runs
    told = re.search("^machine: start (.*)$", t.make("gdb-machine", *words), re.M)[1]
    told = re.sub(r"-device isa-debugcon\S+|-chardev \S+|-d cpu_reset -D \S+", "", told)
    told = re.sub(r"\S+BOOTX64.EFI", "build/BOOTX64.EFI", told).replace("$options", "")
    return [*shlex.split(told), "-serial", "none"]


def no_console(t):
    """Without serial line, screen and debug port there is nobody to talk to: the prologue
    tells the firmware, and ends."""
    status, _ = t.run(*silent(t), "-monitor", "none")
    t.check(status == 3, f"QEMU should end with status 3, not {status}")


def read_screen(picture, font):
    """The lines of text that a picture of the screen (PPM) shows in the kernel's font."""
    glyphs = {font[4 + 16 * i:20 + 16 * i]: chr(i) for i in range(32, 127)}
    _, size, _, pixels = picture.split(b"\n", 3)
    width, height = map(int, size.split())
    lit = [any(pixels[at:at + 3]) for at in range(0, len(pixels), 3)]
    for y in range(0, height - 15, 16):
        cells = (bytes(sum(lit[(y + dy) * width + x + dx] << (7 - dx) for dx in range(8))
                       for dy in range(16)) for x in range(0, width - 7, 8))
        yield "".join(glyphs.get(cell, "?") for cell in cells).rstrip()


def screen_only(t):
    """With nothing but a screen the kernel writes there, and that nobody can type."""
    picture = t.dir / "screen.ppm"
    font = (ROOT / "build/gcc/user/font_psf").read_bytes()
    command = silent(t, "MACHINE=q35,i8042=off") + ["-vga", "std", "-monitor", "stdio"]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = []
    try:
        for _ in range(600):
            child.stdin.write(f"screendump {picture}\n")
            child.stdin.flush()
            time.sleep(0.5)
            if picture.exists() and picture.stat().st_size > 100:
                lines = list(read_screen(picture.read_bytes(), font))
            if any("nobody can type" in line for line in lines):
                break
    finally:
        child.kill()
        child.wait()
    t.check("Rustica" in lines, "\n".join(lines))
    t.check(any("nobody can type" in line for line in lines), "\n".join(lines))


add("no-console", no_console)
add("screen-only", screen_only)


# ---- Firmware of other habits -----------------------------------------------------

def another_firmware(source, cc, t):
    """Boots a kernel in which something comes before the prologue; returns status and text."""
    tree = t.dir / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git", "book", "golden"))
    (tree / "efi_main.c").rename(tree / "prologue.c")
    shutil.copy(TESTS / source, tree / "efi_main.c")
    return t.run("make", "run", "COLD=1", "OPT=map", "CH=9", f"CC={cc}", cwd=tree)


END = "^sched: frames lost: 0, processes left: 0, threads left: 0$"


def five_levels(cc, t):
    """Page tables of five levels are left for four."""
    status, text = another_firmware("five.c", cc, t)
    t.check(status == 0, text)
    t.expect("^five levels$", text)
    t.expect(END, text)


def x2apic(cc, t):
    """The APIC is taken as it is found. (QEMU's emulated processors have the newer form from
    version 9 on; before that, there is the recording test.)"""
    status, text = another_firmware("x2apic.c", cc, t)
    if "this processor has no x2APIC" in text:
        return
    t.check(status == 0, text)
    t.expect("^x2APIC$", text)
    t.expect("^sched: the timer is the local APIC's$", text)
    t.expect(END, text)


for cc in "gcc", "tcc":
    add(f"five-levels-{cc}", five_levels, cc)
add("x2apic", x2apic, "gcc")
