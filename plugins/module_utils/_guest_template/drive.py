# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks that a clone sees its config drive, and that something reads it."""

from __future__ import annotations

import hashlib
import re
import shlex
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import (
    BUSES,
    LIBRARY,
    SCRIPT_FOLDER,
    Problem,
    of_paths,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

SERVICE = "config-drive"
_INSTALL = "run the entry point linux or image"
KNOWN_LABELS = ("config", "config-2")
# Scripts of clouds that have their own router in each network. They ask the DHCP server for root's password and keys, and believe
# any web page that it answers with.
_NETWORK_SCRIPTS = ("cloud-set-guest-password*", "cloud-set-guest-sshkey*")
_SCRIPT_FOLDERS = ("etc/init.d", "usr/local/bin", "usr/local/sbin", "usr/bin", "usr/sbin")
_CD_SOURCE = re.compile(r"(?:/dev/(?:sr|cdrom|dvd|hd[a-d]$)\S*|LABEL=[\"']?(?:config|config-2|CONFIG-2|cidata)[\"']?$)")


def scripts(system: System, wanted: Wanted) -> Iterator[Problem]:
    """The guest scripts must be installed: without them nothing on the drive is set."""
    if not wanted.with_scripts:
        return
    wrong, locked = [], []
    for name, sha256 in sorted(wanted.scripts.items()):
        path = f"{SCRIPT_FOLDER}/{name}"
        data, node = system.files.data(path), system.files.node(path)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            wrong.append(name)
        elif name != LIBRARY and node is not None and not node.mode & 0o100:
            locked.append(name)
    if wrong:
        yield Problem("scripts", f"missing or changed in /{SCRIPT_FOLDER}: {', '.join(wrong)}", _INSTALL)
    if locked:
        yield Problem("scripts_mode", f"not executable in /{SCRIPT_FOLDER}: {', '.join(locked)}", _INSTALL)


def settings(system: System, wanted: Wanted) -> Iterator[Problem]:
    """The drive's label must be the one in the scripts' settings, or one of the two that they always try."""
    if not wanted.with_scripts:
        return
    text = system.files.text(system.settings_path)
    if not system.files.is_file(system.settings_path):
        yield Problem("settings", f"/{system.settings_path} is missing", _INSTALL)
        return
    label = "config"
    for line in re.findall(r"^\s*CONFIG_DRIVE_LABEL=(.*)$", text, re.MULTILINE):
        try:
            label = "".join(shlex.split(line, comments=True)[:1])
        except ValueError:
            label = ""
    if wanted.label not in (label, *KNOWN_LABELS):
        message = (
            f"the guest scripts look for the labels {label or 'config'}, config and config-2, the drive will have {wanted.label}"
        )
        yield Problem("label", message, f"set CONFIG_DRIVE_LABEL in /{system.settings_path}", (system.settings_path,))


def starter(system: System, wanted: Wanted) -> Iterator[Problem]:
    """The service that runs the scripts at every boot must be enabled."""
    if wanted.with_scripts and not system.starts(SERVICE):
        yield Problem("starter", f"the {system.init} starter is not enabled, nothing on the drive would be set", _INSTALL)


def kernels(system: System, wanted: Wanted) -> Iterator[Problem]:
    """Every kernel needs the drivers of the CD/DVD drive: those made for clouds may lack them."""
    needed = [("isofs",), ("sr-mod", "xen-blkfront"), tuple(sorted({*BUSES.values()}))]
    bus = wanted.bus or ("sata" if _sata_only(system) else None)
    if bus is not None:
        needed[2] = (BUSES[bus],)
    blind = {name: [group for group in needed if modules.isdisjoint(group)] for name, modules in system.kernels().items()}
    blind = {name: lacking for name, lacking in blind.items() if lacking}
    if blind:
        what = "; ".join(f"{name} lacks {' and '.join(' or '.join(group) for group in blind[name])}" for name in sorted(blind))
        message = (
            "a kernel lacks the driver of the config drive's CD/DVD drive, so that nobody could log in, for each is needed: "
            f"isofs, sr_mod, and the controller's, ahci where CD/DVD drives are on SATA as on q35 machines without virtio-scsi: {what}"
        )
        remedy = "install another kernel, or give the VMs a CD/DVD drive on a bus that it knows"
        yield Problem("kernels", message, remedy, tuple(f"lib/modules/{name}" for name in sorted(blind)))


def drivers(system: System, wanted: Wanted) -> Iterator[Problem]:
    """Every kernel needs the drivers of the disk and NIC: an image made for another hypervisor may lack them."""
    needed = {name.replace("_", "-"): name for name in wanted.drivers}
    blind = {kernel: sorted(set(needed) - modules) for kernel, modules in system.kernels().items()}
    blind = {kernel: lacking for kernel, lacking in blind.items() if lacking}
    if blind:
        what = "; ".join(f"{kernel} lacks {', '.join(needed[name] for name in blind[kernel])}" for kernel in sorted(blind))
        message = f"a kernel lacks a driver of the hypervisor's disk or NIC, so that it would not start, or reach no DHCP server: {what}"
        paths = tuple(f"lib/modules/{kernel}" for kernel in sorted(blind))
        yield Problem("drivers", message, "install another kernel, or take another image of the distribution", paths)


def _sata_only(system: System) -> bool:
    """Whether the system runs on a machine with a SATA controller and no virtio-scsi; False for the system of an image."""
    base = "sys/bus/pci/devices"
    kinds = [
        (system.files.text(f"{base}/{name}/class", 64), system.files.text(f"{base}/{name}/device", 64))
        for name in system.files.names(base)
    ]
    return any(kind.startswith("0x0106") for kind, _device in kinds) and not any(
        device.startswith(("0x1004", "0x1048")) for _kind, device in kinds
    )


def fstab(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """/etc/fstab must not require a CD/DVD drive: without it a clone's boot would wait or fail."""
    for line in system.files.text("etc/fstab").splitlines():
        words = line.split()
        if len(words) < 3 or words[0].startswith("#") or _may_fail(words):
            continue
        if words[2] == "iso9660" or _CD_SOURCE.match(words[0]):
            message = (
                f"/etc/fstab mounts the CD/DVD drive ({words[0]} on {words[1]}), a clone without it does not boot to its end"
            )
            yield Problem("fstab", message, "remove the line, or give it the options ro,noauto or nofail", ("etc/fstab",))


def _may_fail(words: list[str]) -> bool:
    return len(words) > 3 and not {"noauto", "nofail"}.isdisjoint(words[3].split(","))


def network_scripts(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """There must be no scripts that take root's password from the DHCP server."""
    found = [path for folder in _SCRIPT_FOLDERS for path in system.matching(folder, _NETWORK_SCRIPTS)]
    return of_paths("network_scripts", found, "these ask the DHCP server for passwords and keys", "remove them")


CHECKS = (scripts, settings, starter, kernels, drivers, fstab, network_scripts)
