// ## sleep {#user-sleep}
//
// Does nothing for as many seconds as its arguments say, in all. They may
// have fractions: `sleep 0.25`.

#include "libc.h"

// Adds a number of seconds to a time. Returns whether it was one.

bool add(struct timespec *time, const char *text)
{
    s64 part = 100000000;
    bool digits = false;

    for (; *text >= '0' && *text <= '9'; text++) {
        if (time->seconds > 1L << 40)
            return false;
        time->seconds = time->seconds * 10 + *text - '0';
        digits = true;
    }
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, part /= 10) {
            time->nanoseconds += (*text - '0') * part;
            digits = true;
        }
    return digits && !*text;
}

// A signal that was handled may end a sleep early; the kernel then tells
// how much is left.

int main(int argc, char **argv)
{
    struct timespec time, rest;
    int i;

    if (argc < 2)
        return complain("usage: sleep SECONDS...");
    for (i = 1; i < argc; i++) {
        time = (struct timespec){0, 0};
        if (!add(&time, argv[i]))
            return complain("sleep: %s: not a number of seconds", argv[i]);
        while (nanosleep(&time, &rest) == -EINTR)
            time = rest;
    }
    return 0;
}
