// ## bench {#user-bench}
//
// What do the kernel's services cost? This program uses each of them many
// times, and says what one use takes, in the processor's own unit: `rdtsc`
// reads a counter of its cycles. Cycles differ from one run to the next,
// and from one machine to the next. So `make bench` starts us on an
// emulator whose counter counts instructions, and there the numbers repeat.
// It then starts the same file on Linux, and puts the two columns side by
// side.

#include "libc.h"

#define PAGE 4096
#define MANY 1000       /* of what is quick */
#define FEW 100         /* of what is not */

// The counter; and what each of `times` uses has taken since then.

static u64 counter(void)
{
    u32 low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

static u64 each(u64 since, u64 times)
{
    return (counter() - since + times / 2) / times;
}

// If something fails, then whatever it took is of no interest.

static long must(const char *what, long result)
{
    if (result >= 0 || result < -PAGE)  /* addresses may be large */
        return result;
    complain("bench: %s: %s", what, reason(result));
    exit(1);
}

// Memory of our own, or shared with children.

static char *map(u64 size, int kind)
{
    return (char *)must("mmap", map_memory(size, kind));
}

static void unmap(char *memory, u64 size)
{
    must("munmap", syscall3(SYS_MUNMAP, (long)memory, (long)size, 0));
}

// ## System calls {#bench-calls}
//
// The least that a system call can do is to return a number: this is the
// price of the way into the kernel and back. To write a byte to a file that
// swallows everything adds the way from a descriptor to its object, and the
// copying of a byte.

static u64 null_call(void)
{
    u64 start = counter();
    int i;

    for (i = 0; i < MANY; i++)
        getpid();
    return each(start, MANY);
}

static u64 write_byte(void)
{
    int fd = (int)must("/dev/null", open("/dev/null", O_WRONLY, 0)), i;
    u64 start = counter(), cost;

    for (i = 0; i < MANY; i++)
        write(fd, "x", 1);
    cost = each(start, MANY);
    close(fd);
    return cost;
}

// ## Processes {#bench-processes}
//
// A child does its part for as long as it lives.

static long start_child(void (*part)(void))
{
    long pid = must("fork", fork());

    while (!pid)
        part();
    return pid;
}

static void end_child(long pid)
{
    kill(pid, SIGKILL);
    must("wait4", wait4(pid, NULL, 0));
}

// A byte goes through one pipe to the child, and through another back.

static int there[2], back[2];

static void send_back(void)
{
    char c;

    read(there[0], &c, 1);
    write(back[1], &c, 1);
}

static u64 round_trip(void)
{
    u64 start, cost;
    long child;
    char c = 'x';
    int i;

    must("pipe", pipe(there));
    must("pipe", pipe(back));
    child = start_child(send_back);
    start = counter();
    for (i = 0; i < MANY; i++) {
        write(there[1], &c, 1);
        read(back[0], &c, 1);
    }
    cost = each(start, MANY);
    end_child(child);
    for (i = 0; i < 2; i++)
        close(there[i]), close(back[i]);
    return cost;
}

// Two processes offer each other the processor. Some systems do not take
// every offer, so there is a page that both can see: a round is over when
// the child has been there. It takes two switches, to the child and back.

static volatile char *turn;

static void yield(void)
{
    syscall3(SYS_SCHED_YIELD, 0, 0, 0);
}

static void answer(void)
{
    *turn = 0;
    yield();
}

static u64 yield_twice(void)
{
    char *page = map(PAGE, MAP_SHARED);
    u64 start, cost;
    long child;
    int i;

    turn = page;
    *turn = 1;
    child = start_child(answer);
    while (*turn)
        yield();
    start = counter();
    for (i = 0; i < MANY; i++)
        for (*turn = 1; *turn;)
            yield();
    cost = each(start, MANY);
    end_child(child);
    unmap(page, PAGE);
    return cost;
}

// A whole life, without another program and with one: the smallest we have.

static u64 fork_exit(void)
{
    u64 start = counter();
    int i;

    for (i = 0; i < FEW; i++) {
        long pid = must("fork", fork());

        if (!pid)
            exit(0);
        wait4(pid, NULL, 0);
    }
    return each(start, FEW);
}

static u64 fork_exec(void)
{
    char *words[] = {"true", NULL};
    u64 start = counter();
    int i, status;

    for (i = 0; i < FEW; i++) {
        long pid = must("fork", fork());

        if (!pid)
            exit(execve("/bin/true", words, words + 1) ? 127 : 0);
        wait4(pid, &status, 0);
        must("/bin/true", status ? -ENOENT : 0);
    }
    return each(start, FEW);
}

// ## Memory {#bench-memory}
//
// A page costs something when it is asked for, and more when it is first
// touched. The heap grows by one page after another, and then gives all of
// them back, which does not count.

static u64 grow_heap(void)
{
    char *heap = (char *)syscall3(SYS_BRK, 0, 0, 0);
    u64 start = counter(), cost;
    int i;

    for (i = 0; i < MANY; i++) {
        syscall3(SYS_BRK, (long)heap + (i + 1) * PAGE, 0, 0);
        heap[i * PAGE] = 1;
    }
    cost = each(start, MANY);
    syscall3(SYS_BRK, (long)heap, 0, 0);
    return cost;
}

static u64 map_page(void)
{
    u64 start = counter();
    int i;

    for (i = 0; i < MANY; i++) {
        char *memory = map(PAGE, MAP_PRIVATE);

        *memory = 1;
        unmap(memory, PAGE);
    }
    return each(start, MANY);
}

// Many pages at once: what one of them costs until all are touched, and
// what it costs to give all of them back.

#define BIG (16 * MIB)

static char *touched(void)
{
    char *memory = map(BIG, MAP_PRIVATE);
    u64 at;

    for (at = 0; at < BIG; at += PAGE)
        memory[at] = 1;
    return memory;
}

static u64 touch_big(void)
{
    u64 start = counter(), cost;
    char *memory = touched();

    cost = each(start, BIG / PAGE);
    unmap(memory, BIG);
    return cost;
}

static u64 free_big(void)
{
    char *memory = touched();
    u64 start = counter();

    unmap(memory, BIG);
    return each(start, BIG / PAGE);
}

// ## Files {#bench-files}
//
// To find a file by its path, and a file's contents.

static u64 open_close(void)
{
    u64 start = counter();
    int i;

    for (i = 0; i < MANY; i++)
        close((int)must("/bin/true", open("/bin/true", O_RDONLY, 0)));
    return each(start, MANY);
}

static u64 ask(void)
{
    struct file_status info;
    u64 start = counter();
    int i;

    for (i = 0; i < MANY; i++)
        must("/bin/true", stat("/bin/true", &info));
    return each(start, MANY);
}

// A file of a megabyte is read by 64 KiB at a time, from a file system that
// lives in memory. It has lost its name already when we write to it, so it
// is gone when we close it.

static char piece[64 * KIB];

static u64 read_file(void)
{
    const char *path = "/tmp/bench.data";
    int fd = (int)must(path, open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    u64 at, start, cost;

    must("unlink", unlink(path));
    for (at = 0; at < MIB; at += sizeof piece)
        must("write", write_all(fd, piece, sizeof piece));
    syscall3(SYS_LSEEK, fd, 0, SEEK_SET);
    start = counter();
    for (at = 0; at < MIB; at += sizeof piece)
        must("read", read(fd, piece, sizeof piece) == sizeof piece ? 0 : -EIO);
    cost = each(start, MIB / KIB);
    close(fd);
    return cost;
}

// ## What grows {#bench-growth}
//
// Some services have to find one thing among many. What does that cost
// among ten, and what among ten thousand? `bench growth` makes so many of
// them, measures, and takes them away. First mappings, every other with
// other rights, so that no two become one.

static char *some[10000];

static void map_some(u64 n)
{
    u64 i;

    for (i = 0; i < n; i++) {
        some[i] = map(PAGE, MAP_PRIVATE);
        if (i % 2)
            must("mprotect", syscall3(SYS_MPROTECT, (long)some[i], PAGE, PROT_READ));
    }
}

static void unmap_some(u64 n)
{
    while (n--)
        unmap(some[n], PAGE);
}

// One more of them, of which either the making is measured or the first
// use.

static u64 map_and_touch(u64 n, bool touch)
{
    u64 start, made, cost = 0, i;
    char *page;

    map_some(n);
    for (i = 0; i < FEW; i++) {
        start = counter();
        page = map(PAGE, MAP_PRIVATE);
        made = counter();
        *(volatile char *)page = 1;
        cost += touch ? counter() - made : made - start;
        unmap(page, PAGE);
    }
    unmap_some(n);
    return cost / FEW;
}

static u64 map_among(u64 n)
{
    return map_and_touch(n, false);
}

static u64 touch_among(u64 n)
{
    return map_and_touch(n, true);
}

// Of three pages, the one in the middle gets other rights, and goes.

static u64 cut_among(u64 n)
{
    u64 start, cost = 0, i;
    char *pages;

    map_some(n);
    for (i = 0; i < FEW; i++) {
        pages = map(3 * PAGE, MAP_PRIVATE);
        start = counter();
        must("mprotect", syscall3(SYS_MPROTECT, (long)pages + PAGE, PAGE, PROT_READ));
        unmap(pages + PAGE, PAGE);
        cost += counter() - start;
        unmap(pages, 3 * PAGE);
    }
    unmap_some(n);
    return cost / FEW;
}

// Files in a directory. What is measured is done to the one that came last.

static char name[16];

static const char *numbered(u64 n)
{
    char *at = name + 6;

    name[0] = 'f';
    for (*at = 0; at > name + 1; n /= 10)
        *--at = (char)('0' + n % 10);
    return name;
}

static void make_file(u64 n)
{
    close((int)must("create", open(numbered(n), O_CREAT | O_WRONLY, 0600)));
}

// The first file is made last.

static void make_files(u64 n)
{
    must("mkdir", mkdir("/tmp/growth", 0700));
    must("chdir", chdir("/tmp/growth"));
    while (n--)
        make_file(n);
}

static u64 remove_files(u64 n, u64 result)
{
    while (n--)
        must("unlink", unlink(numbered(n)));
    must("chdir", chdir("/"));
    must("rmdir", rmdir("/tmp/growth"));
    return result;
}

// One more; questions about one; its name, there and back.

static u64 create_among(u64 n)
{
    u64 start, cost = 0, i;

    make_files(n);
    for (i = 0; i < FEW; i++) {
        start = counter();
        make_file(n);
        cost += counter() - start;
        unlink(name);
    }
    return remove_files(n, cost / FEW);
}

static u64 stat_among(u64 n)
{
    struct file_status info;
    u64 start, i;

    make_files(n);
    numbered(0);
    start = counter();
    for (i = 0; i < FEW; i++)
        must("stat", stat(name, &info));
    return remove_files(n, each(start, FEW));
}

// To rename is to look for two names, to add one and to take one away.

static u64 rename_among(u64 n)
{
    u64 start, i;

    make_files(n);
    numbered(0);
    start = counter();
    for (i = 0; i < FEW; i++) {
        must("rename", rename(name, "g"));
        must("rename", rename("g", name));
    }
    return remove_files(n, each(start, 2 * FEW));
}

// All of them, by pieces, as `ls` does it.

static u64 list(u64 n)
{
    static u8 buffer[32 * KIB] aligned_to(8);
    u64 start;
    int fd;

    make_files(n);
    fd = (int)must("open", open(".", O_RDONLY, 0));
    start = counter();
    while (must("getdents", getdents(fd, buffer, sizeof buffer)))
        ;
    start = each(start, n);
    close(fd);
    return remove_files(n, start);
}

// Descriptors.

static u64 dup_among(u64 n)
{
    u64 start, i;
    int fd, last = 0;

    while ((u64)last + 1 < n)
        last = (int)must("dup", fcntl(1, F_DUPFD, 0));
    start = counter();
    for (i = 0; i < FEW; i++)
        close((int)must("dup", fcntl(1, F_DUPFD, 0)));
    start = each(start, FEW);
    for (fd = 3; fd <= last; fd++)
        close(fd);
    return start;
}

// Processes, which sleep. (The cheapest fork counts: now and then one has
// to get more memory for the kernel's heap.)

static long child[10000];

static void make_processes(u64 n)
{
    u64 i;

    for (i = 0; i < n; i++) {
        child[i] = must("fork", fork());
        while (!child[i])
            syscall3(SYS_PAUSE, 0, 0, 0);
    }
}

static u64 end_processes(u64 n, u64 result)
{
    while (n--) {
        must("kill", kill(child[n], SIGKILL));
        must("wait4", wait4(child[n], NULL, 0));
    }
    return result;
}

static u64 fork_among(u64 n)
{
    u64 start, cost, best = ~0UL, i;
    long pid;

    make_processes(n);
    for (i = 0; i < FEW; i++) {
        start = counter();
        pid = must("fork", fork());
        if (!pid)
            exit(0);
        must("wait4", wait4(pid, NULL, 0));
        cost = counter() - start;
        best = cost < best ? cost : best;
    }
    return end_processes(n, best);
}

// Is it there? Has it ended?

static u64 ask_among(u64 n)
{
    u64 start, i;

    make_processes(n);
    start = counter();
    for (i = 0; i < FEW; i++) {
        must("kill", kill(child[n - 1], 0));
        must("wait4", wait4(child[n - 1], NULL, WNOHANG));
    }
    return end_processes(n, each(start, FEW));
}

// ## The table {#bench-table}
//
// Of three runs the best counts. The first may have to wait for memory that
// is touched for the first time, and any of them may be interrupted. The
// first line says how long the machine has been running when we start. An
// argument is how a line begins that is to be alone in the table, and
// `growth` before it asks for the other one.

static const struct row {
    const char *what;
    u64 (*cost)(void);
} rows[] = {
    {"null system call", null_call},
    {"write a byte to /dev/null", write_byte},
    {"pipe round trip", round_trip},
    {"yield, two switches", yield_twice},
    {"fork, exit, wait", fork_exit},
    {"fork, execve, wait", fork_exec},
    {"grow the heap by a page, touch it", grow_heap},
    {"mmap, touch, munmap a page", map_page},
    {"16 MiB: allocate and touch, per page", touch_big},
    {"16 MiB: free, per page", free_big},
    {"open, close", open_close},
    {"stat", ask},
    {"read a file, per KiB", read_file},
};

static const struct growth {
    const char *what;
    u64 (*cost)(u64 n);
    u64 most;
} growths[] = {
    {"fork, exit, wait", fork_among, 1000},
    {"kill, wait4, only to ask", ask_among, 1000},
    {"touch a page", touch_among, 4000},
    {"mmap", map_among, 4000},
    {"mprotect, munmap one of three", cut_among, 4000},
    {"create a file", create_among, 10000},
    {"stat", stat_among, 10000},
    {"rename", rename_among, 10000},
    {"getdents, per entry", list, 10000},
    {"dup, close", dup_among, 1000},
};

// Ten, a hundred and so on, and at last as many as there shall be.

static u64 more(u64 n, u64 most)
{
    return n == most ? 0 : n * 10 < most ? n * 10 : most;
}

static int measure_growth(const char *prefix)
{
    u64 i, n;

    for (i = 0; i < array_count(growths); i++)
        for (n = starts(growths[i].what, prefix) ? 10 : 0; n; n = more(n, growths[i].most)) {
            say("%-30s %6lu %12lu\n", growths[i].what, n, growths[i].cost(n));
            sink_flush(&out);
        }
    return done(0);
}

int main(int argc, char **argv)
{
    u64 i, best, cost;
    int run;

    if (argc > 1 && equal(argv[1], "growth"))
        return measure_growth(argc > 2 ? argv[2] : "");
    say("%-40s%10lu\n", "the counter at the start", counter());
    for (i = 0; i < array_count(rows); i++) {
        if (argc > 1 && !starts(rows[i].what, argv[1]))
            continue;
        best = rows[i].cost();
        for (run = 1; run < 3; run++)
            if ((cost = rows[i].cost()) < best)
                best = cost;
        say("%-40s%10lu\n", rows[i].what, best);
        sink_flush(&out);
    }
    return done(0);
}
