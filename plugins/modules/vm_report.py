#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_report
short_description: Write one HTML page about all VMs, their addresses, networks and hypervisors
description:
  - Writes an HTML page from the record, to open from a web server or as a file. It is one file that loads nothing and sends nothing, so it
    works without a network.
  - It has all VMs with their addresses, or the reason why there is none, to search and to filter; what needs attention; the last
    look at each hypervisor; how full the announced ranges of the shared networks are; and the newest events.
  - Names and messages come from tenants and guests. They are shown as text and never as markup, and the page's content security policy
    lets the browser run no script but the page's own.
  - The page has no passwords, keys or user data. It does have the names and addresses of all VMs; O(mode) says who may read it.
  - This is an action plugin and runs on the controller.
version_added: 0.1.0
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.record
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
attributes:
  diff_mode:
    details:
      - Shows numbers, not the page.
  idempotent:
    details:
      - The file is written each time, because the page says when it was made. RV(ignore:changed) is V(true) only if it says anything else
        than before.
options:
  dest:
    description: The file to write. It is replaced as a whole, so that nobody ever sees half of a page. Its folder must exist.
    type: path
    required: true
  mode:
    description: The file's mode, as an octal number in quotes.
    type: str
    default: "0644"
  title:
    description: The page's heading.
    type: str
    default: VMs on shared networks
  hypervisors:
    description:
      - What is known of the hypervisors beyond the record. Each has C(name) (as in the record), and may have the keys below.
      - C(vms) is RV(vmops.external_dhcp.vm_ip_info#module:vms). With it VMs that the record does not have are shown, too, and those that
        are gone are marked.
      - C(problem) is a sentence that says why the hypervisor could not be read.
      - C(networks) is the variable C(shared_networks) of the roles; its names, V(cidr), V(ip_range) and V(vlan) are shown.
      - C(diagnosis) is a list of VMs with C(name), C(id), C(status), C(verdict), C(next_step) and C(checks) (each with C(check),
        C(status), C(message) and C(next_step)).
    type: list
    elements: dict
    default: []
  only_these:
    description: Whether the page has only O(hypervisors), and not all hypervisors of the record.
    type: bool
    default: false
  events:
    description: How many events are shown, the newest ones; at most 10000.
    type: int
    default: 100
seealso:
  - module: vmops.external_dhcp.vm_nic_record_info
  - module: vmops.external_dhcp.vm_table
"""

EXAMPLES = r"""
- name: A page from the record alone
  vmops.external_dhcp.vm_report:
    record: sqlite:////var/lib/awx/record.db
    dest: /srv/www/vms.html

- name: A page about one hypervisor, with its VMs as they are now
  vmops.external_dhcp.vm_report:
    dest: /srv/www/{{ inventory_hostname }}.html
    mode: "0640"
    only_these: true
    hypervisors:
      - name: "{{ inventory_hostname }}"
        vms: "{{ found.vms }}"
        networks: "{{ shared_networks }}"
"""

RETURN = r"""
path:
  description: The page's file.
  returned: success
  type: str
  sample: /srv/www/vms.html
size:
  description: Its size in bytes.
  returned: when it was written
  type: int
  sample: 84213
counts:
  description: What is on the page, in numbers; NICs by their state.
  returned: success
  type: dict
  sample: {"vms": 300, "nics": 320, "addresses": 290, "attention": 4, "waiting": 6, "found": 290, "off": 20, "not_recorded": 0}
msg:
  description: The same as a sentence.
  returned: success
  type: str
  sample: "/srv/www/vms.html: 300 VMs, 290 addresses, 6 waited for, 4 need attention"
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec


def main() -> None:
    module = AnsibleModule(argument_spec=_argspec.vm_report(), supports_check_mode=True)
    module.fail_json(
        msg="vm_report writes through its action plugin, which was not found: use it by its full name vmops.external_dhcp.vm_report"
    )


if __name__ == "__main__":
    main()
