# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm_password
short_description: Make a random password that every config drive reader can set
description:
  - Every call makes a new password from letters, digits and C(-_.+=), beginning with a letter and without the look-alikes
    V(l), V(L), V(I), V(i), V(1), V(o), V(O) and V(0).
  - It holds characters of every kind, as Windows wants it, and none that a guest script would change.
  - Keep it, for example with M(ansible.builtin.set_fact) or in a vault, else the next run of the playbook makes another one.
author:
  - vmops maintainers (@vmops)
options:
  length:
    description: Number of characters, from 12 to 127.
    type: int
    default: 16
seealso:
  - module: vmops.external_dhcp.vm_config_drive
  - module: vmops.external_dhcp.config_drive_iso
"""

EXAMPLES = r"""
- name: Make a password for each VM, once in this play
  ansible.builtin.set_fact:
    passwords: "{{ passwords | default({}) | combine({item: lookup('vmops.external_dhcp.vm_password', length=20)}) }}"
  loop: [web1, web2]
  no_log: true
"""

RETURN = r"""
_raw:
  description: One password.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import generate_password


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        if terms:
            raise AnsibleLookupError("vm_password takes no terms, only the option length")
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [generate_password(self.get_option("length"))]
        except ValueError as exc:
            raise AnsibleLookupError(f"vm_password: {exc}") from exc
