# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Journals that systemd's own writer made, and what a guest may make of one."""

from __future__ import annotations

import io
import os
import pathlib
import struct
import subprocess
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import journal
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease

WRITER = next(
    (path for path in ("/lib/systemd/systemd-journal-remote", "/usr/lib/systemd/systemd-journal-remote") if os.path.exists(path)),
    None,
)
BOOTS = ("11" * 16, "22" * 16)
NETWORKD = "systemd-networkd.service"
TIME = 1795712400


def write(path: pathlib.Path, entries: t.Sequence[tuple[int, str, str]], compact: bool = True) -> bytes:
    """A journal of entries (boot, unit, message), a second after each other."""
    if WRITER is None:
        pytest.skip("systemd-journal-remote is not installed")
    text = ""
    for number, (boot, unit, message) in enumerate(entries):
        text += f"__REALTIME_TIMESTAMP={(TIME + number) * 1_000_000}\n__MONOTONIC_TIMESTAMP={number * 1_000_000}\n"
        text += f"_BOOT_ID={BOOTS[boot]}\n_SYSTEMD_UNIT={unit}\n_HOSTNAME=web1\nPRIORITY=6\nMESSAGE={message}\n\n"
    environment = {**os.environ, "SYSTEMD_JOURNAL_COMPACT": str(int(compact))}
    subprocess.run([WRITER, "-o", str(path), "-"], input=text.encode(), env=environment, check=True, capture_output=True)
    return path.read_bytes()


def lease(address: str, interface: str = "eth0") -> str:
    return f"{interface}: DHCPv4 address {address}/24, gateway 10.99.0.1 acquired from 10.99.0.2"


@pytest.mark.parametrize("compact", [True, False])
def test_the_last_lease_of_this_boot(tmp_path: pathlib.Path, compact: bool):
    entries = [(0, NETWORKD, lease("10.99.0.50"))]
    entries += [(1, "cron.service", f"job {number}") for number in range(50)]
    entries += [(1, NETWORKD, "eth0: Link UP"), (1, NETWORKD, lease("10.99.0.57")), (1, NETWORKD, lease("10.98.0.9", "eth1"))]
    entries += [(1, "evil.service", lease("10.6.6.6")), (1, NETWORKD, lease("10.99.0.58"))]
    entries += [(1, NETWORKD, f"eth0: something else {number}") for number in range(20)]
    found = journal.leases(io.BytesIO(write(tmp_path / "x.journal", entries, compact)))
    assert found == [
        Lease("systemd-networkd", "10.99.0.58", "eth0", obtained=TIME + 55.0),
        Lease("systemd-networkd", "10.98.0.9", "eth1", obtained=TIME + 53.0),
    ]


def test_many_entries_are_reached_from_their_end(tmp_path: pathlib.Path):
    entries = [(1, NETWORKD, f"eth0: gone {number}") for number in range(3000)] + [(1, NETWORKD, lease("10.99.0.57"))]
    data = io.BytesIO(write(tmp_path / "x.journal", entries))
    assert [found.address for found in journal.leases(data)] == ["10.99.0.57"]


def test_a_lease_of_an_earlier_boot_is_none(tmp_path: pathlib.Path):
    entries = [(0, NETWORKD, lease("10.99.0.50")), (1, NETWORKD, "eth0: Link UP")]
    assert journal.leases(io.BytesIO(write(tmp_path / "x.journal", entries))) == []
    assert journal.leases(io.BytesIO(write(tmp_path / "y.journal", [(1, "cron.service", lease("10.99.0.50"))]))) == []


def test_siphash():
    # The reference vectors of SipHash-2-4, key 00..0f, input of that length.
    key, vectors = bytes(range(16)), {0: 0x726FDB47DD0E0E31, 1: 0x74F839C593DC67FD, 7: 0xAB0200F58B01D137, 15: 0xA129CA6149BE45E5}
    for length, value in vectors.items():
        assert journal.siphash24(bytes(range(length)), key) == value


@given(st.lists(st.tuples(st.integers(0, 100_000), st.sampled_from([0, 1, 3, 6, 127, 255])), max_size=30))
def test_damage_is_told(sample: bytes, damage: list[tuple[int, int]]):
    data = bytearray(sample)
    for place, value in damage:
        data[place % len(data)] = value
    try:
        found = journal.leases(io.BytesIO(bytes(data)))
    except (journal.JournalError, struct.error):
        return
    assert all(lease.client == "systemd-networkd" for lease in found)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    entries = [(1, NETWORKD, lease(f"10.99.0.{number}")) for number in range(1, 40)]
    return write(tmp_path_factory.mktemp("journal") / "x.journal", entries)
