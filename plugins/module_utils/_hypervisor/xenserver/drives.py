# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The config drive of XenServer VMs: <iso_dir>/<vm>.iso in an ISO SR of the VM's host, in a CD drive of the VM.

An ISO SR can neither resize nor rename, so new content means: eject, destroy, create, import, insert. Every step starts
from what the pool looks like, so that a run which was cut off is finished by the next one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import HEAD_SIZE, MAX_SIZE, read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveChange,
    DriveError,
    Drives,
    DriveState,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import (
    DEVICE_CD,
    DIGEST_KEY,
    DRIVE_KEY,
    OWNER_KEY,
    Plan,
    Planner,
    Settings,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import DRIVES, Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import ConnectionCut, XapiError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.transfer import (
    UploadCut,
    download,
    upload,
)

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Record
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

MIGRATE_SECONDS = 3600.0
# A guest that cannot take a drive while it runs.
_NO_HOTPLUG = ("VM_MISSING_PV_DRIVERS", "VM_OLD_PV_DRIVERS", "OPERATION_NOT_ALLOWED")
# What to do about an error, by XAPI's code. The first ones are what a second run at the same moment makes of a good plan.
_RACE = "another run may be at work on this VM at the same moment: run the task again"
_HELD = "the guest holds the medium: unmount it there, or shut the VM down"
_RIGHTS = "give hypervisor.username XAPI's role pool-operator, or vm-admin where the storage repositories exist already"
_HINTS = {
    **dict.fromkeys(("HANDLE_INVALID", "VDI_IN_USE", "VDI_MISSING", "VBD_NOT_EMPTY", "DEVICE_ALREADY_EXISTS"), _RACE),
    "OTHER_OPERATION_IN_PROGRESS": _RACE,
    "DEVICE_DETACH_REJECTED": _HELD,
    "VBD_TRAY_LOCKED": _HELD,
    "RBAC_PERMISSION_DENIED": _RIGHTS,
}


@dataclasses.dataclass(frozen=True)
class Move:
    """A VM on its way to another host.

    live: whether it has to be migrated; changed: whether anything was or will be changed by that; iso: its drive's bytes;
    taken_out: (VBD, VDI) of what must not be in a drive meanwhile.
    """

    vm: Vm
    target: str
    source: str
    live: bool
    changed: bool
    iso: bytes | None
    taken_out: tuple[tuple[str, str], ...] = ()


class XenDrives(Drives):
    """Drive operations over one session."""

    moves_vms = True  # no module of another collection does

    def __init__(self, session: Session, description: Mapping[str, t.Any]) -> None:
        self._session = session
        self._settings = Settings(
            sr_name=description.get("iso_sr_name") or _defaults.ISO_SR_NAME,
            iso_dir=(description.get("iso_dir") or _defaults.ISO_DIR).rstrip("/"),
            device=description.get("device") or DEVICE_CD,
        )
        self._picture = Picture(session, DRIVES)
        self._planner = Planner(self._picture, self._settings, self._owner_of)
        # What was read from unmarked VDIs, by UUID: those have no owner in their record.
        self._read_owners: dict[str, str | None] = {}

    # -- the interface ---------------------------------------------------------------------------------------------

    def states(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Drives."""
        self._picture.refresh()
        found: dict[str, DriveState | DriveError] = {}
        for vm in vms:
            try:
                found[vm.id] = self._state(self._planner.plan(vm))
            except DriveError as error:
                found[vm.id] = error
            except HypervisorError as error:
                found[vm.id] = DriveError(f"{vm.name}: its config drive could not be read: {error}")
        return found

    def read(self, vm: Vm) -> bytes | None:
        """See api.Drives."""
        self._picture.refresh()
        with _Errors(vm, "its config drive could not be read"):
            plan = self._planner.plan(vm)
            if plan.vdi is None:
                # On another host, where it is until the drive has followed a migration.
                elsewhere = self._whole(plan.stale)
                return self._bytes(elsewhere) if elsewhere else None
            if plan.owner != vm.id:
                raise DriveError(f"{vm.name}: {plan.problem}")
            return self._bytes(plan.vdi)

    def read_foreign(self, vm: Vm) -> bytes | None:
        """See api.Drives."""
        self._picture.refresh()
        with _Errors(vm, "the file in the place of its config drive could not be read"):
            plan = self._planner.plan(vm)
            return None if plan.vdi is None or plan.owner == vm.id else self._bytes(plan.vdi)

    def discard_foreign(self, vm: Vm) -> None:
        """See api.Drives."""
        self._picture.refresh()
        with _Errors(vm, "the file in the place of its config drive could not be deleted"):
            plan = self._planner.plan(vm)
            if plan.vdi is None or plan.owner == vm.id:
                return
            for vbd in plan.eject:
                self._empty(vbd)
            self._destroy(plan.vdi)

    def put_one(self, vm: Vm, iso: bytes) -> DriveChange:
        """See api.Drives."""
        if not iso or len(iso) > MAX_SIZE:
            raise DriveError(f"{vm.name}: a config drive has 1 to {MAX_SIZE} bytes, not {len(iso)}")
        with _Errors(vm, "its config drive could not be put"):
            return self._again_if_cut(lambda again: self._put(vm, iso, None, again))

    def remove_one(self, vm: Vm) -> DriveChange:
        """See api.Drives. The empty drive stays: it could not be added again to a running VM."""
        with _Errors(vm, "its config drive could not be removed"):
            return self._again_if_cut(lambda again: self._remove(vm, again))

    def move_one(self, vm: Vm, destination: str) -> DriveChange:
        """See api.Drives: eject, migrate, upload at the destination, insert, delete at the source.

        XAPI migrates no VM with a CD of a local SR in it, and no other module migrates within a pool, so this does.
        """
        with _Errors(vm, "its config drive could not be moved"):
            return self._again_if_cut(lambda again: self._move(vm, destination, again))

    # -- steps -----------------------------------------------------------------------------------------------------

    def _again_if_cut(self, action: Callable[[bool], DriveChange]) -> DriveChange:
        """One clean new try from a fresh look at the pool; the argument says whether something was changed before."""
        try:
            return action(False)
        except ConnectionCut:
            return action(True)

    def _put(self, vm: Vm, iso: bytes, host: str | None, again: bool) -> DriveChange:
        self._picture.refresh()
        plan = self._planner.plan(vm, host)
        if plan.problem is not None or plan.slot is None:
            raise DriveError(f"{vm.name}: {plan.problem}")
        digest = hashlib.sha256(iso).hexdigest()
        good = self._has(plan.vdi, digest, len(iso))
        if good and self._inserted(plan) and not plan.eject and not plan.stale:
            return self._change(vm, plan, again)
        for vbd in plan.eject:
            self._empty(vbd)
        if not good:
            self._destroy(plan.vdi)
            self._make(vm, plan, iso, digest)
        stale = plan.stale
        self._picture.refresh()
        plan = self._planner.plan(vm, plan.host)
        if not self._inserted(plan):
            self._insert(vm, plan)
        for vdi in stale:
            self._destroy(vdi)
        self._picture.refresh()
        return self._change(vm, self._planner.plan(vm, plan.host), True)

    def _remove(self, vm: Vm, again: bool) -> DriveChange:
        self._picture.refresh()
        plan = self._planner.plan(vm)
        if (plan.vdi is not None and plan.owner != vm.id) or self._need("vm", vm.handle)["is_a_template"]:
            raise DriveError(f"{vm.name}: {plan.problem}")
        doomed = [*([plan.vdi] if plan.vdi else []), *plan.stale]
        for vbd in plan.eject:
            self._empty(vbd)
        for vdi in doomed:
            self._destroy(vdi)
        return DriveChange(
            bool(again or doomed or plan.eject), self._location(plan), str(plan.slot.number) if plan.slot else None
        )

    def begin_move(self, vm: Vm, target: str) -> Move:
        """Reads the drive of a VM that is to move to another host and takes it out, as far as it would stand in the way."""
        self._picture.refresh()
        plan = self._planner.plan(vm, target)
        if plan.problem is not None:
            raise DriveError(f"{vm.name}: {plan.problem}")
        record = self._need("vm", vm.handle)
        source = self._whole([ref for ref in (plan.vdi, *plan.stale) if ref is not None])
        data = self._bytes(source) if source else None
        taken_out: list[tuple[str, str]] = []
        live = plan.running and record["resident_on"] != target
        changed = live
        if live:
            local = [ref for ref in plan.eject if not self._in_shared_sr(self._need("vbd", ref)["VDI"])]
            taken_out = [(ref, self._need("vbd", ref)["VDI"]) for ref in local]
            for vbd, _vdi in taken_out:
                self._empty(vbd)
        elif not plan.running and record["affinity"] != target:
            self._session.call("VM.set_affinity", vm.handle, target)
            changed = True
        return Move(vm, target, record["resident_on"], live, changed, data, tuple(taken_out))

    def end_move(self, move: Move, again: bool = False) -> DriveChange:
        """Puts the drive in at the host where the VM now is, and deletes it where the VM was."""
        changed = move.changed or again
        if move.iso is not None:
            return self._put(move.vm, move.iso, move.target, changed)
        self._picture.refresh()
        message = f"{move.vm.name} has no config drive to bring along"
        return DriveChange(changed, self._location(self._planner.plan(move.vm, move.target)), message=message)

    def abandon_move(self, move: Move) -> str:
        """Puts back what begin_move() took out; returns a clause that says whether it could."""
        back = [self._put_back(vbd, vdi) for vbd, vdi in move.taken_out]
        return "its config drive is in place again" if all(back) else "put its config drive in place again"

    def _move(self, vm: Vm, destination: str, again: bool) -> DriveChange:
        self._picture.refresh()
        move = self.begin_move(vm, self._planner.find_host(destination))
        if move.live:
            try:
                task = self._session.patiently("Async.VM.pool_migrate", vm.handle, move.target, {"live": "true"})
                self._session.wait_task(task, MIGRATE_SECONDS)
            except XapiError as error:
                host = self._planner.host_label(move.target)
                raise DriveError(f"{vm.name}: it could not be migrated to {host}; {self.abandon_move(move)}: {error}") from None
        return self.end_move(move, again)

    def _put_back(self, vbd: str, vdi: str) -> bool:
        try:
            self._session.patiently("VBD.insert", vbd, vdi)
            return True
        except HypervisorError:
            return False  # the failed migration is what the user must hear of

    def _make(self, vm: Vm, plan: Plan, iso: bytes, digest: str) -> None:
        """Creates the VDI and fills it; at a failure nothing half-written is left."""
        sr = plan.sr or self._create_sr(plan.host)
        self._plug(sr, plan.host)
        vdi = self._create_vdi(vm, plan, sr, len(iso))
        try:
            address = self._need("host", self._seen_by(sr, plan.host))["address"]
            upload(self._session, self._host_names(), address, vdi, iso)
            self._session.call("VDI.add_to_other_config", vdi, DIGEST_KEY, digest)
        except HypervisorError:
            try:
                self._session.patiently("VDI.destroy", vdi)
            except HypervisorError:
                pass  # without a digest it counts as half-written, and the next put replaces it
            raise

    def _create_vdi(self, vm: Vm, plan: Plan, sr: str, size: int) -> str:
        record = {
            "name_label": plan.file,
            "name_description": f"Config drive of {vm.name}",
            "SR": sr,
            "virtual_size": str(size),
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {OWNER_KEY: vm.id},
            "xenstore_data": {},
            "sm_config": {"path": plan.file},
            "tags": [],
        }
        try:
            return self._session.patiently("VDI.create", record)
        except XapiError as error:
            if error.code != "SR_BACKEND_FAILURE_43":
                raise
        # The file is there, but XAPI has no record of it: it came from outside, or XAPI's database is older.
        self._session.patiently("SR.scan", sr)
        self._picture.refresh()
        found = self._planner.find_vdi(sr, plan.file)
        owner = None if found is None else self._owner_of(found)
        if found is None or owner != vm.id:
            place = f"{self._location(plan)} on {self._planner.host_label(plan.host)}"
            raise DriveError(f"{vm.name}: {drive_rules.foreign(place, owner)}")
        self._destroy(found)
        return self._session.patiently("VDI.create", record)

    def _create_sr(self, host: str) -> str:
        config = {"location": self._settings.iso_dir, "legacy_mode": "true"}
        text = "Config drives of this host's VMs"
        try:
            self._session.patiently("SR.create", host, config, "0", self._settings.sr_name, text, "iso", "iso", False, {})
        except XapiError as error:
            raise self._missing_folder(error, host) from None
        self._picture.refresh()
        sr = self._planner.find_sr(host)
        if sr is None:
            raise DriveError(
                f"the SR {self._settings.sr_name} was made on {self._planner.host_label(host)} but is not there; try again"
            )
        return sr

    def _plug(self, sr: str, host: str) -> None:
        """An SR can exist unplugged, also right after it was made."""
        if host in self._planner.sr_hosts(sr):
            return
        for ref in self._need("sr", sr)["PBDs"]:
            pbd = self._need("pbd", ref)
            if pbd["host"] == host and not pbd["currently_attached"]:
                try:
                    self._session.patiently("PBD.plug", ref)
                except XapiError as error:
                    raise self._missing_folder(error, host) from None
        self._picture.refresh()

    def _missing_folder(self, error: XapiError, host: str) -> HypervisorError:
        if error.code not in ("SR_BACKEND_FAILURE_226", "SR_BACKEND_FAILURE_47"):
            return error
        folder, label = self._settings.iso_dir, self._planner.host_label(host)
        return DriveError(
            f"the folder {folder} (hypervisor.iso_dir) does not exist on host {label}, and XAPI cannot make it: run "
            f"'mkdir -p {folder}' there as root, or let the role do so over SSH"
        )

    def _insert(self, vm: Vm, plan: Plan) -> None:
        slot = plan.slot
        if slot is None or plan.vdi is None:
            raise DriveError(f"{vm.name}: its VM or ISO was changed while its config drive was put; run the task again")
        if slot.kind == "CD" and slot.vbd is not None:
            vbd = self._need("vbd", slot.vbd)
            if DRIVE_KEY not in vbd["other_config"]:
                self._session.call("VBD.add_to_other_config", slot.vbd, DRIVE_KEY, "config")
            if slot.visible:
                self._session.patiently("VBD.insert", slot.vbd, plan.vdi)
                return
            # Made after the VM's start: no medium can be changed in it, but the drive itself can be made anew.
            self._session.patiently("VBD.destroy", slot.vbd)
        vbd_ref = self._session.patiently(
            "VBD.create",
            {
                "VM": vm.handle,
                "VDI": plan.vdi,
                "userdevice": str(slot.number),
                "bootable": False,
                "mode": "RO",
                "type": slot.kind,
                "unpluggable": True,
                "empty": False,
                "other_config": {DRIVE_KEY: "config"},
                "qos_algorithm_type": "",
                "qos_algorithm_params": {},
            },
        )
        if plan.running and slot.visible:
            try:
                self._session.patiently("VBD.plug", vbd_ref)
            except XapiError as error:
                if error.code not in _NO_HOTPLUG:
                    raise
                # The guest agent runs, but not the drivers: the VM's next start attaches it.

    def _empty(self, ref: str) -> None:
        """Takes the medium out of a drive: eject, or, for a disk and for a drive the guest cannot see, away with the VBD."""
        vbd = self._picture.get("vbd", ref)
        if vbd is None:
            return
        vm = self._need("vm", vbd["VM"])
        running = vm["power_state"] == "Running"
        if vbd["type"] == "CD" and (not running or vbd["currently_attached"]):
            try:
                self._session.patiently("VBD.eject", ref)
            except XapiError as error:
                if error.code != "VBD_IS_EMPTY":
                    raise
            return
        if running and vbd["currently_attached"]:
            self._session.patiently("VBD.unplug", ref)
        self._session.patiently("VBD.destroy", ref)

    def _destroy(self, vdi: str | None) -> None:
        """Deletes an ISO of ours. VDI.destroy would take the drives that hold it along, so they are emptied first."""
        record = self._picture.get("vdi", vdi)
        if record is None:
            return
        self._picture.refresh()
        for ref in (self._picture.get("vdi", vdi) or record)["VBDs"]:
            self._empty(ref)
        try:
            self._session.patiently("VDI.destroy", vdi)
        except XapiError as error:
            if error.code != "HANDLE_INVALID":
                raise
        self._picture.refresh()

    # -- looking ---------------------------------------------------------------------------------------------------

    def _state(self, plan: Plan) -> DriveState:
        # An ISO that is still where the VM was before counts as there, though not as attached: it is to be moved or deleted.
        vdi = self._picture.get("vdi", plan.vdi or self._whole(plan.stale))
        return DriveState(
            location=self._location(plan),
            slot=str(plan.slot.number) if plan.slot else None,
            file_exists=vdi is not None,
            attached=self._inserted(plan) and not plan.eject and not plan.stale,
            sha256=vdi["other_config"].get(DIGEST_KEY) if vdi else None,
            size=int(vdi["virtual_size"]) if vdi else None,
            owner=plan.owner if plan.vdi else vdi["other_config"].get(OWNER_KEY) if vdi else None,
            can_attach_now=plan.slot is None or plan.slot.visible,
            problem=plan.problem,
        )

    def _change(self, vm: Vm, plan: Plan, changed: bool) -> DriveChange:
        number = str(plan.slot.number) if plan.slot else None
        vbd = self._picture.get("vbd", plan.slot.vbd if plan.slot else None)
        restart = plan.running and not (vbd is not None and vbd["currently_attached"])
        message = None
        if restart:
            message = (
                f"{vm.name} runs without a drive for it; one was added at slot {number}, and the guest will see it once the VM "
                "has been shut down and started"
            )
        return DriveChange(changed, self._location(plan), number, restart, message)

    def _has(self, ref: str | None, digest: str, size: int) -> bool:
        vdi = self._picture.get("vdi", ref)
        return bool(vdi and vdi["other_config"].get(DIGEST_KEY) == digest and int(vdi["virtual_size"]) == size)

    def _inserted(self, plan: Plan) -> bool:
        vbd = self._picture.get("vbd", plan.slot.vbd if plan.slot else None)
        return bool(plan.vdi and vbd and not vbd["empty"] and vbd["VDI"] == plan.vdi)

    def _location(self, plan: Plan) -> str:
        return self._planner.location(plan.sr, plan.host, plan.file)

    def _need(self, cls: str, ref: str | None) -> Record:
        record = self._picture.get(cls, ref)
        if record is None:
            raise DriveError(f"{self._session.endpoint}: a {cls} changed while it was worked on; run the task again")
        return record

    def _in_shared_sr(self, vdi: str) -> bool:
        record = self._picture.get("vdi", vdi)
        return record is not None and self._planner.is_shared(record["SR"])

    def _owner_of(self, vdi: str) -> str | None:
        """The VM id marked in the record, else in the ISO itself (a file that a scan found has no marks in its record)."""
        record = self._picture.get("vdi", vdi)
        if record is None:
            return None
        owner = record["other_config"].get(OWNER_KEY)
        if owner:
            return owner
        uuid = record["uuid"]
        if uuid not in self._read_owners:
            self._read_owners[uuid] = read_owner(self._bytes(vdi, HEAD_SIZE))
        return self._read_owners[uuid]

    def _whole(self, refs: Sequence[str]) -> str | None:
        """The first of these VDIs that was written completely."""
        for ref in refs:
            vdi = self._picture.get("vdi", ref)
            if vdi is not None and DIGEST_KEY in vdi["other_config"]:
                return ref
        return None

    def _bytes(self, vdi: str, limit: int = MAX_SIZE) -> bytes:
        record = self._need("vdi", vdi)
        host = self._seen_by(record["SR"], None)
        size = min(limit, int(record["virtual_size"]))
        data = download(self._session, self._host_names(), self._need("host", host)["address"], record["uuid"], size)
        if len(data) != size:
            raise DriveError(f"{record['location']}: only {len(data)} of {size} bytes could be read back")
        return data

    def _seen_by(self, sr: str, wanted: str | None) -> str:
        """A host that has the SR plugged: the wanted one where possible."""
        hosts = self._planner.sr_hosts(sr)
        if wanted in hosts:
            return wanted  # type: ignore[return-value]
        if not hosts:
            label = self._need("sr", sr)["name_label"]
            raise DriveError(f"the SR {label} is plugged on no host; repair it (xe pbd-plug) and run the task again")
        return sorted(hosts)[0]

    def _host_names(self) -> dict[str, str]:
        """Address of each host → how to connect to it: the master by the name that the user gave, as in its certificate."""
        masters = [pool["master"] for pool in self._picture.records["pool"].values()]
        return {
            host["address"]: self._session.host if ref in masters else host["address"]
            for ref, host in self._picture.records["host"].items()
        }


class _Errors:
    """Turns what XAPI refuses for one VM into its DriveError; a broken connection stays what it is."""

    def __init__(self, vm: Vm, what: str) -> None:
        self._vm = vm
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: t.Any, error: t.Any, trace: t.Any) -> None:
        if isinstance(error, HypervisorUnreachable) and not isinstance(error, UploadCut):
            return
        if isinstance(error, HypervisorError) and not isinstance(error, DriveError):
            known = _HINTS.get(error.code) if isinstance(error, XapiError) else None
            hint = f"; {known}" if known else ""
            raise DriveError(f"{self._vm.name}: {self._what}: {error}{hint}") from None
        if isinstance(error, DriveError) and not str(error).startswith(f"{self._vm.name}:"):
            raise DriveError(f"{self._vm.name}: {self._what}: {error}") from None
