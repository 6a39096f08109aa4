// ## family {#user-family}
//
// Questions about processes: who may move whom into which group, what a
// parent learns of its children, what a signal brings with it and what it
// must not bring back, what becomes of a process that starts another
// program. Like [edges](#user-edges) it asks and prints the answers; Linux
// must give the same.

#include "libc.h"


static struct timespec moment = {0, 20000000};
static char self[PATH_MAX];     /* this program, to be started again */

// ## Children that ask {#family-children}
//
// Many questions change who asks them, so a child does it. It says what it
// has to say and ends; the answer to `asked()` is how. What the parent has
// said before must not be said again.
//
// Nothing here depends on who is faster. `child_of()` waits until the child
// says that it is ready, has become another program, or has ended: then
// nobody has the other end of a pipe any more.

static int ready_end;

static void ready(void)
{
    close(ready_end);
}

static long child_of(void (*ask)(void))
{
    int ends[2];
    long pid;
    char byte;

    sink_flush(&out);
    syscall3(SYS_PIPE2, (long)ends, O_CLOEXEC, 0);
    pid = fork();
    if (!pid) {
        ready_end = ends[1];
        ask();
        exit(done(0));
    }
    close(ends[1]);
    read(ends[0], &byte, 1);
    close(ends[0]);
    return pid;
}

// The status of one that ends, and one that has ended and waits to be asked
// for.

static int asked(void (*ask)(void))
{
    int status = 0;
    long pid = child_of(ask);

    while (wait4(pid, &status, 0) == -EINTR)
        ;
    return status;
}

static long waitid(int kind, long id, void *info, int options)
{
    return syscall6(SYS_WAITID, kind, id, (long)info, options, 0, 0);
}

static long ended_child(void (*ask)(void))
{
    long pid = child_of(ask);

    waitid(P_PID, pid, NULL, WEXITED | WNOWAIT);       /* has ended, and stays */
    return pid;
}

// Children of several kinds, and the end of one.

static void sleep_long(void)
{
    struct timespec long_time = {1000, 0};

    ready();
    nanosleep(&long_time, NULL);
}

static void end_at_once(void)
{
    exit(3);
}

static void finish(long pid)
{
    kill(pid, SIGKILL);
    while (wait4(pid, NULL, 0x40000000) == -EINTR)
        ;
}

// The calls that this is about.

static long setpgid(long pid, long group)
{
    return syscall3(SYS_SETPGID, pid, group, 0);
}

static long getpgid(long pid)
{
    return syscall3(SYS_GETPGID, pid, 0, 0);
}

static long setsid(void)
{
    return syscall3(SYS_SETSID, 0, 0, 0);
}

static long getsid(long pid)
{
    return syscall3(SYS_GETSID, pid, 0, 0);
}

// ## Groups and sessions {#family-groups}

static void lead_a_session(void)
{
    long mine = setsid();

    say("the first of a session: %d", mine == getpid());
    say(", again: %ld, moving: %ld", setsid(), setpgid(0, 0));
    say(", group and session: %d %d\n", getpgid(0) == getpid(), getsid(0) == getpid());
}

static void lead_a_group(void)
{
    say("who leads a group: %ld", setpgid(0, 0));
    say(", cannot have a session: %ld\n", setsid());
}

// And what such a child may be, for others to ask about.

static void sit_in_a_session(void)
{
    setsid();
    sleep_long();
}

static void become_sleep(void)
{
    char *words[] = {"sleep", "1000", NULL};

    execve("/bin/sleep", words, words + 2);
    exit(1);
}

// All the reasons for which a process cannot be moved, and some that are
// none.

static void ask_groups(void)
{
    long a = child_of(sleep_long), b = child_of(sleep_long), other = child_of(sit_in_a_session);
    long replaced = child_of(become_sleep), ended = ended_child(end_at_once);

    say("nobody: %ld, process 1: %ld, parent: %ld", setpgid(999999, 0), setpgid(1, 4242),
        setpgid(syscall3(SYS_GETPPID, 0, 0, 0), 77));
    say(", a negative group: %ld, one that is not there: %ld\n", setpgid(a, -3),
        setpgid(a, 999999));
    say("a child: %ld", setpgid(a, a));
    say(", another joins it: %ld", setpgid(b, a));
    say(", are together: %d\n", getpgid(b) == a && getpgid(a) == a);
    say("in another session: %ld, into its group: %ld", setpgid(other, other), setpgid(a, other));
    say(", after execve: %ld, after its end: %ld\n", setpgid(replaced, replaced),
        setpgid(ended, a));
    say("group of nobody: %ld, session of nobody: %ld", getpgid(999999), getsid(999999));
    say(", of the ended one: %d, sessions: %d %d\n", getpgid(ended) == a, getsid(a) == getsid(0),
        getsid(other) == other);
    finish(a), finish(b), finish(other), finish(replaced), finish(ended);
    asked(lead_a_session);
    asked(lead_a_group);
}

// ## Waiting {#family-wait}

static void end_by_signal(void)
{
    kill(getpid(), SIGKILL);
}

static void ask_wait(void)
{
    int status = 77;
    long pid;

    say("nobody to wait for: %ld, unknown options: %ld", wait4(-1, NULL, 0), wait4(-1, NULL, 64));
    pid = child_of(sleep_long);
    say(", not yet: %ld, any kind: %ld, no clones: %ld\n", wait4(pid, &status, WNOHANG),
        wait4(pid, NULL, WNOHANG | 0x40000000), wait4(pid, NULL, (int)0x80000000));
    finish(pid);
    pid = ended_child(end_at_once);
    say("to a wrong address: %ld", wait4(pid, (int *)8, 0));
    say(", and then it is gone: %ld\n", wait4(pid, NULL, 0));
    say("status: %x", asked(end_at_once));
    say(", by a signal: %x\n", asked(end_by_signal));
}

// The newer call, which says it in more words.

static void say_waitid(const char *what, long result, const u32 *info, long pid)
{
    say("%s: %ld, signal %u, code %u, its number %d, status %u\n", what, result, info[0], info[2],
        info[4] == pid, info[6]);
}

static void ask_waitid(void)
{
    u32 info[32] = {0};
    long pid = child_of(sleep_long), result;

    say("no options: %ld, unknown kind: %ld, process 0: %ld, nobody's: %ld\n",
        waitid(P_ALL, 0, info, 0), waitid(7, 0, info, WEXITED), waitid(P_PID, 0, info, WEXITED),
        waitid(P_PID, 999999, info, WEXITED));
    info[0] = 55;
    result = waitid(P_PID, pid, info, WEXITED | WNOHANG);
    say_waitid("not yet", result, info, 0);
    kill(pid, SIGKILL);
    result = waitid(P_PID, pid, info, WEXITED | WNOWAIT);
    say_waitid("looked at", result, info, pid);
    result = waitid(P_ALL, 0, info, WEXITED);
    say_waitid("killed", result, info, pid);
    pid = child_of(end_at_once);
    result = waitid(P_PGID, 0, info, WEXITED);
    say_waitid("ended", result, info, pid);
}

// What a process has used. How much that is differs, but it must be about
// as much as it did. (Linux counts pages for each processor by itself, and
// adds them up now and then: some may be missing.)

static u64 spent(const struct usage *u)
{
    return (u64)((u->user.seconds + u->system.seconds) * 1000 +
                 (u->user.microseconds + u->system.microseconds) / 1000);
}

static void compute(void)
{
    char *at = (char *)map_memory(12 << 20, MAP_PRIVATE);
    struct usage u = {.memory = 0};
    u64 i;

    for (i = 0; i < 12 << 20; i += 4096)
        at[i] = 1;
    do
        syscall3(SYS_GETRUSAGE, 0, (long)&u, 0);
    while (spent(&u) < 60);
}

static void ask_usage(void)
{
    struct usage u = {.memory = 0};
    s64 ticks[4] = {0}, now;
    long pid = child_of(compute);

    say("with usage: %d", syscall6(SYS_WAIT4, pid, 0, 0, (long)&u, 0, 0) == pid);
    say(", at least 60 ms: %d, at least 8 MiB: %d", spent(&u) >= 60, u.memory >= 8192);
    syscall3(SYS_GETRUSAGE, -1, (long)&u, 0);
    say(", the children's: %d %d", spent(&u) >= 60, u.memory >= 8192);
    now = syscall3(SYS_TIMES, (long)ticks, 0, 0);
    say(", in ticks: %d %d\n", now > 0, ticks[2] + ticks[3] >= 5);
    say("usage of something else: %ld, to nowhere: %ld\n", syscall3(SYS_GETRUSAGE, 7, (long)&u, 0),
        syscall3(SYS_GETRUSAGE, 0, 8, 0));
    say("more than none of it, to a wrong address: %ld\n",
        syscall6(SYS_WAIT4, child_of(end_at_once), 0, 0, 8, 0, 0));
}

// ## Handlers {#family-handlers}
//
// The frame that a handler finds, as Linux lays it out.

// Handlers that want to know why, and where.

static long handle(int signal, void *handler, u64 flags, u64 mask)
{
    return signal_action(signal, (vaddr)handler, SA_SIGINFO | flags, mask);
}

// Setting the mask of blocked signals returns the old one.

static u64 set_mask(u64 mask)
{
    u64 old = 0;

    syscall6(SYS_RT_SIGPROCMASK, SIG_SETMASK, (long)&mask, (long)&old, 8, 0, 0);
    return old;
}

static u64 mask_now(void)
{
    u64 old = 0;

    syscall6(SYS_RT_SIGPROCMASK, SIG_BLOCK, 0, (long)&old, 8, 0, 0);
    return old;
}

// Which handlers ran, in what order, and with what blocked, is noted to be
// said later: a handler may have interrupted somebody who says something.

static volatile int ran;
static volatile u64 which[8], masks[8];

static void note(int signal, struct signal_info *reason, struct signal_context *context)
{
    (void)reason, (void)context;
    which[ran % 8] = (u64)signal;
    masks[ran++ % 8] = mask_now();
}

static void say_notes(const char *what)
{
    int i;

    say("%s:", what);
    for (i = 0; i < ran; i++)
        say(" %lu with %lx", which[i], masks[i]);
    say("\n");
    ran = 0;
}

// Two signals are pending, and blocked. Whoever waits with none blocked
// gets both; each handler blocks what it wants; and then all is as before.

static void ask_suspend(void)
{
    const u64 none = 0, one = 1UL << 9;
    long result;

    handle(SIGUSR1, note, 0, 1UL << 20);
    handle(SIGUSR2, note, 0, 0);
    set_mask(1UL << 9 | 1UL << 11 | 1UL << 30);
    kill(getpid(), SIGUSR2), kill(getpid(), SIGUSR1);
    result = syscall3(SYS_RT_SIGSUSPEND, (long)&none, 8, 0);
    say("two at once: %ld, blocked again %lx", result, set_mask(1UL << 9 | 1UL << 11));
    say_notes("");
    kill(getpid(), SIGUSR2), kill(getpid(), SIGUSR1);
    result = syscall3(SYS_RT_SIGSUSPEND, (long)&one, 8, 0);
    say("one of two: %ld, blocked again %lx", result, mask_now());
    say_notes("");
    set_mask(0);
    say_notes("the other");
    say("a wrong size: %ld, from nowhere: %ld\n", syscall3(SYS_RT_SIGSUSPEND, (long)&none, 4, 0),
        syscall3(SYS_RT_SIGSUSPEND, 8, 8, 0));
}

// What is pending, and waiting for it without a handler. The signals from
// 32 on come as often as they were sent, in order, each with its value; the
// others once.

static void send_value(int signal, u64 value)
{
    union signal_room reason = {{.code = -1, .pid = (u32)getpid(), .value = value}};

    syscall3(SYS_RT_SIGQUEUEINFO, getpid(), signal, (long)&reason);
}

static long take(u64 set, union signal_room *reason, const struct timespec *time)
{
    return syscall6(SYS_RT_SIGTIMEDWAIT, (long)&set, (long)reason, (long)time, 8, 0, 0);
}

static void send_later(void)
{
    ready();
    nanosleep(&moment, NULL);
    kill(syscall3(SYS_GETPPID, 0, 0, 0), SIGUSR2);
}

static void say_pending(void)
{
    u64 pending = 1;

    syscall3(SYS_RT_SIGPENDING, (long)&pending, 8, 0);
    say("pending in a child: %lx, blocked: %lx\n", pending, mask_now());
}

// A child sends when we wait, or shortly before. What we have been sent is
// not its own.

static void ask_queue(void)
{
    struct timespec none = {0, 0};
    union signal_room reason = {{0}};
    u64 pending = 0, i;
    long result;

    set_mask(1UL << 39 | 1UL << 11);
    for (i = 1; i <= 3; i++)
        send_value(40, i), send_value(12, i);
    syscall3(SYS_RT_SIGPENDING, (long)&pending, 8, 0);
    asked(say_pending);
    say("pending: %lx; taken:", pending);
    while ((result = take(1UL << 39 | 1UL << 11, &reason, &none)) > 0)
        say(" %ld with %lu, code %d;", result, reason.info.value, reason.info.code);
    say(" then %ld\n", result);
    result = child_of(send_later);
    say("waited for: %ld", take(1UL << 11, &reason, NULL));
    say(", sent by the child: %d, code %d", reason.info.pid == result, reason.info.code);
    finish(result);
    say(", nobody comes: %ld", take(1UL << 11, &reason, &moment));
    handle(SIGUSR1, note, 0, 0);
    result = child_of(send_later);
    say(", a wrong size: %ld, time: %ld\n",
        syscall6(SYS_RT_SIGTIMEDWAIT, (long)&pending, 0, 0, 4, 0, 0),
        take(1, NULL, &(struct timespec){0, -1}));
    finish(result);
    set_mask(0);
}

// The reason. From a process, from a thread's own call, from a child.

static struct signal_info why;
static struct signal_context how;

static void remember(int signal, struct signal_info *reason, struct signal_context *context)
{
    (void)signal;
    why = *reason;
    how = *context;
    ran++;
}

static void say_why(const char *what, long pid)
{
    say("%s: signal %d, code %d, from it %d, value %lu\n", what, why.signal, why.code,
        why.pid == pid, why.value);
}

static void ask_reasons(void)
{
    long pid;

    handle(SIGUSR1, remember, 0, 0);
    handle(SIGCHLD, remember, SA_RESTART, 0);
    kill(getpid(), SIGUSR1);
    say_why("kill", getpid());
    syscall3(SYS_TGKILL, getpid() | 1L << 40, getpid(), SIGUSR1);  /* numbers have 32 bits */
    say_why("tgkill", getpid());
    syscall3(SYS_TKILL, getpid(), SIGUSR1, 0);
    say_why("tkill", getpid());
    pid = child_of(end_at_once);
    wait4(pid, NULL, 0);
    say_why("an end", pid);
    pid = child_of(end_by_signal);
    wait4(pid, NULL, 0);
    say_why("a violent end", pid);
    handle(SIGCHLD, NULL, 0, 0);
}

// Who is there to be told? A number that is no signal is a mistake only if
// somebody would have got it.

static void ask_kill(void)
{
    long pid = ended_child(end_at_once);
    u32 lowest = 1u << 31;

    say("to the ended: %ld, to nobody: %ld, with a wrong number: %ld, to nobody: %ld\n",
        kill(pid, SIGKILL), kill(999999, 0), kill(pid, 99), kill(999999, 99));
    wait4(pid, NULL, 0);
    say("to no group: %ld, to our group: %ld, to no process: %ld", kill(-999999, SIGKILL),
        kill(0, 0), kill((s32)lowest, 0));
    say(", to a thread: %ld %ld %ld %ld %ld\n", syscall3(SYS_TKILL, 0, SIGKILL, 0),
        syscall3(SYS_TKILL, 999999, SIGKILL, 0),
        syscall3(SYS_TGKILL, -1, getpid(), 0), syscall3(SYS_TGKILL, 999999, getpid(), 0),
        syscall3(SYS_TGKILL, getpid(), getpid(), 99));
}

// ## Alarms {#family-alarms}

static long setitimer(int kind, const struct alarm_times *new, struct alarm_times *old)
{
    return syscall3(SYS_SETITIMER, kind, (long)new, (long)old);
}

static long alarm(long seconds)
{
    return syscall3(SYS_ALARM, seconds, 0, 0);
}

static void say_alarm(void)
{
    say("its own alarm: %ld\n", alarm(0));
}

static void keep_alarm(void)
{
    char *words[] = {"family", "alarm", NULL};

    alarm(200);
    execve(self, words, words + 2);
}

// Once, then again and again until we have had enough.

static void ask_alarms(void)
{
    const u64 none = 0;
    struct alarm_times once = {{0, 0}, {0, 2000}}, often = {{0, 3000}, {0, 1}};
    struct alarm_times wrong = {{0, 0}, {0, 1000000}}, off = {{0, 0}, {0, 0}}, old = off;

    say("alarms: %ld", alarm(100));
    say(", replaced: %ld\n", alarm(300));
    asked(say_alarm);
    asked(keep_alarm);
    say("ours: %ld; wrong microseconds: %ld, wrong kind: %ld\n", alarm(0),
        setitimer(0, &wrong, NULL), setitimer(7, &once, NULL));
    handle(SIGALRM, remember, 0, 0);
    set_mask(1UL << 13);
    ran = 0;
    setitimer(0, &once, NULL);
    say("waiting for it: %ld", syscall3(SYS_RT_SIGSUSPEND, (long)&none, 8, 0));
    say(", called %d, code %d", ran, why.code);
    say(", what is left: %ld", syscall3(SYS_GETITIMER, 0, (long)&old, 0));
    say(" %lu %lu\n", (u64)old.value.seconds, (u64)old.value.microseconds);
    setitimer(0, &often, NULL);
    while (ran < 5)
        syscall3(SYS_RT_SIGSUSPEND, (long)&none, 8, 0);
    setitimer(0, &off, &old);
    say("five times, every %lu microseconds, the next in less: %d\n",
        (u64)old.interval.microseconds, old.value.seconds == 0 && old.value.microseconds <= 3000);
    handle(SIGALRM, (void *)SIG_IGN, 0, 0);
    set_mask(0);
    ran = 0;
}

// ## Faults and contexts {#family-contexts}
//
// Functions that fail at once, or nearly. The handler goes on as if they
// had returned, and lets them return what it wants.

__asm__("read_at:\n movb (%rdi), %al\n ret\n"
        "write_at:\n movb $1, (%rdi)\n ret\n"
        "jump_to:\n jmp *%rdi\n"
        "not_an_instruction:\n ud2\n"
        "breakpoint:\n int3\n ret\n"
        "divide:\n xorl %ecx, %ecx\n movl $1, %eax\n cltd\n divl %ecx\n ret\n"
        "privileged:\n hlt\n ret\n");

u64 read_at(u64 at), write_at(u64 at), jump_to(u64 at), not_an_instruction(u64), breakpoint(u64);
u64 divide(u64), privileged(u64);

static void return_from_it(int signal, struct signal_info *reason, struct signal_context *context)
{
    remember(signal, reason, context);
    context->rip = *(u64 *)context->rsp;
    context->rsp += 8;
    context->rax = 4711;
}

static void try(const char *what, u64 (*function)(u64), u64 at)
{
    u64 result = function(at), address = why.address;

    say("%s: signal %d, code %d, vector %lu, error %lx, returns %lu", what, why.signal, why.code,
        how.vector, how.error, result);
    say(", address: %s\n", !address ? "none" : address == at ? "that" :
        address - (u64)function < 16 ? "the instruction's" : "another");
}

// Each of them, with a page of data that is there.

static void ask_faults(void)
{
    static const int faults[] = {4, 5, 7, 8, 11};
    static u8 data[4096];
    u64 i;

    for (i = 0; i < array_count(faults); i++)
        handle(faults[i], return_from_it, 0, 0);
    data[0] = data[4095] = 1;
    try("nothing there", read_at, 0x10);
    try("writing there", write_at, 0x10);
    try("writing code", write_at, (u64)ask_faults);
    try("executing data", jump_to, (u64)data);
    try("the kernel's", read_at, 0xffff800000000000);
    try("nobody's", read_at, 1UL << 63);
    try("not an instruction", not_an_instruction, 0);
    try("a breakpoint", breakpoint, 0);
    try("divided by zero", divide, 0);
    try("not for us", privileged, 0);
}

// What comes back from a handler. All registers are loaded, and the handler
// adds to each what tells it from the others.

#define GENERAL_REGISTERS 15    /* without rsp */

u64 registers[16];

__asm__("exchange:\n"
        " pushq %rbx\n pushq %rbp\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        " movl $100, %eax\n"
        " movq %rax, %r8\n movq %rax, %r9\n movq %rax, %r10\n movq %rax, %r11\n"
        " movq %rax, %r12\n movq %rax, %r13\n movq %rax, %r14\n movq %rax, %r15\n"
        " movq %rax, %rdi\n movq %rax, %rsi\n movq %rax, %rbp\n movq %rax, %rbx\n"
        " movq %rax, %rdx\n movq %rax, %rcx\n ud2\n pushq %rax\n movq $registers, %rax\n"
        " movq %r8, (%rax)\n movq %r9, 8(%rax)\n movq %r10, 16(%rax)\n movq %r11, 24(%rax)\n"
        " movq %r12, 32(%rax)\n movq %r13, 40(%rax)\n movq %r14, 48(%rax)\n"
        " movq %r15, 56(%rax)\n movq %rdi, 64(%rax)\n movq %rsi, 72(%rax)\n"
        " movq %rbp, 80(%rax)\n movq %rbx, 88(%rax)\n movq %rdx, 96(%rax)\n"
        " popq 104(%rax)\n movq %rcx, 112(%rax)\n"
        " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbp\n popq %rbx\n ret\n");

void exchange(void);

static void count_up(int signal, struct signal_info *reason, struct signal_context *context)
{
    u64 i;

    (void)signal, (void)reason;
    for (i = 0; i < GENERAL_REGISTERS; i++)
        (&context->r8)[i] += i;
    context->rip += 2;
}

// Flags: the handler changes all, and some stay changed. One of them is the
// trap after each instruction, so that one is asked for by itself.

static u64 flags_to_set, flags_to_clear;

static void set_flags(int signal, struct signal_info *reason, struct signal_context *context)
{
    (void)signal, (void)reason;
    context->rflags |= flags_to_set;
    context->rflags &= ~flags_to_clear;
    context->rip += 2;
}

static void stop_tracing(int signal, struct signal_info *reason, struct signal_context *context)
{
    remember(signal, reason, context);
    if (ran == 3)
        context->rflags &= ~0x100UL;
}

__asm__("flags_behind:\n ud2\n pushfq\n popq %rax\n pushq $0x202\n popfq\n ret\n");

u64 flags_behind(void);

// Both.

static void ask_contexts(void)
{
    u64 i;

    handle(SIGILL, count_up, 0, 0);
    exchange();
    say("registers:");
    for (i = 0; i < GENERAL_REGISTERS; i++)
        say(" %lu", registers[i] - 100);
    handle(SIGILL, set_flags, 0, 0);
    flags_to_set = ~0x100UL;
    say("\nflags that may be set: %lx", flags_behind());
    flags_to_set = 0, flags_to_clear = ~0UL;
    say(", and must not be cleared: %lx", flags_behind());
    flags_to_clear = 0;
    handle(SIGTRAP, stop_tracing, 0, 0);
    flags_to_set = 0x100, ran = 0;
    flags_behind();
    say(", traps after each instruction: %d, code %d\n", ran, why.code);
    ran = 0;
}

// What nobody may have, a handler cannot get by what it writes into its
// context: another ring, an address that is none, signals that cannot be
// blocked. Whoever tries the first two does not survive. (They come from a
// fault and not from a system call, to which there is a shorter way back
// that leaves segments as they are.)

static u64 forged_segments, forged_rip, forged_vectors;

static void forge(int signal, struct signal_info *reason, struct signal_context *context)
{
    (void)reason;
    context->blocked = ~0UL;
    if (forged_segments)
        memcpy(&context->cs, &forged_segments, sizeof forged_segments);
    if (signal == 4)
        context->rip = forged_rip ? forged_rip : (u64)privileged;
    if (forged_vectors)
        context->fpu = forged_vectors;
}

// Two that try.

static void try_to_rule(void)
{
    handle(SIGILL, forge, 0, 0);
    not_an_instruction(0);
}

// A handler need not be where code can be, nor a program's stack.

static void handle_nowhere(void)
{
    handle(SIGSEGV, NULL, 0, 0);
    handle(SIGUSR1, (void *)(1UL << 47), 0, 0);
    kill(getpid(), SIGUSR1);
}

static void handle_in_the_kernel(void)
{
    handle(SIGSEGV, NULL, 0, 0);
    handle(SIGUSR1, (void *)0xffffffff80001000, 0, 0);
    kill(getpid(), SIGUSR1);
}

static void handle_without_stack(void)
{
    handle(SIGSEGV, NULL, 0, 0);
    handle(SIGUSR1, note, 0, 0);
    __asm__ volatile("movl $39, %%eax\n syscall\n movl %%eax, %%edi\n movl $10, %%esi\n"
                     "movl $62, %%eax\n movl $8, %%esp\n syscall\n ud2\n" : : : "memory");
}

static void return_nowhere(void)
{
    __asm__ volatile("movl $8, %%esp\n movl $15, %%eax\n syscall\n" : : : "memory");
}

// All of them.

static void ask_forged(void)
{
    handle(SIGUSR1, forge, 0, ~0UL);
    kill(getpid(), SIGUSR1);
    say("blocked by a context: %lx", set_mask(~0UL));
    say(", by a call: %lx\n", set_mask(0));
    forged_segments = 0x0010000000000008;
    say("code and stack of ring 0: %x", asked(try_to_rule));
    forged_segments = 0, forged_rip = 1UL << 47;
    say(", an address that is none: %x", asked(try_to_rule));
    forged_rip = 0xffffffff80001000;
    say(", the kernel's: %x", asked(try_to_rule));
    forged_rip = 0, forged_vectors = 16;
    say(", vector registers from nowhere: %x", asked(try_to_rule));
    forged_vectors = 0;
    say(", no frame at all: %x\n", asked(return_nowhere));
    say("a handler at an address that is none: %x", asked(handle_nowhere));
    say(", in the kernel: %x", asked(handle_in_the_kernel));
    say(", without a stack: %x\n", asked(handle_without_stack));
}

// Below the stack pointer are 128 bytes that a function may use without
// saying so. A handler, called in the middle of it, must leave them alone.
// Returns how many of their sixteen words are the same afterwards.

long red_zone(long pid, long signal);

__asm__(".text\n"
        ".globl red_zone\n"
        "red_zone:\n"
        "    movl $16, %ecx\n"
        "    leaq -128(%rsp), %rdx\n"
        "1:  movq %rcx, -8(%rdx,%rcx,8)\n"
        "    decl %ecx\n"
        "    jnz 1b\n"
        "    movl $62, %eax\n"          /* kill */
        "    syscall\n"
        "    xorl %eax, %eax\n"
        "    movl $16, %ecx\n"
        "2:  cmpq %rcx, -8(%rdx,%rcx,8)\n"
        "    jne 3f\n"
        "    incl %eax\n"
        "3:  decl %ecx\n"
        "    jnz 2b\n"
        "    ret\n");

static void ask_red_zone(void)
{
    handle(SIGUSR1, note, 0, 0);
    say("words of the red zone behind a handler: %ld\n", red_zone(getpid(), SIGUSR1));
}

// ## What another process has left {#family-selectors}
//
// Selectors mean nothing in 64-bit mode, but they are registers, in which
// somebody might read what is another's.

static u64 selectors(void)
{
    u16 ds, es, fs, gs;

    __asm__ volatile("movw %%ds, %0\n movw %%es, %1\n movw %%fs, %2\n movw %%gs, %3\n"
                     : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
    return ds | (u64)es << 16 | (u64)fs << 32 | (u64)gs << 48;
}

static void leave_selectors(void)
{
    int i;

    __asm__ volatile("movw %%ss, %%ax\n movw %%ax, %%ds\n movw %%ax, %%es\n"
                     "movw %%ax, %%fs\n movw %%ax, %%gs\n" : : : "rax", "memory");
    for (i = 0; i < 100; i++)
        syscall3(SYS_SCHED_YIELD, 0, 0, 0);
}

static void ask_selectors(void)
{
    long pid = child_of(leave_selectors);
    u64 seen = 0;
    int i, status = 0;

    for (i = 0; i < 100; i++) {
        syscall3(SYS_SCHED_YIELD, 0, 0, 0);
        seen |= selectors();
    }
    wait4(pid, &status, 0);
    say("selectors of another process: %lx, it ended with %x\n", seen, status);
}

// ## The other stack {#family-stack}

static u8 other_stack[2][16384];

// The call, and a handler that looks where it is, and tries to change it.

static long sigaltstack(const struct signal_stack *new, struct signal_stack *old)
{
    return syscall3(SYS_SIGALTSTACK, (long)new, (long)old, 0);
}

static bool is_on(const void *local, int number)
{
    return (u64)local - (u64)other_stack[number] < sizeof other_stack[number];
}

static volatile int on_it, seen_flags;
static volatile long refused;

static void where_am_i(int signal, struct signal_info *reason, struct signal_context *context)
{
    struct signal_stack now = {0}, none = {0, SS_DISABLE, 0, 0};

    remember(signal, reason, context);
    on_it = is_on(&now, 0) ? 1 : is_on(&now, 1) ? 2 : 0;
    refused = sigaltstack(&none, &now);
    sigaltstack(NULL, &now);
    seen_flags = (int)now.flags;
    if (signal == SIGSEGV)
        exit(on_it);
    if (signal == 12)
        context->stack.start = (u64)other_stack[1];
}

// Two that run off their stacks: the usual one, while the handler has
// another, and the other one itself, of which little is left.

static void overflow(void)
{
    struct signal_stack mine = {(u64)other_stack[0], 0, 0, sizeof other_stack[0]};

    sigaltstack(&mine, NULL);
    handle(SIGSEGV, where_am_i, SA_ONSTACK, 0);
    __asm__ volatile("1: pushq %%rax\n jmp 1b\n" : : : "memory");
}

static void overflow_the_other(void)
{
    struct signal_stack mine = {(u64)other_stack[1], 0, 0, 2048};

    memset(other_stack[0], 1, sizeof other_stack[0]);
    sigaltstack(&mine, NULL);
    handle(SIGUSR1, where_am_i, SA_ONSTACK | SA_NODEFER, 0);
    __asm__ volatile("leaq 1024(%0), %%rsp\n movl $39, %%eax\n syscall\n movl %%eax, %%edi\n"
                     "movl $10, %%esi\n movl $62, %%eax\n syscall\n"
                     "xorl %%edi, %%edi\n movl $60, %%eax\n syscall\n"
                     : : "r"(other_stack[1]) : "memory");
}

// A copy of the process has the same one, in its own memory.

static void has_it(void)
{
    struct signal_stack now;

    sigaltstack(NULL, &now);
    exit(now.start == (u64)other_stack[0] && now.size == sizeof other_stack[0]);
}

// What may be set, what is told, and where the handler then runs.

static void ask_stack(void)
{
    struct signal_stack mine = {(u64)other_stack[0], 0, 0, sizeof other_stack[0]};
    struct signal_stack wrong = {(u64)other_stack, 7, 0, 16384}, old = {1, 1, 0, 1};
    struct signal_stack small = {(u64)other_stack, 0, 0, 100};

    say("none yet: %ld", sigaltstack(NULL, &old));
    say(", flags %u, size %lu", old.flags, old.size);
    say("; wrong flags: %ld, too small: %ld, from nowhere: %ld\n",
        sigaltstack(&wrong, NULL), sigaltstack(&small, NULL), sigaltstack((void *)8, NULL));
    say("set: %ld", sigaltstack(&mine, NULL));
    say(", asked: %ld", sigaltstack(NULL, &old));
    say(", flags %u, ours: %d\n", old.flags, old.start == (u64)other_stack[0]);
    handle(SIGUSR1, where_am_i, 0, 0);
    kill(getpid(), SIGUSR1);
    say("not wanted: on stack %d, flags %d, change: %ld\n", on_it, seen_flags, refused);
    sigaltstack(&mine, NULL);
    handle(SIGUSR1, where_am_i, SA_ONSTACK, 0);
    kill(getpid(), SIGUSR1);
    say("wanted: on stack %d, flags %d, change: %ld", on_it, seen_flags, refused);
    say(", in the context: %d %d\n", how.stack.start == mine.start, how.stack.size == mine.size);
    handle(SIGUSR2, where_am_i, SA_ONSTACK, 0);
    kill(getpid(), SIGUSR2);
    kill(getpid(), SIGUSR1);
    say("its context does not change it: on stack %d\n", on_it);
    say("in a copy: %x\n", asked(has_it));
    say("the usual one overflows: %x", asked(overflow));
    say(", the other one: %x\n", asked(overflow_the_other));
    mine = (struct signal_stack){0, SS_DISABLE, 0, 0};
    say("none any more: %ld", sigaltstack(&mine, NULL));
    say(", asked: %ld", sigaltstack(NULL, &old));
    say(", flags %u\n", old.flags);
}

// ## Another program {#family-exec}
//
// What it finds, and what it must not find. It is this program again, with
// another argument.

struct vectors {
    u16 control, status, tags, pad;
    u64 more[2];
    u32 mxcsr, mask;
    u8 x87[128], xmm[352];
} __attribute__((aligned(16)));

static struct vectors vectors;

static void say_inheritance(void)
{
    u64 action[4] = {0}, pending = 0, flags, base = 1, i;
    struct signal_stack stack = {0};
    u32 ds = 1, es = 1, dirty = 0;

    __asm__ volatile("pushfq\n popq %0" : "=r"(flags));
    __asm__ volatile("fxsave (%0)" : : "r"(&vectors) : "memory");
    __asm__ volatile("movl %%ds, %0" : "=r"(ds));
    __asm__ volatile("movl %%es, %0" : "=r"(es));
    for (i = 0; i < 256; i++)
        dirty |= vectors.xmm[i];
    nanosleep(&moment, NULL);            /* others run, and then we again */
    syscall3(SYS_ARCH_PRCTL, ARCH_GET_FS, (long)&base, 0);
    say("after: flags %lx, control %x, mxcsr %x, vectors %u, segments %u %u, base %lu\n",
        flags & 0x244700, vectors.control, vectors.mxcsr, dirty, ds, es, base);
    syscall3(SYS_RT_SIGPENDING, (long)&pending, 8, 0);
    say("blocked %lx, pending %lx", mask_now(), pending);
    for (i = 1; i < 13; i += i == 1 ? 9 : 2) {
        syscall6(SYS_RT_SIGACTION, (long)i, 0, (long)action, 8, 0, 0);
        say(", action of %lu: %lu", i, action[0]);
    }
    sigaltstack(NULL, &stack);
    say(", stack: %u %lu\n", stack.flags, stack.size);
}

// Who starts it has changed all that can be changed.

static void leave_much_behind(void)
{
    static u64 room[2];
    struct signal_stack mine = {(u64)other_stack[0], 0, 0, sizeof other_stack[0]};
    char *words[] = {"family", "after", NULL};

    sigaltstack(&mine, NULL);
    handle(SIGHUP, note, 0, 0);
    handle(SIGUSR1, note, 0, 0);
    handle(SIGUSR2, (void *)SIG_IGN, 0, 0);
    set_mask(1UL << 9 | 1UL << 13);
    kill(getpid(), SIGUSR1);
    syscall3(SYS_ARCH_PRCTL, ARCH_SET_FS, (long)room, 0);
    __asm__ volatile("fxsave (%0)" : : "r"(&vectors) : "memory");
    memset(vectors.xmm, 0x77, 256);
    vectors.mxcsr = 0x1fc0, vectors.control = 0x27f;
    __asm__ volatile("fxrstor (%0)" : : "r"(&vectors) : "memory");
    __asm__ volatile("movl %%ss, %%eax\n movl %%eax, %%ds\n movl %%eax, %%es\n" : : : "rax");
    __asm__ volatile("pushfq\n orq $0x240400, (%%rsp)\n popfq\n movl $59, %%eax\n syscall\n cld"
                     : : "D"(self), "S"(words), "d"(words + 2)
                     : "rax", "rcx", "r11", "memory");
}

// Very many arguments. What the new program counts must be what we passed.
// (A quarter of the stack may be used by them, so its size is set first.)

static char **many_words(const char *argument, long count, char *word)
{
    char **words = (char **)map_memory((count + 3) * 8, MAP_PRIVATE);
    long i;

    words[0] = "family", words[1] = (char *)argument;
    for (i = 0; i < count; i++)
        words[2 + i] = word;
    return words;
}

static void say_counts(int argc, char **argv)
{
    u64 bytes = 0;
    int i;

    for (i = 2; i < argc; i++)
        bytes += length(argv[i]);
    say("%d arguments, of %lu bytes, and a null: %d\n", argc - 2, bytes, !argv[argc]);
}

static char long_word[(128 << 10) + 1];

// So many that they take the greater part of what there is, and more; one
// that is as long as one may be, and longer.

static void count_many(void)
{
    char **words = many_words("count", 120000, "x");

    say("counted: %ld\n", execve(self, words, words + 120002));
}

static void count_too_many(void)
{
    char **words = many_words("count", 300000, "x");

    say("too many: %ld\n", execve(self, words, words + 300002));
}

static void count_long(void)
{
    char **words = many_words("count", 3, long_word);

    memset(long_word, 'y', sizeof long_word - 2);
    execve(self, words, words + 5);
    exit(1);
}

static void count_too_long(void)
{
    char **words = many_words("count", 1, long_word);

    memset(long_word, 'y', sizeof long_word - 1);
    say("too long: %ld\n", execve(self, words, words + 3));
}

static void ask_arguments(void)
{
    const u64 stack[2] = {8 << 20, 8 << 20};

    syscall3(SYS_SETRLIMIT, RLIMIT_STACK, (long)stack, 0);
    asked(count_many), asked(count_too_many), asked(count_long), asked(count_too_long);
}

// A file cannot be executed and written to at the same time.

static void run_busy(void)
{
    char *words[] = {"busy", "wait", NULL};

    execve("busy", words, words + 2);
    exit(1);
}

static void copy_self(int to)
{
    static char block[65536];
    long fd = open(self, O_RDONLY, 0), size;

    while ((size = read((int)fd, block, sizeof block)) > 0)
        write_all(to, block, (u64)size);
    close((int)fd);
}

static long try_open(const char *name, int flags)
{
    long fd = open(name, flags, 0);

    if (fd >= 0)
        close((int)fd);
    return fd < 0 ? fd : 0;
}

// In both orders.

static void ask_busy(void)
{
    char *words[] = {"busy", "wait", NULL};
    long fd = open("busy", O_CREAT | O_WRONLY, 0755), pid;

    copy_self((int)fd);
    say("executing what is being written: %ld\n", execve("busy", words, words + 2));
    close((int)fd);
    pid = child_of(run_busy);
    say("what is executed: to read %ld, to write %ld, to empty %ld\n", try_open("busy", O_RDONLY),
        try_open("busy", O_WRONLY), try_open("busy", O_RDONLY | O_TRUNC));
    finish(pid);
    say("afterwards: %ld", try_open("busy", O_WRONLY));
    say(", removed: %ld\n", unlink("busy"));
}

// ## Limits {#family-limits}

static long set_limit(int which, u64 now, u64 most)
{
    const u64 limit[2] = {now, most};

    return syscall3(SYS_SETRLIMIT, which, (long)limit, 0);
}

static void say_limit(int which)
{
    u64 limit[2] = {1, 2};

    say("limit %d: %ld", which, syscall3(SYS_GETRLIMIT, which, (long)limit, 0));
    say(", %lu %lu\n", limit[0], limit[1]);
}

static void use_descriptors(void)
{
    long fd, last = -1;

    say("as many descriptors: %ld", set_limit(RLIMIT_NOFILE, 20, 30));
    say("; copied to 20: %ld, to 19: %ld", fcntl(0, F_DUPFD, 20), fcntl(0, F_DUPFD, 19));
    say(", to exactly 20: %ld, far beyond: %ld", dup2(0, 20), fcntl(0, F_DUPFD, 1 << 20));
    while ((fd = open("/dev/null", O_RDONLY, 0)) >= 0)
        last = fd;
    say(", the last: %ld, then %ld\n", last, fd);
}

// Less memory than it has now nobody can be given; but no more.

static void use_memory(void)
{
    u64 end = (u64)syscall3(SYS_BRK, 0, 0, 0);

    say("so much memory: %ld", set_limit(RLIMIT_AS, 64 << 20, 64 << 20));
    say("; more: %ld", map_memory(128 << 20, MAP_PRIVATE));
    say(", less: %d", map_memory(1 << 20, MAP_PRIVATE) > 0);
    say(", a long heap: %d\n", (u64)syscall3(SYS_BRK, (long)end + (128 << 20), 0, 0) == end);
}

// How deep is the stack of the next program?

static void use_stack(void)
{
    char *words[] = {"family", "deep", "500000", NULL};

    set_limit(RLIMIT_STACK, 1 << 20, 8 << 20);
    execve(self, words, words + 3);
    exit(1);
}

static void use_more_stack(void)
{
    char *words[] = {"family", "deep", "2000000", NULL};

    set_limit(RLIMIT_STACK, 1 << 20, 8 << 20);
    execve(self, words, words + 3);
    exit(1);
}

// Going down page by page, as one must.

static int go_deep(u64 bytes)
{
    volatile char here;
    volatile char *at = &here;

    for (; bytes > 4096; bytes -= 4096)
        *(at -= 4096) = 1;
    return 0;
}

static void ask_limits(void)
{
    const u64 limit[2] = {5, 6};
    u64 old[2] = {0};
    long pid = child_of(sleep_long);
    int half, twice;

    say("of what is none: %ld, more than most: %ld, to nowhere: %ld, from nowhere: %ld\n",
        syscall3(SYS_GETRLIMIT, 16, (long)old, 0), set_limit(0, 6, 5),
        syscall3(SYS_GETRLIMIT, 0, 8, 0),
        syscall3(SYS_SETRLIMIT, 0, 8, 0));
    say("nobody's: %ld, more descriptors than can be: %ld",
        syscall6(SYS_PRLIMIT64, 999999, 0, 0, 0, 0, 0),
        set_limit(RLIMIT_NOFILE, 5, 1UL << 40));
    say(", a child's: %ld", syscall6(SYS_PRLIMIT64, pid, 10, (long)limit, 0, 0, 0));
    say(", is it that: %ld", syscall6(SYS_PRLIMIT64, pid, 10, 0, (long)old, 0, 0));
    say(" %lu %lu\n", old[0], old[1]);
    finish(pid);
    set_limit(10, 4096, 8192);
    say_limit(10);
    asked(use_descriptors), asked(use_memory);
    half = asked(use_stack), twice = asked(use_more_stack);
    say("half a stack: %x, two stacks: %x\n", half, twice);
}

// ## Clones {#family-clones}

static volatile int *child_number;

// Where the number of a new process is stored, and how its end is told.

static void ask_clones(void)
{
    int number = 0, status;
    u64 base = 0;
    long pid, mine = getpid();

    child_number = (int *)map_memory(4096, MAP_PRIVATE);
    sink_flush(&out);
    pid = syscall6(SYS_CLONE, CLONE_CHILD_SETTID | CLONE_PARENT_SETTID | CLONE_SETTLS | SIGCHLD,
                   0, (long)&number, (long)child_number, 0x1234000, 0);
    if (!pid) {
        syscall3(SYS_ARCH_PRCTL, ARCH_GET_FS, (long)&base, 0);
        exit(*child_number == getpid() && base == 0x1234000);
    }
    wait4(pid, &status, 0);
    say("a clone's number, told to it: %x, to us: %d, here: %d", status, number == pid,
        *child_number);
    say(", ours, as it is set: %d\n", syscall3(SYS_SET_TID_ADDRESS, (long)&number, 0, 0) == mine);
    pid = syscall6(SYS_CLONE, 0, 0, 0, 0, 0, 0);
    if (!pid)
        exit(5);
    say("a silent one, not waited for: %ld", wait4(pid, NULL, 0));
    say(", as a clone: %d", wait4(pid, &status, (int)0x80000000) == pid);
    say(", status %x\n", status);
    ran = 0;
    handle(SIGUSR1, remember, 0, 0);
    pid = syscall6(SYS_CLONE, SIGUSR1, 0, 0, 0, 0, 0);
    if (!pid)
        exit(6);
    while (wait4(pid, &status, 0x40000000) == -EINTR)
        ;
    say("another signal tells of its end: %d, code %d, value %lu\n", ran, why.code, why.value);
}

// ## The terminal {#family-terminal}
//
// A terminal belongs to one session. (Without one to ask, these questions
// have no answers worth comparing.)


static long choose_group(long group)
{
    int number = (int)group;

    return ioctl(0, TIOCSPGRP, &number);
}

static void without_a_terminal(void)
{
    int number = 0;

    setsid();
    say("another session asks for the group: %ld, chooses one: %ld", ioctl(0, TIOCGPGRP, &number),
        choose_group(getpid()));
    say(", for the session: %ld, takes it: %ld\n", ioctl(0, TIOCGSID, &number),
        ioctl(0, TIOCSCTTY, NULL));
}

static void ask_terminal(void)
{
    long a = child_of(sleep_long), other = child_of(sit_in_a_session);
    int number = 0, session = 0;

    handle(SIGTTOU, (void *)SIG_IGN, 0, 0);        /* who is in the background may choose, too */
    ioctl(0, TIOCGSID, &session);
    say("the terminal's group: %ld", ioctl(0, TIOCGPGRP, &number));
    say(" is ours: %d, its session: %d\n", number == getpgid(0), session == getsid(0));
    setpgid(a, a);
    say("to a child's group: %ld", choose_group(a));
    say(", is it that: %d", ioctl(0, TIOCGPGRP, &number) == 0 && number == a);
    say(", back: %ld\n", choose_group(getpgid(0)));
    say("a group that is not there: %ld, in another session: %ld", choose_group(999999),
        choose_group(other));
    say(", negative: %ld, from nowhere: %ld\n", choose_group(-5), ioctl(0, TIOCSPGRP, NULL));
    finish(a), finish(other);
    asked(without_a_terminal);
}

// ## All of it {#family-all}
//
// At a terminal only what takes one.

int be_another(int argc, char **argv)
{
    if (equal(argv[1], "after"))
        say_inheritance();
    else if (equal(argv[1], "count"))
        say_counts(argc, argv);
    else if (equal(argv[1], "alarm"))
        say_alarm();
    else if (equal(argv[1], "deep"))
        return go_deep((u64)number_from(argv[2], 1 << 30));
    else
        sleep_long();
    return 0;
}

// (Rustica cannot yet say where a program's file is.)

static void find_self(void)
{
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        memcpy(self, "/bin/family", 12);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return done(be_another(argc, argv));
    find_self();
    if (is_terminal(0)) {
        ask_terminal();
        return done(0);
    }
    ask_groups();
    ask_wait();
    ask_waitid();
    ask_usage();
    ask_suspend();
    ask_queue();
    ask_reasons();
    ask_kill();
    ask_alarms();
    ask_faults();
    ask_contexts();
    ask_forged();
    ask_red_zone();
    ask_selectors();
    ask_stack();
    ask_clones();
    asked(leave_much_behind);
    ask_arguments();
    ask_busy();
    ask_limits();
    return done(0);
}
