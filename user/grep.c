// ## grep {#user-grep}
//
// Shows the lines that fit a pattern. In it `.` stands for any character,
// `[a-z]` for one of some, `*` for any number of what is before it, `^` and
// `$` for the beginning and the end of the line, and a backslash takes such
// meanings away. `-v` shows the other lines, `-i` takes capitals for small
// letters, `-n` numbers the lines, `-c` only counts them, `-q` shows
// nothing.
//
// The matcher is the one that Rob Pike wrote for *The Practice of
// Programming* in an afternoon. Not the fastest, but it can be understood.

#include "libc.h"

#define INVERT 1
#define IGNORE_CASE 2
#define NUMBER 4
#define COUNT 8
#define QUIET 16

static struct {
    long options;
    const char *pattern;
    bool names;                 /* there are several files */
    u64 found;                  /* in all of them */
} grep;

char fold(char c)
{
    return grep.options & IGNORE_CASE && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

// One element of the pattern: where it ends, and whether a character fits.

const char *element_end(const char *p)
{
    if (*p == '\\' && p[1])
        return p + 2;
    if (*p++ != '[')
        return p;
    p += *p == '^';
    p += *p == ']';             /* here it stands for itself */
    while (*p && *p != ']')
        p++;
    return p + (*p == ']');
}

bool fits(const char *p, const char *end, char c)
{
    bool not = p[1] == '^', found = false;

    if (*p == '\\' && end > p + 1)
        return fold(p[1]) == fold(c);
    if (*p != '[' || end[-1] != ']' || end < p + 3)
        return *p == '.' || fold(*p) == fold(c);
    for (p += 1 + not; p < end - 1; p++)
        if (p[1] == '-' && p + 2 < end - 1) {
            found |= (fold(*p) <= fold(c) && fold(c) <= fold(p[2]));
            p += 2;
        } else {
            found |= fold(*p) == fold(c);
        }
    return found != not;
}

// Does the pattern fit here? Does it anywhere? The loop over the elements
// calls itself only for `*`, of which there are few.

bool match_here(const char *p, const char *text)
{
    const char *end;

    for (; *p; p = end, text++) {
        if (*p == '$' && !p[1])
            return !*text;
        end = element_end(p);
        if (*end == '*') {
            for (;; text++) {
                if (match_here(end + 1, text))
                    return true;
                if (!*text || !fits(p, end, *text))
                    return false;
            }
        }
        if (!*text || !fits(p, end, *text))
            return false;
    }
    return true;
}

bool match(const char *text)
{
    if (*grep.pattern == '^')
        return match_here(grep.pattern + 1, text);
    do
        if (match_here(grep.pattern, text))
            return true;
    while (*text++);
    return false;
}

// Lines come out of a buffer that is filled again when it is empty. One
// that is longer than we have room for is cut into several.

struct input {
    int fd;
    long size, at, error;
    char text[4096];
    char line[8192];
};

// Returns whether there is a line. The last one may lack its newline.

bool read_line(struct input *in)
{
    u64 used = 0;
    char c;

    for (;;) {
        if (in->at == in->size) {
            in->at = 0;
            in->size = read(in->fd, in->text, sizeof in->text);
            in->error = in->size < 0 ? in->size : 0;
            in->size = in->size < 0 ? 0 : in->size;
            if (!in->size) {
                in->line[used] = 0;
                return used > 0;
            }
        }
        c = in->text[in->at++];
        if (c != '\n')
            in->line[used++] = c;
        if (c == '\n' || used == sizeof in->line - 1) {
            in->line[used] = 0;
            return true;
        }
    }
}

// Searches one file, or what a descriptor leads to.

int search(int fd, const char *name)
{
    static struct input in;
    u64 number = 0, found = 0;

    in.fd = fd;
    in.size = in.at = 0;
    while (read_line(&in)) {
        number++;
        if (match(in.line) == (grep.options & INVERT))
            continue;
        found++;
        if (grep.options & (COUNT | QUIET))
            continue;
        if (grep.names)
            say("%s:", name);
        if (grep.options & NUMBER)
            say("%lu:", number);
        say("%s\n", in.line);
    }
    grep.found += found;
    if (grep.options & COUNT && !(grep.options & QUIET))
        say("%s%s%lu\n", grep.names ? name : "", grep.names ? ":" : "", found);
    return in.error ? complain("grep: %s: %s", name, reason(in.error)), 2 : 0;
}

// The status is 0 if something was found, 1 if not, 2 after an error.

int main(int argc, char **argv)
{
    int status = 0;
    long fd;

    (void)argc;
    grep.options = options(&argv, "vincq");
    if (grep.options < 0)
        return 2;
    if (!*argv)
        return complain("usage: grep [-cinqv] PATTERN [FILE...]"), 2;
    grep.pattern = *argv++;
    grep.names = *argv && argv[1];
    if (!*argv)
        status = search(0, "standard input");
    for (; *argv; argv++) {
        fd = open(*argv, O_RDONLY, 0);
        if (fd < 0) {
            complain("grep: %s: %s", *argv, reason(fd));
            status = 2;
            continue;
        }
        status |= search((int)fd, *argv);
        close((int)fd);
    }
    return done(status ? status : !grep.found);
}
