# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The options are in plugins/module_utils/_argspec.py, dns_names().
    DOCUMENTATION = r"""
options:
  hypervisor_name:
    description:
      - Only VMs of these hypervisors, by their names in the record; names of other hypervisors' VMs are left as they are.
      - If not set, all hypervisors of the record.
    type: list
    elements: str
  networks:
    description:
      - The networks whose NICs get names, by name or as dictionaries with V(name) and V(dns_domain), such as the entries of the variable
        C(shared_networks). A network is also known by its V(bridge); other keys are ignored.
      - NICs in a network without V(dns_domain) get names in O(domain), and none if that is not set.
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
        O(names). For a VM named V(web1.DOMAIN), V({vm}) is V(web1). Names that guests give themselves are never used.
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
    description: Names that no VM gets unless O(names) gives it to the VM, because clients trust whoever has them.
    type: list
    elements: str
    default: [autoconfig, autodiscover, isatap, localhost, wpad]
"""
