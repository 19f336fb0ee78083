# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One DNS server over one TCP connection: signed messages, zones by SOA, names by query or zone transfer, serial numbers."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.dns_import import dnspython
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import MARK_LABEL, DnsError, Found
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.names import mark_name
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.plan import is_reverse, types_of

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.keys import Key

TRANSFER_SECONDS = 120  # for a whole zone
# A signed zone has these at every name; they say nothing of whose it is.
_SIGNATURES = frozenset(("RRSIG", "NSEC", "NSEC3"))


@dataclasses.dataclass(frozen=True)
class Server:
    """Where and how. zones: left out, the server is asked for them. timeout: seconds for one answer."""

    host: str
    port: int = 53
    key: Key | None = None
    timeout: float = 10
    zones: tuple[str, ...] | None = None

    @property
    def where(self) -> str:
        return f"the DNS server {self.host}" + (f" port {self.port}" if self.port != 53 else "")


class TransferRefused(DnsError):
    """The server gives no whole zone to this key."""


class Connection:
    """A connection to one server, made when first used and made again when the server has closed it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.dns = dnspython()
        self.messages = 0
        self._socket: socket.socket | None = None
        key = server.key
        self.signing: dict[str, t.Any] = {}
        if key is not None:
            name = self.dns.name.from_text(key.name)
            keyring = self.dns.tsigkeyring.from_text({key.name: (key.algorithm, key.secret)})
            self.signing = {"keyring": keyring, "keyname": name}

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def exchange(self, message: t.Any) -> t.Any:
        """The server's answer, its signature checked. An answer may be a refusal: see rcode(). Raises DnsError.

        A message is sent once more where an idle connection turns out to be closed.
        """
        fresh = self._socket is None
        try:
            with self.troubles():
                return self._exchange(message)
        except _Closed:
            if fresh:
                raise DnsError(f"{self.server.where} closes the connection without an answer") from None
        with self.troubles(last=True):
            return self._exchange(message)

    def _exchange(self, message: t.Any) -> t.Any:
        if self._socket is None:
            self._socket = socket.create_connection((self.server.host, self.server.port), timeout=self.server.timeout)
            self._socket.setblocking(False)
        self.messages += 1
        return self.dns.query.tcp(
            message, self.server.host, timeout=self.server.timeout, port=self.server.port, sock=self._socket
        )

    def troubles(self, last: bool = False) -> t.Any:
        return _Troubles(self, last)

    def query(self, name: str, rtype: str) -> t.Any:
        message = self.dns.message.make_query(name + ".", rtype, use_edns=False)
        message.flags &= ~self.dns.flags.RD
        if self.signing:
            message.use_tsig(**self.signing)
        return self.exchange(message)

    # -- zones -------------------------------------------------------------------------------------------------------

    def zone_of(self, parent: str) -> str | None:
        """The zone that the domain `parent` is in, by its SOA record; None where this server has none. Raises DnsError."""
        answer = self.query(parent, "SOA")
        code = answer.rcode()
        if code == self.dns.rcode.REFUSED or not answer.flags & self.dns.flags.AA:
            return None
        if code not in (self.dns.rcode.NOERROR, self.dns.rcode.NXDOMAIN):
            raise DnsError(f"{self.server.where} says {self.dns.rcode.to_text(code)} when asked for the zone of {parent}")
        for section in (answer.answer, answer.authority):
            for rrset in section:
                if rrset.rdtype == self.dns.rdatatype.SOA:
                    return _text(rrset.name)
        return None

    def serial(self, zone: str) -> int | None:
        """The zone's serial number here; None where this server does not have it."""
        answer = self.query(zone, "SOA")
        for rrset in answer.answer:
            if rrset.rdtype == self.dns.rdatatype.SOA:
                return int(rrset[0].serial)
        return None

    # -- reading -----------------------------------------------------------------------------------------------------

    def ask(self, names: Iterable[str]) -> dict[str, Found]:
        """What the server has at these names, one query for each type."""
        found = {}
        for name in names:
            sets: dict[str, tuple[int, frozenset[str]]] = {}
            others: set[str] = set()
            for rtype in types_of(name):
                for kind, ttl, values in self._answers(name, rtype):
                    if kind == rtype:
                        sets[kind] = (ttl, values)
                    else:
                        others.add(kind)
            marks: frozenset[str] = frozenset()
            for kind, _ttl, values in self._answers(mark_name(name), "TXT"):
                if kind == "TXT":
                    marks = values
            found[name] = Found(name, sets, frozenset(others), marks)
        return found

    def _answers(self, name: str, rtype: str) -> Iterator[tuple[str, int, frozenset[str]]]:
        answer = self.query(name, rtype)
        code = answer.rcode()
        if code not in (self.dns.rcode.NOERROR, self.dns.rcode.NXDOMAIN):
            raise DnsError(
                f"{self.server.where} says {self.dns.rcode.to_text(code)} when asked for {name}: allow queries to the key or this host"
            )
        if not answer.flags & self.dns.flags.AA:
            raise DnsError(f"{self.server.where} is not an authority for {name}: give the primary server of the zone")
        for rrset in answer.answer:
            if _text(rrset.name) == name:
                yield self.dns.rdatatype.to_text(rrset.rdtype), int(rrset.ttl), frozenset(map(_value, rrset))

    def transfer(self, zone: str) -> dict[str, Found]:
        """All names of the zone. Raises TransferRefused where the key may not have them."""
        dns = self.dns
        copy = dns.zone.Zone(zone + ".", relativize=False)
        query, _serial = dns.xfr.make_query(copy, serial=None, **self.signing)
        try:
            with self.troubles(last=True):
                dns.query.inbound_xfr(
                    _address(self.server.host),
                    copy,
                    query=query,
                    port=self.server.port,
                    timeout=self.server.timeout,
                    lifetime=max(TRANSFER_SECONDS, self.server.timeout),
                )
        except dns.xfr.TransferError as error:
            raise TransferRefused(
                f"{self.server.where} gives no copy of the zone {zone} to this key ({_code(dns, error)})"
            ) from None
        return _of_zone(dns, copy)


class _Closed(Exception):
    """The connection was closed by the other side."""


class _Troubles:
    """Turns what goes wrong on the way into DnsError, without a word of the key's secret."""

    def __init__(self, connection: Connection, last: bool) -> None:
        self.connection, self.last = connection, last

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: t.Any, error: t.Any, _traceback: t.Any) -> None:
        if error is None:
            return
        dns, server = self.connection.dns, self.connection.server
        self.connection.close()
        if isinstance(error, (DnsError, dns.xfr.TransferError)):
            return
        key = f"the key {server.key.name}" if server.key else "no key"
        text = None
        if isinstance(error, (EOFError, ConnectionResetError, BrokenPipeError)):
            if not self.last:
                raise _Closed from None
            text = "closes the connection without an answer"
        elif isinstance(error, dns.tsig.PeerBadKey):
            text = f"does not accept {key}: it has none of this name, or another secret for it; correct the key here or there"
        elif isinstance(error, dns.tsig.PeerBadSignature):
            text = (
                f"does not accept the signature of {key}: its secret or algorithm is another one there; correct it here or there"
            )
        elif isinstance(error, dns.tsig.PeerBadTime):
            text = "says that its clock and the one here differ: set them, signatures are good for five minutes"
        elif isinstance(error, (dns.exception.Timeout, TimeoutError)):
            text = f"does not answer within {server.timeout:g} s: check host, port and firewalls (TCP)"
        elif isinstance(error, socket.gaierror):
            text = "has no address: correct server.host"
        elif isinstance(error, OSError):
            text = f"cannot be reached: {error.strerror or type(error).__name__}"
        elif isinstance(error, dns.exception.DNSException):
            text = f"gave an answer that cannot be used with {key} ({type(error).__name__})"
        if text is not None:
            raise DnsError(f"{server.where} {text}") from None


def newer_or_same(serial: int, than: int) -> bool:
    """By RFC 1982: serial numbers are on a circle."""
    return (serial - than) % 2**32 < 2**31


def wait_for_secondaries(servers: Iterable[Server], serials: dict[str, int], seconds: float, pause: float = 0.1) -> list[str]:
    """A sentence for each secondary that has not all these serial numbers after so many seconds."""
    limit = time.monotonic() + seconds
    late = []
    for server in servers:
        problem = _behind(server, serials)
        while problem and time.monotonic() < limit:
            time.sleep(pause)
            problem = _behind(server, serials)
        if problem:
            late.append(problem)
    return late


def _behind(server: Server, serials: dict[str, int]) -> str | None:
    connection = Connection(server)
    try:
        for zone, serial in serials.items():
            there = connection.serial(zone)
            if there is None:
                return f"the secondary {server.host} has no zone {zone}"
            if not newer_or_same(there, serial):
                return f"the secondary {server.host} still has serial {there} of the zone {zone}, the primary has {serial}"
    except DnsError as error:
        return str(error)
    finally:
        connection.close()
    return None


def _of_zone(dns: t.Any, copy: t.Any) -> dict[str, Found]:
    sets: dict[str, dict[str, tuple[int, frozenset[str]]]] = {}
    others: dict[str, set[str]] = {}
    marks: dict[str, frozenset[str]] = {}
    label = MARK_LABEL + "."
    for owner, rdataset in copy.iterate_rdatasets():
        name = _text(owner)
        rtype = dns.rdatatype.to_text(rdataset.rdtype)
        if name.startswith(label):
            if rtype == "TXT":
                marks[name[len(label) :]] = frozenset(map(_value, rdataset))
        elif rtype in types_of(name):
            sets.setdefault(name, {})[rtype] = (int(rdataset.ttl), frozenset(map(_value, rdataset)))
        elif rtype not in _SIGNATURES:
            others.setdefault(name, set()).add(rtype)
    return {
        name: Found(name, sets.get(name, {}), frozenset(others.get(name, ())), marks.get(name, frozenset()))
        for name in {*sets, *others, *marks}
    }


def _value(rdata: t.Any) -> str:
    """An address, a name without its last dot, or a text, as the rest of this code writes them."""
    strings = getattr(rdata, "strings", None)
    if strings is not None:
        return b"".join(strings).decode("latin-1")
    target = getattr(rdata, "target", None)
    if target is not None:
        return _text(target)
    address = getattr(rdata, "address", None)
    return str(ipaddress.ip_address(address)) if address is not None else str(rdata.to_text())


def _text(name: t.Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()


def _code(dns: t.Any, error: t.Any) -> str:
    code = getattr(error, "rcode", None)
    return dns.rcode.to_text(code) if code is not None else type(error).__name__


def _address(host: str) -> str:
    """The address of a host, which dnspython wants; raises OSError."""
    return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])


def parents(names: Iterable[str]) -> Collection[str]:
    """The domains whose zones these names are looked for in: one for each network, not one for each name."""
    found = set()
    for name in names:
        labels = name.split(".")
        # An IPv6 network is a /64: 16 labels of one hexadecimal digit before ip6.arpa.
        found.add(".".join(labels[16:] if is_reverse(name) and labels[-2] == "ip6" else labels[1:]))
    return found
