# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nic_rows
short_description: Join VMs read from the hypervisor with their NICs in the record, one row per NIC
version_added: 0.1.0
description:
  - Joins the results of M(vmops.external_dhcp.vm_ip_info) and M(vmops.external_dhcp.vm_nic_record_info), by VM id and MAC.
  - Feed the rows to P(vmops.external_dhcp.nic_table#filter), or to P(vmops.external_dhcp.nic_query#filter) for a question of your own.
author:
  - vmops maintainers (@vmops)
positional: record
options:
  _input:
    description: RV(vmops.external_dhcp.vm_ip_info#module:vms); for VMs that would be made, entries of
      RV(vmops.external_dhcp.vm#module:vms) from check mode.
    type: list
    elements: dict
    required: true
  record:
    description: RV(vmops.external_dhcp.vm_nic_record_info#module:nics).
    type: list
    elements: dict
    required: true
seealso:
  - plugin: vmops.external_dhcp.nic_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Names of the VMs that have an address
  ansible.builtin.debug:
    msg: "{{ found.vms | vmops.external_dhcp.nic_rows(recorded.nics) | selectattr('ip4_address') | map(attribute='vm') }}"
"""

RETURN = r"""
_value:
  description:
    - Rows with V(vm), V(power_state), V(device), V(mac), V(network), V(address) (the one that counts, by the NIC's order of
      address families), V(ip4_address), V(ip6_addresses), V(reason), V(source), V(last_seen), V(fetch_state), V(tries_left) and
      V(attention) (whether it needs attention).
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._nic_table import nic_rows


class FilterModule:
    """Joins hypervisor and record."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"nic_rows": nic_rows}
