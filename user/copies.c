// ## copies {#user-copies}
//
// A process becomes two, and three, and one of them another program
// ([Chapter 13](#ch-process)).

#include "libc.h"

static int n = 1;
static char *const echo[] = {"echo", "Another", "program,", "in", "a", "process", "that",
                             "was", "a", "copy", NULL};
static char *const nothing[] = {NULL};

// Says how a child has ended, if there is one.

void wait_for(long pid)
{
    int status = 0;

    pid = wait4(pid, &status, 0);
    if (pid < 0)
        return;
    say("copies: process %ld ended with status %d\n", pid, status >> 8);
    done(0);
}

// What is in memory is there twice afterwards.

void show_fork(void)
{
    long pid;

    say("copies: process %ld has an n, which is %d\n", getpid(), n);
    done(0);
    pid = fork();
    if (!pid) {
        n = 2;
        say("copies: process %ld has its own, which it makes %d\n", getpid(), n);
        exit(done(7));
    }
    wait_for(pid);
    say("copies: the first one's n is still %d\n", n);
    done(0);
}

void show_exec(void)
{
    long pid = fork();

    if (!pid)
        exit((int)execve("/bin/echo", (char **)echo, (char **)nothing));
    wait_for(pid);
}

// A child that ends before its own child leaves an orphan. We are process
// 1 if nobody else is, and wait for that, too.

void show_orphan(void)
{
    struct timespec moment = {0, 50000000};
    long pid = fork();

    if (!pid) {
        if (fork())
            exit(0);
        nanosleep(&moment, NULL);
        say("copies: my parent has ended; now process %ld is\n",
            syscall3(SYS_GETPPID, 0, 0, 0));
        exit(done(3));
    }
    wait_for(pid);
    wait_for(-1);
}

int main(void)
{
    show_fork();
    show_exec();
    show_orphan();
    return done(0);
}
