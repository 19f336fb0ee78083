# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Variables for other collections' connection plugins, which reach a guest through its hypervisor."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError

if t.TYPE_CHECKING:
    from collections.abc import Mapping

_HOW = "prepare the template over SSH (entry point linux), or its image (entry point image)"


def guest_channel(hypervisor: Mapping[str, t.Any], vm: str, user: str, password: str) -> dict[str, t.Any]:
    """user, password: of the guest, where its tools ask for them. Raises OptionError."""
    kind = hypervisor.get("type")
    if kind == "kvm":
        if not hypervisor.get("uri"):
            raise OptionError("hypervisor.uri is not set: the QEMU guest agent is reached through libvirt, give its URI")
        return {
            "hypervisor": kind,
            "ansible_connection": "community.libvirt.libvirt_qemu",
            "ansible_host": vm,
            "ansible_libvirt_uri": hypervisor["uri"],
        }
    if kind == "vmware":
        return {"hypervisor": kind, **_vmware(hypervisor, vm, user, password)}
    if kind == "xenserver":
        raise OptionError(f"hypervisor.type is xenserver, which has no channel to run anything in a guest: {_HOW}")
    raise OptionError(f"hypervisor.type is {kind!r}, not kvm or vmware")


def _vmware(hypervisor: Mapping[str, t.Any], vm: str, user: str, password: str) -> dict[str, t.Any]:
    for option in ("host", "username", "password"):
        if not hypervisor.get(option):
            raise OptionError(f"hypervisor.{option} is not set: VMware's guest operations need it")
    if not password:
        raise OptionError("vm_template_guest_password is not set: VMware's guest operations log in to the guest")
    folder = hypervisor.get("folder") or (f"/{hypervisor['datacenter']}/vm" if hypervisor.get("datacenter") else "")
    if not folder:
        raise OptionError(
            f"hypervisor.folder and hypervisor.datacenter are not set: say where the VM {vm} is, such as /DC1/vm/templates"
        )
    escaped = vm.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")
    return {
        "ansible_connection": "community.vmware.vmware_tools",
        "ansible_host": hypervisor["host"],
        "ansible_vmware_host": hypervisor["host"],
        "ansible_vmware_port": hypervisor.get("port") or 443,
        "ansible_vmware_user": hypervisor["username"],
        "ansible_vmware_password": hypervisor["password"],
        "ansible_vmware_validate_certs": hypervisor.get("validate_certs", True),
        "ansible_vmware_guest_path": f"{folder.strip('/')}/{escaped}",
        "ansible_vmware_tools_user": user,
        "ansible_vmware_tools_password": password,
    }
