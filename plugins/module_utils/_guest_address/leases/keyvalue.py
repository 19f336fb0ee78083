# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Leases of clients that write KEY=VALUE lines: NetworkManager's own client and connman."""

from __future__ import annotations

import posixpath
import re

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import (
    Lease,
    interface_name,
    moment,
    text_of,
    usable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac

NETWORK_MANAGER = "NetworkManager"
CONNMAN = "connman"

# The UUID is the connection profile's.
_INTERNAL = re.compile(r"internal-[0-9a-fA-F-]{36}-(.{1,32})\.lease", re.DOTALL)
_ETHERNET = re.compile(r"ethernet_([0-9a-f]{12})_cable")


def parse_network_manager(data: bytes, path: str, mtime: float) -> list[Lease]:
    """internal-UUID-IFACE.lease; written at each reply, without an expiry except by old versions (LIFETIME)."""
    values = _values(text_of(data))
    name = _INTERNAL.fullmatch(posixpath.basename(path))
    address = usable(values.get("ADDRESS"))
    if address is None or name is None:
        return []
    lifetime = moment(values.get("LIFETIME"))
    expires = mtime + lifetime if lifetime is not None and lifetime < 0xFFFFFFFF else None
    return [Lease(NETWORK_MANAGER, address, interface_name(name.group(1)), obtained=mtime, expires=expires)]


def parse_connman(data: bytes, path: str, mtime: float) -> list[Lease]:
    """ethernet_MAC_cable/settings. The file is written for other reasons too, so its time proves nothing."""
    values = _values(text_of(data))
    folder = _ETHERNET.fullmatch(posixpath.basename(posixpath.dirname(path)))
    address = usable(values.get("IPv4.DHCP.LastAddress"))
    if address is None or folder is None or values.get("IPv4.method", "dhcp") != "dhcp":
        return []
    return [Lease(CONNMAN, address, mac=normalize_mac(folder.group(1)), obtained=mtime, proof=False)]


def _values(text: str) -> dict[str, str]:
    """KEY=VALUE lines; sections and comments have no '='."""
    values = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            values[key.strip()] = value.strip().strip("\"'")
    return values
