# Nothing is known of memory yet.
print zones.count
# Where is the table filled? We need not search: a watchpoint stops the machine
# whenever a variable changes, whoever changes it.
watch zones.count
continue
# It has changed, and that line is not finished yet.
next
print zones.range[0]
# Who called us, and what did they know? `up` goes there and looks.
up
info locals
# So it goes on for every range. Of interest is the first beyond the boundary.
delete 3
break zone_add_range if zone == ZONE_USER && start < end
continue
print/x start
print/x z->boundary
# The ranges before it, and then the whole table.
print zones.range[0]@3
delete 4
tbreak zone_audit
continue
rustica zones
