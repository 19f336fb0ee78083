# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import pathlib
import sys

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import chroot, customize
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import FolderFiles
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.steps import (
    INSTALL,
    LINK,
    PUT,
    REMOVE,
    Impossible,
    Job,
    Step,
    plan,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from good_system import GOOD, SCRIPTS, UNIT, WANTED, WANTS, build

FILES = {f"usr/local/sbin/{name}": (text, 0o755) for name, text in SCRIPTS.items()}
JOB = Job(WANTED, {**FILES, "etc/systemd/system/config-drive.service": (UNIT, 0o644)}, ("config-drive",))


def steps_of(where: pathlib.Path, files: dict[str, str | None], job: Job = JOB, init: str | None = None) -> list[Step]:
    settings = {"etc/cloud/cloud.cfg.d/99-config-drive.cfg": None} | files
    return plan(System(FolderFiles(str(build(where, settings))), init), job)


def test_nothing_for_a_good_template_but_the_settings_it_lacks(tmp_path: pathlib.Path) -> None:
    steps = steps_of(tmp_path / "a", {})
    assert [(step.do, step.path) for step in steps] == [(PUT, "etc/cloud/cloud.cfg.d/99-config-drive.cfg")]
    assert steps_of(tmp_path / "b", {steps[0].path: steps[0].content}) == []


def test_packages_come_first(tmp_path: pathlib.Path) -> None:
    steps = steps_of(tmp_path, {"usr/sbin/qemu-ga": None, "usr/bin/cloud-init": None})
    assert steps[0] == Step(INSTALL, words=("qemu-guest-agent", "cloud-init"))


def test_no_package_is_said(tmp_path: pathlib.Path) -> None:
    job = dataclasses.replace(JOB, wanted=dataclasses.replace(WANTED, hypervisor="xenserver"))
    with pytest.raises(Impossible, match="debian has no package of the guest agent for xenserver"):
        steps_of(tmp_path / "a", {}, job)
    assert steps_of(tmp_path / "b", {}, dataclasses.replace(job, install=False))


def test_an_agent_is_unmasked_and_enabled(tmp_path: pathlib.Path) -> None:
    name = "qemu-guest-agent.service"
    steps = steps_of(tmp_path, {f"etc/systemd/system/{name}": "->/dev/null", f"{WANTS}/{name}": None})
    assert steps[0] == Step(REMOVE, f"etc/systemd/system/{name}")


def test_services_are_started(tmp_path: pathlib.Path) -> None:
    steps = steps_of(tmp_path / "a", {f"{WANTS}/config-drive.service": None, "etc/systemd/system/config-drive.service": None})
    assert Step(LINK, f"{WANTS}/config-drive.service", "/etc/systemd/system/config-drive.service") in steps
    job = Job(dataclasses.replace(WANTED, hypervisor=None), {"etc/init.d/config-drive": ("", 0o755)}, ("config-drive",))
    assert [step.path for step in steps_of(tmp_path / "b", {}, job, "openrc")][:2] == [
        "etc/init.d/config-drive",
        "etc/runlevels/default/config-drive",
    ]
    assert [step.path for step in steps_of(tmp_path / "c", {}, job, "sysv")][1:5] == [
        f"etc/rc{level}.d/S09config-drive" for level in "2345"
    ]


def test_what_two_clones_must_not_share_goes(tmp_path: pathlib.Path) -> None:
    files: dict[str, str | None] = {"etc/machine-id": "abc", "etc/hostname": "golden", "etc/ssh/ssh_host_rsa_key": "x"}
    steps = steps_of(tmp_path / "a", files)[1:]
    assert [(step.do, step.path) for step in steps] == [
        (REMOVE, "etc/ssh/ssh_host_rsa_key"),
        (PUT, "etc/machine-id"),
        (PUT, "etc/hostname"),
    ]
    job = dataclasses.replace(JOB, wanted=dataclasses.replace(WANTED, cleaned=False))
    assert len(steps_of(tmp_path / "b", files, job)) == 1


def test_a_system_with_selinux_is_labelled_anew(tmp_path: pathlib.Path) -> None:
    assert steps_of(tmp_path, {"etc/selinux/config": "SELINUX=enforcing\n"})[-1].path == ".autorelabel"


def test_words_for_virt_customize(tmp_path: pathlib.Path) -> None:
    steps = [
        Step(INSTALL, words=("a", "b")),
        Step(PUT, "etc/x y'z".replace(" y'z", ""), "text", 0o755),
        Step(LINK, "etc/l", "/etc/x"),
    ]
    assert customize.options([*steps, Step(REMOVE, "etc/ssh/key")], str(tmp_path)) == [
        *("--install", "a,b"),
        *("--mkdir", "/etc", "--upload", f"{tmp_path}/1:/etc/x", "--chmod", "0755:/etc/x"),
        *("--mkdir", "/etc", "--link", "/etc/x:/etc/l"),
        *("--delete", "/etc/ssh/key"),
    ]
    assert (tmp_path / "1").read_text() == "text"


@pytest.mark.parametrize("name", ["a*", "a b", "a:b", "a;reboot", "$(x)", "a\nb"])
def test_names_that_virt_customize_would_read_otherwise(name: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(chroot.Failed, match="remove it by hand"):
        customize.options([Step(REMOVE, f"var/lib/dhcp/{name}")], str(tmp_path))


def test_good_system_is_used() -> None:
    assert set(FILES) <= set(GOOD)
