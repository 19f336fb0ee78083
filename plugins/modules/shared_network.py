#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: shared_network
short_description: Make networks without DHCP and DNS of their own, or remove them
version_added: 0.1.0
description:
  - Makes every listed network with a VLAN exist on its hypervisor, or removes it. On V(kvm) it is a libvirt network over a bridge of
    the host, on V(xenserver) a VLAN of a NIC or bond of every host, on V(vmware) a port group of standard switches or of a distributed
    one.
  - DHCP and DNS are external servers; a network that would serve either itself is refused.
  - An existing network is never changed, because VMs may be on it. A network of the same name that differs is an error.
  - A network that VMs, templates or the hypervisor itself use is not removed, and the error names them.
  - One network that fails does not stop the others; the task fails at its end, and RV(networks) says which.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
options:
  networks:
    description:
      - The networks, the inventory variable C(shared_networks); a list of mappings with these keys.
      - V(name) is required. With a V(vlan) it is also the network's name on the hypervisor.
      - V(vlan) is the tag, from 1 to 4094, or V(0) for an untagged network (not on V(xenserver), which has one for each NIC). A network
        without V(vlan) is expected to exist; it is only checked.
      - V(bridge), with a V(vlan), says what the network is on, a bridge of the host on V(kvm), a NIC, bond or their network on
        V(xenserver), a standard or distributed switch on V(vmware). Without V(vlan) it is the network's name on the hypervisor, V(name)
        by default.
      - V(hosts), on V(vmware), are the hosts that get a port group on their standard switch; by default all that have the switch.
      - V(openvswitch), on V(kvm), is V(true) if the bridge is one of Open vSwitch. The default is V(false).
      - V(host_vlan), on V(kvm), is V(true) if the host tags the bridge's frames, by a VLAN device under it. The default is V(false).
      - V(cidr) and V(ip_range) are what the DHCP administrator announced. They are checked, and never assigned from.
      - V(services), V(family_order), V(description) and V(extra) are for the VMs and for your own use; this module ignores them.
    type: list
    elements: dict
    required: true
  names:
    description: Only these of O(networks); a list, or a text with commas between the names. A name that is not among them is an error.
    type: raw
  bridge:
    description:
      - The default for V(bridge) of networks with a V(vlan).
      - If not set, on V(xenserver) and V(vmware) the NIC or switch is chosen if there is only one.
    type: str
  hosts:
    description: On V(vmware), the default for V(hosts) of the networks.
    type: list
    elements: str
  announced:
    description: Networks of other hypervisors, as in O(networks). Ranges of O(networks) that overlap with these, or with each other,
      give a warning.
    type: list
    elements: raw
  state:
    description: Whether the networks are to be there.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: vmops.external_dhcp.vm
"""

EXAMPLES = r"""
- name: Make the networks of a hypervisor
  vmops.external_dhcp.shared_network:
    hypervisor: "{{ hypervisor }}"
    networks:
      - name: corp-vlan120
        vlan: 120
        bridge: br0
        cidr: 10.99.0.0/24
        ip_range: 10.99.0.50-10.99.0.150

- name: Remove one of them
  vmops.external_dhcp.shared_network:
    hypervisor: "{{ hypervisor }}"
    networks:
      - name: corp-vlan120
        vlan: 120
    state: absent
"""

RETURN = r"""
networks:
  description: One entry for each network of O(networks), in that order; also returned when the module failed.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The network's name.
      type: str
      sample: corp-vlan120
    network:
      description: The network's name on the hypervisor, on which VMs' NICs are put.
      type: str
      sample: corp-vlan120
    vlan:
      description: The tag, V(0) for an untagged network, or V(none) for a network that is only checked.
      type: int
      sample: 120
    exists:
      description: Whether it is there now; in check mode, whether it was there.
      type: bool
      sample: true
    users:
      description: For O(state=absent), the VMs and others that were found on it.
      type: list
      elements: str
      sample: [web1]
    changed:
      description: Whether it was made or removed, or would be in check mode.
      type: bool
      sample: true
    error:
      description: Why this network failed, or V(none).
      type: str
      sample: null
    message:
      description: What should be known about it, or V(none).
      type: str
      sample: null
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.shared_network import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.hypervisor(),
            "networks": {"type": "list", "elements": "dict", "required": True},
            "names": {"type": "raw"},
            "bridge": {"type": "str"},
            "hosts": {"type": "list", "elements": "str"},
            "announced": {"type": "list", "elements": "raw"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
