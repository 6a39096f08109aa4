# Which allocator is at work first? A pointer to a function tells.
tbreak pmm_alloc_run
continue
print *p->method
print p->frame
# There is no table of frames yet, and bump needs none: it moves this pointer.
print/x p->bump
finish
print/x bump.bump
# Now the real one. Who asks for frames, and for how many? A breakpoint can have
# commands; these answer in one line, and go on.
break pmm_find_bitmap if p == &pmm
commands
silent
printf "%lu from zone %d\n", count, zone
backtrace 3
continue
end
tbreak pmm_show_trial
continue
rustica pmm kernel
# The trial's own small instance has 64 frames, and fills them.
tbreak pmm_trial_step
continue
print t->pmm.states
rustica pmm t->pmm
# A step that frees something, then: which frame, and what do we know of it?
tbreak pmm_free
continue
print/x address
print p->frame[(address - p->base) >> 12]
# Freed, it is poisoned, word by word.
finish
print t->frame[index]
x/4gx pmm_memory(&t->pmm, index)
rustica pmm t->pmm
