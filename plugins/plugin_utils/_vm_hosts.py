# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Inventory hosts, one for each VM, made from the NICs of the record."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    NicResult = Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class VmHost:
    """One VM.

    key: hypervisor and id, by which the VM is known whatever it is called. networks: of its NICs, each once. nics: as the module
    vm_nic_record_info returns them in detail, by device; empty if they were not to be kept.
    """

    key: tuple[str, str]
    name: str
    state: str
    networks: tuple[str, ...]
    address: t.Optional[str]
    nics: Sequence[NicResult]

    def variables(self) -> dict[str, t.Any]:
        """The host's own variables; external_dhcp_nics is among them if the NICs were kept."""
        hypervisor, vm_id = self.key
        variables: dict[str, t.Any] = {
            "external_dhcp_vm": self.name,
            "external_dhcp_vm_id": vm_id,
            "external_dhcp_hypervisor": hypervisor,
            "external_dhcp_state": self.state,
        }
        if self.nics:
            variables["external_dhcp_nics"] = list(self.nics)
        if self.address:
            variables["ansible_host"] = self.address
        return variables

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of every such host, as the record names them."""
        return (f"hypervisor_{self.key[0]}", f"state_{self.state}", *(f"network_{network}" for network in self.networks))


class _Nic(t.NamedTuple):
    """What of a NIC makes the host, which is all that is kept of a hundred thousand of them. whole: if the NICs are to be kept."""

    device: int
    vm_name: str
    network: t.Optional[str]
    required: bool
    state: str
    address: t.Optional[str]
    whole: t.Optional[NicResult]


def vm_hosts(nics: Iterable[NicResult], address_networks: Sequence[str] = (), keep_nics: bool = True) -> list[VmHost]:
    """The VMs in the order of their first NIC. keep_nics: whether all facts of the NICs stay with the hosts."""
    by_vm: dict[tuple[str, str], list[_Nic]] = {}
    for nic in nics:
        key = (nic["hypervisor_name"], nic["vm_id"])
        by_vm.setdefault(key, []).append(
            _Nic(
                nic["device"],
                nic["vm_name"],
                nic["network"],
                nic["required"],
                nic["fetch_state"],
                _address_of(nic),
                nic if keep_nics else None,
            )
        )
    hosts = []
    for key, own in by_vm.items():
        own.sort(key=lambda one: one.device)
        hosts.append(
            VmHost(
                key=key,
                name=own[0].vm_name,
                state=_state(own),
                networks=tuple(dict.fromkeys(nic.network for nic in own if nic.network)),
                address=_address(own, address_networks),
                nics=[nic.whole for nic in own if nic.whole],
            )
        )
    return hosts


def _state(nics: Sequence[_Nic]) -> str:
    """The state of the required NICs; of all NICs if none is required."""
    states = {nic.state for nic in nics if nic.required} or {nic.state for nic in nics}
    if len(states) == 1 and states <= {"stopped", "found"}:
        return states.pop()
    return "gave_up" if "gave_up" in states else "pending"


def _address(nics: Sequence[_Nic], address_networks: Sequence[str]) -> str | None:
    having = [nic for nic in nics if nic.address]
    for network in address_networks:
        for nic in having:
            if nic.network == network:
                return nic.address
    return having[0].address if having else None


def _address_of(nic: NicResult) -> str | None:
    """The NIC's address of the first family in its order, else of the other family."""
    ip4, ip6 = nic["ip4_address"], next(iter(nic["ip6_addresses"]), None)
    return (ip6 or ip4) if nic["family_order"][:1] == [6] else (ip4 or ip6)
