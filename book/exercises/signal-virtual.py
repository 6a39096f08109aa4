from check import STEADY

COMMON = r"""
#include "judged.h"

#define VIRTUAL 1
#define SIGNAL 26
#define MILLISECOND 1000000UL

static volatile long taps;

static void handler(int signal)
{
    (void)signal;
    taps++;
}

static long set(int which, long first, long interval, struct alarm_times *old)
{
    struct alarm_times new = {{0, interval}, {0, first}};

    return syscall3(SYS_SETITIMER, which, (long)&new, (long)old);
}

static u64 now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.seconds * 1000 * MILLISECOND + (u64)t.nanoseconds;
}

static void compute(u64 milliseconds)
{
    u64 end = now() + milliseconds * MILLISECOND;

    while (now() < end)
        ;
}
"""

# Alone in the machine, so the processor's time is the process's while it computes.
ALONE = COMMON + r"""
static long sleep(long seconds, long milliseconds)
{
    struct timespec t = {seconds, milliseconds * (long)MILLISECOND};

    return nanosleep(&t, NULL);
}

static void four_or_five(const char *what)
{
    if (taps != 4 && taps != 5)
        wrong(what, taps);
}

int main(void)
{
    struct alarm_times old;

    signal_set(SIGNAL, (vaddr)handler);
    signal_set(SIGALRM, (vaddr)handler);
    expect(set(VIRTUAL, 20000, 20000, &old), 0, "setitimer of the second timer should return 0");
    expect(old.value.seconds | old.value.microseconds, 0, "a timer was set before any was");
    expect(sleep(1, 0), 0, "a program that sleeps for a second with such a timer is woken");
    expect(taps, 0, "a program that sleeps for a second should not be tapped");
    compute(100);
    four_or_five("a program that computes for 100 ms with a timer of 20 ms should be tapped four "
                 "or five times");
    expect(syscall3(SYS_GETITIMER, VIRTUAL, (long)&old, 0), 0, "getitimer should return 0");
    expect(old.interval.microseconds, 20000, "getitimer tells another interval");
    if (old.value.seconds || old.value.microseconds > 20000)
        wrong("getitimer should tell how many microseconds are left", old.value.microseconds);
    taps = 0;
    set(VIRTUAL, 20000, 20000, NULL);
    compute(13);
    expect(sleep(1, 0), 0, "a program is woken whose timer has run for 13 of 20 ms and that then "
           "sleeps");
    expect(taps, 0, "a program that has computed for 13 of 20 ms, and then sleeps, is tapped");
    set(VIRTUAL, 0, 0, &old);
    if (old.value.microseconds < 1 || old.value.microseconds > 8000)
        wrong("a timer of 20 ms that has run for 13 of them should have about 7 left, in "
              "microseconds", old.value.microseconds);
    compute(60);
    expect(taps, 0, "a timer that was taken away still taps");
    set(VIRTUAL, 20000, 0, NULL);
    compute(100);
    expect(taps, 1, "a timer without an interval should tap once");
    expect(syscall3(SYS_GETITIMER, VIRTUAL, (long)&old, 0) | old.value.microseconds, 0,
           "a timer that has rung, and has no interval, should have nothing left");
    taps = 0;
    set(VIRTUAL, 20000, 20000, NULL);
    expect(set(0, 100000, 0, &old), 0, "setitimer of the first timer");
    expect(old.value.microseconds, 0, "the first timer should not know of the second");
    expect(sleep(1, 0), -EINTR, "the first timer should run while the program sleeps");
    expect(taps, 1, "the first timer should tap once");
    expect(set(3, 20000, 0, NULL), -EINVAL, "there is no fourth timer, so setitimer of it");
    expect(set(VIRTUAL, 1000000, 0, NULL), -EINVAL, "setitimer with a million microseconds");
    print(CONTENT);
    return 0;
}
"""

# Two who share the processor, each with a timer of its own.
TWO = COMMON + r"""
static u64 used(void)
{
    struct usage u;

    syscall3(SYS_GETRUSAGE, RUSAGE_SELF, (long)&u, 0);
    return (u64)u.user.seconds * 1000000 + (u64)u.user.microseconds;
}

static void crowd(const char *who)
{
    u64 before;
    long wanted;

    taps = 0;
    set(VIRTUAL, 20000, 20000, NULL);
    before = used();
    compute(400);
    wanted = (long)((used() - before) / 20000);
    set(VIRTUAL, 0, 0, NULL);
    if (taps < wanted - 1 || taps > wanted + 1) {
        say("wrong: %s computes for 400 ms, beside another, and gets %ld times 20 ms of them; it "
            "is tapped %ld times\n", who, wanted, taps);
        done(0);
        exit(1);
    }
}

int main(void)
{
    struct alarm_times left;
    int status = 1;
    long pid;

    signal_set(SIGNAL, (vaddr)handler);
    set(VIRTUAL, 20000, 20000, NULL);
    pid = fork();
    if (!pid) {
        syscall3(SYS_GETITIMER, VIRTUAL, (long)&left, 0);
        if (left.value.microseconds)
            exit(2);
        compute(200);
        exit(taps ? 3 : 0);
    }
    wait4(pid, &status, 0);
    expect(status >> 8, 0, "a child should begin without its parent's timer");
    if (taps > 1)
        wrong("who waits while its child computes should not be tapped", taps);
    pid = fork();
    if (!pid) {
        crowd("a child");
        exit(0);
    }
    crowd("a parent");
    wait4(pid, &status, 0);
    expect(status, 0, "a child ends with another status");
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    tree.judge(12, "hello", ALONE, **STEADY)
    tree.judge(14, "hello", TWO, typed="hello\n", **STEADY)
