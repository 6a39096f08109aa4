// ## wc {#user-wc}
//
// Counts lines (`-l`), words (`-w`) and bytes (`-c`), or all three, of each
// file and of all together.

#include "libc.h"

#define LINES 1
#define WORDS 2
#define BYTES 4

struct counts {
    u64 lines, words, bytes;
};

// A word begins where a blank, or the beginning of the file, is followed by
// something else. It may begin in one block of the file and end in the
// next.

long count(int fd, struct counts *c)
{
    static char buffer[16384];
    bool inside = false, blank;
    long n, i;

    while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        c->bytes += (u64)n;
        for (i = 0; i < n; i++) {
            blank = buffer[i] == ' ' || (buffer[i] >= '\t' && buffer[i] <= '\r');
            c->words += inside < !blank;
            c->lines += buffer[i] == '\n';
            inside = !blank;
        }
    }
    return n;
}

void show(const struct counts *c, long wanted, const char *name)
{
    u64 values[] = {c->lines, c->words, c->bytes};
    int width = wanted & (wanted - 1) ? 7 : 0, i;       /* several go in columns */
    const char *gap = "";

    for (i = 0; i < 3; i++)
        if (wanted >> i & 1) {
            say("%s%*lu", gap, width, values[i]);
            gap = " ";
        }
    say("%s%s\n", *name ? " " : "", name);
}

// Counts a file, shows it, and adds it to the sum.

int count_file(const char *name, long wanted, struct counts *sum)
{
    long fd = name ? open(name, O_RDONLY, 0) : 0, error;
    struct counts c = {0};

    error = fd < 0 ? fd : count((int)fd, &c);
    if (error < 0)
        complain("wc: %s: %s", name ? name : "standard input", reason(error));
    if (fd < 0)
        return 1;
    if (name)
        close((int)fd);
    show(&c, wanted, name ? name : "");
    sum->lines += c.lines;
    sum->words += c.words;
    sum->bytes += c.bytes;
    return error < 0;
}

int main(int argc, char **argv)
{
    long wanted = options(&argv, "lwc");
    struct counts sum = {0};
    int status = 0;
    bool several;

    (void)argc;
    if (wanted < 0)
        return 1;
    wanted = wanted ? wanted : LINES | WORDS | BYTES;
    if (!*argv)
        return done(count_file(NULL, wanted, &sum));
    several = argv[1];
    for (; *argv; argv++)
        status |= count_file(*argv, wanted, &sum);
    if (several)
        show(&sum, wanted, "total");
    return done(status);
}
