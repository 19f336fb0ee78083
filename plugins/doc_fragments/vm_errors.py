# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The options are in plugins/module_utils/_argspec.py, vm_errors().
    DOCUMENTATION = r"""
options:
  ignore_vm_errors:
    description:
      - Whether the task ends well although single VMs failed; only the results have the errors then. It is for callers that go on with
        the other VMs and report the errors at their own end.
      - Errors that concern all VMs, such as a hypervisor that cannot be reached or a mistake in the options, fail the task in any
        case.
    type: bool
    default: false
"""
