#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Every check of the sources that needs no other machine: style, playbooks and roles, documentation, changelog.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

failed=()
check() {
    local name=$1
    shift
    say "$name"
    run_logged "lint-${name%% *}" "$@" || failed+=("$name")
}

check "ruff check" ruff check --quiet --output-format concise .
check "ruff-format" ruff format --check --output-format concise .
mapfile -t powershell < <(git ls-files '*.ps1')
[ ${#powershell[@]} -eq 0 ] || check "powershell syntax" python dev/check_powershell.py "${powershell[@]}"
check "ansible-lint --profile production" ansible-lint --profile production --offline --strict --nocolor -q
check "antsibull-changelog lint" antsibull-changelog lint
# =self: the other collections of the ansible package are installed beside ours and take minutes to document; what is said of
# them is not checked
check "antsibull-docs lint-collection-docs" antsibull-docs lint-collection-docs --plugin-docs \
    --validate-collection-refs=self .

[ ${#failed[@]} -eq 0 ] || die "lint: $(printf '%s; ' "${failed[@]}")"
say "lint: no problem"
