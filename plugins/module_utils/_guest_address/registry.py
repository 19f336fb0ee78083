# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The addresses in a Windows registry: the values DhcpIPAddress of the interfaces in the control set that is in use."""

from __future__ import annotations

import itertools
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease, moment, usable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac

CLIENT = "Windows"

# Bounds on what one guest may make us look at.
_MAX_KEYS = 256
_FILETIME_EPOCH = 11644473600
_FOREVER = 0xFFFFFFFF
# An earlier date than this (1990) is none: Windows has had DHCP since 1994.
_FIRST_DATE = 631152000
_NETWORK_CLASS = "{4d36e972-e325-11ce-bfc1-08002be10318}"


class Key(t.Protocol):
    """One key of a hive. A key or value that is not there gives None.

    written: when one of its values was last set, as FILETIME (100 ns since 1601).
    """

    name: str
    written: int

    def child(self, path: str) -> t.Optional[Key]:
        """The key below this one, by its path with backslashes."""

    def children(self) -> t.Iterator[Key]:
        """The keys right below."""

    def value(self, name: str) -> t.Any:
        """int, str or bytes, as its type says."""


def leases(root: Key) -> list[Lease]:
    """The lease of every interface that uses DHCP, with its MAC where the registry tells it."""
    control_set = current_control_set(root)
    if control_set is None:
        return []
    interfaces = control_set.child("Services\\Tcpip\\Parameters\\Interfaces")
    if interfaces is None:
        return []
    macs = _macs(control_set)
    found = []
    for key in itertools.islice(interfaces.children(), _MAX_KEYS):
        lease = _lease(key, macs.get(key.name.lower()))
        if lease is not None:
            found.append(lease)
    return found


def current_control_set(root: Key) -> Key | None:
    """ControlSet001 or whichever the key Select says is in use."""
    select = root.child("Select")
    number = None if select is None else select.value("Current")
    if not isinstance(number, int) or not 0 < number < 1000:
        return None
    return root.child(f"ControlSet{number:03}")


def stopped(root: Key) -> float | None:
    """When Windows was last shut down, Unix seconds: what it leased before is of an earlier run."""
    control_set = current_control_set(root)
    key = None if control_set is None else control_set.child("Control\\Windows")
    value = None if key is None else key.value("ShutdownTime")
    if not isinstance(value, bytes) or len(value) != 8:
        return None
    return _date(int.from_bytes(value, "little"))


def _date(filetime: int) -> float | None:
    """Unix seconds."""
    return moment(filetime / 1e7 - _FILETIME_EPOCH)


def _lease(key: Key, mac: str | None) -> Lease | None:
    address = usable(key.value("DhcpIPAddress"))
    if address is None or key.value("EnableDHCP") == 0:
        return None
    obtained, expires = moment(key.value("LeaseObtainedTime")), moment(key.value("LeaseTerminatesTime"))
    if obtained is not None and obtained < _FIRST_DATE:
        # Windows 10 (seen in build 16299) may count from the system's start. The key is written within a second of the lease.
        written = _date(key.written)
        expires = None if written is None or expires is None else written + expires - obtained
        obtained = written
    if key.value("Lease") == _FOREVER:
        expires = None
    return Lease(CLIENT, address, mac=mac, obtained=obtained, expires=expires)


def _macs(control_set: Key) -> dict[str, str]:
    """MACs by the interface's GUID in lower case.

    Windows 10, Server 2016 and later keep the MAC in use under NetworkSetup2 (seen in hives of Windows 10, missing in hives of
    Windows 7 and 8.1). The adapters' NetworkAddress is one that an administrator has set, in any version.
    """
    found: dict[str, str] = {}
    adapters = control_set.child(f"Control\\Class\\{_NETWORK_CLASS}")
    for key in itertools.islice(adapters.children() if adapters else (), _MAX_KEYS):
        guid, mac = key.value("NetCfgInstanceId"), normalize_mac(_text(key.value("NetworkAddress")))
        if isinstance(guid, str) and mac is not None:
            found[guid.lower()] = mac
    interfaces = control_set.child("Control\\NetworkSetup2\\Interfaces")
    for key in itertools.islice(interfaces.children() if interfaces else (), _MAX_KEYS):
        kernel = key.child("Kernel")
        address = kernel.value("CurrentAddress") if kernel else None
        mac = normalize_mac(address.hex()) if isinstance(address, bytes) else None
        if mac is not None:
            found[key.name.lower()] = mac
    return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
