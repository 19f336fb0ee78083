# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A running VM's disks through a backup job of libvirt in pull mode: QEMU itself serves them, as they are at one moment.

It sees what the guest wrote and QEMU has not put in the file yet, gives the whole chain as one raw disk, and takes nothing
from the guest: a block that the guest overwrites meanwhile is first copied to a scratch file, which ends with the job.
A VM has one such job at a time, and none beside a migration. So a job of somebody else's is left alone, ours lasts
for moments, and one whose maker is dead is ended by whoever looks next.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import socket
import time
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from collections.abc import Sequence

# libvirt's folder for a running domain. QEMU may make files there under any confinement, and libvirt deletes it at the end.
_STATE = "/var/lib/libvirt/qemu"
_SHORT_NAME = 20
_MAX_SOCKET = 107
# ext-dhcp-DEADLINE-MACHINE-PID-PROCESS'S START.nbd, all numbers in hex
_OURS = re.compile(r"ext-dhcp-([0-9a-f]{8})-([0-9a-f]{6})-([0-9a-f]+)-([0-9a-f]+)\.nbd")
# Seconds after its deadline until a job counts as abandoned; allows for clocks that differ.
_GRACE = 120
_END_PATIENCE = 10
_ATTEMPTS = 4
# Seconds to wait for another task that is just reading the same VM's disk.
_WAIT = 3


class Busy(Exception):
    """Somebody else has a job under way on the VM; the message says what kind."""


class NoBackup(Exception):
    """libvirt or QEMU cannot do it for this VM; the message says why."""


def machine() -> str:
    """A short name of this machine and its boot, the same for all processes on it."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read()
    except OSError:
        boot = socket.gethostname()
    return hashlib.sha256(boot.encode()).hexdigest()[:6]


def process_start(pid: int) -> int | None:
    """When the process began, in the kernel's ticks; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return int(stream.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def socket_name(deadline: float) -> str:
    """The name of a job's socket: it tells whose it is, and when it is over."""
    pid = os.getpid()
    return f"ext-dhcp-{int(deadline):08x}-{machine()}-{pid:x}-{process_start(pid) or 0:x}.nbd"


def is_ours(path: str) -> bool:
    """Whether the socket is one that this collection made."""
    return _OURS.fullmatch(posixpath.basename(path)) is not None


def is_over(path: str, now: float) -> bool:
    """Whether the maker of our job is dead, or has forgotten it."""
    match = _OURS.fullmatch(posixpath.basename(path))
    if match is None:
        return False
    if match.group(2) == machine() and os.path.isdir("/proc/self"):
        start = process_start(int(match.group(3), 16))
        if start is None or start != int(match.group(4), 16):
            return True
    return now > int(match.group(1), 16) + _GRACE


class _Job(t.NamedTuple):
    """A domain's backup job. socket: where it listens, an empty text for nowhere. targets: of the disks that it exports."""

    socket: str
    targets: tuple[str, ...] = ()


def _job_of(domain: t.Any) -> _Job | None:
    try:
        element = ET.fromstring(domain.backupGetXMLDesc(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_BACKUP, libvirt.VIR_ERR_OPERATION_INVALID):
            return None
        if error.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR:
            return _Job("")  # "backup job data missing"
        raise
    server = element.find("server")
    targets = tuple(disk.get("name", "") for disk in element.findall("disks/disk[@backup='yes']"))
    return _Job("" if server is None else server.get("socket") or "", targets)


def socket_of(domain: t.Any) -> str | None:
    """Where the domain's backup job listens; None for no job.

    An empty text for a job without a unix socket, and for one that is just beginning or ending.
    """
    job = _job_of(domain)
    return None if job is None else job.socket


def end(domain: t.Any, path: str) -> bool:
    """Ends the domain's job if it is the one that listens there, its scratch files too; False if it is not (any more)."""
    job = _job_of(domain)
    if job is None or job.socket != path:
        return False
    refused = None
    for target in job.targets:
        try:
            # Not abortJob(): that ends whatever job the domain has by then, also a migration that has waited for the end of this one.
            domain.blockJobAbort(target, 0)
        except libvirt.libvirtError as error:
            refused = error  # it ends with that of the first disk, or has ended by itself
    # libvirt says so before it is done.
    patience = time.monotonic() + _END_PATIENCE
    while socket_of(domain) == path:
        if time.monotonic() > patience:
            if refused is not None:
                raise refused
            break
        time.sleep(0.01)
    return True


def socket_path(domain: t.Any, deadline: float) -> str:
    """Where, on the KVM host, a job of ours on this running domain would listen. deadline: Unix seconds, when it is over."""
    name = socket_name(deadline)
    path = posixpath.join(_STATE, f"domain-{domain.ID()}-{domain.name()[:_SHORT_NAME]}", name)
    return path if len(path.encode()) <= _MAX_SOCKET else posixpath.join(_STATE, name)


def begin(domain: t.Any, path: str, targets: Sequence[str], others: Sequence[str], image_dir: str) -> None:
    """Starts a job that listens at `path` and exports `targets` and not `others`; ends one that is left over.

    Raises Busy, NoBackup, and libvirtError.
    """
    _make_way(domain)
    if any(domain.blockJobInfo(target, 0) for target in targets):
        raise Busy("a job of its disks is under way")
    scratches = {target: posixpath.join(image_dir, f"ext-dhcp-{domain.UUIDString()}-{target}.scratch") for target in targets}
    for attempt in range(_ATTEMPTS):
        try:
            domain.backupBegin(_description(path, scratches, others), None, 0)
            return
        except libvirt.libvirtError as error:
            text = error.get_error_message() or str(error)
            left_file = next((scratch for scratch in scratches.values() if scratch in text), None)
            if left_file is None or attempt == _ATTEMPTS - 1:
                raise NoBackup(text) from None
        # libvirt removes a job's scratch file a moment after the job's end. One that stays was left by a libvirtd that was killed.
        time.sleep(0.3)
        if attempt:
            _remove(domain.connect(), left_file)


def _remove(connection: t.Any, scratch: str) -> None:
    """Deletes a scratch file of ours that no job uses, where a storage pool knows it."""
    try:
        connection.storageVolLookupByPath(scratch).delete(0)
    except libvirt.libvirtError:
        pass  # the next attempt says what is wrong


def _make_way(domain: t.Any) -> None:
    """Waits until the domain has no job, if the present one is ours: that lasts for moments. Raises Busy, libvirtError."""
    patience = time.monotonic() + _WAIT
    while True:
        left = socket_of(domain)
        if left is not None and is_over(left, time.time()):
            end(domain, left)
        elif left is None:
            kind = _kind_of_job(domain)
            if kind == libvirt.VIR_DOMAIN_JOB_NONE:
                return
            if kind is not None and socket_of(domain) is None:
                raise Busy("a migration, a snapshot or another job is under way")
        elif time.monotonic() > patience or (left and not is_ours(left)):
            raise Busy(
                "its disk is just being read by another task" if is_ours(left) else "a backup of somebody else's is under way"
            )
        if time.monotonic() > patience:
            raise Busy("a job is under way")
        time.sleep(0.05)


def _kind_of_job(domain: t.Any) -> int | None:
    """libvirt's number of the kind of job; None for a backup that is just beginning or ending."""
    try:
        return domain.jobInfo()[0]
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR:
            return None
        raise


def _description(path: str, scratches: dict[str, str], others: Sequence[str]) -> str:
    backup = ET.Element("domainbackup", {"mode": "pull"})
    ET.SubElement(backup, "server", {"transport": "unix", "socket": path})
    disks = ET.SubElement(backup, "disks")
    for target, scratch in scratches.items():
        disk = ET.SubElement(disks, "disk", {"name": target, "backup": "yes", "type": "file"})
        ET.SubElement(disk, "scratch", {"file": scratch})
    for target in others:
        ET.SubElement(disks, "disk", {"name": target, "backup": "no"})
    return ET.tostring(backup, encoding="unicode")
