# The kernel says that 31,000 frames are free. We stop before the first is asked for, and
# let GDB count.
break pmm_show_trial
continue
rustica pmm kernel
# The table calls them free, and the bitmap has no bit for any of them. Who sets the bits?
# One function does. We start again, and look at the first time.
break pmm_set_bit
run
continue
backtrace 2
# A bit, and the word to set it in.
info args
up
print p->free_bits[i / 64]
print &p->free_bits[i / 64]
# It was given the word's value, 0, where its address was needed. So where does the bit go?
down
finish
print p->free_bits[i / 64]
print *(u64 *)boot_physical(0)
# To physical address 0. All words are 0, so all bits go there; and as the direct map shows
# all of memory, nobody complains.
delete
break pmm_show_trial
continue
print/x *(u64 *)boot_physical(0)
