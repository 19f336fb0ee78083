# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Storage: PBD, SR and VDI, with the ISO driver's rules on a real folder of each host (sm, ISOSR.py)."""

from __future__ import annotations

import os
import pathlib
import re
import stat
import typing as t

from xapi_rig.facts import NULL, Failure
from xapi_rig.store import Obj

if t.TYPE_CHECKING:
    from xapi_rig.pool import Call

# sm tests a prefix, so 'x.iso_y' passes here and is forgotten by the next scan.
CREATE_NAME = re.compile(r"[a-z0-9.-]+\.(iso|img)", re.I)
SCAN_NAME = re.compile(r".*\.(iso|img)$", re.I)
# Disks are VHDs: whole blocks of one, and no larger ones (sm, vhdutil.py, validate_and_round_vhd_size).
DISK_BLOCK = 2 << 20
MAX_DISK = 2093050 << 20
TOOLS_PREFIXES = ("xs-tools", "guest-tools")


class StorageMixin:
    """Needs from the pool: store, host_root(), call helpers."""

    # -- helpers ---------------------------------------------------------------------------------------------------

    def plugged(self, sr: Obj) -> list[Obj]:
        pbds = [self.store.get("PBD", p) for p in sr["PBDs"]]
        return [p for p in pbds if p["currently_attached"]]

    def sr_hosts(self, sr: Obj) -> set[str]:
        return {p["host"] for p in self.plugged(sr)}

    def iso_folder(self, sr: Obj) -> pathlib.Path:
        """The real folder behind an ISO SR: on the host of its first PBD."""
        pbd = self.store.get("PBD", sr["PBDs"][0])
        return self.host_folder(pbd["host"], pbd["device_config"])

    def host_folder(self, host: str, device_config: dict[str, str]) -> pathlib.Path:
        location = device_config["location"].lstrip("/")
        sub = device_config.get("iso_path", "").lstrip("/")
        return self.host_root(host) / location / sub if sub else self.host_root(host) / location

    def vdi_file(self, vdi: Obj) -> pathlib.Path | None:
        sr = self.store.get("SR", vdi["SR"])
        return self.iso_folder(sr) / vdi["location"] if sr["type"] == "iso" else None

    def disk_file(self, vdi: Obj) -> pathlib.Path:
        """The rig's file with the bytes of a disk; it exists once something was written."""
        return self.folder / "disks" / vdi["uuid"]

    def _iso_attach(self, host: str, device_config: dict[str, str]) -> None:
        if "location" not in device_config:
            raise Failure("SR_BACKEND_FAILURE_94", "", "The request is missing the location parameter", "")
        if "legacy_mode" not in device_config:
            raise Failure("NOT_IMPLEMENTED", "rig: network ISO libraries are not modelled")
        # Attaching looks only at the mount point (without iso_path); scanning looks at the whole path.
        if not (self.host_root(host) / device_config["location"].lstrip("/")).is_dir():
            raise Failure("SR_BACKEND_FAILURE_226", "", "Invalid local path", "")

    def iso_scan(self, sr: Obj) -> None:
        folder = self.iso_folder(sr)
        if not folder.is_dir():
            raise Failure("SR_BACKEND_FAILURE_47", "", f"The SR is not available [opterr=no such volume group: {folder}]", "")
        found = {}
        for entry in os.scandir(os.fsencode(folder)):
            try:
                name = entry.name.decode("utf-8")
            except UnicodeDecodeError:
                continue
            if SCAN_NAME.match(name) and not entry.is_dir():
                found[name] = entry.stat().st_size
        known = {self.store.get("VDI", ref)["location"]: self.store.get("VDI", ref) for ref in sr["VDIs"]}
        for name, vdi in known.items():
            if name not in found:
                self.forget_vdi(vdi)
                continue
            self.store.set(
                vdi, virtual_size=found[name], physical_utilisation=found[name], read_only="created" not in vdi["sm_config"]
            )
        for name in sorted(set(found) - set(known)):
            self._iso_record(sr, name, name, found[name], read_only=True, sm_config={})

    def _iso_record(self, sr: Obj, name: str, label: str, size: int, **fields: t.Any) -> Obj:
        stem = re.fullmatch(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(iso|img)", name, re.I)
        tools = name.startswith(TOOLS_PREFIXES)
        extra = {"uuid": stem.group(1).lower()} if stem and fields.get("read_only") else {}
        return self.store.add(
            "VDI", SR=sr.ref, name_label=name if tools else label, location=name, virtual_size=size, physical_utilisation=size,
            type="user", managed=True, is_tools_iso=tools,
            allowed_operations=["clone", "copy", "destroy", "generate_config"], **extra, **fields
        )  # fmt: skip

    def forget_vdi(self, vdi: Obj) -> None:
        for ref in list(vdi["VBDs"]):
            self.store.remove(self.store.get("VBD", ref))
        self.disk_file(vdi).unlink(missing_ok=True)
        self.store.remove(vdi)

    def attach_to_dom0(self, vdi: Obj) -> Obj:
        """XAPI's own VBD, in the control domain, for as long as it reads or writes the VDI."""
        host = sorted(self.sr_hosts(self.store.get("SR", vdi["SR"])))[0]
        dom0 = self.store.get("host", host)["control_domain"]
        self.dom0_attached.add(vdi.ref)
        return self.store.add(
            "VBD", VM=dom0, VDI=vdi.ref, userdevice="autodetect", device="xvda", type="Disk", mode="RW", currently_attached=True
        )

    def detach_from_dom0(self, vbd: Obj) -> None:
        with self.store.changed:
            if vbd.ref in self.store.objects:
                self.dom0_attached.discard(vbd["VDI"])
                self.store.remove(vbd)

    def vdi_busy(self, vdi: Obj) -> bool:
        vbds = [self.store.get("VBD", r) for r in vdi["VBDs"]]
        return vdi.ref in self.dom0_attached or any(v["currently_attached"] for v in vbds)

    # -- PBD -------------------------------------------------------------------------------------------------------

    def PBD_plug(self, call: Call, self_: str) -> None:
        pbd = self.store.get("PBD", self_)
        sr = self.store.get("SR", pbd["SR"])
        if sr["type"] == "iso":
            self._iso_attach(pbd["host"], pbd["device_config"])
        self.store.set(pbd, currently_attached=True)  # plugging does not scan: existing files stay unknown

    def PBD_unplug(self, call: Call, self_: str) -> None:
        pbd = self.store.get("PBD", self_)
        for ref in self.store.get("SR", pbd["SR"])["VDIs"]:
            vdi = self.store.get("VDI", ref)
            for vbd_ref in vdi["VBDs"]:
                vbd = self.store.get("VBD", vbd_ref)
                if vbd["currently_attached"] and self.store.get("VM", vbd["VM"])["resident_on"] == pbd["host"]:
                    raise Failure("VDI_IN_USE", ref, "detach")
        self.store.set(pbd, currently_attached=False)

    def PBD_destroy(self, call: Call, self_: str) -> None:
        pbd = self.store.get("PBD", self_)
        if pbd["currently_attached"]:
            raise Failure("OPERATION_NOT_ALLOWED", "PBD is currently attached")
        self.store.remove(pbd)

    # -- SR --------------------------------------------------------------------------------------------------------

    def SR_create(self, call: Call, host, device_config, physical_size, name_label, name_description, type_, content_type,
                  shared, sm_config) -> str:  # fmt: skip
        self.store.get("host", host)
        if type_ != "iso":
            raise Failure("SR_UNKNOWN_DRIVER", type_)
        if shared:
            raise Failure("NOT_IMPLEMENTED", "rig: a shared ISO SR made by SR.create is not modelled")
        self._iso_attach(host, device_config)
        sr = self.store.add(
            "SR", name_label=name_label, name_description=name_description, type=type_, content_type=content_type, shared=False,
            physical_size=physical_size, sm_config=sm_config,
            allowed_operations=["vdi_destroy", "vdi_create", "scan", "plug", "unplug", "forget", "destroy", "update"],
        )  # fmt: skip
        pbd = self.store.add("PBD", SR=sr.ref, host=host, device_config=device_config)
        # Plugging runs as a task of its own afterwards; its failure does not undo the two records.
        if not self.take_fault("SR.create: PBD stays unplugged"):
            self.store.set(pbd, currently_attached=True)
        return sr.ref

    def SR_scan(self, call: Call, sr: str) -> None:
        obj = self.store.get("SR", sr)
        if not self.plugged(obj):
            raise Failure("SR_HAS_NO_PBDS", sr)
        if obj["type"] == "iso":
            self.iso_scan(obj)

    def SR_forget(self, call: Call, sr: str) -> None:
        obj = self.store.get("SR", sr)
        if self.plugged(obj):
            raise Failure("SR_HAS_PBD", sr)
        for ref in list(obj["VDIs"]):
            self.forget_vdi(self.store.get("VDI", ref))
        for ref in list(obj["PBDs"]):
            self.store.remove(self.store.get("PBD", ref))
        self.store.remove(obj)

    SR_destroy = SR_forget  # the ISO driver's delete does nothing: files stay

    def SR_set_name_label(self, call: Call, sr: str, value: str) -> None:
        self.store.set(self.store.get("SR", sr), name_label=value)

    def SR_set_name_description(self, call: Call, sr: str, value: str) -> None:
        self.store.set(self.store.get("SR", sr), name_description=value)

    # -- VDI -------------------------------------------------------------------------------------------------------

    def VDI_create(self, call: Call, args: dict[str, t.Any]) -> str:
        sr = self.store.get("SR", args["SR"])
        if not self.plugged(sr):
            raise Failure("SR_HAS_NO_PBDS", sr.ref)
        common = {
            k: args[k]
            for k in ("name_label", "name_description", "type", "sharable", "read_only", "other_config", "xenstore_data", "tags")
            if k in args
        }
        size = args["virtual_size"]
        if sr["type"] != "iso":
            if not 0 <= size <= MAX_DISK:
                raise Failure("SR_BACKEND_FAILURE_79", "", f"VDI Invalid size [opterr=size must be between 0 and {MAX_DISK}]", "")
            size = -(-max(size, 1) // DISK_BLOCK) * DISK_BLOCK
            if size > sr["physical_size"] - sr["physical_utilisation"]:
                raise Failure("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")
            return self.store.add(
                "VDI", SR=sr.ref, virtual_size=size, physical_utilisation=size, managed=True,
                sm_config=args.get("sm_config", {}), allowed_operations=["clone", "copy", "resize", "destroy", "snapshot"],
                **common,
            ).ref  # fmt: skip
        obj = self.store.add("VDI", SR=NULL, managed=True, **common)
        name = args.get("sm_config", {}).get("path", f"{obj['uuid']}.img")
        folder = self.iso_folder(sr)
        try:
            if not CREATE_NAME.match(name):
                raise Failure("SR_BACKEND_FAILURE_78", "", "VDI Creation failed [opterr=Invalid path]", "")
            if (folder / name).exists():
                raise Failure("SR_BACKEND_FAILURE_43", "", "The specified VDI already exists", "")
            if "/" in name:
                raise AssertionError(f"rig: VDI.create would leave the SR's folder: {name!r}")
            with open(folder / name, "xb") as stream:
                stream.truncate(size)
        except OSError as exc:
            self.store.remove(obj)
            raise Failure("SR_BACKEND_FAILURE_78", "", f"VDI Creation failed [opterr={exc.strerror}]", "") from exc
        except (Failure, AssertionError):
            self.store.remove(obj)
            raise
        self.store.set(
            obj, SR=sr.ref, location=name, virtual_size=size, physical_utilisation=size, read_only=False,
            sm_config={**args.get("sm_config", {}), "created": "20260101T00:00:00Z"},
            allowed_operations=["clone", "copy", "destroy", "generate_config"],
        )  # fmt: skip
        return obj.ref

    def VDI_destroy(self, call: Call, self_: str) -> None:
        vdi = self.store.get("VDI", self_)
        if self.vdi_busy(vdi):
            raise Failure("VDI_IN_USE", self_, "destroy")
        path = self.vdi_file(vdi)
        # The VBD records go too, CD drives included: a halted VM loses its drive (xapi_vdi.ml).
        self.forget_vdi(vdi)
        if path is not None:
            path.unlink(missing_ok=True)

    def VDI_forget(self, call: Call, vdi: str) -> None:
        obj = self.store.get("VDI", vdi)
        if self.vdi_busy(obj):
            raise Failure("VDI_IN_USE", vdi, "forget")
        self.forget_vdi(obj)

    def VDI_resize(self, call: Call, vdi: str, size: int) -> None:
        obj = self.store.get("VDI", vdi)
        if self.store.get("SR", obj["SR"])["type"] == "iso":
            raise Failure("SR_OPERATION_NOT_SUPPORTED", obj["SR"])
        if self.vdi_busy(obj):
            raise Failure("VDI_IN_USE", vdi, "resize")
        if size < obj["virtual_size"]:
            raise Failure("SR_BACKEND_FAILURE_79", "", "VDI Invalid size [opterr=shrinking not allowed]", "")
        self.store.set(obj, virtual_size=size)

    def VDI_set_name_label(self, call: Call, self_: str, value: str) -> None:
        self.store.set(self.store.get("VDI", self_), name_label=value)

    def VDI_set_name_description(self, call: Call, self_: str, value: str) -> None:
        self.store.set(self.store.get("VDI", self_), name_description=value)

    def VDI_set_sharable(self, call: Call, self_: str, value: bool) -> None:
        self.store.set(self.store.get("VDI", self_), sharable=value)

    def attach_check(self, vdi: Obj) -> None:
        """Fails as attaching to a domain does if the file is gone or cannot be read."""
        path = self.vdi_file(vdi)
        if path is None:
            return
        if not path.exists():
            raise Failure("VDI_MISSING", vdi["SR"], vdi.ref)
        if not path.stat().st_mode & stat.S_IRUSR:
            raise Failure("SR_BACKEND_FAILURE_1200", "", "Permission denied", "")
