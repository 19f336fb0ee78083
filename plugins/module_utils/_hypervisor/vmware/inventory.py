# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The VMs of a vCenter or ESXi host.

The id of a VM is its instance UUID, which a vCenter keeps unique, or its BIOS UUID if it has none.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    POWER_STOPPED,
    POWER_SUSPENDED,
    HypervisorError,
    Inventory,
    Nic,
    Vm,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.clone_spec import MARK_PROPERTY
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.labels import with_labels
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import (
    VIM,
    ObjectSpec,
    child_text,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import PlaceError, Places
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.tags import tags_of_vms

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData

POWER = {"poweredOn": POWER_RUNNING, "poweredOff": POWER_STOPPED, "suspended": POWER_SUSPENDED}


_VM_PROPERTIES = (
    "name",
    "config.template",
    "config.instanceUuid",
    "config.uuid",
    "config.hardware.device",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.bootTime",
    MARK_PROPERTY,
)


@dataclasses.dataclass(frozen=True)
class Handle:
    """The driver's handle of a VM. reference: its object's id. cards: keys of its network cards, in the order of Vm.nics."""

    reference: str
    cards: tuple[int, ...] = ()


class VMwareInventory(Inventory):
    """See api.Inventory."""

    def __init__(self, session: Session, datacenter: str | None = None, folder: str | None = None) -> None:
        """datacenter, folder: only VMs below them are listed; folder is a path such as V(/DC0/vm/web)."""
        self.endpoint = str(session.endpoint)
        self._session = session
        self._datacenter = datacenter
        self._folder = folder

    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """See api.Inventory. With names, the names of all VMs are read first, and the rest only of those asked for."""
        data = self._session.run(lambda: self._read_vms(names))
        networks = self._networks(data)
        found: list[Vm] = []
        problems: dict[str, str] = {}
        ambiguous: set[str] = set()
        by_name: dict[str, list[ObjectData]] = {}
        for one in data:
            by_name.setdefault(devices_of.plain_name(one.text("name")), []).append(one)
        for name in sorted(by_name) if names is None else dict.fromkeys(names):
            named = by_name.get(name, [])
            if names is None:
                for one in named:
                    found.extend(self._one(name, [one], networks, False, problems))
                continue
            found.extend(self._one(name, named, networks, True, problems))
            if sum(one.text("config.template") != "true" for one in named) > 1:
                ambiguous.add(name)
        if self.tag_patterns is not None:
            found = with_labels(self._session, found, self.root(), tags_of_vms(self._session, self.tag_patterns))
        return VmList(tuple(_without_twins(found, problems)), problems, frozenset(ambiguous))

    def _one(
        self, name: str, data: list[ObjectData], networks: Mapping[str, str], asked: bool, problems: dict[str, str]
    ) -> Iterator[Vm]:
        """The VM of this name, or a sentence in problems if none can be worked with. asked: the user gave the name."""
        usable = [one for one in data if one.text("config.template") != "true"]
        if asked and not usable:
            usable = data  # a template is found by its name only
        if len(usable) > 1:
            problems[name] = (
                f"{len(usable)} VMs on {self.endpoint} are named {name}: give the id of the one meant, rename them, or set "
                "hypervisor.datacenter or hypervisor.folder to where it is"
            )
        elif usable and not (usable[0].text("config.instanceUuid") or usable[0].text("config.uuid")):
            state = usable[0].text("runtime.connectionState") or "unknown"
            problems[name] = (
                f"{name}: {self.endpoint} cannot read its configuration (state {state}): see to its host and datastore"
            )
        elif usable:
            yield _vm(name, usable[0], networks)
        elif asked:
            problems[name] = f"there is no VM {name} on {self.endpoint}: check the name, and that the account may see it"

    def _read_vms(self, names: Sequence[str] | None) -> list[ObjectData]:
        view = self._session.view(("VirtualMachine",), self.root())._moId
        if names is None:
            return self._session.retrieve([ObjectSpec("VirtualMachine", _VM_PROPERTIES, view=view)])
        wanted = set(names)
        all_names = self._session.retrieve([ObjectSpec("VirtualMachine", ("name",), view=view)])
        chosen = tuple(one.name for one in all_names if devices_of.plain_name(one.text("name")) in wanted)
        if not chosen:
            return []
        return self._session.retrieve([ObjectSpec("VirtualMachine", _VM_PROPERTIES, chosen)])

    def root(self) -> t.Any:
        """The folder or datacenter to look below; None for everything."""
        folder = (self._folder or "").strip("/")
        if not folder and not self._datacenter:
            return None
        home = self._datacenter_path(self._datacenter) if self._datacenter else ""
        # The path may begin at the root, at the datacenter's VM folder, or at the datacenter.
        paths = [home] if not folder else [folder, f"{home}/vm/{folder}", f"{home}/{folder}"] if home else [folder]
        for path in paths:
            found = self._session.content.searchIndex.FindByInventoryPath(path)
            inside = path == home or path.startswith(f"{home}/") if home else True
            if inside and isinstance(found, (vim.Folder, vim.Datacenter)):
                return found
        raise HypervisorError(
            f"hypervisor.folder: {self.endpoint} has no folder {folder}{f' in {home}' if home else ''}: give its path, as in "
            "/DC0/vm/web"
        )

    def _datacenter_path(self, name: str) -> str:
        """The inventory path, such as F0/DC0, of a datacenter. name: the path, or the last part of it."""
        path = name.strip("/")
        if isinstance(self._session.content.searchIndex.FindByInventoryPath(path), vim.Datacenter):
            return path
        places = Places(self._session)
        try:
            return places.path(places.datacenter(path))
        except PlaceError as error:
            raise HypervisorError(f"hypervisor.datacenter: {error}; one in a folder is written as F0/DC0") from None

    def _networks(self, data: Sequence[ObjectData]) -> dict[str, str]:
        """Names of distributed port groups and opaque networks by their keys; read only if a VM is on one."""
        wanted = any(
            element.find(f"{VIM}backing/{VIM}port") is not None or element.find(f"{VIM}backing/{VIM}opaqueNetworkId") is not None
            for one in data
            for element in one.children("config.hardware.device")
        )
        if not wanted:
            return {}

        def operation() -> dict[str, str]:
            view = self._session.view(("DistributedVirtualPortgroup", "OpaqueNetwork"))._moId
            found = self._session.retrieve(
                [
                    ObjectSpec("DistributedVirtualPortgroup", ("key", "name"), view=view),
                    ObjectSpec("OpaqueNetwork", ("summary", "name"), view=view),
                ]
            )
            names = {}
            for one in found:
                summary = one.get("summary")
                key = child_text(summary, "opaqueNetworkId") if summary is not None else one.text("key")
                names[key] = devices_of.plain_name(one.text("name"))
            return names

        return self._session.run(operation)


def _vm(name: str, data: ObjectData, networks: Mapping[str, str]) -> Vm:
    cards = devices_of.parse(data.children("config.hardware.device")).cards
    nics = tuple(
        Nic(number, card.mac, networks.get(card.portgroup_key or card.opaque_id or "", card.network) or card.portgroup_key)
        for number, card in enumerate(cards)
    )
    number = id_of(data)
    power = POWER.get(data.text("runtime.powerState"), POWER_STOPPED)
    return Vm(
        name=name,
        id=number,
        power_state=power,
        nics=nics,
        handle=Handle(data.name, tuple(card.key for card in cards)),
        boot_time=_seconds(data.text("runtime.bootTime")) if power == POWER_RUNNING else None,
        ours=is_ours(data),
        is_template=data.text("config.template") == "true",
    )


def id_of(data: ObjectData) -> str:
    """The VM's id, see above; empty if it has none."""
    return (data.text("config.instanceUuid") or data.text("config.uuid")).lower()


def is_ours(data: ObjectData) -> bool:
    """Whether a VM carries the mark that machines.create() gave it; a mark inherited from another VM does not count."""
    mark = data.get(MARK_PROPERTY)
    return mark is not None and child_text(mark, "value").lower() == id_of(data) != ""


def _seconds(text: str) -> float | None:
    """A time of the API in seconds since the epoch."""
    try:
        return datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def _without_twins(vms: Sequence[Vm], problems: dict[str, str]) -> Iterator[Vm]:
    """The VMs with an id of their own. Those that share one, which a stand-alone host allows, cannot be told apart: problems gets
    a sentence for each.
    """
    by_id: dict[str, list[Vm]] = {}
    for vm in vms:
        by_id.setdefault(vm.id, []).append(vm)
    for vm in vms:
        if len(by_id[vm.id]) == 1:
            yield vm
        else:
            others = ", ".join(other.name for other in by_id[vm.id] if other is not vm)
            problems[vm.name] = f"{vm.name} has the same instance UUID as {others}: give one of them a new one (vc.uuid)"
