# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hypervisor in this process whose VMs live: what the modules of VMs' lives may ask of one, and nothing else."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import api

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pytest

STATES = {"start": api.POWER_RUNNING, "stop": api.POWER_STOPPED}


class FakeHypervisor(api.Inventory, api.Machines):
    """vms: as they are; owners: VM id in the owner mark of the drive of a VM, by its id; log: what was done to which VM.

    trouble: by (operation, name) the error of that VM; breaks_after: outcomes until the connection breaks.
    """

    type = "kvm"
    endpoint = "fake:///system"
    placement_keys = ("host", "datastore")
    destination_keys: tuple[str, ...] = ("host",)
    networks = ("br0", "br1")

    def __init__(self) -> None:
        self.inventory = self.machines = self.drives = self
        self.there: list[api.Vm] = []
        self.owners: dict[str, str] = {}
        self.log: list[tuple[str, str]] = []
        self.wanted: list[api.VmWanted] = []
        self.trouble: dict[tuple[str, str], str] = {}
        self.in_use: dict[str, str] = {}
        self.checked: list[list[str]] = []  # what was asked whether it may be deleted
        self.fresh: set[str] = set()
        self.breaks_after: int | None = None
        self.timeouts: list[float] = []

    def add(self, name: str, power_state: str = api.POWER_STOPPED, networks: Sequence[str] = ("br0",), **more: t.Any) -> api.Vm:
        number = len(self.there) + 1
        nics = tuple(api.Nic(n, f"52:54:00:00:{number:02x}:{n:02x}", network) for n, network in enumerate(networks))
        vm = api.Vm(name, f"00000000-0000-4000-8000-{number:012x}", power_state, nics, **more)
        self.there.append(vm)
        return vm

    def named(self, name: str) -> api.Vm:
        (found,) = (vm for vm in self.there if vm.name == name)
        return found

    def close(self) -> None:
        """Nothing to end."""

    # -- inventory and drives

    def vms(self, names: Sequence[str] | None = None) -> api.VmList:
        listed = [vm for vm in self.there if not vm.is_template]
        if names is None:
            return api.VmList(tuple(listed))
        found, problems, ambiguous = [], {}, set()
        for name in names:
            fits = [vm for vm in self.there if vm.name == name]
            if len(fits) == 1:
                found.append(fits[0])
            else:
                problems[name] = f"{len(fits)} VMs on {self.endpoint} are named {name}" if fits else f"there is no VM {name}"
                ambiguous |= {name} if fits else set()
        return api.VmList(tuple(found), problems, frozenset(ambiguous))

    def states(self, vms: Sequence[api.Vm]) -> dict[str, api.DriveState | api.DriveError]:
        return {vm.id: api.DriveState(f"/{vm.name}.iso", owner=self.owners.get(vm.id)) for vm in vms}

    # -- machines

    def check(self, wanted: Sequence[api.VmWanted]) -> dict[str, str]:
        problems = {}
        for vm in wanted:
            if vm.template not in [one.name for one in self.there]:
                problems[vm.name] = f"there is no template {vm.template}"
            for nic in vm.nics or ():
                if nic.network not in self.networks:
                    problems[vm.name] = f"there is no network {nic.network}"
        return problems

    def create(self, wanted: Sequence[api.VmWanted]) -> Iterator[api.Outcome]:
        self.wanted += wanted
        for vm in wanted:
            error = self._do("create", vm.name)
            if error:
                yield api.Outcome(vm.name, error=error)
            else:
                made = self.add(vm.name, networks=[nic.network for nic in vm.nics or ()], ours=True)
                yield api.Outcome(vm.name, made.id, changed=True)

    def set_nics(self, vm: api.Vm, nics: Sequence[api.NicWanted]) -> api.Outcome:
        self.log.append(("set_nics", vm.name))
        self._replace(vm, nics=tuple(api.Nic(n, nic.mac or "52:54:00:00:99:00", nic.network) for n, nic in enumerate(nics)))
        return api.Outcome(vm.name, vm.id, changed=True)

    def never_started(self, vm: api.Vm) -> bool:
        return vm.name in self.fresh

    def start(self, vms: Sequence[api.Vm]) -> Iterator[api.Outcome]:
        return self._power("start", vms)

    def stop(self, vms: Sequence[api.Vm], timeout: float) -> Iterator[api.Outcome]:
        self.timeouts.append(timeout)
        return self._power("stop", vms)

    def migrate(self, vms: Sequence[api.Vm], destination: Mapping[str, str]) -> Iterator[api.Outcome]:
        for vm in vms:
            yield api.Outcome(vm.name, vm.id, True, self._do(f"migrate to {destination}", vm.name))

    def delete_problems(self, vms: Sequence[api.Vm]) -> dict[str, str]:
        self.checked.append([vm.name for vm in vms])
        return {vm.id: self.in_use[vm.name] for vm in vms if vm.name in self.in_use}

    def delete(self, vms: Sequence[api.Vm]) -> Iterator[api.Outcome]:
        for vm in vms:
            assert self.named(vm.name).power_state == api.POWER_STOPPED
            error = self.in_use.get(vm.name) or self._do("delete", vm.name)
            if error is None:
                self.there = [one for one in self.there if one.id != vm.id]
            yield api.Outcome(vm.name, vm.id, error is None, error)

    def _power(self, what: str, vms: Sequence[api.Vm]) -> Iterator[api.Outcome]:
        for vm in vms:
            error = self._do(what, vm.name)
            changed = error is None and vm.power_state != STATES[what]
            if error is None:
                self._replace(vm, power_state=STATES[what])
            yield api.Outcome(vm.name, vm.id, changed, error)

    def _do(self, what: str, name: str) -> str | None:
        if self.breaks_after is not None:
            if self.breaks_after == 0:
                raise api.HypervisorUnreachable("the connection broke")
            self.breaks_after -= 1
        self.log.append((what, name))
        return self.trouble.get((what, name))

    def _replace(self, vm: api.Vm, **changes: t.Any) -> None:
        self.there = [dataclasses.replace(one, **changes) if one.id == vm.id else one for one in self.there]


def install(monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    """The hypervisor of every module from now on."""
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import connection

    host = FakeHypervisor()
    monkeypatch.setattr(connection, "open_hypervisor", lambda description: host)
    return host
