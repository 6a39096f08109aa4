#!/bin/bash
# run.sh [--disk] QEMU ...
#
# Boots the machine that the words describe, at our terminal or, without one, with what our
# standard input has for typed; if it ends badly, says how. `make run` does this. With --disk
# the kernel comes from a disk, and with it no options.
#
#   LOG=FILE.log     where the words have the machine log; resets are in FILE.qemu, and
#                    what QEMU has to say of a warm start comes to be in FILE.err
#   OPTIONS=         the kernel's
#   SNAPSHOT=FILE    to wake up from this, if it can be done
#   WHERE=           the command that turns a panic's addresses into lines

set -uo pipefail
file=${LOG%.log} up=${LOG%.log}.up.$$ disk= status=1
[ "$1" != --disk ] || { disk=yes; shift; }
rm -f "$file.qemu"
trap 'rm -f "$up"' EXIT

if [ -t 0 ]; then
    serial=mon:stdio clean=(cat)
    echo "Leave QEMU with Ctrl-A X."
else
    serial=stdio clean=(sed -u 's/\r$//')
    OPTIONS=${OPTIONS:+$OPTIONS }pipe
fi
machine=("$@" -serial $serial)
[ "$disk" ] || machine+=(-append "$OPTIONS")

# The firmware clears the screen several times before it starts us, and tells what it
# starts from a disk; we keep quiet until the kernel's first line, so that what you
# typed before stays in view. QEMU makes its terminal one that does not block, and what
# cat then cannot write would be lost; so it gets the terminal anew.
quiet()
{
    local line
    [ ! -t 1 ] || exec >/proc/self/fd/1
    while IFS= read -r line && [[ $line = *BdsDxe:* ]]; do :; done
    : >"$up"
    [ -z "$line" ] || printf '%s\n' "${line##*[0-9]H}" | "${clean[@]}"
    exec "${clean[@]}"
}

# Without a terminal the kernel reads our standard input, and ^D at its end. The
# firmware would swallow what comes too early, so it begins with that first line, and
# the option "pipe" tells the kernel not to prompt or echo. (What starts from a disk
# has no options, takes us for somebody at a terminal, and has to be switched off.)
feed()
{
    until [ -e "$up" ]; do sleep 0.05; done
    cat
    printf "${disk:+poweroff\r}\004"
}

qemu() { "${machine[@]}" "$@"; }

fed()
{
    qemu "$@" < <(feed)         # by a function, so that the shell tells whom to end then
    local status=$?
    kill $! 2>/dev/null
    return $status
}

# Starts the machine, with further words for QEMU, and waits until it ends with `status`.
start()
{
    if [ -t 0 ]; then qemu "$@"; else fed "$@"; fi | quiet
    status=${PIPESTATUS[0]}
}

# What does not wake up ends with status 1, and we can still boot cold. (QEMU waits
# forever for the first byte of an empty stream; hence the echo.)
wake()
{
    if [ -e "$SNAPSHOT.failed" ]; then
        echo "make run: no warm start for ten minutes; $SNAPSHOT.failed says why"
        return
    fi
    start -incoming "exec:cat $SNAPSHOT; echo" 2>"$file.err"
    if [ $status != 1 ]; then
        cat "$file.err" >&2
    elif grep -q 'of migration' "$file.err"; then
        rm -f "$SNAPSHOT"
        echo "make run: no warm start; the next run makes a new snapshot"
    fi
}

[ -z "$SNAPSHOT" ] || wake
[ $status != 1 ] || start
! grep -qs 'Triple fault' "$file.qemu" || status=9
case $status in
0) ;;
3) if grep -q '^\*\*\* ' "$LOG"; then
       echo "make run: a panic; '$WHERE' tells its lines"
   else
       echo "make run: the kernel gave up, see above"
   fi;;
7) echo "make run: the firmware refuses this kernel";;
9) echo "make run: a triple fault; $file.qemu has the registers";;
11) status=0;;
*) echo "make run: QEMU ended with status $status";;
esac
exit $status
