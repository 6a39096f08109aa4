/* chapters 1 to 5 */
/* flags: -fsanitize-coverage=trace-pc */

#include "check.h"

static u64 steps;

void __attribute__((no_sanitize_coverage)) __sanitizer_cov_trace_pc(void)
{
    steps++;
}

/* An object of which this many pages were written, and perhaps cloned before. */
static struct vmo *written(u64 pages, u64 clones, struct vmo **clone)
{
    struct vmo *v;
    u64 i;

    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    v = vmo_create(pages * FRAME_SIZE);
    for (i = 0; i < pages; i++)
        vmo_write(v, i << FRAME_SHIFT, &i, sizeof i);
    for (i = 0; i < clones; i++)
        need((clone[i] = vmo_clone(v, 0, v->size)), "vmo_clone() returns NULL");
    return v;
}

static u64 cost(u64 pages, u64 clones)
{
    struct vmo *clone[10], *v = written(pages, clones, clone), *last;
    u64 used = pmm.states[FRAME_USED], before = steps, taken, i, got;

    last = vmo_clone(v, 0, v->size);
    taken = steps - before;
    need(last, "vmo_clone() returns NULL");
    need(pmm.states[FRAME_USED] <= used + HEAP_REGION / FRAME_SIZE,
         "a clone of %lu pages takes %lu frames", pages, pmm.states[FRAME_USED] - used);
    for (i = 0; i < pages; i++) {
        vmo_read(last, i << FRAME_SHIFT, &got, sizeof got);
        need(got == i, "page %lu of a clone begins with %lu instead of %lu", i, got, i);
    }
    need(last->committed == pages, "a clone of %lu pages says that it has %lu", pages,
         last->committed);
    vmo_put(last);
    for (i = 0; i < clones; i++)
        vmo_put(clone[i]);
    vmo_put(v);
    heap_trim(&heap);
    pmm_audit(&pmm);
    need(!heap.frames, "when all are gone, the heap still holds %lu blocks", heap.blocks);
    return taken;
}

int main(void)
{
    static const u64 pages[] = {1, 2, 60, 1000, 3000};
    u64 i, one = cost(1, 0), taken;

    for (i = 0; i < array_count(pages); i++) {
        taken = cost(pages[i], 0);
        need(taken <= one + 200 && one <= taken + 200, "a clone of one page takes %lu steps, and a "
             "clone of %lu pages %lu", one, pages[i], taken);
        taken = cost(pages[i], 10);
        need(taken <= one + 200 && one <= taken + 200, "a clone of one page takes %lu steps, and a "
             "clone of %lu pages that was cloned ten times before takes %lu", one, pages[i],
             taken);
    }
}
