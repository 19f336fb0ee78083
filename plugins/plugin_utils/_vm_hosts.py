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
    """One VM. nics: as the module vm_nic_record_info returns them in detail, by device."""

    nics: Sequence[NicResult]
    address: t.Optional[str]

    @property
    def key(self) -> tuple[str, str]:
        """Hypervisor and id, by which the VM is known whatever it is called."""
        return self.nics[0]["hypervisor_name"], self.nics[0]["vm_id"]

    @property
    def state(self) -> str:
        """The state of the required NICs; of all NICs if none is required."""
        states = [nic["fetch_state"] for nic in self.nics if nic["required"]] or [nic["fetch_state"] for nic in self.nics]
        if all(state == "stopped" for state in states):
            return "stopped"
        if all(state == "found" for state in states):
            return "found"
        return "gave_up" if "gave_up" in states else "pending"

    def variables(self) -> dict[str, t.Any]:
        first = self.nics[0]
        variables = {
            "external_dhcp_vm": first["vm_name"],
            "external_dhcp_vm_id": first["vm_id"],
            "external_dhcp_hypervisor": first["hypervisor_name"],
            "external_dhcp_state": self.state,
            "external_dhcp_nics": list(self.nics),
        }
        if self.address:
            variables["ansible_host"] = self.address
        return variables

    def groups(self) -> list[str]:
        networks = dict.fromkeys(nic["network"] for nic in self.nics if nic["network"])
        return [
            f"hypervisor_{self.nics[0]['hypervisor_name']}",
            f"state_{self.state}",
            *(f"network_{network}" for network in networks),
        ]


def vm_hosts(nics: Iterable[NicResult], address_networks: Sequence[str] = ()) -> list[VmHost]:
    """The VMs in the order of their first NIC."""
    by_vm: dict[tuple[str, str], list[NicResult]] = {}
    for nic in nics:
        by_vm.setdefault((nic["hypervisor_name"], nic["vm_id"]), []).append(nic)
    hosts = []
    for own in by_vm.values():
        own.sort(key=lambda nic: nic["device"])
        hosts.append(VmHost(own, _address(own, address_networks)))
    return hosts


def _address(nics: Sequence[NicResult], address_networks: Sequence[str]) -> str | None:
    having = [nic for nic in nics if nic["ip4_address"] or nic["ip6_addresses"]]
    for network in address_networks:
        for nic in having:
            if nic["network"] == network:
                return _of(nic)
    return _of(having[0]) if having else None


def _of(nic: NicResult) -> str | None:
    """The NIC's address of the first family in its order, else of the other family."""
    ip4, ip6 = nic["ip4_address"], next(iter(nic["ip6_addresses"]), None)
    return (ip6 or ip4) if nic["family_order"][:1] == [6] else (ip4 or ip6)
