// # Prologue. Leaving the firmware {#ch-prologue}
//===========================================================================
//
// A computer with UEFI firmware does a great deal before it asks us. It has
// found its memory and tested it, numbered its buses, lit up the screen and
// started a small operating system of its own, with memory allocation,
// drivers and a file system. That system loads our file, `BOOTX64.EFI`, and
// calls its entry point as a C function with two arguments.
//
// This file is what that function does. It asks the firmware everything we
// shall ever want to know, because there is only one chance; it builds the
// page tables the kernel starts on; then it tells the firmware to go away
// and jumps. It is the only part of Rustica that calls UEFI, and the only
// one that includes the headers of *gnu-efi*, which describe the firmware's
// structures and carry the calls from our calling convention to the
// firmware's (`uefi_call_wrapper` wants the function, the number of its
// arguments, and the arguments). Of the library's own start-up code we use
// nothing: ours is ten [instructions](#efi-start).
//
// ::: {#fig-handover .figure file="book/figures/handover.svg"}
// The prologue from left to right. Memory changes hands when the firmware
// leaves; all the rest changes at once, in the jump.
// :::
//
// The kernel proper begins with [Chapter 1](#ch-boot). A reader in a hurry
// may start there and come back when wondering where the structure called
// `boot_info` came from. A reader to whom a *page table* means nothing
// should read [one page of it](#boot-addresses) before going on here.

#include <efi.h>
#undef NULL
#include "rustica.h"

struct efi_state {
    EFI_SYSTEM_TABLE *system;
    EFI_BOOT_SERVICES *boot;
    u64 *root;           /* the level-4 table under construction */
    u64 *pool, *pool_next, *pool_end; /* zeroed frames for page tables */
    struct efi_low_page *low; /* NULL unless the number of levels must change */
};

struct efi_state efi;

// ## Complaining {#efi-fail}
//
// As long as the firmware lives we can use its console. It wants
// sixteen-bit characters, so we widen them one at a time. (The headers have
// a type for them, `CHAR16`, which in some releases is the compiler's wide
// character and has 32 bits. A `u16` has sixteen everywhere.) A machine
// that cannot run Rustica gets a sentence, five seconds to read it, and its
// power switched off. Port 0xf4 is where our QEMU keeps a device that turns
// a write into an exit status for the shell; a real machine has nothing
// there and ignores it.

void efi_print(const char *text)
{
    u16 wide[2] = {0, 0};

    for (; *text; text++) {
        wide[0] = (u8)*text;
        uefi_call_wrapper(efi.system->ConOut->OutputString, 2, efi.system->ConOut, wide);
    }
}

void efi_stop(void)
{
    cpu_outb(0xf4, 1);
    uefi_call_wrapper(efi.system->RuntimeServices->ResetSystem, 4,
                      EfiResetShutdown, EFI_ABORTED, 0, NULL);
    for (;;)
        ;
}

void efi_fail(const char *why)
{
    efi_print("\r\nRustica cannot start: ");
    efi_print(why);
    efi_print("\r\n");
    uefi_call_wrapper(efi.boot->Stall, 1, 5000000);
    efi_stop();
}

// ## Things we cannot do without {#efi-cpu}
//
// Pages that hold data must not be executable, so the processor must know
// the no-execute bit. Programs call the kernel by `syscall`, are compiled
// for x86-64 as everybody compiles for it, which includes SSE2, and lose
// the processor to each other, so somebody must save their vector
// registers. All this is older than UEFI itself, but an emulator can leave
// it out, and then it is better to say so than to run into an instruction
// that does not exist. (`cpuid` tells by bits of EDX; SDM 2A, "CPUID".)

struct efi_feature {
    u32 leaf, bit;       /* of EDX */
    const char *lack;
};

void efi_check_cpu(void)
{
    static const struct efi_feature features[] = {
        {0x80000001, 20, "the processor lacks NX, the no-execute bit of page tables."},
        {0x80000001, 11, "the processor lacks SYSCALL, by which programs call the kernel."},
        {1, 4, "the processor lacks a counter of its cycles."},
        {1, 24, "the processor lacks FXSAVE, which saves a program's registers."},
        {1, 26, "the processor lacks SSE2, which every x86-64 program expects."}};
    u64 i;

    for (i = 0; i < array_count(features); i++)
        if (!(cpu_cpuid(features[i].leaf, 0).edx >> features[i].bit & 1))
            efi_fail(features[i].lack);
}

// ## Memory that stays ours {#efi-alloc}
//
// Whatever we allocate here is of the type `EfiLoaderData`, or for code
// `EfiLoaderCode`: the firmware will not touch it, and the kernel will know
// it by that name in the memory map. We ask for memory below 4 GiB, which
// the processor reaches in [all its modes](#efi-levels). Unlike our own
// allocators the firmware's does not clear it.

void *efi_alloc_pages(u64 count, EFI_MEMORY_TYPE type)
{
    EFI_PHYSICAL_ADDRESS start = 4 * GIB - 1;

    if (uefi_call_wrapper(efi.boot->AllocatePages, 4, AllocateMaxAddress, type,
                          count, &start) != EFI_SUCCESS)
        efi_fail("the firmware has no memory left for page tables.");
    memset((void *)start, 0, count * FRAME_SIZE);
    return (void *)start;
}

void efi_reserve(struct boot_info *info, const char *name, void *start, u64 size)
{
    info->reserved[info->reserved_count++] =
        (struct boot_range){name, (paddr)start, align_up(size, FRAME_SIZE)};
}

// ## Questions {#efi-questions}
//
// What the firmware can do beyond the basics it offers as *protocols*. A
// protocol is a structure of data and function pointers; we ask for it by a
// number of 128 bits which nobody else uses, its *GUID*, and get a pointer.
//
// *Which image are we, and what did the user type?* The loaded-image
// protocol knows both. Options are sixteen-bit text too. (A shell puts the
// program's name first; the kernel will not know that option, and say so.)

char efi_plain(u32 c);
void efi_cut(char *line);
void efi_read_options(EFI_HANDLE device, char *line);

void efi_ask_image(struct boot_info *info, EFI_HANDLE image)
{
    EFI_GUID protocol = LOADED_IMAGE_PROTOCOL;
    EFI_LOADED_IMAGE *loaded = NULL;
    u16 *text;
    u64 i, length;

    uefi_call_wrapper(efi.boot->HandleProtocol, 3, image, &protocol, (void **)&loaded);
    if (!loaded)
        efi_fail("the firmware does not say where it loaded us.");
    info->image.name = "image";
    info->image.start = (paddr)loaded->ImageBase;
    info->image.size = align_up(loaded->ImageSize, FRAME_SIZE);
    efi_reserve(info, "image", loaded->ImageBase, loaded->ImageSize);

    text = loaded->LoadOptions;
    length = text ? loaded->LoadOptionsSize / sizeof *text : 0;
    for (i = 0; i < length && i < BOOT_OPTIONS_MAX && efi_plain(text[i]); i++)
        info->options[i] = efi_plain(text[i]);
    if (!info->options[0])
        efi_read_options(loaded->DeviceHandle, info->options);
    if (info->options[BOOT_OPTIONS_MAX - 1])
        efi_cut(info->options);
}

// Some firmware hands a boot entry's private data over in place of options,
// so anything that is not plain text ends the line; a tab is a blank. A
// line that is too long loses its last words to an option `...`, of which
// the kernel will say that it does not know it.

char efi_plain(u32 c)
{
    return c == '\t' ? ' ' : c >= ' ' && c <= '~' ? (char)c : 0;
}

void efi_cut(char *line)
{
    u64 end = BOOT_OPTIONS_MAX - 4;

    while (end && line[end - 1] != ' ')
        end--;
    memset(line + end, 0, BOOT_OPTIONS_MAX - end);
    memset(line + end, '.', 3);
}

// *And if nobody could type anything?* Firmware that boots a disk by itself
// passes no options. Then the first line of a file stands in for them,
// `\EFI\BOOT\OPTIONS.TXT`, if there is one on the disk we come from.

void efi_read_options(EFI_HANDLE device, char *line)
{
    static const char name[] = "\\EFI\\BOOT\\OPTIONS.TXT";
    EFI_GUID protocol = SIMPLE_FILE_SYSTEM_PROTOCOL;
    EFI_FILE_IO_INTERFACE *volume = NULL;
    EFI_FILE_HANDLE root, file;
    u16 wide[sizeof name];
    UINTN i, size = BOOT_OPTIONS_MAX;

    for (i = 0; i < sizeof name; i++)
        wide[i] = (u8)name[i];
    uefi_call_wrapper(efi.boot->HandleProtocol, 3, device, &protocol, (void **)&volume);
    if (!volume || uefi_call_wrapper(volume->OpenVolume, 2, volume, &root) != EFI_SUCCESS)
        return;
    if (uefi_call_wrapper(root->Open, 5, root, &file, wide, EFI_FILE_MODE_READ, 0) != EFI_SUCCESS)
        return;
    if (uefi_call_wrapper(file->Read, 3, file, &size, line) != EFI_SUCCESS)
        size = 0;
    for (i = 0; i < size && efi_plain((u8)line[i]); i++)
        line[i] = efi_plain((u8)line[i]);
    memset(line + i, 0, BOOT_OPTIONS_MAX - i);
}

// *Is there a screen?* The graphics output protocol (UEFI 2.10, 12.9)
// describes a framebuffer: where it is, how wide, and which bits of a pixel
// are red. It has two fixed layouts and one given by masks; we turn all
// into masks. A mode without a framebuffer is as good as no screen.

void efi_ask_screen(struct boot_info *info)
{
    EFI_GUID protocol = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
    EFI_GRAPHICS_OUTPUT_PROTOCOL *gop = NULL;
    EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode;
    struct boot_framebuffer screen = {0};

    uefi_call_wrapper(efi.boot->LocateProtocol, 3, &protocol, NULL, (void **)&gop);
    if (!gop || !gop->Mode || !gop->Mode->Info)
        return;
    mode = gop->Mode->Info;
    screen.start = gop->Mode->FrameBufferBase;
    screen.size = gop->Mode->FrameBufferSize;
    screen.width = mode->HorizontalResolution;
    screen.height = mode->VerticalResolution;
    screen.stride = mode->PixelsPerScanLine;
    screen.red = 0xff, screen.green = 0xff00, screen.blue = 0xff0000;
    if (mode->PixelFormat == PixelBlueGreenRedReserved8BitPerColor)
        screen.red = 0xff0000, screen.blue = 0xff;
    if (mode->PixelFormat == PixelBitMask) {
        screen.red = mode->PixelInformation.RedMask;
        screen.green = mode->PixelInformation.GreenMask;
        screen.blue = mode->PixelInformation.BlueMask;
    }
    if (mode->PixelFormat <= PixelBitMask)
        info->screen = screen;
}

// *Will anybody hear us?* The kernel itself knows a serial line and QEMU's
// debug port, and from [Chapter 11](#con-screen) on the screen. To a
// machine without any of them it would be a kernel that hangs. So we look
// before the firmware's console is gone, the last that can say so.

void efi_check_consoles(const struct boot_info *info)
{
    if (cpu_inb(DEBUG_PORT) == DEBUG_PORT || boot_serial_init())
        return;
    if (!info->screen.start)
        efi_fail("it finds no serial line and no screen to write to.");
    efi_print("\r\nRustica: there is no serial line. "
              "From chapter 11 on the kernel writes to this screen.\r\n");
}

// *Where are the tables that describe the machine?* The firmware keeps a
// list of well-known tables by their GUIDs. We want the ACPI root pointer,
// the one of ACPI 2.0 and later if there is a choice.

bool efi_same_guid(const EFI_GUID *a, const EFI_GUID *b)
{
    const u64 *x = (const u64 *)a, *y = (const u64 *)b;

    return x[0] == y[0] && x[1] == y[1];
}

void efi_ask_acpi(struct boot_info *info)
{
    EFI_GUID acpi1 = ACPI_TABLE_GUID, acpi2 = ACPI_20_TABLE_GUID;
    EFI_CONFIGURATION_TABLE *table = efi.system->ConfigurationTable;
    u64 i;

    for (i = 0; i < efi.system->NumberOfTableEntries; i++) {
        if (efi_same_guid(&table[i].VendorGuid, &acpi2))
            info->acpi = (paddr)table[i].VendorTable;
        if (efi_same_guid(&table[i].VendorGuid, &acpi1) && !info->acpi)
            info->acpi = (paddr)table[i].VendorTable;
    }
}

// *Which memory is there?* The firmware writes its map into a buffer of
// ours. Allocating that buffer changes the map, so we leave room for a few
// more entries than it asks for now. (Some firmware does not tell the size
// of an entry as long as the buffer is too small; it is at least ours.)

#define EFI_MAP_SLACK 32

u64 efi_map_capacity(void)
{
    UINTN size = 0, key, stride = sizeof(struct efi_descriptor);
    UINT32 version;

    uefi_call_wrapper(efi.boot->GetMemoryMap, 5, &size, NULL, &key, &stride, &version);
    return align_up(size + EFI_MAP_SLACK * stride, FRAME_SIZE);
}

EFI_STATUS efi_read_map(struct boot_info *info, u64 capacity, UINTN *key)
{
    UINT32 version;

    info->map_size = capacity;
    return uefi_call_wrapper(efi.boot->GetMemoryMap, 5, &info->map_size, info->map,
                             key, &info->map_stride, &version);
}

// ## The first page tables {#efi-tables}
//
// The firmware runs on page tables of its own, where every virtual address
// is the physical one. Ours hold three things:
//
// 1. the **direct map**: all memory, from `DIRECT_MAP` upward, in pages
//    of 2 MiB, never executable;
// 2. the **image** at `KERNEL_BASE` in pages of 4 KiB, with rights to
//    match: code can be executed but not written, data the other way round;
// 3. the **identity** of the image, code and data where they are now: we
//    stand on it while we switch. The kernel takes this plank away as soon
//    as it has reached the other side.
//
// A table has 512 entries of eight bytes. An entry of the root, level 4,
// stands for 512 GiB of addresses and points to a table of level 3, whose
// entries stand for 1 GiB each, and so on by factors of 512 ([Chapter
// 7](#as-tables) has the drawing).
//
// One function makes all three. It walks down from the root, adding the
// tables that are missing, to the level where the entry belongs: level 1
// for a page of 4 KiB, level 2 for one of 2 MiB. The rights in the upper
// levels are generous, as the processor takes the strictest of all levels.

void efi_map(vaddr virtual, paddr physical, u64 flags, int leaf_level)
{
    u64 *table = efi.root, *entry;
    int level;

    for (level = 4;; level--) {
        entry = &table[(virtual >> (12 + 9 * (level - 1))) & 511];
        if (level == leaf_level)
            break;
        if (!(*entry & PTE_PRESENT)) {
            if (efi.pool_next == efi.pool_end)
                efi_fail("the page tables need more room than was computed.");
            *entry = (paddr)efi.pool_next | PTE_PRESENT | PTE_WRITE;
            efi.pool_next += FRAME_SIZE / sizeof *entry;
        }
        table = (u64 *)(*entry & PTE_ADDRESS);
    }
    *entry = physical | flags | PTE_PRESENT | (leaf_level > 1 ? PTE_LARGE : 0);
}

// The direct map covers what is memory, whoever owns it: the kernel will
// read ACPI tables in memory that it must never allocate. Device registers
// and what the firmware declares broken are left out, as far as pages of 2
// MiB can: one frame of memory brings in its whole surroundings. Nothing
// goes wrong as long as nobody touches those, and so `boot_is_mapped()`
// asks the map, not the tables. What lies beyond the reach of the direct
// map, 64 TiB, we do not have.

bool efi_is_memory(const struct efi_descriptor *d)
{
    return d->type != EFI_RESERVED && d->type != EFI_UNUSABLE && d->type < EFI_MMIO &&
           d->start < DIRECT_MAP_SIZE;
}

paddr efi_memory_end(const struct efi_descriptor *d)
{
    u64 most = (DIRECT_MAP_SIZE - d->start) / FRAME_SIZE;

    return d->start + (d->pages < most ? d->pages : most) * FRAME_SIZE;
}

u64 efi_map_direct(struct boot_info *info, bool count_only)
{
    const struct efi_descriptor *d;
    u64 at, page, end, top = 0;

    for (at = 0; at + sizeof *d <= info->map_size; at += info->map_stride) {
        d = (const struct efi_descriptor *)(info->map + at);
        if (!efi_is_memory(d))
            continue;
        end = efi_memory_end(d);
        if (end > top)
            top = end;
        for (page = align_down(d->start, 2 * MIB); !count_only && page < end; page += 2 * MIB)
            efi_map(DIRECT_MAP + page, page, PTE_WRITE | PTE_NX, 2);
    }
    return top;
}

// Our linker script, `tools/image.lds`, puts code, constants and variables
// on pages of their own and tells where they begin: code from `image_text`
// to `image_text_end`, variables from `image_data` to `image_data_end`.
// Whatever lies elsewhere in the image is constant, neither written nor
// executed. (tcc puts its constants among the variables.)
//
// ::: {.transcript file="tools/image.lds"}
// :::

extern u8 image_text[], image_text_end[], image_data[], image_data_end[];

void efi_map_image(struct boot_info *info)
{
    u8 *base = (u8 *)info->image.start, *page;
    u64 flags, offset;

    for (offset = 0; offset < info->image.size; offset += FRAME_SIZE) {
        page = base + offset;
        flags = PTE_NX;
        if (page >= image_text && page < image_text_end)
            flags = 0;
        else if (page >= image_data && page < image_data_end)
            flags = PTE_WRITE | PTE_NX;
        efi_map(KERNEL_BASE + offset, (paddr)page, flags, 1);
        efi_map((vaddr)page, (paddr)page, flags, 1);
    }
}

// The kernel's first stack is mapped with nothing below it. A function that
// recurses too deeply runs into an unmapped page, which the processor
// reports, rather than into somebody's variables, which nobody reports.

void efi_map_stack(struct boot_info *info)
{
    u8 *stack = efi_alloc_pages(KERNEL_STACK_SIZE / FRAME_SIZE, EfiLoaderData);
    u64 offset;

    for (offset = 0; offset < KERNEL_STACK_SIZE; offset += FRAME_SIZE)
        efi_map(KERNEL_STACKS + FRAME_SIZE + offset, (paddr)stack + offset,
                PTE_WRITE | PTE_NX, 1);
    info->stack_top = KERNEL_STACKS + FRAME_SIZE + KERNEL_STACK_SIZE;
    efi_reserve(info, "stack", stack, KERNEL_STACK_SIZE);
}

// How many tables will that take? One of level 2 for each GiB of physical
// address space, one of level 3 for every 512 of those, and a handful for
// image and stack. We ask for the upper bound in one piece; what remains
// of it the kernel finds among the free memory.

void efi_build_tables(struct boot_info *info)
{
    u64 gigabytes = efi_map_direct(info, true) / GIB + 1;
    u64 count = gigabytes + gigabytes / 512 + info->image.size / MIB + 32;

    efi.pool = efi_alloc_pages(count, EfiLoaderData);
    efi.pool_end = efi.pool + count * FRAME_SIZE / sizeof *efi.pool;
    efi.root = efi.pool;
    efi.pool_next = efi.pool + FRAME_SIZE / sizeof *efi.pool;
    efi_map_direct(info, false);
    efi_map_image(info);
    efi_map_stack(info);
    if (efi.low)
        efi_map((vaddr)efi.low, (paddr)efi.low, 0, 1);
    info->root = (paddr)efi.root;
    efi_reserve(info, "page tables", efi.pool, (u8 *)efi.pool_next - (u8 *)efi.pool);
}

// ## Exit {#efi-exit}
//
// The firmware lets us go only if we prove that we know its latest memory
// map: we pass the key that came with it. Between our asking for the map
// and our leaving, a timer of the firmware may fire and change the map;
// then the call fails, and we ask again. After the first attempt only the
// memory map may be asked for (UEFI 2.10, 7.4.6; lately memory may be
// allocated, too), which is why the buffer had to have slack, and why a
// failure here cannot even be printed: the console may be gone.

void efi_exit(EFI_HANDLE image, struct boot_info *info, u64 capacity)
{
    UINTN key = 0;
    int attempt;

    for (attempt = 0; attempt < 8; attempt++) {
        if (efi_read_map(info, capacity, &key) != EFI_SUCCESS)
            break;
        if (uefi_call_wrapper(efi.boot->ExitBootServices, 2, image, key) == EFI_SUCCESS)
            return;
    }
    efi_stop();
}

// ## The first instruction {#efi-start}
//
// The image is linked to start at address 0, and is not there: the firmware
// put it where there was room. Every place in it that holds an address must
// be adjusted. The linker has listed those places in a table (gABI,
// "Relocation"), and every entry is of the simplest kind: *the word at this
// offset is the base plus this number*. (The build makes sure of that.) As
// the number is in the table and not in the word, nothing stops us from
// doing it a second time with another base. That is what will happen when
// we leave for `KERNEL_BASE`; from that moment on every pointer stored in
// the image points to addresses that do not exist yet. So the function
// touches nothing but its arguments, and its caller has fetched beforehand
// what it needs afterwards.
//
// The table is found through another one, `_DYNAMIC`, whose numbers count
// from the image's start.

void efi_relocate(u8 *image, const struct elf_dynamic *d, vaddr base)
{
    const struct elf_rela *rela = NULL;
    u64 count = 0;

    for (; d->tag; d++) {
        if (d->tag == DT_RELA)
            rela = (const struct elf_rela *)(image + d->value);
        if (d->tag == DT_RELASZ)
            count = d->value / sizeof *rela;
    }
    for (; count; count--, rela++)
        *(u64 *)(image + rela->offset) = base + (u64)rela->addend;
}

// And this is where the firmware jumps to. It passes the first two
// arguments in `rcx` and `rdx`, as Windows does, while our compilers expect
// them in `rdi` and `rsi`. `lea` with `(%rip)` is how code finds out where
// it is: it computes the address from the instruction's own. A function's
// stack pointer, before the return address is pushed, must be a multiple of
// sixteen; we never return, but our callees keep to it.
//
// The last lines are for firmware that refuses to move an image without a
// table of relocations in its own format: one whose only entry means
// nothing.

__asm__(".text\n"
        ".globl efi_start\n"
        "efi_start:\n"           /* rcx image, rdx system table */
        "    subq $8, %rsp\n"
        "    pushq %rcx\n"
        "    pushq %rdx\n"
        "    leaq image_start(%rip), %rdi\n"
        "    leaq _DYNAMIC(%rip), %rsi\n"
        "    movq %rdi, %rdx\n"
        "    call efi_relocate\n"
        "    popq %rsi\n"
        "    popq %rdi\n"
        "    call efi_main\n"
        ".section .reloc, \"a\"\n"
        "    .long 0, 10\n"      /* for the page at 0; ten bytes, all told */
        "    .word 0\n"
        ".text\n");

// ## Five levels {#efi-levels}
//
// Our page tables have four levels. The firmware of very large machines may
// use five (CR4 bit 12), and the number cannot be changed while paging is
// on; and without paging there is no 64-bit mode (SDM 3A, 4.1.2; APM 2,
// 14.6). So we go down a storey: from 64-bit code to 32-bit code, which
// switches paging off, changes the number, loads the new tables, switches
// paging on again and jumps back up. In between there are no virtual
// addresses, registers have 32 bits, and the upper halves of the wide ones
// are lost. So the code for it lies in a page below 4 GiB that is where its
// address says, with all that it needs.

struct efi_low_page {
    u64 gdt[4];          /* nothing, 64-bit code, data, 32-bit code */
    u16 pad[3], limit;   /* for lgdt: at 38, */
    u64 base;            /* behind it */
    struct {
        u32 offset;
        u16 segment, pad;
    } down, up;          /* far pointers, at 48 and 56 */
    u64 root, cr4;       /* at 64, 72: what the processor shall use */
    vaddr stack, entry;  /* at 80, 88: where to go on, */
    u64 argument;        /* at 96: and with what */
    u8 code[256];        /* at 104: a copy of what follows */
};

void efi_go_down(struct efi_low_page *page) noreturn;
extern u8 efi_low_code[], efi_low_code_up[], efi_low_code_end[];

// Two far jumps, each through a pointer in the page, change the segment of
// the code and with it the number of bits. The instructions between them
// have the same bytes in both modes, so they can be written as if they were
// of 64 bits.

__asm__(".text\n"
        ".globl efi_go_down\n"
        "efi_go_down:\n"         /* rdi page */
        "    movq %rdi, %rbx\n"
        "    lgdt 38(%rbx)\n"
        "    movl $0x10, %eax\n"
        "    movw %ax, %ds\n"
        "    movw %ax, %ss\n"
        "    ljmp *48(%rbx)\n");  /* to efi_low_code in the page */

// What is copied: down, where nothing is translated, and up again.

__asm__(".globl efi_low_code\n"
        "efi_low_code:\n"
        "    movq %cr0, %rax\n"  /* 32 bits from here */
        "    andl $0x7fffffff, %eax\n"
        "    movq %rax, %cr0\n"  /* paging off */
        "    movl 72(%rbx), %eax\n"
        "    movq %rax, %cr4\n"
        "    movl 64(%rbx), %eax\n"
        "    movq %rax, %cr3\n"
        "    movq %cr0, %rax\n"
        "    orl $0x80000000, %eax\n"
        "    movq %rax, %cr0\n"  /* paging on */
        "    ljmp *56(%rbx)\n"   /* to efi_low_code_up */
        ".globl efi_low_code_up\n"
        "efi_low_code_up:\n"
        "    movl %ebx, %ebx\n"  /* 64 bits again */
        "    movq 80(%rbx), %rsp\n"
        "    pushq $0\n"
        "    movq 96(%rbx), %rdi\n"
        "    xorl %ebp, %ebp\n"
        "    jmp *88(%rbx)\n"
        ".globl efi_low_code_end\n"
        "efi_low_code_end:\n");

// The page is made while there is a firmware to ask for memory, and its
// last fields are filled when we leave. Both the old tables and the new
// ones show it in its place.

void efi_make_low_page(void)
{
    u64 up = (u64)(efi_low_code_up - efi_low_code), i;
    struct efi_low_page *page = efi_alloc_pages(1, EfiLoaderCode);

    for (i = 0; efi_low_code + i < efi_low_code_end; i++)
        page->code[i] = efi_low_code[i];
    page->gdt[1] = 0x00af9b000000ffff;
    page->gdt[2] = 0x00cf93000000ffff;
    page->gdt[3] = 0x00cf9b000000ffff;
    page->limit = sizeof page->gdt - 1;
    page->base = (u64)page->gdt;
    page->down.offset = (u32)(u64)page->code;
    page->down.segment = 0x18;
    page->up.offset = (u32)((u64)page->code + up);
    page->up.segment = 0x08;
    efi.low = page;
}

// In place of [`cpu_enter()`](#boot-instructions), with the same arguments.

void noreturn efi_enter_low(struct efi_low_page *page, paddr root, vaddr stack, vaddr entry,
                            void *argument)
{
    page->root = root;
    page->cr4 = cpu_read_cr4() ^ CR4_LA57;
    page->stack = stack;
    page->entry = entry;
    page->argument = (u64)argument;
    efi_go_down(page);
}

// ## In order {#efi-main}
//
// The names in the hand-over block are pointers into the image too, but
// this block is not part of the image, so no table lists them: we move them
// by hand. The same goes for the address we are about to jump to.

void efi_move_names(struct boot_info *info)
{
    u64 distance = KERNEL_BASE - info->image.start;
    u32 i;

    info->image.name += distance;
    for (i = 0; i < info->reserved_count; i++)
        info->reserved[i].name += distance;
    info->map += DIRECT_MAP;
    info->direct_map = (u8 *)DIRECT_MAP;
}

// Three switches are thrown before our tables come into use. Without NXE
// the no-execute bit counts as an error in a table, and without WP the
// kernel could write to pages that are read-only (SDM 3A, 4.1.3). And if
// the firmware has used CET, the processor checks each return against a
// second stack (SDM 1, 17.2), which our tables do not map.

void noreturn efi_leave(struct boot_info *info)
{
    const struct elf_dynamic *dynamic = _DYNAMIC;
    vaddr entry = KERNEL_BASE + ((u64)boot_start - info->image.start);
    struct efi_low_page *low = efi.low;

    cpu_cli();
    cpu_wrmsr(MSR_EFER, cpu_rdmsr(MSR_EFER) | EFER_NXE);
    cpu_write_cr4(cpu_read_cr4() & ~CR4_CET);
    cpu_write_cr0(cpu_read_cr0() | CR0_WP);
    efi_move_names(info);
    efi_relocate((u8 *)info->image.start, dynamic, KERNEL_BASE);
    if (low)
        efi_enter_low(low, info->root, info->stack_top, entry, (u8 *)info + DIRECT_MAP);
    cpu_enter(info->root, info->stack_top, entry,
              (struct boot_info *)((u8 *)info + DIRECT_MAP));
}

// And here is the prologue as a whole: questions, tables, good-bye, jump.
// Nothing of all this is ever executed again.

void noreturn efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
    struct boot_info *info;
    u64 capacity;
    UINTN key;

    efi.system = system;
    efi.boot = system->BootServices;
    efi_check_cpu();

    capacity = efi_map_capacity();
    info = efi_alloc_pages(1 + capacity / FRAME_SIZE, EfiLoaderData);
    info->map = (u8 *)info + FRAME_SIZE;
    efi_ask_image(info, image);
    efi_ask_screen(info);
    efi_check_consoles(info);
    efi_ask_acpi(info);
    if (efi_read_map(info, capacity, &key) != EFI_SUCCESS)
        efi_fail("the firmware does not reveal its memory map.");
    if (cpu_read_cr4() & CR4_LA57)
        efi_make_low_page();
    efi_build_tables(info);
    efi_reserve(info, "hand-over", info, FRAME_SIZE + capacity);
    efi_exit(image, info, capacity);
    efi_leave(info);
}

_Static_assert(sizeof(struct boot_info) <= FRAME_SIZE, "the hand-over block is one page");
_Static_assert(BOOT_RESERVED_MAX >= 4, "image, tables, stack, hand-over");

// ## On a real machine {#efi-real}
//
// `make image` makes a disk image; written to a USB stick with `dd`, which
// erases the stick, it starts on a PC whose firmware is UEFI of 64 bits.
// Secure Boot must be off, as nobody has signed this kernel. The machine's
// own disks are left alone: we have no driver for any.
//
// *What you see.* If the board has a serial line (115,200 bits a second),
// everything, from the first word. On the screen Rustica writes from
// [Chapter 11](#con-screen) on; before that, the firmware says there that
// it has to wait. What is on neither is lost.
//
// *What you can do.* Type, if the keyboard is one of 1984 or the firmware
// acts as if it were. Most laptops' keyboards are; a keyboard behind USB
// works only as long as the firmware plays along, which many call *legacy
// USB support* and some do not do at all. A driver for USB is not in this
// book yet. Without any keyboard, look: a line says that nobody can type.
//
// *What was tried.* Emulated machines, since those can be had in any
// number: the boards q35 and pc, with and without each of their old chips,
// all processors of 64 bits that QEMU 7.2 knows, from both makers, from 64
// MiB to 5 GiB of memory, disks of four kinds, five years of OVMF firmware,
// among it one that forbids to write to code and to execute data. An
// emulator is more forgiving than a board. So what we write to the machine
// is recorded by a test, `tests/host/record.c`, and held against both
// makers' manuals line by line; but no manual replaces your trying it.
//
// *How to report.* Put a file `OPTIONS.TXT` with the one word `map` beside
// `BOOTX64.EFI`: the kernel then prints the firmware's map of memory. Tell
// the board, the firmware's version, and the last lines you saw, a picture
// of them if need be. If you saw nothing at all, begin with an earlier
// chapter and a serial line: `make image CH=1`.
