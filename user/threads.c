// ## threads {#user-threads}
//
// Several threads at one counter, with care and without; at one table; and
// at dinner. [Chapter 15](#ch-thread) tells what is to be seen. It says the
// same on Linux.

#include "libc.h"
#include "lock.h"

#define HANDS 2
#define TIMES 1000

static struct worker hands[5];

static void all(u32 count, void (*work)(void *about))
{
    u64 i;

    for (i = 0; i < count; i++)
        worker_start(&hands[i], work, (void *)i);
    for (i = 0; i < count; i++)
        worker_join(&hands[i]);
}

// **One counter.** First without care, both at the same time. So that the
// mistake happens each time, and not once in a million, the thread gives
// away its turn at the worst moment.

static volatile u32 counter;
static u32 word, ready;
static struct mutex counter_mutex;

void add_carelessly(void *about)
{
    u32 i, seen;

    (void)about;
    atomic_add(&ready, 1);
    while (atomic_load(&ready) < HANDS)
        syscall3(SYS_SCHED_YIELD, 0, 0, 0);
    for (i = 0; i < TIMES; i++) {
        seen = counter;
        syscall3(SYS_SCHED_YIELD, 0, 0, 0);
        counter = seen + 1;
    }
}

// With care: it is one instruction; or nobody else gets in between, and who
// has the mutex may give away its turn as often as it likes.

void add_atomically(void *about)
{
    u32 i;

    (void)about;
    for (i = 0; i < TIMES; i++)
        atomic_add(&word, 1);
}

void add_with_mutex(void *about)
{
    u32 i, seen;

    (void)about;
    for (i = 0; i < TIMES; i++) {
        mutex_lock(&counter_mutex);
        seen = counter;
        syscall3(SYS_SCHED_YIELD, 0, 0, 0);
        counter = seen + 1;
        mutex_unlock(&counter_mutex);
    }
}

static void show_counter(void)
{
    all(HANDS, add_carelessly);
    say("without care: some are %s\n", counter < HANDS * TIMES ? "lost" : "not lost, by luck");
    all(HANDS, add_atomically);
    say("one instruction: %u\n", word);
    counter = 0;
    all(HANDS, add_with_mutex);
    say("with a mutex: %u\n", counter);
}

// **One table.** Two bring, two take away, and there is room for four.
// Nobody is allowed to put something where there is no room, or to take
// what is not there; and who has to wait sleeps.

#define ROOM 4
#define GOODS 500

static struct {
    struct mutex mutex;
    struct condition filled, emptied;
    u32 goods[ROOM], brought, taken;
} table;

static u32 sum;

static void bring(u32 what)
{
    mutex_lock(&table.mutex);
    while (table.brought - table.taken == ROOM)
        condition_wait(&table.emptied, &table.mutex);
    table.goods[table.brought++ % ROOM] = what;
    mutex_unlock(&table.mutex);
    condition_wake(&table.filled, 1);
}

// The other way round.

static u32 take(void)
{
    u32 what;

    mutex_lock(&table.mutex);
    while (table.brought == table.taken)
        condition_wait(&table.filled, &table.mutex);
    what = table.goods[table.taken++ % ROOM];
    mutex_unlock(&table.mutex);
    condition_wake(&table.emptied, 1);
    return what;
}

void at_table(void *about)
{
    u32 i;

    for (i = 1; i <= GOODS; i++)
        if ((u64)about % 2)
            bring(i);
        else
            atomic_add(&sum, take());
}

static void show_table(void)
{
    all(4, at_table);
    say("over the table: %u, of %u\n", sum, 2 * GOODS * (GOODS + 1) / 2);
}

// **Dinner.** Five sit around a table, with a fork between each two, and
// who wants to eat needs both (Dijkstra again). Each takes the one on the
// left, looks around until all have one, and wants the one on the right,
// which the neighbour has taken. A process of its own does it, as it will
// never end by itself: its first thread sees that nobody has eaten, and
// ends all five with it.

#define GUESTS 5

static struct mutex forks[GUESTS];
static struct semaphore seated;
static u32 meals, holding;

static void eat(u64 first, u64 second, bool look_around)
{
    mutex_lock(&forks[first]);
    if (look_around && atomic_add(&holding, 1) == GUESTS - 1)
        semaphore_give(&seated);
    while (look_around && atomic_load(&holding) < GUESTS)
        syscall3(SYS_SCHED_YIELD, 0, 0, 0);
    mutex_lock(&forks[second]);
    atomic_add(&meals, 1);
    mutex_unlock(&forks[second]);
    mutex_unlock(&forks[first]);
}

void left_first(void *about)
{
    eat((u64)about, ((u64)about + 1) % GUESTS, true);
}

// The forks have numbers. Who takes the lower one first waits for somebody
// with a higher one, who waits for a higher one still; the last one waits
// for nobody.

void low_first(void *about)
{
    u64 left = (u64)about, right = (left + 1) % GUESTS;

    eat(left < right ? left : right, left < right ? right : left, false);
}

static void show_dinner(void)
{
    struct timespec while_all_sleep = {0, 20000000};
    u64 i;
    int status = 0;
    long pid;

    sink_flush(&out);
    pid = fork();
    if (!pid) {
        for (i = 0; i < GUESTS; i++)
            worker_start(&hands[i], left_first, (void *)i);
        semaphore_take(&seated);
        nanosleep(&while_all_sleep, NULL);
        exit((int)meals);
    }
    wait4(pid, &status, 0);
    say("each with a fork in hand: %d have eaten\n", status >> 8 & 255);
    all(GUESTS, low_first);
    say("in the order of the forks: %u have eaten\n", meals);
}

int main(void)
{
    show_counter();
    show_table();
    show_dinner();
    return done(0);
}
