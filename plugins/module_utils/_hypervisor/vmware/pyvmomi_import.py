# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""pyVmomi, or None and why; the one place that imports it."""

from __future__ import annotations

import traceback
import typing as t

__all__ = ("IMPORT_TRACEBACK", "SoapAdapter", "vim", "vmodl")

SoapAdapter: t.Any
vim: t.Any
vmodl: t.Any
IMPORT_TRACEBACK: str | None
try:
    from pyVmomi import SoapAdapter, vim, vmodl
except ImportError:
    SoapAdapter = vim = vmodl = None
    IMPORT_TRACEBACK = traceback.format_exc()
else:
    IMPORT_TRACEBACK = None
