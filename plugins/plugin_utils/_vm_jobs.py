# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks what a user asks the role vm to do, before anything is changed."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import LAYOUTS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._entries import entries_of, nearest
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary, OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drive_input import describe, summary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import names_of
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_plan import vm_plan

_EXAMPLE = """such as -e vm_names=web1,web2 or -e '{"vm_names": ["web1", "web2"]}'"""


@dataclasses.dataclass(frozen=True)
class Request:
    """The role's variables without their prefix; vms and shared_networks as the user wrote them."""

    vms: t.Any
    shared_networks: t.Any = ()
    names: t.Any = None
    label: str | None = None
    layouts: Sequence[str] = LAYOUTS
    metadata: t.Any = None
    destroy_others: bool = False
    destination: t.Any = None
    passwords: t.Any = None
    password_public_key: str | None = None
    hypervisor: t.Any = None
    doubtful: t.Collection[str] = ()

    def plan(self, **more: t.Any) -> list[dict[str, t.Any]]:
        return vm_plan(self.vms, self.shared_networks or (), password_public_key=self.password_public_key, **more)


def problem_of(job: str, request: Request) -> str:
    """The first thing that is wrong, in a sentence; empty if there is nothing."""
    try:
        _hypervisor(request.hypervisor)
        _CHECKS[job](request)
    except (OptionError, MissingLibrary) as error:
        return str(error)
    return ""


def reset_drives(
    passwords: Mapping[str, str | None], plan: Sequence[Mapping[str, t.Any]], password_public_key: str | None = None
) -> list[dict[str, t.Any]]:
    """Entries for vm_config_drive that give VMs new passwords, with the keys of the plan by which a drive is checked.

    For a password that is None the module makes one, encrypted to the VM's key in the plan, else to password_public_key.
    """
    by_name = {entry["name"]: entry["drive"] for entry in plan}
    kept = ("services", "network", "reader")
    entries = []
    for name, password in passwords.items():
        drive = by_name[name]
        new = {"password": password}
        if password is None:
            new = {"password_public_key": drive.get("password_public_key") or password_public_key}
        entries.append({"name": name, **new, **{key: drive[key] for key in kept if key in drive}})
    return entries


def outdated(passwords: Mapping[str, str | None], plan: Sequence[Mapping[str, t.Any]]) -> list[str]:
    """Names of the VMs whose entry in vms still has another password, which the next deployment would put back."""
    return [entry["name"] for entry in plan if entry["name"] in passwords and _differs(passwords, entry["drive"])]


def _differs(passwords: Mapping[str, str | None], drive: Mapping[str, t.Any]) -> bool:
    if passwords[drive["name"]] is None and "password_public_key" in drive:
        return False  # the next deployment keeps the password on the drive
    return "password_hash" in drive or drive.get("password") != passwords[drive["name"]]


def _hypervisor(hypervisor: t.Any) -> None:
    if not hypervisor:
        raise OptionError(
            "this host has no variable hypervisor, which says how to reach it: set it in the inventory, such as "
            "hypervisor: {type: kvm, uri: 'qemu:///system'}"
        )


def _deploy(request: Request) -> None:
    request.plan(
        names=request.names, label=request.label, layouts=request.layouts, metadata=request.metadata, doubtful=request.doubtful
    )


def _power(request: Request) -> None:
    request.plan(names=request.names)


def _list(request: Request) -> None:
    names_of(request.names, "vm_names")


def _destroy(request: Request) -> None:
    names = _needed_names(request, "destroy")
    # Other mistakes in the entries are no reason to keep a VM.
    entries = entries_of("vms", request.vms)
    known = [str(entry.get("name")) for entry in entries]
    templates = [entry.get("template") for entry in entries]
    for name in names:
        if name in templates:
            raise OptionError(f"vm_names has {name!r}, which is the template of an entry of vms: it cannot be destroyed this way")
        if name not in known and not request.destroy_others:
            raise OptionError(
                f"vm_names has {name!r}, which is not in vms{nearest(name, known)}; to destroy a VM that is not, set "
                "vm_destroy_others to true"
            )


def _migrate(request: Request) -> None:
    _needed_names(request, "migrate")
    if not isinstance(request.destination, Mapping) or not any(request.destination.values()):
        raise OptionError(
            f"vm_destination is {request.destination!r}: say in a mapping where the VMs go, such as "
            """-e '{"vm_names": ["web1"], "vm_destination": {"host": "host2"}}'"""
        )


def _reset_password(request: Request) -> None:
    passwords = request.passwords
    if not isinstance(passwords, Mapping) or not passwords:
        # The message does not show the value, because it holds passwords.
        raise OptionError(
            "vm_passwords must be a mapping from names of VMs to their new passwords, in a file that only you can read: "
            "-e @passwords.yml; or leave it out, and name in vm_names the VMs for which passwords are made"
        )
    plan = request.plan()
    known = [entry["name"] for entry in plan]
    for name in passwords:
        if name not in known:
            raise OptionError(f"vm_passwords has {name!r}, which is not in vms{nearest(str(name), known)}")
    drives = reset_drives(passwords, plan, request.password_public_key)
    for drive in drives:
        if not drive.get("password") and not drive.get("password_public_key"):
            raise OptionError(
                f"vm_password_public_key is not set, to which the new password of {drive['name']} is to be encrypted: give a public "
                "key, or the password itself in vm_passwords"
            )
    _descriptions, errors = describe(drives)
    if errors:
        raise OptionError(summary(errors))


def _needed_names(request: Request, what: str) -> list[str]:
    names = names_of(request.names, "vm_names")
    if not names:
        raise OptionError(f"vm_names is empty: name the VMs to {what}, {_EXAMPLE}; there is no default")
    return names


_CHECKS: dict[str, t.Callable[[Request], None]] = {
    "deploy": _deploy,
    "start": _power,
    "stop": _power,
    "eject": _power,
    "reconcile": _deploy,
    "retire": _power,
    "list": _list,
    "destroy": _destroy,
    "migrate": _migrate,
    "reset_password": _reset_password,
}
JOBS = tuple(_CHECKS)
