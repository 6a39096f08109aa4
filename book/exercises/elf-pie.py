import random
import re
import struct

from check import need

PROGRAM = r"""
#include "user.h"

static const char *const words[] = {%s};
static const char *const *volatile at = words;

int main(void)
{
    int i;

    for (i = 0; i < 4; i++)
        print(at[i]);
    return 0;
}
"""
COMPILE = ("-std=gnu11 -O2 -w -ffreestanding -fpie -fno-stack-protector -fcf-protection=none "
           "-fno-asynchronous-unwind-tables -I. -Iuser").split()
LINK = ("-static -pie --no-dynamic-linker -nostdlib -z noexecstack -z separate-code "
        "--build-id=none").split()


def check(tree):
    who = tree.answer("elf-pie.who", "who is expected to relocate such a program on Linux: "
                      "`kernel`, `linker`, or `program`, by code of its C library")
    need(who.lower() == "program", f"not `{who}`: on Linux it crashes although the kernel has "
         "loaded it, and no dynamic linker is asked for. What does a C library's start-up code do?")
    words = [f"w{random.randrange(10 ** 9)}" for _ in range(4)]
    other = tree.variant("pie", {})
    good = program(other, words)
    folder = other.build(7) / "user"
    (folder / "hello").write_bytes(good)
    (folder / "crash").write_bytes(damaged(good))
    text = other.boots(7)
    need("".join(words) in text, "a position-independent program, which prints the words of an "
         f"array, prints instead\n{text[text.find('user: running'):][:600]}")
    need(re.search(r"^user: frames lost: 0, objects left: 0$", text, re.M) and
         not re.search(r"running crash.*\n" + "".join(words), text),
         "a program with a relocation outside of its memory is not refused, or something is lost "
         f"with it:\n{text[-700:]}")


def program(tree, words):
    source, made = tree.out / "pie.c", tree.out / "pie"
    source.write_text(PROGRAM % ", ".join(f'"{word}"' for word in words))
    for command in (["gcc", *COMPILE, "-c", source, "-o", f"{made}.o"],
                    ["ld", *LINK, f"{made}.o", "-o", made], ["strip", made]):
        status, text = tree.run(*command)
        need(status == 0, text)
    return made.read_bytes()


def damaged(elf):
    """The first relocation leads to where nothing is loaded."""
    data = bytearray(elf)
    phoff, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    segments = [struct.unpack_from("<IIQQQQQQ", data, phoff + 56 * n) for n in range(count)]

    def place(vaddr):
        return next(vaddr - s[3] + s[2] for s in segments if s[0] == 1 and 0 <= vaddr - s[3] < s[5])

    at = next(s[2] for s in segments if s[0] == 2)
    while (tag := struct.unpack_from("<QQ", data, at))[0] != 7:
        at += 16
    struct.pack_into("<Q", data, place(tag[1]), 0x4000000000)
    return bytes(data)
