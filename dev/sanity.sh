#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# All of ansible-test's sanity tests, without an ignore file. Words given go to ansible-test (such as --test validate-modules).

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

for file in tests/sanity/ignore*.txt; do
    [ -e "$file" ] && die "$file: this collection has no exceptions; mend the cause"
done
dev/packages.sh sanity

# ansible-test must stand in a real folder of the full name, so it gets a copy of what git knows or would take.
tree=$build/sanity/ansible_collections/vmops/external_dhcp
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -coz --exclude-standard | tar --ignore-failed-read --null -T - -cf - 2>/dev/null | tar -xf - -C "$tree"
git init --quiet "$tree" # without it ansible-test asks the checkout around it, which ignores this folder: no files, no tests

# It downloads a script to install pip in its own environments, from one fixed host, unless the script is in its cache.
# Python brings a pip of its own that does as well, on every network where pip works at all.
internals=$(python -c 'import ansible_test, os; print(os.path.dirname(ansible_test.__file__))')/_internal/python_requirements.py
mkdir -p ~/.ansible/test/cache
sed -n "s/.*pip='\([0-9.]*\)'.*/\1/p" "$internals" | sort -u | while read -r pip_version; do
    script=~/.ansible/test/cache/get_pip_${pip_version//./_}.py
    [ -e "$script" ] || cp dev/get_pip.py "$script"
done

log=$build/log/sanity.log
version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
say "ansible-test sanity with $(ansible --version | sed -n '1s/.*\[\(.*\)\].*/\1/p'), Python $version (some minutes the first time, when it makes its environments)"
rc=0
(cd "$tree" && ansible-test sanity --venv --python "$version" --color no "$@") </dev/null 2>&1 | tee "$log" |
    awk '/^Running sanity test / {gsub(/"/, "", $4); printf "%s ", $4; fflush(); n++} END {if (n) print ""}' || rc=$?
if [ "$rc" -ne 0 ]; then
    grep -E '^(ERROR|FATAL)' "$log" >&2 || tail -n 30 "$log" >&2
    die "ansible-test sanity failed; the whole output is in ${log#"$root"/}"
fi

# A missing program is only a warning to ansible-test, and the test it is for is skipped.
missing=$(sed -n 's/^WARNING: Required program "\(.*\)" not found.*/\1/p' "$log" | sort -u)
for program in $missing; do
    [ "$program" = pwsh ] || die "ansible-test skipped a test because $program is missing"
    if [ -n "$(git ls-files '*.ps1')" ]; then
        say "Not run: pslint, for want of PowerShell (pwsh); make lint checks the syntax of the .ps1 files."
    fi
done
ran=$(grep -c '^Running sanity test' "$log") || die "ansible-test found nothing to test"
say "sanity: no problem in $ran tests"
