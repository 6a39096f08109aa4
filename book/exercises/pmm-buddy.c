/* chapters 1 to 3 */
/* flags: -fsanitize-coverage=trace-pc */

/* The arguments are the request that a buddy system refuses although the bitmap would not. */

#include "check.h"

static u64 steps;

void __attribute__((no_sanitize_coverage)) __sanitizer_cov_trace_pc(void)
{
    steps++;
}

static void start(u64 size)
{
    host_machine(size);
    strcpy(host.info.options, "pmm=buddy");
    boot_split_options();
    pmm_choose(&pmm);
    need(strcmp(pmm.method->name, "buddy") == 0, "with OPT=pmm=buddy, the method in use is called "
         "\"%s\"; so pmm_methods has none by the name \"buddy\", or pmm_choose() does not know it",
         pmm.method->name);
}

/* Would the bitmap find it, in the present state? */
static bool bitmap_grants(enum zone zone, u64 count, u64 align)
{
    return pmm_methods[2].find(&pmm, zone, count, align) != PMM_NONE;
}

static void agree(u64 seed)
{
    static struct { paddr at; u64 count; enum zone zone; } run[20000];
    u64 runs = 0, round, count, i, refused = 0;
    enum zone zone;
    bool wanted;
    paddr got;

    for (round = 0; round < 40000; round++) {
        zone = host_below(&seed, ZONE_COUNT);
        count = 1UL << host_below(&seed, 7);
        if (runs < 20000 && host_below(&seed, 100) < 55) {
            wanted = bitmap_grants(zone, count, count);
            got = pmm_alloc_run(&pmm, zone, 'T', count, count);
            need(!got == !wanted, "%lu frames, aligned to as many, in the zone %s: the bitmap %s "
                 "them, the buddy system %s (after %lu random steps)", count, zone_names[zone],
                 wanted ? "grants" : "refuses", got ? "grants" : "refuses", round);
            need((got >> FRAME_SHIFT) % count == 0, "%lu frames at 0x%lx are not aligned", count,
                 got);
            refused += !got;
            if (got)
                run[runs].at = got, run[runs].count = count, run[runs++].zone = zone;
        } else if (runs) {
            i = host_below(&seed, runs);
            pmm_free_run(&pmm, run[i].zone, run[i].at, run[i].count);
            run[i] = run[--runs];
        }
        if (round % 1000 == 0)
            pmm_audit(&pmm);
    }
    need(refused > 100, "in the whole trial only %lu requests were refused", refused);
    while (runs--)
        pmm_free_run(&pmm, run[runs].zone, run[runs].at, run[runs].count);
    pmm_audit(&pmm);
}

/* All frames are taken; then so many are freed, from an odd one on. */
static void differs(u64 count, u64 align)
{
    static paddr taken[65536];
    u64 many = 0, first, i;

    while ((taken[many] = pmm_alloc(&pmm, ZONE_USER, 'T')))
        many++;
    need(pmm.free[ZONE_USER] == 0, "%lu frames of the zone USER are free, and not one is to be "
         "had", pmm.free[ZONE_USER]);
    first = pmm.boundary + 65;
    for (i = first; i < first + count; i++)
        pmm_free(&pmm, ZONE_USER, i << FRAME_SHIFT);
    need(bitmap_grants(ZONE_USER, count, align), "the bitmap refuses %lu frames with the alignment "
         "%lu, too, if just so many are free in a row", count, align);
    need(!pmm_alloc_run(&pmm, ZONE_USER, 'T', count, align), "just %lu frames are free, from "
         "number %lu on, and the buddy system grants them", count, first);
}

static void quick(void)
{
    paddr at[3] = {pmm_alloc_run(&pmm, ZONE_USER, 'T', 8, 8), 0, 0}, last = 0;

    while ((at[1] = pmm_alloc_run(&pmm, ZONE_USER, 'T', 8, 8)))
        last = at[1];
    pmm_free_run(&pmm, ZONE_USER, last, 8);
    steps = 0;
    at[2] = pmm_find(&pmm, ZONE_USER, 8, 8);
    need(at[2] == last >> FRAME_SHIFT && steps < 1000, "the only eight free frames among %lu are "
         "found in %lu steps; a buddy system looks at one list for each size", pmm.count, steps);
}

int main(int count, char **request)
{
    start(48 * MIB);
    agree(1);
    agree(2);
    differs((u64)atol(request[1]), (u64)atol(request[2]));
    start(256 * MIB);
    quick();
}
