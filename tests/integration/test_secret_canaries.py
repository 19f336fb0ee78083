# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Canaries through the whole main job: marks in every secret, all playbooks and modules with -vvvv, also where they fail.

Run with `pytest -s` it prints the places that were searched.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pathlib
import stat
import sys
import typing as t
from unittest import mock

import pytest
import yaml

from ansible_collections.vmops.external_dhcp.tests.integration.canaries import Watcher
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI "
MARKS = {
    kind: f"CaNaRy{kind}7Qx"
    for kind in ("password", "newpassword", "badpassword", "key", "badkey", "userdata", "line2", "mapping", "base64", "vendor")
} | {kind: f"CaNaRy{kind}7Qx" for kind in ("recordpassword", "hypervisorpassword", "nonsense")}
VM, OTHER = "it-canary1", "it-canary2"


GOOD = ("addresses", "record")


class Case(t.NamedTuple):
    """A task; all but the GOOD ones are to fail, once the VM is there."""

    name: str
    module: str
    options: dict[str, t.Any]


def cases(kvm: KvmHost, record: str) -> list[Case]:
    """Every module, with secrets, mostly with something wrong."""
    here = kvm.hypervisor
    nowhere = {"type": "kvm", "uri": "qemu+unix:///system?socket=/nowhere"}
    remote = {"host": "127.0.0.1", "port": 1, "username": "ops", "password": MARKS["hypervisorpassword"], "connect_timeout": 2}
    database = f"postgresql://ops:{MARKS['recordpassword']}@127.0.0.1:1/none"
    good = {
        "name": VM,
        "password": MARKS["password"],
        "user_data": f"first {MARKS['userdata']}\nsecond '{MARKS['line2']}'",
        "ssh_keys": [KEY + MARKS["key"]],
        "vendor_data": {"x": MARKS["vendor"]},
    }

    def drives(entry: dict[str, t.Any], hypervisor: t.Any = here, **more: t.Any) -> tuple[str, dict[str, t.Any]]:
        return "vm_config_drive", {"hypervisor": hypervisor, "drives": [{"name": VM, **entry}], **more}

    found = [
        ("no such VM", *drives({**good, "name": "it-nobody"})),
        ("nobody answers", *drives(good, nowhere)),
        ("no such folder", *drives(good, {**here, "image_dir": "/var/lib/libvirt/nowhere"})),
        ("bad password", *drives({**good, "password": MARKS["badpassword"] + " *"})),
        ("bad key", *drives({**good, "ssh_keys": f"ssh-rsa {MARKS['badkey']}"})),
        ("bad mapping", *drives({"user_data": {"a": [MARKS["mapping"]]}})),
        ("bad base64", *drives({"user_data_base64": MARKS["base64"] + "!"})),
        ("unknown option", *drives({**good, "nonsense": MARKS["nonsense"]})),
        ("wrong type", *drives({**good, "metadata": MARKS["nonsense"]})),
        ("twice", "vm_config_drive", {"hypervisor": here, "drives": [good, good]}),
        ("foreign file", *drives({**good, "name": OTHER})),
        ("destination that does not answer", *drives(good, state="moved", destination="qemu+unix:///system?socket=/nowhere")),
        ("VMware refuses", "vm_ip_info", {"hypervisor": {"type": "vmware", **remote}}),
        ("XenServer refuses", "vm_ip_info", {"hypervisor": {"type": "xenserver", **remote}}),
        ("drive of a VMware VM", *drives(good, {"type": "vmware", **remote})),
        ("drive of a XenServer VM", *drives(good, {"type": "xenserver", **remote})),
        ("addresses", "vm_ip_info", {"hypervisor": here}),
        ("record refuses", "vm_nic_record", {"record": database, "hypervisor_name": "x", "vms": [], "state": "pending"}),
        ("record refuses a list", "vm_nic_record_info", {"record": database}),
        ("record refuses a poll", "vm_ip_fetch", {"record": database, "hypervisor": here, "hypervisor_name": "x"}),
        (
            "hypervisor refuses a poll",
            "vm_ip_fetch",
            {"record": record, "hypervisor": {"type": "vmware", **remote}, "hypervisor_name": "kvm01", "interval": 1},
        ),
        ("record", "vm_nic_record_info", {"record": record, "detail": True}),
    ]
    return [Case(*case) for case in found]


@pytest.fixture(scope="module")
def vms(kvm: KvmHost) -> t.Iterator[None]:
    yield
    for name in (VM, OTHER):
        kvm.undefine(name)


def test_no_secret_gets_out_of_playbooks(kvm: KvmHost, vms: None, tmp_path: pathlib.Path):
    place = tmp_path / "place"
    for folder in (tmp_path, place, place / "tmp"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    (place / "tmp").chmod(0o1777)
    (kvm.images / f"{OTHER}.iso").write_bytes(b"somebody's")
    definition = place / "other.xml"
    definition.write_text(
        f"<domain type='qemu'><name>{OTHER}</name><memory unit='MiB'>24</memory><os><type machine='pc'>hvm</type></os><devices>"
        "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>"
        "<disk type='file' device='cdrom'><target dev='hdd' bus='ide'/></disk></devices></domain>"
    )
    kvm.virsh("define", str(definition))
    record_file = place / "record.db"
    tasks = cases(kvm, f"sqlite:///{record_file}")

    # In files of variables, as people keep secrets: Ansible itself prints the lines of a playbook around a failure.
    inventory, secret_file = tmp_path / "inventory.json", tmp_path / "secrets.json"
    for path in (inventory, secret_file):
        path.touch(mode=0o600)
    host = {
        "hypervisor": kvm.hypervisor,
        "external_dhcp_record": f"sqlite:///{record_file}",
        "shared_networks": [{"name": "corp", "bridge": kvm.status["BRIDGE"], "cidr": kvm.status["CIDR"]}],
        "vms": [
            {
                "name": VM,
                "template": kvm.status["TEMPLATE"],
                "networks": ["corp"],
                "password": MARKS["password"],
                "ssh_keys": [KEY + MARKS["key"]],
                "user_data": f"first {MARKS['userdata']}\nsecond '{MARKS['line2']}'",
                "vendor_data": {"x": MARKS["vendor"]},
            }
        ],
        "vm_wait": False,
        "vm_password_restart": False,
        "vm_shutdown_timeout": 1,
        "vm_ip_poll_syslog": False,
    }
    inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}))
    secret_file.write_text(
        json.dumps({"cases": {case.name: case.options for case in tasks}, "vm_passwords": {VM: MARKS["newpassword"]}})
    )
    ignored = [
        {
            "name": case.name,
            f"vmops.external_dhcp.{case.module}": {
                option: f"{{{{ cases['{case.name}']['{option}'] }}}}" for option in case.options
            },
            "ignore_errors": True,
        }
        for case in tasks
    ]
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    play = {"hosts": "kvm01", "gather_facts": False, "vars": local, "tasks": ignored}

    def write(name: str, *parts: str | dict[str, t.Any]) -> str:
        path = tmp_path / f"{name}.yml"
        plays = [{"import_playbook": f"vmops.external_dhcp.{part}"} if isinstance(part, str) else part for part in parts]
        path.write_text(yaml.safe_dump(plays))
        return str(path)

    books = write("run", "deploy_vms", play, "reset_password", "list_vms", "tick_vm_ips", "sync_vms", "stop_vms", "start_vms")
    # The modules by themselves are run in check mode by the test below.
    in_check_mode = write("checked", "deploy_vms", "reset_password", "destroy_vms")

    environment = {
        "HOME": str(place),
        "TMPDIR": str(place / "tmp"),
        "ANSIBLE_LOG_PATH": str(place / "log"),
        "ANSIBLE_HOME": str(place / "home"),
        "ANSIBLE_LOCAL_TEMP": str(place / "local"),
        "ANSIBLE_REMOTE_TEMP": str(place / "remote"),
    }
    watcher = Watcher(place, MARKS.values(), pause=0.1)
    watcher.start()
    words = ("-vvvv", "--diff", "-e", f"@{secret_file}")
    try:
        done = kvm.playbook(books, inventory, *words, env=environment)
        checked = kvm.playbook(in_check_mode, inventory, *words, "--check", env=environment, vm_names=[VM])
        iso = (kvm.images / f"{VM}.iso").read_bytes()
        modes = {
            path: stat.S_IMODE(path.stat().st_mode)
            for path in (kvm.images / f"{VM}.iso", record_file, *place.glob("record.db-*"))
        }
        definitions = [
            kvm.virsh("dumpxml", name, "--security-info", *more) for name in (VM, OTHER) for more in ((), ("--inactive",))
        ]
        record = b"".join(path.read_bytes() for path in place.glob("record.db*"))
        destroyed = kvm.playbook("destroy_vms", inventory, *words, env=environment, vm_names=[VM])
    finally:
        watcher.ended.set()
        watcher.join()

    for played in (done, checked, destroyed):
        text = played.output
        assert played.returncode == 0, text[-3000:]
    by_task = dict(part.split("]", 1) for part in done.output.split("TASK [")[1:])
    assert {case.name for case in tasks if "...ignoring" not in by_task[case.name]} == set(GOOD)
    # The marks were where they belong, so they could have got out.
    assert MARKS["newpassword"].encode() in iso and MARKS["userdata"].encode() in iso and MARKS["key"].encode() in iso

    state = pathlib.Path(kvm.status["STATE_DIR"])
    hypervisor_files = [path for path in state.rglob("*") if path.is_file() and kvm.images not in path.parents]
    hypervisor_files += [path for path in kvm.images.iterdir() if path.suffix not in (".qcow2", ".vmlinux", ".vmlinuz", ".img")]
    searched: dict[str, t.Any] = {
        "standard output and error, -vvvv --diff, run": done.output,
        "the same, --check": checked.output,
        "the same, destroying": destroyed.output,
        "ANSIBLE_LOG_PATH": (place / "log").read_bytes(),
        "libvirt's definitions and metadata of the VMs, running and persistent": "".join(definitions),
        "the record's database file": record,
        "libvirt's and QEMU's logs, configuration, state and image folder after destroying, %d files"
        % len(hypervisor_files): b"".join(map(_content, hypervisor_files)),
        "files left in HOME, TMPDIR, Ansible's folders": b"".join(_content(path) for path in place.rglob("*")),
    }
    found = {where: watcher.marks_in(text if isinstance(text, bytes) else text.encode()) for where, text in searched.items()}
    in_processes = {what for what in watcher.found if " of a process: " in what}
    found[f"command lines and environments of all processes, {watcher.rounds} times"] = sorted(in_processes)
    found["files open to others than their owner, while it ran"] = sorted(watcher.found - in_processes)
    found["modes of drive and record"] = [f"{path} {mode:04o}" for path, mode in modes.items() if mode & 0o077]
    print("\nsearched for secrets:", *(f"\n  {where}" for where in found))
    assert {where: what for where, what in found.items() if what} == {}
    assert (
        watcher.whole
        and watcher.rounds > 10
        and any("AnsiballZ" in line or "plugins.modules." in line for line in watcher.processes)
    )
    assert len(hypervisor_files) > 5 and record.startswith(b"SQLite")


def _content(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    except OSError:
        return b""


@pytest.mark.parametrize("mode", [{}, {"_ansible_check_mode": True, "_ansible_diff": True}], ids=["run", "check and diff"])
def test_no_secret_gets_into_what_modules_log_and_return(kvm: KvmHost, tmp_path: pathlib.Path, mode: dict[str, t.Any]):
    """Each module tells syslog or the journal what it was called with: that text, its result and what it raises."""
    from ansible.module_utils import basic

    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import _module_arguments

    logged: list[str] = []
    real = basic.AnsibleModule._log_invocation

    def log_invocation(module: t.Any) -> None:
        module.log = lambda text, log_args=None: logged.append(f"{text} {log_args}")
        real(module)

    results = []
    for case in cases(kvm, f"sqlite:///{tmp_path}/record.db"):
        main = importlib.import_module(f"ansible_collections.vmops.external_dhcp.plugins.modules.{case.module}").main
        arguments = {**case.options, **mode, "_ansible_remote_tmp": str(tmp_path), "_ansible_keep_remote_files": False}
        output = io.StringIO()
        with (
            _module_arguments(arguments),
            mock.patch.object(basic.AnsibleModule, "_log_invocation", log_invocation),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
            pytest.raises(SystemExit),
        ):
            main()
        results.append(output.getvalue())
    watcher = Watcher(tmp_path, MARKS.values())
    assert watcher.marks_in("\n".join(logged).encode()) == []
    assert watcher.marks_in("\n".join(results).encode()) == []
    assert len(logged) >= len(results) - 2 and "Invoked with" in logged[0]
    # the result is the last line; warnings stand before it where controller code was imported by another test
    assert all(json.loads(result.strip().splitlines()[-1]) for result in results)
    assert MARKS["password"] not in os.environ.values()
