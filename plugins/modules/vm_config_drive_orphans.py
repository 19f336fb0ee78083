#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_config_drive_orphans
short_description: Find config drives that no VM uses, and delete them on request
version_added: 0.1.0
description:
  - Lists the ISOs made by this collection that no VM of the hypervisor has in a CD/DVD drive and that are not at the place of any VM's
    drive. They are left where VMs are deleted, migrated or renamed by other means, and may hold secrets.
  - Searches every storage pool that is a folder on V(kvm), every ISO storage repository of the pool on V(xenserver) and every
    datastore on V(vmware), whatever places and VMs O(hypervisor) names.
  - The mark in its primary volume descriptor says whose an ISO is, never its name. A file without a VM's mark is neither listed nor
    touched.
  - Right before an ISO is deleted, its mark is read again; an ISO that a VM has in a CD/DVD drive by then is kept.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
options:
  state:
    description: V(listed) only lists the orphans, V(absent) deletes those that have no reason to be kept in RV(orphans[].kept).
    type: str
    choices: [listed, absent]
    default: listed
  elsewhere:
    description:
      - Ids of VMs that are on other hypervisors, which may share storage with this one.
      - On V(kvm) each host is a hypervisor of its own. Give the ids of all VMs of the others wherever hosts share a folder; their drives
        are listed and kept.
    type: list
    elements: str
    default: []
  remove_elsewhere:
    description: Whether drives of the VMs in O(elsewhere) are deleted here as well. Set it only where the hypervisors share no storage.
    type: bool
    default: false
seealso:
  - module: vmops.external_dhcp.vm_config_drive
"""

EXAMPLES = r"""
- name: List config drives that no VM uses
  vmops.external_dhcp.vm_config_drive_orphans:
    hypervisor: "{{ hypervisor }}"
  register: found

- name: Delete them
  vmops.external_dhcp.vm_config_drive_orphans:
    hypervisor: "{{ hypervisor }}"
    state: absent
"""

RETURN = r"""
orphans:
  description: One entry for each orphan, by location.
  returned: always
  type: list
  elements: dict
  contains:
    location:
      description: Where it is, as the hypervisor writes it.
      type: str
      sample: "[datastore1] web1/web1.iso"
    vm_id:
      description: The id of the VM it was made for.
      type: str
      sample: 51b96c79-6034-46de-8d8e-b7a65694c927
    reason:
      description: V(vm_gone), the VM is not on this hypervisor; V(elsewhere), it is one of O(elsewhere); or V(left_behind), it is here
        and has its drive at another place.
      type: str
      sample: vm_gone
    kept:
      description: Why it is kept even with O(state=absent), or V(none).
      type: str
      sample: "it is younger than 60 minutes: its VM may be on its way here"
    removed:
      description: Whether it was deleted, or would be in check mode.
      type: bool
      sample: false
    error:
      description: Why it could not be deleted, or V(none).
      type: str
      sample:
unseen:
  description: Places that could not be searched, a sentence each.
  returned: always
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_config_drive_orphans import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.hypervisor(),
            "state": {"type": "str", "choices": ["listed", "absent"], "default": "listed"},
            "elsewhere": {"type": "list", "elements": "str", "default": []},
            "remove_elsewhere": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
