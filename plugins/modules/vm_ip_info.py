#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_ip_info
short_description: Read power state, NICs and addresses of VMs from their hypervisor
version_added: 0.1.0
description:
  - Asks a hypervisor for its VMs and, through the guest tools, for the addresses of every NIC.
  - Nothing is changed and nothing is recorded; use M(vmops.external_dhcp.vm_ip_fetch) to poll and record.
  - All VMs are read in one task. An address belongs to a NIC by its MAC; loopback, link-local and the guest's own bridges
    never count.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.page
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.info_module
options:
  vms:
    description:
      - Names or ids of the VMs to read; a list, or a text with commas between them.
      - A name that fits several VMs is not read at all and has V(ambiguous_name) as its reason; give their ids.
      - If not set, all VMs of the hypervisor are read.
    type: raw
  sources:
    description:
      - The address sources to ask, in this order; the first one that answers for a VM counts.
      - For V(kvm) there are V(agent) (the QEMU guest agent), V(lease_file) (the lease files on a Linux guest's disk), V(registry)
        (the registry on a Windows guest's disk), V(arp) (the KVM host's neighbour table, which knows a guest only if the host
        has an address in the VM's network) and V(libguestfs) (lease file or registry through C(guestfish) and C(virt-win-reg)
        on the controller, which takes seconds to minutes for each VM).
      - The default for V(kvm) is all of them but V(libguestfs), in this order. The disk of a guest whose agent answers is not read.
      - V(lease_file) and V(registry) need the libraries of C(requirements-disks.txt); nothing is installed on the KVM host, and
        nothing is written to a disk.
      - For V(vmware) there is V(tools), for V(xenserver) there is V(guest_metrics).
      - With an empty list no guest is asked, and only names, power states and NICs are returned.
    type: list
    elements: str
  cidrs:
    description:
      - The CIDR, or a list of CIDRs, that an address must lie in to count, by the name of the NIC's network.
      - A NIC in a network that is not named may have any address.
    type: dict
  workers:
    description: How many guests are asked at the same time, where each guest has to be asked by itself.
    type: int
    default: 10
  timeout:
    description: Longest time to wait for the answer of one guest, in seconds.
    type: float
    default: 10
seealso:
  - module: vmops.external_dhcp.vm_ip_fetch
  - module: vmops.external_dhcp.vm_nic_record_info
"""

EXAMPLES = r"""
- name: Ask all VMs of a KVM host
  vmops.external_dhcp.vm_ip_info:
    hypervisor:
      type: kvm
      uri: qemu+ssh://root@kvm01.example.com/system
  register: result

- name: Ask two VMs and take only addresses of the corporate network
  vmops.external_dhcp.vm_ip_info:
    hypervisor: "{{ hypervisor }}"
    vms: [web1, web2]
    cidrs:
      br-corp: 10.99.0.0/24
  register: result

- name: Show what was found, or why nothing was
  ansible.builtin.debug:
    msg: "{{ item.0.name }} {{ item.1.mac }}: {{ item.1.ip4_address or item.1.message }}"
  loop: "{{ result.vms | subelements('nics') }}"
  loop_control:
    label: "{{ item.0.name }}"
"""

RETURN = r"""
total:
  description: How many VMs there are, without O(limit) and O(offset).
  returned: success
  type: int
  sample: 12
vms:
  description:
    - One entry for each VM asked for, in that order; all VMs by name if O(vms) was not set.
    - With O(limit) only the guests of the returned VMs are asked.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description:
        - The VM's name. Characters that do not print are shown as escapes such as C(\\u202e), and a VM without a name by its id.
      type: str
      sample: web1
    id:
      description: The hypervisor's UUID of the VM, or V(none) if there is no such VM.
      type: str
      sample: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
    power_state:
      description: V(running), V(stopped), V(paused) or V(suspended); V(none) if there is no such VM.
      type: str
      sample: running
    reason:
      description: Why no guest tools answered for the VM, in one of the words of RV(vms[].nics[].reason), or V(none).
      type: str
      sample: no_guest_tools
    message:
      description: What is wrong, for a VM that was not found.
      type: str
      returned: when the VM was not found
      sample: "there is no VM web9 on qemu:///system: check the name, and that it is on this hypervisor"
    nics:
      description: The VM's NICs.
      type: list
      elements: dict
      contains:
        device:
          description: Position of the NIC on the VM, counted from 0.
          type: int
          sample: 0
        mac:
          description: MAC address, in lower case with colons.
          type: str
          sample: "52:54:00:6b:3c:58"
        network:
          description: Bridge, libvirt network or port group that the NIC is in.
          type: str
          sample: br-corp
        ip4_address:
          description: The IPv4 address that counts, or V(none).
          type: str
          sample: 10.99.0.57
        ip6_addresses:
          description: The IPv6 addresses of the NIC that others can reach.
          type: list
          elements: str
          sample: []
        addresses:
          description: All addresses of the NIC, link-local ones included, at most 64.
          type: list
          elements: str
          sample: [10.99.0.57, "fe80::5054:ff:fe6b:3c58"]
        source:
          description: The source that told the address.
          type: str
          sample: agent
        reason:
          description:
            - Why there is no IPv4 address; V(none) if there is one.
            - One of V(vm_not_running), V(no_guest_tools), V(no_agent_channel), V(guest_tools_blocked), V(no_lease), V(filtered_out),
              V(source_unavailable), V(disk_encrypted), V(timeout), V(hypervisor_unreachable), V(vm_not_found) and V(ambiguous_name).
          type: str
          sample: no_lease
        message:
          description: The reason as a sentence that says what to do.
          type: str
          sample: "NIC 52:54:00:6b:3c:58: the guest reports no address for it; check that the DHCP server serves this network and the guest asks it"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec, _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_info import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.hypervisor(),
            **_argspec.page(),
            "vms": {"type": "raw"},
            "sources": {"type": "list", "elements": "str"},
            "cidrs": {"type": "dict"},
            "workers": {"type": "int", "default": _defaults.WORKERS},
            "timeout": {"type": "float", "default": _defaults.GUEST_TIMEOUT},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
