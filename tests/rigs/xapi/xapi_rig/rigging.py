# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A ready pool of two hosts, and makers of VMs: for the `rig` command and for tests in the same process."""

from __future__ import annotations

import pathlib
import typing as t
import uuid

from xapi_rig.certs import make_certificates
from xapi_rig.facts import NULL
from xapi_rig.pool import Call, Pool
from xapi_rig.server import HostServer, serve
from xapi_rig.store import Obj

HOSTS = {"xen01": "127.0.0.1", "xen02": "127.0.0.2"}
ISO_DIR = "opt/xensource/packages/iso/configdrive_iso"
USERNAME = "root"
PASSWORD = "rig-password"
GIB = 1 << 30


class Rig:
    """Two hosts on 127.0.0.1 and 127.0.0.2 with one port; state and the hosts' folders live in `folder`."""

    def __init__(self, folder: pathlib.Path, *, make_iso_dir: bool = True, names_only: bool = False) -> None:
        self.folder = folder
        self.pool = Pool(folder, username=USERNAME, password=PASSWORD)
        self.ca = make_certificates(folder / "tls", HOSTS, names_only=names_only)
        self.hosts: dict[str, Obj] = {}
        self.networks: dict[str, Obj] = {}
        self.bases: dict[tuple[str, str], Obj] = {}
        self.disk_sr: Obj | None = None
        self._servers: list[HostServer] = []
        self._serial = 0
        self._build(make_iso_dir)

    # -- building --------------------------------------------------------------------------------------------------

    def _build(self, make_iso_dir: bool) -> None:
        store = self.pool.store
        for name, address in HOSTS.items():
            root = self.folder / "hosts" / name / "root"
            root.mkdir(parents=True, exist_ok=True)
            if make_iso_dir:
                (root / ISO_DIR).mkdir(parents=True, exist_ok=True)
            metrics = store.add("host_metrics", memory_total=64 * GIB, memory_free=32 * GIB, live=True)
            self.hosts[name] = store.add(
                "host", name_label=name, hostname=name, address=address, enabled=True, metrics=metrics.ref,
                software_version={"product_version": "8.4.0", "product_brand": "XenServer", "platform_version": "3.4.0"},
                API_version_major=2, API_version_minor=21, API_version_vendor="XenSource",
            )  # fmt: skip
        master = self.hosts["xen01"].ref
        shared = store.add(
            "SR",
            name_label="shared-lvm",
            type="lvmoiscsi",
            content_type="user",
            shared=True,
            physical_size=4096 * GIB,
            sm_config={"use_vhd": "true"},
        )
        for host in self.hosts.values():
            store.add("PBD", SR=shared.ref, host=host.ref, device_config={"target": "192.0.2.10"}, currently_attached=True)
        self.disk_sr = shared
        store.add("pool", name_label="rig", master=master, default_SR=shared.ref)
        # Two NICs in every host, the second as half of a bond; the networks of VMs are VLANs of the first.
        for device, bridge, label in (("eth0", "xenbr0", "Pool-wide network associated with eth0"),
                                      ("bond0", "xapi9", "Bond 1+2")):  # fmt: skip
            base = store.add("network", name_label=label, bridge=bridge, managed=True, MTU=1500)
            for index, host in enumerate(self.hosts.values()):
                self.bases[host.ref, device] = store.add(
                    "PIF", host=host.ref, network=base.ref, device=device, VLAN=-1, MAC=f"02:00:00:01:0{index}:0{len(self.bases)}", MTU=1500,
                    physical=device == "eth0", management=device == "eth0", currently_attached=True,
                )  # fmt: skip
        for number, name in enumerate(("corp-vlan120", "corp-vlan130", "corp-vlan140")):
            network = store.add("network", name_label=name, bridge=f"xapi{number}", managed=True, MTU=1500)
            for host in self.hosts.values():
                vlan = store.add("VLAN", tagged_PIF=self.bases[host.ref, "eth0"].ref, tag=120 + 10 * number)
                pif = store.add("PIF", host=host.ref, network=network.ref, device="eth0", VLAN=120 + 10 * number, MTU=1500,
                                MAC="fe:ff:ff:ff:ff:ff", VLAN_master_of=vlan.ref, currently_attached=True)  # fmt: skip
                store.set(vlan, untagged_PIF=pif.ref)
            self.networks[name] = network
        for index, host in enumerate(self.hosts.values()):
            metrics = store.add("VM_metrics")
            dom0 = store.add(
                "VM", name_label=f"Control domain on host: xen0{index + 1}", is_control_domain=True, power_state="Running",
                resident_on=host.ref, metrics=metrics.ref, domain_type="pv", domid=0,
            )  # fmt: skip
            store.set(host, control_domain=dom0.ref)

    def add_templates(self, count: int) -> None:
        """Default templates, of which a real pool carries about fifty."""
        if count:
            self.empty_template()
        for number in range(1, count):
            vm = self.vm(f"Template {number}", template=True, nics=0, disks=0)
            config = {**vm["other_config"], "default_template": "true"}
            self.pool.store.set(vm, is_default_template=True, other_config=config)

    def empty_template(self) -> Obj:
        """XenServer's own template without disks, as its guest-templates-json (json/other-install-media.json) has it."""
        vm = self.vm("Other install media", template=True, nics=0, disks=0, cd=None)
        self.pool.store.set(
            vm, is_default_template=True, reference_label="other-install-media", HVM_boot_params={"order": "dc"},
            name_description="Template which allows VM installation from install media", affinity=NULL,
            memory_static_min=GIB // 8, memory_static_max=GIB // 4, memory_dynamic_min=GIB // 4, memory_dynamic_max=GIB // 4,
            platform={"viridian": "true", "device-model": "qemu-upsteam-compat", "acpi": "1", "apic": "true", "pae": "true", "nx": "true"},
            other_config={"install-methods": "cdrom", "default_template": "true", "mac_seed": str(uuid.uuid4())},
        )  # fmt: skip
        return vm

    def vm(self, name: str, *, template: bool = False, nics: int = 1, disks: int = 1, cd: str | None = "3", domain: str = "hvm",
           network: str = "corp-vlan120", affinity: str | None = "xen01") -> Obj:  # fmt: skip
        """A halted VM; cd: the slot of its empty CD drive, None for none."""
        store = self.pool.store
        with store.changed:
            self._serial += 1
            serial = self._serial
            metrics = store.add("VM_metrics")
            vm = store.add(
                "VM", name_label=name, power_state="Halted", is_a_template=template, metrics=metrics.ref, domain_type=domain,
                HVM_boot_policy="BIOS order" if domain == "hvm" else "", domid=-1, VCPUs_max=1, VCPUs_at_startup=1,
                memory_static_max=GIB, memory_dynamic_max=GIB, memory_dynamic_min=GIB, memory_static_min=GIB // 2,
                platform={"device-model": "qemu-upstream-compat", "acpi": "1", "pae": "true", "nx": "true", "viridian": "false"},
                HVM_boot_params={"order": "cdn", "firmware": "bios"}, affinity=self.hosts[affinity].ref if affinity else NULL,
                recommendations='<restrictions><restriction field="memory-static-max" max="137438953472"/></restrictions>',
                other_config={"base_template_name": "Debian 12", "install-methods": "cdrom,nfs,http,ftp", "mac_seed": str(uuid.uuid4())},
                actions_after_crash="restart", actions_after_reboot="restart", actions_after_shutdown="destroy",
            )  # fmt: skip
            common = {"qos_algorithm_type": "", "qos_algorithm_params": {}, "other_config": {}}
            assert self.disk_sr is not None
            for number in range(disks):
                vdi = store.add("VDI", SR=self.disk_sr.ref, name_label=f"{name} disk {number}", virtual_size=10 * GIB, type="user",
                                managed=True)  # fmt: skip
                store.add("VBD", VM=vm.ref, VDI=vdi.ref, userdevice=str(number), bootable=number == 0, mode="RW", type="Disk",
                          empty=False, **common)  # fmt: skip
            if cd is not None:
                store.add("VBD", VM=vm.ref, userdevice=cd, mode="RO", type="CD", empty=True, **common)
            names = list(self.networks)
            for number in range(nics):
                net = self.networks[network] if number == 0 else self.networks[names[number % len(names)]]
                mac = f"02:16:3e:{serial >> 8 & 255:02x}:{serial & 255:02x}:{number:02x}"
                store.add("VIF", VM=vm.ref, network=net.ref, device=str(number), MAC=mac, MTU=1500, **common)
            self.pool.refresh_operations(vm)
            return vm

    # -- running ---------------------------------------------------------------------------------------------------

    def start(self, port: int = 0) -> Rig:
        while not self._servers:
            try:
                self._bind(port)
            except OSError:
                for server in self._servers:
                    server.server_close()
                self._servers.clear()
                if port:
                    raise
        for server in self._servers:
            serve(server)
        return self

    def _bind(self, port: int) -> None:
        """Takes the port on all addresses; with 0 one that is free on the first, which may not be so on the others."""
        for name, address in HOSTS.items():
            certificate = self.folder / "tls" / f"{name}.pem"
            self._servers.append(HostServer(self.pool, self.hosts[name].ref, (address, port), certificate))
            self.pool.port = port = self._servers[0].server_address[1]

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers.clear()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    # -- what tests say --------------------------------------------------------------------------------------------

    def description(self, **changes: t.Any) -> dict[str, t.Any]:
        """The `hypervisor` option of the collection's modules."""
        return {
            "type": "xenserver", "host": "127.0.0.1", "port": self.pool.port, "username": USERNAME, "password": PASSWORD,
            "validate_certs": True, "ca_path": str(self.ca), "connect_timeout": 20.0, **changes,
        }  # fmt: skip

    def power(self, vm: Obj, state: str, host: str | None = None, *, agent: bool = False) -> None:
        """Starts or stops a VM as an administrator would. agent: the guest agent of the started VM has reported already."""
        with self.pool.store.changed:
            if state == "start" and host:
                self.pool.VM_start_on(self._call(), vm.ref, self.hosts[host].ref, False, False)
            elif state == "start":
                self.pool.VM_start(self._call(), vm.ref, False, False)
            elif state == "stop":
                self.pool.VM_hard_shutdown(self._call(), vm.ref)
            else:
                raise ValueError(state)
            if agent:
                self.pool.agent(vm, {})

    def clone(self, vm: Obj, name: str) -> Obj:
        """Clones a halted VM or a template as an administrator would."""
        with self.pool.store.changed:
            return self.pool.store.get("VM", self.pool.VM_clone(self._call(), vm.ref, name))

    def snapshot(self, vm: Obj, name: str) -> Obj:
        with self.pool.store.changed:
            return self.pool.store.get("VM", self.pool.VM_snapshot(self._call(), vm.ref, name, []))

    def _call(self) -> Call:
        return Call(self.pool.master().ref, "", "rig")

    def iso_dir(self, host: str = "xen01") -> pathlib.Path:
        return self.folder / "hosts" / host / "root" / ISO_DIR
