# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts and stops the vCenter rig and talks to its control interface."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import typing as t
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent


class VCenterRig:
    """One running rig; a context manager. Switches are those of the program, such as vms=100, page_size=10, esx=True."""

    def __init__(self, name: str, **switches: t.Any) -> None:
        self.name = name
        self.switches = switches
        self.facts: dict[str, t.Any] = {}

    def __enter__(self) -> VCenterRig:
        return self.up()

    def __exit__(self, *exc: object) -> None:
        self.down()

    def up(self) -> VCenterRig:
        """Starts the rig; one left behind by an interrupted run is stopped first."""
        self.down()
        arguments = [f"-{key.replace('_', '-')}={str(value).lower()}" for key, value in self.switches.items()]
        out = subprocess.run(
            [str(HERE / "rig"), "up", "--name", self.name, "--", *arguments], check=True, stdout=subprocess.PIPE, timeout=600
        )
        self.facts = json.loads(out.stdout)
        return self

    def down(self) -> None:
        """Stops the rig."""
        subprocess.run([str(HERE / "rig"), "down", "--name", self.name], check=True, timeout=60)

    def description(self, **changes: t.Any) -> dict[str, t.Any]:
        """The option `hypervisor` for this rig."""
        found = {
            "type": "vmware",
            "host": self.facts["host"],
            "port": self.facts["port"],
            "username": self.facts["username"],
            "password": self.facts["password"],
            "validate_certs": True,
            "ca_path": self.facts["ca_path"],
            "connect_timeout": 30.0,
        }
        found.update(changes)
        return found

    def _control(self, method: str, path: str, body: t.Any = None) -> t.Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.facts["control"] + path, data=data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())

    def calls(self, reset: bool = False) -> dict[str, int]:
        """How many times each call was made since the last reset; transfers of files as "PUT <path>"."""
        return self._control("DELETE" if reset else "GET", "/calls")["calls"]

    def journal(self) -> list[str]:
        """The calls in their order."""
        return self._control("GET", "/calls")["journal"] or []

    def fault(self, method: str, kind: str, **more: t.Any) -> None:
        """Makes calls fail; faults.go has the kinds."""
        self._control("POST", "/faults", {"method": method, "kind": kind, **more})

    def fault_hits(self) -> int:
        """How many calls were hit by the faults in force."""
        return self._control("GET", "/faults")["hits"]

    def clear_faults(self) -> None:
        """Ends all faults."""
        self._control("DELETE", "/faults")

    def sessions(self) -> int:
        """Sessions that are open now."""
        return self._control("GET", "/sessions")["sessions"]

    def api_sessions(self) -> int:
        """Sessions of the Automation API that are open now."""
        return self._control("GET", "/sessions")["api_sessions"]

    def revoke_sessions(self) -> None:
        """Ends all sessions, as an administrator or the idle time-out does."""
        self._control("DELETE", "/sessions")

    def guests(self, *guests: dict[str, t.Any]) -> None:
        """Sets what VMware Tools reports; see the type guest in guest.go."""
        self._control("POST", "/guests", list(guests))

    def guest_system(self, vm: str, pid: int, root: str, user: str, password: str) -> None:
        """Lets guest operations of a VM work in a root folder, in the namespaces of a process."""
        self._control("POST", "/guest_system", {"vm": vm, "pid": pid, "root": root, "user": user, "password": password})

    def door(self, vm: str, locked: bool) -> None:
        """Makes the guest lock or unlock the CD door."""
        self._control("POST", "/door", {"vm": vm, "locked": locked})

    def deny(self, *denied: tuple[str, str, int]) -> None:
        """Takes privileges from the account: (datastore or datacenter, privilege, HTTP status of file access). Replaces earlier ones."""
        self._control("POST", "/denied", [{"object": o, "privilege": p, "status": s} for o, p, s in denied])

    def deaf(self, vm: str, deaf: bool = True) -> None:
        """Makes the guest ignore requests to shut down."""
        self._control("POST", "/deaf", {"vm": vm, "deaf": deaf})

    def clock(self, seconds: int) -> None:
        """Puts the hosts' clocks ahead by so many seconds."""
        self._control("POST", "/clock", {"seconds": seconds})

    def datastore_hosts(self, datastore: str, *hosts: str) -> None:
        """Makes only these hosts see a datastore."""
        self._control("POST", "/datastore_hosts", {"datastore": datastore, "hosts": list(hosts)})

    def vm(self, name: str) -> dict[str, t.Any] | None:
        """The VM as the simulator has it, or None."""
        found = self._control("GET", "/vms?name=" + urllib.parse.quote(name, safe=""))
        return found[0] if found else None

    def vms(self) -> list[dict[str, t.Any]]:
        """All VMs as the simulator has them."""
        return self._control("GET", "/vms")

    def file(self, location: str) -> pathlib.Path:
        """The real file behind "[datastore] path"."""
        datastore, path = location[1:].split("] ", 1)
        return pathlib.Path(self.facts["datastores"][datastore]) / path

    def isos(self) -> list[str]:
        """All files with the ending .iso and all left-over uploads, as "[datastore] path"."""
        found = []
        for datastore, folder in self.facts["datastores"].items():
            for path in pathlib.Path(folder).rglob("*"):
                if re.search(r"\.iso(\.\w+\.upload)?$", path.name) and path.is_file():
                    found.append(f"[{datastore}] {path.relative_to(folder)}")
        return sorted(found)
