import re

from check import EXERCISES, HOST, STEADY, need

# The reader's lock.h on the host, with operations of thread-barrier.c's.
READER = """
#include "rustica.h"

#define LOCK_OPERATIONS
#define EVERYBODY 0x7fffffff

u32 atomic_add(u32 *word, u32 by);
u32 atomic_exchange(u32 *word, u32 new);
u32 atomic_compare_exchange(u32 *word, u32 old, u32 new);
u32 atomic_load(const u32 *word);
long sleep_at(u32 *word, u32 seen);
long wake_at(u32 *word, int most);
long syscall3(long number, long a, long b, long c);
long syscall6(long number, long a, long b, long c, long d, long e, long f);

#include "lock.h"

const u64 reader_room = sizeof(struct barrier);

void reader_wait(void *barrier, u32 n)
{
    barrier_wait(barrier, n);
}
"""

# And in Rustica.
PROGRAM = r"""
#include "judged.h"
#include "lock.h"

#define HANDS 4
#define ROUNDS 200

static struct worker hands[HANDS];
static struct barrier barrier;
static u32 called[ROUNDS], ended;

static void nap(long milliseconds)
{
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static long used(void)
{
    struct usage u;

    syscall3(SYS_GETRUSAGE, RUSAGE_SELF, (long)&u, 0);
    return u.user.seconds * 1000000 + u.user.microseconds;
}

/* Who is first in one round is the last in another. */
void work(void *about)
{
    u64 i = (u64)about, round;

    for (round = 0; round < ROUNDS; round++) {
        if (round % (HANDS + 1) == i)
            nap(1);
        atomic_add(&called[round], 1);
        barrier_wait(&barrier, HANDS);
        if (atomic_load(&called[round]) != HANDS)
            wrong("a thread comes out of the barrier when not all four have called; so many have",
                  called[round]);
    }
    atomic_add(&ended, 1);
}

int main(void)
{
    long before;
    u64 i;

    barrier_wait(&barrier, 1);
    for (i = 0; i < HANDS - 1; i++)
        worker_start(&hands[i], work, (void *)i);
    nap(100);
    before = used();
    nap(1000);
    before = used() - before;
    if (before > 100000)
        wrong("for a second three wait for a fourth, and should sleep; they have used so many "
              "microseconds", before);
    worker_start(&hands[i], work, (void *)i);
    for (i = 0; i < 500 && atomic_load(&ended) < HANDS; i++)
        nap(10);
    if (atomic_load(&ended) < HANDS)
        wrong("four threads should come out of two hundred rounds; so many have", ended);
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    lock = tree.read("user/lock.h")
    need(re.search(r"^struct barrier\b", lock, re.M), "user/lock.h has no `struct barrier` so far")
    folder = tree.out / "thread-barrier"
    folder.mkdir(exist_ok=True)
    first, *others = lock.split("#ifndef LOCK_OPERATIONS\n")
    lock = "#ifndef LOCK_OPERATIONS\n".join([first, "#if 1\n".join(others)])
    (folder / "lock.h").write_text(lock)
    (folder / "reader.c").write_text(READER)
    for command in (
            ["-c", "-fsanitize=thread", f"-I{tree.root}", folder / "reader.c", "-o",
             folder / "reader.o"],
            [EXERCISES / "thread-barrier.c", folder / "reader.o", "-o", folder / "check"]):
        status, text = tree.run("gcc", *HOST, *command)
        need(status == 0, "a program on the host, with user/lock.h and operations of its own, "
             f"should compile:\n{text}")
    status, text = tree.run(folder / "check")
    need(status is not None, f"barrier_wait(), tried out on the host, does not end:\n{text}")
    need(status >= 0, f"barrier_wait() crashed on the host, by signal {-status}; is it made of "
                      "what lock.h has?")
    need(status == 0, text.strip())
    tree.judge(15, "hello", PROGRAM, typed="hello\n", **STEADY)
