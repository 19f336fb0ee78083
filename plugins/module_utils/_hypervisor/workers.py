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


MAX_LEFT_BEHIND = 50  # calls that hang in this process, of whatever kind; no more are begun beside so many

_left_behind = 0
_guard = threading.Lock()


class TimedOut(Exception):
    """The call for one item took longer than its time limit and was left behind, or could not begin for such calls."""


class _Call:
    """One call under way in a thread of its own, which may outlive its time limit."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._abandoned = self._ended = False

    def ended(self) -> bool:
        """Called in the thread at its end; True if nobody waits for the result any more."""
        global _left_behind
        with _guard:
            self._ended = True
            if self._abandoned:
                _left_behind -= 1
            return self._abandoned

    def abandon(self) -> None:
        global _left_behind
        with _guard:
            self._abandoned = True
            if not self._ended:
                _left_behind += 1


def each(
    call: Callable[[T], R], items: Iterable[T], workers: int, timeout: float | None
) -> Iterator[tuple[T, R | None, Exception | None]]:
    """Yields (item, result, error) as the calls end; exactly one of result and error counts.

    workers: threads at once, those of calls that hang included. timeout: seconds for one call; then TimedOut is its error; None:
    no limit.
    When all workers hang, the items that are left wait as long for one of them, and then have TimedOut as their error too.
    The threads are daemons: a library call that never returns cannot keep the process from ending.
    """
    if timeout is None:
        timeout = threading.TIMEOUT_MAX
    todo = deque(items)
    running: dict[int, tuple[T, _Call]] = {}
    hanging: set[int] = set()
    done: queue.Queue[tuple[int, R | None, Exception | None]] = queue.Queue()
    started = 0
    patience: float | None = None  # until when a free worker is waited for

    def work(token: int, item: T, one: _Call) -> None:
        result, error = None, None
        try:
            result = call(item)
        except Exception as problem:  # pylint: disable=broad-except  # whoever consumes decides what it means
            error = problem
        one.ended()
        done.put((token, result, error))

    while todo or running:
        while todo and len(running) + len(hanging) < workers and _left_behind < MAX_LEFT_BEHIND:
            item = todo.popleft()
            running[started] = (item, _Call(time.monotonic() + timeout))
            threading.Thread(target=work, args=(started, *running[started]), daemon=True).start()
            started += 1
            patience = None
        now = time.monotonic()
        if not running:
            patience = patience if patience is not None else now + timeout
            if patience <= now:
                while todo:
                    yield todo.popleft(), None, TimedOut(f"not asked: {_left_behind} calls hang and no worker is left")
                return
        until = min((one.deadline for _item, one in running.values()), default=patience or now)
        try:
            token, result, error = done.get(timeout=max(0.0, min(until - now, 1.0)))
        except queue.Empty:
            now = time.monotonic()
            for token in [k for k, (_item, one) in running.items() if one.deadline <= now]:
                item, one = running.pop(token)
                one.abandon()
                hanging.add(token)
                yield item, None, TimedOut(f"no answer within {timeout:g} s")
            continue
        hanging.discard(token)
        if token in running:  # else it was given up before
            yield running.pop(token)[0], result, error


def within(call: Callable[[], R], timeout: float) -> R:
    """The result of one call; raises TimedOut when it takes longer than timeout seconds, else what the call raises."""
    for _item, result, error in each(lambda _none: call(), [None], 1, timeout):
        if error is not None:
            raise error
        return t.cast("R", result)
    raise AssertionError("each() yields once per item")  # pragma: no cover
