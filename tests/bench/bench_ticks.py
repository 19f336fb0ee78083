#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Six ticks of one play over four hypervisors, one silent and one refusing, with a record of each kind: which looks are made, and when."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

command = [ROOT / "dev" / "pytest.sh", "integration", "tests/integration/test_four_hypervisors.py", "-s"]
sys.exit(subprocess.run(command, env={**os.environ, "VMOPS_TEST_TICKS": "6"}, cwd=ROOT, check=False).returncode)
