# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vCenter rig is as strict as the product where the simulator behind it is not; else the tests on it prove little."""

from __future__ import annotations

import http.client
import pathlib
import ssl
import sys
import typing as t

import pytest

pytest.importorskip("pyVmomi")
from pyVmomi import vim

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

VM = "DC0_C0_RP0_VM0"
ISO = f"[LocalDS_0] {VM}/x.iso"


@pytest.fixture(scope="module", params=[False, True], ids=["rig", "bare"])
def rig(request: pytest.FixtureRequest) -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmstrict", vms=2, bare=request.param) as running:
        yield running


@pytest.fixture
def admin(rig: VCenterRig) -> t.Iterator[Admin]:
    with Admin(rig) as opened:
        yield opened


def put(rig: VCenterRig, path: str, cookie: str = "") -> int:
    facts = rig.facts
    context = ssl.create_default_context(cafile=facts["ca_path"])
    connection = http.client.HTTPSConnection(facts["host"], facts["port"], context=context, timeout=30)
    headers = {"Cookie": cookie} if cookie else {}
    connection.request("PUT", f"/folder/{path}?dcPath=DC0&dsName=LocalDS_0", body=b"data", headers=headers)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def expect(rig: VCenterRig, refused: type[Exception], action: t.Callable[[], object]) -> None:
    """The rig refuses; the simulator alone does not, which is why there is a rig."""
    if rig.facts["bare"]:
        action()
    else:
        with pytest.raises(refused):
            action()


def test_upload_needs_a_login_and_a_folder(rig: VCenterRig, admin: Admin) -> None:
    bare = rig.facts["bare"]
    cookie = admin.si._stub.cookie.split(";")[0]
    assert put(rig, f"{VM}/a.iso") == (200 if bare else 401)
    assert put(rig, "nowhere/a.iso", cookie) == (200 if bare else 404)
    assert put(rig, f"{VM}/b.iso", cookie) == (200 if bare else 201)
    assert put(rig, f"{VM}/b.iso", cookie) == 200


def test_drive_needs_its_file_and_cannot_be_hot_added_on_ide(rig: VCenterRig, admin: Admin) -> None:
    expect(rig, vim.fault.InvalidPowerState, lambda: admin.add_cd(VM, None))
    admin.power(VM, on=False)
    expect(rig, vim.fault.FileNotFound, lambda: admin.add_cd(VM, "[LocalDS_0] nothing.iso"))
    expect(rig, vim.fault.InvalidDeviceSpec, lambda: admin.add_cd(VM, None, controller=999))
    admin.power(VM, on=True)


def test_each_vm_has_a_mac_of_its_own(rig: VCenterRig) -> None:
    macs = [mac for vm in rig.vms() for mac in vm["macs"]]
    assert (len(set(macs)) == len(macs)) is not rig.facts["bare"]


def test_destroy_leaves_files_that_are_not_the_vms(rig: VCenterRig, admin: Admin) -> None:
    rig.file(ISO).write_bytes(b"data")
    admin.destroy(VM)
    assert rig.file(ISO).exists() is not rig.facts["bare"]


def test_big_answers_come_in_pages(rig: VCenterRig, admin: Admin) -> None:
    kind = vim.PropertyCollector
    view = admin.content.viewManager.CreateContainerView(admin.content.rootFolder, [vim.Datastore, vim.HostSystem], True)
    traversal = kind.TraversalSpec(type=vim.view.ContainerView, path="view", skip=False)
    spec = kind.FilterSpec(
        objectSet=[kind.ObjectSpec(obj=view, skip=True, selectSet=[traversal])],
        propSet=[kind.PropertySpec(type=vim.ManagedEntity, pathSet=["name"])],
    )
    answer = admin.content.propertyCollector.RetrievePropertiesEx([spec], kind.RetrieveOptions(maxObjects=2))
    assert bool(answer.token) is not rig.facts["bare"]
    names = [found.propSet[0].val for found in answer.objects]
    while answer.token:
        answer = admin.content.propertyCollector.ContinueRetrievePropertiesEx(answer.token)
        names += [found.propSet[0].val for found in answer.objects]
    assert sorted(names) == ["DC0_C0_H0", "DC0_C0_H1", "DC0_C0_H2", "LocalDS_0", "LocalDS_1"]
