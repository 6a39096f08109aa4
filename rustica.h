// # Appendix A. The shared header {#app-header}
//===========================================================================
//
// Everything in this file crosses a boundary: between two compilers,
// between the firmware's side and ours, between a file on disk and memory,
// between the kernel and its programs. What crosses no boundary lives in
// the chapter that owns it.
//
// ## Integers that say their size {#h-types}
//
// Four unsigned and four signed integers, and two names for the same
// sixty-four bits. A `paddr` is what travels on the memory bus; a `vaddr`
// is what an instruction computes. The machine cannot tell them apart, and
// most of the bugs in the first year of a kernel's life come from its
// authors not telling them apart either. Of the macros, `align_down()` and
// `align_up()` want a power of two, and `container_of()` leads from a
// pointer to a field back to the structure that the field is in.

#ifndef RUSTICA_H
#define RUSTICA_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long s64;
typedef u64 paddr;
typedef u64 vaddr;

#define NULL ((void *)0)
#define bool _Bool
#define true 1
#define false 0

#define KIB 1024UL
#define MIB (1024UL * KIB)
#define GIB (1024UL * MIB)

#define FRAME_SIZE 4096UL
#define FRAME_SHIFT 12

#define align_down(x, a) ((u64)(x) & ~((u64)(a) - 1))
#define align_up(x, a) align_down((u64)(x) + (a) - 1, a)
#define array_count(a) (sizeof(a) / sizeof *(a))
#define offset_of(type, field) __builtin_offsetof(type, field)
#define container_of(p, type, field) ((type *)((u8 *)(p) - offset_of(type, field)))

// ## Two compilers {#h-compilers}
//
// GCC makes the fast kernel, tcc makes the kernel quickly. They differ in
// one thing that we must mend: for `va_arg` tcc calls a function of its
// run-time library, which we do not link. Every argument our `printf()`
// takes is an integer or a pointer, so the floating-point half of that
// function is not needed. The System V ABI (x86-64 psABI 3.5.7) lays out
// what a `va_list` is: the first six integer arguments have been saved in a
// block, the others lie on the caller's stack. (GCC also likes to be told
// which way to bet on a condition: `likely()` and `unlikely()`.)
//
// A debugger that shows who called whom needs to know, for each
// instruction, where on the stack the caller's registers are. For C the
// compiler writes that down (DWARF, 6.4), for lines in assembler we must.
// `UNWIND_CALLED` says: a function that has pushed nothing, so the return
// address is what `rsp` points to. `UNWIND_TRAPPED` says: at `rsp` there is
// a [trap frame](#boot-traps) of 22 words, and the caller is what was
// interrupted, at that very instruction. Each counts up to `UNWIND_END`.
// They make no code, only entries in the file with symbols. (Of a caller,
// only the return address is looked up; so it is enough to begin behind the
// call, and in the common way back to end behind the first `popq`.) tcc's
// assembler does not know the directives; a backtrace in its kernel ends at
// the trap.

#include <stdarg.h>

#ifdef __TINYC__
__attribute__((weak)) void *__va_arg(va_list ap, int kind, int size, int align)
{
    (void)kind, (void)size, (void)align;
    if (ap->gp_offset < 48) {
        ap->gp_offset += 8;
        return ap->reg_save_area + ap->gp_offset - 8;
    }
    ap->overflow_arg_area += 8;
    return ap->overflow_arg_area - 8;
}
#define likely(x) (x)
#define unlikely(x) (x)
#define UNWIND_CALLED ""
#define UNWIND_TRAPPED ""
#define UNWIND_END ""
#else
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define UNWIND_CALLED "    .cfi_startproc\n"
#define UNWIND_TRAPPED UNWIND_CALLED \
    "    .cfi_signal_frame\n    .cfi_def_cfa rsp, 176\n" \
    "    .cfi_offset r15, -176\n    .cfi_offset r14, -168\n    .cfi_offset r13, -160\n" \
    "    .cfi_offset r12, -152\n    .cfi_offset r11, -144\n    .cfi_offset r10, -136\n" \
    "    .cfi_offset r9, -128\n    .cfi_offset r8, -120\n    .cfi_offset rbp, -112\n" \
    "    .cfi_offset rdi, -104\n    .cfi_offset rsi, -96\n    .cfi_offset rdx, -88\n" \
    "    .cfi_offset rcx, -80\n    .cfi_offset rbx, -72\n    .cfi_offset rax, -64\n" \
    "    .cfi_offset rip, -40\n    .cfi_offset cs, -32\n    .cfi_offset rflags, -24\n" \
    "    .cfi_offset rsp, -16\n    .cfi_offset ss, -8\n"
#define UNWIND_END "    .cfi_endproc\n"
#endif

#define packed __attribute__((packed))
#define aligned_to(n) __attribute__((aligned(n)))
#define noreturn __attribute__((noreturn))
#define no_inline __attribute__((noinline))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

// ## Where things are {#h-layout}
//
// The kernel sees the same addresses on every machine. The lower half of
// the address space belongs to programs; the upper half is ours.
//
//     0000000000000000  programs
//     00007fffffffffff  the last address of the lower half
//     ffff800000000000  direct map: physical address p is at base + p
//     ffffffff80000000  the image of the kernel
//     ffffffffc0000000  kernel stacks, each with a guard page below it
//
// Between the two halves there is nothing. Of an address's 64 bits the
// processor translates the lower 48, and it insists that all those above
// are copies of bit 47. An address that is *canonical* in this sense begins
// with 0000 or ffff; any other is an exception at once (#GP), without a
// look at the page tables.

#define DIRECT_MAP 0xffff800000000000UL
#define DIRECT_MAP_SIZE (64UL * 1024 * GIB)
#define KERNEL_BASE 0xffffffff80000000UL
#define KERNEL_STACKS 0xffffffffc0000000UL
#define KERNEL_STACK_SIZE (32 * KIB)

// A page-table entry (SDM 3A, 4.5) is a physical address with flags in the
// bits that alignment leaves free, and in the highest. The prologue builds
// the first tables with these, [Chapter 7](#ch-user) all others.

#define PTE_PRESENT (1UL << 0)
#define PTE_WRITE (1UL << 1)
#define PTE_USER (1UL << 2)
#define PTE_LARGE (1UL << 7)         /* levels 2, 3: a page, not a table */
#define PTE_NX (1UL << 63)
#define PTE_ADDRESS 0x000ffffffffff000UL /* bits 12 to 51 */

// ## The hand-over {#h-handover}
//
// One structure carries all that the firmware told us across the moment
// when the firmware ceases to exist. The descriptor is the firmware's own
// (UEFI 2.10, 7.2.3), because the memory map is handed over as it came. Its
// entries are `map_stride` bytes apart, which may be more than the
// structure's size: that is how the specification leaves room to grow.

enum efi_memory_type {
    EFI_RESERVED, EFI_LOADER_CODE, EFI_LOADER_DATA, EFI_BOOT_CODE, EFI_BOOT_DATA,
    EFI_RUNTIME_CODE, EFI_RUNTIME_DATA, EFI_CONVENTIONAL, EFI_UNUSABLE,
    EFI_ACPI_RECLAIM, EFI_ACPI_NVS, EFI_MMIO, EFI_MMIO_PORTS, EFI_PAL, EFI_PERSISTENT,
};

struct efi_descriptor {
    u32 type;            /* enum efi_memory_type, or what its successors add */
    u32 pad;
    paddr start;
    vaddr virtual_start; /* for the firmware's own use */
    u64 pages;           /* of 4 KiB, whatever the machine's page size */
    u64 attributes;
};

// The names of our own ranges are for people.

struct boot_range {
    const char *name;
    paddr start;
    u64 size;            /* bytes */
};

struct boot_framebuffer {
    paddr start;         /* 0 when the machine has none */
    u64 size;            /* bytes */
    u32 width, height;   /* pixels */
    u32 stride;          /* pixels from one line to the next */
    u32 red, green, blue; /* masks of the colours in a 32-bit pixel */
};

#define BOOT_RESERVED_MAX 8
#define BOOT_OPTIONS_MAX 256

struct boot_info {
    u8 *direct_map;      /* where physical address 0 appears */
    u8 *map;             /* the firmware's memory map, as it came */
    u64 map_size;        /* bytes */
    u64 map_stride;      /* bytes from one descriptor to the next */
    paddr root;          /* the level-4 page table */
    paddr acpi;          /* the ACPI root pointer, 0 for none */
    vaddr stack_top;
    struct boot_range image;
    struct boot_framebuffer screen;
    u32 reserved_count;
    struct boot_range reserved[BOOT_RESERVED_MAX]; /* memory we stand on */
    char options[BOOT_OPTIONS_MAX];                /* what the user typed */
};

void boot_start(struct boot_info *info) noreturn;

// The prologue borrows a few instructions from
// [Chapter 1](#boot-instructions).

struct cpuid {
    u32 eax, ebx, ecx, edx;
};

struct cpuid cpu_cpuid(u32 leaf, u32 subleaf);
u64 cpu_rdmsr(u32 msr);
void cpu_wrmsr(u32 msr, u64 value);
u64 cpu_read_cr0(void);
void cpu_write_cr0(u64 value);
u64 cpu_read_cr4(void);
void cpu_write_cr4(u64 value);
void cpu_cli(void);
u8 cpu_inb(u16 port);
void cpu_outb(u16 port, u8 value);
bool boot_serial_init(void);
void cpu_enter(paddr root, vaddr stack, vaddr entry, struct boot_info *info) noreturn;
void *memset(void *to, int byte, u64 n);

#define MSR_EFER 0xc0000080
#define EFER_SCE (1UL << 0)
#define EFER_NXE (1UL << 11)
#define CR0_WP (1UL << 16)
#define CR4_LA57 (1UL << 12)
#define CR4_CET (1UL << 23)
#define DEBUG_PORT 0xe9              /* of QEMU: reads as its own number */

// ## Executables {#h-elf}
//
// The layouts of ELF-64 (System V gABI, chapters 4 and 5). The prologue
// needs the dynamic section, to move the kernel's image;
// [Chapter 6](#ch-elf) needs the headers, to load programs.

struct elf_header {
    u8 ident[16];
    u16 type, machine;
    u32 version;
    u64 entry, phoff, shoff;
    u32 flags;
    u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment_header {
    u32 type, flags;
    u64 offset, vaddr, paddr, filesz, memsz, align;
};

struct elf_dynamic {
    u64 tag, value;
};

struct elf_rela {
    u64 offset, info;
    s64 addend;
};

struct elf_symbol {
    u32 name;
    u8 info, other;
    u16 section;
    u64 value, size;
};

#define DT_STRTAB 5
#define DT_SYMTAB 6
#define DT_RELA 7
#define DT_RELASZ 8
#define R_X86_64_RELATIVE 8

extern struct elf_dynamic _DYNAMIC[];

// ## Errors {#h-errno}
//
// A function that can fail returns a negative number from this list. The
// numbers are those of Linux, because programs will see them.

#define EPERM 1
#define ENOENT 2
#define ESRCH 3
#define EINTR 4
#define EIO 5
#define E2BIG 7
#define ENOEXEC 8
#define EBADF 9
#define ECHILD 10
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define ENOTDIR 20
#define EISDIR 21
#define EINVAL 22
#define EMFILE 24
#define ENOTTY 25
#define ETXTBSY 26
#define EFBIG 27
#define ENOSPC 28
#define ESPIPE 29
#define EPIPE 32
#define ERANGE 34
#define EDEADLK 35
#define ENAMETOOLONG 36
#define ENOLCK 37
#define ENOSYS 38
#define ENOTEMPTY 39
#define ELOOP 40
#define ETIMEDOUT 110

#endif
