"""The book on paper: LaTeX by XeTeX.

The same chapter was set by XeLaTeX and by WeasyPrint (HTML and CSS to PDF) and the pages laid
side by side. TeX won by its paragraphs (it breaks lines by paragraph and hangs
punctuation, so no rivers run through them), by the places where it breaks pages in a
listing, and by a real index with page numbers; WeasyPrint also took four times as long.
"""

import copy
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import model
from model import anchor, attributes, element, raw
from to_html import fragment, render

SPECIAL = {"\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#",
           "^": "\\textasciicircum{}", "_": "\\_", "~": "\\textasciitilde{}", "%": "\\%",
           " ": "\\ ", "'": "\\textquotesingle{}", "`": "\\textasciigrave{}", "\t": "\\ " * 4}
SPECIALS = re.compile("[" + re.escape("".join(SPECIAL)) + "]")
PAGE = 50           # lines of code on a page, with some of the prose above them
TALL = 300          # a figure of 640 by more than that has a page of its own
TOO_MANY = 40       # sections that use a name: then it is not worth an index of its uses


def code(text):
    return SPECIALS.sub(lambda m: SPECIAL[m[0]], text)


def words(text):
    """Text outside of code: blanks are blanks."""
    return re.sub(r"(?<=[a-z])'(?=[a-z])", "'", code(text).replace("\\ ", " ")
                  .replace("\\textquotesingle{}", "'"))


def whole(lines):
    """The lines behind which no page should end, because they are in a function that fits on
    one, with what stands right above it."""
    out = set()
    for end, line in enumerate(lines):
        if line.startswith("}"):
            start = next((n for n in range(end - 1, -1, -1) if lines[n][:1] not in ("", " ", "\t")
                          and lines[n].endswith("{")), end)
            while start and lines[start - 1]:
                start -= 1
            if end - start < PAGE:
                out.update(range(start, end))
    return out


class Latex:
    form = "latex"

    def __init__(self, book):
        self.book = book
        self.common = {name for name in book.names.everything()
                       if len(book.used_in(name)) > TOO_MANY}

    def listing(self, node, page):
        keys, text = attributes(node)[2], node["c"][1].rstrip("\n")
        file, first = keys["file"], int(keys["startFrom"])
        lines, targets, seen = [""], {}, set()
        plain_text = [("", text, first, None)]
        for kind, word, line, name in self.book.tokens.get((file, first)) or plain_text:
            for i, piece in enumerate(word.split("\n")):
                if i:
                    lines.append("")
                lines[-1] += self.token(kind, piece, name, (file, line), targets, seen)
        while lines[-1] == "":
            lines.pop()
        out, together = [], whole(text.split("\n"))
        for n, line in enumerate(lines, first):
            out.append(f"\\L{{{n}}}{{{targets.get(n, '')}{line}}}" if line else
                       "\\nobreak\\vskip5pt" if n - first in together else f"\\B{{{n}}}")
            if n < first + 2 or n > first + len(lines) - 4 or n - first in together:
                out[-1] += "\\nobreak" if n < first + len(lines) - 1 else ""
        return raw("latex", "\\begin{listing}\n" + "\n".join(out) + "\n\\end{listing}\n")

    def token(self, kind, text, name, place, targets, seen):
        escaped = code(text)
        short = {"keyword": "K", "directive": "K", "string": "S", "comment": "C"}
        if kind in short and text:
            return f"\\{short[kind]}{{{escaped}}}"
        if kind != "word" or not name or name.kind in ("local", "parameter"):
            return escaped
        id = anchor(name.file, name.line)
        if (name.file, name.line) == place:
            targets[place[1]] = f"\\T{{{id}}}"
            if name.kind == "member":
                return escaped
            return f"\\textbf{{{escaped}}}" + self.index(name, "|textbf")
        entry = "" if name in seen or name.kind == "member" or name in self.common else \
            self.index(name)
        seen.add(name)
        return f"\\A{{{id}}}{{{escaped}}}{entry}"

    def index(self, name, how=""):
        of = f" \\textit{{{words(name.file)}}}" if name.file.startswith("user/") else ""
        return f"\\index{{{name.name}{name.file[:4]}@\\texttt{{{code(name.shown)}}}{of}{how}}}"

    def drawing(self, text):
        lines = "\n".join(f"\\D{{{code(line)}}}" for line in text.split("\n"))
        return raw("latex", f"\\begin{{drawing}}\n{lines}\n\\end{{drawing}}\n")

    def transcript(self, text, file):
        def line(kind, prompt, text):
            if kind == "remark":
                parts = text.split("`")
                parts[::2] = map(words, parts[::2])
                parts[1::2] = [f"\\texttt{{{code(part)}}}" for part in parts[1::2]]
                return f"\\R{{{''.join(parts)}}}"
            return f"\\Y{{{code(prompt)}}}{{{code(text)}}}" if kind == "typed" else \
                f"\\D{{{code(text)}}}" if text else "\\blank"
        lines = "\n".join(line(*one) for one in model.conversation(text))
        return raw("latex", f"\\begin{{transcript}}\n{lines}\n\\end{{transcript}}\n")

    def reference(self, text, name, page):
        entry = "" if name in self.common or name.kind == "member" else self.index(name)
        return raw("latex", f"\\A{{{anchor(name.file, name.line)}}}"
                            f"{{\\texttt{{{breakable(text)}}}}}{entry}")

    def code(self, node):
        return raw("latex", f"\\texttt{{{breakable(node['c'][1])}}}")

    def link(self, node, page):
        target = node["c"][2][0]
        if not target.startswith("#"):
            return node
        return [raw("latex", "\\hyperlink{%s}{" % target[1:]), *node["c"][1],
                raw("latex", "}\\bookpage{%s}" % target[1:])]

    def marked(self, block, line):
        return [block]

    def place(self, node):
        id = attributes(node)[0]
        return [raw("latex", f"\\hypertarget{{{id}}}{{}}\\phantomsection\\label{{{id}}}"),
                *node["c"][1]]

    def chapter(self, part):
        return raw("latex", f"\\bookchapter{{{part.label}}}{{{words(part.title)}}}{{{part.id}}}\n")

    def heading(self, node, section):
        id = node["c"][1][0]
        if node["c"][0] == 3:
            return [raw("latex", f"\\subsection{{{words(model.plain(node['c'][2]))}}}\n")]
        return raw("latex", f"\\booksection{{{section.number}}}{{{words(section.title)}}}"
                            f"{{{id}}}\n")

    def defines(self, section, page):
        def one(name):
            used = self.book.used_in(name)
            more = f" and {len(used) - 6} more" if len(used) > 6 else ""
            shown = ", ".join(f"\\hyperlink{{{s.id}}}{{{s.number or s.title}}}" for s in used[:6])
            return f"\\texttt{{{breakable(name.shown)}}}" + (f" ({shown}{more})" if used else "")
        return raw("latex", "\\defines{" + "; ".join(one(n) for n in section.defines) + "}\n")

    def figure(self, node, keys, id, kind="Figure"):
        label = raw("latex", f"\\textbf{{{kind} {keys['number']}.}}\\enspace{{}}")
        node["c"][1][0]["c"].insert(0, label)
        high = float(re.search(r'viewBox="\S+ \S+ \S+ (\S+)"', self.book.drawings[id]["svg"])[1])
        place = "[p]" if high > TALL else ""
        return [raw("latex", f"\\begin{{bookfigure}}{place}{{{id}}}\n"), *node["c"][1],
                raw("latex", "\\end{bookfigure}\n")]

    def walk(self, node, keys, id):
        return self.figure(node, keys, id, "Walk")

    def exercise(self, node, keys, id):
        dots = "\\full" * int(keys["level"]) + "\\hollow" * (3 - int(keys["level"]))
        return [raw("latex", f"\\begin{{exercise}}{{{keys['number']}}}{{{dots}}}{{{id}}}\n"),
                *node["c"][1], raw("latex", "\\end{exercise}\n")]


def breakable(text):
    """Code in running text may be broken after an underscore, a slash or a dot."""
    return re.sub(r"(\\_|/|\.|=|,|->|\()", r"\1\\allowbreak{}", code(text).replace("\\ ", " "))


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace",
                          stdin=subprocess.DEVNULL)
    if done.returncode:
        log = folder / "rustica.log"
        found = re.search(r"^!.*(?:\n.*){6}", log.read_text(errors="replace"), re.M) \
            if log.exists() else None
        raise SystemExit(f"{' '.join(command)}: {found[0] if found else done.stdout[-2000:]}\n"
                         "make book: if something is missing, 'make setup-book' installs it.")


def stable(folder):
    """What a further run of TeX would read."""
    return [(folder / ("rustica" + end)).read_bytes() if (folder / ("rustica" + end)).exists()
            else b"" for end in (".aux", ".toc", ".idx")]


def make_index(folder):
    """TeX writes a blank more after a command where the entry was in an argument."""
    index = folder / "rustica.idx"
    index.write_text(re.sub(r"(\\\w+) +{", r"\1{", index.read_text()))
    run(folder, "makeindex", "-q", index.name)


def with_answers(book):
    """The book, with what is folded on the screen at its end: all first hints, all second ones,
    and so on, so that who looks one up does not see the next."""
    book = copy.copy(book)
    book.parts, book.sections = list(book.parts), dict(book.sections)
    at = next(n for n, part in enumerate(book.parts) if part.id == "app-hunts")
    hunts = book.parts[at] = copy.copy(book.parts[at])
    answers = model.Part(element("Header", 1, ["answers", [], []], [
        element("Str", "Hints and solutions")]))
    book.sections["answers"] = model.Section(answers, "", answers.title, answers.id)
    kept, folds, hunt = [], {}, None
    for block in [*hunts.blocks, None]:
        ends = block is None or block["t"] == "Header"
        if ends and hunt:
            kept.append(raw("latex", "\\answers{" + ", ".join(
                f"\\hyperlink{{{id}}}{{{title}: \\pageref{{{id}}}}}" for title, id in [
                    (title, f"{hunt}-{n}") for n, (title, found) in enumerate(folds.items())
                    if any(of == hunt for of, _ in found)]) + "}\n"))
        if ends:
            hunt = block and block["c"][1][0]
        elif block["t"] == "Div" and "folded" in attributes(block)[1]:
            folds.setdefault(attributes(block)[2]["title"], []).append((hunt, block["c"][1]))
            continue
        if block:
            kept.append(block)
    hunts.blocks = kept
    for n, (title, found) in enumerate(folds.items()):
        answers.blocks.append(raw("latex", f"\\booksection{{}}{{{title}}}{{answers-{n}}}\n"))
        for hunt, blocks in found:
            shown = f"{book.sections[hunt].number}. {book.sections[hunt].title}"
            answers.blocks += [raw("latex", f"\\answer{{{words(shown)}}}{{{hunt}-{n}}}\n"), *blocks]
    book.parts.insert(next(n for n, p in enumerate(book.parts) if p.id == "names"), answers)
    return book


def build(book, write, pool):
    book = with_answers(book)
    form = Latex(book)

    def part_text(part):
        if part.id == "names":
            return "\\bookindex{names}\n"
        return ("\\appendixbegins\n" if part.number == "A" else "") + \
            fragment(render(book, part, form), "latex")

    body = "".join(pool.map(part_text, book.parts))
    folder = book.root / "build" / "tex"
    folder.mkdir(parents=True, exist_ok=True)
    text = (book.root / "book/book.tex").read_text().replace("%BODY%", body)
    font = model.font("Inconsolata.otf") or Path("Inconsolata.otf")
    text = text.replace("%FOLDER%", f"{font.parent}/").replace("%FONT%", font.stem)
    source, made = folder / "rustica.tex", folder / "rustica.pdf"
    style = book.root / "book/figures/figure.css"
    for drawing in book.drawings.values():
        svg, pdf = (folder / (drawing["id"] + end) for end in (".svg", ".pdf"))
        if not (pdf.exists() and pdf.stat().st_mtime > style.stat().st_mtime
                and svg.read_text() == drawing["svg"]):
            svg.write_text(drawing["svg"])
            run(folder, "rsvg-convert", "-f", "pdf", "-o", pdf.name, "-s", str(style), svg.name)
            made.unlink(missing_ok=True)
    if not made.exists() or not source.exists() or source.read_text() != text:
        source.write_text(text)
        made.unlink(missing_ok=True)
        for turn in range(1, 5):
            print(f"  tex     rustica.tex, run {turn}", flush=True)
            before = stable(folder)
            run(folder, "xelatex", "-interaction=nonstopmode", "-halt-on-error", "-no-pdf",
                "rustica.tex")
            make_index(folder)
            if stable(folder) == before:
                break
        run(folder, "xdvipdfmx", "-q", "-E", "-o", "rustica.pdf", "rustica.xdv")
    write("rustica.pdf", made.read_bytes())
