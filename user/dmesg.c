// ## dmesg {#user-dmesg}
//
// Shows what the kernel has said since it started, as far as it remembers.

#include "libc.h"


int main(void)
{
    static char text[1 << 20];
    long size = syscall3(SYS_SYSLOG, SYSLOG_SIZE, 0, 0);

    if (size > (long)sizeof text)
        size = sizeof text;
    if (size >= 0)
        size = syscall3(SYS_SYSLOG, SYSLOG_READ_ALL, (long)text, size);
    if (size < 0)
        return complain("dmesg: %s", reason(size));
    return write_all(1, text, (u64)size) ? 1 : 0;
}
