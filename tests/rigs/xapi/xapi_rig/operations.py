# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operations of a VM: when XAPI allows each, how long it takes, and who waits for whom (xapi_vm_lifecycle.ml)."""

from __future__ import annotations

import contextlib
import time
import typing as t
import uuid as uuidlib

from xapi_rig.facts import NULL, Failure
from xapi_rig.store import Obj

if t.TYPE_CHECKING:
    from xapi_rig.pool import Call

# allowed_power_states, in XAPI's order; operations that are not named here are allowed in all.
ALL = ("Halted", "Paused", "Suspended", "Running")
POWER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("make_into_template", "provision", "start", "start_on"), ("Halted",)),
    **dict.fromkeys(("changing_VCPUs", "changing_static_range", "changing_memory_limits", "clone", "copy"), ("Halted",)),
    **dict.fromkeys(("resume", "resume_on"), ("Suspended",)),
    **dict.fromkeys(("clean_shutdown", "clean_reboot", "pause", "pool_migrate", "suspend"), ("Running",)),
    **dict.fromkeys(("destroy", "export"), ("Halted", "Suspended")),
    "unpause": ("Paused",),
    "hard_reboot": ("Paused", "Running"),
    "hard_shutdown": ("Paused", "Suspended", "Running"),
}
ON_TEMPLATES = {"changing_static_range", "changing_memory_limits", "changing_VCPUs", "clone", "copy", "export", "provision"}
LONG_COPIES = {"clone", "copy", "export"}
CANCELLED_BY_HARD_SHUTDOWN = {"clean_shutdown", "clean_reboot", "hard_reboot", "pool_migrate", "suspend"}
# xenopsd carries out this many operations of one host at a time (xenopsd.ml, worker-pool-size).
WORKERS = 4


class OperationsMixin:
    """Needs from the pool: store, held; sets durations, workers, busy_srs and cancelled."""

    def init_operations(self) -> None:
        #: Seconds that an operation (start, clone, clean_shutdown, pool_migrate ...) takes; none: it ends at once.
        self.durations: dict[str, float] = {}
        self.workers: dict[str, int] = {}
        self.busy_srs: set[str] = set()
        self.cancelled: set[str] = set()

    def check_operation(self, vm: Obj, op: str) -> None:
        """Refuses in XAPI's order: blocked by a user, power state, other operations, template."""
        if op in vm["blocked_operations"]:
            raise Failure("OPERATION_BLOCKED", vm.ref, vm["blocked_operations"][op])
        states = POWER.get(op, ALL)
        if vm["power_state"] not in states:
            raise Failure("VM_BAD_POWER_STATE", vm.ref, ", ".join(s.lower() for s in states), vm["power_state"].lower())
        others = set(vm["current_operations"].values())
        together = (op in LONG_COPIES and others <= LONG_COPIES) or (op == "hard_shutdown" and op not in others)
        if others and not together:
            other_ref, other = next(iter(vm["current_operations"].items()))
            raise Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm.ref, other, other_ref)
        if vm["is_a_template"] and not vm["is_a_snapshot"] and op not in ON_TEMPLATES:
            default = vm["is_default_template"] or vm["other_config"].get("default_template") == "true"
            if op != "destroy" or default:
                raise Failure("VM_IS_TEMPLATE", vm.ref, op)
        if op == "provision" and not vm["is_a_template"]:
            raise Failure("PROVISION_ONLY_ALLOWED_ON_TEMPLATE")

    @contextlib.contextmanager
    def vm_operation(self, call: Call, vm: Obj, op: str) -> t.Iterator[str]:
        """Marks the operation as under way during the body; yields its id, by which it can be cancelled."""
        self.check_operation(vm, op)
        try:
            with self.under_way(call, vm, op) as ident:
                yield ident
        finally:
            if vm.ref in self.store.objects:
                self.refresh_operations(vm)

    @contextlib.contextmanager
    def under_way(self, call: Call, obj: Obj, op: str) -> t.Iterator[str]:
        """Marks an operation as under way during the body; yields its id."""
        ident = call.task if call.task != NULL else f"OpaqueRef:{uuidlib.uuid4()}"
        self.store.set(obj, current_operations={**obj["current_operations"], ident: op})
        gate = self.held.get(op)
        try:
            if gate is not None:
                while not gate.is_set():  # waiting releases the lock
                    self.store.changed.wait(0.05)
            yield ident
        finally:
            self.cancelled.discard(ident)
            if obj.ref in self.store.objects:
                self.store.set(obj, current_operations={k: v for k, v in obj["current_operations"].items() if k != ident})

    def cancel_operations(self, vm: Obj, ops: set[str]) -> None:
        self.cancelled.update(ident for ident, op in vm["current_operations"].items() if op in ops)
        self.store.changed.notify_all()
        while any(op in ops for op in vm["current_operations"].values()):
            self.store.changed.wait(0.05)

    def take_time(self, ident: str, seconds: float) -> None:
        """Waits, while other calls go on; a cancelled operation ends here."""
        deadline = time.monotonic() + seconds
        while True:
            task = self.store.maybe(ident)
            if ident in self.cancelled or (task is not None and task["status"] in ("cancelling", "cancelled")):
                raise Failure("TASK_CANCELLED", ident)
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self.store.changed.wait(min(left, 0.05))

    @contextlib.contextmanager
    def worker(self, host: str, ident: str) -> t.Iterator[None]:
        """Takes one of the host's workers, and waits if none is free."""
        while self.workers.get(host, 0) >= WORKERS:
            self.take_time(ident, 0)
            self.store.changed.wait(0.05)
        self.workers[host] = self.workers.get(host, 0) + 1
        try:
            yield
        finally:
            self.workers[host] -= 1
            self.store.changed.notify_all()

    @contextlib.contextmanager
    def sr_operation(self, sr: str) -> t.Iterator[None]:
        """All disk operations of one SR exclude each other; XAPI waits inside the call (xapi_sr_operations.ml)."""
        while sr in self.busy_srs:
            self.store.changed.wait(0.05)
        self.busy_srs.add(sr)
        try:
            yield
        finally:
            self.busy_srs.discard(sr)
            self.store.changed.notify_all()
