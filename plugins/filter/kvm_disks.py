# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: kvm_disks
short_description: List the disk files that belong to a libvirt domain alone
description:
  - From a domain's XML, lists the paths of its writable disks that are not shared. CD/DVD media, read-only and shareable disks
    are left out.
author:
  - vmops maintainers (@vmops)
options:
  _input:
    description: The domain XML.
    type: str
    required: true
seealso:
  - plugin: vmops.external_dhcp.kvm_clone
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show a VM's disks
  ansible.builtin.debug:
    msg: "{{ domain.get_xml | vmops.external_dhcp.kvm_disks }}"
"""

RETURN = r"""
_value:
  description: Paths on the KVM host.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._kvm_clone import disks


class FilterModule:
    """Lists a domain's own disks."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"kvm_disks": disks}
