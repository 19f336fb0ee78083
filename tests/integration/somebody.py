# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody else does on the rigs' hypervisors, with virsh, XenAPI and pyVmomi: nothing here knows the collection."""

from __future__ import annotations

import abc
import contextlib
import pathlib
import ssl
import sys
import tempfile
import typing as t
import xml.etree.ElementTree as ET
import xmlrpc.client

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost

#: Seconds that a VM has been up when somebody restarts it.
UPTIME = 600


class Somebody(abc.ABC):
    """One who has an account on the hypervisor. VMs have one NIC when they are made."""

    #: The hypervisor as the record knows it; and one that a VM can be moved to, where that is another one for the record.
    places: tuple[tuple[str, dict[str, t.Any]], ...] = ()
    networks: tuple[str, ...] = ()

    @abc.abstractmethod
    def make(self, name: str) -> None:
        """Makes a VM and starts it."""

    @abc.abstractmethod
    def start(self, name: str) -> None: ...

    @abc.abstractmethod
    def stop(self, name: str) -> None: ...

    @abc.abstractmethod
    def destroy(self, name: str) -> None:
        """Stops a running VM and removes it."""

    @abc.abstractmethod
    def rename(self, name: str) -> None:
        """Appends -too."""

    def remake(self, name: str) -> None:
        """Destroys it and makes another one of its name."""
        self.destroy(name)
        self.make(name)

    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    @abc.abstractmethod
    def move(self, name: str) -> None:
        """To another host, while it runs."""

    @abc.abstractmethod
    def add_nic(self, name: str) -> None: ...

    @abc.abstractmethod
    def remove_nic(self, name: str) -> None:
        """The second one."""

    @abc.abstractmethod
    def guest_has(self, name: str, *addresses: str) -> None:
        """What the guest says of itself: its NICs' addresses."""


class SomebodyOnXapi(Somebody):
    """With the package XenAPI."""

    networks = ("corp-vlan120", "corp-vlan130")

    def __init__(self, rig: t.Any) -> None:
        import XenAPI

        self.rig = rig
        self.places = (("xen", rig.description()),)
        transport = xmlrpc.client.SafeTransport(context=ssl.create_default_context(cafile=str(rig.ca)))
        self.session = XenAPI.Session(f"https://127.0.0.1:{rig.pool.port}", transport=transport)
        self.session.login_with_password("root", rig.pool.password, "1.0", "somebody")
        self.api = self.session.xenapi
        rig.vm("golden", template=True)

    def close(self) -> None:
        self.api.session.logout()

    def _vm(self, name: str) -> str:
        (found,) = self.api.VM.get_by_name_label(name)
        return str(found)

    def make(self, name: str) -> None:
        vm = self.api.VM.clone(self._vm("golden"), name)
        self.api.VM.provision(vm)
        self.start(name)

    def start(self, name: str) -> None:
        self.api.VM.start(self._vm(name), False, False)

    def stop(self, name: str) -> None:
        self.api.VM.hard_shutdown(self._vm(name))

    def destroy(self, name: str) -> None:
        self.stop(name)
        self.api.VM.destroy(self._vm(name))

    def rename(self, name: str) -> None:
        self.api.VM.set_name_label(self._vm(name), f"{name}-too")

    def restart(self, name: str) -> None:
        self.rig.pool.clock_offset += UPTIME
        self.api.VM.hard_reboot(self._vm(name))

    def move(self, name: str) -> None:
        vm = self._vm(name)
        here = self.api.VM.get_resident_on(vm)
        there = next(host for host in self.api.host.get_all() if host != here)
        self.api.VM.pool_migrate(vm, there, {"live": "true"})

    def add_nic(self, name: str) -> None:
        vm = self._vm(name)
        (network,) = self.api.network.get_by_name_label("corp-vlan130")
        vif = self.api.VIF.create(
            {"VM": vm, "network": network, "device": "1", "MAC": "", "MTU": "1500", "other_config": {},
             "qos_algorithm_type": "", "qos_algorithm_params": {}}
        )  # fmt: skip
        self.api.VIF.plug(vif)

    def remove_nic(self, name: str) -> None:
        vif = next(vif for vif in self.api.VM.get_VIFs(self._vm(name)) if self.api.VIF.get_device(vif) == "1")
        self.api.VIF.unplug(vif)
        self.api.VIF.destroy(vif)

    def guest_has(self, name: str, *addresses: str) -> None:
        vm = self.rig.pool.store.get("VM", self._vm(name))
        # What the guest agent says it can do comes with it.
        self.rig.pool.agent(vm, {f"{device}/ip": address for device, address in enumerate(addresses)})


class SomebodyOnVCenter(Somebody):
    """With pyVmomi."""

    networks = ("DC0_DVPG0",)

    def __init__(self, rig: t.Any) -> None:
        from vcenter_admin import Admin

        self.rig = rig
        self.places = (("vcenter", rig.description()),)
        self.admin = Admin(rig)
        self.golden = "DC0_C0_RP0_VM0"

    def close(self) -> None:
        self.admin.close()

    def make(self, name: str) -> None:
        self.admin.clone(self.golden, name, on=True)

    def start(self, name: str) -> None:
        self.admin.power(name, on=True)

    def stop(self, name: str) -> None:
        self.admin.power(name, on=False)

    def destroy(self, name: str) -> None:
        self.admin.destroy(name)

    def rename(self, name: str) -> None:
        self.admin.rename(name, f"{name}-too")

    def restart(self, name: str) -> None:
        self.rig.clock(UPTIME)
        super().restart(name)

    def move(self, name: str) -> None:
        self.admin.vmotion(name)

    def add_nic(self, name: str) -> None:
        self.admin.add_nic(name)

    def remove_nic(self, name: str) -> None:
        self.admin.remove_nic(name, 1)

    def guest_has(self, name: str, *addresses: str) -> None:
        nics = [
            {
                "mac": card.macAddress,
                "device_config_id": card.key,
                "connected": True,
                "addresses": [{"ip": address, "prefix": 24}],
            }
            for card, address in zip(self.admin.cards(name), addresses, strict=False)
        ]
        tools = {"tools_running": "guestToolsRunning", "tools_version": "guestToolsCurrent"}
        self.rig.guests({"vm": name, **tools, "nics": nics})


class SomebodyOnKvm(Somebody):
    """With virsh. The VMs have nothing to boot; `said` is what their guests would answer, by MAC."""

    def __init__(self, here: KvmHost, there: KvmHost, way: str) -> None:
        """way: the address of the other host for the VMs' memory."""
        self.here, self.there, self.way = here, there, way
        self.places = (("kvm01", here.hypervisor), ("kvm02", there.hypervisor))
        self.networks = (here.status["BRIDGE"],)
        self.said: dict[str, str] = {}

    def make(self, name: str) -> None:
        self.here.define(f"""<domain type='{self.here.status["DOMAIN_TYPE"]}'><name>{name}</name>
<memory unit='MiB'>16</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>
<interface type='bridge'><source bridge='{self.networks[0]}'/><model type='virtio'/><rom enabled='no'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>""")
        self.start(name)

    def start(self, name: str) -> None:
        self.here.virsh("start", "--domain", name)

    def stop(self, name: str) -> None:
        for mac in self._macs(name):
            self.said.pop(mac, None)
        self.here.virsh("destroy", "--domain", name)

    def destroy(self, name: str) -> None:
        self.stop(name)
        self.here.virsh("undefine", "--domain", name)

    def rename(self, name: str) -> None:
        """With a restart: libvirt renames only VMs that are off."""
        self.stop(name)
        self.here.virsh("domrename", "--domain", name, "--new-name", f"{name}-too")
        self.start(f"{name}-too")

    def move(self, name: str) -> None:
        words = ("--live", "--persistent", "--undefinesource", "--domain", name)
        self.here.virsh("migrate", *words, "--desturi", self.there.uri, "--migrateuri", f"tcp://{self.way}")

    def add_nic(self, name: str) -> None:
        source = ("--type", "bridge", "--source", self.networks[0], "--model", "virtio")
        self.here.virsh("attach-interface", "--domain", name, *source, "--live", "--config")

    def remove_nic(self, name: str) -> None:
        """With a restart: a running guest's system has to let a card go, and there is none."""
        mac = self._macs(name)[1]
        self.stop(name)
        self.here.virsh("detach-interface", "--domain", name, "--type", "bridge", "--mac", mac, "--config")
        self.start(name)

    def guest_has(self, name: str, *addresses: str) -> None:
        self.said.update(zip(self._macs(name), addresses, strict=False))

    def _macs(self, name: str) -> list[str]:
        domain = ET.fromstring(self.here.virsh("dumpxml", "--domain", name))
        return [element.get("address", "") for element in domain.iterfind("devices/interface/mac")]


@contextlib.contextmanager
def on_xapi() -> t.Iterator[SomebodyOnXapi]:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "xapi"))
    from xapi_rig.rigging import Rig

    with tempfile.TemporaryDirectory() as folder, Rig(pathlib.Path(folder)).start() as rig:
        somebody = SomebodyOnXapi(rig)
        try:
            yield somebody
        finally:
            somebody.close()
        assert rig.pool.violations == []


@contextlib.contextmanager
def on_vcenter(name: str) -> t.Iterator[SomebodyOnVCenter]:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "vcenter"))
    from vcenter_rig import VCenterRig

    with VCenterRig(name, vms=1, nics=1, off=True) as rig:
        somebody = SomebodyOnVCenter(rig)
        try:
            yield somebody
        finally:
            somebody.close()
