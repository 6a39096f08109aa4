// ## init {#user-init}
//
// The first process, and the only one that the kernel starts. All others
// are its descendants, and every process whose parent has died becomes its
// child. Somebody must ask how those have ended, or they would never leave
// the kernel's tables: that is what init does with its time. If it ends
// itself, the kernel has nothing left to do.

#include "libc.h"

static char *const environment[] = {"PATH=/bin:/sbin", "HOME=/", "TERM=xterm", NULL};

// The kernel may have given us a console or not. Descriptors are handed out
// from the lowest number, so after this 0, 1 and 2 are open.

void open_console(void)
{
    long fd;

    do
        fd = open("/dev/console", O_RDWR, 0);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close((int)fd);
}

// A terminal sends its signals to one group of processes. The shell gets a
// session and a group of its own, and the terminal is told. With a script,
// the shell does what that says and no more.

long start_shell(bool login, char *script)
{
    char *words[] = {"sh", script, NULL};
    long pid = fork(), error;
    int group;

    if (pid)
        return pid;
    syscall3(SYS_SETSID, 0, 0, 0);
    if (login) {
        ioctl(0, TIOCSCTTY, NULL);
        group = (int)getpid();
        ioctl(0, TIOCSPGRP, &group);
    }
    error = execve("/bin/sh", words, (char **)environment);
    complain("init: /bin/sh: %s", reason(error));
    exit(127);
}

// Waits until the shell has ended, and for all the others that end before.

int reap_until(long shell)
{
    long pid;
    int status = 0;

    do
        pid = wait4(-1, &status, 0);
    while (pid != shell && (pid > 0 || pid == -EINTR));
    return status;
}

// Nobody is left to notice what the last processes do: they are asked to
// end, given a moment, and ended.

void power_off(void)
{
    struct timespec moment = {0, 50000000};

    kill(-1, SIGTERM);
    nanosleep(&moment, NULL);
    kill(-1, SIGKILL);
    complain("init: %s", reason(reboot(REBOOT_POWER_OFF)));
}

// What is in `/etc/rc` is done once, at the start.
//
// At a terminal there is always a shell. When commands come from elsewhere
// one shell reads them all, and the machine has then done its work. A shell
// that ends as soon as it starts must not keep the machine busy; we pause,
// longer each time.

int main(void)
{
    struct timespec pause = {0, 0}, before, after;
    bool login, first = getpid() == 1;
    int status;

    open_console();
    login = is_terminal(0);
    print("init: welcome to Rustica\n");
    if (first)
        reap_until(start_shell(false, "/etc/rc"));
    do {
        clock_gettime(CLOCK_MONOTONIC, &before);
        status = reap_until(start_shell(login && first, NULL));
        clock_gettime(CLOCK_MONOTONIC, &after);
        if (!first || !login)
            break;
        print("init: the shell has ended, here is another\n");
        pause.seconds = pause.seconds < 8 ? pause.seconds * 2 + 1 : 8;
        if (after.seconds - before.seconds > 1)
            pause.seconds = 0;
        nanosleep(&pause, NULL);
    } while (true);
    if (first)
        power_off();
    return status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff;
}
