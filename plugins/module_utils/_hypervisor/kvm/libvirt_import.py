# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The libvirt binding, or None and why; the one place that imports it."""

from __future__ import annotations

import traceback
import typing as t

libvirt: t.Any
libvirt_qemu: t.Any
IMPORT_TRACEBACK: str | None
try:
    import libvirt  # type: ignore[no-redef]
    import libvirt_qemu  # type: ignore[no-redef]  # pylint: disable=unused-import  # for who imports this file
except ImportError:
    libvirt = libvirt_qemu = None
    IMPORT_TRACEBACK = traceback.format_exc()
else:
    IMPORT_TRACEBACK = None
    # Without this every error is printed on standard error as well as raised.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
