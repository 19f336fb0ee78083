# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job with real guests: what a user runs, checked in the guest, at the DHCP server and in the record.

Guests take long to boot: the tests share two of them and build on each other, in this order.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import pathlib
import re
import secrets
import subprocess
import threading
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import content, retired
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.tests.integration.dns_site import DOMAIN, dns, dns_rig
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import ADDRESS, OTHER_ADDRESS, PATIENCE, KvmHost, wait_for
from ansible_collections.vmops.external_dhcp.tests.integration.made_passwords import Receiver
from ansible_collections.vmops.external_dhcp.tests.integration.watching import Watched, until

__all__ = ("dns",)  # a fixture

VMS = ("it-web1", "it-web2")


@dataclasses.dataclass
class Site:
    """The user's side: an inventory, the secrets in it, and the record."""

    kvm: KvmHost
    folder: pathlib.Path
    passwords: dict[str, str]
    keys: dict[str, str]
    inventory: pathlib.Path = pathlib.Path()
    record: str = ""

    def write(self) -> None:
        self.inventory = self.folder / "inventory.json"
        self.record = f"sqlite:///{self.folder / 'record.db'}"
        vms = [
            {
                "name": name,
                # The second is a q35 whose kernel does not see the CD/DVD drive on SATA.
                "template": self.kvm.status["TEMPLATE_Q35" if number else "TEMPLATE"],
                "networks": ["corp"],
                "password": self.passwords[name],
                "ssh_keys": [self.keys[name]],
                "user_data": {"role": "web", "number": str(number)},
            }
            for number, name in enumerate(VMS)
        ]
        host = {
            "hypervisor": self.kvm.hypervisor,
            "external_dhcp_record": self.record,
            "shared_networks": [
                {
                    "name": "corp",
                    "bridge": self.kvm.status["BRIDGE"],
                    "cidr": self.kvm.status["CIDR"],
                    "ip_range": self.kvm.status["DHCP_RANGE"],
                }
            ],
            "vms": vms,
            "vm_ip_poll_interval": 1,
            "vm_ip_poll_delay": 1,
            "vm_ip_poll_retries": 300,
            "vm_ip_poll_max_retry": 300,
            "vm_ip_poll_syslog": False,
        }
        self.inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}), encoding="utf-8")

    def play(self, name: str, *words: str, **extra: t.Any) -> t.Any:
        return self.kvm.playbook(name, self.inventory, *words, **extra)

    def rows(self, run_module: t.Any) -> dict[str, dict[str, t.Any]]:
        """The record's NICs by VM."""
        nics = run_module("vm_nic_record_info", {"record": self.record, "detail": True})["nics"]
        return {nic["vm_name"]: nic for nic in nics}


@pytest.fixture(scope="module")
def site(kvm: KvmHost, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    keys = {}
    for name in VMS:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True)
        keys[name] = (folder / f"{name}.pub").read_text().strip()
    site = Site(kvm, folder, {name: f"Pw-{secrets.token_hex(6)}" for name in VMS}, keys)
    site.write()
    yield site
    kvm.dhcp("start")
    for name in VMS:
        kvm.undefine(name)


@pytest.fixture(scope="module")
def deployed(site: Site) -> t.Any:
    """The two VMs, started while the DHCP server is down."""
    site.kvm.dhcp("stop")
    return site.play("deploy_vms", vm_wait=False).good()


def address(site: Site, run_module: t.Any, name: str, **options: t.Any) -> dict[str, t.Any]:
    options = {"hypervisor": site.kvm.hypervisor, "vms": [name], **options}
    return run_module("vm_ip_info", options)["vms"][0]["nics"][0]


def test_check_mode_of_a_first_run_changes_nothing(site: Site):
    def state() -> t.Any:
        return site.kvm.domains(), site.kvm.files(), site.kvm.pools(), pathlib.Path(site.record.split("///")[1]).exists()

    before = state()
    played = site.play("deploy_vms", "--check", "--diff").good()
    assert played.recap["changed"] > 0  # it says what it would do
    assert state() == before


def test_while_the_dhcp_server_is_down_the_reason_is_told_and_no_address_recorded(site: Site, deployed: t.Any, run_module: t.Any):
    assert deployed.recap["failed"] == 0

    def both_without_lease() -> bool:
        options = {"record": site.record, "hypervisor": site.kvm.hypervisor, "hypervisor_name": "kvm01", "interval": 1}
        result = run_module("vm_ip_fetch", {**options, "max_retry": 300, "syslog": False})
        assert result["found"] == [] and result["gave_up"] == []
        return [nic["reason"] for nic in result["waiting"]] == ["no_lease", "no_lease"]

    wait_for("both guests say that they have no address", both_without_lease)
    rows = site.rows(run_module)
    assert [rows[name]["ip4_address"] for name in VMS] == [None, None]
    assert "DHCP server" in rows[VMS[0]]["last_message"]


@pytest.mark.matrix(
    hypervisor="KVM", guest="Debian 12, BusyBox init", reader="our scripts", how="real", proves=["address: guest tools"]
)
def test_the_recorded_address_is_the_lease_of_the_external_server(site: Site, deployed: t.Any, run_module: t.Any):
    site.kvm.dhcp("start")
    played = site.play("poll_vm_ips").good()
    rows = site.rows(run_module)
    leases = site.kvm.leases()
    for name in VMS:
        assert rows[name]["ip4_address"] == leases[rows[name]["mac"]]
        assert (rows[name]["fetch_state"], rows[name]["source"]) == ("found", "agent")
    assert len({rows[name]["ip4_address"] for name in VMS}) == 2
    assert "changed=1" in played.output


def test_a_second_deployment_changes_nothing(site: Site, deployed: t.Any):
    before = {file: (site.kvm.images / file).stat().st_ino for file in site.kvm.files()}
    played = site.play("deploy_vms").good()
    assert played.recap["changed"] == 0
    assert {file: (site.kvm.images / file).stat().st_ino for file in site.kvm.files()} == before


def test_the_list_is_a_table_and_answers_questions(site: Site, deployed: t.Any, run_module: t.Any):
    rows = site.rows(run_module)
    table = site.play("list_vms", vm_names=list(VMS)).good().output
    for name in VMS:
        line = next(line for line in table.split("\n") if name in line and "running" in line)
        for word in (rows[name]["mac"], rows[name]["ip4_address"], site.kvm.status["BRIDGE"], "agent"):
            assert word in line
    answer = site.play("list_vms", vm_names=list(VMS), query="[?power_state=='running'].{who: vm, where: ip4_address}").good()
    assert f'"where": "{rows[VMS[1]]["ip4_address"]}"' in answer.output


def test_drives_are_for_qemu_alone(site: Site, deployed: t.Any):
    for name in VMS:
        status = (site.kvm.images / f"{name}.iso").stat()
        assert status.st_mode & 0o077 == 0


@pytest.mark.matrix(
    hypervisor="KVM",
    guest="Debian 12, BusyBox init",
    reader="our scripts",
    how="real",
    proves=["user data", "password", "SSH key"],
)
def test_the_guest_has_password_key_and_user_data_of_its_own_drive_only(site: Site, deployed: t.Any):
    name, other = VMS
    with site.kvm.console(name) as console:
        assert console.login("root", site.passwords[name])
        keys = console.run("cat /root/.ssh/authorized_keys")
        # The first of the guest's CD/DVD drives is empty, and no other device is a config drive.
        labels = console.run("for d in $(awk 'NR > 2 {print $4}' /proc/partitions); do blkid -o value -s LABEL -p /dev/$d; done")
        drive = console.run("mkdir -p /run/x; mount -r /dev/sr1 /run/x; cd /run/x; grep -r . cloudstack; cd /; umount /run/x")
        saved = console.run("cat /var/lib/config-drive/user-data")
        mounted = console.run("grep -c iso9660 /proc/mounts")
        console.leave()
    assert site.keys[name] in keys and site.keys[other].split()[1] not in keys
    assert labels.split().count("config") == 1
    assert site.passwords[name] in drive and "role=web" in drive and "number=0" in drive
    assert {"role=web", "number=0"} <= set(saved.split())
    assert site.passwords[other] not in drive and site.keys[other].split()[1] not in drive
    assert mounted.strip() == "0"  # the guest scripts left nothing mounted


def test_the_console_refuses_a_wrong_password_and_the_other_vms(site: Site, deployed: t.Any):
    assert not site.kvm.login(VMS[1], site.passwords[VMS[0]])
    assert site.kvm.login(VMS[1], site.passwords[VMS[1]])


def test_guest_agent_blocked_stopped_and_hanging(site: Site, deployed: t.Any, run_module: t.Any):
    name = VMS[1]
    agent = {"sources": ["agent"]}  # the guest's disk would tell the address
    good = address(site, run_module, name)
    assert good["ip4_address"] == site.kvm.leases()[good["mac"]]
    start = "qemu-ga -d -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0"
    with site.kvm.console(name) as console:
        assert console.login("root", site.passwords[name])
        stop = "pkill -KILL -x qemu-ga; while pgrep -x qemu-ga; do sleep 0.1; done; rm -f /run/qemu-ga.pid /var/run/qemu-ga.pid"
        console.run(f"{stop}; {start} --block-rpcs=guest-network-get-interfaces")
        blocked = wait_for("the agent refuses", lambda: _unless(address(site, run_module, name, **agent), "no_guest_tools"), 60)
        console.run("pkill -STOP -x qemu-ga")
        hangs = address(site, run_module, name, timeout=3, **agent)
        # The guest's silence keeps neither the other VM from being found nor the module's process from ending.
        both = site.kvm.module("vm_ip_info", {"hypervisor": site.kvm.hypervisor, "vms": list(VMS), "timeout": 3, **agent})["vms"]
        console.run(stop)
        stopped = wait_for("the agent is gone", lambda: _unless(address(site, run_module, name, **agent), "timeout"), 60)
        console.run(start)
        console.leave()
    assert (blocked["reason"], blocked["ip4_address"]) == ("guest_tools_blocked", None)
    assert "block-rpcs" in blocked["message"]
    assert (hangs["reason"], hangs["ip4_address"]) == ("timeout", None)
    assert (stopped["reason"], stopped["ip4_address"]) == ("no_guest_tools", None)
    assert "qemu-guest-agent" in stopped["message"]
    assert both[0]["nics"][0]["ip4_address"] is not None and both[1]["nics"][0]["reason"] == "timeout"
    wait_for("the agent answers again", lambda: address(site, run_module, name)["ip4_address"], 60)


def _unless(nic: dict[str, t.Any], passing: str) -> dict[str, t.Any] | None:
    return None if nic["reason"] in (passing, None) else nic


def test_what_the_guests_scripts_left_is_read_through_the_agent(site: Site, deployed: t.Any, run_module: t.Any):
    host = json.loads(site.inventory.read_text())["all"]["hosts"]["kvm01"]
    options = {"hypervisor": site.kvm.hypervisor, "hypervisor_name": "kvm01", "record": site.record}
    result = run_module("vm_diagnose", {**options, "networks": host["shared_networks"], "detail": True})
    assert {vm["name"] for vm in result["vms"]} >= set(VMS)
    assert not {vm["name"] for vm in result["vms"]} & {site.kvm.status["TEMPLATE"], site.kvm.status["TEMPLATE_Q35"]}
    for name in VMS:
        (found,) = [vm for vm in result["vms"] if vm["name"] == name]
        told = {check["check"]: (check["status"], check["message"]) for check in found["checks"]}
        assert told["scripts"] == ("ok", "the guest scripts have acted on the drive"), found


def test_a_changed_lease_reaches_dns_and_a_foreign_record_stays(site: Site, deployed: t.Any, dns: t.Any, run_module: t.Any):
    pytest.importorskip("dns")
    name, other = VMS
    server = {"host": dns_rig.ADDRESS, "port": dns.primary.port, "key_file": str(dns.keys["inside"])}
    extra = {"dns_servers": [server], "dns_domain": DOMAIN, "vm_ip_poll_recheck_interval": 1}

    def digs(*addresses: str) -> str:
        questions = [(f"{name}.{DOMAIN}", "A"), *(("-x", address) for address in addresses), (f"{other}.{DOMAIN}", "ANY")]
        return "".join(dns.dig("+noall", "+answer", *question) for question in questions)

    dns.nsupdate(f"zone {DOMAIN}\nupdate add {other}.{DOMAIN} 300 A 192.0.2.1")
    old, mac = (site.rows(run_module)[name][key] for key in ("ip4_address", "mac"))
    site.play("register_dns", **extra).good()
    before = digs(old)
    site.kvm.dhcp("reassign", "--mac", mac)
    with site.kvm.console(name) as console:
        assert console.login("root", site.passwords[name])
        # The client asks for its address again, as after a suspended night, and is refused it.
        console.run("pkill -x dhclient; for nic in /run/rig/eth*; do rm $nic; /usr/local/sbin/nic-up ${nic##*/}; done")
        console.leave()
    new = wait_for("the server gives another address", lambda: (found := site.kvm.leases().get(mac)) != old and found)

    def looked() -> bool:
        site.play("tick_vm_ips", **extra).good()
        return site.rows(run_module)[name]["ip4_address"] == new

    wait_for("a look finds the new address", looked)
    after = digs(old, new)
    print(f"--- dig before\n{before}--- dig after\n{after}")  # shown with pytest -s
    reverse = f"{name}.{DOMAIN}."
    assert old in before and before.count(reverse) >= 2
    assert f"A\t{new}" in after and old not in after and f"PTR\t{reverse}" in after
    foreign = [line for line in after.splitlines() if line.startswith(f"{other}.")]
    assert len(foreign) == 1 and foreign[0].endswith("A\t192.0.2.1"), after


def test_a_paused_vm_is_not_asked_and_its_drive_can_be_refreshed(site: Site, deployed: t.Any, run_module: t.Any):
    name = VMS[1]
    site.kvm.virsh("suspend", name)
    try:
        nic = address(site, run_module, name)
        entry = {"name": name, "metadata": {"local_hostname": "while-paused"}}
        options = {"hypervisor": site.kvm.hypervisor, "drives": [entry], "state": "updated"}
        result = run_module("vm_config_drive", options)["drives"][0]
    finally:
        site.kvm.virsh("resume", name)
    assert nic["reason"] == "vm_not_running" and "paused" in nic["message"]
    assert result["changed"] and not result["restart_required"]
    assert f"{name}.iso" in site.kvm.virsh("domblklist", name)


@pytest.mark.matrix(hypervisor="KVM", guest="Debian 12, BusyBox init", reader="our scripts", how="real", proves=["password"])
def test_a_reset_password_is_set_at_the_next_boot_and_the_rest_of_the_drive_kept(site: Site, deployed: t.Any):
    """One that is made, and handed out encrypted."""
    pytest.importorskip("cryptography")
    name = VMS[0]
    receiver = Receiver(site.folder)
    before = images.read((site.kvm.images / f"{name}.iso").read_bytes())
    old = site.passwords[name]
    output = site.play("reset_password", vm_names=[name], vm_password_public_key=receiver.public).good().output
    new = receiver.handed_out(name, output)
    assert new is not None and new not in output
    after = images.read((site.kvm.images / f"{name}.iso").read_bytes())
    changed = {path for path in before.files if before.files[path] != after.files.get(path)}
    assert set(before.files) == set(after.files) and all(re.search("pass|meta_data", path) for path in changed), changed
    assert site.kvm.login(name, new)
    assert not site.kvm.login(name, old)
    site.passwords[name] = new
    site.write()


def test_a_password_goes_off_the_drive_when_the_guests_mark_says_that_it_is_set(site: Site, deployed: t.Any):
    """The mark of the boot before this one names the new drive; the other VM's password stays, for its drive is another by now."""
    name, other = VMS
    drive = site.kvm.images / f"{name}.iso"
    before = images.read(drive.read_bytes())
    password = site.passwords[name]
    digest = images.digest_of(drive.read_bytes())
    site.kvm.agent_answers(name)
    assert site.kvm.agent(name, "cat /var/lib/config-drive/drive-seen").split()[::2] == ["0", digest]
    assert site.play("retire_passwords", "--check").good().recap["changed"] == 1 and images.read(drive.read_bytes()) == before
    retire = site.play("retire_passwords").good()
    assert retire.recap["changed"] == 1
    assert f'"{other}": "its guest has not said that it has set the password of this drive' in retire.output, retire.output
    after = images.read(drive.read_bytes())
    assert not any(password.encode() in data for data in after.files.values())
    assert retired.is_of(password, after.files.pop(content.RETIRED_PATH))
    gone = set(before.files) - set(after.files)
    assert gone and all(path.startswith("cloudstack/password/") for path in gone), gone
    # Neither another look nor a deployment with this very password in the inventory puts anything on the drive.
    left = drive.read_bytes()
    assert site.play("retire_passwords", vm_names=[name]).good().recap["changed"] == 0
    site.play("deploy_vms", vm_names=[name], vm_wait=False).good()
    assert drive.read_bytes() == left
    assert site.kvm.login(name, password)


def boot_id(host: KvmHost, name: str) -> str:
    """What the guest's kernel drew at its start, in Base64."""

    def ask(command: str, **arguments: t.Any) -> t.Any:
        words = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(host.virsh("qemu-agent-command", "--timeout", "60", name, words))["return"]

    handle = ask("guest-file-open", path="/proc/sys/kernel/random/boot_id")
    return str(ask("guest-file-read", handle=handle, count=64)["buf-b64"])


@contextlib.contextmanager
def looks_at_disks(host: KvmHost) -> t.Iterator[list[dict[str, t.Any]]]:
    """Reads the VMs' disks again and again until the block ends; what was seen of their NICs."""
    seen: list[dict[str, t.Any]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for vm in host.module("vm_ip_info", {"hypervisor": host.hypervisor, "vms": list(VMS), "sources": ["lease_file"]})[
                "vms"
            ]:
                seen.extend(vm["nics"])

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield seen
        finally:
            ended.set()
            looking.result()


def test_both_move_to_another_host_and_back_while_they_run(site: Site, deployed: t.Any, other: KvmHost, run_module: t.Any):
    """To a host with storage of its own: the drive goes along, and nothing stays where a VM was, though their disks are read meanwhile."""
    here = site.kvm
    here.dhcp("start")
    site.play("poll_vm_ips").good()
    leases = here.leases()
    drives = {name: (here.images / f"{name}.iso").read_bytes() for name in VMS}
    booted = {name: boot_id(here, name) for name in VMS}
    empty = {here.name: here.files() - {file for file in here.files() if file.startswith(VMS)}, other.name: other.files()}
    (host,) = json.loads(site.inventory.read_text())["all"]["hosts"].values()
    for number, (source, target, address) in enumerate(((here, other, OTHER_ADDRESS), (other, here, ADDRESS)), start=1):
        inventory = site.folder / f"move{number}.json"
        inventory.write_text(json.dumps({"all": {"hosts": {f"kvm0{number}": {**host, "hypervisor": source.hypervisor}}}}))
        where = {"uri": target.uri, "migrate_uri": f"tcp://{address}"}
        names = {"vm_names": list(VMS), "vm_destination": where, "vm_destination_name": f"kvm0{3 - number}"}
        with looks_at_disks(source) as seen:
            here.playbook("migrate_vms", inventory, **names).good()
        assert {nic["ip4_address"] for nic in seen} >= {leases[nic["mac"]] for nic in seen}, "read before they moved"
        assert all(nic["ip4_address"] in (None, leases[nic["mac"]]) for nic in seen), seen
        assert not source.domains() & set(VMS) and source.files() == empty[source.name], "nothing stays behind"
        for name in VMS:
            assert target.virsh("domstate", name) == "running" and boot_id(target, name) == booted[name]
            assert f"{name}.iso" in target.virsh("domblklist", name)
            assert (target.images / f"{name}.iso").read_bytes() == drives[name]
        if target.tls_uri:
            disks_over_tls(here, target, leases)
    site.play("poll_vm_ips").good()
    rows = site.rows(run_module)
    assert {name: rows[name]["ip4_address"] for name in VMS} == {name: here.leases()[rows[name]["mac"]] for name in VMS}
    assert here.login(VMS[0], site.passwords[VMS[0]])


def disks_over_tls(here: KvmHost, there: KvmHost, leases: dict[str, str]) -> None:
    """From the files of a storage pool, through libvirt; where no pool has them, the message says why not from QEMU."""
    options = {"hypervisor": {"type": "kvm", "uri": there.tls_uri}, "vms": [VMS[0]], "sources": ["lease_file"]}

    def look() -> dict[str, t.Any]:
        return there.module("vm_ip_info", options, ["ip", "netns", "exec", here.status["HYPERVISOR_NETNS"]])["vms"][0]["nics"][0]

    nic = look()
    assert (nic["ip4_address"], nic["source"]) == (leases[nic["mac"]], "lease_file"), nic
    there.virsh("pool-destroy", "default")
    try:
        nic = look()
    finally:
        there.virsh("pool-start", "default")
    assert nic["reason"] == "source_unavailable", nic
    assert (
        "no storage pool" in nic["message"] and "qemu+tls:// has no channel to QEMU's socket (qemu+ssh:// has)" in nic["message"]
    )


def test_a_stopped_vm_leaves_the_queue_and_a_started_one_enters_it(site: Site, deployed: t.Any, run_module: t.Any):
    name = VMS[1]
    site.play("stop_vms", vm_names=[name]).good()
    assert site.kvm.virsh("domstate", name) == "shut off"
    row = site.rows(run_module)[name]
    assert row["fetch_state"] == "stopped"
    assert address(site, run_module, name)["reason"] == "vm_not_running"
    site.play("start_vms", vm_names=[name]).good()
    row = site.rows(run_module)[name]
    assert (row["fetch_state"], row["tries_left"]) == ("pending", 10)
    site.play("poll_vm_ips", vm_names=[name]).good()
    row = site.rows(run_module)[name]
    assert row["ip4_address"] == site.kvm.leases()[row["mac"]]


def test_who_listens_is_told_of_lives_and_of_the_agent_that_comes(site: Site, deployed: t.Any):
    name = VMS[1]
    site.kvm.dhcp("start")
    watched = Watched(site.record, site.kvm.hypervisor, [site.kvm.status["BRIDGE"]], "kvm01")
    with watched.watching() as watcher:
        until(lambda: watched.listening(watcher), 60)
        site.kvm.virsh("destroy", name)
        until(lambda: (nic := watched.nic(name)) is not None and nic.fetch_state == "stopped", 60)
        site.kvm.virsh("start", name)
        until(lambda: (nic := watched.nic(name)) is not None and nic.fetch_state == "pending", 60)
        until(lambda: watched.address(name) is not None, PATIENCE)
        nic = watched.nic(name)
        assert nic is not None and nic.ip4_address == site.kvm.leases()[nic.mac]
        assert (nic.source, nic.tries_failed) == ("agent", 0)
    assert watcher.watch.poll.warnings == []
    watched.store.database.close()


def test_a_destroyed_vm_leaves_nothing_behind(site: Site, deployed: t.Any, run_module: t.Any):
    refused = site.play("destroy_vms")
    assert refused.returncode != 0 and "vm_names" in refused.output and site.kvm.domains() >= set(VMS)
    site.play("destroy_vms", vm_names=list(VMS)).good()
    assert not site.kvm.domains() & set(VMS)
    assert [file for file in site.kvm.files() if file.startswith(VMS)] == []
    assert site.rows(run_module) == {}
    again = site.play("destroy_vms", vm_names=list(VMS)).good()
    assert again.recap["changed"] == 0
