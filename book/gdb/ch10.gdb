# Who turns the archive into files? Stop when it comes to one that we know.
break node_create if $_streq(name, "motd")
continue
backtrace
finish
print *$
# Its contents are not copied: the VMO is a slice of the archive's.
delete
tbreak vfs_show
continue
rustica files
# Now cat reads it. How does a path become a node?
tbreak vfs_show if $_streq(program, "/bin/cat")
continue
tbreak file_read
continue
rustica handles
backtrace
# Which file system answers? That is in a table of functions.
print ((struct file *)o)->node->name
print *((struct file *)o)->node->operations
rustica user cat
