/* chapters 1 to 3 */
/* flags: -fsanitize-coverage=trace-pc */

#include "check.h"

static u64 steps;

void __attribute__((no_sanitize_coverage)) __sanitizer_cov_trace_pc(void)
{
    steps++;
}

static void start(const char *options)
{
    host_machine(256 * MIB);
    strcpy(host.info.options, options);
    boot_split_options();
    pmm_choose(&pmm);
    need(strcmp(pmm.method->name, "stack") == 0, "with OPT=pmm=stack, the method in use is called "
         "\"%s\"; so pmm_methods has none by the name \"stack\", or pmm_choose() does not know it",
         pmm.method->name);
}

/* Takes all of a zone, one by one. */
static paddr taken[65536];

static u64 take_all(enum zone zone)
{
    u64 count = 0;

    while ((taken[count] = pmm_alloc(&pmm, zone, 'T')))
        count++;
    return count;
}

static void finds_all(void)
{
    u64 free = pmm.free[ZONE_USER], got = take_all(ZONE_USER), i, seed = 1;

    need(got == free, "of %lu free frames it grants %lu", free, got);
    for (i = 0; i < got; i++)
        if (host_below(&seed, 3))
            pmm_free(&pmm, ZONE_USER, taken[i]);
    pmm_audit(&pmm);
    free = pmm.free[ZONE_USER];
    got = take_all(ZONE_USER);
    need(got == free, "after some were freed, of %lu free frames it grants %lu", free, got);
    pmm_audit(&pmm);
}

/* All are taken; so what is freed now lies by itself. */
static void is_a_stack(void)
{
    paddr low = taken[100], high = taken[200], got;
    u64 *word = boot_physical(high), i;
    bool linked = false;

    pmm_free(&pmm, ZONE_USER, low);
    pmm_free(&pmm, ZONE_USER, high);
    for (i = 0; i < FRAME_SIZE / 8; i++)
        linked |= word[i] == low || word[i] == (u64)boot_physical(low) ||
                  word[i] == low >> FRAME_SHIFT;
    need(linked, "frame 0x%lx was freed after 0x%lx, and nothing in it leads there: where is the "
         "list?", high, low);
    got = pmm_alloc(&pmm, ZONE_USER, 'T');
    need(got == high, "the frame that was freed last, 0x%lx, should be the first to be granted; "
         "it was 0x%lx", high, got);
    steps = 0;
    pmm_alloc(&pmm, ZONE_USER, 'T');
    need(steps < 500, "one free frame among %lu is found in %lu steps", pmm.count, steps);
    steps = 0;
    pmm_free(&pmm, ZONE_USER, low);
    need(steps < 500, "to free a frame takes %lu steps", steps);
    pmm_alloc(&pmm, ZONE_USER, 'T');
}

/* Runs are for the bitmap, and take frames out of the middle of the list. */
static void runs(void)
{
    u64 i;

    for (i = 0; i < 3; i++)
        pmm_free(&pmm, ZONE_USER, (pmm.boundary + 9000 + 2 * i) << FRAME_SHIFT);
    for (i = 0; i < 64; i++)
        pmm_free(&pmm, ZONE_USER, (pmm.boundary + 4096 + i) << FRAME_SHIFT);
    need(pmm_alloc_run(&pmm, ZONE_USER, 'T', 8, 8), "64 frames in a row are free, and 8 are not "
         "to be had");
    pmm_audit(&pmm);
    need(take_all(ZONE_USER) == 59, "after a run of 8 was taken of 67 free frames, 59 single ones "
         "should be left");
}

static void poison(bool all, u64 offset)
{
    paddr frame = pmm_alloc(&pmm, ZONE_KERNEL, 'T');

    pmm_free(&pmm, ZONE_KERNEL, frame);
    *(u64 *)((u8 *)boot_physical(frame) + offset) = 1;
    need(panics(pmm_alloc(&pmm, ZONE_KERNEL, 'T')), "a write to a free frame, at offset 0x%lx, is "
         "not noticed%s", offset, all ? " with poison=all" : "");
}

int main(void)
{
    start("pmm=stack");
    finds_all();
    is_a_stack();
    runs();
    poison(false, 0x400);
    start("pmm=stack poison=all");
    finds_all();
    poison(true, 0x408);
}
