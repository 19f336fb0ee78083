# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMs chosen by tags of vSphere's tagging service, against the vCenter rig."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

VM = "DC0_C0_RP0_VM{}".format
LOGIN, LOGOUT = "POST /api/session", "DELETE /api/session"
CATEGORIES, TAGS = "GET /api/cis/tagging/category", "GET /api/cis/tagging/tag"
OBJECTS = "POST /api/cis/tagging/tag-association?action=list-attached-objects-on-tags"


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmtags", vms=4) as running, Admin(running) as admin:
        environment, team, many = admin.category("Env"), admin.category("Team"), admin.category("Many")
        admin.tag(environment, "prod", admin.vm(VM(0)), admin.vm(VM(1)), admin.datacenter)
        admin.tag(environment, "test", admin.vm(VM(2)))
        admin.tag(environment, "none")
        admin.tag(team, "web", admin.vm(VM(1)))
        admin.tag(team, "prod", admin.vm(VM(3)))
        for number in range(101):
            admin.tag(many, f"m{number}", admin.vm(VM(number % 4)))
        yield running


@pytest.fixture(autouse=True)
def _clean(rig: VCenterRig) -> t.Iterator[None]:
    rig.calls(reset=True)
    rig.revoke_sessions()
    yield
    rig.clear_faults()


def read(rig: VCenterRig, *patterns: str, **changes: t.Any) -> dict[str, tuple[str, ...] | None]:
    opened = open_hypervisor(rig.description(**changes))
    try:
        opened.inventory.tag_patterns = patterns
        return {vm.name: vm.tags for vm in opened.inventory.vms().vms}
    finally:
        opened.close()


def api_calls(rig: VCenterRig) -> list[str]:
    return [call for call in rig.journal() if " /api/" in call]


# --- what is read ---


def test_tags_of_one_category_in_one_session(rig: VCenterRig) -> None:
    assert read(rig, "Env/prod", "Env/t*") == {
        VM(0): ("Env/prod",),
        VM(1): ("Env/prod",),
        VM(2): ("Env/test",),
        VM(3): (),
    }
    calls = api_calls(rig)
    # Three categories' names, one category's three tags, and what has the two that fit.
    assert [calls[0], calls[1], calls[-2], calls[-1]] == [LOGIN, CATEGORIES, OBJECTS, LOGOUT]
    assert sum(call.startswith(f"{CATEGORIES}/") for call in calls) == 3
    assert sum(call.startswith(f"{TAGS}/") for call in calls) == 3
    assert len(calls) == 11
    assert rig.api_sessions() == 0


def test_tags_of_all_categories_come_in_parts(rig: VCenterRig) -> None:
    found = read(rig, "*/prod", "*/web", "Many/*")
    assert [tag for tag in found[VM(1)] or () if not tag.startswith("Many/")] == ["Env/prod", "Team/web"]
    assert [tag for tag in found[VM(3)] or () if not tag.startswith("Many/")] == ["Team/prod"]
    assert sum(tag.startswith("Many/") for tags in found.values() for tag in tags or ()) == 101
    assert rig.calls()[OBJECTS] == 2


def test_nothing_is_asked_without_a_pattern_for_tags(rig: VCenterRig) -> None:
    assert set(read(rig, "owner=*", "net=corp").values()) == {()}
    assert api_calls(rig) == []


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("web", "vm_filter has the tag web without its category: write Team/web"),
        ("prod", "vm_filter has the tag prod without its category: write one of Env/prod, Team/prod, or */prod for all of them"),
        (
            "Env/prd",
            "vm_filter has the tag Env/prd, which does not exist or is not visible to the account (that category has none, prod, test)",
        ),
        ("Envy/prod", "vm_filter has the tag Envy/prod, which does not exist"),
    ],
)
def test_a_tag_that_is_not_there(rig: VCenterRig, pattern: str, message: str) -> None:
    with pytest.raises(HypervisorError) as caught:
        read(rig, pattern)
    assert str(caught.value).startswith(f"{rig.facts['host']}:{rig.facts['port']}: {message}")
    assert rig.api_sessions() == 0


@pytest.mark.parametrize(
    ("method", "status", "message", "kind"),
    [
        (CATEGORIES, 404, "/api/cis/tagging/category, which tags in vm_filter need: HTTP 404", HypervisorUnreachable),
        (OBJECTS, 404, "list-attached-objects-on-tags, which tags in vm_filter need: HTTP 404", HypervisorUnreachable),
        (
            LOGIN,
            404,
            "tags in vm_filter need vCenter 7.0 Update 2 or later; choose VMs by names, folders, or custom",
            HypervisorError,
        ),
        (
            LOGIN,
            401,
            r"may log in at vCenter, but not at its Automation API \(/api/session\), which tags in vm_filter need",
            HypervisorError,
        ),
        (
            CATEGORIES,
            403,
            "may not read tags, which vm_filter has: give it the role Read-only as a global permission",
            HypervisorError,
        ),
        (LOGIN, 503, "/api/session, which tags in vm_filter need: HTTP 503; a new login was made", HypervisorUnreachable),
        (
            OBJECTS,
            500,
            "the tagging service, which tags in vm_filter need: HTTP 500; a new login was made",
            HypervisorUnreachable,
        ),
    ],
)
def test_a_service_that_refuses(rig: VCenterRig, method: str, status: int, message: str, kind: type[HypervisorError]) -> None:
    rig.fault(method, "status", status=status, count=-1)
    with pytest.raises(HypervisorError, match=message) as caught:
        read(rig, "Env/prod")
    assert caught.type is kind
    assert "rig-password" not in str(caught.value) and "api-session-" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "kind"), [(OBJECTS, "revoke"), (f"{TAGS}/*", "revoke"), (CATEGORIES, "reset"), (OBJECTS, "cut"), (LOGIN, "lost")]
)
def test_a_broken_session_is_made_anew(rig: VCenterRig, method: str, kind: str) -> None:
    rig.fault(method, kind, bytes=10)
    assert read(rig, "Env/prod")[VM(0)] == ("Env/prod",)
    assert rig.calls()[LOGIN] == 2
    # Nobody knows the session whose login's answer was lost.
    assert rig.api_sessions() == (1 if kind == "lost" else 0)


def test_a_tag_that_is_deleted_meanwhile(rig: VCenterRig) -> None:
    rig.fault(f"{TAGS}/*", "status", status=404)
    found = read(rig, "Many/*")
    assert sum(len(tags or ()) for tags in found.values()) == 100


@pytest.mark.parametrize("method", [f"{TAGS}/*", LOGOUT, LOGIN])
def test_a_service_that_is_slow(rig: VCenterRig, method: str) -> None:
    rig.fault(method, "delay", delay_ms=1500, count=-1)
    if method == LOGOUT:
        assert read(rig, "Env/prod", connect_timeout=0.5)[VM(0)] == ("Env/prod",)
        rig.clear_faults()
    else:
        with pytest.raises(HypervisorUnreachable, match=r"no answer .*within 0\.5 s \(hypervisor\.connect_timeout\)"):
            read(rig, "Env/prod", connect_timeout=0.5)


def test_a_host_without_a_vcenter() -> None:
    with VCenterRig("itvmtagsesx", vms=1, esx=True) as host:
        assert len(read(host, "owner=me")) == 1
        with pytest.raises(
            HypervisorError, match="vm_filter has the tag Env/prod, but only a vCenter has tags: connect to the one that"
        ):
            read(host, "Env/prod")


# --- one rule for sync, look and inventory ---


def run(tmp_path: pathlib.Path, program: str, *arguments: str, fails: bool = False) -> str:
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "EXTERNAL_DHCP_RECORD": f"sqlite:///{tmp_path}/record.db",
    }
    command = [str(pathlib.Path(sys.executable).with_name(program)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    assert "rig-password" not in done.stdout + done.stderr
    return done.stdout


def test_the_rule_is_the_same_for_sync_look_and_inventory(rig: VCenterRig, tmp_path: pathlib.Path) -> None:
    rule = {"tags": ["Env/*"], "exclude_tags": ["Team/web"]}
    host = {"hypervisor": rig.description(), "external_dhcp_vm_filter": rule}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"vc01": host}}}))
    (tmp_path / "ours.vm_nics.yml").write_text(json.dumps({"plugin": "vmops.external_dhcp.vm_nics", "vm_filter": rule}))
    play = ("-vvv", "-i", str(tmp_path / "hosts.json"))

    def hosts() -> set[str]:
        listed = json.loads(run(tmp_path, "ansible-inventory", "-i", str(tmp_path / "ours.vm_nics.yml"), "--list"))
        return set(listed["_meta"]["hostvars"])

    run(tmp_path, "ansible-playbook", *play, "vmops.external_dhcp.sync_vms")
    assert hosts() == {f"{VM(0)}.vc01", f"{VM(2)}.vc01"}
    # Somebody tags another VM: the next look takes it in.
    with Admin(rig) as admin:
        admin.tag(admin.category("Later"), "on", admin.vm(VM(3)))
    host["external_dhcp_vm_filter"] = {**rule, "tags": ["Env/*", "Later/on"]}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"vc01": host}}}))
    run(tmp_path, "ansible-playbook", *play, "vmops.external_dhcp.tick_vm_ips")
    (tmp_path / "ours.vm_nics.yml").write_text(
        json.dumps({"plugin": "vmops.external_dhcp.vm_nics", "vm_filter": host["external_dhcp_vm_filter"]})
    )
    assert hosts() == {f"{VM(0)}.vc01", f"{VM(2)}.vc01", f"{VM(3)}.vc01"}
    # A look that cannot read the tags changes nothing and says why.
    rig.fault(LOGIN, "status", status=404, count=-1)
    told = run(tmp_path, "ansible-playbook", *play, "vmops.external_dhcp.tick_vm_ips", fails=True)
    assert "tags in vm_filter need vCenter 7.0 Update 2 or later" in told
    assert hosts() == {f"{VM(0)}.vc01", f"{VM(2)}.vc01", f"{VM(3)}.vc01"}
