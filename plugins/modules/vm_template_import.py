#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_template_import
short_description: Make a VM of a disk image, as a template for others
description:
  - Uploads an image to the hypervisor and makes a powered-off VM of it, with an empty CD/DVD drive for the user's media, one for the config
    drive, a NIC, and what a console and a guest agent need there. The image is not changed.
  - A VM of this name that this module has made is kept as it is; another VM of this name is an error.
  - An import that fails half-way is undone.
  - An image that refers to another file, which would be shown to the guest, is refused.
  - "On V(kvm) the image goes through libvirt into a storage pool of a folder."
  - "On V(xenserver) it becomes a disk of the storage repository C(sr) of O(placement), else of the pool's default one, and the VM is a
    template like C(Other install media). The VM is HVM, its CD/DVD drives are IDE."
  - "On V(vmware) it is imported through vCenter as a VM with a paravirtual SCSI controller and a vmxnet3 NIC, and marked as a template."
version_added: 0.1.0
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
options:
  name:
    description: The VM's name.
    type: str
    required: true
  image:
    description:
      - The image, on the host for which the module runs. Formats that the hypervisor takes as they are go there quickest, qcow2 and raw on
        V(kvm), VHD and raw on V(xenserver), VMDK (streamOptimized) and OVA on V(vmware).
      - Other formats are converted first with C(qemu-img), which must be on that host, in the image's folder if it is writable.
      - Of an OVA only its disk is used, and there must be only one. The VM is as the options of this module say.
    type: path
    required: true
  image_format:
    description: The image's format. V(auto) finds it from the first bytes.
    type: str
    choices: [auto, raw, qcow2, vhd, vmdk, ova]
    default: auto
  network:
    description: The network, bridge or port group that the VM's NIC is on. Clones get NICs like this one.
    type: str
    required: true
  bus:
    description:
      - The bus of the CD/DVD drives. The image's kernel must have the driver for it.
      - On V(kvm) the default is V(scsi), virtio-scsi on a machine of type q35, for which kernels for clouds have the driver; V(sata) is a
        q35 machine's own, V(ide) that of the older type pc.
      - On V(xenserver) there is only V(ide). On V(vmware) the default is V(sata); V(ide) is possible, too.
    type: str
    choices: [ide, sata, scsi]
  memory:
    description: Memory in MiB, the default for its clones.
    type: int
    default: 1024
  cpus:
    description: Number of virtual CPUs, the default for its clones.
    type: int
    default: 1
  efi:
    description: Whether the VM boots with UEFI, for images without a boot loader for a BIOS.
    type: bool
    default: false
  placement:
    description: Where the VM is made, as for O(vmops.external_dhcp.vm#module:placement).
    type: dict
seealso:
  - module: vmops.external_dhcp.vm_template_info
  - module: vmops.external_dhcp.vm
"""

EXAMPLES = r"""
- name: Make a template of a distribution's cloud image
  vmops.external_dhcp.vm_template_import:
    hypervisor: "{{ hypervisor }}"
    name: debian-12
    image: /var/lib/images/debian-12-genericcloud-amd64.qcow2
    network: br-corp
    placement: "{{ image_placement | default({}) }}" # such as {sr: nfs-vms} on XenServer, {datastore: vsan} on VMware
"""

RETURN = r"""
id:
  description: The hypervisor's UUID of the VM; V(none) in check mode for one that is not there.
  returned: success
  type: str
  sample: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
bus:
  description: The bus of the CD/DVD drives, see O(bus).
  returned: success
  type: str
  sample: scsi
drivers:
  description: The Linux drivers that the VM's disk and NIC need.
  returned: success
  type: list
  elements: str
  sample: [virtio_blk, virtio_net]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_template_import import run_module


def main() -> None:
    run_module(
        AnsibleModule(
            argument_spec={
                **_argspec.hypervisor(),
                "name": {"type": "str", "required": True},
                "image": {"type": "path", "required": True},
                "image_format": {"type": "str", "choices": ["auto", "raw", "qcow2", "vhd", "vmdk", "ova"], "default": "auto"},
                "network": {"type": "str", "required": True},
                "bus": {"type": "str", "choices": ["ide", "sata", "scsi"]},
                "memory": {"type": "int", "default": 1024},
                "cpus": {"type": "int", "default": 1},
                "efi": {"type": "bool", "default": False},
                "placement": {"type": "dict"},
            },
            supports_check_mode=True,
        )
    )


if __name__ == "__main__":
    main()
