import re

from check import STEADY, need

# The program that the check's kernel starts again and again, each time with another argument.
PROGRAM = r"""
#include "user.h"

#define THREAD %d
#define MILLION 1000000L
#define MANY 40

static volatile long second_ran, second_stack, counter, wanted, there;
static char stacks[MANY][4096] aligned_to(16);

static void stop(int status)
{
    syscall3(SYS_EXIT, status, 0, 0);
}

static void sleep(long milliseconds)
{
    struct timespec t = {milliseconds / 1000, milliseconds %% 1000 * 1000000};

    syscall3(SYS_NANOSLEEP, (long)&t, 0, 0);
}

static long thread(void (*entry)(void), int n)
{
    return syscall3(THREAD, (long)entry, (long)(stacks[n] + sizeof stacks[n] - 8), 0);
}

/* Waits for the other one, who has to come without being let. */
static void wait_for(volatile long *what, long value)
{
    while (*what != value)
        ;
}

static void note(void)
{
    long here;

    second_stack = (long)&here;
    second_ran = 1;
    for (;;)
        counter++;
}

static int share(void)
{
    long before;

    if (thread(note, 0) < 0)
        return 2;
    wait_for(&second_ran, 1);
    if (second_stack < (long)stacks[0] || second_stack > (long)stacks[1])
        return 3;
    before = counter;
    while (counter == before)
        ;
    return 1;
}

/* One instruction for each, or three, and a while between them: QEMU lets interrupts in where
   it has come to a jump, and perhaps at the same place each time. */
static void by_one(void)
{
    long i;

    for (i = 0; i < MILLION; i++)
        __asm__ volatile("incq %%0" : "+m"(counter));
    there = there + 1;
}

static void by_three(void)
{
    long i;

    for (i = 0; i < MILLION; i++)
        __asm__ volatile("movq %%0, %%%%rax\n movl $9, %%%%ecx\n1: decl %%%%ecx\n jnz 1b\n"
                         "incq %%%%rax\n movq %%%%rax, %%0" : "+m"(counter) : : "rax", "rcx");
    there = there + 1;
}

static void second_by_one(void)
{
    by_one();
    for (;;)
        ;
}

static void second_by_three(void)
{
    by_three();
    for (;;)
        ;
}

static int count_by_one(void)
{
    thread(second_by_one, 0);
    by_one();
    wait_for(&there, 2);
    return counter == 2 * MILLION ? 1 : 2;
}

static int count_by_three(void)
{
    thread(second_by_three, 0);
    by_three();
    wait_for(&there, 2);
    return counter >= 2 * MILLION ? 2 : counter < 2 ? 3 : 1;
}

/* Registers, the vector registers too, are each thread's own: the number comes back, from both
   kinds, after a while, or not. */
long disturbed(long value);

__asm__(".text\n.globl disturbed\ndisturbed:\n"
        " pushq %%rbx\n movq %%rdi, %%rbx\n movd %%edi, %%xmm3\n movl $3000000, %%ecx\n"
        "1: decl %%ecx\n jnz 1b\n"
        " movd %%xmm3, %%eax\n subq %%rdi, %%rax\n subq %%rdi, %%rbx\n orq %%rbx, %%rax\n"
        " popq %%rbx\n ret\n");

static void second_computes(void)
{
    long i, bad = 0;

    for (i = 0; i < 5; i++)
        bad |= !!disturbed(0x2222);
    there = bad ? 2 : 1;
    for (;;)
        ;
}

static int registers(void)
{
    long i, bad = 0;

    thread(second_computes, 0);
    for (i = 0; i < 5; i++)
        bad |= !!disturbed(0x1111);
    while (!there)
        ;
    return bad ? 2 : there == 1 ? 1 : 3;
}

static int one_sleeps(void)
{
    long before;

    thread(note, 0);
    wait_for(&second_ran, 1);
    before = counter;
    sleep(100);
    return counter > before + 10000 ? 1 : 2;
}

/* Ends. */

static void second_ends(void)
{
    sleep(50);
    stop(21);
}

static void second_sleeps(void)
{
    second_ran = 1;
    sleep(100000);
    stop(31);
}

static void second_faults(void)
{
    volatile long *nowhere = (volatile long *)0x10000000;

    *nowhere = 1;
}

static int first_sleeps(void)
{
    thread(second_ends, 0);
    sleep(100000);
    return 32;
}

static int second_computes_on(void)
{
    thread(note, 0);
    wait_for(&second_ran, 1);
    return 22;
}

static int second_sleeps_on(void)
{
    thread(second_sleeps, 0);
    wait_for(&second_ran, 1);
    return 23;
}

static int fault(void)
{
    thread(second_faults, 0);
    sleep(100000);
    return 33;
}

static int nowhere(void)
{
    if (syscall3(THREAD, 1L << 47, (long)(stacks[1] - 8), 0) < 0)
        return 24;
    sleep(1000);
    return 34;
}

static int many(void)
{
    int i;

    for (i = 0; i < MANY; i++)
        if (thread(i %% 2 ? note : second_sleeps, i) < 0)
            return 35;
    sleep(1500);
    return 25;
}

static const struct {
    const char *name;
    int (*run)(void);
} cases[] = {{"share", share}, {"by-one", count_by_one}, {"by-three", count_by_three},
             {"registers", registers}, {"one-sleeps", one_sleeps}, {"first-sleeps", first_sleeps},
             {"second-computes", second_computes_on}, {"second-sleeps", second_sleeps_on},
             {"fault", fault}, {"nowhere", nowhere}, {"many", many}};

int main(int argc, char **argv)
{
    u64 i;

    for (i = 0; argc > 1 && i < sizeof cases / sizeof *cases; i++)
        if (equal(argv[1], cases[i].name))
            return cases[i].run();
    return 99;
}
"""

KERNEL = """
void check_main(void)
{
    static const char *const cases[] = {CASES};
    u64 i, start, free_before = 0;
    int status;

    ch09_init();
    for (i = 0; i < array_count(cases); i++) {
        if (i == 1) {
            heap_trim(&heap);
            free_before = pmm.states[FRAME_FREE];
        }
        printf("check: case %s\\n", cases[i]);
        start = time_now();
        status = process_wait(sched_start(_binary_hello_start, _binary_hello_end, "hello",
                                          cases[i]));
        printf("check: %s %d %lu\\n", cases[i], status, (time_now() - start) / 1000000);
    }
    heap_trim(&heap);
    pmm_audit(&pmm);
    printf("check: lost %lu, processes %lu, threads %u\\n",
           free_before - pmm.states[FRAME_FREE], process_type.live, sched.threads);
}
"""

# What each case should end with, and what it means if it does not.
CASES = {
    "share": ({1}, "a second thread should run at its entry, on its stack, see the same memory, "
              "and both should go on without anybody's yielding"),
    "by-one": ({1}, "of two million increments, each one instruction, none should be lost"),
    "by-three": ({1}, "of two million increments, each three instructions, some should be lost: "
                 "does a thread's slice end?"),
    "registers": ({1}, "each thread should have its own registers, vector registers among them"),
    "one-sleeps": ({1}, "while one thread sleeps the other should run"),
    "first-sleeps": ({21}, "the second thread exits with status 21 while the first sleeps"),
    "second-computes": ({22}, "the first thread exits with status 22 while the second computes"),
    "second-sleeps": ({23}, "the first thread exits with status 23 while the second sleeps"),
    "fault": ({139}, "a second thread that writes to where nothing is ends the process, with "
              "status 139"),
    "nowhere": ({24, 139}, "an entry at an address that no program has is refused, or ends the "
                "process with status 139"),
    "many": ({25}, "the first of 41 threads exits with status 25"),
}


def check(tree):
    number = tree.number("sched-threads.number", "the number of the call. Its arguments are the "
                         "entry point and the address that the stack pointer begins with; it "
                         "returns a negative number if it fails")
    kernel = tree.prefix(9) + KERNEL.replace("CASES", ", ".join(f'"{name}"' for name in CASES))
    threads = tree.variant("threads", {"rustica.c": kernel, "user/hello.c": PROGRAM % number})
    look(*threads.boot(9, chNN="check", OPT="audit", **STEADY))
    tree.boots(14, typed="echo hello\nls /bin | wc -l\n", OPT="audit")
    for key, wanted, right, hint in (
            ("one", "how many of the two million increments are lost if each is one instruction",
             0, "between which two instructions could the other thread come?"),
            ("least", "the least that the variable can end with if each is three instructions, to "
             "load, to add and to store", 2, "a thread that has loaded may be away for long, and "
             "spoil with its next store what the other one has done; and that the other can do, "
             "too")):
        said = tree.number(f"sched-threads.{key}", wanted)
        need(said == right, f"sched-threads.{key} is not {said}: {hint}")


def look(status, said):
    ended = {name: (int(code), int(milliseconds)) for name, code, milliseconds in
             re.findall(r"^check: ([\w-]+) (\d+) (\d+)$", said, re.M)}
    for name, (wanted, means) in CASES.items():
        need(name in ended, f"{means}; but its process does not end, and the last that is to be "
             f"seen is\n{said[-600:]}")
        code, milliseconds = ended[name]
        need(code in wanted, f"{means}; but its status is {code}")
        need(milliseconds < 60000, f"{means}; but the process ends only after "
             f"{milliseconds / 1000:.0f} seconds, when who sleeps has woken up")
    left = re.search(r"^check: (lost (\d+), processes (\d+), threads (\d+))$", said, re.M)
    need(left and status == 0, f"the kernel ends with status {status}:\n{said[-600:]}")
    need(left.groups()[1:] == ("0", "0", "0"), f"when all have ended there are frames {left[1]}")
