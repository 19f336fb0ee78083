# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The readers of disks, volumes, file systems and registry hives; the one place that imports them.

dissect is a family of pure Python libraries under the AGPL-3.0-or-later, which may be combined with this collection's
GPL-3.0-or-later (section 13 of both licences). Only processes that read a disk, and nothing else, load it.

It is loaded in parts, because loading takes longer than reading: no disk needs all of them. Until load() has had its part, a name of
this module raises NotLoaded.
"""

from __future__ import annotations

import importlib
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterable

# By part, its modules and what is used of them.
_PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "disk": {"dissect.volume.disk.disk": ("Disk",)},
    "lvm": {"dissect.volume.lvm.lvm2": ("LVM2", "LVM2Device")},
    "qcow2": {"dissect.hypervisor.disk.qcow2": ("QCow2",)},
    "ext": {"dissect.extfs.extfs": ("ExtFS",)},
    "xfs": {"dissect.xfs.xfs": ("XFS",)},
    "btrfs": {"dissect.btrfs.btrfs": ("Btrfs",)},
    "fat": {"dissect.fat.fat": ("FATFS",)},
    "windows": {
        "dissect.ntfs.ntfs": ("NTFS",),
        "dissect.regf.regf": ("RegistryHive",),
        "dissect.regf.exceptions": ("RegistryKeyNotFoundError", "RegistryValueNotFoundError"),
    },
}
PARTS = tuple(_PARTS)
# What most guests need, and no more.
COMMON = ("disk", "ext")


class NotLoaded(BaseException):
    """A part is needed that is not loaded. No Exception, because readers take any of those for a fault of the disk."""

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.part = part


def load(parts: Iterable[str]) -> str | None:
    """Loads these of PARTS; what of the library is missing, or None. Not for who can open no file any more."""
    for part in parts:
        for module, names in _PARTS[part].items():
            try:
                loaded = importlib.import_module(module)
            except ImportError as error:
                return str(error)
            globals().update({name: getattr(loaded, name) for name in names})
    return None


def __getattr__(name: str) -> t.Any:
    for part, modules in _PARTS.items():
        if any(name in names for names in modules.values()):
            raise NotLoaded(part)
    raise AttributeError(name)
