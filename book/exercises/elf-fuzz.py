import re

from check import EXERCISES, Wrong, need

FORM = "which bytes of hello to change, as in `0x40=1 0x41=0xff`, or `size=100` to cut it off"


def check(tree):
    names = re.search(r"enum elf_reason \{(.*?)\};", tree.read("rustica.c"), re.S)[1]
    names = re.findall(r"ELF_\w+", names)[:-1]              # the last one counts them
    path = tree.root / "answers.txt"
    lines = re.findall(r"^elf-fuzz\.(\w+):(.*)$", path.read_text(), re.M) if path.exists() else []
    need(lines, "answers.txt, beside rustica.c, wants a line `elf-fuzz.REASON: ...` for each "
                f"reason that changing a single byte never gives: {FORM}")
    hello = (tree.build(6) / "user" / "hello").read_bytes()
    files = [tree.out / "elf-fuzz-hello"]
    files[0].write_bytes(hello)
    for name, edits in lines:
        need(name in names, f"elf-fuzz.{name}: there is no such reason")
        files.append(tree.out / f"elf-fuzz-{name}")
        files[-1].write_bytes(changed(hello, name, edits))
    first, *verdicts = tree.host(EXERCISES / "elf-fuzz.c", *files).splitlines()
    for (name, edits), verdict in zip(lines, verdicts):
        need(name == names[int(verdict)], f"elf-fuzz.{name}: after{edits}, elf_check() says "
                                          f"{names[int(verdict)]}")
    given = {names[int(number)] for number in first.split()} | {name for name, _ in lines}
    missing = [name for name in names if name not in given]
    need(not missing, f"no change of a single byte gives {missing[0] if missing else ''}, and "
                      f"neither does a line of yours ({len(missing)} of these are missing)")


def changed(hello, name, edits):
    data = bytearray(hello)
    for edit in edits.split():
        try:
            place, value = edit.split("=")
            if place == "size":
                del data[int(value, 0):]
            else:
                data[int(place, 0)] = int(value, 0)
        except (ValueError, IndexError):
            raise Wrong(f"elf-fuzz.{name}: `{edit}` is not {FORM}")
    return bytes(data)
