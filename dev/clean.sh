#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Removes what make's targets made inside the checkout, after taking down the rigs of tests (a demonstration ends with make demo-down).

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
rigs_since=0
take_down_test_rigs
remove=(.build dist tests/output .pytest_cache .ruff_cache .mypy_cache .hypothesis .ansible .nox)
if [ -L .venv ]; then rm .venv; else remove+=(.venv); fi
# Rigs run as root and may leave files in .build that only root can delete.
rm -rf "${remove[@]}" 2>/dev/null || as_root rm -rf "${remove[@]}"
find . -name __pycache__ -not -path './node_modules/*' -prune -exec rm -rf {} +
