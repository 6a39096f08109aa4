/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapter 5: memory objects against plain arrays of bytes. */

#include "host.h"

#define OBJECTS 24
#define PAGES 70             /* of the largest object: more than one node has */
#define MAX_SIZE (PAGES * FRAME_SIZE)

/* What an object should be. A slice has no bytes of its own. An object that was put but has
   slices is still there, without a handle. */
struct model {
    struct vmo *vmo;         /* NULL: this entry is free */
    bool handle;             /* we hold a reference */
    u64 size;
    struct model *parent;    /* a slice's */
    u64 offset;              /* of a slice in its parent */
    u32 slices;
    u8 *bytes;
    bool committed[PAGES];
    u8 cached[PAGES];        /* what a page table would say; the constants below */
};

enum { NOT_CACHED, CACHED_ZERO, CACHED_READ, CACHED_WRITE };

static struct model objects[OBJECTS];
static u64 cached_frame[OBJECTS][PAGES];
static u64 live, step_number, seed;
static struct { u64 used, blocks, frames; } before;

/* ---- A cache that the kernel must keep right, as chapter 7 has one ------ */

static struct model *model_of(struct vmo *v)
{
    struct model *m;

    for (m = objects; m < objects + OBJECTS; m++)
        if (m->vmo == v)
            return m;
    return NULL;
}

static void revoke(struct vmo *v, u64 from, u64 to, bool only_writing)
{
    struct model *m = model_of(v);

    for (; m && from < to && from < PAGES; from++)
        if (!only_writing)
            m->cached[from] = NOT_CACHED;
        else if (m->cached[from] == CACHED_WRITE)
            m->cached[from] = CACHED_READ;
}

static void check_cache(struct model *m)
{
    u64 page, frame;

    for (page = 0; page < PAGES; page++) {
        if (!m->cached[page])
            continue;
        frame = vmo_frame(m->vmo, page);
        expect_equal(m->cached[page] == CACHED_ZERO ? 0 : cached_frame[m - objects][page], frame,
                     "step %lu: the frame that is mapped for page %lu", step_number, page);
        expect_true(m->cached[page] != CACHED_WRITE || pmm_references(&pmm, frame) == 1,
                    "step %lu: page %lu is mapped writable and not shared", step_number, page);
    }
}

/* A program touches a page, as through a mapping. */
static void touch(struct model *m)
{
    bool writing = host_below(&seed, 2);
    u64 offset, page;
    paddr frame;

    if (!m->size)
        return;
    offset = host_below(&seed, m->size);
    page = offset >> FRAME_SHIFT;
    if (writing && m->cached[page] != CACHED_WRITE && !vmo_commit_page(m->vmo, page))
        return;
    frame = vmo_frame(m->vmo, page);
    if (!frame) {
        m->vmo->zeros_mapped = true;
        m->cached[page] = CACHED_ZERO;
        return;
    }
    cached_frame[m - objects][page] = frame;
    m->cached[page] = pmm_references(&pmm, frame) > 1 ? CACHED_READ : CACHED_WRITE;
    if (writing) {
        m->committed[page] = true;
        m->bytes[offset] = host.arena[frame + offset % FRAME_SIZE] = (u8)step_number;
    }
}

/* ---- Comparing ---------------------------------------------------------- */

static u8 *model_bytes(struct model *m)
{
    return m->parent ? m->parent->bytes + m->offset : m->bytes;
}

static void check_bytes(struct model *m)
{
    static u8 got[MAX_SIZE];
    u64 used = pmm.states[FRAME_USED], i;

    expect_equal(m->vmo->size, m->size, "step %lu: size", step_number);
    expect_equal(vmo_read(m->vmo, 0, got, m->size), 0, "step %lu: reading all", step_number);
    if (libc_memcmp(got, model_bytes(m), m->size))
        for (i = 0; i < m->size; i++)
            expect_equal(got[i], model_bytes(m)[i], "step %lu: byte 0x%lx of 0x%lx", step_number, i,
                         m->size);
    expect_equal(pmm.states[FRAME_USED], used, "step %lu: frames, after reading", step_number);
}

/* The slots of an object that is not a slice: how many frames, and that what lies behind
   the end in the last page is zero. */
static void check_slots(struct model *m, u32 *references)
{
    u64 page, count = 0, i;
    paddr frame;

    for (page = 0; page < PAGES; page++) {
        frame = vmo_frame(m->vmo, page);
        expect_equal(frame != 0, m->committed[page], "step %lu: page %lu has a frame", step_number,
                     page);
        if (!frame)
            continue;
        count++;
        references[frame >> FRAME_SHIFT]++;
        for (i = m->size; i < (page + 1) * FRAME_SIZE && i >= page * FRAME_SIZE; i++)
            if (host.arena[frame + i % FRAME_SIZE])
                expect_equal(host.arena[frame + i % FRAME_SIZE], 0,
                             "step %lu: byte 0x%lx behind the end 0x%lx", step_number, i, m->size);
    }
    expect_equal(m->vmo->committed, count, "step %lu: pages committed", step_number);
    expect_equal(m->vmo->slices, m->slices, "step %lu: slices", step_number);
    check_cache(m);
}

/* A frame's references are the slots that hold it, and there is no other frame. */
static void check_all(void)
{
    static u32 references[8192];
    struct model *m;
    u64 i, frames = 0;

    libc_memset(references, 0, sizeof references);
    for (m = objects; m < objects + OBJECTS; m++) {
        if (m->vmo)
            check_bytes(m);
        if (m->vmo && !m->parent)
            check_slots(m, references);
    }
    for (i = 0; i < array_count(references); i++) {
        frames += references[i] > 0;
        if (references[i])
            expect_equal(pmm.frame[i].references, references[i],
                         "step %lu: references of frame 0x%lx", step_number, i << FRAME_SHIFT);
    }
    expect_equal(vmo_frames_used(), frames, "step %lu: frames in use", step_number);
    expect_equal(vmo_type.live, live, "step %lu: objects", step_number);
}

/* After a failure some pages may have got a frame: the model learns which. */
static void learn_committed(struct model *m)
{
    u64 page;

    m = m->parent ? m->parent : m;
    for (page = 0; page < PAGES; page++)
        m->committed[page] = vmo_frame(m->vmo, page) != 0;
}

/* ---- Operations --------------------------------------------------------- */

static struct model *model_new(struct vmo *v, u64 size)
{
    static u8 bytes[OBJECTS][MAX_SIZE];
    struct model *m = model_of(NULL);

    *m = (struct model){.vmo = v, .handle = true, .size = size, .bytes = bytes[m - objects]};
    libc_memset(m->bytes, 0, MAX_SIZE);
    live++;
    return m;
}

static void model_destroy(struct model *m)
{
    struct model *parent = m->parent;

    *m = (struct model){0};
    live--;
    if (parent && --parent->slices == 0 && !parent->handle)
        model_destroy(parent);
}

static void put(struct model *m)
{
    vmo_put(m->vmo);
    m->handle = false;
    if (!m->slices)
        model_destroy(m);
}

/* A size, often near a page's end. */
static u64 random_size(u64 limit)
{
    u64 n = host_below(&seed, 3) ? host_below(&seed, 6 * FRAME_SIZE) : host_below(&seed, MAX_SIZE);

    if (host_below(&seed, 2))
        n = align_down(n, FRAME_SIZE);
    else if (host_below(&seed, 4) == 0)
        n = align_up(n, FRAME_SIZE) - 1;
    return n <= limit ? n : host_below(&seed, limit + 1);
}

static bool failing; /* an allocation may fail, on purpose */
static bool failed;  /* one did */

static void fail_something(void)
{
    failed = false;
    failing = host_below(&seed, 6) == 0;
    if (failing && host_below(&seed, 2))
        pmm.fail_in = 1 + host_below(&seed, 4);
    else if (failing)
        heap.fail_in = 1 + host_below(&seed, 3);
}

static bool has_failed(bool it_has)
{
    pmm.fail_in = heap.fail_in = 0;
    failed = it_has;
    expect_true(!failed || failing, "step %lu: an operation fails only if it may", step_number);
    return failed;
}

static void do_create(void)
{
    u64 size = random_size(MAX_SIZE);
    struct vmo *v = vmo_create(size);

    if (!has_failed(!v))
        model_new(v, size);
}

static void range(struct model *m, u64 *offset, u64 *size)
{
    *offset = random_size(m->size);
    *size = random_size(m->size - *offset);
}

static void mark_committed(struct model *m, u64 offset, u64 size)
{
    u64 at;

    if (m->parent)
        offset += m->offset, m = m->parent;
    for (at = align_down(offset, FRAME_SIZE); size && at < offset + size; at += FRAME_SIZE)
        m->committed[at >> FRAME_SHIFT] = true;
}

static void do_write(struct model *m)
{
    static u8 data[MAX_SIZE];
    u64 offset, size, i;
    int error;

    range(m, &offset, &size);
    for (i = 0; i < size; i++)
        data[i] = (u8)(step_number + i * 13);
    error = vmo_write(m->vmo, offset, data, size);
    if (has_failed(error)) {
        expect_equal(error, -ENOMEM, "step %lu: a failed write's error", step_number);
        learn_committed(m);
        return;
    }
    libc_memcpy(model_bytes(m) + offset, data, size);
    mark_committed(m, offset, size);
}

static void do_commit(struct model *m)
{
    u64 offset, size;
    int error;

    range(m, &offset, &size);
    error = vmo_commit(m->vmo, offset, size);
    if (has_failed(error)) {
        expect_equal(error, -ENOMEM, "step %lu: a failed commit's error", step_number);
        learn_committed(m);
        return;
    }
    mark_committed(m, offset, size);
}

static void do_zero(struct model *m)
{
    struct model *owner = m->parent ? m->parent : m;
    u64 offset, size, start, page;
    int error;

    range(m, &offset, &size);
    if (host_below(&seed, 2)) {
        offset = align_down(offset, FRAME_SIZE), size = align_down(size, FRAME_SIZE);
        error = vmo_decommit(m->vmo, offset, size);
    } else {
        error = vmo_zero(m->vmo, offset, size);
    }
    if (has_failed(error)) {
        expect_equal(error, -ENOMEM, "step %lu: error of zeroing", step_number);
        return;
    }
    libc_memset(model_bytes(m) + offset, 0, size);
    start = offset + (m->parent ? m->offset : 0);
    for (page = 0; page < PAGES; page++)
        if (page * FRAME_SIZE >= start && (page + 1) * FRAME_SIZE <= start + size)
            owner->committed[page] = false;
}

static void do_resize(struct model *m)
{
    u64 size = random_size(MAX_SIZE), page;
    int error = vmo_resize(m->vmo, size);

    if (m->parent || (size < m->size && m->slices)) {
        pmm.fail_in = heap.fail_in = 0;
        expect_equal(error, m->parent ? -EINVAL : -EBUSY, "step %lu: error of resizing",
                     step_number);
        return;
    }
    if (has_failed(error)) {
        expect_equal(error, -ENOMEM, "step %lu: error of resizing", step_number);
        return;
    }
    if (size < m->size)
        libc_memset(m->bytes + size, 0, m->size - size);
    for (page = vmo_pages(size); page < PAGES; page++)
        m->committed[page] = false;
    m->size = size;
}

static void do_clone(struct model *m)
{
    u64 offset, size, start, page;
    struct model *clone, *owner = m->parent ? m->parent : m;
    struct vmo *v;

    range(m, &offset, &size);
    offset = align_down(offset, FRAME_SIZE);
    v = vmo_clone(m->vmo, offset, size);
    if (has_failed(!v))
        return;
    clone = model_new(v, size);
    libc_memcpy(clone->bytes, model_bytes(m) + offset, size);
    start = (offset + (m->parent ? m->offset : 0)) >> FRAME_SHIFT;
    for (page = 0; page < vmo_pages(size); page++)
        clone->committed[page] = owner->committed[start + page];
}

static void do_slice(struct model *m)
{
    u64 offset, size;
    struct model *slice, *owner = m->parent ? m->parent : m;
    struct vmo *v;

    range(m, &offset, &size);
    offset = align_down(offset, FRAME_SIZE);
    v = vmo_slice(m->vmo, offset, size);
    if (has_failed(!v))
        return;
    slice = model_new(v, size);
    slice->parent = owner;
    slice->offset = offset + (m->parent ? m->offset : 0);
    owner->slices++;
}

static u64 sum_or_most(u64 a, u64 b)
{
    return a + b < a ? ~0UL : a + b;
}

static void expect_out_of_range(struct vmo *v, u64 offset, u64 size)
{
    u8 *nothing = (u8 *)8;

    expect_equal(vmo_read(v, offset, nothing, size), -ERANGE, "step %lu: read 0x%lx bytes at 0x%lx",
                 step_number, size, offset);
    expect_equal(vmo_write(v, offset, nothing, size), -ERANGE, "step %lu: write", step_number);
    expect_equal(vmo_commit(v, offset, size), -ERANGE, "step %lu: commit", step_number);
    expect_equal(vmo_zero(v, offset, size), -ERANGE, "step %lu: zero", step_number);
    if (offset % FRAME_SIZE == 0 && size % FRAME_SIZE == 0)
        expect_equal(vmo_decommit(v, offset, size), -ERANGE, "step %lu: decommit", step_number);
    expect_true(!vmo_clone(v, offset, size), "step %lu: clone", step_number);
    expect_true(!vmo_slice(v, offset, size), "step %lu: slice", step_number);
}

/* Ranges that do not exist: the exact error, and nothing happens. */
static void do_wrong(struct model *m)
{
    static const u64 far[] = {1, 2, FRAME_SIZE, 1UL << 47, 1UL << 63, ~0UL - FRAME_SIZE, ~0UL};
    u64 much = far[host_below(&seed, array_count(far))], behind = align_up(m->size + 1, FRAME_SIZE);
    u64 inside = host_below(&seed, m->size + 1);

    pmm.fail_in = heap.fail_in = 0;
    expect_out_of_range(m->vmo, inside, sum_or_most(m->size - inside, much));
    inside = align_down(inside, FRAME_SIZE);
    expect_out_of_range(m->vmo, inside, sum_or_most(m->size - inside, much));
    expect_out_of_range(m->vmo, sum_or_most(m->size, much), 0);
    expect_out_of_range(m->vmo, behind, 0);
    expect_out_of_range(m->vmo, behind, 2 - behind);         /* the sum is 2 */
    expect_true(!vmo_clone(m->vmo, 1, 0) && !vmo_slice(m->vmo, 8, 0),
                "step %lu: at an odd place", step_number);
    expect_equal(vmo_decommit(m->vmo, 1, 0), -EINVAL, "step %lu: decommit", step_number);
    expect_equal(vmo_decommit(m->vmo, 0, 1), -EINVAL, "step %lu: decommit", step_number);
    expect_equal(vmo_resize(m->vmo, VMO_SIZE_MAX + 1), -EINVAL, "step %lu: resize", step_number);
}

static struct model *random_object(void)
{
    struct model *m = &objects[host_below(&seed, OBJECTS)];

    return m->vmo && m->handle ? m : NULL;
}

static void random_step(void)
{
    struct model *m = random_object();

    fail_something();
    if (!m) {
        if (live < OBJECTS)
            do_create();
    } else {
        switch (host_below(&seed, 16)) {
        case 0: case 1: case 2: do_write(m); break;
        case 3: do_commit(m); break;
        case 4: do_zero(m); break;
        case 5: do_resize(m); break;
        case 6: case 7: if (live < OBJECTS) do_clone(m); break;
        case 8: if (live < OBJECTS) do_slice(m); break;
        case 9: case 10: put(m); break;
        case 11: do_wrong(m); break;
        default: if (!m->parent) touch(m), learn_committed(m);
        }
    }
    pmm.fail_in = heap.fail_in = 0;
}

/* ---- Setting up, and what must be as before ----------------------------- */

static void start(void)
{
    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    vmo = (struct vmo_state){.revoke = revoke};
    vmo.zero = pmm_alloc_zeroed(&pmm, ZONE_USER, 'Z');
    vmo_type.live = live = 0;
    libc_memset(objects, 0, sizeof objects);
    before.used = pmm.states[FRAME_USED];
    before.blocks = heap.blocks;
}

static void expect_clean(const char *when)
{
    expect_equal(vmo_type.live, 0, "objects %s", when);
    expect_equal(heap.blocks, before.blocks, "heap blocks %s", when);
    heap_trim(&heap);
    heap_audit(&heap);
    expect_equal(pmm.states[FRAME_USED], before.used, "frames used %s", when);
    pmm_audit(&pmm);
}

static u64 random_steps;

static void random_round(u64 round, u64 steps)
{
    struct model *m;

    start();
    seed = round;
    for (step_number = round * 100000; steps--; step_number++) {
        random_step();
        random_steps++;
        if (failed || step_number % 16 == 0)
            check_all();
    }
    for (m = objects; m < objects + OBJECTS; m++)
        if (m->vmo && m->handle) {
            put(m);
            check_all();
        }
    expect_clean("after all were put");
}

static void test_random(void **state)
{
    u64 round;

    (void)state;
    for (round = 0; round < host_rounds(1000); round++)
        random_round(round, 1000);
    host_proof("operations", random_steps);
}

/* ---- By hand ------------------------------------------------------------ */

static void test_reading_commits_nothing(void **state)
{
    struct vmo *v;
    u64 i;
    u8 text[3 * FRAME_SIZE];

    (void)state;
    start();
    v = vmo_create(1024 * GIB);
    for (i = 0; i < 100; i++) {
        libc_memset(text, 0xff, sizeof text);
        expect_equal(vmo_read(v, i * 7 * GIB + 1000, text, sizeof text), 0, "reading");
        expect_equal(text[0] | text[FRAME_SIZE] | text[sizeof text - 1], 0, "bytes never written");
    }
    expect_equal(v->committed, 0, "pages committed by reading");
    expect_equal(vmo_frames_used(), 0, "frames");
    expect_equal(heap.blocks, before.blocks + 1, "heap blocks");
    vmo_put(v);
    expect_clean("after reading");
}

static void test_edges(void **state)
{
    struct vmo *v;
    u8 byte = 1;

    (void)state;
    start();
    expect_true(!vmo_create(VMO_SIZE_MAX + 1), "an absurd size");
    expect_true(!vmo_create(~0UL), "the largest number");
    v = vmo_create(0);
    expect_equal(vmo_read(v, 0, &byte, 0), 0, "reading nothing of nothing");
    expect_equal(vmo_write(v, 0, &byte, 0), 0, "writing nothing to nothing");
    expect_equal(vmo_read(v, 0, &byte, 1), -ERANGE, "reading a byte of nothing");
    expect_equal(vmo_read(v, 1, &byte, 0), -ERANGE, "reading nothing behind the end");
    vmo_put(v);
    v = vmo_create(VMO_SIZE_MAX);
    expect_equal(vmo_write(v, VMO_SIZE_MAX - 1, &byte, 1), 0, "the last byte");
    expect_equal(vmo_write(v, 0, &byte, 1), 0, "the first byte");
    expect_equal(vmo_write(v, VMO_SIZE_MAX, &byte, 1), -ERANGE, "a byte behind the last");
    expect_equal(vmo_read(v, VMO_SIZE_MAX - 1, &byte, 2), -ERANGE, "the last byte and one more");
    expect_equal(vmo_read(v, 5, &byte, ~0UL), -ERANGE, "what wraps");
    expect_equal(vmo_read(v, ~0UL, &byte, 2), -ERANGE, "what wraps");
    expect_equal(v->committed, 2, "pages");
    expect_equal(vmo_resize(v, FRAME_SIZE), 0, "shrinking to a page");
    expect_equal(v->committed, 1, "pages after shrinking");
    expect_equal(vmo_resize(v, 0), 0, "shrinking to nothing");
    expect_equal(heap.blocks, before.blocks + 1, "heap blocks of an empty object");
    vmo_put(v);
    expect_clean("after the edges");
}

/* Few pages in a large object, against a list of them. */
static void test_sparse(void **state)
{
    u64 page[60], i, j, round, count, spread;
    struct vmo *v, *clone;
    u64 word;

    (void)state;
    for (round = 0; round < host_rounds(60); round++) {
        start();
        seed = round;
        spread = 6 + round % 30;
        v = vmo_create(VMO_SIZE_MAX);
        count = 1 + host_below(&seed, array_count(page));
        for (i = 0; i < count; i++) {
            page[i] = host_below(&seed, 1UL << spread);
            word = page[i] + 1;
            expect_equal(vmo_write(v, page[i] * FRAME_SIZE, &word, sizeof word), 0, "writing");
        }
        clone = vmo_clone(v, 0, VMO_SIZE_MAX);
        expect_true(clone && clone->committed == v->committed, "the clone has as many pages");
        for (i = 0; i < count; i += 2)
            expect_equal(vmo_decommit(v, page[i] * FRAME_SIZE, FRAME_SIZE), 0, "decommitting");
        for (i = 0; i < count; i++) {
            bool gone = false;

            for (j = 0; j < count; j += 2)
                gone |= page[j] == page[i];
            vmo_read(v, page[i] * FRAME_SIZE, &word, sizeof word);
            expect_equal(word, gone ? 0 : page[i] + 1, "page 0x%lx of the original", page[i]);
            vmo_read(clone, page[i] * FRAME_SIZE, &word, sizeof word);
            expect_equal(word, page[i] + 1, "page 0x%lx of the clone", page[i]);
        }
        vmo_put(v);
        vmo_put(clone);
        expect_clean("after few pages");
    }
}

static void test_next(void **state)
{
    static const u64 pages[] = {3, 63, 64, 65, 4095, 4096, 262143, 262144, 1UL << 30};
    struct vmo *v;
    u64 i, at, end = VMO_SIZE_MAX >> FRAME_SHIFT;

    (void)state;
    start();
    v = vmo_create(VMO_SIZE_MAX);
    expect_equal(vmo_next(v, 0, end), end, "the first page of an empty object");
    for (i = 0; i < array_count(pages); i++)
        vmo_commit(v, pages[i] * FRAME_SIZE, 1);
    for (i = 0, at = 0; i < array_count(pages); i++, at++) {
        at = vmo_next(v, at, end);
        expect_equal(at, pages[i], "page number %lu", i);
        expect_equal(vmo_next(v, pages[i], pages[i]), pages[i], "an empty range");
        expect_equal(vmo_next(v, pages[i], pages[i] + 1), pages[i], "a range of one page");
    }
    expect_equal(vmo_next(v, at, end), end, "after the last page");
    expect_equal(vmo_next(v, 0, 2), 2, "before the first page");
    vmo_put(v);
    expect_clean("after looking for pages");
}

static void test_clone_is_cheap(void **state)
{
    struct vmo *v, *clone[20];
    u64 i, frames;
    u8 byte = 9;

    (void)state;
    start();
    v = vmo_create(100 * FRAME_SIZE);
    expect_equal(vmo_commit(v, 0, 100 * FRAME_SIZE), 0, "committing");
    frames = vmo_frames_used();
    expect_equal(frames, 100, "frames");
    for (i = 0; i < 20; i++)
        clone[i] = vmo_clone(i ? clone[i - 1] : v, 0, 100 * FRAME_SIZE);
    expect_equal(vmo_frames_used(), 100, "frames with 20 clones");
    for (i = 0; i < 20; i++) {
        vmo_write(clone[i], i * FRAME_SIZE, &byte, 1);
        expect_equal(vmo_frames_used(), 101 + i, "frames after %lu writes", i + 1);
    }
    vmo_write(v, 50 * FRAME_SIZE, &byte, 1);
    expect_equal(vmo_frames_used(), 121, "frames after a write to the original");
    for (i = 0; i < 20; i++)
        vmo_put(clone[i]);
    expect_equal(vmo_frames_used(), 100, "frames without the clones");
    vmo_write(v, 51 * FRAME_SIZE, &byte, 1);
    expect_equal(vmo_frames_used(), 100, "frames after a write when nobody shares");
    vmo_put(v);
    expect_clean("after clones");
}

/* Five objects: original, clone, slice, clone of the slice, slice of the clone. In whatever
   order they are put, the others stay as they are. */
static void close_in_order(const u8 *order)
{
    struct vmo *v[5];
    u64 i, j;
    char text[8];

    start();
    v[0] = vmo_create(3 * FRAME_SIZE);
    vmo_write(v[0], FRAME_SIZE, "first", 6);
    v[1] = vmo_clone(v[0], 0, 3 * FRAME_SIZE);
    v[2] = vmo_slice(v[0], FRAME_SIZE, FRAME_SIZE);
    v[3] = vmo_clone(v[2], 0, FRAME_SIZE);
    v[4] = vmo_slice(v[1], FRAME_SIZE, 100);
    vmo_write(v[2], 0, "slice", 6);
    vmo_write(v[1], FRAME_SIZE, "clone", 6);
    for (i = 0; i < 5; i++) {
        vmo_put(v[order[i]]);
        for (j = i + 1; j < 5; j++) {
            vmo_read(v[order[j]], order[j] < 2 ? FRAME_SIZE : 0, text, 6);
            expect_text(text, order[j] == 3 ? "first" : order[j] % 3 == 1 ? "clone" : "slice",
                        "object %u after %u was put", order[j], order[i]);
        }
        heap_audit(&heap);
        pmm_audit(&pmm);
    }
    expect_clean("after closing");
}

static void test_closing_orders(void **state)
{
    u64 n, rest, i, j;
    u8 order[5], left[5];

    (void)state;
    for (n = 0; n < 120; n++) {
        for (i = 0; i < 5; i++)
            left[i] = (u8)i;
        for (i = 0, rest = n; i < 5; rest /= 5 - i, i++) {
            order[i] = left[rest % (5 - i)];
            for (j = rest % (5 - i); j < 4; j++)
                left[j] = left[j + 1];
        }
        close_in_order(order);
    }
    host_proof("orders", n);
}

/* ---- No memory ---------------------------------------------------------- */

static u8 image[2][6 * FRAME_SIZE];

/* An object with pages that are shared, pages that are not and pages that are missing, in
   two levels of nodes; what it and its clone contain is kept in `image`. */
static struct vmo *some_object(struct vmo **clone)
{
    struct vmo *v;
    u64 i;

    start();
    v = vmo_create(6 * FRAME_SIZE);
    for (i = 0; i < sizeof image[0]; i++)
        image[0][i] = (u8)(i * 11 + i / FRAME_SIZE);
    vmo_write(v, 0, image[0], sizeof image[0]);
    vmo_decommit(v, 2 * FRAME_SIZE, FRAME_SIZE);
    *clone = vmo_clone(v, 0, 6 * FRAME_SIZE);
    vmo_write(v, 5 * FRAME_SIZE, "unshared", 8);
    vmo_resize(v, 5 * FRAME_SIZE + 100);
    vmo_read(v, 0, image[0], v->size);
    vmo_read(*clone, 0, image[1], (*clone)->size);
    return v;
}

static void expect_unchanged(struct vmo *v, struct vmo *clone, const char *what, u64 n)
{
    static u8 got[6 * FRAME_SIZE];

    vmo_read(v, 0, got, v->size);
    expect_equal(v->size, 5 * FRAME_SIZE + 100, "%s, allocation %lu failed: size", what, n);
    expect_equal(libc_memcmp(got, image[0], v->size), 0, "%s, allocation %lu failed: contents",
                 what, n);
    vmo_read(clone, 0, got, clone->size);
    expect_equal(libc_memcmp(got, image[1], clone->size), 0,
                 "%s, allocation %lu failed: the clone's contents", what, n);
    heap_audit(&heap);
    pmm_audit(&pmm);
}

static int try_write(struct vmo *v) { return vmo_write(v, 100, image[1], 5 * FRAME_SIZE); }
static int try_commit(struct vmo *v) { return vmo_commit(v, 0, v->size); }
static int try_zero(struct vmo *v) { return vmo_zero(v, 100, 4 * FRAME_SIZE); }
static int try_zero_within(struct vmo *v) { return vmo_zero(v, 100, 200); }
static int try_shrink(struct vmo *v) { return vmo_resize(v, FRAME_SIZE + 10); }

static int try_grow(struct vmo *v)
{
    int error = vmo_resize(v, 1UL << 40);

    expect_equal(error, 0, "growing needs no memory");
    error = vmo_write(v, (1UL << 40) - 10, image[1], 10);
    if (error)
        vmo_resize(v, 5 * FRAME_SIZE + 100);
    return error;
}

static int try_clone(struct vmo *v)
{
    struct vmo *clone = vmo_clone(v, 0, 4 * FRAME_SIZE + 50);

    if (clone)
        vmo_put(clone);
    return clone ? 0 : -ENOMEM;
}

static int try_slice(struct vmo *v)
{
    struct vmo *slice = vmo_slice(v, FRAME_SIZE, FRAME_SIZE);

    if (slice)
        vmo_put(slice);
    return slice ? 0 : -ENOMEM;
}

static int try_create(struct vmo *v)
{
    struct vmo *other = vmo_create(v->size);

    if (other)
        vmo_put(other);
    return other ? 0 : -ENOMEM;
}

static void try_all_failures(int (*operation)(struct vmo *), const char *what, bool frames)
{
    struct vmo *v, *clone;
    int error = -1;
    u64 n;

    for (n = 1; error; n++) {
        v = some_object(&clone);
        *(frames ? &pmm.fail_in : &heap.fail_in) = n;
        error = operation(v);
        pmm.fail_in = heap.fail_in = 0;
        if (error) {
            expect_equal(error, -ENOMEM, "%s, allocation %lu failed: error", what, n);
            expect_unchanged(v, clone, what, n);
        }
        vmo_put(v);
        vmo_put(clone);
        expect_clean(what);
        expect_true(n < 100, "%s succeeds in the end", what);
    }
}

static const struct {
    const char *name;
    int (*operation)(struct vmo *);
} trials[] = {{"write", try_write}, {"commit", try_commit}, {"zero", try_zero},
              {"zero within a page", try_zero_within}, {"shrink", try_shrink}, {"grow", try_grow},
              {"clone", try_clone}, {"slice", try_slice}, {"create", try_create}};

static void test_failures(void **state)
{
    u64 i;

    (void)state;
    for (i = 0; i < array_count(trials); i++) {
        try_all_failures(trials[i].operation, trials[i].name, true);
        try_all_failures(trials[i].operation, trials[i].name, false);
    }
}

/* Not one failure, but no frame left for programs at all. */
static void test_no_frames(void **state)
{
    struct vmo *v, *clone;
    paddr frame[4096];
    u64 i, count;
    int error;

    (void)state;
    for (i = 0; i < array_count(trials); i++) {
        v = some_object(&clone);
        for (count = 0; (frame[count] = pmm_alloc(&pmm, ZONE_USER, 'x')); count++)
            ;
        error = trials[i].operation(v);
        expect_true(!error || error == -ENOMEM, "error %d of %s", error, trials[i].name);
        if (error)
            expect_unchanged(v, clone, trials[i].name, 0);
        while (count--)
            pmm_free(&pmm, ZONE_USER, frame[count]);
        vmo_put(v);
        vmo_put(clone);
        expect_clean(trials[i].name);
    }
}

/* ---- Objects ------------------------------------------------------------ */

static u32 destroyed;

static void destroy(struct object *o)
{
    (void)o;
    destroyed++;
}

static void test_objects(void **state)
{
    struct object_type type = {.name = "test", .destroy = destroy};
    struct object a, b;

    (void)state;
    host_reset(0);
    object_init(&a, &type);
    object_init(&b, &type);
    expect_equal(type.live, 2, "objects");
    object_get(&a);
    object_put(&a);
    expect_equal(destroyed, 0, "objects destroyed");
    object_put(&a);
    expect_equal(destroyed, 1, "objects destroyed");
    expect_equal(type.live, 1, "objects");
    expect_panic(object_put(&a), "assertion failed");
    expect_panic(object_get(&a), "assertion failed");
    object_put(&b);
    expect_equal(type.live, 0, "objects");
}

static void test_slice_keeps_parent(void **state)
{
    struct vmo *v, *slice, *inner;
    char text[8] = "";

    (void)state;
    start();
    v = vmo_create(10 * FRAME_SIZE);
    slice = vmo_slice(v, 2 * FRAME_SIZE, 4 * FRAME_SIZE);
    inner = vmo_slice(slice, FRAME_SIZE, 5);
    expect_true(inner->parent == v && inner->first == 3,
                "a slice of a slice is one of the original");
    expect_equal(vmo_resize(v, 20 * FRAME_SIZE), 0, "growing an object with slices");
    expect_equal(vmo_resize(v, 19 * FRAME_SIZE), -EBUSY, "shrinking it");
    expect_equal(vmo_resize(slice, 1), -EINVAL, "shrinking a slice");
    expect_equal(vmo_write(inner, 0, "12345", 5), 0, "writing to a slice");
    expect_equal(vmo_write(inner, 1, "12345", 5), -ERANGE, "writing behind a slice's end");
    expect_true(!vmo_slice(inner, 0, 6), "a slice larger than its slice");
    expect_true(!vmo_clone(inner, 0, 6), "a clone larger than its slice");
    vmo_read(v, 3 * FRAME_SIZE, text, 6);
    expect_text(text, "12345", "what the original has");
    vmo_put(v);
    vmo_put(slice);
    vmo_read(inner, 0, text, 5);
    expect_text(text, "12345", "what the slice has when the original was put");
    vmo_put(inner);
    expect_clean("after slices");
}

/* A clone that ends in mid-page does not have what follows there in the original. */
static void test_clone_end(void **state)
{
    struct vmo *v, *clone;
    u8 page[FRAME_SIZE];
    u64 i;

    (void)state;
    start();
    v = vmo_create(FRAME_SIZE);
    libc_memset(page, 0xee, sizeof page);
    vmo_write(v, 0, page, sizeof page);
    clone = vmo_clone(v, 0, 1000);
    expect_equal(vmo_resize(clone, FRAME_SIZE), 0, "growing the clone");
    vmo_read(clone, 0, page, sizeof page);
    for (i = 0; i < FRAME_SIZE; i++)
        expect_equal(page[i], i < 1000 ? 0xee : 0, "byte %lu of the grown clone", i);
    vmo_read(v, 0, page, sizeof page);
    for (i = 0; i < FRAME_SIZE; i++)
        expect_equal(page[i], 0xee, "byte %lu of the original", i);
    vmo_put(clone);
    vmo_resize(v, 1000);
    clone = vmo_clone(v, 0, 1000);
    expect_equal(vmo_frames_used(), 1, "frames with a clone that ends where the original ends");
    vmo_put(v);
    vmo_put(clone);
    expect_clean("after a clone");
}

static int setup(void **state)
{
    host_watch_memory();
    return host_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random), cmocka_unit_test(test_reading_commits_nothing),
        cmocka_unit_test(test_edges), cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_next), cmocka_unit_test(test_clone_is_cheap),
        cmocka_unit_test(test_closing_orders), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_no_frames), cmocka_unit_test(test_objects),
        cmocka_unit_test(test_slice_keeps_parent), cmocka_unit_test(test_clone_end)};

    return cmocka_run_group_tests(tests, setup, host_teardown);
}
