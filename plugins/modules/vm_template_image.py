#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_template_image
short_description: Make a template of a disk image, without booting it
description:
  - Writes files into an image's Linux system, enables services, installs the guest agent, sets cloud-init for config drives, and
    removes what two clones must not share. It changes only what is not as it should be.
  - The role P(vmops.external_dhcp.vm_template#role), entry point C(image), gives it the guest scripts and their starters.
  - All work is done in a copy beside the image, which takes the image's place only if everything went well. So the image is never left
    half done. Its folder needs room for a copy as a raw disk.
  - What has to be done is found without a mount and without root, so check mode needs neither.
version_added: 0.1.0
author:
  - vmops maintainers (@vmops)
requirements:
  - dissect (C(requirements-disks.txt))
  - C(qemu-img)
  - C(virt-customize) (libguestfs), or root with C(unshare), C(mount), C(sfdisk) and C(blkid)
extends_documentation_fragment:
  - vmops.external_dhcp.template
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
attributes:
  diff_mode:
    details:
      - Lists what is done, without the contents of files.
options:
  image:
    description:
      - The image, raw or qcow2, with ext2 to ext4, XFS or btrfs. Nothing else may use it meanwhile.
      - An image with a backing file is refused; flatten it first (C(qemu-img convert)).
    type: path
    required: true
  files:
    description: Files that the system must have.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The path in the system.
        type: str
        required: true
      content:
        description: The text, without secrets, because everybody who has the template can read it.
        type: str
        required: true
      mode:
        description: The permissions. The owner is root.
        type: str
        default: "0644"
  services:
    description: Services that must start with the system. The unit of a service in O(files) is started by C(multi-user.target).
    type: list
    elements: str
    default: []
  install:
    description:
      - Whether missing packages are installed, the guest agent of O(hypervisor_type), and cloud-init if O(reader) needs it.
      - They come from the image's own package sources, through this machine's network.
    type: bool
    default: true
  clean:
    description: Whether leases, host keys, the machine id and the like are removed.
    type: bool
    default: true
  method:
    description:
      - How the image is changed.
      - V(virt_customize) uses libguestfs, which boots a small system with the image, and can handle LVM and other processors.
      - V(chroot) mounts the image's partitions in a namespace of their own. It needs root, and cannot handle LVM. However it ends,
        nothing stays mounted.
      - V(auto) is V(virt_customize) where it is installed, else V(chroot).
    type: str
    choices: [auto, virt_customize, chroot]
    default: auto
  timeout:
    description: Longest time for the work in the image, in seconds.
    type: float
    default: 1800
seealso:
  - module: vmops.external_dhcp.vm_template_info
"""

EXAMPLES = r"""
- name: Clean an image, and let cloud-init read only config drives
  vmops.external_dhcp.vm_template_image:
    image: /var/lib/images/debian-12.qcow2
    hypervisor_type: kvm
    reader: cloud_init
    label: config-2
"""

RETURN = r"""
done:
  description: What was done, or in check mode would be done.
  returned: success
  type: list
  elements: str
  sample: [write /etc/machine-id, remove /etc/ssh/ssh_host_ed25519_key]
method:
  description: How the image was changed; V(none) if nothing was to be done.
  returned: success
  type: str
  sample: chroot
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_template_image import run_module


def main() -> None:
    run_module(
        AnsibleModule(
            argument_spec={
                **_argspec.template(),
                "image": {"type": "path", "required": True},
                "files": {
                    "type": "list",
                    "elements": "dict",
                    "default": [],
                    "options": {
                        "path": {"type": "str", "required": True},
                        "content": {"type": "str", "required": True},
                        "mode": {"type": "str", "default": "0644"},
                    },
                },
                "services": {"type": "list", "elements": "str", "default": []},
                "install": {"type": "bool", "default": True},
                "clean": {"type": "bool", "default": True},
                "method": {"type": "str", "choices": ["auto", "virt_customize", "chroot"], "default": "auto"},
                "timeout": {"type": "float", "default": 1800},
            },
            supports_check_mode=True,
        )
    )


if __name__ == "__main__":
    main()
