# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import builtins
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.sealing import sealer
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

PASSWORD = "Geheim-ü-" + "x" * 118  # the longest there is


@pytest.fixture(scope="module")
def private() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public(key: t.Any, form: str) -> str:
    formats = {
        "pem": ("PEM", "SubjectPublicKeyInfo"),
        "pkcs1": ("PEM", "PKCS1"),
        "ssh": ("OpenSSH", "OpenSSH"),
    }
    encoding, kind = formats[form]
    data = key.public_key().public_bytes(getattr(serialization.Encoding, encoding), getattr(serialization.PublicFormat, kind))
    return str(data.decode())


@pytest.mark.parametrize("form", ["pem", "pkcs1", "ssh"])
def test_an_rsa_key_in_every_form(private: rsa.RSAPrivateKey, form: str):
    text = public(private, form)
    seal = sealer(f" {text} ops@example.com\n" if form == "ssh" else text)
    sealed = seal(PASSWORD)
    oaep = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    assert private.decrypt(base64.b64decode(sealed, validate=True), oaep).decode() == PASSWORD
    assert seal(PASSWORD) != sealed
    assert DriveDescription.from_option({"name": "a", "password_public_key": text}).password_public_key == text


def test_keys_that_age_knows():
    pyrage = pytest.importorskip("pyrage")
    mine = ed25519.Ed25519PrivateKey.generate()
    secret = mine.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    sealed = sealer(public(mine, "ssh"))(PASSWORD)
    assert pyrage.decrypt(base64.b64decode(sealed), [pyrage.ssh.Identity.from_buffer(secret)]).decode() == PASSWORD
    other = pyrage.x25519.Identity.generate()
    sealed = sealer(str(other.to_public()))(PASSWORD)
    assert pyrage.decrypt(base64.b64decode(sealed), [other]).decode() == PASSWORD


def _bad_keys() -> t.Iterator[tuple[str, str]]:
    yield "secret", "is not a public key"
    yield "ssh-ed25519 AAAA", "is not a public key"
    yield "age1abc", "is not a public key"
    yield "ssh-rsa AAAA", "is not a public key"
    yield "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "is not a public key"
    yield "-----BEGIN RSA PRIVATE KEY-----\n", "is a private key"
    yield public(rsa.generate_private_key(65537, 1024), "pem"), "2048 bits"  # noqa: S505
    yield public(ec.generate_private_key(ec.SECP256R1()), "pem"), "an RSA key"
    yield "x" * 20000, "is not a public key"


@pytest.mark.parametrize(("key", "words"), list(_bad_keys()))
def test_other_keys_are_refused(key: str, words: str):
    if key.startswith(("ssh-ed25519", "age1")):
        pytest.importorskip("pyrage")
    with pytest.raises(DriveInputError, match=words) as problem:
        sealer(key)
    with pytest.raises(DriveInputError) as refused:
        DriveDescription.from_option({"name": "web1", "password_public_key": key})
    assert str(refused.value) == f"drive web1: password_public_key {problem.value}"


@pytest.mark.parametrize(("library", "key"), [("cryptography", "ssh-rsa AAAA"), ("pyrage", "age1x"), ("pyrage", "ssh-ed25519 A")])
def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch, library: str, key: str):
    real = builtins.__import__

    def without(name: str, *args: t.Any, **more: t.Any) -> t.Any:
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingLibrary, match=f"{library} is needed to encrypt passwords"):
        sealer(key)


def test_a_key_and_a_password_exclude_each_other(private: rsa.RSAPrivateKey):
    there_is_one = "^drive a: password_public_key asks for a new password, and there is one: leave one of them out$"
    with pytest.raises(DriveInputError, match=there_is_one):
        DriveDescription.from_option({"name": "a", "password": "x", "password_public_key": public(private, "pem")})
    with pytest.raises(DriveInputError, match="^drive a: password_public_key cannot be delivered: .* has no service userdata"):
        DriveDescription.from_option({"name": "a", "password_public_key": public(private, "pem"), "services": []})
