# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Leases of wicked: XML whose prefix ipv4: is bound to nothing, so a parser without namespaces reads it."""

from __future__ import annotations

import posixpath
import re
import xml.parsers.expat

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import (
    MAX_FILE,
    Lease,
    interface_name,
    moment,
    usable,
)

CLIENT = "wicked"

_NAME = re.compile(r"lease-(.{1,32})-dhcp-ipv4\.xml", re.DOTALL)
_MAX_DEPTH = 16
_FOREVER = 0xFFFFFFFF


class _NoLease(Exception):
    """The text is no lease."""


def parse(data: bytes, path: str, mtime: float) -> list[Lease]:
    """lease-IFACE-dhcp-ipv4.xml; wicked removes it when the lease is given back."""
    name = _NAME.fullmatch(posixpath.basename(path))
    if name is None or len(data) > MAX_FILE:
        return []
    try:
        values = _read(data)
    except (xml.parsers.expat.ExpatError, _NoLease, ValueError, LookupError):
        return []
    address = usable(values.get("lease/dhcp/address", "").strip())
    obtained = moment(values.get("lease/acquired"))
    if address is None or values.get("lease/state", "granted").strip() != "granted":
        return []
    seconds = moment(values.get("lease/dhcp/lease-time"))
    expires = None
    if obtained is not None and seconds is not None and seconds < _FOREVER:
        expires = obtained + seconds
    interface = interface_name(name.group(1))
    if obtained is None:
        return [Lease(CLIENT, address, interface, obtained=mtime, proof=False)]
    return [Lease(CLIENT, address, interface, obtained=obtained, expires=expires)]


def _read(data: bytes) -> dict[str, str]:
    """The first text of each element by its path, prefixes cut off."""
    parser = xml.parsers.expat.ParserCreate()
    path: list[str] = []
    values: dict[str, str] = {}

    def start(tag: str, _attributes: object) -> None:
        path.append(tag.rpartition(":")[2])
        if len(path) > _MAX_DEPTH:
            raise _NoLease
        values.setdefault("/".join(path), "")

    def end(_tag: str) -> None:
        path.pop()

    def text(part: str) -> None:
        key = "/".join(path)
        if len(values.get(key, "")) < 256:
            values[key] = values.get(key, "") + part

    def refuse(*_words: object) -> None:
        # A lease has no document type; entities are how XML is made to grow.
        raise _NoLease

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)
    return values
