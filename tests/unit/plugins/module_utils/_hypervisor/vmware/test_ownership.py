# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands against deleting a VM with its disks."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import ownership
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.ownership import DiskFiles, Owner, Owners


def vm(name: str, *chain: str, home: str | None = None, **more: t.Any) -> Owner:
    return Owner(f"vm-{name}", name, f"[store] {name}" if home is None else home, (DiskFiles("Hard disk 1", chain, **more),))


MINE = "[store] web1/web1.vmdk"


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (vm("db1", MINE), f"web1: Hard disk 1 ({MINE}) is also a disk of db1: detach it first"),
        (vm("db1", home="[store] web1"), f"web1: Hard disk 1 ({MINE}) lies in the folder of db1: detach it first"),
        (vm("db1", "[store] db1/db1.vmdk", MINE), f"web1: db1 is a linked clone of it and needs {MINE}: delete that one first"),
        (
            vm("db1", "[store] db1/db1.vmdk", "[store] web1/web1-000001.vmdk"),
            "web1: db1 are linked clones of it and need its disks: delete those first",
        ),
        (vm("db1", "[store] db1/db1.vmdk", "no location"), None),
        (vm("db1"), None),
        (vm("db1", "[store] db1/db1.vmdk", home=""), None),
    ],
)
def test_what_another_vm_has_or_needs(other: Owner, text: str | None) -> None:
    assert Owners([vm("web1", MINE), other]).problem_of("vm-web1") == text


def test_a_vms_own_snapshots_and_a_vm_that_nobody_sees_are_no_problem() -> None:
    owners = Owners([vm("web1", "[store] web1/web1-000001.vmdk", MINE), vm("far", home="")])
    assert owners.problem_of("vm-web1") is None
    assert owners.problem_of("vm-far") is None and owners.problem_of("vm-gone") is None


def test_a_first_class_disk_stays() -> None:
    text = Owners([vm("web1", MINE, first_class=True)]).problem_of("vm-web1")
    assert text is not None and "a first-class disk" in text


def test_each_vm_is_looked_at_a_few_times_however_many_others_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = ownership.folder_of
    monkeypatch.setattr(ownership, "folder_of", lambda file: asked.append(file) or real(file))
    vms = [vm(f"web{n}", f"[store] web{n}/web{n}.vmdk", "[store] debian/debian.vmdk") for n in range(500)]
    owners = Owners([*vms, vm("debian", "[store] debian/debian.vmdk")])
    assert [owners.problem_of(one.reference) for one in vms] == [None] * 500
    assert len(asked) <= 3 * 500
