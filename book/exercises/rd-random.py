PROGRAM = r"""
#include "judged.h"

static u8 bytes[2][1024];

/* How many of the 256 values occur, and how many bits are set? Of random bytes about 251, and
   half of the bits. */
static void look(const u8 *b)
{
    u64 seen[4] = {0, 0, 0, 0};
    long values = 0, bits = 0, i;

    for (i = 0; i < 1024; i++) {
        values += !(seen[b[i] / 64] >> b[i] % 64 & 1);
        seen[b[i] / 64] |= 1UL << b[i] % 64;
        for (u8 rest = b[i]; rest; rest >>= 1)
            bits += rest & 1;
    }
    if (values < 200)
        wrong("of 256 values a byte can have, so few occur in a kilobyte", values);
    if (bits < 3600 || bits > 4592)
        wrong("of the 8192 bits of a kilobyte, not about half are set, but so many", bits);
}

int main(void)
{
    int fd = (int)open("/dev/random", O_RDONLY, 0), again;
    long n, i, same = 0;

    if (fd < 0)
        wrong("/dev/random cannot be opened", fd);
    n = read(fd, bytes[0], 1024);
    if (n != 1024)
        wrong("a program that wants 1,024 bytes gets", n);
    look(bytes[0]);
    n = read(fd, bytes[1], 1024);
    if (n != 1024)
        wrong("at a second reading it gets", n);
    look(bytes[1]);
    for (again = 0; again < 2; again++) {
        for (i = same = 0; i < 1024; i++)
            same += bytes[0][i] == bytes[1][i];
        if (same > 100)
            wrong("two readings have too many bytes in common", same);
        close(fd);
        fd = (int)open("/dev/random", O_RDONLY, 0);
        read(fd, bytes[1], 1024);
    }
    for (n = 0; n < 40; n++)
        if (read(fd, bytes[0], (u64)n) != n)
            wrong("this many bytes cannot be read", n);
    if ((n = read(fd, (void *)1, 10)) != -EFAULT)
        wrong("a reading to an address where nothing is mapped returns", n);
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    tree.judge(10, "hello", PROGRAM)
