import re

from check import need

PROGRAM = r"""
#include "libc.h"

static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

/* Two pages, of which the second is taken away again. Returns where that was. */
static char *make_edge(void)
{
    char *at = (char *)syscall6(SYS_MMAP, 0, 2 * 4096, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    syscall3(SYS_MUNMAP, (long)at + 4096, 4096, 0);
    return at + 4096;
}

int main(void)
{
    char *edge = make_edge();
    long n, got;

    for (n = 1; n <= 16; n++) {
        memcpy(edge - n, letters, (u64)n);
        got = write(1, edge - n, 100);
        say(" %ld of %ld\n", got, n);
        done(0);
    }
    for (n = 0; n < 300; n++)
        edge[n - 300] = letters[n % 26];
    got = write(1, edge - 300, 1000);
    say(" %ld of 300\n", got);
    got = write(1, edge, 100);
    say("nothing %ld\n", got);
    done(0);
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    text = tree.judge(8, "calls", PROGRAM)
    letters = "abcdefghijklmnopqrstuvwxyz" * 12
    for n in *range(1, 17), 300:
        need(f"\n{letters[:n]} {n} of {n}\n" in "\n" + text,
             f"a program writes more bytes than there are; the first {n} are mapped. Instead of "
             f"these and the number {n} there is\n" +
             "\n".join(re.findall(rf"^.* of {n}$", text, re.M)))
    need("\nnothing -14\n" in text, "who writes from where nothing is mapped should be told so:\n" +
         text[-200:])
    tree.ask("sys-partial.arrive", "of 13 mapped bytes, how many arrive if the routine gives up at "
             "the word that fails, instead of trying it byte by byte?", "8",
             "which instruction copies them, and how many at a time?")


def proof(tree):
    text = tree.read("rustica.c")
    retry = '(%rdx,%rcx,8), %rcx\\n"\n        "    jmp sys_copy_bytes'
    need(retry in text, "sys_copy_retry looks different now")
    text = text.replace(retry, retry.replace("sys_copy_bytes", "sys_copy_end"))
    said = tree.variant("no-retry", {"rustica.c": text}).judge(8, "calls", PROGRAM)
    need(re.search(r"^abcdefgh 8 of 13$", said, re.M), said)
