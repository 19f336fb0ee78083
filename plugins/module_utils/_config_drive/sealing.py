# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Passwords encrypted to a public key, so that only the holder of the private one learns them."""

from __future__ import annotations

import base64
import traceback
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary

if t.TYPE_CHECKING:
    from collections.abc import Callable

# Enough for OAEP with SHA-256 around the longest password, and what is still held to be safe.
_SMALLEST_RSA = 2048
_MAX_KEY_TEXT = 16384
_OTHER_KEY = (
    "is not a public key that passwords are encrypted to: give an RSA key of at least 2048 bits as PEM or ssh-rsa, an ssh-ed25519 key,"
    " or a recipient of age (age1...)"
)


def sealer(public_key: str) -> Callable[[str], str]:
    """What encrypts a text to this key, and gives base64 in one line.

    RSA keys: OAEP with SHA-256, for openssl; ssh-ed25519 keys and recipients of age: the format of age. Raises DriveInputError, whose
    message begins with "is", for what is no such key; MissingLibrary without the library for this kind of key.
    """
    text = public_key.strip()
    if "PRIVATE KEY" in text:
        raise DriveInputError("is a private key: give the public one, and keep that to yourself")
    if len(text) > _MAX_KEY_TEXT:
        raise DriveInputError(_OTHER_KEY)
    seal = _age(text) if text.startswith(("ssh-ed25519 ", "age1")) else _rsa(text)
    return lambda secret: base64.b64encode(seal(secret.encode("utf-8"))).decode("ascii")


# The libraries are imported where they are needed: hardly a run needs them, and they take as long as the rest of a module.


def _rsa(text: str) -> Callable[[bytes], bytes]:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
    except ImportError:
        raise MissingLibrary("cryptography", traceback.format_exc(), reason="to encrypt passwords to RSA keys") from None
    load = serialization.load_ssh_public_key if text.startswith("ssh-rsa ") else serialization.load_pem_public_key
    try:
        key = load(text.encode("utf-8"))
    except (ValueError, UnsupportedAlgorithm):
        raise DriveInputError(_OTHER_KEY) from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _SMALLEST_RSA:
        raise DriveInputError(_OTHER_KEY)
    oaep = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    return lambda secret: key.encrypt(secret, oaep)


def _age(text: str) -> Callable[[bytes], bytes]:
    try:
        import pyrage
    except ImportError:
        reason = "to encrypt passwords to ssh-ed25519 keys and recipients of age"
        raise MissingLibrary("pyrage", traceback.format_exc(), reason=reason) from None
    make = pyrage.x25519.Recipient.from_str if text.startswith("age1") else pyrage.ssh.Recipient.from_str
    try:
        recipient = make(text)
    except pyrage.RecipientError:
        raise DriveInputError(_OTHER_KEY) from None
    return lambda secret: bytes(pyrage.encrypt(secret, [recipient]))
