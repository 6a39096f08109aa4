/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* The locks of user/lock.h, in the orders in which their instructions can follow one another: a
   small model checker. Each atomic operation is a step. Before each, and before each look at
   the words that the locks protect, the checker says whose step is next. It tries all choices
   with so many switches at most from somebody who could have gone on. Right versions must never
   get stuck or lose anything. Of each wrong version, it must find a run that does. */

#include "host.h"

#define FLOWS 3
#define DEPTH 400
#define STACK (64 * KIB)

struct flow {
    u64 stack_pointer, since;            /* it has been asleep, or 0: it is awake */
    u32 *at;                             /* the word it sleeps at */
    bool ended;
};

static struct flow flow[FLOWS];
static u8 stack[FLOWS][STACK] __attribute__((aligned(16)));
static u64 checker, clock;
static u32 flows, current;
static void (*work)(u32 who);

static void step(void)
{
    sched_switch(&flow[current].stack_pointer, checker);
}

#define LOCK_OPERATIONS
#define EVERYBODY 0x7fffffff

static u32 atomic_load(const u32 *word)
{
    step();
    return *word;
}

static u32 atomic_add(u32 *word, u32 by)
{
    step();
    *word += by;
    return *word - by;
}

static u32 atomic_exchange(u32 *word, u32 new)
{
    u32 old;

    step();
    old = *word;
    *word = new;
    return old;
}

static u32 atomic_compare_exchange(u32 *word, u32 old, u32 new)
{
    u32 was;

    step();
    was = *word;
    if (was == old)
        *word = new;
    return was;
}

static void sleep_blindly(u32 *word)
{
    flow[current].at = word;
    flow[current].since = ++clock;
    step();
}

static long sleep_at(u32 *word, u32 seen)
{
    step();
    if (*word != seen)
        return -EAGAIN;
    sleep_blindly(word);
    return 0;
}

/* Who has slept longest is woken first. */
static long wake_at(u32 *word, int most)
{
    long woken;
    u32 i, first;

    step();
    for (woken = 0; woken < most; woken++) {
        for (first = FLOWS, i = 0; i < flows; i++)
            if (flow[i].since && flow[i].at == word &&
                (first == FLOWS || flow[i].since < flow[first].since))
                first = i;
        if (first == FLOWS)
            break;
        flow[first].since = 0;
    }
    return woken;
}

#include "../../user/lock.h"

/* ---- All orders ---- */

static u8 choice[DEPTH], choices[DEPTH];
static u32 known;                        /* choices that are made already */

static void begin(void)
{
    work(current);
    flow[current].ended = true;
    step();
}

static void start(void)
{
    u64 *sp;
    u32 i;

    libc_memset(flow, 0, sizeof flow);
    for (i = 0; i < flows; i++) {
        sp = (u64 *)(stack[i] + STACK) - 2;
        *--sp = (u64)begin;
        sp -= 6;                         /* what sched_switch() takes off it */
        flow[i].stack_pointer = (u64)sp;
    }
    clock = 0;
}

/* Those who can go on, the one who has just run first; nobody else if it may not be left. */
static u32 candidates(u32 *list, u32 left)
{
    bool goes_on = !flow[current].ended && !flow[current].since;
    u32 i, count = 0;

    if (goes_on)
        list[count++] = current;
    for (i = 0; i < flows; i++)
        if (i != current && !flow[i].ended && !flow[i].since && (!goes_on || left))
            list[count++] = i;
    return count;
}

/* One run, by the choices that are known, and the first of each behind those. False if somebody
   is left who can never go on. */
static bool run_one(u32 switches)
{
    u32 list[FLOWS], n, count, i;

    start();
    current = 0;
    for (n = 0; (count = candidates(list, switches)); n++) {
        assert(n < DEPTH);
        if (n >= known)
            choice[n] = 0;
        choices[n] = (u8)count;
        if (choice[n] && list[0] == current)
            switches--;
        current = list[choice[n]];
        sched_switch(&checker, flow[current].stack_pointer);
    }
    known = n;
    for (i = 0; i < flows; i++)
        if (!flow[i].ended)
            return false;
    return true;
}

static bool next_order(void)
{
    while (known && choice[known - 1] + 1 == choices[known - 1])
        known--;
    if (known)
        choice[known - 1]++;
    return known;
}

/* How many orders it took to find one that goes wrong; 0 if there is none. `all` gets how many
   were tried. */
static u64 search(void (*what)(u32), void (*prepare)(void), bool (*good)(void), u32 count,
                  u32 switches, u64 *all)
{
    bool right;

    work = what;
    flows = count;
    known = 0;
    *all = 0;
    do {
        prepare();
        ++*all;
        right = run_one(switches) && good();
    } while (right && next_order());
    return right ? 0 : *all;
}

/* ---- A mutex ---- */

#define ROUNDS 2

static struct mutex mutex;
static struct condition condition;
static struct semaphore semaphore;
static u32 counter, goods, inside, most_inside;
static void (*lock)(struct mutex *), (*unlock)(struct mutex *);

static void prepare(void)
{
    libc_memset(&mutex, 0, sizeof mutex);
    libc_memset(&condition, 0, sizeof condition);
    semaphore.count = 1;
    counter = goods = inside = most_inside = 0;
}

/* Of a right version every order is right, and there are many. Of a wrong one, one is found that
   is not. */
static void expect_orders(const char *what, void (*of)(u32), bool (*good)(void), u32 count,
                          u32 switches, bool right)
{
    u64 tried, found = search(of, prepare, good, count, switches, &tried);

    print_message("%s: %lu orders of %u threads\n", what, tried, count);
    expect_true(!found == right, "%s, with %u threads; order %lu is %s", what, count, found,
                right ? "wrong" : "the first wrong one, if it is not 0");
    expect_true(!right || tried > 1000, "%lu orders are not many", tried);
}

static void counts(u32 who)
{
    u32 round, seen;

    (void)who;
    for (round = 0; round < ROUNDS; round++) {
        lock(&mutex);
        seen = counter;
        step();
        counter = seen + 1;
        unlock(&mutex);
    }
}

static bool all_counted(void)
{
    return counter == flows * ROUNDS && !mutex.state;
}

/* Who has slept takes it with a 1. */
static void lock_forgetful(struct mutex *m)
{
    u32 old = atomic_compare_exchange(&m->state, 0, 1);

    while (old) {
        if (old == 2 || atomic_compare_exchange(&m->state, 1, 2))
            sleep_at(&m->state, 2);
        old = atomic_compare_exchange(&m->state, 0, 1);
    }
}

/* It sleeps without a look whether the word is still the same. */
static void lock_blind(struct mutex *m)
{
    while (atomic_exchange(&m->state, 2)) {
        step();
        sleep_blindly(&m->state);
    }
}

/* To look and to take it are two instructions. */
static void lock_in_two(struct mutex *m)
{
    while (atomic_load(&m->state))
        sleep_at(&m->state, 1);
    atomic_exchange(&m->state, 1);
}

static void unlock_loud(struct mutex *m)
{
    atomic_exchange(&m->state, 0);
    wake_at(&m->state, 1);
}

static void unlock_silent(struct mutex *m)
{
    atomic_exchange(&m->state, 0);
}

static void expect_mutex(const char *what, void (*with)(struct mutex *),
                         void (*without)(struct mutex *), u32 count, u32 switches, bool right)
{
    lock = with;
    unlock = without;
    expect_orders(what, counts, all_counted, count, switches, right);
}

static void test_mutex(void **state)
{
    (void)state;
    expect_mutex("a mutex", mutex_lock, mutex_unlock, 2, 8, true);
    expect_mutex("a mutex", mutex_lock, mutex_unlock, 3, 4, true);
}

static void test_wrong_mutexes(void **state)
{
    (void)state;
    expect_mutex("a mutex taken with a 1 after sleep", lock_forgetful, mutex_unlock, 3, 4, false);
    expect_mutex("a mutex that sleeps without a look", lock_blind, mutex_unlock, 2, 4, false);
    expect_mutex("a mutex taken in two steps", lock_in_two, unlock_loud, 2, 4, false);
    expect_mutex("a mutex that wakes nobody", mutex_lock, unlock_silent, 2, 4, false);
}

/* ---- A condition ---- */

static void (*wait_for)(struct condition *, struct mutex *);

/* The first brings, the others take two each. */
static void trades(u32 who)
{
    u32 i;

    for (i = 0; i < (who ? ROUNDS : ROUNDS * (flows - 1)); i++) {
        mutex_lock(&mutex);
        while (who && !goods)
            wait_for(&condition, &mutex);
        goods += who ? -1U : 1;
        mutex_unlock(&mutex);
        if (!who)
            condition_wake(&condition, 1);
    }
}

static bool all_traded(void)
{
    return !goods && !mutex.state;
}

/* It looks at the number of events when it has let go of the mutex already. */
static void wait_late(struct condition *c, struct mutex *m)
{
    u32 seen;

    mutex_unlock(m);
    seen = atomic_load(&c->events);
    sleep_at(&c->events, seen);
    mutex_lock(m);
}

static void test_condition(void **state)
{
    (void)state;
    wait_for = condition_wait;
    expect_orders("a condition", trades, all_traded, 2, 8, true);
    expect_orders("a condition", trades, all_traded, 3, 4, true);
    wait_for = wait_late;
    expect_orders("a condition that looks late", trades, all_traded, 2, 4, false);
}

/* ---- A semaphore ---- */

static void (*take)(struct semaphore *);

static void enters(u32 who)
{
    u32 round;

    (void)who;
    for (round = 0; round < ROUNDS; round++) {
        take(&semaphore);
        inside++;
        most_inside = max(most_inside, inside);
        step();
        inside--;
        semaphore_give(&semaphore);
    }
}

static bool one_by_one(void)
{
    return most_inside == 1 && semaphore.count == 1;
}

static void take_in_two(struct semaphore *s)
{
    u32 seen;

    while (!(seen = atomic_load(&s->count)))
        sleep_at(&s->count, 0);
    atomic_exchange(&s->count, seen - 1);
}

static void test_semaphore(void **state)
{
    (void)state;
    take = semaphore_take;
    expect_orders("a semaphore", enters, one_by_one, 2, 8, true);
    expect_orders("a semaphore", enters, one_by_one, 3, 4, true);
    take = take_in_two;
    expect_orders("a semaphore taken in two steps", enters, one_by_one, 2, 4, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutex), cmocka_unit_test(test_wrong_mutexes),
        cmocka_unit_test(test_condition), cmocka_unit_test(test_semaphore)};

    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
