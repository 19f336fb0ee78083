# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the readers in the guests need, and what they would do with a drive: the one table of it.

Sources: the guest scripts of Apache CloudStack (2015 to today), cloud-init's DataSourceConfigDrive, ds-identify and
set_passwords, cloudbase-init's ConfigDriveService.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import (
    LAYOUT_CLOUDSTACK,
    LAYOUT_OPENSTACK,
    READER_CLOUD_INIT,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import (
    password_problem,
    password_weakness,
)

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription


@dataclasses.dataclass(frozen=True)
class Reader:
    """One kind of reader.

    layout: the tree that it reads.
    labels: the volume labels that it finds in an unchanged template; any_case: in upper and lower case alike.
    other_label: what to say of any other label. It is an error, or with label_warning a warning, where a setting of the template can
    name another one.
    once_per_instance: it acts on a drive only if the instance id is new to it.
    """

    layout: str
    labels: tuple[str, ...]
    other_label: str
    label_warning: bool = False
    any_case: bool = False
    once_per_instance: bool = False


READERS: dict[str, Reader] = {
    "ours": Reader(
        LAYOUT_CLOUDSTACK,
        ("config", "config-2"),
        "the guest scripts of this collection find it only if the template's setting says so",
        label_warning=True,
    ),
    "cloudstack": Reader(
        LAYOUT_CLOUDSTACK, ("config", "config-2"), "the guest scripts look for config (2015 to 2017) or config-2 (since 2018)"
    ),
    "cloudstack_combined": Reader(LAYOUT_CLOUDSTACK, ("config-2",), "the guest script looks for config-2"),
    "cloud_init": Reader(
        LAYOUT_OPENSTACK,
        ("config-2", "CONFIG-2"),
        "cloud-init looks for config-2; it takes another label only if the template's datasource_list is [ConfigDrive, None] or [ConfigDrive]",
        label_warning=True,
        once_per_instance=True,
    ),
    "cloudbase_init": Reader(
        LAYOUT_OPENSTACK, ("config-2",), "cloudbase-init looks for config-2 on CD drives", any_case=True, once_per_instance=True
    ),
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """errors: why the drive must not be built. warnings: what the guest will not do, or not safely. Sentences without the VM's name."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def check(description: DriveDescription, label: str, layouts: Sequence[str]) -> Verdict:
    """What the description's reader will make of a drive with this label and these layouts."""
    errors: list[str] = []
    warnings: list[str] = list(description.doubts)
    _check_password(description, errors, warnings)
    if description.reader is None:
        _check_without_reader(description, label, layouts, errors, warnings)
    else:
        _check_with_reader(description, label, layouts, errors, warnings)
        _CHECKS[description.reader](description, errors, warnings)
    return Verdict(tuple(errors), tuple(warnings))


def acts_on_refresh(
    description: DriveDescription, previous_instance_id: str | None, system_uuid: str | None = None
) -> bool | None:
    """Whether the guest will act on a refreshed drive at its next boot; None if its reader is not known.

    previous_instance_id: of the drive that the guest knows, None if there is none. system_uuid: of the machine, as its firmware tells
    it; cloud-init that was set up under this very id looks at no drive again (DataSourceConfigDrive.check_instance_id).
    """
    if description.reader is None:
        return None
    if not READERS[description.reader].once_per_instance:
        return True
    if description.reader == READER_CLOUD_INIT and previous_instance_id is not None and previous_instance_id == system_uuid:
        return False
    return previous_instance_id is not None and previous_instance_id != description.metadata.get("instance_id")


def _check_password(description: DriveDescription, errors: list[str], warnings: list[str]) -> None:
    if not description.password:
        return
    maker = "the lookup vmops.external_dhcp.vm_password makes"
    problem = password_problem(description.password, description.reader)
    weakness = password_weakness(description.password)
    if problem:
        errors.append(f"password {problem}; choose another one ({maker} one that every reader can set)")
    elif weakness:
        warnings.append(f"password {weakness}: it is soon guessed; {maker} strong ones")


def _check_with_reader(
    description: DriveDescription, label: str, layouts: Sequence[str], errors: list[str], warnings: list[str]
) -> None:
    name = str(description.reader)
    reader = READERS[name]
    if reader.layout not in layouts:
        errors.append(f"layouts lacks {reader.layout}, the only one that the reader {name} reads")
    known = [label.lower(), [item.lower() for item in reader.labels]] if reader.any_case else [label, reader.labels]
    if known[0] not in known[1]:
        (warnings if reader.label_warning else errors).append(f"label is {label}: {reader.other_label}")
    elif name == "cloudstack" and label == "config":
        warnings.append("label is config: guest scripts of 2018 and later look for config-2")
    if description.password_hash and name != "cloud_init":
        errors.append(f"password_hash cannot be set by the reader {name}: give password")


def _check_without_reader(
    description: DriveDescription, label: str, layouts: Sequence[str], errors: list[str], warnings: list[str]
) -> None:
    warnings.extend(_label_without_reader(label, layouts))
    if description.password_hash:
        errors.append("password_hash is read by cloud-init only: say reader: cloud_init, or give password")
    if label.lower() != "config-2" and (description.user_data or b"").startswith(b"#cloud-config"):
        warnings.append(
            f"user_data is #cloud-config, which only cloud-init carries out; it looks for config-2, and label is {label}"
        )
    if description.password and LAYOUT_CLOUDSTACK not in layouts:
        errors.append(
            "password has no place in the layout openstack that is right for every reader: say reader: cloud_init or"
            " reader: cloudbase_init"
        )
    elif description.password and LAYOUT_OPENSTACK in layouts and label.lower() == "config-2":
        warnings.append(
            "password is where guest scripts look for it and nowhere else, because reader is not given: guests with cloud-init or"
            " cloudbase-init need reader: cloud_init or reader: cloudbase_init"
        )


def _label_without_reader(label: str, layouts: Sequence[str]) -> list[str]:
    """Warnings about label and layouts where no reader is named."""
    by_layout = {
        LAYOUT_CLOUDSTACK: ("config", "config-2"),  # guest scripts, theirs and ours
        LAYOUT_OPENSTACK: ("config-2", "CONFIG-2"),  # cloud-init and cloudbase-init
    }
    if any(label in by_layout.get(layout, ()) for layout in layouts):
        return []
    wanted = sorted({known for layout in layouts for known in by_layout.get(layout, ())})
    return [
        f"label is {label}: readers of the layouts {', '.join(layouts)} look for {' or '.join(wanted)} unless their template says otherwise"
    ]


def _keys_with_options(description: DriveDescription) -> list[int]:
    """The numbers, from 1, of the keys before which options stand."""
    return [number for number, key in enumerate(description.ssh_keys or (), 1) if not key.startswith(("ssh-", "ecdsa-", "sk-"))]


def _ours(description: DriveDescription, errors: list[str], warnings: list[str]) -> None:
    for number in _keys_with_options(description):
        errors.append(
            f"ssh_keys entry {number} has options before the key: the guest scripts leave such keys out, as options can run commands"
        )
    if (description.user_data or b"").startswith(b"#cloud-config"):
        warnings.append("user_data is #cloud-config, which only cloud-init carries out: the guest scripts save it and no more")


def _cloudstack(description: DriveDescription, errors: list[str], warnings: list[str]) -> None:
    keys = description.ssh_keys or ()
    if len(keys) > 1:
        errors.append(
            "ssh_keys has more than one key: the guest script glues them into one line, so that only the first works; give one key"
        )
    for number in _keys_with_options(description):
        errors.append(f"ssh_keys entry {number} has options before the key: the guest script may alter them; leave them out")
    for number, key in enumerate(keys, 1):
        if re.search(r"[*?\[]", key):
            errors.append(
                f"ssh_keys entry {number} has one of the characters * ? [, which the guest script expands to names of files;"
                " change the key's comment"
            )
    if description.password and not description.password.isascii():
        warnings.append("password has characters beyond ASCII: the guest script for Windows sets another one in their place")


def _cloudstack_combined(description: DriveDescription, errors: list[str], warnings: list[str]) -> None:
    missing = [part for part, value in (("password", description.password), ("ssh_keys", description.ssh_keys)) if not value]
    if missing:
        errors.append(
            f"{' and '.join(missing)} must be given: without it the guest script asks the DHCP server and takes whatever that answers as root's password or key"
        )
    if len(description.ssh_keys or ()) > 1:
        errors.append(
            "ssh_keys has more than one key: the guest script installs none of them once the guest has one of them; give one key"
        )
    for number in _keys_with_options(description):
        errors.append(
            f"ssh_keys entry {number} has options before the key: the guest script leaves it out when the guest has any key of that"
            " type; leave the options out"
        )


def _cloud_init(description: DriveDescription, errors: list[str], warnings: list[str]) -> None:
    data = description.user_data
    if (
        data
        and not data.startswith((b"#", b"\x1f\x8b"))
        and b"MIME-Version:" not in data[:4096]
        and b"Content-Type:" not in data[:4096]
    ):
        warnings.append(
            "user_data is neither #cloud-config, a script, MIME nor gzip: cloud-init keeps it but does nothing with it"
        )
    if (description.password or description.password_hash) and data and data.startswith(b"#cloud-config") and b"chpasswd" in data:
        warnings.append("user_data has its own chpasswd, which cloud-init prefers to the password of the drive")


def _cloudbase_init(description: DriveDescription, errors: list[str], warnings: list[str]) -> None:
    if not description.password:
        warnings.append("password is not given: cloudbase-init then sets a random one that nobody knows")


_CHECKS = {
    "ours": _ours,
    "cloudstack": _cloudstack,
    "cloudstack_combined": _cloudstack_combined,
    "cloud_init": _cloud_init,
    "cloudbase_init": _cloudbase_init,
}
