import re

from check import need


def check(tree):
    tree.ask("proc-count.stack", "how many frames are for the child's kernel stack", "4",
             "see stack_alloc()")
    tree.ask("proc-count.pages", "how many are for what the program has in its memory", "0",
             "what does vmo_clone() do?")
    tree.ask("proc-count.tables", "how many are for page tables, a spare one included", "1",
             "tables are filled by faults; which one must be there before the first of them?")


# Counts by the letters of the owners, around each fork.
COUNT = r"""
u64 check_owned(char owner)
{
    u64 i, count = 0;

    for (i = 0; i < pmm.count; i++)
        count += pmm.frame[i].owner == owner && pmm.frame[i].state == FRAME_USED;
    return count;
}

s64 sys_fork(struct trap_frame *f)
{
    u64 stack = check_owned('S'), pages = check_owned('V');
    u64 tables = check_owned('T') - as.spare.spaces - as.spare.tables;
    s64 pid = proc_fork(f, 0);

    printf("fork: %lu %lu %lu\n", check_owned('S') - stack, check_owned('V') - pages,
           check_owned('T') - as.spare.spaces - as.spare.tables - tables);
    return pid;
}
"""


def proof(tree):
    text = tree.read("rustica.c")
    fork = re.search(r"^s64 sys_fork\(.*?^}\n", text, re.M | re.S)[0]
    counting = tree.variant("count", {"rustica.c": text.replace(fork, COUNT)})
    said = counting.boots(14, typed="hello\n")
    rows = set(re.findall(r"^fork: (.*)$", said, re.M))
    need(rows == {"4 0 1"}, f"forks take {rows}")
