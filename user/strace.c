// ## strace {#user-strace}
//
// `strace ls /` runs a program and shows each system call that it makes,
// and its children make. Showing is the kernel's part ([Chapter
// 14](#shell-trace)). On Linux it is that of a program of the same name,
// which is rather larger; this one says that it cannot.

#include "libc.h"

int main(int argc, char **argv)
{
    static char *const environment[] = {"PATH=/bin:/sbin", "HOME=/", "TERM=xterm", NULL};
    char path[PATH_MAX] = "";
    long error;

    if (argc < 2)
        return complain("strace: which program?");
    if (!find(argv[1], '/'))
        path_append(path, "/bin");
    if (path_append(path, argv[1]) < 0)
        return complain("strace: %s: %s", argv[1], reason(-ENAMETOOLONG));
    error = syscall3(SYS_TRACE, 0, 0, 0);
    if (error)
        return complain("strace: this kernel does not tell what programs do: %s", reason(error));
    error = execve(path, argv + 1, (char **)environment);
    return complain("strace: %s: %s", path, reason(error));
}
