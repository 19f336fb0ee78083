# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_diagnose."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import (
    OK,
    STATUSES,
    Finding,
    SiteFacts,
    VmFacts,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.verdict import (
    Verdict,
    cannot_be_seen,
    diagnose,
    worst_first,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary, OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import POWER_RUNNING, HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.network_rules import names_on_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import page
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import (
    LONGEST_ERROR,
    Problem,
    check_sources,
    find_vms,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.diagnosis import (
    Seen,
    Site,
    ask_guests,
    look_at_drives,
    look_at_networks,
    look_into_guests,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.missing import fail_for
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_nic_record import read_networks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watched import read_labels, strangers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import journal
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import LOCK_NAME
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.vm_filter import read_vm_filter
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import counted, plain, plain_name

if t.TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.vm_filter import VmFilter

_LATE = 3  # intervals without a look, after which the look counts as late


def run_module(module: AnsibleModule) -> None:
    """Gathers all facts once, runs the checks on each VM, and ends the module with the verdicts."""
    params = module.params
    if params["workers"] < 1:
        module.fail_json(msg=f"workers is {params['workers']}: it must be at least 1")
    if params["timeout"] <= 0:
        module.fail_json(msg=f"timeout is {params['timeout']:g}: it must be above 0")
    page.check(module, limit=0, offset=0)
    networks = _networks(module)
    try:
        chosen = read_vm_filter(params["vm_filter"], params["hypervisor"]["type"])
    except OptionError as error:
        module.fail_json(msg=str(error))
    recorded, site_facts = _read_record(module)
    looked = _Look(module, networks, chosen, {nic.vm_id for nic in recorded if nic.hypervisor_name == params["hypervisor_name"]})
    looked.read_hypervisor()
    site = Site(params["hypervisor_name"], networks, recorded, looked.seen)
    facts = dataclasses.replace(
        site_facts, problem=looked.problem, endpoint=looked.endpoint, networks=bool(networks), label=params["label"]
    )
    pairs = worst_first([(vm, diagnose(facts, vm)) for vm in _vms(params["vms"], looked, site, facts)])
    statuses = [verdict.status for _vm, verdict in pairs]
    counts = {status: statuses.count(status) for status in STATUSES}
    site_checks = [_finding(one) for one in diagnose(facts, VmFacts(facts.name, exists=None)).findings]
    module.exit_json(
        changed=False,
        total=len(pairs),
        vms=[_result(vm, verdict, params["detail"]) for vm, verdict in page.page_of(module, "VMs", pairs)],
        hypervisor={"name": facts.name, "endpoint": facts.endpoint or None, "problem": facts.problem, "checks": site_checks},
        networks=[_network(one) for one in {id(one): one for one in site.networks.values()}.values()],
        counts=counts,
        left_out=looked.left_out,
        msg=_summary(facts, counts, looked.left_out),
    )


class _Look:
    """What the hypervisor tells. problem: why it could not be read, or not to the end.

    networks: the shared networks. chosen: the user's filter of VMs. recorded: ids of the VMs that the record has for it.
    left_out: how many VMs are not watched.
    """

    def __init__(
        self, module: AnsibleModule, networks: list[dict[str, t.Any]], chosen: VmFilter | None, recorded: Collection[str]
    ) -> None:
        self._module = module
        self._networks, self._chosen, self._recorded = networks, chosen, recorded
        self._shared = {name for network in networks for name in names_on_hypervisor(network)}
        self.left_out = 0
        self.seen = Seen()
        self.problems: dict[str, Problem] = {}
        self.asked: dict[str, Vm] = {}
        self.endpoint = ""
        self.problem: str | None = None

    def read_hypervisor(self) -> None:
        params = self._module.params
        try:
            hypervisor = open_hypervisor(params["hypervisor"])
        except MissingLibrary as error:
            fail_for(self._module, error)
        except HypervisorError as error:
            self.problem = plain(str(error), LONGEST_ERROR)
            return
        try:
            self.endpoint = hypervisor.endpoint
            sources = self._sources(hypervisor)
            read_labels(hypervisor, self._chosen)
            found = find_vms(hypervisor, params["vms"])
            self.seen.vms, self.problems, self.asked = found.vms, found.problems, found.asked
            # A VM that was not asked for may have the MAC of one that was.
            self.seen.everyone = found.vms if params["vms"] is None else hypervisor.inventory.vms(None).vms
            if params["vms"] is None:
                self.seen.vms = tuple(vm for vm in found.vms if self._is_watched(vm))
                self.left_out = len(found.vms) - len(self.seen.vms)
                for sentence in strangers(found.vms, self._shared or None):
                    self._module.warn(sentence)
            look_at_networks(hypervisor, self.seen, self._networks)
            if params["drives"] != "none":
                look_at_drives(hypervisor, self.seen, params["drives"] == "contents")
            if sources:
                ask_guests(hypervisor, self.seen, sources, params["workers"], params["timeout"])
                look_into_guests(hypervisor, self.seen, params["workers"], params["timeout"])
        except HypervisorError as error:
            self.problem = plain(str(error), LONGEST_ERROR)
        finally:
            hypervisor.close()

    def _is_watched(self, vm: Vm) -> bool:
        """Whether looks watch the VM: it is in the record, or is chosen and either ours or running on a shared network."""
        if vm.id in self._recorded:
            return True
        if self._chosen is not None and not self._chosen.chooses(vm.name, vm.folder, vm.tags or ()):
            return False
        on_shared = not self._networks or any(nic.network in self._shared for nic in vm.nics)
        return vm.ours or (vm.power_state == POWER_RUNNING and on_shared)

    def _sources(self, hypervisor: t.Any) -> Sequence[str]:
        try:
            return check_sources(hypervisor, self._module.params["sources"])
        except HypervisorError as error:
            self._module.fail_json(msg=str(error))
            raise


def _networks(module: AnsibleModule) -> list[dict[str, t.Any]]:
    """The shared networks, checked as for the record; ends the module if one is wrong."""
    try:
        read_networks(module.params["networks"])
    except OptionError as error:
        module.fail_json(msg=str(error))
    return [{"name": one} if isinstance(one, str) else dict(one) for one in module.params["networks"] or ()]


def _read_record(module: AnsibleModule) -> tuple[list[NicRecord], SiteFacts]:
    """The NICs of all hypervisors, and the last look at this one. A record that cannot be read is one of the facts."""
    facts = SiteFacts(module.params["hypervisor_name"])
    database = None
    try:
        database = Database(module.params["record"])
        if not database.exists():
            return [], facts
        recorded = RecordStore(database).nics()
        return recorded, _site(database, facts)
    except MissingLibrary as error:
        fail_for(module, error)
    except RecordError as error:
        return [], dataclasses.replace(facts, record_problem=plain(str(error)))
    finally:
        if database is not None:
            database.close()


def _site(database: Database, facts: SiteFacts) -> SiteFacts:
    now = database.now()
    for note in journal.looks(database, [facts.name]):
        age = (now - note.looked_at).total_seconds()
        facts = dataclasses.replace(
            facts,
            looked_at=note.looked_at,
            look_host=plain(note.host) + (f" (AWX job {note.job})" if note.job else ""),
            look_age=age,
            look_late=age > _LATE * max(60, note.interval_seconds),
            look_problem=None if note.problem is None else plain(note.problem),
        )
    for holder in journal.holders(database):
        if holder.name in (LOCK_NAME, f"{LOCK_NAME}:{facts.name}"):
            facts = dataclasses.replace(
                facts,
                lock_host=f"{plain(holder.host)}, process {holder.pid}" + (f", AWX job {holder.job}" if holder.job else ""),
                lock_age=(now - holder.since).total_seconds(),
                lock_silent=(now - (holder.beat_at or holder.since)).total_seconds(),
            )
    return facts


def _vms(wanted: Sequence[str] | None, looked: _Look, site: Site, facts: SiteFacts) -> list[VmFacts]:
    """The VMs asked for, or all: the hypervisor's, and those that only the record has."""
    found = [site.vm(vm) for vm in looked.seen.vms]
    here = {vm.id for vm in looked.seen.vms}
    names = None if wanted is None else {plain_name(name) for name in wanted}
    rows = {nic.vm_id: nic for nic in site.recorded.values() if names is None or nic.vm_name in names or nic.vm_id in names}
    told = set()
    for vm_id, nic in rows.items():
        if vm_id in here or nic.vm_name in looked.problems:
            continue
        told.add(nic.vm_name)
        known = site.from_record(vm_id, nic.vm_name)
        if looked.problem is None:
            text = f"the record has {nic.vm_name}, and {looked.endpoint} has no such VM any more; the next look takes it out"
            known = dataclasses.replace(known, exists=False, problem=text)
        found.append(known)
    for name, problem in looked.problems.items():
        found.append(VmFacts(plain_name(name), exists=False, problem=problem.message))
    if looked.problem is not None and not looked.seen.vms:
        found += [VmFacts(name, exists=None) for name in sorted((names or set()) - told)]
    return found


def _result(vm: VmFacts, verdict: Verdict, detail: bool) -> dict[str, t.Any]:
    checks = [_finding(one) for one in verdict.findings if detail or not (one.status == OK or cannot_be_seen(one))]
    return {
        "name": vm.name,
        "id": vm.id,
        "power_state": vm.power_state,
        "status": verdict.status,
        "check": verdict.check,
        "verdict": plain(verdict.message),
        "next_step": None if verdict.next_step is None else plain(verdict.next_step),
        "checks": checks,
    }


def _finding(one: Finding) -> dict[str, t.Any]:
    return {
        "check": one.check,
        "status": one.status,
        "nic": one.device,
        "message": plain(one.message),
        "next_step": None if one.next_step is None else plain(one.next_step),
    }


def _network(one: t.Any) -> dict[str, t.Any]:
    return {
        "name": one.name,
        "vlan": one.vlan,
        "cidrs": list(one.cidrs),
        "ip_range": one.ip_range,
        "size": one.size,
        "used": one.used,
    }


def _summary(facts: SiteFacts, counts: Mapping[str, int], left_out: int) -> str:
    words = {"failed": "with a fault", "warning": "to look at", "unknown": "that cannot be judged", "ok": "well"}
    told = ", ".join(f"{count} {words[status]}" for status, count in counts.items() if count)
    more = (
        f"; {left_out} more, such as templates and stopped ones of others, are not watched: name them to ask about them"
        if left_out
        else ""
    )
    return (f"{counted(sum(counts.values()), 'VM')} on {facts.name}: {told}" if told else f"no VMs on {facts.name}") + more
