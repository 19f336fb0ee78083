# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The option `vms` of modules that read: names or ids, all VMs where it is not given."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import names_of

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def read_vms(module: AnsibleModule) -> list[str] | None:
    """The option as a list; None for all VMs. Ends the module if it cannot be used."""
    try:
        return names_of(module.params["vms"], "vms")
    except OptionError as error:
        module.fail_json(msg=str(error))
        raise AssertionError("that ends the module") from None  # pragma: no cover
