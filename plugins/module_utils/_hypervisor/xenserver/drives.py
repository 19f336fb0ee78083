# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Config drives of XenServer VMs: <iso_dir>/<vm>.iso in an ISO SR of the VM's host, in a CD drive of the VM.

An ISO SR can neither resize nor rename a file, so new content means: eject, destroy, create, import, insert. Every step starts from
what is there, so the next run finishes one that was cut short.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import MAX_SIZE
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveChange,
    DriveError,
    Drives,
    DriveState,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import OrphanDrive, OrphanList
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import orphans, records
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.advice import advice
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import (
    DIGEST_KEY,
    DRIVE_KEY,
    EJECTED,
    OWNER_KEY,
    Plan,
    Settings,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.media import BUSY, Media
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import DRIVES, Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import ConnectionCut, XapiError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.transfer import UploadCut

if t.TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

MIGRATE_SECONDS = 3600.0
# A host carries out four operations at a time: two migrations leave room for others.
MIGRATIONS_AT_ONCE = 2


@dataclasses.dataclass(frozen=True)
class Move:
    """A VM on its way to another host.

    live: whether it has to be migrated. changed: whether that was or will be a change. iso: its drive's bytes. note: the drive's
    (EJECTED: it stays out). taken_out: (VBD, VDI) of what must not be in a CD drive while it moves.
    """

    vm: Vm
    target: str
    source: str
    live: bool
    changed: bool
    iso: bytes | None
    taken_out: tuple[tuple[str, str], ...] = ()
    note: str = ""


class XenDrives(Drives):
    """See api.Drives."""

    side_by_side = 8  # XAPI attaches the VDI to a host for each upload, which takes a second or two
    moves_vms = True

    def __init__(self, session: Session, description: Mapping[str, t.Any]) -> None:
        self._session = session
        self._settings = settings = Settings(
            sr_name=description.get("iso_sr_name") or _defaults.ISO_SR_NAME,
            iso_dir=(description.get("iso_dir") or _defaults.ISO_DIR).rstrip("/"),
        )
        self._picture = Picture(session, DRIVES)
        self._media = Media(session, self._picture, settings)
        self._planner = self._media.planner
        self._migrating = threading.BoundedSemaphore(MIGRATIONS_AT_ONCE)

    # -- the interface ---------------------------------------------------------------------------------------------

    def states(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Drives."""
        self._picture.refresh()
        found: dict[str, Plan | DriveError] = {vm.id: self._plan_or_error(vm) for vm in vms}
        if self._media.verify(plan.sr for plan in found.values() if isinstance(plan, Plan) and plan.vdi is not None):
            self._picture.refresh()
            found = {vm.id: self._plan_or_error(vm) for vm in vms}
        return {ident: self._state(plan) if isinstance(plan, Plan) else plan for ident, plan in found.items()}

    def _plan_or_error(self, vm: Vm) -> Plan | DriveError:
        try:
            return self._planner.plan(vm)
        except DriveError as error:
            return error
        except HypervisorError as error:
            return DriveError(f"{vm.name}: its config drive could not be read: {error}")

    def inserted(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Drives."""
        self._picture.refresh()
        found: dict[str, DriveState | DriveError] = {}
        for vm in vms:
            plan = self._plan_or_error(vm)
            if isinstance(plan, DriveError):
                found[vm.id] = plan
            elif holding := self._holding(plan):
                number = self._media.need("vbd", holding[0])["userdevice"]
                now = self._planner.unread_note(vm)
                unread = bool(now) and any(self._planner.note(self._media.need("vbd", ref)["VDI"]) == now for ref in holding)
                found[vm.id] = DriveState(self._location(plan), number, True, True, owner=vm.id, unread=unread)
        return found

    def _holding(self, plan: Plan) -> list[str]:
        """The VM's VBDs that hold its config drive, or a stray one."""
        own = [ref for ref in (plan.vdi if plan.own else None, *plan.strays) if ref is not None]
        refs = [*([plan.slot.vbd] if plan.slot and plan.slot.vbd else []), *plan.eject]
        return [ref for ref in refs if (self._picture.get("vbd", ref) or {"VDI": None})["VDI"] in own]

    def read(self, vm: Vm) -> bytes | None:
        """See api.Drives."""
        self._picture.refresh()
        with _Errors(vm, "its config drive could not be read"):
            plan = self._planner.plan(vm)
            if plan.vdi is None:
                # It is still on the host that the VM has left.
                elsewhere = self._media.whole(plan.strays)
                return self._media.bytes(elsewhere) if elsewhere else None
            if plan.owner != vm.id:
                raise DriveError(f"{vm.name}: {plan.problem}")
            return self._media.bytes(plan.vdi)

    def read_foreign(self, vm: Vm) -> bytes | None:
        """See api.Drives."""
        self._picture.refresh()
        with _Errors(vm, "the file in the place of its config drive could not be read"):
            plan = self._planner.plan(vm)
            return None if plan.vdi is None or plan.owner == vm.id else self._media.bytes(plan.vdi)

    def discard_foreign(self, vm: Vm) -> None:
        """See api.Drives."""
        self._picture.refresh()
        with _Errors(vm, "the file in the place of its config drive could not be deleted"):
            plan = self._planner.plan(vm)
            if plan.vdi is None or plan.owner == vm.id:
                return
            for vbd in plan.eject:
                self._media.empty(vbd)
            self._media.destroy(plan.vdi)

    def put_one(self, vm: Vm, iso: bytes) -> DriveChange:
        """See api.Drives."""
        if not iso or len(iso) > MAX_SIZE:
            raise DriveError(f"{vm.name}: a config drive has 1 to {MAX_SIZE} bytes, not {len(iso)}")
        with _Errors(vm, "its config drive could not be put"):
            return self._again_if_cut(lambda again: self._put(vm, iso, None, again))

    def remove_one(self, vm: Vm) -> DriveChange:
        """See api.Drives. The CD drive stays, and is empty: a running VM could not be given another one."""
        with _Errors(vm, "its config drive could not be removed"):
            return self._again_if_cut(lambda again: self._remove(vm, again))

    def eject_one(self, vm: Vm) -> DriveChange:
        """See api.Drives. The VDI is noted as ejected on purpose before it is."""
        with _Errors(vm, "its config drive could not be ejected"):
            return self._again_if_cut(lambda again: self._eject(vm, again))

    def move_one(self, vm: Vm, destination: str) -> DriveChange:
        """See api.Drives: eject, migrate, upload at the destination, insert, delete at the source.

        XAPI migrates no VM that has a CD of a local SR in it, hence this order.
        """
        with _Errors(vm, "its config drive could not be moved"):
            return self._again_if_cut(lambda again: self._move(vm, destination, again))

    def orphans(self, elsewhere: Collection[str]) -> OrphanList:
        """See api.Drives: all ISO repositories of the pool, whatever they are called."""
        return orphans.find(self._picture, self._media, elsewhere)

    def delete_orphans(self, drives: Sequence[OrphanDrive]) -> Iterator[tuple[OrphanDrive, bool | DriveError]]:
        """See api.Drives."""
        for drive in drives:
            try:
                yield drive, orphans.delete(self._picture, self._media, drive)
            except DriveError as error:
                yield drive, error
            except XapiError as error:
                yield drive, DriveError(f"{drive.location} could not be deleted: {error}")

    # -- steps -----------------------------------------------------------------------------------------------------

    def _again_if_cut(self, action: Callable[[bool], DriveChange]) -> DriveChange:
        """Runs an action, and once more if the connection breaks; its argument says whether it is the second time."""
        try:
            return action(False)
        except ConnectionCut:
            return action(True)

    def _put(self, vm: Vm, iso: bytes, host: str | None, again: bool, note: str | None = None) -> DriveChange:
        """note: at the drive; None for unread_note(). A drive with the note EJECTED is not inserted."""
        self._picture.refresh()
        note = self._planner.unread_note(vm) if note is None else note
        plan = self._planner.plan(vm, host)
        if plan.vdi is not None and self._media.verify([plan.sr]):
            self._picture.refresh()
            plan = self._planner.plan(vm, host)
        problem = plan.problem or self._media.broken(plan.sr)
        if problem is not None or plan.slot is None:
            raise DriveError(f"{vm.name}: {problem}")
        digest = hashlib.sha256(iso).hexdigest()
        good = self._has(plan.vdi, digest, len(iso))
        if good and (self._in_place(plan) or (note == EJECTED and self._is_ejected(plan) and not plan.strays)):
            return self._change(vm, plan, again)
        try:
            return self._change(vm, self._replace(vm, plan, iso, None if good else digest, note), True)
        except HypervisorError as error:
            self._clear_up_if_gone(vm, error)
            raise

    def _replace(self, vm: Vm, plan: Plan, iso: bytes, digest: str | None, note: str) -> Plan:
        """Makes the drive so; returns the plan afterwards. digest: of the ISO; None if the ISO is there already."""
        for vbd in plan.eject:
            self._media.empty(vbd)
        if digest is None:
            self._media.sr_for(plan.host)
            if plan.vdi is not None and not self._inserted(plan):
                self._media.note(plan.vdi, note)
        else:
            self._media.destroy(plan.vdi)
            self._media.make(vm, plan, iso, digest, note)
        self._picture.refresh()
        new = self._planner.plan(vm, plan.host)
        if note != EJECTED and not self._inserted(new):
            self._insert(vm, new)
        for vdi in plan.strays:
            self._media.destroy(vdi)
        self._picture.refresh()
        return self._planner.plan(vm, plan.host)

    def _clear_up_if_gone(self, vm: Vm, error: HypervisorError) -> None:
        """Deletes the ISO, which may hold secrets, of a VM that was destroyed meanwhile, and raises DriveError about it."""
        if isinstance(error, HypervisorUnreachable):
            return
        self._picture.refresh()
        if self._picture.get("vm", vm.handle) is not None:
            return
        for vdi in list(self._planner.owned_by(vm)):
            record = self._media.need("vdi", vdi)
            try:
                self._media.destroy(vdi)
            except HypervisorError as failure:
                raise DriveError(
                    f"{vm.name}: it was destroyed while its config drive was put, and its ISO is left over, which may hold secrets: "
                    f"delete {record['location']} in {self._settings.sr_name}: {failure}"
                ) from None
        raise DriveError(f"{vm.name}: it was destroyed while its config drive was put; nothing of the drive is left") from None

    def _remove(self, vm: Vm, again: bool) -> DriveChange:
        self._picture.refresh()
        plan = self._planner.plan(vm)
        if (plan.vdi is not None and plan.owner != vm.id) or self._media.need("vm", vm.handle)["is_a_template"]:
            raise DriveError(f"{vm.name}: {plan.problem}")
        doomed = [*([plan.vdi] if plan.vdi else []), *plan.strays]
        for vbd in plan.eject:
            self._media.empty(vbd)
        for vdi in doomed:
            self._media.destroy(vdi)
        return DriveChange(
            bool(again or doomed or plan.eject), self._location(plan), str(plan.slot.number) if plan.slot else None
        )

    def _eject(self, vm: Vm, again: bool) -> DriveChange:
        self._picture.refresh()
        plan = self._planner.plan(vm)
        if plan.vdi is not None and plan.owner != vm.id:
            raise DriveError(f"{vm.name}: {plan.problem}")
        holding = self._holding(plan)
        whole = self._media.whole([self._media.need("vbd", ref)["VDI"] for ref in holding])
        if whole is not None:
            self._media.note(whole, EJECTED)
        for vbd in holding:
            self._media.empty(vbd)
        return DriveChange(again or bool(holding), self._location(plan), str(plan.slot.number) if plan.slot else None)

    def begin_move(self, vm: Vm, target: str) -> Move:
        """Reads the drive of a VM that is to move to another host, and ejects it if XAPI would not migrate the VM with it."""
        self._picture.refresh()
        plan = self._planner.plan(vm, target)
        if plan.problem is not None:
            raise DriveError(f"{vm.name}: {plan.problem}")
        record = self._media.need("vm", vm.handle)
        source = self._media.whole([ref for ref in (plan.vdi, *plan.strays) if ref is not None])
        data = self._media.bytes(source) if source else None
        note = self._planner.note(source)
        taken_out: list[tuple[str, str]] = []
        live = plan.running and record["resident_on"] != target
        changed = live
        if live:
            local = [ref for ref in plan.eject if not self._in_shared_sr(self._media.need("vbd", ref)["VDI"])]
            taken_out = [(ref, self._media.need("vbd", ref)["VDI"]) for ref in local]
            for vbd, _vdi in taken_out:
                self._media.empty(vbd)
        elif not plan.running and record["affinity"] != target:
            self._session.call("VM.set_affinity", vm.handle, target)
            changed = True
        return Move(vm, target, record["resident_on"], live, changed, data, tuple(taken_out), note)

    def end_move(self, move: Move, again: bool = False) -> DriveChange:
        """Puts the drive at the host where the VM is now, and deletes it where the VM was."""
        changed = move.changed or again
        if move.iso is not None:
            return self._put(move.vm, move.iso, move.target, changed, move.note)
        self._picture.refresh()
        message = f"{move.vm.name} has no config drive to bring along"
        return DriveChange(changed, self._location(self._planner.plan(move.vm, move.target)), message=message)

    def abandon_move(self, move: Move) -> str:
        """Puts back what begin_move() took out; returns a clause that says whether it could."""
        back = [self._put_back(vbd, vdi) for vbd, vdi in move.taken_out]
        return "its config drive is in place again" if all(back) else "put its config drive in place again"

    def _move(self, vm: Vm, destination: str, again: bool) -> DriveChange:
        self._picture.refresh()
        move = self.begin_move(vm, self._picture.find_host(destination, "destination"))
        if move.live:
            try:
                with self._migrating:
                    task = self._session.patiently("Async.VM.pool_migrate", vm.handle, move.target, {"live": "true"})
                    self._session.wait_task(task, MIGRATE_SECONDS)
            except XapiError as error:
                host = self._planner.host_label(move.target)
                raise DriveError(f"{vm.name}: it could not be migrated to {host}; {self.abandon_move(move)}: {error}") from None
        return self.end_move(move, again)

    def _put_back(self, vbd: str, vdi: str) -> bool:
        try:
            self._session.patiently("VBD.insert", vbd, vdi, also=BUSY)
            return True
        except HypervisorError:
            return False  # the failed migration is what the user must hear of

    def _insert(self, vm: Vm, plan: Plan) -> None:
        slot = plan.slot
        if slot is None or plan.vdi is None:
            raise DriveError(f"{vm.name}: its VM or ISO was changed while its config drive was put; run the task again")
        if slot.vbd is not None:
            vbd = self._media.need("vbd", slot.vbd)
            if DRIVE_KEY not in vbd["other_config"]:
                self._session.call("VBD.add_to_other_config", slot.vbd, DRIVE_KEY, "config")
            if slot.visible:
                self._session.patiently("VBD.insert", slot.vbd, plan.vdi, also=BUSY)
                return
            # It was made after the VM's start: its medium cannot be changed, but the drive can be made again.
            self._session.patiently("VBD.destroy", slot.vbd)
        record = records.cd_drive(vm.handle, slot.number, plan.vdi, {DRIVE_KEY: "config"})
        ref = self._session.patiently("VBD.create", record)
        if plan.running and slot.visible:
            self._session.patiently("VBD.plug", ref, also=BUSY)

    # -- looking ---------------------------------------------------------------------------------------------------

    def _state(self, plan: Plan) -> DriveState:
        # An ISO that is still where the VM was before exists, but is not attached.
        vdi = self._picture.get("vdi", plan.vdi or self._media.whole(plan.strays))
        return DriveState(
            location=self._location(plan),
            slot=str(plan.slot.number) if plan.slot else None,
            file_exists=vdi is not None,
            attached=self._in_place(plan),
            sha256=vdi["other_config"].get(DIGEST_KEY) if vdi else None,
            size=int(vdi["virtual_size"]) if vdi else None,
            owner=plan.owner if plan.vdi else vdi["other_config"].get(OWNER_KEY) if vdi else None,
            can_attach_now=plan.slot is None or plan.slot.visible,
            problem=plan.problem or self._media.broken(plan.sr),
            ejected=self._is_ejected(plan),
        )

    def _change(self, vm: Vm, plan: Plan, changed: bool) -> DriveChange:
        number = str(plan.slot.number) if plan.slot else None
        vbd = self._picture.get("vbd", plan.slot.vbd if plan.slot else None)
        restart = plan.running and not self._is_ejected(plan) and not (vbd is not None and vbd["currently_attached"])
        message = drive_rules.seen_after_restart(vm.name, f"at slot {number}") if restart else None
        return DriveChange(changed, self._location(plan), number, restart, message)

    def _has(self, ref: str | None, digest: str, size: int) -> bool:
        vdi = self._picture.get("vdi", ref)
        return bool(vdi and vdi["other_config"].get(DIGEST_KEY) == digest and int(vdi["virtual_size"]) == size)

    def _in_place(self, plan: Plan) -> bool:
        """Whether the guest has it, or will have it at the next start: it is inserted, and its host can use the storage."""
        serves = plan.sr is not None and self._planner.serves(plan.sr, plan.host) and self._media.broken(plan.sr) is None
        return serves and self._inserted(plan) and not plan.eject and not plan.strays

    def _is_ejected(self, plan: Plan) -> bool:
        return not self._holding(plan) and self._planner.note(plan.vdi or self._media.whole(plan.strays)) == EJECTED

    def _inserted(self, plan: Plan) -> bool:
        vbd = self._picture.get("vbd", plan.slot.vbd if plan.slot else None)
        return bool(plan.vdi and vbd and not vbd["empty"] and vbd["VDI"] == plan.vdi)

    def _location(self, plan: Plan) -> str:
        return self._planner.location(plan.sr, plan.host, plan.file)

    def _in_shared_sr(self, vdi: str) -> bool:
        record = self._picture.get("vdi", vdi)
        return record is not None and self._planner.is_shared(record["SR"])


class _Errors:
    """Turns an error about one VM into DriveError; HypervisorUnreachable passes."""

    def __init__(self, vm: Vm, what: str) -> None:
        self._vm = vm
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: t.Any, error: t.Any, trace: t.Any) -> None:
        if isinstance(error, HypervisorUnreachable) and not isinstance(error, UploadCut):
            return
        if isinstance(error, HypervisorError) and not isinstance(error, DriveError):
            raise DriveError(f"{self._vm.name}: {self._what}: {error}{advice(error)}") from None
        if isinstance(error, DriveError) and not str(error).startswith(f"{self._vm.name}:"):
            raise DriveError(f"{self._vm.name}: {self._what}: {error}") from None
