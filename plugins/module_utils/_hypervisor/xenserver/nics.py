# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Changes of the NICs of a VM that is powered off."""

from __future__ import annotations

import secrets
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation_plan import NicPlan
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture, Record
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

# The fields that a NIC which replaces another one keeps.
_KEPT = ("MTU", "other_config", "locking_mode", "ipv4_allowed", "ipv6_allowed", "qos_algorithm_type", "qos_algorithm_params")
_FRESH = {"MTU": "1500", "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}


def set_nics(session: Session, picture: Picture, vm: str, wanted: Sequence[NicPlan]) -> bool:
    """Gives the VM exactly these NICs, in the order of their device numbers. Returns whether anything was changed."""
    record = picture.records["vm"][vm]
    there = _vifs(picture, record)
    used = {int(vif["device"]) for _ref, vif in there}
    free = iter([number for number in range(len(wanted) + len(used)) if number not in used])
    changed = len(there) > len(wanted)
    for surplus, _vif in there[len(wanted) :]:
        session.patiently("VIF.destroy", surplus)
    for index, nic in enumerate(wanted):
        ref: str | None = None
        vif: Record | None = None
        if index < len(there):
            ref, vif = there[index]
        if ref is not None and vif is not None and nic.mac in (None, vif["MAC"].lower()):
            if vif["network"] != nic.network:
                session.patiently("VIF.move", ref, nic.network)
                changed = True
            continue
        if ref is not None:
            session.patiently("VIF.destroy", ref)
        device = vif["device"] if vif is not None else str(next(free))
        kept = {name: vif[name] for name in _KEPT if name in vif} if vif is not None else _FRESH
        # XAPI makes MACs from a seed of the VM, and refuses to if there is none, as in an imported VM.
        new_mac = "" if "mac_seed" in record["other_config"] else _random_mac()
        session.patiently("VIF.create", {**kept, "VM": vm, "network": nic.network, "device": device, "MAC": nic.mac or new_mac})
        changed = True
    return changed


def _vifs(picture: Picture, vm: Record) -> list[tuple[str, Record]]:
    known = [(ref, picture.get("vif", ref)) for ref in vm["VIFs"]]
    found = [(ref, vif) for ref, vif in known if vif is not None]
    return sorted(found, key=lambda pair: int(pair[1]["device"]))


def _random_mac() -> str:
    """A locally administered address."""
    return ":".join(["02", *(f"{byte:02x}" for byte in secrets.token_bytes(5))])
