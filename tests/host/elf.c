/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* Chapter 6: files that are programs, files that are not, and files that pretend. The
   numbers of the cases are those of the project's list of malformed ELF files. */

#include <dirent.h>
#include "host.h"

#define FILE_MAX (16 * FRAME_SIZE)
#define PHDR(n, field) (64 + 56 * (n) + offset_of(struct elf_segment_header, field))
#define EHDR(field) offset_of(struct elf_header, field)

static u8 bytes[FILE_MAX];
static u64 size;
static struct elf_image image;
static u64 clean_frames, clean_blocks;

/* ---- A sound program ---------------------------------------------------- */

static struct elf_header *header(void)
{
    return (struct elf_header *)bytes;
}

static struct elf_segment_header *segment(u64 n)
{
    return (struct elf_segment_header *)(bytes + 64) + n;
}

/* Headers r--, code r-x, data rw- that begins and ends in mid-page with a bss of three
   pages, a stack, and where the headers are. Behind the data the file goes on with
   what must not be seen. */
static void make_good(void)
{
    static const struct elf_segment_header good[] = {
        {PT_PHDR, 4, 64, 0x400040, 0x400040, 280, 280, 8},
        {PT_LOAD, 4, 0, 0x400000, 0x400000, 0x300, 0x300, 4096},
        {PT_LOAD, 5, 0x1000, 0x401000, 0x401000, 0x456, 0x456, 4096},
        {PT_LOAD, 6, 0x2010, 0x403010, 0x403010, 0x123, 0x3000, 4096},
        {PT_GNU_STACK, 6, 0, 0, 0, 0, 0, 16}};
    u64 i;

    for (i = 0; i < sizeof bytes; i++)
        bytes[i] = (u8)(1 + i * 7 % 255);
    *header() = (struct elf_header){.ident = {0x7f, 'E', 'L', 'F', 2, 1, 1}, .type = 2,
                                    .machine = 62,
                                    .version = 1, .entry = 0x401010, .phoff = 64, .ehsize = 64,
                                    .phentsize = 56, .phnum = 5, .shentsize = 64};
    libc_memcpy(segment(0), good, sizeof good);
    size = 0x2800;
}

static void start(void)
{
    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    vmo = (struct vmo_state){.revoke = vmo_revoke_nothing};
    vmo_type.live = 0;
    clean_frames = pmm.states[FRAME_USED];
    clean_blocks = heap.blocks;
    make_good();
}

static void expect_clean(const char *when)
{
    expect_equal(vmo_type.live, 0, "objects left after %s", when);
    expect_equal(heap.blocks, clean_blocks, "heap blocks after %s", when);
    heap_trim(&heap);
    expect_equal(pmm.states[FRAME_USED], clean_frames, "frames used after %s", when);
}

static struct vmo *make_file(void)
{
    struct vmo *file = elf_file(bytes, bytes + size);

    expect_true(file, "a file of %lu bytes", size);
    return file;
}

static enum elf_reason verdict(void)
{
    struct vmo *file = make_file();
    enum elf_reason reason;
    u64 frames = pmm.states[FRAME_USED], blocks = heap.blocks;

    libc_memset(&image, 0xee, sizeof image);
    reason = elf_check(file, &image);
    expect_equal(pmm.states[FRAME_USED], frames, "frames used after checking");
    expect_equal(heap.blocks, blocks, "heap blocks after checking");
    vmo_put(file);
    return reason;
}

/* ---- An opinion of our own: which files are acceptable ------------------ */

typedef unsigned __int128 big;

static bool own_segment_is_good(const struct elf_segment_header *h)
{
    big end = (big)h->vaddr + h->memsz;

    return h->filesz <= h->memsz && h->vaddr >= 0x10000 &&
           (h->filesz == 0 || (big)h->offset + h->filesz <= size) &&
           end <= USER_PROGRAM_END && h->memsz <= 64 * GIB && __builtin_popcountl(h->align) <= 1 &&
           h->align <= GIB && (h->offset - h->vaddr) % 4096 == 0 && (h->flags & 4) &&
           h->flags < 8 && (h->flags & 3) != 3;
}

static bool own_header_is_good(void)
{
    struct elf_header *h = header();

    return size >= 64 && libc_memcmp(h->ident, "\177ELF\2\1\1", 7) == 0 &&
           (h->ident[7] == 0 || h->ident[7] == 3) && h->ident[8] == 0 && h->type == 2 &&
           h->machine == 62 && h->version == 1 && h->phentsize == 56 && h->phnum > 0 &&
           h->phnum <= ELF_HEADERS_MAX && h->phoff >= 64 && (big)h->phoff + h->phnum * 56 <= size;
}

static struct elf_segment_header own[ELF_HEADERS_MAX]; /* those that are loaded */
static u64 own_count;

static bool own_others_are_good(const struct elf_segment_header *all, u64 count)
{
    u64 seen[4] = {0}, i, j;
    bool inside;

    for (i = 0; i < count; i++) {
        const struct elf_segment_header *h = &all[i];

        seen[0] += h->type == PT_TLS;
        seen[1] += h->type == PT_DYNAMIC;
        seen[2] += h->type == PT_PHDR;
        seen[3] += h->type == PT_GNU_STACK;
        if (h->type == PT_INTERP)
            return false;
        if (h->type == PT_GNU_STACK && (h->flags & 1 || h->memsz > USER_STACK_SIZE))
            return false;
        for (j = 0, inside = false; j < own_count; j++)
            inside |= h->vaddr >= own[j].vaddr && h->vaddr < own[j].vaddr + own[j].memsz &&
                      (big)h->vaddr + h->memsz <= (big)own[j].vaddr + own[j].memsz;
        if (h->type == PT_PHDR && !inside)
            return false;
    }
    return seen[0] < 2 && seen[1] < 2 && seen[2] < 2 && seen[3] < 2;
}

static bool own_verdict(void)
{
    struct elf_segment_header all[ELF_HEADERS_MAX];
    u64 i, entry = header()->entry;
    big sum = 0;
    bool entered = false;

    if (!own_header_is_good())
        return false;
    libc_memcpy(all, bytes + header()->phoff, header()->phnum * 56UL);
    for (i = 0, own_count = 0; i < header()->phnum; i++)
        if (all[i].type == PT_LOAD && (all[i].memsz || all[i].filesz)) {
            if (!own_segment_is_good(&all[i]))
                return false;
            own[own_count++] = all[i];
        }
    for (i = 0; i < own_count; i++) {
        if (i && own[i].vaddr / 4096 <= (own[i - 1].vaddr + own[i - 1].memsz - 1) / 4096)
            return false;
        sum += own[i].memsz;
        entered |= (own[i].flags & 1) && entry >= own[i].vaddr &&
            entry < own[i].vaddr + own[i].filesz;
    }
    return own_count <= ELF_SEGMENTS_MAX && sum <= 64 * GIB && entered &&
           own_others_are_good(all, header()->phnum);
}

/* ---- What is in memory after loading ------------------------------------ */

/* The file's bytes from the segment's first page on to its end in the file, then zeros. */
static void check_page(const struct elf_segment *s, u64 offset)
{
    static u8 page[FRAME_SIZE];
    u64 lead = s->start % FRAME_SIZE, i;

    expect_equal(vmo_read(s->memory, offset, page, FRAME_SIZE), 0, "reading page 0x%lx", offset);
    for (i = 0; i < FRAME_SIZE; i++) {
        u8 wanted = offset + i < lead + s->file_size && s->file_size
                        ? bytes[s->offset - lead + offset + i] : 0;

        if (page[i] != wanted)
            expect_equal(page[i], wanted,
                         "byte 0x%lx of the segment at 0x%lx (0x%lx bytes from the "
                         "file)", offset + i, s->start, s->file_size);
    }
}

static void check_segment(const struct elf_segment *s, const struct elf_segment_header *h)
{
    u64 pages = ((h->vaddr + h->memsz - 1) >> 12) - (h->vaddr >> 12) + 1, page;

    expect_equal(s->start, h->vaddr, "start of a segment");
    expect_equal(s->rights, h->flags, "rights of a segment");
    expect_equal(s->memory_size, h->memsz, "size in memory");
    expect_equal(s->file_size, h->filesz, "size in the file");
    expect_equal(s->memory->size, pages * FRAME_SIZE, "size of the object");
    for (page = 0; page < pages && page < 20; page++)
        check_page(s, page * FRAME_SIZE);
    check_page(s, (pages - 1) * FRAME_SIZE);
}

/* Loads what own_verdict() has just accepted. */
static void check_loading(void)
{
    struct vmo *file = make_file();
    u64 i;

    expect_equal(elf_check(file, &image), ELF_OK, "the verdict, once more");
    expect_equal(elf_load(file, &image), 0, "loading");
    expect_equal(image.count, own_count, "segments");
    expect_equal(image.entry, header()->entry, "entry point");
    for (i = 0; i < own_count; i++)
        check_segment(&image.segment[i], &own[i]);
    elf_unload(&image);
    expect_equal(image.count, 0, "segments after unloading");
    elf_unload(&image);
    vmo_put(file);
}

/* Our verdict and the kernel's are the same; what is accepted loads. Returns the reason. */
static enum elf_reason compare_verdicts(const char *what)
{
    enum elf_reason reason = verdict();

    expect_true(reason < ELF_REASONS && elf_reasons[reason], "%s: the reason has a name", what);
    if ((reason == ELF_OK) != own_verdict())
        expect_text(elf_reasons[reason], reason ? "accepted" : "some refusal", "%s", what);
    if (reason == ELF_OK)
        check_loading();
    expect_clean(what);
    return reason;
}

static void expect_reason(enum elf_reason wanted, const char *what)
{
    enum elf_reason reason = compare_verdicts(what);

    expect_text(elf_reasons[reason], elf_reasons[wanted], "%s", what);
}

/* ---- The list ----------------------------------------------------------- */

struct change {
    u32 offset, width;
    u64 value;
};

#define SET(field, value) {EHDR(field), sizeof header()->field, value}
#define SEG(n, field, value) {PHDR(n, field), sizeof segment(0)->field, value}
#define ID(n, value) {n, 1, value}

static const struct {
    const char *name;
    enum elf_reason reason;
    struct change change[5];
} cases[] = {
    {"2 magic, byte 0", ELF_MAGIC, {ID(0, 0x7e)}},
    {"2 magic, byte 1", ELF_MAGIC, {ID(1, 'e')}},
    {"2 magic, byte 2", ELF_MAGIC, {ID(2, 0)}},
    {"2 magic, byte 3", ELF_MAGIC, {ID(3, 'G')}},
    {"2 class 0", ELF_CLASS, {ID(4, 0)}},
    {"2 class 3", ELF_CLASS, {ID(4, 3)}},
    {"2 data encoding 0", ELF_ENCODING, {ID(5, 0)}},
    {"2 data encoding 3", ELF_ENCODING, {ID(5, 3)}},
    {"2 EI_VERSION 0", ELF_VERSION, {ID(6, 0)}},
    {"2 EI_VERSION 2", ELF_VERSION, {ID(6, 2)}},
    {"2 e_version 0", ELF_VERSION, {SET(version, 0)}},
    {"2 e_version 2", ELF_VERSION, {SET(version, 2)}},
    {"2 e_version 257", ELF_VERSION, {SET(version, 257)}},
    {"3 EI_OSABI HP-UX", ELF_SYSTEM, {ID(7, 1)}},
    {"3 EI_OSABI FreeBSD", ELF_SYSTEM, {ID(7, 9)}},
    {"3 EI_OSABI 255", ELF_SYSTEM, {ID(7, 255)}},
    {"3 EI_OSABI GNU is accepted", ELF_OK, {ID(7, 3)}},
    {"3 ABI version 1", ELF_SYSTEM, {ID(8, 1)}},
    {"4 e_type NONE", ELF_TYPE, {SET(type, 0)}},
    {"4 e_type REL", ELF_TYPE, {SET(type, 1)}},
    {"4 e_type CORE", ELF_TYPE, {SET(type, 4)}},
    {"4 e_type 0x102", ELF_TYPE, {SET(type, 0x102)}},
    {"5 machine 0", ELF_MACHINE, {SET(machine, 0)}},
    {"5 machine 386", ELF_MACHINE, {SET(machine, 3)}},
    {"5 machine AArch64", ELF_MACHINE, {SET(machine, 183)}},
    {"6 e_phentsize 0", ELF_ENTRY_SIZE, {SET(phentsize, 0)}},
    {"6 e_phentsize 55", ELF_ENTRY_SIZE, {SET(phentsize, 55)}},
    {"6 e_phentsize 57", ELF_ENTRY_SIZE, {SET(phentsize, 57)}},
    {"6 e_phentsize 65535", ELF_ENTRY_SIZE, {SET(phentsize, 65535)}},
    {"7 e_phnum 0", ELF_NO_SEGMENTS, {SET(phnum, 0)}},
    {"7 e_phnum above the limit", ELF_TOO_MANY, {SET(phnum, ELF_HEADERS_MAX + 1)}},
    {"7 e_phnum 0xffff", ELF_TOO_MANY, {SET(phnum, 0xffff)}},
    {"8 e_phoff 0", ELF_TABLE, {SET(phoff, 0)}},
    {"8 e_phoff 63", ELF_TABLE, {SET(phoff, 63)}},
    {"8 e_phoff at the end", ELF_TABLE, {SET(phoff, 0x2800)}},
    {"8 e_phoff past the end", ELF_TABLE, {SET(phoff, 0x2801)}},
    {"8 e_phoff 2^63", ELF_TABLE, {SET(phoff, 1UL << 63)}},
    {"8 e_phoff wrapping", ELF_TABLE, {SET(phoff, ~0UL)}},
    {"8 e_phoff wrapping to 64", ELF_TABLE, {SET(phoff, 64 - 280UL)}},
    {"9 table short by one byte", ELF_TABLE, {SET(phoff, 0x2800 - 279)}},
    {"10 p_filesz > p_memsz", ELF_FILE_LARGER, {SEG(2, memsz, 0x455)}},
    {"10 p_memsz 0, p_filesz not", ELF_FILE_LARGER, {SEG(2, memsz, 0)}},
    {"11 p_filesz past the end by a byte", ELF_FILE_RANGE,
     {SEG(3, filesz, 0x2800 - 0x2010 + 1)}},
    {"11 p_filesz up to the end is accepted", ELF_OK, {SEG(3, filesz, 0x2800 - 0x2010)}},
    {"11 p_offset past the end", ELF_FILE_RANGE, {SEG(3, offset, 0x3010), SEG(3, filesz, 1)}},
    {"11 of no bytes p_offset past the end is accepted", ELF_OK,
     {SEG(3, offset, 0x3010), SEG(3, filesz, 0)}},
    {"11 p_offset 2^63", ELF_FILE_RANGE, {SEG(2, offset, 1UL << 63)}},
    {"11 p_offset + p_filesz wrapping", ELF_FILE_RANGE,
     {SEG(2, offset, -0x1000UL), SEG(2, filesz, 0x1010), SEG(2, memsz, 0x1010)}},
    {"11 p_filesz wrapping", ELF_FILE_RANGE, {SEG(2, filesz, -0x1000UL), SEG(2, memsz, -0x1000UL)}},
    {"12 p_vaddr + p_memsz wrapping", ELF_WRAP, {SEG(3, memsz, -0x403010UL + 1)}},
    {"12 p_vaddr + p_memsz wrapping far", ELF_WRAP, {SEG(3, memsz, ~0UL)}},
    {"13 kernel half", ELF_ADDRESS, {SEG(3, vaddr, 0xffff800000403010)}},
    {"13 kernel image", ELF_ADDRESS, {SEG(3, vaddr, 0xffffffff80000010)}},
    {"13 non-canonical", ELF_ADDRESS, {SEG(3, vaddr, 0x0000800000000010)}},
    {"13 page 0", ELF_ADDRESS, {SEG(1, vaddr, 0)}},
    {"13 page 1", ELF_ADDRESS, {SEG(1, vaddr, 0x1000)}},
    {"13 page 15", ELF_ADDRESS, {SEG(1, vaddr, 0xf000)}},
    {"13 page 16, and where the headers are", ELF_OK,
     {SEG(1, vaddr, 0x10000), SEG(0, vaddr, 0x10040)}},
    {"13 the last user page", ELF_ADDRESS, {SEG(3, vaddr, 0x00007ffffffff010), SEG(3, memsz,
                                                                                   0x123)}},
    {"13 the last page of the lower half", ELF_ADDRESS,
     {SEG(3, vaddr, 0x00007ffffffff010), SEG(3, memsz, 0xff0)}},
    {"14 into the stack", ELF_ADDRESS, {SEG(3, vaddr, USER_STACK_START + 0x10)}},
    {"14 up to the stack's room is accepted", ELF_OK, {SEG(3, vaddr, USER_PROGRAM_END - 0xff0),
                                                        SEG(3, memsz, 0xff0)}},
    {"14 a byte into the stack's room", ELF_ADDRESS, {SEG(3, vaddr, USER_PROGRAM_END - 0xff0),
                                                       SEG(3, memsz, 0xff1)}},
    {"14 from below the stack over it", ELF_ADDRESS, {SEG(3, vaddr, USER_PROGRAM_END - 0xff0),
                                                       SEG(3, memsz, 256 * MIB)}},
    {"15 aligned-up end wrapping", ELF_ADDRESS, {SEG(3, vaddr, -0xff0UL), SEG(3, memsz, 0xfef)}},
    {"15 end exactly 2^64", ELF_ADDRESS, {SEG(3, vaddr, -0xff0UL), SEG(3, memsz, 0xff0)}},
    {"16 p_align 3", ELF_ALIGN, {SEG(2, align, 3)}},
    {"16 p_align 4097", ELF_ALIGN, {SEG(2, align, 4097)}},
    {"16 p_align -1", ELF_ALIGN, {SEG(2, align, ~0UL)}},
    {"16 p_align 2^63", ELF_ALIGN, {SEG(2, align, 1UL << 63)}},
    {"16 p_align 0 is accepted", ELF_OK, {SEG(2, align, 0)}},
    {"16 p_align 1 is accepted", ELF_OK, {SEG(2, align, 1)}},
    {"16 p_align 2 MiB is accepted", ELF_OK, {SEG(2, align, 2 * MIB)}},
    {"17 p_offset not congruent", ELF_CONGRUENCE, {SEG(2, offset, 0x1001)}},
    {"17 p_vaddr not congruent", ELF_CONGRUENCE, {SEG(3, vaddr, 0x403000)}},
    {"18 overlap by a byte", ELF_OVERLAP,
     {SEG(2, filesz, 0x1011), SEG(2, memsz, 0x2011)}},
    {"18 one within the other", ELF_OVERLAP, {SEG(3, vaddr, 0x401010)}},
    {"18 the later over the earlier", ELF_OVERLAP, {SEG(3, vaddr, 0x3ff010)}},
    {"19 two in a page", ELF_SHARED_PAGE, {SEG(3, vaddr, 0x401800), SEG(3, offset, 0x1800)}},
    {"19 two in a page, one byte of it", ELF_SHARED_PAGE, {SEG(2, memsz, 0x2010)}},
    {"19 page after page is accepted", ELF_OK, {SEG(2, memsz, 0x2000)}},
    {"20 not ascending", ELF_ORDER, {SEG(3, vaddr, 0x300010), SEG(3, memsz, 0x200)}},
    {"20 the first above the others", ELF_ORDER, {SEG(1, vaddr, 0x800000), SEG(0, vaddr,
                                                                               0x800040)}},
    {"21 empty, at an absurd place", ELF_OK,
     {SEG(3, memsz, 0), SEG(3, filesz, 0), SEG(3, vaddr, ~0UL), SEG(3, flags, 7), SEG(3, offset,
                                                                                      ~0UL)}},
    {"22 no PT_LOAD", ELF_NO_SEGMENTS,
     {SEG(0, type, 0), SEG(1, type, 0), SEG(2, type, 0), SEG(3, type, 0)}},
    {"22 only empty ones", ELF_NO_SEGMENTS,
     {SEG(0, type, 0), SEG(1, type, 0), SEG(2, type, 4), SEG(3, filesz, 0), SEG(3, memsz, 0)}},
    {"23 writable and executable", ELF_WRITE_EXECUTE, {SEG(2, flags, 7)}},
    {"24 p_flags 0", ELF_FLAGS, {SEG(2, flags, 0)}},
    {"24 p_flags W", ELF_FLAGS, {SEG(3, flags, 2)}},
    {"24 p_flags X", ELF_FLAGS, {SEG(2, flags, 1)}},
    {"24 p_flags WX", ELF_FLAGS, {SEG(2, flags, 3)}},
    {"24 p_flags unknown bit", ELF_FLAGS, {SEG(2, flags, 13)}},
    {"24 p_flags OS bit", ELF_FLAGS, {SEG(2, flags, 0x100005)}},
    {"24 p_flags top bit", ELF_FLAGS, {SEG(2, flags, 0x80000005)}},
    {"25 1 TiB of bss", ELF_MEMORY, {SEG(3, memsz, 1UL << 40)}},
    {"25 2^46 of bss", ELF_MEMORY, {SEG(3, memsz, 1UL << 46)}},
    {"25 64 GiB of bss and the rest", ELF_MEMORY, {SEG(3, memsz, 64 * GIB)}},
    {"25 a little less is accepted", ELF_OK, {SEG(3, memsz, 64 * GIB - 0x456 - 0x300)}},
    {"25 a byte more", ELF_MEMORY, {SEG(3, memsz, 64 * GIB - 0x456 - 0x300 + 1)}},
    {"26 the sum above the quota", ELF_MEMORY,
     {SEG(1, memsz, 40 * GIB), SEG(2, vaddr, 0x401000 + 41 * GIB), SEG(2, memsz, 40 * GIB),
      SEG(3, vaddr, 0x403010 + 82 * GIB), SET(entry, 0x401010 + 41 * GIB)}},
    {"29 e_entry 0", ELF_ENTRY, {SET(entry, 0)}},
    {"29 e_entry outside", ELF_ENTRY, {SET(entry, 0x500000)}},
    {"29 e_entry before the code", ELF_ENTRY, {SET(entry, 0x400fff)}},
    {"29 e_entry at the code's first byte", ELF_OK, {SET(entry, 0x401000)}},
    {"29 e_entry at the code's last byte", ELF_OK, {SET(entry, 0x401455)}},
    {"29 e_entry behind the code", ELF_ENTRY, {SET(entry, 0x401456)}},
    {"29 e_entry in the headers", ELF_ENTRY, {SET(entry, 0x400010)}},
    {"29 e_entry in the data", ELF_ENTRY, {SET(entry, 0x403010)}},
    {"29 e_entry in bss", ELF_ENTRY, {SET(entry, 0x405000)}},
    {"29 e_entry in the code's bss", ELF_ENTRY, {SEG(2, memsz, 0x1000), SET(entry, 0x401456)}},
    {"29 e_entry in the kernel half", ELF_ENTRY, {SET(entry, 0xffffffff80001000)}},
    {"29 e_entry non-canonical", ELF_ENTRY, {SET(entry, 0x0000800000000000)}},
    {"29 e_entry -1", ELF_ENTRY, {SET(entry, ~0UL)}},
    {"30 PT_INTERP", ELF_INTERPRETER, {SEG(4, type, PT_INTERP)}},
    {"31 PT_TLS once", ELF_OK, {SEG(4, type, PT_TLS)}},
    {"31 PT_DYNAMIC once", ELF_OK, {SEG(4, type, PT_DYNAMIC)}},
    {"31 PT_TLS twice", ELF_TWICE, {SEG(0, type, PT_TLS), SEG(4, type, PT_TLS)}},
    {"31 PT_DYNAMIC twice", ELF_TWICE, {SEG(0, type, PT_DYNAMIC), SEG(4, type, PT_DYNAMIC)}},
    {"31 PT_PHDR twice", ELF_TWICE, {SEG(4, type, PT_PHDR), SEG(4, vaddr, 0x400040)}},
    {"31 PT_GNU_STACK twice", ELF_TWICE, {SEG(0, type, PT_GNU_STACK)}},
    {"31 unknown kinds twice", ELF_OK, {SEG(0, type, 0x60000001), SEG(4, type, 0x60000001)}},
    {"32 executable PT_GNU_STACK", ELF_EXECUTABLE_STACK, {SEG(4, flags, 7)}},
    {"32 absurd stack size", ELF_STACK_SIZE, {SEG(4, memsz, 1UL << 40)}},
    {"32 stack size -1", ELF_STACK_SIZE, {SEG(4, memsz, ~0UL)}},
    {"32 stack size up to ours", ELF_OK, {SEG(4, memsz, USER_STACK_SIZE)}},
    {"32 stack size above ours", ELF_STACK_SIZE, {SEG(4, memsz, USER_STACK_SIZE + 1)}},
    {"33 PT_PHDR outside any PT_LOAD", ELF_HEADERS_OUTSIDE, {SEG(0, vaddr, 0x500000)}},
    {"33 PT_PHDR across a PT_LOAD's end", ELF_HEADERS_OUTSIDE, {SEG(0, vaddr, 0x4002f0)}},
    {"33 PT_PHDR wrapping", ELF_HEADERS_OUTSIDE, {SEG(0, memsz, ~0UL)}},
    {"34 static PIE", ELF_PIE, {SET(type, 3)}},
    {"35 garbage section headers", ELF_OK,
     {SET(shoff, ~0UL), SET(shnum, 65535), SET(shentsize, 1), SET(shstrndx, 65535), SET(flags,
                                                                                        ~0UL)}},
    {"35 e_ehsize", ELF_OK, {SET(ehsize, 0)}},
    {"36 headers over the file header", ELF_TABLE, {SET(phoff, 8), SET(phnum, 1)}},
    {"40 identical twice", ELF_OVERLAP,
     {SEG(2, offset, 0), SEG(2, vaddr, 0x400000), SEG(2, filesz, 0x300), SEG(2, memsz, 0x300)}},
    {"41 p_paddr is ignored", ELF_OK, {SEG(2, paddr, ~0UL), SEG(3, paddr, 0xffffffff80000000)}},
    {"43 32-bit", ELF_CLASS, {ID(4, 1), SET(machine, 3)}},
    {"43 x32", ELF_CLASS, {ID(4, 1)}},
    {"43 big-endian", ELF_ENCODING, {ID(5, 2)}},
    {"44 code that maps the file header", ELF_OK,
     {SEG(0, type, 0), SEG(1, type, 0), SEG(2, offset, 0), SEG(2, vaddr, 0x401000)}},
    {"45 vaddr and sizes in mid-page", ELF_OK,
     {SEG(3, vaddr, 0x403fff), SEG(3, offset, 0x1fff), SEG(3, filesz, 3), SEG(3, memsz, 0x1003)}},
    {"45 one byte", ELF_OK, {SEG(3, filesz, 0), SEG(3, memsz, 1)}}};

static void apply(const struct change *c)
{
    for (; c->width; c++)
        libc_memcpy(bytes + c->offset, &c->value, c->width);
}

static void test_cases(void **state)
{
    u64 i;

    (void)state;
    start();
    expect_reason(ELF_OK, "the sound program");
    for (i = 0; i < array_count(cases); i++) {
        struct change change[6] = {{0, 0, 0}};

        make_good();
        libc_memcpy(change, cases[i].change, sizeof cases[i].change);
        apply(change);
        expect_reason(cases[i].reason, cases[i].name);
    }
    host_proof("cases", i);
}

/* Each reason but the first is given by a case here or below. */
static void test_reasons(void **state)
{
    bool given[ELF_REASONS] = {[ELF_SHORT] = true};
    u64 i;

    (void)state;
    for (i = 0; i < array_count(cases); i++)
        given[cases[i].reason] = true;
    for (i = 0; i < ELF_REASONS; i++) {
        expect_true(elf_reasons[i] && *elf_reasons[i], "reason %lu has a sentence", i);
        expect_true(given[i], "there is a case for: %s", elf_reasons[i]);
    }
}

/* Case 1: shorter than the header. Case 9: all lengths up to the end of the table. */
static void test_short(void **state)
{
    u64 length;

    (void)state;
    start();
    for (length = 0; length < 64 + 5 * 56; length++) {
        size = length;
        expect_reason(length < 64 ? ELF_SHORT : ELF_TABLE, "1, 9 a short file");
    }
    for (; length <= 0x2800; length += 13) {
        size = length;
        compare_verdicts("11 a file that was cut off");
    }
}

/* Case 42. */
static void test_not_elf(void **state)
{
    (void)state;
    start();
    size = 0;
    expect_reason(ELF_SHORT, "42 an empty file");
    size = (u64)libc_snprintf((char *)bytes, sizeof bytes, "#!/bin/sh\necho %0100d\n", 0);
    expect_reason(ELF_MAGIC, "42 a script");
    libc_memset(bytes, 0, sizeof bytes);
    expect_reason(ELF_MAGIC, "42 a file of zeros");
}

/* Case 40: as many segments as are allowed, and one more. */
static void make_many(u64 count)
{
    u64 i;

    make_good();
    size = FILE_MAX;
    header()->phnum = (u16)count;
    header()->phoff = 0x4000;
    for (i = 0; i < count; i++)
        ((struct elf_segment_header *)(bytes + 0x4000))[i] = (struct elf_segment_header){
            PT_LOAD, i ? 4 : 5, 0x1000, 0x400000 + i * 0x2000, 0, 0x80, 0x1080, 4096};
    header()->entry = 0x400010;
}

static void test_many_segments(void **state)
{
    u64 count;

    (void)state;
    start();
    for (count = 1; count <= ELF_HEADERS_MAX + 1; count++) {
        make_many(count);
        expect_reason(count <= ELF_SEGMENTS_MAX ? ELF_OK : ELF_TOO_MANY, "40 many segments");
    }
    make_many(ELF_HEADERS_MAX);
    for (count = 0; count < ELF_HEADERS_MAX; count++)
        if (count % 2)
            ((struct elf_segment_header *)(bytes + 0x4000))[count].type = 0x6fffffff;
    expect_reason(ELF_OK, "40 many headers, half of them unknown");
}

/* Cases 27 and 28 for every length in the file's last page. */
static void test_bss(void **state)
{
    u64 length;

    (void)state;
    start();
    for (length = 0; length <= 0x2800 - 0x2010; length += length < 20 ? 1 : 111) {
        make_good();
        segment(3)->filesz = length;
        expect_reason(ELF_OK, "27, 28 bss");
    }
}

/* Where the program sees its headers. */
static void test_headers(void **state)
{
    (void)state;
    start();
    verdict();
    expect_equal(image.headers, 0x400040, "address of the headers");
    expect_equal(image.header_count, 5, "number of headers");
    segment(1)->filesz = segment(1)->memsz = 64 + 280;
    verdict();
    expect_equal(image.headers, 0x400040, "address of headers that just fit");
    segment(0)->type = 0;
    segment(1)->filesz = segment(1)->memsz = 64 + 279;
    verdict();
    expect_equal(image.headers, 0, "address of headers that do not fit");
    segment(1)->vaddr = 0x400000, segment(1)->filesz = 63;
    verdict();
    expect_equal(image.headers, 0, "address of headers that are not loaded");
}

/* Case 37: what was checked is what is loaded, whatever became of the headers. */
static void test_file_changes(void **state)
{
    struct vmo *file;
    u8 rubbish[0x300];

    (void)state;
    start();
    file = make_file();
    expect_equal(elf_check(file, &image), ELF_OK, "37 the verdict");
    expect_true(own_verdict(), "37 our verdict");
    libc_memset(rubbish, 0xff, sizeof rubbish);
    vmo_write(file, 0, rubbish, sizeof rubbish);
    libc_memset(bytes, 0xff, sizeof rubbish);
    expect_equal(elf_load(file, &image), 0, "37 loading a file that has changed");
    check_segment(&image.segment[1], &own[1]);
    check_segment(&image.segment[2], &own[2]);
    vmo_write(file, 0x1000, rubbish, sizeof rubbish);
    check_page(&image.segment[1], 0);       /* as loaded, not as it is now */
    elf_unload(&image);
    make_good();
    vmo_put(file);
    file = make_file();
    expect_equal(elf_check(file, &image), ELF_OK, "37 the verdict");
    vmo_resize(file, 0x1200);
    expect_equal(elf_load(file, &image), -ENOMEM, "37 loading a file that was cut off");
    expect_equal(image.count, 0, "37 segments after that");
    vmo_put(file);
    expect_clean("37");
}

/* Writing to what was loaded does not change the file. */
static void test_private(void **state)
{
    struct vmo *file;
    u8 byte, one = 0xaa;

    (void)state;
    start();
    file = make_file();
    elf_check(file, &image);
    elf_load(file, &image);
    expect_equal(image.segment[0].memory->committed, 1, "frames of the first segment");
    vmo_write(image.segment[2].memory, 0x10, &one, 1);
    vmo_read(file, 0x2010, &byte, 1);
    expect_equal(byte, bytes[0x2010], "the file's byte");
    elf_unload(&image);
    vmo_put(file);
    expect_clean("writing");
}

/* Case 38: no memory, at each allocation there is. */
static void load_failing(u64 *counter, bool whole)
{
    struct vmo *file = NULL;
    int error = -ENOMEM;
    u64 n;

    for (n = 1; error; n++) {
        if (!whole) {
            file = make_file();
            expect_equal(elf_check(file, &image), ELF_OK, "38 the verdict");
        }
        *counter = n;
        if (whole)
            file = elf_file(bytes, bytes + size);
        error = !file ? -ENOMEM : whole ? 0 : elf_load(file, &image);
        *counter = 0;
        if (error) {
            expect_equal(error, -ENOMEM, "38 allocation %lu fails: error", n);
            expect_equal(whole ? 0 : image.count, 0, "38 allocation %lu fails: segments", n);
        } else if (!whole) {
            expect_true(own_verdict(), "38 our verdict");
            check_segment(&image.segment[2], &own[2]);
            elf_unload(&image);
        }
        if (file)
            vmo_put(file);
        expect_clean("38 failing");
        expect_true(n < 100, "38 it succeeds in the end");
    }
    expect_true(n > 3, "38 something failed");
}

static void test_failures(void **state)
{
    (void)state;
    start();
    load_failing(&pmm.fail_in, true);
    load_failing(&heap.fail_in, true);
    load_failing(&heap.fail_in, false);
    load_failing(&pmm.fail_in, false);
}

/* ---- The installed system ----------------------------------------------- */

static bool read_whole(const char *path)
{
    FILE *f = fopen(path, "rb");

    if (!f)
        return false;
    size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    return size > 0;
}

/* Dynamic programs are refused by name. (Of a larger file we see the beginning.) */
static void test_host_programs(void **state)
{
    static const char *const programs[] = {"/bin/true", "/bin/sh", "/usr/bin/env"};
    enum elf_reason reason;
    u64 i;

    (void)state;
    start();
    for (i = 0; i < array_count(programs); i++) {
        if (!read_whole(programs[i]))
            continue;
        reason = compare_verdicts(programs[i]);
        expect_true(reason == ELF_PIE || reason == ELF_INTERPRETER,
                    "%s is refused as dynamic, not as: %s", programs[i], elf_reasons[reason]);
    }
}

static u64 files_checked;

static void check_folder(const char *folder, u64 limit)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    char path[512];

    while (d && limit && (e = readdir(d))) {
        libc_snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if ((e->d_type == DT_REG) && read_whole(path)) {
            compare_verdicts(path);
            files_checked++;
            limit--;
        }
    }
    if (d)
        closedir(d);
}

static void test_host_files(void **state)
{
    (void)state;
    start();
    check_folder("/usr/bin", host_rounds(300));
    check_folder("/usr/lib/x86_64-linux-gnu", host_rounds(100));
    check_folder("/usr/sbin", host_rounds(100));
    check_folder("/etc", host_rounds(20));
    host_proof("files", files_checked);
}

/* ---- Chance ------------------------------------------------------------- */

static u64 random_value(u64 *seed)
{
    static const u64 values[] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 55, 56, 57, 63, 64, 0xff, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000,
        0x2010, 0x2800, 0x10000, 0x400000, 0x401000, 0x401010, 0x402000, 0x403010, 0x403fff,
        0x404000, 0x406010, 1UL << 31, 1UL << 32, 1UL << 36, 1UL << 40, 1UL << 47,
        USER_PROGRAM_END, USER_STACK_START, USER_END, 1UL << 63, ~0UL};

    switch (host_below(seed, 4)) {
    case 0: return host_random(seed);
    case 1: return host_below(seed, 0x3000);
    default: return values[host_below(seed, array_count(values))] + host_below(seed, 3) - 1;
    }
}

/* Changes a field, or a byte, or takes a field from another segment. */
static void mutate(u64 *seed)
{
    static const u8 header_fields[][2] = {{16, 2}, {18, 2}, {20, 4}, {24, 8}, {32, 8}, {54, 2},
                                          {56, 2}};
    static const u8 fields[][2] = {{0, 4}, {4, 4}, {8, 8}, {16, 8}, {32, 8}, {40, 8}, {48, 8}};
    u64 n = host_below(seed, 7), i = host_below(seed, 5), j = host_below(seed, 5);
    u64 value = random_value(seed), *moved;

    switch (host_below(seed, 8)) {
    case 0:
        libc_memcpy(bytes + header_fields[n][0], &value, header_fields[n][1]);
        break;
    case 1:
        bytes[host_below(seed, 64 + 280)] = (u8)value;
        break;
    case 2:
        bytes[host_below(seed, 64 + 280)] ^= (u8)(1 << value % 8);
        break;
    case 3:
        libc_memcpy(bytes + 64 + 56 * i + fields[n][0], bytes + 64 + 56 * j + fields[n][0],
                    fields[n][1]);
        break;
    case 4:
        moved = (u64 *)(bytes + 64 + 56 * i + (n < 2 ? 8 : fields[n][0]));
        *moved += (host_below(seed, 3) - 1) * FRAME_SIZE;
        break;
    default:
        libc_memcpy(bytes + 64 + 56 * i + fields[n][0], &value, fields[n][1]);
    }
}

static void test_mutations(void **state)
{
    u64 round, seed, n, accepted = 0, rounds = host_rounds(60000);
    char name[32];

    (void)state;
    start();
    for (round = 0; round < rounds; round++) {
        seed = round;
        make_good();
        for (n = 1 + host_below(&seed, 3); n; n--)
            mutate(&seed);
        if (host_below(&seed, 10) == 0)
            size = host_below(&seed, 0x2800);
        libc_snprintf(name, sizeof name, "mutation %lu", round);
        accepted += compare_verdicts(name) == ELF_OK;
    }
    host_proof("executions", round);
    expect_true(accepted > rounds / 50 && accepted < rounds / 2, "%lu of %lu accepted", accepted,
                rounds);
    heap_audit(&heap);
    pmm_audit(&pmm);
}

static int setup(void **state)
{
    host_watch_memory();
    return host_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases), cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_short), cmocka_unit_test(test_not_elf),
        cmocka_unit_test(test_many_segments), cmocka_unit_test(test_bss),
        cmocka_unit_test(test_headers), cmocka_unit_test(test_file_changes),
        cmocka_unit_test(test_private), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_host_programs), cmocka_unit_test(test_host_files),
        cmocka_unit_test(test_mutations)};

    return cmocka_run_group_tests(tests, setup, host_teardown);
}
