// ## mv {#user-mv}
//
// Gives a file another name, or moves files into a directory. Between two
// file systems it would have to copy; that we leave to `cp` and `rm`.

#include "libc.h"

int main(int argc, char **argv)
{
    static char path[PATH_MAX];
    int status = 0, i;
    long error;

    if (argc < 3)
        return complain("usage: mv FROM... TO");
    if (argc > 3 && !is_directory(argv[argc - 1]))
        return complain("mv: %s: not a directory", argv[argc - 1]);
    for (i = 1; i < argc - 1; i++) {
        error = destination(path, argv[argc - 1], argv[i]);
        if (!error)
            error = rename(argv[i], path);
        if (error)
            status = complain("mv: %s to %s: %s", argv[i], path, reason(error));
    }
    return status;
}
