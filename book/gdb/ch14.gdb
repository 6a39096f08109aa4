# Run until the shell waits for a command, and nobody has anything to do.
tbreak cpu_wait_for_interrupt if $process(4) && !sched.ready.first
continue
rustica ps
# Type one that needs a pipe.
rustica type hello | wc -c
tbreak proc_pipe
continue
print $thread()->process->name
finish
rustica handles
# The shell becomes three: two copies, which become two other programs. One of them writes.
tbreak pipe_write
continue
print $thread()->process->name
# Its descriptor 1 is the pipe, and it does not know.
rustica handles
finish
# The other one comes to read. What was written lies in the ring, if its writer lives or not.
tbreak pipe_read
continue
print $thread()->process->name
next
print p->written
print p->read
print (char *)p->byte
# It reads twice. The second time there is nothing, and nobody left who could write.
tbreak pipe_read
continue
next
print p->written - p->read
finish
# Once the reader closes its end, all is over, and the writer has long gone. Who was it? In a
# run that is recorded one can go back and see. What is typed is part of the recording:
# in that file are the same words.
rustica boot BACK=1 TYPE=book/gdb/ch14.typed
tbreak pipe_close_reader
continue
next
print $thread()->process->name
print p->written
rustica when p->written
print $thread()->process->name
