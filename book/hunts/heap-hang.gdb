# The kernel hangs. Where? We let it run for a while and press ^C.
^C 4
continue
# It searches a list. We stop at each block that it looks at.
break heap_fits
continue
continue
backtrace 5
up
print need
# The search is endless, and the list is not:
pipe rustica heap | grep tail
# A list bites its tail at that block. Then it was put on the list while it was there. We
# note its address (it is the third), start again, and see when it is put on the list and
# when it is taken off.
print $block = (struct block *)heap.list[0]->next->next
delete
run
break heap_insert if b == $block
break heap_remove if b == $block
continue
continue
continue
print *b
continue
print *b
# Put on, taken off, put on, put on. The second time it is larger. Who made it so?
backtrace 2
up
list heap_merge,+15
# The block before is free, and grows: but it is on the list already. The block behind is
# taken off first; here, nobody does that.
