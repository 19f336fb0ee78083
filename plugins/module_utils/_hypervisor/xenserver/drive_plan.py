# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where a VM's config drive is and belongs: host, SR, VDI and drive, worked out from the pool's records alone."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import POWER_STOPPED, DriveError, Vm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import NULL

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture, Record

# Marks in other_config: who a VDI was made for, the digest of what was written (only after all of it was), that it was taken out
# on purpose or put while the VM ran, and which drive of a VM is the config drive's.
OWNER_KEY = "vmops.external_dhcp.owner"
DIGEST_KEY = "vmops.external_dhcp.sha256"
NOTE_KEY = "vmops.external_dhcp.note"
DRIVE_KEY = "vmops.external_dhcp.drive"
EJECTED = "ejected"

# XenServer's clients keep slot 3 (xvdd) for the CD that the user inserts.
USER_SLOT = 3
# QEMU gives an HVM guest four IDE places; slot 0 is the disk it boots from, wherever there is one.
_IDE_SLOTS = range(4)
_CD_SLOTS_HVM = (1, 2, 0)
_SLOTS = range(1, 16)

# The ISO driver tests only how a name begins, so the whole of it is tested here; and it takes these for tools ISOs.
_FILE_NAME = re.compile(r"[A-Za-z0-9.-]+\.(?:iso|img)", re.I)
_TOOLS = ("xs-tools", "guest-tools")


@dataclasses.dataclass(frozen=True)
class Settings:
    """sr_name: label of the ISO SR of every host, or of a shared one; iso_dir: its folder on the host."""

    sr_name: str
    iso_dir: str


@dataclasses.dataclass(frozen=True)
class Slot:
    """The drive for the config drive: an existing VBD, or a place for a new one.

    visible: whether the guest can see a medium put into it now.
    """

    number: int
    vbd: str | None
    visible: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """One VM's config drive: what there is and what is to be.

    vdi: the VDI at our path in the target host's SR; owner: whose it is (None without a VDI, or without a mark); own: this VM's.
    eject: VBDs of this VM that hold another VM's config drive, or one of ours that is not the right one.
    stale: this VM's VDIs at other places (an old name, the host it was on before).
    """

    file: str
    host: str
    sr: str | None
    vdi: str | None
    owner: str | None
    slot: Slot | None
    running: bool
    eject: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    problem: str | None = None
    own: bool = False


def file_name(vm: Vm) -> str:
    """<vm>.iso; for a VM name that an ISO SR refuses (blank, underscore, ...) vm-<uuid>.iso."""
    name = f"{vm.name}.iso"
    if _FILE_NAME.fullmatch(name) and not name.lower().startswith(_TOOLS) and not name.startswith("."):
        return name
    return f"vm-{vm.id}.iso"


def is_hvm(record: Record) -> bool:
    """Whether the VM has emulated drives; domain_type came with XenServer 7.5."""
    kind = record.get("domain_type", "unspecified")
    return kind == "hvm" or (kind == "unspecified" and bool(record.get("HVM_boot_policy")))


class Planner:
    """Plans over one picture; `owner_of` may have to read a VDI that carries no mark in its record."""

    def __init__(self, picture: Picture, settings: Settings, owner_of: Callable[[str], str | None]) -> None:
        self._picture = picture
        self._settings = settings
        self._owner_of = owner_of
        # Made from one look at the pool: VDIs by (SR, file) and by owner.
        self._index: tuple[int, dict[tuple[str, str], str], dict[str, list[str]]] = (-1, {}, {})

    def plan(self, vm: Vm, host: str | None = None) -> Plan:
        """host: the reference of the host to put the drive on; None: where the VM runs or would run."""
        record = self._picture.get("vm", vm.handle)
        if record is None:
            raise DriveError(f"{vm.name} is gone from the pool")
        running = record["power_state"] == "Running"
        file = file_name(vm)
        vbds = self._vbds(record)
        possible = host or self._host(record, vm, file)
        target = possible or self._master()
        sr = self.find_sr(target)
        vdi = None if sr is None else self.find_vdi(sr, file)
        owner = None if vdi is None else self._owner_of(vdi)
        # What lies on a host that is down can be neither used nor deleted: it is left until the host is back.
        ours = [ref for ref in self.owned_by(vm) if ref != vdi and self._reachable(ref)]
        foreign = [ref for ref, vbd in vbds.items() if self._holds_foreign(vbd, vm)]
        slot = self._slot(record, vbds, vdi if owner == vm.id else None, ours, foreign)
        eject = [
            ref
            for ref, vbd in vbds.items()
            if ref in foreign
            or vbd["VDI"] in ours
            or (vdi and vbd["VDI"] == vdi and (owner != vm.id or not slot or ref != slot.vbd))
        ]
        problem = self._problem(vm, record, target, file, vdi, owner, slot)
        if possible is None:
            problem = (
                problem or "no live, enabled host of the pool sees all of its disks and CDs; plug the storage it needs first"
            )
        return Plan(file, target, sr, vdi, owner, slot, running, tuple(eject), tuple(ours), problem, owner == vm.id)

    def find_sr(self, host: str) -> str | None:
        """The SR of that label that this host sees at the configured folder, or a shared one of that label."""
        found = []
        for ref, sr in self._config_srs().items():
            for pbd_ref in sr["PBDs"]:
                pbd = self._picture.get("pbd", pbd_ref)
                if pbd is None or pbd["host"] != host:
                    continue
                if sr["shared"] or _same_folder(pbd["device_config"].get("location", ""), self._settings.iso_dir):
                    found.append((not pbd["currently_attached"], not sr["shared"], sr["uuid"], ref))
        # A shared one ties no VM to a host. Two runs at the same moment may each have made one: all of us must choose the same.
        return min(found)[3] if found else None

    def find_vdi(self, sr: str, file: str) -> str | None:
        """The VDI of that file; its label can be edited, its location cannot."""
        return self._indexed()[1].get((sr, file))

    def owned_by(self, vm: Vm) -> list[str]:
        """VDIs in config drive SRs that are marked as this VM's, in the order of their UUIDs."""
        return self._indexed()[2].get(vm.id, [])

    def _indexed(self) -> tuple[int, dict[tuple[str, str], str], dict[str, list[str]]]:
        """Goes through the VDIs once for each look at the pool, not once for each VM."""
        index = self._index
        looks = self._picture.looks
        if index[0] == looks:
            return index
        by_file: dict[tuple[str, str], str] = {}
        by_owner: dict[str, list[str]] = {}
        found = []
        for sr, record in self._config_srs().items():
            for ref in record["VDIs"]:
                vdi = self._picture.get("vdi", ref)
                if vdi is not None:
                    found.append((vdi["uuid"], ref, vdi))
                    by_file[(sr, vdi["location"])] = ref
        for _uuid, ref, vdi in sorted(found, key=lambda entry: entry[0]):
            by_owner.setdefault(vdi["other_config"].get(OWNER_KEY, ""), []).append(ref)
        self._index = (looks, by_file, by_owner)
        return self._index

    def location(self, sr: str | None, host: str, file: str) -> str:
        """Where the file is or would be: in the folder of the SR as this host has it, else in the configured one."""
        folder = self._settings.iso_dir
        for ref in (self._picture.get("sr", sr) or {"PBDs": ()})["PBDs"]:
            pbd = self._picture.get("pbd", ref)
            if pbd is not None and pbd["host"] == host:
                folder = pbd["device_config"].get("location", folder)
        return f"{folder.rstrip('/')}/{file}"

    def is_shared(self, sr: str | None) -> bool:
        """Whether all hosts see this SR."""
        record = self._picture.get("sr", sr)
        return bool(record and record["shared"])

    def sr_hosts(self, sr: str) -> list[str]:
        """Hosts with a plugged PBD of this SR."""
        record = self._picture.get("sr", sr)
        pbds = [self._picture.get("pbd", ref) for ref in (record["PBDs"] if record else ())]
        return [pbd["host"] for pbd in pbds if pbd is not None and pbd["currently_attached"]]

    def serves(self, sr: str, host: str) -> bool:
        """Whether a VM on this host can use the SR now."""
        return self._picture.live(host) and host in self.sr_hosts(sr)

    def _reachable(self, vdi: str) -> bool:
        record = self._picture.get("vdi", vdi)
        return record is not None and any(self._picture.live(host) for host in self.sr_hosts(record["SR"]))

    def host_label(self, host: str) -> str:
        """A host's name for messages."""
        record = self._picture.get("host", host)
        return record["name_label"] if record else host

    def drive_of(self, handle: str) -> str | None:
        """The VDI at the place of a VM's drive that is marked as its own; for a template or snapshot, as for a VM."""
        record = self._picture.get("vm", handle)
        if record is None:
            return None
        vm = Vm(record["name_label"], record["uuid"].lower(), POWER_STOPPED, handle=handle)
        plan = self.plan(vm)
        return plan.vdi if plan.own else None

    def unread_note(self, vm: Vm) -> str:
        """What is noted at a drive that is put now: the start since which the VM runs, which has not read it; "" for one that is off."""
        record = self._picture.get("vm", vm.handle)
        if record is None or record["power_state"] != "Running":
            return ""
        metrics = self._picture.get("vm_metrics", record["metrics"])
        return f"unread {metrics['start_time'] if metrics else ''}"

    def note(self, vdi: str | None) -> str:
        """The note at a VDI."""
        record = self._picture.get("vdi", vdi)
        return record["other_config"].get(NOTE_KEY, "") if record else ""

    def find_host(self, text: str) -> str:
        """The host of that name, host name, address or UUID. Raises DriveError."""
        found = [
            ref
            for ref, host in self._picture.records["host"].items()
            if text in (host["name_label"], host["hostname"], host["address"], host["uuid"])
        ]
        if len(found) != 1:
            known = ", ".join(sorted(h["name_label"] for h in self._picture.records["host"].values()))
            what = "is no host" if not found else "is the name of several hosts"
            raise DriveError(f"destination {text!r} {what} of this pool; its hosts are {known}")
        return found[0]

    # -- choices ---------------------------------------------------------------------------------------------------

    def _vbds(self, record: Record) -> dict[str, Record]:
        pairs = [(ref, self._picture.get("vbd", ref)) for ref in record["VBDs"]]
        known = [(ref, vbd) for ref, vbd in pairs if vbd is not None]
        return dict(sorted(known, key=lambda pair: _number(pair[1])))

    def _config_srs(self) -> dict[str, Record]:
        return {
            ref: sr
            for ref, sr in self._picture.records["sr"].items()
            if sr["type"] == "iso" and sr["name_label"] == self._settings.sr_name
        }

    def _host(self, record: Record, vm: Vm, file: str) -> str | None:
        """Where the VM is, or would be started: its affinity, where its drive is now, any; of those that can run it.

        Those without a preference are spread over the hosts, each VM always to the same one.
        """
        if record["power_state"] == "Running" and record["resident_on"] != NULL:
            return record["resident_on"]
        ours = set(self.owned_by(vm))
        possible = []
        for ref, host in self._picture.records["host"].items():
            if host["enabled"] and self._picture.live(ref) and self._sees_disks(ref, record, vm, ours):
                sr = self.find_sr(ref)
                has_drive = sr is not None and self.find_vdi(sr, file) in ours
                share = hashlib.sha256(f"{vm.id} {host['uuid']}".encode()).digest()
                possible.append((ref != record["affinity"], not has_drive, share, ref))
        return min(possible)[3] if possible else None

    def _master(self) -> str:
        for pool in self._picture.records["pool"].values():
            return pool["master"]
        return NULL

    def _sees_disks(self, host: str, record: Record, vm: Vm, ours: set[str]) -> bool:
        """And the CDs in its other drives: XAPI starts no VM where it does not see all of them."""
        for vbd in self._vbds(record).values():
            vdi = self._picture.get("vdi", vbd["VDI"])
            if vdi is None or vbd["empty"] or vbd["VDI"] in ours or self._holds_foreign(vbd, vm):
                continue
            if host not in self.sr_hosts(vdi["SR"]):
                return False
        return True

    def _holds_foreign(self, vbd: Record, vm: Vm) -> bool:
        """A config drive of another VM, as a clone's drive holds the original's."""
        vdi = self._picture.get("vdi", vbd["VDI"])
        if vdi is None or vdi["SR"] not in self._config_srs():
            return False
        owner = self._owner_of(vbd["VDI"])
        return owner is not None and owner != vm.id

    def _slot(
        self, record: Record, vbds: Mapping[str, Record], vdi: str | None, stale: list[str], foreign: list[str]
    ) -> Slot | None:
        running, hvm = record["power_state"] == "Running", is_hvm(record)
        candidates = []
        for ref, vbd in vbds.items():
            if vbd["type"] != "CD" or (hvm and _number(vbd) not in _IDE_SLOTS):
                continue
            tagged = DRIVE_KEY in vbd["other_config"]
            replaceable = vbd["empty"] or vbd["VDI"] in stale or ref in foreign
            visible = not running or not hvm or vbd["currently_attached"]
            if vdi is not None and vbd["VDI"] == vdi:
                rank = 0
            elif replaceable and tagged:
                rank = 1
            elif replaceable and not vbd["empty"]:
                rank = 2
            elif replaceable and _number(vbd) != USER_SLOT:
                rank = 3
            else:
                continue
            # A drive that the guest cannot see is only taken where there is no better one; it is the one made for later.
            candidates.append((not visible and rank != 0, rank, _number(vbd), ref, visible))
        if candidates:
            _late, _rank, number, ref, visible = min(candidates)
            return Slot(number, ref, visible)
        place = free_cd_slot(used_slots(vbds), hvm)
        return None if place is None else Slot(place, None, not (running and hvm))

    def _problem(
        self, vm: Vm, record: Record, host: str, file: str, vdi: str | None, owner: str | None, slot: Slot | None
    ) -> str | None:
        if record["is_a_template"]:
            return "it is a template, whose clones would all share the drive; give each of them its own"
        path = self.location(self.find_sr(host), host, file)
        if vdi is not None and owner != vm.id:
            return drive_rules.foreign(f"{path} on {self.host_label(host)}", owner)
        if not self._picture.live(host):
            return f"its host {self.host_label(host)} is down; wait until it is back, or until the VM runs on another one"
        if record["power_state"] not in ("Running", "Halted"):
            return f"the VM is {record['power_state'].lower()}, and XAPI changes no drive of it then; resume it or shut it down first"
        if slot is None:
            return drive_rules.no_slot("free one of slots 0 to 2; slot 3 is kept for the user's own media")
        return None


def _number(vbd: Record) -> int:
    text = vbd["userdevice"]
    return int(text) if str(text).isdecimal() else 255


def free_cd_slot(used: set[int], hvm: bool) -> int | None:
    """The place for another CD drive, the user's left alone; None if there is none."""
    return next((n for n in (_CD_SLOTS_HVM if hvm else _SLOTS) if n not in used and n != USER_SLOT), None)


def used_slots(vbds: Mapping[str, Record]) -> set[int]:
    """Slots in use; `device` may say another one than `userdevice`."""
    used = set()
    for vbd in vbds.values():
        used.add(_number(vbd))
        match = re.fullmatch(r"(?:xvd|hd|sd)([a-p])", vbd["device"])
        if match:
            used.add(ord(match.group(1)) - ord("a"))
    return used


def _same_folder(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
