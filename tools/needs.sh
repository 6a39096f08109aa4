#!/bin/bash
# needs.sh setup|doctor TOOL:PACKAGE ...
#
# What must be installed: a command, or a file's path, and the package of Debian's and
# Ubuntu's that has it. `make setup` installs what is missing; `make doctor` says what is
# here and what is missing, where those behind `CC=tcc:` and `book:` may be.

set -euo pipefail

here() { command -v "$1" || { [ -e "$1" ] && echo "$1"; }; }

# Not every release has every package.
offered() { [ "$(apt-cache show $1 2>/dev/null)" ]; }

divide()
{
    local p
    packages= absent=
    for p in $wanted; do
        if offered $p; then packages+=" $p"; else absent+=" $p"; fi
    done
}

setup()
{
    local sudo= t
    wanted=$(for n in "$@"; do here "${n%:*}" >/dev/null || echo ${n#*:}; done | sort -u)
    wanted=${wanted//$'\n'/ }
    [ "$wanted" ] || { echo "Nothing to install: all that Rustica needs is here."; exit 0; }
    [ $(id -u) = 0 ] || sudo=sudo
    for t in apt-get $sudo; do
        command -v $t >/dev/null ||
            { echo "make setup: no $t here. Please install: $wanted"; exit 1; }
    done
    divide
    if [ "$packages" ] || ! offered make; then $sudo apt-get -qq update; divide; fi
    [ ! "$absent" ] || echo "This release has no package$absent: we go on without"
    [ "$packages" ] || { echo "Nothing to install"; exit 0; }
    echo "Installing$packages"
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install --no-install-recommends $packages >/dev/null
}

doctor()
{
    local n t path version only= bad=0
    for n in "$@"; do
        t=${n%:*} version=
        if [ -z "${n#*:}" ]; then
            only=$t
            continue
        elif path=$(command -v "$t"); then
            version=$("$t" --version </dev/null 2>&1 | grep -am1 '[0-9][.][0-9]') || :
        elif [ -e "$t" ]; then
            path=$t
        elif [ "$only" = CC=tcc ]; then
            path="not here, only CC=tcc needs it"
        elif [ "$only" ]; then
            path="not here, only the book needs it: 'make setup-book'"
        else
            bad=1 path="MISSING, in the package ${n#*:}"
        fi
        printf '%-20s %-30s %s\n' "${t##*/}" "$path" "$version"
    done
    [ $bad = 0 ] || { echo "make doctor: 'make setup' installs what is missing."; exit 1; }
}

"$@"
