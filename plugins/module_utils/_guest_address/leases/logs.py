# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Leases that are known only from logs: systemd-networkd's line for each lease, and cloud-init's table at each boot."""

from __future__ import annotations

import email.utils
import re

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import (
    MAX_FILE,
    Lease,
    bounded,
    interface_name,
    moment,
    text_of,
    usable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac

NETWORKD = "systemd-networkd"
CLOUD_INIT = "cloud-init"

# "eth0: DHCPv4 address 10.99.0.57/24, gateway 10.99.0.1 acquired from 10.99.0.2"; without a gateway: "... via 10.99.0.2"
NETWORKD_MESSAGE = re.compile(r"([A-Za-z0-9._@-]{1,32}): DHCPv4 address ([0-9.]{7,15})/\d{1,2}(?:,| |$)")
_SYSLOG = re.compile(r"^(\S+) .{0,300}?systemd-networkd\[\d+\]: " + NETWORKD_MESSAGE.pattern, re.MULTILINE)
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))")
_STAGE = re.compile(r"^Cloud-init v\. \S{1,40} running 'init(?:-local)?' at (.{20,40}?)\. Up ", re.MULTILINE)
# | eth0 | True | 10.99.0.57 | 255.255.255.0 | global | 52:54:00:6b:3c:58 |
_ROW = re.compile(
    r"^ci-info: \|\s*([A-Za-z0-9._-]{1,32})\s*\|\s*True\s*\|\s*([0-9.]{7,15})\s*\|[^|\n]{0,20}\|\s*global\s*\|"
    r"\s*([0-9a-fA-F:]{17})\s*\|",
    re.MULTILINE,
)


def parse_syslog(data: bytes, path: str, mtime: float) -> list[Lease]:
    """The last line of each interface, from a log whose lines begin with a full date (RFC 3339).

    Lines with a date of the old kind (no year, no zone) are left out: nobody can say of which boot they are.
    """
    import datetime

    last: dict[str, Lease] = {}
    for match in _SYSLOG.finditer(text_of(data)):
        address, interface = usable(match.group(3)), interface_name(match.group(2))
        stamp = _ISO.fullmatch(match.group(1))
        if address is None or interface is None or stamp is None:
            continue
        try:
            obtained = datetime.datetime.fromisoformat(match.group(1).replace("Z", "+00:00")[:40]).timestamp()
        except (ValueError, OverflowError):
            continue
        last[interface] = Lease(NETWORKD, address, interface, obtained=moment(obtained))
    return bounded(list(last.values()))


def parse_cloud_init(data: bytes, path: str, mtime: float) -> list[Lease]:
    """The rows of the last table; its time is that of the stage that printed it. It is an address, not always a lease."""
    text = text_of(data)
    obtained = None
    stages = list(_STAGE.finditer(text))
    if not stages and len(data) < MAX_FILE:
        return []
    for stage in stages[-1:]:
        try:
            obtained = moment(email.utils.parsedate_to_datetime(stage.group(1)).timestamp())
        except (TypeError, ValueError, OverflowError, IndexError):
            return []
        text = text[stage.end() :]
    if obtained is None:
        return []
    last = {}
    for row in _ROW.finditer(text):
        address, mac = usable(row.group(2)), normalize_mac(row.group(3))
        if address is not None and mac is not None:
            last[row.group(1)] = Lease(CLOUD_INIT, address, interface_name(row.group(1)), mac, obtained)
    return bounded(list(last.values()))
