# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which certificates of a pool's hosts are trusted: by a CA and the host's names, or by fingerprint."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import ssl
import typing as t
from collections.abc import Mapping

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, HypervisorUnreachable

if t.TYPE_CHECKING:
    from collections.abc import Iterable

_NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
# As openssl prints it: sha256 Fingerprint=AB:CD:…
_FINGERPRINT = re.compile(r"(?:sha-?256(?: fingerprint)?[=:] ?)?([0-9a-f]{2}(?::?[0-9a-f]{2})*)", re.I)
_HEX_DIGITS = 64
CERTIFICATE_FILE = "/etc/xensource/xapi-ssl.pem"


class WrongFingerprint(HypervisorUnreachable):
    """A host's certificate has another fingerprint than the user gave. Nothing was sent to the host."""


class Trust:
    """What hypervisor.ca_path, validate_certs, check_hostname and fingerprints say."""

    def __init__(self, description: Mapping[str, t.Any]) -> None:
        self.context = _context(description)
        self._pins = _pins(description.get("fingerprints"))
        self._any = ssl.create_default_context()
        self._any.check_hostname = False
        self._any.verify_mode = ssl.CERT_NONE

    def pins(self, names: Iterable[str]) -> frozenset[str]:
        """The fingerprints given for a host that is known by these names and addresses; empty if none were."""
        return frozenset().union(*(self._pins.get(name.strip("[]").lower(), ()) for name in names))

    def handshake(self, sock: socket.socket, names: tuple[str, ...]) -> ssl.SSLSocket:
        """Begins TLS on a connection. names: of the host; a certificate is checked against the first.

        Raises SSLCertVerificationError, WrongFingerprint.
        """
        pins = self.pins(names)
        if not pins:
            return self.context.wrap_socket(sock, server_hostname=names[0])
        secured = self._any.wrap_socket(sock, server_hostname=names[0])
        seen = _fingerprint(secured.getpeercert(binary_form=True) or b"")
        if seen not in pins:
            secured.close()
            raise WrongFingerprint(
                f"https://{names[0]}: the certificate has the SHA-256 fingerprint {seen}, and hypervisor.fingerprints has another one "
                f"for this host: another host answers, or the certificate was renewed; {_look(names[0])} and correct it if they agree"
            )
        return secured

    def explain(self, error: ssl.SSLCertVerificationError, names: tuple[str, ...], port: int, timeout: float) -> str:
        """Why a certificate is not trusted, its fingerprint, and what the user can do."""
        reason = error.verify_message or str(error)
        seen = self._seen(names[0], port, timeout)
        if _is_mismatch(error):
            way_out = (
                "use a name that is in the certificate as hypervisor.host (for another host of the pool, correct its hostname: xe "
                "host-set-hostname-live), set hypervisor.check_hostname to false where it is otherwise trusted"
            )
        else:
            way_out = "put the CA's (or the host's own) certificate into a file and name it in hypervisor.ca_path"
        pin = f"; or trust this certificate alone: its SHA-256 fingerprint is {seen}; {_look(names[0])}, and set " if seen else ""
        option = f'hypervisor.fingerprints to {{"{names[0]}": "{seen}"}} if they agree' if seen else ""
        return f"the certificate is not trusted: {reason}; {way_out}{pin}{option}"

    def _seen(self, host: str, port: int, timeout: float) -> str | None:
        """The fingerprint of the certificate that a host shows; nothing is sent to it."""
        try:
            with socket.create_connection((host, port), timeout=timeout) as sock, self._any.wrap_socket(sock) as secured:
                return _fingerprint(secured.getpeercert(binary_form=True) or b"")
        except (OSError, ValueError):
            return None


class HostConnection(http.client.HTTPSConnection):
    """A connection to one host of a pool. names: the one to connect to, then those that its certificate may have instead."""

    def __init__(self, trust: Trust, names: tuple[str, ...], port: int, timeout: float) -> None:
        super().__init__(names[0], port, timeout=timeout, context=trust.context)
        self._trust = trust
        self._names = names

    def connect(self) -> None:
        try:
            self._secure(self._names)
        except ssl.SSLCertVerificationError as error:
            if not _is_mismatch(error) or len(self._names) < 2 or not self._names[1]:
                raise
            # XAPI gives hosts' addresses, but certificates made by default have only the host's name.
            self._secure(self._names[1:])

    def _secure(self, names: tuple[str, ...]) -> None:
        http.client.HTTPConnection.connect(self)
        try:
            self.sock = self._trust.handshake(self.sock, names)
        except BaseException:
            self.close()
            raise


def _is_mismatch(error: ssl.SSLCertVerificationError) -> bool:
    return error.verify_code in _NAME_MISMATCH


def _look(host: str) -> str:
    return (
        f"compare it with what 'openssl x509 -in {CERTIFICATE_FILE} -noout -fingerprint -sha256' prints on the host {host} itself"
    )


def _fingerprint(certificate: bytes) -> str:
    """As openssl writes it."""
    return _colons(hashlib.sha256(certificate).hexdigest())


def _colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()


def _pins(given: t.Any) -> dict[str, frozenset[str]]:
    """hypervisor.fingerprints, checked: by host in lower case, the fingerprints as openssl writes them."""
    if given is not None and not isinstance(given, Mapping):
        raise HypervisorError(f"hypervisor.fingerprints is {given!r}: give a mapping from hosts to fingerprints")
    pins = {}
    for host, value in (given or {}).items():
        values = value if isinstance(value, list) else [value]
        pins[str(host).strip("[]").lower()] = frozenset(_pin(str(host), one) for one in values)
    return pins


def _pin(host: str, value: t.Any) -> str:
    match = _FINGERPRINT.fullmatch(str(value).strip())
    digits = match.group(1).replace(":", "") if match else ""
    if len(digits) != _HEX_DIGITS:
        raise HypervisorError(
            f"hypervisor.fingerprints, {host}: {value!r} is no SHA-256 fingerprint, which has {_HEX_DIGITS} hexadecimal digits: give what "
            f"'openssl x509 -in {CERTIFICATE_FILE} -noout -fingerprint -sha256' prints on that host"
        )
    return _colons(digits)


def _context(description: Mapping[str, t.Any]) -> ssl.SSLContext:
    path = description.get("ca_path")
    try:
        context = ssl.create_default_context(cafile=path or None)
    except (OSError, ssl.SSLError) as error:
        text = (str(error) or type(error).__name__)[:200]
        raise HypervisorError(f"hypervisor.ca_path {path}: no PEM file with certificates could be read: {text}") from None
    if description.get("check_hostname") is False or description.get("validate_certs") is False:
        context.check_hostname = False
    if description.get("validate_certs") is False:
        context.verify_mode = ssl.CERT_NONE
    return context
