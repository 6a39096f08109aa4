import re

from check import EXERCISES, need

# Who has a page may be known by other things than its frame's references: it is enough that
# who was told to may write, and that nobody else finds it.
MAY_DIFFER = [
    (r"        expect_true\(m->cached\[page\] != CACHED_WRITE \|\|.*?;\n", ""),
    (r"= pmm_references\(&pmm, frame\) > 1 \? CACHED_READ : CACHED_WRITE;",
     "= writing ? CACHED_WRITE : CACHED_READ;"),
    (r"        if \(references\[i\]\)\n +expect_equal\(pmm.frame\[i\]\.references.*?;\n", "")]

# Three generations that write to what they have in common, and to what each has for itself.
FAMILY = r"""
#include "libc.h"

#define PAGES 300

static u64 memory[PAGES][512];

static void check(long generation, u64 page, u64 wanted)
{
    if (memory[page][0] != wanted || memory[page][511] != wanted) {
        say("wrong: in generation %ld, page %lu has %lu and %lu instead of %lu\n", generation,
            page, memory[page][0], memory[page][511], wanted);
        done(0);
        exit(1);
    }
}

static void set(u64 page, u64 value)
{
    memory[page][0] = memory[page][511] = value;
}

/* Who has looked at a page may have it mapped before it is written to. */
static void look(void)
{
    static volatile u64 sum;
    u64 i;

    for (i = 0; i < PAGES; i++)
        sum += *(volatile u64 *)memory[i];
}

static void live(long generation)
{
    u64 i, before = (u64)generation * 1000;
    int status;
    long pid;

    look();
    for (i = 0; i < PAGES; i += (u64)generation)
        set(i, before + i);
    if (generation == 4)
        return;
    pid = fork();
    if (!pid) {
        live(generation + 1);
        exit(0);
    }
    look();
    for (i = 1; i < PAGES; i += 7)
        set(i, before + 500 + i);
    wait4(pid, &status, 0);
    if (status)
        exit(1);
    for (i = 0; i < PAGES; i++)
        if (i % 7 == 1)
            check(generation, i, before + 500 + i);
        else if (i % (u64)generation == 0)
            check(generation, i, before + i);
}

int main(void)
{
    int i;

    for (i = 0; i < 3; i++)
        live(1);
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    tree.host(EXERCISES / "vmo-parents.c")
    tests = tree.read("tests/host/vmo.c")
    for pattern, instead in MAY_DIFFER:
        tests, count = re.subn(pattern, lambda _: instead, tests, count=0, flags=re.S)
        need(count == 1, "tests/host/vmo.c has changed; this check needs it as it was")
    tree.variant("parents", {"tests/host/vmo.c": tests}).host_tests("vmo", 5)
    tree.judge(14, "hello", FAMILY, typed="hello\n", OPT="audit")
