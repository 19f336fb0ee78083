#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs all of ansible-test's sanity tests, without an ignore file. Arguments go to ansible-test (such as --test validate-modules).

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

for file in tests/sanity/ignore*.txt; do
    [ -e "$file" ] && die "$file: this collection has no exceptions; mend the cause"
done
dev/packages.sh sanity

# ansible-test needs a real folder with the collection's full name, so it gets a copy of the files that git has or would add.
tree=$build/sanity/ansible_collections/vmops/external_dhcp
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -coz --exclude-standard | tar --ignore-failed-read --null -T - -cf - 2>/dev/null | tar -xf - -C "$tree"
git init --quiet "$tree" # otherwise ansible-test asks the checkout around it, which ignores this folder, and finds no files to test

# Unless its cache has it, ansible-test downloads a script from one fixed host, which installs pip in its environments.
# dev/get_pip.py installs Python's own pip instead, which works on every network where pip works at all.
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
        say "Not run: pslint, because PowerShell (pwsh) is missing; make lint checks the syntax of the .ps1 files."
    fi
done
ran=$(grep -c '^Running sanity test' "$log") || die "ansible-test found nothing to test"
say "sanity: no problem in $ran tests"
