# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The DHCP clients that are known: where each leaves its leases on the disk, and who reads them."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases import (
    dhclient,
    dhcpcd,
    keyvalue,
    logs,
    wicked,
)

if t.TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease


@dataclasses.dataclass(frozen=True)
class Place:
    """Files of one client: those of `folder` whose whole name (below it: `name` or `name/inner`) fits `pattern`."""

    folder: str
    pattern: t.Pattern[str]
    parse: Callable[[bytes, str, float], Sequence[Lease]]
    inner: t.Optional[str] = None


def _place(folder: str, pattern: str, parse: t.Any, inner: str | None = None) -> Place:
    return Place(folder, re.compile(pattern, re.DOTALL), parse, inner)


_DHCLIENT = r"dhclient[^/]{0,200}\.leases?|dhclient\.leases"

PLACES: tuple[Place, ...] = (
    _place("var/lib/dhcp", _DHCLIENT, dhclient.parse),
    _place("var/lib/dhclient", _DHCLIENT, dhclient.parse),
    _place("var/lib/dhcp3", _DHCLIENT, dhclient.parse),
    _place("var/lib/NetworkManager", r"dhclient-[^/]{1,200}\.lease", dhclient.parse),
    _place("var/lib/NetworkManager", r"internal-[^/]{1,200}\.lease", keyvalue.parse_network_manager),
    _place("var/lib/dhcpcd", r"[^/]{1,200}\.lease", dhcpcd.parse),
    _place("var/lib/dhcpcd5", r"[^/]{1,200}\.lease", dhcpcd.parse),
    _place("var/db/dhcpcd", r"[^/]{1,200}\.lease", dhcpcd.parse),
    _place("var/lib/wicked", r"lease-[^/]{1,200}-dhcp-ipv4\.xml", wicked.parse),
    _place("var/lib/connman", r"ethernet_[0-9a-f]{12}_cable", keyvalue.parse_connman, "settings"),
)
# Asked only where no client's file gave a lease of this boot.
LOG_PLACES: tuple[Place, ...] = (
    _place("var/log", r"syslog|messages", logs.parse_syslog),
    _place("var/log", r"cloud-init-output\.log", logs.parse_cloud_init),
)
