PROGRAM = r"""
#include "libc.h"

#define FILES 1000

static char buffer[300];            /* a few entries fit */

static void wrong(const char *what, const char *name)
{
    say("wrong: %s: %s\n", what, name);
    done(0);
    exit(1);
}

static void make(const char *path)
{
    int fd = (int)open(path, O_CREAT | O_WRONLY, 0644);

    if (fd < 0)
        wrong("cannot be made", path);
    close(fd);
}

/* Two more, one at the beginning and one at the end. */
static void make_two(long n)
{
    char first[] = "/tmp/d/a?", last[] = "/tmp/d/z?";

    first[8] = last[8] = (char)('a' + n);
    make(first);
    make(last);
}

/* Lists the directory, and perhaps removes what it has just been told. */
static long list(bool removing, long *added)
{
    int fd = (int)open("/tmp/d", O_RDONLY, 0);
    char last[64] = "", path[80] = "/tmp/d/";
    struct directory_entry *e;
    long n, at, count = 0;

    while ((n = getdents(fd, buffer, sizeof buffer)) > 0)
        for (at = 0; at < n; at += e->length) {
            e = (void *)(buffer + at);
            if (e->name[0] == '.')
                continue;
            if (compare(last, e->name) >= 0)
                wrong("a directory should be listed by name, each once; out of order is", e->name);
            memcpy(last, e->name, length(e->name) + 1);
            memcpy(path + 7, e->name, length(e->name) + 1);
            count++;
            if (removing && unlink(path) < 0)
                wrong("cannot be removed", path);
            if (added && count % 100 == 0)
                make_two(++*added);
        }
    if (n < 0)
        wrong("getdents fails with", reason(n));
    syscall3(SYS_LSEEK, fd, 0, 0);
    if (!removing && getdents(fd, buffer, sizeof buffer) <= 0)
        wrong("after a seek to 0 nothing is told", "any more");
    close(fd);
    return count;
}

int main(void)
{
    char path[80] = "/tmp/d/f";
    long i, n, added = 0;

    mkdir("/tmp/d", 0755);
    for (i = 0; i < FILES; i++) {
        n = i * 7 % FILES;
        path[8] = (char)('0' + n / 100);
        path[9] = (char)('0' + n / 10 % 10);
        path[10] = (char)('0' + n % 10);
        path[11] = 0;
        make(path);
    }
    if (list(false, NULL) != FILES)
        wrong("of a thousand files not all are told", "");
    n = list(true, &added);
    if (n < FILES)
        wrong("a program that removes what it has just been told misses some", "");
    if (n != FILES + added)
        wrong("of the files that come while it lists, those behind should be told", "");
    list(true, NULL);
    if (rmdir("/tmp/d") < 0)
        wrong("something is left in", "/tmp/d");
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    tree.judge(10, "hello", PROGRAM)
