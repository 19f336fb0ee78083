# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import passwords
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import READERS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import (
    generate_password,
    password_problem,
    password_weakness,
)

TOLERANT = [None, *READERS]


@pytest.mark.parametrize(
    "password, part",
    [
        ("", "empty"),
        ("saved_password", "there is no password"),
        ("bad_request", "there is no password"),
        ("a\nb", "line break"),
        ("a\r", "line break"),
        ("a\tb", "tab"),
        ("a\x07b", "control character"),
        ("a\u2028b", "line break"),
        (" ab", "begins or ends with a blank"),
        ("ab ", "begins or ends with a blank"),
        ("x" * 128, "more than 127"),
    ],
)
@pytest.mark.parametrize("reader", TOLERANT)
def test_what_no_reader_can_set(password, part, reader):
    assert part in password_problem(password, reader)


@pytest.mark.parametrize(
    "password, part",
    [
        ("a b", "blank"),
        ("a\u00a0b", "blank"),
        ("a*b", "character *"),
        ("a?b", "character ?"),
        ("a[b", "character ["),
        ("-n", "begins with -"),
    ],
)
def test_what_only_the_script_with_the_unquoted_echo_cannot_set(password, part):
    for reader in (None, "cloudstack"):
        assert part in password_problem(password, reader)
    for reader in ("ours", "cloud_init", "cloudbase_init"):
        assert password_problem(password, reader) is None


@pytest.mark.parametrize("password", ["-n", "-e", "-nE", "-long"])
def test_the_combined_script_takes_a_leading_hyphen_for_an_option(password):
    assert "begins with -" in password_problem(password, "cloudstack_combined")
    assert password_problem("a b*", "cloudstack_combined") is None


@pytest.mark.parametrize("password", ["a", "Ab2-Cd3", "12345678", "0" * 30, "1234567890123456789", "abcabcabcabc"])
def test_what_is_soon_guessed(password):
    weakness = password_weakness(password)
    assert weakness is not None and (len(password) == 1 or password not in weakness)


@pytest.mark.parametrize("password", ["Ab2-Cd3-Ef4", "correct horse", "31415926535897932384"])
def test_what_is_not_soon_guessed(password):
    assert password_weakness(password) is None


@pytest.mark.parametrize("password", ["x", "a\\b", "pässwörd", "a:b", "a-b", "!%&'\"`$(x)", "x" * 127])
@pytest.mark.parametrize("reader", TOLERANT)
def test_what_every_reader_can_set(password, reader):
    assert password_problem(password, reader) is None


@given(st.text())
def test_the_reason_never_quotes_the_password(password):
    reason = password_problem(password)
    if reason is not None and len(password) > 8:
        assert password not in reason


@pytest.mark.parametrize("length", [12, 16, 40, 127])
def test_generated_passwords_follow_the_rules(length):
    for _count in range(50):
        password = generate_password(length)
        assert len(password) == length
        assert password_problem(password) is None and password_weakness(password) is None
        assert password[0].isalpha()
        assert any(c.islower() for c in password) and any(c.isupper() for c in password) and any(c.isdigit() for c in password)
        assert not set(password) & set("lLIi1oO0*?[ \\'\"$`")


def test_generated_passwords_differ():
    assert len({generate_password() for _count in range(200)}) == 200


def test_the_first_that_lacks_a_kind_of_character_is_dropped():
    source = random.Random(1)
    calls = []

    def choice(alphabet):
        calls.append(alphabet)
        return "a" if len(calls) <= 12 else source.choice(alphabet)

    password = generate_password(12, choice)
    assert len(calls) >= 24 and password != "a" * 12


@pytest.mark.parametrize("length", [0, 11, 128, -1])
def test_lengths_that_are_refused(length):
    with pytest.raises(ValueError, match="12 to 127"):
        generate_password(length)


def test_the_default_is_long_enough():
    assert len(generate_password()) == passwords.DEFAULT_GENERATED >= 12
