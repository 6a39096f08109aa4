import re

from check import need

VECTORS = (3, 14, 8)


def check(tree):
    tree.ask("boot-silence.vectors", "the three vectors, in order, as in `1 2 3`",
             "%d %d %d" % VECTORS,
             "in QEMU's log each event is a line with `v=`, and its vector in hexadecimal; the "
             "last three before `Triple fault` are meant")
    tree.ask("boot-silence.offsets", "how many bytes behind the start of the IDT the processor "
             "looked for a gate, each time, as in `0x10 0x20 0x30`",
             " ".join(str(16 * vector) for vector in VECTORS),
             "a gate has sixteen bytes; compare CR2 with the address behind `IDT=`")


def proof(tree):
    text = tree.read("rustica.c").replace("\n    cpu_init_traps();\n", "\n")
    silent = tree.variant("silence", {"rustica.c": text})
    status, _ = silent.boot(1, QFLAGS="-d int,cpu_reset")
    need(status == 9, f"no triple fault, but status {status}")
    log = (silent.out / f"{tree.cc}-ch01" / "debug.qemu").read_text("ascii", "replace")
    log = log[:log.index("Triple fault")]
    got = tuple(int(v, 16) for v in re.findall(r"^ *\d+: v=(\w\w) ", log, re.M)[-3:])
    need(got == VECTORS, f"the vectors are {got}")
    start, cr2 = (int(re.findall(word, log)[-1], 16) for word in (r"IDT= *(\w+)", r"CR2=(\w+)"))
    need(cr2 - start == 16 * VECTORS[1], f"0x{cr2:x} was read, of an IDT at 0x{start:x}")
