#!/usr/bin/env python3
"""What the kernel's services cost, in instructions, and what they cost on Linux.

    tests/bench.py FOLDER SNAPSHOT QEMU...      what `make bench` does

QEMU counts: with -icount shift=0 each instruction takes the guest's clock one
nanosecond further, so what user/bench.c measures in cycles is instructions, and the
kernel's start can be measured by a clock too. We boot Rustica from the snapshot and
have its shell start bench; then Debian's kernel, with the same file for its first
program.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINUX = ROOT / "build" / "linux"
PACKAGE = "linux-image-cloud-amd64"
COUNT = ["-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01T00:00:00,clock=vm"]
KERNEL_BASE = 0xffffffff80000000
LIMIT = 300


class Sorry(Exception):
    pass


# ---- A machine that counts ---------------------------------------------------
#
# GDB stops it twice, and asks for the time each time. The timer of ACPI's power
# management, at port 0x608, is a clock that the monitor can read.

TICK = 1e9 / 3579545            # instructions
READ_CLOCK = "monitor i /w 0x608"
WAIT = ("python while 'inmigrate' in gdb.execute('monitor info status', to_string=True): "
        "__import__('time').sleep(0.1)")


def run(command, first, last, commands):
    """Boots; gives it the commands when it has got to one of the addresses in `last`.
    Returns the rows that bench prints, and the instructions from `first` to there."""
    with tempfile.TemporaryDirectory() as folder:
        gate = folder + "/gdb"
        qemu = subprocess.Popen([*command, *COUNT, "-display", "none", "-serial", "stdio",
                                 "-S", "-gdb", f"unix:{gate},server=on,wait=off"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        try:
            while not pathlib.Path(gate).exists() and qemu.poll() is None:
                time.sleep(0.02)
            ticks = stopwatch(gate, first, last)
            output, errors = qemu.communicate(commands, timeout=LIMIT)
        finally:
            qemu.kill()
    rows = dict(re.findall(rb"^(.*?) {2,}(\d+)\r?$", output, re.M))
    if not rows:
        raise Sorry((output + errors).decode("ascii", "replace"))
    return {name.decode(): int(cost) for name, cost in rows.items()}, round(ticks * TICK)


def stopwatch(gate, first, last):
    words = ["set architecture i386:x86-64", f"target remote {gate}", WAIT]
    for addresses in [first], last:
        words += ["delete", *(f"hbreak *{at:#x}" for at in addresses), "continue", READ_CLOCK]
    words += ["delete", "detach"]
    text = subprocess.run(["gdb", "-nx", "-batch", *(w for word in words for w in ("-ex", word))],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=LIMIT)
    clock = [int(value, 16) for value in re.findall(r"^port\w+\[.*\] = (\w+)$",
                                                    text.stdout + text.stderr, re.M)]
    if len(clock) != 2:
        raise Sorry(text.stdout + text.stderr)
    return (clock[1] - clock[0]) % (1 << 24)


def rustica(folder, snapshot, qemu):
    """From the kernel's first instruction until it has nothing left to do but to wait
    for somebody to type."""
    symbols = subprocess.check_output(["nm", folder / "BOOTX64.so"], text=True)
    code = subprocess.check_output(["objdump", "-d", folder / "BOOTX64.so"], text=True)
    first = re.search(r"^(\w+) T boot_start$", symbols, re.M)[1]
    last = re.findall(r"^ +(\w+):\t.*\thlt", code, re.M)
    return run([*qemu, "-chardev", "null,id=log", "-append", "pipe", "-incoming",
                f"exec:cat {snapshot}"], KERNEL_BASE + int(first, 16),
               [KERNEL_BASE + int(at, 16) for at in last], b"bench\n\x04")


# ---- Linux -------------------------------------------------------------------

def debian():
    """Debian's kernel: fetched once, unpacked, never installed."""
    LINUX.mkdir(parents=True, exist_ok=True)
    if not list(LINUX.glob("boot/vmlinuz-*")):
        words = subprocess.run(["apt-cache", "depends", PACKAGE], capture_output=True, text=True)
        name = re.search(r"Depends: (linux-image-\S+)", words.stdout)
        if not name:
            raise Sorry("apt-cache does not know " + PACKAGE)
        if not list(LINUX.glob(name[1] + "_*.deb")):
            subprocess.run(["apt-get", "-qq", "download", name[1]], cwd=LINUX, check=True,
                           capture_output=True)
        subprocess.run(f"dpkg-deb --fsys-tarfile {name[1]}_*.deb | "
                       "tar x --wildcards './boot/vmlinuz-*'", shell=True, cwd=LINUX, check=True)
    return max(LINUX.glob("boot/vmlinuz-*"))


def cpio(entries):
    """An initramfs (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    archive = b""
    for number, (name, mode, device, data) in enumerate([*entries, ("TRAILER!!!", 0, (0, 0), b"")]):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields)
        archive += name.encode() + b"\0"
        archive += b"\0" * (-len(archive) % 4) + data
        archive += b"\0" * (-len(archive) % 4)
    return archive


def linux(folder, qemu):
    """From the instruction to which its boot protocol jumps, to the first of bench."""
    kernel = debian()
    root = folder / "ramdisk" / "root" / "bin"
    bench = (root / "bench").read_bytes()
    (LINUX / "initramfs").write_bytes(cpio([
        ("dev", 0o40755, (0, 0), b""), ("dev/console", 0o20600, (5, 1), b""),
        ("dev/null", 0o20666, (1, 3), b""), ("tmp", 0o41777, (0, 0), b""),
        ("bin", 0o40755, (0, 0), b""), ("bin/true", 0o100755, (0, 0), (root / "true").read_bytes()),
        ("init", 0o100755, (0, 0), bench)]))
    start = int.from_bytes(bench[24:32], "little")      # e_entry
    rows, ticks = run([*qemu, "-chardev", "null,id=log", "-kernel", str(kernel),
                       "-initrd", str(LINUX / "initramfs"), "-append",
                       "console=ttyS0 mitigations=off quiet panic=-1"], 0x100000, [start], b"")
    return kernel.name.removeprefix("vmlinuz-"), rows, ticks


# ---- The table ---------------------------------------------------------------

def without_firmware(qemu):
    """Linux starts by QEMU's own firmware, which is quicker to count."""
    words, kept = iter(qemu), []
    for word in words:
        if word in ("-bios", "-drive", "-kernel"):
            next(words)
        else:
            kept.append(word)
    return kept


def main(folder, snapshot, *qemu):
    folder = ROOT / folder
    ours, start = rustica(folder, snapshot, qemu)
    try:
        name, theirs, their_start = linux(folder, without_firmware(qemu))
        name = "Linux " + name.removesuffix("-cloud-amd64")
    except (Sorry, OSError, subprocess.SubprocessError) as why:
        print("Linux is missing from this table:", " ".join(str(why).split()))
        name, theirs, their_start = "", {}, 0
    print(f"{'instructions':40}{'Rustica':>12}{name:>18}{'ratio' if theirs else '':>8}")
    for what, cost in [*ours.items(), ("from the kernel's start to the prompt", start)]:
        other = their_start if cost is start else theirs.get(what)
        print(f"{what:40}{cost:12,}" + (f"{other:18,}{other / cost:8.1f}" if other else ""))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Sorry as why:
        sys.exit(f"make bench: {why}")
    except KeyboardInterrupt:
        sys.exit(1)
