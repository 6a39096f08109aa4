from check import EXERCISES


def check(tree):
    font = tree.build(11) / "user" / "font_psf"
    tree.host(EXERCISES / "con-utf8.c", font)
