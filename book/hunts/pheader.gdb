# elf_check() refuses hello. For which reason, and whose numbers are they?
break elf_check_segment
continue
print *h
finish
# "More bytes in the file than in memory", and so it is: 288 in memory. What does the file
# say? GDB's own reader finds the field by its name.
rustica elf hello
# 288 bytes. We look at the bytes as they were read, as the structure that they are.
up
print/x *(struct elf_segment_header *)bytes
print h.filesz
# 0x400000 is the field before, paddr. Where is filesz, and where was it looked for?
print (long)&((struct elf_segment_header *)0)->filesz
list elf_parse,+7
