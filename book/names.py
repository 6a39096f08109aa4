"""Names of the listings: where each is defined, what is said about it, who uses it.

ctags finds the definitions; the tokens of a listing are our own business, because
each has to be coloured, linked and counted.
"""

import collections
import json
import re
import subprocess

KEYWORDS = set("""auto break case const continue default do else enum extern for goto if inline
    int long register return short signed sizeof static struct switch typedef union unsigned
    void volatile while char bool asm __asm__ __attribute__ _Static_assert _Bool true false
    NULL""".split())

TOKEN = re.compile(r"""
    (?P<comment>/\*.*?\*/) | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<directive>\#[ \t]*(?:include[ \t]*<[^>]*>|\w+)) | (?P<number>\b\d\w*)
    | (?P<word>[A-Za-z_]\w*) | (?P<blank>\s+) | (?P<mark>->|.)""", re.X | re.S)

CONTRACT = 4            # lines at most

IGNORE = "noreturn,packed,aligned_to+,printf_like+"


class Name:
    """A definition. `end` is its last line, `of` the structure or function around it."""

    def __init__(self, tag):
        self.name, self.file, self.line = tag["name"], tag["path"], tag["line"]
        self.kind, self.end = tag["kind"], tag.get("end", tag["line"])
        self.type = tag.get("typeref", "")
        self.of = tag.get("scope", "")
        self.shown = self.name + "()" * (self.kind in ("function", "label") or
                                         self.kind == "macro" and "(" in tag.get("signature", ""))
        self.signature = self.contract = ""
        self.uses = []                  # (file, line), the definition not among them
        self.weak = self.kind in ("prototype", "externvar")

    def structure(self):
        found = re.match(r"(?:struct|union):(\w+)", self.type)
        return found and found[1]


class Names:
    def __init__(self, root, files):
        self.files = files
        self.text = {f: (root / f).read_text().splitlines() for f in files}
        self.globals = collections.defaultdict(list)
        self.tags = collections.defaultdict(list)
        self.members = collections.defaultdict(dict)    # structure -> name -> Name
        self.locals = collections.defaultdict(dict)     # file, function -> name -> Name
        self.functions = []
        code = [f for f in files if f.endswith((".c", ".h"))]
        for tag in [*self.run_ctags(root, code), *self.labels(code)]:
            self.enter(Name(tag))
        for names in self.globals.values():
            names.sort(key=lambda n: (n.weak, code.index(n.file), n.line))
        for name in self.everything():
            self.describe(name)

    @staticmethod
    def run_ctags(root, code):
        command = ["ctags", "--output-format=json", "--fields=+neKSt", "--kinds-C=+pxlz",
                   "--language-force=C", "--sort=no", "-I", IGNORE, "-o", "-", *code]
        out = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        return [json.loads(line) for line in out.splitlines()]

    def labels(self, code):
        """Functions that are labels in assembly."""
        for file in code:
            for number, line in enumerate(self.text[file], 1):
                if found := re.match(r'\s*"(\w+):\\n"', line):
                    yield {"name": found[1], "path": file, "line": number, "kind": "label"}

    def enter(self, name):
        if name.kind == "member":
            self.members[name.of].setdefault(name.name, name)
        elif name.kind in ("local", "parameter"):
            self.locals[name.file, name.of].setdefault(name.name, name)
        elif name.kind in ("struct", "union", "enum"):
            if not name.name.startswith("__anon"):
                self.tags[name.name].append(name)
        else:
            self.globals[name.name].append(name)
            if name.kind == "function":
                self.functions.append(name)

    def everything(self):
        """All names of file scope, each where a file first defines it."""
        for found in [*self.tags.values(), *self.globals.values()]:
            weak = all(one.weak for one in found)
            firsts = {one.file: one for one in reversed(found) if weak or not one.weak}
            yield from [one for one in found if firsts.get(one.file) is one]

    # ---- Looking up ----------------------------------------------------------

    @staticmethod
    def visible(file, other):
        """May a line of `file` mean what `other` defines?"""
        if not file.startswith("user/"):
            return not other.startswith("user/")
        return file == other or other.endswith(".h")

    def find(self, table, name, file):
        found = [n for n in table.get(name, ()) if self.visible(file, n.file)]
        here = [n for n in found if n.file == file and not n.weak]
        return next(iter(here + found), None)

    def in_prose(self, text, file):
        """What a backquoted text means: a Name, None for nothing, False for a mistake."""
        call = re.fullmatch(r"(\w+)\(\)", text)
        if call:
            name = self.find(self.globals, call[1], file) or \
                next(iter(self.globals.get(call[1], ())), None)
            if not name and not re.fullmatch(r"ch\d\d_\w+", call[1]):
                return None if call[1] in self.called() else False
            return name
        if tag := re.fullmatch(r"(?:struct|enum|union) (\w+)", text):
            return self.find(self.tags, tag[1], file) or False
        if re.fullmatch(r"[A-Za-z_]\w*", text):
            return self.find(self.globals, text, file) or self.find(self.tags, text, file) or (
                False if re.fullmatch(r"ch\d\d_\w+", text) else None)
        return None

    def called(self):
        """Functions that are only called: the firmware's, and hooks in structures."""
        if not hasattr(self, "_called"):
            code = "\n".join(line for lines in self.text.values() for line in lines
                             if not line.startswith("//"))
            self._called = set(re.findall(r"\b(\w+)\(|->(\w+)", code))
            self._called = {one for pair in self._called for one in pair}
        return self._called

    def scope(self, file, line):
        return next((f for f in self.functions if f.file == file and f.line <= line <= f.end), None)

    def tokens(self, file, start, text):
        """Yields (kind, text, line, Name or None). A member belongs to the structure that
        the expression before its dot has, as far as this can be seen; so we follow
        the types of `a.b->c[i].d` from left to right."""
        line, chain, depth, last, compound = start, None, [], "", None
        for match in TOKEN.finditer(text):
            kind, word, name = match.lastgroup, match[0], None
            if kind == "word":
                if word in KEYWORDS:
                    kind = "keyword"
                else:
                    name = self.resolve(word, file, line, last, chain, compound)
                    chain = name
                    if last == "struct":
                        compound = word
            elif kind == "mark":
                if word in "([":
                    depth.append(chain)
                    chain = None
                elif word in ")]":
                    chain = (depth.pop() if depth else None) or chain
                elif word not in (".", "->"):
                    chain = None
                    if word == ";":
                        compound = None
            if kind not in ("blank", "comment"):
                last = word
            yield kind, word, line, name
            line += word.count("\n")

    def resolve(self, word, file, line, last, chain, compound):
        if last in ("struct", "union", "enum"):
            return self.find(self.tags, word, file)
        if last in (".", "->"):
            inside = chain.structure() if chain else compound
            if word in self.members.get(inside, ()):
                return self.members[inside][word]
            homes = [m[word] for m in self.members.values() if word in m]
            return homes[0] if len(homes) == 1 else None
        around = self.scope(file, line)
        if around and word in self.locals.get((file, around.name), ()):
            return self.locals[file, around.name][word]
        for structure, members in self.members.items():
            if word in members and (members[word].file, members[word].line) == (file, line):
                return members[word]
        return self.find(self.globals, word, file)

    # ---- What is said about a name -------------------------------------------

    def describe(self, name):
        lines, at = self.text[name.file], name.line - 1
        first = lines[at]
        name.signature = re.sub(r"\s*(/\*.*|\\$)", "", first)
        if name.kind in ("function", "macro"):
            name.signature = re.sub(r"\s*\{.*", "", name.signature)
        elif name.kind == "label":
            name.signature = next((n.signature or self.text[n.file][n.line - 1]
                                   for n in self.globals[name.name] if n.weak), first.strip())
        name.signature = name.signature.rstrip(" ;{=").strip()
        name.contract = self.comment(lines, at) or self.paragraph(lines, at)

    @staticmethod
    def comment(lines, at):
        if found := re.search(r"/\* (.*?)(\*/|$)", lines[at]):
            return found[1].strip()
        above, block = at - 1, []
        if above >= 0 and re.match(r"\s*(/\*|\*).*\*/$", lines[above]):
            while above >= 0 and not lines[above].lstrip().startswith("/*"):
                block.insert(0, lines[above])
                above -= 1
            block.insert(0, lines[above])
        return re.sub(r"\s+", " ", re.sub(r"/\*|\*/|^\s*\*", " ", " ".join(block))).strip()

    def paragraph(self, lines, at):
        """The paragraph above, unless another function or a heading stands between. One of
        more than four lines is no contract: it tells the story of a section."""
        above = at - 1
        while above >= 0 and not lines[above].startswith("//"):
            if lines[above].startswith("}"):
                return ""
            above -= 1
        block = []
        while above >= 0 and re.match(r"// ", lines[above]):
            block.insert(0, lines[above][3:])
            above -= 1
        if len(block) > CONTRACT:
            return ""
        text = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", lambda m: m[1] or "", " ".join(block))
        if text.startswith(("#", ":::", "  ")):
            return ""
        return re.sub(r"\s*\{#.*?\}|\s+", " ", text).strip()
