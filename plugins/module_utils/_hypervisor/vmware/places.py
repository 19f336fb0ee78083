# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The places where VMs can be (datacenters, folders, clusters, hosts, resource pools, datastores, networks), read in one go."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import plain_name
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import (
    ObjectSpec,
    child_text,
    references,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

CLUSTERS = ("ClusterComputeResource", "ComputeResource")
NETWORK_KINDS = ("Network", "DistributedVirtualPortgroup", "OpaqueNetwork")
_PROPERTIES = {
    "Datacenter": ("name", "parent", "vmFolder"),
    "Folder": ("name", "parent"),
    "ClusterComputeResource": ("name", "parent", "resourcePool", "network", "datastore"),
    "ComputeResource": ("name", "parent", "resourcePool", "network", "datastore"),
    "HostSystem": ("name", "parent", "network", "datastore"),
    "ResourcePool": ("name", "parent", "owner"),
    "Datastore": ("name", "parent"),
    "StoragePod": ("name", "parent"),
    "Network": ("name", "parent"),
    "DistributedVirtualPortgroup": ("name", "parent", "key", "config.distributedVirtualSwitch"),
    "OpaqueNetwork": ("name", "parent", "summary"),
    "DistributedVirtualSwitch": ("name", "parent", "uuid"),
}

UNSEEN_DATACENTER = "its datacenter cannot be seen: the account needs System.View on it"


class PlaceError(Exception):
    """A place that does not exist or does not fit; the message is a sentence without the VM's name."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a VM goes, as references; None leaves it to the template or to vCenter."""

    datacenter: str
    folder: str
    pool: str
    host: str | None = None
    datastore: str | None = None


class Places:
    """All places that the account may see, by reference."""

    def __init__(self, session: Session) -> None:
        """Reads them (a view over all of them, page after page)."""
        self.endpoint = str(session.endpoint)
        view = session.view(tuple(_PROPERTIES))._moId
        self._all: dict[str, ObjectData] = {}
        for one in session.retrieve([ObjectSpec(kind, properties, view=view) for kind, properties in _PROPERTIES.items()]):
            known = self._all.get(one.name)
            if known is None:
                self._all[one.name] = one
            else:  # an answer has it once as its own type, and once as the type that this is derived from
                known.properties.update(one.properties)
        self._paths: dict[str, str] = {}

    def get(self, reference: str) -> ObjectData:
        """The object of a reference."""
        return self._all[reference]

    def of_kind(self, *kinds: str) -> Iterator[ObjectData]:
        """All objects of these kinds."""
        return (one for one in self._all.values() if one.kind in kinds)

    def named(self, kinds: tuple[str, ...], name: str) -> Iterator[ObjectData]:
        """Objects of these kinds and this name."""
        return (one for one in self._all.values() if one.kind in kinds and plain_name(one.text("name")) == name)

    def path(self, reference: str) -> str:
        """The inventory path as vCenter's search takes it, without a slash in front: F0/DC0/vm/web."""
        if reference not in self._paths:
            one = self._all.get(reference)
            above = self._all.get(one.text("parent")) if one is not None else None
            if one is None or (one.kind == "Folder" and not one.text("parent")):
                self._paths[reference] = ""
            else:
                start = self.path(above.name) if above is not None else ""
                self._paths[reference] = f"{start}/{one.text('name')}" if start else one.text("name")
        return self._paths[reference]

    def datacenter_of(self, reference: str) -> str | None:
        """The reference of the datacenter that an object is in; None if the account does not see it."""
        one = self._all.get(reference)
        while one is not None and one.kind != "Datacenter":
            one = self._all.get(one.text("parent"))
        return None if one is None else one.name

    def datacenter_of_vm(self, host: str) -> str:
        """The datacenter of a VM on this host. Raises PlaceError."""
        found = self.datacenter_of(host)
        if found is None:
            raise PlaceError(UNSEEN_DATACENTER)
        return found

    # --- by name ---

    def datacenter(self, name: str) -> str:
        """The datacenter with this name or inventory path. Raises PlaceError."""
        wanted = name.strip("/")
        found = [d.name for d in self._all.values() if d.kind == "Datacenter" and wanted in (self.path(d.name), d.text("name"))]
        exact = [d for d in found if self.path(d) == wanted]
        return self._only(exact or found, "datacenter", name)

    def folder(self, path: str, datacenter: str) -> str:
        """The VM folder of a path: /F0/DC0/vm/web, or web below the datacenter's VM folder. Raises PlaceError."""
        home = self._all[datacenter].text("vmFolder")
        wanted = path.strip("/")
        if not wanted:
            return home
        full = {wanted, f"{self.path(datacenter)}/{wanted}", f"{self.path(home)}/{wanted}"}
        found = [one.name for one in self._all.values() if one.kind == "Folder" and self.path(one.name) in full]
        found = [one for one in found if self.datacenter_of(one) == datacenter]
        return self._only(found, "folder", path, "give its path, as in /DC0/vm/web")

    def _only(self, found: list[str], option: str, name: str, hint: str = "") -> str:
        if len(found) == 1:
            return found[0]
        if not found:
            raise PlaceError(f"{option} {name}: {self.endpoint} has none of this name{': ' + hint if hint else ''}")
        paths = ", ".join(sorted("/" + self.path(one) for one in found))
        raise PlaceError(f"{option} {name}: there are several of this name ({paths}): {hint or 'give the path of the one meant'}")

    def _below(self, kinds: tuple[str, ...], option: str, name: str, datacenter: str) -> str:
        """The object with this name or inventory path in a datacenter."""
        wanted = name.strip("/")
        found = [one.name for one in self.named(kinds, name) if self.datacenter_of(one.name) == datacenter]
        found += [one.name for one in self._all.values() if one.kind in kinds and "/" in wanted and self.path(one.name) == wanted]
        return self._only(list(dict.fromkeys(found)), option, name)

    def target(self, placement: Mapping[str, str], source: Source) -> Target:
        """Where a VM with this placement goes. Raises PlaceError."""
        datacenter = source.datacenter
        folder = self.folder(placement.get("folder", ""), datacenter)
        host = self._below(("HostSystem",), "host", placement["host"], datacenter) if placement.get("host") else None
        cluster = self._cluster(placement, host, datacenter)
        pool = self._pool(placement, cluster, source, datacenter)
        if self.datacenter_of(pool) != datacenter:
            raise PlaceError(
                f"the template is not in the datacenter {self.path(datacenter)}: name a cluster of it (placement.cluster)"
            )
        datastore = self._datastore(placement, datacenter)
        resource = host or self._all[pool].text("owner")
        store = datastore or source.datastore
        if store and resource in self._all and store not in set(references(self._all[resource].get("datastore"))):
            raise PlaceError(
                f"{self._all[resource].text('name')} does not see the datastore {self._all[store].text('name')}: "
                "choose another with placement.datastore"
            )
        return Target(datacenter, folder, pool, host, datastore)

    def destination(self, wanted: Mapping[str, str], datacenter: str, host: str) -> Target:
        """Where a VM that is on this host goes within its datacenter; an empty pool keeps its own. Raises PlaceError."""
        new = self._below(("HostSystem",), "host", wanted["host"], datacenter) if wanted.get("host") else None
        cluster = self._cluster(wanted, new, datacenter)
        here = self._all[host].text("parent") if host in self._all else None
        pool = ""
        if wanted.get("resource_pool") or (cluster and cluster != here):
            source = Source(datacenter, self._all[here].text("resourcePool") if here else "", None)
            pool = self._pool(wanted, cluster, source, datacenter)
        datastore = self._datastore(wanted, datacenter)
        resource = new or (cluster if cluster else host)
        if datastore and resource in self._all and datastore not in set(references(self._all[resource].get("datastore"))):
            raise PlaceError(
                f"{self._all[resource].text('name')} does not see the datastore {self._all[datastore].text('name')}: "
                "choose another destination"
            )
        return Target(datacenter, "", pool, new, datastore)

    def _cluster(self, placement: Mapping[str, str], host: str | None, datacenter: str) -> str | None:
        """The cluster that is asked for, or the one of the host asked for."""
        of_host = self._all[host].text("parent") if host else None
        if not placement.get("cluster"):
            return of_host
        cluster = self._below(CLUSTERS, "cluster", placement["cluster"], datacenter)
        if of_host and of_host != cluster:
            raise PlaceError(f"host {placement['host']} is not in the cluster {placement['cluster']}")
        return cluster

    def _pool(self, placement: Mapping[str, str], cluster: str | None, source: Source, datacenter: str) -> str:
        name = placement.get("resource_pool")
        if not name:
            return self._all[cluster].text("resourcePool") if cluster else source.pool
        found = [
            one.name
            for one in self.named(("ResourcePool",), name)
            if (one.text("owner") == cluster if cluster else self.datacenter_of(one.name) == datacenter)
        ]
        return self._only(found, "resource_pool", name, "" if not found else "name its cluster with placement.cluster")

    def _datastore(self, placement: Mapping[str, str], datacenter: str) -> str | None:
        name = placement.get("datastore")
        if not name:
            return None
        if any(True for _found in self.named(("StoragePod",), name)):
            raise PlaceError(f"datastore {name}: that is a datastore cluster: name one of its datastores")
        return self._below(("Datastore",), "datastore", name, datacenter)

    def network(self, name: str, target: Target) -> ObjectData:
        """The network of this name that the target's hosts have. Raises PlaceError."""
        resource = self._all.get(target.host or self._all[target.pool].text("owner"))
        seen = set(references(resource.get("network"))) if resource is not None else set()
        found = [one for one in self.named(NETWORK_KINDS, name) if self.datacenter_of(one.name) == target.datacenter]
        here = [one for one in found if one.name in seen]
        if len(here) == 1:
            return here[0]
        where = resource.text("name") if resource is not None else self.endpoint
        if here:
            raise PlaceError(f"network {name}: {where} has several of this name: rename one of them")
        if found:
            raise PlaceError(f"network {name}: no host of {where} is on it: add the hosts to it, or choose another cluster")
        raise PlaceError(f"there is no network {name} in the datacenter {self.path(target.datacenter)}: check the name")

    def switch_uuid(self, portgroup: ObjectData) -> str:
        """The UUID of a distributed port group's switch."""
        return self._all[portgroup.text("config.distributedVirtualSwitch")].text("uuid")

    @staticmethod
    def opaque(network: ObjectData) -> tuple[str, str]:
        """Id and type of an opaque network."""
        summary = network.get("summary")
        if summary is None:
            return "", ""
        return child_text(summary, "opaqueNetworkId"), child_text(summary, "opaqueNetworkType")


@dataclasses.dataclass(frozen=True)
class Source:
    """What a target is completed from: the template's datacenter, resource pool and datastore."""

    datacenter: str
    pool: str
    datastore: str | None
