# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The options are in plugins/module_utils/_argspec.py, template().
    DOCUMENTATION = r"""
options:
  image_format:
    description: The image's format. V(auto) finds it from the first bytes.
    type: str
    choices: [auto, raw, qcow2]
    default: auto
  init:
    description: What starts the system's services. V(auto) finds it from its files.
    type: str
    choices: [auto, systemd, sysv, openrc]
    default: auto
  hypervisor_type:
    description: Which hypervisor's guest agent the template needs. If not set, none.
    type: str
    choices: [kvm, xenserver, vmware]
  reader:
    description: What reads the drives, the guest scripts of the role P(vmops.external_dhcp.vm_template#role) (V(ours)), cloud-init, or both.
    type: str
    choices: [ours, cloud_init, both]
    default: ours
  label:
    description: The label that the config drives of the clones will have.
    type: str
    default: config
  agent_interval:
    description:
      - The longest interval in seconds at which the guest agent reports its addresses to the hypervisor. Without a setting VMware Tools
        do so every 30 seconds, XenServer's C(xe-daemon) every 60. Other agents have no interval.
      - V(0) leaves the interval as it is.
    type: int
    default: 5
"""
