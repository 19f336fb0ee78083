# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_template_info."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats, image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import FolderFiles
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.report import report
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Problem
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import qemu_img
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.template_options import wanted_of

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted


def run_module(module: AnsibleModule) -> None:
    """Checks the system in a folder or an image, and ends the module with its problems as a template."""
    params = module.params
    init = None if params["init"] == "auto" else params["init"]
    only_here = {name: params[name] for name in ("bus", "scripts", "drivers")}
    found = _look(module, wanted_of(module, **only_here), init)
    problems = found["problems"]
    for entry in problems:
        entry["sentence"] = Problem(entry["check"], entry["message"], entry["remedy"]).sentence
    accepted = set(params["accept"])
    module.exit_json(
        changed=False,
        ready=all(entry["check"] in accepted for entry in problems),
        problems=[entry for entry in problems if entry["check"] not in accepted],
        accepted=[entry for entry in problems if entry["check"] in accepted],
        system=found["system"],
        leftovers=found["leftovers"],
    )


def _look(module: AnsibleModule, wanted: Wanted, init: str | None) -> dict[str, t.Any]:
    path = module.params["image"]
    if path is None:
        root = module.params["root"]
        if not os.path.isdir(root):
            module.fail_json(msg=f"root is {root}: there is no such folder")
        return report(FolderFiles(root), wanted, init)
    form = None if module.params["image_format"] == "auto" else module.params["image_format"]
    # An image of another format is read from a converted copy.
    with qemu_img.image_errors(module), qemu_img.in_form(
        module, formats.look_at(path, form), (formats.QCOW2, formats.RAW)
    ) as found:
        return image.look(found.path, found.form, wanted, init)
    return {}  # for the type checker: errors end the module
