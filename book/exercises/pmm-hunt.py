import re

from check import need

FUNCTIONS = {"first": "pmm_show_trial", "lockstep": "pmm_find", "mended": "pmm_audit"}
WHEN = {"first": "with the bug in both places", "lockstep": "the same with OPT=pmm=lockstep",
        "mended": "with pmm_add_run() mended"}


def check(tree):
    for key, function in FUNCTIONS.items():
        tree.ask(f"pmm-hunt.{key}", f"the function whose check notices it first, {WHEN[key]}",
                 function, "the first line of the backtrace below `called from` has its name")
    tree.ask("pmm-hunt.address", "the physical address to which all the bits went first", "0",
             "all words of the bitmap were 0 then, and a word's value was taken for an address")
    tree.ask("pmm-hunt.ours", "how many frames our allocator grants", "0",
             "who asks the bitmap, and which bits has it?")
    tree.ask("pmm-hunt.ancestor", "how many frames the ancestor's allocator granted", "1",
             "it set the bit at that address, too; for the second frame, what did it find there?")


def proof(tree):
    text = tree.read("rustica.c")
    for place in r"(p->free_bits\[i / 64\]) \|= 1UL", r"(p->free_bits\[index / 64\]) \|= bit":
        found = re.search(place, text)
        text = text.replace(found[0], found[0].replace(
            found[1], f"*(u64 *)boot_physical({found[1]})"))
    both = text
    mended = text.replace("*(u64 *)boot_physical(p->free_bits[i / 64])", "p->free_bits[i / 64]")
    for key, planted, option in (("first", both, ""), ("lockstep", both, "pmm=lockstep"),
                                 ("mended", mended, "")):
        status, said = tree.variant("hunt", {"rustica.c": planted}).boot(3, OPT=option)
        got = re.search(r"called from\n  0x\w+  (\w+)\+", said)
        need(got and got[1] == FUNCTIONS[key], f"{key}: not {FUNCTIONS[key]}:\n{said}")
