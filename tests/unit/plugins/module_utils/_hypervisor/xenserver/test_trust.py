# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the connection options say about certificates."""

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import trust

DIGITS = "0123456789abcdef" * 4
PIN = ":".join(DIGITS[at : at + 2] for at in range(0, 64, 2)).upper()


def test_contexts():
    context = trust.Trust({"validate_certs": True, "check_hostname": True}).context
    assert context.check_hostname and context.verify_mode.name == "CERT_REQUIRED"
    context = trust.Trust({"validate_certs": True, "check_hostname": False}).context
    assert not context.check_hostname and context.verify_mode.name == "CERT_REQUIRED"
    context = trust.Trust({"validate_certs": False}).context
    assert not context.check_hostname and context.verify_mode.name == "CERT_NONE"


@pytest.mark.parametrize("text", [PIN, PIN.lower(), DIGITS, f"sha256 Fingerprint={PIN}", f"SHA256:{DIGITS}", f" {PIN} "])
def test_fingerprints_as_people_have_them(text):
    found = trust.Trust({"fingerprints": {"Xen02.example.com": text, "10.0.0.3": [PIN, "00" * 32]}})
    assert found.pins(["10.0.0.2", "xen02.EXAMPLE.com"]) == {PIN}
    assert len(found.pins(["10.0.0.3"])) == 2 and found.pins(["10.0.0.9", ""]) == frozenset()


@pytest.mark.parametrize("text", ["", "AB:CD", "ab" * 20, PIN + ":00", "zz" * 32, None, 17])
def test_what_is_no_fingerprint(text):
    with pytest.raises(HypervisorError, match="hypervisor.fingerprints, xen02: .* is no SHA-256 fingerprint.*openssl x509"):
        trust.Trust({"fingerprints": {"xen02": text}})


def test_a_list_is_no_mapping():
    with pytest.raises(HypervisorError, match="hypervisor.fingerprints is .*mapping"):
        trust.Trust({"fingerprints": [PIN]})
