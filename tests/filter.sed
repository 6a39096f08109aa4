# Both a golden transcript and what a chapter printed go through this before they are
# compared: it hides what may differ from one compiler or firmware to another.

# Addresses, in columns or not.
s/ *0x[0-9a-f]+/ ADDRESS/g

# Sizes for people, and the counts of chapter 2 and later.
s/ *[0-9.]+ (bytes|[KMG]iB)/ SIZE/g
s/ *[0-9]+ (pieces|usable|reserved|kernel|user|withheld|frames|free)/ N \1/g

# The numbers of processes depend on how the shell goes about its work.
s/process [0-9]+ was/process N was/

# Registers.
s/\b(r[a-z0-9]{1,2}) +[0-9a-f]{16}\b/\1 VALUE/g

# The debugger: line numbers, offsets in functions and in tables, and addresses in decimal.
s/([a-z_]+\.[ch]:)[0-9]+/\1N/g
s/(, line )[0-9]+\./\1N./
s/(line=)[0-9]+/\1N/g
s/^[0-9]+ {3,}/N   /
s/^[0-9]{4,}$/N/
s/<([a-z_0-9]+)\+[0-9]+>/<\1+N>/g
s/(entry|PDBR=|page) *[0-9]{2,}/\1 N/g
s/entry +[0-9]+ of/entry N of/
s/[0-9,]+ instructions ago/N instructions ago/
s/[0-9]{5,}/N/g
s/(file_size=)[0-9]+/\1N/g

# One GDB names the label that a call returns to, another what stands before it; and whether
# a function's caller is in the middle of a line depends on the compiler.
s/^(#[0-9]+ ADDRESS in) trap_return \(\)/\1 trap_entry ()/
s/^ ADDRESS in ([a-z_0-9]+ \()/\1/

# Frames that the firmware uses, and those that are not there, look like free ones in a map.
/^ ADDRESS \|/y/ /./

# How often a process had the processor, and where that waits, depend on the clock. How
# many pages a program has depends on its size.
s/[0-9]+ turns?/N turns/
/^ +The processor waits, on the stack/d
s/[0-9]+ of [0-9]+ in the tables/N in the tables/

# The segments of programs: tcc puts constants among the variables.
s/^(elf: ADDRESS) (r--|rw-)/\1 DATA/
s/ *[0-9]+ in memory/ N in memory/

# How many ranges of addresses there are is the firmware's business: the same line again
# and again counts once. (The hold space has the line before.)
G
/^(.*ADDRESS.*)\n\1$/d
s/\n.*//
h
