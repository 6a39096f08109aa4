# Page 0 of VMO number 3 is there before number 1 is cloned, and gone after. We stop between.
tbreak vmo_show_load
continue
tbreak vmo_clone
continue
up
rustica vmo v[2]
# There it is. The first word of a node has a bit for each page below, and vmo_next() goes by
# it. Who writes to that word? A watchpoint tells.
print ((struct vmo_node *)v[2]->root)->used
watch -location ((struct vmo_node *)v[2]->root)->used
continue
backtrace 3
frame function vmo_destroy
# Number 1 is destroyed, that is in order. But what has that to do with number 3? The heap
# unlinks a block and writes to the one before it in the list, which is:
frame function heap_remove
print f->previous
print f->previous->block
# A block in use: the node of number 3. That is on no list, but f believes so. When was it
# taken off, and what was f told then?
print $taken = &f->previous->block
print $told = f
delete
run
tbreak vmo_show_load
continue
break heap_remove if b == $taken && ((struct free_block *)b)->next == $told
continue
next
next
print f->next
next
print f->next
next
# Its `next` is overwritten before it is looked at. So `f->next->previous = f->previous` is
# never done, the list is cut off behind it, and what came next points to it for ever.
list heap_remove,+10
