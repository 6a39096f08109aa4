import re

from check import Tree, need


def check(tree):
    """(By gcc: the lines that tcc leaves do not survive the linker.)"""
    source = tree.read("rustica.c").splitlines()
    call = next(n for n, line in enumerate(source, 1) if line.strip() == "p->provoke();")
    status, text = Tree(tree.root, "gcc").boot(1, OPT="provoke=assert")
    panic = re.search(r"panic at rustica\.c:(\d+): assertion", text)
    need(status == 3 and panic, f"OPT=provoke=assert does not end in a panic:\n{text[-800:]}")
    trace = text[text.find("called from"):]
    for function, line in ("provoke_assert", int(panic[1])), ("boot_check_options", call):
        row = re.search(rf"^.*\b{function}\b.*$", trace, re.M)
        need(row, f"the backtrace does not name {function}() any more:\n{trace}")
        need(re.search(rf"\b{line}\b", row[0]), f"{function}() calls from line {line}; the "
             f"backtrace says\n{row[0]}")
