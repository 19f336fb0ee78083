# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A VM made of a disk image: the image becomes a volume of a pool, through libvirt, and a definition is written for it."""

from __future__ import annotations

import posixpath
import typing as t
import uuid
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError, NicWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import Images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import host as kvm_host
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import nics as kvm_nics
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import storage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.creation import check_name, new_mac
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.formats import DiskImage
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import ImageWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.nics import Networks

# By bus of the CD/DVD drives, the type of machine that has it.
_MACHINES = {"ide": "pc", "sata": "q35", "scsi": "q35"}
# With the serial console that cloud images write to, and the channel of the guest agent.
_DOMAIN = f"""<domain>
  <name/><uuid/><memory unit='MiB'/><vcpu/>
  <os><type arch='x86_64'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/></features>
  <cpu/>
  <clock offset='utc'/>
  <devices>
    <disk type='file' device='disk'><driver name='qemu'/><source/><target dev='vda' bus='virtio'/></disk>
    <serial type='pty'/><console type='pty'/>
    <channel type='unix'><target type='virtio' name='{kvm_domain.AGENT_CHANNEL}'/></channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>"""


class KvmImages(Images):
    """See images.Images. virtio-scsi on a q35 machine is what kernels made for clouds know, as they do not ahci or ata_piix."""

    forms = (formats.QCOW2, formats.RAW)
    buses = ("scsi", "sata", "ide")
    drivers = ("virtio_blk", "virtio_net")

    def __init__(self, host: Host) -> None:
        self._host = host

    def is_made(self, vm: Vm) -> bool:
        """See images.Images. A clone's mark names its template."""
        mark = kvm_domain.mark(kvm_domain.parse(vm.handle.XMLDesc(0)))
        return mark is not None and not mark.template

    def make(self, wanted: ImageWanted, change: bool) -> str:
        """See images.Images."""
        try:
            return _make(self._host, wanted, change)
        except libvirt.libvirtError as error:
            raise MachineError(self._host.explain(wanted.name, "it could not be made of the image", error)) from None


def _make(host: Host, wanted: ImageWanted, change: bool) -> str:
    check_name(wanted.name)
    processor = host.connection.getInfo()[0]
    if processor != "x86_64":
        raise MachineError(f"{host.endpoint} has processors of type {processor}: VMs are made of images for x86_64 only")
    networks = kvm_host.read_networks(host.connection)
    if not networks.knows(wanted.network):
        raise MachineError(f"there is no network or bridge {wanted.network} on {host.endpoint}: make it, or correct the name")
    kind = _kind(host, _MACHINES[wanted.bus])
    pool = _pool(host, wanted.placement.get("storage_pool"), change)
    name = f"{wanted.name}.{'img' if wanted.image.form == formats.RAW else 'qcow2'}"
    path = posixpath.join(host.image_dir, name) if pool is None else _place_in(pool, wanted, name)
    vm_id = str(uuid.uuid4())
    if not change or pool is None:
        return vm_id
    mac = new_mac(kvm_host.macs_in_use(kvm_host.read_domains(host)), wanted.name)
    volume = pool.createXML(storage.volume_xml(name, wanted.image.form, wanted.image.size), 0)
    try:
        _upload(host.connection, volume, wanted.image)
        storage.refresh(pool)
        _check(volume, wanted)
        host.connection.defineXMLFlags(definition(wanted, vm_id, kind, path, (networks, mac)), 0)
    except BaseException:
        volume.delete(0)
        raise
    return vm_id


def _kind(host: Host, machine: str) -> str:
    """kvm, or qemu (emulation) on a host without it."""
    for kind in ("kvm", "qemu"):
        try:
            host.connection.getDomainCapabilities(None, "x86_64", machine, kind, 0)
        except libvirt.libvirtError:
            continue
        return kind
    raise MachineError(f"{host.endpoint} has no machines of type {machine}")


def _pool(host: Host, name: str | None, change: bool) -> t.Any:
    """The pool for the disk; None if it is to be made for the folder and nothing may be changed."""
    if not name:
        find = storage.folder_pool if change else storage.find_pool
        return find(host.connection, host.image_dir)
    pool = host.connection.storagePoolLookupByName(name)
    storage.start_pool(pool)
    kind = kvm_domain.parse(pool.XMLDesc(0)).get("type", "")
    if kind not in storage.FILE_POOLS:
        raise MachineError(f"storage pool {name} is of type {kind}: images are put into pools of folders only")
    return pool


def _place_in(pool: t.Any, wanted: ImageWanted, name: str) -> str:
    """The path of the new volume, for which there must be room."""
    storage.refresh(pool)
    path = posixpath.join(kvm_domain.parse(pool.XMLDesc(0)).findtext("target/path") or "", name)
    if name in pool.listVolumes():
        raise MachineError(f"{path} is there already, though there is no VM of this name: delete it, or choose another name")
    room, needed = pool.info()[3], wanted.image.length
    if room < needed:
        raise MachineError(f"storage pool {pool.name()} has {room} bytes left, and the image needs {needed}: make room there")
    return path


def _upload(connection: t.Any, volume: t.Any, image: DiskImage) -> None:
    with image.data() as data:
        stream = connection.newStream(0)
        volume.upload(stream, 0, data.length, 0)
        stream.sendAll(lambda _stream, count, _opaque: data.read(count), None)
        stream.finish()


def _check(handle: t.Any, wanted: ImageWanted) -> None:
    """What libvirt found in the volume is what the image was looked at for."""
    volume = storage.read_volume(handle)
    if (volume.form, volume.capacity, volume.base) != (wanted.image.form, wanted.image.size, None):
        raise MachineError(f"the image changed while it was copied: {volume.path} is {volume.form} of {volume.capacity} bytes")


def definition(wanted: ImageWanted, vm_id: str, kind: str, path: str, nic: tuple[Networks, str]) -> str:
    """The XML of the VM. kind: of the domain. path: of its disk. nic: what there is to put its NIC on, and its MAC."""
    domain = ET.fromstring(_DOMAIN)
    domain.set("type", kind)
    texts = {"name": wanted.name, "uuid": vm_id, "memory": str(wanted.memory), "vcpu": str(wanted.cpus)}
    for tag, text in texts.items():
        t.cast("ET.Element", domain.find(tag)).text = text
    system = t.cast("ET.Element", domain.find("os"))
    if wanted.efi:
        system.set("firmware", "efi")
    t.cast("ET.Element", system.find("type")).set("machine", _MACHINES[wanted.bus])
    # A model that other hosts have as well, for migrations.
    t.cast("ET.Element", domain.find("cpu")).set("mode", "host-model" if kind == "kvm" else "maximum")
    t.cast("ET.Element", domain.find("devices/disk/driver")).set("type", wanted.image.form)
    t.cast("ET.Element", domain.find("devices/disk/source")).set("file", path)
    # One drive for the user's media and one for the config drive, both empty.
    kvm_domain.add_config_drive(domain, wanted.bus)
    networks, mac = nic
    kvm_nics.change_nics(t.cast("ET.Element", domain.find("devices")), [NicWanted(wanted.network)], networks, [mac])
    kvm_domain.set_mark(domain, kvm_domain.Mark("", (path,)))
    return ET.tostring(domain, encoding="unicode")
