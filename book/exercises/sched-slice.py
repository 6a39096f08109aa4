import re

from check import STEADY, need


def check(tree):
    many = tree.number("sched-slice.switches", "how many switches chapter 9 will make with a slice "
                       "of 1 millisecond")
    need(480 <= many <= 680, f"sched-slice.switches is not {many}: nearly all the time three "
         "programs compute, for 600 milliseconds of everybody's time together. How often does the "
         "timer take the processor away from one of them?")
    tree.ask("sched-slice.turns", "how many turns each of the three gets with a slice of a second",
             "1", "when does the one that began give the processor away?")


def proof(tree):
    last = 'printf("sched: frames lost:'
    text = tree.read("rustica.c").replace(last, 'printf("switches %lu\\n", sched.switches);\n    ' +
                                          last)
    for slice, least, most in (1000000, 480, 680), (1000000000, 5, 30):
        text = re.sub(r"(#define SLICE_NANOSECONDS) \d+UL", rf"\1 {slice}UL", text)
        said = tree.variant("slice", {"rustica.c": text}).boots(9, **STEADY)
        many = int(re.search(r"^switches (\d+)", said, re.M)[1])
        need(least <= many <= most, f"{many} switches with a slice of {slice} ns")
