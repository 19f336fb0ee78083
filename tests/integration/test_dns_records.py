# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of VMs in a real BIND with two views and a secondary. With `pytest -s` it prints what dig says, and figures."""

from __future__ import annotations

import importlib
import pathlib
import time
import typing as t

import pytest

pytest.importorskip("dns")

from ansible_collections.vmops.external_dhcp.tests.integration.dns_site import (
    COLLECTION,
    DOMAIN,
    Site,
    database,
    dns,
    dns_rig,
    guest,
    site,
    stores,
)

__all__ = ("dns", "site")  # fixtures

MARK = r'"external-dhcp=1 owner='


def test_a_pair_is_registered_followed_and_removed(site: Site) -> None:
    web1 = guest(1, "10.99.0.57", "2001:db8::57", name="web1")
    site.guests = [web1]
    site.look()
    print("\nbefore:", site.rig.dig("+noall", "+comments", f"web1.{DOMAIN}", "A"))
    assert "NXDOMAIN" in site.rig.dig(f"web1.{DOMAIN}", "A")

    done = site.register(diff=True)
    assert done["changed"] and done["pairs"] == 2 and done["conflicts"] == [] and done["transferred"]
    assert {change["name"]: change["change"] for change in done["changes"]} == {
        f"web1.{DOMAIN}": "added",
        "57.0.99.10.in-addr.arpa": "added",
        "7.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": "added",
    }
    assert f"web1.{DOMAIN} 300 A 10.99.0.57\n" in done["diff"]["after"] and done["diff"]["before"] == ""
    print(
        "found:", site.rig.dig("+noall", "+answer", f"web1.{DOMAIN}", "A"), site.rig.dig("+noall", "+answer", "-x", "10.99.0.57")
    )
    assert site.short(f"web1.{DOMAIN}", "A") == ["10.99.0.57"]
    assert site.short(f"web1.{DOMAIN}", "AAAA") == ["2001:db8::57"]
    assert site.short("-x", "10.99.0.57") == site.short("-x", "2001:db8::57") == [f"web1.{DOMAIN}."]
    (mark,) = site.short(f"_external-dhcp.web1.{DOMAIN}", "TXT")
    assert mark.startswith(MARK) and "web1" not in mark

    again = site.register()
    assert not again["changed"] and again["transactions"] == 0 and again["pairs"] == 2

    web1.answers = {0: ["10.99.0.58", "2001:db8::57"]}
    site.look()
    changed = site.register(changed_within=1800)
    print(
        "after the lease change:",
        site.rig.dig("+noall", "+answer", f"web1.{DOMAIN}", "A"),
        site.rig.dig("+noall", "+answer", "-x", "10.99.0.58"),
    )
    assert not changed["transferred"], "a few names are asked for one by one"
    assert {(change["name"], change["change"]) for change in changed["changes"]} == {
        (f"web1.{DOMAIN}", "changed"),
        ("58.0.99.10.in-addr.arpa", "added"),
        ("57.0.99.10.in-addr.arpa", "removed"),
    }
    assert site.short(f"web1.{DOMAIN}", "A") == ["10.99.0.58"]
    assert site.short("-x", "10.99.0.58") == [f"web1.{DOMAIN}."] and site.short("-x", "10.99.0.57") == []

    web1.answers = {0: []}
    site.look()
    assert site.register(changed_within=1800)["changed"]
    assert site.zone() == site.zone(dns_rig.REVERSE4) == site.zone(dns_rig.REVERSE6) == []


def test_foreign_records_stay(site: Site) -> None:
    site.rig.nsupdate(
        f"zone {DOMAIN}\nupdate add web1.{DOMAIN} 600 A 192.0.2.1\nupdate add web2.{DOMAIN} 600 CNAME ns1.{DOMAIN}.\n"
        f'update add web3.{DOMAIN} 600 MX 10 ns1.{DOMAIN}.\nupdate add _external-dhcp.web4.{DOMAIN} 600 TXT "external-dhcp=1 owner=x '
        f'hypervisor=0123456789abcdef vm=0123456789abcdef"\nupdate add web4.{DOMAIN} 600 A 192.0.2.4'
    )
    site.rig.nsupdate(f"zone {dns_rig.REVERSE4}\nupdate add 55.0.99.10.in-addr.arpa 600 PTR printer.{DOMAIN}.")
    before = {name: site.zone(name) for name in dns_rig.ZONES}
    site.guests = [guest(number, f"10.99.0.5{number}", name=f"web{number}") for number in range(1, 6)]
    site.look()
    print("\nforeign before:", site.rig.dig("+noall", "+answer", f"web1.{DOMAIN}", "A"))
    for read in ("transfer", "queries"):
        done = site.register(server={"read": read})
        assert {(one["vm_name"], one["reason"]) for one in done["conflicts"]} == {(f"web{n}", "foreign") for n in range(1, 6)}
        assert "somebody else's and stays" in str(done["warnings"])
        assert {name: site.zone(name) for name in dns_rig.ZONES} == before
        assert site.register(fail_on_conflicts=True, fails=True)["msg"].startswith("not all VMs have their names: web1 NIC 0")
        assert not site.register(state="absent")["changed"]
    print("foreign after:", site.rig.dig("+noall", "+answer", f"web1.{DOMAIN}", "A"))
    assert site.short(f"web1.{DOMAIN}", "A") == ["192.0.2.1"]


def test_a_name_that_is_taken_between_reading_and_writing_stays(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = importlib.import_module(f"{COLLECTION}.plugins.module_utils._dns.update")
    real, races = updates._message, []

    def after_somebody_else(connection: t.Any, zone: str, steps: t.Any) -> t.Any:
        if zone == DOMAIN and not races:
            races.append(zone)
            site.rig.nsupdate(
                f"zone {DOMAIN}\nupdate add web7.{DOMAIN} 600 A 192.0.2.7\nupdate delete web9.{DOMAIN} A\n"
                f"update add web9.{DOMAIN} 600 A 192.0.2.9"
            )
        return real(connection, zone, steps)

    site.guests = [guest(9, "10.99.0.9", name="web9")]
    site.look()
    site.register()
    # web9 is ours already and is changed by hand: ours by its mark, so it is put right.
    site.guests = [guest(number, f"10.99.0.1{number:02}", name=f"web{number}") for number in range(1, 12)]
    site.look()
    monkeypatch.setattr(updates, "_message", after_somebody_else)
    done = site.register()
    assert races and [(one["vm_name"], one["reason"]) for one in done["conflicts"]] == [("web7", "foreign")]
    assert site.short(f"web7.{DOMAIN}", "A") == ["192.0.2.7"] and site.short("-x", "10.99.0.107") == []
    assert site.short(f"web9.{DOMAIN}", "A") == ["10.99.0.109"] and site.short("-x", "10.99.0.109") == [f"web9.{DOMAIN}."]
    assert len(site.zone(dns_rig.REVERSE4)) == 20
    monkeypatch.undo()
    assert not site.register()["changed"]


def test_somebody_else_who_changes_ours_again_and_again_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = importlib.import_module(f"{COLLECTION}.plugins.module_utils._dns.update")
    real = updates.apply

    def undone(connection: t.Any, zone: str, steps: t.Any) -> t.Iterator[t.Any]:
        yield from real(connection, zone, steps)
        site.rig.nsupdate(f"zone {DOMAIN}\nupdate delete web1.{DOMAIN} A")

    monkeypatch.setattr("ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.run.apply", undone)
    site.guests = [guest(1, "10.99.0.57", name="web1")]
    site.look()
    assert f"1 names are not as they were written (web1.{DOMAIN})" in site.register(fails=True)["msg"]


def test_two_views_and_a_secondary(site: Site) -> None:
    site.guests = [guest(1, "10.99.0.57", name="web1"), guest(2, "10.99.0.58", name="web2", network="lab")]
    site.look()
    secondary = {"secondaries": [f"127.0.0.1:{site.rig.secondary.port}"], "wait": 20}
    inside = site.register("inside", secondary)
    outside = site.register("outside", {**secondary, "networks": ["lab"]}, networks=["corp", "lab"])
    assert inside["behind"] == outside["behind"] == []
    for port in (site.rig.primary.port, site.rig.secondary.port):
        assert site.short(f"web1.{DOMAIN}", "A", view="inside", port=port) == ["10.99.0.57"]
        assert site.short(f"web1.{DOMAIN}", "A", view="outside", port=port) == []
        assert site.short("-x", "10.99.0.58", view="outside", port=port) == [f"web2.{DOMAIN}."]
    assert not site.register("outside", {"networks": ["lab"]})["changed"]
    # The secondary itself takes no updates; one that does not answer is warned of.
    site.guests[0].answers = {0: ["10.99.0.60"]}
    site.look()
    refused = site.register("inside", {"port": site.rig.secondary.port}, fails=True)["msg"]
    assert f"refuses updates of the zone {DOMAIN} with the key inside-key" in refused and "give the primary server" in refused
    late = site.register("inside", {"secondaries": ["127.0.0.1:1"], "wait": 0.2})
    assert late["changed"] and "cannot be reached" in late["behind"][0]


def test_what_vms_do_reaches_dns(site: Site) -> None:
    """Renamed, names swapped, stopped, destroyed, one made anew under the old name, moved to another hypervisor."""
    site.guests = [guest(number, f"10.99.0.5{number}", name=f"web{number}") for number in range(1, 5)]
    site.look()
    site.register(hypervisor_name=["kvm01"])
    one, two, three, four = site.guests
    one.name, two.name = "web2", "web1"
    three.name = "db3"
    site.look()
    done = site.register(hypervisor_name=["kvm01"], vms=["web1", "web2", "db3"])
    assert done["conflicts"] == [] and not done["transferred"]
    assert {name: site.short(f"{name}.{DOMAIN}", "A") for name in ("web1", "web2", "db3", "web3")} == {
        "web1": ["10.99.0.52"],
        "web2": ["10.99.0.51"],
        "db3": ["10.99.0.53"],
        "web3": [],
    }
    assert site.short("-x", "10.99.0.53") == [f"db3.{DOMAIN}."]

    four.power_state = "stopped"
    anew = guest(44, "10.99.0.44", name="web1")
    site.guests = [one, three, four, anew]  # two is destroyed
    site.look()
    site.register(hypervisor_name=["kvm01"], changed_within=1800)
    assert site.short(f"web1.{DOMAIN}", "A") == ["10.99.0.44"] and site.short(f"web4.{DOMAIN}", "A") == []
    assert site.short("-x", "10.99.0.52") == site.short("-x", "10.99.0.54") == []

    # web1 is on kvm02 now: neither hypervisor's run takes its name away.
    site.guests = [one, three]
    site.look("kvm02", [anew])
    site.look()
    assert not site.register(hypervisor_name=["kvm01"])["changed"]
    assert site.register(hypervisor_name=["kvm02"])["changed"], "the mark says where it is"
    assert not site.register(hypervisor_name=["kvm02"])["changed"] and not site.register()["changed"]
    assert site.short(f"web1.{DOMAIN}", "A") == ["10.99.0.44"]

    # A VM of the same name on the other hypervisor gets it only when the first one has left.
    other = guest(45, "10.99.0.45", name="web2")
    site.look("kvm02", [anew, other])
    assert [(c["vm_id"], c["reason"]) for c in site.register(hypervisor_name=["kvm02"])["conflicts"]] == [(other.id, "taken")]
    assert [(c["vm_id"], c["reason"]) for c in site.register()["conflicts"]] == [(other.id, "taken")]
    site.guests = [three]
    site.look()
    assert site.register()["conflicts"] == []
    assert site.short(f"web2.{DOMAIN}", "A") == ["10.99.0.45"]

    assert site.register(state="absent", check_mode=True)["changed"]
    assert site.register(state="absent")["changed"] and not site.register(state="absent")["changed"]
    assert site.zone() == site.zone(dns_rig.REVERSE4) == []


def test_zones_that_are_named_and_zones_that_are_not_there(site: Site) -> None:
    site.guests = [guest(1, "10.99.0.57", name="web1"), guest(2, "10.20.0.57", name="web2")]
    site.look()
    given = site.register(server={"zones": list(dns_rig.ZONES)}, check_mode=True)
    asked = site.register(check_mode=True)
    for done in (given, asked):
        assert len(done["changes"]) == 2 and [(c["vm_name"], c["reason"]) for c in done["conflicts"]] == [("web2", "no_zone")]
    assert site.zone() == []
    without = site.register(ptr=False)
    assert without["pairs"] == 2 and site.zone(dns_rig.REVERSE4) == []
    strange = site.register(domain="example.org", fails=False)
    assert {c["reason"] for c in strange["conflicts"]} == {"no_zone"} and strange["pairs"] == 0


def test_another_record_does_not_take_ours_unless_it_is_told_to(site: Site, tmp_path: pathlib.Path) -> None:
    site.guests = [guest(1, "10.99.0.57", name="web1")]
    site.look()
    site.register()
    store = stores.RecordStore(database.Database(site.record))
    old = store.record_id()
    store.database.close()
    site.record = f"sqlite:///{tmp_path}/another.db"
    assert "does not exist" in site.register(fails=True)["msg"]
    site.look()
    before = site.zone()
    assert [c["reason"] for c in site.register()["conflicts"]] == ["foreign"] and site.zone() == before
    done = site.register(former_owners=[old])
    assert done["conflicts"] == [] and {change["change"] for change in done["changes"]} == {"changed"}
    assert not site.register()["changed"]


def test_wrong_keys_and_servers_are_said_in_one_sentence(site: Site, tmp_path: pathlib.Path) -> None:
    site.guests = [guest(1, "10.99.0.57", name="web1")]
    site.look()
    secret = site.rig.secret("inside")
    wrong = "CaNaRy" + secret[6:]
    named = {"key_file": None, "key_secret": wrong}
    cases = [
        ({**named, "key_name": "inside-key"}, "does not accept the key inside-key: it has none of this name, or another secret"),
        ({**named, "key_name": "unknown-key"}, "does not accept the key unknown-key"),
        ({**named, "key_name": "inside-key", "key_secret": "CaNaRy no base64"}, "is not in base64"),
        ({**named}, "server.key_name is missing"),
        ({"key_file": str(tmp_path / "none")}, "cannot be read: No such file"),
        ({"port": 1}, "cannot be reached: Connection refused"),
        ({"host": "no-such-host.invalid"}, "has no address"),
        ({"key_file": None, "zones": [DOMAIN]}, "says REFUSED"),
    ]
    for server, message in cases:
        result = site.register(server=server, fails=True)
        assert message in result["msg"]
        assert "CaNaRy" not in str(result) and secret not in str(result)
    assert site.zone() == []


def test_a_thousand_vms_are_a_few_transactions(site: Site) -> None:
    site.guests = [guest(number, f"10.99.{number >> 8}.{number & 255}") for number in range(1, 1001)]
    site.look()
    figures = []

    def timed(what: str, **options: t.Any) -> t.Any:
        began = time.monotonic()
        done = site.register(**options)
        figures.append(
            f"{what}: {time.monotonic() - began:.2f} s, {done['transactions']} transactions, {done['messages']} messages, "
            f"{len(done['changes'])} names"
        )
        return done

    first = timed("register 1000")
    assert first["pairs"] == 1000 and len(first["changes"]) == 2000 and first["transactions"] <= 10
    assert not timed("again, by transfer")["changed"]
    assert len(str(first)) < 600_000
    for one in site.guests[:10]:
        one.answers = {0: [f"10.99.200.{int(one.name[2:])}"]}
    site.look()
    assert len(timed("10 changed")["changes"]) == 30
    assert timed("remove 1000", state="absent")["transactions"] <= 10
    print("\n" + "\n".join(figures))
