# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Files that are written whole or not at all: nobody ever reads half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile


def write(path: str, data: bytes, mode: int, staged: tuple[str, str] = (".vmops-", ".tmp"), sync: bool = False) -> None:
    """Puts the file in the place of the one before. Raises OSError, and then the one before is still there.

    mode: its permissions. staged: prefix and suffix of its name until it is whole. sync: whether it is on the disk before it takes
    its place.
    """
    handle, name = tempfile.mkstemp(prefix=staged[0], suffix=staged[1], dir=os.path.dirname(os.path.abspath(path)))  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(handle, mode)
            if sync:
                os.fsync(handle)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
