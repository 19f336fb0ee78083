# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role, playbooks, module examples and inventory plugin through ansible-playbook, against libvirt's own test driver.

The test driver is a hypervisor inside the client library, with one running VM named test whose guest has 192.168.122.3.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml

pytest.importorskip("libvirt")

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(sys.executable).parent
MAC = "aa:bb:cc:dd:ee:ff"


class Site:
    """A folder with an inventory of one hypervisor, and what ansible-playbook says about it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.record = f"sqlite:///{folder}/record.db"
        self.hosts = folder / "hosts.yml"
        self.write(uri="test:///default")

    def write(self, **hypervisor: str) -> None:
        # ssh, as for somebody whose other plays log in to the hypervisors: nothing here may try to.
        variables = {"hypervisor": {"type": "kvm", **hypervisor}, "ansible_connection": "ssh", "ansible_host": "192.0.2.1"}
        self.hosts.write_text(yaml.safe_dump({"all": {"hosts": {"kvm01": {**variables, "external_dhcp_record": self.record}}}}))

    def run(self, playbook: str | list[t.Any], *words: str, code: int = 0) -> str:
        if not isinstance(playbook, str):
            path = self.folder / "play.yml"
            path.write_text(yaml.safe_dump(playbook, sort_keys=False))
            playbook = str(path)
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "EXTERNAL_DHCP_RECORD": self.record,
        }
        command = [str(PROGRAMS / "ansible-playbook"), "-i", str(self.hosts), playbook, *words]
        done = subprocess.run(
            command, check=False, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == code, done.stdout
        return done.stdout


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Site:
    return Site(tmp_path)


def play(*tasks: dict[str, t.Any], hosts: str = "kvm01") -> dict[str, t.Any]:
    return {"name": "Test", "hosts": hosts, "gather_facts": False, "tasks": list(tasks)}


def local_play(*tasks: dict[str, t.Any]) -> dict[str, t.Any]:
    """For modules used without the roles, which see to this themselves."""
    return {**play(*tasks), "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}


def changed(output: str) -> int:
    return int(re.findall(r"kvm01 +: ok=\d+ +changed=(\d+)", output)[-1])


def test_sync_then_tick_then_nothing_to_do(site: Site) -> None:
    assert changed(site.run("vmops.external_dhcp.sync_vms")) == 1
    assert "1 looked at, 1 found, 0 given up; nothing is waited for" in site.run("vmops.external_dhcp.tick_vm_ips")
    again = site.run("vmops.external_dhcp.sync_vms")
    assert changed(again) == 0
    again = site.run("vmops.external_dhcp.tick_vm_ips")
    assert changed(again) == 0 and "nothing is waited for" in again
    assert changed(site.run("vmops.external_dhcp.poll_vm_ips")) == 0


def test_every_round_tells_who_is_waited_for_and_the_end_who_was_given_up(site: Site) -> None:
    networks = json.dumps({"shared_networks": [{"name": "default", "cidr": "10.99.0.0/24", "vlan": 120}]})
    site.run("vmops.external_dhcp.sync_vms", "-e", networks)
    numbers = ["-e", "vm_ip_poll_interval=1", "-e", "vm_ip_poll_max_retry=2"]
    output = site.run("vmops.external_dhcp.poll_vm_ips", *numbers, code=2)
    line = (
        f"[kvm01]   waiting for test NIC 0 ({MAC}): filtered_out (tries left: 1), NIC {MAC} has 192.168.122.3, but that is not in"
    )
    assert line in output
    assert output.count("looking again in 1 s") == 1 and "RETRYING" not in output
    assert "No address was found, and all tries are used up" in output and "test NIC 0: filtered_out" in output
    # What was given up before does not fail the next poll.
    assert changed(site.run("vmops.external_dhcp.poll_vm_ips", *numbers)) == 0


def test_the_table_is_printed_as_it_is_also_for_those_who_want_no_results(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run("vmops.external_dhcp.sync_vms")
    monkeypatch.setenv("ANSIBLE_DISPLAY_OK_HOSTS", "no")
    # What was found is shown at the end.
    polled = site.run("vmops.external_dhcp.poll_vm_ips").splitlines()
    assert "[kvm01] 1 VM, 1 address" in polled and any(line.startswith("  test  running  0") for line in polled)
    monkeypatch.setenv("COLUMNS", "60")
    narrow = site.run("vmops.external_dhcp.list_vms").splitlines()
    (header,) = [line for line in narrow if line.startswith("  VM")]
    assert "SOURCE" not in header and len(header) <= 60
    assert any("192.168.122.3" in line and len(line) <= 60 for line in narrow)


@pytest.mark.parametrize("form", ["csv", "json", "yaml"])
def test_the_list_for_programs(site: Site, form: str) -> None:
    site.run("vmops.external_dhcp.sync_vms")
    site.run("vmops.external_dhcp.tick_vm_ips")
    output = site.run("vmops.external_dhcp.list_vms", "-e", f"format={form}")
    text = output[output.index("Show the VMs]") :].partition("\n")[2].partition("\nok: ")[0]
    if form == "csv":
        (row,) = csv.DictReader(io.StringIO(text))
    else:
        (row,) = {"json": json.loads, "yaml": yaml.safe_load}[form](text)
    assert (row["vm"], row["address"], row["fetch_state"]) == ("test", "192.168.122.3", "found")


def test_hosts_that_are_no_hypervisors_are_left_out_in_one_line(site: Site) -> None:
    hosts = yaml.safe_load(site.hosts.read_text())
    hosts["all"]["hosts"].update({f"web{number}": None for number in range(1, 9)})
    site.hosts.write_text(yaml.safe_dump(hosts))
    output = site.run("vmops.external_dhcp.sync_vms")
    assert output.count("have no variable hypervisor") == 1 and "web1, web2, web3, web4, web5 and 3 more" in output
    assert changed(output) == 1 and "failed=1" not in output
    nobody = site.run("vmops.external_dhcp.sync_vms", "--limit", "web1,web2", code=2)
    assert "No host of this play (web1, web2) has the variable hypervisor" in nobody
    role = {"ansible.builtin.include_role": {"name": "vmops.external_dhcp.vm_ip_poll", "tasks_from": "tick"}}
    alone = site.run([play(role, hosts="web1")], code=2)
    assert "this host has no variable hypervisor, which says how to reach it: set it in the inventory" in alone


def test_check_mode_does_not_wait(site: Site) -> None:
    networks = json.dumps({"shared_networks": [{"name": "default", "cidr": "10.99.0.0/24", "vlan": 120}]})
    site.run("vmops.external_dhcp.sync_vms", "-e", networks)
    output = site.run("vmops.external_dhcp.poll_vm_ips", "--check")
    assert "RETRYING" not in output and changed(output) == 0


def test_a_poll_of_named_vms_waits_for_no_other(site: Site) -> None:
    networks = json.dumps({"shared_networks": [{"name": "default", "cidr": "10.99.0.0/24", "vlan": 120}]})
    site.run("vmops.external_dhcp.sync_vms", "-e", networks)
    output = site.run("vmops.external_dhcp.poll_vm_ips", "-e", '{"vm_names": ["another"]}')
    assert "RETRYING" not in output and changed(output) == 0


def test_an_unreachable_hypervisor_fails_and_costs_no_try(site: Site) -> None:
    site.run("vmops.external_dhcp.sync_vms")
    site.write(uri="test:////nonexistent/driver.xml")
    output = site.run("vmops.external_dhcp.tick_vm_ips", code=2)
    assert "test:////nonexistent/driver.xml" in output and "hypervisor_unreachable" in output
    site.write(uri="test:///default")
    info = {"vmops.external_dhcp.vm_nic_record_info": {}, "register": "r"}
    listed = site.run([local_play(info, show("r.nics"))])
    assert '"tries_left": 10' in listed and '"last_reason": "hypervisor_unreachable"' in listed


def show(expression: str) -> dict[str, t.Any]:
    return {"ansible.builtin.debug": {"msg": "{{ %s }}" % expression}}


def test_a_vm_found_in_this_job_is_used_in_this_job(site: Site) -> None:
    inventory = site.folder / "vms.vm_nics.yml"
    inventory.write_text(f"plugin: vmops.external_dhcp.vm_nics\nrecord: {site.record}\n")
    role = {"ansible.builtin.include_role": {"name": "vmops.external_dhcp.vm_ip_poll", "tasks_from": "sync"}}
    tick = {"ansible.builtin.include_role": {"name": "vmops.external_dhcp.vm_ip_poll", "tasks_from": "tick"}}
    plays = [
        play(role, tick, {"ansible.builtin.meta": "refresh_inventory"}),
        play(show("inventory_hostname ~ ' is at ' ~ ansible_host ~ ' on ' ~ external_dhcp_hypervisor"), hosts="state_found"),
    ]
    assert "test.kvm01 is at 192.168.122.3 on kvm01" in site.run(plays, "-i", str(inventory))


def test_roles_leave_no_connection_variables_behind(site: Site) -> None:
    role = {"ansible.builtin.include_role": {"name": "vmops.external_dhcp.vm_ip_poll", "tasks_from": "tick"}}
    output = site.run([play(role, show("ansible_connection ~ ' ' ~ (ansible_python_interpreter is defined)"))])
    assert "ssh False" in output


@pytest.mark.parametrize("module", ["vm_nic_record", "vm_nic_record_info", "vm_ip_fetch"])
def test_the_examples_run(site: Site, module: str) -> None:
    source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
    tasks = yaml.safe_load(re.search(r'EXAMPLES = r"""(.*?)"""', source, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert len(tasks) >= 3
    for task in tasks:
        # For the sake of time; in these examples nobody is waited for.
        task.pop("delay", None)
        options = task.get(f"vmops.external_dhcp.{module}", {})
        if "watch" in options:
            options["watch"] = 1
    output = site.run([local_play(*tasks)], "-e", '{"shared_networks": ["default"]}')
    assert "failed=0" in output


def test_options_are_set_once_for_the_action_group(site: Site) -> None:
    one = local_play({"vmops.external_dhcp.vm_ip_fetch": {"hypervisor_name": "kvm01"}})
    one["module_defaults"] = {
        "group/vmops.external_dhcp.all": {"record": site.record, "hypervisor": {"type": "kvm", "uri": "test:///default"}}
    }
    assert "failed=0" in site.run([one])


def test_the_records_password_is_nowhere(site: Site) -> None:
    site.record = "postgresql://me:c4nary-word@127.0.0.1:1/x"
    site.write(uri="test:///default")
    pytest.importorskip("psycopg")
    output = site.run("vmops.external_dhcp.tick_vm_ips", "-vvv", "--diff", code=2)
    assert "cannot be reached" in output
    assert "c4nary-word" not in output.replace(f"EXTERNAL_DHCP_RECORD={site.record}", "")


def test_report_vms_writes_a_page_whatever_cannot_be_reached(site: Site) -> None:
    hosts = yaml.safe_load(site.hosts.read_text())
    known = hosts["all"]["hosts"]["kvm01"]
    known["shared_networks"] = [{"name": "default", "cidr": "192.168.122.0/24", "ip_range": "192.168.122.2-192.168.122.99"}]
    away = {"type": "xenserver", "host": "127.0.0.1", "port": 1, "username": "u", "password": "never-on-the-page"}
    hosts["all"]["hosts"]["xen01"] = {**known, "hypervisor": away}
    site.hosts.write_text(yaml.safe_dump(hosts))
    site.run("vmops.external_dhcp.tick_vm_ips", "--limit", "kvm01")
    output = site.run("vmops.external_dhcp.report_vms", "-e", f"report_file={site.folder}/page.html")
    assert "page.html: 1 VM, 1 address" in output and changed(output) == 1
    page = (site.folder / "page.html").read_text()
    assert all(text in page for text in (MAC, "192.168.122.3", "1 of 98 addresses", "127.0.0.1:1"))
    assert "never-on-the-page" not in page
    again = site.run("vmops.external_dhcp.report_vms", "-e", f"report_file={site.folder}/page.html", "--check")
    assert changed(again) == 0
    wrong = site.run("vmops.external_dhcp.report_vms", "-e", "report_file=/nowhere/page.html", code=2)
    assert "dest /nowhere/page.html: there is no folder /nowhere" in wrong


def test_diagnose_prints_verdicts_and_puts_them_on_the_page(site: Site) -> None:
    before = site.run("vmops.external_dhcp.diagnose", "-e", "diagnose_drives=none")
    assert "!! test  NIC 0 (aa:bb:cc:dd:ee:ff) is not in the record" in before and "next: the next look" in before
    site.run("vmops.external_dhcp.sync_vms")
    site.run("vmops.external_dhcp.tick_vm_ips")
    after = site.run(
        "vmops.external_dhcp.diagnose", "-e", "format=json", "-e", "diagnose_drives=none", "-e", "vm_names=test,nobody"
    )
    told = json.loads(after[after.index("\n{\n") : after.index("\n}\n") + 3])
    assert {vm["name"]: (vm["status"], vm["check"]) for vm in told["vms"]} == {"test": ("ok", None), "nobody": ("failed", "vm")}
    site.run("vmops.external_dhcp.diagnose", "-e", "diagnose_fail=true", "-e", "vm_names=nobody", code=2)
    site.run("vmops.external_dhcp.report_vms", "-e", f"report_file={site.folder}/page.html", "-e", "diagnose_report_all=true")
    assert "drive_present" in (site.folder / "page.html").read_text()
