# Run to where the kernel has loaded hello, and is about to enter ring 3.
tbreak user_enter
continue
# The address space: three segments of the file, and a stack. No page is there yet.
rustica as
# And this is the frame from which we pretend to return. Its vector is 0, as nothing
# has happened; but CS says ring 3.
rustica trap (struct trap_frame *)$rdi
# The last instruction that belongs to the kernel is the iretq at the end of this.
x/20i trap_return
tbreak *(trap_return + 37)
continue
print $cs & 3
# One step, and the processor is somewhere else.
stepi
print $cs & 3
# There is nothing at this address! The next step would be a page fault.
rustica walk $rip
# What would be there, the file knows. Let the program run to its main().
rustica user hello
tbreak main
continue
rustica walk $rip
backtrace
# Somewhere in write() there is a system call. These are its two bytes:
tbreak syscall3
continue
find/1h syscall3, +100, (unsigned short)0x050f
tbreak *$_
continue
info registers rax rdi rsi rdx cs
x/s $rsi
# Through the gate. The processor has kept the way back in rcx; the stack is still the
# program's.
stepi
print $cs & 3
x/i $rcx - 2
# GS is still the program's as well. From the next instruction on it leads to our own data.
print $gs_base
stepi
print (struct cpu_local *)$gs_base
info registers rsp
print user.call[$rax]
tbreak sys_write
continue
backtrace
# The way back: to the instruction behind the system call, in ring 3 again.
tbreak *f->rip
continue
print $cs & 3
print (long)$rax
# And so to the end of the program, which is a system call as well.
tbreak sys_exit
continue
print f->rdi
