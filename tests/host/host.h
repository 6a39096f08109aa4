/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/*
 * What all tests on the host share. A test program includes this header, which
 * includes rustica.c itself: every function and every structure is in reach,
 * and nothing in rustica.c knows of tests. The command is
 *
 *     gcc -std=gnu11 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
 *         -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all \
 *         tests/host/NAME.c -o NAME -lcmocka
 *
 * (Hidden, so that no library calls a function of the kernel instead of one of its own
 * that has the same name, as sched_yield() has. Unresolved are the programs that a kernel
 * carries, _binary_hello_start and so on. Each test repeats the first line of this file,
 * where tests/run.py looks for it.)
 *
 * Names that the C library has too are changed by macros, so that a test can
 * have both: rustica_snprintf() is the kernel's. Where the test itself wants the C
 * library's it says libc_snprintf and so on.
 *
 * RUSTICA_TEST_SCALE=n makes every random loop n times as long.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>
#include <sanitizer/asan_interface.h>

unsigned alarm(unsigned seconds);      /* without the other names of unistd.h */

static int (*const libc_printf)(const char *, ...) = printf;
static int (*const libc_snprintf)(char *, size_t, const char *, ...) = snprintf;
static int (*const libc_vsnprintf)(char *, size_t, const char *, va_list) = vsnprintf;
static void *(*const libc_memset)(void *, int, size_t) = memset;
static void *(*const libc_memcpy)(void *, const void *, size_t) = memcpy;
static void *(*const libc_memmove)(void *, const void *, size_t) = memmove;
static int (*const libc_memcmp)(const void *, const void *, size_t) = memcmp;
static size_t (*const libc_strlen)(const char *) = strlen;

static int host_unprotect(void *start, size_t size)
{
    return mprotect(start, size, PROT_READ | PROT_WRITE | PROT_EXEC);
}

/* Not every test uses all of this. */
#pragma GCC diagnostic ignored "-Wunused-function"

/* Functions that a test replaces at run time: they must not be inlined, the compiler
   must not use what it knows of them, and they need room for a jump. */
#define HOST_REPLACEABLE __attribute__((noipa, patchable_function_entry(16)))

#undef assert
#undef PROT_READ
#undef PROT_WRITE
#undef PROT_EXEC
#undef PROT_NONE
#undef MAP_SHARED
#undef MAP_PRIVATE
#undef MAP_FIXED
#undef MAP_ANONYMOUS
#undef SEEK_SET
#undef SEEK_CUR
#undef SEEK_END
#undef WNOWAIT

#define printf(...) rustica_printf(__VA_ARGS__)
#define snprintf(...) rustica_snprintf(__VA_ARGS__)
#define vsnprintf(...) rustica_vsnprintf(__VA_ARGS__)
#define memset(...) rustica_memset(__VA_ARGS__)
#define memcpy(...) rustica_memcpy(__VA_ARGS__)
#define memmove(...) rustica_memmove(__VA_ARGS__)
#define memcmp(...) rustica_memcmp(__VA_ARGS__)
#define strlen(...) rustica_strlen(__VA_ARGS__)

typedef unsigned long host_u64;

HOST_REPLACEABLE void *memset(void *, int, host_u64);
HOST_REPLACEABLE void *memcpy(void *, const void *, host_u64);
HOST_REPLACEABLE void *memmove(void *, const void *, host_u64);
HOST_REPLACEABLE void boot_exit(int) __attribute__((noreturn));
HOST_REPLACEABLE void thread_end(void) __attribute__((noreturn));
HOST_REPLACEABLE host_u64 boot_dynamic(host_u64);
HOST_REPLACEABLE void cpu_cli(void);
HOST_REPLACEABLE void cpu_hlt(void);
HOST_REPLACEABLE _Bool cpu_interrupts_on(void);
HOST_REPLACEABLE void cpu_int3(void);
HOST_REPLACEABLE void cpu_invlpg(host_u64);
HOST_REPLACEABLE host_u64 cpu_rdmsr(unsigned);
HOST_REPLACEABLE void cpu_wrmsr(unsigned, host_u64);
HOST_REPLACEABLE void cpu_fxrstor();
HOST_REPLACEABLE unsigned char cpu_inb(unsigned short);
HOST_REPLACEABLE unsigned short cpu_inw(unsigned short);
HOST_REPLACEABLE void cpu_outb(unsigned short, unsigned char);
HOST_REPLACEABLE void cpu_outw(unsigned short, unsigned short);
HOST_REPLACEABLE host_u64 cpu_read_cr0(void);
HOST_REPLACEABLE host_u64 cpu_read_cr2(void);
HOST_REPLACEABLE host_u64 cpu_read_cr3(void);
HOST_REPLACEABLE host_u64 cpu_read_cr4(void);
HOST_REPLACEABLE void cpu_write_cr0(host_u64);
HOST_REPLACEABLE void cpu_write_cr3(host_u64);
HOST_REPLACEABLE void cpu_write_cr4(host_u64);
HOST_REPLACEABLE void cpu_lgdt();
HOST_REPLACEABLE void cpu_lidt();
HOST_REPLACEABLE void cpu_ltr(unsigned short);
HOST_REPLACEABLE unsigned cpu_inl(unsigned short);
HOST_REPLACEABLE host_u64 cpu_rdtsc(void);
HOST_REPLACEABLE struct cpuid cpu_cpuid(unsigned, unsigned);
HOST_REPLACEABLE void cpu_admit_interrupts(void);
HOST_REPLACEABLE unsigned apic_read(unsigned);
HOST_REPLACEABLE void apic_write(unsigned, unsigned);

/* What the linker supplies in a real kernel. */
void kernel_main(void)
{
}

/* Structures of Linux that the kernel defines for itself; only while we read it. */
#define timespec rustica_timespec
#define timeval rustica_timeval
#define dirent rustica_dirent

#include "../../rustica.c"

#undef timespec
#undef timeval
#undef dirent

/* ---- Saying what is wrong ----------------------------------------------- */

/* Both sides are taken as 64-bit numbers; the rest is a printf-like sentence about
   what was computed. */
#define expect_equal(got, expected, ...) \
    host_expect((u64)(got), (u64)(expected), __FILE__, __LINE__, __VA_ARGS__)
#define expect_true(truth, ...) expect_equal(!!(truth), 1, __VA_ARGS__)
#define expect_text(got, expected, ...) \
    host_expect_text(got, expected, __FILE__, __LINE__, __VA_ARGS__)

static void host_say(const char *file, int line, const char *text, va_list ap, const char *detail)
{
    char what[512];

    libc_vsnprintf(what, sizeof what, text, ap);
    print_error("%s: %s\n", what, detail);
    _fail(file, line);
}

static void __attribute__((format(printf, 5, 6)))
host_expect(u64 got, u64 expected, const char *file, int line, const char *text, ...)
{
    char detail[128];
    va_list ap;

    if (got == expected)
        return;
    libc_snprintf(detail, sizeof detail, "expected %ld (0x%lx), got %ld (0x%lx)", (s64)expected,
                  expected, (s64)got, got);
    va_start(ap, text);
    host_say(file, line, text, ap, detail);
    va_end(ap);
}

static void __attribute__((format(printf, 5, 6)))
host_expect_text(const char *got, const char *expected, const char *file, int line,
                 const char *text, ...)
{
    char detail[1024];
    va_list ap;

    if (strcmp(got, expected) == 0)
        return;
    libc_snprintf(detail, sizeof detail, "expected \"%s\", got \"%s\"", expected, got);
    va_start(ap, text);
    host_say(file, line, text, ap, detail);
    va_end(ap);
}

/* ---- Panics and other ends ---------------------------------------------- */

/* A panic calls boot.panic_hook before it would stop the machine; boot_exit() is
   replaced by a function that comes here, too. If the test waits for it, back to
   the test; if not, the test has failed. */
static struct {
    jmp_buf back;
    bool waiting, exited;
    int status;
    char message[256];
} host_end;

static void host_panic_hook(const char *file, int line, const char *message)
{
    libc_snprintf(host_end.message, sizeof host_end.message, "%s", message);
    if (!host_end.waiting) {
        print_error("panic at %s:%d: %s\n", file, line, message);
        _fail(file, line);
    }
    longjmp(host_end.back, 1);
}

static void host_exit(int status)
{
    host_end.exited = true;
    host_end.status = status;
    if (!host_end.waiting) {
        print_error("the kernel stopped with status %d\n", status);
        _fail(__FILE__, __LINE__);
    }
    longjmp(host_end.back, 1);
}

static bool host_ended(const char *part)
{
    host_end.waiting = false;
    return strstr(host_end.message, part) != NULL;
}

/* What changes between setjmp() and longjmp() is only what the expression changes. */
#pragma GCC diagnostic ignored "-Wclobbered"

/* The expression must end in a panic whose message contains `part`. */
#define expect_panic(expression, part) \
    do { \
        host_end.message[0] = 0; \
        host_end.waiting = true; \
        if (setjmp(host_end.back) == 0) { \
            expression; \
            host_end.waiting = false; \
            print_error("%s: expected a panic with \"%s\", got none\n", #expression, part); \
            _fail(__FILE__, __LINE__); \
        } \
        if (!host_ended(part)) { \
            print_error("%s: expected a panic with \"%s\", got \"%s\"\n", #expression, part, \
                           host_end.message); \
            _fail(__FILE__, __LINE__); \
        } \
    } while (0)

/* The expression must end in boot_exit(wanted), without a panic. */
#define expect_exit(expression, wanted) \
    do { \
        host_end.message[0] = 0; \
        host_end.waiting = true; \
        host_end.exited = false; \
        if (setjmp(host_end.back) == 0) { \
            expression; \
        } \
        host_end.waiting = false; \
        expect_text(host_end.message, "", "panic in %s", #expression); \
        expect_true(host_end.exited, "%s ends the kernel", #expression); \
        expect_equal(host_end.status, wanted, "status of %s", #expression); \
    } while (0)

/* Writes a jump to `to` over the beginning of `from`. */
static void host_replace(void *from, void *to)
{
    u8 jump[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}; /* movabs to, rax; jmp *rax */
    u64 page = align_down(from, FRAME_SIZE);

    libc_memcpy(jump + 2, &to, sizeof to);
    if (host_unprotect((void *)page, 2 * FRAME_SIZE)) {
        print_error("cannot replace a function: mprotect() failed\n");
        abort();
    }
    libc_memcpy(from, jump, sizeof jump);
}

/* String instructions are invisible to the sanitizers. So outside the test of these
   functions themselves the C library's stand in, which are watched. */
static void host_watch_memory(void)
{
    host_replace(rustica_memset, libc_memset);
    host_replace(rustica_memcpy, libc_memcpy);
    host_replace(rustica_memmove, libc_memmove);
}

/* ---- What the kernel prints --------------------------------------------- */

static struct {
    char text[65536];
    u64 length;
} host_output;

static void host_put(char c)
{
    if (host_output.length + 1 < sizeof host_output.text)
        host_output.text[host_output.length++] = c;
    host_output.text[host_output.length] = 0;
}

static struct console host_console = {"test", host_put, NULL};

static void host_forget_output(void)
{
    host_output.length = 0;
    host_output.text[0] = 0;
}

/* ---- Chance ------------------------------------------------------------- */

/* splitmix64; a test makes one generator for each round, from the round's number,
   so that the round in a complaint is all it takes to repeat it. */
static u64 host_random(u64 *seed)
{
    u64 z = *seed += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static u64 host_below(u64 *seed, u64 limit)
{
    return host_random(seed) % limit;
}

static u64 host_rounds(u64 usual)
{
    const char *scale = getenv("RUSTICA_TEST_SCALE");

    return scale && atol(scale) > 0 ? usual * (u64)atol(scale) : usual;
}

/* A figure that tests/proof.py looks for in the log. It is counted where it is done. */
static void host_proof(const char *what, u64 figure)
{
    libc_printf("proof: %s %lu\n", what, figure);
}

/* ---- A machine ---------------------------------------------------------- */

#define HOST_MAP_MAX 4096

/* Physical address p is arena + p. The map is what the firmware would say of it. */
static struct {
    u8 *arena;
    u64 size;
    struct boot_info info;
    u64 map[HOST_MAP_MAX * 8];
} host;

static void host_start_map(u64 stride)
{
    host.info.map = (u8 *)host.map;
    host.info.map_stride = stride;
    host.info.map_size = 0;
    host.info.reserved_count = 0;
}

static void host_add_map(u32 type, paddr start, u64 pages)
{
    struct efi_descriptor *d = (struct efi_descriptor *)(host.info.map + host.info.map_size);

    *d = (struct efi_descriptor){.type = type, .start = start, .pages = pages,
                                   .attributes = EFI_MEMORY_WB};
    host.info.map_size += host.info.map_stride;
    if (host.info.map_size + host.info.map_stride > sizeof host.map)
        abort();
}

static void host_add_reserved(const char *name, paddr start, u64 size)
{
    host.info.reserved[host.info.reserved_count++] = (struct boot_range){name, start, size};
}

/* Forgets everything and begins again with so much memory, filled with rubbish,
   and an empty map. */
static void host_reset(u64 size)
{
    if (size != host.size) {
        free(host.arena);
        host.arena = size ? aligned_alloc(2 * MIB, align_up(size, 2 * MIB)) : NULL;
        host.size = size;
    }
    if (size) {
        ASAN_UNPOISON_MEMORY_REGION(host.arena, size);
        libc_memset(host.arena, 0xa5, size);
    }
    libc_memset(&host.info, 0, sizeof host.info);
    libc_memset(&boot, 0, sizeof boot);
    libc_memset(&zones, 0, sizeof zones);
    libc_memset(&pmm, 0, sizeof pmm);
    host.info.direct_map = host.arena;
    host_start_map(sizeof(struct efi_descriptor));
    boot.info = &host.info;
    boot.panic_hook = host_panic_hook;
    boot_add_console(&host_console);
    host_forget_output();
    host_end.waiting = false;
}

/* Zones and frames over an arena of `size` bytes, all of it free memory. */
static void host_machine(u64 size)
{
    host_reset(size);
    host_add_map(EFI_CONVENTIONAL, 0, size >> FRAME_SHIFT);
    zone_build(&zones, &host.info, DIRECT_MAP_SIZE);
    zone_audit(&zones, &host.info);
    pmm_build(&pmm, &zones, &host.info);
}

/* Linux's programs have no use for GS, so here, too, it leads to the processor's own. */
__attribute__((constructor)) static void host_local(void)
{
    long result = 158;           /* arch_prctl, ARCH_SET_GS */

    cpu_boot.self = &cpu_boot;
#ifdef MSR_LSTAR                 /* if chapter 7 is there */
    cpu_boot.context = &user.boot;
#endif
    __asm__ volatile("syscall" : "+a"(result) : "D"(0x1001), "S"(&cpu_boot)
                     : "rcx", "r11", "memory");
    assert(!result);
}

static int host_setup(void **state)
{
    (void)state;
    host_replace(boot_exit, host_exit);
    host_reset(0);
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    host_reset(0);
    return 0;
}

#define host_run(tests) cmocka_run_group_tests(tests, host_setup, host_teardown)
