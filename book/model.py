"""The document: what pandoc reads in the sources, numbered, linked and checked.

What is wrong with the book is collected in `problems`, one "file:line: why" each;
a book with problems is not made.
"""

import bisect
import functools
import json
import pathlib
import re
import subprocess
import sys
from xml.etree import ElementTree

import back
import walks
from names import Names

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Standards that may be cited, as (NAME, SECTION): the rest of the book's text must
# spell them like this. The last column is where everybody can read them.
STANDARDS = {
    "SDM": ("Intel 64 and IA-32 Architectures Software Developer's Manual, the volume after "
            "its name", "https://www.intel.com/sdm"),
    "UEFI": ("Unified Extensible Firmware Interface Specification",
             "https://uefi.org/specifications"),
    "ACPI": ("Advanced Configuration and Power Interface Specification",
             "https://uefi.org/specifications"),
    "C11": ("ISO/IEC 9899:2011, Programming languages, C",
            "https://www.open-std.org/jtc1/sc22/wg14/www/docs/n1570.pdf"),
    "x86-64 psABI": ("System V Application Binary Interface, AMD64 Architecture Processor "
                     "Supplement", "https://gitlab.com/x86-psABIs/x86-64-ABI"),
    "DWARF": ("DWARF Debugging Information Format, version 5", "https://dwarfstd.org"),
    "gABI": ("System V Application Binary Interface, the generic part",
             "https://www.sco.com/developers/gabi/latest/contents.html"),
    "APM": ("AMD64 Architecture Programmer's Manual", "https://docs.amd.com/v/u/en-US/40332-PUB"),
    "POSIX": ("IEEE Std 1003.1, the Open Group Base Specifications",
              "https://pubs.opengroup.org/onlinepubs/9699919799/"),
    "PC16550D": ("National Semiconductor PC16550D data sheet", ""),
}
CITATION = re.compile(r"\b(%s)(?: (\d[A-D]|[\d.]+\d))?,? (?:section |table )?(\d+(?:[.-]\d+)+"
                      r"(?: and \d+(?:\.\d+)+)*|\"[^\"]+\"|chapters? \d+(?: and \d+)*)"
                      % "|".join(map(re.escape, STANDARDS)))
UNKNOWN = re.compile(r"[(]([A-Z][\w-]*(?: [\w.-]+){0,2}),? \d+\.\d+(?:\.\d+)*[);]")


def sources(root):
    """The book's files, in its order: of the programs, what has a title comes first, then
    headers, then each program."""
    def order(path):
        return not path.read_text().startswith("// # "), path.suffix != ".h", path.as_posix()
    user = sorted(root.glob("user/**/*.[ch]"), key=order)
    return ["efi_main.c", "rustica.c", "rustica.h",
            *[path.relative_to(root).as_posix() for path in user], "Makefile"]


def anchor(file, line):
    """The id of a line: L812 for those of rustica.c, user-sh-c-L12 for others."""
    return ("" if file == "rustica.c" else re.sub(r"\W+", "-", file) + "-") + f"L{line}"


# ---- pandoc's trees ------------------------------------------------------------

def pandoc(*arguments, text=None, root=ROOT):
    done = subprocess.run(["pandoc", *map(str, arguments)], input=text, cwd=root,
                          capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"pandoc: {done.stderr}")
    return done.stdout


@functools.cache
def tree_version():
    """Each pandoc reads the trees of its own version, which it writes into them."""
    return json.loads(pandoc("-t", "json", text=""))["pandoc-api-version"]


def document(blocks, meta=None):
    return json.dumps({"pandoc-api-version": tree_version(), "meta": meta or {}, "blocks": blocks})


def font(name):
    """The file of a font. Newer releases of one say that they are regular."""
    for wanted in name, name.replace(".otf", "-Regular.otf"):
        for folder in "fonts", "texmf/fonts/opentype":
            for path in sorted(pathlib.Path("/usr/share", folder).glob(f"**/{wanted}")):
                return path
    return None


def element(t, *content):
    return {"t": t, "c": content[0] if len(content) == 1 else list(content)}


def raw(form, text):
    return element("RawBlock" if text.endswith("\n") else "RawInline", form, text)


def walk(node, visit):
    """Calls visit(element) bottom up; it returns what replaces it: None for the same,
    a list for several."""
    if isinstance(node, list):
        out = []
        for item in node:
            item = walk(item, visit)
            new = visit(item) if isinstance(item, dict) and "t" in item else None
            out += [item] if new is None else new if isinstance(new, list) else [new]
        return out
    if isinstance(node, dict):
        return {k: walk(v, visit) for k, v in node.items()}
    return node


def plain(node):
    """The text of a tree."""
    if isinstance(node, list):
        return "".join(plain(item) for item in node)
    if not isinstance(node, dict):
        return ""
    kind, content = node["t"], node.get("c")
    if kind in ("Str", ):
        return content
    if kind in ("Space", "SoftBreak", "LineBreak"):
        return " "
    if kind in ("Code", "CodeBlock"):
        return content[1]
    if kind == "Quoted":
        return '"' + plain(content[1]) + '"'
    return plain(content) + (" " if kind in ("Para", "Plain") else "")


def conversation(text):
    """The lines of a transcript, as (kind, prompt, text): "typed" by the user, "said" by the
    machine, or a "remark" of the session's author, which may have gone over several lines.
    Behind `commands` everything is typed, up to `end`."""
    out, listed = [], False
    for line in text.split("\n"):
        found = re.match(r"(\(gdb\) |\$ )(?=\S)|(# )", line)
        kind = "remark" if found and found[2] else "typed" if found or listed else "said"
        start, rest = (found[0], line[found.end():]) if found else ("", line)
        if kind == "remark" and out and out[-1][0] == kind:
            out[-1] = kind, start, f"{out[-1][2]} {rest}"
        else:
            out.append((kind, start, rest))
        listed = line.startswith("(gdb) commands") or listed and line != "end"
    return out


UNIT = re.compile(r"(?:[KMGT]iB|bytes|pages|frames|MHz|ms)\b")


def tied(node):
    """Ties a number to its unit, "Chapter" to its number, so that no line ends between."""
    if isinstance(node, dict):
        return {key: tied(value) for key, value in node.items()}
    if not isinstance(node, list):
        return node
    out = []
    for item in node:
        item = tied(item)
        if isinstance(item, dict) and item.get("t") == "Str" and len(out) > 1 and \
                all(isinstance(one, dict) for one in out[-2:]) and out[-2].get("t") == "Str" and \
                out[-1].get("t") in ("Space", "SoftBreak") and (
                    re.search(r"\d$", out[-2]["c"]) and UNIT.match(item["c"]) or
                    re.search(r"\b(Chapter|Figure|SDM)$", out[-2]["c"]) and
                    re.match(r"\d", item["c"])):
            out[-2:] = [element("Str", f"{out[-2]['c']}\u00a0{item['c']}")]
        else:
            out.append(item)
    return out


def is_listing(block):
    return block["t"] == "CodeBlock" and "listing" in block["c"][0][1]


def letters(text):
    """What is left of a text without its markup, and the number or dash of its list."""
    return re.sub(r"[^a-z0-9]+", "", re.sub(r"^\s*(\d+\.|-)\s", "", text.lower()))


def attributes(node):
    """(id, classes, {key: value}) of a Div, CodeBlock, Header, Span ..."""
    where = node["c"][1] if node["t"] == "Header" else node["c"][0]
    return where[0], where[1], dict(where[2])


# ---- The book --------------------------------------------------------------------

class Part:
    """A chapter, or what stands in the place of one."""

    def __init__(self, header):
        self.header, self.id = header, header["c"][1][0]
        text = plain(header["c"][2])
        found = re.match(r"(Chapter (\d+)|Appendix (\w)|(Prologue))\. (.*)", text)
        self.label, self.title = (found[1], found[5]) if found else ("", text)
        self.number = (found[2] or found[3] or "P") if found else ""
        self.page = self.id.removeprefix("ch-") + ".html"
        self.blocks, self.sections = [], []
        self.at, self.lines = None, []      # anchors of its title and of each of its blocks

    def full(self):
        return f"{self.label}. {self.title}" if self.label else self.title


class Section:
    def __init__(self, part, number, title, id):
        self.part, self.number, self.title, self.id = part, number, title, id
        self.defines = []


class Book:
    def __init__(self, root=ROOT):
        self.root, self.problems = root, []
        self.files = sources(root)
        self.names = Names(root, self.files)
        self.parts, self.where, self.sections = [], {}, {}      # id -> Part, id -> Section
        self.figures, self.exercises, self.citations = [], [], {}
        self.drawings = {}                                      # id -> one of the figures
        self.walks = {}                                         # id -> one of the walks
        self.blocks = json.loads(pandoc("-f", "book/reader.lua", "-t", "json", "--preserve-tabs",
                                        *self.files, root=root))["blocks"]
        self.split(self.blocks)
        self.find_lines()
        self.add(back.hunts(self))
        self.add(back.proof(self))
        self.place()
        self.read_walks()
        self.check_headings()
        self.check_drawings()
        self.mark()
        self.find_citations()
        self.find_uses()
        self.check_names()
        first = len(self.parts)
        self.add(back.lines(self))
        for part in self.parts[first:]:
            walk(part.blocks, lambda node, part=part: self.own(node, part))
        self.check_links()

    def problem(self, place, why):
        self.problems.append(f"{place}: {why}")

    def locate(self, text, *more):
        """file:line of a text in the prose of the sources. It may go over a line's end."""
        for one in (text, *more):
            words = [re.escape(w) for w in one.split()] or ["$."]
            pattern = re.compile(r"(?:\s|\n//\s)+".join(words))
            for file in self.files:
                found = pattern.search("\n".join(self.names.text[file]))
                if found:
                    line = "\n".join(self.names.text[file])[:found.start()].count("\n") + 1
                    return f"{file}:{line}"
        return self.files[0]

    # ---- Parts and sections ----

    def split(self, blocks):
        first = len(self.parts)
        for block in blocks:
            if block["t"] == "Header" and block["c"][0] == 1:
                self.parts.append(Part(block))
            elif self.parts:
                self.parts[-1].blocks.append(block)
        self.parts.sort(key=lambda part: part.id != "preface")
        for part in self.parts[first:]:
            self.where[part.id] = part
            top = Section(part, part.number or part.title, part.title, part.id)
            self.sections[part.id], count = top, 0
            for block in part.blocks:
                if block["t"] == "Header" and block["c"][0] == 2:
                    count += 1
                    section = Section(part, f"{part.number}.{count}" if part.number else "",
                                      plain(block["c"][2]), block["c"][1][0])
                    part.sections.append(section)
                    self.sections[section.id] = section

    def find_lines(self):
        """The line where each block of prose begins. pandoc does not tell, so we look for the
        block's first letters among the paragraphs that stand above the next listing."""
        paragraphs = [(file, *one) for file in self.files for one in self.paragraphs(file)]
        order, at = {file: n for n, file in enumerate(self.files)}, 0
        listings = [(order[keys["file"]], int(keys["startFrom"])) for keys in (
            attributes(b)[2] for b in self.blocks if is_listing(b))] + [(len(order), 0)]
        found = {}
        for block in self.blocks:
            if is_listing(block):
                listings.pop(0)
                continue
            start = letters(plain(block))[:24]
            for n in range(at, len(paragraphs)) if start else ():
                file, line, text = paragraphs[n]
                if (order[file], line) > listings[0]:
                    break
                if text.startswith(start):
                    found[id(block)], at = anchor(file, line), n + 1
                    break
        for part in self.parts:
            part.at = found.get(id(part.header))
            part.lines = [found.get(id(block)) for block in part.blocks]
            self.where.update((one, part) for one in (part.at, *part.lines) if one)

    def paragraphs(self, file):
        """(line, letters) of each paragraph in the prose of a file."""
        mark, first, text = "# " if file == "Makefile" else "// ", 0, ""
        for number, line in enumerate([*self.names.text[file], ""], 1):
            if line.startswith(mark):
                first = first or number
                text += line[len(mark):] + "\n"
            elif first:
                text = re.sub(r"^:::.*|\]\([^)]*\)|\{[#.].*?\}", "", text, flags=re.M)
                yield first, letters(text)
                first, text = 0, ""

    def add(self, lines):
        """Parts that are not in the sources, but made of other files, or of all the rest."""
        self.split(json.loads(pandoc("-f", "markdown-auto_identifiers", "-t", "json",
                                     text="\n".join(lines)))["blocks"])

    def place(self):
        """Where each section begins in its file, and on which page each line is."""
        self.starts = {file: [] for file in self.files}
        for file in self.files:
            for number, line in enumerate(self.names.text[file], 1):
                found = re.match(r"// ##? .*\{#([\w-]+)\}$", line)
                if found and found[1] in self.sections:
                    self.starts[file].append((number, self.sections[found[1]]))
        self.starts["Makefile"].append((0, self.sections.get("app-make")))

    def section(self, file, line):
        starts = self.starts[file]
        at = bisect.bisect_right([n for n, _ in starts], line) - 1
        if at < 0:
            at = 0
        return starts[at][1]

    def check_headings(self):
        """The headings pandoc saw are those the sources mean."""
        meant = [found[1] for file in self.files for line in self.names.text[file]
                 if (found := re.match(r"// #{1,3} .*\{#([\w-]+)\}$", line))]
        def visit(node):
            if node["t"] == "Header":
                id, text = node["c"][1][0], plain(node["c"][2])
                if id in meant:
                    meant.remove(id)
                elif not id.startswith(("app-make", "make-")):
                    self.problem(self.locate("#" * node["c"][0] + " " + text, text),
                                 f'a heading by accident, "{text}"')
        walk(self.blocks, visit)
        for id in meant:
            self.problem(self.locate("{#%s}" % id), "pandoc does not see this heading; is the "
                         "line above it blank?")

    def check_drawings(self):
        """Four blanks make a drawing, but not behind a list, whose last item would have it."""
        seen = set()
        def visit(node):
            if node["t"] == "CodeBlock" and not node["c"][0][1]:
                seen.add(node["c"][1].split("\n")[0])
        walk(self.blocks, visit)
        for file in self.files[:-1]:
            lines = self.names.text[file]
            for number, line in enumerate(lines, 1):
                if line.startswith("//     ") and line[7:] not in seen and \
                        not "".join(lines[max(number - 3, 0):number - 1]).count("//     "):
                    self.problem(f"{file}:{number}", "pandoc does not see this drawing; does it "
                                 "stand behind a list?")

    # ---- Figures, transcripts, exercises, walks ----

    def read_walks(self):
        """The recorded walks of the marks in rustica.c."""
        self.marks = {}
        for mark in walks.marks(self.names.text["rustica.c"]):
            self.marks["walk-" + mark.name] = mark
            problems = list(walks.check(mark, self.names))
            if not problems and not (self.root / mark.file()).is_file():
                problems.append(f"nothing is recorded: make golden T=walk-{mark.name}")
            if not problems:
                mark.walk = walks.Walk(mark, self.root / mark.file(), self.names)
                problems = mark.walk.problems
            for why in problems:
                self.problem(f"rustica.c:{mark.line}", why)
            mark.good = not problems

    def mark(self):
        """Gives figures, exercises and walks their numbers and reads what is included."""
        for part in self.parts:
            self.part, self.count = part, {"figure": 0, "exercise": 0, "walk": 0}
            part.blocks = walk(part.blocks, self.mark_one)
        for part in self.parts:
            walk(part.blocks, lambda node, part=part: self.own(node, part))

    def own(self, node, part):
        if node["t"] in ("Header", "Div", "Span", "CodeBlock", "Link"):
            id, classes, keys = attributes(node)
            if id:
                self.where[id] = part
            if "listing" in classes:
                first = int(keys["startFrom"])
                for line in range(first, first + node["c"][1].count("\n") + 1):
                    self.where[anchor(keys["file"], line)] = part

    def mark_one(self, node):
        hunt = node["t"] == "Code" and re.match(r"make hunt\s+BUG=([a-z][\w-]*)$", node["c"][1])
        if hunt and self.part.id != "app-hunts":
            return element("Link", ["", [], []], [node], ["#hunt-" + hunt[1], ""])
        if node["t"] != "Div":
            return None
        id, classes, keys = attributes(node)
        if "transcript" in classes:
            path = self.root / keys.get("file", "?")
            if not path.is_file():
                self.problem(self.locate(f'file="{keys.get("file")}"', ".transcript"),
                             f'the transcript {keys.get("file")} is missing')
                return []
            return element("CodeBlock", [id, ["transcript"], [["file", keys["file"]]]],
                           path.read_text().rstrip("\n"))
        kind = next((one for one in ("exercise", "figure", "walk") if one in classes), None)
        if kind:
            self.count[kind] += 1
            number = f"{self.part.number}.{self.count[kind]}"
            text = [b for b in node["c"][1] if b["t"] != "CodeBlock"]
            item = {"id": id, "number": number, "part": self.part, "text": plain(text).strip(),
                    "level": int(keys.get("level", "1"))}
            if kind == "exercise":
                self.exercises.append(item)
                node["c"][0][2] = [["level", keys.get("level", "1")], ["number", number]]
                return None
            if kind == "walk":
                return self.walk(item, text)
            return self.figure(node, item, keys.get("file", "?"), text)
        return None

    def walk(self, item, text):
        mark = self.marks.get(item["id"])
        if mark and not text:
            self.problem(f"rustica.c:{mark.line}", "a walk needs a sentence: what does it show?")
        if not mark:
            self.problem(self.locate(item["id"], ".walk"), "a walk begins with a line like "
                         "::: {#walk-name .walk} in a chapter of rustica.c")
        if not mark or not mark.good:
            return element("Div", [item["id"], [], []], text)
        item["walk"] = mark.walk
        item["svg"] = walks.drawn(mark.walk, self.names.text["rustica.c"])
        self.walks[item["id"]] = self.drawings[item["id"]] = item
        return element("Div", [item["id"], ["walk"], [["number", item["number"]]]], text)

    def figure(self, node, item, file, text):
        path = self.root / file
        item["id"] = item["id"] or "fig-" + path.stem
        if not path.is_file():
            self.problem(self.locate(f'file="{file}"', ".figure"), f"the figure {file} is missing")
            return []
        item["svg"] = self.drawing(path)
        if not re.search(r"<title>.+?</title>\s*<desc>.+?</desc>", item["svg"], re.S):
            self.problem(file + ":1", "a figure needs <title> and <desc> for those who cannot see")
        try:
            ElementTree.fromstring(item["svg"])
        except ElementTree.ParseError as error:
            self.problem(f"{file}:{error.position[0]}", f"not an SVG file: {error}")
        self.figures.append(item)
        self.drawings[item["id"]] = item
        return element("Div", [item["id"], ["figure"], [["number", item["number"]]]], text)

    def drawing(self, path):
        """An SVG file as it is, or what a program draws."""
        if path.suffix == ".svg":
            return path.read_text()
        done = subprocess.run([sys.executable, path], cwd=self.root, capture_output=True, text=True)
        if done.returncode:
            self.problem(f"{path.relative_to(self.root)}:1", done.stderr.strip().split("\n")[-1])
        return done.stdout

    # ---- Standards ----

    def find_citations(self):
        for file in self.files:
            if file == "Makefile":
                continue
            text = "\n".join(line[3:] if line.startswith("//") else line
                             for line in self.names.text[file])
            for found in CITATION.finditer(re.sub(r"\n", " ", text)):
                line = text[:found.start()].count("\n") + 1
                where = self.citations.setdefault(found[1], {})
                place = " ".join(filter(None, (found[2], found[3])))
                where.setdefault(place, []).append(self.section(file, line))
            for found in UNKNOWN.finditer(text):
                if not found[1].startswith(tuple(STANDARDS)):
                    self.problem(f"{file}:{text[:found.start()].count(chr(10)) + 1}",
                                 f'"{found[1]}" is not among the STANDARDS of book/model.py')

    # ---- Names ----

    def find_uses(self):
        """Goes through all listings once, and enters each use of a name."""
        self.tokens = {}
        for part in self.parts:
            for block in part.blocks:
                if block["t"] == "CodeBlock" and "listing" in block["c"][0][1]:
                    keys = attributes(block)[2]
                    file, first = keys["file"], int(keys["startFrom"])
                    if file == "Makefile":
                        continue
                    found = list(self.names.tokens(file, first, block["c"][1]))
                    self.tokens[file, first] = found
                    for _, _, line, name in found:
                        if name and (file, line) != (name.file, name.line):
                            name.uses.append((file, line))
        for name in self.names.everything():
            self.section(name.file, name.line).defines.append(name)

    def used_in(self, name):
        """The sections that use a name, but not the one that defines it."""
        home, seen = self.section(name.file, name.line), []
        for file, line in name.uses:
            section = self.section(file, line)
            if section is not home and section not in seen:
                seen.append(section)
        return seen

    # ---- Checks ----

    def check_links(self):
        linked = set()
        def visit(node):
            if node["t"] == "Link" and node["c"][2][0].startswith("#"):
                id = node["c"][2][0][1:]
                linked.add(id)
                if id not in self.where:
                    self.problem(self.locate(f"(#{id})"), f"a dead link: nothing has the id {id}")
        walk([part.blocks for part in self.parts], visit)
        known = set(self.sections) | set(self.marks) | {e["id"] for e in self.exercises +
                                                        self.figures}
        for file in self.files:
            for number, line in enumerate(self.names.text[file], 1):
                for id in re.findall(r"(?<!\$)\{#([\w-]+)", line) if line.startswith("// ") else []:
                    if id not in self.where:
                        self.problem(f"{file}:{number}", f"the id {id} is not one for pandoc: it "
                                     "belongs to a heading, a div or []")
                    elif id not in known and id not in linked and not id.endswith(
                            ("-exercises", "-reading")):
                        self.problem(f"{file}:{number}", f"the id {id} is not used")

    def check_names(self):
        for part in self.parts:
            def visit(node):
                if node["t"] == "Code" and self.meaning(part, node["c"][1]) is False:
                    self.problem(self.locate(f"`{node['c'][1]}`"), f"there is no {node['c'][1]}")
            walk(part.blocks, visit)

    def meaning(self, part, text):
        """The Name a backquoted text means, None for no name, False for a mistake."""
        if part.id in ("app-make", "app-proof", "lists", "names", "colophon"):
            return None
        if part.id == "app-hunts":          # there are names in them that only the bug has
            return self.names.in_prose(text, "rustica.c") or None
        if part.id != "app-user":
            return self.names.in_prose(text, "rustica.c")
        return self.names.in_prose(text, "user/user.h") or (     # Linux's structures are none
            None if text.startswith("struct ") else self.names.in_prose(text, "user/user.h"))
