"""Walks: the recordings in book/walks/ are what the kernel does, and the pages step through
them.

What a walk is says book/walks.py; it is recorded in the debugger, by book/record.py.
"""

import json
import pathlib
import re
import sys

import book
import gdb

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "book"))

import walks

TEXT = (ROOT / "rustica.c").read_text().splitlines()
MARKS = walks.marks(TEXT)


def recording(t, mark):
    """Records a walk; returns the text."""
    place = f"rustica.c:{mark.line}: walk-{mark.name}"
    plan, out, script = (t.dir / name for name in ("plan.json", "recorded", "session"))
    t.check(not mark.problems, f"{place}: {'; '.join(mark.problems)}")
    plan.write_text(json.dumps({**mark.plan, "out": str(out), "head": mark.head()}))
    script.write_text(f"source book/record.py\npython record({str(plan)!r})\n")
    said = gdb.play(t, mark.chapter, script.relative_to(ROOT),
                    OPT=" ".join(mark.plan["with"]))
    wrong = re.search(r"^walk: WRONG: (.*)", said, re.M)
    t.check(not wrong, f"{place}: {wrong and wrong[1]}")
    t.check(out.exists(), f"{place}: nothing was recorded\n{said}")
    return out.read_text()


def replay(filtered, mark, t):
    """A walk goes where the book shows it, with the same values. Another compiler has other
    lines: then it goes through the same functions, and ends with the same picture."""
    path = ROOT / mark.file()
    text = recording(t, mark)
    t.check(path.exists(), f"{path} is missing: make golden T=walk-{mark.name}")
    golden = path.read_text()
    one, other = (json.loads(each.split("\n")[0]) for each in (golden, text))
    t.check(one["plan"] == other["plan"], f"rustica.c:{mark.line}: this is not what was recorded")
    if one["compiler"] == other["compiler"]:
        t.same_text(filtered(golden), filtered(text))
    else:
        t.same_text(*map(calls, (golden, text)))


def calls(text):
    steps = walks.decoded(text.splitlines()[1:])
    stacks = [step["stack"] for step in steps]
    found = [now for now, before in zip(stacks, [None, *stacks]) if now != before]
    return "\n".join([*found, json.dumps(steps[-1]["draw"], indent=1)])


# ---- Marks that are wrong --------------------------------------------------------

WRONG = {
    "from vmo_shrink": "from vmo_shrink: this kernel has no function vmo_shrink",
    "from vmo_decommit": "vmo_decommit is never reached",
    "from vmo_clone if offset +": "`if offset \\+` is no condition",
    "from vmo_clone\nshow size, size +": "`size \\+` is no expression",
    "from vmo_clone\nshow nothing->size": "show nothing->size: it has no value at any step",
    "from vmo_clone\ndraw nonsense": "draw nonsense: there is no nonsense, but",
    "type nobody reads\nfrom vmo_clone": "type: this kernel has no function tty_read",
    "from ch05_main\ninto *": "there are more than \\d+ steps",
}


def mistakes(t):
    """What the debugger finds out about a mark it says, with the mark's line."""
    for text, why in WRONG.items():
        mark = walks.Mark("wrong", 4711, 5)
        for line in text.split("\n"):
            mark.add(line)
        try:
            recording(t, mark)
        except Exception as failure:
            t.expect(f"^rustica.c:4711: walk-wrong: {why}", str(failure))
        else:
            t.check(False, f"this was recorded:\n{text}")


# ---- In the page ------------------------------------------------------------------

MOST = 300_000                  # bytes of a page's walks

STATE = """
    function state(p) {
        return [p.lines, p.picture, p.stack, p.table, p.count].map(
            (e) => e ? e.outerHTML.replace(/ scrollTop="[^"]*"/, "") : "").join("\\n");
    }
    function through(p) {
        const buttons = { 1: p.forth, [-1]: p.back }, there = [state(p)], back = [];
        const last = p.steps.length - 1;
        for (let n = 0; n < last; n++) { buttons[1].click(); there.push(state(p)); }
        const end = p.count.textContent;
        buttons[1].click();
        for (let n = 0; n <= last; n++) { back.unshift(state(p)); buttons[-1].click(); }
        return [p.steps.length, there.length, back.length, end,
                there.findIndex((s, n) => s !== back[n]), new Set(there).size];
    }"""


def pages_with_walks(t):
    every = book.pages(t)
    found = {name: re.findall(r'<figure class="walk" id="([\w-]+)"', text)
             for name, text in every.items()}
    return {name: ids for name, ids in found.items() if ids}


@book.test("walks", "chromium")
def stepping(t):
    """Forward to the end and back, every step looks the same; keys, slider and play work; on
    a telephone nothing is wider than the window; and without scripts three steps stand there."""
    with_walks = pages_with_walks(t)
    t.check(sum(map(len, with_walks.values())) == len(MARKS), str(with_walks))
    with book.Browser(t) as b:
        for name, ids in with_walks.items():
            size = (book.PAGES / name.replace(".html", ".walks.js")).stat().st_size
            t.check(size < MOST, f"the walks of {name} have {size} bytes")
            for width in 1280, 390:
                b.go(name, width=width)
                for id in ids:
                    begin(b, id)
                    t.check(b.js("document.documentElement.scrollWidth <= innerWidth"),
                            f"{name} is wider than {width} pixels with {id}")
                    b.picture(f"{id}-{width}")
            for id in ids:
                step_through(t, b, id)
        keys(t, b, *next(iter(with_walks.items())))
        b("Emulation.setScriptExecutionDisabled", value=True)
        name, ids = next(iter(with_walks.items()))
        b.go(name)
        b.picture("without-scripts")
        shown = b.js(f"getComputedStyle(document.querySelector('#{ids[0]} .stills')).display")
        t.check(shown == "block", "without scripts three steps should be shown")


def begin(b, id):
    b.js(f"document.getElementById('{id}').scrollIntoView({{behavior: 'instant'}})")
    b.wait(f"!!document.getElementById('{id}').player")
    b.js(f"var p = document.getElementById('{id}').player; 0")


def step_through(t, b, id):
    begin(b, id)
    steps, there, back, end, differs, kinds = b.js(f"(() => {{ {STATE}; return through(p); }})()")
    t.check(steps == there == back and end == f"{steps} of {steps}",
            f"{id}: {there} of {steps} {end}")
    t.check(differs == -1, f"{id}: step {differs} is another on the way back")
    t.check(kinds == steps, f"{id}: {steps} steps look like {kinds}")
    hidden = b.js("getComputedStyle($('.stills', p.figure)).display")
    t.check(hidden == "none", f"{id}: the three steps are still there")


def keys(t, b, name, ids):
    """What can be done without a pointer, and what is said about it."""
    b.go(name)
    begin(b, ids[0])
    b.js("p.lines.focus()")

    def press(key):
        for kind in "keyDown", "keyUp":
            b("Input.dispatchKeyEvent", type=kind, key=key)

    def at(n, what):
        t.check(b.js("p.at") == n, f"{what} leads to step {b.js('p.at')}, not {n}")

    last = b.js("p.steps.length - 1")
    for key, n in ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", last), \
                  ("ArrowRight", last), ("Home", 0), ("ArrowLeft", 0):
        press(key)
        at(n, key)
    b.js("p.slider.value = 3; p.slider.dispatchEvent(new Event('input'))")
    at(3, "the slider")
    said = b.js("p.said.textContent")
    t.expect(r"^\w+\(\), line \d+: ", said)
    line = int(re.search(r"line (\d+)", said)[1])
    t.check(b.js("$('.now .n', p.lines).dataset.n") == f"{line}", f"another line lights up: {said}")
    b.js("p.go(0); p.plays.click()")
    b.wait("p.at > 1")
    b.js("p.plays.click()")
    n = b.js("p.at")
    t.check(b.js("p.timer === 0") and b.js("p.plays.getAttribute('aria-label')") == "Play",
            f"the player does not pause at {n}")


@book.test("walks-kinds")
def kinds(t):
    """Each chapter has a walk, and in eight at least a picture moves."""
    every = "".join(f" {chapter}" for chapter in range(1, 15)
                    if chapter not in {mark.chapter for mark in MARKS})
    t.check(not every, f"no walk is in chapter{every}")
    moving = [mark.name for mark in MARKS if len({
        json.dumps(step["draw"]) for step in
        walks.decoded((ROOT / mark.file()).read_text().splitlines()[1:])}) > 2]
    t.check(len(moving) >= 8, f"pictures move in {moving}")
