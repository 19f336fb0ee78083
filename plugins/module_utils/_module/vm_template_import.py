# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_template_import: there is a VM of this name, made of the image."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import REASON_VM_NOT_FOUND
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import ImageWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import find_vms, hypervisor_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_results import destination_or_placement, named
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import NamesError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run_module(module: AnsibleModule) -> None:
    """Makes the VM if there is none of this name, and ends the module with its id."""
    name, path = module.params["name"], os.path.realpath(module.params["image"])
    for option in ("memory", "cpus"):
        if module.params[option] < 1:
            module.fail_json(msg=f"{option} is {module.params[option]}: it must be at least 1")
    try:
        form = image.format_of(path) if module.params["image_format"] == "auto" else module.params["image_format"]
        size = image.disk_size(path, form)
    except image.ImageError as error:
        module.fail_json(msg=f"image {path} {error}")
    except OSError as error:
        module.fail_json(msg=f"image is {path}: {error.strerror}")
    with hypervisor_of(module) as hypervisor:
        found = find_vms(hypervisor, [name])
        for vm in found.vms:
            module.exit_json(changed=False, id=vm.id)
        if found.problems[name].reason != REASON_VM_NOT_FOUND:
            module.fail_json(msg=found.problems[name].message)
        try:
            placement = destination_or_placement(
                module.params["placement"], hypervisor.machines.placement_keys, "placement", hypervisor.type
            )
            wanted = ImageWanted(
                name,
                path,
                form,
                size,
                placement=placement,
                **{option: module.params[option] for option in ("network", "bus", "memory", "cpus", "efi")},
            )
            vm_id = hypervisor.images.make(wanted, change=not module.check_mode)
        except (MachineError, NamesError) as error:
            module.fail_json(msg=named(name, str(error)))
        after = f"a VM of {module.params['image']}, {size} bytes\n"
        module.exit_json(
            changed=True, id=None if module.check_mode else vm_id, diff={"before": "", "after": after, "after_header": name}
        )
