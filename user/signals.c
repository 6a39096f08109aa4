// ## signals {#user-signals}
//
// Has itself tapped on the shoulder in five ways, which [Chapter
// 12](#ch-signal) explains, and dies of the last one. It says the same on
// Linux.

#include "libc.h"

#define TICKS 3

static volatile int ticks, usr1, queued;
static volatile u64 values;
static vaddr fault;

// A handler may interrupt `main()` anywhere, so what the two share is
// `volatile`, and the handler prints nothing: `say()` may be half-way
// through its buffer.

void on_tick(int signal)
{
    (void)signal;
    ticks++;
}

void on_usr1(int signal)
{
    (void)signal;
    usr1++;
}

void on_queued(int signal, const struct signal_info *info)
{
    (void)signal;
    queued++;
    values = values * 10 + info->value;
}

// The page that was missing is mapped where it was missed. The instruction
// is then tried again, and does not know that it has failed before.

void on_fault(int signal, const struct signal_info *info)
{
    (void)signal;
    fault = info->address;
    syscall6(SYS_MMAP, (long)(fault & ~0xfffUL), 0x1000, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

// What is not an instruction cannot be mended, only skipped: `ud2` has two
// bytes.

void on_illegal(int signal, const struct signal_info *info, struct signal_context *context)
{
    (void)signal, (void)info;
    context->rip += 2;
}

static long block(int how, u64 set)
{
    return syscall6(SYS_RT_SIGPROCMASK, how, (long)&set, 0, sizeof set, 0, 0);
}

static u64 bit(int signal)
{
    return 1UL << (signal - 1);
}

// Three ticks of an alarm, slept through. The signal is blocked, but while
// we sleep, so none can come between the look and the sleep.

void show_ticks(void)
{
    struct alarm_times times = {{0, 50000}, {0, 50000}}, none = {{0, 0}, {0, 0}};
    u64 nothing = 0;

    signal_set(SIGALRM, (vaddr)on_tick);
    block(SIG_BLOCK, bit(SIGALRM));
    syscall3(SYS_SETITIMER, 0, (long)&times, 0);
    while (ticks < TICKS)
        syscall3(SYS_RT_SIGSUSPEND, (long)&nothing, sizeof nothing, 0);
    syscall3(SYS_SETITIMER, 0, (long)&none, 0);
    say("signals: %d ticks of an alarm\n", ticks);
}

// Two signals, each sent three times while both are blocked. The second
// brings a number along.

void show_queue(void)
{
    struct signal_info info = {.code = -1};
    u64 i;

    signal_set(SIGUSR1, (vaddr)on_usr1);
    signal_action(40, (vaddr)on_queued, SA_SIGINFO, 0);
    block(SIG_BLOCK, bit(SIGUSR1) | bit(40));
    for (i = 1; i <= 3; i++) {
        kill(getpid(), SIGUSR1);
        info.value = i;
        syscall3(SYS_RT_SIGQUEUEINFO, getpid(), 40, (long)&info);
    }
    block(SIG_UNBLOCK, bit(SIGUSR1) | bit(40));
    say("signals: of three sent while blocked, SIGUSR1 came %d time%s\n", usr1,
        usr1 == 1 ? "" : "s");
    say("signals: and signal 40 came %d times, with %lu\n", queued, values);
}

// Two faults, which are signals as well.

void show_faults(void)
{
    volatile u64 *nowhere = (volatile u64 *)0x10000000;

    signal_action(SIGSEGV, (vaddr)on_fault, SA_SIGINFO, 0);
    *nowhere = 42;
    say("signals: nothing was mapped at 0x%lx, and now %lu is there\n", fault, *nowhere);
    signal_action(SIGILL, (vaddr)on_illegal, SA_SIGINFO, 0);
    __asm__ volatile(".byte 0x0f, 0x0b"); /* ud2 */
    say("signals: an instruction that there is not was skipped\n");
}

int main(void)
{
    show_ticks();
    show_queue();
    show_faults();
    say("signals: and now the last one\n");
    done(0);
    kill(getpid(), SIGTERM);
    return complain("signals: it did not end me");
}
