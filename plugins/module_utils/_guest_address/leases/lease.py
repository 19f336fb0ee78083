# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A lease as a DHCP client left it on its disk, and what all parsers of such files share.

Everything in a `Lease` but `address` is the guest's word. Parsers never raise: what makes no sense gives no lease.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import is_usable, parse_address

if t.TYPE_CHECKING:
    from collections.abc import Sequence

# Bounds on what one file may make us look at.
MAX_FILE = 65536
MAX_LEASES = 64
# Times after this (the year 2200) are no times; dhclient's and dhcpcd's "infinite" is far beyond.
MAX_TIME = 7258118400

_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,31}")


@dataclasses.dataclass(frozen=True)
class Lease:
    """One address that a client was given.

    client: the program that wrote it (dhclient, dhcpcd, ...). address: a usable IPv4 address in canonical text.
    interface: the guest's name of it; mac: lower case with colons; None where the file does not say.
    obtained, expires: Unix seconds by the guest's clock; None for unknown, and for a lease that never expires.
    proof: how sure it is that `obtained` is when the server gave the lease: False where it is only the file's time.
    """

    client: str
    address: str
    interface: t.Optional[str] = None
    mac: t.Optional[str] = None
    obtained: t.Optional[float] = None
    expires: t.Optional[float] = None
    proof: bool = True


def usable(text: object) -> str | None:
    """The canonical text of a usable IPv4 address; None for anything else."""
    address = parse_address(text)
    return str(address) if address is not None and address.version == 4 and is_usable(address) else None


def interface_name(text: object) -> str | None:
    """The name if it can be one of an interface, else None."""
    return text if isinstance(text, str) and _INTERFACE.fullmatch(text) else None


def moment(value: object) -> float | None:
    """Unix seconds from a number or its text; None for what is no time between 1970 and 2200."""
    try:
        seconds = float(t.cast("t.Any", value))
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < MAX_TIME else None


def text_of(data: bytes) -> str:
    """The text of a file, bounded; bytes that are no UTF-8 become replacement characters."""
    return data[-MAX_FILE:].decode("utf-8", "replace")


def bounded(leases: Sequence[Lease]) -> list[Lease]:
    """The last leases, at most MAX_LEASES."""
    return list(leases[-MAX_LEASES:])
