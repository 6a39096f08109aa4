#!/bin/bash
# image.sh BOOTX64.so BOOTX64.EFI
#
# Checks what a linker and objcopy have made of the kernel: what the prologue takes for
# granted when it relocates and maps it. A sentence for each thing that is not so.

set -uo pipefail
export LC_ALL=C
so=$1 efi=$2 bad=0

wrong()
{
    echo "$so: $*" >&2
    bad=1
}

others=$(readelf -rW "$so" | sed -n 's/.* \(R_X86_64_[A-Z0-9_]*\) .*/\1/p' | sort -u)
[ -z "${others#R_X86_64_RELATIVE}" ] ||
    wrong "the prologue relocates R_X86_64_RELATIVE only, and here are" $others

# Each section that is in memory: its name and its flags.
while read -r name flags; do
    case $name:$flags in
    .text:AX | .data:WA | .reloc:A) ;;
    .rodata:A | .dynamic:WA | .rela:A | .dynsym:A | .dynstr:A | .hash:A) ;;
    *) wrong "image.lds does not know a section $name with the flags $flags";;
    esac
done < <(readelf -SW "$so" | sed -n 's/^ *\[ *[0-9]*\] \([^ ]\+\) .* \([WX]*A[XW]*\) .*/\1 \2/p')

symbols=$(readelf -sW "$so")
symbol() { sed -n "s/^ *[0-9]*: 0*\([0-9a-f]\+\) .* $1$/\1/p; T; q" <<<"$symbols"; }

for name in image_text image_data image_data_end; do
    [[ $(symbol $name) = *000 ]] || wrong "$name is not at the beginning of a page"
done
entry=$(objdump -p "$efi" | sed -n 's/^AddressOfEntryPoint\s*0*//p')
[ "$entry" = "$(symbol efi_start)" ] ||
    wrong "the firmware would start at $entry; efi_start is at $(symbol efi_start)"
writable=$(objdump -hw "$efi" | grep CODE | grep -v READONLY)
[ -z "$writable" ] || wrong "code that can be written: $writable"
exit $bad
