#!/bin/bash
# hunt.sh list | symptom NAME | hint NAME N | plant NAME TREE [FRESH] | check NAME TREE
#
# Bug hunts. NAME is a bug: book/hunts/NAME.patch plants it, NAME.md has its symptom and
# the hints. `make hunt` does this.

set -euo pipefail
what=$1 name=${2-} tree=${3-}
page=book/hunts/$name.md patch=book/hunts/$name.patch
sources="rustica.c rustica.h efi_main.c user"

list() { sed -n 's/^# /  /p' book/hunts/*.md; }

symptom() { sed '/^## /,$d; s/^# //' $page; }

hint()
{
    sed -n "/^## Hint $1\$/,/^## /{/^##/!p}" $page | grep . ||
        echo "There are $(grep -c '^## Hint' $page) hints for $name."
}

# Beside what is planted, in .planted, is what it was.
changed()
{
    local f
    [ -e $tree/.planted ] || return 1
    for f in $sources; do
        diff -r $tree/.planted/$f $tree/$f >/dev/null 2>&1 || return 0
    done
    return 1
}

# What the patch did not change keeps its date, and what it changed has one that does not
# change with each planting, so that nothing is built without need.
plant()
{
    local f newest
    rm -rf $tree/user $tree/.planted
    mkdir -p $tree
    ln -sfn "$PWD"/{Makefile,book,tests,tools} $tree
    cp -rp $sources $tree
    patch -s -p1 -F1 --no-backup-if-mismatch -d $tree <$patch ||
        { echo "make: $patch does not fit this source any more."; exit 1; }
    for f in $(sed -n 's|^+++ b/||p' $patch); do
        newest=$patch
        [ ! $f -nt $patch ] || newest=$f
        touch -r $newest $tree/$f
    done
    mkdir $tree/.planted
    cp -rp $(printf "$tree/%s " $sources) $tree/.planted
}

if [ $what = list ]; then
    list
    echo "BUG=NAME boots it, HINT=1 besides gives a hint, 'make gdb HUNT=NAME' debugs it."
    exit
fi
[ -e $page ] || { echo "make: no hunt is called $name. There are:"; list; exit 1; }
case $what in
symptom) symptom;;
hint) hint $3;;
check) exec python3 tests/run.py --hunt $name $tree;;
plant) if [ -z "${4-}" ] && changed; then
           echo "make: $tree is not as it was planted, so it stays. (FRESH=1 plants anew.)"
       else
           plant
       fi;;
esac
