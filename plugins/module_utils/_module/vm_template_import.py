# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_template_import: makes a VM of the image, if there is none of its name."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import REASON_VM_NOT_FOUND
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import ImageWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import qemu_img
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import find_vms, hypervisor_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_results import destination_or_placement, named

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor


def run_module(module: AnsibleModule) -> None:
    """Makes the VM if there is none of this name, and ends the module with its id."""
    for option in ("memory", "cpus"):
        if module.params[option] < 1:
            module.fail_json(msg=f"{option} is {module.params[option]}: it must be at least 1")
    form = module.params["image_format"]
    with qemu_img.image_errors(module):
        image = formats.look_at(os.path.realpath(module.params["image"]), None if form == "auto" else form)
    with hypervisor_of(module) as hypervisor:
        try:
            with qemu_img.image_errors(module):
                _run(module, hypervisor, image)
        except (MachineError, OptionError) as error:
            module.fail_json(msg=named(module.params["name"], str(error)))


def _run(module: AnsibleModule, hypervisor: Hypervisor, image: formats.DiskImage) -> None:
    name, images = module.params["name"], hypervisor.images
    wanted = _wanted(module, hypervisor, image)
    result = {"bus": wanted.bus, "drivers": list(images.drivers)}
    found = find_vms(hypervisor, [name])
    for vm in found.vms:
        finished = images.finish(vm, change=not module.check_mode)
        if not finished and not images.is_made(vm):
            raise MachineError("there is a VM of this name that was not made of an image: choose another name, or delete that VM")
        module.exit_json(changed=finished, id=vm.id, **result)
    if found.problems[name].reason != REASON_VM_NOT_FOUND:
        module.fail_json(msg=found.problems[name].message)
    images.make(wanted, change=False)
    qemu_img.need(image, images.forms)
    vm_id = None
    if not module.check_mode:
        with qemu_img.in_form(module, image, images.forms) as fitting:
            vm_id = images.make(dataclasses.replace(wanted, image=fitting), change=True)
    after = f"a VM of {module.params['image']}, {image.size} bytes\n"
    module.exit_json(changed=True, id=vm_id, diff={"before": "", "after": after, "after_header": name}, **result)


def _wanted(module: AnsibleModule, hypervisor: Hypervisor, image: formats.DiskImage) -> ImageWanted:
    buses = hypervisor.images.buses
    bus = module.params["bus"] or buses[0]
    if bus not in buses:
        raise MachineError(f"bus is {bus}, which hypervisor.type {hypervisor.type} has not: use {' or '.join(buses)}")
    placement = destination_or_placement(
        module.params["placement"], hypervisor.machines.placement_keys, "placement", hypervisor.type
    )
    options = {option: module.params[option] for option in ("name", "network", "memory", "cpus", "efi")}
    source = os.path.basename(module.params["image"])
    return ImageWanted(image=image, source=source, bus=bus, placement=placement, **options)
