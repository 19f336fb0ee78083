# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The data of one VM as its config drive is to carry it, checked."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import sealing
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import META_DATA_OWN, READER_CLOUD_INIT
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What the original platform writes for every VM; any other key is carried under its own name.
METADATA_KEYS = ("availability_zone", "cloud_identifier", "instance_id", "local_hostname", "service_offering", "vm_id")

READERS = ("ours", "cloudstack", "cloudstack_combined", "cloud_init", "cloudbase_init")

SERVICE_USER_DATA = "userdata"
SERVICES = (SERVICE_USER_DATA,)

# What to give instead of a metadata key that the drive writes itself (content.META_DATA_OWN).
_INSTEAD_OF_METADATA = {
    "public_keys": "use ssh_keys",
    "keys": "use ssh_keys",
    "admin_pass": "use password",
    "hostname": "use local_hostname",
    "uuid": "use instance_id",
    "name": "it is the name of the entry",
}
_METADATA_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# The name becomes a file name on the controller and on the hypervisor.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +@=,()-]{0,127}")
_HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_CRYPT_HASH = re.compile(r"\$[A-Za-z0-9-]{1,16}\$[A-Za-z0-9./$=,+-]{8,255}")
_KEY_TYPE = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+")
# The way out for text that a template of Ansible has turned into something else.
_JSON_TEXT = (
    '; give JSON as user_data_base64: "{{ text | b64encode }}", because ansible-core before 2.19 makes a mapping or list of JSON'
    " text that comes out of a template"
)
# What the guest scripts of this collection take as one line.
MAX_KEY_LENGTH = 8192


@dataclasses.dataclass(frozen=True)
class DriveDescription:
    """One VM's data. Secrets are left out of repr(), so that they cannot reach a log with it.

    name: the VM's name. metadata: texts by key, always with instance_id and local_hostname.
    user_data: bytes as the guest gets them. password: plain text; password_hash: crypt(3) text, for cloud-init.
    password_public_key: to which a password is encrypted that is made for the drive.
    ssh_keys: public keys, one line each; None if nothing was said of keys, () if there are to be none. vendor_data: what vendor_data.json holds.
    reader: what in the guest reads the drive (READERS), None if that is not known.
    confirm_password: whether cloud-init's guest is to tell that it has set the password.
    services: of the VM's network (SERVICES), None if it was not said; network: its name, for messages.
    instance_id_given: whether the instance id in metadata was asked for, or is the name or vm_id for want of one.
    doubts: sentences about options that may not be what was meant; they name the option and hold no secret.
    """

    name: str
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    user_data: bytes | None = dataclasses.field(default=None, repr=False)
    password: str | None = dataclasses.field(default=None, repr=False)
    password_hash: str | None = dataclasses.field(default=None, repr=False)
    password_public_key: str | None = None
    ssh_keys: tuple[str, ...] | None = dataclasses.field(default=None, repr=False)
    vendor_data: t.Any = dataclasses.field(default=None, repr=False)
    reader: str | None = None
    confirm_password: bool = False
    services: tuple[str, ...] | None = None
    network: str | None = None
    doubts: tuple[str, ...] = ()
    instance_id_given: bool = False

    @classmethod
    def from_option(cls, option: Mapping[str, t.Any]) -> DriveDescription:
        """Checks one entry of the option O(drives). Raises DriveInputError; its message names the option, never a secret value."""
        name = _name(option.get("name"))
        user_data = _user_data(name, option)
        password = _text(name, "password", option.get("password"))
        doubts = []
        if password and not isinstance(option["password"], str):
            doubts.append("password is a number: YAML may have changed it (0123 becomes 83); put it in quotes")
        password_hash = _text(name, "password_hash", option.get("password_hash"))
        if password and password_hash:
            raise _error(name, "password", "is given together with password_hash: leave one of them out")
        if password_hash and not _CRYPT_HASH.fullmatch(password_hash):
            raise _error(
                name, "password_hash", "is not a crypt(3) hash such as $6$salt$hash: make one with the filter password_hash"
            )
        password_public_key = _public_key(name, option, bool(password or password_hash))
        given = option.get("metadata") or {}
        reader = option.get("reader")
        if reader is not None and reader not in READERS:
            raise _error(name, "reader", f"is {reader!r}: it must be one of {', '.join(READERS)}")
        description = cls(
            name=name,
            metadata=_metadata(name, given),
            user_data=user_data,
            password=password or None,
            password_hash=password_hash or None,
            password_public_key=password_public_key,
            ssh_keys=_ssh_keys(name, option.get("ssh_keys")),
            vendor_data=_vendor_data(name, option.get("vendor_data")),
            reader=reader,
            confirm_password=_confirm_password(name, reader, option),
            services=_services(name, option.get("services")),
            network=_text(name, "network", option.get("network")) or None,
            doubts=tuple(doubts),
            instance_id_given=any(key.replace("-", "_") == "instance_id" and value for key, value in given.items()),
        )
        check_services(description)
        return description

    def for_vm(self, vm_id: str) -> DriveDescription:
        """The same with the VM's id on its hypervisor as vm_id, and as instance id, where none was given."""
        if self.metadata.get("vm_id"):
            return self
        metadata = {**self.metadata, "vm_id": vm_id}
        if not self.instance_id_given:
            metadata["instance_id"] = vm_id
        return dataclasses.replace(self, metadata=dict(sorted(metadata.items())))


def check_services(description: DriveDescription) -> None:
    """The one place that decides what a network's services let on the drive.

    Without the service V(userdata) the drive carries metadata only; anything more is an error before a change is made.
    """
    if description.services is None or SERVICE_USER_DATA in description.services:
        return
    parts = {
        "user_data": description.user_data,
        "password": description.password,
        "password_hash": description.password_hash,
        "password_public_key": description.password_public_key,
        "ssh_keys": description.ssh_keys,
        "vendor_data": description.vendor_data,
    }
    given = [part for part, value in parts.items() if value]
    if given:
        network = f"network {description.network}" if description.network else "VM's network"
        raise DriveInputError(
            f"drive {description.name}: {', '.join(given)} cannot be delivered: the {network} has no service {SERVICE_USER_DATA};"
            f" add {SERVICE_USER_DATA} to the network's services or leave out {', '.join(given)}"
        )


def _error(name: str, option: str, problem: str) -> DriveInputError:
    return DriveInputError(f"drive {name}: {option} {problem}")


def _name(value: t.Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DriveInputError("drives: every entry needs a name, the name of its VM")
    if not _NAME.fullmatch(value) or value.endswith((" ", ".")):
        raise DriveInputError(
            f"drive {value!r}: the name becomes a file name: use at most 128 letters, digits, blanks and ._+@=,()-,"
            " beginning with a letter, a digit or _ and not ending in a blank or a dot"
        )
    return value


def _text(name: str, option: str, value: t.Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise _error(name, option, f"is a {type(value).__name__}: it must be text")


def _public_key(name: str, option: Mapping[str, t.Any], has_password: bool) -> str | None:
    key = _text(name, "password_public_key", option.get("password_public_key"))
    if not key:
        return None
    if has_password:
        raise _error(name, "password_public_key", "asks for a new password, and there is one: leave one of them out")
    try:
        sealing.sealer(key)
    except DriveInputError as error:
        raise _error(name, "password_public_key", str(error)) from None
    return key


def _scalar(value: t.Any) -> str | None:
    """Text of a scalar the way YAML users write it; None for what is none."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return None


def _metadata(name: str, value: t.Any) -> dict[str, str]:
    if not hasattr(value, "items"):
        raise _error(name, "metadata", f"is a {type(value).__name__}: it must be a mapping")
    metadata: dict[str, str] = {}
    seen: dict[str, str] = {}
    for given, item in value.items():
        if item is None:
            continue
        key = _metadata_key(name, given)
        twin = seen.setdefault(_spelling(key), given)
        if twin != given:
            raise _error(
                name,
                f"metadata.{given}",
                f"is given twice, as {twin} and {given}: both spellings with hyphens and underscores are always written, and not"
                " every guest tells upper case from lower; keep one",
            )
        metadata[key] = _metadata_text(name, given, item)
    if not metadata.get("instance_id"):
        metadata["instance_id"] = metadata.get("vm_id") or name
    if not metadata.get("local_hostname"):
        metadata["local_hostname"] = _hostname_from(name)
    elif not _HOSTNAME.fullmatch(metadata["local_hostname"]):
        raise _error(
            name,
            "metadata.local_hostname",
            f"is {metadata['local_hostname']!r}: a host name has labels of at most 63 letters, digits and hyphens, divided by dots",
        )
    return dict(sorted(metadata.items()))


def _spelling(key: str) -> str:
    """One form for all keys whose file names a guest could confuse."""
    return key.replace("-", "_").lower()


def _metadata_key(name: str, key: t.Any) -> str:
    """The key as the drive has it. Raises DriveInputError for one that cannot be a file, or that the drive writes itself."""
    if not isinstance(key, str) or not _METADATA_KEY.fullmatch(key):
        raise _error(
            name,
            "metadata",
            f"has the key {key!r}: a key becomes a file name: use letters, digits, dots, hyphens and underscores, at most 100",
        )
    spelling = _spelling(key)
    if spelling in META_DATA_OWN:
        instead = _INSTEAD_OF_METADATA.get(spelling, "choose another key")
        raise _error(
            name, f"metadata.{key}", f"is a name that the drive writes itself or that readers take for something else: {instead}"
        )
    if spelling not in METADATA_KEYS:
        return key
    if key.replace("-", "_") != spelling:
        raise _error(name, f"metadata.{key}", f"differs from {spelling} in upper and lower case alone: write {spelling}")
    return spelling


def _metadata_text(name: str, key: str, value: t.Any) -> str:
    text = _scalar(value)
    if text is None:
        raise _error(name, f"metadata.{key}", f"is a {type(value).__name__}: it must be text, a number or a boolean")
    if _CONTROL.search(text):
        raise _error(name, f"metadata.{key}", "has a line break or another control character: metadata is one line per key")
    if not _is_unicode(text):
        raise _error(name, f"metadata.{key}", "is not valid Unicode text")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _hostname_from(name: str) -> str:
    """The VM's name where it is a host name, else the nearest one."""
    if _HOSTNAME.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:63].strip("-") or "vm"


def _user_data(name: str, option: Mapping[str, t.Any]) -> bytes | None:
    value, encoded = option.get("user_data"), option.get("user_data_base64")
    if value is not None and encoded is not None:
        raise _error(name, "user_data", "is given together with user_data_base64: leave one of them out")
    if encoded is not None:
        try:
            return base64.b64decode("".join(str(encoded).split()), validate=True) or None
        except (binascii.Error, ValueError):
            raise _error(name, "user_data_base64", "is not base64") from None
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray)):
        return bytes(value) or None
    if hasattr(value, "items"):
        return key_value_lines(name, value) or None
    text = _scalar(value)
    if text is None:
        raise _error(
            name,
            "user_data",
            f"is a {type(value).__name__}: give text, a mapping (written as key=value lines) or user_data_base64 for bytes{_JSON_TEXT}",
        )
    return _user_data_bytes(name, text) or None


def _user_data_bytes(name: str, text: str) -> bytes:
    if not _is_unicode(text):
        raise _error(name, "user_data", "is not valid Unicode text: give bytes as user_data_base64")
    return text.encode("utf-8")


def key_value_lines(name: str, mapping: Mapping[t.Any, t.Any]) -> bytes:
    """key=value lines in the order of the keys, so that the same mapping always makes the same drive."""
    lines = {}
    for key, value in mapping.items():
        text = "" if value is None else _scalar(value)
        key = _scalar(key) or ""
        if not key or "=" in key or key.startswith("#") or _CONTROL.search(key) or key.strip() != key:
            raise _error(
                name,
                "user_data",
                "has a key that cannot stand before = in a key=value line (empty, with =, a line break, outer blanks or a leading #)",
            )
        if text is None:
            raise _error(
                name,
                f"user_data.{key}",
                f"is a {type(value).__name__}: a mapping is written as key=value lines, which hold text, numbers and booleans"
                f" alone{_JSON_TEXT}",
            )
        if re.search("[\x00\r\n]", text):
            raise _error(
                name, f"user_data.{key}", "has a line break: give the whole user data as text to carry more than one line per key"
            )
        lines[key] = f"{key}={text}"
    return _user_data_bytes(name, "\n".join(lines[key] for key in sorted(lines)))


def _ssh_keys(name: str, value: t.Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, (list, tuple)):
        raise _error(name, "ssh_keys", f"is a {type(value).__name__}: give one public key or a list of them")
    keys: list[str] = []
    for number, key in enumerate(value, 1):
        if not isinstance(key, str):
            raise _error(name, f"ssh_keys entry {number}", f"is a {type(key).__name__}: a public key is text")
        for line in key.splitlines():
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if "PRIVATE KEY" in line:
                raise _error(
                    name, f"ssh_keys entry {number}", "is a private key: give the public one (the file that ends in .pub)"
                )
            problem = _key_problem(line)
            if problem:
                raise _error(
                    name,
                    f"ssh_keys entry {number}",
                    f"{problem}: a line of authorized_keys reads [options] type base64 [comment]",
                )
            if line not in keys:
                keys.append(line)
    return tuple(keys)


def _key_problem(line: str) -> str | None:
    """Why a line is no public key for authorized_keys; None if it is one. The type stands again inside the base64 part (RFC 4253, 6.6)."""
    if len(line) > MAX_KEY_LENGTH:
        return f"is longer than {MAX_KEY_LENGTH} characters"
    if _CONTROL.search(line.replace("\t", " ")):
        return "has a control character"
    if not _is_unicode(line):
        return "is not valid Unicode text"
    words = line.split()
    for word, blob in zip(words, words[1:]):
        if _KEY_TYPE.fullmatch(word):
            try:
                raw = base64.b64decode(blob, validate=True)
            except (binascii.Error, ValueError):
                continue
            length = int.from_bytes(raw[:4], "big")
            if raw[4 : 4 + length] == word.encode("ascii"):
                return None
    return "is not a public SSH key"


def _confirm_password(name: str, reader: str | None, option: Mapping[str, t.Any]) -> bool:
    asked = bool(option.get("confirm_password"))
    if asked and reader != READER_CLOUD_INIT:
        raise _error(name, "confirm_password", "is for guests that cloud-init sets up: set reader to cloud_init, or leave it out")
    return asked


def _vendor_data(name: str, value: t.Any) -> t.Any:
    if value is None or value == "" or value == {}:
        return None
    if isinstance(value, (str, list)) or hasattr(value, "items"):
        try:
            json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False).encode("utf-8")
        except (TypeError, ValueError):
            raise _error(
                name,
                "vendor_data",
                "cannot be written as JSON: use texts as keys, and texts, numbers (JSON has no nan and no inf), lists and mappings as values",
            ) from None
        return value
    raise _error(
        name, "vendor_data", f"is a {type(value).__name__}: give text (such as #cloud-config) or a mapping for vendor_data.json"
    )


def _services(name: str, value: Sequence[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    unknown = [service for service in value if service not in SERVICES]
    if unknown:
        raise _error(name, "services", f"has {unknown[0]!r}: it is either empty or [{', '.join(SERVICES)}]")
    return tuple(value)
