#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_dns_file
version_added: 0.1.0
short_description: Write names and recorded addresses of VMs into a hosts or CSV file
description:
  - For DNS servers that take no dynamic updates. A hosts file is what C(/etc/hosts) and the option C(addn-hosts) of dnsmasq read; a
    CSV file is for programs.
  - Names are made and checked as by M(vmops.external_dhcp.vm_dns_records). Lines that this module did not write stay.
  - The file is replaced as a whole, so that readers see the old one or the new one.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.record
  - vmops.external_dhcp.dns_names
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
options:
  path:
    description: The file, on the controller; its folder must exist. Several hypervisors may have their parts in one file.
    type: path
    required: true
  format:
    description:
      - V(hosts) keeps the names in a block between two lines of comment, one block for each O(hypervisor_name).
      - V(csv) has a line for each address, with the columns name, address, reverse and hypervisor. A file with other columns is
        somebody else's and refused.
    type: str
    choices: [hosts, csv]
    default: hosts
  state:
    description: V(present) makes the names what the record says; V(absent) removes the part of O(hypervisor_name).
    type: str
    choices: [present, absent]
    default: present
  mode:
    description: The permissions of the file, such as V("0640"). If not set, a new file gets V(0644) and an old one keeps its own.
    type: raw
  owner:
    description: The user that owns the file.
    type: str
  group:
    description: The group that owns the file.
    type: str
seealso:
  - module: vmops.external_dhcp.vm_dns_records
"""

EXAMPLES = r"""
- name: A file for dnsmasq's addn-hosts
  vmops.external_dhcp.vm_dns_file:
    path: /etc/dnsmasq.vms.hosts
    domain: vms.example.com
  register: hosts_file

- name: Let dnsmasq read it
  ansible.builtin.command: pkill -HUP dnsmasq
  when: hosts_file is changed

- name: A list for another program
  vmops.external_dhcp.vm_dns_file:
    path: /srv/export/vms.csv
    format: csv
    mode: "0640"
    networks:
      - {name: corp, dns_domain: corp.example.com}
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
  sample: /etc/dnsmasq.vms.hosts
pairs:
  description: The names and addresses of these hypervisors, for a loop over another DNS module.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name, without a dot at its end.
      type: str
      sample: web1.vms.example.com
    address:
      description: The address.
      type: str
      sample: 10.99.0.57
    reverse:
      description: The name of its PTR record.
      type: str
      sample: 57.0.99.10.in-addr.arpa
conflicts:
  description: VMs and addresses that got no name, at most 1000, as M(vmops.external_dhcp.vm_dns_records) returns them.
  returned: success
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_dns_file import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.record(),
            **_argspec.dns_names(),
            "path": {"type": "path", "required": True},
            "format": {"type": "str", "choices": ["hosts", "csv"], "default": "hosts"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "mode": {"type": "raw"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
