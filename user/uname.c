// ## uname {#user-uname}
//
// Says what system this is: its name (`-s`), that of the machine in the
// network (`-n`), release, version and kind of processor (`-r`, `-v`,
// `-m`), or all of it (`-a`).

#include "libc.h"

int main(int argc, char **argv)
{
    static char names[6][65];   /* the last is that of a domain of long ago */
    long wanted = options(&argv, "snrvma"), error;
    const char *gap = "";
    int i;

    (void)argc;
    if (wanted < 0)
        return 1;
    error = syscall3(SYS_UNAME, (long)names, 0, 0);
    if (error)
        return complain("uname: %s", reason(error));
    wanted = wanted & 32 ? 31 : wanted ? wanted : 1;
    for (i = 0; i < 5; i++)
        if (wanted >> i & 1) {
            say("%s%s", gap, names[i]);
            gap = " ";
        }
    say("\n");
    return done(0);
}
