# hello first: skip it. We want the program that asks questions.
tbreak user_show if $_streq(name, "calls")
continue
# Let us watch what it asks, as strace does on Linux. A dprintf is a breakpoint that
# prints a line and does not stop. It needs a place: where has every call come by?
tbreak sys_mmap
continue
backtrace
dprintf user_syscall,"  call %lu (%#lx, %#lx, %#lx)\n", f->rax, f->rdi, f->rsi, f->rdx
tbreak sys_vmo_create
continue
# This makes an object. What has the program open before it and after?
rustica handles
finish
rustica handles
# Who finds the object again, by its number? And what if it may not be written to?
break handle_find if rights == 2 && number > 2
continue
print/x number
finish
continue
print t->entry[number & 0xffff]
finish
# No such handle, for this purpose. That becomes:
delete
tbreak user_unknown_call
continue
# And this number means nothing to us. The others that do:
print number
rustica syscalls
