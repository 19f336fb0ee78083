#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_migrate
short_description: Move VMs to another host or datastore
version_added: 0.1.0
description:
  - Moves the listed VMs, running or not, with their config drives; nothing stays at the source.
  - One VM that fails does not stop the others; the task fails at its end, and RV(vms) tells which.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.vm_errors
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
attributes:
  check_mode:
    support: partial
    details:
      - A change is predicted for every VM that is found.
options:
  vms:
    description: Names or ids of the VMs; a list, or a text with commas between them. A name that several VMs have is an error.
    type: raw
    required: true
  destination:
    description:
      - Where the VMs go. The keys depend on the kind of hypervisor.
      - On V(xenserver), V(host), the name or UUID of a host of the pool.
      - On V(vmware), V(host), V(cluster), V(resource_pool) and V(datastore).
      - On V(kvm), V(uri), the other host's libvirt URI, which the controller must reach; if wanted V(peer_uri), the same as the source
        host reaches it, so that the two hosts talk without the controller; and V(migrate_uri), where QEMU sends memory and disks, such as
        V(tcp://10.0.0.2).
    type: dict
    required: true
seealso:
  - module: vmops.external_dhcp.vm_config_drive
"""

EXAMPLES = r"""
- name: Migrate a VM to another host
  vmops.external_dhcp.vm_migrate:
    hypervisor: "{{ hypervisor }}"
    vms: [web1]
    destination:
      host: host2
"""

RETURN = r"""
vms:
  description: One entry for each VM of O(vms), in that order; also returned when the module failed.
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
      description: V(running), V(stopped), V(paused) or V(suspended), before and after; V(none) if the VM was not found.
      type: str
      sample: running
    nics:
      description: The VM's NICs, each with V(device), V(mac) and V(network), as M(vmops.external_dhcp.vm_nic_record) takes them.
      type: list
      elements: dict
      sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_migrate import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.hypervisor(),
            **_argspec.vm_errors(),
            "vms": {"type": "raw", "required": True},
            "destination": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
