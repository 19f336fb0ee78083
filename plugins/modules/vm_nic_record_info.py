#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_nic_record_info
short_description: List the recorded NICs of VMs, their addresses and events
version_added: 0.1.0
description:
  - Lists the NICs of VMs on external-DHCP networks that the record has, and if wanted the events.
  - No hypervisor is asked; the addresses are as the last look found them.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.record
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.info_module
options:
  hypervisor_name:
    description: Only VMs of these hypervisors.
    type: list
    elements: str
  vms:
    description: Only VMs with these names; a list, or a text with commas between them.
    type: raw
  networks:
    description: Only NICs in these networks; events are not filtered by it.
    type: list
    elements: str
  states:
    description: Only NICs in these states; events are not filtered by it.
    type: list
    elements: str
    choices: [pending, found, gave_up, stopped]
  mac:
    description: Only NICs with these MAC addresses, in any spelling.
    type: list
    elements: str
  ip:
    description: Only NICs that have one of these addresses, IPv4 or IPv6, 500 at most; events are not filtered by it.
    type: list
    elements: str
  detail:
    description:
      - Whether each NIC is returned with everything the record has of it.
      - Leave it off for more than a few hundred VMs, because AWX and ansible-runner drop task results above 700,000 characters.
    type: bool
    default: false
  events:
    description: Whether events are returned too.
    type: bool
    default: false
  event_types:
    description: Only events of these types.
    type: list
    elements: str
    choices:
      - EXTERNAL.DHCP.VM.IP.FETCHED
      - EXTERNAL.DHCP.VM.IP.CHANGED
      - EXTERNAL.DHCP.VM.IP.LOST
      - EXTERNAL.DHCP.VM.IP.GAVE.UP
  since:
    description: Only events from this time on, as V(2026-11-22T08:00:00Z); UTC if no offset is given.
    type: str
  after_event:
    description:
      - Only events after the one with this RV(events[].id), the oldest first up to O(limit). So a reader that remembers the last
        number it has seen misses no event and gets none twice.
    type: int
  limit:
    description: The largest number of events returned; without O(after_event) the newest ones.
    type: int
    default: 1000
  nic_limit:
    description:
      - The largest number of NICs in RV(nics); RV(total) says how many there are.
      - If not set, 5,000, with a warning if there are more. V(0) returns all NICs.
      - AWX drops results above 700,000 characters.
    type: int
  nic_offset:
    description: How many NICs are left out at the beginning; with O(nic_limit), to read the record page by page.
    type: int
    default: 0
seealso:
  - module: vmops.external_dhcp.vm_ip_fetch
  - plugin: vmops.external_dhcp.vm_nics
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: All NICs of one hypervisor
  vmops.external_dhcp.vm_nic_record_info:
    hypervisor_name: [kvm01]
  register: recorded

- name: VM and address
  ansible.builtin.debug:
    msg: "{{ recorded.nics | items2dict(key_name='vm_name', value_name='ip4_address') }}"

- name: Which VM has this address
  vmops.external_dhcp.vm_nic_record_info:
    ip: [10.99.0.57]
  register: owner

- name: Addresses that changed or were lost today
  vmops.external_dhcp.vm_nic_record_info:
    states: [found]
    events: true
    event_types: [EXTERNAL.DHCP.VM.IP.CHANGED, EXTERNAL.DHCP.VM.IP.LOST]
    since: "2026-11-22T00:00:00Z"
    limit: 100
  register: news
"""

RETURN = r"""
nics:
  description: The NICs, by hypervisor, VM and device; an empty list if there are none.
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
      sample: 10.99.0.57
    ip4_address:
      description: The IPv4 address, or V(none) while it is not known.
      type: str
      sample: 10.99.0.57
    ip6_addresses:
      description: The NIC's IPv6 addresses.
      type: list
      elements: str
      sample: []
    source:
      description: The source that told the address.
      type: str
      sample: agent
    fetch_state:
      description: V(pending) (in the queue), V(found), V(gave_up) (no tries left) or V(stopped).
      type: str
      sample: found
    tries_left:
      description: How many failed tries are left.
      type: int
      sample: 10
    last_reason:
      description:
        - Why there is no address, in one of the words of M(vmops.external_dhcp.vm_ip_info), V(not_polled_yet) or V(settling);
          V(none) when the last look was good.
      type: str
      sample: null
    last_seen_at:
      description: When the address was last seen, in UTC.
      type: str
      sample: "2026-11-22T08:49:00Z"
    last_message:
      description: The reason as a sentence.
      type: str
      returned: with O(detail=true)
      sample: null
    required:
      description: Whether the VM is done only when this NIC has an address.
      type: bool
      returned: with O(detail=true)
      sample: true
    addresses:
      description: All addresses seen on the NIC, link-local ones included.
      type: list
      elements: str
      returned: with O(detail=true)
      sample: [10.99.0.57, "fe80::5054:ff:fe6b:3c58"]
    in_range:
      description: Whether the address lies in the announced range; V(none) if no range was given.
      type: bool
      returned: with O(detail=true)
      sample: true
    suspect:
      description: Whether the known address was missing from the last readings.
      type: bool
      returned: with O(detail=true)
      sample: false
    previous_address:
      description: The address before this one.
      type: str
      returned: with O(detail=true)
      sample: null
    first_seen_at:
      description: When this address was first seen, in UTC.
      type: str
      returned: with O(detail=true)
      sample: "2026-11-22T08:40:00Z"
    last_try_at:
      description: When the NIC was last looked at, in UTC.
      type: str
      returned: with O(detail=true)
      sample: "2026-11-22T08:49:00Z"
    next_try_at:
      description: When the NIC is due again, in UTC; V(none) if it is not.
      type: str
      returned: with O(detail=true)
      sample: null
    entered_at:
      description: When the NIC last entered the queue, in UTC.
      type: str
      returned: with O(detail=true)
      sample: "2026-11-22T08:39:00Z"
    cidrs:
      description: The networks that an address must lie in to count.
      type: list
      elements: str
      returned: with O(detail=true)
      sample: [10.99.0.0/24]
    ip_range:
      description: The announced range.
      type: str
      returned: with O(detail=true)
      sample: 10.99.0.50-10.99.0.150
    ignore_interfaces:
      description: Interface names in the guest that do not count.
      type: list
      elements: str
      returned: with O(detail=true)
      sample: []
    family_order:
      description: The address families; the NIC waits for the first one.
      type: list
      elements: int
      returned: with O(detail=true)
      sample: [4, 6]
    folder:
      description: The path of the VM's folder; V(none) if it has none, or if no look needed it.
      type: str
      returned: with O(detail=true)
      sample: /DC0/vm/web
    tags:
      description: The VM's tags, as O(vmops.external_dhcp.vm_ip_fetch#module:vm_filter.tags) takes them.
      type: list
      elements: str
      returned: with O(detail=true)
      sample: []
total:
  description: How many NICs the filters leave, without O(nic_limit) and O(nic_offset).
  returned: success
  type: int
  sample: 2
hypervisors:
  description: The last look at each hypervisor, and numbers of its NICs.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The hypervisor's name in the record.
      type: str
      sample: kvm01
    looked_at:
      description: When the last look began, in UTC.
      type: str
      sample: "2026-11-22T08:49:00Z"
    good_at:
      description: When the last look without a problem began, in UTC; V(none) if there was none.
      type: str
      sample: "2026-11-22T08:49:00Z"
    host:
      description: The controller that looked.
      type: str
      sample: awx-job-417
    pid:
      description: The process there.
      type: int
      sample: 42
    job:
      description: Number of the AWX job, or V(none).
      type: str
      sample: "417"
    seconds:
      description: How long the look took.
      type: float
      sample: 1.25
    vms:
      description: How many VMs there are, or V(none).
      type: int
      sample: 120
    problem:
      description: Why the look could not see everything; V(none) if it could.
      type: str
      sample: null
    nics:
      description: How many NICs there are, by state.
      type: dict
      sample: {"found": 117, "pending": 3}
    waiting:
      description: How many NICs are waited for, by reason.
      type: dict
      sample: {"no_lease": 3}
events:
  description: The events, the oldest first.
  returned: with O(events=true)
  type: list
  elements: dict
  contains:
    id:
      description: Number of the event; later events have higher numbers.
      type: int
      sample: 17
    type:
      description: What happened.
      type: str
      sample: EXTERNAL.DHCP.VM.IP.FETCHED
    time:
      description: When, in UTC.
      type: str
      sample: "2026-11-22T08:49:00Z"
    hypervisor_name:
      description: The hypervisor the VM was on.
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
      description: Position of the NIC on the VM.
      type: int
      sample: 0
    mac:
      description: MAC address of the NIC.
      type: str
      sample: "52:54:00:6b:3c:58"
    network:
      description: The network's name.
      type: str
      sample: corp-vlan120
    address:
      description: The address that was found; V(none) for C(LOST) and C(GAVE.UP).
      type: str
      sample: 10.99.0.57
    previous_address:
      description: The address before, for C(CHANGED) and C(LOST).
      type: str
      sample: null
    source:
      description: The source that told the address.
      type: str
      sample: agent
    reason:
      description: Why, for C(LOST) and C(GAVE.UP).
      type: str
      sample: null
    message:
      description: The reason as a sentence.
      type: str
      sample: null
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_nic_record_info import run_module
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import EVENT_TYPES, STATES


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.record(),
            "hypervisor_name": {"type": "list", "elements": "str"},
            "vms": {"type": "raw"},
            "networks": {"type": "list", "elements": "str"},
            "states": {"type": "list", "elements": "str", "choices": list(STATES)},
            "mac": {"type": "list", "elements": "str"},
            "ip": {"type": "list", "elements": "str"},
            "detail": {"type": "bool", "default": False},
            "events": {"type": "bool", "default": False},
            "event_types": {"type": "list", "elements": "str", "choices": list(EVENT_TYPES)},
            "since": {"type": "str"},
            "after_event": {"type": "int"},
            "limit": {"type": "int", "default": 1000},
            "nic_limit": {"type": "int"},
            "nic_offset": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
