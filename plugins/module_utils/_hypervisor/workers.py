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


class TimedOut(Exception):
    """The call for one item took longer than its time limit and was left behind."""


def each(
    call: Callable[[T], R], items: Iterable[T], workers: int, timeout: float
) -> Iterator[tuple[T, R | None, Exception | None]]:
    """Yields (item, result, error) as the calls end; exactly one of result and error counts.

    workers: calls under way at once. timeout: seconds for one call; then TimedOut is its error.
    The threads are daemons: a library call that never returns cannot keep the process from ending.
    """
    todo = deque(items)
    running: dict[int, tuple[T, float]] = {}
    done: queue.Queue[tuple[int, R | None, Exception | None]] = queue.Queue()
    started = 0

    def work(token: int, item: T) -> None:
        try:
            done.put((token, call(item), None))
        except Exception as error:  # pylint: disable=broad-except  # whoever consumes decides what it means
            done.put((token, None, error))

    while todo or running:
        while todo and len(running) < workers:
            item = todo.popleft()
            running[started] = (item, time.monotonic() + timeout)
            threading.Thread(target=work, args=(started, item), daemon=True).start()
            started += 1
        wait = min(deadline for _item, deadline in running.values()) - time.monotonic()
        try:
            token, result, error = done.get(timeout=max(0.0, wait))
        except queue.Empty:
            now = time.monotonic()
            for token in [k for k, (_item, deadline) in running.items() if deadline <= now]:
                yield running.pop(token)[0], None, TimedOut(f"no answer within {timeout:g} s")
            continue
        if token in running:  # else it was given up before
            yield running.pop(token)[0], result, error


def within(call: Callable[[], R], timeout: float) -> R:
    """The result of one call; raises TimedOut when it takes longer than timeout seconds, else what the call raises."""
    for _item, result, error in each(lambda _none: call(), [None], 1, timeout):
        if error is not None:
            raise error
        return t.cast("R", result)
    raise AssertionError("each() yields once per item")  # pragma: no cover
