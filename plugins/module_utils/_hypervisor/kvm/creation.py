# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Creating VMs: everything is read and checked first; then a disk and a definition per VM, many VMs at a time."""

from __future__ import annotations

import dataclasses
import posixpath
import random
import re
import typing as t
import uuid

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError, Outcome
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import clone_xml, storage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import host as kvm_host
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.nics import Networks

if t.TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host, Seen

# A new VM's name becomes file names. libvirt refuses the first two itself, but only when the disks are there.
_BAD_NAME = re.compile(r"[/\\\x00-\x1f\x7f]")
_LOGICAL_NAME = re.compile(r"[A-Za-z0-9+_][A-Za-z0-9+_.-]*")


@dataclasses.dataclass
class _Template:
    """A template, its own disks with what libvirt knows of their files, and its UEFI variables' file where it has one."""

    name: str
    element: ET.Element
    disks: dict[str, tuple[clone_xml.Disk, storage.Volume | None]]
    nvram: storage.Volume | None = None
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass
class _Place:
    """Where new disks go. volumes: names of those that are there. pool: None where it is still to be made."""

    name: str
    folder: str
    files: bool
    pool: t.Any
    volumes: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class _NewVolume:
    """A volume to make. copy: path of its source; resize: its size after that; stale: a left-over of its name is deleted first."""

    folder: str
    name: str
    xml: str
    copy: str | None = None
    resize: int | None = None
    stale: bool = False


@dataclasses.dataclass(frozen=True)
class _Plan:
    wanted: VmWanted
    id: str
    xml: str
    volumes: tuple[_NewVolume, ...]
    warnings: tuple[str, ...]


class Creation:
    """One run of check() or create(). change: whether a storage pool may be made for the folder of the disks."""

    def __init__(self, host: Host, change: bool) -> None:
        self._host = host
        self._change = change
        self._templates: dict[str, _Template | str] = {}
        self._places: dict[str, _Place | str] = {}
        self._domains: dict[str, Seen] = {}
        self._names: dict[str, Seen] = {}
        self._networks = Networks()
        self._macs: dict[str, str] = {}
        self._pools: dict[tuple[int, str], t.Any] = {}

    def plan(self, wanted: Sequence[VmWanted]) -> tuple[list[_Plan], dict[str, str]]:
        """What to do for each VM, and a sentence for each that cannot be made; reads only."""
        self._domains = kvm_host.read_domains(self._host)
        self._names = {seen.name: seen for seen in self._domains.values()}
        self._macs = kvm_host.macs_in_use(self._domains)
        self._networks = kvm_host.read_networks(self._host.connection)
        plans: list[_Plan] = []
        problems: dict[str, str] = {}
        for vm in wanted:
            if vm.name in problems or any(plan.wanted.name == vm.name for plan in plans):
                problems[vm.name] = f"{vm.name}: it is asked for twice: give each VM a name of its own"
                plans = [plan for plan in plans if plan.wanted.name != vm.name]
                continue
            try:
                plans.append(self._plan_one(vm))
            except (MachineError, libvirt.libvirtError) as error:
                problems[vm.name] = self._host.explain(vm.name, "its creation could not be prepared", error)
        return plans, problems

    def run(self, plans: Sequence[_Plan]) -> Iterator[Outcome]:
        """Makes the planned VMs; what fails half-way is undone."""
        for plan, warnings, error in self._host.links.each(self._make, plans):
            if error is None:
                yield Outcome(plan.wanted.name, plan.id, True, warnings=(*plan.warnings, *(warnings or ())))
            else:
                text = self._host.explain(plan.wanted.name, "it could not be created", error)
                yield Outcome(plan.wanted.name, None, isinstance(error, _LeftBehind), text)

    # Preparing ------------------------------------------------------------------------------------------------------------

    def _plan_one(self, vm: VmWanted) -> _Plan:
        check_name(vm.name)
        if vm.name in self._names:
            raise MachineError(f"there is a VM of this name on {self._host.endpoint} already")
        template = _value(self._template(vm.template))
        misfit = clone_xml.fits(template.element, vm)
        if misfit is not None:
            raise MachineError(f"template {vm.template}: {misfit}")
        place = _value(self._place(vm))
        macs = self._choose_macs(vm, template)
        vm_id = str(uuid.uuid4())
        disks, volumes = self._plan_disks(vm, template, place)
        nvram = None
        if template.nvram is not None:
            folder = posixpath.dirname(template.nvram.path)
            nvram = posixpath.join(folder, f"{vm.name}_VARS.fd")
            if storage.find_volume(self._host.connection, nvram) is not None:
                raise MachineError(f"{nvram} is there already, left over from another VM of that name: delete it")
            xml = storage.volume_xml(posixpath.basename(nvram), template.nvram.form, like=template.nvram)
            volumes.append(_NewVolume(folder, posixpath.basename(nvram), xml, copy=template.nvram.path))
        xml = clone_xml.definition(template.element, vm, vm_id, disks, (self._networks, macs), nvram, self._host.cd_bus)
        return _Plan(vm, vm_id, xml, tuple(volumes), template.warnings)

    def _choose_macs(self, vm: VmWanted, template: _Template) -> list[str]:
        """A MAC address for each NIC: the asked one, or one that nobody on this host has."""
        if vm.nics is None:
            asked: list[str | None] = [None] * len(template.element.findall("devices/interface"))
        else:
            asked = [nic.mac for nic in vm.nics]
            for nic in vm.nics:
                if not self._networks.knows(nic.network):
                    raise MachineError(
                        f"there is no network or bridge {nic.network} on {self._host.endpoint}: make it, or correct the name"
                    )
        for mac in asked:
            if mac is not None and mac in self._macs:
                raise MachineError(f"its MAC address {mac} is that of {self._macs[mac]}: give it another one, or none")
            if mac is not None:
                self._macs[mac] = vm.name
        return [mac if mac is not None else new_mac(self._macs, vm.name) for mac in asked]

    def _template(self, name: str) -> _Template | str:
        if name not in self._templates:
            try:
                self._templates[name] = self._read_template(name)
            except MachineError as error:
                self._templates[name] = str(error)
        return self._templates[name]

    def _read_template(self, name: str) -> _Template:
        seen = self._names.get(name)
        if seen is None:
            raise MachineError(f"there is no VM {name} on {self._host.endpoint} that could be its template: check the name")
        if seen.active:
            raise MachineError(f"template {name} runs: shut it down, since its disks must not change under its clones")
        problem = clone_xml.unclonable(seen.element)
        if problem is not None:
            raise MachineError(f"template {name}: {problem}")
        # With what only the definition tells: passwords of its display.
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        element = kvm_domain.parse(seen.handle.XMLDesc(flags))
        disks = {}
        for disk in clone_xml.own_disks(element):
            disks[disk.target] = self._read_disk(name, disk)
        nvram = self._read_nvram(element)
        warnings = []
        if seen.handle.snapshotNum(0):
            warnings.append(
                f"template {name} has snapshots: reverting to one, or deleting one, changes the disks under its clones"
            )
        return _Template(name, element, disks, nvram, tuple(warnings))

    def _read_nvram(self, element: ET.Element) -> storage.Volume | None:
        """The template's UEFI variables, to be copied with its boot entries; None if it was never started or has none."""
        path = clone_xml.nvram_path(element)
        if path is None:
            return None
        try:
            find = storage.folder_pool if self._change else storage.find_pool
            pool = find(self._host.connection, posixpath.dirname(path))
            if pool is not None:
                storage.refresh(pool)  # libvirt itself makes and deletes these files, unknown to the pool
            handle = storage.find_volume(self._host.connection, path)
        except libvirt.libvirtError:
            return None  # there is no such folder yet; libvirt makes new variables
        return None if handle is None else storage.read_volume(handle)

    def _read_disk(self, template: str, disk: clone_xml.Disk) -> tuple[clone_xml.Disk, storage.Volume | None]:
        if disk.pool is not None and disk.volume is not None:
            pool = self._host.connection.storagePoolLookupByName(disk.pool)
            storage.start_pool(pool)
            handle = pool.storageVolLookupByName(disk.volume)
        elif disk.path is not None:
            handle = storage.find_volume(self._host.connection, disk.path)
        else:
            raise MachineError(f"template {template}: its disk {disk.target} has no file")
        if handle is None:
            return disk, None
        volume = storage.read_volume(handle)
        if volume.form in ("raw", "qcow2") and disk.form != volume.form:
            raise MachineError(
                f"template {template}: its disk {volume.path} is declared {disk.form} in the definition, but is {volume.form}: "
                f"correct the type of its <driver>"
            )
        return dataclasses.replace(disk, path=volume.path), volume

    def _place(self, vm: VmWanted) -> _Place | str:
        name = vm.placement.get("storage_pool", "")
        if name not in self._places:
            try:
                self._places[name] = self._read_place(name)
            except MachineError as error:
                self._places[name] = str(error)
            except libvirt.libvirtError as error:
                what = f"storage pool {name}" if name else f"hypervisor.image_dir {self._host.image_dir}"
                self._places[name] = f"{what} cannot be used on {self._host.endpoint}: {error.get_error_message() or error}"
        return self._places[name]

    def _read_place(self, name: str) -> _Place:
        connection = self._host.connection
        folder = posixpath.normpath(self._host.image_dir)
        if name:
            pool = connection.storagePoolLookupByName(name)
            storage.start_pool(pool)
        else:
            pool = storage.folder_pool(connection, folder) if self._change else storage.find_pool(connection, folder)
            if pool is None:
                return _Place(name, folder, True, None)
        element = kvm_domain.parse(pool.XMLDesc(0))
        kind = element.get("type", "")
        if kind not in (*storage.FILE_POOLS, "logical"):
            raise MachineError(
                f"storage pool {name} is of type {kind}: disks are made in pools of folders and volume groups only"
            )
        storage.refresh(pool)
        path = element.findtext("target/path") or folder
        return _Place(pool.name(), path, kind in storage.FILE_POOLS, pool, frozenset(pool.listVolumes()))

    def _plan_disks(
        self, vm: VmWanted, template: _Template, place: _Place
    ) -> tuple[dict[str, clone_xml.NewDisk], list[_NewVolume]]:
        disks: dict[str, clone_xml.NewDisk] = {}
        volumes: list[_NewVolume] = []
        for target, (disk, volume) in template.disks.items():
            first = not disks
            size = self._size(vm, template, disk, volume) if first else None
            # On a volume group disks are copied whole: its snapshots break when they are full.
            full = vm.full_clone or not place.files
            if full and volume is None:
                raise MachineError(
                    f"template {template.name}: its disk {disk.path} is in no storage pool, so it cannot be copied: make a pool for "
                    "its folder on the KVM host"
                )
            form = "qcow2" if not full else volume.form if place.files and volume is not None else "raw"
            name = _volume_name(vm.name, None if first else target, form, place)
            template_path = t.cast("str", disk.path)  # a disk without one is refused before
            stale = name in place.volumes and not full and self._is_left_over(place, name, template_path)
            if name in place.volumes and not stale:
                raise MachineError(
                    f"{posixpath.join(place.folder, name)} is there already, though there is no VM of this name: delete it, or give the "
                    "VM another name"
                )
            path = posixpath.join(place.folder, name)
            disks[target] = clone_xml.NewDisk(path, form, not place.files, None if full else disk.path)
            if full:
                source = t.cast("storage.Volume", volume)  # one that is in no pool is refused above
                xml = storage.volume_xml(name, form, source.capacity, like=source if place.files else None, sparse=place.files)
                volumes.append(_NewVolume(place.folder, name, xml, template_path, size))
            else:
                xml = storage.volume_xml(name, form, size, (template_path, disk.form), volume)
                volumes.append(_NewVolume(place.folder, name, xml, stale=stale))
        return disks, volumes

    def _size(self, vm: VmWanted, template: _Template, disk: clone_xml.Disk, volume: storage.Volume | None) -> int | None:
        """The asked size of the first disk where it is another one than the template's."""
        if vm.disk_size is None:
            return None
        if volume is not None:
            present = volume.capacity
        else:
            present = self._names[template.name].handle.blockInfo(disk.path, 0)[0]
        if vm.disk_size < present:
            raise MachineError(
                f"its disk is to have {vm.disk_size} bytes, and that of template {template.name} has {present}: disks only grow"
            )
        return vm.disk_size if vm.disk_size > present else None

    def _is_left_over(self, place: _Place, name: str, base: str) -> bool:
        """Whether this volume is what a run that was killed left: an overlay of the same disk that nobody ever wrote to."""
        found = storage.read_volume(place.pool.storageVolLookupByName(name))
        path = posixpath.join(place.folder, name)
        used = any(path in seen.disk_paths() for seen in self._domains.values())
        return found.base == posixpath.normpath(base) and found.allocation <= storage.UNWRITTEN and not used

    # Making ---------------------------------------------------------------------------------------------------------------

    def _make(self, connection: t.Any, plan: _Plan) -> tuple[str, ...]:
        made: list[tuple[str, t.Any]] = []
        try:
            for volume in plan.volumes:
                made.append((posixpath.join(volume.folder, volume.name), self._make_volume(connection, volume)))
                if volume.resize is not None:
                    made[-1][1].resize(volume.resize, 0)
            copies = [
                storage.read_volume(handle) for volume, (_path, handle) in zip(plan.volumes, made) if volume.copy is not None
            ]
            written = {copy.path: copy.written for copy in copies if copy.written is not None}
            connection.defineXMLFlags(kvm_domain.note_written(plan.xml, written), 0)
        except libvirt.libvirtError as error:
            left = _undo(made)
            if left:
                raise _LeftBehind(
                    f"it could not be created: {error.get_error_message() or error}; nor could what was made be deleted again: "
                    f"{', '.join(left)}: delete it on the KVM host"
                ) from None
            raise
        return ()

    def _make_volume(self, connection: t.Any, volume: _NewVolume) -> t.Any:
        pool = self._pool(connection, volume.folder)
        if volume.stale:
            pool.storageVolLookupByName(volume.name).delete(0)
        if volume.copy is None:
            return pool.createXML(volume.xml, 0)
        return pool.createXMLFrom(volume.xml, connection.storageVolLookupByPath(volume.copy), 0)

    def _pool(self, connection: t.Any, folder: str) -> t.Any:
        """The pool's handle of this connection, asked for once."""
        key = (id(connection), folder)
        if key not in self._pools:
            known = [p for p in self._places.values() if isinstance(p, _Place) and p.folder == folder and p.pool is not None]
            if known:
                same = connection is self._host.connection
                self._pools[key] = known[0].pool if same else connection.storagePoolLookupByName(known[0].name)
            else:
                self._pools[key] = storage.folder_pool(connection, folder)
        return self._pools[key]


class _LeftBehind(MachineError):
    """A VM could not be created, and not all that was made for it could be deleted again."""


def _undo(made: Sequence[tuple[str, t.Any]]) -> list[str]:
    left = []
    for path, volume in made:
        try:
            volume.delete(0)
        except libvirt.libvirtError:
            left.append(path)
    return left


def check_name(name: str) -> None:
    """Raises MachineError for a name of a VM that its disks' files could not have."""
    if not name or _BAD_NAME.search(name) or name.startswith(".") or len(name.encode()) > 200:
        raise MachineError(
            f"the name {name[:80]!r} cannot be a file name: choose one of at most 200 bytes without slashes, backslashes "
            "and control characters, that does not begin with a dot"
        )


def _value(found: t.Any) -> t.Any:
    if isinstance(found, str):
        raise MachineError(found)
    return found


def _volume_name(vm: str, target: str | None, form: str, place: _Place) -> str:
    stem = vm if target is None else f"{vm}-{target}"
    if place.files:
        return f"{stem}.{'qcow2' if form == 'qcow2' else 'img'}"
    if not _LOGICAL_NAME.fullmatch(stem):
        raise MachineError(
            f"the name cannot be that of a logical volume in {place.name}: choose one of letters, digits, dots, hyphens and underscores"
        )
    return stem


def new_mac(taken: dict[str, str], name: str) -> str:
    """A MAC address in QEMU's range that nobody on this host has; noted as this VM's in taken."""
    while True:
        mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in random.randbytes(3))
        if mac not in taken:
            taken[mac] = name
            return mac
