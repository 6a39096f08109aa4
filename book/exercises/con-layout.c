/* chapters 1 to 11 */

/* The argument is what the keys of the number row, from 2 on, shall type with shift; a full
   stop stands for what is not ASCII. */

#include "check.h"

#define SHIFT 0x2a
#define ALT_GR 0x38              /* with the prefix 0xe0 */

/* What a key types, with some others held down; 0 if nothing or more than a byte. */
static u8 press(u8 code, bool shift, bool alt_gr)
{
    u8 typed;

    memset(&tty, 0, sizeof tty);         /* no line discipline: bytes as they come */
    if (shift)
        keyboard_key(SHIFT);
    if (alt_gr)
        keyboard_key(0xe0), keyboard_key(ALT_GR);
    keyboard_key(code);
    typed = tty.end == 1 ? (u8)tty.byte[0] : 0;
    keyboard_key(code | 0x80);
    if (alt_gr)
        keyboard_key(0xe0), keyboard_key(ALT_GR | 0x80);
    if (shift)
        keyboard_key(SHIFT | 0x80);
    return typed;
}

static bool can_be_typed(u8 c)
{
    u8 code;

    for (code = 1; code < 0x59; code++)
        if (code != SHIFT && code != 0x36 && code != 0x1d && code != 0x38 && code != 0x3a &&
            (press(code, false, false) == c || press(code, true, false) == c ||
             press(code, false, true) == c || press(code, true, true) == c))
            return true;
    return false;
}

/* Control works, and with all keys up the keyboard is as it was. */
static void controls(void)
{
    u8 code, got;

    for (code = 0x10; press(code, false, false) != 'c'; code++)
        need(code < 0x39, "no key types c");
    memset(&tty, 0, sizeof tty);
    keyboard_key(0x1d);
    keyboard_key(code);
    got = (u8)tty.byte[0];
    keyboard_key(code | 0x80);
    keyboard_key(0x1d | 0x80);
    need(got == 3, "control and c should type the byte 3, not %u", got);
    need(press(code, false, false) == 'c', "after control and c have come up, c types %u",
         press(code, false, false));
}

int main(int count, char **row)
{
    u8 code, got, wanted, c;

    need(count == 2 && strlen(row[1]) <= 12, "the number row has twelve keys");
    need(strncmp(row[1], "@#$%^&*()_+", strlen(row[1])), "this is the layout that was there "
         "before");
    for (code = 3; row[1][code - 3]; code++) {
        got = press(code, true, false);
        wanted = (u8)row[1][code - 3];
        need(wanted == '.' || got == wanted, "with shift, the key with the code 0x%x should type "
             "`%c`, and types `%c`", code, wanted, got < ' ' ? '.' : got);
    }
    need(press(0x1c, false, false) == '\n', "Enter does not type the end of a line");
    for (c = ' '; c < 127; c++)
        need(can_be_typed(c), "no key types `%c`, neither alone nor with shift or AltGr", c);
    controls();
}
