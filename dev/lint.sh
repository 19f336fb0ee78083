#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs every check of the sources that needs no other machine. antsibull-nox makes most of them, as antsibull-nox.toml says: style,
# YAML, documentation, licences, action groups. This script adds the checks that it does not make, or cannot make offline.
# lint.sh [check…]: only these, by the first words of their names, such as mypy.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

only=" $* "
ran=()
failed=()
check() {
    local name=$1
    shift
    [[ $only == "  " || $only == *" ${name%% *} "* ]] || return 0
    ran+=("${name%% *}")
    say "$name"
    run_logged "lint-${name%% *}" "$@" || failed+=("$name")
}

# nox installs its environments once into .nox and uses them again until `make clean`.
check "antsibull-nox" nox --reuse-venv=yes --session lint docs-check license-check extra-checks
check_types() (
    cd "$build/collections"
    MYPYPATH=. mypy --config-file "$root/pyproject.toml" ansible_collections/vmops/external_dhcp/{plugins,extensions}
)
check "mypy (strict, plugins/ and extensions/)" check_types
mapfile -t powershell < <(git ls-files '*.ps1')
[ ${#powershell[@]} -eq 0 ] || check "powershell syntax" python dev/check_powershell.py "${powershell[@]}"
check "ansible-lint --profile production" ansible-lint --profile production --offline --strict --nocolor -q
check "workflows" check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check "antsibull-changelog lint" antsibull-changelog lint

unknown=$(comm -23 <(printf '%s\n' "$@" | sort -u) <(printf '%s\n' "${ran[@]}" | sort -u) | xargs)
[ -z "$unknown" ] || die "lint: there is no check $unknown"
[ ${#failed[@]} -eq 0 ] || die "lint: $(printf '%s; ' "${failed[@]}")"
say "lint: no problem"
