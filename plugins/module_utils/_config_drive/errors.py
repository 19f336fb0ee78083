# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What can go wrong with a config drive. No message ever holds a password, a key or user data."""

from __future__ import annotations

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import UserError


class ConfigDriveError(UserError):
    """Base of this room's errors; the message is one sentence a user can act on."""


class DriveInputError(ConfigDriveError):
    """What was asked for cannot be put on a drive; the message names the drive, the option and the way out."""


class DriveImageError(ConfigDriveError):
    """An ISO image cannot be built or read; the message says what is wrong with it."""
