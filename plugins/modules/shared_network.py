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
  - Makes every listed network with a VLAN exist on its hypervisor, a libvirt network over a bridge of the host on V(kvm), a VLAN of
    a NIC or bond of every host on V(xenserver), a port group of standard switches or of a distributed one on V(vmware); or removes it.
  - A network never serves DHCP or DNS itself, since both are the external servers'. One that does is refused.
  - A network that is there already is never changed, as VMs may be on it. One of the same name that differs is an error.
  - A network that VMs, templates or the hypervisor itself use is not removed, and the error names them.
  - One network that fails does not stop the others; the task fails at its end, and RV(networks) tells which.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  networks:
    description:
      - The networks, the inventory variable C(shared_networks); a list of mappings with these keys.
      - V(name) is needed. The network is called so on the hypervisor, if it has a V(vlan).
      - V(vlan) is the tag, from 1 to 4094, or V(0) for an untagged network, which XenServer has for each NIC without this module. A
        network without it is there already, and is only looked at.
      - V(bridge) says what the network is on, a bridge of the host on V(kvm), a NIC, bond or their network on V(xenserver), a standard
        or distributed switch on V(vmware). For a network without V(vlan) it is what the hypervisor calls it, if that is not V(name).
      - V(hosts), on V(vmware), are the hosts that get a port group of their standard switch; all that have the switch, if not given.
      - V(openvswitch=true), on V(kvm), says that the bridge is one of Open vSwitch.
      - V(host_vlan=true), on V(kvm), says that the host tags the frames of this bridge already, by a VLAN device under it.
      - V(cidr) and V(ip_range) are what the DHCP administrator announced. They are checked, and never assigned from.
      - V(services), V([userdata]) or V([]), V(family_order), V(description) and V(extra) are for the VMs and for your own use.
    type: list
    elements: dict
    required: true
  names:
    description: Only these of O(networks), a list, or a text with commas between the names. One that is not there is an error.
    type: raw
  bridge:
    description: What the networks are on that have a V(vlan) and do not say it themselves. Left out, it is chosen where there is
      only one.
    type: str
  hosts:
    description: On V(vmware), the hosts of the networks that do not say it themselves.
    type: list
    elements: str
  announced:
    description: Networks of other hypervisors, as in O(networks). Ranges of O(networks) that overlap with theirs, or with each other,
      are warned of.
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
      description: What the hypervisor calls it, which is what the NICs of VMs are put on.
      type: str
      sample: corp-vlan120
    vlan:
      description: The tag, V(0) for none, or V(none) for a network that is only looked at.
      type: int
      sample: 120
    exists:
      description: Whether it is there now; in check mode, whether it was there.
      type: bool
      sample: true
    users:
      description: The VMs and others that were found on it, for O(state=absent).
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
