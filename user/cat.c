// ## cat {#user-cat}
//
// Writes the files it is told of, one after the other; `-`, and no file at
// all, stand for its standard input.

#include "libc.h"

// Copies until there is no more. The buffer has the size of a pipe's.

int copy(int fd, const char *name)
{
    static char buffer[65536];
    long n, error;

    for (;;) {
        n = read(fd, buffer, sizeof buffer);
        if (n == 0)
            return 0;
        if (n == -EINTR)
            continue;
        if (n < 0)
            return complain("cat: %s: %s", name, reason(n));
        error = write_all(1, buffer, (u64)n);
        if (error)
            return complain("cat: write error: %s", reason(error));
    }
}

int copy_file(const char *name)
{
    long fd = open(name, O_RDONLY, 0);
    int status;

    if (fd < 0)
        return complain("cat: %s: %s", name, reason(fd));
    status = copy((int)fd, name);
    close((int)fd);
    return status;
}

// A file that cannot be read does not keep the others from being written.

int main(int argc, char **argv)
{
    int status = 0;

    (void)argc;
    if (options(&argv, "") < 0)
        return 1;
    if (!*argv)
        return copy(0, "standard input");
    for (; *argv; argv++)
        status |= equal(*argv, "-") ? copy(0, "standard input") : copy_file(*argv);
    return status;
}
