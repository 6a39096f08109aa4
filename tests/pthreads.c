/* What C libraries expect of threads: built with glibc's or musl's, as a static program, it says
   the same on Linux and on Rustica. tests/run.py compares. */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8

/* musl-gcc does not look where Linux's own headers lie. */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_REQUEUE 3
#define FUTEX_CMP_REQUEUE 4
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define FUTEX_PRIVATE 128
#define FUTEX_REALTIME 256

static pthread_t thread[THREADS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static long gettid_(void)
{
    return syscall(SYS_gettid);
}

static void milliseconds(long n)
{
    struct timespec time = {n / 1000, n % 1000 * 1000000};

    while (nanosleep(&time, &time))
        ;
}

static void start(int count, void *(*work)(void *))
{
    long i;

    for (i = 0; i < count; i++)
        if (pthread_create(&thread[i], NULL, work, (void *)i))
            printf("thread %ld cannot be made\n", i);
}

static long join(int count)
{
    long sum = 0;
    void *result;
    int i;

    for (i = 0; i < count; i++) {
        pthread_join(thread[i], &result);
        sum += (long)result;
    }
    return sum;
}

/* ---- Locks ---- */

static long counter, serial, wrong, turn;
static __thread int own = 7;
static sem_t semaphore;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static volatile int left, right;

static void *counts(void *about)
{
    int i;

    own += (int)(long)about;
    for (i = 0; i < 20000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return (void *)(long)own;
}

static void *takes_turns(void *about)
{
    int round;

    for (round = 0; round < 50; round++) {
        pthread_mutex_lock(&mutex);
        while (turn % THREADS != (long)about)
            pthread_cond_wait(&condition, &mutex);
        turn++;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *takes_semaphore(void *about)
{
    int i;

    for (i = 0; i < 100; i++)
        sem_wait(&semaphore);
    return about;
}

static void *meets(void *about)
{
    int i;

    for (i = 0; i < 20; i++)
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            __sync_fetch_and_add(&serial, 1);
    return about;
}

static void *reads_or_writes(void *about)
{
    int i;

    for (i = 0; i < 500; i++) {
        if ((long)about % 2) {
            pthread_rwlock_rdlock(&rwlock);
            if (left != right)
                __sync_fetch_and_add(&wrong, 1);
        } else {
            pthread_rwlock_wrlock(&rwlock);
            left++;
            right++;
        }
        pthread_rwlock_unlock(&rwlock);
    }
    return NULL;
}

static void locks(void)
{
    struct timespec until;
    int i, value, error;
    long sum;

    start(THREADS, counts);
    sum = join(THREADS);
    printf("counted %ld, own variables %ld and %d\n", counter, sum, own);
    start(THREADS, takes_turns);
    join(THREADS);
    printf("turns %ld\n", turn);
    sem_init(&semaphore, 0, 0);
    start(4, takes_semaphore);
    for (i = 0; i < 400; i++)
        sem_post(&semaphore);
    join(4);
    sem_getvalue(&semaphore, &value);
    printf("semaphore %d\n", value);
    pthread_barrier_init(&barrier, NULL, 4);
    start(4, meets);
    join(4);
    printf("met %ld times\n", serial);
    start(4, reads_or_writes);
    join(4);
    printf("written %d times, half read %ld times\n", left, wrong);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&mutex);
    do
        error = pthread_cond_timedwait(&condition, &mutex, &until);
    while (!error);
    pthread_mutex_unlock(&mutex);
    printf("nobody came: %s\n", strerror(error));
}

/* ---- Signals, and how threads end ---- */

static volatile long taken_by;
static volatile int ready;

static void handler(int signal)
{
    (void)signal;
    taken_by = gettid_();
}

static void *sleeps(void *about)
{
    for (;;)
        pause();
    return about;
}

static void *waits_for_signal(void *about)
{
    sigset_t set;
    int signal;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    ready = 1;
    sigwait(&set, &signal);
    (void)about;
    return (void *)(long)(signal == SIGUSR2);
}

static void *is_tapped(void *about)
{
    long me = gettid_();

    (void)about;
    ready = 1;
    while (!taken_by)
        milliseconds(1);
    return (void *)(long)(taken_by == me);
}

static void signals(void)
{
    sigset_t set;
    void *result;

    signal(SIGUSR1, handler);
    taken_by = ready = 0;
    start(1, is_tapped);
    while (!ready)
        milliseconds(1);
    pthread_kill(thread[0], SIGUSR1);
    printf("tapped the right one: %ld\n", join(1));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    ready = 0;
    start(1, waits_for_signal);
    while (!ready)
        milliseconds(1);
    kill(getpid(), SIGUSR2);
    printf("sent to all, taken by who waits: %ld\n", join(1));
    pthread_kill(pthread_self(), SIGUSR2);
    sigpending(&set);
    printf("sent to me: pending %d\n", sigismember(&set, SIGUSR2));
    start(1, sleeps);
    milliseconds(2);
    pthread_cancel(thread[0]);
    pthread_join(thread[0], &result);
    printf("canceled: %d\n", result == PTHREAD_CANCELED);
    printf("tgkill: %ld %ld %ld\n", syscall(SYS_tgkill, getpid(), gettid_(), 0),
           syscall(SYS_tgkill, 1, gettid_(), 0), syscall(SYS_tkill, 0x7ffffff, 0));
}

static char *self;

static void *becomes_another(void *about)
{
    char *words[] = {self, "again", NULL};

    execv("/nowhere", words);
    printf("no such program, and still here\n");
    fflush(stdout);
    execv(self, words);
    return about;
}

static void *crashes(void *about)
{
    *(volatile int *)8 = 1;
    return about;
}

static void *exits(void *about)
{
    milliseconds(5);
    exit(7);
    return about;
}

/* A process with four threads ends in some way; what its parent sees. */
static void end_by(const char *how, void *(*last)(void *))
{
    int status;
    long pid;

    fflush(stdout);
    pid = fork();
    if (!pid) {
        start(3, sleeps);
        milliseconds(2);
        if (last)
            pthread_create(&thread[3], NULL, last, NULL);
        else
            kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    waitpid((pid_t)pid, &status, 0);
    printf("%s: exit %d, signal %d\n", how, WEXITSTATUS(status), WTERMSIG(status));
}

/* It has SIGPIPE blocked, so it stays pending; the others, who have not, do not get it. */
static void *writes_to_nobody(void *about)
{
    int ends[2];
    char byte = 0;
    sigset_t set;

    (void)about;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, handler);
    taken_by = 0;
    if (pipe(ends))
        return NULL;
    close(ends[0]);
    if (write(ends[1], &byte, 1) >= 0 || errno != EPIPE)
        return NULL;
    milliseconds(5);
    sigpending(&set);
    return (void *)(long)(sigismember(&set, SIGPIPE) && !taken_by);
}

static int ends_of_pipe[2];

static void *reads_slowly(void *about)
{
    char byte = '-';

    (void)about;
    ready = 1;
    return (void *)(long)(read(ends_of_pipe[0], &byte, 1) == 1 && byte == 'x');
}

static void *asks_for_stack(void *about)
{
    stack_t old;

    (void)about;
    sigaltstack(NULL, &old);
    return (void *)(long)(old.ss_flags == SS_DISABLE);
}

/* A list of locks, of which one belongs to somebody else. */
static struct {
    void *next;
    long offset;
    void *pending;
    void *entry[2];
    int lock[4];                     /* one for each entry, and as far apart */
} list;

static void *leaves_locks(void *about)
{
    list.next = &list.entry[0];
    list.entry[0] = &list.entry[1];
    list.entry[1] = &list;
    list.offset = (char *)list.lock - (char *)list.entry;
    list.lock[0] = (int)gettid_();
    list.pending = &list.entry[1];
    syscall(SYS_set_robust_list, &list, 3 * sizeof(void *));
    return about;
}

static void others(void)
{
    static char room[65536];
    stack_t stack = {.ss_sp = room, .ss_size = sizeof room};
    long got;

    sigaltstack(&stack, NULL);
    start(1, asks_for_stack);
    printf("a thread has no other stack: %ld\n", join(1));
    list.lock[2] = list.lock[0] = 1;
    start(1, leaves_locks);
    join(1);
    printf("left behind: 0x%x, and not its own: 0x%x\n", (unsigned)list.lock[0],
           (unsigned)list.lock[2]);

    start(1, writes_to_nobody);
    printf("SIGPIPE is the writer's: %ld\n", join(1));
    if (pipe(ends_of_pipe))
        return;
    ready = 0;
    start(1, reads_slowly);
    while (!ready)
        milliseconds(1);
    milliseconds(100);
    close(ends_of_pipe[0]);          /* while the other one reads from it */
    got = write(ends_of_pipe[1], "x", 1);
    printf("closed by another: wrote %ld, read %ld\n", got, join(1));
}

/* A copy's first thread is waited for by another one. (musl does not expect that.) */
#ifdef __GLIBC__
static pthread_t first;

static void *waits_for_first(void *about)
{
    pthread_join(first, NULL);
    _exit(9);
    return about;
}
#endif

static void first_ends(void)
{
    int status = 9 << 8;

    fflush(stdout);
#ifdef __GLIBC__
    if (!fork()) {
        first = pthread_self();
        start(1, waits_for_first);
        pthread_exit(NULL);
    }
    wait(&status);
#endif
    printf("the first has ended, and was waited for: %d\n", WEXITSTATUS(status));
}

/* A lock in shared memory, and its owner ends. */
static void robust(void)
{
    pthread_mutex_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t kind;
    int *locked = (int *)(shared + 1), error;
    long pid;

    pthread_mutexattr_init(&kind);
    pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(shared, &kind);
    fflush(stdout);
    pid = fork();
    if (!pid) {
        pthread_mutex_lock(shared);
        *(volatile int *)locked = 1;
        milliseconds(20);
        _exit(0);
    }
    while (!*(volatile int *)locked)
        milliseconds(1);
    error = pthread_mutex_lock(shared);
    printf("robust: %s\n", error == EOWNERDEAD ? "its owner has died" : strerror(error));
    pthread_mutex_consistent(shared);
    pthread_mutex_unlock(shared);
    waitpid((pid_t)pid, NULL, 0);
}

/* ---- The calls themselves ---- */

static int word, other;
static long returned[4];

static long futex(int *at, int command, long value, const struct timespec *time, int *second,
                  long third)
{
    long result = syscall(SYS_futex, at, command, value, time, second, third);

    return result < 0 ? -errno : result;
}

static void *waits_at_word(void *about)
{
    returned[(long)about] = futex(&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE, 0, NULL, NULL,
                                  1L << (long)about);
    return NULL;
}

static volatile int went_on;

static void *restarts(void *about)
{
    long result;

    (void)about;
    ready = 1;
    result = futex(&word, FUTEX_WAIT | FUTEX_PRIVATE, 0, NULL, NULL, 0);
    went_on = 1;
    return (void *)result;
}

/* Those who wait come to the other word as they begin to wait. */
static void move_all(int count)
{
    while (count) {
        count -= (int)futex(&word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE, 0, (void *)9, &other, 0);
        milliseconds(1);
    }
}

static void words(void)
{
    struct timespec bad = {0, -1}, none = {0, 0}, some = {0, 5000000};
    struct sigaction again = {.sa_handler = handler, .sa_flags = SA_RESTART};

    printf("wait: another value %ld, too late %ld, bad time %ld, at nowhere %ld, askew %ld\n",
           futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0), futex(&word, FUTEX_WAIT, 0, &some, NULL, 0),
           futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0),
           futex((int *)8, FUTEX_WAIT, 0, NULL, NULL, 0),
           futex((int *)((char *)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
    printf("until long ago %ld and %ld, without bits %ld, unknown %ld\n",
           futex(&word, FUTEX_WAIT_BITSET, 0, &none, NULL, -1),
           futex(&word, FUTEX_WAIT_BITSET | FUTEX_REALTIME, 0, &none, NULL, -1),
           futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), futex(&word, 99, 0, NULL, NULL, 0));
    printf("wake: nobody %ld, at nowhere %ld, without bits %ld\n",
           futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0),
           futex((int *)8, FUTEX_WAKE, 1, NULL, NULL, 0),
           futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
    start(4, waits_at_word);
    move_all(4);
    printf("by bits %ld", futex(&other, FUTEX_WAKE_BITSET | FUTEX_PRIVATE, 9, NULL, NULL, 2));
    printf(", another value %ld",
           futex(&other, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE, 1, (void *)9, &word, 5));
    printf(", one, and the others moved %ld",
           futex(&other, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE, 1, (void *)9, &word, 0));
    printf(", here %ld, there %ld\n", futex(&other, FUTEX_WAKE | FUTEX_PRIVATE, 9, NULL, NULL, 0),
           futex(&word, FUTEX_WAKE | FUTEX_PRIVATE, 9, NULL, NULL, 0));
    join(4);
    printf("returned %ld %ld %ld %ld\n", returned[0], returned[1], returned[2], returned[3]);
    sigaction(SIGUSR1, &again, NULL);
    ready = 0;
    start(1, restarts);
    while (!ready)
        milliseconds(1);
    milliseconds(50);
    pthread_kill(thread[0], SIGUSR1);
    while (!taken_by)
        milliseconds(1);
    while (!went_on) {
        futex(&word, FUTEX_WAKE | FUTEX_PRIVATE, 1, NULL, NULL, 0);
        milliseconds(1);
    }
    printf("interrupted, and went on: %ld\n", join(1));
    printf("clone: %ld\n", syscall(SYS_clone, 0x10000, 0, 0, 0, 0) < 0 ? (long)errno : 0);
}

int main(int count, char **argument)
{
    self = argument[0];
    if (count > 1) {
        printf("another program: the first thread %d\n", getpid() == gettid_());
        return 42;
    }
    locks();
    words();
    signals();
    others();
    end_by("SIGKILL", NULL);
    end_by("exit", exits);
    end_by("crash", crashes);
    end_by("execve", becomes_another);
    first_ends();
    robust();
    return 0;
}
