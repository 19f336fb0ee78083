# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the demonstration's inventory for the rig that is up, as a user would write it, with new random secrets."""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import subprocess
import sys

INVENTORY = """\
all:
  hosts:
    kvm01:
      hypervisor:
        type: kvm
        uri: "{uri}"
      shared_networks:
        - name: corp
          bridge: {bridge}
          cidr: {cidr}
          ip_range: {ip_range}      # announced by the DHCP server's administrator
          services: [userdata]
      site_bridge: {bridge}          # of site.yml, the example of a whole life
      site_template: {template}
      vms:
        - name: web1
          template: {template}
          networks: [corp]
          password: "{{{{ secrets_of.web1 }}}}"
          user_data: {{role: web, tier: front}}
          ssh_keys: ["{key}"]
        - name: web2
          template: {template_q35}   # its kernel does not see a CD/DVD drive on SATA, which q35 has
          networks: [corp]
          password: "{{{{ secrets_of.web2 }}}}"
          user_data: {{role: db, tier: back}}
        - name: web3
          template: {template_no_agent}   # no guest agent: its address is read from its disk
          networks: [corp]
          password: "{{{{ secrets_of.web3 }}}}"
  vars:
    external_dhcp_record: sqlite:///{work}/record.db
    vm_ip_poll_interval: 5     # seconds; the default is 180
    vm_ip_poll_max_retry: 60   # emulated guests boot slowly; the default is 10
"""
ANSIBLE_CFG = """\
[defaults]
collections_path = {collections}
callback_result_format = yaml
"""


def main() -> None:
    work = pathlib.Path(sys.argv[1]).resolve()
    rig = json.loads((work / "rig.json").read_text())
    key = work / "id_ed25519"
    if not key.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(key)], check=True, stdin=subprocess.DEVNULL
        )
    passwords = work / "group_vars" / "all.yml"
    if not passwords.exists():
        passwords.parent.mkdir(exist_ok=True)
        lines = [f"  {vm}: '{secrets.token_hex(8)}'\n" for vm in ("web1", "web2", "web3")]
        with open(os.open(passwords, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.write("# in real life: a vault\nsecrets_of:\n" + "".join(lines))
    (work / "ansible.cfg").write_text(ANSIBLE_CFG.format(collections=os.environ["ANSIBLE_COLLECTIONS_PATH"]))
    (work / "inventory.yml").write_text(
        INVENTORY.format(
            uri=rig["URI"],
            bridge=rig["BRIDGE"],
            cidr=rig["CIDR"],
            ip_range=rig["DHCP_RANGE"],
            template=rig["TEMPLATE"],
            template_q35=rig["TEMPLATE_Q35"],
            template_no_agent=rig["TEMPLATE_NO_AGENT"],
            key=(work / "id_ed25519.pub").read_text().strip(),
            work=work,
        )
    )


main()
