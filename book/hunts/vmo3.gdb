# The kernel dies in vmo_slice(), with 0xdeadbeef in its registers. That is the heap's
# poison: somebody uses what was freed. Before that, is all well?
break vmo_slice
continue
print *v
# It is. Then there is a moment at which it is freed and poisoned. A watchpoint stops there.
watch -location v->size
continue
frame function heap_free
up
up
# To make a new VMO frees an old one? We look at what there was before.
print vmo.room
print vmo.all
frame function vmo_slice
print v
# All VMOs lie in one array. The third does not fit, the array grows, and heap_realloc() moves
# it. `vmo.all` points to the new one soon; `v`, and all else that points to a VMO, does not.
frame function heap_realloc
print payload
print moved
delete $bpnum
continue
