# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A picture of the pool: records of a few classes, read in one call and brought up to date by events."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import XapiError

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

NULL = "OpaqueRef:NULL"
Record = t.Dict[str, t.Any]

_VM = "uuid name_label power_state is_a_template is_a_snapshot is_control_domain guest_metrics metrics VIFs other_config tags xenstore_data"
INVENTORY: Mapping[str, frozenset[str]] = {
    "vm": frozenset(_VM.split()),
    "vm_metrics": frozenset(("start_time",)),
    "vm_guest_metrics": frozenset(("networks", "live", "last_updated", "PV_drivers_version")),
    "vif": frozenset("VM device MAC network".split()),
    "network": frozenset(("name_label",)),
}
WATCHED: Mapping[str, frozenset[str]] = {
    "vm": INVENTORY["vm"],
    "vm_guest_metrics": frozenset(("networks", "PV_drivers_version")),
    "vif": INVENTORY["vif"],
}
_DRIVE_VM = (
    "uuid name_label power_state is_a_template is_control_domain VBDs resident_on affinity domain_type HVM_boot_policy guest_metrics "
    "metrics"
)
DRIVES: Mapping[str, frozenset[str]] = {
    "pool": frozenset(("master",)),
    "host": frozenset("uuid name_label hostname address enabled metrics".split()),
    "host_metrics": frozenset(("live",)),
    "vm": frozenset(_DRIVE_VM.split()),
    "vm_metrics": frozenset(("start_time",)),
    "vbd": frozenset("uuid VM VDI type userdevice device empty currently_attached other_config".split()),
    "vdi": frozenset("uuid name_label SR VBDs location virtual_size read_only other_config".split()),
    "sr": frozenset("uuid name_label type shared content_type PBDs VDIs".split()),
    "pbd": frozenset("host SR device_config currently_attached".split()),
}
_MACHINE_VM = (
    "uuid name_label power_state is_a_template is_default_template is_a_snapshot is_control_domain snapshots VBDs VIFs other_config "
    "blocked_operations current_operations affinity resident_on suspend_VDI memory_static_min memory_static_max "
    "memory_dynamic_min memory_dynamic_max platform VCPUs_max VCPUs_at_startup domain_type HVM_boot_policy metrics"
)
_MACHINE_VIF = (
    "VM device MAC MTU network other_config locking_mode ipv4_allowed ipv6_allowed qos_algorithm_type qos_algorithm_params"
)
MACHINES: Mapping[str, frozenset[str]] = {
    "pool": frozenset("master default_SR".split()),
    "host": frozenset("uuid name_label hostname address enabled metrics".split()),
    "host_metrics": frozenset(("live",)),
    "vm": frozenset(_MACHINE_VM.split()),
    "vm_metrics": frozenset(("start_time",)),
    "vbd": frozenset("VM VDI type userdevice device empty currently_attached other_config".split()),
    "vdi": frozenset("uuid name_label SR VBDs virtual_size sharable".split()),
    "vif": frozenset(_MACHINE_VIF.split()),
    "network": frozenset("uuid name_label bridge".split()),
    "sr": frozenset("uuid name_label content_type PBDs".split()),
    "pbd": frozenset("host SR currently_attached".split()),
}


class Picture:
    """Records by class and reference. The first look reads everything, later ones only what has changed since.

    References may dangle: XAPI chooses what to send and writes the records at different moments.
    """

    def __init__(self, session: Session, fields: Mapping[str, frozenset[str]]) -> None:
        self._session = session
        self._fields = fields
        self._token = ""
        self._generation = 0
        self._lock = threading.Lock()
        self._begun = self._ended = 0
        # Counts the looks, so that callers know whether what they derived from the records is up to date.
        self.looks = 0
        # Set when the VMs were listed: the addresses, which are read next, need no look of their own.
        self.just_looked = False
        self.records: dict[str, dict[str, Record]] = {name: {} for name in fields}

    def refresh(self, wait: float = 0.0) -> set[tuple[str, str]]:
        """Brings the records up to date; returns (class, reference) of what is new or changed.

        wait: seconds to wait for the first change. Threads that ask at the same time share one look.
        """
        asked = self._begun
        with self._lock:
            if self._ended > asked and not wait:
                return set()  # another thread's look, begun after this one was asked for
            self._begun += 1
            number = self._begun
            changed = self._look(wait)
            self._ended = number
            return changed

    def _look(self, wait: float) -> set[tuple[str, str]]:
        if self._generation != self._session.generation:
            self._token = ""
        try:
            batch = self._events(wait)
        except XapiError as error:
            if error.code not in ("EVENT_FROM_TOKEN_PARSE_FAILURE", "EVENTS_LOST") or not self._token:
                raise
            self._token = ""
            batch = self._events(0.0)
        if self._generation != self._session.generation and self._token:
            # There was a new login meanwhile, perhaps at another master, which counts its events from the start.
            self._token = ""
            batch = self._events(0.0)
        if self._token and not batch["events"]:
            self._token = batch["token"]  # often: a listener asks every few seconds
            self.looks += 1
            return set()
        # New dictionaries: another thread may be going through the old ones.
        new = {name: dict(records) if self._token else {} for name, records in self.records.items()}
        changed = set()
        for event in batch["events"]:
            records = new.get(event["class"].lower())
            if records is None:
                continue
            changed.add((event["class"].lower(), event["ref"]))
            if event["operation"] == "del":
                records.pop(event["ref"], None)
            elif "snapshot" in event:
                records[event["ref"]] = event["snapshot"]
        self.records = new
        self._token = batch["token"]
        self._generation = self._session.generation
        self.looks += 1
        return changed

    def get(self, cls: str, ref: str | None) -> Record | None:
        """The record, or None for NULL and dangling references."""
        return self.records[cls].get(ref or NULL)

    def vm_of(self, vm_id: str | None) -> str | None:
        """The VM of this id; None if it is not there."""
        return next((ref for ref, record in self.records["vm"].items() if record["uuid"].lower() == vm_id), None)

    def find_host(self, text: str, option: str) -> str:
        """The host with this name, host name, address or UUID. Raises MachineError, which names the option."""
        hosts = self.records["host"]
        names = ("name_label", "hostname", "address", "uuid")
        found = [ref for ref, host in hosts.items() if text in [host[name] for name in names]]
        if len(found) != 1:
            known = ", ".join(sorted(host["name_label"] for host in hosts.values()))
            what = "is no host" if not found else "is the name of several hosts"
            raise MachineError(f"{option} {text} {what} of this pool; its hosts are {known}")
        return found[0]

    def sr_hosts(self, sr: str) -> list[str]:
        """The hosts that have the SR plugged."""
        pbds = [self.get("pbd", ref) for ref in (self.get("sr", sr) or {"PBDs": ()})["PBDs"]]
        return [pbd["host"] for pbd in pbds if pbd is not None and pbd["currently_attached"]]

    def live(self, host: str) -> bool:
        """Whether the host is up, as far as the master knows."""
        record = self.get("host", host)
        metrics = None if record is None else self.get("host_metrics", record["metrics"])
        return bool(metrics and metrics["live"])

    def _events(self, wait: float) -> dict[str, t.Any]:
        limit = wait if self._token else 0.0
        batch = self._session.read("event.from", sorted(self._fields), self._token, float(limit), wait=limit, keep=self._fields)
        return {"events": batch.get("events", []), "token": batch["token"]}
