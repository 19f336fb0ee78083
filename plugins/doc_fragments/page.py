# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The options are in plugins/module_utils/_argspec.py, page().
    DOCUMENTATION = r"""
options:
  limit:
    description:
      - The largest number of VMs in RV(vms); RV(total) says how many there are.
      - If not set, 5,000, with a warning if there are more. V(0) returns all VMs.
      - AWX drops results above 700,000 characters.
    type: int
  offset:
    description: How many VMs are left out at the beginning; with O(limit), to read the result page by page.
    type: int
    default: 0
"""
