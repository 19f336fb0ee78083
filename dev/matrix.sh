#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs the tests of the support matrix, and writes docs/matrix.md from those that passed; fails if one did not.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

# cloudbase-init needs other versions of libraries than the collection, so it gets an environment of its own.
if [ -z "${CLOUDBASE_INIT_PYTHON:-}" ]; then
    export CLOUDBASE_INIT_PYTHON=$build/cloudbase-init/bin/python
    [ -x "$CLOUDBASE_INIT_PYTHON" ] || python -m venv "$build/cloudbase-init"
    run_logged cloudbase-init "$CLOUDBASE_INIT_PYTHON" -m pip install cloudbase-init setuptools || die "cloudbase-init cannot be installed"
fi

export VMOPS_TEST_DISTRIBUTION=1 # also the tests that take minutes

outcomes=$build/matrix.jsonl
: >"$outcomes"
failed=0
for kind in unit integration; do
    mapfile -t files < <(grep -rlF 'pytest.mark.matrix(' "tests/$kind" --include='test_*.py' | sort)
    dev/pytest.sh "$kind" -m matrix --matrix "$outcomes" "${files[@]}" || failed=1
done
python tests/matrix.py "$outcomes" >"$build/matrix.md"
mv "$build/matrix.md" docs/matrix.md
say "docs/matrix.md is written$([ "$failed" = 0 ] || printf ', without the tests that did not pass')"
exit "$failed"
