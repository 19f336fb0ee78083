#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_drive_iso
short_description: Build config drives for VMs as ISO images
version_added: 0.1.0
description:
  - Builds the config drives of any number of VMs as ISO 9660 images with Rock Ridge and Joliet, one file for each VM.
  - No hypervisor is needed. To give VMs their drives on a hypervisor use M(vmops.external_dhcp.vm_config_drive).
  - The same data always gives the same bytes, whatever the clock, the time zone, the locale and the Python version.
  - Drives that are already right are kept. An error in one entry does not keep the others from being built; the task fails at
    the end.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.config_drive
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
options:
  dest:
    description:
      - The folder of the images, on the host that runs the module. A drive's file is C(<name>.iso), readable by its owner alone
        (V(0600)).
      - A missing folder is made with mode V(0700) when the first drive is written. A folder that another account owns or may write to is
        refused.
    type: path
    required: true
  state:
    description:
      - V(present) makes each drive exactly what its entry says.
      - V(updated) replaces what an entry gives of C(password), C(password_hash), C(ssh_keys), C(user_data) and the keys of C(metadata),
        and keeps everything else on the drive, its label and layouts included. An empty value removes that part. The drive must
        exist; another program may have built it.
      - V(absent) deletes the drives; of an entry only C(name) and C(vm_id) in C(metadata) count.
      - A file that is no config drive is never deleted or replaced.
    type: str
    choices: [present, updated, absent]
    default: present
  take_over:
    description:
      - Whether a drive that carries another C(vm_id) than the entry gives, or that another program built, may be replaced or deleted.
    type: bool
    default: false
attributes:
  diff_mode:
    details:
      - Shows names, sizes and digests of the files, never their contents. The digests of secrets are keyed, so that they can be
        compared within one result but passwords cannot be tried against them.
notes:
  - RV(drives[].sha256) is a digest of the whole image. Whoever knows everything else on a drive can try weak passwords against
    it; random ones, such as those of P(vmops.external_dhcp.vm_password#lookup), cannot be found that way.
requirements:
  - pycdlib
seealso:
  - module: vmops.external_dhcp.config_drive_iso_info
  - module: vmops.external_dhcp.vm_config_drive
  - plugin: vmops.external_dhcp.vm_password
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Build the drive of one VM
  vmops.external_dhcp.config_drive_iso:
    dest: /var/lib/config-drives
    drives:
      - name: web1
        metadata:
          vm_id: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
          service_offering: Medium
          availability_zone: zone-1
        user_data: {role: web, tier: front}
        password: "{{ vault_web1_password }}"
        ssh_keys: "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"

- name: Build all drives for guests with cloud-init
  vmops.external_dhcp.config_drive_iso:
    dest: /var/lib/config-drives
    label: config-2
    drives: "{{ vms }}"
  vars:
    vms:
      - name: db1
        reader: cloud_init
        metadata: {instance_id: 5d1b3c1e-0d2c-4a53-8a09-f7a4f1a1f0aa}
        password_hash: "{{ vault_db1_password_hash }}"
        user_data: |
          #cloud-config
          timezone: Europe/Zurich
      - name: db2
        reader: cloud_init
        metadata: {instance_id: 9c2d9c6e-7a61-4f5a-b5f5-3f0c8e1c8b11}
        services: []
        network: corp-vlan120

- name: Put a new password on a drive and keep all the rest
  vmops.external_dhcp.config_drive_iso:
    dest: /var/lib/config-drives
    state: updated
    drives:
      - name: web1
        password: "{{ vault_web1_new_password }}"

- name: Delete a drive
  vmops.external_dhcp.config_drive_iso:
    dest: /var/lib/config-drives
    state: absent
    drives:
      - name: db2
"""

RETURN = r"""
drives:
  description: One entry for each entry of O(drives), in that order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The VM's name.
      type: str
      sample: web1
    path:
      description: The image.
      type: str
      sample: /var/lib/config-drives/web1.iso
    sha256:
      description: SHA-256 of the image; V(none) with O(state=absent) or an error. In check mode, of the image as it would be.
      type: str
      sample: 431f11e6aee01e107025a67d3e7f6aa6db167f8e64218b37164bf46de340d981
    size:
      description: Size of the image in bytes.
      type: int
      sample: 131072
    changed:
      description: Whether the file was, or in check mode would be, written or deleted.
      type: bool
      sample: true
    acts_on_refresh:
      description:
        - Whether a guest that has booted with another drive before will act on this one at its next boot; V(none) if
          O(drives[].reader) is not given.
        - cloud-init and cloudbase-init act only on a new C(instance_id).
      type: bool
      sample: true
    new_password:
      description: Whether a password was made for O(drives[].password_public_key), or would be in check mode.
      type: bool
      sample: true
    encrypted_password:
      description:
        - The password that was made, encrypted to O(drives[].password_public_key), as base64; V(none) where none was made.
        - Read it through C(base64 -d) and, for an RSA key, C(openssl pkeyutl -decrypt -inkey key.pem -pkeyopt rsa_padding_mode:oaep
          -pkeyopt rsa_oaep_md:sha256), or, for other keys, C(age -d -i ~/.ssh/id_ed25519).
      type: str
    error:
      description: What is wrong with this entry; V(none) if nothing is.
      type: str
      sample: "drive web1: password is empty"
"""

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.config_drive_iso import run_module
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drives import DriveModule


def main() -> None:
    module = DriveModule(
        argument_spec={
            **_argspec.drives(),
            "dest": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "updated", "absent"], "default": "present"},
            "take_over": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
