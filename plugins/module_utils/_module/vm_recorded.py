# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record's entries of VMs that are to be deleted: they show that the VMs are ours, and are deleted with them."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.nic_record import record_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import eventlog
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import VmFacts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_name

if t.TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord


class RecordedVms:
    """The entries of VMs under the module's option hypervisor_name. asked: their names or ids."""

    def __init__(self, module: AnsibleModule, asked: Sequence[str]) -> None:
        """Ends the module if the record cannot be read."""
        self._module = module
        self._hypervisor: str = module.params["hypervisor_name"]
        self._nics: list[NicRecord] = []
        with record_of(module) as store:
            if store.database.exists():
                self._nics = store.nics(hypervisor_names=[self._hypervisor], vms=[plain_name(one) for one in asked])

    @property
    def ids(self) -> set[str]:
        return {nic.vm_id for nic in self._nics}

    def forget(self, kept: Collection[str]) -> Sequence[NicRecord]:
        """Deletes the entries, also those of former VMs of the same names, and returns them. kept: names or ids to leave out."""
        going = [nic for nic in self._nics if nic.vm_name not in kept and nic.vm_id not in kept]
        if not going:
            return ()
        vms = {nic.vm_id: VmFacts(nic.vm_name, nic.vm_id) for nic in going}
        with record_of(self._module) as store:
            changes = store.remove(self._hypervisor, list(vms.values()), dry_run=self._module.check_mode)
        if not self._module.check_mode:
            eventlog.write(changes.events)
        return changes.before
