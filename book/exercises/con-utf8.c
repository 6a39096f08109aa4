/* chapters 1 to 11 */

/* The argument is the font that the kernel carries. */

#include "check.h"

#define COLUMNS 80
#define ROWS 25

#include "screen.h"

__asm__(".data\n.globl _binary_font_psf_start, _binary_font_psf_end\n_binary_font_psf_start:\n"
        ".zero 8192\n_binary_font_psf_end:\n.text\n");

static u64 font_size;

/* The glyph of a code point, by the table behind the glyphs; -1 if the font has none. */
static int glyph_of(u32 code)
{
    const u8 *font = _binary_font_psf_start;
    u64 at = 4 + 256 * GLYPH_HEIGHT;
    int glyph = 0;
    u32 word;

    for (; at + 1 < font_size; at += 2) {
        word = font[at] | font[at + 1] << 8;
        if (word == 0xffff)
            glyph++;
        else if (word == code)
            return glyph;
    }
    return -1;
}

static int encode(char *to, u32 code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    to[0] = (char)(0xe0 | code >> 12);
    to[1] = (char)(0x80 | (code >> 6 & 63));
    to[2] = (char)(0x80 | (code & 63));
    return 3;
}

static void print(const char *text, u64 size)
{
    screen_put('\033'), screen_put('['), screen_put('H');
    while (size--)
        screen_put(*text++);
    screen_flush();
}

/* Does a cell of the first row show the glyph? */
static bool shows(u32 column, int glyph)
{
    const u8 *row = _binary_font_psf_start + 4 + glyph * GLYPH_HEIGHT;
    u32 ground = screen.palette[0];
    int y, x;

    for (y = 0; y < GLYPH_HEIGHT; y++)
        for (x = 0; x < GLYPH_WIDTH; x++)
            if ((pixels[y][column * GLYPH_WIDTH + x] != ground) != (row[y] >> (7 - x) & 1))
                return false;
    return true;
}

/* A letter, then the bytes, then another one: it must stand in the third column. */
static void fits(const char *bytes, int size, int glyph, const char *what, u32 code)
{
    char text[16] = "a";

    libc_memcpy(text + 1, bytes, (u64)size);
    strcpy(text + 1 + size, "z ");
    print(text, (u64)size + 3);
    need(shows(0, glyph_of('a')), "%s 0x%x: the letter before it is gone", what, code);
    need(glyph < 0 || shows(1, glyph), "%s 0x%x, %d bytes, should be shown by glyph %d of the font",
         what, code, size, glyph);
    need(shows(2, glyph_of('z')), "%s 0x%x, %d bytes, should take one column; the letter behind it "
         "is not in the next", what, code, size);
}

int main(int count, char **names)
{
    FILE *file = fopen(names[1], "rb");
    char text[8];
    u32 code;

    (void)count;
    font_size = fread((void *)_binary_font_psf_start, 1, 8192, file);
    start_screen();
    for (code = 0x20; code < 0x7f; code++)
        fits((char *)&code, 1, glyph_of(code), "the ASCII character", code);
    for (code = 0xa0; code < 0x3000; code++)
        if (glyph_of(code) >= 0)
            fits(text, encode(text, code), glyph_of(code), "the character", code);
    for (code = 0x100; code < 0x3000; code += 37)
        if (glyph_of(code) < 0)
            fits(text, encode(text, code), -1, "the character, which the font lacks,", code);
    print("\303\033[3Cq", 6);        /* a sequence in the middle of a letter */
    need(shows(3, glyph_of('q')) || shows(4, glyph_of('q')), "after a letter that is cut short by "
         "an escape sequence, the sequence is not obeyed");
    fits("\303", 1, -1, "the lonely first byte", 0xc3);
    fits("\200", 1, -1, "the lonely second byte", 0x80);
}
