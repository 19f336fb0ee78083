# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A driver's answers in batches, as they arrive."""

from __future__ import annotations

import queue as queues
import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError

if t.TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Observation

# Answers in one batch at most, which is stored in one transaction. None waits for another: a batch has those that are there.
BATCH = 500


class _End:
    """The last item of the driver's thread: how its iterator ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Pump:
    """A thread that takes the driver's answers from its iterator, and holds those that were not fetched yet."""

    def __init__(self, answers: Iterable[Observation]) -> None:
        self._answers = answers
        self._box: queues.Queue[Observation | _End] = queues.Queue(maxsize=2 * BATCH)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="addresses", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for answer in self._answers:
                self._put(answer)
                if self._stopped.is_set():
                    return
        except BaseException as error:
            self._put(_End(error))
        else:
            self._put(_End(None))

    def _put(self, item: Observation | _End) -> None:
        while not self._stopped.is_set():
            try:
                self._box.put(item, timeout=0.2)
                return
            except queues.Full:
                continue

    def fetch(self) -> tuple[list[Observation], _End | None]:
        """Waits for an answer, and returns all that are there; and the end, if it has come."""
        batch: list[Observation] = []
        item = self._box.get()
        while not isinstance(item, _End):
            batch.append(item)
            if len(batch) >= BATCH:
                return batch, None
            try:
                item = self._box.get_nowait()
            except queues.Empty:
                return batch, None
        return batch, item

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)


def as_they_arrive(answers: Iterable[Observation]) -> Generator[list[Observation], None, None]:
    """The observations in batches; none is kept back while the next guest is slow. Raises HypervisorError, MissingLibrary."""
    pump = _Pump(answers)
    try:
        end = None
        while end is None:
            batch, end = pump.fetch()
            if batch:
                yield batch
    finally:
        pump.stop()
    if end.error is None:
        return
    if isinstance(end.error, (HypervisorError, MissingLibrary)):
        raise end.error
    raise HypervisorError(f"the driver failed: {type(end.error).__name__}: {end.error}") from end.error
