# The program has been refused. Whose numbers were they that elf_check_segment() saw last?
break elf_check_segment
reverse-continue
print *h
# More bytes in the file than in memory. Who wrote that number?
rustica when h->filesz
# The line copies what a function returns. So we go back into that, from its end.
reverse-step
reverse-step
list elf_parse,+7
# `filesz` is taken from byte 24, where `paddr` is, the field before.
print (long)&((struct elf_segment_header *)0)->filesz
