/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* The mains of chapters 1 to 7, on a machine with pretended devices; and what only they
   use: consoles, the end. */

#include "host.h"

/* ---- A machine's devices ------------------------------------------------ */

static struct {
    bool has_debug_port, has_serial, serial_is_busy;
    u8 serial[8];
    char debug_text[65536], serial_text[65536];
    u64 debug_length, serial_length;
    u8 exit_status;
    u32 exits, halts, returns;
    u64 cr4;
} machine;

static u8 port_read(u16 port)
{
    if (port == DEBUG_PORT)
        return machine.has_debug_port ? DEBUG_PORT : 0xff;
    if (port >= COM1 && port < COM1 + 8 && machine.has_serial)
        return port == COM1 + 5 ? machine.serial_is_busy ? 0 : 0x20 : machine.serial[port - COM1];
    return 0xff;
}

static void port_write(u16 port, u8 value)
{
    if (port == DEBUG_PORT)
        machine.debug_text[machine.debug_length++] = (char)value;
    if (port == DEBUG_EXIT_PORT)
        machine.exits++, machine.exit_status = value;
    if (port < COM1 || port >= COM1 + 8)
        return;
    if (port == COM1 && !(machine.serial[3] & 0x80) && value == '\r')
        machine.returns++;
    else if (port == COM1 && !(machine.serial[3] & 0x80))
        machine.serial_text[machine.serial_length++] = (char)value;
    machine.serial[port - COM1] = value;
}

static u16 port_read_word(u16 port)
{
    (void)port;
    return 1;
}

static void port_write_word(u16 port, u16 value)
{
    (void)port, (void)value;
}

/* There is no way on from here. */
static void halt(void)
{
    machine.halts++;
    longjmp(host_end.back, 1);
}

static void breakpoint(void)
{
    struct trap_frame frame = {.vector = 3, .cs = SEGMENT_KERNEL_CODE};

    trap_dispatch(&frame);
}

static void nothing(void)
{
}

static u64 read_nothing(void)
{
    return 0;
}

static u64 read_cr4(void)
{
    return machine.cr4;
}

static void write_cr4(u64 value)
{
    machine.cr4 = value;
}

static int enter(struct trap_frame *f)
{
    (void)f;
    return 42;
}

/* A program for the chapters that carry one: headers, code, data. */
__asm__(".section .rodata\n"
        ".globl _binary_hello_start, _binary_hello_end, _binary_crash_start, _binary_crash_end\n"
        ".balign 4096\n"
        "_binary_hello_start: _binary_crash_start:\n"
        ".byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0\n"
        ".short 2, 62\n .long 1\n .quad 0x401010, 64, 0\n .long 0\n"
        ".short 64, 56, 3, 64, 0, 0\n"
        ".long 1, 4\n .quad 0, 0x400000, 0, 0x100, 0x100, 4096\n"
        ".long 1, 5\n .quad 0x1000, 0x401000, 0, 0x52, 0x52, 4096\n"
        ".long 1, 6\n .quad 0x1060, 0x402060, 0, 0x20, 0x1000, 4096\n"
        ".org _binary_hello_start + 0x1080\n"
        "_binary_hello_end: _binary_crash_end:\n"
        ".text\n");

static void start(const char *options)
{
    host_reset(64 * MIB);
    boot.consoles = NULL;
    libc_memset(&machine, 0, sizeof machine);
    libc_memset(&cpu, 0, sizeof cpu);
    machine.has_debug_port = machine.has_serial = true;
    host_add_map(EFI_CONVENTIONAL, 0, 160);
    host_add_map(EFI_MMIO, 0xa0000, 96);
    host_add_map(EFI_BOOT_DATA, MIB, 63 << 8);
    host_add_map(EFI_RESERVED, 512 * MIB, 1024);
    host_add_reserved("image", 32 * MIB, 20 * FRAME_SIZE);
    host_add_reserved("page tables", 33 * MIB, 4 * FRAME_SIZE);
    host.info.root = 33 * MIB;
    libc_memset(host.arena + host.info.root, 0, FRAME_SIZE);
    host.info.image = (struct boot_range){"image", 32 * MIB, 20 * FRAME_SIZE};
    host.info.stack_top = KERNEL_STACKS + FRAME_SIZE + KERNEL_STACK_SIZE;
    libc_snprintf(host.info.options, sizeof host.info.options, "%s", options);
}

static void expect_line(const char *line)
{
    expect_true(strstr(machine.debug_text, line), "the console shows \"%s\":\n%s", line,
                machine.debug_text);
}

/* Runs a chapter's main; both consoles must have shown the same. */
static void run(void (*chapter)(void), const char *options)
{
    start(options);
    chapter();
    expect_text(machine.serial_text, machine.debug_text, "the serial line");
    expect_true(strncmp(machine.debug_text, "Rustica\n", 8) == 0, "the first line");
    expect_true(!strstr(machine.debug_text, "unknown option"), "all options are known");
}

/* ---- Consoles ----------------------------------------------------------- */

static void test_consoles(void **state)
{
    (void)state;
    start("");
    boot_init_consoles();
    rustica_printf("one\ntwo\n");
    expect_text(machine.debug_text, "one\ntwo\n", "the debug port");
    expect_text(machine.serial_text, "one\ntwo\n", "the serial line");
    expect_equal(machine.returns, 2, "carriage returns on the serial line");
    expect_true(boot.emulated, "an emulator is recognized");

    start("");
    machine.has_debug_port = false;
    boot_init_consoles();
    rustica_printf("one\n");
    expect_text(machine.serial_text, "one\n", "the serial line");
    expect_equal(machine.debug_length, 0, "bytes to a port that is not there");
    expect_true(!boot.emulated, "no emulator is recognized");

    start("");
    machine.has_serial = false;
    boot_init_consoles();
    rustica_printf("one\n");
    expect_text(machine.debug_text, "one\n", "the debug port");
    expect_equal(machine.serial_length, 0, "bytes to a serial line that is not there");

    start("");
    machine.serial_is_busy = true;
    boot_init_consoles();
    rustica_printf("x");
    expect_text(machine.serial_text, "x", "a serial line that is always busy");
}

static void power_off(int status)
{
    if (setjmp(host_end.back) == 0)
        boot_exit(status);
}

static void test_exit(void **state)
{
    (void)state;
    start("");
    boot_init_consoles();
    boot.emulated = true;
    power_off(0);
    expect_equal(machine.halts, 1, "halts after success");
    expect_line("this machine cannot be switched off by us");
    expect_equal(machine.exits, 1, "writes to the exit port, as there is no other way off");
    expect_equal(machine.exit_status, EXIT_STILL_ON, "status of a machine that is still on");
    power_off(7);
    expect_equal(machine.exits, 2, "writes to the exit port after failure");
    expect_equal(machine.exit_status, 7, "status");
    boot.emulated = false;
    power_off(8);
    expect_equal(machine.exits, 2, "writes to the exit port of a real machine");
    expect_equal(machine.halts, 3, "halts");
    if (setjmp(host_end.back) == 0)
        boot_start(&host.info);
    expect_equal(machine.halts, 4, "the kernel halts when its main returns");
}

/* ---- Chapters ----------------------------------------------------------- */

static void test_ch01(void **state)
{
    u64 i;

    (void)state;
    start("");
    libc_memset(host.arena + host.info.root, 0xff, FRAME_SIZE);
    ch01_main();
    expect_line("boot: a console on the serial line\n");
    expect_line("boot: a console on the debug port\n");
    expect_line("boot: image of 80 KiB at 0xffffffff80000000, stack below 0xffffffffc0009000\n");
    expect_line("boot: ACPI tables not found\n");
    expect_line("boot: a breakpoint at ring 0, error code 0, interrupts off: we go on\n");
    for (i = 0; i < FRAME_SIZE; i++)
        expect_equal(host.arena[host.info.root + i], i < FRAME_SIZE / 2 ? 0 : 0xff,
                     "byte %lu of the root table", i);
    start("nonsense");
    host.info.screen = (struct boot_framebuffer){.start = 1, .width = 800, .height = 600};
    ch01_main();
    expect_line("boot: unknown option \"nonsense\" ignored\n");
    expect_line("boot: a screen of 800 x 600 pixels\n");
    start("provoke=assert");
    expect_panic(ch01_main(), "assertion failed: 1 + 1 == 3");
}

static void test_ch02(void **state)
{
    (void)state;
    run(ch02_main, "map mem=64M");
    expect_line("zones: 15 MiB for the kernel, 47.9 MiB for programs\n");
    expect_line("map: start 0x100000 pages 16128 type 4 attributes 0x8\n");
    expect_line("map: reserved 0x2000000 pages 20 image\n");
    expect_line("  free                        1 pieces    640 KiB  usable\n");
    expect_line("  boot services data          1 pieces     63 MiB  usable\n");
    expect_line("  image                                    80 KiB\n");
    expect_line("  KERNEL 0x0000100000 to 0x0001000000     15 MiB\n");
    expect_line("zones: 16288 usable frames = 184 reserved + 3840 kernel + 12264 user + "
                "0 withheld\n");
}

static void test_ch03(void **state)
{
    (void)state;
    run(ch03_main, "pmm=lockstep poison=all");
    expect_line("pmm: bitmap over 16384 frames, 16071 free\n");
    expect_line("pmm:       24 frames reserved\n");
    expect_line("pmm: array and bitmap never disagreed; all counters sum up\n");
    run(ch03_main, "pmm=array");
    expect_line("pmm: array over 16384 frames, 16071 free\n");
    start("provoke=double-free");
    expect_panic(ch03_main(), "is free, not used");
}

static void test_ch04(void **state)
{
    (void)state;
    run(ch04_main, "");
    expect_line("heap: all freed:    0 blocks,      0 B in use,  16 frames held\n");
    expect_line("frames lost: 0\n");
    start("provoke=heap-overrun");
    expect_panic(ch04_main(), "was written past its 100 bytes");
}

static void test_ch05(void **state)
{
    (void)state;
    run(ch05_main, "");
    expect_line("written across a page boundary           reads \"original\", 2 frames in all\n");
    expect_line("cloned: the clone                        reads \"original\", 2 frames in all\n");
    expect_line("written to the original: the clone       reads \"clone\", 4 frames in all\n");
    expect_line("written through a slice: the original    reads \"ORBIT\", 4 frames in all\n");
    expect_line("vmo: shrinking below the slice: error -16\n");
    expect_line("vmo: reading past the end: error -34\n");
    expect_line("vmo: 0 objects left, frames lost: 0\n");
}

static void test_ch06(void **state)
{
    (void)state;
    run(ch06_main, "");
    expect_line("elf: hello starts at 0x401010\n");
    expect_line("elf:   0x401000 r-x    82 bytes from the file,    82 in memory, 1 pages");
    expect_line("first byte changed                   refused: not an ELF file\n");
    expect_line("refused: a segment has more bytes in the file than in memory\n");
    expect_line("refused: a segment is both writable and executable\n");
    expect_line("refused: the entry point is not in loaded code\n");
    expect_true(!strstr(machine.debug_text, "refused: accepted"), "all damages are refused");
    expect_line("elf: frames lost: 0\n");
}

static void test_ch07(void **state)
{
    (void)state;
    run(ch07_main, "");
    expect_line("user: running hello\nuser: hello ended with status 42\n");
    expect_line("user: running crash halt\nuser: crash ended with status 42\n");
    expect_line("user: half-hello refused: ");
    expect_line("user: half-hello could not be started, error -8\n");
    expect_line("user: frames lost: 0, objects left: 0\n");
}

static int setup(void **state)
{
    (void)state;
    host_watch_memory();
    host_replace(cpu_inb, port_read);
    host_replace(cpu_outb, port_write);
    host_replace(cpu_inw, port_read_word);
    host_replace(cpu_outw, port_write_word);
    host_replace(cpu_hlt, halt);
    host_replace(cpu_cli, nothing);
    host_replace(cpu_int3, breakpoint);
    host_replace(cpu_lgdt, nothing);
    host_replace(cpu_lidt, nothing);
    host_replace(cpu_ltr, nothing);
    host_replace(cpu_load_segments, nothing);
    host_replace(cpu_invlpg, nothing);
    host_replace(cpu_wrmsr, nothing);
    host_replace(cpu_rdmsr, read_nothing);
    host_replace(cpu_fxrstor, nothing);
    host_replace(cpu_read_cr0, read_nothing);
    host_replace(cpu_read_cr4, read_cr4);
    host_replace(cpu_write_cr0, nothing);
    host_replace(cpu_write_cr3, nothing);
    host_replace(cpu_write_cr4, write_cr4);
    host_replace(user_enter, enter);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consoles), cmocka_unit_test(test_exit), cmocka_unit_test(test_ch01),
        cmocka_unit_test(test_ch02), cmocka_unit_test(test_ch03), cmocka_unit_test(test_ch04),
        cmocka_unit_test(test_ch05), cmocka_unit_test(test_ch06), cmocka_unit_test(test_ch07)};

    return cmocka_run_group_tests(tests, setup, host_teardown);
}
