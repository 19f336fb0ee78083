#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_nic_record
short_description: Put the NICs of VMs into the record and its polling queue, or take them out
version_added: 0.1.0
description:
  - The record keeps one row for each NIC of a VM on an external-DHCP network, with its address once it is known, and the
    queue of those whose address is still looked for.
  - Use O(state=pending) when a VM was started, O(state=stopped) when it was stopped, and O(state=absent) when it was destroyed.
    M(vmops.external_dhcp.vm_ip_fetch) makes the record agree with all VMs of a hypervisor.
  - The addresses themselves are found by M(vmops.external_dhcp.vm_ip_fetch).
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.record
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
attributes:
  idempotent:
    support: partial
    details:
      - With O(rearm=true) or O(moved_from), the NICs get all their tries again each time.
options:
  hypervisor_name:
    description:
      - The name under which the record keeps this hypervisor's VMs; in roles it is the inventory host's name.
      - All modules must be given the same name for the same hypervisor.
    type: str
    required: true
  vms:
    description:
      - The VMs, as dictionaries in the form of RV(vmops.external_dhcp.vm_ip_info#module:vms), which can be passed on as they are. Keys
        not named here are ignored.
      - C(name) is the VM's name, and C(id) the hypervisor's UUID of it. For O(state=stopped) and O(state=absent) one of the two
        is enough, and C(id) counts if both are given. A name alone that fits several VMs of the record is an error of that VM.
      - Required, except with O(state=retired), which is about all VMs of the hypervisor.
      - Names are chosen by tenants. Characters that do not print are recorded as escapes, such as C(\\u202e), and a VM without a name goes by
        its id.
      - C(nics) is the list of the VM's NICs; required for O(state=pending). A NIC has C(device) (position counted
        from 0), C(mac), and if wanted C(network) (the network's name).
      - A NIC may have rules; a rule that is not given stays as recorded.
        C(required) (default true) says whether the VM is done only when this NIC has an address.
        C(cidrs) is a list of networks that an address must lie in to count.
        C(ip_range) is the announced range, such as V(10.99.0.50-10.99.0.150); an address outside of it counts and is flagged.
        C(ignore_interfaces) is a list of names, or beginnings of names, of interfaces in the guest that never count.
        C(family_order) (default V([4, 6])) names first the address family that the NIC waits for.
      - C(rearm) (default false) is O(rearm) for the NICs of this VM.
      - A bad entry does not stop the others; the module fails at its end.
    type: list
    elements: dict
  state:
    description:
      - V(pending) puts the NICs into the queue with all tries, to be looked at by the next poll. A NIC that is in the queue,
        was found or was given up stays as it is unless O(rearm=true) or its rules changed. NICs that a VM no longer has leave.
      - V(stopped) takes the NICs out of the queue. They stay in the record without an address; the last known one is kept as
        the previous address.
      - V(absent) removes the NICs from the record. Events stay.
      - V(retired) removes the hypervisor itself, which is gone or has another name in the inventory now, with all its NICs and its
        last look, so that looks no longer warn of it. VMs that a look has found on another hypervisor belong to that one, and
        stay. Events stay.
    type: str
    choices: [pending, stopped, absent, retired]
    default: pending
  networks:
    description:
      - For O(state=pending), only NICs in these networks are recorded. If not set, all NICs are.
      - An entry is the network's name, or a dictionary with C(name), C(bridge) (another name that the hypervisor uses for it)
        and rules as in O(vms), which a NIC gets when it is recorded for the first time without rules of its own. C(cidr) may be given
        instead of C(cidrs). Other keys are ignored, so that the variable C(shared_networks) of the roles can be given as it is.
    type: list
    elements: raw
  rearm:
    description:
      - For O(state=pending), whether NICs that were found or given up get all tries again and are looked at again, too, such as after a
        reboot or a migration. A known address stays until a reading says otherwise.
    type: bool
    default: false
  moved_from:
    description:
      - For O(state=pending), the O(hypervisor_name) that the VMs were recorded under before they migrated. Their rows move
        to O(hypervisor_name), with address and history, and are looked at again.
    type: str
  max_retry:
    description:
      - Number of failed tries after which these NICs are given up.
      - If not set, O(vmops.external_dhcp.vm_ip_fetch#module:max_retry) of the poll is used.
    type: int
  syslog:
    description: Whether the events that this module writes also go to the system's log.
    type: bool
    default: true
seealso:
  - module: vmops.external_dhcp.vm_ip_info
  - module: vmops.external_dhcp.vm_ip_fetch
  - module: vmops.external_dhcp.vm_nic_record_info
"""

EXAMPLES = r"""
- name: Put a started VM into the queue
  vmops.external_dhcp.vm_nic_record:
    hypervisor_name: kvm01
    vms:
      - name: web1
        id: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
        nics:
          - device: 0
            mac: "52:54:00:6b:3c:58"
            network: corp-vlan120
            cidrs: [10.99.0.0/24]

- name: Read all VMs of the hypervisor without asking their guests
  vmops.external_dhcp.vm_ip_info:
    hypervisor: "{{ hypervisor }}"
    sources: []
  register: existing

- name: Put their NICs in one network into the queue
  vmops.external_dhcp.vm_nic_record:
    hypervisor_name: "{{ inventory_hostname }}"
    vms: "{{ existing.vms | selectattr('power_state', 'equalto', 'running') }}"
    networks:
      - name: corp-vlan120
        cidr: 10.99.0.0/24

- name: Look again after a reboot
  vmops.external_dhcp.vm_nic_record:
    hypervisor_name: "{{ inventory_hostname }}"
    vms: "{{ existing.vms | selectattr('name', 'equalto', 'web1') }}"
    rearm: true

- name: Two VMs were destroyed
  vmops.external_dhcp.vm_nic_record:
    hypervisor_name: kvm01
    vms:
      - name: web1
      - name: web2
    state: absent

- name: A host was taken down for good
  vmops.external_dhcp.vm_nic_record:
    hypervisor_name: kvm09
    state: retired
"""

RETURN = r"""
nics:
  description: The NICs of the VMs after the change, by VM and device, without those that were removed.
  returned: success
  type: list
  elements: dict
  contains:
    hypervisor_name:
      description: The hypervisor the VM is on.
      type: str
      sample: kvm01
    vm_name:
      description: The VM's name.
      type: str
      sample: web1
    vm_id:
      description: The hypervisor's UUID of the VM.
      type: str
      sample: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
    device:
      description: Position of the NIC on the VM, counted from 0.
      type: int
      sample: 0
    mac:
      description: MAC address, in lower case with colons.
      type: str
      sample: "52:54:00:6b:3c:58"
    network:
      description: The network's name, or V(none).
      type: str
      sample: corp-vlan120
    address:
      description: The address that counts, of the first family of the NIC's order; V(none) while it is not known.
      type: str
      sample: null
    ip4_address:
      description: The IPv4 address, or V(none) while it is not known.
      type: str
      sample: null
    ip6_addresses:
      description: The NIC's IPv6 addresses.
      type: list
      elements: str
      sample: []
    source:
      description: The source that told the address.
      type: str
      sample: null
    fetch_state:
      description: V(pending) (in the queue), V(found), V(gave_up) (no tries left) or V(stopped).
      type: str
      sample: pending
    tries_left:
      description: How many failed tries are left.
      type: int
      sample: 10
    last_reason:
      description:
        - Why there is no address, in one of the words of M(vmops.external_dhcp.vm_ip_info), V(not_polled_yet) or V(settling);
          V(none) when the last look was good.
      type: str
      sample: not_polled_yet
    last_seen_at:
      description: When the address was last seen, in UTC.
      type: str
      sample: null
errors:
  description: One entry for each VM that could not be recorded.
  returned: when there are such VMs
  type: list
  elements: dict
  contains:
    vm:
      description: Name or position of the VM in O(vms).
      type: str
      sample: web9
    message:
      description: What is wrong with it.
      type: str
      sample: "vms[2] (web9): id is missing"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_nic_record import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.record(),
            "hypervisor_name": {"type": "str", "required": True},
            "vms": {"type": "list", "elements": "dict"},
            "state": {"type": "str", "choices": ["pending", "stopped", "absent", "retired"], "default": "pending"},
            "networks": {"type": "list", "elements": "raw"},
            "rearm": {"type": "bool", "default": False},
            "moved_from": {"type": "str"},
            "max_retry": {"type": "int"},
            "syslog": {"type": "bool", "default": True},
        },
        required_if=[("state", state, ["vms"]) for state in ("pending", "stopped", "absent")],
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
