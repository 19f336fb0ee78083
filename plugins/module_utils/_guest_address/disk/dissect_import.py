# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The readers of disks, volumes, file systems and registry hives, or None and why; the one place that imports them.

dissect is a family of pure Python libraries under the AGPL-3.0-or-later, which may be combined with this collection's
GPL-3.0-or-later (section 13 of both licences). It is used by the child process alone, which imports this file.
"""

from __future__ import annotations

import typing as t

ExtFS: t.Any
XFS: t.Any
Btrfs: t.Any
NTFS: t.Any
FATFS: t.Any
# Loaded by need_qcow2(): a running guest's disk is read raw, and this one takes a third of the time of all.
QCow2: t.Any = None
Disk: t.Any
LVM2: t.Any
LVM2Device: t.Any
RegistryHive: t.Any
RegistryKeyNotFoundError: t.Any
RegistryValueNotFoundError: t.Any
# pylint: disable=unused-import  # they are for who imports this file
# What is missing, None if nothing is.
MISSING: t.Optional[str] = None
try:
    from dissect.btrfs.btrfs import Btrfs  # type: ignore[no-redef]
    from dissect.extfs.extfs import ExtFS  # type: ignore[no-redef]
    from dissect.fat.fat import FATFS  # type: ignore[no-redef]
    from dissect.ntfs.ntfs import NTFS  # type: ignore[no-redef]
    from dissect.regf.exceptions import (  # type: ignore[no-redef]
        RegistryKeyNotFoundError,
        RegistryValueNotFoundError,
    )
    from dissect.regf.regf import RegistryHive  # type: ignore[no-redef]
    from dissect.volume.disk.disk import Disk  # type: ignore[no-redef]
    from dissect.volume.lvm.lvm2 import LVM2, LVM2Device  # type: ignore[no-redef]
    from dissect.xfs.xfs import XFS  # type: ignore[no-redef]
except ImportError as error:
    MISSING = str(error)
    ExtFS = XFS = Btrfs = NTFS = FATFS = Disk = LVM2 = LVM2Device = RegistryHive = None
    RegistryKeyNotFoundError = RegistryValueNotFoundError = KeyError


def need_qcow2() -> None:
    """Loads QCow2 as well; MISSING says so if it cannot be."""
    global QCow2, MISSING  # pylint: disable=global-statement  # imports are of the module
    try:
        from dissect.hypervisor.disk.qcow2 import QCow2 as loaded
    except ImportError as error:
        MISSING = str(error)
    else:
        QCow2 = loaded
