# The first process makes a second one. Who asks for it?
tbreak proc_fork
continue
rustica user
rustica ps
rustica as
finish
# The child exists, and is ready. What does it consist of? The same, it seems:
rustica ps
rustica as $process(2)->program.space
# But these are other VMOs, and the pages of both have the same frames.
print *((struct mapping *)$process(2)->program.space->mappings)->vmo
rustica vmo ((struct mapping *)$process(2)->program.space->mappings)->vmo
# Until one of them writes. We wait for the child, which does so right after it is born.
tbreak vmo_commit_page if $thread()->process->pid == 2
continue
backtrace
rustica trap
# A second child becomes another program.
tbreak sys_execve
continue
x/s f->rdi
print/x $cr3
finish
print/x $cr3
rustica user
rustica as
rustica handles
