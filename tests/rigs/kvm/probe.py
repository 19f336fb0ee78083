# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds out whether hardware virtualization really runs a guest here, and faster than emulation does.

/dev/kvm may exist and refuse, hang, or be very slow (nested machines). The only proof is a guest that prints something, and does so
before an emulated one.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import subprocess
import tempfile
import time
from pathlib import Path

#: Seconds after which a guest that has printed nothing counts as not running. With working KVM it takes about one.
LIMIT = 8.0
WORD = b"VMOPS"
#: The user libvirt runs QEMU as on Debian and Ubuntu: it must be able to use /dev/kvm, not just root.
QEMU_USER = "libvirt-qemu"


def boot_sector() -> bytes:
    """Real-mode code that writes WORD to the first serial port and halts."""
    code = b"\xba\xf8\x03"  # mov dx, 0x3f8
    for byte in WORD:
        code += bytes((0xB0, byte, 0xEE))  # mov al, byte; out dx, al
    code += b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the hlt
    return code.ljust(510, b"\0") + b"\x55\xaa"


def runs_guest(accelerator: str, user: str = QEMU_USER, limit: float = LIMIT) -> tuple[float | None, str]:
    """Runs the boot sector with `accelerator` (kvm or tcg) as `user`. Returns the seconds until it printed, or None if it did not
    within `limit`, and a sentence."""
    if accelerator == "kvm" and not os.path.exists("/dev/kvm"):
        return None, "there is no /dev/kvm"
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return None, f"there is no user {user}, as whom libvirt would run it"
    with tempfile.TemporaryDirectory(prefix="vmops-probe-") as folder:
        os.chmod(folder, 0o755)
        disk = Path(folder) / "probe.img"
        disk.write_bytes(boot_sector() + b"\0" * (1 << 20))
        os.chown(disk, account.pw_uid, account.pw_gid)
        complaints = Path(folder) / "stderr"
        command = [
            "qemu-system-x86_64",
            "-no-user-config",
            "-nodefaults",
            "-display",
            "none",
            "-monitor",
            "none",
            "-machine",
            "pc",
        ]
        command += [
            "-accel",
            accelerator,
            "-cpu",
            "max",
            "-m",
            "32",
            "-serial",
            "stdio",
            "-drive",
            f"file={disk},format=raw,if=ide",
        ]
        started = time.monotonic()
        with complaints.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=os.getgrouplist(user, account.pw_gid),
                start_new_session=True,
            )
        try:
            heard = listen(process, started + limit)
            took = time.monotonic() - started
            if WORD in heard:
                return took, f"a guest ran after {took:.1f} s"
            if took < limit:
                lines = complaints.read_text(errors="replace").strip().splitlines() or ["no reason given"]
                return None, f"QEMU refused: {lines[-1]}"
            return None, f"/dev/kvm is there but a guest said nothing for {limit:g} s"
        finally:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                # A process that is stuck in the kernel ends when the kernel lets it; this code does not wait for it.
                process.wait(timeout=2)


def listen(process: subprocess.Popen[bytes], end: float) -> bytes:
    """What the process writes until it says WORD, closes its output or the (monotonic) time `end` comes."""
    heard = b""
    while WORD not in heard and time.monotonic() < end:
        if select.select([process.stdout], [], [], 0.1)[0]:
            data = os.read(process.stdout.fileno(), 4096)
            if not data:
                break
            heard += data
    return heard


def domain_type(wanted: str = "auto") -> tuple[str, str]:
    """The libvirt domain type to use (kvm or qemu) and why; `wanted` is auto, kvm or qemu."""
    if wanted in ("kvm", "qemu"):
        return wanted, "as asked for"
    took, why = runs_guest("kvm")
    if took is None:
        return "qemu", f"emulation (TCG), since {why}"
    emulated, _why = runs_guest("tcg", limit=took)
    if emulated is not None and emulated < took / 2:
        return "qemu", f"emulation (TCG): a guest ran after {emulated:.1f} s, and after {took:.1f} s with hardware virtualization"
    return "kvm", f"hardware virtualization: {why}"
