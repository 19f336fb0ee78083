# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rig's network: a bridge without any address in the hypervisor's namespace, and somebody else's DHCP server beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import typing as t

import librig
from librig import Rig, RigError, run

#: of a machine that does not exist
OTHER_MAC = "52:54:00:ff:ff:fe"
#: program → package
PROGRAMS = {"ip": "iproute2", "dnsmasq": "dnsmasq-base"}


def make_bridge(rig: Rig) -> None:
    """Makes the hypervisor's namespace with the bridge; the machine's own network neither sees nor filters any of it."""
    librig.netns_add(rig.hypervisor_netns)
    if not librig.link_exists(rig.hypervisor_netns, rig.bridge):
        options = ("stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
        run("ip", "-n", rig.hypervisor_netns, "link", "add", rig.bridge, "type", "bridge", *options)
    # The bridge has no address, not even a link-local one, so that the host cannot reach the guests, as in the real case.
    run("ip", "-n", rig.hypervisor_netns, "link", "set", rig.bridge, "addrgenmode", "none", "up")


def server_pid(rig: Rig) -> int | None:
    return librig.read_pid(rig.dhcp_pid, "dnsmasq")


def start(rig: Rig) -> None:
    """Starts the DHCP server; its namespace must be there (`up`)."""
    if server_pid(rig):
        return
    if not librig.netns_alive(rig.dhcp_netns):
        raise RigError(f"there is no DHCP rig {rig.name!r}: start it with `up`")
    # A server that a killed `up` started, whose number dnsmasq had not written yet.
    stop(rig)
    rig.dhcp.mkdir(mode=0o755, parents=True, exist_ok=True)
    librig.start_kept(
        [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=0", "--user=root"),
            *(f"--interface={rig.dhcp_port}", "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--log-dhcp"),
            f"--dhcp-range={librig.RANGE_FIRST},{librig.RANGE_LAST},{librig.NETMASK},10m",
            # Empty values: no router and no name server, so nothing leaves this network.
            *("--dhcp-option=3", "--dhcp-option=6"),
            *(f"--dhcp-leasefile={rig.lease_file}", f"--pid-file={rig.dhcp_pid}", f"--log-facility={rig.dhcp_log}"),
        ],
        inside=["ip", "netns", "exec", rig.dhcp_netns],
        output=rig.dhcp / "dnsmasq.out",
    )
    librig.wait_for("the DHCP server's start", lambda: server_pid(rig), 10)
    # dnsmasq's user, the tests and anybody who tries the rig out may read the files.
    with contextlib.suppress(FileNotFoundError):
        rig.dhcp_log.chmod(0o644)


def stop(rig: Rig) -> None:
    """Stops the DHCP server and nothing else: leases, log and network stay."""
    pid = server_pid(rig)
    pids = [pid] if pid else []
    pids += [other for other in librig.netns_pids(rig.dhcp_netns) if other != pid]
    for found in pids:
        librig.stop_process(found, "dnsmasq")
    with contextlib.suppress(FileNotFoundError):
        rig.dhcp_pid.unlink()


def reassign(rig: Rig, mac: str) -> None:
    """Gives the address of this MAC's lease to another machine; the guest that asks for it again gets another address."""
    stop(rig)
    lines = rig.lease_file.read_text(encoding="utf-8").splitlines()
    if not any(line.split()[1:2] == [mac] for line in lines):
        raise RigError(f"there is no lease of {mac}")
    given = [line.split()[:1] + [OTHER_MAC, line.split()[2], "*", "*"] if mac in line.split() else line.split() for line in lines]
    rig.lease_file.write_text("".join(" ".join(words) + "\n" for words in given), encoding="utf-8")
    start(rig)


def up(rig: Rig) -> None:
    librig.need(PROGRAMS)
    rig.make_state()
    make_bridge(rig)
    librig.netns_add(rig.dhcp_netns)
    if not librig.link_exists(rig.dhcp_netns, rig.dhcp_port):
        outer = f"vxp-{rig.name}"
        if librig.link_exists(rig.hypervisor_netns, outer):
            run("ip", "-n", rig.hypervisor_netns, "link", "del", outer)
        peer = ("peer", "name", rig.dhcp_port, "netns", rig.dhcp_netns)
        run("ip", "-n", rig.hypervisor_netns, "link", "add", outer, "type", "veth", *peer)
        run("ip", "-n", rig.hypervisor_netns, "link", "set", outer, "master", rig.bridge, "addrgenmode", "none", "up")
        run("ip", "-n", rig.dhcp_netns, "addr", "add", f"{librig.SERVER_ADDRESS}/24", "dev", rig.dhcp_port)
    run("ip", "-n", rig.dhcp_netns, "link", "set", rig.dhcp_port, "up")
    start(rig)


def down(rig: Rig) -> None:
    """Removes server, namespace, lease file and log; the bridge too when nothing uses it any more."""
    stop(rig)
    if librig.netns_exists(rig.dhcp_netns):
        run("ip", "netns", "del", rig.dhcp_netns)
    if rig.dhcp.is_dir():
        shutil.rmtree(rig.dhcp)
    remove_network_if_unused(rig)


def remove_network_if_unused(rig: Rig) -> None:
    if (
        not librig.netns_exists(rig.dhcp_netns)
        and librig.netns_exists(rig.hypervisor_netns)
        and not librig.netns_pids(rig.hypervisor_netns)
    ):
        run("ip", "netns", "del", rig.hypervisor_netns)
    for folder in (rig.state, rig.base):
        # Removed only if it is empty.
        with contextlib.suppress(OSError):
            os.rmdir(folder)


class Lease(t.NamedTuple):
    """One line of the server's lease file."""

    expires: float
    mac: str
    address: str
    hostname: str


def leases(rig: Rig) -> list[Lease]:
    """The leases in force, as the server has them on disk."""
    found = []
    try:
        lines = rig.lease_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        words = line.split()
        if len(words) >= 4 and words[0].isdigit() and words[1].count(":") == 5:
            expires = float(words[0])
            if expires == 0 or expires > time.time():
                found.append(Lease(expires, words[1], words[2], "" if words[3] == "*" else words[3]))
    return found


def status(rig: Rig) -> dict[str, t.Any]:
    return {
        "DHCP": "up" if server_pid(rig) else "stopped" if librig.netns_exists(rig.dhcp_netns) else "down",
        "DHCP_NETNS": rig.dhcp_netns,
        "DHCP_SERVER": librig.SERVER_ADDRESS,
        "DHCP_RANGE": f"{librig.RANGE_FIRST}-{librig.RANGE_LAST}",
        "CIDR": librig.NETWORK,
        "BRIDGE": rig.bridge,
        "LEASE_FILE": rig.lease_file,
        "DHCP_LOG": rig.dhcp_log,
    }
