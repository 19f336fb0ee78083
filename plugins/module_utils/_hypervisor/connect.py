# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From a connection description to a driver."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor


def open_hypervisor(description: Mapping[str, t.Any]) -> Hypervisor:
    """Connects to the hypervisor that `description` (the option `hypervisor` of every module) names.

    Raises HypervisorError for a description that cannot be used, HypervisorUnreachable when there is no connection.
    """
    kind = description["type"]
    # Ordinary imports inside the branches: Ansible packs what an import statement names, and only one library is needed.
    if kind == "kvm":
        from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.driver import connect
    elif kind == "vmware":
        from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.driver import connect  # type: ignore[assignment]
    elif kind == "xenserver":
        from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.driver import connect  # type: ignore[assignment]
    else:
        raise HypervisorError(f"hypervisor.type is {kind!r}: it must be one of {', '.join(_defaults.HYPERVISOR_TYPES)}")
    return connect(description)
