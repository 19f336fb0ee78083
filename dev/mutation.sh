#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Changes the code named in pyproject.toml (tool.mutmut) a little at a time, and lists the changes that no unit test notices.
# Arguments choose mutants by name, such as '*queue*'. To see one: cd .build/mutation && mutmut show NAME

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

# mutmut identifies a module by its path, so the collection is here under its full name. In mutants/ mutmut makes its own copy, where the
# tests find the collection through the link. With the copy of an earlier run mutmut leaves out unchanged functions.
place=$build/mutation
tree=ansible_collections/vmops/external_dhcp
rm -rf "${place:?}/"{tests,"$tree"}
mkdir -p "$place/$tree" "$place/mutants/.build/collections/ansible_collections/vmops"
cp -a plugins galaxy.yml meta "$place/$tree"
cp -a tests pyproject.toml "$place"
ln -sfn "../../../../$tree" "$place/mutants/.build/collections/$tree"
cd -- "$place"
say "mutmut: some minutes; .build/log/mutation.log tells how far it is"
nice mutmut run "$@" >"$build/log/mutation.log" 2>&1 </dev/null || {
    tail -n 40 "$build/log/mutation.log" >&2
    die "mutmut failed"
}
mutmut results | grep -v ': not checked$' || say "mutmut: nothing survived"
tr '\r' '\n' <"$build/log/mutation.log" | grep -E '^[^ ]+ +[0-9]+/[0-9]+ ' | tail -n 1
