# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of the pages, run as they stand there; tests/unit/test_doc_commands.py sees that none is forgotten."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml

from ansible_collections.vmops.external_dhcp.tests.integration.dns_site import DOMAIN, dns, dns_rig
from ansible_collections.vmops.external_dhcp.tests.unit.doc_commands import PAGES, ROOT, commands

sys.path[:0] = [str(ROOT / "tests" / "rigs" / rig) for rig in ("vcenter", "xapi")]
from vcenter_admin import Admin
from vcenter_rig import VCenterRig
from xapi_rig.rigging import Rig

__all__ = ("dns",)  # a fixture


def run(command: str, folder: pathlib.Path) -> str:
    """Runs a line as a shell does that stands in this folder."""
    environment = {
        **os.environ,
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "VMOPS_RIG_DIR": str(folder),
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-6000:]}{done.stderr[-2000:]}"
    return done.stdout


def of_page(name: str) -> list[str]:
    return commands(PAGES[name])


def quick_start(host: str, folder: pathlib.Path, hypervisor: dict[str, t.Any], bridge: str, template: str = "") -> None:
    """The inventory of the page with one of its hosts: only where that hypervisor is, is another than on the page."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "quickstart.md").read_text(), re.MULTILINE | re.DOTALL)
    entry = yaml.safe_load(next(block for block in blocks if "all:" in block))["all"]["hosts"][host]
    entry |= yaml.safe_load(next(block for block in blocks if block.lstrip().startswith("vms:")))
    assert set(entry) == {"hypervisor", "shared_networks", "vms"} and hypervisor["type"] == entry["hypervisor"]["type"]
    assert set(entry["hypervisor"]) <= {*hypervisor, "username", "password", "ca_path", "datacenter"}
    entry["hypervisor"] = hypervisor
    entry["shared_networks"][0]["bridge"] = bridge
    entry["vms"][0]["ssh_keys"] = [f"ssh-ed25519 {base64.b64encode(_KEY).decode()} ops"]  # the page has dots, for one's own
    entry["vms"][0]["template"] = template or entry["vms"][0]["template"]
    # No guest is waited for here, which other tests do.
    entry |= {"external_dhcp_record": f"sqlite:///{folder}/record.db", "vm_ip_poll_syslog": False}
    entry |= {"vm_wait": False, "vm_shutdown_timeout": 0}
    (folder / "inventory.yml").touch(mode=0o600)
    (folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": {host: entry}}}))


def follow(folder: pathlib.Path, there: t.Callable[[], bool]) -> None:
    """Does what the page says. there: whether its VM exists."""
    told = {}
    for command in of_page("docs/quickstart.md"):
        before = there()
        told[command] = run(command, folder)
        assert there() == (
            "destroy_vms" not in command if "_vms" in command and "--check" not in command and command != LIST else before
        )
    assert "web1" in told[next(command for command in told if command.endswith("deploy_vms"))]


_KEY = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))
LIST = "ansible-playbook -i inventory.yml vmops.external_dhcp.list_vms"


def test_quick_start_on_xenserver_and_the_pages_about_what_is_wrong(tmp_path: pathlib.Path) -> None:
    (tmp_path / "rig").mkdir()
    with Rig(tmp_path / "rig").start() as rig:
        rig.vm("debian-12-template", template=True, cd="3")
        quick_start("pool1", tmp_path, rig.description(), "corp-vlan120")
        follow(tmp_path, lambda: any(vm["name_label"] == "web1" for vm in rig.pool.store.all("VM")))
        rig.power(rig.vm("web2"), "start")
        (diagnose,) = of_page("docs/troubleshooting.md")
        assert "web2" in run(diagnose, tmp_path)
        (report,) = of_page("docs/report.md")
        run(report.replace("/srv/www/", f"{tmp_path}/"), tmp_path)
        assert "web2" in (tmp_path / "vms.html").read_text()
        assert rig.pool.violations == []


def test_quick_start_on_vmware(tmp_path: pathlib.Path) -> None:
    with VCenterRig("itdocs", vms=1) as rig, Admin(rig) as admin:
        admin.clone("DC0_C0_RP0_VM0", "debian-12-template")
        admin.vm("debian-12-template").MarkAsTemplate()
        quick_start("vcenter1", tmp_path, rig.description(datacenter="DC0"), "VM Network")
        follow(tmp_path, lambda: rig.vm("web1") is not None)


def test_names_in_dns(dns: t.Any, tmp_path: pathlib.Path) -> None:
    """On libvirt's test driver, whose guest `test` has an address."""
    pytest.importorskip("dns")
    pytest.importorskip("libvirt")
    server = {"host": dns_rig.ADDRESS, "port": dns.primary.port, "key_file": str(dns.keys["inside"])}
    host = {
        "hypervisor": {"type": "kvm", "uri": "test:///default"},
        "external_dhcp_record": f"sqlite:///{tmp_path}/record.db",
        "shared_networks": [{"name": "default", "dns_domain": DOMAIN}],
        "vm_ip_poll_syslog": False,
        "dns_servers": [server],
    }
    (tmp_path / "inventory.yml").write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}))
    run("ansible-playbook -i inventory.yml vmops.external_dhcp.tick_vm_ips -e vm_ip_poll_dns=false", tmp_path)
    check, register = of_page("docs/dns.md")
    assert f"test.{DOMAIN}" in run(check, tmp_path) and dns.dig("+short", f"test.{DOMAIN}", "A").split("\n")[1:] == []
    run(register, tmp_path)
    assert dns.dig("+noall", "+answer", f"test.{DOMAIN}", "A").startswith(f"test.{DOMAIN}.")


def test_the_rig_of_xenserver(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    *use, down = of_page("tests/rigs/xapi/README.md")
    try:
        told = [run(command, tmp_path) for command in use]
    finally:
        run(down, tmp_path)
    assert json.loads(told[-1]) == {"ok": True, "result": []}
