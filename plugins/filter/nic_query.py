# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nic_query
short_description: Answer a JMESPath question over NICs
version_added: 0.1.0
description:
  - Asks a question of the rows of P(vmops.external_dhcp.nic_rows#filter).
requirements:
  - jmespath, on the controller
author:
  - vmops maintainers (@vmops)
positional: question
options:
  _input:
    description: The rows.
    type: list
    elements: dict
    required: true
  question:
    description: The JMESPath expression.
    type: str
    required: true
seealso:
  - plugin: vmops.external_dhcp.nic_rows
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Names of the VMs without an address, and why
  ansible.builtin.debug:
    msg: >-
      {{ found.vms | vmops.external_dhcp.nic_rows(recorded.nics) | vmops.external_dhcp.nic_query('[?reason].[vm, reason]') }}
"""

RETURN = r"""
_value:
  description: The answer.
  type: raw
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._unsafe import make_unsafe

try:
    import jmespath
except ImportError:
    jmespath = None  # type: ignore[assignment]


def nic_query(rows: list[dict[str, t.Any]], question: str) -> t.Any:
    if jmespath is None:
        raise AnsibleFilterError("the Python library jmespath is needed to answer a question (https://jmespath.org/)")
    try:
        # The texts are other people's, and may be of Ansible's types, which jmespath does not know.
        return make_unsafe(jmespath.search(question, [{key: _plain(value) for key, value in row.items()} for row in rows]))
    except jmespath.exceptions.JMESPathError as error:
        raise AnsibleFilterError(f"the question {question!r} cannot be answered: {error}") from None


def _plain(value: t.Any) -> t.Any:
    return str.__str__(value) if isinstance(value, str) else value


class FilterModule:
    """Answers questions."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"nic_query": nic_query}
