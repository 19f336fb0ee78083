# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The intervals of guest agents. What starts xe-daemon is as in xe-guest-utilities (mk/), and in Alpine's package of it."""

from __future__ import annotations

import dataclasses
import pathlib
import sys

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import FolderFiles
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.intervals import TOOLS_CONF, Late, late
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.report import report
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.steps import Job, plan
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from good_system import WANTED, WANTS, build

Files = dict[str, "str | None"]
VMWARE = dataclasses.replace(WANTED, hypervisor="vmware")
XENSERVER = dataclasses.replace(WANTED, hypervisor="xenserver")
TOOLS: Files = {
    "usr/bin/vmtoolsd": "",
    "usr/lib/systemd/system/open-vm-tools.service": "[Service]\nExecStart=/usr/bin/vmtoolsd\n",
}
UNIT = """[Unit]
Description=Linux Guest Agent

[Service]
ExecStartPre=/usr/sbin/xe-linux-distribution /var/cache/xe-linux-distribution
ExecStart=/usr/sbin/xe-daemon

[Install]
WantedBy=multi-user.target"""
NAME = "xe-linux-distribution"
XE: Files = {
    "usr/sbin/xe-daemon": "",
    f"usr/lib/systemd/system/{NAME}.service": UNIT,
    f"{WANTS}/{NAME}.service": f"->/usr/lib/systemd/system/{NAME}.service",
}
DROP_IN = f"etc/systemd/system/{NAME}.service.d/zz-config-drive-interval.conf"
SYSV = """XE_DAEMON=/usr/sbin/xe-daemon
    if start-stop-daemon --start --background --exec ${XE_DAEMON} -- -p ${XE_DAEMON_PIDFILE} 1>/dev/null 2>/dev/null; then
        ( exec &>/dev/null ; ${XE_DAEMON} -p ${XE_DAEMON_PIDFILE} 2>/dev/null & )
"""
ALPINE = "XE_DAEMON=/usr/sbin/xe-daemon\n\t\t( exec &>/dev/null ; ${XE_DAEMON} -p ${XE_DAEMON_PIDFILE} & )\n"


def found(where: pathlib.Path, files: Files, wanted=VMWARE, init: str | None = None) -> Late | None:
    """What is late; a system in which that file is as it should be has nothing late."""
    system = System(FolderFiles(str(build(where, files))), init)
    told = late(system, wanted)
    if not told:
        return None
    (one,) = told
    steps = [step for step in plan(system, Job(wanted, {}, (), install=False)) if step.path == one.path]
    assert [(step.content, step.mode) for step in steps] == ([(one.content, one.mode)] if one.content is not None else [])
    for step in steps:
        path = where / step.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.content)
        assert late(system, wanted) == []
    return one


@pytest.mark.parametrize(
    ("text", "seconds", "after"),
    [
        (None, 30, "[guestinfo]\npoll-interval=5\n"),
        ("# ours\n[logging]\nlog = true\n", 30, "# ours\n[logging]\nlog = true\n[guestinfo]\npoll-interval=5\n"),
        (
            "[guestinfo]\n#poll-interval=2\nx=1\n[vmbackup]\n",
            30,
            "[guestinfo]\npoll-interval=5\n#poll-interval=2\nx=1\n[vmbackup]\n",
        ),
        ("[guestinfo]\npoll-interval = 60\n[guestinfo]\npoll-interval=0\n", 0, "[guestinfo]\npoll-interval=5\n[guestinfo]\n"),
        ("[appinfo]\npoll-interval=1\n", 30, "[appinfo]\npoll-interval=1\n[guestinfo]\npoll-interval=5\n"),
        ("[guestinfo]\npoll-interval=-1\n", 30, "[guestinfo]\npoll-interval=5\n"),
        ("[guestinfo]\npoll-interval=9999999\n", 30, "[guestinfo]\npoll-interval=5\n"),
    ],
)
def test_vmware_tools(text: str | None, seconds: int, after: str, tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, {**TOOLS, TOOLS_CONF: text})
    assert told == Late("VMware Tools", seconds, TOOLS_CONF, after)


@pytest.mark.parametrize("value", ["1", "5"])
def test_shorter_ones_stay(value: str, tmp_path: pathlib.Path) -> None:
    assert found(tmp_path, {**TOOLS, TOOLS_CONF: f"[guestinfo]\npoll-interval={value}\n"}) is None


def test_none_is_wanted(tmp_path: pathlib.Path) -> None:
    system = System(FolderFiles(str(build(tmp_path, TOOLS | XE))))
    for wanted in (VMWARE, XENSERVER):
        assert late(system, dataclasses.replace(wanted, agent_interval=0)) == []
    assert late(system, WANTED) == [], "QEMU's agent has no interval"
    assert late(system, dataclasses.replace(WANTED, hypervisor=None)) == []


def test_what_cannot_be_written_without_a_loss_is_told_and_stays(tmp_path: pathlib.Path) -> None:
    build(tmp_path, TOOLS)
    (tmp_path / TOOLS_CONF).parent.mkdir()
    (tmp_path / TOOLS_CONF).write_bytes(b"[logging]\n# \xff\n")
    (told,) = late(System(FolderFiles(str(tmp_path))), VMWARE)
    assert told.content is None
    told_of = report(FolderFiles(str(tmp_path)), VMWARE, None)
    assert told_of["system"]["agent_settings"] == []
    (problem,) = [entry for entry in told_of["problems"] if entry["check"] == "agent_interval"]
    assert problem["remedy"].startswith(f"look at /{TOOLS_CONF}")


@pytest.mark.parametrize(
    ("files", "seconds", "command"),
    [
        ({}, 60, "/usr/sbin/xe-daemon -i 5"),
        ({DROP_IN: "[Service]\nExecStart=\nExecStart=/usr/sbin/xe-daemon -i 20\n"}, 20, "/usr/sbin/xe-daemon -i 5"),
        (
            {
                f"etc/systemd/system/{NAME}.service.d/override.conf": "[Service]\nExecStart=\nExecStart=-/opt/xe-daemon --i=90 -d\n"
            },
            90,
            "-/opt/xe-daemon -d -i 5",
        ),
        ({f"usr/lib/systemd/system/{NAME}.service": UNIT.replace("xe-daemon", "xe-daemon -i 3")}, None, ""),
        ({f"usr/lib/systemd/system/{NAME}.service": UNIT.replace("xe-daemon", "other")}, None, ""),
    ],
)
def test_xe_daemon_under_systemd(files: Files, seconds: int | None, command: str, tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, {**XE, **files}, XENSERVER)
    if seconds is None:
        assert told is None
        return
    assert told is not None and (told.seconds, told.path) == (seconds, DROP_IN)
    assert told.content is not None and told.content.endswith(f"[Service]\nExecStart=\nExecStart={command}\n")


@pytest.mark.parametrize(("init", "script"), [("sysv", SYSV), ("openrc", ALPINE)])
def test_xe_daemon_of_init_scripts(init: str, script: str, tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, {"usr/sbin/xe-daemon": "", f"etc/init.d/{NAME}": script}, XENSERVER, init)
    assert told is not None and told.seconds == 60
    assert told.content == script.replace(" -p $", " -i 5 -p $")
    later = dataclasses.replace(XENSERVER, agent_interval=3)
    (again,) = late(System(FolderFiles(str(tmp_path)), init), later)
    assert (again.seconds, again.content) == (5, script.replace(" -p $", " -i 3 -p $"))


def test_an_init_script_of_another_kind_is_told(tmp_path: pathlib.Path) -> None:
    told = found(tmp_path, {"usr/sbin/xe-daemon": "", f"etc/init.d/{NAME}": "exec /usr/sbin/xe-daemon\n"}, XENSERVER, "sysv")
    assert told is not None and told.content is None


def test_the_problem_and_what_to_do_about_it(tmp_path: pathlib.Path) -> None:
    told = report(FolderFiles(str(build(tmp_path / "a", TOOLS))), VMWARE, None)
    assert [entry["check"] for entry in told["problems"]] == ["agent_interval"]
    assert (
        told["problems"][0]["message"]
        == "VMware Tools tells its addresses every 30 seconds, not every 5: a clone's is known late"
    )
    assert told["system"]["agent_settings"] == [
        {"path": f"/{TOOLS_CONF}", "content": "[guestinfo]\npoll-interval=5\n", "mode": "0644"}
    ]
    never = {**TOOLS, TOOLS_CONF: "[guestinfo]\npoll-interval=0\n"}
    (problem,) = report(FolderFiles(str(build(tmp_path / "b", never))), VMWARE, None)["problems"]
    assert problem["message"] == "VMware Tools tells its addresses never"
