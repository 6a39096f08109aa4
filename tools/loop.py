#!/usr/bin/env python3
"""The loop of edit, build, boot, look.

    tools/loop.py watch VARIABLE=VALUE ...      what `make loop` does
    tools/loop.py bench ROUNDS SNAPSHOT QEMU... what `make bench` does

Watching is done by looking at the files' times many times a second, which costs
next to nothing and works on every file system.
"""

import os
import pathlib
import pty
import re
import shutil
import signal
import statistics
import subprocess
import sys
import termios
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENV = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}


def start(command, **keywords):
    """In a session of its own, so that stop() finds all its processes."""
    return subprocess.Popen(command, env=ENV, start_new_session=True, **keywords)


def stop(child):
    """Ends a child and all it has started, first politely: QEMU then tidies up. Make
    has nothing to tidy up once QEMU runs, and would only complain."""
    if qemu_runs(child.pid):
        child.kill()
    for sign in [signal.SIGTERM] + [0] * 100 + [signal.SIGKILL]:
        child.poll()
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    child.wait()


def qemu_runs(session):
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (os.getsid(int(process.name)) == session and
                    (process / "comm").read_text().startswith("qemu")):
                return True
        except (ProcessLookupError, FileNotFoundError):
            pass
    return False


# ---- make loop ---------------------------------------------------------------

def sources():
    """{file: when it was saved}. An editor may be just replacing one."""
    found = {}
    for pattern in "*.[ch]", "user/*.[ch]", "Makefile", "tools/waiter.c":
        for path in ROOT.glob(pattern):
            try:
                found[str(path.relative_to(ROOT))] = path.stat().st_mtime_ns
            except FileNotFoundError:
                pass
    return found


def changed(before):
    now = sources()
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def settings():
    return termios.tcgetattr(0) if os.isatty(0) else None


def watch(variables):
    terminal = settings()
    while True:
        before = sources()
        child = start(["make", "run", *variables], cwd=ROOT)
        said = False
        try:
            while not (names := changed(before)):
                if child.poll() is not None and not said:
                    said = True
                    print("make loop: waiting for you to save a file; Ctrl-C leaves", flush=True)
                time.sleep(0.02)
        finally:
            stop(child)
            if terminal:
                termios.tcsetattr(0, termios.TCSANOW, terminal)
        print(f"\nmake loop: {' '.join(names)}", flush=True)


# ---- make bench --------------------------------------------------------------

def first_instruction(snapshot, qemu, *more):
    """Seconds from the start of QEMU until what it boots says that it is here."""
    started = time.monotonic()
    child = start([*qemu, "-display", "none", "-serial", "null", "-append", "leave at once",
                   "-chardev", "file,id=log,path=/dev/stdout", *more],
                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    child.stdout.read(1)
    seconds = time.monotonic() - started
    if child.wait() != 5:           # see waiter.c
        sys.exit(f"make bench: QEMU ended with status {child.returncode}, not 5")
    return seconds


def edit(tree, number):
    """Changes one line, as a program that does nothing else all day."""
    path = tree / "rustica.c"
    text = re.sub(r"u64 bench_edits = \d+;\n", "", path.read_text())
    path.write_text(text + f"u64 bench_edits = {number};\n")


def edit_to_prompt(tree, number, *variables):
    """Seconds from an edit to the kernel's first line, and to the first prompt or,
    if there is none, to the end."""
    edit(tree, number)
    ours, theirs = pty.openpty()
    started = time.monotonic()
    child = start(["make", "run", *variables], cwd=tree, stdin=theirs, stdout=theirs,
                  stderr=theirs)
    os.close(theirs)
    text, first = b"", None
    while not re.search(rb"\n\$ $", text):
        try:
            text += os.read(ours, 4096)
        except OSError:             # all of them have ended
            break
        if not first and b"\nRustica" in text:
            first = time.monotonic() - started
    seconds = time.monotonic() - started
    stop(child)
    os.close(ours)
    if not first or b"make run:" in text:
        sys.exit(f"make bench: make run {' '.join(variables)} gave\n" + text.decode())
    return first, seconds


def bench(rounds, snapshot, *qemu):
    tree = ROOT / "build" / "bench"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git"))
    ways = {"warm, tcc": ["CC=tcc"]} if shutil.which("tcc") else {}
    ways |= {"warm, gcc": ["CC=gcc"], "cold, gcc": ["CC=gcc", "COLD=1"]}
    times = {}
    for number in range(int(rounds) + 1):       # the first round builds what is missing
        print(f"\rround {number} of {rounds} ", end="", flush=True)
        for way, more in ("warm", ["-incoming", f"exec:cat {snapshot}"]), ("cold", []):
            seconds = first_instruction(snapshot, qemu, *more)
            times.setdefault(("start of QEMU to our first instruction", way), []).append(seconds)
        for way, variables in ways.items():
            first, last = edit_to_prompt(tree, number, *variables)
            times.setdefault(("edit to the kernel's first line", way), []).append(first)
            times.setdefault(("edit to the prompt, or the end", way), []).append(last)
    print("\rseconds, median (least to most):")
    for (what, way), found in sorted(times.items(), key=lambda item: item[0][0], reverse=True):
        found = sorted(found[1:])
        print(f"  {what:40}{way:10} {statistics.median(found):6.3f}  "
              f"({found[0]:.3f} to {found[-1]:.3f})")


if __name__ == "__main__":
    try:
        {"watch": lambda *words: watch(words), "bench": bench}[sys.argv[1]](*sys.argv[2:])
    except KeyboardInterrupt:
        print()
