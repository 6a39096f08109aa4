import os
import re

from check import need

KERNEL = """
void check_main(void)
{
    ch10_init();
    vfs_show("/bin/cat", NULL, "%s");
}
"""


def circle(tree):
    """A symbolic link in user/root whose link leads back to it, as a path of Rustica."""
    root = tree.root / "user" / "root"
    for link in sorted(path for path in root.rglob("*") if path.is_symlink()):
        there = link
        for _ in range(2):
            text = os.readlink(there)
            there = root / text.lstrip("/") if text[0] == "/" else there.parent / text
            there = there.parent.resolve() / there.name
            if not there.is_symlink():
                break
        if there == link.parent.resolve() / link.name and os.readlink(link) != link.name:
            return "/" + str(link.relative_to(root))
    need(False, "user/root has no two symbolic links that point to each other")


def check(tree):
    link = circle(tree)
    tree.ask("rd-circle.error", "the number of the error when cat opens one of them", "40",
             "cat says it in words; rustica.h has the numbers")
    tree.ask("rd-circle.exception", "the vector of the exception, with LINKS_MAX at a million",
             "8", "the line of the report that begins with `*** exception`")
    said = tree.answer("rd-circle.stack", "the stack whose guard page it is: `boot` for the "
                       "kernel's first, or the name of the process")
    need(said.lower() in ("cat", "/bin/cat"), f"not `{said}`: for which process does the kernel "
         "walk the path?")
    need(re.search(r"^vfs: that ended with [1-9]", kernel(tree, link, 40)[1], re.M),
         f"cat {link} should fail")
    status, said = kernel(tree, link, 1000000)
    need(status == 3 and "*** exception 8, #DF" in said, "with LINKS_MAX at a million nothing "
         f"gives way: does `vfs_follow()` call `vfs_walk_from()`?\n{said}")


def kernel(tree, link, most):
    """How chapter 10 ends that looks at the link, and what it prints."""
    text, count = re.subn(r"^#define LINKS_MAX \d+", f"#define LINKS_MAX {most}",
                          tree.prefix(10) + KERNEL % link, flags=re.M)
    need(count == 1, "LINKS_MAX is not defined any more")
    return tree.variant(f"circle-{most}", {"rustica.c": text}).boot(10, chNN="check")
