// # Appendix B. What every program needs {#app-user}
//===========================================================================
//
// A C program does not begin with `main()`. The kernel starts it at a
// label, with the number of its arguments on top of the stack, and above
// that the pointers to them (x86-64 psABI, 3.4.1). These few lines call
// `main()` with what they find there, and hand its result to the system
// call `exit`.
//
// Rustica's system calls are Linux's: the number in `rax`, arguments in
// `rdi`, `rsi` and `rdx`, the result in `rax`; the instruction itself
// overwrites `rcx` and `r11`. So each of these programs also runs on Linux,
// where it can be watched with `strace`. Numbers, flags and layouts stand
// in [the shared header](#h-calls).

#ifndef USER_H
#define USER_H

#include "rustica.h"

// The start: no frame above this one, `argc` and `argv` in the first two
// argument registers, and `exit` with what `main()` returns.

__asm__(".text\n"
        ".globl _start\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"          /* the outermost frame */
        "    movq (%rsp), %rdi\n"        /* argc */
        "    leaq 8(%rsp), %rsi\n"       /* argv */
        "    call main\n"
        "    movl %eax, %edi\n"
        "    movl $60, %eax\n"           /* exit */
        "    syscall\n");

// The call itself. The compiler is told which registers it takes and which
// it destroys.

static inline long syscall3(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

// With up to three arguments C can load the registers by itself. The last
// three go in `r10`, `r8` and `r9`, for which not every compiler has a
// constraint.

long syscall6(long number, long a, long b, long c, long d, long e, long f);

__asm__(".globl syscall6\n"
        "syscall6:\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    movq %rcx, %rdx\n"
        "    movq %r8, %r10\n"
        "    movq %r9, %r8\n"
        "    movq 8(%rsp), %r9\n"
        "    syscall\n"
        "    ret\n");

// What little of a C library our smallest programs need.

static inline long write(int fd, const void *from, unsigned long size)
{
    return syscall3(SYS_WRITE, fd, (long)from, (long)size);
}

static inline unsigned long length(const char *text)
{
    unsigned long n = 0;

    while (text[n])
        n++;
    return n;
}

static inline int equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static inline void print(const char *text)
{
    write(1, text, length(text));
}

#endif
