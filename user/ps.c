// ## ps {#user-ps}
//
// Lists the processes. Linux would have us read a text for each of them
// from files in `/proc`; Rustica has a system call that tells about the
// next process after a given one. That costs the kernel no directory, and
// never shows a process twice or forgets one that is there all the time.

#include "libc.h"


int main(void)
{
    struct process_info p;
    long pid = 0, shown = 0;

    memset(&p, 0, sizeof p);
    while ((pid = syscall3(SYS_PROCESS_INFO, pid, (long)&p, 0)) > 0) {
        if (!shown++)
            say("  PID  PPID S         TIME    MEMORY NAME\n");
        p.name[sizeof p.name - 1] = 0;
        say("%5u %5u %c %9lu.%03lu %7lu K %s\n", p.pid, p.parent, p.state,
            p.cpu_time / 1000000000, p.cpu_time / 1000000 % 1000, p.memory / KIB, p.name);
    }
    if (pid < 0)
        return complain("ps: this needs Rustica: %s", reason(pid));
    return done(0);
}
