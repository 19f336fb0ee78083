#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# pytest.sh unit|integration [pytest's arguments]: runs that folder of tests, or the tests in it that the arguments name. Rigs that the
# tests bring up are taken down at the end.
# pytest.sh integration-kvm: runs the integration tests of the KVM rig alone, with a log of their own.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv
kind=$1
folder=tests/${kind%-kvm}
shift
[[ $kind != *-kvm ]] || set -- -m kvm "$@"

if [ "$folder" = tests/integration ]; then
    [ -d "$folder" ] || die "there is no $folder"
    dev/packages.sh rigs test
    [ "$kind" = integration-kvm ] || dev/awx_collection.sh
    own_rig_dir
    trap take_down_test_rigs EXIT
    trap 'exit 130' INT TERM HUP
fi
dev/cloud_init.sh
# pytest-ansible, if installed, would fill the checkout with links; tests/unit/conftest.py does its work.
[[ " $*" == *" tests/"* ]] || set -- "$folder" "$@"
run=()
if [ "$folder" = tests/integration ] && [ "$(id -u)" -ne 0 ]; then
    say "These tests run as root (through sudo), because they read files that only libvirt and the guests may read."
    run=(sudo -H -- env "PATH=$PATH" "LC_ALL=$LC_ALL" "ANSIBLE_COLLECTIONS_PATH=$ANSIBLE_COLLECTIONS_PATH" "ANSIBLE_CONFIG=$ANSIBLE_CONFIG"
        "CLOUD_INIT_ROOT=$CLOUD_INIT_ROOT" PYTHONDONTWRITEBYTECODE=1)
    for name in VMOPS_RIG_DIR VMOPS_TEST_KVM_RIG VMOPS_TEST_DISTRIBUTION VMOPS_TEST_IMAGE CLOUDBASE_INIT_PYTHON; do
        [ -z "${!name:-}" ] || run+=("$name=${!name}")
    done
fi
"${run[@]}" python -m pytest -p no:pytest-ansible -p no:cacheprovider -q -rs --durations 15 "$@" </dev/null 2>&1 | tee "$build/log/$kind.log"
