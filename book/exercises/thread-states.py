import re

from check import STEADY, need


def check(tree):
    for key, wanted, right, hint in (
            ("two", "how many calls of futex are a thousand times lock and unlock by a thread that "
             "is alone, if the mutex has the states 0 and 1", 1000,
             "who lets go cannot know whether somebody sleeps, and who is alone never waits"),
            ("three", "the same with the states 0, 1 and 2", 0,
             "which states does the word have, if nobody else is there?"),
            ("wake", "how many calls wake or try to, if four sleep at a mutex with three states, "
             "and each of them, and the one who has it, lets go once", 5,
             "with what does each of the five leave, and what does the last one know?"),
            ("asleep", "how many of the four sleep for ever, if who has slept takes the lock with "
             "a 1 (and still leaves a 2 before it goes to sleep)", 3,
             "who finds a 1 when letting go wakes nobody; who wakes the next one?")):
        said = tree.number(f"thread-states.{key}", wanted)
        need(said == right, f"thread-states.{key} is not {said}: {hint}")


# A thread alone; four who sleep while the first one has the lock.
PROGRAM = r"""
#include "judged.h"
#include "lock.h"

static struct worker hands[4];
static struct mutex mutex;
static u32 got;

static void nap(long milliseconds)
{
    struct timespec t = {0, milliseconds * 1000000};

    nanosleep(&t, NULL);
}

void work(void *about)
{
    (void)about;
    mutex_lock(&mutex);
    atomic_add(&got, 1);
    mutex_unlock(&mutex);
}

int main(void)
{
    u64 i;

    print("- alone\n");
    for (i = 0; i < 1000; i++) {
        mutex_lock(&mutex);
        mutex_unlock(&mutex);
    }
    print("- four\n");
    mutex_lock(&mutex);
    for (i = 0; i < 4; i++)
        worker_start(&hands[i], work, NULL);
    nap(100);
    expect(mutex.state != 0 && got == 0, 1, "four should sleep");
    mutex_unlock(&mutex);
    nap(100);
    say("- %u\n", got);
    print(CONTENT);
    exit(done(0));
}
"""

TWO = """
static inline void mutex_lock(struct mutex *m)
{
    while (atomic_exchange(&m->state, 1) != 0)
        sleep_at(&m->state, 1);
}

static inline void mutex_unlock(struct mutex *m)
{
    atomic_exchange(&m->state, 0);
    wake_at(&m->state, 1);
}
"""

WITH_A_ONE = """
static inline void mutex_lock(struct mutex *m)
{
    while (atomic_compare_exchange(&m->state, 0, 1) != 0) {
        if (atomic_compare_exchange(&m->state, 1, 2) != 0)
            sleep_at(&m->state, 2);
    }
}

static inline void mutex_unlock(struct mutex *m)
{
    if (atomic_exchange(&m->state, 0) == 2)
        wake_at(&m->state, 1);
}
"""


def proof(tree):
    calls, wakes, got = look(tree)
    need((calls, wakes, got) == (0, 5, 4), f"with three states there are {calls} calls, {wakes} "
         f"wake, {got} get the lock")
    calls, wakes, got = look(other(tree, TWO))
    need((calls, got) == (1000, 4), f"with two states there are {calls} calls, {got} get the lock")
    calls, wakes, got = look(other(tree, WITH_A_ONE))
    need((calls, got) == (0, 1), f"with a 1 there are {calls} calls, and {got} get the lock")


def other(tree, mutex):
    """A tree in which lock.h has this mutex."""
    where = r"\nstatic inline void mutex_lock\((?:.*\n)*?}\n\nstatic inline void mutex_unlock\(" \
            r"(?:.*\n)*?}\n"
    text, count = re.subn(where, mutex, tree.read("user/lock.h"))
    need(count == 1, "the mutex in user/lock.h looks different now")
    return tree.variant("mutex", {"user/lock.h": text})


def look(tree):
    """How many calls a thread makes alone, how many wake somebody of four, how many get it."""
    said = tree.judge(15, "hello", PROGRAM, typed="strace hello\n", **STEADY)
    alone, four = re.search(r"^- alone\n(.*)^- four\n(.*)", said, re.M | re.S).groups()
    calls = r"^\[\d+\] futex\((.*?)\)"
    wakes = [line for line in re.findall(calls, four, re.M) if line.split(", ")[1] == "129"]
    return (len(re.findall(calls, alone, re.M)), len(wakes),
            int(re.search(r"^- (\d)$", four, re.M)[1]))
