// ## rm {#user-rm}
//
// Removes files; with `-r` also directories and all that is in them. With
// `-f` it does not mind what is not there.

#include "libc.h"

#define RECURSIVE 1
#define FORCE 2

static struct {
    long options;
    char path[PATH_MAX];
} rm;

int complain_about(const char *path, long error)
{
    if (error == -ENOENT && rm.options & FORCE)
        return 0;
    return complain("rm: %s: %s", path, reason(error));
}

// One pass over a directory. What it counts it has removed. Nobody
// promises that a directory which changes while it is read is read
// completely, so we go over it until it is empty, or nothing helps.

int remove_path(void);

int remove_entries(u64 *removed)
{
    long fd = open(rm.path, O_RDONLY | O_DIRECTORY, 0), size, at, old;
    int status = 0;
    u64 buffer[128];

    if (fd < 0)
        return complain_about(rm.path, fd);
    while ((size = getdents((int)fd, buffer, sizeof buffer)) > 0)
        for (at = 0; at < size; at += ((struct directory_entry *)((char *)buffer + at))->length) {
            const char *name = ((struct directory_entry *)((char *)buffer + at))->name;

            if (equal(name, ".") || equal(name, ".."))
                continue;
            old = path_append(rm.path, name);
            if (old < 0) {
                status = complain_about(rm.path, old);
                continue;
            }
            if (remove_path() == 0)
                ++*removed;
            else
                status = 1;
            rm.path[old] = 0;
        }
    close((int)fd);
    return status;
}

// Removes what `rm.path` names, whatever it is.

int remove_path(void)
{
    struct file_status info;
    long error = lstat(rm.path, &info);
    u64 removed;

    if (error)
        return complain_about(rm.path, error);
    if ((info.mode & S_IFMT) != S_IFDIR) {
        error = unlink(rm.path);
        return error ? complain_about(rm.path, error) : 0;
    }
    if (!(rm.options & RECURSIVE))
        return complain_about(rm.path, -21);
    do {
        removed = 0;
        if (remove_entries(&removed))
            return 1;
        error = rmdir(rm.path);
    } while (error == -39 && removed);
    return error ? complain_about(rm.path, error) : 0;
}

// Nobody who removes `.` or `/` can have meant it.

int main(int argc, char **argv)
{
    int status = 0;
    long error;

    (void)argc;
    rm.options = options(&argv, "rf");
    if (rm.options < 0)
        return 1;
    if (!*argv && !(rm.options & FORCE))
        return complain("usage: rm [-r] [-f] FILE...");
    for (; *argv; argv++) {
        const char *last = last_part(*argv);

        *rm.path = 0;
        error = path_append(rm.path, *argv);
        if (equal(last, ".") || equal(last, "..") || equal(last, "/"))
            status = complain("rm: %s: that would be going too far", *argv);
        else
            status |= error < 0 ? complain_about(*argv, error) : remove_path();
    }
    return status;
}
