# Who is there, before anything has been started? The kernel's own thread.
tbreak sched_show_naps
continue
print sched.processes
print $thread() == &sched.boot
# It starts three sleepers, and waits for them. What happens to the processor?
tbreak sched_switch
continue
backtrace
rustica ps
# A change of rsp. Every push before it is on one stack, every pop after it from another.
x/15i $pc
tbreak *(sched_switch + 26)
continue
# `ret` leads to where the other thread has come from. A new one has been nowhere: for
# it, this address was made up.
stepi
# Now on, until nobody has anything to do any more.
tbreak cpu_wait_for_interrupt
continue
rustica ps
# In which order will they wake? It was 300, 100 and 200 milliseconds that they wanted.
rustica timers
# And who wakes the first? An interrupt, while nobody runs.
tbreak sched_wake_thread
continue
print t->process->pid
backtrace
