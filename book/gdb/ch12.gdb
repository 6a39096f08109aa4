# Run to the first fork. Who asks for it?
tbreak sys_fork
continue
