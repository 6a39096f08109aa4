import re

from check import EXERCISES, need


def check(tree):
    said = tree.answer("pmm-buddy.refused", "a request that it refuses although so many frames are "
                       "free in a row: how many, and at a multiple of what, as in `7 1`")
    found = re.fullmatch(r"(\d+)\s+(\d+)", said)
    need(found and 0 < int(found[1]) <= 512, f"pmm-buddy.refused: `{said}` should be two numbers, "
                                             "of which the first is at most 512")
    need(found[2] == "1", "there are simpler ones, which need no alignment: take 1 for the second "
                          "number")
    tree.host(EXERCISES / "pmm-buddy.c", *found.groups())
