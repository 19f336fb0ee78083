# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the disks of one guest tell about its addresses. Runs in the child process only: whatever it reads is hostile.

The answer is plain data that fits in JSON: leases, when the guest was started, what system it is, and words for what could
not be read. Whether a lease counts is decided by who asked.
"""

from __future__ import annotations

import codecs
import dataclasses
import email.utils
import struct
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address import registry
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import (
    ext4_journal,
    hives,
    journal,
    trees,
    volumes,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases import clients
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import MAX_FILE, MAX_LEASES, moment

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.blocks import Blocks
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease

# Bounds on what one guest may make us look at.
MAX_FILES = 64

LINUX, WINDOWS = "linux", "windows"
# networkd tells of its leases in a log only; the first word is for a system that keeps none.
NOTE_NETWORKD, NOTE_NETWORKD_LOG, NOTE_UDHCPC, NOTE_EMPTY = "networkd", "networkd_log", "udhcpc", "empty_file"
NOTE_UNREADABLE = "unreadable"

_HIVE = "Windows/System32/config/SYSTEM"
_NETWORKD = (
    "etc/systemd/system/dbus-org.freedesktop.network1.service",
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
)
_LOGS = ("log/journal", "log/syslog", "log/messages")
_UDHCPC = ("usr/share/udhcpc/default.script", "etc/udhcpc/default.script")
# Where a system keeps its /var when that is a file system or subvolume of its own, and where image-based systems keep it.
_VAR = ("lib", "log")
_WTMP_RECORD, _BOOT_TIME = 384, 2


@dataclasses.dataclass
class Findings:
    """See the module. started: Unix seconds by the guest's clock, None for unknown."""

    leases: list[Lease] = dataclasses.field(default_factory=list)
    started: t.Optional[float] = None
    system: t.Optional[str] = None
    notes: set[str] = dataclasses.field(default_factory=set)

    def as_data(self) -> dict[str, t.Any]:
        """For JSON; leases as lists in the order of the fields of Lease."""
        return {
            "leases": [dataclasses.astuple(lease) for lease in self.leases[:MAX_LEASES]],
            "started": self.started,
            "system": self.system,
            "notes": sorted(self.notes),
        }

    def saw_start(self, seconds: float | None) -> None:
        """The latest time at which the guest is known to have been started, or to have been off."""
        if seconds is not None and (self.started is None or seconds > self.started):
            self.started = seconds


def warm_up() -> None:
    """Loads what a guest's process needs later: it can open no file any more, and what is loaded once is shared by all."""
    ext4_journal.crc32c(0, b"0")
    for encoding in ("utf-8", "utf-16-le", "ibm437", "latin-1", "ascii"):
        codecs.lookup(encoding)
    time.localtime()
    email.utils.parsedate_to_datetime("Thu, 26 Nov 2026 16:53:41 +0000")


def examine(disks: Sequence[Blocks]) -> Findings:
    """What these disks of one guest tell. Never raises for what is on them, except MemoryError."""
    findings = Findings()
    for kind, volume in volumes.volumes(disks, findings.notes):
        try:
            tree = volumes.open_tree(kind, volume)
            if tree is None:
                continue
            if kind == volumes.NTFS:
                _windows(tree, findings)
                continue
            for root in tree.roots() if kind == volumes.BTRFS else [tree]:
                _linux(root, findings)
        except (Exception, RecursionError) as error:  # pylint: disable=broad-except  # the library raises anything there is
            if isinstance(error, (MemoryError, ConnectionError)):
                raise
            findings.notes.add(f"{NOTE_UNREADABLE}_{kind}")
    return findings


def _linux(tree: trees.Tree, findings: Findings) -> None:
    roots = _roots(tree)
    if not roots:
        return
    findings.system = findings.system or LINUX
    files = 0
    before = len(findings.leases)
    for places in (clients.PLACES, clients.LOG_PLACES):
        for root in roots:
            for place in places:
                for path, file in _files(tree, root, place):
                    files += 1
                    if files > MAX_FILES:
                        return
                    if file.size == 0:
                        findings.notes.add(NOTE_EMPTY)
                    findings.leases += place.parse(file.data, path, file.mtime)
        if len(findings.leases) > before:
            break  # a client's own file says more than a log
        for root in roots if places is clients.LOG_PLACES else ():
            findings.leases += _journal(tree, root)
    for root in roots:
        _start_of(tree, root, findings)
    if any(tree.exists(path) for path in _NETWORKD):
        logged = any(tree.exists(root + log) for root in roots for log in _LOGS)
        findings.notes.add(NOTE_NETWORKD_LOG if logged else NOTE_NETWORKD)
    if any(tree.exists(path) for path in _UDHCPC):
        findings.notes.add(NOTE_UDHCPC)


def _roots(tree: trees.Tree) -> list[str]:
    """The folders that are a system's /var, with '/' at the end: of an ordinary system, of a /var of its own, of ostree."""
    found = []
    if tree.exists("var/lib"):
        found.append("var/")
    elif all(tree.exists(name) for name in _VAR):
        found.append("")
    for name in tree.names("ostree/deploy")[:4]:
        if tree.exists(f"ostree/deploy/{name}/var/lib"):
            found.append(f"ostree/deploy/{name}/var/")
    return found


def _files(tree: trees.Tree, root: str, place: clients.Place) -> Iterator[tuple[str, trees.File]]:
    folder = root + place.folder[len("var/") :]
    for name in tree.names(folder):
        if place.pattern.fullmatch(name):
            path = f"{folder}/{name}" + (f"/{place.inner}" if place.inner else "")
            file = tree.read(path, MAX_FILE)
            if file is not None:
                yield path, file


def _journal(tree: trees.Tree, root: str) -> list[Lease]:
    """What the newest file of the systemd journal tells; nothing for one that is damaged or of old."""
    for machine in tree.names(root + "log/journal")[:4]:
        stream = tree.open(f"{root}log/journal/{machine}/system.journal")
        if stream is not None:
            try:
                return journal.leases(stream)
            except (journal.JournalError, struct.error):
                pass
    return []


def _start_of(tree: trees.Tree, root: str, findings: Findings) -> None:
    """When the guest was started: its file system's own word, else files that every start and stop writes."""
    if tree.mounted is not None:
        findings.saw_start(moment(tree.mounted))
        return
    seed = tree.read(root + "lib/systemd/random-seed", 1)
    findings.saw_start(None if seed is None else moment(seed.mtime))
    wtmp = tree.read(root + "log/wtmp", 64 * _WTMP_RECORD)
    if wtmp is None or wtmp.size % _WTMP_RECORD:
        return
    for at in range(0, len(wtmp.data) - _WTMP_RECORD + 1, _WTMP_RECORD):
        if struct.unpack("<i", wtmp.data[at : at + 4])[0] == _BOOT_TIME:
            findings.saw_start(moment(struct.unpack("<i", wtmp.data[at + 340 : at + 344])[0]))


def _windows(tree: trees.NtfsTree, findings: Findings) -> None:
    hive = tree.open(_HIVE)
    if hive is None:
        return
    findings.system = WINDOWS
    logs = []
    for suffix in (".LOG1", ".LOG2"):
        log = tree.open(_HIVE + suffix)
        if log is not None:
            logs.append(log[0].read(min(log[1], hives.MAX_LOG)))
    root = hives.open_hive(hive[0], hive[1], logs)
    findings.leases += registry.leases(root)
    findings.saw_start(registry.stopped(root))
