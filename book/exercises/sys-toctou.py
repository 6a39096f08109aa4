import re

from check import EXERCISES, need


def check(tree):
    tree.host(EXERCISES / "sys-toctou.c")
    said = tree.answer("sys-toctou.gains", "whose memory can the second thread read then, by "
                       "writev, and change, by readv?")
    need(re.search("kernel", said, re.I), f"not `{said}`: whose addresses does sys_is_range() keep "
         "out?")
