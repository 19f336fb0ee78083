# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the unit tests can use, for tests against the rigs: the collection under its full name, and run_module."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

import pytest

_PATH = pathlib.Path(__file__).resolve().parents[1] / "unit" / "conftest.py"
_spec = importlib.util.spec_from_file_location("vmops_unit_conftest", _PATH)
assert _spec is not None and _spec.loader is not None
_unit = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _unit
_spec.loader.exec_module(_unit)

run_module = _unit.run_module


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the tests of the KVM rig, which dev/test.sh runs beside the others."""
    for item in items:
        if "kvm" in item.fixturenames:
            item.add_marker("kvm")


@pytest.fixture(scope="session")
def kvm():
    """The KVM rig and the external DHCP server, up for all tests that need them.

    With VMOPS_TEST_KVM_RIG=NAME the rig of that name is used and stays up: quicker while tests are written.
    """
    from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost, rig

    name = os.environ.get("VMOPS_TEST_KVM_RIG")
    keep = bool(name)
    # Of its own for each run: two runs on one machine must not take each other's rig down.
    name = name or f"it-{os.getpid() % 1_000_000}"
    try:
        rig("kvm", "up", "--name", name)
        rig("dhcp", "up", "--name", name)
        yield KvmHost(name)
    finally:
        if not keep:
            rig("kvm", "down", "--name", name)


@pytest.fixture(scope="session")
def other(kvm):
    """A second KVM host, to which VMs of the first can be moved."""
    from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import other_host

    with other_host(kvm) as found:
        yield found


@pytest.fixture(scope="session")
def servers():
    """The rig `database`: a PostgreSQL and a MariaDB server for all tests."""
    from ansible_collections.vmops.external_dhcp.tests.integration.databases import running_servers

    with running_servers("record") as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request, tmp_path):
    """An empty database of each kind."""
    from ansible_collections.vmops.external_dhcp.tests.integration.databases import Place

    if request.param == "sqlite":
        return Place("sqlite", f"sqlite:///{tmp_path}/record.db", None, tmp_path)
    server = request.getfixturevalue("servers")[request.param]
    one = Place(request.param, server.url, server, tmp_path)
    one.empty()
    return one
