// ## ls {#user-ls}
//
// Lists files, and what is in directories: `-a` also the names that begin
// with a dot, `-l` with all that is known about each file, `-1` one on a
// line, `-d` directories themselves and not what is in them.

#include "libc.h"

#define ALL 1
#define LONG 2
#define ONE 4
#define DIRECTORIES 8

// What is to be listed. The kernel gives names in its own order, so all of
// them must be collected before the first can be shown. They lie in memory
// one after the other, behind the data of the program.

struct list {
    char **names;
    u64 count, room;
};

static struct {
    long options;
    bool colours;
    int columns;                /* 0 for one name on a line */
    char *memory, *end;         /* still free */
    char path[PATH_MAX];        /* of the directory */
} ls;

// Nothing is ever given back: the program ends soon.

void *take(u64 size)
{
    char *start;

    size = align_up(size, 8);
    if (!ls.memory)
        ls.memory = ls.end = (char *)align_up(syscall3(SYS_BRK, 0, 0, 0), 8);
    if (ls.memory + size > ls.end) {
        ls.end = (char *)align_up(ls.memory + size, 16 * FRAME_SIZE);
        if (syscall3(SYS_BRK, (long)ls.end, 0, 0) != (long)ls.end) {
            complain("ls: out of memory");
            exit(done(1));
        }
    }
    start = ls.memory;
    ls.memory += size;
    return start;
}

void list_add(struct list *list, const char *name)
{
    char **wider;

    if (list->count == list->room) {
        list->room = list->room * 2 + 64;
        wider = take(list->room * sizeof *wider);
        memcpy(wider, list->names, list->count * sizeof *wider);
        list->names = wider;
    }
    list->names[list->count++] = memcpy(take(length(name) + 1), name, length(name) + 1);
}

// What a file is, in a letter and in a colour: directories blue, links
// cyan, devices yellow, programs green.

char kind_letter(u32 mode)
{
    static const char letters[16] = {[1] = 'p', [2] = 'c', [4] = 'd', [6] = 'b', [8] = '-',
                                     [10] = 'l', [12] = 's'};
    char letter = letters[(mode & S_IFMT) >> 12];

    return letter ? letter : '?';
}

int colour(u32 mode)
{
    switch (kind_letter(mode)) {
    case 'd': return 34;
    case 'l': return 36;
    case 'c':
    case 'b': return 33;
    case '-': return mode & 0111 ? 32 : 0;
    }
    return 0;
}

void show_name(const char *name, u32 mode)
{
    if (ls.colours && colour(mode))
        say("\033[%dm%s\033[0m", colour(mode), name);
    else
        say("%s", name);
}

// The long form: kind and rights, links, size (of a device its numbers),
// time of the last change, name, and where a link leads.

void show_long(const char *path, const char *name, const struct file_status *info)
{
    struct date d = date_of(info->modification.seconds);
    char target[PATH_MAX];
    int bit;
    long n;

    say("%c", kind_letter(info->mode));
    for (bit = 8; bit >= 0; bit--)
        say("%c", info->mode >> bit & 1 ? "xwr"[bit % 3] : '-');
    say(" %3lu ", info->links);
    if (info->device_number)
        say("%5lu,%4lu", info->device_number >> 8 & 0xfff, info->device_number & 0xff);
    else
        say("%10lu", (u64)info->size);
    say(" %04ld-%02u-%02u %02u:%02u ", d.year, d.month, d.day, d.hour, d.minute);
    show_name(name, info->mode);
    if ((info->mode & S_IFMT) == S_IFLNK) {
        n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        say(" -> %s", target);
    }
    say("\n");
}

// Names in columns, as many as fit, going down before they go right. All
// have the same width. That of the terminal stays free by one, lest it
// wrap.

void show_columns(char **names, u32 *modes, u64 count)
{
    u64 width = 1, columns, rows, row, i;

    for (i = 0; i < count; i++)
        width = length(names[i]) + 2 > width ? length(names[i]) + 2 : width;
    columns = (u64)ls.columns / width;
    columns = columns ? columns : 1;
    rows = (count + columns - 1) / columns;
    for (row = 0; row < rows; row++)
        for (i = row; i < count; i += rows) {
            show_name(names[i], modes[i]);
            sink_padding(&out, ' ', i + rows < count ? (int)(width - length(names[i])) : 0);
            if (i + rows >= count)
                say("\n");
        }
}

// The files of a list, which are in the directory `ls.path`.

int show(struct list *list)
{
    u32 *modes = take(list->count * sizeof *modes);
    struct file_status info;
    long error, old;
    int status = 0;
    u64 i, found = 0;

    sort_texts(list->names, list->count);
    for (i = 0; i < list->count; i++) {
        old = path_append(ls.path, list->names[i]);
        error = old < 0 ? old : lstat(ls.path, &info);
        if (error)
            status = complain("ls: %s: %s", list->names[i], reason(error));
        else if (ls.options & LONG)
            show_long(ls.path, list->names[i], &info);
        else if (!ls.columns)
            show_name(list->names[i], info.mode), say("\n");
        if (!error)
            list->names[found] = list->names[i], modes[found++] = info.mode;
        if (old >= 0)
            ls.path[old] = 0;
    }
    if (ls.columns && !(ls.options & LONG))
        show_columns(list->names, modes, found);
    return status;
}

// One call of the kernel fills the buffer with as many entries as it has
// room for. How long each is, it says itself.

int show_directory(const char *path)
{
    long fd = open(path, O_RDONLY | O_DIRECTORY, 0), size = 0, at;
    struct list list = {0};
    u64 buffer[512];

    if (fd < 0)
        return complain("ls: %s: %s", path, reason(fd));
    while ((size = getdents((int)fd, buffer, sizeof buffer)) > 0)
        for (at = 0; at < size; at += ((struct directory_entry *)((char *)buffer + at))->length) {
            const char *name = ((struct directory_entry *)((char *)buffer + at))->name;

            if (*name != '.' || ls.options & ALL)
                list_add(&list, name);
        }
    close((int)fd);
    if (size < 0)
        complain("ls: %s: %s", path, reason(size));
    *ls.path = 0;
    if (path_append(ls.path, path) < 0)
        return 1;
    return show(&list) | (size < 0);
}

// Files first, then directories, with their names if there are several.

int main(int argc, char **argv)
{
    struct list files = {0}, directories = {0};
    bool several;
    int status = 0;
    u64 i;

    (void)argc;
    ls.options = options(&argv, "al1d");
    if (ls.options < 0)
        return 2;
    ls.colours = is_terminal(1);
    ls.columns = ls.colours && !(ls.options & ONE) ? terminal_columns(1) - 1 : 0;
    several = *argv && argv[1];
    if (!*argv)
        list_add(ls.options & DIRECTORIES ? &files : &directories, ".");
    for (; *argv; argv++) {
        bool directory = is_directory(*argv) && !(ls.options & DIRECTORIES);

        list_add(directory ? &directories : &files, *argv);
    }
    if (files.count)
        status = show(&files);
    sort_texts(directories.names, directories.count);
    for (i = 0; i < directories.count; i++) {
        if (several)
            say("%s%s:\n", i || files.count ? "\n" : "", directories.names[i]);
        status |= show_directory(directories.names[i]);
    }
    return done(status);
}
