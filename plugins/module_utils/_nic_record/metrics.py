# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record's health as an OpenMetrics text, for the textfile collector of a node exporter."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _whole_file
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordReadOnly
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import REASON_NOT_POLLED_YET, STATE_PENDING

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import LookNote

    Sample = tuple[dict[str, str], float]

PREFIX = "external_dhcp_"


def text(notes: Sequence[LookNote], tallies: Iterable[tuple[str, str, str | None, int]]) -> str:
    """All hypervisors of the record."""
    states: dict[tuple[str, str], float] = {}
    waiting: dict[tuple[str, str], float] = {}
    for name, state, reason, count in tallies:
        states[name, state] = states.get((name, state), 0) + count
        if state == STATE_PENDING:
            key = (name, reason or REASON_NOT_POLLED_YET)
            waiting[key] = waiting.get(key, 0) + count
    by_name: dict[str, list[Sample]] = {
        "last_look_timestamp_seconds": [(_of(note), note.looked_at.timestamp()) for note in notes],
        "last_good_look_timestamp_seconds": [(_of(note), note.good_at.timestamp()) for note in notes if note.good_at],
        "look_duration_seconds": [(_of(note), note.seconds) for note in notes],
        "look_interval_seconds": [(_of(note), note.interval_seconds) for note in notes],
        "look_failed": [(_of(note), float(note.problem is not None)) for note in notes],
        "vms": [(_of(note), float(note.vms)) for note in notes if note.vms is not None],
        "nics": [({"hypervisor": name, "state": state}, count) for (name, state), count in sorted(states.items())],
        "nics_waiting": [({"hypervisor": name, "reason": why}, count) for (name, why), count in sorted(waiting.items())],
    }
    help_ = {
        "last_look_timestamp_seconds": "When the hypervisor was last looked at",
        "last_good_look_timestamp_seconds": "When it was last looked at without a problem",
        "look_duration_seconds": "How long the last look took",
        "look_interval_seconds": "How often it is to be looked at",
        "look_failed": "Whether the last look had a problem",
        "vms": "VMs on the hypervisor at the last look",
        "nics": "NICs in the record by state",
        "nics_waiting": "NICs whose address is waited for, by reason",
    }
    lines = []
    for name, samples in by_name.items():
        lines += [f"# HELP {PREFIX}{name} {help_[name]}", f"# TYPE {PREFIX}{name} gauge"]
        lines += [f"{PREFIX}{name}{{{_labels(labels)}}} {value:.10g}" for labels, value in samples]
    return "\n".join([*lines, "# EOF", ""])


def write(path: str, content: str) -> None:
    """Replaces the file in one step, readable for all. Raises RecordReadOnly."""
    try:
        _whole_file.write(path, content.encode(), 0o644)
    except OSError as error:
        raise RecordReadOnly(f"metrics_file is {path}: it cannot be written: {error.strerror or error}") from None


def _of(note: LookNote) -> dict[str, str]:
    return {"hypervisor": note.name}


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
