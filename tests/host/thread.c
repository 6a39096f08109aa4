/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapter 15, as far as it needs no processor: who waits at which word, beside a list; signals
   to a process and to one of its threads; numbers. */

#include "host.h"

#define WAITERS 40
#define WORDS 5

/* ---- Words ---- */

static struct futex_waiter waiter[WAITERS];
static u64 came[WAITERS], now;           /* when it began to wait; 0: it does not */
static u32 at_word[WAITERS];
static struct futex_word word[WORDS] = {{&word, 0}, {&word, 8}, {&waiter, 0}, {&waiter, 8},
                                        {&now, 4}};

/* The one who has waited longest at a word, by the list; WAITERS if there is none. */
static u32 oldest(u32 w, u32 bits)
{
    u32 i, best = WAITERS;

    for (i = 0; i < WAITERS; i++)
        if (came[i] && at_word[i] == w && waiter[i].bits & bits &&
            (best == WAITERS || came[i] < came[best]))
            best = i;
    return best;
}

static void compare(void)
{
    struct futex_waiter *first;
    u32 w, i, expected;

    for (w = 0; w < WORDS; w++) {
        first = futex_first(&word[w]);
        expected = oldest(w, FUTEX_ALL);
        expect_equal(first ? first - waiter : WAITERS, expected, "the first at word %u", w);
        for (; first; first = futex_next(first))
            expect_equal(at_word[first - waiter], w, "the word of one behind the first");
    }
    for (i = 0; i < WAITERS; i++)
        expect_equal(waiter[i].waits, came[i] != 0, "%u waits", i);
    thread_audit_waiters();
}

static void wake(u32 w, u32 most, u32 bits)
{
    u32 count, i;

    for (count = 0; count < most && (i = oldest(w, bits)) < WAITERS; count++)
        came[i] = 0;
    expect_equal(futex_wake(&word[w], most, bits), count, "woken at word %u", w);
}

static void move(u32 from, u32 to, u32 most)
{
    u32 count = 0, i;

    for (; from != to && count < most && (i = oldest(from, FUTEX_ALL)) < WAITERS; count++) {
        came[i] = ++now;
        at_word[i] = to;
    }
    expect_equal(futex_move(&word[from], &word[to], most), count, "moved from %u to %u", from, to);
}

static void come_or_go(u32 i, u32 w, u32 bits)
{
    if (came[i]) {
        futex_remove(&waiter[i]);
        came[i] = 0;
        return;
    }
    waiter[i] = (struct futex_waiter){.word = word[w], .bits = bits};
    futex_add(&waiter[i]);
    came[i] = ++now;
    at_word[i] = w;
}

static void test_words(void **state)
{
    u64 seed = 15, step;
    u32 w;

    (void)state;
    threads.waiters = NULL;
    for (step = 0; step < host_rounds(20000); step++) {
        w = (u32)host_below(&seed, WORDS);
        switch (host_below(&seed, 8)) {
        case 0: wake(w, (u32)host_below(&seed, 4), 1U << host_below(&seed, 2)); break;
        case 1: move(w, (u32)host_below(&seed, WORDS), (u32)host_below(&seed, 4)); break;
        default: come_or_go((u32)host_below(&seed, WAITERS), w, 1U << host_below(&seed, 2));
        }
        compare();
    }
}

/* ---- Threads of one process ---- */

#define THREADS 3

static struct process *process;
static struct thread *thread[THREADS];
static struct wait_queue bed;

static void lie_down(struct thread *t)
{
    t->queue = &bed;
    queue_append(&bed, t);
}

static void start(void)
{
    u32 i;

    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    sched = (struct sched_state){.threads = THREADS, .last_pid = 7};
    threads = (struct thread_state){NULL, NULL};
    bed = (struct wait_queue){NULL, NULL, NULL};
    process = heap_alloc_zeroed(&heap, sizeof *process);
    object_init(&process->object, &process_type);
    process->pid = 7;
    tree_insert(&sched.processes, NULL, 0, &process->by_pid, 0);
    process->signals = signal_create(process);
    for (i = 0; i < THREADS; i++) {
        thread[i] = heap_alloc_zeroed(&heap, sizeof *thread[i]);
        thread[i]->process = process;
        thread[i]->context.program = &process->program;
        if (i)
            thread[i - 1]->sibling = thread[i];
        else
            process->threads = thread[i];
        thread[i]->number = process->pid;
        if (i)
            thread_enter(thread[i]);
        lie_down(thread[i]);
    }
    process->signals->action[SIGUSR1].handler = 0x1000;
}

static void test_numbers(void **state)
{
    u32 i;

    (void)state;
    start();
    for (i = 0; i < THREADS; i++)
        expect_true(thread_find(7 + i) == thread[i], "thread %u by its number", i);
    expect_true(!thread_find(6) && !thread_find(10), "numbers of nobody");
    thread_audit_numbers();
    process->threads = thread[1];                /* the first has ended */
    expect_true(!thread_find(7), "the first, which has ended");
    expect_true(thread_find(9) == thread[2], "another, whose first has ended");
}

static void test_signals(void **state)
{
    struct signal_info info = {.signal = SIGUSR1};
    u64 blocks;

    (void)state;
    start();
    blocks = heap.blocks;
    signal_send_thread(thread[1], &info);
    expect_true(!thread[1]->queue && thread[0]->queue && thread[2]->queue, "the one is woken");
    expect_true(thread[1]->context.attention && !thread[0]->context.attention, "and is wanted");
    expect_equal(signal_pending(thread[0]), 0, "what the others have to expect");
    lie_down(thread[1]);
    queue_remove(&sched.ready, thread[1]);
    signal_send_info(process, &info);
    expect_true(!thread[0]->queue && thread[1]->queue, "of all, the first is woken");
    expect_equal(process->signals->sent.count, 1, "notes of the process");
    expect_equal(signal_take(thread[1], ~0UL, &info), SIGUSR1, "its own is taken first");
    expect_equal(process->signals->sent.count, 1, "notes of the process, as before");
    expect_equal(signal_take(thread[2], ~0UL, &info), SIGUSR1, "the other, by anybody");
    expect_equal(signal_take(thread[0], ~0UL, &info), 0, "a third");
    thread[0]->blocked = thread[1]->blocked = signal_bit(SIGUSR1);
    queue_remove(&sched.ready, thread[0]);
    lie_down(thread[0]);
    signal_send_info(process, &info);
    expect_true(!thread[2]->queue && thread[0]->queue, "who has it blocked is let alone");
    signal_forget_everywhere(process, ~0UL);
    expect_equal(heap.blocks, blocks, "blocks at the end");
}

/* Marked threads are wanted whatever signals there are, and woken. */
static void test_ending(void **state)
{
    u32 i;

    (void)state;
    start();
    cpu_boot.context = &thread[0]->context;
    queue_remove(&bed, thread[0]);
    thread[0]->queue = NULL;
    thread_end_others();
    for (i = 0; i < THREADS; i++) {
        expect_equal(thread[i]->ending, i != 0, "thread %u is to end", i);
        expect_equal(thread[i]->context.attention, i != 0, "thread %u is wanted", i);
        expect_true(!thread[i]->queue, "thread %u is awake", i);
    }
    signal_set_blocked(thread[1], ~0UL);
    expect_true(thread[1]->context.attention, "with all signals blocked");
    cpu_boot.context = &thread[1]->context;
    expect_true(signal_dooms(), "need not finish what it has begun");
    expect_equal(thread_remain(&process->program), -EINTR, "another program, for who has to end");
}

/* The end of a thread, in place of which we come back. */
static jmp_buf back;

static void noreturn come_back(void)
{
    longjmp(back, 1);
}

static void run_as(struct thread *t)
{
    cpu_boot.context = &t->context;
    queue_remove(t->queue, t);
    t->queue = NULL;
}

/* What a thread was woken for and has not taken, another one is woken for. */
static void test_left_over(void **state)
{
    struct signal_info info = {.signal = SIGUSR1};

    (void)state;
    start();
    thread[2]->blocked = signal_bit(SIGUSR1);
    signal_send_info(process, &info);
    expect_true(!thread[0]->queue && thread[1]->queue, "the first is woken");
    cpu_boot.context = &thread[0]->context;
    queue_remove(&sched.ready, thread[0]);
    if (!setjmp(back))
        thread_leave();
    expect_true(!thread[1]->queue, "the next, when the first has ended");
    expect_true(thread[2]->queue, "not who has it blocked");
}

/* How a process ends, who asked first says; who was told to end has no say. */
static void test_first_says(void **state)
{
    (void)state;
    start();
    run_as(thread[1]);
    if (!setjmp(back))
        thread_end_process(3, 0);
    expect_equal(process->exit_code, 3, "the code of the first who asks");
    expect_true(thread[0]->ending && thread[2]->ending, "the others are told");
    cpu_boot.context = &thread[2]->context;
    if (!setjmp(back))
        thread_end_process(0, SIGSEGV);
    expect_equal(process->exit_code << 8 | process->exit_signal, 3 << 8, "how it has ended");
}

/* Another program begins with nothing of what its thread had to clear, or to let go. */
static void test_remain(void **state)
{
    struct robust_list_head empty = {.first = (vaddr)&empty};

    (void)state;
    start();
    queue_remove(&bed, thread[1]);
    thread[1]->queue = NULL;
    cpu_boot.context = &thread[1]->context;
    process->threads = thread[1];
    thread[1]->sibling = NULL;
    thread[1]->robust = thread[1]->cleared = (vaddr)&empty;
    expect_equal(thread_remain(&process->program), 0, "another program, for who is alone");
    expect_equal(thread[1]->robust | thread[1]->cleared, 0, "what is left of the old one");
    expect_equal(thread[1]->number, process->pid, "its number");
    expect_true(thread_find(7) == thread[1] && !thread_find(8), "who is found by it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_signals), cmocka_unit_test(test_ending),
        cmocka_unit_test(test_remain), cmocka_unit_test(test_left_over),
        cmocka_unit_test(test_first_says)};

    host_watch_memory();
    host_replace(thread_end, come_back);
    return cmocka_run_group_tests(tests, host_setup, host_teardown);
}
