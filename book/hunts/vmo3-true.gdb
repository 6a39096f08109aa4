# Page 0 of VMO number 3 is there before number 1 is cloned, and gone after. We stop between.
tbreak vmo_show_load
continue
tbreak vmo_clone
continue
up
rustica vmo v[2]
# The page is in slot 0 of a node. Who writes there? A watchpoint tells.
watch -location ((struct vmo_node *)v[2]->root)->slot[0]
continue
backtrace 7
# The heap unlinks a block and writes to its predecessor in the list, which is:
print f->previous
print f->previous->block
# A block in use, the node of number 3. That is no member of a list, but f believes so. When
# was it taken off, and what was f told then?
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
list
