# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which passwords the guests' readers can set, and passwords that all of them can."""

from __future__ import annotations

import secrets
import typing as t
import unicodedata

if t.TYPE_CHECKING:
    from collections.abc import Callable

MIN_GENERATED = 12
DEFAULT_GENERATED = 16
# Accounts of Windows take no more.
MAX_LENGTH = 127
# No password of anybody: stands for one that is yet to be made, which no reader refuses either.
STAND_IN = "Aa2-Bb3.Cc4_Dd5="

# Without the look-alikes l L I i 1, o O 0; of the punctuation only what no shell, no echo and no YAML reads as more than itself.
_LOWER = "abcdefghjkmnpqrstuvwxyz"
_UPPER = "ABCDEFGHJKMNPQRSTUVWXYZ"
_DIGITS = "23456789"
_PUNCTUATION = "-_.+="
_ALPHABET = _LOWER + _UPPER + _DIGITS + _PUNCTUATION

# Words that the genuine scripts take as "there is no password".
_SENTINELS = ("saved_password", "bad_request")
# The readers that pass the password on without a shell in between.
_TOLERANT = ("ours", "cloud_init", "cloudbase_init")
_LEADING_HYPHEN = "begins with -, which the guest script of the original platform reads as an option"
# Passwords that are shorter, have fewer different characters, or are short numbers are soon found by trying.
_SHORTEST_STRONG = 8
_LEAST_DIFFERENT = 5
_SHORTEST_DIGITS = 20


def password_problem(password: str, reader: str | None = None) -> str | None:
    """Why this password would not be set as it is; None if it would. The password is not in the answer.

    reader: what reads the drive (description.READERS). With None, or the genuine script, which hands the password
    unquoted to echo, all rules hold.
    """
    if not password:
        return "is empty"
    if len(password) > MAX_LENGTH:
        return f"has more than {MAX_LENGTH} characters, the most that Windows takes"
    if password in _SENTINELS:
        return "is a word that guest scripts take as 'there is no password'"
    # Zs: blanks of any width. Other characters that cannot be printed are control characters and line breaks.
    if any(not character.isprintable() and unicodedata.category(character) != "Zs" for character in password):
        return "has a line break, a tab or another control character: it must be one line of printable characters"
    if password != password.strip():
        return "begins or ends with a blank, which readers cut off"
    if reader in _TOLERANT:
        return None
    if reader == "cloudstack_combined":  # quoted, but the only argument of echo, which takes -n and the like as options
        return _LEADING_HYPHEN if password.startswith("-") else None
    if any(character.isspace() for character in password):
        return "has a blank, which the guest script of the original platform collapses or splits at"
    for character in "*?[":
        if character in password:
            return f"has the character {character}, which the guest script of the original platform expands to names of files"
    if password.startswith("-"):
        return _LEADING_HYPHEN
    return None


def password_weakness(password: str) -> str | None:
    """Why this password would soon be guessed; None if nothing speaks for it. The password is not in the answer."""
    if len(password) < _SHORTEST_STRONG:
        return f"has fewer than {_SHORTEST_STRONG} characters"
    if password.isdigit() and len(password) < _SHORTEST_DIGITS:
        return f"has digits alone, and fewer than {_SHORTEST_DIGITS}"
    if len(set(password)) < _LEAST_DIFFERENT:
        return f"has fewer than {_LEAST_DIFFERENT} different characters"
    return None


def generate_password(length: int = DEFAULT_GENERATED, choice: Callable[[str], str] = secrets.choice) -> str:
    """A random password that every reader can set, with a letter first and every kind of character in it.

    length: at least MIN_GENERATED, at most MAX_LENGTH; raises ValueError otherwise. choice: a source of randomness.
    """
    if not MIN_GENERATED <= length <= MAX_LENGTH:
        raise ValueError(f"length is {length}: a generated password has {MIN_GENERATED} to {MAX_LENGTH} characters")
    while True:
        password = choice(_LOWER + _UPPER) + "".join(choice(_ALPHABET) for _index in range(length - 1))
        if all(any(character in kind for character in password) for kind in (_LOWER, _UPPER, _DIGITS, _PUNCTUATION)):
            return password
