# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hypervisor in this process that knows only what a poll may ask of one, and refuses everything else."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_NO_GUEST_TOOLS,
    REASON_VM_NOT_RUNNING,
    Reading,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    Nic,
    Observation,
    Vm,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicFacts, VmFacts


@dataclasses.dataclass
class Guest:
    """What is true of one VM. answers: addresses by device; None says that no guest tools answer."""

    name: str
    id: str
    macs: tuple[str, ...]
    answers: dict[int, t.Sequence[str]] | None = dataclasses.field(default_factory=dict)
    power_state: str = POWER_RUNNING
    network: str = "corp"
    boot_time: float | None = None
    boot_token: str | None = None

    def vm(self) -> Vm:
        nics = tuple(Nic(d, mac, self.network) for d, mac in enumerate(self.macs))
        return Vm(self.name, self.id, self.power_state, nics, boot_time=self.boot_time, boot_token=self.boot_token)

    def facts(self, **rules: t.Any) -> VmFacts:
        """The same VM as it is put into the record."""
        return VmFacts(
            self.name, self.id, tuple(NicFacts(d, mac, self.network, **rules) for d, mac in enumerate(self.macs)), True
        )


def guest(number: int, nics: int = 1, **more: t.Any) -> Guest:
    macs = tuple(f"52:54:{device:02x}:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}" for device in range(nics))
    return Guest(f"vm{number}", f"00000000-0000-4000-8000-{number:012x}", macs, **more)


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


class FakeHypervisor:
    """`looks` counts how often each VM (by id) was asked for its addresses."""

    type = "kvm"
    endpoint = "fake:///system"
    sources = ("agent", "arp")
    default_sources = ("agent",)

    def __init__(self, guests: t.Iterable[Guest]) -> None:
        self.inventory = self.addresses = self  # it has two parts only, and is both
        self.guests = list(guests)
        self.looks: dict[str, int] = {}
        self.connections = 0
        self.closed = 0
        self.fail_connect: Exception | None = None
        self.fail_vms: Exception | None = None
        self.fail_after: tuple[int, BaseException] | None = None
        self.on_answer: t.Callable[[Guest], t.Any] = lambda guest: None

    def connect(self) -> FakeHypervisor:
        self.connections += 1
        _raise(self.fail_connect)
        return self

    def vms(self, names: t.Sequence[str] | None = None) -> VmList:
        _raise(self.fail_vms)
        if names is None:
            return VmList(tuple(one.vm() for one in self.guests))
        by_name: dict[str, list[Guest]] = {}
        for one in self.guests:
            by_name.setdefault(one.name, []).append(one)
        found, problems = [], {}
        for name in names:
            named = by_name.get(name, [])
            if len(named) == 1:
                found.append(named[0].vm())
            else:
                problems[name] = (
                    f"there is no VM {name} on {self.endpoint}" if not named else f"{len(named)} VMs are named {name}"
                )
        return VmList(tuple(found), problems)

    def read(self, vms: t.Sequence[Vm], sources: t.Sequence[str], workers: int, timeout: float) -> t.Iterator[Observation]:
        assert workers > 0 and timeout > 0
        assert sources and set(sources) <= set(self.sources)
        by_id = {one.id: one for one in self.guests}
        for count, vm in enumerate(vms):
            if self.fail_after and count == self.fail_after[0]:
                raise self.fail_after[1]
            one = by_id[vm.id]
            self.looks[vm.id] = self.looks.get(vm.id, 0) + 1
            self.on_answer(one)
            if one.power_state != POWER_RUNNING:
                yield Observation(vm, reason=REASON_VM_NOT_RUNNING, message=f"{vm.name} is {one.power_state}")
            elif one.answers is None:
                yield Observation(vm, reason=REASON_NO_GUEST_TOOLS, message=f"{vm.name}: nobody answers")
            else:
                readings = [Reading(a, mac=one.macs[d], interface=f"eth{d}") for d, a in one.answers.items()]
                yield Observation(vm, tuple(readings), sources[0])

    def close(self) -> None:
        self.closed += 1
