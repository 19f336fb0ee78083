# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An administrator's client for the vCenter rig, beside the driver under test."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import typing as t
from http import client as connections

from pyVim import connect
from pyVim.task import WaitForTask, WaitForTasks
from pyVmomi import vim, vmodl

if t.TYPE_CHECKING:
    from vcenter_rig import VCenterRig


class Admin:
    """A login of its own; a context manager."""

    def __init__(self, rig: VCenterRig) -> None:
        facts = rig.facts
        context = ssl.create_default_context(cafile=facts["ca_path"])
        self.si = connect.SmartConnect(
            host=facts["host"], port=facts["port"], user=facts["username"], pwd=facts["password"], sslContext=context
        )
        self.content = self.si.RetrieveContent()
        self._rest = connections.HTTPSConnection(facts["host"], facts["port"], context=context)
        account = base64.b64encode(f"{facts['username']}:{facts['password']}".encode()).decode()
        self._rest_headers = {"Authorization": f"Basic {account}"}
        self.datacenter = self.content.rootFolder.childEntity[0]
        while not isinstance(self.datacenter, vim.Datacenter):
            self.datacenter = self.datacenter.childEntity[0]

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the login; it may have ended in a test."""
        with contextlib.suppress(Exception):
            connect.Disconnect(self.si)
        self._rest.close()

    # Categories and tags are made through the simulator's /rest; the rig serves what is there under /api.

    def _tagging(self, path: str, body: t.Any = None) -> t.Any:
        if "Authorization" in self._rest_headers:
            self._rest_headers = {"vmware-api-session-id": self._post("session")}
        return self._post(f"tagging/{path}", body)

    def _post(self, path: str, body: t.Any = None) -> t.Any:
        self._rest.request("POST", f"/rest/com/vmware/cis/{path}", json.dumps(body), self._rest_headers)
        answer = self._rest.getresponse()
        data = answer.read()
        assert answer.status == 200, (path, answer.status, data)
        return json.loads(data)["value"] if data else None

    def category(self, name: str) -> str:
        """Makes a category of tags; returns its id."""
        spec = {"name": name, "description": "", "cardinality": "MULTIPLE", "associable_types": []}
        return self._tagging("category", {"create_spec": spec})

    def tag(self, category: str, name: str, *objects: t.Any) -> None:
        """Makes a tag in the category of this id, and attaches it to objects."""
        made = self._tagging("tag", {"create_spec": {"category_id": category, "name": name, "description": ""}})
        for thing in objects:
            body = {"object_id": {"type": type(thing).__name__.rpartition(".")[2], "id": thing._moId}}
            self._tagging(f"tag-association/id:{made}?~action=attach", body)

    def vm(self, name: str) -> t.Any:
        """The VM (or template) of this name."""
        return next(vm for vm, found in self._vms("name") if found["name"] == name)

    def _vms(self, *properties: str) -> list[tuple[t.Any, dict[str, t.Any]]]:
        """All VMs with some of their properties, read in one call; reading each property of each VM would take a call each."""
        collector = vmodl.query.PropertyCollector
        view = self.content.viewManager.CreateContainerView(self.content.rootFolder, [vim.VirtualMachine], True)
        into = collector.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
        spec = collector.FilterSpec(
            objectSet=[collector.ObjectSpec(obj=view, skip=True, selectSet=[into])],
            propSet=[collector.PropertySpec(type=vim.VirtualMachine, pathSet=list(properties))],
        )
        try:
            found = self.content.propertyCollector.RetrieveContents([spec])
        finally:
            view.DestroyView()
        return [(one.obj, {entry.name: entry.val for entry in one.propSet}) for one in found]

    def datastore(self, name: str) -> t.Any:
        """The datastore of this name."""
        return next(d for d in self.datacenter.datastore if d.name == name)

    def clone(self, source: str, name: str, datastore: str | None = None, folder: t.Any = None, on: bool = False) -> t.Any:
        """A clone of a VM."""
        location = vim.vm.RelocateSpec(datastore=self.datastore(datastore) if datastore else None)
        vm = self.vm(source)
        spec = vim.vm.CloneSpec(location=location, powerOn=on)
        task = vm.CloneVM_Task(folder=folder or vm.parent, name=name, spec=spec)
        WaitForTask(task)
        return task.info.result

    def power(self, name: str, on: bool) -> None:
        """Starts or stops a VM."""
        vm = self.vm(name)
        if on != (vm.runtime.powerState == "poweredOn"):
            WaitForTask(vm.PowerOnVM_Task() if on else vm.PowerOffVM_Task())

    def suspend(self, name: str) -> None:
        """Suspends a VM."""
        WaitForTask(self.vm(name).SuspendVM_Task())

    def relocate(self, name: str, datastore: str | None = None, host: str | None = None) -> None:
        """Moves a VM, as a (storage) migration does."""
        spec = vim.vm.RelocateSpec(datastore=self.datastore(datastore) if datastore else None)
        if host:
            view = self.content.viewManager.CreateContainerView(self.content.rootFolder, [vim.HostSystem], True)
            spec.host = next(h for h in view.view if h.name == host)
        WaitForTask(self.vm(name).RelocateVM_Task(spec))

    def destroy(self, *names: str) -> None:
        """Stops and destroys VMs."""
        vms = [(vm, found) for vm, found in self._vms("name", "runtime.powerState") if found["name"] in names]
        assert {found["name"] for _vm, found in vms} == set(names), f"not all of them are there: {names}"
        WaitForTasks([vm.PowerOffVM_Task() for vm, found in vms if found["runtime.powerState"] != "poweredOff"])
        WaitForTasks([vm.Destroy_Task() for vm, _found in vms])

    def rename(self, name: str, new: str) -> None:
        """Gives a VM another name; its files keep theirs."""
        WaitForTask(self.vm(name).ReconfigVM_Task(vim.vm.ConfigSpec(name=new)))

    def reconfigure(self, name: str, *changes: t.Any) -> None:
        """Changes devices of a VM."""
        WaitForTask(self.vm(name).ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=list(changes))))

    def set_extra(self, name: str, key: str, value: str) -> None:
        """Sets an entry of extraConfig, where a host also shows the guestinfo that a guest has set."""
        option = vim.option.OptionValue(key=key, value=value)
        WaitForTask(self.vm(name).ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[option])))

    def vmotion(self, name: str) -> None:
        """Moves a running VM to another host of the cluster."""
        here = self.vm(name).runtime.host
        self.relocate(name, host=next(host.name for host in here.parent.host if host != here))

    def cards(self, name: str) -> list[t.Any]:
        """The VM's network cards."""
        return [card for card in self.vm(name).config.hardware.device if isinstance(card, vim.vm.device.VirtualEthernetCard)]

    def add_nic(self, name: str) -> None:
        """One more card on the network of the first."""
        card = vim.vm.device.VirtualVmxnet3(key=-1, backing=self.cards(name)[0].backing, addressType="generated")
        card.connectable = vim.vm.device.VirtualDevice.ConnectInfo(startConnected=True, connected=True, allowGuestControl=True)
        self.reconfigure(name, vim.vm.device.VirtualDeviceSpec(operation="add", device=card))

    def remove_nic(self, name: str, number: int) -> None:
        """Removes a card."""
        card = self.cards(name)[number]
        self.reconfigure(name, vim.vm.device.VirtualDeviceSpec(operation="remove", device=card))

    def add_sata(self, name: str, bus: int = 0) -> None:
        """A SATA controller without drives."""
        controller = vim.vm.device.VirtualAHCIController(key=-1, busNumber=bus)
        self.reconfigure(name, vim.vm.device.VirtualDeviceSpec(operation="add", device=controller))

    def add_cd(self, name: str, file: str | None, controller: int = 200, unit: int | None = None) -> None:
        """A CD/DVD drive with an ISO, or an empty one."""
        backing: t.Any = vim.vm.device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False)
        if file:
            backing = vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=file)
        connect_info = vim.vm.device.VirtualDevice.ConnectInfo(
            startConnected=bool(file), connected=bool(file), allowGuestControl=True
        )
        drive = vim.vm.device.VirtualCdrom(
            key=-1, controllerKey=controller, unitNumber=unit, backing=backing, connectable=connect_info
        )
        self.reconfigure(name, vim.vm.device.VirtualDeviceSpec(operation="add", device=drive))

    def remove_cd(self, name: str, label: str) -> None:
        """Removes a CD/DVD drive."""
        drive = self._drive(name, label)
        self.reconfigure(name, vim.vm.device.VirtualDeviceSpec(operation="remove", device=drive))

    def insert(self, name: str, label: str, file: str | None, connected: bool = True) -> None:
        """Puts an ISO into a drive, or takes it out."""
        drive = self._drive(name, label)
        drive.backing = vim.vm.device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False)
        if file:
            drive.backing = vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=file)
        drive.connectable = vim.vm.device.VirtualDevice.ConnectInfo(
            startConnected=bool(file), connected=bool(file) and connected, allowGuestControl=True
        )
        self.reconfigure(name, vim.vm.device.VirtualDeviceSpec(operation="edit", device=drive))

    def _drive(self, name: str, label: str) -> t.Any:
        devices = self.vm(name).config.hardware.device
        return next(d for d in devices if isinstance(d, vim.vm.device.VirtualCdrom) and d.deviceInfo.label == label)
