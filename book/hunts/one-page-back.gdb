# The kernel says that there is no memory. Table and bitmap disagree:
rustica pmm kernel
# For 64 frames that are free in the table, this word should have 64 bits. Who wrote to it last?
print/x pmm.free_bits[32]
rustica when pmm.free_bits[32]
# Nobody. One function sets bits: what was it given, the last time?
break pmm_set_bit
reverse-continue
info args
up
print &p->free_bits[i / 64]
# A word's value, 0, was passed for its address. So all bits go to physical address 0:
print/x *(u64 *)boot.info->direct_map
