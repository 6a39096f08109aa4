from check import need

# RIGHT_READ and RIGHT_WRITE are 1 and 2.
PROGRAM = r"""
#include "judged.h"

#define NARROW %d

static long vmo_write(long h)
{
    return syscall6(SYS_VMO_WRITE, h, 0, (long)"x", 1, 0, 0);
}

static long vmo_read(long h)
{
    char byte;

    return syscall6(SYS_VMO_READ, h, 0, (long)&byte, 1, 0, 0);
}

int main(void)
{
    long h = syscall3(SYS_VMO_CREATE, 4096, 0, 0);
    long other = syscall3(SYS_HANDLE_DUPLICATE, h, 15, 0), later;

    expect(vmo_write(h), 0, "writing by a new handle");
    expect(syscall3(NARROW, h, 2, 0), 0, "taking the right to write away");
    expect(vmo_read(h), 0, "reading by the same number afterwards");
    expect(vmo_write(h), -EBADF, "writing by it");
    expect(vmo_write(other), 0, "writing by a duplicate made before, which keeps its right");
    later = syscall3(SYS_HANDLE_DUPLICATE, h, 15, 0);
    expect(vmo_write(later), -EBADF, "writing by a duplicate made afterwards");
    expect(syscall3(NARROW, h, 2, 0), 0, "taking the same right away once more");
    expect(vmo_write(h), -EBADF, "writing after that");
    expect(syscall3(NARROW, h, 0, 0), 0, "taking nothing away");
    expect(vmo_read(h), 0, "reading after that");
    expect(vmo_write(h), -EBADF, "writing after that");
    expect(syscall3(NARROW, 999, 2, 0), -EBADF, "taking a right away from no handle");
    syscall3(SYS_HANDLE_CLOSE, other, 0, 0);
    expect(syscall3(NARROW, other, 2, 0), -EBADF, "taking a right away from a closed handle");
    expect(syscall3(NARROW, 2, 2, 0), 0, "taking the right to write away from file 2");
    expect(write(2, "?", 1), -EBADF, "writing to file 2");
    expect(write(1, "", 0), 0, "writing to file 1, which is another handle of the same thing");
    print(CONTENT);
    return 0;
}
"""


def check(tree):
    call = tree.number("sys-rights.call", "the number of your call, whose arguments are a handle "
                       "and the rights to take away")
    need(call >= 0x1000, "what Linux does not have has numbers from 0x1000 on")
    tree.judge(8, "calls", PROGRAM % call)
