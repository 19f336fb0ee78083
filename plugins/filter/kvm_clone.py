# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: kvm_clone
short_description: Make a clone's libvirt definition and disks from its template's definition
description:
  - From the XML of a template domain, makes the XML of a new domain and of its disks, as linked clones (qcow2 overlays of the
    template's disks), for M(community.libvirt.virt) and M(community.libvirt.virt_volume).
  - Identity, MACs, inserted media and paths of the template are not taken over. A second, empty CD/DVD drive is added where
    the template has fewer.
author:
  - vmops maintainers (@vmops)
positional: name, nics, folder
options:
  _input:
    description: The template's domain XML.
    type: str
    required: true
  name:
    description: The new VM's name.
    type: str
    required: true
  nics:
    description: The new VM's NICs, as P(vmops.external_dhcp.vm_plan#filter) returns them; with none, the template's stay.
    type: list
    elements: dict
    required: true
  folder:
    description: The folder on the KVM host for the disks.
    type: str
    required: true
seealso:
  - plugin: vmops.external_dhcp.kvm_disks
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the definition of a clone
  ansible.builtin.debug:
    msg: "{{ template.get_xml | vmops.external_dhcp.kvm_clone('web1', [], '/var/lib/libvirt/images') }}"
"""

RETURN = r"""
_value:
  description: The domain XML as V(xml), and V(volumes), each with V(name) and V(xml).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._kvm_clone import CloneError, clone


def _filter(template_xml: str, name: str, nics: t.Any, folder: str) -> dict[str, t.Any]:
    try:
        return clone(template_xml, name, nics, folder)
    except CloneError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """Makes a clone's definition."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"kvm_clone": _filter}
