/* chapters 1 to 3 */

#include "check.h"

static struct frame frames[64];
static u64 bits[1];
static struct pmm small;

static void start_small(void)
{
    pmm_start(&small, frames, bits, 0, 64, 32);
    pmm_add_run(&small, 0, 64);
}

/* Is there a run of free frames? Looked for in the dullest way. */
static bool exists(enum zone zone, u64 count, u64 align)
{
    u64 first, i;

    for (first = pmm_first(&small, zone); first + count <= pmm_last(&small, zone); first++) {
        for (i = 0; i < count && frames[first + i].state == FRAME_FREE; i++)
            ;
        if (i == count && first % align == 0)
            return true;
    }
    return false;
}

static void goes_on(enum zone zone, u64 count)
{
    paddr one = pmm_alloc_run(&pmm, zone, 'T', count, 1), two;

    pmm_free_run(&pmm, zone, one, count);
    two = pmm_alloc_run(&pmm, zone, 'T', count, 1);
    need(two, "after freeing %lu frames, %lu are not to be had", count, count);
    need(two > one, "%lu frames were taken from the zone %s, freed and taken again: at 0x%lx, then "
         "at 0x%lx. The second search should begin where the first one ended", count,
         zone_names[zone], one, two);
}

/* Frame 0 of `small` is at address 0, which means "refused"; so it is taken first. */
static void finds_all(u64 rounds)
{
    u64 seed = 1, round, count, align, index;
    enum zone zone;
    bool there;

    start_small();
    pmm_set_state(&small, 0, FRAME_RESERVED);
    for (round = 0; round < rounds; round++) {
        zone = host_below(&seed, ZONE_COUNT);
        count = 1 + host_below(&seed, 8);
        align = 1UL << host_below(&seed, 4);
        index = host_below(&seed, 64);
        if (host_below(&seed, 5) < 3) {
            there = exists(zone, count, align);
            need(!pmm_alloc_run(&small, zone, 'T', count, align) == !there,
                 "%lu frames, aligned to %lu, are asked for in the zone %s: there %s such a run, "
                 "but they are %s (after %lu random steps)", count, align, zone_names[zone],
                 there ? "is" : "is no", there ? "refused" : "granted", round);
        } else if (frames[index].state == FRAME_USED) {
            pmm_free(&small, frames[index].zone, index << FRAME_SHIFT);
        }
        pmm_audit(&small);
    }
}

/* A method that finds nothing must not get away with it. */
static u64 find_nothing(struct pmm *p, enum zone zone, u64 count, u64 align)
{
    return PMM_NONE;
}

static void compares(void)
{
    static const struct pmm_method lazy = {.name = "lazy", .find = find_nothing};

    start_small();
    small.method = &lazy;
    small.lockstep = true;
    need(panics(pmm_alloc(&small, ZONE_USER, 'T')), "in lock step, a method which finds nothing "
         "although all frames are free is not noticed: what does your comparison compare?");
}

int main(void)
{
    host_machine(64 * MIB);
    goes_on(ZONE_KERNEL, 1);
    goes_on(ZONE_USER, 1);
    goes_on(ZONE_KERNEL, 5);
    finds_all(20000);
    compares();
}
