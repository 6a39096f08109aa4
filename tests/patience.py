"""What tests inherit, and how long they wait: neither may decide how they end."""

import os
import resource
import signal
import subprocess
import time

KEPT = "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "RUSTICA_SLOW", "RUSTICA_LONG"
PROCESSORS = len(os.sched_getaffinity(0))


def inherit_nothing():
    """Gives us, and so all that we start, the same surroundings each time: whoever started us
    may ignore signals (nohup does, and so does a shell for what runs in the background), speak
    another language, have variables that make takes for settings, or have limits."""
    for sign in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(sign) == signal.SIG_IGN:
            signal.signal(sign, lambda *_: None)    # we go on ignoring it, our children do not
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept, LC_ALL="C", TERM="dumb", TZ="UTC")


def loop():
    """Seconds for some work: how slow is this machine?"""
    started = time.monotonic()
    for _ in range(2_000_000):
        pass
    return time.monotonic() - started


SLOW = float(os.environ.get("RUSTICA_SLOW", "1")) * max(1, min(loop(), loop()) / 0.1)


class Patience:
    """So many seconds of an ordinary machine that has nothing else to do. Where each processor
    has three things to do, a second counts for a third of one."""

    def __init__(self, seconds):
        self.left, self.then = seconds * SLOW, time.monotonic()

    def over(self):
        now = time.monotonic()
        self.left -= (now - self.then) / max(1, os.getloadavg()[0] / PROCESSORS)
        self.then = now
        return self.left < 0


def communicate(child, seconds, stdin=None):
    """Gives a child, which has a session of its own, its input. Returns what it wrote, and
    whether it came to an end; if not, all of its session is killed."""
    patience = Patience(seconds)
    while True:
        try:
            return *child.communicate(stdin, timeout=1), True
        except subprocess.TimeoutExpired:
            stdin = None
        if patience.over():
            subprocess.run(["pkill", "-KILL", "-s", str(child.pid)])
            return *child.communicate(), False
