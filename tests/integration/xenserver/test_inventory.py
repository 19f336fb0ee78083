# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMs, addresses, sessions and events of a XenServer pool, and what happens when something breaks."""

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import driver as xenserver

SOURCES = ["guest_metrics"]


def look(pool, names=None):
    """Observations by VM name."""
    return {o.vm.name: o for o in pool.addresses.read(pool.inventory.vms(names).vms, SOURCES, 10, 5.0)}


# -- inventory -----------------------------------------------------------------------------------------------------------


def test_vms_have_identity_power_and_nics(rig, connect):
    vm = rig.vm("web1", nics=2)
    rig.power(vm, "start")
    rig.vm("db1", nics=0)
    listed = connect().inventory.vms()
    assert [v.name for v in listed.vms] == ["db1", "web1"]
    assert listed.problems == {}
    web1 = listed.vms[1]
    assert (web1.id, web1.power_state) == (vm["uuid"], "running")
    macs = [rig.pool.store.get("VIF", r)["MAC"] for r in vm["VIFs"]]
    assert [(n.device, n.mac, n.network) for n in web1.nics] == [(0, macs[0], "corp-vlan120"), (1, macs[1], "corp-vlan130")]


def test_vms_have_their_tags(rig, connect):
    rig.pool.store.set(rig.vm("web1"), tags=["dhcp", "a\nb"])
    rig.vm("db1")
    assert [(v.name, v.tags) for v in connect().inventory.vms().vms] == [("db1", ()), ("web1", ("a\\nb", "dhcp"))]


def test_templates_snapshots_and_control_domains_are_no_vms(rig, connect):
    vm = rig.vm("web1")
    rig.add_templates(3)
    with rig.pool.store.changed:
        rig.snapshot(vm, "web1")
    pool = connect()
    assert [v.id for v in pool.inventory.vms().vms] == [vm["uuid"]]
    assert [v.id for v in pool.inventory.vms(["web1"]).vms] == [vm["uuid"]]


def test_a_template_is_found_by_its_name_only(rig, connect):
    rig.vm("debian-12", template=True)
    rig.vm("both", template=True)
    vm = rig.vm("both")
    pool = connect()
    assert [v.name for v in pool.inventory.vms().vms] == ["both"]
    listed = pool.inventory.vms(["debian-12", "both"])
    assert listed.problems == {}
    assert [v.name for v in listed.vms] == ["debian-12", "both"]
    assert listed.vms[1].id == vm["uuid"]


def test_named_vms_come_in_the_order_asked_and_the_rest_is_explained(rig, connect):
    for name in ("a", "b", "twin", "twin"):
        rig.vm(name)
    listed = connect().inventory.vms(["b", "ghost", "a", "twin"])
    assert [v.name for v in listed.vms] == ["b", "a"]
    assert set(listed.problems) == {"ghost", "twin"}
    assert "there is no VM ghost" in listed.problems["ghost"]
    assert "2 VMs" in listed.problems["twin"]
    assert "rename" in listed.problems["twin"]
    assert listed.ambiguous == {"twin"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [("Halted", "stopped"), ("Running", "running"), ("Paused", "paused"), ("Suspended", "suspended")],
)
def test_power_states(rig, connect, state, expected):
    rig.pool.store.set(rig.vm("web1"), power_state=state)
    assert connect().inventory.vms().vms[0].power_state == expected


def test_three_calls_for_any_number_of_vms(rig, connect):
    rig.add_templates(10)
    for number in range(60):
        vm = rig.vm(f"vm{number:02d}")
        rig.power(vm, "start")
        rig.pool.agent(vm, {"0/ip": f"10.99.0.{number + 1}"})
    pool = connect()
    found = look(pool)
    pool.close()
    assert len(found) == 60
    assert found["vm07"].readings[0].addresses == ("10.99.0.8",)
    assert rig.pool.calls == ["session.login_with_password", "event.from", "session.logout"]


def test_a_second_look_asks_for_changes_only(rig, connect):
    for number in range(20):
        rig.vm(f"vm{number:02d}")
    pool = connect()
    vms = pool.inventory.vms().vms
    list(pool.addresses.read(vms, SOURCES, 1, 1.0))
    rig.pool.bytes_in.clear()
    rig.power(next(o for o in rig.pool.store.all("VM") if o["name_label"] == "vm03"), "start")
    states = {o.vm.name: o.reason for o in pool.addresses.read(vms, SOURCES, 1, 1.0)}
    assert states["vm03"] == "no_guest_tools"
    assert states["vm04"] == "vm_not_running"
    assert rig.pool.bytes_in["answers"] < 60_000


# -- addresses -----------------------------------------------------------------------------------------------------------


def test_addresses_are_joined_to_the_vif_in_numeric_order(rig, connect):
    vm = rig.vm("web1", nics=3)
    rig.power(vm, "start")
    rig.pool.agent(
        vm,
        {
            "2/ip": "10.99.2.7",
            "2/ipv4/10": "10.99.2.30",
            "2/ipv4/2": "10.99.2.20",
            "2/ipv4/0": "10.99.2.7",
            "0/ipv6/0": "fe80:0000:0000:0000:0216:3eff:fe00:0100",
            "0/ip": "10.99.0.5",
        },
    )
    found = look(connect())["web1"]
    assert found.source == "guest_metrics"
    assert [(r.device, r.addresses) for r in found.readings] == [
        (0, ("10.99.0.5", "fe80:0000:0000:0000:0216:3eff:fe00:0100")),
        (2, ("10.99.2.7", "10.99.2.20", "10.99.2.30")),
    ]
    assert found.readings[1].mac == rig.pool.store.get("VIF", vm["VIFs"][2])["MAC"]


def test_an_interface_number_without_a_vif_is_left_to_the_policy(rig, connect):
    vm = rig.vm("old", nics=1)
    rig.power(vm, "start")
    rig.pool.agent(vm, {"160/ip": "10.99.0.9"})
    reading = look(connect())["old"].readings[0]
    assert (reading.device, reading.mac, reading.addresses) == (None, None, ("10.99.0.9",))


@pytest.mark.parametrize(
    ("networks", "options", "reason", "words"),
    [
        (None, {}, "no_guest_tools", "install"),
        ({}, {}, "no_lease", "reports no address"),
        ({"0/ip": "10.99.0.5"}, {"live": False}, "no_guest_tools", "stopped reporting"),
        ({"0/ip": "10.99.0.5"}, {"updated": "20200101T00:00:00Z"}, "no_guest_tools", "older than the VM's start"),
    ],
)
def test_what_cannot_be_trusted_is_not_shown(rig, connect, networks, options, reason, words):
    vm = rig.vm("web1")
    rig.power(vm, "start")
    if networks is not None:
        rig.pool.agent(vm, networks, **options)
    found = look(connect())["web1"]
    assert found.readings == ()
    assert found.reason == reason
    assert words in found.message


def test_a_halted_vm_shows_no_address_of_the_past(rig, connect):
    vm = rig.vm("web1")
    rig.power(vm, "start")
    rig.pool.agent(vm, {"0/ip": "10.99.0.5"})
    rig.power(vm, "stop")
    found = look(connect())["web1"]
    assert (found.reason, found.readings) == ("vm_not_running", ())


def test_hostile_guest_metrics_are_bounded(rig, connect):
    vm = rig.vm("evil", nics=1)
    rig.power(vm, "start")
    networks = {f"{n}/ip": "10.0.0.1" for n in range(5000)}
    networks.update({"../../etc/passwd": "x", "0/ip/extra": "y", "0/ipv4/99999999": "z", "": "q", "0/ipv4/7": "A" * 100_000})
    networks["0/ipv4/1"] = "10.99.0.6 10.99.0.7\n{{ lookup('pipe', 'id') }}"
    rig.pool.agent(vm, networks)
    rig.power(rig.vm("good"), "start")
    found = look(connect())
    assert len(found["evil"].readings) <= 512
    assert all(len(a) <= 1024 for r in found["evil"].readings for a in r.addresses)
    assert found["good"].reason == "no_guest_tools"


def test_dangling_references_are_no_error(rig, connect):
    vm = rig.vm("web1")
    rig.power(vm, "start")
    rig.pool.store.set(vm, guest_metrics="OpaqueRef:gone", VIFs=[*vm["VIFs"], "OpaqueRef:gone-too"])
    found = look(connect())["web1"]
    assert found.reason == "no_guest_tools"
    assert len(found.vm.nics) == 1


def test_a_vm_destroyed_meanwhile_is_one_vms_problem(rig, connect):
    gone, stays = rig.vm("gone"), rig.vm("stays")
    pool = connect()
    vms = pool.inventory.vms().vms
    list(pool.addresses.read(vms, SOURCES, 1, 1.0))
    rig.pool.store.remove(gone)
    reasons = {o.vm.name: o.reason for o in pool.addresses.read(vms, SOURCES, 1, 1.0)}
    assert reasons == {"gone": "vm_not_found", "stays": "vm_not_running"}
    assert stays["power_state"] == "Halted"


def test_an_unknown_source_says_so_for_each_vm(rig, connect):
    rig.vm("web1")
    pool = connect()
    (found,) = pool.addresses.read(pool.inventory.vms().vms, ["arp"], 1, 1.0)
    assert found.reason == "source_unavailable"
    assert "guest_metrics" in found.message


# -- sessions ------------------------------------------------------------------------------------------------------------


def test_a_pool_member_leads_to_the_master(rig, connect):
    rig.vm("web1")
    pool = connect(host="127.0.0.2")
    assert [v.name for v in pool.inventory.vms().vms] == ["web1"]
    assert pool.endpoint == f"https://127.0.0.1:{rig.pool.port}"


def test_a_new_master_is_followed_in_the_middle(rig, connect):
    rig.vm("web1")
    pool = connect()
    pool.inventory.vms()
    rig.pool.store.set(rig.pool.pool_obj(), master=rig.hosts["xen02"].ref)
    rig.vm("web2")
    assert [v.name for v in pool.inventory.vms().vms] == ["web1", "web2"]
    assert "127.0.0.2" in pool.endpoint


def test_the_originator_is_fixed(rig, connect):
    connect()
    assert set(rig.pool.open_sessions.values()) == {"vmops.external_dhcp"}


@pytest.mark.parametrize("host", ["https://127.0.0.1", "127.0.0.1", "https://127.0.0.1/"])
def test_the_host_may_be_an_https_url(rig, connect, host):
    rig.vm("web1")
    assert len(connect(host=host).inventory.vms().vms) == 1


@pytest.mark.parametrize("host", ["http://127.0.0.1", "ftp://x", "a b", "x/y"])
def test_anything_but_https_is_refused(rig, host):
    with pytest.raises(HypervisorError, match="always https"):
        xenserver.connect(rig.description(host=host))


def test_a_wrong_password_is_named_and_not_shown(rig):
    with pytest.raises(HypervisorUnreachable, match="hypervisor.password") as caught:
        xenserver.connect(rig.description(password="hunter2-secret"))
    assert "hunter2-secret" not in str(caught.value)


@pytest.mark.parametrize("option", ["host", "username", "password"])
def test_a_missing_option_is_named(rig, option, monkeypatch):
    for name in ("XENSERVER_HOST", "XENSERVER_USER", "XENSERVER_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HypervisorError, match=f"hypervisor.{option} is not set"):
        xenserver.connect(rig.description(**{option: None}))


def test_the_environment_fills_what_is_left_open(rig, connect, monkeypatch):
    monkeypatch.setenv("XENSERVER_HOST", "127.0.0.1")
    monkeypatch.setenv("XENSERVER_USER", "root")
    monkeypatch.setenv("XENSERVER_PASSWORD", rig.pool.password)
    assert connect(host=None, username=None, password=None).inventory.vms().vms == ()


def test_an_untrusted_certificate_is_refused_with_the_way_out(rig):
    with pytest.raises(HypervisorUnreachable, match="hypervisor.ca_path"):
        xenserver.connect(rig.description(ca_path=None))
    assert rig.pool.calls == []


def test_validate_certs_off_and_check_hostname_off(rig, connect):
    connect(ca_path=None, validate_certs=False).inventory.vms()
    connect(check_hostname=False).inventory.vms()


def test_a_certificate_for_another_name_is_explained(rig, connect, tmp_path):
    # xen02's certificate says 127.0.0.2, localhost and xen02; 127.0.0.3 reaches no host of this rig.
    from xapi_rig.server import HostServer, serve

    server = HostServer(rig.pool, rig.hosts["xen01"].ref, ("127.0.0.3", rig.pool.port), tmp_path / "tls" / "xen02.pem")
    serve(server)
    try:
        with pytest.raises(HypervisorUnreachable, match="check_hostname"):
            xenserver.connect(rig.description(host="127.0.0.3"))
        assert connect(host="127.0.0.3", check_hostname=False).inventory.vms().vms == ()
    finally:
        server.shutdown()
        server.server_close()


def test_a_ca_file_that_is_none(rig, tmp_path):
    (tmp_path / "bad.pem").write_text("no certificate")
    for path in (tmp_path / "bad.pem", tmp_path / "missing.pem"):
        with pytest.raises(HypervisorError, match="hypervisor.ca_path"):
            xenserver.connect(rig.description(ca_path=str(path)))


def test_nobody_there(rig):
    rig.stop()
    with pytest.raises(HypervisorUnreachable, match="the connection failed"):
        xenserver.connect(rig.description())


# -- breaking ------------------------------------------------------------------------------------------------------------


def test_a_killed_session_is_renewed(rig, connect):
    rig.vm("web1")
    pool = connect()
    vms = pool.inventory.vms().vms
    list(pool.addresses.read(vms, SOURCES, 1, 1.0))
    for ref in list(rig.pool.open_sessions):
        rig.pool.kill_session(ref)
    rig.power(rig.pool.store.by_uuid("VM", vms[0].id), "start")
    assert [o.reason for o in pool.addresses.read(vms, SOURCES, 1, 1.0)] == ["no_guest_tools"]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_cut_connection_is_made_anew_once(rig, connect, kind):
    rig.vm("web1")
    rig.pool.fault("event.from", kind)
    pool = connect()
    assert len(pool.inventory.vms().vms) == 1


def test_a_connection_cut_again_and_again_ends_in_one_sentence(rig, connect):
    rig.vm("web1")
    pool = connect()
    vms = pool.inventory.vms().vms
    list(pool.addresses.read(vms, SOURCES, 1, 1.0))
    rig.pool.fault("event.from", "drop_before", count=9)
    (found,) = pool.addresses.read(vms, SOURCES, 1, 1.0)
    assert found.reason == "hypervisor_unreachable"
    with pytest.raises(HypervisorUnreachable, match="event.from: the connection failed"):
        pool.inventory.vms()
    rig.pool.faults.clear()


def test_a_silent_server_costs_the_time_limit_once(rig, connect):
    pool = connect(connect_timeout=0.5)
    gate = threading.Event()
    rig.pool.fault("event.from", "wait", count=1)
    rig.pool.gates["event.from"] = gate
    try:
        with pytest.raises(HypervisorUnreachable, match="within 0.5 s"):
            pool.inventory.vms()
        assert rig.pool.calls.count("event.from") == 1
    finally:
        gate.set()


def test_xapi_refusing_is_one_sentence(rig, connect):
    rig.pool.fault("event.from", "error", error=["PERMISSION_DENIED", "no"])
    with pytest.raises(HypervisorError, match=r"event.from was refused: PERMISSION_DENIED \(no\)"):
        connect().inventory.vms()


def test_events_lost_means_reading_everything_again(rig, connect):
    rig.vm("web1")
    pool = connect()
    pool.inventory.vms()
    rig.vm("web2")
    rig.pool.fault("event.from", "error", error=["EVENTS_LOST"])
    assert [v.name for v in pool.inventory.vms().vms] == ["web1", "web2"]


def test_closing_twice_and_after_a_cut(rig, connect):
    pool = connect()
    rig.pool.fault("session.logout", "drop_after")
    pool.close()
    pool.close()


def test_no_answer_from_anything_that_is_not_xapi(rig, tmp_path):
    import http.server
    import ssl

    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"<html>hello</html>"
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: t.Any) -> None:
            pass

    for status, words in ((404, "is this a XenServer"), (200, "the connection failed")):
        server = http.server.HTTPServer(("127.0.0.1", 0), Page)
        server.status = status
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "tls" / "xen01.pem", tmp_path / "tls" / "xen01.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with pytest.raises(HypervisorUnreachable, match=words):
                xenserver.connect(rig.description(port=server.server_address[1]))
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
