#!/bin/bash
# ramdisk.sh FOLDER ARCHIVE PROGRAM ...
#
# Packs the first file system, a POSIX tar file, of what lies in user/root and of
# FOLDER/PROGRAM.elf, without their symbols: init in /sbin, the others in /bin. The kernel
# maps files where they are, so the data of each must begin on a page of its own. A header
# takes 512 bytes; files named .pad, which the kernel ignores, fill the gaps. All that could
# differ from one run to the next (owners, dates) is fixed.

set -euo pipefail
export LC_ALL=C
folder=$1 archive=$2 root=$1/root
shift 2
rm -rf "$root" "$folder/pads"
mkdir -p "$folder/pads" "$root"/{bin,dev,home,sbin,tmp}
cp -r user/root/. "$root"
for program in "$@"; do strip -o "$root/bin/$program" "$folder/$program.elf"; done
mv "$root/bin/init" "$root/sbin/init"
ln -s test "$root/bin/["
ln -s /bin/poweroff /bin/reboot "$root/sbin"
for n in 0 512 1024 1536 2048 2560 3072 3584; do truncate -s $n "$folder/pads/$n"; done

# The names in the order of the archive, a pad before each whose data need one.
list()
{
    local at=0 name size gap
    while read -r name; do
        size=0
        [ ! -f "$root/$name" ] || [ -L "$root/$name" ] || size=$(stat -c %s "$root/$name")
        gap=$(((8192 - 512 - at % 4096) % 4096))
        if [ $size -gt 0 ] && [ $gap -gt 0 ]; then
            echo pads/$((gap - 512))
            at=$((at + gap))
        fi
        echo "root/$name"
        at=$((at + 512 + (size + 511) / 512 * 512))
    done < <(cd "$root" && find * | sort)
}

list | tar -C "$folder" -c --format=ustar --no-recursion --hard-dereference \
    --blocking-factor=8 --mtime=@315532800 --owner=root:0 --group=root:0 --mode=u=rwX,go=rX \
    --transform='flags=rh;s|^root/||;s|^pads/.*|.pad|' -T - -f "$archive"
