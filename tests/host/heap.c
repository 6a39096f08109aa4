/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapter 4: the heap against a list of what was asked for, and against its users. */

#include "host.h"

static struct pmm small;         /* for heaps that are to be exhausted */
static struct frame small_table[64];
static u64 small_bits[1];

/* A heap over all of a machine with 32 MiB. */
static void start(void)
{
    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
}

/* A heap over 64 frames. */
static void start_small(void)
{
    host_machine(32 * MIB);
    pmm_start(&small, small_table, small_bits, MIB, 64, 64);
    pmm_add_run(&small, 0, 64);
    heap = (struct heap){.pmm = &small};
}

/* Nothing is in use, and all frames come back. */
static void expect_empty(const char *when)
{
    expect_equal(heap.blocks, 0, "blocks %s", when);
    expect_equal(heap.bytes, 0, "bytes %s", when);
    heap_audit(&heap);
    heap_trim(&heap);
    heap_audit(&heap);
    expect_equal(heap.frames, 0, "frames held %s", when);
    expect_equal(heap.pmm->states[FRAME_USED], heap.pmm == &small ? 0 : 17, "frames used %s", when);
    pmm_audit(heap.pmm);
}

/* ---- Classes ------------------------------------------------------------ */

static void test_classes(void **state)
{
    u64 smallest[HEAP_CLASSES], class = 0, size, above;

    (void)state;
    libc_memset(smallest, 0xff, sizeof smallest);
    for (size = HEAP_SMALLEST; size < 8 * MIB; size += HEAP_ALIGN) {
        expect_true(heap_class(size) >= class && heap_class(size) < HEAP_CLASSES,
                    "the classes of sizes ascend at %lu", size);
        class = heap_class(size);
        if (size < smallest[class])
            smallest[class] = size;
    }
    for (size = HEAP_SMALLEST; size < HEAP_BIG; size += HEAP_ALIGN) {
        above = heap_class_above(size);
        expect_true(smallest[above] >= size, "all blocks of class %lu hold %lu bytes", above, size);
        expect_equal(above, heap_class(size) + (smallest[heap_class(size)] != size),
                     "the class to search for %lu bytes", size);
    }
}

/* ---- Against a shadow --------------------------------------------------- */

#define SLOTS 256

static struct {
    u8 *block;
    u64 size;
    u8 pattern;
} shadow[SLOTS];

static u64 shadow_blocks, shadow_bytes;

static u8 pattern_at(u64 i, u64 at)
{
    return (u8)(shadow[i].pattern + at * 31);
}

static void shadow_forget(void)
{
    libc_memset(shadow, 0, sizeof shadow);
    shadow_blocks = shadow_bytes = 0;
}

static void shadow_fill(u64 i, u64 size, u64 *seed)
{
    u64 at;

    shadow[i].size = size;
    shadow[i].pattern = (u8)host_random(seed);
    for (at = 0; at < size; at++)
        shadow[i].block[at] = pattern_at(i, at);
}

static void shadow_check(u64 i, u64 size, u64 step)
{
    u64 at;

    for (at = 0; at < size; at++)
        if (shadow[i].block[at] != pattern_at(i, at))
            expect_equal(shadow[i].block[at], pattern_at(i, at), "step %lu: byte %lu of %lu", step,
                         at, size);
}

static u64 random_size(u64 *seed)
{
    switch (host_below(seed, 16)) {
    case 0: return host_below(seed, 3);
    case 1: return FRAME_SIZE - 64 + host_below(seed, 128);
    case 2: return host_below(seed, 100000);
    case 3: return host_below(seed, 200) ? 64 * host_below(seed, 64) : host_below(seed, 3 * MIB);
    default: return host_below(seed, 1UL << host_below(seed, 12));
    }
}

static void shadow_took(u64 i, void *block, u64 size, u64 align, u64 *seed, u64 step)
{
    u64 other;

    if (!block)
        return;
    expect_equal((u64)block % align, 0, "step %lu: alignment to %lu", step, align);
    for (other = 0; other < SLOTS; other++)
        expect_true(!shadow[other].block || shadow[other].block >= (u8 *)block + size ||
                    shadow[other].block + shadow[other].size <= (u8 *)block,
                    "step %lu: a block of %lu bytes overlaps none of %lu", step, size,
                    shadow[other].size);
    shadow[i].block = block;
    shadow_fill(i, size, seed);
    shadow_blocks++;
    shadow_bytes += size;
}

static void shadow_alloc(u64 i, u64 *seed, u64 step)
{
    u64 size = random_size(seed), align = 1UL << host_below(seed, 13), at;
    u8 *block;

    switch (host_below(seed, 3)) {
    case 0:
        shadow_took(i, heap_alloc(&heap, size), size, HEAP_ALIGN, seed, step);
        break;
    case 1:
        block = heap_alloc_zeroed(&heap, size);
        for (at = 0; block && at < size; at++)
            if (block[at])
                expect_equal(block[at], 0, "step %lu: byte %lu of a cleared block", step, at);
        shadow_took(i, block, size, HEAP_ALIGN, seed, step);
        break;
    default:
        block = heap_alloc_aligned(&heap, size, align);
        shadow_took(i, block, size, align < HEAP_ALIGN ? HEAP_ALIGN : align, seed, step);
    }
}

static void shadow_free(u64 i, u64 step)
{
    shadow_check(i, shadow[i].size, step);
    heap_free(&heap, shadow[i].block);
    shadow[i].block = NULL;
    shadow_blocks--;
    shadow_bytes -= shadow[i].size;
}

static void shadow_realloc(u64 i, u64 *seed, u64 step)
{
    u64 size = random_size(seed), old = shadow[i].size, other;
    u8 *block = heap_realloc(&heap, shadow[i].block, size);

    if (!block) {
        shadow_check(i, old, step);
        return;
    }
    shadow[i].block = block;
    shadow_check(i, old < size ? old : size, step);
    for (other = 0; other < SLOTS; other++)
        expect_true(other == i || !shadow[other].block || shadow[other].block >= block + size ||
                    shadow[other].block + shadow[other].size <= block,
                    "step %lu: a block resized to %lu bytes overlaps none of %lu", step, size,
                    shadow[other].size);
    shadow_bytes += size - old;
    shadow_fill(i, size, seed);
}

static u64 shadow_steps;

static void shadow_step(u64 *seed, u64 step, u64 slots, bool failing)
{
    u64 i = host_below(seed, slots);

    shadow_steps++;
    if (failing && host_below(seed, 10) == 0)
        heap.fail_in = 1 + host_below(seed, 2);
    if (failing && host_below(seed, 10) == 0)
        heap.pmm->fail_in = 1;
    if (!shadow[i].block)
        shadow_alloc(i, seed, step);
    else if (host_below(seed, 3) == 0)
        shadow_realloc(i, seed, step);
    else
        shadow_free(i, step);
    expect_equal(heap.blocks, shadow_blocks, "step %lu: blocks", step);
    expect_equal(heap.bytes, shadow_bytes, "step %lu: bytes", step);
    if (step % 64 == 0)
        heap_audit(&heap);
}

static void shadow_round(u64 round, u64 steps, bool is_small)
{
    u64 seed = round, step, i, slots = 1 + host_below(&seed, SLOTS);

    is_small ? start_small() : start();
    shadow_forget();
    for (step = 0; step < steps; step++)
        shadow_step(&seed, step, slots, is_small);
    heap.fail_in = heap.pmm->fail_in = 0;
    for (i = 0; i < SLOTS; i++)
        if (shadow[i].block)
            shadow_free(i, step);
    expect_empty("after all was freed");
}

static void test_shadow(void **state)
{
    u64 round;

    (void)state;
    for (round = 0; round < host_rounds(40); round++)
        shadow_round(round, 3000, false);
}

/* The same with 64 frames, which are often not enough, and with failures. */
static void test_shadow_small(void **state)
{
    u64 round;

    (void)state;
    for (round = 0; round < host_rounds(100); round++)
        shadow_round(1000 + round, 1000, true);
    host_proof("steps", shadow_steps);
}

/* ---- Sizes at the edges ------------------------------------------------- */

static void test_sizes(void **state)
{
    u64 size;
    u8 *a, *b;

    (void)state;
    start();
    a = heap_alloc(&heap, 0);
    b = heap_alloc(&heap, 0);
    expect_true(a && b && a != b, "two blocks of no bytes are two blocks");
    heap_free(&heap, a);
    heap_free(&heap, b);
    heap_free(&heap, NULL);
    for (size = 1; size < 300 * KIB; size += size < 5000 ? 1 : 977) {
        a = heap_alloc(&heap, size);
        libc_memset(a, 0x55, size);
        heap_free(&heap, a);
    }
    for (size = HEAP_BIG - 100; size < HEAP_BIG + 100; size++) {
        a = heap_alloc(&heap, size);
        libc_memset(a, 0x55, size);
        heap_free(&heap, a);
        heap_audit(&heap);
    }
    expect_empty("after blocks of all sizes");
}

static void test_too_large(void **state)
{
    static const u64 sizes[] = {32 * MIB, HEAP_LARGEST, HEAP_LARGEST + 1, 1UL << 32, 1UL << 40,
                                1UL << 63, ~0UL - 100, ~0UL - 15, ~0UL};
    u64 i;
    u8 *a;

    (void)state;
    start();
    a = heap_alloc(&heap, 100);
    libc_memset(a, 0x77, 100);
    for (i = 0; i < array_count(sizes); i++) {
        expect_true(!heap_alloc(&heap, sizes[i]), "0x%lx bytes are refused", sizes[i]);
        expect_true(!heap_alloc_zeroed(&heap, sizes[i]), "0x%lx zeros are refused", sizes[i]);
        expect_true(!heap_alloc_aligned(&heap, sizes[i], 4096), "0x%lx aligned bytes", sizes[i]);
        expect_true(!heap_realloc(&heap, a, sizes[i]), "growing to 0x%lx bytes", sizes[i]);
        expect_true(!heap_realloc(&heap, NULL, sizes[i]), "0x%lx bytes out of nothing", sizes[i]);
        heap_audit(&heap);
    }
    for (i = 0; i < 100; i++)
        expect_equal(a[i], 0x77, "byte %lu of the block that was to grow", i);
    heap_free(&heap, a);
    expect_empty("after refusals");
}

static void test_alignments(void **state)
{
    static const u64 bad[] = {0, 3, 24, 8192, ~0UL};
    u64 align, size, before, i;
    void *keep[64], *a;

    (void)state;
    start();
    for (align = 1; align <= FRAME_SIZE; align *= 2)
        for (size = 0; size < 3000; size += 123) {
            for (before = 0; before < 8; before++)      /* put the heap out of step */
                keep[before] = heap_alloc(&heap, before * 16);
            a = heap_alloc_aligned(&heap, size, align);
            expect_true(a && (u64)a % align == 0, "%lu bytes aligned to %lu", size, align);
            libc_memset(a, 0x11, size);
            heap_audit(&heap);
            for (before = 0; before < 8; before++)
                heap_free(&heap, keep[before]);
            heap_audit(&heap);
            heap_free(&heap, a);
        }
    for (i = 0; i < array_count(bad); i++)
        expect_panic(heap_alloc_aligned(&heap, 10, bad[i]), "assertion failed");
    heap_trim(&heap);
    for (i = 0; i < 8; i++)
        keep[i] = heap_alloc_aligned(&heap, 100, FRAME_SIZE);
    expect_equal(heap.frames, 16, "frames for eight blocks of 100 bytes, one in a frame");
    for (i = 0; i < 8; i++)
        heap_free(&heap, keep[i]);
    expect_empty("after alignments");
}

static void test_resizing(void **state)
{
    static const u64 sizes[] = {0, 1, 15, 16, 17, 100, 1000, 4096, 60000, 70000, 200000, 1100000};
    u64 i, j, at;
    u8 *a, *b;

    (void)state;
    start();
    for (i = 0; i < array_count(sizes); i++)
        for (j = 0; j < array_count(sizes); j++) {
            a = heap_alloc(&heap, sizes[i]);
            for (at = 0; at < sizes[i]; at++)
                a[at] = (u8)(at * 7);
            b = heap_realloc(&heap, a, sizes[j]);
            expect_true(b, "from %lu to %lu bytes", sizes[i], sizes[j]);
            for (at = 0; at < sizes[i] && at < sizes[j]; at++)
                if (b[at] != (u8)(at * 7))
                    expect_equal(b[at], (u8)(at * 7), "byte %lu, from %lu to %lu", at, sizes[i],
                                 sizes[j]);
            expect_equal(heap.bytes, sizes[j], "bytes in use");
            heap_audit(&heap);
            heap_free(&heap, b);
        }
    expect_empty("after resizing");
}

/* In place if there is room behind, or if it shrinks. */
static void test_resizing_in_place(void **state)
{
    u8 *a, *b, *c;

    (void)state;
    start();
    a = heap_alloc(&heap, 1000);
    expect_true(heap_realloc(&heap, a, 5000) == a, "growing into free memory stays in place");
    expect_true(heap_realloc(&heap, a, 10) == a, "shrinking stays in place");
    b = heap_alloc(&heap, 1000);
    expect_true(b > a && b < a + 200, "what was cut off is used again");
    c = heap_realloc(&heap, a, 1000);
    expect_true(c != a, "growing without room moves");
    heap_free(&heap, b);
    heap_free(&heap, c);
    expect_empty("after resizing in place");
}

/* ---- No memory ---------------------------------------------------------- */

static void exhaust(u64 size, u64 order)
{
    void *block[4096];
    u64 count = 0, i, step;

    start_small();
    while ((block[count] = heap_alloc(&heap, size)))
        libc_memset(block[count], (int)count, size), count++;
    expect_true(count * (size + 64) > 64 * FRAME_SIZE / 3, "%lu blocks of %lu bytes", count, size);
    expect_true(!heap_alloc(&heap, size) && !heap_alloc_zeroed(&heap, size), "no more");
    heap_audit(&heap);
    for (step = 7; count % step == 0; step += 2)
        ;
    for (i = 0; i < count; i++)
        heap_free(&heap, block[order == 0 ? i : order == 1 ? count - 1 - i : i * step % count]);
    heap_audit(&heap);
    expect_empty("after exhaustion");
}

static void test_exhaustion(void **state)
{
    u64 size, order;

    (void)state;
    for (order = 0; order < 3; order++)
        for (size = 24; size < 60 * KIB; size = size * 3 / 2)
            exhaust(size, order);
}

/* Some calls in a row; the n-th allocation of blocks, or the n-th of frames, fails. What
   then exists is correct, and freeing it leaves nothing. */
static u64 failing_calls(void)
{
    u8 *a = heap_alloc(&heap, 100), *b, *c, *d, *moved;
    u64 failed = !a, i;

    b = heap_alloc_zeroed(&heap, 70000);
    c = heap_alloc_aligned(&heap, 3000, 512);
    d = heap_alloc(&heap, 2 * MIB);
    failed += !b + !c + !d;
    for (i = 0; a && i < 100; i++)
        a[i] = (u8)i;
    moved = heap_realloc(&heap, a, 150000);
    failed += !moved;
    for (i = 0; a && i < 100; i++)
        expect_equal((moved ? moved : a)[i], i, "byte %lu of a block that was to move", i);
    heap_audit(&heap);
    heap_free(&heap, moved ? moved : a);
    heap_free(&heap, b);
    heap_free(&heap, c);
    heap_free(&heap, d);
    return failed;
}

static void test_failures(void **state)
{
    u64 n, failed = 1;

    (void)state;
    for (n = 1; failed; n++) {
        start();
        heap.fail_in = n;
        failed = failing_calls();
        expect_equal(failed, n <= 5, "allocation %lu of blocks fails", n);
        heap.fail_in = 0;
        expect_empty("after a failure");
    }
    expect_equal(n, 7, "allocations of blocks, and two");
    for (n = 1, failed = 1; failed; n++) {
        start();
        pmm.fail_in = n;
        failed = failing_calls();
        pmm.fail_in = 0;
        expect_empty("after a failure");
    }
    expect_true(n >= 5, "allocations of frames");
}

/* Regions go back when they are empty, but for one. */
static void test_gives_back(void **state)
{
    void *a[10];
    u64 i, round;

    (void)state;
    start();
    for (round = 0; round < 3; round++) {
        for (i = 0; i < 10; i++)
            a[i] = heap_alloc(&heap, 57000);
        expect_equal(heap.frames, 160, "frames of ten regions");
        expect_equal(pmm.states[FRAME_USED], 17 + 160, "frames used");
        for (i = 0; i < 10; i++) {
            heap_free(&heap, a[(i * 3 + round) % 10]);
            heap_audit(&heap);
            expect_equal(heap.frames, i < 9 ? 16 * (10 - i) : 16, "frames with %lu left", 9 - i);
        }
        expect_equal(heap.empty_regions, 1, "spare regions");
    }
    a[0] = heap_alloc(&heap, 57000);
    expect_equal(heap.frames, 16, "the spare region is used first");
    heap_trim(&heap);
    expect_equal(heap.frames, 16, "trimming does not take what is used");
    heap_free(&heap, a[0]);
    expect_empty("after ten regions");
}

/* ---- Misuse ------------------------------------------------------------- */

static u8 *fresh(u64 size)
{
    u8 *block;

    start();
    heap_free(&heap, heap_alloc(&heap, 100));
    heap_alloc(&heap, 24);
    block = heap_alloc(&heap, size);
    heap_alloc(&heap, 24);
    libc_memset(block, 0x33, size);
    return block;
}

static void test_overrun(void **state)
{
    static const u64 sizes[] = {0, 1, 7, 8, 9, 16, 23, 24, 25, 100, 4096};
    u64 i, at;
    u8 *a;

    (void)state;
    for (i = 0; i < array_count(sizes); i++)
        for (at = 0; at < HEAP_RED_ZONE; at++) {
            a = fresh(sizes[i]);
            a[sizes[i] + at] ^= 0x80;
            expect_panic(heap_free(&heap, a), "was written past its");
            expect_panic(heap_realloc(&heap, a, 10), "was written past its");
            expect_panic(heap_audit(&heap), "was written past its");
        }
    a = fresh(100);
    libc_memset(a + 100, 0, 60);
    expect_panic(heap_audit(&heap), "");
}

/* Every one of the bytes before a block. */
static void test_underrun(void **state)
{
    u64 before;
    u8 *a;

    (void)state;
    for (before = 1; before <= 16; before++) {
        a = fresh(100);
        libc_memset(a - before, 0, before);
        expect_panic(heap_free(&heap, a), "");
    }
    for (before = 17; before <= 32; before++) {
        a = fresh(100);
        libc_memset(a - before, 0, before);
        expect_panic(heap_audit(&heap), "");
    }
}

static void test_double_free(void **state)
{
    u8 *a, *b, *c;

    (void)state;
    a = fresh(100);
    heap_free(&heap, a);
    expect_panic(heap_free(&heap, a), "freed twice");
    expect_panic(heap_realloc(&heap, a, 10), "freed twice");
    heap_audit(&heap);
    start();
    a = heap_alloc(&heap, 100);
    b = heap_alloc(&heap, 100);
    c = heap_alloc(&heap, 100);
    heap_free(&heap, b);
    heap_free(&heap, c);                /* merges with b and what is behind */
    expect_panic(heap_free(&heap, c), "freed twice");
    heap_free(&heap, a);
    expect_panic(heap_free(&heap, b), "freed twice");
    expect_panic(heap_free(&heap, a), "freed twice");
    heap_trim(&heap);
    expect_panic(heap_free(&heap, a), "is not from the heap");
}

static void test_wild_free(void **state)
{
    static u64 not_heap[16];
    u8 *a, *end;
    u64 i;

    (void)state;
    a = fresh(1000);
    for (i = 1; i < 16; i++)
        expect_panic(heap_free(&heap, a + i), "is not from the heap");
    for (i = 16; i < 1000; i += 16)
        expect_panic(heap_free(&heap, a + i), "is no heap block");
    expect_panic(heap_free(&heap, a - 16), "");
    expect_panic(heap_free(&heap, a - 32), "");
    expect_panic(heap_free(&heap, align_down(not_heap + 2, 16) + (u8 *)0), "is not from the heap");
    expect_panic(heap_free(&heap, (void *)16), "is not from the heap");
    expect_panic(heap_free(&heap, (void *)~15UL), "is not from the heap");
    expect_panic(heap_free(&heap, boot_physical(20 * MIB)), "is not from the heap");
    expect_panic(heap_free(&heap, boot_physical(FRAME_SIZE + 16)), "is not from the heap");
    expect_panic(heap_free(&heap, boot_physical(31 * MIB) + MIB), "is not from the heap");
    expect_panic(heap_free(&heap, heap.regions), "");
    expect_panic(heap_free(&heap, heap.regions + 1), "is no heap block");
    end = (u8 *)heap.regions + heap.regions->size;
    expect_panic(heap_free(&heap, end), "");
    heap_audit(&heap);
}

/* Writing to a block after freeing it. */
static void test_late_write(void **state)
{
    u64 at;
    u8 *a;

    (void)state;
    for (at = 16; at < 100; at++) {
        a = fresh(100);
        heap_free(&heap, a);
        a[at] ^= 1;
        expect_panic(heap_audit(&heap), "was written to");
        expect_panic(heap_alloc(&heap, 60), "was written to");
    }
}

static void test_provocations(void **state)
{
    (void)state;
    start();
    expect_panic(provoke_heap_twice(), "freed twice");
    start();
    expect_panic(provoke_heap_overrun(), "was written past its 100 bytes");
    start();
    expect_panic(provoke_heap_wild(), "is not from the heap");
}

/* ---- The audit notices damage ------------------------------------------- */

static struct block *used, *gap, *other_gap;

/* used, gap, used, gap of the same class, used, the rest of the region. */
static void sound(void)
{
    void *a[5];
    u64 i;

    start();
    for (i = 0; i < 5; i++)
        a[i] = heap_alloc(&heap, 500);
    used = (struct block *)a[0] - 1;
    gap = (struct block *)a[1] - 1;
    other_gap = (struct block *)a[3] - 1;
    heap_free(&heap, a[1]);
    heap_free(&heap, a[3]);
    heap_audit(&heap);
}

#define free_of(b) ((struct free_block *)(b))

#define expect_noticed(damage) \
    do { \
        sound(); \
        damage; \
        expect_panic(heap_audit(&heap), ""); \
    } while (0)

static struct block *end_mark(void)
{
    return (struct block *)((u8 *)heap.regions + heap.regions->size) - 1;
}

/* A free block goes to the list of another class. */
static void misfile(struct block *b)
{
    u64 class = heap_class(b->size);

    heap_remove(&heap, b);
    free_of(b)->previous = NULL;
    free_of(b)->next = heap.list[class + 1];
    heap.list[class + 1] = free_of(b);
    heap.nonempty |= 1UL << (class + 1);
}

static void test_audit_blocks(void **state)
{
    (void)state;
    expect_noticed(used->size += 16);
    expect_noticed(used->size -= 16);
    expect_noticed(used->size = 0);
    expect_noticed(used->size = 1UL << 63);
    expect_noticed(used->size |= 8);
    expect_noticed(used->before = 16);
    expect_noticed(gap->before += 16);
    expect_noticed(used->magic = 0);
    expect_noticed(used->magic = BLOCK_FREE);
    expect_noticed(gap->magic = BLOCK_USED);
    expect_noticed(gap->magic = BLOCK_END);
    expect_noticed(used->asked = 0xffffffff);
    expect_noticed(used->asked--);
    expect_noticed(gap->size = 64);
    expect_noticed(block_after(gap)->magic = BLOCK_FREE);  /* two free ones touch */
    expect_noticed(end_mark()->magic = BLOCK_USED);
    expect_noticed(end_mark()->before += 16);
}

static void test_audit_lists(void **state)
{
    (void)state;
    expect_noticed(free_of(other_gap)->next = NULL);       /* the ancestor's bug */
    expect_noticed(free_of(other_gap)->previous = free_of(gap));
    expect_noticed(free_of(gap)->previous = NULL);
    expect_noticed(free_of(gap)->next = free_of(other_gap)); /* a cycle */
    expect_noticed(heap.list[heap_class(gap->size)] = free_of(gap));
    expect_noticed(heap.list[heap_class(gap->size)] = NULL);
    expect_noticed(heap.list[heap_class(gap->size) + 1] = free_of(gap));
    expect_noticed(misfile(gap));
    expect_noticed(heap.nonempty ^= 1UL << heap_class(gap->size));
    expect_noticed(heap.nonempty ^= 1);
}

static void test_audit_counters(void **state)
{
    (void)state;
    expect_noticed(heap.blocks++);
    expect_noticed(heap.bytes--);
    expect_noticed(heap.frames++);
    expect_noticed(heap.empty_regions++);
    expect_noticed(heap.regions->size += FRAME_SIZE);
    expect_noticed(heap.regions->size -= FRAME_SIZE);
    expect_noticed(heap.regions->previous = heap.regions);
    expect_noticed(heap.regions->next = heap.regions);
    expect_noticed(zones.boundary = MIB / 16);
}

static int setup(void **state)
{
    host_watch_memory();
    return host_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes), cmocka_unit_test(test_shadow),
        cmocka_unit_test(test_shadow_small), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_too_large), cmocka_unit_test(test_alignments),
        cmocka_unit_test(test_resizing), cmocka_unit_test(test_resizing_in_place),
        cmocka_unit_test(test_exhaustion), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_gives_back), cmocka_unit_test(test_overrun),
        cmocka_unit_test(test_underrun), cmocka_unit_test(test_double_free),
        cmocka_unit_test(test_wild_free), cmocka_unit_test(test_late_write),
        cmocka_unit_test(test_provocations), cmocka_unit_test(test_audit_blocks),
        cmocka_unit_test(test_audit_lists), cmocka_unit_test(test_audit_counters)};

    return cmocka_run_group_tests(tests, setup, host_teardown);
}
