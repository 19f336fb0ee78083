# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases import dhclient
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import MAX_FILE, MAX_LEASES, Lease

PATH = "var/lib/dhcp/dhclient.eth0.leases"
# As Debian 12's dhclient 4.4.3 wrote it, at the first lease and one renewal.
DEBIAN = b"""lease {
  interface "eth0";
  fixed-address 10.99.0.57;
  option subnet-mask 255.255.255.0;
  option dhcp-lease-time 600;
  option dhcp-message-type 5;
  option dhcp-server-identifier 10.99.0.2;
  option dhcp-renewal-time 300;
  option broadcast-address 10.99.0.255;
  option dhcp-rebinding-time 525;
  option domain-name "example.test";
  renew 4 2026/11/26 17:05:30;
  rebind 4 2026/11/26 17:09:40;
  expire 4 2026/11/26 17:10:55;
}
lease {
  interface "eth0";
  fixed-address 10.99.0.58;
  option subnet-mask 255.255.255.0;
  option dhcp-lease-time 600;
  option dhcp-server-identifier 10.99.0.2;
  renew 4 2026/11/26 17:10:30;
  rebind 4 2026/11/26 17:14:40;
  expire 4 2026/11/26 17:15:55;
}
"""
# Red Hat's, with a default-duid line, and db-time-format local.
RED_HAT = b"""default-duid "\\000\\001\\000\\001\\036\\204\\235\\333RT\\000k<X";
lease {
  interface "ens3";
  fixed-address 192.0.2.10;
  filename "pxelinux.0";
  option dhcp-lease-time 3600;
  option host-name "web;1}";
  renew epoch 1795714000; # Thu Nov 26 17:26:40 2026
  rebind epoch 1795715000; # Thu Nov 26 17:43:20 2026
  expire epoch 1795715500; # Thu Nov 26 17:51:40 2026
}
"""


def utc(*words: int) -> float:
    return datetime.datetime(*words, tzinfo=datetime.UTC).timestamp()


@pytest.mark.matrix(hypervisor="any", guest="Linux with dhclient", reader="none", how="parsed only", proves=["address: disk"])
def test_the_last_block_counts_and_its_time_is_its_end_less_its_length():
    end = utc(2026, 11, 26, 17, 15, 55)
    assert dhclient.parse(DEBIAN, PATH, 1.0) == [Lease("dhclient", "10.99.0.58", "eth0", obtained=end - 600, expires=end)]


def test_epochs_and_texts_with_braces():
    assert dhclient.parse(RED_HAT, PATH, 1.0) == [
        Lease("dhclient", "192.0.2.10", "ens3", obtained=1795715500 - 3600, expires=1795715500)
    ]


def test_a_block_that_is_being_written_does_not_hide_the_one_before():
    cut = DEBIAN[: DEBIAN.rindex(b"expire")]
    assert [lease.address for lease in dhclient.parse(cut, PATH, 1.0)] == ["10.99.0.57"]


def test_an_expired_last_block_is_told_as_it_is():
    blocks = DEBIAN.replace(b"expire 4 2026/11/26 17:15:55", b"expire 4 2026/11/26 17:00:01")
    (lease,) = dhclient.parse(blocks, PATH, 1.0)
    assert (lease.address, lease.expires) == ("10.99.0.58", utc(2026, 11, 26, 17, 0, 1))


def test_each_interface_has_its_own_last_block():
    found = dhclient.parse(DEBIAN + DEBIAN.replace(b"eth0", b"eth1").replace(b"10.99.0.58", b"10.99.1.9"), PATH, 1.0)
    assert [(lease.interface, lease.address) for lease in found] == [("eth0", "10.99.0.58"), ("eth1", "10.99.1.9")]


def test_a_lease_without_end_has_the_files_time_which_proves_nothing():
    text = b'lease { interface "eth0"; fixed-address 10.0.0.5; option dhcp-lease-time 4294967295; expire never; }'
    assert dhclient.parse(text, PATH, 7.0) == [Lease("dhclient", "10.0.0.5", "eth0", obtained=7.0, proof=False)]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"lease {",
        b'lease6 { interface "eth0"; ia-na { iaaddr 2001:db8::1 { starts 1; } } }',
        b'lease { interface "eth0"; fixed-address 10.0.0.5; }',
        b"lease { fixed-address 10.0.0.5; expire 4 2026/99/26 17:15:55; }",
        b"lease { fixed-address 10.0.0.5; expire 4 9999999/11/26 17:15:55; }",
        b"lease { fixed-address 127.0.0.1; expire epoch 1795715500; }",
        b"lease { fixed-address 169.254.3.4; expire epoch 1795715500; }",
        b"lease { fixed-address 0.0.0.0; expire epoch 1795715500; }",
        b"lease { fixed-address fe80::1; expire epoch 1795715500; }",
        b"lease { fixed-address $(reboot); expire epoch 1795715500; }",
        b'lease { option domain-name "fixed-address 10.0.0.5; expire epoch 1795715500;"; }',
        b"lease { option x { fixed-address 10.0.0.5; } expire epoch 1795715500; }",
        b"fixed-address 10.0.0.5; expire epoch 1795715500;",
        b"lease { fixed-address " + b"1" * 100000 + b"; }",
        b"{" * 50000,
        b'"' * 50001,
    ],
)
def test_no_lease(text: bytes):
    assert dhclient.parse(text, PATH, 1.0) == []


def test_of_a_long_file_the_end_is_read_from_a_blocks_beginning():
    # What reads the file gives its last MAX_FILE bytes: they begin inside a quoted text.
    data = (b'  option domain-name "}" ; lease { fixed-address 10.6.6.6; expire epoch 1795715500; }"\n' + DEBIAN * 150)[
        -MAX_FILE:
    ]
    assert [lease.address for lease in dhclient.parse(data, PATH, 1.0)] == ["10.99.0.58"]


@given(st.binary(max_size=3000))
def test_nothing_a_guest_writes_raises(data: bytes):
    assert len(dhclient.parse(data, PATH, 1.0)) <= MAX_LEASES


WORDS = [
    "lease",
    "{",
    "}",
    ";",
    '"',
    "interface",
    '"eth0"',
    "fixed-address",
    "10.0.0.5",
    "expire",
    "never",
    "epoch",
    "17957",
    "\n",
    "#",
]


@given(st.lists(st.sampled_from(WORDS), max_size=80))
def test_words_in_any_order_give_good_leases_or_none(words: list[str]):
    for lease in dhclient.parse(" ".join(words).encode(), PATH, 1.0):
        assert lease.address == "10.0.0.5" and lease.interface in ("eth0", None)


@given(st.ip_addresses(v=4), st.integers(1, 86400), st.integers(10**9, 4 * 10**9))
def test_what_dhclient_writes_is_read(address: object, length: int, end: int):
    stamp = datetime.datetime.fromtimestamp(end, datetime.UTC)
    text = (
        f'lease {{\n  interface "eth0";\n  fixed-address {address};\n  option dhcp-lease-time {length};\n'
        f"  expire {stamp:%w %Y/%m/%d %H:%M:%S};\n}}\n"
    )
    for lease in dhclient.parse(text.encode(), PATH, 1.0):
        assert (lease.address, lease.expires, lease.obtained) == (str(address), end, end - length)
