# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Work on many VMs at once: each VM's steps are a generator (a flow), and the tasks of all flows are waited for together."""

from __future__ import annotations

import collections
import dataclasses
import re
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import ConnectionCut, XapiError

if t.TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

# XAPI throws finished tasks away, with their results, once there are 200 in the pool.
MAX_OPEN = 50
# Seconds between questions: XAPI answers at the first change of a task, and 100 tasks need not cost 100 answers.
PAUSE = 0.25
_SLICE = 30.0
_TASK_FIELDS: Mapping[str, frozenset[str]] = {"task": frozenset(("status", "result", "error_info"))}


class TaskLost(HypervisorError):
    """The task or the connection was lost before the result was known: the VM must be looked at again."""


class TaskLate(HypervisorError):
    """The task did not end within its time limit."""


@dataclasses.dataclass(frozen=True)
class Call:
    """An Async call that a flow waits for: `result = yield Call("VM.clone", (ref, name))`.

    seconds: time limit from the moment it was sent; then TaskLate is thrown into the flow.
    cancel: whether the task is cancelled then, or left to end by itself.
    lane, width: at most `width` calls of one lane are open at a time; None: no such limit.
    """

    method: str
    args: tuple[t.Any, ...]
    seconds: float = 3600.0
    cancel: bool = True
    lane: Hashable = None
    width: int = MAX_OPEN


class Look:
    """`yield LOOK`: the flow goes on with a fresh picture. All flows that ask at the same time share one look."""


LOOK = Look()
Step = t.Union[Call, Look]
Flow = t.Generator[Step, t.Any, t.Any]


@dataclasses.dataclass
class _Open:
    flow: _Running | None  # None: nobody waits for it any more
    call: Call
    deadline: float


@dataclasses.dataclass
class _Running:
    item: t.Any
    flow: Flow
    answer: t.Any = None
    error: HypervisorError | None = None


class Flows:
    """Runs flows through one session, with one picture."""

    def __init__(self, session: Session, picture: Picture) -> None:
        self._session = session
        self._picture = picture
        self._open: dict[str, _Open] = {}
        self._queue: collections.deque[tuple[_Running, Call]] = collections.deque()
        self._token = ""
        self._generation = 0
        self._asked_at = 0.0

    def run(self, flows: Iterable[tuple[t.Any, Flow]]) -> Iterator[tuple[t.Any, t.Any]]:
        """Yields (item, what its flow returned) as each flow ends. What a flow raises ends the run."""
        ready = collections.deque(_Running(item, flow) for item, flow in flows)
        looking: list[_Running] = []
        try:
            while ready or looking or self._queue or self._waited_for():
                while ready:
                    running = ready.popleft()
                    try:
                        step = self._resume(running)
                    except StopIteration as end:
                        yield running.item, end.value
                        continue
                    if isinstance(step, Look):
                        looking.append(running)
                    else:
                        self._queue.append((running, step))
                if looking:
                    self._picture.refresh()
                    ready.extend(looking)
                    looking = []
                    continue
                ready.extend(self._begin_queued())
                if not ready and self._open:
                    ready.extend(self._wait())
        except HypervisorUnreachable:
            self._open.clear()  # trying to destroy each task would take a time limit each
            raise
        finally:
            for task in self._open:
                self._session.forget_task(task)
            self._open.clear()
            self._queue.clear()

    def _waited_for(self) -> bool:
        return any(entry.flow is not None for entry in self._open.values())

    @staticmethod
    def _resume(running: _Running) -> Step:
        answer, error = running.answer, running.error
        running.answer = running.error = None
        return running.flow.throw(error) if error is not None else running.flow.send(answer)

    def _begin_queued(self) -> list[_Running]:
        """Sends the calls that the limits allow; returns the flows whose call was refused at once."""
        refused = []
        waiting: collections.deque[tuple[_Running, Call]] = collections.deque()
        lanes = collections.Counter(entry.call.lane for entry in self._open.values() if entry.flow is not None)
        while self._queue:
            running, call = self._queue.popleft()
            full = call.lane is not None and lanes[call.lane] >= call.width
            if full or len(self._open) >= MAX_OPEN:
                waiting.append((running, call))
                continue
            try:
                task = self._session.call(f"Async.{call.method}", *call.args)
            except ConnectionCut as error:
                running.error = TaskLost(str(error))
                refused.append(running)
            except XapiError as error:
                running.error = error
                refused.append(running)
            else:
                self._open[task] = _Open(running, call, time.monotonic() + call.seconds)
                lanes[call.lane] += 1
        self._queue = waiting
        return refused

    def _wait(self) -> list[_Running]:
        """Waits for the first tasks to end or for the first time limit; returns the flows that can go on."""
        until = min((e.deadline for e in self._open.values() if e.flow is not None), default=time.monotonic() + 1.0)
        time.sleep(max(0.0, min(until, self._asked_at + PAUSE) - time.monotonic()))
        if self._generation != self._session.generation:
            self._token = ""
        first = not self._token
        wait = min(max(0.0, until - time.monotonic()), _SLICE)
        names = [f"task/{ref}" for ref in self._open]
        batch = self._session.read("event.from", names, self._token, wait, wait=wait, keep=_TASK_FIELDS)
        self._asked_at = time.monotonic()
        self._token, self._generation = batch["token"], self._session.generation
        return self._ended(batch.get("events", []), first) + self._late()

    def _ended(self, events: list[dict[str, t.Any]], first: bool) -> list[_Running]:
        done = []
        seen = set()
        for event in events:
            ref = event["ref"]
            seen.add(ref)
            entry = self._open.get(ref)
            record = event.get("snapshot")
            if entry is None or (record is not None and record["status"] in ("pending", "cancelling")):
                continue
            del self._open[ref]
            if record is not None:
                self._session.forget_task(ref)
            if entry.flow is not None:
                self._answer(entry, record)
                done.append(entry.flow)
        if first:  # the answer has all tasks that there are
            for ref in [ref for ref in self._open if ref not in seen]:
                entry = self._open.pop(ref)
                if entry.flow is not None:
                    self._answer(entry, None)
                    done.append(entry.flow)
        return done

    def _answer(self, entry: _Open, record: dict[str, t.Any] | None) -> None:
        running = t.cast("_Running", entry.flow)
        if record is None:
            running.error = TaskLost(f"{self._session.endpoint}: XAPI forgot the task of {entry.call.method}")
        elif record["status"] == "success":
            running.answer = re.sub(r"</?value>", "", str(record.get("result") or ""))
        else:
            details = list(record.get("error_info") or ["TASK_CANCELLED"])
            running.error = self._session.xapi_error(entry.call.method, details)

    def _late(self) -> list[_Running]:
        late = []
        now = time.monotonic()
        for ref, entry in list(self._open.items()):
            if entry.flow is None or entry.deadline > now:
                continue
            text = f"{self._session.endpoint}: {entry.call.method} did not end within {entry.call.seconds:g} s"
            entry.flow.error = TaskLate(text)
            late.append(entry.flow)
            entry.flow = None  # its task is destroyed when it ends, or at the end of the run
            if entry.call.cancel:
                self._session.cancel_task(ref)
        return late
