# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What can go wrong with the record: one clear sentence each, never with the URL's password in it."""

from __future__ import annotations

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import UserError


class RecordError(UserError):
    """Something about the record that a user can cause or must know; shown without a traceback."""


class RecordUrlError(RecordError):
    """The option `record` is not a URL this collection understands."""


class RecordUnreachable(RecordError):
    """No connection, a refused login, or a connection that broke."""


class RecordReadOnly(RecordError):
    """The database or its file cannot be written."""


class RecordFull(RecordError):
    """No room is left for the database."""


class RecordBusy(RecordError):
    """Another writer held the database for longer than the patience of this one."""


class RecordSchemaError(RecordError):
    """The tables are newer than this version of the collection, or are not ours."""
