"""Tests of the bug hunts: each patch in book/hunts/ fits, the bug shows the symptom that its
page tells of, the GDB session finds the cause, and some other test would have found the bug.

Each hunt counts as four tests.
"""

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
    "vmo3": (3, r"^\*\*\* exception 13, #GP.*\n.* vmo_slice\+(?s:.*) deadbeefdeadbeef",
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


def hunt(name, filtered, t):
    """The four tests of one hunt."""
    results, text = [], ""
    for what, step in ("applies", applies), ("symptom", symptom), ("session", session), \
            ("caught", caught):
        complaint = ""
        try:
            text = step(name, filtered, t, text) or text
        except Exception as failure:        # the next step needs this one
            complaint = f"{failure}"
        results.append((f"{t.name}/{what}", complaint))
        if complaint and what != "session":
            break
    return results


def applies(name, filtered, t, _):
    t.check(name in EXPECTED, f"tests/hunts.py does not know what {name} should do")
    for kind in "md", "gdb", "txt":
        t.check((HUNTS / f"{name}.{kind}").exists(), f"book/hunts/{name}.{kind} is missing")
    status, text = t.run("make", "hunt-tree", f"HUNT={name}")
    t.check(status == 0, f"the bug must be planted anew in the present source:\n{text}")


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


def play(name, t):
    """The session's transcript, from its first line on."""
    status, text = t.run("make", "gdb", f"HUNT={name}", f"PLAY=book/hunts/{name}.gdb")
    t.check(status == 0 and "\n# " in text, f"make gdb: status {status}\n{text}")
    text = text[text.index("\n# ") + 1:].rstrip()
    return "".join(line.expandtabs().rstrip() + "\n" for line in text.splitlines())


def session(name, filtered, t, _):
    text, golden = play(name, t), HUNTS / f"{name}.txt"
    (t.dir / "session.txt").write_text(text)
    t.expect(PROOF[name], text)
    try:
        t.same_text(comparable(golden.read_text(), filtered), comparable(text, filtered))
    except Exception as difference:
        t.check(False, f"If this still finds the cause, `make golden T=hunts`:\n{difference}")


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
    catcher = EXPECTED[name][2]
    group, file, *test = catcher.split("/")
    if group == "boot":
        golden = (ROOT / "tests" / "golden" / (file.removesuffix("-gcc") + ".txt")).read_text()
        kernel = text[text.index("Rustica\n"):]
        said = filtered("".join(line + "\n" for line in kernel.splitlines()
                                if not line.startswith("make")))
        t.check(filtered(golden) != said, f"{catcher} is content:\n{said}")
        return
    tree = t.dir / "tree"
    shutil.copytree(ROOT / "tests" / "host", tree / "tests" / "host")
    for header in "rustica.c", "rustica.h":
        shutil.copy(ROOT / "build" / "hunts" / name / header, tree)
    source = tree / "tests" / "host" / f"{file}.c"
    flags = re.findall(r"^/\* host-cflags: (.*) \*/", source.read_text(), re.M)
    status, said = t.run("gcc", "-std=gnu11", "-g", "-O1", "-w", "-fsanitize=address,undefined",
                         "-fno-sanitize-recover=all", *" ".join(flags).split(), source,
                         "-o", t.dir / file, "-lcmocka")
    t.check(status == 0, said)
    status, said = t.run(t.dir / file, env={"CMOCKA_MESSAGE_OUTPUT": "STDOUT"})
    t.check(not re.search(rf"^\[ +OK \] {test[0]}$", said, re.M), f"{catcher} is content:\n{said}")


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
