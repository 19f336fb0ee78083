# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-builder takes the definitions that we ship, and they bring what each is for, on each family of distributions."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
import yaml

pytest.importorskip("ansible_builder")
depends = pytest.importorskip("bindep.depends")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILDER = pathlib.Path(sys.executable).with_name("ansible-builder")
DEFINITIONS = sorted((ROOT / "ee").glob("*/*-environment.yml"))
# What bindep calls the systems, as it finds them out from their os-release
SYSTEMS = {
    "el9": ("platform:centos", "platform:rhel", "platform:redhat", "platform:rpm"),
    "fedora": ("platform:fedora", "platform:redhat", "platform:rpm"),
    "debian": ("platform:debian", "platform:dpkg"),
}
COMPILED = {
    "el9": {"gcc", "libvirt-devel", "pkgconf-pkg-config", "python3.12-devel", "libvirt-libs", "openssh-clients"},
    "fedora": {"gcc", "libvirt-devel", "pkgconf-pkg-config", "python3-devel", "libvirt-libs", "openssh-clients"},
    "debian": {"gcc", "libvirt-dev", "pkg-config", "python3-dev", "libvirt0", "openssh-client"},
}


def _run(*words: str | pathlib.Path) -> str:
    done = subprocess.run([BUILDER, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _from_collections(tmp_path: pathlib.Path) -> dict[str, set[str]]:
    """What ansible-builder reads from the metadata of this collection alone."""
    place = tmp_path / "ansible_collections" / "vmops" / "external_dhcp"
    place.parent.mkdir(parents=True)
    place.symlink_to(ROOT, target_is_directory=True)
    found = yaml.safe_load(_run("introspect", tmp_path))
    return {kind: {re.split(r"[>\[;# ]", line)[0] for line in found.get(kind) or ()} for kind in ("python", "system")}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda path: path.parent.name)
def test_a_build_context_can_be_made(definition: pathlib.Path, tmp_path: pathlib.Path) -> None:
    _run("create", "-f", definition, "-c", tmp_path / "context", "--output-filename", "Containerfile")
    build = tmp_path / "context" / "_build"
    collections = yaml.safe_load((build / "requirements.yml").read_text())["collections"]
    assert "vmops.external_dhcp" in [entry if isinstance(entry, str) else entry["name"] for entry in collections]
    ours = (build / "requirements.txt").read_text() if (build / "requirements.txt").exists() else ""
    assert ("libvirt-python" in ours) == (definition.parent.name in ("full", "debian"))
    assert ("ansible-rulebook" in ours) == (definition.parent.name == "decision")


def test_the_collection_brings_nothing_that_is_compiled(tmp_path: pathlib.Path) -> None:
    found = _from_collections(tmp_path)
    assert {"pycdlib", "SQLAlchemy", "pyvmomi", "XenAPI", "psycopg", "PyMySQL"} <= found["python"]
    assert "libvirt-python" not in found["python"]
    assert found["system"] == set()


@pytest.mark.parametrize("system", SYSTEMS)
def test_kvm_has_its_headers_on(system: str) -> None:
    rules = depends.Depends((ROOT / "ee/full/bindep.txt").read_text()).active_rules([*SYSTEMS[system], "compile"])
    assert {rule[0] for rule in rules} == COMPILED[system]


def test_the_same_libvirt_as_with_pip() -> None:
    wanted = [line.strip() for line in (ROOT / "requirements-kvm.txt").read_text().splitlines() if line.startswith("libvirt")]
    for name in ("full", "debian"):
        assert yaml.safe_load((ROOT / f"ee/{name}/execution-environment.yml").read_text())["dependencies"]["python"] == wanted
