# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json
import shlex

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import eventlog
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import EVENT_FETCHED, EVENT_GAVE_UP, Event

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


def event(kind: str = EVENT_FETCHED, vm: str = "web1") -> Event:
    return Event(kind, NOW, "kvm01", "id1", vm, 0, "52:54:00:00:00:01", "corp", "10.0.0.1", None, "agent", id=7)


def test_one_line_of_names_and_values() -> None:
    assert eventlog.line(event()) == (
        'event=EXTERNAL.DHCP.VM.IP.FETCHED id=7 address="10.0.0.1" mac="52:54:00:00:00:01" nic=0 source="agent" vm_id="id1"'
        ' hypervisor="kvm01" vm="web1" network="corp"'
    )


def test_a_name_cannot_end_the_line_or_add_a_field() -> None:
    bad = 'web1" address="6.6.6.6"\nevent=EXTERNAL é\x1b[2J'
    line = eventlog.line(event(vm=bad))
    assert line.isascii() and line.isprintable()
    fields = dict(word.split("=", 1) for word in shlex.split(line))
    assert fields["address"] == "10.0.0.1" and fields["event"] == EVENT_FETCHED
    assert json.dumps(bad) in line
    assert len(eventlog.line(event(vm="x" * 5000))) <= eventlog.MAX_LINE


@pytest.mark.parametrize("name", ["x" * 255, "\U0001f600" * 255, "\x1b[2J" * 60])
def test_address_and_mac_stand_in_front_of_long_names(name: str) -> None:
    line = eventlog.line(event(vm=name)._replace(network=name, hypervisor_name=name))
    assert line.index("address=") < line.index("mac=") < line.index("vm=")
    assert len(line) <= eventlog.MAX_LINE
    fields = dict(word.split("=", 1) for word in shlex.split(line))  # and no field is cut in its middle
    assert (fields["address"], fields["mac"]) == ("10.0.0.1", "52:54:00:00:00:01")


def test_bad_news_is_a_warning() -> None:
    sent: list[tuple[int, str]] = []
    eventlog.write([event(), event(EVENT_GAVE_UP)], lambda level, line: sent.append((level, line)))
    assert [level for level, _line in sent] == [eventlog.syslog.LOG_NOTICE, eventlog.syslog.LOG_WARNING]


def test_without_a_system_log_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(eventlog, "syslog", None)
    eventlog.write([event()], lambda level, line: sent.append((level, line)))
    assert sent == []


def test_the_system_log_is_opened_once_under_our_name_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[object, ...]] = []
    monkeypatch.setattr(eventlog.syslog, "openlog", lambda *words: done.append(("open", *words)))
    monkeypatch.setattr(eventlog.syslog, "syslog", lambda level, line: done.append((level, line)))
    monkeypatch.setattr(eventlog.syslog, "closelog", lambda: done.append(("close",)))
    eventlog.write([])
    assert done == []
    eventlog.write([event(), event(EVENT_GAVE_UP)])
    assert [words[0] for words in done] == ["open", eventlog.syslog.LOG_NOTICE, eventlog.syslog.LOG_WARNING, "close"]
    assert done[0] == ("open", eventlog.IDENT, 0, eventlog.syslog.LOG_DAEMON)
    assert done[1] == (eventlog.syslog.LOG_NOTICE, eventlog.line(event()))


def test_a_field_that_has_no_place_is_left_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = eventlog.line(event())
    monkeypatch.setattr(eventlog, "MAX_LINE", len(whole) - 1)
    assert eventlog.line(event()) == whole.rpartition(" ")[0]
