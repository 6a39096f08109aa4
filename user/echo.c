// ## echo {#user-echo}
//
// Writes its arguments, with a space between each two and, unless the first
// is `-n`, a newline after them.

#include "libc.h"

int main(int argc, char **argv)
{
    int i, first = argc > 1 && equal(argv[1], "-n") ? 2 : 1;

    for (i = first; i < argc; i++)
        say("%s%s", i > first ? " " : "", argv[i]);
    if (first == 1)
        say("\n");
    return done(0);
}
