import re

from check import Wrong, need


def check(tree):
    many = tree.number("user-balance.without", "how many nodes as_find_last() visits for the first "
                       "of a thousand pages, without rotations")
    need(990 <= many <= 1020, f"user-balance.without is not {many}: new memory comes below what is "
         "there, so each mapping hangs to the left of the one before")
    few = tree.number("user-balance.with", "the same with rotations")
    need(9 <= few <= 14, f"user-balance.with is not {few}: a thousand nodes have ten levels at "
         "least, and these trees at most 1.44 times as many")
    need(tree.answer("user-balance.worst", "the order of arrival that is worst").lower() in
         ("ascending", "descending", "sorted"), "user-balance.worst: in which order does each new "
         "node hang below the last one?")
    tree.ask("user-balance.assertion", "what tree_audit() asserts that does not hold",
             "left <= right + 1 && right <= left + 1", "`make test T=host/user` says it")


def proof(tree):
    where = r"        if \(left > right \+ 1 \|\| .*\n.*tree_balance.*\n        else if"
    text, count = re.subn(where, "        if", tree.read("rustica.c"))
    need(count == 1, "tree_repair() looks different now")
    try:
        tree.variant("unbalanced", {"rustica.c": text}).host_tests("user", 12)
    except Wrong as sentence:
        need("test_tree" in str(sentence), str(sentence))
    else:
        raise Wrong("the host tests of chapter 7 do not notice")
