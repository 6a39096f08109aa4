// ## calls {#user-calls}
//
// Asks the kernel for everything that Chapter 8 offers, and tells what came
// back. What Linux does not have it answers with -38.

#include "user.h"

static char big[100];

// Says a number, with its sign.

void number(long n)
{
    char text[24];
    int at = 24;
    unsigned long rest = n < 0 ? 0 - (unsigned long)n : (unsigned long)n;

    do
        text[--at] = (char)('0' + rest % 10);
    while ((rest /= 10));
    if (n < 0)
        text[--at] = '-';
    write(1, text + at, (unsigned long)(24 - at));
}

void report(const char *what, long result)
{
    print("calls: ");
    print(what);
    print(": ");
    number(result);
    print("\n");
}

// Memory, and what must not work with it.

void try_memory(void)
{
    char *heap = (char *)syscall3(SYS_BRK, 0, 0, 0);
    char *map;

    report("grow the heap by 3 pages, got",
           syscall3(SYS_BRK, (long)heap + 3 * 4096, 0, 0) - (long)heap);
    heap[3 * 4096 - 1] = 7;
    report("its last byte", heap[3 * 4096 - 1]);
    map = (char *)syscall6(SYS_MMAP, 0, 1 << 20, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map[12345] = 42;
    report("a byte in a new megabyte", map[12345]);
    report("make it read-only", syscall3(SYS_MPROTECT, (long)map, 1 << 20, 1));
    report("write the time into it", syscall3(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)map, 0));
    report("unmap it", syscall3(SYS_MUNMAP, (long)map, 1 << 20, 0));
    report("read from a file that is not open", syscall3(SYS_READ, 17, (long)big, 100));
    report("write from where nothing is mapped", write(1, map, 10));
    report("write from the kernel's memory", write(1, (void *)0xffffffff80000000, 10));
}

// Time: nothing that would differ from one run to the next is printed.

void try_time(void)
{
    struct timespec a, b, nap = {0, 2000000};
    long passed;

    syscall3(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)&a, 0);
    syscall6(SYS_CLOCK_NANOSLEEP, CLOCK_MONOTONIC, 0, (long)&nap, 0, 0, 0);
    syscall3(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)&b, 0);
    passed = (b.seconds - a.seconds) * 1000000000 + b.nanoseconds - a.nanoseconds;
    report("slept 2 ms, at least that passed", passed >= 2000000);
    syscall3(SYS_CLOCK_GETTIME, CLOCK_REALTIME, (long)&a, 0);
    report("it is later than 2024", a.seconds > 1704067200);
    report("random bytes", syscall3(SYS_GETRANDOM, (long)big, 16, 0));
}

// What only Rustica has.

void try_vmo(void)
{
    long vmo = syscall3(SYS_VMO_CREATE, 1 << 20, 0, 0), clone, weak, map;
    long original = 1, copy = 2;

    if (vmo < 0) {
        report("no VMOs here, error", vmo);
        return;
    }
    syscall6(SYS_VMO_WRITE, vmo, 5000, (long)"original", 9, 0, 0);
    clone = syscall3(SYS_VMO_CLONE, vmo, 0, 1 << 20);
    syscall6(SYS_VMO_WRITE, clone, 5000, (long)"a cloned", 9, 0, 0);
    syscall6(SYS_VMO_READ, vmo, 5000, (long)&original, 8, 0, 0);
    syscall6(SYS_VMO_READ, clone, 5000, (long)&copy, 8, 0, 0);
    report("a clone is a different thing", original != copy);
    report("its size", syscall3(SYS_VMO_SIZE, clone, 0, 0));
    weak = syscall3(SYS_HANDLE_DUPLICATE, vmo, 5, 0);
    map = syscall6(SYS_VMO_MAP, weak, 0, 4096, 1, 0, 0);
    report("write by a handle that may only read",
           syscall6(SYS_VMO_WRITE, weak, 0, (long)big, 1, 0, 0));
    report("map it, and make that writable", syscall3(SYS_MPROTECT, map, 4096, 3));
    report("duplicate a handle that may not be", syscall3(SYS_HANDLE_DUPLICATE, weak, 1, 0));
    report("close it", syscall3(SYS_HANDLE_CLOSE, weak, 0, 0));
    report("use it once more", syscall3(SYS_VMO_SIZE, weak, 0, 0));
    report("read past the end", syscall6(SYS_VMO_READ, vmo, 1 << 20, (long)big, 1, 0, 0));
}

int main(void)
{
    try_memory();
    try_time();
    try_vmo();
    report("a call that nobody knows", syscall3(400, 0, 0, 0));
    return 0;
}
