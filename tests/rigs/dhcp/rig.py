# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The external DHCP server on the KVM rig's bridge: dnsmasq in a network namespace of its own, never libvirt's own DHCP.

Its lease file and log are a test's ground truth; the collection never reads them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import librig
import librig_dhcp

HELP = """
commands:
  up      start the server (and the bridge, when the KVM rig is not there yet)
  status  print what there is as KEY=VALUE lines
  leases  print the leases in force, one "mac address hostname" a line
  stop    stop the server only: no machine gets an address any more (start undoes it)
  start   start a stopped server again, with the leases it had
  reassign  give the address of the lease of --mac to another machine, so that the next renewal gets another one
  down    remove server, namespace, leases and log
"""


def command() -> int:
    parser = argparse.ArgumentParser(
        prog="rig", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["up", "status", "leases", "stop", "start", "reassign", "down"])
    parser.add_argument("--mac", default="", help="whose lease is reassigned")
    parser.add_argument("--name", default="test", help="name of the rig (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print status or leases as JSON")
    arguments = parser.parse_args()
    rig = librig.Rig(arguments.name)
    if arguments.command not in ("status", "leases"):
        librig.become_root()
    if arguments.command == "leases":
        leases = librig_dhcp.leases(rig)
        if arguments.json:
            print(json.dumps([lease._asdict() for lease in leases]))
        for lease in [] if arguments.json else leases:
            print(f"{lease.mac} {lease.address} {lease.hostname}".rstrip())
        return 0
    if arguments.command != "status":
        with rig.lock():
            words = (arguments.mac,) if arguments.command == "reassign" else ()
            getattr(librig_dhcp, arguments.command)(rig, *words)
        if arguments.command == "down":
            return 0
    librig.print_values({"NAME": rig.name, **librig_dhcp.status(rig)}, arguments.json)
    return 0


if __name__ == "__main__":
    librig.main(command)
