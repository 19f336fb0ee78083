# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Templates made of disk images: an OVF import with a descriptor of our own, the disk's upload, the change to a template."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t
import uuid

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, MachineError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import Images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import ovf
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.clone_spec import MARK
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.creation import escaped
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.nfc import Lease, send
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectSpec, references
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import (
    CLUSTERS,
    PlaceError,
    Places,
    Source,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim, vmodl
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.tasks import run_tasks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import ImageWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import Target
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

_NO_TEMPLATES = (
    "a stand-alone ESXi host has no templates and clones nothing: connect to the vCenter that manages it (hypervisor.host)"
)
# What the VM's notes begin with, and of a template: then name and notes alone can be changed.
_UNFINISHED, _FINISHED = "Import not finished, of the image ", "Made of the image "
_ROOM = ("summary.accessible", "summary.maintenanceMode", "summary.freeSpace")


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where the VM goes. datastore: reference. network: kind and reference. path: of its folder."""

    target: Target
    datastore: str
    network: tuple[str, str]
    path: str


class VMwareImages(Images):
    """See images.Images."""

    forms = (formats.STREAM_VMDK,)
    buses = ("sata", "ide")
    drivers = ("vmw_pvscsi", "vmxnet3")

    def __init__(self, session: Session, datacenter: str | None = None, folder: str | None = None) -> None:
        """datacenter, folder: hypervisor.datacenter and hypervisor.folder, where a VM goes that is placed nowhere else."""
        self._session = session
        self._datacenter = datacenter
        self._folder = folder

    def is_made(self, vm: Vm) -> bool:
        """See images.Images. A clone carries our mark as well, but is no template."""
        return vm.ours and vm.is_template

    def finish(self, vm: Vm, change: bool) -> bool:
        """See images.Images. A VM whose lease has ended well is whole, and its notes tell it from a template that was made a VM again."""
        if not vm.ours:
            return False
        reference = vm.handle.reference
        spec = ObjectSpec("VirtualMachine", ("config.annotation",), (reference,))
        notes = "".join(one.text("config.annotation") for one in self._session.run(lambda: self._session.retrieve([spec])))
        if not notes.startswith(_UNFINISHED):
            return False
        if change:
            try:
                self._make_template(reference, notes.removeprefix(_UNFINISHED), marked=vm.is_template)
            except vmodl.MethodFault as fault:
                hint = ""
                if isinstance(fault, (vim.fault.InvalidState, vim.fault.TaskInProgress)):
                    hint = "; if another run imports it, or was ended meanwhile, wait some minutes until its lease is over, else delete the VM"
                raise MachineError(
                    f"its import is not finished, and it could not be made a template: {self._session.say(fault)}{hint}"
                ) from None
        return True

    def make(self, wanted: ImageWanted, change: bool) -> str:
        """See images.Images. vCenter deletes what a killed run has begun when its lease ends, some minutes later; see finish."""
        if not self._session.is_vcenter:
            raise MachineError(_NO_TEMPLATES)
        try:
            place = self._session.run(lambda: self._place(wanted))
        except PlaceError as error:
            raise MachineError(str(error)) from None
        return self._import(wanted, place) if change else ""

    # --- looking ---

    def _place(self, wanted: ImageWanted) -> _Place:
        places = Places(self._session)
        datacenter = self._only_datacenter(places)
        placement = {"folder": self._folder or "", **wanted.placement}
        pool = "" if placement.keys() & {"cluster", "host", "resource_pool"} else self._only_pool(places, datacenter)
        target = places.target(placement, Source(datacenter, pool, None))
        resource = places.get(target.host or places.get(target.pool).text("owner"))
        datastore = target.datastore or self._only_datastore(places, resource.text("name"), references(resource.get("datastore")))
        self._check_room(wanted, places.get(datastore).text("name"), datastore)
        network = places.network(wanted.network, target)
        return _Place(target, datastore, (network.kind, network.name), places.path(target.folder))

    def _only_datacenter(self, places: Places) -> str:
        if self._datacenter:
            return places.datacenter(self._datacenter)
        found = [one.name for one in places.of_kind("Datacenter")]
        if len(found) != 1:
            raise PlaceError(f"{places.endpoint} has {len(found)} datacenters: name the one meant (hypervisor.datacenter)")
        return found[0]

    @staticmethod
    def _only_pool(places: Places, datacenter: str) -> str:
        found = [one for one in places.of_kind(*CLUSTERS) if places.datacenter_of(one.name) == datacenter]
        if len(found) != 1:
            names = ", ".join(sorted(one.text("name") for one in found))
            raise PlaceError(f"the datacenter has {len(found)} clusters ({names}): name the one meant (placement.cluster)")
        return found[0].text("resourcePool")

    @staticmethod
    def _only_datastore(places: Places, resource: str, stores: t.Iterable[str]) -> str:
        seen = {one: places.get(one).text("name") for one in stores}
        if len(seen) != 1:
            names = ", ".join(sorted(seen.values()))
            raise PlaceError(f"{resource} has {len(seen)} datastores ({names}): name the one meant (placement.datastore)")
        return next(iter(seen))

    def _check_room(self, wanted: ImageWanted, name: str, datastore: str) -> None:
        (store,) = self._session.retrieve([ObjectSpec("Datastore", _ROOM, (datastore,))])
        if store.text("summary.accessible") != "true" or store.text("summary.maintenanceMode") not in ("", "normal"):
            raise PlaceError(f"the datastore {name} is not accessible, or in maintenance: choose another (placement.datastore)")
        room = int(store.text("summary.freeSpace") or 0)
        if room < wanted.image.length:
            raise PlaceError(
                f"the datastore {name} has {room} bytes left, and the image needs {wanted.image.length}: make room there, or choose "
                "another (placement.datastore)"
            )

    # --- doing ---

    def _import(self, wanted: ImageWanted, place: _Place) -> str:
        vm_id = str(uuid.uuid4())
        with self._faults(place):
            spec, item = self._session.run(lambda: self._spec(wanted, place, vm_id), raw=True)
            lease = Lease(self._session, self._session.run(lambda: self._begin(spec, place), raw=True))
        try:
            info = lease.wait()
            device = next((one for one in info.deviceUrl if one.importKey == item), None)
            if device is None:
                raise MachineError("vCenter names no place to send the disk to")
            with wanted.image.data() as data:
                send(self._session, device.url, device.sslThumbprint, data, lease.progress)
            lease.progress(100)
            lease.complete()
        except BaseException:
            lease.abort()
            raise
        reference = info.entity._moId
        try:
            self._make_template(reference, plain(wanted.source))
        except (HypervisorError, vmodl.MethodFault) as error:
            self._undo(reference, self._session.say(error))
        return vm_id

    @contextlib.contextmanager
    def _faults(self, place: _Place) -> Iterator[None]:
        try:
            yield
        except vim.fault.DuplicateName:
            raise MachineError(f"the folder /{place.path} has a VM or template of this name already") from None
        except vmodl.MethodFault as fault:
            raise MachineError(f"it could not be imported: {self._session.say(fault)}") from None

    def _spec(self, wanted: ImageWanted, place: _Place, vm_id: str) -> tuple[t.Any, str]:
        """The specification that vCenter makes of our descriptor, with what a descriptor cannot say; and the disk's key in it."""
        manager, name = vim.OvfManager, escaped(wanted.name)
        target, session = place.target, self._session
        params = manager.CreateImportSpecParams(
            locale="",
            deploymentOption="",
            entityName=name,
            hostSystem=session.object("HostSystem", target.host) if target.host else None,
            networkMapping=[manager.NetworkMapping(name=ovf.NETWORK, network=session.object(*place.network))],
            diskProvisioning="thin",
        )
        pool, store = session.object("ResourcePool", target.pool), session.object("Datastore", place.datastore)
        made = session.content.ovfManager.CreateImportSpec(ovf.descriptor(name, wanted), pool, store, params)
        if made.error:
            raise MachineError(f"vCenter refuses the image: {'; '.join(session.say(one) for one in made.error)}")
        config = made.importSpec.configSpec
        config.instanceUuid = vm_id
        config.extraConfig = [*config.extraConfig, vim.option.OptionValue(key=MARK, value=vm_id)]
        config.annotation = f"{_UNFINISHED}{plain(wanted.source)}"
        config.firmware = "efi" if wanted.efi else "bios"
        config.deviceChange = [*config.deviceChange, *ovf.drives(wanted.bus)]
        return made.importSpec, made.fileItem[0].deviceId

    def _begin(self, spec: t.Any, place: _Place) -> str:
        target, session = place.target, self._session
        folder = session.object("Folder", target.folder)
        host = session.object("HostSystem", target.host) if target.host else None
        return str(session.object("ResourcePool", target.pool).ImportVApp(spec, folder, host)._moId)

    def _vm(self, reference: str) -> t.Any:
        return self._session.object("VirtualMachine", reference)

    def _make_template(self, reference: str, source: str, marked: bool = False) -> None:
        """marked: it is a template already. Raises the API's faults as they are, and HypervisorError."""
        if not marked:
            self._session.run(lambda: self._vm(reference).MarkAsTemplate(), raw=True)
        notes = vim.vm.ConfigSpec(annotation=f"{_FINISHED}{source}")
        for _key, result in run_tasks(self._session, [(reference, lambda: self._vm(reference).ReconfigVM_Task(notes))]):
            if isinstance(result, BaseException):
                raise result

    def _undo(self, reference: str, why: str) -> t.NoReturn:
        starts = [(reference, lambda: self._vm(reference).Destroy_Task())]
        for _key, result in run_tasks(self._session, starts):
            if isinstance(result, BaseException):
                raise MachineError(f"{why}; the VM could not be deleted: {self._session.say(result)}")
        raise MachineError(why)
