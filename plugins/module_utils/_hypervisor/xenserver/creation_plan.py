# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Plans for VMs to be created. What can be refused is refused here, by the picture alone."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.marks import (
    is_unfinished,
    unfinished_name,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import NULL

if t.TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture, Record

PLACEMENT_KEYS = ("host", "sr")
# Keys in other_config by which a template asks for VM.provision: for disks, and for a script run in the control domain.
DISKS_KEY = "disks"
_SCRIPT_KEY = "postinstall"
MIB = 1 << 20
MAX_NICS = 16
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


@dataclasses.dataclass(frozen=True)
class NicPlan:
    """A NIC to be made. network: its reference; mac: None for a new one."""

    network: str
    mac: str | None


@dataclasses.dataclass(frozen=True)
class CreationPlan:
    """A VM to be created. source: the template or VM to clone. copy: whether its disks are copied. sr: where to (NULL: each
    stays in its own). host: for affinity. leftover: VMs that a run which was cut short left under this name. kind: equal for VMs that
    differ only in name and MACs.
    """

    want: VmWanted
    source: str
    copy: bool
    sr: str
    host: str | None
    nics: tuple[NicPlan, ...] | None
    leftover: tuple[str, ...]
    kind: Hashable


def asks_for_provision(vm: Record) -> bool:
    """Whether a template asks for VM.provision."""
    return bool(vm["is_a_template"]) and (DISKS_KEY in vm["other_config"] or _SCRIPT_KEY in vm["other_config"])


class CreationPlanner:
    """Plans over one picture. Raises MachineError with one sentence that names the option, the value and the way out."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def plan(self, want: VmWanted) -> CreationPlan:
        source = self._source(want.template)
        record = self._picture.records["vm"][source]
        nics = None if want.nics is None else self.nics(want.nics)
        sr = self._sr(want)
        copy = want.full_clone or (sr is not None and any(self._sr_of(disk) != sr for disk in self.disks(record)))
        self._check_size(want, record)
        host = self._host(want, record, sr if copy else None)
        staged = unfinished_name(want.name)
        leftover = tuple(
            ref for ref, vm in self._picture.records["vm"].items() if vm["name_label"] == staged and is_unfinished(vm)
        )
        for ref in leftover:
            if self._picture.records["vm"][ref]["current_operations"]:
                raise MachineError("another run is creating this VM at the moment; wait for it to end")
        networks = None if nics is None else tuple(nic.network for nic in nics)
        kind: Hashable = (source, copy, sr, host, networks, want.memory, want.cpus, want.disk_size)
        if asks_for_provision(record):
            kind = want.name  # each VM of such a template has its own disks made, and the script run
        return CreationPlan(want, source, copy, sr or NULL, host, nics, leftover, kind)

    def nics(self, wanted: Sequence[NicWanted]) -> tuple[NicPlan, ...]:
        if len(wanted) > MAX_NICS:
            raise MachineError(f"{len(wanted)} networks are asked for; XAPI gives a VM {MAX_NICS} NICs at most")
        plans = []
        for nic in wanted:
            mac = nic.mac.lower().replace("-", ":") if nic.mac else None
            if mac is not None and (not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1):
                raise MachineError(f"the MAC {nic.mac!r} is none that a NIC can have: write six pairs like 02:16:3e:01:02:03")
            plans.append(NicPlan(self._network(nic.network), mac))
        return tuple(plans)

    def taken_macs(self) -> dict[str, str]:
        """The names of VMs by the MACs of their NICs, which XAPI does not compare."""
        found = {}
        for vif in self._picture.records["vif"].values():
            vm = self._picture.get("vm", vif["VM"])
            if vm is not None and not vm["is_a_snapshot"] and not vm["is_a_template"]:
                found[vif["MAC"].lower()] = vm["name_label"]
        return found

    def disks(self, vm: Record) -> list[str]:
        """The VDIs of the VM's disks in the order of their slots, without CDs and empty drives."""
        vbds = [self._picture.get("vbd", ref) for ref in vm["VBDs"]]
        disks = [vbd for vbd in vbds if vbd is not None and vbd["type"] == "Disk" and self._picture.get("vdi", vbd["VDI"])]
        return [vbd["VDI"] for vbd in sorted(disks, key=lambda vbd: int(vbd["userdevice"] or 255))]

    # -- look-ups --------------------------------------------------------------------------------------------------

    def _source(self, text: str) -> str:
        found = {True: [], False: []}  # type: dict[bool, list[str]]
        for ref, vm in self._picture.records["vm"].items():
            if text in (vm["name_label"], vm["uuid"]) and not (
                vm["is_a_snapshot"] or vm["is_control_domain"] or is_unfinished(vm)
            ):
                found[vm["is_a_template"]].append(ref)
        refs = found[True] or found[False]
        if not refs:
            raise MachineError(f"there is no template {text} in the pool: check template")
        if len(refs) > 1:
            ids = ", ".join(sorted(self._picture.records["vm"][ref]["uuid"] for ref in refs))
            raise MachineError(f"{len(refs)} templates are named {text} ({ids}): give the UUID of the one meant as template")
        power = self._picture.records["vm"][refs[0]]["power_state"]
        if power != "Halted":
            raise MachineError(f"template {text} is a VM that is {power.lower()}: shut it down, or make a template of it")
        return refs[0]

    def _network(self, text: str) -> str:
        found = [
            ref
            for ref, network in self._picture.records["network"].items()
            if text in (network["name_label"], network["uuid"], network["bridge"])
        ]
        if not found:
            raise MachineError(f"there is no network {text} in the pool: check its name")
        if len(found) > 1:
            ids = ", ".join(sorted(self._picture.records["network"][ref]["uuid"] for ref in found))
            raise MachineError(f"{len(found)} networks are named {text} ({ids}): give the UUID of the one meant")
        return found[0]

    def _sr(self, want: VmWanted) -> str | None:
        unknown = sorted(set(want.placement) - set(PLACEMENT_KEYS))
        if unknown:
            raise MachineError(f"placement.{unknown[0]} is not known on XenServer: use {' or '.join(PLACEMENT_KEYS)}")
        text = want.placement.get("sr")
        if not text:
            return None
        found = [ref for ref, sr in self._picture.records["sr"].items() if text in (sr["name_label"], sr["uuid"])]
        if len(found) != 1:
            what = "is no storage repository" if not found else "is the name of several storage repositories"
            raise MachineError(f"placement.sr {text} {what} of the pool: give its name or UUID")
        if self._picture.records["sr"][found[0]]["content_type"] == "iso" or not self._picture.sr_hosts(found[0]):
            raise MachineError(f"placement.sr {text} holds no disks: it is an ISO library or plugged on no host")
        return found[0]

    def _host(self, want: VmWanted, source: Record, sr: str | None) -> str | None:
        text = want.placement.get("host")
        if not text:
            return None
        ref = self.usable_host(text, "placement.host")
        needed = {sr} if sr else {self._sr_of(disk) for disk in self.disks(source)}
        for one in needed:
            if one and ref not in self._picture.sr_hosts(one):
                label = self._picture.records["sr"][one]["name_label"]
                raise MachineError(f"placement.host {text} does not see the storage repository {label}: give placement.sr too")
        return ref

    def usable_host(self, text: str, option: str) -> str:
        """See Picture.find_host(); raises MachineError also for a host that takes no VMs."""
        ref = self._picture.find_host(text, option)
        if not self._picture.records["host"][ref]["enabled"] or not self._picture.live(ref):
            raise MachineError(f"{option} {text} takes no VMs: it is disabled (maintenance mode) or down")
        return ref

    def _sr_of(self, vdi: str) -> str | None:
        record = self._picture.get("vdi", vdi)
        return record["SR"] if record and record["SR"] in self._picture.records["sr"] else None

    def _check_size(self, want: VmWanted, source: Record) -> None:
        disks = self.disks(source)
        if want.disk_size is not None:
            if not disks:
                raise MachineError(f"disk_size is set, but template {want.template} has no disk")
            has = int(self._picture.records["vdi"][disks[0]]["virtual_size"])
            if want.disk_size < has:
                raise MachineError(
                    f"disk_size {want.disk_size} is less than the {has} bytes of the template's disk, which only grows"
                )
        if want.memory is not None and want.memory < 1:
            raise MachineError(f"memory {want.memory} is no number of MiB")
        per_socket = source["platform"].get("cores-per-socket", "")
        if want.cpus is not None and (want.cpus < 1 or (per_socket.isdecimal() and want.cpus % max(1, int(per_socket)))):
            hint = f": the template has {per_socket} cores per socket, of which it must be a multiple" if per_socket else ""
            raise MachineError(f"cpus {want.cpus} cannot be given{hint}")
