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

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription

LAYOUT_CLOUDSTACK = "cloudstack"
LAYOUT_OPENSTACK = "openstack"
LAYOUTS = (LAYOUT_CLOUDSTACK, LAYOUT_OPENSTACK)

METADATA_DIR = "cloudstack/metadata/"
PASSWORD_PATH = "cloudstack/password/vm_password.txt"
PASSWORD_MD5_PATHS = ("cloudstack/password/vm-password-md5checksum.txt", "cloudstack/password/vm_password_md5checksum.txt")
USER_DATA_PATH = "cloudstack/userdata/user_data.txt"
PUBLIC_KEYS_PATHS = (METADATA_DIR + "public-keys.txt", METADATA_DIR + "public_keys.txt")
OPENSTACK_DIR = "openstack/latest/"
META_DATA_JSON = OPENSTACK_DIR + "meta_data.json"
VENDOR_DATA_JSON = OPENSTACK_DIR + "vendor_data.json"
OPENSTACK_USER_DATA = OPENSTACK_DIR + "user_data"
# CloudStack's user data limit is 32768 bytes (vm.userdata.max.length); the drive's own limit is the image's.
CLOUDSTACK_USER_DATA_LIMIT = 32768

# The keys of the metadata that have a name of their own in meta_data.json.
_META_DATA_NAMES = {"local_hostname": "hostname", "instance_id": "uuid", "availability_zone": "availability_zone"}
# Written by the drive itself; a metadata key of this name would change what the reader understands.
_META_DATA_OWN = ("uuid", "hostname", "name", "admin_pass", "public_keys", "keys", "files", "network_config", "random_seed", "launch_index", "devices", "meta")


def files_of(description: DriveDescription, layouts: Sequence[str] = LAYOUTS) -> dict[str, bytes]:
    """The drive's files by path, in order of the paths. Nothing in it but what the description holds.

    layouts: which trees are written (LAYOUTS). Raises DriveInputError for a layout there is not.
    """
    files: dict[str, bytes] = {}
    unknown = [layout for layout in layouts if layout not in LAYOUTS]
    if unknown or not layouts:
        raise DriveInputError(f"layouts is {list(layouts)!r}: give at least one of {', '.join(LAYOUTS)}")
    if LAYOUT_CLOUDSTACK in layouts:
        files.update(_cloudstack(description))
    if LAYOUT_OPENSTACK in layouts:
        files.update(_openstack(description))
    return dict(sorted(files.items()))


def is_secret(path: str) -> bool:
    """Whether a file's content must not be shown: everything but plain metadata, and whatever is not known here."""
    return not path.startswith(METADATA_DIR) or path in PUBLIC_KEYS_PATHS


def spellings(key: str) -> tuple[str, ...]:
    """The names of a metadata file. Readers up to 2018 (keys: 2021) open underscores, later ones hyphens: both are written."""
    return tuple(sorted({key.replace("_", "-"), key.replace("-", "_")}))


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
    """One line per key."""
    return {path: "\n".join(ssh_keys).encode("utf-8") for path in PUBLIC_KEYS_PATHS} if ssh_keys else {}


def public_keys_entry(ssh_keys: Sequence[str]) -> dict[str, str]:
    """public_keys of meta_data.json: one entry per key, because of several keys in one entry no guest gets more than one."""
    return {f"key-{number}": key for number, key in enumerate(ssh_keys)}


def json_bytes(value: t.Any) -> bytes:
    """JSON whose bytes depend on the value only."""
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode("utf-8")


def _cloudstack(description: DriveDescription) -> Iterable[tuple[str, bytes]]:
    for key, value in description.metadata.items():
        if value:
            for name in spellings(key):
                yield f"{METADATA_DIR}{name}.txt", value.encode("utf-8")
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
    data: dict[str, t.Any] = {}
    for key, value in description.metadata.items():
        name = _META_DATA_NAMES.get(key, key)
        if name not in _META_DATA_OWN and value:
            data[name] = value
    data["uuid"] = description.metadata.get("instance_id") or description.name
    data["hostname"] = description.metadata.get("local_hostname") or description.name
    data["name"] = description.name
    if description.ssh_keys:
        data["public_keys"] = public_keys_entry(description.ssh_keys)
        data["keys"] = [{"data": key, "name": name, "type": "ssh"} for name, key in data["public_keys"].items()]
    if description.password:
        data["admin_pass"] = description.password
    return data


def _vendor_data(description: DriveDescription) -> t.Any:
    """What vendor_data.json holds.

    cloud-init ignores admin_pass, so for this reader the password of root goes into a cloud-config of the vendor data; it
    reads a text, a list of texts or a mapping with one of them under "cloud-init".
    """
    given = description.vendor_data
    if isinstance(given, str):
        given = {"cloud-init": given}
    if description.reader != "cloud_init" or not (description.password or description.password_hash):
        return given
    password = {"name": "root", "type": "hash" if description.password_hash else "text"}
    password["password"] = description.password_hash or description.password or ""
    # JSON is YAML: nothing in a password can break out of it.
    cloud_config = "#cloud-config\n" + json.dumps({"chpasswd": {"expire": False, "users": [password]}}, sort_keys=True)
    if given is None:
        return {"cloud-init": cloud_config}
    if isinstance(given, list):
        return {"cloud-init": list(given) + [cloud_config]}
    mine = given.get("cloud-init") or []
    return dict(given, **{"cloud-init": ([mine] if isinstance(mine, str) else list(mine)) + [cloud_config]})
