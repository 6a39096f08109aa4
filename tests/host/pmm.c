/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapter 3: frames. Small instances, exhausted in every way, and compared with a
   model that is too simple to be wrong. */

#include "host.h"

#define MOST 256 /* frames of an instance */

static struct frame table[MOST];
static u64 bits[MOST / 64];
static struct pmm p;
static paddr base;

/* A private instance over `count` frames, all free, those from `boundary` on USER. */
static void start(u64 count, u64 boundary)
{
    host_reset(2 * MIB);
    base = 7 * FRAME_SIZE;
    pmm_start(&p, table, bits, base, count, boundary);
    pmm_add_run(&p, 0, count);
    p.lockstep = true;
    pmm_audit(&p);
}

static paddr address(u64 index)
{
    return base + index * FRAME_SIZE;
}

/* ---- Until nothing is left ---------------------------------------------- */

static void fill(u64 count, u64 boundary)
{
    enum zone zone;
    u64 i;

    start(count, boundary);
    for (i = 0; i < count; i++) {
        zone = i < boundary ? ZONE_KERNEL : ZONE_USER;
        expect_equal(pmm_alloc(&p, zone, 'a'), address(i), "frame %lu of %lu", i, count);
        expect_equal(p.states[FRAME_USED], i + 1, "used frames");
    }
    pmm_audit(&p);
    expect_equal(pmm_alloc(&p, ZONE_KERNEL, 'a'), 0, "a frame of a full KERNEL zone");
    expect_equal(pmm_alloc(&p, ZONE_USER, 'a'), 0, "a frame of a full USER zone");
    expect_equal(p.free[ZONE_KERNEL] + p.free[ZONE_USER], 0, "free frames");
}

static void test_fill(void **state)
{
    static const u64 counts[] = {1, 2, 63, 64, 65, 127, 128, 129, 200, 256};
    u64 i, n, boundary, step;

    (void)state;
    for (i = 0; i < array_count(counts); i++)
        for (boundary = 0; boundary <= counts[i]; boundary += 1 + counts[i] / 5) {
            fill(counts[i], boundary);
            for (step = 7; counts[i] % step == 0; step += 2)
                ;
            for (n = 0; n < counts[i]; n++) {       /* free in a scattered order */
                u64 index = n * step % counts[i];

                pmm_free(&p, index < boundary ? ZONE_KERNEL : ZONE_USER, address(index));
                pmm_audit(&p);
            }
            expect_equal(p.states[FRAME_FREE], counts[i], "free frames at the end");
            expect_equal(p.free[ZONE_KERNEL], boundary, "free KERNEL frames at the end");
        }
}

static void test_zones_are_separate(void **state)
{
    u64 i;

    (void)state;
    start(64, 10);
    for (i = 0; i < 10; i++)
        expect_equal(pmm_alloc(&p, ZONE_KERNEL, 'k'), address(i), "KERNEL frame %lu", i);
    expect_equal(pmm_alloc(&p, ZONE_KERNEL, 'k'), 0, "a KERNEL frame when only USER ones are free");
    expect_equal(pmm_alloc_run(&p, ZONE_USER, 'u', 54, 1), address(10), "all USER frames");
    expect_equal(pmm_alloc(&p, ZONE_USER, 'u'), 0, "one more");
    pmm_free_run(&p, ZONE_KERNEL, address(0), 10);
    expect_equal(pmm_alloc(&p, ZONE_USER, 'u'), 0, "a USER frame when only KERNEL ones are free");
    expect_equal(pmm_alloc_run(&p, ZONE_KERNEL, 'k', 11, 1), 0, "a run across the boundary");
}

static void test_runs(void **state)
{
    static const u64 huge[] = {1UL << 20, 1UL << 52, 1UL << 63};
    u64 count, align, i, expected;

    (void)state;
    for (count = 1; count <= 65; count++)
        for (align = 1; align <= 256; align *= 2) {
            start(64, 0);
            pmm_alloc(&p, ZONE_USER, 'x');
            expected = align;                   /* frame 0 is taken */
            expected = expected + count <= 64 ? address(expected) : 0;
            expect_equal(pmm_alloc_run(&p, ZONE_USER, 'r', count, align), expected,
                         "a run of %lu, aligned to %lu", count, align);
        }
    for (i = 0; i < array_count(huge); i++) {
        start(64, 0);
        expect_equal(pmm_alloc_run(&p, ZONE_USER, 'r', 1, huge[i]), address(0), "huge alignment");
        expect_equal(pmm_alloc_run(&p, ZONE_USER, 'r', 1, huge[i]), 0, "huge alignment again");
        expect_equal(pmm_alloc_run(&p, ZONE_USER, 'r', huge[i], 1), 0, "a huge run");
        expect_equal(pmm_alloc_run(&p, ZONE_USER, 'r', ~0UL, 1), 0, "the largest run");
    }
    expect_panic(pmm_alloc_run(&p, ZONE_USER, 'r', 0, 1), "assertion failed");
    expect_panic(pmm_alloc_run(&p, ZONE_USER, 'r', 1, 0), "assertion failed");
    expect_panic(pmm_alloc_run(&p, ZONE_USER, 'r', 1, 3), "assertion failed");
}

static void test_zeroed(void **state)
{
    u64 i, j;

    (void)state;
    start(8, 0);
    for (i = 0; i < 8; i++) {
        libc_memset(boot_physical(address(i)), 0xff, FRAME_SIZE);
        pmm_alloc_zeroed(&p, ZONE_USER, 'z');
        for (j = 0; j < FRAME_SIZE; j++)
            expect_equal(host.arena[address(i) + j], 0, "byte %lu of frame %lu", j, i);
        expect_equal(host.arena[address(i + 1)], 0xa5, "the byte behind frame %lu", i);
    }
    expect_equal(pmm_alloc_zeroed(&p, ZONE_USER, 'z'), 0, "a cleared frame of a full zone");
}

/* ---- What must not happen ----------------------------------------------- */

static void test_free_panics(void **state)
{
    (void)state;
    start(64, 32);
    pmm_alloc_run(&p, ZONE_KERNEL, 'k', 4, 1);
    pmm_alloc_run(&p, ZONE_USER, 'u', 4, 1);
    pmm_set_state(&p, 20, FRAME_RESERVED);
    pmm_set_state(&p, 21, FRAME_ABSENT);
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(20)), "is reserved, not used");
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(21)), "is absent, not used");
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(10)), "is free, not used (last owner '-')");
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(0) + 1), "is not the address of a frame");
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(0) + 2048), "is not the address of a frame");
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(0) - FRAME_SIZE), "is not the address");
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(64)), "is not the address of a frame");
    expect_panic(pmm_free(&p, ZONE_KERNEL, 0), "is not the address of a frame");
    expect_panic(pmm_free(&p, ZONE_KERNEL, ~0UL << 12), "is not the address of a frame");
    expect_panic(pmm_free(&p, ZONE_USER, address(0)),
                 "of 'k' is in the KERNEL zone, freed as USER");
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(32)),
                 "of 'u' is in the USER zone, freed as KERNEL");
    expect_panic(pmm_get(&p, address(10)), "is free, not used");
    expect_panic(pmm_put(&p, address(10)), "is free, not used");
    expect_panic(pmm_references(&p, address(10)), "is free, not used");
    pmm_free(&p, ZONE_KERNEL, address(1));
    expect_panic(pmm_free(&p, ZONE_KERNEL, address(1)), "is free, not used (last owner 'k')");
    expect_panic(pmm_put(&p, address(1)), "is free, not used (last owner 'k')");
    expect_panic(pmm_free_run(&p, ZONE_KERNEL, address(2), 3), "is free, not used");
    pmm_audit(&p);
}

static void test_references(void **state)
{
    paddr frame;

    (void)state;
    start(64, 0);
    frame = pmm_alloc(&p, ZONE_USER, 'r');
    expect_equal(pmm_references(&p, frame), 1, "references of a new frame");
    pmm_get(&p, frame);
    pmm_get(&p, frame);
    expect_equal(pmm_references(&p, frame), 3, "references after two gets");
    expect_panic(pmm_free(&p, ZONE_USER, frame), "of 'r' freed with 3 references");
    pmm_put(&p, frame);
    pmm_put(&p, frame);
    expect_equal(p.states[FRAME_USED], 1, "used frames before the last put");
    pmm_audit(&p);
    pmm_put(&p, frame);
    expect_equal(p.states[FRAME_USED], 0, "used frames after the last put");
    expect_true(p.frame[0].poisoned, "a frame freed by its last put is poisoned");
    pmm_audit(&p);
    pmm_alloc(&p, ZONE_USER, 's');
    expect_equal(pmm_references(&p, frame), 1, "references of the same frame, allocated again");
    pmm_free(&p, ZONE_USER, frame);
}

/* ---- Poison ------------------------------------------------------------- */

static void check_poison(bool all, u64 byte)
{
    bool seen = all || byte / 8 % 64 == 0;

    start(4, 0);
    p.poison_all = all;
    pmm_alloc(&p, ZONE_USER, 'w');
    pmm_free(&p, ZONE_USER, address(0));
    host.arena[address(0) + byte] ^= 1;
    if (seen) {
        expect_panic(pmm_audit(&p), "was written to at offset");
        expect_panic(pmm_alloc(&p, ZONE_USER, 'x'), "freed by 'w'");
    } else {
        expect_equal(pmm_alloc(&p, ZONE_USER, 'x'), address(0), "a frame written to at %lu", byte);
    }
}

static void test_poison(void **state)
{
    char sentence[128];
    u64 byte;

    (void)state;
    for (byte = 0; byte < FRAME_SIZE; byte += 7) {
        check_poison(true, byte);
        check_poison(false, byte);
    }
    start(4, 0);
    pmm_alloc(&p, ZONE_USER, 'w');
    pmm_free(&p, ZONE_USER, address(0));
    *(u64 *)(host.arena + address(0) + 512) = 0x1234;
    libc_snprintf(sentence, sizeof sentence, "free frame 0x%lx was written to at offset 0x200: "
                  "found 0x1234, freed by 'w'", address(0));
    expect_panic(pmm_alloc(&p, ZONE_USER, 'x'), sentence);
}

/* ---- Failing on purpose ------------------------------------------------- */

static void test_fail_in(void **state)
{
    u64 n, i;

    (void)state;
    for (n = 1; n < 10; n++) {
        start(64, 0);
        p.fail_in = n;
        for (i = 1; i < 15; i++)
            expect_equal(pmm_alloc(&p, ZONE_USER, 'f') == 0, i == n,
                         "allocation %lu of which number %lu is to fail, failed", i, n);
        expect_equal(p.states[FRAME_USED], 13, "used frames");
        pmm_audit(&p);
    }
}

/* ---- Against the model -------------------------------------------------- */

static struct {
    char state[MOST];    /* f free, u used, x neither */
    u32 references[MOST];
} model;

static u64 model_find(u64 first, u64 last, u64 count, u64 align)
{
    u64 i, n;

    for (i = first; i + count <= last; i++) {
        if (i % align)
            continue;
        for (n = 0; n < count && model.state[i + n] == 'f'; n++)
            ;
        if (n == count)
            return i;
    }
    return MOST;
}

static void model_alloc(u64 *seed, u64 step)
{
    enum zone zone = host_below(seed, 2);
    u64 count = host_below(seed, 3) ? 1 : 1 + host_below(seed, 9);
    u64 align = 1UL << host_below(seed, 5), i;
    u64 expected = model_find(zone ? p.boundary : 0, zone ? p.count : p.boundary, count, align);
    paddr got;

    if (host_below(seed, 50) == 0)
        p.fail_in = 1, expected = MOST;
    got = pmm_alloc_run(&p, zone, 'm', count, align);
    expect_equal(got, expected == MOST ? 0 : address(expected),
                 "step %lu: a run of %lu aligned to %lu in the %s zone", step, count, align,
                 zone_names[zone]);
    for (i = expected; expected != MOST && i < expected + count; i++)
        model.state[i] = 'u', model.references[i] = 1;
}

static void model_release(u64 *seed)
{
    u64 i = host_below(seed, p.count), n;

    for (n = 0; n < 1 + host_below(seed, 8) && i < p.count; n++, i++) {
        if (model.state[i] != 'u')
            continue;
        if (host_below(seed, 4) == 0) {
            pmm_get(&p, address(i));
            model.references[i]++;
        } else if (model.references[i] > 1 || host_below(seed, 2)) {
            pmm_put(&p, address(i));
            if (--model.references[i] == 0)
                model.state[i] = 'f';
        } else {
            pmm_free(&p, p.frame[i].zone, address(i));
            model.state[i] = 'f';
            model.references[i] = 0;
        }
    }
}

static void model_compare(u64 step)
{
    static const char letters[] = "xxfu";
    u64 i;

    for (i = 0; i < p.count; i++) {
        expect_equal(letters[p.frame[i].state], model.state[i], "step %lu: state of frame %lu",
                     step, i);
        expect_equal(p.frame[i].references, model.references[i],
                     "step %lu: references of frame %lu", step, i);
    }
    pmm_audit(&p);
}

static u64 locked_steps;

static void lock_step(u64 round, u64 steps)
{
    u64 seed = round, count = 1 + host_below(&seed, MOST), step, i, pressure;

    start(count, host_below(&seed, count + 1));
    p.poison_all = round % 4 == 0;
    p.method = &pmm_methods[1 + round % 2];
    for (i = 0; i < count; i++) {
        model.state[i] = 'f';
        model.references[i] = 0;
        if (round % 3 == 0 && host_below(&seed, 6) == 0) {
            pmm_set_state(&p, i, host_below(&seed, 2) ? FRAME_RESERVED : FRAME_ABSENT);
            model.state[i] = 'x';
        }
    }
    for (step = 0; step < steps; step++, locked_steps++) {
        pressure = step / 500 % 2 ? 2 : 5;
        if (host_below(&seed, 8) < pressure)
            model_alloc(&seed, step);
        else
            model_release(&seed);
        if (step % 256 == 255)
            model_compare(step);
    }
}

static void test_lock_step(void **state)
{
    u64 round;

    (void)state;
    for (round = 0; round < host_rounds(1000); round++)
        lock_step(round, 10000);
    host_proof("steps", locked_steps);
}

/* The audit after every step, on a smaller number of steps. */
static void test_every_step(void **state)
{
    struct pmm_trial *t = calloc(1, sizeof *t);
    u64 seed = 99, i;

    (void)state;
    host_reset(2 * MIB);
    pmm_start(&t->pmm, t->frame, &t->bits, 64 * FRAME_SIZE, 64, 32);
    pmm_add_run(&t->pmm, 0, 64);
    t->pmm.lockstep = true;
    for (i = 0; i < host_rounds(20000); i++)
        pmm_trial_step(t, &seed);
    expect_equal(t->allocated - t->freed, t->pmm.states[FRAME_USED], "allocated less freed");
    expect_true(t->refused > 100, "requests were refused");
    free(t);
}

/* ---- The checks notice damage ------------------------------------------- */

#define expect_noticed(damage, sentence) \
    do { \
        start(64, 32); \
        pmm_alloc_run(&p, ZONE_KERNEL, 'k', 4, 1); \
        pmm_alloc_run(&p, ZONE_USER, 'u', 4, 1); \
        damage; \
        expect_panic(pmm_audit(&p), sentence); \
    } while (0)

static void test_audit(void **state)
{
    (void)state;
    expect_noticed(p.states[FRAME_FREE]--, "assertion failed");
    expect_noticed((p.states[FRAME_FREE]--, p.states[FRAME_USED]++), "assertion failed");
    expect_noticed(p.free[ZONE_USER]++, "assertion failed");
    expect_noticed(p.free[ZONE_KERNEL]--, "assertion failed");
    expect_noticed(p.hint[ZONE_KERNEL] = 5, "assertion failed");
    expect_noticed(p.hint[ZONE_USER] = 64, "assertion failed");
    expect_noticed(bits[0] ^= 1, "assertion failed");
    expect_noticed(bits[0] ^= 1UL << 63, "assertion failed");
    expect_noticed(table[0].references = 0, "assertion failed");
    expect_noticed(table[10].references = 1, "assertion failed");
    expect_noticed(table[0].state = FRAME_FREE, "assertion failed");
    expect_noticed(table[10].state = FRAME_USED, "assertion failed");
    expect_noticed(table[10].state = FRAME_RESERVED, "assertion failed");
    expect_noticed(table[31].zone = ZONE_USER, "assertion failed");
    expect_noticed(table[32].zone = ZONE_KERNEL, "assertion failed");
    expect_noticed(table[0].poisoned = true, "assertion failed");
    expect_noticed(table[10].poisoned = true, "was written to");
    expect_noticed(p.boundary = 33, "assertion failed");
}

static void test_lockstep_notices(void **state)
{
    (void)state;
    start(64, 32);
    bits[0] &= ~1UL;
    expect_panic(pmm_alloc(&p, ZONE_KERNEL, 'x'), "bitmap finds frame 1, the other method 0 "
                 "(zone KERNEL, count 1, align 1)");
    start(64, 32);
    p.method = &pmm_methods[1];
    p.hint[ZONE_USER] = 40;
    expect_panic(pmm_alloc(&p, ZONE_USER, 'x'), "array finds frame 32, the other method 40");
}

/* ---- The first allocator ------------------------------------------------ */

static void test_bump(void **state)
{
    struct pmm bump = {.method = &pmm_methods[0]};

    (void)state;
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, MIB, 10);
    host_add_map(EFI_CONVENTIONAL, 2 * MIB, 100);
    host_add_map(EFI_CONVENTIONAL, 16 * MIB, 10);
    zone_build(&zones, &host.info, DIRECT_MAP_SIZE);
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 3, 1), MIB, "the first run");
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 1, 1), MIB + 3 * FRAME_SIZE, "the second");
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 1, 8), MIB + 8 * FRAME_SIZE,
                 "an aligned one");
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 2, 1), 2 * MIB, "one for the next range");
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 1, 1), 2 * MIB + 2 * FRAME_SIZE,
                 "it never goes back");
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 98, 1), 0, "more than is left");
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 97, 1), 2 * MIB + 3 * FRAME_SIZE,
                 "all that is left");
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 1, 1), 0, "more");
    expect_equal(pmm_alloc_run(&bump, ZONE_USER, 'b', 10, 1), 16 * MIB, "the USER zone");
    expect_equal(pmm_alloc_run(&bump, ZONE_USER, 'b', 1, 1), 0, "more than the USER zone");
    bump.bump = 0;
    expect_equal(pmm_alloc_run(&bump, ZONE_KERNEL, 'b', 1, 1UL << 40), 0,
                 "an impossible alignment");
}

/* ---- Setting up --------------------------------------------------------- */

static u64 count_states(enum frame_state state, u64 from, u64 to)
{
    u64 i, count = 0;

    for (i = from; i < to && i < pmm.count; i++)
        count += pmm.frame[i].state == state;
    return count;
}

static void build(paddr limit)
{
    zone_build(&zones, &host.info, limit);
    zone_audit(&zones, &host.info);
    pmm_build(&pmm, &zones, &host.info);
    pmm_audit(&pmm);
    expect_equal(pmm.count, zones.top >> FRAME_SHIFT, "frames");
    expect_equal(pmm.free[ZONE_USER], zones.frames[ZONE_USER], "free USER frames");
    expect_equal(pmm.free[ZONE_KERNEL] + pmm.states[FRAME_USED], zones.frames[ZONE_KERNEL],
                 "KERNEL frames, free or used");
}

static void test_build(void **state)
{
    u64 books = 8192 * sizeof(struct frame) / FRAME_SIZE + 1;

    (void)state;
    host_reset(32 * MIB);
    host_add_map(EFI_CONVENTIONAL, 0, 160);
    host_add_map(EFI_CONVENTIONAL, MIB, 7936);
    host_add_map(EFI_ACPI_NVS, 8 * MIB, 16);
    host_add_reserved("image", 20 * MIB, MIB);
    host_add_reserved("stack", 2 * MIB, 8 * FRAME_SIZE);
    build(DIRECT_MAP_SIZE);
    expect_equal(pmm.count, 8192, "frames");
    expect_equal(pmm.boundary, 4096, "boundary");
    expect_equal(pmm.states[FRAME_USED], books, "frames for the books");
    expect_equal(count_states(FRAME_USED, 256, 256 + books), books,
                 "they are the lowest ones");
    expect_equal(count_states(FRAME_FREE, 0, 256), 0, "free frames below 1 MiB");
    expect_equal(count_states(FRAME_ABSENT, 2048, 2064), 16, "absent frames at 8 MiB");
    expect_equal(count_states(FRAME_RESERVED, 5120, 5376), 256, "frames of the image");
    expect_equal(count_states(FRAME_RESERVED, 512, 520), 8, "frames of the stack");
    expect_equal(pmm.states[FRAME_RESERVED], 264, "reserved frames");
    expect_true((u8 *)pmm.frame == host.arena + MIB, "where the table is");
    expect_true(pmm_alloc(&pmm, ZONE_KERNEL, 't') == MIB + books * FRAME_SIZE, "the first frame");
}

/* Both books are larger than a frame. What lies above the arena is not touched. */
static void test_build_large(void **state)
{
    u64 table_frames = 262144 * sizeof(struct frame) / FRAME_SIZE, i;

    (void)state;
    host_reset(32 * MIB);
    host_add_map(EFI_CONVENTIONAL, 0, 262144);
    build(DIRECT_MAP_SIZE);
    expect_equal(pmm.states[FRAME_USED], table_frames + 8, "frames for the books");
    expect_equal(count_states(FRAME_USED, 256, 256 + table_frames + 8), table_frames + 8,
                 "the lowest ones");
    for (i = 256; i < 256 + table_frames + 8; i++)
        expect_equal(pmm.frame[i].owner, 'P', "owner of frame %lu", i);
}

/* The limit hides memory, reservations lie above it, half frames are reserved whole. */
static void test_build_odd(void **state)
{
    u64 round, seed, i, first;

    (void)state;
    for (round = 0; round < host_rounds(100); round++) {
        seed = round;
        host_reset(32 * MIB);
        host_add_map(EFI_CONVENTIONAL, 0, 8192);
        for (i = 0; i < 20; i++)
            host_add_map((u32)host_below(&seed, 15), host_below(&seed, 8192) * FRAME_SIZE,
                         host_below(&seed, 100));
        for (i = 0; i < 5; i++)
            host_add_reserved("odd", host_below(&seed, 32 * MIB), host_below(&seed, MIB));
        build(round % 2 ? 32 * MIB : 20 * MIB + host_below(&seed, 12 * MIB));
        for (i = 0; i < 5; i++)
            for (first = host.info.reserved[i].start; first <
                 host.info.reserved[i].start + host.info.reserved[i].size; first += 2048)
                expect_true(first >> FRAME_SHIFT >= pmm.count ||
                            pmm.frame[first >> FRAME_SHIFT].state <= FRAME_RESERVED,
                            "map %lu: reserved address 0x%lx is not free", round, first);
    }
}

/* 256 GiB of memory behind 16 MiB, of which hardly any is left for the table. */
static void test_build_too_small(void **state)
{
    (void)state;
    host_reset(32 * MIB);
    host_add_map(EFI_CONVENTIONAL, 0, 1024);
    host_add_map(EFI_CONVENTIONAL, 32 * GIB, 16384);
    zone_build(&zones, &host.info, DIRECT_MAP_SIZE);
    expect_exit(pmm_build(&pmm, &zones, &host.info), 1);
    expect_text(host_output.text,
                "Rustica cannot run here: the table of 8404992 frames does not fit "
                "into the kernel's zone\n", "the refusal");
}

static void choose(const char *options)
{
    host_machine(32 * MIB);
    libc_snprintf(host.info.options, sizeof host.info.options, "%s", options);
    boot_split_options();
    host_forget_output();
    pmm_choose(&pmm);
}

static void test_choose(void **state)
{
    (void)state;
    choose("");
    expect_text(pmm.method->name, "bitmap", "the usual method");
    expect_true(!pmm.lockstep && !pmm.poison_all, "nothing else is on");
    choose("pmm=array");
    expect_text(pmm.method->name, "array", "pmm=array");
    choose("pmm=bitmap");
    expect_text(pmm.method->name, "bitmap", "pmm=bitmap");
    expect_true(!pmm.lockstep, "no lock step");
    choose("pmm=lockstep poison=all");
    expect_true(pmm.lockstep && pmm.poison_all, "lock step and poison");
    expect_text(host_output.text, "", "no complaint");
    choose("pmm=slow poison=none");
    expect_text(pmm.method->name, "bitmap", "pmm=slow");
    expect_text(host_output.text, "pmm: pmm=slow is none of array, bitmap, lockstep; using bitmap\n"
                "pmm: poison=none is not \"all\", ignored\n", "complaints");
}

static void test_provocations(void **state)
{
    (void)state;
    host_machine(32 * MIB);
    expect_panic(provoke_double_free(), "is free, not used (last owner 'T')");
    host_machine(32 * MIB);
    expect_panic(provoke_late_write(), "was written to at offset 0x0: found 0x1, freed by 'T'");
}

static void test_trial(void **state)
{
    struct pmm_trial *t = calloc(1, sizeof *t);
    u64 free_before;

    (void)state;
    host_machine(32 * MIB);
    free_before = pmm.states[FRAME_FREE];
    pmm_show_trial(t, 2000);
    expect_true(t->allocated > 100 && t->freed > 100 && t->refused > 10,
                "the trial did something");
    expect_equal(pmm.states[FRAME_FREE], free_before, "free frames after the trial");
    pmm_audit(&pmm);
    free(t);
}

static int setup(void **state)
{
    host_watch_memory();
    return host_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill), cmocka_unit_test(test_zones_are_separate),
        cmocka_unit_test(test_runs), cmocka_unit_test(test_zeroed),
        cmocka_unit_test(test_free_panics), cmocka_unit_test(test_references),
        cmocka_unit_test(test_poison), cmocka_unit_test(test_fail_in),
        cmocka_unit_test(test_lock_step), cmocka_unit_test(test_every_step),
        cmocka_unit_test(test_audit), cmocka_unit_test(test_lockstep_notices),
        cmocka_unit_test(test_bump), cmocka_unit_test(test_build),
        cmocka_unit_test(test_build_large), cmocka_unit_test(test_build_odd),
            cmocka_unit_test(test_build_too_small),
        cmocka_unit_test(test_choose), cmocka_unit_test(test_provocations),
        cmocka_unit_test(test_trial)};

    return cmocka_run_group_tests(tests, setup, host_teardown);
}
