/* What the programs have in common that tools/check.py's judge() lets run: how they say that
   something is wrong, which ends them. */

#include "libc.h"

static inline void wrong(const char *what, long n)
{
    say("\nwrong: %s (%ld)\n", what, n);
    done(0);
    exit(1);
}

static inline void expect(long got, long wanted, const char *what)
{
    if (got == wanted)
        return;
    say("\nwrong: %s: expected %ld, got %ld\n", what, wanted, got);
    done(0);
    exit(1);
}
