from check import EXERCISES, need


def check(tree):
    tree.host(EXERCISES / "elf-slice.c")
    tree.ask("elf-slice.errno", "Linux's error number for who wants to write to a program that "
             "runs", "26", "`man 2 open` lists what can go wrong; `man 3 errno`, or `errno -l`, "
             "has the numbers")
    text = tree.boots(7)
    need("\nHello from userspace!\n" in text, "hello does not say hello in chapter 7 any more:\n" +
         text)
