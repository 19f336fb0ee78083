#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Installs the Python packages of each image of ee/, as its Containerfile does, into an empty environment of every supported Python that is
# found. pip must find no conflict, and each package must import.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=dev/python.sh
. dev/python.sh
use_venv
dev/packages.sh build

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM HUP

# run_logged looks at the last command of these only, so that each is tied to the next.

# make_requirements DEFINITION CONTEXT: CONTEXT/python.txt, and CONTEXT/first.txt, which the image installs before it
make_requirements() {
    local context=$2 given=()
    ansible-builder create --file "$1" --context "$context" --output-filename Containerfile || return
    sed -n 's/^ARG ANSIBLE_INSTALL_REFS="\(.*\)"/\1/p' "$context/Containerfile" | tr ' ' '\n' >"$context/first.txt"
    [ ! -e "$context/_build/requirements.txt" ] || given+=(--user-pip "$context/_build/requirements.txt")
    [ ! -e "$context/_build/exclude-requirements.txt" ] || given+=(--exclude-pip-reqs "$context/_build/exclude-requirements.txt")
    ansible-builder introspect "${given[@]}" --write-pip "$context/python.txt" "$build/collections"
}

# install_and_import PYTHON CONTEXT
install_and_import() {
    local python=$place/venv/bin/python
    "$1" -m venv --clear "$place/venv" &&
        "$python" -m pip install --disable-pip-version-check --requirement "$2/first.txt" &&
        "$python" -m pip install --disable-pip-version-check --requirement "$2/python.txt" &&
        "$python" -m pip check &&
        "$python" - "$2/first.txt" "$2/python.txt" <<'PY'
import fileinput, importlib, re
from importlib.metadata import packages_distributions

def normal(name):
    return re.sub("[-_.]+", "-", name).lower()

wanted = {normal(re.match("[A-Za-z0-9._-]+", line)[0]) for line in fileinput.input() if line.strip()}
modules = {module: wanted.intersection(map(normal, owners)) for module, owners in packages_distributions().items()}
for module in filter(modules.get, modules):
    importlib.import_module(module)
lacking = wanted.difference(*modules.values())
assert not lacking, lacking
PY
}

for definition in ee/*/*-environment.yml; do
    name=$(basename "$(dirname "$definition")")
    run_logged "ee-$name" make_requirements "$definition" "$place/$name" || die "ansible-builder does not take $definition"
done
found=0
for version in 3.11 3.12 3.13 3.14; do
    python=$(find_python "$version") || {
        say "Python $version: not found, or incomplete"
        continue
    }
    found=1
    for definition in ee/*/*-environment.yml; do
        name=$(basename "$(dirname "$definition")")
        run_logged "ee-$name-$version" install_and_import "$python" "$place/$name" || die "$name cannot be made with $("$python" -V)"
        say "$name: $(grep -c . "$place/$name/python.txt") packages, with $("$python" -V)"
    done
done
[ "$found" = 1 ] || die "no complete CPython 3.11 to 3.14 found"
