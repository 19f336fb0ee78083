# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The connection to a host's libvirtd."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._defaults import CONNECT_TIMEOUT
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import (
    IMPORT_TRACEBACK,
    libvirt,
)

if t.TYPE_CHECKING:
    from collections.abc import Mapping


# Seconds between signs of life asked of a remote libvirtd, and how many may be missed before the connection counts as cut.
_KEEPALIVE = (5, 3)


def open_connection(description: Mapping[str, t.Any]) -> t.Any:
    """A connection to the libvirtd that description['uri'] names, within description['connect_timeout'] seconds."""
    if libvirt is None:
        raise MissingLibrary("libvirt-python", IMPORT_TRACEBACK, url="https://libvirt.org/")
    uri = description.get("uri")
    if not uri:
        raise HypervisorError(
            "hypervisor.uri is not set: for hypervisor.type kvm it is the libvirt URI, such as qemu:///system or "
            "qemu+ssh://root@kvm01.example.com/system"
        )
    timeout = float(description.get("connect_timeout") or CONNECT_TIMEOUT)
    _serve_events()
    try:
        connection = bounded.within(lambda: libvirt.open(uri), timeout)
    except bounded.TimedOut:
        raise HypervisorUnreachable(
            f"hypervisor.uri {uri}: no connection within {timeout:g} s; check host, network, ssh keys and that libvirtd runs"
        ) from None
    except libvirt.libvirtError as error:
        raise HypervisorUnreachable(
            f"hypervisor.uri {uri}: no connection: {error.get_error_message() or error}; check the URI, the account's "
            "rights and that libvirtd runs"
        ) from None
    try:
        connection.setKeepAlive(*_KEEPALIVE)
    except libvirt.libvirtError:
        pass  # a driver inside the client library has no connection that could be cut
    return connection


def is_alive(connection: t.Any) -> bool:
    """Whether the connection to libvirt still stands."""
    try:
        return connection.isAlive() == 1
    except libvirt.libvirtError:
        return False


def close_connection(connection: t.Any) -> None:
    """Closes it; one that is gone already is no error."""
    try:
        connection.close()
    except libvirt.libvirtError:
        pass


_events_started = threading.Lock()


def _serve_events() -> None:
    """Runs libvirt's event loop in the background; keepalive, which notices a cut connection, needs it."""
    if not _events_started.acquire(blocking=False):  # pylint: disable=consider-using-with  # once per process, for good
        return
    libvirt.virEventRegisterDefaultImpl()

    def loop() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=loop, name="libvirt-events", daemon=True).start()
