# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real browser without a window: Chromium, spoken to over its DevTools protocol on a pipe. Nothing is downloaded."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import time
import typing as t

PATIENCE = 30.0  # seconds for one answer
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27}  # that do something by themselves


def program() -> str | None:
    """Chromium, by the names that distributions give it."""
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


class Browser:
    """One process with one page."""

    def __init__(self, profile: pathlib.Path) -> None:
        to_child, self._out = os.pipe()
        self._in, from_child = os.pipe()
        switches = "--headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars --disable-dev-shm-usage --remote-debugging-pipe"

        # The protocol is spoken on the descriptors 3 and 4, which a shell gives it.
        command = f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}'
        words = [str(program()), *switches.split(), f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, *words], pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_child)
        os.close(from_child)
        self._buffer = b""
        self._number = 0
        self.said: list[dict[str, t.Any]] = []
        target = self._call("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, None)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._call("Browser.close", {}, None)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, **params: t.Any) -> dict[str, t.Any]:
        return self._call(method, params, self._session)

    def _call(self, method: str, params: dict[str, t.Any], session: str | None) -> dict[str, t.Any]:
        self._number += 1
        message: dict[str, t.Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return t.cast("dict[str, t.Any]", answer["result"])
            self.said.append(answer)

    def _read(self) -> dict[str, t.Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _writable, _failed = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser has said nothing for {PATIENCE:g} s"
            more = os.read(self._in, 1 << 20)
            assert more, "the browser ended"
            self._buffer += more
        line, _end, self._buffer = self._buffer.partition(b"\0")
        return t.cast("dict[str, t.Any]", json.loads(line))

    def open(self, path: pathlib.Path, fragment: str = "") -> float:
        """Loads a file; the seconds from the start of the load to the first rows that are painted."""
        self.call("Page.navigate", url="about:blank")
        self.said.clear()
        begun = time.monotonic()
        self.call("Page.navigate", url=path.as_uri() + fragment)
        self.wait("document.documentElement?.dataset.ready")
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.monotonic() - begun

    def wait(self, expression: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.run(f"Boolean({expression})"):
                return
            time.sleep(0.02)
        raise AssertionError(f"it never became true: {expression}")

    def run(self, expression: str) -> t.Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def key(self, key: str, code: str, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            words: dict[str, t.Any] = {"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": KEYS.get(key, 0)}
            if text and kind == "keyDown":
                words["text"] = text
            self.call("Input.dispatchKeyEvent", **words)

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, kind: str = "", scheme: str = "light") -> None:
        self.call("Emulation.setEmulatedMedia", media=kind, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: pathlib.Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])
