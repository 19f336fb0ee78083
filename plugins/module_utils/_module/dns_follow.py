# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""DNS follows the record's events while a module looks: in a thread, so that no lock is held while a DNS server is waited for."""

from __future__ import annotations

import dataclasses
import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import DnsError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.dns_sync import Request, sync
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordError

if t.TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.names import Rules
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import Event
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

MAX_PROBLEMS = 5


class Follower:
    """Called with events; its thread then brings the names of their VMs up to date on each server.

    open_store: makes a store for the thread alone. changes: number of changed names. problems: sentences. A VM whose names could
    not be changed is tried again with the next event.
    """

    def __init__(self, open_store: Callable[[], RecordStore], targets: Sequence[tuple[Rules, Request]]) -> None:
        self.changes = 0
        self.problems: list[str] = []
        self._open_store = open_store
        self._targets = targets
        self._vms: set[str] = set()
        self._news = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def __call__(self, events: Sequence[Event]) -> None:
        with self._news:
            self._vms |= {event.vm_id for event in events}
            self._news.notify()

    def close(self) -> None:
        """Waits until all is done, and ends the thread."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()

    def _follow(self) -> None:
        failed: set[str] = set()
        while True:
            with self._news:
                self._news.wait_for(lambda: self._vms or self._closing)
                vms, self._vms = self._vms, set()
                if not vms and self._closing:
                    return
            vms |= failed
            failed = set() if self._bring(sorted(vms)) else vms

    def _bring(self, vms: Sequence[str]) -> bool:
        good = True
        for rules, request in self._targets:
            problem = None
            store = None
            try:
                store = self._open_store()
                outcome = sync(store, rules, dataclasses.replace(request, vms=vms))
                self.changes += len(outcome.steps)
                problem = outcome.problem
            except (DnsError, RecordError) as error:
                problem = str(error)
            finally:
                if store is not None:
                    store.database.close()
            if problem is not None:
                good = False
                if problem not in self.problems and len(self.problems) < MAX_PROBLEMS:
                    self.problems.append(problem)
        return good
