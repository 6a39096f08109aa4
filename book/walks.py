"""Walks: what of a run is recorded, to be stepped through in the page.

A mark in the prose says what:

    // ::: {#walk-clone .walk}
    //     from vmo_show_clone
    //     into vmo_clone vmo_share node_share
    //     to   vmo_slice
    //     show clone->committed
    //     draw vmo
    //
    // What is to be seen.
    // :::

`from` is the function that the walk begins in, with a condition if need be, as in `from
vmo_write if offset == 0`; it ends when that returns, or where a function of `to` is entered.
With several of them one is walked through after the other; `times` repeats it. What comes
before a call of the function `after` does not count. Functions of `into` go line by line, all
others are one step. `show` are expressions, with commas between, to be seen besides the
variables of the function; `draw` is a picture of those that book/record.py knows. `most` ends
it after so many steps. `with` are options for the kernel, `type` is a line to type, when
somebody reads.

`make golden T=walk-clone` records it, into book/walks/clone.txt. Here recordings are read, and
made into drawings, and into what the page needs.
"""

import html
import json
import re

ONCE = {"after", "times", "most", "with"}
KEYS = ["after", "from", "times", "to", "into", "show", "draw", "with", "type", "most"]
WIDTH = 340                     # of a drawing, which fits into the window of a telephone
TEXT, CELL, LABEL, GAP = 7.1, 24, 17, 14


class Mark:
    """A mark, where it stands, and what it says."""

    def __init__(self, name, line, chapter):
        self.name, self.line, self.chapter = name, line, chapter
        self.plan = {key: [] for key in KEYS}
        self.problems = []

    def add(self, text):
        key, _, rest = text.strip().partition(" ")
        if key not in KEYS:
            self.problems.append(f"a walk has no `{key}`, but {', '.join(KEYS)}")
        elif key in ONCE and self.plan[key]:
            self.problems.append(f"a walk has one `{key}`")
        elif key in ("to", "into"):
            self.plan[key] += rest.split()
        elif key in ("show", "draw"):
            self.plan[key] += [one.strip() for one in rest.split(",")]
        else:
            self.plan[key].append(rest.strip())

    def starts(self):
        return [one.partition(" if ")[0].strip() for one in self.plan["from"]]

    def file(self):
        return f"book/walks/{self.name}.txt"

    def head(self):
        """What a recording begins with: the plan."""
        return {key: value for key, value in self.plan.items() if value}


def marks(text):
    """The marks in the lines of rustica.c."""
    found, chapter, inside = [], "", False
    for number, line in enumerate(text, 1):
        if title := re.match(r"// # Chapter (\d+)\.", line):
            chapter = int(title[1])
        if start := re.match(r"// ::: \{#walk-([\w-]+) \.walk\}", line):
            found.append(Mark(start[1], number, chapter))
            inside = True
        elif inside and line.startswith("//     "):
            found[-1].add(line[2:])
        else:
            inside = False
    for mark in found:
        if not mark.plan["from"]:
            mark.problems.append("a walk needs `from`, the function it begins in")
    return found


def check(mark, names):
    """What is wrong with a mark, as far as the text alone tells."""
    yield from mark.problems
    functions = {f.name for f in names.everything() if f.file == "rustica.c"
                 and f.kind in ("function", "label")}
    for word in [*mark.starts(), *mark.plan["after"], *mark.plan["to"], *mark.plan["into"]]:
        pattern = re.compile(re.sub(r"\*", r"\\w*", word) + "$")
        if not any(map(pattern.match, functions)):
            yield f"there is no function {word} for a walk"


# ---- Recordings ----------------------------------------------------------------

def decoded(lines):
    """The steps of a recording, each with all that is to be seen at it."""
    step, steps = {"stack": "", "vars": {}, "show": {}, "draw": {}}, []
    for line in map(json.loads, lines):
        step = {**step, **{key: line[key] for key in ("at", "stack") if key in line}}
        for key in "vars", "show", "draw":
            base = {} if key == "vars" and "stack" in line else step[key]
            new = {**base, **line.get(key, {})}
            step[key] = {name: value for name, value in new.items() if value is not None}
        steps.append(step)
    return steps


class Walk:
    """A recorded walk, and the drawings of its steps."""

    def __init__(self, mark, path, names):
        self.mark, self.problems = mark, []
        lines = path.read_text().splitlines()
        head = json.loads(lines[0])
        again = f"it has changed since it was recorded: make golden T=walk-{mark.name}"
        if head["plan"] != mark.head():
            self.problems.append(again)
        self.steps = decoded(lines[1:])
        self.functions = {}
        for step in self.steps:
            name, offset = step["at"].split()
            found = next((f for f in names.functions if f.file == "rustica.c"
                          and f.name == name), None)
            if not found:
                self.problems.append(again)
                return
            self.functions[name] = found
            step["function"] = found
            step["line"] = min(found.line + int(offset), found.end)
        self.layout = Layout([step["draw"] for step in self.steps])
        for step in self.steps:
            step["drawn"] = self.layout.pieces(step["draw"])

    def stills(self):
        """Three steps for those who cannot step: the first, the last, and between them one at
        which the picture changes, or what is shown."""
        steps, last = self.steps, len(self.steps) - 1
        def seen(step):
            return step["draw"] if any(s["draw"] for s in steps) else step["show"] or step["vars"]
        moves = [n for n in range(1, last) if seen(steps[n]) != seen(steps[n - 1])]
        between = moves[len(moves) // 2] if moves else last // 2
        return sorted({0, between, last})

    def changed(self, n):
        """The names of what is not as it was a step before."""
        now, before = self.steps[n], self.steps[max(n - 1, 0)]
        same = now["stack"] == before["stack"]
        return [*(name for name, value in now["vars"].items()
                  if same and before["vars"].get(name) != value),
                *(name for name, value in now["show"].items()
                  if n and before["show"].get(name) != value)]


# ---- Drawing -------------------------------------------------------------------
#
# A picture is a table of groups; each is a row of cells, and a cell may lead to a group. They
# have the same places at all steps, so that what moves is what has changed. A drawing is a
# list of pieces of SVG, of which two steps have most in common: so the page keeps each once.

class Layout:
    def __init__(self, pictures):
        self.widths, self.rows, self.kind = {}, {}, {}
        for picture in pictures:
            for name, group in picture.items():
                self.rows[name] = group["row"]
                self.kind.setdefault(name, group)
                widths = self.widths.setdefault(name, [])
                for i, cell in enumerate(group["cells"]):
                    if i == len(widths):
                        widths.append(0)
                    widths[i] = max(widths[i], cell_width(group, cell))
        self.line_up()
        self.places, self.height = {}, 0
        for row in sorted(set(self.rows.values())):
            self.place_row([name for name in self.rows if self.rows[name] == row])

    def line_up(self):
        """The lines of a table have columns."""
        for name, group in self.kind.items():
            same = [self.widths[other] for other, its in self.kind.items()
                    if "sheet" in group and its.get("sheet") == group["sheet"]]
            self.widths[name] = [max(widths[i] for widths in same if i < len(widths))
                                 for i in range(len(self.widths[name]))] if same else \
                self.widths[name]

    def place_row(self, names):
        """From left to right, and on below where there is no room."""
        x, y, high = 0, self.height, 0
        kinds = [kind(name) for name in names]
        for name in sorted(names, key=lambda name: (kinds.index(kind(name)), in_order(name))):
            cells, width, height = self.cells(name)
            if x and x + width > WIDTH:
                x, y, high = 0, y + high + 8, 0
            self.places[name] = (x, y, cells, width)
            x += width + self.kind[name].get("gap", GAP)
            high = max(high, height)
        self.end = y + high
        self.height = y + high + (26 if any(map(self.label, names)) else 0)

    def cells(self, name):
        """(places of the cells, relative to the group's; its width and height)"""
        found, x, y, widest = [], 0, LABEL if self.label(name) else 0, 0
        for width in self.widths[name]:
            if x and x + width > WIDTH:
                x, y = 0, y + CELL + 3
            found.append((x, y, width))
            x += width
            widest = max(widest, x)
        return found, max(widest, len(self.label(name)) * TEXT * 0.93), y + CELL

    def bottom(self, picture):
        return max((self.places[name][1] + self.cells(name)[2] for name in picture), default=0)

    def label(self, name):
        return self.kind[name].get("label", re.sub(r"^\w+::", "", name))

    def pieces(self, picture):
        """The pieces of SVG that a picture consists of."""
        out = []
        for name, group in picture.items():
            x, y, cells, width = self.places[name]
            if self.label(name):
                out.append(f'<text class="small" x="{x + 1:.0f}" y="{y + 12:.0f}">'
                           f'{html.escape(self.label(name))}</text>')
            for (left, top, wide), cell in zip(cells, group["cells"]):
                text, to, color = unfolded(group, cell)
                out.append(box(x + left, y + top, wide, text, color))
                if to in picture:
                    out.append(self.arrow(x + left, y + top, wide, to, name))
        return out

    def arrow(self, x, y, wide, to, from_):
        there, top, cells, width = self.places[to]
        if top + LABEL + CELL < y:
            # upward, from a cell's top to the bottom of a group
            above = LABEL - 3 if self.label(from_) else 0
            start, end = (x + wide / 2, y - above), (there + width / 2, top + LABEL + CELL)
            bend = (start[1] - end[1]) * 0.6
            curve = f"M{start[0]:.0f} {start[1]:.0f}C{start[0]:.0f} {start[1] - bend:.0f} " \
                    f"{end[0]:.0f} {end[1] + bend:.0f} {end[0]:.0f} {end[1] + 5:.0f}"
            head = f"M{end[0] - 3.5:.1f} {end[1] + 6:.0f}h7l-3.5 -6z"
        elif top > y:
            start, end = (x + wide / 2, y + CELL), (there + min(width / 2, 14), top + 1)
            bend = (end[1] - start[1]) * 0.6 + 4
            curve = f"M{start[0]:.0f} {start[1]:.0f}C{start[0]:.0f} {start[1] + bend:.0f} " \
                    f"{end[0]:.0f} {end[1] - bend:.0f} {end[0]:.0f} {end[1] - 5:.0f}"
            head = f"M{end[0] - 3.5:.1f} {end[1] - 6:.0f}h7l-3.5 6z"
        else:
            # ... in the same row: from below one to below the other
            start, end = (x + wide / 2, y + CELL), (there + width / 2, top + LABEL + CELL)
            deep = max(start[1], end[1]) + 13
            curve = f"M{start[0]:.0f} {start[1]:.0f}C{start[0]:.0f} {deep:.0f} {end[0]:.0f} " \
                    f"{deep:.0f} {end[0]:.0f} {end[1] + 5:.0f}"
            head = f"M{end[0] - 3.5:.1f} {end[1] + 6:.0f}h7l-3.5 -6z"
        return f'<path class="line" d="{curve}"/><path class="head" d="{head}"/>'


def kind(name):
    return name.rpartition(" ")[0] or name


def in_order(name):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def unfolded(group, cell):
    """A cell's text, what it leads to, and its colour."""
    text, to, color = (*cell, "", "")[:3] if isinstance(cell, list) else (cell, "", "")
    return text, to, color or group.get("color", "box")


def cell_width(group, cell):
    return group["narrow"] if "narrow" in group else \
        max(26, 12 + TEXT * len(unfolded(group, cell)[0]))


def box(x, y, wide, text, color):
    if color == "none":
        return f'<text class="small" x="{x + 5:.0f}" y="{y + 16.5:.0f}">{html.escape(text)}</text>'
    said = f'<text class="code" x="{x + wide / 2:.0f}" y="{y + 16.5:.0f}" text-anchor="middle">' \
           f"{html.escape(text, quote=False)}</text>" if text else ""
    return f'<path class="{color}" d="M{x:.0f} {y:.0f}h{wide:.0f}v{CELL}h-{wide:.0f}z"/>{said}'


def in_words(picture):
    """A picture for those who do not see it."""
    out = []
    for name, group in picture.items():
        cells = []
        for number, cell in enumerate(group["cells"]):
            text, to, color = unfolded(group, cell)
            if "narrow" in group and color == "b":
                text = f"bit {number}"
            cells.append(text + (f" leads to {to}" if to in picture else ""))
        out.append(f"{name}: {', '.join(filter(None, cells)) or 'empty'}")
    return ". ".join(out)


# ---- Three steps, drawn ----------------------------------------------------------

def drawn(walk, source):
    """Three steps as one figure, for paper and for pages without scripts."""
    out, y, said = [], 0, []
    wide = any(step["draw"] for step in walk.steps)
    left = WIDTH + 16 if wide else 0
    for n in walk.stills():
        step = walk.steps[n]
        lines = [("", f"{step['function'].name}(), line {step['line']}"),
                 ("code", source[step["line"] - 1].strip())]
        rows = {**step["vars"], **step["show"]}
        lines += [("code", f"{name} = {value}") for name, value in list(rows.items())[:9]]
        said.append(f"{lines[0][1]}: {in_words(step['draw'])}")
        if wide:
            out.append(f'<g transform="translate(0 {y})">{"".join(step["drawn"])}</g>')
        for i, (kind, text) in enumerate(lines):
            most = 40 if wide else 90
            text = text if len(text) <= most else text[:most - 3] + "..."
            how = f'class="{kind}" ' if kind else ""
            out.append(f'<text {how}x="{left}" y="{y + 15 + 18 * i}">'
                       f"{html.escape(text, quote=False)}</text>")
        y += max(walk.layout.bottom(step["draw"]), 18 * len(lines)) + 22
        out.append(f'<path class="faint" d="M0 {y - 13}H640"/>')
    return '<svg class="fig" xmlns="http://www.w3.org/2000/svg" ' \
           f'viewBox="-1 0 642 {y - 14:.0f}">\n' \
           f"<title>Three steps of {len(walk.steps)}</title>\n" \
           f"<desc>{html.escape('; '.join(said), quote=False)}</desc>\n" + \
           "\n".join(out[:-1]) + "\n</svg>\n"


# ---- For the page ------------------------------------------------------------------

class Table:
    """Each thing once, by number."""

    def __init__(self):
        self.items, self.numbers = [], {}

    def number(self, item):
        key = json.dumps(item)
        if key not in self.numbers:
            self.numbers[key] = len(self.items)
            self.items.append(item)
        return self.numbers[key]


def for_page(walk, code):
    """What walk.js needs to show each step. `code(function)` gives the lines as HTML."""
    rows, stacks, pieces, scenes = Table(), Table(), Table(), Table()
    names = list(walk.functions)
    steps = []
    for step in walk.steps:
        scene = [[pieces.number(p) for p in step["drawn"]], in_words(step["draw"])]
        steps.append([names.index(step["function"].name), step["line"],
                      stacks.number(step["stack"]),
                      [rows.number(row) for row in step["vars"].items()],
                      [rows.number(row) for row in step["show"].items()],
                      scenes.number(scene)])
    return {"code": [[f.name, f.line, code(f)] for f in walk.functions.values()],
            "rows": rows.items, "stacks": stacks.items, "pieces": pieces.items,
            "scenes": scenes.items, "steps": steps,
            "size": [WIDTH, round(walk.layout.end + 15)] if pieces.items else None,
            "commands": commands(walk.mark)}


def commands(mark):
    """How to get to the first step in a debugger."""
    found = [f"make gdb CH={mark.chapter}" + "".join(f" OPT={o}" for o in mark.plan["with"])]
    for line in mark.plan["type"]:
        found += ["tbreak tty_read", "continue"]
        found += [f"rustica type {line}"] if "\\" not in line else []
    for place in [*mark.plan["after"], mark.plan["from"][0]]:
        found += [f"tbreak {place}", "continue"]
    return found
