#!/usr/bin/env python3
"""Says which exercises are solved in this tree.

    tools/check.py [CC=tcc] [NAME or CHAPTER ...]

An exercise stands in rustica.c, its check in book/exercises/: NAME.py has a function
check(tree), or NAME.c is a program that includes the first chapters of rustica.c and runs
here. A check ends well, or raises Wrong with a sentence for the reader. It may look at all
that the kernel does and at nothing that another right answer might call differently. What
a kernel cannot show, the reader writes into answers.txt, in lines like `NAME.what: 42`.
"""

import importlib.util
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).absolute().parent.parent      # not where a link leads to
sys.path.append(str(ROOT / "tests"))
sys.modules.setdefault("check", sys.modules[__name__])      # by this name checks import us

import patience

EXERCISES = ROOT / "book" / "exercises"
JUDGED = (EXERCISES / "judged.h").read_text()
LIMIT = 30              # seconds for anything that should end

# On this machine time passes with the instructions, 32 nanoseconds for each, however busy the
# real one is.
STEADY = {"QFLAGS": "-icount shift=5,sleep=off"}
HOST = ("-std=gnu11 -w -O0 -fvisibility=hidden -no-pie "
        "-Wl,--unresolved-symbols=ignore-all").split()


class Wrong(Exception):
    """What is still wrong, in a sentence."""


def need(truth, sentence):
    if not truth:
        raise Wrong(sentence)


def plain(text):
    """Numbers of whatever base, and words, without what stands between them."""
    words = re.findall(r"[\w.+-]+", text.lower())
    return [str(int(word, 0)) if re.fullmatch(r"0x[0-9a-f]+|[1-9]\d*|0", word) else word
            for word in words]


class Exercise:
    def __init__(self, chapter, name, level):
        self.chapter, self.name, self.level = int(chapter), name, int(level)

    def function(self, name="check"):
        """The function that decides, or None. (Some files have a second one, `proof`, which the
        tests call: it does what the exercise says, and finds that the answers are true.)"""
        script, program = (EXERCISES / f"{self.name}.{kind}" for kind in ("py", "c"))
        if script.exists():
            spec = importlib.util.spec_from_file_location(self.name, script)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return getattr(module, name, None)
        return (lambda tree: tree.host(program)) if name == "check" and program.exists() else None


def exercises(root=ROOT):
    """All exercises, in the order of the book."""
    chapter, found = 0, []
    for line in (root / "rustica.c").read_text("ascii", "replace").splitlines():
        if title := re.match(r"// # Chapter (\d+)\.", line):
            chapter = title[1]
        elif block := re.match(r"// ::: \{#ex-([\w-]+) \.exercise level=(\d)\}", line):
            found.append(Exercise(chapter, *block.groups()))
    return found


class Tree:
    """The sources in a folder. What is built of them for checks lies in its build/check/."""

    def __init__(self, root=ROOT, cc="gcc"):
        self.root, self.cc = root, cc
        self.out = root / "build" / "check"
        self.out.mkdir(parents=True, exist_ok=True)

    def read(self, name):
        return (self.root / name).read_text("ascii", "replace")

    def prefix(self, chapter):
        """Chapters 1 to this one, and nothing else."""
        return re.split(rf"^// # Chapter {chapter + 1}\. ", self.read("rustica.c"), 1, re.M)[0]

    def answer(self, key, wanted):
        """What the reader has written into answers.txt."""
        path = self.root / "answers.txt"
        said = re.search(rf"^{re.escape(key)}:(.*)$", path.read_text() if path.exists() else "",
                         re.M)
        need(said and said[1].strip(),
             f"answers.txt, beside rustica.c, wants a line `{key}: ...`: {wanted}")
        return said[1].strip()

    def number(self, key, wanted):
        said = self.answer(key, wanted)
        try:
            return int(said, 0)
        except ValueError:
            raise Wrong(f"`{said}`, in answers.txt, is not a number; {key} is {wanted}")

    def ask(self, key, wanted, right, hint):
        """The answer must be this one, but for capitals, blanks, commas and parentheses."""
        said = self.answer(key, wanted)
        need(plain(said) == plain(right), f"{key} is not `{said}`: {hint}")

    def run(self, *command, stdin=None, seconds=LIMIT):
        """Returns how a command ended, None if it did not, and what it wrote."""
        child = subprocess.Popen([str(word) for word in command], cwd=self.root,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        output, _, ended = patience.communicate(child, seconds, (stdin or "").encode())
        text = output.decode("ascii", "backslashreplace").replace("\r", "")
        return (child.returncode if ended else None), text

    # ---- On the host ---------------------------------------------------------

    def host(self, program, *arguments):
        """Compiles and runs a program that includes check.h, and by it the chapters that its
        first line names. Returns what it prints; if it is not content, that is the sentence."""
        chapter = int(re.match(r"/\* chapters 1 to (\d+)", program.read_text())[1])
        flags = re.findall(r"^/\* flags: (.*) \*/", program.read_text(), re.M)
        folder = self.out / program.stem
        (folder / "tests" / "host").mkdir(parents=True, exist_ok=True)
        (folder / "rustica.c").write_text('#line 1 "rustica.c"\n' + self.prefix(chapter))
        shutil.copy(self.root / "rustica.h", folder)
        shutil.copy(ROOT / "tests" / "host" / "host.h", folder / "tests" / "host")
        status, text = self.run("gcc", *HOST, *" ".join(flags).split(), f"-I{EXERCISES}",
                                f"-I{folder}/tests/host", program, "-o", folder / "check")
        need(status == 0, f"chapters 1 to {chapter} do not compile:\n{text}")
        status, text = self.run(folder / "check", *arguments)
        need(status is not None, f"this does not end; it wrote\n{text[-1000:]}")
        need(status >= 0, f"what you wrote crashed on the host, by signal {-status}; "
                          f"before that it wrote\n{text[-1000:]}")
        need(status == 0, text.strip())
        return text

    def host_tests(self, name, chapter):
        """The host tests in tests/host/NAME.c, with chapters 1 to this one."""
        folder = self.out / f"host-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.root / "tests" / "host", folder / "tests" / "host")
        (folder / "rustica.c").write_text('#line 1 "rustica.c"\n' + self.prefix(chapter))
        shutil.copy(self.root / "rustica.h", folder)
        status, text = self.run("gcc", *HOST, folder / "tests" / "host" / f"{name}.c",
                                "-o", folder / "check", "-lcmocka")
        need(status == 0, f"chapters 1 to {chapter} do not compile:\n{text}")
        status, text = self.run(folder / "check")
        failed = re.findall(r"^\[  FAILED  \] (test_\w+)$", text, re.M)
        need(status == 0, f"`make test T=host/{name}` fails: "
                          f"{', '.join(dict.fromkeys(failed)) or status}")

    # ---- In the emulator -----------------------------------------------------

    def folder(self, chapter):
        return self.out / f"{self.cc}-ch{chapter:02}"

    def make(self, goal, chapter, settings, **how):
        folder = self.folder(chapter).relative_to(self.root)
        words = {"CH": chapter, "CC": self.cc, "B": folder, "LOG": folder / "debug.log", **settings}
        return self.run("make", goal, *(f"{name}={value}" for name, value in words.items()), **how)

    def build(self, chapter, **settings):
        """Builds chapters 1 to this one; returns the folder with what came of it."""
        status, text = self.make("all", chapter, settings, seconds=10 * LIMIT)
        need(status == 0, f"chapters 1 to {chapter} do not compile:\n{text}")
        return self.folder(chapter)

    def boot(self, chapter, typed="", seconds=LIMIT, **settings):
        """Boots chapters 1 to this one. Returns how the kernel ended, by the numbers of
        `make run`, and what was on its console."""
        if self.cc == "gcc":                # which takes its time
            self.build(chapter, **settings)
        status, text = self.make("run", chapter, settings, stdin=typed, seconds=seconds)
        begun = re.search(r"^Rustica\n", text, re.M)
        need(begun or status == 0 or "make run:" in text or status is None,
             f"chapters 1 to {chapter} do not compile:\n{text}")
        console = text[begun.start():] if begun else text
        need(status is not None, f"the kernel hangs (it was given {seconds} seconds of an "
                                 f"ordinary machine). The last it said is\n{console[-600:]}")
        ended = re.search(r"^make: \*\*\* .* Error (\d+)$", text, re.M)
        return int(ended[1]) if ended else status, re.sub(r"^make.*\n", "", console, flags=re.M)

    def boots(self, chapter, typed="", **settings):
        """The same; it has to end well."""
        status, text = self.boot(chapter, typed, **settings)
        need(status == 0, f"chapter {chapter} should end well, but its kernel ended with status "
                          f"{status}. The last it said is\n{text[-1500:]}")
        return text

    def judge(self, chapter, name, source, **settings):
        """Lets a program take the place of user/NAME.c, which the chapter runs. It says what is
        wrong, in a line that begins so (book/exercises/judged.h), or in the end CONTENT. Returns
        what was to be seen."""
        if not self.folder(chapter).exists():
            self.build(chapter)             # what the program does not change is made once
        content = f"content {random.randrange(1 << 30)}"
        source = source.replace("CONTENT", f'"{content}\\n"')
        changed = self.variant(name, {"user/judged.h": JUDGED, f"user/{name}.c": source})
        text = changed.boots(chapter, **settings)
        wrong = re.search(r"^wrong: (.*)$", text, re.M)
        need(not wrong, wrong and wrong[1])
        need(content in text, f"a program that tries it does not come to its end:\n{text[-1500:]}")
        return text

    def variant(self, name, files):
        """Another tree, like this one but for some files, which are given as {path: text}."""
        root = self.out / name
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.root, root, symlinks=True,
                        ignore=shutil.ignore_patterns("build", ".git", "figures"))
        for path, text in files.items():
            (root / path).write_text(text)
        (root / "build").mkdir()
        (root / "build" / "warm").symlink_to((self.root / "build" / "warm").resolve())
        for built in self.out.glob(self.cc + "-ch*"):
            shutil.copytree(built, root / "build" / "check" / built.name, symlinks=True)
        return Tree(root, self.cc)


# ---- Saying it ---------------------------------------------------------------

def state(exercise, tree):
    """"solved", or why not."""
    function = exercise.function()
    if not function:
        return "no check yet"
    try:
        function(tree)
    except Wrong as sentence:
        return f"not yet: {sentence}"
    return "solved"


def chosen(words, known):
    """The exercises that are meant by names and numbers of chapters."""
    found = [e for e in known if not words or e.name in words or str(e.chapter) in words]
    meant = {e.name for e in found} | {str(e.chapter) for e in found}
    for word in words:
        if word not in meant:
            sys.exit(f"make check: no exercise is called {word}. There are:\n" +
                     "".join(f"  {e.chapter:2}  {e.name}\n" for e in known).rstrip())
    return found


def main(arguments):
    settings = dict(word.split("=", 1) for word in arguments if "=" in word)
    words = [word for word in arguments if "=" not in word]
    tree, solved, unchecked = Tree(cc=settings.get("CC", "gcc")), 0, 0
    found = chosen(words, exercises())
    for e in found:
        if sys.stderr.isatty():
            print(f"... {e.name}", end="\r", file=sys.stderr, flush=True)
        said = state(e, tree)
        solved += said == "solved"
        unchecked += said == "no check yet"
        lines = said.splitlines() if len(found) == 1 else said.splitlines()[:1]
        print(f"{e.chapter:2}  {e.name:14}  level {e.level}  " + "\n    ".join(lines), flush=True)
    if len(found) > 1:
        print(f"{solved} of {len(found)} solved" +
              (f"; {unchecked} have no check yet" if unchecked else ""))
    return 0 if solved == len(found) else 1


if __name__ == "__main__":
    patience.inherit_nothing()
    sys.exit(main(sys.argv[1:]))
