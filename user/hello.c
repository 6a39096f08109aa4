// ## hello {#user-hello}
//
// The first program, and the reason for seven chapters. It succeeds if
// every byte was written.

#include "user.h"

int main(void)
{
    static const char text[] = "Hello from userspace!\n";

    return write(1, text, sizeof text - 1) == sizeof text - 1 ? 0 : 1;
}
