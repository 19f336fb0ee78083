# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What stays on a drive (content.RETIRED_PATH) of a password that was taken off it: enough to know it again, not to learn it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

# 16 MiB and some 50 ms: dear to whoever tries many passwords.
_COST, _BLOCK, _LANES = 2**14, 8, 1
_MARK = re.compile(rb"scrypt:([0-9a-f]{32}):([0-9a-f]{64})")


def mark(password: str) -> bytes:
    """The content of the file."""
    salt = secrets.token_hex(16)
    return f"scrypt:{salt}:{digest(password, salt)}".encode("ascii")


def is_of(password: str, found: bytes) -> bool:
    """Whether the file says that it was this password; False for a file that is none."""
    parts = _MARK.fullmatch(found)
    return parts is not None and hmac.compare_digest(digest(password, parts[1].decode()), parts[2].decode())


def digest(password: str, salt: str) -> str:
    """salt: 32 digits of hexadecimal."""
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=bytes.fromhex(salt), n=_COST, r=_BLOCK, p=_LANES, dklen=32).hex()
