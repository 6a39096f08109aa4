// ## fuzz {#user-fuzz}
//
// Makes system calls that no sensible program makes: `fuzz 7 200000` makes
// two hundred thousand, chosen by chance from the seed 7. Whatever they do
// to the program that makes them, the kernel must go on, and when all is
// over nothing may be missing. What it has found in a kernel, the same seed
// finds again.

#include "libc.h"
#include "lock.h"

#define CROWD 4                 /* workers at a time */
#define HANDS 3                 /* threads of each */
#define CALLS 500               /* that each worker makes, if it lives so long */
#define PATIENCE 20000000       /* nanoseconds; then it is taken for asleep */

// Each call with what it takes: a descriptor, a place in memory, a length,
// the name of a file, a number, flags, a list of words, a process. What
// would end more than ourselves (reboot, a signal to everybody) is not
// here.

static const struct {
    u16 number;
    const char *takes;
} calls[] = {
    {SYS_READ, "dml"}, {SYS_WRITE, "dml"}, {SYS_OPEN, "ffn"}, {SYS_OPEN, "fbn"},
    {SYS_CLOSE, "d"}, {SYS_STAT, "fm"}, {SYS_FSTAT, "dm"}, {SYS_LSTAT, "fm"}, {SYS_POLL, "mbb"},
    {SYS_LSEEK, "dnn"}, {SYS_MMAP, "mlbbdn"}, {SYS_MMAP, "mlbbdn"}, {SYS_MPROTECT, "mlb"},
    {SYS_MUNMAP, "ml"}, {SYS_BRK, "m"}, {SYS_RT_SIGACTION, "nmm8"},
    {SYS_RT_SIGPROCMASK, "nmm8"}, {SYS_IOCTL, "dnm"}, {SYS_PREAD64, "dmln"},
    {SYS_PWRITE64, "dmln"}, {SYS_READV, "dmn"}, {SYS_WRITEV, "dmn"}, {SYS_ACCESS, "fb"},
    {SYS_PIPE, "m"}, {SYS_SELECT, "bmmmm"}, {SYS_SCHED_YIELD, ""}, {SYS_DUP, "d"},
    {SYS_DUP2, "dd"}, {SYS_PAUSE, ""}, {SYS_NANOSLEEP, "mm"}, {SYS_GETITIMER, "nm"},
    {SYS_SETITIMER, "nmm"}, {SYS_GETPID, ""}, {SYS_CLONE, "nm"}, {SYS_FORK, ""},
    {SYS_VFORK, ""}, {SYS_EXECVE, "eww"}, {SYS_WAIT4, "pmb"}, {SYS_KILL, "pn"},
    {SYS_UNAME, "m"}, {SYS_FCNTL, "dnn"}, {SYS_FSYNC, "d"}, {SYS_TRUNCATE, "fl"},
    {SYS_FTRUNCATE, "dl"}, {SYS_GETCWD, "ml"}, {SYS_CHDIR, "f"}, {SYS_FCHDIR, "d"},
    {SYS_RENAME, "ff"}, {SYS_MKDIR, "fn"}, {SYS_RMDIR, "f"}, {SYS_CREAT, "fn"},
    {SYS_LINK, "ff"}, {SYS_UNLINK, "f"}, {SYS_SYMLINK, "ff"}, {SYS_READLINK, "fml"},
    {SYS_CHMOD, "fn"}, {SYS_FCHMOD, "dn"}, {SYS_GETTIMEOFDAY, "mm"}, {SYS_GETRLIMIT, "nm"},
    {SYS_GETRUSAGE, "nm"}, {SYS_SYSINFO, "m"}, {SYS_TIMES, "m"}, {SYS_GETUID, ""},
    {SYS_SYSLOG, "nml"}, {SYS_GETPPID, ""}, {SYS_GETPGRP, ""}, {SYS_GETPGID, "p"},
    {SYS_GETSID, "p"}, {SYS_RT_SIGPENDING, "m8"}, {SYS_RT_SIGTIMEDWAIT, "mmm8"},
    {SYS_RT_SIGQUEUEINFO, "pnm"}, {SYS_RT_SIGSUSPEND, "m8"}, {SYS_SIGALTSTACK, "mm"},
    {SYS_STATFS, "fm"}, {SYS_FSTATFS, "dm"}, {SYS_ARCH_PRCTL, "nm"}, {SYS_SETRLIMIT, "nm"},
    {SYS_TKILL, "pn"}, {SYS_GETDENTS64, "dml"}, {SYS_CLOCK_GETTIME, "nm"},
    {SYS_CLOCK_NANOSLEEP, "nbmm"}, {SYS_TGKILL, "ppn"}, {SYS_WAITID, "npmb"},
    {SYS_OPENAT, "dfbn"}, {SYS_MKDIRAT, "dfn"}, {SYS_NEWFSTATAT, "dfmb"}, {SYS_UNLINKAT, "dfb"},
    {SYS_RENAMEAT, "dfdf"}, {SYS_LINKAT, "dfdfb"}, {SYS_READLINKAT, "dfml"},
    {SYS_FCHMODAT, "dfn"}, {SYS_FACCESSAT, "dfb"}, {SYS_PSELECT6, "bmmmmm"},
    {SYS_PPOLL, "mbmm8"}, {SYS_UTIMENSAT, "dfmb"}, {SYS_DUP3, "ddb"}, {SYS_PIPE2, "mb"},
    {SYS_PREADV, "dmbln"}, {SYS_PWRITEV, "dmbln"}, {SYS_PRLIMIT64, "pnmm"},
    {SYS_GETRANDOM, "ml"}, {SYS_VMO_CREATE, "l"}, {SYS_VMO_READ, "dlml"},
    {SYS_VMO_WRITE, "dlml"}, {SYS_VMO_CLONE, "dll"}, {SYS_VMO_SIZE, "d"}, {SYS_VMO_MAP, "dllb"},
    {SYS_HANDLE_DUPLICATE, "db"}, {SYS_HANDLE_CLOSE, "d"}, {SYS_PROCESS_INFO, "nm"},
    {SYS_FUTEX, "mbnmmn"}, {SYS_FUTEX, "mbnmmn"}, {SYS_SET_TID_ADDRESS, "m"},
    {SYS_SET_ROBUST_LIST, "ml"}, {SYS_GET_ROBUST_LIST, "pmm"}, {SYS_GETTID, ""},
};

// Places: nowhere, ours, not ours, the kernel's, none at all. Some lie so
// that what begins there ends somewhere else.

static u8 area[3 * 4096] __attribute__((aligned(4096)));

static const u64 places[] = {
    0, 1, 0x10000, 0x400000, (u64)area, (u64)area + 4096 - 4, (u64)area + sizeof area - 8,
    0x7ffffffff000 - 1, 0x7ffffffff000, 0x7fffff7ff000 - 8, 0x7fffff7ff000, 0x7ffff0000000,
    0x0000800000000000, 0xffff7fffffffffff, 0xffff800000000000, 0xffff800000001000,
    0xffffffff80000000, 0xffffffff80001000, 0xffffffffc0010000, 0xffffffffe0000000, ~0UL, ~7UL,
    0x500000, 0x600000, 0x200000000000};

static const u64 lengths[] = {
    0, 1, 7, 8, 4095, 4096, 4097, 8192, 65536, 1UL << 31, 1UL << 32, 1UL << 40, 1UL << 46,
    1UL << 47, 1UL << 63, ~0UL, ~0UL << 12};

static const char *const names[] = {
    "a", "b", "a/b", "b/a/", "./a", "a/../b", "link", "", ".", "/nothing/x", "a/b/a/b/a/b",
    "link/link/link", "a/..", "/dev/zero/x"};

static u64 chance;

u64 random(void)
{
    chance ^= chance << 13, chance ^= chance >> 7, chance ^= chance << 17;
    return chance;
}

u64 number(void)
{
    return random() % 4 ? random() % 70 : random() % 2 ? -(random() % 9) : 1UL << random() % 64;
}

#define any(list) list[random() % array_count(list)]

// One argument of the kind. A place is most often a good one, or no call
// would get further than to its first pointer; the bytes there are a mess.

u64 argument(char kind)
{
    u64 i;

    switch (kind) {
    case 'd': return random() % 8 ? random() % 16 : number();
    case 'f':
        return random() % 16 ? (u64)any(names) : any(places);
    case 'e': return random() % 4 ? (u64)any(names) : (u64)"/bin/true";
    case 'l': return random() % 2 ? random() % 9000 : any(lengths);
    case 'b': return random() % 4 ? 1UL << random() % 12 | random() % 64 : number();
    case 'p': return random() % 2 ? 0 : random() % 2 ? -2 - random() % 2 * 0x7ffffffe : 99999999;
    case 'w': return random() % 4 ? (u64)(area + 8) : any(places);
    case '8': return random() % 8 ? 8 : number();
    case 'm':
        for (i = 0; i < 8; i++)
            ((u64 *)area)[random() % 64] = random() % 3 ? number() : any(places);
        return random() % 2 ? (u64)area + random() % 4096 : any(places);
    }
    return number();
}

// A signal's frame that no signal has made: whoever forges it says where to
// go on, and in what state. Most of it is a mess, but where it goes on is
// often a place where one can, and where the vector registers are, too.

#define FRAME_RIP 22            /* words from the start of the frame */
#define FRAME_VECTORS 29

void give_up(int signal);

void forge_frame(void)
{
    u64 *word = (u64 *)area, *frame = word + 8;
    u64 i;

    for (i = 0; i < sizeof area / 8; i++)
        word[i] = random() % 2 ? random() : any(places);
    if (random() % 4)
        frame[FRAME_RIP] = (u64)give_up;
    if (random() % 4)
        frame[FRAME_VECTORS] = random() % 2 ? (u64)area + 4096 + random() % 64 : 0;
    __asm__ volatile("movq %0, %%rsp\n movl $15, %%eax\n syscall\n ud2" : : "r"(frame + 1));
}

// A frame that a signal has made, and the handler has damaged in a place or
// two. (There are 39 words that the kernel will look at.) Often the program
// goes on and does not notice.

void tamper(int signal, void *reason, u64 *context)
{
    u64 times = random() % 3;

    (void)signal, (void)reason;
    while (times--)
        context[random() % 39] = random() % 2 ? random() : any(places);
}

// A call, and with a little luck the next one. A copy of us goes its own
// way, and makes no further copies. How many calls there were, and how many
// threads and copies made them, is counted in memory that all of them
// share, while they have it.

struct tally {
    u32 calls, threads;
};

static struct tally *tally;

bool is_fork(u64 number)
{
    return number >= 56 && number <= 58;
}

void make_call(void)
{
    static bool copy;
    u64 which = random() % array_count(calls), i, a[6] = {0}, number = calls[which].number;
    const char *takes = calls[which].takes;
    long result;

    if (copy && is_fork(number))
        return;
    for (i = 0; i < 6; i++)
        a[i] = i < length(takes) ? argument(takes[i]) : random() % 2;
    if (random() % 32 == 0)
        number |= 1UL << (16 + random() % 48);
    result = syscall6((long)number, (long)a[0], (long)a[1], (long)a[2], (long)a[3], (long)a[4],
                      (long)a[5]);
    if (is_fork(number) && result == 0) {
        copy = true, chance ^= (u64)getpid() << 20;
        atomic_add(&tally->threads, 1);
    }
}

// A program that has made itself impossible faults, and that is quiet.

void give_up(int signal)
{
    exit(signal);
}

// What the calls will find, so that some of them succeed: a few descriptors
// of each kind, a file or two, a circle of links.

void prepare(void)
{
    static const int faults[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGPIPE};
    int ends[2], fd;
    u64 i;

    syscall3(SYS_SETPGID, 0, 0, 0);     /* we die together */
    for (i = 0; i < array_count(faults); i++)
        signal_set(faults[i], (vaddr)give_up);
    signal_action(SIGUSR1, (vaddr)tamper, SA_SIGINFO | SA_ONSTACK, 0);
    signal_action(SIGALRM, (vaddr)tamper, SA_SIGINFO | SA_ONSTACK, 0);
    for (fd = 0; fd < 3; fd++)
        dup2((int)open("/dev/null", O_RDWR, 0), fd);
    for (fd = 3; fd < 20; fd++)
        close(fd);
    open("/dev/zero", O_RDWR, 0);
    open(".", O_RDONLY, 0);
    open("a", O_RDWR | O_CREAT, 0755);
    pipe(ends);
    syscall3(SYS_VMO_CREATE, 70000, 0, 0);
    syscall3(SYS_SYMLINK, (long)"link", (long)"link", 0);
}

// A worker, and its threads, which do the same, all at one address space
// and one table of descriptors. The first ends them all.

static struct worker hands[HANDS];

void make_calls(void *about)
{
    u64 i;

    (void)about;
    atomic_add(&tally->threads, 1);
    for (i = 0; i < CALLS / HANDS; i++) {
        atomic_add(&tally->calls, 1);
        if (random() % 200 == 0)
            kill(getpid(), SIGUSR1);
        if (random() % 1000 == 0)
            forge_frame();
        make_call();
    }
}

void work(u64 seed)
{
    int i;

    chance = seed * 0x9e3779b97f4a7c15UL | 1;
    for (i = 0; i < 20; i++)
        random();
    prepare();
    for (i = 1; i < HANDS; i++)
        worker_start(&hands[i], make_calls, NULL);
    make_calls(NULL);
    exit(0);
}

// Starts some workers, and ends those that have fallen asleep. What they
// have done to the tally as well may be no number of calls that there can
// have been; then none of them counts.

static u64 calls_made, threads_begun;

void one_round(u64 seed)
{
    long pid[CROWD], i, left = CROWD, waited;
    struct timespec moment = {0, 2000000};

    *tally = (struct tally){0, 0};
    for (i = 0; i < CROWD; i++) {
        pid[i] = fork();
        if (!pid[i])
            work(seed * CROWD + (u64)i);
    }
    for (waited = 0; left && waited < PATIENCE; waited += moment.nanoseconds) {
        while (left && wait4(-1, NULL, 1) > 0)
            left--;
        nanosleep(&moment, NULL);
    }
    for (i = 0; i < CROWD; i++)
        kill(-pid[i], SIGKILL);
    while (wait4(-1, NULL, 0) > 0)
        ;
    if (tally->calls <= tally->threads * (CALLS / HANDS) && tally->threads < CROWD * CALLS) {
        calls_made += tally->calls;
        threads_begun += tally->threads;
    }
}

// Rounds, until there were as many calls as are wanted.

int main(int argc, char **argv)
{
    u64 seed = argc > 1 ? (u64)number_from(argv[1], 1 << 30) : 1, round = 0;
    u64 wanted = argc > 2 ? (u64)number_from(argv[2], 1 << 30) : 10000;

    tally = (void *)map_memory(4096, MAP_SHARED);
    mkdir("/tmp/fuzz", 0755);
    if (chdir("/tmp/fuzz"))
        return complain("fuzz: no place to work at");
    syscall3(511, 0, 0, 0);     /* the kernel's complaint about the unknown, once */
    while (calls_made < wanted)
        one_round(seed << 32 | round++);
    say("fuzz: %lu calls by %lu threads from seed %lu, in %lu rounds\n", calls_made,
        threads_begun, seed, round);
    return done(0);
}
