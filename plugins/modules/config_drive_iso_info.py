#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_drive_iso_info
short_description: Read and verify config drives
version_added: 0.1.0
description:
  - Opens config drives, also of other programs, with Rock Ridge, Joliet or neither, and lists what is on them.
  - Compares drives with their descriptions and says what differs.
  - Passwords, keys and user data are returned only when asked for, see O(contents).
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.config_drive
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.info_module
options:
  paths:
    description: Images to read.
    type: list
    elements: path
  dest:
    description: With O(drives), the folder in which their images are, as C(<name>.iso).
    type: path
  drives:
    description:
      - The config drives to check, in the form that M(vmops.external_dhcp.config_drive_iso) takes them.
      - Passwords, keys and user data in it never appear in results, diffs or logs.
    required: false
  contents:
    description:
      - Which files' contents are returned in RV(drives[].files[].content).
      - V(metadata) returns those of the files that hold nothing secret.
      - V(all) returns those of all files; it is refused unless the task has C(no_log=true).
    type: str
    choices: [none, metadata, all]
    default: none
seealso:
  - module: vmops.external_dhcp.config_drive_iso
"""

EXAMPLES = r"""
- name: See what is on a drive, but no secrets
  vmops.external_dhcp.config_drive_iso_info:
    paths: [/var/lib/config-drives/web1.iso]
    contents: metadata
  register: result

- name: Verify drives before they are attached
  vmops.external_dhcp.config_drive_iso_info:
    dest: /var/lib/config-drives
    drives: "{{ vms }}"
  register: result
  failed_when: result is failed or not (result.drives | map(attribute='matches') is all)

- name: Read everything, secrets included
  vmops.external_dhcp.config_drive_iso_info:
    paths: [/var/lib/config-drives/web1.iso]
    contents: all
  register: secret_result
  no_log: true
"""

RETURN = r"""
drives:
  description: One entry for each of O(paths), then for each entry of O(drives), in that order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The VM's name; V(none) for an entry of O(paths).
      type: str
      sample: web1
    path:
      description: The image.
      type: str
      sample: /var/lib/config-drives/web1.iso
    exists:
      description: Whether there is such a file. The entries below are V(none) if there is not.
      type: bool
      sample: true
    label:
      description: The volume label of ISO 9660.
      type: str
      sample: config
    joliet_label:
      description: The volume label of Joliet, the one that Windows and C(blkid) show; V(none) without Joliet.
      type: str
      sample: config
    owner:
      description: The id of the VM that the drive was built for; V(none) if another program built it.
      type: str
      sample: 1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10
    intact:
      description: Whether every byte is as it was built; V(none) if another program built the drive.
      type: bool
      sample: true
    sha256:
      description: SHA-256 of the image.
      type: str
      sample: 431f11e6aee01e107025a67d3e7f6aa6db167f8e64218b37164bf46de340d981
    size:
      description: Size of the image in bytes.
      type: int
      sample: 131072
    files:
      description: The files, by their paths.
      type: list
      elements: dict
      contains:
        path:
          description: The path on the drive.
          type: str
          sample: cloudstack/metadata/service-offering.txt
        secret:
          description: Whether the content is a secret.
          type: bool
          sample: false
        size:
          description: Size in bytes.
          type: int
          sample: 6
        digest:
          description:
            - V(sha256:) and the SHA-256 of the content.
            - For a secret, V(keyed:) and a digest that can be compared within this result only.
          type: str
          sample: "sha256:8e588cd187741f1cd76f5fab77b7208782a8c21d764ce7d7a4cf3ac4e0968873"
        mode:
          description: Permissions, where the drive has Rock Ridge.
          type: str
          returned: with Rock Ridge
          sample: "0555"
        content:
          description: The content, if it is UTF-8 text.
          type: str
          returned: as O(contents) says
          sample: Medium
        content_base64:
          description: The content, if it is not UTF-8 text.
          type: str
          returned: as O(contents) says
          sample: H4sIAAAAAAAAA8vPBgBH3dx5AgAAAA==
    matches:
      description: Whether the drive is exactly what its entry in O(drives) describes; V(none) for an entry of O(paths).
      type: bool
      sample: false
    differences:
      description: What differs from the entry; V(none) for an entry of O(paths).
      type: list
      elements: dict
      contains:
        what:
          description: The path of a file, or V(label), V(Joliet label), V(owner) or V(image).
          type: str
          sample: cloudstack/password/vm_password.txt
        before:
          description: What is on the drive; for a file its size and digest. V(none) if it is not there.
          type: raw
          sample: {size: 16, digest: "keyed:5d0b1c3f8e7a9b20"}
        after:
          description: The same of what the entry describes.
          type: raw
          sample: {size: 16, digest: "keyed:e1c0a2b94d6f7713"}
    error:
      description: Why the drive cannot be read; V(none) if it can.
      type: str
      sample: "/var/lib/config-drives/web1.iso: the image is no ISO 9660 file system: it has no primary volume descriptor"
"""

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.config_drive_iso import run_info
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drives import DriveModule


def main() -> None:
    spec = _argspec.drives()
    spec["drives"]["required"] = False
    module = DriveModule(
        argument_spec={
            **spec,
            "paths": {"type": "list", "elements": "path"},
            "dest": {"type": "path"},
            "contents": {"type": "str", "choices": ["none", "metadata", "all"], "default": "none"},
        },
        required_one_of=[("paths", "drives")],
        required_together=[("dest", "drives")],
        supports_check_mode=True,
    )
    run_info(module)


if __name__ == "__main__":
    main()
