import difflib
import re

from check import EXERCISES, need

CHANGED = "cloned: the clone"
FRAMES = 4


def check(tree):
    need(tree.number("vmo-eager.lines", "how many lines of chapter 5's transcript you expect to "
                     "change") == 1, "vmo-eager.lines: go through the transcript with a pencil. "
         "Which frames are new in each line, and would an eager clone have them already?")
    tree.ask("vmo-eager.frames", "how many frames there are after the cloning, by your prediction",
             str(FRAMES), "the original has two; and the clone?")
    tree.host(EXERCISES / "vmo-eager.c")


def proof(tree):
    golden = tree.read("tests/golden/ch05.txt").splitlines()
    said = tree.boots(5).splitlines()
    new = [line[2:] for line in difflib.ndiff(golden, said) if re.match(r"\+ (?!pmm:)", line)]
    need(len(new) == 1 and CHANGED in new[0] and f" {FRAMES} frames" in new[0], f"changed: {new}")
