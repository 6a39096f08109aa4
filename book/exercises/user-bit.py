import re

from check import need


def check(tree):
    tree.ask("user-bit.check", "what is asserted by the first check of as_audit() that objects",
             "memcmp((u8 *)boot_physical(space->root) + FRAME_SIZE / 2, (u8 *)boot_physical("
             "boot.info->root) + FRAME_SIZE / 2, FRAME_SIZE / 2) == 0",
             "the panic's first line has it, from behind `assertion failed:` on")
    tree.ask("user-bit.program", "after which program it objects", "hello",
             "the last line before the panic that begins with `user: running`")
    tree.ask("user-bit.letter", "the letter whose code is 77, the first byte of the image", "m",
             "what does the file BOOTX64.EFI begin with?")
    _, text = tree.boot(7)              # at its end the kernel's own tables are audited, too
    crash = re.search(r"^user: running crash kernel\n(.*\n)*?user: crash ended with status (\d+)$",
                      text, re.M)
    need(crash and crash[2] == "77", "`crash kernel` does not end with status 77, but so:\n" +
         (crash[0] if crash else text[-600:]))


def proof(tree):
    text = tree.read("rustica.c")
    audit = "    as_audit(p->space);\n"
    if audit not in text:               # the answer has taken it out
        text = text.replace("    status = user_enter(&frame);\n",
                            "    status = user_enter(&frame);\n" + audit)
    _, said = tree.variant("audited", {"rustica.c": text}).boot(7)
    need(re.search(r"^user: running hello\n(.*\n){1,4}\*\*\* panic .*: assertion failed: "
                   r"memcmp\(\(u8 \*\)boot_physical\(space->root\)", said, re.M), said)
