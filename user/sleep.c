// ## sleep {#user-sleep}
//
// Does nothing for as many seconds as its arguments say, in all. They may
// have fractions: `sleep 0.25`.

#include "libc.h"

// Adds a number of seconds to a time. Returns whether it was one.

bool add(s64 *time, const char *text)
{
    s64 part = 100000000;
    bool digits = false;

    for (; *text >= '0' && *text <= '9'; text++) {
        if (time[0] > 1L << 40)
            return false;
        time[0] = time[0] * 10 + *text - '0';
        digits = true;
    }
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, part /= 10) {
            time[1] += (*text - '0') * part;
            digits = true;
        }
    return digits && !*text;
}

// A signal that was handled may end a sleep early; the kernel then tells
// how much is left.

int main(int argc, char **argv)
{
    s64 time[2], rest[2];
    int i;

    if (argc < 2)
        return complain("usage: sleep SECONDS...");
    for (i = 1; i < argc; i++) {
        time[0] = time[1] = 0;
        if (!add(time, argv[i]))
            return complain("sleep: %s: not a number of seconds", argv[i]);
        while (nanosleep(time, rest) == -EINTR)
            time[0] = rest[0], time[1] = rest[1];
    }
    return 0;
}
