# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_config_drive_orphans: lists config drives that no VM uses, and deletes them if asked to."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import hypervisor_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drive_input import summary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import OrphanDrive


_ELSEWHERE = "its VM is on another hypervisor, which may use it there: set remove_elsewhere to true if they share no storage"


def run_module(module: AnsibleModule) -> None:
    """Finds the orphans, deletes those that may be deleted, and ends the module with one entry for each."""
    elsewhere = {vm_id.lower() for vm_id in module.params["elsewhere"]}
    errors: dict[str, str] = {}
    with hypervisor_of(module) as hypervisor:
        found = hypervisor.drives.orphans(elsewhere)
        entries = [_entry(drive, module.params["remove_elsewhere"]) for drive in found.drives]
        doomed = []
        if module.params["state"] == "absent":
            doomed = [drive for drive, entry in zip(found.drives, entries, strict=True) if entry["kept"] is None]
        by_location = {entry["location"]: entry for entry in entries}
        for drive in doomed:
            by_location[plain(drive.location)]["removed"] = True
        if not module.check_mode:
            for drive, outcome in hypervisor.drives.delete_orphans(doomed):
                entry = by_location[plain(drive.location)]
                entry["removed"] = outcome is True
                if isinstance(outcome, DriveError):
                    entry["error"] = errors[drive.location] = plain(str(outcome))
    result: dict[str, t.Any] = {
        "changed": any(entry["removed"] for entry in entries),
        "orphans": entries,
        "unseen": [plain(text) for text in found.skipped],
    }
    if module._diff:
        result["diff"] = {
            "before": "".join(f"{entry['location']}\n" for entry in entries),
            "after": "".join(f"{entry['location']}\n" for entry in entries if not entry["removed"]),
        }
    if errors:
        module.fail_json(msg=f"{len(errors)} of {len(doomed)} orphans were left: {summary(errors)}", **result)
    module.exit_json(**result)


def _entry(drive: OrphanDrive, remove_elsewhere: bool) -> dict[str, t.Any]:
    kept = drive.kept
    if kept is None and drive.reason == drive_rules.ORPHAN_ELSEWHERE and not remove_elsewhere:
        kept = _ELSEWHERE
    return {
        "location": plain(drive.location),
        "vm_id": drive.owner,
        "reason": drive.reason,
        "kept": kept,
        "removed": False,
        "error": None,
    }
