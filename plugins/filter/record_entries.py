# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: record_entries
short_description: Join VMs read from the hypervisor with the rules of a plan, for the NIC record
version_added: 0.1.0
description:
  - Takes VMs as M(vmops.external_dhcp.vm_ip_info) or M(vmops.external_dhcp.vm_power) return them, and adds the plan's rules to each NIC,
    in the form that M(vmops.external_dhcp.vm_nic_record) takes. NICs of VMs that M(vmops.external_dhcp.vm_power) has started get all their
    tries again.
  - VMs that were not found are left out.
author:
  - vmops maintainers (@vmops)
positional: plan
options:
  _input:
    description: RV(vmops.external_dhcp.vm_ip_info#module:vms) or RV(vmops.external_dhcp.vm_power#module:vms).
    type: list
    elements: dict
    required: true
  plan:
    description: The result of P(vmops.external_dhcp.vm_plan#filter).
    type: list
    elements: dict
    required: true
seealso:
  - plugin: vmops.external_dhcp.vm_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Put the VMs' NICs into the fetch queue
  vmops.external_dhcp.vm_nic_record:
    hypervisor_name: kvm01
    vms: "{{ found.vms | vmops.external_dhcp.record_entries(vms | vmops.external_dhcp.vm_plan(shared_networks)) }}"
    state: pending
"""

RETURN = r"""
_value:
  description: The option O(vmops.external_dhcp.vm_nic_record#module:vms).
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_plan import record_entries


class FilterModule:
    """Joins VMs with the rules of their NICs."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"record_entries": record_entries}
