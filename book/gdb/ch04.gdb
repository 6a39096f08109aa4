# The chapter's kernel again, this time with a mistake built in.
rustica boot 4 OPT=provoke=heap-overrun
break provoke_heap_overrun
continue
# It takes a block of 100 bytes.
next
print p
print *((struct block *)p - 1)
# Behind the 100 bytes stands the red zone, which nobody has a reason to touch.
x/8xb p + 100
# So we let the processor guard its first byte.
watch p[100]
continue
# Caught in the act: the line before this one did it.
backtrace
x/8xb p + 100
# The heap itself will only notice when the block is freed. What would it see?
rustica heap
delete
tbreak boot_panic
continue
backtrace
# For all that we had to suspect somebody first. If the run is recorded, we begin at its end.
rustica boot 4 OPT=provoke=heap-overrun BACK=1
frame function provoke_heap_overrun
x/8xb p + 100
# The red zone is broken. Who wrote to it last?
rustica when p[100]
