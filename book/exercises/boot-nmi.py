import re

from check import need


def check(tree):
    many = tree.number("boot-nmi.many", "how many instructions of `syscall_entry` begin while rsp "
                       "is still the program's")
    back = tree.answer("boot-nmi.back", "on the way back to the program, does an instruction of "
                       "the kernel begin with the program's rsp? (yes or no)")
    need(many == exposed(tree), f"not {many}: an NMI comes between two instructions, and finds in "
         "rsp what the first of them has left there. `syscall` itself leaves it alone")
    need(back.lower() == "no", "iretq takes rsp and the ring from the stack in one step")


def exposed(tree):
    """Counts them in the kernel: to the one that loads rsp, which is still exposed itself."""
    image = tree.build(7) / "BOOTX64.so"
    _, text = tree.run("objdump", "-D", "--no-show-raw-insn", "--disassemble=syscall_entry", image)
    code = re.findall(r"^ +[0-9a-f]+:\t(.*)$", text, re.M)
    return 1 + next(n for n, line in enumerate(code) if re.match(r"mov .*,%rsp", line))
