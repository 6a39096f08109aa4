"""Backwards in time: what `make gdb BACK=1` adds to rustica-gdb.py, which loads this file.

QEMU can record a run: the machine's state at the beginning, and whatever came from outside
and when, counted in instructions. From these it replays the run, exactly, as often as one
likes; but only forwards. (It offers to go backwards as well, and then may wait for itself
forever, at least up to version 7.2.) So to go backwards is to replay anew, up to an
instruction that lies before this one. Which one, a first replay finds out: the previous stop
is the last place, before now, at which a forward run would have stopped.

`past` is the recording that we stand in. An instruction's number is how many the machine
has executed before it since it began to be recorded.
"""

import hashlib
import json
import struct

SILENCE = 400_000_000           # instructions without a word, after which a recording ends
WAITING = 10                    # seconds without anything to do, likewise
KEPT = 4                        # recordings
STUCK = 20                      # seconds in which a replay does not get on
MARGIN = 1000                   # instructions: nobody comes so near to a recording's end
OFF, WAITED = "the machine went off", "it waited for something that did not come"
TRIPLE = "a triple fault: the processor could not deliver an exception"


class Past:
    """A recording, and the replay in which we stand."""

    def __init__(self):
        self.on = False
        self.folder = None      # files of ours alone
        self.kept = None        # what they are a copy of
        self.story = {}         # what there is to know of the recording
        self.begin = self.main = self.place = 0
        self.saved = []         # instructions of which there is a snapshot
        self.busy = False       # a replay that is not shown
        self.loose = False      # stopped by QEMU itself: see settle()
        self.changed = False    # by the user, so that this is not what was recorded
        self.stopped_by = []    # breakpoints, at the last stop
        self.shown = 0          # bytes of the console
        self.console_lock = threading.Lock()

    # -- Going somewhere

    def now(self, seconds=60):
        said = machine.ask("info replay", seconds).decode(errors="replace")
        found = re.search(r"instruction count = (\d+)", said)
        if not found:
            raise Sorry("QEMU does not tell where the replay is.")
        return int(found[1])

    @contextlib.contextmanager
    def alone(self):
        """Without anybody's breakpoints, and without a word."""
        theirs = [b for b in [*users_breakpoints(), machine.end] if b and b.enabled]
        for b in theirs:
            b.enabled = False
        self.busy = True
        try:
            with unheard():
                yield
        finally:
            for b in theirs:
                with contextlib.suppress(gdb.error, RuntimeError):  # no machine; deleted
                    b.enabled = True
            self.busy = False
            self.shown = os.path.getsize(self.console)

    def settle(self):
        """QEMU's processor, when QEMU and not a debugger has stopped it, stands where loadvm
        may wait for it forever. After a single step it does not."""
        if self.loose:
            self.resume("stepi")
        self.loose = False

    def load(self, number):
        self.settle()
        machine.over, self.changed = "", False
        try:
            machine.ask(f"loadvm {snapshot_name(number)}", STUCK)
        except (OSError, Sorry):
            return self.launch(number)
        quietly("maintenance flush register-cache")
        quietly("maintenance flush dcache")

    def run_to(self, number):
        """Forwards; the last instruction is a step, which leaves all settled."""
        here = self.now()
        while here < number - 1:
            machine.ask(f"replay_break {number - 1}")
            self.resume()
            here, before = self.now(), here
            if here < number - 1 and (self.interrupted() or here == before):
                raise KeyboardInterrupt
        if here < number:
            self.resume("stepi")
        self.loose = False
        if self.now() != number:
            raise Sorry(f"The replay has missed instruction {number}, it is at {self.now()}.")

    def resume(self, command="continue"):
        """Lets it run, to some stop; a QEMU that does not get on is ended."""
        self.stopped_by, done = [], threading.Event()
        watchdog = threading.Thread(target=self.watch, args=(done,), daemon=True)
        watchdog.start()
        try:
            silently(command)
        except gdb.error as why:
            raise Stuck(str(why)) from None
        finally:
            done.set()
            watchdog.join()

    def watch(self, done):
        last, since = -1, time.monotonic()
        while not done.wait(1):
            try:
                here = self.now(5)
            except (Sorry, OSError):
                here = last
            if here != last:
                last, since = here, time.monotonic()
            elif time.monotonic() - since > STUCK and machine.process:
                machine.process.kill()

    def interrupted(self):
        return not self.stopped_by

    def save(self, number):
        try:
            machine.ask(f"savevm {snapshot_name(number)}", STUCK)
        except OSError as why:
            raise Stuck(str(why)) from None
        self.saved.append(number)

    def seek(self, number):
        """To an instruction. On long ways, snapshots are left behind for the next time."""
        base = max(n for n in self.saved if n <= number)
        self.load(base)
        step = max(10_000_000, self.story["end"] // 8)
        while number - base > 3 * step // 2 and len(self.saved) < 12:
            base += step
            self.run_to(base)
            self.save(base)
        if self.now() != number:
            self.run_to(number)

    # -- Searching

    def hits(self, places, begin, end):
        """(instruction, breakpoint) for each stop at one of the places between the two."""
        found = []
        self.seek(begin)
        points = [place.set() for place in places]
        try:
            machine.ask(f"replay_break {end}")
            while True:
                self.resume()
                here = self.now()
                self.loose = here >= end
                if self.loose:
                    return found
                if self.interrupted():
                    raise KeyboardInterrupt
                for place, point in zip(places, points):
                    if point in self.stopped_by:
                        found.append((here - place.lag, place))
        finally:
            for point in points:
                point.delete()

    def last(self, places, now):
        """The last hit before now, or None. There may be many where much is executed, and each
        takes time; but usually the last is not long ago: so we look at short pieces first."""
        end = min(now + 1, self.story["end"] or now + 1)
        size = 20_000 if all(place.lag for place in places) else 500
        while places:
            begin = max(self.begin, end - size)
            found = [hit for hit in self.hits(places, begin, end) if hit[0] < now]
            if found:
                return max(found, key=lambda hit: hit[0])
            if begin == self.begin:
                break
            end, size = begin + 1, size * 10
        return None

    def travel(self, whereto):
        """Calls a function that says where to go, and what to say there: (number, text); all
        that it does on the way is not seen. Interrupted, we are back where we were."""
        check_past()
        here, mine, over = self.place, watchpoints(), machine.over
        with self.alone():
            try:
                if self.changed:
                    self.seek(here)
                self.place, text = self.attempt(lambda: whereto(here))
                self.attempt(lambda: self.seek(self.place))
            except (KeyboardInterrupt, Sorry, Stuck) as why:
                self.return_to(here, over, why)
        if text:
            gdb.write(text + ("" if text.endswith(", ") else "\n"))
        for lost in mine - watchpoints():
            say(f"Watchpoint {lost} was of a call that has not begun here, and is deleted. (`watch "
                "-location` makes one that stays.)")

    def attempt(self, function):
        """Once more if QEMU has got stuck. (Beside much other work it has, once.)"""
        try:
            return function()
        except Stuck:
            self.launch(self.begin)
            self.seek(self.place)
            return function()

    def return_to(self, here, over, why):
        """Where we were, if we did not get to where we wanted to be."""
        self.loose = self.loose or isinstance(why, KeyboardInterrupt)
        try:
            if isinstance(why, Stuck):
                self.launch(self.begin)
            self.seek(here)
        except Stuck:
            machine.stop()
            self.on = False
            shutil.rmtree(self.kept, ignore_errors=True)
            raise Sorry("QEMU does not get on with this recording. `rustica boot` records "
                        "the run anew.") from None
        self.place, machine.over = here, over
        if isinstance(why, Sorry):
            raise why
        raise Sorry(("QEMU does not get on" if isinstance(why, Stuck) else "Interrupted") +
                    ": we are where we were.") from None

    # -- Beginning

    @property
    def console(self):
        return os.path.join(self.folder, "console")

    def launch(self, number=0):
        """Starts the replay at a snapshot and connects to it."""
        with options(self.story["options"]):
            more = f",rrsnapshot={snapshot_name(number)}"
            machine.launch(by_log("replay", self.folder, more) +
                           ["-drive", disk_of(self.folder)], self.console)
        machine.attach(machine.path("gdb"))
        self.loose = False

    def replay(self):
        """From the recording to the chapter's first line, or to where the kernel gave up."""
        self.on, self.saved, self.begin, self.shown = True, [], 0, 0
        open(self.console, "w").close()
        for b in users_breakpoints():
            if b.temporary and b.location in (machine.facts["main"], "boot_exit"):
                b.delete()              # what is left of going forwards
        try:
            self.start()
        except Stuck:
            self.saved = []
            self.start()
        if self.story["badly"]:
            self.to_end()
        else:
            gdb.execute("frame")

    def start(self):
        self.launch()
        with self.alone():
            self.begin = self.first("boot_start")
            self.save(self.begin)
            self.main = self.place = self.first(machine.facts["main"])

    def first(self, place):
        point = gdb.Breakpoint(place, gdb.BP_HARDWARE_BREAKPOINT, internal=True)
        point.silent = True
        self.resume()
        reached = point in self.stopped_by
        point.delete()
        if not reached:
            raise Unable(f"the replay does not get to {place}()")
        return self.now()

    def to_end(self):
        """Where the kernel gave up, or where the recording was cut."""
        with self.alone():
            machine.end.enabled = True
            self.arm()
            self.resume()
            self.loose = machine.end not in self.stopped_by
            self.settle()
            self.place = self.now()
        report = kernel_log().rpartition("\n*** ")
        if report[1]:                   # of a panic, which nobody has seen yet
            say("*** " + report[2])
        gdb.execute("frame")
        self.at_end()

    def stopped(self, event):
        """After a stop of somebody's who went forwards."""
        self.loose = not self.stopped_by and isinstance(event, gdb.SignalEvent) and \
            event.stop_signal != "SIGTRAP"
        end, self.place = self.story["end"], self.now()
        if machine.end in self.stopped_by or end and self.place >= end:
            self.at_end()

    def arm(self):
        """What runs forwards is to stop at the recording's end, and not beyond it."""
        if self.story["end"]:
            machine.ask(f"replay_break {self.story['end']}")

    def prepare(self):
        """Before anything runs forwards."""
        if self.changed:
            with self.alone():
                self.seek(self.place)
            say("What you have changed is not in the recording: it is undone.")
        if self.place >= (self.story["end"] or self.place + 1):
            raise Sorry(self.sentence())
        self.arm()

    def at_end(self):
        machine.over = self.sentence()
        say(machine.over)

    def sentence(self):
        return f"The recording ends here: {self.story['why']}. To go on backwards: " \
            "reverse-continue, reverse-step, `rustica when EXPRESSION`; `run` goes to the " \
            "chapter's first line."

    def leave(self):
        self.on = self.busy = False
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None

    # -- The console: a file, so that what is replayed unseen is not seen

    def show_console(self, write=gdb.write):
        with self.console_lock:
            if not self.on or self.busy:
                return
            with open(self.console, "rb") as file:
                file.seek(self.shown)
                text = file.read()
            self.shown += len(text)
            if text:
                write(text.decode("ascii", "backslashreplace"))


past = Past()


def users_breakpoints():
    return [b for b in gdb.breakpoints() or () if b.visible]


def watchpoints():
    return {b.number for b in users_breakpoints() if b.expression}


class Stuck(Exception):
    """QEMU did not get on, or has gone."""


class Unable(Exception):
    """Why there is no recording; the forward session remains."""


@contextlib.contextmanager
def options(text):
    """What the kernel is told, which is QEMU's to remember, and in no snapshot."""
    before = machine.facts["options"]
    machine.facts["options"] = text
    try:
        yield
    finally:
        machine.facts["options"] = before


@contextlib.contextmanager
def unheard():
    """GDB says of some stops what nobody is to see, wherever its output is told to go."""
    gdb.flush()
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        gdb.flush()
        ctypes.CDLL(None).fflush(None)
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)


def snapshot_name(number):
    return f"at-{number}"


def by_log(mode, folder, more=""):
    return ["-icount", f"shift=auto,rr={mode},rrfile={folder}/log{more}"]


def disk_of(folder):
    """Where snapshots are. (Of safety we have no need.)"""
    return f"file={folder}/disk,if=none,id=recording,cache=unsafe"


def check_past():
    if not past.on:
        raise Sorry("This session goes forwards only. `make gdb BACK=1`, or here `rustica boot "
                    "BACK=1`, records the chapter's run; then you can go both ways.")
    if not gdb.selected_inferior().pid:
        raise Sorry("There is no machine; `rustica boot` starts one.")


# ---- Recording ---------------------------------------------------------------

def empty_disk(path):
    """A disk image, to keep snapshots in: a qcow2 file of version 2 without contents. (Header,
    table of counters of clusters in use, those counters, table of contents.)"""
    cluster = 1 << 16
    parts = (struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 0, 1, 3 * cluster,
                         cluster, 1, 0, 0),
             struct.pack(">Q", 2 * cluster), struct.pack(">4H", 1, 1, 1, 1), b"")
    with open(path, "wb") as file:
        for part in parts:
            file.write(part.ljust(cluster, b"\0"))


class Keyboard:
    """What is typed while we record: a file, and that there is no more. (Its line is a FIFO.
    What the kernel writes there goes nowhere, as it writes the same to its other console:
    somebody who reads may be late, then QEMU tries again, and that would be in no recording.
    And as a replay waits where the recorded run has waited, nobody types by hand.)"""

    def __init__(self, path):
        self.text = (open(path, "rb").read() if path else b"") + b"\4"
        self.line = os.open(machine.path("serial.in"), os.O_WRONLY | os.O_NONBLOCK)

    def work(self):
        """A few characters at a time: QEMU, when it records, takes more than the line's device
        has room for, and loses them."""
        if self.text:
            with contextlib.suppress(BlockingIOError):
                self.text = self.text[os.write(self.line, self.text[:8]):]


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def sweep(folder):
    """Removes what those have left behind who were killed, and old recordings."""
    for path in folder.glob("session-*"):
        if not alive(path.name.split("-")[1]):
            shutil.rmtree(path, ignore_errors=True)
    for path in sorted(folder.glob("run-*"), key=os.path.getmtime)[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def key_of(facts):
    """What a recording depends on."""
    parts = [facts["start"], facts["warm"], facts["options"], facts["back"]]
    paths = [facts["symbols"], *facts["type"].split()]
    return hashlib.sha256(json.dumps(parts).encode() + b"".join(
        hashlib.sha256(open(path, "rb").read()).digest() for path in paths)).hexdigest()[:16]


def go_back_and_forth():
    """Records, if that has not been done, and replays; or says why not."""
    facts = machine.facts
    past.leave()
    if not facts.get("back"):
        return False
    try:
        if not facts["warm"] or not os.path.exists(facts["warm"]):
            raise Unable("a recording begins with a warm start, which there is not for ACCEL=kvm, "
                         "COLD=1, DISK= and QFLAGS=")
        if facts["type"] and not os.path.isfile(facts["type"]):
            raise Sorry(f"There is no file {facts['type']} to type (TYPE=).")
        folder = pathlib.Path(facts["record"])
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        past.folder = str(folder / f"session-{os.getpid()}")
        os.mkdir(past.folder)
        past.kept = folder / f"run-{key_of(facts)}"
        if not past.kept.exists():
            record(past.kept)
        else:
            shutil.copytree(past.kept, past.folder, dirs_exist_ok=True)
            os.utime(past.kept)
        past.story = json.load(open(os.path.join(past.folder, "story")))
        say(f"Recorded: until {past.story['why']}.")
        past.replay()
        return True
    except (Unable, Stuck, OSError) as why:
        machine.stop()
        past.leave()
        facts["back"] = ""
        say(f"This run cannot be recorded: {why}. So this session goes forwards only.")
        return False


def record(keep):
    """Runs the machine to its end, or ours, and keeps what comes of it."""
    facts = machine.facts
    if sys.stdin.isatty():
        say("The run is recorded, which takes a second or more; Ctrl-C ends it.")
    empty_disk(os.path.join(past.folder, "disk"))
    words = " ".join(facts["options"].split() + ["pipe"])
    try:
        with options(words):
            machine.launch(["-incoming", f"exec:cat {shlex.quote(facts['warm'])}; echo"] +
                           by_log("record", past.folder), past.console, fifo=True)
        story = {**watch_run(), "options": words}
    finally:
        machine.stop()
    with open(os.path.join(past.folder, "story"), "w") as file:
        json.dump(story, file)
    part = tempfile.mkdtemp(dir=keep.parent, prefix=f"session-{os.getpid()}-")
    shutil.copytree(past.folder, part, dirs_exist_ok=True)
    with contextlib.suppress(OSError):      # somebody has just made the same
        os.rename(part, keep)
    shutil.rmtree(part, ignore_errors=True)


def watch_run():
    """The run, from its first instruction to its end: what became of it. It ends where the
    kernel wants to end it, and not after that: a replay may go off too early."""
    while b"inmigrate" in machine.ask("info status"):
        time.sleep(0.02)
    machine.ask("drive_add 0 " + disk_of(past.folder))  # earlier, it would wait for a `cont`
    said = machine.ask(f"savevm {snapshot_name(0)}")
    if b"at-0" not in machine.ask("info snapshots"):
        raise Unable("QEMU makes no snapshot: " + said.decode().split("\n", 1)[-1].strip())
    machine.attach(machine.path("gdb"))
    why, done = [], threading.Event()
    watcher = threading.Thread(target=feed_and_watch, args=(why, done), daemon=True)
    past.busy, past.stopped_by = True, []
    try:
        with unheard():
            watcher.start()
            silently("continue")
    except gdb.error:
        why.append("the machine went off")      # with a triple fault, for instance
    finally:
        done.set()
        watcher.join()
        past.busy = False
    story = {"why": why[0] if why else "you pressed Ctrl-C", "end": 0,
             "badly": not why or why[0] not in (OFF, WAITED)}
    if machine.end in past.stopped_by:
        try:
            status = int(gdb.newest_frame().read_var("status"))
        except (ValueError, RuntimeError):      # tcc's kernel
            status = register("rdi")
        story.update(why="the kernel gave up" if status else OFF, badly=bool(status))
        run_on()
    else:
        with contextlib.suppress(Sorry, OSError):
            # A triple fault is as exact as a breakpoint; a replay stands before its instruction
            # if it stops there and makes one step, see settle().
            story["end"] = past.now() - (2 if triple_fault() else MARGIN)
        if triple_fault():
            story.update(why=TRIPLE, badly=True)
    with contextlib.suppress(Sorry, OSError):
        machine.ask("quit")
    with contextlib.suppress(subprocess.TimeoutExpired):
        machine.process.wait(STUCK)
    return story


def run_on():
    """Up to the kernel's next branch, in one go. A replay may wait forever where the machine
    stood while it was recorded: nobody is to get next to such a place. (And from an enabled
    breakpoint GDB goes on by a single step first.)"""
    code = gdb.selected_frame().architecture().disassemble(register("rip"), count=20)
    branch = next(each["addr"] for each in code if each["asm"].startswith("j"))
    point = gdb.Breakpoint(f"*{branch:#x}", gdb.BP_HARDWARE_BREAKPOINT, internal=True)
    point.silent, machine.end.enabled = True, False
    silently("continue")
    point.delete()
    machine.end.enabled = True


def feed_and_watch(why, done):
    """While it runs: types, and stops it when it has been busy, or has waited, for too long."""
    keyboard, patience = Keyboard(machine.facts["type"]), float(machine.facts["back"])
    said, since, busy = 0, 0, time.monotonic()
    with contextlib.suppress(Sorry, OSError):
        while not done.wait(0.05) and not why:
            if said:                    # what comes before its first line it may not see
                keyboard.work()
            here = past.now()
            if os.path.getsize(machine.facts["log"]) != said:
                said, since = os.path.getsize(machine.facts["log"]), here
                busy = time.monotonic()
            if here - since > SILENCE * patience:
                why.append(f"it was busy for {SILENCE * patience // 1_000_000:.0f} million "
                           "instructions without a word")
            elif time.monotonic() - busy > WAITING * patience:
                why.append(WAITED)
            if why:
                machine.ask("stop")


# ---- Places where a forward run would stop -----------------------------------

class Stop:
    """Something to set before a replay, and what to say if it is the one."""
    lag = 0                     # instructions between the place and where the machine stops

    def __init__(self, address, condition="", title=""):
        self.address, self.condition, self.title = address, condition, title

    def set(self):
        point = gdb.Breakpoint(f"*{self.address:#x}", internal=True)
        return self.finish(point)

    def finish(self, point):
        point.silent = True
        if self.condition:
            point.condition = self.condition
        return point


class Write(Stop):
    """The processor stops behind the instruction that writes; we want to see it."""
    lag = 1

    def __init__(self, address, kind, condition="", title="", access=gdb.WP_WRITE):
        super().__init__(address, condition, title)
        self.kind, self.access = kind, access

    def set(self):
        text = f"*(unsigned char(*)[{self.kind.sizeof}]){self.address:#x}"
        return self.finish(gdb.Breakpoint(text, gdb.BP_WATCHPOINT, self.access, internal=True))

    def value(self):
        return gdb.Value(self.address).cast(self.kind.pointer()).dereference().format_string()


def address_of(text):
    """Where an expression's value is in memory, and its type."""
    try:
        value = gdb.parse_and_eval(text)
        kind = value.type.strip_typedefs()
        if value.is_optimized_out:
            raise Sorry(f"{text} is optimized out: the compiler keeps it nowhere.")
        if value.address is None:
            raise Sorry(f"{text} is not in memory: " + (
                "the compiler keeps it in a register, or it" if re.fullmatch(r"[a-z_]\w*", text)
                else "it") + " is computed. Name a variable, or *(type *)address.")
        return int(value.address) & (1 << 64) - 1, kind, value.format_string()
    except gdb.MemoryError as why:
        raise Sorry(f"{text} cannot be read here: {why}") from None
    except gdb.error as why:
        raise Sorry(str(why)) from None


def in_this_space(address, condition=""):
    """A program's addresses mean something in its own tables only."""
    ours = "" if address >> 63 else f"$cr3 == {register('cr3'):#x}"
    return " && ".join(f"({each})" for each in (ours, condition) if each)


def places_of_user():
    """What the user's breakpoints and watchpoints wait for."""
    for b in users_breakpoints():
        if not b.enabled or b.pending:
            continue
        if b.type in (gdb.BP_BREAKPOINT, gdb.BP_HARDWARE_BREAKPOINT):
            for each in b.locations:
                if each.enabled:
                    yield Stop(each.address, b.condition or "", f"\nBreakpoint {b.number}, ")
        elif b.type in (gdb.BP_HARDWARE_WATCHPOINT, gdb.BP_READ_WATCHPOINT,
                        gdb.BP_ACCESS_WATCHPOINT):
            text = re.sub(r"^-l(ocation)? ", "", b.expression)
            address, kind, _ = address_of(text)
            access = {gdb.BP_HARDWARE_WATCHPOINT: gdb.WP_WRITE,
                      gdb.BP_READ_WATCHPOINT: gdb.WP_READ}.get(b.type, gdb.WP_ACCESS)
            yield Write(address, kind, in_this_space(address, b.condition or ""),
                        f"\nHardware watchpoint {b.number}: {text}", access)
        elif b.type == gdb.BP_WATCHPOINT:
            say(f"Watchpoint {b.number} is not in memory: backwards it is passed over.")


# ---- Lines and calls ---------------------------------------------------------

known_lines = {}


def function_at(pc):
    """(first address, end, [(address, line) where another line begins]), or None. What is
    expanded in a function is part of it."""
    try:
        block = gdb.block_for_pc(pc)
    except (gdb.error, RuntimeError, OverflowError):
        block = None
    found = None
    while block and not (block.is_global or block.is_static):
        if block.function:
            found = block
        block = block.superblock
    if not found:
        return None
    if found.start not in known_lines:
        rows = {row.pc: row.line for row in found.function.symtab.linetable()
                if found.start <= row.pc < found.end}
        rows = sorted(rows.items())
        known_lines[found.start] = (found.start, found.end, [
            row for before, row in zip([(0, 0)] + rows, rows) if row[1] and before[1] != row[1]])
    return known_lines[found.start]


def place_in(frame):
    """Where it is, or where the call is that it waits for: what a function that does not
    return is called by may be the last of its caller."""
    inner = frame.newer()
    return frame.pc() - (1 if inner and inner.type() == gdb.NORMAL_FRAME else 0)


def lines_of(frame):
    """Where lines begin in the call that a frame is of."""
    found = function_at(place_in(frame))
    if not found:
        return []
    base = int(frame.read_register("rbp")) & (1 << 64) - 1
    condition = in_this_space(frame.pc(), f"$rbp == {base:#x}")
    return [Stop(address, condition) for address, _ in found[2] if address != found[0]]


def begun(frame):
    """Is it beyond the instructions that set up its frame?"""
    found = function_at(frame.pc())
    return found and len(found[2]) > 1 and frame.pc() >= found[2][1][0]


def callers_lines(frame):
    for _ in range(20):
        frame = frame.older()
        if not frame:
            break
        if found := lines_of(frame):
            return found
    return []


def back_a_line(here):
    """The beginning of the line, or of the one before it in this function, or of that which
    has called it."""
    frame = gdb.newest_frame()
    places = (lines_of(frame) if begun(frame) else []) + callers_lines(frame)
    if not places:
        raise Sorry("Neither this function nor who has called it has lines: reverse-stepi goes "
                    "back an instruction.")
    found = past.last(places, here)
    return found[0] if found else past.begin


def back_into(here):
    """The same, but what was called by that line has been entered, from its end."""
    outer = back_a_line(here)
    for size in 64, 512, 4096:
        begin = max(outer, here - size)
        if found := last_inner(begin, here, outer):
            return found
        if begin == outer:
            break
    return outer


def last_inner(begin, here, outer):
    """The last line between two instructions that is in a function which was called. What
    interrupts has not been called."""
    past.seek(begin)
    found, before = None, None
    for number in range(begin, here):
        frame = gdb.newest_frame()
        pc = frame.pc()
        inside = function_at(pc)
        line = inside and pc != inside[0] and pc in dict(inside[2])
        if line and number > outer and pc != before and called(frame):
            found = number
        before = pc
        past.resume("stepi")
    return found


def called(frame):
    while frame:
        if frame.type() == gdb.SIGTRAMP_FRAME:
            return False
        frame = frame.older()
    return True


def back_to_call(frame, here):
    """The instruction that called the function of a frame."""
    found, older = function_at(place_in(frame)), frame.older()
    if not found or not older:
        raise Sorry("This is the outermost function, or one without symbols: nothing is known to "
                    "have called it.")
    top = int(older.read_register("rsp")) & (1 << 64) - 1
    if frame.level() == 0 and frame.pc() == found[0]:
        return here - 1
    entry = Stop(found[0], in_this_space(frame.pc(), f"$rsp == {top - 8:#x}"))
    hit = past.last([entry], here)
    return hit[0] - 1 if hit else past.begin


# ---- The commands ------------------------------------------------------------

class Backwards(gdb.Command):
    def __init__(self, name, function):
        self.function, self.__doc__ = function, function.__doc__ + "\n\n" + \
            "For this the recording is replayed anew: see `help rustica when`."
        super().__init__(name, gdb.COMMAND_RUNNING)

    def invoke(self, text, from_tty):
        check_past()
        self.function(text.strip())
        gdb.write(quietly("frame").removeprefix("#0  "))
        frame = gdb.newest_frame()
        if not frame.function():
            gdb.write(quietly("x/i $pc"))
        gdb.execute("display")


def show_line():
    """The line that is to be executed next, if it is known."""
    lines = quietly("frame").splitlines()
    if re.match(r"\d+\t", lines[-1]):
        say(lines[-1])


def times(text):
    count = number(text) if text else 1
    if count < 1:
        raise Sorry("How often? A number from 1 on.")
    return count


def repeat(text, step):
    """Some steps, but not beyond the beginning."""
    def go(here):
        for _ in range(times(text)):
            if here <= past.begin:
                return past.begin, "No more reverse-execution history."
            here = max(past.begin, step(here))
            past.seek(here)
        return here, ""

    past.travel(go)


def reverse_stepi(text):
    """Step backwards one instruction, or N of them."""
    past.travel(lambda here: (max(past.begin, here - times(text)), "" if here > past.begin else
                              "No more reverse-execution history."))


def reverse_step(text):
    """Step backwards to the beginning of the line executed before, into what it had called.

    An argument N means do this N times. Interrupts are passed over, and assembler."""
    repeat(text, back_into)


def reverse_next(text):
    """Step backwards to the beginning of the line executed before, over what it had called.

    An argument N means do this N times. From a function's first line it leads to the line
    that has called it."""
    repeat(text, back_a_line)


def reverse_nexti(text):
    """Step backwards one instruction, but over what a call instruction has called."""
    def step(here):
        past.seek(here - 1)
        frame = gdb.newest_frame()
        if memory_at(frame.pc()) in (b"\xc3", b"\xc2") and frame.older():
            return back_to_call(frame, here - 1)
        return here - 1

    repeat(text, step)


def memory_at(pc):
    return gdb.selected_inferior().read_memory(pc, 1).tobytes()


def reverse_finish(text):
    """Go backwards to the call of the selected frame's function."""
    frame = gdb.selected_frame()
    say(f"Run back to call of {quietly('frame').splitlines()[0]}")
    level = frame.level()

    def go(here):
        inner = gdb.newest_frame()
        for _ in range(level):
            inner = inner.older()
        return back_to_call(inner, here), ""

    past.travel(go)


def reverse_continue(text):
    """Go backwards to the last stop: at a breakpoint, or before the write that a watchpoint
    sees. Without one, to the kernel's first instruction.

    An argument N means the N-th stop. Conditions hold; what `ignore` and `commands` say, and
    the counters of `info breakpoints`, are for going forwards."""
    places = list(places_of_user())

    def go(here):
        for _ in range(times(text)):
            hit = past.last(places, here)
            if not hit:
                return past.begin, "\nNo more reverse-execution history."
            here = hit[0]
        past.seek(here)
        return here, hit[1].title + changes(hit[1], here)

    past.travel(go)


def changes(place, here):
    if not place.lag or place.access != gdb.WP_WRITE:
        return ""
    old = place.value()
    past.run_to(here + 1)
    return f"\n\nOld value = {old}\nNew value = {place.value()}"


def when(words):
    """rustica when EXPRESSION: goes back to the write that gave it the value that it has.

    For a session that goes backwards: make gdb BACK=1. The last instruction before now that
    changed the value is about to be executed then; once more, and you are at the change before
    that one. EXPRESSION is something in memory, such as a variable, or a member.

    Such a session replays a recording. `make gdb BACK=1` runs the chapter first and records
    what happens, until the machine is off or has said nothing for 400 million instructions
    (BACK=2: for 800 million), or Ctrl-C. What is typed is part of it: TYPE=FILE types a file's
    lines. If the kernel has given up or hangs, you begin at that end, else at the chapter's
    first line.

    reverse-step, reverse-next, reverse-stepi, reverse-nexti, reverse-finish and
    reverse-continue do what GDB's manual says of them, and the other commands go forwards, up
    to the recording's end. What you change by hand, by `set variable` or by calling a
    function, is undone when you go on: the past is as it was."""
    check_past()
    if not words:
        raise Sorry("When what? `rustica when zones.count`, or something else in memory.")
    text = " ".join(words)
    address, kind, value = address_of(text)
    place = Write(address, kind, in_this_space(address))

    def go(here):
        hit = past.last([place], here)
        if not hit:
            raise Sorry(f"{text} has been {value} since the kernel's first instruction: nobody "
                        "has written anything else in this recording.")
        past.seek(hit[0])
        said = f"{text} has changed {here - hit[0]:,} instructions ago, here:" + \
            changes(place, hit[0])
        return hit[0], said

    past.travel(go)
    gdb.execute("backtrace 6")
    show_line()


class ShowConsole(gdb.Command):
    """Runs at each stop, before GDB says where: shows what the kernel has printed."""

    def __init__(self):
        super().__init__("show-console", gdb.COMMAND_OBSCURE)

    def invoke(self, text, from_tty):
        past.show_console()


def follow_console():
    """While the machine runs for long, what it prints is shown at once. (A front end waits until
    it stops: this is not GDB's thread.)"""
    while not leaving.wait(0.2):
        with contextlib.suppress(OSError, TypeError):
            past.show_console(lambda text: os.write(1, text.encode()))


def changed(event):
    past.changed = past.changed or past.on and not past.busy


for event in "memory_changed", "register_changed", "inferior_call":
    getattr(gdb.events, event).connect(changed)
leaving = threading.Event()
follower = threading.Thread(target=follow_console, daemon=True)
if not front_end():
    follower.start()
ShowConsole()
gdb.execute("define hook-stop\nshow-console\nend")
for function_of in (reverse_stepi, reverse_step, reverse_next, reverse_nexti, reverse_finish,
                    reverse_continue):
    Backwards(function_of.__name__.replace("_", "-"), function_of)
