#!/bin/bash
# snapshot.sh FILE QEMU ...
#
# Starts the machine that the words after FILE describe, which has the waiter for a
# kernel (see waiter.c), and keeps a snapshot of it, waiting, in FILE.
#
# FILE appears whole and tried, or not at all, and then FILE.failed says why. Only one
# of us works at a time in a folder. We may be killed at any point: QEMU then ends by
# itself, and the next of us removes what is left.

set -uo pipefail
export LC_ALL=C
file=$1
shift
new=$file.new.$$
machine=("$@" -display none -serial null -chardev file,id=log,path=/dev/stderr)

# Until QEMU has written a line, shows a dot each half second; then prints the line.
first_line()
{
    local status
    while :; do
        read -r -t 0.5 line
        status=$?
        [ $status -gt 128 ] || break
        printf . >&3
    done
    echo "$line"
    return $status
}

# The waiter says so when it waits; then the monitor is told what to do. Each
# command there waits for the one before.
take()
{
    local qemu status
    coproc { exec 9>&- timeout 60 "${machine[@]}" -append "wait for a kernel" \
                 -monitor stdio 2>&1 >/dev/null; }
    qemu=$COPROC_PID
    exec 7<&"${COPROC[0]}" 8>&"${COPROC[1]}"
    if [ "$(first_line <&7)" = waiting ]; then
        printf '%s\n' "migrate \"exec:cat >$new\"" quit >&8
    fi
    exec 8>&-
    cat <&7
    wait $qemu
}

# A snapshot is good if the waiter in it wakes up and starts another waiter.
try()
{
    sync "$new"
    timeout 20 "${machine[@]}" -append "leave at once" -incoming "exec:cat $new"
    [ $? = 5 ]
}

exec 3>&2 9>"${file%/*}/lock"
flock -n 9 || { echo "  warm    waiting for another make, which prepares it" >&2; flock 9; }
[ -e "$file" ] && exit
rm -f "${file%/*}"/*.new.*
trap 'rm -f "$new" "$new.why"' EXIT
trap '' PIPE
printf '  warm    %s, once, in some seconds ' "$file" >&2
if { take && try; } >"$new.why" 2>&1 && mv "$new" "$file"; then
    rm -f "$file.failed"
    ls -t "${file%/*}"/snapshot-*[0-9] | tail -n +9 | xargs -r rm -f
    echo done >&2
else
    mv "$new.why" "$file.failed"
    echo failed >&2
fi
