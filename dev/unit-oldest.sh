#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs the unit tests on the oldest ansible-core that the collection supports, with the oldest Python for it that is found.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=dev/python.sh
. dev/python.sh

old=$build/venv-oldest
key=$(cat requirements*.txt dev/requirements-oldest.txt | sha256sum | cut -c1-16)
if [ "$(cat "$old/.external-dhcp-requirements" 2>/dev/null)" != "$key" ] || ! "$old/bin/python" -c '' 2>/dev/null; then
    python=$(find_python 3.11 3.12 3.13) || die "no complete CPython 3.11 to 3.13 found for ansible-core 2.18"
    dev/packages.sh build
    say "Making an environment with ansible-core 2.18 and $("$python" -V)"
    rm -rf "$old"
    run_logged venv-oldest "$python" -m venv "$old" || die "the virtual environment could not be made"
    run_logged pip-oldest "$old/bin/python" -m pip install --disable-pip-version-check -r dev/requirements-oldest.txt ||
        die "pip could not install dev/requirements-oldest.txt"
    printf '%s\n' "$key" >"$old/.external-dhcp-requirements"
fi
venv=$old
use_venv
say "unit tests with $(ansible --version | sed -n '1s/.*\[\(.*\)\].*/\1/p'), $(python -V)"
# tests/unit/guest is left out: it tests shell scripts, which do not depend on Ansible or Python.
python -m pytest -p no:cacheprovider --numprocesses auto -q -rs tests/unit --ignore tests/unit/guest "$@" </dev/null 2>&1 | tee "$build/log/unit-oldest.log"
