#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs the measurements in tests/bench; each prints its table. Arguments choose some by name, such as: bench.sh kvm record

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv
dev/packages.sh rigs test
trap take_down_test_rigs EXIT
trap 'exit 130' INT TERM HUP

failed=()
for script in tests/bench/bench_*.py; do
    [ -e "$script" ] || die "there is no measurement in tests/bench"
    name=$(basename "$script" .py)
    name=${name#bench_}
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    printf '\n== %s\n' "$name"
    python "$script" </dev/null || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || die "failed: ${failed[*]}"
