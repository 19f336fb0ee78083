# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest's files are taken for what they say only where they have the expected form."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis import guest
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import GuestFacts

ID = b"0123456789abcdef0123456789abcdef\n"
DIGEST = b"0123456789abcdef" * 4
NOTHING: dict[str, bytes | None] = dict.fromkeys(guest.FILES)


def result(datasource: t.Any) -> bytes:
    return json.dumps({"v1": {"datasource": datasource, "errors": []}}).encode()


@pytest.mark.parametrize(
    ("files", "facts"),
    [
        ({guest.DRIVE_SEEN: b""}, GuestFacts(seen=True)),
        ({guest.DRIVE_SEEN: b"0 i-1\n"}, GuestFacts(seen=True, failed=False, instance="i-1")),
        ({guest.DRIVE_SEEN: b"1 -\n"}, GuestFacts(seen=True, failed=True)),
        ({guest.DRIVE_SEEN: b"0 i-1 " + DIGEST + b"\n"}, GuestFacts(seen=True, failed=False, instance="i-1")),
        ({guest.DRIVE_SEEN: b"0 i-1 ABC\n"}, GuestFacts(seen=True)),
        ({guest.DRIVE_SEEN: b"0 \x1b]0;x\x07"}, GuestFacts(seen=True)),
        ({guest.DRIVE_SEEN: b"0 " + b"i" * 200}, GuestFacts(seen=True)),
        ({guest.MACHINE_ID: ID, guest.SCRIPTS: b"#!/bin/sh"}, GuestFacts(installed=True)),
        (
            {guest.MACHINE_ID: ID, guest.CLOUD_INIT: result("DataSourceConfigDrive [net,ver=2][source=/dev/sr0]")},
            GuestFacts(datasource="ConfigDrive"),
        ),
        ({guest.MACHINE_ID: ID, guest.CLOUD_INIT: result("DataSource\x1b[2J")}, GuestFacts()),
        ({guest.MACHINE_ID: ID, guest.CLOUD_INIT: result(None)}, GuestFacts()),
        ({guest.MACHINE_ID: ID, guest.CLOUD_INIT: b"[" * 8000}, GuestFacts()),
        ({guest.MACHINE_ID: ID, guest.CLOUD_INIT: b"[]"}, GuestFacts()),
        ({guest.CLOUD_INIT: b"\xff"}, None),
    ],
)
def test_files_of_a_guest(files: dict[str, bytes], facts: GuestFacts | None) -> None:
    assert guest.guest_facts({**NOTHING, **files}) == facts


def test_a_guest_that_refuses_one_file_says_nothing() -> None:
    assert guest.guest_facts({}) is None
    assert guest.guest_facts({guest.MACHINE_ID: ID, guest.DRIVE_SEEN: b""}) is None


def test_a_mark_that_the_tools_brought_is_enough() -> None:
    brought = {guest.DRIVE_SEEN: b"1 i-1 " + DIGEST}
    assert guest.guest_facts(brought) == GuestFacts(installed=True, seen=True, failed=True, instance="i-1")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b"0 i-1 " + DIGEST, None),
        (b"0 - " + DIGEST + b"\n", None),
        (b"1 i-1 " + DIGEST, "could not set all"),
        (b"0 i-1 " + DIGEST[::-1], "has not said that it has set the password of this drive"),
        (b"0 i-1 -", "has not said that it has set the password of this drive"),  # told to set none
        (b"0 i-1\n", "has not said that it has set the password of this drive"),  # scripts of before
        (b"0 i-1 " + DIGEST + b" more", "not said that it read"),
        (b"\x00" * 9000, "not said that it read"),
        (None, "not said that it read"),
    ],
)
def test_only_a_mark_of_this_very_drive_confirms_its_password(told: bytes | None, words: str | None) -> None:
    mark = guest.drive_seen(told)
    reason = guest.why_unconfirmed(mark, {DIGEST.decode()}, booted=False)
    assert reason is None if words is None else words in str(reason)
    # A start is believed only of a guest that says nothing itself.
    assert (guest.why_unconfirmed(mark, {DIGEST.decode()}, booted=True) is None) == (words in (None, "not said that it read"))
    assert guest.why_unconfirmed(mark, (), booted=False) is not None
