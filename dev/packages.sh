#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# packages.sh GROUP…: installs the system packages of the groups that are missing; does nothing when none is.
# A group is dev/packages/GROUP.txt; "rig" is tests/rigs/packages.txt (KVM and DHCP), "rigs" has those of the other rigs as well;
# "-p NAME why" adds one package. A line is "package  # why"; "one|other  # why" takes the first that the distribution has;
# "@command|package  # why" installs the package only where there is no such command; "package|-  # why" is left out on
# distributions other than Debian (Ubuntu has no package of Chromium).

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

names=() reasons=()
add_file() {
    local line name
    [ -f "$1" ] || return 0
    while IFS= read -r line; do
        case $line in '' | \#*) continue ;; esac
        read -r name _ <<<"$line"
        [[ " ${names[*]} " != *" $name "* ]] || continue
        names+=("$name")
        reasons+=("${line#*# }")
    done <"$1"
}
while [ $# -gt 0 ]; do
    case $1 in
        -p)
            names+=("$2")
            reasons+=("$3")
            shift 2
            ;;
        rig) add_file tests/rigs/packages.txt ;;
        rigs)
            for file in tests/rigs/packages.txt tests/rigs/*/packages.txt; do
                add_file "$file"
            done
            ;;
        *)
            [ -f "dev/packages/$1.txt" ] || die "no group of packages is called $1"
            add_file "dev/packages/$1.txt"
            ;;
    esac
    shift
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    # On systems other than Debian and Ubuntu only name the missing commands; the user installs them.
    missing=()
    has() { command -v "$1" >/dev/null || missing+=("$1"); }
    for name in "${names[@]}"; do
        case $name in
            libvirt-dev) pkg-config --exists libvirt 2>/dev/null || missing+=("the libvirt headers (pkg-config --exists libvirt)") ;;
            gcc | pkg-config | shellcheck | genisoimage | xorriso | dnsmasq | debootstrap) has "$name" ;;
            libarchive-tools) has bsdtar ;;
            p7zip-full) has 7z ;;
            golang-go) has go ;;
            bind9) has named ;;
            bind9-dnsutils) has nsupdate ;;
            postgresql) has initdb ;;
            mariadb-server) has mariadbd ;;
            dnsmasq-base) has dnsmasq ;;
            qemu-system-x86) has qemu-system-x86_64 ;;
            libvirt-clients) has virsh ;;
            libvirt-daemon | libvirt-daemon-system) has libvirtd ;;
            iproute2) has ip ;;
        esac
    done
    [ ${#missing[@]} -eq 0 ] && exit 0
    printf 'error: packages are installed for you on Debian and Ubuntu only. Missing here:\n' >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
fi

installed=" $(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null | awk '$1 == "installed" {printf "%s ", $2}')"
wanted=() why=()
for i in "${!names[@]}"; do
    IFS='|' read -ra choices <<<"${names[i]}"
    for choice in "${choices[@]}"; do
        case $choice in
            @*) command -v "${choice#@}" >/dev/null && continue 2 ;;
            -) grep -qx 'ID=debian' /etc/os-release || continue 2 ;;
            *) [[ $installed == *" $choice "* ]] && continue 2 ;;
        esac
    done
    wanted+=("${names[i]}")
    why+=("${reasons[i]}")
done
[ ${#wanted[@]} -eq 0 ] && exit 0

say "These packages are missing and will be installed with apt-get$([ "$(id -u)" -eq 0 ] || printf ' (through sudo)'):"
for i in "${!wanted[@]}"; do
    printf '    %-34s %s\n' "${wanted[i]}" "${why[i]}"
done
as_root true

# Debian starts a service as soon as it is installed. Our tests need only the programs, and start servers of their own.
# policy-rc.d prevents the start; an existing file is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'as_root rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
fi

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y "$@"; }
run_logged apt-update apt update || say "The package lists could not be brought up to date; going on with those that are here."
packages=()
for name in "${wanted[@]}"; do
    IFS='|' read -ra choices <<<"$name"
    chosen=${choices[-1]}
    for choice in "${choices[@]}"; do
        if [ -n "$(apt-cache --quiet=2 show --no-all-versions "$choice" 2>/dev/null)" ]; then
            chosen=$choice
            break
        fi
    done
    packages+=("$chosen")
done
run_logged apt-install apt install --no-install-recommends "${packages[@]}" ||
    die "apt-get could not install: ${packages[*]}"
say "Installed: ${packages[*]}"
