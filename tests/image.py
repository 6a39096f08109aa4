"""Tests of what a distribution brings to the kernel's image: any gnu-efi will do, and where a
linker does something that the prologue does not expect, the build fails with a sentence.
"""

import functools
import pathlib
import re
import shutil

ROOT = pathlib.Path(__file__).resolve().parent.parent
ALL = []

# What newer releases link with every image, if one lets them.
OTHERS = """
long _entry(void *image, void *system) { (void)image; (void)system; return 1; }
void *memset(void *p, int c, unsigned long n) { (void)c; (void)n; return p; }
void *memcpy(void *to, const void *from, unsigned long n) { (void)from; (void)n; return to; }
"""


def gnu_efi(char16, cc, t):
    """With this type for the firmware's characters, a library that has functions of our names,
    and nothing else, options arrive."""
    include, library = t.dir / "include", t.dir / "lib"
    shutil.copytree("/usr/include/efi", include)
    library.mkdir()
    changes = 0
    for header in [*include.glob("*.h"), *include.glob("x86_64/*.h")]:
        text, n = re.subn(r"^(typedef\s+)\w+(\s+CHAR16;)", rf"\g<1>{char16}\g<2>",
                          header.read_text(errors="surrogateescape"), flags=re.M)
        header.write_text("#include <stddef.h>\n#include <stdint.h>\n" * bool(n) + text,
                          errors="surrogateescape")
        changes += n
    t.check(changes, "the headers do not say what CHAR16 is")
    real = t.expect(r"lib=(.*)", t.make("-s", "--eval=told:;@echo lib=$(EFI_LIB)", "told"))[1]
    (library / "init.c").write_text(OTHERS)
    for command in ["ar", "x", real, "efi_stub.o"], ["gcc", "-c", "init.c"], \
            ["ar", "rcs", "libefi.a", "init.o", "efi_stub.o"]:
        status, text = t.run(*command, cwd=library)
        t.check(status == 0, text)
    folder = t.dir.relative_to(ROOT)
    status, text = t.run("make", "run", "CH=1", f"CC={cc}", "COLD=1", "OPT=map nosuch=1",
                         f"EFI_INC={folder}/include", f"efi_dirs={folder}/lib",
                         f"B={folder}/kernel")
    t.check(status == 0, text)
    t.expect("^boot: unknown option .nosuch. ignored$", text)


for char16 in "wchar_t", "uint16_t":
    for cc in "gcc", "tcc":
        ALL.append((f"{char16.split('_')[0]}-{cc}", functools.partial(gnu_efi, char16, cc)))


# What may come to be otherwise: (file, what stands there, what might, the complaint).
DRIFT = [
    ("tools/image.lds", "ENTRY(efi_start)", "ENTRY(kernel_main)", "the firmware would start at"),
    ("tools/image.lds", "    .data : {", "    . = . + 64;\n    .data : {",
     "image_data is not at the beginning of a page"),
    ("efi_main.c", "#include <efi.h>", '#include <efi.h>\nextern char nowhere[] __attribute__('
     '(weak, visibility("default")));\nchar *drift = nowhere;', "and here are R_X86_64_64"),
    ("efi_main.c", "#include <efi.h>", '#include <efi.h>\nint drift __attribute__((section('
     '".drift"))) = 1;', "does not know a section .drift with the flags WA"),
    ("efi_main.c", "#include <efi.h>", '#include <efi.h>\nint drift __attribute__((section('
     '"adrift"))) = 1;', "does not know a section adrift with the flags WA"),
]


def drift(copy_tree, t):
    """What the prologue takes for granted is checked when the kernel is linked."""
    tree = copy_tree(t, "tree")
    t.make(cwd=tree, CH=1)
    for file, there, instead, complaint in DRIFT:
        path = tree / file
        text = path.read_text()
        t.check(text.count(there) == 1, f"{file} should have this once: {there}")
        path.write_text(text.replace(there, instead))
        status, said = t.run("make", "CH=1", cwd=tree)
        t.check(status != 0 and complaint in said, f"expected: {complaint}\ngot: {said}")
        path.write_text(text)
    t.make(cwd=tree, CH=1)
