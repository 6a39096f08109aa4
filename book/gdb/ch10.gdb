# How do files get out of the archive? Stop when it comes to one that we know.
tbreak rd_make if $_streq(name, "motd")
continue
backtrace
up
print *e
# `data` is an offset in the archive. Before the data, there is a header, in text.
x/s _binary_ramdisk_tar_start + e->data - 512
x/s _binary_ramdisk_tar_start + e->data
# At the end of the setting up there is a tree.
tbreak vfs_show
continue
rustica files etc
rustica files dev
# The contents were not copied: the file's VMO is a slice of the archive's.
tbreak vfs_show if $_streq(program, "/bin/cat")
continue
tbreak file_read
continue
rustica handles
backtrace
print file->offset
print file->node->links
print *file->node->data
# Which file system answers? A table of functions tells.
print *file->node->operations
