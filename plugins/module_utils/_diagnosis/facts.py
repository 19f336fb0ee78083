# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a diagnosis looks at, gathered beforehand: plain values of one VM and of the site it is on."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

OK = "ok"
WARNING = "warning"
FAILED = "failed"
UNKNOWN = "unknown"
STATUSES = (FAILED, WARNING, UNKNOWN, OK)  # the worst first


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check found. message: a sentence; next_step: what to do, None where there is nothing to be done."""

    check: str
    status: str
    message: str
    next_step: t.Optional[str] = None
    device: t.Optional[int] = None


@dataclasses.dataclass(frozen=True)
class Said:
    """What one source said of a VM: answered, or the reason (of _guest_address.model) and the sentence."""

    source: str
    answered: bool
    reason: t.Optional[str] = None
    message: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class SharedNetwork:
    """One shared network. cidrs, ip_range: announced. size, used: IPv4 addresses of the range, None without a range.

    problem: why what the hypervisor has under its name is another network, such as one of another VLAN.
    """

    name: str
    vlan: t.Optional[str] = None
    cidrs: tuple[str, ...] = ()
    ip_range: t.Optional[str] = None
    size: t.Optional[int] = None
    used: int = 0
    problem: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class RecordedNic:
    """What the record has of a NIC."""

    state: str
    address: t.Optional[str] = None
    tries_left: int = 0
    reason: t.Optional[str] = None
    message: t.Optional[str] = None
    missing: bool = False


@dataclasses.dataclass(frozen=True)
class NicFacts:
    """One NIC. address, addresses, reason: the policy's verdict on what the guest says now; asked is false where no guest was asked.

    shared: the shared network it is in, None where it is in none. same_mac, same_address: other VMs that have the same, for people.
    """

    device: int
    mac: str
    network: t.Optional[str] = None
    shared: t.Optional[SharedNetwork] = None
    asked: bool = False
    address: t.Optional[str] = None
    addresses: tuple[str, ...] = ()
    in_range: t.Optional[bool] = None
    reason: t.Optional[str] = None
    message: t.Optional[str] = None
    recorded: t.Optional[RecordedNic] = None
    same_mac: tuple[str, ...] = ()
    same_address: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class DriveFacts:
    """The config drive. error: why it could not be looked at; problem: why none can be put.

    read: whether its content was read; the rest of the fields is about that content. complaint: why it cannot be used.
    instance: the instance id in its metadata.
    """

    location: t.Optional[str] = None
    slot: t.Optional[str] = None
    exists: bool = False
    attached: bool = False
    owner: t.Optional[str] = None
    restart: bool = False
    problem: t.Optional[str] = None
    error: t.Optional[str] = None
    read: bool = False
    labels: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    complaint: t.Optional[str] = None
    instance: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class GuestFacts:
    """What files of a Linux guest say of the drive's readers.

    installed: the guest scripts are there. seen: they have read a drive; failed, instance: how that went the last time, and the
    instance id of that drive, None where they do not say. datasource: what cloud-init took its data from; None without cloud-init.
    """

    installed: bool = False
    seen: bool = False
    failed: t.Optional[bool] = None
    instance: t.Optional[str] = None
    datasource: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class VmFacts:
    """One VM. exists: None where nobody could ask. problem: why it cannot be looked at. managed: made by this collection.

    guest: None where its files cannot be read. same_machine_id: other VMs with the same /etc/machine-id, for people.
    """

    name: str
    id: t.Optional[str] = None
    exists: t.Optional[bool] = True
    problem: t.Optional[str] = None
    power_state: t.Optional[str] = None
    managed: bool = False
    nics: tuple[NicFacts, ...] = ()
    said: tuple[Said, ...] = ()
    drive: t.Optional[DriveFacts] = None
    guest: t.Optional[GuestFacts] = None
    same_machine_id: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        return self.power_state == "running"

    @property
    def word(self) -> str:
        """Its name for a command line; a strange one is given by its id, which is harmless in a shell."""
        harmless = all(char.isalnum() or char in "._-" for char in self.name) and self.name.isascii()
        return self.name if harmless and not self.name.startswith("-") else str(self.id)


@dataclasses.dataclass(frozen=True)
class SiteFacts:
    """The hypervisor, the record and the settings.

    problem: why the hypervisor could not be read. networks: whether any shared network was given. record_problem: likewise of the
    record. looked_at, look_problem, look_late: of the last look; looked_at is None if there was none. lock_*: who polls, and when
    that one last gave a sign of life (seconds ago).
    """

    name: str
    endpoint: str = ""
    problem: t.Optional[str] = None
    networks: bool = False
    label: str = "config"
    record_problem: t.Optional[str] = None
    looked_at: t.Optional[datetime.datetime] = None
    look_host: t.Optional[str] = None
    look_age: t.Optional[float] = None
    look_late: bool = False
    look_problem: t.Optional[str] = None
    lock_host: t.Optional[str] = None
    lock_age: t.Optional[float] = None
    lock_silent: t.Optional[float] = None
