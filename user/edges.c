// ## edges {#user-edges}
//
// Questions at the edges of system calls, where a kernel may be wrong for
// years before a program notices. Each line is a question and an answer;
// Linux must give the same.

#include "libc.h"

#define CROWD 4
#define LINES 20
#define LINE 1500

static volatile int calls;
static char line[LINE], zeros[2 << 20];

// Somebody writes at length to a slow terminal, zeros, which nobody sees.
// Somebody else sleeps meanwhile, for a hundredth of a second, and must not
// sleep until all is written. (Where that goes fast, it cannot be seen.)

u64 milliseconds_since(const struct timespec *before)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (u64)((now.seconds - before->seconds) * 1000 + now.nanoseconds / 1000000 -
                 before->nanoseconds / 1000000);
}

void ask_terminal(void)
{
    struct timespec moment = {0, 10000000}, before;
    u64 slept, wrote;

    clock_gettime(CLOCK_MONOTONIC, &before);
    if (!fork()) {
        write(2, zeros, sizeof zeros);
        exit(0);
    }
    nanosleep(&moment, NULL);
    slept = milliseconds_since(&before);
    wait4(-1, NULL, 0);
    wrote = milliseconds_since(&before);
    say("a sleeper beside a writer wakes up in time: %d\n", slept < wrote / 2 || wrote < 1000);
}

void count_call(int signal)
{
    calls += signal > 0;
}

// Setting the mask of blocked signals returns the old one.

u64 set_mask(u64 mask)
{
    u64 old = 0;

    syscall6(SYS_RT_SIGPROCMASK, SIG_SETMASK, (long)&mask, (long)&old, 8, 0, 0);
    return old;
}

void ask_signals(void)
{
    const u64 none = 0;
    long pid, found;
    struct timespec moment = {0, 20000000};

    signal_set(SIGUSR1, (vaddr)count_call);
    set_mask(1 << 9);
    kill(getpid(), SIGUSR1);
    say("waiting for a signal: %ld", syscall3(SYS_RT_SIGSUSPEND, (long)&none, 8, 0));
    say(", handled %d, still blocked %lu\n", calls, set_mask(0));
    signal_set(SIGCHLD, (vaddr)count_call);
    pid = fork();
    if (!pid) {
        nanosleep(&moment, NULL);
        exit(0);
    }
    found = wait4(pid, NULL, 0);
    signal_set(SIGCHLD, SIG_DFL);
    say("a child whose end is also a signal is found: %d\n", found == pid);
}

// A signal that comes while it is blocked, with one action, and is let
// through with another. Is the handler called?

void ask_blocked(int signal, void (*before)(int), void (*between)(int))
{
    calls = 0;
    signal_set(signal, (vaddr)before);
    set_mask(1UL << (signal - 1));
    kill(getpid(), signal);
    signal_set(signal, (vaddr)between);
    signal_set(signal, (vaddr)count_call);
    set_mask(0);
    signal_set(signal, SIG_DFL);
    say(" %d", calls);
}

void ask_actions(void)
{
    void (*ignore)(int) = (void (*)(int))1;

    say("blocked, then handled:");
    ask_blocked(17, NULL, count_call);
    ask_blocked(10, ignore, count_call);
    ask_blocked(10, count_call, ignore);
    ask_blocked(17, count_call, NULL);
    ask_blocked(10, count_call, NULL);
    say("\n");
}

// Each child is in a group of its own, also when it has ended.

void ask_groups(void)
{
    struct timespec moment = {0, 50000000};
    long pid[2];
    int i;

    for (i = 0; i < 2; i++) {
        pid[i] = fork();
        syscall3(SYS_SETPGID, pid[i], 0, 0);
        if (!pid[i]) {
            if (i)
                nanosleep(&moment, NULL);
            exit(0);
        }
    }
    say("of two groups, the second ends later and is found: %d", wait4(-pid[1], NULL, 0) == pid[1]);
    say(", and then the first: %d\n", wait4(-pid[0], NULL, 0) == pid[0]);
}

// Who ignores the end of children has none to wait for, but waits.

void ask_ignored(void)
{
    struct timespec moment = {0, 50000000}, before, after;
    long result;

    signal_set(SIGCHLD, SIG_IGN);
    clock_gettime(CLOCK_MONOTONIC, &before);
    if (!fork()) {
        nanosleep(&moment, NULL);
        exit(0);
    }
    result = wait4(-1, NULL, 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    after.nanoseconds += (after.seconds - before.seconds) * 1000000000;
    say("an ignored child is waited for: %d, not found: %ld\n",
        after.nanoseconds - before.nanoseconds >= moment.nanoseconds, result);
    signal_set(SIGCHLD, SIG_DFL);
}

// The lines of several programs in one pipe, some of them written in two
// pieces, and read in pieces of other sizes. Does one begin before another
// has ended?

void ask_pipe(void)
{
    const struct iovec piece[2] = {{(vaddr)line, 5}, {(vaddr)line + 5, LINE - 5}};
    long i, j, n, got = 0, broken = 0;
    char text[333], letter = 0;
    int ends[2];

    pipe(ends);
    for (i = 0; i < CROWD; i++) {
        if (fork())
            continue;
        memset(line, 'a' + (int)i, LINE);
        for (j = 0; j < LINES; j++)
            if (i % 2)
                write(ends[1], line, LINE), syscall3(SYS_SCHED_YIELD, 0, 0, 0);
            else
                syscall3(SYS_WRITEV, ends[1], (long)piece, 2), syscall3(SYS_SCHED_YIELD, 0, 0, 0);
        exit(0);
    }
    close(ends[1]);
    while ((n = read(ends[0], text, sizeof text)) > 0)
        for (i = 0; i < n; i++) {
            broken += got++ % LINE && text[i] != letter;
            letter = text[i];
        }
    say("%ld bytes, broken lines: %ld\n", got, broken);
    close(ends[0]);
    while (wait4(-1, NULL, 0) > 0)
        ;
}

// Three bytes are there, and more will come: a read with two pieces does
// not wait for them. Even without pieces it takes a descriptor.

void ask_pieces(void)
{
    struct timespec moment = {0, 500000000};
    const struct iovec piece[2] = {{(vaddr)line, 3}, {(vaddr)line + 3, 3}};
    int ends[2];

    pipe(ends);
    if (!fork()) {
        write(ends[1], "abc", 3);
        nanosleep(&moment, NULL);
        write(ends[1], "def", 3);
        exit(0);
    }
    say("two pieces, of which one is there: %ld", syscall3(SYS_READV, ends[0], (long)piece, 2));
    say(", no pieces of nothing: %ld\n", syscall3(SYS_READV, 99, 0, 0));
    wait4(-1, NULL, 0);
    close(ends[0]), close(ends[1]);
}

// A second after the start at the latest, what is new is newer.

void ask_times(void)
{
    struct timespec moment = {1, 100000000}, before;
    struct file_status info[2] = {{0}, {0}};

    nanosleep(&moment, NULL);
    clock_gettime(5, &before);          /* the clock that files go by, of coarser steps */
    mkdir("times", 0755);
    stat("times", &info[0]);
    close((int)open("times/new", O_CREAT | O_WRONLY, 0644));
    stat("times/new", &info[1]);
    say("new and empty, with the time of today: %d, %d\n",
        info[0].modification.seconds >= before.seconds,
        info[1].modification.seconds >= before.seconds);
    unlink("times/new"), rmdir("times");
}

// Who has no descriptor left gets no file, but does not lose one either.

void ask_full(void)
{
    struct file_status info;
    const u64 limit[2] = {64, 64};
    long fd = open("full", O_CREAT | O_WRONLY, 0644), last = fd;

    write((int)fd, "text", 4);
    syscall6(SYS_PRLIMIT64, 0, 7, (long)limit, 0, 0, 0);
    while ((fd = open("full", O_RDONLY, 0)) >= 0)
        last = fd;
    say("no descriptor left: %ld", open("full", O_WRONLY | O_TRUNC, 0));
    say(", %ld", open("new", O_CREAT, 0));
    say(", size %ld", stat("full", &info) ? -1 : info.size);
    say(", new: %ld\n", stat("new", &info));
    unlink("full");
    while (last > 2)
        close((int)last--);
}

// What stands behind `#!`, between blanks and tabs, is one argument.

void ask_script(void)
{
    const char text[] = "#! \t/bin/echo\ta script, \t one argument:\t \n";
    char *words[] = {"script", "another", NULL};
    long fd = open("script", O_CREAT | O_WRONLY, 0755);

    write((int)fd, text, sizeof text - 1);
    close((int)fd);
    sink_flush(&out);
    if (!fork()) {
        execve("script", words, words + 2);
        exit(1);
    }
    wait4(-1, NULL, 0);
    unlink("script");
}

// How is it open? (Linux adds a flag for large files.)

void ask_flags(void)
{
    int ends[2];
    long fd = open("flags", O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);

    pipe(ends);
    say("flags: %lo, of a pipe: %ld, %ld\n", fcntl((int)fd, F_GETFL, 0) & ~0100000,
        fcntl(ends[0], F_GETFL, 0), fcntl(ends[1], F_GETFL, 0));
    close((int)fd), close(ends[0]), close(ends[1]);
    unlink("flags");
}

// Removes what it is told of, while it is told.

void ask_files(void)
{
    char name[] = "edges/a", list[128];
    struct file_status info;
    struct directory_entry *e;
    long fd, size, at;

    mkdir("edges", 0755);
    for (; name[6] <= 'z'; name[6]++)
        close((int)open(name, O_CREAT | O_WRONLY, 0644));
    chdir("edges");
    fd = open("a", O_WRONLY, 0);
    say("nothing written far behind the end: %ld",
        syscall6(SYS_PWRITE64, fd, (long)line, 0, 5000, 0, 0));
    say(", size %ld\n", fstat((int)fd, &info) ? -1 : info.size);
    say("a file becomes b/: %ld, and .. a: %ld\n", rename("a", "new/"), rename("..", "a"));
    close((int)fd);
    fd = open(".", O_RDONLY, 0);
    while ((size = getdents((int)fd, list, sizeof list)) > 0)
        for (at = 0; at < size; at += e->length) {
            e = (struct directory_entry *)(list + at);
            unlink(e->name);
        }
    close((int)fd);
    say("what must stay: %ld, %ld", unlink("."), unlink(".."));
    say(", %ld, %ld\n", rmdir("."), rmdir(".."));
    chdir("..");
    say("all files are gone: %ld\n", rmdir("edges"));
    say("new directories may end in slashes: %ld", mkdir("edges//", 0755));
    say(", files may not: %ld", open("edges/new//", O_CREAT, 0644));
    say(", gone: %ld\n", rmdir("edges///"));
}

// All of it. The test looks for the first line.

int main(void)
{
    ask_terminal();
    ask_signals();
    ask_actions();
    ask_groups();
    ask_ignored();
    ask_pipe();
    ask_pieces();
    ask_times();
    ask_full();
    ask_script();
    ask_flags();
    ask_files();
    return done(0);
}
