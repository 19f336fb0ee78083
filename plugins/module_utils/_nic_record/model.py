# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The words and values of the record: one NIC, one event, one poll's settings. Plain data, no database."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults

STATE_PENDING = "pending"  # in the queue
STATE_FOUND = "found"  # address known; looked at again only with a re-check interval
STATE_GAVE_UP = "gave_up"  # no tries left
STATE_STOPPED = "stopped"  # VM is off
STATES = (STATE_PENDING, STATE_FOUND, STATE_GAVE_UP, STATE_STOPPED)

EVENT_FETCHED = "EXTERNAL.DHCP.VM.IP.FETCHED"
EVENT_CHANGED = "EXTERNAL.DHCP.VM.IP.CHANGED"
EVENT_LOST = "EXTERNAL.DHCP.VM.IP.LOST"
EVENT_GAVE_UP = "EXTERNAL.DHCP.VM.IP.GAVE.UP"
EVENT_TYPES = (EVENT_FETCHED, EVENT_CHANGED, EVENT_LOST, EVENT_GAVE_UP)

# Why a NIC waits although no reading failed; they stand beside the reasons of _guest_address/model.py.
REASON_NOT_POLLED_YET = "not_polled_yet"
REASON_SETTLING = "settling"
REASON_ADDRESS_TAKEN = "address_taken"  # found, but another NIC was seen with the same address since

MAX_DEVICE = 9999  # positions of NICs that the record takes


@dataclasses.dataclass(frozen=True)
class PollSettings:
    """How a poll treats a NIC. All times in seconds; 0 switches recheck_interval, relook_interval and settle off."""

    interval: float = _defaults.INTERVAL
    max_retry: int = _defaults.MAX_RETRY
    recheck_interval: float = 0
    settle: float = 0
    suspect_readings: int = _defaults.SUSPECT_READINGS
    relook_interval: float = 0

    @property
    def slack(self) -> float:
        """A scheduler starts its runs some seconds late or early; without slack every second run would find nothing due."""
        return self.interval / 10


@dataclasses.dataclass(frozen=True)
class NicFacts:
    """What is known of a NIC before anybody looked for its address; mac is lower case with colons.

    A rule (required and below) that is None was not given: the record keeps its own, or the default of NicRecord.
    """

    device: int
    mac: str
    network: t.Optional[str] = None
    required: t.Optional[bool] = None
    cidrs: t.Optional[tuple[str, ...]] = None
    ip_range: t.Optional[str] = None
    ignore_interfaces: t.Optional[tuple[str, ...]] = None
    family_order: t.Optional[tuple[int, ...]] = None
    # Whether it enters the record if it is not there yet.
    watched: bool = True
    # Rules of the network, for a NIC that is not in the record yet and brings none of its own.
    network_rules: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict, compare=False)


@dataclasses.dataclass(frozen=True)
class VmFacts:
    """One VM as given to the record. id may be missing where the name alone is enough (stopped, absent).

    running: None where it is neither running nor off (paused): its NICs stay as they are.
    booted_at: when it was started, where the hypervisor tells; boot_token: see api.Vm. rearm: see queue.enter().
    folder, tags: as in api.Vm; None where nobody read them, and the record keeps its own.
    """

    name: str
    id: t.Optional[str] = None
    nics: tuple[NicFacts, ...] = ()
    running: t.Optional[bool] = True
    booted_at: t.Optional[datetime.datetime] = None
    boot_token: t.Optional[str] = None
    rearm: bool = False
    folder: t.Optional[str] = None
    tags: t.Optional[tuple[str, ...]] = None


class NicRecord(t.NamedTuple):
    """One row of the table nics. Times are aware and in UTC; id is None before the row is stored.

    A tuple: there are a hundred thousand of them in one look, each made and copied several times.
    """

    hypervisor_name: str
    vm_id: str
    vm_name: str
    device: int
    mac: str
    fetch_state: str
    tries_left: int
    entered_at: datetime.datetime
    updated_at: datetime.datetime
    id: t.Optional[int] = None
    network: t.Optional[str] = None
    required: bool = True
    cidrs: tuple[str, ...] = ()
    ip_range: t.Optional[str] = None
    ignore_interfaces: tuple[str, ...] = ()
    family_order: tuple[int, ...] = (4, 6)
    ip4_address: t.Optional[str] = None
    ip6_addresses: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    in_range: t.Optional[bool] = None
    source: t.Optional[str] = None
    previous_address: t.Optional[str] = None
    # Tries: max_tries is the NIC's own limit, None means the poll's max_retry.
    max_tries: t.Optional[int] = None
    tries_failed: int = 0
    next_try_at: t.Optional[datetime.datetime] = None
    last_try_at: t.Optional[datetime.datetime] = None
    last_reason: t.Optional[str] = None
    last_message: t.Optional[str] = None
    suspect_readings: int = 0
    candidate_address: t.Optional[str] = None
    candidate_since: t.Optional[datetime.datetime] = None
    first_seen_at: t.Optional[datetime.datetime] = None
    last_seen_at: t.Optional[datetime.datetime] = None
    claim_token: t.Optional[str] = None
    booted_at: t.Optional[datetime.datetime] = None
    boot_token: t.Optional[str] = None
    missing_since: t.Optional[datetime.datetime] = None
    folder: t.Optional[str] = None
    tags: tuple[str, ...] = ()

    @property
    def address(self) -> str | None:
        """The one address that counts, by the NIC's family order; None while it is not known."""
        return main_address(self.ip4_address, self.ip6_addresses, self.family_order)

    def but(self, **facts: t.Any) -> NicRecord:
        """The NIC with these facts; the same one where it has them all already."""
        for name, fact in facts.items():
            if getattr(self, name) != fact:
                return self._replace(**facts)
        return self


class Event(t.NamedTuple):
    """One row of the table events; id is None before it is stored."""

    type: str
    at: datetime.datetime
    hypervisor_name: str
    vm_id: str
    vm_name: str
    device: int
    mac: str
    network: t.Optional[str] = None
    address: t.Optional[str] = None
    previous_address: t.Optional[str] = None
    source: t.Optional[str] = None
    reason: t.Optional[str] = None
    message: t.Optional[str] = None
    id: t.Optional[int] = None


@dataclasses.dataclass(frozen=True)
class LookNote:
    """The last look at one hypervisor: when it began, by whom, how long it took (seconds), how many VMs there are.

    good_at: the last one without a problem. interval_seconds: how often it is to be looked at.
    """

    name: str
    looked_at: datetime.datetime
    host: str
    pid: int
    seconds: float
    interval_seconds: float
    good_at: t.Optional[datetime.datetime] = None
    job: t.Optional[str] = None
    vms: t.Optional[int] = None
    problem: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class LockHolder:
    """Who polls: since is the time the lock was taken, beat_at the last sign of life, job the AWX job."""

    name: str
    host: str
    pid: int
    since: datetime.datetime
    beat_at: t.Optional[datetime.datetime] = None
    job: t.Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Changes:
    """What a change of the record did, or would do in check mode. before and after hold the touched VMs' NICs only.

    retired: the hypervisor itself was in the record, and is no longer.
    """

    before: tuple[NicRecord, ...]
    after: tuple[NicRecord, ...]
    events: tuple[Event, ...] = ()
    retired: bool = False

    @property
    def changed(self) -> bool:
        return self.retired or self.before != self.after


@dataclasses.dataclass(frozen=True)
class Counts:
    """NICs of one hypervisor: pending (required ones in the queue), pending_optional, due (to be looked at now)."""

    pending: int
    pending_optional: int
    due: int


@dataclasses.dataclass(frozen=True)
class Waiting:
    """Those in the queue: nics (the first of them), how many are required and how many there are, and when the next one is due."""

    nics: t.Sequence[NicRecord] = ()
    required: int = 0
    total: int = 0
    next_try_at: t.Optional[datetime.datetime] = None


@dataclasses.dataclass(frozen=True)
class Settled:
    """What became of claimed NICs: nics as they are stored now, the events, and doubted, whose address others have now."""

    nics: list[NicRecord]
    events: list[Event]
    doubted: list[NicRecord]


def main_address(ip4: str | None, ip6: t.Sequence[str], family_order: t.Sequence[int]) -> str | None:
    """The address of the first family in `family_order`: the one the NIC waits for.

    The other families are kept beside it and never end the wait: a guest has its IPv6 address long before its lease.
    """
    if family_order and family_order[0] == 6:
        return ip6[0] if ip6 else None
    return ip4


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


@functools.lru_cache(1024)  # many NICs have times in common
def iso(moment: datetime.datetime | None) -> str | None:
    """The time as modules return it: UTC to the second, such as V(2026-11-22T08:49:00Z)."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
