# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The TSIG key: from options or from the file that tsig-keygen writes. Its secret is in no error."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import DnsError

ALGORITHMS = ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1", "hmac-md5")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")
# What is quoted stays as it is: the base64 of a secret may well have two slashes in a row.
_COMMENT = re.compile(r'("[^"\n]*")|/\*.*?\*/|//[^\n]*|#[^\n]*', re.DOTALL)
_KEY = re.compile(r'\bkey\s+"?([^"\s{;]+)"?\s*\{([^}]*)\}', re.DOTALL)
_FIELD = re.compile(r'\b(algorithm|secret)\s+"?([^";\s]+)"?\s*;')
MAX_FILE = 65536


@dataclasses.dataclass(frozen=True)
class Key:
    """A TSIG key; its secret, in base64, is not shown."""

    name: str
    algorithm: str
    secret: str = dataclasses.field(repr=False)


def make_key(name: str | None, secret: str | None, algorithm: str) -> Key | None:
    """The key of the options; None where there is none. Raises DnsError."""
    if not name and not secret:
        return None
    if not name or not secret:
        missing = "key_name" if not name else "key_secret"
        raise DnsError(f"server.{missing} is missing: a TSIG key has a name and a secret; give both, or key_file, or neither")
    if not _NAME.fullmatch(name):
        raise DnsError("server.key_name is no name of a TSIG key: it has letters, digits, hyphens and dots")
    if algorithm not in ALGORITHMS:
        raise DnsError(
            f"the key {name} has the algorithm {algorithm[:40]!r}, which is not known: use one of {', '.join(ALGORITHMS)}"
        )
    try:
        base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        raise DnsError(f"the secret of the key {name} is not in base64: take it as tsig-keygen prints it") from None
    return Key(name, algorithm, secret)


def read_key_file(path: str) -> Key:
    """The only key in a file as tsig-keygen writes it and BIND includes it. Raises DnsError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = _COMMENT.sub(lambda match: match[1] or " ", file.read(MAX_FILE))
    except OSError as error:
        raise DnsError(f"server.key_file {path} cannot be read: {error.strerror}") from None
    keys = _KEY.findall(text)
    if len(keys) != 1:
        raise DnsError(f"server.key_file {path} has {len(keys)} keys: give a file with one, as tsig-keygen writes it")
    name, body = keys[0]
    fields = dict(_FIELD.findall(body))
    if "secret" not in fields:
        raise DnsError(f"server.key_file {path}: the key {name[:80]} has no secret; give a file as tsig-keygen writes it")
    key = make_key(name, fields["secret"], fields.get("algorithm", "hmac-sha256").lower())
    if key is None:
        raise DnsError(f"server.key_file {path} has a key without a name: give a file as tsig-keygen writes it")
    return key
