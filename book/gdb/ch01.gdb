# Where are we, and who called us?
backtrace
# We are at a very high address. Where is that in the machine's memory?
info registers rip rsp cr3
rustica walk $rip
# This chapter takes a breakpoint exception on purpose. Stop in its handler.
break boot_show_trap
continue
# Which functions led here? Below trap_entry(), those that the processor has interrupted.
backtrace
print f->vector
# The same without C: RIP, CS, RFLAGS, RSP and SS, as the processor pushed them.
x/5gx &f->rip
# RIP is behind the instruction that did it.
x/2i f->rip - 1
# The whole frame in words; and the gate by which we came here.
rustica trap f
print cpu.idt[3]
# `finish` runs to the end of the function; and the chapter goes on as if nothing
# had happened.
finish
continue
