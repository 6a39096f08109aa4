import re

from check import EXERCISES, need

MESSAGES = {
    "heap-twice": r"freed twice, by provoke_heap_twice\+\w+ and by provoke_heap_twice\+",
    "heap-overrun": r"was written past its 100 bytes \(allocated by provoke_heap_overrun\+",
}


def check(tree):
    tree.host(EXERCISES / "heap-header.c")
    tree.host_tests("heap", 4)
    for name, message in MESSAGES.items():
        _, text = tree.boot(4, OPT=f"provoke={name}")
        need(re.search(message, text), f"with OPT=provoke={name}, the message does not say what it "
             f"said before:\n{text[text.find('***'):]}")
