# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates for libvirt over TLS: an authority's, a server's and a client's, under the names that libvirt looks for."""

from __future__ import annotations

import pathlib
import subprocess

_CONFIGURATION = """[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign
[machine]
basicConstraints = critical, CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = IP:{address}
"""


def make(folder: pathlib.Path, address: str) -> None:
    """Into the folder, for a server that is called by its address."""
    folder.mkdir(exist_ok=True)
    (folder / "openssl.cnf").write_text(_CONFIGURATION.format(address=address), encoding="ascii")
    signed = ["-CA", f"{folder}/cacert.pem", "-CAkey", f"{folder}/cakey.pem"]
    for name, extensions, by in (("ca", "authority", []), ("server", "machine", signed), ("client", "machine", signed)):
        words = ["openssl", "req", "-config", f"{folder}/openssl.cnf", "-x509", "-extensions", extensions, "-days", "2", *by]
        words += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN=test {name}"]
        words += ["-keyout", f"{folder}/{name}key.pem", "-out", f"{folder}/{name}cert.pem"]
        subprocess.run(words, check=True, capture_output=True, timeout=60)
