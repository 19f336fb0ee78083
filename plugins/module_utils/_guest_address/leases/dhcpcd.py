# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Leases of dhcpcd: the server's reply as it came, a BOOTP packet with the client's MAC in it."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import (
    Lease,
    interface_name,
    usable,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = "dhcpcd"

_COOKIE = b"\x63\x82\x53\x63"
_OPTIONS = 240
_MAX_PACKET = 4096
_REPLY, _ETHERNET, _ACK = 2, 1, 5
_LEASE_TIME, _MESSAGE_TYPE = 51, 53
_FOREVER = 0xFFFFFFFF
# dhcpcd-eth0.lease (version 5), eth0.lease, wlan0-NETWORK.lease
_NAME = re.compile(r"(?:dhcpcd-)?([A-Za-z0-9._:@]{1,32}?)(?:-[^/]{1,128})?\.lease")


def parse(data: bytes, path: str, mtime: float) -> list[Lease]:
    """The lease of the packet, obtained when the file was written: dhcpcd writes it at each reply and at no other time."""
    if len(data) < _OPTIONS or len(data) > _MAX_PACKET or data[0] != _REPLY or data[236:240] != _COOKIE:
        return []
    address = usable(str(ipaddress.IPv4Address(data[16:20])))
    options = dict(_options(data[_OPTIONS:]))
    # BOOTP servers of old answer without a message type.
    if address is None or options.get(_MESSAGE_TYPE, b"\5")[:1] != bytes([_ACK]):
        return []
    mac = None
    if data[1] == _ETHERNET and data[2] == 6 and any(data[28:34]):
        mac = ":".join(f"{byte:02x}" for byte in data[28:34])
    name = _NAME.fullmatch(posixpath.basename(path))
    seconds = options.get(_LEASE_TIME, b"")
    expires = None
    if len(seconds) == 4 and int.from_bytes(seconds, "big") != _FOREVER:
        expires = mtime + int.from_bytes(seconds, "big")
    return [Lease(CLIENT, address, interface_name(name.group(1)) if name else None, mac, mtime, expires)]


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data) and data[position] != 255:
        if data[position] == 0:
            position += 1
            continue
        if position + 2 > len(data):
            return
        length = data[position + 1]
        yield data[position], data[position + 2 : position + 2 + length]
        position += 2 + length
