/* chapters 1 to 5 */

#include "check.h"

#define PAGES 70

/* What the model says of page n of each: its contents, a number, 0 for none. */
static struct vmo *v[2];
static u64 model[2][PAGES];
static paddr old_frame[2][PAGES];
static u8 revoked[2][PAGES];      /* 1: for writing, 2: for good */

static void note(struct vmo *of, u64 from, u64 to, bool only_writing)
{
    u64 page;

    for (page = from; page < to && page < PAGES; page++)
        revoked[of == v[1]][page] |= only_writing ? 1 : 2;
}

static void set(u64 who, u64 page, u64 value)
{
    u64 data[FRAME_SIZE / 8] = {0};

    data[0] = data[FRAME_SIZE / 8 - 1] = value;
    need(vmo_write(v[who], page << FRAME_SHIFT, data, sizeof data) == 0, "vmo_write() fails");
    model[who][page] = value;
}

static void compare(const char *when)
{
    u64 who, page, data[FRAME_SIZE / 8];

    for (who = 0; who < 2; who++)
        for (page = 0; page < PAGES; page++) {
            vmo_read(v[who], page << FRAME_SHIFT, data, sizeof data);
            need(data[0] == model[who][page] && data[FRAME_SIZE / 8 - 1] == model[who][page],
                 "%s, page %lu of the %s VMO has %lu instead of %lu", when, page,
                 who ? "second" : "first", data[0], model[who][page]);
        }
    pmm_audit(&pmm);
}

/* Whoever has mapped a page would write to it without asking. */
static void mappings_know(void)
{
    u64 who, page;
    paddr frame;

    for (who = 0; who < 2; who++)
        for (page = 0; page < PAGES; page++) {
            frame = vmo_frame(v[who], page);
            need(!old_frame[who][page] || frame == old_frame[who][page] || revoked[who][page] & 2,
                 "page %lu of the %s VMO has another frame now, but mappings of the old one were "
                 "not revoked", page, who ? "second" : "first");
            need(!frame || pmm_references(&pmm, frame) == 1 || revoked[who][page],
                 "page %lu of the %s VMO is shared now, but who has it mapped may still write to "
                 "it: nobody called vmo.revoke", page, who ? "second" : "first");
        }
}

static void start(u64 seed)
{
    u64 who, page, n;

    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    vmo.revoke = vmo_revoke_nothing;
    memset(model, 0, sizeof model);
    memset(revoked, 0, sizeof revoked);
    for (who = 0; who < 2; who++) {
        v[who] = vmo_create(PAGES * FRAME_SIZE);
        for (n = 0; n < 30; n++)    /* the same numbers, each once, at other places */
            for (page = host_below(&seed, PAGES);;)
                if (!model[who][page = (page + 1) % PAGES]) {
                    set(who, page, 1 + n + (n % 3 ? 0 : 1000 * (1 + who)));
                    break;
                }
        for (page = 0; page < PAGES; page++)
            old_frame[who][page] = vmo_frame(v[who], page);
    }
    vmo.revoke = note;
}

int main(void)
{
    u64 seed, before, i;

    for (seed = 1; seed < 20; seed++) {
        start(seed);
        before = pmm.states[FRAME_USED];
        vmo_merge_same(v[0], v[1]);
        compare("after vmo_merge_same()");
        need(before - pmm.states[FRAME_USED] == 20, "of two VMOs with 30 pages each, 20 are the "
             "same; so 20 frames should become free, not %ld",
             (s64)(before - pmm.states[FRAME_USED]));
        mappings_know();
        for (i = 0; i < 200; i++) {
            set(host_below(&seed, 2), host_below(&seed, PAGES), 5000 + i);
            compare("after a later write");
        }
        vmo_put(v[0]);
        vmo_put(v[1]);
        heap_trim(&heap);
        pmm_audit(&pmm);
        need(pmm.states[FRAME_USED] == 17, "when both VMOs are gone, %ld frames are lost",
             (s64)(pmm.states[FRAME_USED] - 17));
    }
}
