# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How names get there: while a poll goes on, through playbooks without a secret getting out, and through files."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import typing as t

import pytest

pytest.importorskip("dns")

from ansible_collections.vmops.external_dhcp.tests.integration.canaries import Watcher
from ansible_collections.vmops.external_dhcp.tests.integration.dns_site import (
    COLLECTION,
    DOMAIN,
    ROOT,
    Site,
    database,
    dns,
    dns_rig,
    fakes,
    guest,
    site,
    wait_for_dns,
)

__all__ = ("dns", "site")  # fixtures


def test_a_poll_that_goes_on_brings_each_change_into_dns_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module with the option dns; while it looks, a guest's lease is changed, and another server does not answer."""
    module = importlib.import_module(f"{COLLECTION}.plugins.module_utils._module.vm_ip_fetch")
    web1 = guest(1, "10.99.0.57", name="web1")
    fake = fakes.FakeHypervisor([web1])
    monkeypatch.setattr(module, "open_hypervisor", lambda _given: fake)
    meanwhile = []
    real = module._look_and_watch

    def twice(store: t.Any, connect: t.Any, request: t.Any, log: t.Any, params: t.Any) -> t.Any:
        poll = real(store, connect, request, log, params)
        meanwhile.append(wait_for_dns(lambda: site.short(f"web1.{DOMAIN}", "A") == ["10.99.0.57"]))
        web1.answers = {0: ["10.99.0.58"]}
        later = dataclasses.replace(request, rearm=True)
        store.clock = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        real(store, connect, later, log, params)
        meanwhile.append(wait_for_dns(lambda: site.short("-x", "10.99.0.58") == [f"web1.{DOMAIN}."]))
        return poll

    monkeypatch.setattr(module, "_look_and_watch", twice)
    options = {
        "record": site.record,
        "hypervisor": {"type": "kvm", "uri": "test:///default"},
        "hypervisor_name": "kvm01",
        "networks": ["corp"],
        "recheck_interval": 1,
        "syslog": False,
        "dns": {"servers": [site.server(), site.server(port=1)], "domain": DOMAIN},
    }
    done = site.run_module("vm_ip_fetch", options)
    assert meanwhile == [True, True] and done["dns"]["changes"] == 5 and done["changed"]
    assert len(done["dns"]["problems"]) == 1 and "cannot be reached" in str(done["warnings"])
    assert site.short("-x", "10.99.0.57") == []
    assert (
        "no network has a domain"
        in site.run_module("vm_ip_fetch", {**options, "dns": {"servers": [site.server()]}}, fails=True)["msg"]
    )


def test_dnsmasq_reads_the_file(site: Site, tmp_path: pathlib.Path) -> None:
    site.guests = [guest(1, "10.99.0.57", "2001:db8::57", name="web1"), guest(2, "10.99.0.58", name="Web Server")]
    site.look()
    options = {"record": site.record, "path": str(tmp_path / "vms.hosts"), "domain": DOMAIN, "hypervisor_name": ["kvm01"]}
    assert site.run_module("vm_dns_file", options, check_mode=True)["changed"] and not (tmp_path / "vms.hosts").exists()
    first = site.run_module("vm_dns_file", options, diff=True)
    assert (
        first["changed"]
        and f"10.99.0.57 web1.{DOMAIN}" in first["diff"]["after"]
        and [c["reason"] for c in first["conflicts"]] == ["bad_name"]
    )
    assert not site.run_module("vm_dns_file", options)["changed"]
    port = dns_rig.librig_server.free_port()
    words = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--pid-file="]
    where = [f"--port={port}", "--listen-address=127.0.0.1", "--user=root", f"--addn-hosts={tmp_path / 'vms.hosts'}"]
    server = subprocess.Popen(["dnsmasq", *words, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def dig(*question: str) -> list[str]:
        command = ["dig", "@127.0.0.1", "-p", str(port), "+short", "+time=1", "+tries=1", *question]
        return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout.split()

    try:
        assert wait_for_dns(lambda: dig(f"web1.{DOMAIN}", "A") == ["10.99.0.57"])
        assert dig("-x", "10.99.0.57") == [f"web1.{DOMAIN}."] and dig(f"web1.{DOMAIN}", "AAAA") == ["2001:db8::57"]
        site.guests[0].answers = {0: ["10.99.0.60"]}
        site.look()
        site.run_module("vm_dns_file", {**options, "names": {"Web Server": "web2"}})
        server.send_signal(signal.SIGHUP)
        assert wait_for_dns(lambda: dig(f"web1.{DOMAIN}", "A") == ["10.99.0.60"]) and dig(f"web2.{DOMAIN}", "A") == ["10.99.0.58"]
    finally:
        server.terminate()
        server.wait()


def test_a_look_reaches_dns_at_once_and_no_secret_gets_out(site: Site, tmp_path: pathlib.Path) -> None:
    """Through the playbooks with -vvvv --diff, on libvirt's test driver, whose guest `test` has 192.168.122.3."""
    pytest.importorskip("libvirt")
    place = tmp_path / "place"
    (place / "tmp").mkdir(parents=True)
    secrets = [site.rig.secret(view) for view in dns_rig.VIEWS]
    outside = place / "outside.key"
    outside.touch(mode=0o600)
    outside.write_text(site.rig.keys["outside"].read_text())
    address = {"host": dns_rig.ADDRESS, "port": site.rig.primary.port}
    variables = {
        "hypervisor": {"type": "kvm", "uri": "test:///default"},
        "external_dhcp_record": f"sqlite:///{place}/record.db",
        "shared_networks": [{"name": "default", "dns_domain": DOMAIN}],
        "vm_ip_poll_syslog": False,
        "dns_servers": [
            {**address, "key_name": "inside-key", "key_secret": secrets[0]},
            {**address, "key_file": str(outside), "networks": ["default"]},
        ],
        "dns_files": [{"path": str(place / "vms.hosts")}, {"path": str(place / "vms.csv"), "format": "csv", "mode": "0640"}],
    }
    inventory = tmp_path / "inventory.json"
    inventory.touch(mode=0o600)
    inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": variables}}}))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOG_PATH": str(place / "log"),
        "HOME": str(place),
        "TMPDIR": str(place / "tmp"),
    }

    def play(*words: str) -> str:
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), *words, "-vvvv", "--diff"]
        done = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    watcher = Watcher(place, secrets, pause=0.3)
    watcher.start()
    try:
        outputs = [play("vmops.external_dhcp.tick_vm_ips", "vmops.external_dhcp.register_dns")]
        for view in dns_rig.VIEWS:
            assert site.short(f"test.{DOMAIN}", "A", view=view) == ["192.168.122.3"]
            assert site.short("-x", "192.168.122.3", view=view) == [f"test.{DOMAIN}."]
        hosts, table = place / "vms.hosts", place / "vms.csv"
        assert f"192.168.122.3 test.{DOMAIN}\n" in hosts.read_text() and hosts.stat().st_mode & 0o777 == 0o644
        assert f"test.{DOMAIN},192.168.122.3,3.122.168.192.in-addr.arpa,kvm01" in table.read_text()
        assert table.stat().st_mode & 0o777 == 0o640
        assert f"+test.{DOMAIN} 300 A 192.168.122.3" in outputs[0], "the diff"
        assert "PLAY [Register VMs in DNS]" in outputs[0] and " changed=3 " in outputs[0], (
            "the look, servers and files; then nothing more"
        )
        # The next look finds that the address is not in the network: lost, and out of DNS in the same run.
        record = database.Database(variables["external_dhcp_record"])
        record.run(
            lambda c: c.exec_driver_sql("UPDATE nics SET cidrs = '[\"10.99.0.0/24\"]', next_try_at = last_try_at"), write=True
        )
        record.close()
        settings = ("-e", "vm_ip_poll_recheck_interval=1", "-e", "vm_ip_poll_suspect_readings=1", "-e", "vm_ip_poll_watch=2")
        outputs.append(play("vmops.external_dhcp.tick_vm_ips", *settings, "-e", "dns_job=unregister"))
        assert site.zone() == site.zone(dns_rig.LIBVIRT) == site.zone(view="outside") == []
        assert "192.168.122.3" not in hosts.read_text() + table.read_text()
    finally:
        watcher.ended.set()
        watcher.join()
    found = {f"output {number}": watcher.marks_in(output.encode()) for number, output in enumerate(outputs)}
    found["log"] = watcher.marks_in((place / "log").read_bytes())
    found["processes and files"] = sorted(watcher.found)
    assert {where: what for where, what in found.items() if what} == {}
    assert watcher.whole and any("AnsiballZ" in line or "plugins.modules." in line for line in watcher.processes)


def test_without_servers_and_files_it_says_what_to_set(site: Site, tmp_path: pathlib.Path) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": {"hypervisor": {"type": "kvm", "uri": "test:///default"}}}}}))
    command = [
        str(pathlib.Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        str(inventory),
        "vmops.external_dhcp.register_dns",
    ]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 2 and "There is no DNS server and no file to register names in" in done.stdout
