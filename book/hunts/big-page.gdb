# A table should have got one more reference, but its frame is not in use. Who says that it
# is a table?
continue
frame function as_enter_page
print/x page
print/x table
rustica pmm table
# And what does the processor think of this address?
rustica walk page
# On level 2 is no table but a page of 2 MiB: bit 7 is set. as_make_entry() does not know
# that bit. It took the page's address for that of one more table...
print entry
print/x (long)entry - (long)boot.info->direct_map
list as_make_entry,+17
# ...and as_enter_page() would have written the program's entry into the middle of memory.
