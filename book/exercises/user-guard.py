import re

from check import need

MIB = 1 << 20
STACK = 8 * MIB
USER_END = 0x7FFFFFFFF000

PROBE = r"""
#include "user.h"

/* Goes down by a page with each call, and touches it. */
static long deep(long pages)
{
    volatile char here[4000];

    here[0] = (char)pages;
    if (pages)
        return deep(pages - 1) + here[0];
    print("deep\n");
    return 0;
}

int main(int argc, char **argv)
{
    volatile long down = 4 * 1024 * 1024;

    (void)argv;
    print("begun\n");
    if (argc > 1)
        return *(volatile char *)((long)&down - down);
    deep(256);
    return 0;
}
"""

# Each write also tells how much is mapped.
KERNEL = """
s64 check_write(struct trap_frame *f)
{
    printf("check: %lu bytes mapped\\n", program_current()->space->size);
    return sys_write(f);
}

void check_main(void)
{
    ch07_init();
    user_add_call(SYS_WRITE, check_write);
    user_show(_binary_hello_start, _binary_hello_end, "probe", NULL);
    user_show(_binary_hello_start, _binary_hello_end, "probe", "wild");
    user_show(_binary_crash_start, _binary_crash_end, "crash", "overflow");
    printf("check: done\\n");
}
"""


def check(tree):
    probe = {"rustica.c": tree.prefix(7) + KERNEL, "user/hello.c": PROBE}
    text = tree.variant("guard", probe).boots(7, chNN="check")
    begun = re.search(r"check: (\d+) bytes mapped\nbegun\n", text)
    need(begun, f"a program does not begin:\n{text}")
    need(int(begun[1]) < MIB // 4, f"at its start a small program has {begun[1]} bytes mapped; "
         "with a stack of 64 KiB it would be less than 256 KiB")
    deep = re.search(r"check: (\d+) bytes mapped\ndeep\n.* ended with status 0\n", text)
    need(deep, "a program that goes down by a megabyte, page after page, does not survive:\n" +
         text)
    need(int(deep[1]) < STACK // 2, f"a megabyte deep, it has {deep[1]} bytes mapped: the stack "
         "has grown further than it was asked to")
    need(re.search(r"^user: running probe wild\n(.*\n){2}user: probe killed", text, re.M),
         "a program that reads four megabytes below its stack pointer has a wild pointer, and "
         "should be killed; the stack has grown instead")
    died = re.search(r"crash killed at .* attempt to write 0x(\w+)", text)
    need(died and USER_END - STACK - 4096 <= int(died[1], 16) < USER_END - STACK,
         f"`crash overflow` should die on the page below 0x{USER_END - STACK:x}, by a write:\n"
         f"{text[-400:]}")
