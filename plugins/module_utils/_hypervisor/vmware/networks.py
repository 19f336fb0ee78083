# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Shared networks of VMware: port groups on a standard switch of each host, or one on a distributed switch."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
    Networks,
    NetworkState,
    Outcome,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.network_view import (
    HostNetworks,
    NetworkView,
    Portgroup,
    Switch,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import PlaceError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim, vmodl
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.tasks import run_tasks

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NetworkWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

_PORTS = 8  # of a new distributed port group, which grows by itself


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Where a network is to be. switch: the distributed one, None for a standard switch; hosts: those that get a port group."""

    group: Portgroup
    switch: Switch | None
    hosts: tuple[HostNetworks, ...]


class VMwareNetworks(Networks):
    """See api.Networks."""

    def __init__(self, session: Session, datacenter: str | None = None) -> None:
        """datacenter: its networks alone are read and changed; None for all."""
        self._session = session
        self._datacenter = datacenter
        self._view: NetworkView | None = None

    # --- reading ---

    def states(self, wanted: Sequence[NetworkWanted], users: bool) -> list[NetworkState]:
        """See api.Networks."""
        try:
            view = self._look(users)
        except PlaceError as error:
            return [NetworkState(problem=str(error), keep=str(error)) for _one in wanted]
        return [self._state(view, one) for one in wanted]

    def _look(self, users: bool) -> NetworkView:
        self._view = self._session.run(lambda: NetworkView(self._session, self._datacenter, users))
        return self._view

    def _state(self, view: NetworkView, wanted: NetworkWanted) -> NetworkState:
        if wanted.vlan is None:
            seen = self._seen(view, wanted.name)
            return NetworkState(seen, seen, None if seen else network_rules.missing(wanted.name))
        if self._session.read_only:
            return NetworkState(problem=self._session.read_only, keep=self._session.read_only)
        plan = self._plan(view, wanted)
        if isinstance(plan, str):
            seen = self._seen(view, wanted.name)
            return NetworkState(seen, seen, plan, plan)
        have = self._have(view, plan)
        before = self._lines(plan, have) if have else ()
        users = self._users(view, plan, have)
        keep = network_rules.in_use(wanted.name, users) if have and users else None
        return NetworkState(before, self._lines(plan, self._want(plan)), None, keep, tuple(sorted(users)))

    @staticmethod
    def _seen(view: NetworkView, name: str) -> tuple[str, ...]:
        """The line on a network that is not the wanted one, but has its name."""
        return (f"network {name}",) if view.networks(name) else ()

    def _plan(self, view: NetworkView, wanted: NetworkWanted) -> _Plan | str:
        """Where the network is to be, or why it cannot be there."""
        hosts = [view.hosts[ref] for ref in sorted(view.hosts, key=lambda ref: view.hosts[ref].name)]
        known = {host.name for host in hosts}
        for name in wanted.hosts:
            if name not in known:
                return f"{wanted.name}: hosts has {name}, which is no host here: use {', '.join(sorted(known)) or 'none'}"
        named = [host for host in hosts if host.name in wanted.hosts]
        switch = self._switch(view, wanted, named or hosts)
        if isinstance(switch, str):
            return switch
        name, distributed = switch
        group = Portgroup(wanted.name, name, wanted.vlan)
        if distributed is not None:
            outside = [host.name for host in named if host.reference not in distributed.hosts]
            if outside:
                return (
                    f"{wanted.name}: {outside[0]} is not on the distributed switch {name}: add it there, or take it out of hosts"
                )
            plan = _Plan(group, distributed, ())
        else:
            without = [host.name for host in named if name not in host.switches]
            if without:
                return f"{wanted.name}: {without[0]} has no virtual switch {name}: make it there, or take the host out of hosts"
            down = [host.name for host in named if not host.connected]
            if down:
                return f"{wanted.name}: {down[0]} is not connected to vCenter: bring it back, or take it out of hosts"
            plan = _Plan(group, None, tuple(host for host in named or hosts if name in host.switches and host.connected))
        return self._other(view, plan) or plan

    def _switch(self, view: NetworkView, wanted: NetworkWanted, hosts: Sequence[HostNetworks]) -> tuple[str, Switch | None] | str:
        """Name of the virtual switch, and the distributed switch if it is one; or why there is none."""
        standard = sorted({switch for host in hosts for switch in host.switches})
        known = sorted({*standard, *(switch.name for switch in view.switches)})
        name = wanted.bridge
        if not name:
            # Without a bridge: the switch that the network is on already, or the only one there is.
            there = {one.group.switch for one in view.distributed.get(wanted.name, ())}
            there |= {host.portgroups[wanted.name].switch for host in hosts if wanted.name in host.portgroups}
            choice = there or set(known)
            if len(choice) != 1:
                return network_rules.no_bridge("virtual switch", None, known)
            name = choice.pop()
        distributed = [switch for switch in view.switches if switch.name == name]
        if len(distributed) > 1 or (distributed and name in standard):
            return f"bridge {name}: there are several virtual switches of this name: set hypervisor.datacenter, or rename one"
        if not distributed and name not in standard:
            return network_rules.no_bridge("virtual switch", name, known)
        return name, distributed[0] if distributed else None

    @staticmethod
    def _other(view: NetworkView, plan: _Plan) -> str | None:
        """Why a port group of this name that is there already is not the wanted one."""
        group = plan.group
        distributed = [one.group for one in view.distributed.get(group.name, ())]
        if plan.switch is not None:
            same, others = distributed, [host.portgroups.get(group.name) for host in view.hosts.values()]
        else:
            same, others = [host.portgroups.get(group.name, group) for host in plan.hosts], list(distributed)
        different = [one for one in same if one != group] + [one for one in others if one is not None]
        return network_rules.another(group.name, different[0].words(), group.words()) if different else None

    @staticmethod
    def _have(view: NetworkView, plan: _Plan) -> set[str]:
        """Where the network is already: references of hosts, or of the distributed port group."""
        if plan.switch is not None:
            return {one.reference for one in view.distributed.get(plan.group.name, ())}
        return {host.reference for host in plan.hosts if plan.group.name in host.portgroups}

    @staticmethod
    def _want(plan: _Plan) -> set[str]:
        return {"new"} if plan.switch is not None else {host.reference for host in plan.hosts}

    @staticmethod
    def _lines(plan: _Plan, where: set[str]) -> tuple[str, ...]:
        if plan.switch is not None:
            return (f"distributed port group, {plan.group.words()}",)
        names = [host.name for host in plan.hosts if host.reference in where]
        return (f"port group, {plan.group.words()}", f"hosts: {', '.join(names)}")

    @staticmethod
    def _users(view: NetworkView, plan: _Plan, have: set[str]) -> set[str]:
        users = view.users(plan.group.name, None if plan.switch is not None else have)
        for host in plan.hosts:
            if host.reference in have:
                users |= {f"the VMkernel adapter {device} of {host.name}" for device in host.adapters.get(plan.group.name, ())}
        return users

    # --- changing ---

    def make(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        """See api.Networks. A host that refuses does not keep the others from getting their port groups."""
        return self._change(wanted, self._make_standard, self._make_distributed, "made")

    def remove(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        """See api.Networks."""
        return self._change(wanted, self._remove_standard, self._remove_distributed, "removed")

    def _change(
        self,
        wanted: Sequence[NetworkWanted],
        standard: Callable[[_Plan, HostNetworks], bool],
        distributed: Callable[[NetworkView, _Plan], Callable[[], t.Any] | None],
        done: str,
    ) -> Iterator[Outcome]:
        view = self._view or self._look(users=False)
        starts = []
        for one in wanted:
            plan = self._plan(view, one)
            if isinstance(plan, str):
                yield Outcome(one.name, error=plan)
            elif plan.switch is not None:
                start = distributed(view, plan)
                if start is None:
                    yield Outcome(one.name)
                else:
                    starts.append((one.name, start))
            else:
                yield self._on_hosts(plan, standard, done)
        for name, result in run_tasks(self._session, starts):
            if isinstance(result, BaseException):
                yield Outcome(name, error=f"{name}: it could not be {done}: {self._session.say(result)}")
            else:
                yield Outcome(name, changed=True)
        self._view = None

    def _on_hosts(self, plan: _Plan, step: Callable[[_Plan, HostNetworks], bool], done: str) -> Outcome:
        changed = False
        errors = []
        for host in plan.hosts:
            try:
                changed = self._session.run(functools.partial(step, plan, host), raw=True) or changed
            except HypervisorUnreachable:
                raise
            except (HypervisorError, vmodl.MethodFault) as fault:
                errors.append(f"on {host.name} it could not be {done}: {self._session.say(fault)}")
        return Outcome(plan.group.name, changed=changed, error=f"{plan.group.name}: {'; '.join(errors)}" if errors else None)

    def _system(self, host: HostNetworks) -> t.Any:
        return vim.host.NetworkSystem(host.system, self._session.stub)

    def _make_standard(self, plan: _Plan, host: HostNetworks) -> bool:
        group = plan.group
        if group.name in host.portgroups:
            return False
        spec = vim.host.PortGroup.Specification(
            name=group.name, vlanId=group.vlan, vswitchName=group.switch, policy=vim.host.NetworkPolicy()
        )
        try:
            self._system(host).AddPortGroup(spec)
        except vim.fault.AlreadyExists:
            pass  # by the same call, sent before a new login
        return True

    def _remove_standard(self, plan: _Plan, host: HostNetworks) -> bool:
        if plan.group.name not in host.portgroups:
            return False
        try:
            self._system(host).RemovePortGroup(plan.group.name)
        except vim.fault.NotFound:
            pass
        return True

    def _make_distributed(self, view: NetworkView, plan: _Plan) -> Callable[[], t.Any] | None:
        switch = plan.switch
        if switch is None or self._have(view, plan):
            return None
        dvs = vim.dvs
        vlan = dvs.VmwareDistributedVirtualSwitch.VlanIdSpec(inherited=False, vlanId=plan.group.vlan)
        spec = dvs.DistributedVirtualPortgroup.ConfigSpec(
            name=plan.group.name,
            type="earlyBinding",
            numPorts=_PORTS,
            autoExpand=True,
            defaultPortConfig=dvs.VmwareDistributedVirtualSwitch.VmwarePortConfigPolicy(vlan=vlan),
        )
        return lambda: vim.DistributedVirtualSwitch(switch.reference, self._session.stub).AddDVPortgroup_Task([spec])

    def _remove_distributed(self, view: NetworkView, plan: _Plan) -> Callable[[], t.Any] | None:
        have = sorted(self._have(view, plan))
        if not have:
            return None
        return lambda: vim.dvs.DistributedVirtualPortgroup(have[0], self._session.stub).Destroy_Task()
