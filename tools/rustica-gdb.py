"""What GDB needs to know about Rustica.

`make gdb` loads this file and says `rustica boot`: the machine is started, GDB is
connected to it before its first instruction, and the kernel runs to the first line
of the chapter's main function. `help rustica` lists what there is besides.

Every command that shows something of the kernel's reads memory through the class
Memory below. What is found there may be rubbish, since people use a debugger when
things are broken: so each loop has a limit, and an address that cannot be read ends
the command with a sentence.
"""

import bisect
import contextlib
import ctypes
import difflib
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import gdb
import gdb.FrameDecorator
import gdb.printing

FRAME = 4096
KERNEL_BASE = 0xffffffff80000000
LIMIT = 20000                   # of anything that a command goes through


class Sorry(gdb.GdbError):
    """Ends a command with a sentence."""


def quietly(command):
    return gdb.execute(command, to_string=True)


def silently(command):
    """Like quietly(), and does not say where the machine has stopped either."""
    quietly("set suppress-cli-notifications on")
    try:
        quietly(command)
    finally:
        quietly("set suppress-cli-notifications off")


def say(text=""):
    gdb.write(str(text) + "\n")


# ---- The machine -------------------------------------------------------------

class Machine:
    """QEMU, which ends when we do."""

    def __init__(self):
        self.process = self.folder = self.serial = None
        self.end = None         # a breakpoint where the kernel ends
        self.arrival = None     # one where an image begins that has moved
        self.over = ""          # why it cannot go on: a sentence
        self.facts = {}         # what `make gdb-machine` has told

    def path(self, name):
        return os.path.join(self.folder, name)

    def build(self, words):
        """Builds the kernel, and learns how to start it."""
        env = {**os.environ, "MAKEFLAGS": re.sub(
            r"(^| )(-j\d*|--jobserver\S*)", "", os.environ.get("MAKEFLAGS", ""))}
        make = subprocess.run(["make", "--no-print-directory", "gdb-machine", *words], env=env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for line in make.stdout.splitlines():
            found = re.match(r"machine: (\w+) ?(.*)", line)
            if found:
                self.facts[found[1]] = found[2]
            else:
                say(line)
        if make.returncode:
            raise Sorry("There is no kernel to start, see above.")

    def start(self):
        """Starts QEMU; it waits for us before its first instruction.

        If there is a snapshot of a machine whose firmware has done its work, that is the
        moment before its next one."""
        snapshot = self.facts.get("warm")
        if snapshot and os.path.exists(snapshot):
            try:
                self.launch(["-incoming", f"exec:cat {shlex.quote(snapshot)}; echo"])
                while b"inmigrate" in self.ask("info status"):
                    time.sleep(0.02)
                return
            except (Sorry, OSError):
                say("The snapshot does not wake up, so this is a cold start.")
        say("The machine starts. Its firmware takes some seconds.")
        self.launch([])

    def launch(self, options, console=None, fifo=False):
        """Starts QEMU; what the kernel prints is shown, or goes to a file. The serial line is
        a socket, or a FIFO to type into."""
        self.stop()
        self.folder = tempfile.mkdtemp(prefix="rustica-gdb.")
        options = ["-S", "-no-shutdown", *options]
        sockets = ["gdb", "monitor"] + ["serial"] * (not fifo)
        for name in sockets:
            options += ["-" + name, f"unix:{self.path(name)},server=on,wait=off"]
        if fifo:
            os.mkfifo(self.path("serial.in"))
            os.symlink("/dev/null", self.path("serial.out"))
            options += ["-serial", "pipe:" + self.path("serial")]
        # What the kernel prints goes where GDB's words go. But a front end expects those
        # in a form of their own: for it, the text passes through GDB.
        if not console:
            console = self.path("console") if front_end() else "/dev/stdout"
        if console == self.path("console"):
            os.mkfifo(console)
            threading.Thread(target=self.pass_on, args=(console,), daemon=True).start()
        log = self.facts["log"]
        command = self.facts["start"].replace(
            "path=" + log, f"path={console},append=on,logfile={log}")
        gdb.flush()
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec {command} "$@"', "qemu", *options],
            env={**os.environ, "options": self.facts["options"]},
            stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent)
        for _ in range(12000):
            if self.process.poll() is not None:
                break
            if all(os.path.exists(self.path(name)) for name in sockets):
                return
            time.sleep(0.05)
        self.stop()
        raise Sorry("The machine does not start, see above.")

    def pass_on(self, console):
        with open(console, "rb", buffering=0) as pipe:
            for text in iter(lambda: pipe.read(FRAME), b""):
                text = text.decode("ascii", "backslashreplace")
                gdb.post_event(lambda text=text: gdb.write(text))

    def disconnect(self):
        if gdb.selected_inferior().pid:
            with contextlib.suppress(gdb.error):    # it may have gone
                quietly("disconnect")

    def stop(self):
        self.disconnect()
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.process = self.folder = self.serial = None

    def connect(self, base=KERNEL_BASE):
        """Starts the machine and connects to it; the image's symbols are at `base`."""
        self.forget_arrival()
        self.start()
        self.attach(self.path("gdb"), base)

    def attach(self, place, base=KERNEL_BASE):
        self.over = ""
        self.load_symbols(base)
        silently("target remote " + place)
        if not self.end:        # no `delete` deletes this one
            self.end = gdb.Breakpoint("boot_exit", gdb.BP_HARDWARE_BREAKPOINT, internal=True)
            self.end.silent = True
        self.end.enabled = True

    def forget_arrival(self):
        if self.arrival and self.arrival.is_valid():
            self.arrival.delete()
        self.arrival = None

    def load_symbols(self, base=KERNEL_BASE):
        """By add-symbol-file, so that GDB also reads code in the file: it looks at code
        to place a breakpoint, when there is nothing in memory yet."""
        path = os.path.abspath(self.facts["symbols"])
        while any(o.filename == path for o in gdb.objfiles()):
            quietly("remove-symbol-file " + path)
        quietly(f"add-symbol-file {path} -o {base:#x}")

    def ask(self, command, seconds=60):
        """What QEMU's monitor answers; its prompt comes before and after."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(seconds)
            monitor.connect(self.path("monitor"))
            monitor.sendall(command.encode() + b"\n")
            answer = b""
            while answer.count(b"(qemu)") < 2:
                more = monitor.recv(FRAME)
                if not more:
                    raise Sorry("The machine has ended.")
                answer += more
        return answer

    def type(self, text):
        """The serial line takes the text as fast as the kernel reads it, so it stays open.
        And as what the kernel writes there is on our console already, somebody throws it
        away: else the line fills up, and the kernel waits."""
        if not self.serial:
            self.serial = socket.socket(socket.AF_UNIX)
            self.serial.connect(self.path("serial"))
            threading.Thread(target=drain, args=(self.serial,), daemon=True).start()
        self.serial.sendall(text.encode())


def drain(line):
    try:
        while line.recv(FRAME):
            pass
    except OSError:
        pass


def front_end():
    """Was GDB started by a front end, with --interpreter=mi?"""
    with open("/proc/self/cmdline") as words:
        return re.search(r"\0--?i(nterpreter)?[=\0]mi", words.read())


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)     # PR_SET_PDEATHSIG


def leave(event=None):
    """To quit is to end the machine. (A mere detach would let it run on.)"""
    leaving.set()
    if follower.is_alive():
        follower.join(2)
    machine.stop()
    past.leave()


def makes():
    """Whoever has started us by `make`: the processes."""
    pid = os.getppid()
    try:
        while pid > 1:
            with open(f"/proc/{pid}/stat") as stat:
                _, name, rest = re.split(r"[(](.*)[)]", stat.read())
            if name == "make":
                yield os.pidfd_open(pid)
            pid = int(rest.split()[1])
    except OSError:
        pass                    # whoever that was, it has ended, or we may not know


def leave_with(processes):
    """If make is killed, we have no reason to stay, nor has the machine."""
    wait = select.poll()
    for process in processes:
        wait.register(process, select.POLLIN)
    wait.poll()
    machine.stop()
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGKILL)


machine = Machine()
gdb.events.gdb_exiting.connect(leave)
if started_by := list(makes()):
    threading.Thread(target=leave_with, args=(started_by,), daemon=True).start()


# ---- Reading memory ----------------------------------------------------------

class Memory:
    """The machine's memory as the processor sees it now, page by page."""

    def __init__(self):
        self.pages = {}

    def read(self, address, size):
        address &= (1 << 64) - 1
        if not 0 <= size <= 1 << 24:
            raise Sorry(f"{size:#x} bytes at {address:#x} are more than anybody can mean.")
        parts, end = [], address + size
        while address < end:
            page = address & -FRAME
            parts.append(self.page(page)[address - page:end - page])
            address = page + FRAME
        return b"".join(parts)

    def page(self, page):
        if page not in self.pages:
            if not gdb.selected_inferior().pid:
                raise Sorry("There is no machine; `rustica boot` starts one.")
            if not 0 <= page < 1 << 64:
                raise Sorry(f"Nothing can be read at {page:#x}.")
            try:
                self.pages[page] = gdb.selected_inferior().read_memory(page, FRAME).tobytes()
            except (gdb.MemoryError, gdb.error, OverflowError):
                raise Sorry(f"Nothing can be read at {page:#x}. (The kernel's memory exists "
                            "from boot_start() on.)") from None
        return self.pages[page]

    def word(self, address):
        return int.from_bytes(self.read(address, 8), "little")

    def text(self, address, most=40):
        """A string in quotation marks, or what is wrong with it."""
        try:
            found = self.read(address, most) if address % FRAME <= FRAME - most else \
                self.read(address, FRAME - address % FRAME)
        except Sorry:
            return f"(no text at {address:#x})"
        return found.split(b"\0")[0].decode("ascii", "backslashreplace")


memory = Memory()               # a new one for each command


class View:
    """A structure in memory: view.field is a number, a View or an Items."""

    def __init__(self, kind, address):
        self._kind, self._address = kind, int(address) & (1 << 64) - 1

    def __getattr__(self, name):
        kind, offset = fields(self._kind).get(name, (None, 0))
        if kind is None:
            raise Sorry(f"{self._kind} has no field {name}.")
        return decode(kind, self._address + offset)

    def follow(self, name):
        """What a pointer points to, None if it is null."""
        kind, _ = fields(self._kind)[name]
        address = getattr(self, name)
        return View(kind.strip_typedefs().target().strip_typedefs(), address) if address else None


class Items:
    """An array in memory."""

    def __init__(self, kind, address, count):
        self._kind, self._address, self._count = kind, address, count

    def __len__(self):
        return self._count

    def __getitem__(self, i):
        if not 0 <= i < self._count:
            raise IndexError
        return decode(self._kind, self._address + i * self._kind.sizeof)


def decode(kind, address):
    kind = kind.strip_typedefs()
    if kind.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        return View(kind, address)
    if kind.code == gdb.TYPE_CODE_ARRAY:
        low, high = kind.range()
        return Items(kind.target(), address, high - low + 1)
    return int.from_bytes(memory.read(address, kind.sizeof), "little")


known_fields = {}


def fields(kind):
    if str(kind) not in known_fields:
        known_fields[str(kind)] = {f.name: (f.type, f.bitpos // 8) for f in kind.fields()}
    return known_fields[str(kind)]


def type_named(name):
    try:
        return gdb.lookup_type(name)
    except gdb.error:
        raise Sorry(f"This kernel has no {name}; a later chapter brings it.") from None


def variable(name):
    """A global variable; the chapter that has it may not be in this kernel."""
    try:
        value = gdb.parse_and_eval("&" + name)
        return decode(value.type.target(), int(value))
    except gdb.error:
        raise Sorry(f"This kernel has no variable {name}; a later chapter brings it.") from None


def number(text):
    """An expression's value: an address, for a structure its own."""
    try:
        value = gdb.parse_and_eval(text)
        if value.type.strip_typedefs().code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_ARRAY):
            value = value.address
        return int(value.cast(gdb.lookup_type("unsigned long")))
    except gdb.error as why:
        raise Sorry(str(why)) from None


def symbol(address):
    """function+0x12, as the kernel's own reports say it."""
    found = re.match(r"(\S+)(?: \+ (\d+))? in section", quietly(f"info symbol {address:#x}"))
    return f"{found[1]}+{int(found[2] or 0):#x}" if found else f"{address:#x}"


def function(address):
    return symbol(address).replace("+0x0", "")


def size(count):
    """As boot_size() says it."""
    tenths, units = 0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while count >= 1024:
        tenths, count = count % 1024 * 10 // 1024, count // 1024
        units.pop(0)
    return f"{count} {units[0]}" if count >= 100 or not tenths else f"{count}.{tenths} {units[0]}"


def count(n, what):
    return f"{n} {what}" + ("" if n == 1 else "s")


def rights(bits):
    return "".join(c if bits & bit else "-" for c, bit in (("r", 4), ("w", 2), ("x", 1)))


class Broken(Exception):
    """A list that does not end, or leads nowhere."""


def chain(first, link):
    """The members of a linked list, up to a limit."""
    seen, at = set(), first
    while at:
        if at._address in seen:
            raise Broken(f"the list bites its tail at {at._address:#x}")
        if len(seen) > LIMIT:
            raise Broken("the list does not end")
        seen.add(at._address)
        yield at
        at = at.follow(link)


def node_at(address):
    return View(type_named("struct tree_node"), address) if address else None


def tree(root, kind, field):
    """What stands in a tree (chapter 7), in order: the structures with that field."""
    offset = next(f.bitpos // 8 for f in type_named(kind).fields() if f.name == field)
    seen, above, at = set(), [], root
    while at or above:
        while at:
            if at._address in seen or len(seen) > LIMIT:
                raise Broken(f"the tree is none at {at._address:#x}")
            seen.add(at._address)
            above.append(at)
            at = node_at(at.child[0])
        at = above.pop()
        yield View(type_named(kind), at._address - offset)
        at = node_at(at.child[1])


# ---- Chapters 2 and 3: zones and frames --------------------------------------

ZONES = ["KERNEL", "USER"]
STATES = ["absent", "reserved", "free", "used"]


def zone_of(n):
    return ZONES[n] if n < len(ZONES) else f"zone {n}?"


def show_zones(words):
    """rustica zones: which memory belongs to whom (chapter 2).

    The ranges of both zones, in ascending order, and what we stand on. The last
    line is the sum that must come out."""
    zones = variable("zones")
    if zones.count > len(zones.range):
        say(f"zones: {zones.count} ranges are more than the table has")
    if not zones.count:
        say("zones: none yet; zone_build() makes them")
    say(f"zones: the boundary is at {size(zones.boundary)}")
    for i in range(min(zones.count, len(zones.range))):
        r = zones.range[i]
        say(f"  {zone_of(r.zone):<6} {r.start:#012x} to {r.end:#012x} {size(r.end - r.start):>10}")
    info = variable("boot").follow("info")
    for i in range(min(info.reserved_count, len(info.reserved)) if info else 0):
        r = info.reserved[i]
        say(f"  {'-':<6} {r.start:#012x} to {r.start + r.size:#012x} {size(r.size):>10}"
            f"  {memory.text(r.name)}")
    say(f"zones: {zones.usable} usable frames = {zones.reserved} reserved + "
        f"{zones.frames[0]} kernel + {zones.frames[1]} user + {zones.withheld} withheld")


class Frames:
    """The frame table, read in one piece."""

    def __init__(self, pmm):
        self.pmm, self.count = pmm, pmm.count
        if not pmm.frame:
            raise Sorry("There is no frame table yet; pmm_build() makes it.")
        if self.count > 1 << 21:
            raise Sorry(f"A table of {self.count} frames is not to be believed.")
        kind = type_named("struct frame")
        step, at = kind.sizeof, {name: offset for name, (_, offset) in fields(kind).items()}
        raw = memory.read(pmm.frame, self.count * step)
        self.state, self.zone, owner = (raw[at[f]::step] for f in ("state", "zone", "owner"))
        self.owner = "".join(chr(c) if 32 < c < 127 else "?" for c in owner)
        self.references = memoryview(b"".join(
            raw[i:i + 4] for i in range(at["references"], len(raw), step))).cast("I")
        self.bits = int.from_bytes(memory.read(pmm.free_bits, (self.count + 7) // 8), "little")

    def letter(self, start, end):
        """One character for some frames: the rarest thing among them."""
        states = self.state[start:end]
        used = {self.owner[i] for i in range(start, end) if self.state[i] == 3}
        if len(used) > 1:
            return "*"
        return used.pop() if used else "#" if 1 in states else "." if 2 in states else " "

    def complaints(self):
        counted = [self.state.count(i) for i in range(4)]
        if counted != list(self.pmm.states):
            yield f"the counters say {list(self.pmm.states)}, the table has {counted}"
        wrong = [i for i in range(self.count)
                 if (self.bits >> i & 1) != (self.state[i] == 2)] if self.bits or counted[2] else []
        if wrong:
            yield f"the bitmap is wrong about {count(len(wrong), 'frame')}, " \
                  f"the first is {wrong[0]} at {self.pmm.base + wrong[0] * FRAME:#x}"
        wrong = [i for i in range(self.count) if (self.references[i] > 0) != (self.state[i] == 3)]
        if wrong:
            yield f"{count(len(wrong), 'frame')} with references but unused, or used " \
                  f"without; the first is {wrong[0]}"
        for zone in range(2):
            lost = [i for i in range(min(self.pmm.hint[zone], self.count))
                    if self.state[i] == 2 and self.zone[i] == zone]
            if lost:
                yield f"the hint of zone {zone_of(zone)} passes over " \
                      f"{count(len(lost), 'free frame')}"


def show_pmm(words):
    """rustica pmm [kernel|user|ADDRESS]: who has which frame (chapter 3).

    Without a word: the counters, a map of each zone, and whether table, counters and
    bitmap agree. With an address, physical or in the direct map: the frame there.
    With "pmm EXPRESSION" another instance, as in `rustica pmm trial.pmm`.

    In the map `.` is free, `#` reserved, a letter the owner of used frames, `*`
    several owners, and a blank no memory."""
    zones, instance = ZONES, variable("pmm")
    if words and words[0].upper() in ZONES:
        zones = [words[0].upper()]
    elif words:
        value = evaluate(" ".join(words))
        if value.type.strip_typedefs().code != gdb.TYPE_CODE_STRUCT:
            return show_frame(Frames(instance), number(" ".join(words)))
        instance = View(value.type.strip_typedefs(), int(value.address))
    frames = Frames(instance)
    method = instance.follow("method")
    say(f"pmm: {memory.text(method.name) if method else 'nothing'} over {frames.count} frames, "
        f"{instance.states[2]} free")
    for i, name in enumerate(STATES):
        say(f"pmm: {instance.states[i]:8} frames {name}")
    for zone in zones:
        first, last = (0, instance.boundary) if zone == "KERNEL" else \
            (instance.boundary, frames.count)
        show_map(frames, zone, max(0, min(first, frames.count)), min(last, frames.count))
    wrong = list(frames.complaints())
    for complaint in wrong:
        say("pmm: WRONG: " + complaint)
    if not wrong:
        say("pmm: table, counters and bitmap agree")


def show_map(frames, zone, first, last):
    each = 1
    while (last - first) > each * 64 * 16:
        each *= 2
    say(f"{zone}, {count(each, 'frame')} to a letter:")
    for start in range(first, last, each * 64):
        row = "".join(frames.letter(i, min(i + each, last))
                      for i in range(start, min(start + each * 64, last), each))
        if row.strip():
            say(f"  {frames.pmm.base + start * FRAME:#012x} |{row:<64}|")


def show_frame(frames, address):
    direct = variable("boot").info and variable("boot").follow("info").direct_map
    if direct and address >= direct:
        address -= direct
    index = (address - frames.pmm.base) // FRAME
    if not 0 <= index < frames.count:
        raise Sorry(f"{address:#x} is in no frame that we know of.")
    state = frames.state[index]
    text = f"frame {address & -FRAME:#x}, number {index}, zone {zone_of(frames.zone[index])}: "
    text += STATES[state] if state < 4 else f"state {state}?"
    if frames.owner[index] != "?":
        text += f", owner '{frames.owner[index]}'"
    say(text + f", {count(frames.references[index], 'reference')}, "
        f"bit {'set' if frames.bits >> index & 1 else 'clear'}")


def evaluate(text):
    try:
        value = gdb.parse_and_eval(text)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR and \
                value.type.strip_typedefs().target().strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
            value = value.dereference()
        return value
    except gdb.error as why:
        raise Sorry(str(why)) from None


def structure(words, name, default):
    """A structure named by an expression, an address or by default."""
    kind = type_named("struct " + name)
    if not words:
        return default()
    text = " ".join(words)
    value = evaluate(text)
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        if str(value.type.strip_typedefs().unqualified()) != f"struct {name}":
            raise Sorry(f"{text} is a {value.type}, not a struct {name}.")
        if value.address is None:
            raise Sorry(f"{text} has no address.")
        return View(kind, int(value.address))
    return View(kind, number(text))


# ---- Chapter 4: the heap -----------------------------------------------------

USED, FREE, END = 0x05edb10c, 0xf4eeb10c, 0xe0dfb10c
RED, POISON = b"\xfd" * 8, 0xdeadbeefdeadbeef


def heap_class(bytes):
    log = max(6, bytes.bit_length() - 1)
    return min(63, (log - 6) * 4 + (bytes >> (log - 2) & 3))


def region_blocks(region):
    """The blocks of a region, without its end mark."""
    block, header = type_named("struct block"), region._kind.sizeof
    if not FRAME <= region.size <= 1 << 28 or region.size % FRAME:
        raise Broken(f"region {region._address:#x} says it has {region.size:#x} bytes")
    at, end = region._address + header, region._address + region.size - block.sizeof
    while at < end:
        b = View(block, at)
        yield b
        if b.size < 64 or b.size % 16 or at + b.size > end:
            raise Broken(f"block {at:#x} says it has {b.size:#x} bytes")
        at += b.size


def block_complaints(b, before, was_free):
    if b.magic not in (USED, FREE):
        yield f"block {b._address:#x} has magic {b.magic:#x}, neither used nor free"
    if b.before != before:
        yield f"block {b._address:#x} says {b.before:#x} bytes lie before it; it is {before:#x}"
    if b.magic == FREE and was_free:
        yield f"block {b._address:#x} is free like the one before it"
    header = b._kind.sizeof
    if b.magic == USED and (b.asked > b.size - header - 8 or
                            memory.read(b._address + header + b.asked, 8) != RED):
        yield f"block {b._address:#x} was written past its {b.asked} bytes"
    links = type_named("struct free_block").sizeof
    words = min(14, (b.size - links) // 8)
    for i in range(words if b.magic == FREE else 0):
        if memory.word(b._address + links + 8 * i) != POISON:
            yield f"free block {b._address:#x} was written to at word {i}"
            break


class HeapWalk:
    """Goes through the whole heap as heap_audit() does, but does not stop."""

    def __init__(self, heap):
        self.heap, self.wrong, self.blocks, self.listed = heap, [], [], {}
        self.regions = self.collect(chain(heap.follow("regions"), "next"), "regions")
        for region in self.regions:
            self.walk(region)
        for c in range(len(heap.list)):
            first = heap.list[c]
            free = self.collect(chain(View(type_named("struct free_block"), first)
                                      if first else None, "next"), f"list {c}")
            if free:
                self.listed[c] = free
            if bool(first) != bool(heap.nonempty >> c & 1):
                self.wrong.append(f"list {c} is {'not ' if first else ''}empty, its bit says "
                                  "otherwise")
            for f in free:
                if f.block.magic != FREE:
                    self.wrong.append(f"block {f._address:#x} is on list {c} but not free")
                elif heap_class(f.block.size) != c:
                    self.wrong.append(f"block {f._address:#x} is on list {c}, should be on "
                                      f"{heap_class(f.block.size)}")
        self.compare()

    def collect(self, items, where):
        found = []
        try:
            for item in items:
                found.append(item)
        except (Broken, Sorry) as why:
            self.wrong.append(f"{where}: {why}")
        return found

    def walk(self, region):
        before, was_free = 0, False
        for b in self.collect(region_blocks(region), "blocks"):
            self.wrong += self.collect(block_complaints(b, before, was_free), "block")
            before, was_free = b.size, b.magic == FREE
            self.blocks.append(b)
            if len(self.blocks) > LIMIT:
                self.wrong.append("too many blocks to go on")
                break

    def compare(self):
        free = {b._address for b in self.blocks if b.magic == FREE}
        listed = {f._address for c in self.listed.values() for f in c}
        used = [b for b in self.blocks if b.magic == USED]
        for lost in sorted(free - listed):
            self.wrong.append(f"block {lost:#x} is free but on no list")
        if len(used) != self.heap.blocks:
            self.wrong.append(f"{self.heap.blocks} blocks counted, {len(used)} found")
        elif sum(b.asked for b in used) != self.heap.bytes:
            self.wrong.append(f"{self.heap.bytes} bytes counted, "
                              f"{sum(b.asked for b in used)} found")


def show_heap(words):
    """rustica heap [all]: every block, the free lists, and a verdict (chapter 4).

    The verdict is that of heap_audit(), except that it goes on after the first thing
    that is wrong. Without "all" the lists are cut short."""
    heap = variable("heap")
    walk = HeapWalk(heap)
    most = LIMIT if words == ["all"] else 24
    say(f"heap: {count(heap.blocks, 'block')}, {size(heap.bytes)} in use, "
        f"{count(heap.frames, 'frame')} held")
    shown = 0
    for b in walk.blocks[:most]:
        where = symbol(b.caller)
        text = f"used {b.size:6} bytes, {b.asked} asked for by {where}" if b.magic == USED else \
            f"free {b.size:6} bytes, list {heap_class(b.size)}, by {where}" if b.magic == FREE \
            else f"magic {b.magic:#x}"
        say(f"  {b._address:#x} {text}")
    if len(walk.blocks) > most:
        say(f"  ... and {len(walk.blocks) - most} more (`rustica heap all`)")
    for c, blocks in walk.listed.items():
        row = " ".join(f"{f._address:#x}" for f in blocks[:most if most == LIMIT else 4])
        say(f"  list {c:2}: {row}{' ...' if len(blocks) > 4 and most < LIMIT else ''}")
    for complaint in walk.wrong[:most]:
        say("heap: WRONG: " + complaint)
    if len(walk.wrong) > most:
        say(f"heap: WRONG: and {len(walk.wrong) - most} things more")
    if not walk.wrong:
        say(f"heap: sound, {count(len(walk.blocks), 'block')} in "
            f"{count(len(walk.regions), 'region')}")


# ---- Chapter 5: virtual memory objects ---------------------------------------

def vmo_pages(v):
    """(page, frame) for each page that has a frame."""
    found = []

    def go(slot, level, page):
        if not slot or len(found) > LIMIT:
            return
        if not level:
            found.append((page, slot))
            return
        node = View(type_named("struct vmo_node"), slot)
        for i in range(len(node.slot)):
            go(node.slot[i], level - 1, page << 6 | i)

    if v.height > 8:
        raise Sorry(f"VMO {v._address:#x} claims {v.height} levels of nodes: garbage.")
    go(v.root, v.height, 0)
    return found


def all_vmos():
    """Every VMO is a block of the heap that begins with a pointer to vmo_type."""
    kind, mark = type_named("struct vmo"), number("(unsigned long)&vmo_type")
    walk = HeapWalk(variable("heap"))
    for b in walk.blocks:
        at = b._address + b._kind.sizeof
        if b.magic == USED and b.asked == kind.sizeof and memory.word(at) == mark:
            yield View(kind, at)


def vmo_line(v):
    text = f"{v._address:#x} {size(v.size)}, {count(v.committed, 'page')} committed, " \
           f"{count(v.object.references, 'reference')}"
    if v.parent:
        text = f"{v._address:#x} {size(v.size)}, slice of {v.parent:#x} from page {v.first}"
    if v.slices:
        text += f", {count(v.slices, 'slice')}"
    return text


def show_vmo(words):
    """rustica vmo [EXPRESSION]: VMOs with their pages and frames (chapter 5).

    Without an expression every VMO there is, found by looking through the heap. A
    frame with several references is shared: the others that have it are named."""
    pmm, vmos, others = variable("pmm"), list(all_vmos()), {}
    kind = type_named("struct frame")
    pages = {}
    for v in vmos:
        pages[v._address] = vmo_pages(v)
        for page, frame in pages[v._address]:
            others.setdefault(frame, []).append((v._address, page))
    if words:
        vmos = [structure(words, "vmo", None)]
        mark = number("(unsigned long)&vmo_type")
        if memory.word(vmos[0]._address) != mark:
            raise Sorry(f"There is no VMO at {vmos[0]._address:#x}.")
    else:
        say(f"vmo: {count(len(vmos), 'VMO')}")
    for v in vmos:
        say("  " + vmo_line(v))
        found = vmo_pages(v)
        for page, frame in found[:12]:
            index = (frame - pmm.base) // FRAME
            note = "a frame that does not exist"
            if 0 <= index < pmm.count and frame % FRAME == 0:
                f = View(kind, pmm.frame + index * kind.sizeof)
                note = count(f.references, "reference")
            shared = [f"page {p} of {o:#x}" for o, p in others.get(frame, [])
                      if o != v._address]
            say(f"    page {page} -> frame {frame:#x}, {note}" +
                (", also " + ", ".join(shared[:4]) if shared else ""))
        if len(found) > 12:
            say(f"    ... and {len(found) - 12} pages more")


# ---- Chapter 6: programs in files --------------------------------------------

def show_elf(words):
    """rustica elf NAME|EXPRESSION: the plan of a program (chapter 6).

    NAME is a program that the kernel carries: its file is read as elf_check() reads
    it. An EXPRESSION of the type struct elf_image shows a plan that was accepted."""
    if not words:
        raise Sorry("Which one? `rustica elf hello`, or `rustica elf image` with a struct "
                    "elf_image.")
    if re.fullmatch(r"[a-z][\w-]*", words[0]):
        try:
            start = int(gdb.parse_and_eval(f"(unsigned long)&_binary_{words[0]}_start"))
            end = int(gdb.parse_and_eval(f"(unsigned long)&_binary_{words[0]}_end"))
            return show_elf_file(words[0], start, end)
        except gdb.error:
            pass
    image = structure(words, "elf_image", None)
    say(f"elf: starts at {image.entry:#x}")
    for i in range(min(image.count, len(image.segment))):
        s = image.segment[i]
        v = s.follow("memory")
        say(f"elf:   {s.start:#x} {rights(s.rights)} {s.file_size:5} bytes from the file, "
            f"{s.memory_size:5} in memory, " +
            (f"{v.committed} pages with a frame" if v else "not loaded"))
    if image.count > len(image.segment):
        say(f"elf: {image.count} segments are more than the table has")


def show_elf_file(name, start, end):
    kinds = {1: "load", 2: "dynamic", 3: "interpreter", 4: "note", 6: "headers", 7: "TLS",
             0x6474e551: "stack", 0x6474e553: "property"}
    header = View(type_named("struct elf_header"), start)
    say(f"elf: {name}, {end - start} bytes at {start:#x}, starts at {header.entry:#x}")
    kind = type_named("struct elf_segment_header")
    for i in range(min(header.phnum, 64)):
        at = start + header.phoff + i * kind.sizeof
        if at + kind.sizeof > end:
            say("elf: the other headers are outside the file")
            break
        h = View(kind, at)
        say(f"elf:   {kinds.get(h.type, hex(h.type)):<9} {h.vaddr:#010x} {rights(h.flags)} "
            f"{h.filesz:6} bytes from offset {h.offset:#x}, {h.memsz} in memory")


# ---- Chapter 7: address spaces and ring 3 ------------------------------------

PRESENT, WRITE, USER, LARGE, NX = 1, 2, 4, 1 << 7, 1 << 63
ADDRESS = 0x000ffffffffff000


def physical(address, bytes=8):
    """Reads physical memory, by the direct map."""
    info = variable("boot").follow("info")
    return memory.read((info.direct_map if info else 0) + address, bytes)


def entry_of(table, index):
    return int.from_bytes(physical(table + 8 * index), "little")


def in_words(entry):
    return ", ".join(["writable" if entry & WRITE else "read-only",
                      "for programs" if entry & USER else "kernel only",
                      "not executable" if entry & NX else "executable"])


def register(name):
    try:
        return int(gdb.selected_frame().read_register(name)) & (1 << 64) - 1
    except (gdb.error, ValueError):
        raise Sorry(f"This QEMU does not tell {name}.") from None


def walk(address, root):
    """Yields (level, table, index, entry) down to the page or to what is missing."""
    table = root & ADDRESS
    for level in 4, 3, 2, 1:
        index = address >> (12 + 9 * (level - 1)) & 511
        entry = entry_of(table, index)
        yield level, table, index, entry
        if not entry & PRESENT or level == 1 or (level < 4 and entry & LARGE):
            return
        table = entry & ADDRESS


def show_walk(words):
    """rustica walk ADDRESS [ROOT]: the way of an address through the page tables.

    Shows the entry on each level and says in words what it allows; then what the
    processor makes of all of them. ROOT is a physical address, by default CR3."""
    if not words:
        raise Sorry("Which address?")
    address = number(words[0])
    root = number(words[1]) if len(words) > 1 else register("cr3")
    if address >> 47 not in (0, (1 << 17) - 1):
        raise Sorry(f"{address:#x} is not canonical: bits 47 to 63 must be equal.")
    flags, nx = WRITE | USER, 0
    for level, table, index, entry in walk(address, root):
        flags, nx = flags & entry, nx | entry & NX
        leaf = level == 1 or (level < 4 and entry & LARGE)
        span = 1 << 12 + 9 * (level - 1) if leaf else FRAME
        text = "not present" if not entry & PRESENT else \
            f"{'page' if leaf else 'table'} at {entry & ADDRESS & -span:#x}, {in_words(entry)}"
        say(f"level {level}, entry {index:3} of {table:#x}: {entry:#018x} {text}")
    if not entry & PRESENT:
        return say(f"{address:#x} is not mapped")
    bytes = 1 << 12 + 9 * (level - 1)
    at = (entry & ADDRESS & -bytes) + address % bytes
    say(f"{address:#x} is physical {at:#x}, a page of {size(bytes)}, {in_words(flags | nx)}")
    if flags & WRITE and not nx and flags & USER:
        say("WRONG: programs can write and execute it")
    if flags & USER and address >> 47:
        say("WRONG: programs can see the kernel's half")


def table_pages(root):
    """{page: entry} of the lower half."""
    found, tables = {}, 0

    def go(table, level, base):
        nonlocal tables
        tables += 1
        if tables > 2000 or len(found) > LIMIT:
            return
        raw = memoryview(physical(table, FRAME)).cast("Q")
        for i, entry in enumerate(raw[:256] if level == 4 else raw):
            address = base + (i << 12 + 9 * (level - 1))
            if entry & PRESENT and (level == 1 or (level < 4 and entry & LARGE)):
                found[address] = entry
            elif entry & PRESENT:
                go(entry & ADDRESS, level - 1, address)

    go(root & ADDRESS, 4, 0)
    return found


def running_program():
    context = variable("cpu_boot").context      # of which tcc tells only the name
    p = context and number(f"*(unsigned long *){context:#x}")
    if not p:
        raise Sorry("No program runs now. (cpu_boot.context has none.)")
    return View(type_named("struct program"), p)


def show_as(words):
    """rustica as [EXPRESSION]: the mappings of an address space (chapter 7).

    By default that of the program that runs. For each mapping: the addresses, the
    rights, the VMO, and how many of its pages are in the page tables already."""
    space = structure(words, "as", lambda: running_program().follow("space"))
    pages = sorted(table_pages(space.root).items())
    starts = [page for page, _ in pages]
    say(f"as: {space._address:#x}, root table at {space.root:#x}")
    known, last = 0, 0
    try:
        for m in tree(space.follow("mappings"), "struct mapping", "node"):
            first, end = (bisect.bisect_left(starts, at) for at in (m.start, m.end))
            known += max(0, end - first)
            say(f"  {m.start:#014x} to {m.end:#014x} {rights(m.rights)} VMO {m.vmo:#x} from page "
                f"{m.first}, {max(0, end - first)} of {(m.end - m.start) // FRAME} in the tables")
            if m.start < last:
                say("as: WRONG: this mapping begins before the last one ends")
            if m.rights & 3 == 3:
                say("as: WRONG: both writable and executable")
            for page, entry in pages[first:end]:
                if entry & WRITE and not m.rights & 2 or not entry & NX and not m.rights & 1:
                    say(f"as: WRONG: the tables allow more at {page:#x} ({in_words(entry)})")
            last = m.end
    except Broken as why:
        say(f"as: WRONG: {why}")
    if known != len(pages):
        say(f"as: WRONG: {count(len(pages) - known, 'page')} in the tables without a mapping")


TRAPS = ["#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow",
         "#BR bound range exceeded", "#UD invalid opcode", "#NM no coprocessor",
         "#DF double fault", "coprocessor overrun", "#TS invalid TSS", "#NP segment not present",
         "#SS stack fault", "#GP general protection", "#PF page fault"]


def find_trap():
    """The nearest frame on the stack: one that a function was given, or was called below."""
    try:
        frame = gdb.selected_frame()
        for _ in range(200):
            if not frame:
                break
            if frame.type() == gdb.SIGTRAMP_FRAME:
                return int(frame.read_register("rsp"))
            for parameter in parameters(frame):
                if str(parameter.type.unqualified()) == "struct trap_frame *":
                    return int(parameter.value(frame))
            frame = frame.older()
    except gdb.error:
        pass
    raise Sorry("No trap or system call has led here. `rustica trap EXPRESSION` shows a frame "
                "that lies elsewhere.")


def parameters(frame):
    if not frame.function():
        return []
    block = frame.block()
    while not block.function:
        block = block.superblock
    return [symbol for symbol in block if symbol.is_argument]


def show_trap(words):
    """rustica trap [EXPRESSION]: the frame that a trap or system call left on the stack.

    By default the one by which the functions on the stack were called, the innermost
    if there are several."""
    f = structure(words, "trap_frame", lambda: View(type_named("struct trap_frame"), find_trap()))
    vector = f.vector
    what = f"system call {f.rax}" if vector == 256 else \
        f"exception {vector}, {TRAPS[vector]}" if vector < len(TRAPS) else f"vector {vector}"
    say(f"trap: {what}, error code {f.error:#x}, from ring {f.cs & 3}, frame at {f._address:#x}")
    if vector > 256 or f.cs not in (0x08, 0x23):
        say(f"trap: WRONG: no trap has made this: its CS is {f.cs:#x}")
    if vector == 14:
        say(f"  attempt to {'execute' if f.error & 16 else 'write' if f.error & 2 else 'read'} "
            f"{register('cr2'):#x}, which {'forbids it' if f.error & 1 else 'is not mapped'}")
    names = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15".split()
    for i in range(0, 16, 4):
        say("  " + "  ".join(f"{n:3} {getattr(f, n):016x}" for n in names[i:i + 4]))
    say(f"  rip {f.rip:016x} {symbol(f.rip)}  cs {f.cs:#x}  ss {f.ss:#x}  rflags {f.rflags:#x}")


def show_syscalls(words):
    """rustica syscalls: which system call is which function (chapter 7).

    From chapter 8 on with what its arguments are."""
    user = variable("user")
    if not any(user.call):
        say("syscalls: none yet; chapters enter theirs when they begin")
    forms = {field.enumval: field.name[len("SYS_"):].lower()
             for field in type_named("enum system_call_number").fields()}
    forms.update(call_forms())
    for name, first in ("call", 0), ("own_call", 0x1000):
        table = getattr(user, name)
        for i in range(len(table)):
            if table[i]:
                say(f"  {first + i:5}  {function(table[i]):24} {forms.get(first + i, '?')}")


def call_forms():
    """The forms of calls, as chapters 8 and following have entered them: {number: form}."""
    try:
        sys, kind = variable("sys"), type_named("struct system_call")
    except Sorry:
        return {}
    rows = [View(kind, t.call + n * kind.sizeof)
            for t in (sys.table[i] for i in range(min(sys.table_count, len(sys.table))))
            for n in range(min(t.count, LIMIT))]
    return {row.number: memory.text(row.form) for row in rows}


# ---- Chapters 8 to 15: handles, processes, files ------------------------------

def show_handles(words):
    """rustica handles [PID]: what a program has open (chapter 8).

    By default the program that runs. A handle is an object and what may be done with
    it; the number is what the program knows."""
    program = process_with(number(words[0])).program if words else running_program()
    table = program.follow("handles")
    if not table:
        raise Sorry("This program has no handles.")
    if table.count > 1024:
        raise Sorry(f"A table of {table.count} handles is not to be believed.")
    kind = type_named("struct handle")
    for i in range(table.count):
        h = View(kind, table.entry + i * kind.sizeof)
        if not h.object:
            continue
        letters = "".join(c if h.rights & 1 << n else "-" for n, c in enumerate("rwmd"))
        say(f"  {i:3}  {letters}  {object_line(h.follow('object'))}")


def object_line(o):
    """What every object knows of itself, and of an open file its path."""
    kind = o.follow("type")
    name = memory.text(kind.name) if kind else "an object without a type"
    text = f"{name} {o._address:#x}, {count(o.references, 'reference')}"
    if name == "file":
        file = View(type_named("struct file"), o._address)
        text += f", {path_of(file.follow('node'))} at offset {file.offset}"
    return text


def entries(directory):
    """The names in a directory and the nodes that they stand for."""
    for e in tree(directory.follow("places"), "struct entry", "by_place"):
        yield memory.text(e._address + fields(e._kind)["name"][1]), e.follow("node")


def path_of(node):
    """The first path that leads to a node: it does not know its names itself."""
    todo = [("", variable("vfs").follow("root"))]
    while todo and len(todo) < LIMIT:
        path, at = todo.pop(0)
        if at._address == node._address:
            return path or "/"
        todo += [(f"{path}/{name}", child) for name, child in entries(at)]
    return "something without a name"


def processes():
    return tree(variable("sched").follow("processes"), "struct process", "by_pid")


def process_with(pid):
    for p in processes():
        if p.pid == pid:
            return p
    raise Sorry(f"There is no process {pid}.")


class Process(gdb.Function):
    """$process(PID): the process with that number."""

    def __init__(self):
        super().__init__("process")

    def invoke(self, pid):
        p = process_with(int(pid))
        return gdb.Value(p._address).cast(gdb.lookup_type("struct process").pointer())


class Thread(gdb.Function):
    """$thread(): the thread that has the processor."""

    def __init__(self):
        super().__init__("thread")

    def invoke(self):
        return gdb.parse_and_eval("(struct thread *)cpu_boot.context")


def show_ps(words):
    """rustica ps: the processes, and where in the kernel each of their threads is (chapter 9).

    The functions are what `backtrace` would show if that thread had the processor. In
    any expression $process(PID) is the process with that number, and $thread() the
    thread that has the processor."""
    sched = variable("sched")
    if not sched.processes:
        say("ps: no process")
    for p in processes():
        threads, parent = list(threads_of(p)), p.follow("parent")
        ending = f"ended with code {p.exit_code}, signal {p.exit_signal}"
        say(f"  {p.pid:3}  {name_of(p):<12} child of "
            f"{parent.pid if parent else 'the kernel'}, {count(p.turns, 'turn')}: "
            f"{state_of(threads[0]) if threads else ending}")
        for t in threads[1:]:
            say(f"       thread {t.number}: {state_of(t)}")
        for t in threads:
            if is_current(t) and t.queue:
                say(f"       The processor waits, on the stack of {thread_name(t)}.")


def threads_of(process):
    t, seen = process.follow("threads"), 0
    while t and seen < LIMIT:
        yield t
        t, seen = t.follow("sibling"), seen + 1


def name_of(process):
    return memory.text(process._address + fields(process._kind)["name"][1], 32)


def thread_name(t):
    p = t.follow("process")
    return f"process {p.pid}" if t._address == p.threads else f"thread {t.number}"


def is_current(t):
    return t._address == variable("cpu_boot").context


def state_of(t):
    if t.queue:
        return f"sleeps in {where(t, is_current(t))}"
    return "has the processor" if is_current(t) else f"is ready, in {where(t)}"


def show_futexes(words):
    """rustica futexes: who sleeps at which word of its program, and what stands in it (chapter 15).

    Of those who sleep at one word the first is woken first. A word has a name if the
    program's symbols are known (rustica user NAME). Shared memory is one to all who have
    it, so there the place in the VMO is shown."""
    waiters = list(tree(variable("threads").follow("waiters"), "struct futex_waiter", "node"))
    if not waiters:
        say("futexes: nobody sleeps at a word")
    for w in waiters:
        t, place = w.queue.follow("first"), w.word.place
        if not t:
            say(f"  a thread is about to sleep or to wake up at {place:#x}")
            continue
        space = space_of(t)
        own = w.word.memory == space._address
        where_at = f"{function(place)}, which is {program_word(space, place)}" if own else \
            f"byte {place:#x} of VMO {w.word.memory:#x}"
        say(f"  {thread_name(t):12} of {name_of(t.follow('process'))} sleeps at {where_at}")


def space_of(t):
    return t.follow("process").program.follow("space")


def program_word(space, address):
    """Four bytes of a program's memory, in words."""
    for level, _, _, entry in walk(address, space.root):
        pass
    if not entry & PRESENT:
        return "not there"
    span = 1 << 12 + 9 * (level - 1)
    return int.from_bytes(physical((entry & ADDRESS & -span) + address % span, 4), "little")


def where(thread, current=False):
    """The functions on a thread's stack, where sched_switch() has pushed six registers."""
    stack = thread.stack_top - 4 * FRAME
    names, frame = [], register("rbp") if current else memory.word(thread.stack_pointer + 40)
    while len(names) < 8 and stack <= frame < thread.stack_top - 16:
        frame, back = memory.word(frame), memory.word(frame + 8)
        name = symbol(back).split("+")[0]
        if name in ("user_syscall", "sys_dispatch", "trap_dispatch"):
            break
        if name not in ("sched_schedule", "sched_sleep", "sched_yield"):
            names.append(name)
    return " < ".join(names) or "the scheduler"


def show_timers(words):
    """rustica timers: what the timer will call, the next first (chapter 9).

    A sleeper's timer wakes its process."""
    timers = list(tree(variable("sched").follow("timers"), "struct timer", "node"))
    inside = next(f.bitpos // 8 for f in type_named("struct thread").fields() if f.name == "timer")
    for t in timers:
        ring = symbol(t.ring)
        thread = View(type_named("struct thread"), t._address - inside)
        process = thread.follow("process") if ring == "sched_time_out" else None
        say(f"  {ring}" + (f", process {process.pid}" if process else ""))
    if not timers:
        say("timers: none is set")


def show_files(words):
    """rustica files [PATH]: the tree of files, or a part of it (chapter 10)."""
    left = LIMIT

    def show(name, node, depth):
        nonlocal left
        left -= 1
        if left < 0 or depth > 40:
            raise Broken("the tree does not end")
        kind = {0o040000: "/", 0o120000: "@", 0o020000: " (a device)"}
        data = node.follow("data")
        say("  " * depth + name + kind.get(node.mode & 0o170000, "") +
            (f"  {data.size} bytes, {'its own' if node.own_data else 'in the archive'}"
             if data else ""))
        for name, child in entries(node):
            show(name, child, depth + 1)

    root, name = variable("vfs").follow("root"), ""
    if not root:
        raise Sorry("There are no files yet; vfs_init() makes the root.")
    for part in "".join(words).split("/"):
        if not part:
            continue
        found = [n for name, n in entries(root) if name == part]
        if not found:
            raise Sorry(f"There is no {part} in {path_of(root)}.")
        root, name = found[0], part
    show(name, root, 0)


def programs():
    """{name: file with symbols}; the ramdisk's programs go before the kernel's own."""
    return {path.stem: str(path) for folder in machine.facts.get("programs", "").split()
            for path in sorted(pathlib.Path(folder).glob("*.elf"))}


loaded_program = None


def load_user(words):
    """rustica user [NAME]: loads the symbols of a program, by default of the one that runs.

    After that, `break main` is the program's main(), and its lines and variables are
    known. Programs are all at the same addresses, so the symbols of another one are
    forgotten."""
    global loaded_program
    name = words[0] if words else memory.text(running_program().name)
    name = os.path.basename(name.replace("half-", ""))
    if name not in programs():
        raise Sorry(f"There are no symbols for {name}, only for {' '.join(programs())}.")
    path = programs()[name]
    if loaded_program:
        quietly("remove-symbol-file " + os.path.abspath(loaded_program))
    quietly(f"add-symbol-file {path}")
    loaded_program = path
    say(f"Now {name}'s symbols are known: main() is at "
        f"{int(gdb.parse_and_eval(f'(unsigned long)&main')):#x}.")


# ---- Commands ----------------------------------------------------------------

def boot(words):
    """rustica boot [CHAPTER] [NAME=VALUE ...]: starts the machine.

    Builds the kernel, starts it and stops at the first line of its chapter's main
    function. The words are settings for make, as in `rustica boot 5 MEM=96M`."""
    past.leave()
    machine.build([w if "=" in w else "CH=" + w for w in words])
    restart([])


def restart(words):
    """rustica restart: starts the machine again, to the same first line.

    Breakpoints stay. `run` does the same."""
    if not machine.facts:
        raise Sorry("There is no machine yet; `rustica boot` starts one.")
    if past.on:
        past.travel(lambda here: (past.main, ""))
        return gdb.execute("frame")
    if not go_back_and_forth():
        machine.connect()
        go_to_main()


def join(words):
    """rustica join PLACE [CHAPTER] [NAME=VALUE ...]: debugs a machine that waits already.

    It was started by `make gdb-server`, which says where it waits; the other words
    are those it was started with."""
    if not words:
        raise Sorry("Where? `make gdb-server` says it.")
    past.leave()
    machine.build([w if "=" in w else "CH=" + w for w in words[1:]])
    machine.stop()
    machine.attach(words[0])
    go_to_main()


def go_to_main():
    break_once(machine.facts["main"])
    break_once("boot_exit")
    gdb.flush()
    gdb.execute("continue")


def break_once(place):
    for b in gdb.breakpoints() or ():
        if b.temporary and b.location == place:
            b.delete()
    quietly("thbreak " + place)


def show_efi(words):
    """rustica efi [FUNCTION]: starts the machine again and stops in efi_main().

    The firmware decides where it loads us, and tells nobody. So the machine is run
    twice: the first time until the kernel can be asked where it was; the firmware does
    the same again the second time, and now there is a breakpoint."""
    if not machine.facts:
        raise Sorry("There is no machine yet; `rustica boot` starts one.")
    if past.on:
        raise Sorry("A recording begins too late for that. Say `rustica boot BACK=` before.")
    machine.connect()
    say("The machine runs twice: first we learn where the firmware puts the image.")
    break_once("boot_start")
    gdb.flush()
    gdb.execute("continue")
    start = number("info->image.start")
    there = number("(unsigned long)boot_start")
    machine.connect(start)
    say(f"It puts it at {start:#x}. Now with a breakpoint there.")
    break_once(words[0] if words else "efi_main")
    quietly(f"thbreak *{there:#x}")
    machine.arrival = gdb.breakpoints()[-1]
    gdb.flush()
    gdb.execute("continue")


def move_symbols():
    """The image has moved to its final address: so do the symbols."""
    machine.forget_arrival()
    machine.load_symbols()
    say("The image has moved to its own address, and its symbols with it.")
    gdb.execute("frame")


def type_text(words):
    """rustica type TEXT: types a line at the machine's serial line."""
    check_power()
    if past.on:
        raise Sorry("What was typed is part of the recording: `make gdb BACK=1 TYPE=FILE` records "
                    "it with the lines of a file typed.")
    if not machine.process:
        raise Sorry("There is no machine of ours; one that waited has a serial line of its own.")
    if not gdb.lookup_global_symbol("tty_input"):
        raise Sorry("This kernel does not read what is typed; from chapter 11 on it does.")
    machine.type(" ".join(words) + "\n")


def kernel_log():
    """What the kernel has said: the end of it, which it keeps in memory, as text."""
    boot = variable("boot")
    end, size = boot.log_end, len(boot.log)
    text = memory.read(boot._address + fields(boot._kind)["log"][1], size)
    text = text[:end] if end < size else text[end % size:] + text[:end % size]
    return text.decode("utf-8", "backslashreplace").rstrip("\n")


def show_log(words):
    """rustica log [LINES]: what the kernel has said, the last 20 lines of it or LINES.

    It is what the kernel has in memory at this moment, also where one has gone back in time,
    or has not seen its console."""
    most = number(" ".join(words)) if words else 20
    lines = kernel_log().splitlines()
    for line in lines[max(0, len(lines) - most):]:
        say(line)
    if not lines:
        say("The kernel has not said anything yet.")


# ---- Sessions and hunts ------------------------------------------------------

def commands_of(path):
    """A session's lines: text, or commands, of which some take several lines."""
    lines = iter(open(path).read().splitlines())
    for line in lines:
        if re.match(r"python$|(commands|define|document|while|if)\b", line):
            depth = 1
            while depth:
                more = next(lines, "end")
                line += "\n" + more
                # (Python's own `while` and `if` end in a colon, and need no `end`.)
                depth += bool(re.match(r"\s*(while|if|python)\b(?!.*:$)", more))
                depth -= more.strip() == "end"
        yield line


def play(words):
    """rustica session [FILE]: plays this chapter's session from the book.

    Each command waits for Enter. In a session file, `# text` is what a reader asks,
    `^C 3` interrupts the next command after three seconds of the machine's work, and all else
    are commands."""
    path = words[0] if words else machine.facts.get("session", "")
    if not os.path.exists(path):
        raise Sorry("There is no session for this chapter.")
    if not past.on:
        check_power()
    wait = sys.stdin.isatty() and not os.environ.get("PLAY")
    if wait:
        say("Press Enter for each command.")
    else:
        gdb.execute("set width 0")
    for line in commands_of(path):
        if not line or line.startswith("#"):
            say(line)
            continue
        interrupt = re.match(r"\^C (\d+)", line)
        if interrupt:
            threading.Thread(target=interrupt_after, args=(int(interrupt[1]),), daemon=True).start()
            continue
        gdb.write("(gdb) " + line + ("" if wait else "\n"))
        gdb.flush()
        if wait:
            sys.stdin.readline()
        try:
            gdb.execute(line, from_tty=True)
        except (gdb.error, gdb.GdbError) as why:
            say(why)
        gdb.flush()


def interrupt_after(seconds):
    def worked():
        with open(f"/proc/{machine.process.pid}/stat") as stat:
            return sum(map(int, stat.read().rpartition(")")[2].split()[11:13])) / ticks

    ticks = os.sysconf("SC_CLK_TCK")
    end = worked() + seconds
    while worked() < end:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)


hints_given = 0


def hint(words):
    """rustica hint: the next hint of a bug hunt (`make gdb HUNT=NAME`)."""
    global hints_given
    path = f"book/hunts/{os.environ.get('PREY')}.md"
    if not os.path.exists(path):
        raise Sorry("This is no bug hunt. `make hunt` lists them.")
    hints = re.findall(r"^## Hint.*?\n\n(.*?)(?=^## )", open(path).read(), re.M | re.S)
    if hints_given == len(hints):
        raise Sorry("There are no more hints. The solution is what `rustica session` plays.")
    say(f"Hint {hints_given + 1} of {len(hints)}:")
    say(hints[hints_given].rstrip())
    hints_given += 1


class Rustica(gdb.Command):
    """Shows the kernel's own structures as the book draws them."""

    def __init__(self):
        super().__init__("rustica", gdb.COMMAND_USER, prefix=True)

    def invoke(self, text, from_tty):
        if not text:
            return gdb.execute("help rustica")
        word = text.split()[0]
        near = difflib.get_close_matches(word, COMMANDS, cutoff=0.5)
        guess = f"; did you mean {' or '.join(near)}?" if near else "."
        raise Sorry(f"There is no `rustica {word}`{guess} `help rustica` lists all.")


class Command(gdb.Command):
    def __init__(self, name, function, complete=gdb.COMPLETE_EXPRESSION):
        self.function = function
        first, *rest = function.__doc__.splitlines()
        usage, _, summary = first.partition(": ")
        self.__doc__ = "\n".join([summary[0].upper() + summary[1:], "Usage: " + usage,
                                  *(line.strip() for line in rest)])
        super().__init__("rustica " + name, gdb.COMMAND_DATA, complete)

    def invoke(self, text, from_tty):
        global memory
        if self.function in (boot, restart, join, show_efi, play):
            self.dont_repeat()
        memory = Memory()
        try:
            words = shlex.split(text, posix=False) if text else []
        except ValueError:
            words = text.split()
        try:
            self.function(words)
        except gdb.MemoryError as why:
            raise Sorry(f"Memory that cannot be read: {why}") from None
        except (Broken, RecursionError, OverflowError, ValueError, IndexError) as why:
            raise Sorry(f"This is garbage, or not what it claims to be: {why}") from None
        except gdb.error as why:
            raise Sorry(str(why)) from None
        finally:
            memory = Memory()


class Run(gdb.Command):
    """Starts the machine again, to the chapter's first line: short for `rustica restart`.

    Breakpoints stay. If you have changed the source, `rustica boot` builds it anew."""

    def __init__(self, name):
        super().__init__(name, gdb.COMMAND_RUNNING)

    def invoke(self, text, from_tty):
        gdb.execute("rustica restart")


# ---- Printers for `print` ----------------------------------------------------

def number_of(value):
    return int(value) & (1 << 64) - 1


class Printer:
    """One line instead of all fields; `print/r` shows the fields."""

    def __init__(self, value):
        self.value = value

    def field(self, name):
        return number_of(self.value[name])

    def to_string(self):
        try:
            return self.line()
        except (gdb.error, gdb.MemoryError, OverflowError, ValueError) as why:
            return f"unreadable: {why}"


class ZoneRange(Printer):
    def line(self):
        start, end = self.field("start"), self.field("end")
        return f"{zone_of(self.field('zone'))} {start:#x} to {end:#x}, {size(end - start)}"


class FrameEntry(Printer):
    def line(self):
        state, owner = self.field("state"), self.field("owner") & 255
        return (STATES[state] if state < 4 else f"state {state}?") + \
            (f", owner '{chr(owner)}'" if 32 < owner < 127 else "") + \
            f", {count(self.field('references'), 'reference')}, " \
            f"zone {zone_of(self.field('zone'))}"


class Block(Printer):
    def line(self):
        kind = {USED: "used", FREE: "free", END: "end mark"}.get(self.field("magic"), "garbage")
        return f"{kind}, {self.field('size')} bytes, {self.field('asked')} asked for, " \
               f"{self.field('before')} before, by {symbol(self.field('caller'))}"


class Vmo(Printer):
    def line(self):
        if self.field("parent"):
            return f"slice, {size(self.field('size'))}, of {self.field('parent'):#x} " \
                   f"from page {self.field('first')}"
        return f"VMO, {size(self.field('size'))}, {count(self.field('committed'), 'page')} " \
               f"committed, {count(number_of(self.value['object']['references']), 'reference')}, " \
               f"{count(self.field('slices'), 'slice')}"


class Mapping(Printer):
    def line(self):
        return f"{self.field('start'):#x} to {self.field('end'):#x} " \
               f"{rights(self.field('rights'))} VMO {self.field('vmo'):#x} " \
               f"from page {self.field('first')}"


class Segment(Printer):
    def line(self):
        return f"{self.field('start'):#x} {rights(self.field('rights'))} " \
               f"{self.field('file_size')} bytes from offset {self.field('offset'):#x}, " \
               f"{self.field('memory_size')} in memory"


class Gate(Printer):
    def line(self):
        to = self.field("offset_low") | self.field("offset_middle") << 16 | \
            self.field("offset_high") << 32
        flags = self.field("flags") & 255
        return f"gate to {function(to)}, " + \
            (f"DPL {flags >> 5 & 3}, IST {self.field('ist')}" if flags & 128 else "not present")


def register_printers():
    printers = gdb.printing.RegexpCollectionPrettyPrinter("rustica")
    for name, printer in {
            "zone_range": ZoneRange, "frame": FrameEntry, "block": Block, "vmo": Vmo,
            "mapping": Mapping, "elf_segment": Segment, "idt_gate": Gate}.items():
        printers.add_printer(name, f"^{name}$", printer)
    gdb.printing.register_pretty_printer(None, printers, replace=True)


class Place(gdb.FrameDecorator.FrameDecorator):
    """A frame that GDB has no good name for.

    Lines in assembler that a trap or system call has come through it takes for the work of
    a signal handler; and of a program without symbols it knows nothing."""

    def function(self):
        pc = self.inferior_frame().pc()
        return function(pc - 1).split("+")[0] if pc >= KERNEL_BASE else "??"

    def filename(self):
        return None


class Call(gdb.FrameDecorator.FrameDecorator):
    """A frame of a program, whose stack need not be in its page tables yet."""

    def frame_args(self):
        args = super().frame_args()
        try:
            for each in args or ():
                each.symbol().value(self.inferior_frame()).fetch_lazy()
        except gdb.MemoryError:
            return None
        return args


class Ends:
    """Beyond the first function of a stack there is nothing that called it; the same holds
    for a program whose symbols are not loaded, of which one line shows where it is."""
    name, priority, enabled = "ends", 100, True

    def filter(self, frames):
        trapped = True
        try:
            for frame in frames:
                inner = frame.inferior_frame()
                if not trapped and not inner.name():
                    return
                nameless = trapped and inner.level() and not inner.name()
                trapped = inner.type() == gdb.SIGTRAMP_FRAME
                yield Place(frame) if trapped or nameless else \
                    Call(frame) if inner.pc() < KERNEL_BASE else frame
        except gdb.MemoryError:
            pass


def explain(event):
    past.stopped_by = list(event.breakpoints) if isinstance(event, gdb.BreakpointEvent) else []
    if past.busy:
        return
    if machine.arrival and register("rip") >= KERNEL_BASE:
        move_symbols()
    frame = gdb.selected_frame()
    if isinstance(event, gdb.BreakpointEvent) and event.breakpoints == [machine.end]:
        gdb.execute("frame")
    if not frame.function():        # assembly, or a program that we have no symbols of
        try:
            gdb.write(quietly("x/i $pc"))
        except gdb.error:
            pass                    # there is no instruction yet
    if past.on:
        return past.stopped(event)
    if isinstance(event, gdb.SignalEvent) and event.stop_signal == "SIGQUIT":
        machine.over = "A triple fault: the processor could not deliver an exception, and " \
            "gave up." if triple_fault() else "The machine is off."
    elif frame.name() == "boot_exit" and given_up(event, frame):
        machine.over = "The kernel has given up."
    else:
        return
    machine.over += " Its memory can still be looked at; `run` starts the machine again."
    say(machine.over)


def given_up(event, frame):
    try:
        return int(frame.read_var("status"))
    except ValueError:          # tcc's kernel: its first instructions still have the argument
        return isinstance(event, gdb.BreakpointEvent) and register("rdi")


def triple_fault():
    """QEMU has said so in a log of its own."""
    log = pathlib.Path(machine.facts["log"]).with_suffix(".qemu")
    return log.exists() and "Triple fault" in log.read_text(errors="replace")


class CheckPower(gdb.Command):
    """Runs before what would wait for a machine that does not go on, or end it."""

    def __init__(self):
        super().__init__("check-power", gdb.COMMAND_OBSCURE)

    def invoke(self, text, from_tty):
        check_power()


def check_power():
    if past.busy:
        return
    if machine.over:
        raise Sorry(machine.over)
    if past.on:
        past.prepare()


# ---- Here we go --------------------------------------------------------------

gdb.execute("source " + os.path.join(os.path.dirname(__file__) or ".", "rustica-back.py"))
COMMANDS = {
        "boot": boot, "restart": restart, "join": join, "efi": show_efi, "type": type_text,
        "user": load_user, "log": show_log,
        "zones": show_zones, "pmm": show_pmm, "heap": show_heap, "vmo": show_vmo, "elf": show_elf,
        "as": show_as, "walk": show_walk, "trap": show_trap, "syscalls": show_syscalls,
        "handles": show_handles, "ps": show_ps, "timers": show_timers, "files": show_files,
        "futexes": show_futexes,
        "session": play, "hint": hint, "when": when}
Rustica()
for name, function_of in COMMANDS.items():
    Command(name, function_of)
for name in "run", "start":
    Run(name)
Process()
Thread()
CheckPower()
register_printers()
for name in "continue step next stepi nexti finish until advance jump".split():
    gdb.execute(f"define hook-{name}\ncheck-power\nend")
gdb.frame_filters["ends"] = Ends()
gdb.events.stop.connect(explain)
for setting in ("confirm off", "print null-stop on", "pagination off", "print pretty on",
                "history save off",
                "architecture i386:x86-64", "remotetimeout 60", "tcp connect-timeout 60",
                "python print-stack message", "filename-display basename",
                "trust-readonly-sections on"):
    quietly("set " + setting)
