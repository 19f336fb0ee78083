#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# fresh.sh [SUITE/USER…]: `make demo`, `make demo-down` and `make test` in new Debian systems with nothing installed but git, make,
# python3, sudo and CA certificates, from a clone of what is committed here. Without arguments: bookworm and trixie, each as root and
# as an ordinary user with sudo; dev/fresh.sh trixie/user runs one. SKIP= goes to make test; TARGETS="demo" runs only that.
# Needs root (namespaces) and debootstrap. Packages come from the same sources as those of this machine's apt, pip and npm.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

[ "$(id -u)" -eq 0 ] || exec sudo --preserve-env=SKIP,TARGETS -- "$0" "$@"
dev/packages.sh -p debootstrap "makes the fresh systems"

fresh=$build/fresh
targets=${TARGETS:-demo demo-down test}

mirror() {
    # shellcheck disable=SC2016 # for apt to expand
    apt-get indextargets --format '$(SITE) $(REPO_URI) $(ORIGIN)' 2>/dev/null | awk '$3 == "Debian" && $2 !~ /security/ {print $2; exit}'
}

# make_base SUITE: the unpacked system, made once and kept; each run gets a copy.
make_base() {
    local base=$fresh/$1.base
    [ ! -e "$base.done" ] || return 0
    rm -rf "$base"
    mkdir -p "$fresh"
    say "Making a minimal Debian $1"
    run_logged "fresh-$1" debootstrap --variant=minbase --include=git,make,python3,sudo,ca-certificates "$1" "$base" "$(mirror)" ||
        die "debootstrap could not make Debian $1"
    touch "$base.done"
}

# A network may need its own certificates, mirrors and proxies: the new system gets this machine's settings of them.
take_network_settings() {
    local system=$1 suite=$2 file
    printf 'deb %s %s main\ndeb %s %s-updates main\n' "$(mirror)" "$suite" "$(mirror)" "$suite" >"$system/etc/apt/sources.list"
    for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/xdg/pip /root/.config/pip /root/.npmrc \
        /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf.d/99*; do
        [ -e "$file" ] || continue
        mkdir -p "$system$(dirname "$file")"
        rm -rf "${system:?}$file"
        cp -rL "$file" "$system$file"
    done
    cp -rL "$system/root/." "$system/home/tester/"
    chroot "$system" chown -R tester: /home/tester
}

# Runs inside the new mount and process namespaces. The new system becomes their root, so that a process that enters a rig's namespaces
# stays in it.
# shellcheck disable=SC2016 # expanded by the inner shell
enter='
set -e
system=$1 user=$2
shift 2
mount --bind "$system" "$system"
mount --make-private "$system"
cd "$system"
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs run
# Device files of its own, because packages change the owners of those in /dev.
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/net dev/pts dev/shm
for node in null zero full random urandom tty kvm fuse loop-control loop0 loop1 loop2 loop3 loop4 loop5 loop6 loop7 nbd0 net/tun; do
    [ ! -e "/dev/$node" ] || cp -a "/dev/$node" "dev/$node"
done
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mkdir -p outside
pivot_root . outside
umount -l /outside
rmdir /outside
cd /
exec su - "$user" -c "$*"
'

# run_one SUITE USER: everything in one new system.
run_one() {
    local suite=$1 user=$2 system=$fresh/$1-$2 home=/home/tester command target rc=0
    [ "$user" = user ] || home=/root
    make_base "$suite"
    rm -rf --one-file-system "$system"
    cp -a "$fresh/$suite.base" "$system"
    chroot "$system" useradd --create-home --shell /bin/bash tester
    printf 'tester ALL=(ALL) NOPASSWD: ALL\n' >"$system/etc/sudoers.d/tester"
    take_network_settings "$system" "$suite"
    git clone --quiet --no-local . "$system$home/external_dhcp"
    [ "$user" = root ] || chroot "$system" chown -R tester: "$home/external_dhcp"
    command='cd external_dhcp'
    for target in $targets; do
        command+=" && { echo; echo \"---- make $target\"; ${SKIP:+SKIP=\"$SKIP\" }make $target </dev/null; }"
    done
    # Removes what a failed run has left on this machine's network.
    [[ $targets != *demo* ]] || command="($command); rc=\$?; make -C external_dhcp demo-down >/dev/null 2>&1 </dev/null; exit \$rc"
    [ "$user" = root ] || user=tester
    say "$suite as $user: make $targets"
    unshare --mount --pid --fork --kill-child -- bash -c "$enter" enter "$system" "$user" "$command" || rc=$?
    rm -rf --one-file-system "$system"
    return "$rc"
}

[ $# -gt 0 ] || set -- bookworm/root bookworm/user trixie/root trixie/user
summary=()
failed=0
for word in "$@"; do
    [[ $word =~ ^[a-z]+/(root|user)$ ]] || die "$word is not SUITE/root or SUITE/user, such as bookworm/user"
    started=$SECONDS
    log=$build/log/fresh-${word/\//-}.log
    if (run_one "${word%/*}" "${word#*/}") 2>&1 | tee "$log"; then
        summary+=("$word passed in $((SECONDS - started)) s")
    else
        summary+=("$word FAILED after $((SECONDS - started)) s, see ${log#"$root"/}")
        failed=1
    fi
done
printf '\n==== fresh systems\n'
printf '%s\n' "${summary[@]}"
exit "$failed"
