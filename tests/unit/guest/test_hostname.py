# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""cloud-set-vm-hostname.sh and DEBUG=yes."""

from __future__ import annotations

import typing as t

import pytest

from .conftest import LINUX, ssh_key

if t.TYPE_CHECKING:
    from .conftest import Guest


def named(guest: Guest, name: bytes) -> int:
    guest.drive(**{"local-hostname": name})
    return guest.run("cloud-set-vm-hostname.sh").status


def has_name(guest: Guest) -> str | None:
    path = guest.base / "hostname"
    return path.read_text() if path.exists() else None


@pytest.mark.parametrize(
    ("given", "name"), [(b"web1", "web1"), (b"web1\r\n", "web1"), (b"Web-1.corp.example.com", "Web-1"), (b"a" * 63, "a" * 63)]
)
def test_the_name_is_set(guest: Guest, given: bytes, name: str) -> None:
    kernel = guest.base / "proc/sys/kernel/hostname"
    kernel.parent.mkdir(parents=True)
    assert named(guest, given) == 0
    assert (has_name(guest), kernel.read_text()) == (f"{name}\n", f"{name}\n")
    assert (guest.base / "hostname").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in guest.base.glob("hostname.*")] == []


@pytest.mark.parametrize(
    "given",
    [b"-x", b"x-", b"a b", b"a\nb", b"$(reboot)", b"a/b", b"..", b".a", b"a..b", b"a_b", b"\xc3\xa4", b"12", b"localhost"]
    + [b"localhost.localdomain", b"a" * 64, b"a" * 63 + b"." + b"b" * 200],
)
def test_what_is_no_host_name_changes_nothing(guest: Guest, given: bytes) -> None:
    (guest.base / "hostname").write_text("golden\n")
    assert named(guest, given) == 1
    assert has_name(guest) == "golden\n"
    assert "not set" in guest.log


def test_once_per_new_name(guest: Guest) -> None:
    assert named(guest, b"web1") == 0
    (guest.base / "hostname").write_text("mine\n")  # the owner's own choice
    assert named(guest, b"web1") == 0
    assert has_name(guest) == "mine\n"
    assert named(guest, b"web2") == 0
    assert has_name(guest) == "web2\n"


def test_nothing_to_set(guest: Guest) -> None:
    assert guest.run("cloud-set-vm-hostname.sh").status == 0  # no drive
    guest.drive()
    assert guest.run("cloud-set-vm-hostname.sh").status == 0
    assert named(guest, b"") == 0
    guest.settings += "SET_HOSTNAME=no\n"
    assert named(guest, b"web1") == 0
    assert has_name(guest) is None


def test_the_starter_sets_it(guest: Guest) -> None:
    guest.drive(**{"local-hostname": b"web1"})
    assert guest.boot("login").status == 0
    assert has_name(guest) == "web1\n"
    unit = (LINUX / "config-drive.service").read_text()
    assert "Before=network-pre.target" in unit


def test_debug_traces_without_secrets(guest: Guest) -> None:
    secret, key = b"Tr4ce-me-not", ssh_key(7)
    guest.drive(password=secret, keys=key.encode(), user_data=b"#!/bin/sh\n# hush-hush\n", **{"local-hostname": b"web1"})
    assert guest.boot("login").status == 0
    quiet = len(guest.calls("logger"))
    guest.settings += "DEBUG=yes\n"
    assert guest.boot("all").status == 0
    assert len(guest.calls("logger")) > quiet + 5
    for word in (
        "looking for the labels config",
        "sr1 mounted as iso9660",
        "cloudstack/password/vm_password.txt is on the drive",
    ):
        assert word in guest.log
    assert f"password has {len(secret)} bytes" in guest.log
    for word in (secret.decode(), key.split()[1], "hush-hush"):
        assert word not in guest.log
