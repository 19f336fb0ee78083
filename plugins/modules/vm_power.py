#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_power
short_description: Start, stop and restart VMs
version_added: 0.1.0
description:
  - Starts or stops the listed VMs, all of them at once.
  - One VM that fails does not stop the others; the task fails at its end, and RV(vms) tells which.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.vm_errors
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
attributes:
  idempotent:
    support: partial
    details:
      - O(state=restarted) restarts the VMs each time.
options:
  vms:
    description: Names or ids of the VMs; a list, or a text with commas between them. A name that several VMs have is an error.
    type: raw
    required: true
  state:
    description:
      - V(running) starts the VMs that do not run.
      - V(stopped) asks the guests to shut down, and powers off those that are still on after O(timeout).
      - V(restarted) stops and starts the VMs that are on, so that they see new hardware and drives; those that are off stay off.
    type: str
    choices: [running, stopped, restarted]
    required: true
  timeout:
    description: How long a guest may take to shut down before it is powered off, in seconds; with V(0) it is not asked.
    type: float
    default: 120
seealso:
  - module: vmops.external_dhcp.vm
  - module: vmops.external_dhcp.vm_nic_record
"""

EXAMPLES = r"""
- name: Start two VMs
  vmops.external_dhcp.vm_power:
    hypervisor: "{{ hypervisor }}"
    vms: [web1, web2]
    state: running
  register: started

- name: Look for the addresses of those that were started
  vmops.external_dhcp.vm_nic_record:
    hypervisor_name: "{{ inventory_hostname }}"
    vms: "{{ started.vms | selectattr('changed') }}"
    rearm: true

- name: Stop a VM, and power it off after a minute
  vmops.external_dhcp.vm_power:
    hypervisor: "{{ hypervisor }}"
    vms: [web1]
    state: stopped
    timeout: 60
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
      description: V(running), V(stopped), V(paused) or V(suspended) now; V(none) if the VM was not found.
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
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_power import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.hypervisor(),
            **_argspec.vm_errors(),
            "vms": {"type": "raw", "required": True},
            "state": {"type": "str", "choices": ["running", "stopped", "restarted"], "required": True},
            "timeout": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
