# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A XAPI rig in this process for each test; whatever the driver does wrong ends the test with the rig's own words."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "rigs" / "xapi"))

from xapi_rig.rigging import Rig

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import driver as xenserver

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.driver import XenPool


@pytest.fixture
def rig(tmp_path: pathlib.Path) -> t.Iterator[Rig]:
    """Two hosts. After the test: nothing was sent that XAPI would not understand, every session was closed."""
    with Rig(tmp_path).start() as running:
        yield running
        assert running.pool.violations == []
        assert "session_id in a URL" not in running.pool.calls


@pytest.fixture
def connect(rig: Rig) -> t.Iterator[t.Callable[..., XenPool]]:
    """Connects to the rig; keyword arguments change the connection description. Closed at the end of the test."""
    opened: list[XenPool] = []

    def open_one(**changes: t.Any) -> XenPool:
        pool = xenserver.connect(rig.description(**changes))
        opened.append(pool)
        return pool

    yield open_one
    for pool in opened:
        pool.close()
    assert not rig.pool.open_sessions


@pytest.fixture
def iso() -> t.Callable[..., bytes]:
    """A small config drive for a VM, different for each text."""

    def build(vm: Vm, text: str = "one") -> bytes:
        return image.build({"openstack/latest/meta_data.json": text.encode()}, owner=vm.id)

    return build
