# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts files and CSV: what is not ours stays. Keys: read from options and files, and never shown."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns import files, keys, names
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import DnsError, Lease, Pair

SECRET = "b25seSBmb3IgdGVzdHM="


def pairs(*given: tuple[str, str], hypervisor: str = "kvm01") -> list[Pair]:
    leases = [Lease(hypervisor, vm, vm, 0, None, (address,), row) for row, (vm, address) in enumerate(given)]
    return files.settled(names.pairs(leases, names.Rules({}, "x.test"))[0])[0]


def test_a_hosts_file_keeps_what_others_wrote() -> None:
    others = "127.0.0.1 localhost\n# theirs\n"
    first = files.hosts(others, pairs(("web2", "10.0.0.10"), ("web1", "10.0.0.9")), "kvm01")
    assert (
        first
        == others
        + "# BEGIN vmops.external_dhcp kvm01\n10.0.0.9 web1.x.test\n10.0.0.10 web2.x.test\n# END vmops.external_dhcp kvm01\n"
    )
    second = files.hosts(first, pairs(("db", "10.1.0.1"), hypervisor="kvm02"), "kvm02")
    changed = files.hosts(second, pairs(("web1", "10.0.0.8")), "kvm01")
    assert "web2" not in changed and "10.0.0.8 web1.x.test" in changed and "db.x.test" in changed and changed.startswith(others)
    assert files.hosts(changed, pairs(("web1", "10.0.0.8")), "kvm01") == changed
    assert files.hosts(files.hosts(changed, None, "kvm01"), None, "kvm02") == others


@pytest.mark.parametrize(
    "text", ["# BEGIN vmops.external_dhcp a\n", "# END vmops.external_dhcp a\n# BEGIN vmops.external_dhcp a\n"]
)
def test_a_damaged_block_is_refused(text: str) -> None:
    with pytest.raises(DnsError, match="remove what is left"):
        files.hosts(text, [], "a")


def test_a_csv_file_keeps_other_hypervisors_rows() -> None:
    first = files.table("", pairs(("web1", "10.0.0.1")), ["kvm01"])
    assert first == "name,address,reverse,hypervisor\nweb1.x.test,10.0.0.1,1.0.0.10.in-addr.arpa,kvm01\n"
    second = files.table(first, pairs(("db", "10.1.0.1"), hypervisor="kvm02"), ["kvm02"])
    assert files.table(second, [], ["kvm02"]) == first and files.table(second, [], None).count("\n") == 1
    for foreign in ("a,b\n", "name,address,reverse,hypervisor\nx\n"):
        with pytest.raises(DnsError):
            files.table(foreign, [], None)


def test_of_two_that_want_one_name_one_gets_it() -> None:
    leases = [Lease("kvm01", vm, "web", 0, None, (f"10.0.0.{row}",), row) for row, vm in enumerate(("b", "a"), start=1)]
    kept, conflicts = files.settled(names.pairs(leases, names.Rules({}, "x.test"))[0])
    assert [pair.lease.vm_id for pair in kept] == ["b"] and [one.reason for one in conflicts] == ["taken"]


def test_a_key_file_as_tsig_keygen_writes_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key"
    path.write_text(f'# mine\nkey "a-key" {{\n\talgorithm hmac-sha512;\n\tsecret "{SECRET}";\n}};\n')
    key = keys.read_key_file(str(path))
    assert (key.name, key.algorithm, key.secret) == ("a-key", "hmac-sha512", SECRET) and SECRET not in repr(key)


def test_slashes_of_a_secret_begin_no_comment(tmp_path: pathlib.Path) -> None:
    secret = "qs//" + SECRET
    path = tmp_path / "key"
    path.write_text(f'// "mine"\nkey "a-key" {{ /* of the "DHCP" server */\n\tsecret "{secret}"; # new\n}};\n')
    assert keys.read_key_file(str(path)).secret == secret


@pytest.mark.parametrize(
    "text",
    ["", f'secret "{SECRET}";', 'key "a" { algorithm hmac-sha256; };', f'key "a" {{ algorithm rot13; secret "{SECRET}"; }};']
    + [
        f'key "a" {{ algorithm hmac-sha256; secret "{SECRET[:-1]}!"; }};',
        f'key "a" {{ secret "{SECRET}"; }}; key "b" {{ secret "{SECRET}"; }};',
    ],
)
def test_files_without_a_key_say_so_and_no_secret(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(DnsError) as caught:
        keys.read_key_file(str(path))
    assert SECRET[:-2] not in str(caught.value)


def test_keys_of_options() -> None:
    assert keys.make_key(None, None, "hmac-sha256") is None
    for name, secret in (("a", None), (None, SECRET), ("a b", SECRET), ("a", "not base64 " + SECRET)):
        with pytest.raises(DnsError) as caught:
            keys.make_key(name, secret, "hmac-sha256")
        assert SECRET not in str(caught.value)
