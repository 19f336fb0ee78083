# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Is the rig like XAPI? Clients that others wrote for real pools are run against it: they must find nothing odd."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest
import yaml

XEN_API = "xen-api@4.7.6"
FOLDER = "/opt/xensource/packages/iso/configdrive_iso"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "vmops-external-dhcp" / "npm"


@pytest.fixture(scope="session")
def xen_api() -> pathlib.Path:
    """A folder in which the npm client xen-api is installed; fetched once and kept."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed (tests/rigs/xapi/packages.txt)")
    folder = CACHE / XEN_API.replace("@", "-")
    if not (folder / "node_modules" / "xen-api").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", XEN_API]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            if os.environ.get("CI"):
                pytest.fail(f"npm could not install {XEN_API}: {done.stderr[-500:]}")
            pytest.skip(f"npm could not install {XEN_API}: {done.stderr[-500:]}")
    return folder


@pytest.mark.parametrize("transport", ["xml-rpc", "json-rpc", "auto"])
def test_the_npm_client_xen_api(rig, xen_api, transport):
    """Wire, events, tasks and the import handler, over both RPC forms."""
    vm = rig.vm("web1")
    rig.power(vm, "start")
    rig.pool.agent(vm, {"0/ip": "10.99.0.60"})
    script = pathlib.Path(__file__).parent / "witness" / "xen_api.mjs"
    url = f"https://127.0.0.1:{rig.pool.port}"
    arguments = [str(xen_api), url, "root", rig.pool.password, transport, "xen01", FOLDER]
    done = subprocess.run(
        ["node", str(script), *arguments], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["mac"] == rig.pool.store.get("VIF", vm["VIFs"][0])["MAC"]
    assert (seen["networks"], seen["power"], seen["location"]) == ({"0/ip": "10.99.0.60"}, "Running", "witness.iso")
    assert seen["errors"] == [["HANDLE_INVALID", "VM", "OpaqueRef:nope"], ["HANDLE_INVALID", "SR", seen["vdi"]]]
    assert (rig.iso_dir() / "witness.iso").read_bytes() == b"\7" * 409600
    rig.pool.calls[:] = [c for c in rig.pool.calls if c != "session_id in a URL"]  # that client's habit


# -- community.general ---------------------------------------------------------------------------------------------------


def play(rig, tmp_path, tasks: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Runs tasks of community.general's XenServer modules in one play; their results."""
    connection = {
        "hostname": f"https://127.0.0.1:{rig.pool.port}", "username": "root", "password": rig.pool.password, "validate_certs": True,
    }  # fmt: skip
    entries: list[dict[str, t.Any]] = []
    for number, task in enumerate(tasks):
        name, options = next(iter(task.items()))
        entries.append({f"community.general.{name}": {**connection, **options}, "register": f"result_{number}"})
    results = "{{ [" + ", ".join(f"result_{n}" for n in range(len(tasks))) + "] | to_json }}"
    entries.append({"ansible.builtin.copy": {"dest": str(tmp_path / "results.json"), "content": results, "mode": "0600"}})
    playbook = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": entries}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(playbook))
    # These modules take no CA file; Python's own variable for it is honoured.
    env = {**os.environ, "SSL_CERT_FILE": str(rig.ca), "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_FORCE_COLOR": "0"}
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(tmp_path / "play.yml")]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((tmp_path / "results.json").read_text())


def test_community_general_reads_makes_starts_and_deletes_vms(rig, tmp_path):
    vm = rig.vm("web1")
    rig.vm("debian-12", template=True)
    rig.power(vm, "start")
    rig.pool.agent(vm, {"0/ip": "10.99.0.60", "0/ipv6/0": "fd00::60"})
    results = play(
        rig,
        tmp_path,
        [
            {"xenserver_guest_info": {"name": "web1"}},
            {"xenserver_guest": {"name": "web9", "template": "debian-12", "networks": [{"name": "corp-vlan130"}]}},
            {"xenserver_guest_powerstate": {"name": "web9", "state": "powered-on"}},
            {"xenserver_guest_info": {"name": "web9"}},
            {"xenserver_guest": {"name": "web9", "state": "absent", "force": True}},
        ],
    )
    network = results[0]["instance"]["networks"][0]
    mac = rig.pool.store.get("VIF", vm["VIFs"][0])["MAC"]
    assert (network["ip"], network["ip6"], network["mac"], network["name"]) == ("10.99.0.60", ["fd00::60"], mac, "corp-vlan120")
    assert results[3]["instance"]["state"] == "poweredon"
    assert results[3]["instance"]["networks"][0]["name"] == "corp-vlan130"
    assert results[4]["changed"]
    assert "web9" not in [o["name_label"] for o in rig.pool.store.all("VM")]


def test_community_general_inserts_a_drive_that_ours_made(rig, connect, iso, tmp_path):
    """xenserver_guest finds a CD by the VDI's name and uses the first drive: ours must look like any other ISO."""
    rig.vm("web1")
    reader = rig.vm("reader", cd="1")
    pool = connect()
    (vm,) = pool.inventory.vms(["web1"]).vms
    pool.drives.put_one(vm, iso(vm))
    results = play(
        rig,
        tmp_path,
        [
            {"xenserver_guest": {"name": "reader", "cdrom": {"type": "iso", "iso_name": "web1.iso"}}},
            {"xenserver_guest_info": {"name": "reader"}},
            {"xenserver_guest": {"name": "reader", "cdrom": {"type": "none"}}},
        ],
    )
    assert results[0]["changed"]
    assert results[1]["instance"]["cdrom"] == {"type": "iso", "iso_name": "web1.iso"}
    assert results[2]["changed"]
    (cd,) = [rig.pool.store.get("VBD", r) for r in reader["VBDs"] if rig.pool.store.get("VBD", r)["type"] == "CD"]
    assert cd["empty"]
