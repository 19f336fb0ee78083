# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guest_channel
short_description: Connection variables to reach a guest through its hypervisor
version_added: 0.1.0
description:
  - Makes the connection variables for a VM without a network from its hypervisor's connection. On KVM they are those of
    P(community.libvirt.libvirt_qemu#connection), on VMware those of P(community.vmware.vmware_tools#connection).
  - XenServer has no such channel, and is an error.
author:
  - vmops maintainers (@vmops)
positional: _input, vm, user, password
options:
  _input:
    description: The hypervisor, the option C(hypervisor) of this collection's modules.
    type: dict
    required: true
  vm:
    description: The VM's name. On VMware it must be in C(folder) of the hypervisor, else in the top folder of its C(datacenter).
    type: str
    required: true
  user:
    description: The account in the guest, on VMware. The QEMU guest agent needs none.
    type: str
    default: root
  password:
    description: The account's password. Required on VMware.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the plugin by which a VM is reached
  ansible.builtin.debug:
    msg: "{{ (hypervisor | vmops.external_dhcp.guest_channel('golden')).ansible_connection }}"
"""

RETURN = r"""
_value:
  description: Connection variables by name, and the kind of C(hypervisor).
  type: dict
"""

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _guest_channel


def guest_channel(hypervisor: t.Any, vm: str, user: str = "root", password: str = "") -> dict[str, t.Any]:
    if not isinstance(hypervisor, Mapping):
        raise AnsibleFilterError("guest_channel: the hypervisor must be a mapping, the option hypervisor of the modules")
    try:
        return _guest_channel.guest_channel(hypervisor, vm, user, password)
    except OptionError as error:
        raise AnsibleFilterError(f"guest_channel: {error}") from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"guest_channel": guest_channel}
