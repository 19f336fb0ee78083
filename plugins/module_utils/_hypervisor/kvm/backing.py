# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Who needs which file of a host: VMs that have it as a disk, and disks that are overlays of it, near or far.

Looked into are all active storage pools, and the folders outside of them that a VM's definition, an inactive pool or a backing file
points to. libvirt reads a disk's header only for a pool, so such a folder gets one for a moment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import posixpath
import random
import secrets
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import storage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host, Seen

# The most folders outside of the pools that are read; no ordinary host has as many.
_MOST_FOLDERS = 64
_NO_FILES = ("/dev", "/proc", "/sys")


@dataclasses.dataclass(frozen=True)
class Usage:
    """volumes: of the active pools by path; folders: these pools'.

    Of any path: users(), the names of the VMs that have it as a disk or medium; overlays(), the names of the VMs whose disks are
    overlays of it, and the paths of such files that no VM has.
    """

    volumes: dict[str, storage.Volume]
    folders: frozenset[str]
    _users: dict[str, set[str]]
    _overlays: dict[str, set[str]]

    def users(self, path: str) -> set[str]:
        """See the class."""
        return self._users.get(posixpath.normpath(path), set())

    def overlays(self, path: str) -> set[str]:
        """See the class."""
        return self._overlays.get(posixpath.normpath(path), set())


def look(host: Host, domains: Mapping[str, Seen]) -> Usage:
    """domains: all of the host's, with what running ones show."""
    pools = {pool.name(): pool for pool in host.connection.listAllStoragePools(0)}
    targets = {name: target for name, pool in pools.items() if (target := _target(pool)) is not None}
    volumes, folders = _read_active(host, pools.values())
    users: dict[str, set[str]] = {}
    declared: dict[str, set[str]] = {}
    chains: list[tuple[str, list[str]]] = []
    for seen in domains.values():
        for path in _media(seen, targets):
            users.setdefault(path, set()).add(seen.name)
        for chain, form in _chains(seen, targets):
            declared.setdefault(chain[0], set()).add(form)
            chains.append((seen.name, chain))
    # A guest can write a false header to the beginning of a raw disk, so headers of raw disks do not count.
    raw = {path for path, forms in declared.items() if forms == {"raw"}}
    bases = {posixpath.normpath(v.path): v.base for v in volumes.values() if v.base is not None}
    wanted = {posixpath.dirname(path) for _name, chain in chains for path in chain}
    wanted |= {targets[name] for name, pool in pools.items() if name in targets and not pool.isActive()}
    further = _read_more(host, wanted, set(folders), bases, raw)
    for path in raw:
        bases.pop(path, None)
    for _name, chain in chains:
        bases.update(itertools.pairwise(chain))
    overlays = _overlays(domains, chains, bases)
    _add_linked(overlays, [*volumes.values(), *further])
    return Usage(volumes, folders, users, overlays)


def _overlays(domains: Mapping[str, Seen], chains: list[tuple[str, list[str]]], bases: Mapping[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    above: set[str] = set()
    for name, chain in chains:
        path, passed = chain[0], {chain[0]}
        while path in bases and bases[path] not in passed:
            above.add(path)
            path = bases[path]
            passed.add(path)
            found.setdefault(path, set()).add(name)
    for path, base in bases.items():
        if path not in above:
            found.setdefault(base, set()).add(path)
    for seen in domains.values():
        mark = kvm_domain.mark(seen.element)
        for base in () if mark is None else mark.bases:
            found.setdefault(posixpath.normpath(base), set()).add(seen.name)
    return found


def _add_linked(overlays: dict[str, set[str]], volumes: t.Iterable[storage.Volume]) -> None:
    """Bases that are named through symbolic links, which libvirt does not resolve, are the same files under another path."""
    paths: dict[tuple[str, ...], set[str]] = {}
    for volume in volumes:
        if volume.file:
            paths.setdefault(volume.file, set()).add(posixpath.normpath(volume.path))
    for same in paths.values():
        names = set().union(*(overlays.get(path, ()) for path in same))
        for path in same if len(same) > 1 and names else ():
            overlays[path] = names - same


def _target(pool: t.Any) -> str | None:
    try:
        path = ET.fromstring(pool.XMLDesc(0)).findtext("target/path")
    except libvirt.libvirtError:
        return None  # the pool has just been removed
    return posixpath.normpath(path) if path else None


def _path(source: ET.Element | None, targets: Mapping[str, str]) -> str | None:
    if source is None:
        return None
    path = source.get("file") or source.get("dev")
    if path is None and source.get("pool") in targets and source.get("volume"):
        path = posixpath.join(targets[source.get("pool", "")], source.get("volume", ""))
    return None if path is None else posixpath.normpath(path)


def _media(seen: Seen, targets: Mapping[str, str]) -> Iterator[str]:
    for element in (seen.element, seen.live):
        for disk in () if element is None else element.findall("devices/disk"):
            path = _path(disk.find("source"), targets)
            if path is not None:
                yield path


def _chains(seen: Seen, targets: Mapping[str, str]) -> Iterator[tuple[list[str], str]]:
    """Each disk's files from the top down, as far as the definition, or the running VM, tells; and its declared format."""
    for element in (seen.element, seen.live):
        for disk in () if element is None else element.findall("devices/disk"):
            if disk.get("device", "disk") not in ("disk", "lun"):
                continue
            driver = disk.find("driver")
            chain: list[str] = []
            layer: ET.Element | None = disk
            while layer is not None and (path := _path(layer.find("source"), targets)) is not None:
                chain.append(path)
                layer = layer.find("backingStore")
            if chain:
                yield chain, "raw" if driver is None else driver.get("type", "raw")


def _read_active(host: Host, pools: t.Iterable[t.Any]) -> tuple[dict[str, storage.Volume], frozenset[str]]:
    """The volumes of the active pools by path, and these pools' folders."""
    handles: list[t.Any] = []
    folders = set()
    for pool in pools:
        try:
            if not pool.isActive():
                continue
            storage.refresh(pool)
            handles += pool.listAllVolumes(0)
            folders.add(_target(pool))
        except libvirt.libvirtError:
            continue  # the pool's storage is away; its disks count as being in no pool
    found = {}
    for _handle, volume, _error in host.links.each_here(lambda _c, handle: storage.read_volume(handle), handles):
        if volume is not None:  # else it has been deleted meanwhile
            found[volume.path] = volume
    return found, frozenset(folder for folder in folders if folder is not None)


def _read_more(host: Host, wanted: set[str], seen: set[str], bases: dict[str, str], raw: set[str]) -> list[storage.Volume]:
    """Reads the files of further folders, and of the folders of their bases; adds to `bases` what each overlay is based on."""
    found: list[storage.Volume] = []
    for _number in range(_MOST_FOLDERS):
        wanted |= {posixpath.dirname(base) for path, base in bases.items() if path not in raw}
        left = sorted(folder for folder in wanted - seen if _may_hold_disks(folder))
        if not left:
            break
        seen.add(left[0])
        for volume in _read_folder(host.connection, left[0]):
            found.append(volume)
            if volume.base is not None:
                bases.setdefault(posixpath.normpath(volume.path), volume.base)
    return found


def _may_hold_disks(folder: str) -> bool:
    return folder.startswith("/") and not any(folder == top or folder.startswith(f"{top}/") for top in _NO_FILES)


def _read_folder(connection: t.Any, folder: str) -> list[storage.Volume]:
    """The files in a folder that is in no active pool; none where libvirt does not get at it."""
    # libvirt refuses a second pool for a path, even if the first one is inactive; the same path spelt otherwise is another to it.
    path = ET.Element("path")
    path.text = folder + "/." * random.randint(1, 40)
    name = f"external-dhcp-look-{secrets.token_hex(8)}"
    xml = f"<pool type='dir'><name>{name}</name><target>{ET.tostring(path, 'unicode')}</target></pool>"
    try:
        pool = connection.storagePoolCreateXML(xml, 0)
    except libvirt.libvirtError:
        return []
    try:
        return [storage.read_volume(handle) for handle in pool.listAllVolumes(0)]
    except libvirt.libvirtError:
        return []
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            pool.destroy()  # the pool alone: the folder stays as it is
