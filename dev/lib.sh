# shellcheck shell=bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Sourced by the scripts of this folder: paths, messages, and running noisy commands.

set -euo pipefail
export LC_ALL=C.UTF-8

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/.build
mkdir -p "$build/log"
cd -- "$root"

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# run_logged NAME COMMAND…: output goes to .build/log/NAME.log; its end is shown only if the command fails.
run_logged() {
    local log=$build/log/$1.log
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        printf '%s\n' "--- the end of ${log#"$root"/}" >&2
        tail -n 40 "$log" >&2
        return 1
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || die "this needs root and sudo is not installed; as root, run: $*"
        sudo -- "$@"
    fi
}

# venv: $VENV if given, else .venv of the checkout; an absolute path either way
venv=${VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$root/$venv ;; esac

collection_version() { sed -n 's/^version: *//p' galaxy.yml; }

# The collection under its full name, whatever the checkout's folder is called. Relative, so that the checkout can move.
link_collection() {
    local parent=$build/collections/ansible_collections/vmops
    mkdir -p "$parent"
    ln -sfn ../../../.. "$parent/external_dhcp"
}

# The environment of everything that uses the virtual environment
use_venv() {
    [ -x "$venv/bin/ansible-playbook" ] || die "no virtual environment in $venv: run make venv first"
    link_collection
    # An ordinary user of Debian has no sbin in PATH, and mkfs, losetup and dnsmasq are there.
    export PATH=$venv/bin:$PATH:/usr/sbin:/sbin
    export ANSIBLE_COLLECTIONS_PATH=$build/collections
    export ANSIBLE_CONFIG=$root/ansible.cfg
    export CLOUD_INIT_ROOT=$build/cloud-init # filled by dev/cloud_init.sh: usr/lib/python3/dist-packages/cloudinit, …
    unset PYTHONPATH PYTHONHOME
}

# Rigs have names (tests/rigs/*/rig up --name NAME) and keep their state in VMOPS_RIG_DIR. A run of integration tests has a folder
# of its own, so that two runs on one machine do not disturb each other; with VMOPS_TEST_KVM_RIG it uses a rig that is up.
own_rig_dir() {
    [ -n "${VMOPS_RIG_DIR:-}${VMOPS_TEST_KVM_RIG:-}" ] || export VMOPS_RIG_DIR=/var/tmp/vmops-it-$$
}

# Takes down rigs of integration tests and measurements that were stopped and could not do so themselves. Their names begin with "it". Rigs
# with other names, and those that are older than this run (rigs_since, in seconds), are somebody else's.
rigs_since=$(date +%s)
take_down_test_rigs() {
    local state rig kind name places=("${VMOPS_RIG_DIR:-}")
    [ -n "${VMOPS_RIG_DIR:-}" ] || places=(/var/tmp/vmops-external-dhcp "/var/tmp/vmops-external-dhcp-$(id -u)" /var/tmp/vmops-it-*)
    for state in $(printf '%s/it*\n' "${places[@]}"); do
        [ -d "$state" ] || continue
        [ "$(stat -c %W "$state")" -ge "$rigs_since" ] || continue
        for rig in tests/rigs/*/rig; do
            kind=$(basename "$(dirname "$rig")")
            name=$(basename "$state")
            name=${name%-"$kind"}
            if [ -d "$state" ] && VMOPS_RIG_DIR=$(dirname "$state") "$rig" status --name "$name" >/dev/null 2>&1 </dev/null; then
                say "taking down $rig $name"
                VMOPS_RIG_DIR=$(dirname "$state") "$rig" down --name "$name" </dev/null || printf 'error: %s down --name %s failed\n' "$rig" "$name" >&2
            fi
        done
    done
    if [ "${VMOPS_RIG_DIR:-}" = "/var/tmp/vmops-it-$$" ] && [ -d "$VMOPS_RIG_DIR" ]; then
        as_root find "$VMOPS_RIG_DIR" -depth -type d -empty -delete # folders that are not empty are still in use
    fi
}
