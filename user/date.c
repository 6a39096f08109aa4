// ## date {#user-date}
//
// Tells the time, in the form that Unix has used since 1971, or in another:
// after a `+`, `%Y` `%m` `%d` `%H` `%M` `%S` stand for the parts of date
// and time, `%s` for the seconds since 1970. Rustica knows no time zones.

#include "libc.h"

void show_part(char part, const struct date *d, s64 now)
{
    switch (part) {
    case 'Y': say("%ld", d->year); break;
    case 'm': say("%02u", d->month); break;
    case 'd': say("%02u", d->day); break;
    case 'H': say("%02u", d->hour); break;
    case 'M': say("%02u", d->minute); break;
    case 'S': say("%02u", d->second); break;
    case 's': say("%ld", now); break;
    case '%': say("%%"); break;
    default: say("%%%c", part);
    }
}

// Without a format the parts have their old places, the year at the end.

int main(int argc, char **argv)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
                                     "Sep", "Oct", "Nov", "Dec"};
    const char *format = argc > 1 ? argv[1] : NULL;
    struct timespec now = {0, 0};
    struct date d;

    clock_gettime(CLOCK_REALTIME, &now);
    d = date_of(now.seconds);
    if (!format) {
        say("%s %s %2u %02u:%02u:%02u UTC %ld\n", days[d.weekday], months[d.month - 1], d.day,
            d.hour, d.minute, d.second, d.year);
        return done(0);
    }
    if (*format++ != '+' || argc > 2)
        return complain("usage: date [+FORMAT]");
    for (; *format; format++)
        if (*format == '%' && format[1])
            show_part(*++format, &d, now.seconds);
        else
            say("%c", *format);
    say("\n");
    return done(0);
}
