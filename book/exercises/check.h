/*
 * For checks that run on the host. It includes host.h of the host tests, and by it chapters
 * of rustica.c, and says what is wrong to the reader instead of to cmocka, without which
 * these programs are linked.
 */

#include "host.h"

/* The C library's printf. */
static void printf_like(1, 2) say(const char *text, ...)
{
    va_list ap;

    va_start(ap, text);
    vprintf(text, ap);
    va_end(ap);
}

/* Ends the check with a sentence. */
static void noreturn printf_like(1, 2) wrong(const char *text, ...)
{
    va_list ap;

    va_start(ap, text);
    vprintf(text, ap);
    va_end(ap);
    exit(1);
}

#define need(truth, ...) ((truth) ? (void)0 : wrong(__VA_ARGS__))

/* A panic comes here, by host.h. */
void print_error(const char *text, ...)
{
    va_list ap;

    va_start(ap, text);
    vprintf(text, ap);
    va_end(ap);
}

void _fail(const char *file, int line)
{
    (void)file, (void)line;
    exit(1);
}

/* Does the expression end in a panic? */
#define panics(expression) \
    (host_end.waiting = true, setjmp(host_end.back) ? true : \
     ((expression), host_end.waiting = false))
