# Run until cat waits for somebody to type.
tbreak tty_read
continue
backtrace
tbreak cpu_wait_for_interrupt
continue
rustica ps
# Type something, as if at the serial line.
rustica type hi
# A character comes as an interrupt. Which function takes it, and which line is it in?
