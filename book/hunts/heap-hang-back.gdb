# The recording ends in the endless search. Which block does the list lead back to?
pipe rustica heap | grep tail
print $block = (struct block *)heap.list[0]->next->next
# It is on the list twice, so it was put there when it was there already. The second time it was
# larger than the first. Who has made it so?
rustica when $block->size
# A block is freed, and the one before it grows: but that is on the list, where heap_free() is
# about to put it once more. The block behind is taken off first; here, nobody does that.
list heap_merge,+15
