/* chapters 1 to 11 */
/* flags: -fsanitize-coverage=trace-pc */

#include "check.h"

#define COLUMNS 100
#define ROWS 50
#define TICKS 100                /* of the timer, in a second */

#include "screen.h"

static u32 before[ROWS * GLYPH_HEIGHT][COLUMNS * GLYPH_WIDTH];
static u64 steps, now;

/* The font: each glyph is a block with a hole. */
__asm__(".data\n.globl _binary_font_psf_start\n_binary_font_psf_start:\n"
        ".byte 0x36, 4, 0, 16\n.rept 256\n.byte 255, 129, 129, 129, 129, 129, 129, 129\n"
        ".byte 129, 129, 129, 129, 129, 129, 129, 255\n.endr\n.text\n");

void __attribute__((no_sanitize_coverage)) __sanitizer_cov_trace_pc(void)
{
    steps++;
}

static u64 fake_rdtsc(void)
{
    return now;
}

static void nothing(u64 nanoseconds)
{
}

static void fake_outb(u16 port, u8 value)
{
}

static void start(void)
{
    host_replace(cpu_rdtsc, fake_rdtsc);
    host_replace(cpu_outb, fake_outb);
    start_screen();
    cpu_boot.context = &sched.boot.context;
    sched.arm = nothing;
    sys.tsc_per_second = 1000000000;
    pic.present = true;
    hook_add_last(&sched.ticking, &con_ticking);
}

static void print(const char *text)
{
    while (*text)
        screen_put(*text++);
}

static void tick(void)
{
    struct trap_frame frame = {.vector = PIC_VECTOR};

    now += 1000000000 / TICKS;
    sched_timer(&frame);
}

/* How often does a cell change in two seconds? Nothing else may. */
static u64 changes(u32 x, u32 y)
{
    u64 tick_number, i, j, count = 0;
    bool changed;

    for (tick_number = 0; tick_number < 2 * TICKS; tick_number++) {
        libc_memcpy(before, pixels, sizeof pixels);
        tick();
        for (changed = false, i = 0; i < ROWS * GLYPH_HEIGHT; i++)
            for (j = 0; j < COLUMNS * GLYPH_WIDTH; j++)
                if (pixels[i][j] != before[i][j]) {
                    need(i / GLYPH_HEIGHT == y && j / GLYPH_WIDTH == x, "while nothing is printed, "
                         "the cell in column %lu and row %lu changes; the cursor is in column %u "
                         "and row %u", j / GLYPH_WIDTH, i / GLYPH_HEIGHT, x, y);
                    changed = true;
                }
        count += changed;
    }
    return count;
}

static void blinks(u32 x, u32 y)
{
    u64 count = changes(x, y);

    need(count >= 14 && count <= 18, "in two seconds the cursor should appear and disappear eight "
         "times each; its cell changed %lu times", count);
}

int main(void)
{
    u64 i;

    start();
    print("Some text\nand more");
    tick();
    blinks(8, 1);
    steps = 0;
    for (i = 0; i < TICKS; i++)
        tick();
    need(steps < 30000, "an idle second takes %lu steps; to draw a cell eight times takes a few "
         "thousand, to compare all %u cells eight times more than a hundred thousand", steps,
         COLUMNS * ROWS);
    print("...");
    tick();
    blinks(11, 1);
    print("\033[?25l");
    tick();
    need(changes(0, 0) == 0, "a hidden cursor blinks");
    print("\033[?25h\033[H");
    tick();
    blinks(0, 0);
}
