/* host-cflags: -fvisibility=hidden -no-pie -Wl,--unresolved-symbols=ignore-all */

/* What the kernel writes to the machine on its way up, to model-specific registers, control
   registers, tables of descriptors, ports and the APIC, is recorded on a pretended machine
   and compared, in order, with a table that says where either maker's manual asks for it.
   An emulator follows one of them; a processor of the other may not.

   SDM: Intel 64 and IA-32 Architectures Software Developer's Manual; APM: AMD64
   Architecture Programmer's Manual. */

#include "host.h"

/* ---- Recording ---------------------------------------------------------- */

enum kind { MSR, CR0, CR3, CR4, GDT, IDT, TR, OUTB, OUTW, APIC };

static const char *const kind_names[] = {"MSR", "CR0", "CR3", "CR4", "GDT's limit", "IDT's limit",
                                         "task register", "port", "port (word)", "APIC"};

struct written {
    enum kind kind;
    u64 where, value;
    const char *source;
};

static struct written record[4096];
static u64 records;

static void note(enum kind kind, u64 where, u64 value)
{
    if (records == array_count(record))
        abort();
    record[records++] = (struct written){kind, where, value, NULL};
}

/* ---- A machine ---------------------------------------------------------- */

#define PM1A 0x604
#define PM1B 0x704
#define PM_TIMER 0x608
#define SMI 0xb2
#define RESET 0xcf9
#define TSC_HZ 3000123456UL

static struct {
    bool x2, has_apic, apic_is_deaf, has_pic, has_pit, has_timer, has_keyboard, says_speed;
    u64 tsc, efer, cr0, cr4, pat;
    u64 armed;                   /* the APIC's timer will come then; 0: it is not armed */
    bool timer_masked;
    u8 port[65536];
    u8 cmos, command;
    u64 pit_start;
    u32 pit_ticks, mouse_bytes;
} m;

static u64 read_tsc(void)
{
    return m.tsc += 300;
}

static u32 port_read_long(u16 port)
{
    m.tsc += 2000;
    expect_equal(port, PM_TIMER, "the only port of 32 bits that is read");
    return m.has_timer ? (u32)((unsigned __int128)m.tsc * ACPI_TIMER_HZ / TSC_HZ) & 0xffffff : 0;
}

static u8 port_read(u16 port)
{
    static const u8 clock[14] = {0x56, 0, 0x34, 0, 0x12, 0, 0, 0x15, 0x06, 0x26, 0, 2};

    m.tsc += 1000;
    switch (port) {
    case DEBUG_PORT: return DEBUG_PORT;
    case COM1 + 5: return 0x60;
    case 0x71: return m.cmos < sizeof clock ? clock[m.cmos] : 0;
    case 0x21: return m.has_pic ? m.port[0x21] : 0xff;
    case 0x61:
        return !m.has_pit || (m.tsc - m.pit_start) * PIT_HZ / TSC_HZ >= m.pit_ticks ? 0x21 : 1;
    case KEYBOARD_STATUS:
        if (!m.has_keyboard)
            return KEYBOARD_NONE;
        return m.command == 0x20 ? 1 : m.mouse_bytes ? 0x21 : 0;
    case KEYBOARD_DATA:
        if (m.command == 0x20) {
            m.command = 0;
            return 0x36;         /* translation off, both clocks stopped, both interrupts */
        }
        m.mouse_bytes--;
        return 0x1e;             /* were it a key: an a */
    }
    return m.port[port];
}

static u16 port_read_word(u16 port)
{
    expect_true(port == PM1A || port == PM1B, "port 0x%x is read", port);
    return 0x201;                /* ACPI's mode, and a bit that is somebody else's */
}

static void port_write(u16 port, u8 value)
{
    if (port == 0x70)
        m.cmos = value & 0x7f;
    if (port == 0x42)
        m.pit_ticks = value << 8 | m.pit_ticks >> 8, m.pit_start = m.tsc;
    if (port == KEYBOARD_STATUS)
        m.command = value;
    m.port[port] = value;
    if (port != DEBUG_PORT && !(port == COM1 && !(m.port[COM1 + 3] & 0x80)) && port != 0x70)
        note(OUTB, port, value);
}

static void port_write_word(u16 port, u16 value)
{
    note(OUTW, port, value);
}

static u64 msr_read(u32 msr)
{
    switch (msr) {
    case MSR_EFER: return m.efer;
    case MSR_PAT: return m.pat;
    case MSR_APIC_BASE: return 0xfee00100 | (m.x2 ? APIC_IS_X2 | APIC_ENABLED : 0);
    }
    expect_true(apic.x2 && msr == MSR_X2APIC + APIC_TIMER_NOW / 16, "MSR 0x%x is read", msr);
    return apic_read(APIC_TIMER_NOW);
}

static u32 apic_count(u32 offset)
{
    expect_equal(offset, APIC_TIMER_NOW, "the register of the APIC that is read");
    m.tsc += 1000;
    return m.apic_is_deaf ? ~0u : ~0u - (u32)(m.tsc / 48);
}

static void apic_arrives(u32 offset, u32 value)
{
    if (offset == APIC_TIMER)
        m.timer_masked = value & APIC_MASKED;
    if (offset == APIC_TIMER_START)
        m.armed = m.apic_is_deaf ? 0 : m.tsc + value;
}

static void msr_write(u32 msr, u64 value)
{
    if (msr == MSR_EFER)
        m.efer = value;
    if (msr == MSR_PAT)
        m.pat = value;
    if (msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100)
        apic_arrives((msr - MSR_X2APIC) * 16, (u32)value);
    note(MSR, msr, value);
}

static void apic_note(u32 offset, u32 value)
{
    expect_true(!apic.x2, "the APIC in its newer form is not in memory");
    apic_arrives(offset, value);
    note(APIC, offset, value);
}

static struct cpuid identify(u32 leaf, u32 subleaf)
{
    (void)subleaf;
    if (leaf == 0)
        return (struct cpuid){.eax = m.says_speed ? 0x15 : 7};
    if (leaf == 1)
        return (struct cpuid){.edx = m.has_apic ? 1 << 9 : 0};
    if (leaf == 7)
        return (struct cpuid){.ebx = 1 << 7 | 1 << 20, .ecx = 1 << 2};
    if (leaf == 0x15)
        return (struct cpuid){2, 250, 24000000, 0};
    return (struct cpuid){0, 0, 0, 0};
}

/* Time passes; whoever is due and connected comes in. */
static void admit(void)
{
    struct trap_frame f = {.cs = SEGMENT_KERNEL_CODE, .vector = VECTOR_TIMER};

    m.tsc += 100000;
    if (m.armed && m.tsc >= m.armed && !m.timer_masked) {
        m.armed = 0;
        trap_dispatch(&f);
    } else if (m.has_pit && m.has_pic && !(m.port[0x21] & 1)) {
        f.vector = PIC_VECTOR;
        trap_dispatch(&f);
    }
}

static u64 read_cr0(void) { return m.cr0; }
static u64 read_cr4(void) { return m.cr4; }
static void write_cr0(u64 value) { note(CR0, 0, m.cr0 = value); }
static void write_cr3(u64 value) { note(CR3, 0, value); }
static void write_cr4(u64 value) { note(CR4, 0, m.cr4 = value); }
static void take_gdt(const struct table_pointer *p) { note(GDT, 0, p->limit); }
static void take_idt(const struct table_pointer *p) { note(IDT, 0, p->limit); }
static void take_tr(u16 selector) { note(TR, 0, selector); }
static void nothing(void) { }

static void balance(void *table, u64 size, u64 n)
{
    u8 *byte = table, sum = 0;
    u64 i;

    for (i = 0; i < size; i++)
        sum += byte[i];
    byte[n] -= sum;
}

/* The firmware's tables, at 0x80000: root pointer, list, FADT, DSDT. */
static void put_tables(void)
{
    static const char aml[] = "\x08_S5_\x12\x06\x04\x0a\x05\x0a\x05";
    u8 *root = boot_physical(0x80000);
    struct acpi_header *list = boot_physical(0x80100), *dsdt = boot_physical(0x80800);
    struct acpi_fadt *fadt = boot_physical(0x80200);
    u64 at = 0x80100, entry = 0x80200;

    libc_memset(root, 0, FRAME_SIZE);
    root[15] = 2;
    libc_memcpy(root + 24, &at, 8);
    balance(root, 20, 8);
    balance(root, 36, 32);
    list->length = 44;
    libc_memcpy(list + 1, &entry, 8);
    balance(list, 44, 9);
    libc_memcpy(fadt->header.signature, "FACP", 4);
    *fadt = (struct acpi_fadt){.header = fadt->header, .x_dsdt = 0x80800, .flags = 1 << 10,
                               .x_timer = {1, 32, 0, 3, m.has_timer ? PM_TIMER : 0},
                               .x_pm1a_control = {1, 16, 0, 2, PM1A},
                               .x_pm1b_control = {1, 16, 0, 2, PM1B},
                               .reset = {1, 8, 0, 1, RESET}, .reset_value = 0xf};
    fadt->header.length = sizeof *fadt;
    balance(fadt, sizeof *fadt, 9);
    libc_memcpy(dsdt + 1, aml, sizeof aml - 1);
    dsdt->length = 60;
    balance(dsdt, 60, 9);
    host.info.acpi = 0x80000;
}

static void machine(void)
{
    libc_memset(&m, 0, sizeof m);
    m.has_apic = m.has_pic = m.has_pit = m.has_timer = m.has_keyboard = true;
    m.mouse_bytes = 3;
    m.efer = 0xd00;              /* long mode and no-execute, as the prologue leaves it */
    m.cr0 = 0x80010033;
    m.cr4 = 0x8006e8;            /* CET, SSE, global pages, MCE, PAE, debugging extensions */
    m.pat = 0x0007040600070406;
}

static void start(void)
{
    host_reset(64 * MIB);
    libc_memset(&sched, 0, sizeof sched);
    libc_memset(&cpu, 0, sizeof cpu);
    libc_memset(&apic, 0, sizeof apic);
    libc_memset(&stacks, 0, sizeof stacks);
    libc_memset(&tty, 0, sizeof tty);
    sys = (struct sys_state){.copy = sys_copy_plain, .pause = sys_never, .doomed = sys_never};
    user = (struct user_state){.end = user_return, .catch = user_catch_nothing};
    boot.consoles = NULL;        /* but for the test's own, or one would be in it twice */
    boot_add_console(&host_console);
    host_add_map(EFI_ACPI_RECLAIM, 0x80000, 16);
    host_add_map(EFI_BOOT_DATA, MIB, 63 << 8);
    host_add_reserved("page tables", 33 * MIB, 4 * FRAME_SIZE);
    host.info.root = 33 * MIB;
    libc_memset(host.arena + host.info.root, 0, FRAME_SIZE);
    put_tables();
    records = 0;
}

/* ---- The table ---------------------------------------------------------- */

#define ANY 0x5ca1ab1e5ca1ab1e           /* a value that depends on the machine's speed */
#define MORE ~0UL                        /* with APIC_TIMER_START: any number of times */

static const struct written boot_table[] = {
    {OUTB, COM1 + 7, 0x5a, "16550D data sheet, 8.0: the scratch register"},
    {OUTB, COM1 + 1, 0, "16550D, 8.0: no interrupts"},
    {OUTB, COM1 + 3, 0x80, "16550D, 8.0: the next two are the divisor"},
    {OUTB, COM1 + 0, 1, "16550D, 8.0: 115,200 bits a second"},
    {OUTB, COM1 + 1, 0, "16550D, 8.0"},
    {OUTB, COM1 + 3, 3, "16550D, 8.0: eight bits, no parity, one stop bit"},
    {OUTB, COM1 + 2, 7, "16550D, 8.0: queues on and empty"},
    {OUTB, COM1 + 4, 0xb, "16550D, 8.0: ready; OUT2 lets interrupts through"},
    {GDT, 0, 7 * 8 - 1, "SDM 3A, 3.5.1; APM 2, 4.6.2"},
    {TR, 0, 0x28, "SDM 3A, 8.2.4; APM 2, 12.2.3"},
    {MSR, 0xc0000101, (u64)&cpu_boot, "SDM 3A, 3.4.4; APM 2, 4.5.3: the base of GS"},
    {IDT, 0, 256 * 16 - 1, "SDM 3A, 6.10; APM 2, 4.6.5: a gate for each of 256 vectors"},
    {CR4, 0, 0x60, "SDM 3A, 2.5; APM 2, 3.1.3: PAE, MCE; all else off, CET, too"},
    {CR0, 0, 0x80050033, "SDM 3A, 2.5; APM 2, 3.1.1: NE, AM beside what there was"},
    {CR3, 0, 33 * MIB, "SDM 3A, 4.10.4.1; APM 2, 5.5.2: forgets translations"},
};

static const struct written user_table[] = {
    {CR4, 0, 0x300e60, "SDM 3A, 2.5; APM 2, 3.1.3: OSFXSR, OSXMMEXCPT, UMIP, SMEP, SMAP"},
    {CR0, 0, 0x80050033, "SDM 3A, 2.5; APM 2, 3.1.1: MP, neither EM nor TS"},
    {MSR, 0xc0000081, 0x0013000800000000,
     "SDM 2B, SYSRET: selectors get RPL 3; APM 3, SYSRET: SS is [63:48] + 8 as it stands"},
    {MSR, 0xc0000082, ANY, "SDM 2B, SYSCALL; APM 2, 6.1.1: where programs enter"},
    {MSR, 0xc0000084, 0x47700, "SDM 2B, SYSCALL; APM 2, 6.1.1: TF IF DF IOPL NT AC cleared"},
    {MSR, 0xc0000102, 0, "SDM 2B, SWAPGS; APM 2, 6.1.3: programs' base of GS"},
    {MSR, 0x174, 0, "SDM 2B, SYSENTER: #GP if this is 0; APM 3: #UD in 64-bit mode"},
    {MSR, 0xc0000080, 0xd01, "SDM 4, 2.1; APM 2, 3.1.7: SCE beside what there was"},
    {MSR, 0xc0000082, ANY, "chapter 8's entry instead"},
};

static const struct written sched_table[] = {
    {OUTB, 0x20, 0x11, "8259A data sheet, ICW1: edges, cascade, ICW4 will come"},
    {OUTB, 0xa0, 0x11, "8259A, ICW1"},
    {OUTB, 0x21, 32, "8259A, ICW2: vectors"},
    {OUTB, 0xa1, 40, "8259A, ICW2"},
    {OUTB, 0x21, 4, "8259A, ICW3: the second chip is at input 2"},
    {OUTB, 0xa1, 2, "8259A, ICW3"},
    {OUTB, 0x21, 1, "8259A, ICW4: 8086 mode"},
    {OUTB, 0xa1, 1, "8259A, ICW4"},
    {OUTB, 0x21, 0xfb, "8259A, OCW1: masks"},
    {OUTB, 0xa1, 0xff, "8259A, OCW1"},
    {MSR, 0x1b, 0xfee00900, "SDM 3A, 10.4.3; APM 2, 16.3.1: enabled, where it was"},
    {APIC, 0xf0, 0x1ff, "SDM 3A, 10.9; APM 2, 16.4.7: enabled; the spurious vector"},
    {APIC, 0x80, 0, "SDM 3A, 10.8.3.1; APM 2, 16.6.4: no priority is too low"},
    {APIC, 0x350, 0x700, "SDM 3A, 10.5.1; APM 2, 16.4.4: LINT0 is ExtINT, not masked"},
    {APIC, 0x360, 0x400, "SDM 3A, 10.5.1; APM 2, 16.4.4: LINT1 is NMI, not masked"},
    {APIC, 0x370, 0x10000, "SDM 3A, 10.5.3; APM 2, 16.4.6: errors are masked"},
    {APIC, 0x3e0, 3, "SDM 3A, 10.5.4; APM 2, 16.4.1: divide by 16"},
    {APIC, 0x320, 0x10000, "SDM 3A, 10.5.4; APM 2, 16.4.1: masked while it is measured"},
    {APIC, 0x380, ~0u, "SDM 3A, 10.5.4; APM 2, 16.4.1: three measurements"},
    {APIC, 0x380, ~0u, "likewise"},
    {APIC, 0x380, ~0u, "likewise"},
    {APIC, 0x320, 48, "SDM 3A, 10.5.4; APM 2, 16.4.1: one interrupt each time, vector 48"},
    {APIC, 0x380, ANY, "the trial"},
    {APIC, 0xb0, 0, "SDM 3A, 10.8.5; APM 2, 16.6.5: acknowledged, by 0"},
    {APIC, 0x380, ANY, "the handler arms it"},
    {APIC, 0x380, ANY, "and the end of ch09_init()"},
};

static const struct written listen_table[] = {
    {OUTB, COM1 + 7, 0x5a, "16550D, 8.0: is it there?"},
    {OUTB, COM1 + 1, 1, "16550D, 8.0: an interrupt for each byte"},
    {OUTB, 0x21, 0xeb, "8259A, OCW1: input 4, too"},
    {OUTB, 0x64, 0xad, "IBM PS/2 Hardware Interface, keyboard controller: no keyboard"},
    {OUTB, 0x64, 0xa7, "likewise: no mouse"},
    {OUTB, 0x64, 0x20, "likewise: read the configuration"},
    {OUTB, 0x64, 0x60, "likewise: write it"},
    {OUTB, 0x60, 0x65, "likewise: keyboard's interrupt, translation; no clock for the mouse"},
    {OUTB, 0x64, 0xae, "likewise: the keyboard again"},
    {OUTB, 0x21, 0xe9, "8259A, OCW1: input 1, too"},
    {MSR, 0x277, 0x0007040600070106, "SDM 3A, 11.12.4; APM 2, 7.8.2: entry 1 is write-combining"},
};

static const struct written off_table[] = {
    {OUTW, PM1A, 0x201 | 5 << 10, "ACPI 6.5, 7.4.2 and 16.1.7: the state first"},
    {OUTW, PM1B, 0x201 | 5 << 10, "likewise"},
    {OUTW, PM1A, 0x201 | 5 << 10 | 1 << 13, "ACPI 6.5, 4.8.3.2.1: and then SLP_EN"},
    {OUTW, PM1B, 0x201 | 5 << 10 | 1 << 13, "likewise"},
};

static const struct written reset_table[] = {
    {OUTB, RESET, 0xf, "ACPI 6.5, 4.8.3.6: what the FADT says"},
    {OUTB, 0xcf9, 2, "ICH9 data sheet, 13.7.5: all of the machine"},
    {OUTB, 0xcf9, 6, "likewise: now"},
    {OUTB, 0x64, 0xfe, "IBM PS/2 Hardware Interface, keyboard controller: a pulse on reset"},
};

static void say_entry(char *to, u64 size, const struct written *e)
{
    libc_snprintf(to, size, "%s 0x%lx = 0x%lx", kind_names[e->kind], e->where, e->value);
}

/* The next records are those of a table. */
static u64 compared;

static void expect_table(const struct written *table, u64 count, const char *name)
{
    char wanted[128], got[128] = "nothing";
    u64 i;

    for (i = 0; i < count; i++, compared++) {
        const struct written *e = &table[i], *r = &record[compared];

        say_entry(wanted, sizeof wanted, e);
        if (compared < records)
            say_entry(got, sizeof got, r);
        if (compared < records && r->kind == e->kind && r->where == e->where &&
            (r->value == e->value || e->value == ANY))
            continue;
        print_error("%s, line %lu: expected %s (%s), got %s\n", name, i + 1, wanted, e->source,
                    got);
        _fail(__FILE__, __LINE__);
    }
}

static void expect_no_more(void)
{
    char got[128] = "";

    if (compared < records)
        say_entry(got, sizeof got, &record[compared]);
    expect_text(got, "", "what is written besides");
}

#define expect_records(table) expect_table(table, array_count(table), #table)

/* What the processor reads to us changes the ports of the clock chips; without them: */
static bool is_clock(const struct written *e)
{
    return e->kind == OUTB && (e->where == 0x71 || e->where == 0x61 || e->where == 0x42 ||
                               e->where == 0x43);
}

static void forget_clocks(void)
{
    u64 from, to = 0;

    for (from = 0; from < records; from++)
        if (!is_clock(&record[from]))
            record[to++] = record[from];
    records = to;
}

/* ---- Tests -------------------------------------------------------------- */

static void test_way_up(void **state)
{
    (void)state;
    machine();
    start();
    compared = 0;
    ch09_init();
    con.serial = serial_listen();
    con.keyboard = keyboard_init();
    screen_map(&(struct boot_framebuffer){.start = 0x80000000, .size = 4096, .width = 8,
                                          .height = 1, .stride = 8});
    forget_clocks();
    expect_records(boot_table);
    expect_records(user_table);
    expect_records(sched_table);
    expect_records(listen_table);
    expect_no_more();
}

static void test_end(void **state)
{
    struct trap_frame f = {.rdi = REBOOT_MAGIC, .rdx = REBOOT_RESTART};

    (void)state;
    machine();
    start();
    compared = 0;
    boot_init_consoles();
    records = 0;
    acpi_power_off();
    expect_records(off_table);
    expect_no_more();
    records = compared = 0;
    expect_exit(sys_reboot(&f), 0);
    expect_records(reset_table);
    expect_no_more();
}

/* ---- Both makers' ways to ring 3 and back ------------------------------- */

static u64 recorded(enum kind kind, u64 where)
{
    u64 i, value = 0;

    for (i = 0; i < records; i++)
        if (record[i].kind == kind && record[i].where == where)
            value = record[i].value;
    return value;
}

static void expect_segment(u16 selector, bool code, u64 ring, const char *what)
{
    u64 d = cpu_boot.gdt[selector / 8];

    expect_equal(selector & 7, ring, "%s: the ring in selector 0x%x", what, selector);
    expect_equal(d >> 45 & 3, ring, "%s: the ring in the descriptor of 0x%x", what, selector);
    expect_equal(d >> 47 & 1, 1, "%s: 0x%x is present", what, selector);
    expect_equal(d >> 43 & 3, code ? 3 : 2, "%s: kind of segment 0x%x", what, selector);
    expect_equal(d >> 53 & 1, code, "%s: 0x%x is of 64 bits", what, selector);
}

/* By SDM 2B and APM 3, SYSCALL and SYSRET. What a trap saves, iretq must take back: it
   wants the ring of CS in SS, too (SDM 2A, IRET; APM 3, IRET). */
static void test_sysret(void **state)
{
    u64 star;
    u16 way_in, way_back;

    (void)state;
    machine();
    start();
    ch09_init();
    star = recorded(MSR, 0xc0000081);
    way_in = star >> 32 & 0xfffc;
    way_back = (u16)(star >> 48);
    expect_segment(way_in, true, 0, "SYSCALL, both: CS");
    expect_segment((u16)(way_in + 8), false, 0, "SYSCALL, both: SS");
    expect_segment((u16)(way_back + 16) | 3, true, 3, "SYSRET, both: CS");
    expect_segment((u16)(way_back + 8) | 3, false, 3, "SYSRET, Intel: SS");
    expect_segment((u16)(way_back + 8), false, 3, "SYSRET, AMD: SS");
    expect_equal((u16)(way_back + 8) | 3, SEGMENT_USER_DATA, "SS in ring 3 is one and the same");
    expect_equal((u16)(way_back + 16) | 3, SEGMENT_USER_CODE, "CS in ring 3 is one and the same");
}

/* ---- Other machines ----------------------------------------------------- */

/* The newer APIC: the same writes, but to MSRs, and acknowledged by 0 or #GP. */
static void test_x2apic(void **state)
{
    u64 i, registers = 0;

    (void)state;
    machine();
    m.x2 = true;
    start();
    ch09_init();
    forget_clocks();
    expect_true(apic.x2, "the newer form is recognized");
    expect_equal(recorded(MSR, 0x1b), 0xfee00d00, "the base: enabled, and the form as it was");
    for (compared = 0; record[compared].where != 0x1b; compared++)
        ;
    for (i = 0; i < array_count(sched_table); i++) {
        const struct written *e = &sched_table[i], *r = &record[compared + 1 + registers];

        if (e->kind != APIC)
            continue;
        expect_true(r->kind == MSR && r->where == 0x800 + e->where / 16 &&
                    (e->value == ANY || r->value == e->value),
                    "%s: got MSR 0x%lx = 0x%lx", e->source, r->where, r->value);
        registers++;
    }
    expect_equal(compared + 1 + registers, records, "writes, all told");
}

/* A stray interrupt is acknowledged where it came from, and forgotten. */
static void test_stray(void **state)
{
    u64 vector;

    (void)state;
    machine();
    start();
    ch09_init();
    for (vector = 32; vector < 256; vector++) {
        struct trap_frame f = {.cs = SEGMENT_KERNEL_CODE, .vector = vector};

        if (vector == 32 || vector == 48)
            continue;
        records = 0;
        trap_dispatch(&f);
        expect_equal(records, vector == 255 ? 0 : vector < 40 ? 1 : vector < 48 ? 2 : 1,
                     "writes that acknowledge vector %lu", vector);
        if (vector < 48)
            expect_true(record[records - 1].kind == OUTB && record[records - 1].where == 0x20 &&
                        record[records - 1].value == 0x20, "vector %lu at the old chip", vector);
        else if (vector < 255)
            expect_true(record[0].kind == APIC && record[0].where == 0xb0 && !record[0].value,
                        "vector %lu at the APIC", vector);
    }
}

/* Bytes of a mouse are no keys; what lies in the chip from before is thrown away. */
static void test_mouse(void **state)
{
    (void)state;
    machine();
    start();
    ch09_init();
    expect_true(keyboard_init(), "there is a keyboard");
    expect_equal(m.mouse_bytes, 0, "bytes from before");
    m.mouse_bytes = 5;
    tty.termios.local = 0;
    keyboard_receive();
    expect_equal(m.mouse_bytes, 0, "bytes left");
    expect_equal(tty.end, 0, "bytes typed");
    m.has_keyboard = false;
    keyboard_receive();          /* comes to an end */
    expect_true(!keyboard_init(), "there is no keyboard");
}

/* Timers that do not come, and clocks that stand still. */
static void test_timers(void **state)
{
    (void)state;
    machine();
    m.apic_is_deaf = true;
    start();
    ch09_init();
    expect_true(sched.arm == pit_arm, "the old timer is taken");
    expect_true(strstr(host_output.text, "the local APIC's timer does not come"), "it says so");
    expect_equal(recorded(APIC, 0x320), 0x10000, "the deaf timer is masked");

    machine();
    m.has_pic = false;
    start();
    ch09_init();
    expect_true(sched.arm == apic_arm && !pic.present, "no old chips, but the APIC");

    machine();
    m.has_apic = m.has_pit = false;
    start();
    expect_exit(ch09_init(), 1);
    expect_true(strstr(host_output.text, "there is no timer that interrupts"), "it says so: %s",
                host_output.text);

    machine();
    m.has_timer = m.has_pit = false;
    start();
    ch09_init();
    expect_true(strstr(host_output.text, "seconds are a guess"), "it says so: %s",
                host_output.text);
}

/* To one in ten thousand. */
static void expect_speed(u64 wanted, u64 part, const char *what)
{
    u64 got = sys.tsc_per_second, off = got > wanted ? got - wanted : wanted - got;

    expect_true(off <= wanted / part, "%s: expected about %lu Hz, got %lu", what, wanted, got);
}

static void test_clock(void **state)
{
    u64 before, i;

    (void)state;
    machine();
    m.says_speed = true;
    start();
    ch09_init();
    expect_speed(3000000000, ~0UL, "the processor says its speed");

    machine();
    start();
    ch09_init();
    expect_speed(TSC_HZ, 50, "the first look");
    for (i = 0, before = 0; i < 200; i++) {
        m.tsc += TSC_HZ / 100;
        sched_tick();
        expect_true(time_now() > before, "time does not go back");
        before = time_now();
    }
    expect_speed(TSC_HZ, 10000, "the second look");
    expect_equal(sys.timer_port, 0, "there is no third");

    machine();
    start();
    ch09_init();
    before = sys.tsc_per_second;
    m.tsc += 5 * TSC_HZ;         /* too late: the timer has begun again */
    sched_tick();
    expect_equal(sys.tsc_per_second, before, "a second look that comes too late");

    machine();
    m.has_timer = false;
    start();
    ch09_init();
    expect_speed(TSC_HZ, 10000, "the old chip's clock");
}

/* AMD's FXRSTOR leaves the last program's x87 addresses alone (APM 2, 11.4.4), which no
   emulator shows: before it come FNCLEX, EMMS and FILD, which put ours in their place. */
static void test_x87(void **state)
{
    static const u8 before[] = {0xdb, 0xe2, 0x0f, 0x77, 0xdb};
    const u8 *code = (const u8 *)cpu_fxrstor;
    u64 at = 0;

    (void)state;
    while (at < 100 && libc_memcmp(code + at, before, sizeof before) != 0)
        at++;
    expect_true(at < 100 && (code[at + 5] >> 3 & 7) == 0, "FNCLEX, EMMS, FILD are there");
    while (at < 120 && !(code[at] == 0x0f && code[at + 1] == 0xae && (code[at + 2] >> 3 & 7) == 1))
        at++;
    expect_true(at < 120, "FXRSTOR is behind them");
}

static int setup(void **state)
{
    host_setup(state);
    host_watch_memory();
    host_replace(cpu_inb, port_read);
    host_replace(cpu_inw, port_read_word);
    host_replace(cpu_inl, port_read_long);
    host_replace(cpu_outb, port_write);
    host_replace(cpu_outw, port_write_word);
    host_replace(cpu_rdmsr, msr_read);
    host_replace(cpu_wrmsr, msr_write);
    host_replace(cpu_rdtsc, read_tsc);
    host_replace(cpu_cpuid, identify);
    host_replace(cpu_cli, nothing);
    host_replace(cpu_lgdt, take_gdt);
    host_replace(cpu_lidt, take_idt);
    host_replace(cpu_ltr, take_tr);
    host_replace(cpu_load_segments, nothing);
    host_replace(cpu_invlpg, nothing);
    host_replace(cpu_fxrstor, nothing);
    host_replace(cpu_read_cr0, read_cr0);
    host_replace(cpu_read_cr4, read_cr4);
    host_replace(cpu_write_cr0, write_cr0);
    host_replace(cpu_write_cr3, write_cr3);
    host_replace(cpu_write_cr4, write_cr4);
    host_replace(cpu_admit_interrupts, admit);
    host_replace(apic_read, apic_count);
    return 0;
}

/* Until here apic_write() was the kernel's own. */
static void test_in_memory(void **state)
{
    (void)state;
    host_replace(apic_write, apic_note);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_x2apic), cmocka_unit_test(test_in_memory),
        cmocka_unit_test(test_way_up), cmocka_unit_test(test_sysret), cmocka_unit_test(test_stray),
        cmocka_unit_test(test_mouse), cmocka_unit_test(test_timers), cmocka_unit_test(test_clock),
        cmocka_unit_test(test_x87), cmocka_unit_test(test_end)};

    return cmocka_run_group_tests(tests, setup, host_teardown);
}
