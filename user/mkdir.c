// ## mkdir {#user-mkdir}
//
// Makes directories; with `-p` also those in which they are to be, and does
// not mind if they are there already.

#include "libc.h"

// Each slash is the end of a directory's name. Before the last one nothing
// is reported: if one of these cannot be made, neither can the next.

long make_parents(char *path)
{
    char *at;

    for (at = path + 1; *path && *at; at++)
        if (*at == '/') {
            *at = 0;
            mkdir(path, 0777);
            *at = '/';
        }
    return is_directory(path) ? 0 : mkdir(path, 0777);
}

int main(int argc, char **argv)
{
    long parents = options(&argv, "p"), error;
    int status = 0;

    (void)argc;
    if (parents < 0)
        return 1;
    if (!*argv)
        return complain("usage: mkdir [-p] DIRECTORY...");
    for (; *argv; argv++) {
        error = parents ? make_parents(*argv) : mkdir(*argv, 0777);
        if (error)
            status = complain("mkdir: %s: %s", *argv, reason(error));
    }
    return status;
}
