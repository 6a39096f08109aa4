import re

from check import need

# What the first program of chapter 7 does instead: it writes by the new gate, and looks at
# what becomes of two registers.
HELLO = r"""
#include "user.h"

long kept_rcx, kept_r11;

static long call(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("movq $0x1234, %%rcx\n movq $0x5678, %%r11\n int $0x3f\n"
                     "movq %%rcx, kept_rcx(%%rip)\n movq %%r11, kept_r11(%%rip)"
                     : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

int main(void)
{
    static const char text[] = "by the gate\n";

    if (call(SYS_WRITE, 1, (long)text, sizeof text - 1) != sizeof text - 1)
        return 1;
    return kept_rcx == 0x1234 && kept_r11 == 0x5678 ? 0 : 2;
}
"""

# And the second: all other gates stay shut.
CRASH = r"""
#include "user.h"

int main(void)
{
    __asm__ volatile("int $0x3e");
    return 3;
}
"""


def check(tree):
    tree.ask("user-gate.registers", "the registers that `syscall` overwrites and your gate "
             "preserves", "rcx r11", "SDM 2B, \"SYSCALL\": where do RIP and the flags go?")
    tree.ask("user-gate.exception", "the vector of the exception by which hello is killed if the "
             "gate has privilege 0", "13", "try it, and look up the name in trap_names")
    text = tree.variant("gate", {"user/hello.c": HELLO, "user/crash.c": CRASH}).boots(7)
    said = re.search(r"^user: running hello\n((?:.*\n)*?)user: hello ended with status (\d+)$",
                     text, re.M)
    need(said, f"a program that calls by `int $0x3f` does not come to an end:\n{text}")
    need(said[2] != "2", "after the call, rcx or r11 has another value in the program")
    need(said[2] == "0" and said[1] == "by the gate\n",
         f"a program that writes by `int $0x3f` ends with status {said[2]}, and this is what is "
         f"to be seen:\n{said[1]}")
    need(re.search(r"^user: crash killed at .* by #GP", text, re.M),
         f"`int $0x3e` should end a program by #GP: only the gate of vector 63 is open\n{text}")
