from check import STEADY

PROGRAM = r"""
#include "judged.h"

#define ROUNDS 8

/* The child comes back from this function, too, and uses the stack below; so the place to
   return to is kept in a register. */
long vfork(void);

__asm__(".globl vfork\nvfork:\n popq %rdx\n movl $58, %eax\n syscall\n jmp *%rdx\n");

static volatile long shared, taps;
static u8 large[4 * MIB];

static long wait_for(long pid)
{
    int status = -1;

    if (wait4(pid, &status, 0) != pid)
        wrong("the parent cannot wait for the child of a vfork", pid);
    return status;
}

static void handler(int signal)
{
    (void)signal;
    taps++;
}

static void look(void)
{
    struct timespec moment = {0, 50000000};
    static char *words[] = {"sleep", "0.5", NULL}, *none[] = {NULL};
    long pid = vfork();
    int status;

    if (!pid) {
        nanosleep(&moment, NULL);
        shared = 42;
        exit(7);
    }
    if (shared != 42)
        wrong("the child of a vfork has changed a variable, and its parent does not see it, or "
              "has not waited", shared);
    if (wait_for(pid) != 7 << 8)
        wrong("the child's status is lost", 0);
    pid = vfork();
    if (!pid) {
        shared = map_memory(4096, MAP_PRIVATE);
        execve("/no/such/program", words, none);
        exit(3);
    }
    *(volatile char *)shared = 1;           /* the memory is there */
    if (wait_for(pid) != 3 << 8)
        wrong("a child whose execve fails should go on", 0);
    pid = vfork();
    if (!pid) {
        execve("/bin/sleep", words, none);
        exit(1);
    }
    if (wait4(pid, &status, 1) != 0)        /* WNOHANG */
        wrong("the parent should go on as soon as the child executes another program", 0);
    wait_for(pid);
    large[0] = 1;
    signal_set(SIGUSR1, (vaddr)handler);
    pid = vfork();
    if (!pid) {
        kill(syscall3(SYS_GETPPID, 0, 0, 0), SIGUSR1);
        nanosleep(&moment, NULL);
        shared = 43;
        exit(5);
    }
    if (shared != 43)
        wrong("a signal for the parent of a vfork should not wake it before its memory is back",
              shared);
    if (wait_for(pid) != 5 << 8 || taps != 1)
        wrong("a signal that was sent to the parent of a vfork should come when it goes on", taps);
}

static u64 now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.seconds * 1000000000 + (u64)t.nanoseconds;
}

static u64 cost(long (*copy)(void))
{
    static char *words[] = {"true", NULL}, *none[] = {NULL};
    u64 start = now();
    long i, pid;

    for (i = 0; i < ROUNDS; i++) {
        pid = copy();
        if (!pid) {
            execve("/bin/true", words, none);
            exit(1);
        }
        wait_for(pid);
    }
    return (now() - start) / 32 / ROUNDS;   /* one instruction takes 32 ns */
}

int main(void)
{
    u64 i, by_fork, by_vfork;

    look();
    for (i = 0; i < sizeof large; i += 4096)
        large[i] = 1;
    by_fork = cost(fork);
    by_vfork = cost(vfork);
    say("fork, execve and wait: %lu instructions; with vfork: %lu\n", by_fork, by_vfork);
    if (by_vfork > by_fork / 10 * 9)
        wrong("with vfork it does not take fewer instructions, in a program with 4 MiB",
              (long)by_vfork);
    done(0);
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    tree.judge(14, "hello", PROGRAM, typed="hello\n", **STEADY)
