# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A watcher at work, for tests with a fake hypervisor and with the rigs."""

from __future__ import annotations

import contextlib
import threading
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watch import Watcher


@contextlib.contextmanager
def at_work(watcher: Watcher, stop: threading.Event, turn: float, listen: float, end: float) -> Iterator[Watcher]:
    """The watcher in a thread of its own, which has these seconds to get its turn, to listen, and to end. stop is the watcher's."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with watcher:
                if watcher.take_turn(turn):
                    watcher.listen(listen)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield watcher
    finally:
        stop.set()
        thread.join(end)
        assert not thread.is_alive() and not errors, errors
