from check import EXERCISES


def check(tree):
    tree.host(EXERCISES / "zone-cost.c")
    tree.host_tests("zones", 3)
