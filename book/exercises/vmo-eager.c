/* chapters 1 to 5 */

#include "check.h"

#define PAGES 100

static u64 frames_used(void)
{
    return pmm.states[FRAME_USED] - heap.frames;
}

static void expect(struct vmo *v, u64 page, u64 value, const char *what)
{
    u64 got;

    vmo_read(v, page << FRAME_SHIFT, &got, sizeof got);
    need(got == value, "page %lu of %s should begin with %lu, not with %lu", page, what, value,
         got);
}

int main(void)
{
    struct vmo *v, *clone;
    u64 before, page, value;

    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    v = vmo_create(PAGES * FRAME_SIZE);
    for (page = 0; page < PAGES; page += 3)
        vmo_write(v, page << FRAME_SHIFT, &page, sizeof page);
    before = frames_used();
    clone = vmo_clone(v, 3 * FRAME_SIZE, 90 * FRAME_SIZE);
    need(clone, "vmo_clone() returns NULL although there is memory");
    need(frames_used() - before == 30, "a clone of 90 pages, of which 30 have frames, should take "
         "30 frames at once, not %ld", (s64)(frames_used() - before));
    for (page = 3; page < 93; page++) {
        value = page % 3 ? 0 : page;
        expect(clone, page - 3, value, "the clone");
        value = 1000 + page;
        vmo_write(clone, (page - 3) << FRAME_SHIFT, &value, sizeof value);
        expect(v, page, page % 3 ? 0 : page, "the original, after a write to the clone,");
    }
    pmm_audit(&pmm);
    vmo_put(clone);
    need(frames_used() == before, "%ld frames are lost with the clone",
         (s64)(frames_used() - before));
    pmm.fail_in = 10;
    need(!vmo_clone(v, 0, PAGES * FRAME_SIZE), "the tenth frame is refused: vmo_clone() should "
         "return NULL");
    need(frames_used() == before, "a clone that fails loses %ld frames",
         (s64)(frames_used() - before));
}
