# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The part of the vendor data by which a guest with cloud-init leaves the confirmation that this collection's guest scripts leave.

cloud-init runs it after it has set the password, once per instance id, whatever scripts the user data have (cc_scripts_vendor). It looks
whether root really has this password, because user data may set another one, and chpasswd may have refused it. The digest names the
drive by its password, since no image can hold its own digest.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import retired

_HEAD = "#!/bin/sh\n# vmops.external_dhcp: tells the hypervisor that root has the password of this config drive\n"
_MARK = re.compile(r'^mark = "0 [^ "]+ ([0-9a-f]{64})"$', re.MULTILINE)
# With the Python that cloud-init runs with. It ends without an error whatever it finds, so that cloud-init reports none.
_SCRIPT = (
    _HEAD
    + r"""exec $(sed -n '1s/^#! *//p' "$(command -v cloud-init)") - <<'END'
import base64, ctypes, os, shutil, subprocess
mark = "@MARK@"
password = base64.b64decode("@PASSWORD@")

def is_set():
    with open("/etc/shadow", "rb") as shadow:
        stored = [line.split(b":")[1] for line in shadow if line.startswith(b"root:")][0]
    for library in ("libcrypt.so.1", "libcrypt.so.2", None):
        try:
            crypt = ctypes.CDLL(library).crypt
        except (AttributeError, OSError):
            continue
        crypt.restype = ctypes.c_char_p
        return stored.startswith(b"$") and crypt(password, stored) == stored
    return False

if is_set():
    path = "/var/lib/config-drive/drive-seen"
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(mark + "\n")
    os.replace(path + ".new", path)
    for command in (["vmware-rpctool", "info-set guestinfo.config-drive " + mark], ["xenstore-write", "vm-data/config-drive", mark]):
        if shutil.which(command[0]):
            subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
else:
    print("root has another password than the config drive: not confirmed")
END
"""
)


def script(name: str, instance_id: str, password: str) -> str:
    """name: the VM's. The same for the same three, so that the drive's bytes are the same."""
    salt = hashlib.sha256(f"{name}\n{instance_id}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    instance = instance_id if re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", instance_id) else "-"
    encoded = base64.b64encode(password.encode("utf-8")).decode("ascii")
    return _SCRIPT.replace("@MARK@", f"0 {instance} {retired.digest(password, salt)}").replace("@PASSWORD@", encoded)


def is_script(part: t.Any) -> bool:
    """Whether a part of the vendor data is what script() makes."""
    return isinstance(part, str) and part.startswith(_HEAD)


def digest_in(part: t.Any) -> str | None:
    """The digest by which a guest confirms; None in anything that script() has not made."""
    found = _MARK.search(part) if is_script(part) else None
    return found[1] if found else None
