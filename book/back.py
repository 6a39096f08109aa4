"""What stands behind the last page of the sources: bug hunts, what is promised, lists, the
index, the colophon.

It is written as Markdown and read by pandoc like everything else.
"""

import hashlib
import importlib.util
import re
import subprocess

import model

KINDS = {"label": "function", "externvar": "variable", "prototype": "function",
         "enumerator": "constant"}
LEVELS = ["", "one sitting", "an evening", "a weekend"]


def hunts(book):
    """Appendix D, of book/hunts/NAME.patch, which tells the chapter, .md and .txt."""
    yield "\n# Appendix D. Bug hunts {#app-hunts}\n"
    yield "Here are bugs that have been in a kernel: in the [ancestor](#ch-zones), most of " \
          "them, where they cost weeks. `make hunt BUG=NAME` plants one in a copy of the " \
          "present source and boots that; `make gdb HUNT=NAME` lets you look for it. Read a " \
          "symptom, guess, and look. If you are stuck, take one hint; if you have found it, " \
          "compare your way with ours. And mend it: the copy is in `build/hunts/NAME`, what " \
          "you change there is kept, and `make hunt BUG=NAME CHECK=1` says whether it is " \
          "fixed: the kernel says what it should, the test that has caught the bug passes, " \
          "and no assertion and no check has been taken out. (`FRESH=1` plants the bug anew.)\n"
    folder = book.root / "book" / "hunts"
    names = sorted((path.stem for path in folder.glob("*.patch")), key=lambda name:
                   (int(planted_in(folder, name)), name))
    for name in names:
        text = (folder / f"{name}.md").read_text()
        text = re.sub(rf"\bhunt,?\s+({'|'.join(names)})(?![\w-])", r"[\g<0>](#hunt-\1)", text)
        title, symptom, *hints = re.split(r"^##? (.*)\n", text, flags=re.M)[1:]
        title = title.removeprefix(name + ": ")
        yield f"## {title[0].upper()}{title[1:]} {{#hunt-{name}}}\n{symptom}\n"
        yield f"(`make hunt BUG={name}`, in Chapter {planted_in(folder, name)}.)\n"
        for title, hint in zip(hints[::2], hints[1::2]):
            if title == "What was true":
                yield from folded("How it is found", '::: {.transcript file="book/hunts/'
                                  f'{name}.txt"}}\n:::')
                if (folder / f"{name}-back.txt").exists():
                    yield from folded("How it is found backwards", "With `make gdb HUNT="
                                      f"{name} BACK=1`:\n\n::: {{.transcript file=\"book/hunts/"
                                      f'{name}-back.txt"}}\n:::')
            yield from folded(title, hint)


def planted_in(folder, name):
    """The chapter, which a patch names first."""
    return re.match(r"CH=(\d+)\n", (folder / f"{name}.patch").read_text())[1]


def folded(title, text):
    yield f'\n:::: {{.folded title="{title}"}}\n{text}\n::::\n'


def promises(book):
    """The table of tests/proof.py, which `make proof` prints with what was reached."""
    spec = importlib.util.spec_from_file_location("proof", book.root / "tests" / "proof.py")
    proof = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(proof)
    return proof.TABLE, proof.OUTSIDE


def proof(book):
    """Appendix E, of the same table as `make proof`."""
    rows, outside = promises(book)
    yield "\n# Appendix E. How do we know? {#app-proof}\n"
    yield "That a kernel boots says little: most mistakes wait for the full memory, the wrong " \
          "pointer, the interrupt between two lines. So here is what we promise, what is " \
          "counted to see whether it is kept, and the command that counts it on your machine. " \
          "`make proof` prints the same table with what was reached; a figure counts only if " \
          "its tests have passed with just the source that you have. `make proof LONG=1` goes " \
          "for the figures of the long run, and takes a night.\n"
    for row in rows:
        yield f"## {row.promise} {{#proof-{row.number}}}\n"
        yield f"{row.how}\n"
        for figure in row.figures:
            yield f"- {escaped(figure.what)}: {goals(figure)}"
        yield f"\nIt is counted by `make proof ROW={row.number}`.\n"
    yield "## What is not promised {#proof-outside}\n"
    yield f"{outside}\n"


def goals(figure):
    """What has to be reached, and who counts it."""
    said = " ".join(figure.goal[:1]) + f" {figure.goal[1]:,}"
    if figure.long and figure.long != figure.goal:
        said += f", in the long run {figure.long[1]:,}"
    if not figure.tests:
        return said + ". *Nobody measures this yet.*"
    tests = ["mutants"] if figure.tests == "mutants" else figure.tests
    return f"{said} ({', '.join(f'`{test}`' for test in tests)})"


def terms(book):
    """book/terms.txt, with what the text says of each."""
    yield "\n## Terms {#list-terms}\n"
    text = (book.root / "book" / "terms.txt").read_text().replace("\n    ", " ")
    for term, id, said in re.findall(r"^(\w[^:#\n]*?)(?: #([\w-]+))?(?:: (.+))?$", text, re.M):
        section, sentence = (book.sections.get(id), "") if id else emphasized(book, term)
        if not section:
            book.problem("book/terms.txt", f"{term} is explained nowhere")
            continue
        yield f"**{term}**\n:   {said or sentence} ({link(section)})\n"


def emphasized(book, term):
    """The section and the sentence in which a term is emphasized for the first time."""
    pattern = re.compile(rf"(?<![*\w])\*\*?{re.escape(term)}\*\*?(?![*\w])")
    for file in book.files:
        for number, text in paragraphs(book.names.text[file]):
            if found := pattern.search(text):
                before = max(text.rfind(end, 0, found.start()) for end in (". ", "? ", ".) "))
                after = re.compile(r"[.?](?= |$)").search(text, found.end())
                sentence = text[before + 2 if before >= 0 else 0:after.end() if after else None]
                return book.section(file, number), sentence.strip(" )(")
    return None, ""


def paragraphs(lines):
    """(number of the first line, text) of what is neither a heading, a fence nor a drawing."""
    first, text = 0, ""
    for number, line in enumerate([*lines, ""], 1):
        plain = re.match(r"// (?!#|:::|    )(- )?(.*)", line)
        if text and (not plain or plain[1]):
            yield first, text
            text = ""
        if plain:
            first = first if text else number
            text += (" " if text else "") + plain[2].strip()


def lines(book):
    yield "\n# Lists {#lists}\n"
    yield from terms(book)
    if book.figures:
        yield "\n## Figures {#list-figures}\n"
        for f in book.figures:
            yield f"- {f['number']} [{first_sentence(f['text'])}](#{f['id']})"
    if book.walks:
        yield "\n## Walks {#list-walks}\n"
        yield "Runs that the pages step through, line by line.\n"
        for w in book.walks.values():
            yield f"- {w['number']} [{first_sentence(w['text'])}](#{w['id']})"
    yield "\n## Exercises {#list-exercises}\n"
    yield "The level of an exercise tells how long it may take: " + \
          ", ".join(f"{n} {what}" for n, what in enumerate(LEVELS) if n) + ".\n"
    for level in 1, 2, 3:
        yield f"\n### Level {level}\n"
        for e in book.exercises:
            if e["level"] == level:
                yield f"- {e['number']} [{first_sentence(e['text'])}](#{e['id']})"
    yield "\n## Standards cited {#list-standards}\n"
    for name, places in sorted(book.citations.items()):
        title, address = model.STANDARDS[name]
        yield f"\n**{name}**. {title}" + (f", <{address}>" if address else "") + "\n"
        for place, sections in sorted(places.items(), key=lambda item: by_number(item[0])):
            links = ", ".join(dict.fromkeys(link(s) for s in sections))
            yield f"- {escaped(place)}: in {links}"
    yield "\n# Index of names {#names}\n"
    yield "Where each name is defined, and the sections that use it. Names of the programs " \
          "are marked with their file.\n\n::: {.index}\n"
    every = sorted(book.names.everything(), key=lambda n: (n.name.lower(), n.name, n.file))
    for name in every:
        yield entry(book, name) + "\n"
    yield ":::\n"
    yield from colophon(book)


def entry(book, name):
    section = book.section(name.file, name.line)
    of = f", {name.file}" if name.file.startswith("user/") else ""
    used = "".join(", " + link(s) for s in book.used_in(name))
    return f"[]{{#{index_id(name)}}}[`{name.shown}`](#{model.anchor(name.file, name.line)}) " \
           f"*{KINDS.get(name.kind, name.kind)}{of}*, **{link(section)}**" + used


def index_id(name):
    plain = name.file in ("rustica.c", "rustica.h", "efi_main.c")
    kind = "s-" if name.kind in ("struct", "union", "enum") else ""
    return f"n-{kind}{name.name}" + ("" if plain else "-" + re.sub(r"\W", "-", name.file))


def link(section):
    return f"[{section.number or section.title}](#{section.id})"


def by_number(text):
    return [(int(w) if w.isdigit() else 0, w) for w in re.findall(r"\d+|[^\d.]+", text)]


def first_sentence(text):
    found = re.match(r".*?[.?!](?=\s|$)", text, re.S)
    return escaped(re.sub(r"\s+", " ", found[0] if found else text))


def escaped(text):
    return re.sub(r"([\\`*_{}\[\]<>#~^$|@'\"])", r"\\\1", text)


# ---- Colophon ------------------------------------------------------------------

def version(command):
    """The first line of what a tool says of itself, or nothing if it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return next(iter((done.stdout or done.stderr).splitlines()), "").strip()
    except OSError:
        return ""


def colophon(book):
    kernel = book.root / "build" / "BOOTX64.EFI"
    yield "\n# Colophon {#colophon}\n"
    yield "This book is its own source: pandoc read the files of the kernel, and everything " \
          "between the prose was numbered, coloured and linked by the programs in `book/`. " \
          "The text is set in TeX Gyre Pagella, the code in Inconsolata.\n"
    if kernel.exists():
        data = kernel.read_bytes()
        yield f"The kernel that this book contains is a file of {len(data):,} bytes, made by " \
              f"`{version(['gcc', '--version'])}`. Its SHA-256 is\n"
        yield f"    {hashlib.sha256(data).hexdigest()}  BOOTX64.EFI\n"
        yield "and `sha256sum build/BOOTX64.EFI` tells whether yours is the same.\n"
    yield "The tools, as they call themselves:\n"
    for tool in "gcc", "tcc", "ld", "qemu-system-x86_64", "gdb", "pandoc", "ctags", "xelatex":
        if said := version([tool, "-v" if tool == "tcc" else "--version"]):
            yield f"- {escaped(said)}"
    count = {file: len(text) for file, text in book.names.text.items()}
    prose = sum(line.startswith("//") for text in book.names.text.values() for line in text)
    yield f"\nThe sources have {sum(count.values()):,} lines in {len(count)} files, " \
          f"{prose:,} of them prose, with {sum(1 for _ in book.names.everything()):,} names, " \
          f"{len(book.exercises)} exercises and {len(book.figures)} figures.\n"
