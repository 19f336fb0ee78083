# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
import struct
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases import (
    clients,
    dhcpcd,
    keyvalue,
    logs,
    wicked,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease, usable

MAC = "52:54:00:6b:3c:58"


def packet(
    address: str = "10.99.0.57",
    seconds: int | None = 600,
    kind: int | None = 5,
    hlen: int = 6,
    mac: bytes = bytes.fromhex("5254006b3c58"),
) -> bytes:
    """A server's reply, as dhcpcd 9 and 10 keep it."""
    head = struct.pack(
        ">4BIHH4s4s4s4s16s64s128s",
        *(2, 1, hlen, 0, 0x1234, 0, 0, b"\0" * 4, ipaddress.IPv4Address(address).packed, bytes([10, 99, 0, 2]), b"\0" * 4),
        *(mac.ljust(16, b"\0"), b"", b""),
    )
    options = b"\0" + (bytes([53, 1, kind]) if kind is not None else b"") + bytes([54, 4, 10, 99, 0, 2])
    options += struct.pack(">BBI", 51, 4, seconds) if seconds is not None else b""
    return head + b"\x63\x82\x53\x63" + options + bytes([1, 4, 255, 255, 255, 0, 255])


@pytest.mark.parametrize(
    ("name", "interface"),
    [("eth0.lease", "eth0"), ("dhcpcd-eth0.lease", "eth0"), ("wlan0-Some Network.lease", "wlan0"), ("eth0.lease6", None)],
)
@pytest.mark.matrix(hypervisor="any", guest="Linux with dhcpcd", reader="none", how="parsed only", proves=["address: disk"])
def test_dhcpcd(name: str, interface: str | None):
    found = dhcpcd.parse(packet(), f"var/lib/dhcpcd/{name}", 1000.0)
    assert found == [Lease("dhcpcd", "10.99.0.57", interface, MAC, 1000.0, 1600.0)]


def test_dhcpcd_forever_bootp_and_hardware_of_another_length():
    assert dhcpcd.parse(packet(seconds=0xFFFFFFFF), "eth0.lease", 1.0)[0].expires is None
    assert dhcpcd.parse(packet(kind=None, seconds=None), "eth0.lease", 1.0)[0].expires is None
    assert dhcpcd.parse(packet(hlen=255), "eth0.lease", 1.0)[0].mac is None
    assert dhcpcd.parse(packet(mac=b""), "eth0.lease", 1.0)[0].mac is None


@pytest.mark.parametrize(
    "data",
    [b"", packet()[:239], packet(kind=6), packet("0.0.0.0"), packet("127.0.0.1"), b"\1" + packet()[1:], packet() + b"x" * 5000],
)
def test_dhcpcd_no_lease(data: bytes):
    assert dhcpcd.parse(data, "eth0.lease", 1.0) == []


UUID = "f0f3bc8e-6a77-3c4c-9d2d-5e3b1f8a9c77"


@pytest.mark.matrix(
    hypervisor="any", guest="Linux with NetworkManager", reader="none", how="parsed only", proves=["address: disk"]
)
def test_network_manager():
    text = b"# This is private data. Do not parse.\nADDRESS=10.99.0.57\n"
    assert keyvalue.parse_network_manager(text, f"var/lib/NetworkManager/internal-{UUID}-ens3.lease", 5.0) == [
        Lease("NetworkManager", "10.99.0.57", "ens3", obtained=5.0)
    ]
    old = b"ADDRESS=10.99.0.57\nNETMASK=255.255.255.0\nROUTER=10.99.0.1\nSERVER_ADDRESS=10.99.0.2\nLIFETIME=600\n"
    assert keyvalue.parse_network_manager(old, f"internal-{UUID}-wlp2s0.lease", 5.0)[0].expires == 605.0
    assert keyvalue.parse_network_manager(text, f"internal6-{UUID}-ens3.lease", 5.0) == []
    assert keyvalue.parse_network_manager(b"ADDRESS=\n", f"internal-{UUID}-ens3.lease", 5.0) == []


@pytest.mark.matrix(hypervisor="any", guest="Linux with ConnMan", reader="none", how="parsed only", proves=["address: disk"])
def test_connman():
    text = b"[ethernet_5254006b3c58_cable]\nName=Wired\nModified=2026-11-26T16:50:00Z\nIPv4.method=dhcp\nIPv4.DHCP.LastAddress=10.9.0.7\n"
    path = "var/lib/connman/ethernet_5254006b3c58_cable/settings"
    assert keyvalue.parse_connman(text, path, 5.0) == [Lease("connman", "10.9.0.7", mac=MAC, obtained=5.0, proof=False)]
    assert keyvalue.parse_connman(text.replace(b"method=dhcp", b"method=manual"), path, 5.0) == []
    assert keyvalue.parse_connman(text, "var/lib/connman/settings", 5.0) == []


# As SUSE Linux Enterprise 15 writes it: the prefix is bound to nothing.
WICKED = b"""<lease>
  <type>dhcp</type>
  <family>ipv4</family>
  <owner>wicked</owner>
  <uuid>1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10</uuid>
  <state>granted</state>
  <acquired>1795712400</acquired>
  <update>0x0000000f</update>
  <ipv4:dhcp>
    <client-id>ff:00:6b:3c:58:00:01</client-id>
    <server-id>10.99.0.2</server-id>
    <sender-hw-address>de:ad:be:ef:00:01</sender-hw-address>
    <address>10.99.0.57</address>
    <lease-time>600</lease-time>
    <netmask>255.255.255.0</netmask>
  </ipv4:dhcp>
</lease>
"""


@pytest.mark.matrix(hypervisor="any", guest="Linux with wicked", reader="none", how="parsed only", proves=["address: disk"])
def test_wicked():
    path = "var/lib/wicked/lease-eth0-dhcp-ipv4.xml"
    assert wicked.parse(WICKED, path, 5.0) == [Lease("wicked", "10.99.0.57", "eth0", obtained=1795712400.0, expires=1795713000.0)]
    assert wicked.parse(WICKED.replace(b"granted", b"released"), path, 5.0) == []
    assert wicked.parse(WICKED.replace(b"1795712400", b"x"), path, 5.0)[0].proof is False
    assert wicked.parse(WICKED, "var/lib/wicked/duid.xml", 5.0) == []


@pytest.mark.parametrize(
    "text",
    [
        b"<!DOCTYPE lease [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]>" + WICKED.replace(b"granted", b"&b;"),
        b"<!DOCTYPE lease SYSTEM 'file:///etc/shadow'>" + WICKED,
        b"<a>" * 5000,
        WICKED[:300],
        b"\xff\xfe" + WICKED,
        b"<?xml version='1.0' encoding='no-such'?>" + WICKED,
    ],
)
def test_wicked_refuses(text: bytes):
    assert wicked.parse(text, "lease-eth0-dhcp-ipv4.xml", 5.0) == []


SYSLOG = b"""2026-11-26T16:53:41.123456+00:00 web1 systemd[1]: Started systemd-networkd.service - Network Configuration.
2026-11-26T16:53:42.500000+00:00 web1 systemd-networkd[412]: eth0: DHCPv4 address 10.99.0.57/24, gateway 10.99.0.1 acquired from 10.99.0.2
2026-11-26T18:53:43+02:00 web1 systemd-networkd[412]: eth1: DHCPv4 address 10.98.0.9/24 via 10.98.0.2
2026-11-26T16:53:44.000000+00:00 web1 evil[9]: eth0: DHCPv4 address 10.6.6.6/24, gateway 10.6.6.1 acquired from 10.6.6.2
Nov 26 16:53:45 web1 systemd-networkd[412]: eth2: DHCPv4 address 10.97.0.9/24 via 10.97.0.2
"""


@pytest.mark.matrix(
    hypervisor="any", guest="Linux with systemd-networkd", reader="none", how="parsed only", proves=["address: disk"]
)
def test_networkd_in_the_log():
    found = logs.parse_syslog(SYSLOG, "var/log/syslog", 5.0)
    assert [(lease.client, lease.address, lease.interface) for lease in found] == [
        ("systemd-networkd", "10.99.0.57", "eth0"),
        ("systemd-networkd", "10.98.0.9", "eth1"),
    ]
    assert found[0].obtained == 1795712022.5 and found[1].obtained == 1795712023.0


CLOUD_INIT = b"""Cloud-init v. 22.4.2 running 'init-local' at Wed, 25 Nov 2026 10:00:00 +0000. Up 9.66 seconds.
Cloud-init v. 22.4.2 running 'init' at Wed, 25 Nov 2026 10:00:02 +0000. Up 11.50 seconds.
ci-info: +++++++++++++++++++++++++++++++++++++++Net device info+++++++++++++++++++++++++++++++++++++++
ci-info: |  eth0  | True |         10.99.0.50          | 255.255.255.0 | global | 52:54:00:6b:3c:58 |
Cloud-init v. 22.4.2 running 'init' at Thu, 26 Nov 2026 16:53:41 +0000. Up 11.50 seconds.
ci-info: +--------+------+-----------------------------+---------------+--------+-------------------+
ci-info: | Device |  Up  |           Address           |      Mask     | Scope  |     Hw-Address    |
ci-info: +--------+------+-----------------------------+---------------+--------+-------------------+
ci-info: |  eth0  | True |         10.99.0.57          | 255.255.255.0 | global | 52:54:00:6b:3c:58 |
ci-info: |  eth0  | True | fe80::5054:ff:fe6b:3c58/64  |       .       |  link  | 52:54:00:6b:3c:58 |
ci-info: |  eth1  | False |         10.98.0.57         | 255.255.255.0 | global | 52:54:00:6b:3c:59 |
ci-info: |   lo   | True |          127.0.0.1          |   255.0.0.0   |  host  |         .         |
"""


def test_cloud_init():
    assert logs.parse_cloud_init(CLOUD_INIT, "var/log/cloud-init-output.log", 5.0) == [
        Lease("cloud-init", "10.99.0.57", "eth0", MAC, 1795712021.0)
    ]
    assert logs.parse_cloud_init(CLOUD_INIT.replace(b"Thu, 26 Nov 2026 16:53:41", b"Thu, 99 Nov 2026 16:53:41"), "", 5.0) == []


@pytest.mark.parametrize("place", [*clients.PLACES, *clients.LOG_PLACES], ids=lambda place: place.pattern.pattern[:20])
def test_nothing_a_guest_writes_raises(place: clients.Place):
    names = st.sampled_from(
        ["eth0.lease", f"internal-{UUID}-e\n.lease", "lease-x-dhcp-ipv4.xml", "ethernet_5254006b3c58_cable/settings"]
    )
    samples = [packet(), WICKED, SYSLOG, CLOUD_INIT, b"ADDRESS=10.0.0.1\n"]

    @given(st.one_of(st.binary(max_size=600), st.tuples(st.sampled_from(samples), st.lists(st.integers(0, 255)))), names)
    def check(data: t.Any, name: str):
        if isinstance(data, tuple):
            sample, damage = bytearray(data[0]), data[1]
            for position, byte in enumerate(damage):
                sample[(position * 7919 + byte) % len(sample)] = byte
            data = bytes(sample)
        for lease in place.parse(data, f"{place.folder}/{name}", 5.0):
            assert usable(lease.address) == lease.address
            assert lease.interface is None or lease.interface.isprintable()

    check()
