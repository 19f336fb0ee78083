# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMs and addresses on VMware, against the vCenter rig."""

from __future__ import annotations

import contextlib
import pathlib
import select
import socket
import sys
import threading
import typing as t

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
    Observation,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

VM = "DC0_C0_RP0_VM{}".format


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmread", vms=12, nics=2, page_size=5) as running:
        yield running


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> t.Iterator[None]:
    yield
    if "rig" in request.fixturenames:
        used = request.getfixturevalue("rig")
        used.clear_faults()
        used.guests(
            *(
                {"vm": VM(n), "tools_running": "guestToolsNotRunning", "tools_version": "guestToolsNotInstalled"}
                for n in range(12)
            )
        )


@pytest.fixture
def driver(rig: VCenterRig) -> t.Iterator[t.Any]:
    opened = open_hypervisor(rig.description())
    yield opened
    opened.close()


def tools(vm: str, *nics: tuple[str, int, list[str]], running: str = "guestToolsRunning") -> dict[str, t.Any]:
    return {
        "vm": vm,
        "tools_running": running,
        "tools_version": "guestToolsCurrent",
        "nics": [
            {"mac": mac, "device_config_id": key, "connected": True, "addresses": [{"ip": a, "prefix": 24} for a in addresses]}
            for mac, key, addresses in nics
        ],
    }


def test_folders_and_custom_attributes(rig: VCenterRig) -> None:
    with Admin(rig) as admin:
        fields = admin.content.customFieldsManager
        vm, top = admin.vm(VM(3)), admin.datacenter.vmFolder
        fields.SetField(entity=vm, key=fields.AddCustomFieldDef(name="net", moType=vim.VirtualMachine).key, value="corp")
        WaitForTask(top.CreateFolder("tenant1").MoveIntoFolder_Task([vm]))
        opened = open_hypervisor(rig.description())
        opened.inventory.tag_patterns = ()
        found = {one.name: (one.folder, one.tags) for one in opened.inventory.vms().vms}
        opened.close()
        WaitForTask(top.MoveIntoFolder_Task([vm]))
    assert found[VM(3)] == ("/DC0/vm/tenant1", ("net=corp",))
    assert found[VM(4)] == ("/DC0/vm", ())


def read(description: dict[str, t.Any]) -> tuple[VmList, list[Observation]]:
    """What a task does: connect, list, ask, close."""
    opened = open_hypervisor(description)
    try:
        found = opened.inventory.vms()
        return found, list(opened.addresses.read(found.vms, ("tools",), 4, 10))
    finally:
        opened.close()


# --- connection ---


def test_certificate_is_verified_with_the_ca_file(rig: VCenterRig) -> None:
    with pytest.raises(HypervisorUnreachable, match=r"certificate is not trusted.*hypervisor\.ca_path"):
        open_hypervisor(rig.description(ca_path=rig.facts["other_ca_path"]))
    with pytest.raises(HypervisorUnreachable, match="certificate is not trusted"):
        open_hypervisor(rig.description(ca_path=None))
    open_hypervisor(rig.description(ca_path=rig.facts["other_ca_path"], validate_certs=False)).close()


def test_host_name_of_the_certificate_is_verified(rig: VCenterRig) -> None:
    forwarder = Forwarder("127.0.0.3", (rig.facts["host"], rig.facts["port"]))
    with forwarder, pytest.raises(HypervisorUnreachable, match="certificate is not trusted.*127.0.0.3"):
        open_hypervisor(rig.description(host="127.0.0.3", port=forwarder.port))


def test_wrong_password_is_said_without_showing_it(rig: VCenterRig) -> None:
    with pytest.raises(HypervisorUnreachable, match=r"login of .* was refused: check hypervisor\.username") as caught:
        open_hypervisor(rig.description(password="not-the-secret"))
    assert "not-the-secret" not in str(caught.value)


def test_nothing_listens(rig: VCenterRig) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.2", 0))
        with pytest.raises(HypervisorUnreachable, match="no connection: .*refused"):
            open_hypervisor(rig.description(port=unused.getsockname()[1]))


def test_server_that_accepts_and_says_nothing(rig: VCenterRig) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.2", 0))
        silent.listen()
        with pytest.raises(HypervisorUnreachable, match=r"no answer within 0\.3 s \(hypervisor\.connect_timeout\)"):
            open_hypervisor(rig.description(port=silent.getsockname()[1], connect_timeout=0.3))


def test_connection_through_a_proxy(rig: VCenterRig) -> None:
    with ConnectProxy() as proxy:
        opened = open_hypervisor(rig.description(proxy_host="127.0.0.1", proxy_port=proxy.port))
        try:
            vms = opened.inventory.vms().vms
            opened.drives.states(vms[:1])
        finally:
            opened.close()
    wanted = f"{rig.facts['host']}:{rig.facts['port']}"
    assert set(proxy.targets) == {wanted}
    assert len(proxy.targets) >= 2, "calls and files both go through the proxy"


def test_connection_from_the_environment_of_the_vmware_collections(rig: VCenterRig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fact in (("HOST", "host"), ("USER", "username"), ("PASSWORD", "password"), ("PORT", "port")):
        monkeypatch.setenv(f"VMWARE_{name}", str(rig.facts[fact]))
    opened = open_hypervisor({"type": "vmware", "validate_certs": True, "ca_path": rig.facts["ca_path"]})
    opened.close()
    assert opened.endpoint == f"{rig.facts['host']}:{rig.facts['port']}"


def test_sessions_are_ended(rig: VCenterRig) -> None:
    opened = open_hypervisor(rig.description())
    before = rig.sessions()
    opened.inventory.vms()
    opened.close()
    opened.close()
    assert rig.sessions() == before - 1


# --- VMs ---


def test_vms_with_their_nics(rig: VCenterRig, driver: t.Any) -> None:
    found = driver.inventory.vms()
    assert found.problems == {}
    assert [vm.name for vm in found.vms] == sorted(VM(n) for n in range(12))
    for vm in found.vms:
        truth = rig.vm(vm.name)
        assert vm.id == truth["instance_uuid"]
        assert vm.power_state == "running"
        assert [nic.mac for nic in vm.nics] == truth["macs"]
        assert [(nic.device, nic.network) for nic in vm.nics] == [(0, "DC0_DVPG0"), (1, "VM Network")]


def test_named_vms_in_the_order_asked_and_what_is_wrong_with_the_others(rig: VCenterRig, driver: t.Any) -> None:
    with Admin(rig) as admin:
        top = admin.datacenter.vmFolder
        other = top.CreateFolder("other")
        admin.clone(VM(0), "twice")
        admin.clone(VM(0), "twice", folder=other)
        admin.clone(VM(0), "a%2fb")
        admin.clone(VM(0), "golden").MarkAsTemplate()
        try:
            found = driver.inventory.vms([VM(3), "golden", "twice", "missing", VM(1), "a/b"])
            # A template is found by its name, for cloning it.
            assert [vm.name for vm in found.vms] == [VM(3), "golden", VM(1), "a/b"]
            assert found.vms[3].power_state == "stopped"
            assert "is a template" in str(driver.drives.states([found.vms[1]])[found.vms[1].id])
            assert set(found.problems) == {"twice", "missing"}
            assert "2 VMs" in found.problems["twice"] and "hypervisor.folder" in found.problems["twice"]
            assert "there is no VM missing" in found.problems["missing"]

            every = driver.inventory.vms()
            assert "golden" not in [vm.name for vm in every.vms] and "golden" not in every.problems
            # Among all VMs their ids tell them apart.
            assert [vm.name for vm in every.vms].count("twice") == 2 and found.ambiguous == {"twice"}
            assert every.problems == {} and every.ambiguous == frozenset()

            within = open_hypervisor(rig.description(datacenter="DC0", folder="other"))
            try:
                assert [vm.name for vm in within.inventory.vms().vms] == ["twice"]
            finally:
                within.close()
        finally:
            admin.destroy("twice", "a%2fb", "golden")  # both that are called twice


def test_folder_that_does_not_exist(rig: VCenterRig) -> None:
    opened = open_hypervisor(rig.description(folder="/DC0/vm/nowhere"))
    try:
        with pytest.raises(HypervisorError, match=r"hypervisor\.folder: .* has no folder DC0/vm/nowhere"):
            opened.inventory.vms()
    finally:
        opened.close()


def test_round_trips_do_not_depend_on_the_number_of_vms() -> None:
    counted = {}
    for number in (10, 230):
        with VCenterRig("itvmcount", vms=number, page_size=100) as rig:
            rig.calls(reset=True)
            found, observations = read(rig.description())
            assert len(found.vms) == len(observations) == number
            counted[number] = rig.calls()
    assert counted[10].get("ContinueRetrievePropertiesEx", 0) == 0
    # Two bulk reads (VMs, addresses) of 230 VMs at 100 a page.
    assert counted[230].pop("ContinueRetrievePropertiesEx") == 4
    assert counted[230] == counted[10]
    assert sum(counted[10].values()) <= 10


# --- addresses ---


def test_every_nic_by_its_mac_with_both_families(rig: VCenterRig, driver: t.Any) -> None:
    vm = driver.inventory.vms([VM(0)]).vms[0]
    first, second = vm.nics
    rig.guests(
        tools(
            vm.name,
            # In the guest's own order, with an interface of its own first.
            ("02:42:ac:11:00:02", -1, ["172.17.0.1"]),
            (second.mac.upper(), 4001, ["10.99.1.20", "fe80::1"]),
            (first.mac, 4000, ["fe80::2", "2001:db8::7", "10.99.0.7"]),
        )
    )
    (seen,) = driver.addresses.read([vm], ("tools",), 4, 10)
    assert seen.source == "tools" and seen.reason is None
    by_mac = {reading.mac: (reading.device, tuple(reading.addresses)) for reading in seen.readings}
    assert by_mac == {
        "02:42:ac:11:00:02": (None, ("172.17.0.1",)),
        second.mac: (1, ("10.99.1.20", "fe80::1")),
        first.mac: (0, ("fe80::2", "2001:db8::7", "10.99.0.7")),
    }


def test_dead_addresses_are_left_out(rig: VCenterRig, driver: t.Any) -> None:
    vm = driver.inventory.vms([VM(0)]).vms[0]
    guest = tools(vm.name, (vm.nics[0].mac, 4000, ["10.99.0.7", "10.99.0.8"]))
    guest["nics"][0]["addresses"][0]["state"] = "duplicate"
    guest["nics"][0]["addresses"][1]["state"] = "preferred"
    rig.guests(guest)
    (seen,) = driver.addresses.read([vm], ("tools",), 4, 10)
    assert [tuple(reading.addresses) for reading in seen.readings] == [("10.99.0.8",)]


def test_states_of_the_tools_are_reasons(rig: VCenterRig, driver: t.Any) -> None:
    with Admin(rig) as admin:
        admin.power(VM(4), on=False)
        gone = admin.clone(VM(0), "gone").name
        found = driver.inventory.vms([VM(1), VM(2), VM(3), VM(4), gone])
        admin.destroy(gone)
        rig.guests(
            tools(VM(2), running="guestToolsNotRunning"),
            tools(VM(3), (found.vms[2].nics[0].mac, 4000, [])),
        )
        try:
            seen = {o.vm.name: o for o in driver.addresses.read(found.vms, ("tools",), 4, 10)}
        finally:
            admin.power(VM(4), on=True)
    assert {name: o.reason for name, o in seen.items()} == {
        VM(1): "no_guest_tools",
        VM(2): "no_guest_tools",
        VM(3): "no_lease",
        VM(4): "vm_not_running",
        gone: "vm_not_found",
    }
    assert "not installed" in seen[VM(1)].message
    assert "does not run" in seen[VM(2)].message


def test_old_tools_with_one_address_only(rig: VCenterRig, driver: t.Any) -> None:
    rig.guests(dict(tools(VM(0)), ip="10.99.0.9"))
    (seen,) = driver.addresses.read(driver.inventory.vms([VM(0)]).vms, ("tools",), 4, 10)
    assert [(r.mac, r.device, tuple(r.addresses)) for r in seen.readings] == [(None, None, ("10.99.0.9",))]


def test_hostile_guest_data_stay_bounded_and_hide_no_other_vm(rig: VCenterRig, driver: t.Any, run_module: t.Any) -> None:
    vms = driver.inventory.vms([VM(0), VM(1)]).vms
    mac = vms[0].nics[0].mac
    rig.guests(
        {
            **tools(vms[0].name, (mac, 4000, ["10.99.0.7"] + [f"10.{n >> 8 & 255}.{n & 255}.1" for n in range(10000)])),
            "host_name": "web\x1b[2J\x00{{ 7 * 7 }}",
        },
        tools(vms[1].name, (vms[1].nics[0].mac, 4000, ["10.99.0.300", "<script>", "x" * 5000, "\x01\x02", "10.99.0.8"])),
    )
    seen = list(driver.addresses.read(vms, ("tools",), 4, 10))
    assert len(seen[0].readings[0].addresses) <= 64
    assert all(len(text) <= 64 for o in seen for r in o.readings for text in r.addresses)
    result = run_module(
        "vm_ip_info", {"hypervisor": rig.description(), "vms": [VM(0), VM(1)], "cidrs": {"DC0_DVPG0": ["10.99.0.0/24"]}}
    )
    assert [vm["nics"][0]["ip4_address"] for vm in result["vms"]] == ["10.99.0.7", "10.99.0.8"]


def test_vm_ip_info_says_why_there_is_no_address(rig: VCenterRig, run_module: t.Any) -> None:
    result = run_module("vm_ip_info", {"hypervisor": rig.description(), "vms": [VM(1), "missing"]})
    known, missing = result["vms"]
    assert {nic["reason"] for nic in known["nics"]} == {"no_guest_tools"}
    assert missing["name"] == "missing" and missing["reason"] == "vm_not_found"
    assert rig.sessions() == 0


# --- what breaks ---


@pytest.fixture
def quiet_read(rig: VCenterRig) -> tuple[list[tuple[str, str]], int]:
    """What a read gives when nothing breaks, and how many calls it takes."""
    rig.calls(reset=True)
    found, observations = read(rig.description())
    return [(o.vm.name, o.reason) for o in observations], sum(rig.calls().values())


def test_session_killed_before_any_call(rig: VCenterRig, quiet_read: tuple[list[tuple[str, str]], int]) -> None:
    expected, calls = quiet_read
    assert calls > 5
    for skip in range(calls):
        rig.clear_faults()
        rig.fault("*", "revoke", skip=skip)
        found, observations = read(rig.description())
        assert [(o.vm.name, o.reason) for o in observations] == expected, f"before call {skip}"
        assert rig.fault_hits() == 1


@pytest.mark.parametrize(
    "kind",
    [
        {"kind": "status", "status": 401},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "reset"},
        {"kind": "lost"},
        {"kind": "cut", "bytes": 700},
        {"kind": "fault", "fault": "NotAuthenticated"},
    ],
    ids=lambda k: "-".join(str(v) for v in k.values()),
)
def test_one_broken_call_is_met_by_one_new_login(
    rig: VCenterRig, quiet_read: tuple[list[tuple[str, str]], int], kind: dict[str, t.Any]
) -> None:
    expected, _calls = quiet_read
    for method in ("CreateContainerView", "RetrievePropertiesEx", "ContinueRetrievePropertiesEx"):
        rig.clear_faults()
        rig.calls(reset=True)
        rig.fault(method, **kind)
        found, observations = read(rig.description())
        assert [(o.vm.name, o.reason) for o in observations] == expected, method
        assert rig.calls()["Login"] == 2


@pytest.mark.parametrize(
    "kind", [{"kind": "status", "status": 503}, {"kind": "reset"}, {"kind": "fault", "fault": "NotAuthenticated"}]
)
def test_what_stays_broken_is_an_error_with_the_endpoint(rig: VCenterRig, kind: dict[str, t.Any]) -> None:
    rig.calls(reset=True)
    rig.fault("RetrievePropertiesEx", count=-1, **kind)
    with pytest.raises(HypervisorUnreachable, match=rf"{rig.facts['host']}:{rig.facts['port']}: .*new login"):
        read(rig.description())
    assert rig.calls()["Login"] == 2


def test_read_of_addresses_that_breaks_gives_a_reason_for_every_vm(rig: VCenterRig, driver: t.Any) -> None:
    vms = driver.inventory.vms().vms
    rig.fault("RetrievePropertiesEx", "status", status=503, count=-1)
    observations = list(driver.addresses.read(vms, ("tools",), 4, 10))
    assert [o.vm.name for o in observations] == [vm.name for vm in vms]
    assert {o.reason for o in observations} == {"hypervisor_unreachable"}
    rig.clear_faults()
    assert {o.reason for o in driver.addresses.read(vms, ("tools",), 4, 10)} == {"no_guest_tools"}


def test_slow_answer_ends_at_the_time_limit(rig: VCenterRig) -> None:
    opened = open_hypervisor(rig.description(connect_timeout=0.5))
    try:
        rig.fault("RetrievePropertiesEx", "delay", delay_ms=2000, count=-1)
        with pytest.raises(HypervisorUnreachable, match=r"no answer within 0\.5 s"):
            opened.inventory.vms()
    finally:
        rig.clear_faults()
        opened.close()


def test_missing_privilege_is_named(rig: VCenterRig, driver: t.Any) -> None:
    rig.fault("RetrievePropertiesEx", "fault", fault="NoPermission")
    with pytest.raises(HypervisorError, match="lacks the privilege VirtualMachine.Config.EditDevice"):
        driver.inventory.vms()


def test_stand_alone_esxi_host() -> None:
    with VCenterRig("itvmesx", vms=3, esx=True) as rig:
        found, observations = read(rig.description())
        assert [vm.name for vm in found.vms] == ["ha-host_VM0", "ha-host_VM1", "ha-host_VM2"]
        assert {o.reason for o in observations} == {"no_guest_tools"}


# --- helpers: a forwarder and a proxy ---


class Forwarder:
    """Passes connections on to another address."""

    def __init__(self, address: str, target: tuple[str, int]) -> None:
        self.target = target
        self.server = socket.create_server((address, 0))
        self.port = self.server.getsockname()[1]

    def __enter__(self) -> Forwarder:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.handle, args=(client,), daemon=True).start()

    def handle(self, client: socket.socket) -> None:
        self.join(client, self.target)

    @staticmethod
    def join(client: socket.socket, target: tuple[str, int]) -> None:
        with client, socket.create_connection(target) as server, contextlib.suppress(OSError):
            while True:
                ready, _w, _x = select.select([client, server], [], [])
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)


class ConnectProxy(Forwarder):
    """An HTTP proxy that knows CONNECT only."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", ("", 0))
        self.targets: list[str] = []

    def __enter__(self) -> ConnectProxy:
        super().__enter__()
        return self

    def handle(self, client: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(4096)
        method, target, _version = request.split(b"\r\n", 1)[0].decode().split(" ")
        assert method == "CONNECT"
        self.targets.append(target)
        host, _sep, port = target.rpartition(":")
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        self.join(client, (host, int(port)))


@pytest.mark.parametrize("call", ["RetrievePropertiesEx", "ContinueRetrievePropertiesEx"])
def test_an_object_that_vanishes_fails_no_read(call: str) -> None:
    with VCenterRig("itvmgone", vms=30, page_size=10) as rig:
        opened = open_hypervisor(rig.description())
        try:
            names = [vm.name for vm in opened.inventory.vms().vms]
            rig.fault(call, "fault", fault="ManagedObjectNotFound")
            assert [vm.name for vm in opened.inventory.vms().vms] == names
            rig.clear_faults()
            rig.fault(call, "fault", fault="ManagedObjectNotFound", skip=1)
            assert [vm.name for vm in opened.inventory.vms(names).vms] == names
        finally:
            opened.close()
