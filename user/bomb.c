// ## bomb {#user-bomb}
//
// Takes as much of one thing as the kernel will give, and wants more. A
// moment later somebody kills it and all its offspring, and then everything
// must be as before. `bomb fork` is the oldest one. Without a name, all go
// off, one after the other.

#include "libc.h"
#include "lock.h"

#define MOMENT 500000000        /* nanoseconds that a bomb has */
#define HUGE (1UL << 40)        /* bytes: more than there are */

static u8 *map(u64 size)
{
    long at = map_memory(size, MAP_PRIVATE);

    return at > 0 ? (u8 *)at : NULL;
}

// Everybody forks; those who cannot any more do try again.

void bomb_fork(void)
{
    for (;;)
        fork();
}

// Children that end at once, and whose end nobody asks for.

void bomb_zombies(void)
{
    for (;;)
        if (fork() == 0)
            exit(0);
}

// Descriptors, and the pipes behind them; each child takes as many.

void bomb_pipes(void)
{
    int ends[2];

    do
        while (pipe(ends) == 0)
            write(ends[1], ends, sizeof ends);
    while (fork() >= 0);
}

// Threads, each asleep at a word of its own.

void sleep_for_ever(void *about)
{
    struct worker *me = about;

    for (;;)
        sleep_at(&me->running, me->running);
}

void bomb_threads(void)
{
    struct worker *w;

    do
        while ((w = (void *)map(sizeof *w)) && worker_start(w, sleep_for_ever, w) > 0)
            ;
    while (fork() >= 0);
}

void bomb_memory(void)
{
    u8 *at;
    u64 i;

    while ((at = map(16 * MIB)))
        for (i = 0; i < 16 * MIB; i += 4096)
            at[i] = 1;
}

// A terabyte, one page in each gigabyte, for the tables that this takes;
// and the same by way of the heap.

void bomb_huge(void)
{
    u8 *at;
    u64 i;

    while ((at = map(HUGE)))
        for (i = 0; i < HUGE; i += GIB)
            at[i] = 1;
}

void bomb_heap(void)
{
    u64 end = (u64)syscall3(SYS_BRK, 0, 0, 0), last = end;

    while ((end = (u64)syscall3(SYS_BRK, (long)end + 4096, 0, 0)) > last)
        *(u8 *)last = 1, last = end;
}

// Each page a mapping of its own, and copies of it all.

void bomb_mappings(void)
{
    u8 *at;

    while ((at = map(4096)))
        *at = 1;
    while (fork() >= 0)
        ;
}

long bomb_stack_deep(volatile long *above)
{
    volatile long here[64];

    here[0] = *above + 1;
    return here[0] ? bomb_stack_deep(here) + here[0] : 0;
}

void bomb_stack(void)
{
    volatile long zero = 0;

    bomb_stack_deep(&zero);
}

// A file as long as the memory, and as many short ones as there can be.

void bomb_files(void)
{
    static char name[] = "/tmp/bomb/00000", block[65536];
    long fd = open("/tmp/bomb/long", O_RDWR | O_CREAT, 0644);
    u32 i, n, place;

    while (write((int)fd, block, sizeof block) > 0)
        ;
    close((int)fd);
    unlink("/tmp/bomb/long");
    for (i = 0; fd >= 0; i++) {
        for (n = i, place = 14; place > 9; place--, n /= 10)
            name[place] = (char)('0' + n % 10);
        fd = open(name, O_RDWR | O_CREAT, 0644);
        close((int)fd);
    }
}

// A handler that sends itself the signal again, and does not wait for its
// own end (SA_NODEFER): frames pile up on the stack until that is full.

void send_again(int signal)
{
    kill(getpid(), signal);
}

void bomb_signals(void)
{
    signal_action(SIGTERM, (vaddr)send_again, SA_NODEFER, 0);
    kill(getpid(), SIGTERM);
}

static const struct {
    const char *name;
    void (*go_off)(void);
} bombs[] = {
    {"fork", bomb_fork}, {"zombies", bomb_zombies}, {"pipes", bomb_pipes},
    {"memory", bomb_memory}, {"huge", bomb_huge}, {"heap", bomb_heap},
    {"mappings", bomb_mappings}, {"stack", bomb_stack}, {"files", bomb_files},
    {"signals", bomb_signals}, {"threads", bomb_threads},
};

// What a bomb has made of the file system.

void clean_up(void)
{
    static char list[4096], path[300];
    struct directory_entry *e;
    long fd = open("/tmp/bomb", O_RDONLY, 0), size, at;

    while ((size = getdents((int)fd, list, sizeof list)) > 0)
        for (at = 0; at < size; at += e->length) {
            e = (struct directory_entry *)(list + at);
            memcpy(path, "/tmp/bomb", 10);
            path_append(path, e->name);
            unlink(path);
        }
    close((int)fd);
    rmdir("/tmp/bomb");
}

// The whole family is one group, and one signal ends it. Some are just
// being born, so we repeat that until there is nobody left.

void set_off(u64 i)
{
    struct timespec moment = {0, MOMENT};
    long pid;

    mkdir("/tmp/bomb", 0755);
    while ((pid = fork()) < 0)
        ;
    if (!pid) {
        syscall3(SYS_SETPGID, 0, 0, 0);
        bombs[i].go_off();
        exit(0);
    }
    nanosleep(&moment, NULL);
    while (kill(-pid, SIGKILL) == 0 || wait4(-1, NULL, 1) > 0)
        while (wait4(-1, NULL, 0) > 0)
            ;
    clean_up();
    say("bomb: %s is over\n", bombs[i].name);
}

int main(int argc, char **argv)
{
    u64 i;

    for (i = 0; i < array_count(bombs); i++)
        if (argc < 2 || equal(argv[1], bombs[i].name))
            set_off(i);
    return done(0);
}
