#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Measures branch coverage of the pure rooms by their own unit tests. pyproject.toml (tool.coverage) names the rooms and the least coverage.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

tests=tests/unit/plugins/module_utils
mkdir -p "$build/coverage"
dev/pytest.sh unit --numprocesses auto --cov --cov-report term --durations 0 --durations-min 60 \
    "$tests"/{_config_drive,_diagnosis,_dns,_guest_address,_nic_record} "$tests"/test_*.py "$tests"/_hypervisor/test_*_rules.py \
    tests/unit/plugins/modules/test_vm_{ip_fetch,nic_record}.py "$@"
