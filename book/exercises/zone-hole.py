import re

from check import Wrong, need

GIB = 1 << 30


def check(tree):
    said = tree.answer("zone-hole.devices", "three devices between 2 and 4 GiB, by the names "
                       "that `info mtree -f` has for them, as in `one, two, three`")
    _, text = tree.run("qemu-system-x86_64", "-nodefaults", "-machine", "q35", "-m", "5G", "-S",
                       "-display", "none", "-monitor", "stdio", stdin="info mtree -f\nquit\n")
    there, elsewhere = set(), set()
    line = r"^ +(\w{16})-\w+ \(prio \d+, ([\w/]+)\): (\S+)"
    for start, kind, name in re.findall(line, text, re.M):
        inside = kind != "ram" and 2 * GIB <= int(start, 16) < 4 * GIB
        (there if inside else elsewhere).add(name.lower())
    names = {name.strip().lower() for name in said.split(",")}
    for name in sorted(names - there):
        raise Wrong(f"QEMU has `{name}`, but not as a device between 2 and 4 GiB"
                    if name in elsewhere else f"QEMU has nothing by the name of `{name}`")
    need(len(names) > 2, f"{len(names)} of three are named so far")
