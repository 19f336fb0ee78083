# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts table: which classes, messages, fields, types and enum values exist, and what may be sent for each."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

from xapi_rig.derive import derived_messages, is_map, is_set, map_types

NULL = "OpaqueRef:NULL"
FACTS = pathlib.Path(__file__).resolve().parent.parent / "facts.json"

# Trailing parameters that a client may leave out (datamodel*.ml, param_default); the data model does not carry them.
DEFAULTED: dict[str, list[t.Any]] = {
    "session.login_with_password": ["", ""],
    "SR.create": [{}],
    "SR.introduce": [{}],
    "VM.snapshot": [[]],
    "VM.migrate_send": [{}, {}],
    "VM.assert_can_migrate": [{}, {}],
    "VDI.snapshot": [{}],
    "VDI.clone": [{}],
}

# Every error the rig may raise, with its number of parameters (api_errors.ml, datamodel_errors.ml, sm_exec.ml;
# VDI_IO_ERROR: vhd_tool_wrapper.ml). None: any number. A message's declared errors are allowed besides these.
ERRORS: dict[str, int | None] = {
    "BRIDGE_NAME_EXISTS": 1,
    "CANNOT_ADD_VLAN_TO_BOND_SLAVE": 1,
    "CANNOT_DESTROY_SYSTEM_NETWORK": 1,
    "DEVICE_ALREADY_ATTACHED": 1,
    "DEVICE_ALREADY_DETACHED": 1,
    "DEVICE_ALREADY_EXISTS": 1,
    "DEVICE_DETACH_REJECTED": 3,
    "DISK_VBD_MUST_BE_READWRITE_FOR_HVM": 1,
    "EVENT_FROM_TOKEN_PARSE_FAILURE": 1,
    "EVENT_SUBSCRIPTION_PARSE_FAILURE": 1,
    "FIELD_TYPE_ERROR": 1,
    "HANDLE_INVALID": 2,
    "HOST_DISABLED": 1,
    "HOST_IS_SLAVE": 1,
    "HOST_NOT_ENOUGH_FREE_MEMORY": 2,
    "HOST_NOT_LIVE": 0,
    "INTERNAL_ERROR": 1,
    "INVALID_DEVICE": 1,
    "INVALID_VALUE": 2,
    "MAC_INVALID": 1,
    "MAC_STILL_IN_USE": 1,
    "MAP_DUPLICATE_KEY": 4,
    "MEMORY_CONSTRAINT_VIOLATION_ORDER": 1,
    "MESSAGE_METHOD_UNKNOWN": 1,
    "MESSAGE_PARAMETER_COUNT_MISMATCH": 3,
    "MESSAGE_REMOVED": 0,
    "NETWORK_ALREADY_CONNECTED": 2,
    "NETWORK_CONTAINS_PIF": None,
    "NETWORK_CONTAINS_VIF": None,
    "NOT_IMPLEMENTED": 1,
    "NO_HOSTS_AVAILABLE": 0,
    "OPERATION_NOT_ALLOWED": 1,
    "OPERATION_BLOCKED": 2,
    "OTHER_OPERATION_IN_PROGRESS": 4,
    "PERMISSION_DENIED": 1,
    "PIF_IS_VLAN": 1,
    "PIF_UNMANAGED": 1,
    "PIF_VLAN_EXISTS": 1,
    "PROVISION_ONLY_ALLOWED_ON_TEMPLATE": 0,
    "RBAC_PERMISSION_DENIED": 2,
    "SESSION_AUTHENTICATION_FAILED": 2,
    "SESSION_INVALID": 1,
    "SR_BACKEND_FAILURE_43": 3,
    "SR_BACKEND_FAILURE_44": 3,
    "SR_BACKEND_FAILURE_47": 3,
    "SR_BACKEND_FAILURE_78": 3,
    "SR_BACKEND_FAILURE_79": 3,
    "SR_BACKEND_FAILURE_94": 3,
    "SR_BACKEND_FAILURE_226": 3,
    "SR_BACKEND_FAILURE_1200": 3,
    "SR_HAS_NO_PBDS": 1,
    "SR_HAS_PBD": 1,
    "SR_OPERATION_NOT_SUPPORTED": 1,
    "SR_UNKNOWN_DRIVER": 1,
    "TASK_CANCELLED": 1,
    "UUID_INVALID": 2,
    "VBD_CDS_MUST_BE_READONLY": 0,
    "VBD_IS_EMPTY": 1,
    "VBD_NOT_EMPTY": 1,
    "VBD_NOT_REMOVABLE_MEDIA": 1,
    "VDI_INCOMPATIBLE_TYPE": 2,
    "VDI_IN_USE": 2,
    "VDI_IO_ERROR": 1,
    "VDI_LOCATION_MISSING": 2,
    "VDI_MISSING": 2,
    "VDI_READONLY": 1,
    "VLAN_TAG_INVALID": 1,
    "VM_BAD_POWER_STATE": 3,
    "VM_CANNOT_DELETE_DEFAULT_TEMPLATE": 0,
    "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT": 1,
    "VM_IS_TEMPLATE": 2,
    "VM_LACKS_FEATURE": 1,
    "VM_MISSING_PV_DRIVERS": 1,
    "VM_REQUIRES_NETWORK": 2,
    "VM_REQUIRES_SR": 2,
    "VM_SHUTDOWN_TIMEOUT": 2,
}


class Failure(Exception):
    """An XAPI error: a code and its parameters, all text."""

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = [str(p) for p in params]

    @property
    def description(self) -> list[str]:
        return [self.code, *self.params]


class TypeMismatch(Exception):
    """A value of the wrong type: XAPI's unmarshaller fails, the client sees INTERNAL_ERROR."""


class Facts:
    def __init__(self, path: pathlib.Path = FACTS) -> None:
        data = json.loads(path.read_text(encoding="utf-8"))
        self.enums: dict[str, list[str]] = data["enums"]
        self.class_names: set[str] = set(data["class_names"])
        self.lower = {name.lower(): name for name in data["class_names"]}
        self.fields: dict[str, dict[str, list[str]]] = {}
        self.messages: dict[str, dict[str, dict[str, t.Any]]] = {}
        self.required: dict[str, list[str]] = {}
        self.declared_errors: set[str] = set()
        for name, cls in data["classes"].items():
            messages = {m: sig for m, sig in derived_messages(name, cls["fields"]).items() if m not in cls["absent"]}
            messages.update(cls["messages"])
            self.fields[name] = cls["fields"]
            self.messages[name] = messages
            self.required[name] = cls["required"]
            for sig in messages.values():
                self.declared_errors.update(sig.get("errors", ()))

    def find(self, method: str) -> tuple[str, str, dict[str, t.Any]]:
        """Class, message and signature of 'VM.start' (or the alias 'VM_start'); unknown → MESSAGE_METHOD_UNKNOWN."""
        cls, dot, name = method.partition(".")
        if not dot:
            cls, _sep, name = method.partition("_")
        sig = self.messages.get(cls, {}).get(name)
        if sig is None:
            raise Failure("MESSAGE_METHOD_UNKNOWN", method)
        return cls, name, sig

    def has_async(self, cls: str, message: str) -> bool:
        """Getters and setters of fields have no asynchronous form (gen_client.ml, has_async)."""
        for prefix in ("get_", "set_", "add_to_", "remove_from_", "add_", "remove_"):
            field = self.fields[cls].get(message[len(prefix) :]) if message.startswith(prefix) else None
            if field is not None and (prefix == "get_" or field[1] == "RW"):
                return False
        return not message.startswith("get_") and (cls, message) not in (("event", "from"), ("session", "logout"))

    def check_failure(self, failure: Failure) -> str | None:
        """Why this failure could not come from XAPI, or None if it could."""
        if failure.code in ERRORS:
            arity = ERRORS[failure.code]
            return None if arity in (None, len(failure.params)) else f"{failure.description}: {arity} parameters expected"
        return None if failure.code in self.declared_errors else f"{failure.code} is no error of the model"

    def default(self, kind: str, text: str | None) -> t.Any:
        """The initial value of a field: the model's default, else the type's empty value."""
        if is_map(kind):
            return {}
        if is_set(kind):
            return []
        if kind.endswith(" ref"):
            return NULL
        if kind == "bool":
            return text == "true"
        if kind == "int":
            return int(text or 0)
        if kind == "float":
            return float(text or 0)
        if kind == "datetime":
            return text or "19700101T00:00:00Z"
        if kind.startswith("enum "):
            values = self.enums[kind[5:]]
            return text if text in values else values[0]
        return (text or "").strip('"')

    def read(self, kind: str, value: t.Any, from_json: bool, where: str) -> t.Any:
        """A value from the wire, decoded. Raises TypeMismatch."""
        if kind.endswith(" record"):
            if not isinstance(value, dict):
                raise TypeMismatch(f"{where}: a struct is expected, not {type(value).__name__}")
            fields = self.fields[kind[: -len(" record")]]
            return {k: self.read(fields[k][0], v, from_json, f"{where}.{k}") for k, v in value.items() if k in fields}
        if is_map(kind):
            if not isinstance(value, dict):
                raise TypeMismatch(f"{where}: a struct is expected, not {type(value).__name__}")
            key_kind, value_kind = map_types(kind)
            return {
                self.read(key_kind, k, from_json, where): self.read(value_kind, v, from_json, f"{where}[{k}]")
                for k, v in value.items()
            }
        if is_set(kind):
            if not isinstance(value, list):
                raise TypeMismatch(f"{where}: an array is expected, not {type(value).__name__}")
            return [self.read(kind[: -len(" set")], v, from_json, where) for v in value]
        if kind == "bool":
            if not isinstance(value, bool):
                raise TypeMismatch(f"{where}: a boolean is expected, not {type(value).__name__}")
            return value
        if kind == "float":
            if isinstance(value, bool) or not isinstance(value, (int, float) if from_json else float):
                raise TypeMismatch(f"{where}: a double is expected, not {type(value).__name__}")
            return float(value)
        if kind == "int":
            if from_json and isinstance(value, int) and not isinstance(value, bool):
                return value
            if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,19}", value):
                raise TypeMismatch(f"{where}: an integer goes as a string of digits, not {type(value).__name__}")
            return int(value)
        if kind == "datetime":
            text = str(value)
            if not re.fullmatch(r"\d{8}T\d\d:\d\d:\d\dZ?", text):
                raise TypeMismatch(f"{where}: a date is expected")
            return text if text.endswith("Z") else text + "Z"
        if not isinstance(value, str):
            raise TypeMismatch(f"{where}: a string is expected, not {type(value).__name__}")
        if kind.startswith("enum ") and value not in self.enums.get(kind[5:], [value]):
            raise TypeMismatch(f"{where}: {value!r} is no {kind[5:]}")
        return value
