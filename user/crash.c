// ## crash {#user-crash}
//
// A program that does what its argument says, all of it forbidden. On any
// system worth the name it is killed, and nothing else happens.

#include "user.h"

// Reads memory that belongs to the kernel.

int read_kernel(void)
{
    return *(volatile char *)0xffffffff80000000;
}

// Writes into its own code.

int write_text(void)
{
    *(volatile char *)(long)write_text = 0;
    return 0;
}

// Jumps to code that it has put on its stack: a single return.

int run_stack(void)
{
    volatile unsigned char code[16];

    code[0] = 0xc3;
    ((void (*)(void))(long)code)();
    return 0;
}

// Calls itself until there is no stack left.

long fill_stack(volatile long *above)
{
    volatile long here[64];

    here[0] = *above + 1;
    return (here[0] ? fill_stack(here) : 0) + here[0];
}

// Stops the processor, which is not for programs to do.

int halt(void)
{
    __asm__ volatile("hlt");
    return 0;
}

// Returns to a code segment that does not exist.

int far(void)
{
    __asm__ volatile("pushq $0x08\n pushq %0\n .byte 0x48, 0xcb" : : "r"((long)far));
    return 0;
}

int main(int argc, char **argv)
{
    volatile long zero = 0;
    const char *how = argc > 1 ? argv[1] : "";

    if (equal(how, "kernel"))
        return read_kernel();
    if (equal(how, "text"))
        return write_text();
    if (equal(how, "stack"))
        return run_stack();
    if (equal(how, "overflow"))
        return (int)fill_stack(&zero);
    if (equal(how, "halt"))
        return halt();
    if (equal(how, "far"))
        return far();
    print("usage: crash kernel|text|stack|overflow|halt|far\n");
    return 2;
}
