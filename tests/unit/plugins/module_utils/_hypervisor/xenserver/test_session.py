# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import driver as xenserver
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import session as xenserver_session

DESCRIPTION = {"type": "xenserver", "host": "xen01", "username": "root", "password": "s3cr3t-word"}


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("xen01.example.com", None, ("xen01.example.com", 443)),
        ("xen01", 8443, ("xen01", 8443)),
        ("xen01:8443", None, ("xen01", 8443)),
        ("https://xen01/", None, ("xen01", 443)),
        ("https://xen01:444", 445, ("xen01", 445)),
        ("192.0.2.7", None, ("192.0.2.7", 443)),
        ("[2001:db8::7]", None, ("2001:db8::7", 443)),
        ("2001:db8::7", None, ("2001:db8::7", 443)),
        ("https://[2001:db8::7]:4443", None, ("2001:db8::7", 4443)),
    ],
)
def test_host_forms(host, port, expected):
    assert xenserver_session._parse_host({"host": host, "port": port}) == expected


@pytest.mark.parametrize("host", ["http://xen01", "ssh://xen01", "xen01/path", "user@xen 01", "https://"])
def test_hosts_that_are_refused(host):
    with pytest.raises(HypervisorError, match="hypervisor.host"):
        xenserver_session._parse_host({"host": host})


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [("xen01", 443, "https://xen01"), ("xen01", 444, "https://xen01:444"), ("2001:db8::7", 443, "https://[2001:db8::7]")],
)
def test_urls(host, port, expected):
    assert xenserver_session.url(host, port) == expected


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(xenserver_session, "XenAPI", None)
    monkeypatch.setattr(xenserver_session, "IMPORT_TRACEBACK", "trace")
    with pytest.raises(MissingLibrary, match="XenAPI") as caught:
        xenserver.connect(DESCRIPTION)
    assert caught.value.traceback == "trace"


def test_a_broken_answer_names_the_method_and_no_secret(monkeypatch):
    pytest.importorskip("XenAPI")

    def explode(*_args, **_kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("http.client.HTTPConnection.connect", explode)
    with pytest.raises(HypervisorError, match="https://xen01: login: the connection failed: Network is unreachable") as caught:
        xenserver.connect(DESCRIPTION)
    assert "s3cr3t-word" not in str(caught.value)
