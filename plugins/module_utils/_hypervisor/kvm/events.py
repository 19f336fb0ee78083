# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.


"""What libvirtd reports by itself: domains that start, stop, come or go, agents that connect, NICs added or removed."""

from __future__ import annotations

import contextlib
import queue
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import SOURCE_AGENT
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HINT_GUEST,
    HINT_HERE,
    HINT_VM,
    Events,
    Hint,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import is_alive

if t.TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host

_MOST = 1000  # hints in one list
_PATIENCE = 60.0  # seconds for which a guest is asked after its agent came


def _readings() -> Iterator[float]:
    """Seconds after it at which it is asked: an agent connects before its guest has a lease, so its first answers are mostly empty.

    The pauses are a tenth of the time that has passed, and a fifth of a second at least: an address is seen at most that much late.
    """
    passed = 0.0
    while passed < _PATIENCE:
        passed += max(0.2, passed / 10)
        yield round(passed, 2)


class KvmEvents(Events):
    """See api.Events. A guest whose address changes while it runs causes no event; one without an agent causes none but its life's."""

    sources: tuple[str, ...] = (SOURCE_AGENT,)
    again: tuple[float, ...] = tuple(_readings())

    def __init__(self, host: Host) -> None:
        self._host = host

    def listen(self, stop: threading.Event, look_up: float) -> Iterator[list[Hint]]:
        """See api.Events. libvirt must not be called from its own callbacks: these only put down what came."""
        box: queue.SimpleQueue[Hint | None] = queue.SimpleQueue()
        connection = self._host.connection
        with _registered(connection, box):
            yield self._here()
            while not stop.is_set():
                try:
                    hints = [box.get(timeout=look_up)]
                except queue.Empty:
                    hints = []
                while hints and len(hints) < _MOST:
                    try:
                        hints.append(box.get_nowait())
                    except queue.Empty:
                        break
                if None in hints or not is_alive(connection):
                    raise HypervisorUnreachable(f"{self._host.endpoint}: the connection broke")
                yield [hint for hint in hints if hint is not None]

    def _here(self) -> list[Hint]:
        """The domains whose agents are connected already: libvirt reports only what changes later."""
        found = []
        running = self._host.list(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        for vm_id, xml, _error in self._host.links.each_here(lambda _c, vm_id: running[vm_id].XMLDesc(0), sorted(running)):
            if xml is not None and kvm_domain.has_agent_channel(element := kvm_domain.parse(xml)):
                found += [] if kvm_domain.awaits_agent(element) else [Hint(vm_id, HINT_HERE)]
        return found


@contextlib.contextmanager
def _registered(connection: t.Any, box: queue.SimpleQueue[Hint | None]) -> Iterator[None]:
    lives = {getattr(libvirt, f"VIR_DOMAIN_EVENT_{name}") for name in ("DEFINED", "UNDEFINED", "STARTED", "STOPPED", "CRASHED")}
    connected = libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED

    def life(_c: t.Any, domain: t.Any, event: int, _detail: int, _o: t.Any) -> None:
        if event in lives:
            box.put(Hint(domain.UUIDString().lower(), HINT_VM))

    def agent(_c: t.Any, domain: t.Any, state: int, _reason: int, _o: t.Any) -> None:
        if state == connected:
            box.put(Hint(domain.UUIDString().lower(), HINT_GUEST))

    def device(_c: t.Any, domain: t.Any, alias: str, _o: t.Any) -> None:
        if alias.startswith("net"):
            box.put(Hint(domain.UUIDString().lower(), HINT_VM))

    def closed(_c: t.Any, _reason: int, _o: t.Any) -> None:
        box.put(None)

    wanted = (
        (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, life),
        (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, agent),
        (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, device),
        (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, device),
    )
    numbers = []
    try:
        try:
            numbers = [connection.domainEventRegisterAny(None, number, call, None) for number, call in wanted]
        except libvirt.libvirtError as error:
            raise HypervisorUnreachable(f"events cannot be listened to: {error.get_error_message() or error}") from None
        with contextlib.suppress(libvirt.libvirtError):  # a driver inside the client library has nothing to be cut
            connection.registerCloseCallback(closed, None)
        yield
    finally:
        for number in numbers:
            with contextlib.suppress(libvirt.libvirtError):
                connection.domainEventDeregisterAny(number)
        with contextlib.suppress(libvirt.libvirtError):
            connection.unregisterCloseCallback()
