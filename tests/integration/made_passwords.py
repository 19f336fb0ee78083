# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whoever gets the passwords that are made: a key of RSA, and what a playbook's output shows, opened with it."""

from __future__ import annotations

import base64
import pathlib
import re
import subprocess


class Receiver:
    """public: the key to encrypt to, as PEM; the private one is a file in the folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._private = folder / "private.pem"
        make = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self._private)]
        subprocess.run(make, check=True, capture_output=True)
        show = ["openssl", "pkey", "-in", str(self._private), "-pubout"]
        self.public = subprocess.run(show, check=True, capture_output=True, text=True).stdout

    def handed_out(self, vm: str, output: str) -> str | None:
        """The VM's password in a playbook's output; None if there is none."""
        found = re.search(rf'"{vm}": "([A-Za-z0-9+/=]{{300,}})"', output)
        if found is None:
            return None
        # As docs/config-drive.md says.
        padding = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"]
        command = ["openssl", "pkeyutl", "-decrypt", "-inkey", str(self._private), *padding]
        return subprocess.run(command, input=base64.b64decode(found[1]), capture_output=True, check=True).stdout.decode()
