# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VM's life: start, stop, suspend, migrate (xapi_vm.ml, xapi_vm_helpers.ml, xapi_xenops.ml)."""

from __future__ import annotations

import typing as t

from xapi_rig.facts import NULL, Failure
from xapi_rig.machine import device_name
from xapi_rig.operations import CANCELLED_BY_HARD_SHUTDOWN
from xapi_rig.store import Obj

if t.TYPE_CHECKING:
    from xapi_rig.pool import Call

ACKNOWLEDGE_SECONDS = 60.0  # domain_shutdown_ack_timeout
SHUTDOWN_SECONDS = 1200.0  # domain_shutdown_total_timeout


class LifeMixin:
    def init_life(self) -> None:
        #: deaf: guests that ignore a request to shut down; hung: guests that accept it and never shut down.
        self.deaf: set[str] = set()
        self.hung: set[str] = set()

    # -- power -----------------------------------------------------------------------------------------------------

    def _power_on(self, call: Call, vm: Obj, host: str, op: str) -> None:
        with self.vm_operation(call, vm, op) as ident, self.worker(host, ident):
            self.take_time(ident, self.durations.get(op, 0.0))
            for vbd in self.loaded(vm):
                self.attach_check(self.store.get("VDI", vbd["VDI"]))
            if self.is_hvm(vm):
                self._refuse_high_cds(vm)
            self.domid += 1
            self.store.set(vm, power_state="Running", resident_on=host, domid=self.domid)
            self.store.set(self.store.get("VM_metrics", vm["metrics"]), start_time=self.now(), hvm=self.is_hvm(vm))
            if op != "resume":
                self._new_guest_metrics(vm)
            for vbd in self.vm_vbds(vm):
                if vbd["empty"] and not self.is_hvm(vm):
                    continue  # an empty PV drive has no backend
                self.store.set(vbd, currently_attached=True, device=device_name(vbd["userdevice"], self.is_hvm(vm)))
            for ref in vm["VIFs"]:
                self.store.set(self.store.get("VIF", ref), currently_attached=True)
        self.refresh_operations(vm)

    def _refuse_high_cds(self, vm: Obj) -> None:
        """Refuses CD drives beyond QEMU's four IDE places; xenopsd fails the start then (device.ml)."""
        for vbd in self.vm_vbds(vm):
            if vbd["type"] == "CD" and int(vbd["userdevice"]) > 3:
                raise Failure(
                    "INTERNAL_ERROR", f"xenopsd internal error: Unable to plug CD device {vbd['userdevice']}: no IDE slot"
                )

    def _new_guest_metrics(self, vm: Obj) -> None:
        """Makes a new record at each boot, `live` long before a guest agent reports (create_guest_metrics_if_needed)."""
        old = self.store.maybe(vm["guest_metrics"])
        if old is not None:
            self.store.remove(old)
        new = self.store.add("VM_guest_metrics", live=True, last_updated=self.now())
        self.store.set(vm, guest_metrics=new.ref)

    def _power_off(self, vm: Obj, state: str = "Halted") -> None:
        self.store.set(vm, power_state=state, resident_on=NULL, domid=-1)
        for vbd in self.vm_vbds(vm):
            self.store.set(vbd, currently_attached=False)
        for ref in vm["VIFs"]:
            self.store.set(self.store.get("VIF", ref), currently_attached=False)
        self.refresh_operations(vm)

    # -- where a VM can be -----------------------------------------------------------------------------------------

    def host_live(self, host: Obj) -> bool:
        metrics = self.store.maybe(host["metrics"])
        return metrics is not None and metrics["live"]

    def why_not_here(self, vm: Obj, host: Obj) -> Failure | None:
        """assert_can_boot_here, in its order."""
        if not self.host_live(host):
            return Failure("HOST_NOT_LIVE")
        if not host["enabled"]:
            return Failure("HOST_DISABLED", host.ref)
        missing = self.missing_sr(vm, host.ref)
        if missing:
            return Failure("VM_REQUIRES_SR", vm.ref, missing)
        for ref in vm["VIFs"]:
            network = self.store.get("network", self.store.get("VIF", ref)["network"])
            pifs = [self.store.get("PIF", pif) for pif in network["PIFs"]]
            if pifs and host.ref not in [pif["host"] for pif in pifs]:
                return Failure("VM_REQUIRES_NETWORK", vm.ref, network.ref)
        free = self.store.get("host_metrics", host["metrics"])["memory_free"]
        if vm["memory_static_max"] > free:
            return Failure("HOST_NOT_ENOUGH_FREE_MEMORY", str(vm["memory_static_max"]), str(free))
        return None

    def VM_assert_can_boot_here(self, call: Call, self_: str, host: str) -> None:
        failure = self.why_not_here(self.store.get("VM", self_), self.store.get("host", host))
        if failure is not None:
            raise failure

    def _hosts_for(self, vm: Obj) -> list[str]:
        return [h.ref for h in self.store.all("host") if self.why_not_here(vm, h) is None]

    def VM_get_possible_hosts(self, call: Call, vm: str) -> list[str]:
        return self._hosts_for(self.store.get("VM", vm))

    # -- calls -----------------------------------------------------------------------------------------------------

    def VM_start(self, call: Call, vm: str, start_paused: bool, force: bool) -> None:
        obj = self.store.get("VM", vm)
        self.check_operation(obj, "start")
        hosts = self._hosts_for(obj)
        if not hosts:
            raise Failure("NO_HOSTS_AVAILABLE")
        self._power_on(call, obj, obj["affinity"] if obj["affinity"] in hosts else hosts[0], "start")

    def VM_start_on(self, call: Call, vm: str, host: str, start_paused: bool, force: bool) -> None:
        obj = self.store.get("VM", vm)
        self.check_operation(obj, "start_on")
        failure = self.why_not_here(obj, self.store.get("host", host))
        if failure is not None:
            raise failure
        self._power_on(call, obj, host, "start_on")

    def _has_feature(self, vm: Obj, *names: str) -> bool:
        metrics = self.store.maybe(vm["guest_metrics"])
        return self.has_pv_drivers(vm) or any(metrics is not None and metrics["other"].get(name) == "1" for name in names)

    def _clean(self, obj: Obj, op: str, *features: str) -> None:
        self.check_operation(obj, op)
        if not self._has_feature(obj, *features):
            raise Failure("VM_LACKS_FEATURE", obj.ref)

    def VM_clean_shutdown(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self._clean(obj, "clean_shutdown", "feature-shutdown", "feature-poweroff")
        with self.vm_operation(call, obj, "clean_shutdown") as ident, self.worker(obj["resident_on"], ident):
            if vm in self.deaf:
                self.take_time(ident, ACKNOWLEDGE_SECONDS)
                raise Failure("VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", vm)
            if vm in self.hung:
                self.take_time(ident, SHUTDOWN_SECONDS)
                raise Failure("VM_SHUTDOWN_TIMEOUT", vm, str(SHUTDOWN_SECONDS))
            self.take_time(ident, self.durations.get("clean_shutdown", 0.0))
            self._power_off(obj)

    def VM_hard_shutdown(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        with self.vm_operation(call, obj, "hard_shutdown") as ident:
            host = obj["resident_on"]
            self.cancel_operations(obj, CANCELLED_BY_HARD_SHUTDOWN)
            if obj["power_state"] == "Halted":
                return
            if obj["power_state"] == "Suspended":
                self._power_off(obj)
                return
            with self.worker(host, ident):
                self.take_time(ident, self.durations.get("hard_shutdown", 0.0))
                self._power_off(obj)

    def VM_shutdown(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        if obj["power_state"] == "Running" and self._has_feature(obj, "feature-shutdown", "feature-poweroff"):
            self.VM_clean_shutdown(call, vm)
        else:
            self.VM_hard_shutdown(call, vm)

    def VM_clean_reboot(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self._clean(obj, "clean_reboot", "feature-shutdown", "feature-reboot")
        self._reboot(call, obj, "clean_reboot")

    def VM_hard_reboot(self, call: Call, vm: str) -> None:
        self._reboot(call, self.store.get("VM", vm), "hard_reboot")

    def _reboot(self, call: Call, obj: Obj, op: str) -> None:
        self.check_operation(obj, op)
        host = obj["resident_on"]
        self._power_off(obj)
        self.store.set(obj, power_state="Paused" if op == "hard_reboot" else "Running")  # it is never halted for others
        self._power_on(call, obj, host, op)

    def VM_suspend(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self._clean(obj, "suspend", "feature-suspend")
        with self.vm_operation(call, obj, "suspend"):
            attached = [v.ref for v in self.vm_vbds(obj) if v["currently_attached"]]
            self._power_off(obj, "Suspended")
            for ref in attached:  # a suspended VM keeps its devices reserved
                self.store.set(self.store.get("VBD", ref), currently_attached=True)

    def VM_resume(self, call: Call, vm: str, start_paused: bool, force: bool) -> None:
        obj = self.store.get("VM", vm)
        self.check_operation(obj, "resume")
        hosts = self._hosts_for(obj)
        if not hosts:
            raise Failure("NO_HOSTS_AVAILABLE")
        self._power_on(call, obj, obj["affinity"] if obj["affinity"] in hosts else hosts[0], "resume")

    def VM_pause(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        with self.vm_operation(call, obj, "pause"):
            self.store.set(obj, power_state="Paused")

    def VM_unpause(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        with self.vm_operation(call, obj, "unpause"):
            self.store.set(obj, power_state="Running")

    def VM_pool_migrate(self, call: Call, vm: str, host: str, options: dict[str, str]) -> None:
        obj = self.store.get("VM", vm)
        self._clean(obj, "pool_migrate", "feature-suspend")
        target = self.store.get("host", host)
        with self.vm_operation(call, obj, "pool_migrate") as ident:
            if not self.host_live(target):
                raise Failure("HOST_NOT_LIVE")
            if not target["enabled"]:
                raise Failure("HOST_DISABLED", host)
            missing = self.missing_sr(obj, host)
            if missing:
                raise Failure("VM_REQUIRES_SR", vm, missing)
            with self.worker(obj["resident_on"], ident):
                self.take_time(ident, self.durations.get("pool_migrate", 0.0))
                self.store.set(obj, resident_on=host)
