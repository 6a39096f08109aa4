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
#define EXDEV 18
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
#define EROFS 30
#define EPIPE 32
#define ERANGE 34
#define EDEADLK 35
#define ENAMETOOLONG 36
#define ENOLCK 37
#define ENOSYS 38
#define ENOTEMPTY 39
#define ELOOP 40
#define ETIMEDOUT 110

// ## The system calls {#h-calls}
//
// From here on stands what programs and the kernel must agree on. Numbers,
// flags and layouts are those of Linux for x86-64, and so are the names of
// numbers and flags, without which nobody could look anything up. (The
// fields of structures we name so that they can be read.) Each is explained
// in the chapter that honours it. The last few calls are our own.

enum system_call_number {
    SYS_READ = 0, SYS_WRITE = 1, SYS_OPEN = 2, SYS_CLOSE = 3, SYS_STAT = 4, SYS_FSTAT = 5,
    SYS_LSTAT = 6, SYS_POLL = 7, SYS_LSEEK = 8, SYS_MMAP = 9, SYS_MPROTECT = 10,
    SYS_MUNMAP = 11, SYS_BRK = 12, SYS_RT_SIGACTION = 13, SYS_RT_SIGPROCMASK = 14,
    SYS_RT_SIGRETURN = 15, SYS_IOCTL = 16, SYS_PREAD64 = 17, SYS_PWRITE64 = 18,
    SYS_READV = 19, SYS_WRITEV = 20, SYS_ACCESS = 21, SYS_PIPE = 22, SYS_SELECT = 23,
    SYS_SCHED_YIELD = 24, SYS_MADVISE = 28, SYS_DUP = 32, SYS_DUP2 = 33, SYS_PAUSE = 34,
    SYS_NANOSLEEP = 35, SYS_GETITIMER = 36, SYS_ALARM = 37, SYS_SETITIMER = 38,
    SYS_GETPID = 39, SYS_CLONE = 56,
    SYS_FORK = 57, SYS_VFORK = 58, SYS_EXECVE = 59, SYS_EXIT = 60, SYS_WAIT4 = 61,
    SYS_KILL = 62, SYS_UNAME = 63, SYS_FCNTL = 72, SYS_FSYNC = 74, SYS_FDATASYNC = 75,
    SYS_TRUNCATE = 76, SYS_FTRUNCATE = 77, SYS_GETCWD = 79, SYS_CHDIR = 80, SYS_FCHDIR = 81,
    SYS_RENAME = 82, SYS_MKDIR = 83, SYS_RMDIR = 84, SYS_CREAT = 85, SYS_LINK = 86,
    SYS_UNLINK = 87, SYS_SYMLINK = 88, SYS_READLINK = 89, SYS_CHMOD = 90, SYS_FCHMOD = 91,
    SYS_UMASK = 95, SYS_GETTIMEOFDAY = 96, SYS_GETRLIMIT = 97, SYS_GETRUSAGE = 98,
    SYS_SYSINFO = 99, SYS_TIMES = 100, SYS_GETUID = 102, SYS_SYSLOG = 103, SYS_GETGID = 104,
    SYS_GETEUID = 107, SYS_GETEGID = 108, SYS_SETPGID = 109, SYS_GETPPID = 110,
    SYS_GETPGRP = 111, SYS_SETSID = 112, SYS_GETPGID = 121, SYS_GETSID = 124,
    SYS_RT_SIGPENDING = 127, SYS_RT_SIGTIMEDWAIT = 128, SYS_RT_SIGQUEUEINFO = 129,
    SYS_RT_SIGSUSPEND = 130, SYS_SIGALTSTACK = 131, SYS_STATFS = 137, SYS_FSTATFS = 138,
    SYS_ARCH_PRCTL = 158, SYS_SETRLIMIT = 160, SYS_SYNC = 162, SYS_REBOOT = 169,
    SYS_GETTID = 186, SYS_TKILL = 200, SYS_FUTEX = 202, SYS_GETDENTS64 = 217,
    SYS_SET_TID_ADDRESS = 218,
    SYS_CLOCK_GETTIME = 228, SYS_CLOCK_NANOSLEEP = 230, SYS_EXIT_GROUP = 231,
    SYS_TGKILL = 234, SYS_WAITID = 247, SYS_OPENAT = 257, SYS_MKDIRAT = 258,
    SYS_NEWFSTATAT = 262, SYS_UNLINKAT = 263, SYS_RENAMEAT = 264, SYS_LINKAT = 265,
    SYS_READLINKAT = 267, SYS_FCHMODAT = 268, SYS_FACCESSAT = 269, SYS_PSELECT6 = 270,
    SYS_PPOLL = 271, SYS_SET_ROBUST_LIST = 273, SYS_GET_ROBUST_LIST = 274,
    SYS_UTIMENSAT = 280, SYS_DUP3 = 292,
    SYS_PIPE2 = 293, SYS_PREADV = 295, SYS_PWRITEV = 296, SYS_PRLIMIT64 = 302,
    SYS_GETRANDOM = 318, SYS_RSEQ = 334, SYS_CLONE3 = 435, SYS_FACCESSAT2 = 439,

    SYS_VMO_CREATE = 0x1000, SYS_VMO_READ, SYS_VMO_WRITE, SYS_VMO_CLONE, SYS_VMO_SIZE,
    SYS_VMO_MAP, SYS_HANDLE_DUPLICATE, SYS_HANDLE_CLOSE, SYS_PROCESS_INFO, SYS_TRACE,
};

// **Memory and time** ([Chapter 8](#ch-syscall)). And what a C library
// keeps in the base of FS.

#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_FIXED 16
#define MAP_ANONYMOUS 32

#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1

#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003

struct timespec {
    s64 seconds, nanoseconds;
};

struct iovec {                   /* one of the pieces of a transfer */
    vaddr start;
    u64 size;                    /* bytes */
};

// **What a new program finds** on its stack, above its arguments
// ([Chapter 7](#user-stack), [Chapter 13](#proc-exec)): pairs of one of
// these numbers and a value.

#define AT_NULL 0
#define AT_PHDR 3
#define AT_PHENT 4
#define AT_PHNUM 5
#define AT_PAGESZ 6
#define AT_ENTRY 9
#define AT_UID 11
#define AT_EUID 12
#define AT_GID 13
#define AT_EGID 14
#define AT_CLKTCK 17
#define AT_SECURE 23
#define AT_RANDOM 25
#define AT_EXECFN 31

// ## Files, to programs {#h-files}
//
// ([Chapter 10](#ch-ramdisk).) The first three say how a file is opened and
// are not flags, but one number in two bits; the others can be added. A
// path is relative to an open directory or, with `AT_FDCWD` in its place,
// to the process's.

#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_ACCMODE 3
#define O_CREAT 0100
#define O_EXCL 0200
#define O_NOCTTY 0400
#define O_TRUNC 01000
#define O_APPEND 02000
#define O_NONBLOCK 04000
#define O_DIRECTORY 0200000
#define O_NOFOLLOW 0400000
#define O_CLOEXEC 02000000

#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200
#define AT_SYMLINK_FOLLOW 0x400
#define AT_EMPTY_PATH 0x1000

// Where a position is counted from, and what can stand in place of a time's
// nanoseconds.

#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2

#define UTIME_NOW 0x3fffffff
#define UTIME_OMIT 0x3ffffffe

// What a file is, in the word that also has its permissions, and all that
// is told about it.

#define S_IFMT 0170000
#define S_IFIFO 0010000
#define S_IFCHR 0020000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define S_IFLNK 0120000

struct file_status {             /* struct stat to Linux */
    u64 device, number, links;
    u32 mode, uid, gid, pad;
    u64 device_number;           /* of the device that it stands for */
    s64 size, block_size, blocks; /* bytes, bytes, 512 bytes each */
    struct timespec access, modification, change; /* of contents, of this */
    u64 reserved[3];
};

struct directory_entry {         /* struct linux_dirent64 */
    u64 number;
    s64 offset;
    u16 length;                  /* of this entry: where the next one begins */
    u8 type;
    char name[];                 /* up to a zero */
} packed;

struct file_system_status {      /* struct statfs */
    u64 kind, block_size, blocks, free, available, nodes, free_nodes;
    u32 number[2];
    u64 name_size, fragment_size, flags, spare[4];
};

// What can be done to an open descriptor, and locks, which are asked for in
// the same way.

#define F_DUPFD 0
#define F_GETFD 1
#define F_SETFD 2
#define F_GETFL 3
#define F_SETFL 4
#define F_GETLK 5
#define F_SETLK 6
#define F_SETLKW 7
#define F_DUPFD_CLOEXEC 1030
#define F_SETPIPE_SZ 1031
#define F_GETPIPE_SZ 1032
#define F_RDLCK 0
#define F_WRLCK 1
#define F_UNLCK 2

struct lock_request {            /* struct flock */
    s16 kind, from;              /* F_RDLCK ..., SEEK_SET ... */
    s64 start, size;             /* size 0: up to any end */
    u32 pid;                     /* in answers: whose it is */
};

// What one may wait for, and is told.

#define POLLIN 0x001
#define POLLPRI 0x002
#define POLLOUT 0x004
#define POLLERR 0x008
#define POLLHUP 0x010
#define POLLNVAL 0x020
#define POLLRDNORM 0x040
#define POLLWRNORM 0x100

struct poll_item {               /* struct pollfd */
    s32 fd;                      /* negative: nothing is asked */
    u16 wanted, found;
};

// ## Terminals, to programs {#h-terminals}
//
// ([Chapter 11](#ch-console).) What a terminal can be asked for, by
// `ioctl`.

#define TCGETS 0x5401
#define TCSETS 0x5402
#define TCSETSW 0x5403
#define TCSETSF 0x5404
#define TIOCSCTTY 0x540e
#define TIOCGPGRP 0x540f
#define TIOCSPGRP 0x5410
#define TIOCGWINSZ 0x5413
#define TIOCSWINSZ 0x5414
#define FIONREAD 0x541b
#define FIONBIO 0x5421
#define TIOCGSID 0x5429

// Flags and keys of a terminal, and the structure that has them.

#define ICRNL 0x100
#define OPOST 1
#define ONLCR 4
#define ISIG 1
#define ICANON 2
#define ECHO 8
#define ECHOE 0x10
#define ECHOK 0x20
#define ECHOCTL 0x200
#define IEXTEN 0x8000

enum tty_key {
    VINTR, VQUIT, VERASE, VKILL, VEOF, VTIME, VMIN, VSWTC, VSTART, VSTOP, VSUSP, VEOL,
    VREPRINT, VDISCARD, VWERASE, VLNEXT, TTY_KEYS = 19,
};

struct termios {
    u32 input, output, control, local;
    u8 line;
    u8 key[TTY_KEYS];
};

struct window_size {             /* struct winsize */
    u16 rows, columns, width, height;
};

// And two questions about what the kernel has said.

#define SYSLOG_READ_ALL 3
#define SYSLOG_SIZE 10

// ## Processes and signals, to programs {#h-processes}
//
// ([Chapters 12](#ch-signal) to [14](#ch-shell), but some signals from
// [Chapter 7](#user-kill) on.)

#define SIGHUP 1
#define SIGINT 2
#define SIGQUIT 3
#define SIGILL 4
#define SIGTRAP 5
#define SIGABRT 6
#define SIGBUS 7
#define SIGFPE 8
#define SIGKILL 9
#define SIGUSR1 10
#define SIGSEGV 11
#define SIGUSR2 12
#define SIGPIPE 13
#define SIGALRM 14
#define SIGTERM 15
#define SIGCHLD 17
#define SIGCONT 18
#define SIGSTOP 19
#define SIGTSTP 20
#define SIGTTIN 21
#define SIGTTOU 22
#define SIGURG 23
#define SIGWINCH 28
#define SIGSYS 31
#define SIGRTMIN 32

// What may stand in place of a handler; what is to be done with a mask of
// signals; and an action with its flags.

#define SIG_DFL 0
#define SIG_IGN 1
#define SIG_BLOCK 0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2

#define SA_NOCLDWAIT 2UL
#define SA_SIGINFO 4UL
#define SA_RESTORER 0x04000000UL
#define SA_ONSTACK 0x08000000UL
#define SA_RESTART 0x10000000UL
#define SA_NODEFER 0x40000000UL
#define SA_RESETHAND 0x80000000UL

struct signal_action {           /* struct sigaction */
    vaddr handler;
    u64 flags;
    vaddr restorer;              /* where the handler returns to */
    u64 mask;                    /* signals to block meanwhile */
};

// Why a signal came: 0 and below, somebody has sent it; above, the kernel
// has a reason.

#define SI_USER 0
#define SI_TKILL (-6)
#define SI_KERNEL 128
#define SEGV_MAPERR 1
#define SEGV_ACCERR 2
#define CLD_EXITED 1
#define CLD_KILLED 2

struct signal_info {             /* siginfo_t, which has room for more */
    s32 signal, error, code, pad;
    union {
        struct {
            u32 pid, user;       /* whose doing it is */
        };
        vaddr address;           /* or where */
    };
    u64 value;                   /* a child's status, or what the sender added */
};

union signal_room {
    struct signal_info info;
    u8 room[128];
};

// What a handler finds on its stack: which stack that is, and the registers
// of what was interrupted. Some handlers look which instruction was at
// fault, and some change the registers to go on behind it.

#define SS_ONSTACK 1
#define SS_DISABLE 2
#define MINSIGSTKSZ 2048

struct signal_stack {            /* stack_t */
    vaddr start;
    u32 flags, pad;
    u64 size;                    /* 0: there is none */
};

struct signal_context {          /* ucontext_t */
    u64 flags;
    vaddr link;
    struct signal_stack stack;   /* as it is set */
    u64 r8, r9, r10, r11, r12, r13, r14, r15;
    u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    u16 cs, gs, fs, ss;
    u64 error, vector;           /* of the fault, if it is about one, */
    u64 old_mask, cr2;           /* and its address */
    vaddr fpu;                   /* where the vector registers are */
    u64 reserved[8];
    u64 blocked;
};

// What a child shares with its parent, and how it is waited for.

#define CLONE_VM 0x100
#define CLONE_FS 0x200
#define CLONE_FILES 0x400
#define CLONE_SIGHAND 0x800
#define CLONE_VFORK 0x4000
#define CLONE_THREAD 0x10000
#define CLONE_SYSVSEM 0x40000
#define CLONE_SETTLS 0x80000
#define CLONE_PARENT_SETTID 0x100000
#define CLONE_CHILD_CLEARTID 0x200000
#define CLONE_CHILD_SETTID 0x1000000

#define WNOHANG 1
#define WUNTRACED 2
#define WSTOPPED 2
#define WEXITED 4
#define WCONTINUED 8
#define WNOWAIT 0x1000000
#define WNOTHREAD 0x20000000     /* this and the next two begin with __ on Linux */
#define WALL 0x40000000
#define WCLONE 0x80000000
#define P_ALL 0
#define P_PID 1
#define P_PGID 2

// What has been used, and how much may be.

#define RUSAGE_SELF 0
#define RUSAGE_CHILDREN (-1)
#define RUSAGE_THREAD 1

struct usage_time {              /* struct timeval */
    s64 seconds, microseconds;
};

struct usage {                   /* struct rusage */
    struct usage_time user, system;
    s64 memory;                  /* KiB */
    s64 unknown[13];
};

struct alarm_times {             /* struct itimerval */
    struct usage_time interval, value;
};

#define RLIMIT_STACK 3
#define RLIMIT_NOFILE 7
#define RLIMIT_AS 9
#define RLIM_NLIMITS 16
#define RLIM_INFINITY (~0UL)

struct limit {                   /* struct rlimit */
    u64 now, most;
};

// **Threads** ([Chapter 15](#ch-thread)): what can be done with a word that
// somebody sleeps at, and what stands in it if it is a lock that outlives
// its owner. The names of two are ours.

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_REQUEUE 3
#define FUTEX_CMP_REQUEUE 4
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define FUTEX_COMMANDS 127       /* of these; the other bits are flags */
#define FUTEX_PRIVATE_FLAG 128
#define FUTEX_CLOCK_REALTIME 256
#define FUTEX_ALL 0xffffffffU    /* bits: FUTEX_BITSET_MATCH_ANY */

#define FUTEX_TID_MASK 0x3fffffffU
#define FUTEX_OWNER_DIED 0x40000000U
#define FUTEX_WAITERS 0x80000000U

struct robust_list_head {
    vaddr first;                 /* of a circle that comes back to here */
    s64 offset;                  /* from an entry to its lock */
    vaddr pending;               /* an entry that is on its way; or 0 */
};

// What the whole system says of itself. (The second of the magic numbers
// without which it does not switch itself off is the birthday of Linus
// Torvalds.)

struct system_name {             /* struct utsname: name, node, release, version, */
    char field[6][65];           /* machine, and the domain of long ago */
};

struct system_info {             /* struct sysinfo */
    s64 uptime;                  /* seconds */
    u64 loads[3], total, free, shared, buffers, swap, free_swap;
    u16 processes, pad;
    u32 pad2;
    u64 high, free_high;
    u32 unit;                    /* bytes; all amounts are multiples of it */
    u8 rest[4];
};

struct process_info {            /* Rustica's own */
    u32 pid, parent;
    char state;                  /* R runs or could, S sleeps, Z has ended */
    char pad[7];
    u64 cpu_time, memory;        /* nanoseconds, bytes */
    char name[32];
};

#define REBOOT_MAGIC 0xfee1dead
#define REBOOT_MAGIC_2 672274793
#define REBOOT_POWER_OFF 0x4321fedc
#define REBOOT_HALT 0xcdef0123
#define REBOOT_RESTART 0x01234567

#endif
