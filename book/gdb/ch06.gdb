# The kernel carries a program as bytes. What are its first ones?
x/4xb _binary_hello_start
x/s _binary_hello_start + 1
# They begin a header. GDB can look at any memory as at any structure.
print/x *(struct elf_header *)_binary_hello_start
rustica elf hello
# Let the kernel check it.
tbreak elf_check_entry
continue
rustica elf *image
# Accepted, and loaded: every segment has a VMO now.
tbreak elf_show_image
continue
rustica elf *image
print image->segment[1]
rustica vmo image->segment[1].memory
# Now the damaged copies. We want the one with code that is writable.
break elf_show_damage if d->byte == 7
continue
print *d
# Whose answer is it? Stop at the check of each segment, and look at the flags.
break elf_check_segment
continue
print *h
finish
continue
print h->flags
finish
# An enum has names for its values. That is the reason the user is told:
print elf_reasons[ELF_WRITE_EXECUTE]
