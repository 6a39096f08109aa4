#!/usr/bin/env python3
"""Do the tests notice? Plants small changes in the kernel, one at a time, and runs what could
catch each, the quickest first.

    tests/mutants.py [N] [SEED]     plant N mutants (default 20) drawn by SEED (default 1)
    tests/mutants.py --report       say what is known so far

A mutant that a test fails with is killed; one that outlives them all is named with its line,
for somebody to explain or to write the test that is missing. What has been tried is kept in
build/mutants/results, so that a run goes on where an earlier one was stopped, and a larger N
goes on behind a smaller one; when the source has changed, all begins anew. Each processor has
a copy of the tree and a mutant at a time. What tcc refuses is no mutant.
"""

import concurrent.futures
import json
import os
import pathlib
import queue
import random
import re
import shutil
import subprocess
import sys
import zlib

import lint
import patience

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "mutants"
RESULTS = OUT / "results"
FILES = "rustica.c", "efi_main.c"

# Which host tests know a chapter; what tries all of it. By tcc, as it is the quicker one.
HOST = {0: [], 1: ["boot", "chapters", "record"], 2: ["zones", "chapters"], 3: ["pmm", "chapters"],
        4: ["heap", "chapters"], 5: ["vmo", "chapters"], 6: ["elf", "chapters"],
        7: ["user", "record", "chapters"], 8: ["record", "system"], 9: ["record", "system"],
        10: ["system"], 11: ["record", "system"], 12: ["system"],
        13: ["system"], 14: ["system"]}
MORE = {0: ["machine/screen-only", "machine/no-nx", "machine/five-levels-tcc", "machine/96M"],
        2: ["machine/counters-96M"], 11: ["gdb/screen-and-keyboard", "machine/screen-only"]}
WHOLE = [["programs/edges-tcc", "programs/files-tcc", "programs/family-tcc"],
         ["programs/rustica-tcc", "programs/terminal-tcc", "programs/fed-tcc", "abuse/audit-tcc"],
         ["abuse/fuzz-tcc", "session/terminal-tcc", "panic/", "wrong/option"]]


# ---- Changing something ----------------------------------------------------------

SWAPS = [("<=", "<"), (">=", ">"), ("==", "!="), ("!=", "=="), ("&&", "||"), ("||", "&&"),
         (" < ", " <= "), (" > ", " >= "), (" + ", " - "), (" - ", " + "), (" & ", " | "),
         (" | ", " & "), ("|=", "&="), ("&= ~", "|= "), ("+=", "-="), ("-=", "+="),
         ("++", "--"), ("--", "++"), ("true", "false"), ("false", "true"), ("(!", "("),
         (" << ", " >> "), (" >> ", " << "), (" % ", " / "), ("break;", ";"), ("continue;", ";")]


def changes(line):
    """All that can be done to a line: [(what, the line with it done)]."""
    found = []
    for old, new in SWAPS:
        for at in (m.start() for m in re.finditer(re.escape(old), line)):
            found.append((f"{old.strip()} becomes {new.strip() or 'nothing'}",
                          line[:at] + new + line[at + len(old):]))
    for number in re.finditer(r"(?<![\w.'])(0|[1-9]\d*)(?![\w.'])", line):
        other = str(int(number[1]) + 1)
        found.append((f"{number[1]} becomes {other}",
                      line[:number.start()] + other + line[number.end():]))
    if condition := re.match(r"( *)(if|while) \((.*)\)( \{)?$", line):
        if condition[2] == "if":
            found.append(("the condition is turned round",
                          f"{condition[1]}if (!({condition[3]})){condition[4] or ''}"))
            found.append(("the condition is dropped",
                          f"{condition[1]}if (1){condition[4] or ''}"))
    if arguments := re.search(r"\((\w+), (\w+)\)", line):
        found.append(("two arguments change places", line[:arguments.start()] +
                      f"({arguments[2]}, {arguments[1]})" + line[arguments.end():]))
    if re.match(r" +(?!return|break|continue|case|default|goto)[\w*(][^{}]*;$", line) and \
            not re.match(r" +(const|static|struct|u\d+|s\d+|int|char|bool|vaddr|paddr) ", line):
        found.append(("the statement is dropped", re.match(" +", line)[0] + ";"))
    return found


def places():
    """(file, line number, chapter) of all code in functions; the prologue is chapter 0."""
    for name in FILES:
        inside = False
        for line in lint.lines(ROOT / name):
            if line.prose or line.text.startswith("}"):
                inside = False
            elif line.text == "{":
                inside = True
            elif inside and line.code.strip() and "__asm__" not in line.code and \
                    '"' not in line.text and changes(line.text):
                yield name, line.number, line.chapter or 0


def draw(count, seed):
    """The first `count` mutants: {id, file, line, chapter, what, text}. Each chapter has as
    many as any other, for the short ones matter as much."""
    chance = random.Random(seed)
    chapters = {}
    for place in places():
        chapters.setdefault(place[2], []).append(place)
    sources = {name: (ROOT / name).read_text().split("\n") for name in FILES}
    version = zlib.crc32(repr(sources).encode())
    for number in range(count):
        chapter = sorted(chapters)[number % len(chapters)]
        name, line, _ = chance.choice(chapters[chapter])
        what, text = chance.choice(changes(sources[name][line - 1]))
        yield {"id": f"{version:08x}:{seed}:{number}", "file": name, "line": line,
               "chapter": chapter, "what": what, "was": sources[name][line - 1].strip(),
               "text": text}


# ---- Trying it -------------------------------------------------------------------

def stages(mutant):
    last = max(HOST)
    boots = [f"boot/ch{max(mutant['chapter'], 1):02}-tcc"]
    yield boots + [f"boot/ch{last:02}-tcc"] * (mutant["chapter"] != last)
    if mutant["chapter"] >= 7:
        yield from WHOLE[:2]
    if HOST[mutant["chapter"]]:
        yield [f"host/{name}" for name in HOST[mutant["chapter"]]]
    if mutant["chapter"] in MORE:
        yield MORE[mutant["chapter"]]
    yield WHOLE[2]
    if mutant["chapter"] < 7:
        yield WHOLE[0]


def make_tree(number):
    """A copy of the tree, which is built once; the machine's snapshots are shared."""
    tree = OUT / f"tree-{number}"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns("build", ".git"))
    (tree / "build").mkdir()
    (ROOT / "build" / "warm").mkdir(parents=True, exist_ok=True)
    (tree / "build" / "warm").symlink_to(ROOT / "build" / "warm")
    return tree


def fails(tree, words):
    """The first test that fails, None if none does. A mutant may hang: so each has its time."""
    child = subprocess.Popen([sys.executable, "tests/run.py", *words], cwd=tree, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, start_new_session=True,
                             env={**os.environ, "RUSTICA_SLOW": "0.5"})
    text, _, ended = patience.communicate(child, 400)
    if not ended:
        return words[0] + " (no end)"
    failed = re.search(r"^failed: (\S+)", text, re.M)
    return failed[1] if failed else None if child.returncode == 0 else words[0]


def compiles(tree):
    return subprocess.run(["make", "CC=tcc"], cwd=tree, stdin=subprocess.DEVNULL,
                          capture_output=True).returncode == 0


def attempt(mutant, tree):
    """The test that a mutant fails with, "" if it is none, None if it outlives all tests."""
    source = tree / mutant["file"]
    good = (ROOT / mutant["file"]).read_text()
    lines = good.split("\n")
    lines[mutant["line"] - 1] = mutant["text"]
    source.write_text("\n".join(lines))
    try:
        if not compiles(tree):
            return ""
        for words in stages(mutant):
            if killer := fails(tree, words):
                return killer
        return None
    finally:
        source.write_text(good)


# ---- Keeping the books -----------------------------------------------------------

def known():
    if not RESULTS.exists():
        return {}
    return {m["id"]: m for m in map(json.loads, RESULTS.read_text().splitlines())}


def say(mutant):
    if mutant["killer"] == "":
        return
    fate = f"killed by {mutant['killer']}" if mutant["killer"] else "OUTLIVES ALL TESTS"
    print(f"{mutant['file']}:{mutant['line']}: {mutant['what']}: {fate}")
    if not mutant["killer"]:
        print(f"    {mutant['was']}\n    {mutant['text'].strip()}")
    sys.stdout.flush()


def report(mutants):
    mutants = [m for m in mutants if m["killer"] != ""]
    print(f"{'chapter':>8} {'mutants':>8} {'killed':>8}")
    for chapter in sorted({m["chapter"] for m in mutants}):
        fates = [bool(m["killer"]) for m in mutants if m["chapter"] == chapter]
        print(f"{chapter or 'prologue':>8} {len(fates):8} {sum(fates):8} "
              f"{100 * sum(fates) // len(fates):3} %")
    killed = sum(bool(m["killer"]) for m in mutants)
    print(f"{'all':>8} {len(mutants):8} {killed:8} {100 * killed // max(len(mutants), 1):3} %")


def main(words):
    if words[:1] == ["--report"]:
        report(list(known().values()))
        return 0
    if words[:1] in (["-h"], ["--help"]) or not all(word.isdigit() for word in words):
        print(__doc__)
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    count, seed = (int(word) for word in (words + ["20", "1"][len(words):])[:2])
    OUT.mkdir(parents=True, exist_ok=True)
    before = known()
    mutants = list(draw(count, seed))
    trees = queue.Queue()
    print(f"mutants: {count} of seed {seed}; {sum(m['id'] in before for m in mutants)} known")
    for number in range(patience.PROCESSORS):
        tree = make_tree(number)
        first = fails(tree, [w for words in WHOLE[:1] for w in words] + ["boot/ch01-tcc"])
        if first:
            print(f"mutants: even without a mutant, {first} fails", file=sys.stderr)
            return 1
        trees.put(tree)

    def one(mutant):
        tree = trees.get()
        try:
            mutant["killer"] = attempt(mutant, tree)
        finally:
            trees.put(tree)
        return mutant

    with concurrent.futures.ThreadPoolExecutor(patience.PROCESSORS) as pool:
        todo = [pool.submit(one, m) for m in mutants if m["id"] not in before]
        for done in concurrent.futures.as_completed(todo):
            with RESULTS.open("a") as results:
                results.write(json.dumps(done.result()) + "\n")
            say(done.result())
    after = known()
    report([after[m["id"]] for m in mutants])
    return 0


if __name__ == "__main__":
    patience.inherit_nothing()
    sys.exit(main(sys.argv[1:]))
