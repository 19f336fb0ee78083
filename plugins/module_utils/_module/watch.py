# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Listening to a hypervisor: hints lead to readings, which are treated as those of a look.

Nothing depends on hints: a lost one delays a reading until the next look, a repeated one costs a reading.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_HYPERVISOR_UNREACHABLE,
    REASON_NO_GUEST_TOOLS,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HINT_GUEST,
    HINT_HERE,
    Hint,
    HypervisorError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.arriving import as_they_arrive
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import LONGEST_ERROR, check_sources
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.gather import Gather
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Poll, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.verdicts import Answer, verdicts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watched import pictured
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import queue
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import SCOPE_WATCH, PollLock
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
    STATE_FOUND,
    STATE_PENDING,
    main_address,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, Observation, Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.gather import Wanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Request
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import Event, NicRecord
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

STANDBY_SECONDS = 2.0  # between two tries to take another watcher's place
BUSY_SECONDS = 0.5  # until the next try of a batch, when a poller had the lock
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a broken connection is made again
SLOW_GUEST = 3.0  # seconds: a guest that does not answer must not hold up the others
LOOK_UP = 2.0  # seconds between two checks of a waiting driver whether it is to stop
LOOK_UP_EARLY = 1.0  # the same, if that may be at any moment
MAX_WARNINGS = 5


@dataclasses.dataclass
class Watch:
    """What listening did. stood_by: seconds in which another watcher was at work. poll: what was found."""

    poll: Poll = dataclasses.field(default_factory=Poll)
    hints: int = 0
    readings: int = 0
    reconnects: int = 0
    stood_by: float = 0


class Watcher:
    """Listens to one hypervisor, if no other watcher does. A context manager, which releases the lock at its end."""

    def __init__(
        self,
        store: RecordStore,
        connect: Callable[[], Hypervisor],
        request: Request,
        log: Callable[[Sequence[Event]], t.Any] = list,
        stop: threading.Event | None = None,
    ) -> None:
        """stop: set by the caller to end it early. This and all methods raise RecordError."""
        self.store = store
        self.request = request
        self.stop = stop or threading.Event()
        self.watch = Watch()
        self.connect = connect
        self.log = log
        self.gather = Gather()
        self._lock = PollLock(store.database, request.hypervisor_name, SCOPE_WATCH, store.clock)
        self._held = False
        self.known: dict[str, Vm] | None = None  # by id, as listed last

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_exception: t.Any) -> None:
        if self._held:
            self._lock.release()

    def take_turn(self, seconds: float) -> bool:
        """Waits for other watchers to end, at most so many seconds. Returns whether it is this one's turn."""
        began = time.monotonic()
        while not self._held:
            self._held = self._lock.acquire()
            left = began + seconds - time.monotonic()
            if self._held or left <= 0 or self.stop.wait(min(STANDBY_SECONDS, left)):
                break
        self.watch.stood_by += time.monotonic() - began
        return self._held

    def listen(self, seconds: float, enough: Callable[[], bool] | None = None) -> None:
        """Listens for so many seconds, or until enough() is true. Only to be called in its turn.

        A broken connection is made again as often as needed.
        """
        end = time.monotonic() + seconds
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                self._serve(end, enough)
                return
            except _TurnLost:
                break
            except (HypervisorError, MissingLibrary) as error:
                self._warn(plain(str(error), LONGEST_ERROR))
                if isinstance(error, MissingLibrary):
                    return
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            left = end - time.monotonic()
            if left <= 0 or self.stop.wait(min(pause, left)):
                return
            pause = min(2 * pause, LONGEST_PAUSE)
            self.watch.reconnects += 1
            if not self.holds_turn():
                break
        self._warn(f"the connection that held the lock {self._lock.name} broke: this watcher ended before its time")

    def give_up_if_lost(self) -> None:
        """Makes way for another turn where the lock was lost."""
        if self._held and not self._lock.still_held():
            self._lock.release()
            self._held = False

    def holds_turn(self) -> bool:
        """Whether it is still this one's turn."""
        return self._held and self._lock.still_held()

    def _warn(self, text: str) -> None:
        if text not in self.watch.poll.warnings and len(self.watch.poll.warnings) < MAX_WARNINGS:
            self.watch.poll.warnings.append(text)

    def _serve(self, end: float, enough: Callable[[], bool] | None) -> None:
        """One connection's life."""
        hypervisor = self.connect()
        over = threading.Event()
        ears: _Ears | None = None
        self.known = None
        try:
            wanted = check_sources(hypervisor, self.request.sources)
            sources = [source for source in wanted if source in hypervisor.events.sources]
            gather = self.gather
            gather.again = hypervisor.events.again
            ears = _Ears(hypervisor.events.listen(over, LOOK_UP_EARLY if enough else LOOK_UP), over)
            listed = not self.request.reconcile
            while not self.stop.is_set():
                now = time.monotonic()
                if now >= end or (enough is not None and enough()):
                    return
                due = gather.next()
                hints = ears.heard(min(end, now + LOOK_UP_EARLY, end if due is None else due) - now)
                self.watch.hints += len(hints)
                gather.add(hints, time.monotonic())
                if not listed and ears.open.is_set():
                    gather.want_list(time.monotonic())  # nobody told what happened before it listened
                    listed = True
                _Batch(self, hypervisor, sources).run()
        finally:
            over.set()
            if ears is not None:
                ears.join()
            hypervisor.close()


class _TurnLost(Exception):
    """The database ended the session that held the watcher's lock."""


class _Ears:
    """The thread that listens. It keeps each hint once until it is taken."""

    def __init__(self, hints: Iterable[list[Hint]], over: threading.Event) -> None:
        self._over = over
        self._changed = threading.Condition()
        self._box: dict[Hint, None] = {}
        self._error: BaseException | None = None
        self._ended = False
        self.open = threading.Event()  # set once it listens: what happens from now on is heard
        self._thread = threading.Thread(target=self._pump, args=(hints,), name="hints", daemon=True)
        self._thread.start()

    def heard(self, seconds: float) -> list[Hint]:
        """The hints that have come; waits at most so many seconds for the first. Raises the driver's error."""
        with self._changed:
            if not self._box and not self._ended:
                self._changed.wait(max(0.0, seconds))
            if self._box:
                hints = list(self._box)
                self._box.clear()
                return hints
            if isinstance(self._error, HypervisorError):
                raise self._error
            if self._ended:
                raise HypervisorError(f"the driver stopped listening: {self._error or 'no reason given'}") from self._error
            return []

    def join(self) -> None:
        """Waits for the thread; one that hangs is left behind."""
        self._thread.join(timeout=4 * LOOK_UP)

    def _pump(self, hints: Iterable[list[Hint]]) -> None:
        try:
            for some in hints:
                with self._changed:
                    self._box.update(dict.fromkeys(some))
                    if some or not self.open.is_set():
                        self._changed.notify()
                    self.open.set()
                if self._over.is_set():
                    break
        except Exception as error:  # heard() raises it
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()


class _Batch:
    """One round of what is due: lists all VMs if asked to, claims NICs and reads their VMs in bulk.

    The poller's lock is held while VMs are listed and NICs are claimed, but not while guests are asked. If a poller claims the
    same NIC meanwhile, its reading counts and this one does not.
    """

    def __init__(self, watcher: Watcher, hypervisor: Hypervisor, sources: Sequence[str]) -> None:
        self.watcher = watcher
        self.watch = watcher.watch
        self.gather = watcher.gather
        self.request = watcher.request
        self.store = watcher.store
        self.hypervisor = hypervisor
        self.sources = sources
        self.now = self.store.clock()
        self.listed = False

    def run(self) -> None:
        """Does the round. After an error its hints are kept for the next one."""
        now = time.monotonic()
        listing = self.gather.list_due(now)
        taken = self.gather.take(now)
        if not taken and not listing:
            return
        if not self.watcher.holds_turn():
            raise _TurnLost
        open_: dict[str, Wanted] = dict(taken)
        try:
            lock = PollLock(self.store.database, self.request.hypervisor_name, self.request.lock_scope, self.store.clock)
            if not lock.acquire():
                return
            with lock:
                self.now = self.store.clock()
                if listing or self.watcher.known is None:
                    self._list()
                claimed = self._claim(taken)
            for vm_id in [vm_id for vm_id in taken if vm_id not in claimed]:
                del open_[vm_id]  # the record does not have it, or waits for nothing of it
            self._read(claimed, open_)
            self._compare([vm_id for vm_id, one in taken.items() if one.kind == HINT_HERE and vm_id not in claimed])
        finally:
            if open_ or (listing and self.gather.list_due(now)):
                self.gather.put_back(open_, now + BUSY_SECONDS)

    def _list(self) -> None:
        """Reads all VMs and makes the record agree with them, as a look does."""
        began, read_at = time.monotonic(), self.store.clock()
        picture = None
        if self.request.reconcile:
            listed, picture = pictured(self.hypervisor, self.request, read_at)
        else:
            listed = self.hypervisor.inventory.vms(self.request.vms)
        self.watcher.known = {vm.id: vm for vm in listed.vms}
        if picture is not None:
            changes, told = self.store.reconcile(picture, self.request.settings.interval)
            for what, names in told.items():
                self.watch.poll.told.setdefault(what, []).extend(names)
            self.watcher.log(changes.events)
            before = {nic.id for nic in changes.before if nic.fetch_state == STATE_PENDING}
            new = {
                nic.vm_id
                for nic in changes.after
                if nic.fetch_state == STATE_PENDING and (nic.id is None or nic.id not in before)
            }
            self.gather.add([Hint(vm_id, HINT_HERE) for vm_id in sorted(new)], time.monotonic())
        self.gather.listed(began, time.monotonic())
        self.listed = True

    def _claim(self, taken: Mapping[str, Wanted]) -> dict[str, list[NicRecord]]:
        claimed: dict[str, list[NicRecord]] = {}
        if self.sources:
            ids = {kind: [vm_id for vm_id, one in taken.items() if one.kind == kind] for kind in (HINT_GUEST, HINT_HERE)}
            for nic in self.store.claim_hinted(
                self.request.hypervisor_name,
                ids[HINT_GUEST],
                ids[HINT_HERE],
                None if self.request.reconcile else self.request.vms,
            ):
                claimed.setdefault(nic.vm_id, []).append(nic)
        return claimed

    def _compare(self, ids: Sequence[str]) -> None:
        """Adds hints for VMs whose known addresses have changed while nobody listened. Unchanged ones are not written."""
        known = self.watcher.known or {}
        vms = [known[vm_id] for vm_id in ids if vm_id in known]
        if not vms or not self.sources or not self.hypervisor.events.free:
            return
        rows: dict[str, list[NicRecord]] = {}
        for nic in self.store.nics(
            hypervisor_names=[self.request.hypervisor_name], vms=[vm.name for vm in vms], states=[STATE_FOUND]
        ):
            rows.setdefault(nic.vm_id, []).append(nic)
        vms = [vm for vm in vms if vm.id in rows]
        changed = []
        for seen in self.hypervisor.addresses.read(vms, self.sources, self.request.workers, self.request.timeout) if vms else ():
            if any(_address(answer) not in (None, answer.nic.address) for answer in verdicts(seen, rows[seen.vm.id])):
                changed.append(Hint(seen.vm.id, HINT_GUEST))
        self.gather.add(changed, time.monotonic())

    def _read(self, claimed: dict[str, list[NicRecord]], open_: dict[str, Wanted]) -> None:
        known = self.watcher.known or {}
        for vm_id in [vm_id for vm_id in claimed if vm_id not in known]:
            if self.request.reconcile and not self.listed:
                self.gather.want_list(time.monotonic())  # it came after the last list
            else:
                del open_[vm_id]
        vms = [known[vm_id] for vm_id in claimed if vm_id in known]
        if not vms:
            return
        timeout = min(self.request.timeout, SLOW_GUEST)
        answers = self.hypervisor.addresses.read(vms, self.sources, self.request.workers, timeout)
        with contextlib.closing(as_they_arrive(answers)) as batches:
            for batch in batches:
                self._answered(batch, claimed, open_)

    def _answered(self, batch: Sequence[Observation], claimed: dict[str, list[NicRecord]], open_: dict[str, Wanted]) -> None:
        answers: dict[int | None, Answer] = {}
        now = time.monotonic()
        for seen in batch:
            if seen.reason == REASON_HYPERVISOR_UNREACHABLE:
                raise HypervisorError(seen.message or f"{self.hypervisor.endpoint} cannot be reached")
            mine = verdicts(seen, claimed.pop(seen.vm.id, []))
            answers.update((answer.nic.id, answer) for answer in mine)
            one = open_.pop(seen.vm.id, None)
            # Without an agent there is nobody to ask again: a hint will come when one starts.
            absent = one is not None and one.kind == HINT_HERE and seen.reason == REASON_NO_GUEST_TOOLS
            if one is not None and not absent and any(_address(answer) is None for answer in mine if answer.nic.required):
                self.gather.missed(seen.vm.id, one, now)

        def decide(nic: NicRecord) -> tuple[NicRecord, list[Event]]:
            return queue.after_reading(answers[nic.id].nic, answers[nic.id].verdict, self.request.settings, self.now, hinted=True)

        settled = self.store.settle_claims([answer.claim for answer in answers.values()], decide)
        self.watch.readings += len(batch)
        told = {(event.vm_id, event.mac) for event in settled.events}
        self.watch.poll.keep([nic for nic in settled.nics if (nic.vm_id, nic.mac) in told], settled.events)
        self.watcher.log(settled.events)
        for nic in settled.nics:
            if nic.candidate_address is not None and self.request.settings.settle:
                self.gather.later(nic.vm_id, now, self.request.settings.settle)


def _address(answer: Answer) -> str | None:
    verdict = answer.verdict
    return main_address(verdict.ip4_address, verdict.ip6_addresses, answer.nic.family_order)


def keep_watching(watcher: Watcher, told: Callable[[str], t.Any]) -> None:
    """Waits for its turn, then looks and listens in each interval until the watcher's stop is set. No error ends it.

    told: called with each problem.
    """
    pause = FIRST_PAUSE
    with watcher:
        while not watcher.stop.is_set():
            watcher.watch = Watch()
            began = time.monotonic()
            try:
                if not watcher.take_turn(LONGEST_PAUSE):
                    continue
                poll = fetch(watcher.store, watcher.connect, watcher.request, log=watcher.log)
                if poll.problem is None:
                    watcher.listen(watcher.request.settings.interval)
                watcher.give_up_if_lost()
                poll.add(watcher.watch.poll)
                problems = [text for text in (poll.problem, *poll.warnings) if text]
            except Exception as error:  # pylint: disable=broad-except  # nothing would start the watcher again
                problems = [plain(str(error) or repr(error), LONGEST_ERROR)]
            for text in problems:
                told(text)
            if time.monotonic() - began >= LONGEST_PAUSE:
                pause = FIRST_PAUSE
            elif problems:
                watcher.stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
