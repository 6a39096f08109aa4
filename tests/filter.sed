# Both a golden transcript and what a chapter printed go through this before they are
# compared: it hides what may differ from one compiler or firmware to another.

# Addresses, in columns or not.
s/ *0x[0-9a-f]+/ ADDRESS/g

# Sizes for people, and the counts of chapter 2 and later.
s/ *[0-9.]+ (bytes|[KMG]iB)/ SIZE/g
s/ *[0-9]+ (pieces|usable|reserved|kernel|user|withheld|frames|free)/ N \1/g

# The numbers of processes depend on how the shell goes about its work.
s/process [0-9]+ was/process N was/

# The segments of programs: tcc puts constants among the variables.
s/^(elf: ADDRESS) (r--|rw-)/\1 DATA/
s/ *[0-9]+ in memory/ N in memory/

# The same kind of line many times counts once, as their number may differ.
$!N
/^(.*)\n\1$/!P
D
