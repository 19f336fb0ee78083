# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From a description to the files of the drive: the one place that knows names and formats.

Names and formats are those the guest scripts of Apache CloudStack, cloud-init's and cloudbase-init's config drive
readers open. Files end without a newline, as the original platform writes them.
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import confirming
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription

LAYOUT_CLOUDSTACK = "cloudstack"
LAYOUT_OPENSTACK = "openstack"
LAYOUTS = (LAYOUT_CLOUDSTACK, LAYOUT_OPENSTACK)
# Readers (description.READERS) that get something of their own.
READER_OURS = "ours"
READER_CLOUD_INIT = "cloud_init"
READER_CLOUDBASE_INIT = "cloudbase_init"

METADATA_DIR = "cloudstack/metadata/"
PASSWORD_PATH = "cloudstack/password/vm_password.txt"
PASSWORD_MD5_PATHS = ("cloudstack/password/vm-password-md5checksum.txt", "cloudstack/password/vm_password_md5checksum.txt")
USER_DATA_PATH = "cloudstack/userdata/user_data.txt"
# Beside the layouts, for no reader: by what the password is known that was taken off the drive (retired.py).
RETIRED_PATH = "vmops/retired-password"
PUBLIC_KEYS_PATHS = (METADATA_DIR + "public-keys.txt", METADATA_DIR + "public_keys.txt")
OPENSTACK_DIR = "openstack/latest/"
META_DATA_JSON = OPENSTACK_DIR + "meta_data.json"
VENDOR_DATA_JSON = OPENSTACK_DIR + "vendor_data.json"
OPENSTACK_USER_DATA = OPENSTACK_DIR + "user_data"
_CLOUD_CONFIG = "#cloud-config\n"

# The keys of the metadata that have a name of their own in meta_data.json.
_META_DATA_NAMES = {"local_hostname": "hostname", "instance_id": "uuid", "availability_zone": "availability_zone"}
# Written by the drive itself; a metadata key of this name would change what the reader understands.
META_DATA_OWN = (
    "uuid",
    "hostname",
    "name",
    "admin_pass",
    "public_keys",
    "keys",
    "files",
    "network_config",
    "random_seed",
    "launch_index",
    "devices",
    "meta",
)


def files_of(description: DriveDescription, layouts: Sequence[str] = LAYOUTS) -> dict[str, bytes]:
    """The drive's files by path, in order of the paths. Nothing in it but what the description holds.

    layouts: which trees are written (LAYOUTS). Raises DriveInputError for a layout there is not.
    """
    unknown = [layout for layout in layouts if layout not in LAYOUTS]
    if unknown or not layouts:
        raise DriveInputError(f"layouts is {list(layouts)!r}: give at least one of {', '.join(LAYOUTS)}")
    files: dict[str, bytes] = {}
    if LAYOUT_CLOUDSTACK in layouts:
        files.update(_cloudstack(description))
    if LAYOUT_OPENSTACK in layouts:
        files.update(_openstack(description))
    return dict(sorted(files.items()))


def is_secret(path: str) -> bool:
    """Whether a file's content must not be shown: everything but plain metadata, and whatever is not known here."""
    return not path.startswith(METADATA_DIR) or path in PUBLIC_KEYS_PATHS


def password_files(password: str) -> dict[str, bytes]:
    """The password file and the checksum by which the Windows script knows a new password."""
    data = password.encode("utf-8")
    try:
        # The genuine script takes the MD5 as opaque text, it guards nothing: say so, for machines in FIPS mode.
        checksum = hashlib.md5(data, usedforsecurity=False).hexdigest()
    except TypeError:  # Python 3.8 cannot be told
        checksum = hashlib.md5(data).hexdigest()
    files = {PASSWORD_PATH: data}
    files.update((path, checksum.encode("ascii")) for path in PASSWORD_MD5_PATHS)
    return files


def public_keys_files(ssh_keys: Sequence[str]) -> dict[str, bytes]:
    """One line per key. Empty files for no keys: the guest scripts of this collection then take away those they have set."""
    return {path: "\n".join(ssh_keys).encode("utf-8") for path in PUBLIC_KEYS_PATHS}


def public_keys_members(ssh_keys: Sequence[str]) -> dict[str, t.Any]:
    """The members public_keys and keys of meta_data.json: one entry per key; of several in one entry a guest gets only the first."""
    named = {f"key-{number}": key for number, key in enumerate(ssh_keys)}
    return {"public_keys": named, "keys": [{"data": key, "name": name, "type": "ssh"} for name, key in named.items()]}


def metadata_paths(key: str) -> tuple[str, ...]:
    """The files of one metadata key. Readers up to 2018 (keys: 2021) open underscores, later ones hyphens: both are written."""
    return tuple(f"{METADATA_DIR}{name}.txt" for name in sorted({key.replace("_", "-"), key.replace("-", "_")}))


def metadata_files(key: str, value: str) -> dict[str, bytes]:
    """A metadata key's files by path; none for an empty value."""
    return {path: value.encode("utf-8") for path in metadata_paths(key)} if value else {}


def meta_data_name(key: str) -> str:
    """The member of meta_data.json for a metadata key."""
    return _META_DATA_NAMES.get(key, key)


def cloud_init_password(text: str, hashed: bool = False) -> str:
    """The cloud-config that makes cloud-init set root's password; it takes no notice of admin_pass."""
    user = {"name": "root", "password": text, "type": "hash" if hashed else "text"}
    # JSON is YAML: nothing in a password can break out of it. Its escapes for characters beyond U+FFFF (two surrogates) are not.
    return _CLOUD_CONFIG + json.dumps({"chpasswd": {"expire": False, "users": [user]}}, ensure_ascii=False, sort_keys=True)


def is_cloud_init_password(part: t.Any) -> bool:
    """Whether a part of the vendor data is what cloud_init_password() makes."""
    if not isinstance(part, str) or not part.startswith(_CLOUD_CONFIG + "{"):
        return False
    try:
        return set(json.loads(part[len(_CLOUD_CONFIG) :])) == {"chpasswd"}
    except (ValueError, RecursionError):
        return False


def password_in(part: t.Any) -> str | None:
    """The password, not a hash, in what cloud_init_password() has made; None in anything else."""
    if not is_cloud_init_password(part):
        return None
    try:
        user = json.loads(part[len(_CLOUD_CONFIG) :])["chpasswd"]["users"][0]
        return str(user["password"]) if user["type"] == "text" else None
    except (LookupError, TypeError):
        return None


def vendor_data_parts(value: t.Any) -> list[t.Any]:
    """What vendor data has for cloud-init: it reads a text, a list, or a mapping with one of them under cloud-init."""
    if isinstance(value, dict):
        value = value.get("cloud-init")
    if not value:
        return []
    return list(value) if isinstance(value, list) else [value]


def with_vendor_data_parts(value: t.Any, parts: Sequence[t.Any]) -> t.Any:
    """Vendor data with other parts for cloud-init; None if nothing is left."""
    other = {key: item for key, item in value.items() if key != "cloud-init"} if isinstance(value, dict) else {}
    if parts:
        other["cloud-init"] = parts[0] if len(parts) == 1 else list(parts)
    return other or None


def json_bytes(value: t.Any) -> bytes:
    """JSON whose bytes depend on the value only."""
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8")


def _cloudstack(description: DriveDescription) -> Iterable[tuple[str, bytes]]:
    for key, value in description.metadata.items():
        yield from metadata_files(key, value).items()
    # Empty files take keys away, which only the scripts of this collection do; like keys, they need the service userdata.
    if description.ssh_keys or (
        description.ssh_keys is not None and description.reader == READER_OURS and description.services != ()
    ):
        yield from public_keys_files(description.ssh_keys).items()
    if description.password:
        yield from password_files(description.password).items()
    if description.user_data:
        yield USER_DATA_PATH, description.user_data


def _openstack(description: DriveDescription) -> Iterable[tuple[str, bytes]]:
    # No network_data.json: an empty one makes cloud-init configure no network at all, none means DHCP on the first NIC.
    yield META_DATA_JSON, json_bytes(_meta_data(description))
    if description.user_data:
        yield OPENSTACK_USER_DATA, description.user_data
    vendor_data = _vendor_data(description)
    if vendor_data is not None:
        yield VENDOR_DATA_JSON, json_bytes(vendor_data)


def _meta_data(description: DriveDescription) -> dict[str, t.Any]:
    data: dict[str, t.Any] = {"name": description.name}
    for key, value in description.metadata.items():
        if value:
            data[meta_data_name(key)] = value
    if description.ssh_keys:
        data.update(public_keys_members(description.ssh_keys))
    # cloud-init sets no password from it but copies it to /run/cloud-init/instance-data.json, for every account to read: only
    # a guest that is known to need it gets it.
    if description.password and description.reader == READER_CLOUDBASE_INIT:
        data["admin_pass"] = description.password
    return data


def _vendor_data(description: DriveDescription) -> t.Any:
    given = description.vendor_data
    if description.reader == READER_CLOUD_INIT and (description.password or description.password_hash):
        mine = [cloud_init_password(description.password_hash or description.password or "", bool(description.password_hash))]
        if description.password and description.confirm_password:
            mine.append(confirming.script(description.name, description.metadata["instance_id"], description.password))
        return with_vendor_data_parts(given, vendor_data_parts(given) + mine)
    return {"cloud-init": given} if isinstance(given, str) else given
