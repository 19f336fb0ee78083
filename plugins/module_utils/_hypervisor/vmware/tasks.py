# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Tasks of many VMs: started over a few connections, and waited for together through one property collector."""

from __future__ import annotations

import contextlib
import time
import typing as t
from collections import deque

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

    K = t.TypeVar("K")

MAX_OPEN = 100  # tasks at a time; a vCenter takes about 640 operations from all its clients
CONNECTIONS = 8  # over which they are started
PAUSE = 0.1  # seconds between looks, so that one answer tells of many tasks
NO_PROGRESS = 3600.0  # seconds in which no task ends: hosts queue clones, and a large disk takes long to copy


class TaskLost(Exception):
    """vCenter has forgotten a task, as it does after a while: whether it succeeded must be found out another way."""


class Change(t.NamedTuple):
    """A watched object that changed. properties: the changed ones; one that is unset now is None. gone: it was deleted."""

    kind: str
    name: str
    properties: dict[str, t.Any]
    gone: bool = False


class Watcher:
    """Watches properties of objects through a property collector of its own. After a new login everything is told again."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._specs: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
        self._collector: t.Any = None
        self._version = ""

    def add(self, kind: str, names: Sequence[str], properties: Sequence[str]) -> None:
        """Watches properties of these objects as well; wait() first tells what they are now."""
        spec = (kind, tuple(names), tuple(properties))
        self._specs.append(spec)
        if self._collector is not None:
            self._session.run(lambda: self._open() if self._stale() else self._filter(spec))

    def wait(self, seconds: float) -> list[Change]:
        """What changed since the last call; waits for a change at most this long."""
        # Shorter than a call's time limit, so that a wait without a change does not look like a broken connection.
        seconds = max(1, int(min(seconds, self._session.endpoint.timeout / 2)))

        def look() -> t.Any:
            if self._stale():
                self._open()
            return self._collector.WaitForUpdatesEx(self._version, vim.PropertyCollector.WaitOptions(maxWaitSeconds=seconds))

        update = self._session.run(look)
        if update is None:
            return []
        self._version = update.version
        return [
            Change(
                type(one.obj).__name__.rpartition(".")[2],
                one.obj._moId,
                {change.name: change.val for change in one.changeSet},
                one.kind == "leave",
            )
            for part in update.filterSet
            for one in part.objectSet
        ]

    def close(self) -> None:
        """Best effort: the collector goes with its session anyway."""
        if self._collector is not None and not self._stale():
            with contextlib.suppress(HypervisorError):
                self._session.run(self._collector.DestroyPropertyCollector)
        self._collector = None

    def _stale(self) -> bool:
        return self._collector is None or self._collector._stub is not self._session.stub

    def _open(self) -> None:
        self._collector = self._session.content.propertyCollector.CreatePropertyCollector()
        self._version = ""
        for spec in self._specs:
            self._filter(spec)

    def _filter(self, spec: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
        kind, names, properties = spec
        collector = vim.PropertyCollector
        self._collector.CreateFilter(
            collector.FilterSpec(
                objectSet=[collector.ObjectSpec(obj=self._session.object(kind, name)) for name in names],
                propSet=[collector.PropertySpec(type=getattr(vim, kind), pathSet=list(properties))],
                reportMissingObjectsInResults=True,
            ),
            False,
        )


class _Run:
    """The tasks of one run_tasks() that are open."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._watcher = Watcher(session)
        self._open: dict[str, t.Any] = {}
        self._told: dict[str, dict[str, t.Any]] = {}

    def close(self) -> None:
        """Ends the watching."""
        self._watcher.close()

    def start(self, batch: Sequence[tuple[t.Any, Callable[[], t.Any]]]) -> Iterator[tuple[t.Any, t.Any]]:
        """Starts a task for each; yields what could not be started."""
        fresh = []

        def begin(item: tuple[t.Any, Callable[[], t.Any]]) -> str:
            return self._session.run(item[1], raw=True)._moId

        for (key, _start), task, error in workers.each(begin, batch, CONNECTIONS, None):
            if error is None:
                self._open[t.cast("str", task)] = key
                fresh.append(t.cast("str", task))
            elif isinstance(error, HypervisorUnreachable):
                raise error
            else:
                yield key, error
        if fresh:
            self._watcher.add("Task", fresh, ("info.state", "info.error", "info.result"))

    def ended(self, seconds: float) -> Iterator[tuple[t.Any, t.Any]]:
        """Yields the tasks that have ended; waits for one at most this long."""
        for change in self._watcher.wait(seconds):
            if change.name not in self._open:
                continue
            if change.gone:
                yield self._open.pop(change.name), TaskLost("vCenter has forgotten the task")
                continue
            told = self._told.setdefault(change.name, {})
            told.update(change.properties)
            if told.get("info.state") in ("success", "error"):
                yield self._open.pop(change.name), self._outcome(change.name, self._told.pop(change.name))

    def _outcome(self, name: str, told: dict[str, t.Any]) -> t.Any:
        if told["info.state"] == "success":
            return told.get("info.result")
        if isinstance(told.get("info.error"), BaseException):
            return told["info.error"]
        return self._session.run(lambda: self._session.task_error(self._session.object("Task", name)))

    def __len__(self) -> int:
        return len(self._open)

    def under_way(self) -> list[t.Any]:
        """The keys of the open tasks."""
        return list(self._open.values())


def run_tasks(session: Session, starts: Iterable[tuple[K, Callable[[], t.Any]]]) -> Iterator[tuple[K, t.Any]]:
    """Yields (key, result) as the tasks end; an error is a result: a fault, TaskLost, or a HypervisorError.

    starts: keys, and what starts each task. Raises HypervisorUnreachable when the connection is lost for good.
    """
    todo = deque(starts)
    work = _Run(session)
    progress = time.monotonic()
    try:
        while todo or len(work):
            if todo and len(work) <= MAX_OPEN // 2:
                yield from work.start([todo.popleft() for _number in range(min(len(todo), MAX_OPEN - len(work)))])
                continue
            ended = list(work.ended(30))
            if ended:
                progress = time.monotonic()
                yield from ended
            elif time.monotonic() - progress > NO_PROGRESS:
                for key in work.under_way():
                    yield key, HypervisorError(f"the task is not done after {NO_PROGRESS:g} s: look at the recent tasks")
                return
            if len(work):
                time.sleep(PAUSE)
    finally:
        work.close()
