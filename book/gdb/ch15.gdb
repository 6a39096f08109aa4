# Wait until the shell does, and type the name of a program with threads.
tbreak cpu_wait_for_interrupt if $process(4) && !sched.ready.first
continue
rustica type threads
tbreak thread_clone
continue
# It asks for a thread: a stack, a function, and a word for the number.
backtrace
print/x f->rsi
finish
# One process, two threads; who is new is not the first, and ready.
print $thread()->process->name
print $thread()->process->threads->sibling->number
print sched.ready.first->number
# Each time somebody looks at the counter or changes it, we stop. Whose turn is it?
rustica user threads
awatch counter
continue
print $thread()->number
continue
print $thread()->number
# Both have seen 0. The first adds one, and looks again ...
continue
print $thread()->number
continue
# ... and now the other one adds one, to what it has seen.
continue
print $thread()->number
# Two additions, and the counter is 1. Who waits for a mutex leaves a 2 in it, and sleeps.
delete
tbreak futex_wait if expected == 2
continue
backtrace
finish
# When we see it again it has been woken, by the other one, and looks at the mutex anew.
print $thread()->number
rustica ps
# At dinner, the first thread sees that nobody eats. Who sleeps at whose fork?
tbreak thread_end_process
continue
rustica futexes
# But how did the careless ones end, and who has made the counter what it is? A recording knows.
# (Who has written the same number after him has changed nothing.)
rustica boot BACK=1 TYPE=book/gdb/ch15.typed
rustica user threads
tbreak add_atomically
continue
print counter
rustica when counter
print $thread()->number
