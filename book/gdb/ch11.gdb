# Run until cat waits for somebody to type, and everybody sleeps.
tbreak tty_read
continue
tbreak cpu_wait_for_interrupt
continue
rustica ps
# Type something, as if at the serial line.
rustica type hi
# A character comes as an interrupt, whoever has the processor.
tbreak tty_input
continue
print c
backtrace
# The ring's three places: delivered, may be delivered, typed.
print tty.read
print tty.ready
print tty.end
# Cat sleeps on until the line is complete. A watchpoint sees what completes it.
watch tty.ready
continue
print tty.end
print tty.byte[0]@3
delete
# Now somebody wakes up, and takes it.
tbreak tty_take
continue
rustica ps
finish
