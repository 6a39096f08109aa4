// ## kill {#user-kill-c}
//
// Sends a signal to processes: TERM, which asks them to end, or another, by
// name or number, as in `kill -KILL 12`. A negative number means a group of
// processes. `-l` lists the names.

#include "libc.h"

int signal_from(const char *name)
{
    long n = number_from(name, 64);
    int i;

    if (n >= 0)
        return (int)n;
    name += starts(name, "SIG") ? 3 : 0;
    for (i = 1; signal_name(i); i++)
        if (equal(name, signal_name(i)))
            return i;
    return -1;
}

int list(void)
{
    int i;

    for (i = 1; signal_name(i); i++)
        say("%2d %s\n", i, signal_name(i));
    return done(0);
}

// A signal that we do not know by name may be known by its number; the
// kernel decides.

int main(int argc, char **argv)
{
    int signal = SIGTERM, status = 0;
    char **word = argv + (argc > 0);
    long pid, error;

    if (*word && equal(*word, "-l"))
        return list();
    if (*word && **word == '-' && !equal(*word, "--"))
        signal = signal_from(*word++ + 1);
    if (*word && equal(*word, "--"))
        word++;
    if (signal < 0)
        return complain("kill: %s: there is no such signal", word[-1] + 1);
    if (!*word)
        return complain("usage: kill [-SIGNAL] PID... or kill -l");
    for (; *word; word++) {
        pid = number_from(*word + (**word == '-'), 1 << 30);
        error = pid < 0 ? pid : kill(**word == '-' ? -pid : pid, signal);
        if (error)
            status = complain("kill: %s: %s", *word, reason(error));
    }
    return status;
}
