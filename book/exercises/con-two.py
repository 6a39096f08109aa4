import re

from check import JUDGED, need

# The machine that the tests boot has none.
SCREEN = {"QFLAGS": "-vga std"}

# Chapter 13, where programs can fork, with a call that presses keys and one that looks at the
# screen; and nobody else types.
KERNEL = """
#undef screen

s64 check_key(struct trap_frame *f)
{
    keyboard_key((u8)f->rdi);
    return 0;
}

s64 check_look(struct trap_frame *f)
{
    const struct boot_framebuffer *b = &boot.info->screen;
    const u32 *pixel = (const u32 *)(FRAMEBUFFER + b->start % FRAME_SIZE);
    u64 hash = 1, x, y;

    (void)f;
    hook_call(sched.ticking, NULL);
    for (y = 0; y < b->height; y++)
        for (x = 0; x < b->width; x++)
            hash = hash * 31 + pixel[y * b->stride + x];
    return (s64)(hash >> 1);
}

const struct system_call check_calls[] = {{0x101e, "key number", check_key},
                                          {0x101f, "look", check_look}};

void check_main(void)
{
    static const char *const hello[] = {"/bin/hello", NULL};

    memcpy(boot.info->options, "audit", 6);     /* not "pipe": there is somebody at the keyboard */
    ch13_init();
    cpu.handler[PIC_VECTOR + IRQ_SERIAL] = sched_ignore;
    con.serial = false;
    sys_add_calls(check_calls, array_count(check_calls));
    printf("check: status %d\\n", con_show(hello));
}
"""

PROGRAM = r"""
#include "judged.h"

#define SECOND "PATH"
#define ALT 0x38
#define CONTROL 0x1d
#define F1 0x3b
#define BACKSPACE 0x0e
#define UP 0x80

/* The second terminal, once for who would rather not wait, and once for who does. */
static long second, patient;
static volatile long *shared;
static volatile int interrupts;

static void key(u8 code)
{
    syscall3(0x101e, code, 0, 0);
}

static void press(u8 code)
{
    key(code);
    key(code | UP);
}

static void type(const char *text)
{
    static const u8 codes[] = {0x1e, 0x30, 0x2e, 0x20, 0x12, 0x21};      /* a to f */

    for (; *text; text++)
        press(*text == '\n' ? 0x1c : codes[*text - 'a']);
}

static void show(u8 n)
{
    key(ALT);
    press(F1 + n);
    key(ALT | UP);
}

static long look(void)
{
    return syscall3(0x101f, 0, 0, 0);
}

static void reads(long fd, const char *wanted, const char *what)
{
    char text[100] = "";
    long n = read((int)fd, text, sizeof text - 1);

    if (*wanted ? n != (long)length(wanted) || !equal(text, wanted) : n != -EAGAIN)
        wrong(what, n);
}

static void rest(void)
{
    struct timespec t = {0, 50000000};

    nanosleep(&t, NULL);
}

static void cells(void)
{
    long one, two;

    write(1, "\033[?25l", 6);
    write((int)second, "\033[?25l", 6);
    one = look();
    write((int)second, "this is on the second\n", 22);
    if (look() != one)
        wrong("what is written to the second terminal is to be seen while the first is shown", 0);
    show(1);
    two = look();
    if (two == one)
        wrong("Alt-F2 does not show the second terminal", 0);
    write(1, "this is on the first\n", 21);
    if (look() != two)
        wrong("what is written to the first terminal is to be seen while the second is shown", 0);
    press(F1);
    if (look() != two)
        wrong("F1 without Alt shows another terminal", 0);
    show(0);
    one = look();
    if (one == two)
        wrong("Alt-F1 does not show the first terminal", 0);
    show(1);
    if (look() != two)
        wrong("the second terminal, shown again, is not what it was", 0);
    show(0);
    if (look() != one)
        wrong("the first terminal, shown again, is not what it was", 0);
}

static void keys(void)
{
    reads(0, "", "a key that switches, or F1, is read from the first terminal");
    reads(second, "", "a key that switches, or F1, is read from the second terminal");
    type("abc\n");
    reads(second, "", "a line typed while the first terminal is shown is read from the second");
    reads(0, "abc\n", "a line typed while the first terminal is shown is not read from it");
    show(1);
    type("def\n");
    reads(0, "", "a line typed while the second terminal is shown is read from the first");
    reads(second, "def\n", "a line typed while the second terminal is shown is not read from it");
    show(0);
    type("ab");
    show(1);
    press(BACKSPACE);
    type("cd\n");
    show(0);
    type("ef\n");
    reads(second, "cd\n", "a line typed in the second terminal, between two parts of one in the "
          "first, is not what was typed");
    reads(0, "abef\n", "a line in the first terminal of which a part was typed before, and a part "
          "behind a line in the second, is not what was typed");
}

static void modes(void)
{
    struct termios mine, before;

    if (ioctl((int)second, TCGETS, &before))
        wrong("the second terminal should answer TCGETS", 0);
    mine = before;
    mine.local &= ~(u32)(ICANON | ECHO);
    ioctl((int)second, TCSETS, &mine);
    ioctl(0, TCGETS, &mine);
    if (!(mine.local & ICANON))
        wrong("a mode that was set for the second terminal is the first one's, too", mine.local);
    show(0);
    type("a");
    reads(0, "", "the first terminal should not deliver a line before its end, whatever mode the "
          "second is in");
    show(1);
    type("b");
    reads(second, "b", "the second terminal, in raw mode, should deliver each key");
    ioctl((int)second, TCSETS, &before);
    show(0);
    type("\n");
    reads(0, "a\n", "the first terminal's line, after a key in the second, is not what was typed");
}

static void on_interrupt(int signal)
{
    (void)signal;
    interrupts++;
}

static void interrupt(void)
{
    key(CONTROL);
    type("c");
    key(CONTROL | UP);
}

/* The group that the first terminal knows is ours; the second knows none. */
static void signals(void)
{
    signal_set(SIGINT, (vaddr)on_interrupt);
    show(1);
    interrupt();
    if (interrupts)
        wrong("^C in the second terminal reaches a program that is the first one's", interrupts);
    show(0);
    interrupt();
    if (interrupts != 1)
        wrong("^C in the first terminal does not reach its program", interrupts);
}

static void sleepers(void)
{
    long pid = fork();
    char text[10];

    if (!pid) {
        *shared = read((int)patient, text, sizeof text);
        exit(0);
    }
    rest();
    show(0);
    type("fed\n");
    rest();
    if (*shared)
        wrong("a program that waits for a line in the second terminal is woken by one in the first",
              *shared);
    reads(0, "fed\n", "a line for the first terminal is lost while somebody waits in the second");
    show(1);
    type("bad\n");
    wait4(pid, NULL, 0);
    if (*shared != 4)
        wrong("a program that waits for a line in the second terminal does not get it", *shared);
}

int main(void)
{
    u32 one = 1;

    second = open(SECOND, O_RDWR | O_NONBLOCK, 0);
    patient = open(SECOND, O_RDWR, 0);
    if (second < 0 || patient < 0)
        wrong("the second terminal, " SECOND ", cannot be opened", second);
    ioctl(0, FIONBIO, &one);
    shared = (void *)map_memory(4096, MAP_SHARED);
    cells();
    keys();
    modes();
    signals();
    sleepers();
    return 0;
}
"""


def check(tree):
    path = tree.answer("con-two.second", "the path by which programs open the second terminal; the "
                       "first is the one that they begin with")
    need(re.fullmatch(r"[\w/.-]+", path), f"con-two.second is not a path: `{path}`")
    two = tree.variant("two", {"rustica.c": tree.prefix(13) + KERNEL,
                               "user/judged.h": JUDGED,
                               "user/hello.c": PROGRAM.replace("PATH", path)})
    said = two.boots(13, chNN="check", **SCREEN)
    wrong = re.search(r"^wrong: (.*)$", said, re.M)
    need(not wrong, wrong and wrong[1])
    need("check: status 0" in said, f"a program that tries it does not come to its end:\n{said}")
    said = tree.boots(14, typed="echo to the first\n")
    need("to the first" in said, "what comes by the serial line is for the first terminal, and "
         f"does not reach the shell there:\n{said[-600:]}")
