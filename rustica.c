// # Preface {#preface}
//===========================================================================
//
// This is a course about operating systems, and it is an operating system.
// The file you are reading is compiled, unchanged, into a program that a
// computer's firmware can start instead of Windows or Linux. Read from the
// top it explains itself; cut off after any chapter it is still a
// kernel, which boots and shows what that chapter taught.
//
// There is one rule of form. A line that begins in column 1 with two
// slashes and a space is prose, and belongs to the book. Every other line,
// but for the rules below titles, is C, and belongs to the machine. Line
// numbers are those of this file everywhere: in your editor, in the book's
// margin, in the debugger and in the kernel's own error messages.
//
// You should know C, and have an idea of what registers and pointers are.
// You need no knowledge of operating systems and none of x86 beyond that;
// where the processor's manual is the authority, we name the place.
//
// *SDM* is Intel's *Software Developer's Manual*, *APM* AMD's *Architecture
// Programmer's Manual*; where the two differ, both count. *UEFI* is the
// *Unified Extensible Firmware Interface Specification* and *ACPI* the
// *Advanced Configuration and Power Interface Specification*. Sections of
// the SDM are numbered as in the editions up to 2023; in newer ones, what
// was Chapter 4 of Volume 3A and those behind it have moved up by one
// (paging is 5 there, interrupts are 7). *gABI* and *psABI* are the general
// part of the System V *Application Binary Interface* and its part for one
// processor: what compilers, linkers and kernels have agreed upon. And a
// number like CVE-2012-0217 is an entry in the public list of security
// holes.
//
// You need a Linux machine. `make setup` installs what is missing, `make
// run CH=1` boots the first chapter in an emulated computer, `make gdb
// CH=1` lets you step through it, and `make help` lists the rest. Read a
// chapter, run it, break it: what you want back, git has. Each chapter has
// a *walk*: a recorded run, through which the pages step line by line,
// forward and backward, and show what is in memory. It takes no more than a
// browser. (On paper three of its steps stand there.) Each exercise says
// when you are done. [Appendix D](#app-hunts) is for bug hunters. And each
// chapter ends with what to read on. There, *OSTEP* is Remzi and Andrea
// Arpaci-Dusseau's *Operating Systems: Three Easy Pieces*, *xv6* is the
// teaching system of Russ Cox, Frans Kaashoek and Robert Morris, with its
// book. Both are free.
//
// Facts that cross a boundary (between us and the firmware, a file, or a
// program) live in [one header](#app-header).

#include "rustica.h"

// # Chapter 1. Alone on the machine {#ch-boot}
//===========================================================================
//
// The [prologue](#ch-prologue) has asked the firmware its last questions
// and dismissed it. Nobody is left to print a letter for us, to give us
// memory or to notice when we divide by zero. If something goes wrong now,
// the processor looks for a handler in tables that are no longer there,
// fails, looks for a handler for that failure, and fails again. This is a
// *triple fault*: the processor gives up, and the board resets it. The
// screen goes black. Every beginner's kernel does this, many times, and it
// says nothing about why.
//
// So before we build anything we build the means of knowing what happened.
// At the end of this chapter the kernel can print, and any mistake it makes
// (a null pointer, a wrong opcode, a runaway recursion, a broken assumption
// of ours) ends in a report that names the place and the calls that led
// there, with the registers if it was the processor who complained, and in
// an exit status that a script can test.
//
// ## Two kinds of address {#boot-addresses}
//
// An address in a C pointer is not what travels to the memory chips. The
// processor translates it, each time: a *virtual* address goes in, a
// *physical* one comes out. It translates by the *page*, 4,096 bytes of
// virtual addresses that stay together; the 4,096 bytes of memory behind
// them are a *frame*. Its dictionary lies in memory too: the *page tables*.
// They also say what may be done with a page: write to it? execute it? is
// it for programs? A page that is not in them cannot be touched: the
// processor stops the instruction and calls the kernel. That is a *page
// fault*.
//
// ::: {#fig-addresses .figure file="book/figures/addresses.svg"}
//     virtual                                   physical
//
//     ffffffffc0000000  the kernel's stack  --.
//     ffffffff80000000  the image           --+-->  some frames, wherever
//                                                   the firmware had room
//     ffff800000000000  the direct map      ----->  0, 1, 2 and so on: all
//                                                   memory, in order
//
// One memory, seen twice: the direct map shows all of it in order, the rest
// of the address space shows single frames of it.
// :::
//
// So the kernel can be at the same virtual address on all machines, a
// mistake is stopped at the page's edge, and two programs can use one
// address for different frames. What the tables look like is a subject for
// [Chapter 7](#as-tables). Until then it is enough to know that the
// [prologue](#efi-tables) has built those in the picture.
//
// ## Theory of operation {#boot-theory}
//
// At our first instruction the machine is in this state:
//
// - one processor runs, in 64-bit mode, with interrupts disabled; any
//   others sleep where the firmware parked them, and stay there;
// - the page tables are those of the prologue: [the direct map, the image
//   and a stack](#h-layout), and the identity of the image, for a moment
//   more;
// - the registers that say where the tables of segments and of interrupt
//   handlers are still hold the firmware's addresses, which our page tables
//   no longer map: the first exception would be the last;
// - `rdi`, the first argument, points to the [hand-over
//   block](#h-handover).
//
// We replace what is not ours in the order in which we need it: console,
// segments, interrupt handlers. The invariant of this chapter: *from the
// end of `cpu_init_traps()` on, no event resets the machine silently.*
//
// **Shortcomings.** The direct map makes the code of the kernel writable
// through a second address; we trust ourselves not to go there. One
// processor is enough for this course: nothing here is protected against
// another one.
//
// ## The instructions C has no words for {#boot-instructions}
//
// C can express what a program computes, but not how it talks to the
// machine it runs on. For that there are instructions which no compiler
// emits on its own. Each gets a function of its name here, and from then on
// the book is written in C.
//
// Such a function is one line of *inline assembly*, a string for the
// assembler with three lists behind it: results, operands, and what else
// changes. `"=r"(v)` says that a result is in any register and belongs in
// `v`; a plus sign instead, that it is an operand too. The letters from `a`
// to `d` are the registers from `rax` to `rdx`, `S` and `D` are `rsi` and
// `rdi`, and `N` lets a small constant be part of the instruction.
// `"memory"` says that memory may have changed, so the compiler must not
// rely on what it has read before; `volatile`, that the instruction must
// stay even if nobody uses its result. In the string, `%0` is the first
// item of the lists (`%b0` its low byte, `%w0` its low 16 bits), and a
// register's own percent sign is doubled. The order is AT&T's: source
// first, destination last.
//
// The processor is governed by *control registers*. CR0 and CR4 are
// collections of switches; CR3 holds the physical address of the root of
// the page tables, and CR2 the address that caused the last page fault.
// Hundreds of further switches are *model-specific registers*, which have
// numbers. What the processor is capable of, the instruction `cpuid` tells.

u64 cpu_read_cr0(void) { u64 v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
u64 cpu_read_cr2(void) { u64 v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }
u64 cpu_read_cr3(void) { u64 v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
u64 cpu_read_cr4(void) { u64 v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
void cpu_write_cr0(u64 v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
void cpu_write_cr3(u64 v) { __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
void cpu_write_cr4(u64 v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }

u64 cpu_rdmsr(u32 msr)
{
    u32 low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}

void cpu_wrmsr(u32 msr, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

struct cpuid cpu_cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid r;

    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                             : "a"(leaf), "c"(subleaf));
    return r;
}

// Interrupts off, on; wait for one; a hint that we spin; forget the cached
// translation of one page; cause the exception that debuggers use; are
// interrupts on?

void cpu_cli(void) { __asm__ volatile("cli" : : : "memory"); }
void cpu_sti(void) { __asm__ volatile("sti" : : : "memory"); }
void cpu_hlt(void) { __asm__ volatile("hlt" : : : "memory"); }
void cpu_pause(void) { __asm__ volatile("pause"); }
void cpu_invlpg(vaddr page) { __asm__ volatile("invlpg (%0)" : : "r"(page) : "memory"); }
void cpu_int3(void) { __asm__ volatile("int3"); }

#define FLAG_INTERRUPTS (1UL << 9)

bool cpu_interrupts_on(void)
{
    u64 flags;

    __asm__ volatile("pushfq\n popq %0" : "=r"(flags) : : "memory");
    return flags & FLAG_INTERRUPTS;
}

// A second, older address space leads to devices: 65,536 *ports*.

u8 cpu_inb(u16 port) { u8 v; __asm__ volatile("inb %w1, %b0" : "=a"(v) : "Nd"(port)); return v; }
u16 cpu_inw(u16 port) { u16 v; __asm__ volatile("inw %w1, %w0" : "=a"(v) : "Nd"(port)); return v; }
void cpu_outb(u16 port, u8 v) { __asm__ volatile("outb %b0, %w1" : : "a"(v), "Nd"(port)); }
void cpu_outw(u16 port, u16 v) { __asm__ volatile("outw %w0, %w1" : : "a"(v), "Nd"(port)); }

// The number of the lowest bit set in a word, which must not be 0, and of
// the highest. C has no operator for these and allocators live by them.

u64 cpu_bsf(u64 word) { u64 n; __asm__("bsfq %1, %0" : "=r"(n) : "r"(word)); return n; }
u64 cpu_bsr(u64 word) { u64 n; __asm__("bsrq %1, %0" : "=r"(n) : "r"(word)); return n; }

// Loading the tables of segments and interrupt handlers. Both instructions
// take a pointer to a limit and an address, packed into ten bytes.

struct table_pointer {
    u16 limit;           /* size in bytes, minus one */
    u64 base;
} packed;

void cpu_lidt(const void *pointer) { __asm__ volatile("lidt (%0)" : : "r"(pointer) : "memory"); }
void cpu_lgdt(const void *pointer) { __asm__ volatile("lgdt (%0)" : : "r"(pointer) : "memory"); }
void cpu_ltr(u16 selector) { __asm__ volatile("ltr %w0" : : "r"(selector) : "memory"); }

// Some steps cannot be a C function at all, because they replace the ground
// a C function stands on. `cpu_enter()` is the one the prologue ends with:
// new page tables, new stack, jump. The stack is pushed down by eight bytes
// because C functions expect to find a return address there; it is zero,
// which ends every backtrace. `cpu_load_segments()` gives every segment
// register a value from our table, and says that there is no second one, a
// *local* table of descriptors; after a reset there would be one, at
// address 0, where programs could fill it in. CS can only be loaded by a
// jump of some kind, so we put our selector below the return address and
// return "far"; tcc does not know the mnemonic.

#define SEGMENT_KERNEL_CODE 0x08
#define SEGMENT_KERNEL_DATA 0x10

void cpu_load_segments(void);

__asm__(".text\n"
        ".globl cpu_enter\n"
        "cpu_enter:\n"            /* rdi root, rsi stack, rdx entry, rcx info */
        "    movq %rdi, %cr3\n"
        "    movq %rsi, %rsp\n"
        "    pushq $0\n"
        "    movq %rcx, %rdi\n"
        "    xorl %ebp, %ebp\n"
        "    jmp *%rdx\n"
        ".globl cpu_load_segments\n"
        "cpu_load_segments:\n"
        "    xorl %eax, %eax\n"
        "    lldt %ax\n"
        "    movl $0x10, %eax\n"
        "    movw %ax, %ds\n"
        "    movw %ax, %es\n"
        "    movw %ax, %fs\n"
        "    movw %ax, %gs\n"
        "    movw %ax, %ss\n"
        "    popq %rax\n"
        "    pushq $0x08\n"
        "    pushq %rax\n"
        "    .byte 0x48, 0xcb\n"); /* lretq */

// The processor's string instructions are loops in one instruction. Two of
// them work on words of eight bytes: one writes a word `count` times, the
// other tells how many of `count` words, from the first on, are the one
// given.

void cpu_stosq(u64 *at, u64 word, u64 count)
{
    __asm__ volatile("rep stosq" : "+D"(at), "+c"(count) : "a"(word) : "memory");
}

u64 cpu_scasq(const u64 *at, u64 word, u64 count)
{
    u64 left = count;

    __asm__ volatile("repe scasq" : "+D"(at), "+c"(left) : "a"(word) : "memory");
    return count - left - (count && at[-1] != word);
}

// ## Bytes and strings {#boot-bytes}
//
// Compilers call four functions even in a program that has no library: to
// copy, to move, to fill and to compare memory. They go eight bytes at a
// time as far as they can.

void *memset(void *to, int byte, u64 n)
{
    u64 rest = n % 8;
    void *at = (u8 *)to + (n - rest);

    cpu_stosq(to, (u8)byte * 0x0101010101010101UL, n / 8);
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(rest) : "a"(byte) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, u64 n)
{
    u64 words = n / 8, rest = n % 8;
    void *at = to;

    __asm__ volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(words) : : "memory");
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(rest) : : "memory");
    return to;
}

// When the areas overlap and the destination is the higher one, the copy
// must run downward, or it reads what it has just written.

void *memmove(void *to, const void *from, u64 n)
{
    u8 *d = to;
    const u8 *s = from;

    if (d <= s || d >= s + n)
        return memcpy(to, from, n);
    while (n--)
        d[n] = s[n];
    return to;
}

int memcmp(const void *a, const void *b, u64 n)
{
    const u8 *x = a, *y = b;

    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

u64 strlen(const char *s)
{
    u64 n = 0;

    while (s[n])
        n++;
    return n;
}

bool string_equal(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++)
        ;
    return *a == *b;
}

// The smaller of two numbers,

u64 min(u64 a, u64 b)
{
    return a < b ? a : b;
}

// and the larger.

u64 max(u64 a, u64 b)
{
    return a > b ? a : b;
}

// ## What this chapter remembers {#boot-state}
//
// Each chapter keeps its state in one structure, so that the debugger's
// `print boot` shows the chapter. Lists of consoles and options start empty
// and grow by registration: this is how later chapters extend earlier ones
// without being named by them.

struct console {
    const char *name;
    void (*put)(char c);
    struct console *next;
};

struct boot_option {
    const char *name, *value;
    bool known;          /* somebody asked for it */
};

struct provocation {
    const char *name;
    void (*provoke)(void);
    struct provocation *next;
};

#define BOOT_OPTION_COUNT 16
#define BOOT_LOG_SIZE 16384

struct boot_state {
    struct boot_info *info;          /* from the prologue */
    struct console *consoles;        /* printf() writes to each of them */
    struct provocation *provocations; /* what the option provoke= can cause */
    struct boot_option option[BOOT_OPTION_COUNT];
    u32 option_count;
    bool emulated;                   /* QEMU's debug console answers */
    bool serial_stuck;               /* nobody takes what we send */
    bool pipe;                       /* the serial line is fed by a program; chapter 11 */
    u32 panics;                      /* more than one: the report itself failed */
    char log[BOOT_LOG_SIZE];         /* what printf() has printed; a ring */
    u64 log_end;                     /* bytes ever put into it */
    void (*panic_hook)(const char *file, int line, const char *message); /* for host tests */
};

struct boot_state boot;

// Physical memory is not addressable as such: once paging is on, every
// address is virtual. The direct map gives each physical address a virtual
// one at a fixed distance. Whether there is memory at that address is not
// checked here.

void *boot_physical(paddr p)
{
    return boot.info->direct_map + p;
}

// ## Two consoles {#boot-console}
//
// The simplest output device there is: QEMU's debug port. Writing a byte to
// port 0xe9 appends it to a file. Reading from the port returns 0xe9, by
// which we recognize that it is there.

void boot_debug_put(char c)
{
    cpu_outb(DEBUG_PORT, (u8)c);
}

// The second one has been on PCs since 1981: the serial port. Its chip
// today is a 16550 or pretends to be one, on servers, on boards for
// tinkerers and in every emulator. It has eight ports from 0x3f8 up. We set
// 115,200 bits a second and eight data bits, and before each byte wait for
// "transmitter empty" (bit 5 of port 5). Somebody at the other end may be
// slow, so we wait for seconds; but only once, and then not again until the
// line has moved. If its scratch register does not remember what we wrote,
// there is no such device.

#define COM1 0x3f8

bool boot_serial_init(void)
{
    cpu_outb(COM1 + 7, 0x5a);
    if (cpu_inb(COM1 + 7) != 0x5a)
        return false;
    cpu_outb(COM1 + 1, 0);       /* no interrupts */
    cpu_outb(COM1 + 3, 0x80);    /* the next two bytes are the divisor */
    cpu_outb(COM1 + 0, 1);
    cpu_outb(COM1 + 1, 0);
    cpu_outb(COM1 + 3, 0x03);    /* 8 bits, no parity, 1 stop bit */
    cpu_outb(COM1 + 2, 0x07);    /* FIFOs on and empty */
    cpu_outb(COM1 + 4, 0x0b);    /* ready to talk */
    return true;
}

void boot_serial_put(char c)
{
    u32 patience = boot.serial_stuck ? 1 : 10000000;

    if (c == '\n')
        boot_serial_put('\r');
    while (!(cpu_inb(COM1 + 5) & 0x20) && --patience)
        cpu_pause();
    boot.serial_stuck = !patience;
    cpu_outb(COM1, (u8)c);
}

// Whoever can show a character is entered in a list, by a structure that
// must stay where it is.

struct console boot_debug_console = {"debug port", boot_debug_put, NULL};
struct console boot_serial_console = {"serial line", boot_serial_put, NULL};

void boot_add_console(struct console *c)
{
    c->next = boot.consoles;
    boot.consoles = c;
}

void boot_init_consoles(void)
{
    boot.emulated = cpu_inb(DEBUG_PORT) == DEBUG_PORT;
    if (boot.emulated)
        boot_add_console(&boot_debug_console);
    if (boot_serial_init())
        boot_add_console(&boot_serial_console);
}

// Prints one character on all of them.

void boot_put_consoles(char c)
{
    struct console *console;

    for (console = boot.consoles; console; console = console->next)
        console->put(c);
}

// For `printf()` and the early chapters: what the kernel itself says is
// also kept, so that it can be read later.

void boot_put(char c)
{
    boot.log[boot.log_end++ % BOOT_LOG_SIZE] = c;
    boot_put_consoles(c);
}

// ## printf {#boot-printf}
//
// The function every C programmer uses first is usually the first one that
// is missing. Ours knows `%d %i %u %x %p %c %s %%`, the flags `-` and `0`,
// a width and a precision (also as `*`), and the lengths `l` and `z`; what
// it knows it does exactly as the C standard says (C11, 7.21.6.1), so that
// the compiler can check our format strings. (The compiler knows more
// letters than we do; those are printed as they stand.) It writes to a
// *sink*, which is either the consoles or a buffer.

struct sink {
    bool console;        /* else the buffer */
    char *buffer;
    u64 size, count;     /* bytes of room, characters produced */
};

struct format {
    bool left, zero, dotted, wide;
    int width, precision;
};

void sink_put(struct sink *to, char c)
{
    if (to->console)
        boot_put(c);
    else if (to->count + 1 < to->size)
        to->buffer[to->count] = c;
    to->count++;
}

void sink_pad(struct sink *to, char c, int count)
{
    for (; count > 0; count--)
        sink_put(to, c);
}

void sink_text(struct sink *to, const struct format *f, const char *text, int length)
{
    if (!f->left)
        sink_pad(to, ' ', f->width - length);
    for (int i = 0; i < length; i++)
        sink_put(to, text[i]);
    if (f->left)
        sink_pad(to, ' ', f->width - length);
}

// A string with a precision need not end in a zero byte, so its length may
// not be measured further than the precision allows.

void sink_string(struct sink *to, const struct format *f, const char *text)
{
    int length = 0;

    if (!text)
        text = "(null)";
    while ((!f->dotted || length < f->precision) && text[length])
        length++;
    sink_text(to, f, text, length);
}

// Numbers are made from the last digit to the first. The zeros of a
// precision or of the flag `0` stand between the sign and the digits.

void sink_number(struct sink *to, const struct format *f, u64 value, u64 base, const char *sign)
{
    char digits[20];
    int count = 0, zeros, signs = (int)strlen(sign);

    for (; value; value /= base)
        digits[count++] = "0123456789abcdef"[value % base];
    if (!count && !(f->dotted && f->precision == 0))
        digits[count++] = '0';
    zeros = f->dotted ? f->precision - count : f->zero && !f->left ? f->width - signs - count : 0;
    if (zeros < 0)
        zeros = 0;
    if (!f->left)
        sink_pad(to, ' ', f->width - signs - zeros - count);
    for (int i = 0; i < signs; i++)
        sink_put(to, sign[i]);
    sink_pad(to, '0', zeros);
    for (int i = count; i > 0; i--)
        sink_put(to, digits[i - 1]);
    if (f->left)
        sink_pad(to, ' ', f->width - signs - zeros - count);
}

// ::: {#walk-number .walk}
//     from sink_number if value > 200
//     into sink_pad
//     draw array digits count i
//
// Digits come from the right and are written from the left.
// :::
//
// What stands between the percent sign and the letter:

const char *format_count(const char *p, int *count, va_list *ap)
{
    *count = 0;
    if (*p == '*') {
        *count = va_arg(*ap, int);
        return p + 1;
    }
    for (; *p >= '0' && *p <= '9'; p++)
        *count = *count * 10 + *p - '0';
    return p;
}

const char *format_parse(const char *p, struct format *f, va_list *ap)
{
    *f = (struct format){0};
    for (; *p == '-' || *p == '0'; p++)
        *p == '-' ? (f->left = true) : (f->zero = true);
    p = format_count(p, &f->width, ap);
    if (f->width < 0)
        f->left = true, f->width = -f->width;
    if (*p == '.') {
        p = format_count(p + 1, &f->precision, ap);
        f->dotted = f->precision >= 0;
    }
    for (; *p == 'l' || *p == 'z'; p++)
        f->wide = true;
    return p;
}

// And the letter itself. An `int` is shorter than a register and arrives
// with rubbish in the upper half, so it must be taken as what it is. The
// list of arguments is handed on by its address: each function that takes
// an argument from it must leave the rest to the next one.

u64 format_unsigned(const struct format *f, va_list *ap)
{
    return f->wide ? va_arg(*ap, u64) : va_arg(*ap, u32);
}

s64 format_signed(const struct format *f, va_list *ap)
{
    return f->wide ? va_arg(*ap, s64) : va_arg(*ap, int);
}

void sink_conversion(struct sink *to, char letter, const struct format *f, va_list *ap)
{
    char c;
    s64 n;

    switch (letter) {
    case 'd':
    case 'i':
        n = format_signed(f, ap);
        sink_number(to, f, n < 0 ? 0 - (u64)n : (u64)n, 10, n < 0 ? "-" : "");
        break;
    case 'u': sink_number(to, f, format_unsigned(f, ap), 10, ""); break;
    case 'x': sink_number(to, f, format_unsigned(f, ap), 16, ""); break;
    case 'p': sink_number(to, f, va_arg(*ap, u64), 16, "0x"); break;
    case 's': sink_string(to, f, va_arg(*ap, const char *)); break;
    case 'c':
        c = (char)va_arg(*ap, int);
        sink_text(to, f, &c, 1);
        break;
    case '%': sink_put(to, '%'); break;
    default:
        sink_put(to, '%');
        sink_put(to, letter);
    }
}

// Everything together: characters are passed on, and a percent sign begins
// a conversion. A format that ends in the middle of one is cut off there.

void sink_format(struct sink *to, const char *text, va_list *ap)
{
    struct format f;

    for (; *text; text++) {
        if (*text != '%') {
            sink_put(to, *text);
            continue;
        }
        text = format_parse(text + 1, &f, ap);
        if (!*text)
            return;
        sink_conversion(to, *text, &f, ap);
    }
}

// The faces of it. All return the number of characters the whole text has;
// into a buffer at most `size` bytes are written, with the final zero
// always among them. (C's own `vsnprintf()` takes the list by value.)

int printf_like(1, 2) printf(const char *text, ...)
{
    struct sink to = {.console = true};
    va_list ap;

    va_start(ap, text);
    sink_format(&to, text, &ap);
    va_end(ap);
    return (int)to.count;
}

// Into a buffer, with the list of what is behind the text:

int vsnprintf(char *buffer, u64 size, const char *text, va_list *ap)
{
    struct sink to = {.buffer = buffer, .size = size};

    sink_format(&to, text, ap);
    if (size)
        buffer[to.count < size ? to.count : size - 1] = 0;
    return (int)to.count;
}

// The usual form of it:

int printf_like(3, 4) snprintf(char *buffer, u64 size, const char *text, ...)
{
    va_list ap;
    int count;

    va_start(ap, text);
    count = vsnprintf(buffer, size, text, &ap);
    va_end(ap);
    return count;
}

// Sizes are for people: at most four digits and a unit, rounded down. The
// text lives in a structure so that a function can return it; `%s` takes
// its only field.

struct size_text {
    char s[16];
};

struct size_text boot_size(u64 bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct size_text text;
    u64 whole = bytes, tenths = 0;
    int i = 0;

    for (; whole >= KIB; whole /= KIB, i++)
        tenths = whole % KIB * 10 / KIB;
    if (i == 0 || whole >= 100 || tenths == 0)
        snprintf(text.s, sizeof text.s, "%lu %s", whole, unit[i]);
    else
        snprintf(text.s, sizeof text.s, "%lu.%lu %s", whole, tenths, unit[i]);
    return text;
}

// ## Where are we? {#boot-backtrace}
//
// Every function that our compilers make begins by pushing the caller's
// frame pointer and pointing `rbp` at it; just above lies the return
// address. The frames thus form a chain, and walking it answers the first
// question after any crash: how did we get here?
//
// Addresses become names by the image's own table of dynamic symbols, which
// the linker left in it for the dynamic loader we do not have. It lists
// what other files may use, and that is why none of our functions is
// `static`. How long it is can be found only by way of a hash table; but
// our linker puts the names right behind it, so that is where it ends.

u64 boot_dynamic(u64 tag)
{
    struct elf_dynamic *d;

    for (d = _DYNAMIC; d->tag; d++)
        if (d->tag == tag)
            return KERNEL_BASE + d->value;
    return 0;
}

// Returns the name and offset of an address in the image, "?" for any
// other, by value: `boot_where(rip).s` is the text.

struct where_text {
    char s[64];
};

struct where_text boot_where(vaddr address)
{
    struct elf_symbol *s = (void *)boot_dynamic(DT_SYMTAB), *best = NULL;
    const char *names = (const char *)boot_dynamic(DT_STRTAB);
    u64 offset = address - KERNEL_BASE;
    struct where_text text = {"?"};

    if (address < KERNEL_BASE || offset >= boot.info->image.size)
        return text;
    for (; s && (const char *)s < names; s++)
        if (s->section && s->value <= offset && (!best || s->value >= best->value))
            best = s;
    if (best)
        snprintf(text.s, sizeof text.s, "%s+0x%lx", names + best->name, offset - best->value);
    return text;
}

// A return address is the one *behind* the call, which may already be in
// the next function.

void boot_print_address(vaddr address, bool is_return)
{
    printf("  0x%016lx  %s\n", address, boot_where(address - is_return).s);
}

// A damaged stack must not lead the walk astray: each frame has to lie
// above the one before, and not far above, and there can be no more of them
// than a stack has room for. A recursion is told once.

#define BACKTRACE_MAX (KERNEL_STACK_SIZE / (2 * sizeof(u64)))

void boot_backtrace(u64 *frame)
{
    u64 *next;
    u64 again = 0, depth;

    printf("  called from\n");
    for (depth = 0; depth < BACKTRACE_MAX && (u64)frame >= KERNEL_BASE && !((u64)frame & 7);
         depth++) {
        next = (u64 *)frame[0];
        if (!frame[1] || next <= frame || next > frame + KERNEL_STACK_SIZE / sizeof *frame)
            break;
        if (next[1] == frame[1]) {
            again++;
        } else {
            boot_print_address(frame[1], true);
            if (again)
                printf("  (and %lu times more from there)\n", again);
            again = 0;
        }
        frame = next;
    }
}

// ## The end {#boot-end}
//
// A kernel must also be able to stop. The polite way to switch off is
// ACPI's: find the register that controls power and write to it the code of
// the state called S5, "soft off" (ACPI 6.5, 4.8.3 and 7.4.2). The
// register's port is in the table with the signature FACP. The code is in
// the DSDT, a program in a language called AML that describes the board;
// running it takes an interpreter of ten thousand lines. We look for the
// object's name among its bytes and read the numbers behind it, which works
// on all machines we know. Some have no such register, and those stay on.
//
// Tables are found from the root pointer: a list of physical addresses, of
// four bytes each in the first version of ACPI, of eight in later ones.
// The same has happened inside the FACP: it has grown with each version,
// and what had four bytes for an address or a port in the beginning has a
// second, longer form at the end, with the prefix `x` here. Where both are
// given the longer one counts.

struct acpi_header {
    char signature[4];
    u32 length;
    u8 rest[28];
} packed;

struct acpi_register {
    u8 space, width, offset, access; /* space 0: memory, 1: ports */
    u64 address;
} packed;

struct acpi_fadt {
    struct acpi_header header;
    u32 facs, dsdt;
    u8 reserved, profile;
    u16 sci_interrupt;
    u32 smi_command;
    u8 acpi_enable, acpi_disable, s4bios, pstate;
    u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, timer;
    u8 details[32];
    u32 flags;
    struct acpi_register reset;
    u8 reset_value, more[3];
    u64 x_facs, x_dsdt;
    struct acpi_register x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
    struct acpi_register x_pm2_control, x_timer, x_general[2], sleep_control, sleep_status;
} packed;

// A table may lie only in what the memory map calls memory, by the rule
// after which the prologue [mapped](#efi-tables) it; elsewhere there may be
// nothing, and reading it would be one fault more. The map's entries are
// counted by its stride; NULL ends them.

const struct efi_descriptor *boot_descriptor(const struct boot_info *info, u64 n)
{
    if (info->map_stride < sizeof(struct efi_descriptor) || n >= info->map_size / info->map_stride)
        return NULL;
    return (const struct efi_descriptor *)(info->map + n * info->map_stride);
}

bool boot_is_mapped(paddr start, u64 size)
{
    const struct efi_descriptor *d;
    u64 i;

    if (start >= DIRECT_MAP_SIZE || size > DIRECT_MAP_SIZE - start)
        return false;
    for (i = 0; (d = boot_descriptor(boot.info, i)); i++) {
        if (d->type != EFI_RESERVED && d->type != EFI_UNUSABLE && d->type < EFI_MMIO &&
            start >= d->start && start - d->start < d->pages * FRAME_SIZE)
            return size <= d->pages * FRAME_SIZE - (start - d->start);
    }
    return false;
}

// The bytes of a table, added up, make zero. One that does not is damaged,
// or no table at all.

bool acpi_is_sound(const void *table, u64 size)
{
    const u8 *byte = table;
    u8 sum = 0;

    while (size--)
        sum += *byte++;
    return sum == 0;
}

struct acpi_header *acpi_table(paddr p)
{
    struct acpi_header *table;

    if (!p || !boot_is_mapped(p, sizeof *table))
        return NULL;
    table = boot_physical(p);
    if (table->length < sizeof *table || !boot_is_mapped(p, table->length) ||
        !acpi_is_sound(table, table->length))
        return NULL;
    return table;
}

// Returns the table with this signature, or NULL. (Of the root pointer's 36
// bytes the first version had 20, and they still have a sum of their own.)

struct acpi_header *acpi_find(const char *signature)
{
    struct acpi_header *list, *table;
    u64 width, at;
    paddr entry = 0;
    u8 *root;

    if (!boot.info->acpi || !boot_is_mapped(boot.info->acpi, 36))
        return NULL;
    root = boot_physical(boot.info->acpi);
    width = root[15] >= 2 ? 8 : 4;
    if (!acpi_is_sound(root, 20) || (width == 8 && !acpi_is_sound(root, 36)))
        return NULL;
    memcpy(&entry, root + (width == 8 ? 24 : 16), width);
    list = acpi_table(entry);
    for (at = sizeof *list; list && at + width <= list->length; at += width) {
        memcpy(&entry, (u8 *)list + at, width);
        table = acpi_table(entry);
        if (table && memcmp(table->signature, signature, 4) == 0)
            return table;
    }
    return NULL;
}

// The FACP by value. What a shorter, older one does not have is zero.

struct acpi_fadt acpi_get_fadt(void)
{
    const struct acpi_header *table = acpi_find("FACP");
    struct acpi_fadt fadt;

    memset(&fadt, 0, sizeof fadt);
    if (table)
        memcpy(&fadt, table, table->length < sizeof fadt ? table->length : sizeof fadt);
    return fadt;
}

// The port of a register, 0 if it has none. We know registers in ports
// only; those in memory are for machines that are hardly PCs any more.

u16 acpi_port(const struct acpi_register *longer, u32 old)
{
    if (longer->space == 1 && longer->address && longer->address < 65536)
        return (u16)longer->address;
    return old < 65536 ? (u16)old : 0;
}

// Starts the machine again, by a register that some boards have. Returns if
// this one has not.

#define ACPI_HAS_RESET (1 << 10)

void acpi_reset(void)
{
    struct acpi_fadt fadt = acpi_get_fadt();
    u16 port = acpi_port(&fadt.reset, 0);

    if (fadt.flags & ACPI_HAS_RESET && port)
        cpu_outb(port, fadt.reset_value);
}

// In AML the object reads: its name `_S5_`, a byte 0x12 for "package", the
// package's length (one byte here), the number of its elements, and then
// the two numbers we want, for either half of the register, each behind a
// byte 0x0a unless it is 0 or 1. Returns whether it was found.

bool acpi_sleep_codes(const struct acpi_header *dsdt, u8 code[2])
{
    const u8 *bytes = (const u8 *)dsdt;
    u64 at;

    for (at = sizeof *dsdt; at + 11 <= dsdt->length; at++) {
        if (memcmp(bytes + at, "_S5_\x12", 5) != 0)
            continue;
        at += 7;
        at += bytes[at] == 0x0a;
        code[0] = bytes[at++] & 7;
        at += bytes[at] == 0x0a;
        code[1] = bytes[at] & 7;
        return true;
    }
    return false;
}

// The code is three bits of the register (10 to 12), and a fourth, bit 13,
// says "now". The others are somebody else's and keep their values. First
// both halves are told where to go, then both to go.

void acpi_sleep(const u16 port[2], const u8 code[2])
{
    u16 value, now, i;

    for (now = 0; now < 2; now++)
        for (i = 0; i < 2; i++)
            if (port[i]) {
                value = cpu_inw(port[i]) & (u16)~(15 << 10);
                cpu_outw(port[i], (u16)(value | code[i] << 10 | now << 13));
            }
}

// Asks the machine to switch itself off, and returns whether there was
// anybody to ask; it may take a moment. Until the board has been told that
// somebody here speaks ACPI it may handle power itself; it says so in bit 0
// of the register. (Boards with "reduced hardware", bit 20 of the flags,
// know nothing else, and have a register of eight bits.)

#define ACPI_REDUCED (1 << 20)

bool acpi_power_off(void)
{
    struct acpi_fadt fadt = acpi_get_fadt();
    struct acpi_header *dsdt = acpi_table(fadt.x_dsdt ? fadt.x_dsdt : fadt.dsdt);
    u16 port[2] = {acpi_port(&fadt.x_pm1a_control, fadt.pm1a_control),
                   acpi_port(&fadt.x_pm1b_control, fadt.pm1b_control)};
    u16 sleep = acpi_port(&fadt.sleep_control, 0);
    u32 patience = 1000000;
    u8 code[2];

    if (!dsdt || !acpi_sleep_codes(dsdt, code) || !(fadt.flags & ACPI_REDUCED ? sleep : port[0]))
        return false;
    if (fadt.flags & ACPI_REDUCED) {
        cpu_outb(sleep, (u8)(code[0] << 2 | 1 << 5));
        return true;
    }
    if (!(cpu_inw(port[0]) & 1) && fadt.smi_command)
        cpu_outb((u16)fadt.smi_command, fadt.acpi_enable);
    while (!(cpu_inw(port[0]) & 1) && --patience)
        cpu_pause();
    acpi_sleep(port, code);
    return true;
}

// The kernel's last function. Success switches the machine off, and QEMU
// ends with status 0; if that cannot be, somebody has to be asked for it.
// Failure must leave the report on the screen, so a real machine stops
// where it is; under QEMU port 0xf4 ends the emulator with a status of
// twice our number plus one, which no success can have. (The machine needs
// a moment to switch off. Only then is it a failure.)

#define DEBUG_EXIT_PORT 0xf4
#define EXIT_STILL_ON 5

void noreturn boot_exit(int status)
{
    u32 patience;

    cpu_cli();
    if (status == 0) {
        for (patience = acpi_power_off() ? 100000000 : 0; patience; patience--)
            cpu_pause();
        printf("boot: this machine cannot be switched off by us; please do it\n");
        status = EXIT_STILL_ON;
    }
    if (boot.emulated)
        cpu_outb(DEBUG_EXIT_PORT, (u8)status);
    for (;;)
        cpu_hlt();
}

// ## Panic {#boot-panic}
//
// The kernel trusts itself as little as it can, and checks what it
// believes. A belief that turns out wrong leaves nothing to rely on: the
// only honest reaction is to say what was found, where, and to stop.
//
// `panic()` takes a format like `printf()`. `assert()` is a sentence about
// the program which is true or else the program is wrong; it is not for
// errors that the outside world can cause. Unlike C's it is never compiled
// out, so what it asserts may also do something.

#define panic(...) boot_panic(__FILE__, __LINE__, __VA_ARGS__)
#define assert(truth) (likely(truth) ? (void)0 : panic("assertion failed: %s", #truth))

// What the outside world can cause ends in `boot_refuse()`: a sentence
// about the machine, not about us, and no backtrace.

void noreturn printf_like(1, 2) boot_refuse(const char *text, ...)
{
    struct sink to = {.console = true};
    va_list ap;

    printf("Rustica cannot run here: ");
    va_start(ap, text);
    sink_format(&to, text, &ap);
    va_end(ap);
    printf("\n");
    boot_exit(1);
}

// If making the report causes a panic itself, one is enough.

void noreturn printf_like(3, 4) boot_panic(const char *file, int line, const char *text, ...)
{
    char message[256];
    va_list ap;

    va_start(ap, text);
    vsnprintf(message, sizeof message, text, &ap);
    va_end(ap);
    if (boot.panic_hook)
        boot.panic_hook(file, line, message);
    cpu_cli();
    if (boot.panics++)
        boot_exit(1);
    printf("\n*** panic at %s:%d: %s\n", file, line, message);
    boot_backtrace(__builtin_frame_address(0));
    boot_exit(1);
}

// ## Segments {#boot-segments}
//
// Segmentation was the processor's first way of protecting memory. In
// 64-bit mode it does not do that any more, but the table of segments, the
// *GDT*, is still required, for one reason: the two lowest bits of CS are
// the privilege level at which the processor runs, its *ring*, 0 for the
// kernel and 3 for programs. They get there by loading a *selector*, which
// is eight times the number of an entry in the table plus the ring; and the
// entry, a *descriptor* (SDM 3A, 3.4.5), must agree. So `0x23` is entry 4,
// for ring 3. Entry 0 stays empty: the selector 0 means "no segment".
//
// We need four descriptors: code and data for the kernel, data and code for
// programs, in the order that `syscall` and its counterpart `sysret`
// prescribe ([Chapter 7](#user-syscall)).

#define SEGMENT_USER_DATA 0x1b
#define SEGMENT_USER_CODE 0x23
#define SEGMENT_TSS 0x28

struct tss {
    u32 reserved0;
    u64 rsp[3];          /* the stack for entering ring 0, 1, 2 */
    u64 reserved1;
    u64 ist[7];          /* seven stacks for special occasions */
    u64 reserved2;
    u16 reserved3, io_map;
} packed;

// The *task-state segment* is left from a time when the processor switched
// tasks by itself. What remains of it are stack pointers. One of them
// matters at once: when the kernel's stack has overflowed, the handler
// needs a stack, and it cannot be the one that overflowed. The exceptions
// that may find the stack unusable run on one of their own.

#define TRAP_VECTORS 256

struct trap_frame;
typedef void trap_handler(struct trap_frame *frame);

struct idt_gate {
    u16 offset_low, selector;
    u8 ist, flags;
    u16 offset_middle;
    u32 offset_high, reserved;
} packed;

struct cpu_state {
    struct idt_gate idt[TRAP_VECTORS];
    trap_handler *handler[TRAP_VECTORS]; /* NULL: report and stop */
};

struct cpu_state cpu;

// The table of traps can be the same for all processors of a machine; the
// task-state segment cannot, for two that are in trouble at the same time
// must not fall on one stack. We use one processor. But what is the
// processor's *own* stands together, and is found in the one way that does
// not depend on which it is: by a register. Of the segments FS and GS a
// part is alive in 64-bit mode, a base, which is added to each address that
// is written with `%gs:` before it. GS is ours. `%gs:0` is the first word
// of this structure, and as C has no such prefix, that word is its address.
// (What an address space is, chapter 7 will say; here it has an address.)

struct context;

struct cpu_local {
    struct cpu_local *self;      /* %gs:0 */
    u64 user_stack;              /* where a program's was, for a moment; chapter 7 */
    struct context *context;     /* what is being executed; chapter 7 */
    void *space;                 /* whose page tables are in use; chapter 7 */
    struct tss tss;
    u64 gdt[7];
    u8 emergency_stack[3][8 * KIB] aligned_to(16);
} aligned_to(16);

#define LOCAL_SELF "%gs:0"
#define LOCAL_USER_STACK "%gs:8"
#define LOCAL_CONTEXT "%gs:16"
#define LOCAL_KERNEL_STACK "%gs:36" /* tss.rsp[0] */

struct cpu_local cpu_boot;       /* of the processor that we were started on */

// The own data of the processor that asks.

struct cpu_local *cpu_local(void)
{
    struct cpu_local *local;

    __asm__ volatile("movq %" LOCAL_SELF ", %0" : "=r"(local));
    return local;
}

// The numbers are what the manual's bit fields come to. The descriptor of
// the task-state segment is twice as long as the others, because it holds
// an address of 64 bits, in pieces that tell of its growth since 1982.

#define DESCRIPTOR_CODE 0x00af9b000000ffffUL /* 64 bits, present, ring 0, readable */
#define DESCRIPTOR_DATA 0x00cf93000000ffffUL /* present, ring 0, writable */
#define DESCRIPTOR_RING3 (3UL << 45)

#define MSR_GS_BASE 0xc0000101

void cpu_init_segments(struct cpu_local *c)
{
    u64 base = (u64)&c->tss, limit = sizeof c->tss - 1;
    struct table_pointer pointer = {sizeof c->gdt - 1, (u64)c->gdt};
    u64 i;

    assert(offset_of(struct cpu_local, context) == 16);
    assert(offset_of(struct cpu_local, tss.rsp) == 36);
    c->gdt[1] = DESCRIPTOR_CODE;        /* 0x08 and so on */
    c->gdt[2] = DESCRIPTOR_DATA;
    c->gdt[3] = DESCRIPTOR_DATA | DESCRIPTOR_RING3;
    c->gdt[4] = DESCRIPTOR_CODE | DESCRIPTOR_RING3;
    c->gdt[5] = limit | (base & 0xffffff) << 16 | 0x89UL << 40 | (base >> 24 & 0xff) << 56;
    c->gdt[6] = base >> 32;
    for (i = 0; i < array_count(c->emergency_stack); i++)
        c->tss.ist[i] = (u64)c->emergency_stack[i] + sizeof c->emergency_stack[i];
    c->tss.io_map = sizeof c->tss;      /* programs may use no ports */
    c->self = c;
    cpu_lgdt(&pointer);
    cpu_load_segments();
    cpu_ltr(SEGMENT_TSS);
    cpu_wrmsr(MSR_GS_BASE, (u64)c);
}

// ## Traps {#boot-traps}
//
// When an instruction fails, or a device wants attention, the processor
// looks up the event's number, its *vector*, in a second table, the *IDT*.
// The entry there is a *gate*. The processor pushes five words on the stack
// (where it was and with which flags and stack), in some cases a sixth with
// an error code, and jumps where the gate says (SDM 3A, 6.14). (If it was
// in the kernel, the stack is the one in use. Compilers for x86-64 like to
// use the 128 bytes below the stack pointer without saying so, the ABI's
// *red zone*; a trap would overwrite them, so the Makefile forbids that.)
//
// We want one C function to see all of them in one form. Hence a *stub* for
// each vector, which pushes a zero where the processor pushed no error
// code, then the vector, and goes on to a common part which saves all other
// registers. On the stack this makes:

struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8;
    u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;  /* saved by us */
    u64 vector, error;                      /* by the stub */
    u64 rip, cs, rflags, rsp, ss;           /* by the processor */
};

// The stubs are sixteen bytes apart, so that the gate of vector *n* is
// found by multiplication. Vectors 0 to 31 are the processor's; the others
// are for devices. We have use for few, but the firmware may have told a
// device any of them, and the device may not have heard that the firmware
// is gone; without a gate, its interrupt would be a fault of ours. The
// vectors 8, 10 to 14, 17, 21, 29 and 30 bring an error code.

#define STUB(n) ".balign 16\n pushq $0\n pushq $" #n "\n jmp trap_entry\n"
#define STUB_ERROR(n) ".balign 16\n pushq $" #n "\n jmp trap_entry\n"
#define STUB8(a, b, c, d, e, f, g, h) \
    STUB(a) STUB(b) STUB(c) STUB(d) STUB(e) STUB(f) STUB(g) STUB(h)
#define STUB16(h) \
    STUB8(h##0, h##1, h##2, h##3, h##4, h##5, h##6, h##7) \
    STUB8(h##8, h##9, h##a, h##b, h##c, h##d, h##e, h##f)

extern u8 trap_stubs[], trap_return[];

__asm__(".text\n"
        ".globl trap_stubs\n"
        ".balign 16\n"
        "trap_stubs:\n"
        STUB8(0, 1, 2, 3, 4, 5, 6, 7)
        STUB_ERROR(8) STUB(9) STUB_ERROR(10) STUB_ERROR(11)
        STUB_ERROR(12) STUB_ERROR(13) STUB_ERROR(14) STUB(15)
        STUB(16) STUB_ERROR(17) STUB(18) STUB(19) STUB(20) STUB_ERROR(21) STUB(22) STUB(23)
        STUB(24) STUB(25) STUB(26) STUB(27) STUB(28) STUB_ERROR(29) STUB_ERROR(30) STUB(31)
        STUB16(0x2) STUB16(0x3) STUB16(0x4) STUB16(0x5) STUB16(0x6) STUB16(0x7) STUB16(0x8)
        STUB16(0x9) STUB16(0xa) STUB16(0xb) STUB16(0xc) STUB16(0xd) STUB16(0xe) STUB16(0xf));

// The common part. What was interrupted must not take its flags with it
// into the kernel: C code expects string instructions to run upward (DF
// clear), and the flag AC would lift a protection of [Chapter
// 7](#user-protect). On the way out everything is put back and `iretq` pops
// the five words. (`UNWIND_TRAPPED` tells the [debugger](#h-compilers) that
// a whole frame is on the stack while C is called; that ends with the first
// `popq`.)
//
// Programs have a GS, too. `swapgs` exchanges its base for another one,
// which the processor keeps for this purpose (tcc does not know the
// instruction). So there is a rule, *in ring 0 GS is ours*, and these lines
// keep it: who has come from ring 3, as the low bits of CS say, or goes
// there, exchanges the two. (What strikes in ring 0 between that and ring 3
// finds the wrong one. It can only be one of the three that have a stack of
// their own, or a fault of `iretq` itself. They are reported, for which
// nothing of ours is needed.)

#define SWAPGS "    .byte 0x0f, 0x01, 0xf8\n"

#define TRAP_SAVE \
    "    pushq %rax\n    pushq %rbx\n    pushq %rcx\n    pushq %rdx\n" \
    "    pushq %rsi\n    pushq %rdi\n    pushq %rbp\n" \
    "    pushq %r8\n    pushq %r9\n    pushq %r10\n    pushq %r11\n" \
    "    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"

#define TRAP_RESTORE \
    "    popq %r15\n" UNWIND_END "    popq %r14\n    popq %r13\n    popq %r12\n" \
    "    popq %r11\n    popq %r10\n    popq %r9\n    popq %r8\n" \
    "    popq %rbp\n    popq %rdi\n    popq %rsi\n" \
    "    popq %rdx\n    popq %rcx\n    popq %rbx\n    popq %rax\n"

__asm__(".globl trap_entry\n"
        "trap_entry:\n"
        "    testb $3, 24(%rsp)\n"     /* CS, behind vector, error and RIP */
        "    jz 1f\n" SWAPGS
        "1:\n" TRAP_SAVE
        "    pushfq\n"
        "    andq $~0x40400, (%rsp)\n"
        "    popfq\n"
        "    movq %rsp, %rdi\n"
        "    call trap_dispatch\n" UNWIND_TRAPPED
        ".globl trap_return\n"
        "trap_return:\n" TRAP_RESTORE
        "    addq $16, %rsp\n"
        "    testb $3, 8(%rsp)\n"
        "    jz 1f\n" SWAPGS
        "1:  .byte 0x48, 0xcf\n"); /* iretq */

// A gate (SDM 3A, 6.14.1) is the handler's address in three pieces, its
// code segment, the number of an emergency stack (0 for none), and a byte
// that says "present, interrupt gate": on the way in, further interrupts
// are held off. No gate may be used by a program's `int` instruction, with
// two exceptions that exist for programs.

#define VECTOR_DOUBLE_FAULT 8
#define VECTOR_BREAKPOINT 3
#define VECTOR_OVERFLOW 4
#define VECTOR_NMI 2
#define VECTOR_PAGE_FAULT 14
#define VECTOR_MACHINE_CHECK 18

void cpu_init_traps(void)
{
    struct table_pointer pointer = {sizeof cpu.idt - 1, (u64)cpu.idt};
    u64 i, stub;

    for (i = 0; i < TRAP_VECTORS; i++) {
        stub = (u64)trap_stubs + 16 * i;
        cpu.idt[i] = (struct idt_gate){
            .offset_low = (u16)stub, .offset_middle = (u16)(stub >> 16),
            .offset_high = (u32)(stub >> 32), .selector = SEGMENT_KERNEL_CODE, .flags = 0x8e};
    }
    cpu.idt[VECTOR_BREAKPOINT].flags = cpu.idt[VECTOR_OVERFLOW].flags = 0xee;
    cpu.idt[VECTOR_DOUBLE_FAULT].ist = 1;
    cpu.idt[VECTOR_NMI].ist = 2;
    cpu.idt[VECTOR_MACHINE_CHECK].ist = 3;
    cpu_lidt(&pointer);
}

// ## A readable report {#boot-report}
//
// The names are the manual's (SDM 3A, table 6-1); vectors 28 to 30 are
// AMD's, and Intel's processors do not have them.

const char *const trap_names[32] = {
    "#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow",
    "#BR bound range exceeded", "#UD invalid opcode", "#NM no coprocessor",
    "#DF double fault", "coprocessor overrun", "#TS invalid TSS", "#NP segment not present",
    "#SS stack fault", "#GP general protection", "#PF page fault", "reserved",
    "#MF floating-point error", "#AC alignment check", "#MC machine check",
    "#XM SIMD error", "#VE virtualization", "#CP control protection",
    "reserved", "reserved", "reserved", "reserved", "reserved", "reserved",
    "#HV hypervisor", "#VC VMM communication", "#SX security", "reserved"};

// A page fault's error code tells what was attempted (SDM 3A, 4.7); the
// other codes name the segment or gate that the processor disliked.

#define FAULT_PRESENT 1
#define FAULT_WRITE 2
#define FAULT_USER 4
#define FAULT_RESERVED 8
#define FAULT_FETCH 16

const char *trap_access(u64 error)
{
    return error & FAULT_FETCH ? "execute" : error & FAULT_WRITE ? "write" : "read";
}

void trap_print_error(const struct trap_frame *f)
{
    static const char *const table[] = {"GDT", "IDT", "LDT", "IDT"};

    if (f->vector == VECTOR_PAGE_FAULT)
        printf("  attempt to %s 0x%lx, which is %s%s\n", trap_access(f->error),
               cpu_read_cr2(),
               f->error & FAULT_PRESENT ? "mapped but forbids it" : "not mapped",
               f->error & FAULT_RESERVED ? " (reserved bit set in a table)" : "");
    else if (f->error)
        printf("  concerns entry %lu of the %s%s\n", f->error >> 3 & 0x1fff,
               table[f->error >> 1 & 3], f->error & 1 ? ", event from outside" : "");
}

void trap_print_registers(const struct trap_frame *f)
{
    printf("  rax %016lx  rbx %016lx  rcx %016lx\n", f->rax, f->rbx, f->rcx);
    printf("  rdx %016lx  rsi %016lx  rdi %016lx\n", f->rdx, f->rsi, f->rdi);
    printf("  rbp %016lx  rsp %016lx  r8  %016lx\n", f->rbp, f->rsp, f->r8);
    printf("  r9  %016lx  r10 %016lx  r11 %016lx\n", f->r9, f->r10, f->r11);
    printf("  r12 %016lx  r13 %016lx  r14 %016lx\n", f->r12, f->r13, f->r14);
    printf("  r15 %016lx  rip %016lx  cs %lx  ss %lx\n", f->r15, f->rip, f->cs, f->ss);
    printf("  rflags %lx  cr0 %lx  cr2 %lx  cr3 %lx  cr4 %lx\n", f->rflags,
           cpu_read_cr0(), cpu_read_cr2(), cpu_read_cr3(), cpu_read_cr4());
}

// The unmapped page below the stack deserves a sentence in the report: to
// run into it is the most frequent cause of a double fault.

bool trap_hit_guard(vaddr address)
{
    vaddr bottom = boot.info->stack_top - KERNEL_STACK_SIZE;

    return address < bottom && address >= bottom - FRAME_SIZE;
}

// Prints all we know about a trap and stops the machine.

void noreturn trap_report(struct trap_frame *f)
{
    if (boot.panics++)
        boot_exit(1);
    printf("\n*** exception %lu, %s, error code 0x%lx\n", f->vector,
           f->vector < 32 ? trap_names[f->vector] : "unexpected interrupt", f->error);
    trap_print_error(f);
    if (trap_hit_guard(cpu_read_cr2()))
        printf("  the kernel's stack has overflowed into its guard page\n");
    boot_print_address(f->rip, false);
    trap_print_registers(f);
    boot_backtrace((u64 *)f->rbp);
    boot_exit(1);
}

// The dispatcher calls the handler that is registered for the vector. It
// runs with interrupts off and may change the frame; when it returns, what
// is in the frame goes on. Later chapters register: for page faults, for
// the timer, for the keyboard.

void trap_dispatch(struct trap_frame *frame)
{
    trap_handler *handler = cpu.handler[frame->vector];

    if (!handler)
        trap_report(frame);
    handler(frame);
}

// ## What the user typed {#boot-options}
//
// Options are words separated by blanks, `name` or `name=value`. A chapter
// that has an option asks for it by `boot_option()`, and by asking makes it
// known; when all chapters have asked, what nobody wanted is named and
// ignored.

void boot_split_options(void)
{
    char *p = boot.info->options;
    struct boot_option *o;

    for (;;) {
        while (*p == ' ')
            *p++ = 0;
        if (!*p)
            return;
        if (boot.option_count == BOOT_OPTION_COUNT) {
            printf("boot: too many options, ignored from here: %s\n", p);
            return;
        }
        o = &boot.option[boot.option_count++];
        *o = (struct boot_option){.name = p, .value = ""};
        for (; *p && *p != ' '; p++)
            if (*p == '=' && !*o->value)
                *p = 0, o->value = p + 1;
    }
}

// Returns the option's value, "" if it has none, NULL if it was not given.
// Of several the last one counts.

const char *boot_option(const char *name)
{
    const char *value = NULL;
    u32 i;

    for (i = 0; i < boot.option_count; i++) {
        if (string_equal(boot.option[i].name, name)) {
            boot.option[i].known = true;
            value = boot.option[i].value;
        }
    }
    return value;
}

// A size in an option: digits and one of the letters K, M, G. Returns 0 for
// what is not a size, and no more than the direct map reaches.

u64 boot_parse_size(const char *p)
{
    u64 n = 0, unit;

    for (; *p >= '0' && *p <= '9'; p++)
        if (n < DIRECT_MAP_SIZE)
            n = n * 10 + (u64)(*p - '0');
    unit = *p == 'K' ? KIB : *p == 'M' ? MIB : *p == 'G' ? GIB : 1;
    if (unit > 1)
        p++;
    if (*p)
        return 0;
    return n < DIRECT_MAP_SIZE / unit ? n * unit : DIRECT_MAP_SIZE;
}

// ## Mistakes on purpose {#boot-provoke}
//
// A report that has never been seen cannot be trusted. The option
// `provoke=NAME` makes the kernel commit one of the mistakes that this
// chapter prepared for. Chapters add theirs, in structures that stay where
// they are. (`provoke_null()` computes its zero, because a compiler that
// sees a constant one may replace the access by something of its own;
// `provoke_canonical()` uses an address that [cannot exist](#h-layout).)

void boot_add_provocation(struct provocation *p)
{
    p->next = boot.provocations;
    boot.provocations = p;
}

void provoke_assert(void) { assert(1 + 1 == 3); }
void provoke_opcode(void) { __asm__ volatile("ud2"); }
void provoke_null(void) { *(volatile u64 *)(boot.panics * 8UL) = 1; }
void provoke_text(void) { *(volatile u8 *)(u64)provoke_text = 0xc3; }
void provoke_data(void) { ((void (*)(void))(u64)cpu_boot.emergency_stack)(); }

void provoke_canonical(void)
{
    volatile u64 address = 1UL << 63;

    *(volatile u64 *)address = 1;
}

void provoke_divide(void)
{
    volatile int many = 100, zero = 0;

    many = many / zero;
}

// The recursion must not be one that a compiler turns into a loop.

u64 provoke_recursion(volatile u64 *above)
{
    volatile u64 here[32];

    here[0] = *above + 1;
    return (here[0] ? provoke_recursion(here) : 0) + here[0];
}

void provoke_stack(void)
{
    volatile u64 start = 0;

    provoke_recursion(&start);
}

struct provocation boot_provocations[] = {
    {"assert", provoke_assert, NULL}, {"opcode", provoke_opcode, NULL},
    {"null", provoke_null, NULL}, {"text", provoke_text, NULL},
    {"data", provoke_data, NULL}, {"canonical", provoke_canonical, NULL},
    {"divide", provoke_divide, NULL}, {"stack", provoke_stack, NULL}};

// ## Start {#boot-main}
//
// When every chapter of this build has set itself up, and has asked for its
// options, we can tell which options nobody knows. A mistake that was asked
// for must not come back from being made.

void boot_check_options(void)
{
    const char *wanted = boot_option("provoke");
    struct provocation *p;
    u32 i;

    for (i = 0; i < boot.option_count; i++)
        if (!boot.option[i].known)
            printf("boot: unknown option \"%s\" ignored\n", boot.option[i].name);
    if (!wanted)
        return;
    for (p = boot.provocations; p; p = p->next)
        if (string_equal(p->name, wanted)) {
            p->provoke();
            panic("nobody noticed provoke=%s", wanted);
        }
    printf("boot: nothing to provoke by the name \"%s\"; there is", wanted);
    for (p = boot.provocations; p; p = p->next)
        printf(" %s", p->name);
    printf("\n");
}

// The switches in CR0 and CR4 are as the firmware left them. We keep two of
// CR4's: PAE, page tables as we know them, and MCE, which reports broken
// hardware. All others are off until a chapter wants them. One of them is
// *global* pages, whose translations would survive what comes next. In CR0,
// errors in floating-point arithmetic become exceptions (NE), and unaligned
// accesses of programs that ask to be told (AM).

#define CR0_NE (1UL << 5)
#define CR0_AM (1UL << 18)
#define CR4_PAE (1UL << 5)
#define CR4_MCE (1UL << 6)

void cpu_init_switches(void)
{
    cpu_write_cr4(cpu_read_cr4() & (CR4_PAE | CR4_MCE));
    cpu_write_cr0(cpu_read_cr0() | CR0_NE | CR0_AM);
}

// The plank on which we came over, the identity map, is the whole lower
// half of the root table. Taking it away makes null pointers fault. Loading
// CR3 makes the processor forget what it has cached of it.

void boot_drop_identity(void)
{
    memset(boot_physical(boot.info->root), 0, FRAME_SIZE / 2);
    cpu_write_cr3(boot.info->root);
}

// Chapters call each other in one pattern. `ch05_init()` begins with
// `ch04_init()` and makes its chapter's services available, with a line or
// none on the console. `ch05_main()` calls `ch05_init()` and then shows
// what the chapter teaches. The build makes `kernel_main` another name for
// the last main there is in the (prefix of the) file.

void ch01_init(void)
{
    u64 i;

    boot_init_consoles();
    printf("Rustica\n");
    boot_split_options();
    boot.pipe = boot_option("pipe") != NULL;
    cpu_init_segments(&cpu_boot);
    cpu_init_traps();
    cpu_init_switches();
    boot_drop_identity();
    for (i = 0; i < array_count(boot_provocations); i++)
        boot_add_provocation(&boot_provocations[i]);
}

void kernel_main(void);

void noreturn boot_start(struct boot_info *info)
{
    boot.info = info;
    kernel_main();
    boot_exit(0);
}

// The chapter shows that an exception no longer ends the world: it takes a
// breakpoint, looks at the frame and goes on.

void boot_show_trap(struct trap_frame *f)
{
    printf("boot: a breakpoint at ring %lu, error code %lu, interrupts %s: we go on\n",
           f->cs & 3, f->error, f->rflags & FLAG_INTERRUPTS ? "on" : "off");
}

void ch01_main(void)
{
    struct console *c;
    struct boot_framebuffer *screen;

    ch01_init();
    boot_check_options();
    screen = &boot.info->screen;
    for (c = boot.consoles; c; c = c->next)
        printf("boot: a console on the %s\n", c->name);
    printf("boot: image of %s at 0x%lx, stack below 0x%lx\n",
           boot_size(boot.info->image.size).s, KERNEL_BASE, boot.info->stack_top);
    if (screen->start)
        printf("boot: a screen of %u x %u pixels\n", screen->width, screen->height);
    printf("boot: ACPI tables %s\n", acpi_find("FACP") ? "found" : "not found");
    cpu.handler[VECTOR_BREAKPOINT] = boot_show_trap;
    cpu_int3();
    printf("boot: nothing left to do, switching off\n");
}

// ## Try it {#boot-try}
//
// `make run CH=1` boots the lines you have just read and nothing else:
//
// ::: {.transcript file="tests/golden/ch01.txt"}
// :::
//
// Now make it fail. `make run CH=1 OPT=provoke=stack` lets a function call
// itself until the stack is full. The report says so, lists the chain of
// calls, and `make` ends with an error, as QEMU did. Try `null`, `text` and
// `data` as well, and look at how the error code tells them apart.
//
// To see the machine from inside, `make gdb CH=1` starts it in the debugger
// GDB, stopped at the chapter's first line. Ctrl-C interrupts the kernel,
// `quit` ends the machine. Here is a session to repeat: type what stands
// behind `(gdb)`, or let `rustica session` do it, a line for each Enter.
//
// ::: {.transcript file="book/gdb/ch01.txt"}
// :::
//
// What begins with `rustica` are commands of ours, made for this kernel;
// `help rustica` lists them. One goes back in time: `rustica efi` stops in
// the prologue, at the address where the firmware has put it.
//
// `next` and `step` go by lines, `nexti` and `stepi` by instructions. Where
// there is only assembly GDB knows no line, and names the last one before
// it; so the instruction is shown as well. What `make run`, `make loop` and
// `make gdb` boot is compiled without optimization, because gcc is then
// done in a second; the disk image is optimized, and `O=2` runs or debugs
// that one. With `CC=tcc` GDB knows functions, global variables and types,
// but no lines, no arguments and no local variables. A backtrace goes on
// beyond a trap or system call, to the lines and the variables of what was
// interrupted; only GDB's `up` and `frame`, which know such a thing from
// another kind of program, call the place `<signal handler called>`. (With
// tcc it ends there.) To look at a thing once more, say `run`: the machine
// starts again, breakpoints stay. And to go back? `make gdb CH=1 BACK=1`
// records the run and replays it; there `reverse-step` and its kin do what
// they say, and `rustica when EXPRESSION` goes to the last write of that.
// (A replay runs forwards only, so a step back is a replay to just before.)
//
// ### Exercises {#boot-exercises}
//
// ::: {#ex-boot-silence .exercise level=1}
// Comment out the call of `cpu_init_traps()` and boot with `QFLAGS='-d
// int,cpu_reset'`. Read the end of QEMU's log, whose name `make` tells you.
// *You are done when you can name the three faults that lead to the reset,
// in order, say what the processor was looking for each time, and why it
// was not there.*
// :::
//
// ::: {#ex-boot-hex .exercise level=1}
// Add `%X` and the flag `#` to `printf()`. *Your test: the same calls print
// the same text with the printf of your C library.*
// :::
//
// ::: {#ex-boot-nmi .exercise level=2}
// Why does the NMI have a stack of its own, although no stack has
// overflowed when it comes? *You are done when you can name the
// instructions of `syscall_entry` in [Chapter 7](#user-syscall) between
// which an NMI without one would write its frame to an address that the
// program has chosen.*
// :::
//
// ::: {#ex-boot-lines .exercise level=3}
// Let the backtrace print lines instead of offsets, from a table that the
// build makes with `addr2line`. *You are done when the line of a
// provoked assertion in the backtrace is the line in its message.*
// :::
//
// ### Further reading {#boot-reading}
//
// *OSTEP*, chapter 6, on running programs without losing the machine.
// *xv6*, the chapter on traps. The SDM, Volume 3A, chapters 2, 3 and 6, and
// the APM, Volume 2, chapters 2, 4 and 8, for what the registers in this
// chapter do. In Linux `arch/x86/kernel/head_64.S` and `idt.c` stand where
// we stood. Brian Kernighan and Rob Pike, *The Practice of Programming*,
// chapter 5, on finding out what a program does; all of it holds for
// kernels.
//
// ## What we have {#boot-have}
//
// A program that owns the machine, can speak, and does not die silently. It
// has 32 KiB of stack, its variables, and no way to get one byte more: for
// that we have to find out what memory there is.

// # Chapter 2. Two zones {#ch-zones}
//===========================================================================
//
// We own a machine and not one byte of its memory. Somewhere in it lie our
// image, the firmware's remains, tables that describe the board, buffers
// that devices write into; between all these, in pieces, is free memory.
// Whoever writes to the wrong piece gets no error message. The machine
// fails later and elsewhere.
//
// Rustica has an ancestor, a kernel written in Rust, and an episode of its
// history is the reason for this chapter. It threw the firmware's map away
// and wrote down by hand that the kernel's memory was at 2 to 16 MiB.
// Nothing checked whether there was any memory, or whether somebody lived
// there. Then data of programs overwrote data of the kernel, and its
// authors laid down a rule: *kernel metadata must never live in
// user-visible memory.* They stated it in a document, where it could be
// admired. We are going to state it in code, where it can be violated only
// with consequences.
//
// ## Theory of operation {#zone-theory}
//
// The firmware's map is a list of descriptors: type, first address, number
// of pages. The specification promises little about the list. It need not
// be sorted, and on real machines its entries have been seen to overlap, to
// leave holes, to be empty, and to be of types the specification does not
// know. We assume nothing and go by three rules:
//
// 1. A frame is **usable** if some usable descriptor covers it and none of
//    another kind does. Usable are free memory and what belonged to the
//    firmware's boot services and loaders, since both are gone. (The last
//    that was in use there, segments and interrupt handlers, [Chapter
//    1](#boot-segments) has replaced.) It must also be ordinary memory: the
//    attributes tell whether the processor may cache it, and whether it is
//    set aside for a purpose of its own, as the memory of a graphics card
//    may be.
// 2. A usable frame is **reserved** if we stand on it: image, stack, page
//    tables, hand-over block; or if it lies in the first MiB. Firmware has
//    been seen to write there long after it was gone, when a laptop's lid
//    was closed for example, and no kernel that runs on many machines uses
//    it. So frame 0 is never given away either, and address 0 can mean
//    "none".
// 3. All other usable frames belong to a zone. Those below the **boundary**
//    are the KERNEL zone and hold what the kernel needs for itself. Those
//    above are the USER zone and hold what programs can see.
//
// ::: {#fig-zones .figure file="book/figures/zones.py"}
//         0              boundary                                    top
//         |   KERNEL zone   |               USER zone                  |
//         |#..#...........#.|..........###...........#.....##..#...####|
//          # reserved, or not usable at all
//
// The two zones. The book draws them from the transcript at this chapter's
// end: all memory, and enlarged its two ends.
// :::
//
// The boundary is at 16 MiB on a small machine and at an eighth of the
// memory on a larger one, for page tables and frame tables grow with the
// memory they describe.
//
// The invariants: *ranges ascend, are as long as they can be, do not cross
// the boundary, and contain only usable frames that are not reserved; every
// usable frame is counted exactly once.*
//
// **Shortcomings.** A fixed boundary can run out on one side while there is
// plenty on the other. And our image lies where the firmware put it, which
// is above the boundary: these frames are reserved, so they are in neither
// zone.
//
// ## State {#zone-state}

enum zone {
    ZONE_KERNEL,
    ZONE_USER,
    ZONE_COUNT,
};

struct zone_range {
    paddr start, end;    /* both multiples of the frame size */
    enum zone zone;
};

#define ZONE_RANGES 512

struct zone_state {
    paddr boundary;      /* the USER zone begins here */
    paddr top;           /* end of the highest range */
    u64 usable;          /* frames that the firmware gives us */
    u64 visible;         /* of those: frames below the option mem= */
    u64 reserved;        /* of the usable: frames that we stand on */
    u64 withheld;        /* of them: above the option mem=, or in too many pieces */
    u64 frames[ZONE_COUNT];              /* of them: frames in each zone */
    u32 count;
    struct zone_range range[ZONE_RANGES];
};

struct zone_state zones;

const char *const zone_names[ZONE_COUNT] = {"KERNEL", "USER"};

// ## Reading the map without trusting it {#zone-sweep}
//
// Sorting the descriptors and then resolving overlaps is the usual
// approach, and its special cases fill a page. Here is one without any. Ask
// of an address: what covers it, and where is the next edge of anything?
// Between here and that edge the answer cannot change. Then go to the edge
// and ask again. With n descriptors this takes n questions for each of at
// most 2n edges; for the hundred entries of a typical map that is nothing.
//
// An extent is what a descriptor says, made harmless: an end beyond what
// the direct map reaches is cut off there.

struct zone_extent {
    paddr start, end;
};

struct zone_extent zone_clip(paddr start, u64 size)
{
    if (start > DIRECT_MAP_SIZE)
        start = DIRECT_MAP_SIZE;
    if (size > DIRECT_MAP_SIZE - start)
        size = DIRECT_MAP_SIZE - start;
    return (struct zone_extent){start, start + size};
}

struct zone_answer {
    bool usable, other, reserved;
    paddr edge;          /* the answer holds up to here */
};

// Takes note of an extent: does it cover the address, and is one of its
// ends the next edge? Usable memory is rounded inward to whole frames, all
// else outward, in case the firmware should report half frames.

bool zone_look(struct zone_answer *answer, paddr at, struct zone_extent e, bool inward)
{
    paddr start = inward ? align_up(e.start, FRAME_SIZE) : align_down(e.start, FRAME_SIZE);
    paddr end = inward ? align_down(e.end, FRAME_SIZE) : align_up(e.end, FRAME_SIZE);

    if (start >= end)
        return false;
    if (start > at && start < answer->edge)
        answer->edge = start;
    if (end > at && end < answer->edge)
        answer->edge = end;
    return start <= at && at < end;
}

// Rule 1 (UEFI 2.10, 7.2.3), and the question itself. All descriptors are
// asked, then all reservations, and the first MiB last.

#define EFI_MEMORY_WB (1UL << 3)         /* it can be cached, for writing, too */
#define EFI_MEMORY_SP (1UL << 18)        /* for a special purpose */
#define ZONE_LOW_MEMORY MIB

bool zone_is_usable(const struct efi_descriptor *d)
{
    return (d->type == EFI_CONVENTIONAL || d->type == EFI_BOOT_CODE ||
            d->type == EFI_BOOT_DATA || d->type == EFI_LOADER_CODE ||
            d->type == EFI_LOADER_DATA) &&
           (d->attributes & (EFI_MEMORY_WB | EFI_MEMORY_SP)) == EFI_MEMORY_WB;
}

struct zone_answer zone_ask(const struct boot_info *info, paddr at)
{
    struct zone_answer answer = {.edge = DIRECT_MAP_SIZE};
    const struct efi_descriptor *d;
    struct zone_extent e;
    u64 i;

    for (i = 0; (d = boot_descriptor(info, i)); i++) {
        e = zone_clip(d->start, d->pages > DIRECT_MAP_SIZE >> FRAME_SHIFT
                                    ? DIRECT_MAP_SIZE : d->pages << FRAME_SHIFT);
        if (!zone_look(&answer, at, e, zone_is_usable(d)))
            continue;
        if (zone_is_usable(d))
            answer.usable = true;
        else
            answer.other = true;
    }
    for (i = 0; i < info->reserved_count; i++) {
        e = zone_clip(info->reserved[i].start, info->reserved[i].size);
        if (zone_look(&answer, at, e, false))
            answer.reserved = true;
    }
    if (zone_look(&answer, at, zone_clip(0, ZONE_LOW_MEMORY), false))
        answer.reserved = true;
    return answer;
}

// ## From answers to ranges {#zone-ranges}
//
// A stretch that continues the last range extends it. A map in more pieces
// than the table holds costs the rest of the memory, which is counted as
// withheld; on no machine we know are there more than a few dozen.

void zone_add_range(struct zone_state *z, paddr start, paddr end, enum zone zone)
{
    struct zone_range *last = z->count ? &z->range[z->count - 1] : NULL;
    u64 frames = (end - start) >> FRAME_SHIFT;

    if (start >= end)
        return;
    if (last && last->end == start && last->zone == zone) {
        last->end = end;
    } else if (z->count < ZONE_RANGES) {
        z->range[z->count++] = (struct zone_range){start, end, zone};
    } else {
        z->withheld += frames;
        return;
    }
    z->frames[zone] += frames;
    z->top = end;
}

// One sweep adds up what is there; only then can the boundary be drawn, and
// a second sweep fills the zones. Memory from `limit` up is withheld.

void zone_sweep(struct zone_state *z, const struct boot_info *info, paddr limit, bool fill)
{
    struct zone_answer answer;
    paddr at, end, middle;

    for (at = 0; at < DIRECT_MAP_SIZE; at = answer.edge) {
        answer = zone_ask(info, at);
        if (!answer.usable || answer.other)
            continue;
        end = min(answer.edge, max(limit, at));
        if (!fill) {
            z->usable += (answer.edge - at) >> FRAME_SHIFT;
            z->visible += (end - at) >> FRAME_SHIFT;
            z->reserved += answer.reserved ? (answer.edge - at) >> FRAME_SHIFT : 0;
        } else if (!answer.reserved) {
            middle = min(max(z->boundary, at), end);
            zone_add_range(z, at, middle, ZONE_KERNEL);
            zone_add_range(z, middle, end, ZONE_USER);
            z->withheld += (answer.edge - end) >> FRAME_SHIFT;
        }
    }
}

// ::: {#walk-sweep .walk}
//     from zone_sweep if fill
//     into zone_add_range
//     draw table z->range z->count start end zone
//     most 150
//
// The second sweep, from edge to edge: what is usable and not reserved
// becomes a range, and what continues the last range extends it.
// :::
//
// Fills `z` from the hand-over block. Leaves out what lies at or above the
// physical address `limit`.

#define ZONE_SMALL_BOUNDARY (16 * MIB)

void zone_build(struct zone_state *z, const struct boot_info *info, paddr limit)
{
    u64 share;

    memset(z, 0, sizeof *z);
    limit = align_down(limit, FRAME_SIZE);
    zone_sweep(z, info, limit, false);
    share = align_down((z->visible << FRAME_SHIFT) / 8, 2 * MIB);
    z->boundary = share > ZONE_SMALL_BOUNDARY ? share : ZONE_SMALL_BOUNDARY;
    zone_sweep(z, info, limit, true);
}

// ## The rules as code {#zone-rules}
//
// The audit takes the result and compares every range with every
// descriptor, in the dullest way possible: nothing else may reach into it,
// and from its first frame to its last some usable descriptor must be
// there.

bool zone_overlaps(const struct zone_range *r, paddr start, u64 size)
{
    return size && start < r->end && (start >= r->start || size > r->start - start);
}

bool zone_covers(const struct efi_descriptor *d, paddr at)
{
    return zone_is_usable(d) && at >= d->start && (at - d->start) >> FRAME_SHIFT < d->pages;
}

void zone_audit_range(const struct zone_range *r, const struct boot_info *info)
{
    const struct efi_descriptor *d;
    u64 i, left;
    paddr at;

    for (i = 0; (d = boot_descriptor(info, i)); i++)
        if (!zone_is_usable(d) && d->pages < 1UL << 52)
            assert(!zone_overlaps(r, d->start, d->pages << FRAME_SHIFT));
    for (i = 0; i < info->reserved_count; i++)
        assert(!zone_overlaps(r, info->reserved[i].start, info->reserved[i].size));
    for (at = r->start; at < r->end; at += left << FRAME_SHIFT) {
        for (i = 0; (d = boot_descriptor(info, i)) && !zone_covers(d, at); i++)
            ;
        assert(d);
        left = d->pages - ((at - d->start) >> FRAME_SHIFT);
        if (left > (r->end - at) >> FRAME_SHIFT)
            break;
    }
}

// Then the ranges among themselves, and the sums.

void zone_audit(const struct zone_state *z, const struct boot_info *info)
{
    paddr last = ZONE_LOW_MEMORY;
    u64 sum[ZONE_COUNT] = {0};
    const struct zone_range *r;

    for (r = z->range; r < z->range + z->count; r++) {
        assert(r->start % FRAME_SIZE == 0 && r->end % FRAME_SIZE == 0);
        assert(r->start >= last && r->start < r->end);
        assert(r == z->range || r->start > last || r->zone != r[-1].zone);
        assert(r->zone == ZONE_KERNEL ? r->end <= z->boundary : r->start >= z->boundary);
        zone_audit_range(r, info);
        sum[r->zone] += (r->end - r->start) >> FRAME_SHIFT;
        last = r->end;
    }
    assert(sum[ZONE_KERNEL] == z->frames[ZONE_KERNEL]);
    assert(sum[ZONE_USER] == z->frames[ZONE_USER]);
    assert(z->usable == z->reserved + z->withheld + sum[ZONE_KERNEL] + sum[ZONE_USER]);
}

// And the ancestor's rule. Whoever keeps something of the kernel's in
// memory that was allocated passes it through `zone_check_metadata()`: an
// object that lies in the direct map must lie below the boundary. (The
// image's own variables and the stacks are mapped elsewhere and are
// reserved.)

void zone_check_metadata(const void *object, u64 size)
{
    u64 start = (u64)object - (u64)boot.info->direct_map;

    if (start < DIRECT_MAP_SIZE && start + size > zones.boundary)
        panic("kernel metadata at physical 0x%lx lies in the USER zone, which begins at 0x%lx",
              start, zones.boundary);
}

// ## All audits {#zone-audits}
//
// Every chapter that keeps books has an audit of its own. Called when the
// work is done, as we do here, an audit finds that something went wrong.
// What one would like to know is when. So the option `audit` has all of
// them walked again and again, at moments when everything should be in
// order; the bug is then between the last such moment and this one. It
// makes the kernel slow, and without it costs a comparison. Chapters enter
// their audits in a list, and those that know such moments call
// `audit_now()`.

struct audit {
    const char *name;
    void (*walk)(void);          /* panics if something is wrong */
    struct audit *next;
};

struct audit_state {
    bool on;
    u64 count;                   /* how often they have all been walked */
    struct audit *first;
};

struct audit_state audits;

// The structure stays where it is. Those that were entered first are walked
// first: what later chapters rely on has then been checked.

void audit_add(struct audit *a)
{
    struct audit **place = &audits.first;

    while (*place)
        place = &(*place)->next;
    a->next = NULL;
    *place = a;
}

// Walks them all, whatever the option says.

void audit_all(void)
{
    const struct audit *a;

    for (a = audits.first; a; a = a->next)
        a->walk();
    audits.count++;
}

// Called when everything should be in order.

void audit_now(void)
{
    if (unlikely(audits.on))
        audit_all();
}

// Says what was done about it, if it was asked for.

void audit_report(void)
{
    const struct audit *a;

    if (!audits.on)
        return;
    printf("audit: walked %lu times:", audits.count);
    for (a = audits.first; a; a = a->next)
        printf(" %s", a->name);
    printf("\n");
}

void zone_walk(void)
{
    zone_audit(&zones, boot.info);
}

struct audit zone_audits = {"zones", zone_walk, NULL};

// ## Setting up {#zone-init}
//
// The option `mem=SIZE` hides the memory above an address, to see how the
// kernel behaves on a smaller machine. `map` prints the firmware's map and
// our reservations in full, one entry a line, for those who want to check
// our sums.

#define ZONE_MINIMUM (4 * MIB >> FRAME_SHIFT)

void zone_print_map(const struct boot_info *info)
{
    const struct efi_descriptor *d;
    u64 i;

    for (i = 0; (d = boot_descriptor(info, i)); i++)
        printf("map: start 0x%lx pages %lu type %u attributes 0x%lx\n", d->start, d->pages,
               d->type, d->attributes);
    for (i = 0; i < info->reserved_count; i++)
        printf("map: reserved 0x%lx pages %lu %s\n", info->reserved[i].start,
               info->reserved[i].size >> FRAME_SHIFT, info->reserved[i].name);
    printf("map: usable %lu reserved %lu withheld %lu kernel %lu user %lu\n", zones.usable,
           zones.reserved, zones.withheld, zones.frames[ZONE_KERNEL], zones.frames[ZONE_USER]);
}

// Here the zones are made. A machine that is too small is told so in a
// sentence: it is not our mistake, so it is no panic.

void zone_init(void)
{
    const char *mem = boot_option("mem");
    u64 limit = mem ? boot_parse_size(mem) : DIRECT_MAP_SIZE;

    if (!limit) {
        printf("zones: mem=%s is not a size like 64M, ignored\n", mem);
        limit = DIRECT_MAP_SIZE;
    }
    zone_build(&zones, boot.info, limit);
    zone_audit(&zones, boot.info);
    if (boot_option("map"))
        zone_print_map(boot.info);
    if (zones.frames[ZONE_KERNEL] < ZONE_MINIMUM || zones.frames[ZONE_USER] < ZONE_MINIMUM)
        boot_refuse("of %s of memory only %s are for the kernel and %s for programs; "
                    "each needs %s", boot_size(zones.usable << FRAME_SHIFT).s,
                    boot_size(zones.frames[ZONE_KERNEL] << FRAME_SHIFT).s,
                    boot_size(zones.frames[ZONE_USER] << FRAME_SHIFT).s,
                    boot_size(ZONE_MINIMUM << FRAME_SHIFT).s);
}

void ch02_init(void)
{
    ch01_init();
    zone_init();
    audits = (struct audit_state){.on = boot_option("audit") != NULL};
    audit_add(&zone_audits);
    printf("zones: %s for the kernel, %s for programs\n",
           boot_size(zones.frames[ZONE_KERNEL] << FRAME_SHIFT).s,
           boot_size(zones.frames[ZONE_USER] << FRAME_SHIFT).s);
}

// ## What there is {#zone-show}
//
// The chapter shows the map condensed, a line for each type of memory that
// occurs, and then what became of it.

const char *const zone_type_names[] = {
    "reserved by the firmware", "loader code", "loader data", "boot services code",
    "boot services data", "runtime services code", "runtime services data", "free",
    "broken", "ACPI tables", "ACPI storage", "device registers", "device ports",
    "processor firmware", "persistent"};

void zone_show_types(const struct boot_info *info)
{
    const struct efi_descriptor *d;
    u64 type, i, pieces, pages, usable;

    for (type = 0; type < array_count(zone_type_names); type++) {
        pieces = pages = usable = 0;
        for (i = 0; (d = boot_descriptor(info, i)); i++)
            if (d->type == type)
                pieces++, pages += d->pages, usable += zone_is_usable(d);
        if (pieces)
            printf("  %-24s %4lu pieces %10s%s\n", zone_type_names[type], pieces,
                   boot_size(pages << FRAME_SHIFT).s,
                   !usable ? "" : usable == pieces ? "  usable" : "  partly usable");
    }
}

// And our side of the matter: what we stand on, where the boundary is, the
// ranges, and the sum that must come out.

void ch02_main(void)
{
    u32 i;

    ch02_init();
    boot_check_options();
    printf("zones: the firmware's map\n");
    zone_show_types(boot.info);
    printf("zones: we stand on\n");
    for (i = 0; i < boot.info->reserved_count; i++)
        printf("  %-24s %22s\n", boot.info->reserved[i].name,
               boot_size(boot.info->reserved[i].size).s);
    printf("zones: the boundary is at %s\n", boot_size(zones.boundary).s);
    for (i = 0; i < zones.count; i++)
        printf("  %-6s 0x%010lx to 0x%010lx %10s\n", zone_names[zones.range[i].zone],
               zones.range[i].start, zones.range[i].end,
               boot_size(zones.range[i].end - zones.range[i].start).s);
    printf("zones: %lu usable frames = %lu reserved + %lu kernel + %lu user + %lu withheld\n",
           zones.usable, zones.reserved, zones.frames[ZONE_KERNEL],
           zones.frames[ZONE_USER], zones.withheld);
}

// ## Try it {#zone-try}
//
// `make run CH=2`:
//
// ::: {.transcript file="tests/golden/ch02.txt"}
// :::
//
// The firmware here is OVMF, and it keeps tables in the middle of memory,
// in both zones. With `OPT=map` you see the list as it came; with
// `OPT=mem=19M`, a machine too small, and a sentence that says so. (Why is
// `mem=20M` just large enough?)
//
// Who fills the table, and from what? A watchpoint tells, and a breakpoint
// with a condition finds the one range in a dozen that we want to see.
//
// ::: {.transcript file="book/gdb/ch02.txt"}
// :::
//
// ### Exercises {#zone-exercises}
//
// ::: {#ex-zone-hole .exercise level=1}
// Give the machine 5 GiB (`MEM=5G OPT=map`). Where did the memory go that
// would be between 2 and 4 GiB? The map shows one thing in its place. Find
// the others: start it with `QFLAGS=-S`, which stops it before its first
// instruction, and ask QEMU's monitor (Ctrl-A C) for `info mtree -f`. *You
// are done when you can name three devices that live there.*
// :::
//
// ::: {#ex-zone-cost .exercise level=2}
// `zone_sweep()` asks about every edge, twice. Make the cost grow with n
// log n by sorting, and count the lines. *The host tests of this chapter
// must still pass, the one with the overlapping map among them.*
// :::
//
// ::: {#ex-zone-overflow .exercise level=2}
// Two ranges from `a` up to `b` and from `c` up to `d` overlap if `a < d &&
// c < b`. Why is `zone_overlaps()` not written like that? *You are done
// when you have a range and a descriptor for which the naive version gives
// a wrong answer; `test_overlaps` in `tests/host/zones.c` has others.*
// :::
//
// ### Further reading {#zone-reading}
//
// Mel Gorman, *Understanding the Linux Virtual Memory Manager* (2004),
// chapters 2 and 5, on zones of another kind and on memory before there is
// an allocator; in Linux `mm/memblock.c` keeps such a list. What firmware
// tells of memory is in the UEFI specification, under `GetMemoryMap()`.
//
// ## What we have {#zone-have}
//
// A list of ranges that are ours, and a line between what the kernel may
// use for itself and what programs may see. Nothing yet keeps track of who
// has which piece: that is the next chapter's business.

// # Chapter 3. Counting frames {#ch-pmm}
//===========================================================================
//
// A range of addresses is not yet something one can ask for memory. This
// chapter builds what one can: a *physical memory manager* which hands out
// frames of 4 KiB, takes them back, and knows at any time who has what.
//
// Rustica's ancestor had a famous bug here. Its allocator handed out
// exactly one frame and then declared the memory full, with 126 MiB free.
// Its authors, unable to find out why, made a decision that was better than
// their debugging: they put the clever allocator aside, wrote the most
// stupid one that could work, and planned to bring the clever one back when
// there was something to compare it with. We follow that plan to its end.
// Three allocators in order of cleverness stand behind one interface, and
// the last two run in lock step until nobody doubts that they are equal.
//
// (The bug itself: the bitmap was an array of 64-bit words; to set a bit
// atomically, the code turned a word into a pointer. It turned the word's
// *value* into one, not its address. All words being 0, the bits were set
// in the word at address 0: the first time with success. In C the compiler
// would have been just as silent, once the cast is written. [A hunt for
// it](#ex-pmm-hunt) is among the exercises. Or let it be planted: `make
// hunt BUG=one-page` boots a kernel that has it, `make gdb HUNT=one-page`
// debugs that, and `make hunt` lists the other bugs of this book.)
//
// ## Theory of operation {#pmm-theory}
//
// 1. **Bump.** At first there is no memory in which to keep books. The
//    first allocator keeps none: it has a pointer which moves up. It cannot
//    take anything back. We need it for two allocations, the books of the
//    others.
// 2. **Array.** A table with an entry for each frame: state, zone, owner,
//    number of references. To allocate, look at one entry after the other
//    until one is free. Nobody can get that wrong, and it is slow: on a
//    machine with 4 GiB a full search looks at a million entries.
// 3. **Bitmap.** Beside the table, one bit for each frame, set if it is
//    free. One comparison dismisses 64 occupied frames, and one instruction
//    finds the lowest set bit. A *hint* for each zone remembers below which
//    frame nothing is free.
//
// ::: {#fig-search .figure file="book/figures/search.svg"}
// The two searches. Both end at the free frame with the lowest address;
// they differ in how many times they look.
// :::
//
// Both searches find the free run with the lowest address. That is a
// choice: it makes their answers comparable, not merely equally good.
//
// The table stays authoritative in all cases. Each frame is in one of four
// states, and the arrows are the only ways between them:
//
//     absent                     alloc
//     (not ours)         free  ---------->  used  --.
//                              <----------    ^     | get, put:
//     reserved                  free, or      '-----' count references
//     (we stand on it)          last put
//
// The invariants: *the counters by state sum to the number of frames; a
// frame has references if and only if it is used; the bitmap has a bit set
// if and only if the frame is free; a zone's frames are free or used by
// those who asked for that zone.*
//
// **Shortcomings.** Searching for a run of frames is not bounded in time,
// and memory fragments. A buddy system would bound the one and reduce the
// other; we only ask for long runs when the kernel's heap grows, which is
// rare.
//
// ## State {#pmm-state}
//
// Everything hangs on one structure, and every function takes it as an
// argument. The kernel has one, called `pmm`. A test can have another, with
// 64 frames, and exhaust it.

enum frame_state {
    FRAME_ABSENT,
    FRAME_RESERVED,
    FRAME_FREE,
    FRAME_USED,
    FRAME_STATES,
};

struct frame {
    u8 state;            /* enum frame_state */
    u8 zone;             /* enum zone */
    char owner;          /* a letter each chapter chooses for itself */
    bool poisoned;       /* free, and filled with the pattern below */
    u32 references;
};

struct pmm {
    paddr base;          /* the address of frame 0 of this instance */
    u64 count;           /* how many frames it describes */
    u64 boundary;        /* the USER zone begins with this frame */
    struct frame *frame; /* NULL as long as we bump */
    u64 *free_bits;      /* bit set: frame is free */
    u64 hint[ZONE_COUNT];           /* no frame of the zone below this is free */
    u64 states[FRAME_STATES];       /* frames in each state */
    u64 free[ZONE_COUNT];           /* free frames in each zone */
    const struct pmm_method *method;
    bool lockstep;       /* search with both methods and compare */
    bool poison_all;     /* poison every word, not one in 64 */
    paddr bump;          /* for the bump allocator: the next address */
    u64 fail_in;         /* for tests: the n-th allocation from now fails */
};

struct pmm pmm;

// A method is a way of finding a run of free frames: `count` of them, the
// first a multiple of `align`. It returns the number of the first, or
// `PMM_NONE`.

#define PMM_NONE (~0UL)

struct pmm_method {
    const char *name;
    u64 (*find)(struct pmm *p, enum zone zone, u64 count, u64 align);
};

u64 pmm_first(const struct pmm *p, enum zone zone)
{
    return zone == ZONE_USER ? p->boundary : 0;
}

u64 pmm_last(const struct pmm *p, enum zone zone)
{
    return zone == ZONE_USER ? p->count : p->boundary;
}

// ## The first: bump {#pmm-bump}
//
// It walks through the ranges of [Chapter 2](#zone-ranges) with a pointer
// that never goes back.

u64 pmm_find_bump(struct pmm *p, enum zone zone, u64 count, u64 align)
{
    const struct zone_range *r;
    paddr start;

    for (r = zones.range; r < zones.range + zones.count; r++) {
        start = align_up(r->start > p->bump ? r->start : p->bump, align << FRAME_SHIFT);
        if (r->zone == zone && start < r->end && count <= (r->end - start) >> FRAME_SHIFT) {
            p->bump = start + (count << FRAME_SHIFT);
            return start >> FRAME_SHIFT;
        }
    }
    return PMM_NONE;
}

// ## The second: array {#pmm-array}
//
// Counts how many free entries it has seen in a row. Where the run began
// must have the alignment that was asked for; a free frame that does not is
// not a beginning.

u64 pmm_find_array(struct pmm *p, enum zone zone, u64 count, u64 align)
{
    u64 last = pmm_last(p, zone), run = 0, i;

    for (i = pmm_first(p, zone); i < last; i++) {
        if (p->frame[i].state != FRAME_FREE || (!run && i % align))
            run = 0;
        else if (++run == count)
            return i + 1 - count;
    }
    return PMM_NONE;
}

// ## The third: bitmap {#pmm-bitmap}
//
// One helper does the work, here and wherever else things are numbered:
// *the first bit from `i` on, below `last`, that is `value`*, or `last`.
// Bits of the first word that are below `i` are shifted out; after that,
// words that contain nothing are skipped in one step each.

u64 bits_next(const u64 *bits, u64 i, u64 last, bool value)
{
    u64 flip = value ? 0 : ~0UL, word;

    while (i < last) {
        word = (bits[i / 64] ^ flip) >> i % 64;
        if (word) {
            i += cpu_bsf(word);
            return i < last ? i : last;
        }
        i = align_down(i, 64) + 64;
    }
    return last;
}

// And this takes a number, or gives it back:

void bits_set(u64 *bits, u64 i, bool value)
{
    bits[i / 64] = (bits[i / 64] & ~(1UL << i % 64)) | (u64)value << i % 64;
}

// Find a free frame, align it, see how far it is free from there; if that
// is not far enough, go on behind the obstacle. The hint makes the usual
// case, a single frame, cheap however full the zone: what is used below the
// hint costs nothing, and what is used above it one step for 64 frames.

u64 pmm_find_bitmap(struct pmm *p, enum zone zone, u64 count, u64 align)
{
    u64 last = pmm_last(p, zone);
    u64 i = bits_next(p->free_bits, p->hint[zone], last, true), end;

    p->hint[zone] = i;
    if (count == 1 && align == 1)
        return i < last ? i : PMM_NONE;
    while (i + count <= last) {
        end = bits_next(p->free_bits, i, i + count, false);
        if (end == i + count && i % align == 0)
            return i;
        i = i % align ? align_up(i, align) : end;
        i = bits_next(p->free_bits, i, last, true);
    }
    return PMM_NONE;
}

const struct pmm_method pmm_methods[] = {
    {"bump", pmm_find_bump}, {"array", pmm_find_array}, {"bitmap", pmm_find_bitmap}};

// ## Poison {#pmm-poison}
//
// A program error that is not detected when it happens should at least be
// detected soon. When a frame is freed we fill it with a pattern, and when
// it is handed out again the pattern must still be there: otherwise
// somebody has written to memory that was no longer its own.
//
// Filling a frame costs as much as clearing it, and freeing is meant to be
// cheap. So we usually write one word in 64, which catches what overwrites
// half a kilobyte or has bad luck. With the option `poison=all` it is every
// word.

#define PMM_POISON 0xf4eef4eef4eef4eeUL

u64 *pmm_memory(const struct pmm *p, u64 index)
{
    return boot_physical(p->base + (index << FRAME_SHIFT));
}

void pmm_poison(struct pmm *p, u64 index)
{
    u64 *word = pmm_memory(p, index), *end = word + FRAME_SIZE / sizeof *word;
    u64 step = p->poison_all ? 1 : 64;

    for (; word < end; word += step)
        *word = PMM_POISON;
    p->frame[index].poisoned = true;
}

void pmm_check_poison(const struct pmm *p, u64 index)
{
    const u64 *word = pmm_memory(p, index), *end = word + FRAME_SIZE / sizeof *word;
    u64 step = p->poison_all ? 1 : 64;

    for (; word < end; word += step)
        if (unlikely(*word != PMM_POISON))
            panic("free frame 0x%lx was written to at offset 0x%lx: found 0x%lx, freed by '%c'",
                  p->base + (index << FRAME_SHIFT), (u64)word % FRAME_SIZE, *word,
                  p->frame[index].owner);
}

// ## Keeping the books {#pmm-books}
//
// All changes of a frame's state go through one function, which keeps
// counters, bitmap and hint in step with the table.

void pmm_set_state(struct pmm *p, u64 index, enum frame_state state)
{
    struct frame *f = &p->frame[index];
    u64 bit = 1UL << index % 64;

    p->states[f->state]--;
    p->states[state]++;
    if (f->state == FRAME_FREE) {
        p->free[f->zone]--;
        p->free_bits[index / 64] &= ~bit;
    }
    if (state == FRAME_FREE) {
        p->free[f->zone]++;
        p->free_bits[index / 64] |= bit;
        if (index < p->hint[f->zone])
            p->hint[f->zone] = index;
    }
    f->state = (u8)state;
}

// Starts an instance over `count` frames from `base` on, all absent. The
// table and the bitmap are the caller's memory. Frames from number
// `boundary` on are in the USER zone.

void pmm_start(struct pmm *p, struct frame *frame, u64 *free_bits, paddr base, u64 count,
               u64 boundary)
{
    u64 i;

    *p = (struct pmm){.base = base, .count = count, .boundary = boundary, .frame = frame,
                      .free_bits = free_bits, .method = &pmm_methods[2]};
    memset(frame, 0, count * sizeof *frame);
    memset(free_bits, 0, align_up(count, 64) / 8);
    p->states[FRAME_ABSENT] = count;
    p->hint[ZONE_USER] = boundary;
    for (i = boundary; i < count; i++)
        frame[i].zone = ZONE_USER;
}

// Memory that joins: a run of absent frames becomes free. At the start this
// is nearly all there is, hence a loop of its own. The hints go back to the
// beginning of their zones, where the next search starts.

void pmm_add_run(struct pmm *p, u64 first, u64 count)
{
    struct frame *f;
    u64 i;

    for (i = first; i < first + count; i++) {
        f = &p->frame[i];
        assert(f->state == FRAME_ABSENT);
        f->state = FRAME_FREE;
        p->free[f->zone]++;
        p->free_bits[i / 64] |= 1UL << i % 64;
    }
    p->states[FRAME_ABSENT] -= count;
    p->states[FRAME_FREE] += count;
    p->hint[ZONE_KERNEL] = 0;
    p->hint[ZONE_USER] = p->boundary;
}

// ## Allocating {#pmm-alloc}
//
// The method is asked; in lock step the other one too, and both must say
// the same.

u64 pmm_find(struct pmm *p, enum zone zone, u64 count, u64 align)
{
    u64 found = p->method->find(p, zone, count, align), other;

    if (unlikely(p->lockstep)) {
        other = pmm_methods[p->method == &pmm_methods[1] ? 2 : 1].find(p, zone, count, align);
        if (found != other)
            panic("%s finds frame %lu, the other method %lu (zone %s, count %lu, align %lu)",
                  p->method->name, found, other, zone_names[zone], count, align);
    }
    return found;
}

// A frame that changes hands: its poison is looked at, and it gets an owner
// and its first reference. As long as we bump there are no books in which
// to enter that.

void pmm_take(struct pmm *p, u64 index, char owner)
{
    struct frame *f = &p->frame[index];

    assert(f->state == FRAME_FREE);
    if (f->poisoned)
        pmm_check_poison(p, index);
    pmm_set_state(p, index, FRAME_USED);
    f->poisoned = false;
    f->owner = owner;
    f->references = 1;
}

// Takes `count` frames in a row, the first at a multiple of `align` frames
// (a power of two), from a zone, each with one reference. Returns the
// physical address of the first, or 0 if there is no such run. The contents
// are undefined; the owner's letter is for people who look at the table.
// (The counters are asked first, so that a request which cannot succeed
// costs no search.)

paddr pmm_alloc_run(struct pmm *p, enum zone zone, char owner, u64 count, u64 align)
{
    u64 first, i;

    assert(count && align && (align & (align - 1)) == 0);
    if (unlikely(p->fail_in) && --p->fail_in == 0)
        return 0;
    if (p->frame && count > p->free[zone])
        return 0;
    first = pmm_find(p, zone, count, align);
    if (first == PMM_NONE)
        return 0;
    for (i = first; p->frame && i < first + count; i++)
        pmm_take(p, i, owner);
    return p->base + (first << FRAME_SHIFT);
}

// ::: {#walk-run .walk}
//     from pmm_alloc_run if count == 2 && align == 2 && p->free[zone] == 12
//     into pmm_find pmm_find_bitmap bits_next pmm_take pmm_set_state
//     show p->hint[zone], p->free[zone]
//     draw bits p->free_bits[0]
//
// Two frames in a row, the first with an even number, are looked for in a
// bitmap of 64. What was found is cleared.
// :::
//
// Nearly always one frame is wanted, and often one that is full of zeros.
// Give it back by `pmm_free()` or `pmm_put()`.

paddr pmm_alloc(struct pmm *p, enum zone zone, char owner)
{
    return pmm_alloc_run(p, zone, owner, 1, 1);
}

// The same, filled with zeros.

paddr pmm_alloc_zeroed(struct pmm *p, enum zone zone, char owner)
{
    paddr frame = pmm_alloc(p, zone, owner);

    if (frame)
        memset(boot_physical(frame), 0, FRAME_SIZE);
    return frame;
}

// ## Freeing {#pmm-free}
//
// An address that is handed to us must be that of a frame in use. If it is
// not, the caller's books differ from ours, one of the two is wrong, and we
// stop with the facts: there is nothing to be gained by going on.

const char *const frame_state_names[FRAME_STATES] = {"absent", "reserved", "free", "used"};

u64 pmm_index(const struct pmm *p, paddr address)
{
    u64 index = (address - p->base) >> FRAME_SHIFT;

    if (unlikely(address % FRAME_SIZE || address < p->base || index >= p->count))
        panic("0x%lx is not the address of a frame", address);
    if (unlikely(p->frame[index].state != FRAME_USED))
        panic("frame 0x%lx is %s, not used (last owner '%c')", address,
              frame_state_names[p->frame[index].state],
              p->frame[index].owner ? p->frame[index].owner : '-');
    return index;
}

void pmm_free_index(struct pmm *p, u64 index)
{
    p->frame[index].references = 0;
    pmm_set_state(p, index, FRAME_FREE);
    pmm_poison(p, index);
}

// Gives back frames that nobody else refers to. The caller says which zone
// it believes them to be in.

void pmm_free_run(struct pmm *p, enum zone zone, paddr address, u64 count)
{
    u64 i, index;

    for (i = 0; i < count; i++) {
        index = pmm_index(p, address + (i << FRAME_SHIFT));
        if (p->frame[index].zone != zone)
            panic("frame 0x%lx of '%c' is in the %s zone, freed as %s",
                  address + (i << FRAME_SHIFT), p->frame[index].owner,
                  zone_names[p->frame[index].zone], zone_names[zone]);
        if (p->frame[index].references != 1)
            panic("frame 0x%lx of '%c' freed with %u references",
                  address + (i << FRAME_SHIFT), p->frame[index].owner,
                  p->frame[index].references);
        pmm_free_index(p, index);
    }
}

// A single frame:

void pmm_free(struct pmm *p, enum zone zone, paddr address)
{
    pmm_free_run(p, zone, address, 1);
}

// A frame can have several users who do not know of each other. Each `get`
// has its `put`; with the last one the frame is free.

void pmm_get(struct pmm *p, paddr address)
{
    p->frame[pmm_index(p, address)].references++;
}

// Gives up a reference; the last one frees the frame, whatever its zone.

void pmm_put(struct pmm *p, paddr address)
{
    u64 index = pmm_index(p, address);

    if (--p->frame[index].references == 0)
        pmm_free_index(p, index);
}

// How many references a used frame has.

u32 pmm_references(const struct pmm *p, paddr address)
{
    return p->frame[pmm_index(p, address)].references;
}

// ## The audit {#pmm-audit}
//
// Recounts everything and compares it with what is claimed. Slow, complete,
// and called after everything that could have gone wrong.

void pmm_audit(const struct pmm *p)
{
    u64 states[FRAME_STATES] = {0}, free[ZONE_COUNT] = {0}, i;
    const struct frame *f;

    for (i = 0; i < p->count; i++) {
        f = &p->frame[i];
        assert(f->zone == (i >= p->boundary ? ZONE_USER : ZONE_KERNEL));
        assert((f->references > 0) == (f->state == FRAME_USED));
        assert((p->free_bits[i / 64] >> i % 64 & 1) == (f->state == FRAME_FREE));
        assert(f->state == FRAME_FREE || !f->poisoned);
        states[f->state]++;
        if (f->state != FRAME_FREE)
            continue;
        assert(i >= p->hint[f->zone]);
        free[f->zone]++;
        if (f->poisoned)
            pmm_check_poison(p, i);
    }
    assert(memcmp(states, p->states, sizeof states) == 0);
    assert(memcmp(free, p->free, sizeof free) == 0);
    assert(states[0] + states[1] + states[2] + states[3] == p->count);
}

void pmm_walk(void)
{
    pmm_audit(&pmm);
}

struct audit pmm_audits = {"frames", pmm_walk, NULL};

// ## Setting up {#pmm-init}
//
// The bootstrap. The bump allocator gives room for the table and the
// bitmap; then the ranges become free frames, our reservations reserved
// ones, and the books enter themselves as used.

void pmm_fill(struct pmm *p, const struct zone_state *z, const struct boot_info *info)
{
    const struct zone_range *r;
    u64 first, last;
    u32 i;

    for (r = z->range; r < z->range + z->count; r++)
        pmm_add_run(p, r->start >> FRAME_SHIFT, (r->end - r->start) >> FRAME_SHIFT);
    for (i = 0; i < info->reserved_count; i++) {
        first = info->reserved[i].start >> FRAME_SHIFT;
        last = first + (info->reserved[i].size >> FRAME_SHIFT);
        for (; first < last && first < p->count; first++)
            pmm_set_state(p, first, FRAME_RESERVED);
    }
}

void pmm_build(struct pmm *p, const struct zone_state *z, const struct boot_info *info)
{
    u64 count = z->top >> FRAME_SHIFT, i;
    u64 table_frames = align_up(count * sizeof(struct frame), FRAME_SIZE) >> FRAME_SHIFT;
    u64 bits_frames = align_up(align_up(count, 64) / 8, FRAME_SIZE) >> FRAME_SHIFT;
    struct pmm bump = {.method = &pmm_methods[0]};
    paddr table = pmm_alloc_run(&bump, ZONE_KERNEL, 'P', table_frames, 1);
    paddr bits = pmm_alloc_run(&bump, ZONE_KERNEL, 'P', bits_frames, 1);

    if (!table || !bits)
        boot_refuse("the table of %lu frames does not fit into the kernel's zone", count);
    zone_check_metadata(boot_physical(table), table_frames << FRAME_SHIFT);
    zone_check_metadata(boot_physical(bits), bits_frames << FRAME_SHIFT);
    pmm_start(p, boot_physical(table), boot_physical(bits), 0, count,
              z->boundary >> FRAME_SHIFT);
    pmm_fill(p, z, info);
    for (i = 0; i < table_frames; i++)
        pmm_take(p, (table >> FRAME_SHIFT) + i, 'P');
    for (i = 0; i < bits_frames; i++)
        pmm_take(p, (bits >> FRAME_SHIFT) + i, 'P');
}

// Which of the two searches is used, the user may say: `pmm=array`,
// `pmm=bitmap`, or `pmm=lockstep` for both at once with every answer
// compared.

void pmm_choose(struct pmm *p)
{
    const char *method = boot_option("pmm"), *poison = boot_option("poison");

    if (method && string_equal(method, "array"))
        p->method = &pmm_methods[1];
    else if (method && string_equal(method, "lockstep"))
        p->lockstep = true;
    else if (method && !string_equal(method, "bitmap"))
        printf("pmm: pmm=%s is none of array, bitmap, lockstep; using bitmap\n", method);
    if (poison && string_equal(poison, "all"))
        p->poison_all = true;
    else if (poison)
        printf("pmm: poison=%s is not \"all\", ignored\n", poison);
}

// Two more mistakes to provoke: freeing twice, and writing to what is free.

void provoke_double_free(void)
{
    paddr frame = pmm_alloc(&pmm, ZONE_KERNEL, 'T');

    pmm_free(&pmm, ZONE_KERNEL, frame);
    pmm_free(&pmm, ZONE_KERNEL, frame);
}

void provoke_late_write(void)
{
    paddr frame = pmm_alloc(&pmm, ZONE_KERNEL, 'T');

    pmm_free(&pmm, ZONE_KERNEL, frame);
    *(u64 *)boot_physical(frame) = 1;
    pmm_alloc(&pmm, ZONE_KERNEL, 'T');
}

struct provocation pmm_provocations[] = {{"double-free", provoke_double_free, NULL},
                                         {"late-write", provoke_late_write, NULL}};

void ch03_init(void)
{
    ch02_init();
    pmm_build(&pmm, &zones, boot.info);
    pmm_choose(&pmm);
    boot_add_provocation(&pmm_provocations[0]);
    boot_add_provocation(&pmm_provocations[1]);
    audit_add(&pmm_audits);
    printf("pmm: %s over %lu frames, %lu free\n", pmm.method->name, pmm.count,
           pmm.states[FRAME_FREE]);
}

// ## Proving two equal {#pmm-prove}
//
// Sixty-four frames of our own are enough to meet every situation. All are
// free at first; we take them to the last one, and then let chance free and
// allocate, in lock step, with an audit after each step. That makes
// holes of all sizes. Chance is a linear congruential generator with
// Knuth's constants, so that a failure can be repeated.

u64 pmm_random(u64 *seed)
{
    *seed = *seed * 6364136223846793005UL + 1442695040888963407UL;
    return *seed >> 33;
}

struct pmm_trial {
    struct frame frame[64];
    u64 bits;
    struct pmm pmm;
    u64 allocated, freed, refused;
};

// One step: three in five times allocate a run of up to eight frames, else
// free a random frame if it is in use.

void pmm_trial_step(struct pmm_trial *t, u64 *seed)
{
    enum zone zone = pmm_random(seed) % ZONE_COUNT;
    u64 index = pmm_random(seed) % 64, count = 1 + pmm_random(seed) % 8;

    if (pmm_random(seed) % 5 < 3) {
        if (pmm_alloc_run(&t->pmm, zone, 'T', count, 1UL << pmm_random(seed) % 4))
            t->allocated += count;
        else
            t->refused++;
    } else if (t->frame[index].state == FRAME_USED) {
        pmm_free(&t->pmm, t->frame[index].zone, t->pmm.base + (index << FRAME_SHIFT));
        t->freed++;
    }
    pmm_audit(&t->pmm);
}

void pmm_show_trial(struct pmm_trial *t, u64 steps)
{
    paddr memory = pmm_alloc_run(&pmm, ZONE_KERNEL, 'T', 64, 1);
    u64 seed = 1, i;

    assert(memory);
    pmm_start(&t->pmm, t->frame, &t->bits, memory, 64, 32);
    pmm_add_run(&t->pmm, 0, 64);
    t->pmm.lockstep = t->pmm.poison_all = true;
    while (pmm_alloc(&t->pmm, ZONE_KERNEL, 'T') || pmm_alloc(&t->pmm, ZONE_USER, 'T'))
        pmm_audit(&t->pmm);
    for (i = 0; i < steps; i++)
        pmm_trial_step(t, &seed);
    pmm_free_run(&pmm, ZONE_KERNEL, memory, 64);
}

// The map of the trial's frames at its end, one character a frame, and a
// count of the real ones by state.

void ch03_main(void)
{
    static struct pmm_trial trial;
    u64 i;

    ch03_init();
    boot_check_options();
    for (i = 0; i < FRAME_STATES; i++)
        printf("pmm: %8lu frames %s\n", pmm.states[i], frame_state_names[i]);
    pmm_show_trial(&trial, 2000);
    printf("pmm: 2000 random steps in lock step: %lu frames allocated, %lu freed, "
           "%lu requests refused\n", trial.allocated, trial.freed, trial.refused);
    printf("pmm: what they left: ");
    for (i = 0; i < 64; i++)
        printf("%c", trial.frame[i].state == FRAME_USED ? trial.frame[i].owner : '.');
    printf("\n");
    pmm_audit(&pmm);
    printf("pmm: array and bitmap never disagreed; all counters sum up\n");
}

// ## Try it {#pmm-try}
//
// `make run CH=3`:
//
// ::: {.transcript file="tests/golden/ch03.txt"}
// :::
//
// Then with `OPT=pmm=array`: the same result from the slow search. And with
// `OPT=provoke=double-free`, for the message that will one day save you an
// evening.
//
// In the debugger we ask who wants frames, by a breakpoint that answers by
// itself, and look at the frames.
//
// ::: {.transcript file="book/gdb/ch03.txt"}
// :::
//
// ### Exercises {#pmm-exercises}
//
// ::: {#ex-pmm-hunt .exercise level=1}
// Repeat the ancestor's bug. Two functions set bits, `pmm_add_run()` and
// `pmm_set_state()`; in both, let `p->free_bits[n] |= bit` be `*(u64
// *)boot_physical(p->free_bits[n]) |= bit` instead. Which check notices it
// first, and which one with `OPT=pmm=lockstep`? Then mend `pmm_add_run()`
// alone: who notices it now, and why so late? *You are done when you can
// say where all the bits went, why our allocator returned no frame at all,
// and why the ancestor's returned exactly one. (It took a frame if its
// atomic OR found the bit clear.)*
// :::
//
// ::: {#ex-pmm-nextfit .exercise level=2}
// Let the search begin where the last one ended (*next fit*). Which
// invariant of the lock step is lost, and how would you compare the two
// methods then? *The trial must pass with the comparison you propose.*
// :::
//
// ::: {#ex-pmm-stack .exercise level=3}
// Write a fourth method, `pmm=stack`, that keeps single free frames on a
// linked list *inside the free frames themselves*. (`struct pmm_method`
// needs a second function: who tells you that a frame was freed?) What does
// it do better than the bitmap, and what becomes of the poison? *Measure:
// with `QFLAGS='-icount shift=0'` the instruction `rdtsc` counts
// instructions.*
// :::
//
// ::: {#ex-pmm-buddy .exercise level=3}
// Write a buddy system as another method, `pmm=buddy`. *In a trial that
// asks only for powers of two, aligned to themselves, it grants what the
// bitmap grants; show one other request for which it does not, and say
// why.*
// :::
//
// ### Further reading {#pmm-reading}
//
// Donald Knuth, *The Art of Computer Programming*, volume 1, section 2.5,
// which has bitmaps, lists and buddies. Kenneth Knowlton, "A Fast Storage
// Allocator", *Communications of the ACM* 8(10), 1965, where the buddies
// come from; Gorman's book, chapter 6, and `mm/page_alloc.c` show what
// Linux has made of them. *xv6* gets by with a list (`kalloc.c`): compare
// what each can tell you about a frame.
//
// ## What we have {#pmm-have}
//
// Frames by the thousand, each accounted for. But a frame is 4 KiB, and
// most of what a kernel keeps is smaller than a hundred bytes.

// # Chapter 4. The kernel's heap {#ch-heap}
//===========================================================================
//
// A kernel keeps books: on every process, every open file, every piece of
// an address space. Each entry is some dozens of bytes, and nobody knows in
// advance how many there will be. User programs have `malloc` for that.
// Ours has to be built on the frames of [Chapter 3](#ch-pmm).
//
// The ancestor's heap hung, sometimes, on appending to an array. It was
// made larger, and then it hung less often. The true story is a classic.
// Its free list was singly linked, and to allocate a block the code did
// this:
//
//     current.next = NULL;             /* "clean up" the block ... */
//     previous.next = current.next;    /* ... and unlink it */
//
// Two lines in the wrong order, and each allocation cuts off the rest of
// the list. Memory was lost with every call. Freed blocks were merged with
// their neighbours *in the list* instead of those *in memory*, which
// sometimes made a list that bites its own tail; a search through such a
// list never ends. We took the code's logic and ran it on random requests:
// all of 200 runs failed within 1,412 operations. Enlarging the heap makes
// this rarer and nothing better. (`make hunt BUG=heap-hang` hangs.)
//
// It could live for months because nothing in it could tell a healthy heap
// from a sick one. Half of this chapter is about telling.
//
// ## Theory of operation {#heap-theory}
//
// The heap takes frames from the KERNEL zone in **regions** of 64 KiB, or
// more if a request needs more. A region is cut without gaps into
// **blocks**.
//
// ::: {#fig-heap .figure file="book/figures/heap.svg"}
//     bits   0 0 1 0 0 0 0 1 0 0 ...          64 classes, smallest first
//     lists      |         '-------------------------.
//                '-------.                           |
//     region             v                           v           end
//     |hdr| block      | block | block             | block  | mark |
//           used         free    used                free
//
//     block
//     | size | size of block before | caller | asked, magic | payload ... |
//                                                           | data | red  |
//
// A region, and how a free block is found in it: a bit says that a class
// has blocks, its list says where.
// :::
//
// Each block knows its own size and that of the one before it (a *boundary
// tag*, Knuth's invention), so both neighbours in memory can be found at
// once. When a block is freed it is merged with free neighbours
// immediately.
//
// Free blocks are on lists by size class, four classes for each power
// of two. One bit per class says whether its list is empty: with 64 classes
// all the bits fit into one word, and the search for a list that can serve
// a request is a single instruction. The request is rounded up to a class
// whose every block is large enough, so the first block of the list will
// do. There is no loop in it: allocating and freeing take bounded time,
// unless a region has to be fetched or returned.
//
// The invariants, all of which `heap_audit()` walks: *blocks fill their
// region; each one's tag is its predecessor's size; no two free blocks
// touch; each free block is on the list of its class and on no other; a
// class's bit is set if and only if its list is not empty.*
//
// **Red zones and poison.** The eight bytes behind the last one asked for
// are a *red zone* (no relation of the [ABI's](#boot-traps)) and carry a
// pattern, and so does the header's magic word in front: writing past
// either end is found when the block is freed. The beginning of a free
// block is filled with poison, which is checked when it is handed out
// again. (Its first sixteen bytes are the list's pointers. Whoever writes
// to those after freeing ruins a list, and `heap_audit()` or a page fault
// tells.)
//
// **Shortcomings.** Rounding up to a class passes over a block that would
// have fit, if it is less than a quarter larger than the request. So of two
// blocks of almost half a region each, the second gets a region of its own,
// and one of almost a whole region never gets the spare one. 32 bytes of
// header for each block is a high price, paid for error messages.
//
// ## State {#heap-state}

#define BLOCK_USED 0x05edb10cu
#define BLOCK_FREE 0xf4eeb10cu
#define BLOCK_END 0xe0dfb10cu

struct block {
    u64 size;            /* bytes, header included, a multiple of 16 */
    u64 before;          /* size of the block before, 0 for the first */
    vaddr caller;        /* who allocated it, or freed it */
    u32 asked;           /* bytes the caller wanted */
    u32 magic;           /* one of the three above, next to the payload */
};

// A free block uses the room where its payload would be for the links of
// its list, so a block can never be smaller than that.

struct free_block {
    struct block block;
    struct free_block *next, *previous; /* in the class's list */
};

struct heap_region {
    struct heap_region *next, *previous;
    u64 size;            /* bytes, whole frames */
    u64 unused;
};

// The figures follow from one another: 64 classes for one word, four per
// power of two, so the smallest block has 2 to the power of 6 bytes and the
// last class begins near 2 to the power of 22.

#define HEAP_CLASSES 64
#define HEAP_ALIGN 16
#define HEAP_RED_ZONE 8
#define HEAP_SMALLEST_LOG 6
#define HEAP_SMALLEST (1UL << HEAP_SMALLEST_LOG)
#define HEAP_LARGEST (1UL << 31)
#define HEAP_REGION (64 * KIB)

struct heap {
    struct pmm *pmm;                        /* where regions come from */
    struct heap_region *regions;
    struct free_block *list[HEAP_CLASSES];
    u64 nonempty;                           /* bit n: list[n] has blocks */
    u64 blocks, bytes;                      /* in use, as asked for */
    u64 frames;                             /* held */
    u64 empty_regions;                      /* without a used block: 0 or 1 */
    u64 fail_in;         /* for tests: the n-th allocation from now fails */
};

struct heap heap;

// ## Classes {#heap-classes}
//
// The class of a size is made of the position of its highest bit and of the
// two bits below that. Blocks too large for the last class are in it all
// the same.

u64 heap_class(u64 size)
{
    u64 log = cpu_bsr(size);
    u64 class = (log - HEAP_SMALLEST_LOG) * 4 + (size >> (log - 2) & 3);

    return class < HEAP_CLASSES ? class : HEAP_CLASSES - 1;
}

// For a search we want the lowest class in which *every* block suffices.
// Adding almost a quarter of the power of two carries into the next class
// exactly if the size is not the lowest of its own.

u64 heap_class_above(u64 size)
{
    return heap_class(size + (1UL << (cpu_bsr(size) - 2)) - 1);
}

// In the last class that is not so, as it has no upper end. Requests of a
// megabyte and more, which is well below it, are therefore not searched for
// but get a new region each.

#define HEAP_BIG (1UL << 20)

// ## Neighbours {#heap-neighbours}

void *block_payload(struct block *b)
{
    return b + 1;
}

struct block *block_after(struct block *b)
{
    return (struct block *)((u8 *)b + b->size);
}

struct block *block_before(struct block *b)
{
    return (struct block *)((u8 *)b - b->before);
}

struct block *region_first(struct heap_region *r)
{
    return (struct block *)(r + 1);
}

// A block that fills its region has nothing before it, and only the
// end mark behind it.

bool block_is_region(struct block *b)
{
    return b->before == 0 && block_after(b)->magic == BLOCK_END;
}

// ## Red zones, poison and blame {#heap-checks}
//
// The red zone begins at whatever byte the data ends, so it must be read as
// a word without alignment; a packed structure tells the compiler so.

struct red_zone {
    u64 word;
} packed;

#define HEAP_RED 0xfdfdfdfdfdfdfdfdUL
#define HEAP_POISON 0xdeadbeefdeadbeefUL
#define HEAP_POISON_WORDS 14

struct red_zone *block_red_zone(struct block *b)
{
    return (struct red_zone *)((u8 *)block_payload(b) + b->asked);
}

u64 block_poison_words(const struct block *b)
{
    u64 words = (b->size - sizeof(struct free_block)) / sizeof(u64);

    return words < HEAP_POISON_WORDS ? words : HEAP_POISON_WORDS;
}

// At most fourteen words behind the links are filled, so that the cost is
// bounded, and small blocks are covered whole.

void block_poison(struct block *b)
{
    cpu_stosq((u64 *)((struct free_block *)b + 1), HEAP_POISON, block_poison_words(b));
}

void block_check_poison(struct block *b)
{
    u64 *word = (u64 *)((struct free_block *)b + 1), count = block_poison_words(b);
    u64 good = cpu_scasq(word, HEAP_POISON, count);

    if (unlikely(good < count))
        panic("free heap block at 0x%lx was written to: word %lu is 0x%lx (freed by %s)",
              (u64)block_payload(b), good, word[good], boot_where(b->caller).s);
}

void block_check_red_zone(struct block *b)
{
    if (unlikely(b->asked > b->size - sizeof *b - HEAP_RED_ZONE ||
                 block_red_zone(b)->word != HEAP_RED))
        panic("heap block at 0x%lx was written past its %u bytes (allocated by %s)",
              (u64)block_payload(b), b->asked, boot_where(b->caller).s);
}

// From a pointer to its block, for a caller who claims to own it. Before
// looking at the header we make sure that there is one to look at: the
// frame table knows which frames are the heap's.

bool heap_owns(struct heap *h, u64 address)
{
    u64 frame = (address - (u64)boot.info->direct_map - h->pmm->base) >> FRAME_SHIFT;

    return frame < h->pmm->count && h->pmm->frame[frame].state == FRAME_USED &&
           h->pmm->frame[frame].owner == 'H';
}

struct block *heap_block(struct heap *h, void *payload, vaddr caller)
{
    struct block *b;

    if (unlikely((u64)payload % HEAP_ALIGN || !heap_owns(h, (u64)payload - sizeof *b) ||
                 !heap_owns(h, (u64)payload)))
        panic("0x%lx, passed by %s, is not from the heap", (u64)payload,
              boot_where(caller).s);
    b = (struct block *)payload - 1;
    if (unlikely(b->magic == BLOCK_FREE))
        panic("heap block at 0x%lx freed twice, by %s and by %s", (u64)payload,
              boot_where(b->caller).s, boot_where(caller).s);
    if (unlikely(b->magic != BLOCK_USED))
        panic("0x%lx, passed by %s, is no heap block, or was overrun from below",
              (u64)payload, boot_where(caller).s);
    block_check_red_zone(b);
    return b;
}

// ## The lists {#heap-lists}
//
// Doubly linked, so that a block found through its neighbour can be taken
// out without a search.

void heap_insert(struct heap *h, struct block *b, vaddr caller)
{
    struct free_block *f = (struct free_block *)b;
    u64 class = heap_class(b->size);

    b->magic = BLOCK_FREE;
    b->caller = caller;
    block_poison(b);
    f->previous = NULL;
    f->next = h->list[class];
    if (f->next)
        f->next->previous = f;
    h->list[class] = f;
    h->nonempty |= 1UL << class;
}

void heap_remove(struct heap *h, struct block *b)
{
    struct free_block *f = (struct free_block *)b;
    u64 class = heap_class(b->size);

    block_check_poison(b);
    if (f->next)
        f->next->previous = f->previous;
    if (f->previous)
        f->previous->next = f->next;
    else
        h->list[class] = f->next;
    if (!h->list[class])
        h->nonempty &= ~(1UL << class);
}

// ## Regions {#heap-regions}
//
// A new region is one free block between a header and an end mark. The mark
// is a block header of its own kind, so that every block has one behind it.

struct block *heap_grow(struct heap *h, u64 need)
{
    u64 size = align_up(need + sizeof(struct heap_region) + sizeof(struct block), FRAME_SIZE);
    struct heap_region *r;
    struct block *b;
    paddr frames;

    if (size < HEAP_REGION)
        size = HEAP_REGION;
    frames = pmm_alloc_run(h->pmm, ZONE_KERNEL, 'H', size >> FRAME_SHIFT, 1);
    if (!frames)
        return NULL;
    r = boot_physical(frames);
    *r = (struct heap_region){.next = h->regions, .size = size};
    if (r->next)
        r->next->previous = r;
    h->regions = r;
    h->frames += size >> FRAME_SHIFT;
    h->empty_regions++;
    b = region_first(r);
    *b = (struct block){.size = size - sizeof *r - sizeof *b};
    *block_after(b) = (struct block){.before = b->size, .magic = BLOCK_END};
    return b;
}

// When the last block of a region is freed, its frames can go back. One
// empty region of the usual size is kept: whoever allocates and frees a
// single block would else fetch and return frames every time.

void heap_release(struct heap *h, struct heap_region *r)
{
    if (r->next)
        r->next->previous = r->previous;
    if (r->previous)
        r->previous->next = r->next;
    else
        h->regions = r->next;
    h->frames -= r->size >> FRAME_SHIFT;
    h->empty_regions--;
    pmm_free_run(h->pmm, ZONE_KERNEL, (paddr)((u8 *)r - boot.info->direct_map),
                 r->size >> FRAME_SHIFT);
}

// Returns the spare region too. After this, the heap holds no frame that
// it does not need.

void heap_trim(struct heap *h)
{
    struct heap_region *r, *next;

    for (r = h->regions; r; r = next) {
        next = r->next;
        if (region_first(r)->magic == BLOCK_FREE && block_is_region(region_first(r))) {
            heap_remove(h, region_first(r));
            heap_release(h, r);
        }
    }
}

// ## Allocating {#heap-alloc}
//
// What a block has beyond the need becomes a free block of its own, if
// there is enough for one. The low end is used and the high end stays free.
// (The block behind that is never free itself, or the two would have been
// merged before. `heap_realloc()` keeps to this as well.)

void heap_split(struct heap *h, struct block *b, u64 need, vaddr caller)
{
    struct block *rest;

    if (b->size - need < HEAP_SMALLEST)
        return;
    rest = (struct block *)((u8 *)b + need);
    rest->size = b->size - need;
    rest->before = need;
    block_after(rest)->before = rest->size;
    b->size = need;
    heap_insert(h, rest, caller);
}

void heap_mark_used(struct heap *h, struct block *b, u64 asked, vaddr caller)
{
    b->magic = BLOCK_USED;
    b->asked = (u32)asked;
    b->caller = caller;
    block_red_zone(b)->word = HEAP_RED;
    h->blocks++;
    h->bytes += asked;
}

u64 heap_need(u64 asked)
{
    u64 need = align_up(asked + sizeof(struct block) + HEAP_RED_ZONE, HEAP_ALIGN);

    return need < HEAP_SMALLEST ? HEAP_SMALLEST : need;
}

// The search, in three lines: mask off the classes that are too small, find
// the lowest set bit, take the first of that list.

struct block *heap_find(struct heap *h, u64 need)
{
    u64 classes;
    struct block *b;

    if (need < HEAP_BIG) {
        classes = h->nonempty & ~0UL << heap_class_above(need);
        if (classes) {
            b = &h->list[cpu_bsf(classes)]->block;
            heap_remove(h, b);
            return b;
        }
    }
    return heap_grow(h, need);
}

struct block *heap_take(struct heap *h, u64 need)
{
    struct block *b;

    if (unlikely(h->fail_in) && --h->fail_in == 0)
        return NULL;
    b = heap_find(h, need);
    if (b && block_is_region(b))
        h->empty_regions--;
    return b;
}

// Returns `size` bytes, aligned to 16, with undefined contents; NULL if
// there is no memory, or for more than 2 GiB. Size 0 is a legal request.
// Free with `heap_free()`.

void *heap_alloc_for(struct heap *h, u64 size, vaddr caller)
{
    struct block *b = size <= HEAP_LARGEST ? heap_take(h, heap_need(size)) : NULL;

    if (!b)
        return NULL;
    heap_split(h, b, heap_need(size), caller);
    heap_mark_used(h, b, size, caller);
    return block_payload(b);
}

#define heap_caller() ((vaddr)__builtin_return_address(0))

// The caller is found by the return address, so this function must be a
// real call: `no_inline` keeps the compiler from dissolving it.

void *no_inline heap_alloc(struct heap *h, u64 size)
{
    return heap_alloc_for(h, size, heap_caller());
}

// The same, filled with zeros.

void *no_inline heap_alloc_zeroed(struct heap *h, u64 size)
{
    void *p = heap_alloc_for(h, size, heap_caller());

    return p ? memset(p, 0, size) : NULL;
}

// ::: {#walk-alloc .walk}
//     from heap_alloc if heap.blocks == 3
//     into heap_alloc_for heap_take heap_find heap_remove
//     into heap_split heap_insert heap_mark_used
//     show heap.blocks, heap.bytes
//     draw heap
//
// The lowest class that has something suffices; what is left of its block
// is a smaller free block, and goes to another list.
// :::
//
// With an alignment we take a block with room to move in, and make the part
// before the payload's new place `at` a free block. That part must be large
// enough to be one. Returns the rest.

struct block *heap_cut_front(struct heap *h, struct block *front, u64 at, vaddr caller)
{
    struct block *b = (struct block *)at - 1;

    b->size = front->size - (u64)((u8 *)b - (u8 *)front);
    b->before = front->size - b->size;
    front->size = b->before;
    block_after(b)->before = b->size;
    heap_insert(h, front, caller);
    return b;
}

// Like `heap_alloc()`, at a multiple of `align`, which is a power of two
// and at most a frame.

void *no_inline heap_alloc_aligned(struct heap *h, u64 size, u64 align)
{
    u64 need = heap_need(size), at;
    struct block *b;

    assert(align && align <= FRAME_SIZE && (align & (align - 1)) == 0);
    if (align <= HEAP_ALIGN)
        return heap_alloc_for(h, size, heap_caller());
    b = size <= HEAP_LARGEST ? heap_take(h, need + align + HEAP_SMALLEST) : NULL;
    if (!b)
        return NULL;
    at = align_up((u64)block_payload(b), align);
    if (at != (u64)block_payload(b)) {
        if (at - (u64)block_payload(b) < HEAP_SMALLEST)
            at += align_up(HEAP_SMALLEST, align);
        b = heap_cut_front(h, b, at, heap_caller());
    }
    heap_split(h, b, need, heap_caller());
    heap_mark_used(h, b, size, heap_caller());
    return block_payload(b);
}

// ## Freeing {#heap-free}
//
// Merge with the block behind, merge with the block before. The result is a
// whole region, or goes on the list of its class.

struct block *heap_merge(struct heap *h, struct block *b)
{
    struct block *after = block_after(b), *before;

    if (after->magic == BLOCK_FREE) {
        heap_remove(h, after);
        b->size += after->size;
    }
    before = block_before(b);
    if (b->before && before->magic == BLOCK_FREE) {
        heap_remove(h, before);
        before->size += b->size;
        b = before;
    }
    block_after(b)->before = b->size;
    return b;
}

// Takes back what one of the functions above returned. NULL is ignored.

void no_inline heap_free(struct heap *h, void *payload)
{
    vaddr caller = heap_caller();
    struct block *b;

    if (!payload)
        return;
    b = heap_block(h, payload, caller);
    h->blocks--;
    h->bytes -= b->asked;
    b->magic = BLOCK_FREE;
    b->caller = caller;
    b = heap_merge(h, b);
    if (block_is_region(b) && (h->empty_regions++ || b->size > HEAP_REGION)) {
        heap_release(h, (struct heap_region *)b - 1);
        return;
    }
    heap_insert(h, b, caller);
}

// ::: {#walk-free .walk}
//     after heap_audit
//     from heap_free if heap.blocks == 8
//     into heap_merge heap_remove heap_insert
//     show heap.blocks, heap.bytes
//     draw heap heap_free::payload
//
// A block that is freed swallows its free neighbours, behind it and before.
// :::
//
// A block whose size changes keeps its place if it can: with a free
// neighbour behind it, it grows into that.

bool heap_resize_in_place(struct heap *h, struct block *b, u64 size, vaddr caller)
{
    struct block *after = block_after(b);
    u64 room = b->size + (after->magic == BLOCK_FREE ? after->size : 0);

    if (heap_need(size) > room)
        return false;
    if (after->magic == BLOCK_FREE) {
        heap_remove(h, after);
        b->size = room;
        block_after(b)->before = room;
    }
    h->blocks--;
    h->bytes -= b->asked;
    heap_split(h, b, heap_need(size), caller);
    heap_mark_used(h, b, size, caller);
    return true;
}

// Changes the size of a block and returns its new place, with the contents
// kept up to the smaller size; or NULL, and then the old block is
// untouched. With NULL for the old block it allocates. If the block has
// moved, pointers into it are stale.

void *no_inline heap_realloc(struct heap *h, void *payload, u64 size)
{
    vaddr caller = heap_caller();
    struct block *b;
    void *moved;

    if (!payload)
        return heap_alloc_for(h, size, caller);
    if (size > HEAP_LARGEST)
        return NULL;
    b = heap_block(h, payload, caller);
    if (heap_resize_in_place(h, b, size, caller))
        return payload;
    moved = heap_alloc_for(h, size, caller);
    if (!moved)
        return NULL;
    memcpy(moved, payload, b->asked);
    heap_free(h, payload);
    return moved;
}

// ## The audit {#heap-audit}
//
// First the view from memory: every region from block to block. Then the
// view from the lists. Both must have seen the same free blocks.

struct heap_count {
    u64 used, bytes, free, empty, frames;
};

void heap_audit_region(struct heap_region *r, struct heap_count *count)
{
    struct block *b = region_first(r), *end;
    u64 before = 0;
    bool was_free = false;

    zone_check_metadata(r, r->size);
    end = (struct block *)((u8 *)r + r->size) - 1;
    count->frames += r->size >> FRAME_SHIFT;
    for (; b != end; b = block_after(b)) {
        assert(b->size >= HEAP_SMALLEST && b->size % HEAP_ALIGN == 0);
        assert(b->size <= (u64)((u8 *)end - (u8 *)b));
        assert(b->before == before);
        assert(b->magic == BLOCK_USED || (b->magic == BLOCK_FREE && !was_free));
        was_free = b->magic == BLOCK_FREE;
        if (was_free) {
            block_check_poison(b);
            count->empty += block_is_region(b);
            count->free++;
        } else {
            block_check_red_zone(b);
            count->used++;
            count->bytes += b->asked;
        }
        before = b->size;
    }
    assert(end->magic == BLOCK_END && end->before == before);
}

// The view from a list: forward links, backward links, class and bit must
// tell the same story.

u64 heap_audit_list(struct heap *h, u64 class)
{
    struct free_block *f, *previous = NULL;
    u64 count = 0;

    assert(!h->list[class] == !(h->nonempty >> class & 1));
    for (f = h->list[class]; f; previous = f, f = f->next, count++) {
        assert(f->block.magic == BLOCK_FREE && f->previous == previous);
        assert(heap_class(f->block.size) == class);
    }
    return count;
}

void heap_audit(struct heap *h)
{
    struct heap_count count = {0};
    struct heap_region *r, *previous = NULL;
    u64 listed = 0, class;

    for (r = h->regions; r; previous = r, r = r->next) {
        assert(r->previous == previous);
        heap_audit_region(r, &count);
    }
    for (class = 0; class < HEAP_CLASSES; class++)
        listed += heap_audit_list(h, class);
    assert(listed == count.free);
    assert(count.used == h->blocks && count.bytes == h->bytes);
    assert(count.frames == h->frames && count.empty == h->empty_regions);
    assert(count.empty <= 1);
}

void heap_walk(void)
{
    heap_audit(&heap);
}

struct audit heap_audits = {"heap", heap_walk, NULL};

// ## Mistakes on purpose {#heap-provoke}

void provoke_heap_twice(void)
{
    void *p = heap_alloc(&heap, 100);

    heap_free(&heap, p);
    heap_free(&heap, p);
}

void provoke_heap_overrun(void)
{
    char *p = heap_alloc(&heap, 100);

    p[100] = 1;
    heap_free(&heap, p);
}

void provoke_heap_wild(void)
{
    heap_free(&heap, &heap);
}

struct provocation heap_provocations[] = {{"heap-twice", provoke_heap_twice, NULL},
                                          {"heap-overrun", provoke_heap_overrun, NULL},
                                          {"heap-wild", provoke_heap_wild, NULL}};

void ch04_init(void)
{
    u64 i;

    ch03_init();
    heap = (struct heap){.pmm = &pmm};
    for (i = 0; i < array_count(heap_provocations); i++)
        boot_add_provocation(&heap_provocations[i]);
    audit_add(&heap_audits);
}

// ## Rough treatment {#heap-show}
//
// The chapter gives the heap up to a thousand blocks of random sizes to
// look after, resizes and frees them in random order, checks that nobody
// wrote on anybody else's, and looks at whether all frames come back.

#define HEAP_TRIAL_BLOCKS 1000

struct heap_trial {
    u8 *block[HEAP_TRIAL_BLOCKS];
    u64 size[HEAP_TRIAL_BLOCKS];
    u64 allocated, resized, freed;
};

void heap_trial_check(struct heap_trial *t, u64 i)
{
    u64 at;

    for (at = 0; at < t->size[i]; at++)
        assert(t->block[i][at] == (u8)i);
}

// A step takes one of the thousand places. If it is empty it gets a block;
// if not, the block is resized, or checked and freed. Each block is full of
// the number of its place.

void heap_trial_step(struct heap_trial *t, u64 *seed)
{
    u64 i = pmm_random(seed) % HEAP_TRIAL_BLOCKS;
    u64 size = pmm_random(seed);

    size = 1 + size % (1UL << pmm_random(seed) % 13);
    if (!t->block[i]) {
        t->block[i] = heap_alloc(&heap, size);
        t->allocated++;
    } else if (pmm_random(seed) % 3 == 0) {
        t->block[i] = heap_realloc(&heap, t->block[i], size);
        t->resized++;
    } else {
        heap_trial_check(t, i);
        heap_free(&heap, t->block[i]);
        t->block[i] = NULL;
        t->freed++;
        return;
    }
    assert(t->block[i]);
    t->size[i] = size;
    memset(t->block[i], (int)i, size);
}

void heap_show_use(const char *when)
{
    printf("heap: %-10s %4lu blocks, %8s in use, %3lu frames held\n", when, heap.blocks,
           boot_size(heap.bytes).s, heap.frames);
}

// Twenty thousand steps, then everything is freed in order. What is left
// must be nothing.

void ch04_main(void)
{
    static struct heap_trial trial;
    u64 free_before, seed = 4, i;

    ch04_init();
    boot_check_options();
    free_before = pmm.states[FRAME_FREE];
    heap_show_use("empty:");
    for (i = 0; i < 20000; i++)
        heap_trial_step(&trial, &seed);
    heap_audit(&heap);
    heap_show_use("busy:");
    for (i = 0; i < HEAP_TRIAL_BLOCKS; i++)
        heap_free(&heap, trial.block[i]);
    heap_show_use("all freed:");
    heap_trim(&heap);
    heap_audit(&heap);
    heap_show_use("trimmed:");
    printf("heap: %lu allocated, %lu resized, %lu freed on the way; frames lost: %lu\n",
           trial.allocated, trial.resized, trial.freed,
           free_before - pmm.states[FRAME_FREE]);
}

// ## Try it {#heap-try}
//
// `make run CH=4`:
//
// ::: {.transcript file="tests/golden/ch04.txt"}
// :::
//
// The options `provoke=heap-twice`, `heap-overrun` and `heap-wild` show
// what happens to those who misuse it. Note who is named in each report.
//
// The report comes when the damage is found. To see it being done, guard
// the place with a watchpoint. At the end of the session the run is
// recorded, and we begin at the panic: that way is shorter if one does not
// know yet whom to suspect.
//
// ::: {.transcript file="book/gdb/ch04.txt"}
// :::
//
// ### Exercises {#heap-exercises}
//
// ::: {#ex-heap-bug .exercise level=2}
// Plant the ancestor's bug: in `heap_remove()`, set `f->next = NULL` first.
// Which check notices, and whom does it blame? Then call `heap_audit()`
// after each step of the trial. After how many steps does that notice, and
// which of the invariants is it? *You are done when you can say which line
// wrote the damage that the first check found, and through which pointer.*
// :::
//
// ::: {#ex-heap-caller .exercise level=2}
// Print a table of who holds how many bytes, by caller, in a function of
// yours that takes nothing or the heap. *Allocate from two functions; both
// must appear with the right sums.*
// :::
//
// ::: {#ex-heap-header .exercise level=3}
// Shrink the header to 16 bytes without losing any of the three error
// messages. What can `caller` be squeezed into? *All host tests of this
// chapter pass.*
// :::
//
// ### Further reading {#heap-reading}
//
// Paul Wilson, Mark Johnstone, Michael Neely and David Boles, "Dynamic
// Storage Allocation: A Survey and Critical Review" (1995), for everything
// that has been tried. *OSTEP*, chapter 17, for free lists. Jeff Bonwick,
// "The Slab Allocator" (USENIX Summer 1994), for what kernels do instead.
// Konstantin Serebryany and others, "AddressSanitizer" (USENIX ATC 2012),
// for red zones that the compiler watches.
//
// ## What we have {#heap-have}
//
// Memory for the kernel's books, of any size, with a sharp eye on its
// users. What we do not have is memory for anybody else.

// # Chapter 5. Memory as an object {#ch-vmo}
//===========================================================================
//
// A program asks for a gigabyte and uses a page of it. Two programs start
// from the same file. A process makes a copy of itself, which in the next
// instant throws everything away and runs something else. If memory were
// frames, each of these would be expensive. What programs use is an idea of
// memory: *so many bytes, zero at first, and what I write stays there*.
// Frames are needed only where something has been written.
//
// The idea made into a thing is a *virtual memory object*, VMO for short
// (the name is from Zircon, the thing is older: Mach and BSD have it). It
// has a size, contents, and no address. Addresses come with [Chapter
// 7](#ch-user), which maps VMOs; [Chapter 6](#ch-elf) makes them from
// program files; later, making a copy of a process will be little more than
// copying a few VMOs without copying a byte.
//
// ## The story of VMO number 3 {#vmo-story}
//
// In the ancestor, loading a program made three VMOs. After the first had
// been cloned, the page of the third was gone. Its authors saw the log say
// `present=1` before and `MISSING` after, and went looking.
//
// *What they believed.* First: memory of programs overlaps memory of the
// kernel. They built zones, moved the heap, copied through an intermediate
// buffer. The page still vanished. Then: the VMOs lie by value in an array;
// the array grows; the VMOs move; pointers into them dangle. They put each
// VMO into a box of its own on the heap, and the page stayed. Found, it
// seemed.
//
// *What was true.* A value that holds no pointers into itself may be moved,
// and in Rust moving is all that happens to values. Nothing pointed into
// the VMOs. The page was destroyed by the heap you know from [Chapter
// 4](#ch-heap), which handed out memory that was in use; by page-table code
// that took large pages for tables, and wrote entries into whatever lay
// there; and by running on the firmware's stack, in memory that was also
// being allocated. Boxing moved the victim out of the line of fire.
//
// A change that makes a symptom go away proves that the change matters, not
// that the explanation is right. An explanation is right if it predicts
// something that one did not know yet, and one then looks, and there it is.
//
// (`make hunt BUG=vmo3` plants the story as they believed it, `make hunt
// BUG=vmo3-true` as it was. Try to tell them apart.)
//
// In C, though, the trap they believed in is real. Our VMO *is* pointed to:
// by mappings, by slices, by whoever holds a reference. An array of VMOs
// that grows with `heap_realloc()` would be a disaster. So a VMO is
// allocated by itself, its address never changes, and it lives until nobody
// refers to it.
//
// ## Theory of operation {#vmo-theory}
//
// A VMO is a *tree of frames*. The leaves are slots, one per page, which
// hold the physical address of a frame or 0; above them are nodes of 64
// slots. The tree is as high as the last page written demands: with page 0
// alone there is no node at all, up to page 63 there is one, and a terabyte
// with three pages written in it has a handful. The frames are from the
// USER zone, because programs will see them; the nodes are from the heap,
// which is the kernel's.
//
// A page that was never written is zero, and takes no frame. **Reading
// commits nothing.** The first write *commits* the page: it gets a cleared
// frame.
//
// A **clone** is a snapshot: it gets slots with the same frames, each of
// which now has one more reference. *A frame with more than one reference
// is never written to.* Whoever wants to write gets a copy first, whether
// it is the clone or the original: copy-on-write in both directions,
// without either knowing of the other. The reference counts of [Chapter
// 3](#pmm-free) are all there is to it.
//
// ::: {#fig-clone .figure file="book/figures/clone.svg"}
//     root -> [ 64 slots ]                  clone's root -> [ 64 slots ]
//               |  |  `-- 0: never written                    |  |
//               |  `----> frame, 2 references <---------------|--'
//               `-------> frame, 1 reference      frame, 1 reference
//
// Copy-on-write needs no more than the references of frames: two on page 1
// mean that whoever writes first gets a copy.
// :::
//
// A **slice** is the opposite: a window, through which the same pages are
// seen under another numbering. Writing through it writes to the parent.
//
// The invariants: *a frame's references are the slots that hold it; a slice
// holds no frames; a VMO with slices does not shrink; an operation that
// fails for lack of memory has changed no byte.*
//
// **Shortcomings.** Cloning takes time in proportion to the pages
// committed. A tree of VMOs with parents would make it constant, and
// everything else harder.
//
// ## Objects {#vmo-object}
//
// The VMO is the first thing in the kernel that several others hold on to.
// What such things have in common is a type and a count of references. It
// stands at the head of each, so that a pointer to the one is a pointer to
// the other. The type counts how many there are: a number to look at when
// something leaks.

struct object;

struct object_type {
    const char *name;
    void (*destroy)(struct object *o); /* called when nobody refers to it */
    u64 live;
    const struct file_operations *file; /* if it can be read; first used in chapter 8 */
};

struct object {
    struct object_type *type;
    u32 references;
};

void object_init(struct object *o, struct object_type *type)
{
    *o = (struct object){.type = type, .references = 1};
    type->live++;
}

// Takes one more reference.

void object_get(struct object *o)
{
    assert(o->references);
    o->references++;
}

// Gives up a reference; with the last one, the object is destroyed.

void object_put(struct object *o)
{
    assert(o->references);
    if (--o->references == 0) {
        o->type->live--;
        o->type->destroy(o);
    }
}

// ## State {#vmo-state}

#define VMO_FANOUT_LOG 6
#define VMO_FANOUT (1UL << VMO_FANOUT_LOG)
#define VMO_SIZE_MAX (1UL << 47)

struct vmo_node {
    u64 used;            /* where bit n is clear, slot n is 0 */
    u64 slot[VMO_FANOUT]; /* a frame, or a node of the level below */
};

struct vmo {
    struct object object;
    u64 size;            /* bytes */
    u64 root;            /* a slot: of page 0 if height is 0, else of a node */
    u32 height;          /* levels of nodes */
    u32 slices;          /* how many are windows on this one */
    u64 committed;       /* pages that have a frame */
    bool zeros_mapped;   /* pages without one may be mapped; first used in chapter 7 */
    struct vmo *parent;  /* a slice: the VMO whose pages these are */
    u64 first;           /* a slice: its page 0 is this page of the parent */
    void *mappings;      /* who maps it; first used in chapter 7 */
    struct vmo *copy;    /* while a process is copied: its clone; chapter 13 */
};

struct vmo_state {
    paddr zero;          /* a frame of zeros that nobody writes to */
    void (*revoke)(struct vmo *v, u64 from, u64 to, bool only_writing);
};

void vmo_destroy(struct object *o);
void vmo_revoke_nothing(struct vmo *v, u64 from, u64 to, bool only_writing);

struct object_type vmo_type = {.name = "vmo", .destroy = vmo_destroy};
struct vmo_state vmo = {.revoke = vmo_revoke_nothing};

// Once VMOs are mapped there will be copies of their slots in page tables.
// When pages from `from` up to but not including `to` lose their frame, or
// may no longer be written in place, those copies must go. Whoever maps
// VMOs replaces this function.

void vmo_revoke_nothing(struct vmo *v, u64 from, u64 to, bool only_writing)
{
    (void)v, (void)from, (void)to, (void)only_writing;
}

// How many pages a size of bytes takes.

u64 vmo_pages(u64 size)
{
    return align_up(size, FRAME_SIZE) >> FRAME_SHIFT;
}

// ## The tree {#vmo-tree}
//
// With `height` levels of nodes the tree has room for 64 to the power of
// `height` pages. If a page lies beyond that, the tree grows at the root:
// the old root becomes slot 0 of a new one.

bool vmo_grow_tree(struct vmo *v, u64 page)
{
    struct vmo_node *node;

    while (page >> (VMO_FANOUT_LOG * v->height)) {
        if (v->root) {
            node = heap_alloc_zeroed(&heap, sizeof *node);
            if (!node)
                return false;
            node->used = 1;
            node->slot[0] = v->root;
            v->root = (u64)node;
        }
        v->height++;
    }
    return true;
}

// Finds the slot of a page. With `create`, missing nodes are added; then
// NULL means that there is no memory. Without it, NULL means that there is
// no slot. The page is a number, not an offset, and the VMO is no slice,
// here and in the functions below (`vmo_resolve()` leads to the parent).

u64 *vmo_slot(struct vmo *v, u64 page, bool create)
{
    u64 *slot = &v->root, n;
    struct vmo_node *node;
    u32 level;

    assert(!v->parent);
    if (page >> (VMO_FANOUT_LOG * v->height) && !(create && vmo_grow_tree(v, page)))
        return NULL;
    for (level = v->height; level; level--) {
        if (!*slot && create)
            *slot = (u64)heap_alloc_zeroed(&heap, sizeof *node);
        if (!*slot)
            return NULL;
        node = (struct vmo_node *)*slot;
        n = page >> (VMO_FANOUT_LOG * (level - 1)) & (VMO_FANOUT - 1);
        if (create)
            node->used |= 1UL << n;
        slot = &node->slot[n];
    }
    return slot;
}

// The frame of a page, 0 if it was never written. Changes nothing.

paddr vmo_frame(const struct vmo *v, u64 page)
{
    u64 slot = v->root, shift = VMO_FANOUT_LOG * v->height;

    assert(!v->parent);
    if (page >> shift)
        return 0;
    while (slot && shift) {
        shift -= VMO_FANOUT_LOG;
        slot = ((struct vmo_node *)slot)->slot[page >> shift & (VMO_FANOUT - 1)];
    }
    return slot;
}

// Most slots of most trees are empty. A word with a bit for each slot of a
// node tells which are not, and as in the [bitmap](#pmm-bitmap) one
// instruction finds the next of them. From slot `n` on it is so many slots
// away; the node's end counts as one.

u64 node_skip(const struct vmo_node *node, u64 n)
{
    u64 used = node->used >> n;

    return used ? cpu_bsf(used) : VMO_FANOUT - n;
}

// The next page from `page` on, below `end`, that has a frame; `end` if
// there is none. Where a slot is empty, all its pages are passed over at
// once.

u64 vmo_next(struct vmo *v, u64 page, u64 end)
{
    u64 *slot, shift, skip, n;
    u32 level;

    while (page < end && !(page >> (VMO_FANOUT_LOG * v->height))) {
        slot = &v->root;
        shift = VMO_FANOUT_LOG * v->height;
        skip = 0;
        for (level = v->height; level && *slot && !skip; level--) {
            shift = VMO_FANOUT_LOG * (level - 1);
            n = page >> shift & (VMO_FANOUT - 1);
            skip = node_skip((struct vmo_node *)*slot, n);
            slot = &((struct vmo_node *)*slot)->slot[n];
        }
        if (*slot && !skip)
            return page;
        page = ((page >> shift) + (skip ? skip : 1)) << shift;
    }
    return end;
}

// ## Birth and death {#vmo-life}
//
// A new VMO of `size` bytes, all zero, with one reference, which is the
// caller's. NULL if there is no memory for it or it is absurdly large.

struct vmo *vmo_create(u64 size)
{
    struct vmo *v;

    if (size > VMO_SIZE_MAX)
        return NULL;
    v = heap_alloc_zeroed(&heap, sizeof *v);
    if (!v)
        return NULL;
    object_init(&v->object, &vmo_type);
    v->size = size;
    return v;
}

// Takes a reference.

void vmo_get(struct vmo *v)
{
    object_get(&v->object);
}

// The other direction: with the last reference the VMO, and every frame
// that is only its, are gone.

void vmo_put(struct vmo *v)
{
    object_put(&v->object);
}

// To let go of frames is to walk down to them. In a node, and in all that
// is below it, pages are counted from the node's own first. A node that has
// become empty goes too.

void vmo_drop_frame(struct vmo *v, u64 *slot)
{
    pmm_put(&pmm, *slot);
    *slot = 0;
    v->committed--;
}

void vmo_drop_node(struct vmo *v, u64 *place, u32 level, u64 from, u64 to)
{
    struct vmo_node *node = (struct vmo_node *)*place;
    u64 shift = VMO_FANOUT_LOG * (level - 1), size = 1UL << shift, n, start, *slot;

    for (n = from >> shift; n << shift < to; n++) {
        n += node_skip(node, n);
        start = n << shift;
        if (start >= to)
            break;
        slot = &node->slot[n];
        if (*slot && level == 1)
            vmo_drop_frame(v, slot);
        else if (*slot)
            vmo_drop_node(v, slot, level - 1, from > start ? from - start : 0,
                          min(to - start, size));
        if (!*slot)
            node->used &= ~(1UL << n);
    }
    if (!node->used) {
        heap_free(&heap, node);
        *place = 0;
    }
}

// Drops the pages `from` up to but not including `to`. They read as zero
// from then on.

void vmo_drop(struct vmo *v, u64 from, u64 to)
{
    u64 end = 1UL << VMO_FANOUT_LOG * v->height;

    vmo.revoke(v, from, to, false);
    if (v->root && from < to && from < end) {
        if (v->height)
            vmo_drop_node(v, &v->root, v->height, from, min(to, end));
        else
            vmo_drop_frame(v, &v->root);
    }
    if (!v->root)
        v->height = 0;
}

void vmo_destroy(struct object *o)
{
    struct vmo *v = container_of(o, struct vmo, object);

    assert(!v->slices && !v->mappings);
    if (v->parent) {
        v->parent->slices--;
        vmo_put(v->parent);
    } else {
        vmo_drop(v, 0, vmo_pages(v->size));
    }
    heap_free(&heap, v);
}

// ## A page to write to {#vmo-write-page}
//
// The heart of the chapter. Three cases: the page has no frame (but may be
// mapped somewhere as a page of zeros, which is revoked), so it gets a
// cleared one; it has a frame that others refer to as well, so it gets a
// copy of its own; it has a frame to itself, and that is that. Returns the
// frame, or 0 if there is no memory.

paddr vmo_commit_page(struct vmo *v, u64 page)
{
    u64 *slot = vmo_slot(v, page, true);
    paddr frame;

    if (!slot)
        return 0;
    if (!*slot) {
        frame = pmm_alloc_zeroed(&pmm, ZONE_USER, 'V');
        if (!frame)
            return 0;
        if (v->zeros_mapped)
            vmo.revoke(v, page, page + 1, false);
        v->committed++;
        *slot = frame;
    } else if (pmm_references(&pmm, *slot) > 1) {
        frame = pmm_alloc(&pmm, ZONE_USER, 'V');
        if (!frame)
            return 0;
        memcpy(boot_physical(frame), boot_physical(*slot), FRAME_SIZE);
        vmo.revoke(v, page, page + 1, false);
        pmm_put(&pmm, *slot);
        *slot = frame;
    }
    return *slot;
}

// Everything that follows speaks of bytes. A slice passes the question on
// to its parent; as slices of slices refer to the same parent, one step is
// enough.

struct vmo *vmo_resolve(struct vmo *v, u64 *offset)
{
    if (!v->parent)
        return v;
    *offset += v->first << FRAME_SHIFT;
    return v->parent;
}

// Are these `size` bytes inside the VMO?

bool vmo_contains(const struct vmo *v, u64 offset, u64 size)
{
    return offset <= v->size && size <= v->size - offset;
}

// Gives frames to all pages that the range touches. -ERANGE if it is not
// inside the VMO, -ENOMEM if memory ran out; no contents have changed then.

int vmo_commit(struct vmo *v, u64 offset, u64 size)
{
    u64 page, end;

    if (!vmo_contains(v, offset, size))
        return -ERANGE;
    v = vmo_resolve(v, &offset);
    end = vmo_pages(offset + size);
    for (page = offset >> FRAME_SHIFT; size && page < end; page++)
        if (!vmo_commit_page(v, page))
            return -ENOMEM;
    return 0;
}

// ## Reading and writing {#vmo-io}
//
// Both go from page to page: what lies in the first one?

u64 vmo_part(u64 offset, u64 size)
{
    return min(size, FRAME_SIZE - offset % FRAME_SIZE);
}

// Reads exactly `size` bytes to memory of the kernel, or none: 0 or
// -ERANGE.

int vmo_read(struct vmo *v, u64 offset, void *to, u64 size)
{
    u8 *out = to;
    paddr frame;
    u64 part;

    if (!vmo_contains(v, offset, size))
        return -ERANGE;
    v = vmo_resolve(v, &offset);
    for (; size; size -= part, offset += part, out += part) {
        part = vmo_part(offset, size);
        frame = vmo_frame(v, offset >> FRAME_SHIFT);
        if (frame)
            memcpy(out, (u8 *)boot_physical(frame) + offset % FRAME_SIZE, part);
        else
            memset(out, 0, part);
    }
    return 0;
}

// Writes exactly `size` bytes. -ERANGE and -ENOMEM as for `vmo_commit()`,
// and then nothing was written: all pages are committed first, and after
// that it cannot fail.

int vmo_write(struct vmo *v, u64 offset, const void *from, u64 size)
{
    const u8 *in = from;
    int error = vmo_commit(v, offset, size);
    paddr frame;
    u64 part;

    if (error)
        return error;
    v = vmo_resolve(v, &offset);
    for (; size; size -= part, offset += part, in += part) {
        part = vmo_part(offset, size);
        frame = vmo_frame(v, offset >> FRAME_SHIFT);
        memcpy((u8 *)boot_physical(frame) + offset % FRAME_SIZE, in, part);
    }
    return 0;
}

// ## Making bytes zero again {#vmo-zero}
//
// Whole pages are zeroed by dropping their frames. At the ends of a range
// parts of pages remain: if such a page has a frame, it must be written to,
// and if the frame is shared, copied. So even this can fail for lack of
// memory; both ends are made writable before anything is changed.

int vmo_own_page(struct vmo *v, u64 page)
{
    return !vmo_frame(v, page) || vmo_commit_page(v, page) ? 0 : -ENOMEM;
}

void vmo_clear_part(struct vmo *v, u64 offset, u64 size)
{
    paddr frame = vmo_frame(v, offset >> FRAME_SHIFT);

    if (frame)
        memset((u8 *)boot_physical(frame) + offset % FRAME_SIZE, 0, size);
}

// -ERANGE, -ENOMEM like `vmo_commit()`.

int vmo_zero(struct vmo *v, u64 offset, u64 size)
{
    u64 end, first, last;

    if (!vmo_contains(v, offset, size))
        return -ERANGE;
    v = vmo_resolve(v, &offset);
    end = offset + size;
    first = vmo_pages(offset), last = end >> FRAME_SHIFT;
    if (offset % FRAME_SIZE && size && vmo_own_page(v, offset >> FRAME_SHIFT))
        return -ENOMEM;
    if (end % FRAME_SIZE && size && vmo_own_page(v, last))
        return -ENOMEM;
    if (first > last) {
        vmo_clear_part(v, offset, size);
        return 0;
    }
    vmo_clear_part(v, offset, (first << FRAME_SHIFT) - offset);
    vmo_clear_part(v, last << FRAME_SHIFT, end % FRAME_SIZE);
    vmo_drop(v, first, last);
    return 0;
}

// To *decommit* is to zero and give back memory: it takes whole pages, the
// offset and size must be multiples of the page.

int vmo_decommit(struct vmo *v, u64 offset, u64 size)
{
    if (offset % FRAME_SIZE || size % FRAME_SIZE)
        return -EINVAL;
    return vmo_zero(v, offset, size);
}

// ## Changing the size {#vmo-resize}
//
// Growing adds zeros. Shrinking gives back frames, and clears the rest of
// the last page, so that growing again does not bring back what was cut
// off. -EBUSY if there are slices, whose pages could vanish; -EINVAL for a
// slice, whose pages are not its own, or for an absurd size; -ENOMEM. (A
// mapping shows whole pages, and a program may write behind the size in the
// last one. That is not cleared here: nothing that programs can map and
// resize ends within a page.)

int vmo_resize(struct vmo *v, u64 size)
{
    u64 end = align_up(size, FRAME_SIZE);
    int error;

    if (v->parent || size > VMO_SIZE_MAX)
        return -EINVAL;
    if (size < v->size) {
        if (v->slices)
            return -EBUSY;
        error = vmo_zero(v, size, min(end, v->size) - size);
        if (error)
            return error;
        vmo_drop(v, vmo_pages(size), vmo_pages(v->size));
    }
    v->size = size;
    return 0;
}

// ## Clone and slice {#vmo-clone}
//
// Both describe a part of a VMO that begins with a page boundary. If the
// original goes on behind the clone's end, in the same page, that part of
// the page must be cleared in the clone.

int vmo_clear_behind(struct vmo *v)
{
    u64 size = v->size;

    v->size = align_up(size, FRAME_SIZE);
    return vmo_resize(v, size);
}

// To clone is to give every frame of the part a second reference. The slots
// of one node lie side by side. So we go down from the root, on both sides,
// only where one of the two nodes ends; a page between goes from slot `n`
// of the one to slot `to` of the other.

u64 node_share(const struct vmo_node *node, u64 n, u64 end, struct vmo_node *copy, u64 to)
{
    u64 start = n, shared = 0;

    for (; n < end; n++) {
        n += node_skip(node, n);
        if (n >= end || !node->slot[n])
            continue;
        pmm_get(&pmm, node->slot[n]);
        copy->slot[to + n - start] = node->slot[n];
        copy->used |= 1UL << (to + n - start);
        shared++;
    }
    return shared;
}

struct vmo_node *vmo_leaf(u64 *slot, u64 page)
{
    return container_of(slot - page % VMO_FANOUT, struct vmo_node, slot[0]);
}

// False if there is no memory for the clone's nodes. (A tree without nodes
// has only one page.)

bool vmo_share(struct vmo *clone, struct vmo *v, u64 first, u64 end)
{
    u64 page, to, run, *slot;

    for (page = vmo_next(v, first, end); page < end; page = vmo_next(v, page + run, end)) {
        to = page - first;
        run = VMO_FANOUT - (page % VMO_FANOUT > to % VMO_FANOUT ? page : to) % VMO_FANOUT;
        run = run < end - page ? run : end - page;
        slot = vmo_slot(clone, to, true);
        if (!slot)
            return false;
        if (v->height && clone->height) {
            clone->committed += node_share(vmo_leaf(vmo_slot(v, page, false), page),
                                           page % VMO_FANOUT, page % VMO_FANOUT + run,
                                           vmo_leaf(slot, to), to % VMO_FANOUT);
        } else {
            run = 1;
            *slot = vmo_frame(v, page);
            pmm_get(&pmm, *slot);
            clone->committed++;
        }
    }
    return true;
}

// Takes `size` bytes from `offset` on, which is a multiple of the page.
// Returns a new VMO with one reference, the caller's to put; NULL if there
// is no such part or no memory. Those who map the original must ask before
// they write, from now on.

struct vmo *vmo_clone(struct vmo *v, u64 offset, u64 size)
{
    struct vmo *clone;
    u64 first, end;

    if (offset % FRAME_SIZE || !vmo_contains(v, offset, size))
        return NULL;
    clone = vmo_create(size);
    if (!clone)
        return NULL;
    v = vmo_resolve(v, &offset);
    first = offset >> FRAME_SHIFT;
    end = first + vmo_pages(size);
    vmo.revoke(v, vmo_next(v, first, end), end, true);
    if (!vmo_share(clone, v, first, end) ||
        (offset + size < v->size && vmo_clear_behind(clone))) {
        vmo_put(clone);
        return NULL;
    }
    return clone;
}

// ::: {#walk-clone .walk}
//     from vmo_show_clone
//     into vmo_clone vmo_share node_share
//     into vmo_write vmo_commit vmo_commit_page
//     to   vmo_slice
//     show clone->committed
//     draw vmos
//
// A clone shares both frames; whoever writes first gets copies, and who
// comes second finds that a frame is its own by now.
// :::
//
// The same for a slice. It holds a reference to its parent, which therefore
// outlives it.

struct vmo *vmo_slice(struct vmo *v, u64 offset, u64 size)
{
    struct vmo *slice;

    if (offset % FRAME_SIZE || !vmo_contains(v, offset, size))
        return NULL;
    slice = vmo_create(size);
    if (!slice)
        return NULL;
    slice->parent = vmo_resolve(v, &offset);
    slice->first = offset >> FRAME_SHIFT;
    slice->parent->slices++;
    vmo_get(slice->parent);
    return slice;
}

// ## Setting up {#vmo-init}

void ch05_init(void)
{
    ch04_init();
    vmo.zero = pmm_alloc_zeroed(&pmm, ZONE_USER, 'Z');
    assert(vmo.zero);
}

// ## What it costs {#vmo-show}
//
// The chapter counts frames while it does to VMOs what programs will do.

u64 vmo_frames_used(void)
{
    u64 i, count = 0;

    for (i = pmm.boundary; i < pmm.count; i++)
        count += pmm.frame[i].owner == 'V' && pmm.frame[i].state == FRAME_USED;
    return count;
}

void vmo_show(const char *what, struct vmo *v)
{
    char text[24] = "";

    assert(vmo_read(v, 3 * FRAME_SIZE - 2, text, 20) == 0);
    printf("vmo: %-40s reads \"%s\", %lu frames in all\n", what, text, vmo_frames_used());
}

// Now a clone of it, written to from both sides, and a slice.

void vmo_show_clone(struct vmo *v)
{
    struct vmo *clone = vmo_clone(v, 0, v->size), *slice;

    assert(clone);
    vmo_show("cloned: the clone", clone);
    assert(vmo_write(clone, 3 * FRAME_SIZE - 2, "clone", 6) == 0);
    vmo_show("written to the clone: the clone", clone);
    vmo_show("                      the original", v);
    assert(vmo_write(v, 3 * FRAME_SIZE - 2, "ORIGINAL", 9) == 0);
    vmo_show("written to the original: the clone", clone);
    slice = vmo_slice(v, 3 * FRAME_SIZE, 2 * FRAME_SIZE);
    assert(slice && vmo_write(slice, 0, "BIT", 4) == 0);
    vmo_show("written through a slice: the original", v);
    printf("vmo: shrinking below the slice: error %d\n", vmo_resize(v, FRAME_SIZE));
    vmo_put(slice);
    vmo_put(clone);
}

// And the whole of a life: created far larger than the machine, written to,
// cloned, shrunk, and gone.

void ch05_main(void)
{
    struct vmo *v;
    u64 free_before;
    char byte;

    ch05_init();
    boot_check_options();
    heap_trim(&heap);
    free_before = pmm.states[FRAME_FREE];
    v = vmo_create(1024 * GIB);
    assert(v);
    vmo_show("a new terabyte", v);
    assert(vmo_write(v, 3 * FRAME_SIZE - 2, "original", 9) == 0);
    vmo_show("written across a page boundary", v);
    vmo_show_clone(v);
    printf("vmo: reading past the end: error %d\n", vmo_read(v, v->size, &byte, 1));
    assert(vmo_resize(v, 3 * FRAME_SIZE) == 0 && vmo_resize(v, 8 * FRAME_SIZE) == 0);
    vmo_show("shrunk and grown again", v);
    vmo_put(v);
    heap_trim(&heap);
    printf("vmo: %lu objects left, frames lost: %lu\n", vmo_type.live,
           free_before - pmm.states[FRAME_FREE]);
}

// ## Try it {#vmo-try}
//
// `make run CH=5`:
//
// ::: {.transcript file="tests/golden/ch05.txt"}
// :::
//
// Follow the number of frames. A terabyte costs none. A write across a page
// boundary costs two. The clone costs none until somebody writes.
//
// The same, with the frames in view. `rustica vmo` finds all VMOs by going
// through the heap. The last question is one about the past: who has
// counted this frame? For that the run is recorded, and gone through
// backwards.
//
// ::: {.transcript file="book/gdb/ch05.txt"}
// :::
//
// ### Exercises {#vmo-exercises}
//
// ::: {#ex-vmo-eager .exercise level=1}
// Make `vmo_clone()` copy every frame at once, as the ancestor's did (its
// documentation said copy-on-write). Which lines of the transcript change?
// *Predict them before you run it.*
// :::
//
// ::: {#ex-vmo-move .exercise level=2}
// Put two VMOs by value into an array, take a slice of the second, and let
// the array grow with `heap_realloc()`. *Show with a debugger's watchpoint
// which write destroys what.*
// :::
//
// ::: {#ex-vmo-same .exercise level=2}
// Write `vmo_merge_same(a, b)`, which finds pages of two VMOs with equal
// contents, wherever they are in each, and lets them share a frame. *The
// frame count drops, and every later write, through mappings as well, still
// goes to one VMO only.*
// :::
//
// ::: {#ex-vmo-parents .exercise level=3}
// Make cloning take constant time: let trees share their nodes, or make a
// tree of hidden parents, as Zircon does. What says now whether a page may
// be written to? *The host tests of this chapter pass, but for what they
// say of a frame's references; no process sees what another one has
// written; a clone of a thousand pages takes as many instructions as one of
// a single page.*
// :::
//
// ### Further reading {#vmo-reading}
//
// Richard Rashid and others, "Machine-Independent Virtual Memory Management
// for Paged Uniprocessor and Multiprocessor Architectures" (ASPLOS 1987),
// where memory became an object. Robert Gingell, Joseph Moran and William
// Shannon, "Virtual Memory Architecture in SunOS" (USENIX Summer 1987), and
// Charles Cranor and Gurudatta Parulkar, "The UVM Virtual Memory System"
// (USENIX 1999), for two others, and what was wrong with chains of hidden
// copies.
//
// ## What we have {#vmo-have}
//
// Memory that costs what is used of it, can be copied for nothing and
// shared on purpose. Time to put a program into it.

// # Chapter 6. Reading a program {#ch-elf}
//===========================================================================
//
// A compiled program is a file with a plan at its beginning: *these bytes
// of the file belong at that address; so much memory behind them must be
// zero; start there.* The format is called ELF. Carrying out the plan is
// simple. Carrying it out for a file that somebody has made with evil in
// mind is not, and it is how a surprising number of systems were broken
// into.
//
// The ancestor stumbled over a friendly file. The second segment of its
// first program was 98 bytes long, and the loader read 1,048,184. It took
// the fields of a header from a slice of bytes by indices worked out by
// hand, and one was wrong. There is nothing to be learned from this except
// not to do it: the compiler knows where the fields of a
// [structure](#h-elf) are. (To see it done: `make hunt BUG=pheader`.)
//
// ## Theory of operation {#elf-theory}
//
// We separate judging from doing. `elf_check()` looks at the whole plan and
// either refuses it, with one reason that has a name, or returns a summary
// in a form of our own, which cannot be wrong any more. It allocates
// nothing and changes nothing. Only then `elf_load()` acts, on the summary
// alone. In between the file may change as it likes: every header is read
// exactly once.
//
// ::: {#fig-elf .figure file="book/figures/elf.svg"}
//     file (a VMO)               summary                   memory
//     | ELF header     |   -->   entry                     VMO  r-x
//     | segment headers|   -->   segment 0: start, size    VMO  rw-
//     | code           |         segment 1: ...            '-- zeros (bss)
//     | data           |
//
// What becomes of a file: the code is shared with it, the data as far as it
// fills whole pages, and the bss takes no memory at all.
// :::
//
// A segment becomes a VMO by cloning the pages of the file in which it
// lies. Its inner pages are shared with the file until the program writes
// to them. Only the last page is copied at once, because what follows the
// segment in the file must read as zero behind it. The *bss*, the variables
// that start as zero, are pages that nobody has written yet. Chapter 5 has
// done all the work.
//
// The invariants of an accepted plan: *segments ascend, share no page, lie
// within what programs may have, and none can be both written and executed;
// the entry point is in the executable part of one that comes from the
// file.*
//
// **Shortcomings.** Only programs linked to a fixed address, without a
// dynamic linker. Two segments in one page are refused even if they would
// agree on its rights; today's linkers do not produce that.
//
// ## Reasons {#elf-reasons}
//
// Each refusal has a name for the tests and a sentence for people.

enum elf_reason {
    ELF_OK, ELF_SHORT, ELF_MAGIC, ELF_CLASS, ELF_ENCODING, ELF_VERSION, ELF_SYSTEM,
    ELF_TYPE, ELF_PIE, ELF_MACHINE, ELF_ENTRY_SIZE, ELF_NO_SEGMENTS, ELF_TOO_MANY,
    ELF_TABLE, ELF_INTERPRETER, ELF_TWICE, ELF_EXECUTABLE_STACK, ELF_STACK_SIZE,
    ELF_HEADERS_OUTSIDE, ELF_FILE_LARGER, ELF_FILE_RANGE, ELF_WRAP, ELF_ADDRESS,
    ELF_ALIGN, ELF_CONGRUENCE, ELF_ORDER, ELF_OVERLAP, ELF_SHARED_PAGE,
    ELF_WRITE_EXECUTE, ELF_FLAGS, ELF_MEMORY, ELF_ENTRY, ELF_REASONS,
};

// The sentences, each beside its name:

const char *const elf_reasons[ELF_REASONS] = {
    [ELF_OK] = "accepted",
    [ELF_SHORT] = "shorter than an ELF header",
    [ELF_MAGIC] = "not an ELF file",
    [ELF_CLASS] = "not a 64-bit program",
    [ELF_ENCODING] = "not little-endian",
    [ELF_VERSION] = "unknown ELF version",
    [ELF_SYSTEM] = "made for another system",
    [ELF_TYPE] = "not an executable file",
    [ELF_PIE] = "position-independent; link it with -no-pie",
    [ELF_MACHINE] = "made for another processor",
    [ELF_ENTRY_SIZE] = "segment headers of a wrong size",
    [ELF_NO_SEGMENTS] = "nothing to load",
    [ELF_TOO_MANY] = "too many segments",
    [ELF_TABLE] = "segment headers outside the file",
    [ELF_INTERPRETER] = "needs a dynamic linker; link it with -static",
    [ELF_TWICE] = "two segments of a kind that must be unique",
    [ELF_EXECUTABLE_STACK] = "wants an executable stack",
    [ELF_STACK_SIZE] = "wants an absurdly large stack",
    [ELF_HEADERS_OUTSIDE] = "its headers are said to be where nothing is loaded",
    [ELF_FILE_LARGER] = "a segment has more bytes in the file than in memory",
    [ELF_FILE_RANGE] = "a segment lies outside the file",
    [ELF_WRAP] = "a segment reaches around the end of the address space",
    [ELF_ADDRESS] = "a segment lies outside what programs may use",
    [ELF_ALIGN] = "an alignment is no power of two, or absurd",
    [ELF_CONGRUENCE] = "a segment's place in the file does not fit its address",
    [ELF_ORDER] = "segments are not in ascending order",
    [ELF_OVERLAP] = "segments overlap",
    [ELF_SHARED_PAGE] = "two segments share a page",
    [ELF_WRITE_EXECUTE] = "a segment is both writable and executable",
    [ELF_FLAGS] = "a segment with impossible rights",
    [ELF_MEMORY] = "wants more memory than a program may have",
    [ELF_ENTRY] = "the entry point is not in loaded code",
};

// ## The summary {#elf-summary}
//
// Where programs may be: not in the lowest 64 KiB, so that null pointers,
// and fields of null structures, fault; and below the stack, which hangs
// from the upper end of the lower half. The 64 MiB below the stack stay
// empty, so that a stack that overflows meets nothing, and we can tell.
// (The very last page of the lower half is left out, because a `syscall`
// instruction ending exactly at the upper end would return to an address
// that is not [canonical](#h-layout): CVE-2012-0217 was that.)

#define USER_START 0x10000UL
#define USER_END 0x00007ffffffff000UL
#define USER_STACK_SIZE (8 * MIB)
#define USER_STACK_START (USER_END - USER_STACK_SIZE)
#define USER_PROGRAM_END (USER_STACK_START - 64 * MIB)

// Limits of our own. A file beyond them is refused, not cut short; the
// ancestor silently dropped every segment after the sixteenth.

#define ELF_HEADERS_MAX 128
#define ELF_SEGMENTS_MAX 64
#define ELF_MEMORY_MAX (64 * GIB)

#define PF_X 1
#define PF_W 2
#define PF_R 4

// Each segment in our words, and the whole image.

struct elf_segment {
    vaddr start;         /* not rounded in any way */
    u64 offset;          /* in the file */
    u64 file_size;       /* bytes that come from the file */
    u64 memory_size;     /* bytes in memory, the rest is zero */
    u32 rights;          /* PF_R, PF_W, PF_X */
    struct vmo *memory;  /* whole pages; made by elf_load() */
};

struct elf_image {
    vaddr entry;
    vaddr headers;       /* where the program sees its segment headers, or 0 */
    u16 header_count;
    u64 memory_size;     /* of all segments */
    u32 count;
    struct elf_segment segment[ELF_SEGMENTS_MAX];
};

// The pages a segment touches: address of the first, and of the first
// behind it.

vaddr segment_first_page(const struct elf_segment *s)
{
    return align_down(s->start, FRAME_SIZE);
}

// (The end is rounded up; `elf_check()` has made sure that this cannot
// wrap.)

vaddr segment_end_page(const struct elf_segment *s)
{
    return align_up(s->start + s->memory_size, FRAME_SIZE);
}

// ## Checking the header {#elf-header}
//
// Constants from the gABI. A program says in its header for which system it
// was made; static programs for Linux say 0, "System V", or 3, "GNU".

#define ET_EXEC 2
#define ET_DYN 3
#define EM_X86_64 62

enum elf_reason elf_check_identity(const u8 *ident)
{
    if (memcmp(ident, "\177ELF", 4) != 0)
        return ELF_MAGIC;
    if (ident[4] != 2)
        return ELF_CLASS;
    if (ident[5] != 1)
        return ELF_ENCODING;
    if (ident[6] != 1)
        return ELF_VERSION;
    if ((ident[7] != 0 && ident[7] != 3) || ident[8] != 0)
        return ELF_SYSTEM;
    return ELF_OK;
}

// The rest of the header: the kind of file, and where the segment headers
// are. They must lie in the file, behind this header.

enum elf_reason elf_check_header(const struct elf_header *h, u64 file_size)
{
    u64 table = (u64)h->phnum * sizeof(struct elf_segment_header);

    if (h->type == ET_DYN)
        return ELF_PIE;
    if (h->type != ET_EXEC)
        return ELF_TYPE;
    if (h->machine != EM_X86_64)
        return ELF_MACHINE;
    if (h->version != 1)
        return ELF_VERSION;
    if (h->phnum == 0)
        return ELF_NO_SEGMENTS;
    if (h->phentsize != sizeof(struct elf_segment_header))
        return ELF_ENTRY_SIZE;
    if (h->phnum > ELF_HEADERS_MAX)
        return ELF_TOO_MANY;
    if (h->phoff < sizeof *h || h->phoff > file_size || table > file_size - h->phoff)
        return ELF_TABLE;
    return ELF_OK;
}

// ## Checking a segment {#elf-segment}
//
// All sums are checked before they are made: `a + b > limit` is wrong if
// the sum wraps around, `b > limit - a` is not, once `a <= limit` is known.
//
// Of a segment that has no bytes in the file, all zeros that is, the place
// in the file means nothing. Some linkers put it behind the file's end.

enum elf_reason elf_check_segment(const struct elf_segment_header *h, u64 file_size)
{
    if (h->filesz > h->memsz)
        return ELF_FILE_LARGER;
    if (h->filesz && (h->offset > file_size || h->filesz > file_size - h->offset))
        return ELF_FILE_RANGE;
    if (h->memsz > 0 - h->vaddr && h->vaddr)
        return ELF_WRAP;
    if (h->memsz > ELF_MEMORY_MAX)
        return ELF_MEMORY;
    if (h->vaddr < USER_START || h->vaddr >= USER_PROGRAM_END ||
        h->memsz > USER_PROGRAM_END - h->vaddr)
        return ELF_ADDRESS;
    if ((h->align & (h->align - 1)) || h->align > GIB)
        return ELF_ALIGN;
    if (h->offset % FRAME_SIZE != h->vaddr % FRAME_SIZE)
        return ELF_CONGRUENCE;
    if (!(h->flags & PF_R) || (h->flags & ~(u32)(PF_R | PF_W | PF_X)))
        return ELF_FLAGS;
    if ((h->flags & PF_W) && (h->flags & PF_X))
        return ELF_WRITE_EXECUTE;
    return ELF_OK;
}

// How the segment stands to the one before it.

enum elf_reason elf_check_order(const struct elf_segment *last, const struct elf_segment_header *h)
{
    if (h->vaddr < last->start)
        return h->vaddr + h->memsz > last->start ? ELF_OVERLAP : ELF_ORDER;
    if (h->vaddr < last->start + last->memory_size)
        return ELF_OVERLAP;
    if (h->vaddr < segment_end_page(last))
        return ELF_SHARED_PAGE;
    return ELF_OK;
}

// A segment of size 0 is legal and means nothing.

enum elf_reason elf_add_segment(struct elf_image *image, const struct elf_segment_header *h,
                                u64 file_size)
{
    enum elf_reason reason;

    if (h->memsz == 0 && h->filesz == 0)
        return ELF_OK;
    reason = elf_check_segment(h, file_size);
    if (!reason && image->count)
        reason = elf_check_order(&image->segment[image->count - 1], h);
    if (reason)
        return reason;
    if (image->count == ELF_SEGMENTS_MAX)
        return ELF_TOO_MANY;
    image->memory_size += h->memsz;
    if (image->memory_size > ELF_MEMORY_MAX)
        return ELF_MEMORY;
    image->segment[image->count++] = (struct elf_segment){
        .start = h->vaddr, .offset = h->offset, .file_size = h->filesz,
        .memory_size = h->memsz, .rights = h->flags};
    return ELF_OK;
}

// ## The other kinds {#elf-kinds}
//
// Of the headers that load nothing a few matter. `PT_INTERP` names a
// dynamic linker, which we do not have. `PT_GNU_STACK` says what kind of
// stack the program wants. Some kinds make no sense twice.

#define PT_LOAD 1
#define PT_DYNAMIC 2
#define PT_INTERP 3
#define PT_PHDR 6
#define PT_TLS 7
#define PT_GNU_STACK 0x6474e551

int elf_unique_kind(u32 type)
{
    switch (type) {
    case PT_DYNAMIC: return 1;
    case PT_PHDR: return 2;
    case PT_TLS: return 4;
    case PT_GNU_STACK: return 8;
    default: return 0;
    }
}

enum elf_reason elf_check_kind(const struct elf_segment_header *h, int *seen)
{
    int kind = elf_unique_kind(h->type);

    if (h->type == PT_INTERP)
        return ELF_INTERPRETER;
    if (*seen & kind)
        return ELF_TWICE;
    *seen |= kind;
    if (h->type == PT_GNU_STACK && (h->flags & PF_X))
        return ELF_EXECUTABLE_STACK;
    if (h->type == PT_GNU_STACK && h->memsz > USER_STACK_SIZE)
        return ELF_STACK_SIZE;
    return ELF_OK;
}

// ## The whole {#elf-check}
//
// After the single segments, what can only be said about all of them: is
// there anything to load, does the entry point lie in code that comes from
// the file, and where, in memory, will the program find its own headers? C
// libraries ask for them.

const struct elf_segment *elf_find(const struct elf_image *image, vaddr address, u64 size)
{
    const struct elf_segment *s;

    for (s = image->segment; s < image->segment + image->count; s++)
        if (address >= s->start && address - s->start < s->memory_size &&
            size <= s->memory_size - (address - s->start))
            return s;
    return NULL;
}

enum elf_reason elf_check_entry(const struct elf_image *image)
{
    const struct elf_segment *s = elf_find(image, image->entry, 1);

    if (!image->count)
        return ELF_NO_SEGMENTS;
    if (!s || !(s->rights & PF_X) || image->entry - s->start >= s->file_size)
        return ELF_ENTRY;
    return ELF_OK;
}

void elf_find_headers(struct elf_image *image, u64 phoff)
{
    u64 size = image->header_count * sizeof(struct elf_segment_header);
    const struct elf_segment *s;

    for (s = image->segment; s < image->segment + image->count; s++)
        if (phoff >= s->offset && phoff - s->offset < s->file_size &&
            size <= s->file_size - (phoff - s->offset))
            image->headers = s->start + (phoff - s->offset);
}

// The table of segment headers, from the first to the last. What it says of
// itself, if it does, is kept in `own`.

enum elf_reason elf_check_table(struct vmo *file, const struct elf_header *header,
                                struct elf_image *image, struct elf_segment_header *own)
{
    struct elf_segment_header h;
    enum elf_reason reason;
    int seen = 0;
    u16 i;

    for (i = 0; i < header->phnum; i++) {
        if (vmo_read(file, header->phoff + i * sizeof h, &h, sizeof h))
            return ELF_TABLE;
        reason = elf_check_kind(&h, &seen);
        if (!reason && h.type == PT_LOAD)
            reason = elf_add_segment(image, &h, file->size);
        if (reason)
            return reason;
        if (h.type == PT_PHDR)
            *own = h;
    }
    return ELF_OK;
}

// Checks a file completely and summarizes it in `image`, which is the
// caller's. Returns `ELF_OK` or the first reason found to refuse it.
// Allocates nothing.

enum elf_reason elf_check(struct vmo *file, struct elf_image *image)
{
    struct elf_header header;
    struct elf_segment_header own = {0};
    enum elf_reason reason;

    if (vmo_read(file, 0, &header, sizeof header))
        return ELF_SHORT;
    reason = elf_check_identity(header.ident);
    if (!reason)
        reason = elf_check_header(&header, file->size);
    memset(image, 0, sizeof *image);
    image->entry = header.entry;
    image->header_count = header.phnum;
    if (!reason)
        reason = elf_check_table(file, &header, image, &own);
    if (!reason && own.type && !elf_find(image, own.vaddr, own.memsz))
        reason = ELF_HEADERS_OUTSIDE;
    if (!reason)
        reason = elf_check_entry(image);
    if (!reason)
        elf_find_headers(image, header.phoff);
    return reason;
}

// ::: {#walk-elf .walk}
//     from elf_check
//     into elf_check_table elf_add_segment
//     into elf_check_segment elf_check_order
//     draw table image->segment image->count start rights file_size
//
// The file of `hello` is believed one line at a time. What has passed all
// questions becomes a segment of the plan.
// :::
//
// ## Loading {#elf-load}
//
// The first page of a segment may begin with bytes that do not belong to
// it: its neighbours in the file. They are the program's own and do no
// harm. Bytes behind the segment's end in the file are cleared by
// `vmo_clone()`, for there the bss begins, and a program may rely on that.

struct vmo *elf_load_segment(struct vmo *file, const struct elf_segment *s)
{
    u64 lead = s->start % FRAME_SIZE;
    struct vmo *memory;

    if (s->file_size)
        memory = vmo_clone(file, s->offset - lead, lead + s->file_size);
    else
        memory = vmo_create(0);
    if (memory && vmo_resize(memory, segment_end_page(s) - segment_first_page(s))) {
        vmo_put(memory);
        return NULL;
    }
    return memory;
}

// Gives up the VMOs of an image. Mappings that were made of them keep them
// alive.

void elf_unload(struct elf_image *image)
{
    for (; image->count; image->count--)
        if (image->segment[image->count - 1].memory)
            vmo_put(image->segment[image->count - 1].memory);
}

// Makes the VMOs of an image that `elf_check()` has accepted. They belong
// to the caller, until it calls `elf_unload()`. 0, or -ENOMEM and no VMO is
// left.

int elf_load(struct vmo *file, struct elf_image *image)
{
    u32 i;

    for (i = 0; i < image->count; i++) {
        image->segment[i].memory = elf_load_segment(file, &image->segment[i]);
        if (!image->segment[i].memory) {
            elf_unload(image);
            return -ENOMEM;
        }
    }
    return 0;
}

// ## A program to look at {#elf-show}
//
// There is no disk yet, so the kernel carries its first programs in its own
// image. The linker tells where each begins and ends. As files are VMOs to
// us, we make one.

extern const u8 _binary_hello_start[], _binary_hello_end[];

struct vmo *elf_file(const u8 *start, const u8 *end)
{
    struct vmo *file = vmo_create((u64)(end - start));

    if (file && vmo_write(file, 0, start, (u64)(end - start))) {
        vmo_put(file);
        return NULL;
    }
    return file;
}

void ch06_init(void)
{
    ch05_init();
}

void elf_show_image(const struct elf_image *image)
{
    const struct elf_segment *s;

    printf("elf: hello starts at 0x%lx\n", image->entry);
    for (s = image->segment; s < image->segment + image->count; s++)
        printf("elf:   0x%lx %c%c%c %5lu bytes from the file, %5lu in memory, "
               "%lu pages with a frame\n", s->start, s->rights & PF_R ? 'r' : '-',
               s->rights & PF_W ? 'w' : '-', s->rights & PF_X ? 'x' : '-', s->file_size,
               s->memory_size, s->memory->committed);
}

// Then the same file, damaged in one place at a time: a byte at an offset
// is replaced by another. The kernel says why it does not like it and goes
// on.

struct elf_damage {
    const char *what;
    u64 offset;
    u8 byte;
};

const struct elf_damage elf_damages[] = {
    {"first byte changed", 0, 'X'},
    {"marked as 32-bit", 4, 1},
    {"marked as a library", offset_of(struct elf_header, type), ET_DYN},
    {"a thousand segments", offset_of(struct elf_header, phnum) + 1, 4},
    {"headers moved far away", offset_of(struct elf_header, phoff) + 4, 1},
    {"file size raised", 64 + 56 + offset_of(struct elf_segment_header, filesz) + 2, 16},
    {"code made writable", 64 + 56 + offset_of(struct elf_segment_header, flags), 7},
    {"second segment moved onto the first",
     64 + 56 + offset_of(struct elf_segment_header, vaddr) + 1, 0},
    {"entry point moved", offset_of(struct elf_header, entry) + 1, 0x7f}};

void elf_show_damage(struct vmo *file, const struct elf_damage *d, struct elf_image *image)
{
    struct vmo *damaged = vmo_clone(file, 0, file->size);

    assert(damaged && vmo_write(damaged, d->offset, &d->byte, 1) == 0);
    printf("elf: %-36s refused: %s\n", d->what, elf_reasons[elf_check(damaged, image)]);
    vmo_put(damaged);
}

// First hello as it is, then each damage, then the question whether any
// frame was lost on the way.

void ch06_main(void)
{
    static struct elf_image image;
    struct vmo *file;
    u64 i, free_before;

    ch06_init();
    boot_check_options();
    heap_trim(&heap);
    free_before = pmm.states[FRAME_FREE];
    file = elf_file(_binary_hello_start, _binary_hello_end);
    assert(file && elf_check(file, &image) == ELF_OK && elf_load(file, &image) == 0);
    elf_show_image(&image);
    printf("elf: %lu frames in use, %lu of them the file's\n", vmo_frames_used(),
           file->committed);
    elf_unload(&image);
    for (i = 0; i < array_count(elf_damages); i++)
        elf_show_damage(file, &elf_damages[i], &image);
    vmo_put(file);
    heap_trim(&heap);
    printf("elf: frames lost: %lu\n", free_before - pmm.states[FRAME_FREE]);
}

// ## Try it {#elf-try}
//
// `make run CH=6`:
//
// ::: {.transcript file="tests/golden/ch06.txt"}
// :::
//
// Compare the segments with what `readelf -lW build/gcc/ch06/user/hello`
// says. Loading took one frame for each segment that has bytes in the file:
// in so small a program every page is a last page, which is copied to be
// cleared behind its end.
//
// In the debugger we look at the file through the kernel's own structures,
// and at one refusal, up to the function that decides it.
//
// ::: {.transcript file="book/gdb/ch06.txt"}
// :::
//
// ### Exercises {#elf-exercises}
//
// ::: {#ex-elf-slice .exercise level=2}
// `elf_load_segment()` clones even the segments that can never be written.
// Use a slice for them. Three things that a clone gave us for nothing you
// now have to do without: which? And what happens when the file is changed
// while the program runs? *Find the Linux error number for that situation.*
// :::
//
// ::: {#ex-elf-pie .exercise level=3}
// Load position-independent programs: choose an address, and apply their
// relative relocations (the [prologue](#efi-exit) shows how). Compile with
// `-fpie`, link with `ld -static -pie --no-dynamic-linker`. *After [Chapter
// 7](#ch-user) a program prints the words of a `const char *const` array,
// which `readelf -r` shows to need relocation. On Linux it crashes: find
// out who is expected to relocate it there.*
// :::
//
// ::: {#ex-elf-fuzz .exercise level=2}
// Let a program on your host change random bytes of `hello` and call
// `elf_check()`. Which reasons are never given? *Find an input for each.*
// :::
//
// ### Further reading {#elf-reading}
//
// John Levine, *Linkers and Loaders* (2000), chapters 3 and 8. The gABI,
// chapters 4 and 5, is short and clear. In Linux, `fs/binfmt_elf.c` does
// the work of this chapter; read it with the question which of our checks
// are there, and where the others are.
//
// ## What we have {#elf-have}
//
// A program in memory, checked and ready. It lacks an address space to be
// in, a stack to stand on, and somebody to answer when it calls.

// # Chapter 7. Hello from userspace {#ch-user}
//===========================================================================
//
// Up to now, all code that ran was ours, and we could forgive ourselves. A
// *program* is code that we have not written and do not trust. It shall run
// on the bare processor, at full speed, and yet be unable to do any of
// these: read what is not its own, write what it may only read, execute
// what is data, talk to devices, stop the processor. And when it tries, it
// shall die and nothing else shall happen.
//
// The processor offers two mechanisms for this. *Rings*: code runs at a
// privilege level, and in ring 3 the instructions that matter are refused.
// *Page tables*: code in ring 3 sees only pages that have the user bit set.
// Everything else in this chapter follows from the wish to get into ring 3
// properly, and out of it under any circumstances.
//
// At its end the ancestor's authors wanted to see one line on the console,
// and so do we: `Hello from userspace!`
//
// ## Theory of operation {#user-theory}
//
// An **address space** is a sorted set of mappings. A **mapping** says:
// these addresses show those pages of that VMO, with these rights. This is
// the truth. The page tables are a cache of it, filled by faults:
//
//     mappings     [0x400000 r--] [0x401000 r-x]            [stack rw-]
//                       |              |                        |
//     VMOs         [ . . . . ]    [ . . ]                  [ . . . . . ]
//                       |              |                        |
//     frames            # #            #                        #
//
// When a program touches a page that is not in the tables, the processor
// raises a page fault. If a mapping allows the access, we find the frame
// (writing commits it or makes the copy that copy-on-write postponed),
// enter it and return, and the instruction is executed again as if nothing
// had happened. If no mapping allows it, the program ends.
//
// A **system call** is the polite way into the kernel. The instruction
// `syscall` jumps to an address that we have put into a register of the
// processor. The number of the call and its arguments are in the general
// registers, in the places where Linux wants them.
//
// The invariants, walked by `as_audit()`: *a table entry never allows more
// than its mapping; no page is both writable and executable; frames that
// programs see are in the USER zone, tables that lead to them in the KERNEL
// zone; nothing in the upper half has the user bit.*
//
// The ancestor violated the last one for months: it copied the kernel's
// entries into the program's table and set the user bit on them so that the
// program would run. It did. It could also read the whole kernel.
//
// **Shortcomings.** One program at a time, with interrupts off: one that
// loops for ever keeps the machine, until [Chapter 9](#ch-sched) takes it
// away by a timer. Two system calls. Data passes between program and kernel
// by way of the mappings, which is safe but slow; [Chapter 8](#sys-copy)
// has the fast way. And the kernel, with all memory in its direct map, is
// in the program's tables, hidden by one bit. Processors that load first
// and check later leak it through the cache (Meltdown, CVE-2017-5754). On
// those Linux takes the kernel out of the tables, and we do not.
//
// ## A tree that stays flat {#user-tree}
//
// Things that come and go, and are looked for by an address, a name or a
// number, stand in a *binary tree*, here and in later chapters. Each
// contains a node; to the left of a node are those that come before it, to
// the right those behind. A search goes down from the root, and each node
// halves what is left, if both its sides are alike. They will not be by
// themselves: who arrives in ascending order would hang each to the right
// of the one before, and the tree would be a list.
//
// G. M. Adelson-Velsky and E. M. Landis found in 1962 what suffices: *at no
// node do the heights of its two sides differ by more than one.* A tree of
// n nodes then has at most 1.44 log n levels (to the base of 2), which is
// 23 for the 65,530 mappings that a program may have. When a node comes or
// goes, heights change only on the way from there to the root, and where
// they come to differ by two, a *rotation* helps. With parentheses for
// trees, where `c` has become too high:
//
//     ( a   n   ( b   up   c ) )     becomes     ( ( a   n   b )   up   c )
//
// The order from left to right is as it was. (If it is `b` that is too
// high, a rotation inside of the parentheses, to the other side, comes
// first, and then it is the right one.)

struct tree_node {
    struct tree_node *parent;    /* NULL: the root */
    struct tree_node *child[2];  /* left: before this one; right: behind it */
    u64 height;                  /* from here down; 1 if there are no children */
    u64 value, largest;          /* something of this node's; from here down */
};

// A tree does not know what it sorts. Who looks for something goes down by
// himself, which is a loop of a few lines; who inserts goes down to where a
// child is missing. Nodes are their owners', so nothing can fail. A tree is
// a pointer to its root, NULL if it is empty.
//
// Heights are a summary of what is below a node, and a second one costs
// little more: the largest of some value that nodes have, if their owner
// needs that.

u64 tree_height(const struct tree_node *n)
{
    return n ? n->height : 0;
}

u64 tree_largest(const struct tree_node *n)
{
    return n ? n->largest : 0;
}

// Both, when a child may have changed. Does it matter further up?

bool tree_measure(struct tree_node *n)
{
    const struct tree_node *left = n->child[0], *right = n->child[1];
    u64 height = max(tree_height(left), tree_height(right)) + 1;
    u64 largest = max(n->value, max(tree_largest(left), tree_largest(right)));
    bool changed = height != n->height || largest != n->largest;

    n->height = height;
    n->largest = largest;
    return changed;
}

// The pointer that leads to a node, from its parent or from outside.

struct tree_node **tree_place(struct tree_node **root, const struct tree_node *n)
{
    return n->parent ? &n->parent->child[n == n->parent->child[1]] : root;
}

// Raises the child on one side, and returns it.

struct tree_node *tree_rotate(struct tree_node **root, struct tree_node *n, int side)
{
    struct tree_node *up = n->child[side], *between = up->child[!side];

    *tree_place(root, n) = up;
    up->parent = n->parent;
    up->child[!side] = n;
    n->parent = up;
    n->child[side] = between;
    if (between)
        between->parent = n;
    tree_measure(n);
    tree_measure(up);
    return up;
}

// Mends a difference of two. Returns what is on top afterwards.

struct tree_node *tree_balance(struct tree_node **root, struct tree_node *n)
{
    int side = tree_height(n->child[1]) > tree_height(n->child[0]);
    struct tree_node *high = n->child[side];

    if (tree_height(high->child[!side]) > tree_height(high->child[side]))
        tree_rotate(root, high, !side);
    return tree_rotate(root, n, side);
}

// From a node upwards, as far as something changes. Who has changed a value
// calls this, too.

void tree_repair(struct tree_node **root, struct tree_node *n)
{
    u64 left, right;

    for (; n; n = n->parent) {
        left = tree_height(n->child[0]);
        right = tree_height(n->child[1]);
        if (left > right + 1 || right > left + 1)
            n = tree_balance(root, n);
        else if (!tree_measure(n))
            return;
    }
}

// Adds a node with a value as a child of `parent` (NULL if the tree is
// empty) on a side where there is none.

void tree_insert(struct tree_node **root, struct tree_node *parent, int side,
                 struct tree_node *n, u64 value)
{
    *n = (struct tree_node){.parent = parent, .value = value};
    *(parent ? &parent->child[side] : root) = n;
    tree_repair(root, n);
}

// The first (0) or the last (1) node from here down, NULL if there is none.

struct tree_node *tree_end(struct tree_node *n, int side)
{
    while (n && n->child[side])
        n = n->child[side];
    return n;
}

// The node before this one (0), or behind it (1); NULL at the end. Of a
// node without children on that side, it is the first ancestor to whose
// other side it belongs.

struct tree_node *tree_step(const struct tree_node *n, int side)
{
    if (n->child[side])
        return tree_end(n->child[side], !side);
    while (n->parent && n == n->parent->child[side])
        n = n->parent;
    return n->parent;
}

// Takes a node out. If it has two children, its place is taken by the node
// behind it, which has no left child and so is easy to take out itself.

void tree_remove(struct tree_node **root, struct tree_node *n)
{
    struct tree_node *out = n->child[0] && n->child[1] ? tree_step(n, 1) : n;
    struct tree_node *below = out->child[!out->child[0]], *from = out->parent;

    *tree_place(root, out) = below;
    if (below)
        below->parent = from;
    if (out != n) {
        from = from == n ? out : from;
        *tree_place(root, n) = out;
        *out = (struct tree_node){.parent = n->parent, .child = {n->child[0], n->child[1]},
                                  .height = n->height, .value = out->value};
        out->child[0]->parent = out;
        if (out->child[1])
            out->child[1]->parent = out;
    }
    tree_repair(root, from);
    if (out != n)
        tree_repair(root, out);
}

// The audit of any tree: parents and summaries are right, and no difference
// is too large. Returns the height.

u64 tree_audit(struct tree_node *n, const struct tree_node *parent)
{
    u64 left, right;

    if (!n)
        return 0;
    assert(n->parent == parent);
    left = tree_audit(n->child[0], n);
    right = tree_audit(n->child[1], n);
    assert(left <= right + 1 && right <= left + 1);
    assert(n->height == 1 + max(left, right));
    assert(!tree_measure(n));
    return n->height;
}

// ## State {#as-state}
//
// Rights are written with the letters of the ELF file: `PF_R`, `PF_W`,
// `PF_X`.

#define AS_RIGHTS (u32)(PF_R | PF_W | PF_X)

struct as {
    u32 references;
    paddr root;                  /* the level-4 table */
    struct tree_node *mappings;  /* by address; they never overlap */
    u32 count;                   /* how many there are, */
    u64 size;                    /* and bytes in them */
    u64 limit;                   /* bytes that may be mapped, 0: all; chapter 13 */
    struct as *next;             /* among the spare ones */
};

struct mapping {
    struct tree_node node;       /* its value: how many bytes are free below */
    struct mapping *peer;        /* of the same VMO */
    struct mapping **peer_place; /* what points to this one */
    struct as *as;
    vaddr start, end;            /* whole pages */
    u32 rights;                  /* AS_RIGHTS; other bits are for later chapters */
    struct vmo *vmo;             /* never a slice; we hold a reference */
    u64 first;                   /* the VMO's page at `start` */
};

#define AS_SPARES 16

struct as_spares {
    u32 room;                    /* for so many tables, and a quarter as many spaces */
    u32 tables, spaces;          /* how many there are */
    paddr table[AS_SPARES];
    struct as *space;            /* the first */
};

struct as_state {
    struct as_spares spare;
    void (*flush)(struct as *space, vaddr from, vaddr to); /* entries there allow less */
};

void as_flush(struct as *space, vaddr from, vaddr to);

struct as_state as = {.flush = as_flush};

// ## Page tables {#as-tables}
//
// Four levels of tables with 512 entries each; nine bits of the address
// choose the entry in each, and the last twelve the byte in the page (SDM
// 3A, 4.5). Tables are frames of the KERNEL zone, owner 'T'.
//
// ::: {#fig-walk .figure file="book/figures/walk.svg"}
//              47     39 38     30 29     21 20     12 11        0
//              | level 4 | level 3 | level 2 | level 1 | byte     |
//     0x40101f | 0       | 0       | 2       | 1       | 0x1f     |
//                |         |         |         |         |
//     CR3 ---> table --> table --> table --> table --> frame
//
// The walk to the first instruction of `hello`: five reads of memory for
// one byte, which is why the processor remembers the result.
// :::
//
// The frame table counts references for any frame, and for tables it can
// count something useful: *a table has one reference for existing and one
// for each entry in use*. So we know without looking when a table has
// become empty.

u64 as_level_size(int level)
{
    return FRAME_SIZE << 9 * (level - 1);
}

// Programs start and end all the time, and a table that has become empty is
// all zero, which is just what a new one has to be. A few are kept for
// those who come next, who are spared to clear one; and for address spaces
// the same. There are as many from the start, so that it can be told at the
// end whether a frame is missing.

paddr as_new_table(void)
{
    struct as_spares *s = &as.spare;

    return s->tables ? s->table[--s->tables] : pmm_alloc_zeroed(&pmm, ZONE_KERNEL, 'T');
}

void as_give_back(paddr table)
{
    struct as_spares *s = &as.spare;

    if (s->tables < s->room)
        s->table[s->tables++] = table;
    else
        pmm_free(&pmm, ZONE_KERNEL, table);
}

// The entry for an address in a table of some level:

u64 *as_table_entry(paddr table, vaddr address, int level)
{
    return (u64 *)boot_physical(table) + (address >> (FRAME_SHIFT + 9 * (level - 1)) & 511);
}

// Goes down to the entry of a page, adding tables where there are none. The
// upper levels allow everything, the lowest decides. Returns the entry, and
// in `*table` the table it is in; NULL if there is no memory. (Tables that
// were added before it ran out stay, empty, until `as_unmap()` comes by.)
// Entries on the way are taken for ways to tables, as nobody makes a large
// page in the lower half; `make hunt BUG=big-page` does.

u64 *as_make_entry(struct as *space, vaddr address, paddr *table)
{
    u64 *entry;
    int level;

    *table = space->root;
    for (level = 4; level > 1; level--) {
        entry = as_table_entry(*table, address, level);
        if (!*entry) {
            paddr new = as_new_table();

            if (!new)
                return NULL;
            *entry = new | PTE_PRESENT | PTE_WRITE | PTE_USER;
            pmm_get(&pmm, *table);
        }
        *table = *entry & PTE_ADDRESS;
    }
    return as_table_entry(*table, address, 1);
}

int as_enter_page(struct as *space, vaddr page, paddr frame, u32 rights)
{
    paddr table;
    u64 *entry = as_make_entry(space, page, &table);

    if (!entry)
        return -ENOMEM;
    if (!*entry)
        pmm_get(&pmm, table);
    *entry = frame | PTE_PRESENT | PTE_USER | (rights & PF_W ? PTE_WRITE : 0) |
             (rights & PF_X ? 0 : PTE_NX);
    return 0;
}

// The processor keeps copies of entries in a cache, the *TLB*, and does not
// notice when we change them; `invlpg` tells it, page by page, or CR3 is
// loaded again, and it forgets all. Only the copies of the address space in
// use can matter, for CR3 was loaded since any other was. When an entry is
// added, nothing need be said: what is not there is never cached (SDM 3A,
// 4.10.2.3). Nor when it comes to allow more: at worst the old copy causes
// a fault, and with the fault it is dropped (SDM 3A, 4.10.4.1). So this is
// for entries that have come to allow less, *and before anybody relies on
// that*; the range is whole pages.

#define AS_FLUSH_SINGLY (32 * FRAME_SIZE) /* from there on, loading CR3 is cheaper */

void as_flush(struct as *space, vaddr from, vaddr to)
{
    if (space != cpu_local()->space)
        return;
    if (to - from > AS_FLUSH_SINGLY)
        cpu_write_cr3(space->root);
    else
        for (; from < to; from += FRAME_SIZE)
            cpu_invlpg(from);
}

// The other direction. From an entry we take what we are told to: the right
// to write, or all, or all and the table as well if it becomes empty by it.

enum as_removal {
    AS_WRITE_PROTECT,
    AS_FORGET,
    AS_UNMAP,
};

void as_remove_entry(paddr table, u64 *entry, enum as_removal what)
{
    if (what == AS_WRITE_PROTECT) {
        *entry &= ~PTE_WRITE;
    } else {
        *entry = 0;
        pmm_put(&pmm, table);
    }
}

// Entries of the upper levels are cached, too, and `invlpg` drops those on
// the way to its page. So when a table has become empty, the entry that
// leads to it is cleared, the processor told, and only then the table
// freed; in any other order it may still be read as a table when it has
// long been something else.

void as_free_table(struct as *space, paddr table, u64 *entry, vaddr address)
{
    paddr below = *entry & PTE_ADDRESS;

    *entry = 0;
    as.flush(space, address, address + FRAME_SIZE);
    as_give_back(below);
    pmm_put(&pmm, table);
}

// A range is walked by what is in the tables, not by its size: what is
// empty is passed over, and we stop when we have seen all that is not.
// Returns the next entry in use, `end` if there is none.

u64 *as_next_used(u64 *entry, u64 *end)
{
    return entry + cpu_scasq(entry, 0, (u64)(end - entry));
}

// On level 1 it is entries that change; above, each leads to a table, which
// is entered for the part of the range that it covers. `at` is the address
// at which that begins.

void as_remove(struct as *space, paddr table, int level, vaddr from, vaddr to,
               enum as_removal what)
{
    u64 size = as_level_size(level), left = pmm_references(&pmm, table) - 1;
    u64 *first = as_table_entry(table, from, level), *entry;
    u64 *end = as_table_entry(table, to - 1, level) + 1;
    vaddr at = 0, changed = 0;
    paddr below;

    for (entry = first; left; left--, entry++) {
        entry = as_next_used(entry, end);
        if (entry == end)
            break;
        at = align_down(from, size) + (u64)(entry - first) * size;
        if (level == 1) {
            as_remove_entry(table, entry, what);
            changed = changed ? changed : at;
            continue;
        }
        below = *entry & PTE_ADDRESS;
        as_remove(space, below, level - 1, max(at, from), min(at + size, to), what);
        if (what == AS_UNMAP && pmm_references(&pmm, below) == 1)
            as_free_table(space, table, entry, at);
    }
    if (changed)
        as.flush(space, changed, at + FRAME_SIZE);
}

// A single page needs no search: straight down to its entry, if there is
// one.

void as_remove_page(struct as *space, vaddr page, enum as_removal what)
{
    paddr table = space->root;
    u64 *entry;
    int level;

    for (level = 4; level > 1; level--) {
        entry = as_table_entry(table, page, level);
        if (!*entry)
            return;
        table = *entry & PTE_ADDRESS;
    }
    entry = as_table_entry(table, page, 1);
    if (!*entry)
        return;
    as_remove_entry(table, entry, what);
    as.flush(space, page, page + FRAME_SIZE);
}

// [Chapter 5](#vmo-state) promised to tell us when pages of a VMO change
// their frame. We pass it on to all mappings that show them.

void as_revoke(struct vmo *v, u64 from, u64 to, bool only_writing)
{
    enum as_removal what = only_writing ? AS_WRITE_PROTECT : AS_FORGET;
    struct mapping *m;
    u64 first, last;
    vaddr start;

    for (m = v->mappings; m; m = m->peer) {
        first = max(from, m->first);
        last = min(to, m->first + ((m->end - m->start) >> FRAME_SHIFT));
        start = m->start + ((first - m->first) << FRAME_SHIFT);
        if (first + 1 == last)
            as_remove_page(m->as, start, what);
        else if (first < last)
            as_remove(m->as, m->as->root, 4, start, start + ((last - first) << FRAME_SHIFT),
                      what);
    }
}

// ## Mappings {#as-mappings}
//
// The search goes down to the right as long as mappings begin at the
// address or below it. The last such is the one that the address lies in,
// if it lies in any.

struct mapping *mapping_of(struct tree_node *n)
{
    return n ? container_of(n, struct mapping, node) : NULL;
}

// The one with the lowest addresses, NULL if there is none.

struct mapping *mapping_first(const struct as *space)
{
    return mapping_of(tree_end(space->mappings, 0));
}

// The one that follows, NULL if there is none.

struct mapping *mapping_next(const struct mapping *m)
{
    return mapping_of(tree_step(&m->node, 1));
}

// The last mapping that begins at `address` or below, NULL if there is
// none.

struct mapping *as_find_last(const struct as *space, vaddr address)
{
    struct tree_node *n = space->mappings;
    struct mapping *m, *last = NULL;

    while (n) {
        m = mapping_of(n);
        if (m->start <= address)
            last = m;
        n = n->child[m->start <= address];
    }
    return last;
}

// The mapping that an address lies in, NULL if nothing is mapped there.

struct mapping *as_find(const struct as *space, vaddr address)
{
    struct mapping *m = as_find_last(space, address);

    return m && address < m->end ? m : NULL;
}

// The first that ends above `address`, NULL if there is none.

struct mapping *as_find_from(const struct as *space, vaddr address)
{
    struct mapping *m = as_find_last(space, address);

    if (!m)
        return mapping_first(space);
    return address < m->end ? m : mapping_next(m);
}

// Each node's value is the gap below the mapping, as far as that is part of
// where new memory may go. So the tree knows the largest gap from each node
// down, and one that is large enough is found like anything else.

vaddr mapping_gap_end(const struct mapping *m)
{
    return m->start < USER_PROGRAM_END ? m->start : USER_PROGRAM_END;
}

u64 mapping_gap(const struct mapping *m, const struct mapping *below)
{
    vaddr low = below ? below->end : USER_START, high = mapping_gap_end(m);

    return high > low ? high - low : 0;
}

// The highest gap of the size below the stack, so that new memory often
// finds its page tables there already. Returns its start, or 0 if there is
// none. Above the last mapping there is a gap, too, and no mapping to know
// it.

vaddr as_find_gap(const struct as *space, u64 size)
{
    struct tree_node *n = space->mappings;
    const struct mapping *last = mapping_of(tree_end(n, 1));

    if (!size || size > USER_PROGRAM_END - USER_START)
        return 0;
    if (!last || last->end <= USER_PROGRAM_END - size)
        return USER_PROGRAM_END - size;
    if (tree_largest(n) < size)
        return 0;
    while (tree_largest(n->child[1]) >= size || n->value < size)
        n = n->child[tree_largest(n->child[1]) >= size];
    return mapping_gap_end(mapping_of(n)) - size;
}

// Attaching a mapping takes a reference to its VMO, detaching drops it. A
// VMO can have very many mappings, in any order, so leaving their list must
// not take a search.

void mapping_attach(struct mapping *m)
{
    struct mapping **place = (struct mapping **)&m->vmo->mappings;

    vmo_get(m->vmo);
    m->peer = *place;
    m->peer_place = place;
    if (m->peer)
        m->peer->peer_place = &m->peer;
    *place = m;
    m->as->count++;
    m->as->size += m->end - m->start;
}

void mapping_detach(struct mapping *m)
{
    *m->peer_place = m->peer;
    if (m->peer)
        m->peer->peer_place = m->peer_place;
    m->as->count--;
    m->as->size -= m->end - m->start;
    vmo_put(m->vmo);
}

// Into the tree, where nothing may be mapped at that place, and out of it.
// The mapping above it then has another gap. (Above it in the tree, too, so
// what is repaired there has mostly been repaired already.)

void mapping_insert(struct mapping *m)
{
    struct tree_node *n = m->as->mappings, *parent = NULL;
    struct mapping *beside[2] = {NULL, NULL}; /* above and below it */
    int side = 0;

    while (n) {
        parent = n;
        side = mapping_of(n)->start < m->start;
        beside[side] = mapping_of(n);
        n = n->child[side];
    }
    if (beside[0])
        beside[0]->node.value = mapping_gap(beside[0], m);
    tree_insert(&m->as->mappings, parent, side, &m->node, mapping_gap(m, beside[1]));
    if (beside[0])
        tree_repair(&m->as->mappings, &beside[0]->node);
    mapping_attach(m);
}

// Returns the next one.

struct mapping *mapping_remove(struct mapping *m)
{
    const struct mapping *below = mapping_of(tree_step(&m->node, 0));
    struct mapping *next = mapping_next(m);

    if (next)
        next->node.value = mapping_gap(next, below);
    tree_remove(&m->as->mappings, &m->node);
    if (next)
        tree_repair(&m->as->mappings, &next->node);
    mapping_detach(m);
    heap_free(&heap, m);
    return next;
}

// A new mapping, NULL if there is no memory. A program may have 65,530 of
// them, as on Linux: they are the kernel's memory, and somebody might not
// know when to stop.

#define AS_MAPPINGS_MAX 65530

struct mapping *mapping_alloc(struct as *space)
{
    return space->count < AS_MAPPINGS_MAX ? heap_alloc(&heap, sizeof(struct mapping)) : NULL;
}

// Is this a range of whole pages which programs may have? Are these rights
// that they may have? Either none at all, or reading and at most one of
// writing and executing: the page tables cannot express a page that can be
// written but not read.

bool as_is_range(vaddr start, u64 size)
{
    return start % FRAME_SIZE == 0 && size && size % FRAME_SIZE == 0 &&
           start >= USER_START && start < USER_END && size <= USER_END - start;
}

bool as_is_rights(u32 rights)
{
    rights &= AS_RIGHTS;
    return !rights || (rights & PF_R && !(rights & PF_W && rights & PF_X));
}

// A mapping that continues the one before it, in memory and in the VMO,
// only makes that one longer.

bool as_extend(struct mapping *last, const struct mapping *new)
{
    struct mapping *next;

    if (!last || last->end != new->start || last->vmo != new->vmo ||
        last->rights != new->rights ||
        last->first + ((last->end - last->start) >> FRAME_SHIFT) != new->first)
        return false;
    last->end = new->end;
    last->as->size += new->end - new->start;
    next = mapping_next(last);
    if (next) {
        next->node.value = mapping_gap(next, last);
        tree_repair(&next->as->mappings, &next->node);
    }
    return true;
}

// Shows `size` bytes of a VMO, from `offset` on, at `start`; all three are
// whole pages. -EINVAL if the arguments make no sense, -EEXIST if something
// is mapped there, -ENOMEM. The mapping keeps a reference to the VMO.

int as_map(struct as *space, vaddr start, u64 size, u32 rights, struct vmo *v, u64 offset)
{
    struct mapping *last, *next, *m, new;

    if (!as_is_range(start, size) || offset % FRAME_SIZE || offset > v->size ||
        size > align_up(v->size, FRAME_SIZE) - offset || !as_is_rights(rights))
        return -EINVAL;
    last = as_find_last(space, start);
    next = last ? mapping_next(last) : mapping_first(space);
    if ((last && last->end > start) || (next && next->start < start + size))
        return -EEXIST;
    if (space->limit && space->size + size > space->limit)
        return -ENOMEM;
    v = vmo_resolve(v, &offset);
    new = (struct mapping){.as = space, .start = start, .end = start + size, .rights = rights,
                           .vmo = v, .first = offset >> FRAME_SHIFT};
    if (as_extend(last, &new))
        return 0;
    m = mapping_alloc(space);
    if (!m)
        return -ENOMEM;
    *m = new;
    mapping_insert(m);
    return 0;
}

// What concerns a part of a mapping is done by cutting it in two first.
// After `as_split()` no mapping lies across the address, and nothing else
// has changed.

int as_split(struct as *space, vaddr at)
{
    struct mapping *m = as_find(space, at), *rest;

    if (!m || m->start == at)
        return 0;
    rest = mapping_alloc(space);
    if (!rest)
        return -ENOMEM;
    *rest = *m;
    rest->start = at;
    rest->first += (at - m->start) >> FRAME_SHIFT;
    space->size -= m->end - at;
    m->end = at;
    mapping_insert(rest);
    return 0;
}

// Removes whatever is mapped in a range, also parts of mappings, and
// nothing if there is nothing. -EINVAL, or -ENOMEM: then all is as before.

int as_unmap(struct as *space, vaddr start, u64 size)
{
    struct mapping *m;

    if (!as_is_range(start, size))
        return -EINVAL;
    if (as_split(space, start) || as_split(space, start + size))
        return -ENOMEM;
    as_remove(space, space->root, 4, start, start + size, AS_UNMAP);
    for (m = as_find_from(space, start); m && m->start < start + size;)
        m = mapping_remove(m);
    return 0;
}

// Changes the rights in a range in which all must be mapped (-ENOMEM if
// not, as Linux says it). What is in the tables is forgotten, and comes
// back by faults with the new rights.

int as_protect(struct as *space, vaddr start, u64 size, u32 rights)
{
    struct mapping *m;
    vaddr at;

    if (!as_is_range(start, size) || !as_is_rights(rights))
        return -EINVAL;
    m = as_find(space, start);
    for (at = start; at < start + size; at = m->end, m = mapping_next(m))
        if (!m || m->start > at)
            return -ENOMEM;
    if (as_split(space, start) || as_split(space, start + size))
        return -ENOMEM;
    for (m = as_find(space, start); m && m->start < start + size; m = mapping_next(m))
        m->rights = (m->rights & ~AS_RIGHTS) | rights;
    as_remove(space, space->root, 4, start, start + size, AS_FORGET);
    return 0;
}

// ## Whole address spaces {#as-life}
//
// Every address space has the kernel in its upper half: the upper half of
// the root is copied, and with it the way to the same lower tables, so what
// changes in those changes for all. (A new entry in the root itself would
// not. The kernel never makes one after its start.) That a program cannot
// see these pages is due to the user bit alone. 0 if there is no memory.

paddr as_new_root(void)
{
    paddr root = pmm_alloc(&pmm, ZONE_KERNEL, 'T');

    if (!root)
        return 0;
    zone_check_metadata(boot_physical(root), FRAME_SIZE);
    memset(boot_physical(root), 0, FRAME_SIZE / 2);
    memcpy((u8 *)boot_physical(root) + FRAME_SIZE / 2,
           (u8 *)boot_physical(boot.info->root) + FRAME_SIZE / 2, FRAME_SIZE / 2);
    return root;
}

struct as *as_new(void)
{
    struct as *space = heap_alloc_zeroed(&heap, sizeof *space);

    if (!space)
        return NULL;
    space->root = as_new_root();
    if (space->root)
        return space;
    heap_free(&heap, space);
    return NULL;
}

// Makes an empty address space, with one reference; NULL if there is no
// memory.

struct as *as_create(void)
{
    struct as *space = as.spare.space;

    if (space) {
        as.spare.space = space->next;
        as.spare.spaces--;
    } else {
        space = as_new();
    }
    if (space)
        space->references = 1;
    return space;
}

// One that has become empty.

void as_keep(struct as *space)
{
    if (as.spare.spaces == as.spare.room / 4) {
        pmm_free(&pmm, ZONE_KERNEL, space->root);
        heap_free(&heap, space);
        return;
    }
    space->limit = 0;
    space->next = as.spare.space;
    as.spare.space = space;
    as.spare.spaces++;
}

// A reference more, for who shares it. (Programs do not yet; with a
// [true `vfork`](#ex-proc-vfork) two do.)

struct as *as_get(struct as *space)
{
    space->references++;
    return space;
}

// And one less. With the last one goes all that it consists of. It must not
// be the current one then.

void as_put(struct as *space)
{
    struct mapping *m;

    if (--space->references)
        return;
    assert(space != cpu_local()->space);
    for (m = mapping_first(space); m; m = mapping_remove(m))
        as_remove(space, space->root, 4, m->start, m->end, AS_UNMAP);
    as_keep(space);
}

// From the start on, `room` tables are kept, and a quarter as many address
// spaces.

void as_fill_spares(u32 room)
{
    struct as *space;
    paddr table;

    as.spare.room = room;
    while (as.spare.tables < room) {
        table = pmm_alloc_zeroed(&pmm, ZONE_KERNEL, 'T');
        assert(table);
        as_give_back(table);
    }
    while (as.spare.spaces < room / 4) {
        space = as_new();
        assert(space);
        as_keep(space);
    }
}

// Makes the processor use the tables of an address space, or of none, which
// means the kernel's own.

void as_switch(struct as *space)
{
    cpu_local()->space = space;
    cpu_write_cr3(space ? space->root : boot.info->root);
}

// ## Faults {#as-fault}
//
// A program wants to access `address` in a way, `PF_R`, `PF_W` or `PF_X`,
// that the tables do not allow. Is there a mapping that does? Then make the
// tables agree with it. Returns 0 if the access can be repeated, -EFAULT if
// it is forbidden, -ENOMEM.
//
// A page that was never written is shown as the one frame of zeros,
// read-only. A frame that is only ours we may enter as writable at once,
// even for a read: the program will probably write soon.

int as_fault(struct as *space, vaddr address, u32 access)
{
    struct mapping *m = as_find(space, address);
    vaddr page = align_down(address, FRAME_SIZE);
    u32 rights;
    u64 index;
    paddr frame;

    if (!m || (m->rights & access) != access)
        return -EFAULT;
    index = m->first + ((page - m->start) >> FRAME_SHIFT);
    if (index >= vmo_pages(m->vmo->size))
        return -EFAULT;
    frame = access & PF_W ? vmo_commit_page(m->vmo, index) : vmo_frame(m->vmo, index);
    if (!frame && access & PF_W)
        return -ENOMEM;
    rights = m->rights;
    if (!frame || (!(access & PF_W) && pmm_references(&pmm, frame) > 1))
        rights &= ~(u32)PF_W;
    if (!frame)
        m->vmo->zeros_mapped = true;
    return as_enter_page(space, page, frame ? frame : vmo.zero, rights);
}

// ::: {#walk-fault .walk}
//     from as_fault
//     into as_find as_find_last as_enter_page as_make_entry
//     draw tables space->root page
//
// The first instruction of the first program is a fault: there is a
// mapping, but nothing on the way to it. Three tables are made, and then
// the entry.
// :::
//
// ## Reading what a program points to {#as-read}
//
// A pointer that a program passes to us is a number, not a pointer. We
// never use it as an address. The mappings tell which bytes of which VMO it
// means, and those are read there. Returns how many of `size` bytes could
// be read.

u64 as_read(struct as *space, vaddr from, void *to, u64 size)
{
    struct mapping *m;
    u64 done, part, page;
    paddr frame;

    for (done = 0; done < size; done += part) {
        m = as_find(space, from + done);
        if (!m || !(m->rights & PF_R))
            break;
        page = m->first + ((from + done - m->start) >> FRAME_SHIFT);
        if (page >= vmo_pages(m->vmo->size))
            break;
        frame = vmo_frame(m->vmo, page);
        part = vmo_part(from + done, size - done);
        memcpy((u8 *)to + done, (u8 *)boot_physical(frame ? frame : vmo.zero) +
                                    (from + done) % FRAME_SIZE, part);
    }
    return done;
}

// ## The audit {#as-audit}
//
// The mappings, their gaps, and that they are in order. And every live
// table of an address space, to compare what it allows with what it may
// allow.

void as_audit_mappings(const struct as *space)
{
    const struct mapping *m, *below = NULL;
    u64 count = 0, size = 0;

    tree_audit(space->mappings, NULL);
    for (m = mapping_first(space); m; m = mapping_next(m)) {
        assert(m->as == space && m->start < m->end && as_is_range(m->start, m->end - m->start));
        assert(!below || below->end <= m->start);
        assert(m->node.value == mapping_gap(m, below));
        below = m;
        count++;
        size += m->end - m->start;
    }
    assert(count == space->count && size == space->size);
}

void as_audit_user_page(struct as *space, vaddr page, u64 entry)
{
    struct mapping *m = as_find(space, page);
    paddr frame = entry & PTE_ADDRESS, own;
    const struct frame *f = &pmm.frame[frame >> FRAME_SHIFT];

    assert(m && entry & PTE_USER);
    own = vmo_frame(m->vmo, m->first + ((page - m->start) >> FRAME_SHIFT));
    assert(!(entry & PTE_WRITE) || (m->rights & PF_W && f->references == 1));
    assert(entry & PTE_NX || m->rights & PF_X);
    assert(f->zone == ZONE_USER && f->state == FRAME_USED);
    assert(frame == (own ? own : vmo.zero));
}

// An entry shows a page, or leads to a table, which is walked with all that
// is below it. Nothing in the upper half has the user bit, and no page is
// both writable and executable.

void as_audit_table(struct as *space, paddr table, int level, vaddr base);

void as_audit_entry(struct as *space, u64 entry, int level, vaddr address)
{
    assert(address < DIRECT_MAP || !(entry & PTE_USER));
    if (level > 1 && !(entry & PTE_LARGE)) {
        as_audit_table(space, entry & PTE_ADDRESS, level - 1, address);
        return;
    }
    assert(!(entry & PTE_WRITE) || entry & PTE_NX);
    if (address < DIRECT_MAP)
        as_audit_user_page(space, address, entry);
}

// A program's table lies in the KERNEL zone, and its reference count is
// what the entries say. Of the root only the lower half is walked.

void as_audit_table(struct as *space, paddr table, int level, vaddr base)
{
    u64 i, entry, used = 0;
    vaddr address;

    for (i = 0; i < (level == 4 ? 256 : 512); i++) {
        address = base + i * as_level_size(level);
        entry = ((u64 *)boot_physical(table))[i];
        if (entry) {
            as_audit_entry(space, entry, level, address);
            used++;
        }
    }
    if (base < DIRECT_MAP) {
        zone_check_metadata(boot_physical(table), FRAME_SIZE);
        assert(pmm_references(&pmm, table) == used + 1);
    }
}

// The whole of one; its upper half must be everybody's.

void as_audit(struct as *space)
{
    as_audit_mappings(space);
    as_audit_table(space, space->root, 4, 0);
    assert(memcmp((u8 *)boot_physical(space->root) + FRAME_SIZE / 2,
                  (u8 *)boot_physical(boot.info->root) + FRAME_SIZE / 2, FRAME_SIZE / 2) == 0);
}

// A spare table has nobody who refers to it, and no entry; nor has that of
// a spare address space, in the half that is the program's.

void as_audit_spare(paddr table, u64 entries)
{
    const u64 *entry = boot_physical(table);

    assert(pmm_references(&pmm, table) == 1);
    assert(cpu_scasq(entry, 0, entries) == entries);
}

void as_audit_spares(void)
{
    const struct as *space;
    u32 i, spaces = 0;

    for (i = 0; i < as.spare.tables; i++)
        as_audit_spare(as.spare.table[i], 512);
    for (space = as.spare.space; space; space = space->next, spaces++) {
        as_audit_spare(space->root, 256);
        assert(!space->references && !space->mappings && !space->count && !space->size);
    }
    assert(spaces == as.spare.spaces);
}

// What the upper halves lead to is the same for all, and large, as it maps
// all memory. So it is audited by itself, once in a while, and the spare
// tables with it.

void as_audit_kernel(void)
{
    u64 i, entry;

    as_audit_spares();
    for (i = 256; i < 512; i++) {
        entry = ((u64 *)boot_physical(boot.info->root))[i];
        if (entry)
            as_audit_entry(NULL, entry, 4, 0xffff000000000000UL | i * as_level_size(4));
    }
}

struct audit as_audits = {"tables", as_audit_kernel, NULL};

// ## Protecting ourselves from ourselves {#user-protect}
//
// Newer processors can help a kernel against its own mistakes. SMEP: ring 0
// does not execute pages of programs. SMAP: it does not even read or write
// them, unless the flag AC says so. UMIP: programs may not ask where our
// tables are. (WP and NX are on since the prologue.) We switch on what
// there is. Vector registers are for programs: the kernel is compiled not
// to use them, so that traps and system calls need not save them. FXSAVE is
// as far as we go, so that 512 bytes hold their state.

#define CR0_MP (1UL << 1)
#define CR0_EM (1UL << 2)
#define CR0_TS (1UL << 3)
#define CR4_OSFXSR (1UL << 9)
#define CR4_OSXMMEXCPT (1UL << 10)
#define CR4_UMIP (1UL << 11)
#define CR4_SMEP (1UL << 20)
#define CR4_SMAP (1UL << 21)

struct cpu_protection {
    const char *name;
    bool ecx;            /* the bit is in ECX of CPUID 7, else in EBX */
    u32 bit;
    u64 cr4;
};

const struct cpu_protection cpu_protections[] = {
    {"SMEP", false, 7, CR4_SMEP}, {"SMAP", false, 20, CR4_SMAP}, {"UMIP", true, 2, CR4_UMIP}};

void cpu_protect(void)
{
    struct cpuid features = {0};
    u64 cr4 = cpu_read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT;
    const struct cpu_protection *p;

    if (cpu_cpuid(0, 0).eax >= 7)
        features = cpu_cpuid(7, 0);
    for (p = cpu_protections; p < cpu_protections + array_count(cpu_protections); p++)
        if ((p->ecx ? features.ecx : features.ebx) >> p->bit & 1)
            cr4 |= p->cr4;
    cpu_write_cr4(cr4);
    cpu_write_cr0((cpu_read_cr0() | CR0_MP) & ~(CR0_EM | CR0_TS));
}

// Each program starts with the vector registers as the ABI wants them
// (x86-64 psABI, 3.4.1), not as the last program left them.

struct fpu_state {
    u16 control, status;
    u8 pad[20];
    u32 mxcsr;           /* how SSE computes, and what went wrong */
    u32 mxcsr_mask;      /* which bits of that exist; 0: those of the first SSE */
    u8 rest[480];
} aligned_to(16);

struct fpu_state fpu_fresh = {.control = 0x37f, .mxcsr = 0x1f80};

void cpu_fxsave(struct fpu_state *s)
{
    __asm__ volatile("fxsave (%0)" : : "r"(s) : "memory");
}

// Where an instruction of the old floating-point unit was, and what it read
// from memory, the processor keeps for whoever handles its exceptions.
// AMD's processors save and restore that only while an exception is pending
// (APM 2, 11.4.4), so the next program could read it. We put our own
// addresses there, by an instruction of no importance.

void cpu_fxrstor(struct fpu_state *s)
{
    static const u32 zero;

    __asm__ volatile("fnclex\n emms\n fildl %0" : : "m"(zero));
    __asm__ volatile("fxrstor (%0)" : : "r"(s) : "memory");
}

// To load a bit of `mxcsr` that the processor does not have is an
// exception, in ring 0. So it is asked which it has (SDM 1, 11.6.6).

u32 fpu_mxcsr_mask;

void fpu_init(void)
{
    static struct fpu_state now;

    cpu_fxsave(&now);
    fpu_mxcsr_mask = now.mxcsr_mask ? now.mxcsr_mask : 0xffbf;
}

// ## Into ring 3 {#user-enter}
//
// No instruction simply says "go to ring 3"; those that lead there all
// pretend to *return*. We take the one that returns from an interrupt,
// `iretq`, because it loads everything at once. So we make up a frame as if
// an interrupt had come from ring 3, and return from what has never
// happened. It is the frame of [Chapter 1](#boot-traps), whose last five
// words are the processor's.
//
// ::: {#fig-iretq .figure file="book/figures/iretq.svg"}
//        | SS      0x1b     a data segment, ring 3        |  high
//        | RSP              the program's stack           |
//        | RFLAGS  0x2      always set; interrupts off    |
//        | CS      0x23     a code segment, ring 3        |
//        | RIP              the program's entry point     |
//     -> | error, vector, 15 registers: all zero          |  low
//
// The frame, and what `iretq` makes of it: five words, loaded at once.
// :::
//
// As the low bits of CS say 3, the processor is in ring 3 with the next
// instruction. (The ancestor's gate for `int 0x80` was closed to ring 3,
// its descriptor said privilege 0: the way in worked, the way back was a
// wall. It is the bit to check first, and `make hunt BUG=dpl0` clears it.)
//
// How does the way back work? The processor must find a stack, and must not
// trust the program's. On an interrupt it takes the one named in the
// task-state segment. `syscall` changes no stack, so the entry code takes
// the same one from there, by way of GS. `user_enter()` saves the registers
// that a C function must preserve, declares everything below to be the
// stack for traps, and goes. `user_leave()` returns from `user_enter()`,
// from wherever it is called: this is how a program's end becomes a
// function's return.
//
//     | ... ch07_main() ... user_execute()     |  high
//     |     with its struct trap_frame         |  <- trap_return pops this
//     | return address of user_enter()         |
//     | six registers, eight bytes to align    |
//     |----------------------------------------|  <- user_return_stack,
//     | frame of the next trap or system call  |     tss.rsp[0]
//     | its C functions                        |  low

void cpu_set_kernel_stack(u64 top);
void cpu_clear_segments(void);
int user_enter(struct trap_frame *frame);
void user_leave(int status) noreturn;
extern u8 syscall_entry[];

u64 user_return_stack;   /* where user_enter() has saved registers */

void cpu_set_kernel_stack(u64 top)
{
    cpu_local()->tss.rsp[0] = top;
}

__asm__(".text\n"
        ".globl user_enter\n"
        "user_enter:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    subq $8, %rsp\n"             /* traps want a multiple of 16 */
        "    movq %rsp, user_return_stack(%rip)\n"
        "    movq %rdi, %rbx\n"
        "    movq %rsp, %rdi\n"
        "    call cpu_set_kernel_stack\n"
        "    call cpu_clear_segments\n"
        "    movq %rbx, %rsp\n"           /* the frame is the stack now */
        "    jmp trap_return\n"
        ".globl user_leave\n"
        "user_leave:\n"
        "    movl %edi, %eax\n"
        "    movq user_return_stack(%rip), %rsp\n"
        "    addq $8, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n");

// The other segment registers mean nothing in 64-bit mode, but a program
// could leave a message for the next one in them. So each starts with zeros
// there. With a selector its base is loaded as well, and GS's must be the
// program's just then, not ours.

__asm__(".globl cpu_clear_segments\n"
        "cpu_clear_segments:\n"
        "    xorl %eax, %eax\n"
        "    movw %ax, %ds\n"
        "    movw %ax, %es\n"
        "    movw %ax, %fs\n" SWAPGS
        "    movw %ax, %gs\n" SWAPGS
        "    ret\n");

// ## System calls {#user-syscall}
//
// `syscall` saves RIP in `rcx` and the flags in `r11`, clears the flags
// that we have listed, and jumps (SDM 2B, "SYSCALL"). It leaves the stack
// alone. We switch to ours and then build the same frame that a trap would
// have made: one form for everything that comes from ring 3, and one way
// back. The vector is a number that no trap has.

#define VECTOR_SYSCALL 256

#define SYSCALL_FRAME SWAPGS \
    "    movq %rsp, " LOCAL_USER_STACK "\n" \
    "    movq " LOCAL_KERNEL_STACK ", %rsp\n" \
    "    pushq $0x1b\n" /* SS */ \
    "    pushq " LOCAL_USER_STACK "\n" /* RSP */ \
    "    pushq %r11\n" /* RFLAGS */ \
    "    pushq $0x23\n" /* CS */ \
    "    pushq %rcx\n" /* RIP */ \
    "    pushq %rax\n" /* instead of an error code, the number of the call */ \
    "    pushq $256\n" /* VECTOR_SYSCALL */ \
    TRAP_SAVE

__asm__(".globl syscall_entry\n"
        "syscall_entry:\n" SYSCALL_FRAME
        "    movq %rsp, %rdi\n"
        "    call user_syscall\n" UNWIND_TRAPPED
        "    jmp trap_return\n" UNWIND_END);

// The registers that steer it are *model-specific registers*. STAR holds
// the segments: for the way in code 0x08, the stack segment is the next
// one; for a way back that we do not use yet, the base of the user's pair.
// There the two makers differ. Intel's processors put the ring into both
// selectors of the way back themselves (SDM 2B, "SYSRET"). AMD's do so for
// the code and load SS as it stands, eight more than the base (APM 3,
// "SYSRET"): with the base 0x10 a program would come back with SS 0x18,
// ring 0, run on without noticing, as nothing looks at SS in 64-bit mode,
// and be interrupted; and `iretq`, which looks, would refuse to go back to
// such a segment. No emulator shows that, for all follow Intel here. So
// the base has the ring in it, 0x13, which is right by both books.
// FMASK lists the flags to clear: traps, interrupts, direction, privilege
// of ports, nested task, AC. The base that `swapgs` exchanges for ours is
// 0, and stays so, as programs cannot set it. There is an older door of
// this kind, `sysenter`. Where it leads the firmware may know; without a
// segment it stays shut (SDM 2B, "SYSENTER").

#define MSR_SYSENTER_SEGMENT 0x174
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102
#define SYSCALL_CLEARED_FLAGS 0x47700

void cpu_init_syscall(void)
{
    cpu_wrmsr(MSR_STAR, (SEGMENT_KERNEL_DATA | 3UL) << 48 | (u64)SEGMENT_KERNEL_CODE << 32);
    cpu_wrmsr(MSR_LSTAR, (u64)syscall_entry);
    cpu_wrmsr(MSR_FMASK, SYSCALL_CLEARED_FLAGS);
    cpu_wrmsr(MSR_KERNEL_GS_BASE, 0);
    cpu_wrmsr(MSR_SYSENTER_SEGMENT, 0);
    cpu_wrmsr(MSR_EFER, cpu_rdmsr(MSR_EFER) | EFER_SCE);
}

// A table leads from the number to the function. Chapters enter theirs, and
// a later one may replace a function by a better one. A function gets the
// frame with the arguments in `rdi`, `rsi`, `rdx`, `r10`, `r8` and `r9`,
// and returns what the program finds in `rax`. The number is 64 bits wide
// and is compared as such (CVE-2007-4573 was a comparison of 32).
//
// The numbers up to 511 are Linux's; what Linux does not have, we number
// from 0x1000. A number that we do not know is answered by -ENOSYS, which
// programs can live with. The console is told once for each program.

#define SYSCALL_COUNT 512
#define SYSCALL_OWN 0x1000
#define SYSCALL_OWN_COUNT 64

typedef s64 syscall_function(struct trap_frame *f);

// A program will be given more than memory, by chapters to come: files, a
// terminal, somebody to tell when it ends. Each such chapter wants to be
// asked at certain moments. So a moment is a list, and what a chapter adds
// to it a *hook*: a function, which is told what it is about, and may say
// with an error that this shall go no further.

struct hook {
    int (*call)(void *about);    /* 0, or an error */
    struct hook *next;
};

// Who adds something to what others have made comes behind them.

void hook_add_last(struct hook **list, struct hook *h)
{
    while (*list)
        list = &(*list)->next;
    h->next = NULL;
    *list = h;
}

// Who takes it away again comes before them.

void hook_add_first(struct hook **list, struct hook *h)
{
    h->next = *list;
    *list = h;
}

// Calls all of them, up to the first error, which it returns.

int hook_call(const struct hook *h, void *about)
{
    int error = 0;

    for (; h && !error; h = h->next)
        error = h->call(about);
    return error;
}

// What there is to know of a program that is being executed. Some fields
// wait for the chapter that needs them.

struct program {
    const char *name;
    struct as *space;
    bool complained;             /* about a system call we do not have */
    bool traced;                 /* its calls are printed; chapter 14 */
    vaddr break_start;           /* behind the last segment; used in chapter 8 */
    vaddr break_end;             /* likewise */
    struct vmo *break_memory;    /* likewise */
    struct handle_table *handles; /* used in chapter 8 */
};

// What is being executed is not the program, of which there may be no trace
// in the registers at the moment, but a *context* on this processor: a
// program that is in ring 3 or has called the kernel, or the kernel itself
// when it has nothing to do with any.

struct context {
    struct program *program;     /* NULL: the kernel itself */
    bool attention;              /* something to do before ring 3; chapter 12 */
};

struct context *cpu_context(void)
{
    struct context *c;

    __asm__ volatile("movq %" LOCAL_CONTEXT ", %0" : "=r"(c));
    return c;
}

// The program for which we work, NULL if there is none.

struct program *program_current(void)
{
    return cpu_context()->program;
}

struct user_state {
    syscall_function *call[SYSCALL_COUNT];
    syscall_function *own_call[SYSCALL_OWN_COUNT];
    struct context boot;         /* in which everything began */
    void (*end)(int code, int signal); /* what happens when it ends */
    bool (*catch)(struct trap_frame *f, int signal); /* does it want to live on? */
    bool (*relieve)(void);       /* memory is short: has somebody given some back? */
    struct hook *begins;         /* before a program starts, with the program */
    struct hook *ends;           /* when it has ended, likewise */
};

bool user_catch_nothing(struct trap_frame *f, int signal);
bool user_is_alone(void);

void user_return(int code, int signal);

struct user_state user = {.end = user_return, .catch = user_catch_nothing,
                          .relieve = user_is_alone};

// Finding the place of a number in the tables, NULL if there is none.
// Chapters use `user_add_call()`.

syscall_function **user_find_call(u64 number)
{
    if (likely(number < SYSCALL_COUNT))
        return &user.call[number];
    number -= SYSCALL_OWN;
    return number < SYSCALL_OWN_COUNT ? &user.own_call[number] : NULL;
}

// Enters a function for a number, or replaces it.

void user_add_call(u64 number, syscall_function *function)
{
    syscall_function **call = user_find_call(number);

    assert(call);
    *call = function;
}

// (Out of line, or the entry would save registers for its sake at every
// call.)

s64 no_inline user_unknown_call(struct program *p, u64 number)
{
    if (!p->complained)
        printf("user: %s wants system call %lu, which we do not have\n", p->name, number);
    p->complained = true;
    return -ENOSYS;
}

// Where the entry code calls. The frame is the program's state; what we
// leave in `rax` is the result.

void user_syscall(struct trap_frame *f)
{
    syscall_function **call = user_find_call(f->rax);

    if (likely(call && *call))
        f->rax = (u64)(*call)(f);
    else
        f->rax = (u64)user_unknown_call(program_current(), f->rax);
}

// Two calls, and the program that needs both is world-famous. `write` knows
// two files, 1 and 2, and both are the console. It takes the bytes in
// portions; if a portion cannot be read it returns what it has written so
// far. Like Linux it writes at most 0x7ffff000 bytes, and nothing if the
// range leaves the lower half.

s64 sys_write(struct trap_frame *f)
{
    u64 size = f->rdx < 0x7ffff000 ? f->rdx : 0x7ffff000, done, part, got, i;
    char text[256];

    if ((u32)f->rdi != 1 && (u32)f->rdi != 2)
        return -EBADF;
    if (f->rsi > USER_END || f->rdx > USER_END - f->rsi)
        return -EFAULT;
    for (done = 0; done < size; done += got) {
        part = size - done < sizeof text ? size - done : sizeof text;
        got = as_read(program_current()->space, f->rsi + done, text, part);
        for (i = 0; i < got; i++)
            boot_put(text[i]);
        if (got < part)
            return done + got ? (s64)(done + got) : -EFAULT;
    }
    return (s64)done;
}

// A program ends by a call of its own, with a code, or by somebody else's
// will, with a signal; more about those below. Shells show the one as it is
// and the other with 128 added, and so do we.

void user_return(int code, int signal)
{
    user_leave(signal ? 128 + signal : code);
}

s64 sys_exit(struct trap_frame *f)
{
    user.end((int)(f->rdi & 0xff), 0);
    return 0;
}

// ## When a program does something forbidden {#user-kill}
//
// All exceptions come to us now. What happened in ring 0 is our own fault,
// as before. What happened in ring 3 is either a page that was only waiting
// to be needed, or the end. Each cause of death has a number, a *signal*,
// and we use [those of Unix](#h-processes).

int user_signal(u64 vector)
{
    switch (vector) {
    case 0: case 9: case 16: case 19: return SIGFPE;
    case 1: case 3: return SIGTRAP;
    case 6: return SIGILL;
    case 11: case 12: case 17: return SIGBUS;
    default: return SIGSEGV;
    }
}

// What we can tell about the reason. Just below the stack nothing is ever
// mapped, so a fault there is a stack that was too small.

const char *user_why(const struct trap_frame *f, vaddr address)
{
    if (f->vector != VECTOR_PAGE_FAULT)
        return "";
    if (address >= USER_PROGRAM_END && address < USER_STACK_START)
        return ": it ran off its stack";
    if (address >= USER_END)
        return ": that is not a program's memory";
    return f->error & FAULT_PRESENT ? ": the mapping forbids it" : ": nothing is mapped there";
}

void user_kill(struct trap_frame *f, int signal)
{
    vaddr address = cpu_read_cr2();

    if (user.catch(f, signal))
        return;
    printf("user: %s killed at 0x%lx by %s", program_current()->name, f->rip,
           trap_names[f->vector]);
    if (f->vector == VECTOR_PAGE_FAULT)
        printf(", attempt to %s 0x%lx", trap_access(f->error), address);
    printf("%s\n", signal == SIGKILL ? ": there is no memory left" : user_why(f, address));
    user.end(0, signal);
}

// Not every page fault in ring 3 is about what the program may do. Some
// accesses the processor makes on its behalf with the rights of ring 0, to
// descriptors for example (and QEMU 7.2 to the stack, in a far return): a
// page of the program's, though present, may then be forbidden by SMAP. And
// a reserved bit in a table is damage. To enter the page once more would
// cure neither, and the program would fault for ever.

bool user_is_curable(u64 error)
{
    return (error & FAULT_USER || !(error & FAULT_PRESENT)) && !(error & FAULT_RESERVED);
}

// The handler. A page fault may be cured; everything else from ring 3 is
// the end of the program, and everything from ring 0 is the end of the
// kernel.

u32 user_fault_access(u64 error)
{
    return error & FAULT_FETCH ? PF_X : error & FAULT_WRITE ? PF_W : PF_R;
}

// Every exception comes here, but for those that have a stack of their own:
// they are about the machine. The frame is the interrupted state.

void user_trap(struct trap_frame *f)
{
    int error = -EFAULT;

    if (!(f->cs & 3) || !program_current())
        trap_report(f);
    if (f->vector == VECTOR_PAGE_FAULT && user_is_curable(f->error))
        error = as_fault(program_current()->space, cpu_read_cr2(), user_fault_access(f->error));
    if (error == -ENOMEM && user.relieve())
        return;                  /* and it tries again */
    if (error)
        user_kill(f, error == -ENOMEM ? SIGKILL : user_signal(f->vector));
}

void user_init_traps(void)
{
    u64 vector;

    for (vector = 0; vector < 32; vector++)
        if (!cpu.idt[vector].ist)
            cpu.handler[vector] = user_trap;
}

// ## What a program finds at its start {#user-stack}
//
// On top of its stack: the number of arguments, pointers to them, a null
// pointer, pointers to the environment, a null pointer, and a list of pairs
// by which the kernel tells a C library what it needs to know (x86-64
// psABI, 3.4.1). Above that lie the strings.
//
// The stack is a VMO that is not mapped yet, so we write to it by offset.
// It grows downward, and so does this function, through the structure that
// keeps the place.

struct stack_builder {
    struct vmo *stack;
    u64 top;             /* offset of the lowest byte written */
    int error;
};

vaddr stack_push(struct stack_builder *b, const void *bytes, u64 size)
{
    if (b->error || size > b->top) {
        b->error = b->error ? b->error : -E2BIG;
        return 0;
    }
    b->top -= size;
    b->error = vmo_write(b->stack, b->top, bytes, size);
    return USER_STACK_START + b->top;
}

// One word:

void stack_push_word(struct stack_builder *b, u64 word)
{
    stack_push(b, &word, sizeof word);
}

void stack_push_facts(struct stack_builder *b, const struct elf_image *image)
{
    const u64 facts[] = {
        AT_PHDR, image->headers, AT_PHENT, sizeof(struct elf_segment_header),
        AT_PHNUM, image->header_count, AT_PAGESZ, FRAME_SIZE, AT_ENTRY, image->entry,
        AT_NULL, 0};

    stack_push(b, facts, sizeof facts);
}

// The whole of it. Puts the stack pointer to start with, a multiple of 16,
// into `*sp`. 0, -ENOMEM, or -E2BIG if there are too many arguments.

#define USER_ARGUMENTS 8

int user_build_stack(struct vmo *stack, const struct elf_image *image,
                     const char *const *arguments, vaddr *sp)
{
    struct stack_builder b = {stack, USER_STACK_SIZE, 0};
    vaddr strings[USER_ARGUMENTS + 1] = {0};
    u64 count = 0;

    for (; arguments[count] && count < USER_ARGUMENTS; count++)
        strings[count] = stack_push(&b, arguments[count], strlen(arguments[count]) + 1);
    if (arguments[count])
        b.error = -E2BIG;
    b.top = align_down(b.top, 16);
    if (count % 2 == 0)
        stack_push_word(&b, 0);
    stack_push_facts(&b, image);
    stack_push_word(&b, 0);                 /* the end of an empty environment */
    stack_push(&b, strings, (count + 1) * sizeof *strings);
    stack_push_word(&b, count);
    *sp = USER_STACK_START + b.top;
    return b.error;
}

// ## From a file to a running program {#user-run}
//
// Map the segments, map the stack. Both end at the first error; the caller
// throws the half-made address space away.

int user_map_image(struct as *space, const struct elf_image *image)
{
    const struct elf_segment *s;
    int error = 0;

    for (s = image->segment; s < image->segment + image->count && !error; s++)
        error = as_map(space, segment_first_page(s),
                       segment_end_page(s) - segment_first_page(s), s->rights, s->memory, 0);
    return error;
}

// `sp` receives the first stack pointer.

int user_map_stack(struct as *space, const struct elf_image *image,
                   const char *const *arguments, vaddr *sp)
{
    struct vmo *stack = vmo_create(USER_STACK_SIZE);
    int error;

    if (!stack)
        return -ENOMEM;
    error = user_build_stack(stack, image, arguments, sp);
    if (!error)
        error = as_map(space, USER_STACK_START, USER_STACK_SIZE, PF_R | PF_W, stack, 0);
    vmo_put(stack);
    return error;
}

int user_execute(struct program *p, vaddr entry, vaddr sp)
{
    struct trap_frame frame = {.rip = entry, .rsp = sp, .cs = SEGMENT_USER_CODE,
                               .ss = SEGMENT_USER_DATA, .rflags = 0x2};
    int status;

    cpu_context()->program = p;
    as_switch(p->space);
    cpu_fxrstor(&fpu_fresh);
    status = user_enter(&frame);
    as_audit(p->space);
    as_switch(NULL);
    cpu_context()->program = NULL;
    return status;
}

bool user_catch_nothing(struct trap_frame *f, int signal)
{
    (void)f, (void)signal;
    return false;
}

// There is no other program yet that could give memory back.

bool user_is_alone(void)
{
    return false;
}

// Makes an address space with an image that has been checked, and a stack
// with the arguments, which end with NULL. 0, -ENOMEM, -E2BIG; on an error
// nothing is left. (So the hooks for the end are also called for a program
// for which not all of those for the beginning were.)

int user_load(struct program *p, struct vmo *file, struct elf_image *image,
              const char *const *arguments, vaddr *sp)
{
    int error;

    p->space = as_create();
    if (!p->space)
        return -ENOMEM;
    p->break_start = p->break_end = segment_end_page(&image->segment[image->count - 1]);
    error = elf_load(file, image);
    if (!error)
        error = user_map_image(p->space, image);
    if (!error)
        error = user_map_stack(p->space, image, arguments, sp);
    elf_unload(image);
    if (!error)
        error = hook_call(user.begins, p);
    if (error) {
        hook_call(user.ends, p);
        as_put(p->space);
    }
    return error;
}

// Runs a program to its end and returns its status, or a negative error if
// it could not be started. The first argument is the program's name. Keeps
// nothing.

int user_start(struct vmo *file, struct elf_image *image, const char *const *arguments)
{
    struct program p = {.name = arguments[0]};
    vaddr sp;
    int status = user_load(&p, file, image, arguments, &sp);

    if (status)
        return status;
    status = user_execute(&p, image->entry, sp);
    hook_call(user.ends, &p);
    as_put(p.space);
    return status;
}

int user_run(struct vmo *file, const char *const *arguments)
{
    struct elf_image *image = heap_alloc(&heap, sizeof *image);
    enum elf_reason reason;
    int status = -ENOEXEC;

    if (!image)
        return -ENOMEM;
    reason = elf_check(file, image);
    if (reason)
        printf("user: %s refused: %s\n", arguments[0], elf_reasons[reason]);
    else
        status = user_start(file, image, arguments);
    heap_free(&heap, image);
    return status;
}

// ## Setting up {#user-setup}

void ch07_init(void)
{
    ch06_init();
    cpu_local()->context = &user.boot;
    vmo.revoke = as_revoke;
    as_fill_spares(AS_SPARES);
    audit_add(&as_audits);
    cpu_protect();
    fpu_init();
    cpu_init_syscall();
    user_init_traps();
    user_add_call(SYS_WRITE, sys_write);
    user_add_call(SYS_EXIT, sys_exit);
}

// ## Hello {#user-show}

extern const u8 _binary_crash_start[], _binary_crash_end[];

void user_show(const u8 *start, const u8 *end, const char *name, const char *argument)
{
    const char *arguments[] = {name, argument, NULL};
    struct vmo *file = elf_file(start, end);
    int status;

    assert(file);
    printf("user: running %s%s%s\n", name, argument ? " " : "", argument ? argument : "");
    status = user_run(file, arguments);
    if (status < 0)
        printf("user: %s could not be started, error %d\n", name, status);
    else
        printf("user: %s ended with status %d\n", name, status);
    vmo_put(file);
}

// Hello, then five crimes, then half a file. The kernel must be alive at
// the end and have all its frames.

void ch07_main(void)
{
    static const char *const crimes[] = {"kernel", "text", "stack", "overflow", "halt"};
    u64 free_before, i, cr4;

    ch07_init();
    boot_check_options();
    cr4 = cpu_read_cr4();
    printf("user: protections on: NX WP");
    for (i = 0; i < array_count(cpu_protections); i++)
        if (cr4 & cpu_protections[i].cr4)
            printf(" %s", cpu_protections[i].name);
    printf("\n");
    heap_trim(&heap);
    free_before = pmm.states[FRAME_FREE];
    user_show(_binary_hello_start, _binary_hello_end, "hello", NULL);
    for (i = 0; i < array_count(crimes); i++)
        user_show(_binary_crash_start, _binary_crash_end, "crash", crimes[i]);
    user_show(_binary_hello_start, _binary_hello_start + 100, "half-hello", NULL);
    heap_trim(&heap);
    pmm_audit(&pmm);
    as_audit_kernel();
    printf("user: frames lost: %lu, objects left: %lu\n",
           free_before - pmm.states[FRAME_FREE], vmo_type.live);
}

// ## Try it {#user-try}
//
// `make run CH=7`:
//
// ::: {.transcript file="tests/golden/ch07.txt"}
// :::
//
// The same programs run on the machine you are reading this on: try
// `build/gcc/ch07/user/crash text; echo $?`, and compare the status.
//
// With `MEM=5G`, `CPU=qemu64` or `MACHINE=pc` the kernel meets other
// machines. Watch the line about protections.
//
// And now step by step: over `iretq` into ring 3, to the system call and
// through it, and back. The addresses below 0x1000000 are the program's;
// `rustica user` tells GDB what is there.
//
// ::: {.transcript file="book/gdb/ch07.txt"}
// :::
//
// ### Exercises {#user-exercises}
//
// ::: {#ex-user-bit .exercise level=1}
// Repeat the ancestor's mistake: in `as_new_root()`, set the user bit in
// the copied entries that are in use. Which check of `as_audit()` objects,
// and after which program? Then take the call of `as_audit()` out of
// `user_execute()`. Does `crash kernel` survive now? Why not, and which
// further entries need the bit? *You are done when `crash kernel` ends with
// status 77, and you can say what that number is.*
// :::
//
// ::: {#ex-user-gate .exercise level=1}
// Let a program call the kernel by `int $0x3f`: open the gate of vector 63
// to ring 3, and give it a handler that calls `user_syscall()`. Which of
// the registers that `syscall` overwrites are now preserved? *hello prints
// its line; with privilege 0 in the gate it is killed, and you can say by
// which exception, and why not by the kernel's own code.*
// :::
//
// ::: {#ex-user-guard .exercise level=2}
// Make the stack start with 64 KiB and grow by faults up to 8 MiB. What
// distinguishes a stack that grows from a wild pointer? *crash overflow
// still dies at the same depth, and who reads four megabytes below the
// stack pointer still dies at once.*
// :::
//
// ::: {#ex-user-balance .exercise level=2}
// In `tree_repair()`, never call `tree_balance()`. Everything is still
// found. Which order of arrival is the worst, which the best? Let a
// thousand single pages be mapped, each below the last, and count how many
// nodes `as_find_last()` visits for the first of them, with rotations and
// without. *With, there are at most 14 levels; without,
// `host/user/test_tree` says which assertion of the audit has noticed.*
// :::
//
// ### Further reading {#user-reading}
//
// *OSTEP*, chapters 18 to 20, on pages, the TLB and smaller tables. *xv6*,
// the chapter on page tables, for another processor's. The SDM, Volume 3A,
// chapter 4, and the APM, Volume 2, chapter 5. Moritz Lipp and others,
// "Meltdown" (USENIX Security 2018), for the day on which the user bit was
// not enough. What our faults lead to is in Linux in `arch/x86/mm/fault.c`
// and `mm/memory.c`.
//
// ## What we have {#user-have}
//
// A kernel in the full sense of the word: it owns the machine, gives
// programs what they need of it, and survives all they do but one thing: a
// program that never ends keeps the machine. It runs one program at a time,
// and the program can only talk. The next chapters give it ears, company,
// and something to do.

// # Chapter 8. Handles {#ch-syscall}
//===========================================================================
//
// Our programs can speak and fall silent. They cannot listen, ask for
// memory, tell the time, or hold on to anything. For all of this a program
// needs to *name* things that live in the kernel, and here lies the
// difficulty. If the names were pointers, a program could make some up. So
// a program gets small numbers, which mean something only in a table that
// the kernel keeps for it: a *handle* is an index into a table of what this
// program may use, and for what.
//
// Unix calls them file descriptors, capability systems call them
// capabilities, Windows and Zircon call them handles. They are the same
// idea: authority is what is in your table.
//
// ## Theory of operation {#sys-theory}
//
// Each entry of a handle table refers to an [object](#vmo-object) and
// carries **rights**: to read, to write, to map, to be duplicated. A
// duplicate may have fewer rights than the original and never more, so a
// program can give away a part of what it may do, and nobody can give away
// what he does not have.
//
// When a handle is closed its number becomes free and will be used again. A
// program that still believes in the old meaning would then act on the
// wrong object. Therefore each entry has a **generation**, which changes
// when it is closed, and the number of a handle contains it: `generation <<
// 16 | index`. File descriptors of the Unix kind must be small numbers that
// are used again at once; programs rely on that. For them the generation is
// left out, and with it the protection. So an entry has two names, the bare
// index for the calls of Unix and the whole number for ours; a generation
// is never 0, so that they cannot be confused.
//
// ::: {#fig-rights .figure file="book/figures/rights.svg"}
//     number            index | gen. | rights             object
//
//     1 << 16 | 16 -->     16 |  1   | read, write, map --.
//     3 << 16 | 17 -->     17 |  3   | read             --+--> a VMO
//     1 << 16 | 18 --x     18 |  2   | read, write      -----> a file
//
// Three numbers: a handle, its duplicate with fewer rights, and one that
// was closed, whose entry belongs to somebody else by now.
// :::
//
// A pointer from a program is a claim. **Copying** between the program's
// memory and ours is done by a few functions which touch nothing outside
// the lower half, and which survive if nothing is mapped there.
//
// The invariants: *rights only shrink; an object lives as long as an entry
// refers to it; no function outside of [Copying](#sys-copy) uses a
// program's address.*
//
// **Shortcomings.** The console can be written to but has nothing to say:
// reading from it finds the end of the file at once, until [Chapter
// 11](#ch-console). A handle cannot be given to another program, since
// there is none yet; [channels](#ex-sys-channel) are left to you. Time is
// right only if the processor's counter runs at one speed.
//
// ## State {#sys-state}

u64 sys_copy_plain(void *to, const void *from, u64 size);

struct time_pair {
    u64 tsc;
    u32 ticks;                   /* of ACPI's timer */
};

struct call_table {
    const struct system_call *call;
    u64 count;
};

struct sys_state {
    u64 (*copy)(void *to, const void *from, u64 size);
    struct hook *leaving;        /* before ring 3, if the program wants attention */
    bool (*pause)(void);         /* in something long: does anybody want attention? */
    bool (*doomed)(void);        /* and is that the end of the program? chapter 12 */
    u64 tsc_per_second;
    u64 base_tsc, base_time;     /* the counter, and nanoseconds since the start, together */
    u16 timer_port;              /* ACPI's, while time can be improved; else 0 */
    struct time_pair first_look;
    s64 boot_seconds;            /* since 1970, from the clock chip */
    u64 random[4];               /* the state of the generator */
    struct call_table table[16]; /* all calls, as chapters have entered them */
    u32 table_count;
};

bool sys_never(void);

struct sys_state sys = {.copy = sys_copy_plain, .pause = sys_never, .doomed = sys_never};

// Something may have to be done to a program before it goes on in ring 3.
// Who wants that hangs a hook here, and sets the program's flag when it is
// time. It gets the frame to which the program will return.

void sys_attend(struct trap_frame *f)
{
    if (unlikely(cpu_context()->attention))
        hook_call(sys.leaving, f);
}

// ## The fast way out {#sys-sysret}
//
// `iretq` checks everything and takes its time. For the way back from a
// system call there is `sysretq` (SDM 2B), which takes RIP from `rcx` and
// the flags from `r11`, where `syscall` had put them. It can be used if
// they have not changed since, and the program then finds in these two
// registers what it expects there. A call that returns to another place or
// with other flags, as one of [Chapter 12](#signal-calls) does, is sent the
// slow way by the same test.
//
// It has a trap that has cost most operating systems a security hole
// (CVE-2012-0217). If `rcx` is not a canonical address, Intel's processors
// raise the exception while still in ring 0, but with the program's stack
// pointer already loaded, and the handler then writes to wherever that
// points. How could `rcx` be non-canonical? By a `syscall` in the last two
// bytes below the hole in the address space: the return address is the
// first byte of the hole. We never map the last page. And we look at it
// again here, because two locks are better than one when the burglar
// chooses the night. (And the processor is on the program's stack for one
// instruction. Interrupts are off, and the two that come all the same, NMI
// and machine check, have [stacks of their own](#boot-segments).)

bool sys_leave(struct trap_frame *f)
{
    sys_attend(f);
    return likely(f->rcx == f->rip && f->r11 == f->rflags && f->rip < USER_END);
}

bool sys_dispatch(struct trap_frame *f)
{
    user_syscall(f);
    return sys_leave(f);
}

extern u8 sys_entry[];

#define SYSCALL_ENTRY(entry, dispatch) \
    ".globl " entry "\n" \
    entry ":\n" SYSCALL_FRAME \
    "    movq %rsp, %rdi\n" \
    "    call " dispatch "\n" UNWIND_TRAPPED \
    "    testb %al, %al\n" \
    "    jz trap_return\n" \
    TRAP_RESTORE \
    "    movq 40(%rsp), %rsp\n" /* past vector, error, RIP, CS, RFLAGS */ \
    SWAPGS \
    "    sysretq\n"

__asm__(".text\n" SYSCALL_ENTRY("sys_entry", "sys_dispatch"));

// ## Copying {#sys-copy}
//
// [Chapter 7](#as-read) read a program's memory by way of its mappings.
// That is safe, and takes a hundred instructions where the processor needs
// one: the program's pages are mapped, after all, and we run on its tables.
// The danger is that the address is not mapped. Then a page fault happens
// in ring 0, which so far has meant that the kernel is broken.
//
// So we write one small routine, and make a promise about it: *a page fault
// between these labels is the caller's problem.* The handler first tries to
// resolve the fault as for any program, because the page may only be
// waiting to be committed. If that fails it moves RIP to where the routine
// gives up. The routine returns how many bytes it did not copy.
//
// That number is exact, down to the last byte before the hole. Whoever
// offers a buffer of which only the beginning exists gets that beginning
// filled, and is told how far; and from a pipe or a file nothing must be
// lost that did not arrive. Words are copied for speed, so a word that lies
// across the edge has to be tried again byte by byte.
//
// With SMAP even ring 0 may not touch a program's pages. `stac` lifts that,
// `clac` restores it; both are needed only here. Processors without SMAP do
// not know these instructions, so there are two entries. When the copy
// fails halfway, the routine's `ret` still leads to the `clac`: that is why
// the one calls the other.

u64 sys_copy_smap(void *to, const void *from, u64 size);
extern u8 sys_copy_words[], sys_copy_bytes[], sys_copy_end[], sys_copy_retry[];

__asm__(".globl sys_copy_plain\n"
        ".globl sys_copy_smap\n"
        ".globl sys_copy_words\n"
        ".globl sys_copy_bytes\n"
        ".globl sys_copy_end\n"
        ".globl sys_copy_retry\n"
        "sys_copy_smap:\n" UNWIND_CALLED
        "    .byte 0x0f, 0x01, 0xcb\n"       /* stac */
        "    call sys_copy_plain\n"
        "    .byte 0x0f, 0x01, 0xca\n"       /* clac */
        "    ret\n"
        "sys_copy_plain:\n"
        "    movq %rdx, %rcx\n"
        "    andl $7, %edx\n"
        "    shrq $3, %rcx\n"
        "sys_copy_words:\n"
        "    rep movsq\n"
        "    movl %edx, %ecx\n"
        "sys_copy_bytes:\n"
        "    rep movsb\n"
        "sys_copy_end:\n"
        "    movq %rcx, %rax\n"
        "    ret\n"
        "sys_copy_retry:\n"                  /* a word failed: rcx words and rdx bytes left */
        "    leaq (%rdx,%rcx,8), %rcx\n"
        "    jmp sys_copy_bytes\n" UNWIND_END);

// Most callers want all or nothing. Both return 0 or -EFAULT. A range that
// is not wholly in the lower half is refused before anything is touched; of
// one that is partly mapped, a part may have been copied. (What if only the
// page fault refused? `make hunt BUG=pointers`.)

bool sys_is_range(vaddr start, u64 size)
{
    return start < USER_END && size <= USER_END - start;
}

// From the program to us.

int sys_copy_in(void *to, vaddr from, u64 size)
{
    if (!sys_is_range(from, size) || sys.copy(to, (const void *)from, size))
        return -EFAULT;
    return 0;
}

// From us to the program, in the same way.

int sys_copy_out(vaddr to, const void *from, u64 size)
{
    if (!sys_is_range(to, size) || sys.copy((void *)to, from, size))
        return -EFAULT;
    return 0;
}

// And those who tell how much they moved: as many bytes as there is memory
// for. They return the number.

u64 sys_move_in(void *to, vaddr from, u64 size)
{
    return sys_is_range(from, size) ? size - sys.copy(to, (const void *)from, size) : 0;
}

// In the other direction, the same.

u64 sys_move_out(vaddr to, const void *from, u64 size)
{
    return sys_is_range(to, size) ? size - sys.copy((void *)to, from, size) : 0;
}

// A string: up to `size` bytes with the final zero. -EFAULT, or
// -ENAMETOOLONG if there is no zero in the first `size` bytes. Never reads
// from a page behind the one where the string ends.

int sys_copy_string(char *to, vaddr from, u64 size)
{
    u64 done, part, i;

    for (done = 0; done < size; done += part) {
        part = min(vmo_part(from + done, size - done), 64);
        if (sys_copy_in(to + done, from + done, part))
            return -EFAULT;
        for (i = done; i < done + part; i++)
            if (!to[i])
                return 0;
    }
    return -ENAMETOOLONG;
}

// The page-fault handler, which knows the promise.

void sys_page_fault(struct trap_frame *f)
{
    vaddr address = cpu_read_cr2();
    bool copying = f->rip >= (u64)sys_copy_words && f->rip < (u64)sys_copy_end;

    if (f->cs & 3 || !copying || address >= USER_END || !program_current()) {
        user_trap(f);
        return;
    }
    if (as_fault(program_current()->space, address, user_fault_access(f->error)))
        f->rip = (u64)(f->rip < (u64)sys_copy_bytes ? sys_copy_retry : sys_copy_end);
}

// ## What takes long {#sys-long}
//
// A program may ask for a gigabyte with one call, and as long as the kernel
// is busy with that nobody else gets anything done. So whatever may become
// long is done in portions, and between two of them there is a pause, in
// which [others have their turn](#sched-timer) and interrupts are let in. A
// portion is small beside what a processor does in a time slice, and large
// beside the cost of the pause.
//
// Two things are different after a pause. The world may have changed:
// nothing that was looked up before it may be believed, unless a reference
// keeps it. And somebody may want the program's attention. What is slow or
// has no end then stops at once, and reports what it has done so far. Files
// do that only if the program is *doomed*: everybody knows that terminals
// may give less than was asked for, and hardly anybody expects it of a
// file.

#define PORTION (64 * KIB)

bool sys_never(void)
{
    return false;
}

// The pause of those who stop only for the end. Others call `sys.pause`.

bool sys_must_stop(void)
{
    return sys.pause() && sys.doomed();
}

// ## Objects that can be read {#sys-file}
//
// "Everything is a file" means: whatever can be read or written has the
// same functions for it. An object's type lists them. They take the
// program's address, and return how many bytes were transferred, or an
// error. Further operations will join with the chapters that need them.
//
// Such an object is a `struct file`. It is not the thing that is read, but
// one use of it, from an `open` to the last `close`: an *open description*.
// How the thing was opened belongs there, and the place in it where one is.
// Both are shared by all handles that were duplicated from one another, and
// not by somebody who opens the same thing again. (One flag matters to us
// already: who has set it wants an error rather than wait.)

struct file {
    struct object object;
    u32 flags;                   /* how it was opened; the others: chapter 10 */
    u64 offset;                  /* the position, if it has one; chapter 10 */
    struct node *node;           /* what was opened, if it has a name; chapter 10 */
};

struct file_status; /* what that is, says chapter 10 */
struct wait_queue;  /* and chapter 9 */
struct handle;

struct file_operations {
    s64 (*read)(struct file *file, vaddr to, u64 size, u64 *offset);
    s64 (*write)(struct file *file, vaddr from, u64 size, u64 *offset);
    s64 (*control)(struct file *file, u64 request, vaddr argument); /* chapter 11 */
    s64 (*seek)(struct file *file, s64 offset, int from);           /* chapter 10 */
    s64 (*list)(struct file *file, vaddr to, u64 size);             /* chapter 10 */
    int (*status)(struct file *file, struct file_status *status);   /* chapter 10 */
    void (*close)(struct file *file, const struct handle *h);       /* chapter 10 */
    int (*wait)(struct file *file, u64 size); /* for room to write that; chapter 14 */
    u32 (*poll)(struct file *file, struct wait_queue **queue);      /* chapter 14 */
};

// What has a position reads and writes at `offset`, and moves that. It is
// the file's own, or, for calls that name a place, a copy. And `poll`
// returns what could be done now without waiting, by Linux's bits (of which
// two have a twin, for historical reasons), and where to wait for more.
// `POLLERR` says that nobody reads what one might write, `POLLHUP` that
// nobody writes any more.

#define POLL_READABLE (POLLIN | POLLRDNORM)
#define POLL_WRITABLE (POLLOUT | POLLWRNORM)

struct file *file_of(struct object *o)
{
    return o->type->file ? container_of(o, struct file, object) : NULL;
}

// ## The handle table {#sys-handles}

#define RIGHT_READ 1
#define RIGHT_WRITE 2
#define RIGHT_MAP 4
#define RIGHT_DUPLICATE 8
#define RIGHTS_ALL 15

#define HANDLES_FIRST 16
#define HANDLES_MAX 1024

struct handle {
    struct object *object;       /* NULL: free */
    u32 rights;
    u16 generation;              /* of this entry, never 0 */
    bool close_on_exec;          /* used in chapter 13 */
};

struct handle_table {
    u32 count;                   /* entries there are */
    u32 limit;                   /* numbers are below this; chapter 13 may lower it */
    struct handle *entry;
    u64 used[HANDLES_MAX / 64];  /* a bit for each */
};

// An empty table with room for sixteen entries, or NULL.

struct handle_table *handle_create_table(void)
{
    struct handle_table *t = heap_alloc_zeroed(&heap, sizeof *t);

    if (!t)
        return NULL;
    t->entry = heap_alloc_zeroed(&heap, HANDLES_FIRST * sizeof *t->entry);
    t->count = HANDLES_FIRST;
    t->limit = HANDLES_MAX;
    if (!t->entry) {
        heap_free(&heap, t);
        return NULL;
    }
    return t;
}

// Closing an entry changes its generation: every number that was given out
// for it is now wrong. Destroying the table closes all. (The object may
// want to know of each, and not only of the last.)

void handle_close_entry(struct handle_table *t, struct handle *h)
{
    struct object *o = h->object;

    bits_set(t->used, (u64)(h - t->entry), false);
    if (o->type->file && o->type->file->close)
        o->type->file->close(file_of(o), h);
    h->object = NULL;
    h->generation++;
    if (!h->generation)
        h->generation = 1;
    object_put(o);
}

void handle_destroy_table(struct handle_table *t)
{
    u32 i;

    for (i = 0; i < t->count; i++)
        if (t->entry[i].object)
            handle_close_entry(t, &t->entry[i]);
    heap_free(&heap, t->entry);
    heap_free(&heap, t);
}

// A full table doubles, up to a limit that stops a program from filling the
// kernel's heap with it.

bool handle_grow_table(struct handle_table *t)
{
    u32 count = t->count * 2;
    struct handle *entry;

    if (count > HANDLES_MAX)
        return false;
    entry = heap_realloc(&heap, t->entry, count * sizeof *entry);
    if (!entry)
        return false;
    memset(entry + t->count, 0, t->count * sizeof *entry);
    t->entry = entry;
    t->count = count;
    return true;
}

// Finds the lowest free index, not below `from`. -EMFILE if there is none.

int handle_find_free(struct handle_table *t, u32 from)
{
    u64 index = bits_next(t->used, from, t->limit, false);

    if (index >= t->limit)
        return -EMFILE;
    while (index >= t->count)
        if (!handle_grow_table(t))
            return -EMFILE;
    return (int)index;
}

// Enters an object and takes over the caller's reference to it, also when
// it fails, and then gives it up. Returns the index or -EMFILE.

int handle_add(struct handle_table *t, struct object *o, u32 rights, u32 from)
{
    int index = handle_find_free(t, from);
    struct handle *h;

    if (index < 0) {
        object_put(o);
        return index;
    }
    h = &t->entry[index];
    *h = (struct handle){.object = o, .rights = rights,
                         .generation = h->generation ? h->generation : 1};
    bits_set(t->used, (u64)index, true);
    return index;
}

// The entry for a number from a program: an index, with or without a
// generation. NULL if there is no such handle or it lacks one of the
// rights.

struct handle *handle_find(struct handle_table *t, u64 number, u32 rights)
{
    u64 index = number & 0xffff, generation = number >> 16;
    struct handle *h = index < t->count ? &t->entry[index] : NULL;

    if (!h || !h->object || (generation && generation != h->generation) ||
        (h->rights & rights) != rights)
        return NULL;
    return h;
}

// The number that carries the generation.

s64 handle_number(struct handle_table *t, int index)
{
    return index < 0 ? index : (s64)t->entry[index].generation << 16 | index;
}

// The current program's, since nearly everybody asks for that.

struct handle *sys_handle(u64 number, u32 rights)
{
    return handle_find(program_current()->handles, number, rights);
}

// ## Reading and writing {#sys-read}
//
// File descriptors are 32 bits wide, and the upper half of the register is
// rubbish. (The ancestor kept eight bits, so that file 257 was file 1.) A
// transfer is limited to what fits into a signed 32-bit number, as on
// Linux.

#define TRANSFER_MAX 0x7ffff000UL

struct file *sys_file(u64 fd, u32 rights)
{
    struct handle *h = sys_handle((u32)fd, rights);

    return h ? file_of(h->object) : NULL;
}

// Reads or writes, as the right says, at most `size` bytes at the program's
// address. Returns how many, or an error.

s64 sys_transfer(struct file *file, vaddr at, u64 size, u32 right, u64 *offset)
{
    const struct file_operations *operations = file->object.type->file;
    s64 result;

    if (!sys_is_range(at, size))
        return -EFAULT;
    if (size > TRANSFER_MAX)
        size = TRANSFER_MAX;
    object_get(&file->object);       /* somebody may close it while we wait */
    result = right == RIGHT_READ ? operations->read(file, at, size, offset)
                                 : operations->write(file, at, size, offset);
    object_put(&file->object);
    return result;
}

s64 sys_read(struct trap_frame *f)
{
    struct file *file = sys_file(f->rdi, RIGHT_READ);

    return file ? sys_transfer(file, f->rsi, f->rdx, RIGHT_READ, &file->offset) : -EBADF;
}

s64 sys_file_write(struct trap_frame *f)
{
    struct file *file = sys_file(f->rdi, RIGHT_WRITE);

    return file ? sys_transfer(file, f->rsi, f->rdx, RIGHT_WRITE, &file->offset) : -EBADF;
}

// The vector variants take a list of pieces. They stop at the first that is
// not transferred whole. What has no position, such as a terminal, may have
// to be waited for: then whoever reads gets what came with the first piece,
// and does not wait for the second.

#define PIECES_MAX 1024

// If the pieces shall arrive as one, there must be room for all of them
// before the first is written. (What waits there may find other sizes
// afterwards, if somebody shares the memory and changes them. Then they do
// not arrive as one, and that is all.)

s64 sys_wait_for_pieces(struct file *file, vaddr list, u64 count)
{
    struct iovec piece;
    u64 total = 0, i;

    for (i = 0; i < count && total <= TRANSFER_MAX; i++) {
        if (sys_copy_in(&piece, list + i * sizeof piece, sizeof piece))
            return -EFAULT;
        total += piece.size < TRANSFER_MAX ? piece.size : TRANSFER_MAX;
    }
    return file->object.type->file->wait(file, total);
}

// The list itself. A pause comes when another portion has been moved: short
// pieces, such as the parts of a line, are written with nobody in between.

s64 sys_each_piece(struct file *file, vaddr list, u64 count, u32 right, u64 *offset)
{
    struct iovec piece;
    s64 total = 0, part, paused = 0;
    u64 i;

    for (i = 0; i < count; i++) {
        if (total - paused >= (s64)PORTION) {
            if (sys_must_stop())
                break;
            paused = total;
        }
        if (sys_copy_in(&piece, list + i * sizeof piece, sizeof piece))
            return total ? total : -EFAULT;
        part = sys_transfer(file, piece.start, piece.size, right, offset);
        if (part < 0)
            return total ? total : part;
        total += part;
        if ((u64)part < piece.size ||
            (part && right == RIGHT_READ && !file->object.type->file->seek))
            break;
    }
    return total;
}

// Reads or writes what a list of `count` pieces at the program's address
// says, and returns how many bytes, or an error.

s64 sys_transfer_pieces(struct file *file, vaddr list, u64 count, u32 right, u64 *offset)
{
    s64 result;

    if (count > PIECES_MAX)
        return -EINVAL;
    object_get(&file->object);
    result = right == RIGHT_WRITE && file->object.type->file->wait
                 ? sys_wait_for_pieces(file, list, count) : 0;
    if (!result)
        result = sys_each_piece(file, list, count, right, offset);
    object_put(&file->object);
    return result;
}

// In the one direction and in the other:

s64 sys_readv(struct trap_frame *f)
{
    struct file *file = sys_file(f->rdi, RIGHT_READ);

    return file ? sys_transfer_pieces(file, f->rsi, f->rdx, RIGHT_READ, &file->offset) : -EBADF;
}

s64 sys_writev(struct trap_frame *f)
{
    struct file *file = sys_file(f->rdi, RIGHT_WRITE);

    return file ? sys_transfer_pieces(file, f->rsi, f->rdx, RIGHT_WRITE, &file->offset) : -EBADF;
}

// The console is the first file. It copies in portions to the kernel's
// stack and hands them to the consoles of Chapter 1. A serial line is slow,
// and somebody may want to interrupt it between two portions.

s64 console_write(struct file *file, vaddr from, u64 size, u64 *offset)
{
    char text[256];
    u64 done, part, i;

    (void)file, (void)offset;
    for (done = 0; done < size; done += part) {
        part = size - done < sizeof text ? size - done : sizeof text;
        if (sys_copy_in(text, from + done, part))
            return done ? (s64)done : -EFAULT;
        for (i = 0; i < part; i++)
            boot_put_consoles(text[i]);
        if (sys.pause())
            return (s64)(done + part);
    }
    return (s64)done;
}

s64 console_read(struct file *file, vaddr to, u64 size, u64 *offset)
{
    (void)file, (void)to, (void)size, (void)offset;
    return 0;
}

void console_destroy(struct object *o)
{
    panic("the console lost its last reference (%u)", o->references);
}

// All programs share one description of it, made by nobody, which is open
// for reading and writing.

const struct file_operations console_operations = {.read = console_read,
                                                   .write = console_write};
struct object_type console_type = {.name = "console", .destroy = console_destroy,
                                   .file = &console_operations};
struct file console = {.flags = O_RDWR};

// ## Memory for programs {#sys-memory}
//
// `mmap` gives a program memory at an address of our choice, or exactly
// where it says. Anonymous memory is a fresh VMO. What is written as
// `PROT_READ` and so on has other bit values than the rights of the ELF
// file, for no reason anybody remembers.

#define MAPPING_SHARED 8         /* beside the rights: fork shares it; chapter 13 */
#define MAPPING_READ_ONLY 16     /* likewise: nobody may make it writable */

int sys_rights(u64 prot, u32 *rights)
{
    if (prot & ~(u64)(PROT_READ | PROT_WRITE | PROT_EXEC))
        return -EINVAL;
    if (prot & PROT_WRITE && prot & PROT_EXEC)
        return -EACCES;
    *rights = (prot & PROT_EXEC ? PF_X : 0) | (prot & PROT_WRITE ? PF_W : 0) |
              (prot ? PF_R : 0);
    return 0;
}

// Maps a VMO where the program wants it, or where there is room. Returns
// the address or an error.

s64 sys_map(vaddr at, u64 size, u32 rights, bool fixed, struct vmo *v, u64 offset)
{
    struct as *space = program_current()->space;
    int error;

    if (!fixed) {
        at = as_find_gap(space, size);
        if (!at)
            return size ? -ENOMEM : -EINVAL;
    } else {
        error = as_unmap(space, at, size);
        if (error)
            return error;
    }
    error = as_map(space, at, size, rights, v, offset);
    return error ? error : (s64)at;
}

// Only memory without a file behind it, for now. What is wrong with the
// arguments is told in the order in which Linux would find it.

s64 sys_mmap(struct trap_frame *f)
{
    u64 size = align_up(f->rsi, FRAME_SIZE);
    struct vmo *v;
    u32 rights;
    s64 result = sys_rights(f->rdx, &rights);

    if (result)
        return result;
    if (!(f->r10 & MAP_ANONYMOUS))
        return -ENODEV;
    if (!f->rsi || !(f->r10 & (MAP_PRIVATE | MAP_SHARED)))
        return -EINVAL;
    if (size < f->rsi || size > VMO_SIZE_MAX)
        return -ENOMEM;
    if (f->r10 & MAP_FIXED && !as_is_range(f->rdi, size))
        return f->rdi % FRAME_SIZE ? -EINVAL : -ENOMEM;
    v = vmo_create(size);
    if (!v)
        return -ENOMEM;
    rights |= f->r10 & MAP_SHARED ? MAPPING_SHARED : 0;
    result = sys_map(f->rdi, size, rights, f->r10 & MAP_FIXED, v, 0);
    vmo_put(v);
    return result;
}

s64 sys_munmap(struct trap_frame *f)
{
    u64 size = align_up(f->rsi, FRAME_SIZE);

    return as_unmap(program_current()->space, f->rdi, size);
}

// Changing rights. Both writing and executing is refused, as everywhere,
// and writing where the handle did not allow it when the mapping was made.

bool sys_may_write(const struct as *space, vaddr start, vaddr end)
{
    const struct mapping *m;

    for (m = as_find_from(space, start); m && m->start < end; m = mapping_next(m))
        if (m->rights & MAPPING_READ_ONLY)
            return false;
    return true;
}

s64 sys_mprotect(struct trap_frame *f)
{
    u64 size = align_up(f->rsi, FRAME_SIZE);
    u32 rights;
    int error = sys_rights(f->rdx, &rights);

    if (error)
        return error;
    if (f->rdi % FRAME_SIZE)
        return -EINVAL;
    if (!f->rsi)
        return 0;
    if (!as_is_range(f->rdi, size))
        return -ENOMEM;
    if (rights & PF_W && !sys_may_write(program_current()->space, f->rdi, f->rdi + size))
        return -EACCES;
    return as_protect(program_current()->space, f->rdi, size, rights);
}

// `brk` moves the end of the memory behind the program's variables, its
// heap. It returns the new end, or if that cannot be, the old one. One VMO
// grows and shrinks with it; as each piece continues the last, there is one
// mapping.

#define USER_BREAK_MAX (64 * GIB)

int sys_move_break(struct program *p, vaddr old, vaddr new)
{
    u64 size = new - p->break_start;
    int error;

    if (!p->break_memory)
        p->break_memory = vmo_create(0);
    if (!p->break_memory)
        return -ENOMEM;
    if (new < old) {
        error = as_unmap(p->space, new, old - new);
        return error ? error : vmo_resize(p->break_memory, size);
    }
    error = vmo_resize(p->break_memory, size);
    if (!error)
        error = as_map(p->space, old, new - old, PF_R | PF_W, p->break_memory,
                       old - p->break_start);
    return error;
}

s64 sys_brk(struct trap_frame *f)
{
    struct program *p = program_current();
    vaddr old = align_up(p->break_end, FRAME_SIZE), new = align_up(f->rdi, FRAME_SIZE);

    if (f->rdi < p->break_start || f->rdi > p->break_start + USER_BREAK_MAX)
        return (s64)p->break_end;
    if (old == new || sys_move_break(p, old, new) == 0)
        p->break_end = f->rdi;
    return (s64)p->break_end;
}

// ## Time {#sys-time}
//
// The processor counts its cycles, and `rdtsc` reads the counter in no
// time. (Since about 2008 these are the cycles of a clock that keeps its
// speed, whatever the processor does to save power; SDM 3B, "Invariant
// TSC". On older ones our clock is wrong.) How many make a second, newer
// processors of Intel's say, and so do some emulators. Others we measure
// against a clock of known speed: the timer of ACPI's power management,
// which ticks 3,579,545 times a second (ACPI 6.5, 4.8.3.3), or where there
// is none, channel 2 of the PC's old timer chip with 1,193,182.
//
// How long must one measure? A clock that is wrong by one in ten thousand
// loses nine seconds a day. Ticks of ACPI's timer are a quarter of a
// microsecond apart, and reading it takes longer than that, so the
// measurement must last for a good part of a second, and nobody wants to
// wait for that at each start. But nobody has to. An eighth of a
// millisecond is enough to begin with; and when the machine has been up for
// a second anyway, we [look again](#sys-time-better).

u64 cpu_rdtsc(void)
{
    u32 low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

u32 cpu_inl(u16 port) { u32 v; __asm__ volatile("inl %w1, %0" : "=a"(v) : "Nd"(port)); return v; }

// Intel's leaf 15h gives the counter's speed as a fraction of a crystal's,
// and the crystal's, if it is known (SDM 2A, "CPUID"). Bit 31 of leaf 1
// says that the processor is an emulated one; the emulator then has leaves
// of its own, and two of them tell the speed in kHz. 0: nobody says.

u64 time_from_processor(void)
{
    struct cpuid id;

    if (cpu_cpuid(0, 0).eax >= 0x15) {
        id = cpu_cpuid(0x15, 0);
        if (id.eax && id.ebx && id.ecx)
            return (u64)id.ecx * id.ebx / id.eax;
    }
    if (!(cpu_cpuid(1, 0).ecx >> 31))
        return 0;
    id = cpu_cpuid(0x40000000, 0);
    if (id.eax < 0x40000010 || (id.ebx != 0x4b4d564b && id.ebx != 0x61774d56)) /* KVMK, VMwa */
        return 0;
    return cpu_cpuid(0x40000010, 0).eax * 1000UL;
}

#define ACPI_TIMER_HZ 3579545UL
#define PIT_HZ 1193182UL
#define CALIBRATION_PER_SECOND 8000
#define PIT_CALIBRATION_PER_SECOND 20

u16 time_acpi_port(void)
{
    struct acpi_fadt fadt = acpi_get_fadt();

    return acpi_port(&fadt.x_timer, fadt.timer);
}

// Both ways return the counter's speed in cycles per second, or 0 if the
// clock stands still: neither waits for ever. (With the old chip there is
// no second look, so it takes its time, and is asked once.)

u64 time_measure_acpi(u16 port)
{
    u32 ticks = ACPI_TIMER_HZ / CALIBRATION_PER_SECOND, first = cpu_inl(port), now;
    u64 start = cpu_rdtsc(), patience = 1000000;

    do
        now = (cpu_inl(port) - first) & 0xffffff; /* some have 24 bits */
    while (now < ticks && --patience);
    return patience ? (cpu_rdtsc() - start) * ACPI_TIMER_HZ / now : 0;
}

u64 time_measure_pit(void)
{
    u32 count = PIT_HZ / PIT_CALIBRATION_PER_SECOND;
    u64 start, patience = 10000000;

    cpu_outb(0x61, (cpu_inb(0x61) & 0xfc) | 1);  /* gate on, speaker off */
    cpu_outb(0x43, 0xb0);                        /* channel 2, count down once */
    cpu_outb(0x42, (u8)count);
    cpu_outb(0x42, (u8)(count >> 8));
    if (cpu_inb(0x61) & 0x20)
        return 0;                                /* at its end already: it is not there */
    start = cpu_rdtsc();
    while (!(cpu_inb(0x61) & 0x20) && --patience)
        ;
    return patience ? (cpu_rdtsc() - start) * PIT_CALIBRATION_PER_SECOND : 0;
}

// An emulated processor can be stopped at any time, even between looking at
// one clock and looking at the other. So we measure three times and believe
// the middle one. What the measuring function does with the port is its own
// business.

u64 time_middle(u64 (*measure)(u16 port), u16 port)
{
    u64 a = measure(port), b = measure(port), c = measure(port);

    return max(min(a, b), min(max(a, b), c));
}

// The date comes from the battery-backed clock: a register is chosen by
// port 0x70 and read by port 0x71. Digits are in pairs of four bits, unless
// a flag says otherwise. While the chip is counting on (register 10, bit 7)
// its registers make no sense. Two readings that agree are believed. (That
// hours count to 24 and that the clock shows UTC is a convention, which
// firmware keeps and we do not check.)

u8 rtc_read(u8 index)
{
    cpu_outb(0x70, index);
    return cpu_inb(0x71);
}

struct date {
    u8 second, minute, hour, day, month, year;
};

struct date rtc_read_date(void)
{
    u32 patience = 100000;
    bool binary = rtc_read(11) & 4;
    u8 raw[6], i;
    static const u8 registers[6] = {0, 2, 4, 7, 8, 9};

    while (rtc_read(10) & 0x80 && --patience)
        ;
    for (i = 0; i < 6; i++) {
        raw[i] = rtc_read(registers[i]);
        if (!binary)
            raw[i] = (u8)((raw[i] >> 4) * 10 + (raw[i] & 15));
    }
    return (struct date){raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]};
}

// Days since 1970-01-01, counting years from March so that the leap day
// comes last. The two-digit year is of this century.

s64 date_to_seconds(struct date d)
{
    s64 year = 2000 + d.year - (d.month <= 2), month = (d.month + 9) % 12;
    s64 days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 +
               d.day - 1 - 719468;

    return ((days * 24 + d.hour) * 60 + d.minute) * 60 + d.second;
}

void time_read_date(void)
{
    struct date a, b;

    do {
        a = rtc_read_date();
        b = rtc_read_date();
    } while (memcmp(&a, &b, sizeof a) != 0);
    sys.boot_seconds = date_to_seconds(a);
}

// Nanoseconds since the calibration. Seconds and the rest are computed
// separately, or the product would overflow after some minutes.

u64 time_now(void)
{
    u64 cycles = cpu_rdtsc() - sys.base_tsc;

    return sys.base_time + cycles / sys.tsc_per_second * 1000000000 +
           cycles % sys.tsc_per_second * 1000000000 / sys.tsc_per_second;
}

// []{#sys-time-better}Two clocks at one moment: the counter is read before
// and after the other clock, and of some attempts the one counts in which
// that took the shortest time.

struct time_pair time_look(u16 port)
{
    struct time_pair best = {0, 0};
    u64 before, after, shortest = ~0UL;
    u32 ticks, i;

    for (i = 0; i < 5; i++) {
        before = cpu_rdtsc();
        ticks = cpu_inl(port);
        after = cpu_rdtsc();
        if (after - before < shortest) {
            shortest = after - before;
            best = (struct time_pair){before + shortest / 2, ticks};
        }
    }
    return best;
}

// The second look, at a distance of one to four seconds from the first: of
// 24 bits the timer uses up the last after 4.7 seconds and begins again.
// From now on time runs at the better speed; what has passed has passed, or
// a clock would jump, perhaps back. Whoever is awake once in a while calls
// this.

void time_improve(void)
{
    u64 passed = time_now(), ticks;
    struct time_pair now;

    if (!sys.timer_port || passed < 1000000000)
        return;
    now = time_look(sys.timer_port);
    ticks = (now.ticks - sys.first_look.ticks) & 0xffffff;
    if (passed < 4000000000 && ticks) {
        sys.base_time = time_now();
        sys.base_tsc = cpu_rdtsc();
        sys.tsc_per_second = (now.tsc - sys.first_look.tsc) * ACPI_TIMER_HZ / ticks;
    }
    sys.timer_port = 0;
}

// If nobody knows how fast the counter runs, we take it for a billion, and
// say that this is a guess.

#define TSC_GUESS 1000000000UL

void time_init(void)
{
    u16 port = time_acpi_port();

    sys.tsc_per_second = time_from_processor();
    if (!sys.tsc_per_second && port) {
        sys.tsc_per_second = time_middle(time_measure_acpi, port);
        sys.timer_port = sys.tsc_per_second ? port : 0;
    }
    if (!sys.tsc_per_second)
        sys.tsc_per_second = time_measure_pit();
    if (!sys.tsc_per_second) {
        printf("time: no clock tells how fast the processor counts; seconds are a guess\n");
        sys.tsc_per_second = TSC_GUESS;
    }
    time_read_date();
    if (sys.timer_port)
        sys.first_look = time_look(port);
    sys.base_tsc = cpu_rdtsc();
}

// Linux numbers its clocks. Two tell what a process or a thread has used
// (2, 3), which we decline; of the rest, number 5 is a coarser form of the
// date, and all others have begun at some moment of no importance.

#define CLOCKS 8

s64 sys_clock_gettime(struct trap_frame *f)
{
    u64 now = time_now();
    struct timespec t = {(s64)(now / 1000000000), (s64)(now % 1000000000)};
    u64 clock = f->rdi;

    if (clock >= CLOCKS || clock == 2 || clock == 3)
        return -EINVAL;
    if (clock == CLOCK_REALTIME || clock == 5)
        t.seconds += sys.boot_seconds;
    return sys_copy_out(f->rsi, &t, sizeof t);
}

// Until there is somebody else who could run meanwhile, sleeping is
// waiting. The duration is cut off at some centuries, so that a sum with
// the present time cannot overflow.

s64 sys_read_time(vaddr from, u64 *nanoseconds)
{
    struct timespec t;

    if (sys_copy_in(&t, from, sizeof t))
        return -EFAULT;
    if (t.seconds < 0 || (u64)t.nanoseconds >= 1000000000)
        return -EINVAL;
    *nanoseconds = t.seconds < 1L << 33 ? (u64)t.seconds * 1000000000 + (u64)t.nanoseconds
                                        : 1UL << 63;
    return 0;
}

// The end of the sleep on our own clock. The flag 1 (`TIMER_ABSTIME`) says
// that it is given as a moment, not as a duration; moments before the boot
// are the boot.

s64 sys_read_end(struct trap_frame *f, u64 *until)
{
    u64 boot_time = (u64)sys.boot_seconds * 1000000000;
    s64 error = sys_read_time(f->rdx, until);

    if (error)
        return error;
    if (f->rdi >= CLOCKS)
        return -EINVAL;
    if (!(f->rsi & 1))
        *until += time_now();
    else if (f->rdi == CLOCK_REALTIME)
        *until = *until > boot_time ? *until - boot_time : 0;
    return 0;
}

s64 sys_clock_nanosleep(struct trap_frame *f)
{
    u64 until;
    s64 error = sys_read_end(f, &until);

    while (!error && time_now() < until)
        cpu_pause();
    return error;
}

// ## Chance {#sys-random}
//
// Programs want numbers that nobody can guess. Newer processors have an
// instruction for them. Without it we stir the cycle counter into a
// generator (xoshiro256**, by Blackman and Vigna), which is good enough for
// a hash table and not for a secret; a kernel for more than teaching would
// say no here. (The instruction may decline, and its result is then 0. As
// it is only mixed in, that does no harm.)

bool cpu_has_rdrand(void)
{
    return cpu_cpuid(1, 0).ecx & 1u << 30;
}

u64 cpu_rdrand(void)
{
    u64 v;

    __asm__ volatile(".byte 0x48, 0x0f, 0xc7, 0xf0" : "=a"(v)); /* rdrand %rax */
    return v;
}

u64 rotate_left(u64 x, int n)
{
    return x << n | x >> (64 - n);
}

// The generator, its first state, and the call. The state must not be all
// zeros, or nothing else ever comes out; hence the 1.

u64 random_next(void)
{
    u64 *s = sys.random, result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0], s[3] ^= s[1], s[1] ^= s[2], s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

void random_init(void)
{
    bool hardware = cpu_has_rdrand();
    int i;

    for (i = 0; i < 4; i++)
        sys.random[i] ^= (hardware ? cpu_rdrand() : cpu_rdtsc() * 0x9e3779b97f4a7c15UL) + 1;
}

s64 sys_getrandom(struct trap_frame *f)
{
    u64 size = f->rsi < TRANSFER_MAX ? f->rsi : TRANSFER_MAX, done = 0, part, moved, word;

    if (f->rdx & ~7UL)               /* how good they shall be: always as we can */
        return -EINVAL;
    sys.random[0] ^= cpu_has_rdrand() ? cpu_rdrand() : cpu_rdtsc();
    while (done < size) {
        word = random_next();
        part = size - done < sizeof word ? size - done : sizeof word;
        moved = sys_move_out(f->rdi + done, &word, part);
        done += moved;
        if (moved < part)
            return done ? (s64)done : -EFAULT;
        if (done % PORTION == 0 && sys.pause())
            break;
    }
    return (s64)done;
}

// ## Threads' own memory {#sys-arch}
//
// A C library keeps a pointer to its thread's variables in the base of the
// segment FS. Setting it is a privileged act.

#define MSR_FS_BASE 0xc0000100

s64 sys_arch_prctl(struct trap_frame *f)
{
    u64 base;

    if (f->rdi == ARCH_SET_FS) {
        if (f->rsi >= USER_END)
            return -EPERM;
        cpu_wrmsr(MSR_FS_BASE, f->rsi);
        return 0;
    }
    if (f->rdi != ARCH_GET_FS)
        return -EINVAL;
    base = cpu_rdmsr(MSR_FS_BASE);
    return sys_copy_out(f->rsi, &base, sizeof base);
}

// ## VMOs for everybody {#sys-vmo}
//
// What Linux does not have, we number from 0x1000: the objects of [Chapter
// 5](#ch-vmo) in the hands of programs. Their numbers carry a generation.

struct vmo *sys_vmo(u64 number, u32 rights)
{
    struct handle *h = sys_handle(number, rights);

    return h && h->object->type == &vmo_type ? container_of(h->object, struct vmo, object)
                                             : NULL;
}

s64 sys_add_vmo(struct vmo *v)
{
    struct handle_table *t = program_current()->handles;

    return v ? handle_number(t, handle_add(t, &v->object, RIGHTS_ALL, 0)) : -ENOMEM;
}

s64 sys_vmo_create(struct trap_frame *f)
{
    return sys_add_vmo(vmo_create(f->rdi));
}

// Between a VMO and a program's memory, a page at a time and without a
// detour. Reading what was never written copies the page of zeros. The
// caller has looked whether the bytes are in the VMO, and the addresses in
// the lower half. Returns how many were moved; `error` says why not all.
//
// (A page of the target may be a page of this very VMO, and copying to it
// may make it change its frame while we read from the old one. Nobody frees
// that under us: a page changes its frame only if somebody else refers to
// the old one as well.)

u64 vmo_transfer_portion(struct vmo *v, u64 offset, vaddr at, u64 size, u32 right, s64 *error)
{
    u64 done, part, left;
    paddr frame;
    u8 *bytes;

    v = vmo_resolve(v, &offset);
    for (done = 0; done < size; done += part, offset += part) {
        part = vmo_part(offset, size - done);
        frame = right == RIGHT_WRITE ? vmo_commit_page(v, offset >> FRAME_SHIFT)
                                     : vmo_frame(v, offset >> FRAME_SHIFT);
        if (!frame && right == RIGHT_WRITE) {
            *error = -ENOMEM;
            return done;
        }
        bytes = (u8 *)boot_physical(frame ? frame : vmo.zero) + offset % FRAME_SIZE;
        left = right == RIGHT_WRITE ? sys.copy(bytes, (const void *)(at + done), part)
                                    : sys.copy((void *)(at + done), bytes, part);
        if (left) {
            *error = -EFAULT;
            return done + part - left;
        }
    }
    return done;
}

// Any size. The caller has a reference to the VMO; but in a pause somebody
// may make it shorter, and that is then its end. Returns how many bytes
// were moved, or if there were none, the error.

s64 vmo_transfer(struct vmo *v, u64 offset, vaddr at, u64 size, u32 right)
{
    u64 done = 0, part, moved;
    s64 error = 0;

    if (!vmo_contains(v, offset, size))
        return -ERANGE;
    if (!sys_is_range(at, size))
        return -EFAULT;
    while (done < size && vmo_contains(v, offset + done, size - done)) {
        part = size - done < PORTION ? size - done : PORTION;
        moved = vmo_transfer_portion(v, offset + done, at + done, part, right, &error);
        done += moved;
        if (moved < part || (done < size && sys_must_stop()))
            break;
    }
    return done || !size ? (s64)done : error;
}

// The calls look up the handle, and want everything.

s64 sys_vmo_transfer(struct trap_frame *f, u32 right)
{
    struct vmo *v = sys_vmo(f->rdi, right);
    s64 moved;

    if (!v)
        return -EBADF;
    vmo_get(v);
    moved = vmo_transfer(v, f->rsi, f->rdx, f->r10, right);
    vmo_put(v);
    return moved < 0 ? moved : (u64)moved < f->r10 ? -EFAULT : 0;
}

s64 sys_vmo_read(struct trap_frame *f)
{
    return sys_vmo_transfer(f, RIGHT_READ);
}

s64 sys_vmo_write(struct trap_frame *f)
{
    return sys_vmo_transfer(f, RIGHT_WRITE);
}

s64 sys_vmo_clone(struct trap_frame *f)
{
    struct vmo *v = sys_vmo(f->rdi, RIGHT_READ);

    if (!v)
        return -EBADF;
    if (f->rsi % FRAME_SIZE || !vmo_contains(v, f->rsi, f->rdx))
        return -EINVAL;
    return sys_add_vmo(vmo_clone(v, f->rsi, f->rdx));
}

s64 sys_vmo_size(struct trap_frame *f)
{
    struct vmo *v = sys_vmo(f->rdi, 0);

    return v ? (s64)v->size : -EBADF;
}

// Arguments: handle, offset, size, protection. Returns the address. To map
// a VMO writable takes the right to write it, also later, by `mprotect`.

s64 sys_vmo_map(struct trap_frame *f)
{
    u32 rights, need = RIGHT_MAP | RIGHT_READ | (f->r10 & PROT_WRITE ? RIGHT_WRITE : 0);
    struct vmo *v = sys_vmo(f->rdi, need);
    s64 error = sys_rights(f->r10, &rights);

    if (!v || error)
        return v ? error : -EBADF;
    rights |= MAPPING_SHARED | (sys_handle(f->rdi, RIGHT_WRITE) ? 0 : MAPPING_READ_ONLY);
    return sys_map(0, f->rdx, rights, false, v, f->rsi);
}

s64 sys_handle_duplicate(struct trap_frame *f)
{
    struct handle_table *t = program_current()->handles;
    struct handle *h = sys_handle(f->rdi, RIGHT_DUPLICATE);

    if (!h)
        return -EBADF;
    object_get(h->object);
    return handle_number(t, handle_add(t, h->object, h->rights & (u32)f->rsi, 0));
}

s64 sys_handle_close(struct trap_frame *f)
{
    struct handle *h = sys_handle(f->rdi, 0);

    if (!h)
        return -EBADF;
    handle_close_entry(program_current()->handles, h);
    return 0;
}

// ::: {#walk-handle .walk}
//     from sys_handle_duplicate
//     from sys_vmo_write
//     from sys_handle_duplicate
//     from sys_handle_close
//     from sys_vmo_size
//     into sys_handle handle_find handle_add handle_find_free bits_set
//     into sys_vmo sys_vmo_transfer handle_close_entry
//     draw table user.boot.program->handles->entry 6 object rights
//
// A handle with fewer rights: it may not write, may not be duplicated, and
// once it is closed its number is nobody's.
// :::
//
// ## Setting up {#sys-init}
//
// Each program begins with three handles to the console and no memory of
// its own making; at its end, both are taken back.

int sys_begin(void *program)
{
    struct program *p = program;
    int i;

    p->handles = handle_create_table();
    if (!p->handles)
        return -ENOMEM;
    for (i = 0; i < 3; i++) {
        object_get(&console.object);
        handle_add(p->handles, &console.object, RIGHTS_ALL, 0);
    }
    cpu_wrmsr(MSR_FS_BASE, 0);
    return 0;
}

// And back. (Nothing here is about the processor: later this may be called
// while another program is the one that runs.)

int sys_end(void *program)
{
    struct program *p = program;

    if (p->handles)
        handle_destroy_table(p->handles);
    if (p->break_memory)
        vmo_put(p->break_memory);
    return 0;
}

struct hook sys_begins = {sys_begin, NULL}, sys_ends = {sys_end, NULL};

struct system_call {
    enum system_call_number number;
    const char *form;            /* its name, and what its arguments are */
    syscall_function *function;
};

// Calls are entered as a table of numbers, forms and functions. The form is
// for people, and for [who watches a program](#shell-trace): the name, and
// for each argument a word that says what it is.

const struct system_call sys_calls[] = {
    {SYS_READ, "read fd out size", sys_read}, {SYS_WRITE, "write fd in size", sys_file_write},
    {SYS_MMAP, "mmap address size rights sharing fd number", sys_mmap},
    {SYS_MPROTECT, "mprotect address size rights", sys_mprotect},
    {SYS_MUNMAP, "munmap address size", sys_munmap}, {SYS_BRK, "brk address", sys_brk},
    {SYS_READV, "readv fd address number", sys_readv},
    {SYS_WRITEV, "writev fd address number", sys_writev},
    {SYS_ARCH_PRCTL, "arch_prctl number address", sys_arch_prctl},
    {SYS_CLOCK_GETTIME, "clock_gettime number address", sys_clock_gettime},
    {SYS_CLOCK_NANOSLEEP, "clock_nanosleep number number address address", sys_clock_nanosleep},
    {SYS_EXIT, "exit number", sys_exit}, {SYS_EXIT_GROUP, "exit_group number", sys_exit},
    {SYS_GETRANDOM, "getrandom address size number", sys_getrandom},
    {SYS_VMO_CREATE, "vmo_create size", sys_vmo_create},
    {SYS_VMO_READ, "vmo_read fd address size number", sys_vmo_read},
    {SYS_VMO_WRITE, "vmo_write fd address size number", sys_vmo_write},
    {SYS_VMO_CLONE, "vmo_clone fd number size", sys_vmo_clone},
    {SYS_VMO_SIZE, "vmo_size fd", sys_vmo_size},
    {SYS_VMO_MAP, "vmo_map fd address size rights number", sys_vmo_map},
    {SYS_HANDLE_DUPLICATE, "handle_duplicate fd number", sys_handle_duplicate},
    {SYS_HANDLE_CLOSE, "handle_close fd", sys_handle_close}};

// Enters a table of calls, of this chapter or a later one.

void sys_add_calls(const struct system_call *calls, u64 count)
{
    u64 i;

    assert(sys.table_count < array_count(sys.table));
    sys.table[sys.table_count++] = (struct call_table){calls, count};
    for (i = 0; i < count; i++)
        user_add_call(calls[i].number, calls[i].function);
}

// The order matters in one place: nothing may run in ring 3 before the
// page-fault handler is the one that knows about copying.

void ch08_init(void)
{
    ch07_init();
    if (cpu_read_cr4() & CR4_SMAP)
        sys.copy = sys_copy_smap;
    cpu.handler[VECTOR_PAGE_FAULT] = sys_page_fault;
    cpu_wrmsr(MSR_LSTAR, (u64)sys_entry);
    time_init();
    random_init();
    object_init(&console.object, &console_type);
    hook_add_last(&user.begins, &sys_begins);
    hook_add_first(&user.ends, &sys_ends);
    sys_add_calls(sys_calls, array_count(sys_calls));
}

// ## A program with questions {#sys-show}
//
// `calls` uses all of this and reports. Its source is in [Appendix
// B](#user-calls).

extern const u8 _binary_calls_start[], _binary_calls_end[];

void ch08_main(void)
{
    u64 free_before;

    ch08_init();
    boot_check_options();
    heap_trim(&heap);
    free_before = pmm.states[FRAME_FREE];
    user_show(_binary_hello_start, _binary_hello_end, "hello", NULL);
    user_show(_binary_calls_start, _binary_calls_end, "calls", NULL);
    heap_trim(&heap);
    printf("syscall: frames lost: %lu, objects left: %lu\n",
           free_before - pmm.states[FRAME_FREE], vmo_type.live);
}

// ## Try it {#sys-try}
//
// `make run CH=8`:
//
// ::: {.transcript file="tests/golden/ch08.txt"}
// :::
//
// The same program on Linux, `strace build/gcc/user/calls`, shows each call
// with its arguments. Where Linux has no such call it answers -38, and the
// program says so.
//
// With GDB we can watch as well, from the other side:
//
// ::: {.transcript file="book/gdb/ch08.txt"}
// :::
//
// ### Exercises {#sys-exercises}
//
// ::: {#ex-sys-rights .exercise level=1}
// Add a call, numbered from 0x1000 on, that takes rights away from an
// existing handle; its arguments are the handle and those rights. Why is it
// not enough to duplicate and close? *A program demonstrates the
// difference.*
// :::
//
// ::: {#ex-sys-toctou .exercise level=2}
// `sys_transfer_pieces()` reads each piece's description when it needs it.
// Suppose two threads shared the memory. What could the second one change
// between the check and the use, and why does it not matter here? *Change
// the function so that it does matter, and say what the second thread
// gains.*
// :::
//
// ::: {#ex-sys-partial .exercise level=2}
// `console_write()` copies 256 bytes at a time, all or nothing. Let it
// write what could be copied before it gives up. *A program writes 100
// bytes, of which only the first 1, 2 and so on to 16 are mapped, sees them
// on the screen, and is told 1, 2 and so on. Of 13 mapped bytes, how many
// arrive if the copying gives up at the word that fails, instead of trying
// it byte by byte?*
// :::
//
// ::: {#ex-sys-channel .exercise level=3}
// Add *channels*: two handles, messages of bytes and handles, in order. A
// handle that is sent disappears from the sender's table. The calls: make
// (where to put two numbers), send (end, bytes, how many, a handle or 0),
// receive (end, where to, room, where to put a handle's number). Where
// nothing is there it is -EAGAIN, where nobody is left -EPIPE. *A program
// of yours sends itself a VMO, and what is never received is not lost.*
// :::
//
// ### Further reading {#sys-reading}
//
// Jack Dennis and Earl Van Horn, "Programming Semantics for Multiprogrammed
// Computations", *Communications of the ACM* 9(3), 1966, for the idea; Norm
// Hardy, "The Confused Deputy" (1988), for what goes wrong without it;
// Robert Watson and others, "Capsicum" (USENIX Security 2010), for how it
// comes back to Unix. In Linux `arch/x86/entry/entry_64.S` is the way in,
// `lib/usercopy.c` and what it calls the way to a program's memory.
//
// ## What we have {#sys-have}
//
// Programs that own things by number, get memory when they ask, and know
// what time it is. There is still only one of them.

// # Chapter 9. Many at once {#ch-sched}
//===========================================================================
//
// A program that computes keeps the processor; a program that waits wastes
// it. Both are rude when others have something to do, and until now there
// were no others. This chapter lets several programs be under way at the
// same time on one processor, each believing that it has the machine to
// itself.
//
// The trick is old and simple. At some moment we stop working for one
// program, put aside everything that makes up its state, fetch the state of
// another, and go on there. If it happens often enough nobody notices. Two
// questions remain: what exactly is "everything", and who decides when?
//
// ## Theory of operation {#sched-theory}
//
// A **thread** is a flow of control: a kernel stack, with whatever is on
// it, and the contents of the registers that the kernel does not save
// anyway. A **process** is a program that is being executed: an address
// space, handles, a number, a parent. Each process here has one thread. The
// kernel itself has one more, the one that has been running since boot.
//
// A thread leaves the processor at a single place, the function
// `sched_schedule()`, and comes back out of the same call, perhaps seconds
// later. On the way there it saved its registers on its own stack; so to
// switch is to change the stack pointer. It goes there for three reasons:
//
// - it has to wait, for time to pass or for an event;
// - it has ended;
// - its **time slice** is over: the timer has interrupted it while it was
//   in ring 3, and the timer's handler calls `sched_schedule()` for it.
//
// Until it ends it is in one of three states:
//
//     running --- slice over ---> ready (at the end of the queue)
//        |  ^--- its turn ----------'  ^
//        |                             | woken up, or time is up
//        '---- waits ----> asleep -----'
//
// **In the kernel nobody is interrupted.** Interrupts are on in ring 3,
// while there is nothing to do, and where something long pauses; everywhere
// else they are off. So what the kernel does between two such places is
// atomic, and the oldest bug of such systems, the lost wakeup, cannot
// happen: between looking whether something is there and going to sleep
// nobody can come and ring the bell unheard.
//
// Threads that are ready stand in a queue. Who has used up its slice goes
// to the end. That is all there is to fairness: *of n threads that want to
// compute, each gets the n-th part.*
//
// The invariants: *a thread runs, or stands in exactly one queue, or has
// ended*, which `sched_audit()` walks; *what the kernel does between two
// calls of `sched_schedule()` or `sched_pause()` is atomic; a stack is
// freed by who stands on another.*
//
// **Shortcomings.** One processor. No priorities: a program that waits much
// is not preferred to one that computes. What the kernel does in one go
// delays everybody. Moving bytes [pauses](#sys-long), however many they
// are; to copy the memory of a large process, or to give back that of a
// process or a file, does not. And the timer ticks a hundred times a second
// even while there is nothing to do.
//
// ## State {#sched-state}

struct thread;

struct wait_queue {
    struct thread *first, *last;
    struct watch *watches;       /* who sleeps elsewhere and is woken as well */
};

struct timer {
    struct tree_node node;
    u64 time;                    /* of time_now(); 0: it is not set */
    void (*ring)(struct timer *t); /* then; it cancels it, or sets it anew */
};

struct signal_note;

struct signal_queue {            /* what was sent and not yet taken; chapter 12 */
    u64 pending;                 /* bit n - 1: signal n */
    struct signal_note *notes;   /* the oldest first */
    u32 count;                   /* of notes */
};

// A thread: what it does for a program, where it was when it left the
// processor, what it waits for, and what is its own and not its process's.

struct thread {
    struct context context;      /* its program, NULL for the kernel's own */
    u64 stack_pointer;           /* while it is not running */
    vaddr stack_top;
    struct process *process;     /* NULL: the kernel's own */
    struct thread *sibling;      /* the next one of its process */
    u32 number;                  /* the first one's is that of its process */
    struct thread *next;         /* in the queue it stands in */
    struct wait_queue *queue;    /* which that is, if it sleeps */
    struct timer timer;          /* when to give up waiting */
    int wake_reason;             /* what sched_sleep() returns */
    u64 fs_base;
    struct signal_queue sent;    /* to it, not to its process; chapter 12 */
    u64 blocked;                 /* signals that have to wait; chapter 12 */
    u64 waited;                  /* those that wake it all the same: sigtimedwait */
    u64 saved;                   /* to be blocked again after sigsuspend, */
    bool suspended;              /* if this says so */
    struct signal_stack handlers_stack;
    bool ending;                 /* it shall end when it comes by; chapter 15 */
    struct tree_node by_number;  /* of those that are not the first; likewise */
    vaddr cleared, robust;       /* what it wants to be done at its end; likewise */
    struct fpu_state fpu;
};

// A process: the program, its number and family, what it will have to
// report.

struct process {
    struct object object;
    struct program program;      /* chapters 7 and 8 */
    char name[32];
    u32 pid;
    u32 group, session;          /* chapter 12 */
    struct tree_node by_pid;     /* of all */
    struct process *parent;      /* NULL: started by the kernel */
    struct process *children[2]; /* its own: those who live, those who have ended */
    struct process *sibling;     /* the next in such a list, */
    struct process **sibling_place; /* and what points to this one */
    struct thread *threads;      /* NULL: it has ended */
    int exit_code, exit_signal;
    int notice;                  /* how its parent learns of that; 0: as usual; chapter 13 */
    u64 cpu_time;                /* nanoseconds */
    u64 turns;                   /* how often it got the processor */
    struct wait_queue waiters;   /* wait for one of its children to end */
    u32 waits_for;               /* the process that has a lock; chapter 10 */
    struct node *directory;      /* where its paths start; chapter 10 */
    struct signal_state *signals; /* chapter 12 */
    struct node *executed;       /* runs this, see chapter 10; chapter 13 */
    bool replaced;               /* that is not its parent's any more; chapter 13 */
    u64 memory;                  /* the most it had, in bytes; chapter 13 */
    u64 weight;                  /* what it and its descendants have; likewise */
    u64 children_time, children_memory; /* of those that have ended; chapter 13 */
    struct limits *limits;       /* NULL: the usual ones; chapter 13 */
};

// And what belongs to nobody in particular.

struct sched_state {
    struct thread boot;          /* the one that has been running all the time */
    struct wait_queue ready;
    struct tree_node *timers;    /* by their times */
    struct hook *ticking;        /* at each interrupt of the timer, about nothing */
    struct thread *corpse;       /* ended, but its stack was still in use */
    struct tree_node *processes; /* by their numbers */
    u32 last_pid, threads;
    u64 slice_start, switches;
    u64 ticks;                   /* interrupts of the timer */
    void (*arm)(u64 nanoseconds); /* ask for a timer interrupt, at the latest then */
};

void process_destroy(struct object *o);

struct object_type process_type = {.name = "process", .destroy = process_destroy};
struct sched_state sched;

#define SLICE_NANOSECONDS 10000000UL

// ## Pages of the kernel's own {#sched-map}
//
// Kernel stacks and device registers need addresses in the upper half. As
// every address space has copied the root's upper half, an entry below it,
// made once, is seen by all. These tables carry no user bit.

#define PTE_WRITE_THROUGH (1UL << 3)
#define PTE_UNCACHED (1UL << 4)

// Returns an address's entry, NULL if there is no memory for a table.

u64 *cpu_kernel_entry(vaddr address)
{
    paddr table = boot.info->root;
    u64 *entry;
    int level;

    for (level = 4; level > 1; level--) {
        entry = as_table_entry(table, address, level);
        if (!*entry) {
            table = pmm_alloc_zeroed(&pmm, ZONE_KERNEL, 'T');
            if (!table)
                return NULL;
            *entry = table | PTE_PRESENT | PTE_WRITE;
        }
        table = *entry & PTE_ADDRESS;
    }
    return as_table_entry(table, address, 1);
}

// ## Kernel stacks {#sched-stacks}
//
// Each thread has one, of 16 KiB, and the 16 KiB below it are left
// unmapped: the same precaution as for [the first stack](#efi-tables).
// There are addresses for 8,000; how many threads there can be is therefore
// decided by memory. A page table, once made, serves 64 of them and stays.
//
// Are 16 KiB enough? With the option `stacks` a new one is filled with a
// pattern. What is left of that when it is given back shows its *high-water
// mark*; the highest of them is printed at the end. (A quarter is used.)

#define STACK_SLOT (32 * KIB)
#define STACK_SIZE (16 * KIB)
#define STACK_FIRST 2                    /* the boot stack lies in slots 0 and 1 */
#define THREADS_MAX 8000

struct stack_pool {
    u64 used[THREADS_MAX / 64];          /* a bit for each slot */
    u64 lowest;                          /* no slot below it is free */
    u64 tables;                          /* made for them, beside the boot stack's */
    bool measured;                       /* option stacks */
    u64 deepest;                         /* bytes that one has used */
};

struct stack_pool stacks;

vaddr stack_slot(u64 slot)
{
    return KERNEL_STACKS + (STACK_FIRST + slot) * STACK_SLOT;
}

void stack_unmap(vaddr from, vaddr to)
{
    u64 *entry = cpu_kernel_entry(from);

    for (; from < to; from += FRAME_SIZE, entry++) {
        pmm_free(&pmm, ZONE_KERNEL, *entry & PTE_ADDRESS);
        *entry = 0;
        cpu_invlpg(from);
    }
}

// How many bytes of a stack have been used?

#define STACK_UNUSED 0xc5c5c5c5c5c5c5c5UL

u64 stack_depth(vaddr top)
{
    const u64 *word = (u64 *)(top - STACK_SIZE);

    while ((vaddr)word < top && *word == STACK_UNUSED)
        word++;
    return top - (vaddr)word;
}

// Says how many that were at most, if it was asked for.

void stack_report(void)
{
    if (stacks.measured)
        printf("sched: of a kernel stack's %lu bytes, %lu were used at most\n", STACK_SIZE,
               stacks.deepest);
}

// Returns the upper end of a new stack, or 0 if there is no memory or there
// are too many threads.

vaddr stack_alloc(void)
{
    u64 slot = stacks.lowest = bits_next(stacks.used, stacks.lowest, THREADS_MAX, false);
    vaddr bottom = stack_slot(slot) + STACK_SLOT - STACK_SIZE, page;
    paddr frame;
    u64 *entry;

    if (slot == THREADS_MAX)
        return 0;
    entry = cpu_kernel_entry(bottom);
    if (!entry)
        return 0;
    for (page = bottom; page < bottom + STACK_SIZE; page += FRAME_SIZE, entry++) {
        frame = pmm_alloc(&pmm, ZONE_KERNEL, 'S');
        if (!frame) {
            stack_unmap(bottom, page);
            return 0;
        }
        *entry = frame | PTE_PRESENT | PTE_WRITE | PTE_NX;
    }
    bits_set(stacks.used, slot, true);
    stacks.tables = max(stacks.tables, (STACK_FIRST + slot) / (2 * MIB / STACK_SLOT));
    if (unlikely(stacks.measured))
        memset((void *)bottom, (u8)STACK_UNUSED, STACK_SIZE);
    return bottom + STACK_SIZE;
}

void stack_free(vaddr top)
{
    u64 slot = (top - STACK_SLOT - stack_slot(0)) / STACK_SLOT;

    if (unlikely(stacks.measured))
        stacks.deepest = max(stacks.deepest, stack_depth(top));
    stack_unmap(top - STACK_SIZE, top);
    bits_set(stacks.used, slot, false);
    if (slot < stacks.lowest)
        stacks.lowest = slot;
}

// The thread that is running is known by its context.

struct thread *thread_current(void)
{
    return container_of(cpu_context(), struct thread, context);
}

// ## Queues {#sched-queues}

void queue_append(struct wait_queue *q, struct thread *t)
{
    t->next = NULL;
    if (q->last)
        q->last->next = t;
    else
        q->first = t;
    q->last = t;
}

void queue_remove(struct wait_queue *q, struct thread *t)
{
    struct thread **place = &q->first, *before = NULL;

    while (*place != t) {
        before = *place;
        place = &before->next;
    }
    *place = t->next;
    if (q->last == t)
        q->last = before;
}

// ## Timers {#sched-timers}
//
// A timer is something to be called at some time. Those that are set stand
// in a [tree](#user-tree), the next one leftmost.

struct timer *timer_of(struct tree_node *n)
{
    return n ? container_of(n, struct timer, node) : NULL;
}

struct timer *timer_first(void)
{
    return timer_of(tree_end(sched.timers, 0));
}

// It will not ring. Nothing happens if it is not set.

void timer_cancel(struct timer *t)
{
    if (t->time)
        tree_remove(&sched.timers, &t->node);
    t->time = 0;
}

// Sets it, or sets it anew, or, with 0, cancels it. Of several for one
// time, the one that was set first is the first to ring.

void timer_set(struct timer *t, u64 time)
{
    struct tree_node *n, *parent = NULL;
    int side = 0;

    timer_cancel(t);
    if (!time)
        return;
    for (n = sched.timers; n; n = n->child[side]) {
        parent = n;
        side = time >= timer_of(n)->time;
    }
    t->time = time;
    tree_insert(&sched.timers, parent, side, &t->node, 0);
}

// ## Switching {#sched-switch}
//
// The registers that a C function may change have been saved by whoever
// called us; six remain, and the stack pointer. The last instruction,
// `ret`, returns to where the *other* thread called this *context switch*.
//
// ::: {#fig-switch .figure file="book/figures/switch.svg"}
//     stack of A, which leaves            stack of B, which comes
//
//     | trap frame: A in ring 3   |       | trap frame: B in ring 3   |
//     | C functions, such as      |       | C functions, such as      |
//     |   sys_read ... tty_read   |       |   sched_timer             |
//     | sched_schedule()          |       | sched_schedule()          |
//     | return address            |       | return address            |
//     | rbp rbx r12 r13 r14 r15   |       | rbp rbx r12 r13 r14 r15   |
//     '--- A's stack_pointer <- rsp       rsp <- B's stack_pointer ---'
//
// The switch: the same frames on both stacks, down to the return address,
// so whose stack it is decides who returns.
// :::
//
// Flags need not be saved: interrupts are off on both sides.

void sched_switch(u64 *save, u64 load);

__asm__(".text\n"
        ".globl sched_switch\n"
        "sched_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n");

// A new thread has never called it. Its stack is prepared so that it looks
// as if: six registers, and a return address that leads to these lines.
// Above that lies a [trap frame](#boot-traps), made by hand, by which it
// enters ring 3.

extern u8 thread_begin[];

__asm__(".globl thread_begin\n"
        "thread_begin:\n"
        "    movq %rsp, %rdi\n"
        "    call sched_begin\n" UNWIND_TRAPPED
        "    jmp trap_return\n" UNWIND_END);

// Around that, what belongs to a process: address space, vector registers,
// FS, and the stack for its next trap. (The kernel is compiled not to use
// vector registers, so until here they hold what the program left in them.)
// The kernel's own thread needs none of these and leaves them as they are.

void sched_load(struct thread *t)
{
    if (!t->process)
        return;
    t->process->turns++;
    if (cpu_local()->space != t->process->program.space)
        as_switch(t->process->program.space);
    cpu_fxrstor(&t->fpu);
    cpu_clear_segments();
    cpu_wrmsr(MSR_FS_BASE, t->fs_base);
    cpu_set_kernel_stack(t->stack_top);
}

void thread_free(struct thread *t)
{
    stack_free(t->stack_top);
    sched.threads--;
    heap_free(&heap, t);
}

// A thread that has ended cannot free the stack it stands on. The next one
// does it.

void sched_bury(void)
{
    struct thread *t = sched.corpse;

    sched.corpse = NULL;
    if (t)
        thread_free(t);
}

// A thread's first way to ring 3 is like any other: what wants its
// attention comes first. (Otherwise a family that forks without end cannot
// be killed. Each child would get as far as to make a child of its own, to
// which the signal was not sent.)

void sched_begin(struct trap_frame *f)
{
    sched_bury();
    sys_attend(f);
}

void sched_account(struct thread *t)
{
    u64 now = time_now();

    if (t->process)
        t->process->cpu_time += now - sched.slice_start;
    sched.slice_start = now;
}

// The place where the processor changes hands. The caller has put the
// current thread where it belongs: into a queue, or nowhere. If nobody is
// ready we wait, on the stack of the thread that just left; `sti` takes
// effect only after the next instruction, so that an interrupt cannot slip
// in before the `hlt`.

void cpu_wait_for_interrupt(void)
{
    __asm__ volatile("sti\n hlt\n cli" : : : "memory");
}

// It relies on two things: nothing interrupts it, and it stands on the
// stack of the thread that leaves. (How far down need not be looked: below
// lies what is not mapped.)

void sched_schedule(void)
{
    struct thread *old = thread_current(), *new;

    assert(!cpu_interrupts_on());
    assert(old->stack_top - (vaddr)__builtin_frame_address(0) < STACK_SLOT);
    sched_account(old);
    while (!sched.ready.first) {
        cpu_wait_for_interrupt();
        sched.slice_start = time_now();
    }
    new = sched.ready.first;
    queue_remove(&sched.ready, new);
    if (new == old)
        return;
    if (old->process && old != sched.corpse)
        cpu_fxsave(&old->fpu);
    sched.switches++;
    cpu_local()->context = &new->context;
    sched_load(new);
    sched_switch(&old->stack_pointer, new->stack_pointer);
    sched_bury();
}

// Gives the others a turn, and comes back when it is ours again.

void sched_yield(void)
{
    queue_append(&sched.ready, thread_current());
    sched_schedule();
}

// ## Sleeping and waking {#sched-sleep}
//
// The next interrupt must come at the end of a slice, or earlier if a timer
// is to ring before that.

void sched_arm_next(u64 now)
{
    const struct timer *first = timer_first();
    u64 next = SLICE_NANOSECONDS;

    if (first && first->time < now + next)
        next = first->time > now ? first->time - now : 1;
    sched.arm(next);
}

// Who sleeps is woken with a reason, which is what `sched_sleep()` will
// return to him: here 0 for an event, -EINTR for attention, and if the
// timer rings, -ETIMEDOUT.

void sched_wake_thread(struct thread *t, int reason)
{
    if (!t->queue)
        return;
    queue_remove(t->queue, t);
    timer_cancel(&t->timer);
    t->queue = NULL;
    t->wake_reason = reason;
    queue_append(&sched.ready, t);
}

void sched_time_out(struct timer *t)
{
    sched_wake_thread(container_of(t, struct thread, timer), -ETIMEDOUT);
}

// Puts the current thread to sleep in a queue, until it is woken, or until
// a time (in nanoseconds of `time_now()`, 0 for no limit) has come. Returns
// 0, -ETIMEDOUT, or -EINTR if somebody wants its attention. The caller then
// looks again whether what it waited for is there: *waking up is a hint,
// not a promise.*

int sched_sleep(struct wait_queue *q, u64 until)
{
    struct thread *t = thread_current();

    if (t->context.attention)
        return -EINTR;
    t->wake_reason = 0;
    t->queue = q;
    queue_append(q, t);
    if (until) {
        t->timer.ring = sched_time_out;
        timer_set(&t->timer, until);
        sched_arm_next(time_now());
    }
    sched_schedule();
    return t->wake_reason;
}

// ::: {#walk-switch .walk}
//     from sched_sleep if sched.ready.first && cpu_boot.context->program
//     into queue_append timer_set sched_schedule queue_remove sched_load
//     to   sched_switch
//     draw list sched.ready.first next process.name
//     draw list sched_sleep::q->first next process.name
//
// Who wants to sleep stands in a queue, and the first who is ready is taken
// out of another. One call more, and it is this one that runs.
// :::
//
// A thread stands in one queue. Who waits for the first of several things
// to happen sleeps in a queue of its own, and hangs a *watch* on the queue
// of each thing. It takes them off again whatever it was woken by.

struct watch {
    struct thread *thread;
    struct wait_queue *queue;
    struct watch *next;
};

void watch_add(struct watch *w, struct wait_queue *q)
{
    *w = (struct watch){.thread = thread_current(), .queue = q, .next = q->watches};
    q->watches = w;
}

// Takes it off.

void watch_remove(struct watch *w)
{
    struct watch **place = &w->queue->watches;

    while (*place != w)
        place = &(*place)->next;
    *place = w->next;
}

// Wakes all who sleep in a queue or watch it.

void sched_wake(struct wait_queue *q)
{
    struct watch *w;

    while (q->first)
        sched_wake_thread(q->first, 0);
    for (w = q->watches; w; w = w->next)
        sched_wake_thread(w->thread, 0);
}

// ## The timer {#sched-timer}
//
// Each processor has a timer in its *local APIC* (SDM 3A, 10.5.4), which
// counts down once, at an unknown speed, and then raises an interrupt; for
// the next one we must ask again. Its registers are in memory, at a
// physical address that a model-specific register tells; or, if bit 10 of
// that register is set, the firmware has switched to a newer form,
// *x2APIC*, the place in memory is dead, and they are model-specific
// registers themselves, in the same order (SDM 3A, 10.12; APM 2, 16.9). We
// take them as they are.

#define DEVICES 0xffffffffe0000000UL
#define MSR_APIC_BASE 0x1b
#define MSR_X2APIC 0x800
#define APIC_IS_X2 (1UL << 10)
#define APIC_ENABLED (1UL << 11)
#define APIC_PRIORITY 0x80
#define APIC_EOI 0xb0
#define APIC_SPURIOUS 0xf0
#define APIC_TIMER 0x320
#define APIC_LINT0 0x350
#define APIC_LINT1 0x360
#define APIC_ERROR 0x370
#define APIC_TIMER_START 0x380
#define APIC_TIMER_NOW 0x390
#define APIC_TIMER_DIVIDE 0x3e0
#define VECTOR_TIMER 48
#define VECTOR_SPURIOUS 255

struct apic_state {
    bool present;
    bool x2;                     /* its registers are not in memory */
    u64 ticks_per_second;
};

struct apic_state apic;

u32 apic_read(u32 offset)
{
    if (apic.x2)
        return (u32)cpu_rdmsr(MSR_X2APIC + offset / 16);
    return *(volatile u32 *)(DEVICES + offset);
}

void apic_write(u32 offset, u32 value)
{
    if (apic.x2)
        cpu_wrmsr(MSR_X2APIC + offset / 16, value);
    else
        *(volatile u32 *)(DEVICES + offset) = value;
}

// Asking for an interrupt after some time: the product must not overflow,
// and zero would stop the timer.

void apic_arm(u64 nanoseconds)
{
    u64 ticks = nanoseconds * (apic.ticks_per_second / 1000) / 1000000;

    apic_write(APIC_TIMER_START, ticks < 1 ? 1 : ticks < 1UL << 31 ? (u32)ticks : 1u << 31);
}

// We let it run for a moment, three times again, to learn its speed.

u64 apic_measure(u16 port)
{
    u64 start = time_now(), passed;

    (void)port;
    apic_write(APIC_TIMER_START, ~0u);
    do
        passed = time_now() - start;
    while (passed < 1000000000 / CALIBRATION_PER_SECOND);
    return (u64)(~0u - apic_read(APIC_TIMER_NOW)) * 1000000000 / passed;
}

// The firmware may have left it switched off, deaf to everything below some
// priority, or with its two wires disconnected. To one are connected the
// old chips of the next section, which tell the vector themselves (mode 7,
// "ExtINT"), to the other what must not be ignored (mode 4, "NMI"). Its own
// errors we do not want to hear of.

#define APIC_MASKED 0x10000

void apic_map(paddr base)
{
    *cpu_kernel_entry(DEVICES) = base | PTE_PRESENT | PTE_WRITE | PTE_NX | PTE_UNCACHED |
                                 PTE_WRITE_THROUGH;
}

void apic_init(void)
{
    u64 base = cpu_rdmsr(MSR_APIC_BASE);

    cpu_wrmsr(MSR_APIC_BASE, base | APIC_ENABLED);
    apic.x2 = base & APIC_IS_X2;
    if (!apic.x2)
        apic_map(base & PTE_ADDRESS);
    apic_write(APIC_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
    apic_write(APIC_PRIORITY, 0);
    apic_write(APIC_LINT0, 0x700);
    apic_write(APIC_LINT1, 0x400);
    apic_write(APIC_ERROR, APIC_MASKED);
    apic_write(APIC_TIMER_DIVIDE, 3);            /* by 16 */
    apic_write(APIC_TIMER, APIC_MASKED);
    apic.ticks_per_second = time_middle(apic_measure, 0);
    apic_write(APIC_TIMER, VECTOR_TIMER);
    apic.present = true;
    sched.arm = apic_arm;
}

// ## The old chips {#sched-pic}
//
// The other way to be interrupted is older: two chips of type 8259 collect
// the interrupts of fifteen devices, and channel 0 of the timer chip is the
// first of them. The firmware has left the chips in a state unknown to us.
// We set them up to use vectors 32 to 47 and to keep quiet; who wants an
// interrupt unmasks it. Where there is an APIC they reach the processor
// through it. Without one the timer chip ticks a hundred times a second.
// (The newest boards are built without these chips. Whether they are there
// we see by what they remember.)

#define PIC_VECTOR 32
#define PIT_TICKS_PER_SECOND 100

struct pic_state {
    bool present;
};

struct pic_state pic;

// Four words for each chip, sent in turn: "I begin", the first vector, who
// is connected to whom, and the mode.

void pic_init(void)
{
    static const u8 words[4][2] = {{0x11, 0x11}, {PIC_VECTOR, PIC_VECTOR + 8}, {4, 2}, {1, 1}};
    int i;

    for (i = 0; i < 4; i++) {
        cpu_outb(i ? 0x21 : 0x20, words[i][0]);
        cpu_outb(i ? 0xa1 : 0xa0, words[i][1]);
    }
    cpu_outb(0x21, 0xfb);        /* all masked but the second chip */
    cpu_outb(0xa1, 0xff);
    pic.present = cpu_inb(0x21) == 0xfb;
}

// Lets a device interrupt.

void pic_unmask(int irq)
{
    u16 port = irq < 8 ? 0x21 : 0xa1;

    cpu_outb(port, (u8)(cpu_inb(port) & ~(1 << irq % 8)));
}

// The end of a handler: the chips may interrupt again.

void pic_done(int irq)
{
    if (irq >= 8)
        cpu_outb(0xa0, 0x20);
    cpu_outb(0x20, 0x20);
}

// The timer chip, as the poor machine's clock.

void pit_arm(u64 nanoseconds)
{
    (void)nanoseconds;           /* it ticks anyway */
}

void pit_init(void)
{
    u32 count = PIT_HZ / PIT_TICKS_PER_SECOND;

    cpu_outb(0x43, 0x34);
    cpu_outb(0x40, (u8)count);
    cpu_outb(0x40, (u8)(count >> 8));
    pic_unmask(0);
    sched.arm = pit_arm;
}

// The handler rings the timers whose time has come and asks for the next
// interrupt. If it interrupted ring 3, the slice may be over. (A later
// chapter may have something to do a hundred times a second; there are
// hooks for that.)

void sched_tick(void)
{
    u64 now = time_now();
    struct timer *t;

    sched.ticks++;
    time_improve();
    hook_call(sched.ticking, NULL);
    while ((t = timer_first()) && t->time <= now)
        t->ring(t);
    sched_arm_next(now);
}

// Has the current thread had its turn, with somebody else ready? The timer
// may come a little early, for a sleeper, hence the half.

bool sched_is_over(void)
{
    return sched.ready.first && time_now() - sched.slice_start >= SLICE_NANOSECONDS / 2;
}

// In the middle of something long, such as writing to a slow line: others
// get their turn, and who wants this program's attention gets it. Sleepers
// and the keyboard are others too, so the interrupts that have been waiting
// come in, behind the `nop`: only there does `sti` take effect.

void cpu_admit_interrupts(void)
{
    __asm__ volatile("sti\n nop\n cli" : : : "memory");
}

bool sched_pause(void)
{
    cpu_admit_interrupts();
    if (sched_is_over())
        sched_yield();
    return cpu_context()->attention;
}

// The handler itself, for either timer.

void sched_timer(struct trap_frame *f)
{
    if (f->vector == VECTOR_TIMER)
        apic_write(APIC_EOI, 0);
    else
        pic_done(0);
    sched_tick();
    if (f->cs & 3 && sched_is_over())
        sched_yield();
    if (f->cs & 3)
        sys_attend(f);
}

// An interrupt that nobody has asked for is acknowledged and forgotten; it
// may come from a device that the firmware has set to work, and that has
// not been told that the firmware is gone. The APIC's *spurious* one, which
// comes when another was withdrawn at the last moment, must not be
// acknowledged (SDM 3A, 10.9).

void sched_ignore(struct trap_frame *f)
{
    if (f->vector < PIC_VECTOR + 16)
        pic_done((int)f->vector - PIC_VECTOR);
    else if (f->vector != VECTOR_SPURIOUS && apic.present)
        apic_write(APIC_EOI, 0);
}

// A timer that is there, and counts, need not be connected to anything. A
// kernel that waits for it would wait for ever. So it is asked for one
// interrupt, and gets a second for what should take ten microseconds, or
// with the old chip ten milliseconds.

bool sched_timer_comes(void)
{
    u64 before = sched.ticks, start = time_now();

    sched.arm(10000);
    while (sched.ticks == before && time_now() - start < 1000000000)
        cpu_admit_interrupts();
    return sched.ticks != before;
}

void sched_init_timer(void)
{
    if (cpu_cpuid(1, 0).edx & 1u << 9) {
        apic_init();
        if (apic.ticks_per_second && sched_timer_comes())
            return;
        printf("sched: the local APIC's timer does not come; we take the PC's old one\n");
        apic_write(APIC_TIMER, APIC_MASKED);
    }
    pit_init();
    if (!sched_timer_comes())
        boot_refuse("there is no timer that interrupts: neither the local APIC's nor "
                    "the PC's old one comes");
}

// ## Processes {#sched-process}
//
// A process begins with nothing but a number, a thread and a kernel stack.
// First the thread, with its stack; NULL if there is no room for it. (The
// first of a process stays the first in its list, whoever joins it.)

struct thread *thread_create(struct process *p)
{
    struct thread *t = heap_alloc_zeroed(&heap, sizeof *t), **place;

    if (!t)
        return NULL;
    t->stack_top = stack_alloc();
    if (!t->stack_top) {
        heap_free(&heap, t);
        return NULL;
    }
    t->process = p;
    t->context.program = &p->program;
    t->fpu = fpu_fresh;
    place = p->threads ? &p->threads->sibling : &p->threads;
    t->sibling = *place;
    *place = t;
    sched.threads++;
    return t;
}

// A process stands in one of two lists of its parent's children. This moves
// it there, if it has a parent.

void process_set_parent(struct process *p, struct process *parent)
{
    if (p->parent) {
        *p->sibling_place = p->sibling;
        if (p->sibling)
            p->sibling->sibling_place = p->sibling_place;
    }
    p->parent = parent;
    if (!parent)
        return;
    p->sibling_place = &parent->children[!p->threads];
    p->sibling = *p->sibling_place;
    if (p->sibling)
        p->sibling->sibling_place = &p->sibling;
    *p->sibling_place = p;
}

// The process, with its thread, which is not ready to run yet. The
// reference that it begins with stands for the question how it has ended:
// who asks that, gives it up.

struct process *process_create(struct process *parent, const char *name)
{
    struct process *p = heap_alloc_zeroed(&heap, sizeof *p);

    if (!p)
        return NULL;
    if (!thread_create(p)) {
        heap_free(&heap, p);
        return NULL;
    }
    object_init(&p->object, &process_type);
    snprintf(p->name, sizeof p->name, "%s", name);
    p->program.name = p->name;
    p->pid = p->threads->number = ++sched.last_pid;
    tree_insert(&sched.processes, tree_end(sched.processes, 1), 1, &p->by_pid, 0);
    process_set_parent(p, parent);
    return p;
}

// Which process is running; NULL if it is the kernel's own thread.

struct process *process_current(void)
{
    return thread_current()->process;
}

// Whose node it is; NULL for none.

struct process *process_of(struct tree_node *n)
{
    return n ? container_of(n, struct process, by_pid) : NULL;
}

// The process with the lowest number from `pid` on, NULL if there is none.

struct process *process_from(u64 pid)
{
    struct tree_node *n = sched.processes, *found = NULL;

    while (n) {
        if (process_of(n)->pid >= pid)
            found = n;
        n = n->child[process_of(n)->pid < pid];
    }
    return process_of(found);
}

// The one with just that number, NULL if there is none.

struct process *process_find(u32 pid)
{
    struct process *p = process_from(pid);

    return p && p->pid == pid ? p : NULL;
}

// All of them, by number: the first, NULL if there is none,

struct process *process_first(void)
{
    return process_of(tree_end(sched.processes, 0));
}

// and the one behind this one, NULL if it is the last.

struct process *process_next(const struct process *p)
{
    return process_of(tree_step(&p->by_pid, 1));
}

// The trap frame at the upper end of a kernel stack is where a thread's
// state in ring 3 is kept whenever it is in the kernel.

struct trap_frame *thread_frame(struct thread *t)
{
    return (struct trap_frame *)t->stack_top - 1;
}

// Makes a thread ready to run for the first time. Its frame has been
// filled.

void thread_start(struct thread *t)
{
    u64 *stack = (u64 *)thread_frame(t);

    *--stack = (u64)thread_begin;
    stack -= 6;
    memset(stack, 0, 6 * sizeof *stack);
    t->stack_pointer = (u64)stack;
    queue_append(&sched.ready, t);
}

// Ring 3 is interruptible from now on.

void thread_set_start(struct thread *t, vaddr entry, vaddr sp)
{
    *thread_frame(t) = (struct trap_frame){.rip = entry, .rsp = sp, .cs = SEGMENT_USER_CODE,
                                           .ss = SEGMENT_USER_DATA, .rflags = FLAG_INTERRUPTS | 2};
}

// A process that never ran, or has ended, is forgotten.

void process_destroy(struct object *o)
{
    struct process *p = container_of(o, struct process, object);

    tree_remove(&sched.processes, &p->by_pid);
    process_set_parent(p, NULL);
    heap_free(&heap, p);
}

// Undoes `process_create()` for a process that never ran.

void process_abandon(struct process *p)
{
    thread_free(p->threads);
    object_put(&p->object);
}

// Starts a program in a process of its own. Returns the process, or NULL
// and the reason in `error`.

struct process *process_spawn(struct vmo *file, const char *const *arguments, int *error)
{
    struct elf_image *image = heap_alloc(&heap, sizeof *image);
    struct process *p = image ? process_create(NULL, arguments[0]) : NULL;
    vaddr sp = 0;

    *error = p ? 0 : -ENOMEM;
    if (p && elf_check(file, image))
        *error = -ENOEXEC;
    if (!*error)
        *error = user_load(&p->program, file, image, arguments, &sp);
    if (!*error) {
        thread_set_start(p->threads, image->entry, sp);
        thread_start(p->threads);
    } else if (p) {
        process_abandon(p);
        p = NULL;
    }
    heap_free(&heap, image);
    return p;
}

// ## The end of a process {#sched-end}
//
// Its memory and its handles are given back at once. What remains is a
// number and a status, for the parent to ask for: a *zombie*. Children that
// lose their parent go to process 1, whose job it is to look after such; a
// process that the kernel started itself is asked for by the kernel.

void process_orphan(struct process *parent)
{
    struct process *init = process_find(1), *p;
    int i;

    for (i = 0; i < 2; i++)
        while ((p = parent->children[i])) {
            process_set_parent(p, init == parent ? NULL : init);
            p->notice = 0;
        }
    if (init)
        sched_wake(&init->waiters);
}

void process_give_back(struct process *p)
{
    hook_call(user.ends, &p->program);
    as_switch(NULL);
    as_put(p->program.space);
    p->program.space = NULL;
    process_orphan(p);
}

void process_report(struct process *p)
{
    process_set_parent(p, p->parent);
    audit_now();
    sched_wake(p->parent ? &p->parent->waiters : &p->waiters);
}

// Ends the current thread; does not return. With the last one its process
// has ended. (What is given back may be much, and others may get a turn
// meanwhile. So the thread is one until that is done, and only then waits
// to be buried.)

void noreturn thread_end(void)
{
    struct thread *t = thread_current(), **place;
    struct process *p = t->process;
    bool last = p->threads == t && !t->sibling;

    if (last)
        process_give_back(p);
    for (place = &p->threads; *place != t; place = &(*place)->sibling)
        ;
    *place = t->sibling;
    sched.corpse = t;
    if (last)
        process_report(p);
    sched_schedule();
    panic("a thread that has ended goes on");
}

// Ends the current process, which has one thread; does not return.

void process_end(int code, int signal)
{
    struct process *p = process_current();

    assert(p);
    p->exit_code = code;
    p->exit_signal = signal;
    thread_end();
}

// For the kernel: waits until a process that it has started ends, and
// forgets it. Returns the status as a shell would show it.

int process_wait(struct process *p)
{
    int status;

    while (p->threads)
        sched_sleep(&p->waiters, 0);
    status = p->exit_signal ? 128 + p->exit_signal : p->exit_code;
    object_put(&p->object);
    return status;
}

// ## The audit {#sched-audit}
//
// Who runs stands in no queue, who sleeps in the one that it knows of, and
// all others in the queue of those who are ready; nobody stands in one
// twice. A queue that is damaged may have no end, so we do not follow it
// further than it can go.

u32 sched_audit_queue(const struct wait_queue *q, const struct thread *wanted)
{
    const struct thread *t, *last = NULL;
    u32 length = 0, found = 0;

    for (t = q->first; t; last = t, t = t->next) {
        assert(length++ <= sched.threads);
        assert(t->queue == (q == &sched.ready ? NULL : q));
        found += t == wanted;
    }
    assert(q->last == last);
    return found;
}

void sched_audit_thread(const struct thread *t)
{
    u32 ready = sched_audit_queue(&sched.ready, t);

    assert(ready == (t != thread_current() && !t->queue));
    if (t->queue)
        assert(t != thread_current() && sched_audit_queue(t->queue, t) == 1);
    assert(!t->timer.time || t->queue);
}

// Timers stand in the order of their times. How many of them wake sleepers?

u32 sched_audit_timers(void)
{
    struct tree_node *n, *next;
    u32 sleepers = 0;

    tree_audit(sched.timers, NULL);
    for (n = tree_end(sched.timers, 0); n; n = next) {
        next = tree_step(n, 1);
        assert(timer_of(n)->time && timer_of(n)->ring);
        assert(!next || timer_of(n)->time <= timer_of(next)->time);
        sleepers += timer_of(n)->ring == sched_time_out;
    }
    return sleepers;
}

// Children are in the list where they belong.

void sched_audit_children(const struct process *parent)
{
    const struct process *p, *const *place;
    int i;

    for (i = 0; i < 2; i++)
        for (place = (void *)&parent->children[i]; (p = *place); place = (void *)&p->sibling) {
            assert(p->parent == parent && (p->threads == NULL) == i);
            assert(p->sibling_place == (void *)place);
        }
}

// The processes, by number, each with its address space. Parents are
// alive. Threads, stacks, and those who wait for a time are as many as
// there should be.

void sched_audit(void)
{
    struct process *p;
    struct thread *t;
    u32 threads = sched.corpse != NULL, waiting = sched.boot.timer.time != 0, stacks_used = 0;
    u64 i;

    sched_audit_thread(&sched.boot);
    tree_audit(sched.processes, NULL);
    for (p = process_first(); p; p = process_next(p)) {
        assert(!process_next(p) || p->pid < process_next(p)->pid);
        assert(p->object.references && (!p->parent || p->parent->threads));
        sched_audit_children(p);
        for (t = p->threads; t; t = t->sibling) {
            threads++;
            waiting += t->timer.time != 0;
            assert(t->process == p && t->context.program == &p->program);
            sched_audit_thread(t);
        }
        if (p->threads)
            as_audit(p->program.space);
    }
    for (i = 0; i < THREADS_MAX; i++)
        stacks_used += stacks.used[i / 64] >> i % 64 & 1;
    assert(bits_next(stacks.used, 0, THREADS_MAX, false) >= stacks.lowest);
    assert(threads == sched.threads && stacks_used == threads);
    assert(sched_audit_timers() == waiting);
}

struct audit sched_audits = {"threads", sched_audit, NULL};

// Somebody runs and stands in the queue of those who would like to. Or
// changes hands while interrupts are on, or not on its own stack.

void provoke_queue(void)
{
    queue_append(&sched.ready, thread_current());
    audit_all();
}

void provoke_interrupts(void)
{
    cpu_sti();
    sched_yield();
}

void provoke_wrong_stack(void)
{
    thread_current()->stack_top -= STACK_SLOT;
    sched_yield();
}

struct provocation sched_provocations[] = {{"queue", provoke_queue, NULL},
                                           {"interrupts", provoke_interrupts, NULL},
                                           {"wrong-stack", provoke_wrong_stack, NULL}};

// ## System calls {#sched-calls}

s64 sys_getpid(struct trap_frame *f)
{
    (void)f;
    return process_current()->pid;
}

s64 sys_gettid(struct trap_frame *f)
{
    (void)f;
    return thread_current()->number;
}

s64 sys_getppid(struct trap_frame *f)
{
    struct process *parent = process_current()->parent;

    (void)f;
    return parent ? parent->pid : 0;
}

s64 sys_sched_yield(struct trap_frame *f)
{
    (void)f;
    if (sched.ready.first)
        sched_yield();
    return 0;
}

// Sleeping is now what it is called: somebody else runs. If a signal ends
// it early the rest is reported, unless an absolute time was given.

s64 sched_nanosleep(u64 until, vaddr rest, bool absolute)
{
    struct wait_queue nobody = {0};
    struct timespec left;
    u64 now;

    if (!until)
        until = 1;
    if (time_now() >= until || sched_sleep(&nobody, until) != -EINTR)
        return 0;
    now = time_now();
    left.seconds = until > now ? (s64)((until - now) / 1000000000) : 0;
    left.nanoseconds = until > now ? (s64)((until - now) % 1000000000) : 0;
    if (rest && !absolute && sys_copy_out(rest, &left, sizeof left))
        return -EFAULT;
    return -EINTR;
}

s64 sched_clock_nanosleep(struct trap_frame *f)
{
    u64 until;
    s64 error = sys_read_end(f, &until);

    return error ? error : sched_nanosleep(until, f->r10, f->rsi & 1);
}

// The old call, always relative.

s64 sys_nanosleep(struct trap_frame *f)
{
    u64 duration;
    s64 error = sys_read_time(f->rdi, &duration);

    return error ? error : sched_nanosleep(time_now() + duration, f->rsi, false);
}

// The base of FS belongs to the thread, and is loaded with it.

s64 sched_arch_prctl(struct trap_frame *f)
{
    s64 result = sys_arch_prctl(f);

    if (f->rdi == ARCH_SET_FS && result == 0)
        thread_current()->fs_base = f->rsi;
    return result;
}

const struct system_call sched_calls[] = {
    {SYS_SCHED_YIELD, "sched_yield", sys_sched_yield},
    {SYS_NANOSLEEP, "nanosleep address address", sys_nanosleep},
    {SYS_GETPID, "getpid", sys_getpid}, {SYS_GETPPID, "getppid", sys_getppid},
    {SYS_ARCH_PRCTL, "arch_prctl number address", sched_arch_prctl},
    {SYS_GETTID, "gettid", sys_gettid},
    {SYS_CLOCK_NANOSLEEP, "clock_nanosleep number number address address", sched_clock_nanosleep}};

// ## Setting up {#sched-init}
//
// The kernel now has a thread: what has been running since boot. All
// vectors of devices get a handler before interrupts are let in for the
// first time, to see whether the timer comes.

void ch09_init(void)
{
    u64 i, vector;

    ch08_init();
    sched.boot.stack_top = boot.info->stack_top;
    cpu_local()->context = &sched.boot.context;
    stacks.measured = boot_option("stacks") != NULL;
    audit_add(&sched_audits);
    for (i = 0; i < array_count(sched_provocations); i++)
        boot_add_provocation(&sched_provocations[i]);
    user.end = process_end;
    sys.pause = sched_pause;
    pic_init();
    for (vector = PIC_VECTOR; vector < TRAP_VECTORS; vector++)
        cpu.handler[vector] = sched_ignore;
    cpu.handler[VECTOR_TIMER] = cpu.handler[PIC_VECTOR] = sched_timer;
    sched_init_timer();
    sys_add_calls(sched_calls, array_count(sched_calls));
    sched.slice_start = time_now();
    sched.arm(SLICE_NANOSECONDS);
}

// ## A crowd {#sched-show}
//
// Three sleepers, started in the wrong order, wake in the right one. Then
// three programs compute as fast as they can for a while, and we compare
// what they got.

extern const u8 _binary_nap_start[], _binary_nap_end[];
extern const u8 _binary_spin_start[], _binary_spin_end[];

#define CROWD 3

struct process *sched_start(const u8 *start, const u8 *end, const char *name,
                            const char *argument)
{
    const char *arguments[] = {name, argument, NULL};
    struct vmo *file = elf_file(start, end);
    struct process *p;
    int error;

    assert(file);
    p = process_spawn(file, arguments, &error);
    vmo_put(file);
    assert(p);
    return p;
}

void sched_show_naps(void)
{
    static const char *const times[CROWD] = {"600", "200", "400"};
    struct process *p[CROWD];
    int i;

    for (i = 0; i < CROWD; i++)
        p[i] = sched_start(_binary_nap_start, _binary_nap_end, "nap", times[i]);
    for (i = 0; i < CROWD; i++)
        process_wait(p[i]);
}

// The spinners tell by their status whether a register was ever disturbed.

void sched_show_spinners(void)
{
    struct process *p[CROWD];
    u64 least = ~0UL, most = 0;
    int i, status = 0;

    for (i = 0; i < CROWD; i++)
        p[i] = sched_start(_binary_spin_start, _binary_spin_end, "spin", "600");
    for (i = 0; i < CROWD; i++) {
        while (p[i]->threads)
            sched_sleep(&p[i]->waiters, 0);
        least = p[i]->turns < least ? p[i]->turns : least;
        most = p[i]->turns > most ? p[i]->turns : most;
        status += process_wait(p[i]);
    }
    printf("sched: three programs computed at once; registers disturbed: %d; fair: %s\n",
           status, most - least <= 2 || least * 10 >= most * 8 ? "yes" : "no");
}

// The main thread of the kernel starts them and waits, like anybody else.

void ch09_main(void)
{
    struct process *p;
    u64 free_before;

    ch09_init();
    boot_check_options();
    heap_trim(&heap);
    free_before = pmm.states[FRAME_FREE];
    printf("sched: the timer is %s\n",
           sched.arm == apic_arm ? "the local APIC's" : "the PC's old one");
    p = sched_start(_binary_hello_start, _binary_hello_end, "hello", NULL);
    printf("sched: process %u is hello\n", p->pid);
    printf("sched: it ended with status %d\n", process_wait(p));
    sched_show_naps();
    sched_show_spinners();
    heap_trim(&heap);
    pmm_audit(&pmm);
    printf("sched: frames lost: %lu, processes left: %lu, threads left: %u\n",
           free_before - pmm.states[FRAME_FREE], process_type.live, sched.threads);
}

// ## Try it {#sched-try}
//
// `make run CH=9`:
//
// ::: {.transcript file="tests/golden/ch09.txt"}
// :::
//
// With `CPU=max,-apic` the machine has no local APIC, and the oldest timer
// of all takes over.
//
// A switch of threads is hard to imagine and easy to see. The timer stands
// still while the machine is stopped, so we disturb nobody.
//
// ::: {.transcript file="book/gdb/ch09.txt"}
// :::
//
// ### Exercises {#sched-exercises}
//
// ::: {#ex-sched-slice .exercise level=1}
// Set the time slice to one second and to 100 microseconds. What changes in
// the output, and what in `sched.switches`? *You are done when you can
// predict, before you look, the number of switches for 1 millisecond to
// within a tenth.*
// :::
//
// ::: {#ex-sched-lost .exercise level=2}
// Construct the lost wakeup. In `process_wait()`, between looking whether
// the process has ended and going to sleep, call `sched_yield()` as long as
// there is somebody in `sched.ready`. The chapter then stands still after
// hello has said hello: stop it with Ctrl-C in `make gdb CH=9` and find out
// who has ended, whom it woke, and who sleeps. *You are done when you can
// say between which two statements the bell rang, and the chapter runs to
// its end with the yields still in their place.*
// :::
//
// ::: {#ex-sched-lottery .exercise level=2}
// Replace the queue by a lottery: each process has a field `tickets`, 1 at
// first, and a slice of 100 microseconds. *Three spinners with 1, 2 and 3
// tickets get a sixth, a third and a half of the time, within a tenth;
// print `cpu_time`, not `turns`, which do not count a winner who is drawn
// again.*
// :::
//
// ::: {#ex-sched-threads .exercise level=3}
// Allow several threads in a process, by a system call of your own that
// takes an entry point and a stack. What must `process_end()` do now? *Two
// threads increment a variable a million times each, once by one
// instruction and once by a load, a short loop, an addition and a store;
// explain both results.* (Run it with `QFLAGS="-icount shift=5,sleep=off"`.
// Otherwise QEMU may have done the million before a slice is over.)
// :::
//
// ### Further reading {#sched-reading}
//
// *OSTEP*, chapters 7 to 9, on whose turn it is. *xv6*, the chapter on
// scheduling, for the same switch in another hand. Carl Waldspurger and
// William Weihl, "Lottery Scheduling" (OSDI 1994). George Varghese and Tony
// Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), for timers by
// the thousand. John Lions's *Commentary* on Unix, sixth edition, for the
// line of code that you are not expected to understand.
//
// ## What we have {#sched-have}
//
// Programs that take turns, sleep, end, and leave nothing behind. All of
// them are still baked into the kernel one by one. They should come from
// files.

// # Chapter 10. Files from nowhere {#ch-ramdisk}
//===========================================================================
//
// Programs come from files, and files come from a disk. We have no driver
// for a disk, and writing one would teach much about disks. There is a way
// around that which nearly every operating system takes on its way up: the
// first files are delivered together with the kernel, as an *initial
// ramdisk*. Ours is an ordinary `tar` archive, made when the kernel is
// built, and it travels in the kernel's image.
//
// The second half of the chapter is the part of an operating system that
// people think of first: names. `/bin/cat` is a walk through a tree, and
// what stands at the end of the walk is something that can be read. What it
// is that is being read (a piece of an archive, a device, one day a disk)
// must not matter to those who walk.
//
// ## Theory of operation {#rd-theory}
//
// A **node** is a directory, a file, a symbolic link or a device; Unix
// calls it an *inode*. Nodes have operations, a table of functions of their
// file system; everything that walks, opens and reads goes through these
// tables. A **file system** is registered under a name and hangs its nodes
// into the tree at a path. There are two of them here: the ramdisk at `/`
// and the devices at `/dev`.
//
// A node has no name. A directory is a set of **entries**, each a name and
// the node that it stands for, in two [trees](#user-tree): one in the order
// of the names, by which they are found, and one in the order of their
// arrival, in which they are listed. So a file may be found under two
// names, in two directories, and neither is the true one: these are *hard
// links*, and the node only counts them. When the last is taken away, and
// nobody has the file open, it is gone. A directory must have one name, or
// `..` would not know where to go and the tree would be none.
//
// An **open file** is a node and a position in it. Handles refer to open
// files, so two handles made by duplication share a position, and two made
// by opening twice do not.
//
// ::: {#fig-vfs .figure file="book/figures/vfs.svg"}
//     handle --.
//     handle ----> open file (position) ----> node ----> VMO (a slice)
//     handle ----> open file (position) ------^             |
//                                                        archive (one VMO)
//
// Two handles with one position, a third with its own; one node; and its
// contents, a window on the archive.
// :::
//
// The whole archive is one VMO. The contents of each file are a
// [slice](#vmo-clone) of it, so unpacking moves no byte. When somebody
// writes to a file, the slice is replaced by a clone, which copies only
// pages that are written. Chapter 5 is still paying.
//
// The archive comes from a build that we trust; still it is checked before
// anything is made of it, because one day it will come from elsewhere. What
// the check cannot see, two entries for one place, is settled by whoever
// came first.
//
// Moving much data [pauses](#sys-long), and then several processes may be
// in the middle of the same file. Readers do not mind. Writers take turns:
// who writes *holds* the node until all is written.
//
// The invariants, of which `vfs_audit()` walks those about names: *a node
// lives as long as it has a name or is open; a directory has one name, or
// none any more, and its parent is where that stands; names in a directory
// are unique; a node is written by who holds it; a check of the archive
// precedes every use.*
//
// **Shortcomings.** What is written is gone when the power is. Everybody is
// user 0 and may do everything: permission bits are kept and shown, and
// only the right to execute is looked at. The time of the last access is
// noted once after each change, and not again.
//
// ## Nodes {#vfs-node}
//
// The type and the permissions share a word, in the encoding of Unix
// (POSIX, `sys/stat.h`): `S_IFMT` is what is left of a mode without the
// permissions.

#define NAME_SIZE 256
#define PATH_SIZE 1024

struct entry {
    struct node *node;           /* with a reference */
    struct tree_node by_name, by_place; /* in the same directory */
    u64 place;                   /* there: who arrived later has a higher one */
    char name[];
};

struct node {
    struct object object;
    const struct node_operations *operations;
    u32 mode;
    u32 device;                  /* number, for device nodes */
    u32 system;                  /* number of its file system; 1: the ramdisk */
    u64 number;
    u32 links;                   /* entries for it; in a directory also `..` of others */
    bool own_data;               /* not a slice of the archive: may be written */
    s32 writers;                 /* who have it open to write; below 0: who run it */
    bool held;                   /* somebody writes, and may be pausing */
    struct timespec access, modification, change; /* of contents; of anything */
    struct node *parent;         /* of a directory; NULL: the root, or it has no name */
    const char *name;            /* of a directory: that is what it is called there */
    const struct entry *entry;   /* and where it stands; of the ramdisk's, like the next */
    struct tree_node *names, *places; /* of a directory: its entries */
    struct vmo *data;            /* of a file or a link; NULL: empty */
    struct record_lock *locks;   /* by where they begin; see vfs-locks */
};

// What a directory's entry says in a listing.

struct listing {
    u64 place, number;
    u32 mode;
    const char *name;            /* the directory's own, or in `room` */
    const void *here;            /* the file system's; NULL: to be looked for by place */
    char room[NAME_SIZE];        /* for names that are nowhere else */
};

// What a file system can do with a node; NULL means that it cannot. Sizes
// are in bytes, addresses are the program's, errors are negative. Who gets
// a node gets a reference, and gives it up when he is done; a name that is
// not there is no error, but NULL.
//
// To **make** something is to create a file, a directory, or a link with
// its text, and to give it a name. To **rename** is to replace what has the
// new name, if there is anything. Directories are listed entry by entry:
// **next** tells of the first whose place is higher than a given one, and
// returns 1, or 0 if there is none. What all file systems have in common
// has been looked at before: that a new name is free, that what is removed
// is of the right kind.

struct node_operations {
    int (*find)(struct node *directory, const char *name, struct node **n);
    int (*next)(struct node *directory, u64 place, struct listing *l);
    int (*make)(struct node *directory, const char *name, u32 mode, const char *link,
                struct node **n);
    int (*link)(struct node *directory, const char *name, struct node *n);
    int (*remove)(struct node *directory, const char *name);
    int (*rename)(struct node *directory, const char *name, struct node *to, const char *new);
    s64 (*read)(struct node *n, u64 offset, vaddr to, u64 size);
    s64 (*write)(struct node *n, u64 offset, vaddr from, u64 size);
    int (*resize)(struct node *n, u64 size);
    void (*status)(const struct node *n, struct file_status *status);
    struct object_type *type;    /* of what an `open` makes; NULL: a file */
};

struct file_system {
    const char *name, *path;     /* where it wants to be */
    int (*mount)(struct node *at);
    struct file_system *next;
};

struct vfs_state {
    struct node *root;
    struct file_system *systems;
    u64 last_number, last_place;
    struct wait_queue lock_waiters;
};

// Is it of this type? And how many bytes has it?

bool node_is(const struct node *n, u32 type)
{
    return (n->mode & S_IFMT) == type;
}

u64 node_size(const struct node *n)
{
    return n->data ? n->data->size : 0;
}

void node_destroy(struct object *o);

struct object_type node_type = {.name = "node", .destroy = node_destroy};
extern const struct node_operations rd_operations;
struct vfs_state vfs = {.last_place = 2}; /* 1 and 2 are `.` and `..` */

// The time since 1970. Changing the contents is a change, too. Reading is
// noted only if nothing has been read since the last change: that is what
// those want to know who ask, and else each read would have to look at the
// clock.

struct timespec node_now(void)
{
    u64 now = time_now();

    return (struct timespec){(s64)(now / 1000000000) + sys.boot_seconds,
                             (s64)(now % 1000000000)};
}

void node_modified(struct node *n)
{
    n->modification = n->change = node_now();
}

bool time_is_before(const struct timespec *a, const struct timespec *b)
{
    return a->seconds != b->seconds ? a->seconds < b->seconds : a->nanoseconds < b->nanoseconds;
}

void node_accessed(struct node *n)
{
    if (!time_is_before(&n->modification, &n->access) || !time_is_before(&n->change, &n->access))
        n->access = node_now();
}

// A new node with one reference, the caller's, and no name. NULL if there
// is no memory.

struct node *node_create(u32 mode, const struct node_operations *operations)
{
    struct node *n = heap_alloc_zeroed(&heap, sizeof *n);

    if (!n)
        return NULL;
    object_init(&n->object, &node_type);
    n->mode = mode;
    n->system = 1;
    n->operations = operations;
    n->number = ++vfs.last_number;
    node_modified(n);
    n->access = n->change;
    return n;
}

void node_destroy(struct object *o)
{
    struct node *n = container_of(o, struct node, object);

    assert(!n->names && !n->links && !n->locks);
    if (n->data)
        vmo_put(n->data);
    heap_free(&heap, n);
}

// A reference more,

struct node *node_get(struct node *n)
{
    object_get(&n->object);
    return n;
}

// and one fewer, of what may be nothing (NULL).

void node_put(struct node *n)
{
    if (n)
        object_put(&n->object);
}

// Who holds one node and now wants to hold another, or none, hands over
// the new one's reference and gives up the old one's.

void node_set(struct node **place, struct node *n)
{
    struct node *before = *place;

    *place = n;
    node_put(before);
}

// A name for a node, not yet in a directory. It has a reference of its own.

struct entry *entry_create(const char *name, struct node *n)
{
    u64 size = strlen(name) + 1;
    struct entry *e = heap_alloc(&heap, offset_of(struct entry, name) + size);

    if (!e)
        return NULL;
    memcpy(e->name, name, size);
    e->node = node_get(n);
    return e;
}

// Entries in the order of their arrival, from the first whose place is
// higher than a given one; NULL behind the last.

struct entry *entry_at(struct tree_node *by_place)
{
    return by_place ? container_of(by_place, struct entry, by_place) : NULL;
}

struct entry *entry_after(const struct node *directory, u64 place)
{
    struct tree_node *n = directory->places;
    struct entry *found = NULL;

    while (n) {
        if (entry_at(n)->place > place)
            found = entry_at(n);
        n = n->child[entry_at(n)->place <= place];
    }
    return found;
}

struct entry *entry_next(const struct entry *e)
{
    return entry_at(tree_step(&e->by_place, 1));
}

// The order of names is that of their bytes. Below 0: `a` comes first; 0:
// they are equal.

int name_order(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (u8)*a - (u8)*b;
}

// The entry with a name, NULL if there is none. Otherwise `place`, if it is
// not NULL, receives where in the tree it would have to be: below which
// node, and on which side.

struct name_place {
    struct tree_node *parent;
    int side;
};

struct entry *entry_search(const struct node *directory, const char *name,
                           struct name_place *place)
{
    struct tree_node *n = directory->names;
    struct entry *e;
    int order;

    *place = (struct name_place){NULL, 0};
    while (n) {
        e = container_of(n, struct entry, by_name);
        order = name_order(name, e->name);
        if (!order)
            return e;
        *place = (struct name_place){n, order > 0};
        n = n->child[order > 0];
    }
    return NULL;
}

struct entry *entry_find(const struct node *directory, const char *name)
{
    struct name_place place;

    return entry_search(directory, name, &place);
}

// What comes and goes changes the directory and the node's number of links;
// a directory's `..` counts as a link to where it leads.

void entry_count(struct node *directory, struct node *n, u32 by)
{
    n->links += by;
    if (node_is(n, S_IFDIR))
        directory->links += by;
    node_modified(directory);
    n->change = directory->change;
}

void entry_attach(struct node *directory, struct entry *e)
{
    struct name_place place;
    struct entry *other = entry_search(directory, e->name, &place);

    assert(!other);
    tree_insert(&directory->names, place.parent, place.side, &e->by_name, 0);
    tree_insert(&directory->places, tree_end(directory->places, 1), 1, &e->by_place, 0);
    e->place = ++vfs.last_place;
    if (node_is(e->node, S_IFDIR)) {
        e->node->parent = directory;
        e->node->name = e->name;
        e->node->entry = e;
    }
    entry_count(directory, e->node, 1);
}

// Takes an entry out of its directory, and forgets it.

void entry_remove(struct node *directory, struct entry *e)
{
    tree_remove(&directory->names, &e->by_name);
    tree_remove(&directory->places, &e->by_place);
    if (e->node->entry == e) {
        e->node->parent = NULL;
        e->node->name = NULL;
        e->node->entry = NULL;
    }
    entry_count(directory, e->node, -1U);
    object_put(&e->node->object);
    heap_free(&heap, e);
}

// Gives a new node its first name. The tree takes over the caller's
// reference, which is given up if there is no memory: 0 or -ENOSPC.

int node_attach(struct node *directory, const char *name, struct node *n)
{
    struct entry *e = entry_create(name, n);

    if (e)
        entry_attach(directory, e);
    object_put(&n->object);
    return e ? 0 : -ENOSPC;
}

// Before writing, and behind it. Who holds a node may pause but does not
// sleep, so it stands among those that are ready. To wait for it is
// therefore to let the others have their turn, until it is done. (Once
// there are disks to wait for, this will not do.)

void node_hold(struct node *n)
{
    while (n->held)
        sched_yield();
    n->held = true;
}

void node_release(struct node *n)
{
    n->held = false;
}

// ## The ramdisk's operations {#rd-operations}
//
// Those about names. A new node has one reference that its maker gets, and
// one that its name gets.

int rd_find(struct node *directory, const char *name, struct node **n)
{
    struct entry *e = entry_find(directory, name);

    *n = e ? node_get(e->node) : NULL;
    return 0;
}

// What a listing says.

int rd_next(struct node *directory, u64 place, struct listing *l)
{
    const struct entry *e = l->here ? entry_next(l->here) : entry_after(directory, place);

    if (!e)
        return 0;
    l->here = e;
    l->place = e->place;
    l->number = e->node->number;
    l->mode = e->node->mode;
    l->name = e->name;
    return 1;
}

// To make something: a link's text is its contents.

struct vmo *rd_link_text(const char *text)
{
    struct vmo *v = vmo_create(strlen(text));

    if (v && vmo_write(v, 0, text, strlen(text))) {
        vmo_put(v);
        return NULL;
    }
    return v;
}

int rd_make(struct node *directory, const char *name, u32 mode, const char *link,
            struct node **made)
{
    struct node *n = node_create(mode, &rd_operations);
    int error = -ENOSPC;

    if (n && link)
        n->data = rd_link_text(link);
    if (n && (!link || n->data))
        error = node_attach(directory, name, node_get(n));
    if (error) {
        node_put(n);
        return error;
    }
    *made = n;
    return 0;
}

// One name more, and one fewer.

int rd_link(struct node *directory, const char *name, struct node *n)
{
    return node_attach(directory, name, node_get(n));
}

int rd_remove(struct node *directory, const char *name)
{
    struct entry *e = entry_find(directory, name);

    if (e->node->names)
        return -ENOTEMPTY;
    entry_remove(directory, e);
    return 0;
}

// The new entry is made before an old one is given up.

int rd_rename(struct node *directory, const char *name, struct node *to, const char *new)
{
    struct entry *old = entry_find(directory, name), *other = entry_find(to, new), *e;

    if (other && other->node->names)
        return -ENOTEMPTY;
    e = entry_create(new, old->node);
    if (!e)
        return -ENOSPC;
    if (other)
        entry_remove(to, other);
    entry_remove(directory, old);
    entry_attach(to, e);
    return 0;
}

// To read, ask the VMO, up to the end of the file. (If somebody writes for
// the first time while we pause, the file gets another VMO. We then read on
// in the old one, as if we had been faster.)

s64 rd_read(struct node *n, u64 offset, vaddr to, u64 size)
{
    u64 end = node_size(n);
    struct vmo *v = n->data;
    s64 result;

    if (size)
        node_accessed(n);
    if (offset >= end)
        return 0;
    if (size > end - offset)
        size = end - offset;
    vmo_get(v);
    result = vmo_transfer(v, offset, to, size, RIGHT_READ);
    vmo_put(v);
    return result;
}

// A file that is written to needs a VMO of its own.

int rd_own(struct node *n)
{
    struct vmo *own;

    if (n->own_data)
        return 0;
    own = n->data ? vmo_clone(n->data, 0, n->data->size) : vmo_create(0);
    if (!own)
        return -ENOSPC;
    if (n->data)
        vmo_put(n->data);
    n->data = own;
    n->own_data = true;
    return 0;
}

// Resizing and writing, for who holds the node.

int rd_resize(struct node *n, u64 size)
{
    int error = rd_own(n);

    if (size > VMO_SIZE_MAX)
        return -EFBIG;
    node_modified(n);
    return error ? error : vmo_resize(n->data, size) ? -ENOSPC : 0;
}

// A file grows as it is written, so that nobody who reads it meanwhile
// finds zeros in a place where there will be something. When memory runs
// out, or the program's buffer does, the file ends where the last byte was
// written, and the program is told how many there were; or if there were
// none, the error that files have for this. A megabyte is left for others:
// files stay when their writers have gone, and to remove them somebody must
// be able to run.

#define RD_RESERVE (MIB / FRAME_SIZE)

s64 rd_write_portion(struct node *n, u64 offset, vaddr from, u64 size)
{
    u64 before = node_size(n), end;
    s64 written = -ENOSPC;

    if (pmm.free[ZONE_USER] >= RD_RESERVE)
        written = rd_resize(n, max(offset + size, before));
    if (!written)
        written = vmo_transfer(n->data, offset, from, size, RIGHT_WRITE);
    end = written > 0 ? offset + (u64)written : before;
    if (n->own_data && node_size(n) > before && end < offset + size)
        vmo_resize(n->data, end > before ? end : before);
    return written == -ENOMEM ? -ENOSPC : written;
}

// All of it, by portions.

s64 rd_write(struct node *n, u64 offset, vaddr from, u64 size)
{
    u64 done = 0, part;
    s64 written = 0;

    if (!size)
        return 0;
    if (offset > VMO_SIZE_MAX || size > VMO_SIZE_MAX - offset)
        return -EFBIG;
    while (done < size) {
        part = size - done < PORTION ? size - done : PORTION;
        written = rd_write_portion(n, offset + done, from + done, part);
        done += written > 0 ? (u64)written : 0;
        if (written < (s64)part || (done < size && sys_must_stop()))
            break;
    }
    return done ? (s64)done : written;
}

const struct node_operations rd_operations = {
    .find = rd_find, .next = rd_next, .make = rd_make, .link = rd_link, .remove = rd_remove,
    .rename = rd_rename, .read = rd_read, .write = rd_write, .resize = rd_resize};

// ## The archive {#rd-archive}
//
// A tar archive is a sequence of blocks of 512 bytes. A file is a header
// block and the contents, filled up to whole blocks; two blocks of zeros
// end the archive (POSIX.1-2017, `pax`, "ustar Interchange Format"), but we
// stop at the first. Numbers are written in octal digits, as text. The
// header has a checksum: the sum of its bytes, with the checksum itself
// counted as blanks.

#define TAR_BLOCK 512

struct tar_header {
    char name[100], mode[8], uid[8], gid[8], size[12], time[12], checksum[8];
    char type;
    char link[100], magic[6], version[2], user[32], group[32], major[8], minor[8];
    char prefix[155], pad[12];
} packed aligned_to(8);

enum rd_reason {
    RD_OK, RD_SHORT, RD_MAGIC, RD_CHECKSUM, RD_NUMBER, RD_SIZE, RD_NAME, RD_TYPE, RD_REASONS,
};

const char *const rd_reasons[RD_REASONS] = {
    "accepted", "ends without an end mark", "an entry without the mark \"ustar\"",
    "a header with a wrong checksum", "a number that is none",
    "a file that is longer than the archive",
    "a name that is too long, or a part of it empty, . or ..",
    "an entry of a kind that we do not know"};

// Octal digits, ended by a blank or a zero byte. Returns false for anything
// else.

bool tar_number(const char *text, u64 size, u64 *value)
{
    u64 i;

    *value = 0;
    for (i = 0; i < size && text[i] >= '0' && text[i] <= '7'; i++)
        *value = *value * 8 + (u64)(text[i] - '0');
    return i > 0 && (i == size || text[i] == ' ' || text[i] == 0);
}

// Half a kilobyte for each file is much to add up byte by byte. A word can
// hold four sums of 16 bits, so we add its even bytes to them and then its
// odd ones; 64 words cannot make them overflow.

u64 sum_bytes(const u64 *word, u64 count)
{
    const u64 bytes = 0x00ff00ff00ff00ffUL, pairs = 0x0000ffff0000ffffUL;
    u64 sum = 0, i;

    assert(count <= 64);
    for (i = 0; i < count; i++)
        sum += (word[i] & bytes) + (word[i] >> 8 & bytes);
    sum = (sum & pairs) + (sum >> 16 & pairs);
    return (u32)sum + (sum >> 32);
}

u64 tar_checksum(const struct tar_header *h)
{
    u64 field;

    memcpy(&field, h->checksum, sizeof field);
    return sum_bytes((const u64 *)h, sizeof *h / 8) - sum_bytes(&field, 1) + 8 * ' ';
}

// An entry as we use it. Long names come in two parts. The leading `./` and
// the slash at the end of directories go.

struct tar_entry {
    char path[NAME_SIZE], link[101];
    u64 mode, size, time, data;  /* data: offset of the contents */
    char type;
};

bool tar_path_is_safe(const char *p)
{
    u64 n;

    for (;; p += n + 1) {
        for (n = 0; p[n] && p[n] != '/'; n++)
            ;
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        if (!p[n])
            return true;
    }
}

bool tar_name(const struct tar_header *h, struct tar_entry *e)
{
    char path[NAME_SIZE + 4];
    const char *p = path;
    int length = snprintf(path, sizeof path, "%.*s%s%.*s", 155, h->prefix,
                          h->prefix[0] ? "/" : "", 100, h->name);

    while (length > 1 && path[length - 1] == '/')
        path[--length] = 0;
    if (p[0] == '.' && (p[1] == '/' || !p[1]))
        p += p[1] ? 2 : 1;
    snprintf(e->path, sizeof e->path, "%s", p);
    snprintf(e->link, sizeof e->link, "%.*s", 100, h->link);
    return length < NAME_SIZE && ((p != path && !*p) || tar_path_is_safe(p));
}

// The end mark; and the numbers of what is none.

bool tar_is_zero(const struct tar_header *h)
{
    return h->name[0] == 0 && h->magic[0] == 0;
}

enum rd_reason tar_read_numbers(const struct tar_header *h, struct tar_entry *e)
{
    u64 checksum;

    if (memcmp(h->magic, "ustar", 5) != 0)
        return RD_MAGIC;
    if (!tar_number(h->checksum, sizeof h->checksum, &checksum) || checksum != tar_checksum(h))
        return RD_CHECKSUM;
    if (!tar_number(h->mode, sizeof h->mode, &e->mode) ||
        !tar_number(h->size, sizeof h->size, &e->size) ||
        !tar_number(h->time, sizeof h->time, &e->time))
        return RD_NUMBER;
    return RD_OK;
}

// Reads the entry at `*at`, checks it and moves `*at` behind it. At the end
// mark the entry's type is 0. Files, links and directories are all we know:
// types 0, 2 and 5.

enum rd_reason tar_next(struct vmo *archive, u64 *at, struct tar_entry *e)
{
    struct tar_header h;
    enum rd_reason reason;

    e->type = 0;
    if (vmo_read(archive, *at, &h, sizeof h))
        return RD_SHORT;
    if (tar_is_zero(&h))
        return RD_OK;
    reason = tar_read_numbers(&h, e);
    if (reason)
        return reason;
    if (!tar_name(&h, e))
        return RD_NAME;
    e->type = h.type ? h.type : '0';
    if (e->type != '0' && e->type != '2' && e->type != '5')
        return RD_TYPE;
    e->data = *at + TAR_BLOCK;
    if (e->size > archive->size || !vmo_contains(archive, e->data, e->size))
        return RD_SIZE;
    *at = e->data + align_up(e->size, TAR_BLOCK);
    return RD_OK;
}

// Looks at everything and makes nothing.

enum rd_reason rd_check(struct vmo *archive)
{
    struct tar_entry e;
    enum rd_reason reason;
    u64 at = 0;

    do
        reason = tar_next(archive, &at, &e);
    while (!reason && e.type);
    return reason;
}

// ## Unpacking {#rd-unpack}
//
// Directories on the way are made if the archive does not mention them. A
// slice must begin with a page, so the build puts each file's contents on a
// page boundary, with filler files named `.pad` in between; contents
// elsewhere are copied.

struct node *rd_make_directory(struct node *at, const char *name)
{
    struct entry *e = entry_find(at, name);
    struct node *n;
    int error;

    if (e)
        return e->node;
    error = rd_make(at, name, S_IFDIR | 0755, NULL, &n);
    assert(!error);
    node_put(n);                 /* its name has one */
    return n;
}

// The contents of a file: a slice, or a copy.

struct vmo *rd_contents(struct vmo *archive, const struct tar_entry *e)
{
    struct vmo *v;
    u64 at, part;
    u8 bytes[256];

    if (e->data % FRAME_SIZE == 0)
        return vmo_slice(archive, e->data, e->size);
    v = vmo_create(e->size);
    for (at = 0; v && at < e->size; at += part) {
        part = e->size - at < sizeof bytes ? e->size - at : sizeof bytes;
        if (vmo_read(archive, e->data + at, bytes, part) || vmo_write(v, at, bytes, part)) {
            vmo_put(v);
            return NULL;
        }
    }
    return v;
}

// An entry becomes a node, at the place that its path says. If that is
// taken, or what should be a directory on the way is none, it is left out.

void rd_add(struct vmo *archive, struct node *root, struct tar_entry *e)
{
    struct node *at = root, *n;
    struct entry *there;
    char *name = e->path, *p;
    int error = 0;
    u32 type = e->type == '5' ? S_IFDIR : e->type == '2' ? S_IFLNK : S_IFREG;

    for (p = name; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        at = rd_make_directory(at, name);
        if (!node_is(at, S_IFDIR))
            return;
        name = p + 1;
    }
    there = entry_find(at, name);
    if (!*name || string_equal(name, ".pad") ||
        (there && (type != S_IFDIR || !node_is(there->node, S_IFDIR))))
        return;
    if (there)
        n = node_get(there->node);
    else
        error = rd_make(at, name, type, type == S_IFLNK ? e->link : NULL, &n);
    assert(!error);
    if (type == S_IFREG && e->size)
        n->data = rd_contents(archive, e);
    n->mode = type | (u32)(e->mode & 07777);
    n->access = n->modification = n->change = (struct timespec){(s64)e->time, 0};
    node_put(n);
}

extern const u8 _binary_ramdisk_tar_start[], _binary_ramdisk_tar_end[];

// Mounts the archive. The kernel cannot go on without it, so a damaged one
// ends everything, with its reason.

int rd_mount(struct node *root)
{
    struct vmo *archive = elf_file(_binary_ramdisk_tar_start, _binary_ramdisk_tar_end);
    struct tar_entry e;
    enum rd_reason reason;
    u64 at = 0;

    if (!archive)
        return -ENOMEM;
    reason = rd_check(archive);
    if (reason) {
        printf("ramdisk: refused: %s\n", rd_reasons[reason]);
        vmo_put(archive);
        return -EINVAL;
    }
    while (tar_next(archive, &at, &e) == RD_OK && e.type)
        rd_add(archive, root, &e);
    vmo_put(archive);
    return 0;
}

// ## Devices {#vfs-devices}
//
// `null` swallows everything and contains nothing. `zero` contains zeros.
// Who opens the console gets another description of what every program
// begins with, so it is of a type of its own.

s64 null_read(struct node *n, u64 offset, vaddr to, u64 size)
{
    (void)n, (void)offset, (void)to, (void)size;
    return 0;
}

s64 null_write(struct node *n, u64 offset, vaddr from, u64 size)
{
    (void)n, (void)offset, (void)from;
    return (s64)size;
}

s64 zero_read(struct node *n, u64 offset, vaddr to, u64 size)
{
    u64 done = 0, part, moved;

    (void)n, (void)offset;
    while (done < size) {
        part = size - done < FRAME_SIZE ? size - done : FRAME_SIZE;
        moved = sys_move_out(to + done, boot_physical(vmo.zero), part);
        done += moved;
        if (moved < part)
            return done ? (s64)done : -EFAULT;
        if (done % PORTION == 0 && sys.pause())
            break;
    }
    return (s64)done;
}

void file_destroy(struct object *o);

struct object_type terminal_type = {.name = "terminal", .destroy = file_destroy,
                                    .file = &console_operations};

const struct node_operations null_operations = {.read = null_read, .write = null_write};
const struct node_operations zero_operations = {.read = zero_read, .write = null_write};
const struct node_operations console_node_operations = {.type = &terminal_type};

// The list of devices, with the numbers that Linux gives them, and the file
// system that consists of them.

struct device {
    const char *name;
    const struct node_operations *operations;
    u32 number;                  /* major and minor, as on Linux */
};

const struct device devices[] = {
    {"null", &null_operations, 1 << 8 | 3}, {"zero", &zero_operations, 1 << 8 | 5},
    {"tty", &console_node_operations, 5 << 8}, {"console", &console_node_operations, 5 << 8 | 1}};

int dev_mount(struct node *at)
{
    struct node *n;
    u64 i;

    for (i = 0; i < array_count(devices); i++) {
        n = node_create(S_IFCHR | 0666, devices[i].operations);
        if (!n)
            return -ENOMEM;
        n->device = devices[i].number;
        if (node_attach(at, devices[i].name, n))
            return -ENOMEM;
    }
    return 0;
}

// ## Walking {#vfs-walk}
//
// A path is followed from left to right, from the root if it begins with a
// slash, else from the process's directory. Symbolic links in the middle
// are followed always, one at the end only if the caller wants it or a
// slash comes behind it; forty in all, for links can form circles.
//
// Those who create or remove something need the directory and the last
// name, whether or not there is anything by that name. So the walk reports
// both.

#define LINKS_MAX 40

struct walk {
    struct node *node;           /* what the path leads to, NULL: nothing */
    struct node *directory;      /* where it would be */
    char name[NAME_SIZE];        /* its last component */
    bool must_be_directory;      /* the path ended in a slash */
    int links;
    char *text;                  /* what is walked since a link was followed */
};

// Somebody else may remove what we stand on. So the walk holds references
// to both of its nodes, and at the end gives them up.

void walk_end(struct walk *w)
{
    node_set(&w->node, NULL);
    node_set(&w->directory, NULL);
}

// Follows the link to which the walk has come. Its text is a path, from the
// directory in which it stands; what was left of ours comes behind it, and
// that is the path from now on. (To walk the text by a call of the walk
// would be shorter. But links lead to links, and forty such calls are half
// of the stack.)

int vfs_follow(struct walk *w, const char **path)
{
    u64 size = node_size(w->node), left = strlen(*path) + 1;
    char *text;
    int error;

    if (++w->links > LINKS_MAX)
        return -ELOOP;
    text = heap_alloc(&heap, size + left);
    if (!text)
        return -ENOMEM;
    memcpy(text + size, *path, left);
    heap_free(&heap, w->text);
    *path = w->text = text;
    error = vmo_read(w->node->data, 0, text, size);
    if (!error)
        node_set(&w->node, node_get(text[0] == '/' ? vfs.root : w->directory));
    return error;
}

// The names `.` and `..` are in no directory, and can be neither removed
// nor replaced. Returns how many dots the name is, 0 for any other.

u64 name_dots(const char *name)
{
    if (name[0] != '.' || !name[1])
        return name[0] == '.';
    return name[1] == '.' && !name[2] ? 2 : 0;
}

// One step: where we stand is the directory now, and we go on by a name.

int vfs_step(struct walk *w)
{
    struct node *at = w->node;
    u64 dots = name_dots(w->name);

    if (!node_is(at, S_IFDIR) || !at->operations->find)
        return -ENOTDIR;
    node_set(&w->directory, at);
    w->node = NULL;
    if (!dots)
        return at->operations->find(at, w->name, &w->node);
    w->node = node_get(dots == 2 && at->parent ? at->parent : at);
    return 0;
}

// Takes the next name from a path. Returns what follows it, or NULL if it
// is too long.

const char *vfs_component(struct walk *w, const char *path)
{
    u64 length = 0;

    while (path[length] && path[length] != '/') {
        if (length == NAME_SIZE - 1)
            return NULL;
        w->name[length] = path[length];
        length++;
    }
    w->name[length] = 0;
    return path + length;
}

const char *vfs_skip_slashes(const char *path)
{
    while (*path == '/')
        path++;
    return path;
}

// The walk itself, one component after the other.

int vfs_walk_from(struct walk *w, struct node *start, const char *path, bool follow)
{
    int error;

    node_set(&w->node, node_get(start));
    for (path = vfs_skip_slashes(path); *path; path = vfs_skip_slashes(path)) {
        if (!w->node)
            return -ENOENT;
        path = vfs_component(w, path);
        if (!path)
            return -ENAMETOOLONG;
        error = vfs_step(w);
        if (error)
            return error;
        w->must_be_directory = *path == '/';
        if (w->node && node_is(w->node, S_IFLNK) && (w->must_be_directory || follow)) {
            error = vfs_follow(w, &path);
            if (error)
                return error;
        }
    }
    return 0;
}

// ::: {#walk-path .walk}
//     from vfs_walk_from if path[1] == 'e' && path[4] == '/'
//     into vfs_skip_slashes vfs_component vfs_step
//     show w->name, w->directory, w->node
//     draw list w->directory parent name
//
// From the root to `/etc/motd`: a name is cut off, the directory asked for
// it, and what it has becomes the place to stand on.
// :::
//
// Walks a path that starts at a directory. 0, and then `w->node` may still
// be NULL if only the last component does not exist, and the caller ends
// the walk when he is done with its nodes; or -ENOENT, -ENOTDIR, -ELOOP,
// -ENAMETOOLONG, and it has been ended.

int vfs_walk_any(struct walk *w, struct node *from, const char *path, bool follow)
{
    int error = -ENOENT;

    w->node = w->directory = NULL;
    w->name[0] = 0;              /* the rest of it need not be cleared */
    w->must_be_directory = false;
    w->links = 0;
    w->text = NULL;
    if (*path)
        error = vfs_walk_from(w, *path == '/' ? vfs.root : from, path, follow);
    if (w->text)
        heap_free(&heap, w->text);
    if (error)
        walk_end(w);
    else if (!w->directory)
        w->directory = node_get(vfs.root); /* the path was `/` */
    return error;
}

int vfs_walk(struct walk *w, struct node *from, const char *path, bool follow)
{
    int error = vfs_walk_any(w, from, path, follow);

    if (error || !w->node || !w->must_be_directory || node_is(w->node, S_IFDIR))
        return error;
    walk_end(w);
    return -ENOTDIR;
}

// A directory that was removed while somebody was in it has no name any
// more. Nothing can be made in it.

bool vfs_has_name(const struct node *directory)
{
    return directory->parent || directory == vfs.root;
}

// The same for a path that must lead to nothing, where something is to be
// made.

int vfs_walk_new(struct walk *w, struct node *from, const char *path)
{
    int error = vfs_walk_any(w, from, path, false);

    if (error)
        return error;
    if (w->node)
        error = -EEXIST;
    else if (!vfs_has_name(w->directory))
        error = -ENOENT;
    if (error)
        walk_end(w);
    return error;
}

// And for one that must lead to something, of which the caller gets a
// reference.

int vfs_find(struct node *from, const char *path, bool follow, struct node **node)
{
    struct walk w;
    int error = vfs_walk(&w, from, path, follow);

    *node = NULL;
    if (error)
        return error;
    *node = w.node;
    w.node = NULL;
    walk_end(&w);
    return *node ? 0 : -ENOENT;
}

// ## Open files {#vfs-file}
//
// How a file is opened is said by flags, with Linux's values. Two bits are
// not flags but a number: 0 to read, 1 to write, and 2, which we have met,
// for both.

// A program that runs must not change under its own feet, nor begin while
// it is being written. So a node counts who writes to it, and those who
// execute it, in [Chapter 13](#exec-busy), count the other way: it can be
// one or the other, and for both at once the error is called "text file
// busy".

bool file_writes(u32 flags)
{
    return flags & O_ACCMODE;
}

void file_destroy(struct object *o)
{
    struct file *file = container_of(o, struct file, object);

    if (file_writes(file->flags))
        file->node->writers--;
    object_put(&file->node->object);
    heap_free(&heap, file);
}

// The position moves over all that is asked for before the first byte does:
// who shares it and comes while we pause goes on behind us. If it becomes
// less, because the file or the memory ends, the position moves back, but
// not if somebody has moved it meanwhile.

s64 file_transfer(s64 (*transfer)(struct node *n, u64 offset, vaddr at, u64 size),
                  struct node *n, vaddr at, u64 size, u64 *offset)
{
    u64 start = *offset;
    s64 result;

    *offset = start + size;
    result = transfer(n, start, at, size);
    if (*offset == start + size)
        *offset = start + (result > 0 ? (u64)result : 0);
    return result;
}

s64 file_read(struct file *file, vaddr to, u64 size, u64 *offset)
{
    if (node_is(file->node, S_IFDIR))
        return -EISDIR;
    if (!file->node->operations->read)
        return -EINVAL;
    return file_transfer(file->node->operations->read, file->node, to, size, offset);
}

// Writing is the same, but for files that always write at their end, and
// for that end, which must not move meanwhile.

s64 file_write(struct file *file, vaddr from, u64 size, u64 *offset)
{
    struct node *n = file->node;
    s64 result;

    if (!n->operations->write)
        return -EINVAL;
    node_hold(n);
    if (file->flags & O_APPEND)
        *offset = node_size(n);
    result = file_transfer(n->operations->write, n, from, size, offset);
    node_release(n);
    return result;
}

// Devices have no places, and a position in them is always 0.

s64 file_seek(struct file *file, s64 offset, int from)
{
    u64 base = from == SEEK_SET ? 0 : from == SEEK_CUR ? file->offset : node_size(file->node);

    if (node_is(file->node, S_IFCHR))
        return file->offset = 0;
    if (from < SEEK_SET || from > SEEK_END || (s64)(base + (u64)offset) < 0)
        return -EINVAL;
    file->offset = base + (u64)offset;
    return (s64)file->offset;
}

// What `stat` tells, in [Linux's layout](#h-files).

void node_status(const struct node *n, struct file_status *status)
{
    bool named = node_is(n, S_IFDIR) && n->links; /* then it has a `.`, too */

    *status = (struct file_status){
        .device = n->system, .number = n->number, .links = n->links + named, .mode = n->mode,
        .device_number = n->device, .size = (s64)node_size(n), .block_size = FRAME_SIZE,
        .blocks = n->data ? (s64)(align_up(n->data->size, FRAME_SIZE) / 512) : 0,
        .access = n->access, .modification = n->modification, .change = n->change};
    if (n->operations->status)
        n->operations->status(n, status);
}

int file_tell_status(struct file *file, struct file_status *status)
{
    node_status(file->node, status);
    return 0;
}

// Entries of a directory, packed one behind the other, as many as fit. The
// position of an open directory is the place of the entry that was told
// last. It does not count entries, because programs remove what they have
// just listed, and would then be told of every second one only.

s64 file_list_entry(vaddr to, u64 room, const struct listing *l)
{
    u64 size = strlen(l->name);
    u64 length = align_up(offset_of(struct directory_entry, name) + size + 1, 8);
    u8 bytes[offset_of(struct directory_entry, name) + NAME_SIZE + 8];
    struct directory_entry *e = (struct directory_entry *)bytes;

    if (length > room)
        return 0;
    memset(bytes, 0, length);
    e->number = l->number;
    e->offset = (s64)l->place;
    e->length = (u16)length;
    e->type = (u8)(l->mode >> 12);
    memcpy(e->name, l->name, size);
    return sys_copy_out(to, bytes, length) ? -EFAULT : (s64)length;
}

// The first two have no places of their own: every directory has them. They
// are the directory and its parent.

int file_next(struct node *n, u64 place, struct listing *l)
{
    const struct node *parent = n->parent ? n->parent : n;

    if (place >= 2)
        return n->operations->next(n, place, l);
    l->place = place + 1;
    l->number = place ? parent->number : n->number;
    l->mode = S_IFDIR;
    l->name = place ? ".." : ".";
    return 1;
}

// (What comes behind a pause is looked for anew: the entry that was told
// last may be gone.)

s64 file_list(struct file *file, vaddr to, u64 size)
{
    struct node *n = file->node;
    u64 done = 0, count = 0;
    struct listing l;
    s64 length;
    int found;

    if (!node_is(n, S_IFDIR) || !n->operations->next)
        return -ENOTDIR;
    if (!n->links)
        return -ENOENT;
    node_accessed(n);
    l.here = NULL;
    for (;;) {
        if (++count % 256 == 0) {
            if (sys_must_stop())
                return (s64)done;
            l.here = NULL;
        }
        found = file_next(n, file->offset, &l);
        if (found <= 0)
            return done ? (s64)done : found;
        length = file_list_entry(to + done, size - done, &l);
        if (length <= 0)
            return done ? (s64)done : length ? length : -EINVAL;
        done += (u64)length;
        file->offset = l.place;
    }
}

// ## Locks {#vfs-locks}
//
// Two programs that change the same file can ask each other to keep out of
// a part of it, such as a record of a data base: `fcntl` sets *record
// locks*. They stop nobody who does not ask. Many may hold a part to read
// it, or one to write it. A lock belongs to a process, and that is where it
// gets strange. It is not inherited by a child. And when a process closes
// any descriptor of the file, all its locks on the file are gone, because
// in 1988 a committee found that in somebody's kernel. Data bases have had
// to live with it ever since; so have we.

struct record_lock {
    struct record_lock *next;    /* of the same node */
    const struct process *owner;
    u64 start, last;             /* bytes, both included */
    int kind;
};

// Who is in the way?

struct record_lock *lock_find(const struct node *n, const struct record_lock *wanted)
{
    struct record_lock *l;

    for (l = n->locks; l; l = l->next)
        if (l->owner != wanted->owner && l->start <= wanted->last && wanted->start <= l->last &&
            (l->kind == F_WRLCK || wanted->kind == F_WRLCK))
            return l;
    return NULL;
}

void lock_insert(struct node *n, struct record_lock *new)
{
    struct record_lock **place = &n->locks;

    while (*place && (*place)->start < new->start)
        place = &(*place)->next;
    new->next = *place;
    *place = new;
}

void lock_remove(struct record_lock **place)
{
    struct record_lock *l = *place;

    *place = l->next;
    heap_free(&heap, l);
}

// Takes a part out of a lock, at `*place`. That may leave nothing, one end,
// or both; for the second end there is a `spare`, which is then used up.

void lock_cut(struct node *n, struct record_lock **place, u64 start, u64 last,
              struct record_lock **spare)
{
    struct record_lock *l = *place, *rest = *spare;

    if (l->start >= start && l->last <= last) {
        lock_remove(place);
    } else if (l->start >= start) {
        *place = l->next;
        l->start = last + 1;
        lock_insert(n, l);
    } else if (l->last <= last) {
        l->last = start - 1;
    } else {
        *rest = *l;
        rest->start = last + 1;
        l->last = start - 1;
        lock_insert(n, rest);
        *spare = NULL;
    }
}

// Sets a lock where nobody is in the way. The owner's own locks there give
// way to it; those of the same kind that it overlaps or touches become part
// of it.

void lock_set(struct node *n, struct record_lock *new, struct record_lock *spare)
{
    struct record_lock **place = &n->locks, *l;

    while ((l = *place)) {
        bool mine = l->owner == new->owner, merges = mine && l->kind == new->kind;

        if (merges && l->start <= new->last + 1 && new->start <= l->last + 1) {
            new->start = min(l->start, new->start);
            new->last = max(l->last, new->last);
            lock_remove(place);
        } else if (mine && l->start <= new->last && new->start <= l->last) {
            lock_cut(n, place, new->start, new->last, &spare);
            place = &n->locks;
        } else {
            place = &l->next;
        }
    }
    if (new->kind == F_UNLCK)
        heap_free(&heap, new);
    else
        lock_insert(n, new);
    heap_free(&heap, spare);
    sched_wake(&vfs.lock_waiters);
}

// What somebody asks for, in our terms.

int lock_read(const struct file *file, const struct lock_request *r, struct record_lock *l)
{
    s64 start = r->start;

    if (r->kind < F_RDLCK || r->kind > F_UNLCK || r->from < 0 || r->from > 2)
        return -EINVAL;
    start += r->from == 1 ? (s64)file->offset : r->from == 2 ? (s64)node_size(file->node) : 0;
    if (start < 0 || start + r->size < 0 || (r->size < 0 && start == 0))
        return -EINVAL;
    *l = (struct record_lock){.owner = process_current(), .kind = r->kind, .start = (u64)start,
                              .last = r->size ? (u64)(start + r->size) - 1 : ~0UL >> 1};
    if (r->size < 0) {
        l->start = (u64)(start + r->size);
        l->last = (u64)start - 1;
    }
    return 0;
}

// Two that wait for each other wait for ever. So who would wait for
// somebody who waits, by way of others perhaps, for him, is refused.

bool lock_is_circle(const struct record_lock *l)
{
    const struct process *p = l->owner;
    u32 steps;

    for (steps = 0; p && steps < THREADS_MAX; steps++) {
        if (p == process_current())
            return true;
        p = p->waits_for ? process_find(p->waits_for) : NULL;
    }
    return false;
}

int lock_wait(const struct node *n, const struct record_lock *wanted, bool patient)
{
    struct process *p = process_current();
    struct record_lock *l;
    int woken = 0;

    while (!woken && wanted->kind != F_UNLCK && (l = lock_find(n, wanted))) {
        if (!patient)
            return -EAGAIN;
        if (lock_is_circle(l))
            return -EDEADLK;
        p->waits_for = l->owner->pid;
        woken = sched_sleep(&vfs.lock_waiters, 0);
        p->waits_for = 0;
    }
    return woken;
}

// Setting. The memory is taken first, so that nothing can fail later.

int lock_change(struct file *file, const struct lock_request *r, bool patient)
{
    struct record_lock *new = heap_alloc(&heap, sizeof *new);
    struct record_lock *spare = heap_alloc(&heap, sizeof *spare);
    int error = new && spare ? lock_read(file, r, new) : -ENOLCK;
    u32 access = file->flags & O_ACCMODE;

    if (!error && ((r->kind == F_RDLCK && access == O_WRONLY) ||
                   (r->kind == F_WRLCK && access == 0)))
        error = -EBADF;
    if (!error)
        error = lock_wait(file->node, new, patient);
    if (!error) {
        lock_set(file->node, new, spare);
        return 0;
    }
    heap_free(&heap, new);
    heap_free(&heap, spare);
    return error;
}

// Asking for what is in the way, and the call itself, which is a part of
// `fcntl`.

int lock_ask(const struct file *file, struct lock_request *r)
{
    struct record_lock wanted, *l;
    int error = r->kind == F_UNLCK ? -EINVAL : lock_read(file, r, &wanted);

    if (error)
        return error;
    l = lock_find(file->node, &wanted);
    if (!l)
        r->kind = F_UNLCK;
    else
        *r = (struct lock_request){.kind = (s16)l->kind, .start = (s64)l->start,
                                   .size = l->last == ~0UL >> 1 ? 0
                                               : (s64)(l->last - l->start) + 1,
                                   .pid = l->owner->pid};
    return 0;
}

// The request is at the program's address `argument`; `file` may be NULL.

s64 lock_control(struct file *file, u64 request, vaddr argument)
{
    struct lock_request r;
    int error;

    if (!file || !file->node)
        return file ? -ENOLCK : -EBADF;
    if (sys_copy_in(&r, argument, sizeof r))
        return -EFAULT;
    if (request != F_GETLK) {
        object_get(&file->object);
        error = lock_change(file, &r, request == F_SETLKW);
        object_put(&file->object);
        return error;
    }
    error = lock_ask(file, &r);
    return error ? error : sys_copy_out(argument, &r, sizeof r);
}

// A descriptor is closed. (If its table is not that of the program that
// runs, it is that of a copy that has failed, which has no locks.)

void file_close(struct file *file, const struct handle *h)
{
    const struct handle_table *t = program_current()->handles;
    struct record_lock **place = &file->node->locks;

    if (!*place || h < t->entry || h >= t->entry + t->count)
        return;
    while (*place)
        if ((*place)->owner == process_current())
            lock_remove(place);
        else
            place = &(*place)->next;
    sched_wake(&vfs.lock_waiters);
}

const struct file_operations file_operations = {
    .read = file_read, .write = file_write, .seek = file_seek, .list = file_list,
    .status = file_tell_status, .close = file_close};
struct object_type file_type = {.name = "file", .destroy = file_destroy,
                                .file = &file_operations};

// Makes an open description of a node, with a reference of its own to it.
// It remembers the flags that still mean something once it is open.

struct object *file_create(struct node *n, u32 flags)
{
    struct file *file = heap_alloc_zeroed(&heap, sizeof *file);

    if (!file)
        return NULL;
    object_init(&file->object, n->operations->type ? n->operations->type : &file_type);
    object_get(&n->object);
    file->node = n;
    file->flags = flags & ~(u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
    if (file_writes(flags))
        n->writers++;
    return &file->object;
}

// The node behind a handle, NULL if it has none.

struct node *vfs_node(const struct handle *h)
{
    struct file *file = file_of(h->object);

    return file ? file->node : NULL;
}

// ## Opening {#vfs-open}
//
// The rights of the handle follow from the flags: to read, to write, or
// both.

u32 vfs_rights(u32 flags)
{
    u32 access = flags & O_ACCMODE;

    return RIGHT_DUPLICATE | RIGHT_MAP | (access != O_WRONLY ? RIGHT_READ : 0) |
           (access != 0 ? RIGHT_WRITE : 0);
}

// Makes what a walk has not found. In a file system that cannot, that is an
// error: it is read-only.

int vfs_make(struct walk *w, u32 mode, const char *link)
{
    if (!w->directory->operations->make)
        return -EROFS;
    return w->directory->operations->make(w->directory, w->name, mode, link, &w->node);
}

int vfs_create_file(struct walk *w, u32 mode)
{
    if (w->must_be_directory)
        return -EISDIR;
    if (!vfs_has_name(w->directory))
        return -ENOENT;
    return vfs_make(w, S_IFREG | (mode & 0777), NULL);
}

// What must not be opened in this way: a directory for writing, a link.

int vfs_check_open(const struct node *n, u32 flags)
{
    if ((flags & O_DIRECTORY) && !node_is(n, S_IFDIR))
        return -ENOTDIR;
    if (node_is(n, S_IFDIR) && (flags & (O_ACCMODE | O_CREAT)))
        return -EISDIR;
    if (node_is(n, S_IFLNK))
        return -ELOOP;
    return n->writers < 0 && (flags & (O_ACCMODE | O_TRUNC)) ? -ETXTBSY : 0;
}

// To make a file longer or shorter is to write to it.

int vfs_resize(struct node *n, u64 size)
{
    int error;

    if (!n->operations->resize)
        return -EINVAL;
    node_hold(n);
    error = n->operations->resize(n, size);
    node_release(n);
    return error;
}

// Opens a path. Returns the object, with a reference for the caller, or
// NULL and an error. (It may have to wait until it can make the file empty.
// By then it is open, and so cannot go away.)

struct object *vfs_open(struct node *from, const char *path, u32 flags, u32 mode, int *error)
{
    struct walk w;
    bool follow = !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) !=
                                               (O_CREAT | O_EXCL);
    struct object *o = NULL;

    *error = vfs_walk(&w, from, path, follow);
    if (*error)
        return NULL;
    if (!w.node)
        *error = flags & O_CREAT ? vfs_create_file(&w, mode) : -ENOENT;
    else if ((flags & O_CREAT) && (flags & O_EXCL))
        *error = -EEXIST;
    if (!*error)
        *error = vfs_check_open(w.node, flags);
    if (!*error) {
        o = file_create(w.node, flags);
        *error = o ? 0 : -ENOMEM;
    }
    if (o && (flags & O_TRUNC) && (flags & O_ACCMODE) && w.node->operations->resize)
        *error = vfs_resize(w.node, 0);
    if (o && *error) {
        object_put(o);
        o = NULL;
    }
    walk_end(&w);
    return o;
}

// ## System calls with paths {#vfs-calls}
//
// Each exists twice: in its old form, relative to the process's directory,
// and with `at`, relative to an open directory. `AT_FDCWD` in its place
// means the process's directory.

struct node *vfs_directory(void)
{
    struct process *p = process_current();

    return p && p->directory ? p->directory : vfs.root;
}

int vfs_start(u64 fd, const char *path, struct node **from)
{
    struct handle *h;

    *from = vfs_directory();
    if ((s32)fd == AT_FDCWD || path[0] == '/')
        return 0;
    h = sys_handle((u32)fd, 0);
    if (!h)
        return -EBADF;
    *from = vfs_node(h);
    return *from && node_is(*from, S_IFDIR) ? 0 : -ENOTDIR;
}

// Fetches the path from the program and finds where it starts.

int sys_path(u64 fd, vaddr from, char *path, struct node **start)
{
    int error = sys_copy_string(path, from, PATH_SIZE);

    return error ? error : vfs_start(fd, path, start);
}

// Most want to know what the path leads to, and nothing else. They get a
// reference.

int sys_node(u64 fd, vaddr name, bool follow, struct node **n)
{
    char path[PATH_SIZE];
    struct node *from;
    int error = sys_path(fd, name, path, &from);

    return error ? error : vfs_find(from, path, follow, n);
}

s64 vfs_open_at(u64 fd, vaddr name, u64 flags, u64 mode)
{
    char path[PATH_SIZE];
    struct node *from;
    struct object *o;
    int error = sys_path(fd, name, path, &from), index;

    if (!error && handle_find_free(program_current()->handles, 0) < 0)
        error = -EMFILE;         /* before a file is made, or emptied */
    if (error)
        return error;
    o = vfs_open(from, path, (u32)flags, (u32)mode, &error);
    if (!o)
        return error;
    index = handle_add(program_current()->handles, o, vfs_rights((u32)flags), 0);
    if (index >= 0)
        program_current()->handles->entry[index].close_on_exec = flags & O_CLOEXEC;
    return index;
}

s64 sys_open(struct trap_frame *f)
{
    return vfs_open_at((u64)AT_FDCWD, f->rdi, f->rsi, f->rdx);
}

s64 sys_openat(struct trap_frame *f)
{
    return vfs_open_at(f->rdi, f->rsi, f->rdx, f->r10);
}

// The oldest form, and the way to get rid of it all.

s64 sys_creat(struct trap_frame *f)
{
    return vfs_open_at((u64)AT_FDCWD, f->rdi, O_CREAT | O_WRONLY | O_TRUNC, f->rsi);
}

s64 sys_close(struct trap_frame *f)
{
    struct handle *h = sys_handle((u32)f->rdi, 0);

    if (!h)
        return -EBADF;
    handle_close_entry(program_current()->handles, h);
    return 0;
}

// What is known about something: by path, by handle, and the newer call
// that can do both.

s64 vfs_status_at(u64 fd, vaddr name, vaddr to, u64 flags)
{
    struct file_status status;
    struct node *n;
    int error = sys_node(fd, name, !(flags & AT_SYMLINK_NOFOLLOW), &n);

    if (error)
        return error;
    node_status(n, &status);
    node_put(n);
    return sys_copy_out(to, &status, sizeof status);
}

// What has neither a status of its own nor a name is presented as a
// terminal.

s64 vfs_status_of(u64 fd, vaddr to)
{
    struct file_status status = {.mode = S_IFCHR | 0620, .device_number = 5 << 8 | 1};
    struct handle *h = sys_handle((u32)fd, 0);
    struct file *file = h ? file_of(h->object) : NULL;

    if (!h)
        return -EBADF;
    if (file && file->object.type->file->status)
        file->object.type->file->status(file, &status);
    else if (file && file->node)
        node_status(file->node, &status);
    return sys_copy_out(to, &status, sizeof status);
}

s64 sys_stat(struct trap_frame *f)
{
    return vfs_status_at((u64)AT_FDCWD, f->rdi, f->rsi, 0);
}

s64 sys_lstat(struct trap_frame *f)
{
    return vfs_status_at((u64)AT_FDCWD, f->rdi, f->rsi, AT_SYMLINK_NOFOLLOW);
}

s64 sys_fstat(struct trap_frame *f)
{
    return vfs_status_of(f->rdi, f->rsi);
}

s64 sys_newfstatat(struct trap_frame *f)
{
    char first;

    if (f->r10 & AT_EMPTY_PATH && sys_copy_in(&first, f->rsi, 1) == 0 && !first &&
        (s32)f->rdi != AT_FDCWD)
        return vfs_status_of(f->rdi, f->rdx);
    return vfs_status_at(f->rdi, f->rsi, f->rdx, f->r10);
}

// Positions, and reading and writing at one without moving: the position
// that moves is then one of our own.

s64 sys_lseek(struct trap_frame *f)
{
    struct file *file = sys_file(f->rdi, 0);

    if (!file)
        return -EBADF;
    if (!file->object.type->file->seek)
        return -ESPIPE;
    return file->object.type->file->seek(file, (s64)f->rsi, (int)f->rdx);
}

s64 vfs_transfer_at(struct trap_frame *f, u32 right, bool pieces)
{
    struct file *file = sys_file(f->rdi, 0);
    u64 offset = f->r10;

    if ((s64)offset < 0)
        return -EINVAL;
    if (!file)
        return -EBADF;
    if (!file->object.type->file->seek)
        return -ESPIPE;
    if (!sys_file(f->rdi, right))
        return -EBADF;
    if (pieces)
        return sys_transfer_pieces(file, f->rsi, f->rdx, right, &offset);
    return sys_transfer(file, f->rsi, f->rdx, right, &offset);
}

// By number, in the one form and in the other:

s64 sys_pread(struct trap_frame *f)
{
    return vfs_transfer_at(f, RIGHT_READ, false);
}

s64 sys_pwrite(struct trap_frame *f)
{
    return vfs_transfer_at(f, RIGHT_WRITE, false);
}

s64 sys_preadv(struct trap_frame *f)
{
    return vfs_transfer_at(f, RIGHT_READ, true);
}

s64 sys_pwritev(struct trap_frame *f)
{
    return vfs_transfer_at(f, RIGHT_WRITE, true);
}

// Listing a directory.

s64 sys_getdents(struct trap_frame *f)
{
    struct file *file = sys_file(f->rdi, RIGHT_READ);
    s64 result;

    if (!file)
        return -EBADF;
    if (!file->object.type->file->list)
        return -ENOTDIR;
    object_get(&file->object);
    result = file->object.type->file->list(file, f->rsi, f->rdx);
    object_put(&file->object);
    return result;
}

// The text of a link, without a final zero.

s64 vfs_readlink_at(u64 fd, vaddr name, vaddr to, u64 size)
{
    struct node *n;
    s64 result = sys_node(fd, name, false, &n);

    if (result)
        return result;
    result = node_is(n, S_IFLNK) && (s64)size > 0 ? n->operations->read(n, 0, to, size) : -EINVAL;
    node_put(n);
    return result;
}

s64 sys_readlink(struct trap_frame *f)
{
    return vfs_readlink_at((u64)AT_FDCWD, f->rdi, f->rsi, f->rdx);
}

s64 sys_readlinkat(struct trap_frame *f)
{
    return vfs_readlink_at(f->rdi, f->rsi, f->rdx, f->r10);
}

// May I? Everything, except execute what nobody may execute.

s64 vfs_access_at(u64 fd, vaddr name, u64 wanted)
{
    struct node *n;
    int error = sys_node(fd, name, true, &n);

    if (error)
        return error;
    if (wanted > 7)
        error = -EINVAL;
    else if (wanted & 1 && !(n->mode & 0111))
        error = -EACCES;
    node_put(n);
    return error;
}

s64 sys_access(struct trap_frame *f)
{
    return vfs_access_at((u64)AT_FDCWD, f->rdi, f->rsi);
}

s64 sys_faccessat(struct trap_frame *f)
{
    return vfs_access_at(f->rdi, f->rsi, f->rdx);
}

// The process's directory. Its path is found by going up to the root, and
// written from the end to the beginning. Setting it takes over a reference.

int vfs_set_directory(struct node *n)
{
    if (!node_is(n, S_IFDIR)) {
        node_put(n);
        return -ENOTDIR;
    }
    node_set(&process_current()->directory, n);
    return 0;
}

s64 sys_chdir(struct trap_frame *f)
{
    struct node *n;
    int error = sys_node((u64)AT_FDCWD, f->rdi, true, &n);

    return error ? error : vfs_set_directory(n);
}

s64 sys_fchdir(struct trap_frame *f)
{
    struct handle *h = sys_handle((u32)f->rdi, 0);
    struct node *n = h ? vfs_node(h) : NULL;

    if (!h)
        return -EBADF;
    return n ? vfs_set_directory(node_get(n)) : -ENOTDIR;
}

// Its path, asked for. The name of a directory stands in its parent.

s64 sys_getcwd(struct trap_frame *f)
{
    char path[PATH_SIZE];
    const struct node *n;
    u64 at = sizeof path - 1, length;

    path[at] = 0;
    for (n = vfs_directory(); n->parent; n = n->parent) {
        length = strlen(n->name);
        if (at < length + 1)
            return -ENAMETOOLONG;
        at -= length;
        memcpy(path + at, n->name, length);
        path[--at] = '/';
    }
    if (n != vfs.root)
        return -ENOENT;
    if (!path[at])
        path[--at] = '/';
    length = sizeof path - at;
    if (length > f->rsi)
        return -ERANGE;
    return sys_copy_out(f->rdi, path + at, length) ? -EFAULT : (s64)length;
}

// ## Changing the tree {#vfs-change}
//
// A new name needs a directory and the absence of one. What is removed
// loses a name; its contents live on as long as it has another, or somebody
// has it open.

s64 vfs_make_at(u64 fd, vaddr name, u32 mode, const char *link)
{
    char path[PATH_SIZE];
    struct walk w;
    struct node *from;
    int error = sys_path(fd, name, path, &from);

    if (!error)
        error = vfs_walk_new(&w, from, path);
    if (error)
        return error;
    error = w.must_be_directory && link ? -ENOENT : vfs_make(&w, mode, link);
    walk_end(&w);
    return error;
}

// What can be made: directories and links.

s64 sys_mkdir(struct trap_frame *f)
{
    return vfs_make_at((u64)AT_FDCWD, f->rdi, S_IFDIR | ((u32)f->rsi & 0777), NULL);
}

s64 sys_mkdirat(struct trap_frame *f)
{
    return vfs_make_at(f->rdi, f->rsi, S_IFDIR | ((u32)f->rdx & 0777), NULL);
}

s64 sys_symlink(struct trap_frame *f)
{
    char text[PATH_SIZE];
    int error = sys_copy_string(text, f->rdi, sizeof text);

    if (error)
        return error;
    return *text ? vfs_make_at((u64)AT_FDCWD, f->rsi, S_IFLNK | 0777, text) : -ENOENT;
}

// Another name for something. Not for a directory, or the tree would have
// circles. A symbolic link at the end of the old path is what gets the
// name, unless the flags say that it is to be followed.

int vfs_link(struct node *n, struct walk *w)
{
    if (w->must_be_directory)
        return -ENOENT;
    if (node_is(n, S_IFDIR))
        return -EPERM;
    if (n->system != w->directory->system)
        return -EXDEV;
    if (!w->directory->operations->link)
        return -EROFS;
    return w->directory->operations->link(w->directory, w->name, n);
}

// Both paths, and then that.

s64 vfs_link_at(u64 old_fd, vaddr old, u64 new_fd, vaddr new, u64 flags)
{
    char path[PATH_SIZE];
    struct node *from, *n;
    struct walk w;
    int error;

    if (flags & ~(u64)AT_SYMLINK_FOLLOW)
        return -EINVAL;
    error = sys_node(old_fd, old, flags & AT_SYMLINK_FOLLOW, &n);
    if (error)
        return error;
    error = sys_path(new_fd, new, path, &from);
    if (!error)
        error = vfs_walk_new(&w, from, path);
    if (!error) {
        error = vfs_link(n, &w);
        walk_end(&w);
    }
    node_put(n);
    return error;
}

s64 sys_link(struct trap_frame *f)
{
    return vfs_link_at((u64)AT_FDCWD, f->rdi, (u64)AT_FDCWD, f->rsi, 0);
}

s64 sys_linkat(struct trap_frame *f)
{
    return vfs_link_at(f->rdi, f->rsi, f->rdx, f->r10, f->r8);
}

// Removing takes the right call for each kind. (That a directory is empty,
// the file system looks at.)

int vfs_can_remove(const struct node *n, bool directory)
{
    if (directory && !node_is(n, S_IFDIR))
        return -ENOTDIR;
    if (!directory && node_is(n, S_IFDIR))
        return -EISDIR;
    return n == vfs.root ? -EBUSY : 0;
}

// The two calls for it, and the one that is both.

int vfs_remove(struct walk *w, bool directory)
{
    int error = w->node ? vfs_can_remove(w->node, directory) : -ENOENT;

    if (directory && name_dots(w->name) == 1)
        return -EINVAL;
    if (directory && name_dots(w->name) == 2 && !error)
        return -ENOTEMPTY;
    if (!error && !w->directory->operations->remove)
        return -EROFS;
    return error ? error : w->directory->operations->remove(w->directory, w->name);
}

// By a path:

s64 vfs_remove_at(u64 fd, vaddr name, bool directory)
{
    char path[PATH_SIZE];
    struct node *from;
    int error = sys_path(fd, name, path, &from);
    struct walk w;

    if (!error)
        error = vfs_walk(&w, from, path, false);
    if (error)
        return error;
    error = vfs_remove(&w, directory);
    walk_end(&w);
    return error;
}

s64 sys_unlink(struct trap_frame *f)
{
    return vfs_remove_at((u64)AT_FDCWD, f->rdi, false);
}

s64 sys_rmdir(struct trap_frame *f)
{
    return vfs_remove_at((u64)AT_FDCWD, f->rdi, true);
}

s64 sys_unlinkat(struct trap_frame *f)
{
    return vfs_remove_at(f->rdi, f->rsi, f->rdx & AT_REMOVEDIR);
}

// Renaming replaces what had the new name, if it is of the same kind. A
// directory cannot be moved into itself, nor by a name that is none: who is
// in `/tmp/a` must not lose `/tmp` by moving `..` away.

bool vfs_is_inside(const struct node *n, const struct node *directory)
{
    for (; n; n = n->parent)
        if (n == directory)
            return true;
    return false;
}

// Two names of the same file are left as they are: so POSIX wants it.

int vfs_rename(struct walk *old, struct walk *new)
{
    struct node *n = old->node;
    int error = 0;

    if (new->node == n)
        return 0;
    if (!vfs_has_name(new->directory))
        return -ENOENT;
    if (new->must_be_directory && !node_is(n, S_IFDIR))
        return -ENOTDIR;
    if (name_dots(new->name))
        return -EBUSY;
    if (n == vfs.root || vfs_is_inside(new->directory, n))
        return -EINVAL;
    if (n->system != new->directory->system)
        return -EXDEV;
    if (new->node)
        error = vfs_can_remove(new->node, node_is(n, S_IFDIR));
    if (!error && !old->directory->operations->rename)
        error = -EROFS;
    return error ? error : old->directory->operations->rename(old->directory, old->name,
                                                              new->directory, new->name);
}

// Both paths are walked with nothing in between that could change the tree.

s64 vfs_rename_at(u64 old_fd, vaddr old, u64 new_fd, vaddr new)
{
    char path[PATH_SIZE];
    struct walk from, to;
    struct node *start;
    int error = sys_path(old_fd, old, path, &start);

    if (!error)
        error = vfs_walk(&from, start, path, false);
    if (error)
        return error;
    error = !from.node ? -ENOENT : name_dots(from.name) ? -EBUSY
                                 : sys_path(new_fd, new, path, &start);
    if (!error)
        error = vfs_walk(&to, start, path, false);
    if (!error) {
        error = vfs_rename(&from, &to);
        walk_end(&to);
    }
    walk_end(&from);
    return error;
}

s64 sys_rename(struct trap_frame *f)
{
    return vfs_rename_at((u64)AT_FDCWD, f->rdi, (u64)AT_FDCWD, f->rsi);
}

s64 sys_renameat(struct trap_frame *f)
{
    return vfs_rename_at(f->rdi, f->rsi, f->rdx, f->r10);
}

// The size of a file, by its path or by a handle that may write.

s64 sys_truncate(struct trap_frame *f)
{
    struct node *n;
    int error = (s64)f->rsi < 0 ? -EINVAL : sys_node((u64)AT_FDCWD, f->rdi, true, &n);

    if (error)
        return error;
    if (!node_is(n, S_IFREG))
        error = node_is(n, S_IFDIR) ? -EISDIR : -EINVAL;
    else
        error = n->writers < 0 ? -ETXTBSY : vfs_resize(n, f->rsi);
    node_put(n);
    return error;
}

s64 sys_ftruncate(struct trap_frame *f)
{
    struct handle *h = sys_handle((u32)f->rdi, 0);
    struct node *n = h ? vfs_node(h) : NULL;
    int error;

    if ((s64)f->rsi < 0)
        return -EINVAL;
    if (!h)
        return -EBADF;
    if (!n || !node_is(n, S_IFREG) || !(h->rights & RIGHT_WRITE))
        return -EINVAL;
    error = vfs_resize(node_get(n), f->rsi);
    node_put(n);
    return error;
}

// Permissions.

void node_set_mode(struct node *n, u64 mode)
{
    n->mode = (n->mode & S_IFMT) | ((u32)mode & 07777);
    n->change = node_now();
}

s64 vfs_chmod_at(u64 fd, vaddr name, u64 mode)
{
    struct node *n;
    int error = sys_node(fd, name, true, &n);

    if (error)
        return error;
    node_set_mode(n, mode);
    node_put(n);
    return 0;
}

s64 sys_chmod(struct trap_frame *f)
{
    return vfs_chmod_at((u64)AT_FDCWD, f->rdi, f->rsi);
}

s64 sys_fchmodat(struct trap_frame *f)
{
    return vfs_chmod_at(f->rdi, f->rsi, f->rdx);
}

s64 sys_fchmod(struct trap_frame *f)
{
    struct handle *h = sys_handle((u32)f->rdi, 0);

    if (!h)
        return -EBADF;
    if (!vfs_node(h))
        return -EINVAL;
    node_set_mode(vfs_node(h), f->rsi);
    return 0;
}

// `touch` wants new times: of the last access and of the last change, the
// present one or what it gives. In place of nanoseconds there may stand
// "now", or "leave it". Without a path, the descriptor tells which file.

int vfs_find_at(u64 fd, vaddr name, u64 flags, struct node **n)
{
    struct handle *h = sys_handle((u32)fd, 0);

    if (!name && (s32)fd != AT_FDCWD) {
        *n = h ? vfs_node(h) : NULL;
        if (!*n || flags)
            return h ? -EINVAL : -EBADF;
        node_get(*n);
        return 0;
    }
    return sys_node(fd, name, !(flags & AT_SYMLINK_NOFOLLOW), n);
}

// What may be given, and what is to be done about it.

void node_set_time(struct timespec *time, const struct timespec *new)
{
    if (new->nanoseconds == UTIME_NOW)
        *time = node_now();
    else if (new->nanoseconds != UTIME_OMIT)
        *time = *new;
}

bool time_is_given(const struct timespec *t)
{
    return (u64)t->nanoseconds < 1000000000 || t->nanoseconds == UTIME_NOW ||
           t->nanoseconds == UTIME_OMIT;
}

// Who wants nothing changed is not even asked for a file.

s64 sys_utimensat(struct trap_frame *f)
{
    struct timespec time[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    struct node *n;
    int error;

    if (f->rdx && sys_copy_in(time, f->rdx, sizeof time))
        return -EFAULT;
    if (time[0].nanoseconds == UTIME_OMIT && time[1].nanoseconds == UTIME_OMIT)
        return 0;
    if (!time_is_given(&time[0]) || !time_is_given(&time[1]))
        return -EINVAL;
    error = vfs_find_at(f->rdi, f->rsi, f->r10, &n);
    if (error)
        return error;
    node_set_time(&n->access, &time[0]);
    node_set_time(&n->modification, &time[1]);
    n->change = node_now();
    node_put(n);
    return 0;
}

// How large the file system is, and how full: the memory is all there is.
// What has no name is told the same. The number of its kind is that of
// Linux's `tmpfs`, which keeps its files in memory, too.

#define FS_KIND 0x01021994

s64 vfs_file_system_status(vaddr to)
{
    u64 free = pmm.states[FRAME_FREE];
    struct file_system_status status = {
        .kind = FS_KIND, .block_size = FRAME_SIZE, .fragment_size = FRAME_SIZE,
        .blocks = free + pmm.states[FRAME_USED], .free = free, .available = free,
        .nodes = node_type.live + free, .free_nodes = free, .name_size = NAME_SIZE - 1};

    return sys_copy_out(to, &status, sizeof status);
}

s64 sys_statfs(struct trap_frame *f)
{
    struct node *n;
    int error = sys_node((u64)AT_FDCWD, f->rdi, true, &n);

    if (error)
        return error;
    node_put(n);
    return vfs_file_system_status(f->rsi);
}

s64 sys_fstatfs(struct trap_frame *f)
{
    return sys_handle((u32)f->rdi, 0) ? vfs_file_system_status(f->rsi) : -EBADF;
}

// What is written to memory is where it will be already.

s64 sys_fsync(struct trap_frame *f)
{
    struct handle *h = sys_handle((u32)f->rdi, 0);
    struct node *n = h ? vfs_node(h) : NULL;

    if (!h)
        return -EBADF;
    return n && !node_is(n, S_IFCHR) ? 0 : -EINVAL;
}

s64 sys_sync(struct trap_frame *f)
{
    (void)f;
    return 0;
}

s64 sys_umask(struct trap_frame *f)
{
    (void)f;
    return 0;                    /* nothing is taken away: nobody asks for permissions */
}

// The numbers:

const struct system_call vfs_calls[] = {
    {SYS_OPEN, "open path how mode", sys_open}, {SYS_CLOSE, "close fd", sys_close},
    {SYS_STAT, "stat path address", sys_stat}, {SYS_FSTAT, "fstat fd address", sys_fstat},
    {SYS_LSTAT, "lstat path address", sys_lstat},
    {SYS_LSEEK, "lseek fd number whence", sys_lseek},
    {SYS_PREAD64, "pread64 fd out size number", sys_pread},
    {SYS_PWRITE64, "pwrite64 fd in size number", sys_pwrite},
    {SYS_ACCESS, "access path mode", sys_access}, {SYS_FSYNC, "fsync fd", sys_fsync},
    {SYS_FDATASYNC, "fdatasync fd", sys_fsync},
    {SYS_TRUNCATE, "truncate path size", sys_truncate},
    {SYS_FTRUNCATE, "ftruncate fd size", sys_ftruncate},
    {SYS_GETCWD, "getcwd address size", sys_getcwd}, {SYS_CHDIR, "chdir path", sys_chdir},
    {SYS_FCHDIR, "fchdir fd", sys_fchdir}, {SYS_RENAME, "rename path path", sys_rename},
    {SYS_MKDIR, "mkdir path mode", sys_mkdir}, {SYS_RMDIR, "rmdir path", sys_rmdir},
    {SYS_CREAT, "creat path mode", sys_creat}, {SYS_LINK, "link path path", sys_link},
    {SYS_UNLINK, "unlink path", sys_unlink}, {SYS_SYMLINK, "symlink path path", sys_symlink},
    {SYS_READLINK, "readlink path out size", sys_readlink},
    {SYS_CHMOD, "chmod path mode", sys_chmod}, {SYS_FCHMOD, "fchmod fd mode", sys_fchmod},
    {SYS_UMASK, "umask mode", sys_umask}, {SYS_STATFS, "statfs path address", sys_statfs},
    {SYS_FSTATFS, "fstatfs fd address", sys_fstatfs}, {SYS_SYNC, "sync", sys_sync},
    {SYS_GETDENTS64, "getdents64 fd address size", sys_getdents},
    {SYS_OPENAT, "openat fd path how mode", sys_openat},
    {SYS_MKDIRAT, "mkdirat fd path mode", sys_mkdirat},
    {SYS_NEWFSTATAT, "newfstatat fd path address flags", sys_newfstatat},
    {SYS_UNLINKAT, "unlinkat fd path flags", sys_unlinkat},
    {SYS_RENAMEAT, "renameat fd path fd path", sys_renameat},
    {SYS_LINKAT, "linkat fd path fd path flags", sys_linkat},
    {SYS_READLINKAT, "readlinkat fd path out size", sys_readlinkat},
    {SYS_FCHMODAT, "fchmodat fd path mode", sys_fchmodat},
    {SYS_FACCESSAT, "faccessat fd path mode", sys_faccessat},
    {SYS_UTIMENSAT, "utimensat fd path address flags", sys_utimensat},
    {SYS_PREADV, "preadv fd address number number", sys_preadv},
    {SYS_PWRITEV, "pwritev fd address number number", sys_pwritev},
    {SYS_FACCESSAT2, "faccessat2 fd path mode flags", sys_faccessat}};

// ## The audit {#vfs-audit}
//
// First one directory: its names are names, and each stands there once; the
// places ascend; a directory's parent is where its name stands; and it has
// as many links as there are names that lead to it, its own (in the root,
// that is `..`) and the `..` of those in it.

void vfs_audit_entry(struct node *directory, const struct entry *e)
{
    const struct node *n = e->node;
    const char *c;

    assert(e->place > 2 && e->place <= vfs.last_place);
    assert(!entry_next(e) || e->place < entry_next(e)->place);
    assert(*e->name && strlen(e->name) < NAME_SIZE && !name_dots(e->name));
    for (c = e->name; *c; c++)
        assert(*c != '/');
    assert(entry_find(directory, e->name) == e);
    assert(n->links && n->object.references && n->object.type == &node_type);
    if (node_is(n, S_IFDIR))
        assert(n->parent == directory && n->entry == e && n->name == e->name);
    else
        assert(!n->parent && !n->names && n->object.references >= n->links);
}

void vfs_audit_directory(struct node *n)
{
    const struct entry *e;
    u64 names = 0, places = 0;
    struct tree_node *t;
    u32 links = 1;

    assert(node_is(n, S_IFDIR) && !n->data);
    tree_audit(n->names, NULL);
    tree_audit(n->places, NULL);
    for (t = tree_end(n->names, 0); t; t = tree_step(t, 1))
        names++;
    for (e = entry_after(n, 0); e; e = entry_next(e), places++) {
        vfs_audit_entry(n, e);
        links += node_is(e->node, S_IFDIR);
    }
    assert(n->links == links && names == places);
}

// Then all of them. Programs may nest directories as deep as they like, and
// our stack is small, so we do not go down by calling ourselves: from each
// directory there is a next one, which is the first in it, or the one that
// stands behind it, or behind the one that it is in, and so on.

struct node *vfs_next_directory(const struct entry *e)
{
    while (e && !node_is(e->node, S_IFDIR))
        e = entry_next(e);
    return e ? e->node : NULL;
}

struct node *vfs_after(struct node *n)
{
    struct node *next = vfs_next_directory(entry_after(n, 0));

    for (; !next && n->parent; n = n->parent)
        next = vfs_next_directory(entry_next(n->entry));
    return next;
}

void vfs_audit(void)
{
    const struct process *p;
    struct node *n;
    u64 count = 0;

    assert(vfs.root && !vfs.root->parent);
    for (n = vfs.root; n; n = vfs_after(n)) {
        assert(count++ < node_type.live);
        vfs_audit_directory(n);
    }
    for (p = process_first(); p; p = process_next(p))
        assert(!p->directory || node_is(p->directory, S_IFDIR));
}

struct audit vfs_audits = {"files", vfs_audit, NULL};

// A directory that does not know where it is.

void provoke_parent(void)
{
    vfs_next_directory(entry_after(vfs.root, 0))->parent = NULL;
    audit_all();
}

struct provocation vfs_provocation = {"parent", provoke_parent, NULL};

// ## Setting up {#vfs-init}
//
// File systems register; then each is mounted, the one for the root first.

void vfs_add_file_system(struct file_system *fs)
{
    struct file_system **place = &vfs.systems;

    while (*place)
        place = &(*place)->next;
    *place = fs;
}

struct file_system rd_file_system = {"ramdisk", "/", rd_mount, NULL};
struct file_system dev_file_system = {"devices", "/dev", dev_mount, NULL};

void vfs_mount_all(void)
{
    struct file_system *fs;
    struct node *at;
    int error;

    for (fs = vfs.systems; fs; fs = fs->next) {
        error = vfs_find(vfs.root, fs->path, true, &at);
        if (!error)
            error = fs->mount(at);
        node_put(at);
        if (error)
            boot_refuse("file system %s cannot be mounted at %s, error %d", fs->name, fs->path,
                        error);
    }
}

// A process that ends lets go of its directory as well.

int vfs_end(void *program)
{
    struct process *p = container_of(program, struct process, program);

    node_set(&p->directory, NULL);
    return 0;
}

struct hook vfs_ends = {vfs_end, NULL};

void ch10_init(void)
{
    ch09_init();
    vfs.root = node_create(S_IFDIR | 0755, &rd_operations);
    assert(vfs.root);
    vfs.root->links = 1;             /* its own `..` */
    vfs_add_file_system(&rd_file_system);
    vfs_add_file_system(&dev_file_system);
    vfs_mount_all();
    audit_add(&vfs_audits);
    boot_add_provocation(&vfs_provocation);
    hook_add_first(&user.ends, &vfs_ends);
    sys_add_calls(vfs_calls, array_count(vfs_calls));
}

// ## Programs from files {#vfs-show}
//
// The chapter starts programs by their paths, and they look at files.

struct process *vfs_spawn(const char *const *arguments, int *error)
{
    struct process *p = NULL;
    struct node *n;

    *error = vfs_find(vfs.root, arguments[0], true, &n);
    if (*error)
        return NULL;
    if (node_is(n, S_IFREG) && n->mode & 0111 && n->data)
        p = process_spawn(n->data, arguments, error);
    else
        *error = -EACCES;
    node_put(n);
    return p;
}

// Starts a program with one or two arguments, waits for its end, and says
// if it did not end well.

void vfs_show(const char *program, const char *option, const char *path)
{
    const char *arguments[] = {program, option ? option : path, option ? path : NULL, NULL};
    struct process *p;
    int error;

    printf("vfs: %s %s%s%s\n", program, option ? option : "", option ? " " : "", path);
    p = vfs_spawn(arguments, &error);
    if (p)
        error = process_wait(p);
    if (error)
        printf("vfs: that ended with %d\n", error);
}

// A tour of the tree. At its end, the same archive with one byte changed.

void ch10_main(void)
{
    struct vmo *archive;
    u8 byte = 'x';

    ch10_init();
    boot_check_options();
    vfs_show("/bin/hello", NULL, "");
    vfs_show("/bin/ls", "-a", "/");
    vfs_show("/bin/cat", NULL, "/etc/motd");
    vfs_show("/bin/ls", NULL, "/dev");
    vfs_show("/bin/cat", NULL, "/dev/null");
    vfs_show("/bin/nosuch", NULL, "");
    archive = elf_file(_binary_ramdisk_tar_start, _binary_ramdisk_tar_end);
    assert(archive && vmo_write(archive, 100, &byte, 1) == 0);
    printf("vfs: an archive with a damaged byte is refused: %s\n", rd_reasons[rd_check(archive)]);
    vmo_put(archive);
}

// ## Try it {#rd-try}
//
// `make run CH=10`:
//
// ::: {.transcript file="tests/golden/ch10.txt"}
// :::
//
// The archive is `build/gcc/ch10/ramdisk.tar`; `tar tvf` shows what is in
// it.
//
// One file of it, on its way from the archive to the program:
//
// ::: {.transcript file="book/gdb/ch10.txt"}
// :::
//
// ### Exercises {#rd-exercises}
//
// ::: {#ex-rd-random .exercise level=1}
// Add `/dev/random`, which is full of random bytes. *A program of yours
// reads a kilobyte of it and gets 1,024 bytes, and two readings differ.*
// :::
//
// ::: {#ex-rd-circle .exercise level=2}
// Put two symbolic links that point to each other into the folder
// `user/root` and let the chapter `cat` one. Then make `vfs_follow()`
// shorter: it walks a link's text by a call of `vfs_walk_from()`. With
// `LINKS_MAX` at a million, what gives way? *Name the guard page that saves
// us.*
// :::
//
// ::: {#ex-rd-order .exercise level=2}
// `ls` sorts what it is told, and the kernel has all names in order
// already. List directories by name: what has to take the place of an
// entry's place, so that a program which removes what it has just listed
// misses nothing? *In a directory with a thousand files `cp -r` finds each
// once, and `rm -r` leaves none.*
// :::
//
// ::: {#ex-rd-proc .exercise level=3}
// Write a third file system, mounted at `/proc`, with a file for each
// process that tells its name and its state. *cat shows it; nothing outside
// your section changed but the line that registers it.*
// :::
//
// ### Further reading {#rd-reading}
//
// Dennis Ritchie and Ken Thompson, "The UNIX Time-Sharing System",
// *Communications of the ACM* 17(7), 1974: it is still the best
// description. Steve Kleiman, "Vnodes" (USENIX Summer 1986), for many file
// systems behind one interface. Rob Pike, "Lexical File Names in Plan 9, or
// Getting Dot-Dot Right" (USENIX 2000). *OSTEP*, chapters 39 and 40, for
// files that stay.
//
// ## What we have {#rd-have}
//
// A tree of names, with programs in it that can be started and files that
// they can read and change. All that is missing is somebody at the
// keyboard.

// # Chapter 11. Somebody at the keyboard {#ch-console}
//===========================================================================
//
// The kernel has talked for ten chapters. Now it listens. A key is pressed,
// a device raises an interrupt, a few bytes arrive; and between these bytes
// and a program that calls `read` stands a piece of software older than
// Unix, the *terminal driver*. It lets you correct a line before the
// program sees it, it echoes what you type, and it turns one key into the
// end of a program that has gone wild.
//
// And it should be possible to see all this on a screen, for few machines
// still have a serial line.
//
// ## Theory of operation {#con-theory}
//
//     serial line --.                                    .--> serial line
//     keyboard -----+--> tty: line editing, --> read      +--> screen
//                   |    echo, ^C                 write --+--> debug port
//                   '--------- echo -------------------->-'
//
// The **tty** has a buffer. In *canonical* mode, a program gets whole
// lines, and until you press Enter the line is yours: backspace takes back
// a character, ^U all of it, and ^D says that there will be no more. In
// *raw* mode, every byte is passed on as it comes, for programs that do
// their own editing. ^C is caught in both, unless the program asks for it.
// A structure called *termios* holds these choices; we understand the part
// of it that is in use.
//
// The **screen** is a framebuffer, memory whose bytes are pixels. We keep
// the text that should be on it in an array of cells, and another array of
// what is on it. Drawing means to draw the difference. So scrolling costs
// what has changed, and a program that prints a thousand lines in an
// instant has them drawn once.
//
// The invariants: *what is typed is delivered once and in order; a full
// buffer drops new bytes, never old ones, and not without a sound; the
// screen shows the cells, at the latest a hundredth of a second later.*
//
// **Shortcomings.** One terminal for everybody. The keyboard is American.
// Letters beyond ASCII are not shown, and count as several when they are
// erased. Of the terminal's many sequences we know some thirty.
//
// ## The tty {#tty-state}
//
// The names are those of POSIX (XBD 11), the values Linux's. A termios has
// four words of flags, for input, output, control of the line, and what is
// "local", that is, between keyboard and program; and an array with the
// keys that have a meaning, by an index such as `VINTR`. So `ICRNL` turns
// the Enter key's carriage return into a newline, `ICANON` is the canonical
// mode, and `ISIG` lets ^C be a signal. Flags that we do not look at are
// kept for whoever asks.

#define TTY_SIZE 4096
#define TTY_END 0x100            /* in the buffer: an end of file was typed here */

// The ring and the rest of it.

struct tty_state {
    u16 byte[TTY_SIZE];          /* a ring; the three places below count without end */
    u64 read, ready, end;        /* delivered; may be delivered; typed */
    struct termios termios;
    struct window_size window;
    struct wait_queue readers;
    u32 group;                   /* who gets the signals */
    u32 session;                 /* whose terminal it is, 0: nobody's; chapter 14 */
    void (*signal)(u32 group, int signal); /* chapter 12 */
    s64 (*own)(u64 request, vaddr argument); /* requests about the two; chapter 14 */
    void (*more)(void);          /* called when there is room again, or NULL */
};

void tty_signal_nobody(u32 group, int signal);
s64 tty_own_nothing(u64 request, vaddr argument);

struct tty_state tty = {
    .termios = {.input = ICRNL, .output = OPOST | ONLCR, .control = 0xbf,
                .local = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | IEXTEN,
                .key = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22}},
    .window = {24, 80, 0, 0}, .signal = tty_signal_nobody, .own = tty_own_nothing};

void tty_signal_nobody(u32 group, int signal)
{
    (void)group, (void)signal;
}

s64 tty_own_nothing(u64 request, vaddr argument)
{
    (void)request, (void)argument;
    return -ENOTTY;
}

// ::: {#fig-tty .figure file="book/figures/tty.svg"}
// The ring and its three places. In canonical mode the line being typed
// lies between the last two, out of the reach of programs.
// :::

bool tty_has(u32 flag)
{
    return tty.termios.local & flag;
}

// ## Typing {#tty-input}
//
// Echoing. Control characters are shown as ^ and a letter, so that you see
// that you have pressed one. What is erased on the screen must be as wide
// as it was shown, so a tab, whose width depends on its place, is shown as
// ^I. When the serial line is fed by a program (option `pipe`) nobody looks
// at an echo, and it is left out.

void tty_print(const char *text)
{
    while (*text)
        boot_put_consoles(*text++);
}

void tty_echo(u8 c)
{
    if (!tty_has(ECHO) || boot.pipe)
        return;
    if (c >= ' ' || c == '\n') {
        if (c != 127)
            boot_put_consoles((char)c);
    } else if (tty_has(ECHOCTL)) {
        boot_put_consoles('^');
        boot_put_consoles((char)(c + 64));
    }
}

void tty_erase(void)
{
    u16 last = tty.byte[--tty.end % TTY_SIZE];

    if (!tty_has(ECHO) || boot.pipe)
        return;
    tty_print(last < ' ' && tty_has(ECHOCTL) ? "\b \b\b \b" : "\b \b");
}

// When the buffer is full there is a bell instead of the letter. A line
// that is too long can still be ended, for one place is kept for that. So a
// line has 4095 letters and its end at most, and you hear where it stops.

bool tty_append(u16 c)
{
    bool letter = tty_has(ICANON) && c != '\n' && c != TTY_END;

    if (tty.end - tty.read + letter >= TTY_SIZE) {
        if (!boot.pipe)
            boot_put_consoles('\a');
        return false;
    }
    tty.byte[tty.end++ % TTY_SIZE] = c;
    return true;
}

void tty_deliver(void)
{
    tty.ready = tty.end;
    sched_wake(&tty.readers);
}

// Which key does something is for programs to choose. Who wants none sets
// it to 0, and that is then not the byte 0 (which control and the blank
// make) but no key at all.

bool tty_is_key(u8 c, int index)
{
    return c && c == tty.termios.key[index];
}

// The keys that edit a line, in canonical mode. Returns whether it was one.
// What comes from a file was not mistyped: of the keys only the one that
// ends it counts there.

bool tty_edit(u8 c)
{
    if (tty_is_key(c, VEOF)) {
        if (tty_append(TTY_END))
            tty_deliver();
    } else if (boot.pipe) {
        return false;
    } else if (tty_is_key(c, VERASE) || c == '\b') {
        if (tty.end > tty.ready)
            tty_erase();
    } else if (tty_is_key(c, VKILL)) {
        while (tty.end > tty.ready)
            tty_erase();
    } else if (tty_is_key(c, VWERASE)) {
        while (tty.end > tty.ready && tty.byte[(tty.end - 1) % TTY_SIZE] == ' ')
            tty_erase();
        while (tty.end > tty.ready && tty.byte[(tty.end - 1) % TTY_SIZE] != ' ')
            tty_erase();
    } else {
        return false;
    }
    return true;
}

// The keys that are meant for a program, but not to be read. They also
// throw away what was typed so far.

bool tty_interrupt(u8 c)
{
    int signal = tty_is_key(c, VINTR) ? SIGINT : tty_is_key(c, VQUIT) ? SIGQUIT : 0;

    if (!signal || !tty_has(ISIG) || boot.pipe)
        return false;
    tty_echo(c);
    tty.read = tty.ready = tty.end;
    tty.signal(tty.group, signal);
    return true;
}

// A byte arrives. This is called by the handlers of interrupts; it never
// waits. A line from a file that is longer than the buffer is delivered in
// parts, for nobody will edit it any more.

void tty_input(u8 c)
{
    if (c == '\r' && tty.termios.input & ICRNL)
        c = '\n';
    if (tty_interrupt(c) || (tty_has(ICANON) && tty_edit(c)) || !tty_append(c))
        return;
    tty_echo(c);
    if (!tty_has(ICANON) || c == '\n' || (boot.pipe && tty.end - tty.read >= TTY_SIZE - 1))
        tty_deliver();
}

// ::: {#walk-typing .walk}
//     type hx\bi
//     from tty_input
//     times 5
//     into tty_edit tty_erase tty_append tty_deliver
//     show tty.read, tty.ready, tty.end
//     draw ring tty.byte 4096 tty.read tty.end tty.ready
//
// Five keys: h, x, backspace, i, Enter. The last of them makes a line of
// what was typed, and lets the reader have it.
// :::
//
// ## Reading {#tty-read}
//
// In canonical mode at most one line. An end-of-file mark counts as the end
// of a line; alone, it makes a read of 0 bytes, which is how programs
// recognize it.

s64 tty_take(vaddr to, u64 size)
{
    u64 done = 0;
    u16 c;
    u8 byte;

    while (done < size && tty.read < tty.ready) {
        c = tty.byte[tty.read % TTY_SIZE];
        byte = (u8)c;
        if (c != TTY_END && sys_copy_out(to + done, &byte, 1))
            return done ? (s64)done : -EFAULT;
        tty.read++;
        if (c == TTY_END)
            break;
        done++;
        if (c == '\n' && tty_has(ICANON))
            break;
    }
    if (tty.more)
        tty.more();
    return (s64)done;
}

// How much is wanted at least is one byte, or in canonical mode one line.
// In raw mode a program may ask for more (`VMIN`), and say how long it will
// wait for each but the first (`VTIME`, in tenths of a second). Or it would
// rather have nothing than wait, or than wait longer than that time (`VMIN`
// 0). So two numbers mean four different things, and here is where they do.

u64 tty_least(void)
{
    u8 least = tty.termios.key[VMIN];

    return tty_has(ICANON) || !least ? 1 : least;
}

u64 tty_patience(void)
{
    return time_now() + tty.termios.key[VTIME] * 100000000UL;
}

// Reads until that much is there. If a signal comes, or the time is over,
// what has come so far is what there is.

s64 tty_read(struct file *file, vaddr to, u64 size, u64 *offset)
{
    u64 until = tty_has(ICANON) || tty.termios.key[VMIN] ? 0 : tty_patience(), done = 0;
    s64 part;

    (void)offset;
    while (done < size) {
        if (tty.read == tty.ready) {
            if (until && time_now() >= until)
                break;
            part = file->flags & O_NONBLOCK ? -EAGAIN : sched_sleep(&tty.readers, until);
            if (part == -EAGAIN || part == -EINTR)
                return done ? (s64)done : part;
            continue;
        }
        part = tty_take(to + done, size - done);
        if (part < 0)
            return done ? (s64)done : part;
        done += (u64)part;
        if (tty_has(ICANON) || done >= tty_least())
            break;
        until = tty.termios.key[VTIME] ? tty_patience() : 0;
    }
    return (s64)done;
}

// Who would rather not wait can ask. There is always room to write. (A time
// limit between bytes begins with the first one; so with one, the first is
// enough.)

u32 tty_poll(struct file *file, struct wait_queue **queue)
{
    u64 least = tty.termios.key[VTIME] ? 1 : tty_least();

    (void)file;
    *queue = &tty.readers;
    return POLL_WRITABLE | (tty.ready - tty.read >= least ? POLL_READABLE : 0);
}

// How many bytes are there for who reads now?

s64 tty_count(vaddr to)
{
    u32 count = 0;
    u64 at;

    for (at = tty.read; at < tty.ready; at++)
        count += tty.byte[at % TTY_SIZE] != TTY_END;
    return sys_copy_out(to, &count, sizeof count);
}

// Requests to the terminal itself, with Linux's numbers. If the serial line
// is fed from a file there is no terminal, and the answer says so: programs
// then do not prompt, and do not edit.

s64 tty_set(vaddr from, bool flush)
{
    struct termios new;

    if (sys_copy_in(&new, from, sizeof new))
        return -EFAULT;
    if (flush)
        tty.read = tty.ready = tty.end;
    tty.termios = new;
    if (!tty_has(ICANON))
        tty_deliver();
    return 0;
}

// `tty_control()` is what `ioctl` comes to. Who owns the terminal, and to
// whom its signals go, is asked and said by requests for which there is no
// answer before [Chapter 14](#proc-groups).

s64 tty_control(struct file *file, u64 request, vaddr argument)
{
    (void)file;
    if (boot.pipe)
        return -ENOTTY;
    switch (request) {
    case TCGETS: return sys_copy_out(argument, &tty.termios, sizeof tty.termios);
    case TCSETS:
    case TCSETSW: return tty_set(argument, false);
    case TCSETSF: return tty_set(argument, true);
    case TIOCGWINSZ: return sys_copy_out(argument, &tty.window, sizeof tty.window);
    case TIOCSWINSZ: return sys_copy_in(&tty.window, argument, sizeof tty.window);
    case FIONREAD: return tty_count(argument);
    default: return tty.own(request, argument);
    }
}

// The system call looks for the object and leaves the rest to it, but for
// one request that is about the description: not to wait.

s64 file_set_waiting(struct file *file, vaddr from)
{
    u32 no;

    if (sys_copy_in(&no, from, sizeof no))
        return -EFAULT;
    file->flags = (file->flags & ~(u32)O_NONBLOCK) | (no ? O_NONBLOCK : 0);
    return 0;
}

s64 sys_ioctl(struct trap_frame *f)
{
    struct handle *h = sys_handle((u32)f->rdi, 0);
    struct file *file = h ? file_of(h->object) : NULL;

    if (!h)
        return -EBADF;
    if (file && (u32)f->rsi == FIONBIO)
        return file_set_waiting(file, f->rdx);
    if (!file || !file->object.type->file->control)
        return -ENOTTY;
    return file->object.type->file->control(file, (u32)f->rsi, f->rdx);
}

const struct file_operations tty_operations = {
    .read = tty_read, .write = console_write, .control = tty_control, .poll = tty_poll};

// ## The serial line, listening {#con-serial}
//
// The chip interrupts when a byte has come (bit 0 of port 1 allows it). It
// has room for sixteen, so the handler takes all there are. What comes from
// a file comes faster than anybody reads. It waits in the chip until
// somebody has made room; whoever is at the other end (QEMU) then waits,
// too. From a person we take everything, for it could be a ^C, and lose
// what has no room.

#define IRQ_KEYBOARD 1
#define IRQ_SERIAL 4

bool serial_may_receive(void)
{
    return !boot.pipe || tty.end - tty.read < TTY_SIZE - 1;
}

void serial_receive(void)
{
    while (serial_may_receive() && cpu_inb(COM1 + 5) & 1)
        tty_input(cpu_inb(COM1));
}

void serial_interrupt(struct trap_frame *f)
{
    (void)f;
    pic_done(IRQ_SERIAL);
    serial_receive();
}

bool serial_listen(void)
{
    cpu_outb(COM1 + 7, 0x5a);
    if (cpu_inb(COM1 + 7) != 0x5a)
        return false;
    if (boot.pipe)
        tty.more = serial_receive;
    cpu.handler[PIC_VECTOR + IRQ_SERIAL] = serial_interrupt;
    cpu_outb(COM1 + 1, 1);
    pic_unmask(IRQ_SERIAL);
    return true;
}

// ## The keyboard {#con-keyboard}
//
// A PC's keyboard sends a code when a key goes down and another, with the
// highest bit set, when it comes up. The codes number the keys of a
// keyboard from 1981. Keys that came later have the prefix 0xe0; of those
// we know the ones that move the cursor, and translate them into the
// sequences that terminals send.

#define KEYBOARD_DATA 0x60
#define KEYBOARD_STATUS 0x64

const char keyboard_plain[] =
    "\0\0331234567890-=\177\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
const char keyboard_shift[] =
    "\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

struct keyboard_state {
    bool shift, control, capitals, extended;
};

struct keyboard_state keyboard;

struct keyboard_sequence {
    u8 code;
    const char *text;
};

const struct keyboard_sequence keyboard_sequences[] = {
    {0x48, "\033[A"}, {0x50, "\033[B"}, {0x4d, "\033[C"}, {0x4b, "\033[D"},
    {0x47, "\033[H"}, {0x4f, "\033[F"}, {0x53, "\033[3~"}, {0x49, "\033[5~"},
    {0x51, "\033[6~"}};

void keyboard_extended(u8 code)
{
    const char *p;
    u64 i;

    for (i = 0; i < array_count(keyboard_sequences); i++)
        if (keyboard_sequences[i].code == code)
            for (p = keyboard_sequences[i].text; *p; p++)
                tty_input((u8)*p);
    if (code == 0x1c)
        tty_input('\n');
    if (code == 0x35)
        tty_input('/');
}

// Shift and control are remembered. Control with a letter makes the codes 1
// to 26, a habit of teletypes.

bool keyboard_modifier(u8 code, bool down)
{
    if (code == 0x2a || code == 0x36)
        keyboard.shift = down;
    else if (code == 0x1d)
        keyboard.control = down;
    else if (code == 0x3a)
        keyboard.capitals ^= down;
    else
        return false;
    return true;
}

// A code arrives: a modifier, an extended key, or a letter from one of the
// two tables.

void keyboard_key(u8 code)
{
    bool down = !(code & 0x80), extended = keyboard.extended, letter;
    char c;

    keyboard.extended = code == 0xe0;
    code &= 0x7f;
    if (keyboard.extended || keyboard_modifier(code, down) || !down)
        return;
    if (extended) {
        keyboard_extended(code);
        return;
    }
    if (code >= sizeof keyboard_plain)
        return;
    letter = keyboard_plain[code] >= 'a' && keyboard_plain[code] <= 'z';
    c = keyboard.shift != (keyboard.capitals && letter) ? keyboard_shift[code]
                                                        : keyboard_plain[code];
    if (c)
        tty_input(keyboard.control ? (u8)c & 0x1f : (u8)c);
}

// The chip that the keyboard is connected to has a second port, for a
// mouse, and one place for the next byte of either; bit 5 of the status
// tells whose it is. A movement of the mouse is no key.

#define KEYBOARD_FULL 0x01
#define KEYBOARD_MOUSE 0x20
#define KEYBOARD_NONE 0xff               /* nothing is there that could answer */

void keyboard_receive(void)
{
    u8 status, byte;

    while ((status = cpu_inb(KEYBOARD_STATUS)) & KEYBOARD_FULL && status != KEYBOARD_NONE) {
        byte = cpu_inb(KEYBOARD_DATA);
        if (!(status & KEYBOARD_MOUSE))
            keyboard_key(byte);
    }
}

void keyboard_interrupt(struct trap_frame *f)
{
    (void)f;
    pic_done(IRQ_KEYBOARD);
    keyboard_receive();
}

// The firmware may have used both ports. We switch both off (0xad, 0xa7),
// throw away what they have left, and say in the chip's configuration what
// we want: the keyboard's interrupt and the translation to these codes
// (bits 0 and 6), not the mouse's interrupt (1), a clock for the keyboard
// and none for the mouse (4 and 5, where a 1 stops it). Then the keyboard's
// port is switched on again. A machine without such a chip reads as all
// ones.

bool keyboard_wait(u8 bit, u8 value)
{
    u32 patience = 100000;

    while ((cpu_inb(KEYBOARD_STATUS) & bit) != value && --patience)
        cpu_pause();
    return patience;
}

void keyboard_command(u8 command)
{
    keyboard_wait(2, 0);
    cpu_outb(KEYBOARD_STATUS, command);
}

bool keyboard_init(void)
{
    u32 patience = 1000;
    u8 configuration;

    if (cpu_inb(KEYBOARD_STATUS) == KEYBOARD_NONE || !keyboard_wait(2, 0))
        return false;
    keyboard_command(0xad);
    keyboard_command(0xa7);
    while (cpu_inb(KEYBOARD_STATUS) & KEYBOARD_FULL && --patience)
        cpu_inb(KEYBOARD_DATA);
    keyboard_command(0x20);
    if (!keyboard_wait(KEYBOARD_FULL, KEYBOARD_FULL))
        return false;
    configuration = cpu_inb(KEYBOARD_DATA);
    keyboard_command(0x60);
    keyboard_wait(2, 0);
    cpu_outb(KEYBOARD_DATA, (u8)((configuration & ~0x32) | 0x61));
    keyboard_command(0xae);
    cpu.handler[PIC_VECTOR + IRQ_KEYBOARD] = keyboard_interrupt;
    pic_unmask(IRQ_KEYBOARD);
    return true;
}

// ## The screen {#con-screen}
//
// The font is one of those that Linux shows on its console, Terminus by
// Dimitar Zhekov: after a header of four bytes, sixteen bytes for each
// character, a bit for each pixel. It is linked in like a program.

#define GLYPH_WIDTH 8
#define GLYPH_HEIGHT 16
#define SCREEN_CELLS_MAX (240 * 80)
#define FRAMEBUFFER 0xffffffffd0000000UL
#define FRAMEBUFFER_MAX (256 * MIB)
#define MSR_PAT 0x277
#define COLOUR_PLAIN 7

extern const u8 _binary_font_psf_start[];

struct cell {
    char letter;
    u8 colour;                   /* low half the letter's, high half the ground's */
};

struct screen_state {
    u32 columns, rows;
    u32 x, y, saved_x, saved_y;  /* the cursor */
    u32 top, bottom;             /* the rows that scroll: top <= row < bottom */
    u8 colour;
    bool reverse, hidden, dirty;
    char state;                  /* of an escape sequence: 0, or ESC, or [ or ] behind it */
    char special;                /* in it, as the ? in ESC [ ? 25 l */
    u32 parameter[8], parameters;
    u32 shown_x, shown_y;        /* where the cursor is drawn */
    u32 palette[16];
    u32 *pixels;                 /* the framebuffer */
    struct cell cell[SCREEN_CELLS_MAX];  /* what should be there */
    struct cell shown[SCREEN_CELLS_MAX]; /* what is there */
};

struct screen_state screen;

struct cell *screen_cell(u32 x, u32 y)
{
    return &screen.cell[y * screen.columns + x];
}

// A pixel's layout is given by three masks. A colour's part goes to where
// its mask begins, shortened to as many bits as that has.

u32 screen_part(u32 value, u32 mask)
{
    u64 low = mask ? cpu_bsf(mask) : 0, width = mask ? cpu_bsr(mask) + 1 - low : 0;

    return width >= 8 ? (value << (width - 8) << low) & mask : value >> (8 - width) << low;
}

// The sixteen colours of the PC's old text screen, except that its blue, in
// which `ls` prints directories, can hardly be read on black.

void screen_init_palette(void)
{
    static const u32 colours[16] = {
        0x000000, 0xaa0000, 0x00aa00, 0xaa5500, 0x4c5edd, 0xaa00aa, 0x00aaaa, 0xaaaaaa,
        0x555555, 0xff5555, 0x55ff55, 0xffff55, 0x5555ff, 0xff55ff, 0x55ffff, 0xffffff};
    const struct boot_framebuffer *b = &boot.info->screen;
    int i;

    for (i = 0; i < 16; i++)
        screen.palette[i] = screen_part(colours[i] >> 16, b->red) |
                            screen_part(colours[i] >> 8 & 255, b->green) |
                            screen_part(colours[i] & 255, b->blue);
}

// ## Drawing {#con-draw}
//
// A letter is sixteen rows of eight pixels. The cursor is the same with the
// colours exchanged.

void screen_draw(u32 x, u32 y, struct cell c, bool inverse)
{
    const u8 *glyph = _binary_font_psf_start + 4 + (u8)c.letter * GLYPH_HEIGHT;
    u32 *pixel = screen.pixels + (u64)y * GLYPH_HEIGHT * boot.info->screen.stride +
                 x * GLYPH_WIDTH;
    u32 front = screen.palette[c.colour & 15], back = screen.palette[c.colour >> 4];
    int row, bit;

    for (row = 0; row < GLYPH_HEIGHT; row++, pixel += boot.info->screen.stride)
        for (bit = 0; bit < GLYPH_WIDTH; bit++)
            pixel[bit] = (glyph[row] >> (7 - bit) & 1) != inverse ? front : back;
}

void screen_flush(void)
{
    u32 x, y, i = 0;

    if (!screen.dirty)
        return;
    screen.dirty = false;
    screen.shown[screen.shown_y * screen.columns + screen.shown_x].colour ^= 0xff;
    for (y = 0; y < screen.rows; y++) {
        for (x = 0; x < screen.columns; x++, i++) {
            if (screen.cell[i].letter == screen.shown[i].letter &&
                screen.cell[i].colour == screen.shown[i].colour)
                continue;
            screen.shown[i] = screen.cell[i];
            screen_draw(x, y, screen.cell[i], false);
        }
    }
    screen.shown_x = screen.x < screen.columns ? screen.x : screen.columns - 1;
    screen.shown_y = screen.y;
    if (!screen.hidden)
        screen_draw(screen.shown_x, screen.shown_y, *screen_cell(screen.shown_x, screen.shown_y),
                    true);
}

// ## Text {#con-text}
//
// Everything below changes cells and nothing else. Clearing fills with
// blanks of the present ground colour; scrolling moves rows within the
// region that scrolls.

void screen_clear(u32 from, u32 to)
{
    for (; from < to; from++)
        screen.cell[from] = (struct cell){' ', screen.colour & 0xf0 ? screen.colour : COLOUR_PLAIN};
}

void screen_scroll(u32 top, u32 bottom, int rows)
{
    u32 width = screen.columns, count = (u32)(rows < 0 ? -rows : rows), keep;

    if (count > bottom - top)
        count = bottom - top;
    keep = (bottom - top - count) * width;
    if (rows > 0) {
        memmove(screen_cell(0, top), screen_cell(0, top + count), keep * sizeof(struct cell));
        screen_clear((bottom - count) * width, bottom * width);
    } else {
        memmove(screen_cell(0, top + count), screen_cell(0, top), keep * sizeof(struct cell));
        screen_clear(top * width, (top + count) * width);
    }
}

void screen_new_line(void)
{
    if (screen.y + 1 == screen.bottom)
        screen_scroll(screen.top, screen.bottom, 1);
    else if (screen.y + 1 < screen.rows)
        screen.y++;
}

void screen_letter(char c)
{
    if (screen.x >= screen.columns) {
        screen.x = 0;
        screen_new_line();
    }
    *screen_cell(screen.x, screen.y) = (struct cell){c, screen.colour};
    screen.x++;
}

// ## Escape sequences {#con-escape}
//
// A terminal is controlled by sequences that begin with the character ESC,
// and since 1976 by those of the standard ECMA-48: `ESC [`, numbers, a
// letter. We know those that shells, `ls` and editors send, and the others
// at least do not appear on the screen.

u32 screen_parameter(u32 n, u32 otherwise)
{
    return n < screen.parameters && screen.parameter[n] ? screen.parameter[n] : otherwise;
}

void screen_move(u32 x, u32 y)
{
    screen.x = x < screen.columns ? x : screen.columns - 1;
    screen.y = y < screen.rows ? y : screen.rows - 1;
}

// Colours: 30 to 37 for the letter, 40 to 47 for the ground, 60 more for
// bright ones, 1 bold, which we show as bright, 7 reversed, 0 back to
// normal.

void screen_colour(u32 n)
{
    u8 front = screen.colour & 15, back = screen.colour >> 4;

    if (n == 0)
        front = COLOUR_PLAIN, back = 0;
    else if (n == 1)
        front |= 8;
    else if (n == 22)
        front &= 7;
    else if ((n == 7 && !screen.reverse) || (n == 27 && screen.reverse))
        front = screen.colour >> 4, back = screen.colour & 15;
    else if (n >= 30 && n <= 37)
        front = (u8)((front & 8) | (n - 30));
    else if (n == 39)
        front = COLOUR_PLAIN;
    else if (n >= 40 && n <= 47)
        back = (u8)(n - 40);
    else if (n == 49)
        back = 0;
    else if (n >= 90 && n <= 97)
        front = (u8)(n - 90 + 8);
    if (n == 0 || n == 7 || n == 27)
        screen.reverse = n == 7;
    screen.colour = (u8)(back << 4 | front);
}

// Erasing: from the cursor to the end (0), from the beginning to the cursor
// (1), all (2); of the screen (J) or of the line (K).

void screen_erase(u32 first, u32 end, u32 how)
{
    u32 here = screen.y * screen.columns + (screen.x < screen.columns ? screen.x
                                                                      : screen.columns - 1);

    screen_clear(how == 0 ? here : first, how == 1 ? here + 1 : end);
}

// Inserting and deleting letters moves the rest of the line.

void screen_shift_line(int by)
{
    u32 end = (screen.y + 1) * screen.columns, width = screen.columns - screen.x;
    u32 count = (u32)(by < 0 ? -by : by);
    struct cell *here = screen_cell(screen.x, screen.y);

    if (screen.x >= screen.columns)
        return;
    if (count > width)
        count = width;
    if (by > 0) {
        memmove(here + count, here, (width - count) * sizeof *here);
        screen_clear(end - width, end - width + count);
    } else {
        memmove(here, here + count, (width - count) * sizeof *here);
        screen_clear(end - count, end);
    }
}

void screen_set_region(void)
{
    u32 top = screen_parameter(0, 1) - 1, bottom = screen_parameter(1, screen.rows);

    if (top < bottom && bottom <= screen.rows)
        screen.top = top, screen.bottom = bottom;
    screen_move(0, 0);
}

void screen_mode(bool on)
{
    if (screen.special && screen_parameter(0, 0) == 25)
        screen.hidden = !on;
    if (screen.special && screen_parameter(0, 0) == 1049)
        screen_clear(0, screen.rows * screen.columns);
}

// The answer to "where is the cursor?" arrives as if typed.

void screen_report(void)
{
    char text[32];
    int i, length = snprintf(text, sizeof text, "\033[%u;%uR", screen.y + 1, screen.x + 1);

    for (i = 0; i < length; i++)
        tty_input((u8)text[i]);
}

// Moving the cursor: up, down, right, left, to a column, to a row, to a
// place.

void screen_motion(char c, u32 n)
{
    switch (c) {
    case 'A': screen_move(screen.x, screen.y > n ? screen.y - n : 0); break;
    case 'B': screen_move(screen.x, screen.y + n); break;
    case 'C': screen_move(screen.x + n, screen.y); break;
    case 'D': screen_move(screen.x > n ? screen.x - n : 0, screen.y); break;
    case 'G': screen_move(n - 1, screen.y); break;
    case 'd': screen_move(screen.x, n - 1); break;
    case 'H':
    case 'f': screen_move(screen_parameter(1, 1) - 1, n - 1); break;
    case 's':
    case '7': screen.saved_x = screen.x, screen.saved_y = screen.y; break;
    case 'u':
    case '8': screen_move(screen.saved_x, screen.saved_y); break;
    }
}

// All others, by their final letter.

void screen_command(char c)
{
    u32 n = screen_parameter(0, 1), how = screen_parameter(0, 0), i;
    u32 line = screen.y * screen.columns;

    n = n < 1000 ? n : 1000;
    switch (c) {
    case 'J': screen_erase(0, screen.rows * screen.columns, how); break;
    case 'K': screen_erase(line, line + screen.columns, how); break;
    case 'L': screen_scroll(screen.y, screen.bottom > screen.y ? screen.bottom : screen.rows,
                            -(int)n); break;
    case 'M': screen_scroll(screen.y, screen.bottom > screen.y ? screen.bottom : screen.rows,
                            (int)n); break;
    case 'S': screen_scroll(screen.top, screen.bottom, (int)n); break;
    case 'T': screen_scroll(screen.top, screen.bottom, -(int)n); break;
    case '@': screen_shift_line((int)n); break;
    case 'P': screen_shift_line(-(int)n); break;
    case 'r': screen_set_region(); break;
    case 'h':
    case 'l': screen_mode(c == 'h'); break;
    case 'n': screen_report(); break;
    case 'm':
        for (i = 0; i < screen.parameters || i == 0; i++)
            screen_colour(screen_parameter(i, 0));
        break;
    default: screen_motion(c, n);
    }
}

// Behind ESC alone there is but a letter or digit: to save the cursor (7)
// and go back there (8), or up (M), where the first line scrolls.

void screen_short_command(char c)
{
    if (c == '7' || c == '8')
        screen_motion(c, 0);
    else if (c == 'M' && screen.y == screen.top)
        screen_scroll(screen.top, screen.bottom, -1);
    else if (c == 'M')
        screen_motion('A', 1);
}

void screen_digit(u32 digit)
{
    u32 *n;

    if (!screen.parameters)
        screen.parameters = 1;
    n = &screen.parameter[screen.parameters - 1];
    if (*n < 100000)
        *n = *n * 10 + digit;
}

void screen_begin(void)
{
    screen.state = '\033';
    screen.special = 0;
    screen.parameters = 0;
    memset(screen.parameter, 0, sizeof screen.parameter);
}

// The sequences are taken apart one byte at a time. What is neither digit
// nor semicolon, and no final letter, makes a sequence special: most of
// those are not for us. Behind `ESC ]` is a title for a window.

void screen_escape(char c)
{
    char state = screen.state;

    if (state == ']')
        return;
    if (state == '\033' && (c == '[' || c == ']')) {
        screen.state = c;
    } else if (state == '[' && c >= '0' && c <= '9') {
        screen_digit((u32)(c - '0'));
    } else if (state == '[' && c == ';') {
        screen.parameters += screen.parameters ? 1 : 2;
        if (screen.parameters > array_count(screen.parameter))
            screen.parameters = array_count(screen.parameter);
    } else if (c < (state == '[' ? '@' : '0')) {
        screen.special = c;
    } else {
        screen.state = 0;
        if (state == '[' && (!screen.special || screen.special == '?'))
            screen_command(c);
        else if (!screen.special)
            screen_short_command(c);
    }
}

// And whole characters, of which some control the cursor, even in the
// middle of a sequence; a title ends with the first. In a panic nobody will
// come by later to draw, so it is done at once.

void screen_put(char c)
{
    screen.dirty = true;
    if (c == '\033')
        screen_begin();
    else if (screen.state && (u8)c >= ' ')
        screen_escape(c);
    else if (screen.state == ']')
        screen.state = 0;
    else if (c == '\n')
        screen.x = 0, screen_new_line();
    else if (c == '\r')
        screen.x = 0;
    else if (c == '\b')
        screen.x -= screen.x > 0;
    else if (c == '\t')
        screen_move((screen.x | 7) + 1, screen.y);
    else if ((u8)c >= ' ')
        screen_letter(c);
    if (boot.panics)
        screen_flush();
}

struct console screen_console = {"screen", screen_put, NULL};

// The framebuffer is mapped *write-combining*: the processor may collect
// writes to it and send them in bursts. Which entry of a table of memory
// types a page uses is said by three bits of its entry (SDM 3A, 11.12); we
// put "write-combining" in the place of one that nobody needs. (A
// framebuffer need not begin with a page. An entry of a page table must.)

bool screen_map(const struct boot_framebuffer *b)
{
    u64 offset, before = b->start % FRAME_SIZE;

    if (!b->start || b->size > FRAMEBUFFER_MAX ||
        (u64)b->stride * b->height * 4 > b->size || b->width < GLYPH_WIDTH)
        return false;
    cpu_wrmsr(MSR_PAT, (cpu_rdmsr(MSR_PAT) & ~0xff00UL) | 0x0100);
    for (offset = 0; offset < before + b->size; offset += FRAME_SIZE)
        *cpu_kernel_entry(FRAMEBUFFER + offset) = (b->start - before + offset) | PTE_PRESENT |
                                                  PTE_WRITE | PTE_NX | PTE_WRITE_THROUGH;
    screen.pixels = (u32 *)(FRAMEBUFFER + before);
    return true;
}

// The terminal takes the size of the screen, which begins with what the
// kernel has said so far.

bool screen_init(void)
{
    const struct boot_framebuffer *b = &boot.info->screen;
    u64 at;

    if (!screen_map(b))
        return false;
    screen.columns = b->width / GLYPH_WIDTH;
    screen.rows = b->height / GLYPH_HEIGHT;
    while (screen.columns * screen.rows > SCREEN_CELLS_MAX)
        screen.columns > 240 ? screen.columns-- : screen.rows--;
    screen.bottom = screen.rows;
    screen.colour = COLOUR_PLAIN;
    screen_init_palette();
    screen_clear(0, screen.columns * screen.rows);
    memset(screen.pixels, 0, (u64)b->stride * b->height * 4);
    tty.window = (struct window_size){(u16)screen.rows, (u16)screen.columns, 0, 0};
    boot_add_console(&screen_console);
    at = boot.log_end < BOOT_LOG_SIZE ? 0 : boot.log_end - BOOT_LOG_SIZE;
    for (; at < boot.log_end; at++)
        screen_put(boot.log[at % BOOT_LOG_SIZE]);
    return true;
}

// ## What the kernel has said {#con-log}
//
// The kernel's own messages are kept, and `dmesg` shows them.

s64 sys_syslog(struct trap_frame *f)
{
    u64 size = boot.log_end < BOOT_LOG_SIZE ? boot.log_end : BOOT_LOG_SIZE, i;
    char c;

    if (f->rdi == SYSLOG_SIZE)
        return BOOT_LOG_SIZE;
    if (f->rdi != SYSLOG_READ_ALL)
        return -EINVAL;
    if (size > f->rdx)
        size = f->rdx;
    for (i = 0; i < size; i++) {
        c = boot.log[(boot.log_end - size + i) % BOOT_LOG_SIZE];
        if (sys_copy_out(f->rsi + i, &c, 1))
            return -EFAULT;
    }
    return (s64)size;
}

// ## Setting up {#con-init}
//
// The timer draws what has changed on the screen. And on a machine without
// the chips that [collect interrupts](#sched-pic) it also asks the devices
// what they could not tell.

struct con_state {
    bool serial, keyboard;       /* who of them is there to be listened to */
};

struct con_state con;

int con_tick(void *nothing)
{
    (void)nothing;
    screen_flush();
    if (!pic.present && con.serial)
        serial_receive();
    if (!pic.present && con.keyboard)
        keyboard_receive();
    return 0;
}

struct hook con_ticking = {con_tick, NULL};

// The console object stays the same and gets other operations, so every
// program, without noticing, has a terminal. Most PCs of today have neither
// a serial line nor this keyboard, but one behind USB, for which the
// firmware of many, not of all, acts as if it were the old one.

const struct system_call con_calls[] = {
    {SYS_IOCTL, "ioctl fd request address", sys_ioctl},
    {SYS_SYSLOG, "syslog number address size", sys_syslog}};

void ch11_init(void)
{
    ch10_init();
    console_type.file = terminal_type.file = &tty_operations;
    sys_add_calls(con_calls, array_count(con_calls));
    con.serial = serial_listen();
    con.keyboard = keyboard_init();
    screen_init();
    hook_add_last(&sched.ticking, &con_ticking);
    if (!con.serial && !con.keyboard)
        printf("console: no serial line and no keyboard that we know: nobody can type\n");
}

// ## Echo {#con-show}
//
// A program that the terminal is for. Returns its status.

int con_show(const char *const *arguments)
{
    struct process *p;
    int error;

    p = vfs_spawn(arguments, &error);
    assert(p);
    tty.group = p->pid;
    return process_wait(p);
}

// The one that repeats what it hears.

int con_show_cat(void)
{
    static const char *const cat[] = {"/bin/cat", NULL};

    return con_show(cat);
}

// The chapter starts `cat`, which repeats what you type, line by line,
// until you press ^D.

void ch11_main(void)
{
    int status;

    ch11_init();
    boot_check_options();
    vfs_show("/bin/hello", NULL, "");
    printf("console: type something; Enter ends a line, ^D ends the chapter\n");
    status = con_show_cat();
    printf("console: cat ended with status %d, %lu bytes were typed\n", status, tty.end);
}

// ## Try it {#con-try}
//
// `make run CH=11` in a terminal, and type. Without a terminal there is
// nothing to read:
//
// ::: {.transcript file="tests/golden/ch11.txt"}
// :::
//
// `make run CH=11 GUI=1` opens a window with the screen. The keys you press
// there come from the emulated keyboard, and what you type into the
// terminal comes from the serial line; `cat` cannot tell the difference.
//
// In the debugger we can type as well, and see what a key sets in motion.
//
// ::: {.transcript file="book/gdb/ch11.txt"}
// :::
//
// ### Exercises {#con-exercises}
//
// ::: {#ex-con-layout .exercise level=1}
// Give the keyboard the layout of your country, or if that is the one it
// has, a neighbour's. *You can type every character of `rustica.c`.*
// :::
//
// ::: {#ex-con-cursor .exercise level=2}
// Let the cursor blink, four times a second, without drawing anything but
// its cell. *An idle second takes no more steps than drawing one cell eight
// times.*
// :::
//
// ::: {#ex-con-utf8 .exercise level=2}
// Decode UTF-8 in `screen_put()` and show what the font has; its table of
// Unicode values stands behind the glyphs. *`cat` of a text in your
// language looks right.*
// :::
//
// ::: {#ex-con-two .exercise level=3}
// Make two terminals, switched by Alt-F1 and Alt-F2, each with its own
// cells and its own line discipline. *A program in one does not notice keys
// for the other.*
// :::
//
// ### Further reading {#con-reading}
//
// Richard Stevens and Stephen Rago, *Advanced Programming in the UNIX
// Environment*, chapter 18, for terminals as programs see them;
// `drivers/tty/n_tty.c` is what does it in Linux. ECMA-48 has the control
// sequences, the SDM, Volume 3A, chapter 10, the interrupt controllers.
// *OSTEP*, chapter 36, for devices in general.
//
// ## What we have {#con-have}
//
// A terminal, twice: on a line and on a screen. There is a program at its
// other end, but only one, and only the one we have chosen.

// # Chapter 12. A tap on the shoulder {#ch-signal}
//===========================================================================
//
// A program is a monologue. It calls us, we answer, and as long as it does
// not call, nobody can tell it anything. Yet there are things that it has
// to be told at once: that its time is up, that somebody at the keyboard
// has had enough of it, that it has just divided by zero. Unix taps it on
// the shoulder. A *signal* is a small number, sent to a process by another
// one or by the kernel; the process takes note of it before its next step
// in ring 3, whatever it was doing.
//
// Most die of it, and that was the idea: the call by which one process
// sends a signal to another is named `kill` to this day. But a program may
// name a function that shall be called instead. Then a signal is for the
// program what an interrupt is for us. It comes between any two
// instructions, runs on the stack that is there, returns to where it came
// from, and what was interrupted does not notice. In [Chapter
// 1](#boot-traps) the processor did that with five words on a stack, and we
// with fifteen registers. Now we do it for the program, and one thing is
// different: the frame by which everything is put back has been in somebody
// else's hands.
//
// ## Theory of operation {#signal-theory}
//
//                                        .--> ignored: forgotten
//     sent --> pending --> let through --+--> default: the end
//                 ^  |                   '--> handler: called
//                 '--' as long as it is blocked
//
// To **send** is to set a bit, which says that the signal is *pending*, and
// to wake the process if it sleeps. Nothing else happens then. The process
// may be in the kernel, in the middle of something of ours; to call its
// handler from there, or to end it, would leave that half done.
//
// A signal is **taken** where nothing is half done: when the process is
// about to return to ring 3. Everybody comes by there, at the latest with
// the next interrupt of the timer. Who sleeps is woken for it, and his
// `sched_sleep()` returns `-EINTR`. So every sleep in the kernel may end
// without what it waited for; the system call gives back what it holds and
// says that it was interrupted, or is begun once more behind the handler.
//
// To **deliver** it to a handler is to change what the process returns to.
//
// A signal can be **blocked** for a while. That is the program's version of
// holding off interrupts, and it needs it for the same reasons. A handler
// may come between any two instructions: between looking at a variable and
// changing it, between looking whether there is something to do and going
// to sleep. The first is a *race* and the second the [bell
// unheard](#sched-theory), and both have come back, because there is again
// somebody who interrupts. For the second there is a call that lets signals
// through and sleeps in one step, as `sti` and `hlt` are one step.
//
// The invariants, walked by `signal_audit()`: *what is pending and not
// blocked has the process's attention; each note is about a signal that is
// pending; two signals are never blocked.* And, which no audit can see:
// *whatever a program says of its own state, it comes back in ring 3, with
// our segments, and with interrupts on.*
//
// **Shortcomings.** A program cannot be stopped and continued. There is one
// user, so everybody may send signals to everybody.
//
// ## State {#signal-state}
//
// For each signal a process has an *action*: the default one, none, or a
// handler. A signal that was sent and not yet looked at is *pending*; one
// that is *blocked* stays so until it is not. Both are sets, one bit for
// each signal, so sending twice is the same as sending once; for most of
// them, at least. What is sent to a process, any of its threads may take;
// what is sent to one of them, only that one.
//
// Processes form *groups*, known by a number, that of a process which was
// its first. A shell makes a group of each pipeline, and the terminal sends
// ^C to one group: so it ends all parts of the pipeline, and not the shell.
// (Who has ended still belongs to its group, until its parent has asked.
// Who may found groups and join them, a [later section](#proc-groups)
// says.)
//
// Numbers and flags are [Linux's](#h-processes). Most signals are there
// because their default is to do nothing, and somebody has to know that.

#define SIGNALS 65

// What a process wants to be done about a signal is an action: a handler,
// flags, and the signals to block meanwhile.
//
// A number says little. Who wants more is also told why it came: a fault
// with its address, a child with its status, another process with its
// number. That is a `struct signal_info`; its codes are positive if the
// kernel has a reason, 0 or below if a process has. Such a *note* lies
// with the receiver until the signal is taken. There is one for each
// pending signal, and here the signals from 32 on, which POSIX added "for
// real time", differ from the old ones: they queue, each with its note.
// Notes take memory that the receiver has not asked for, so there is a
// limit; and when there is none to be had, the signal comes without its
// reason.

#define NOTES_MAX 64

struct signal_note {
    struct signal_info info;
    struct signal_note *next;
};

// A program can also name a stack for its handlers, in Linux's layout. It
// is the only way to survive the end of the usual one.

struct signal_state {
    struct signal_action action[SIGNALS];
    struct signal_queue sent;    /* to the process */
    struct timer alarm;          /* when SIGALRM is due, */
    u64 alarm_interval;          /* and then again, if not 0 */
    struct process *process;     /* whose state this is */
};

u64 signal_bit(int signal)
{
    return 1UL << (signal - 1);
}

// Those that are ignored unless somebody wants them, and whether a signal
// would do anything. Process 1 is spared whatever it has not asked for.
// (Signals that should stop a process are ignored, as we cannot stop any.)

bool signal_ignored_by_default(int signal)
{
    return signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH ||
           (signal >= SIGCONT && signal <= SIGTTOU);
}

bool signal_matters(const struct process *p, int signal)
{
    vaddr handler = p->signals->action[signal].handler;

    if (signal == SIGKILL)
        return p->pid != 1;
    if (handler == SIG_IGN)
        return false;
    return handler != SIG_DFL || (p->pid != 1 && !signal_ignored_by_default(signal));
}

// What a thread has to expect, blocked or not.

u64 signal_pending(const struct thread *t)
{
    return t->process->signals->sent.pending | t->sent.pending;
}

// After each change of these sets, or of a thread's mark: whose attention
// is wanted?

void signal_update(struct process *p)
{
    struct thread *t;

    for (t = p->threads; t; t = t->sibling)
        t->context.attention = t->ending || signal_pending(t) & ~t->blocked;
}

// What is blocked, each thread of a process has decided for itself.

bool signal_keeps(const struct thread *t, u64 bit)
{
    return (t->blocked | t->waited) & bit;
}

bool signal_is_kept(const struct process *p, u64 bit)
{
    const struct thread *t;

    for (t = p->threads; t; t = t->sibling)
        if (signal_keeps(t, bit))
            return true;
    return false;
}

// ## Sending {#signal-send}
//
// To note a reason, and to forget some signals with all their notes.

void signal_keep_note(struct signal_queue *q, const struct signal_info *info)
{
    bool queues = info->signal >= SIGRTMIN;
    struct signal_note **place = &q->notes, *n;

    if (q->pending & signal_bit(info->signal) && !queues)
        return;
    n = q->count < NOTES_MAX ? heap_alloc(&heap, sizeof *n) : NULL;
    if (!n)
        return;
    while (*place)
        place = &(*place)->next;
    *n = (struct signal_note){.info = *info};
    *place = n;
    q->count++;
}

// Forgets some signals that were sent to one queue; and to all that a
// process and its threads have.

void signal_forget(struct signal_queue *q, u64 which)
{
    struct signal_note **place = &q->notes, *n;

    q->pending &= ~which;
    while ((n = *place)) {
        if (!(which & signal_bit(n->info.signal))) {
            place = &n->next;
            continue;
        }
        *place = n->next;
        q->count--;
        heap_free(&heap, n);
    }
}

void signal_forget_everywhere(struct process *p, u64 which)
{
    struct thread *t;

    signal_forget(&p->signals->sent, which);
    for (t = p->threads; t; t = t->sibling)
        signal_forget(&t->sent, which);
}

// Sends a signal to a process. Of its threads, the first that can take it
// is woken, if it sleeps, and told why. A signal that is blocked is noted
// even if it would do nothing: a handler may be installed before it is let
// through.

void signal_send_info(struct process *p, const struct signal_info *info)
{
    struct signal_state *s = p->signals;
    u64 bit = signal_bit(info->signal);
    struct thread *t = p->threads;

    if (!t || !s || (!signal_matters(p, info->signal) && !signal_is_kept(p, bit)))
        return;
    signal_keep_note(&s->sent, info);
    s->sent.pending |= bit;
    signal_update(p);
    while (t && t->blocked & ~t->waited & bit)
        t = t->sibling;
    if (t)
        sched_wake_thread(t, -EINTR);
}

// ::: {#walk-pending .walk}
//     from signal_send_info if info->signal == 10 || info->signal == 40
//     times 6
//     into signal_keep_note
//     draw bits signal_send_info::s->sent.pending
//     draw bits signal_send_info::p->threads->blocked
//     draw list signal_send_info::s->sent.notes next info.signal
//
// `signals` sends itself SIGUSR1, which it has blocked, three times, and
// then signal 40. A bit can be set only once; notes can stand in a queue.
// :::
//
// And to one thread, if it has not ended.

void signal_send_thread(struct thread *t, const struct signal_info *info)
{
    u64 bit = signal_bit(info->signal);

    if (!signal_matters(t->process, info->signal) && !signal_keeps(t, bit))
        return;
    signal_keep_note(&t->sent, info);
    t->sent.pending |= bit;
    signal_update(t->process);
    if (!(t->blocked & ~t->waited & bit))
        sched_wake_thread(t, -EINTR);
}

// The kernel's own have no other reason than that.

void signal_send(struct process *p, int signal)
{
    struct signal_info info = {.signal = signal, .code = SI_KERNEL};

    signal_send_info(p, &info);
}

// To all of a group; signal 0 to nobody. Returns how many there are.

u32 signal_send_group(u32 group, const struct signal_info *info)
{
    struct process *p, *next;
    u32 count = 0;

    for (p = process_first(); p; p = next) {
        next = process_next(p);
        if (p->group == group) {
            count++;
            if (info->signal)
                signal_send_info(p, info);
        }
    }
    return count;
}

// What the terminal has to say.

void signal_from_tty(u32 group, int signal)
{
    struct signal_info info = {.signal = signal, .code = SI_KERNEL};

    signal_send_group(group, &info);
}

// ## Taking {#signal-take}
//
// The oldest note of a signal is taken; if there is another one, the signal
// stays pending.

void signal_take_note(struct signal_queue *q, int signal, struct signal_info *info)
{
    struct signal_note **place = &q->notes, *n, *more;

    *info = (struct signal_info){.signal = signal};
    q->pending &= ~signal_bit(signal);
    while (*place && (*place)->info.signal != signal)
        place = &(*place)->next;
    n = *place;
    if (!n)
        return;
    *info = n->info;
    *place = n->next;
    for (more = n->next; more; more = more->next)
        if (more->info.signal == signal)
            q->pending |= signal_bit(signal);
    q->count--;
    heap_free(&heap, n);
}

// What was sent to the thread alone is taken before what was sent to all.

void signal_take_one(struct thread *t, int signal, struct signal_info *info)
{
    bool own = t->sent.pending & signal_bit(signal);

    signal_take_note(own ? &t->sent : &t->process->signals->sent, signal, info);
}

// The signal whose turn it is, of some; 0 if there is none that does
// anything. Those that do nothing are forgotten on the way. The lowest
// number comes first, but before all others the one that ends everything,
// and those that tell of a fault: their handler wants to see the program as
// it was then.

#define SIGNALS_OF_FAULTS (1UL << (SIGILL - 1) | 1UL << (SIGTRAP - 1) | 1UL << (SIGBUS - 1) | \
                           1UL << (SIGFPE - 1) | 1UL << (SIGSEGV - 1) | 1UL << (SIGSYS - 1))

int signal_take(struct thread *t, u64 of, struct signal_info *info)
{
    u64 ready;
    int signal;

    while ((ready = signal_pending(t) & of)) {
        if (ready & signal_bit(SIGKILL))
            ready = signal_bit(SIGKILL);
        else if (ready & SIGNALS_OF_FAULTS)
            ready &= SIGNALS_OF_FAULTS;
        signal = (int)cpu_bsf(ready) + 1;
        signal_take_one(t, signal, info);
        if (signal_matters(t->process, signal))
            return signal;
    }
    return 0;
}

// ## Calling a handler {#signal-deliver}
//
// To make a program run a function it did not call, we change what it
// returns to. Its state is put on its own stack, below the 128 bytes that
// the ABI lets functions use there unasked; RIP becomes the handler's
// address; and the return address that the handler finds leads to a few
// instructions of the program which make the system call `rt_sigreturn`.
// That puts everything back.
//
// ::: {#fig-signal .figure file="book/figures/signal.svg"}
//     | what the program had there             |  high
//     | 128 bytes that it may be using         |
//     | vector registers                       |
//     | siginfo: the reason                    |
//     | context: the interrupted state         |
//     | return address: the program's restorer |  <- rsp in the handler
//
// The program's stack when a handler begins that nobody has called.
// :::
//
// A handler gets pointers to the reason and to the context. Some programs
// look into that, to see which instruction was at fault, and some change
// it, to go on behind that instruction. So the layout is part of the
// convention, Linux's `ucontext_t`: its registers come in an order of their
// own, which is that of a 32-bit processor with eight more in front.

struct signal_frame {
    vaddr restorer;
    struct signal_context context;
    union signal_room reason;
};

#define CONTEXT_FLAGS 6          /* that `ss` is there, and is meant */
#define VECTORS_OF_FAULTS 32

// Into that order, and below the other way.

void signal_save(struct signal_context *c, const struct trap_frame *f)
{
    c->r8 = f->r8, c->r9 = f->r9, c->r10 = f->r10, c->r11 = f->r11;
    c->r12 = f->r12, c->r13 = f->r13, c->r14 = f->r14, c->r15 = f->r15;
    c->rdi = f->rdi, c->rsi = f->rsi, c->rbp = f->rbp, c->rbx = f->rbx;
    c->rdx = f->rdx, c->rax = f->rax, c->rcx = f->rcx, c->rsp = f->rsp;
    c->rip = f->rip, c->rflags = f->rflags;
    c->cs = (u16)f->cs, c->ss = (u16)f->ss;
    if (f->vector < VECTORS_OF_FAULTS)
        c->vector = f->vector, c->error = f->error;
    if (f->vector == VECTOR_PAGE_FAULT)
        c->cr2 = cpu_read_cr2();
}

// What comes back from the program's stack is the program's word for its
// own state, and is believed only where it can do no harm: segments are
// ours to choose, and so are most flags. The others stay as they are.

#define FLAGS_USER 0x50dd5UL     /* arithmetic, direction, trap, resume, AC */
#define FLAGS_HANDLER 0x10500UL  /* off in a handler: trap, direction, resume */

void signal_restore(struct trap_frame *f, const struct signal_context *c)
{
    u64 flags = (f->rflags & ~FLAGS_USER) | (c->rflags & FLAGS_USER);

    *f = (struct trap_frame){
        .r8 = c->r8, .r9 = c->r9, .r10 = c->r10, .r11 = c->r11, .r12 = c->r12, .r13 = c->r13,
        .r14 = c->r14, .r15 = c->r15, .rdi = c->rdi, .rsi = c->rsi, .rbp = c->rbp,
        .rbx = c->rbx, .rdx = c->rdx, .rax = c->rax, .rcx = c->rcx, .rsp = c->rsp,
        .rip = c->rip, .rflags = flags, .cs = SEGMENT_USER_CODE, .ss = SEGMENT_USER_DATA};
}

// Where does the frame go? Below what is in use, or to the upper end of the
// other stack, if the handler wants that one and is not on it already. It
// must not run over the lower end: what lies there has nothing to do with
// stacks.

bool signal_is_on_stack(const struct signal_stack *s, vaddr rsp)
{
    return rsp > s->start && rsp - s->start <= s->size;
}

vaddr signal_place(const struct signal_stack *s, u64 flags, vaddr rsp, vaddr *fpu)
{
    bool other = signal_is_on_stack(s, rsp);
    vaddr at = rsp - 128;

    if (flags & SA_ONSTACK && s->size && !other) {
        at = s->start + s->size;
        other = true;
    }
    *fpu = align_down(at - sizeof(struct fpu_state), 64);
    at = align_down(*fpu - sizeof(struct signal_frame), 16) - 8;
    return !other || signal_is_on_stack(s, at) ? at : 0;
}

// Puts it there. 0, or -EFAULT if there is no place, or the handler is at
// an address that no program has: `iretq` would raise its exception in ring
// 0.

int signal_push(struct process *p, struct trap_frame *f, const struct signal_info *info)
{
    const struct thread *t = thread_current();
    const struct signal_action *a = &p->signals->action[info->signal];
    struct fpu_state fpu = {0};
    struct signal_frame frame = {.restorer = a->restorer, .context = {.flags = CONTEXT_FLAGS}};
    vaddr at = signal_place(&t->handlers_stack, a->flags, f->rsp, &frame.context.fpu);

    if (!at || a->handler >= USER_END)
        return -EFAULT;
    frame.reason.info = *info;
    frame.context.stack = t->handlers_stack;
    frame.context.blocked = frame.context.old_mask = t->suspended ? t->saved : t->blocked;
    signal_save(&frame.context, f);
    cpu_fxsave(&fpu);
    if (sys_copy_out(at, &frame, sizeof frame) ||
        sys_copy_out(frame.context.fpu, &fpu, sizeof fpu))
        return -EFAULT;
    f->rsp = at;
    f->rip = a->handler;
    f->rdi = (u64)info->signal;
    f->rsi = at + offset_of(struct signal_frame, reason);
    f->rdx = at + offset_of(struct signal_frame, context);
    f->rax = 0;
    f->rflags &= ~FLAGS_HANDLER;
    return 0;
}

// A system call that was interrupted has returned -EINTR. If the handler
// was installed so, it is repeated afterwards: RIP goes back by the two
// bytes of `syscall`. That is right for those that wait for data or for a
// child, and wrong for those that wait for the signal.

bool signal_can_restart(const struct trap_frame *f)
{
    u64 call = f->error;

    return call <= SYS_WRITE || call == SYS_READV || call == SYS_WRITEV || call == SYS_WAIT4 ||
           call == SYS_WAITID || call == SYS_FCNTL ||  /* which waits for locks only */
           (call == SYS_FUTEX && !f->r10);             /* and this, if not until some time */
}

void signal_restart(struct trap_frame *f, u64 flags)
{
    if (f->vector == VECTOR_SYSCALL && (s64)f->rax == -EINTR && flags & SA_RESTART &&
        signal_can_restart(f)) {
        f->rax = f->error;
        f->rip -= 2;
    }
}

// Blocking: what is blocked stays pending. Two signals cannot be blocked by
// anybody.

void signal_set_blocked(struct thread *t, u64 mask)
{
    t->blocked = mask & ~(signal_bit(SIGKILL) | signal_bit(SIGSTOP));
    signal_update(t->process);
}

// Does what the action says. If the handler's frame finds no place, that is
// a fault like another, and its handler may have a stack of its own.

void signal_force(struct process *p, struct trap_frame *f, const struct signal_info *info);

void signal_deliver(struct process *p, struct trap_frame *f, const struct signal_info *info)
{
    static const struct signal_info no_place = {.signal = SIGSEGV, .code = SI_KERNEL};
    struct thread *t = thread_current();
    struct signal_action *a = &p->signals->action[info->signal];
    u64 mask = a->mask | (a->flags & SA_NODEFER ? 0 : signal_bit(info->signal));

    if (a->handler == SIG_DFL || info->signal == SIGKILL)
        user.end(0, info->signal);
    signal_restart(f, a->flags);
    if (signal_push(p, f, info)) {
        if (info->signal == SIGSEGV)
            user.end(0, SIGSEGV);
        signal_force(p, f, &no_place);
        return;
    }
    t->suspended = false;
    signal_set_blocked(t, t->blocked | mask);
    if (a->flags & SA_RESETHAND)
        a->handler = SIG_DFL;
}

// A signal that a program has brought upon itself, and that cannot wait: if
// there is no handler for it, or we are in that handler already, it is the
// end.

bool signal_is_caught(const struct process *p, int signal)
{
    return p->signals && signal != SIGKILL && !(thread_current()->blocked & signal_bit(signal)) &&
           p->signals->action[signal].handler > SIG_IGN;
}

void signal_force(struct process *p, struct trap_frame *f, const struct signal_info *info)
{
    if (!signal_is_caught(p, info->signal))
        user.end(0, info->signal);
    signal_deliver(p, f, info);
}

// Is there a signal by which the process will end before it is back in ring
// 3? Who is in the middle of something then need not finish it.

bool signal_dooms(void)
{
    const struct thread *t = thread_current();
    const struct process *p = t->process;
    u64 ready = signal_pending(t) & ~t->blocked;
    int signal;

    if (t->ending)
        return true;
    for (; ready; ready &= ready - 1) {
        signal = (int)cpu_bsf(ready) + 1;
        if (signal_matters(p, signal) &&
            (signal == SIGKILL || p->signals->action[signal].handler == SIG_DFL))
            return true;
    }
    return false;
}

// Called before a return to ring 3 if the program has the flag `attention`.
// Each signal that is let through gets its frame, one on top of the other;
// so the handler of the last one runs first. (Who has waited for a signal
// with others blocked, and has not got one, has the old ones blocked
// again.)

int signal_leave(void *frame)
{
    struct trap_frame *f = frame;
    struct thread *t = thread_current();
    struct signal_info info;

    while (signal_take(t, ~t->blocked, &info))
        signal_deliver(t->process, f, &info);
    if (t->suspended)
        t->blocked = t->saved;
    t->suspended = false;
    signal_update(t->process);
    return 0;
}

struct hook signal_leaving = {signal_leave, NULL};

// A program's own fault becomes a signal, if it has a handler for it. The
// reason tells where, and for some faults more. What each vector's code is,
// and whether its address is that of the instruction, stands in a table;
// those that are missing have no code but that the kernel says so.

struct signal_fault {
    u8 vector, code;
    bool at_instruction;
};

const struct signal_fault signal_faults[] = {
    {0, 1, true},                /* divided by zero */
    {1, 2, true},                /* a step */
    {6, 2, true},                /* not an instruction */
    {17, 1, false}};             /* unaligned */

// For a page fault, Linux asks only whether the address is in a mapping.

void signal_explain(const struct trap_frame *f, struct signal_info *info)
{
    const struct signal_fault *fault;

    info->code = SI_KERNEL;
    for (fault = signal_faults; fault < signal_faults + array_count(signal_faults); fault++)
        if (fault->vector == f->vector) {
            info->code = fault->code;
            info->address = fault->at_instruction ? f->rip : 0;
        }
    if (f->vector == VECTOR_PAGE_FAULT) {
        info->address = cpu_read_cr2();
        info->code = as_find(program_current()->space, info->address) ? SEGV_ACCERR
                                                                  : SEGV_MAPERR;
    }
}

bool signal_catch(struct trap_frame *f, int signal)
{
    struct process *p = process_current();
    struct signal_info info = {.signal = signal};

    if (!signal_is_caught(p, signal))
        return false;
    signal_explain(f, &info);
    signal_deliver(p, f, &info);
    return true;
}

// ## The system calls for it {#signal-calls}
//
// Asking for an action and setting one. If that is to do nothing, it is
// done to a signal that is pending. The number 8, here and below, is the
// size of a set of signals, which Linux wants to hear each time.

s64 sys_sigaction(struct trap_frame *f)
{
    struct process *p = process_current();
    struct signal_state *s = p->signals;
    struct signal_action new, old;
    u64 signal = f->rdi;

    if (signal < 1 || signal >= SIGNALS || f->r10 != 8)
        return -EINVAL;
    old = s->action[signal];
    if (f->rsi) {
        if (signal == SIGKILL || signal == SIGSTOP)
            return -EINVAL;
        if (sys_copy_in(&new, f->rsi, sizeof new))
            return -EFAULT;
        if (new.handler > SIG_IGN && !(new.flags & SA_RESTORER))
            return -EINVAL;
        new.mask &= ~(signal_bit(SIGKILL) | signal_bit(SIGSTOP));
        s->action[signal] = new;
        if (!signal_matters(p, (int)signal))
            signal_forget_everywhere(p, signal_bit((int)signal));
    }
    return f->rdx ? sys_copy_out(f->rdx, &old, sizeof old) : 0;
}

// Adding to the blocked signals (0), taking away (1), or setting them (2).

s64 sys_sigprocmask(struct trap_frame *f)
{
    struct thread *t = thread_current();
    u64 old = t->blocked, mask;

    if (f->r10 != 8)
        return -EINVAL;
    if (f->rsi) {
        if (sys_copy_in(&mask, f->rsi, sizeof mask))
            return -EFAULT;
        if (f->rdi > 2)
            return -EINVAL;
        signal_set_blocked(t, f->rdi == 0 ? old | mask : f->rdi == 1 ? old & ~mask : mask);
    }
    return f->rdx ? sys_copy_out(f->rdx, &old, sizeof old) : 0;
}

// Those that are waiting to be let through.

s64 sys_sigpending(struct trap_frame *f)
{
    u64 set = signal_pending(thread_current()) & thread_current()->blocked;

    return f->rsi > sizeof set ? -EINVAL : sys_copy_out(f->rdi, &set, f->rsi);
}

// The other stack: naming one, or none, and asking. Who is on it cannot
// change it.

int signal_set_stack(struct signal_stack *stack, const struct signal_stack *new, vaddr rsp)
{
    if (signal_is_on_stack(stack, rsp))
        return -EPERM;
    if (new->flags > SS_DISABLE)
        return -EINVAL;
    if (new->flags != SS_DISABLE && new->size < MINSIGSTKSZ)
        return -ENOMEM;
    *stack = (struct signal_stack){.flags = new->flags};
    if (new->flags != SS_DISABLE)
        stack->start = new->start, stack->size = new->size;
    return 0;
}

s64 sys_sigaltstack(struct trap_frame *f)
{
    struct thread *t = thread_current();
    struct signal_stack new, old = t->handlers_stack;
    int error = 0;

    old.flags = !old.size ? SS_DISABLE : signal_is_on_stack(&old, f->rsp) ? SS_ONSTACK : 0;
    if (f->rdi && sys_copy_in(&new, f->rdi, sizeof new))
        return -EFAULT;
    if (f->rdi)
        error = signal_set_stack(&t->handlers_stack, &new, f->rsp);
    if (!error && f->rsi)
        error = sys_copy_out(f->rsi, &old, sizeof old);
    return error;
}

// Coming back from a handler. Who passes a frame that cannot be read, or a
// RIP that no program has, is treated as if that had been a fault, with
// those signals blocked that the frame names. What it says of the other
// stack counts only if it does not stand on it.

s64 sys_sigreturn(struct trap_frame *f)
{
    static const struct signal_info bad_frame = {.signal = SIGSEGV, .code = SI_KERNEL};
    struct thread *t = thread_current();
    struct signal_frame s;
    struct fpu_state fpu = fpu_fresh;

    bool bad = sys_copy_in(&s, f->rsp - 8, sizeof s);

    if (!bad) {
        signal_set_blocked(t, s.context.blocked);
        bad = s.context.rip >= USER_END ||
              (s.context.fpu && sys_copy_in(&fpu, s.context.fpu, sizeof fpu));
    }
    if (bad) {
        signal_force(t->process, f, &bad_frame);
        return (s64)f->rax;
    }
    fpu.mxcsr &= fpu_mxcsr_mask;
    cpu_fxrstor(&fpu);
    signal_set_stack(&t->handlers_stack, &s.context.stack, f->rsp);
    signal_restore(f, &s.context);
    return (s64)f->rax;
}

// ## Waiting for a signal {#signal-wait}
//
// Is there one that will be delivered? Those that do nothing do not count.

bool signal_is_ready(const struct thread *t)
{
    u64 left;
    int signal;

    for (left = signal_pending(t) & ~t->blocked; left; left &= left - 1) {
        signal = (int)cpu_bsf(left) + 1;
        if (!signal_matters(t->process, signal))
            signal_forget_everywhere(t->process, signal_bit(signal));
    }
    signal_update(t->process);
    return t->context.attention;
}

s64 sys_pause(struct trap_frame *f)
{
    struct wait_queue nobody = {0};

    (void)f;
    while (!signal_is_ready(thread_current()))
        sched_sleep(&nobody, 0);
    return -EINTR;
}

// Waiting with other ones blocked is the only way to wait for a signal
// without missing it. Which signals come, the new mask decides, to which
// each handler adds its own; the first handler, when all is over, returns
// to the old one.

void signal_suspend(u64 mask)
{
    struct thread *t = thread_current();

    t->saved = t->blocked;
    t->suspended = true;
    signal_set_blocked(t, mask);
}

s64 sys_sigsuspend(struct trap_frame *f)
{
    u64 mask;

    if (f->rsi != 8)
        return -EINVAL;
    if (sys_copy_in(&mask, f->rdi, sizeof mask))
        return -EFAULT;
    signal_suspend(mask);
    return sys_pause(f);
}

// The third way takes signals of a set as they come, blocked or not, and
// calls no handler: it returns their numbers. -EAGAIN if none has come in a
// time, -EINTR if another one did.

s64 signal_wait_for(struct thread *t, u64 set, u64 until, struct signal_info *info)
{
    struct wait_queue nobody = {0};
    int woken = 0;

    for (;;) {
        if (signal_pending(t) & set) {
            signal_take_one(t, (int)cpu_bsf(signal_pending(t) & set) + 1, info);
            signal_update(t->process);
            return info->signal;
        }
        if (woken)
            return woken == -ETIMEDOUT ? -EAGAIN : woken;
        t->waited = set;
        woken = sched_sleep(&nobody, until);
        t->waited = 0;
    }
}

// A reason is larger outside than it is here; the rest is zeros.

int signal_copy_info(vaddr to, const struct signal_info *info)
{
    union signal_room whole = {.room = {0}};

    whole.info = *info;
    return sys_copy_out(to, &whole, sizeof whole);
}

s64 sys_sigtimedwait(struct trap_frame *f)
{
    struct signal_info info;
    u64 set, until = 0;
    s64 result;

    if (f->r10 != 8)
        return -EINVAL;
    if (sys_copy_in(&set, f->rdi, sizeof set))
        return -EFAULT;
    result = f->rdx ? sys_read_time(f->rdx, &until) : 0;
    if (result)
        return result;
    set &= ~(signal_bit(SIGKILL) | signal_bit(SIGSTOP));
    result = signal_wait_for(thread_current(), set, f->rdx ? time_now() + until : 0, &info);
    return result > 0 && f->rsi && signal_copy_info(f->rsi, &info) ? -EFAULT : result;
}

// ## Alarms {#signal-alarm}
//
// A process can have a signal sent to itself at some time, once or again
// and again, by a [timer](#sched-timers) of its own. (If it wants to be
// called more often than a thousand times a second, it is not.)

#define ALARM_LEAST 1000000UL

void alarm_ring(struct timer *t)
{
    struct signal_state *s = container_of(t, struct signal_state, alarm);
    u64 again = max(t->time + s->alarm_interval, time_now() + ALARM_LEAST);

    timer_set(t, s->alarm_interval ? again : 0);
    signal_send(s->process, SIGALRM);
}

// How long it still runs, 0 if it is not set. (If it is late, not 0.)

u64 alarm_left(const struct signal_state *s, u64 now)
{
    return s->alarm.time > now ? s->alarm.time - now : s->alarm.time != 0;
}

// Sets it, with an interval, and returns how long the old one would still
// have run.

u64 alarm_set(struct signal_state *s, u64 from_now, u64 interval)
{
    u64 now = time_now(), left = alarm_left(s, now);

    timer_set(&s->alarm, from_now ? now + from_now : 0);
    s->alarm_interval = interval;
    sched_arm_next(now);
    return left;
}

// In seconds, rounded, but no alarm that is set counts as none:

s64 sys_alarm(struct trap_frame *f)
{
    u64 left = alarm_set(process_current()->signals, (u32)f->rdi * 1000000000UL, 0);

    return (s64)((left + 500000000) / 1000000000 + (left && left < 500000000));
}

// With microseconds, and an interval. Of the three timers that a process
// can have on Linux, two run while it computes; those we do not have.

int alarm_read(const struct usage_time *t, u64 *nanoseconds)
{
    if (t->seconds < 0 || (u64)t->microseconds >= 1000000)
        return -EINVAL;
    *nanoseconds = t->seconds < 1L << 33 ? (u64)t->seconds * 1000000000 +
                                           (u64)t->microseconds * 1000 : 1UL << 62;
    return 0;
}

// Nanoseconds in Linux's old form (struct timeval).

struct usage_time alarm_time(u64 nanoseconds)
{
    return (struct usage_time){(s64)(nanoseconds / 1000000000),
                               (s64)(nanoseconds / 1000 % 1000000)};
}

// Asking for it, and setting it. Who passes no new one takes it away.

s64 sys_getitimer(struct trap_frame *f)
{
    const struct signal_state *s = process_current()->signals;
    struct alarm_times times = {alarm_time(s->alarm_interval),
                                alarm_time(alarm_left(s, time_now()))};

    return f->rdi ? -EINVAL : sys_copy_out(f->rsi, &times, sizeof times);
}

s64 sys_setitimer(struct trap_frame *f)
{
    struct alarm_times new = {{0, 0}, {0, 0}}, old;
    struct signal_state *s = process_current()->signals;
    u64 value, interval;

    if (f->rsi && sys_copy_in(&new, f->rsi, sizeof new))
        return -EFAULT;
    if (f->rdi || alarm_read(&new.value, &value) || alarm_read(&new.interval, &interval))
        return -EINVAL;
    old.interval = alarm_time(s->alarm_interval);
    old.value = alarm_time(alarm_set(s, value, interval));
    return f->rdx ? sys_copy_out(f->rdx, &old, sizeof old) : 0;
}

// ## To whom? {#signal-kill}
//
// To a process, to its own group (0), to everybody but process 1 and itself
// (-1), or to a group. Signal 0 only asks whether there is somebody; a
// number that is none is refused after that question, as Linux does it.

u32 signal_everybody(const struct signal_info *info)
{
    struct process *p;
    u32 count = 0;

    for (p = process_first(); p; p = process_next(p)) {
        if (p->pid == 1 || p == process_current())
            continue;
        count++;
        if (info->signal)
            signal_send_info(p, info);
    }
    return count;
}

// To one, if it is there; and the choice.

u32 signal_one(u32 pid, const struct signal_info *info)
{
    struct process *p = process_find(pid);

    if (p && info->signal)
        signal_send_info(p, info);
    return p != NULL;
}

s64 signal_from_process(s32 to, u64 signal, s32 code)
{
    bool known = signal < SIGNALS;
    struct signal_info info = {.signal = known ? (s32)signal : 0, .code = code,
                               .pid = process_current()->pid};
    u32 count;

    if (to == -1)
        count = signal_everybody(&info);
    else if (to > 0)
        count = signal_one((u32)to, &info);
    else
        count = signal_send_group(to ? 0 - (u32)to : process_current()->group, &info);
    return !count ? -ESRCH : known ? 0 : -EINVAL;
}

s64 sys_kill(struct trap_frame *f)
{
    return signal_from_process((s32)f->rdi, (u32)f->rsi, SI_USER);
}

// To a thread, NULL if it has ended. Errors as above.

s64 signal_to_thread(struct thread *t, u64 signal)
{
    struct signal_info info = {.signal = (s32)signal, .code = SI_TKILL,
                               .pid = process_current()->pid};

    if (signal >= SIGNALS)
        return -EINVAL;
    if (t && signal)
        signal_send_thread(t, &info);
    return 0;
}

// By its number, which is so far that of its process, as each has one. The
// newer call also names the process, lest the number has found another
// owner.

s64 sys_tkill(struct trap_frame *f)
{
    struct process *p = process_find((u32)f->rdi);

    if ((s32)f->rdi <= 0)
        return -EINVAL;
    return p ? signal_to_thread(p->threads, (u32)f->rsi) : -ESRCH;
}

s64 sys_tgkill(struct trap_frame *f)
{
    struct process *p = process_find((u32)f->rdi);

    if ((s32)f->rdi <= 0 || (s32)f->rsi <= 0)
        return -EINVAL;
    return p && p->pid == (u32)f->rsi ? signal_to_thread(p->threads, (u32)f->rdx) : -ESRCH;
}

// A program may also send itself, or another, a reason of its own making.
// That it comes from the kernel it may not claim, but to itself.

s64 sys_sigqueueinfo(struct trap_frame *f)
{
    struct signal_info info;
    struct process *p = process_find((u32)f->rdi);

    if (sys_copy_in(&info, f->rdx, sizeof info))
        return -EFAULT;
    if ((info.code >= 0 || info.code == SI_TKILL) && p != process_current())
        return -EPERM;
    if (!p)
        return -ESRCH;
    if ((u32)f->rsi >= SIGNALS)
        return -EINVAL;
    info.signal = (s32)f->rsi;
    if (p->signals && p->signals->sent.count == NOTES_MAX && info.signal >= SIGRTMIN)
        return -EAGAIN;
    if (info.signal)
        signal_send_info(p, &info);
    return 0;
}

// ## Beginning and end {#signal-life}
//
// A process that the kernel starts begins with no handlers, in a group and
// a session of its own.

struct signal_state *signal_create(struct process *p)
{
    struct signal_state *s = heap_alloc_zeroed(&heap, sizeof *s);

    if (s) {
        s->process = p;
        s->alarm.ring = alarm_ring;
    }
    return s;
}

int signal_begin(void *program)
{
    struct process *p = container_of(program, struct process, program);

    p->group = p->session = p->pid;
    p->signals = signal_create(p);
    return p->signals ? 0 : -ENOMEM;
}

int signal_end(void *program)
{
    struct process *p = container_of(program, struct process, program);

    if (!p->signals)
        return 0;
    timer_cancel(&p->signals->alarm);
    signal_forget_everywhere(p, ~0UL);
    heap_free(&heap, p->signals);
    p->signals = NULL;
    return 0;
}

struct hook signal_begins = {signal_begin, NULL}, signal_ends = {signal_end, NULL};

// ## The audit {#signal-audit}
//
// What this chapter has added to processes.

void signal_audit_queue(const struct signal_queue *q)
{
    const struct signal_note *n;
    u32 count = 0;

    for (n = q->notes; n; n = n->next) {
        assert(count++ < NOTES_MAX);
        assert(q->pending & signal_bit(n->info.signal));
    }
    assert(count == q->count);
}

void signal_audit_process(const struct process *p)
{
    const struct signal_state *s = p->signals;
    const struct thread *t;

    assert(s && s->process == p && s->alarm.ring == alarm_ring);
    signal_audit_queue(&s->sent);
    for (t = p->threads; t; t = t->sibling) {
        assert(!(t->blocked & (signal_bit(SIGKILL) | signal_bit(SIGSTOP))));
        assert(t->context.attention == (t->ending || signal_pending(t) & ~t->blocked));
        signal_audit_queue(&t->sent);
    }
}

void signal_audit(void)
{
    const struct process *p;

    for (p = process_first(); p; p = process_next(p))
        if (p->threads)
            signal_audit_process(p);
}

struct audit signal_audits = {"signals", signal_audit, NULL};

// ## Setting up {#signal-init}

const struct system_call signal_calls[] = {
    {SYS_RT_SIGACTION, "rt_sigaction signal address address size", sys_sigaction},
    {SYS_RT_SIGPROCMASK, "rt_sigprocmask number address address size", sys_sigprocmask},
    {SYS_RT_SIGRETURN, "rt_sigreturn", sys_sigreturn}, {SYS_PAUSE, "pause", sys_pause},
    {SYS_GETITIMER, "getitimer number address", sys_getitimer},
    {SYS_ALARM, "alarm number", sys_alarm},
    {SYS_SETITIMER, "setitimer number address address", sys_setitimer},
    {SYS_KILL, "kill pid signal", sys_kill},
    {SYS_RT_SIGPENDING, "rt_sigpending address size", sys_sigpending},
    {SYS_RT_SIGTIMEDWAIT, "rt_sigtimedwait address address address size", sys_sigtimedwait},
    {SYS_RT_SIGQUEUEINFO, "rt_sigqueueinfo pid signal address", sys_sigqueueinfo},
    {SYS_RT_SIGSUSPEND, "rt_sigsuspend address size", sys_sigsuspend},
    {SYS_SIGALTSTACK, "sigaltstack address address", sys_sigaltstack},
    {SYS_TKILL, "tkill pid signal", sys_tkill},
    {SYS_TGKILL, "tgkill pid pid signal", sys_tgkill}};

void ch12_init(void)
{
    ch11_init();
    hook_add_last(&user.begins, &signal_begins);
    hook_add_first(&user.ends, &signal_ends);
    hook_add_last(&sys.leaving, &signal_leaving);
    user.catch = signal_catch;
    sys.doomed = signal_dooms;
    tty.signal = signal_from_tty;
    audit_add(&signal_audits);
    sys_add_calls(signal_calls, array_count(signal_calls));
}

// ## Taps {#signal-show}
//
// The program [signals](#user-signals) has itself tapped in five ways, and
// dies of the last one. Then it is your turn, with ^C.

void ch12_main(void)
{
    ch12_init();
    boot_check_options();
    vfs_show("/bin/hello", NULL, "");
    vfs_show("/bin/signals", NULL, "");
    printf("signal: cat waits; ^C ends it with status 130, ^D with 0\n");
    printf("signal: it ended with status %d\n", con_show_cat());
}

// ## Try it {#signal-try}
//
// `make run CH=12`:
//
// ::: {.transcript file="tests/golden/ch12.txt"}
// :::
//
// What a shell calls status 143 is 128 and the number of a signal. In the
// debugger we follow the first tap, from the interrupt of the timer to the
// handler, and back.
//
// ::: {.transcript file="book/gdb/ch12.txt"}
// :::
//
// ### Exercises {#signal-exercises}
//
// ::: {#ex-signal-queue .exercise level=1}
// Which structure decides that SIGUSR1, sent three times, comes once, and
// signal 40 three times? Make SIGUSR1 queue as well. *`make run CH=12` says
// "SIGUSR1 came 3 times", and nothing else changes.*
// :::
//
// ::: {#ex-signal-frame .exercise level=1}
// How many bytes below the interrupted program's stack pointer does its
// handler begin? Compute it from the structures, then measure it in the
// debugger, with `signal_push()`. *The two agree to the byte, but for what
// the alignment takes, and you can say how much that is.*
// :::
//
// ::: {#ex-signal-race .exercise level=2}
// In [signals](#user-signals), replace the call that lets signals through
// and sleeps by two, one that lets them through and `pause`. *Find out, in
// the debugger, between which two instructions the third tick must come for
// the program to wait for a fourth; then make it come there each time, so
// that `make run CH=12` counts 4.*
// :::
//
// ::: {#ex-signal-virtual .exercise level=2}
// Implement the second timer of `setitimer`: it runs only while the process
// has the processor, and sends SIGVTALRM (26). *A program that sleeps for a
// second, and then computes for a tenth with such a timer of 20
// milliseconds, is tapped four or five times.*
// :::
//
// ### Further reading {#signal-reading}
//
// Stevens and Rago, chapter 10, and Michael Kerrisk, *The Linux Programming
// Interface*, chapters 20 to 22, for what programs may rely on; the manual
// page `signal(7)` has it in short. In Linux `kernel/signal.c` decides, and
// `arch/x86/kernel/signal.c` builds the frame.
//
// ## What we have {#signal-have}
//
// Programs that can be told something, and that can be got rid of. But it
// is still we who start each of them.

// # Chapter 13. Two out of one {#ch-process}
//===========================================================================
//
// Until now somebody in the kernel named each program that was started. In
// a real system programs start programs, and the curious thing is how Unix
// divides this work. Nearly every other system has one call that means
// *start this program*. Unix has two: `fork` makes a copy of the process
// that calls it, and `execve` replaces the program of the process that
// calls it. Neither is what one wants, and between the two there is a
// moment in which a process can prepare, with ordinary code, the world in
// which the new program will wake up: open files, connect pipes, change
// directory. A shell is hardly more than what it does in that moment.
//
// Copying a whole process in order to throw the copy away sounds expensive.
// For us it is a matter of [cloning](#vmo-clone) some VMOs. Chapter 5 is
// paying for the last time.
//
// ## Theory of operation {#proc-theory}
//
//         sh --- fork ---> sh' --- prepare ---> execve ---> ls
//         |                                                  |
//         '--- wait4 ........................... exit -------'
//
// A **copy** of a process has clones of its memory, the same handles (the
// objects behind them are shared, with their positions), the same
// directory, and the same trap frame, with one difference: `fork` returns 0
// in it.
//
// ::: {#fig-fork .figure file="book/figures/fork.svg"}
// A fork copies tables of slots and no page; the first write to a page
// copies that page.
// :::
//
// **execve** builds a new address space beside the old one, and only when
// nothing can fail any more puts it in the old one's place. Until then an
// error leaves the process as it was.
//
// What passes from one to the next is different for each thing, and each
// for a reason. (A handler's address means nothing in another program, but
// to ignore a signal means the same everywhere: this is how `nohup` works.)
//
//                              the copy has        the next program has
//     memory                   clones              none of it
//     registers                the same, but rax   their first values
//     handles                  the same objects    those not marked
//     directory, limits        the same            the same
//     group, session           the same            the same
//     handlers, their stack    the same            none
//     ignored, blocked signals the same            the same
//     pending signals, alarm   none                the same
//     time used, children      none                the same
//     locks on files           none                the same
//
// What has ended does not vanish. Its number and its status remain, a
// *zombie*, until the parent **waits** for it: somebody was meant to learn
// how it went. Whose parent has ended before belongs to process 1.
//
// The invariants, walked by `proc_audit()`: *each process has a parent, or
// is process 1; a file is written to or executed.* And, which no audit can
// see: *an ended process is waited for once; nothing that a process had
// survives it but its status.*
//
// **Shortcomings.** `vfork` is `fork`. What a process has used of the
// processor is known, but not how much of that in the kernel.
//
// ## Limits {#proc-limits}
//
// A parent can set bounds to what a process and its descendants may take.
// Each is a pair: what counts, and how far the process itself may raise it.
// (As there is only one user, and he is the administrator, nobody is bound
// by the second.) The list and the structure are Linux's. Three of the
// sixteen we can honour without effort: how many descriptors there are, how
// large the stack of the next program is, and how much memory may be
// mapped. The others we remember, and tell when asked.

struct limits {
    struct limit of[RLIM_NLIMITS];
};

// Hardly anybody changes them. So a process has limits of its own only
// after somebody has, and its children inherit a copy.

const struct limits limits_usual = {{
    {RLIM_INFINITY, RLIM_INFINITY}, {RLIM_INFINITY, RLIM_INFINITY}, {RLIM_INFINITY, RLIM_INFINITY},
    {USER_STACK_SIZE, RLIM_INFINITY}, {0, RLIM_INFINITY}, {RLIM_INFINITY, RLIM_INFINITY},
    {THREADS_MAX, THREADS_MAX}, {HANDLES_MAX, HANDLES_MAX}, {8 * MIB, 8 * MIB},
    {RLIM_INFINITY, RLIM_INFINITY}, {RLIM_INFINITY, RLIM_INFINITY}, {NOTES_MAX, NOTES_MAX},
    {800 * KIB, 800 * KIB}, {0, 0}, {0, 0}, {RLIM_INFINITY, RLIM_INFINITY}}};

const struct limit *limit_of(const struct process *p, u64 which)
{
    return &(p->limits ? p->limits : &limits_usual)->of[which];
}

int limit_copy(struct process *to, const struct process *from)
{
    if (!from->limits && to != from)
        return 0;
    to->limits = heap_alloc(&heap, sizeof *to->limits);
    if (to->limits)
        *to->limits = from->limits ? *from->limits : limits_usual;
    return to->limits ? 0 : -ENOMEM;
}

// 0, -EPERM for more descriptors than a table can have, -ENOMEM. What a
// process has already it keeps.

int limit_set(struct process *p, u64 which, const struct limit *new)
{
    struct limits *before = p->limits;

    if (which == RLIMIT_NOFILE && new->most > HANDLES_MAX)
        return -EPERM;
    if (!before && limit_copy(p, p))
        return -ENOMEM;
    p->limits->of[which] = *new;
    if (which == RLIMIT_NOFILE && p->program.handles)
        p->program.handles->limit = (u32)new->now;
    if (which == RLIMIT_AS)
        p->program.space->limit = new->now == RLIM_INFINITY ? 0 : new->now < 1 ? 1 : new->now;
    return 0;
}

// One call is for any process, and can do both in one go; two older ones
// are for the caller.

s64 limit_exchange(u32 pid, u64 which, vaddr from, vaddr to)
{
    struct process *p = pid ? process_find(pid) : process_current();
    struct limit new, old;
    int error = 0;

    if (from && sys_copy_in(&new, from, sizeof new))
        return -EFAULT;
    if (!p)
        return -ESRCH;
    if (which >= RLIM_NLIMITS || (from && new.now > new.most))
        return -EINVAL;
    old = *limit_of(p, which);
    if (from)
        error = limit_set(p, which, &new);
    if (!error && to)
        error = sys_copy_out(to, &old, sizeof old);
    return error;
}

s64 sys_prlimit(struct trap_frame *f)
{
    return limit_exchange((u32)f->rdi, (u32)f->rsi, f->rdx, f->r10);
}

s64 sys_getrlimit(struct trap_frame *f)
{
    return (u32)f->rdi >= RLIM_NLIMITS ? -EINVAL
                                 : sys_copy_out(f->rsi, limit_of(process_current(), (u32)f->rdi),
                                                sizeof(struct limit));
}

s64 sys_setrlimit(struct trap_frame *f)
{
    return f->rsi ? limit_exchange(0, (u32)f->rdi, f->rsi, 0) : -EFAULT;
}

// ## A file that is executed {#exec-busy}
//
// A process holds on to the file of its program, and so does its copy.
// While somebody does, nobody may write to it. -ETXTBSY if somebody is
// writing already.

int exec_hold(struct node *n)
{
    if (n->writers > 0)
        return -ETXTBSY;
    n->writers--;
    object_get(&n->object);
    return 0;
}

void exec_let_go(struct node *n)
{
    if (!n)
        return;
    n->writers++;
    object_put(&n->object);
}

// ## A copy of a process {#proc-fork}
//
// The memory. VMOs that are mapped several times must be cloned once, so a
// VMO remembers its clone for as long as this takes. (To look for it in the
// list of the new mappings takes minutes, in a process that has very many.)

struct vmo *proc_clone_vmo(struct mapping *m)
{
    struct vmo *v = m->vmo;

    if (!(m->rights & MAPPING_SHARED)) {
        if (!v->copy)
            return v->copy = vmo_clone(v, 0, v->size);
        v = v->copy;
    }
    vmo_get(v);
    return v;
}

int proc_copy_mapping(struct as *to, struct mapping *m)
{
    struct mapping *copy = heap_alloc(&heap, sizeof *copy);

    if (!copy)
        return -ENOMEM;
    *copy = *m;
    copy->vmo = proc_clone_vmo(m);
    if (!copy->vmo) {
        heap_free(&heap, copy);
        return -ENOMEM;
    }
    copy->as = to;
    mapping_insert(copy);
    vmo_put(copy->vmo);
    return 0;
}

// All of them, and the heap, which is one of the copies, if it is mapped at
// all.

int proc_copy_memory(struct program *to, struct program *from)
{
    struct mapping *m;
    struct vmo *grown = from->break_memory;
    int error = 0;

    to->space = as_create();
    if (!to->space)
        return -ENOMEM;
    for (m = mapping_first(from->space); m && !error; m = mapping_next(m))
        error = proc_copy_mapping(to->space, m);
    if (!error && grown && grown->copy) {
        to->break_memory = grown->copy;
        vmo_get(grown->copy);
    }
    for (m = mapping_first(from->space); m; m = mapping_next(m))
        m->vmo->copy = NULL;
    if (error) {
        as_put(to->space);
        return error;
    }
    to->break_start = from->break_start;
    to->break_end = from->break_end;
    to->complained = from->complained;
    to->traced = from->traced;
    return 0;
}

// The handles: a table of the same size with the same entries.

struct handle_table *proc_copy_handles(const struct handle_table *from)
{
    struct handle_table *t = heap_alloc(&heap, sizeof *t);
    u32 i;

    if (!t)
        return NULL;
    t->count = from->count;
    t->limit = from->limit;
    t->entry = heap_alloc(&heap, t->count * sizeof *t->entry);
    if (!t->entry) {
        heap_free(&heap, t);
        return NULL;
    }
    memcpy(t->used, from->used, sizeof t->used);
    memcpy(t->entry, from->entry, t->count * sizeof *t->entry);
    for (i = 0; i < t->count; i++)
        if (t->entry[i].object)
            object_get(t->entry[i].object);
    return t;
}

// Actions are inherited. What was sent to the parent, or will be when its
// time has come, is not meant for the child.

struct signal_state *proc_copy_signals(struct process *child, const struct signal_state *from)
{
    struct signal_state *s = signal_create(child);

    if (s)
        memcpy(s->action, from->action, sizeof s->action);
    return s;
}

// All of it, or nothing.

int proc_copy(struct process *child, struct process *parent)
{
    int error = proc_copy_memory(&child->program, &parent->program);

    if (error)
        return error;
    child->program.handles = proc_copy_handles(parent->program.handles);
    child->signals = proc_copy_signals(child, parent->signals);
    if (child->program.handles && child->signals && !limit_copy(child, parent)) {
        child->program.space->limit = parent->program.space->limit;
        child->directory = parent->directory;
        if (child->directory)
            object_get(&child->directory->object);
        return 0;
    }
    hook_call(user.ends, &child->program);
    as_put(child->program.space);
    return -ENOMEM;
}

// What belongs to the thread that asks: its registers, the signals that it
// blocks, and the stack for its handlers, which is in the memory that was
// copied.

void proc_copy_thread(struct thread *to, const struct thread *from, const struct trap_frame *f)
{
    *thread_frame(to) = *f;
    thread_frame(to)->rax = 0;
    to->fs_base = from->fs_base;
    to->blocked = from->blocked;
    to->handlers_stack = from->handlers_stack;
    cpu_fxsave(&to->fpu);
}

// If the caller wants, the copy's stack is elsewhere. Returns its number,
// or an error.

s64 proc_fork(struct trap_frame *f, vaddr stack)
{
    struct process *parent = process_current();
    struct process *child = process_create(parent, parent->name);
    int error;

    if (!child)
        return -EAGAIN;
    error = proc_copy(child, parent);
    if (error) {
        process_abandon(child);
        return error;
    }
    proc_copy_thread(child->threads, thread_current(), f);
    if (stack)
        thread_frame(child->threads)->rsp = stack;
    child->group = parent->group;
    child->session = parent->session;
    child->executed = parent->executed;
    if (child->executed)
        exec_hold(child->executed);
    thread_start(child->threads);
    audit_now();
    return child->pid;
}

s64 sys_fork(struct trap_frame *f)
{
    return proc_fork(f, 0);
}

// ::: {#walk-fork .walk}
//     from proc_copy_memory
//     into proc_copy_mapping proc_clone_vmo
//     draw maps proc_copy_memory::from->space proc_copy_memory::to->space
//
// The child gets a mapping for each of the parent's, and a clone of what it
// shows. The numbers are those of pages.
// :::
//
// `clone` is what C libraries call for `fork` today. The lowest byte of its
// flags is the signal that shall tell of the child's end. It can also make
// threads, and processes that share their memory, and those we decline.
// (But not who wants both memory and `vfork`, to start another program at
// once: a copy serves as well.) Whatever else it can share we copy.

// Puts a number into the memory of a process that is not the current one,
// if there is a place for it.

void proc_poke(struct program *p, vaddr at, u32 number)
{
    struct mapping *m = as_find(p->space, at);

    if (m && m->rights & PF_W && m->end - at >= sizeof number)
        vmo_write(m->vmo, (m->first << FRAME_SHIFT) + (at - m->start), &number, sizeof number);
}

// C libraries keep the thread's number in its memory. A flag asks for it to
// be stored in the child's, another one in the parent's. (A third, to have
// it cleared at the end, is about memory that others share, so it is
// nothing for us.) All this is done to a child that has not run yet.

s64 sys_clone(struct trap_frame *f)
{
    u64 flags = f->rdi;
    struct process *child;
    s64 pid;

    if (flags & CLONE_THREAD || (flags & (CLONE_VM | CLONE_VFORK)) == CLONE_VM)
        return -ENOSYS;
    if (flags & CLONE_SETTLS && f->r8 >= USER_END)
        return -EPERM;
    pid = proc_fork(f, f->rsi);
    if (pid < 0)
        return pid;
    child = process_find((u32)pid);
    if ((flags & 0xff) != SIGCHLD)
        child->notice = flags & 0xff && (flags & 0xff) < SIGNALS ? (int)(flags & 0xff) : -1;
    if (flags & CLONE_SETTLS)
        child->threads->fs_base = f->r8;
    if (flags & CLONE_CHILD_SETTID)
        proc_poke(&child->program, f->r10, child->pid);
    if (flags & CLONE_PARENT_SETTID)
        sys_copy_out(f->rdx, &child->pid, sizeof child->pid);
    return pid;
}

// ## Another program {#proc-exec}
//
// The arguments and the environment are lists of pointers to strings in the
// old program's memory. They are collected into one block, one string
// behind the other, before that memory goes.
//
// How long may they be? As on Linux, a quarter of the stack that they will
// lie on, with all the pointers to them, and no string longer than 128 KiB.

#define ARGUMENTS_FIRST KIB
#define ARGUMENTS_LEAST (128 * KIB)
#define ARGUMENT_MAX (128 * KIB)
#define SCRIPT_DEPTH 4

struct arguments {
    char *text;
    u64 room, size;              /* bytes allocated, bytes used */
    u64 count, environment;      /* how many strings of each kind */
};

// The stack's size, and what that allows.

u64 exec_stack_size(const struct process *p)
{
    u64 size = limit_of(p, RLIMIT_STACK)->now;

    if (size < 4 * ARGUMENTS_LEAST)
        return 4 * ARGUMENTS_LEAST;
    return size < USER_STACK_SIZE ? align_up(size, FRAME_SIZE) : USER_STACK_SIZE;
}

u64 arguments_limit(void)
{
    return exec_stack_size(process_current()) / 4;
}

int arguments_grow(struct arguments *a)
{
    char *text;

    if (a->room >= arguments_limit())
        return -E2BIG;
    text = heap_realloc(&heap, a->text, a->room * 2);
    if (!text)
        return -ENOMEM;
    a->text = text;
    a->room *= 2;
    return 0;
}

// A string that does not fit is begun again with twice the room.

int arguments_add(struct arguments *a, vaddr string)
{
    u64 room;
    int error;

    for (;;) {
        room = a->room - a->size < ARGUMENT_MAX ? a->room - a->size : ARGUMENT_MAX;
        error = sys_copy_string(a->text + a->size, string, room);
        if (error != -ENAMETOOLONG)
            break;
        error = room < ARGUMENT_MAX ? arguments_grow(a) : -E2BIG;
        if (error)
            return error;
    }
    if (!error)
        a->size += strlen(a->text + a->size) + 1;
    return error;
}

int arguments_collect(struct arguments *a, vaddr list, u64 *count)
{
    vaddr string;
    int error;

    for (; list; list += sizeof string) {
        if (sys_copy_in(&string, list, sizeof string))
            return -EFAULT;
        if (!string)
            return 0;
        error = arguments_add(a, string);
        if (error)
            return error;
        ++*count;
        if (a->size + (a->count + a->environment) * sizeof string > arguments_limit())
            return -E2BIG;
    }
    return 0;
}

// The first argument is dropped and others are put in front: this is what a
// script needs.

int arguments_replace_first(struct arguments *a, const char *const *strings, u64 count)
{
    u64 old = a->count ? strlen(a->text) + 1 : 0, size = 0, i;

    for (i = 0; i < count; i++)
        size += strlen(strings[i]) + 1;
    while (a->size - old + size > a->room)
        if (arguments_grow(a))
            return -E2BIG;
    memmove(a->text + size, a->text + old, a->size - old);
    a->size = a->size - old + size;
    a->count += count - (a->count > 0);
    for (i = 0, size = 0; i < count; i++) {
        memcpy(a->text + size, strings[i], strlen(strings[i]) + 1);
        size += strlen(strings[i]) + 1;
    }
    return 0;
}

// A script begins with `#!`, the path of its interpreter, and perhaps an
// argument, with blanks or tabs around them. Returns 1 if the file is one
// and `a` and `path` are now about the interpreter, 0 if it is none, or an
// error.

bool exec_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

int exec_script(struct vmo *file, char *path, struct arguments *a)
{
    char line[128] = "", script[PATH_SIZE], *interpreter, *option, *p;
    const char *strings[3];
    u64 size = file->size < sizeof line - 1 ? file->size : sizeof line - 1, count = 0;

    if (vmo_read(file, 0, line, size) || line[0] != '#' || line[1] != '!')
        return 0;
    for (p = line; *p && *p != '\n'; p++)
        ;
    while (exec_is_blank(p[-1]))
        p--;
    *p = 0;
    for (interpreter = line + 2; exec_is_blank(*interpreter); interpreter++)
        ;
    for (option = interpreter; *option && !exec_is_blank(*option); option++)
        ;
    while (exec_is_blank(*option))
        *option++ = 0;
    if (!*interpreter)
        return -ENOEXEC;
    memcpy(script, path, strlen(path) + 1);
    strings[count++] = interpreter;
    if (*option)
        strings[count++] = option;
    strings[count++] = script;
    memcpy(path, interpreter, strlen(interpreter) + 1);
    return arguments_replace_first(a, strings, count) ? -E2BIG : 1;
}

// Finds the file of a path, through scripts to the program that interprets
// them. The node gets a reference.

int exec_find(char *path, struct arguments *a, struct node **n)
{
    int depth, error;

    for (depth = 0; depth < SCRIPT_DEPTH; depth++) {
        error = vfs_find(vfs_directory(), path, true, n);
        if (error)
            return error;
        if (!node_is(*n, S_IFREG) || !((*n)->mode & 0111))
            error = -EACCES;
        else
            error = (*n)->data ? exec_script((*n)->data, path, a) : -ENOEXEC;
        if (!error)
            return 0;
        node_put(*n);
        if (error < 0)
            return error;
    }
    return -ELOOP;
}

// The [start of a stack](#user-stack) as C libraries expect it, with
// environment and more facts.

void exec_push_facts(struct stack_builder *b, const struct elf_image *image, vaddr random,
                     vaddr name)
{
    const u64 facts[] = {
        AT_PHDR, image->headers, AT_PHENT, sizeof(struct elf_segment_header),
        AT_PHNUM, image->header_count, AT_PAGESZ, FRAME_SIZE, AT_ENTRY, image->entry,
        AT_UID, 0, AT_EUID, 0, AT_GID, 0, AT_EGID, 0, AT_CLKTCK, 100, AT_SECURE, 0,
        AT_RANDOM, random, AT_EXECFN, name, AT_NULL, 0};

    stack_push(b, facts, sizeof facts);
}

// Pushes pointers to `count` strings, of which the first is number `first`
// in the block, and a null pointer. There may be very many, so they are
// written in portions.

#define POINTERS 64

void exec_push_pointers(struct stack_builder *b, const struct arguments *a, vaddr text,
                        u64 first, u64 count)
{
    vaddr pointer[POINTERS];
    u64 offset = 0, place, i;

    if (b->top < (count + 1) * sizeof *pointer)
        b->error = -E2BIG;
    if (b->error)
        return;
    b->top -= (count + 1) * sizeof *pointer;
    place = b->top;
    for (i = 0; i < first; i++)
        offset += strlen(a->text + offset) + 1;
    for (i = 0; i <= count && !b->error; i++) {
        pointer[i % POINTERS] = i < count ? text + offset : 0;
        if (i < count)
            offset += strlen(a->text + offset) + 1;
        if (i % POINTERS < POINTERS - 1 && i < count)
            continue;
        b->error = vmo_write(b->stack, place, pointer, (i % POINTERS + 1) * sizeof *pointer);
        place += (i % POINTERS + 1) * sizeof *pointer;
    }
}

// All of it, from the top down.

vaddr exec_build_stack(struct vmo *stack, const struct elf_image *image,
                       const struct arguments *a, const char *path)
{
    struct stack_builder b = {stack, USER_STACK_SIZE, 0};
    u64 chance[2] = {random_next(), random_next()};
    vaddr name = stack_push(&b, path, strlen(path) + 1);
    vaddr random = stack_push(&b, chance, sizeof chance);
    vaddr text = stack_push(&b, a->text, a->size);

    b.top = align_down(b.top, 16);
    if ((a->count + a->environment) % 2 == 0)
        b.top -= 8;
    exec_push_facts(&b, image, random, name);
    exec_push_pointers(&b, a, text, a->count, a->environment);
    exec_push_pointers(&b, a, text, 0, a->count);
    stack_push_word(&b, a->count);
    return b.error ? 0 : USER_STACK_START + b.top;
}

// The new address space, complete, beside the old one. Of a stack that is
// limited, less is mapped.

int exec_build(struct program *new, struct vmo *file, struct elf_image *image,
               const struct arguments *a, const char *path, vaddr *sp)
{
    struct vmo *stack = NULL;
    u64 size = exec_stack_size(process_current());
    int error;

    new->space = as_create();
    if (!new->space)
        return -ENOMEM;
    new->space->limit = program_current()->space->limit;
    new->break_start = new->break_end = segment_end_page(&image->segment[image->count - 1]);
    error = elf_load(file, image);
    if (!error)
        error = user_map_image(new->space, image);
    elf_unload(image);
    if (!error && !(stack = vmo_create(USER_STACK_SIZE)))
        error = -ENOMEM;
    if (!error && !(*sp = exec_build_stack(stack, image, a, path)))
        error = -ENOMEM;
    if (!error)
        error = as_map(new->space, USER_END - size, size, PF_R | PF_W, stack,
                       USER_STACK_SIZE - size);
    if (stack)
        vmo_put(stack);
    if (error)
        as_put(new->space);
    return error;
}

// How much memory a process has had at most, its parent [may want to
// know](#proc-usage). It is looked up before memory goes, here and at the
// end.

u64 proc_memory(const struct process *p)
{
    const struct mapping *m;
    u64 pages = 0;

    for (m = mapping_first(p->program.space); m; m = mapping_next(m))
        pages += m->vmo->committed;
    return pages << FRAME_SHIFT;
}

void proc_note_memory(struct process *p)
{
    u64 memory = proc_memory(p);

    p->memory = memory > p->memory ? memory : p->memory;
}

// Something may have to be done before the old program goes. Who wants that
// hangs a hook here; it gets the program, and may still refuse.

struct hook *exec_replacing;

// No way back from here: the old memory goes, the new takes its place.

void exec_replace(struct process *p, struct program *new)
{
    struct program *old = &p->program;

    proc_note_memory(p);
    as_switch(NULL);
    as_put(old->space);
    if (old->break_memory)
        vmo_put(old->break_memory);
    old->break_memory = NULL;
    old->break_start = new->break_start;
    old->break_end = new->break_end;
    old->complained = false;
    old->space = new->space;
    as_switch(old->space);
}

// What else a program does not inherit from its predecessor in the same
// process: handles marked so, handlers and their stack (their memory is
// gone), registers, its name.

void exec_reset(struct process *p, const char *path)
{
    const char *name = path, *c;
    struct handle_table *t = p->program.handles;
    u32 i;

    for (i = 0; i < t->count; i++)
        if (t->entry[i].object && t->entry[i].close_on_exec)
            handle_close_entry(t, &t->entry[i]);
    for (i = 1; i < SIGNALS; i++)
        if (p->signals->action[i].handler != SIG_IGN)
            p->signals->action[i] = (struct signal_action){0};
    thread_current()->handlers_stack = (struct signal_stack){0};
    p->replaced = true;
    p->notice = 0;
    for (c = path; *c; c++)
        if (*c == '/')
            name = c + 1;
    snprintf(p->name, sizeof p->name, "%s", name);
    cpu_clear_segments();
    thread_current()->fs_base = 0;
    cpu_wrmsr(MSR_FS_BASE, 0);
    cpu_fxrstor(&fpu_fresh);
}

// In order: find, check, build, and only then replace. What was found is
// held, so that nobody writes to it.

int exec_prepare(char *path, struct arguments *a, struct elf_image *image, struct program *new,
                 struct node **n, vaddr *sp)
{
    int error = exec_find(path, a, n);

    if (error)
        return error;
    error = exec_hold(*n);
    object_put(&(*n)->object);
    if (error)
        return error;
    error = elf_check((*n)->data, image) ? -ENOEXEC : 0;
    if (!error)
        error = exec_build(new, (*n)->data, image, a, path, sp);
    if (error)
        exec_let_go(*n);
    return error;
}

// 0, or an error, and then the old program is still there.

int exec_load(char *path, struct arguments *a, struct elf_image *image)
{
    struct program new = {.name = ""};
    struct process *p = process_current();
    struct node *n;
    vaddr sp = 0;
    int error = exec_prepare(path, a, image, &new, &n, &sp);

    if (error)
        return error;
    error = hook_call(exec_replacing, &p->program);
    if (error) {
        as_put(new.space);
        exec_let_go(n);
        return error;
    }
    exec_replace(p, &new);
    exec_let_go(p->executed);
    p->executed = n;
    exec_reset(p, path);
    thread_set_start(thread_current(), image->entry, sp);
    audit_now();
    return 0;
}

// The system call brings the strings in and takes care of the memory for
// all this.

s64 sys_execve(struct trap_frame *f)
{
    char path[PATH_SIZE];
    struct arguments a = {heap_alloc(&heap, ARGUMENTS_FIRST), ARGUMENTS_FIRST, 0, 0, 0};
    struct elf_image *image = heap_alloc(&heap, sizeof *image);
    int error = sys_copy_string(path, f->rdi, sizeof path);

    if (!a.text || !image)
        error = -ENOMEM;
    if (!error)
        error = arguments_collect(&a, f->rsi, &a.count);
    if (!error)
        error = arguments_collect(&a, f->rdx, &a.environment);
    if (!error)
        error = exec_load(path, &a, image);
    heap_free(&heap, image);
    heap_free(&heap, a.text);
    return error;
}

// ## When memory is gone {#proc-relief}
//
// A program gets memory when it touches it, not when it asks for it. So one
// day somebody touches a page, and there is none left. To end *him* would
// be simple, and unjust: he is rarely the one who has taken all the others.
// A program that takes everything and then sleeps would survive, and
// everybody else would die at his next step, the shell among them.
//
// So we look for the *family* that has most, a process and its descendants;
// for what takes everything may be one, or may be thousands who have little
// each. From process 1 we go down to the child with the largest family, and
// on, as long as nearly all of a family's memory is that of one child's.
// Where we arrive is who began it. That family is ended, and who was short
// of memory waits until it is gone, and tries again.
//
// What a process weighs is its memory and something for being there at all.
// The first of a session is probably a shell, and before it sits somebody
// who would like to know what has happened: of its own memory, an eighth
// counts.

#define RELIEF_FRAMES 64         /* fewer in a zone are none */
#define RELIEF_PROCESS (64 * KIB)

bool memory_is_short(void)
{
    return pmm.free[ZONE_KERNEL] < RELIEF_FRAMES || pmm.free[ZONE_USER] < RELIEF_FRAMES;
}

u64 relief_weigh(const struct process *p)
{
    u64 weight = proc_memory(p) + RELIEF_PROCESS;

    return p->session == p->pid ? weight / 8 : weight;
}

// Children have higher numbers than their parents. So from the last process
// to the first, each can be added to its parent when it is complete.

void relief_weigh_all(void)
{
    struct process *last = process_of(tree_end(sched.processes, 1)), *p;

    for (p = last; p; p = process_of(tree_step(&p->by_pid, 0)))
        p->weight = 0;
    for (p = last; p; p = process_of(tree_step(&p->by_pid, 0))) {
        if (p->threads)
            p->weight += relief_weigh(p);
        if (p->parent)
            p->parent->weight += p->weight;
    }
}

struct process *relief_heaviest_child(const struct process *parent)
{
    struct process *p, *most = NULL;

    for (p = parent->children[0]; p; p = p->sibling)
        if (!most || p->weight > most->weight)
            most = p;
    return most;
}

// The first of the family to end; NULL if there is none but process 1.

struct process *relief_choose(void)
{
    struct process *p = process_find(1), *child;
    bool is_shell = true;

    relief_weigh_all();
    while (p && (child = relief_heaviest_child(p)) &&
           (is_shell || child->weight * 4 > p->weight * 3)) {
        p = child;
        is_shell = p->session == p->pid && relief_heaviest_child(p) != NULL;
    }
    return p && p->pid != 1 ? p : NULL;
}

// Ends all of it. From the first process to the last, whose parent is
// doomed is doomed, and a weight that cannot be says so. Returns how many
// there are.

#define RELIEF_DOOMED (~0UL)

u32 relief_end(struct process *first)
{
    struct process *p;
    u32 count = 0;

    first->weight = RELIEF_DOOMED;
    for (p = first; p; p = process_next(p)) {
        if (p != first && !(p->parent && p->parent->weight == RELIEF_DOOMED))
            continue;
        p->weight = RELIEF_DOOMED;
        signal_send(p, SIGKILL);
        count++;
    }
    return count;
}

// Waits until a process has ended, by its number, as it may be forgotten
// meanwhile; or until somebody wants our own attention.

void relief_wait(u32 pid)
{
    struct wait_queue nobody = {0};
    struct process *p;

    while ((p = process_find(pid)) && p->threads &&
           sched_sleep(&nobody, time_now() + SLICE_NANOSECONDS) != -EINTR)
        ;
}

// True if one may try again. If nobody else has most but we alone, that is
// the end for us. (An allocation that fails although there is memory is a
// test's doing.)

bool proc_relieve(void)
{
    struct process *me = process_current(), *p = memory_is_short() ? relief_choose() : NULL;
    u64 weight;
    bool known;
    u32 count;

    if (!p || (p == me && !me->children[0]))
        return false;
    weight = p->weight;
    known = p->signals->sent.pending & signal_bit(SIGKILL);
    count = relief_end(p);
    if (!known)
        printf("memory: none is left; the family of process %u, %s, is ended: %u process%s, "
               "%s\n", p->pid, p->name, count, count == 1 ? "" : "es", boot_size(weight).s);
    relief_wait(p->pid);
    return true;
}

// The same for calls that need memory of ours: a copy, and another program.

s64 relief_repeat(struct trap_frame *f, syscall_function *call)
{
    s64 result;

    do
        result = call(f);
    while ((result == -ENOMEM || result == -EAGAIN) && !cpu_context()->attention &&
           proc_relieve());
    return result;
}

s64 sys_fork_patiently(struct trap_frame *f)
{
    return relief_repeat(f, sys_fork);
}

s64 sys_clone_patiently(struct trap_frame *f)
{
    return relief_repeat(f, sys_clone);
}

s64 sys_execve_patiently(struct trap_frame *f)
{
    return relief_repeat(f, sys_execve);
}

// ## Waiting for children {#proc-wait}
//
// A parent asks for a child by its number, for any of a group, or for any
// at all. A child's end also sends a signal, and a parent that is woken by
// that looks for the child before it says that it was interrupted.
//
// What Linux calls a *clone* is a child whose end is told by another
// signal, or by none. It is waited for only by who asks for such.

#define WAIT_ANY (1L << 32)

// `who` is a process, or if it is negative a group, or `WAIT_ANY`.

bool wait_matches(const struct process *p, s64 who, u64 options)
{
    if (!(options & WALL) && (p->notice != 0) != !!(options & WCLONE))
        return false;
    return who == WAIT_ANY || (who > 0 ? p->pid == who : p->group == -who);
}

// The first of a list of children who matches, or of all those in it the
// one who is asked for; NULL if there is none.

struct process *wait_look(const struct process *parent, bool ended, s64 who, u64 options)
{
    struct process *p = who > 0 && who != WAIT_ANY ? process_find((u32)who)
                                                   : parent->children[ended];

    if (p && (p->parent != parent || (p->threads == NULL) != ended))
        return NULL;
    while (p && !wait_matches(p, who, options))
        p = p->pid == who ? NULL : p->sibling;
    return p;
}

// A child that has ended, if there is one; and whether there is any child
// that may end.

struct process *wait_find(const struct process *parent, s64 who, u64 options, bool *any)
{
    struct process *p = options & WEXITED ? wait_look(parent, true, who, options) : NULL;

    *any = !p && wait_look(parent, false, who, options);
    return p;
}

// Waits for one. 0, and in `child` what was found, NULL if nothing was and
// the caller does not want to wait; -ECHILD, -EINTR.

int wait_for_child(s64 who, u64 options, struct process **child)
{
    struct process *parent = process_current();
    int woken = 0;
    bool any;

    while (!(*child = wait_find(parent, who, options, &any))) {
        if (!any)
            return -ECHILD;
        if (options & WNOHANG)
            return 0;
        if (woken == -EINTR)
            return -EINTR;
        woken = sched_sleep(&parent->waiters, 0);
    }
    return 0;
}

// ## What a process has used {#proc-usage}
//
// Parents may also ask what a child has cost. We know how long it had the
// processor, and how much memory it had. How much of the time it spent in
// the kernel we do not know, as nobody looks at the clock on the way in and
// out. It is all said to be its own.

void usage_fill(struct usage *u, u64 nanoseconds, u64 memory)
{
    *u = (struct usage){.user = alarm_time(nanoseconds), .memory = (s64)(memory / KIB)};
}

// What a child has used is added to what its parent's children have used.

void wait_reap(struct process *p)
{
    struct process *parent = p->parent;
    u64 memory = p->memory > p->children_memory ? p->memory : p->children_memory;

    parent->children_time += p->cpu_time + p->children_time;
    if (memory > parent->children_memory)
        parent->children_memory = memory;
    object_put(&p->object);
}

// The status has the exit code in its second byte and the signal that ended
// the child, if one did, in its first. Who passes a wrong address has lost
// the child all the same.

s64 sys_wait4(struct trap_frame *f)
{
    s64 pid = (s32)f->rdi, error;
    u64 options = (u32)f->rdx;
    struct process *p;
    struct usage usage;
    s32 status;

    if (options & ~(u64)(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE))
        return -EINVAL;
    if (pid == 0)
        pid = -(s64)process_current()->group;
    else if (pid == -1)
        pid = WAIT_ANY;
    error = wait_for_child(pid, options | WEXITED, &p);
    if (error || !p)
        return error;
    pid = p->pid;
    status = p->exit_code << 8 | p->exit_signal;
    usage_fill(&usage, p->cpu_time + p->children_time, p->memory);
    wait_reap(p);
    if (f->rsi && sys_copy_out(f->rsi, &status, sizeof status))
        return -EFAULT;
    return f->r10 && sys_copy_out(f->r10, &usage, sizeof usage) ? -EFAULT : pid;
}

// The newer call says the same in the words of a signal's reason, and can
// leave the child as it is.

void wait_explain(const struct process *p, struct signal_info *info)
{
    *info = (struct signal_info){
        .signal = SIGCHLD, .code = p->exit_signal ? CLD_KILLED : CLD_EXITED, .pid = p->pid,
        .value = (u64)(p->exit_signal ? p->exit_signal : p->exit_code)};
}

// Whom does it mean? 0 if it makes no sense.

s64 waitid_who(u64 kind, s64 id)
{
    if (kind == P_ALL)
        return WAIT_ANY;
    if (kind == P_PGID && id >= 0)
        return -(id ? id : (s64)process_current()->group);
    return kind == P_PID && id > 0 ? id : 0;
}

s64 sys_waitid(struct trap_frame *f)
{
    u64 options = (u32)f->r10, known = WNOHANG | WSTOPPED | WEXITED | WCONTINUED;
    s64 who = waitid_who((u32)f->rdi, (s32)f->rsi), error;
    struct signal_info info = {0};
    struct usage usage;
    struct process *p;

    if (options & ~(known | WNOWAIT | WNOTHREAD | WALL | WCLONE) || !(options & known & ~1UL) ||
        !who)
        return -EINVAL;
    error = wait_for_child(who, options, &p);
    if (error)
        return error;
    if (p) {
        wait_explain(p, &info);
        usage_fill(&usage, p->cpu_time + p->children_time, p->memory);
        if (!(options & WNOWAIT))
            wait_reap(p);
        if (f->r8 && sys_copy_out(f->r8, &usage, sizeof usage))
            return -EFAULT;
    }
    return f->rdx && sys_copy_out(f->rdx, &info, sizeof info) ? -EFAULT : 0;
}

// The same about oneself, or about all children that were waited for.

#define TICK_NANOSECONDS 10000000UL

u64 proc_time(const struct process *p)
{
    return p->cpu_time + time_now() - sched.slice_start;
}

s64 sys_getrusage(struct trap_frame *f)
{
    struct process *p = process_current();
    struct usage usage;

    proc_note_memory(p);
    switch ((s32)f->rdi) {
    case RUSAGE_SELF:
    case RUSAGE_THREAD: usage_fill(&usage, proc_time(p), p->memory); break;
    case RUSAGE_CHILDREN: usage_fill(&usage, p->children_time, p->children_memory); break;
    default: return -EINVAL;
    }
    return sys_copy_out(f->rsi, &usage, sizeof usage);
}

// An older form counts in hundredths of a second, and returns how many have
// passed since some moment.

s64 sys_times(struct trap_frame *f)
{
    struct process *p = process_current();
    s64 ticks[4] = {(s64)(proc_time(p) / TICK_NANOSECONDS), 0,
                    (s64)(p->children_time / TICK_NANOSECONDS), 0};

    if (f->rdi && sys_copy_out(f->rdi, ticks, sizeof ticks))
        return -EFAULT;
    return (s64)(time_now() / TICK_NANOSECONDS);
}

// ## Telling the parent {#proc-tell}
//
// When a process ends, its parent is told by a signal, which most have no
// use for. Who says in so many words that it is to be ignored, or sets
// `SA_NOCLDWAIT` for it, will not ask for the status either: process 1
// does. (The parent may be waiting all the same, and perhaps that was the
// last child.)

void proc_tell_parent(struct process *p)
{
    struct process *parent = p->parent, *init = process_find(1);
    const struct signal_action *a;
    struct signal_info info;

    wait_explain(p, &info);
    if (p->notice)
        info.signal = p->notice;
    if (p->notice >= 0)
        signal_send_info(parent, &info);
    if (!parent->signals || !init || p->notice)
        return;
    a = &parent->signals->action[SIGCHLD];
    if (a->handler == SIG_IGN || a->flags & SA_NOCLDWAIT) {
        process_set_parent(p, init);
        sched_wake(&parent->waiters);
    }
}

// A copy that has failed half-way has never run, and has no end to tell of.

int proc_end(void *program)
{
    struct process *p = container_of(program, struct process, program);

    if (p == process_current()) {
        proc_note_memory(p);
        if (p->parent)
            proc_tell_parent(p);
    }
    if (p->limits)
        heap_free(&heap, p->limits);
    exec_let_go(p->executed);
    p->executed = NULL;
    p->limits = NULL;
    return 0;
}

struct hook proc_ends = {proc_end, NULL};

// Some memory is nobody's, and not free either: what the heap holds and
// does not use, spare page tables, and the tables for kernel stacks, which
// stay when many threads have ended.

u64 proc_spare_frames(void)
{
    return as.spare.tables + as.spare.spaces + stacks.tables;
}

// ## The audit {#proc-audit}
//
// A file is executed by as many as it says.

void proc_audit_file(const struct node *n)
{
    const struct process *p;
    s32 users = 0;

    for (p = process_first(); p; p = process_next(p))
        users += p->executed == n;
    assert(users == -n->writers);
}

void proc_audit(void)
{
    const struct process *p;

    for (p = process_first(); p; p = process_next(p)) {
        if (!p->threads)
            continue;
        assert(p->parent || p->pid == 1);
        if (p->executed)
            proc_audit_file(p->executed);
    }
}

struct audit proc_audits = {"processes", proc_audit, NULL};

// ## Setting up {#proc-init}

const struct system_call proc_calls[] = {
    {SYS_CLONE, "clone flags address address address address", sys_clone_patiently},
    {SYS_FORK, "fork", sys_fork_patiently}, {SYS_VFORK, "vfork", sys_fork_patiently},
    {SYS_EXECVE, "execve path address address", sys_execve_patiently},
    {SYS_WAIT4, "wait4 pid address flags address", sys_wait4},
    {SYS_WAITID, "waitid number pid address flags address", sys_waitid},
    {SYS_SET_TID_ADDRESS, "set_tid_address address", sys_getpid},
    {SYS_GETRLIMIT, "getrlimit number address", sys_getrlimit},
    {SYS_SETRLIMIT, "setrlimit number address", sys_setrlimit},
    {SYS_PRLIMIT64, "prlimit64 pid number address address", sys_prlimit},
    {SYS_GETRUSAGE, "getrusage number address", sys_getrusage},
    {SYS_TIMES, "times address", sys_times}};

void ch13_init(void)
{
    ch12_init();
    hook_add_first(&user.ends, &proc_ends);
    user.relieve = proc_relieve;
    audit_add(&proc_audits);
    sys_add_calls(proc_calls, array_count(proc_calls));
}

// ## A family {#proc-show}
//
// The kernel starts [copies](#user-copies) as process 1, and learns only
// afterwards how many there have been.

void ch13_main(void)
{
    static const char *const copies[] = {"/bin/copies", NULL};
    u64 free_before;
    int status;

    ch13_init();
    boot_check_options();
    heap_trim(&heap);
    free_before = pmm.states[FRAME_FREE] + proc_spare_frames();
    status = con_show(copies);
    heap_trim(&heap);
    printf("process: process 1 ended with status %d, and %u numbers were given out\n", status,
           sched.last_pid);
    printf("process: frames lost: %lu, processes left: %lu\n",
           free_before - pmm.states[FRAME_FREE] - proc_spare_frames(), process_type.live);
}

// ## Try it {#proc-try}
//
// `make run CH=13`:
//
// ::: {.transcript file="tests/golden/ch13.txt"}
// :::
//
// In the debugger you see how the first process becomes two, what the two
// share until one of them writes, and how a process becomes another
// program.
//
// ::: {.transcript file="book/gdb/ch13.txt"}
// :::
//
// ### Exercises {#proc-exercises}
//
// ::: {#ex-proc-count .exercise level=1}
// How many frames does `fork` take, for the stack, for pages and for
// tables, before either process has touched anything? *Predict, then count
// with the counters of Chapter 3.*
// :::
//
// ::: {#ex-proc-vfork .exercise level=2}
// Make `vfork` what it was: the child runs in the parent's memory and the
// parent waits. *fork, execve and wait take fewer instructions with it; say
// how many.*
// :::
//
// ::: {#ex-proc-zombie .exercise level=1}
// What does a zombie cost? Compute it from the structures. Then change
// [copies](#user-copies): it makes a thousand children, which end at once,
// and waits for none of them before all have ended. *Frames and bytes of
// the heap, counted before and after, differ by what you have computed, to
// within a tenth.*
// :::
//
// ::: {#ex-proc-spawn .exercise level=3}
// Give Rustica a system call that starts a program without a copy: it takes
// a path, arguments, environment, and a list of descriptors that the new
// process shall have. Let the shell use it. *`bench` gets a row for it. It
// is below that of fork and execve, and you can say where the difference
// went.*
// :::
//
// ### Further reading {#proc-reading}
//
// *OSTEP*, chapter 5. Dennis Ritchie, "The Evolution of the Unix
// Time-Sharing System" (1979), tells how `fork` came about, in a couple of
// days. Andrew Baumann, Jonathan Appavoo, Orran Krieger and Timothy Roscoe,
// "A fork() in the Road" (HotOS 2019), would have us forget it. Read both,
// and decide.
//
// ## What we have {#proc-have}
//
// Programs that start programs. They cannot talk to each other yet, and the
// first one is still a demonstration.

// # Chapter 14. A system {#ch-shell}
//===========================================================================
//
// Thirteen chapters have made a machine that can run programs. In this one
// the kernel starts a single program and then never names one again. That
// program starts others, and those start others, and one of them is a
// shell, which does what you say.
//
// What it still needs is a way to put two programs together that know
// nothing of each other. In 1964 Doug McIlroy wished for a way to screw
// programs together like garden hoses; nine years later Ken Thompson put it
// into Unix, within one night, and the next day everybody wrote one-liners.
// The hose is a ring of bytes that looks like a file from both ends, and
// the screw is what happens between `fork` and `execve`.
//
// ## Theory of operation {#shell-theory}
//
//     hello | wc -c
//
//                    .--- fork --> sh' --- dup2, execve ---> hello
//     sh -- pipe ----+                                         | 1
//      |             |                                       (ring)
//      |             |                                         v 0
//      |             '--- fork --> sh'' -- dup2, execve ---> wc
//      '--- wait4, wait4
//
// A **pipe** is a ring of bytes with two ends, each an object. Who reads
// from an empty one waits; who writes to a full one waits; and when all
// handles to one end are closed the other end learns of it, as the end of
// the file or as an error. Who has other things to do than to wait is told
// to try again, or asks beforehand, of several at once, [which of
// them](#proc-poll) would not make him wait.
//
// ::: {#fig-pipe .figure file="book/figures/pipe.svg"}
//        bytes ever read: 4,099         bytes ever written: 4,103
//                       |                       |
//                       v                       v
//     | . | . | . | h | e | l | l | . | . |     the place of a byte is its
//       0   1   2   3   4   5   6   7           number modulo the size
//
// A pipe: the ring holds what was written and not yet read, and the two
// counters, which only grow, say where that is.
// :::
//
// Programs that were put together belong together. What one types at a
// terminal is one **job**, a *group* of processes, and ^C is for the job
// and not for the shell; a login is a **session** of such groups.
//
// The invariants, walked by `shell_audit()`: *a group lies in one session;
// a terminal belongs to a session that lives.* And, which no audit can see:
// *what is not longer than the ring is written to it in one piece; who
// waits at one end is woken when the other one closes.*
//
// **Shortcomings.** No job control: a job cannot be stopped and continued.
//
// ## Pipes {#proc-pipe}
//
// The ends are two objects, because handles keep objects alive and each end
// has a life and flags of its own; they lie in one structure, because there
// is one ring. It has as many bytes as POSIX wants to be written in one
// piece (`PIPE_BUF`): what is not longer than that is never mixed with what
// others write.

#define PIPE_SIZE 4096

struct pipe {
    struct file reader, writer;  /* the two ends */
    bool reader_gone, writer_gone;
    u64 read, written;           /* bytes ever; the ring holds the difference */
    struct wait_queue waiters;
    u8 byte[PIPE_SIZE];
};

// An end that is closed wakes whoever waits at the other; the second one to
// close switches off the light.

void pipe_close(struct pipe *p)
{
    sched_wake(&p->waiters);
    if (p->reader_gone && p->writer_gone)
        heap_free(&heap, p);
}

void pipe_close_reader(struct object *o)
{
    struct pipe *p = container_of(o, struct pipe, reader.object);

    p->reader_gone = true;
    pipe_close(p);
}

void pipe_close_writer(struct object *o)
{
    struct pipe *p = container_of(o, struct pipe, writer.object);

    p->writer_gone = true;
    pipe_close(p);
}

// Reading takes what is there, at least one byte; no bytes and no writers
// is the end of the file, and no bytes but a writer may be an error: "try
// again". The ring is copied in at most two pieces.

s64 pipe_read(struct file *file, vaddr to, u64 size, u64 *offset)
{
    struct pipe *p = container_of(file, struct pipe, reader);
    u64 done, part;

    (void)offset;
    while (p->read == p->written && size) {
        if (p->writer_gone)
            return 0;
        if (file->flags & O_NONBLOCK)
            return -EAGAIN;
        if (sched_sleep(&p->waiters, 0) == -EINTR)
            return -EINTR;
    }
    if (size > p->written - p->read)
        size = p->written - p->read;
    for (done = 0; done < size; done += part) {
        part = PIPE_SIZE - p->read % PIPE_SIZE;
        if (part > size - done)
            part = size - done;
        if (sys_copy_out(to + done, p->byte + p->read % PIPE_SIZE, part))
            return done ? (s64)done : -EFAULT;
        p->read += part;
        sched_wake(&p->waiters);
    }
    return (s64)size;
}

// What fits into the ring as a whole waits until there is room for the
// whole: if several write lines to one pipe, each arrives in one piece.
// What does not fit waits for room for one byte. (Who does not wait is
// refused where he would have to: so the one goes in as a whole or not at
// all, the other as far as it goes.) If nobody will ever read it, the
// writer gets a signal which by default is the end of it; this is how `yes
// | head` comes to an end.

int pipe_wait(struct file *file, u64 size)
{
    static const struct signal_info broken = {.signal = SIGPIPE, .code = SI_KERNEL};
    struct pipe *p = container_of(file, struct pipe, writer);
    u64 need = size <= PIPE_SIZE ? size : 1;

    while (need && !p->reader_gone) {
        if (PIPE_SIZE - (p->written - p->read) >= need)
            return 0;
        if (file->flags & O_NONBLOCK)
            return -EAGAIN;
        if (sched_sleep(&p->waiters, 0) == -EINTR)
            return -EINTR;
    }
    if (!need)
        return 0;
    signal_send_thread(thread_current(), &broken);
    return -EPIPE;
}

// Writing puts in everything, waiting for room as often as it takes.

s64 pipe_write(struct file *file, vaddr from, u64 size, u64 *offset)
{
    struct pipe *p = container_of(file, struct pipe, writer);
    u64 done = 0, part;
    int error;

    (void)offset;
    while (done < size) {
        error = pipe_wait(file, size <= PIPE_SIZE ? size - done : size);
        if (error)
            return done ? (s64)done : error;
        part = PIPE_SIZE - (p->written - p->read);
        if (part > size - done)
            part = size - done;
        if (part > PIPE_SIZE - p->written % PIPE_SIZE)
            part = PIPE_SIZE - p->written % PIPE_SIZE;
        if (sys_copy_in(p->byte + p->written % PIPE_SIZE, from + done, part))
            return done ? (s64)done : -EFAULT;
        p->written += part;
        done += part;
        sched_wake(&p->waiters);
    }
    return (s64)done;
}

// ::: {#walk-pipe .walk}
//     type hello | (sleep 3; wc -c)
//     from pipe_write
//     from pipe_read
//     from pipe_read
//     into pipe_wait
//     show p->read, p->written, p->writer_gone
//     draw ring p->byte 4096 p->read p->written
//
// One writes and ends, the other wakes up and reads what is left of it, and
// then that there is nobody any more.
// :::
//
// What can be done at each end without waiting. There is room if whatever
// is written in one piece fits.

u32 pipe_poll_reader(struct file *file, struct wait_queue **queue)
{
    struct pipe *p = container_of(file, struct pipe, reader);

    *queue = &p->waiters;
    return (p->read < p->written ? POLL_READABLE : 0) | (p->writer_gone ? POLLHUP : 0);
}

u32 pipe_poll_writer(struct file *file, struct wait_queue **queue)
{
    struct pipe *p = container_of(file, struct pipe, writer);

    *queue = &p->waiters;
    return (p->read == p->written ? POLL_WRITABLE : 0) | (p->reader_gone ? POLLERR : 0);
}

// What the two ends are to the outside.

s64 pipe_control(struct pipe *p, u64 request, vaddr argument)
{
    u32 count = (u32)(p->written - p->read);

    return request == FIONREAD ? sys_copy_out(argument, &count, sizeof count) : -ENOTTY;
}

s64 pipe_control_reader(struct file *file, u64 request, vaddr argument)
{
    return pipe_control(container_of(file, struct pipe, reader), request, argument);
}

s64 pipe_control_writer(struct file *file, u64 request, vaddr argument)
{
    return pipe_control(container_of(file, struct pipe, writer), request, argument);
}

int pipe_status(struct file *file, struct file_status *status)
{
    (void)file;
    *status = (struct file_status){.mode = 0010600, .links = 1, .block_size = PIPE_SIZE};
    return 0;
}

const struct file_operations pipe_read_operations = {
    .read = pipe_read, .status = pipe_status, .control = pipe_control_reader,
    .poll = pipe_poll_reader};
const struct file_operations pipe_write_operations = {
    .write = pipe_write, .status = pipe_status, .control = pipe_control_writer,
    .wait = pipe_wait, .poll = pipe_poll_writer};
struct object_type pipe_reader_type = {.name = "pipe reader", .destroy = pipe_close_reader,
                                       .file = &pipe_read_operations};
struct object_type pipe_writer_type = {.name = "pipe writer", .destroy = pipe_close_writer,
                                       .file = &pipe_write_operations};

bool pipe_is_end(const struct object *o)
{
    return o->type == &pipe_reader_type || o->type == &pipe_writer_type;
}

// Making one: two objects, two handles, two numbers for the program. Each
// step that fails undoes those before.

s64 proc_pipe(vaddr to, u64 flags)
{
    struct handle_table *t = program_current()->handles;
    struct pipe *p = heap_alloc(&heap, sizeof *p);
    s32 fd[2];

    if (!p)
        return -ENOMEM;
    memset(p, 0, offset_of(struct pipe, byte));
    object_init(&p->reader.object, &pipe_reader_type);
    object_init(&p->writer.object, &pipe_writer_type);
    p->reader.flags = flags & O_NONBLOCK;
    p->writer.flags = (flags & O_NONBLOCK) | O_WRONLY;
    fd[0] = handle_add(t, &p->reader.object, RIGHT_READ | RIGHT_DUPLICATE, 0);
    if (fd[0] < 0) {
        object_put(&p->writer.object);
        return fd[0];
    }
    fd[1] = handle_add(t, &p->writer.object, RIGHT_WRITE | RIGHT_DUPLICATE, 0);
    if (fd[1] < 0 || sys_copy_out(to, fd, sizeof fd)) {
        handle_close_entry(t, &t->entry[fd[0]]);
        if (fd[1] < 0)
            return fd[1];
        handle_close_entry(t, &t->entry[fd[1]]);
        return -EFAULT;
    }
    t->entry[fd[0]].close_on_exec = t->entry[fd[1]].close_on_exec = flags & O_CLOEXEC;
    return 0;
}

s64 sys_pipe(struct trap_frame *f)
{
    return proc_pipe(f->rdi, 0);
}

s64 sys_pipe2(struct trap_frame *f)
{
    return f->rsi & ~(u64)(O_CLOEXEC | O_NONBLOCK) ? -EINVAL : proc_pipe(f->rdi, f->rsi);
}

// ## Duplicating descriptors {#proc-dup}
//
// `dup` takes the lowest free number, `dup2` one that is named, closing
// what was there.

s64 proc_dup(u64 fd, u32 from, bool close_on_exec)
{
    struct handle_table *t = program_current()->handles;
    struct handle *h = sys_handle((u32)fd, 0);
    int index;

    if (!h)
        return -EBADF;
    object_get(h->object);
    index = handle_add(t, h->object, h->rights, from);
    if (index >= 0)
        t->entry[index].close_on_exec = close_on_exec;
    return index;
}

// Closing the old one comes first, and cannot fail. The lowest free number
// from `to` on is then `to`.

s64 proc_dup_to(u64 fd, u64 to, bool close_on_exec)
{
    struct handle *old = sys_handle((u32)to, 0);

    if (!sys_handle((u32)fd, 0) || (u32)to >= program_current()->handles->limit)
        return -EBADF;
    if (old)
        handle_close_entry(program_current()->handles, old);
    return proc_dup(fd, (u32)to, close_on_exec);
}

s64 sys_dup(struct trap_frame *f)
{
    return proc_dup(f->rdi, 0, false);
}

s64 sys_dup2(struct trap_frame *f)
{
    if ((u32)f->rdi == (u32)f->rsi)
        return sys_handle((u32)f->rdi, 0) ? (s64)(u32)f->rdi : -EBADF;
    return proc_dup_to(f->rdi, f->rsi, false);
}

s64 sys_dup3(struct trap_frame *f)
{
    if ((u32)f->rdi == (u32)f->rsi)
        return -EINVAL;
    return proc_dup_to(f->rdi, f->rsi, f->rdx & O_CLOEXEC);
}

// Two of the flags may change later. They belong to the description, so
// whoever shares it notices: a shell that gives its terminal to a program
// which does not like to wait finds it like that afterwards.

#define FLAGS_CHANGE (O_APPEND | O_NONBLOCK)

// And a call that does a bit of everything.

s64 sys_fcntl(struct trap_frame *f)
{
    struct handle *h = sys_handle((u32)f->rdi, 0);
    struct file *file = h ? file_of(h->object) : NULL;

    if (!h || (!file && (f->rsi == F_GETFL || f->rsi == F_SETFL)))
        return -EBADF;
    switch (f->rsi) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        if ((u32)f->rdx >= program_current()->handles->limit)
            return -EINVAL;
        return proc_dup(f->rdi, (u32)f->rdx, f->rsi == F_DUPFD_CLOEXEC);
    case F_GETFD: return h->close_on_exec;
    case F_SETFD: h->close_on_exec = f->rdx & 1; return 0;
    case F_GETFL: return file->flags;
    case F_SETFL:
        file->flags = (file->flags & ~(u32)FLAGS_CHANGE) | ((u32)f->rdx & FLAGS_CHANGE);
        return 0;
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW: return lock_control(file, f->rsi, f->rdx);
    case F_GETPIPE_SZ: return pipe_is_end(h->object) ? PIPE_SIZE : -EBADF;
    case F_SETPIPE_SZ:
        if (!pipe_is_end(h->object))
            return -EBADF;
        return (u32)f->rdx <= PIPE_SIZE ? PIPE_SIZE : -EPERM;
    default: return -EINVAL;
    }
}

// ## Waiting for one of several {#proc-poll}
//
// A program that talks to two others does not know which will speak first.
// If it reads from the one it misses the other. What it wants is to wait
// for both, and to be told which it was. There are four calls for that,
// `poll` and `select` and a later form of each; they differ in how the
// question is put. Ours put it in the same way in the end: a list of
// descriptors, each with the events that are wanted (Linux's struct
// pollfd), and a time.
//
// To look is easy: every file's type has an operation for it, and what has
// none can always be read and written. To wait is to hang a
// [watch](#sched-sleep) on each of their queues, to sleep, and to look
// again. Between the look and the sleep nobody can slip in, as ever.

struct poll_watch {
    struct watch watch;
    struct file *file;           /* with a reference, for the queue is in it */
};

// What is there now, of what is wanted? Some things are told to everybody
// who polls, wanted or not: `always`.

u16 poll_look_at(const struct poll_item *p, u32 always)
{
    struct file *file = sys_file((u32)p->fd, 0);
    struct wait_queue *queue;
    u32 found = POLL_READABLE | POLL_WRITABLE;

    if (p->fd < 0)
        return 0;
    if (!file)
        return POLLNVAL;
    if (file->object.type->file->poll)
        found = file->object.type->file->poll(file, &queue);
    return (u16)(found & (p->wanted | always));
}

u64 poll_look(struct poll_item *item, u64 count, u32 always)
{
    u64 i, found = 0;

    for (i = 0; i < count; i++) {
        item[i].found = poll_look_at(&item[i], always);
        found += item[i].found != 0;
    }
    return found;
}

// Sleeps until something may have changed. Returns what `sched_sleep()`
// does, or -ENOMEM.

int poll_sleep(const struct poll_item *item, u64 count, u64 until)
{
    struct poll_watch *w = heap_alloc(&heap, (count + 1) * sizeof *w);
    struct wait_queue nobody = {0}, *queue;
    struct file *file;
    u64 i, watches = 0;
    int woken;

    if (!w)
        return -ENOMEM;
    for (i = 0; i < count; i++) {
        file = item[i].fd < 0 ? NULL : sys_file((u32)item[i].fd, 0);
        if (!file || !file->object.type->file->poll)
            continue;
        file->object.type->file->poll(file, &queue);
        watch_add(&w[watches].watch, queue);
        object_get(&file->object);
        w[watches++].file = file;
    }
    woken = sched_sleep(&nobody, until);
    for (i = 0; i < watches; i++) {
        watch_remove(&w[i].watch);
        object_put(&w[i].file->object);
    }
    heap_free(&heap, w);
    return woken;
}

// Both, until something is found or a time has come (0 for never). Returns
// how many items were found, or an error.

s64 poll_wait(struct poll_item *item, u64 count, u32 always, u64 until)
{
    int woken = 0;
    u64 found;

    for (;;) {
        found = poll_look(item, count, always);
        if (found || (until && time_now() >= until))
            return (s64)found;
        if (woken == -EINTR || woken == -ENOMEM)
            return woken;
        woken = poll_sleep(item, count, until);
    }
}

// `poll` copies the list from the program and back.

s64 poll_list(vaddr list, u64 count, u64 until)
{
    u64 size = count * sizeof(struct poll_item);
    struct poll_item *item;
    s64 result;

    if (count > HANDLES_MAX)
        return -EINVAL;
    item = heap_alloc(&heap, size + 1);
    if (!item)
        return -ENOMEM;
    result = sys_copy_in(item, list, size);
    if (!result)
        result = poll_wait(item, count, POLLERR | POLLHUP | POLLNVAL, until);
    if (result >= 0 && sys_copy_out(list, item, size))
        result = -EFAULT;
    heap_free(&heap, item);
    return result;
}

s64 sys_poll(struct trap_frame *f)
{
    s32 milliseconds = (s32)f->rdx;
    u64 until = milliseconds < 0 ? 0 : time_now() + (u64)milliseconds * 1000000;

    return poll_list(f->rdi, (u32)f->rsi, until);
}

// `select` has three sets of descriptors, a bit for each, and no way to say
// that one of them does not exist but an error for the whole. It is the
// older one, and what it means by "can be read" includes that there is
// nobody left who writes.

#define SELECT_WORDS (HANDLES_MAX / 64)
#define SELECT_READ (POLL_READABLE | POLLHUP | POLLERR)
#define SELECT_WRITE (POLL_WRITABLE | POLLERR)

struct select_sets {
    u64 set[3][SELECT_WORDS];    /* to read, to write, and for what is special */
};

const u16 select_events[3] = {SELECT_READ, SELECT_WRITE, POLLPRI};

bool select_has(const struct select_sets *s, int kind, u64 fd)
{
    return s->set[kind][fd / 64] >> fd % 64 & 1;
}

// The sets as a list. Returns how many items that makes.

u64 select_to_list(const struct select_sets *s, u64 limit, struct poll_item *item)
{
    u64 fd, count = 0;
    u16 wanted;
    int kind;

    for (fd = 0; fd < limit; fd++) {
        wanted = 0;
        for (kind = 0; kind < 3; kind++)
            wanted |= select_has(s, kind, fd) ? select_events[kind] : 0;
        if (wanted)
            item[count++] = (struct poll_item){(s32)fd, wanted, 0};
    }
    return count;
}

// And the list as sets. Returns the number of bits, or -EBADF.

s64 select_from_list(struct select_sets *s, const struct poll_item *item, u64 count)
{
    struct select_sets asked = *s;
    s64 bits = 0;
    int kind;
    u64 i, fd;

    memset(s, 0, sizeof *s);
    for (i = 0; i < count; i++) {
        fd = (u64)item[i].fd;
        if (item[i].found & POLLNVAL)
            return -EBADF;
        for (kind = 0; kind < 3; kind++)
            if (select_has(&asked, kind, fd) && item[i].found & select_events[kind]) {
                s->set[kind][fd / 64] |= 1UL << fd % 64;
                bits++;
            }
    }
    return bits;
}

// The sets are at three addresses, each of which may be 0.

s64 select_copy(struct trap_frame *f, struct select_sets *s, u64 limit, bool out)
{
    const vaddr at[3] = {f->rsi, f->rdx, f->r10};
    u64 size = align_up(limit, 64) / 8;
    int kind;

    for (kind = 0; kind < 3; kind++)
        if (at[kind] && (out ? sys_copy_out(at[kind], s->set[kind], size)
                             : sys_copy_in(s->set[kind], at[kind], size)))
            return -EFAULT;
    return 0;
}

s64 select_wait(struct trap_frame *f, u64 until)
{
    u64 limit = (u32)f->rdi < HANDLES_MAX ? (u32)f->rdi : HANDLES_MAX, count;
    struct select_sets s = {0};
    struct poll_item *item;
    s64 result;

    if ((s32)f->rdi < 0)
        return -EINVAL;
    if (select_copy(f, &s, limit, false))
        return -EFAULT;
    item = heap_alloc(&heap, limit * sizeof *item + 1);
    if (!item)
        return -ENOMEM;
    count = select_to_list(&s, limit, item);
    result = poll_wait(item, count, POLLNVAL, until);
    if (result >= 0)
        result = select_from_list(&s, item, count);
    heap_free(&heap, item);
    return result >= 0 && select_copy(f, &s, limit, true) ? -EFAULT : result;
}

// Three of the calls take the time in two words, seconds and a fraction,
// and none at all if they shall wait for ever. They leave there how much of
// it was not used.

#define TIME_FOREVER 0UL

s64 poll_read_time(vaddr at, u64 unit, u64 *until)
{
    struct timespec t;

    *until = TIME_FOREVER;
    if (!at)
        return 0;
    if (sys_copy_in(&t, at, sizeof t))
        return -EFAULT;
    t.nanoseconds *= (s64)unit;
    if (unit > 1 && t.nanoseconds >= 1000000000) {
        t.seconds += t.nanoseconds / 1000000000;
        t.nanoseconds %= 1000000000;
    }
    if (t.seconds < 0 || (u64)t.nanoseconds >= 1000000000)
        return -EINVAL;
    if (t.seconds < 1L << 33)
        *until = time_now() + (u64)t.seconds * 1000000000 + (u64)t.nanoseconds;
    return 0;
}

s64 poll_leave_time(vaddr at, u64 unit, u64 until, s64 result)
{
    u64 now = time_now(), left = until > now ? until - now : 0;
    struct timespec t = {(s64)(left / 1000000000), (s64)(left % 1000000000 / unit)};

    if (at && until != TIME_FOREVER)
        sys_copy_out(at, &t, sizeof t); /* if that fails, the result is still right */
    return result;
}

s64 sys_select(struct trap_frame *f)
{
    u64 until;
    s64 error = poll_read_time(f->r8, 1000, &until);

    return error ? error : poll_leave_time(f->r8, 1000, until, select_wait(f, until));
}

// The later forms also change the blocked signals while they wait. To do so
// before and after is not the same: the signal that was to end the wait
// could come too early, and the wait would have no end. If it does come, it
// is [delivered](#signal-deliver) under the mask of the wait; else the old
// one holds again at once.

int poll_block(vaddr from, u64 size)
{
    u64 mask;

    if (!from)
        return 0;
    if (size != sizeof mask)
        return -EINVAL;
    if (sys_copy_in(&mask, from, sizeof mask))
        return -EFAULT;
    signal_suspend(mask);
    return 0;
}

s64 poll_unblock(s64 result)
{
    struct thread *t = thread_current();

    if (result != -EINTR && t->suspended) {
        t->suspended = false;
        signal_set_blocked(t, t->saved);
    }
    return result;
}

s64 sys_ppoll(struct trap_frame *f)
{
    u64 until;
    s64 error = poll_read_time(f->rdx, 1, &until);

    if (!error)
        error = poll_block(f->r10, f->r8);
    if (error)
        return error;
    return poll_leave_time(f->rdx, 1, until,
                           poll_unblock(poll_list(f->rdi, (u32)f->rsi, until)));
}

// This one has seven arguments, and the last two are in memory: where the
// mask is, and its size.

s64 sys_pselect6(struct trap_frame *f)
{
    u64 until, mask[2] = {0, 0};
    s64 error = f->r9 ? sys_copy_in(mask, f->r9, sizeof mask) : 0;

    if (!error)
        error = poll_read_time(f->r8, 1, &until);
    if (!error)
        error = poll_block(mask[0], mask[1]);
    if (error)
        return error;
    return poll_leave_time(f->r8, 1, until, poll_unblock(select_wait(f, until)));
}

// ## Groups and sessions {#proc-groups}
//
// A group is one job: a pipeline. A **session** is all that one login
// starts: a shell and its jobs. Both bear the number of the process that
// began them, and both are inherited. The point of sessions is the
// terminal. It belongs to one of them, whose shell says which of its groups
// shall get the terminal's signals; to all others it is a file that can be
// read and written.
//
// A process may be put into a group by itself, or by its parent as long as
// it still runs the parent's program: so a shell can build its pipelines
// from either side, and nobody else can be made a part of something. The
// group must be in the same session, and the first of a session stays in
// its group. (Whoever else may have left: a group's number is not used for
// another process as long as it has members, as numbers are never used
// again.)

const struct process *group_find(u32 group)
{
    const struct process *p;

    for (p = process_first(); p && p->group != group; p = process_next(p))
        ;
    return p;
}

// Which error is told, if there are several reasons, is Linux's choice.

int group_may_move(const struct process *me, const struct process *p)
{
    if (!p || (p != me && p->parent != me))
        return -ESRCH;
    if (p->session != me->session)
        return -EPERM;
    if (p != me && p->replaced)
        return -EACCES;
    return p->session == p->pid ? -EPERM : 0;
}

// The group is the one that is named, or one that the process begins.

s64 sys_setpgid(struct trap_frame *f)
{
    struct process *me = process_current();
    struct process *p = (u32)f->rdi ? process_find((u32)f->rdi) : me;
    u32 group = (u32)f->rsi ? (u32)f->rsi : p ? p->pid : 0;
    const struct process *member;
    int error;

    if ((s32)group < 0)
        return -EINVAL;
    error = group_may_move(me, p);
    if (error)
        return error;
    member = group == p->pid ? p : group_find(group);
    if (!member || member->session != p->session)
        return -EPERM;
    p->group = group;
    return 0;
}

s64 sys_getpgid(struct trap_frame *f)
{
    struct process *p = (u32)f->rdi ? process_find((u32)f->rdi) : process_current();

    return p ? (s64)p->group : -ESRCH;
}

s64 sys_getpgrp(struct trap_frame *f)
{
    (void)f;
    return process_current()->group;
}

s64 sys_getsid(struct trap_frame *f)
{
    struct process *p = (u32)f->rdi ? process_find((u32)f->rdi) : process_current();

    return p ? (s64)p->session : -ESRCH;
}

// A new session begins with a new group, and without a terminal. There must
// not be such a group already: it would be in two sessions.

s64 sys_setsid(struct trap_frame *f)
{
    struct process *p = process_current();

    (void)f;
    if (group_find(p->pid))
        return -EPERM;
    p->group = p->session = p->pid;
    return p->pid;
}

// Requests to the terminal: to make it ours (who asks so with a 1 takes it
// from another session), to ask for the group and the session that it
// knows, and to choose the group.

s64 terminal_take(const struct process *p, u64 force)
{
    bool first = p->session == p->pid;

    if (first && tty.session == p->session)
        return 0;
    if (!first || (tty.session && force != 1))
        return -EPERM;
    tty.session = p->session;
    tty.group = p->group;
    return 0;
}

// Only a group that there is, of ours, can be chosen.

s64 terminal_choose(const struct process *p, vaddr from)
{
    const struct process *member;
    s32 group;

    if (sys_copy_in(&group, from, sizeof group))
        return -EFAULT;
    if (group < 0)
        return -EINVAL;
    member = group_find((u32)group);
    if (!member)
        return -ESRCH;
    if (member->session != p->session)
        return -EPERM;
    tty.group = (u32)group;
    return 0;
}

// Other requests are not about that.

s64 terminal_request(u64 request, vaddr argument)
{
    const struct process *p = process_current();

    if (request == TIOCSCTTY)
        return terminal_take(p, argument);
    if (tty.session != p->session)
        return -ENOTTY;
    switch (request) {
    case TIOCGPGRP: return sys_copy_out(argument, &tty.group, sizeof tty.group);
    case TIOCSPGRP: return terminal_choose(p, argument);
    case TIOCGSID: return sys_copy_out(argument, &tty.session, sizeof tty.session);
    default: return -ENOTTY;
    }
}

// The last of a session's first process: its terminal becomes free, and who
// had the use of it is told that the line is dead.

int shell_end(void *program)
{
    struct process *p = container_of(program, struct process, program);

    if (p != process_current() || p->session != p->pid || tty.session != p->session)
        return 0;
    signal_from_tty(tty.group, SIGHUP);
    signal_from_tty(tty.group, SIGCONT);
    tty.session = tty.group = 0;
    return 0;
}

struct hook shell_ends = {shell_end, NULL};

// ## Questions about the system {#proc-info}
//
// Who and what we are, how much there is of what, and who else is here.

s64 sys_uname(struct trap_frame *f)
{
    struct system_name name = {{"Rustica", "rustica", "14.0", "chapters 1 to 14", "x86_64", ""}};

    return sys_copy_out(f->rdi, &name, sizeof name);
}

s64 sys_sysinfo(struct trap_frame *f)
{
    struct system_info info = {.uptime = (s64)(time_now() / 1000000000), .unit = 1,
        .total = (pmm.states[FRAME_FREE] + pmm.states[FRAME_USED]) << FRAME_SHIFT,
        .free = pmm.states[FRAME_FREE] << FRAME_SHIFT,
        .buffers = ((heap.frames + proc_spare_frames()) << FRAME_SHIFT) - heap.bytes +
                   as.spare.spaces * sizeof(struct as),
        .processes = (u16)process_type.live};

    return sys_copy_out(f->rdi, &info, sizeof info);
}

// It runs, or would like to, if one of its threads does; or it sleeps, or
// has ended.

char process_state(const struct process *p)
{
    const struct thread *t = p->threads;

    while (t && t->queue)
        t = t->sibling;
    return t ? 'R' : p->threads ? 'S' : 'Z';
}

// Rustica's own: the process with the lowest number above a given one. A
// program that wants all of them begins with 0.

s64 sys_process_info(struct trap_frame *f)
{
    struct process *best = f->rdi < ~0U ? process_from(f->rdi + 1) : NULL;
    struct process_info info = {0};

    if (!best)
        return 0;
    info.pid = best->pid;
    info.parent = best->parent ? best->parent->pid : 0;
    info.state = process_state(best);
    info.cpu_time = best->cpu_time;
    info.memory = best->threads ? proc_memory(best) : 0;
    memcpy(info.name, best->name, sizeof info.name);
    return sys_copy_out(f->rsi, &info, sizeof info) ? -EFAULT : (s64)info.pid;
}

// The users, of whom there is one.

s64 sys_zero(struct trap_frame *f)
{
    (void)f;
    return 0;
}

// Calls that C libraries make at their start and do without if they must.
// To know them, and to decline, saves a complaint for each program.

s64 sys_decline(struct trap_frame *f)
{
    (void)f;
    return -ENOSYS;
}

s64 sys_gettimeofday(struct trap_frame *f)
{
    u64 now = time_now();
    struct usage_time t = {sys.boot_seconds + (s64)(now / 1000000000),
                           (s64)(now / 1000 % 1000000)};

    return f->rdi ? sys_copy_out(f->rdi, &t, sizeof t) : 0;
}

// Switching off, and starting again: in the way that the board's tables
// tell, by a register of the chipset (first which reset it shall be, all of
// the machine, and then the reset), or by the keyboard controller, which
// since 1984 has had a wire to the processor's reset.

s64 sys_reboot(struct trap_frame *f)
{
    if ((u32)f->rdi != REBOOT_MAGIC)
        return -EINVAL;
    audit_report();
    stack_report();
    switch ((u32)f->rdx) {
    case REBOOT_POWER_OFF:
    case REBOOT_HALT:
        boot_exit(0);
    case REBOOT_RESTART:
        acpi_reset();
        cpu_outb(0xcf9, 2);
        cpu_outb(0xcf9, 6);
        cpu_outb(KEYBOARD_STATUS, 0xfe);
        boot_exit(0);
    default: return -EINVAL;
    }
}

// ## Watching a program {#shell-trace}
//
// `strace ls` shows what a program asks of the kernel, one call a line. The
// program [strace](#user-strace) only makes a mark, by a system call of its
// own, and then becomes the other program; the mark is inherited by all its
// children. The rest is done here, where everything is at hand that one
// wants to know. (With `make run OPT=strace` everybody is watched.)
//
//     [5] open("/etc/motd", O_RDONLY, 0000) = 3
//     [5] read(3, "This is Rustica. help lists what"..., 4096) = 72
//
// Nobody else should pay for that, not even with a look at the mark. So as
// long as somebody is watched there is another [way in](#sys-sysret), and
// the processor is told.

extern u8 trace_entry[];

__asm__(".text\n" SYSCALL_ENTRY("trace_entry", "trace_dispatch"));

void trace_switch(bool on)
{
    cpu_wrmsr(MSR_LSTAR, (u64)(on ? trace_entry : sys_entry));
}

// A line grows from left to right. What does not fit is left out.

struct trace_line {
    char text[200];
    u64 size;
};

void printf_like(2, 3) trace_add(struct trace_line *l, const char *text, ...)
{
    u64 room = sizeof l->text - l->size;
    va_list ap;
    int count;

    va_start(ap, text);
    count = vsnprintf(l->text + l->size, room, text, &ap);
    va_end(ap);
    l->size += (u64)count < room ? (u64)count : room - 1;
}

// A call that is under way. Its arguments are copied, because a call may
// change the frame.

struct traced_call {
    const struct system_call *call;
    u64 argument[6];
    s64 result;
    char word[16];               /* what the argument is that is being shown */
};

// Numbers are easy. An address is a number that is better read in base 16,
// and if a call is to return one, so is the result.

#define TRACE_ADDRESSES 0x100000

void trace_number(struct trace_line *l, const struct traced_call *c, u64 i)
{
    trace_add(l, "%d", (int)c->argument[i]);
}

void trace_size(struct trace_line *l, const struct traced_call *c, u64 i)
{
    trace_add(l, "%lu", c->argument[i]);
}

void trace_address(struct trace_line *l, const struct traced_call *c, u64 i)
{
    trace_add(l, c->argument[i] ? "0x%lx" : "%lu", c->argument[i]);
}

void trace_mode(struct trace_line *l, const struct traced_call *c, u64 i)
{
    u64 mode = c->argument[i];

    trace_add(l, "0%lu%lu%lu", mode >> 6 & 7, mode >> 3 & 7, mode & 7);
}

// Bytes of the program's, as far as they tell something, and if they can be
// read at all.

#define TRACE_BYTES 32UL

void trace_bytes(struct trace_line *l, vaddr from, u64 size)
{
    u64 shown = size < TRACE_BYTES ? size : TRACE_BYTES, i;
    char byte[TRACE_BYTES];

    if (sys_copy_in(byte, from, shown)) {
        trace_add(l, "0x%lx", from);
        return;
    }
    trace_add(l, "\"");
    for (i = 0; i < shown; i++)
        if (byte[i] == '\n')
            trace_add(l, "\\n");
        else
            trace_add(l, "%c", byte[i] < ' ' || byte[i] > '~' ? '.' : byte[i]);
    trace_add(l, size > shown ? "\"..." : "\"");
}

void trace_path(struct trace_line *l, const struct traced_call *c, u64 i)
{
    char path[TRACE_BYTES];
    int error = sys_copy_string(path, c->argument[i], sizeof path);

    trace_bytes(l, c->argument[i], error ? TRACE_BYTES + 1 : strlen(path));
}

// What goes in has a size, which is the next argument; what comes out has
// the result's.

void trace_in(struct trace_line *l, const struct traced_call *c, u64 i)
{
    trace_bytes(l, c->argument[i], c->argument[i + 1]);
}

void trace_out(struct trace_line *l, const struct traced_call *c, u64 i)
{
    trace_bytes(l, c->argument[i], c->result > 0 ? (u64)c->result : 0);
}

// For some numbers there are words.

struct trace_word {
    const char *kind;
    u64 value;
    const char *word;
};

#define TRACE_WORD(kind, value) {kind, value, #value}

const struct trace_word trace_words[] = {
    TRACE_WORD("how", O_RDONLY), TRACE_WORD("how", O_WRONLY), TRACE_WORD("how", O_RDWR),
    TRACE_WORD("how", O_CREAT), TRACE_WORD("how", O_EXCL), TRACE_WORD("how", O_TRUNC),
    TRACE_WORD("how", O_APPEND), TRACE_WORD("how", O_NONBLOCK), TRACE_WORD("how", O_DIRECTORY),
    TRACE_WORD("how", O_CLOEXEC), TRACE_WORD("rights", PROT_READ),
    TRACE_WORD("rights", PROT_WRITE), TRACE_WORD("rights", PROT_EXEC),
    TRACE_WORD("sharing", MAP_SHARED), TRACE_WORD("sharing", MAP_PRIVATE),
    TRACE_WORD("sharing", MAP_FIXED), TRACE_WORD("sharing", MAP_ANONYMOUS),
    TRACE_WORD("whence", SEEK_SET), TRACE_WORD("whence", SEEK_CUR),
    TRACE_WORD("whence", SEEK_END), TRACE_WORD("request", TCGETS), TRACE_WORD("request", TCSETS),
    TRACE_WORD("request", TCSETSW), TRACE_WORD("request", TCSETSF),
    TRACE_WORD("request", TIOCSCTTY), TRACE_WORD("request", TIOCGPGRP),
    TRACE_WORD("request", TIOCSPGRP), TRACE_WORD("request", TIOCGWINSZ),
    TRACE_WORD("request", FIONREAD), TRACE_WORD("control", F_DUPFD),
    TRACE_WORD("control", F_GETFD), TRACE_WORD("control", F_SETFD),
    TRACE_WORD("control", F_GETFL), TRACE_WORD("control", F_SETFL),
    TRACE_WORD("control", F_GETLK), TRACE_WORD("control", F_SETLK),
    TRACE_WORD("control", F_SETLKW), TRACE_WORD("control", F_DUPFD_CLOEXEC),
    TRACE_WORD("signal", SIGHUP), TRACE_WORD("signal", SIGINT), TRACE_WORD("signal", SIGQUIT),
    TRACE_WORD("signal", SIGILL), TRACE_WORD("signal", SIGTRAP), TRACE_WORD("signal", SIGABRT),
    TRACE_WORD("signal", SIGBUS), TRACE_WORD("signal", SIGFPE), TRACE_WORD("signal", SIGKILL),
    TRACE_WORD("signal", SIGUSR1), TRACE_WORD("signal", SIGSEGV), TRACE_WORD("signal", SIGUSR2),
    TRACE_WORD("signal", SIGPIPE), TRACE_WORD("signal", SIGALRM), TRACE_WORD("signal", SIGTERM),
    TRACE_WORD("signal", SIGCHLD), TRACE_WORD("signal", SIGCONT), TRACE_WORD("signal", SIGSTOP),
    TRACE_WORD("signal", SIGTSTP), TRACE_WORD("signal", SIGTTIN), TRACE_WORD("signal", SIGTTOU),
    TRACE_WORD("signal", SIGWINCH)};

// Whether it is one that is made of bits (of which some may have no word,
// and the two lowest may mean something by not being there), ...

void trace_flags(struct trace_line *l, const struct traced_call *c, u64 i)
{
    u64 flags = (u32)c->argument[i], left = flags;
    const struct trace_word *w;
    const char *between = "";

    for (w = trace_words; w < trace_words + array_count(trace_words); w++)
        if (string_equal(w->kind, c->word) && (w->value ? left & w->value : !(flags & 3))) {
            trace_add(l, "%s%s", between, w->word);
            left &= ~w->value;
            between = "|";
        }
    if (left || !*between)
        trace_add(l, "%s%s%lx", between, left ? "0x" : "", left);
}

// ... or one of several.

void trace_choice(struct trace_line *l, const struct traced_call *c, u64 i)
{
    const struct trace_word *w;

    for (w = trace_words; w < trace_words + array_count(trace_words); w++)
        if (string_equal(w->kind, c->word) && (u32)c->argument[i] == w->value) {
            trace_add(l, "%s", w->word);
            return;
        }
    trace_number(l, c, i);
}

// How the words of forms are shown.

struct trace_kind {
    const char *word;
    void (*show)(struct trace_line *l, const struct traced_call *c, u64 i);
};

const struct trace_kind trace_kinds[] = {
    {"fd", trace_number}, {"pid", trace_number}, {"number", trace_number}, {"size", trace_size},
    {"address", trace_address}, {"flags", trace_address}, {"mode", trace_mode},
    {"path", trace_path}, {"in", trace_in}, {"out", trace_out},
    {"how", trace_flags}, {"rights", trace_flags}, {"sharing", trace_flags},
    {"whence", trace_choice}, {"request", trace_choice}, {"control", trace_choice},
    {"signal", trace_choice}};

void trace_argument(struct trace_line *l, const struct traced_call *c, u64 i)
{
    const struct trace_kind *k = trace_kinds;

    while (!string_equal(k->word, c->word)) {
        k++;
        assert(k < trace_kinds + array_count(trace_kinds));
    }
    k->show(l, c, i);
}

// The next word of a form is put into `word`; what is behind it is
// returned, NULL if there was none.

const char *trace_next_word(struct traced_call *c, const char *form)
{
    u64 n = 0;

    while (*form == ' ')
        form++;
    for (; *form && *form != ' ' && n < sizeof c->word - 1; n++)
        c->word[n] = *form++;
    c->word[n] = 0;
    return n ? form : NULL;
}

void trace_call(struct trace_line *l, struct traced_call *c)
{
    const char *form = trace_next_word(c, c->call->form);
    u64 i;

    trace_add(l, "[%u] %s(", thread_current()->number, c->word);
    for (i = 0; (form = trace_next_word(c, form)); i++) {
        trace_add(l, i ? ", " : "");
        trace_argument(l, c, i);
    }
    trace_add(l, ")");
}

// An error is a number with a name.

#define TRACE_ERROR(error) [error] = #error

const char *const trace_errors[] = {
    TRACE_ERROR(EPERM), TRACE_ERROR(ENOENT), TRACE_ERROR(ESRCH), TRACE_ERROR(EINTR),
    TRACE_ERROR(EIO), TRACE_ERROR(E2BIG), TRACE_ERROR(ENOEXEC), TRACE_ERROR(EBADF),
    TRACE_ERROR(ECHILD), TRACE_ERROR(EAGAIN), TRACE_ERROR(ENOMEM), TRACE_ERROR(EACCES),
    TRACE_ERROR(EFAULT), TRACE_ERROR(EBUSY), TRACE_ERROR(EEXIST), TRACE_ERROR(EXDEV),
    TRACE_ERROR(ENODEV), TRACE_ERROR(ENOTDIR), TRACE_ERROR(EISDIR), TRACE_ERROR(EINVAL),
    TRACE_ERROR(EMFILE), TRACE_ERROR(ENOTTY), TRACE_ERROR(ETXTBSY), TRACE_ERROR(EFBIG),
    TRACE_ERROR(ENOSPC), TRACE_ERROR(ESPIPE), TRACE_ERROR(EROFS), TRACE_ERROR(EPIPE),
    TRACE_ERROR(ERANGE), TRACE_ERROR(EDEADLK), TRACE_ERROR(ENAMETOOLONG), TRACE_ERROR(ENOLCK),
    TRACE_ERROR(ENOSYS), TRACE_ERROR(ENOTEMPTY), TRACE_ERROR(ELOOP), TRACE_ERROR(ETIMEDOUT)};

void trace_result(struct trace_line *l, s64 result)
{
    u64 error = 0 - (u64)result;

    if (result > TRACE_ADDRESSES)
        trace_add(l, " = 0x%lx", (u64)result);
    else
        trace_add(l, " = %ld", result);
    if (error < array_count(trace_errors) && trace_errors[error])
        trace_add(l, " %s", trace_errors[error]);
}

// Finding a number's row in the tables of all chapters; the latest has the
// last word.

const struct system_call *trace_find(u64 number)
{
    const struct call_table *t = sys.table + sys.table_count;
    u64 i;

    while (t-- > sys.table)
        for (i = 0; i < t->count; i++)
            if (t->call[i].number == number)
                return &t->call[i];
    return NULL;
}

// What a call gets is in memory only before it, if it is `execve`, and what
// it returns only behind it. And from `exit` nobody returns.

bool trace_is_late(struct traced_call *c)
{
    const char *form = c->call->form;

    while ((form = trace_next_word(c, form)))
        if (string_equal(c->word, "out"))
            return true;
    return false;
}

void trace_watch(struct trap_frame *f, const struct system_call *call)
{
    struct traced_call c = {.call = call,
                            .argument = {f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9}};
    struct trace_line l = {.size = 0};

    if (!trace_is_late(&c))
        trace_call(&l, &c);
    if (call->number == SYS_EXIT || call->number == SYS_EXIT_GROUP)
        printf("%s\n", l.text);
    user_syscall(f);
    c.result = (s64)f->rax;
    if (!l.size)
        trace_call(&l, &c);
    trace_result(&l, c.result);
    printf("%s\n", l.text);
}

bool trace_dispatch(struct trap_frame *f)
{
    const struct system_call *call = program_current()->traced ? trace_find(f->rax) : NULL;

    if (call)
        trace_watch(f, call);
    else
        user_syscall(f);
    return sys_leave(f);
}

// The mark, and its end. When the last one that bears it has ended the
// usual way in is used again.

s64 sys_trace(struct trap_frame *f)
{
    (void)f;
    program_current()->traced = true;
    trace_switch(true);
    return 0;
}

int trace_end(void *program)
{
    struct program *ending = program;
    const struct process *p;
    bool others = false;

    for (p = process_first(); p && ending->traced; p = process_next(p))
        others |= p->threads && &p->program != ending && p->program.traced;
    if (ending->traced)
        trace_switch(others);
    return 0;
}

struct hook trace_ends = {trace_end, NULL};

// All calls of this chapter.

const struct system_call shell_calls[] = {
    {SYS_POLL, "poll address number number", sys_poll}, {SYS_PIPE, "pipe address", sys_pipe},
    {SYS_SELECT, "select number address address address address", sys_select},
    {SYS_DUP, "dup fd", sys_dup}, {SYS_DUP2, "dup2 fd fd", sys_dup2},
    {SYS_UNAME, "uname address", sys_uname}, {SYS_FCNTL, "fcntl fd control flags", sys_fcntl},
    {SYS_GETTIMEOFDAY, "gettimeofday address", sys_gettimeofday},
    {SYS_SYSINFO, "sysinfo address", sys_sysinfo}, {SYS_GETUID, "getuid", sys_zero},
    {SYS_GETGID, "getgid", sys_zero}, {SYS_GETEUID, "geteuid", sys_zero},
    {SYS_GETEGID, "getegid", sys_zero}, {SYS_SETPGID, "setpgid pid pid", sys_setpgid},
    {SYS_GETPGRP, "getpgrp", sys_getpgrp}, {SYS_SETSID, "setsid", sys_setsid},
    {SYS_GETPGID, "getpgid pid", sys_getpgid}, {SYS_GETSID, "getsid pid", sys_getsid},
    {SYS_REBOOT, "reboot flags flags flags", sys_reboot},
    {SYS_PSELECT6, "pselect6 number address address address address address", sys_pselect6},
    {SYS_PPOLL, "ppoll address number address address size", sys_ppoll},
    {SYS_SET_ROBUST_LIST, "set_robust_list address size", sys_decline},
    {SYS_DUP3, "dup3 fd fd how", sys_dup3}, {SYS_PIPE2, "pipe2 address how", sys_pipe2},
    {SYS_RSEQ, "rseq address size flags number", sys_decline},
    {SYS_CLONE3, "clone3 address size", sys_decline},
    {SYS_PROCESS_INFO, "process_info pid address", sys_process_info},
    {SYS_TRACE, "trace", sys_trace}};

// ## The audit {#shell-audit}
//
// All members of a group are in one session, and the terminal's session has
// its first process.

void shell_audit(void)
{
    const struct process *p, *first = tty.session ? process_find(tty.session) : NULL;

    assert(!tty.session || (first && first->threads && first->session == first->pid));
    for (p = process_first(); p; p = process_next(p))
        assert(group_find(p->group)->session == p->session);
}

struct audit shell_audits = {"groups", shell_audit, NULL};

// ## The last main {#shell-main}
//
// Everything is in place. The kernel starts `/sbin/init` as process 1, and
// waits for it to end, which it should not.

void ch14_init(void)
{
    ch13_init();
    hook_add_first(&user.ends, &shell_ends);
    hook_add_first(&user.ends, &trace_ends);
    tty.own = terminal_request;
    audit_add(&shell_audits);
    sys_add_calls(shell_calls, array_count(shell_calls));
}

void system_run(void)
{
    static const char *const arguments[] = {"/sbin/init", NULL};
    struct process *init;
    int error;

    boot_option("strace");
    boot_check_options();
    init = vfs_spawn(arguments, &error);
    if (!init)
        boot_refuse("/sbin/init cannot be started, error %d", error);
    init->program.traced = boot_option("strace") != NULL;
    trace_switch(init->program.traced);
    printf("init ended with status %d\n", process_wait(init));
}

void ch14_main(void)
{
    ch14_init();
    system_run();
}

// ## Try it {#shell-try}
//
// `make run`, and you are at a prompt. Without a terminal, commands are
// read from standard input:
//
// ::: {.transcript file="tests/golden/ch14.txt"}
// :::
//
// In the debugger, two programs are put together, and one of them waits for
// the other. When the reader closes its end, the writer is long gone: a
// recording knows who that was.
//
// ::: {.transcript file="book/gdb/ch14.txt"}
// :::
//
// ## What it costs {#proc-costs}
//
// The program [bench](#user-bench) uses each service many times. `make
// bench` runs it on an emulator that counts instructions, so that the
// figures repeat, and then runs the same file on Linux:
//
// ::: {.transcript file="tests/golden/speed.txt"}
// :::
//
// Linux does more: it has many processors, many users, and files on disks
// to think of. That our figures are smaller does not make us better. But
// they show what the mechanisms of this book cost by themselves, and where:
//
// - Of the first touch of a page, 512 instructions clear the frame, eight
//   bytes each. The rest is the way in and out, and the books.
// - To map, touch and unmap a single page takes two blocks from the heap.
//   Their red zones and poison cost as much as clearing a frame: insurance
//   has its price. The page table that it needs is one that somebody else
//   has just given back.
// - `fork` gets seven page tables and four frames of kernel stack for a
//   child that will perhaps only say `exit`.
// - A name in a directory is compared with a few others. The
//   [tree](#user-tree) knows with which.
//
// What does *not* appear is also telling: but for the last row, no figure
// depends on how much memory the machine has. (Those of `fork` depend on
// how many pages the process has written; that is what cloning costs.)
//
// And what if there are many? The same program makes ten, a hundred, a
// thousand mappings, files, descriptors or processes, and measures what one
// more of them costs, or one among them (`make bench-growth`). In a list,
// each of these numbers would be ten times the one above it, in the end. In
// a tree it is a little larger:
//
// ::: {.transcript file="tests/golden/growth.txt"}
// :::
//
// ::: {#fig-growth .figure file="book/figures/growth.py"}
//     cost |        . like a list
//          |      .   _  _  _  _  _  _  Linux
//          |  _ .  _
//          |  .  ____________----------  Rustica
//          +----------------------------
//           10     100     1,000   10,000
//
// What one of many costs, drawn by the book from the table above. Both
// scales are logarithmic; what costs ten times as much among ten times as
// many climbs like the faint line.
// :::
//
// ### Exercises {#shell-exercises}
//
// ::: {#ex-shell-ring .exercise level=1}
// Give the ring of a pipe 64 bytes. Nearly everything still works; what was
// promised and does not hold any more? *Name the promise, and write down
// two commands that, joined by a pipe or running beside each other, show
// it.*
// :::
//
// ::: {#ex-proc-jobs .exercise level=2}
// Implement ^Z: stopping, continuing, and `wait4` with `WUNTRACED`. *You
// can stop `spin`, run `ps`, and let it go on in the background.*
// :::
//
// ::: {#ex-proc-tee .exercise level=3}
// Write `tee`, `sort` and `uniq`, and with them a pipeline that finds the
// ten most frequent words in `/README`, each with how often it occurs. *The
// same pipeline gives the same on Linux.*
// :::
//
// ### Further reading {#shell-reading}
//
// Ritchie's "Evolution" again, for the night of the pipes. Stephen Bourne,
// "The UNIX Shell", *Bell System Technical Journal* 57(6), 1978; POSIX,
// *Shell Command Language*, for what became of it. Larry McVoy and Carl
// Staelin, "lmbench" (USENIX 1996), for how to measure such a system. And
// then another kernel: *xv6*, which is as short as this one, or Linux 0.11,
// which one person could still know by heart.
//
// ## What we have {#shell-have}
//
// A system. It starts on a bare machine, finds out what there is, gives
// each program a world of its own, lets them come and go, and forgets
// nobody's memory. You have read every line of it.

// # Chapter 15. Several hands {#ch-thread}
//===========================================================================
//
// A process was one program with one thread. Nothing in [Chapter
// 9](#sched-state) demands that: a thread is a stack and some registers,
// and a process has a *list* of them. If two threads run in one address
// space they share every variable, without asking anybody and at no cost. A
// browser draws while it loads, a server answers a hundred people, a
// program that computes can use as many processors as there are.
//
// And with the second thread comes a kind of mistake that a program with
// one cannot make. It shows up once in a thousand runs, never on the
// machine of who looks for it, and goes away when you print something. This
// chapter makes one on purpose, looks at it in the debugger, and then
// builds what prevents it: first in the program, without the kernel's help,
// and then with the one thing that the kernel has to add, which is called
// *futex*.
//
// ## Theory of operation {#thread-theory}
//
// Two threads each add one to a counter. In C that is one statement; the
// processor loads, adds and stores. The timer may come between any two
// instructions:
//
// ::: {#fig-race .figure file="book/figures/race.svg"}
//     A: load 5      .       .      add   store 6
//     B:   .       load 5   add   store 6    .        6, not 7
//
// Two additions, and one of them is lost. Time goes to the right; the line
// of the thread that does not run has dots.
// :::
//
// That is a **race**: what comes out depends on who is faster. The part of
// a program in which nobody else may see or change what it works on is a
// **critical section**; here it is the three instructions. There are three
// ways to protect one.
//
// - *One instruction.* On x86, `lock xadd` loads, adds and stores, and
//   nobody comes in between, neither an interrupt nor another processor.
//   That is **atomic**, and enough if the critical section is one word.
// - *A lock.* Whoever enters sets a word, whoever finds it set has to wait,
//   and whoever leaves clears it. To look whether it is clear and to set it
//   must be one instruction again: `xchg`, or `lock cmpxchg`, which stores
//   only if the word still is what we think it is.
// - *Nobody else.* The kernel itself has protected everything so far by not
//   letting itself be interrupted. A program must not have that power.
//
// How does one wait for a lock? To look again and again is called
// *spinning*. With one processor that is absurd: whoever has the lock
// cannot let go of it while we use up our time slice to look. So who waits
// should sleep, and only the kernel can put to sleep. But if each lock were
// a system call, those would pay who never wait, and these are nearly all.
//
// The way out is the *fast userspace mutex* (Franke, Russell and Kirkwood,
// 2002). The lock is a word in the program's memory, and the kernel knows
// nothing of it as long as nobody waits. There are two calls: "put me to
// sleep, if this word *still* is 2", and "wake up some of those who sleep
// at this word". The "still" is all there is to it. Between our look at the
// word and the call somebody may have cleared it, and rung the bell, when
// nobody slept yet: the *lost wakeup*. The kernel looks at the word once
// more, and from that look to the sleep it is not interrupted.
//
// With that, fifty lines make [a mutex, a condition and a
// semaphore](#user-lock). The mutex has three states, and the third is what
// the fast way is bought with:
//
// ::: {#fig-mutex .figure file="book/figures/mutex.svg"}
//     0 free  -- lock ---->  1 taken
//      ^ ^ |  <-- unlock --     |
//      | | |                    | somebody else wants it, and sleeps
//      | | '-- who has slept    v
//      | '---- locks it ---> 2 taken, somebody sleeps
//      '------ unlock: wake one
//
// The word of a mutex. The straight ways are one instruction of the
// program; on the others the kernel puts to sleep and wakes.
// :::
//
// Only who turns a 2 into a 0 has to call the kernel. Why must the one who
// has slept take the lock with a 2, and not with a 1? It does not know
// whether it was the only one. With a 1 it would let go without a call, and
// who still sleeps would sleep for ever. (A test tries the orders in which
// the instructions of two and of three threads can follow one another, with
// up to eight and four switches where nobody had to: a million and a half.
// And it has six wrong versions, of mutex, condition and semaphore. In each
// it finds an order that goes wrong.)
//
// Locks have a disease of their own. A has one and wants another; B has
// that one and wants the first. Each waits for the other: a **deadlock**.
// It takes four things: what is wanted cannot be shared, nobody can take it
// away, one may have something and wait for more, and the waiting goes in a
// circle (Coffman, 1971). The cheapest to do without is the circle: number
// the locks, and take them in the order of their numbers.
//
// The invariants: *a thread that is marked as ending does nothing more in
// ring 3; a word's waiters are woken in the order in which they came; who
// has been told to wake up does not stand among them any more*. As threads
// can also end at any point, in the kernel, in the middle of a call, all
// that a call has must hang on something that the thread itself gives back:
// *nobody ends another thread; one tells it, wakes it, and it ends itself*.
//
// **Shortcomings.** Threads share all that they have or are no threads:
// Linux can share memory and not descriptors. A futex does not lend the
// priority of who waits to who has it, as there are no priorities. What a
// process has used, nobody knows of its threads one by one; and a lock on a
// file belongs to all of them.
//
// ## State {#thread-state}
//
// Threads have numbers, out of the same sequence as processes; the first
// has that of its process. The others stand in a tree. Who waits at a word
// stands in a tree, too.

struct thread_state {
    struct tree_node *others;    /* threads that are not their process's first */
    struct tree_node *waiters;   /* at words, by these; who came first, first */
};

struct thread_state threads;

struct thread *thread_of(struct tree_node *n)
{
    return n ? container_of(n, struct thread, by_number) : NULL;
}

// The numbers only grow, so a new one is the last.

void thread_enter(struct thread *t)
{
    t->number = ++sched.last_pid;
    tree_insert(&threads.others, tree_end(threads.others, 1), 1, &t->by_number, 0);
}

bool thread_is_first(const struct thread *t)
{
    return t->number == t->process->pid;
}

// The thread with a number, NULL if there is none. A first one stands first
// in the list of its process, as long as it is there.

struct thread *thread_find(u32 number)
{
    struct process *p = process_find(number);
    struct tree_node *n = threads.others;

    if (p)
        return p->threads && thread_is_first(p->threads) ? p->threads : NULL;
    while (n && thread_of(n)->number != number)
        n = n->child[thread_of(n)->number < number];
    return thread_of(n);
}

// ## A second thread {#thread-clone}
//
// For Linux, a thread is what `clone` makes if the copy shares everything.
// The call that so far has made [copies](#proc-fork) gets flags for memory,
// directory, descriptors and handlers. We take all of them or none. A
// thread begins with its parent's registers as they are then; but it must
// have a stack of its own, and wants a place of its own for [what FS points
// to](#sys-arch).
//
// What the C library has to know is told in words of its memory: the number
// of the new thread, for parent and child. A third word is cleared when the
// thread *ends*, and who sleeps at it is woken. This is how joining a
// thread works.

#define THREAD_SHARES (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND)

void thread_tell(struct thread *t, const struct trap_frame *f)
{
    if (f->rdi & CLONE_SETTLS)
        t->fs_base = f->r8;
    if (f->rdi & CLONE_PARENT_SETTID)
        sys_copy_out(f->rdx, &t->number, sizeof t->number);
    if (f->rdi & CLONE_CHILD_SETTID)
        sys_copy_out(f->r10, &t->number, sizeof t->number);
    if (f->rdi & CLONE_CHILD_CLEARTID)
        t->cleared = f->r10;
}

s64 thread_clone(struct trap_frame *f)
{
    u64 flags = f->rdi;
    struct thread *t;

    if (!(flags & CLONE_SIGHAND) || !(flags & CLONE_VM))
        return -EINVAL;
    if ((flags & THREAD_SHARES) != THREAD_SHARES)
        return -ENOSYS;
    if (flags & CLONE_SETTLS && f->r8 >= USER_END)
        return -EPERM;
    t = thread_create(process_current());
    if (!t)
        return -EAGAIN;
    proc_copy_thread(t, thread_current(), f);
    t->handlers_stack = (struct signal_stack){0};
    if (f->rsi)
        thread_frame(t)->rsp = f->rsi;
    thread_enter(t);
    thread_tell(t, f);
    signal_update(t->process);
    thread_start(t);
    audit_now();
    return t->number;
}

// Both kinds, and [patience](#proc-relief) for both. The first thread of a
// copy may have such a word, too, for threads that the copy will have; it
// has not run yet.

s64 thread_clone_either(struct trap_frame *f)
{
    s64 pid;

    if (f->rdi & CLONE_THREAD)
        return thread_clone(f);
    pid = sys_clone(f);
    if (pid > 0 && f->rdi & CLONE_CHILD_CLEARTID)
        process_find((u32)pid)->threads->cleared = f->r10;
    return pid;
}

s64 thread_clone_patiently(struct trap_frame *f)
{
    return relief_repeat(f, thread_clone_either);
}

// The first thread of a process can ask for such a word only later. The
// answer is its number.

s64 sys_set_tid_address(struct trap_frame *f)
{
    thread_current()->cleared = f->rdi;
    return thread_current()->number;
}

// ## Words to sleep at {#thread-futex}
//
// Which word is meant? In memory that [processes share](#proc-fork) one
// word has many addresses, one in each; so there it is the VMO and the
// place in it that count. In all other memory it is the address space and
// the address. A program that knows that nobody else has the word says so,
// and saves us the look.

struct futex_word {
    const void *memory;          /* an address space, or a VMO */
    u64 place;                   /* an address in the one, an offset in the other */
};

int futex_find_word(struct futex_word *w, vaddr at, bool private)
{
    struct as *space = program_current()->space;
    struct mapping *m;
    u64 offset;

    if (at % sizeof(u32))
        return -EINVAL;
    if (at >= USER_END)
        return -EFAULT;
    *w = (struct futex_word){space, at};
    if (private)
        return 0;
    m = as_find(space, at);
    if (!m)
        return -EFAULT;
    if (m->rights & MAPPING_SHARED) {
        offset = (m->first << FRAME_SHIFT) + (at - m->start);
        w->memory = vmo_resolve(m->vmo, &offset);
        w->place = offset;
    }
    return 0;
}

// Who waits has this on its stack. It sleeps alone, in a queue of its own,
// as in one queue for all of a word it could not be chosen.

struct futex_waiter {
    struct tree_node node;
    struct futex_word word;
    u32 bits;                    /* who wakes must name one of them */
    bool waits;                  /* it has not been woken yet */
    struct wait_queue queue;
};

struct futex_waiter *futex_of(struct tree_node *n)
{
    return n ? container_of(n, struct futex_waiter, node) : NULL;
}

// Which of two words comes first: below 0 if it is `a`, 0 if they are one.

int futex_compare(const struct futex_word *a, const struct futex_word *b)
{
    if (a->memory != b->memory)
        return a->memory < b->memory ? -1 : 1;
    return a->place == b->place ? 0 : a->place < b->place ? -1 : 1;
}

// Into the tree, behind all who wait at the same word already; and out of
// it.

void futex_add(struct futex_waiter *w)
{
    struct tree_node *n, *parent = NULL;
    int side = 0;

    for (n = threads.waiters; n; n = n->child[side]) {
        parent = n;
        side = futex_compare(&w->word, &futex_of(n)->word) >= 0;
    }
    tree_insert(&threads.waiters, parent, side, &w->node, 0);
    w->waits = true;
}

void futex_remove(struct futex_waiter *w)
{
    tree_remove(&threads.waiters, &w->node);
    w->waits = false;
}

// The first who waits at a word, and the one behind another one there.

struct futex_waiter *futex_first(const struct futex_word *word)
{
    struct tree_node *n = threads.waiters;
    struct futex_waiter *found = NULL;
    int order;

    while (n) {
        order = futex_compare(&futex_of(n)->word, word);
        if (order == 0)
            found = futex_of(n);
        n = n->child[order < 0];
    }
    return found;
}

struct futex_waiter *futex_next(const struct futex_waiter *w)
{
    struct futex_waiter *next = futex_of(tree_step(&w->node, 1));

    return next && futex_compare(&next->word, &w->word) == 0 ? next : NULL;
}

// To wait: if the word is what is expected, until somebody wakes us, or a
// time (of `time_now()`, 0 for none) has come. Between reading the word and
// sleeping nothing can happen. That is the whole point, and there is no
// line of code to be seen for it. 0, -EAGAIN if the word is another,
// -EFAULT, -ETIMEDOUT, -EINTR.

s64 futex_wait(const struct futex_word *word, vaddr at, u32 expected, u32 bits, u64 until)
{
    struct futex_waiter w = {.word = *word, .bits = bits};
    int reason;
    u32 value;

    if (sys_copy_in(&value, at, sizeof value))
        return -EFAULT;
    if (value != expected)
        return -EAGAIN;
    futex_add(&w);
    reason = sched_sleep(&w.queue, until);
    if (!w.waits)
        return 0;
    futex_remove(&w);
    return reason;
}

// ::: {#walk-futex .walk}
//     from futex_wait if expected == 2
//     into futex_add sched_sleep queue_append sched_schedule queue_remove
//     to   sched_switch
//     show threads.waiters
//     draw list sched.ready.first next number
//     draw list sched_sleep::q->first next number
//     type threads
//
// The mutex still has the 2 in it that the program has seen; so the thread
// goes to sleep at it, and the next one has its turn.
// :::
//
// To wake: at most so many of those who wait at a word, in the order in
// which they came. Returns how many.

u64 futex_wake(const struct futex_word *word, u64 most, u32 bits)
{
    struct futex_waiter *w = futex_first(word), *next;
    u64 woken = 0;

    for (; w && woken < most; w = next) {
        next = futex_next(w);
        if (!(w->bits & bits))
            continue;
        futex_remove(w);
        sched_wake(&w->queue);
        woken++;
    }
    return woken;
}

// Who wakes a hundred threads that all want one lock has ninety-nine of
// them wake up to fall asleep again. Better to wake one and *requeue* the
// others: they go on sleeping, at the lock's word. Returns how many.

u64 futex_move(const struct futex_word *from, const struct futex_word *to, u64 most)
{
    struct futex_waiter *w = futex_first(from), *next;
    u64 moved = 0;

    if (futex_compare(from, to) == 0)
        return 0;
    for (; w && moved < most; w = next) {
        next = futex_next(w);
        futex_remove(w);
        w->word = *to;
        futex_add(w);
        moved++;
    }
    return moved;
}

// One call does all this. Until when is said in three ways: for some time
// from now, until a time of the clock that nobody sets, or until a date.

int futex_until(const struct trap_frame *f, u64 *until)
{
    u64 time, date = (u64)sys.boot_seconds * 1000000000;
    int error;

    *until = 0;
    if (!f->r10)
        return 0;
    error = (int)sys_read_time(f->r10, &time);
    if (error)
        return error;
    if ((f->rsi & FUTEX_COMMANDS) == FUTEX_WAIT)
        time += time_now();
    else if (f->rsi & FUTEX_CLOCK_REALTIME)
        time = time > date ? time - date : 0;
    *until = max(time, 1);
    return 0;
}

s64 futex_sleep(const struct trap_frame *f, const struct futex_word *word, u32 bits)
{
    u64 until;
    int error = bits ? futex_until(f, &until) : -EINVAL;

    return error ? error : futex_wait(word, f->rdi, (u32)f->rdx, bits, until);
}

// If the first word must be what is expected, that is looked up here.
// Negative numbers mean: none.

s64 futex_requeue(const struct trap_frame *f, const struct futex_word *from, bool compare)
{
    struct futex_word to;
    u32 value;
    s64 error = futex_find_word(&to, f->r8, f->rsi & FUTEX_PRIVATE_FLAG);
    s64 woken;

    if (error)
        return error;
    if ((s32)f->rdx < 0 || (s32)f->r10 < 0)
        return -EINVAL;
    if (compare && sys_copy_in(&value, f->rdi, sizeof value))
        return -EFAULT;
    if (compare && value != (u32)f->r9)
        return -EAGAIN;
    woken = (s64)futex_wake(from, (u32)f->rdx, FUTEX_ALL);
    return woken + (s64)futex_move(from, &to, (u32)f->r10);
}

s64 sys_futex(struct trap_frame *f)
{
    u64 command = f->rsi & FUTEX_COMMANDS;
    struct futex_word word;
    int error = futex_find_word(&word, f->rdi, f->rsi & FUTEX_PRIVATE_FLAG);

    if (f->rsi & FUTEX_CLOCK_REALTIME && command != FUTEX_WAIT_BITSET)
        return -ENOSYS;
    if (error)
        return error;
    switch (command) {
    case FUTEX_WAIT: return futex_sleep(f, &word, FUTEX_ALL);
    case FUTEX_WAIT_BITSET: return futex_sleep(f, &word, (u32)f->r9);
    case FUTEX_WAKE: return (s64)futex_wake(&word, (u32)f->rdx, FUTEX_ALL);
    case FUTEX_WAKE_BITSET:
        return (u32)f->r9 ? (s64)futex_wake(&word, (u32)f->rdx, (u32)f->r9) : -EINVAL;
    case FUTEX_REQUEUE: return futex_requeue(f, &word, false);
    case FUTEX_CMP_REQUEUE: return futex_requeue(f, &word, true);
    default: return -ENOSYS;
    }
}

// ## Locks that outlive their owner {#thread-robust}
//
// A process may end while it has a lock in memory that others share, and
// then they wait for ever. So the C library keeps a list of the locks that
// a thread has, in the thread's own memory, with the owner's number in
// each, and tells the kernel where the list begins. When the thread ends we
// go through it: each lock that is still his gets a mark, and one who waits
// for it is woken. What is to become of the half-changed data, the mark
// asks *him*.
//
// The list may be garbage, or a circle; we follow it for so many steps, and
// believe nothing but that a word is a word.

#define ROBUST_MOST 2048

void robust_mark(const struct thread *t, vaddr at)
{
    struct futex_word word;
    u32 value;

    if (futex_find_word(&word, at, false) || sys_copy_in(&value, at, sizeof value) ||
        (value & FUTEX_TID_MASK) != t->number)
        return;
    value = (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
    if (!sys_copy_out(at, &value, sizeof value) && value & FUTEX_WAITERS)
        futex_wake(&word, 1, FUTEX_ALL);
}

// One more may be on its way into the list, or out of it. Bit 0 of an entry
// is of no interest to us.

void robust_walk(struct thread *t)
{
    struct robust_list_head head;
    vaddr entry;
    u64 steps;

    if (!t->robust || sys_copy_in(&head, t->robust, sizeof head))
        return;
    entry = head.first;
    for (steps = 0; (entry & ~1UL) != t->robust && steps < ROBUST_MOST; steps++) {
        if (entry != head.pending)
            robust_mark(t, (entry & ~1UL) + (u64)head.offset);
        if (sys_copy_in(&entry, entry & ~1UL, sizeof entry))
            break;
    }
    if (head.pending)
        robust_mark(t, (head.pending & ~1UL) + (u64)head.offset);
}

s64 sys_set_robust_list(struct trap_frame *f)
{
    if (f->rsi != sizeof(struct robust_list_head))
        return -EINVAL;
    thread_current()->robust = f->rdi;
    return 0;
}

s64 sys_get_robust_list(struct trap_frame *f)
{
    struct thread *t = (u32)f->rdi ? thread_find((u32)f->rdi) : thread_current();
    u64 size = sizeof(struct robust_list_head);

    if (!t)
        return -ESRCH;
    if (sys_copy_out(f->rdx, &size, sizeof size) ||
        sys_copy_out(f->rsi, &t->robust, sizeof t->robust))
        return -EFAULT;
    return 0;
}

// ## The end {#thread-end}
//
// A thread ends, or all of a process do. In either case each ends itself,
// in these lines. The word that shall be cleared is of interest only to
// other threads. A signal that was sent to the process, and that this
// thread was woken for, may be left over for another; so those who have
// something to expect are woken.

void thread_wake_others(struct process *p)
{
    struct thread *t;

    signal_update(p);
    for (t = p->threads; t; t = t->sibling)
        if (t->context.attention)
            sched_wake_thread(t, -EINTR);
}

void thread_say_goodbye(struct thread *t)
{
    struct futex_word word;
    u32 zero = 0;

    robust_walk(t);
    if (!t->cleared || t->process->threads->sibling == NULL)
        return;
    if (!futex_find_word(&word, t->cleared, false) &&
        !sys_copy_out(t->cleared, &zero, sizeof zero))
        futex_wake(&word, 1, FUTEX_ALL);
}

void noreturn thread_leave(void)
{
    struct thread *t = thread_current();

    thread_say_goodbye(t);
    signal_forget(&t->sent, ~0UL);
    thread_wake_others(t->process);
    if (!thread_is_first(t))
        tree_remove(&threads.others, &t->by_number);
    thread_end();
}

// One thread ends by `exit`. What it says is heard if it is the first, and
// is how the process has ended if nobody says anything else.

s64 sys_exit_thread(struct trap_frame *f)
{
    if (thread_is_first(thread_current()))
        process_current()->exit_code = (int)(f->rdi & 0xff);
    thread_leave();
}

// All end by `exit_group`, by a signal, by a fault: whatever ends a
// program. The others may be anywhere: about to run, asleep in
// the middle of a call, or in a pause. All of them are marked and woken. A
// call that sleeps returns with -EINTR, as for a signal, gives back what it
// has, and on the way to ring 3 the thread comes by at `thread_leaving`.

void thread_end_others(void)
{
    struct thread *me = thread_current(), *t;

    for (t = me->process->threads; t; t = t->sibling)
        if (t != me)
            t->ending = true;
    thread_wake_others(me->process);
}

// Who has been told to end has no say in how the process does.

void thread_end_process(int code, int signal)
{
    struct thread *me = thread_current();

    if (!me->ending) {
        me->process->exit_code = code;
        me->process->exit_signal = signal;
        thread_end_others();
    }
    thread_leave();
}

int thread_come_by(void *frame)
{
    (void)frame;
    if (thread_current()->ending)
        thread_leave();
    return 0;
}

struct hook thread_leaving = {thread_come_by, NULL};

// Another program begins with one thread: the one that has asked for it,
// whichever that was. It gets the number of the process, and waits until it
// is alone. (Two may ask at the same time. The second finds itself marked.)

int thread_remain(void *program)
{
    struct process *p = container_of(program, struct process, program);
    struct thread *me = thread_current();

    if (me->ending)
        return -EINTR;
    thread_end_others();
    while (p->threads != me || me->sibling) {
        if (me->ending)
            return -EINTR;
        sched_yield();
    }
    robust_walk(me);
    me->robust = me->cleared = 0;
    if (!thread_is_first(me))
        tree_remove(&threads.others, &me->by_number);
    me->number = p->pid;
    return 0;
}

struct hook thread_replacing = {thread_remain, NULL};

// ## To one of them {#thread-kill}
//
// Signals can be [sent to a thread](#signal-kill); now there are some to
// choose from.

s64 thread_kill(u32 process, u32 number, u64 signal)
{
    struct thread *t = thread_find(number);
    struct process *p = t ? t->process : process_find(number);

    if ((s32)number <= 0)
        return -EINVAL;
    if (!p || (process && p->pid != process))
        return -ESRCH;
    return signal_to_thread(t, signal);
}

s64 sys_tkill_thread(struct trap_frame *f)
{
    return thread_kill(0, (u32)f->rdi, (u32)f->rsi);
}

s64 sys_tgkill_thread(struct trap_frame *f)
{
    return (s32)f->rdi <= 0 ? -EINVAL : thread_kill((u32)f->rdi, (u32)f->rsi, (u32)f->rdx);
}

// ## The audit {#thread-audit}
//
// Each thread is the first of its process or stands in the tree; all who
// wait at a word are asleep, alone, and in order.

void thread_audit_numbers(void)
{
    const struct process *p;
    const struct thread *t;
    struct tree_node *n;
    u64 others = 0, found = 0;

    tree_audit(threads.others, NULL);
    for (p = process_first(); p; p = process_next(p))
        for (t = p->threads; t; t = t->sibling) {
            others += !thread_is_first(t);
            assert(thread_find(t->number) == t);
        }
    for (n = tree_end(threads.others, 0); n; n = tree_step(n, 1))
        found++;
    assert(found == others);
}

void thread_audit_waiters(void)
{
    struct futex_waiter *w, *next;

    tree_audit(threads.waiters, NULL);
    for (w = futex_of(tree_end(threads.waiters, 0)); w; w = next) {
        next = futex_of(tree_step(&w->node, 1));
        assert(w->waits && (!w->queue.first || w->queue.first == w->queue.last));
        assert(!next || futex_compare(&w->word, &next->word) <= 0);
    }
}

void thread_audit(void)
{
    thread_audit_numbers();
    thread_audit_waiters();
}

struct audit thread_audits = {"futexes", thread_audit, NULL};

// ## Setting up {#thread-init}
//
// (`madvise`, by which C libraries give back what was the stack of a
// thread, is advice. We do not take it, and nobody minds.)

const struct system_call thread_calls[] = {
    {SYS_CLONE, "clone flags address address address address", thread_clone_patiently},
    {SYS_EXIT, "exit number", sys_exit_thread},
    {SYS_TKILL, "tkill pid signal", sys_tkill_thread},
    {SYS_TGKILL, "tgkill pid pid signal", sys_tgkill_thread},
    {SYS_MADVISE, "madvise address size number", sys_decline},
    {SYS_FUTEX, "futex address number number address address number", sys_futex},
    {SYS_SET_TID_ADDRESS, "set_tid_address address", sys_set_tid_address},
    {SYS_SET_ROBUST_LIST, "set_robust_list address size", sys_set_robust_list},
    {SYS_GET_ROBUST_LIST, "get_robust_list pid address address", sys_get_robust_list}};

void ch15_init(void)
{
    ch14_init();
    user.end = thread_end_process;
    hook_add_first(&sys.leaving, &thread_leaving);
    hook_add_last(&exec_replacing, &thread_replacing);
    audit_add(&thread_audits);
    sys_add_calls(thread_calls, array_count(thread_calls));
}

// The system as before, in which programs may now have many threads.

void ch15_main(void)
{
    ch15_init();
    system_run();
}

// ## Try it {#thread-try}
//
// `make run`, and at the prompt [`threads`](#user-threads):
//
// ::: {.transcript file="tests/golden/ch15.txt"}
// :::
//
// In the debugger one can watch a number get lost, and see who sleeps at
// whose fork: the first guest holds what the last one wants.
//
// ::: {.transcript file="book/gdb/ch15.txt"}
// :::
//
// ### Exercises {#thread-exercises}
//
// ::: {#ex-thread-states .exercise level=1}
// Is the third state worth it? Write the mutex with two, 0 and 1, in which
// whoever lets go calls the kernel. How many calls of `futex` are a
// thousand times `mutex_lock()` and `mutex_unlock()`, by a thread that is
// alone, with two states, and how many with three? Then four threads sleep
// at a mutex with three states, which a fifth one has, and each of the five
// lets go once: how many calls wake, or try to? And how many of the four
// sleep for ever if who has slept takes the lock with a 1? *You have four
// numbers, and the reason for each; `strace` finds the same.*
// :::
//
// ::: {#ex-thread-barrier .exercise level=2}
// Computing in parallel often goes in rounds: nobody may begin the next one
// before all are through with this one. Add a structure `barrier` to
// [lock.h](#user-lock), made of what is there, and all zeros to begin with.
// `barrier_wait(&b, n)` returns to nobody before n threads have called it,
// and sleeps until then; and the same barrier serves the next round, and
// the next. *Whatever the order in which two or three threads come by, and
// wherever they are interrupted, each comes out of each round, and none
// before all are in.*
// :::
//
// ::: {#ex-thread-times .exercise level=2}
// Let `getrusage` with `RUSAGE_THREAD` tell what the calling thread has
// used by itself, up to this moment, while `RUSAGE_SELF` tells of all
// threads, also of those that have ended. `clock_gettime`, which declines
// two clocks, should say the same in nanoseconds: clock 2 of the process,
// clock 3 of the thread. *Of three threads one computes, one computes three
// times as much, one sleeps. Each learns its own, and together with the
// first thread's it is what the process has used, within a twentieth.*
// :::
//
// ::: {#ex-thread-circle .exercise level=3}
// Five at dinner wait in a circle, and the kernel could see it if it knew
// who has which fork. Linux has such locks. In the word stands the owner's
// number (`FUTEX_TID_MASK`), or 0. A program takes a free one by itself,
// and lets go of it by itself if nothing but its number is in it. Otherwise
// it calls `futex`: command 6, `FUTEX_LOCK_PI`, takes the lock if it is
// free, or sets `FUTEX_WAITERS` in the word and sleeps; command 7,
// `FUTEX_UNLOCK_PI`, is for the owner alone (-EPERM), and *hands* the lock
// to who came first, with his number in the word, and `FUTEX_WAITERS` if
// there are more. Implement both, for threads of one and of many processes,
// without the time limit and the lending of priorities. Who would wait for
// himself, or for somebody who waits, by way of others perhaps, for him,
// gets -EDEADLK. *Of the five, each with a fork in hand, one is refused and
// puts it down, and all eat; and nobody is refused who waits in no circle.*
// :::
//
// ### Further reading {#thread-reading}
//
// *OSTEP*, chapters 26 to 34, the best there is about all this for a
// beginner. Edsger Dijkstra, "Solution of a Problem in Concurrent
// Programming Control" (*CACM* 8(9), 1965), one page, with which it began.
// Hubertus Franke, Rusty Russell and Matthew Kirkwood, "Fuss, Futexes and
// Furwocks" (Ottawa Linux Symposium 2002); Ulrich Drepper, "Futexes Are
// Tricky" (2011), who derives the three states, and shows what goes wrong
// with two. Hans-J. Boehm, "Threads Cannot Be Implemented as a Library"
// (PLDI 2005), on what compilers make of it. Edward Coffman, Melanie
// Elphick and Arie Shoshani, "System Deadlocks" (*Computing Surveys* 3(2),
// 1971).
//
// ## What we have {#thread-have}
//
// Programs with many threads, those of others included: what was built with
// a C library for Linux runs here as it is. Who waits costs nothing, who
// does not wait does not even ask us. But only one of them runs at a time,
// as there is one processor, and all the care that the kernel has to take
// is not to be interrupted. That will not do when there are two.
