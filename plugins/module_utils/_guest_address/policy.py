# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which of the addresses that a guest reports counts for which NIC.

A reading belongs to a NIC by its MAC; by the device number only if the source names no MAC; by elimination only if
the VM has one NIC. Whatever a guest says is bounded and parsed here before anything else sees it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_FILTERED_OUT,
    REASON_NO_LEASE,
    NicAddress,
    NicRules,
    Reading,
)

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    IpAddress = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
    IpNetwork = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# Bounds on what one guest may make us look at.
MAX_READINGS = 256
MAX_ADDRESSES = 64
MAX_TEXT = 64

# Interfaces that software in the guest makes for itself. They count only if they carry the NIC's own MAC
# (a guest may put its address on a bridge over the NIC).
FOREIGN_INTERFACES = (
    "lo",
    "docker",
    "br-",
    "veth",
    "virbr",
    "vnet",
    "cni",
    "flannel",
    "cali",
    "cilium",
    "lxc",
    "lxdbr",
    "podman",
    "tun",
    "tap",
    "wg",
    "zt",
    "vEthernet",
    "isatap",
    "Teredo",
    "Loopback",
)

_HEX = re.compile(r"[0-9a-f]{12}")
_NORMAL_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class RuleError(ValueError):
    """A CIDR or range that is none; the message holds the value."""


def normalize_mac(text: str | None) -> str | None:
    """MAC in lower case with colons, from any of the usual spellings; None if it is none."""
    if not text or len(text) > MAX_TEXT:
        return None
    if _NORMAL_MAC.fullmatch(text):
        return text
    digits = re.sub(r"[-:.]", "", text.strip().lower())
    if not _HEX.fullmatch(digits):
        return None
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def parse_address(text: object) -> IpAddress | None:
    """One address from a guest's text (a prefix length or zone is cut off); None if it is none."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        return None
    try:
        address = ipaddress.ip_address(text.strip().split("/", 1)[0].split("%", 1)[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def is_usable(address: IpAddress) -> bool:
    """True for an address that another machine could reach: no loopback, link-local, multicast, zero or reserved one."""
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if address.version == 4:
        # 0.0.0.0/8 is "this network"; is_reserved is 240.0.0.0/4 with the broadcast address.
        return not (address.is_reserved or int(address) >> 24 == 0)
    return True


def parse_networks(cidrs: Sequence[str]) -> tuple[IpNetwork, ...]:
    """The rule's networks; host bits are allowed (10.99.0.1/24 means 10.99.0.0/24). Raises RuleError."""
    networks = []
    for cidr in cidrs:
        try:
            networks.append(ipaddress.ip_network(cidr, strict=False))
        except ValueError:
            raise RuleError(f"{cidr!r} is not a network in CIDR form, such as 10.99.0.0/24") from None
    return tuple(networks)


def parse_range(text: str | None) -> tuple[IpAddress, IpAddress] | None:
    """The announced range 'first-last' as two addresses; None if none is given. Raises RuleError."""
    if not text:
        return None
    first, sep, last = (part.strip() for part in text.partition("-"))
    low, high = parse_address(first), parse_address(last)
    if not sep or low is None or high is None or low.version != high.version or int(low) > int(high):
        raise RuleError(f"{text!r} is not an address range, such as 10.99.0.50-10.99.0.150")
    return low, high


def decide(
    nic_mac: str | None,
    nic_device: int,
    readings: Sequence[Reading],
    rules: NicRules,
    source: str,
    previous: str | None = None,
) -> NicAddress:
    """The verdict for one NIC over the readings of one VM.

    previous: the recorded IPv4 address; kept if the guest still has it, so that a second address does not make it flap.
    """
    mac = normalize_mac(nic_mac)
    bounded = readings[:MAX_READINGS]
    own = [r for r in bounded if _belongs(r, mac, nic_device) and not _ignored(r, rules.ignore_interfaces)]
    return _verdict(nic_mac, _main_interfaces_first(own), rules, source, previous)


def decide_vm(
    nics: Sequence[tuple[int, str | None]],
    readings: Sequence[Reading],
    rules_by_device: Mapping[int, NicRules],
    source: str,
    previous: Mapping[int, str] | None = None,
) -> dict[int, NicAddress]:
    """The verdicts for all NICs, given as (device, MAC), of one VM.

    A reading without MAC and device number is used if the VM has one NIC, or if its addresses lie in the CIDR of
    exactly one NIC; otherwise nobody can say whose it is, and it counts for none.
    """
    given = previous or {}
    placed: list[Reading] = []
    for reading in readings[:MAX_READINGS]:
        if reading.mac is None and reading.device is None and not _ignored(reading, FOREIGN_INTERFACES):
            device = _only_possible_device(nics, reading, rules_by_device)
            if device is not None:
                reading = dataclasses.replace(reading, device=device)
        placed.append(reading)
    return {
        device: decide(mac, device, placed, rules_by_device.get(device, NicRules()), source, given.get(device))
        for device, mac in nics
    }


def _only_possible_device(
    nics: Sequence[tuple[int, str | None]], reading: Reading, rules_by_device: Mapping[int, NicRules]
) -> int | None:
    if len(nics) == 1:
        return nics[0][0]
    addresses = [a for a in map(parse_address, reading.addresses[:MAX_ADDRESSES]) if a is not None and is_usable(a)]
    fitting = [
        device
        for device, _mac in nics
        if device in rules_by_device
        and rules_by_device[device].cidrs
        and any(_in_any(a, parse_networks(rules_by_device[device].cidrs)) for a in addresses)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _belongs(reading: Reading, mac: str | None, device: int) -> bool:
    reading_mac = normalize_mac(reading.mac)
    if reading_mac is not None:
        return mac is not None and reading_mac == mac
    return reading.device == device and not _ignored(reading, FOREIGN_INTERFACES)


def _ignored(reading: Reading, prefixes: Sequence[str]) -> bool:
    name = reading.interface
    return name is not None and any(name == p or (p != "lo" and name.startswith(p)) for p in prefixes)


def _main_interfaces_first(readings: Sequence[Reading]) -> list[Reading]:
    # A VLAN (eth0.100) or alias (eth0:1) interface shares the NIC's MAC but is another network's.
    return sorted(readings, key=lambda r: any(c in (r.interface or "") for c in ".:@"))


def _in_any(address: IpAddress, networks: Sequence[IpNetwork]) -> bool:
    return any(address.version == n.version and address in n for n in networks)


def _verdict(nic_mac: str | None, readings: Sequence[Reading], rules: NicRules, source: str, previous: str | None) -> NicAddress:
    networks = parse_networks(rules.cidrs)
    valid: list[IpAddress] = []
    for reading in readings:
        for text in reading.addresses[:MAX_ADDRESSES]:
            address = parse_address(text)
            if address is not None and address not in valid and len(valid) < MAX_ADDRESSES:
                valid.append(address)
    usable = [a for a in valid if is_usable(a)]
    # A rule of one family says nothing about the other.
    families = {n.version for n in networks}
    counting = [a for a in usable if a.version not in families or _in_any(a, networks)]
    ip4 = [str(a) for a in counting if a.version == 4]
    ip6 = tuple(str(a) for a in counting if a.version == 6)
    texts = tuple(str(a) for a in valid)
    if ip4:
        chosen = previous if previous in ip4 else ip4[0]
        return NicAddress(chosen, ip6, texts, _in_range(chosen, rules.ip_range), source)
    shown = nic_mac or "without MAC"
    usable4 = [a for a in usable if a.version == 4]
    if usable4:
        return NicAddress(
            ip6_addresses=ip6,
            addresses=texts,
            source=source,
            reason=REASON_FILTERED_OUT,
            message=(
                f"NIC {shown} has {', '.join(map(str, usable4[:3]))}, but that is not in {', '.join(rules.cidrs)}: "
                "check the NIC's network, or the cidr of the network"
            ),
        )
    if not readings:
        detail = "the guest reports no address for it"
    elif ip6:
        detail = "it has IPv6 addresses only"
    elif valid:
        detail = "it has link-local addresses only"
    else:
        detail = "it has no address"
    return NicAddress(
        ip6_addresses=ip6,
        addresses=texts,
        source=source,
        reason=REASON_NO_LEASE,
        message=f"NIC {shown}: {detail}; check that the DHCP server serves this network and the guest asks it",
    )


def _in_range(address: str, ip_range: str | None) -> bool | None:
    limits = parse_range(ip_range)
    if limits is None:
        return None
    value = ipaddress.ip_address(address)
    return value.version == limits[0].version and int(limits[0]) <= int(value) <= int(limits[1])
