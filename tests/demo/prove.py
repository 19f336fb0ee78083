# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks the results of the demonstration with the DHCP server and in the guests themselves."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "rigs" / "kvm"))

import console  # pylint: disable=wrong-import-position

LABELS = "for device in /dev/sr* /dev/vd[b-z]; do [ -b $device ] && blkid -o value -s LABEL $device; done; true"
MINE = "config-drive-read.sh get metadata/vm-id"

failures = 0


def claim(text: str, true: bool, detail: str = "") -> None:
    global failures
    failures += not true
    print(f"  {'yes' if true else 'NO '}  {text}{f': {detail}' if detail else ''}", flush=True)


def recorded(work: pathlib.Path) -> dict[str, dict[str, t.Any]]:
    """The NICs in the record by VM name."""
    arguments = json.dumps({"record": f"sqlite:///{work}/record.db"})
    command = [
        "ansible",
        "-i",
        str(work / "inventory.yml"),
        "kvm01",
        "-c",
        "local",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
    ]
    module = ["-m", "vmops.external_dhcp.vm_nic_record_info", "-a", arguments, "--one-line"]
    output = subprocess.run([*command, *module], check=True, capture_output=True, text=True, cwd=work).stdout
    return {nic["vm_name"]: nic for nic in json.loads(output.split("=>", 1)[1])["nics"]}


def leased(rig: dict[str, str]) -> dict[str, str]:
    """Address by MAC in the DHCP server's own lease file."""
    command = [str(ROOT / "tests" / "rigs" / "dhcp" / "rig"), "leases", "--name", rig["NAME"]]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {words[0]: words[1] for words in map(str.split, lines) if len(words) >= 2}


def main() -> int:
    work = pathlib.Path(sys.argv[1]).resolve()
    rig = json.loads((work / "rig.json").read_text())
    passwords = yaml.safe_load((work / "group_vars" / "all.yml").read_text())["secrets_of"]
    nics, leases = recorded(work), leased(rig)
    for vm, password in passwords.items():
        nic = nics[vm]
        claim(
            f"{vm}'s recorded address is the lease that the DHCP server gave",
            leases.get(nic["mac"]) == nic["ip4_address"],
            nic["ip4_address"],
        )
        if vm == "web3":
            claim(f"{vm}'s address was told by its disk, for it has no guest agent", nic["source"] == "lease_file", nic["source"])
        claim(f"{vm} lets root in with the password from its config drive", console.login(rig["URI"], vm, "root", password))
        claim(f"{vm} refuses another password", not console.login(rig["URI"], vm, "root", password + "x"))
        seen = console.run(rig["URI"], vm, "root", password, f"{MINE}; echo; {LABELS}").split()
        claim(f"{vm} sees its own config drive and no other VM's", seen == [nic["vm_id"], "config"], " ".join(seen))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
