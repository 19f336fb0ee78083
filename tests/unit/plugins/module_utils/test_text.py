# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, plain, plain_name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web1", "web1"),
        ("Zürich 東京 {{ x }}", "Zürich 東京 {{ x }}"),
        ("a\nb\t\x00", r"a\nb\t\x00"),
        ("\x9b31mred\x1b[0m", r"\x9b31mred\x1b[0m"),
        ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
        ("a\u3000b\xa0c\xadd\u200ce", r"a\u3000b\xa0c\xadd\u200ce"),
        ("\U0001f468\u200d\U0001f4bb", "\U0001f468\\u200d\U0001f4bb"),
        ("\udc80", r"\udc80"),
        ("", ""),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown == plain(shown)
    assert plain(text).isprintable()


def test_length_is_bounded_after_escaping() -> None:
    assert plain("x" * 10, 10) == "x" * 10
    assert plain("x" * 11, 10) == "x" * 9 + "~"
    assert plain("\u202e" * 10, 10) == r"\u202e\u2" + "~"
    assert len(plain("\x9b" * 10_000_000)) == 500


def test_names_stay_different_and_are_their_own_plain_names() -> None:
    names = [
        "x" * 10_000,
        "x" * 10_000 + "y",
        "x" * MAX_NAME,
        "\u202e" * 100,
        "\u202e" * 99 + "\u202d",
        "web1",
        "a\nb",
        "~" * 300,
    ]
    shown = [plain_name(name, "id") for name in names]
    assert len(set(shown)) == len(names)
    assert [plain_name(name, "other id") for name in shown] == shown
    assert all(len(name) <= MAX_NAME and name.isprintable() for name in shown)
    assert shown[2] == names[2]


def test_a_vm_without_a_name_goes_by_its_id() -> None:
    assert [plain_name(name, "0001") for name in ("", " ", "   ")] == ["0001"] * 3
    assert plain_name("\u3000", "0001") == r"\u3000"
