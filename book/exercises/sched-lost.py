import re

from check import need

SECONDS = 10            # for what takes one

# The chapter starts one program after the other and waits for each; so do we, more often.
KERNEL = """
void check_main(void)
{
    struct process *p[3];
    u64 i, round;

    ch09_init();
    for (round = 0; round < 20; round++) {
        for (i = 0; i < 3; i++)
            p[i] = sched_start(_binary_nap_start, _binary_nap_end, "nap",
                               i < round % 4 ? "5" : "0");
        for (i = 0; i < 3; i++)
            process_wait(p[(i + round) % 3]);
    }
    printf("check: all have ended\\n");
}
"""


def check(tree):
    wait = re.search(r"^int process_wait\(.*?^}", tree.read("rustica.c"), re.M | re.S)
    need(wait and "sched_yield()" in wait[0] and "sched.ready" in wait[0],
         "process_wait() does not call sched_yield() while there is somebody in sched.ready")
    tree.ask("sched-lost.woken", "how many threads process_end() woke, when hello ended and the "
             "chapter stood still", "0", "who slept in the queue that it rang at, at that moment?")
    text = tree.prefix(9) + KERNEL
    said = tree.variant("lost", {"rustica.c": text}).boots(9, chNN="check", seconds=SECONDS)
    need("check: all have ended" in said, "who waits for several programs does not come back:\n" +
         said)
    tree.boots(9, seconds=SECONDS)
