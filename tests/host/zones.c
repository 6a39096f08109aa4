/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapter 2: whatever the firmware's map says, the zones are right. */

#include "host.h"

#define SPACE 65536 /* frames in the model's address space */

static const struct {
    const char *name;
    u32 type;
} odd_types[] = {{"none", 15}, {"OEM", 0x70000000}, {"loader", 0x80000001}, {"-1", 0xffffffff}};

/* ---- The model: a byte for each frame ----------------------------------- */

enum { MODEL_USABLE = 1, MODEL_OTHER = 2, MODEL_RESERVED = 4 };

static struct {
    u8 frame[SPACE];
    u64 usable, reserved, withheld, frames[ZONE_COUNT];
    paddr boundary, top;
    u32 count;
    struct zone_range range[ZONE_RANGES];
} model;

/* Marks the frames that the bytes from start to end touch or, if `whole`, contain. */
static void model_mark(unsigned __int128 start, unsigned __int128 end, bool whole, u8 mark)
{
    unsigned __int128 first = (start + (whole ? 4095 : 0)) / 4096;
    unsigned __int128 last = (end + (whole ? 0 : 4095)) / 4096;

    for (; first < last && first < SPACE; first++)
        model.frame[first] |= mark;
}

static bool model_usable_type(u32 type)
{
    return type >= 1 && type <= 7 && type != 5 && type != 6;
}

/* Attributes: bit 3 is set if it can be cached, bit 18 if it is for a special purpose. */
static bool model_usable(const struct efi_descriptor *d)
{
    return model_usable_type(d->type) && d->attributes >> 3 & 1 && !(d->attributes >> 18 & 1);
}

static void model_read_map(const struct boot_info *info, u64 frames)
{
    struct efi_descriptor d;
    u64 at, i;

    libc_memset(model.frame, 0, frames);
    if (info->map_stride >= 40)
        for (at = 0; at + info->map_stride <= info->map_size; at += info->map_stride) {
            libc_memcpy(&d, info->map + at, 40);
            model_mark(d.start, d.start + (unsigned __int128)d.pages * 4096, model_usable(&d),
                       model_usable(&d) ? MODEL_USABLE : MODEL_OTHER);
        }
    for (i = 0; i < info->reserved_count; i++)
        model_mark(info->reserved[i].start,
                   (unsigned __int128)info->reserved[i].start + info->reserved[i].size, false,
                   MODEL_RESERVED);
    model_mark(0, MIB, false, MODEL_RESERVED);
}

static void model_add(u64 frame)
{
    struct zone_range *last = model.count ? &model.range[model.count - 1] : NULL;
    enum zone zone = frame * 4096 >= model.boundary ? ZONE_USER : ZONE_KERNEL;

    if (last && last->zone == zone && last->end == frame * 4096) {
        last->end += 4096;
    } else if (model.count == ZONE_RANGES) {
        model.withheld++;
        return;
    } else {
        model.range[model.count++] = (struct zone_range){frame * 4096, (frame + 1) * 4096, zone};
    }
    model.frames[zone]++;
    model.top = (frame + 1) * 4096;
}

static void model_build(const struct boot_info *info, paddr limit, u64 frames)
{
    u64 i, visible = 0;

    model_read_map(info, frames);
    model.usable = model.reserved = model.withheld = model.top = model.count = 0;
    model.frames[0] = model.frames[1] = 0;
    for (i = 0; i < frames; i++) {
        if ((model.frame[i] & (MODEL_USABLE | MODEL_OTHER)) == MODEL_USABLE)
            model.usable++, visible += (i + 1) * 4096 <= limit;
        else
            model.frame[i] = 0;
        model.reserved += model.frame[i] >= MODEL_RESERVED;
    }
    model.boundary = visible * 4096 / 8 / (2 * MIB) * (2 * MIB);
    if (model.boundary < 16 * MIB)
        model.boundary = 16 * MIB;
    for (i = 0; i < frames; i++)
        if (model.frame[i] == MODEL_USABLE) {
            if ((i + 1) * 4096 <= limit)
                model_add(i);
            else
                model.withheld++;
        }
}

static void compare(const struct zone_state *z, u64 round)
{
    u32 i;

    expect_equal(z->boundary, model.boundary, "map %lu: boundary", round);
    expect_equal(z->usable, model.usable, "map %lu: usable frames", round);
    expect_equal(z->reserved, model.reserved, "map %lu: reserved frames", round);
    expect_equal(z->withheld, model.withheld, "map %lu: withheld frames", round);
    expect_equal(z->frames[ZONE_KERNEL], model.frames[ZONE_KERNEL], "map %lu: KERNEL", round);
    expect_equal(z->frames[ZONE_USER], model.frames[ZONE_USER], "map %lu: USER", round);
    expect_equal(z->top, model.top, "map %lu: top", round);
    expect_equal(z->count, model.count, "map %lu: number of ranges", round);
    for (i = 0; i < z->count; i++) {
        expect_equal(z->range[i].start, model.range[i].start, "map %lu: start of range %u", round,
                     i);
        expect_equal(z->range[i].end, model.range[i].end, "map %lu: end of range %u", round, i);
        expect_equal(z->range[i].zone, model.range[i].zone, "map %lu: zone of range %u", round, i);
    }
}

/* ---- Random maps -------------------------------------------------------- */

static u32 random_type(u64 *seed)
{
    if (host_below(seed, 3))
        return EFI_CONVENTIONAL;
    if (host_below(seed, 8) == 0)
        return odd_types[host_below(seed, array_count(odd_types))].type;
    return (u32)host_below(seed, 15);
}

static u64 random_attributes(u64 *seed)
{
    if (host_below(seed, 10))
        return EFI_MEMORY_WB;
    return host_random(seed);
}

/* Descriptors of usable memory stay inside the model's space or begin far outside; the
   others may be of any size. */
static struct efi_descriptor random_descriptor(u64 *seed, u64 frames)
{
    struct efi_descriptor d = {.type = random_type(seed), .attributes = random_attributes(seed)};
    u64 first = host_below(seed, frames), most = frames - first;

    d.start = first * 4096;
    d.pages = host_below(seed, host_below(seed, 2) ? 20 : most) % most;
    if (host_below(seed, 20) == 0 && first + d.pages + 1 < frames)
        d.start += host_below(seed, 4096);
    if (host_below(seed, 40) == 0)
        d.start = DIRECT_MAP_SIZE + host_below(seed, 3) * 2048, d.pages = host_random(seed);
    else if (host_below(seed, 40) == 0 && !model_usable(&d))
        d.pages = host_below(seed, 2) ? ~0UL >> 12 : DIRECT_MAP_SIZE >> host_below(seed, 13);
    return d;
}

static u8 *random_map(u64 *seed, struct boot_info *info, u64 frames)
{
    u64 count = host_below(seed, host_below(seed, 4) ? 12 : 80), i;
    u64 stride = 40 + 8 * host_below(seed, 6), size = count * stride;
    struct efi_descriptor d = {0};
    u8 *map;

    if (count && host_below(seed, 5) == 0)
        size -= host_below(seed, stride);
    map = malloc(size + 1);
    libc_memset(map, 0xff, size);
    for (i = 0; i < count; i++) {
        if (!i || host_below(seed, 10))       /* else the same twice */
            d = random_descriptor(seed, frames);
        if (i * stride + 40 <= size)
            libc_memcpy(map + i * stride, &d, 40);
    }
    info->map = map;
    info->map_stride = stride;
    info->map_size = size;
    return map;
}

static void random_reservations(u64 *seed, struct boot_info *info, u64 frames)
{
    u32 i;

    info->reserved_count = (u32)host_below(seed, BOOT_RESERVED_MAX + 1);
    for (i = 0; i < info->reserved_count; i++) {
        struct boot_range *r = &info->reserved[i];

        r->name = "test";
        r->start = host_below(seed, frames) * 4096;
        r->size = host_below(seed, 50) * 4096;
        if (host_below(seed, 10) == 0)
            r->start += host_below(seed, 4096), r->size += 1 + host_below(seed, 4096);
    }
}

static void random_round(u64 round)
{
    u64 seed = round, frames = round % 50 ? 8192 : SPACE;
    struct boot_info info = {0};
    paddr limit = DIRECT_MAP_SIZE;
    u8 *map = random_map(&seed, &info, frames);

    random_reservations(&seed, &info, frames);
    if (host_below(&seed, 3) == 0)
        limit = host_below(&seed, frames * 4096);
    zone_build(&zones, &info, limit);
    model_build(&info, limit, frames);
    compare(&zones, round);
    zone_audit(&zones, &info);
    free(map);
}

static void test_random(void **state)
{
    u64 round;

    (void)state;
    for (round = 0; round < host_rounds(20000); round++)
        random_round(round);
    host_proof("executions", round);
}

/* ---- Maps made by hand -------------------------------------------------- */

static void build(paddr limit)
{
    zone_build(&zones, &host.info, limit);
    zone_audit(&zones, &host.info);
}

static void expect_range(u32 n, paddr start, paddr end, enum zone zone)
{
    expect_true(n < zones.count, "there is a range %u among %u", n, zones.count);
    expect_equal(zones.range[n].start, start, "start of range %u", n);
    expect_equal(zones.range[n].end, end, "end of range %u", n);
    expect_equal(zones.range[n].zone, zone, "zone of range %u", n);
}

static void expect_counts(u64 usable, u64 reserved, u64 withheld, u64 in_kernel, u64 in_user)
{
    expect_equal(zones.usable, usable, "usable frames");
    expect_equal(zones.reserved, reserved, "reserved frames");
    expect_equal(zones.withheld, withheld, "withheld frames");
    expect_equal(zones.frames[ZONE_KERNEL], in_kernel, "KERNEL frames");
    expect_equal(zones.frames[ZONE_USER], in_user, "USER frames");
}

static void test_nothing(void **state)
{
    static const u64 strides[] = {0, 1, 8, 32, 39};
    u64 i;

    (void)state;
    alarm(20);
    host_reset(0);
    build(DIRECT_MAP_SIZE);
    expect_counts(0, 0, 0, 0, 0);
    expect_equal(zones.count, 0, "ranges of an empty map");
    expect_equal(zones.boundary, 16 * MIB, "boundary of an empty map");
    for (i = 0; i < array_count(strides); i++) {
        host_reset(0);
        host_add_map(EFI_CONVENTIONAL, 0, 8192);
        host.info.map_stride = strides[i];
        build(DIRECT_MAP_SIZE);
        expect_equal(zones.usable, 0, "usable frames of a map with stride %lu", strides[i]);
    }
    alarm(0);
}

/* Strides that are larger than the map, or wrap when something is added: a map of which
   not even one entry is there. */
static void test_huge_stride(void **state)
{
    static const u64 strides[] = {48, 41 * 8, 1UL << 40, 1UL << 63, ~0UL - 7, ~0UL - 39, ~0UL - 47};
    struct boot_info info = {0};
    u64 i;

    (void)state;
    info.map = malloc(40);
    info.map_size = 40;
    *(struct efi_descriptor *)info.map = (struct efi_descriptor){.type = 7, .pages = 8192};
    for (i = 0; i < array_count(strides); i++) {
        info.map_stride = strides[i];
        zone_build(&zones, &info, DIRECT_MAP_SIZE);
        expect_equal(zones.usable, 0, "usable frames of a map with stride 0x%lx", strides[i]);
    }
    free(info.map);
}

static void test_simple(void **state)
{
    (void)state;
    host_reset(0);
    host_add_map(EFI_BOOT_DATA, 24 * MIB, 2048);
    host_add_map(EFI_CONVENTIONAL, 0, 160);
    host_add_map(EFI_MMIO, 160 * FRAME_SIZE, 96);
    host_add_map(EFI_LOADER_CODE, MIB, 5888);
    host_add_reserved("image", 20 * MIB, MIB);
    build(DIRECT_MAP_SIZE);
    expect_equal(zones.count, 3, "ranges");
    expect_range(0, MIB, 16 * MIB, ZONE_KERNEL);
    expect_range(1, 16 * MIB, 20 * MIB, ZONE_USER);
    expect_range(2, 21 * MIB, 32 * MIB, ZONE_USER);
    expect_counts(8096, 160 + 256, 0, 3840, 1024 + 2816);
    expect_equal(zones.top, 32 * MIB, "top");
}

static void test_types(void **state)
{
    u32 type, i;

    (void)state;
    for (type = 0; type < 15 + array_count(odd_types); type++) {
        u32 tried = type < 15 ? type : odd_types[type - 15].type;

        host_reset(0);
        host_add_map(tried, MIB, 10);
        build(DIRECT_MAP_SIZE);
        expect_equal(zones.usable, model_usable_type(tried) ? 10 : 0, "usable frames of type %u",
                     tried);
        for (i = 0; i < 2; i++) {
            host_reset(0);
            if (i)
                host_add_map(EFI_CONVENTIONAL, MIB, 10);
            host_add_map(tried, MIB + 4 * FRAME_SIZE, 3);
            if (!i)
                host_add_map(EFI_CONVENTIONAL, MIB, 10);
            build(DIRECT_MAP_SIZE);
            expect_equal(zones.usable, model_usable_type(tried) ? 10 : 7,
                         "usable frames with type %u over them", tried);
        }
    }
}

/* Memory that cannot be cached, or that is kept for somebody, is not ours. */
static void test_attributes(void **state)
{
    static const struct {
        u64 attributes, usable;
    } cases[] = {{0xf, 10}, {8, 10}, {0x7, 0}, {0, 0}, {0x4000f, 0}, {0x1000f, 10},
                 {1UL << 63 | 0xf, 10}, {~0UL, 0}};
    u64 i;

    (void)state;
    for (i = 0; i < array_count(cases); i++) {
        host_reset(0);
        host_add_map(EFI_CONVENTIONAL, 2 * MIB, 10);
        ((struct efi_descriptor *)host.map)->attributes = cases[i].attributes;
        build(DIRECT_MAP_SIZE);
        expect_equal(zones.usable, cases[i].usable, "usable frames with attributes 0x%lx",
                     cases[i].attributes);
    }
}

static void test_boundary(void **state)
{
    static const struct {
        u64 megabytes, boundary;
    } cases[] = {{32, 16}, {127, 16}, {128, 16}, {143, 16}, {144, 18}, {145, 18}, {160, 20},
                 {512, 64}, {4096, 512}, {1048576, 131072}};
    u64 i;

    (void)state;
    for (i = 0; i < array_count(cases); i++) {
        host_reset(0);
        host_add_map(EFI_CONVENTIONAL, 0, cases[i].megabytes << 8);
        build(DIRECT_MAP_SIZE);
        expect_equal(zones.boundary, cases[i].boundary * MIB, "boundary of a machine with %lu MiB",
                     cases[i].megabytes);
        expect_equal(zones.frames[ZONE_KERNEL], (cases[i].boundary << 8) - 256,
                     "KERNEL frames of a machine with %lu MiB", cases[i].megabytes);
    }
}

static void test_above_4g(void **state)
{
    (void)state;
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, 4 * GIB, GIB >> FRAME_SHIFT);
    host_add_map(EFI_CONVENTIONAL, 0, 2 * GIB >> FRAME_SHIFT);
    host_add_map(EFI_MMIO, 3 * GIB, GIB >> FRAME_SHIFT);
    build(DIRECT_MAP_SIZE);
    expect_equal(zones.count, 3, "ranges");
    expect_range(0, MIB, 384 * MIB, ZONE_KERNEL);
    expect_range(1, 384 * MIB, 2 * GIB, ZONE_USER);
    expect_range(2, 4 * GIB, 5 * GIB, ZONE_USER);
    expect_equal(zones.top, 5 * GIB, "top");
}

/* Extents that reach beyond the direct map, or around the end of all addresses. */
static void test_wrapping(void **state)
{
    static const struct {
        paddr start;
        u64 pages, usable;
    } cases[] = {
        {DIRECT_MAP_SIZE - FRAME_SIZE, 1, 1}, {DIRECT_MAP_SIZE - FRAME_SIZE, 2, 1},
        {DIRECT_MAP_SIZE, 1, 0}, {DIRECT_MAP_SIZE - FRAME_SIZE, ~0UL, 1},
        {-FRAME_SIZE, 2, 0}, {-FRAME_SIZE, 1, 0}, {-FRAME_SIZE, 100000, 0}, {~0UL, ~0UL, 0},
        {1UL << 63, 1UL << 51, 0}, {FRAME_SIZE, 1UL << 52, (DIRECT_MAP_SIZE >> 12) - 1},
        {FRAME_SIZE, (1UL << 52) - 1, (DIRECT_MAP_SIZE >> 12) - 1},
        {FRAME_SIZE, (1UL << 52) + 5, (DIRECT_MAP_SIZE >> 12) - 1},
        {0, ~0UL, DIRECT_MAP_SIZE >> 12}, {0, 0, 0}, {FRAME_SIZE, DIRECT_MAP_SIZE >> 12,
                                                      (DIRECT_MAP_SIZE >> 12) - 1}};
    u64 i;

    (void)state;
    for (i = 0; i < array_count(cases); i++) {
        host_reset(0);
        host_add_map(EFI_CONVENTIONAL, cases[i].start, cases[i].pages);
        build(DIRECT_MAP_SIZE);
        expect_equal(zones.usable, cases[i].usable, "usable frames of 0x%lx pages at 0x%lx",
                     cases[i].pages, cases[i].start);
        host_reset(0);
        host_add_map(EFI_UNUSABLE, cases[i].start, cases[i].pages);
        host_add_map(EFI_CONVENTIONAL, 0, DIRECT_MAP_SIZE >> FRAME_SHIFT);
        build(DIRECT_MAP_SIZE);
        expect_equal(zones.usable, (DIRECT_MAP_SIZE >> FRAME_SHIFT) - cases[i].usable,
                     "usable frames less 0x%lx pages at 0x%lx", cases[i].pages, cases[i].start);
    }
}

/* Every second frame is a hole; there are more pieces than the table has room for. */
static void test_too_many_pieces(void **state)
{
    u64 pieces, i;

    (void)state;
    for (pieces = 510; pieces < 515; pieces++) {
        host_reset(0);
        for (i = 0; i < pieces; i++)
            host_add_map(EFI_CONVENTIONAL, MIB + (2 * i + 1) * FRAME_SIZE, 1);
        build(DIRECT_MAP_SIZE);
        expect_equal(zones.count, pieces < 512 ? pieces : 512, "ranges of %lu pieces", pieces);
        expect_counts(pieces, 0, pieces < 512 ? 0 : pieces - 512, zones.count, 0);
        model_build(&host.info, DIRECT_MAP_SIZE, 8192);
        compare(&zones, pieces);
    }
    host_reset(0);
    for (i = 3000; i--;)
        host_add_map(EFI_CONVENTIONAL, MIB + (2 * i + 1) * FRAME_SIZE, 1);
    build(DIRECT_MAP_SIZE);
    model_build(&host.info, DIRECT_MAP_SIZE, 8192);
    compare(&zones, 3000);
}

static void test_limit(void **state)
{
    static const u64 limits[] = {0, 1, 4095, 4096, 8191, 8192, 5 * MIB + 17, 16 * MIB - 1,
                                 16 * MIB, 16 * MIB + 1, 20 * MIB, 24 * MIB, 40 * MIB, ~0UL};
    u64 i;

    (void)state;
    for (i = 0; i < array_count(limits); i++) {
        host_reset(0);
        host_add_map(EFI_CONVENTIONAL, 0, 1280);
        host_add_map(EFI_CONVENTIONAL, 6 * MIB, 4608);
        host_add_reserved("image", 23 * MIB, 2 * MIB);
        build(limits[i]);
        model_build(&host.info, limits[i], 8192);
        compare(&zones, limits[i]);
    }
}

static void test_reservations(void **state)
{
    (void)state;
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, 0, 4096);
    host_add_map(EFI_CONVENTIONAL, 32 * MIB, 4096);
    host_add_reserved("across the end", 16 * MIB - 2 * FRAME_SIZE, 16 * MIB + 3 * FRAME_SIZE);
    host_add_reserved("in a hole", 20 * MIB, MIB);
    host_add_reserved("twice", MIB, FRAME_SIZE);
    host_add_reserved("twice", MIB, FRAME_SIZE);
    host_add_reserved("half", 2 * MIB + 0x800, FRAME_SIZE);
    host_add_reserved("byte", 3 * MIB + 1, 1);
    host_add_reserved("far", -FRAME_SIZE, 2 * FRAME_SIZE);
    build(DIRECT_MAP_SIZE);
    expect_counts(8192, 256 + 2 + 1 + 1 + 2 + 1, 0, 4096 - 262, 4096 - 1);
    model_build(&host.info, DIRECT_MAP_SIZE, SPACE);
    compare(&zones, 0);
}

/* A reservation of nothing is none. */
static void test_empty_reservation(void **state)
{
    (void)state;
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, 0, 8192);
    host_add_reserved("empty", MIB, 0);
    build(DIRECT_MAP_SIZE);
    expect_counts(8192, 256, 0, 3840, 4096);
}

/* ---- The audit sees damage ---------------------------------------------- */

/* 1 to 8 MiB, a hole, 9 to 24 MiB, device registers to 25 MiB, 25 to 32 MiB of which
   28 to 29 MiB are reserved. */
static void sound(void)
{
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, MIB, 7 << 8);
    host_add_map(EFI_CONVENTIONAL, 9 * MIB, 15 << 8);
    host_add_map(EFI_MMIO, 24 * MIB, 1 << 8);
    host_add_map(EFI_CONVENTIONAL, 25 * MIB, 7 << 8);
    host_add_reserved("image", 28 * MIB, MIB);
    build(DIRECT_MAP_SIZE);
    expect_equal(zones.count, 5, "ranges of the sound map");
}

#define expect_refused(damage) \
    do { \
        sound(); \
        damage; \
        expect_panic(zone_audit(&zones, &host.info), "assertion failed"); \
    } while (0)

static void move(u32 n, s64 by)
{
    zones.range[n].start += (u64)by;
    zones.range[n].end += (u64)by;
}

static void swap(u32 a, u32 b)
{
    struct zone_range r = zones.range[a];

    zones.range[a] = zones.range[b];
    zones.range[b] = r;
}

static void test_audit_counters(void **state)
{
    (void)state;
    expect_refused(zones.frames[ZONE_KERNEL]++);
    expect_refused(zones.frames[ZONE_USER]--);
    expect_refused(zones.usable++);
    expect_refused(zones.reserved--);
    expect_refused(zones.withheld++);
    expect_refused((zones.frames[ZONE_KERNEL]++, zones.frames[ZONE_USER]--));
    expect_refused(zones.count--);
    expect_refused(zones.range[1].end -= FRAME_SIZE);
}

static void test_audit_ranges(void **state)
{
    (void)state;
    expect_refused(swap(0, 1));
    expect_refused(swap(3, 4));
    expect_refused(zones.range[0].zone = ZONE_USER);
    expect_refused(zones.range[2].zone = ZONE_KERNEL);
    expect_refused(move(2, FRAME_SIZE));        /* into the device registers */
    expect_refused(move(3, -(s64)FRAME_SIZE));  /* into them from above */
    expect_refused(move(3, FRAME_SIZE));        /* into the reservation */
    expect_refused(move(4, -(s64)FRAME_SIZE));
    expect_refused(move(2, -(s64)FRAME_SIZE));  /* below the boundary */
    expect_refused(move(1, FRAME_SIZE));        /* above it */
    expect_refused(zones.range[1].end = zones.range[1].start);
    expect_refused((zones.range[0].start = 0, zones.range[0].end -= MIB)); /* frame 0 */
    expect_refused((move(0, MIB + FRAME_SIZE),
                    zones.range[1].start = zones.range[0].end - FRAME_SIZE));
    expect_refused(zones.boundary += FRAME_SIZE);
    expect_refused(zones.boundary -= FRAME_SIZE);
}

/* Memory that no descriptor calls usable. */
static void test_audit_hole(void **state)
{
    (void)state;
    expect_refused(move(0, MIB / 2));
    expect_refused(move(0, -(s64)FRAME_SIZE));
    expect_refused(move(4, FRAME_SIZE));
    expect_refused(move(4, GIB));
}

/* Ranges do not touch, and begin and end at frames. */
static void test_audit_form(void **state)
{
    (void)state;
    expect_refused((swap(4, 5), swap(3, 4), swap(2, 3), swap(1, 2), zones.count++,
                    zones.range[1] = (struct zone_range){4 * MIB, 8 * MIB, ZONE_KERNEL},
                    zones.range[0].end = 4 * MIB));
    expect_refused(move(0, 0x800));
    expect_refused((zones.range[0].start += 0x800, zones.range[0].end += 0x800));
}

/* Memory from 1 to 32 MiB, of which descriptors further down take back 24 to 25 MiB and
   26 to 27 MiB; reservations at 28 and 30 MiB; what lies above 31 MiB is withheld. */
static void layered(void)
{
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, MIB, 31 << 8);
    host_add_map(EFI_MMIO, 24 * MIB, 1 << 8);
    host_add_map(EFI_ACPI_NVS, 26 * MIB, 1 << 8);
    host_add_reserved("image", 28 * MIB, MIB);
    host_add_reserved("stack", 30 * MIB, 8 * FRAME_SIZE);
    build(31 * MIB);
    expect_equal(zones.count, 6, "ranges of the layered map");
}

#define expect_refused_too(damage) \
    do { \
        layered(); \
        damage; \
        expect_panic(zone_audit(&zones, &host.info), "assertion failed"); \
    } while (0)

static void test_audit_layers(void **state)
{
    (void)state;
    expect_refused_too(move(1, FRAME_SIZE));        /* 16 to 24 MiB, upward */
    expect_refused_too(move(2, FRAME_SIZE));        /* 25 to 26 MiB, upward */
    expect_refused_too(move(2, -(s64)FRAME_SIZE));
    expect_refused_too(move(3, FRAME_SIZE));        /* 27 to 28 MiB, upward */
    expect_refused_too(move(3, -(s64)FRAME_SIZE));
    expect_refused_too(move(4, FRAME_SIZE));        /* 29 to 30 MiB, upward */
    expect_refused_too(move(5, -(s64)FRAME_SIZE));
    expect_refused_too(zones.range[5].end += 0x800);
    expect_refused_too((zones.range[5].end += FRAME_SIZE, zones.frames[ZONE_USER]++));
    expect_refused_too((zones.range[6] = (struct zone_range){31 * MIB + FRAME_SIZE,
                                                             31 * MIB + FRAME_SIZE, ZONE_USER},
                        zones.count++));
}

static void test_overlaps(void **state)
{
    struct zone_range r = {0x5000, 0x8000, ZONE_KERNEL};
    u64 start, size;

    (void)state;
    for (start = 0; start < 0xa000; start += 0x800)
        for (size = 0x800; size < 0xa000; size += 0x800)
            expect_equal(zone_overlaps(&r, start, size), start < 0x8000 && start + size > 0x5000,
                         "0x%lx bytes at 0x%lx overlap 0x5000 to 0x8000", size, start);
    expect_true(zone_overlaps(&r, 0, ~0UL), "all addresses overlap a range");
    expect_true(zone_overlaps(&r, 0x4fff, -0x4fffUL), "what ends at 2^64 overlaps");
    expect_true(zone_overlaps(&r, 0x7fff, -0x7fffUL), "what ends at 2^64 overlaps");
    expect_true(!zone_overlaps(&r, 0x8000, -0x8000UL), "what begins behind does not overlap");
    expect_true(!zone_overlaps(&r, -0x1000UL, 0x1000), "the last page does not overlap");
}

/* ---- Setting up --------------------------------------------------------- */

static void start_with(u64 megabytes, const char *options)
{
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, 0, megabytes << 8);
    host_add_reserved("image", 17 * MIB, MIB);
    libc_snprintf(host.info.options, sizeof host.info.options, "%s", options);
    boot_split_options();
}

static void test_init(void **state)
{
    (void)state;
    start_with(32, "");
    zone_init();
    expect_counts(8192, 512, 0, 3840, 3840);
    expect_text(host_output.text, "", "what zone_init() prints");
    start_with(32, "mem=24M");
    zone_init();
    expect_counts(8192, 512, 2048, 3840, 1792);
    start_with(32, "mem=much");
    zone_init();
    expect_counts(8192, 512, 0, 3840, 3840);
    expect_text(host_output.text, "zones: mem=much is not a size like 64M, ignored\n", "complaint");
    start_with(32, "map");
    zone_init();
    expect_text(host_output.text, "map: start 0x0 pages 8192 type 7 attributes 0x8\n"
                "map: reserved 0x1100000 pages 256 image\n"
                "map: usable 8192 reserved 512 withheld 0 kernel 3840 user 3840\n", "the map");
}

static void expect_too_small(u64 megabytes, const char *options, const char *sentence)
{
    start_with(megabytes, options);
    expect_exit(zone_init(), 1);
    expect_text(host_output.text, sentence, "%lu MiB, options \"%s\"", megabytes, options);
}

/* Each zone with just enough, and with a frame less. */
static void expect_enough(u64 low, u64 high, bool enough)
{
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, MIB, low);
    host_add_map(EFI_CONVENTIONAL, 16 * MIB, high);
    if (enough)
        zone_init();
    else
        expect_exit(zone_init(), 1);
}

static void test_init_too_small(void **state)
{
    (void)state;
    expect_enough(1024, 1024, true);
    expect_enough(1023, 1024, false);
    expect_enough(1024, 1023, false);
    start_with(21, "");
    zone_init();
    expect_too_small(20, "", "Rustica cannot run here: of 20 MiB of memory only 15 MiB are for "
                     "the kernel and 3 MiB for programs; each needs 4 MiB\n");
    expect_too_small(32, "mem=20M",
                     "Rustica cannot run here: of 32 MiB of memory only 15 MiB are "
                     "for the kernel and 3 MiB for programs; each needs 4 MiB\n");
    expect_too_small(0, "", "Rustica cannot run here: of 0 B of memory only 0 B are for "
                     "the kernel and 0 B for programs; each needs 4 MiB\n");
}

static void test_show(void **state)
{
    (void)state;
    host_reset(0);
    host_add_map(EFI_CONVENTIONAL, 0, 256);
    host_add_map(EFI_MMIO, MIB, 1);
    host_add_map(EFI_CONVENTIONAL, 2 * MIB, 256);
    host_add_map(0x80000000, 4 * MIB, 1);
    zone_show_types(&host.info);
    expect_text(host_output.text,
                "  free                        2 pieces      2 MiB  usable\n"
                "  device registers            1 pieces      4 KiB\n", "the condensed map");
    host_forget_output();
    ((struct efi_descriptor *)host.map)->attributes |= EFI_MEMORY_SP;
    zone_show_types(&host.info);
    expect_true(strstr(host_output.text, "2 pieces      2 MiB  partly usable\n"),
                "the condensed map says that one of two is kept: %s", host_output.text);
}

static void test_metadata(void **state)
{
    (void)state;
    host_reset(32 * MIB);
    host_add_map(EFI_CONVENTIONAL, 0, 8192);
    build(DIRECT_MAP_SIZE);
    zone_check_metadata(host.arena, 16 * MIB);
    zone_check_metadata(host.arena + 16 * MIB - 1, 1);
    zone_check_metadata(host.arena - FRAME_SIZE, FRAME_SIZE);
    zone_check_metadata(host.arena + DIRECT_MAP_SIZE, FRAME_SIZE);
    expect_panic(zone_check_metadata(host.arena + 16 * MIB - 1, 2), "lies in the USER zone");
    expect_panic(zone_check_metadata(host.arena + 16 * MIB, 1),
                 "kernel metadata at physical 0x1000000 lies in the USER zone, which begins "
                 "at 0x1000000");
    expect_panic(zone_check_metadata(host.arena + 20 * MIB, 1), "0x1400000");
    expect_panic(zone_check_metadata(host.arena + DIRECT_MAP_SIZE - 1, 1), "lies in the USER zone");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing), cmocka_unit_test(test_simple),
        cmocka_unit_test(test_types), cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_boundary),
        cmocka_unit_test(test_above_4g), cmocka_unit_test(test_wrapping),
        cmocka_unit_test(test_too_many_pieces), cmocka_unit_test(test_limit),
        cmocka_unit_test(test_reservations), cmocka_unit_test(test_empty_reservation),
        cmocka_unit_test(test_random), cmocka_unit_test(test_audit_counters),
        cmocka_unit_test(test_audit_ranges), cmocka_unit_test(test_audit_hole),
        cmocka_unit_test(test_audit_form), cmocka_unit_test(test_audit_layers),
        cmocka_unit_test(test_overlaps),
        cmocka_unit_test(test_init), cmocka_unit_test(test_init_too_small),
        cmocka_unit_test(test_show), cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_huge_stride)};

    return host_run(tests);
}
