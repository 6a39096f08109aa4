// ## head {#user-head}
//
// Shows the first ten lines of files, or as many as `-N` says.

#include "libc.h"

int show(int fd, const char *name, long lines)
{
    static char buffer[4096];
    long n, i;

    while (lines > 0 && (n = read(fd, buffer, sizeof buffer)) != 0) {
        if (n < 0)
            return complain("head: %s: %s", name, reason(n));
        for (i = 0; i < n && lines > 0; i++)
            lines -= buffer[i] == '\n';
        if (write_all(1, buffer, (u64)i))
            return 1;
    }
    return 0;
}

// The number may also follow an `-n`.

int main(int argc, char **argv)
{
    long lines = 10, fd;
    char **word = argv + (argc > 0);
    int status = 0;

    if (*word && equal(*word, "-n") && word[1])
        lines = number_from(*++word, 1L << 40), word++;
    else if (*word && **word == '-' && (*word)[1])
        lines = number_from(*word++ + 1, 1L << 40);
    if (lines < 0)
        return complain("usage: head [-N] [FILE...]");
    if (!*word)
        return show(0, "standard input", lines);
    for (; *word; word++) {
        fd = open(*word, O_RDONLY, 0);
        if (fd < 0) {
            status = complain("head: %s: %s", *word, reason(fd));
            continue;
        }
        status |= show((int)fd, *word, lines);
        close((int)fd);
    }
    return status;
}
