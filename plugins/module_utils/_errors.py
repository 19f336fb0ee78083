# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What all errors of the collection have in common."""

from __future__ import annotations


class UserError(Exception):
    """Something a user can cause or must know, in one sentence with the way out.

    Never carries a secret; modules show it without a traceback.
    """


class OptionError(UserError):
    """An option, or an entry of one, is wrong; the message names the option, the value and the way out."""


class MissingLibrary(UserError):
    """A Python library is not installed where the module runs.

    reason: what it is for, after "is needed"; url: where it comes from; traceback: of the import that failed.
    """

    def __init__(self, library: str, traceback: str | None, url: str | None = None, reason: str | None = None) -> None:
        more = "".join([f" {reason}" if reason else "", f" ({url})" if url else ""])
        super().__init__(f"the Python library {library} is needed{more}: install it for the Python that runs the module")
        self.library = library
        self.traceback = traceback
        self.url = url
        self.reason = reason
