# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Events in the system's log: one line each, as name=value pairs that log readers take apart."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import EVENT_GAVE_UP, EVENT_LOST

try:
    import syslog
except ImportError:  # a Python built without it
    syslog = None  # type: ignore[assignment]

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import Event

IDENT = "vmops.external_dhcp"
MAX_LINE = 900  # RFC 3164 receivers cut at 1024
# What a log is searched for comes first; names, which others choose and may fill the line with, come last.
_FIELDS = (
    ("address", "address"),
    ("previous", "previous_address"),
    ("mac", "mac"),
    ("nic", "device"),
    ("source", "source"),
    ("reason", "reason"),
    ("vm_id", "vm_id"),
    ("hypervisor", "hypervisor_name"),
    ("vm", "vm_name"),
    ("network", "network"),
)
MAX_FIELD = 150  # characters of one name, as it is written


def line(event: Event) -> str:
    """The event as one line of ASCII; a name chosen by a tenant cannot end it or add a field to it."""
    words = [f"event={event.type}", f"id={event.id}"]
    for name, attribute in _FIELDS:
        value = getattr(event, attribute)
        if value is not None:
            words.append(f"{name}={_written(value)}")
    # Whole fields or none: half a field would be read as something else.
    text = ""
    for word in words:
        if len(text) + len(word) + 1 > MAX_LINE:
            break
        text += (" " if text else "") + word
    return text


def _written(value: str | int) -> str:
    """As ASCII; a long name is cut before it is escaped, so that no escape is cut in its middle."""
    text = json.dumps(value)
    while isinstance(value, str) and len(text) > MAX_FIELD:
        value = value[: len(value) * MAX_FIELD // len(text)].rstrip("~")[:-1]
        text = json.dumps(value + "~")
    return text


def write(events: Iterable[Event], emit: Callable[[int, str], t.Any] | None = None) -> None:
    """Logs the events. Without a system log nothing happens: the C library drops what nobody reads."""
    if syslog is None:
        return
    opened = False
    for event in events:
        if emit is None and not opened:
            syslog.openlog(IDENT, 0, syslog.LOG_DAEMON)
            opened = True
        bad = event.type in (EVENT_GAVE_UP, EVENT_LOST)
        (emit or syslog.syslog)(syslog.LOG_WARNING if bad else syslog.LOG_NOTICE, line(event))
    if opened:
        syslog.closelog()
