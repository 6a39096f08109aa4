// ## cp {#user-cp}
//
// Copies a file to another name, or files into a directory; with `-r`
// directories too, and all that is in them.

#include "libc.h"

static struct {
    bool recursive;
    char from[PATH_MAX], to[PATH_MAX];
    struct file_status top;       /* the directory that we have made ourselves */
} cp;

int complain_about(const char *path, long error)
{
    return complain("cp: %s: %s", path, reason(error));
}

bool same_file(const struct file_status *a, const struct file_status *b)
{
    return a->device == b->device && a->number == b->number;
}

// Copies all bytes from one descriptor to another.

int copy_bytes(int from, int to)
{
    static char buffer[65536];
    long n, error = 0;

    while ((n = read(from, buffer, sizeof buffer)) != 0) {
        if (n == -EINTR)
            continue;
        if (n < 0)
            return complain_about(cp.from, n);
        error = write_all(to, buffer, (u64)n);
        if (error)
            return complain_about(cp.to, error);
    }
    return 0;
}

// To open the copy is to empty it, so before that we make sure that it is
// not the original.

int copy_file(const struct file_status *info)
{
    struct file_status there;
    long from, to;
    int status;

    if (stat(cp.to, &there) == 0 && same_file(info, &there))
        return complain("cp: %s and %s are the same file", cp.from, cp.to);
    from = open(cp.from, O_RDONLY, 0);
    if (from < 0)
        return complain_about(cp.from, from);
    to = open(cp.to, O_WRONLY | O_CREAT | O_TRUNC, info->mode & 0777);
    if (to < 0) {
        close((int)from);
        return complain_about(cp.to, to);
    }
    status = copy_bytes((int)from, (int)to);
    close((int)from);
    close((int)to);
    return status;
}

// A symbolic link is copied as one, wherever it leads.

int copy_link(void)
{
    static char target[PATH_MAX];
    long n = readlink(cp.from, target, sizeof target - 1);

    if (n < 0)
        return complain_about(cp.from, n);
    target[n] = 0;
    n = syscall3(SYS_SYMLINK, (long)target, (long)cp.to, 0);
    return n ? complain_about(cp.to, n) : 0;
}

// A directory: both paths grow by each name, and are cut back. When one is
// copied into itself, `cp -r a a/b`, its copy must not be copied.

int copy_path(void);

int copy_entry(const char *name)
{
    long from = path_append(cp.from, name), to = path_append(cp.to, name);
    int status = from < 0 || to < 0 ? complain_about(cp.from, -ENAMETOOLONG) : copy_path();

    if (from >= 0)
        cp.from[from] = 0;
    if (to >= 0)
        cp.to[to] = 0;
    return status;
}

// A directory that is there already is filled up.

int copy_directory(const struct file_status *info)
{
    long error = mkdir(cp.to, (info->mode & 0777) | 0700), fd, size, at;
    int status = 0;
    u64 buffer[128];

    if (error && !(error == -EEXIST && is_directory(cp.to)))
        return complain_about(cp.to, error);
    if (!cp.top.mode)
        stat(cp.to, &cp.top);
    fd = open(cp.from, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return complain_about(cp.from, fd);
    while ((size = getdents((int)fd, buffer, sizeof buffer)) > 0)
        for (at = 0; at < size; at += ((struct directory_entry *)((char *)buffer + at))->length) {
            const char *name = ((struct directory_entry *)((char *)buffer + at))->name;

            if (!equal(name, ".") && !equal(name, ".."))
                status |= copy_entry(name);
        }
    close((int)fd);
    return status;
}

// Copies `cp.from`, whatever it is, to `cp.to`. Without `-r` links are
// followed.

int copy_path(void)
{
    struct file_status info;
    long error = cp.recursive ? lstat(cp.from, &info) : stat(cp.from, &info);

    if (error)
        return complain_about(cp.from, error);
    if ((info.mode & S_IFMT) == S_IFLNK)
        return copy_link();
    if ((info.mode & S_IFMT) != S_IFDIR)
        return copy_file(&info);
    if (!cp.recursive)
        return complain("cp: %s is a directory, and there is no -r", cp.from);
    if (cp.top.mode && same_file(&cp.top, &info))
        return complain("cp: %s cannot be copied into itself", cp.from);
    return copy_directory(&info);
}

// What to copy, all words but the last, and where to.

int main(int argc, char **argv)
{
    int status = 0;
    char **last;
    long error;

    (void)argc;
    cp.recursive = (error = options(&argv, "r")) > 0;
    if (error < 0)
        return 1;
    for (last = argv; *last && last[1]; last++)
        ;
    if (last == argv)
        return complain("usage: cp [-r] FROM... TO");
    if (last > argv + 1 && !is_directory(*last))
        return complain("cp: %s: not a directory", *last);
    for (; argv < last; argv++) {
        *cp.from = 0;
        memset(&cp.top, 0, sizeof cp.top);
        error = destination(cp.to, *last, *argv);
        if (error >= 0)
            error = path_append(cp.from, *argv);
        status |= error < 0 ? complain_about(*argv, error) : copy_path();
    }
    return status;
}
