"""A conversation with the shell through a pseudo-terminal, as a person would have it."""
import os
import pty
import re
import select
import signal
import time

from patience import Patience


class Terminal:
    """Runs a command on a terminal of its own; what it writes is kept in `text`."""

    def __init__(self, command, patience):
        self.patience, self.text, self.seen = patience, "", 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)       # Python ignores it
            os.execvp(command[0], command)

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:                     # the other end is closed
            data = b""
        self.text += data.decode("ascii", "replace").replace("\r", "")
        return bool(data)

    def expect(self, pattern, seconds=None):
        """Waits until the pattern appears behind what was expected before."""
        patience = Patience(seconds or self.patience)
        while not (found := re.search(pattern, self.text[self.seen:])):
            if patience.over():
                raise AssertionError(f"expected {pattern!r}, got\n{self.text[self.seen:][-500:]}")
            self.read(0.1)
            while self.read(0):
                pass
        self.seen += found.end()

    def type(self, keys, *patterns):
        os.write(self.fd, keys.encode())
        for pattern in patterns:
            self.expect(pattern)

    def interrupt(self, pattern):
        """^C. A command that has just begun may not own the terminal yet; then, like anybody,
        we press it again."""
        for _ in range(3):
            try:
                return self.type("\003") or self.expect(pattern, 5)
            except AssertionError:
                pass
        self.expect(pattern)

    def status(self):
        """Waits for the command's end."""
        patience = Patience(self.patience)
        while not patience.over():
            self.read(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"no end; the last it wrote:\n{self.text[-500:]}")

    def close(self):
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self.fd)


PROMPT = r"(^|\n)\$ $"


def editing(t):
    t.type("echo hello wrold\033[D\033[D\033[D\b\b", r"hello wrold")
    t.type("wor\r", r"\nhello worold", PROMPT)
    t.type("echo one\r", r"\none\n", PROMPT)
    t.type("\033[A\033[A\r", r"\nhello worold\n", PROMPT)
    t.type("nonsense\025echo kept\r", r"\nkept\n", PROMPT)
    t.type("ec\tcompleted | c\t", r"\n.*cat .*cp .*\n\$ echo completed \| c")
    t.type("at /et\tmo\t\r", r"\nThis is Rustica", PROMPT)


def interrupting(t):
    t.type("echo go; spin 1000000\r", r"\ngo\n")
    t.interrupt(PROMPT)
    t.type("echo status $?\r", r"status 130\n", PROMPT)
    t.type("while true; do echo again; sleep 0.05; done\r", r"again\nagain\n")
    t.interrupt(PROMPT)
    t.type("echo still here\r", r"\nstill here\n", PROMPT)


def ending(t):
    t.type("echo go; cat\r", r"\ngo\n")      # before that the shell would read it
    t.type("first\r", r"first\nfirst\n")
    t.type("\004", PROMPT)
    t.type("crash kernel\r", r"killed at", PROMPT)
    t.type("echo status $?\r", r"status 139\n", PROMPT)

def crowding(t):
    t.type("echo 0123456789abcde >/tmp/f; cd /tmp\r", PROMPT)
    t.type("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cat f f >g; mv g f; done\r", PROMPT)
    before = t.text.count("0123456789abcde\n")
    t.type("cat f\r", PROMPT)
    lines = t.text.count("0123456789abcde\n") - before
    assert lines == 4096, f"expected 4096 lines of a large file, got {lines}"
    t.type("rm f; cd /\r", PROMPT)
    t.type("bomb fork\r", r"bomb: fork is over\n", PROMPT)
    t.type("ps\r", r"NAME\n.*init\n.*sh\n.*ps\n", PROMPT)


def memory(t):
    """KiB in use, as a shell sees it that has done nothing yet."""
    t.type("free\r", r"free\n +\d+ +\d+ +\d+\n", PROMPT)
    return re.findall(r"free\n +\d+ +(\d+) +\d+\n", t.text)[-1]


def conversation(command, patience):
    """All of it. Returns the status of the command and what was on the screen."""
    t = Terminal(command, patience)
    try:
        t.expect(PROMPT)
        before = memory(t)
        for part in (editing, interrupting, ending, crowding):
            part(t)
        t.type("exit\r", PROMPT)            # init starts another shell
        after = memory(t)
        assert before == after, f"{before} KiB were in use at first, {after} at the end"
        t.type("poweroff\r")
        return t.status(), t.text
    finally:
        t.close()


def soak(command, patience, seconds):
    """One machine, and the conversation again and again until so many seconds have passed.
    Returns the status, what was on the screen, the rounds, and the seconds."""
    t = Terminal(command, patience)
    try:
        t.expect(PROMPT)
        before, started, rounds = None, time.monotonic(), 0
        while not rounds or time.monotonic() - started < seconds:
            for part in (editing, interrupting, ending, crowding):
                part(t)
            now = memory(t)
            before, rounds = before or now, rounds + 1
            assert now == before, f"{before} KiB in use at first, {now} after {rounds} rounds"
        spent = time.monotonic() - started
        t.type("poweroff\r")
        return t.status(), t.text, rounds, spent
    finally:
        t.close()


def ask_both(command, program, patience):
    """What a program writes on a terminal of the host, and at our prompt."""
    theirs = Terminal([program], patience)
    theirs.expect(r"takes it: .*\n")
    theirs.close()
    ours = Terminal(command, patience)
    try:
        ours.expect(PROMPT)
        before = ours.seen
        ours.type(f"{os.path.basename(program)}\r", PROMPT)
        text = ours.text[before:ours.seen].split("\n", 1)[1]
        ours.type("poweroff\r")
        return ours.status(), theirs.text, text.removesuffix("$ ")
    finally:
        ours.close()
