#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_table
short_description: Print VMs, their NICs and addresses as a table, or as CSV, JSON or YAML
version_added: 0.1.0
description:
  - Prints the results of M(vmops.external_dhcp.vm_ip_info) and M(vmops.external_dhcp.vm_nic_record_info), one line for each NIC, as plain
    lines rather than as text within a result. They are printed also with C(display_ok_hosts=false).
  - A line that begins with an exclamation mark needs attention, such as that of a NIC that was given up.
  - On a terminal the table fits the width. Names are cut and the less important columns left out; the address is always shown.
  - Characters of names that do not print are shown as escapes.
  - This is an action plugin and runs on the controller.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.info_module
options:
  vms:
    description: RV(vmops.external_dhcp.vm_ip_info#module:vms).
    type: list
    elements: dict
    required: true
  nics:
    description: RV(vmops.external_dhcp.vm_nic_record_info#module:nics).
    type: list
    elements: dict
    required: true
  format:
    description:
      - How to print the VMs. V(csv), V(json) and V(yaml) have everything that P(vmops.external_dhcp.nic_rows#filter) gives, with full
        names and times.
      - In V(csv) an apostrophe stands before a text that a spreadsheet would take for a formula.
    type: str
    choices: [table, csv, json, yaml]
    default: table
  width:
    description:
      - Longest line of the table; V(0) takes as much as is needed.
      - If not set, the width of the terminal (or E(COLUMNS)), and V(0) where the output goes elsewhere.
    type: int
seealso:
  - plugin: vmops.external_dhcp.nic_rows
    plugin_type: filter
  - plugin: vmops.external_dhcp.nic_table
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the VMs
  vmops.external_dhcp.vm_ip_info:
    hypervisor: "{{ hypervisor }}"
    sources: []
  register: found

- name: Read the record
  vmops.external_dhcp.vm_nic_record_info:
    hypervisor_name: ["{{ inventory_hostname }}"]
  register: recorded

- name: Show them
  vmops.external_dhcp.vm_table:
    vms: "{{ found.vms }}"
    nics: "{{ recorded.nics }}"
"""

RETURN = r"""
msg:
  description: What was shown, in numbers.
  returned: success
  type: str
  sample: 12 VMs, 10 addresses, 1 waited for, 1 marked ! need attention
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec


def main() -> None:
    module = AnsibleModule(argument_spec=_argspec.vm_table(), supports_check_mode=True)
    module.fail_json(
        msg="vm_table prints through its action plugin, which was not found: use it by its full name vmops.external_dhcp.vm_table"
    )


if __name__ == "__main__":
    main()
