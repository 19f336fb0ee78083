# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Starting and stopping many VMs at once."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
    Outcome,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import UNSEEN_DATACENTER
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim, vmodl
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.tasks import (
    CONNECTIONS,
    PAUSE,
    Watcher,
    run_tasks,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

ON, OFF = "poweredOn", "poweredOff"
START_SECONDS = 180.0  # without another VM being on, once vCenter has handed them to their hosts


@dataclasses.dataclass(frozen=True)
class PowerState:
    """What power operations need to know of a VM. datacenter: reference. tools: whether VMware Tools runs in the guest."""

    id: str
    name: str
    reference: str
    state: str
    datacenter: str | None
    tools: bool


def outcome(vm: PowerState, changed: bool, error: str | None = None, warning: str | None = None) -> Outcome:
    """The outcome for one VM."""
    return Outcome(vm.name, vm.id, changed, f"{vm.name}: {error}" if error else None, (warning,) if warning else ())


class Power:
    """Power operations through one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _object(self, vm: PowerState) -> t.Any:
        return self._session.object("VirtualMachine", vm.reference)

    # --- on ---

    def on(self, vms: Sequence[PowerState]) -> Iterator[Outcome]:
        """Powers on VMs that are off or suspended: a task for each datacenter, or for each VM of a stand-alone host."""
        if not self._session.is_vcenter:
            starts = [(vm, self._object(vm).PowerOnVM_Task) for vm in vms]
            for vm, result in run_tasks(self._session, starts):
                yield self._started(vm, result)
            return
        by_datacenter: dict[str, list[PowerState]] = {}
        for vm in vms:
            if vm.datacenter is None:
                yield outcome(vm, False, UNSEEN_DATACENTER)
            else:
                by_datacenter.setdefault(vm.datacenter, []).append(vm)
        groups: list[tuple[tuple[PowerState, ...], t.Any]] = []
        for name, group in by_datacenter.items():
            groups.append((tuple(group), self._start_of(name, group)))
        waiting: dict[str, PowerState] = {}
        for members, result in run_tasks(self._session, groups):
            yield from self._attempted(members, result, waiting)
        yield from self._await(waiting)

    def _start_of(self, datacenter: str, group: Sequence[PowerState]) -> t.Any:
        references = [self._object(vm) for vm in group]
        return lambda: self._session.object("Datacenter", datacenter).PowerOnMultiVM_Task(references)

    def _started(self, vm: PowerState, result: t.Any) -> Outcome:
        if isinstance(result, vim.fault.InvalidPowerState) and result.existingState == ON:
            return outcome(vm, False)
        if isinstance(result, BaseException):
            return outcome(vm, False, f"it could not be started: {self._session.say(result)}")
        return outcome(vm, True)

    def _attempted(self, group: Sequence[PowerState], result: t.Any, waiting: dict[str, PowerState]) -> Iterator[Outcome]:
        """The outcomes of VMs that vCenter refused to start; those that it handed to their hosts go into waiting."""
        if isinstance(result, BaseException):
            for vm in group:
                yield outcome(vm, False, f"it could not be started: {self._session.say(result)}")
            return
        refused = {one.vm._moId: one.fault for one in (result.notAttempted if result is not None else ()) or ()}
        attempted = {one.vm._moId for one in (result.attempted if result is not None else ()) or ()}
        for vm in group:
            if vm.reference in refused:
                yield self._started(vm, refused[vm.reference])
            elif vm.reference in attempted or not (refused or attempted or (result is not None and result.recommendations)):
                waiting[vm.reference] = vm
            else:
                yield outcome(
                    vm,
                    False,
                    "vCenter only recommends to start it, for DRS of its cluster is set to manual: apply the recommendation in "
                    "the vSphere client, or set DRS to partially or fully automated",
                )

    def _await(self, waiting: dict[str, PowerState]) -> Iterator[Outcome]:
        """Waits until the VMs are on; a question of its host, or no progress for too long, is a VM's error."""
        for vm, state in self.reach(waiting, ON, START_SECONDS):
            if state is None:
                yield outcome(vm, True)
            else:
                yield outcome(vm, False, state or f"it is not on after {START_SECONDS:g} s: look at its recent tasks")

    def reach(self, waiting: dict[str, PowerState], wanted: str, seconds: float) -> Iterator[tuple[PowerState, str | None]]:
        """Yields (VM, None) as VMs reach a power state, and (VM, text) for one that does not; the text is empty if time ran out.

        seconds: for all VMs if they are to go off; between two of them if they are to go on.
        """
        if not waiting:
            return
        watcher = Watcher(self._session)
        watcher.add("VirtualMachine", sorted(waiting), ("runtime.powerState", "runtime.question"))
        end = time.monotonic() + seconds
        try:
            while waiting and time.monotonic() < end:
                for change in watcher.wait(end - time.monotonic()):
                    vm = waiting.get(change.name)
                    question = change.properties.get("runtime.question")
                    if vm is None:
                        continue
                    if change.gone:
                        yield waiting.pop(change.name), "it is gone meanwhile"
                    elif change.properties.get("runtime.powerState") == wanted:
                        yield waiting.pop(change.name), None
                        end = time.monotonic() + seconds if wanted == ON else end
                    elif question is not None:
                        text = " ".join(str(question.text).split())[:300]
                        yield waiting.pop(change.name), f"its host asks {text!r}: answer it in the vSphere client"
                if waiting:
                    time.sleep(PAUSE)
        finally:
            watcher.close()
        for vm in list(waiting.values()):
            yield vm, ""

    # --- off ---

    def off(self, vms: Sequence[PowerState], timeout: float) -> Iterator[Outcome]:
        """Powers off VMs that are on or suspended; those whose Tools run are asked first and have timeout seconds."""
        asked: dict[str, PowerState] = {}
        hard: dict[PowerState, str | None] = {}  # with a warning
        for vm in vms:
            if vm.state != ON or timeout <= 0:
                hard[vm] = None
            elif vm.tools:
                asked[vm.reference] = vm
            else:
                hard[vm] = f"{vm.name}: VMware Tools does not run in it: it was powered off without being asked"
        for vm, fault in self._ask(list(asked.values())):
            if fault is None:
                continue
            del asked[vm.reference]
            if isinstance(fault, vim.fault.InvalidPowerState) and fault.existingState == OFF:
                yield outcome(vm, True)
            else:
                hard[vm] = f"{vm.name}: it could not be asked to shut down ({self._session.say(fault)}): powered off"
        yield from self._pull(hard)
        late = {}
        for vm, state in self.reach(asked, OFF, timeout):
            if state is None:
                yield outcome(vm, True)
            else:
                late[vm] = f"{vm.name}: {state or f'it did not shut down within {timeout:g} s'}: it was powered off"
        yield from self._pull(late)

    def _ask(self, vms: Sequence[PowerState]) -> Iterator[tuple[PowerState, BaseException | None]]:
        def ask(vm: PowerState) -> None:
            self._session.run(self._object(vm).ShutdownGuest, raw=True)

        for vm, _none, error in workers.each(ask, vms, CONNECTIONS, None):
            if isinstance(error, HypervisorUnreachable) or not (
                error is None or isinstance(error, (HypervisorError, vmodl.MethodFault))
            ):
                raise error
            yield vm, error

    def _pull(self, vms: Mapping[PowerState, str | None]) -> Iterator[Outcome]:
        """Powers off at once. vms: each with a warning, or None."""
        for vm, result in run_tasks(self._session, [(vm, self._object(vm).PowerOffVM_Task) for vm in vms]):
            if isinstance(result, vim.fault.InvalidPowerState) and result.existingState == OFF:
                yield outcome(vm, True)
            elif isinstance(result, BaseException):
                yield outcome(vm, False, f"it could not be powered off: {self._session.say(result)}")
            else:
                yield outcome(vm, True, warning=vms[vm])
