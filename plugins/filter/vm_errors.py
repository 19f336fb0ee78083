# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm_errors
short_description: Say of which VMs a loop failed, and why
description:
  - Takes the results of a task that looped over VMs and ignored errors, and gives a sentence for each VM that failed.
  - With it one VM's trouble does not stop the others, and all of it is told at the end.
author:
  - vmops maintainers (@vmops)
positional: what
options:
  _input:
    description: The key C(results) of a registered task with a loop.
    type: list
    elements: dict
    required: true
  what:
    description: What could not be done, such as V(it could not be started).
    type: str
    required: true
  name:
    description:
      - Where the VM's name is in a result, with dots between the steps, such as V(item.0.name).
      - If not set, it is the loop's item where that is a text, else the key C(name) of the item.
    type: str
"""

EXAMPLES = r"""
- name: Start VMs
  community.libvirt.virt:
    name: "{{ item }}"
    state: running
    uri: qemu:///system
  loop: [web1, web2]
  register: started
  ignore_errors: true

- name: Report which could not be started
  ansible.builtin.fail:
    msg: "{{ errors.values() | list }}"
  when: errors | length > 0
  vars:
    errors: "{{ started.results | vmops.external_dhcp.vm_errors('it could not be started') }}"
"""

RETURN = r"""
_value:
  description: A sentence by the name of the VM. Empty, if nothing failed.
  type: dict
  sample:
    web1: "web1: it could not be started: Requested operation is not valid"
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._unsafe import make_unsafe


def vm_errors(results: list[dict[str, t.Any]], what: str, name: str | None = None) -> dict[str, str]:
    errors = {}
    for result in results:
        if result.get("failed"):
            vm = _name(result, name)
            errors[vm] = f"{vm}: {what}: {result.get('msg') or 'no reason was given'}"
    # The reasons are other people's texts.
    return make_unsafe(errors)


def _name(result: t.Any, path: str | None) -> str:
    if path is None:
        path = "item" if isinstance(result.get("item"), str) else "item.name"
    place = result
    for step in path.split("."):
        try:
            place = place[int(step)] if isinstance(place, (list, tuple)) else place[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise AnsibleFilterError(f"vm_errors: a result has no {path}: name says where the VM's name is") from None
    return str(place)


class FilterModule:
    """Says of which VMs a loop failed."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vm_errors": vm_errors}
