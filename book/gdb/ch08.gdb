# hello first: skip it. We want the program that asks questions.
tbreak user_show if $_streq(name, "calls")
continue
# Let us watch what it asks, as strace does on Linux. A dprintf is a breakpoint that
# prints a line and does not stop. It needs a place: where has every call come by?
tbreak sys_mmap
continue
backtrace
dprintf user_syscall,"  call %lu (%#lx, %#lx, %#lx)\n", f->rax, f->rdi, f->rsi, f->rdx
# It writes a great deal; all calls but that one, please.
condition $bpnum f->rax != 1
tbreak sys_vmo_create
continue
# This makes an object. What has the program open before it and after?
rustica handles
finish
print/x $
rustica handles
# Its number was made of the index 3 and a generation. Later it writes by a handle that
# may only read. The condition looks into the table, before anybody complains.
break handle_find if rights == 2 && !(t->entry[number & 15].rights & 2)
continue
print/x number
print t->entry[number & 15]
finish
# No such handle, for this purpose. And this call nobody knows:
delete
tbreak user_unknown_call
continue
# The numbers we do know:
rustica syscalls
