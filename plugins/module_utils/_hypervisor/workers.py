# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A call for each of many items, a few at a time, none of them longer than its time limit."""

from __future__ import annotations

import queue
import threading
import time
import typing as t
from collections import deque

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    T = t.TypeVar("T")
    R = t.TypeVar("R")


MAX_LEFT_BEHIND = 50  # calls of any kind that hang in this process; when there are so many, no other is begun

_left_behind = 0
_guard = threading.Lock()


class TimedOut(Exception):
    """The call for one item took longer than its time limit and was left behind, or could not begin because of such calls."""


class _Call:
    """One call under way in a thread of its own, which may outlive its time limit."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._abandoned = self._ended = False

    def end(self) -> None:
        global _left_behind
        with _guard:
            self._ended = True
            if self._abandoned:
                _left_behind -= 1

    def abandon(self) -> None:
        global _left_behind
        with _guard:
            self._abandoned = True
            if not self._ended:
                _left_behind += 1


class _Calls:
    """The calls of one each(): those under way, and those left behind, which occupy a worker until they end."""

    def __init__(self, call: Callable[[t.Any], t.Any], workers: int, timeout: float) -> None:
        self._call, self._workers, self._timeout = call, workers, timeout
        self._started = 0
        self.running: dict[int, tuple[t.Any, _Call]] = {}
        self._hanging: set[int] = set()
        self._done: queue.Queue[tuple[int, t.Any, Exception | None]] = queue.Queue()

    def has_room(self) -> bool:
        return len(self.running) + len(self._hanging) < self._workers and _left_behind < MAX_LEFT_BEHIND

    def begin(self, item: t.Any) -> None:
        token, one = self._started, _Call(time.monotonic() + self._timeout)
        self._started += 1
        self.running[token] = (item, one)

        def work() -> None:
            result, error = None, None
            try:
                result = self._call(item)
            except Exception as problem:  # pylint: disable=broad-except  # the caller decides what it means
                error = problem
            one.end()
            self._done.put((token, result, error))

        threading.Thread(target=work, daemon=True).start()

    def ended(self, until: float) -> Iterator[tuple[t.Any, t.Any, Exception | None]]:
        """The next call that ends, or all whose time is over; nothing if there is neither before `until` or within a second."""
        until = min((one.deadline for _item, one in self.running.values()), default=until)
        try:
            token, result, error = self._done.get(timeout=max(0.0, min(until - time.monotonic(), 1.0)))
        except queue.Empty:
            yield from self._give_up(time.monotonic())
            return
        self._hanging.discard(token)
        if token in self.running:  # else it was given up before
            yield self.running.pop(token)[0], result, error

    def _give_up(self, now: float) -> Iterator[tuple[t.Any, t.Any, Exception]]:
        for token in [token for token, (_item, one) in self.running.items() if one.deadline <= now]:
            item, one = self.running.pop(token)
            one.abandon()
            self._hanging.add(token)
            yield item, None, TimedOut(f"no answer within {self._timeout:g} s")


def each(
    call: Callable[[T], R], items: Iterable[T], workers: int, timeout: float | None
) -> Iterator[tuple[T, R | None, Exception | None]]:
    """Yields (item, result, error) as the calls end; exactly one of result and error counts.

    workers: threads at once, including those of calls that hang. timeout: seconds for one call, then its error is TimedOut; None:
    no limit. When all workers hang, the remaining items wait as long again for a free one; then their error is TimedOut.
    The threads are daemons: a library call that never returns cannot keep the process from ending.
    """
    if timeout is None:
        timeout = threading.TIMEOUT_MAX
    todo = deque(items)
    calls = _Calls(call, workers, timeout)
    patience: float | None = None  # until when a free worker is waited for
    while todo or calls.running:
        while todo and calls.has_room():
            calls.begin(todo.popleft())
        now = time.monotonic()
        if calls.running:
            patience = None
        elif patience is None:
            patience = now + timeout
        elif patience <= now:
            for item in todo:
                yield item, None, TimedOut(f"not asked: {_left_behind} calls hang and no worker is left")
            return
        yield from calls.ended(patience or now)


def within(call: Callable[[], R], timeout: float) -> R:
    """The result of one call; raises TimedOut when it takes longer than timeout seconds, else what the call raises."""
    for _item, result, error in each(lambda _none: call(), [None], 1, timeout):
        if error is not None:
            raise error
        return t.cast("R", result)
    raise AssertionError("each() yields once per item")  # pragma: no cover
