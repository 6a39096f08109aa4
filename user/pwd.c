// ## pwd {#user-pwd}
//
// Names the working directory.

#include "libc.h"

int main(void)
{
    static char path[PATH_MAX];
    long size = getcwd(path, sizeof path);

    if (size < 0)
        return complain("pwd: %s", reason(size));
    say("%s\n", path);
    return done(0);
}
