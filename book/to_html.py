"""The book as HTML: a landing page, a page for each chapter, the index, search."""

import html
import json
import re
import string

import back
import model
import walks
from model import anchor, attributes, element, plain, raw

esc = html.escape
COLOURS = {"keyword": "k", "string": "s", "comment": "c", "number": "m", "directive": "p"}


def quiet(text):
    return esc(text, quote=False)


class Html:
    """How the parts of a document look in HTML. The EPUB is made of the same, with
    `pages` off: there every link is `#id`, until we know which file has the id."""

    form = "html"

    def __init__(self, book, pages=True):
        self.book, self.pages = book, pages

    def href(self, id, page=None):
        part = self.book.where.get(id)
        other = self.pages and part and part.page != page
        return (part.page if other else "") + ("" if other and id == part.id else "#" + id)

    # ---- Listings ----

    def listing(self, node, page):
        keys, text = attributes(node)[2], node["c"][1].rstrip("\n")
        file, first = keys["file"], int(keys["startFrom"])
        lines = [""]
        plain_text = [("", text, first, None)]
        for kind, word, line, name in self.book.tokens.get((file, first)) or plain_text:
            for i, piece in enumerate(word.split("\n")):
                if i:
                    lines.append("")
                lines[-1] += self.token(kind, piece, name, (file, line), page)
        while lines[-1] == "":
            lines.pop()
        numbered = [f'<span class="l" id="{anchor(file, n)}"{self.indent(own)}>'
                    f'{self.number(file, n)}{line}\n</span>'
                    for n, (line, own) in enumerate(zip(lines, text.split("\n")), first)]
        last = first + len(lines) - 1
        keys = ' aria-describedby="keys"' if self.pages else ""
        return raw("html", '<div class="listing"><pre tabindex="0" role="region" '
                   f'aria-label="{file}, lines {first} to {last}"{keys}><code data-file="{file}">'
                   f'{"".join(numbered)}</code></pre></div>\n')

    def indent(self, line):
        """Where a line goes on that is wider than its window."""
        line = line.expandtabs()
        width = len(line) - len(line.lstrip())
        return f' style="--in:{width}"' if width and self.pages else ""

    def number(self, file, n):
        if not self.pages:
            return f'<a class="n" data-n="{n}"></a>'
        return f'<a class="n" href="#{anchor(file, n)}" data-n="{n}" tabindex="-1" ' \
               'aria-hidden="true"></a>'

    def token(self, kind, text, name, place, page):
        text = quiet(text)
        if kind == "word" and name:
            if (name.file, name.line) == place:
                return text if name.kind in ("local", "parameter", "member") else f"<b>{text}</b>"
            local = name.kind in ("local", "parameter")
            if local and not self.pages:
                return text
            stop = ' tabindex="-1"' if self.pages else ""       # book.js leads to them
            return f'<a href="{self.href(anchor(name.file, name.line), page)}"{stop}>{text}</a>'
        return f'<i class="{COLOURS[kind]}">{text}</i>' if text and kind in COLOURS else text

    # ---- Everything else ----

    def drawing(self, text):
        return raw("html", f'<pre class="drawing" tabindex="0">{quiet(text)}</pre>\n')

    def transcript(self, text, file):
        def line(kind, prompt, text):
            text = quiet(text)
            if kind == "remark":
                text = re.sub("`(.+?)`", r"<code>\1</code>", text)
            elif kind == "typed":
                text = f"<i>{prompt}</i><b>{text}</b>"
            return f'<span class="{kind}">{text}\n</span>'
        lines = "".join(line(*one) for one in model.conversation(text))
        return raw("html", f'<figure class="transcript"><pre tabindex="0">{lines}</pre>'
                   f"<figcaption>{esc(file)}, which the tests compare with a run</figcaption>"
                   "</figure>\n")

    def reference(self, text, name, page):
        href = self.href(anchor(name.file, name.line), page)
        code = element("Code", ["", [], []], text)
        return element("Link", ["", ["name"], []], [code], [href, ""])

    def code(self, node):
        return node

    def link(self, node, page):
        target = node["c"][2][0]
        if target.startswith("#"):
            node["c"][2][0] = self.href(target[1:], page)
        return node

    def place(self, node):
        return node

    @staticmethod
    def mark(id):
        return f'<span class="at" id="{id}"></span>'

    def marked(self, block, id):
        """A block to which the number of its first line leads."""
        if not (id and self.pages):
            return [block]
        if block["t"] == "Para":
            return [element("Para", [raw("html", self.mark(id)), *block["c"]])]
        if block["t"] == "Header":
            level, about, text = block["c"]
            return [element("Header", level, about, [raw("html", self.mark(id)), *text])]
        return [raw("html", self.mark(id) + "\n"), block]

    def chapter(self, part):
        at = self.mark(part.at) if self.pages and part.at else ""
        label = f'<span class="label">{part.label}</span> ' if part.label else ""
        return raw("html", f'<h1 id="{part.id}">{at}{label}{quiet(part.title)}</h1>\n')

    def heading(self, node, section):
        if section and section.number:
            node["c"][2].insert(0, raw("html", f'<span class="secno">{section.number}</span> '))
        return node

    def defines(self, section, page):
        def one(name):
            used = self.book.used_in(name)
            shown = ", ".join(f'<a href="{self.href(s.id, page)}">{s.number or s.title}</a>'
                              for s in used[:6])
            more = f' and <a href="{self.href("names", page)}#{back.index_id(name)}">' \
                   f'{len(used) - 6} more</a>' if len(used) > 6 and self.pages else \
                   f" and {len(used) - 6} more" if len(used) > 6 else ""
            return f'<a class="name" href="{self.href(anchor(name.file, name.line), page)}">' \
                   f'<code>{esc(name.shown)}</code></a>' + (f" ({shown}{more})" if used else "")
        return raw("html", f'<p class="defines"><strong>Defines</strong> and where it is used: '
                   f'{"; ".join(one(n) for n in section.defines)}.</p>\n')

    def figure(self, node, keys, id):
        svg = svg_text(self.book.drawings[id]["svg"], id)
        return [raw("html", f'<figure id="{id}"><div class="drawn">{svg}</div><figcaption>'
                    f'<strong>Figure {keys["number"]}.</strong> \n'), *unparagraphed(node["c"][1]),
                raw("html", "</figcaption></figure>\n")]

    def walk(self, node, keys, id):
        """Three steps stand there; walk.js puts all of them in their place."""
        svg = svg_text(self.book.drawings[id]["svg"], id)
        of = f' data-walks="{walks_file(self.book.walks[id]["part"])}"' if self.pages else ""
        return [raw("html", f'<figure class="walk" id="{id}"{of}><figcaption>'
                    f'<strong>Walk {keys["number"]}.</strong> \n'), *unparagraphed(node["c"][1]),
                raw("html", f'</figcaption><div class="drawn stills">{svg}</div></figure>\n')]

    def exercise(self, node, keys, id):
        level = int(keys["level"])
        head = raw("html", f'<h4>Exercise '
                   f'{keys["number"]} <span class="level" title="level {level} of 3">'
                   f'<span class="sr">level {level} of 3</span>{"&#9679;" * level}'
                   f'{"&#9675;" * (3 - level)}</span></h4>\n')
        node["c"][0] = [id, ["exercise"], []]
        node["c"][1].insert(0, head)
        return node

    def folded(self, node, keys):
        return [raw("html", f'<details><summary>{esc(keys["title"])}</summary>\n'), *node["c"][1],
                raw("html", "</details>\n")]


def unparagraphed(blocks):
    return [element("Plain", b["c"]) if b["t"] == "Para" else b for b in blocks]


def svg_text(text, id):
    """The drawing itself, so that the page's colours are its colours."""
    text = re.sub(r"<title>", f'<title id="{id}-title">', text, 1)
    text = re.sub(r"<desc>", f'<desc id="{id}-desc">', text, 1)
    return text.strip().replace("<svg ", f'<svg role="img" aria-labelledby="{id}-title" '
                                f'aria-describedby="{id}-desc" ', 1)


def render(book, part, form, page=None):
    """The blocks of a part, in a form, ready for pandoc to write."""
    by_block = {id: section for id, section in book.sections.items()}

    def visit(node):
        kind = node["t"]
        if kind == "CodeBlock":
            id, classes, keys = attributes(node)
            if "listing" in classes:
                return form.listing(node, page)
            if "transcript" in classes:
                return form.transcript(node["c"][1], keys["file"])
            return form.drawing(node["c"][1])
        if kind == "Code":
            name = book.meaning(part, node["c"][1])
            return form.reference(node["c"][1], name, page) if name else form.code(node)
        if kind == "Link":
            return form.link(unlinked(node), page)
        if kind == "Span" and attributes(node)[0]:
            return form.place(node)
        if kind == "Header":
            return form.heading(node, by_block.get(node["c"][1][0]))
        if kind == "OrderedList":       # no attribute of HTML says what is a matter of style
            node["c"][0][1:] = [{"t": "DefaultStyle"}, {"t": "DefaultDelim"}]
        if kind == "Div":
            id, classes, keys = attributes(node)
            if "exercise" in classes:
                return form.exercise(node, keys, id)
            if "figure" in classes:
                return form.figure(node, keys, id)
            if "walk" in classes:
                return form.walk(node, keys, id)
            if "folded" in classes:
                return form.folded(node, keys)
        return None

    blocks, open_section = [form.chapter(part)], book.sections[part.id]
    lines = part.lines or [None] * len(part.blocks)
    for block, line in zip(model.tied(part.blocks) + [None], [*lines, None]):
        ends = block is None or block["t"] == "Header" and (
            block["c"][0] < 3 or block["c"][1][0].endswith("-exercises"))
        if ends:
            if open_section and open_section.defines:
                blocks.append(form.defines(open_section, page))
            open_section = block and book.sections.get(block["c"][1][0])
        if block:
            blocks += model.walk(form.marked(block, line), visit)
    return blocks


def unlinked(node):
    """A link cannot be inside a link: names in a link's text stay plain."""
    def visit(inner):
        return inner["c"][1] if inner["t"] == "Link" else None
    node["c"][1] = model.walk(node["c"][1], visit)
    return node


# ---- The pages -----------------------------------------------------------------

def fragment(blocks, form="html5"):
    return model.pandoc("-f", "json", "-t", form, "--wrap=none", text=model.document(blocks))


def contents(book, here=None):
    """The list of parts; that of `here` shows its sections."""
    out = []
    for part in book.parts:
        number = f'<span class="secno">{part.number}</span> ' if part.number else ""
        current = ' aria-current="page"' if part is here else ""
        out.append(f'<li><a href="{part.page}"{current}>{number}{quiet(part.title)}</a>')
        if part is here and part.sections:
            out.append("<ol>" + "".join(
                f'<li><a href="#{s.id}"><span class="secno">{s.number}</span> {quiet(s.title)}</a>'
                "</li>" for s in part.sections) + "</ol>")
        out.append("</li>")
    return "<ol>" + "".join(out) + "</ol>"


def page(book, template, part):
    blocks = render(book, part, Html(book), part.page)
    at = book.parts.index(part)
    turn = ""
    for step, rel, arrow in (-1, "prev", "&larr; "), (1, "next", ""):
        if 0 <= at + step < len(book.parts):
            other = book.parts[at + step]
            turn += f'<a rel="{rel}" href="{other.page}">{arrow}{quiet(other.full())}' \
                    f'{" &rarr;" if step > 0 else ""}</a>'
    return template.substitute(title=quiet(f"{part.full()} - Rustica"), main=fragment(blocks),
                               contents=contents(book, part), turn=turn, kind="chapter")


GREETING = "tests/golden/ch14.txt"


def landing(book, template):
    items = []
    for part in book.parts:
        sections = "".join(f'<li><a href="{part.page}#{s.id}">{quiet(s.title)}</a></li>'
                           for s in part.sections)
        inner = f'<details><summary>{len(part.sections)} sections</summary><ol>{sections}</ol>' \
                "</details>" if sections else ""
        items.append(f'<li><a href="{part.page}"><span class="label">{part.label}</span> '
                     f'{quiet(part.title)}</a>{inner}</li>')
    lines = sum(len(text) for text in book.names.text.values())
    programs = sum(bool(re.match(r"user/[^/]*\.c$", file)) for file in book.files)
    greeting = (book.root / GREETING).read_text()
    shown = greeting[:greeting.index("\n", greeting.index("welcome"))]
    main = f"""<h1 class="cover">Rustica</h1>
<p class="subtitle">An operating-system course that is its own kernel</p>
<p>For those who know C and want to understand an operating system by reading one from its
first line to its last, by running it, breaking it and watching it in a debugger: in a course,
or alone. You need no knowledge of operating systems, and none of the processor beyond what
registers and pointers are.</p>
<img class="cover" src="picture.svg" alt="One file, read as a book and compiled as a kernel"
width="860" height="310">
<p>All {lines:,} lines of the system are in this book, and all of the book is in the system's
source. <a href="{book.parts[0].page}">Begin with the preface</a>, or take the book with you as
<a href="rustica.pdf">PDF</a> or <a href="rustica.epub">EPUB</a>.</p>
<h2 id="commands">Two commands</h2>
<p>You need a computer with Linux, and in the folder of the source, on Debian or Ubuntu with
<code>git</code> and <code>make</code>, one command to see it run, and one to have all of its
tools, this book's among them, and every promise tested:</p>
<pre class="drawing" tabindex="0">make setup run
make setup-book test</pre>
<p>The first asks for root's rights only if something is missing, builds the kernel and boots
it in an emulated machine. Nothing touches your disks. After some seconds you are at the
prompt of its shell, and <code>poweroff</code> ends it:</p>
{Html(book).transcript("$ make setup run" + chr(10) + shown, GREETING)["c"][1]}
<h2 id="built">What you will have built</h2>
<p>A kernel for 64-bit PCs, each line of which has been explained before it was needed. Page
tables and copy-on-write memory, threads that take turns, processes, signals and pipes, files
and a terminal; a shell and {programs - 1} other programs, which run unchanged on Linux. After
any chapter it can be cut off, and boots, and shows what that chapter taught.</p>
<p>With nothing installed, on a telephone, too, you can step through each chapter line by line:
in its <a href="lists.html#list-walks">walks</a>, recorded runs that show at each step what is
in memory.</p>
<ol class="parts">{''.join(items)}</ol>"""
    return template.substitute(title="Rustica: an operating-system course that is its own kernel",
                               contents=contents(book), main=main, turn="", kind="landing")


# ---- What the scripts read -------------------------------------------------------

def walks_file(part):
    return part.page.removesuffix(".html") + ".walks.js"


def walks_js(book, part):
    """{id: what walk.js needs} of the walks on a page"""
    data = {id: walks.for_page(item["walk"], lambda f: function_lines(book, f))
            for id, item in book.walks.items() if item["part"] is part}
    name = json.dumps(walks_file(part))
    return f"rustica[{name}] = {json.dumps(data, separators=(',', ':'))};\n"


def function_lines(book, function):
    """The lines of a function, coloured."""
    first = max(n for file, n in book.tokens if file == function.file and n <= function.line)
    lines = [""]
    for kind, word, line, name in book.tokens[function.file, first]:
        for i, piece in enumerate(word.split("\n")):
            if i:
                lines.append("")
            text = quiet(piece)
            short = COLOURS.get(kind)
            lines[-1] += f'<i class="{short}">{text}</i>' if short and text else text
    return lines[function.line - first:function.end - first + 1]


def names_js(book):
    """{id of the line: [signature, contract, section]}"""
    data = {}
    for name in [*book.names.everything(),
                 *(m for ms in book.names.members.values() for m in ms.values())]:
        section = book.section(name.file, name.line)
        data[anchor(name.file, name.line)] = [name.signature, name.contract,
                                              f"{section.number} {section.title}".strip()]
    return "rustica.names = " + json.dumps(data, separators=(",", ":"), sort_keys=True) + ";\n"


def lines_js(book):
    """{start of its ids: [file, last line, [[first line, page, section], ...]]} of each file"""
    data = {}
    for file in book.files:
        data[anchor(file, 0)[:-2]] = [file, len(book.names.text[file]), [
            [line, s.part.page, f"{s.number} {s.title}".strip()] for line, s in book.starts[file]]]
    return "rustica.lines = " + json.dumps(data, separators=(",", ":")) + ";\n"


WEIGHTS = {"Chapter": 1, "Prologue": 1, "Appendix": 0.5}


def search_js(book):
    """[[page, id, number and title, text, terms it explains, names it defines, weight]] of all
    sections; what is folded is for no one who has not asked, and the index is one itself."""
    data = []
    for part in book.parts:
        weight = next((w for kind, w in WEIGHTS.items() if part.label.startswith(kind)),
                      0.3 if part.number == "" and part.id != "preface" else 1)
        section, text, terms = book.sections[part.id], [], []
        for block in part.blocks + [None] if part.id != "names" else ():
            if block is None or block["t"] == "Header" and block["c"][1][0] in book.sections:
                title = section.title if section.number == section.title else \
                    f"{section.number} {section.title}".strip()
                data.append([part.page, section.id, title,
                             re.sub(r"\s+", " ", " ".join(text)).strip(), terms,
                             [[titled(n), anchor(n.file, n.line)] for n in section.defines],
                             weight])
                section = block and book.sections[block["c"][1][0]]
                text, terms = [], []
            elif block["t"] != "Div" or "folded" not in attributes(block)[1]:
                text.append(plain(block))
                if block["t"] == "Para":
                    terms += emphasized(block["c"])
    synonyms = [[part.strip() for part in re.split("[:,]", line)] for line in
                (book.root / "book/synonyms.txt").read_text().splitlines() if line[:1] not in "#"]
    return f"rustica.sections = {json.dumps(data, separators=(',', ':'))};\n" \
           f"rustica.synonyms = {json.dumps(synonyms)};\n"


def titled(name):
    return f"{name.kind} {name.name}" if name.kind in ("struct", "union", "enum") else name.shown


def emphasized(inlines):
    """Words in italics or bold: there a text explains them."""
    out = []
    model.walk(inlines, lambda node: out.append(plain(node)) if node["t"] in ("Emph", "Strong")
               and len(plain(node).split()) < 5 else None)
    return out


def build(book, write, pool):
    """Hands each file's name and text to write()."""
    template = string.Template((book.root / "book/page.html").read_text())
    write("index.html", landing(book, template))
    for part, text in zip(book.parts, pool.map(lambda p: page(book, template, p), book.parts)):
        write(part.page, text)
        if any(item["part"] is part for item in book.walks.values()):
            write(walks_file(part), walks_js(book, part))
    write("names.js", names_js(book))
    write("lines.js", lines_js(book))
    write("search.js", search_js(book))
    for file in "book.css", "book.js", "find.js", "walk.js", "picture.svg":
        write(file, (book.root / "book" / file).read_text())
