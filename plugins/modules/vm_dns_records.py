#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_dns_records
version_added: 0.1.0
short_description: Register the recorded addresses of VMs in DNS
description:
  - Makes the A, AAAA and PTR records of one DNS server agree with the record of NICs, by dynamic update (RFC 2136) signed with TSIG.
  - A name and its reverse name are one pair, written and removed together. Beside each of our names stands a mark, the TXT record
    of C(_external-dhcp.NAME), which names the owner. A name that has data and no mark of ours is never changed.
  - Many names are changed in one transaction. It has prerequisites for each name, so that a name which somebody else has taken or
    changed since it was read stays as it is.
  - After an update the server is asked again, and its answer decides whether the update succeeded.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.record
  - vmops.external_dhcp.dns_names
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
options:
  server:
    description: The DNS server, which must be the primary of the zones. Use one task for each server and view.
    type: dict
    required: true
    suboptions:
      host:
        description: Its name or address.
        type: str
        required: true
      port:
        description: Its TCP port.
        type: int
        default: 53
      key_name:
        description: Name of the TSIG key. Without a key messages are not signed.
        type: str
      key_secret:
        description: The key's secret, in base64.
        type: str
      key_algorithm:
        description: The key's algorithm.
        type: str
        choices: [hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512, hmac-sha1, hmac-md5]
        default: hmac-sha256
      key_file:
        description: Instead of O(server.key_name), O(server.key_secret) and O(server.key_algorithm), a file on the controller with the
          key as C(tsig-keygen) writes it.
        type: path
      zones:
        description:
          - The zones that may be changed, forward and reverse, such as V(vms.example.com) and V(99.10.in-addr.arpa). A name belongs to
            the longest one that fits.
          - If not set, the server is asked for the zone (SOA record) of each domain, IPv4 /24 and IPv6 /64. Then names of VMs that
            left are found only by the addresses that the record remembers.
        type: list
        elements: str
      networks:
        description: Only NICs in these of O(networks) get names on this server. If not set, all.
        type: list
        elements: str
      read:
        description:
          - How the names are read. V(transfer) reads whole zones (AXFR), V(queries) asks for each name with three messages; V(auto)
            transfers if there are many names and the server allows it.
          - Without transfers, names of VMs that left are found by the record's events.
        type: str
        choices: [auto, transfer, queries]
        default: auto
      timeout:
        description: Longest time to wait for one answer, in seconds.
        type: float
        default: 10
      secondaries:
        description:
          - Secondary servers, as V(HOST) or V(HOST:PORT), that are asked with the same key until they have the changes. A server that
            does not have them after O(server.wait) gives a warning.
        type: list
        elements: str
        default: []
      wait:
        description: Longest time to wait for O(server.secondaries), in seconds.
        type: float
        default: 30
  state:
    description: V(present) makes the names agree with the record; V(absent) removes our names.
    type: str
    choices: [present, absent]
    default: present
  vms:
    description: Only VMs with these names or ids; a list, or a text with commas between them. Names of other VMs are left as they are.
    type: raw
  changed_within:
    description: Only VMs that were found, changed, lost or destroyed in the last so many seconds, by the record. If not set, all VMs.
    type: int
  ptr:
    description: Whether there are PTR records, too.
    type: bool
    default: true
  ttl:
    description: How long resolvers may keep an answer, in seconds.
    type: int
    default: 300
  owner:
    description:
      - The owner of the names, as it stands in the marks. The default is the record's own id, so that two records never remove each
        other's names.
    type: str
  former_owners:
    description: Owners whose names are taken over, such as the id of a record that this one replaced.
    type: list
    elements: str
    default: []
  fail_on_conflicts:
    description: Whether the task fails if a VM gets no name, because the name is somebody else's or no DNS name. Otherwise it warns.
    type: bool
    default: false
requirements:
  - dnspython 2.6 or newer on the controller.
seealso:
  - module: vmops.external_dhcp.vm_dns_file
  - module: vmops.external_dhcp.vm_nic_record_info
"""

EXAMPLES = r"""
- name: Register all addresses of the record
  vmops.external_dhcp.vm_dns_records:
    server:
      host: ns1.example.com
      key_file: /etc/vmops/dns.key
      zones: [vms.example.com, 99.10.in-addr.arpa]
    domain: vms.example.com

- name: See what would be changed for two networks with domains of their own
  vmops.external_dhcp.vm_dns_records:
    server:
      host: ns1.example.com
      key_file: /etc/vmops/dns.key
    networks:
      - {name: corp, dns_domain: corp.example.com}
      - {name: lab, dns_domain: lab.example.com}
    name: "{vm}-{nic}"
  check_mode: true
  diff: true

- name: Only what changed in the last ten minutes
  vmops.external_dhcp.vm_dns_records:
    server:
      host: ns1.example.com
      key_name: vmops
      key_secret: "{{ vault_dns_secret }}"
    domain: vms.example.com
    changed_within: 600

- name: Remove the names of one hypervisor's VMs
  vmops.external_dhcp.vm_dns_records:
    server:
      host: ns1.example.com
      key_file: /etc/vmops/dns.key
    domain: vms.example.com
    hypervisor_name: [kvm01]
    state: absent
"""

RETURN = r"""
msg:
  description: What was done, in one line.
  returned: always
  type: str
  sample: 2 added, 0 changed, 0 removed; 1 names and addresses, 0 conflicts
changes:
  description: The names that were changed, or would be in check mode; forward and reverse names are one entry each.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name, without a dot at its end.
      type: str
      sample: web1.vms.example.com
    change:
      description: V(added), V(changed) or V(removed).
      type: str
      sample: added
    data:
      description: The addresses or names it has now, or had before it was removed.
      type: list
      elements: str
      sample: [10.99.0.57]
conflicts:
  description: VMs and addresses that got no name, at most 1000.
  returned: always
  type: list
  elements: dict
  contains:
    vm_name:
      description: The VM's name.
      type: str
      sample: web1
    vm_id:
      description: The hypervisor's UUID of the VM.
      type: str
      sample: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
    hypervisor_name:
      description: The hypervisor the VM is on.
      type: str
      sample: kvm01
    device:
      description: Position of the NIC on the VM, counted from 0.
      type: int
      sample: 0
    name:
      description: The name it would have; V(none) if none could be made.
      type: str
      sample: web1.vms.example.com
    address:
      description: The address.
      type: str
      sample: 10.99.0.57
    reason:
      description:
        - V(bad_name) (the VM's name is no DNS name), V(foreign) (the name or address is somebody else's in DNS), V(taken) (it is
          another VM's) or V(no_zone) (the server has no zone for it).
      type: str
      sample: foreign
    message:
      description: The reason as a sentence.
      type: str
      sample: "web1 NIC 0 (10.99.0.57): web1.vms.example.com is somebody else's and stays as it is (A 192.0.2.1); remove it there if it is not"
pairs:
  description: How many pairs of a name and an address are registered for the VMs of this run.
  returned: always
  type: int
  sample: 1
transactions:
  description: How many transactions were sent to the server.
  returned: always
  type: int
  sample: 2
messages:
  description: How many messages were sent, not counting transfers of zones.
  returned: always
  type: int
  sample: 9
zones:
  description: The zones that were read.
  returned: always
  type: list
  elements: str
  sample: [vms.example.com, 99.10.in-addr.arpa]
transferred:
  description: Whether whole zones were read.
  returned: always
  type: bool
  sample: true
behind:
  description: A sentence for each secondary that does not have the changes yet.
  returned: always
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec, _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_dns_records import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.record(),
            **_argspec.dns_names(),
            **_argspec.dns_server(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "vms": {"type": "raw"},
            "changed_within": {"type": "int"},
            "ptr": {"type": "bool", "default": True},
            "ttl": {"type": "int", "default": _defaults.DNS_TTL},
            "owner": {"type": "str"},
            "former_owners": {"type": "list", "elements": "str", "default": []},
            "fail_on_conflicts": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
