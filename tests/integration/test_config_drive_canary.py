# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Canaries: unique marks in every secret of a drive, looked for wherever ansible-playbook -vvvv could have let them out.

Searched: what it prints, its log file, the command lines and environments of all processes while it runs, every file that it
writes for a moment or leaves behind (where it must be readable by its owner alone), the drives' own modes, and the results.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import yaml

from ansible_collections.vmops.external_dhcp.tests.integration.canaries import Watcher

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARKS = {
    kind: f"CaNaRy{number}{kind}"
    for number, kind in enumerate(("pw", "newpw", "badpw", "ud", "line2", "map", "b64", "vendor", "key"))
}

DRIVE = {
    "dest": "{{ place }}/drives",
    "drives": [
        {
            "name": "web1",
            "password": MARKS["pw"],
            "user_data": f"first {MARKS['ud']}\nsecond '{MARKS['line2']}' \\",
            "vendor_data": {"x": MARKS["vendor"]},
            "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI " + MARKS["key"]],
        },
        {"name": "web2", "user_data": {"a": MARKS["map"]}},
    ],
}
TASKS = {
    "built": ("config_drive_iso", DRIVE),
    "kept": ("config_drive_iso", DRIVE),
    "updated": ("config_drive_iso", {**DRIVE, "state": "updated", "drives": [{"name": "web1", "password": MARKS["newpw"]}]}),
    "verified": ("config_drive_iso_info", DRIVE),
    "read": ("config_drive_iso_info", {"paths": ["{{ place }}/drives/web1.iso"], "contents": "metadata"}),
    "refused password": ("config_drive_iso", {**DRIVE, "drives": [{"name": "web3", "password": MARKS["badpw"] + " *"}]}),
    "refused key": ("config_drive_iso", {**DRIVE, "drives": [{"name": "web3", "ssh_keys": "ssh-rsa " + MARKS["key"]}]}),
    "refused mapping": ("config_drive_iso", {**DRIVE, "drives": [{"name": "web3", "user_data": {"a": [MARKS["map"]]}}]}),
    "refused base64": ("config_drive_iso", {**DRIVE, "drives": [{"name": "web3", "user_data_base64": MARKS["b64"] + "!"}]}),
    "unknown option": (
        "config_drive_iso",
        {**DRIVE, "drives": [{"name": "web3", "password": MARKS["pw"], "nonsense": MARKS["ud"]}]},
    ),
    "wrong type": ("config_drive_iso", {**DRIVE, "drives": [{"name": "web3", "password": MARKS["pw"], "metadata": MARKS["ud"]}]}),
    "secrets without no_log": ("config_drive_iso_info", {"paths": ["{{ place }}/drives/web1.iso"], "contents": "all"}),
    "folder that cannot be": ("config_drive_iso", {**DRIVE, "dest": "/proc/nowhere"}),
    "deleted": ("config_drive_iso", {**DRIVE, "state": "absent"}),
}


# The interpreter decides whether the modules are started from where they lie, or packed up as for another machine.
DIRECT, PACKED = "{{ ansible_playbook_python }}", str(pathlib.Path(sys.executable).with_name(f"python3.{sys.version_info[1]}"))


@pytest.mark.parametrize(
    ("mode", "interpreter", "process_seen"),
    [
        (["--diff"], DIRECT, "plugins.modules.config_drive_iso"),
        (["--check", "--diff"], PACKED, "AnsiballZ"),
    ],
    ids=["started directly", "packed, check mode"],
)
def test_no_secret_gets_out(mode, interpreter, process_seen, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    # Open to all, so that only the modes that the collection and Ansible give protect what is in it.
    place.chmod(0o755)
    tmp_path.chmod(0o755)
    (place / "tmp").mkdir()
    (place / "tmp").chmod(0o1777)
    # In a file of variables, as people keep secrets: Ansible itself prints the lines of the playbook around a failure.
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"place": str(place), "cases": {name: options for name, (_module, options) in TASKS.items()}}))
    tasks = []
    for name, (module, options) in TASKS.items():
        arguments = {option: f"{{{{ cases['{name}']['{option}'] }}}}" for option in options}
        tasks.append({"name": name, f"vmops.external_dhcp.{module}": arguments, "ignore_errors": True})
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars_files": [str(secrets)], "tasks": tasks}])
    )
    program = shutil.which("ansible-playbook", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("ansible-playbook")
    if program is None:
        pytest.skip("ansible-playbook is not installed")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "TMPDIR": str(place / "tmp"),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
        "ANSIBLE_LOG_PATH": str(place / "log"),
        "ANSIBLE_HOME": str(place / "home"),
        "ANSIBLE_LOCAL_TEMP": str(place / "local"),
        "ANSIBLE_REMOTE_TEMP": str(place / "remote"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    command = [
        program,
        "-vvvv",
        *mode,
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        json.dumps({"ansible_python_interpreter": interpreter}),
        str(playbook),
    ]
    watcher = Watcher(place, MARKS.values())
    watcher.start()
    try:
        process = subprocess.run(
            command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=300, cwd=place
        )
    finally:
        watcher.ended.set()
        watcher.join()
    output = process.stdout + process.stderr
    text = output.decode(errors="replace")
    assert process.returncode == 0, text[-3000:]
    for name in TASKS:
        assert f"TASK [{name}]" in text
    failed = text.count("...ignoring")
    assert failed >= 8, "the tasks that are to fail did not"
    assert "password has a blank" in text and "is not a public SSH key" in text

    assert watcher.marks_in(output) == [], "in what was printed"
    assert watcher.marks_in((place / "log").read_bytes()) == [], "in the log file"
    assert watcher.found == set()
    assert watcher.whole, "the watcher died"
    assert watcher.rounds > 10 and any(process_seen in line for line in watcher.processes), "the watcher saw nothing"
    left = [path for path in place.rglob("*") if path.is_file() and watcher.marks_in(path.read_bytes())]
    assert left == [], "left behind after the drives were deleted"


def test_the_watcher_sees_what_it_is_for(tmp_path):
    """A canary test that cannot fail proves nothing."""
    mark = MARKS["pw"]
    (tmp_path / "open").write_text(mark)
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "private").write_text(mark)
    (tmp_path / "private").chmod(0o600)
    sleeper = subprocess.Popen(
        ["sh", "-c", "echo; read x", mark], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"SECRET": MARKS["ud"]}
    )
    try:
        sleeper.stdout.readline()  # before that the kernel may not yet show its arguments
        watcher = Watcher(tmp_path, MARKS.values())
        watcher.look()
    finally:
        sleeper.communicate()
    assert watcher.found == {
        f"cmdline of a process: {mark}",
        f"environ of a process: {MARKS['ud']}",
        f"{tmp_path}/open, mode 0644",
    }
