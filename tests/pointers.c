// Each pointer that a system call takes, times pointers to what a program must not touch,
// times lengths. tests/run.py builds it as if it were in user/. What the kernel has to refuse
// it refuses by EFAULT or EINVAL; else a line says what came instead.

#include "libc.h"

// d is a file, D a folder, l a length, f a path, M memory that the call has to look at, t and u
// times; g a path and m memory that it may look at (nothing is known of the answer then), 8 the
// size of a set of signals, s a signal, c a limit, x a question, a the folder we are in, n 0.

static const struct {
    u16 number;
    const char *name, *takes;
} calls[] = {
    {SYS_READ, "read", "dMl"}, {SYS_WRITE, "write", "dMl"}, {SYS_PREAD64, "pread64", "dMln"},
    {SYS_PWRITE64, "pwrite64", "dMln"}, {SYS_OPEN, "open", "fnn"}, {SYS_STAT, "stat", "fm"},
    {SYS_FSTAT, "fstat", "dM"}, {SYS_LSTAT, "lstat", "fm"}, {SYS_POLL, "poll", "mln"},
    {SYS_RT_SIGACTION, "rt_sigaction", "sMM8"}, {SYS_RT_SIGPROCMASK, "rt_sigprocmask", "nmM8"},
    {SYS_IOCTL, "ioctl", "dnm"}, {SYS_READV, "readv", "dml"}, {SYS_WRITEV, "writev", "dml"},
    {SYS_ACCESS, "access", "fn"}, {SYS_PIPE, "pipe", "m"}, {SYS_SELECT, "select", "nmmmt"},
    {SYS_NANOSLEEP, "nanosleep", "um"}, {SYS_GETITIMER, "getitimer", "nM"},
    {SYS_UNAME, "uname", "M"}, {SYS_TRUNCATE, "truncate", "fn"}, {SYS_GETCWD, "getcwd", "ml"},
    {SYS_CHDIR, "chdir", "f"}, {SYS_RENAME, "rename", "fg"}, {SYS_MKDIR, "mkdir", "fn"},
    {SYS_RMDIR, "rmdir", "f"}, {SYS_CREAT, "creat", "fn"}, {SYS_LINK, "link", "fg"},
    {SYS_UNLINK, "unlink", "f"}, {SYS_SYMLINK, "symlink", "fg"},
    {SYS_READLINK, "readlink", "fml"}, {SYS_CHMOD, "chmod", "fn"},
    {SYS_GETTIMEOFDAY, "gettimeofday", "Mm"}, {SYS_GETRLIMIT, "getrlimit", "nM"},
    {SYS_GETRUSAGE, "getrusage", "nM"}, {SYS_SYSINFO, "sysinfo", "M"}, {SYS_TIMES, "times", "M"},
    {SYS_RT_SIGPENDING, "rt_sigpending", "M8"}, {SYS_SIGALTSTACK, "sigaltstack", "mM"},
    {SYS_STATFS, "statfs", "fm"}, {SYS_FSTATFS, "fstatfs", "dM"},
    {SYS_SETRLIMIT, "setrlimit", "cM"}, {SYS_GETDENTS64, "getdents64", "Dml"},
    {SYS_CLOCK_GETTIME, "clock_gettime", "nM"}, {SYS_CLOCK_NANOSLEEP, "clock_nanosleep", "nnum"},
    {SYS_OPENAT, "openat", "dfnn"}, {SYS_MKDIRAT, "mkdirat", "dfn"},
    {SYS_NEWFSTATAT, "newfstatat", "afmn"}, {SYS_UNLINKAT, "unlinkat", "afn"},
    {SYS_RENAMEAT, "renameat", "afag"}, {SYS_LINKAT, "linkat", "afagn"},
    {SYS_READLINKAT, "readlinkat", "afml"}, {SYS_FACCESSAT, "faccessat", "afn"},
    {SYS_UTIMENSAT, "utimensat", "afmn"}, {SYS_PIPE2, "pipe2", "mn"},
    {SYS_PREADV, "preadv", "dmln"}, {SYS_PWRITEV, "pwritev", "dmln"},
    {SYS_PRLIMIT64, "prlimit64", "nnnM"}, {SYS_GETRANDOM, "getrandom", "Mln"},
    {SYS_EXECVE, "execve", "fmm"}, {SYS_FUTEX, "futex", "tnn"},
    {SYS_RT_SIGTIMEDWAIT, "rt_sigtimedwait", "tmt8"}, {SYS_RT_SIGSUSPEND, "rt_sigsuspend", "t8"},
    {SYS_PSELECT6, "pselect6", "nmmmtn"}, {SYS_PPOLL, "ppoll", "mntn8"},
    {SYS_SETITIMER, "setitimer", "ntm"}, {SYS_GET_ROBUST_LIST, "get_robust_list", "nMM"},
    {SYS_ARCH_PRCTL, "arch_prctl", "xM"},
};

static const u64 forbidden[] = {
    1, 0x1000, 0x200000000000, 0x7ffffffff000, 0x7ffffffffffe, 0x0000800000000000,
    0xffff7fffffffffff, 0xffff800000000000, 0xffff800000100000, 0xffff8000fee00000,
    0xffffffff80000000, 0xffffffff80001000, 0xffffffffc0010000, 0xffffffffe0000000,
    ~4095UL, ~7UL, ~0UL};
static const u64 lengths[] = {1, 0, 4095, 4096, 4097, 1UL << 31, 1UL << 47, 1UL << 63, ~0UL};

static u64 pairs, wrong;
static long file, folder;
static u64 zeros[1024];
static char path[] = "/tmp/no/such";

u64 harmless(char kind)
{
    switch (kind) {
    case 'd': return (u64)file;
    case 'D': return (u64)folder;
    case 'a': return (u64)-100L;
    case 'f': case 'g': return (u64)path;
    case 's': return SIGUSR1;
    case 'x': return ARCH_GET_FS;
    case 'c': return 4;              /* the limit of core files */
    case '8': return 8;
    case 'M': case 'm': case 't': case 'u': return (u64)zeros;
    }
    return 0;
}

void try(u64 i, u64 at, u64 place, u64 size, bool must)
{
    const char *takes = calls[i].takes;
    u64 a[6] = {0}, n;
    long got;

    for (n = 0; takes[n]; n++)
        a[n] = n == at ? place : takes[n] == 'l' ? size : harmless(takes[n]);
    got = syscall6(calls[i].number, (long)a[0], (long)a[1], (long)a[2], (long)a[3], (long)a[4],
                   (long)a[5]);
    pairs++;
    if (!must || got == -EFAULT || got == -EINVAL)
        return;
    wrong++;
    say("pointers: %s, argument %lu, 0x%lx, length %lu: %ld\n", calls[i].name, at + 1, place, size,
        got);
}

// Places of ours that end too soon, cannot be written, or are not there at all.

void try_all(u64 i, u64 at, char kind, u64 page)
{
    const u64 edges[] = {0, page + 4095, page + 4096 - 7, page + 4096, (u64)harmless};
    u64 l, p, count = find(calls[i].takes, 'l') ? array_count(lengths) : 1;

    for (l = 0; l < count; l++) {
        for (p = 0; p < array_count(forbidden); p++)
            try(i, at, forbidden[p], lengths[l], lengths[l] && !find("gm", kind));
        if (find("ut", kind) || calls[i].number == SYS_EXECVE)
            continue;                    /* it might sleep, or become another */
        for (p = 0; p < array_count(edges); p++)
            try(i, at, edges[p], lengths[l], false);
    }
}

int main(void)
{
    u64 i, at, page = (u64)map_memory(8192, MAP_PRIVATE);

    syscall3(SYS_MUNMAP, (long)page + 4096, 4096, 0);
    file = open("/tmp/pointers", 0102, 0600);
    folder = open("/", 0, 0);
    for (i = 0; i < 8; i++)
        write((int)file, zeros, sizeof zeros);
    syscall3(SYS_LSEEK, file, 0, 0);
    for (i = 0; i < array_count(calls); i++) {
        for (at = 0; calls[i].takes[at]; at++)
            if (find("fgMmtu", calls[i].takes[at]))
                try_all(i, at, calls[i].takes[at], page);
    }
    unlink("/tmp/pointers");
    say("pointers: %lu pairs tried, %lu wrong\n", pairs, wrong);
    return done(wrong != 0);
}
