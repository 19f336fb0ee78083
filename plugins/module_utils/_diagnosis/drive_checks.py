# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The checks of the config drive and of what the guest made of it; see checks.py."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import (
    FAILED,
    OK,
    UNKNOWN,
    WARNING,
    Finding,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import DriveFacts, SiteFacts, VmFacts


def drive_present(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Is there a config drive?"""
    drive = vm.drive
    if drive is None:
        return
    if drive.error:
        yield Finding("drive_present", UNKNOWN, drive.error, "see that this account may read the folder or storage of the drives")
    elif drive.exists:
        yield Finding("drive_present", OK, f"its config drive is {drive.location}")
    else:
        status = FAILED if vm.managed else WARNING  # who made it otherwise may want none
        step = drive.problem or f"make it: deploy_vms -e vm_names={vm.word}, or the module vm_config_drive"
        yield Finding("drive_present", status, f"{vm.name} has no config drive at {drive.location}", step)


def drive_attached(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Is it in a CD/DVD drive of the VM?"""
    drive = _drive(vm)
    if drive is None:
        return
    if drive.attached:
        yield Finding("drive_attached", OK, f"it is in {drive.slot}")
        return
    step = drive.problem or f"attach it: deploy_vms -e vm_names={vm.word}, or the module vm_config_drive"
    if drive.restart:
        step += (
            "; then shut the VM down and start it, because it has no CD/DVD drive for it (a reboot in the guest is not enough)"
        )
    yield Finding("drive_attached", FAILED, f"{drive.location} is there, but {vm.name} does not have it in a CD/DVD drive", step)


def drive_owner(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Was it built for this VM?"""
    drive = _drive(vm)
    if drive is None:
        return
    step = "vm_config_drive with take_over=true replaces it"
    marked = [drive.owner] if drive.owner else list(drive.ids)
    others = [one for one in marked if vm.id and one.lower() != vm.id.lower()]
    if others:
        text = f"{drive.location} was built for the VM with the id {others[0]}, not for {vm.name} ({vm.id})"
        yield Finding("drive_owner", FAILED, text, f"a VM of this name was made anew or renamed: {step}")
    elif drive.owner is None:
        yield Finding(
            "drive_owner",
            WARNING,
            f"{drive.location} does not say for which VM it was built",
            f"another program built it: {step}",
        )
    else:
        yield Finding("drive_owner", OK, "it was built for this VM")


def drive_content(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Can a guest use what is on it?"""
    drive = _drive(vm)
    if drive is None or not drive.read:
        return
    if drive.complaint:
        step = f"build it again: deploy_vms -e vm_names={vm.word}, or the module vm_config_drive"
        yield Finding("drive_content", FAILED, f"{drive.location}: {drive.complaint}", step)
    else:
        yield Finding("drive_content", OK, f"it is whole and has the layouts {', '.join(drive.layouts)}")


def drive_label(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Has it the label that guests look for?"""
    drive = _drive(vm)
    if drive is None or not drive.read or drive.complaint:
        return
    if set(drive.labels) == {site.label}:
        yield Finding("drive_label", OK, f"it has the label {site.label}")
    else:
        text = f"it has the label {' and '.join(drive.labels) or '(none)'}, not {site.label}, so the guest does not find it"
        step = (
            "set config_drive_label to the label that the guests of this template look for, and deploy_vms builds the drive again"
        )
        yield Finding("drive_label", FAILED, text, step)


def scripts(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Did the guest act on the drive? Its own files tell, where its agent lets them be read."""
    drive, guest = _drive(vm), vm.guest
    if not vm.running or drive is None:
        return
    if guest is not None and guest.seen and (guest.installed or guest.datasource != "ConfigDrive"):
        step = "in the guest: systemctl status config-drive, journalctl -t cloud-set-vm-password.sh; they act at each start"
        if guest.failed:
            yield Finding("scripts", FAILED, "the guest scripts have read the drive, and not all of it could be set", step)
        elif guest.instance and drive.instance and guest.instance != drive.instance:
            text = f"the guest scripts last acted on the drive of the instance {guest.instance}, and this is that of {drive.instance}"
            yield Finding("scripts", WARNING, text, f"restart the VM; {step}")
        else:
            yield Finding("scripts", OK, "the guest scripts have acted on the drive")
    elif guest is not None and guest.datasource == "ConfigDrive":
        yield Finding("scripts", OK, "cloud-init has taken its data from the drive")
    elif guest is not None and guest.installed:
        step = (
            "in the guest: systemctl status config-drive says what it looked at; restart the VM if the drive was put while it ran"
        )
        yield Finding("scripts", FAILED, "the guest scripts have never read a drive", step)
    elif guest is not None and guest.datasource:
        step = "the label must be config-2, or datasource_list: [ConfigDrive, None] in the template's cloud.cfg.d; see cloud-init status --long"
        yield Finding("scripts", FAILED, f"cloud-init has taken its data from {guest.datasource}, and not from the drive", step)
    else:
        step = (
            "in the guest: systemctl status config-drive, journalctl -t cloud-set-vm-password.sh; with cloud-init: cloud-init status "
            "--long; on Windows: the Application event log, source ConfigDrive"
        )
        yield Finding("scripts", UNKNOWN, "whether the guest acted on its drive cannot be seen from outside", step)


def _drive(vm: VmFacts) -> DriveFacts | None:
    return vm.drive if vm.drive is not None and vm.drive.exists and not vm.drive.error else None
