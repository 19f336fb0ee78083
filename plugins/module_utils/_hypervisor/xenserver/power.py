# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Starting and stopping one VM, as flows."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError, Outcome
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.advice import advice
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import (
    LOOK,
    Call,
    TaskLate,
    TaskLost,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import XapiError

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import Flow
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture, Record
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

START_SECONDS = 1800.0
OFF_SECONDS = 600.0
# A host carries out this many starts and shutdowns at a time, and a clean shutdown takes a place until its guest is down. So no
# more guests of one host are asked at once; the time limits of the others do not run while they wait here.
ASKED_AT_ONCE = 4
# XAPI's codes if the guest cannot be asked to shut down, or does not: then it is powered off.
_NOT_ASKED = ("VM_LACKS_FEATURE", "VM_LACKS_FEATURE_SHUTDOWN", "VM_MISSING_PV_DRIVERS", "VM_OLD_PV_DRIVERS")
_NOT_HEEDED = ("VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", "VM_SHUTDOWN_TIMEOUT")
_TURN_ON = {
    "Halted": ("VM.start", (False, False)),
    "Suspended": ("VM.resume", (False, False)),
    "Paused": ("VM.unpause", ()),
}
# XAPI's reasons in plain words.
_WHY_NOT_HERE = {
    "HOST_NOT_ENOUGH_FREE_MEMORY": "has too little free memory",
    "HOST_DISABLED": "is disabled",
    "HOST_NOT_LIVE": "is down",
    "VM_REQUIRES_SR": "does not see the storage of one of its disks or CDs",
    "VM_REQUIRES_NETWORK": "does not have one of its networks",
    "VM_INCOMPATIBLE_WITH_THIS_HOST": "has a CPU that it cannot run on",
}


class Power:
    """Flows that start and stop VMs; each returns an Outcome."""

    def __init__(self, session: Session, picture: Picture) -> None:
        self._session = session
        self._picture = picture

    def start(self, vm: Vm) -> Flow:
        try:
            return (yield from self._start(vm))
        except (XapiError, TaskLate, TaskLost, MachineError) as error:
            return Outcome(vm.name, vm.id, False, f"{vm.name}: it could not be started: {error}{advice(error)}")

    def stop(self, vm: Vm, timeout: float) -> Flow:
        try:
            return (yield from self._stop(vm, timeout))
        except (XapiError, TaskLate, TaskLost, MachineError) as error:
            return Outcome(vm.name, vm.id, False, f"{vm.name}: it could not be stopped: {error}{advice(error)}")

    def _start(self, vm: Vm) -> Flow:
        record = self._need(vm)
        if record["is_a_template"]:
            raise MachineError("it is a template")
        if record["power_state"] == "Running":
            return Outcome(vm.name, vm.id)
        method, args = _TURN_ON[record["power_state"]]
        try:
            yield Call(method, (vm.handle, *args), START_SECONDS)
        except (XapiError, TaskLost) as error:
            yield LOOK
            if self._need(vm)["power_state"] == "Running":
                return Outcome(vm.name, vm.id, isinstance(error, TaskLost))
            if isinstance(error, XapiError) and error.code == "NO_HOSTS_AVAILABLE":
                raise MachineError(f"no host of the pool can run it: {self._why_no_host(vm)}") from None
            raise
        return Outcome(vm.name, vm.id, True)

    def _why_no_host(self, vm: Vm) -> str:
        """The reason of each host; XAPI gives them only when asked host by host."""
        reasons = []
        for ref, host in sorted(self._picture.records["host"].items(), key=lambda pair: pair[1]["name_label"]):
            try:
                self._session.read("VM.assert_can_boot_here", vm.handle, ref)
                reasons.append(f"{host['name_label']} could do so now, start it again")
            except XapiError as error:
                reasons.append(f"{host['name_label']} {_WHY_NOT_HERE.get(error.code, f'refuses it with {error.code}')}")
        return "; ".join(reasons)

    def _stop(self, vm: Vm, timeout: float) -> Flow:
        record = self._need(vm)
        if record["is_a_template"]:
            raise MachineError("it is a template")
        state = record["power_state"]
        if state == "Halted":
            return Outcome(vm.name, vm.id)
        warnings: tuple[str, ...] = ()
        if state == "Running" and timeout > 0:
            reason = yield from self._ask(vm, record["resident_on"], timeout)
            if reason is None:
                return Outcome(vm.name, vm.id, True)
            warnings = (f"{vm.name} {reason} and was powered off",)
        elif state == "Suspended":
            warnings = (f"{vm.name} was suspended: its memory was thrown away",)
        try:
            yield Call("VM.hard_shutdown", (vm.handle,), OFF_SECONDS)
        except (XapiError, TaskLost):
            yield LOOK
            if self._need(vm)["power_state"] != "Halted":
                raise
            warnings = ()  # it went down by itself at that moment
        return Outcome(vm.name, vm.id, True, None, warnings)

    def _ask(self, vm: Vm, host: str, timeout: float) -> Flow:
        """Asks the guest to shut down. Returns None if it did, else a clause on why it must be powered off."""
        call = Call("VM.clean_shutdown", (vm.handle,), timeout, cancel=False, lane=("ask", host), width=ASKED_AT_ONCE)
        try:
            yield call
            return None
        except TaskLate:
            return f"did not shut down within {timeout:g} s"
        except (XapiError, TaskLost) as error:
            if isinstance(error, XapiError) and error.code in _NOT_ASKED:
                return "could not be asked to shut down, because no guest agent has reported since its start,"
            if isinstance(error, XapiError) and error.code in _NOT_HEEDED:
                return "did not heed the request to shut down"
            yield LOOK
            if self._need(vm)["power_state"] == "Halted":
                return None
            raise

    def _need(self, vm: Vm) -> Record:
        record = self._picture.get("vm", vm.handle)
        if record is None or record["uuid"].lower() != vm.id:
            raise MachineError("it is gone from the pool")
        return record
