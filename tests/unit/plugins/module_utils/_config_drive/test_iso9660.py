# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image, iso9660
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveImageError

FILES = {"cloudstack/metadata/vm-id.txt": b"1", "cloudstack/password/vm_password.txt": b"Ab2", "b" * 60: b"z" * 3000}
DATA = image.build(FILES, "config", "id-1")


def records(data, volume="primary"):
    iso = iso9660.Iso(bytes(data))
    return {record.path: record for record in iso.records(getattr(iso, volume)) if not record.path.endswith(("/.", "/.."))}


def poke(position, value):
    data = bytearray(DATA)
    data[position : position + len(value)] = value
    return bytes(data)


def both(number):
    return struct.pack("<L", number) + struct.pack(">L", number)


def refused(data):
    with pytest.raises(DriveImageError) as caught:
        image.read(data)
    return str(caught.value)


def test_no_image_at_all():
    for data in (b"", b"x" * 10, bytes(100_000), b"PK\x03\x04" * 20_000):
        assert "no ISO 9660" in refused(data)


def test_every_shortened_image_is_refused_or_shorter():
    for length in range(0, len(DATA), 1021):
        try:
            found = image.read(DATA[:length])
        except DriveImageError:
            continue
        assert found.intact is not True


def test_a_folder_that_holds_itself():
    record = records(DATA)["cloudstack/metadata"]
    parent = records(DATA)["cloudstack"]
    assert "holds itself" in refused(poke(record.at + 2, both(parent.extent)))


def test_a_file_outside_of_the_image():
    record = records(DATA)["b" * 60]
    assert "outside" in refused(poke(record.at + 2, both(0x7FFFFFFF)))
    assert "more bytes than" in refused(poke(record.at + 10, both(0xFFFFFFFF)))


def test_many_files_that_share_one_large_extent():
    """A small image must not unfold to gigabytes."""
    data = bytearray(image.build({f"f{number}": b"x" for number in range(200)}) + bytes(1_000_000))
    for record in records(data).values():
        data[record.at + 2 : record.at + 18] = both(0) + both(900_000)
    assert "more bytes than" in refused(bytes(data))


def test_records_of_impossible_length():
    first = records(DATA)["cloudstack"].at
    for length in (1, 33):
        assert "impossible length" in refused(poke(first, bytes([length])))
    assert "impossible length" in refused(poke(first + 32, b"\xff"))


def test_too_many_entries(monkeypatch):
    monkeypatch.setattr(iso9660, "MAX_ENTRIES", 5)
    assert "more than 5 entries" in refused(DATA)


def test_too_deep(monkeypatch):
    monkeypatch.setattr(iso9660, "MAX_DEPTH", 1)
    assert "levels deep" in refused(DATA)


def test_a_name_with_a_slash():
    at = DATA.index(b"vm_password.txt")
    assert "impossible name" in refused(poke(at, b"../password"))


def test_a_chain_of_continuation_areas_that_never_ends():
    record = records(DATA)["cloudstack"]
    length = DATA[record.at]
    name_length = DATA[record.at + 32]
    begin = record.at + 33 + name_length + (1 - name_length % 2)
    entry = b"CE\x1c\x01" + both(begin // 2048) + both(begin % 2048) + both(record.at + length - begin)
    assert "does not end" in refused(poke(begin, entry))


def test_too_many_system_use_entries(monkeypatch):
    monkeypatch.setattr(iso9660, "MAX_SYSTEM_USE", 20)
    assert "more than 20 system use entries" in refused(DATA)


def test_a_symbolic_link_is_left_out():
    record = records(DATA)["b" * 60]
    at = DATA.index(b"PX", record.at)
    found = image.read(poke(at + 4, both(0o120777)))
    assert "b" * 60 not in found.files and len(found.files) == 2


def test_a_file_in_several_extents_is_refused():
    record = records(DATA)["b" * 60]
    assert "several extents" in refused(poke(record.at + 25, b"\x80"))


def test_blocks_of_another_size_are_refused():
    assert "blocks of another size" in refused(poke(32768 + 128, struct.pack("<H", 512) + struct.pack(">H", 512)))


def test_without_rock_ridge_joliet_names_count_and_without_both_plain_ones():
    without_rock_ridge = DATA.replace(b"SP\x07\x01\xbe\xef", b"XX\x07\x01\xbe\xef")
    found = image.read(without_rock_ridge)
    assert found.files == FILES and found.modes == {}
    without_both = bytearray(without_rock_ridge)
    without_both[17 * 2048] = 3
    found = image.read(bytes(without_both))
    assert found.joliet_label is None
    assert set(found.files) == {"d0000001/d0000002/f0000002", "d0000001/d0000003/f0000003", "f0000001"}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(32768, len(DATA) - 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=12))
def test_random_damage_gives_an_error_or_bounded_contents(changes):
    data = bytearray(DATA)
    for position, value in changes:
        data[position : position + len(value)] = value
    try:
        found = image.read(bytes(data[: len(DATA)]))
    except DriveImageError:
        return
    assert sum(map(len, found.files.values())) <= iso9660.MAX_CONTENT
    assert all(not set(path.split("/")) & {"", ".", ".."} for path in found.files)
    if bytes(data[: len(DATA)]) != DATA:
        assert found.intact is not True


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=6000))
def test_random_descriptors_and_folders(noise):
    data = bytearray(DATA)
    data[32768 + 8 : 32768 + 8 + len(noise[:1200])] = noise[:1200]
    data[28 * 2048 : 28 * 2048 + len(noise[1200:])] = noise[1200:]
    try:
        image.read(bytes(data))
    except DriveImageError:
        pass
