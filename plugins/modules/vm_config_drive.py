#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_config_drive
short_description: Give VMs their config drives on their hypervisor
version_added: 0.1.0
description:
  - Gives each listed VM exactly its config drive. The module builds it, puts it where the hypervisor wants it, attaches it read-only,
    and refreshes it when its content changes; or it removes the drive.
  - The drive of a VM carries the VM's id. A drive that belongs to another VM, or that another program built, is replaced, deleted or
    attached only with O(take_over=true). A file that is no config drive is never touched. If a clone still has another VM's drive
    in its CD/DVD drive, that is taken out.
  - The ISO goes to C(<image_dir>/<vm>.iso) on V(kvm), to C(<vm>.iso) in the ISO storage repository of the host on
    V(xenserver), and to C([datastore of the first disk] <vm>/<vm>.iso) on V(vmware). It sits in a CD/DVD drive after the
    first, which stays free for other media.
  - One VM that fails does not stop the others; the task fails at its end, and RV(drives) says which.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.vm_errors
  - vmops.external_dhcp.config_drive
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
attributes:
  diff_mode:
    details:
      - Names and sizes are shown, secrets only as a digest that cannot be used outside of the result.
options:
  state:
    description:
      - V(present) makes each drive hold exactly what its entry says.
      - V(updated) changes only what its entry gives (such as a new password) and keeps everything else on the drive, its label included.
        There must be a drive.
      - V(moved) moves the drives when their VMs go to O(destination). In check mode a change is predicted for every VM that has a
        drive.
      - V(followed) moves the drives, with their content unchanged, to where their VMs are now, and puts them in, after migrations and
        restarts by other means. A VM without a whole drive is left as it is (RV(drives[].lost)), and so is one whose drive was taken
        out on purpose.
      - V(ejected) takes the drives out of their CD/DVD drives and keeps the files, so that a VM is no longer tied to the place of its
        file. V(updated) puts a drive in again; V(present) does so if its content changes or if O(reinsert=true).
      - V(retired) takes the password off the drives whose guests have set it (O(confirmation)), and keeps everything else. A salted
        digest of the password stays, so that neither V(present) nor V(updated) puts the same one back. Where a password stays,
        RV(drives[].unconfirmed) says why. A hash for cloud-init stays.
      - V(absent) ejects and deletes the drives.
      - With V(moved), V(followed), V(ejected) and V(absent) only the names of the entries are used, with V(retired) names and readers.
    type: str
    choices: [present, updated, moved, followed, ejected, retired, absent]
    default: present
  confirmation:
    description:
      - For O(state=retired), what shows that a guest has set the password.
      - With V(guest), its guest scripts, or cloud-init with O(drives[].confirm_password), must have confirmed this one drive. On V(kvm)
        the QEMU guest agent reads the confirmation; on V(vmware) and V(xenserver) the guest sends it to the hypervisor, if it has
        C(vmware-rpctool) or C(xenstore-write).
      - With V(boot), a guest without a confirmation counts as well if it runs, was started since the drive was put, and has V(ours) as
        O(drives[].reader), which acts at every start. The caller must know that the guest's start is complete by now.
    type: str
    choices: [guest, boot]
    default: guest
  destination:
    description:
      - Where the VMs go. Required with O(state=moved).
      - On V(vmware), the name of the datastore of the first disk after the migration. A task before the migration disconnects the
        drive; a task after it brings the ISO to the datastore and connects it again.
      - On V(xenserver), the name or UUID of the host. The drive is ejected, the VM migrated, and the drive made anew there.
      - On V(kvm), the libvirt URI of the other host. A task before the migration puts the ISO there under the same path.
    type: str
  reinsert:
    description:
      - For O(state=present), whether a drive that was taken out on purpose (O(state=ejected)) is put in again although its content is
        the same. A drive whose content changes is always put in.
    type: bool
    default: true
  keep_unread:
    description:
      - For O(state=ejected), whether a drive that its guest may not have read stays in (RV(drives[].unread)). That is so if the VM is
        off, or was started before the drive was put.
    type: bool
    default: true
  missing:
    description:
      - What to do about a VM that does not exist. V(fail) makes its entry an error. V(skip) passes over it, but still checks the entry
        and gives its warnings, as is useful in check mode before the VMs are created.
    type: str
    choices: [fail, skip]
    default: fail
  take_over:
    description:
      - Whether a config drive in the place of a VM's own may be replaced or deleted although it carries another VM's id, as when
        the VM was made anew under its old name, or although another program built it.
      - Make sure that no VM needs the old drive any more.
    type: bool
    default: false
requirements:
  - pycdlib on the controller
seealso:
  - module: vmops.external_dhcp.config_drive_iso
"""

EXAMPLES = r"""
- name: Give a VM its config drive
  vmops.external_dhcp.vm_config_drive:
    hypervisor:
      type: kvm
      uri: qemu+ssh://root@kvm01.example.com/system
    drives:
      - name: web1
        password: "{{ vault_web1_password }}"
        ssh_keys:
          - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGh5Y2FtZWxjYXNlaXNub3RhbmlkZWFvZmdvb2Q ops@example.com
        user_data:
          role: web
          tier: front
        metadata:
          service_offering: small
          availability_zone: zone1

- name: Put a new password on a VM's drive and keep everything else (the guest sets it at its next boot)
  vmops.external_dhcp.vm_config_drive:
    hypervisor: "{{ hypervisor }}"
    drives:
      - name: web1
        password: "{{ new_password }}"
    state: updated

- name: Take the password off again, if the guest has set it
  vmops.external_dhcp.vm_config_drive:
    hypervisor: "{{ hypervisor }}"
    drives:
      - name: web1
    state: retired

- name: Take the password off again, whatever the guest has done
  vmops.external_dhcp.vm_config_drive:
    hypervisor: "{{ hypervisor }}"
    drives:
      - name: web1
        password: ""
    state: updated

- name: Migrate a running VM to another host of its XenServer pool, drive and all
  vmops.external_dhcp.vm_config_drive:
    hypervisor: "{{ hypervisor }}"
    drives:
      - name: web1
    state: moved
    destination: xcp02

- name: Take a drive out that the guest has read, so that the VM's host can be evacuated
  vmops.external_dhcp.vm_config_drive:
    hypervisor: "{{ hypervisor }}"
    drives:
      - name: web1
    state: ejected

- name: Delete the drives of two VMs
  vmops.external_dhcp.vm_config_drive:
    hypervisor: "{{ hypervisor }}"
    drives:
      - name: web1
      - name: web2
    state: absent
"""

RETURN = r"""
drives:
  description: One entry for each entry of O(drives), in that order; also returned when the module failed.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The VM's name.
      type: str
      sample: web1
    location:
      description: Where the ISO is, or would be, as the hypervisor writes it.
      type: str
      sample: /var/lib/libvirt/images/web1.iso
    slot:
      description: The CD/DVD drive it is in, or would be in, as the hypervisor names it.
      type: str
      sample: hdd
    sha256:
      description: SHA-256 of the ISO; V(none) if there is none.
      type: str
      sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    changed:
      description: Whether something of this VM was changed, or would be in check mode.
      type: bool
      sample: true
    restart_required:
      description: Whether the guest sees the drive only after the VM was shut down and started.
      type: bool
      sample: false
    ejected:
      description: Whether the drive is out of its CD/DVD drive on purpose, or would be in check mode.
      type: bool
      sample: false
    unread:
      description: With O(state=ejected), whether the drive stays in because the guest may not have read it.
      type: bool
      sample: false
    lost:
      description: With O(state=followed), whether the VM has no whole drive anywhere.
      type: bool
      sample: false
    unconfirmed:
      description: With O(state=retired), why a password stays on the drive; V(none) if it was taken off, or if there was none.
      type: str
      sample: its guest has not said that it read the drive, or not where that can be seen from here
    acts_on_refresh:
      description:
        - Whether a guest that has booted with another drive before will act on this one at its next boot; V(none) if
          O(drives[].reader) is not given.
        - cloud-init and cloudbase-init act only on a new C(instance_id). cloud-init does not even look for one if the old one is the
          system UUID of the machine, as the VM's id is on V(kvm) and V(xenserver), which is what the drive has if none is given.
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
      description: Why this VM failed, or V(none).
      type: str
      sample: "there is no VM web9 on qemu:///system: check the name, and that it is on this hypervisor"
"""

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drives import DriveModule
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_config_drive import run_module

_STATES = ["present", "updated", "moved", "followed", "ejected", "retired", "absent"]


def main() -> None:
    module = DriveModule(
        argument_spec={
            **_argspec.hypervisor(),
            **_argspec.vm_errors(),
            **_argspec.drives(),
            "state": {"type": "str", "choices": _STATES, "default": "present"},
            "confirmation": {"type": "str", "choices": ["guest", "boot"], "default": "guest"},
            "destination": {"type": "str"},
            "reinsert": {"type": "bool", "default": True},
            "keep_unread": {"type": "bool", "default": True},
            "missing": {"type": "str", "choices": ["fail", "skip"], "default": "fail"},
            "take_over": {"type": "bool", "default": False},
        },
        required_if=[("state", "moved", ["destination"])],
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
