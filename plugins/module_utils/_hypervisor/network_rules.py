# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Decisions on shared networks and their wording, for all hypervisors: what a user may write, and why a network is refused.

An entry with `vlan` is a network that this collection makes, called by its name on every hypervisor; one without is there
already, and `bridge` says what it is called. A network that is there is never changed: VMs may be on it.
"""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.vmops.external_dhcp.plugins.module_utils._entries import (
    check_keys,
    check_names_differ,
    entries_of,
    name_of,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import (
    RuleError,
    parse_address,
    parse_networks,
    parse_range,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NetworkWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, first_of, plain

if t.TYPE_CHECKING:
    from collections.abc import Iterable

NETWORK_KEYS = (
    "name",
    "vlan",
    "bridge",
    "hosts",
    "host_vlan",
    "openvswitch",
    "cidr",
    "ip_range",
    "services",
    "family_order",
    "dns_domain",
    "description",
    "extra",
)
SERVICES = ("userdata",)
FAMILY_ORDERS = ([4, 6], [6, 4], [4], [6])
#: 0 is untagged; 4095 is reserved by 802.1Q, and VMware takes it for all tags.
MAX_VLAN = 4094
#: Characters in the name of a network to be made; VMware takes the fewest.
MAX_MADE_NAME = 80
_NOT_IN_NAMES = "/\\%"


@dataclasses.dataclass(frozen=True)
class SharedNetwork:
    """One entry of shared_networks.

    vlan: the tag, 0 for none; None for a network that is there already. bridge: with a vlan what the network is on (bridge, NIC
    or virtual switch), without one what the hypervisor calls the network. hosts: those of VMware that get a port group; empty
    for all. host_vlan, openvswitch: see docs/networks.md. cidrs, ip_range: what the DHCP administrator announced.
    """

    name: str
    vlan: int | None = None
    bridge: str | None = None
    hosts: tuple[str, ...] = ()
    host_vlan: bool = False
    openvswitch: bool | None = None
    cidrs: tuple[str, ...] = ()
    ip_range: str | None = None
    services: tuple[str, ...] = SERVICES
    family_order: list[int] | None = None
    description: str = ""

    @property
    def nic_network(self) -> str:
        """What the NICs of VMs are put on."""
        return self.name if self.vlan is not None else self.bridge or self.name

    @property
    def wanted(self) -> NetworkWanted:
        """What a driver needs to know of it."""
        return NetworkWanted(
            self.nic_network, self.vlan, self.bridge, self.hosts, self.host_vlan, self.openvswitch, self.description
        )


def read_networks(given: t.Any, option: str = "shared_networks") -> list[SharedNetwork]:
    """The entries, checked. option: their name in messages. Raises OptionError."""
    entries = enumerate(entries_of(option, given))
    found = [_read(f"{option}[{position}]", option, entry) for position, entry in entries]
    check_names_differ(option, [one.name for one in found])
    return found


def names_on_hypervisor(entry: Mapping[str, t.Any]) -> list[str]:
    """The names by which the hypervisor may know the network of an entry that read_networks() has not checked.

    A bridge that carries other networks as well is not among them.
    """
    own_bridge = entry.get("vlan") is None or entry.get("host_vlan") is True
    names = [entry["name"], entry.get("bridge") if own_bridge else None]
    return [plain(str(name), MAX_NAME) for name in names if name]


def _read(place: str, option: str, entry: Mapping[str, t.Any]) -> SharedNetwork:
    name = name_of(place, entry, "network")
    where = f"{option}, {name}:"
    check_keys(where, entry, NETWORK_KEYS)
    vlan = _vlan(where, entry.get("vlan"))
    if vlan is not None:
        _check_made_name(where, name)
    bridge = entry.get("bridge")
    if bridge is not None and not isinstance(bridge, str):
        raise OptionError(f"{where} bridge is {bridge!r}: it is a name")
    hosts = entry.get("hosts") or []
    if isinstance(hosts, str) or not isinstance(hosts, Sequence) or not all(isinstance(host, str) for host in hosts):
        raise OptionError(f"{where} hosts is {hosts!r}: it is a list of names of hosts")
    cidrs = cidrs_of(where, entry.get("cidr"))
    return SharedNetwork(
        name,
        vlan,
        bridge or None,
        tuple(hosts),
        bool(_truth(where, "host_vlan", entry.get("host_vlan"))),
        _truth(where, "openvswitch", entry.get("openvswitch")),
        cidrs,
        _ip_range(where, entry.get("ip_range"), cidrs),
        _services(where, entry.get("services", SERVICES)),
        family_order(where, entry.get("family_order")),
        str(entry.get("description") or ""),
    )


def _vlan(where: str, value: t.Any) -> int | None:
    if value is None or value == "":
        return None
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_VLAN:
        raise OptionError(f"{where} vlan is {value!r}: it is a tag from 1 to {MAX_VLAN}, or 0 for an untagged network")
    return number


def _check_made_name(where: str, name: str) -> None:
    bad = sorted({char for char in name if char in _NOT_IN_NAMES or not char.isprintable()})
    if bad or len(name) > MAX_MADE_NAME or name != name.strip():
        raise OptionError(
            f"{where} this cannot be the name of a network to be made: use at most {MAX_MADE_NAME} printable characters, none of "
            f"{' '.join(_NOT_IN_NAMES)}, and no blank at its ends"
        )


def _truth(where: str, key: str, value: t.Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise OptionError(f"{where} {key} is {value!r}: it is true or false")


def _services(where: str, value: t.Any) -> tuple[str, ...]:
    services = [] if value is None else value
    if isinstance(services, str) or not isinstance(services, Sequence) or any(one not in SERVICES for one in services):
        raise OptionError(f"{where} services is {services!r}: it is [] or [{', '.join(SERVICES)}]")
    return tuple(services)


def family_order(where: str, value: t.Any) -> list[int] | None:
    """Which address family a NIC waits for first; None leaves it to the record. Raises OptionError."""
    if value is None or value in FAMILY_ORDERS:
        return t.cast("list[int] | None", value)
    raise OptionError(f"{where} family_order is {value!r}: use {', '.join(map(str, FAMILY_ORDERS))}")


def cidrs_of(where: str, value: t.Any) -> tuple[str, ...]:
    """The option `cidr` of a network or NIC: one text or several. Raises OptionError."""
    cidrs = (value,) if isinstance(value, str) else tuple(value or ())
    try:
        parse_networks(cidrs)
    except RuleError as error:
        raise OptionError(f"{where} cidr: {error}") from None
    return cidrs


def _ip_range(where: str, value: t.Any, cidrs: Sequence[str]) -> str | None:
    if not value:
        return None
    try:
        limits = parse_range(str(value))
    except RuleError as error:
        raise OptionError(f"{where} ip_range: {error}") from None
    if limits and cidrs:
        for text in str(value).split("-"):
            address = parse_address(text)
            if address is None or not any(address.version == n.version and address in n for n in parse_networks(cidrs)):
                raise OptionError(f"{where} ip_range {value} is not in cidr {', '.join(cidrs)}: correct one of them")
    return str(value)


# Warnings ---------------------------------------------------------------------------------------------------------------------


def overlaps(networks: Sequence[SharedNetwork], others: Sequence[SharedNetwork] = ()) -> list[str]:
    """A sentence for each pair of networks whose announced ranges have addresses in common.

    others: those of other hypervisors; they are compared with `networks`, not with each other. One network may be on many
    hypervisors, so the same range under the same name, or with the same VLAN and CIDR, is no overlap.
    """
    found: dict[str, None] = {}
    for index, one in enumerate(networks):
        for other in (*networks[index + 1 :], *others):
            if one == other or not _meet(one.ip_range, other.ip_range):
                continue
            same = one.name == other.name or (one.vlan is not None and (one.vlan, one.cidrs) == (other.vlan, other.cidrs))
            if same and parse_range(one.ip_range) == parse_range(other.ip_range):
                continue
            whose = f"{other.name} on another hypervisor" if one.name == other.name else other.name
            found[
                f"ip_range {one.ip_range} of {one.name} and {other.ip_range} of {whose} have addresses in common: ask the DHCP "
                "administrator which of them is right"
            ] = None
    return list(found)


def _meet(one: str | None, other: str | None) -> bool:
    first, second = parse_range(one), parse_range(other)
    if first is None or second is None or first[0].version != second[0].version:
        return False
    return int(first[0]) <= int(second[1]) and int(second[0]) <= int(first[1])


# Why a network is refused ------------------------------------------------------------------------------------------------------


def another(name: str, there: str, wanted: str) -> str:
    """Why a network of this name is neither made nor removed: the one that is there is not the one described."""
    return (
        f"there is a network {name} already, {there}, and not {wanted}; a network is never changed, as VMs may be on it: correct "
        "shared_networks, take another name, or remove it yourself first"
    )


def serves(name: str, what: str, remedy: str) -> str:
    """Why a network cannot be a shared one: it would hand out addresses beside the external DHCP server."""
    return f"{name} {what}, but a shared network leaves DHCP and DNS to the external servers: {remedy}"


def in_use(name: str, users: Iterable[str]) -> str:
    """Why a network is not removed."""
    return f"{name} is used by {first_of(sorted(set(users)))}: put these on another network, or destroy them, first"


def no_bridge(what: str, bridge: str | None, known: Iterable[str]) -> str:
    """Why a network cannot be made: its bridge is not set, or not there. what: the kind, such as "virtual switch"."""
    names = sorted(set(known))
    choice = f"use {', '.join(names[:20])}" if names else "there is none"
    return (
        f"bridge is not set: it says on which {what} the network is; {choice}"
        if not bridge
        else f"there is no {what} {bridge}: {choice}"
    )


def missing(name: str) -> str:
    """Why a network without a VLAN cannot be used: it is not there."""
    return f"there is no network {name}: correct bridge or name, or give its vlan (0 for an untagged one) to have it made"


def tag_text(vlan: int | None) -> str:
    """A tag in words; None is untagged, as 0 is."""
    return "untagged" if not vlan else f"VLAN {vlan}"
