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
# Who has shared that frame before? To stop at that moment, we should have known. But a run
# that is recorded can be gone through backwards, too. We record it, and come here again.
rustica boot 5 BACK=1
tbreak pmm_put
continue
up
print pmm.frame[*slot >> 12].references
# And now back to when that number became what it is.
rustica when pmm.frame[*slot >> 12].references
# It was counted when vmo_clone() shared the page: by which line? Back to the call; and forwards
# again.
reverse-finish
print node->slot[n]
next
