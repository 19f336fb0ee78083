# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Shared networks of a XenServer pool: a VLAN on the same NIC or bond of every host, and one network for them."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
    Networks,
    NetworkState,
    Outcome,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import NULL, Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import XapiError

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NetworkWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Record
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

NETWORKS: Mapping[str, frozenset[str]] = {
    "host": frozenset("name_label metrics".split()),
    "host_metrics": frozenset(("live",)),
    "network": frozenset("uuid name_label bridge other_config PIFs VIFs".split()),
    "pif": frozenset("device host network VLAN VLAN_master_of bond_slave_of tunnel_access_PIF_of managed".split()),
}
# What must be read, too, to see who uses the networks; that is much more.
_USERS: Mapping[str, frozenset[str]] = {"vif": frozenset(("VM", "network")), "vm": frozenset(("name_label", "is_a_snapshot"))}
# In other_config of a network that make() has created. If it has no NIC, it is the left-over of a run that was cut short.
MADE_KEY = "vmops.external_dhcp.network"
# Keys of other_config that make XAPI itself serve DHCP in the network (xapi_network.ml, xapi_udhcpd.ml).
_INTERNAL = ("is_host_internal_management_network", "is_guest_installer_network")


@dataclasses.dataclass(frozen=True)
class _Found:
    """A network that is there. pifs: by reference. tags: the PIFs', -1 for none. devices: the PIFs'."""

    ref: str
    record: Record
    pifs: dict[str, Record]
    tags: frozenset[int]
    devices: frozenset[str]

    def words(self) -> str:
        if not self.pifs:
            return "without a NIC"
        tags = ", ".join(sorted(network_rules.tag_text(max(tag, 0)) for tag in self.tags))
        return f"{tags} on {', '.join(sorted(self.devices))}"


class XenNetworks(Networks):
    """See api.Networks."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._picture = Picture(session, NETWORKS)
        self._picture_of_users: Picture | None = None

    # -- reading ---------------------------------------------------------------------------------------------------

    def states(self, wanted: Sequence[NetworkWanted], users: bool) -> list[NetworkState]:
        """See api.Networks."""
        if users and self._picture_of_users is None:
            self._picture_of_users = self._picture = Picture(self._session, {**NETWORKS, **_USERS})
        self._picture.refresh()
        return [self._state(network) for network in wanted]

    def _state(self, wanted: NetworkWanted) -> NetworkState:
        found = self._named(wanted.name)
        if len(found) > 1:
            ids = ", ".join(sorted(one.record["uuid"] for one in found))
            twins = f"{len(found)} networks of the pool are named {wanted.name} ({ids}): rename all but one"
            return NetworkState((f"{len(found)} networks",), (), twins, twins)
        there = found[0] if found else None
        before = () if there is None else self._lines(there)
        users = () if there is None else self._users(there)
        problem: str | None = None if there is None else self._serves(there)
        if wanted.vlan is None:
            return NetworkState(before, before, problem or (network_rules.missing(wanted.name) if there is None else None))
        base, refusal = self._base(wanted, there)
        problem = problem or refusal or self._differs(wanted, there, base)
        after = before if problem else (f"{network_rules.tag_text(wanted.vlan)} on {_devices(base)}", self._hosts(base, there))
        keep = problem
        if there is not None and keep is None and users:
            keep = network_rules.in_use(wanted.name, users)
        return NetworkState(before, after, problem, keep, users)

    def _named(self, name: str) -> list[_Found]:
        found = []
        for ref, record in self._picture.records["network"].items():
            if record["name_label"] == name:
                known = {pif: self._picture.get("pif", pif) for pif in record["PIFs"]}
                pifs = {pif: fields for pif, fields in known.items() if fields is not None}
                tags = frozenset(int(fields["VLAN"]) for fields in pifs.values())
                devices = frozenset(fields["device"] for fields in pifs.values())
                found.append(_Found(ref, record, pifs, tags, devices))
        return found

    def _lines(self, found: _Found) -> tuple[str, ...]:
        return (found.words(), self._on({pif["host"] for pif in found.pifs.values()}))

    def _hosts(self, base: dict[str, Record], there: _Found | None) -> str:
        """The line on the hosts that will have the VLAN: those that have it, and those that are up."""
        have = set() if there is None else {pif["host"] for pif in there.pifs.values()}
        return self._on(have | {pif["host"] for pif in base.values() if self._picture.live(pif["host"])})

    def _on(self, hosts: set[str]) -> str:
        records = [self._picture.get("host", host) for host in hosts]
        return f"hosts: {', '.join(sorted(host['name_label'] for host in records if host is not None)) or 'none'}"

    def _users(self, found: _Found) -> tuple[str, ...]:
        names = set()
        for ref in found.record["VIFs"] if self._picture_of_users is not None else ():
            vif = self._picture.get("vif", ref)
            vm = None if vif is None else self._picture.get("vm", vif["VM"])
            if vm is not None:
                names.add(f"{vm['name_label']} (a snapshot)" if vm["is_a_snapshot"] else vm["name_label"])
        return tuple(sorted(names))

    def _serves(self, found: _Found) -> str | None:
        config = found.record["other_config"]
        name = found.record["name_label"]
        remedy = "take another name, and have a network made (vlan and bridge)"
        if any(config.get(key) == "true" for key in _INTERNAL):
            return network_rules.serves(name, "is the pool's internal management network, on which XAPI gives addresses", remedy)
        if not found.pifs and MADE_KEY not in config:
            return network_rules.serves(
                name, "has no NIC and is internal to each host, so that no DHCP server can be reached", remedy
            )
        return None

    def _bases(self) -> dict[str, dict[str, Record]]:
        """By network, the PIFs that can carry VLANs: NICs and bonds, one for each host."""
        found: dict[str, dict[str, Record]] = {}
        for ref, pif in self._picture.records["pif"].items():
            if int(pif["VLAN"]) < 0 and pif["bond_slave_of"] == NULL and pif["managed"] and not pif["tunnel_access_PIF_of"]:
                found.setdefault(pif["network"], {})[ref] = pif
        return found

    def _base(self, wanted: NetworkWanted, there: _Found | None) -> tuple[dict[str, Record], str | None]:
        """The PIFs that are to carry the VLAN, or why there are none. Without a bridge: those that carry the network already."""
        bases = self._bases()
        known = sorted({pif["device"] for pifs in bases.values() for pif in pifs.values()})
        if wanted.vlan == 0:
            return {}, (
                f"XenServer has the untagged network of each NIC already, and makes no second one for {wanted.name}: leave out vlan, and "
                "name that network in bridge"
            )
        chosen = [ref for ref in bases if wanted.bridge and wanted.bridge in self._names(ref, bases[ref])]
        if not wanted.bridge:
            below = set() if there is None else {(pif["host"], pif["device"]) for pif in there.pifs.values()}
            carries = [ref for ref, pifs in bases.items() if below & {(pif["host"], pif["device"]) for pif in pifs.values()}]
            chosen = carries if len(carries) == 1 else list(bases) if len(bases) == 1 else []
        if len(chosen) > 1:
            labels = ", ".join(sorted(self._label(ref) for ref in chosen))
            return {}, f"bridge {wanted.bridge} is a NIC of several networks ({labels}): name the network of the NICs instead"
        if not chosen:
            return {}, network_rules.no_bridge("NIC or bond of the pool", wanted.bridge, known)
        return bases[chosen[0]], None

    def _names(self, network: str, pifs: dict[str, Record]) -> set[str]:
        record = self._picture.get("network", network)
        names = set() if record is None else {record["name_label"], record["bridge"], record["uuid"]}
        return names | {pif["device"] for pif in pifs.values()}

    def _label(self, network: str) -> str:
        record = self._picture.get("network", network)
        return network if record is None else str(record["name_label"])

    def _differs(self, wanted: NetworkWanted, there: _Found | None, base: dict[str, Record]) -> str | None:
        """Why the wanted network cannot be made: its name or its VLAN is taken by another one."""
        devices = frozenset(pif["device"] for pif in base.values())
        tag = t.cast("int", wanted.vlan)
        if there is not None and there.pifs and (there.tags != {tag} or not there.devices <= devices):
            here = f"{network_rules.tag_text(tag)} on {_devices(base)}"
            return network_rules.another(wanted.name, there.words(), here)
        hosts = {pif["host"]: pif["device"] for pif in base.values()}
        for pif in self._picture.records["pif"].values():
            if (
                int(pif["VLAN"]) == tag
                and hosts.get(pif["host"]) == pif["device"]
                and (there is None or pif["network"] != there.ref)
            ):
                return (
                    f"VLAN {tag} of {pif['device']} is the network {self._label(pif['network'])} already: use that one (leave out vlan, "
                    "and name it in bridge), or remove it"
                )
        return None

    # -- changing --------------------------------------------------------------------------------------------------

    def make(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        """See api.Networks."""
        for network in wanted:
            try:
                yield Outcome(network.name, changed=self._make(network))
            except XapiError as error:
                yield Outcome(network.name, error=f"{network.name}: it could not be made: {error}")

    def _make(self, wanted: NetworkWanted) -> bool:
        found = self._named(wanted.name)
        base, _refusal = self._base(wanted, found[0] if found else None)
        done = {pif["host"] for pif in found[0].pifs.values()} if found else set()
        missing = {ref: pif for ref, pif in base.items() if pif["host"] not in done and self._picture.live(pif["host"])}
        if not missing:
            return False
        if found and done:
            for pif in missing:
                self._session.patiently("VLAN.create", pif, str(wanted.vlan), found[0].ref)
            return True
        ref = found[0].ref if found else self._session.call("network.create", self._record(wanted))
        try:
            self._session.patiently("pool.create_VLAN_from_PIF", next(iter(missing)), ref, str(wanted.vlan))
        except XapiError:
            self._session.call("network.destroy", ref)  # XAPI itself has removed the VLANs
            raise
        return True

    @staticmethod
    def _record(wanted: NetworkWanted) -> dict[str, t.Any]:
        return {
            "name_label": wanted.name,
            "name_description": wanted.description,
            "MTU": "1500",
            "other_config": {MADE_KEY: "true"},
            "bridge": "",
            "managed": True,
            "tags": [],
        }

    def remove(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        """See api.Networks. The users are looked at again: with a network XAPI destroys the NICs of VMs that are off."""
        self._picture.refresh()
        for network in wanted:
            changed = False
            try:
                for found in self._named(network.name):
                    if self._users(found):
                        raise HypervisorError(network_rules.in_use(network.name, self._users(found)))
                    for pif in found.pifs.values():
                        self._session.patiently("VLAN.destroy", pif["VLAN_master_of"])
                        changed = True
                    self._session.patiently("network.destroy", found.ref)
                    changed = True
                yield Outcome(network.name, changed=changed)
            except HypervisorUnreachable:
                raise
            except HypervisorError as error:
                yield Outcome(network.name, changed=changed, error=f"{network.name}: it could not be removed: {error}")


def _devices(base: Mapping[str, Record]) -> str:
    return ", ".join(sorted({pif["device"] for pif in base.values()}))
