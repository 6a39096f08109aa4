// ## files {#user-files}
//
// Questions about files, pipes and the terminal, as [edges](#user-edges)
// asks them about the rest: each line is a question and an answer, and
// Linux must give the same.

#include "libc.h"

#define PAGE 4096
#define BIG (24 << 20)

static char *big;               /* that many bytes, whatever they are */
static char text[PAGE];

// Memory of our own or shared with children, and a page of which
// nothing behind `size` bytes exists.

static char *map(u64 size, int kind)
{
    return (char *)map_memory(size, kind);
}

static char *edge_of_memory(u64 size)
{
    char *pages = map(2 * PAGE, MAP_PRIVATE);

    syscall3(SYS_MUNMAP, (long)pages + PAGE, PAGE, 0);
    return pages + PAGE - size;
}

static void pause_for(s64 milliseconds)
{
    struct timespec moment = {0, milliseconds * 1000000};

    nanosleep(&moment, NULL);
}

static void yield(void)
{
    syscall3(SYS_SCHED_YIELD, 0, 0, 0);
}

static long pread(int fd, void *to, u64 size, u64 at)
{
    return syscall6(SYS_PREAD64, fd, (long)to, (long)size, (long)at, 0, 0);
}

static long pwrite(int fd, const void *from, u64 size, u64 at)
{
    return syscall6(SYS_PWRITE64, fd, (long)from, (long)size, (long)at, 0, 0);
}

// One answer. (In a call with several, compilers do not agree on which of
// them is found out first.)

static void tell(const char *question, long answer)
{
    say("%s %ld", question, answer);
}

static int create(const char *path)
{
    return (int)open(path, O_CREAT | O_TRUNC | O_RDWR, 0644);
}

static s64 size_of(const char *path)
{
    struct file_status info;

    return stat(path, &info) ? -1 : info.size;
}

// ## Buffers that end too early {#files-buffers}
//
// Of the bytes that are asked for, those move for which there is memory, to
// the last one; if there is none at all, that is an error.

static void ask_buffers(void)
{
    int fd = create("buffers"), ends[2], n;

    say("written, read, chance, from a memory with a hole:");
    for (n = 1; n <= 16; n++) {
        say(" %ld", pwrite(fd, edge_of_memory((u64)n), 100, 0));
        say(",%ld", pread(fd, edge_of_memory((u64)n), 100, 0));
        say(",%ld", syscall3(SYS_GETRANDOM, (long)edge_of_memory((u64)n), 100, 0));
    }
    tell("\nno memory at all:", pwrite(fd, edge_of_memory(0), 100, 0));
    tell("", pread(fd, edge_of_memory(0), 100, 0));
    tell(", size", size_of("buffers"));
    pipe(ends);
    tell("\nthrough a pipe:", write(ends[1], edge_of_memory(10), 100));
    write(ends[1], "0123456789", 10);
    tell("", read(ends[0], edge_of_memory(5), 10));
    tell(", and what remains:", read(ends[0], text, 100));
    tell("\nchance of 300:", syscall3(SYS_GETRANDOM, (long)text, 300, 0));
    tell(", of a megabyte:", syscall3(SYS_GETRANDOM, (long)big, 1 << 20, 0));
    tell(", of another kind:", syscall3(SYS_GETRANDOM, (long)text, 8, 8));
    say("\n");
    close(fd), close(ends[0]), close(ends[1]);
    unlink("buffers");
}

// ## Others meanwhile {#files-meanwhile}
//
// A child counts how often it gets the processor, and gives it back at
// once. While we are in a long call it must not get it much less often than
// while we compute for the same time. (Where the call is over too soon to
// tell, there is nothing to complain of. And as an emulated processor may
// itself have to wait for another program, five times are tried, of which
// one must be good: a call that does not pause is never good.)

static volatile u64 *turns;

static u64 nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (u64)(now.seconds * 1000000000 + now.nanoseconds);
}

static bool shares(long (*call)(int fd), int fd)
{
    u64 start, took, calling, computing;
    int i, told = 0;

    for (i = 0; i < 5; i++) {
        calling = *turns, start = nanoseconds();
        call(fd);
        calling = *turns - calling, took = nanoseconds() - start;
        computing = *turns, start = nanoseconds();
        while (nanoseconds() - start < took)
            ;
        computing = *turns - computing;
        if (computing >= 7 && calling * 3 >= computing)
            return true;
        told += computing >= 7;
    }
    return !told;
}

// Calls that are long: on a buffer that is one, or in as many pieces as are
// allowed.

static long read_big(int fd)
{
    return pread(fd, big, BIG, 0);
}

static long write_big(int fd)
{
    return pwrite(fd, big, BIG, 0);
}

static long read_pieces(int fd)
{
    static struct iovec piece[1024];
    u64 i;

    for (i = 0; i < array_count(piece); i++)
        piece[i] = (struct iovec){(vaddr)big, 1 << 18};
    return syscall6(SYS_PREADV, fd, (long)piece, array_count(piece), 0, 0, 0);
}

// The child would like to go on for ever.

static void ask_turns(void)
{
    int zero = (int)open("/dev/zero", O_RDONLY, 0), fd = create("turns");
    long child;

    turns = (u64 *)map(PAGE, MAP_SHARED);
    child = fork();
    while (!child)
        ++*turns, yield();
    say("others get their turns: %d", shares(read_big, zero));
    say(", %d", shares(read_pieces, zero));
    say(", %d\n", shares(write_big, fd));
    kill(child, SIGKILL), wait4(child, NULL, 0);
    close(zero), close(fd);
    unlink("turns");
}

// Who is killed in the middle of a long call does not finish it, but who
// only catches a signal gets a file as a whole. And several who share a
// position, or write at the end of the same file, do not get into each
// other's way.

static volatile int caught;

static void catch(int signal)
{
    caught += signal > 0;
}

// Who is to be killed writes half a gigabyte.

static void write_for_ever(void)
{
    static struct iovec piece[1024];
    int fd = create("for ever");
    u64 i;

    for (i = 0; i < array_count(piece); i++)
        piece[i] = (struct iovec){(vaddr)big, 1 << 16};
    syscall3(SYS_WRITEV, fd, (long)piece, 512);
    exit(0);
}

// Who only catches signals gets them from a child, all the time.

static void ask_ends(void)
{
    long child = fork(), got;
    int fd;

    if (!child)
        write_for_ever();
    while (size_of("for ever") <= 0)
        yield();
    kill(child, SIGKILL);
    wait4(child, NULL, 0);
    say("who is killed has written something but not all: %d\n",
        size_of("for ever") > 0 && size_of("for ever") < 512 << 16);
    unlink("for ever");
    fd = create("whole");
    signal_set(SIGUSR1, (vaddr)catch);
    child = fork();
    while (!child)
        kill(syscall3(SYS_GETPPID, 0, 0, 0), SIGUSR1), yield();
    while (caught < 3)
        yield();
    got = write_big(fd);
    tell("signals do not cut a file short:", got);
    tell("", read_big(fd));
    say("\n");
    kill(child, SIGKILL), wait4(child, NULL, 0);
    signal_set(SIGUSR1, SIG_DFL);
    close(fd), unlink("whole");
}

// Four children write as many equal letters each. However they do it, the
// file has four parts.

#define PART (BIG / 8)

static long changes(const char *path)
{
    int fd = (int)open(path, O_RDONLY, 0);
    long n, i, count = 0;
    char last = 0;

    while ((n = read(fd, big, PAGE)) > 0)
        for (i = 0; i < n; i++)
            count += big[i] != last, last = big[i];
    close(fd);
    return count;
}

static void ask_writers(const char *name, int flags)
{
    int shared = create(name), fd, i;

    for (i = 0; i < 4; i++)
        if (!fork()) {
            memset(big, 'a' + i, PART);
            fd = flags ? (int)open(name, O_WRONLY | flags, 0) : shared;
            write(fd, big, PART);
            exit(0);
        }
    while (wait4(-1, NULL, 0) > 0)
        ;
    say(", four write %ld bytes", size_of(name));
    say(" in %ld pieces", changes(name));
    close(shared), unlink(name);
}

// ## Not to wait {#files-nonblock}
//
// A pipe of one page (1031, 4096) is full soon. What is not longer than
// that goes in as a whole or not at all; what is longer, as far as it goes.

static void ask_nonblock(void)
{
    int ends[2];

    tell("pipes with flags:", syscall3(SYS_PIPE2, (long)ends, 1, 0));
    tell("", syscall3(SYS_PIPE2, (long)ends, O_NONBLOCK, 0));
    tell(", of a page:", fcntl(ends[1], F_SETPIPE_SZ, PAGE));
    say("\nflags: %lo, %lo", fcntl(ends[0], F_GETFL, 0), fcntl(ends[1], F_GETFL, 0));
    tell(", empty:", read(ends[0], text, 10));
    tell(", nothing:", read(ends[0], text, 0));
    tell(", 4000:", write(ends[1], text, 4000));
    tell(", 100:", write(ends[1], text, 100));
    tell(", 96:", write(ends[1], text, 96));
    tell(", 0:", write(ends[1], text, 0));
    tell(", 1:", write(ends[1], text, 1));
    tell(", read:", read(ends[0], text, PAGE));
    tell(", 9000:", write(ends[1], big, 9000));
    tell(", again:", write(ends[1], big, 9000));
    say("\n");
    close(ends[0]), close(ends[1]);
}

// The flag belongs to what was opened, and not to the descriptor: a child
// changes it for us.

static void ask_shared_flags(void)
{
    int ends[2], other;
    long child;

    syscall3(SYS_PIPE2, (long)ends, O_NONBLOCK, 0);
    other = (int)syscall3(SYS_DUP, ends[0], 0, 0);
    child = fork();
    if (!child) {
        fcntl(other, F_SETFL, 0);
        exit(0);
    }
    wait4(child, NULL, 0);
    say("a child changes the flags of a duplicate: %lo, %lo", fcntl(ends[0], F_GETFL, 0),
        fcntl(ends[1], F_GETFL, 0));
    child = fork();
    if (!child) {
        pause_for(20);
        write(ends[1], "now", 3);
        exit(0);
    }
    tell(", and it waits:", read(ends[0], text, PAGE));
    wait4(child, NULL, 0);
    close(ends[0]);
    tell("\nby ioctl:", ioctl(other, FIONBIO, &(int){1}));
    tell(", empty:", read(other, text, 1));
    close(ends[1]);
    tell(", without writers:", read(other, text, 1));
    say("\n");
    close(other);
}

// Of the flags of a file, two may change.

static void ask_flags(void)
{
    int fd = (int)open("flags", O_CREAT | O_RDWR | O_NONBLOCK, 0644), again;

    say("of a file: %lo", fcntl(fd, F_GETFL, 0) & ~0100000);
    fcntl(fd, F_SETFL, O_APPEND | O_RDONLY | O_CREAT);
    say(", set: %lo", fcntl(fd, F_GETFL, 0) & ~0100000);
    again = (int)open("flags", O_RDONLY, 0);
    say(", opened again: %lo\n", fcntl(again, F_GETFL, 0) & ~0100000);
    write(fd, "abc", 3);
    tell("writes at a place in an appended file:", pwrite(fd, "def", 3, 0));
    tell(", size", size_of("flags"));
    tell(", position", syscall3(SYS_LSEEK, fd, 0, SEEK_CUR));
    say("\n");
    close(fd), close(again);
    unlink("flags");
}

// ## What is ready {#files-poll}

static void poll_one(const char *what, int fd, u16 wanted)
{
    struct poll_item p = {fd, wanted, 0};
    long count = syscall3(SYS_POLL, (long)&p, 1, 0);

    say(" %s %ld/%x", what, count, p.found);
}

// Some things are told whether or not they are wanted.

static void poll_all(const char *what, int fd)
{
    poll_one(what, fd, 0);
    poll_one("all", fd, 0x3df);
}

static void ask_poll(void)
{
    int ends[2], fd = create("poll"), folder = (int)open(".", O_RDONLY, 0);

    pipe(ends);
    fcntl(ends[1], F_SETPIPE_SZ, PAGE);
    say("poll:");
    poll_all("none", 99), poll_all("negative", -1), poll_all("file", fd);
    poll_all("folder", folder), poll_all("null", (int)open("/dev/null", O_RDONLY, 0));
    poll_all("zero", (int)open("/dev/zero", O_RDWR, 0));
    say("\npoll a pipe:");
    poll_all("empty", ends[0]), poll_all("writer", ends[1]);
    write(ends[1], big, PAGE);
    poll_all("full", ends[0]), poll_all("writer", ends[1]);
    close(ends[1]);
    poll_all("closed", ends[0]);
    read(ends[0], text, PAGE);
    poll_all("and empty", ends[0]);
    close(ends[0]);
    pipe(ends);
    close(ends[0]);
    poll_all("no reader", ends[1]);
    say("\n");
    close(ends[1]), close(fd), close(folder);
    unlink("poll");
}

// Several at once, with a limit and without, with a signal in between.

static void ask_waits(void)
{
    int one[2], two[2];
    struct poll_item p[3] = {{0, 1, 0}, {0, 1, 0}, {-5, 1, 7}};
    u64 start = nanoseconds();
    long found;

    pipe(one), pipe(two);
    p[0].fd = one[0], p[1].fd = two[0];
    tell("waits:", syscall3(SYS_POLL, (long)p, 3, 30));
    say(", long enough: %d", nanoseconds() - start >= 30000000);
    if (!fork()) {
        pause_for(30);
        write(two[1], "x", 1);
        exit(0);
    }
    found = syscall3(SYS_POLL, (long)p, 3, -1);
    say(", finds %ld: %x %x %x", found, p[0].found, p[1].found, p[2].found);
    wait4(-1, NULL, 0);
    read(two[0], text, 1);
    signal_set(SIGCHLD, (vaddr)catch);
    if (!fork())
        pause_for(30), exit(0);
    tell(", a signal:", syscall3(SYS_POLL, (long)p, 2, -1));
    wait4(-1, NULL, 0);
    signal_set(SIGCHLD, SIG_DFL);
    if (!fork()) {
        pause_for(30);
        exit(0);
    }
    close(one[1]);
    found = syscall3(SYS_POLL, (long)p, 1, -1);
    say(", closed: %ld/%x", found, p[0].found);
    tell(", too many:", syscall3(SYS_POLL, (long)p, 1 << 24, 0));
    say("\n");
    wait4(-1, NULL, 0);
    close(one[0]), close(two[0]), close(two[1]);
}

// The same by `select`, whose sets are words here.

static long select(long limit, u64 *in, u64 *out, u64 *special, struct usage_time *time)
{
    return syscall6(SYS_SELECT, limit, (long)in, (long)out, (long)special, (long)time, 0);
}

static void ask_select(void)
{
    struct usage_time short_time = {0, 20000}, wrong = {0, -1};
    u64 in, out, special;
    int ends[2];
    long n;

    pipe(ends);
    fcntl(ends[1], F_SETPIPE_SZ, PAGE);
    in = out = special = 1UL << ends[0] | 1UL << ends[1];
    n = select(64, &in, &out, &special, &short_time);
    say("select: %ld", n);
    say(" %d%d%d", in == 0, out == 1UL << ends[1], special == 0);
    write(ends[1], big, PAGE);
    in = out = 1UL << ends[0] | 1UL << ends[1];
    n = select(64, &in, &out, NULL, NULL);
    say(", full: %ld %d%d", n, in == 1UL << ends[0], out == 0);
    in = 1UL << 63;
    tell(", no such:", select(64, &in, NULL, NULL, NULL));
    tell(", not asked:", select(3, &in, NULL, NULL, &short_time));
    say(", nothing left of the time: %d",
        short_time.seconds == 0 && short_time.microseconds < 20000);
    tell(", wrong:", select(-1, NULL, NULL, NULL, NULL));
    tell("", select(0, NULL, NULL, NULL, &wrong));
    close(ends[1]), read(ends[0], text, PAGE);
    in = 1UL << ends[0];
    tell(", no writers:", select(ends[0] + 1, &in, NULL, NULL, NULL));
    say("\n");
    close(ends[0]);
}

// And with other signals blocked meanwhile: one that was pending comes
// then, and the mask is as before.

static void ask_masks(void)
{
    const u64 ten = 1 << 9, none = 0;
    const struct {
        const u64 *mask;
        u64 size;
    } set = {&none, 8};
    struct timespec time = {0, 30000000};
    u64 now = 0;
    int ends[2];
    struct poll_item p;

    pipe(ends);
    p = (struct poll_item){ends[0], 1, 0};
    signal_set(SIGUSR1, (vaddr)catch);
    syscall6(SYS_RT_SIGPROCMASK, SIG_SETMASK, (long)&ten, 0, 8, 0, 0);
    caught = 0;
    kill(getpid(), SIGUSR1);
    tell("blocked:", syscall6(SYS_PPOLL, (long)&p, 1, (long)&time, 0, 8, 0));
    say(", %d, time left %ld", caught, time.nanoseconds);
    time.nanoseconds = 30000000;
    tell(", let through:", syscall6(SYS_PPOLL, (long)&p, 1, (long)&time, (long)&none, 8, 0));
    say(", %d", caught);
    kill(getpid(), SIGUSR1);
    tell(",", syscall6(SYS_PSELECT6, 0, 0, 0, 0, 0, (long)&set));
    syscall6(SYS_RT_SIGPROCMASK, SIG_SETMASK, 0, (long)&now, 8, 0, 0);
    say(", %d, mask %lx", caught, now);
    write(ends[1], "x", 1);
    kill(getpid(), SIGUSR1);
    tell(", something is there:", syscall6(SYS_PPOLL, (long)&p, 1, (long)&time, (long)&none, 8, 0));
    syscall6(SYS_RT_SIGPROCMASK, SIG_SETMASK, 0, (long)&now, 8, 0, 0);
    say(", %d, mask %lx", caught, now);
    tell(", wrong:", syscall6(SYS_PPOLL, (long)&p, 1, (long)&time, (long)&none, 4, 0));
    say("\n");
    syscall6(SYS_RT_SIGPROCMASK, SIG_SETMASK, (long)&none, 0, 8, 0, 0);
    signal_set(SIGUSR1, SIG_DFL);
    close(ends[0]), close(ends[1]);
}

// ## Names {#files-names}

static void say_links(const char *path)
{
    struct file_status info;
    long error = stat(path, &info);

    if (error)
        say(" %ld", error);
    else
        say(" %lu", info.links);
}

static long link(const char *from, const char *to)
{
    return syscall3(SYS_LINK, (long)from, (long)to, 0);
}

// It lives until the last of its names is gone, and longer if it is open.

static void ask_links(void)
{
    struct file_status a, b;
    int fd = create("a");

    write(fd, "text", 4);
    mkdir("d", 0755);
    tell("a second name:", link("a", "d/b"));
    tell(", again:", link("a", "d/b"));
    tell(", of a folder:", link("d", "e"));
    tell(", of nothing:", link("x", "y"));
    tell(", in nothing:", link("a", "x/y"));
    tell(", as a folder:", link("a", "x/"));
    tell("", link("a", "d/b/"));
    stat("a", &a), stat("d/b", &b);
    say("\nthe same file: %d, links:", a.number == b.number);
    say_links("a"), say_links("d/b");
    tell(", rename to itself:", rename("a", "d/b"));
    say_links("a");
    tell(", one less:", unlink("a"));
    say_links("a"), say_links("d/b");
    tell(", size", size_of("d/b"));
    tell(", none:", unlink("d/b"));
    fstat(fd, &a);
    say(", links %lu, size %ld", a.links, a.size);
    tell(", read:", pread(fd, text, 10, 0));
    say("\n");
    close(fd), rmdir("d");
}

// A link to a link may mean the one or what it leads to.

static void ask_links_to_links(void)
{
    mkdir("d", 0755);
    syscall3(SYS_SYMLINK, (long)"d", (long)"s", 0);
    tell("a link to a link:", link("s", "t"));
    tell("", readlink("t", text, 10));
    tell(", followed:", syscall6(SYS_LINKAT, AT_FDCWD, (long)"s", AT_FDCWD, (long)"u",
                                 AT_SYMLINK_FOLLOW, 0));
    tell(", flags:", syscall6(SYS_LINKAT, AT_FDCWD, (long)"s", AT_FDCWD, (long)"u", 2, 0));
    say("\n");
    unlink("s"), unlink("t"), rmdir("d");
}

// Links in the middle of a path, at its end, with a slash behind it; from
// the root, in a row, in a circle; and what cannot be gone through.

static long through(const char *path, int flags)
{
    long fd = open(path, O_RDONLY | flags, 0);

    return fd < 0 ? fd : close((int)fd);
}

static long leads_to_link(const char *path)
{
    struct file_status info;
    long error = lstat(path, &info);

    return error ? error : (info.mode & S_IFMT) == S_IFLNK;
}

// Forty may be followed on the way, not one more: `l00` leads to the
// folder, each next one to the one before.

static void ask_rows_of_links(void)
{
    char from[] = "l00", to[] = "l00";
    int i;

    syscall3(SYS_SYMLINK, (long)"d", (long)from, 0);
    for (i = 1; i <= 40; i++, memcpy(to, from, sizeof to)) {
        from[1] = (char)('0' + i / 10), from[2] = (char)('0' + i % 10);
        syscall3(SYS_SYMLINK, (long)to, (long)from, 0);
    }
    tell(", forty:", through("l39/e/f", 0)), tell("", through("l40/e/f", 0));
    tell("", through("l20/../l17/e/f", 0)), tell("", through("l20/../l19/e/f", 0));
    for (i = 0; i <= 40; i++) {
        from[1] = (char)('0' + i / 10), from[2] = (char)('0' + i % 10);
        unlink(from);
    }
}

// Numbers are of errors, or 0; for `links:`, whether it is one.

static void ask_ways(void)
{
    mkdir("d", 0755), mkdir("d/e", 0755);
    close(create("d/e/f"));
    syscall3(SYS_SYMLINK, (long)"d/e", (long)"in", 0);
    syscall3(SYS_SYMLINK, (long)"../in//", (long)"d/back", 0);
    syscall3(SYS_SYMLINK, (long)"in/f", (long)"end", 0);
    syscall3(SYS_SYMLINK, (long)"x", (long)"gone", 0);
    syscall3(SYS_SYMLINK, (long)"/", (long)"root", 0);
    syscall3(SYS_SYMLINK, (long)"two", (long)"one", 0);
    syscall3(SYS_SYMLINK, (long)"one/", (long)"two", 0);
    tell("through a link:", through("in/f", 0)), tell("", through("in/g", 0));
    tell("", through("in/../e/f", 0)), tell("", through("d/back//f", 0));
    tell(", at the end:", through("end", 0)), tell("", through("end", O_NOFOLLOW));
    tell("", through("in/", O_NOFOLLOW)), tell("", through("end/", 0));
    tell("", through("end/x", 0));
    tell(", links:", leads_to_link("in")), tell("", leads_to_link("in/"));
    tell("", leads_to_link("in/../../end")), tell("", leads_to_link("gone/"));
    tell(", nothing:", through("gone", 0)), tell("", through("gone/x", 0));
    tell(", the root:", through("root", 0)), tell("", through("root/tmp", 0));
    tell("", through("root/d", 0));
    tell(", a circle:", through("one", 0)), tell("", leads_to_link("one"));
    ask_rows_of_links();
    say("\n");
    unlink("in"), unlink("d/back"), unlink("end"), unlink("gone"), unlink("root");
    unlink("one"), unlink("two"), unlink("d/e/f"), rmdir("d/e"), rmdir("d");
}

// A directory is counted by its name, its `.`, and each `..` in it. (Some
// file systems do not count, and say 1.)

static void ask_folders(void)
{
    struct file_status info;
    bool counts;
    int fd, top = (int)open(".", O_RDONLY, 0);

    mkdir("d", 0755);
    stat("d", &info);
    counts = info.links > 1;
    say("links of folders: %d", !counts || info.links == 2);
    mkdir("d/e", 0755), mkdir("f", 0755);
    stat("d", &info);
    say("%d", !counts || info.links == 3);
    rename("d/e", "f/g");
    stat("d", &info);
    say("%d", !counts || info.links == 2);
    stat("f", &info);
    say("%d", !counts || info.links == 3);
    rename("d", "f/g");
    stat("f", &info);
    say("%d", !counts || info.links == 3);
    chdir("f/g");
    say(", here: %ld", getcwd(text, PAGE) > 0 ? (long)equal(last_part(text), "g") : -1);
    fd = (int)open(".", O_RDONLY, 0);
    rmdir("../g");
    fstat(fd, &info);
    say(", gone: %lu", info.links);
    tell("", syscall3(SYS_GETDENTS64, fd, (long)text, PAGE));
    tell("", getcwd(text, PAGE));
    tell("", open("x", O_CREAT, 0644));
    tell("", mkdir("x", 0755));
    say("\n");
    syscall3(SYS_FCHDIR, top, 0, 0);
    close(fd), close(top);
    rmdir("f");
}

// ## Times {#files-times}
//
// What changes which of the three? Two are set to 1 first; the answer has a
// letter for each that is later then, and one for the third.

static long set_times(int fd, const char *path, const struct timespec *times, int flags)
{
    return syscall6(SYS_UTIMENSAT, fd, (long)path, (long)times, flags, 0, 0);
}

static const char *times_of(int fd)
{
    static char letters[4];
    struct file_status info;
    char *at = letters;

    fstat(fd, &info);
    if (info.access.seconds != 1)
        *at++ = 'a';
    if (info.modification.seconds != 1)
        *at++ = 'm';
    *at = 0;
    return letters;
}

// Linux's clock for files ticks every few milliseconds only, so we wait.

static bool changed_since(int fd, struct timespec *before)
{
    struct file_status info;
    bool later;

    fstat(fd, &info);
    later = info.change.seconds > before->seconds ||
            (info.change.seconds == before->seconds &&
             info.change.nanoseconds > before->nanoseconds);
    *before = info.change;
    pause_for(20);
    return later;
}

static void say_times(const char *what, int fd, struct timespec *before)
{
    say("%s: %s", what, times_of(fd));
    say("%s", changed_since(fd, before) ? "c" : "");
}

// They can be set to anything, or to the present, or left as they are.

static void ask_set_times(void)
{
    const struct timespec one[2] = {{1, 2}, {1, 3}}, wrong[2] = {{1, 1000000000}, {1, 1}};
    const struct timespec omit[2] = {{1, UTIME_OMIT}, {1, UTIME_OMIT}};
    const struct timespec now[2] = {{0, UTIME_NOW}, {9, UTIME_OMIT}};
    struct timespec before = {0, 0};
    struct file_status info;
    int fd = create("times");

    tell("times set:", set_times(fd, NULL, one, 0));
    fstat(fd, &info);
    say(", %ld.%ld", info.access.seconds, info.access.nanoseconds);
    say(", %ld.%ld", info.modification.seconds, info.modification.nanoseconds);
    say(", changed: %d", changed_since(fd, &before));
    tell(", omit:", set_times(99, "none", omit, 0));
    tell("", changed_since(fd, &before));
    tell(", wrong:", set_times(fd, NULL, wrong, 0));
    tell("", set_times(99, NULL, one, 0));
    tell("", set_times(fd, NULL, one, AT_SYMLINK_NOFOLLOW));
    tell(", one:", set_times(AT_FDCWD, "times", now, 0));
    say(" %s\n", times_of(fd));
    close(fd), unlink("times");
}

// Reading, writing and the rest, after that.

static void ask_times(void)
{
    const struct timespec one[2] = {{1, 2}, {1, 3}};
    struct timespec before = {0, 0};
    int fd = create("times");

    set_times(fd, NULL, one, 0), changed_since(fd, &before);
    pread(fd, text, 1, 0);
    say_times("to read nothing", fd, &before);
    set_times(fd, NULL, one, 0), changed_since(fd, &before);
    write(fd, "abc", 3);
    say_times(", to write", fd, &before);
    set_times(fd, NULL, one, 0), changed_since(fd, &before);
    pread(fd, text, 1, 0);
    say_times(", to read", fd, &before);
    set_times(fd, NULL, one, 0), changed_since(fd, &before);
    syscall3(SYS_FCHMOD, fd, 0600, 0);
    say_times(", mode", fd, &before);
    syscall3(SYS_FTRUNCATE, fd, 3, 0);
    say_times(", the same size", fd, &before);
    set_times(fd, NULL, one, 0), changed_since(fd, &before);
    link("times", "times2");
    say_times(", a name", fd, &before);
    unlink("times2");
    say_times(", one less", fd, &before);
    say("\n");
    close(fd), unlink("times");
}

// A directory changes with what stands in it.

static void ask_folder_times(void)
{
    const struct timespec one[2] = {{1, 2}, {1, 3}};
    int fd;

    mkdir("folder", 0755);
    fd = (int)open("folder", O_RDONLY, 0);
    set_times(fd, NULL, one, 0);
    close(create("folder/a"));
    say("a folder with a new file: %s", times_of(fd));
    set_times(fd, NULL, one, 0);
    rename("folder/a", "folder/b");
    say(", another name: %s", times_of(fd));
    set_times(fd, NULL, one, 0);
    close((int)open("folder/b", O_RDWR, 0));
    say(", opened: %s", times_of(fd));
    unlink("folder/b");
    say(", removed: %s\n", times_of(fd));
    close(fd), rmdir("folder");
}

// ## Sizes and places {#files-sizes}

static void ask_sizes(void)
{
    int fd = create("sizes"), other = (int)open("sizes", O_RDONLY, 0), ends[2];

    pipe(ends);
    tell("truncate:", syscall3(SYS_TRUNCATE, (long)"sizes", 5, 0));
    tell("", size_of("sizes"));
    tell(", wrong:", syscall3(SYS_TRUNCATE, (long)"sizes", -1, 0));
    tell("", syscall3(SYS_TRUNCATE, (long)".", 1, 0));
    tell("", syscall3(SYS_TRUNCATE, (long)"/dev/null", 1, 0));
    tell(", by number:", syscall3(SYS_FTRUNCATE, fd, 7, 0));
    tell("", syscall3(SYS_FTRUNCATE, other, 7, 0));
    tell("", syscall3(SYS_FTRUNCATE, ends[1], 7, 0));
    tell("", syscall3(SYS_FTRUNCATE, 99, 7, 0));
    say("\n");
    close(fd), close(other), close(ends[0]), close(ends[1]);
    unlink("sizes");
}

// Calls that need no position, and some that need no file.

static void ask_numbers(void)
{
    const struct iovec piece[3] = {{(vaddr)"one", 3}, {0, 0}, {(vaddr)"two", 3}};
    int fd = create("sizes"), other = (int)open("sizes", O_RDONLY, 0), ends[2];

    pipe(ends);
    tell("pieces at a place:", syscall6(SYS_PWRITEV, fd, (long)piece, 3, 1, 0, 0));
    tell("", syscall6(SYS_PREADV, fd, (long)&(struct iovec){(vaddr)text, 100}, 1, 2, 0, 0));
    tell(", wrong:", syscall6(SYS_PREADV, fd, (long)piece, 3, -1, 0, 0));
    tell("", syscall6(SYS_PREADV, ends[0], (long)piece, 3, 1, 0, 0));
    tell("", syscall6(SYS_PWRITEV, other, (long)piece, 3, 1, 0, 0));
    tell("", syscall6(SYS_PREADV, 99, (long)piece, 3, 1, 0, 0));
    tell("\nnothing moved:", syscall3(SYS_LSEEK, fd, 0, SEEK_CUR));
    tell("", syscall3(SYS_LSEEK, ends[0], 0, SEEK_CUR));
    tell("\nto disk:", syscall3(SYS_FSYNC, fd, 0, 0));
    tell("", syscall3(SYS_FDATASYNC, fd, 0, 0));
    tell("", syscall3(SYS_FSYNC, ends[0], 0, 0));
    tell("", syscall3(SYS_FSYNC, 99, 0, 0));
    tell("", syscall3(SYS_SYNC, 0, 0, 0));
    tell("\nmode by number:", syscall3(SYS_FCHMOD, other, 0751, 0));
    tell("", syscall3(SYS_FCHMOD, 99, 0, 0));
    tell(", by path:", syscall6(SYS_FCHMODAT, AT_FDCWD, (long)"sizes", 0751, 0, 0, 0));
    say("\n");
    close(fd), close(other), close(ends[0]), close(ends[1]);
    unlink("sizes");
}

// Where one is afterwards, and how much is left.

static void ask_places(void)
{
    int zero = (int)open("/dev/zero", O_RDWR, 0), fd = create("places"), ends[2];
    u64 status[15] = {0};
    u32 count = 0;

    read(zero, text, 100);
    tell("a device has no places:", syscall3(SYS_LSEEK, zero, 0, SEEK_CUR));
    tell("", syscall3(SYS_LSEEK, zero, 77, SEEK_SET));
    write(fd, "0123456789", 10);
    syscall3(SYS_LSEEK, fd, 4, SEEK_SET);
    read(fd, text, 3);
    tell("\na file has:", syscall3(SYS_LSEEK, fd, 0, SEEK_CUR));
    read(fd, edge_of_memory(1), 3);
    tell("", syscall3(SYS_LSEEK, fd, 0, SEEK_CUR));
    read(fd, text, PAGE);
    tell("", syscall3(SYS_LSEEK, fd, 0, SEEK_CUR));
    pipe(ends);
    write(ends[1], "abc", 3);
    tell(", and in a pipe wait:", ioctl(ends[0], FIONREAD, &count));
    say(" %u, of %d\n", count, fcntl(ends[0], F_GETPIPE_SZ, 0) >= PAGE);
    tell("file system:", syscall3(SYS_STATFS, (long)".", (long)status, 0));
    say(", names of %lu, blocks %d %d", status[8], status[1] >= 512, status[2] >= status[3]);
    tell(", wrong:", syscall3(SYS_STATFS, (long)"none", (long)status, 0));
    tell("", syscall3(SYS_FSTATFS, 99, (long)status, 0));
    say("\n");
    close(zero), close(fd), close(ends[0]), close(ends[1]);
    unlink("places");
}

// ## Locks {#files-locks}
//
// A lock is asked for by a child, since nobody is in his own way.

static long lock(int fd, int what, int kind, s64 start, s64 size)
{
    struct lock_request l = {(s16)kind, SEEK_SET, start, size, 0};

    return fcntl(fd, what, (long)&l);
}

// What is in the way of somebody who wants to write from `start` on?

static void say_lock(int fd, s64 start)
{
    struct lock_request l = {F_WRLCK, SEEK_SET, start, 0, 0};
    long child;

    sink_flush(&out);
    child = fork();
    if (!child) {
        fcntl(fd, F_GETLK, (long)&l);
        if (l.kind == F_UNLCK)
            say(" none");
        else
            say(" %d:%ld+%ld%s", l.kind, l.start, l.size,
                l.pid == (u32)syscall3(SYS_GETPPID, 0, 0, 0) ? "" : "?");
        sink_flush(&out);
        exit(0);
    }
    wait4(child, NULL, 0);
}

// Locks of one process grow together, and can be cut.

static void ask_parts(void)
{
    int fd = create("locks"), other;

    tell("locks:", lock(fd, F_SETLK, F_WRLCK, 10, 10)), say_lock(fd, 0);
    tell(", longer:", lock(fd, F_SETLK, F_WRLCK, 20, 5)), say_lock(fd, 0);
    tell(", a hole:", lock(fd, F_SETLK, F_UNLCK, 12, 2)), say_lock(fd, 0), say_lock(fd, 12);
    tell(", to read:", lock(fd, F_SETLK, F_RDLCK, 16, 2)), say_lock(fd, 14), say_lock(fd, 16);
    say_lock(fd, 18);
    tell(", to the end:", lock(fd, F_SETLK, F_RDLCK, 22, 0)), say_lock(fd, 22);
    tell(", all:", lock(fd, F_SETLK, F_WRLCK, 0, 0)), say_lock(fd, 5);
    tell(", before 8:", lock(fd, F_SETLK, F_UNLCK, 8, -3)), say_lock(fd, 0), say_lock(fd, 5);
    other = (int)open("locks", O_RDONLY, 0);
    tell("\nnot open for that:", lock(other, F_SETLK, F_WRLCK, 0, 1));
    tell(", wrong:", lock(fd, 6, 3, 0, 1));
    tell("", lock(fd, F_SETLK, F_WRLCK, -1, 1));
    tell("", lock(fd, F_GETLK, F_UNLCK, 0, 1));
    tell("", lock(99, F_SETLK, F_WRLCK, 0, 1));
    close(other);
    say(", another descriptor was closed:"), say_lock(fd, 0);
    say("\n");
    close(fd);
    unlink("locks");
}

// Children that want what we have: at once, or when they can; and two that
// want what the other has.

static void ask_lock_waits(void)
{
    int fd = create("locks"), ends[2];
    long child, result;

    pipe(ends);
    lock(fd, F_SETLK, F_WRLCK, 0, 10);
    child = fork();
    if (!child) {
        result = lock(fd, F_SETLK, F_WRLCK, 5, 1);
        write(ends[1], &result, sizeof result);
        result = lock(fd, F_SETLKW, F_WRLCK, 5, 1);
        write(ends[1], &result, sizeof result);
        lock(fd, F_SETLK, F_RDLCK, 20, 1);
        result = lock(fd, F_SETLKW, F_RDLCK, 15, 1);
        exit(result ? 2 : 1);
    }
    read(ends[0], &result, sizeof result);
    tell("at once:", result);
    lock(fd, F_SETLK, F_WRLCK, 15, 1);
    pause_for(20);
    lock(fd, F_SETLK, F_UNLCK, 0, 10);
    read(ends[0], &result, sizeof result);
    tell(", later:", result);
    pause_for(50);
    tell(", in a circle:", lock(fd, F_SETLKW, F_WRLCK, 20, 1));
    lock(fd, F_SETLK, F_UNLCK, 0, 0);
    wait4(child, NULL, 0);
    tell(", its end:", lock(fd, F_SETLK, F_WRLCK, 0, 0));
    say("\n");
    close(fd), close(ends[0]), close(ends[1]);
    unlink("locks");
}

// ## The terminal {#files-terminal}
//
// `files terminal` asks about the terminal that it is started at, while
// somebody types. It says at once what it waits for, so that he does not
// type too early, and all answers at the end.

static struct termios settings;

static void set_raw(u8 least, u8 tenths)
{
    struct termios raw = settings;

    raw.local &= ~0x1aU;             /* no lines, no echo; but ^C, if there is one */
    raw.input &= ~0x100U;
    raw.key[VMIN] = least, raw.key[VTIME] = tenths;
    raw.key[VINTR] = raw.key[VQUIT] = raw.key[VSUSP] = 0; /* there is none */
    ioctl(0, TCSETS, &raw);
}

static void ready(const char *what)
{
    write(1, what, length(what));
}

static void say_bytes(long n)
{
    long i;

    say(" %ld:", n);
    for (i = 0; i < n && i < 20; i++)
        say(" %x", (u8)text[i]);
    say("\n");
}

// Lines, then bytes: three of them, a few with a pause behind them, none;
// and at last a line that is too long.

static int ask_terminal(void)
{
    struct poll_item p = {0, 1, 0};
    u32 count = 0;
    long n = 0, part;

    ioctl(0, TCGETS, &settings);
    say("answers:\n");
    poll_all("nothing typed", 0);
    fcntl(0, F_SETFL, O_RDWR | O_NONBLOCK);
    tell(", read:", read(0, text, 10));
    fcntl(0, F_SETFL, O_RDWR);
    ready("[line]");
    tell("\npoll:", syscall3(SYS_POLL, (long)&p, 1, -1));
    ioctl(0, FIONREAD, &count);
    say(", %u bytes", count), say_bytes(read(0, text, sizeof text));
    set_raw(3, 0);
    ready("[three]");
    say_bytes(read(0, text, 10));
    set_raw(10, 2);
    ready("[slow]");
    say_bytes(read(0, text, 20));
    set_raw(0, 1);
    say("nobody types:"), say_bytes(read(0, text, 20));
    set_raw(0, 0);
    fcntl(0, F_SETFL, O_RDWR | O_NONBLOCK);
    say("nobody types:"), say_bytes(read(0, text, 20));
    set_raw(1, 0);
    say("nobody types:"), say_bytes(read(0, text, 20));
    fcntl(0, F_SETFL, O_RDWR);
    ioctl(0, TCSETS, &settings);
    ready("[long]");
    while ((part = read(0, big, BIG)) > 0 && big[part - 1] != '\n')
        n += part;
    say("a long line has %ld bytes, and that is all\n", n + part);
    return done(0);
}

// All of it.

int main(int count, char **words)
{
    big = map(BIG, MAP_PRIVATE);
    if (count > 1 && equal(words[1], "terminal"))
        return ask_terminal();
    mkdir("files", 0755), chdir("files");
    ask_buffers();
    ask_turns();
    ask_ends();
    say("at one position");
    ask_writers("writers", 0);
    say("\nat the end");
    ask_writers("writers", O_APPEND);
    say("\n");
    ask_nonblock(), ask_shared_flags(), ask_flags();
    ask_poll(), ask_waits(), ask_select(), ask_masks();
    ask_links(), ask_links_to_links(), ask_ways(), ask_folders();
    ask_set_times(), ask_times(), ask_folder_times();
    ask_sizes(), ask_numbers(), ask_places();
    ask_parts(), ask_lock_waits();
    chdir("..");
    tell("all files are gone:", rmdir("files"));
    say("\n");
    return done(0);
}
