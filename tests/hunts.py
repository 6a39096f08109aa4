"""Tests of the bug hunts: each patch in book/hunts/ fits, the bug shows the symptom that its
page tells of, the GDB session finds the cause, and some other test would have found the bug.

Each hunt counts as four tests, and as five if there is a session that goes backwards, too.
"""

import collections
import difflib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from patience import Patience, SLOW

ROOT = pathlib.Path(__file__).resolve().parent.parent
HUNTS = ROOT / "book" / "hunts"
LIMIT = 120

# How make ends, what the planted kernel says, and which test catches it: a chapter's
# transcript, or a program in tests/host/ and its test.
EXPECTED = {
    "one-page": (3, r"^pmm:    \d{5} frames free\n.*\n\n\*\*\* panic at .*: memory$",
                 "boot/ch03-gcc"),
    "heap-hang": ("hangs", r"^heap: empty: .*$", "boot/ch04-gcc"),
    "vmo3": (3, r"^\*\*\* exception 13, #GP.*\n.* vmo_(?:slice|show_clone)\+"
                r"(?s:.*) deadbeefdeadbeef",
             "boot/ch05-gcc"),
    "vmo3-true": (0, r"^vmo: page 0 of number 3 is present\n.*\n"
                     r"vmo: page 0 of number 3 is MISSING$", "host/heap/test_shadow"),
    "pheader": (3, r"^\*\*\* panic at .*: assertion failed: file && elf_check", "boot/ch06-gcc"),
    "big-page": (3, r"^user: running hello\n\n\*\*\* panic at .*: frame 0x400000 is free, not used",
                 "boot/ch07-gcc"),
    "dpl0": (0, r"^user: hello killed at 0x\w+ by #GP general protection$", "boot/ch07-gcc"),
    "pointers": (0, r"MZ.*calls: write from the kernel's memory: 10$", "boot/ch08-gcc"),
}

# What the session must have come to see, whatever else it shows.
PROOF = {
    "one-page": r"^\$\d+ = 0xffffffffffffffff$",
    "heap-hang": r"the list bites its tail at (0x\w+)$(?s:.*)^Breakpoint \d+, heap_insert .*b=\1",
    "vmo3": r"^New value = 16045690984833335023\n(?s:.*) vmo_take \(\)",
    "vmo3-true": r"^New value = 0\n(?s:.*)^\d+ +f->next = NULL;$",
    "pheader": r"= ELF_FILE_LARGER$",
    "big-page": r"^level 2, .* page at 0x400000, writable, kernel only",
    "dpl0": r"gate to .*, DPL 0,(?s:.*)^Hello from userspace!$",
    "pointers": r'^\$\d+ = "MZ"$',
}

# Likewise the session NAME-back.gdb, if the cause lies before the symptom.
PROOF_BACK = {
    "one-page": r"^word = 0\n(?s:.*)^\$\d+ = 0xffffffffffffffff$",
    "heap-hang": r"the list bites its tail at (0x\w+)$(?s:.*)heap_merge (?s:.*)before->size \+= ",
    "vmo3": r"^New value = 16045690984833335023\n(?s:.*) vmo_take \(\)",
    "vmo3-true": r"^New value = 0\n#0 .*heap_remove (?s:.*)^\d+ +f->next = NULL;$",
    "pheader": r"^New value = 4194304\n(?s:.*)^elf_parse \(",
    "dpl0": r"DPL 0, (?s:.*)^New value = 142 .*\n#0 .* cpu_init_traps \(",
}


def hunt(name, filtered, t):
    """The tests of one hunt."""
    results, text = [], ""
    steps = [("applies", applies), ("symptom", symptom), ("session", session)]
    if name in PROOF_BACK:
        steps.append(("backwards", backwards))
    for what, step in [*steps, ("caught", caught)]:
        complaint = ""
        try:
            text = step(name, filtered, t, text) or text
        except Exception as failure:        # the next step needs this one
            complaint = f"{failure}"
        results.append((f"{t.name}/{what}", complaint))
        if complaint and what not in ("session", "backwards"):
            break
    return results


def applies(name, filtered, t, _):
    t.check(name in EXPECTED, f"tests/hunts.py does not know what {name} should do")
    for end in ".md", ".gdb", ".txt", *["-back.gdb", "-back.txt"] * (name in PROOF_BACK):
        t.check((HUNTS / (name + end)).exists(), f"book/hunts/{name}{end} is missing")
    status, text = t.run("make", "hunt-tree", f"HUNT={name}")
    t.check(status == 0, f"the bug must be planted anew in the present source:\n{text}")
    t.check("so it stays" not in text, text)


def symptom(name, filtered, t, _):
    ending, pattern, _ = EXPECTED[name]
    command = ["make", "hunt", f"BUG={name}"]
    if ending == "hangs":
        text = hanging(command, pattern, t)
    else:
        status, text = t.run(*command)
        t.check(status == (2 if ending else 0) and (not ending or f"Error {ending}" in text),
                f"make hunt should end with status {ending}:\n{text}")
    t.expect(pattern, text)
    return text.replace("\r", "")


def hanging(command, pattern, t):
    """Starts what says this and then no more, and ends it."""
    log = t.dir / "console"
    with open(log, "wb") as output:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, start_new_session=True)
    try:
        patience = Patience(LIMIT)
        while not re.search(pattern, log.read_text(), re.M):
            t.check(not patience.over() and child.poll() is None,
                    f"never said {pattern}:\n{log.read_text()}")
            time.sleep(0.1)
        said = log.read_text()
        time.sleep(4 * SLOW)            # which proves nothing, but would be time enough
        t.check(child.poll() is None, f"it should hang, but it has ended:\n{log.read_text()}")
        t.same_text(said, log.read_text())
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return said


def play(name, t, back=""):
    """The session's transcript, from its first line on."""
    status, text = t.run("make", "gdb", f"HUNT={name}", f"PLAY=book/hunts/{name}{back}.gdb",
                         *["BACK=1"] * bool(back))
    t.check(status == 0 and "\n# " in text, f"make gdb: status {status}\n{text}")
    text = text[text.index("\n# ") + 1:].rstrip()
    return "".join(line.expandtabs().rstrip() + "\n" for line in text.splitlines())


def session(name, filtered, t, _, back="", proof=PROOF):
    text, golden = play(name, t, back), HUNTS / f"{name}{back}.txt"
    if comparable(golden.read_text(), filtered) != comparable(text, filtered):
        text = play(name, t, back)  # as in gdb.py
    (t.dir / f"session{back}.txt").write_text(text)
    t.expect(proof[name], text)
    try:
        t.same_text(comparable(golden.read_text(), filtered), comparable(text, filtered))
    except Exception as difference:
        t.check(False, f"If this still finds the cause, `make golden T=hunts`:\n{difference}")


def backwards(name, filtered, t, _):
    session(name, filtered, t, _, "-back", PROOF_BACK)


def comparable(text, filtered):
    """Without what the filter leaves that is not the same in each build, or each time: where
    ^C hits, what calls a panic lists, registers, the map of frames."""
    for pattern, instead in (
            (r"(Program received signal SIGINT).*?\n(?=#)", r"\1\n"),
            (r"^  0x\w+  \S+\+0x\w+\n", ""), (r"^  0x\w+ \|.*\|\n", ""),
            (r"^  (r..?|rflags) +[0-9a-f]+ .*\n", ""), (r"^#\d+", "#"),
            (r"error code 0x\w+", "error code"), (r"\+0x\w+", "")):
        text = re.sub(pattern, instead, text, flags=re.M | (re.S if "SIGINT" in pattern else 0))
    return filtered(text)


def caught(name, filtered, t, text):
    """The transcript differs, or the test fails."""
    complaint = objection(name, filtered, t, text, ROOT / "build" / "hunts" / name)
    t.check(complaint, f"{EXPECTED[name][2]} is content:\n{text}")


def objection(name, filtered, t, text, tree):
    """What the test that catches this bug has against a tree, and what its kernel prints."""
    group, file, *test = EXPECTED[name][2].split("/")
    if group == "boot":
        golden = (ROOT / "tests" / "golden" / (file.removesuffix("-gcc") + ".txt")).read_text()
        kernel = text[text.find("Rustica\n"):]
        said = filtered("".join(line + "\n" for line in kernel.splitlines()
                                if not line.startswith("make")))
        return "" if filtered(golden) == said else \
            "it does not say what this chapter should:\n" + "\n".join(difflib.unified_diff(
                filtered(golden).splitlines(), said.splitlines(), "expected", "got", "", "", 1, ""))
    copy = t.dir / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "tests" / "host", copy / "tests" / "host")
    for header in "rustica.c", "rustica.h":
        shutil.copy(tree / header, copy)
    source = copy / "tests" / "host" / f"{file}.c"
    flags = re.findall(r"^/\* host-cflags: (.*) \*/", source.read_text(), re.M)
    status, said = t.run("gcc", "-std=gnu11", "-g", "-O1", "-w", "-fsanitize=address,undefined",
                         "-fno-sanitize-recover=all", *" ".join(flags).split(), source,
                         "-o", t.dir / file, "-lcmocka")
    t.check(status == 0, said)
    status, said = t.run(t.dir / file, env={"CMOCKA_MESSAGE_OUTPUT": "STDOUT"})
    return "" if re.search(rf"^\[ +OK \] {test[0]}$", said, re.M) else \
        f"the test {test[0]} in tests/host/{file}.c fails"


# ---- Is it fixed? ----------------------------------------------------------------

CHECKS = re.compile(r"\b(?:assert|panic)\(.*?\);", re.S)
CHECKING = re.compile(r"^\w[^\n;=]*?\b(\w*(?:audit|check)\w*)\([^;{]*\)\n\{\n.*?^\}",
                      re.M | re.S)


def code(path):
    return "".join(line for line in path.read_text().splitlines(keepends=True)
                   if not line.startswith("//"))


def loosened(tree):
    """Assertions that have gone, and functions that check and have been changed, although the
    bug was not in them."""
    for file in "rustica.c", "rustica.h", "efi_main.c":
        right, planted, mended = (code(folder / file) for folder in (ROOT, tree / ".planted", tree))
        count = [collections.Counter(" ".join(each.split()) for each in CHECKS.findall(text))
                 for text in (right, planted, mended)]
        for gone in (count[0] & count[1]) - count[2]:
            yield f"this check has gone from {file}: {gone}"
        bodies = [{found[1]: found[0] for found in CHECKING.finditer(text)}
                  for text in (right, planted, mended)]
        for name, body in bodies[1].items():
            if bodies[0].get(name) == body != bodies[2].get(name):
                yield f"{name}() checks, had no bug, and has been changed"


def complaints(name, tree, filtered, t):
    """What is still wrong, after somebody has mended it."""
    if not (tree / ".planted").exists():
        return [f"nothing has been planted yet: make hunt BUG={name}"]
    if all((tree / ".planted" / path.relative_to(tree)).read_bytes() == path.read_bytes()
           for path in (tree / "rustica.c", tree / "rustica.h", tree / "efi_main.c",
                        *(p for p in (tree / "user").rglob("*") if p.is_file()))):
        return [f"nothing has been changed yet in {os.path.relpath(tree, ROOT)}"]
    wrong = list(loosened(tree))
    try:
        status, text = t.run("make", "hunt", f"BUG={name}",
                             f"planted={os.path.relpath(tree, ROOT)}")
    except Exception as hang:
        return wrong + [str(hang)]
    text = text.replace("\r", "")
    kernel = text[text.find("\nRustica\n") + 1:]
    if "\nRustica\n" not in text:
        return wrong + [f"it does not boot:\n{text[-1000:]}"]
    if status:
        wrong.append("it does not end as it should; the last it says is\n" + kernel[-1000:].strip())
    if EXPECTED[name][0] != "hangs" and re.search(EXPECTED[name][1], kernel, re.M):
        wrong.append("the symptom is still there")
    if complaint := objection(name, filtered, t, kernel, tree):
        wrong.append(complaint)
    return wrong


def verdict(name, tree, filtered, t):
    """Says whether it is fixed, and what was looked at; returns make's status."""
    wrong = complaints(name, ROOT / tree, filtered, t)
    for each in wrong:
        print(f"hunt {name}: {each}")
    print(f"hunt {name}: " + ("not fixed" if wrong else "fixed: the symptom is gone, "
          f"{EXPECTED[name][2]} is content, and every assertion and check is still there"))
    return 1 if wrong else 0


def mended(filtered, t):
    """What somebody changes in a hunt's tree stays, and is judged."""
    tree, words = t.dir / "tree", ("BUG=one-page", f"planted={(t.dir / 'tree').relative_to(ROOT)}")

    def judge(status, *sentences):
        got, text = t.run("make", "hunt", *words, "CHECK=1")
        t.check((got == 0) == (status == 0), text)
        for sentence in sentences:
            t.expect("^hunt one-page: " + sentence, text)

    t.check(t.run("make", "hunt-tree", *words)[0] == 0, t.log())
    planted, right = (tree / "rustica.c").read_text(), (ROOT / "rustica.c").read_text()
    judge(1, "nothing has been changed yet", "not fixed$")
    (tree / "rustica.c").write_text(planted + "\n")
    status, text = t.run("make", "hunt-tree", *words)
    t.expect("so it stays", text)
    t.check((tree / "rustica.c").read_text() == planted + "\n", "a change has been overwritten")
    judge(1, "it does not end as it should", "the symptom is still there", "not fixed$")
    (tree / "rustica.c").write_text(right)
    judge(0, "fixed: the symptom is gone")
    check = CHECKS.search(right, right.index("void pmm_"))[0]
    (tree / "rustica.c").write_text(right.replace(check, "", 1))
    judge(1, "this check has gone from rustica.c: ", "not fixed$")
    t.check(t.run("make", "hunt-tree", *words, "FRESH=1")[0] == 0, t.log())
    t.check((tree / "rustica.c").read_text() == planted, "FRESH=1 does not plant anew")


def listed(t):
    """`make hunt` lists them all, also if asked for one that there is not, and gives hints."""
    titles = {path.stem: path.read_text().splitlines()[0][2:] for path in HUNTS.glob("*.md")}
    t.check(set(titles) == set(EXPECTED) == {path.stem for path in HUNTS.glob("*.patch")},
            f"patches, pages and tests are not about the same hunts: {titles}")
    nothing = t.run("make", "hunt", "BUG=nothing"), t.run("make", "gdb", "HUNT=nothing"), \
        t.run("make", "hunt", "BUG=nothing", "HINT=1")
    for status, text in nothing:
        t.check(status != 0, text)
        t.expect("no hunt is called nothing", text)
    for text in t.make("hunt"), *(text for _, text in nothing):
        for name, title in titles.items():
            t.check(title.startswith(name + ": "), f"{name}.md has the title {title}")
            t.expect(f"^  {re.escape(title)}$", text)
    for name in titles:
        hints = re.findall(r"^## Hint \d\n\n(.*?)\n\n(?=## )", (HUNTS / f"{name}.md").read_text(),
                           re.M | re.S)
        t.check(len(hints) >= 3, f"{name} has {len(hints)} hints")
        for n, hint in enumerate(hints, 1):
            t.same_text(hint + "\n", t.make("hunt", BUG=name, HINT=str(n)))
        t.expect(f"^There are {len(hints)} hints", t.make("hunt", BUG=name, HINT="99"))
