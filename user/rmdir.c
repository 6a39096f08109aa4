// ## rmdir {#user-rmdir}
//
// Removes directories that are empty.

#include "libc.h"

int main(int argc, char **argv)
{
    int status = 0;
    long error;

    if (argc < 2)
        return complain("usage: rmdir DIRECTORY...");
    for (argv++; *argv; argv++) {
        error = rmdir(*argv);
        if (error)
            status = complain("rmdir: %s: %s", *argv, reason(error));
    }
    return status;
}
