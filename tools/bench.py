#!/usr/bin/env python3
"""What the kernel's services cost, in instructions, and what they cost on Linux.

    tools/bench.py [--alone] [--growth] FOLDER KERNEL SNAPSHOT QEMU...

is what `make bench-speed` and `make bench-growth` do.

QEMU counts: with -icount shift=0 the processor's counter of cycles, which user/bench.c
reads, counts instructions. We boot Rustica from the snapshot and have its shell start
bench; then Debian's kernel, with the same file for its first program.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINUX = ROOT / "build" / "linux"
PACKAGE = "linux-image-cloud-amd64"
COUNT = ["-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01T00:00:00,clock=vm"]
COUNTER = "the counter at the start"        # a row of bench that is not in our table,
START = "from the kernel's start to the prompt"     # and one that is not in bench's
LIMIT = 3600                    # seconds: against a machine that hangs


class Sorry(Exception):
    pass


# ---- A machine that counts ---------------------------------------------------

def start(qemu, log, *words):
    return subprocess.Popen([*qemu, *COUNT, "-display", "none", "-serial", "stdio", "-chardev",
                             f"file,id=log,path={log}", *words], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)


def table(qemu, commands, *words):
    """Boots, types commands when the kernel says something, and returns bench's rows."""
    child = start(qemu, "/dev/null", *words)
    ringing = threading.Timer(LIMIT, child.kill)
    ringing.start()
    try:
        text = child.stdout.readline()
        text += child.communicate(commands)[0]
    finally:
        ringing.cancel()
        child.kill()
    text = text.decode("ascii", "replace")
    rows = re.findall(r"^(.*?) {2,}(\d+)\r?$", text, re.M)
    if not rows:
        raise Sorry(text)
    return {name: int(cost) for name, cost in rows}


# When does a kernel start, and when is it done? We have it say so itself, by writing
# these instructions over some of its own. They work in 32-bit mode too.

PROBE = bytes.fromhex("0f31"                # rdtsc
                      "b904000000"          # movl $4, %ecx
                      "e6e9 c1e808 e2f9"    # 1: outb %al, $0xe9; shrl $8, %eax; loop 1b
                      "e6f4")               # outb %al, $0xf4, which ends QEMU
INT3 = b"\xcc"


def moment(qemu, image, changes, *words):
    """The counter when the changed kernel executes a probe, modulo 2 ** 32."""
    image = bytearray(image)
    for at, code in changes.items():
        image[at:at + len(code)] = code
    with tempfile.TemporaryDirectory() as folder:
        kernel, log = folder + "/kernel", folder + "/log"
        pathlib.Path(kernel).write_bytes(image)
        text = start(qemu, log, *words, "-kernel", kernel).communicate(timeout=LIMIT)[0]
        said = pathlib.Path(log).read_bytes()
    if len(said) < 4:
        raise Sorry(text.decode("ascii", "replace"))
    return int.from_bytes(said[-4:], "little")


def wake_from(snapshot):
    if not pathlib.Path(snapshot).exists():
        raise Sorry(f"there is no snapshot to start from; {snapshot}.failed says why")
    return ["-append", "pipe", "-incoming", f"exec:cat {snapshot}"]


def rustica(folder, kernel, snapshot, qemu):
    """It starts with boot_start(), and is ready when the processor would halt for the first
    time. There we put a breakpoint, and the probe where breakpoints lead."""
    image, symbols = kernel.read_bytes(), {}
    for line in output("nm", folder / "BOOTX64.so").splitlines():
        value, _, name = line.rpartition(" ")
        symbols[name] = value.split()[0]
    text = folder / "text"
    output("objcopy", "-O", "binary", "-j", ".text", folder / "BOOTX64.so", text)
    code = output("objdump", "-d", "-j", ".text", folder / "BOOTX64.so")
    base = image.index(text.read_bytes()) - int(symbols["image_text"], 16)
    place = {name: base + int(at, 16) for name, at in symbols.items()}
    halts = {base + int(at, 16): INT3 for at in re.findall(r"^ +(\w+):\t.*\thlt", code, re.M)}
    wake = wake_from(snapshot)
    first = moment(qemu, image, {place["boot_start"]: PROBE}, *wake)
    ready = moment(qemu, image, {**halts, place["trap_stubs"] + 3 * 16: PROBE}, *wake)
    rows = table(qemu, b"bench\n\x04", *wake, "-kernel", str(kernel))
    return {**rows, START: (ready - first) % (1 << 32)}


def output(*command):
    return subprocess.check_output([str(word) for word in command], text=True)


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


def linux_words(folder, *arguments):
    """QEMU's options for Debian's kernel with bench as its first program."""
    root = folder / "ramdisk" / "root" / "bin"
    (LINUX / "initramfs").write_bytes(cpio([
        ("dev", 0o40755, (0, 0), b""), ("dev/console", 0o20600, (5, 1), b""),
        ("dev/null", 0o20666, (1, 3), b""), ("tmp", 0o41777, (0, 0), b""),
        ("bin", 0o40755, (0, 0), b""),
        ("bin/true", 0o100755, (0, 0), (root / "true").read_bytes()),
        ("init", 0o100755, (0, 0), (root / "bench").read_bytes())]))
    return ["-initrd", str(LINUX / "initramfs"), "-append",
            " ".join(["console=ttyS0 mitigations=off quiet panic=-1", *arguments])]


def linux(folder, qemu):
    """It starts where its boot protocol jumps to, and is ready when bench starts."""
    kernel = debian()
    image = kernel.read_bytes()
    words = linux_words(folder)
    first = moment(qemu, image, {(image[0x1f1] + 1) * 512: PROBE}, *words)   # setup_sects
    rows = table(qemu, b"", *words, "-kernel", str(kernel))
    return kernel.name, {**rows, START: (rows[COUNTER] - first) % (1 << 32)}


# ---- The table ---------------------------------------------------------------

def without_firmware(qemu):
    """Linux starts by QEMU's own firmware, which is quicker to count."""
    found = [i for i, word in enumerate(qemu) if word in ("-bios", "-drive")]
    return [word for i, word in enumerate(qemu) if i not in found and i - 1 not in found]


def growth(folder, kernel, snapshot, qemu):
    return table(qemu, b"bench growth\n\x04", *wake_from(snapshot), "-kernel", str(kernel))


def linux_growth(folder, qemu):
    kernel = debian()
    return kernel.name, table(qemu, b"", *linux_words(folder, "growth"), "-kernel", str(kernel))


def main(alone, measure, measure_linux, folder, kernel, snapshot, *qemu):
    folder = ROOT / folder
    ours, theirs, name = measure(folder, ROOT / kernel, snapshot, qemu), {}, ""
    try:
        if not alone:
            name, theirs = measure_linux(folder, without_firmware(qemu))
        name = re.sub(r"vmlinuz-([\d.-]*\d).*", r"Linux \1", name)
    except (Sorry, OSError, subprocess.SubprocessError) as why:
        print("Linux is missing from this table:", " ".join(str(why).split()))
    heading = "instructions" if measure is rustica else f"{'instructions, among':37}"
    print(f"{heading:40}{'Rustica':>12}{name:>18}{'ratio' if theirs else '':>8}")
    for what, cost in ours.items():
        other = theirs.get(what)
        if what != COUNTER:
            print(f"{what:40}{cost:12,}" + (f"{other:18,}{other / cost:8.1f}" if other else ""))


if __name__ == "__main__":
    try:
        words = [word for word in sys.argv[1:] if not word.startswith("--")]
        ways = (growth, linux_growth) if "--growth" in sys.argv else (rustica, linux)
        main("--alone" in sys.argv, *ways, *words)
    except Sorry as why:
        sys.exit(f"make bench: {why}")
    except KeyboardInterrupt:
        sys.exit(1)
