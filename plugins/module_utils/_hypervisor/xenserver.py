# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""XenServer and XCP-ng through XAPI: connection, VMs, and the addresses their guests report."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_HYPERVISOR_UNREACHABLE,
    REASON_SOURCE_UNAVAILABLE,
    REASON_VM_NOT_FOUND,
    SOURCE_GUEST_METRICS,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_PAUSED,
    POWER_RUNNING,
    POWER_STOPPED,
    POWER_SUSPENDED,
    HypervisorError,
    Nic,
    Observation,
    Vm,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver_addresses import observe
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver_drive import XenDrives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver_picture import INVENTORY, Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver_session import Session

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveChange, DriveError, DriveState
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver_picture import Record

# The variables that XenServer's own clients and community.general read; only for what ours leave open.
_ENVIRONMENT = {"host": "XENSERVER_HOST", "username": "XENSERVER_USER", "password": "XENSERVER_PASSWORD"}
_POWER = {
    "Running": POWER_RUNNING,
    "Halted": POWER_STOPPED,
    "Paused": POWER_PAUSED,
    "Suspended": POWER_SUSPENDED,
}
# Seconds one event.from of watch() blocks on the server: XAPI and the proxies before it close silent connections.
_WATCH_SLICE = 30.0


def connect(description: Mapping[str, t.Any]) -> XenPool:
    """A session at the pool's master, which description['host'] or any member of the pool leads to."""
    fallback = {option: os.environ.get(name) for option, name in _ENVIRONMENT.items() if not description.get(option)}
    description = {**description, **fallback}
    return XenPool(Session(description), description)


class XenPool:
    """See api.Hypervisor. A handle is the VM's OpaqueRef."""

    type = "xenserver"
    default_sources: tuple[str, ...] = (SOURCE_GUEST_METRICS,)
    sources: tuple[str, ...] = (SOURCE_GUEST_METRICS,)
    moves_vms = True  # no module of another collection does

    def __init__(self, session: Session, description: Mapping[str, t.Any]) -> None:
        self._session = session
        self._picture = Picture(session, INVENTORY)
        # One look serves vms() and the addresses() that follows it: three calls in all, for any number of VMs.
        self._just_looked = False
        self._drives = XenDrives(session, description)

    @property
    def endpoint(self) -> str:
        """https URL of the pool's master."""
        return self._session.endpoint

    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """See api.Hypervisor. XAPI allows several VMs of one name; asked for by name, that is a problem.

        A template is found if it is asked for by name and no VM has that name: whoever clones must know that it is there.
        """
        self._picture.refresh()
        self._just_looked = True
        by_name: dict[str, list[Vm]] = {}
        templates: dict[str, list[Vm]] = {}
        for ref, record in self._picture.records["vm"].items():
            if _is_vm(record):
                by_name.setdefault(record["name_label"], []).append(self._vm(ref, record))
            elif names is not None and record["is_a_template"] and not record["is_a_snapshot"]:
                templates.setdefault(record["name_label"], []).append(self._vm(ref, record))
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

    def addresses(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """See api.Hypervisor. One call serves all VMs, so workers and timeout have nothing to limit."""
        if SOURCE_GUEST_METRICS not in sources:
            for vm in vms:
                text = f"{vm.name}: on XenServer addresses come from {SOURCE_GUEST_METRICS}, not from {', '.join(sources)}"
                yield Observation(vm, reason=REASON_SOURCE_UNAVAILABLE, message=text)
            return
        try:
            if not self._just_looked:
                self._picture.refresh()
            self._just_looked = False
        except HypervisorError as error:
            for vm in vms:
                yield Observation(vm, reason=REASON_HYPERVISOR_UNREACHABLE, message=f"{vm.name}: {error}")
            return
        for vm in vms:
            yield self._observe(vm)

    def config_drives(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Hypervisor."""
        return self._drives.states(vms)

    def read_config_drive(self, vm: Vm) -> bytes | None:
        """See api.Hypervisor."""
        return self._drives.read(vm)

    def put_config_drive(self, vm: Vm, iso: bytes) -> DriveChange:
        """See api.Hypervisor."""
        return self._drives.put(vm, iso)

    def remove_config_drive(self, vm: Vm) -> DriveChange:
        """See api.Hypervisor."""
        return self._drives.remove(vm)

    def move_config_drive(self, vm: Vm, destination: str) -> DriveChange:
        """See api.Hypervisor. destination: a host's name, address or UUID; a running VM is migrated there as well."""
        return self._drives.move(vm, destination)

    def watch(self, vms: Sequence[Vm], timeout: float) -> Iterator[Observation]:
        """See api.Hypervisor. Begins where the last look ended, so that no change falls in between."""
        wanted = {vm.handle: vm for vm in vms}
        deadline = time.monotonic() + timeout
        self._just_looked = False
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            changed = self._picture.refresh(wait=min(left, _WATCH_SLICE))
            refs = {ref for cls, ref in changed if cls == "vm"}
            guests = {ref for cls, ref in changed if cls == "vm_guest_metrics"}
            for ref, vm in wanted.items():
                record = self._picture.get("vm", ref)
                if ref in refs or (record is not None and record["guest_metrics"] in guests):
                    yield self._observe(vm)

    def close(self) -> None:
        """See api.Hypervisor."""
        self._session.close()

    def _vm(self, ref: str, record: Record) -> Vm:
        nics = []
        for vif_ref in record["VIFs"]:
            vif = self._picture.get("vif", vif_ref)
            if vif is None or not str(vif["device"]).isdecimal():
                continue
            network = self._picture.get("network", vif["network"])
            nics.append(Nic(int(vif["device"]), vif["MAC"].lower(), network["name_label"] if network else None))
        power = _POWER.get(record["power_state"], POWER_STOPPED)
        return Vm(record["name_label"], record["uuid"].lower(), power, tuple(sorted(nics, key=lambda n: n.device)), ref)

    def _observe(self, vm: Vm) -> Observation:
        record = self._picture.get("vm", vm.handle)
        if record is None:
            return Observation(vm, reason=REASON_VM_NOT_FOUND, message=f"{vm.name} is gone from the pool")
        # The power state and the NICs of now, not those of the moment the caller listed the VMs.
        now = self._vm(vm.handle, record)
        guest = self._picture.get("vm_guest_metrics", record["guest_metrics"])
        return observe(now, guest, self._picture.get("vm_metrics", record["metrics"]))


def _is_vm(record: Record) -> bool:
    return not (record["is_a_template"] or record["is_a_snapshot"] or record["is_control_domain"])
