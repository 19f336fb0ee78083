# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Templates made of disk images: clones of XenServer's own empty template, with a disk that the image is written to."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    MachineError,
    NicWanted,
    VmWanted,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import Images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import records
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation import DISK_SECONDS, Creation
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation_plan import CreationPlanner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import USER_SLOT
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import LOOK, Call, Flows
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.marks import IMAGE_KEY
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.nics import set_nics
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import MACHINES, NULL, Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.removal import DESTROY_SECONDS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.transfer import host_names, upload
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import ImageWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation_plan import CreationPlan
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import Flow
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Record
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

# The template without disks of XenServer and XCP-ng: newer versions have the label, older ones only the name.
_BASE_LABEL, _BASE_NAME = "other-install-media", "Other install media"
# What a picture for creating VMs has, and more.
_FIELDS = {
    **MACHINES,
    "vm": MACHINES["vm"] | {"reference_label"},
    "vdi": MACHINES["vdi"] | {"other_config"},
    "sr": MACHINES["sr"] | {"type", "physical_size", "physical_utilisation"},
}
# Types of repositories that take a disk's whole size at once; others take as much as is written.
_THICK = ("lvm", "lvmohba", "lvmoiscsi", "lvmofcoe")
# Disks are a multiple of a VHD's block, and have a largest size (sm, vhdutil.py).
_BLOCK = 2 << 20
_MAX_DISK = 2093050 << 20


class XenImages(Images):
    """See images.Images. The only bus is emulated: Linux as an HVM guest does not use paravirtual CD/DVD drives."""

    forms = (formats.VHD, formats.RAW, formats.FIXED_VHD)
    buses = ("ide",)
    drivers = ("xen_blkfront", "xen_netfront")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._picture = Picture(session, _FIELDS)
        self._planner = CreationPlanner(self._picture)

    def is_made(self, vm: Vm) -> bool:
        """See images.Images. A clone carries our mark as well, but is no template."""
        return vm.ours and vm.is_template

    def make(self, wanted: ImageWanted, change: bool) -> str:
        """See images.Images. A template has a temporary name until it is done; left-overs under that name are deleted first."""
        self._picture.refresh()
        plan, sr = self._plan(wanted)
        if not change:
            return ""
        making = _Making(self._session, self._picture, self._planner, wanted, sr)
        ((_name, outcome),) = Flows(self._session, self._picture).run([(wanted.name, making.flow(plan))])
        if outcome.error is not None:
            raise MachineError(outcome.error)
        return str(outcome.id)

    def _plan(self, wanted: ImageWanted) -> tuple[CreationPlan, str]:
        """The plan of a clone of the empty template, and the SR for its disk."""
        size = {"memory": wanted.memory, "cpus": wanted.cpus}
        nics = (NicWanted(wanted.network),)
        plan = self._planner.plan(VmWanted(wanted.name, self._base(), nics, False, **size, placement=wanted.placement))
        sr = plan.sr if plan.sr != NULL else self._default_sr()
        label = self._picture.records["sr"][sr]["name_label"]
        hosts = self._picture.sr_hosts(sr)
        if plan.host is not None and plan.host not in hosts:
            raise MachineError(
                f"placement.host {wanted.placement['host']} does not see the storage repository {label}: give placement.sr too"
            )
        if not any(map(self._picture.live, hosts)):
            raise MachineError(
                f"no host that is up has the storage repository {label} plugged: repair it, or give another placement.sr"
            )
        if wanted.image.size > _MAX_DISK:
            raise MachineError(f"image has a disk of {wanted.image.size} bytes, and XenServer takes at most {_MAX_DISK}")
        self._check_room(wanted, self._picture.records["sr"][sr])
        return plan, sr

    def _base(self) -> str:
        """The UUID of the empty template."""
        templates = [vm for vm in self._picture.records["vm"].values() if vm["is_a_template"] and not vm["is_a_snapshot"]]
        found = [vm for vm in templates if vm.get("reference_label") == _BASE_LABEL] or [
            vm for vm in templates if vm["name_label"] == _BASE_NAME and vm["is_default_template"]
        ]
        if not found:
            raise MachineError(
                f"the pool has no template {_BASE_NAME}, which VMs of images are cloned from: make it again, on a host, with "
                "/opt/xensource/libexec/create-guest-templates"
            )
        return str(found[0]["uuid"])

    def _default_sr(self) -> str:
        refs = [pool["default_SR"] for pool in self._picture.records["pool"].values()]
        found = self._picture.get("sr", refs[0] if refs else None)
        if found is None or found["content_type"] == "iso":
            raise MachineError("the pool has no default storage repository for disks: give placement.sr")
        return str(refs[0])

    @staticmethod
    def _check_room(wanted: ImageWanted, sr: Record) -> None:
        size = int(sr["physical_size"])
        room = size - int(sr["physical_utilisation"])
        needed = wanted.image.size if sr["type"] in _THICK else wanted.image.length
        if size > 0 and room < needed:  # some types of storage do not know their size
            raise MachineError(
                f"the storage repository {sr['name_label']} has {room} bytes left, and the image needs {needed}: make room there, or "
                "give another placement.sr"
            )


class _Making(Creation):
    """A Creation whose clone gets a disk with the image, and stays a template."""

    def __init__(self, session: Session, picture: Picture, planner: CreationPlanner, wanted: ImageWanted, sr: str) -> None:
        super().__init__(session, picture, planner)
        self._wanted = wanted
        self._sr = sr

    def _clone(self, plan: CreationPlan) -> Flow:
        for ref, vdi in self._picture.records["vdi"].items():
            if vdi["other_config"].get(IMAGE_KEY) == plan.want.name and not vdi["VBDs"]:  # a run was cut short
                yield Call("VDI.destroy", (ref,), DESTROY_SECONDS)
        return (yield from super()._clone(plan))

    def _steps(self, plan: CreationPlan, ref: str) -> Flow:
        vm = self._picture.get("vm", ref)
        if vm is None:
            raise MachineError("the clone is gone again; somebody deleted it")
        call = self._session.call
        config = {key: value for key, value in self._other_config(plan, vm).items() if key != "install-methods"}
        call("VM.set_other_config", ref, config)
        call("VM.set_name_description", ref, f"Made of the image {plain(self._wanted.source)}")
        self._set_boot(ref, vm)
        set_nics(self._session, self._picture, ref, plan.nics or ())
        self._set_size(plan, ref, vm)
        vdi = yield from self._disk(ref, vm)
        self._add_user_drive(ref, vm)
        yield LOOK
        self._prepare_cds(ref, self._picture.records["vm"][ref])
        if plan.host is not None:
            call("VM.set_affinity", ref, plan.host)
        self._upload(vdi)
        self._refuse_rival(plan.want.name, ref)
        call("VM.set_name_label", ref, plan.want.name)

    def _set_boot(self, ref: str, vm: Record) -> None:
        """Makes it boot from the disk, as templates for Linux do: the empty template is set up for Windows."""
        firmware = "uefi" if self._wanted.efi else "bios"
        self._session.call("VM.set_HVM_boot_params", ref, {"order": "cd", "firmware": firmware})
        platform = {**vm["platform"], "viridian": "false", "device_id": "0001"}
        if self._wanted.efi:
            platform.pop("device-model", None)  # XAPI takes the one that knows UEFI
            platform["secureboot"] = "false"
        self._session.call("VM.set_platform", ref, platform)

    def _disk(self, ref: str, vm: Record) -> Flow:
        """The VDI for the image; it is made and attached if the VM has none yet, and so is deleted with the VM."""
        there = self._planner.disks(vm)
        if there:
            return there[0]
        name = self._wanted.name
        size = -(-self._wanted.image.size // _BLOCK) * _BLOCK
        vdi = yield Call("VDI.create", (records.vdi(name, self._sr, size, other_config={IMAGE_KEY: name}),), DISK_SECONDS)
        try:
            self._session.patiently("VBD.create", records.boot_disk(ref, vdi))
        except HypervisorError:
            self._session.patiently("VDI.destroy", vdi)
            raise
        return vdi

    def _add_user_drive(self, ref: str, vm: Record) -> None:
        """Adds the empty CD drive for a user's media."""
        vbds = [self._picture.get("vbd", one) for one in vm["VBDs"]]
        if any(vbd is not None and vbd["userdevice"] == str(USER_SLOT) for vbd in vbds):
            return
        self._session.patiently("VBD.create", records.cd_drive(ref, USER_SLOT))

    def _upload(self, vdi: str) -> None:
        masters = [pool["master"] for pool in self._picture.records["pool"].values()]
        live = filter(self._picture.live, self._picture.sr_hosts(self._sr))
        chosen = min(live, key=lambda host: (host not in masters, host))
        address = self._picture.records["host"][chosen]["address"]
        image = self._wanted.image
        form = "vhd" if image.form == formats.VHD else "raw"
        with image.data() as data:
            upload(self._session, host_names(self._session, self._picture), address, vdi, data, form)
