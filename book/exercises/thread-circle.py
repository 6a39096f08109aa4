from check import STEADY

# It says the same on Linux.
PROGRAM = r"""
#include "judged.h"
#include "lock.h"

#define LOCK 6
#define UNLOCK 7
#define MANY 30

static struct worker hands[MANY];
static struct {                             /* shared with other processes, if they are asked */
    u32 locks[MANY], order, got[MANY], refused, ended, holding, go;
} *shared;

static u32 me(void)
{
    return (u32)syscall3(SYS_GETTID, 0, 0, 0);
}

static long futex(u32 *word, int command)
{
    return syscall6(SYS_FUTEX, (long)word, command, 0, 0, 0, 0);
}

static long lock(u32 *word)
{
    return atomic_compare_exchange(word, 0, me()) == 0 ? 0 : futex(word, LOCK);
}

static void unlock(u32 *word)
{
    u32 mine = me();

    if (atomic_compare_exchange(word, mine, 0) != mine)
        expect(futex(word, UNLOCK), 0, "FUTEX_UNLOCK_PI by the owner should return 0");
}

static void take(u32 *word)
{
    expect(lock(word), 0, "FUTEX_LOCK_PI of who waits in no circle should return 0");
    if ((atomic_load(word) & FUTEX_TID_MASK) != me())
        wrong("who has got the lock should find its own number in it, and finds", *word);
}

static void nap(long milliseconds)
{
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* The first thread watches over the others. */
static void await(const u32 *word, u32 value, const char *what)
{
    int i;

    for (i = 0; atomic_load(word) != value; i++) {
        if (i == 300)
            wrong(what, atomic_load(word));
        nap(10);
    }
}

static void begin(void)
{
    memset(shared, 0, sizeof *shared);
}

static void start(u64 i, void (*work)(void *about))
{
    expect(worker_start(&hands[i], work, (void *)i) > 0, 1, "a thread should begin");
    nap(10);
}

static void finish(u64 count)
{
    while (count--)
        worker_join(&hands[count]);
}

static void alone(void)
{
    u32 *word = &shared->locks[0];

    begin();
    expect(futex(word, LOCK), 0, "FUTEX_LOCK_PI of a word that is 0 should return 0");
    expect(*word, me(), "FUTEX_LOCK_PI of a word that is 0 should leave the caller's number");
    expect(futex(word, LOCK), -EDEADLK, "who has the lock already, and wants it, waits for "
           "itself: FUTEX_LOCK_PI should return -EDEADLK");
    expect(*word & FUTEX_TID_MASK, me(), "who is refused has the lock as before");
    expect(futex(word, UNLOCK), 0, "FUTEX_UNLOCK_PI by the owner should return 0");
    expect(*word, 0, "FUTEX_UNLOCK_PI should leave 0 if nobody waits");
    expect(futex(word, UNLOCK), -EPERM, "FUTEX_UNLOCK_PI of a lock that nobody has");
    *word = 1;
    expect(futex(word, UNLOCK), -EPERM, "FUTEX_UNLOCK_PI of somebody else's lock");
    expect(futex((u32 *)8, LOCK), -EFAULT, "FUTEX_LOCK_PI of a word at address 8");
}

/* In the order in which they came; the owner who wants it once more is the last. */
void queue_up(void *about)
{
    (void)about;
    take(&shared->locks[0]);
    shared->got[shared->order++] = me();
    unlock(&shared->locks[0]);
    atomic_add(&shared->ended, 1);
}

static void hand_over(void)
{
    u32 *word = &shared->locks[0], numbers[3], i;

    begin();
    take(word);
    for (i = 0; i < 3; i++) {
        start(i, queue_up);
        numbers[i] = hands[i].running;
    }
    expect(shared->order, 0, "nobody should get a lock that somebody has");
    expect(*word, me() | FUTEX_WAITERS, "while others wait, in the word should stand the owner's "
           "number and FUTEX_WAITERS");
    unlock(word);
    expect(lock(word), 0, "who has let go and wants the lock once more waits in no circle: "
           "FUTEX_LOCK_PI should return 0");
    expect(shared->order, 3, "who lets go of a lock that three wait for, and wants it once more, "
           "gets it after all three");
    for (i = 0; i < 3; i++)
        expect(shared->got[i], numbers[i], "who came first should get the lock first; its number");
    unlock(word);
    expect(*word, 0, "a lock that nobody has, or waits for, should be 0");
    finish(3);
}

/* Each with a fork in hand. Who is refused puts it down and begins anew, the lower one first. */
static u32 guests;

void dine(void *about)
{
    u64 i = (u64)about;
    u32 *left = &shared->locks[i], *right = &shared->locks[(i + 1) % guests];
    long error;

    take(left);
    atomic_add(&shared->holding, 1);
    while (atomic_load(&shared->holding) < guests)
        nap(1);
    error = lock(right);
    if (error) {
        expect(error, -EDEADLK, "who would wait in a circle should get -EDEADLK");
        atomic_add(&shared->refused, 1);
        unlock(left);
        take(left < right ? left : right);
        take(left < right ? right : left);
    }
    unlock(right);
    unlock(left);
    atomic_add(&shared->ended, 1);
}

static void dinner(u32 count)
{
    u64 i;

    begin();
    guests = count;
    for (i = 0; i < count; i++)
        start(i, dine);
    await(&shared->ended, count, count == 2 ? "two who each have what the other one wants: one "
          "should be refused and both end; so many do" : "some wait in a circle, each for the "
          "next: one should be refused and all end; so many do");
    expect(shared->refused, 1, "one in a circle should be refused, and nobody else; refused were");
    finish(count);
    for (i = 0; i < count; i++)
        expect(shared->locks[i], 0, "at the end all locks should be free");
}

/* Each waits for the next one, but the last one only sleeps. */
void chain(void *about)
{
    u64 i = (u64)about;

    take(&shared->locks[i]);
    if (i)
        take(&shared->locks[i - 1]);
    else
        await(&shared->go, 1, "the first thread");
    if (i)
        unlock(&shared->locks[i - 1]);
    unlock(&shared->locks[i]);
    atomic_add(&shared->ended, 1);
}

static void in_a_row(void)
{
    u64 i;

    begin();
    for (i = 0; i < MANY; i++)
        start(i, chain);
    shared->go = 1;
    await(&shared->ended, MANY, "thirty who wait for one another, but in no circle, should all "
          "end; so many do");
    finish(MANY);
}

/* Lock 0 goes from the first thread to B, while C waits on, who has lock 1. So C waits for B
   now, and no more for the first. */
static bool b_wants;

void be_b(void *about)
{
    (void)about;
    take(&shared->locks[0]);
    await(&shared->go, 1, "the first thread");
    if (b_wants)
        expect(lock(&shared->locks[1]), -EDEADLK, "B has been handed what C waits for; now B "
               "wants what C has, and should get -EDEADLK");
    unlock(&shared->locks[0]);
    atomic_add(&shared->ended, 1);
}

void be_c(void *about)
{
    (void)about;
    take(&shared->locks[1]);
    take(&shared->locks[0]);
    unlock(&shared->locks[0]);
    unlock(&shared->locks[1]);
    atomic_add(&shared->ended, 1);
}

void let_go(void *about)
{
    (void)about;
    nap(50);
    shared->go = 1;
}

static void new_owner(bool wants)
{
    begin();
    b_wants = wants;
    take(&shared->locks[0]);
    start(0, be_b);
    start(1, be_c);
    unlock(&shared->locks[0]);
    nap(10);
    start(2, let_go);
    if (!wants) {
        expect(lock(&shared->locks[1]), 0, "C waits for a lock that A has handed to B; A wants "
               "what C has, in no circle, and should get it");
        unlock(&shared->locks[1]);
    }
    await(&shared->ended, 2, "three among whom a lock was handed on should all end; of the other "
          "two, so many do");
    finish(3);
}

/* Who is refused does not wait, and may be waited for. */
void be_refused(void *about)
{
    (void)about;
    take(&shared->locks[1]);
    nap(100);
    expect(lock(&shared->locks[0]), -EDEADLK, "the second in a circle of two");
    await(&shared->go, 1, "the first thread");
    unlock(&shared->locks[1]);
}

void want_one(void *about)
{
    (void)about;
    take(&shared->locks[2]);
    take(&shared->locks[1]);
    unlock(&shared->locks[1]);
    unlock(&shared->locks[2]);
}

void be_first(void *about)
{
    (void)about;
    take(&shared->locks[0]);
    nap(50);
    take(&shared->locks[1]);
    unlock(&shared->locks[1]);
    unlock(&shared->locks[0]);
    atomic_add(&shared->ended, 1);
}

static void after_refusal(void)
{
    begin();
    start(0, be_first);
    start(1, be_refused);
    nap(200);
    start(2, want_one);
    start(3, let_go);
    expect(lock(&shared->locks[2]), 0, "some wait for one who was refused, and who waits for "
           "nobody: that is no circle, and FUTEX_LOCK_PI should return 0");
    unlock(&shared->locks[2]);
    finish(4);
}

/* Two processes, each with a thread more, so that numbers of threads are not those of processes. */
void cross(void *about)
{
    dine(about);
}

static void two_processes(void)
{
    int status = -1;
    long pid;

    begin();
    guests = 2;
    pid = fork();
    if (!pid) {
        start(1, cross);
        finish(2);
        exit(0);
    }
    start(0, cross);
    await(&shared->ended, 2, "two threads of two processes, each with what the other one wants: "
          "one should be refused and both end; so many do");
    expect(shared->refused, 1, "of two threads of two processes so many are refused");
    finish(1);
    wait4(pid, &status, 0);
    expect(status, 0, "a process with a lock that is shared ends with another status");
}

/* The process ends around somebody who waits. */
void wait_for_ever(void *about)
{
    (void)about;
    take(&shared->locks[0]);
}

static void end_in_the_middle(void)
{
    int status = -1;
    long pid;

    begin();
    pid = fork();
    if (!pid) {
        take(&shared->locks[0]);
        start(0, wait_for_ever);
        start(1, wait_for_ever);
        exit(7);
    }
    wait4(pid, &status, 0);
    expect(status, 7 << 8, "a process ends while threads of it wait for a lock; its status");
}

int main(void)
{
    shared = (void *)map_memory(4096, MAP_SHARED);
    alone();
    hand_over();
    dinner(2);
    dinner(5);
    dinner(MANY);
    in_a_row();
    new_owner(false);
    new_owner(true);
    after_refusal();
    two_processes();
    end_in_the_middle();
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    tree.judge(15, "hello", PROGRAM, typed="hello\n", OPT="audit", **STEADY)
