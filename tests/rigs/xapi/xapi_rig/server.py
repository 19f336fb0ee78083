# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTPS: the RPC endpoints and the raw VDI import and export handlers (import_raw_vdi.ml, xapi_http.ml, importexport.ml)."""

from __future__ import annotations

import base64
import http.server
import json
import pathlib
import socket
import socketserver
import ssl
import threading
import typing as t
import urllib.parse
import xmlrpc.client
from http.cookies import SimpleCookie

from xapi_rig import vhd, wire
from xapi_rig.facts import NULL, Failure
from xapi_rig.pool import CutConnection, Fault, Pool
from xapi_rig.store import Obj

IMPORT = "PUT /import_raw_vdi"
EXPORT = "GET /export_raw_vdi"
BLOCK = 65536
EXPORT_LINGERS = 0.15


class HostServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One host's port 443."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, pool: Pool, host: str, address: tuple[str, int], certificate: pathlib.Path) -> None:
        self.pool = pool
        self.host = host
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        super().__init__(address, Handler)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Ignores errors of clients that have gone."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HostServer
    timeout = 120

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.request.close()

    def log_message(self, format: str, *args: t.Any) -> None:
        pass

    @property
    def pool(self) -> Pool:
        return self.server.pool

    # -- RPC -------------------------------------------------------------------------------------------------------

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urllib.parse.urlsplit(self.path).path
        try:
            if path == "/jsonrpc":
                self._reply(self._json(body), "application/json")
            else:
                self._reply(self._xml(body), "text/xml")
        except CutConnection:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _reply(self, data: bytes, kind: str) -> None:
        self.pool.bytes_in["answers"] += len(data)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _xml(self, body: bytes) -> bytes:
        params, method = xmlrpc.client.loads(body.decode("utf-8"))
        if method == "system.listMethods":
            return wire.xml_bare(wire.xml_value(self.pool.facts, "string set", self.pool.list_methods()))
        try:
            kind, result = self.pool.invoke(self.server.host, method, list(params))
            return wire.xml_success(self.pool.encode_xml(kind, result))
        except Failure as failure:
            return wire.xml_failure(failure.description)

    def _json(self, body: bytes) -> bytes:
        request = json.loads(body)
        if request["method"] == "system.listMethods":
            return wire.json_answer(request.get("id"), self.pool.list_methods())
        try:
            kind, result = self.pool.invoke(self.server.host, request["method"], list(request.get("params", [])), from_json=True)
            return wire.json_answer(request.get("id"), self.pool.encode_json(kind, result))
        except Failure as failure:
            return wire.json_answer(request.get("id"), failure=failure.description)

    # -- HTTP handlers ---------------------------------------------------------------------------------------------

    def _arguments(self) -> dict[str, str]:
        """Query arguments; session_id and task_id are looked up in the cookies first."""
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        cookies: SimpleCookie = SimpleCookie(self.headers.get("Cookie", ""))
        for name in ("session_id", "task_id"):
            if name in cookies:
                query[name] = urllib.parse.unquote(cookies[name].value)
        return query

    def _page(self, code: int, text: str, **headers: str) -> None:
        body = f"<html><body><h1>{text}</h1></body></html>".encode()
        self.send_response(code, text)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _session(self, args: dict[str, str]) -> str | None:
        session = args.get("session_id", "")
        if session in self.pool.open_sessions:
            return session
        scheme, _space, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            user, _colon, password = base64.b64decode(token).decode().partition(":")
            if (user, password) == (self.pool.username, self.pool.password):
                return NULL
        self._page(401, "Unauthorised", WWW_Authenticate='Basic realm="XAPI HTTP"')
        return None

    def _vdi(self, text: str) -> Obj:
        return self.pool.store.get("VDI", text) if text.startswith("OpaqueRef:") else self.pool.store.by_uuid("VDI", text)

    def _elsewhere(self, vdi: Obj) -> bool:
        """Answers with a redirection when this host does not see the VDI's SR."""
        hosts = self.pool.sr_hosts(self.pool.store.get("SR", vdi["SR"]))
        if self.server.host in hosts or not hosts:
            return False
        address = self.pool.store.get("host", sorted(hosts)[0])["address"]
        split = urllib.parse.urlsplit(self.path)
        path = split.path.rstrip("/") + "/"
        self._page(302, "Found", Location=f"https://{address}:{self.pool.port}{path}?{split.query}")
        return True

    def do_PUT(self) -> None:
        path = urllib.parse.urlsplit(self.path).path.rstrip("/")
        self.pool.note(f"PUT {path}")
        fault = self.pool.take_fault(IMPORT)
        if fault is not None and fault.kind == "drop_before":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if path != "/import_raw_vdi":
            self._page(404, "Not Found")
            return
        args = self._arguments()
        if "session_id" in urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query):
            self.pool.note("session_id in a URL")
        session = self._session(args)
        if session is None:
            return
        task = None
        try:
            with self.pool.store.changed:
                if "task_id" in args:
                    task = self.pool.store.get("task", args["task_id"])
                else:
                    task = self.pool.new_task("VDI.import")
            self._import(args, task, fault)
        except Failure as failure:
            self.pool.finish_task(task, failure=failure)
            self._page(500, "Internal Server Error")
        except (OSError, ssl.SSLError):
            self.pool.finish_task(task, failure=Failure("VDI_IO_ERROR", "Device I/O errors"))
            self.close_connection = True

    def _import(self, args: dict[str, str], task: Obj, fault: Fault | None) -> None:
        pool = self.pool
        if self.headers.get("Transfer-Encoding"):
            encoding = self.headers["Transfer-Encoding"]
            pool.finish_task(task, failure=Failure("INTERNAL_ERROR", f"Cannot handle encoding: {encoding}"))
            self._page(404, "Not Found")
            return
        form = args.get("format", "raw").lower()
        if form not in ("raw", "vhd"):
            if form in ("tar", "qcow2"):
                raise Failure("NOT_IMPLEMENTED", f"rig: format {form} is not modelled")
            pool.finish_task(task, failure=Failure("INTERNAL_ERROR", f"Unknown format {form}"))
            self._page(404, "Not Found")
            return
        if "vdi" not in args:
            if "sr_id" in args or "sr_uuid" in args:
                raise Failure("NOT_IMPLEMENTED", "rig: import into a new VDI is not modelled")
            pool.finish_task(task, failure=Failure("VDI_MISSING", NULL, NULL))
            self._page(400, "Bad Request")
            return
        vdi = self._vdi(args["vdi"])
        if self._elsewhere(vdi):
            return
        length = int(self.headers.get("Content-Length", -1))
        if length < 0:
            pool.finish_task(task, failure=Failure("INTERNAL_ERROR", "Content-Length is missing"))
            self._page(400, "Bad Request")
            return
        # XAPI answers 200 before it reads a byte.
        self.wfile.write(
            f"HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-cache, no-store\r\ntask-id: {task.ref}\r\n\r\n".encode()
        )
        self.wfile.flush()
        self.close_connection = True
        try:
            with pool.store.changed:
                if vdi["read_only"]:
                    raise Failure("VDI_READONLY", vdi.ref)
                if pool.vdi_busy(vdi):
                    raise Failure("VDI_IN_USE", vdi.ref, "attach")
                pool.attach_check(vdi)
                vbd = pool.attach_to_dom0(vdi)
            try:
                self._receive(vdi, length, fault, form)
            finally:
                pool.detach_from_dom0(vbd)
            if fault is not None and fault.kind == "fail_task":
                raise Failure(*(fault.error or ("VDI_IO_ERROR", "Device I/O errors")))
            if fault is not None and fault.kind == "body500":
                raise Failure("INTERNAL_ERROR", "Unix.Unix_error(Unix.EPIPE, write, )")
            if fault is not None and fault.kind == "hang":
                return
            pool.finish_task(task, result=f"<value>{vdi.ref}</value>")
        except Failure as failure:
            pool.finish_task(task, failure=failure)
            page = b"<html><body><h1>HTTP 500 internal server error</h1></body></html>"
            self.wfile.write(b"HTTP/1.1 500 Internal Error\r\nConnection: close\r\n\r\n" + page)
        self.wfile.flush()
        try:  # let the client read what was sent before the socket goes
            self.connection.unwrap()  # type: ignore[attr-defined]
        except (OSError, ValueError):
            pass

    def _receive(self, vdi: Obj, length: int, fault: Fault | None, form: str) -> None:
        path = self.pool.vdi_file(vdi)
        disk = path is None
        if path is None:
            path = self.pool.disk_file(vdi)
            path.parent.mkdir(exist_ok=True)
            with open(path, "ab") as stream:
                stream.truncate(vdi["virtual_size"])
        left = length

        def read(size: int) -> bytes:
            """The next bytes of the body, all of them."""
            nonlocal left
            if fault is not None and fault.kind == "cut_body" and left <= length // 2:
                self.connection.shutdown(socket.SHUT_RDWR)
                raise vhd.StreamError
            data = self.rfile.read(min(size, left))
            left -= len(data)
            if len(data) < size:
                raise vhd.StreamError
            return data

        with open(path, "r+b") as stream:
            try:
                if form == "vhd":
                    sr = self.pool.store.get("SR", vdi["SR"])
                    # A VDI that may hold old data: vhd-tool would have to write zeroes, and cannot (sm_fs_ops.ml, impl.ml).
                    if sr["type"].startswith("lvm") and sr["sm_config"].get("use_vhd") != "true":
                        raise vhd.StreamError
                    vhd.receive(read, stream, length, vdi["virtual_size"])
                else:
                    room = vdi["virtual_size"]
                    while left:
                        data = read(min(BLOCK, left))
                        stream.write(data[:room])
                        room -= len(data)
                    # XAPI accepts less data than the VDI has room for; for a config drive that would be a mistake of ours.
                    if room < 0 or (room and not disk):
                        raise vhd.StreamError
            except vhd.StreamError:
                raise Failure("VDI_IO_ERROR", "Device I/O errors") from None
        self.pool.bytes_in[IMPORT] += length

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path.rstrip("/")
        self.pool.note(f"GET {path}")
        fault = self.pool.take_fault(EXPORT)
        if fault is not None and fault.kind == "drop_before":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if path != "/export_raw_vdi":
            self._page(404, "Not Found")
            return
        args = self._arguments()
        if self._session(args) is None:
            return
        try:
            vdi = self._vdi(args.get("vdi", ""))
            if self._elsewhere(vdi):
                return
            with self.pool.store.changed:
                self.pool.attach_check(vdi)
                vbd = self.pool.attach_to_dom0(vdi)
            # The client has all bytes before XAPI has detached the VDI.
            timer = threading.Timer(EXPORT_LINGERS, self.pool.detach_from_dom0, [vbd])
            timer.daemon = True
            timer.start()
            file = self.pool.vdi_file(vdi)
            if file is None and self.pool.disk_file(vdi).exists():
                file = self.pool.disk_file(vdi)
            data = file.read_bytes() if file is not None else b"\0" * vdi["virtual_size"]
        except Failure:
            self._page(500, "Internal Server Error")
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: no-cache, no-store\r\n\r\n")
        if fault is not None and fault.kind == "cut_body":
            data = data[: len(data) // 2]
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True
        try:
            self.connection.unwrap()  # type: ignore[attr-defined]
        except (OSError, ValueError):
            pass


def serve(server: HostServer) -> threading.Thread:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    return thread
