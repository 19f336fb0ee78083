# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VM, VBD and VIF: power states, CD rules, migration, clone (xapi_vbd_helpers.ml, xapi_vm_helpers.ml, xapi_vm_clone.ml)."""

from __future__ import annotations

import random
import typing as t

from xapi_rig.facts import NULL, Failure
from xapi_rig.store import Obj

if t.TYPE_CHECKING:
    from xapi_rig.pool import Call

HVM_CDS = "HVM CDROMs cannot be hotplugged/unplugged, only inserted or ejected"
VM_COPIED = (
    "name_description user_version affinity memory_static_max memory_dynamic_max memory_dynamic_min memory_static_min VCPUs_params "
    "VCPUs_max VCPUs_at_startup actions_after_shutdown actions_after_reboot actions_after_crash PV_bootloader PV_kernel PV_ramdisk "
    "PV_args PV_bootloader_args PV_legacy_args HVM_boot_policy HVM_boot_params HVM_shadow_multiplier platform PCI_bus other_config "
    "recommendations xenstore_data tags domain_type NVRAM has_vendor_device suspend_SR hardware_platform_version"
).split()


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

    def not_template(self, vm: Obj) -> None:
        if vm["is_a_template"]:
            raise Failure("VM_IS_TEMPLATE", vm.ref)

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
        return not self.is_hvm(vm) or self.store.maybe(vm["guest_metrics"]) is not None

    def refresh_operations(self, vm: Obj) -> None:
        """allowed_operations of a VM and its drives, as XAPI recomputes them after each change."""
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

    def VBD_plug(self, call: Call, self_: str) -> None:
        vbd = self.store.get("VBD", self_)
        if vbd["currently_attached"]:
            raise Failure("DEVICE_ALREADY_ATTACHED", self_)
        vm = self._hotplug(vbd)
        if vbd["empty"]:
            raise Failure("VBD_IS_EMPTY", self_)
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

    # -- VIF -------------------------------------------------------------------------------------------------------

    def VIF_create(self, call: Call, args: dict[str, t.Any]) -> str:
        vm = self.store.get("VM", args["VM"])
        self.store.get("network", args["network"])
        used = {self.store.get("VIF", r)["device"] for r in vm["VIFs"]}
        if args["device"] in used:
            raise Failure("DEVICE_ALREADY_EXISTS", args["device"])
        if not args["device"].isdigit():
            raise Failure("INVALID_DEVICE", args["device"])
        mac = args["MAC"]
        vif = self.store.add(
            "VIF", VM=vm.ref, network=args["network"], device=args["device"], MAC=mac or self.new_mac(), MTU=args["MTU"],
            MAC_autogenerated=not mac, other_config=args["other_config"], qos_algorithm_type=args["qos_algorithm_type"],
            qos_algorithm_params=args["qos_algorithm_params"], locking_mode=args.get("locking_mode", "network_default"),
            allowed_operations=["attach"],
        )  # fmt: skip
        return vif.ref

    def new_mac(self) -> str:
        return "02:16:3e:" + ":".join(f"{random.randrange(256):02x}" for _index in range(3))  # no secret

    def VIF_destroy(self, call: Call, self_: str) -> None:
        vif = self.store.get("VIF", self_)
        if vif["currently_attached"]:
            raise Failure("OPERATION_NOT_ALLOWED", f"VIF '{vif['uuid']}' still attached to '{vif['VM']}'")
        self.store.remove(vif)

    def VIF_plug(self, call: Call, self_: str) -> None:
        vif = self.store.get("VIF", self_)
        self._hotplug_vif(vif)
        self.store.set(vif, currently_attached=True)

    def VIF_unplug(self, call: Call, self_: str) -> None:
        vif = self.store.get("VIF", self_)
        self._hotplug_vif(vif)
        self.store.set(vif, currently_attached=False)

    def _hotplug_vif(self, vif: Obj) -> None:
        vm = self.store.get("VM", vif["VM"])
        self.expect_power(vm, "Running")
        if not self.has_pv_drivers(vm):
            raise Failure("VM_MISSING_PV_DRIVERS", vm.ref)

    # -- VM: life --------------------------------------------------------------------------------------------------

    def _power_on(self, call: Call, vm: Obj, host: str, op: str) -> None:
        with self.operation(call, vm, op):
            for vbd in self.loaded(vm):
                self.attach_check(self.store.get("VDI", vbd["VDI"]))
            metrics = self.store.maybe(vm["guest_metrics"])
            if metrics is not None and op in ("start", "start_on", "hard_reboot", "clean_reboot"):
                self.store.remove(metrics)  # each boot has a new one, made when the guest agent speaks
                self.store.set(vm, guest_metrics=NULL)
            self.domid += 1
            self.store.set(vm, power_state="Running", resident_on=host, domid=self.domid)
            self.store.set(self.store.get("VM_metrics", vm["metrics"]), start_time=self.now(), hvm=self.is_hvm(vm))
            for vbd in self.vm_vbds(vm):
                if vbd["empty"] and not self.is_hvm(vm):
                    continue  # an empty PV drive has no backend
                self.store.set(vbd, currently_attached=True, device=device_name(vbd["userdevice"], self.is_hvm(vm)))
            for ref in vm["VIFs"]:
                self.store.set(self.store.get("VIF", ref), currently_attached=True)
        self.refresh_operations(vm)

    def _power_off(self, vm: Obj, state: str = "Halted") -> None:
        self.store.set(vm, power_state=state, resident_on=NULL, domid=-1)
        for vbd in self.vm_vbds(vm):
            self.store.set(vbd, currently_attached=False)
        for ref in vm["VIFs"]:
            self.store.set(self.store.get("VIF", ref), currently_attached=False)
        self.refresh_operations(vm)

    def _hosts_for(self, vm: Obj) -> list[str]:
        return [h.ref for h in self.store.all("host") if h["enabled"] and self.missing_sr(vm, h.ref) is None]

    def VM_get_possible_hosts(self, call: Call, vm: str) -> list[str]:
        return self._hosts_for(self.store.get("VM", vm))

    def VM_start(self, call: Call, vm: str, start_paused: bool, force: bool) -> None:
        obj = self.store.get("VM", vm)
        self.not_template(obj)
        self.expect_power(obj, "Halted")
        hosts = self._hosts_for(obj)
        if not hosts:
            raise Failure("NO_HOSTS_AVAILABLE")
        self._power_on(call, obj, obj["affinity"] if obj["affinity"] in hosts else hosts[0], "start")

    def VM_start_on(self, call: Call, vm: str, host: str, start_paused: bool, force: bool) -> None:
        obj = self.store.get("VM", vm)
        self.store.get("host", host)
        self.not_template(obj)
        self.expect_power(obj, "Halted")
        missing = self.missing_sr(obj, host)
        if missing:
            raise Failure("VM_REQUIRES_SR", vm, missing)
        self._power_on(call, obj, host, "start_on")

    def _clean(self, obj: Obj) -> None:
        self.not_template(obj)
        self.expect_power(obj, "Running")
        if not self.has_pv_drivers(obj):
            raise Failure("VM_MISSING_PV_DRIVERS", obj.ref)

    def VM_clean_shutdown(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self._clean(obj)
        with self.operation(call, obj, "clean_shutdown"):
            self._power_off(obj)

    def VM_hard_shutdown(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self.not_template(obj)
        self.expect_power(obj, "Running", "Suspended", "Paused")
        with self.operation(call, obj, "hard_shutdown"):
            self._power_off(obj)

    def VM_shutdown(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        if self.has_pv_drivers(obj):
            self.VM_clean_shutdown(call, vm)
        else:
            self.VM_hard_shutdown(call, vm)

    def VM_clean_reboot(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self._clean(obj)
        host = obj["resident_on"]
        self._power_off(obj)
        self._power_on(call, obj, host, "clean_reboot")

    def VM_hard_reboot(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self.not_template(obj)
        self.expect_power(obj, "Running", "Paused")
        host = obj["resident_on"]
        self._power_off(obj)
        self._power_on(call, obj, host, "hard_reboot")

    def VM_suspend(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self._clean(obj)
        with self.operation(call, obj, "suspend"):
            attached = [v.ref for v in self.vm_vbds(obj) if v["currently_attached"]]
            self._power_off(obj, "Suspended")
            for ref in attached:  # a suspended VM keeps its devices reserved
                self.store.set(self.store.get("VBD", ref), currently_attached=True)

    def VM_resume(self, call: Call, vm: str, start_paused: bool, force: bool) -> None:
        obj = self.store.get("VM", vm)
        self.not_template(obj)
        self.expect_power(obj, "Suspended")
        hosts = self._hosts_for(obj)
        if not hosts:
            raise Failure("NO_HOSTS_AVAILABLE")
        self._power_on(call, obj, obj["affinity"] if obj["affinity"] in hosts else hosts[0], "resume")

    def VM_pause(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self.expect_power(obj, "Running")
        self.store.set(obj, power_state="Paused")
        self.refresh_operations(obj)

    def VM_unpause(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self.expect_power(obj, "Paused")
        self.store.set(obj, power_state="Running")
        self.refresh_operations(obj)

    def VM_pool_migrate(self, call: Call, vm: str, host: str, options: dict[str, str]) -> None:
        obj = self.store.get("VM", vm)
        target = self.store.get("host", host)
        self.not_template(obj)
        self.expect_power(obj, "Running", "Suspended")
        missing = self.missing_sr(obj, host)
        if missing:
            raise Failure("VM_REQUIRES_SR", vm, missing)
        if not target["enabled"]:
            raise Failure("HOST_DISABLED", host)
        with self.operation(call, obj, "pool_migrate"):
            self.store.set(obj, resident_on=host)
        self.refresh_operations(obj)

    # -- VM: making and unmaking -----------------------------------------------------------------------------------

    def _copy_vm(self, source: Obj, name: str, sr: str, **extra: t.Any) -> Obj:
        metrics = self.store.add("VM_metrics")
        copied = {field: source[field] for field in VM_COPIED}
        # Guest metrics are copied by reference's content: a fresh clone can carry the original's old address.
        old = self.store.maybe(source["guest_metrics"])
        guest = NULL
        if old is not None:
            guest = self.store.add("VM_guest_metrics", **{k: v for k, v in old.fields.items() if k != "uuid"}).ref
        vm = self.store.add(
            "VM", name_label=name, power_state="Halted", metrics=metrics.ref, guest_metrics=guest, domid=-1,
            reference_label=source["reference_label"], **{"is_a_template": source["is_a_template"], **copied, **extra}
        )  # fmt: skip
        for vbd in self.vm_vbds(source):
            vdi = vbd["VDI"]
            if vdi != NULL and vbd["type"] != "CD":  # a CD stays on the same VDI, also in the clone (xapi_vm_clone.ml)
                disk = self.store.get("VDI", vdi)
                fields = {k: v for k, v in disk.fields.items() if k not in ("uuid", "VBDs", "SR", "snapshots", "location")}
                vdi = self.store.add("VDI", SR=disk["SR"] if sr == NULL else sr, **fields).ref
            keep = ("userdevice", "bootable", "mode", "type", "unpluggable", "other_config", "qos_algorithm_type",
                    "qos_algorithm_params", "empty")  # fmt: skip
            self.store.add("VBD", VM=vm.ref, VDI=vdi, **{k: vbd[k] for k in keep})
        for ref in source["VIFs"]:
            vif = self.store.get("VIF", ref)
            keep = ("device", "network", "MTU", "other_config", "qos_algorithm_type", "qos_algorithm_params", "locking_mode",
                    "allowed_operations")  # fmt: skip
            self.store.add("VIF", VM=vm.ref, MAC=self.new_mac(), MAC_autogenerated=True, **{k: vif[k] for k in keep})
        self.refresh_operations(vm)
        return vm

    def VM_clone(self, call: Call, vm: str, new_name: str) -> str:
        obj = self.store.get("VM", vm)
        self.expect_power(obj, "Halted", "Suspended")
        with self.operation(call, obj, "clone"):
            return self._copy_vm(obj, new_name, NULL).ref

    def VM_copy(self, call: Call, vm: str, new_name: str, sr: str) -> str:
        obj = self.store.get("VM", vm)
        self.expect_power(obj, "Halted", "Suspended")
        if sr != NULL:
            self.store.get("SR", sr)
        with self.operation(call, obj, "copy"):
            return self._copy_vm(obj, new_name, sr).ref

    def VM_snapshot(self, call: Call, vm: str, new_name: str, ignore_vdis: list[str]) -> str:
        obj = self.store.get("VM", vm)
        with self.operation(call, obj, "snapshot"):
            return self._copy_vm(
                obj, new_name, NULL, is_a_snapshot=True, snapshot_of=vm, snapshot_time=self.now(), is_a_template=True
            ).ref

    def VM_provision(self, call: Call, vm: str) -> None:
        obj = self.store.get("VM", vm)
        self.expect_power(obj, "Halted")
        with self.operation(call, obj, "provision"):
            self.store.set(obj, is_a_template=False)
        self.refresh_operations(obj)

    def VM_set_is_a_template(self, call: Call, self_: str, value: bool) -> None:
        obj = self.store.get("VM", self_)
        self.expect_power(obj, "Halted")
        self.store.set(obj, is_a_template=value)
        self.refresh_operations(obj)

    def VM_destroy(self, call: Call, self_: str) -> None:
        obj = self.store.get("VM", self_)
        if obj["is_control_domain"]:
            raise Failure("OPERATION_NOT_ALLOWED", "You cannot destroy a control domain via this API.")
        self.expect_power(obj, "Halted")
        with self.operation(call, obj, "destroy"):
            for vbd in self.vm_vbds(obj):
                self.store.remove(vbd)
            for ref in list(obj["VIFs"]):
                self.store.remove(self.store.get("VIF", ref))
            for ref in (obj["metrics"], obj["guest_metrics"]):
                other = self.store.maybe(ref)
                if other is not None:
                    self.store.remove(other)
        self.store.remove(obj)

    # -- VM: settings ----------------------------------------------------------------------------------------------

    def VM_get_allowed_VBD_devices(self, call: Call, vm: str) -> list[str]:
        used = self.used_devices(self.store.get("VM", vm))
        return [str(n) for n in range(255) if n not in used]

    def VM_get_allowed_VIF_devices(self, call: Call, vm: str) -> list[str]:
        used = {self.store.get("VIF", r)["device"] for r in self.store.get("VM", vm)["VIFs"]}
        return [str(n) for n in range(7) if str(n) not in used]

    def VM_set_memory_limits(self, call: Call, self_, static_min, static_max, dynamic_min, dynamic_max) -> None:
        obj = self.store.get("VM", self_)
        self.expect_power(obj, "Halted")
        self.store.set(
            obj, memory_static_min=static_min, memory_static_max=static_max, memory_dynamic_min=dynamic_min,
            memory_dynamic_max=dynamic_max,
        )  # fmt: skip

    def VM_set_VCPUs_max(self, call: Call, self_: str, value: int) -> None:
        obj = self.store.get("VM", self_)
        self.expect_power(obj, "Halted")
        self.store.set(obj, VCPUs_max=value)

    def VM_set_VCPUs_at_startup(self, call: Call, self_: str, value: int) -> None:
        obj = self.store.get("VM", self_)
        self.expect_power(obj, "Halted")
        self.store.set(obj, VCPUs_at_startup=value)
