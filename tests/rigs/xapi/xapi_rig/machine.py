# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VM and VBD: CD rules by power state, settings (xapi_vbd_helpers.ml, xapi_vm_helpers.ml)."""

from __future__ import annotations

import typing as t

from xapi_rig.facts import NULL, Failure
from xapi_rig.store import Obj

if t.TYPE_CHECKING:
    from xapi_rig.pool import Call

HVM_CDS = "HVM CDROMs cannot be hotplugged/unplugged, only inserted or ejected"


def device_name(userdevice: str, hvm: bool) -> str:
    number = int(userdevice)
    letters = "abcdefghijklmnop"
    return f"xvd{letters[number]}" if number < len(letters) else f"xvd{number}"


def device_number(text: str) -> int | None:
    """'3', 'xvdd', 'hdd' and 'sdd' are one device; None for anything that is no device."""
    if text.isdigit() and int(text) <= 254:
        return int(text)
    if len(text) == 4 and text[:3] == "xvd" and text[3].isalpha():
        return ord(text[3]) - ord("a")
    if len(text) == 3 and text[:2] in ("hd", "sd") and text[2].isalpha():
        return ord(text[2]) - ord("a")
    return None


class MachineMixin:
    # -- state helpers ---------------------------------------------------------------------------------------------

    def is_hvm(self, vm: Obj) -> bool:
        return vm["domain_type"] == "hvm" or (vm["domain_type"] == "unspecified" and vm["HVM_boot_policy"] != "")

    def expect_power(self, vm: Obj, *states: str) -> None:
        if vm["power_state"] not in states:
            raise Failure("VM_BAD_POWER_STATE", vm.ref, ", ".join(s.lower() for s in states), vm["power_state"].lower())

    def vm_vbds(self, vm: Obj) -> list[Obj]:
        return [self.store.get("VBD", r) for r in vm["VBDs"]]

    def loaded(self, vm: Obj) -> list[Obj]:
        return [v for v in self.vm_vbds(vm) if not v["empty"] and v["VDI"] != NULL]

    def missing_sr(self, vm: Obj, host: str) -> str | None:
        """The first SR of a non-empty VBD that the host does not see (assert_can_see_SRs)."""
        for vbd in self.loaded(vm):
            sr = self.store.get("SR", self.store.get("VDI", vbd["VDI"])["SR"])
            if host not in self.sr_hosts(sr):
                return sr.ref
        return None

    def has_pv_drivers(self, vm: Obj) -> bool:
        """Whether a guest agent has reported its version (xapi_pv_driver_version.ml); PV and PVH guests always have PV drivers."""
        metrics = self.store.maybe(vm["guest_metrics"])
        return not self.is_hvm(vm) or (metrics is not None and metrics["PV_drivers_version"].get("major", "").isdigit())

    def refresh_operations(self, vm: Obj) -> None:
        """Sets allowed_operations of a VM and its drives, as XAPI does after each change."""
        state = vm["power_state"]
        operations = {
            "Halted": ["start", "start_on", "clone", "copy", "destroy", "snapshot", "export", "make_into_template"],
            "Running": ["pause", "suspend", "clean_shutdown", "clean_reboot", "hard_shutdown", "hard_reboot", "pool_migrate"],
            "Suspended": ["resume", "resume_on", "hard_shutdown", "pool_migrate"],
            "Paused": ["unpause", "hard_shutdown"],
        }[state]
        if vm["is_a_template"]:
            operations = ["clone", "copy", "destroy", "provision", "export"]
        self.store.set(vm, allowed_operations=[o for o in operations if o in self.facts.enums["vm_operations"]])
        for vbd in self.vm_vbds(vm):
            allowed = ["attach"]
            if vbd["type"] == "CD" and state in ("Halted", "Running"):
                allowed.append("insert" if vbd["empty"] else "eject")
            if state == "Running":
                allowed += ["unpause", "pause"]
                if not (self.is_hvm(vm) and vbd["type"] == "CD"):
                    allowed.append("unplug" if vbd["currently_attached"] else "plug")
            self.store.set(vbd, allowed_operations=allowed, unpluggable=True)

    # -- VBD -------------------------------------------------------------------------------------------------------

    def VBD_create(self, call: Call, args: dict[str, t.Any]) -> str:
        vm = self.store.get("VM", args["VM"])
        empty, kind, mode = args["empty"], args["type"], args["mode"]
        vdi = None if args["VDI"] == NULL else self.store.get("VDI", args["VDI"])
        if not empty and vdi is None:
            raise Failure("HANDLE_INVALID", "VDI", args["VDI"])
        if (
            not empty
            and vdi is not None
            and vdi["type"]
            not in (
                "system",
                "user",
                "ephemeral",
                "suspend",
                "crashdump",
                "metadata",
                "rrd",
                "pvs_cache",
                "cbt_metadata",
                "ha_statefile",
                "redo_log",
            )
        ):
            raise Failure("VDI_INCOMPATIBLE_TYPE", vdi.ref, vdi["type"])  # fmt: skip
        if kind == "CD" and mode != "RO":
            raise Failure("VBD_CDS_MUST_BE_READONLY")
        if empty and kind != "CD":
            raise Failure("VBD_NOT_REMOVABLE_MEDIA", args["VM"])
        if not empty and vdi is not None and mode == "RW" and vdi["read_only"]:
            raise Failure("VDI_READONLY", vdi.ref)
        self.refuse_migrating(vm)
        used = self.used_devices(vm)
        wanted = args["userdevice"]
        if wanted == "autodetect":
            free = [n for n in range(255) if n not in used]
            if not free:
                raise Failure("INVALID_DEVICE", wanted)
            number = free[0]
        else:
            parsed = device_number(wanted)
            if parsed is None:
                raise Failure("INVALID_DEVICE", wanted)
            number = parsed
        if number in used:
            raise Failure("DEVICE_ALREADY_EXISTS", str(number))
        vbd = self.store.add(
            "VBD", VM=vm.ref, VDI=NULL if empty or vdi is None else vdi.ref, userdevice=str(number),
            bootable=args["bootable"], mode=mode, type=kind, empty=empty, other_config=args["other_config"],
            qos_algorithm_type=args["qos_algorithm_type"], qos_algorithm_params=args["qos_algorithm_params"],
            unpluggable=args.get("unpluggable", True),
        )  # fmt: skip
        self.refresh_operations(vm)
        return vbd.ref

    def used_devices(self, vm: Obj) -> set[int]:
        numbers = set()
        for vbd in self.vm_vbds(vm):
            for text in (vbd["userdevice"], vbd["device"]):
                number = device_number(text)
                if number is not None:
                    numbers.add(number)
        return numbers

    def refuse_migrating(self, vm: Obj) -> None:
        for op_ref, op in vm["current_operations"].items():
            if op in ("pool_migrate", "migrate_send"):
                raise Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm.ref, op, op_ref)

    def VBD_destroy(self, call: Call, self_: str) -> None:
        vbd = self.store.get("VBD", self_)
        self.not_xapis_own(vbd)
        if vbd["currently_attached"]:
            raise Failure("OPERATION_NOT_ALLOWED", f"VBD '{vbd['uuid']}' still attached to '{vbd['VM']}'")
        with self.operation(call, vbd, "unplug"):
            vm = self.store.get("VM", vbd["VM"])
            self.store.remove(vbd)
            self.refresh_operations(vm)

    def _media_change(self, vbd: Obj) -> Obj:
        """The checks that insert and eject share; returns the VM."""
        if vbd["type"] != "CD":
            raise Failure("VBD_NOT_REMOVABLE_MEDIA", vbd.ref)
        vm = self.store.get("VM", vbd["VM"])
        self.refuse_migrating(vm)
        self.expect_power(vm, "Halted", "Running")
        if vm["power_state"] == "Running" and self.is_hvm(vm) and not vbd["currently_attached"]:
            device = device_name(vbd["userdevice"], True)
            raise Failure("INTERNAL_ERROR", f"Object with type VM and id {vm['uuid']}/vbd.{device} does not exist in xenopsd")
        return vm

    def VBD_insert(self, call: Call, vbd: str, vdi: str) -> None:
        obj = self.store.get("VBD", vbd)
        image = self.store.get("VDI", vdi)
        if obj["type"] == "CD" and not obj["empty"]:
            raise Failure("VBD_NOT_EMPTY", vbd)
        vm = self._media_change(obj)
        with self.operation(call, obj, "insert"):
            if vm["power_state"] == "Running":
                sr = self.store.get("SR", image["SR"])
                if vm["resident_on"] not in self.sr_hosts(sr):
                    raise Failure("VM_REQUIRES_SR", vm.ref, sr.ref)
                self.attach_check(image)
                if image.ref in self.dom0_attached:
                    raise Failure("VDI_IN_USE", vdi, "attach")
            attached = vm["power_state"] == "Running"
            self.store.set(obj, VDI=vdi, empty=False, currently_attached=attached)
            if attached:
                self.store.set(obj, device=device_name(obj["userdevice"], self.is_hvm(vm)))
        self.refresh_operations(vm)

    def VBD_eject(self, call: Call, vbd: str) -> None:
        obj = self.store.get("VBD", vbd)
        self.not_xapis_own(obj)
        if obj["type"] == "CD" and obj["empty"]:
            raise Failure("VBD_IS_EMPTY", vbd)
        vm = self._media_change(obj)
        with self.operation(call, obj, "eject"):
            self.store.set(obj, VDI=NULL, empty=True)
            if vm["power_state"] == "Running" and not self.is_hvm(vm):
                self.store.set(obj, currently_attached=False)  # for PV and PVH eject is an unplug
        self.refresh_operations(vm)

    def _hotplug(self, vbd: Obj) -> Obj:
        vm = self.store.get("VM", vbd["VM"])
        self.refuse_migrating(vm)
        self.expect_power(vm, "Running")
        if self.is_hvm(vm):
            metrics = self.store.maybe(vm["guest_metrics"])
            claim = metrics["can_use_hotplug_vbd"] if metrics else "unspecified"
            if claim == "no":
                raise Failure("OPERATION_NOT_ALLOWED", "VM states it does not support VBD hotplug.")
            if claim != "yes" and not (metrics and metrics["PV_drivers_detected"]):
                raise Failure("VM_MISSING_PV_DRIVERS", vm.ref)
        if self.is_hvm(vm) and vbd["type"] == "CD":
            raise Failure("OPERATION_NOT_ALLOWED", HVM_CDS)
        return vm

    def not_xapis_own(self, vbd: Obj) -> None:
        """Counts touching XAPI's own VBD as a violation: XAPI allows it, but its own export or import would break."""
        if self.store.get("VM", vbd["VM"])["is_control_domain"]:
            self.violation(f"a VBD of a control domain was touched: {vbd.ref}")

    def VBD_plug(self, call: Call, self_: str) -> None:
        vbd = self.store.get("VBD", self_)
        if vbd["currently_attached"]:
            raise Failure("DEVICE_ALREADY_ATTACHED", self_)
        vm = self._hotplug(vbd)
        if vbd["empty"]:
            raise Failure("VBD_IS_EMPTY", self_)
        if self.is_hvm(vm) and vbd["type"] != "CD" and vbd["mode"] == "RO":
            raise Failure("DISK_VBD_MUST_BE_READWRITE_FOR_HVM", self_)
        vdi = self.store.get("VDI", vbd["VDI"])
        with self.operation(call, vbd, "plug"):
            sr = self.store.get("SR", vdi["SR"])
            if vm["resident_on"] not in self.sr_hosts(sr):
                raise Failure("VM_REQUIRES_SR", vm.ref, sr.ref)
            if vbd["mode"] == "RW" and self.vdi_busy(vdi):
                raise Failure("VDI_IN_USE", vdi.ref, "attach")
            self.attach_check(vdi)
            self.store.set(vbd, currently_attached=True, device=device_name(vbd["userdevice"], False))
        self.refresh_operations(vm)

    def VBD_unplug(self, call: Call, self_: str) -> None:
        vbd = self.store.get("VBD", self_)
        self.not_xapis_own(vbd)
        if not vbd["currently_attached"]:
            raise Failure("DEVICE_ALREADY_DETACHED", self_)
        vm = self._hotplug(vbd)
        with self.operation(call, vbd, "unplug"):
            self.store.set(vbd, currently_attached=False)
        self.refresh_operations(vm)

    def VBD_set_mode(self, call: Call, self_: str, value: str) -> None:
        vbd = self.store.get("VBD", self_)
        self.expect_power(self.store.get("VM", vbd["VM"]), "Halted")
        self.store.set(vbd, mode=value)

    # -- VM: settings ----------------------------------------------------------------------------------------------

    def VM_get_allowed_VBD_devices(self, call: Call, vm: str) -> list[str]:
        used = self.used_devices(self.store.get("VM", vm))
        return [str(n) for n in range(255) if n not in used]

    def VM_get_allowed_VIF_devices(self, call: Call, vm: str) -> list[str]:
        used = {self.store.get("VIF", r)["device"] for r in self.store.get("VM", vm)["VIFs"]}
        return [str(n) for n in range(7) if str(n) not in used]

    def VM_set_memory_limits(self, call: Call, self_, static_min, static_max, dynamic_min, dynamic_max) -> None:
        obj = self.store.get("VM", self_)
        self.check_operation(obj, "changing_memory_limits")
        if not 0 < static_min <= dynamic_min <= dynamic_max <= static_max:
            raise Failure("MEMORY_CONSTRAINT_VIOLATION_ORDER", "Memory limits must satisfy: static_min <= dynamic_min <= dynamic_max "
                          "<= static_max")  # fmt: skip
        self.store.set(
            obj, memory_static_min=static_min, memory_static_max=static_max, memory_dynamic_min=dynamic_min,
            memory_dynamic_max=dynamic_max,
        )  # fmt: skip

    def VM_set_VCPUs_max(self, call: Call, self_: str, value: int) -> None:
        obj = self.store.get("VM", self_)
        self.check_operation(obj, "changing_VCPUs")
        self._vcpus(value, obj["VCPUs_at_startup"] <= value)
        self.store.set(obj, VCPUs_max=value)

    def VM_set_VCPUs_at_startup(self, call: Call, self_: str, value: int) -> None:
        obj = self.store.get("VM", self_)
        self.check_operation(obj, "changing_VCPUs")
        self._vcpus(value, value <= obj["VCPUs_max"])
        self.store.set(obj, VCPUs_at_startup=value)

    def _vcpus(self, value: int, in_order: bool) -> None:
        if value < 1 or not in_order:
            raise Failure("INVALID_VALUE", "VCPU values must satisfy: 0 < VCPUs_at_startup \u2264 VCPUs_max", str(value))
