# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The VMs of a XenServer pool."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_PAUSED,
    POWER_RUNNING,
    POWER_STOPPED,
    POWER_SUSPENDED,
    Inventory,
    Nic,
    Vm,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.marks import is_ours, is_unfinished
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_tags

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Record

_POWER = {
    "Running": POWER_RUNNING,
    "Halted": POWER_STOPPED,
    "Paused": POWER_PAUSED,
    "Suspended": POWER_SUSPENDED,
}


class XenInventory(Inventory):
    """See api.Inventory. A handle is the VM's OpaqueRef."""

    def __init__(self, session: Session, picture: Picture) -> None:
        self._session = session
        self._picture = picture

    @property
    def endpoint(self) -> str:
        """https URL of the pool's master."""
        return self._session.endpoint

    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """See api.Inventory. XAPI allows several VMs of one name; when asked for by name, that is a problem.

        A template is found by its name if no VM has that name.
        """
        self._picture.refresh()
        self._picture.just_looked = True
        by_name: dict[str, list[Vm]] = {}
        templates: dict[str, list[Vm]] = {}
        for ref, record in self._picture.records["vm"].items():
            if is_vm(record):
                by_name.setdefault(record["name_label"], []).append(vm_of(self._picture, ref, record))
            elif names is not None and record["is_a_template"] and not record["is_a_snapshot"]:
                templates.setdefault(record["name_label"], []).append(vm_of(self._picture, ref, record))
        if names is None:
            return VmList(tuple(vm for name in sorted(by_name) for vm in sorted(by_name[name], key=lambda v: v.id)))
        found = []
        problems = {}
        ambiguous = set()
        for name in names:
            candidates = by_name.get(name) or templates.get(name, [])
            if len(candidates) == 1:
                found.append(candidates[0])
            elif candidates:
                ids = ", ".join(sorted(vm.id for vm in candidates))
                problems[name] = (
                    f"{len(candidates)} VMs on {self.endpoint} are named {name} ({ids}): give the id of the one meant, or rename them"
                )
                ambiguous.add(name)
            else:
                problems[name] = f"there is no VM {name} on {self.endpoint}: check the name, and that it is in this pool"
        return VmList(tuple(found), problems, frozenset(ambiguous))


def vm_of(picture: Picture, ref: str, record: Record) -> Vm:
    """The VM (or template) of a record."""
    nics = []
    for vif_ref in record["VIFs"]:
        vif = picture.get("vif", vif_ref)
        if vif is None or not str(vif["device"]).isdecimal():
            continue
        network = picture.get("network", vif["network"])
        nics.append(Nic(int(vif["device"]), vif["MAC"].lower(), network["name_label"] if network else None))
    power = _POWER.get(record["power_state"], POWER_STOPPED)
    return Vm(
        name=record["name_label"],
        id=record["uuid"].lower(),
        power_state=power,
        nics=tuple(sorted(nics, key=lambda n: n.device)),
        handle=ref,
        boot_time=_boot_time(picture.get("vm_metrics", record["metrics"])) if power == POWER_RUNNING else None,
        ours=is_ours(record),
        is_template=record["is_a_template"],
        tags=plain_tags(record["tags"]) if "tags" in record else None,
    )


def _boot_time(metrics: Record | None) -> float | None:
    """Seconds since the epoch; None where XAPI has 1970, as it has not seen the VM start."""
    try:
        started = datetime.datetime.strptime(str((metrics or {}).get("start_time", "")).rstrip("Z"), "%Y%m%dT%H:%M:%S")
    except ValueError:
        return None
    return started.replace(tzinfo=datetime.timezone.utc).timestamp() or None


def is_vm(record: Record) -> bool:
    """Whether a record is of a VM that is complete, and no template, snapshot or control domain."""
    return not (record["is_a_template"] or record["is_a_snapshot"] or record["is_control_domain"] or is_unfinished(record))
