# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Several connections to one libvirtd, and many calls spread over them."""

from __future__ import annotations

import contextlib
import queue
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import close_connection

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    T = t.TypeVar("T")
    R = t.TypeVar("R")

# libvirtd serves five calls of one connection at a time, and twenty in all unless its administrator raised max_workers.
CALLS_AT_ONCE = 5
_MOST = 3
# A further connection costs a login (with ssh half a second), so it must be worth it.
_WORTH = 15


class Links:
    """The driver's connection, and further ones that are opened when there is much to do.

    A handle belongs to the connection that it came from; a call gets the connection it is to use.
    """

    def __init__(self, first: t.Any, reopen: Callable[[], t.Any]) -> None:
        self.first = first
        self._reopen = reopen
        self._more: list[t.Any] = []

    def each(
        self, call: Callable[[t.Any, T], R], items: Sequence[T], at_once: int = CALLS_AT_ONCE
    ) -> Iterator[tuple[T, R | None, Exception | None]]:
        """Yields (item, result, error) of call(connection, item) as the calls end; at_once: calls at a time per connection."""
        slots: queue.Queue[t.Any] = queue.Queue()
        connections = self._connections(len(items))
        for connection in connections * at_once:
            slots.put(connection)

        def work(item: T) -> R:
            connection = slots.get()
            try:
                return call(connection, item)
            finally:
                slots.put(connection)

        return bounded.each(work, items, len(connections) * at_once, timeout=None)

    def each_here(
        self, call: Callable[[t.Any, T], R], items: Sequence[T], at_once: int = CALLS_AT_ONCE
    ) -> Iterator[tuple[T, R | None, Exception | None]]:
        """As each(), over the first connection alone."""
        return bounded.each(lambda item: call(self.first, item), items, at_once, timeout=None)

    @contextlib.contextmanager
    def another(self) -> Iterator[t.Any]:
        """A connection for calls that take long, closed at the end."""
        connection = self._reopen()
        try:
            yield connection
        finally:
            close_connection(connection)

    def close(self) -> None:
        """Closes the further connections; the first is its owner's."""
        for connection in self._more:
            close_connection(connection)
        self._more.clear()

    def _connections(self, calls: int) -> list[t.Any]:
        wanted = min(_MOST, calls // _WORTH) - len(self._more)
        for _number, connection, error in bounded.each(lambda _n: self._reopen(), range(wanted), max(1, wanted), timeout=None):
            if error is None:
                self._more.append(connection)
            elif not isinstance(error, HypervisorError):
                raise error
            # Where libvirtd is full and refuses a connection, the work only takes longer.
        return [self.first, *self._more]
