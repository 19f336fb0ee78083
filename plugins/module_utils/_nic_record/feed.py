# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.


"""The events of the record as they come, for event sources: once each, from where the last one stopped.

Also how an event is handed to the rulebook engine, and when it counts as delivered.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import typing as t
from pathlib import Path

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _whole_file
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import EVENT_TYPES
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import event_result
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

BATCH = 500
TAKEN_SECONDS = 0.02  # between two looks whether the engine has taken an event
FEEDBACK_SECONDS = 60.0  # without the engine's confirmation of an event, after which it is delivered again

logger = logging.getLogger("vmops.external_dhcp.events")


class ArgumentError(ValueError):
    """An argument of the source that cannot be used."""


def database_of(args: dict[str, t.Any]) -> Database:
    """The record that a source's argument or the environment names; an engine knows nothing of a module's fallbacks."""
    return Database(args.get("record") or os.environ.get("EXTERNAL_DHCP_RECORD"))


class EventFeed:
    """The events after the last one delivered. Blocking: the source calls it in a thread."""

    def __init__(self, args: dict[str, t.Any]) -> None:
        self.types = words(args, "types")
        self.hypervisors = words(args, "hypervisor_name")
        unknown = sorted(set(self.types or ()) - set(EVENT_TYPES))
        if unknown:
            raise ArgumentError(f"types has {unknown[0]!r}: use {', '.join(EVENT_TYPES)}")
        self.start = args.get("start") or "now"
        if self.start not in ("now", "beginning"):
            raise ArgumentError(f"start is {self.start!r}: use now or beginning")
        self.cursor_file = Path(args["cursor_file"]) if args.get("cursor_file") else None
        self.store = RecordStore(database_of(args))
        self.cursor: int | None = None
        self.record_id: str | None = None  # of the record that the cursor counts in
        self.at: datetime.datetime | None = None  # time of the last event delivered
        self._times: dict[int, datetime.datetime] = {}
        self._checked = False
        self._load_cursor()

    def next_events(self) -> list[dict[str, t.Any]]:
        """At most BATCH events, the oldest first. Raises RecordError."""
        if not self.store.database.exists():
            if self.cursor is None:
                self._keep(0)  # whatever it holds once it is there is new
            return []
        self._same_record()
        if self.cursor is None:
            # Kept at once: what comes while the source is down must not be taken for what was there before it.
            self._keep(self.store.last_event_id() if self.start == "now" else 0)
        found = self.store.events(after=self.cursor, types=self.types, hypervisor_names=self.hypervisors, limit=BATCH)
        self._times = {t.cast(int, event.id): event.at for event in found}
        return [{key: harmless(value) for key, value in event_result(event).items()} for event in found]

    def delivered(self, event_id: int) -> None:
        """Remembers the event, so that it does not come again."""
        self.at = self._times.get(event_id, self.at)
        self._keep(event_id)

    def _same_record(self) -> None:
        """Events below the cursor would never come: of a record that was made anew, or was restored from a copy."""
        record_id = self.store.record_id()
        if self.cursor is None:
            self.record_id = record_id
            return
        if self.record_id is not None and record_id != self.record_id:
            logger.warning("%s was made anew: all its events are delivered", self.store.database.where)
            self.record_id, self.at = record_id, None
            self._keep(0)
        elif self._went_back():
            self.record_id = record_id
            logger.warning(
                "%s was restored from a copy older than event %d: events written since %s are delivered",
                self.store.database.where, self.cursor, self.at or "now",
            )  # fmt: skip
            last = self.store.last_event_id()
            self._keep(last if self.at is None else self.store.last_event_until(self.at))
        elif self.record_id is None:
            self.record_id = record_id
        self._checked = True

    def _went_back(self) -> bool:
        if self.store.last_event_id() < t.cast(int, self.cursor):
            return True
        if self._checked or self.at is None:
            return False
        # Events may have come since, so that their number tells nothing: is the last one delivered still the same?
        same = self.store.events(after=t.cast(int, self.cursor) - 1, limit=1)
        return bool(same) and same[0].id == self.cursor and same[0].at != self.at

    def _keep(self, event_id: int) -> None:
        self.cursor = event_id
        if self.cursor_file is None:
            return
        words = [str(event_id), self.record_id or "-", self.at.isoformat() if self.at else "-"]
        _whole_file.write(str(self.cursor_file), (" ".join(words) + "\n").encode(), 0o600)

    def close(self) -> None:
        self.store.database.close()

    def _load_cursor(self) -> None:
        """Number of the last event delivered, the record's own id and the event's time; the number alone is enough."""
        if self.cursor_file is None:
            return
        if not self.cursor_file.parent.is_dir():
            raise ArgumentError(f"cursor_file is {self.cursor_file}: its folder does not exist")
        try:
            words = self.cursor_file.read_text().split()
        except FileNotFoundError:
            return
        words += ["-"] * (3 - len(words))
        try:
            self.cursor = int(words[0])
            self.record_id = None if words[1] == "-" else words[1]
            self.at = None if words[2] == "-" else datetime.datetime.fromisoformat(words[2])
        except ValueError:
            raise ArgumentError(f"cursor_file {self.cursor_file} does not hold the number of an event: remove it") from None


class Delivery:
    """Hands events to the rulebook engine. Until delivered() is called by it an event comes again after a restart.

    With the engine's feedback (feedback: true, and --persistence-id) an event is delivered when the engine says so: it has been put
    through the rules, and what they have to do is in the engine's own store. Without it, when the engine has taken the event out of its
    queue, which it does to put it through the rules at once: actions that have not begun are in its memory only.
    """

    def __init__(self, queue: t.Any, feedback: t.Any = None) -> None:
        self._queue = queue
        self._inner = getattr(queue, "queue", queue)  # the engine wraps its queue to filter events
        self._feedback = feedback

    async def deliver(self, event: dict[str, t.Any]) -> None:
        """Returns when the event is delivered."""
        if self._feedback is None:
            await self._queue.put(event)
            empty = getattr(self._inner, "empty", None)
            while empty is not None and not empty():
                await asyncio.sleep(TAKEN_SECONDS)
            return
        while not self._feedback.empty():
            self._feedback.get_nowait()  # late confirmations of events that were delivered again
        while True:
            await self._queue.put(dict(event))
            try:
                while (await asyncio.wait_for(self._feedback.get(), FEEDBACK_SECONDS)).get("id") != event["id"]:
                    pass
                return
            except asyncio.TimeoutError:
                logger.warning("the rulebook engine has not confirmed event %s: it is delivered again", event["id"])


def words(args: dict[str, t.Any], name: str) -> list[str] | None:
    value = args.get(name)
    if value is None:
        return None
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ArgumentError(f"{name} must be a list of texts")
    return words


def harmless(value: t.Any) -> t.Any:
    return value.replace("{", "?").replace("}", "?") if isinstance(value, str) else value
