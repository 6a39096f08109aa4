# The kernel has given up, and we stand at its end. The VMO that was to be sliced looks like this:
frame function vmo_slice
print/x v->size
# That is the heap's poison. Who has poisoned it?
rustica when v->size
# heap_realloc() frees the old memory when an array has grown, and moved. What is in that array?
frame function vmo_take
print vmo.all
frame function vmo_slice
print v
# All VMOs, and `v` is one of them. The array is about to get a new address, and `v` is not.
