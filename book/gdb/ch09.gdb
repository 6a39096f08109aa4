# Who is there, before anything has been started? The kernel's own thread.
tbreak sched_show_naps
continue
print sched.processes
print sched.current == &sched.boot
# Three sleepers are started. Stop when nobody has anything to do any more.
tbreak cpu_wait_for_interrupt
continue
rustica ps
# Who wakes first? The list of those who wait for a time is in that order.
print sched.timed->process->name
print sched.timed->next_timed->process->name
# And what wakes them? The timer, by an interrupt.
tbreak sched_timer
continue
backtrace
rustica trap
# Then the scheduler changes threads. One function, in which we arrive as one thread
# and leave as another; what changes is rsp.
tbreak sched_switch
continue
print sched.current->process->name
x/16i sched_switch
info registers rsp
finish
