#!/bin/bash
# distros.sh RELEASE ...
#
# Does what the README says on releases of Debian as they are freshly installed: bootstraps
# each with little more than apt-get and make, once, into build/distros/RELEASE, and runs
# each command in a copy of that, as an ordinary user who has sudo and a copy of HEAD. What
# is said goes to build/distros/RELEASE.log; a table comes at the end.
#
# Each command has a namespace of its own, in which the copy's /proc and /dev are mounted.
# So when we end, however we do, mounts and processes end with us.

set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
COMMANDS=("make setup run" "make setup-book test")
PACKAGES="gcc binutils gnu-efi qemu-system-x86 gdb pandoc"
D=build/distros

if [ "$(id -u)" = 0 ]; then root=; else root=sudo; fi
for tool in git debootstrap unshare $root; do
    PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null ||
        { echo "make test-distros: needs root's rights, or sudo, and debootstrap; no $tool here"
          exit 1; }
done

# What this machine's own apt-get asks, or, where that has no Debian, debootstrap's choice.
mirror()
{
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian //p' | head -n 1
}

bootstrap()
{
    local proxy=${http_proxy:-$(apt-config shell p Acquire::http::Proxy | cut -d\' -f2)}

    [ ! -e $D/$1/.whole ] || return 0
    $root rm -rf $D/$1
    $root env http_proxy="$proxy" PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase \
        --include=sudo,make,ca-certificates $1 $D/$1 $(mirror)
    apt-config dump Acquire | sed -n '/[Pp]roxy\|Valid-Until/p' |
        $root tee $D/$1/etc/apt/apt.conf.d/as-here
    $root touch $D/$1/.whole
}

# What runs as root, in the namespace: inside RELEASE COMMAND.
inside()
{
    local copy=$D/$1.copy dev=$D/$1.copy/dev
    mount -t proc proc $copy/proc
    mount -t sysfs -o ro sys $copy/sys
    mount -t tmpfs -o mode=755 dev $dev
    cp -a /dev/{null,zero,full,random,urandom,tty} $dev
    mkdir $dev/{pts,shm}
    mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 pts $dev/pts
    mount -t tmpfs shm $dev/shm
    ln -s pts/ptmx $dev/ptmx
    ln -s /proc/self/fd $dev/fd
    for n in 0:stdin 1:stdout 2:stderr; do ln -s fd/${n%:*} $dev/${n#*:}; done
    mount --bind $D/$1.debs $copy/var/cache/apt/archives
    cp -L /etc/resolv.conf $copy/etc
    echo "127.0.0.1 localhost $(uname -n)" >$copy/etc/hosts
    chroot $copy useradd -m -s /bin/bash student
    echo "student ALL=(ALL) NOPASSWD: ALL" >$copy/etc/sudoers.d/student
    mkdir $copy/srv/rustica
    tar -C $copy/srv/rustica -xf $D/HEAD.tar
    chroot $copy chown -R student: /srv/rustica
    exec chroot $copy su - student -c "cd /srv/rustica && $2 </dev/null"
}

# try RELEASE COMMAND: runs the command in a fresh copy.
try()
{
    $root rm -rf $D/$1.copy
    $root cp -a $D/$1 $D/$1.copy
    $root unshare --mount --pid --fork --kill-child \
        bash -euc "D=$D; $(declare -f inside); inside $1 '$2'" 2>&1
}

version()
{
    $root chroot $D/$1.copy dpkg-query -W -f '${Version}' $2 2>/dev/null |
        sed 's/^.*://; s/[-+].*//' || echo -
}

mkdir -p $D
git archive -o $D/HEAD.tar HEAD
table=$(printf '%-10s' release ${PACKAGES/-system-x86/})
table+=$(printf '  %s' "${COMMANDS[@]}" passed failed minutes)
status=0
for release in "$@"; do
    log=$D/$release.log
    begin=$SECONDS row=
    echo "$release: being bootstrapped, if it is not there yet; all is told in $log"
    mkdir -p $D/$release.debs
    bootstrap $release >$log 2>&1 || { status=1; table+=$'\n'"$release: no bootstrap"; continue; }
    for command in "${COMMANDS[@]}"; do
        echo "$release: $command"
        result=ok
        try $release "$command" | tee -a $log | { grep -a --line-buffered '^FAILED' || :; } ||
            status=1 result=FAILED
        row+=$(printf "  %${#command}s" $result)
    done
    versions=$(for p in $PACKAGES; do printf '%-10.9s' "$(version $release $p)"; done)
    row+=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' $log | tail -n 1 |
        { read -r passed failed || :; printf '  %6s  %6s' "${passed:--}" "${failed:--}"; })
    table+=$'\n'$(printf '%-10s%s%s  %7d' $release "$versions" "$row" $(((SECONDS - begin) / 60)))
    $root rm -rf $D/$release.copy
done
echo "$table"
exit $status
