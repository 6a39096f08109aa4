# A program writes ten bytes from the kernel's memory to the console, and succeeds. We stop
# when it asks for it.
break sys_transfer if at >= 0x800000000000
continue
info args
# Is this address the program's? Neither its mappings nor its rights in the tables say so.
rustica as
rustica walk at
# "Kernel only." But the one who copies is the kernel.
break sys_is_range
continue
finish
# The only check there is says yes. Which address would it refuse?
list sys_is_range,+3
# Only a range that wraps around. The rest was left to the processor: what is not mapped
# faults. The kernel is mapped.
delete
tbreak boot_put_consoles
continue
up
print text[0]@2
