// ## Threads and locks {#user-lock}
//
// What [Chapter 15](#ch-thread) says of locks, in a program's hands. The
// kernel's part are two calls. The rest is here, and so short that a test
// can try the orders in which threads can get in each other's way. That
// test brings operations of its own, instead of these.

#ifndef LOCK_H
#define LOCK_H

#ifndef LOCK_OPERATIONS

// **Atomic operations.** Each is one instruction. `lock` keeps the other
// processors out; with `xchg` it goes without saying. All of them return
// what the word was before.

static inline u32 atomic_add(u32 *word, u32 by)
{
    __asm__ volatile("lock xaddl %0, %1" : "+r"(by), "+m"(*word) : : "memory");
    return by;
}

static inline u32 atomic_exchange(u32 *word, u32 new)
{
    __asm__ volatile("xchgl %0, %1" : "+r"(new), "+m"(*word) : : "memory");
    return new;
}

// Stores `new` only if the word is `old`.

static inline u32 atomic_compare_exchange(u32 *word, u32 old, u32 new)
{
    __asm__ volatile("lock cmpxchgl %2, %1" : "+a"(old), "+m"(*word) : "r"(new) : "memory");
    return old;
}

static inline u32 atomic_load(const u32 *word)
{
    return *(const volatile u32 *)word;
}

// **Sleeping** at a word, if it is still what we have seen; and waking up
// some who do.

static inline long sleep_at(u32 *word, u32 seen)
{
    return syscall6(SYS_FUTEX, (long)word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, seen, 0, 0, 0);
}

static inline long wake_at(u32 *word, int most)
{
    return syscall6(SYS_FUTEX, (long)word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, most, 0, 0, 0);
}

#define EVERYBODY 0x7fffffff

#endif

// **A mutex.** 0 is free, 1 taken, 2 taken with somebody perhaps asleep.
// All zeros is a mutex that can be used. Who finds it taken leaves a 2 in
// it, and has got it if there was a 0 before.

struct mutex {
    u32 state;
};

static inline void mutex_lock(struct mutex *m)
{
    if (atomic_compare_exchange(&m->state, 0, 1) == 0)
        return;
    while (atomic_exchange(&m->state, 2) != 0)
        sleep_at(&m->state, 2);
}

static inline void mutex_unlock(struct mutex *m)
{
    if (atomic_exchange(&m->state, 0) == 2)
        wake_at(&m->state, 1);
}

// **A condition.** To wait until something is true that is protected by a
// mutex, one must let go of the mutex and sleep, and whoever makes it true
// must not come in between unheard. So there is a number that each who
// wakes adds one to, and we sleep only if it is what it was when we still
// had the mutex. The caller looks again whether it is true: between waking
// up and getting the mutex, somebody else may have been faster.

struct condition {
    u32 events;
};

static inline void condition_wait(struct condition *c, struct mutex *m)
{
    u32 seen = atomic_load(&c->events);

    mutex_unlock(m);
    sleep_at(&c->events, seen);
    mutex_lock(m);
}

static inline void condition_wake(struct condition *c, int most)
{
    atomic_add(&c->events, 1);
    wake_at(&c->events, most);
}

// **A semaphore.** So many things are there. Who wants one waits until
// there is one; who brings one back says so (Dijkstra's P and V, 1965).

struct semaphore {
    u32 count;
};

static inline void semaphore_take(struct semaphore *s)
{
    u32 seen = atomic_load(&s->count), now;

    for (;;) {
        if (!seen)
            sleep_at(&s->count, 0);
        else if ((now = atomic_compare_exchange(&s->count, seen, seen - 1)) == seen)
            return;
        seen = atomic_load(&s->count);
    }
}

static inline void semaphore_give(struct semaphore *s)
{
    atomic_add(&s->count, 1);
    wake_at(&s->count, 1);
}

#ifndef LOCK_OPERATIONS

// **A worker** is a thread with something to do. It needs a stack, on top
// of which we leave it what it is to do. When `clone` comes back for the
// second time, the stack pointer is there, and there is nobody to return
// to. The word `running` is cleared by the kernel at the end, and that is
// what `worker_join()` sleeps at. (Waiting for it must not be said to be
// private: the kernel does not know that it is.)

#define WORKER_STACK 16384

struct worker {
    void (*work)(void *about);
    void *about;
    u32 running;                 /* its number, until it has ended */
    u8 stack[WORKER_STACK];
};

void worker_main(struct worker *t)
{
    t->work(t->about);
    syscall3(SYS_EXIT, 0, 0, 0);
}

// Here only the return from the call, in the child, has to be written by
// hand: whatever the compiler keeps on the stack is on the other one.

long worker_clone(u64 flags, void *stack, u32 *parent, u32 *child);

__asm__(".globl worker_clone\n"
        "worker_clone:\n"
        "    movq %rcx, %r10\n"
        "    movl $56, %eax\n"           /* clone */
        "    syscall\n"
        "    testq %rax, %rax\n"
        "    jnz 1f\n"
        "    xorl %ebp, %ebp\n"
        "    popq %rdi\n"
        "    call worker_main\n"
        "1:  ret\n");

// To start one and to wait for its end. -EAGAIN if there is no room for it.

#define WORKER_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
                      CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static inline long worker_start(struct worker *t, void (*work)(void *about), void *about)
{
    void **top = (void **)(t->stack + WORKER_STACK - 16);

    t->work = work;
    t->about = about;
    *top = t;
    return worker_clone(WORKER_FLAGS, top, &t->running, &t->running);
}

static inline void worker_join(struct worker *t)
{
    u32 number;

    while ((number = atomic_load(&t->running)))
        syscall6(SYS_FUTEX, (long)&t->running, FUTEX_WAIT, number, 0, 0, 0);
}

#endif

#endif
