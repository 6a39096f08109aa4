import re

from check import STEADY, need

RING = r"(#define PIPE_SIZE) \w+"


def check(tree):
    tree.ask("shell-ring.promise", "the promise, by the name of POSIX's constant", "PIPE_BUF",
             "the text about the ring's size has it; what is not longer than that is written how?")
    line = tree.answer("shell-ring.commands", "your two commands, in a line for the shell")
    whole, larger, small = (lines(tree, line, size) for size in (4096, 8192, 64))
    need(whole, f"`{line}` prints nothing")
    need(whole == larger, f"`{line}` does not always print the same lines, even with a ring that "
         f"is large enough:\n{text(whole)}\nand\n{text(larger)}")
    need(whole != small, f"the same lines come out of `{line}` with a ring of 64 bytes; how long "
         f"are they, and who else writes to the pipe at that time?\n{text(whole)}")


def text(printed):
    return "\n".join(printed)


def lines(tree, line, size):
    """What the line prints, sorted, with a ring of that size."""
    source, count = re.subn(RING, rf"\1 {size}", tree.read("rustica.c"))
    need(count == 1, "the ring's size should be given where PIPE_SIZE is defined, and nowhere else")
    said = tree.variant("ring", {"rustica.c": source}).boots(
        14, typed=f"echo '- begin'\n{line}\necho '- end'\n", **STEADY)
    part = re.search(r"^- begin\n((?:.*\n)*)- end$", said, re.M)
    need(part, f"`{line}` does not come to its end, with a ring of {size} bytes:\n{said[-1000:]}")
    return sorted(part[1].splitlines())
