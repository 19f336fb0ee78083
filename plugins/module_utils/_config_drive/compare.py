# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What differs between a drive and what it should be, and changing one part of a drive while keeping the rest."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import secrets
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import confirming, content
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveImageError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import FORMAT

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import Image

# Digests of secrets are made with a key that lives as long as the process: two of them in one result can be compared, but
# nobody who reads the result later can try passwords against them.
_KEY = secrets.token_bytes(32)


@dataclasses.dataclass(frozen=True)
class FileState:
    """One file without its content. digest: "sha256:" and hex digits or, for a secret, "keyed:" and a digest good for one result only."""

    size: int
    digest: str


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that differs: a file's path, or "label", "owner", "image". before, after: None where it is not there."""

    what: str
    before: FileState | str | None
    after: FileState | str | None


def file_state(path: str, data: bytes) -> FileState:
    if content.is_secret(path):
        return FileState(len(data), "keyed:" + hmac.new(_KEY, data, hashlib.sha256).hexdigest()[:16])
    return FileState(len(data), "sha256:" + hashlib.sha256(data).hexdigest())


def differences(image: Image | None, files: Mapping[str, bytes], label: str, owner: str | None = None) -> list[Difference]:
    """What keeps the drive from being what build(files, label, owner) makes, in order; empty if nothing does.

    image: None for a drive that is not there. A drive that was built elsewhere and holds the same files under the same
    label does not differ, but for its owner.
    """
    found: list[Difference] = []
    pairs: list[tuple[str, str | None, str | None]] = [
        ("label", image.label if image else None, label),
        ("Joliet label", image.joliet_label if image else None, label),
    ]
    pairs.append(("owner", image.owner if image else None, owner))
    found.extend(Difference(kind, before, after) for kind, before, after in pairs if before != after)
    old = image.files if image else {}
    for path in sorted(set(old) | set(files)):
        if old.get(path) != files.get(path):
            found.append(Difference(path, _state(path, old.get(path)), _state(path, files.get(path))))
    if image and image.intact is False:
        found.append(Difference("image", "its bytes were changed after it was built", "as built"))
    return found


def removal(image: Image) -> list[Difference]:
    """What is lost with a drive."""
    found = [Difference("label", image.label, None), Difference("owner", image.owner, None)]
    return found + [Difference(path, _state(path, data), None) for path, data in image.files.items()]


def is_current(image: Image, files: Mapping[str, bytes], label: str, owner: str | None = None) -> bool:
    """Whether build(files, label, owner) would make the same drive, without building it.

    The image's own digest proves every byte, so a changed byte outside of the files is found too. Only another version of
    the library that writes images may lay the same drive out differently; that is no reason to replace it.
    """
    return (
        image.intact is True
        and image.layout_format == FORMAT
        and image.label == label
        and image.joliet_label == label
        and image.owner == owner
        and image.files == files
    )


def change(
    image: Image,
    *,
    password: str | None = None,
    password_hash: str | None = None,
    ssh_keys: Sequence[str] | None = None,
    user_data: bytes | None = None,
    metadata: Mapping[str, str] | None = None,
    reader: str | None = None,
) -> dict[str, bytes]:
    """The files of a drive with some parts replaced and everything else, known or not, kept.

    A part that is None stays as it is; one that is empty is taken away (a drive without its password for after the first
    boot); of keys an empty file stays, by which the guest scripts of this collection take away those they have set.
    password_hash takes the place of the password, for cloud-init. metadata: only the keys given. reader: what reads the
    drive, if that is known. The parts are written into those layouts that the drive has.
    Raises DriveImageError if the drive has neither layout, or a meta_data.json that is none.
    """
    files = dict(image.files)
    layouts = layouts_of(files)
    if not layouts:
        raise DriveImageError(
            "the image is no config drive: it has neither a folder cloudstack nor openstack/latest/meta_data.json"
        )
    if password_hash:
        if content.LAYOUT_OPENSTACK not in layouts:
            raise DriveImageError(
                "the drive has no openstack/latest/meta_data.json: only cloud-init, which reads that, can set a password_hash"
            )
        password = ""
    if content.LAYOUT_CLOUDSTACK in layouts:
        if password is not None:
            _replace(
                files, (content.PASSWORD_PATH, *content.PASSWORD_MD5_PATHS), content.password_files(password) if password else {}
            )
        if ssh_keys is not None:
            _replace(files, content.PUBLIC_KEYS_PATHS, content.public_keys_files(ssh_keys))
        if user_data is not None:
            _replace(files, (content.USER_DATA_PATH,), {content.USER_DATA_PATH: user_data} if user_data else {})
        for key, value in (metadata or {}).items():
            _replace(files, content.metadata_paths(key), content.metadata_files(key, value))
    if content.LAYOUT_OPENSTACK in layouts:
        if user_data is not None:
            _replace(files, (content.OPENSTACK_USER_DATA,), {content.OPENSTACK_USER_DATA: user_data} if user_data else {})
        admin_pass = "" if password and not _needs_admin_pass(files, reader) else password
        _change_meta_data(files, admin_pass, ssh_keys, metadata or {})
        if password is not None:
            _change_vendor_data(files, password, password_hash, reader)
    return dict(sorted(files.items()))


def description_of(image: Image, name: str, reader: str | None = None) -> DriveDescription:
    """What a drive says of its VM, to have it checked for a reader; parts that cannot be understood are left out."""
    try:
        document = _meta_data(image.files)
    except DriveImageError:
        document = {}
    password = _text(image, content.PASSWORD_PATH) or document.get("admin_pass")
    keys = _text(image, *content.PUBLIC_KEYS_PATHS)
    named = document.get("public_keys")
    ssh_keys = (
        keys.split("\n") if keys else ([key for key in named.values() if isinstance(key, str)] if isinstance(named, dict) else [])
    )
    user_data = image.files.get(content.USER_DATA_PATH, image.files.get(content.OPENSTACK_USER_DATA))
    identity = document.get("uuid") or _text(image, *content.metadata_paths("instance_id")) or ""
    return DriveDescription(
        name=name,
        metadata={"instance_id": str(identity)},
        user_data=user_data,
        password=password if isinstance(password, str) else None,
        ssh_keys=tuple(key for key in ssh_keys if key),
        reader=reader,
    )


def password_of(files: Mapping[str, bytes]) -> str | None:
    """The password on a drive, wherever one of the readers looks for it; None without one, or where there is a hash alone."""
    try:
        if files.get(content.PASSWORD_PATH):
            return files[content.PASSWORD_PATH].decode("utf-8", "replace")
        document = _meta_data(files)
        if isinstance(document.get("admin_pass"), str) and document["admin_pass"]:
            return str(document["admin_pass"])
        parts = content.vendor_data_parts(_vendor_data(files))
    except DriveImageError:
        return None
    return next((text for text in map(content.password_in, parts) if text), None)


def confirmation_of(files: Mapping[str, bytes]) -> str | None:
    """By what cloud-init's guest names the drive when it confirms that it has set the password; None where it confirms nothing."""
    try:
        parts = content.vendor_data_parts(_vendor_data(files))
    except DriveImageError:
        return None
    return next((found for found in map(confirming.digest_in, parts) if found), None)


def layouts_of(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The layouts that a drive has."""
    found = {
        content.LAYOUT_CLOUDSTACK: any(path.startswith("cloudstack/") for path in files),
        content.LAYOUT_OPENSTACK: content.META_DATA_JSON in files,
    }
    return tuple(layout for layout in content.LAYOUTS if found[layout])


def _state(path: str, data: bytes | None) -> FileState | None:
    return None if data is None else file_state(path, data)


def _text(image: Image, *paths: str) -> str:
    """The first of these files there is, as text."""
    return next((image.files[path].decode("utf-8", "replace") for path in paths if path in image.files), "")


def _replace(files: dict[str, bytes], paths: Sequence[str], by: Mapping[str, bytes]) -> None:
    for path in paths:
        files.pop(path, None)
    files.update(by)


def _put(document: dict[str, t.Any], key: str, value: t.Any) -> None:
    if value:
        document[key] = value
    else:
        document.pop(key, None)


def _json(files: Mapping[str, bytes], path: str) -> t.Any:
    try:
        return json.loads(files[path].decode("utf-8"))
    except (ValueError, RecursionError):
        # "from None": what the parser says may quote the document
        raise DriveImageError(f"{path} on the drive is not JSON") from None


def _meta_data(files: Mapping[str, bytes]) -> dict[str, t.Any]:
    """What meta_data.json holds; empty without it."""
    document = _json(files, content.META_DATA_JSON) if content.META_DATA_JSON in files else {}
    if not isinstance(document, dict):
        raise DriveImageError(f"{content.META_DATA_JSON} on the drive is not a JSON object")
    return document


def _vendor_data(files: Mapping[str, bytes]) -> t.Any:
    """What vendor_data.json holds; None without it."""
    return _json(files, content.VENDOR_DATA_JSON) if content.VENDOR_DATA_JSON in files else None


def _change_meta_data(
    files: dict[str, bytes], admin_pass: str | None, ssh_keys: Sequence[str] | None, metadata: Mapping[str, str]
) -> None:
    before = _meta_data(files)
    after = dict(before)
    for key, value in metadata.items():
        _put(after, content.meta_data_name(key), value)
    if admin_pass is not None:
        _put(after, "admin_pass", admin_pass)
    if ssh_keys is not None:
        for member, value in content.public_keys_members(ssh_keys).items():
            _put(after, member, value)
    if after != before:  # else the bytes stay, whoever wrote them
        files[content.META_DATA_JSON] = content.json_bytes(after)


def _needs_admin_pass(files: Mapping[str, bytes], reader: str | None) -> bool:
    """Whether a new password is to be in meta_data.json: if it must be for the reader, or was for one that nobody names."""
    if reader is not None:
        return reader == content.READER_CLOUDBASE_INIT
    return "admin_pass" in _meta_data(files) and not _tells_cloud_init(files)


def _tells_cloud_init(files: Mapping[str, bytes]) -> bool:
    """Whether the drive has the part by which cloud-init is told the password; admin_pass is not for its guests then."""
    return any(map(content.is_cloud_init_password, content.vendor_data_parts(_vendor_data(files))))


def _change_vendor_data(files: dict[str, bytes], password: str, password_hash: str | None, reader: str | None) -> None:
    """Replaces the part by which cloud-init is told the password; a drive without it gets one only if cloud-init reads it."""
    before = _vendor_data(files)
    parts = content.vendor_data_parts(before)
    confirms = any(map(confirming.is_script, parts))
    kept = [part for part in parts if not content.is_cloud_init_password(part) and not confirming.is_script(part)]
    if password_hash:
        kept.append(content.cloud_init_password(password_hash, hashed=True))
    elif password and (len(kept) < len(parts) or reader == content.READER_CLOUD_INIT):
        kept.append(content.cloud_init_password(password))
        if confirms:
            about = _meta_data(files)
            kept.append(confirming.script(str(about.get("name")), str(about.get("uuid")), password))
    if kept != parts:
        after = content.with_vendor_data_parts(before, kept)
        _replace(files, (content.VENDOR_DATA_JSON,), {content.VENDOR_DATA_JSON: content.json_bytes(after)} if after else {})
