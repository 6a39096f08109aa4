"""The book as EPUB: pandoc makes it of what the pages are made of.

pandoc cuts the book into files and does not know the links inside listings, so we
put those right afterwards, and pack the files in a way that does not depend on when.
"""

import io
import os
import re
import subprocess
import tempfile
import zipfile

import model
from to_html import Html, render


class Epub(Html):
    def __init__(self, book):
        super().__init__(book, pages=False)

    def chapter(self, part):
        text = [{"t": "Str", "c": part.full()}]
        return {"t": "Header", "c": [1, [part.id, [], []], text]}


def relink(files):
    """Makes `#id` in each file `file#id`, where another file has the id."""
    home = {}
    for name, data in files.items():
        for id in re.findall(rb' id="([^"]+)"', data) if name.endswith(".xhtml") else []:
            home[id] = name.rsplit("/", 1)[-1].encode()

    def target(found, here):
        id = found[1]
        return b'href="#%b"' % id if home.get(id) == here else b'href="%b#%b"' % (home[id], id)

    for name, data in files.items():
        if name.endswith(".xhtml") and "/text/" in name:
            here = name.rsplit("/", 1)[-1].encode()
            files[name] = re.sub(rb'href="#([^"]+)"', lambda m: target(m, here), data)


def pack(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name in sorted(files, key=lambda n: (n != "mimetype", n)):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_STORED if name == "mimetype" else \
                zipfile.ZIP_DEFLATED
            packed.writestr(entry, files[name])
    return out.getvalue()


def build(book, write, pool):
    form, blocks = Epub(book), []
    for part in book.parts:
        blocks += render(book, part, form)
    meta = {key: {"t": "MetaString", "c": value} for key, value in {
        "title": "Rustica", "subtitle": "An operating-system course that is its own kernel",
        "lang": "en", "identifier": "urn:rustica:book", "date": "1980-01-01"}.items()}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["pandoc", "-f", "json", "-t", "epub3", "--toc-depth=2",
                        "--css", book.root / "book/epub.css",
                        "--css", book.root / "book/figures/figure.css",
                        "-o", folder + "/book.epub"],
                       input=model.document(blocks, meta), text=True, check=True,
                       env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"})
        with zipfile.ZipFile(folder + "/book.epub") as made:
            files = {name: made.read(name) for name in made.namelist()}
    relink(files)
    write("rustica.epub", pack(files))
