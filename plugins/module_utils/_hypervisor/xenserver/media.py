# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Config drives as XAPI has them, VDIs in ISO SRs: making, reading, ejecting and deleting them."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import HEAD_SIZE, MAX_SIZE, read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError, HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import records
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import (
    DIGEST_KEY,
    NOTE_KEY,
    OWNER_KEY,
    Planner,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import XapiError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.transfer import (
    InMemory,
    download,
    host_names,
    upload,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import Plan, Settings
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture, Record
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

# The control domain has a VDI attached while XAPI exports or imports it, and for a moment after.
BUSY = ("VDI_IN_USE",)
_NO_FOLDER = ("SR_BACKEND_FAILURE_226", "SR_BACKEND_FAILURE_47")


class Media:
    """The ISOs in the SRs of one pool. Usable from several threads."""

    def __init__(self, session: Session, picture: Picture, settings: Settings) -> None:
        self._session = session
        self._picture = picture
        self._settings = settings
        self.planner = Planner(picture, settings, self.owner_of)
        # Owners read from the bytes of VDIs without an owner in their record, by UUID.
        self._read_owners: dict[str, str | None] = {}
        # By SR that was scanned: what is wrong with its folder, or None.
        self._scanned: dict[str, str | None] = {}
        self._sr_lock = threading.Lock()

    # -- storage repositories --------------------------------------------------------------------------------------

    def verify(self, srs: Iterable[str | None]) -> bool:
        """Has XAPI scan these SRs, once each, as it does not notice by itself that a file is gone. Returns whether it did."""
        looked = False
        for sr in sorted({sr for sr in srs if sr is not None}):
            with self._sr_lock:
                if sr in self._scanned or not self._picture.sr_hosts(sr):
                    continue
                self._scanned[sr] = None
                looked = True
                try:
                    self._session.patiently("SR.scan", sr)
                except XapiError as error:
                    if error.code in _NO_FOLDER:
                        self._scanned[sr] = str(self._missing_folder(error, self._picture.sr_hosts(sr)[0]))
                    elif error.code != "RBAC_PERMISSION_DENIED":  # without that right XAPI's records must do
                        raise
        return looked

    def broken(self, sr: str | None) -> str | None:
        """What is wrong with the SR's folder, as far as verify() has found out."""
        return self._scanned.get(sr or "")

    def sr_for(self, host: str) -> str:
        """The SR for drives on this host; it is made and plugged if it is not yet."""
        with self._sr_lock:
            sr = self.planner.find_sr(host)
            if sr is None:
                self._picture.refresh()
                sr = self.planner.find_sr(host) or self._create_sr(host)
            self._plug(sr, host)
            return sr

    def _create_sr(self, host: str) -> str:
        config = {"location": self._settings.iso_dir, "legacy_mode": "true"}
        text = "Config drives of this host's VMs"
        try:
            self._session.patiently("SR.create", host, config, "0", self._settings.sr_name, text, "iso", "iso", False, {})
        except XapiError as error:
            raise self._missing_folder(error, host) from None
        self._picture.refresh()
        sr = self.planner.find_sr(host)
        if sr is None:
            label = self.planner.host_label(host)
            raise DriveError(f"the SR {self._settings.sr_name} was made on {label} but is not there; try again")
        return sr

    def _plug(self, sr: str, host: str) -> None:
        """Plugs the SR on this host; it may be unplugged even just after it was made."""
        if host in self._picture.sr_hosts(sr):
            return
        for ref in self.need("sr", sr)["PBDs"]:
            pbd = self.need("pbd", ref)
            if pbd["host"] == host and not pbd["currently_attached"]:
                try:
                    self._session.patiently("PBD.plug", ref)
                except XapiError as error:
                    raise self._missing_folder(error, host) from None
        self._picture.refresh()

    def _missing_folder(self, error: XapiError, host: str) -> HypervisorError:
        if error.code not in _NO_FOLDER:
            return error
        folder, label = self._settings.iso_dir, self.planner.host_label(host)
        return DriveError(
            f"the folder {folder} (hypervisor.iso_dir) does not exist on host {label}, and XAPI cannot make it: run "
            f"'mkdir -p {folder}' there as root, or let the role do so over SSH"
        )

    # -- making ----------------------------------------------------------------------------------------------------

    def make(self, vm: Vm, plan: Plan, iso: bytes, digest: str, note: str) -> None:
        """Creates the VDI and writes the ISO; a failure leaves nothing half-written. note: see note()."""
        sr = self.sr_for(plan.host)
        vdi = self._create(vm, plan, sr, len(iso), note)
        try:
            upload(self._session, host_names(self._session, self._picture), self._address(sr, plan.host), vdi, InMemory(iso))
            self._session.call("VDI.add_to_other_config", vdi, DIGEST_KEY, digest)
        except HypervisorError:
            try:
                self._session.patiently("VDI.destroy", vdi, also=BUSY)
            except HypervisorError:
                pass  # without a digest it counts as half-written, and the next put replaces it
            raise

    def note(self, vdi: str, text: str) -> None:
        """Writes the note at a VDI: Planner.unread_note(), EJECTED, or an empty text to remove it."""
        before = self.planner.note(vdi)
        if before == text:
            return
        if before:
            self._session.call("VDI.remove_from_other_config", vdi, NOTE_KEY)
        if text:
            self._session.call("VDI.add_to_other_config", vdi, NOTE_KEY, text)

    def _create(self, vm: Vm, plan: Plan, sr: str, size: int, note: str) -> str:
        record = records.vdi(
            plan.file,
            sr,
            size,
            name_description=f"Config drive of {vm.name}",
            other_config={OWNER_KEY: vm.id, **({NOTE_KEY: note} if note else {})},
            sm_config={"path": plan.file},
        )
        try:
            return self._session.patiently("VDI.create", record)
        except XapiError as error:
            if error.code != "SR_BACKEND_FAILURE_43":
                raise
        # XAPI has no record of the file: somebody else put it there, or XAPI's database is older.
        self._session.patiently("SR.scan", sr)
        self._picture.refresh()
        found = self.planner.find_vdi(sr, plan.file)
        owner = None if found is None else self.owner_of(found)
        if found is None or owner != vm.id:
            place = f"{self.planner.location(sr, plan.host, plan.file)} on {self.planner.host_label(plan.host)}"
            raise DriveError(f"{vm.name}: {drive_rules.foreign(place, owner)}")
        self.destroy(found)
        return self._session.patiently("VDI.create", record)

    # -- unmaking --------------------------------------------------------------------------------------------------

    def empty(self, ref: str) -> None:
        """Takes the medium out of a VBD. A disk, and a CD drive that the guest cannot see, is removed with its VBD instead."""
        vbd = self._picture.get("vbd", ref)
        vm = self._picture.get("vm", vbd["VM"]) if vbd is not None else None
        if vbd is None or vm is None or vm["is_control_domain"]:
            return  # XAPI's own, while it exports the VDI
        running = vm["power_state"] == "Running"
        try:
            if vbd["type"] == "CD" and (not running or vbd["currently_attached"]):
                self._session.patiently("VBD.eject", ref)
                return
            if running and vbd["currently_attached"]:
                self._session.patiently("VBD.unplug", ref)
            self._session.patiently("VBD.destroy", ref)
        except XapiError as error:
            if error.code not in ("VBD_IS_EMPTY", "HANDLE_INVALID"):
                raise

    def destroy(self, vdi: str | None) -> None:
        """Deletes an ISO, after emptying the CD drives that hold it: VDI.destroy would delete those, too."""
        record = self._picture.get("vdi", vdi)
        if record is None:
            return
        self._picture.refresh()
        for ref in (self._picture.get("vdi", vdi) or record)["VBDs"]:
            self.empty(ref)
        try:
            self._session.patiently("VDI.destroy", vdi, also=BUSY)
        except XapiError as error:
            if error.code != "HANDLE_INVALID":
                raise
        self._picture.refresh()

    # -- reading ---------------------------------------------------------------------------------------------------

    def owner_of(self, vdi: str) -> str | None:
        """The owner in the VDI's record, else in the mark of the ISO itself: a file found by a scan has none in its record."""
        record = self._picture.get("vdi", vdi)
        if record is None:
            return None
        owner = record["other_config"].get(OWNER_KEY)
        if owner:
            return owner
        uuid = record["uuid"]
        if uuid not in self._read_owners:
            self._read_owners[uuid] = read_owner(self.bytes(vdi, HEAD_SIZE))
        return self._read_owners[uuid]

    def whole(self, refs: Sequence[str]) -> str | None:
        """The first of these VDIs that was written completely."""
        for ref in refs:
            vdi = self._picture.get("vdi", ref)
            if vdi is not None and DIGEST_KEY in vdi["other_config"]:
                return ref
        return None

    def bytes(self, vdi: str, limit: int = MAX_SIZE) -> bytes:
        """The ISO's bytes, at most limit of them."""
        record = self.need("vdi", vdi)
        size = min(limit, int(record["virtual_size"]))
        data = download(
            self._session, host_names(self._session, self._picture), self._address(record["SR"], None), record["uuid"], size
        )
        if len(data) != size:
            raise DriveError(f"{record['location']}: only {len(data)} of {size} bytes could be read back")
        return data

    def need(self, cls: str, ref: str | None) -> Record:
        record = self._picture.get(cls, ref)
        if record is None:
            raise DriveError(f"{self._session.endpoint}: a {cls} changed while it was worked on; run the task again")
        return record

    def _address(self, sr: str, wanted: str | None) -> str:
        """The address of a host that has the SR plugged: the wanted one where possible."""
        hosts = [host for host in self._picture.sr_hosts(sr) if self._picture.live(host)]
        if not hosts:
            label = self.need("sr", sr)["name_label"]
            raise DriveError(f"the SR {label} is plugged on no host that is up; repair it (xe pbd-plug) and run the task again")
        return self.need("host", wanted if wanted in hosts else sorted(hosts)[0])["address"]
