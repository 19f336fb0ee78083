# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm_problem
short_description: Check what a user asks the role vm to do
version_added: 0.1.0
description:
  - Checks the variables of the role P(vmops.external_dhcp.vm#role) for one of its jobs. The result is the first mistake, as a sentence
    that names the entry, the value and the way out, or an empty text.
  - A mistake is a text and not an error, because Ansible wraps an error inside a template in much other text.
author:
  - vmops maintainers (@vmops)
positional: job
options:
  _input:
    description: The VMs, as P(vmops.external_dhcp.vm_plan#filter) takes them.
    type: raw
    required: true
  job:
    description: What is to be done.
    type: str
    choices: [deploy, start, stop, eject, reconcile, retire, list, destroy, migrate, reset_password]
    required: true
  shared_networks:
    description: The networks.
    type: raw
  names:
    description: Names of VMs, as P(vmops.external_dhcp.vm_names#filter) takes them.
    type: raw
  label:
    description: The label of the config drives.
    type: str
  layouts:
    description: The layouts of the config drives.
    type: list
    elements: str
    default: [cloudstack, openstack]
  metadata:
    description: The metadata of all VMs.
    type: raw
  destroy_others:
    description: Whether VMs that are not among the VMs given may be destroyed.
    type: bool
    default: false
  destination:
    description: Where VMs are to be migrated to.
    type: raw
  passwords:
    description: New passwords by name.
    type: raw
  password_public_key:
    description: The public key to which made passwords are encrypted.
    type: str
  hypervisor:
    description: How to reach the hypervisor. If it is missing, that is the first mistake.
    type: raw
"""

EXAMPLES = r"""
- name: Refuse what cannot be done
  ansible.builtin.fail:
    msg: "{{ problem }}"
  when: problem != ''
  vars:
    problem: "{{ vms | vmops.external_dhcp.vm_problem('start', hypervisor=hypervisor, shared_networks=shared_networks, names=vm_names) }}"
"""

RETURN = r"""
_value:
  description: A sentence, or an empty text.
  type: str
"""

import typing as t

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_jobs import Request, problem_of
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_plan import doubtful_vms


@pass_context
def vm_problem(context: Context, vms: t.Any, job: str, **options: t.Any) -> str:
    return problem_of(job, Request(vms, doubtful=doubtful_vms(context, vms), **options))


class FilterModule:
    """Says what is wrong with a request."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vm_problem": vm_problem}
