# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The hypervisor of a module: opened from its option, closed at the end, its errors turned into the module's."""

from __future__ import annotations

import contextlib
import typing as t

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor


@contextlib.contextmanager
def hypervisor_of(module: AnsibleModule) -> Iterator[Hypervisor]:
    """The driver for the option `hypervisor` of this module.

    A HypervisorError, at connecting or inside the block, ends the module with its message.
    """
    try:
        hypervisor = open_hypervisor(module.params["hypervisor"])
        try:
            yield hypervisor
        finally:
            hypervisor.close()
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.library, url=error.url), exception=error.traceback)
    except HypervisorError as error:
        module.fail_json(msg=str(error))


def check_sources(hypervisor: Hypervisor, wanted: Sequence[str] | None) -> Sequence[str]:
    """The sources to ask, in order: those of the option, or the driver's own. Raises HypervisorError for an unknown one."""
    if wanted is None:
        return list(hypervisor.default_sources)
    unknown = [source for source in wanted if source not in hypervisor.sources]
    if unknown:
        raise HypervisorError(
            f"sources has {unknown[0]!r}: for hypervisor.type {hypervisor.type} use {', '.join(hypervisor.sources)}"
        )
    return wanted
