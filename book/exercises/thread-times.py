from check import STEADY

# Loops are counted, and times only compared with each other.
PROGRAM = r"""
#include "judged.h"
#include "lock.h"

#define UNIT 1000000L
#define PROCESS_CLOCK 2
#define THREAD_CLOCK 3

static struct worker hands[3];
static volatile long begun[3], used[3], all[3], counter;

static void compute(long times)
{
    while (times--)
        counter++;
}

static long ask(int whom)
{
    struct usage u;

    expect(syscall3(SYS_GETRUSAGE, whom, (long)&u, 0), 0, "getrusage should return 0");
    return (u.user.seconds + u.system.seconds) * 1000000 + u.user.microseconds +
           u.system.microseconds;
}

static long ask_clock(int clock, const char *what)
{
    struct timespec t = {0, 0};

    expect(clock_gettime(clock, &t), 0, what);
    return t.seconds * 1000000 + t.nanoseconds / 1000;
}

static void same(long one, long other, long times, long part, const char *what)
{
    if (one >= other * times - other * times / part && one <= other * times + other * times / part)
        return;
    say("wrong: %s: %ld microseconds and %ld\n", what, one, other);
    done(0);
    exit(1);
}

void work(void *about)
{
    struct timespec second = {1, 0};
    long i = (long)about;

    begun[i] = ask(RUSAGE_THREAD);
    if (i < 2)
        compute(i ? 3 * UNIT : UNIT);
    else
        nanosleep(&second, NULL);
    used[i] = ask(RUSAGE_THREAD);
    all[i] = ask(RUSAGE_SELF);
}

/* Alone, within a slice and over some of them. */
static void alone(void)
{
    long now, before, clock;

    clock = ask_clock(CLOCK_MONOTONIC, "clock_gettime");
    before = ask(RUSAGE_THREAD);
    compute(UNIT / 100);
    now = ask(RUSAGE_THREAD);
    same(now - before, ask_clock(CLOCK_MONOTONIC, "clock_gettime") - clock, 1, 5,
         "a thread that computes alone, for less than a slice, has used what has passed meanwhile");
    before = now;
    compute(UNIT);
    now = ask(RUSAGE_THREAD);
    same(now - before, ask_clock(CLOCK_MONOTONIC, "clock_gettime") - clock, 1, 20,
         "a thread that computes alone has used what has passed meanwhile");
    same(ask(RUSAGE_SELF), now, 1, 20, "a thread that is alone has used what its process has");
}

static void clocks(void)
{
    long before = ask(RUSAGE_THREAD), clock, after;

    clock = ask_clock(THREAD_CLOCK, "clock_gettime with clock 3 should return 0");
    after = ask(RUSAGE_THREAD);
    if (clock < before || clock > after)
        wrong("clock 3 should say, in microseconds, what getrusage says of a thread", clock);
    before = ask(RUSAGE_SELF);
    clock = ask_clock(PROCESS_CLOCK, "clock_gettime with clock 2 should return 0");
    after = ask(RUSAGE_SELF);
    if (clock < before || clock > after)
        wrong("clock 2 should say, in microseconds, what getrusage says of a process", clock);
    before = ask_clock(CLOCK_MONOTONIC, "clock_gettime");
    nanosleep(&(struct timespec){1, 0}, NULL);
    same(ask_clock(CLOCK_MONOTONIC, "clock_gettime") - before, 1000000, 1, 10,
         "the clock that nobody sets should go on as before");
}

static void together(void)
{
    long before = ask(RUSAGE_THREAD), whole = ask(RUSAGE_SELF), sum, i;

    for (i = 0; i < 3; i++)
        worker_start(&hands[i], work, (void *)i);
    for (i = 0; i < 3; i++)
        worker_join(&hands[i]);
    whole = ask(RUSAGE_SELF) - whole;
    before = ask(RUSAGE_THREAD) - before;
    for (sum = before, i = 0; i < 3; i++) {
        if (begun[i] > used[0] / 10)
            wrong("a thread that has just begun has used nothing; in microseconds", begun[i]);
        sum += used[i];
    }
    if (before > used[0] / 10)
        wrong("the first thread sleeps while others compute; it has used, in microseconds", before);
    if (used[2] > used[0] / 10)
        wrong("a thread that sleeps for a second has used, in microseconds", used[2]);
    same(used[1], used[0], 3, 10, "a thread that computes three times as much has used that much");
    if (all[0] < used[0] / 10 * 17)
        wrong("who computes beside another should learn by RUSAGE_SELF of both", all[0]);
    same(sum, whole, 1, 20, "what the threads have used, and what their process has, by "
         "RUSAGE_SELF, should be the same");
    same(ask_clock(PROCESS_CLOCK, "clock 2"), ask(RUSAGE_SELF), 1, 20,
         "clock 2 should tell of threads that have ended");
}

static void child(void)
{
    int status = 0;
    long pid = fork();

    if (!pid)
        exit(ask(RUSAGE_THREAD) > used[0] / 10);
    wait4(pid, &status, 0);
    expect(status, 0, "a child of fork begins with what its parent has used");
}

int main(void)
{
    alone();
    clocks();
    together();
    child();
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    tree.judge(15, "hello", PROGRAM, typed="hello\n", **STEADY)
