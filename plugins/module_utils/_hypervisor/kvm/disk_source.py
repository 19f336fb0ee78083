# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Addresses from the disks of running VMs: the lease files of Linux guests and the registry of Windows guests.

For guests without a guest agent. Nothing runs on the KVM host but libvirt and QEMU, and nothing is ever written to a disk.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.reader import (
    DiskReader,
    Examined,
    Missing,
    Unreadable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.verdict import judge
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_DISK_ENCRYPTED,
    REASON_NO_LEASE,
    REASON_SOURCE_UNAVAILABLE,
    REASON_TIMEOUT,
    SOURCE_LEASE_FILE,
    SOURCE_REGISTRY,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import backup, disk_files, nbd
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import channel as channels
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.guard import Guard
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.source import AddressSource, Answer

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.source import Host

# Share of a VM's time limit for the reading itself; the rest is for ending the job.
_SHARE = 0.8
# Seconds that a job of ours may last, from when it began: others' jobs wait for its end, and libvirt gives that up after 30.
_LONGEST = 15
# Where interfaceStats() has the number of packets that the guest has sent since its start or migration.
_SENT = 5

_HINTS = {
    "empty_file": "a lease file on it is still empty: the guest's own file system takes up to two minutes to write it",
    "networkd": "the guest runs systemd-networkd, which keeps its leases in memory, and keeps no journal on it that could tell of one",
    "networkd_log": "the guest runs systemd-networkd, which keeps its leases in memory, and no journal on it tells of one of this start (yet)",
    "udhcpc": "the guest runs udhcpc, which keeps no lease",
    "unreadable_lvm": "a logical volume on it is of a type that is not read (thin, cache or raid)",
}
# Whose leases are never on the disk.
_UNTOLD = ("networkd", "udhcpc")
# Seconds from a guest's start until all that it wrote then is on its disk.
_SETTLED = 120

_SILENT = "it has sent no packet since it was started, so it has no lease yet: it may still be booting, or not ask for one"


class _Told(t.NamedTuple):
    """What a VM's disk told, and whose answer that is: lease_file's or registry's; None where it is not known."""

    source: t.Optional[str]
    answer: Answer


class KvmDisks:
    """The disks of one KVM host's VMs. Threads may share it."""

    def __init__(self, host: Host) -> None:
        self._connection = host.connection
        self._image_dir = host.image_dir
        self._channel = channels.channel_to(host.uri)
        self._guard = Guard(host.uri)
        self._reader = DiskReader()
        self._lock = threading.Lock()
        self._told: dict[str, _Told] = {}

    def close(self) -> None:
        """Ends the helpers."""
        self._reader.close()
        self._guard.close()
        self._channel.close()

    def forget(self) -> None:
        """The disks are read anew from now on."""
        with self._lock:
            self._told.clear()

    def told(self, vm: Vm, timeout: float) -> tuple[_Told, bool]:
        """What the VM's disks tell, and whether that was read before. timeout: seconds. Raises libvirtError."""
        with self._lock:
            known = self._told.get(vm.id)
        if known is not None:
            return known, True
        known = self._read(vm, timeout)
        with self._lock:
            self._told[vm.id] = known
        return known, False

    def _read(self, vm: Vm, timeout: float) -> _Told:
        deadline = time.monotonic() + timeout * _SHARE
        domain = ET.fromstring(vm.handle.XMLDesc(0))
        if _has_sent_nothing(vm.handle, domain):
            return _Told(None, Answer(reason=REASON_NO_LEASE, message=_SILENT))
        self._reader.prepare()
        try:
            seen, beside = self._examine(vm, domain, deadline)
        except Missing as error:
            reason, message = REASON_SOURCE_UNAVAILABLE, str(error)
        except Unreadable as error:
            reason, message = REASON_TIMEOUT if error.late else REASON_SOURCE_UNAVAILABLE, str(error)
        except (disk_files.NoFile, nbd.NbdError, OSError) as error:
            reason, message = REASON_SOURCE_UNAVAILABLE, f"its disk could not be read: {error}"[:500]
        else:
            return _meaning(seen, vm, beside)
        return _Told(None, Answer(reason=reason, message=message))

    def _examine(self, vm: Vm, domain: ET.Element, deadline: float) -> tuple[Examined, str]:
        """What the disks hold, and why they were not read through QEMU if they were not."""
        disks, others = disk_files.disks_of(domain)
        if not disks:
            raise disk_files.NoFile("it has none")
        beside = "a job of its disks is under way"
        if kvm_domain.awaits_agent(domain):
            # Jobs that hold the VM for 30 s keep libvirt from noting that an agent has connected; libvirt would then not know of
            # it until the VM is started anew.
            beside = "its guest agent may be about to connect, and libvirt could miss that beside a job"
        elif not disk_files.has_job(domain):
            try:
                with self._served(vm, [disk.target for disk in disks], others, deadline) as (exports, until):
                    return self._reader.read([[export] for export in exports], until - time.monotonic()), ""
            except (backup.Busy, backup.NoBackup, channels.NoChannel) as error:
                beside = str(error)
            except (OSError, subprocess.SubprocessError, nbd.NbdError) as error:
                beside = f"QEMU's socket: {error}"
        try:
            files = disk_files.open_files(self._connection, disks, self._channel.root())
        except (disk_files.NoFile, OSError) as error:
            raise disk_files.NoFile(f"{error}; not through QEMU: {beside}") from None
        except libvirt.libvirtError as error:
            raise disk_files.NoFile(f"{error.get_error_message() or error}; not through QEMU: {beside}") from None
        try:
            return self._reader.read(files, deadline - time.monotonic()), beside
        finally:
            disk_files.close_files(files)

    @contextlib.contextmanager
    def _served(
        self, vm: Vm, targets: Sequence[str], others: Sequence[str], deadline: float
    ) -> Iterator[tuple[list[nbd.NbdExport], float]]:
        """The disks as QEMU serves them, and until when they are to be read; the job ends with the block."""
        left = deadline - time.monotonic()
        path = backup.socket_path(vm.handle, time.time() + left)
        self._channel.check()
        with self._guard.watching(vm.id, path):
            # Before the job and not beside it: while it lasts, others' jobs wait or are refused.
            self._reader.wait()
            try:
                backup.begin(vm.handle, path, targets, others, self._image_dir)
                until = min(deadline, time.monotonic() + _LONGEST)
                exports: list[nbd.NbdExport] = []
                try:
                    for target in targets:
                        channel = self._channel.connect(path, max(1.0, until - time.monotonic()))
                        exports.append(nbd.NbdExport(channel, target))
                    yield exports, until
                finally:
                    for export in exports:
                        export.close()
            finally:
                backup.end(vm.handle, path)


class _DiskSource(AddressSource):
    """Either source. Both read the same disk: once in a round, whichever is asked first."""

    told = True

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        # One for both sources; not setdefault(), which would make another one only to drop it.
        if "disks" not in host.shared:
            host.shared["disks"] = KvmDisks(host)
        self._disks: KvmDisks = host.shared["disks"]

    def ask(self, vm: Vm, timeout: float) -> Answer:
        """See AddressSource."""
        told, again = self._disks.told(vm, timeout)
        if told.source == self.name:
            return told.answer
        if again:
            return told.answer._replace(message=None)  # the other source has said it
        if told.source is None:
            return told.answer
        return Answer(reason=REASON_NO_LEASE, message=f"its disk is for source {told.source} to read")

    def forget(self) -> None:
        """See AddressSource."""
        self._disks.forget()

    def close(self) -> None:
        """See AddressSource."""
        self._disks.close()


class LeaseFileSource(_DiskSource):
    """Lease files of Linux guests."""

    name = SOURCE_LEASE_FILE


class RegistrySource(_DiskSource):
    """The registry of Windows guests."""

    name = SOURCE_REGISTRY


def _has_sent_nothing(handle: t.Any, domain: ET.Element) -> bool:
    """Whether the guest has sent no packet yet: it has no lease of this start then, and its disk tells of the start before."""
    counts = []
    for target in domain.findall("devices/interface/target"):
        try:
            counts.append(handle.interfaceStats(target.get("dev", ""))[_SENT])
        except libvirt.libvirtError:
            pass  # libvirt counts no packets for this kind of NIC
    return bool(counts) and not any(counts)


def _meaning(seen: Examined, vm: Vm, beside: str) -> _Told:
    source = {"windows": SOURCE_REGISTRY, "linux": SOURCE_LEASE_FILE}.get(seen.system or "")
    verdict = judge(seen.leases, seen.started, {nic.mac for nic in vm.nics}, time.time())
    if verdict.readings:
        return _Told(source, Answer(verdict.readings))
    unreadable = [note.rpartition("_")[2] for note in seen.notes if note.startswith("unreadable_") and note not in _HINTS]
    if source is None:
        if "encrypted" in seen.notes:
            message = "its disk is encrypted, and only the guest can read it: install a guest agent, or ask the DHCP server"
            return _Told(None, Answer(reason=REASON_DISK_ENCRYPTED, message=message, lasting=True))
        what = (
            f"its file systems ({', '.join(unreadable)}) could not be read" if unreadable else "no system was found on its disk"
        )
        return _Told(None, Answer(reason=REASON_SOURCE_UNAVAILABLE, message=what, lasting=not beside))
    words = [verdict.problem or ""] + [_HINTS[note] for note in seen.notes if note in _HINTS]
    if unreadable:
        words.append(f"a file system on it ({', '.join(unreadable)}) could not be read")
    if beside:
        words.append(f"it was read from its file, which may be behind what the guest wrote, for {beside}")
    settled = not beside and seen.started is not None and time.time() - seen.started > _SETTLED
    lasting = settled and not seen.leases and any(note in seen.notes for note in _UNTOLD)
    return _Told(source, Answer(reason=REASON_NO_LEASE, message="; ".join(words), lasting=lasting))
