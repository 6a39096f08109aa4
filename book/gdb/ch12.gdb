# The program signals has set an alarm and sleeps. Who wakes it?
tbreak alarm_ring
continue
backtrace
rustica ps
# An interrupt, while nobody runs. To send a signal is to set a bit, the 14th, ...
print ((struct process *)$process(2))->signals->sent.pending
tbreak sched_wake_thread
continue
print/x t->process->signals->sent.pending
# ... and to wake who sleeps, with -EINTR.
print reason
# Taken it is by the process itself, on its way back to ring 3.
tbreak signal_push
continue
backtrace
print info->signal
# Where would it go on, and on which stack?
set $before = *f
print/x $before.rip
print/x $before.rsp
finish
# It goes on elsewhere. What `ret` will find there leads to rt_sigreturn.
print/x f->rip
print f->rdi
print $before.rsp - f->rsp
x/2i ((struct signal_frame *)f->rsp)->restorer
# The registers of what was interrupted lie on the program's own stack, ...
print/x ((struct signal_frame *)f->rsp)->context.rip
# ... from where they come back. Would we believe all of it?
tbreak signal_restore
continue
print/x c->rip
print/x c->cs
finish
print/x f->cs
