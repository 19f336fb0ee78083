# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where a VM's config drive is and belongs: host, SR, VDI and slot, worked out from the pool's records alone."""

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

# Keys in other_config.
OWNER_KEY = "vmops.external_dhcp.owner"  # of a VDI: the id of the VM that it was made for
DIGEST_KEY = "vmops.external_dhcp.sha256"  # of a VDI: the digest of its bytes, set when all are written
NOTE_KEY = "vmops.external_dhcp.note"  # of a VDI: EJECTED (on purpose), or Planner.unread_note()
DRIVE_KEY = "vmops.external_dhcp.drive"  # of a VBD: it is the slot of the config drive
EJECTED = "ejected"

# XenServer's clients insert a user's CD at slot 3 (xvdd).
USER_SLOT = 3
# QEMU gives an HVM guest four IDE places; slot 0 comes last, as it is usually the disk that the guest boots from.
_IDE_SLOTS = range(4)
_CD_SLOTS_HVM = (1, 2, 0)
_SLOTS = range(1, 16)

# Names that an ISO SR takes. Its driver tests only how a name begins.
_FILE_NAME = re.compile(r"[A-Za-z0-9.-]+\.(?:iso|img)", re.I)
# Beginnings of names that it takes for ISOs of guest tools.
_TOOLS = ("xs-tools", "guest-tools")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options of the connection. sr_name: label of each host's ISO SR, or of a shared one. iso_dir: its folder on the host."""

    sr_name: str
    iso_dir: str


@dataclasses.dataclass(frozen=True)
class Slot:
    """The CD drive for the config drive. vbd: None for one to be made. visible: whether the guest can see a medium in it now."""

    number: int
    vbd: str | None
    visible: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """One VM's config drive as it is and as it is to be.

    vdi: the VDI at the drive's place, in the SR of the host. owner: the VM id in its mark, or None. own: whether that is this VM.
    eject: VBDs of this VM to be emptied: they hold another VM's config drive, or one of this VM's that is not to be there.
    strays: this VM's VDIs at other places (under a former name, on a former host).
    """

    file: str
    host: str
    sr: str | None
    vdi: str | None
    owner: str | None
    slot: Slot | None
    running: bool
    eject: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    problem: str | None = None
    own: bool = False


def file_name(vm: Vm) -> str:
    """<vm>.iso, or vm-<uuid>.iso if an ISO SR refuses the VM's name (blank, underscore, ...)."""
    name = f"{vm.name}.iso"
    if _FILE_NAME.fullmatch(name) and not name.lower().startswith(_TOOLS) and not name.startswith("."):
        return name
    return f"vm-{vm.id}.iso"


def is_hvm(record: Record) -> bool:
    """Whether the VM has emulated drives; domain_type came with XenServer 7.5."""
    kind = record.get("domain_type", "unspecified")
    return kind == "hvm" or (kind == "unspecified" and bool(record.get("HVM_boot_policy")))


class Planner:
    """Makes plans by one picture. owner_of: gives a VDI's owner; it reads the VDI if its record has no mark."""

    def __init__(self, picture: Picture, settings: Settings, owner_of: Callable[[str], str | None]) -> None:
        self._picture = picture
        self._settings = settings
        self._owner_of = owner_of
        # The picture's look that it was made at; VDIs by (SR, file), and by owner.
        self._index: tuple[int, dict[tuple[str, str], str], dict[str, list[str]]] = (-1, {}, {})

    def plan(self, vm: Vm, host: str | None = None) -> Plan:
        """The VM's plan. host: where the drive is to be; None for the host where the VM runs or would run. Raises DriveError."""
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
        # A VDI on a host that is down can be neither used nor deleted.
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
        """The config drive SR of this host: one at the configured folder, or a shared one."""
        found = []
        for ref, sr in self._config_srs().items():
            for pbd_ref in sr["PBDs"]:
                pbd = self._picture.get("pbd", pbd_ref)
                if pbd is None or pbd["host"] != host:
                    continue
                if sr["shared"] or _same_folder(pbd["device_config"].get("location", ""), self._settings.iso_dir):
                    found.append((not pbd["currently_attached"], not sr["shared"], sr["uuid"], ref))
        # A shared one is better, as it ties no VM to a host. Two runs may each have made one: all must choose the same.
        return min(found)[3] if found else None

    def find_vdi(self, sr: str, file: str) -> str | None:
        """The VDI of that file, by its location: anybody can change its label."""
        return self._indexed()[1].get((sr, file))

    def owned_by(self, vm: Vm) -> list[str]:
        """VDIs in config drive SRs that are marked as this VM's, in the order of their UUIDs."""
        return self._indexed()[2].get(vm.id, [])

    def _indexed(self) -> tuple[int, dict[tuple[str, str], str], dict[str, list[str]]]:
        """The index of VDIs; it is made once per look at the pool."""
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
        """The file's path on the host: in the SR's folder there, else in the configured one."""
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

    def serves(self, sr: str, host: str) -> bool:
        """Whether a VM on this host can use the SR now."""
        return self._picture.live(host) and host in self._picture.sr_hosts(sr)

    def _reachable(self, vdi: str) -> bool:
        record = self._picture.get("vdi", vdi)
        return record is not None and any(self._picture.live(host) for host in self._picture.sr_hosts(record["SR"]))

    def host_label(self, host: str) -> str:
        """A host's name for messages."""
        record = self._picture.get("host", host)
        return record["name_label"] if record else host

    def drive_of(self, handle: str) -> str | None:
        """The VDI of a VM's config drive, if it is at its place. handle: of a VM, template or snapshot."""
        record = self._picture.get("vm", handle)
        if record is None:
            return None
        vm = Vm(record["name_label"], record["uuid"].lower(), POWER_STOPPED, handle=handle)
        plan = self.plan(vm)
        return plan.vdi if plan.own else None

    def unread_note(self, vm: Vm) -> str:
        """The note for a drive that is put now: the time of the VM's last start, which was before it; empty if the VM is off."""
        record = self._picture.get("vm", vm.handle)
        if record is None or record["power_state"] != "Running":
            return ""
        metrics = self._picture.get("vm_metrics", record["metrics"])
        return f"unread {metrics['start_time'] if metrics else ''}"

    def note(self, vdi: str | None) -> str:
        """The note at a VDI, or an empty text."""
        record = self._picture.get("vdi", vdi)
        return record["other_config"].get(NOTE_KEY, "") if record else ""

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
        """Where the VM runs, or is to be started: of the hosts that can run it, its affinity, else where its drive is, else any.

        The last choice spreads the VMs over the hosts, and is always the same for one VM.
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
        """Whether the host sees all disks and CDs of the VM, without which XAPI would not start it there."""
        for vbd in self._vbds(record).values():
            vdi = self._picture.get("vdi", vbd["VDI"])
            if vdi is None or vbd["empty"] or vbd["VDI"] in ours or self._holds_foreign(vbd, vm):
                continue
            if host not in self._picture.sr_hosts(vdi["SR"]):
                return False
        return True

    def _holds_foreign(self, vbd: Record, vm: Vm) -> bool:
        """Whether a drive holds another VM's config drive, as a clone's does."""
        vdi = self._picture.get("vdi", vbd["VDI"])
        if vdi is None or vdi["SR"] not in self._config_srs():
            return False
        owner = self._owner_of(vbd["VDI"])
        return owner is not None and owner != vm.id

    def _slot(
        self, record: Record, vbds: Mapping[str, Record], vdi: str | None, strays: list[str], foreign: list[str]
    ) -> Slot | None:
        running, hvm = record["power_state"] == "Running", is_hvm(record)
        candidates = []
        for ref, vbd in vbds.items():
            if vbd["type"] != "CD" or (hvm and _number(vbd) not in _IDE_SLOTS):
                continue
            tagged = DRIVE_KEY in vbd["other_config"]
            replaceable = vbd["empty"] or vbd["VDI"] in strays or ref in foreign
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
            # A drive that the guest cannot see yet is the last choice.
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
    """A free place for another CD drive, not the user's; None if there is none."""
    return next((n for n in (_CD_SLOTS_HVM if hvm else _SLOTS) if n not in used and n != USER_SLOT), None)


def used_slots(vbds: Mapping[str, Record]) -> set[int]:
    """The slots in use, by `userdevice` and by `device`, which may differ."""
    used = set()
    for vbd in vbds.values():
        used.add(_number(vbd))
        match = re.fullmatch(r"(?:xvd|hd|sd)([a-p])", vbd["device"])
        if match:
            used.add(ord(match.group(1)) - ord("a"))
    return used


def _same_folder(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
