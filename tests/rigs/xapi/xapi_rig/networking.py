# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks and VLANs (xapi_network.ml, xapi_vlan.ml, xapi_pool.ml create_VLAN_from_PIF)."""

from __future__ import annotations

import typing as t

from xapi_rig.facts import NULL, Failure

if t.TYPE_CHECKING:
    from xapi_rig.pool import Call
    from xapi_rig.store import Obj

VLAN_MAC = "fe:ff:ff:ff:ff:ff"
MAX_TAG = 4094
# Names of bridges that XAPI keeps for itself, and how long one may be.
RESERVED_BRIDGES = ("xen", "xapi", "vif", "tap", "eth")
MAX_BRIDGE = 15
HIMN = "is_host_internal_management_network"


class NetworkingMixin:
    def network_create(self, call: Call, args: dict[str, t.Any]) -> str:
        bridges = {network["bridge"] for network in self.store.all("network")}
        bridge = args.get("bridge", "")
        if not bridge:
            bridge = next(name for name in (f"xapi{number}" for number in range(len(bridges) + 1)) if name not in bridges)
        elif len(bridge) > MAX_BRIDGE or bridge.startswith(RESERVED_BRIDGES):
            raise Failure("INVALID_VALUE", "bridge", bridge)
        elif bridge in bridges:
            raise Failure("BRIDGE_NAME_EXISTS", bridge)
        given = {name: args[name] for name in ("name_label", "name_description", "tags", "managed") if name in args}
        mtu = args.get("MTU", 0)
        return self.store.add(
            "network", bridge=bridge, MTU=mtu if mtu > 0 else 1500, other_config=args["other_config"], **given
        ).ref

    def network_destroy(self, call: Call, self_: str) -> None:
        """Destroys the network, and with it VIFs of VMs that are off."""
        network = self.store.get("network", self_)
        vifs = [self.store.get("VIF", ref) for ref in network["VIFs"]]
        connected = [vif.ref for vif in vifs if vif["currently_attached"]]
        if connected:
            raise Failure("NETWORK_CONTAINS_VIF", *connected)
        if network["PIFs"]:
            raise Failure("NETWORK_CONTAINS_PIF", *network["PIFs"])
        if network["other_config"].get(HIMN) == "true":
            raise Failure("CANNOT_DESTROY_SYSTEM_NETWORK", self_)
        for vif in vifs:
            self.store.remove(vif)
        self.store.remove(network)

    def pool_create_VLAN_from_PIF(self, call: Call, pif: str, network: str, tag: int) -> list[str]:
        """Makes the VLAN on every live host's PIF of the same network; after an error what was made is undone."""
        base = self.store.get("network", self.store.get("PIF", pif)["network"])
        made: list[Obj] = []
        try:
            for ref in base["PIFs"]:
                if self._pif_is_live(self.store.get("PIF", ref)):
                    made.append(self.store.get("VLAN", self.VLAN_create(call, ref, tag, network)))
        except Failure:
            for vlan in made:
                self.VLAN_destroy(call, vlan.ref)
            raise
        return [vlan["untagged_PIF"] for vlan in made]

    def _pif_is_live(self, pif: Obj) -> bool:
        host = self.store.get("host", pif["host"])
        return bool(self.store.get("host_metrics", host["metrics"])["live"])

    def VLAN_create(self, call: Call, tagged_PIF: str, tag: int, network: str) -> str:
        base = self.store.get("PIF", tagged_PIF)
        if any(self.store.get("PIF", ref)["host"] == base["host"] for ref in self.store.get("network", network)["PIFs"]):
            raise Failure("NETWORK_ALREADY_CONNECTED", base["host"], network)
        if not base["managed"]:
            raise Failure("PIF_UNMANAGED", tagged_PIF)
        if base["bond_slave_of"] != NULL:
            raise Failure("CANNOT_ADD_VLAN_TO_BOND_SLAVE", tagged_PIF)
        if base["VLAN"] >= 0:
            raise Failure("PIF_IS_VLAN", tagged_PIF)
        if not 0 <= tag <= MAX_TAG:
            raise Failure("VLAN_TAG_INVALID", str(tag))
        if any(vlan["tagged_PIF"] == tagged_PIF and vlan["tag"] == tag for vlan in self.store.all("VLAN")):
            raise Failure("PIF_VLAN_EXISTS", base["device"])
        vlan = self.store.add("VLAN", tagged_PIF=tagged_PIF, tag=tag)
        pif = self.store.add(
            "PIF", host=base["host"], network=network, device=base["device"], VLAN=tag, MAC=VLAN_MAC, MTU=base["MTU"], managed=True,
            VLAN_master_of=vlan.ref, currently_attached=True,
        )  # fmt: skip
        self.store.set(vlan, untagged_PIF=pif.ref)
        return vlan.ref

    def VLAN_destroy(self, call: Call, self_: str) -> None:
        vlan = self.store.get("VLAN", self_)
        pif = self.store.get("PIF", vlan["untagged_PIF"])
        running = [ref for ref in self.store.get("network", pif["network"])["VIFs"] if self._runs_on(ref, pif["host"])]
        if running:  # its unplugging is refused while a VM of the host is on it
            raise Failure("NETWORK_CONTAINS_VIF", *running)
        self.store.remove(pif)
        self.store.remove(vlan)

    def _runs_on(self, vif: str, host: str) -> bool:
        obj = self.store.get("VIF", vif)
        vm = self.store.get("VM", obj["VM"])
        return obj["currently_attached"] and vm["resident_on"] == host
