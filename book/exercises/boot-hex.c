/* chapters 1 to 3 */

#include "check.h"

/* A format by chance: flags, width, precision, length, letter. */
static void make_format(char *format, u64 *seed)
{
    static const char *const letters[] = {"X", "x", "lX", "lx", "u", "ld"};
    u64 letter = host_below(seed, array_count(letters));

    *format++ = '%';
    if (letter < 4 && host_below(seed, 2))
        *format++ = '#';
    if (host_below(seed, 3) == 0)
        *format++ = '-';
    else if (host_below(seed, 3) == 0)
        *format++ = '0';
    if (letter < 4 && host_below(seed, 4) == 0)
        *format++ = '#';
    if (host_below(seed, 2))
        format += libc_snprintf(format, 4, "%d", 1 + (int)host_below(seed, 24));
    if (host_below(seed, 3) == 0)
        format += libc_snprintf(format, 4, ".%d", (int)host_below(seed, 22));
    strcpy(format, letters[letter]);
}

int main(void)
{
    char format[32], expected[64], got[64];
    u64 seed = 1, value, round;

    for (round = 0; round < 100000; round++) {
        make_format(format, &seed);
        value = host_below(&seed, 8) ? host_random(&seed) >> host_below(&seed, 64) : 0;
        libc_snprintf(expected, sizeof expected, format, value);
        snprintf(got, sizeof got, format, value);
        need(strcmp(expected, got) == 0, "for the format \"%s\" and the number 0x%lx the C library "
             "prints \"%s\", and this kernel \"%s\"", format, value, expected, got);
    }
}
