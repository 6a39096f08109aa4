// ## hog {#user-hog}
//
// Takes all the memory there is but a little, and sleeps. `hog crowd` takes
// it in another way: by being very many who sleep. Whoever needs memory
// afterwards should get it, and [not die](#proc-relief) of the lack of it.

#include "libc.h"

#define CROWD 5000

// Who touches a page that there is not is ended. A system call that would
// have to touch it returns an error instead; so we let one write to each.

void take_memory(void)
{
    struct timespec *at;

    do
        at = (struct timespec *)map_memory(4096, MAP_PRIVATE);
    while ((long)at > 0 && clock_gettime(CLOCK_MONOTONIC, at) == 0);
}

void take_places(void)
{
    int i;

    for (i = 0; i < CROWD && fork() > 0; i++)
        ;
}

int main(int argc, char **argv)
{
    struct timespec day = {86400, 0};

    if (argc > 1 && equal(argv[1], "crowd"))
        take_places();
    else
        take_memory();
    nanosleep(&day, NULL);
    return 0;
}
