# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: xe_networks
short_description: Read the addresses of one XenServer guest from the text of C(xe)
version_added: 0.1.0
description:
  - Turns what C(xe vm-list params=networks) or C(xe vm-param-get param-name=networks) prints for one VM into its interfaces and
    their addresses.
  - Use it only if you have this text already. M(vmops.external_dhcp.vm_ip_info) asks XAPI itself, for all VMs at once, and knows
    which entries are stale.
author:
  - vmops maintainers (@vmops)
options:
  _input:
    description: The text for one VM, with or without the label, also in the form of C(--minimal).
    type: str
    required: true
seealso:
  - module: vmops.external_dhcp.vm_ip_info
"""

EXAMPLES = r"""
- name: Ask a XenServer host over SSH
  ansible.builtin.raw: xe vm-list name-label=web1 params=networks
  register: printed
  changed_when: false

- name: Show the address of its first NIC
  ansible.builtin.debug:
    msg: "{{ (printed.stdout | vmops.external_dhcp.xe_networks | selectattr('device', 'eq', 0) | first).ip4_address }}"
"""

RETURN = r"""
_value:
  description: One entry for each interface that the guest reported, in the order of their numbers.
  type: list
  elements: dict
  contains:
    device:
      description:
        - The number that XAPI shows, which with current guest agents is the VIF's device.
        - Null if it cannot be a VIF's device, as with old guest agents.
      type: int
    mac:
      description: The MAC address if the guest agent names the interface by it, else null.
      type: str
    ip4_address:
      description: The first IPv4 address that is neither loopback nor link-local, or null.
      type: str
    ip6_addresses:
      description: The IPv6 addresses that are neither loopback nor link-local.
      type: list
      elements: str
    addresses:
      description: All valid addresses, IPv6 in its short form.
      type: list
      elements: str
  sample:
    - device: 0
      mac: null
      ip4_address: 10.99.0.60
      ip6_addresses: []
      addresses: [10.99.0.60, "fe80::216:3eff:fe00:100"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import is_usable, parse_address
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.xe_networks import (
    XeTextError,
    parse_xe_networks,
    readings_of,
)


def xe_networks(text: t.Any) -> list[dict[str, t.Any]]:
    if not isinstance(text, str):
        raise AnsibleFilterError(f"xe_networks takes the text that xe printed, not {type(text).__name__}")
    try:
        readings = readings_of(parse_xe_networks(text))
    except XeTextError as error:
        raise AnsibleFilterError(f"xe_networks: {error}") from error
    interfaces = []
    for reading in readings:
        # Everything shown has been parsed as an address, so nothing that the guest wrote reaches a template.
        addresses = [a for a in map(parse_address, reading.addresses) if a is not None]
        usable = [a for a in addresses if is_usable(a)]
        interfaces.append(
            {
                "device": reading.device,
                "mac": reading.mac,
                "ip4_address": next((str(a) for a in usable if a.version == 4), None),
                "ip6_addresses": [str(a) for a in usable if a.version == 6],
                "addresses": [str(a) for a in addresses],
            }
        )
    return interfaces


class FilterModule:
    """Reads the text of xe."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"xe_networks": xe_networks}
