# Rustica: build it, boot it, test it.
#
# This file reads from top to bottom: what you may set, what the chapters are,
# how a kernel is made of them, what can be done with it. `make help` prints the
# lines that begin with two hash marks.

## make           build the kernel: build/BOOTX64.EFI
## make run       boot it in QEMU; Ctrl-A X leaves
## make loop      run, and build and run anew each time you save a file; Ctrl-C leaves
## make gdb       step through it in GDB, from the chapter's first line; CH=5 or CH=vmo
##                  (`make gdb-server` waits for your own debugger, at a socket or PORT=);
##                  BACK=1 records the run first, and then steps backwards as well
## make hunt      find a bug: BUG=heap-hang boots a kernel that has it, HINT=1 gives a
##                  hint, `make gdb HUNT=heap-hang` debugs it; without a name, a list.
##                  Mend it in build/hunts/heap-hang; CHECK=1 says whether you have,
##                  FRESH=1 throws away what you changed there
## make check     which exercises are solved? EX=pmm-hunt one of them, CH=3 a chapter's
## make image     a disk image of it, build/rustica.img, which dd puts on a stick
## make test      run all tests; T=lint only those with "lint" in their names
## make test-long the tests that have no natural end (fuzzing, bombs), for a night
## make proof     what is promised, how well it is kept, and how we know; what `make test` has
##                  found counts until a file changes. ROW=3 one promise, FRESH=1 runs
##                  all its tests anew, LONG=1 goes for the figures of the long run
## make test-distros  run the README's commands on fresh releases of Debian, each of which
##                  is bootstrapped once; slow, and root's, by sudo; RELEASES=trixie
## make mutants   do the tests notice small changes of the kernel? N=20 of them, SEED=1
## make bench     measure how long it takes from an edit to the prompt, and what the
##                  kernel's services cost, beside Linux (only that: make bench-speed;
##                  and how that grows, among many: make bench-growth)
## make golden    accept what the chapters print now as what they should print
## make where     the lines of rustica.c that the last panic's addresses mean, or
##                those that A="0x3a12 0x40ff" mean
## make book      the book of it: build/book/index.html, rustica.pdf and rustica.epub
## make setup     install what is missing (Debian, Ubuntu; as root or by sudo)
## make setup-book  the same, and what the book needs (TeX, pandoc, a browser to test it)
## make doctor    say what is installed and what is missing
## make clean     remove what is in build/ (but keep build/distros/, which is root's)
##
## Settings, as in `make run CH=3 CC=tcc`:
##
##   CH=            the kernel of chapters 1 to CH, by number or name (CH=pmm)
##   CC=gcc         compiler: gcc or tcc
##   O=             how much gcc optimizes: 0 to 3, g or s. What tries the kernel out (run,
##                    loop, gdb, hunt) takes 0 if you do not say, which is compiled in a
##                    fifth of the time and hides nothing from the debugger; all else,
##                    and what boots the disk image, takes 2
##   OPT=           options for the kernel, as in OPT="pmm=array"
##   MEM=128M       the machine's memory, 64M or more,
##   MACHINE=q35      chipset (q35, pc),
##   CPU=max          processor (max, qemu64, ...; with ACCEL=kvm the host's),
##   SMP=1            number of processors,
##   ACCEL=tcg        and how it is emulated: tcg works everywhere, kvm is faster
##   BACK=          BACK=1 records what `make gdb` debugs, until the machine is off, has said
##                    nothing for 400 million instructions (BACK=2: for 800), or Ctrl-C;
##   TYPE=            a file whose lines are typed then
##   COLD=          COLD=1 boots the disk image as a real machine does. Otherwise the
##                    machine has been through its firmware before, and goes on from
##                    a snapshot in build/warm/, one for each MEM, MACHINE, CPU, SMP
##                    and GUI; there is none for ACCEL=kvm, DISK= and QFLAGS=
##   DISK=          boot the disk image, from sata, nvme, virtio or usb
##   GUI=           GUI=1 opens a window with the machine's screen (in Debian this
##                    needs the package qemu-system-gui)
##   QFLAGS=        more options for QEMU
##   V=             V=1 shows every command in full

CH      =
CC      = gcc
O       = $(if $(filter-out $(trying),$(or $(MAKECMDGOALS),all)),2,0)
OPT     =
MEM     = 128M
MACHINE = q35
CPU     = $(if $(filter kvm,$(ACCEL)),host,max)
SMP     = 1
ACCEL   = tcg
DISK    =
COLD    =
GUI     =
BACK    =
TYPE    =
QFLAGS  =
V       =

trying := $(if $(COLD)$(DISK),,run loop) gdb% hunt% where setup% doctor snapshot clean help

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules
export PATH := $(PATH):/usr/sbin:/sbin
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all run loop snapshot bench bench-speed image test golden where book setup doctor clean help
.PHONY: tools emulator test-long test-distros bench-growth check
.PHONY: gdb gdb-server gdb-machine gdb-kernel gdb-tell gdb-wait hunt hunt-tree
all:

# ---- Chapters ----------------------------------------------------------------
#
# A chapter begins at its title, `// # Chapter 3. Counting pages {#ch-pmm}`, so
# rustica.c itself is the list; we keep it as words, `3:pmm`. The kernel of
# chapter 3 is every line before the title of chapter 4, and chapter 3 ends with
# its ch03_main(), where that kernel starts.

titles   = sed -n 's|^// [\#] Chapter \([0-9]*\)[.] \(.*\) {[\#]ch-\(.*\)}|$(1)|p' rustica.c
CHAPTERS := $(shell $(call titles,\1:\3) 2>&-)
chosen   := $(if $(CH),$(filter $(CH):% %:$(CH),$(CHAPTERS)),$(lastword $(CHAPTERS)))
number   := $(firstword $(subst :, ,$(chosen)))
next     := $(shell expr 0$(number) + 1)
chNN     := $(shell printf ch%02d $(number))

ifeq ($(CH)$(chosen),$(CH))
ifneq ($(CH),)
$(shell $(call titles,CH=\1 or CH=\3: \2) >&2)
$(error rustica.c has no chapter "$(CH)", but those above)
endif
endif

# What would go wrong later, and be called something else:

open    := (
close   := )
special := ' " & ; | < > $$ ` \ * ? $(open) $(close)
strange := $(strip $(foreach c,$(special),$(findstring $c,$(CURDIR))) $(wordlist 2,2,$(CURDIR)))
ifneq ($(strange),)
$(error the path of this folder has a blank, or one of $(special) in it. Please move it)
else ifeq ($(findstring gcc,$(CC))$(findstring tcc,$(CC)),)
$(error CC is gcc or tcc, not "$(CC)")
else ifneq ($(filter-out sata nvme virtio usb,$(DISK)),)
$(error DISK is sata, nvme, virtio or usb, not "$(DISK)")
else ifneq ($(and $(DISK),$(OPT)),)
$(error a disk has no options for the kernel: say DISK= or OPT=, not both)
endif

# ---- Where things are --------------------------------------------------------
#
# Each kernel is built in a folder of its own, so that several may be built at
# the same time:
#
#     build/gcc/     build/gcc/ch03/      the whole, and chapters 1 to 3, by gcc
#     build/gcc-O0/  build/gcc-O0/ch03/   by gcc with O=0
#     build/tcc/     build/tcc/ch03/      by tcc, which does not optimize
#
# and its BOOTX64.EFI lies there, except that the whole one by gcc is
# build/BOOTX64.EFI.

COMPILER := $(if $(findstring tcc,$(CC)),tcc,gcc)
LEVEL    := $(if $(filter tcc,$(COMPILER)),,$(filter-out 2,$O))
B        := build/$(notdir $(firstword $(CC)))$(LEVEL:%=-O%)$(CH:%=/$(chNN))
OUT      := $(if $(filter build/gcc,$B),build,$B)
KERNEL   := $(OUT)/BOOTX64.EFI
IMAGE    := $(OUT)/rustica.img

# Distributions put the files of gnu-efi and OVMF in different folders: we look
# when we need one, and take the first.

find     = $(firstword $(wildcard $(foreach f,$(2),$(1:%=%/$f))))
efi_dirs = $(addprefix /usr/,lib lib/gnuefi lib/x86_64-linux-gnu lib64 lib64/gnuefi)
fw_dirs  = $(addprefix /usr/share/,ovmf OVMF qemu edk2/x64 edk2/ovmf edk2-ovmf/x64)
EFI_INC  = /usr/include/efi
EFI_LIB  = $(call find,$(efi_dirs),libefi.a)
OVMF     = $(call find,$(fw_dirs),OVMF.fd OVMF_CODE_4M.fd OVMF_CODE.4m.fd OVMF_CODE.fd)

# ---- Compiling ---------------------------------------------------------------
#
# The kernel has no operating system below it, must not touch the vector
# registers, keeps each call's frame for its backtraces, and is position independent
# because the firmware decides where it is loaded. Nothing in it may depend on the
# folder it is built in. What is small is expanded where it is called, however large
# the whole becomes: else a new function in one chapter makes an old one in another
# slower, when it takes the last place.

CFLAGS.gcc := -std=gnu11 -O$O --param max-inline-insns-auto=30 \
              --param inline-unit-growth=200 -g3 -Wall -Wextra -Werror \
              -ffreestanding -fpic -fvisibility=protected -mno-red-zone -mgeneral-regs-only \
              -fno-stack-protector -fno-strict-aliasing -fno-omit-frame-pointer \
              -fno-optimize-sibling-calls -fno-ipa-icf -fcf-protection=none \
              -fno-asynchronous-unwind-tables -ffile-prefix-map=$(CURDIR)=. \
              -ffile-prefix-map=$B/= -I.
CFLAGS.tcc := -g -Wall -mno-sse -I.
CFLAGS      = $(CFLAGS.$(COMPILER))
EFI.gcc    := -isystem $(EFI_INC) -isystem $(EFI_INC)/x86_64
EFI.tcc    := -I$(EFI_INC) -I$(EFI_INC)/x86_64

# One short line for each step; the command itself only when asked.
Q   = $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))

all: $(KERNEL)

# The first lines of the book, and nothing else, are a kernel. By the #line its
# lines are rustica.c's for the compiler, the debugger and a panic. (tcc believes
# that only of its standard input.) A prefix that did not change is left alone, for
# several makes at a time, too.
ifneq ($(CH),)
source    := $B/rustica.c
input.tcc := - <
$B/rustica.c: rustica.c Makefile | tools
	$(Q)mkdir -p $B
	$(Q)(echo '#line 1 "rustica.c"'; sed '/^\/\/ # Chapter $(next)[.] /,$$d' $<) >$@.$$PPID
	$(Q)if cmp -s $@.$$PPID $@; then rm $@.$$PPID; else mv $@.$$PPID $@; fi
endif

$B/rustica.o: $(or $(source),rustica.c) rustica.h Makefile | tools
	$(call say,$(COMPILER),"rustica.c$(CH:%=, chapters 1 to $(number))")
	$(Q)mkdir -p $B
	$(Q)$(CC) $(CFLAGS) -c $(input.$(COMPILER))$< -o $@

$B/efi_main.o: efi_main.c rustica.h Makefile | tools
	$(call say,$(COMPILER),$<)
	$(Q)mkdir -p $B
	$(Q)$(CC) $(CFLAGS) $(EFI.$(COMPILER)) -c $< -o $@

# ---- User programs -----------------------------------------------------------
#
# Each user/NAME.c is one program, a static ELF file that runs on Linux too. Those
# that rustica.c mentions the kernel carries as bytes, on pages of their own, from
# _binary_NAME_start to _binary_NAME_end. The debugger wants symbols: NAME.elf has
# them, NAME is what the kernel carries.

PROGRAMS   := $(shell sed '/^\/\/ [\#] Chapter $(next)[.] /,$$d' rustica.c | \
                sed -n 's|.*\<_binary_\([a-z_]*\)_start\>.*|\1|p' | sort -u)
UFLAGS.gcc := -std=gnu11 -O$O -g3 -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie \
              -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
              -ffile-prefix-map=$(CURDIR)=. -I.
UFLAGS.tcc := -g -Wall -I.

$B/user/%.o: user/%.c $(wildcard user/*.h) rustica.h Makefile | tools
	$(call say,$(COMPILER),$<)
	$(Q)mkdir -p $B/user
	$(Q)$(CC) $(UFLAGS.$(COMPILER)) -c $< -o $@

$B/user/%.elf: $B/user/%.o
	$(Q)ld -static -nostdlib -z noexecstack -z separate-code --build-id=none $< -o $@

$B/user/%: $B/user/%.elf
	$(Q)strip -o $@ $<

$B/user/%.bin.o: $B/user/%
	$(Q)cd $(@D) && ld -r -b binary -z noexecstack $* -o $*.bin.o
	$(Q)objcopy --rename-section .data=.rodata,alloc,load,readonly,data,contents \
	    --set-section-alignment .data=4096 $@

.PRECIOUS: $B/user/%.o $B/user/%.elf $B/user/%

# ---- The ramdisk -------------------------------------------------------------
#
# The first file system is an archive, a POSIX tar file, which the kernel carries
# like a program, by the name ramdisk_tar. In it are all programs, small this time,
# and what lies in user/root.

R          := $B/ramdisk
EVERYTHING := $(patsubst user/%.c,%,$(wildcard user/*.c))
RFLAGS.gcc := $(UFLAGS.gcc) $(if $(filter 2,$O),-Os) -ffunction-sections -fdata-sections
RFLAGS.tcc := $(UFLAGS.tcc)

$R/%.elf: user/%.c $(wildcard user/*.h) rustica.h Makefile | tools
	$(call say,$(COMPILER),"$< for the ramdisk")
	$(Q)mkdir -p $R
	$(Q)$(CC) $(RFLAGS.$(COMPILER)) -c $< -o $R/$*.o
	$(Q)ld -static -nostdlib -z noexecstack -z noseparate-code -z max-page-size=4096 \
	    --gc-sections --build-id=none $R/$*.o -o $@

$B/ramdisk.tar: $(EVERYTHING:%=$R/%.elf) $(shell find user/root ! -type l) tools/ramdisk.sh Makefile
	$(call say,ramdisk,$@)
	$(Q)tools/ramdisk.sh $R $@ $(EVERYTHING)

$B/user/ramdisk_tar.bin.o: $B/ramdisk.tar
	$(Q)mkdir -p $B/user
	$(Q)cd $B && ld -r -b binary -z noexecstack ramdisk.tar -o user/ramdisk_tar.bin.o
	$(Q)objcopy --rename-section .data=.rodata,alloc,load,readonly,data,contents \
	    --set-section-alignment .data=4096 $@

.PRECIOUS: $R/%.elf

# The font for the screen is carried likewise. It is one of the distribution's.
FONT = $(call find,/usr/share/consolefonts /usr/share/kbd/consolefonts,Lat15-Terminus16.psf.gz)

$B/user/font_psf: | tools
	@$(call exist,$(FONT),Lat15-Terminus16.psf.gz)
	$(Q)mkdir -p $(@D) && gzip -dc $(FONT) >$@

# ---- Linking -----------------------------------------------------------------
#
# ld makes a shared object of it all (BOOTX64.so, with the debugger's symbols), and
# objcopy turns that into what firmware starts: a PE file. What is where in it says
# tools/image.lds. The firmware's side calls kernel_main(); which chapter's main that is, is
# decided here. Of the programs, a kernel contains those that it mentions. Of gnu-efi's
# library we use the functions efi_call0() to efi_call10() and nothing else: start-up
# code and linker scripts differ too much from one release to the next. (The firmware
# may take the sections' flags seriously, and we must be able to relocate constants;
# so only the code is read-only until we have page tables of our own.)

mentioned = nm -u $B/rustica.o | sed -n 's|^ *U _binary_\(.*\)_start$$|$B/user/\1.bin.o|p'
constants = .rodata .dynamic .rela .dynsym .dynstr
link      = ld -shared -Bsymbolic -T tools/image.lds --hash-style=sysv -z defs -z noexecstack \
            -nostdlib --build-id=none
to_pe     = objcopy $(patsubst %,-j %,.text $(constants) .data .reloc) \
            $(constants:%=--set-section-flags %=alloc,load,data) --output-target efi-app-x86_64

$B/BOOTX64.so: $B/efi_main.o $B/rustica.o $(PROGRAMS:%=$B/user/%.bin.o) $B/user/font_psf.bin.o \
               tools/image.lds
	$(Q)$(link) --defsym=kernel_main=$(chNN)_main $B/efi_main.o $$($(mentioned)) $B/rustica.o \
	    $(EFI_LIB) -o $@

$(KERNEL): $B/BOOTX64.so tools/image.sh
	$(call say,link,$@)
	$(Q)$(to_pe) $< $@
	$(Q)tools/image.sh $< $@

# ---- Running -----------------------------------------------------------------
#
# OVMF, the firmware, starts the kernel that -kernel names and hands it the
# options of -append. COM1 is our terminal and port 0xe9 goes to a log. A kernel
# that is content switches the machine off, and QEMU ends with status 0; a panic
# writes to port 0xf4, and the status is 3. A triple fault only resets the machine,
# so we look for it in QEMU's own log. (tools/run.sh)

LOG      = $B/debug.log
FIRMWARE = $(if $(findstring CODE,$(OVMF)),$(pflash),-bios $(OVMF))
pflash   = -drive if=pflash,format=raw,readonly=on,file=$(OVMF) \
           -drive if=pflash,format=raw,snapshot=on,file=$(subst CODE,VARS,$(OVMF))
hardware = qemu-system-x86_64 -nodefaults -no-reboot -net none $(FIRMWARE) \
           -machine $(MACHINE) -cpu $(CPU) -smp $(SMP) -m $(MEM) -accel $(ACCEL) \
           -device isa-debugcon,iobase=0xe9,chardev=log \
           -device isa-debug-exit,iobase=0xf4,iosize=4 $(if $(GUI),-vga std)
QEMU     = $(hardware) -chardev file,id=log,path=$(LOG) -d cpu_reset -D $(LOG:.log=.qemu) \
           -display $(if $(GUI),gtk,none) $(QFLAGS)

warm        := $(if $(COLD)$(DISK)$(QFLAGS)$(filter-out tcg,$(ACCEL)),,yes)
disk        := $(or $(DISK),$(if $(COLD),$(if $(OPT),,$(shell [ ! -t 0 ] || echo sata))))
boot.       := -kernel $(KERNEL)
boot.sata   := -device ide-hd,drive=disk
boot.nvme   := -device nvme,drive=disk,serial=rustica
boot.virtio := -device virtio-blk-pci,drive=disk
boot.usb    := -device qemu-xhci -device usb-storage,drive=disk
drive        = -drive id=disk,if=none,format=raw,snapshot=on,file=$(IMAGE)

emulator:
	@$(call require,qemu-system-x86_64)
	@$(call exist,$(OVMF),OVMF)
	@[[ ! "$(MEM)" =~ ^([1-5]?[0-9]|6[0-3])M?$$ ]] || \
	    { echo "make: MEM=$(MEM) is too little for the firmware, which wants 64M"; exit 1; }

run: $(if $(disk),$(IMAGE),$(KERNEL)) $(if $(warm),snapshot) | tools emulator
	@$(if $(prey),echo "make run: 'make hunt BUG=$(prey)' boots a kernel with this bug"; exit 1)
	@LOG=$(LOG) OPTIONS="$(OPT)" SNAPSHOT=$(if $(warm),$(SNAPSHOT)) \
	WHERE="make $(elsewhere)where$(wherein)" \
	tools/run.sh $(disk:%=--disk) $(QEMU) $(boot.$(disk)) $(if $(disk),$(drive))

# ---- Warm starts -------------------------------------------------------------
#
# Nearly all the time of a boot is the firmware's, and it does the same each time.
# So we let it do that once, with a program in the kernel's place that waits
# (tools/waiter.c), and take a snapshot of that machine (tools/snapshot.sh). To start
# a kernel is then to wake the machine up: -incoming, and all else as in a cold boot.
# A snapshot is for one machine only, with one QEMU and one firmware: its name is a
# checksum of what they are. If it does not wake up, we remove it and boot cold.

WARM     = build/warm
WAITER   = $(WARM)/waiter.efi
SNAPSHOT = $(WARM)/snapshot-$(shell ($(identity)) | cksum | tr ' ' -)
identity = stat -Lc '%s %y' $$(type -P qemu-system-x86_64) $(OVMF); cat tools/waiter.c; \
           echo '$(hardware)'

$(WAITER): tools/waiter.c tools/image.lds Makefile | tools
	$(call say,$(COMPILER),$<)
	$(Q)mkdir -p $(WARM) && new=$(WARM)/waiter.$$$$ && trap "rm -f $$new.*" EXIT && \
	$(CC) $(CFLAGS) $(EFI.$(COMPILER)) -c $< -o $$new.o && \
	$(link) $$new.o $(EFI_LIB) -o $$new.so && \
	$(to_pe) $$new.so $$new.efi && tools/image.sh $$new.so $$new.efi && mv $$new.efi $@

snapshot: $(WAITER) | emulator
	@tools/snapshot.sh $(SNAPSHOT) $(hardware) -kernel $(WAITER) || :

# ---- The loop ----------------------------------------------------------------

loop: | tools emulator
	@$(call require,python3)
	@python3 tools/loop.py watch $(MAKEOVERRIDES)

ROUNDS = 10
bench: snapshot
	@$(call require,python3)
	@python3 tools/loop.py bench $(ROUNDS) $(SNAPSHOT) $(hardware) -kernel $(WAITER)
	@$(MAKE) --no-print-directory bench-speed

# What the kernel's services cost, beside Linux or, with ALONE=1, without it. The
# processor is one on which Linux, too, copies in the way that costs the fewest
# instructions.
ALONE =
bench-speed bench-growth: CPU = qemu64
bench-growth: MEM = 512M
bench-speed bench-growth: $(KERNEL) snapshot
	@$(call require,python3)
	@python3 tools/bench.py $(ALONE:%=--alone) $(@:bench-%=--%) $B $(KERNEL) $(SNAPSHOT) \
	    $(hardware)

# ---- Debugging ---------------------------------------------------------------
#
# The debugger's kernel is the one that `make run` boots, compiled without optimization:
# every line is a place to stop at and every variable has a value. Our script for GDB
# starts the machine; `make gdb-machine` tells it how. With PLAY=FILE it plays a session
# and ends. (By `set -m`, Ctrl-C is for GDB alone; make would think that it is meant. A
# later chapter's edit makes the source newer than this chapter's kernel, of which GDB
# would warn, were it not touched. By `flock`, of two who start a session at once, one
# builds and the other waits.) For this machine an instruction takes four nanoseconds,
# however long it does take, so who comes first in a session is who did in the book's.

steady = $(if $(BACK),,$(if $(filter tcg%,$(ACCEL)),-icount shift=2))
PLAY   =
PORT   =
BUG    =
HUNT   =
prey   = $(or $(BUG),$(HUNT))
listen = $(if $(PORT),tcp:127.0.0.1:$(PORT),unix:$B/gdb.socket)
locked = mkdir -p $B; flock -o $B $(MAKE) --no-print-directory

gdb: $(prey:%=hunt-tree) | tools
	@$(call require,gdb qemu-system-x86_64)
	@$(if $(prey),$(there) gdb,set -m; gdb -q -x tools/rustica-gdb.py -ex 'rustica boot' \
	    $(if $(PLAY),-ex 'rustica session $(PLAY)' -ex quit) || exit $$?)

gdb-server: $(prey:%=hunt-tree) | tools
	@$(call require,qemu-system-x86_64)
	@$(if $(prey),$(there) gdb-server,\
	    $(locked) gdb-kernel && $(MAKE) --no-print-directory gdb-wait)

gdb-machine: | tools
	@$(locked) gdb-tell

gdb-kernel: $(KERNEL)
	@[ $< -nt rustica.c ] || touch $B/BOOTX64.so $<

session = $(or $(PREY:%=book/hunts/%$(if $(BACK),-back).gdb),book/gdb/$(chNN).gdb)
gdb-tell gdb-wait: LOG = $B/gdb.log
gdb-tell: gdb-kernel $(if $(warm),snapshot)
	@printf 'machine: %s\n' 'symbols $B/BOOTX64.so' 'main $(chNN)_main' 'programs $B/user $R' \
	    'log $(LOG)' 'session $(session)' \
	    'warm $(if $(warm),$(SNAPSHOT))' 'options $(OPT)' 'back $(BACK)' \
	    'type $(abspath $(TYPE))' 'record $B/back' \
	    'start $(QEMU) $(steady) $(boot.) -append "$$options"'

gdb-wait:
	@OPTIONS="$(OPT)" tools/gdb-server.sh $(listen) $B/BOOTX64.so $(QEMU) $(boot.)

# A bug hunt is a kernel with a bug planted: book/hunts/NAME.patch, applied to a copy
# of the tree. The first lines of the patch tell which chapter, and options if it
# needs any. NAME.md has the symptom and the hints, NAME.gdb finds the cause. What you
# change in that copy is kept; CHECK=1 says whether it is right (tests/hunts.py).

HINT    =
CHECK   =
FRESH   =
planted = build/hunts/$(prey)
setting = $(shell sed -n '/^---/q; s/^$(1)=//p' book/hunts/$(prey).patch)
elsewhere = $(if $(PREY),-C build/hunts/$(PREY) CH=$(CH) )
there   = $(MAKE) --no-print-directory -C $(planted) HUNT= BUG= PREY=$(prey) \
          WARM=$(CURDIR)/$(WARM) CH=$(or $(CH),$(call setting,CH)) \
          'OPT=$(or $(OPT),$(call setting,OPT))'
hunting = $(if $(prey),$(or $(CHECK:%=check),$(HINT:%=hint),symptom),list)

hunt: $(if $(HINT)$(CHECK),,$(prey:%=hunt-tree)) | tools
	@$(if $(CHECK),$(call require,python3))
	@tools/hunt.sh $(hunting) "$(prey)" $(if $(filter hint,$(hunting)),$(HINT),$(planted))
	@$(if $(filter symptom,$(hunting)),$(there) run)

hunt-tree: | tools
	@$(call require,patch)
	@tools/hunt.sh plant $(prey) $(planted) $(FRESH)

# ---- A disk image ------------------------------------------------------------
#
# A disk that firmware boots from has a GPT with an EFI system partition, which is
# a FAT32 file system, in which the kernel is \EFI\BOOT\BOOTX64.EFI. All that could
# differ from one run to the next (identifiers, dates) is fixed.

image: $(IMAGE)

$(IMAGE): export SOURCE_DATE_EPOCH = 315532800
$(IMAGE): export TZ = UTC
$(IMAGE): $(KERNEL) | tools
	$(call say,image,$@)
	@$(call require,sgdisk mformat)
	$(Q)rm -f $@ && truncate -s 48M $@
	$(Q)sgdisk -a 2048 -n 1:2048:0 -t 1:ef00 -c 1:Rustica \
	    -U 52555354-4943-4100-8000-000000000000 \
	    -u 1:52555354-4943-4100-8000-000000000001 $@ >/dev/null
	$(Q)mformat -i $@@@1M -F -c 1 -T 96223 -h 64 -s 32 -H 2048 -N 52555354 -v RUSTICA ::
	$(Q)mmd -i $@@@1M ::/EFI ::/EFI/BOOT
	$(Q)mcopy -i $@@@1M $< ::/EFI/BOOT/BOOTX64.EFI

# ---- Testing -----------------------------------------------------------------

T =
test: | tools
	@$(call require,python3)
	@python3 tests/run.py $(T)

test-long:
	@RUSTICA_LONG=$${RUSTICA_LONG:-500} $(MAKE) test T="abuse/ machine/processors"

# The table of promises. Some are kept longer if one has a night for it.
ROW  =
LONG =
.PHONY: proof
proof: | tools
	@$(call require,python3)
	@python3 tests/proof.py $(if $(FRESH),--fresh) $(if $(LONG),--long) $(ROW)

# An exercise is solved if its check says so (book/exercises/).
EX =
check: | tools emulator
	@$(call require,python3)
	@python3 tools/check.py CC=$(CC) $(or $(EX),$(if $(CH),$(number)))

# From the oldest on; Ubuntu's releases lie between them.
RELEASES = bookworm trixie testing
test-distros:
	@tests/distros.sh $(RELEASES)

N    = 20
SEED = 1
.PHONY: mutants
mutants: | tools
	@$(call require,python3 tcc)
	@python3 tests/mutants.py $(N) $(SEED)

golden: | tools
	@$(call require,python3)
	@python3 tests/run.py --golden $(T)

# Without A, the addresses are those of the last panic in the log, and of the kernel
# that had it, whatever you have changed since.
A       =
wherein = $(if $(PREY),,$(CH:%= CH=%)$(if $(filter gcc,$(CC)),, CC=$(CC)))$(other:%= O=%)
other   = $(filter-out 0,$O)
where: $(if $(A),$(KERNEL))
	@tools/where.sh $(LOG) $B/BOOTX64.so $(A)

# ---- The book ----------------------------------------------------------------
#
# Everything is made by the programs in book/ from the sources themselves; WHAT=html
# makes the pages alone. The book states the checksum of the kernel that it contains.

WHAT       = html epub pdf
BOOK_NEEDS = pandoc:pandoc ctags:universal-ctags xelatex:texlive-xetex epubcheck:epubcheck \
             rsvg-convert:librsvg2-bin chromium:chromium pdftotext:poppler-utils tidy:tidy \
             $(texmf)/tex/latex/koma-script/scrbook.cls:texlive-latex-recommended \
             $(texmf)/fonts/tfm/adobe/zapfding/pzdr.tfm:texlive-fonts-recommended \
             $(or $(code_font),Inconsolata.otf):fonts-inconsolata \
             /usr/share/texmf/fonts/opentype/public/tex-gyre/texgyrepagella-bold.otf:fonts-texgyre
texmf      := /usr/share/texlive/texmf-dist
code_font   = $(call find,$(patsubst %,/usr/share/fonts/%/inconsolata,truetype opentype),\
                Inconsolata.otf Inconsolata-Regular.otf)

book: $(KERNEL) | tools
	@$(call require,python3)
	@python3 book/make.py $(WHAT)

.PHONY: setup-book
NEEDS = $(if $(filter setup-book,$(MAKECMDGOALS)),$(BOOK_NEEDS))
setup-book: setup

# ---- What must be installed --------------------------------------------------
#
# Each is tool:package, by the names of Debian and Ubuntu. Not every release has every
# package; we can do without the second compiler.

SECOND := tcc:tcc
NEEDS += gcc:gcc musl-gcc:musl-tools ld:binutils qemu-system-x86_64:qemu-system-x86 sgdisk:gdisk \
         mformat:mtools python3:python3 gdb:gdb patch:patch
FILES  = /usr/bin/kill:procps /usr/include/stdio.h:libc6-dev /usr/include/cmocka.h:libcmocka-dev \
         /usr/include/efi/efi.h:gnu-efi \
         $(or $(EFI_LIB),libefi.a):gnu-efi $(or $(OVMF),OVMF.fd):ovmf \
         $(or $(FONT),Lat15-Terminus16.psf.gz):console-setup-linux

install  = 'make setup' installs it on Debian and Ubuntu if they have it; 'make doctor' tells more
require  = for t in $(1); do command -v $$t >/dev/null || \
               { echo "make: $$t is missing. $(install)."; exit 1; }; done
exist    = [ -e "$(1)" ] || { echo "make: $(or $(2),$(1)) is missing. $(install)."; exit 1; }

# Everything that is built waits for this one, and this one for `make setup`.
tools: $(filter setup setup-book,$(MAKECMDGOALS))
	@$(call require,$(firstword $(CC)) ld objcopy)
	@$(call exist,$(EFI_LIB),gnu-efi) && $(call exist,$(EFI_INC)/efi.h)

setup:
	@tools/needs.sh setup $(NEEDS) $(SECOND) $(FILES)

doctor:
	@tools/needs.sh doctor $(NEEDS) $(FILES) CC=tcc: $(SECOND) book: $(BOOK_NEEDS)

clean:
	@rm -rf $(filter-out build/distros,$(wildcard build/*))

help:
	@sed -n 's/^## \{0,1\}//p' Makefile; echo; echo "Chapters:"; $(call titles,  CH=\1 or CH=\3: \2)
