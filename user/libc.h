// ## The rest of a C library {#user-libc}
//
// What the programs of the last chapters share, and no more than
// that. It differs from the library you know in one respect: there is no
// `errno`. A system call returns its error as a negative number, and so
// does each of these functions. Nearly all are `static inline`, so a
// program contains only those that it calls.

#ifndef LIBC_H
#define LIBC_H

#include "user.h"

// Compilers call these three by themselves, for instance to copy a
// structure. `std` makes the string instructions run downwards, which the
// next function to use one would not expect; hence `cld`.

void *memset(void *to, int byte, u64 n)
{
    void *at = to;

    __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(byte) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, u64 n)
{
    void *at = to;

    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, u64 n)
{
    u8 *last = (u8 *)to + n - 1;
    const u8 *last_from = (const u8 *)from + n - 1;

    if ((u64)to - (u64)from >= n)
        return memcpy(to, from, n);
    __asm__ volatile("std\n rep movsb\n cld" : "+D"(last), "+S"(last_from), "+c"(n) : : "memory");
    return to;
}

// ## System calls by name {#libc-calls}
//
// A path longer than `PATH_MAX`, its last byte included, is refused by
// every call; on Rustica that begins with a quarter of it.

#define PATH_MAX 4096

static inline long open(const char *path, int flags, int mode)
{
    return syscall3(SYS_OPEN, (long)path, flags, mode);
}

static inline long read(int fd, void *to, u64 size)
{
    return syscall3(SYS_READ, fd, (long)to, (long)size);
}

static inline long close(int fd)
{
    return syscall3(SYS_CLOSE, fd, 0, 0);
}

// A write may take fewer bytes than it was offered, into a pipe for
// example. Returns 0 when all are written.

static inline long write_all(int fd, const void *from, u64 size)
{
    const char *at = from;
    long n;

    while (size) {
        n = write(fd, at, size);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n ? n : -EIO;
        at += n, size -= (u64)n;
    }
    return 0;
}

// What the kernel says of a file: by its path, by a descriptor, and by the
// path again but, if that is a symbolic link, about the link itself.

static inline long stat(const char *path, struct file_status *info)
{
    return syscall3(SYS_STAT, (long)path, (long)info, 0);
}

static inline long fstat(int fd, struct file_status *info)
{
    return syscall3(SYS_FSTAT, fd, (long)info, 0);
}

static inline long lstat(const char *path, struct file_status *info)
{
    return syscall3(SYS_LSTAT, (long)path, (long)info, 0);
}

static inline long getdents(int fd, void *to, u64 size)
{
    return syscall3(SYS_GETDENTS64, fd, (long)to, (long)size);
}

static inline bool is_directory(const char *path)
{
    struct file_status info;

    return stat(path, &info) == 0 && (info.mode & S_IFMT) == S_IFDIR;
}

// Changes to a file system, and the directory in which a relative path
// begins.

static inline long mkdir(const char *path, int mode)
{
    return syscall3(SYS_MKDIR, (long)path, mode, 0);
}

static inline long rmdir(const char *path)
{
    return syscall3(SYS_RMDIR, (long)path, 0, 0);
}

static inline long unlink(const char *path)
{
    return syscall3(SYS_UNLINK, (long)path, 0, 0);
}

static inline long rename(const char *from, const char *to)
{
    return syscall3(SYS_RENAME, (long)from, (long)to, 0);
}

static inline long readlink(const char *path, char *to, u64 size)
{
    return syscall3(SYS_READLINK, (long)path, (long)to, (long)size);
}

static inline long access(const char *path, int rights)
{
    return syscall3(SYS_ACCESS, (long)path, rights, 0);
}

static inline long chdir(const char *path)
{
    return syscall3(SYS_CHDIR, (long)path, 0, 0);
}

static inline long getcwd(char *to, u64 size)
{
    return syscall3(SYS_GETCWD, (long)to, (long)size, 0);
}

// Processes. What `wait4()` stores holds in its lowest seven bits the
// signal that ended the child, or 0 and above that, in bits 8 to 15, its
// status.

static inline long getpid(void)
{
    return syscall3(SYS_GETPID, 0, 0, 0);
}

static inline long fork(void)
{
    return syscall3(SYS_FORK, 0, 0, 0);
}

static inline long execve(const char *path, char **words, char **environment)
{
    return syscall3(SYS_EXECVE, (long)path, (long)words, (long)environment);
}

static inline long wait4(long pid, int *status, int options)
{
    return syscall6(SYS_WAIT4, pid, (long)status, options, 0, 0, 0);
}

static inline void exit(int status) noreturn;

static inline void exit(int status)
{
    for (;;)
        syscall3(SYS_EXIT_GROUP, status, 0, 0);
}

static inline long kill(long pid, int signal)
{
    return syscall3(SYS_KILL, pid, signal, 0);
}

// What is to be done about a signal: `SIG_DFL`, `SIG_IGN`, or the address
// of a handler. Behind a handler somebody has to make the call that puts
// everything back; on Linux the program brings that along. The short form
// is for those with no wishes.

extern u8 signal_return[];

__asm__(".text\n"
        "signal_return:\n"
        "    movl $15, %eax\n"          /* rt_sigreturn */
        "    syscall\n");

static inline long signal_action(int signal, vaddr handler, u64 flags, u64 mask)
{
    struct signal_action action = {handler, SA_RESTORER | flags, (vaddr)signal_return, mask};

    return syscall6(SYS_RT_SIGACTION, signal, (long)&action, 0, sizeof mask, 0, 0);
}

static inline long signal_set(int signal, vaddr handler)
{
    return signal_action(signal, handler, 0, 0);
}

// File descriptors and what they lead to. Ioctls of a terminal: read and
// set what it does with characters, ask for its size, and say which group
// of processes it is to send its signals to.

// `is_terminal()` asks for something that only a terminal knows. One on a
// serial line does not know its width; then we believe in 80.

static inline long ioctl(int fd, u64 what, void *argument)
{
    return syscall3(SYS_IOCTL, fd, (long)what, (long)argument);
}

static inline bool is_terminal(int fd)
{
    struct termios t;

    return ioctl(fd, TCGETS, &t) == 0;
}

static inline int terminal_columns(int fd)
{
    struct window_size w = {0};

    return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.columns ? w.columns : 80;
}

static inline long dup2(int from, int to)
{
    return syscall3(SYS_DUP2, from, to, 0);
}

static inline long pipe(int *ends)
{
    return syscall3(SYS_PIPE, (long)ends, 0, 0);
}

static inline long fcntl(int fd, int what, long argument)
{
    return syscall3(SYS_FCNTL, fd, what, argument);
}

// Fresh memory, which is this process's alone (`MAP_PRIVATE`) or shared
// with its children (`MAP_SHARED`). Returns its address, or an error.

static inline long map_memory(u64 size, int sharing)
{
    return syscall6(SYS_MMAP, 0, (long)size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS,
                    -1, 0);
}

// Time, and the end of it all.

static inline long clock_gettime(int clock, struct timespec *time)
{
    return syscall3(SYS_CLOCK_GETTIME, clock, (long)time, 0);
}

static inline long nanosleep(const struct timespec *time, struct timespec *rest)
{
    return syscall3(SYS_NANOSLEEP, (long)time, (long)rest, 0);
}

static inline long reboot(u32 how)
{
    return syscall3(SYS_REBOOT, REBOOT_MAGIC, REBOOT_MAGIC_2, how);
}

// A moment in the calendar, which is UTC's. The trick is to let years begin
// in March: then the odd month is the last, and the lengths of the others
// follow a line, 30.6 days long on average. Years before 1970 do not occur.

struct date {
    s64 year;
    u32 month, day, hour, minute, second, weekday; /* months from 1, Sunday is 0 */
};

static inline struct date date_of(s64 seconds)
{
    u64 now = seconds < 0 ? 0 : (u64)seconds, days = now / 86400 + 719468; /* from 0000-03-01 */
    u64 era = days / 146097, day = days % 146097;   /* 400 years */
    u64 year = (day - day / 1460 + day / 36524 - day / 146096) / 365, month;

    day -= 365 * year + year / 4 - year / 100;
    month = (5 * day + 2) / 153;
    return (struct date){
        .year = (s64)(era * 400 + year + (month >= 10)),
        .month = (u32)(month < 10 ? month + 3 : month - 9),
        .day = (u32)(day - (153 * month + 2) / 5 + 1),
        .hour = (u32)(now / 3600 % 24), .minute = (u32)(now / 60 % 60),
        .second = (u32)(now % 60), .weekday = (u32)((now / 86400 + 4) % 7),
    };
}

// ## Text {#libc-text}
//
// Beside `length()` and `equal()`: order, the place of a character, a
// number. `find()` never finds the zero at the end. `number_from()` takes
// digits alone, at least one, and no number beyond its limit.

static inline int compare(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (u8)*a - (u8)*b;
}

static inline const char *find(const char *text, char c)
{
    for (; *text; text++)
        if (*text == c)
            return text;
    return NULL;
}

static inline bool starts(const char *text, const char *with)
{
    while (*with)
        if (*text++ != *with++)
            return false;
    return true;
}

static inline long number_from(const char *text, long limit)
{
    long n = 0;

    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        n = n * 10 + *text - '0';
        if (n > limit)
            return -ERANGE;
    }
    return n;
}

// The last part of a path, without slashes after it. What is left of "/"
// is "/".

static inline char *last_part(char *path)
{
    u64 size = length(path), at;

    while (size > 1 && path[size - 1] == '/')
        path[--size] = 0;
    for (at = size; at > 0 && (path[at - 1] != '/' || at == size); at--)
        ;
    return path + at;
}

// Walks over a tree of files need the path of each. They keep one in a
// buffer of `PATH_MAX` bytes, to which this appends a name, and cut it back
// afterwards. Returns the length before, or -ENAMETOOLONG.

static inline long path_append(char *path, const char *name)
{
    u64 old = length(path), at = old, size = length(name);

    if (at && path[at - 1] != '/' && at + 1 < PATH_MAX)
        path[at++] = '/';
    if (at + size >= PATH_MAX) {
        path[old] = 0;
        return -ENAMETOOLONG;
    }
    memcpy(path + at, name, size + 1);
    return (long)old;
}

// Where a file goes that is copied or moved to `to`: if that is a
// directory, into it, by the name that it has. The path is built in `path`.

static inline long destination(char *path, const char *to, char *from)
{
    long error;

    *path = 0;
    error = path_append(path, to);
    if (error >= 0 && is_directory(to))
        error = path_append(path, last_part(from));
    return error < 0 ? error : 0;
}

// ## Output {#libc-output}
//
// Each write is a system call, so we collect. A sink is a buffer in front
// of a file descriptor; what goes wrong with it is remembered until
// somebody asks.

struct sink {
    int fd;
    u32 used;
    long error;
    char text[1024];
};

static inline void sink_flush(struct sink *s)
{
    long error = s->used ? write_all(s->fd, s->text, s->used) : 0;

    if (error && !s->error)
        s->error = error;
    s->used = 0;
}

static inline void sink_byte(struct sink *s, char c)
{
    if (s->used == sizeof s->text)
        sink_flush(s);
    s->text[s->used++] = c;
}

static inline void sink_padding(struct sink *s, char c, int count)
{
    while (count-- > 0)
        sink_byte(s, c);
}

// A piece of text in a column of a given width; one that is negative means
// to the left.

static inline void sink_field(struct sink *s, const char *text, u64 size, int width)
{
    sink_padding(s, ' ', width - (int)size);
    while (size--)
        sink_byte(s, *text++), width++;
    sink_padding(s, ' ', -width);
}

// A number in a base, with its sign, or padded with zeros.

static inline void sink_number(struct sink *s, u64 n, u32 base, bool negative, char pad, int width)
{
    char text[24];
    int at = sizeof text;

    do
        text[--at] = "0123456789abcdef"[n % base];
    while (n /= base);
    while (pad == '0' && (int)sizeof text - at < width - negative && at > 1)
        text[--at] = '0';
    if (negative)
        text[--at] = '-';
    sink_field(s, text + at, sizeof text - (u64)at, width);
}

// The well-known language of `printf()`, as much of it as we use: `%s`
// `%c` `%d` `%u` `%o` `%x` and `%%`, with a width (or `*`), `-`, `0` and
// `l`.

static inline void sink_one(struct sink *s, char kind, u64 n, char pad, int width)
{
    bool negative = kind == 'd' && (s64)n < 0;
    const char *text = (const char *)n;
    char c = (char)n;

    if (kind == 's')
        sink_field(s, text, length(text), width);
    else if (kind == 'c')
        sink_field(s, &c, 1, width);
    else
        sink_number(s, negative ? 0 - n : n, kind == 'x' ? 16 : kind == 'o' ? 8 : 10, negative,
                    pad, width);
}

// A width without `l` is that of an `int`, and what is passed is one, so
// `va_arg` must be told.

static inline void sink_format(struct sink *s, const char *format, va_list list)
{
    for (; *format; format++) {
        bool left = false, wide = false;
        char pad = ' ';
        int width = 0;

        if (*format != '%' || *++format == '%') {
            sink_byte(s, *format);
            continue;
        }
        for (; *format == '-' || *format == '0'; format++)
            *format == '-' ? (left = true) : (pad = '0');
        if (*format == '*')
            width = va_arg(list, int), format++;
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + *format - '0';
        for (; *format == 'l'; format++)
            wide = true;
        if (!*format)
            return;
        if (wide || *format == 's')
            sink_one(s, *format, va_arg(list, u64), pad, left ? -width : width);
        else if (*format == 'd')
            sink_one(s, 'd', (u64)(s64)va_arg(list, int), pad, left ? -width : width);
        else
            sink_one(s, *format, va_arg(list, u32), pad, left ? -width : width);
    }
}

// `say()` writes to standard output in the end: at the latest when `main()`
// returns what `done()` returns, the status with which the program ends.
// One whose output nobody could be given has failed, whatever else it did.

static struct sink out;

static inline void printf_like(1, 2) say(const char *format, ...)
{
    va_list list;

    out.fd = 1;
    va_start(list, format);
    sink_format(&out, format, list);
    va_end(list);
}

static inline int done(int status)
{
    sink_flush(&out);
    return out.error ? 1 : status;
}

// `complain()` writes a line to standard error at once, in one piece if it
// is not too long, so that the complaints of several programs do not mix.
// It returns 1, the status of a program that has failed.

static inline int printf_like(1, 2) complain(const char *format, ...)
{
    struct sink errors;
    va_list list;

    sink_flush(&out);
    errors.fd = 2, errors.used = 0, errors.error = 0;
    va_start(list, format);
    sink_format(&errors, format, list);
    va_end(list);
    sink_byte(&errors, '\n');
    sink_flush(&errors);
    return 1;
}

// What an error means, in the words that Linux programs use.

static inline const char *reason(long error)
{
    static const char *const words[] = {
        [EPERM] = "Operation not permitted", [ENOENT] = "No such file or directory",
        [ESRCH] = "No such process", [EINTR] = "Interrupted system call",
        [EIO] = "Input/output error", [E2BIG] = "Argument list too long",
        [ENOEXEC] = "Exec format error", [EBADF] = "Bad file descriptor",
        [ECHILD] = "No child processes", [EAGAIN] = "Resource temporarily unavailable",
        [ENOMEM] = "Cannot allocate memory", [EACCES] = "Permission denied",
        [EFAULT] = "Bad address", [EBUSY] = "Device or resource busy",
        [EEXIST] = "File exists", [EXDEV] = "Invalid cross-device link",
        [ENODEV] = "No such device", [ENOTDIR] = "Not a directory", [EISDIR] = "Is a directory",
        [EINVAL] = "Invalid argument", [23] = "Too many open files in system",
        [EMFILE] = "Too many open files", [ENOTTY] = "Inappropriate ioctl for device",
        [ETXTBSY] = "Text file busy", [EFBIG] = "File too large",
        [ENOSPC] = "No space left on device", [ESPIPE] = "Illegal seek",
        [EROFS] = "Read-only file system", [EPIPE] = "Broken pipe",
        [ERANGE] = "Numerical result out of range", [ENAMETOOLONG] = "File name too long",
        [ENOSYS] = "Function not implemented", [ENOTEMPTY] = "Directory not empty",
        [ELOOP] = "Too many levels of symbolic links",
    };
    u64 number = 0 - (u64)error;

    return number < array_count(words) && words[number] ? words[number] : "Unknown error";
}

// The names of signals, as people say them.

static inline const char *signal_name(int signal)
{
    static const char names[][8] = {
        "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
        "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU",
    };

    return signal >= 0 && (u64)signal < array_count(names) ? names[signal] : NULL;
}

// Sorts texts, by an algorithm of Donald Shell's (1959): insertion sort,
// but first over long distances and then over ever shorter ones.

static inline void sort_texts(char **text, u64 count)
{
    u64 gap = count, i, j;

    while (gap > 1) {
        gap = gap < 5 ? 1 : gap * 5 / 11;
        for (i = gap; i < count; i++) {
            char *moving = text[i];

            for (j = i; j >= gap && compare(text[j - gap], moving) > 0; j -= gap)
                text[j] = text[j - gap];
            text[j] = moving;
        }
    }
}

// Options are single letters after a `-`, and stand before all other words;
// `--` ends them. Returns a number with bit i set if letter i of `known`
// was there, or -1 after a complaint. `*words` then points to the first
// word that is not an option.

static inline long options(char ***words, const char *known)
{
    char **word = *words;
    const char *program = *word ? last_part(*word++) : "?", *letter, *place;
    long found = 0;

    for (; *word && **word == '-' && (*word)[1]; word++) {
        if (equal(*word, "--")) {
            word++;
            break;
        }
        for (letter = *word + 1; *letter; letter++) {
            place = find(known, *letter);
            if (!place) {
                complain("%s: there is no option -%c", program, *letter);
                return -1;
            }
            found |= 1L << (place - known);
        }
    }
    *words = word;
    return found;
}

#endif
