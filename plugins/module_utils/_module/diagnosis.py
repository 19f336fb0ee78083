# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Gathers the facts for a diagnosis in bulk: from the hypervisor through its driver, and from the record."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import content
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import ConfigDriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis import guest as guests
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import (
    DriveFacts,
    NicFacts,
    RecordedNic,
    Said,
    SharedNetwork,
    VmFacts,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_SOURCE_UNAVAILABLE,
    SOURCE_AGENT,
    SOURCE_GUEST_METRICS,
    SOURCE_TOOLS,
    NicAddress,
    NicRules,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import (
    decide_vm,
    normalize_mac,
    parse_address,
    parse_range,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    DriveError,
    HypervisorError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, plain

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
        DriveState,
        Hypervisor,
        Observation,
        Vm,
    )
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord

_VM_ID_PATHS = content.metadata_paths("vm_id")
_INSTANCE_PATHS = content.metadata_paths("instance_id")


@dataclasses.dataclass
class Seen:
    """What the hypervisor told of its VMs.

    vms: those to be diagnosed. everyone: all. said, observations, drives, files: by VM id. network_problems: by the name in
    shared_networks.
    """

    vms: tuple[Vm, ...] = ()
    everyone: tuple[Vm, ...] = ()
    said: dict[str, list[Said]] = dataclasses.field(default_factory=dict)
    observations: dict[str, Observation] = dataclasses.field(default_factory=dict)
    drives: dict[str, DriveFacts] = dataclasses.field(default_factory=dict)
    files: dict[str, dict[str, bytes | None]] = dataclasses.field(default_factory=dict)
    network_problems: dict[str, str] = dataclasses.field(default_factory=dict)


def ask_guests(hypervisor: Hypervisor, seen: Seen, sources: Sequence[str], workers: int, timeout: float) -> None:
    """Asks as a poll does, but notes each source's answer: each source is asked of the VMs that no source before knew."""
    left = [vm for vm in seen.vms if vm.power_state == POWER_RUNNING]
    for source in sources:
        unknown = []
        for answer in hypervisor.addresses.read(left, [source], workers, timeout):
            said = Said(source, answer.source is not None, answer.reason, answer.message)
            seen.said.setdefault(answer.vm.id, []).append(said)
            if answer.source is not None:
                seen.observations[answer.vm.id] = answer
            else:
                seen.observations.setdefault(answer.vm.id, answer)
                unknown.append(answer.vm)
        left = unknown


def look_into_guests(hypervisor: Hypervisor, seen: Seen, workers: int, timeout: float) -> None:
    """Reads files of the guests whose agents have answered; see Hypervisor.guest_files()."""
    tools = (SOURCE_AGENT, SOURCE_GUEST_METRICS, SOURCE_TOOLS)
    talking = [vm for vm in seen.vms if (answer := seen.observations.get(vm.id)) and answer.source in tools]
    if talking:
        seen.files = hypervisor.guest_files(talking, guests.FILES, workers, timeout)


def look_at_networks(hypervisor: Hypervisor, seen: Seen, networks: Sequence[Mapping[str, t.Any]]) -> None:
    """Notes the networks that are not as described. One that is not there yet is no problem: no NIC is in it."""
    described = {}
    for entry in networks:
        try:
            (one,) = network_rules.read_networks([entry])
        except OptionError:
            continue  # the record takes such an entry, but shared_network would not
        described[one.name] = one.wanted
    # Without the right to read networks the rest can still be judged; if the connection broke, the next call says so.
    with contextlib.suppress(HypervisorError):
        states = hypervisor.networks.states(list(described.values()), users=False) if described else []
        told = {name: state.problem for name, state in zip(described, states) if state.before and state.problem}
        seen.network_problems.update({name: plain(problem) for name, problem in told.items()})


def look_at_drives(hypervisor: Hypervisor, seen: Seen, contents: bool) -> None:
    """Reads the state of the drives and, with contents, what is on them."""
    states = hypervisor.drives.states(seen.vms)
    seen.drives.update({vm.id: _drive(states[vm.id]) for vm in seen.vms if vm.id in states})
    if not contents:
        return
    wanted = [vm for vm in seen.vms if vm.id in seen.drives and seen.drives[vm.id].exists]

    def read(vm: Vm) -> bytes | None:
        foreign = seen.drives[vm.id].owner != vm.id
        return hypervisor.drives.read_foreign(vm) if foreign else hypervisor.drives.read(vm)

    for vm, data, error in bounded.each(read, wanted, hypervisor.drives.side_by_side, timeout=None):
        if error is not None and not isinstance(error, DriveError):
            raise error
        if data is not None:
            seen.drives[vm.id] = _with_content(seen.drives[vm.id], data)


def _drive(state: DriveState | DriveError) -> DriveFacts:
    if isinstance(state, DriveError):
        return DriveFacts(error=plain(str(state)))
    return DriveFacts(
        location=plain(state.location),
        slot=state.slot,
        exists=state.file_exists,
        attached=state.attached,
        owner=state.owner,
        restart=not state.can_attach_now,
        problem=None if state.problem is None else plain(state.problem),
    )


def _with_content(drive: DriveFacts, data: bytes) -> DriveFacts:
    """The facts about what is on the drive: never a password, key or user data."""
    drive = dataclasses.replace(drive, read=True)
    try:
        image = images.read(data, modes=False)
    except ConfigDriveError as error:
        return dataclasses.replace(drive, complaint=plain(str(error)))
    labels = tuple(dict.fromkeys(plain(label, MAX_NAME) for label in (image.label, image.joliet_label) if label is not None))
    layouts = tuple(layout for layout in content.LAYOUTS if any(path.startswith(layout + "/") for path in image.files))
    complaint = None
    if not layouts:
        complaint = f"it has none of the layouts {', '.join(content.LAYOUTS)}, so it is no config drive"
    elif image.intact is False:
        complaint = "its bytes are not those that were built: it was cut short or changed"
    elif content.META_DATA_JSON in image.files and not _is_json(image.files[content.META_DATA_JSON]):
        complaint = f"{content.META_DATA_JSON} is no JSON object, so cloud-init and cloudbase-init take nothing from it"
    known = tuple(dict.fromkeys(plain(one, MAX_NAME) for one in _texts(image, _VM_ID_PATHS) if one))
    return dataclasses.replace(
        drive,
        labels=labels,
        layouts=layouts,
        ids=known,
        owner=image.owner or drive.owner,
        complaint=complaint,
        instance=next((plain(one, MAX_NAME) for one in _texts(image, _INSTANCE_PATHS) if one), None),
    )


def _texts(image: images.Image, paths: Sequence[str]) -> list[str]:
    return [image.files[path].decode("utf-8", "replace").strip() for path in paths if path in image.files]


def _is_json(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


class Site:
    """The facts of VMs with those of their neighbours: the shared network of a NIC, and who else has the same MAC or address."""

    def __init__(self, name: str, networks: Sequence[Mapping[str, t.Any]], recorded: Sequence[NicRecord], seen: Seen) -> None:
        """networks: entries of shared_networks, checked; recorded: the NICs of all hypervisors in the record."""
        self._seen = seen
        self.recorded = {(nic.vm_id, nic.mac): nic for nic in recorded if nic.hypervisor_name == name}
        self._macs: dict[str, set[tuple[str, str]]] = collections.defaultdict(set)
        self._addresses: dict[tuple[str | None, str], set[tuple[str, str]]] = collections.defaultdict(set)
        # A VM that moved is in the record under two hypervisors for a while; it has one id.
        for nic in recorded:
            self._macs[nic.mac].add((nic.vm_id, f"{nic.vm_name} on {nic.hypervisor_name}"))
            if nic.ip4_address and nic.missing_since is None:
                self._addresses[nic.network, nic.ip4_address].add((nic.vm_id, f"{nic.vm_name} on {nic.hypervisor_name}"))
        for vm in seen.everyone or seen.vms:
            for one in vm.nics:
                self._macs[normalize_mac(one.mac) or one.mac].add((vm.id, f"{vm.name} on {name}"))
        self._machine_ids: dict[bytes, set[tuple[str, str]]] = collections.defaultdict(set)
        for vm in seen.vms:
            identity = guests.machine_id(seen.files.get(vm.id, {}))
            if identity is not None:
                self._machine_ids[identity].add((vm.id, vm.name))
        self.networks: dict[str, SharedNetwork] = {}
        for network in networks:
            shared = _shared(network, recorded, seen.network_problems.get(network["name"]))
            for alias in network_rules.names_on_hypervisor(network):
                self.networks[alias] = shared

    def vm(self, vm: Vm) -> VmFacts:
        """All facts of a VM that the hypervisor has."""
        answer = self._seen.observations.get(vm.id)
        verdicts = self._verdicts(vm, answer)
        nics = []
        for one in vm.nics:
            mac = normalize_mac(one.mac) or one.mac
            recorded = self.recorded.get((vm.id, mac))
            verdict = verdicts.get(one.device, NicAddress())
            address = verdict.ip4_address or (recorded.address if recorded else None)
            nics.append(
                NicFacts(
                    device=one.device,
                    mac=mac,
                    network=one.network,
                    shared=self.networks.get(one.network or ""),
                    asked=one.device in verdicts,
                    address=verdict.ip4_address,
                    addresses=verdict.addresses,
                    in_range=verdict.in_range,
                    reason=verdict.reason,
                    message=None if verdict.message is None else plain(verdict.message),
                    recorded=None if recorded is None else _recorded(recorded),
                    same_mac=_others(self._macs[mac], vm.id),
                    same_address=_others(self._addresses.get((one.network, address or ""), set()), vm.id),
                )
            )
        said = tuple(self._seen.said.get(vm.id, ()))
        files = self._seen.files.get(vm.id, {})
        identity = guests.machine_id(files)
        return VmFacts(
            vm.name,
            vm.id,
            power_state=vm.power_state,
            managed=vm.ours,
            nics=tuple(nics),
            said=said,
            drive=self._seen.drives.get(vm.id),
            guest=guests.guest_facts(files),
            same_machine_id=_others(self._machine_ids[identity], vm.id) if identity else (),
        )

    def from_record(self, vm_id: str, name: str) -> VmFacts:
        """The facts of a VM that the hypervisor does not have, or could not be asked about."""
        rows = [nic for (one, _mac), nic in self.recorded.items() if one == vm_id]
        nics = tuple(
            NicFacts(nic.device, nic.mac, nic.network, self.networks.get(nic.network or ""), recorded=_recorded(nic))
            for nic in rows
        )
        return VmFacts(name, vm_id, exists=None, nics=nics)

    def _verdicts(self, vm: Vm, answer: Observation | None) -> dict[int, NicAddress]:
        if answer is None:
            return {}
        if answer.source is None:
            return {one.device: NicAddress(reason=answer.reason, message=answer.message) for one in vm.nics}
        rules = {}
        for one in vm.nics:
            shared, known = self.networks.get(one.network or ""), self.recorded.get((vm.id, normalize_mac(one.mac) or one.mac))
            if known is not None:
                rules[one.device] = NicRules(known.cidrs, known.ip_range, known.ignore_interfaces, known.family_order)
            if shared is not None:
                mine = rules.get(one.device, NicRules())
                rules[one.device] = dataclasses.replace(
                    mine, cidrs=shared.cidrs or mine.cidrs, ip_range=shared.ip_range or mine.ip_range
                )
        try:
            return decide_vm([(one.device, one.mac) for one in vm.nics], answer.readings, rules, answer.source)
        except Exception as error:  # whatever a guest managed to say must not stop the others
            broken = NicAddress(reason=REASON_SOURCE_UNAVAILABLE, message=f"the answer could not be read: {error!r}"[:200])
            return {one.device: broken for one in vm.nics}


def _recorded(nic: NicRecord) -> RecordedNic:
    message = None if nic.last_message is None else plain(nic.last_message)
    return RecordedNic(nic.fetch_state, nic.address, nic.tries_left, nic.last_reason, message, nic.missing_since is not None)


def _others(found: set[tuple[str, str]], vm_id: str) -> tuple[str, ...]:
    return tuple(sorted({name for one, name in found if one != vm_id}))


def _shared(network: Mapping[str, t.Any], recorded: Sequence[NicRecord], problem: str | None) -> SharedNetwork:
    """The shared network, with the number of its addresses that VMs of the record have, on whatever hypervisor."""
    cidrs = network.get("cidrs") or network.get("cidr") or ()
    limits = parse_range(network.get("ip_range"))
    size, used = None, 0
    if limits is not None and limits[0].version == 4:
        low, high = int(limits[0]), int(limits[1])
        size = high - low + 1
        names = set(network_rules.names_on_hypervisor(network))
        taken = {nic.ip4_address for nic in recorded if nic.ip4_address and nic.network in names}
        numbers = [int(address) for address in map(parse_address, taken) if address is not None]
        used = sum(low <= number <= high for number in numbers)
    return SharedNetwork(
        name=plain(str(network["name"]), MAX_NAME),
        vlan=None if network.get("vlan") is None else plain(str(network["vlan"]), 20),
        cidrs=(cidrs,) if isinstance(cidrs, str) else tuple(cidrs),
        ip_range=network.get("ip_range"),
        size=size,
        used=used,
        problem=problem,
    )
