# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm_names
short_description: Make a list of the names of VMs that a user gave
version_added: 0.1.0
description:
  - Names given with C(-e vm_names=web1,web2) are a text, not a list. The roles of this collection make a list of them with this filter.
author:
  - vmops maintainers (@vmops)
positional: option, entries
options:
  _input:
    description:
      - A list of names, which stays as it is; or a text with one name, several names with commas between them, or a list in JSON.
        Blanks around the names in a text are removed.
      - V(none) stays V(none). Everything else is an error, and so is an empty name.
    type: raw
    required: true
  option:
    description: The variable's name, for messages.
    type: str
    default: vm_names
  entries:
    description: Whether each name becomes a mapping with V(name), as the module M(vmops.external_dhcp.vm) takes it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the names as a list
  ansible.builtin.debug:
    msg: "{{ vm_names | vmops.external_dhcp.vm_names }}"
"""

RETURN = r"""
_value:
  description: The names, each once, in the order given; V(none) where none were given.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import names_of


def _filter(value: t.Any, option: str = "vm_names", entries: bool = False) -> list[t.Any] | None:
    try:
        names = names_of(value, option)
    except OptionError as error:
        raise AnsibleFilterError(str(error)) from None
    return [{"name": name} for name in names or ()] if entries else names


class FilterModule:
    """Makes a list of names."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vm_names": _filter}
