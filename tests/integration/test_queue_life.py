# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever somebody else does to VMs, one look makes the record agree: one table of experiments for all hypervisors."""

from __future__ import annotations

import datetime
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import REASON_NO_GUEST_TOOLS, Reading
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Addresses, Observation
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import PollSettings
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import OTHER_ADDRESS
from ansible_collections.vmops.external_dhcp.tests.integration.somebody import Somebody, SomebodyOnKvm, on_vcenter, on_xapi
from ansible_collections.vmops.external_dhcp.tests.integration.watching import Watched, record_in

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord


class After(t.NamedTuple):
    """The record after one look: a VM's rows as told by shown(), what the look says of the VM, its NICs with a LOST event."""

    rows: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    lost: tuple[int, ...] = ()


class Experiment(t.NamedTuple):
    """What somebody (see somebody.py) does to the VM of this name, which runs with a known address unless `before` says otherwise.

    on_kvm: where libvirt does it only with a restart, or the host that it is moved to is another hypervisor for the record.
    """

    name: str
    act: str
    after: After
    on_kvm: After | None = None
    before: str = "running"


EXPERIMENTS = (
    Experiment("made", "make", After(("made/0 pending, 9 tries",), ("entered",)), before="absent"),
    Experiment("started", "start", After(("started/0 pending, 9 tries",), ("started",)), before="stopped"),
    Experiment("stopped", "stop", After(("stopped/0 stopped",), ("stopped",))),
    Experiment(
        "destroyed",
        "destroy",
        After((), ("removed",), lost=(0,)),
        on_kvm=After(("destroyed/0 stopped",)),  # for an interval: the other hypervisor may have it
    ),
    Experiment(
        "renamed",
        "rename",
        After(("renamed-too/0 found at A0",)),
        on_kvm=After(("renamed-too/0 pending, 9 tries, A0 kept",), ("restarted",)),
    ),
    Experiment("remade", "remake", After(("remade/0 pending, 9 tries",), ("entered", "removed"), lost=(0,))),
    Experiment("restarted", "restart", After(("restarted/0 pending, 9 tries, A0 kept",), ("restarted",))),
    Experiment(
        "moved",
        "move",
        After(("moved/0 found at A0",)),
        on_kvm=After(("moved/0 pending, 9 tries, on kvm02",), ("moved here",)),
    ),
    Experiment("nic-added", "add_nic", After(("nic-added/0 found at A0", "nic-added/1 pending, 9 tries"), ("entered",))),
    Experiment(
        "nic-removed",
        "remove_nic",
        After(("nic-removed/0 found at A0",), ("removed",), lost=(1,)),
        on_kvm=After(("nic-removed/0 pending, 9 tries, A0 kept",), ("removed", "restarted"), lost=(1,)),
        before="two NICs",
    ),
)
ADDRESSES = {one.name: (f"10.99.0.{10 + number}", f"10.99.1.{10 + number}") for number, one in enumerate(EXPERIMENTS)}


SIMULATORS: dict[str, t.Callable[[], t.ContextManager[Somebody]]] = {"xapi": on_xapi, "vcenter": lambda: on_vcenter("itlife")}


@pytest.fixture(params=SIMULATORS)
def on_simulator(request: pytest.FixtureRequest) -> t.Iterator[Somebody]:
    with SIMULATORS[request.param]() as who:
        yield who


@pytest.fixture(params=[*SIMULATORS, pytest.param("kvm", marks=pytest.mark.kvm)])
def somebody(request: pytest.FixtureRequest) -> t.Iterator[Somebody]:
    if request.param == "kvm":
        here, there = request.getfixturevalue("kvm"), request.getfixturevalue("other")
        who = SomebodyOnKvm(here, there, OTHER_ADDRESS)
        yield who
        for host in (here, there):
            for name in host.domains() & {*ADDRESSES, "renamed-too"}:
                host.undefine(name)
        return
    with SIMULATORS[request.param]() as who:
        yield who


class Answers(Addresses):
    """In place of guests that have nothing to boot."""

    sources = default_sources = ("agent",)

    def __init__(self, said: dict[str, str]) -> None:
        self.said = said

    def read(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        for vm in vms:
            readings = tuple(Reading((self.said[nic.mac],), mac=nic.mac) for nic in vm.nics if nic.mac in self.said)
            yield Observation(vm, readings, "agent") if readings else Observation(vm, reason=REASON_NO_GUEST_TOOLS)


class Site(Watched):
    """A hypervisor's looks. said: what guests answer, where they cannot themselves."""

    said: dict[str, str] | None = None

    def connect(self) -> Hypervisor:
        hypervisor = super().connect()
        if self.said is not None:
            hypervisor.addresses.close()
            hypervisor.addresses = Answers(self.said)
        return hypervisor


class Looks:
    """One tick: a look at each of the hypervisors that the VMs may be on."""

    def __init__(self, who: Somebody, folder: pathlib.Path) -> None:
        self.sites = [Site(record_in(folder), place, who.networks, name) for name, place in who.places]
        if isinstance(who, SomebodyOnKvm):
            self.sites[0].said = who.said
        self.store = self.sites[0].store

    def tick(self) -> dict[str, set[str]]:
        """What was told of each VM."""
        told: dict[str, set[str]] = {}
        for site in self.sites:
            poll = site.look()
            assert poll.problem is None
            for what, names in poll.told.items():
                for name in names:
                    told.setdefault(name, set()).add(what)
        return told

    def rows(self, *names: str) -> tuple[str, ...]:
        first = self.sites[0].name
        return tuple(
            shown(nic) + (f", on {nic.hypervisor_name}" if nic.hypervisor_name != first else "")
            for nic in sorted(self.store.nics(vms=names), key=lambda nic: nic.device)
        )

    def close(self) -> None:
        for site in self.sites:
            site.store.database.close()


def shown(nic: NicRecord) -> str:
    """A0 and A1 are the addresses of the VM's NICs."""
    address = nic.address and f"A{ADDRESSES[nic.vm_name.removesuffix('-too')].index(nic.address)}"
    text = f"{nic.vm_name}/{nic.device} {nic.fetch_state}"
    if nic.fetch_state == "pending":
        return text + f", {nic.tries_left} tries" + (f", {address} kept" if address else "")
    return text + (f" at {address}" if address else "")


def arrange(who: Somebody, looks: Looks) -> None:
    """All VMs as the experiments want them, with what the record then has to say."""
    for one in EXPERIMENTS:
        if one.before != "absent":
            who.make(one.name)
            who.guest_has(one.name, ADDRESSES[one.name][0])
            if one.before == "two NICs":
                who.add_nic(one.name)
                who.guest_has(one.name, *ADDRESSES[one.name])
    looks.tick()
    for one in EXPERIMENTS:
        nics = {"absent": 0, "two NICs": 2}.get(one.before, 1)
        assert looks.rows(one.name) == tuple(f"{one.name}/{number} found at A{number}" for number in range(nics))
        if one.before == "stopped":
            who.stop(one.name)
    looks.tick()


def line(place: str, name: str, seen: After) -> str:
    rows = "; ".join(seen.rows) or "no row"
    return f"{place:8} {name:12} {rows:60} {', '.join(seen.told) or '-':16} {'LOST' if seen.lost else ''}".rstrip()


def test_whatever_somebody_else_does_the_record_agrees_after_one_tick(somebody: Somebody, tmp_path: pathlib.Path) -> None:
    looks = Looks(somebody, tmp_path)
    arrange(somebody, looks)
    last = max(event.id for event in looks.store.events())
    for one in EXPERIMENTS:
        getattr(somebody, one.act)(one.name)
    told = looks.tick()
    lost = {event.previous_address for event in looks.store.events(after=last) if event.type.endswith("LOST")}
    expected, seen = {}, {}
    for one in EXPERIMENTS:
        names = (one.name, f"{one.name}-too")
        expected[one.name] = one.on_kvm if one.on_kvm and isinstance(somebody, SomebodyOnKvm) else one.after
        seen[one.name] = After(
            looks.rows(*names),
            tuple(sorted(set().union(*(told.get(name, set()) for name in names)))),
            tuple(number for number, address in enumerate(ADDRESSES[one.name]) if address in lost),
        )
        print(line(somebody.places[0][0], one.name, seen[one.name]))
    looks.close()
    assert seen == expected


def test_an_outage_of_the_dhcp_server_loses_no_vm(on_simulator: Somebody, tmp_path: pathlib.Path) -> None:
    """40 minutes in which a VM is started every fourth tick and none has an address; ticks every three minutes."""
    settings = PollSettings(interval=_defaults.INTERVAL, relook_interval=_defaults.RELOOK)
    seconds = 0
    site = Site(record_in(tmp_path), on_simulator.places[0][1], on_simulator.networks)
    site.store.clock = lambda: datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)
    started: dict[str, int] = {}
    given_up: dict[str, int] = {}
    found: dict[str, int] = {}
    end = 40 * 60
    while len(found) < len(started) or seconds < end:
        if seconds < end and seconds % (4 * settings.interval) == 0:
            name = f"outage{len(started)}"
            on_simulator.make(name)
            on_simulator.guest_has(name)  # its agent runs, and has no address to tell
            started[name] = seconds
        if seconds - settings.interval < end <= seconds:
            for number, name in enumerate(started):
                on_simulator.guest_has(name, f"10.99.0.{10 + number}")
        poll = site.look(settings=settings)
        given_up.update({nic.vm_name: seconds for nic in poll.gave_up})
        found.update({nic.vm_name: seconds for nic in poll.found})
        assert seconds <= end + settings.relook_interval + settings.interval, "within one interval of the re-look after its end"
        seconds += int(settings.interval)
    for name in started:
        minutes = [f"{at[name] / 60:.0f}" if name in at else "-" for at in (started, given_up, found)]
        print(
            f"{on_simulator.places[0][0]:8} {name}  started {minutes[0]:>3}  given up {minutes[1]:>3}  address in the record {minutes[2]:>3}"
        )
    assert given_up, "the outage was long enough"
    assert {nic.vm_name: nic.ip4_address for nic in site.store.nics()} == {
        name: f"10.99.0.{10 + number}" for number, name in enumerate(started)
    }
    # One event for each that was found after all, and one for each that was given up.
    kinds = [event.type.rpartition("IP.")[2] for event in site.store.events()]
    assert (kinds.count("FETCHED"), kinds.count("GAVE.UP")) == (len(started), len(given_up))
    site.store.database.close()
