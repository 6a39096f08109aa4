# The kernel looks twice for page 0 of number 3. The second time it finds none.
break vmo_show_page
continue
continue
delete
print/x ((struct vmo_node *)v->root)->used
# The first bit of that word says that there is a page 0. Who has cleared it?
rustica when ((struct vmo_node *)v->root)->used
# The heap, which takes f off its list, and tells the one before it. But that is a block in
# use: the node. Since when does f believe that the node is before it?
print $node = f->previous
rustica when f->previous
# Since that was put on the list before f: then it was true. It should have heard of the end
# of that. Now forwards, to when the node's block is taken off.
tbreak heap_remove if b == (struct block *)$node
continue
next
next
print f->next
next
print f->next
# Its `next` is overwritten before it is looked at, and so f never hears.
list heap_remove,+10
