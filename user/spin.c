// ## spin {#user-spin}
//
// Computes for as many milliseconds as its argument says. All the while it
// keeps known values in registers, general ones and a vector register, and
// looks at whether somebody has changed them. Its status is 1 if so.

#include "user.h"

long disturbed(void);

__asm__(".text\n"
        ".globl disturbed\n"
        "disturbed:\n"
        "    pushq %rbx\n    pushq %r12\n"
        "    movq $0x1234567, %rbx\n"
        "    movq $0x7654321, %r12\n"
        "    movd %ebx, %xmm3\n"
        "    movl $100000, %ecx\n"
        "1:  decl %ecx\n"
        "    jnz 1b\n"
        "    movd %xmm3, %eax\n"
        "    subq %rbx, %rax\n"
        "    subq $0x1234567, %rbx\n"
        "    subq $0x7654321, %r12\n"
        "    orq %rbx, %rax\n"
        "    orq %r12, %rax\n"
        "    popq %r12\n    popq %rbx\n"
        "    ret\n");

// Milliseconds on a clock that starts somewhere.

static long now(void)
{
    struct timespec t;

    syscall3(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)&t, 0);
    return t.seconds * 1000 + t.nanoseconds / 1000000;
}

int main(int argc, char **argv)
{
    long end = now();
    long duration = 0;
    const char *p;

    for (p = argc > 1 ? argv[1] : ""; *p; p++)
        duration = duration * 10 + *p - '0';
    for (end += duration; now() < end;)
        if (disturbed())
            return 1;
    return 0;
}
