import re

from check import STEADY, need

MANY = 1000

# Chapter 13 with somebody who counts, each time a process ends, when there are most zombies.
KERNEL = """
struct check_state {
    u64 most, asked, blocks, bytes, frames, bytes_before, frames_before;
} check;

int check_end(void *program)
{
    u64 zombies = 0, asked = 0, blocks = 0;
    struct process *p;

    (void)program;
    for (p = process_first(); p; p = process_next(p)) {
        if (p->threads)
            continue;
        zombies++;
        asked += ((struct block *)p - 1)->asked;
        blocks += ((struct block *)p - 1)->size;
    }
    if (zombies > check.most)
        check = (struct check_state){
            zombies, asked, blocks, heap.bytes - check.bytes_before,
            heap.frames - check.frames_before, check.bytes_before, check.frames_before};
    return 0;
}

void check_main(void)
{
    static const char *const copies[] = {"/bin/copies", NULL};
    struct hook ends = {check_end, NULL};
    int status;

    ch13_init();
    heap_trim(&heap);
    check.bytes_before = heap.bytes;
    check.frames_before = heap.frames;
    hook_add_last(&user.ends, &ends);
    status = con_show(copies);
    printf("check: %d %lu %lu %lu %lu %lu %lu\\n", status, process_type.live, check.most,
           check.asked, check.blocks, check.bytes, check.frames);
}
"""


def check(tree):
    said = tree.variant("zombie", {"rustica.c": tree.prefix(13) + KERNEL}).boots(
        13, chNN="check", **STEADY)
    found = re.search(r"^check: (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", said, re.M)
    need(found, f"copies does not come to its end:\n{said[-1000:]}")
    status, left, zombies, asked, blocks, size, frames = map(int, found.groups())
    need(zombies >= MANY - 1, f"the most zombies at the same time are {zombies + 1}; there should "
         f"be {MANY}, children that have ended and were not waited for")
    need(status == 0 and left == 0, f"copies ends with status {status}, and {left} processes are "
         "left; it should wait for all its children in the end")
    # A block may be counted with what the heap puts around it, and frames that are half empty.
    claim(tree, "bytes", "how many bytes of the heap one zombie takes",
          asked / zombies, max(blocks, size) / zombies,
          "what has process_end() given back, and what does process_destroy() free?")
    claim(tree, "frames", f"how many frames {MANY} of them take, all of which are the heap's",
          blocks * MANY / zombies / 4096, max(blocks / 4096, frames) * MANY / zombies,
          "what does a block of the heap take beside what was asked for?")


def claim(tree, name, wanted, least, most, hint):
    claimed = tree.number(f"proc-zombie.{name}", wanted)
    need(least * 0.9 <= claimed <= most * 1.1,
         f"proc-zombie.{name} is not {claimed}, to within a tenth: {hint}")
