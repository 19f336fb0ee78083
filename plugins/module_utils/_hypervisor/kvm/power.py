# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Starting and stopping many VMs."""

from __future__ import annotations

import threading
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError, Outcome
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import host as kvm_host
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.links import CALLS_AT_ONCE
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host

# Seconds between two looks at which VMs are off; a look is one call for all.
_LOOK = 1.0
# The part of the time limit after which guests that did not follow the power button are asked through their agent. Such a
# call lasts until the guest is off, up to a minute.
_AGENT_AFTER = 1 / 3


def start(host: Host, vms: Sequence[Vm]) -> Iterator[Outcome]:
    """See api.Machines."""
    bases = _bases(host, vms)
    saved = host.list(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)

    def begin(_connection: t.Any, vm: Vm) -> bool:
        clones = bases.get(vm.id)
        if clones:
            raise MachineError(
                f"its disks are the base of those of {first_of(clones)}: to start it would "
                "damage them; make a clone of it and start that"
            )
        try:
            vm.handle.createWithFlags(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and vm.handle.isActive():
                return False
            raise
        return True

    for vm, changed, error in host.links.each_here(begin, vms):
        if error is not None:
            yield Outcome(vm.name, vm.id, False, host.explain(vm.name, "it could not be started", error))
            continue
        warnings: tuple[str, ...] = ()
        if vm.id in saved and changed:
            warnings = (
                f"{vm.name} goes on where its memory was saved, with the hardware and the drive of that time; shut it down and start it "
                "to have it see new ones",
            )
        yield Outcome(vm.name, vm.id, bool(changed), warnings=warnings)


def _bases(host: Host, vms: Sequence[Vm]) -> dict[str, list[str]]:
    """By VM id, who has overlays of its disks. Only VMs that we did not make are looked at: those may be templates."""
    if all(vm.ours for vm in vms):
        return {}
    domains = kvm_host.read_domains(host, live=True)
    overlays = kvm_host.overlays(domains)
    found: dict[str, list[str]] = {}
    for vm in vms:
        if not vm.ours and vm.id in domains:
            names = {name for path in domains[vm.id].own_paths() for name in overlays.get(path, ())}
            found[vm.id] = sorted(names - {domains[vm.id].name})
    return found


def stop(host: Host, vms: Sequence[Vm], timeout: float) -> Iterator[Outcome]:
    """See api.Machines."""
    stopping = _Stopping(host, vms, timeout)
    yield from stopping.ask()
    yield from stopping.wait()
    yield from stopping.pull_the_plug()


class _Stopping:
    """One run of stop(): waiting holds those whose guests were asked and that are still on, by id."""

    def __init__(self, host: Host, vms: Sequence[Vm], timeout: float) -> None:
        self._host = host
        self._vms = vms
        self._timeout = timeout
        self._waiting: dict[str, Vm] = {}
        self._refused: dict[str, str] = {}

    def ask(self) -> Iterator[Outcome]:
        """Presses the power button of all; yields those that are off already."""
        on = self._host.list(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        for vm in self._vms:
            if vm.id in on:
                self._waiting[vm.id] = vm
            else:
                yield Outcome(vm.name, vm.id)
        if self._timeout <= 0:
            return

        def press(_connection: t.Any, vm: Vm) -> None:
            vm.handle.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        for vm, _none, error in self._host.links.each_here(press, list(self._waiting.values())):
            if error is not None and not _is_off(error):
                # A guest without ACPI is no error; this is told only if powering off fails as well.
                self._refused[vm.id] = self._host.explain(vm.name, "it could not be shut down", error)

    def wait(self) -> Iterator[Outcome]:
        """Looks once a second which are off, with one call for all, until none is on or the time is over."""
        if self._timeout <= 0 or not self._waiting:
            return
        begin = time.monotonic()
        agents_asked = False
        while self._waiting and time.monotonic() - begin < self._timeout:
            time.sleep(min(_LOOK, self._timeout / 10))
            on = self._host.list(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            for vm in [vm for vm in self._waiting.values() if vm.id not in on]:
                del self._waiting[vm.id]
                yield Outcome(vm.name, vm.id, True)
            if not agents_asked and time.monotonic() - begin > self._timeout * _AGENT_AFTER:
                agents_asked = True
                self._ask_agents()

    def pull_the_plug(self) -> Iterator[Outcome]:
        """Powers off those that are still on."""
        left = list(self._waiting.values())

        def off(connection: t.Any, vm: Vm) -> None:
            try:
                self._handle(connection, vm).destroyFlags(0)
            except libvirt.libvirtError as error:
                if not _is_off(error):
                    raise

        for vm, _none, error in self._host.links.each(off, left):
            if error is not None:
                text = self._host.explain(vm.name, "it could not be powered off", error)
                yield Outcome(vm.name, vm.id, False, text)
                continue
            warnings: tuple[str, ...] = ()
            if self._timeout > 0:
                why = self._refused.get(vm.id, f"{vm.name} did not shut down within {self._timeout:g} s")
                warnings = (f"{why}: it was powered off",)
            yield Outcome(vm.name, vm.id, True, warnings=warnings)

    def _handle(self, connection: t.Any, vm: Vm) -> t.Any:
        return vm.handle if connection is self._host.connection else connection.lookupByUUIDString(vm.id)

    def _ask_agents(self) -> None:
        """Asks the guests left through their agents, without waiting for the calls: each lasts until its guest is off.

        The calls have a connection of their own, so that they delay no others; it is closed after the last one.
        """
        left = list(self._waiting.values())
        threading.Thread(target=self._serve_agents, args=(left,), daemon=True).start()

    def _serve_agents(self, vms: Sequence[Vm]) -> None:
        try:
            with self._host.links.another() as connection:
                known = kvm_host.handles(connection)

                def ask(vm: Vm) -> None:
                    if vm.id in self._waiting and vm.id in known:
                        known[vm.id].shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)

                for _vm, _none, _error in bounded.each(ask, vms, CALLS_AT_ONCE, timeout=None):
                    pass  # no agent, or one that does not answer: the VM is powered off in the end
        except Exception:  # pylint: disable=broad-except  # the same
            pass


def _is_off(error: Exception) -> bool:
    return isinstance(error, libvirt.libvirtError) and error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID
