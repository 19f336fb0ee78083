#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes the virtual environment .venv with everything a developer or a test needs, or brings it up to date.
#   PYTHON=…  the interpreter to use; otherwise the newest that is complete (3.14 down to 3.11)
#   VENV=…    an existing environment, which is used as it is and never changed

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=dev/python.sh
. dev/python.sh

link_collection
key=$(cat requirements*.txt | sha256sum | cut -c1-16)
stamp=$venv/.external-dhcp-requirements

satisfied() { [ -x "$venv/bin/ansible-playbook" ] && "$venv/bin/python" dev/check_requirements.py requirements-dev.txt; }

# Usually nothing has changed since last time.
if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi
# An environment that this script has not made is only checked.
if [ -n "${VENV:-}" ] || [ -L "$venv" ]; then
    satisfied || die "$venv was not made by this checkout and lacks what is named above: install it there, or unset VENV, or remove the link"
    printf '%s\n' "$key" >"$stamp" 2>/dev/null || true
    exit 0
fi

# Debian splits Python into several packages; these complete the newest one.
debian_python_packages() {
    local version
    if [[ $(describe_python /usr/bin/python3) =~ ^3\.1[1-4]\  ]]; then
        printf 'python3-venv python3-dev\n'
        return
    fi
    for version in 3.14 3.13 3.12 3.11; do
        if [ -n "$(apt-cache --quiet=2 show --no-all-versions "python$version-venv" 2>/dev/null)" ]; then
            printf 'python%s-venv python%s-dev\n' "$version" "$version"
            return
        fi
    done
    return 1
}

if [ -n "${PYTHON:-}" ]; then
    found=$(describe_python "$PYTHON") || die "PYTHON=$PYTHON does not run"
    [[ $found =~ ^3\.1[1-4]\ [^\ ]+$ ]] || die "PYTHON=$PYTHON cannot be used (version, path, what it lacks: $found); 3.11 to 3.14 with venv and headers are needed"
    python=$PYTHON
elif ! python=$(find_python 3.14 3.13 3.12 3.11); then
    if command -v apt-get >/dev/null && packages=$(debian_python_packages); then
        read -r venv_package dev_package <<<"$packages"
        dev/packages.sh -p "$venv_package" "makes virtual environments" -p "$dev_package" "headers, to compile libvirt-python"
    fi
    python=$(find_python 3.14 3.13 3.12 3.11) || die "no complete CPython 3.11 to 3.14 found (with venv, ensurepip and headers): install one, or name it with PYTHON=/path/to/python"
fi
dev/packages.sh build

if [ -x "$venv/bin/python" ] && [ -z "${PYTHON:-}" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    say "Bringing $(basename "$venv") up to date ($("$venv/bin/python" -V))"
else
    say "Making $(basename "$venv") with $("$python" -V) ($python)"
    rm -rf "$venv"
    run_logged venv "$python" -m venv "$venv" || die "the virtual environment could not be made"
fi
say "Installing requirements-dev.txt, Ansible among it: a few minutes the first time"
started=$SECONDS
run_logged pip "$venv/bin/python" -m pip install --disable-pip-version-check --upgrade -r requirements-dev.txt ||
    die "pip could not install the requirements"
satisfied || die "the requirements are still not met"
printf '%s\n' "$key" >"$stamp"
say "Ready after $((SECONDS - started)) s: $("$venv/bin/ansible" --version | sed -n 1p)"
