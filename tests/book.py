"""Tests of the book: the code can be taken back out of it, what is wrong in the text fails
its build, its numbers are the debugger's, and its pages do what they should in a browser.

What needs a tool that is not installed is skipped, and SKIPPED says so.
"""

import base64
import collections
import hashlib
import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import zipfile

import proof
from patience import Patience

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ROOT / "build" / "book"
EPUBCHECK = pathlib.Path("/usr/share/java/epubcheck.jar")
ALL, ROUND_TRIPS, SKIPPED = [], [], []
LOCK, MADE = threading.Lock(), set()


def has(tool):
    return shutil.which(tool) or tool.startswith("/") and os.path.exists(tool)


def enter(entered, name, function, *tools):
    """Enters a test that needs these tools."""
    missing = [tool for tool in ("pandoc", "ctags", *tools) if not has(tool)]
    if missing:
        SKIPPED.append(f"book/{name}, which needs {' '.join(missing)} ('make setup-book')")
    else:
        entered.append((name, function))
    return function


def test(name, *tools):
    return lambda function: enter(ALL, name, function, *tools)


def made(what, t):
    """Makes a part of the book, once for all tests."""
    with LOCK:
        if what not in MADE:
            t.make("book", WHAT=what)
            MADE.add(what)


def pages(t):
    made("html", t)
    return {path.name: path.read_text() for path in sorted(PAGES.glob("*.html"))}


# ---- The code, back out of the book ----------------------------------------------

class Listings(html.parser.HTMLParser):
    """Collects {file: {line: code}} from pages."""

    def __init__(self):
        super().__init__()
        self.found, self.file, self.line = collections.defaultdict(dict), None, None

    def handle_starttag(self, tag, attributes):
        has_ = dict(attributes)
        if tag == "code" and "data-file" in has_:
            self.file = has_["data-file"]
        if self.file and tag == "a" and has_.get("class") == "n":
            self.line = int(has_["data-n"])
            self.found[self.file][self.line] = ""

    def handle_endtag(self, tag):
        if tag == "code":
            self.file = self.line = None

    def handle_data(self, data):
        if self.file and self.line:
            self.found[self.file][self.line] += data


def take_out(texts):
    """{file: text}: each line of code where it was, nothing where prose was."""
    parser = Listings()
    for text in texts:
        parser.feed(text)
    return {file: "".join(lines.get(n, "\n") for n in range(1, max(lines) + 1))
            for file, lines in parser.found.items()}


def round_trip(texts, cc, tree, t, kernel):
    files = take_out(texts)
    t.check({"rustica.c", "efi_main.c", "rustica.h", "Makefile"} < set(files), str(list(files)))
    for file, text in files.items():
        t.check("\n// " not in text, f"{file}: prose among the code")
        (tree / file).write_text(text)
    for path in [*tree.glob("*.[ch]"), *tree.glob("user/*.[ch]")]:
        t.check(path.relative_to(tree).as_posix() in files, f"{path} is not in the book")
    source = (ROOT / "rustica.c").read_text()
    last = max(map(int, re.findall(r"^// # Chapter (\d+)\.", source, re.M)))
    t.make(cwd=tree, CC=cc, chNN=f"ch{last:02}")
    t.same_bytes(tree / kernel.relative_to(ROOT), kernel)


def html_round_trip(cc, tree, t, kernel):
    round_trip([text for text in pages(t).values()], cc, tree, t, kernel)


def epub_round_trip(t):
    """The EPUB has the code of the pages, of which book/round-trip-html makes the kernel."""
    made("epub", t)
    with zipfile.ZipFile(PAGES / "rustica.epub") as book:
        texts = [book.read(name).decode() for name in sorted(book.namelist())
                 if name.endswith(".xhtml")]
    expected, got = take_out(pages(t).values()), take_out(texts)
    t.check(set(got) == set(expected), f"expected: {sorted(expected)}\ngot: {sorted(got)}")
    for file, text in expected.items():
        t.same_text(text, got[file])


enter(ROUND_TRIPS, "html", html_round_trip)
enter(ALL, "round-trip-epub", epub_round_trip)


# ---- What is wrong fails the build -----------------------------------------------

MISTAKES = """
The kernel calls `boot_nonsense()` here, which does not exist.

This link leads [nowhere](#boot-nowhere).

::: {.figure file="book/figures/nothing.svg"}
A figure that nobody has drawn.
:::

::: {.figure file="book/figures/broken.svg"}
A figure that somebody has drawn badly.
:::

::: {.transcript file="tests/golden/nothing.txt"}
:::

# of frames is not a heading

An id where there can be none. {#boot-lost}

[]{#boot-unused}An id that nothing leads to.

- A list.

    +-- a drawing that
    '-- belongs to it

::: {#walk-boot-one .walk}
    from boot_nowhere
    dance vmo

A walk from nowhere.
:::

::: {#walk-boot-two .walk}
    from boot_start
    into boot_*

A walk that is not recorded.
:::
"""
COMPLAINTS = {"boot_nonsense()": "there is no boot_nonsense()", "nowhere": "a dead link",
              "nothing.svg": "the figure book/figures/nothing.svg is missing",
              "nothing.txt": "the transcript tests/golden/nothing.txt is missing",
              "# of frames": "a heading by accident", "boot-lost": "is not one for pandoc",
              "boot-unused": "is not used", "walk-boot-one": "there is no function boot_nowhere",
              "walk-boot-two": "nothing is recorded: make golden T=walk-boot-two",
              "+-- a": "pandoc does not see this drawing"}


@test("mistakes")
def mistakes(t):
    """Each mistake fails the build, and is named with file and line."""
    tree = t.dir / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git", "host"))
    status, text = t.run("python3", "book/make.py", "check", cwd=tree)
    t.check(status == 0, text)
    source = tree / "rustica.c"
    lines = source.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if "{#boot-theory}" in line) + 2
    with open(tree / "book/terms.txt", "a") as terms:
        terms.write("zzz\n")
    (tree / "book/figures/broken.svg").write_text("<svg><title>a</title><desc>b</desc>\n<g></svg>")
    lines[at:at] = [("// " + line).rstrip() for line in MISTAKES.splitlines()]
    stale = lines.index("//     show clone->committed")
    lines[stale] = "//     show clone->size"
    source.write_text("\n".join(lines) + "\n")
    status, text = t.run("python3", "book/make.py", "check", cwd=tree)
    t.check(status != 0, "a book with mistakes was made")
    t.expect(r"^rustica\.c:\d+: it has changed since it was recorded: make golden T=walk-clone$",
             text)
    for mark, why in COMPLAINTS.items():
        number = next(n for n, line in enumerate(lines, 1) if mark in line and n > at)
        t.expect(rf"^rustica\.c:{number}: .*{re.escape(why)}", text)
    t.expect(r"^book/figures/broken\.svg:2: not an SVG file", text)
    t.expect(r"^book/terms\.txt: zzz is explained nowhere", text)
    t.expect(r"^rustica\.c:\d+: a walk has no `dance`, but after, from, ", text)
    t.check(len(re.findall(r"^rustica\.c:\d+: ", text, re.M)) == len(COMPLAINTS) + 2, text)


@test("missing-tool", "xelatex", "makeindex", "rsvg-convert")
def missing_tool(t):
    """Without a tool the book says which, and where to get it."""
    path, there = t.dir / "path", ["python3"]
    path.mkdir()
    for tool in "pandoc", "ctags", "xelatex", "makeindex", "rsvg-convert":
        (path / there[-1]).symlink_to(shutil.which(there[-1]))
        status, text = t.run(shutil.which("python3"), "book/make.py", env={"PATH": str(path)})
        t.check(status != 0, text)
        t.expect(f"^make book: {tool} is missing. 'make setup-book' installs it", text)
        there.append(tool)
    _, text = t.run(path / "python3", "tests/run.py", "book/browser", env={"PATH": str(path)})
    t.expect("^skipped: book/browser, which needs chromium ", text)


@test("unchanged")
def unchanged(t):
    """A second run writes nothing."""
    pages(t)
    made("epub", t)
    with LOCK:
        t.expect("^  book +0 of ", t.make("book", WHAT="html epub"))


@test("lists")
def lists(t):
    """Terms, figures and exercises are in the lists, each chapter has three to six of the latter,
    and the colophon knows the kernel."""
    every = pages(t)
    text = every["lists.html"]
    for kind in "figure", "exercise":
        found = re.findall(rf"^// ::: \{{#([\w-]+) \.{kind} ", "\n".join(
            path.read_text() for path in [ROOT / "efi_main.c", ROOT / "rustica.c"]), re.M)
        t.check(len(found) > 10, f"{len(found)} {kind}s in the sources")
        for id in found:
            t.check(re.search(rf'href="\w+\.html#{id}"', text), f"{id} is not in the lists")
            page, = [page for page in every.values() if f'id="{id}"' in page]
            if kind == "figure":
                t.expect(rf'<figure id="{id}"><div class="drawn"><svg role="img" '
                         rf'aria-labelledby="{id}-title"', page)
    for name, page in every.items():
        if 'class="label">Chapter' in page and name != "index.html":
            count = page.count("<h4>Exercise ")
            t.check(3 <= count <= 6, f"{name} has {count} exercises")
    terms = re.findall(r"^(\w.*?)(?: #.*|:.*|)$", (ROOT / "book/terms.txt").read_text(), re.M)
    t.check(terms == sorted(terms, key=str.lower), f"book/terms.txt is not in order: {terms}")
    for term in terms:
        t.expect(rf"<dt>\s*<strong>{term}</strong>\s*</dt>\s*<dd>(?s:.{{20,700}}?)<a href=", text)
    t.expect(r"<strong>UEFI</strong>", text)
    t.expect(r"<strong>SDM</strong>", text)
    digest = hashlib.sha256((ROOT / "build/BOOTX64.EFI").read_bytes()).hexdigest()
    t.check(digest in every["colophon.html"], f"the colophon does not name {digest}")


@test("proof")
def proof_in_book(t):
    """The appendix "How do we know?" has each promise of the table with its figures, its command
    and what is not promised, in the pages and in the EPUB; of the PDF, book/pdf sees to it."""
    texts = {"HTML": pages(t)["app-proof.html"]}
    made("epub", t)
    with zipfile.ZipFile(PAGES / "rustica.epub") as book:
        texts["EPUB"], = [text for name in book.namelist() if name.endswith(".xhtml")
                          if 'id="proof-outside"' in (text := book.read(name).decode())]
    for kind, text in texts.items():
        text = html.unescape(re.sub(r"<[^>]+>", "", text)).replace("\u2019", "'")
        text = " ".join(text.split())
        for row in proof.TABLE:
            at = text.find(f" {row.promise} {row.how} ")
            t.check(at >= 0, f"{kind}: {row.promise} {row.how}\nis not in\n{text}")
            part = text[at:text.find(f"make proof ROW={row.number}.", at)]
            t.check(len(part) < 1500, f"{kind}: make proof ROW={row.number} is not below it")
            for figure in row.figures:
                words = f"{figure.what}: {figure.goal[0]} {figure.goal[1]:,}"
                t.check(words in part, f"{kind}: {words}\nis not in\n{part}")
        for word in ("compiler", "firmware", "emulator", "Timing", "Spectre", "Devices"):
            t.check(word in text[text.rfind("What is not promised"):], f"{kind}: {word}")


@test("drawings")
def drawings(t):
    """The drawing in a figure is for those who read the source: the book shows the figure in
    its place, and no drawing beside one that could be the same."""
    every, count = "\n".join(pages(t).values()), 0
    for path in ROOT / "efi_main.c", ROOT / "rustica.c":
        for id, lines in re.findall(r"^// ::: \{#(fig-[\w-]+) .*\n((?://(?:     .*)?\n)+)",
                                    path.read_text(), re.M):
            shown = [line for line in lines.splitlines() if len(line) > 20
                     and html.escape(line[7:].strip(), quote=False) in every]
            t.check(not shown, f"{path.name}: the book shows what is in {id} as well:\n"
                    + "\n".join(shown))
            count += 1
    beside = re.findall(r'<pre class="drawing"[^>]*>([^<]*)</pre>\s*<figure id="([\w-]+)"', every)
    t.check(not beside, "\n".join(f"beside {id} stands\n{text}" for text, id in beside))
    t.check(count >= 9, f"{count} figures have a drawing in the source")


@test("sessions")
def sessions(t):
    """Transcripts are there line by line, and what is to be typed stands out."""
    every, count = "\n".join(pages(t).values()), 0
    for path in sorted(ROOT.glob("book/gdb/*.txt")):
        for line in path.read_text().splitlines():
            text = html.escape(line.removeprefix("(gdb) "), quote=False)
            if line.startswith("(gdb) "):
                count += 1
                t.check(f'<span class="typed"><i>(gdb) </i><b>{text}</b>\n</span>' in every,
                        f"{path.name}: not as typed: {line}")
            elif not line.startswith("# "):
                t.check(f">{text}\n</span>" in every or f">{text}</b>\n</span>" in every,
                        f"{path.name}: not in the book: {line}")
    t.check(count > 100, f"{count} lines are typed")


# ---- Lines -----------------------------------------------------------------------

HEAD = re.compile(r"(?!return|typedef|else)[a-z][\w *]*?(?:printf_like\(.*?\) )?(\w+)\(.*[^;]$")


@test("lines", "gdb")
def lines(t):
    """For every function the source, the page and GDB name the same line: in the kernel GDB
    knows the declaration's; where nothing is optimized its `info line` is the one of the
    function's opening brace."""
    taken = take_out(pages(t).values())
    for file in "rustica.c", "efi_main.c":
        source, code = (ROOT / file).read_text().split("\n"), taken[file].split("\n")
        numbers, braces = {}, {}
        for n, line in enumerate(code, 1):
            t.check(line in ("", source[n - 1]), f"{file}:{n} is another line in the book: {line}")
            if found := HEAD.match(line):
                numbers[found[1]] = n
                braces[found[1]] = next(at for at in range(n, n + 9) if "{" in code[at - 1])
        script = t.dir / "script"
        script.write_text("".join(
            f"python s = gdb.lookup_global_symbol('{name}')\n"
            f"python print('kernel', '{name}', s.line if s else 0)\n" for name in numbers))
        _, said = t.run("gdb", "-batch", "-nx", "-x", script, "build/gcc/BOOTX64.so")
        compare(t, numbers, re.findall(r"^kernel (\w+) (\d+)$", said, re.M))
        if file == "rustica.c":
            plain = t.dir / "rustica.o"
            t.run("gcc", "-std=gnu11", "-g", "-O0", "-ffreestanding", "-mgeneral-regs-only", "-I.",
                  "-c", file, "-o", plain)
            script.write_text("".join(f"info line {name}\n" for name in numbers))
            _, said = t.run("gdb", "-batch", "-nx", "-x", script, plain)
            compare(t, braces, [(name, n) for n, name in re.findall(
                r'^Line (\d+) of "[^"]*" starts at address \w+ <(\w+)', said, re.M)])


def compare(t, numbers, found):
    known = {name: int(n) for name, n in found if int(n)}
    wrong = [f"{name}: {n} in the book, {known[name]} for GDB"
             for name, n in numbers.items() if known.get(name, n) != n]
    t.check(not wrong, "\n".join(wrong))
    t.check(len(known) >= len(numbers) - 2, f"GDB knows {len(known)} of {len(numbers)} functions:"
            f" not {sorted(set(numbers) - set(known))}")


# ---- Pages -----------------------------------------------------------------------

class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.links = collections.Counter(), set()

    def handle_starttag(self, tag, attributes):
        for key, value in attributes:
            if key == "id":
                self.ids[value] += 1
            if key in ("href", "src") and not re.match(r"https?:", value):
                self.links.add(value)


@test("links")
def links(t):
    """Every link of every page leads to something, and ids are unique."""
    bad, parsed = [], {}
    for name, text in pages(t).items():
        parsed[name] = Links()
        parsed[name].feed(text)
    for name, page in parsed.items():
        bad += [f"{name}: the id {id} is there {n} times" for id, n in page.ids.items() if n > 1]
        for link in page.links:
            file, _, id = urllib.parse.unquote(link).partition("#")
            if file and not (PAGES / file).exists() and not file.startswith("rustica."):
                bad.append(f"{name}: no file {file}")
            elif id and id not in parsed[file or name].ids:
                bad.append(f"{name}: nothing has the id of {link}")
    t.check(not bad, "\n".join(bad))


@test("valid", "tidy")
def valid(t):
    """HTML Tidy has nothing to say about the pages."""
    pages(t)
    status, text = t.run("tidy", "-quiet", "-errors", "--drop-empty-elements", "no",
                         "--mute", "PROPRIETARY_ATTRIBUTE", *sorted(PAGES.glob("*.html")))
    said = [line for line in text.splitlines() if "warning: " in line.lower() or "Error" in line]
    t.check(not said, "\n".join(said[:30]))


@test("epubcheck", "java", str(EPUBCHECK))
def epubcheck(t):
    made("epub", t)
    status, text = t.run("java", "-jar", EPUBCHECK, PAGES / "rustica.epub")
    t.check(status == 0 and "No errors or warnings" in text, text)


TEX = "/usr/share/texlive/texmf-dist/"


@test("pdf", "xelatex", "pdftotext", "rsvg-convert", TEX + "tex/latex/koma-script/scrbook.cls",
      TEX + "fonts/tfm/adobe/zapfding/pzdr.tfm")
def pdf(t):
    """No line runs over the margin, no reference is unresolved, all chapters are there; and a
    second run leaves it as it is."""
    made("pdf", t)
    with LOCK:
        t.expect("^  book +0 of ", t.make("book", WHAT="pdf"))
    log = (ROOT / "build/tex/rustica.log").read_text(errors="replace")
    wide = [float(w) for w in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    t.check(max(wide, default=0) < 6, f"lines run over the margin by {sorted(wide)} points")
    t.check("undefined" not in log.lower().replace("undefined on input line", ""), "references")
    status, text = t.run("pdftotext", "-layout", PAGES / "rustica.pdf", "-")
    t.check("(p. ??)" not in text, "a page number is missing")
    for words in ["How do we know?", "What is not promised",
                  *(f"make proof ROW={row.number}." for row in proof.TABLE)]:
        t.check(words in text, f"expected: {words}\nIt is nowhere in the PDF.")
    for title in re.findall(r"^// # (?:Chapter \d+\. )?(.*?) \{", (ROOT / "rustica.c").read_text(),
                            re.M):
        t.check(title.replace("'", "\u2019") in text or title in text
                or title.split("'")[0] in text, f"no chapter {title}")


@test("paper", "xelatex", "pdftotext", "rsvg-convert",
      TEX + "tex/latex/koma-script/scrbook.cls", TEX + "fonts/tfm/adobe/zapfding/pzdr.tfm")
def paper(t):
    """Of the PDF: three pages of contents at most, no solution in sight of its hunt, and no
    function that begins on one page and ends on another."""
    made("pdf", t)
    status, text = t.run("pdftotext", "-layout", PAGES / "rustica.pdf", "-")
    sheets = text.split("\f")
    first = next(n for n, sheet in enumerate(sheets) if re.search("^ *Contents$", sheet, re.M))
    last = next(n for n, sheet in enumerate(sheets) if "This is a course about" in sheet)
    count = sum(bool(sheet.strip()) for sheet in sheets[first:last])
    t.check(count <= 3, f"the contents have {count} pages")
    hunts = [n for n, sheet in enumerate(sheets) if re.search(r"BUG=\S+, in Chapter", sheet)]
    behind = [n for n, sheet in enumerate(sheets)
              if re.search("^ *(Hint [1-4]|How it is found|What was true)$", sheet, re.M)]
    t.check(hunts and len(behind) >= 3 and max(hunts) < min(behind),
            f"hunts are on the pages {hunts}, hints and solutions on {behind}")
    source, found, broken = (ROOT / "rustica.c").read_text().split("\n"), 0, []
    on = [set(re.findall(r"^ *(\d+) +(\S.*)$", sheet, re.M)) for sheet in sheets]
    functions = [n for n, line in enumerate(source, 1) if HEAD.match(line)]
    for n in functions:
        end = next(m for m in range(n, len(source)) if source[m - 1].startswith("}")
                   or m == n and source[m - 1].endswith("}"))
        begun = [sheet for sheet in on if (f"{n}", source[n - 1]) in sheet]
        found += bool(begun)
        if begun and not any((f"{end}", source[end - 1]) in sheet for sheet in begun):
            broken.append(f"rustica.c:{n}: {source[n - 1]}")
    t.check(found > 500, f"only {found} of {len(functions)} functions are seen")
    log = (ROOT / "build/tex/rustica.log").read_text(errors="replace")
    high = [float(h) for h in re.findall(r"Overfull \\vbox \(([\d.]+)pt", log)]
    t.check(max(high, default=0) < 6, f"pages run over their end by {sorted(high)} points")
    t.check(not broken, f"{len(broken)} functions break:\n" + "\n".join(broken[:20]))


# ---- In a browser ----------------------------------------------------------------

class Leaving(RuntimeError):
    """The page was left while it was asked something."""


class Browser:
    """Chromium, spoken to through a pipe."""

    def __init__(self, t):
        self.t, self.count = t, 0
        to_child, self.write = os.pipe()
        self.read, from_child = os.pipe()
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                   "--disable-background-networking", "--hide-scrollbars",
                   f"--user-data-dir={t.dir / 'profile'}", "--remote-debugging-pipe", "about:blank"]
        shell = f'exec 3<&{to_child} 4>&{from_child}; exec "$@"'
        self.child = subprocess.Popen(["bash", "-c", shell, "-", *command],
                                      pass_fds=(to_child, from_child), stdin=subprocess.DEVNULL,
                                      stdout=open(t.dir / "chromium", "w"),
                                      stderr=subprocess.STDOUT)
        os.close(to_child)
        os.close(from_child)
        self.pending, self.session = b"", None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Page.enable")
        self("Emulation.setFocusEmulationEnabled", enabled=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait()

    def message(self):
        while b"\0" not in self.pending:
            more = os.read(self.read, 1 << 16)
            if not more:
                raise RuntimeError("the browser has gone")
            self.pending += more
        text, _, self.pending = self.pending.partition(b"\0")
        return json.loads(text)

    def __call__(self, method, **parameters):
        self.count += 1
        call = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            call["sessionId"] = self.session
        os.write(self.write, json.dumps(call).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.count:
                if "error" in answer:
                    left = re.search("navigated|context was destroyed|find context",
                                     answer["error"]["message"])
                    raise (Leaving if left else RuntimeError)(f"{method}: {answer['error']}")
                return answer["result"]

    def go(self, page, width=1400, height=900, dark=False):
        self("Emulation.setDeviceMetricsOverride", width=width, height=height,
             deviceScaleFactor=1, mobile=width < 600)
        self("Emulation.setEmulatedMedia", media="", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"}])
        self("Page.navigate", url="about:blank")
        self("Page.navigate", url=f"file://{PAGES}/{page}")
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        self.js("document.fonts.ready.then(() => true)")

    def js(self, expression):
        result = self("Runtime.evaluate", expression=expression, awaitPromise=True,
                      returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression):
        """A page that is just being left cannot be asked; the next one can."""
        patience = Patience(60)
        while not patience.over():
            try:
                if self.js(expression):
                    return
            except Leaving:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"in the browser, this did not become true: {expression}")

    def found(self, question):
        """What the book's search finds, as [address, text]."""
        self.js("results.innerHTML = ''; results.hidden = true; "
                f"input.value = {json.dumps(question)}; input.dispatchEvent(new Event('input'))")
        self.wait("!results.hidden && !!results.innerHTML")
        return self.js("all('a', results).map(a => [a.href, a.innerText])")

    def picture(self, name):
        data = self("Page.captureScreenshot", format="png")["data"]
        (self.t.dir / f"{name}.png").write_bytes(base64.b64decode(data))


CONTRAST = """
    function light(colour) {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }
    const paper = light(getComputedStyle(document.body).backgroundColor), faint = {};
    for (const s of ['p', 'p a', '.secno', 'h1 .label', '#contents ol ol a', '.defines', '.k',
                     'figcaption', '.s', '.c', '.m', '.n', '.level']) {
        const e = document.querySelector('main ' + s) || document.querySelector(s);
        const ink = light(getComputedStyle(e).color);
        const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        if (ratio < 4.5) faint[s] = ratio;
    }
    JSON.stringify(faint)"""     # WCAG 2.1, 1.4.3


@test("places", "chromium")
def places(t):
    """A number of a line leads to its page, from every page, and prose has places too."""
    pages(t)
    source = (ROOT / "rustica.c").read_text().split("\n")
    titles = [(n, page) for n, line in enumerate(source, 1)
              if (page := re.match(r"// # .*\{#(?:ch-)?([\w-]+)\}$", line))]
    with Browser(t) as b:
        def leads(start, number, page, at=None):
            b.go(start)
            b.js(f"location.hash = 'L{number}'")
            b.wait(f"location.pathname.endsWith('/{page}.html') && document.readyState === "
                   "'complete' && !!document.querySelector(':target')")
            t.check(at in (None, b.js("location.hash")), f"line {number} is not at {at}")

        for (first, page), (end, _) in zip(titles, [*titles[1:], (len(source), None)]):
            leads("index.html", (first + end) // 2, page[1])
        first, page = titles[3]
        leads("sched.html", first, page[1], f"#L{first}")
        prose = next(n for n in range(first + 3, first + 99)
                     if source[n - 2] == "//" and re.match("// [A-Z]", source[n - 1])
                     and re.match("// [a-z]", source[n]))
        leads(f"{page[1]}.html", prose + 1, page[1], f"#L{prose}")
        b.go(f"index.html#L{prose + 1}")
        b.wait(f"location.href.endsWith('/{page[1]}.html#L{prose}')")
        number = next(n for n in range(titles[8][0], len(source)) if source[n - 1].endswith("{"))
        for typed in f"{number}", f"L{number}", f"rustica.c:{number}":
            found = b.found(typed)[0]
            t.check(found[0].endswith(f"/{titles[8][1][1]}.html#L{number}"), f"{typed}: {found}")
        t.check("#efi_main-c-L120" in b.found("efi_main.c:120")[0][0], "efi_main.c:120")
        t.check("L99999" not in f"{b.found('99999')}", "there is no line 99999")


FOUND = {"bitmap frames": "pmm.html#", "COW": "#vmo-theory", "copy on write": "#vmo-theory",
         "copy-on-write": "#vmo-theory", "fork": "process.html#", "context switch": "#sched-switch",
         "context switches": "#sched-switch", "swapgs": "boot.html#", "zombies": "#sched-end",
         "interupt": ".html#", "tripple fault": "#ch-boot", "pagetable": "#efi-tables",
         "vmo_comm": "vmo.html#", "struct vmo": "vmo.html#L", "boot_physical()": "boot.html#L",
         "lost wakeup": "#thread-theory", "futex": "#thread-", "deadlock": "#thread-theory"}
SAID = {"kmalloc": "For \u201ckmalloc\u201d see \u201cheap_alloc\u201d.",
        "tripple": "\u201ctriple\u201d",
        "interupt": "\u201cinterrupt\u201d",
        "xyzzy42": "The word \u201cxyzzy42\u201d does not occur in the book."}


@test("search", "chromium")
def search(t):
    """What people type is found, first where it is explained; what is not there, it says."""
    every = pages(t)
    with Browser(t) as b:
        b.go("boot.html")
        for question, where in FOUND.items():
            found = b.found(question)
            t.check(found and where in found[0][0], f"{question}: {found[:3]}")
        for question, text in SAID.items():
            b.found(question)
            t.check(text in b.js("results.innerText"), f"{question}: no {text}")
        said = "quaternion"
        t.check(said not in "".join(every.values()).lower(), f"the book has a word {said} now")
        t.check(not b.found(said) and said in b.js("results.innerText"), said)
        for line in (ROOT / "book/synonyms.txt").read_text().splitlines():
            for word in re.split("[:,]", line) if not line.startswith("#") else ():
                t.check(b.found(word.strip()), f"synonyms.txt: nothing is found for {word}")
                t.check("does not occur" not in b.js("results.innerText"), f"synonyms.txt: {word}")
        b.found("copy on write")
        t.check(b.js("document.querySelectorAll('#results mark').length") > 3, "search marks")
        b.picture("search")


@test("phone", "chromium")
def phone(t):
    """On a phone no listing is wider than the window, what is wider says so, and a finger
    finds its target (WCAG 2.1, 2.5.5)."""
    pages(t)
    with Browser(t) as b:
        b.go("sched.html", width=390, height=844)
        wide = b.js("all('.listing pre').filter(p => p.scrollWidth > p.clientWidth + 1).length")
        t.check(wide == 0, f"{wide} listings of chapter 9 scroll sideways")
        b.wait("!!document.querySelector('.hint')")
        cut = b.js("all('.drawn, .drawing').filter(p => p.scrollWidth > p.clientWidth + 1 && "
                   "!/sideways/.test(p.previousElementSibling?.innerText)).length")
        t.check(cut == 0, f"{cut} drawings are cut in silence")
        b.picture("phone-figure")
        for name in "index.html", "sched.html":
            b.go(name, width=390, height=844)
            b.js("all('details').forEach(d => { d.open = true; })")
            small = b.js("all('header a, header button, header input, nav a, nav summary, .parts a,"
                         " .parts summary').filter(e => e.offsetParent && "
                         "e.getBoundingClientRect().height < 44).map(e => e.outerHTML)")
            t.check(not small, f"{name}: {len(small)} targets are too low, as {small[:3]}")


@test("keyboard", "chromium")
def keyboard(t):
    """A listing is one stop of the keyboard, from which all its names are reached; and a name's
    card has the contract alone."""
    pages(t)
    contract = re.search(r"^// (.*)\n// (.*)\n\nint vmo_commit\(", (ROOT / "rustica.c").read_text(),
                         re.M)
    with Browser(t) as b:
        b.go("vmo.html")
        stops = b.js("all('.listing').map(l => all('a, button, pre', l)"
                     ".filter(e => e.tabIndex >= 0).length)")
        t.check(stops and set(stops) == {1}, f"listings have {stops} stops")
        b.js("pre = $('#vmo-state ~ .listing pre'); pre.focus()")

        def press(key):
            for kind in "keyDown", "keyUp":
                b("Input.dispatchKeyEvent", type=kind, key=key)
        seen = set()
        press("Enter")
        for _ in range(400):
            seen.add(b.js("document.activeElement.innerText"))
            press("ArrowRight")
        names = set(b.js("all('a:not(.n), .copy', pre.parentNode).map(a => a.innerText)"))
        t.check(names == seen, f"not reached: {names - seen}")
        press("Escape")
        t.check(b.js("document.activeElement === pre"), "Escape should come back")
        b.js("all('.listing a').find(a => a.innerText === 'vmo_commit').focus()")
        b.wait("!!document.querySelector('#card')")
        text = b.js("document.querySelector('#card').innerText")
        t.check(f"{contract[1]} {contract[2]}" in text, f"the card does not say it: {text}")
        long = b.js("load('names.js', 'names').then(n => Object.values(n).map(one => one[1])"
                    ".filter(text => text.length > 4 * 76))")
        t.check(not long, f"{len(long)} contracts are sections: {long[:1]}")


@test("landing")
def landing(t):
    """The first page says for whom this is, what it needs, and how to run it, as the README."""
    text = pages(t)["index.html"]
    main = text[text.index("<main"):text.index("</main")]
    said = html.unescape(re.sub(r"<.*?>", "", main))
    readme = (ROOT / "README.md").read_text()
    for command in re.findall(r"^    (make setup\S* \w+)  ", readme, re.M):
        t.expect(rf"^{command}$", said)
    for what in "know C", "a computer with Linux", "What you will have built", "welcome to Rustica":
        t.expect(what, re.sub(r"\s+", " ", said))
    t.expect('<img class="cover"', main)


@test("browser", "chromium")
def browser(t):
    """Theme, contracts and copying work; no page is wider than its window. The
    pictures are kept beside the log."""
    every = pages(t)
    with Browser(t) as b:
        b.go("boot.html")
        b.picture("wide")
        background = b.js("getComputedStyle(document.body).backgroundColor")
        b.js("document.querySelector('#theme').click()")
        t.check(background != b.js("getComputedStyle(document.body).backgroundColor"), "theme")
        b.go("boot.html")
        t.check(b.js("document.documentElement.dataset.theme") == "dark", "the theme is kept")
        b.js("localStorage.clear()")
        b.go("boot.html#L200", dark=True)
        t.check(background != b.js("getComputedStyle(document.body).backgroundColor"),
                "dark system")
        b.picture("dark")

        b.go("pmm.html")
        link = "[...document.querySelectorAll('.listing a')].find(a => a.text === 'boot_physical')"
        b.js(f"{link}.scrollIntoView({{block: 'center'}})")
        where = json.loads(b.js(f"JSON.stringify({link}.getBoundingClientRect())"))
        for x in 1, 3:                          # entering a link takes a movement
            b("Input.dispatchMouseEvent", type="mouseMoved", x=where["x"] + x, y=where["y"] + 3)
        b.wait("!!document.querySelector('#card')")
        t.check("boot_physical(paddr" in b.js("document.querySelector('#card').textContent"),
                "card")
        b.picture("hover")
        b.js(f"document.querySelector('#card').remove(); {link}.focus()")
        b.wait("!!document.querySelector('#card')")

        copied = b.js("const p = document.querySelector('.listing'); let c = null;"
                      "navigator.clipboard.writeText = async (x) => { c = x; };"
                      "p.querySelector('.copy').click(); "
                      "new Promise(f => setTimeout(() => f(c), 50))")
        source = (ROOT / "rustica.c").read_text()
        t.check(copied and copied.strip("\n") in source, f"the copy is not the code: {copied}")

        b.go("pmm.html")
        b.js("document.querySelector('#pmm-free').scrollIntoView()")
        b.wait("/Freeing/.test(document.querySelector('#contents a.here')?.textContent)")
        for dark in False, True:
            b.go("zones.html", dark=dark)
            faint = json.loads(b.js(CONTRAST))
            t.check(not faint, f"too little contrast, {'dark' if dark else 'light'}: {faint}")

        b.go("app-hunts.html")
        hunts = len(list(ROOT.glob("book/hunts/*.patch")))
        folds = b.js("[...document.querySelectorAll('main details')].map(d => d.innerText)")
        hints = [text for text in folds if re.fullmatch(r"Hint [1-4]\s*", text)]
        t.check(hunts and len(hints) == 4 * hunts,
                f"{hunts} hunts should have 4 closed hints each, seen are {folds}")
        for name in every:
            b.go(name, width=390, height=844)
            t.check(b.js("document.documentElement.scrollWidth <= innerWidth"),
                    f"{name} is wider than a phone")
        b.go("pmm.html", width=390, height=844)
        b.picture("phone")
        b.go("zones.html")
        b.js("document.documentElement.dataset.theme = 'dark'")
        b("Emulation.setEmulatedMedia", media="print")
        t.check(b.js("getComputedStyle(document.querySelector('p')).color") == "rgb(35, 33, 29)",
                "a dark page should have dark letters on paper")
        shown = b.js("['header', 'nav', '.copy', 'main', '.listing', '#fig-zones'].filter("
                     "s => getComputedStyle(document.querySelector(s)).display != 'none').join()")
        t.check(shown == "main,.listing,#fig-zones", f"on paper there are {shown}")
        b.picture("print")
        data = b("Page.printToPDF", printBackground=True)["data"]
        (t.dir / "print.pdf").write_bytes(base64.b64decode(data))
        b("Emulation.setScriptExecutionDisabled", value=True)
        b.go("pmm.html")
        b.picture("without-scripts")
