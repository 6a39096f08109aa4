from check import EXERCISES

PROGRAM = r"""
#include "libc.h"

static volatile long *counter;      /* shared with the children */

static void wrong(const char *what, long n)
{
    say("wrong: %s (%ld)\n", what, n);
    done(0);
    kill(-1, SIGKILL);
    exit(1);
}

static void rest(long milliseconds)
{
    struct timespec t = {0, milliseconds * 1000000};

    nanosleep(&t, NULL);
}

static void handler(int signal)
{
    (void)signal;
    counter[1]++;
}

static long start(int handled)
{
    long pid = fork();

    if (pid)
        return pid;
    if (handled)
        signal_set(handled, (vaddr)handler);
    for (;;) {
        ++*counter;
        rest(1);
    }
}

static bool counts(void)
{
    long before = *counter, patience;

    for (patience = 0; patience < 100 && *counter == before; patience++)
        rest(2);
    return *counter != before;
}

static bool stands_still(void)
{
    long before;

    rest(5);
    before = *counter;
    rest(50);
    return *counter == before;
}

static void waits(long pid, int options, long wanted, int status, const char *when)
{
    int got = -1;
    long n = wait4(pid, &got, options);

    if (n != wanted)
        wrong(when, n);
    if (wanted && got != status)
        wrong(when, got);
}

static void stops(int signal)
{
    long pid = start(0);

    if (!counts())
        wrong("a child does not run", signal);
    waits(pid, 1, 0, 0, "wait4 of a child that runs");
    kill(pid, signal);
    waits(pid, WUNTRACED, pid, signal << 8 | 0x7f, "wait4 with WUNTRACED, of a child that was "
          "stopped");
    if (!stands_still())
        wrong("a process that was stopped runs on; the signal was", signal);
    waits(pid, 1 | WUNTRACED, 0, 0, "a stop is told a second time");
    kill(pid, SIGCONT);
    if (!counts())
        wrong("a process that was stopped does not go on after SIGCONT; the signal was", signal);
    kill(pid, signal);
    if (!stands_still())
        wrong("a process that was stopped for the second time runs on", signal);
    waits(pid, 1, 0, 0, "wait4 without WUNTRACED tells of a stop");
    kill(pid, SIGTERM);
    rest(20);
    waits(pid, 1, 0, 0, "a process that stands still takes SIGTERM, which should wait");
    kill(pid, SIGCONT);
    waits(pid, 0, pid, SIGTERM, "after SIGCONT, the SIGTERM that waited should end it");
}

int main(void)
{
    long pid;

    counter = (void *)map_memory(4096, MAP_SHARED);
    stops(SIGSTOP);
    stops(SIGTSTP);
    pid = start(0);
    kill(pid, SIGSTOP);
    waits(pid, WUNTRACED, pid, SIGSTOP << 8 | 0x7f, "wait4 with WUNTRACED");
    kill(pid, SIGKILL);
    waits(pid, 0, pid, SIGKILL, "SIGKILL ends a process that stands still, too");
    pid = start(SIGTSTP);
    counts();
    kill(pid, SIGTSTP);
    rest(50);
    if (!counter[1] || !counts())
        wrong("a handler for SIGTSTP should run instead of a stop", counter[1]);
    kill(pid, SIGKILL);
    waits(pid, 0, pid, SIGKILL, "the last one");
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    tree.host(EXERCISES / "proc-jobs.c")
    tree.judge(14, "hello", PROGRAM, typed="hello\n")
