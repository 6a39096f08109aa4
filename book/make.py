#!/usr/bin/env python3
"""Makes the book: book/make.py [html] [epub] [pdf]; all three unless told. With `check`
only what is wrong with it is said.

Written are build/book/*.html, build/book/rustica.pdf and build/book/rustica.epub, and
of these only what has changed.
"""

import concurrent.futures
import pathlib
import shutil
import sys

sys.dont_write_bytecode = True

import model
import to_epub
import to_html
import to_pdf

FONTS = ["Inconsolata.otf", *(f"texgyrepagella-{face}.otf" for face in
                              ("regular", "bold", "italic", "bolditalic"))]


class Writer:
    """Writes files, but leaves alone what would stay the same."""

    def __init__(self, folder):
        self.folder, self.all, self.changed = folder, [], []

    def __call__(self, name, content):
        path = self.folder / name
        data = content if isinstance(content, bytes) else content.encode()
        self.all.append(name)
        if not path.exists() or path.read_bytes() != data:
            self.changed.append(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            say("book", path.relative_to(self.folder.parent.parent))


def say(what, text):
    print(f"  {what:<7} {text}", flush=True)


def need(tool):
    if not shutil.which(tool):
        raise SystemExit(f"make book: {tool} is missing. 'make setup-book' installs it on "
                         "Debian and Ubuntu.")


def fonts(write):
    """The fonts go with the pages where they are installed; else a reader has others."""
    for name in FONTS:
        if found := model.font(name):
            write("fonts/" + name, found.read_bytes())


def main(wanted):
    if unknown := set(wanted) - {"html", "epub", "pdf", "check"}:
        raise SystemExit(f"make book: there is html, epub and pdf, but no {' '.join(unknown)}")
    pdf = ("xelatex", "makeindex", "rsvg-convert") if "pdf" in wanted else ()
    for tool in "pandoc", "ctags", *pdf:
        need(tool)
    book = model.Book()
    if book.problems:
        raise SystemExit("\n".join([*book.problems, f"make book: {len(book.problems)} problems"]))
    if wanted == ["check"]:
        return
    write = Writer(book.root / "build" / "book")
    kinds = {"pdf": to_pdf.build, "html": to_html.build, "epub": to_epub.build}
    with concurrent.futures.ThreadPoolExecutor(2) as pool, \
            concurrent.futures.ThreadPoolExecutor(2) as builds:
        for done in [builds.submit(build, book, write, pool)
                     for kind, build in kinds.items() if kind in wanted]:
            done.result()
    if "html" in wanted:
        fonts(write)
    say("book", f"{len(write.changed)} of {len(write.all)} files written")


if __name__ == "__main__":
    main(sys.argv[1:] or ["html", "epub", "pdf"])
