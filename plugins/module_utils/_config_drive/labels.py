# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a drive may be labelled."""

from __future__ import annotations

import re

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError

# Joliet keeps the label in 32 bytes of UCS-2; ISO 9660 alone would take 32 characters.
MAX_LABEL = 16
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")


def check_label(label: str) -> None:
    """Raises DriveInputError if no volume descriptor could hold the label."""
    if len(label) > MAX_LABEL:
        raise DriveInputError(
            f"label is {label!r}, {len(label)} characters: it can have at most {MAX_LABEL}, the length of a Joliet volume label"
        )
    if not _LABEL.fullmatch(label) or label.endswith(" "):
        raise DriveInputError(
            f"label is {label!r}: use letters, digits, hyphens, dots, underscores and blanks, "
            "beginning with a letter, a digit or an underscore, such as config or config-2"
        )
