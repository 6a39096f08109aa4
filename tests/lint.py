"""The rules of style that a program can check; run.py makes a test of each.

A rule is a function that returns two lists: complaints, which fail the test, and
notes, which are only kept. The literate files consist of prose, the lines that
begin with `//` in column 1, and of listings, which are all other lines.
"""

import collections
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULES = []

KEYWORDS = set("""auto break case const continue default do else enum extern for goto if inline
    int long register return short signed sizeof static struct switch typedef union unsigned
    void volatile while char bool asm __asm__ __attribute__ _Static_assert offset_of""".split())


def rule(function):
    RULES.append(function)
    return function


# ---- Reading -----------------------------------------------------------------

class Line:
    """One line of a literate file."""

    def __init__(self, path, number, text):
        self.path, self.number, self.text = path, number, text
        self.prose = text.startswith("//")
        self.ruler = bool(re.fullmatch(r"//[=-]{3,}", text))
        self.chapter = None
        self.code = ""          # without comments and the insides of strings

    def __str__(self):
        return f"{self.path.relative_to(ROOT)}:{self.number}"


def literate_paths():
    names = ["rustica.h", "efi_main.c", "rustica.c", "tools/waiter.c"]
    return [p for p in [ROOT / n for n in names] + sorted(ROOT.glob("user/*.[ch]")) if p.exists()]


def strip(code):
    """Blanks out comments and the insides of strings, keeping the lines."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0]) if match[0][0] == "/" else match[0][0] * 2
    pattern = r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, blank, code, flags=re.S)


@functools.lru_cache(None)
def lines(path):
    found, chapter = [], None
    for number, text in enumerate(path.read_text("ascii", "replace").splitlines(), 1):
        line = Line(path, number, text)
        if title := re.match(r"// # (?:Chapter (\d+)\.)?", text):
            chapter = int(title[1]) if title[1] else None
        line.chapter = chapter
        found.append(line)
    stripped = strip("\n".join("" if line.prose else line.text for line in found))
    for line, code in zip(found, stripped.split("\n")):
        line.code = code
    return found


def all_lines():
    return [line for path in literate_paths() for line in lines(path)]


class Function:
    def __init__(self, name, first, last):
        self.name, self.first, self.last = name, first, last
        self.length = last.number - first.number + 1


HEAD = re.compile(r"(?!else|return|typedef|_Static_assert|__asm__)[A-Za-z_][\w \t*]*?"
                  r"(?:printf_like\(.*?\) )?\b(\w+)\(")


@functools.lru_cache(None)
def functions(path):
    """Function definitions, which begin in column 1; so do their last braces."""
    found, head = [], None
    for line in lines(path):
        if head is None:
            match = HEAD.match(line.code)
            head = (match[1], line) if match else None
            opened = False
        if head:
            opened = opened or "{" in line.code
            if not opened and ";" in line.code:
                head = None
            elif opened and (line.code.startswith("}") or
                             line is head[1] and line.code.rstrip().endswith("}")):
                found.append(Function(*head, line))
                head = None
    return found


@functools.lru_cache(None)
def definitions(path):
    """{name: first line that defines or declares it} of all that has file scope."""
    found = {f.name: f.first for f in functions(path)}
    inside = False
    depth = 0
    for line in lines(path):
        code = line.code
        for pattern in (r"#define (\w+)", r"(?:typedef .*|struct|union|enum) (\w+)(?=;| \{)"):
            if match := re.match(pattern, code):
                found.setdefault(match[1], line)
        if depth == 0 and (match := re.match(
                r"(?:(?:const|extern|volatile|static) )*(?:struct |enum )?\w+ [\w *]*?(\w+)"
                r"(?:\[.*?\])*(?:;| =|,|\()", code)) and match[1] not in KEYWORDS:
            found.setdefault(match[1], line)
        if re.match(r"enum\b.*\{", code):
            inside = True
        if inside:
            for name in re.findall(r"\b([A-Z]\w+)\b(?=\s*[,=}]|$)", code):
                found.setdefault(name, line)
        depth += code.count("{") - code.count("}")
        inside = inside and depth > 0
    return found


def every_definition():
    return {name for path in literate_paths() for name in definitions(path)}


# ---- Form --------------------------------------------------------------------

TEXT_FILES = ("*", "tests/*.*", "tests/host/*", "tools/*", "book/*", "book/figures/*", ".ci/run",
              *(f"book/exercises/*.{kind}" for kind in ("py", "c", "h", "md")))


def text_files():
    found = [p for pattern in TEXT_FILES for p in sorted(ROOT.glob(pattern)) if p.is_file()]
    found += [p for p in sorted(ROOT.glob("user/**/*")) if p.is_file()]
    return [p for p in found if p.suffix not in (".png", ".pdf")]


@rule
def ascii_only():
    """ASCII, no tabs, no trailing blanks, a newline at the end."""
    bad = []
    for path in text_files():
        data = path.read_bytes()
        name = path.relative_to(ROOT)
        for number, line in enumerate(data.split(b"\n"), 1):
            if re.search(rb"[^\x20-\x7e\t]", line):
                bad.append(f"{name}:{number}: a character that is not ASCII")
            if b"\t" in line and path.name != "Makefile":
                bad.append(f"{name}:{number}: a tab")
            if line.endswith((b" ", b"\t")):
                bad.append(f"{name}:{number}: a trailing blank")
        if not data.endswith(b"\n") or data.endswith(b"\n\n"):
            bad.append(f"{name}: should end with exactly one newline")
    return bad, []


@rule
def width():
    """Prose 76 columns, code 100, other text 100."""
    bad = [f"{line}: {len(line.text)} columns" for line in all_lines()
           if len(line.text) > (76 if line.prose and not line.ruler else 100)]
    for path in set(text_files()) - set(literate_paths()):
        bad += [f"{path.relative_to(ROOT)}:{n}: {len(text)} columns"
                for n, text in enumerate(path.read_text().splitlines(), 1)
                if len(text) > 100 and path.suffix not in (".svg", ".css", ".html")]
    return bad, []


@rule
def prose_lines():
    """Prose begins `// ` in column 1, nothing else does, and no backslash ends it."""
    bad = []
    for line in all_lines():
        if line.prose and not line.ruler and not re.match(r"//( \S| {2,}\S|$)", line.text):
            bad.append(f"{line}: prose is `// ` and text")
        if line.prose and line.text.endswith("\\"):
            bad.append(f"{line}: the backslash swallows the next line")
        if not line.prose and "//" in line.code:
            bad.append(f"{line}: a // comment inside code")
    return bad, []


@rule
def headings():
    """Two levels, `### Exercises` and `### Further reading`; below a title its rule; chapters
    count up."""
    bad, chapter = [], 0
    for path in literate_paths():
        for line, below in zip(lines(path), lines(path)[1:] + [Line(path, 0, "")]):
            match = re.match(r"// (#+) (.*)", line.text)
            if not match:
                continue
            level, text = len(match[1]), match[2]
            if level == 1 and not re.fullmatch(r"//={60,}", below.text):
                bad.append(f"{line}: a rule `//====` belongs below a title")
            if level == 3 and not text.startswith(("Exercises", "Further reading")) or level > 3:
                bad.append(f"{line}: headings of level 3 are `### Exercises` and `### Further "
                           "reading`")
            if level < 3 and not re.search(r"\{#[a-z][a-z0-9-]*\}$", text):
                bad.append(f"{line}: a heading ends with its {{#id}}")
            if number := re.match(r"Chapter (\d+)\. .* \{#ch-", text):
                chapter += 1
                if int(number[1]) != chapter:
                    bad.append(f"{line}: chapter {number[1]} follows chapter {chapter - 1}")
            elif text.startswith("Chapter"):
                bad.append(f"{line}: should be `// # Chapter N. Title {{#ch-id}}`")
    return bad, []


@rule
def chapter_ends():
    """The last sections of a chapter are exercises, further reading, and what we have."""
    wanted = ["### Exercises", "### Further reading", "## What we have"]
    parts = re.split(r"^// # (Chapter .*) \{", (ROOT / "rustica.c").read_text(), flags=re.M)[1:]
    return [f"{title} ends with {found[-3:]}, and not with {wanted}"
            for title, text in zip(parts[::2], parts[1::2])
            if (found := re.findall(r"^// (##.*) \{", text, re.M))[-3:] != wanted], []


@rule
def ids():
    """Every id is unique, and every link in prose leads to one."""
    made = (ROOT / "book" / "back.py").read_text()
    bad, seen = [], dict.fromkeys(re.findall(r"\{#([\w-]+)\}", made), "book/back.py")
    prose = [line for line in all_lines() if line.prose]
    for line in prose:
        for name in re.findall(r"\{#([\w-]+)", line.text):
            if name in seen:
                bad.append(f"{line}: the id {name} is also at {seen[name]}")
            seen.setdefault(name, line)
    for line in prose:
        for name in re.findall(r"\]\(#([\w-]+)\)|^// \d*\]?\(#([\w-]+)\)", line.text):
            if (name[0] or name[1]) not in seen:
                bad.append(f"{line}: no place has the id {name[0] or name[1]}")
    return bad, []


@rule
def exercises():
    """Each is a div with id, class and level, is closed, and tells when it is done."""
    bad, opened = [], None
    for line in all_lines():
        if re.match(r"// :::+ \{.*exercise", line.text):
            if not re.fullmatch(r"// ::: \{#ex-[\w-]+ \.exercise level=[123]\}", line.text):
                bad.append(f"{line}: should be ::: {{#ex-id .exercise level=1..3}}")
            opened, text = line, ""
        elif opened and line.text == "// :::":
            if "*" not in text:
                bad.append(f"{opened}: how will the reader know that it works?")
            opened = None
        elif opened:
            text += line.text
            if not line.prose:
                bad.append(f"{opened}: the exercise is not closed")
                opened = None
    return bad, []


@rule
def checks():
    """Each exercise has a check, an answer, a note and two wrong answers, and each of these
    files belongs to an exercise."""
    found = [match[1] for line in all_lines()
             if (match := re.match(r"// ::: \{#ex-([\w-]+) \.exercise", line.text))]
    files = collections.defaultdict(set)
    for path in (ROOT / "book" / "exercises").glob("*.*"):
        if path.suffix != ".h":         # which several checks include
            files[path.name.split(".")[0]].add(path.name)
    bad = [f"book/exercises/{name}.*: there is no such exercise" for name in files
           if name not in found]
    for name in found:
        for wanted in rf"{name}\.(py|c)", rf"{name}\.patch", rf"{name}\.md", \
                rf"{name}\.wrong-1\.patch", rf"{name}\.wrong-2\.patch":
            if not any(re.fullmatch(wanted, file) for file in files[name]):
                bad.append(f"book/exercises/{wanted} is missing".replace("\\", ""))
    return bad, []


@rule
def leftovers():
    """No notes to ourselves, and nothing about the place where this was written."""
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b|/wo" r"rk/|sha" r"red/[A-Z]")
    return [f"{path.relative_to(ROOT)}:{number}: {found[0]}" for path in text_files()
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if (found := words.search(line))], []


# ---- Code --------------------------------------------------------------------

@rule
def function_length():
    """48 lines at most; the notes name those of more than 25."""
    every = [f for path in literate_paths() for f in functions(path)]
    longest = sorted(every, key=lambda f: -f.length)
    return ([f"{f.first}: {f.name}() has {f.length} lines" for f in longest if f.length > 48],
            [f"{f.first}: {f.name}() has {f.length} lines" for f in longest if f.length > 25])


@rule
def listing_length():
    """At most 40 lines of code between prose; the notes name those of more than 20."""
    bad, notes = [], []
    for path in literate_paths():
        block = []
        for line in lines(path) + [Line(path, 0, "//")]:
            if not line.prose:
                block += [line] if block or line.text else []
                continue
            while block and not block[-1].text:
                block.pop()
            if len(block) > 20:
                words = f"{block[0]}: {len(block)} lines of code without a word of prose"
                (bad if len(block) > 40 else notes).append(words)
            block = []
    return bad, notes


@rule
def no_configuration():
    """rustica.c has no #if, no static function, no comment with // in it."""
    bad = []
    for line in all_lines():
        if line.path.name == "rustica.c" and re.match(r"\s*#\s*(if|elif)", line.code):
            bad.append(f"{line}: no configuration in the text")
        if line.path.name in ("rustica.c", "efi_main.c") and re.match(r"static\b.*\(", line.code):
            bad.append(f"{line}: functions are not static here")
    return bad, []


@rule
def types():
    """The only typedefs are integers and addresses. The kernel says u8..u64, not
    unsigned char; programs may."""
    bad = []
    for line in all_lines():
        if match := re.match(r"typedef .*\b(\w+);", line.code):
            if not re.fullmatch(r"[us](8|16|32|64)|paddr|vaddr", match[1]) and "(" not in line.code:
                bad.append(f"{line}: a typedef of {match[1]}")
        elif line.path.parent.name != "user" and re.search(
                r"\bu?int(8|16|32|64)_t\b|\bunsigned (char|short|int|long)\b", line.code):
            bad.append(f"{line}: write u8..u64, s8..s64")
    return bad, []


@rule
def calls():
    """System calls have Linux's names and numbers, and programs say the names."""
    header = (ROOT / "rustica.h").read_text()
    known = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    numbers = {name.upper(): number
               for name, number in re.findall(r"#define __NR_(\w+) (\d+)", known)}
    bad = [f"SYS_{name} is {numbers.get(name, 'not known')} on Linux, not {number}"
           for name, number in re.findall(r"\bSYS_(\w+) = (\d+),", header)
           if number != numbers.get(name)]
    # Some calls are made because nobody knows them.
    bad += [f"{line}: a bare number" for line in all_lines()
            if (m := re.search(r"\bsyscall[36]\((\d+)", line.code)) and m[1] in numbers.values()
            or re.search(r"^    \{\d+, sys_", line.code)]
    return bad, []


@rule
def defined_once():
    """What stands in rustica.h stands nowhere else."""
    def macros(path):
        return {m[1]: line for line in lines(path)
                if (m := re.match(r"#define (\w+)", line.code))}

    def structures(path):
        return {m[0]: line for line in lines(path)
                if (m := re.match(r"(?:struct|union|enum) \w+(?= \{)", line.code))}
    bad = []
    for kind in macros, structures:
        shared = kind(ROOT / "rustica.h")
        for path in literate_paths()[1:]:
            bad += [f"{line}: {name} stands in rustica.h already"
                    for name, line in kind(path).items() if name in shared]
    return bad, []


@rule
def assembler():
    """Inline assembly stands in functions that are named after the instruction."""
    bad = []
    for path in literate_paths():
        if path.parent.name == "user":
            continue
        for f in functions(path):
            body = lines(path)[f.first.number - 1:f.last.number]
            if any("__asm__" in line.code for line in body) and \
                    not f.name.startswith(("cpu_", "provoke_", "mem")):
                bad.append(f"{f.first}: {f.name}() contains assembly")
    return bad, []


# ---- Chapters ----------------------------------------------------------------

def tokens(line):
    """The names that can only mean something of file scope, of which prefix builds
    are the proof for all others: tags, calls and macros."""
    return [name for names in re.findall(r"(?<![\w.>])(?:(?:struct|union|enum) (\w+)|(\w+)\(|"
                                         r"([A-Z][A-Z0-9_]+)\b)", line.code) for name in names]


@rule
def no_forward_names():
    """No line of a chapter names what only a later chapter defines, but for the type of
    a field whose comment says in which chapter it will be used."""
    path, bad = ROOT / "rustica.c", []
    first = {name: line.chapter or 0 for name, line in definitions(path).items()}
    for line in lines(path):
        for name in tokens(line):
            if f"chapter {first.get(name)}" in line.text:
                continue
            if first.get(name, 0) > (line.chapter or 0):
                bad.append(f"{line}: {name} is defined in chapter {first[name]}")
    return bad, []


@rule
def contracts():
    """What another chapter calls has a comment or a paragraph above; between may
    stand a declaration, but no other function."""
    path, bad = ROOT / "rustica.c", []
    if not path.exists():
        return bad, []
    home = {f.name: f for f in functions(path)      # these are known by their names
            if not re.match(r"ch\d\d_|cpu_|mem\w+$|strlen$", f.name)}
    ends = {f.last.number for f in home.values() if f.length > 1}
    called = collections.defaultdict(set)
    for line in lines(path):
        for name in tokens(line):
            if name in home and line.chapter != home[name].first.chapter:
                called[name].add(line.chapter)
    for name in called:
        above = home[name].first.number - 1
        while above > 0 and not is_comment(lines(path)[above - 1]) and above not in ends:
            above -= 1
        if above in ends:
            users = ", ".join(str(chapter) for chapter in sorted(called[name], key=str))
            bad.append(f"{home[name].first}: {name}(), called in chapter {users}, has no contract")
    return bad, []


def is_comment(line):
    return line.prose or line.text.endswith("*/") and not line.code.strip()


@rule
def names_in_prose():
    """Every `name()` in prose exists."""
    known = every_definition()
    for line in all_lines():            # the firmware's functions we only call
        known.update(re.findall(r"\b(\w+)\(", line.code))
        known.update(re.findall(r"->(\w+)", line.code))
    return [f"{line}: there is no {name}()" for line in all_lines() if line.prose
            for name in re.findall(r"`(?!ch\d\d_)(\w+)\(\)`", line.text) if name not in known], []


@rule
def last_return():
    """No loop without braces ends a function with a `return`: tcc 0.9.27 takes it for the
    function's end, where nothing is to be done, and goes on with the loop."""
    bad = []
    for path in literate_paths():
        code = lines(path)
        for f in functions(path):
            body = code[f.first.number - 1:f.last.number]
            loop = [line for line in body if re.match(r" {4}(while|for) \(", line.code)][-1:]
            if loop and re.match(r" {8,}return\b", body[-2].code) and not any(
                    re.match(r" {4}[^ ]", line.code) for line in body[loop[0].number -
                                                                     f.first.number + 1:-1]):
                bad.append(f"{body[-2]}: tcc forgets this return")
    return bad, []


@rule
def prefixes():
    """Only notes: by which prefixes the functions of each chapter go."""
    notes, seen = [], collections.defaultdict(collections.Counter)
    for f in functions(ROOT / "rustica.c"):
        seen[f.first.chapter][f.name.split("_")[0]] += 1
    for chapter, counter in seen.items():
        names = ", ".join(f"{prefix}_ {n}" for prefix, n in counter.most_common())
        notes.append(f"chapter {chapter}: {names}")
    return [], notes
