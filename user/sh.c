// ## sh {#user-sh}
//
// The shell: a program that reads lines and starts programs. It is the
// language of POSIX (XCU 2) in its everyday parts, and so most scripts
// that keep to those run on it, here and on Linux.
//
// A line passes through four stations. The *reader* gets it from a
// terminal, a file or a text. The *parser* makes a tree of it: which
// commands there are and how they hang together. When a command is to be
// run, its words are *expanded*: variables, patterns, quotes. Then it is
// *run*, by the shell itself or in a process of its own.
//
//     reader -> tokens -> tree of nodes -> words, expanded -> processes
//
// Not here: aliases, `trap`, `$IFS`, here-documents, and most options.

#include "libc.h"

// The whole state. Forking copies it, which is why a subshell can change
// variables as it likes and we never notice.

struct shell {
    struct source *source;      /* where the text comes from that is being parsed */
    struct token *token;        /* read, but not yet used */
    struct saved *saved;        /* file descriptors to be restored */
    struct call *calls;         /* the functions that we are in */
    struct variable *variables;
    struct function *functions;
    struct job *jobs;           /* what runs in the background */
    char **words;               /* $0 $1 $2 ... */
    int count;                  /* how many, without $0 */
    bool owned;                 /* they were allocated, by `set` */
    int status;                 /* $? */
    int substituted;            /* that of the last command in a word */
    long pid, background;       /* $$ $! */
    bool interactive;           /* there is somebody to ask */
    bool literal;               /* the reader is inside quotes */
    bool fresh;                 /* at the beginning of a command */
    volatile bool interrupted;  /* by ^C */
    int leaving;                /* loops still to be left, for break and continue */
    bool continuing;            /* the last of them is to go on */
    bool returning;             /* from a function */
    int loops;                  /* how many loops we are in */
    int depth;                  /* of nesting, for its limit */
    int terminal;               /* its file descriptor */
    struct termios cooked;      /* how it was when we came */
};

static struct shell shell;

// ## The way back {#sh-back}
//
// Deep inside the parser something is wrong with a command, and we want to
// be back at the prompt. `mark_place()` notes where the stack is and which
// values the registers have that a function must preserve (System V ABI,
// 3.2.1), and returns 0. `jump_back()` restores them all, and so
// `mark_place()` returns a second time, with 1. The C library calls them
// `setjmp` and `longjmp`; the kernel switches threads by the same
// trick.

struct place {
    u64 rbx, rbp, r12, r13, r14, r15, rsp, rip;
};

#ifndef __TINYC__
__attribute__((returns_twice))
#endif
int mark_place(struct place *place);
void jump_back(struct place *place) noreturn;

__asm__(".text\n"
        ".globl mark_place\n"
        "mark_place:\n"
        "    movq %rbx, (%rdi)\n"
        "    movq %rbp, 8(%rdi)\n"
        "    movq %r12, 16(%rdi)\n"
        "    movq %r13, 24(%rdi)\n"
        "    movq %r14, 32(%rdi)\n"
        "    movq %r15, 40(%rdi)\n"
        "    leaq 8(%rsp), %rax\n"      /* as it will be after the return */
        "    movq %rax, 48(%rdi)\n"
        "    movq (%rsp), %rax\n"
        "    movq %rax, 56(%rdi)\n"
        "    xorl %eax, %eax\n"
        "    ret\n"
        ".globl jump_back\n"
        "jump_back:\n"
        "    movq (%rdi), %rbx\n"
        "    movq 8(%rdi), %rbp\n"
        "    movq 16(%rdi), %r12\n"
        "    movq 24(%rdi), %r13\n"
        "    movq 32(%rdi), %r14\n"
        "    movq 40(%rdi), %r15\n"
        "    movq 48(%rdi), %rsp\n"
        "    movl $1, %eax\n"
        "    jmp *56(%rdi)\n");

// Only the shell itself at a terminal goes on after an error. A script, or
// a process of its own, ends.

static struct place prompt_place;

void call_end(void);
void source_end(void);
void redirect_undo(struct saved *until);

void noreturn abandon(int status)
{
    sink_flush(&out);
    if (!shell.interactive)
        exit(status);
    while (shell.calls)
        call_end();
    while (shell.source)
        source_end();
    redirect_undo(NULL);
    shell.status = status;
    jump_back(&prompt_place);
}

void noreturn fail(const char *about, const char *what)
{
    complain("sh: %s%s%s", about, *about ? ": " : "", what);
    abandon(2);
}

// Nothing that a user can type may overflow our stack: whatever calls
// itself does so between `deeper()` and `higher()`.

#define DEPTH_MAX 1000

void deeper(void)
{
    if (++shell.depth > DEPTH_MAX)
        fail("", "nested too deeply");
}

void higher(void)
{
    shell.depth--;
}

// ## Memory of two kinds {#sh-memory}
//
// Variables and history come and go at any time. They get pieces of memory
// whose sizes are powers of two, and a list for each size keeps those that
// were given back. New ones come from the break, the end of the program's
// data, which the system call `brk` moves. [Chapter 4](#ch-heap) has a
// better allocator.

#define PIECE_SIZES 40

struct piece {
    struct piece *next;         /* when it is free */
    u64 size;                   /* as a power of two, this header included */
};

struct heap {
    char *at, *end;             /* of what we asked for and have not used */
    struct piece *unused[PIECE_SIZES];
};

static struct heap heap;

struct piece *heap_grow(u64 size)
{
    char *start = heap.at ? heap.at : (char *)align_up(syscall3(SYS_BRK, 0, 0, 0), 16);
    char *wanted = (char *)align_up(start + size, 4 * FRAME_SIZE);

    if (start + size > heap.end) {
        if (syscall3(SYS_BRK, (long)wanted, 0, 0) != (long)wanted)
            fail("", "out of memory");
        heap.end = wanted;
    }
    heap.at = start + size;
    return (struct piece *)start;
}

// A piece of the right size that somebody has given back, or a new one.

void *allocate(u64 size)
{
    struct piece *piece;
    u64 i = 5;

    while (i < PIECE_SIZES && 1UL << i < size + sizeof *piece)
        i++;
    if (i == PIECE_SIZES)
        fail("", "out of memory");
    piece = heap.unused[i];
    if (piece)
        heap.unused[i] = piece->next;
    else
        piece = heap_grow(1UL << i);
    piece->size = i;
    return piece + 1;
}

void release(void *memory)
{
    struct piece *piece = (struct piece *)memory - 1;

    if (memory) {
        piece->next = heap.unused[piece->size];
        heap.unused[piece->size] = piece;
    }
}

// All else lives as long as the command that is being run. `keep()` takes
// it from the end of a row of blocks, and nobody frees it: we note how far
// the row had come, and later cut it back to there. Only the body of a
// function must outlive its line; it raises the floor below which nothing
// is cut.

struct block {
    struct block *older;
    u64 size, used;
};

static struct block *newest, *floor_block;
static u64 floor_used;

void *keep(u64 size)
{
    struct block *block = newest;
    u64 room;

    size = align_up(size, 8);
    if (!block || block->size - block->used < size) {
        room = size < 3000 ? 4000 : size;
        block = allocate(sizeof *block + room);
        *block = (struct block){.older = newest, .size = room};
        newest = block;
    }
    block->used += size;
    return (char *)(block + 1) + block->used - size;
}

// How far the row has come, and back to there. The floor is never below a
// mark that somebody holds, or else it is the floor that counts.

struct mark {
    struct block *block;
    u64 used;
};

struct mark keep_mark(void)
{
    return (struct mark){newest, newest ? newest->used : 0};
}

void keep_cut(struct mark mark)
{
    struct block *older;

    while (newest != mark.block && newest != floor_block) {
        older = newest->older;
        release(newest);
        newest = older;
    }
    if (newest == floor_block && (mark.block != newest || mark.used < floor_used))
        mark.used = floor_used;
    if (newest)
        newest->used = mark.used;
}

// A text that grows, and a list of texts.

struct text {
    char *at;
    u64 used, room;
};

struct word {
    struct word *next;
    char *text;
};

void text_byte(struct text *t, char c)
{
    char *wider;

    if (t->used == t->room) {
        wider = keep(t->room ? t->room * 2 : 32);
        memcpy(wider, t->at, t->used);
        t->room = t->room ? t->room * 2 : 32;
        t->at = wider;
    }
    t->at[t->used++] = c;
}

void text_add(struct text *t, const char *from)
{
    while (*from)
        text_byte(t, *from++);
}

// The zero at the end is not counted, so that more can be added.

char *text_end(struct text *t)
{
    text_byte(t, 0);
    t->used--;
    return t->at;
}

char *keep_text(const char *from, u64 size)
{
    char *copy = memcpy(keep(size + 1), from, size);

    copy[size] = 0;
    return copy;
}

// A number as a text.

char *keep_number(long n)
{
    char text[24];
    int at = sizeof text;
    u64 rest = n < 0 ? 0 - (u64)n : (u64)n;

    do
        text[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (n < 0)
        text[--at] = '-';
    return keep_text(text + at, sizeof text - (u64)at);
}

// ## Variables {#sh-variables}
//
// A name and a value. The programs that we start get those that are
// exported.

struct variable {
    struct variable *next;
    char *name;
    char *value;                /* NULL for none */
    bool exported;
};

bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

// How many characters at the beginning of a text are a name.

u64 name_length(const char *text)
{
    u64 n = 0;

    if (is_letter(*text))
        while (is_letter(text[n]) || is_digit(text[n]))
            n++;
    return n;
}

// There are few variables; a list is fast enough.

struct variable *variable_find(const char *name)
{
    struct variable *v = shell.variables;

    while (v && !equal(v->name, name))
        v = v->next;
    return v;
}

const char *variable_get(const char *name)
{
    struct variable *v = variable_find(name);

    return v ? v->value : NULL;
}

char *duplicate(const char *text)
{
    u64 size = length(text) + 1;

    return memcpy(allocate(size), text, size);
}

// The new value may be part of the old one: it is copied first.

struct variable *variable_set(const char *name, const char *value)
{
    struct variable *v = variable_find(name);
    char *copy = value ? duplicate(value) : NULL;

    if (!v) {
        v = allocate(sizeof *v);
        *v = (struct variable){.next = shell.variables, .name = duplicate(name)};
        shell.variables = v;
    }
    if (value) {
        release(v->value);
        v->value = copy;
    }
    return v;
}

void variable_unset(const char *name)
{
    struct variable **link = &shell.variables, *v;

    while (*link && !equal((*link)->name, name))
        link = &(*link)->next;
    v = *link;
    if (v) {
        *link = v->next;
        release(v->name);
        release(v->value);
        release(v);
    }
}

// The environment as `execve` wants it: `name=value`, a null pointer behind
// the last.

char **variable_environment(void)
{
    struct variable *v;
    u64 count = 0;
    char **all, **at;

    for (v = shell.variables; v; v = v->next)
        count += v->exported && v->value;
    at = all = keep((count + 1) * sizeof *all);
    for (v = shell.variables; v; v = v->next) {
        struct text t = {0};

        if (!v->exported || !v->value)
            continue;
        text_add(&t, v->name);
        text_byte(&t, '=');
        text_add(&t, v->value);
        *at++ = text_end(&t);
    }
    *at = NULL;
    return all;
}

// ## The line editor {#sh-edit}
//
// A terminal can do this by itself, in its *canonical* mode: it collects a
// line and hands it over when it is complete. For arrow keys and a history
// we switch that off while a line is typed, and get every key as it comes.
// Whatever is started afterwards finds the terminal as it was.

#define HISTORY 64
#define LINE_MAX 4096

#define KEY_UP 0x101
#define KEY_DOWN 0x102
#define KEY_RIGHT 0x103
#define KEY_LEFT 0x104
#define KEY_HOME 0x105
#define KEY_END 0x106
#define KEY_DELETE 0x107
#define CONTROL(key) ((key) & 0x1f)

struct editor {
    char line[LINE_MAX];
    int size, at;               /* characters, and those before the cursor */
    int row;                    /* in which row, below the prompt's, the cursor is */
    int columns;                /* width of the terminal */
    const char *prompt;
    struct sink screen;
    char *history[HISTORY];     /* the oldest first */
    int remembered, shown;      /* how many, and which of them we look at */
};

static struct editor editor;

void edit_raw(void)
{
    struct termios raw = shell.cooked;

    raw.input &= ~02402U;       /* BRKINT, ICRNL, IXON: nothing is translated */
    raw.local &= ~0100013U;     /* ISIG, ICANON, ECHO, IEXTEN */
    raw.key[VMIN] = 1;            /* VMIN: a read waits for one byte, */
    raw.key[VTIME] = 0;            /* VTIME: however long that takes */
    ioctl(shell.terminal, TCSETSW, &raw);
}

// Keys that have no character send several, which begin with escape. Those
// we know are a letter after `[` or `O`, or a number and `~`.

int edit_byte(void)
{
    char c;
    long n;

    do
        n = read(shell.terminal, &c, 1);
    while (n == -EINTR);
    return n == 1 ? (u8)c : -1;
}

int edit_key(void)
{
    static const char letters[] = "ABCDHF";
    static const short numbers[] = {0, KEY_HOME, 0, KEY_DELETE, KEY_END, 0, 0, KEY_HOME, KEY_END};
    const char *known;
    int c = edit_byte(), number = 0;

    if (c != 27)
        return c;
    c = edit_byte();
    if (c != '[' && c != 'O')
        return 0;
    while ((c = edit_byte()) >= '0' && c <= ';')
        number = c == ';' ? 0 : (number * 10 + c - '0') % 100;
    if (c == '~')
        return number < (int)array_count(numbers) ? numbers[number] : 0;
    known = c > 0 ? find(letters, (char)c) : NULL;
    if (!known)
        return 0;
    return (known - letters) < 2 ? KEY_UP + (int)(known - letters) :
           (int[]){KEY_RIGHT, KEY_LEFT, KEY_HOME, KEY_END}[known - letters - 2];
}

// What the terminal is told in turn: escape, `[`, a number, a letter. `A`
// moves the cursor up, `C` to the right, `H` to the top left, `J` erases
// all behind it.

void edit_send(int number, char letter)
{
    struct sink *s = &editor.screen;

    sink_byte(s, 27);
    sink_byte(s, '[');
    sink_number(s, (u64)number, 10, false, ' ', 0);
    sink_byte(s, letter);
}

// Draws everything again: back to the row of the prompt, write, erase what
// may stand behind, and take the cursor to its place. A terminal that has
// filled its last column waits there for the next character before it
// begins a new row, so in that case we send one.

void edit_draw(void)
{
    struct sink *s = &editor.screen;
    int before = (int)length(editor.prompt), i;
    int cell = before + editor.at, end = before + editor.size;

    if (editor.row)
        edit_send(editor.row, 'A');
    sink_byte(s, '\r');
    sink_field(s, editor.prompt, length(editor.prompt), 0);
    for (i = 0; i < editor.size; i++)
        sink_byte(s, (u8)editor.line[i] < ' ' ? '?' : editor.line[i]);
    if (end % editor.columns == 0)
        sink_byte(s, ' '), sink_byte(s, '\r');
    edit_send(0, 'J');
    if (end / editor.columns > cell / editor.columns)
        edit_send(end / editor.columns - cell / editor.columns, 'A');
    sink_byte(s, '\r');
    if (cell % editor.columns)
        edit_send(cell % editor.columns, 'C');
    editor.row = cell / editor.columns;
    sink_flush(s);
}

// Changes to the line. An insertion at its end, by far the most frequent,
// needs no drawing: the terminal shows the character, and moves on.

void edit_delete(int from, int to)
{
    memmove(editor.line + from, editor.line + to, (u64)(editor.size - to));
    editor.size -= to - from;
    editor.at = from;
    edit_draw();
}

void edit_insert(char c)
{
    int cells = (int)length(editor.prompt) + editor.size + 1;

    if (editor.size >= LINE_MAX - 2)
        return;
    memmove(editor.line + editor.at + 1, editor.line + editor.at, (u64)(editor.size - editor.at));
    editor.line[editor.at++] = c;
    editor.size++;
    if (editor.at < editor.size || cells % editor.columns == 0) {
        edit_draw();
        return;
    }
    sink_byte(&editor.screen, c);
    sink_flush(&editor.screen);
    editor.row = cells / editor.columns;
}

void edit_move(int to)
{
    if (to >= 0 && to <= editor.size && to != editor.at) {
        editor.at = to;
        edit_draw();
    }
}

// The word before the cursor, with the blanks between.

int edit_word_start(void)
{
    int at = editor.at;

    while (at > 0 && editor.line[at - 1] == ' ')
        at--;
    while (at > 0 && editor.line[at - 1] != ' ')
        at--;
    return at;
}

// The history. While we look at older lines the one that was being typed
// stands at its end, as if it had been entered.

void history_set(int i)
{
    editor.line[editor.size] = 0;
    release(editor.history[i]);
    editor.history[i] = duplicate(editor.line);
}

void history_show(int i)
{
    if (i < 0 || i > editor.remembered)
        return;
    if (editor.shown == editor.remembered)
        history_set(editor.remembered);
    editor.shown = i;
    editor.size = (int)length(editor.history[i]);
    memcpy(editor.line, editor.history[i], (u64)editor.size);
    editor.at = editor.size;
    edit_draw();
}

// A line that is empty or the same as the one before is not worth
// remembering. When the table is full the oldest goes.

void history_add(void)
{
    editor.line[editor.size] = 0;
    if (!editor.size ||
        (editor.remembered && equal(editor.line, editor.history[editor.remembered - 1])))
        return;
    history_set(editor.remembered);
    if (++editor.remembered < HISTORY)
        return;
    release(editor.history[0]);
    memmove(editor.history, editor.history + 1, (HISTORY - 1) * sizeof *editor.history);
    editor.history[HISTORY - 1] = NULL;
    editor.remembered--;
}

// What each key does. Only those that end the line return something other
// than 0. What Tab does is told [later](#sh-completion).

void edit_complete(void);

int edit_press(int key)
{
    int at = editor.at;

    if (key == '\r' || key == '\n' || key == CONTROL('C') || key < 0)
        return key;
    if (key == CONTROL('D') && !editor.size)
        return key;
    if (key == CONTROL('D') || key == KEY_DELETE)
        at < editor.size ? edit_delete(at, at + 1) : (void)0;
    else if (key == CONTROL('H') || key == 127)
        at > 0 ? edit_delete(at - 1, at) : (void)0;
    else if (key == CONTROL('A') || key == KEY_HOME)
        edit_move(0);
    else if (key == CONTROL('E') || key == KEY_END)
        edit_move(editor.size);
    else if (key == CONTROL('B') || key == KEY_LEFT)
        edit_move(at - 1);
    else if (key == CONTROL('F') || key == KEY_RIGHT)
        edit_move(at + 1);
    else if (key == CONTROL('P') || key == KEY_UP)
        history_show(editor.shown - 1);
    else if (key == CONTROL('N') || key == KEY_DOWN)
        history_show(editor.shown + 1);
    else if (key == CONTROL('K'))
        edit_delete(at, editor.size);
    else if (key == CONTROL('U'))
        edit_delete(0, at);
    else if (key == CONTROL('W'))
        edit_delete(edit_word_start(), at);
    else if (key == '\t')
        edit_complete();
    else if (key >= ' ' && key < 256)
        edit_insert((char)key);
    return 0;
}

// Reads a line; a ^C from before is over. The first prompt is written where
// the cursor is, behind what a program may have left there. Returns the
// line's length, with a newline behind it; 0 when there will be no more; -1
// when it was given up by ^C.

int edit_line(const char *prompt)
{
    int key;

    editor.screen.fd = 2;
    editor.prompt = prompt;
    editor.columns = terminal_columns(shell.terminal);
    editor.size = editor.at = editor.row = 0;
    editor.shown = editor.remembered;
    edit_raw();
    shell.interrupted = false;
    sink_field(&editor.screen, prompt, length(prompt), 0);
    sink_flush(&editor.screen);
    do {
        key = edit_key();
        if (key == CONTROL('L')) {
            edit_send(1, 'H');
            editor.row = 0;
            edit_draw();
        }
    } while (!(key = edit_press(key)));
    edit_move(editor.size);
    if (key == CONTROL('C'))
        sink_byte(&editor.screen, '^'), sink_byte(&editor.screen, 'C');
    sink_byte(&editor.screen, '\n');
    sink_flush(&editor.screen);
    ioctl(shell.terminal, TCSETSW, &shell.cooked);
    if (key == CONTROL('C'))
        return -1;
    if (key == CONTROL('D') || key < 0)
        return 0;
    history_add();
    editor.line[editor.size++] = '\n';
    return editor.size;
}

// ## Reading {#sh-reading}
//
// Text comes in lines, from one of three places: a string, a file, the line
// editor. Sources are stacked: a string may be parsed while a file is.

struct source {
    struct source *outer;
    const char *line;
    u64 at, size;
    int fd;                     /* -1 when the string is all there is */
    int number;                 /* of the line */
};

// A file is closed when its source ends; standard input stays.

void source_end(void)
{
    if (shell.source->fd > 0)
        close(shell.source->fd);
    shell.source = shell.source->outer;
}

// The commands that a script starts may read from the same file as we do,
// so we must not take more of it than our line. From a file we read ahead
// and go back by `lseek`; where that is impossible, byte by byte.

bool read_line(int fd, struct text *t)
{
    char buffer[512];
    u64 at = 0, size = syscall3(SYS_LSEEK, fd, 0, SEEK_CUR) < 0 ? 1 : sizeof buffer;
    long n;

    do {
        n = read(fd, buffer, size);
        for (at = 0; n > 0 && at < (u64)n;) {
            if (buffer[at])
                text_byte(t, buffer[at]);
            if (buffer[at++] == '\n') {
                syscall3(SYS_LSEEK, fd, (long)at - n, SEEK_CUR);
                return true;
            }
        }
    } while (n > 0 || (n == -EINTR && !shell.interrupted));
    return t->used > 0;
}

// The next line, with the prompt that fits if somebody is there to be
// asked.

bool source_fill(struct source *s)
{
    struct text t = {0};
    int size;

    if (s->fd < 0)
        return false;
    if (s->fd == 0 && shell.interactive) {
        size = edit_line(shell.fresh ? "$ " : "> ");
        if (size < 0)
            abandon(130);
        for (t.used = 0; size > 0 && t.used < (u64)size;)
            text_byte(&t, editor.line[t.used]);
    } else {
        read_line(s->fd, &t);
    }
    s->line = text_end(&t);
    s->at = 0;
    s->size = t.used;
    s->number++;
    shell.fresh = false;
    return s->size > 0;
}

// The next character, -1 at the end. Outside of quotes a backslash at the
// end of a line joins it to the next one.

int peek(void)
{
    struct source *s = shell.source;

    for (;;) {
        if (s->at >= s->size && !source_fill(s))
            return -1;
        if (s->line[s->at] != '\\' || shell.literal ||
            s->at + 1 >= s->size || s->line[s->at + 1] != '\n')
            return (u8)s->line[s->at];
        s->at += 2;
    }
}

int next(void)
{
    int c = peek();

    if (c >= 0)
        shell.source->at++;
    return c;
}

int next_literal(void)
{
    int c;

    shell.literal = true;
    c = next();
    shell.literal = false;
    return c;
}

// ## Tokens {#sh-tokens}
//
// A token is a word, an operator, or a redirection with the number before
// it. Operators of one character are their own kind.

enum {
    TOKEN_END = 256, TOKEN_WORD, TOKEN_REDIRECT, TOKEN_AND, TOKEN_OR, TOKEN_CASE_END
};

struct token {
    int kind;
    char *text;                 /* of a word, quotes and all */
    int fd;                     /* of a redirection */
    int how;                    /* <, >, a for >>, b for <>, & for <& and >& */
};

// A word ends at a blank or an operator, but not inside quotes, parentheses
// and braces; those may contain each other. Here everything is kept as it
// is, and only its end is looked for. (The `)` of a `case` inside
// parentheses fools us; `(` before the pattern helps.)

void read_single_quotes(struct text *t)
{
    int c;

    while ((c = next_literal()) != '\'') {
        if (c < 0)
            fail("syntax error", "a quote is not closed");
        text_byte(t, (char)c);
    }
    text_byte(t, '\'');
}

// A comment goes to the end of its line; a backslash there is part of it.

void read_comment(struct text *t)
{
    int c;

    shell.literal = true;
    while ((c = peek()) >= 0 && c != '\n')
        text_byte(t, (char)next());
    shell.literal = false;
}

// What ends a group is known when it begins. Whatever a backslash protects
// does not end it. A single quote inside double ones is a character like
// others, also in braces, as in `"${x:-it's}"`; only in a pattern, behind
// the name and `#` or `%`, it quotes again.

void read_group(struct text *t, int end, bool quoted)
{
    bool name = end == '}';
    int c = '(', before;

    deeper();
    do {
        before = c;
        c = next();
        if (c < 0)
            fail("syntax error", end == ')' ? "missing )" : end == '}' ? "missing }" :
                                 "a quote is not closed");
        text_byte(t, (char)c);
        quoted = quoted && !(name && (c == '#' || c == '%'));
        name = name && (is_letter((char)c) || is_digit((char)c));
        if (c == '\\' && (c = next_literal()) >= 0)
            text_byte(t, (char)c), c = 0;
        else if (c == end)
            ;
        else if (c == '\'' && !quoted)
            read_single_quotes(t);
        else if (c == '"' || c == '`')
            read_group(t, c, c == '"');
        else if (c == '(' && end == ')')
            read_group(t, ')', false);
        else if (c == '#' && end == ')' && find(" \t\n;&|(", (char)before))
            read_comment(t);
        else if (c == '$' && (peek() == '(' || peek() == '{')) {
            text_byte(t, (char)(c = next()));
            read_group(t, c == '(' ? ')' : '}', quoted && c == '{');
            c = 0;
        }
    } while (c != end);
    higher();
}

// The same outside of all quotes.

char *read_word(void)
{
    struct text t = {0};
    int c;

    while ((c = peek()) >= 0 && !find(" \t\n;&|<>()", (char)c)) {
        text_byte(&t, (char)next());
        if (c == '\\' && (c = next_literal()) >= 0)
            text_byte(&t, (char)c);
        else if (c == '\'')
            read_single_quotes(&t);
        else if (c == '"' || c == '`')
            read_group(&t, c, c == '"');
        else if (c == '$' && (peek() == '(' || peek() == '{')) {
            text_byte(&t, (char)(c = next()));
            read_group(&t, c == '(' ? ')' : '}', false);
        }
    }
    return text_end(&t);
}

// Operators of two characters; what looks like one may be the first half of
// the other.

bool take(int c)
{
    return peek() == c ? next(), true : false;
}

struct token *token_new(int kind)
{
    struct token *t = keep(sizeof *t);

    *t = (struct token){.kind = kind, .fd = -1};
    return t;
}

struct token *read_redirect(int fd)
{
    struct token *t = token_new(TOKEN_REDIRECT);
    int c = next();

    t->fd = fd >= 0 ? fd : c == '>';
    t->how = c;
    if (take('&'))
        t->how = '&';
    else if (c == '>' && take('>'))
        t->how = 'a';
    else if (c == '<' && take('>'))
        t->how = 'b';
    else if (c == '<' && peek() == '<')
        fail("syntax error", "there are no here-documents");
    else if (c == '>')
        take('|');
    return t;
}

// Blanks and comments are skipped. A digit directly before a redirection
// belongs to it.

struct token *read_token(void)
{
    struct text comment = {0};
    struct token *t;
    long fd;
    int c;

    while ((c = peek()) == ' ' || c == '\t')
        next();
    if (c == '#') {
        read_comment(&comment);
        c = peek();
    }
    if (c < 0)
        return token_new(TOKEN_END);
    if (c == '<' || c == '>')
        return read_redirect(-1);
    if (!find("\n;&|()", (char)c)) {
        t = token_new(TOKEN_WORD);
        t->text = read_word();
        fd = peek() == '<' || peek() == '>' ? number_from(t->text, 9) : -1;
        return fd >= 0 ? read_redirect((int)fd) : t;
    }
    t = token_new(next());
    if (c == '&' && take('&'))
        t->kind = TOKEN_AND;
    else if (c == '|' && take('|'))
        t->kind = TOKEN_OR;
    else if (c == ';' && take(';'))
        t->kind = TOKEN_CASE_END;
    return t;
}

// The parser looks at one token, and takes it when it fits.

struct token *token(void)
{
    if (!shell.token)
        shell.token = read_token();
    return shell.token;
}

// Looking is not taking: a token that does not fit is for somebody else.

struct token *token_take(void)
{
    struct token *t = token();

    shell.token = NULL;
    return t;
}

bool token_is(const char *word)
{
    return token()->kind == TOKEN_WORD && equal(token()->text, word);
}

void noreturn syntax_error(void)
{
    struct token *t = token();
    char operator[] = {'"', (char)t->kind, '"', 0};
    struct text what = {0};

    text_add(&what, "line ");
    text_add(&what, keep_number(shell.source->number));
    text_add(&what, ": unexpected ");
    text_add(&what, t->kind == TOKEN_WORD ? t->text : t->kind == TOKEN_END ? "end" :
                    t->kind == '\n' ? "end of line" : t->kind == TOKEN_REDIRECT ? "redirection" :
                    t->kind == TOKEN_AND ? "\"&&\"" : t->kind == TOKEN_OR ? "\"||\"" :
                    t->kind == TOKEN_CASE_END ? "\";;\"" : operator);
    fail("syntax error", text_end(&what));
}

void expect(const char *word)
{
    if (!token_is(word))
        syntax_error();
    token_take();
}

// ## The parser {#sh-parser}
//
// One function for each rule of the grammar, each of which calls those for
// its parts: *recursive descent*. What they build are nodes, whose `first`
// is the first of their parts.

enum kind {
    NODE_SIMPLE,                /* words, assignments among them */
    NODE_LIST,                  /* one; another & */
    NODE_LOGIC,                 /* one && another || a third */
    NODE_PIPE,                  /* one | another */
    NODE_GROUP,                 /* { list } */
    NODE_SUBSHELL,              /* ( list ) */
    NODE_IF,                    /* if list then list ... else list */
    NODE_WHILE, NODE_UNTIL,     /* while list do list */
    NODE_FOR,                   /* for name in words do list */
    NODE_CASE, NODE_CHOICE,     /* case word in choices; pattern) list */
    NODE_FUNCTION,              /* name() body */
};

struct redirect {
    struct redirect *next;
    int fd, how;
    char *word;
};

struct node {
    enum kind kind;
    int joint;                  /* && or || before it, ! for a pipe to be negated */
    bool background;            /* & behind it */
    bool listed;                /* a for that has its `in` */
    struct node *first, *next;
    struct word *words;
    struct redirect *redirects;
    char *name;
};

struct node *parse_list(bool line);
struct node *parse_command(void);

// Nodes are kept until the line has been run.

struct node *node_new(enum kind kind, struct node *first)
{
    struct node *n = keep(sizeof *n);

    *n = (struct node){.kind = kind, .first = first};
    return n;
}

void skip_lines(void)
{
    while (token()->kind == '\n')
        token_take();
}

// Words and redirections, in any order.

bool parse_redirect(struct redirect ***end)
{
    struct redirect *r;
    struct token *t;

    if (token()->kind != TOKEN_REDIRECT)
        return false;
    t = token_take();
    if (token()->kind != TOKEN_WORD)
        syntax_error();
    r = keep(sizeof *r);
    *r = (struct redirect){.fd = t->fd, .how = t->how, .word = token_take()->text};
    **end = r;
    *end = &r->next;
    return true;
}

// Lists grow at their end: we pass around where the next pointer is to be
// written. What has been added returns the new place.

struct word **word_add(struct word **end, char *text)
{
    struct word *w = keep(sizeof *w);

    *w = (struct word){.text = text};
    *end = w;
    return &w->next;
}

struct node *parse_function(char *name)
{
    struct node *n = node_new(NODE_FUNCTION, NULL);

    token_take();
    if (token()->kind != ')' || name_length(name) != length(name))
        syntax_error();
    token_take();
    skip_lines();
    n->name = name;
    n->first = parse_command();
    return n;
}

// A word followed by parentheses is the name of a function.

struct node *parse_simple(void)
{
    struct node *n = node_new(NODE_SIMPLE, NULL);
    struct redirect **last = &n->redirects;
    struct word **end = &n->words;

    for (;;) {
        if (token()->kind == TOKEN_WORD)
            end = word_add(end, token_take()->text);
        else if (!parse_redirect(&last))
            break;
        if (token()->kind == '(' && n->words && !n->words->next && !n->redirects)
            return parse_function(n->words->text);
    }
    if (!n->words && !n->redirects)
        syntax_error();
    return n;
}

// The parts of `if` alternate: condition, what then, condition, what then;
// one left over is what else.

struct node *parse_if(void)
{
    struct node *n = node_new(NODE_IF, NULL), **end = &n->first;

    do {
        token_take();           /* if, elif */
        *end = parse_list(false);
        end = &(*end)->next;
        expect("then");
        *end = parse_list(false);
        end = &(*end)->next;
    } while (token_is("elif"));
    if (token_is("else")) {
        token_take();
        *end = parse_list(false);
    }
    expect("fi");
    return n;
}

// Between `do` and `done`, for all kinds of loop.

struct node *parse_body(void)
{
    struct node *body;

    expect("do");
    body = parse_list(false);
    expect("done");
    return body;
}

struct node *parse_while(void)
{
    struct node *n = node_new(token_is("while") ? NODE_WHILE : NODE_UNTIL, NULL);

    token_take();
    n->first = parse_list(false);
    n->first->next = parse_body();
    return n;
}

// Without `in` the words are those of the shell itself.

struct node *parse_for(void)
{
    struct node *n = node_new(NODE_FOR, NULL);
    struct word **end = &n->words;

    token_take();
    if (token()->kind != TOKEN_WORD)
        syntax_error();
    n->name = token_take()->text;
    if (!*n->name || name_length(n->name) != length(n->name))
        fail("syntax error", "for wants the name of a variable");
    skip_lines();
    if (token_is("in")) {
        n->listed = true;
        token_take();
        while (token()->kind == TOKEN_WORD)
            end = word_add(end, token_take()->text);
    }
    if (token()->kind == ';')
        token_take();
    skip_lines();
    n->first = parse_body();
    return n;
}

// A choice is one or several patterns and the commands for them.

struct node *parse_choice(void)
{
    struct node *n = node_new(NODE_CHOICE, NULL);
    struct word **end = &n->words;

    if (token()->kind == '(')
        token_take();
    do {
        if (n->words)
            token_take();       /* | */
        if (token()->kind != TOKEN_WORD)
            syntax_error();
        end = word_add(end, token_take()->text);
    } while (token()->kind == '|');
    if (token()->kind != ')')
        syntax_error();
    token_take();
    n->first = parse_list(false);
    if (token()->kind == TOKEN_CASE_END)
        token_take();
    else if (!token_is("esac"))
        syntax_error();
    skip_lines();
    return n;
}

// The choices end with `esac`.

struct node *parse_case(void)
{
    struct node *n = node_new(NODE_CASE, NULL), **end = &n->first;

    token_take();
    if (token()->kind != TOKEN_WORD)
        syntax_error();
    word_add(&n->words, token_take()->text);
    skip_lines();
    expect("in");
    skip_lines();
    while (!token_is("esac")) {
        *end = parse_choice();
        end = &(*end)->next;
    }
    token_take();
    return n;
}

// Braces group; parentheses group in a process of their own.

struct node *parse_group(void)
{
    struct node *n = node_new(NODE_GROUP, NULL);

    token_take();
    n->first = parse_list(false);
    expect("}");
    return n;
}

struct node *parse_subshell(void)
{
    struct node *n = node_new(NODE_SUBSHELL, NULL);

    token_take();
    n->first = parse_list(false);
    if (token()->kind != ')')
        syntax_error();
    token_take();
    return n;
}

// A command that begins with a reserved word is parsed by the function for
// that word; redirections may follow. Words that can only continue such a
// command end the list before them.

static const struct {
    const char *word;
    struct node *(*parse)(void);
} reserved[] = {
    {"if", parse_if}, {"while", parse_while}, {"until", parse_while}, {"for", parse_for},
    {"case", parse_case}, {"{", parse_group},
    {"then", NULL}, {"else", NULL}, {"elif", NULL}, {"fi", NULL}, {"do", NULL},
    {"done", NULL}, {"esac", NULL}, {"}", NULL},
};

// The table is looked through for each command: it is short.

struct node *parse_command(void)
{
    struct node *(*parse)(void) = token()->kind == '(' ? parse_subshell : parse_simple;
    struct redirect **end;
    struct node *n;
    u64 i;

    deeper();
    for (i = 0; i < array_count(reserved); i++)
        if (token_is(reserved[i].word))
            parse = reserved[i].parse;
    if (!parse)
        syntax_error();
    n = parse();
    if (n->kind != NODE_SIMPLE)
        for (end = &n->redirects; parse_redirect(&end);)
            ;
    higher();
    return n;
}

// Commands with `|` between them, perhaps with `!` before the first; and
// such with `&&` and `||`, which bind equally and to the left.

struct node *parse_pipe(void)
{
    struct node *n = node_new(NODE_PIPE, NULL), **end = &n->first;

    while (token_is("!")) {
        token_take();
        n->joint = n->joint ? 0 : '!';
    }
    *end = parse_command();
    while (token()->kind == '|') {
        token_take();
        skip_lines();
        end = &(*end)->next;
        *end = parse_command();
    }
    return n->joint || n->first->next ? n : n->first;
}

struct node *parse_logic(void)
{
    struct node *n = parse_pipe(), *last = n;
    int joint;

    if (token()->kind != TOKEN_AND && token()->kind != TOKEN_OR)
        return n;
    n = node_new(NODE_LOGIC, n);
    while (token()->kind == TOKEN_AND || token()->kind == TOKEN_OR) {
        joint = token_take()->kind;
        skip_lines();
        last->next = node_new(NODE_GROUP, parse_pipe());
        last = last->next;
        last->joint = joint;
    }
    return n;
}

// A list ends where none of its commands can begin. One that is typed ends
// with the line, too.

bool list_ends(bool line)
{
    int kind = token()->kind;
    u64 i;

    if (kind == TOKEN_END || kind == ')' || kind == TOKEN_CASE_END || (line && kind == '\n'))
        return true;
    for (i = 0; i < array_count(reserved); i++)
        if (!reserved[i].parse && token_is(reserved[i].word))
            return true;
    return false;
}

struct node *parse_list(bool line)
{
    struct node *n = node_new(NODE_LIST, NULL), **end = &n->first;

    for (;;) {
        if (!line)
            skip_lines();
        if (list_ends(line))
            break;
        *end = parse_logic();
        if (token()->kind == '&')
            (*end)->background = true;
        else if (token()->kind != ';' && (line || token()->kind != '\n'))
            break;
        token_take();
        end = &(*end)->next;
    }
    if (!line && !n->first && token()->kind != TOKEN_CASE_END && !token_is("esac"))
        syntax_error();
    return n;
}

// A whole line, which may be several if it cannot end before. NULL at the
// end of the source.

struct node *parse_line(void)
{
    struct node *n;

    shell.fresh = true;
    shell.token = NULL;
    n = parse_list(true);
    if (token()->kind == TOKEN_END)
        return n->first ? n : NULL;
    if (token()->kind != '\n')
        syntax_error();
    return n;
}

// ## Patterns {#sh-patterns}
//
// `*` stands for any text, `?` for one character, `[a-z]` for one of some,
// and what follows a backslash for itself. A `*` first stands for nothing;
// whenever the rest does not fit, the last `*` takes one character more.
// Only the last one has to be remembered: if the part before it fits at
// all, it fits best where it fits first.

const char *match_set(const char *pattern, char c, bool *inside)
{
    const char *p = pattern + 1;
    bool not = *p == '!' || *p == '^', found = false;
    char low, high;

    p += not;
    do {
        p += *p == '\\' && p[1];
        if (!*p)
            return NULL;        /* no set: the bracket stands for itself */
        low = high = *p++;
        if (*p == '-' && p[1] && p[1] != ']') {
            p += p[1] == '\\' && p[2] ? 2 : 1;
            high = *p++;
        }
        found |= (u8)low <= (u8)c && (u8)c <= (u8)high;
    } while (*p != ']');
    *inside = found != not;
    return p + 1;
}

// Matches one character. Returns where the pattern goes on, NULL if it does
// not fit.

const char *match_one(const char *pattern, char c)
{
    const char *end;
    bool inside;

    if (*pattern == '?')
        return pattern + 1;
    if (*pattern == '[' && (end = match_set(pattern, c, &inside)))
        return inside ? end : NULL;
    pattern += *pattern == '\\' && pattern[1];
    return *pattern == c ? pattern + 1 : NULL;
}

// The whole text must fit.

bool match(const char *pattern, const char *text)
{
    const char *star = NULL, *start = NULL, *after;

    while (*text || *pattern == '*') {
        if (*pattern == '*') {
            star = ++pattern;
            start = text;
        } else if (*pattern && (after = match_one(pattern, *text))) {
            pattern = after;
            text++;
        } else if (star) {
            pattern = star;
            text = ++start;
        } else {
            return false;
        }
    }
    return !*pattern;
}

// Whether a text has anything in it that stands for something else, and the
// text without the backslashes that keep it from that.

bool is_pattern(const char *text)
{
    for (; *text; text++)
        if (*text == '*' || *text == '?' || *text == '[')
            return true;
        else if (*text == '\\' && text[1])
            text++;
    return false;
}

char *without_backslashes(const char *text)
{
    char *copy = keep_text(text, length(text)), *to = copy;

    for (; *text; *to++ = *text++)
        text += *text == '\\' && text[1];
    *to = 0;
    return copy;
}

// A pattern of files: for each part of the path that is a pattern, the
// directory before it is read, and for each name that fits we look for the
// rest. Names that begin with a dot want to be asked for.

void glob(char *path, const char *pattern, struct word ***end);

void glob_directory(char *path, const char *part, const char *rest, struct word ***end)
{
    long fd = open(*path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), size, at, old;
    u64 buffer[128];

    if (fd < 0)
        return;
    while ((size = getdents((int)fd, buffer, sizeof buffer)) > 0)
        for (at = 0; at < size; at += ((struct directory_entry *)((char *)buffer + at))->length) {
            const char *name = ((struct directory_entry *)((char *)buffer + at))->name;

            if ((*name == '.' && *part != '.') || !match(part, name))
                continue;
            old = path_append(path, name);
            if (old >= 0) {
                glob(path, rest, end);
                path[old] = 0;
            }
        }
    close((int)fd);
}

// One part after the other. `path` is what has been found so far, and is
// the same again afterwards.

void glob(char *path, const char *pattern, struct word ***end)
{
    struct file_status info;
    u64 old = length(path), size = 0;
    char *part;

    while (pattern[size] == '/')
        size++;
    if (size && old + 1 < PATH_MAX)
        path[old] = '/', path[old + 1] = 0;
    pattern += size;
    for (size = 0; pattern[size] && pattern[size] != '/';)
        size++;
    part = keep_text(pattern, size);
    deeper();
    if (!*part) {
        if (lstat(path, &info) == 0)
            *end = word_add(*end, keep_text(path, length(path)));
    } else if (is_pattern(part)) {
        glob_directory(path, part, pattern + size, end);
    } else if (path_append(path, without_backslashes(part)) >= 0) {
        glob(path, pattern + size, end);
    }
    path[old] = 0;
    higher();
}

// The files come sorted; where there are none the pattern stands for
// itself.

struct word **glob_sorted(const char *pattern, struct word **end)
{
    struct word *first = NULL, **last = &first, *w;
    char *path = keep(PATH_MAX), **text;
    u64 count = 0, i = 0;

    *path = 0;
    glob(path, pattern, &last);
    for (w = first; w; w = w->next)
        count++;
    if (!count)
        return word_add(end, without_backslashes(pattern));
    text = keep(count * sizeof *text);
    for (w = first; w; w = w->next)
        text[i++] = w->text;
    sort_texts(text, count);
    for (i = 0, w = first; w; w = w->next)
        w->text = text[i++];
    *end = first;
    return last;
}

// ## Expansion {#sh-expansion}
//
// From a word as it was written to the words that a command is given. The
// value of a variable outside of quotes is split at its blanks, and the
// result taken for a pattern, if it looks like one. In the field that is
// being built a backslash stands before each quoted character that could be
// taken for part of a pattern. At the field's end they go.

struct expansion {
    struct text field;
    bool exists;                /* the field, even if it is empty */
    bool split;                 /* fields are split, and patterns searched for */
    bool inner;                 /* in braces, where blanks that are written split, too */
    struct word **end;
};

const char *expand(struct expansion *e, const char *at, bool quoted);

void field_byte(struct expansion *e, char c, bool quoted)
{
    if (quoted && find("*?[]\\-!^", c))
        text_byte(&e->field, '\\');
    text_byte(&e->field, c);
}

void field_end(struct expansion *e)
{
    char *text = text_end(&e->field);

    if (e->exists || *text)
        e->end = e->split && is_pattern(text) ? glob_sorted(text, e->end) :
                 word_add(e->end, without_backslashes(text));
    e->exists = false;
    e->field = (struct text){0};
}

void expand_value(struct expansion *e, const char *value, bool quoted)
{
    for (; value && *value; value++)
        if (!quoted && e->split && is_blank(*value))
            field_end(e);
        else
            field_byte(e, *value, quoted || *value == '\\');
}

// `$*` is all parameters in one, `$@` one field for each.

void expand_all(struct expansion *e, bool quoted, bool apart)
{
    int i;

    for (i = 1; i <= shell.count; i++) {
        expand_value(e, shell.words[i], quoted);
        e->exists |= quoted;
        if (i < shell.count && apart && e->split)
            field_end(e);
        else if (i < shell.count)
            expand_value(e, " ", quoted);
    }
}

// A word may begin with `~`, for `$HOME`.

const char *expand_home(struct expansion *e, const char *raw)
{
    const char *home = variable_get("HOME");

    if (*raw != '~' || (raw[1] && raw[1] != '/'))
        return raw;
    expand_value(e, home ? home : "~", true);
    return raw + 1;
}

// A word that is to remain one, as after `=`; and one that is a pattern.

char *expand_pattern(const char *raw, bool quoted)
{
    struct expansion e = {0};

    expand(&e, quoted ? raw : expand_home(&e, raw), quoted);
    return text_end(&e.field);
}

char *expand_one(const char *raw)
{
    return without_backslashes(expand_pattern(raw, false));
}

struct word *expand_words(struct word *raw)
{
    struct word *first = NULL;
    struct expansion e = {.split = true, .end = &first};

    for (; raw; raw = raw->next) {
        expand(&e, expand_home(&e, raw->text), false);
        field_end(&e);
    }
    return first;
}

// ## Arithmetic {#sh-arithmetic}
//
// In `$((1 + 2 * x))`. Each operator has a rank, and `sum(rank)` computes
// everything that binds at least as tightly. What a processor would refuse
// to divide, we refuse before, unless it does not count: behind a `0 &&` or
// a `1 ||`.

static const struct {
    char text[3];
    u8 rank;
} operators[] = {
    {"||", 1}, {"&&", 2}, {"==", 3}, {"!=", 3}, {"<=", 4}, {">=", 4}, {"<", 4}, {">", 4},
    {"+", 5}, {"-", 5}, {"*", 6}, {"/", 6}, {"%", 6},
};

s64 compute(const char *operator, s64 a, s64 b)
{
    char second = operator[1];

    switch (operator[0]) {
    case '|': return a || b;
    case '&': return a && b;
    case '=': return a == b;
    case '!': return a != b;
    case '<': return second ? a <= b : a < b;
    case '>': return second ? a >= b : a > b;
    case '+': return (s64)((u64)a + (u64)b);
    case '-': return (s64)((u64)a - (u64)b);
    case '*': return (s64)((u64)a * (u64)b);
    }
    if (b == 0)
        fail("arithmetic", "division by zero");
    if (b == -1)
        return operator[0] == '/' ? (s64)(0 - (u64)a) : 0;
    return operator[0] == '/' ? a / b : a % b;
}

s64 sum(const char **at, int rank, bool counts);

void skip_blanks(const char **at)
{
    while (is_blank(**at))
        ++*at;
}

// The number in a variable, 0 if there is none.

s64 number_in(const char *text)
{
    bool negative;
    u64 n = 0;

    text = text ? text : "";
    skip_blanks(&text);
    negative = *text == '-';
    for (text += negative; is_digit(*text); text++)
        n = n * 10 + (u64)(*text - '0');
    return (s64)(negative ? 0 - n : n);
}

// A number, a variable, something in parentheses, or one of these with a
// sign.

s64 operand(const char **at, bool counts)
{
    char c, *name;
    u64 size;
    s64 n = 0;

    skip_blanks(at);
    c = **at;
    if (is_digit(c)) {
        for (; is_digit(**at); ++*at)
            n = (s64)((u64)n * 10 + (u64)(**at - '0'));
        return n;
    }
    size = name_length(*at);
    if (size) {
        name = keep_text(*at, size);
        *at += size;
        return number_in(variable_get(name));
    }
    if (!c || !find("(-+!", c))
        fail("arithmetic", *at);
    ++*at;
    if (c != '(') {
        n = sum(at, 7, counts);
        return c == '-' ? (s64)(0 - (u64)n) : c == '!' ? !n : n;
    }
    n = sum(at, 0, counts);
    skip_blanks(at);
    if (*(*at)++ != ')')
        fail("arithmetic", "missing )");
    return n;
}

// Operands and operators in turn; what binds more tightly is summed up
// first, by calling ourselves.

s64 sum(const char **at, int rank, bool counts)
{
    s64 n, right;
    bool decided;
    u64 i;

    deeper();
    n = operand(at, counts);
    for (;;) {
        skip_blanks(at);
        for (i = 0; i < array_count(operators) && !starts(*at, operators[i].text); i++)
            ;
        if (i == array_count(operators) || operators[i].rank < rank)
            break;
        *at += length(operators[i].text);
        decided = operators[i].text[0] == (n ? '|' : '&');
        right = sum(at, operators[i].rank + 1, counts && !decided);
        n = compute(operators[i].text, n, counts || right ? right : 1);
    }
    higher();
    return n;
}

void expand_arithmetic(struct expansion *e, const char *text, bool quoted)
{
    const char *at = without_backslashes(expand_pattern(text, true));
    s64 n = sum(&at, 0, true);

    if (*at)
        fail("arithmetic", at);
    expand_value(e, keep_number(n), quoted);
}

// ## After a dollar sign {#sh-dollar}
//
// The output of a command: it runs in a process of its own, at the other
// end of a pipe. The newlines at its end go.

void fd_move(int from, int to);
long start(long *group, bool background);
void noreturn leave(int status);
int wait_for(long pid, long group);
int run_text(const char *text, bool last);

void expand_command(struct expansion *e, const char *text, bool quoted)
{
    struct text output = {0};
    long pid, n, group = -1;
    int ends[2] = {0, 0};
    char buffer[512];

    n = pipe(ends);
    if (n < 0)
        fail("pipe", reason(n));
    pid = start(&group, false);
    if (pid == 0) {
        close(ends[0]);
        fd_move(ends[1], 1);
        leave(run_text(text, true));
    }
    close(ends[1]);
    while (pid > 0 && ((n = read(ends[0], buffer, sizeof buffer)) > 0 || n == -EINTR))
        for (long i = 0; i < n; i++)
            if (buffer[i])
                text_byte(&output, buffer[i]);
    close(ends[0]);
    shell.substituted = pid > 0 ? wait_for(pid, group) : 2;
    while (output.used && output.at[output.used - 1] == '\n')
        output.used--;
    expand_value(e, text_end(&output), quoted);
}

// A single character that is a parameter by itself; NULL if it is none.
// All words count as one here, which exists if there are any.

const char *parameter_value(const char *name)
{
    char options[] = "i";
    struct text all = {0};
    int i;

    if (is_digit(*name)) {
        long n = number_from(name, 1 << 20);

        return n >= 0 && n <= shell.count ? shell.words[n] : NULL;
    }
    switch (*name) {
    case '?': return keep_number(shell.status);
    case '$': return keep_number(shell.pid);
    case '#': return keep_number(shell.count);
    case '!': return shell.background ? keep_number(shell.background) : NULL;
    case '-': return keep_text(options, shell.interactive);
    case '@': case '*':
        for (i = 1; i <= shell.count; i++) {
            text_add(&all, i > 1 ? " " : "");
            text_add(&all, shell.words[i]);
        }
        return shell.count ? text_end(&all) : NULL;
    }
    return variable_get(name);
}

// How many characters after the dollar sign name a parameter.

u64 parameter_length(const char *text)
{
    u64 n = name_length(text);

    return n ? n : *text && (is_digit(*text) || find("?$#!-@*", *text)) ? 1 : 0;
}

// `${x#pattern}` and `${x%pattern}` without the shortest beginning, or end,
// that fits; doubled, without the longest.

const char *cut_match(const char *value, const char *pattern, char side, bool longest)
{
    u64 size = length(value), i, n;
    char *start = keep_text(value, size);

    for (i = 0; i <= size; i++) {
        n = longest ? size - i : i;
        if (side == '%' && match(pattern, value + size - n))
            return keep_text(value, size - n);
        start[n] = 0;
        if (side == '#' && match(pattern, start))
            return value + n;
        start[n] = value[n];
    }
    return value;
}

// The word that takes the place of a value. Quotes inside of quotes change
// nothing.

void expand_inner(struct expansion *e, const char *at, bool quoted)
{
    bool before = e->inner;

    e->inner = true;
    at = expand(e, quoted ? at : expand_home(e, at), quoted);
    while (*at == '"')
        at = expand(e, at + 1, quoted);
    e->inner = before;
}

// The same where it is not to be written, but to become a value itself.

char *expand_inner_one(const char *at, bool quoted)
{
    struct expansion e = {0};

    expand_inner(&e, at, quoted);
    return without_backslashes(text_end(&e.field));
}

// What stands between braces: `${#x}` is a length; after the name may come
// what to do if there is no value (`-` use another, `=` and set it, `?`
// complain) or if there is one (`+`). With `:` an empty value is none.

void expand_braces(struct expansion *e, const char *text, bool quoted)
{
    bool size = *text == '#' && text[1], absent;
    u64 n = parameter_length(text += size);
    char *name = keep_text(text, n), how;
    const char *value = parameter_value(name), *shown = text;

    while (is_digit(*name) && is_digit(text[n]))
        name = keep_text(text, ++n), value = parameter_value(name);
    text += n;
    absent = !value || (*text == ':' && !*value);
    text += *text == ':';
    how = *text;
    if (!n || (how && !find("-=?+#%", how)) || (size && how))
        fail(shown, "bad substitution");
    if (size)
        expand_value(e, keep_number((long)length(value ? value : "")), quoted);
    else if (how == '#' || how == '%')
        expand_value(e, cut_match(value ? value : "", expand_pattern(text + 1 + (text[1] == how),
                                                                     false),
                                  how, text[1] == how), quoted);
    else if (how == '+' ? !absent : absent && how == '-')
        expand_inner(e, text + 1, quoted);
    else if (absent && how == '?')
        fail(name, text[1] ? expand_inner_one(text + 1, quoted) : "parameter not set");
    else if (absent && how == '=' && name_length(name))
        expand_value(e, variable_set(name, expand_inner_one(text + 1, quoted))->value, quoted);
    else if (how != '+' && (*name == '@' || *name == '*'))
        expand_all(e, quoted, *name == '@');
    else if (how != '+')
        expand_value(e, value, quoted);
}

// Where a group that was opened ends: the reader has already found that out
// once, and does so again.

const char *group_end(const char *at, int end, bool quoted)
{
    struct source inner = {.outer = shell.source, .line = at, .size = length(at), .fd = -1};
    struct text ignored = {0};

    shell.source = &inner;
    read_group(&ignored, end, quoted);
    shell.source = inner.outer;
    return at + inner.at;
}

// The sign itself is behind us. Returns where the word goes on.

const char *expand_dollar(struct expansion *e, const char *at, bool quoted)
{
    u64 n = parameter_length(at);
    const char *end;
    char *name;

    if (*at == '(' || *at == '{') {
        end = group_end(at + 1, *at == '(' ? ')' : '}', quoted && *at == '{');
        name = keep_text(at + 1, (u64)(end - at) - 2);
        n = length(name);
        if (*at == '{')
            expand_braces(e, name, quoted);
        else if (*name == '(' && name[n - 1] == ')')
            expand_arithmetic(e, keep_text(name + 1, n - 2), quoted);
        else
            expand_command(e, name, quoted);
        return end;
    }
    if (!n)
        field_byte(e, '$', true);
    else if (*at == '@' || *at == '*')
        expand_all(e, quoted, *at == '@');
    else
        expand_value(e, parameter_value(keep_text(at, n)), quoted);
    return at + n;
}

// Between backquotes a command, in which a backslash protects itself, the
// dollar sign, the backquote and, inside double quotes, those.

const char *expand_backquote(struct expansion *e, const char *at, bool quoted)
{
    struct text command = {0};

    for (; *at && *at != '`'; at++) {
        if (*at == '\\' && at[1] && find(quoted ? "\\$`\"" : "\\$`", at[1]))
            at++;
        text_byte(&command, *at);
    }
    expand_command(e, text_end(&command), quoted);
    return at + (*at == '`');
}

// Quotes. A pair with nothing between is still a word, except that `"$@"`
// is none if there are no parameters.

const char *expand_single_quotes(struct expansion *e, const char *at)
{
    for (; *at && *at != '\''; at++)
        field_byte(e, *at, true);
    return at + (*at == '\'');
}

const char *expand_double_quotes(struct expansion *e, const char *at)
{
    e->exists |= shell.count || !(starts(at, "$@\"") || starts(at, "${@}\""));
    at = expand(e, at, true);
    return at + (*at == '"');
}

// The whole word, or in double quotes all up to the next.

const char *expand(struct expansion *e, const char *at, bool quoted)
{
    char c;

    deeper();
    while (*at && !(quoted && *at == '"')) {
        c = *at++;
        if (c == '$')
            at = expand_dollar(e, at, quoted);
        else if (c == '`')
            at = expand_backquote(e, at, quoted);
        else if (c == '\\' && *at && (!quoted || find(e->inner ? "$`\"\\\n}" : "$`\"\\\n", *at)))
            field_byte(e, *at++, true);
        else if (c == '\'' && !quoted)
            e->exists = true, at = expand_single_quotes(e, at);
        else if (c == '"')
            at = expand_double_quotes(e, at);
        else if (e->inner && e->split && !quoted && is_blank(c))
            field_end(e);
        else
            field_byte(e, c, quoted || c == '\\');
    }
    higher();
    return at;
}

// ## Redirection {#sh-redirection}
//
// A command that the shell itself runs needs its descriptors changed for a
// while. What was there before waits at a number from 10 upwards, which
// no program that we start will see.

// One descriptor becomes another. It may be that already: what is opened
// while a standard one is closed is given its number.

void fd_move(int from, int to)
{
    if (from != to) {
        dup2(from, to);
        close(from);
    }
}

struct saved {
    struct saved *next;
    int fd;
    long copy;                  /* negative: it was closed */
};

void redirect_save(int fd)
{
    struct saved *s = keep(sizeof *s);

    *s = (struct saved){.next = shell.saved, .fd = fd, .copy = fcntl(fd, F_DUPFD_CLOEXEC, 10)};
    shell.saved = s;
}

void redirect_undo(struct saved *until)
{
    struct saved *s;

    for (s = shell.saved; s != until; s = s->next) {
        if (s->copy < 0)
            close(s->fd);
        else
            fd_move((int)s->copy, s->fd);
    }
    shell.saved = until;
}

// Opens what is to be the descriptor. Of `2>&1` this is the other one.

long redirect_open(struct redirect *r, const char *name)
{
    long fd;

    if (r->how != '&')
        return open(name, r->how == '<' ? O_RDONLY : r->how == 'b' ? O_RDWR | O_CREAT :
                    O_WRONLY | O_CREAT | (r->how == 'a' ? O_APPEND : O_TRUNC), 0666);
    fd = number_from(name, 9);
    return fd < 0 ? -EBADF : fcntl((int)fd, F_DUPFD_CLOEXEC, 10);
}

// Returns whether all of them could be done.

bool redirect_all(struct redirect *r, bool save)
{
    const char *name;
    long fd;

    sink_flush(&out);
    for (; r; r = r->next) {
        name = expand_one(r->word);
        if (save)
            redirect_save(r->fd);
        if (r->how == '&' && equal(name, "-")) {
            close(r->fd);
            continue;
        }
        fd = redirect_open(r, name);
        if (fd < 0) {
            complain("sh: %s: %s", name, reason(fd));
            return false;
        }
        fd_move((int)fd, r->fd);
    }
    return true;
}

// ## Processes {#sh-processes}
//
// At a terminal each command is a *group* of processes, and the terminal
// sends what ^C means to one group only: that of the command that we wait
// for, or our own. The shell itself ignores the signals that would stop it,
// and remembers ^C for the moment when it can give up what it is doing.

void on_interrupt(int signal)
{
    shell.interrupted = signal == SIGINT;
}

void terminal_give(long group)
{
    int number = (int)group;

    ioctl(shell.terminal, TIOCSPGRP, &number);
}

// Both parent and child put the child into its group: whichever comes
// first, it is there before anybody relies on it. A group of -1 is our own;
// who is in it cannot be stopped, for nobody could continue it.
// A child that nobody will wait for, and that has no group of its own, must
// not read what is typed, nor end by a ^C meant for another. (From the
// moment when the terminal is ours, a ^C is meant for us: by then it must
// not be the shell's handler any more that gets it. If it has got one
// before that, it was meant for us as well.)

void become_child(long group, bool background)
{
    long null;

    if (shell.interactive) {
        signal_set(SIGINT, SIG_DFL);
        signal_set(SIGQUIT, SIG_DFL);
        signal_set(SIGTERM, SIG_DFL);
        if (shell.interrupted)
            kill(getpid(), SIGINT);
    }
    if (shell.interactive && group >= 0) {
        syscall3(SYS_SETPGID, 0, group, 0);
        if (!background)
            terminal_give(group ? group : getpid());
        signal_set(SIGTSTP, SIG_DFL);
        signal_set(SIGTTIN, SIG_DFL);
        signal_set(SIGTTOU, SIG_DFL);
    }
    if (!shell.interactive && background) {
        signal_set(SIGINT, SIG_IGN);
        signal_set(SIGQUIT, SIG_IGN);
        null = open("/dev/null", O_RDONLY, 0);
        if (null >= 0)
            fd_move((int)null, 0);
    }
    shell.interactive = false;
    shell.jobs = NULL;
}

// What runs in the background is a job, until it has ended and somebody has
// been told.

struct job {
    struct job *next;
    long pid, group;
    bool ended, stopped;
    int status;
    char *name;
};

int status_of(int status)
{
    int signal = status & 0x7f;

    return signal == 0x7f ? 128 + SIGTSTP : signal ? 128 + signal : status >> 8 & 0xff;
}

void job_add(long pid, long group, const char *name, bool stopped)
{
    struct job *job = allocate(sizeof *job);

    *job = (struct job){.next = shell.jobs, .pid = pid, .group = group, .stopped = stopped,
                        .name = duplicate(name)};
    shell.jobs = job;
    if (shell.interactive)
        complain("[%ld] %s%s", pid, name, stopped ? ": stopped, fg continues it" : "");
}

void job_remove(struct job *job)
{
    struct job **link = &shell.jobs;

    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
    release(job->name);
    release(job);
}

// By the number of its process; NULL if there is none.

struct job *job_find(long pid)
{
    struct job *job = shell.jobs;

    while (job && job->pid != pid)
        job = job->next;
    return job;
}

// Asks which children have ended in the meantime; the kernel then forgets
// them. Never while we wait for one: we would take it from ourselves.

void jobs_poll(void)
{
    struct job *job;
    int status = 0;
    long pid;

    while ((pid = wait4(-1, &status, WNOHANG)) > 0) {
        job = job_find(pid);
        if (job)
            job->ended = true, job->status = status_of(status);
    }
}

void jobs_report(void)
{
    struct job *job, *next;

    for (job = shell.jobs; job; job = next) {
        next = job->next;
        if (job->ended) {
            complain("[%ld] %s: ended with status %d", job->pid, job->name, job->status);
            job_remove(job);
        }
    }
}

// A new process, which continues where this one does: 0 in the child, and
// in the parent the number of the child, or an error.

long start(long *group, bool background)
{
    long pid;

    sink_flush(&out);
    pid = fork();
    if (pid == 0)
        become_child(*group, background);
    else if (pid < 0)
        complain("sh: cannot fork: %s", reason(pid));
    else if (shell.interactive && *group >= 0) {
        *group = *group ? *group : pid;
        syscall3(SYS_SETPGID, pid, *group, 0);
    }
    return pid;
}

// The status in which a process ends; that of one ended by a signal is 128
// and the signal's number. Ends by ^C and by a closed pipe are part of
// everyday life, others are mentioned. If ^C comes to us, because the group
// that we wait for has not taken the terminal yet, we pass it on.

int wait_for(long pid, long group)
{
    int status = 0, signal;
    long result;

    do
        result = wait4(pid, &status, shell.interactive ? WUNTRACED : 0);
    while (result == -EINTR && (!shell.interrupted || (group > 0 && !kill(-group, SIGINT))));
    if (result < 0)
        return 127;
    signal = status & 0x7f;
    if (signal == 0x7f)
        job_add(pid, group, "job", true);
    else if (signal && signal != SIGINT && signal != 13)
        complain("sh: process %ld was ended by signal %d (%s)", pid, signal,
                 signal_name(signal) ? signal_name(signal) : "?");
    return status_of(status);
}

// Waits for all processes of a group. Then the terminal is ours again, and
// as we knew it. ^C ends not only the command, but the whole line.

int wait_group(long *pid, u64 count, long group)
{
    int status = 2;
    u64 i;

    for (i = 0; i < count; i++)
        status = wait_for(pid[i], group);
    if (shell.interactive) {
        terminal_give(shell.pid);
        ioctl(shell.terminal, TCSETSW, &shell.cooked);
        if (status == 128 + SIGINT) {
            print("\n");
            abandon(status);
        }
    }
    return status;
}

void noreturn leave(int status)
{
    exit(done(status));
}

// ## Running a program {#sh-running}
//
// A name without a slash is looked for in the directories of `$PATH`. A
// file that the kernel does not know how to run, but that we may execute,
// is taken for a script.

int run_file(const char *path);

long try_to_run(const char *path, char **words, char **environment)
{
    long error = execve(path, words, environment);

    if (error == -ENOEXEC) {
        shell.words = words;
        shell.count = 0;
        while (words[shell.count + 1])
            shell.count++;
        leave(run_file(path));
    }
    return error;
}

// Of several failures the one is reported that is not "no such file".

void noreturn run_program(char **words)
{
    char **environment = variable_environment(), *path = keep(PATH_MAX);
    const char *at = variable_get("PATH");
    long error = -ENOENT, result;
    u64 size;

    if (find(words[0], '/'))
        error = try_to_run(words[0], words, environment), at = NULL;
    while (at && *words[0]) {
        for (size = 0; at[size] && at[size] != ':';)
            size++;
        *path = 0;
        if (size < PATH_MAX) {
            memcpy(path, at, size);
            path[size] = 0;
        }
        if (path_append(path, words[0]) >= 0) {
            result = try_to_run(path, words, environment);
            if (result != -ENOENT && result != -20)
                error = result;
        }
        at = at[size] ? at + size + 1 : NULL;
    }
    complain("sh: %s: %s", words[0],
             error == -ENOENT && !find(words[0], '/') ? "not found" : reason(error));
    leave(error == -ENOENT || error == -20 ? 127 : 126);
}

// The same for those who only ask: the file, NULL if there is none.

const char *find_program(const char *name)
{
    const char *at = find(name, '/') ? "" : variable_get("PATH");
    struct text path = {0};

    for (; at; at = *at ? at + 1 : NULL) {
        for (path.used = 0; *at && *at != ':'; at++)
            text_byte(&path, *at);
        text_add(&path, path.used ? "/" : "");
        text_add(&path, name);
        if (access(text_end(&path), 1) == 0 && !is_directory(path.at))
            return path.at;
    }
    return NULL;
}

// ## What the shell does itself {#sh-builtins}
//
// Some commands cannot be programs: a process can change the directory or
// the variables of no other. Each gets its words and their number, and
// returns its status.

int builtin_cd(int count, char **words)
{
    const char *to = count > 1 ? words[1] : variable_get("HOME");
    char *path = keep(PATH_MAX);
    long error;

    if (to && equal(to, "-"))
        to = variable_get("OLDPWD");
    error = to ? chdir(to) : -ENOENT;
    if (error)
        return complain("cd: %s: %s", to ? to : "where to?", reason(error)), 2;
    if (count > 1 && equal(words[1], "-"))
        say("%s\n", to);
    variable_set("OLDPWD", variable_get("PWD") ? variable_get("PWD") : "/");
    if (getcwd(path, PATH_MAX) > 0)
        variable_set("PWD", path);
    return 0;
}

// The kernel knows; `$PWD` may be anything.

int builtin_pwd(int count, char **words)
{
    char *path = keep(PATH_MAX);
    long error = getcwd(path, PATH_MAX);

    (void)count, (void)words;
    if (error < 0)
        return complain("pwd: %s", reason(error));
    say("%s\n", path);
    return 0;
}

// The value of a word that is to be a number; complains if it is none.

int number_word(int count, char **words, int otherwise)
{
    long n = count > 1 ? number_from(words[1], 1L << 30) : otherwise;

    if (n < 0)
        fail(words[1], "not a number");
    return (int)n;
}

int builtin_exit(int count, char **words)
{
    if (shell.interactive && shell.terminal)
        ioctl(shell.terminal, TCSETSW, &shell.cooked);
    leave(number_word(count, words, shell.status) & 0xff);
}

int builtin_return(int count, char **words)
{
    shell.returning = true;
    return number_word(count, words, shell.status) & 0xff;
}

// The loops look at `leaving` after each command.

int builtin_break(int count, char **words)
{
    int loops = number_word(count, words, 1);

    shell.leaving = loops < shell.loops ? loops : shell.loops;
    shell.continuing = equal(words[0], "continue");
    return 0;
}

int builtin_true(int count, char **words)
{
    (void)count;
    return equal(words[0], "false");
}

// The program of that name does the same. Here it costs no process, and in
// a loop whose reader has gone it is the loop that the closed pipe ends.

int builtin_echo(int count, char **words)
{
    int first = count > 1 && equal(words[1], "-n") ? 2 : 1, i;

    for (i = first; i < count; i++)
        say("%s%s", i > first ? " " : "", words[i]);
    if (first == 1)
        say("\n");
    return 0;
}

// Variables. `set --` replaces the parameters; they live in one piece of
// memory, the pointers before the texts.

int builtin_export(int count, char **words)
{
    struct variable *v;
    char *name;
    u64 size;
    int i;

    for (v = shell.variables; v && count == 1; v = v->next)
        if (v->exported)
            say("export %s='%s'\n", v->name, v->value ? v->value : "");
    for (i = 1; i < count; i++) {
        size = name_length(words[i]);
        name = keep_text(words[i], size);
        if (!size || (words[i][size] && words[i][size] != '='))
            return complain("export: %s: not a name", words[i]), 2;
        variable_set(name, words[i][size] ? words[i] + size + 1 : NULL)->exported = true;
    }
    return 0;
}

// What does not exist can be forgotten, too.

int builtin_unset(int count, char **words)
{
    int i;

    for (i = 1; i < count; i++)
        variable_unset(words[i]);
    return 0;
}

int builtin_set(int count, char **words)
{
    struct variable *v;
    u64 size = (u64)(count + 1) * sizeof *words;
    char **copy, *text;
    int i, first = 1;

    for (v = shell.variables; v && count == 1; v = v->next)
        say("%s='%s'\n", v->name, v->value ? v->value : "");
    if (count == 1)
        return 0;
    if (equal(words[1], "--"))
        first = 2;
    else if (*words[1] == '-' || *words[1] == '+')
        return complain("set: there is no option %s", words[1]), 2;
    for (i = first; i < count; i++)
        size += length(words[i]) + 1;
    copy = allocate(size);
    text = (char *)(copy + count + 1);
    copy[0] = shell.words[0];
    for (i = first; i < count; i++) {
        copy[i - first + 1] = memcpy(text, words[i], length(words[i]) + 1);
        text += length(words[i]) + 1;
    }
    if (shell.owned)
        release(shell.words);
    shell.words = copy;
    shell.count = count - first;
    shell.owned = true;
    return 0;
}

// The first word, which is the shell's own name, stays.

int builtin_shift(int count, char **words)
{
    int n = number_word(count, words, 1);

    if (n > shell.count)
        return complain("shift: there are only %d", shell.count), 2;
    shell.count -= n;
    memmove(shell.words + 1, shell.words + 1 + n, (u64)shell.count * sizeof *shell.words);
    return 0;
}

// One line of the input, its words to the variables and all that is left to
// the last one. A backslash protects the next character, unless `-r`.

int builtin_read(int count, char **words)
{
    struct text line = {0}, value;
    bool raw = count > 1 && equal(words[1], "-r"), complete;
    const char *at;
    u64 end;
    int i;

    complete = read_line(0, &line) && line.at[line.used - 1] == '\n';
    line.used -= complete;
    at = text_end(&line);
    for (i = 1 + raw; i < count; i++) {
        if (!*words[i] || name_length(words[i]) != length(words[i]))
            return complain("read: %s: not a name", words[i]), 2;
        skip_blanks(&at);
        for (value = (struct text){0}, end = 0; *at; at++) {
            if (is_blank(*at) && i < count - 1)
                break;
            if (*at == '\\' && !raw && at[1])
                at++, end = value.used + 1;
            text_byte(&value, *at);
        }
        while (i == count - 1 && value.used > end && is_blank(value.at[value.used - 1]))
            value.used--;
        variable_set(words[i], text_end(&value));
    }
    return !complete;
}

// Text as commands: words put together, or a file.

int builtin_eval(int count, char **words)
{
    struct text t = {0};
    int i;

    for (i = 1; i < count; i++) {
        text_add(&t, words[i]);
        text_byte(&t, ' ');
    }
    return run_text(text_end(&t), false);
}

int builtin_dot(int count, char **words)
{
    int status = count > 1 ? run_file(words[1]) : complain(".: which file?");

    shell.returning = false;
    return status;
}

// Jobs: `wait` for one or for all that run, `fg` continues the latest in
// the foreground. A job is forgotten when it has ended, but not if ^C ended
// the waiting.

int wait_job(struct job *job)
{
    int status = job->ended ? job->status : wait_for(job->pid, job->group);

    if (!shell.interrupted)
        job_remove(job);
    return status;
}

int builtin_wait(int count, char **words)
{
    int status = 0, i;
    struct job *job, *next;

    for (i = 1; i < count; i++) {
        job = job_find(number_from(words[i], 1L << 30));
        if (!job)
            return 127;
        status = wait_job(job);
    }
    for (job = count == 1 ? shell.jobs : NULL; job && !shell.interrupted; job = next) {
        next = job->next;
        if (!job->stopped)
            wait_job(job);
    }
    return status;
}

// The list, with what we know about each.

int builtin_jobs(int count, char **words)
{
    struct job *job;

    (void)count, (void)words;
    jobs_poll();
    for (job = shell.jobs; job; job = job->next)
        say("[%ld] %s: %s\n", job->pid, job->name,
            job->ended ? "ended" : job->stopped ? "stopped" : "running");
    return 0;
}

// Once it is continued it is no longer a job, but what we wait for. Of a
// pipe that is its last part; the others run on with it.

int builtin_fg(int count, char **words)
{
    struct job *job = shell.jobs;
    long pid, group;

    if (count > 1)
        job = job_find(number_from(words[1], 1L << 30));
    if (!job || job->ended || !shell.interactive)
        return complain("fg: no such job");
    pid = job->pid;
    group = job->group;
    job_remove(job);
    for (job = shell.jobs; job; job = job->next)
        job->stopped = job->stopped && job->group != group;
    terminal_give(group);
    kill(-group, SIGCONT);
    return wait_group(&pid, 1, group);
}

int builtin_help(int count, char **words);
int builtin_type(int count, char **words);
int builtin_exec(int count, char **words);

// The table is what `help` prints.

static const struct builtin {
    const char *name;
    int (*run)(int count, char **words);
    const char *usage;
} builtins[] = {
    {":", builtin_true, "                     do nothing"},
    {".", builtin_dot, "FILE                 run commands from a file"},
    {"break", builtin_break, "[N]              leave N loops"},
    {"cd", builtin_cd, "[DIRECTORY]         change the working directory; - goes back"},
    {"continue", builtin_break, "[N]           go on with the next turn of a loop"},
    {"echo", builtin_echo, "[-n] WORD...      write words"},
    {"eval", builtin_eval, "WORD...           run words as a command"},
    {"exec", builtin_exec, "[COMMAND]         become another program; redirections stay"},
    {"exit", builtin_exit, "[STATUS]          leave the shell"},
    {"export", builtin_export, "[NAME[=VALUE]]  give variables to programs"},
    {"false", builtin_true, "                 fail"},
    {"fg", builtin_fg, "[PID]               continue a job, and wait for it"},
    {"help", builtin_help, "                  this list"},
    {"jobs", builtin_jobs, "                  what runs in the background"},
    {"pwd", builtin_pwd, "                   name the working directory"},
    {"read", builtin_read, "[-r] NAME...      read a line into variables"},
    {"return", builtin_return, "[STATUS]        leave a function"},
    {"set", builtin_set, "[-- WORD...]       replace $1, $2, ...; or show all variables"},
    {"shift", builtin_shift, "[N]              drop the first N of $1, $2, ..."},
    {"true", builtin_true, "                  succeed"},
    {"type", builtin_type, "NAME...           say what a command is"},
    {"unset", builtin_unset, "NAME...          forget variables"},
    {"wait", builtin_wait, "[PID...]          wait for jobs to end"},
};

// Found by name, like everything here.

const struct builtin *builtin_find(const char *name)
{
    u64 i;

    for (i = 0; i < array_count(builtins); i++)
        if (equal(builtins[i].name, name))
            return &builtins[i];
    return NULL;
}

int builtin_help(int count, char **words)
{
    u64 i;

    (void)count, (void)words;
    for (i = 0; i < array_count(builtins); i++)
        say("%s %s\n", builtins[i].name, builtins[i].usage);
    say("All other commands are programs: ls /bin shows them.\n");
    return 0;
}

// ## Completion {#sh-completion}
//
// The Tab key continues the word before the cursor, as far as there is only
// one way to go on. A word that is to be a command, and has no slash, may
// become one of our own commands or a program in `$PATH`; any other, a
// file. Both are questions about a [pattern](#sh-patterns): the word with a
// star behind it. (What follows a `do` or a `then` we take for a file.)

struct word *complete_word(const char *word, bool command)
{
    const char *at = command ? variable_get("PATH") : "";
    struct word *first = NULL, **end = &first, *w;
    char *path = keep(PATH_MAX);
    u64 i;

    for (i = 0; command && i < array_count(builtins); i++)
        if (starts(builtins[i].name, word))
            end = word_add(end, keep_text(builtins[i].name, length(builtins[i].name)));
    for (; at; at = *at ? at + 1 : NULL) {
        struct text pattern = {0};

        while (*at && *at != ':')
            text_byte(&pattern, *at++);
        text_add(&pattern, command ? "/" : "");
        text_add(&pattern, word);
        text_add(&pattern, "*");
        *path = 0;
        glob(path, text_end(&pattern), &end);
    }
    for (w = command ? first : NULL; w; w = w->next)
        w->text = last_part(w->text);
    return first;
}

// If there is nothing to add, the possibilities are listed, each once; then
// the line is drawn again below.

void complete_list(struct word *first)
{
    struct word *w, *same;
    int at = editor.at;

    edit_move(editor.size);
    sink_byte(&editor.screen, '\n');
    for (w = first; w; w = w->next) {
        for (same = first; !equal(same->text, w->text);)
            same = same->next;
        if (same == w) {
            sink_field(&editor.screen, last_part(w->text), length(last_part(w->text)), 0);
            sink_field(&editor.screen, "  ", 2, 0);
        }
    }
    sink_byte(&editor.screen, '\n');
    editor.row = 0;
    editor.at = at;
    edit_draw();
}

// How much the possibilities have in common, and whether they are one. A
// word with quotes, variables or patterns in it is not as it will be, and
// is left alone; so is one that is a different text as a path (`//bin`). A
// name is completed up to its first control character: a newline that could
// not be typed has no place in a line either.

void edit_complete(void)
{
    static const char ends[] = " \t|&;<>()=", special[] = "\\\"'$`*?[";
    struct mark mark = keep_mark();
    int start = editor.at, before;
    struct word *first, *w;
    u64 i, typed, shared;
    bool several = false, plain = true, command;
    char *word;

    while (start > 0 && !find(ends, editor.line[start - 1]))
        start--;
    for (before = start; before > 0 && editor.line[before - 1] == ' ';)
        before--;
    typed = (u64)(editor.at - start);
    word = keep_text(editor.line + start, typed);
    for (i = 0; i < typed; i++)
        plain = plain && !find(special, word[i]);
    command = !find(word, '/') && (!before || find("|&;(", editor.line[before - 1]));
    first = plain ? complete_word(word, command) : NULL;
    shared = first && starts(first->text, word) ? length(first->text) : 0;
    for (w = first; w; w = w->next) {
        several = several || !equal(w->text, first->text);
        for (i = 0; i < shared && w->text[i] == first->text[i] && (u8)w->text[i] >= ' ';)
            i++;
        shared = i;
    }
    if (several && shared == typed)
        complete_list(first);
    for (i = typed; i < shared; i++) {
        if (find(ends, first->text[i]) || find(special, first->text[i]))
            edit_insert('\\');
        edit_insert(first->text[i]);
    }
    if (shared && !several && !first->text[shared])
        edit_insert(!command && is_directory(first->text) ? '/' : ' ');
    keep_cut(mark);
}

// ## Running what was parsed {#sh-execution}
//
// `run_node()` returns the status of what it ran. Where nothing comes after
// it (`last`) a process need not fork another to run a program: it becomes
// that program.

int run_node(struct node *n, bool last);

bool stopping(void)
{
    return shell.leaving || shell.returning;
}

// At a prompt a typing error is no reason to leave. The new program gets
// its signals as others do.

int builtin_exec(int count, char **words)
{
    if (count == 1)
        return 0;
    if (shell.interactive && !find_program(words[1]))
        return complain("exec: %s: not found", words[1]), 127;
    become_child(-1, false);
    run_program(words + 1);
}

// Functions see their own words as `$1`, `$2`, ... and their callers' again
// afterwards.

struct function {
    struct function *next;
    char *name;
    struct node *body;
};

struct call {
    struct call *outer;
    char **words;
    int count, loops;
    bool owned;
};

// The last definition counts.

struct function *function_find(const char *name)
{
    struct function *f = shell.functions;

    while (f && !equal(f->name, name))
        f = f->next;
    return f;
}

void call_end(void)
{
    struct call *call = shell.calls;

    if (shell.owned)
        release(shell.words);
    shell.words = call->words;
    shell.count = call->count;
    shell.owned = call->owned;
    shell.loops = call->loops;
    shell.calls = call->outer;
}

int run_function(struct function *f, int count, char **words)
{
    struct call call = {shell.calls, shell.words, shell.count, shell.loops, shell.owned};
    char *name = words[0];
    int status;

    words[0] = shell.words[0];
    shell.calls = &call;
    shell.words = words;
    shell.count = count - 1;
    shell.owned = false;
    shell.loops = 0;
    status = run_node(f->body, false);
    shell.returning = false;
    call_end();
    words[0] = name;
    return status;
}

// Where a command would come from.

int builtin_type(int count, char **words)
{
    const char *path;
    int i, status = 0;

    for (i = 1; i < count; i++)
        if (function_find(words[i]) || builtin_find(words[i]))
            say("%s is %s\n", words[i], function_find(words[i]) ? "a function" : "the shell's own");
        else if ((path = find_program(words[i])))
            say("%s is %s\n", words[i], path);
        else
            status = complain("type: %s: not found", words[i]);
    return status;
}

// A simple command. Assignments before it are for that command alone, and
// for the programs that it starts; with nothing after them, for the shell.

bool is_assignment(const char *word)
{
    u64 n = name_length(word);

    return n && word[n] == '=';
}

void assign(struct word *w, struct word *end, bool exported)
{
    char *name;

    for (; w != end; w = w->next) {
        name = keep_text(w->text, name_length(w->text));
        variable_set(name, expand_one(w->text + length(name) + 1))->exported |= exported;
    }
}

// What the variables were before, and back to that.

struct variable *values_of(struct word *w, struct word *end)
{
    struct variable *first = NULL, *copy, *v;

    for (; w != end; w = w->next) {
        copy = keep(sizeof *copy);
        *copy = (struct variable){first, keep_text(w->text, name_length(w->text)), NULL, false};
        v = variable_find(copy->name);
        if (v && v->value)
            copy->value = keep_text(v->value, length(v->value));
        copy->exported = v && v->exported;
        first = copy;
    }
    return first;
}

void assign_back(struct variable *before)
{
    for (; before; before = before->next) {
        variable_unset(before->name);
        if (before->value || before->exported)
            variable_set(before->name, before->value)->exported = before->exported;
    }
}

// A list of words as programs want it: an array with a null pointer behind
// the last.

char **word_array(struct word *w, int *count)
{
    struct word *at;
    char **words;

    *count = 0;
    for (at = w; at; at = at->next)
        ++*count;
    words = keep((u64)(*count + 1) * sizeof *words);
    for (*count = 0; w; w = w->next)
        words[(*count)++] = w->text;
    words[*count] = NULL;
    return words;
}

// A program, in a process of its own: all that is to be different there is
// done between `fork` and `execve`.

int run_outside(struct node *n, struct word *rest, char **words, bool last)
{
    long group = 0, pid = 0;

    if (!last) {
        jobs_poll();
        pid = start(&group, false);
    }
    if (pid < 0)
        return 2;
    if (pid > 0)
        return wait_group(&pid, 1, group);
    if (!redirect_all(n->redirects, false))
        leave(2);
    assign(n->words, rest, true);
    run_program(words);
}

// A function, one of our own commands, or nothing but redirections and
// assignments. Whatever the redirections change is put back, except by
// `exec`.

int run_inside(struct node *n, struct word *rest, int count, char **words)
{
    struct function *f = count ? function_find(words[0]) : NULL;
    const struct builtin *b = count ? builtin_find(words[0]) : NULL;
    struct saved *saved = shell.saved;
    struct variable *before;
    int status;
    bool stay = count && equal(words[0], "exec");

    if (!redirect_all(n->redirects, !stay)) {
        redirect_undo(saved);
        return 2;
    }
    before = count ? values_of(n->words, rest) : NULL;
    assign(n->words, rest, count);
    status = f ? run_function(f, count, words) : b ? b->run(count, words) : shell.substituted;
    assign_back(before);
    sink_flush(&out);
    if (out.error)
        status = complain("sh: %s: %s", count ? words[0] : "output", reason(out.error));
    out.error = 0;
    redirect_undo(saved);
    return status;
}

// The status of a command that is nothing but assignments is that of the
// last command in its words, as in `x=$(false)`, or else 0. In those words,
// as in `x=$?`, it is still that of the command before.

int run_simple(struct node *n, bool last)
{
    struct word *rest = n->words;
    char **words;
    int count;

    shell.substituted = 0;
    while (rest && is_assignment(rest->text))
        rest = rest->next;
    words = word_array(expand_words(rest), &count);
    if (count && !function_find(words[0]) && !builtin_find(words[0]))
        return run_outside(n, rest, words, last);
    return run_inside(n, rest, count, words);
}

// A list: one after the other, or in the background.

const char *node_name(struct node *n)
{
    while (n->first)
        n = n->first;
    return n->words ? n->words->text : "job";
}

int run_background(struct node *n)
{
    long group = 0, pid;

    jobs_poll();
    pid = start(&group, true);
    if (pid < 0)
        return 2;
    if (pid == 0)
        leave(run_node(n, true));
    shell.background = pid;
    job_add(pid, group, node_name(n), false);
    return 0;
}

// Each command finds the status of the one before in `$?`.

int run_list(struct node *n, bool last)
{
    struct node *part;
    int status = shell.status;

    for (part = n->first; part && !stopping(); part = part->next)
        status = shell.status = part->background ? run_background(part) :
                                run_node(part, last && !part->next);
    return status;
}

int run_logic(struct node *n, bool last)
{
    struct node *part = n->first;
    int status = run_node(part, false);

    while ((part = part->next) && !stopping()) {
        shell.status = status;
        if ((status == 0) == (part->joint == TOKEN_AND))
            status = run_node(part, last && !part->next);
    }
    return status;
}

// A pipe: its parts run at the same time, each a process, the output of one
// being the input of the next. An end of a pipe that we forgot to close
// would keep its reader waiting for ever.

struct node *pipe_part(struct node *part, int in, long *group, long *pid)
{
    int ends[2] = {-1, -1};
    long error = part->next ? pipe(ends) : 0;

    *pid = error < 0 ? error : start(group, false);
    if (*pid == 0) {
        if (ends[0] >= 0)
            close(ends[0]);
        if (in >= 0)
            fd_move(in, 0);
        if (ends[1] >= 0)
            fd_move(ends[1], 1);
        leave(run_node(part, true));
    }
    if (in >= 0)
        close(in);
    if (ends[1] >= 0)
        close(ends[1]);
    if (error < 0)
        complain("sh: pipe: %s", reason(error));
    if (*pid < 0 && ends[0] >= 0)
        close(ends[0]);
    else if (part->next)
        part->next->joint = ends[0];
    return *pid > 0 ? part->next : NULL;
}

// If one part cannot be started the others find a closed pipe, and end. A
// single command behind a `!` is no pipe: `! cd /tmp` changes the directory
// of the shell itself.

int run_pipe(struct node *n, bool last)
{
    struct node *part;
    u64 count = 0;
    long *pid, group = 0;
    int status;

    (void)last;
    if (!n->first->next) {
        status = run_node(n->first, false);
        return stopping() ? status : !status;
    }
    jobs_poll();
    for (part = n->first; part; part = part->next)
        count++;
    pid = keep(count * sizeof *pid);
    part = n->first;
    for (count = 0; part; count++)
        part = pipe_part(part, count ? part->joint : -1, &group, &pid[count]);
    if (pid[count - 1] < 0) {
        wait_group(pid, count - 1, group);
        return 2;
    }
    status = wait_group(pid, count, group);
    return n->joint == '!' ? !status : status;
}

int run_group(struct node *n, bool last)
{
    return run_node(n->first, last);
}

// What happens in parentheses changes nothing out here.

int run_subshell(struct node *n, bool last)
{
    long group = 0, pid = last ? 0 : start(&group, false);

    if (pid == 0)
        leave(run_node(n->first, true));
    return pid < 0 ? 2 : wait_group(&pid, 1, group);
}

// The reserved words. An `if` of which nothing was run has succeeded. A
// condition, too, may be where a function returns or a loop goes on.

int run_if(struct node *n, bool last)
{
    struct node *part;
    int status;

    for (part = n->first; part->next; part = part->next->next) {
        status = run_node(part, false);
        if (stopping())
            return status;
        if (status == 0)
            return run_node(part->next, last);
        if (!part->next->next)
            return 0;
    }
    return run_node(part, last);
}

// After each turn of a loop: is it to be left? `break 2` leaves this one
// and the next.

bool loop_left(void)
{
    if (!shell.leaving)
        return shell.returning;
    if (--shell.leaving || !shell.continuing)
        return true;
    shell.continuing = false;
    return false;
}

int run_while(struct node *n, bool last)
{
    int status = 0;

    (void)last;
    shell.loops++;
    for (;;) {
        int held = run_node(n->first, false);

        if (!stopping() && (held == 0) != (n->kind == NODE_WHILE))
            break;
        if (!stopping())
            status = run_node(n->first->next, false);
        else if (shell.returning)
            status = held;
        if (stopping() && loop_left())
            break;
    }
    shell.loops--;
    return status;
}

// The words are expanded once, before the first turn. Those of the shell
// are copied, because `set` in the loop gives them back.

int run_for(struct node *n, bool last)
{
    struct word *w = n->listed ? expand_words(n->words) : NULL, **end = &w;
    int status = 0, i;

    (void)last;
    for (i = 1; !n->listed && i <= shell.count; i++)
        end = word_add(end, keep_text(shell.words[i], length(shell.words[i])));
    shell.loops++;
    for (; w; w = w->next) {
        variable_set(n->name, w->text);
        status = run_node(n->first, false);
        if (stopping() && loop_left())
            break;
    }
    shell.loops--;
    return status;
}

// The first pattern that fits decides.

int run_case(struct node *n, bool last)
{
    char *subject = expand_one(n->words->text);
    struct node *choice;
    struct word *w;

    for (choice = n->first; choice; choice = choice->next)
        for (w = choice->words; w; w = w->next)
            if (match(expand_pattern(w->text, false), subject))
                return choice->first->first ? run_node(choice->first, last) : 0;
    return 0;
}

// The body has been parsed with the line that we are running, and must be
// kept when that is over.

int define_function(struct node *n, bool last)
{
    struct function *f = function_find(n->name);

    (void)last;
    if (!f) {
        f = allocate(sizeof *f);
        *f = (struct function){.next = shell.functions, .name = duplicate(n->name)};
        shell.functions = f;
    }
    f->body = n->first;
    floor_block = newest;
    floor_used = newest->used;
    return 0;
}

// A function for each kind of node. This is where ^C is noticed, and where
// what a command has kept is given back.

static int (*const run_kind[])(struct node *n, bool last) = {
    [NODE_SIMPLE] = run_simple, [NODE_LIST] = run_list, [NODE_LOGIC] = run_logic,
    [NODE_PIPE] = run_pipe, [NODE_GROUP] = run_group, [NODE_SUBSHELL] = run_subshell,
    [NODE_IF] = run_if, [NODE_WHILE] = run_while, [NODE_UNTIL] = run_while,
    [NODE_FOR] = run_for, [NODE_CASE] = run_case, [NODE_FUNCTION] = define_function,
};

int run_node(struct node *n, bool last)
{
    struct saved *saved = shell.saved;
    struct mark mark = keep_mark();
    int status = 2;

    deeper();
    if (n->kind == NODE_SIMPLE || !n->redirects)
        status = run_kind[n->kind](n, last);
    else if (redirect_all(n->redirects, true))
        status = run_kind[n->kind](n, last);
    redirect_undo(saved);
    higher();
    keep_cut(mark);
    if (shell.interrupted) {
        print("\n");
        abandon(130);
    }
    return shell.status = status;
}

// ## From beginning to end {#sh-main}
//
// A source is read to its end, line by line.

int run_source(struct source *s, bool last)
{
    struct node *n;
    struct mark mark;
    int status = 0;

    s->outer = shell.source;
    shell.source = s;
    while (!stopping()) {
        mark = keep_mark();
        n = parse_line();
        if (!n)
            break;
        shell.token = NULL;
        if (n->first)
            status = run_node(n, last && s->fd < 0 && s->at >= s->size);
        keep_cut(mark);
        if (shell.interactive && !s->outer) {
            jobs_poll();
            jobs_report();
        }
    }
    source_end();
    shell.token = NULL;
    return status;
}

// A string, and what `-c` and `eval` do with it.

int run_text(const char *text, bool last)
{
    struct source s = {.line = text, .size = length(text), .fd = -1};

    return run_source(&s, last);
}

// The file's descriptor goes where no redirection will meet it.

int run_file(const char *path)
{
    long fd = open(path, O_RDONLY | O_CLOEXEC, 0);
    struct source s = {.fd = (int)fcntl((int)fd, F_DUPFD_CLOEXEC, 10)};

    if (fd < 0)
        return complain("sh: %s: %s", path, reason(fd)), 127;
    close((int)fd);
    return run_source(&s, false);
}

// The prompt, to which `abandon()` returns. What was in the middle of being
// read or run is forgotten.

int run_prompt(void)
{
    static struct source s;

    mark_place(&prompt_place);
    shell.interrupted = shell.literal = shell.continuing = shell.returning = false;
    shell.depth = shell.leaving = shell.loops = 0;
    keep_cut((struct mark){NULL, 0});
    s = (struct source){.number = s.number};
    return run_source(&s, false);
}

// At a terminal. We become the group it sends signals to, if we are not
// already.

void prepare_terminal(void)
{
    int i;
    static const u8 ignored[] = {SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};

    shell.interactive = true;
    shell.terminal = (int)fcntl(0, F_DUPFD_CLOEXEC, 10);
    ioctl(shell.terminal, TCGETS, &shell.cooked);
    signal_set(SIGINT, (vaddr)on_interrupt);
    for (i = 0; i < (int)sizeof ignored; i++)
        signal_set(ignored[i], SIG_IGN);
    syscall3(SYS_SETPGID, 0, 0, 0);
    terminal_give(shell.pid);
}

// Above the last pointer to an argument the kernel has put those to the
// environment. We take from it what can be the name of a variable.

void prepare_variables(char **environment)
{
    char *path = keep(PATH_MAX);
    u64 size;

    for (; *environment; environment++) {
        size = name_length(*environment);
        if (size && (*environment)[size] == '=')
            variable_set(keep_text(*environment, size), *environment + size + 1)->exported = true;
    }
    if (!variable_get("PATH"))
        variable_set("PATH", "/bin");
    if (getcwd(path, PATH_MAX) > 0)
        variable_set("PWD", path);
}

// Three ways to be started: with a text, with a file, and with neither.

int main(int argc, char **argv)
{
    static char *nothing[] = {"sh", NULL};
    struct source input = {0};
    bool text = argc > 2 && equal(argv[1], "-c");
    int status;

    shell.pid = getpid();
    prepare_variables(argv + argc + 1);
    shell.words = argc ? argv : nothing;
    if (argc > 1 && !text && *argv[1] == '-')
        return complain("usage: sh [-c TEXT | FILE] [WORD...]"), 2;
    if (argc > 1) {
        shell.words = text && argc == 3 ? nothing : argv + (text ? 3 : 1);
        shell.count = text && argc == 3 ? 0 : argc - (text ? 4 : 2);
        status = text ? run_text(argv[2], true) : run_file(argv[1]);
    } else if (is_terminal(0)) {
        prepare_terminal();
        status = run_prompt();
        status = shell.status;
    } else {
        status = run_source(&input, false);
    }
    return done(status);
}
