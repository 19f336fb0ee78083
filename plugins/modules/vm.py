#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm
short_description: Make VMs from templates, or delete them
version_added: 0.1.0
description:
  - Makes every listed VM that does not exist yet from its template, all at once, powered off; or deletes the listed VMs with their
    disks, snapshots and config drives.
  - An existing VM is kept as it is. If it has other NICs than listed, the result says so; they are changed only with O(update_nics), or
    before the VM is started for the first time.
  - A new VM never gets a disk file that existed before it, and never what was inserted in its template's CD/DVD drives.
  - Mistakes in the list are reported before anything is changed. Later, one VM that fails does not stop the others; the task
    fails at its end, and RV(vms) says which.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.record
  - vmops.external_dhcp.vm_errors
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
options:
  vms:
    description: The VMs. For O(state=absent) only O(vms[].name) and O(vms[].id) count.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The VM's name. Required for O(state=present).
        type: str
      id:
        description:
          - For O(state=absent), the VM's UUID, which decides whatever the VM is called.
          - A VM that is given by its name alone is deleted only if its mark, a config drive with its id, or the record shows that this
            collection made it.
        type: str
      template:
        description:
          - The name of the template, or of a powered-off VM, that the VM is made from if it does not exist.
          - On V(kvm) every template is a powered-off VM.
        type: str
      nics:
        description:
          - All NICs of the VM, in order. The template's surplus NICs are left out; NICs that it lacks get the settings of its first one.
          - If not given, the VM has its template's NICs, with new MACs.
        type: list
        elements: dict
        suboptions:
          network:
            description: What the hypervisor calls the network, a bridge, network or port group.
            type: str
            required: true
          mac:
            description: The NIC's MAC address. If not given, a new one is made.
            type: str
      full_clone:
        description: Whether the disks are copied. Otherwise the VM is a linked clone, where the storage can do that.
        type: bool
        default: false
      memory:
        description: Memory in MiB. If not given, the template's.
        type: int
      cpus:
        description: Number of virtual CPUs. If not given, the template's.
        type: int
      disk_size:
        description: Size of the first disk in GiB; a disk is never shrunk. If not given, the template's.
        type: int
      placement:
        description: Where this VM is made; its keys add to those of O(placement), and replace them.
        type: dict
  placement:
    description:
      - Where the VMs are made. The keys depend on the kind of hypervisor.
      - On V(kvm), V(storage_pool), the pool of the disks; the default is the pool of the folder O(hypervisor.image_dir).
      - On V(vmware), V(cluster), V(host), V(resource_pool), V(datastore) and V(folder).
      - On V(xenserver), V(host) and V(sr).
    type: dict
  update_nics:
    description:
      - Whether an existing VM that is powered off and has other NICs is given the listed ones.
      - A VM that this collection has made and that was never started is given them in any case, if the hypervisor shows that it was never
        started. V(kvm) does so if the disks are files, V(xenserver) always, V(vmware) as long as vCenter keeps the event of the VM's
        creation (30 days by default).
    type: bool
    default: false
  hypervisor_name:
    description:
      - For O(state=absent), the hypervisor's name in the record. VMs that the record has under it count as made by this collection.
        Their entries in the record are removed with them, also those of VMs that are gone already.
      - If not given, the record is neither read nor changed.
    type: str
  state:
    description:
      - V(present) makes the VMs that are missing.
      - V(absent) powers the VMs off at once and deletes them. There is no way back. A VM with something that others still use, such as a
        disk that is the base of linked clones, is refused before anything of it is changed.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: vmops.external_dhcp.vm_config_drive
  - module: vmops.external_dhcp.vm_power
"""

EXAMPLES = r"""
- name: Make two VMs
  vmops.external_dhcp.vm:
    hypervisor: "{{ hypervisor }}"
    vms:
      - name: web1
        template: debian-12
        nics:
          - network: br-corp
      - name: db1
        template: debian-12
        nics:
          - network: br-corp
            mac: "52:54:00:12:34:56"
        memory: 4096
        cpus: 2
        disk_size: 40

- name: Delete a VM, its disks, its drive, and its entries in the record
  vmops.external_dhcp.vm:
    hypervisor: "{{ hypervisor }}"
    hypervisor_name: "{{ inventory_hostname }}"
    vms:
      - name: web1
    state: absent
"""

RETURN = r"""
vms:
  description: One entry for each entry of O(vms), in that order; also returned when the module failed.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The VM's name.
      type: str
      sample: web1
    id:
      description: The hypervisor's UUID of the VM; V(none) if it is not there.
      type: str
      sample: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
    changed:
      description: Whether something of this VM was changed, or would be in check mode; also when it failed later.
      type: bool
      sample: true
    error:
      description: Why this VM failed, or V(none).
      type: str
      sample: null
    warnings:
      description: What should be known about this VM, a sentence each.
      type: list
      elements: str
      sample: []
    power_state:
      description: For O(state=present), V(running), V(stopped), V(paused) or V(suspended) before the task; V(none) if the VM was not
        there.
      type: str
      sample: running
    nics:
      description: For O(state=present), the VM's NICs before the task, each with V(device), V(mac) and V(network), as
        M(vmops.external_dhcp.vm_nic_record) takes them.
      type: list
      elements: dict
      sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.hypervisor(),
            **_argspec.record(),
            **_argspec.vm_errors(),
            "vms": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str"},
                    "id": {"type": "str"},
                    "template": {"type": "str"},
                    "nics": {
                        "type": "list",
                        "elements": "dict",
                        "options": {"network": {"type": "str", "required": True}, "mac": {"type": "str"}},
                    },
                    "full_clone": {"type": "bool", "default": False},
                    "memory": {"type": "int"},
                    "cpus": {"type": "int"},
                    "disk_size": {"type": "int"},
                    "placement": {"type": "dict"},
                },
            },
            "placement": {"type": "dict"},
            "update_nics": {"type": "bool", "default": False},
            "hypervisor_name": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
