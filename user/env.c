// ## env {#user-env}
//
// Shows the environment: the texts that each process is given beside its
// arguments, by custom of the form `NAME=value`. On the stack they follow
// the arguments, after a null pointer. With arguments of that form it adds
// them; with a command after these it runs that, in the environment it
// would have shown.

#include "libc.h"

#define VARIABLES 256

static char *environment[VARIABLES];

// Whether two texts give a value to the same name; the value of a name.

bool same_name(const char *a, const char *b)
{
    while (*a && *a == *b && *a != '=')
        a++, b++;
    return *a == '=' && *b == '=';
}

void set(char *text)
{
    int i;

    for (i = 0; environment[i] && !same_name(environment[i], text); i++)
        ;
    if (i < VARIABLES - 1)
        environment[i] = text;
}

const char *get(const char *name)
{
    int i;

    for (i = 0; environment[i]; i++)
        if (same_name(environment[i], name))
            return find(environment[i], '=') + 1;
    return "";
}

// The command is looked for in the directories of `PATH`, as a shell would
// do it.

int run(char **words)
{
    static char path[PATH_MAX];
    const char *at = get("PATH=");
    long error = -ENOENT;
    u64 size;

    if (find(*words, '/'))
        error = execve(*words, words, environment), at = "";
    while (*at && error == -ENOENT) {
        for (size = 0; at[size] && at[size] != ':' && size < PATH_MAX - 1; size++)
            path[size] = at[size];
        path[size] = 0;
        if (path_append(path, *words) >= 0)
            error = execve(path, words, environment);
        at += size + (at[size] == ':');
    }
    complain("env: %s: %s", *words, reason(error));
    return error == -ENOENT ? 127 : 126;
}

int main(int argc, char **argv)
{
    char **inherited = argv + argc + 1, **word = argv + (argc > 0);

    for (; *inherited; inherited++)
        set(*inherited);
    for (; *word && find(*word, '='); word++)
        set(*word);
    if (*word)
        return run(word);
    for (word = environment; *word; word++)
        say("%s\n", *word);
    return done(0);
}
