# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The hypervisor of a module: opened from its option, closed at the end, its errors turned into the module's."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_AMBIGUOUS_NAME,
    REASON_SOURCE_UNAVAILABLE,
    REASON_VM_NOT_FOUND,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.missing import fail_for
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of, plain, plain_name

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, Vm

LONGEST_ERROR = 2000  # characters
# What a user may copy from a list of ours but the hypervisor does not know as a name: an id, or a name with escapes or cut short.
_AS_SHOWN = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|.*[\\~].*", re.DOTALL)


@contextlib.contextmanager
def hypervisor_of(module: AnsibleModule) -> Iterator[Hypervisor]:
    """The driver for the option `hypervisor` of this module.

    A HypervisorError, at connecting or inside the block, ends the module with its message.
    """
    try:
        hypervisor = open_hypervisor(module.params["hypervisor"])
        try:
            yield hypervisor
        finally:
            hypervisor.close()
    except MissingLibrary as error:
        fail_for(module, error)
    except HypervisorError as error:
        module.fail_json(msg=plain(str(error), LONGEST_ERROR))


def check_sources(hypervisor: Hypervisor, wanted: Sequence[str] | None) -> Sequence[str]:
    """The sources to ask, in order: those of the option, or the driver's own. Raises HypervisorError for an unknown one."""
    if wanted is None:
        return list(hypervisor.addresses.default_sources)
    unknown = [source for source in wanted if source not in hypervisor.addresses.sources]
    if unknown:
        raise HypervisorError(
            f"sources has {unknown[0]!r}: for hypervisor.type {hypervisor.type} use {', '.join(hypervisor.addresses.sources)}"
        )
    return wanted


@dataclasses.dataclass(frozen=True)
class Problem:
    """Why there is no VM to work with. reason: one of those in _guest_address.model."""

    reason: str
    message: str


@dataclasses.dataclass(frozen=True)
class FoundVms:
    """vms: each VM once. asked: the VMs by the name or id that was given. problems: by name or id, those that were not found."""

    vms: tuple[Vm, ...]
    asked: dict[str, Vm]
    problems: dict[str, Problem]


def find_vms(hypervisor: Hypervisor, wanted: Sequence[str] | None) -> FoundVms:
    """All VMs, or those wanted, by id or by name (the hypervisor's, or as we show it).

    A name that fits several VMs is a problem; each of them can be asked for by its id.
    """
    if wanted is None:
        every = hypervisor.inventory.vms(None)
        unread = {plain_name(name): Problem(REASON_SOURCE_UNAVAILABLE, plain(why)) for name, why in every.problems.items()}
        return FoundVms(tuple(every.vms), {}, unread)
    wanted = list(dict.fromkeys(wanted))
    listed = hypervisor.inventory.vms(wanted)
    by_name = {vm.name: vm for vm in listed.vms}
    asked: dict[str, Vm] = {}
    problems: dict[str, Problem] = {}
    for name in wanted:
        if name in listed.problems:
            reason = REASON_AMBIGUOUS_NAME if name in listed.ambiguous else REASON_VM_NOT_FOUND
            problems[name] = Problem(reason, plain(listed.problems[name]))
        elif plain_name(name) in by_name:
            asked[name] = by_name[plain_name(name)]
        else:
            problems[name] = Problem(REASON_VM_NOT_FOUND, f"there is no VM {plain(name)!r} on {hypervisor.endpoint}")
    shown = [name for name, problem in problems.items() if problem.reason == REASON_VM_NOT_FOUND and _AS_SHOWN.fullmatch(name)]
    if shown:
        every = hypervisor.inventory.vms(None)
        for name in shown:
            fits = [vm for vm in every.vms if vm.id == name.lower()] or [vm for vm in every.vms if vm.name == plain_name(name)]
            if len(fits) == 1:
                asked[name] = fits[0]
                del problems[name]
            elif fits:
                ids = first_of([vm.id for vm in fits])
                message = (
                    f"{len(fits)} VMs on {hypervisor.endpoint} are shown as {plain(name)} ({ids}): give the id of the one meant"
                )
                problems[name] = Problem(REASON_AMBIGUOUS_NAME, message)
    return FoundVms(tuple({vm.id: vm for vm in asked.values()}.values()), asked, problems)
