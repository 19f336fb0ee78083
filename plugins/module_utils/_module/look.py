# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.


"""One poll, where the record, the drivers and the policy meet.

lock -> the due NICs -> their VMs and addresses, in bulk -> the policy's verdicts -> record and events, as answers arrive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import socket
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_SOURCE_UNAVAILABLE,
    REASON_VM_NOT_FOUND,
    NicAddress,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.arriving import as_they_arrive
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import LONGEST_ERROR, check_sources
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.verdicts import Answer, verdicts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watched import pictured, strangers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import collector, journal, queue
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import BEAT_SECONDS, PollLock, awx_job
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
    EVENT_CHANGED,
    EVENT_FETCHED,
    EVENT_GAVE_UP,
    EVENT_LOST,
    LookNote,
    PollSettings,
    iso,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, Observation, Vm, VmList
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import Event, LockHolder, NicRecord
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.vm_filter import VmFilter

OLD_SECONDS = 1800  # after which a poll that holds the lock is taken to hang
MOMENTS = 5  # seconds to wait for a watcher, which never holds the lock for long


@dataclasses.dataclass(frozen=True)
class Request:
    """What to poll and how. vms: only these names. sources: None takes the driver's own; an empty list asks no guest."""

    hypervisor_name: str
    settings: PollSettings = PollSettings()
    sources: t.Optional[t.Sequence[str]] = None
    workers: int = _defaults.WORKERS
    timeout: float = _defaults.GUEST_TIMEOUT
    lock_scope: str = "hypervisor"
    lock_wait: float = 0
    vms: t.Optional[t.Sequence[str]] = None
    # networks, vm_filter: which new NICs enter the record, see watched.pictured(). rearm: NICs that were given up get all tries.
    reconcile: bool = False
    networks: t.Optional[t.Mapping[str, t.Mapping[str, t.Any]]] = None
    vm_filter: t.Optional[VmFilter] = None
    rearm: bool = False
    # How many days events are kept, and how many of them.
    keep_days: float = 90
    keep_events: int = 1_000_000

    @property
    def asks_guests(self) -> bool:
        """Whether guests are asked, and not only the VMs read."""
        return self.sources is None or bool(self.sources)


@dataclasses.dataclass
class Poll:
    """What one poll did. problem: why it could not look at all NICs. library: the one that is missing. holder: of the lock, if
    skipped. vms: how many there are, if they were read.
    """

    looked_at: int = 0
    found: list[NicRecord] = dataclasses.field(default_factory=list)
    lost: list[NicRecord] = dataclasses.field(default_factory=list)
    gave_up: list[NicRecord] = dataclasses.field(default_factory=list)
    skipped: bool = False
    holder: t.Optional[LockHolder] = None
    problem: t.Optional[str] = None
    library: t.Optional[MissingLibrary] = None
    warnings: list[str] = dataclasses.field(default_factory=list)
    told: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # names of VMs by what the record did with them
    rearmed: int = 0
    vms: t.Optional[int] = None

    def add(self, later: Poll) -> None:
        """Adds what a later look, or listening, has found."""
        self.looked_at += later.looked_at
        for mine, theirs in ((self.found, later.found), (self.lost, later.lost), (self.gave_up, later.gave_up)):
            mine.extend(theirs)
        for what, names in later.told.items():
            self.told.setdefault(what, []).extend(names)
        self.warnings.extend(text for text in later.warnings if text not in self.warnings)

    def keep(self, stored: Sequence[NicRecord], events: Sequence[Event]) -> None:
        """Adds NICs that were looked at, as their events say."""
        self.looked_at += len(stored)
        kinds: dict[tuple[str, str], set[str]] = {}
        for event in events:
            kinds.setdefault((event.vm_id, event.mac), set()).add(event.type)
        for nic in stored:
            kind = kinds.get((nic.vm_id, nic.mac), set())
            if kind & {EVENT_FETCHED, EVENT_CHANGED}:
                self.found.append(nic)
            if EVENT_LOST in kind:
                self.lost.append(nic)
            if EVENT_GAVE_UP in kind:
                self.gave_up.append(nic)


@collector.seldom()
def fetch(
    store: RecordStore,
    connect: Callable[[], Hypervisor],
    request: Request,
    log: Callable[[Sequence[Event]], t.Any] = list,
) -> Poll:
    """One poll of one hypervisor. Raises RecordError; an error of the hypervisor is in the result.

    With request.reconcile all VMs are read first, and the record is made to agree with them. Otherwise connect() is called only
    when a NIC is due.
    """
    started = store.clock()
    rearmed = store.rearm(request.hypervisor_name, request.vms) if request.rearm else 0
    if not request.reconcile and store.counts(request.hypervisor_name, request.settings, started, request.vms).due == 0:
        return Poll(rearmed=rearmed)
    lock = PollLock(store.database, request.hypervisor_name, request.lock_scope, store.clock)
    if not lock.acquire(request.lock_wait) and not (lock.watched() and lock.acquire(MOMENTS)):
        return _skipped(lock.holder(), request, store.clock())
    with lock:
        # The clock is read again, with the lock: NICs must not be due twice because another poller took its time.
        look = _Round(store, lock, request, store.clock(), log)
        look.poll.rearmed = rearmed
        began = time.monotonic()
        poll = look.run(connect)
        if request.reconcile:
            _note(store, request, look.started, time.monotonic() - began, poll)
            oldest = look.started - datetime.timedelta(days=request.keep_days)
            journal.purge_events(store.database, oldest, request.keep_events)
        return poll


def would_agree(store: RecordStore, connect: Callable[[], Hypervisor], request: Request) -> Poll:
    """What a look would change of the record's VMs; changes nothing, and takes no lock."""
    try:
        hypervisor = connect()
        try:
            listed, picture = pictured(hypervisor, request, store.clock())
        finally:
            hypervisor.close()
    except MissingLibrary as error:
        return Poll(library=error)
    except HypervisorError as error:
        return Poll(problem=plain(str(error), LONGEST_ERROR))
    _changes, told = store.reconcile(picture, request.settings.interval, dry_run=True)
    return Poll(told=told, vms=len(listed.vms), warnings=strangers(listed.vms, request.networks))


def _note(store: RecordStore, request: Request, started: datetime.datetime, seconds: float, poll: Poll) -> None:
    note = LookNote(
        name=request.hypervisor_name,
        looked_at=started,
        good_at=started if poll.problem is None else None,
        host=socket.gethostname()[:255],
        pid=os.getpid(),
        job=awx_job(),
        seconds=seconds,
        interval_seconds=request.settings.interval,
        vms=poll.vms,
        problem=poll.problem,
    )
    journal.note_look(store.database, note)


def _skipped(holder: LockHolder | None, request: Request, now: datetime.datetime) -> Poll:
    """The result when another poller is at work; it has a problem or warning if that one has worked too long, or seems dead."""
    poll = Poll(skipped=True, holder=holder)
    if holder is None:
        return poll
    silent = (now - (holder.beat_at or holder.since)).total_seconds()
    busy = (now - holder.since).total_seconds()
    interval = request.settings.interval
    what = f"the poller that holds the lock {holder.name}, process {holder.pid} on {holder.host},"
    way_out = "nobody else can poll meanwhile. If it hangs or is stopped, end that process: the lock goes with it"
    if silent > max(6 * BEAT_SECONDS, 3 * interval):
        poll.problem = f"{what} has given no sign of life since {iso(holder.beat_at or holder.since)}: {way_out}"
    elif silent > 6 * BEAT_SECONDS:
        poll.warnings.append(f"{what} has given no sign of life since {iso(holder.beat_at or holder.since)}: {way_out}")
    elif busy > max(OLD_SECONDS, 10 * interval):
        poll.problem = f"{what} has been at work since {iso(holder.since)}: {way_out}"
    elif busy > max(OLD_SECONDS / 3, 3 * interval):
        poll.warnings.append(f"{what} has been at work since {iso(holder.since)}: {way_out}")
    return poll


class _Round:
    """One poll under the lock: the claimed NICs, and what became of them."""

    def __init__(
        self,
        store: RecordStore,
        lock: PollLock,
        request: Request,
        started: datetime.datetime,
        log: Callable[[Sequence[Event]], t.Any],
    ) -> None:
        self.store = store
        self.lock = lock
        self.request = request
        self.started = started
        self.log = log
        self.poll = Poll()
        self.open: dict[str, list[NicRecord]] = {}  # by VM id: claimed and not yet answered

    def run(self, connect: Callable[[], Hypervisor]) -> Poll:
        hypervisor = None
        try:
            listed = None
            if self.request.reconcile:
                hypervisor = connect()
                listed = self._agree(hypervisor)
            if not self.request.asks_guests:
                return self.poll
            self._claim()
            if not self.open:
                return self.poll
            hypervisor = hypervisor or connect()
            vms = self._find(hypervisor, listed)
            answers = hypervisor.addresses.read(
                vms, check_sources(hypervisor, self.request.sources), self.request.workers, self.request.timeout
            )
            with contextlib.closing(as_they_arrive(answers)) as batches:
                for batch in batches:
                    self._answered(batch)
        except (HypervisorError, MissingLibrary) as error:
            self._claim()  # unless it was done: the NICs that are due get the error
            self.poll.problem = plain(str(error), LONGEST_ERROR)
            self.poll.library = error if isinstance(error, MissingLibrary) else None
            self._nobody_looked(str(error))
        except _LockLost:
            self.poll.problem = (
                f"the connection that held the lock {self.lock.name} broke, so another poller may be at work: this one stopped."
                " What it had found is recorded"
            )
        finally:
            if hypervisor is not None:
                hypervisor.close()
        if self.poll.problem is None:
            # A driver must give an observation for each VM. If one is missing, its NICs must not stay claimed.
            silent = NicAddress(reason=REASON_SOURCE_UNAVAILABLE, message="the hypervisor's driver said nothing about this VM")
            self._store([Answer(nic, nic, silent) for nics in self.open.values() for nic in nics])
        return self.poll

    def _claim(self) -> None:
        if self.open:
            return
        # With the time of now: VMs that were just found have entered the record after the look began.
        for nic in self.store.claim(self.request.hypervisor_name, self.request.settings, self.store.clock(), self.request.vms):
            self.open.setdefault(nic.vm_id, []).append(nic)

    def _agree(self, hypervisor: Hypervisor) -> VmList:
        """Reads all VMs and makes the record agree with them."""
        read_at = self.store.clock()
        listed, picture = pictured(hypervisor, self.request, read_at)
        changes, told = self.store.reconcile(picture, self.request.settings.interval)
        self.poll.vms = len(listed.vms)
        self.poll.told = told
        self.poll.warnings += strangers(listed.vms, self.request.networks)
        self.log(changes.events)
        return listed

    def _find(self, hypervisor: Hypervisor, listed: VmList | None) -> list[Vm]:
        """The VMs of the claimed NICs. NICs of VMs that are gone are answered at once."""
        everything = listed is not None
        listed = listed or hypervisor.inventory.vms(sorted({nics[0].vm_name for nics in self.open.values()}))
        by_id = {vm.id: vm for vm in listed.vms}
        if not everything and any(vm_id not in by_id for vm_id in self.open):
            # The VM was renamed, or is one of several of that name: it is looked for by its id.
            by_id.update((vm.id, vm) for vm in hypervisor.inventory.vms(None).vms)
        missing = [vm_id for vm_id in self.open if vm_id not in by_id]
        by_name = {vm.name: vm for vm in by_id.values()} if missing else {}
        gone = []
        for vm_id in missing:
            for nic in self.open.pop(vm_id):
                other = by_name.get(nic.vm_name)
                message = listed.problems.get(nic.vm_name) or f"the VM {nic.vm_name} is no longer on {hypervisor.endpoint}"
                if other is not None:
                    message = f"{nic.vm_name} is another VM now (id {other.id}): put that one into the record"
                gone.append(Answer(nic, nic, NicAddress(reason=REASON_VM_NOT_FOUND, message=message)))
        self._store(gone)
        return [by_id[vm_id] for vm_id in self.open]

    def _answered(self, batch: Sequence[Observation]) -> None:
        if not self.lock.still_held():
            raise _LockLost
        answers = []
        for seen in batch:
            # A second observation of a VM, or one of another VM, has no NICs here.
            answers.extend(verdicts(seen, self.open.pop(seen.vm.id, [])))
        self._store(answers)

    def _store(self, answers: Sequence[Answer]) -> None:
        by_row = {answer.nic.id: answer for answer in answers}

        def decide(nic: NicRecord) -> tuple[NicRecord, list[Event]]:
            answer = by_row[nic.id]
            return queue.after_reading(answer.nic, answer.verdict, self.request.settings, self.started, vm_off=answer.vm_off)

        settled = self.store.settle_claims([answer.claim for answer in answers], decide)
        self.poll.keep(settled.nics, settled.events)
        self.log(settled.events)
        for nic in settled.doubted:
            self.poll.warnings.append(f"{nic.vm_name} NIC {nic.device} on {nic.hypervisor_name} is suspect: {nic.last_message}")

    def _nobody_looked(self, message: str) -> None:
        def decide(nic: NicRecord) -> tuple[NicRecord, list[Event]]:
            return queue.unreachable(nic, self.request.settings, self.started, message), []

        self.store.settle_claims([nic for nics in self.open.values() for nic in nics], decide)


class _LockLost(Exception):
    """The database ended the session that held the lock."""
