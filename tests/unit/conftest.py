# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every unit test can use: the collection under its full name, and modules run in this process.

The tests run the same way from `make unit`, from a plain `pytest` in any checkout, and from `ansible-test units`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pathlib
import sys
import typing as t
from unittest import mock

import pytest

COLLECTION = "ansible_collections.vmops.external_dhcp"


def _make_collection_importable() -> None:
    """Lets `import ansible_collections.vmops.external_dhcp...` find this checkout, unless somebody has seen to it."""
    from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

    if any(isinstance(finder, _AnsibleCollectionFinder) for finder in sys.meta_path):
        return  # ansible-test has installed its own
    root = pathlib.Path(__file__).resolve().parents[2]
    tree = root / ".build" / "collections"
    link = tree / "ansible_collections" / "vmops" / "external_dhcp"
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(os.path.relpath(root, link.parent), target_is_directory=True)
    _AnsibleCollectionFinder(paths=[str(tree)])._install()


_make_collection_importable()

with contextlib.suppress(ImportError):
    import hypothesis

    # The same examples in every run; --hypothesis-profile=search looks for others. A busy machine takes its time over one.
    hypothesis.settings.register_profile("search", deadline=None)
    hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("repeatable")


@contextlib.contextmanager
def _module_arguments(arguments: dict[str, t.Any]) -> t.Iterator[None]:
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:  # ansible-core 2.18
        from ansible.module_utils import basic

        encoded = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        with mock.patch.object(basic, "_ANSIBLE_ARGS", encoded):
            yield
    else:
        with patch_module_args(arguments):
            yield


def _as_a_module() -> contextlib.AbstractContextManager[t.Any]:
    """Warnings into the result, not on the screen, also where another test has imported controller code into this process."""
    from ansible.module_utils import _internal

    # Not there before ansible-core 2.19, where warnings know one way only; a mark that nobody looks at does no harm.
    return mock.patch.object(_internal, "is_controller", False, create=True)


class RunModule(t.Protocol):
    """The type of the fixture `run_module`, for annotations under TYPE_CHECKING."""

    def __call__(
        self,
        module: str,
        options: dict[str, t.Any],
        *,
        check_mode: bool = False,
        diff: bool = False,
        fails: bool = False,
    ) -> dict[str, t.Any]:
        """The module's result; see the fixture."""


@pytest.fixture
def run_module(tmp_path: pathlib.Path) -> RunModule:
    """Runs a module's main() in this process and returns the result a playbook would see, secrets masked by Ansible.

        result = run_module("vm_ip_info", {"hypervisor": {...}}, check_mode=True)
        result = run_module("vm_ip_info", {}, fails=True)

    The argument spec is really applied. Whether the module fails must be as `fails` says, else the test fails with
    the module's message. What the module talks to is replaced by the test (monkeypatch) before the call; to do so,
    `importlib.import_module("ansible_collections.vmops.external_dhcp.plugins.modules.<name>")` is the same object.
    """
    from ansible.module_utils import basic
    from ansible.module_utils.common import warnings

    def run(
        module: str,
        options: dict[str, t.Any],
        *,
        check_mode: bool = False,
        diff: bool = False,
        fails: bool = False,
    ) -> dict[str, t.Any]:
        main = importlib.import_module(f"{COLLECTION}.plugins.modules.{module}").main
        arguments = {
            **options,
            "_ansible_check_mode": check_mode,
            "_ansible_diff": diff,
            "_ansible_module_name": f"vmops.external_dhcp.{module}",
            "_ansible_remote_tmp": str(tmp_path / "remote_tmp"),
            "_ansible_keep_remote_files": False,
        }
        output = io.StringIO()
        # A module is a process of its own, which starts without the warnings of another one.
        warnings._global_warnings.clear()
        warnings._global_deprecations.clear()
        with (
            _module_arguments(arguments),
            _as_a_module(),
            mock.patch.object(basic.AnsibleModule, "log"),  # not into the developer's journal
            contextlib.redirect_stdout(output),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        lines = output.getvalue().strip().split("\n")
        assert len(lines) == 1, f"a module prints one line of JSON and nothing else, not {lines}"
        result = json.loads(lines[0])
        failed = bool(result.get("failed"))
        assert failed == bool(ended.value.code), "exit code and result disagree"
        assert failed == fails, result.get("msg", result)
        return result

    return run
