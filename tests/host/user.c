/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapter 7: address spaces, with a processor that remembers translations and never
   forgets one by itself; and what a program finds when it starts. */

#include "host.h"

#define PAGES 40             /* of the window in which we map */
#define VMOS 5
#define VMO_PAGES 12

/* ---- A processor's view ------------------------------------------------- */

static struct {
    bool valid;
    u64 entry;
} tlb[PAGES];

static vaddr window;         /* across the borders of tables of all levels */
static struct as *space, *other;

static void forget_page(vaddr page)
{
    if (page >= window && page < window + PAGES * FRAME_SIZE)
        tlb[(page - window) >> FRAME_SHIFT].valid = false;
}

static void forget_all(u64 root)
{
    (void)root;
    libc_memset(tlb, 0, sizeof tlb);
}

static void do_nothing(void)
{
}

/* The leaf entry that the tables have for a page, 0 for none. */
static u64 walk(struct as *s, vaddr page)
{
    u64 entry = s->root, level;

    for (level = 4; level; level--) {
        entry = ((u64 *)(host.arena + (entry & PTE_ADDRESS)))[page >> (3 + 9 * level) & 511];
        if (!(entry & PTE_PRESENT))
            return 0;
        expect_true(entry & PTE_USER, "a table of level %lu has the user bit", level);
        expect_true(level == 1 || !(entry & PTE_LARGE), "no large page at level %lu", level);
    }
    return entry;
}

static bool entry_allows(u64 entry, u32 access)
{
    return entry && (!(access & PF_W) || entry & PTE_WRITE) && (!(access & PF_X) ||
                                                                !(entry & PTE_NX));
}

/* As a program does it: by a remembered translation, by the tables, or after a fault. A
   fault makes the processor forget the page. Returns a pointer to the byte, or NULL and
   the fault's error. */
static u8 *access_byte(vaddr address, u32 access, int *error)
{
    u64 page = (address - window) >> FRAME_SHIFT, round;

    *error = 0;
    for (round = 0; round < 2; round++) {
        if (!tlb[page].valid) {
            tlb[page].entry = walk(space, address);
            tlb[page].valid = tlb[page].entry != 0;
        }
        if (entry_allows(tlb[page].entry, access))
            return host.arena + (tlb[page].entry & PTE_ADDRESS) + address % FRAME_SIZE;
        tlb[page].valid = false;
        *error = as_fault(space, address, access);
        if (*error)
            return NULL;
    }
    expect_true(false, "after a fault that was cured the access to 0x%lx is possible", address);
    return NULL;
}

/* ---- The model ---------------------------------------------------------- */

struct object_model {
    struct vmo *vmo;
    u64 size;
    u8 bytes[VMO_PAGES * FRAME_SIZE];
};

static struct object_model objects[VMOS];

static struct {
    struct object_model *object; /* NULL: nothing is mapped */
    u64 page;                    /* of the object */
    u32 rights;
} mapped[PAGES];

static u64 seed, step_number, clean_frames, clean_blocks;

static void start(void)
{
    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    vmo = (struct vmo_state){.revoke = as_revoke};
    vmo.zero = pmm_alloc_zeroed(&pmm, ZONE_USER, 'Z');
    vmo_type.live = 0;
    host.info.root = pmm_alloc_zeroed(&pmm, ZONE_KERNEL, 'T');
    as = (struct as_state){.flush = as_flush};
    libc_memset(objects, 0, sizeof objects);
    libc_memset(mapped, 0, sizeof mapped);
    forget_all(0);
    clean_frames = pmm.states[FRAME_USED];
    clean_blocks = heap.blocks;
}

static void expect_clean(const char *when)
{
    expect_equal(vmo_type.live, 0, "objects left %s", when);
    expect_equal(heap.blocks, clean_blocks, "heap blocks %s", when);
    heap_trim(&heap);
    heap_audit(&heap);
    expect_equal(pmm.states[FRAME_USED], clean_frames, "frames used %s", when);
    pmm_audit(&pmm);
}

static void put_object(struct object_model *o)
{
    vmo_put(o->vmo);
    o->vmo = NULL;
}

/* An object without a handle stays as long as something of it is mapped. */
static bool is_mapped(struct object_model *o)
{
    u64 i;

    for (i = 0; i < PAGES; i++)
        if (mapped[i].object == o)
            return true;
    return false;
}

/* ---- Operations --------------------------------------------------------- */

static bool failing;

static bool has_failed(int error)
{
    pmm.fail_in = heap.fail_in = 0;
    expect_true(error != -ENOMEM || failing, "step %lu: memory runs out only if it may",
                step_number);
    return error == -ENOMEM;
}

static void do_object(struct object_model *o)
{
    struct object_model *from = &objects[host_below(&seed, VMOS)];

    if (is_mapped(o))
        return;
    if (o->vmo) {
        put_object(o);
        return;
    }
    libc_memset(o->bytes, 0, sizeof o->bytes);
    o->size = 1 + host_below(&seed, sizeof o->bytes);
    if (from->vmo && host_below(&seed, 2)) {
        o->size = from->size;
        o->vmo = vmo_clone(from->vmo, 0, o->size);
        libc_memcpy(o->bytes, from->bytes, sizeof o->bytes);
    } else {
        o->vmo = vmo_create(o->size);
    }
    has_failed(o->vmo ? 0 : -ENOMEM);
}

static bool are_rights(u32 rights)
{
    return rights == 0 || rights == PF_R || rights == (PF_R | PF_W) || rights == (PF_R | PF_X);
}

static u32 random_rights(void)
{
    static const u8 rights[] = {4, 4, 6, 6, 6, 6, 5, 5, 0, 1, 2, 3, 7};

    return rights[host_below(&seed, array_count(rights))];
}

static void do_map(void)
{
    struct object_model *o = &objects[host_below(&seed, VMOS)];
    u64 first = host_below(&seed, PAGES), count = 1 + host_below(&seed, 10), page, i;
    u32 rights = random_rights();
    int wanted = 0, error;

    if (!o->vmo)
        return;
    page = host_below(&seed, vmo_pages(o->size));
    if (count > PAGES - first)
        count = PAGES - first;
    for (i = first; i < first + count; i++)
        wanted = mapped[i].object ? -EEXIST : wanted;
    if (page + count > vmo_pages(o->size) || !are_rights(rights))
        wanted = -EINVAL;
    error = as_map(space, window + first * FRAME_SIZE, count * FRAME_SIZE, rights, o->vmo,
                   page * FRAME_SIZE);
    if (has_failed(error))
        return;
    expect_equal(error, wanted, "step %lu: mapping", step_number);
    for (i = 0; i < count && !error; i++) {
        mapped[first + i].object = o;
        mapped[first + i].page = page + i;
        mapped[first + i].rights = rights;
    }
}

static void do_unmap(void)
{
    u64 first = host_below(&seed, PAGES), count = 1 + host_below(&seed, 8), i;
    int error;

    if (count > PAGES - first)
        count = PAGES - first;
    error = as_unmap(space, window + first * FRAME_SIZE, count * FRAME_SIZE);
    if (has_failed(error))
        return;
    expect_equal(error, 0, "step %lu: unmapping", step_number);
    for (i = first; i < first + count; i++)
        mapped[i].object = NULL;
}

static void do_protect(void)
{
    u64 first = host_below(&seed, PAGES), count = 1 + host_below(&seed, 8), i;
    u32 rights = random_rights();
    bool holes = false;
    int error;

    if (count > PAGES - first)
        count = PAGES - first;
    for (i = first; i < first + count; i++)
        holes |= !mapped[i].object;
    error = as_protect(space, window + first * FRAME_SIZE, count * FRAME_SIZE, rights);
    if (!are_rights(rights) || (holes && error)) {
        expect_equal(error, are_rights(rights) ? -ENOMEM : -EINVAL, "step %lu: error", step_number);
        pmm.fail_in = heap.fail_in = 0;
        return;
    }
    if (has_failed(error))
        return;
    expect_true(!holes && !error, "step %lu: error %d of protecting", step_number, error);
    for (i = first; i < first + count; i++)
        mapped[i].rights = rights;
}

/* A program reads, writes or jumps somewhere. */
static void do_access(void)
{
    vaddr address = window + host_below(&seed, PAGES * FRAME_SIZE);
    u64 i = (address - window) >> FRAME_SHIFT, at;
    u32 access = 1U << host_below(&seed, 3);
    struct object_model *o = mapped[i].object;
    int error, wanted = 0;
    u8 *byte;

    if (!o && host_below(&seed, 4))
        return;
    byte = access_byte(address, access, &error);
    if (!o || (mapped[i].rights & access) != access || mapped[i].page >= vmo_pages(o->size))
        wanted = -EFAULT;
    if (!byte && has_failed(error))
        return;
    /* what may be written may be read, on this processor */
    if (access == PF_R && o && !error && wanted && mapped[i].rights & (PF_W | PF_X))
        return;
    expect_equal(error, wanted, "step %lu: accessing (%u) page %lu, rights %u", step_number, access,
                 i, mapped[i].rights);
    at = mapped[i].page * FRAME_SIZE + address % FRAME_SIZE;
    if (!byte || at >= o->size)
        return;
    expect_equal(*byte, o->bytes[at], "step %lu: byte 0x%lx of the object at page %lu", step_number,
                 at, i);
    if (access == PF_W)
        *byte = o->bytes[at] = (u8)(step_number | 1);
}

static void do_write(struct object_model *o)
{
    u64 offset = host_below(&seed, o->size), size = host_below(&seed, o->size - offset);
    static u8 data[VMO_PAGES * FRAME_SIZE];

    libc_memset(data, (int)step_number, size);
    if (!has_failed(vmo_write(o->vmo, offset, data, size)))
        libc_memcpy(o->bytes + offset, data, size);
}

static void do_zero(struct object_model *o)
{
    u64 offset = host_below(&seed, o->size), size = host_below(&seed, o->size - offset);

    if (!has_failed(vmo_zero(o->vmo, offset, size)))
        libc_memset(o->bytes + offset, 0, size);
}

static void do_resize(struct object_model *o)
{
    u64 size = 1 + host_below(&seed, sizeof o->bytes);

    /* what a mapping shows behind the end of its object is not defined */
    size = align_up(size, FRAME_SIZE);
    if (has_failed(vmo_resize(o->vmo, size)))
        return;
    if (size < o->size)
        libc_memset(o->bytes + size, 0, sizeof o->bytes - size);
    o->size = size;
}

/* What the kernel reads on behalf of a program is what the program could read. */
static void do_read(void)
{
    static u8 got[PAGES * FRAME_SIZE];
    vaddr from = window + host_below(&seed, PAGES * FRAME_SIZE);
    u64 size = host_below(&seed, window + PAGES * FRAME_SIZE - from), done, i, at, page;

    done = as_read(space, from, got, size);
    for (i = 0; i < size; i++) {
        page = (from + i - window) >> FRAME_SHIFT;
        if (!mapped[page].object || !(mapped[page].rights & PF_R) ||
            mapped[page].page >= vmo_pages(mapped[page].object->size))
            break;
        at = mapped[page].page * FRAME_SIZE + (from + i) % FRAME_SIZE;
        if (i < done && at < mapped[page].object->size && got[i] != mapped[page].object->bytes[at])
            expect_equal(got[i], mapped[page].object->bytes[at], "step %lu: byte %lu as read",
                         step_number, i);
    }
    expect_equal(done, i, "step %lu: bytes that can be read of %lu", step_number, size);
}

static void random_step(void)
{
    struct object_model *o = &objects[host_below(&seed, VMOS)];
    u64 what = host_below(&seed, 24);

    failing = host_below(&seed, 8) == 0;
    if (failing)
        *(host_below(&seed, 2) ? &pmm.fail_in : &heap.fail_in) = 1 + host_below(&seed, 3);
    if (what == 0)
        do_object(o);
    else if (what < 4)
        do_map();
    else if (what == 4)
        do_unmap();
    else if (what == 5)
        do_protect();
    else if (what == 6 && o->vmo)
        do_write(o);
    else if (what == 7 && o->vmo)
        do_zero(o);
    else if (what == 8 && o->vmo)
        do_resize(o);
    else if (what == 9)
        do_read();
    else
        do_access();
    pmm.fail_in = heap.fail_in = 0;
}

/* What the processor remembers is what the tables say, or less. */
static void check_tlb(void)
{
    u64 i, entry;

    for (i = 0; i < PAGES; i++) {
        if (!tlb[i].valid)
            continue;
        entry = walk(space, window + i * FRAME_SIZE);
        expect_true((entry & PTE_ADDRESS) == (tlb[i].entry & PTE_ADDRESS) &&
                    (!(tlb[i].entry & PTE_WRITE) || entry & PTE_WRITE) &&
                    (tlb[i].entry & PTE_NX || !(entry & PTE_NX)),
                    "step %lu: what is remembered of page %lu (0x%lx) is in the tables (0x%lx)",
                    step_number, i, tlb[i].entry, entry);
    }
}

static void random_round(u64 round, u64 steps)
{
    static const vaddr windows[] = {0x400000 - 8 * FRAME_SIZE, GIB - 8 * FRAME_SIZE,
                                    512 * GIB - 20 * FRAME_SIZE, USER_START,
                                    USER_END - PAGES * FRAME_SIZE};
    u64 i;

    start();
    seed = round;
    window = windows[round % array_count(windows)];
    space = as_create();
    expect_true(space != NULL, "creating an address space");
    as_switch(space);
    for (step_number = round * 100000; steps--; step_number++) {
        random_step();
        check_tlb();
        if (step_number % 16 == 0)
            as_audit(space);
    }
    as_switch(NULL);
    as_audit(space);
    for (i = 0; i < VMOS; i++)
        if (objects[i].vmo && host_below(&seed, 2))
            put_object(&objects[i]);
    as_put(space);
    for (i = 0; i < VMOS; i++)
        if (objects[i].vmo)
            put_object(&objects[i]);
    expect_clean("at the end");
}

static void test_random(void **state)
{
    u64 round;

    (void)state;
    for (round = 0; round < host_rounds(500); round++)
        random_round(round, 2000);
}

/* ---- By hand ------------------------------------------------------------ */

static void test_wrong_ranges(void **state)
{
    static const struct {
        vaddr start;
        u64 size;
    } cases[] = {
        {0, FRAME_SIZE}, {FRAME_SIZE, FRAME_SIZE}, {USER_START - FRAME_SIZE, FRAME_SIZE},
        {0x400000, 0}, {0x400001, FRAME_SIZE}, {0x400000, 100}, {0x400000, ~0UL},
        {0x400000, -FRAME_SIZE}, {USER_END, FRAME_SIZE}, {USER_END - FRAME_SIZE, 2 * FRAME_SIZE},
        {0x800000000000, FRAME_SIZE}, {DIRECT_MAP, FRAME_SIZE}, {KERNEL_BASE, FRAME_SIZE},
        {-FRAME_SIZE, FRAME_SIZE}, {-FRAME_SIZE, 2 * FRAME_SIZE}, {0x400000, 1UL << 63}};
    struct vmo *v;
    u64 i;

    (void)state;
    start();
    space = as_create();
    v = vmo_create(1UL << 46);
    for (i = 0; i < array_count(cases); i++) {
        expect_equal(as_map(space, cases[i].start, cases[i].size, PF_R, v, 0), -EINVAL,
                     "mapping 0x%lx bytes at 0x%lx", cases[i].size, cases[i].start);
        expect_equal(as_unmap(space, cases[i].start, cases[i].size), -EINVAL,
                     "unmapping 0x%lx bytes at 0x%lx", cases[i].size, cases[i].start);
        expect_equal(as_protect(space, cases[i].start, cases[i].size, PF_R), -EINVAL,
                     "protecting 0x%lx bytes at 0x%lx", cases[i].size, cases[i].start);
    }
    expect_equal(as_map(space, 0x400000, FRAME_SIZE, PF_R, v, 1), -EINVAL, "an odd offset");
    expect_equal(as_map(space, 0x400000, FRAME_SIZE, PF_R, v, 1UL << 46), -EINVAL,
                 "behind the end");
    expect_equal(as_map(space, 0x400000, FRAME_SIZE, PF_R, v, -FRAME_SIZE), -EINVAL, "far behind");
    expect_equal(as_map(space, 0x400000, FRAME_SIZE, PF_R | PF_W | PF_X, v, 0), -EINVAL,
                 "all rights");
    expect_true(!space->mappings, "nothing is mapped");
    as_put(space);
    vmo_put(v);
    expect_clean("after refusals");
}

/* A terabyte, of which little is touched, costs little and is gone quickly. */
static void test_huge(void **state)
{
    struct vmo *v;
    u64 i;

    (void)state;
    start();
    space = as_create();
    v = vmo_create(64UL << 40);
    expect_equal(as_map(space, 1UL << 40, 64UL << 40, PF_R | PF_W, v, 0), 0, "mapping 64 TiB");
    for (i = 0; i < 64; i++)
        expect_equal(as_fault(space, (i + 1) << 40, i % 2 ? PF_R : PF_W), 0, "touching a page");
    expect_equal(v->committed, 32, "pages committed");
    as_audit(space);
    expect_equal(as_protect(space, 1UL << 40, 64UL << 40, PF_R), 0, "protecting 64 TiB");
    expect_equal(as_fault(space, 1UL << 40, PF_W), -EFAULT, "writing what is protected");
    as_audit(space);
    as_put(space);
    vmo_put(v);
    expect_clean("after a terabyte");
}

/* Two address spaces show the same object, and a clone of it. */
static void test_two_spaces(void **state)
{
    struct vmo *v, *clone;
    u64 address = 0x400000;

    (void)state;
    start();
    window = address;
    space = as_create();
    other = as_create();
    v = vmo_create(FRAME_SIZE);
    as_map(space, address, FRAME_SIZE, PF_R | PF_W, v, 0);
    as_map(other, address, FRAME_SIZE, PF_R | PF_W, v, 0);
    expect_equal(as_fault(space, address, PF_R), 0, "reading in the first");
    expect_equal(walk(space, address) & PTE_ADDRESS, vmo.zero, "the page of zeros");
    expect_equal(as_fault(other, address, PF_W), 0, "writing in the second");
    expect_equal(walk(space, address), 0, "the page of zeros is gone from the first");
    expect_equal(as_fault(space, address, PF_R), 0, "reading in the first");
    expect_true(walk(space, address) & PTE_WRITE, "it may be written at once");
    clone = vmo_clone(v, 0, FRAME_SIZE);
    expect_true(!(walk(space, address) & PTE_WRITE), "after cloning it may not");
    expect_true(!(walk(other, address) & PTE_WRITE), "after cloning it may not");
    expect_equal(as_fault(space, address, PF_W), 0, "writing in the first");
    expect_equal(walk(other, address), 0, "the old frame is gone from the second");
    vmo_put(clone);
    vmo_put(v);
    as_put(space);
    as_audit(other);
    as_put(other);
    expect_clean("after two address spaces");
}

/* A mapping of more pages than are told one by one. */
static void test_long_range(void **state)
{
    struct vmo *v;
    int error;
    u64 i;

    (void)state;
    start();
    window = 0x400000;
    space = as_create();
    as_switch(space);
    v = vmo_create(PAGES * FRAME_SIZE);
    as_map(space, window, PAGES * FRAME_SIZE, PF_R | PF_W, v, 0);
    for (i = 0; i < PAGES; i++)
        expect_true(access_byte(window + i * FRAME_SIZE, PF_W, &error), "writing page %lu", i);
    as_protect(space, window, PAGES * FRAME_SIZE, PF_R);
    for (i = 0; i < PAGES; i++)
        expect_true(!access_byte(window + i * FRAME_SIZE, PF_W, &error),
                    "page %lu may not be written any more", i);
    as_switch(NULL);
    as_put(space);
    vmo_put(v);
    expect_clean("after a long range");
}

static u64 tellings, free_then[8];       /* frames, at that moment */

static void note_flush(struct as *s, vaddr from, vaddr to)
{
    expect_true(s == space && to > from && !walk(s, from), "it is gone from the tables by then");
    free_then[tellings++ % 8] = pmm.states[FRAME_FREE];
}

/* The processor is told of a page, and of each table that leads to no page any more, before
   that table is free. */
static void test_tables(void **state)
{
    struct vmo *v;
    u64 i, free;

    (void)state;
    start();
    space = as_create();
    v = vmo_create(FRAME_SIZE);
    as_map(space, 0x400000, FRAME_SIZE, PF_R | PF_W, v, 0);
    as_fault(space, 0x400000, PF_W);
    free = pmm.states[FRAME_FREE];
    tellings = 0;
    as.flush = note_flush;
    as_unmap(space, 0x400000, FRAME_SIZE);
    expect_equal(tellings, 4, "a page and three tables");
    for (i = 1; i < 4; i++)
        expect_equal(free_then[i], free + i - 1, "frames free when the table of level %lu goes", i);
    as_put(space);
    vmo_put(v);
    expect_clean("after tables");
}

/* An address space lives as long as somebody holds it, and a spare one remembers nothing. */
static void test_spares(void **state)
{
    (void)state;
    start();
    as_fill_spares(4);
    space = as_create();
    space->limit = FRAME_SIZE;
    as_put(as_get(space));
    expect_true(!as.spare.spaces && space->references == 1, "it is still held");
    as_put(space);
    expect_equal(as.spare.spaces, 1, "spare address spaces");
    expect_true(as_create() == space && !space->limit, "the spare one comes without a limit");
    as_put(space);
}

/* ---- The audit notices -------------------------------------------------- */

static u64 *leaf(vaddr address)
{
    paddr table;

    return as_make_entry(space, address, &table);
}

static struct vmo *one_page(u32 rights)
{
    struct vmo *v;

    start();
    window = 0x400000;
    space = as_create();
    v = vmo_create(FRAME_SIZE);
    as_map(space, window, FRAME_SIZE, rights, v, 0);
    as_fault(space, window, PF_R);
    as_audit(space);
    return v;
}

static void test_audit(void **state)
{
    struct vmo *v;
    u64 *root;

    (void)state;
    one_page(PF_R);
    mapping_first(space)->node.value--;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    space->count++;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    space->size += FRAME_SIZE;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    mapping_first(space)->as = NULL;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    pmm.fail_in = 1;
    expect_panic(as_fill_spares(8), "assertion failed: table");
    pmm.fail_in = 0;
    heap.fail_in = 1;
    expect_panic(as_fill_spares(8), "assertion failed: space");
    heap.fail_in = 0;
    as_fill_spares(8);
    as_audit_kernel();
    *(u64 *)boot_physical(as.spare.table[1]) = PTE_PRESENT;
    expect_panic(as_audit_kernel(), "assertion failed");
    *(u64 *)boot_physical(as.spare.table[1]) = 0;
    *(u64 *)boot_physical(as.spare.space->root) = PTE_PRESENT;
    expect_panic(as_audit_kernel(), "assertion failed");
    *(u64 *)boot_physical(as.spare.space->root) = 0;
    as.spare.space->next->size = FRAME_SIZE;
    expect_panic(as_audit_kernel(), "assertion failed");
    as.spare.space->next->size = 0;
    as.spare.spaces++;
    expect_panic(as_audit_kernel(), "assertion failed");
    as.spare.spaces--;
    pmm_get(&pmm, as.spare.table[0]);
    expect_panic(as_audit_kernel(), "assertion failed");
    one_page(PF_R);
    *leaf(window) |= PTE_WRITE;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    *leaf(window) &= ~PTE_NX;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R | PF_W);
    *leaf(window) &= ~PTE_USER;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R | PF_W);
    *leaf(window) |= PTE_WRITE;         /* to the page of zeros */
    expect_panic((pmm_get(&pmm, vmo.zero), as_audit(space)), "assertion failed");
    one_page(PF_R);
    *leaf(window) = (*leaf(window) & ~PTE_ADDRESS) | host.info.root;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    *leaf(window + FRAME_SIZE) = *leaf(window);
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    *leaf(window) = 0;
    expect_panic(as_audit(space), "assertion failed");
    v = one_page(PF_R | PF_W);
    vmo.revoke = vmo_revoke_nothing;    /* a page of zeros that should be gone */
    vmo_commit(v, 0, 1);
    expect_panic(as_audit(space), "assertion failed");
    v = one_page(PF_R | PF_W);
    as_fault(space, window, PF_W);
    as_audit(space);
    pmm_put(&pmm, vmo_frame(v, 0));     /* a frame that is free */
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    ((u64 *)boot_physical(space->root))[256] = space->root | PTE_PRESENT | PTE_USER;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    ((u64 *)boot_physical(space->root))[256] = PTE_LARGE | PTE_PRESENT | PTE_NX;
    expect_panic(as_audit(space), "assertion failed");
    one_page(PF_R);
    root = boot_physical(host.info.root);
    ((u64 *)boot_physical(space->root))[256] = root[256] = PTE_LARGE | PTE_PRESENT | PTE_NX;
    as_audit(space);
    as_audit_kernel();
    root[256] |= PTE_USER;
    expect_panic(as_audit_kernel(), "assertion failed");
    root[256] = PTE_LARGE | PTE_PRESENT | PTE_WRITE;
    expect_panic(as_audit_kernel(), "assertion failed");
    root[256] = 0;
    root[511] = host.info.root | PTE_PRESENT | PTE_USER;
    expect_panic(as_audit_kernel(), "assertion failed");
    root[511] = 0;
}

/* ---- The stack ---------------------------------------------------------- */

static u64 stack_word(struct vmo *v, vaddr at)
{
    u64 word = 0;

    expect_equal(vmo_read(v, at - USER_STACK_START, &word, 8), 0, "reading the stack at 0x%lx", at);
    return word;
}

static void check_stack(const char *const *arguments, u64 count)
{
    struct elf_image image = {.entry = 0x401234, .headers = 0x400040, .header_count = 7};
    static const u64 kinds[] = {AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_ENTRY};
    const u64 facts[] = {0x400040, 56, 7, 4096, 0x401234};
    struct vmo *v = vmo_create(USER_STACK_SIZE);
    vaddr sp = 0, at;
    char text[64];
    u64 i, j;

    expect_equal(user_build_stack(v, &image, arguments, &sp), 0, "%lu arguments", count);
    expect_true(sp && sp % 16 == 0 && sp < USER_END, "%lu arguments: stack pointer 0x%lx", count,
                sp);
    expect_equal(stack_word(v, sp), count, "argc");
    for (i = 0; i < count; i++) {
        at = stack_word(v, sp + 8 + 8 * i);
        vmo_read(v, at - USER_STACK_START, text, libc_strlen(arguments[i]) + 1);
        expect_text(text, arguments[i], "argument %lu of %lu", i, count);
    }
    expect_equal(stack_word(v, sp + 8 + 8 * count), 0, "the end of the arguments");
    expect_equal(stack_word(v, sp + 16 + 8 * count), 0, "the end of the environment");
    for (at = sp + 24 + 8 * count, i = 0; stack_word(v, at) != AT_NULL; at += 16)
        for (j = 0; j < array_count(kinds); j++)
            if (stack_word(v, at) == kinds[j]) {
                expect_equal(stack_word(v, at + 8), facts[j], "fact number %lu", kinds[j]);
                i++;
            }
    expect_equal(i, array_count(kinds), "facts");
    vmo_put(v);
}

static void test_stack(void **state)
{
    static const char *const arguments[] = {"program", "", "a", "bc", "def", "five", "six and more",
                                            "7", "8"};
    const char *some[10];
    struct elf_image image = {.entry = 1};
    struct vmo *v;
    u64 count, i;
    vaddr sp;

    (void)state;
    start();
    for (count = 0; count <= USER_ARGUMENTS; count++) {
        for (i = 0; i < count; i++)
            some[i] = arguments[i];
        some[count] = NULL;
        check_stack(some, count);
    }
    for (i = 0; i < 9; i++)
        some[i] = arguments[i];
    some[9] = NULL;
    v = vmo_create(USER_STACK_SIZE);
    expect_equal(user_build_stack(v, &image, some, &sp), -E2BIG, "too many arguments");
    vmo_put(v);
    expect_clean("after stacks");
}

static void test_stack_overflow(void **state)
{
    char *text = malloc(USER_STACK_SIZE + 1);
    const char *arguments[] = {"program", text, NULL};
    struct elf_image image = {.entry = 1};
    struct vmo *v;
    vaddr sp;

    (void)state;
    start();
    libc_memset(text, 'x', USER_STACK_SIZE);
    text[USER_STACK_SIZE] = 0;
    v = vmo_create(USER_STACK_SIZE);
    expect_equal(user_build_stack(v, &image, arguments, &sp), -E2BIG, "an argument of 8 MiB");
    text[USER_STACK_SIZE - 8] = 0;
    expect_equal(user_build_stack(v, &image, arguments, &sp), -E2BIG, "no room");
    vmo_put(v);
    free(text);
    expect_clean("after long arguments");
}

/* ---- A program from start to end, without running it -------------------- */

static struct trap_frame first_frame;
static int (*pretend)(void);

static int enter(struct trap_frame *f)
{
    first_frame = *f;
    return pretend ? pretend() : 7;
}

static void make_program(u8 *file)
{
    static const struct elf_segment_header segments[] = {
        {PT_LOAD, 5, 0, 0x400000, 0, 0x200, 0x200, 4096},
        {PT_LOAD, 6, 0x200, 0x401200, 0, 0x10, 0x5000, 4096}};

    libc_memset(file, 'x', 0x400);
    *(struct elf_header *)file = (struct elf_header){
        .ident = {0x7f, 'E', 'L', 'F', 2, 1, 1}, .type = 2, .machine = 62, .version = 1,
        .entry = 0x400100, .phoff = 64, .phentsize = 56, .phnum = 2};
    libc_memcpy(file + 64, segments, sizeof segments);
}

static int run(const char *argument)
{
    const char *arguments[] = {"test", argument, NULL};
    static u8 bytes[0x400];
    struct vmo *file;
    int status = -ENOMEM;

    make_program(bytes);
    file = elf_file(bytes, bytes + sizeof bytes);
    if (file) {
        status = user_run(file, arguments);
        vmo_put(file);
    }
    expect_true(!cpu_local()->space && !program_current(), "no program is current at the end");
    return status;
}

/* What a program might do: it touches code, data, bss and stack. */
static int touch_all(void)
{
    struct as *s = program_current()->space;
    u8 byte;

    expect_true(cpu_local()->space == s, "its tables are loaded");
    if (as_fault(s, first_frame.rip, PF_X) || as_fault(s, 0x401200, PF_W) ||
        as_fault(s, 0x405000, PF_W) || as_fault(s, first_frame.rsp, PF_W) ||
        as_fault(s, 0x402000, PF_R))
        return 99;
    expect_equal(as_fault(s, 0x400000, PF_W), -EFAULT, "writing code");
    expect_equal(as_fault(s, 0x401200, PF_X), -EFAULT, "executing data");
    expect_equal(as_fault(s, USER_STACK_START - 1, PF_W), -EFAULT, "below the stack");
    expect_equal(as_fault(s, 0, PF_R), -EFAULT, "null");
    expect_equal(as_fault(s, KERNEL_BASE, PF_R), -EFAULT, "the kernel");
    expect_equal(as_fault(s, ~0UL, PF_R), -EFAULT, "the last byte");
    expect_equal(as_read(s, 0x401200, &byte, 1), 1, "reading data");
    expect_equal(byte, 'x', "the data");
    return 42;
}

static void test_run(void **state)
{
    (void)state;
    start();
    pretend = touch_all;
    expect_equal(run("argument"), 42, "status");
    expect_equal(first_frame.rip, 0x400100, "entry point");
    expect_equal(first_frame.rsp % 16, 0, "alignment of the stack");
    expect_equal(first_frame.cs & 3, 3, "ring");
    expect_equal(first_frame.ss & 3, 3, "ring of the stack");
    expect_equal(first_frame.rflags & ~0x202UL, 0, "flags");
    expect_clean("after a program");
}

static void test_run_failures(void **state)
{
    u64 n, which;
    int status;

    (void)state;
    pretend = touch_all;
    for (which = 0; which < 2; which++)
        for (n = 1, status = -ENOMEM; status != 42; n++) {
            start();
            *(which ? &pmm.fail_in : &heap.fail_in) = n;
            status = run("argument");
            pmm.fail_in = heap.fail_in = 0;
            expect_true(status == -ENOMEM || status == 99 || status == 42,
                        "allocation %lu fails: status %d", n, status);
            expect_clean("after a program that failed");
            expect_true(n < 200, "the program succeeds in the end");
        }
}

/* ---- Calls and crimes --------------------------------------------------- */

static int ended_code, ended_signal;

static void end(int code, int signal)
{
    ended_code = code;
    ended_signal = signal;
}

static vaddr fault_address;

static u64 read_zero(void)
{
    return 0;
}

static u64 read_cr2(void)
{
    return fault_address;
}

static void expect_killed(u64 vector, u64 error, vaddr address, int signal, const char *part)
{
    struct trap_frame f = {.vector = vector, .error = error, .rip = 0x400123,
                           .cs = SEGMENT_USER_CODE};

    host_forget_output();
    fault_address = address;
    ended_signal = -1;
    user_trap(&f);
    expect_equal(ended_signal, signal, "signal for vector %lu, error %lu, address 0x%lx", vector,
                 error, address);
    expect_true(strstr(host_output.text, part), "the message for vector %lu has \"%s\": %s", vector,
                part, host_output.text);
}

static bool catch_all(struct trap_frame *f, int signal)
{
    (void)f, (void)signal;
    return true;
}

static int commit_crimes(void)
{
    struct trap_frame f = {.vector = 14, .error = 6, .cs = SEGMENT_USER_CODE};

    user.end = end;
    ended_signal = -1;
    fault_address = 0x401200;
    user_trap(&f);
    expect_equal(ended_signal, -1, "a fault that can be cured is cured");
    expect_killed(0, 0, 0, SIGFPE, "user: test killed at 0x400123 by #DE divide error\n");
    expect_killed(6, 0, 0, SIGILL, "#UD");
    expect_killed(3, 0, 0, SIGTRAP, "#BP");
    expect_killed(13, 0, 0, SIGSEGV, "#GP");
    expect_killed(17, 0, 0, SIGBUS, "#AC");
    expect_killed(14, 4, 0, SIGSEGV, "attempt to read 0x0: nothing is mapped there");
    expect_killed(14, 7, 0x400000, SIGSEGV, "attempt to write 0x400000: the mapping forbids it");
    expect_killed(14, 0x15, 0x401200, SIGSEGV, "attempt to execute 0x401200");
    expect_killed(14, 4, USER_STACK_START - 8, SIGSEGV, "it ran off its stack");
    expect_killed(14, 4, KERNEL_BASE, SIGSEGV, "that is not a program's memory");
    expect_killed(14, 0xf, 0x401200, SIGSEGV, "");  /* a reserved bit: never cured */
    user.catch = catch_all;
    f.error = 4, fault_address = 0, ended_signal = -1;
    user_trap(&f);
    expect_equal(ended_signal, -1, "a program that catches its signal does not end");
    user.catch = user_catch_nothing;
    f.cs = SEGMENT_KERNEL_CODE;
    expect_exit(user_trap(&f), 1);      /* what happens in ring 0 is our fault */
    boot.panics = 0;
    pmm.fail_in = 1;
    expect_killed(14, 6, 0x404000, SIGKILL, "there is no memory left");
    user.end = user_return;
    return 1;
}

static void test_crimes(void **state)
{
    (void)state;
    start();
    pretend = commit_crimes;
    expect_equal(run(NULL), 1, "status");
    expect_clean("after crimes");
}

static s64 call(u64 number, u64 a, u64 b, u64 c)
{
    struct trap_frame f = {.rax = number, .rdi = a, .rsi = b, .rdx = c};

    user_syscall(&f);
    return (s64)f.rax;
}

static s64 add_call(struct trap_frame *f)
{
    return (s64)(f->rdi + f->rsi);
}

/* Pointers a program should not pass, with lengths of all sizes. */
static void wrong_pointers(void)
{
    static const u64 pointers[] = {0, 1, 0x3ff000, 0x407000, USER_STACK_START - 1, USER_END,
                                   0x7fffffffffff, 0x800000000000, DIRECT_MAP, KERNEL_BASE,
                                   1UL << 63, ~0UL - 4096, ~0UL};
    static const u64 lengths[] = {1, 4095, 4096, 4097, 1UL << 31, 1UL << 47, 1UL << 63, ~0UL};
    u64 i, j;

    for (i = 0; i < array_count(pointers); i++) {
        for (j = 0; j < array_count(lengths); j++)
            expect_equal(call(SYS_WRITE, 1, pointers[i], lengths[j]), -EFAULT,
                         "write(1, 0x%lx, 0x%lx)", pointers[i], lengths[j]);
        expect_equal(call(SYS_WRITE, 1, pointers[i], 0), pointers[i] > USER_END ? -EFAULT : 0,
                     "write(1, 0x%lx, 0)", pointers[i]);
    }
}

static int make_calls(void)
{
    static const u64 numbers[] = {0, 2, 511, 512, 513, 0xfff, 0x1000, 0x1000 + 64, 1UL << 32,
                                  1UL << 32 | 1, 1UL << 63 | 1, ~0UL};
    u64 i;

    user_add_call(SYS_WRITE, sys_write);
    host_forget_output();
    expect_equal(call(SYS_WRITE, 1, 0x400000 + 1, 3), 3, "write(1, \"ELF\", 3)");
    expect_text(host_output.text, "ELF", "what is written");
    expect_equal(call(SYS_WRITE, 2, 0x401200, 16), 16, "write(2, ...)");
    expect_equal(call(SYS_WRITE, 1UL << 32 | 1, 0x401200, 1), 1, "a descriptor is an int");
    expect_equal(call(SYS_WRITE, 0, 0x401200, 1), -EBADF, "write(0, ...)");
    expect_equal(call(SYS_WRITE, 3, 0x401200, 1), -EBADF, "write(3, ...)");
    expect_equal(call(SYS_WRITE, 257, 0x401200, 1), -EBADF, "write(257, ...)");
    expect_equal(call(SYS_WRITE, ~0UL, 0x401200, 1), -EBADF, "write(-1, ...)");
    host_forget_output();
    expect_equal(call(SYS_WRITE, 1, 0x406f00, 0x1000), 0x100,
                 "write() up to the end of the mapping");
    wrong_pointers();
    for (i = 0; i < array_count(numbers); i++)
        expect_equal(call(numbers[i], 1, 2, 3), -ENOSYS, "call number 0x%lx", numbers[i]);
    user_add_call(SYSCALL_OWN + 63, add_call);
    expect_equal(call(SYSCALL_OWN + 63, 40, 2, 0), 42, "the last of our own calls");
    expect_panic(user_add_call(SYSCALL_COUNT, add_call), "assertion failed");
    expect_panic(user_add_call(SYSCALL_OWN + 64, add_call), "assertion failed");
    user.end = end;
    call(SYS_EXIT, 1, 2, 3);
    user_add_call(SYS_EXIT, sys_exit);
    call(SYS_EXIT, 0x1234, 2, 3);
    expect_equal(ended_code, 0x34, "exit(0x1234): code");
    expect_equal(ended_signal, 0, "exit(0x1234): signal");
    user.end = user_return;
    return 2;
}

static void test_calls(void **state)
{
    (void)state;
    start();
    libc_memset(user.call, 0, sizeof user.call);
    libc_memset(user.own_call, 0, sizeof user.own_call);
    pretend = make_calls;
    expect_equal(run(NULL), 2, "status");
    expect_clean("after calls");
}

/* ---- The tree ---------------------------------------------------------------
 *
 * It must hold the same as an array. Nodes are sorted by where they lie.
 */

#define NODES 150

static struct tree_node node[NODES], *root;
static bool is_in[NODES];
static u64 value[NODES];

static void add_node(u64 i)
{
    struct tree_node *n = root, *parent = NULL;
    int side = 0;

    while (n) {
        parent = n;
        side = n < &node[i];
        n = n->child[side];
    }
    value[i] = host_below(&seed, 1000);
    tree_insert(&root, parent, side, &node[i], value[i]);
    is_in[i] = true;
}

static void change_node(u64 i)
{
    switch (is_in[i] ? 1 + host_below(&seed, 2) : 0) {
    case 0: add_node(i); break;
    case 1: tree_remove(&root, &node[i]); is_in[i] = false; break;
    case 2:
        node[i].value = value[i] = host_below(&seed, 1000);
        tree_repair(&root, &node[i]);
    }
}

static void check_tree(void)
{
    struct tree_node *n = tree_end(root, 0), *last = NULL;
    u64 i, largest = 0, count = 0;

    for (i = 0; i < NODES; i++) {
        if (!is_in[i])
            continue;
        expect_true(n == &node[i], "node %lu is the next one", i);
        expect_true(tree_step(n, 0) == last, "the one before node %lu", i);
        expect_equal(n->value, value[i], "the value of node %lu", i);
        largest = value[i] > largest ? value[i] : largest;
        count++;
        last = n;
        n = tree_step(n, 1);
    }
    expect_true(!n, "there is no other");
    expect_true(tree_end(root, 1) == last, "the last one");
    expect_equal(tree_largest(root), largest, "the largest value of %lu", count);
    for (i = 1; count >> i; i++)
        ;
    expect_true(tree_audit(root, NULL) * 100 <= 144 * i + 100, "%lu nodes have %lu levels", count,
                tree_height(root));
}

static void test_tree(void **state)
{
    u64 i, order;

    (void)state;
    for (seed = order = 0; order < 3; order++) {
        for (i = 0; i < NODES; i++)
            add_node(order == 0 ? i : order == 1 ? NODES - 1 - i : i * 7 % NODES), check_tree();
        for (i = 0; i < NODES; i++) {
            tree_remove(&root, &node[i * 11 % NODES]);
            is_in[i * 11 % NODES] = false;
            check_tree();
        }
    }
    for (i = 0; i < 20000; i++)
        change_node(host_below(&seed, NODES)), check_tree();
    for (i = 0; i < NODES; i++)
        if (is_in[i])
            change_node(i), i--;
}

/* The gap that is found must be the highest there is. All but a few of the pages that
 * new memory may have are taken by one mapping. */

static void check_gap(u64 pages)
{
    vaddr low = USER_PROGRAM_END - PAGES * FRAME_SIZE;
    u64 from, i, wanted = 0;

    for (from = 0; from + pages <= PAGES; from++) {
        for (i = 0; i < pages && !mapped[from + i].object; i++)
            ;
        if (i == pages)
            wanted = low + from * FRAME_SIZE;
    }
    expect_equal(as_find_gap(space, pages * FRAME_SIZE), wanted, "step %lu: a gap of %lu pages",
                 step_number, pages);
}

static void test_gaps(void **state)
{
    struct vmo *v;
    u64 i;

    (void)state;
    start();
    seed = 5;
    window = USER_PROGRAM_END - PAGES * FRAME_SIZE;
    space = as_create();
    as_switch(space);
    expect_equal(as_find_gap(space, FRAME_SIZE), USER_PROGRAM_END - FRAME_SIZE, "none is mapped");
    v = vmo_create(VMO_SIZE_MAX);
    expect_equal(as_map(space, USER_START, window - USER_START, PF_R, v, 0), 0, "what is below");
    expect_equal(as_map(space, USER_STACK_START, FRAME_SIZE, PF_R, v, 0), 0, "a stack");
    for (step_number = 0; step_number < 20000; step_number++) {
        random_step();
        for (i = 1; i < 12; i++)
            check_gap(i);
    }
    expect_equal(as_find_gap(space, USER_END), 0, "more than there is");
    expect_equal(as_find_gap(space, 0), 0, "nothing");
    as_audit(space);
    as_switch(NULL);
    as_put(space);
    vmo_put(v);
    for (i = 0; i < VMOS; i++)
        if (objects[i].vmo)
            put_object(&objects[i]);
    expect_clean("after gaps");
}

static int setup(void **state)
{
    host_watch_memory();
    host_replace(cpu_invlpg, forget_page);
    host_replace(cpu_write_cr3, forget_all);
    host_replace(cpu_read_cr2, read_cr2);
    host_replace(cpu_fxrstor, do_nothing);
    host_replace(cpu_cli, do_nothing);
    host_replace(cpu_read_cr0, read_zero);
    host_replace(cpu_read_cr3, read_zero);
    host_replace(cpu_read_cr4, read_zero);
    host_replace(user_enter, enter);
    return host_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random), cmocka_unit_test(test_wrong_ranges),
        cmocka_unit_test(test_huge), cmocka_unit_test(test_two_spaces),
        cmocka_unit_test(test_audit), cmocka_unit_test(test_stack),
        cmocka_unit_test(test_stack_overflow), cmocka_unit_test(test_run),
        cmocka_unit_test(test_run_failures), cmocka_unit_test(test_crimes),
        cmocka_unit_test(test_calls), cmocka_unit_test(test_tree), cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_long_range), cmocka_unit_test(test_tables),
        cmocka_unit_test(test_spares)};

    return cmocka_run_group_tests(tests, setup, host_teardown);
}
