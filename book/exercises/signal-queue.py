import re

from check import need

PROGRAM = r"""
#include "judged.h"

static volatile u64 came[65], values[65];

static void handler(int signal, const struct signal_info *info)
{
    came[signal]++;
    values[signal] = values[signal] * 10 + info->value;
}

static void block(int how, u64 set)
{
    syscall6(SYS_RT_SIGPROCMASK, how, (long)&set, 0, sizeof set, 0, 0);
}

static void let_through(void)
{
    block(SIG_UNBLOCK, ~0UL);
    block(SIG_BLOCK, ~0UL);
}

/* Sends a signal with a value from 1 to `times`, in this order. */
static void queue(int signal, u64 times)
{
    struct signal_info info = {.code = -1};

    came[signal] = values[signal] = 0;
    for (info.value = 1; info.value <= times; info.value++)
        syscall3(SYS_RT_SIGQUEUEINFO, getpid(), signal, (long)&info);
}

int main(void)
{
    static const int others[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 17, 18, 23, 28, 31};
    int signal, i;

    for (signal = 1; signal < 65; signal++)
        signal_action(signal, (vaddr)handler, SA_SIGINFO, ~0UL);
    block(SIG_BLOCK, ~0UL);
    queue(SIGUSR1, 3);
    queue(40, 3);
    queue(64, 2);
    let_through();
    if (came[SIGUSR1] != 3)
        wrong("SIGUSR1, sent three times, should come three times", (long)came[SIGUSR1]);
    if (values[SIGUSR1] != 123)
        wrong("SIGUSR1 was sent with the values 1, 2 and 3; it came with others, or in another "
              "order", (long)values[SIGUSR1]);
    if (values[40] != 123 || values[64] != 12)
        wrong("signal 40 or 64 does not come as before", (long)values[40]);
    let_through();
    if (came[SIGUSR1] != 3)
        wrong("SIGUSR1 comes again, though it was not sent again", (long)came[SIGUSR1]);
    for (i = 0; i < (int)(sizeof others / sizeof *others); i++) {
        queue(others[i], 3);
        let_through();
        if (came[others[i]] != 1)
            wrong("nothing else should change, but this signal, sent three times, does not come "
                  "once", others[i]);
    }
    queue(SIGUSR1, 3);
    signal_set(SIGUSR1, SIG_IGN);
    signal_action(SIGUSR1, (vaddr)handler, SA_SIGINFO, ~0UL);
    let_through();
    if (came[SIGUSR1])
        wrong("SIGUSR1 was sent, and then ignored, and comes all the same", (long)came[SIGUSR1]);
    for (i = 0; i < 200; i++)
        kill(getpid(), SIGUSR1);
    let_through();
    if (!came[SIGUSR1])
        wrong("SIGUSR1, sent 200 times, does not come at all", 0);
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    text = tree.boots(12)
    said = re.search(r"SIGUSR1 came (\d+) time", text)
    need(said and said[1] == "3", "`make run CH=12` does not say that SIGUSR1 came 3 times, but " +
         (f"{said[1]}" if said else "nothing of it"))
    need("and signal 40 came 3 times, with 123" in text,
         f"signal 40 does not come as before:\n{text}")
    tree.judge(12, "hello", PROGRAM, OPT="audit")
    said = tree.answer("signal-queue.structure", "the structure of which there were three for "
                       "signal 40, and one for SIGUSR1 before you changed anything")
    need(re.sub(r"^struct ", "", said) == "signal_note", f"signal-queue.structure is not `{said}`: "
         "a bit cannot be set three times. What stands in a list, and holds the reason?")
