# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_dns_file."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns import files, names
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import DnsError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.dns_sync import leases, read_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.nic_record import record_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_dns_records import (
    MAX_CONFLICTS,
    conflict_result,
    warn_of,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

try:
    import fcntl
except ImportError:  # not on every system where this is imported
    fcntl = None  # type: ignore[assignment]

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import Pair

MAX_FILE = 64 * 1024 * 1024
NEW_FILE_MODE = "0644"


def run_module(module: AnsibleModule) -> None:
    """Makes these hypervisors' part of the file what the record says, and ends the module."""
    params = module.params
    try:
        rules = read_rules(params)
        with record_of(module) as store:
            if not store.database.exists():
                raise DnsError(
                    f"{store.database.where} does not exist or has no tables yet: nothing was changed; poll the addresses first"
                )
            rows = store.nics(hypervisor_names=params["hypervisor_name"])
        wanted, nameless = names.pairs(leases(rows) if params["state"] == "present" else [], rules)
        pairs, conflicts = files.settled(wanted)
        conflicts = nameless + conflicts
        with _alone(params["path"], module.check_mode):
            before = _read(params["path"])
            after = _made(params, before or "", pairs)
            changed = before != after and (before is not None or params["state"] == "present")
            if changed and not module.check_mode:
                _write(module, params["path"], after)
    except DnsError as error:
        module.fail_json(msg=str(error))
    if os.path.exists(params["path"]):
        if before is None and params["mode"] is None:
            params["mode"] = NEW_FILE_MODE
        arguments = module.load_file_common_arguments(params, path=params["path"])
        changed = module.set_fs_attributes_if_different(arguments, changed)
    warn_of(module, conflicts)
    result: dict[str, t.Any] = {
        "changed": changed,
        "path": params["path"],
        "pairs": [{"name": pair.name, "address": pair.address, "reverse": pair.reverse} for pair in pairs],
        "conflicts": [conflict_result(conflict) for conflict in conflicts[:MAX_CONFLICTS]],
    }
    if module._diff:
        result["diff"] = {"before": before or "", "after": after, "before_header": params["path"], "after_header": params["path"]}
    module.exit_json(**result)


def _made(params: dict[str, t.Any], before: str, pairs: Sequence[Pair]) -> str:
    hypervisors = params["hypervisor_name"]
    try:
        if params["format"] == "csv":
            return files.table(before, pairs, hypervisors)
        part = plain(", ".join(sorted(hypervisors or ())), 200)
        return files.hosts(before, pairs if params["state"] == "present" else None, part)
    except DnsError as error:
        raise DnsError(f"path is {params['path']}: {error}") from None


@contextlib.contextmanager
def _alone(path: str, check_mode: bool) -> Iterator[None]:
    """Keeps other runs, such as those for other hypervisors in the same play, from changing files in that folder meanwhile."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DnsError(f"path is {path}: its folder {folder} cannot be opened: {error.strerror}") from None
    try:
        if fcntl is not None and not check_mode:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: str) -> str | None:
    """The file's text, with bytes that are no UTF-8 kept; None if there is no file. Raises DnsError."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
            raise DnsError(f"path is {path}, which is no file of at most {MAX_FILE // 1024 // 1024} MiB: name one")
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DnsError(f"path is {path}, which cannot be read: {error.strerror}") from None


def _write(module: AnsibleModule, path: str, text: str) -> None:
    """Replaces the file in one step: readers see the old one or the new one. Raises DnsError."""
    try:
        handle, name = tempfile.mkstemp(prefix=".vmops-", dir=os.path.dirname(os.path.abspath(path)))
        module.add_cleanup_file(name)
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
    except OSError as error:
        raise DnsError(f"path is {path}, which cannot be written: {error.strerror}") from None
    module.atomic_move(name, os.path.realpath(path))
