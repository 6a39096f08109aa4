import re

from check import EXERCISES, need


def check(tree):
    tree.host(EXERCISES / "pmm-nextfit.c")
    for option in "", "pmm=lockstep":
        text = tree.boots(3, OPT=option)
        need(re.search(r"^pmm: .*lock ?step.*: (\d+) frames allocated, [1-9]\d* freed", text, re.M),
             f"the trial of chapter 3, with OPT={option}, does not get to its end:\n{text}")
