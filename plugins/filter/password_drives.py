# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: password_drives
short_description: Make entries of config drives from new passwords
version_added: 0.1.0
description:
  - Makes the option O(vmops.external_dhcp.vm_config_drive#module:drives) for
    O(vmops.external_dhcp.vm_config_drive#module:state=updated), with each drive's services, network and reader from the plan.
author:
  - vmops maintainers (@vmops)
positional: plan, password_public_key
options:
  _input:
    description: The new passwords by VM name; V(none) has a password made.
    type: dict
    required: true
  plan:
    description: The result of P(vmops.external_dhcp.vm_plan#filter), with all of these VMs.
    type: list
    elements: dict
    required: true
  password_public_key:
    description: The public key to which a made password is encrypted, if the plan has none for the VM.
    type: str
"""

EXAMPLES = r"""
- name: Put the new passwords on the drives
  vmops.external_dhcp.vm_config_drive:
    hypervisor: "{{ hypervisor }}"
    drives: "{{ vm_passwords | vmops.external_dhcp.password_drives(vms | vmops.external_dhcp.vm_plan(shared_networks)) }}"
    state: updated
"""

RETURN = r"""
_value:
  description: The entries. They hold the passwords.
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_jobs import reset_drives


class FilterModule:
    """Makes entries of config drives."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"password_drives": reset_drives}
