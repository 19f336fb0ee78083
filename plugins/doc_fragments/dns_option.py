# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The option is in plugins/module_utils/_argspec.py, dns().
    DOCUMENTATION = r"""
options:
  dns:
    description:
      - Writes each change into DNS as soon as it is recorded, as M(vmops.external_dhcp.vm_dns_records) does, while this task goes on
        looking and listening (O(watch)). A server that does not accept it gives a warning.
      - VMs that are stopped have no event; M(vmops.external_dhcp.vm_dns_records) takes out their names.
    type: dict
    suboptions:
      servers:
        description: The servers and views, one entry each.
        type: list
        elements: dict
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
            description: Instead of V(key_name), V(key_secret) and V(key_algorithm), a file on the controller with the key as
              C(tsig-keygen) writes it.
            type: path
          zones:
            description:
              - The zones that may be changed, forward and reverse, such as V(vms.example.com) and V(99.10.in-addr.arpa). A name belongs
                to the longest one that fits.
              - If not set, the server is asked for the zone (SOA record) of each domain, IPv4 /24 and IPv6 /64. Then names of VMs that
                left are found only by the addresses that the record remembers.
            type: list
            elements: str
          networks:
            description: Only NICs in these of O(dns.networks) get names on this server. If not set, all.
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
                does not have them after V(wait) gives a warning.
            type: list
            elements: str
            default: []
          wait:
            description: Longest time to wait for V(secondaries), in seconds.
            type: float
            default: 30
      networks:
        description:
          - The networks whose NICs get names, by name or as dictionaries with V(name) and V(dns_domain), such as the entries of the
            variable C(shared_networks). A network is also known by its V(bridge); other keys are ignored.
          - NICs in a network without V(dns_domain) get names in O(dns.domain), and none if that is not set.
        type: list
        elements: raw
      domain:
        description: The domain for NICs whose network has no V(dns_domain), such as V(vms.example.com).
        type: str
      name:
        description:
          - The pattern of a name, without its domain. V({vm}) stands for the VM's name, V({network}) for the network's, V({nic}) for the
            NIC's number and V({hypervisor}) for the hypervisor's name in the record.
          - Each of them must be a DNS label by itself (letters, digits, hyphens). A VM for which one is not gets no name; see
            O(dns.names). For a VM named V(web1.DOMAIN), V({vm}) is V(web1). Names that guests give themselves are never used.
        type: str
        default: "{vm}"
      names:
        description: Names to use for V({vm}) in place of the VMs' own, by the VM's name or id.
        type: dict
      families:
        description: Which address families get names. If not set, IPv4 and IPv6.
        type: list
        elements: int
        choices: [4, 6]
      reserved:
        description: Names that no VM gets unless O(dns.names) gives it to the VM, because clients trust whoever has them.
        type: list
        elements: str
        default: [autoconfig, autodiscover, isatap, localhost, wpad]
      ptr:
        description: Whether there are PTR records, too.
        type: bool
        default: true
      ttl:
        description: How long resolvers may keep an answer, in seconds.
        type: int
        default: 300
      owner:
        description: The owner of the names, as it stands in the marks. The default is the record's own id.
        type: str
      former_owners:
        description: Owners whose names are taken over.
        type: list
        elements: str
        default: []
"""
