#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_diagnose
short_description: Say why VMs have no address or no data, and what to do next
description:
  - Checks the named VMs, or all VMs of a hypervisor that a look watches, and says for each in one sentence what is wrong, and what to
    do next.
  - It looks at the hypervisor (power, NICs and their networks, MACs, the config drive and what is on it), at the guests (through each
    source, one after the other), and at the record (queue, last look, who polls, addresses and MACs of all hypervisors).
  - The VMs of a hypervisor are read in bulk. A hypervisor or record that cannot be reached does not fail the task; the verdict says so.
  - On KVM the QEMU guest agent is asked for a few files of the guest, if it answers and allows that. They show whether the guest scripts or
    cloud-init acted on the drive, and whether two VMs have the same machine-id.
  - Nothing is changed, and nothing secret on a drive is returned.
version_added: 0.1.0
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.record
  - vmops.external_dhcp.vm_filter
  - vmops.external_dhcp.page
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.info_module
options:
  hypervisor_name:
    description: The hypervisor's name in the record.
    type: str
    required: true
  vms:
    description:
      - Names or ids of the VMs.
      - If not set, the VMs that a look watches. These are the VMs in the record and, of the VMs that O(vm_filter) chooses, those that
        this collection made or that run on a shared network. Templates and other people's VMs are left out.
    type: list
    elements: str
  networks:
    description:
      - The shared networks, as the option O(vmops.external_dhcp.vm_nic_record#module:networks) takes them, such as the variable
        C(shared_networks) of the roles; C(ip_range) and C(vlan) are used too.
      - If not set, it is not checked whether a NIC is in the right network.
    type: list
    elements: raw
  label:
    description: The volume label that the guests look for.
    type: str
    default: config
  drives:
    description:
      - How closely the config drives are checked. V(contents) reads each one, V(state) only sees whether it is there and attached, V(none)
        leaves them out.
    type: str
    choices: [contents, state, none]
    default: contents
  sources:
    description:
      - The address sources to ask, in this order, as O(vmops.external_dhcp.vm_ip_info#module:sources).
      - With an empty list no guest is asked.
    type: list
    elements: str
  workers:
    description: How many guests are asked at the same time, where each guest has to be asked by itself.
    type: int
    default: 10
  timeout:
    description: Longest time to wait for the answer of one guest and source, in seconds.
    type: float
    default: 10
  detail:
    description: Whether RV(vms[].checks) also has the checks that found nothing wrong.
    type: bool
    default: false
  show:
    description:
      - What is printed for people besides the result, also with C(display_ok_hosts=false). V(nothing) prints nothing.
    type: str
    choices: [table, json, nothing]
    default: nothing
seealso:
  - module: vmops.external_dhcp.vm_ip_info
  - module: vmops.external_dhcp.vm_nic_record_info
  - module: vmops.external_dhcp.vm_report
"""

EXAMPLES = r"""
- name: Why has web1 no address
  vmops.external_dhcp.vm_diagnose:
    hypervisor: "{{ hypervisor }}"
    hypervisor_name: "{{ inventory_hostname }}"
    networks: "{{ shared_networks }}"
    vms: [web1]
    show: table

- name: All VMs, quickly
  vmops.external_dhcp.vm_diagnose:
    hypervisor: "{{ hypervisor }}"
    hypervisor_name: kvm01
    drives: state
    sources: []
  register: diagnosis

- name: Fail where something is wrong
  ansible.builtin.assert:
    that: diagnosis.counts.failed == 0
    fail_msg: "{{ diagnosis.msg }}"
"""

RETURN = r"""
vms:
  description: One entry for each VM, those with faults first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The VM's name.
      type: str
      sample: web1
    id:
      description: The hypervisor's UUID of the VM, or V(none) if it is not known.
      type: str
      sample: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
    power_state:
      description: V(running), V(stopped), V(paused) or V(suspended); V(none) if it is not known.
      type: str
      sample: running
    status:
      description: V(failed), V(warning), V(unknown) or V(ok), the worst of the checks.
      type: str
      sample: failed
    check:
      description: The check that explains most; V(none) where nothing is wrong.
      type: str
      sample: dhcp
    verdict:
      description: What is wrong, in one sentence.
      type: str
      sample: "NIC 0 has given itself 169.254.7.9: it asked, and no DHCP server answered"
    next_step:
      description: What to do next; V(none) where there is nothing to be done.
      type: str
      sample: "see that the DHCP server serves corp (VLAN 120), that a relay or the VLAN reaches it, and that it knows no rule against 52:54:00:6b:3c:58"
    checks:
      description:
        - What the checks found, in the order of causes. Without O(detail), checks with the status V(ok) are left out, and so is V(scripts)
          where it cannot be checked from outside.
        - The checks are V(hypervisor), V(vm), V(power), V(nic), V(network), V(mac), V(duplicate_address), V(machine_id),
          V(address_network), V(drive_present), V(drive_attached), V(drive_owner), V(drive_content), V(drive_label), V(guest_tools), V(range), V(dhcp),
          V(record), V(queue), V(agreement), V(address_range), V(last_look), V(lock), V(source) and V(scripts).
      type: list
      elements: dict
      contains:
        check:
          description: The check.
          type: str
          sample: dhcp
        status:
          description: V(failed), V(warning), V(unknown) or V(ok).
          type: str
          sample: failed
        nic:
          description: Position of the NIC that the check is about; V(none) if it is about the VM.
          type: int
          sample: 0
        message:
          description: What was found.
          type: str
          sample: the guest has no address on NIC 0
        next_step:
          description: What to do, or V(none).
          type: str
          sample: null
hypervisor:
  description: The hypervisor itself. C(problem) says why it could not be read, C(checks) are as RV(vms[].checks).
  returned: success
  type: dict
  sample: {"name": "kvm01", "endpoint": "qemu:///system", "problem": null, "checks": []}
networks:
  description: The shared networks, with the number of addresses in the range (C(size)) and of those that VMs of the record have (C(used)).
  returned: success
  type: list
  elements: dict
  sample: [{"name": "corp", "vlan": "120", "cidrs": ["10.99.0.0/24"], "ip_range": "10.99.0.50-10.99.0.150", "size": 101, "used": 37}]
total:
  description: How many VMs there are, without O(limit) and O(offset).
  returned: success
  type: int
  sample: 12
counts:
  description: How many VMs have which status, without O(limit) and O(offset).
  returned: success
  type: dict
  sample: {"failed": 1, "warning": 0, "unknown": 0, "ok": 11}
left_out:
  description: How many VMs of the hypervisor were left out because no look watches them; V(0) with O(vms).
  returned: success
  type: int
  sample: 2
msg:
  description: The same as a sentence.
  returned: success
  type: str
  sample: "12 VMs on kvm01: 1 with a fault, 11 well"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_diagnose import run_module


def main() -> None:
    run_module(AnsibleModule(argument_spec=_argspec.vm_diagnose(), supports_check_mode=True))


if __name__ == "__main__":
    main()
