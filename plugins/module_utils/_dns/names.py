# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From VMs to names: templates, what a name may be, reverse names. Nothing that a guest says becomes a part of a name."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import (
    BAD_NAME,
    MARK_LABEL,
    Conflict,
    DnsError,
    Lease,
    Pair,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"\{\{\s*(\w+)\s*\}\}|\{(\w+)\}")
TOKENS = ("vm", "network", "nic", "hypervisor")
MAX_NAME = 253 - len(MARK_LABEL) - 1  # the mark's name must be one, too
MAX_ADDRESSES = 8  # of one NIC; a guest may say that it has thousands


class Rules(t.NamedTuple):
    """How names are made. domains: by every name that a network goes by; domain: for NICs in other networks, or None."""

    domains: Mapping[str, str]
    domain: str | None = None
    template: str = "{vm}"
    names: Mapping[str, str] = {}
    families: Collection[int] = (4, 6)
    ptr: bool = True
    reserved: Collection[str] = _defaults.DNS_RESERVED
    networks: Collection[str] | None = None


def check_template(text: str) -> str:
    """The template, if names can be made with it. Raises DnsError."""
    tokens = [first or second for first, second in _TOKEN.findall(text)]
    way_out = f"write it with {', '.join('{%s}' % token for token in TOKENS)}, letters, digits, hyphens and dots, such as {{vm}}-{{nic}}"
    strange = [token for token in tokens if token not in TOKENS]
    if strange:
        raise DnsError(f"name is {text!r}: {strange[0]} is not known; {way_out}")
    if "vm" not in tokens:
        raise DnsError(f"name is {text!r}: without {{vm}} all VMs would have the same name; {way_out}")
    rest = _TOKEN.sub("x", text)
    if not all(_LABEL.fullmatch(label) for label in rest.lower().split(".")):
        raise DnsError(f"name is {text!r}, which gives no DNS names: {way_out}")
    return text


def check_domain(text: str, option: str) -> str:
    """The domain in lower case, without a dot at its end. Raises DnsError."""
    domain = text.strip().lower().rstrip(".")
    if not domain or len(domain) > MAX_NAME - 2 or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        raise DnsError(
            f"{option} is {plain(text, 100)!r}: give a domain of letters, digits, hyphens and dots, such as vms.example.com"
        )
    return domain


def check_zone(text: str) -> str:
    """A zone in lower case, without a dot at its end; reverse zones of parts of a /24 have a slash in their names."""
    zone = text.strip().lower().rstrip(".")
    if not re.fullmatch(r"[a-z0-9_/-]{1,63}(\.[a-z0-9_/-]{1,63})*", zone) or len(zone) > 253:
        raise DnsError(
            f"server.zones has {plain(text, 100)!r}: give names of zones, such as vms.example.com or 99.10.in-addr.arpa"
        )
    return zone


def label_problem(label: str) -> str | None:
    """Why this is no label for a VM, or None if it is one."""
    if not label:
        return "it is empty"
    if len(label) > 63:
        return "it is longer than 63 characters"
    if not _LABEL.fullmatch(label):
        return "a DNS name has letters a to z, digits and hyphens only, and no hyphen at its ends"
    if label[2:4] == "--":
        return "names with -- in the third and fourth place stand for other characters"
    return None


def reverse_name(address: str) -> str:
    """The name of the address's PTR record, such as V(57.0.99.10.in-addr.arpa)."""
    return ipaddress.ip_address(address).reverse_pointer


def mark_name(name: str) -> str:
    return f"{MARK_LABEL}.{name}"


def host_name(lease: Lease, rules: Rules) -> str | None:
    """The lease's name; None where its network has no domain. Raises ValueError with the reason that there is none."""
    domain = rules.domains.get(lease.network or "", rules.domain)
    if domain is None or (rules.networks is not None and lease.network not in rules.networks):
        return None
    given = rules.names.get(lease.vm_id, rules.names.get(lease.vm_name))
    vm = (lease.vm_name if given is None else given).lower()
    if vm.endswith("." + domain):
        vm = vm[: -len(domain) - 1]
    values = {
        "vm": vm,
        "network": (lease.network or "").lower(),
        "nic": str(lease.device),
        "hypervisor": lease.hypervisor.lower(),
    }

    def fill(match: re.Match[str]) -> str:
        token = match.group(1) or match.group(2)
        # By itself, so that no value brings dots or hyphens that look like the template's.
        problem = label_problem(values[token])
        if problem:
            raise ValueError(f"{token} is {plain(values[token], 80)!r}: {problem}")
        return values[token]

    host = _TOKEN.sub(fill, rules.template.lower())
    for label in host.split("."):
        problem = label_problem(label)
        if problem:
            raise ValueError(f"{host!r}: {problem}")
    if given is None and (vm in rules.reserved or host in rules.reserved):
        raise ValueError(f"{host!r} is a name that clients trust (option reserved)")
    name = f"{host}.{domain}"
    if len(name) > MAX_NAME:
        raise ValueError(f"{name!r} is longer than {MAX_NAME} characters")
    return name


def pairs(leases: Iterable[Lease], rules: Rules) -> tuple[list[Pair], list[Conflict]]:
    """The pairs that leases give, and those that have no name. Two leases may want the same: see plan.settle()."""
    found: dict[tuple[str, str, str], Pair] = {}
    conflicts = []
    for lease in leases:
        addresses = _addresses(lease.addresses, rules.families)
        if not addresses:
            continue
        try:
            name = host_name(lease, rules)
        except ValueError as error:
            message = (
                f"{plain(lease.vm_name)} NIC {lease.device}: no DNS name can be made of it, because {error}; give one in names"
            )
            conflicts.append(Conflict(lease, BAD_NAME, message, address=addresses[0]))
            continue
        if name is not None:
            for address in addresses:
                pair = Pair(name, address, reverse_name(address) if rules.ptr else None, lease)
                found.setdefault((name, address, lease.vm), pair)
    return list(found.values()), conflicts


def _addresses(texts: Sequence[str], families: Collection[int]) -> list[str]:
    found: dict[str, None] = {}
    for text in texts[: 4 * MAX_ADDRESSES]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        useless = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
        if address.version in families and not useless:
            found[str(address)] = None
    return list(found)[:MAX_ADDRESSES]
