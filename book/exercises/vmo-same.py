import re

from check import EXERCISES, need


def check(tree):
    need(re.search(r"^\w+ (?:no_inline )?vmo_merge_same\(struct vmo \*\w+, struct vmo \*\w+\)\n{",
                   tree.prefix(5), re.M),
         "chapter 5 has no function vmo_merge_same(struct vmo *, struct vmo *) so far")
    tree.host(EXERCISES / "vmo-same.c")
