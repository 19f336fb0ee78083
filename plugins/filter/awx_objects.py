# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: awx_objects
short_description: The objects that AWX needs to run this collection's jobs, as data
version_added: 0.1.0
description:
  - Makes, from a few settings, the credential types, credentials, execution environment, project, inventory, hosts, notification, job
    templates with surveys, schedules and workflow that the role P(vmops.external_dhcp.configure_awx#role) puts into AWX.
  - The lists have the names and the form that the collection C(infra.aap_configuration) takes, too.
author:
  - vmops maintainers (@vmops)
options:
  _input:
    description: The variables of the role P(vmops.external_dhcp.configure_awx#role) without the prefix C(configure_awx_).
    type: dict
    required: true
seealso:
  - plugin: vmops.external_dhcp.vm_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the job templates
  ansible.builtin.debug:
    msg: "{{ (settings | vmops.external_dhcp.awx_objects).controller_templates | map(attribute='name') }}"
  vars:
    settings:
      project: {scm_url: "https://git.example.com/automation.git"}
      hypervisors:
        - name: kvm01
          hypervisor: {type: kvm, uri: "qemu+ssh://root@kvm01.example.com/system"}
"""

RETURN = r"""
_value:
  description: Lists of objects by C(controller_organizations), C(controller_credential_types), C(controller_credentials),
    C(controller_execution_environments), C(controller_projects), C(controller_inventories), C(controller_hosts),
    C(controller_notifications), C(controller_templates), C(controller_schedules) and C(controller_workflows).
  type: dict
"""

import dataclasses
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _awx_objects
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._unsafe import make_unsafe


def awx_objects(settings: t.Any) -> dict[str, list[dict[str, t.Any]]]:
    known = {field.name for field in dataclasses.fields(_awx_objects.Settings)}
    if not isinstance(settings, Mapping) or not {"hypervisors", "project"} <= set(settings):
        raise AnsibleFilterError("awx_objects takes a mapping with hypervisors and project")
    strange = sorted(set(settings) - known)
    if strange:
        raise AnsibleFilterError(f"awx_objects: there is no setting {strange[0]}; there are {', '.join(sorted(known))}")
    try:
        # Templates for AWX to evaluate, such as {{ username }}, must stay text here.
        made: dict[str, list[dict[str, t.Any]]] = make_unsafe(_awx_objects.awx_objects(_awx_objects.Settings(**settings)))
        return made
    except OptionError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filter under its name, for Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"awx_objects": awx_objects}
