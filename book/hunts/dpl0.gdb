# Which instruction does hello die of, and what does the processor say?
break user_kill
continue
rustica trap f
x/i f->rip
# It is the one that should lead into the kernel. The error code says why it does not: bit 1
# means "because of a gate" (SDM 3A, 6.13; the bits above tell which, and older QEMUs shift
# that by one place too many).
print f->error & 2
print cpu.idt[63]
# That gate may be used from ring 0 only. Which one may programs use?
print cpu.idt[3]
# If that is the cause, hello must live once the gate says 3.
delete
run
tbreak user_init_traps
continue
set variable cpu.idt[63].flags = 0xee
tbreak sys_exit
continue
