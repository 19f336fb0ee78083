# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which password a drive is to hold: the one given, one that is made, the one it holds, or none since its guest has set it."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content, retired
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import STAND_IN, generate_password

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription


@dataclasses.dataclass(frozen=True)
class Settled:
    """description: with the password for the drive. files: further ones for it. made: whether the password is new."""

    description: DriveDescription
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict, repr=False)
    made: bool = False


def settle(description: DriveDescription, before: Mapping[str, bytes], renew: bool, make: bool) -> Settled:
    """The password for a drive that holds the files `before`.

    renew: makes a new password even if there is one. make: False puts a stand-in for a new password, as in check mode.
    """
    mark = before.get(content.RETIRED_PATH)
    kept = {} if mark is None else {content.RETIRED_PATH: mark}
    if description.password_public_key is None:
        if description.password and mark is not None and retired.is_of(description.password, mark):
            return Settled(dataclasses.replace(description, password=None), kept)
        return Settled(description, {} if description.password else kept)
    if not renew:
        held = compare.password_of(before)
        if held is not None or mark is not None:
            return Settled(dataclasses.replace(description, password=held), {} if held else kept)
    return Settled(dataclasses.replace(description, password=generate_password() if make else STAND_IN), made=True)
