/*
 * Runs threads through the rounds of a barrier in all orders, as long as not too many of them
 * are interrupted (Musuvathi and Qadeer, 2007: most mistakes need one or two interruptions).
 * thread-barrier.py compiles it, and beside it the reader's lock.h, in which gcc calls us
 * before each access to memory (-fsanitize=thread, but with these functions instead of its
 * own). The atomic operations, and sleeping and waking, are those below. So between any two
 * accesses to the barrier another thread may come.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define THREADS 3
#define ROUNDS 3
#define STACK 65536
#define PATIENCE 300            /* steps of one thread, without any of another */
#define DEEP 4096
#define RUNS 60000UL            /* in each of the cases below */

extern const unsigned long reader_room;
void reader_wait(void *barrier, uint32_t n);

static struct thread {
    ucontext_t context;
    char stack[STACK];
    uint32_t *asleep;           /* at this word; NULL: it is not */
    unsigned long since;        /* who came first is woken first */
    bool ended;
} threads[THREADS];

static ucontext_t home;
static int current, count, rounds, called[ROUNDS], through[THREADS];
static unsigned long moment, all_runs;
static uint64_t barrier[512];

/* What was chosen at each step of this run, and among how many; the next run differs in the last
   place in which it can. */
static struct { int chosen, among; } path[DEEP];
static int depth, interruptions, most_interruptions, in_a_row;

static void refuse(const char *text, ...)
{
    va_list ap;

    va_start(ap, text);
    vprintf(text, ap);
    va_end(ap);
    exit(1);
}

static int choose(int among)
{
    if (among < 2)
        return 0;
    if (depth == DEEP)
        refuse("%d threads need more than %d steps for %d rounds", count, DEEP, rounds);
    if (path[depth].among == 0)
        path[depth].chosen = 0, path[depth].among = among;
    return path[depth++].chosen;
}

static void end_of_run(void)
{
    int i, least = rounds;

    for (i = 0; i < count; i++)
        least = through[i] < least ? through[i] : least;
    if (least < rounds)
        refuse("in one of the orders in which %d threads can follow one another, somebody sleeps "
               "for ever in barrier_wait(), in round %d, although all call it for each",
               count, least + 1);
}

/* Goes on with a thread that can: by choice this one, if it is able to. */
static void schedule(void)
{
    int able[THREADS], n = 0, i, old = current;
    bool stay = !threads[current].asleep && !threads[current].ended;

    if (stay)
        able[n++] = current;
    if (!stay || interruptions < most_interruptions)
        for (i = 0; i < count; i++)
            if (i != current && !threads[i].asleep && !threads[i].ended)
                able[n++] = i;
    if (!n)
        swapcontext(&threads[old].context, &home);
    current = able[choose(n)];
    if (current == old)
        return;
    in_a_row = 0;
    interruptions += stay;
    swapcontext(&threads[old].context, &threads[current].context);
}

static void step(void)
{
    if (++in_a_row > PATIENCE)
        refuse("a thread that waits in barrier_wait() for others should sleep; this one has looked "
               "again and again, %d times", PATIENCE);
    schedule();
}

static void work(int me)
{
    int round;

    for (round = 0; round < rounds; round++) {
        called[round]++;
        reader_wait(barrier, (uint32_t)count);
        if (called[round] != count)
            refuse("in one of the orders in which %d threads can follow one another, one comes "
                   "out of round %d when only %d have called barrier_wait() for it",
                   count, round + 1, called[round]);
        through[me]++;
    }
    threads[me].ended = true;
    schedule();
}

/* ---- What lock.h is made of -------------------------------------------------- */

uint32_t atomic_add(uint32_t *word, uint32_t by)
{
    uint32_t old;

    step();
    old = *word;
    *word += by;
    return old;
}

uint32_t atomic_exchange(uint32_t *word, uint32_t new)
{
    uint32_t old;

    step();
    old = *word;
    *word = new;
    return old;
}

uint32_t atomic_compare_exchange(uint32_t *word, uint32_t old, uint32_t new)
{
    uint32_t found;

    step();
    found = *word;
    if (found == old)
        *word = new;
    return found;
}

uint32_t atomic_load(const uint32_t *word)
{
    step();
    return *word;
}

long sleep_at(uint32_t *word, uint32_t seen)
{
    step();
    if (*word != seen)
        return -11;                         /* EAGAIN */
    threads[current].asleep = word;
    threads[current].since = ++moment;
    schedule();
    return 0;
}

long wake_at(uint32_t *word, int most)
{
    struct thread *t, *first;
    long woken = 0;

    for (step(); woken < most; woken++) {
        for (first = NULL, t = threads; t < threads + count; t++)
            if (t->asleep == word && (!first || t->since < first->since))
                first = t;
        if (!first)
            break;
        first->asleep = NULL;
    }
    return woken;
}

/* Other calls: to give away one's turn is not to sleep. */
long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
    (void)d, (void)e, (void)f;
    if (number == 202 && (b & 127) == 0)    /* futex */
        return sleep_at((uint32_t *)a, (uint32_t)c);
    if (number == 202 && (b & 127) == 1)
        return wake_at((uint32_t *)a, (int)c);
    step();
    return 0;
}

long syscall3(long number, long a, long b, long c)
{
    return syscall6(number, a, b, c, 0, 0, 0);
}

static void access(const void *at)
{
    if ((const char *)at >= (char *)barrier && (const char *)at < (char *)(barrier + 512))
        step();
}

void __tsan_read1(void *at) { access(at); }
void __tsan_read2(void *at) { access(at); }
void __tsan_read4(void *at) { access(at); }
void __tsan_read8(void *at) { access(at); }
void __tsan_read16(void *at) { access(at); }
void __tsan_write1(void *at) { access(at); }
void __tsan_write2(void *at) { access(at); }
void __tsan_write4(void *at) { access(at); }
void __tsan_write8(void *at) { access(at); }
void __tsan_write16(void *at) { access(at); }
void __tsan_read_range(void *at, unsigned long size) { (void)size, access(at); }
void __tsan_write_range(void *at, unsigned long size) { (void)size, access(at); }
void __tsan_func_entry(void *from) { (void)from; }
void __tsan_func_exit(void) { }
void __tsan_init(void) { }

/* ---- Run after run ----------------------------------------------------------- */

static void run(void)
{
    int i;

    memset(barrier, 0, sizeof barrier);
    memset(called, 0, sizeof called);
    memset(through, 0, sizeof through);
    depth = interruptions = in_a_row = current = 0;
    for (i = 0; i < count; i++) {
        threads[i].asleep = NULL;
        threads[i].ended = false;
        getcontext(&threads[i].context);
        threads[i].context.uc_stack.ss_sp = threads[i].stack;
        threads[i].context.uc_stack.ss_size = STACK;
        makecontext(&threads[i].context, (void (*)(void))work, 1, i);
    }
    swapcontext(&home, &threads[0].context);
    end_of_run();
}

static void explore(int with_threads, int with_rounds, int with_interruptions)
{
    unsigned long runs;
    int last;

    count = with_threads, rounds = with_rounds, most_interruptions = with_interruptions;
    memset(path, 0, sizeof path);
    for (runs = 1; ; runs++) {
        run();
        for (last = DEEP - 1; last >= 0 && path[last].chosen + 1 >= path[last].among; last--)
            path[last].chosen = path[last].among = 0;
        if (last < 0 || runs == RUNS)
            break;
        path[last].chosen++;
    }
    all_runs += runs;
}

int main(void)
{
    if (reader_room > sizeof barrier)
        refuse("a struct barrier of %lu bytes is too large", reader_room);
    explore(1, 3, 0);
    explore(2, 3, 3);
    explore(3, 2, 2);
    explore(2, 2, 4);
    printf("tried %lu orders\n", all_runs);
    return 0;
}
