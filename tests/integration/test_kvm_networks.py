# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared networks on a real libvirtd. No guest is booted; what a VM says by itself is its firmware's question for an address."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys
import typing as t
import xml.etree.ElementTree as ET

import libvirt
import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule


@pytest.fixture
def connection(kvm: KvmHost) -> t.Iterator[t.Any]:
    """A second client beside the one under test; what a test made goes at its end."""
    opened = libvirt.open(kvm.uri)
    before = {network.name() for network in opened.listAllNetworks(0)}
    yield opened
    for domain in opened.listAllDomains(0):
        if domain.name().startswith("net-"):
            domain.undefine()
    for network in opened.listAllNetworks(0):
        if network.name() not in before:
            if network.isActive():
                network.destroy()
            network.undefine()
    opened.close()


@pytest.fixture
def play(kvm: KvmHost, run_module: RunModule) -> t.Callable[..., dict[str, t.Any]]:
    def run(*networks: dict[str, t.Any], fails: bool = False, check_mode: bool = False, **more: t.Any) -> dict[str, t.Any]:
        options = {"hypervisor": kvm.hypervisor, "networks": list(networks), **more}
        return run_module("shared_network", options, fails=fails, check_mode=check_mode, diff=True)

    return run


def names(connection: t.Any) -> set[str]:
    return {network.name() for network in connection.listAllNetworks(0)}


def link(kvm: KvmHost, *words: str) -> None:
    subprocess.run(["ip", "-n", kvm.status["HYPERVISOR_NETNS"], "link", *words], check=True, capture_output=True, timeout=30)


def domain(name: str, network: str) -> str:
    return f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>24</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><interface type='network'><source network='{network}'/>
<model type='virtio'/></interface></devices></domain>"""


def test_networks_are_made_once_run_and_are_removed(kvm: KvmHost, connection: t.Any, play: t.Callable[..., t.Any]) -> None:
    entries = [
        {"name": "net-a", "vlan": 0, "bridge": kvm.status["BRIDGE"]},
        {"name": "net-b", "vlan": 120, "bridge": kvm.status["BRIDGE"], "host_vlan": True},
    ]
    told = play(*entries, check_mode=True)
    assert told["changed"] and not names(connection) & {"net-a", "net-b"}
    made = play(*entries)
    assert [network["changed"] for network in made["networks"]] == [True, True] and made["diff"] == told["diff"]
    network = connection.networkLookupByName("net-a")
    assert network.isActive() and network.autostart() and network.isPersistent()
    element = ET.fromstring(network.XMLDesc(0))
    assert element.find("forward").get("mode") == "bridge" and element.find("bridge").get("name") == kvm.status["BRIDGE"]
    assert not [tag for tag in ("ip", "dns", "vlan") if element.find(tag) is not None]
    assert not play(*entries)["changed"]
    # What was stopped or taken out of the start with libvirt is mended.
    network.destroy()
    network.setAutostart(False)
    mended = play(*entries)
    assert [network["changed"] for network in mended["networks"]] == [True, False]
    assert network.isActive() and network.autostart()
    assert play(*entries, state="absent", check_mode=True)["changed"] and "net-a" in names(connection)
    assert play(*entries, state="absent")["changed"] and not names(connection) & {"net-a", "net-b"}
    assert not play(*entries, state="absent")["changed"]


def test_a_tag_on_a_linux_bridge_is_refused_where_this_libvirt_cannot_give_it(
    kvm: KvmHost, connection: t.Any, play: t.Callable[..., t.Any]
) -> None:
    entry = {"name": "net-tagged", "vlan": 120, "bridge": kvm.status["BRIDGE"]}
    if connection.getLibVersion() >= 11_000_000:
        assert play(entry)["changed"] and not play(entry)["changed"]
        return
    told = play(entry, fails=True)
    assert "cannot tag VLAN 120" in told["msg"] and "openvswitch: true" in told["msg"] and "net-tagged" not in names(connection)
    # It is libvirt's own refusal, made before anything is changed and with a way out.
    with pytest.raises(libvirt.libvirtError, match="vlan"):
        connection.networkDefineXML(
            f"<network><name>net-raw</name><forward mode='bridge'/><bridge name='{kvm.status['BRIDGE']}'/>"
            "<vlan><tag id='120'/></vlan></network>"
        )


def test_the_definition_for_open_vswitch_is_one_that_libvirt_takes_and_nics_get_their_tag_from_it(
    kvm: KvmHost, connection: t.Any, play: t.Callable[..., t.Any]
) -> None:
    link(kvm, "add", "ovs0", "type", "veth", "peer", "name", "ovs0-end")
    try:
        entry = {"name": "net-ovs", "vlan": 130, "bridge": "ovs0", "openvswitch": True}
        assert play(entry)["changed"] and not play(entry)["changed"]
        element = ET.fromstring(connection.networkLookupByName("net-ovs").XMLDesc(0))
        assert element.find("virtualport").get("type") == "openvswitch" and element.find("vlan/tag").get("id") == "130"
        # A NIC that was tagged by itself is put on it.
        own = "<interface type='bridge'><source bridge='ovs0'/><virtualport type='openvswitch'/><vlan><tag id='42'/></vlan></interface>"
        vm = connection.defineXML(domain("net-vm", "x").replace("</devices>", f"{own}</devices>"))
        host = driver.connect({"uri": kvm.uri})
        try:
            (seen,) = host.inventory.vms(["net-vm"]).vms
            assert host.machines.set_nics(seen, [NicWanted("net-ovs"), NicWanted("net-ovs")]).error is None
            assert [nic.network for nic in host.inventory.vms(["net-vm"]).vms[0].nics] == ["net-ovs", "net-ovs"]
        finally:
            host.close()
        nics = ET.fromstring(vm.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).findall("devices/interface")
        assert [nic.get("type") for nic in nics] == ["network", "network"] and not [n for n in nics if n.find("vlan") is not None]
        vm.undefine()
        told = play({**entry, "vlan": 131}, fails=True)
        assert "on the Open vSwitch bridge ovs0, VLAN 130, and not on the Open vSwitch bridge ovs0, VLAN 131" in told["msg"]
    finally:
        link(kvm, "del", "ovs0")


#: Open vSwitch where libvirt looks for it, in the rig's own namespaces, with the datapath that needs no kernel module.
OPEN_VSWITCH = """
set -e
mkdir -p /run/openvswitch
mount -t tmpfs tmpfs /run/openvswitch
cd /run/openvswitch
ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server conf.db --remote=punix:db.sock --pidfile --detach --log-file=/dev/null
ovs-vsctl --no-wait init
ovs-vswitchd unix:db.sock --pidfile --detach --log-file=/dev/null
ovs-vsctl --timeout=30 add-br ovs1 -- set bridge ovs1 datapath_type=netdev
ip link add trunk type veth peer name trunk-ovs
ip link set trunk up
ip link set trunk-ovs up
ovs-vsctl --timeout=30 add-port ovs1 trunk-ovs
"""
OPEN_VSWITCH_END = """
cd /run/openvswitch
kill $(cat ovs-vswitchd.pid ovsdb-server.pid)
cd /
umount -l /run/openvswitch
ip link del trunk
ip link del ovs1 2>/dev/null || true
"""


def inside(kvm: KvmHost, script: str) -> str:
    """Runs a script as the rig's libvirtd would: with its network and its files."""
    words = ["nsenter", "--target", str(kvm.libvirtd_pid()), "--mount", "--net", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def tag_of_the_first_dhcp_question(kvm: KvmHost, seconds: float) -> int:
    """The VLAN tag of the first frame with a DHCP client's question that comes out of the switch's trunk."""
    listen = f"""
import socket, struct
trunk = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
trunk.bind(("trunk", 0))
trunk.setsockopt(263, 8, 1)  # PACKET_AUXDATA: where the kernel puts a tag that it took off
trunk.settimeout({seconds})
print("listening", flush=True)
while True:
    frame, ancillary, _flags, _address = trunk.recvmsg(2048, 256)
    if b"\\0D\\0C" in frame:  # ports 68 and 67
        tags = [struct.unpack("IIIHHHH", data[:20])[5] & 4095 for level, _kind, data in ancillary if level == 263]
        print(struct.unpack("!H", frame[14:16])[0] & 4095 if frame[12:14] == b"\\x81\\0" else max(tags, default=0))
        break
"""
    return int(inside(kvm, f"{sys.executable} -c '{listen}'").split()[-1])


def test_open_vswitch_tags_what_a_vm_sends(kvm: KvmHost, connection: t.Any, play: t.Callable[..., t.Any]) -> None:
    if shutil.which("ovs-vswitchd") is None:
        pytest.skip("Open vSwitch is not installed")
    inside(kvm, OPEN_VSWITCH)
    try:
        entry = {"name": "net-tagging", "vlan": 130, "bridge": "ovs1", "openvswitch": True}
        assert play(entry)["changed"] and not play(entry)["changed"]
        xml = domain("net-vm", "net-tagging").replace("</type>", "</type><boot dev='network'/>")
        vm = connection.defineXML(xml)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            heard = pool.submit(tag_of_the_first_dhcp_question, kvm, 90)
            vm.create()
            port = ET.fromstring(vm.XMLDesc(0)).find("devices/interface/target").get("dev")
            assert inside(kvm, f"ovs-vsctl get port {port} tag") == "130"
            assert heard.result() == 130
        vm.destroy()
        vm.undefine()
        assert play(entry, state="absent")["changed"]
        assert inside(kvm, "ovs-vsctl list-ports ovs1") == "trunk-ovs", "nothing of the VM is left in the switch"
    finally:
        inside(kvm, OPEN_VSWITCH_END)


def test_what_a_network_is_on_must_be_there_and_be_a_bridge(
    kvm: KvmHost, connection: t.Any, play: t.Callable[..., t.Any]
) -> None:
    try:
        connection.listAllInterfaces(0)
    except libvirt.libvirtError as error:
        pytest.skip(f"this libvirt does not tell the host's links: {error}")
    told = play(
        {"name": "net-x", "vlan": 0, "bridge": "br-nowhere"},
        {"name": "net-y", "vlan": 0},
        {"name": "net-z", "vlan": 0, "bridge": "lo"},
        {"name": "net-o", "vlan": 9, "bridge": kvm.status["BRIDGE"], "openvswitch": True},
        {"name": "net-there", "bridge": "br-nowhere"},
        fails=True,
    )
    x, y, z, o, there = (network["error"] for network in told["networks"])
    assert "there is no bridge of the KVM host br-nowhere" in x and kvm.status["BRIDGE"] in x
    assert "bridge is not set" in y and kvm.status["BRIDGE"] in y
    assert "lo is no Linux bridge" in z
    assert "is a Linux bridge, and not one of Open vSwitch" in o
    assert "there is no network br-nowhere" in there


def test_a_network_that_serves_its_vms_is_refused_with_the_remedy(connection: t.Any, play: t.Callable[..., t.Any]) -> None:
    connection.networkDefineXML(
        "<network><name>net-nat</name><forward mode='nat'/><ip address='192.168.177.1' netmask='255.255.255.0'><dhcp>"
        "<range start='192.168.177.2' end='192.168.177.9'/></dhcp></ip></network>"
    )
    for entry in ({"name": "net-nat"}, {"name": "net-nat", "vlan": 0, "bridge": "br0"}):
        told = play(entry, fails=True)
        assert "gives addresses by DHCP and is of forward mode nat" in told["msg"] and "net-undefine" in told["msg"]
    assert "net-nat" in names(connection) and not connection.networkLookupByName("net-nat").isActive()
    assert "gives addresses by DHCP" in play({"name": "net-nat", "vlan": 0}, state="absent", fails=True)["msg"]


def test_a_network_that_vms_are_on_stays_and_they_are_named(
    kvm: KvmHost, connection: t.Any, play: t.Callable[..., t.Any]
) -> None:
    entry = {"name": "net-used", "vlan": 0, "bridge": kvm.status["BRIDGE"]}
    play(entry)
    vm = connection.defineXML(domain("net-vm", "net-used"))
    told = play(entry, state="absent", fails=True)
    assert "net-used is used by net-vm: put these on another network, or destroy them, first" in told["msg"]
    assert connection.networkLookupByName("net-used").isActive()
    vm.undefine()
    assert play(entry, state="absent")["changed"]


def test_the_playbooks_make_a_network_tell_that_nothing_restarts_and_remove_it(
    kvm: KvmHost, connection: t.Any, tmp_path: pathlib.Path
) -> None:
    networks = [
        {
            "name": "net-play",
            "vlan": 0,
            "bridge": kvm.status["BRIDGE"],
            "ip_range": "10.99.0.50-10.99.0.150",
            "cidr": "10.99.0.0/24",
        },
        {"name": "net-other", "bridge": kvm.status["BRIDGE"], "ip_range": "10.99.0.100-10.99.0.200"},
    ]
    hosts = {"kvm01": {"hypervisor": kvm.hypervisor, "shared_networks": networks}}
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    restart = tmp_path / "restart.yml"
    restart.write_text(
        "[{hosts: all, gather_facts: false, tasks: [{name: Restart, ansible.builtin.include_role: "
        "{name: vmops.external_dhcp.shared_network, tasks_from: restart}}]}]"
    )
    made = kvm.playbook("make_networks", inventory).good()
    assert made.recap["changed"] == 1 and "net-play" in names(connection)
    assert "have addresses in common" in " ".join(made.output.split())
    assert kvm.playbook("make_networks", inventory).good().recap["changed"] == 0
    told = kvm.playbook(str(restart), inventory).good()
    assert told.recap["changed"] == 0 and "net-play, net-other: a shared network has no router" in " ".join(told.output.split())
    gone = kvm.playbook("remove_networks", inventory, "-e", "network_names=net-play").good()
    assert gone.recap["changed"] == 1 and "net-play" not in names(connection)
    assert "say which networks" in kvm.playbook("remove_networks", inventory).output
