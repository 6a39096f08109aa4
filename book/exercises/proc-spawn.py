import re

from check import STEADY, need

PROGRAM = r"""
#include "judged.h"

#define SPAWN %d
#define COUNTS %d         /* whether time passes with the instructions */
#define ROUNDS 8

static u8 large[4 * MIB];
static char *none[] = {NULL};

static long spawn_it(const char *path, char **words, char **environment, const int *fds, long count)
{
    return syscall6(SPAWN, (long)path, (long)words, (long)environment, (long)fds, count, 0);
}

static long status_of(long pid)
{
    int status = -1;

    if (pid < 0)
        wrong("the call fails", pid);
    if (wait4(pid, &status, 0) != pid)
        wrong("the new process is not a child that can be waited for", pid);
    return status;
}

/* What a program writes to its descriptor 1. */
static void says(char **words, char **environment, const char *wanted, const char *what)
{
    int ends[2], fds[3] = {0, 0, 2};
    char text[200];
    long size = 0, n, pid;

    pipe(ends);
    fds[1] = ends[1];
    pid = spawn_it(words[0], words, environment, fds, 3);
    close(ends[1]);
    while ((n = read(ends[0], text + size, sizeof text - 1 - (u64)size)) > 0)
        size += n;
    text[size] = 0;
    close(ends[0]);
    expect(status_of(pid), 0, "a program that was started so ends with another status");
    if (!equal(text, wanted)) {
        say("wrong: %%s; it wrote `%%s` instead of `%%s`\n", what, text, wanted);
        done(0);
        exit(1);
    }
}

static void handler(int signal)
{
    (void)signal;
}

/* The new process is this program, too: which descriptors has it? */
static int child(void)
{
    struct file_status info;
    int fd, found = 0;

    for (fd = 0; fd < 32; fd++)
        if (fstat(fd, &info) == 0)
            found |= 1 << (fd < 6 ? fd : 6);
    return found;
}

static void look(void)
{
    static char *self[] = {"/bin/hello", "child", NULL}, *echo[] = {"/bin/echo", "a", "b", NULL},
                *env[] = {"/bin/env", NULL}, *two[] = {"X=1", "Y=two", NULL},
                *pwd[] = {"/bin/pwd", NULL}, *sleeper[] = {"/bin/sleep", "5", NULL};
    static const int fds[] = {0, 1, 2, 1, 0}, bad[] = {0, 1, 99};
    struct timespec moment = {0, 100000000};
    long pid;

    expect(spawn_it("/no/such/program", echo, none, fds, 3), -ENOENT,
           "a file that there is not should be refused with -ENOENT");
    expect(spawn_it("/README", echo, none, fds, 3), -EACCES,
           "a file that is no program should be refused with -EACCES");
    expect(spawn_it((char *)8, echo, none, fds, 3), -EFAULT, "a path where nothing is mapped");
    expect(spawn_it("/bin/echo", echo, none, bad, 3), -EBADF,
           "a descriptor that there is not should be refused with -EBADF");
    expect(spawn_it("/bin/echo", echo, none, (int *)8, 3), -EFAULT,
           "a list where nothing is mapped");
    expect(wait4(-1, NULL, 1), -ECHILD, "a call that failed has left a child behind");
    says(echo, none, "a b\n", "a program gets other arguments");
    says(env, two, "X=1\nY=two\n", "a program gets another environment");
    chdir("/tmp");
    says(pwd, none, "/tmp\n", "a program should start in its parent's directory");
    open("/README", O_RDONLY, 0);
    expect(status_of(spawn_it("/bin/hello", self, none, fds, 3)) >> 8, 7,
           "with a list of three descriptors the new process should have 0, 1 and 2 and no others; "
           "it has those whose bits are set");
    expect(status_of(spawn_it("/bin/hello", self, none, fds, 5)) >> 8, 31,
           "with a list of five descriptors the new process should have 0 to 4 and no others; it "
           "has those whose bits are set");
    signal_set(SIGUSR1, (vaddr)handler);
    pid = spawn_it("/bin/sleep", sleeper, none, fds, 3);
    nanosleep(&moment, NULL);
    expect(wait4(pid, NULL, 1), 0, "the parent should go on while the new process runs");
    kill(pid, SIGUSR1);
    expect(status_of(pid), SIGUSR1, "the new program has no handlers, so SIGUSR1 should end it");
}

static u64 free_memory(void)
{
    struct system_info info;

    syscall3(SYS_SYSINFO, (long)&info, 0, 0);
    return info.free * (info.unit ? info.unit : 1);
}

static void lose(void)
{
    static char *self[] = {"/bin/hello", "child", NULL};
    static const int fds[] = {0, 1, 2}, bad[] = {0, 1, 99};
    u64 before = 0, i;

    for (i = 0; i < 120; i++) {
        if (i == 20)
            before = free_memory();
        status_of(spawn_it("/bin/hello", self, none, fds, 3));
        spawn_it("/bin/hello", self, none, bad, 3);
    }
    if (free_memory() + 50 * 4096 < before)
        wrong("a hundred new processes, and a hundred that failed, have come and gone, and memory "
              "is lost, in bytes", (long)(before - free_memory()));
}

static u64 now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.seconds * 1000000000 + (u64)t.nanoseconds;
}

static u64 cost(bool copy)
{
    static char *words[] = {"/bin/true", NULL};
    static const int fds[] = {0, 1, 2};
    u64 start = now();
    long i, pid;

    for (i = 0; i < ROUNDS; i++) {
        pid = copy ? fork() : spawn_it(words[0], words, none, fds, 3);
        if (!pid) {
            execve(words[0], words, none);
            exit(1);
        }
        expect(status_of(pid), 0, "/bin/true ends with another status");
    }
    return (now() - start) / 32 / ROUNDS;   /* one instruction takes 32 ns */
}

int main(int argc, char **argv)
{
    u64 i, by_fork, by_spawn;

    if (argc > 1 && equal(argv[1], "child"))
        return child();
    look();
    lose();
    for (i = 0; i < sizeof large; i += 4096)
        large[i] = 1;
    by_fork = cost(true);
    by_spawn = cost(false);
    say("fork, execve and wait: %%lu instructions; without a copy: %%lu\n", by_fork, by_spawn);
    if (COUNTS && by_spawn > by_fork / 10 * 9)
        wrong("without a copy it does not take fewer instructions, in a program with 4 MiB",
              (long)by_spawn);
    done(0);
    print(CONTENT);
    return 0;
}
"""

SHELL = """
strace sh -c '/bin/true; /bin/true'
echo '- status'; sh -c '/bin/false; echo $?; /bin/sh -c "exit 7"; echo $?; /no/such; echo $?'
echo '- output'; sh -c '/bin/echo one >/tmp/x; /bin/echo two >>/tmp/x; cat </tmp/x; cat /tmp/x'
echo '- errors'; sh -c 'ls /nothing 2>/tmp/y; /bin/wc -l </tmp/y; ls /nothing 2>&1 | wc -l'
echo '- variables'; sh -c 'export A=1; B=2; C=3 env | grep "^[BC]"; env | grep ^A; /bin/echo "[$C]"'
echo '- pipe'; sh -c '/bin/echo a b c | wc -w; x=$(/bin/echo inner); /bin/echo $x'
echo '- background'; sh -c 'sleep 0.1 & wait; /bin/echo waited'
echo '- end'
"""
SAYS = {"status": "1\n7\n127", "output": "one\ntwo\none\ntwo", "errors": "1\n1",
        "variables": "C=3\nA=1\n[]", "pipe": "3\ninner", "background": "waited"}


def check(tree):
    number = tree.number("proc-spawn.number", "the number of the call. Its arguments are those of "
                         "execve, then a list of descriptors (int), of which the n-th becomes the "
                         "new process's n-th, and how many these are. It returns the new process's "
                         "number")
    row = tree.answer("proc-spawn.row", "how the row that bench has got begins")
    tree.judge(14, "hello", PROGRAM % (number, 0), typed="hello\n", OPT="audit")
    tree.judge(14, "hello", PROGRAM % (number, 1), typed="hello\n", **STEADY)
    shell(tree)
    said = tree.boots(14, typed=f"bench 'fork, execve'\nbench '{row}'\n", **STEADY)
    rows = re.findall(r"^(\w.*?) {2,}(\d+)$", said, re.M)
    fork = [int(cost) for what, cost in rows if what.startswith("fork, execve")]
    new = [int(cost) for what, cost in rows if what.startswith(row)]
    need(new, f"bench has no row that begins with `{row}`:\n{said[-600:]}")
    need(fork and new[0] < fork[0], f"bench has {fork[0]} for fork and execve, and {new[0]} for "
         "the new call")


def shell(tree):
    said = tree.boots(14, typed=SHELL)
    calls = re.findall(r"^\[\d+\] (\w+)\(", said, re.M)
    need(calls, f"strace shows nothing of the shell:\n{said[-1000:]}")
    copies = [call for call in calls if call in ("fork", "vfork", "clone")]
    need(not copies,
         f"`sh -c '/bin/true; /bin/true'` still makes copies, by {' and '.join(copies)}")
    part = {title: lines for title, lines in
            re.findall(r"^- (.*)\n((?:(?!- ).*\n)*)", said, re.M)}
    for title, wanted in SAYS.items():
        lines = [line.strip() for line in part.get(title, "").splitlines()
                 if not line.startswith("sh: ")]
        need("\n".join(lines) == wanted, f"the shell does not do any more what it did ({title}); "
             f"it should print\n{wanted}\nand prints\n" + "\n".join(lines))
