import re

from check import STEADY, need

# Twice three spinners, with other tickets each time.
KERNEL = """
void check_round(u64 one, u64 two, u64 three)
{
    u64 tickets[3] = {one, two, three}, i;
    struct process *p[3];

    for (i = 0; i < 3; i++) {
        p[i] = sched_start(_binary_spin_start, _binary_spin_end, "spin", "900");
        p[i]->tickets = tickets[i];
    }
    for (i = 0; i < 3; i++) {
        while (p[i]->threads)
            sched_sleep(&p[i]->waiters, 0);
        printf("check: %lu tickets %lu microseconds\\n", tickets[i], p[i]->cpu_time / 1000);
        process_wait(p[i]);
    }
}

void check_main(void)
{
    ch09_init();
    process_wait(sched_start(_binary_hello_start, _binary_hello_end, "hello", NULL));
    check_round(1, 2, 3);
    check_round(3, 1, 1);
    sched_show_naps();
    printf("check: done\\n");
}
"""


def check(tree):
    text = tree.prefix(9)
    need(re.search(r"^ +(u32|u64|int) tickets;", text, re.M),
         "struct process has no field `tickets`, a number")
    said = tree.variant("lottery", {"rustica.c": text + KERNEL}).boots(9, chNN="check", **STEADY)
    need("check: done" in said and "nap: 600 ms later" in said,
         f"the three who take a nap do not wake up any more:\n{said}")
    rows = [(int(tickets), int(time)) for tickets, time in
            re.findall(r"^check: (\d+) tickets (\d+) micro", said, re.M)]
    for three in rows[:3], rows[3:]:
        tickets, times = sum(row[0] for row in three), sum(row[1] for row in three)
        for one, time in three:
            share, wanted = time / times, one / tickets
            need(abs(share - wanted) < wanted / 10, f"with {one} of {tickets} tickets a program "
                 f"got {share:.0%} of the time instead of {wanted:.0%}: {three}")
