# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt's one call for a guest agent, with the errors that libvirt makes of the agent's (src/qemu/qemu_agent.c)."""

from __future__ import annotations

import json
import socket

from libvirt import Domain, libvirtError


def qemuAgentCommand(domain: Domain, command: str, timeout: int, _flags: int) -> str:
    """timeout: in seconds, also for the connection: the agent serves one at a time."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(timeout)
        try:
            channel.connect(domain.socket)
            channel.sendall(command.encode() + b"\n")
            with channel.makefile("r", encoding="utf-8") as answers:
                answer = answers.readline()
        except OSError as error:
            raise libvirtError("Guest agent is not responding: QEMU guest agent is not connected") from error
    told = json.loads(answer)
    if "error" in told:
        what = json.loads(command)["execute"]
        raise libvirtError(f"internal error: unable to execute QEMU agent command '{what}': {told['error']['desc']}")
    return answer
