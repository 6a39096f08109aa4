/*
 * A screen in memory, for checks of chapter 11, which define before this how many COLUMNS and
 * ROWS of characters it has.
 */

static u32 pixels[ROWS * GLYPH_HEIGHT][COLUMNS * GLYPH_WIDTH];

/* A machine with this screen, which is empty. */
static void start_screen(void)
{
    host_machine(0x1000000);
    host.info.screen = (struct boot_framebuffer){.width = COLUMNS * GLYPH_WIDTH,
        .height = ROWS * GLYPH_HEIGHT, .stride = COLUMNS * GLYPH_WIDTH, .red = 0xff0000,
        .green = 0xff00, .blue = 0xff};
    screen.pixels = pixels[0];
    screen.columns = COLUMNS;
    screen.rows = screen.bottom = ROWS;
    screen.colour = COLOUR_PLAIN;
    screen_init_palette();
    screen_clear(0, COLUMNS * ROWS);
}
