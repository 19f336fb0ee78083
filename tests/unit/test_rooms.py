# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may import what: the rooms of the collection stay apart, and each library has one room that knows it. And what is long."""

from __future__ import annotations

import ast
import pathlib
import sys
import typing as t

import pytest

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
PREFIX = "ansible_collections.vmops.external_dhcp.plugins."
# Lines.
LONGEST_FILE, LONGEST_FUNCTION = 500, 50

# What every room may know.
EVERYWHERE = (
    "module_utils._defaults",
    "module_utils._entries",
    "module_utils._errors",
    "module_utils._text",
    "module_utils._whole_file",
)
# What each driver may import beside its own folder and its own library.
DRIVER = (
    "module_utils._config_drive",
    "module_utils._guest_address",
    "module_utils._guest_template.formats",
    "module_utils._hypervisor.api",
    "module_utils._hypervisor.drive_rules",
    "module_utils._hypervisor.images",
    "module_utils._hypervisor.network_rules",
    "module_utils._hypervisor.workers",
)
# By room, the other rooms and libraries that it may import. A name stands for everything below it.
ALLOWED: dict[str, tuple[str, ...]] = {
    "module_utils/_config_drive": ("cryptography", "pycdlib", "pyrage"),
    "module_utils/_diagnosis": ("module_utils._guest_address",),
    "module_utils/_dns": ("dns",),
    "module_utils/_guest_address": (),
    "module_utils/_guest_address/leases": ("module_utils._guest_address",),
    "module_utils/_guest_address/disk": ("module_utils._guest_address", "dissect"),
    "module_utils/_guest_template": ("module_utils._guest_address",),
    "module_utils/_hypervisor": ("module_utils._guest_address", "module_utils._guest_template.formats"),
    "module_utils/_hypervisor/kvm": (*DRIVER, "module_utils._hypervisor.kvm", "libvirt", "libvirt_qemu"),
    "module_utils/_hypervisor/vmware": (*DRIVER, "module_utils._hypervisor.vmware", "pyVmomi"),
    "module_utils/_hypervisor/xenserver": (*DRIVER, "module_utils._hypervisor.xenserver", "XenAPI"),
    "module_utils/_nic_record": ("module_utils._guest_address", "sqlalchemy"),
    "module_utils/_module": ("module_utils", "ansible.module_utils"),
    "module_utils": ("ansible.module_utils",),
    # Thin: the body and the specification of a module stand in module_utils. Of the record only its words, for choices.
    "modules": ("module_utils._argspec", "module_utils._module", "module_utils._nic_record.model", "ansible.module_utils"),
    "plugin_utils": ("module_utils", "plugin_utils", "ansible", "yaml", "jinja2", "markupsafe"),
    "action": ("module_utils._argspec", "plugin_utils", "ansible"),
    "doc_fragments": (),
    "filter": ("module_utils._guest_address", "module_utils._names", "plugin_utils", "ansible.errors", "jinja2", "jmespath"),
    "inventory": ("module_utils._nic_record", "plugin_utils", "ansible"),
    "lookup": ("module_utils._config_drive", "ansible"),
}
# Nothing but the file named, in its room, imports these.
GATES = {
    "libvirt": "libvirt_import.py",
    "libvirt_qemu": "libvirt_import.py",
    "pyVmomi": "pyvmomi_import.py",
    "XenAPI": "session.py",
    "pycdlib": "image.py",
    "dissect": "dissect_import.py",
    "dns": "dns_import.py",
    "cryptography": "sealing.py",
    "pyrage": "sealing.py",
}


def _imports(source: str) -> t.Iterator[tuple[int, str]]:
    """Line and full name of everything imported, wherever it stands: under TYPE_CHECKING and in functions, too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import, which Ansible does not pack for modules"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _below(name: str, roots: t.Iterable[str]) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


def _violations(path: str, source: str) -> list[str]:
    room = path.rpartition("/")[0]
    own = room.replace("/", ".")
    bad = []
    for line, name in _imports(source):
        name = name[len(PREFIX) :] if name.startswith(PREFIX) else name
        library = name.partition(".")[0]
        if library in sys.stdlib_module_names or (own.count(".") and _below(name, [own])):
            allowed = True
        else:
            allowed = (
                _below(name, (*ALLOWED[room], *EVERYWHERE))
                and GATES.get(library, path).rpartition("/")[2] == path.rpartition("/")[2]
            )
        if not allowed:
            bad.append(f"{path}:{line} imports {name}")
    return bad


def test_rooms_import_only_what_is_theirs() -> None:
    found = {path.relative_to(PLUGINS).as_posix(): path.read_text() for path in PLUGINS.rglob("*.py")}
    assert {path.rpartition("/")[0] for path in found} == set(ALLOWED), "a new room: say here what it may import"
    assert [bad for path, source in sorted(found.items()) for bad in _violations(path, source)] == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("module_utils/_guest_address/x.py", "from ansible.module_utils.basic import AnsibleModule"),
        ("module_utils/_guest_address/x.py", f"from {PREFIX}module_utils._hypervisor.api import Nic"),
        ("module_utils/_config_drive/x.py", f"def f():\n    import {PREFIX}module_utils._guest_address.model"),
        ("module_utils/_config_drive/content.py", "import pycdlib"),
        ("module_utils/_hypervisor/x.py", f"from {PREFIX}module_utils._nic_record import store"),
        ("module_utils/_hypervisor/kvm/drives.py", "import libvirt"),
        ("module_utils/_hypervisor/xenserver/session.py", "import libvirt"),
        ("module_utils/_hypervisor/kvm/x.py", f"from {PREFIX}module_utils._hypervisor.vmware import drives"),
        ("module_utils/_nic_record/x.py", f"from {PREFIX}module_utils import _hypervisor"),
        ("modules/x.py", f"from {PREFIX}module_utils._hypervisor import connect"),
        ("filter/x.py", "import sqlalchemy"),
    ],
)
def test_what_is_not_allowed_is_found(path: str, line: str) -> None:
    assert len(_violations(path, line)) == 1


def test_files_and_functions_are_short() -> None:
    sources = sorted((*PLUGINS.rglob("*.py"), *(PLUGINS.parent / "roles").rglob("*.yml")))
    long = [f"{path}: {lines}" for path in sources if (lines := len(path.read_text().splitlines())) > LONGEST_FILE]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())) if path.suffix == ".py" else ():
            if isinstance(node, ast.FunctionDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION:
                long.append(f"{path}, {node.name}(): {lines}")
    assert long == []


def _loaded(path: pathlib.Path, found: set[str]) -> set[str]:
    """Adds the names of all that is loaded with a file, our own files and libraries."""
    for node in ast.parse(path.read_text()).body:
        tried = node.body if isinstance(node, ast.Try) else [node]
        for name in [
            name for one in tried if isinstance(one, (ast.Import, ast.ImportFrom)) for _line, name in _imports(ast.unparse(one))
        ]:
            if name in found:
                continue
            found.add(name)
            ours = name[len(PREFIX) :].split(".") if name.startswith(PREFIX) else []
            # The last part may be what is imported from the file.
            for parts in (ours, ours[:-1]):
                if parts and (file := PLUGINS.joinpath(*parts).with_suffix(".py")).exists():
                    _loaded(file, found)
    return found


@pytest.mark.parametrize("path", sorted((PLUGINS / "filter").glob("*.py")), ids=lambda path: path.stem)
def test_filters_load_none_of_the_libraries(path: pathlib.Path) -> None:
    """Every worker of Ansible that uses a filter loads, and compiles, all that the filter imports."""
    assert sorted(name for name in _loaded(path, set()) if name.partition(".")[0] in {*GATES, "sqlalchemy"}) == []
