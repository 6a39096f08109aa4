// ## test {#user-test}
//
// Answers a question by its status: 0 for yes, 1 for no, 2 if it did not
// understand. `[` is the same program by another name; it wants a `]` at
// the end, so that `if [ -f x ]` looks like part of the language.

#include "libc.h"

#define UNKNOWN 2

// About a file, or about a text. Each answer is 0 or 1, as C counts, or
// `UNKNOWN`.

int ask_file(char what, const char *path)
{
    static const char kinds[] = "pcdbfLhS";
    static const u8 modes[] = {1, 2, 4, 6, 8, 10, 10, 12};
    const char *kind = find(kinds, what);
    struct file_status info;

    if ((what == 'L' || what == 'h' ? lstat(path, &info) : stat(path, &info)) < 0)
        return 0;
    if (kind)
        return info.mode >> 12 == modes[kind - kinds];
    switch (what) {
    case 'r': return access(path, 4) == 0;
    case 'w': return access(path, 2) == 0;
    case 'x': return access(path, 1) == 0;
    case 's': return info.size > 0;
    }
    return 1;
}

int ask_one(const char *what, const char *about)
{
    long n;

    if (*what != '-' || !what[1] || what[2])
        return UNKNOWN;
    if (what[1] == 'n' || what[1] == 'z')
        return (what[1] == 'n') == (*about != 0);
    if (what[1] == 't') {
        n = number_from(about, 1023);
        return n >= 0 ? is_terminal((int)n) : UNKNOWN;
    }
    return find("erwxspcdbfLhS", what[1]) ? ask_file(what[1], about) : UNKNOWN;
}

// Between two texts, or two numbers.

bool integer(const char *text, long *n)
{
    bool negative = *text == '-';

    *n = number_from(text + (negative || *text == '+'), ~0UL >> 5);
    if (*n < 0)
        return false;
    *n = negative ? -*n : *n;
    return true;
}

int ask_two(const char *a, const char *what, const char *b)
{
    static const char names[][4] = {"-eq", "-ne", "-lt", "-ge", "-gt", "-le"};
    bool answers[6];
    long x, y;
    int i;

    if (equal(what, "=") || equal(what, "=="))
        return equal(a, b);
    if (equal(what, "!="))
        return !equal(a, b);
    for (i = 0; i < 6 && !equal(what, names[i]); i++)
        ;
    if (i == 6)
        return UNKNOWN;
    if (!integer(a, &x) || !integer(b, &y)) {
        complain("test: %s: not a number", integer(a, &x) ? b : a);
        exit(UNKNOWN);
    }
    answers[0] = x == y, answers[1] = x != y;
    answers[2] = x < y, answers[3] = x >= y;
    answers[4] = x > y, answers[5] = x <= y;
    return answers[i];
}

// With few words their number decides what they mean, so that a variable
// which happens to contain `!` or `-f` does no harm (POSIX, XCU "test").

int ask(char **word, int count);

int ask_parts(char **word, int count, const char *joint)
{
    int i, left, right;

    for (i = 1; i < count - 1; i++)
        if (equal(word[i], joint)) {
            left = ask(word, i);
            right = ask(word + i + 1, count - i - 1);
            if (left == UNKNOWN || right == UNKNOWN)
                return UNKNOWN;
            return joint[1] == 'o' ? left | right : left & right;
        }
    return UNKNOWN;
}

// `-o` binds less tightly than `-a`, and so is looked for first.

int ask(char **word, int count)
{
    bool not = count > 1 && equal(word[0], "!");
    int answer = UNKNOWN;

    if (count < 2)
        return count && *word[0];
    if (count == 2 && !not)
        return ask_one(word[0], word[1]);
    if (count == 3)
        answer = ask_two(word[0], word[1], word[2]);
    if (answer == UNKNOWN)
        answer = ask_parts(word, count, "-o");
    if (answer == UNKNOWN)
        answer = ask_parts(word, count, "-a");
    if (answer == UNKNOWN && not) {
        answer = ask(word + 1, count - 1);
        return answer == UNKNOWN ? UNKNOWN : !answer;
    }
    if (answer == UNKNOWN && equal(word[0], "(") && equal(word[count - 1], ")"))
        answer = ask(word + 1, count - 2);
    return answer;
}

// The closing bracket is not part of the question.

int main(int argc, char **argv)
{
    int answer;

    if (argc && equal(last_part(argv[0]), "[") && !equal(argv[--argc], "]"))
        return complain("[: missing ]"), UNKNOWN;
    answer = argc ? ask(argv + 1, argc - 1) : 0;
    if (answer == UNKNOWN)
        return complain("test: this is not a question"), UNKNOWN;
    return !answer;
}
