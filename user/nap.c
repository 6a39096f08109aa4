// ## nap {#user-nap}
//
// Sleeps as many milliseconds as its argument says, and mentions it.

#include "user.h"

int main(int argc, char **argv)
{
    struct timespec time = {0, 0};
    const char *p;

    if (argc < 2)
        return 2;
    for (p = argv[1]; *p; p++)
        time.nanoseconds = time.nanoseconds * 10 + (*p - '0') * 1000000;
    syscall6(SYS_CLOCK_NANOSLEEP, CLOCK_MONOTONIC, 0, (long)&time, 0, 0, 0);
    print("nap: ");
    print(argv[1]);
    print(" ms later\n");
    return 0;
}
