// ## free {#user-free}
//
// How much memory there is, how much of it is in use, and how much is free,
// in KiB. What the kernel keeps at hand for itself (`buffers`) counts as
// neither.

#include "libc.h"

int main(void)
{
    struct system_info info = {0};
    long error = syscall3(SYS_SYSINFO, (long)&info, 0, 0);
    u64 unit = info.unit ? info.unit : 1;

    if (error)
        return complain("free: %s", reason(error));
    say("%12s %12s %12s\n", "total", "used", "free");
    say("%12lu %12lu %12lu\n", info.total * unit / KIB,
        (info.total - info.free - info.buffers) * unit / KIB, info.free * unit / KIB);
    return done(0);
}
