# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A driver's answers as they come, in lists of all that are there."""

from __future__ import annotations

import queue as queues
import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError

if t.TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Observation

# Answers stored in one transaction at most. Only answers that are already there are taken together: none waits for another.
BATCH = 500


class _End:
    """The last thing the driver's thread hands over: how its iterator ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def as_they_arrive(answers: Iterable[Observation]) -> Generator[list[Observation], None, None]:
    """The observations in lists of all that are there: one is never kept back while the next guest is slow."""
    box: queues.Queue[Observation | _End] = queues.Queue(maxsize=2 * BATCH)
    stopped = threading.Event()

    def put(item: Observation | _End) -> None:
        while not stopped.is_set():
            try:
                box.put(item, timeout=0.2)
                return
            except queues.Full:
                continue

    def pump() -> None:
        try:
            for answer in answers:
                put(answer)
                if stopped.is_set():
                    return
        except BaseException as error:
            put(_End(error))
        else:
            put(_End(None))

    thread = threading.Thread(target=pump, name="addresses", daemon=True)
    thread.start()
    try:
        while True:
            batch: list[Observation] = []
            end = None
            item = box.get()
            while True:
                if isinstance(item, _End):
                    end = item
                    break
                batch.append(item)
                if len(batch) >= BATCH:
                    break
                try:
                    item = box.get_nowait()
                except queues.Empty:
                    break
            if batch:
                yield batch
            if end is not None:
                if end.error is None:
                    return
                if isinstance(end.error, HypervisorError):
                    raise end.error
                raise HypervisorError(f"the driver failed: {type(end.error).__name__}: {end.error}") from end.error
    finally:
        stopped.set()
        thread.join(timeout=5)
