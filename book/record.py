"""Records a walk through the kernel, inside of GDB: what a reader of the pages steps through.

    source book/record.py
    python record("walk.json")

The file says what the mark in the text says (book/walks.py): from which function to which,
which others are walked through line by line, what is shown and drawn. One line of JSON is
written for each step: where we are, in what, and what is not as it was a step before.

Addresses differ from one machine to another and tell a reader nothing. So what has an address
has a name here, "vmo 1" or "frame 2", numbered in the order of its appearance; and a variable
to which nothing has been given yet is not shown. (This goes behind tools/rustica-gdb.py, in
the same namespace.)
"""

import fnmatch
import json

MOST = 400                      # steps
WORDS = 28                      # letters of a text
PATIENCE = 100                  # seconds until something is reached
DEEP = 60                       # functions of a stack
ALSO = {"free_block": "block", "frame": "frame entry"}  # what structures are called
TIMES = {"until", "time", "now"} # they are others at each run
SIZES = re.compile("size|bytes|offset|length")


def source_line(frame):
    """The line in which the statement begins that the frame is in: lines with an open
    parenthesis go on."""
    line, text = frame.find_sal().line, source_text(frame.find_sal().symtab.fullname())
    first, depth = home(frame), 0
    for number in range(first, line + 1):
        if depth <= 0:
            first = number
        bare = re.sub(r"\"(\\.|[^\"])*\"|'(\\.|[^'])'|/\*.*?\*/", "", text[number - 1])
        depth += bare.count("(") - bare.count(")")
    return first


def known_function(frame):
    found = frame.function()
    return found.name if found else None


def home(frame):
    """The line in which the function's name stands."""
    return frame.function().line


# ---- Values ------------------------------------------------------------------

class Naming:
    """Names for what has an address."""

    def __init__(self):
        self.known, self.counts = {}, {}

    def name(self, kind, address):
        if (kind, address) not in self.known:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.known[kind, address] = f"{kind} {self.counts[kind]}"
        return self.known[kind, address]

    def frame_at(self, address):
        """The frame of a physical address, if it is in use."""
        entry = frame_entry(address)
        if not entry or entry.state != 3:
            return None
        rest = address % FRAME
        return self.name("frame", address - rest) + (f" + {rest}" if rest else "")

    def address(self, name):
        return next(address for (_, address), known in self.known.items() if known == name)

    def frames(self):
        return [(address, name) for (kind, address), name in self.known.items()
                if kind == "frame"]


def frame_entry(address):
    """The kernel's own record of a frame, when there is one."""
    try:
        pmm = variable("pmm")
    except Sorry:
        return None
    index = (address - pmm.base) // FRAME
    if not pmm.frame or not 0 <= index < pmm.count:
        return None
    kind = type_named("struct frame")
    return View(kind, pmm.frame + index * kind.sizeof)


def direct_map():
    info = variable("boot").follow("info")
    return info.direct_map if info else 0


class Values:
    """Values in words."""

    def __init__(self, naming):
        self.naming = naming

    def text(self, value, name=""):
        kind = value.type.strip_typedefs()
        if kind.code == gdb.TYPE_CODE_PTR:
            return self.pointer(value, kind.target().strip_typedefs())
        if kind.code == gdb.TYPE_CODE_BOOL:
            return "true" if int(value) else "false"
        if kind.code == gdb.TYPE_CODE_ENUM:
            return str(value)
        if kind.code == gdb.TYPE_CODE_INT:
            return self.integer(value, kind, name)
        if kind.code == gdb.TYPE_CODE_ARRAY and kind.target().strip_typedefs().sizeof == 1:
            text = memory.text(int(value.address), min(kind.sizeof, WORDS))
            return quoted(text.split("\\x")[0])
        return None

    def integer(self, value, kind, name):
        number = int(value)
        if str(value.type) in ("char", "const char"):
            return f"'{chr(number & 127)}'" if 32 <= number & 127 < 127 else str(number & 255)
        if str(value.type) == "paddr" and number:
            return self.naming.frame_at(number) or f"{number:#x}"
        if kind.sizeof == 8 and number > 0:
            for what in "frame", "vmo_node":
                if (what, number) in self.naming.known:
                    return self.naming.known[what, number]
        if name in TIMES and number >= 1 << 20:
            return "a time"
        if SIZES.search(name) and number >= 1 << 20 and not number % (1 << 20):
            return size(number)
        if str(value.type) in ("vaddr", "paddr"):
            return self.address(number)
        return f"{number:#x}" if number >= 1 << 32 else str(number)

    def address(self, number):
        number &= (1 << 64) - 1
        if number >= KERNEL_BASE:
            place = function(number)
            return "&" + place if not place.startswith("0x") else self.constant(number)
        base = direct_map()
        if base and base <= number < base + (1 << 45):
            if block := self.naming.known.get(("block", number - 32)):
                return f"{block}'s payload"
            frame = self.naming.frame_at(number - base)
            return f"in {frame}" if frame else "in a free frame"
        return f"{number:#x}"

    def constant(self, number):
        """What has no name is a text, mostly."""
        text = memory.text(number, WORDS)
        good = text and all(" " <= c <= "~" or c == "\n" for c in text) and "\\x" not in text
        return quoted(text) if good else "in the kernel"

    def pointer(self, value, target):
        number = int(value) & (1 << 64) - 1
        if not number:
            return "NULL"
        if target.code == gdb.TYPE_CODE_FUNC:
            return function(number) + "()"
        if str(target.unqualified()) == "char":
            return quoted(memory.text(number, WORDS))
        if target.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
            if number >= KERNEL_BASE and re.fullmatch(r"[a-z]\w*", function(number)):
                return "&" + function(number)
            return self.naming.name(kind_of(target.tag or "something", number), number)
        if target.sizeof == 8 and target.code in (gdb.TYPE_CODE_INT, gdb.TYPE_CODE_PTR):
            text = self.text(value.dereference()) or "?"
            return f"-> {int(text):#x}" if text.isdigit() and len(text) > 5 else f"-> {text}"
        return self.address(number)


def kind_of(tag, address):
    """What a structure is called; an object tells what it is the head of."""
    if tag == "object":
        try:
            kind = View(type_named("struct object"), address).follow("type")
            return memory.text(kind.name) if kind else tag
        except Sorry:
            return tag
    return ALSO.get(tag, tag)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace("\n", "\\n") + '"'



# ---- Variables ---------------------------------------------------------------

class Visit:
    """A function's call: which of its variables have got a value."""

    def __init__(self, frame):
        self.frame, self.line, self.unset = frame, source_line(frame), {}
        for symbol_, block in variables(frame):
            if not symbol_.is_argument:
                self.unset[symbol_.name] = bits(symbol_, frame)

    def update(self):
        """Goes on to the line where its frame is now."""
        text = statement(self.frame, self.line)
        for symbol_, block in variables(self.frame) if self.unset else ():
            name = symbol_.name
            given = rf"&{name}\b|(?<![\w.>]){name}\b(\[[^]]*\]|\.\w+)*\s*[-+*/|&^]?=[^=]"
            if name in self.unset and (bits(symbol_, self.frame) != self.unset[name]
                                       or re.search(given, text)):
                del self.unset[name]
        self.line = source_line(self.frame)

    def goes_on(self):
        """Is this still the statement that we saw last, farther on?"""
        return source_line(self.frame) == self.line and self.frame.pc() >= self.pc


def variables(frame):
    """(symbol, block) of arguments and locals; an inner block's hides an outer one's."""
    found, block = {}, frame.block()
    while block:
        for each in block:
            if (each.is_argument or each.is_variable) and each.name not in found and \
                    each.addr_class != gdb.SYMBOL_LOC_STATIC:
                found[each.name] = (each, block)
        if block.function:
            break
        block = block.superblock
    return sorted(found.values(), key=lambda one: (not one[0].is_argument, one[0].line,
                                                   one[0].name))


def bits(symbol_, frame):
    try:
        value = symbol_.value(frame)
        return memory.read(int(value.address), value.type.sizeof) if value.address else None
    except (gdb.error, Sorry):
        return None


def statement(frame, line):
    """The text of a statement that begins in a line."""
    text = source_text(frame.find_sal().symtab.fullname())
    found = ""
    for one in text[line - 1:line + 5]:
        found += one
        if re.search(r"[;{}:]\s*(/\*.*)?$", one):
            break
    return found


sources_read = {}


def source_text(path):
    if path not in sources_read:
        sources_read[path] = open(path).read().split("\n")
    return sources_read[path]


# ---- The walk ----------------------------------------------------------------

class Walk:
    def __init__(self, plan):
        self.plan, self.naming = plan, Naming()
        self.values = Values(self.naming)
        self.visits, self.steps, self.valued = [], [], set()
        self.pictures = [picture(words, self) for words in plan["draw"]]

    def begin(self, start):
        """Goes on to where the walk, or a part of it, begins."""
        place, _, condition = start.partition(" if ")
        if known_function(gdb.newest_frame()) == place and not condition:
            self.base = gdb.newest_frame()      # the chapter's main, where we are already
            return
        stop = break_at(place, "from " + start)
        if condition:
            try:
                stop.condition = condition
            except gdb.error as why:
                raise Sorry(f"`if {condition}` is no condition: {why}") from None
        go_on()
        reached = stop.hit_count and not machine.over and \
            known_function(gdb.newest_frame()) == place
        stop.delete()
        if not reached:
            raise Sorry(f"{start} is never reached.")
        self.base = gdb.newest_frame()

    def go(self):
        self.left = self.plan["from"] * int((self.plan["times"] or ["1"])[0])
        for text in self.plan["type"]:
            run_to("tty_read", "type")      # somebody reads what is typed
            machine.type(text.encode().decode("unicode_escape") + "\n")
        for place in self.plan["after"]:
            run_to(place, "after")
        self.begin(self.left.pop(0))
        self.capture()
        most = int((self.plan["most"] or ["0"])[0])
        while len(self.steps) != most and self.advance():
            self.capture()
            if len(self.steps) > MOST:
                raise Sorry(f"there are more than {MOST} steps; walk into less, or end before")
        for words in self.plan["show"]:
            if words not in self.valued:
                raise Sorry(f"show {words}: it has no value at any step "
                            f"({self.last_error.get(words, 'no function has it')})")

    def walks(self, name):
        return any(fnmatch.fnmatchcase(name, each) for each in self.plan["into"])

    def advance(self):
        """To the next line; false at the end of the walk."""
        gdb.execute("step", to_string=True)
        for _ in range(10000):
            if not machine.over and not self.base.is_valid() and self.left:
                self.begin(self.left.pop(0))
                self.visits = []
                return True
            if machine.over or not self.base.is_valid():
                return False
            frame = gdb.newest_frame()
            name = known_function(frame) or frame.name()
            if name and any(fnmatch.fnmatchcase(name, each) for each in self.plan["to"]):
                return False
            if name and (frame == self.base or self.walks(name)):
                if self.new(frame):
                    return True
                gdb.execute("step", to_string=True)
            else:
                leave_function(frame)
        raise Sorry("the walk does not come to a next line")

    def new(self, frame):
        """At the first line of a function, behind what the compiler has put before it; or at
        the beginning of another statement."""
        visit = next((visit for visit in self.visits if visit.frame == frame), None)
        return not visit or frame.find_sal().pc == frame.pc() and not visit.goes_on()

    # ---- A step ----

    def capture(self):
        global memory
        memory = Memory()
        frames = []
        at = gdb.newest_frame()
        while at and at.is_valid() and at.pc() >= KERNEL_BASE and len(frames) < DEEP:
            if known_function(at) and known_function(at) != "boot_start":
                frames.append(at)
            at = at.older()
        frames.reverse()
        self.meet(frames)
        now, self.frames = frames[-1], frames
        step = {"at": f"{known_function(now)} {source_line(now) - home(now)}",
                "stack": " ".join(known_function(f) for f in frames),
                "vars": self.locals(now), "show": self.shown(frames)}
        step["draw"], below = {}, 0
        for before, each in zip([None, *self.pictures], self.pictures):
            below += 20 if before and type(before) is not type(each) else 0
            for name, group in each.groups().items():
                step["draw"][name] = {**group, "row": group["row"] + below}
        self.steps.append(step)

    def meet(self, frames):
        """Keeps a visit of each function of the walk."""
        if self.base not in frames:
            raise Sorry(f"a stack of {len(frames)} functions is too deep for a walk")
        inside = frames.index(self.base)
        kept = []
        for frame in frames[inside:]:
            found = next((v for v in self.visits if v.frame == frame), None)
            if found:
                found.update()
            kept.append(found or Visit(frame))
            kept[-1].pc = frame.pc()
        self.visits = kept

    def unset(self, frame):
        return next((v.unset for v in self.visits if v.frame == frame), {})

    def locals(self, frame):
        found = {}
        for symbol_, block in variables(frame):
            if symbol_.name in self.unset(frame):
                continue
            try:
                text = self.values.text(symbol_.value(frame), symbol_.name)
            except (gdb.error, gdb.MemoryError, Sorry) as why:
                text = None
            if text is not None:
                found[symbol_.name] = text
        return found

    def shown(self, frames):
        found = {}
        for words in self.plan["show"]:
            value = self.evaluate(words, frames)
            text = value is not None and self.values.text(value, words)
            if text:
                self.valued.add(words)
                found[words] = text
        return found

    last_error = {}

    def evaluate(self, words, frames):
        """An expression in the innermost function that has its names, as far as they have got
        values; None if there is none."""
        used = set(re.findall(r"(?<![\w.>])[a-z_]\w*", words))
        for frame in reversed(frames):
            if used & set(self.unset(frame)):
                continue
            frame.select()
            try:
                value = gdb.parse_and_eval(words)
                value.fetch_lazy()
                return value
            except gdb.MemoryError as why:
                self.last_error[words] = str(why)
            except gdb.error as why:
                self.last_error[words] = str(why)
                if "syntax error" in str(why):
                    raise Sorry(f"`{words}` is no expression: {why}") from None
            finally:
                gdb.newest_frame().select()
        return None


def run_to(place, why):
    stop = break_at(place, why)
    go_on()
    stop.delete()


def go_on():
    """To the next breakpoint; a machine that is content to wait we interrupt."""
    timer = threading.Timer(PATIENCE, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    gdb.execute("continue", to_string=True)
    timer.cancel()


def break_at(place, what):
    try:
        if not gdb.lookup_global_symbol(place):
            raise Sorry(f"{what}: this kernel has no function {place}.")
        return gdb.Breakpoint(place, internal=True)
    except gdb.error as why:
        raise Sorry(f"{what}: {why}") from None


def leave_function(frame):
    """To the caller; assembly has no line, so we take its instructions one by one."""
    try:
        gdb.execute("finish", to_string=True)
    except gdb.error:
        gdb.execute("stepi", to_string=True)


# ---- Pictures ----------------------------------------------------------------
#
# Each gives groups of cells, {name: {"row": ..., "cells": [...]}}: the row that a group stands
# in, from the top, and of each cell its text, or [text, the group it leads to, its colour].

def picture(words, walk):
    kind, _, rest = words.partition(" ")
    if kind not in PICTURES:
        raise Sorry(f"draw {words}: there is no {kind}, but {', '.join(PICTURES)}")
    return PICTURES[kind](rest, walk)


class Picture:
    """A picture of what some expressions mean."""

    def __init__(self, words, walk):
        self.words, self.walk, self.naming = words.split(), walk, walk.naming
        if not self.least <= len(self.words) <= self.most:
            raise Sorry(f"draw {type(self).__name__.lower()} {words}: {self.__doc__}")

    def value(self, words):
        """What an expression means now, None if that is nothing yet. All of a picture's are
        those of the innermost function that has the first of them."""
        frames = self.walk.frames
        if words == self.words[0]:
            self.depth = next((n for n in range(len(frames), 0, -1)
                               if self.walk.evaluate(words, [frames[n - 1]]) is not None), 0)
        return self.walk.evaluate(words, frames[:self.depth])

    def number(self, words, default=0):
        value = self.value(words)
        return default if value is None else min(int(value), 4096)

    def text(self, value, name=""):
        return self.walk.values.text(value, name) or "?"


class Array(Picture):
    """array EXPRESSION COUNT [INDEX]: an array's elements; that of the index stands out"""
    least, most = 2, 3

    def groups(self):
        array, count_ = self.value(self.words[0]), self.number(self.words[1])
        if array is None:
            return {}
        at = self.number(self.words[2], -1) if self.words[2:] else -1
        return {self.words[0]: {"row": 0, "cells": [
            [letter(self.text(array[i])), "", "b" if i == at else "a"]
            for i in range(count_)]}}


class Ring(Picture):
    """ring EXPRESSION SIZE FIRST END [MIDDLE]: a buffer, with what is in it from FIRST up to
    END; both only grow, and are taken modulo SIZE. From MIDDLE on the colour is another"""
    least, most = 4, 5

    def groups(self):
        array, size_ = self.value(self.words[0]), self.number(self.words[1])
        first, end = (self.value(words) for words in self.words[2:4])
        middle = self.value(self.words[4]) if self.words[4:] else end
        if array is None or first is None or end is None:
            return {}
        full = {i % size_: "b" if i < int(middle) else "a"
                for i in range(int(first), min(int(end), int(first) + size_))}
        return {self.words[0]: {"row": 0, "cells": [
            [letter(self.text(array[i])) if i in full else "", "", full.get(i, "dim")]
            for i in range(min(size_, 24))]}}


class Bits(Picture):
    """bits EXPRESSION [COUNT]: the bits of a word, the lowest first; those that are set are
    dark"""
    least, most = 1, 2

    def groups(self):
        value = self.value(self.words[0])
        if value is None:
            return {}
        word, count_ = int(value), self.number(self.words[1], 64) if self.words[1:] else 64
        return {self.words[0]: {"row": 0, "narrow": 10.5, "cells": [
            ["", "", "b" if word >> i & 1 else "dim"] for i in range(count_)]}}


class Table(Picture):
    """table EXPRESSION COUNT FIELD ...: an array of structures, one a line"""
    least, most = 3, 9

    def groups(self):
        array, count_ = self.value(self.words[0]), self.number(self.words[1])
        if array is None:
            return {}
        sheet = self.words[0]
        found = {f"{sheet} ": {"row": 0, "label": "", "sheet": sheet, "cells": [
            [field, "", "none"] for field in self.words[2:]]}}
        for i in range(min(count_, 24)):
            found[f"{sheet}[{i}]"] = {"row": 1 + i, "label": "", "sheet": sheet, "cells": [
                self.text(array[i][field], field) for field in self.words[2:]]}
        return found


class List(Picture):
    """list EXPRESSION LINK [FIELD]: a linked list, from the structure that the expression
    points to; LINK leads to the next one, FIELD is shown of each"""
    least, most = 2, 3

    def groups(self):
        at = self.value(self.words[0])
        if at is None:
            return {}
        found, here, names = {}, at, []
        while int(here) and len(names) < 12:
            names.append(self.text(here))
            if names.count(names[-1]) > 1:
                break
            shown = self.field(here, self.words[2]) if self.words[2:] else ""
            following = here[self.words[1]]
            found[names[-1]] = {"row": 1, "cells": [
                [shown, self.text(following) if int(following) else "", "c"]]}
            here = following
        found[self.words[0]] = {"row": 0, "cells": [["", names[0] if names else ""]]}
        return found


    def field(self, value, path):
        """A field of a field ..., where there is one."""
        for name in path.split("."):
            if value.type.code == gdb.TYPE_CODE_PTR and not int(value):
                return "-"
            value = value[name]
        return self.text(value, path)


def letter(text):
    """A character without its quotation marks, by a number or not."""
    if text.isdigit() and 32 <= int(text) < 127:
        return chr(int(text))
    return {"10": "\\n", "'\\n'": "\\n"}.get(text) or (
        text[1:-1] if re.fullmatch("'.'", text) else text)


class Vmo(Picture):
    """vmo: all VMOs with their trees, and the frames at the leaves"""
    least, most = 0, 0

    def groups(self):
        out, self.frames = {}, set()
        vmos = [(self.naming.name("vmo", v._address), v) for v in all_vmos() if not v.parent]
        self.deepest = max([v.height for _, v in vmos if v.height < 8], default=0)
        for name, v in sorted(vmos, key=by_number):
            out[name] = {"row": 0, "color": "c", "cells": [
                [size(v.size), self.goes_to(v.root, v.height)]]}
            self.nodes(out, v.root, v.height)
        for address, name in sorted(self.naming.frames(), key=lambda one: by_number(one[::-1])):
            entry = frame_entry(address)
            if entry.state == 3 and chr(entry.owner) == "V":
                out[name] = {"row": 9, "color": "b" if entry.references > 1 else "a",
                             "cells": [count(entry.references, "ref")]}
        return out

    def goes_to(self, slot, level):
        return self.naming.name("vmo_node" if level else "frame", slot) if slot else ""

    def nodes(self, out, slot, level):
        if not slot or not level or level > 8:
            return
        node = View(type_named("struct vmo_node"), slot)
        cells = [[f"{n}", self.goes_to(node.slot[n], level - 1)]
                 for n in range(64) if node.used >> n & 1 or node.slot[n]]
        out[self.naming.name("vmo_node", slot)] = {
            "row": 1 + self.deepest - level, "color": "box", "cells": cells}
        for n in range(64):
            self.nodes(out, node.slot[n], level - 1)


def by_number(one):
    kind, number_ = one[0].rsplit(" ", 1)
    return kind, int(number_)


class Heap(Picture):
    """heap [ADDRESS]: the blocks of a region, by default the newest, and the lists of its free
    ones"""
    least, most = 0, 1

    def region(self, heap):
        regions = list(chain(heap.follow("regions"), "next"))
        at = int(self.value(self.words[0])) if self.words else 0
        return next((r for r in regions if r._address <= at & (1 << 64) - 1 <
                     r._address + r.size), regions[0] if regions else None)

    def groups(self):
        heap, out, blocks = variable("heap"), {}, []
        region = self.region(heap)
        try:
            blocks += region_blocks(region) if region else []
        except Broken:
            pass                    # it is being changed just now
        for b in blocks[:18]:
            state = {USED: "used", FREE: "free"}.get(b.magic, "?")
            out[self.naming.name("block", b._address)] = {
                "row": 0, "gap": 5, "color": {"used": "a", "free": "b"}.get(state, "dim"),
                "cells": [f"{state} {b.size}"]}
        for c in range(len(heap.list)):
            names = []
            try:
                for f in chain(View(type_named("struct free_block"), heap.list[c])
                               if heap.list[c] else None, "next"):
                    names.append(self.naming.known.get(("block", f._address)))
            except Broken:
                pass
            names = [name for name in names if name in out]
            if names:
                out[f"list {c}"] = {"row": 1, "cells": [
                    [name.split()[-1], name] for name in names[:6]]}
        return out


class Tables(Picture):
    """tables ROOT ADDRESS: the page tables on the way to an address, from the frame ROOT on"""
    least, most = 2, 2

    def groups(self):
        root, address = (self.value(words) for words in self.words)
        if root is None or address is None:
            return {}
        out, table, address = {}, int(root), int(address)
        for level in range(4, 0, -1):
            index = address >> 12 + 9 * (level - 1) & 511
            words = [memory.word(direct_map() + table + 8 * i) for i in range(512)]
            user = [i for i in range(256 if level == 4 else 512) if words[i] or i == index]
            near = sorted(user, key=lambda i: abs(i - index))[:5]
            below = words[index] & 0xffffffffff000
            name = self.naming.name("table", below) if level > 1 else self.naming.frame_at(below) \
                or "frame"
            out[self.naming.name("table", table)] = {
                "row": 4 - level, "label": f"level {level}", "cells": [
                    [f"{i}" + (": " + self.rights(words[i]) if words[i] else ""),
                     name if i == index and words[i] else "", "b" if i == index else "box"]
                    for i in sorted(near)]}
            if not words[index]:
                return out
            table = below
        out[name] = {"row": 4, "cells": [["", "", "a"]]}
        return out

    @staticmethod
    def rights(entry):
        return "r" + ("w" if entry & 2 else "-") + ("-" if entry >> 63 else "x")


class Maps(Picture):
    """maps SPACE SPACE: two address spaces, their mappings, the VMOs that these show, and of each
    the first frames"""
    least, most = 2, 2

    def groups(self):
        out = {}
        for n, words in enumerate(self.words):
            space = self.value(words)
            root = space and View(space.type.target(), int(space)).follow("mappings")
            cells = []
            for m in tree(root, "struct mapping", "node") if root else []:
                v, name = m.follow("vmo"), self.naming.name("vmo", m.vmo)
                cells.append([f"{m.start >> 12:x}"[-5:], name])
                pages = [(page, self.naming.frame_at(frame)) for page, frame in vmo_pages(v)[:3]]
                out[name] = {"row": 1 + 2 * n, "cells": [[f"{page}", to] for page, to in pages]}
                for _, frame in pages:
                    out[frame] = self.frame(frame)
            out[words] = {"row": 4 * n, "color": "c", "cells": cells}
        return out

    def frame(self, name):
        references = frame_entry(self.naming.address(name)).references
        return {"row": 2, "color": "b" if references > 1 else "a",
                "cells": [count(references, "ref")]}


PICTURES = {kind.__name__.lower(): kind for kind in (Array, Ring, Bits, Table, List, Tables, Maps,
                                                      Heap, Vmo)}


# ---- Writing -----------------------------------------------------------------

def changes(before, now):
    """What is new in a table, and null for what is gone."""
    found = {key: value for key, value in now.items() if before.get(key) != value}
    found.update({key: None for key in before if key not in now})
    return found


def recorded(steps):
    before = {"at": "", "stack": "", "vars": {}, "show": {}, "draw": {}}
    for step in steps:
        line = {"at": step["at"]}
        if step["stack"] != before["stack"]:
            line["stack"] = step["stack"]
            before["vars"] = {}
        for key in "vars", "show", "draw":
            if found := changes(before[key], step[key]):
                line[key] = found
        before = step
        yield json.dumps(line)


def compiler():
    """Who has made the kernel: another one puts other lines behind each other."""
    found = re.search(r"(\w+ )?(GNU C\w* \d+)", quietly("info source"))
    return found[2] if found else ""


def record(path):
    with open(path) as file:
        plan = json.load(file)
    try:
        walk = Walk(plan)
        walk.go()
    except (Sorry, Broken, gdb.error) as why:
        say(f"walk: WRONG: {why}")
        return
    with open(plan["out"], "w") as file:
        file.write(json.dumps({"plan": plan["head"], "compiler": compiler()}) + "\n")
        file.writelines(line + "\n" for line in recorded(walk.steps))
    say(f"walk: {len(walk.steps)} steps")
