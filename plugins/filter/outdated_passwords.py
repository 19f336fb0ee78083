# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: outdated_passwords
short_description: List the VMs whose password in the plan is not the new one
version_added: 0.1.0
description:
  - After a reset the new password must be changed where the plan has it from, because the next deployment puts the plan's on the drive.
author:
  - vmops maintainers (@vmops)
positional: plan
options:
  _input:
    description: The new passwords by VM name.
    type: dict
    required: true
  plan:
    description: The result of P(vmops.external_dhcp.vm_plan#filter).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show whose password must be changed in the inventory
  ansible.builtin.debug:
    msg: "{{ vm_passwords | vmops.external_dhcp.outdated_passwords(vms | vmops.external_dhcp.vm_plan(shared_networks)) }}"
"""

RETURN = r"""
_value:
  description: Names of VMs.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_jobs import outdated


class FilterModule:
    """Compares passwords with the plan's."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"outdated_passwords": outdated}
