# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From a disk to its file systems: partitions (MBR, GPT), LVM, and what each volume holds."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import dissect_import as dissect
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import trees
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.blocks import Slice

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.blocks import Blocks

# Bounds on what one guest may make us look at.
MAX_VOLUMES = 64

EXT, XFS, BTRFS, NTFS, FAT = "ext", "xfs", "btrfs", "ntfs", "fat"
LVM, ENCRYPTED, SWAP = "lvm", "encrypted", "swap"


def kind_of(volume: Blocks) -> str | None:
    """What a volume holds, by its magic numbers; None for nothing known."""
    head = _peek(volume, 0, 4096)
    if head[:6] in (b"LUKS\xba\xbe", b"SKUL\xba\xbe") or head[3:11] == b"-FVE-FS-":
        return ENCRYPTED
    if any(head[at : at + 8] == b"LABELONE" for at in range(0, 2048, 512)):
        return LVM
    if head[:4] == b"XFSB":
        return XFS
    if head[3:11] == b"NTFS    ":
        return NTFS
    if head[1080:1082] == b"\x53\xef":
        return EXT
    if _peek(volume, 0x10040, 8) == b"_BHRfS_M":
        return BTRFS
    if head[510:512] == b"\x55\xaa" and (head[54:57] == b"FAT" or head[82:87] == b"FAT32"):
        return FAT
    if head[4086:4096] in (b"SWAPSPACE2", b"SWAP-SPACE"):
        return SWAP
    return None


def open_tree(kind: str, volume: Blocks) -> t.Any:
    """The tree of a volume of that kind, or None where the kind has none."""
    opener: t.Any = {
        EXT: trees.ExtTree,
        XFS: trees.XfsTree,
        BTRFS: trees.BtrfsTree,
        NTFS: trees.NtfsTree,
        FAT: trees.FatTree,
    }.get(kind)
    return None if opener is None else opener(volume)


def volumes(disks: Sequence[Blocks], notes: set[str]) -> list[tuple[str, Blocks]]:
    """(kind, volume) for each known volume of the disks, those of LVM included. notes gets the words for what is not read."""
    found: list[tuple[str, Blocks]] = []
    physical: list[Blocks] = []
    for disk in disks:
        for volume in _parts(disk):
            kind = kind_of(volume)
            if kind == LVM:
                physical.append(volume)
            elif kind is not None and len(found) < MAX_VOLUMES:
                found.append((kind, volume))
    for volume in _logical(physical, notes):
        kind = kind_of(volume)
        if kind is not None and len(found) < MAX_VOLUMES:
            found.append((kind, volume))
    if any(kind == ENCRYPTED for kind, _volume in found):
        notes.add(ENCRYPTED)
    return found


def _peek(volume: Blocks, offset: int, count: int) -> bytes:
    return volume.at(offset, count) if offset < volume.size else b""


def _parts(disk: Blocks) -> list[Blocks]:
    """The partitions of a disk; the disk itself if it has none or its first bytes are a file system's."""
    if kind_of(disk) not in (None, FAT):
        return [disk]
    for sector_size in (512, 4096):
        try:
            disk.seek(0)
            table = dissect.Disk(disk, sector_size)
        except Exception:  # pylint: disable=broad-except  # the library's word for "no table" is any exception
            continue
        parts = []
        for part in table.partitions[:MAX_VOLUMES]:
            # An offset beyond the end, or a size that reaches beyond it, is the table's word, not the disk's.
            if 0 < part.offset < disk.size and part.size > 0:
                parts.append(Slice(disk, part.offset, min(part.size, disk.size - part.offset)))
        if parts:
            return t.cast("list[Blocks]", parts)
    return [disk]


def _logical(physical: Sequence[Blocks], notes: set[str]) -> list[Blocks]:
    """The logical volumes of all volume groups on these physical volumes."""
    groups: dict[str, list[t.Any]] = {}
    for volume in physical:
        try:
            device = dissect.LVM2Device(volume)
            names = [name for name, value in device.metadata.items() if isinstance(value, dict)]
        except Exception:  # pylint: disable=broad-except  # whatever the guest wrote there
            notes.add("unreadable_lvm")
            continue
        groups.setdefault("/".join(names)[:256], []).append(device)
    found: list[Blocks] = []
    for devices in groups.values():
        try:
            logical = dissect.LVM2(devices).vg.lv[:MAX_VOLUMES]
        except Exception:  # pylint: disable=broad-except
            notes.add("unreadable_lvm")
            continue
        for volume in logical:
            try:
                stream = volume.open()
                found.append(Slice(stream, 0, stream.size))
            except Exception:  # pylint: disable=broad-except  # of a type that the library does not know (thin, cache, raid)
                notes.add("unreadable_lvm")
    return found
