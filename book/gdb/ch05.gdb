# Let the chapter make its VMO of a terabyte. How much is that in frames?
tbreak vmo_create
continue
finish
# $ is the last value that was printed.
print *$
rustica vmo
# Who gives it its first page?
tbreak vmo_commit_page
continue
backtrace 3
finish
print/x $
# The chapter clones it. What does that cost?
tbreak vmo_clone
continue
finish
rustica vmo
# Four pages, two frames. Now somebody writes to the clone; its page has got a frame of
# its own when the shared one is given up.
tbreak pmm_put
continue
backtrace 3
up
print *v
print pmm.frame[*slot >> 12]
print pmm.frame[frame >> 12]
finish
rustica vmo
