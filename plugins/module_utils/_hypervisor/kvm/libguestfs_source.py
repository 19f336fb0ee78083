# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Addresses from a guest's disk through libguestfs's own tools on the controller: guestfish, virt-cat and virt-win-reg.

They boot a small machine for each VM, which takes seconds with hardware virtualization and minutes without: for who wants
every file system that Linux knows, or an independent second look. No shell is involved: every word is an argument of its own.
"""

from __future__ import annotations

import calendar
import re
import shutil
import subprocess
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases import dhclient
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease, moment, usable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.verdict import judge
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_NO_LEASE,
    REASON_SOURCE_UNAVAILABLE,
    REASON_TIMEOUT,
    SOURCE_LIBGUESTFS,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.source import AddressSource, Answer

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm

_MAX_OUTPUT = 1 << 20
# '-' before a command: go on when it fails. Of the devices that are tried, those with ext2 to ext4 tell when they were mounted.
_SCRIPT = "".join(
    (
        *(f"-tune2fs-l /dev/sda{part}\n" for part in ("1", "2", "3", "")),
        "-glob tail-n 200 /var/lib/dhcp/dhclient*.lease*\n",
        "-glob tail-n 200 /var/lib/dhclient/dhclient*.lease*\n",
        "-glob tail-n 200 /var/lib/NetworkManager/dhclient*.lease\n",
        "-case-sensitive-path /windows/system32/config\n",
    )
)
_WINDOWS = re.compile(r"^/windows/system32/config$", re.IGNORECASE | re.MULTILINE)
_MOUNTED = re.compile(r"^Last mount time: +\w{3} (\w{3}) +(\d+) (\d\d):(\d\d):(\d\d) (\d{4})$", re.MULTILINE)
_LEASE = re.compile(r"^lease\b", re.MULTILINE)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SYSTEM = "HKEY_LOCAL_MACHINE\\SYSTEM"
_INTERFACES = "Services\\Tcpip\\Parameters\\Interfaces"
_CURRENT = re.compile(r'^"Current"=dword:0*([0-9a-fA-F]{1,3})$', re.MULTILINE)
_VALUE = re.compile(r'^"(DhcpIPAddress|EnableDHCP|LeaseObtainedTime|LeaseTerminatesTime)"=(.*)$')


class LibguestfsSource(AddressSource):
    """See the module. Opt-in."""

    name = SOURCE_LIBGUESTFS
    told = True

    def ask(self, vm: Vm, timeout: float) -> Answer:
        """See AddressSource."""
        leases: list[Lease]
        started: t.Optional[float]
        missing = [program for program in ("guestfish", "virt-win-reg") if shutil.which(program) is None]
        if missing:
            text = f"{' and '.join(missing)} is not installed on the controller (package libguestfs-tools or guestfs-tools)"
            return Answer(reason=REASON_SOURCE_UNAVAILABLE, message=text)
        deadline = time.monotonic() + timeout
        try:
            fish = self._run(["guestfish", "--ro", "-c", self.host.uri, "-i", "-d", vm.id], _SCRIPT, deadline)
            if fish.returncode:
                return Answer(reason=REASON_SOURCE_UNAVAILABLE, message=f"libguestfs: {_last(fish.stderr)}")
            if _WINDOWS.search(fish.stdout):
                # These tools do not tell when Windows was started, so a lease counts until it runs out.
                leases, started = self._windows(vm, deadline), 1.0
            else:
                leases, started = file_leases(fish.stdout), mounted(fish.stdout)
        except subprocess.TimeoutExpired:
            text = f"libguestfs did not answer within {timeout:g} s: it boots a machine for each VM, so give it a longer timeout"
            return Answer(reason=REASON_TIMEOUT, message=text)
        verdict = judge(leases, started, {nic.mac for nic in vm.nics}, time.time())
        if verdict.readings:
            return Answer(verdict.readings)
        return Answer(reason=REASON_NO_LEASE, message=f"libguestfs: {verdict.problem}")

    def _windows(self, vm: Vm, deadline: float) -> list[Lease]:
        # CurrentControlSet is a name that exists in a running Windows only.
        words = ["virt-win-reg", "-c", self.host.uri, vm.id]
        current = _CURRENT.search(self._run([*words, f"{_SYSTEM}\\Select"], "", deadline).stdout)
        if current is None:
            return []
        key = f"{_SYSTEM}\\ControlSet{int(current.group(1), 16):03}\\{_INTERFACES}"
        return registry_leases(self._run([*words, key], "", deadline).stdout)

    def _run(self, words: list[str], script: str, deadline: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # pylint: disable=ansible-bad-function  # drivers know no Ansible
            words,
            input=script,
            capture_output=True,
            timeout=max(0.1, deadline - time.monotonic()),
            check=False,
            encoding="utf-8",
            errors="replace",
        )


def file_leases(output: str) -> list[Lease]:
    """The leases in dhclient's files, which come after all that tune2fs says."""
    first = _LEASE.search(output)
    return [] if first is None else dhclient.parse(output[first.start() :].encode(), "", 0.0)


def mounted(output: str) -> float | None:
    """When the guest was started: the last of the times that tune2fs tells (in UTC, as libguestfs's machine has it)."""
    found = []
    for month, day, hour, minute, second, year in _MOUNTED.findall(output[:_MAX_OUTPUT]):
        if month in _MONTHS:
            fields = (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
            found.append(float(calendar.timegm(fields)))
    return max(found, default=None)


def registry_leases(output: str) -> list[Lease]:
    """The leases in what virt-win-reg prints: a section for each interface, texts as hex(1), numbers as dword."""
    leases = []
    values: dict[str, str] = {}
    for line in (*output[:_MAX_OUTPUT].splitlines(), "["):
        match = _VALUE.match(line)
        if match:
            values[match.group(1)] = match.group(2)
        elif line.startswith("["):
            address = usable(_text(values.get("DhcpIPAddress", "")))
            if address is not None and _number(values.get("EnableDHCP", "")) != 0:
                obtained, expires = (_number(values.get(name, "")) for name in ("LeaseObtainedTime", "LeaseTerminatesTime"))
                leases.append(Lease("Windows", address, obtained=moment(obtained), expires=moment(expires)))
            values = {}
    return leases


def _number(text: str) -> int | None:
    digits = text.partition("dword:")[2]
    return int(digits, 16) if re.fullmatch(r"[0-9a-fA-F]{1,8}", digits) else None


def _text(text: str) -> str:
    if text.startswith('"'):
        return text.strip('"')
    digits = text.partition(":")[2].replace(",", "")
    if not re.fullmatch(r"(?:[0-9a-fA-F]{2})*", digits):
        return ""
    return bytes.fromhex(digits).decode("utf-16-le", "replace").rstrip("\0")


def _last(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
