# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm_plan
short_description: Check and join what a user wrote about VMs and shared networks
version_added: 0.1.0
description:
  - Turns the variables C(vms) and C(shared_networks) into one plan that the roles of this collection work from.
  - Names, networks, CIDRs, ranges, MACs and services are checked; a mistake is an error that names the entry and the value.
author:
  - vmops maintainers (@vmops)
positional: shared_networks, names, label, layouts, metadata, password_public_key
options:
  _input:
    description:
      - The VMs, each a mapping with V(name), and if wanted V(template), V(full_clone), V(memory), V(cpus), V(disk_size), V(placement),
        V(networks), V(password_enabled), V(password), V(password_hash), V(password_public_key), V(confirm_password),
        V(ssh_keys), V(user_data), V(user_data_base64), V(vendor_data), V(metadata), V(reader) and V(extra).
      - V(networks) has one entry per NIC, the name of a shared network or a mapping with V(name), and if wanted V(mac), V(required),
        V(ignore_interfaces), V(cidr) and V(family_order).
    type: list
    elements: dict
    required: true
  shared_networks:
    description:
      - The networks, each a mapping with V(name), and V(bridge) (what the hypervisor calls it, V(name) if not given), V(cidr),
        V(ip_range) and V(services) (V([userdata]), or an empty list for drives with metadata only).
      - With V(vlan) the network is one that M(vmops.external_dhcp.shared_network) makes, called V(name) on the hypervisor, and
        V(bridge), V(hosts), V(host_vlan) and V(openvswitch) say what it is on.
      - V(description) and V(extra) may be there and are not used.
    type: list
    elements: dict
    default: []
  names:
    description: Only the VMs with these names, as P(vmops.external_dhcp.vm_names#filter) takes them. A name that is not among the VMs is
      an error.
    type: raw
  label:
    description:
      - If set, the data for the config drives is checked as well, for drives with this label.
      - On ansible-core 2.18, whose templates turn JSON text into a mapping, this refuses a mapping as V(user_data) that may have been text.
        A mapping that is written as one in an entry of the variable C(vms) is accepted.
    type: str
  layouts:
    description: The layouts of the drives, for that check.
    type: list
    elements: str
    default: [cloudstack, openstack]
  metadata:
    description: Metadata of every VM's drive, unless the VM's own says otherwise.
    type: dict
  password_public_key:
    description: The V(password_public_key) for VMs with V(password_enabled) that have neither a password nor a key of their own.
    type: str
"""

EXAMPLES = r"""
- name: Show which networks the VMs are in
  ansible.builtin.debug:
    msg: "{{ vms | vmops.external_dhcp.vm_plan(shared_networks) | map(attribute='nics') }}"
"""

RETURN = r"""
_value:
  description: One entry per VM with V(name), V(template), V(nics), V(machine) (for M(vmops.external_dhcp.vm)) and V(drive) (for
    M(vmops.external_dhcp.vm_config_drive)). It holds the VM's secrets.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_plan import doubtful_vms, vm_plan


@pass_context
def _filter(
    context: Context,
    vms: t.Any,
    shared_networks: t.Any = (),
    names: t.Any = None,
    label: str | None = None,
    layouts: t.Any = ("cloudstack", "openstack"),
    metadata: t.Any = None,
    password_public_key: str | None = None,
) -> list[dict[str, t.Any]]:
    try:
        return vm_plan(
            vms, shared_networks or (), names, label, layouts, metadata, doubtful_vms(context, vms), password_public_key
        )
    except OptionError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """Checks and joins VMs and shared networks."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vm_plan": _filter}
