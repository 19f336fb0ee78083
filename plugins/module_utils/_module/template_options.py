# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The options that the modules of templates share: what a template is to be."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_LONGEST_INTERVAL = 3600


def wanted_of(module: AnsibleModule, **more: t.Any) -> Wanted:
    """What the template is to be. more: fields from options that only one module has. Ends the module if an interval is wrong."""
    params = module.params
    interval = params["agent_interval"]
    if not 0 <= interval <= _LONGEST_INTERVAL:
        module.fail_json(
            msg=f"agent_interval is {interval}: it must be from 1 to {_LONGEST_INTERVAL} seconds, or 0 to leave it as it is"
        )
    same = {name: params[name] for name in ("reader", "label", "agent_interval")}
    return Wanted(hypervisor=params["hypervisor_type"], cleaned=params["clean"], **same, **more)
