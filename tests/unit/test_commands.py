# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every command that scripts, rigs and tests call comes from a package that this project declares."""

from __future__ import annotations

import ast
import itertools
import pathlib
import re
import subprocess
import typing as t

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11
tree_sitter = pytest.importorskip("tree_sitter")
bash_grammar = pytest.importorskip("tree_sitter_bash")

ROOT = pathlib.Path(__file__).resolve().parents[2]
LISTS = (*ROOT.glob("dev/packages/*.txt"), *ROOT.glob("tests/rigs/packages.txt"), *ROOT.glob("tests/rigs/*/packages.txt"))
COMMAND = re.compile(r"(?!vmops\.)[a-z0-9][a-zA-Z0-9.+_-]*")
BUILTINS = frozenset(
    "alias break cd command continue declare echo eval exec exit export false hash kill let local mapfile popd printf pushd pwd read "
    "return set shift source test times trap true type ulimit umask unset wait if then else fi do done".split()
)
# Their run() starts something else than a program of this machine: a call of XAPI, a script in a guest.
OTHER_RUNS = ("tests/integration/xenserver/", "tests/unit/guest/", "tests/bench/")
# Scripts of guests are run by the guest's own shell, with what the guest has.
IN_GUESTS = re.compile(r"tests/rigs/kvm/guest/")


def _in_shell(source: bytes) -> set[str]:
    """Commands named literally in a script, without functions that it or a neighbour defines."""
    parser = tree_sitter.Parser(tree_sitter.Language(bash_grammar.language()))
    nodes = [parser.parse(source).root_node]
    commands, functions = set(), set()
    while nodes:
        node = nodes.pop()
        nodes.extend(node.children)
        if node.type == "command_name" and [child.type for child in node.children] == ["word"]:
            commands.add(node.text.decode())
        elif node.type == "function_definition":
            functions.add(node.child_by_field_name("name").text.decode())
    return {name for name in commands - functions if COMMAND.fullmatch(name)}


def _in_python(source: str, helpers: bool) -> set[str]:
    """Commands named literally in calls of subprocess and shutil.which, and of helpers called run()."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        owner = node.func.value.id if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) else ""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if owner not in ("subprocess", "shutil") and not (helpers and name == "run" and not owner):
            continue
        if owner == "shutil" and name != "which":
            continue
        first: t.Any = node.args[0]
        if isinstance(first, (ast.List, ast.Tuple)) and first.elts:
            first = first.elts[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and COMMAND.fullmatch(first.value):
            found.add(first.value)
    return found


def _called() -> dict[str, set[str]]:
    """Files by the command they call."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", ".ci", "dev", "extensions", "tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    functions = set(
        re.findall(r"^([a-z_]+)\(\)", (ROOT / "dev" / "lib.sh").read_text() + (ROOT / "dev" / "python.sh").read_text(), re.M)
    )
    found: dict[str, set[str]] = {}
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if not name or not path.is_file() or IN_GUESTS.match(name):
            continue
        data = path.read_bytes()
        if data.startswith((b"#!/usr/bin/env bash", b"#!/bin/sh")) or name.endswith(".sh"):
            commands = _in_shell(data) - functions - BUILTINS
        elif name.endswith(".py"):
            commands = _in_python(data.decode(), not name.startswith(OTHER_RUNS))
        else:
            continue
        for command in commands:
            found.setdefault(command, set()).add(name)
    return found


def _tables() -> dict[str, dict[str, list[str]]]:
    return dict(tomllib.loads((ROOT / "dev" / "packages" / "commands.toml").read_text()))


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout: git knows no files here")
def test_each_command_is_in_the_table() -> None:
    known = set(itertools.chain.from_iterable(itertools.chain.from_iterable(table.values()) for table in _tables().values()))
    unknown = {command: sorted(files) for command, files in _called().items() if command not in known}
    assert unknown == {}, "say in dev/packages/commands.toml which package brings it, and put the package into a list"


def test_each_package_of_the_table_is_in_a_list() -> None:
    declared = set()
    for path in LISTS:
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                declared |= set(line.split()[0].split("|")) - {"-"}
    assert sorted(set(_tables()["packages"]) - declared) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (b"#!/bin/sh\nfoo() { modprobe x; }\nfoo\nif true; then lsblk | grep -q y; fi\n", {"modprobe", "lsblk", "grep", "true"}),
        (b'x=$(mkfs.xfs "$1") || exit\n"$x" go\n', {"mkfs.xfs", "exit"}),
    ],
)
def test_commands_of_a_script(source: bytes, found: set[str]) -> None:
    assert _in_shell(source) == found


def test_commands_of_python() -> None:
    source = "subprocess.run(['modprobe', 'x'])\nshutil.which('go')\nrun('mkfs.ext4', p)\nother.run('no')\nshutil.rmtree('x')\n"
    assert _in_python(source, True) == {"modprobe", "go", "mkfs.ext4"}
    assert _in_python(source, False) == {"modprobe", "go"}
