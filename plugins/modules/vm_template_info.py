#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_template_info
short_description: Check a template for what would go wrong with its clones
description:
  - Checks a Linux system that is to be a template, and says what would go wrong in its clones, why, and what to do about it.
  - The system is that of the machine on which the module runs, one that is mounted in a folder, or that of a disk image, for which
    neither a mount, nor root, nor a hypervisor is needed.
  - An image is read by a process that gets only its bytes, with limits of memory and time.
version_added: 0.1.0
author:
  - vmops maintainers (@vmops)
requirements:
  - dissect (C(requirements-disks.txt)), for O(image)
extends_documentation_fragment:
  - vmops.external_dhcp.template
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.info_module
options:
  root:
    description: The folder that is the system's root. Files that cannot be read count as missing, so run the module as root.
    type: path
    default: /
  image:
    description:
      - A disk image to check instead of O(root), raw or qcow2, with ext2 to ext4, XFS or btrfs, with or without LVM.
      - Of a VHD, a VMDK, or an OVA with one disk, C(qemu-img) makes a temporary copy, which is checked.
      - Its VM must be shut off. An image with a backing file is refused; flatten it first (C(qemu-img convert)).
    type: path
  bus:
    description:
      - The bus of the clones' CD/DVD drives, for which every kernel must have a driver. If not set, one driver of any bus is enough, unless
        the running machine has SATA and no virtio-scsi.
    type: str
    choices: [ide, sata, scsi, xen]
  drivers:
    description: Drivers that every kernel must have, such as those of the hypervisor's disk and NIC, by their names in Linux.
    type: list
    elements: str
    default: []
  scripts:
    description: The guest scripts that must be installed, the SHA-256 of each by its name.
    type: dict
    default: {}
  clean:
    description: Whether what two clones must not share is a problem.
    type: bool
    default: true
  accept:
    description: Checks whose problems are accepted, by the names in RV(problems[].check).
    type: list
    elements: str
    default: []
seealso:
  - module: vmops.external_dhcp.vm_config_drive
"""

EXAMPLES = r"""
- name: Look at an image before it becomes a template
  vmops.external_dhcp.vm_template_info:
    image: /var/lib/images/debian-12.qcow2
    hypervisor_type: kvm
    reader: cloud_init
    label: config-2
    bus: sata
  register: template
  failed_when: template is failed or not template.ready
"""

RETURN = r"""
ready:
  description: Whether there are no problems except accepted ones.
  returned: success
  type: bool
  sample: false
problems:
  description: What would go wrong in clones.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description: The check's name, for O(accept).
      type: str
      sample: machine_id
    message:
      description: What would go wrong, and why.
      type: str
      sample: /etc/machine-id is not empty, all clones would share it
    remedy:
      description: What to do about it.
      type: str
      sample: run the entry point clean, or image with vm_template_clean
    sentence:
      description: Both in one line.
      type: str
      sample: /etc/machine-id is not empty, all clones would share it (run the entry point clean, or image with vm_template_clean)
    paths:
      description: Where it is, at most 50.
      type: list
      elements: str
      sample: [etc/machine-id]
accepted:
  description: The problems that O(accept) names.
  returned: success
  type: list
  elements: dict
  sample: []
system:
  description: What the system is.
  returned: success
  type: dict
  contains:
    distribution:
      description: Its id; V(none) if it tells none.
      type: str
      sample: debian
    version:
      description: Its version.
      type: str
      sample: "12"
    family:
      description: The family of distributions as facts name it.
      type: str
      sample: Debian
    init:
      description: What starts its services.
      type: str
      sample: systemd
    settings_path:
      description: Where the settings of the guest scripts belong.
      type: str
      sample: /etc/default/config-drive
    kernels:
      description: Its kernels.
      type: list
      elements: str
      sample: [6.1.0-18-amd64]
    cloud_init:
      description: Whether cloud-init is installed.
      type: bool
      sample: false
    agent:
      description: Whether the guest agent of O(hypervisor_type) is installed; V(none) if none is asked for.
      type: bool
      sample: true
    agent_services:
      description: Its services.
      type: list
      elements: str
      sample: [qemu-guest-agent]
    agent_packages:
      description: The packages that bring it; none where it comes with the hypervisor's own guest tools.
      type: list
      elements: str
      sample: [qemu-guest-agent]
    agent_settings:
      description: The files to write so that the guest agent reports its addresses every O(agent_interval) seconds; none if they are so already.
      type: list
      elements: dict
      contains:
        path:
          description: Where.
          type: str
          sample: /etc/vmware-tools/tools.conf
        content:
          description: The text that must be there.
          type: str
          sample: "[guestinfo]\npoll-interval=5\n"
        mode:
          description: The permissions.
          type: str
          sample: "0644"
leftovers:
  description: The files that the entry point C(clean) removes.
  returned: success
  type: list
  elements: str
  sample: [/etc/ssh/ssh_host_ed25519_key]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_template_info import run_module


def main() -> None:
    run_module(
        AnsibleModule(
            argument_spec={
                **_argspec.template(),
                "root": {"type": "path", "default": "/"},
                "image": {"type": "path"},
                "bus": {"type": "str", "choices": ["ide", "sata", "scsi", "xen"]},
                "drivers": {"type": "list", "elements": "str", "default": []},
                "scripts": {"type": "dict", "default": {}},
                "clean": {"type": "bool", "default": True},
                "accept": {"type": "list", "elements": "str", "default": []},
            },
            supports_check_mode=True,
        )
    )


if __name__ == "__main__":
    main()
