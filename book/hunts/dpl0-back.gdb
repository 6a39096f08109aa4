# Which instruction does hello die of, and which gate is in its way?
break user_kill
continue
x/i f->rip
print cpu.idt[63]
# That gate is for the kernel only. Who has made it so?
rustica when cpu.idt[63].flags
# All gates are made here, and alike. Then somebody has to change those for programs.
tbreak user_init_traps
continue
print cpu.idt[63]
list user_init_traps,+12
