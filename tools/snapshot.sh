#!/bin/bash
# snapshot.sh FILE QEMU ...
#
# Starts the machine that the words after FILE describe, which has the waiter for a
# kernel (see waiter.c), and keeps a snapshot of it, waiting, in FILE.
#
# FILE appears whole and tried, or not at all, and then FILE.failed says why, and for ten
# minutes nobody tries again. Only one of us works at a time in a folder. We may be killed
# at any point: QEMU then ends by itself, and the next of us removes what is left.

set -uo pipefail
export LC_ALL=C
file=$1
shift
new=$file.new.$$
limits="prlimit --cpu=120 timeout --foreground 1200"    # seconds, if the machine hangs
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
    coproc { $limits "${machine[@]}" -append "wait for a kernel" \
                 -monitor stdio 2>&1 >/dev/null 3>&- 9>&-; }
    qemu=$COPROC_PID
    trap 'kill $qemu 2>/dev/null' EXIT
    exec 7<&"${COPROC[0]}" 8>&"${COPROC[1]}"
    said=$(first_line <&7)
    if [ "$said" = waiting ]; then
        printf '%s\n' "migrate \"exec:cat >$new\"" quit >&8
    else
        echo "$said"
    fi
    exec 8>&-
    cat <&7
    wait $qemu && [ -s "$new" ]
}

# A snapshot is good if the waiter in it wakes up and starts another waiter.
try()
{
    sync "$new"
    $limits "${machine[@]}" -append "leave at once" \
        -incoming "exec:cat $new; echo" 3>&- 9>&-
    [ $? = 5 ]
}

[ ! -s "$file" ] && [ -z "$(find "$file.failed" -mmin -10 2>/dev/null)" ] || exit 0
exec 3>&2 9>"${file%/*}/lock"
flock -n 9 || { echo "  warm    waiting for another make, which prepares it" >&2; flock 9; }
[ -s "$file" ] && exit
rm -f "${file%/*}"/*.new.*
trap 'rm -f "$new"' EXIT
trap '' PIPE
printf '  warm    %s, once, in some seconds ' "$file" >&3
if why=$(take 2>&1 && try 2>&1) && mv -T "$new" "$file"; then
    rm -f "$file.failed"
    ls -t "${file%/*}"/snapshot-*[0-9] | tail -n +9 | xargs -r rm -f
    echo done >&3
else
    rm -f "$new"
    echo "${why:-QEMU was killed, or did not get to the waiter}" | tail -n 20 >"$file.failed"
    echo failed >&3
fi
