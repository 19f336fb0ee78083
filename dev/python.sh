# shellcheck shell=bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Sourced: finds Python interpreters that can be the base of a virtual environment.

# describe_python PYTHON: "version path what-it-lacks…"; fails for one that does not run (a pyenv shim, a wrong file)
describe_python() {
    "$1" - 2>/dev/null <<'PY'
import os, sys, sysconfig
lacks = []
try:
    import ensurepip, venv
except ImportError:
    lacks.append("venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    lacks.append("headers")
if sys.implementation.name != "cpython":
    lacks.append("CPython")
print("%d.%d" % sys.version_info[:2], sys.executable, *lacks)
PY
}

# find_python VERSION…: path of the first complete interpreter, in the order of the versions given (3.13 3.12 …)
find_python() {
    local version candidate found
    for version in "$@"; do
        while IFS= read -r candidate; do
            found=$(describe_python "$candidate") || continue
            if [[ $found =~ ^$version\ [^\ ]+$ ]]; then
                printf '%s\n' "$candidate"
                return 0
            fi
        done < <(
            type -ap "python$version" python3 || true
            ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python3 2>/dev/null || true
        )
    done
    return 1
}
