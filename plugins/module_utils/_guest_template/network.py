# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks that a clone asks its network's DHCP server for an address."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Problem, of_paths

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System


class _Place(t.NamedTuple):
    """Files of one kind of network configuration. fixed, mac: patterns of an address, and of a MAC address, in them."""

    folder: str
    patterns: tuple[str, ...]
    fixed: str
    mac: str


_MAC = r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}"
_PLACES = (
    _Place("etc/network", ("interfaces",), r"^\s*iface\s+(?!lo\b)\S+\s+inet6?\s+static", rf"^\s*hwaddress\s.*{_MAC}"),
    _Place("etc/network/interfaces.d", ("*",), r"^\s*iface\s+(?!lo\b)\S+\s+inet6?\s+static", rf"^\s*hwaddress\s.*{_MAC}"),
    _Place("etc/netplan", ("*.yaml", "*.yml"), r"^\s*[\"']?addresses[\"']?\s*:\s*(?:\[|\n\s*-)\s*[\"']?[\da-fA-F:.]+/\d",
           rf"macaddress[\"']?\s*:\s*[\"']?{_MAC}"),
    _Place("etc/systemd/network", ("*.network",), r"^\s*Address\s*=\s*[0-9a-fA-F:.]", rf"^\s*(?:PermanentMACAddress|MACAddress)\s*=\s*{_MAC}"),
    _Place("etc/systemd/network", ("*.link",), r"(?!)", rf"^\s*(?:PermanentMACAddress|MACAddress)\s*=\s*{_MAC}"),
    _Place("etc/NetworkManager/system-connections", ("*",), r"^\s*(?:method\s*=\s*manual|address1\s*=)", rf"^\s*(?:cloned-)?mac-address\s*=\s*{_MAC}"),
    _Place("etc/sysconfig/network-scripts", ("ifcfg-*",), r"^\s*IPADDR\d*\s*=\s*[\"']?(?!127\.)\d", rf"^\s*(?:HWADDR|MACADDR)\s*=\s*[\"']?{_MAC}"),
    _Place("etc/sysconfig/network", ("ifcfg-*",), r"^\s*IPADDR\w*\s*=\s*[\"']?(?!127\.)\d", rf"^\s*LLADDR\s*=\s*[\"']?{_MAC}"),
)  # fmt: skip


def _found(system: System, what: str) -> list[str]:
    found = []
    for place in _PLACES:
        pattern = re.compile(getattr(place, what), re.MULTILINE)
        found += [path for path, text in system.texts(place.folder, *place.patterns) if pattern.search(text)]
    return found


def static_address(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """With a configured address, all clones would have it and none would ask the DHCP server."""
    found = _found(system, "fixed")
    message = "an address is configured, all clones would have it and not ask the DHCP server"
    return of_paths("static_address", found, message, "configure DHCP there")


def fixed_mac(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """A configuration for the template's MAC address would not count for a clone's NIC."""
    found = _found(system, "mac")
    message = "the configuration names this machine's MAC address, so that it does not count for a clone's NIC"
    return of_paths("fixed_mac", found, message, "remove the MAC address")


CHECKS = (static_address, fixed_mac)
