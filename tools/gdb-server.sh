#!/bin/bash
# gdb-server.sh PLACE SYMBOLS QEMU ...
#
# Starts the machine that the words describe, with OPTIONS for the kernel, and lets it wait
# at PLACE (tcp:HOST:PORT or unix:FILE) for somebody's debugger; says what to tell that one.
# `make gdb-server` does this. (Another debugger must read code from the file of symbols:
# where it places breakpoints there is nothing in memory yet.)

set -u
place=$1 symbols=$2 serial=stdio more=
shift 2
[ ! -t 0 ] || { serial=mon:stdio; echo "Leave QEMU with Ctrl-A X."; }
[[ $place != unix:* ]] || more=,server=on,wait=off
echo "Your debugger: target remote ${place#unix:}"
echo "               set trust-readonly-sections on"
echo "               add-symbol-file $symbols -o 0xffffffff80000000"
exec "$@" -serial $serial -append "$OPTIONS" -S -gdb "$place$more"
