/* chapters 1 to 6 */

#include "check.h"

enum { HEADERS, CODE, DATA, ZEROS, SEGMENTS };

/* Headers, code of several pages, data, and constants that end in zeros. */
static const struct elf_segment plan[SEGMENTS] = {
    {0x400000, 0, 0x300, 0x300, PF_R, NULL},
    {0x401010, 0x1010, 0x2456, 0x2456, PF_R | PF_X, NULL},
    {0x405000, 0x4000, 0x123, 0x123, PF_R | PF_W, NULL},
    {0x409010, 0x5010, 0x500, 0x2800, PF_R, NULL}};

static u8 bytes[0x5510];
static struct vmo *file;
static struct elf_image image;

static u64 frames_used(void)
{
    return pmm.states[FRAME_USED] - heap.frames;
}

static u8 byte_of(u64 n, u64 offset)
{
    u8 got = 0;

    need(vmo_read(image.segment[n].memory, offset, &got, 1) == 0, "byte 0x%lx of segment %lu "
         "cannot be read", offset, n);
    return got;
}

static void holds_what_it_should(u64 n)
{
    const struct elf_segment *s = &plan[n];
    u64 lead = s->start % FRAME_SIZE, i;

    need(vmo_pages(image.segment[n].memory->size) << FRAME_SHIFT >=
             segment_end_page(s) - segment_first_page(s), "the VMO of segment %lu has 0x%lx bytes "
         "only: it cannot be mapped", n, image.segment[n].memory->size);
    for (i = 0; i < s->file_size; i++)
        need(byte_of(n, lead + i) == bytes[s->offset + i], "byte 0x%lx of segment %lu is not the "
             "file's", i, n);
    for (; i < s->memory_size && s->memory_size > s->file_size; i++)
        need(byte_of(n, lead + i) == 0, "byte 0x%lx of segment %lu lies behind what the file has "
             "for it, and must be zero", i, n);
}

int main(void)
{
    u64 i, before;
    u8 changed;

    host_machine(32 * MIB);
    heap = (struct heap){.pmm = &pmm};
    for (i = 0; i < sizeof bytes; i++)
        bytes[i] = (u8)(1 + i * 7 % 255);
    image.count = SEGMENTS;
    memcpy(image.segment, plan, sizeof plan);
    file = elf_file(bytes, bytes + sizeof bytes);
    before = frames_used();
    need(elf_load(file, &image) == 0, "elf_load() fails although there is memory");
    for (i = 0; i < SEGMENTS; i++)
        holds_what_it_should(i);
    need(frames_used() - before <= 2, "loading took %ld frames; it should be two, for the last "
         "pages of the data and of what ends in zeros", (s64)(frames_used() - before));
    changed = byte_of(CODE, 0x20) + 1;
    vmo_write(file, 0x1020, &changed, 1);
    need(byte_of(CODE, 0x20) == changed, "the file has changed, and its code segment has not: that "
         "is still a clone");
    vmo_write(image.segment[DATA].memory, 0x10, &changed, 1);
    vmo_read(file, 0x4010, &changed, 1);
    need(changed == bytes[0x4010], "what the program writes to its data is written to the file");
    elf_unload(&image);
    need(!file->slices && frames_used() == before, "after elf_unload() there are %u slices and %ld "
         "frames too many", file->slices, (s64)(frames_used() - before));
}
