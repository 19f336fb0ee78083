# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nic_table
short_description: Show NICs as a table
version_added: 0.1.0
description:
  - Turns rows of P(vmops.external_dhcp.nic_rows#filter) into lines with aligned columns.
  - A row that needs attention begins with an exclamation mark.
author:
  - vmops maintainers (@vmops)
options:
  _input:
    description: The rows.
    type: list
    elements: dict
    required: true
  width:
    description: Longest line. Names are cut and columns left out until it fits; V(0) takes as much as is needed.
    type: int
    default: 0
seealso:
  - plugin: vmops.external_dhcp.nic_rows
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show all VMs
  ansible.builtin.debug:
    msg: "{{ found.vms | vmops.external_dhcp.nic_rows(recorded.nics) | vmops.external_dhcp.nic_table }}"
"""

RETURN = r"""
_value:
  description: The lines, the first of them the headings.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._nic_table import table


class FilterModule:
    """Shows NICs as a table."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"nic_table": table}
