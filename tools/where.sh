#!/bin/bash
# where.sh LOG SYMBOLS [ADDRESS ...]
#
# The lines that addresses mean, by default those of the last panic in LOG. `make where`
# does this. What stands below "called from" is where each call returns to, one byte after
# the call.

set -euo pipefail
log=$1 symbols=$2 call=0
shift 2
sorry() { echo "make where: $*"; exit 1; }

if [ $# = 0 ]; then
    grep -qs '^\*\*\* ' "$log" || sorry "there is no panic in $log"
    [ "$log" -nt "$symbols" ] ||
        sorry "since that panic the kernel has been built anew. Run it again."
fi

addresses()
{
    if [ $# = 0 ]; then sed -n '/^\*\*\* /,$p' "$log"; else printf '%s\n' "$@"; fi
}

addresses "$@" | while read -r a rest; do
    case $a in
    called) call=1;;
    0x*) a=$(printf '0x%x' $a)
         addr2line -pfie "$symbols" $(printf %x $(((a & 0x7fffffff) - call))) |
             sed "s|^|$a  |; s|^.* (inl|      (inl|; s|\./||g; s| (disc.*||";;
    esac
done
