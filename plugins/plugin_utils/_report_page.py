# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The page as one HTML text, and its file. It loads nothing from elsewhere; a browser runs only the page's own script."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import re
import typing as t

import jinja2
import markupsafe

if t.TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = pathlib.Path(__file__).with_name("_report")
_DIGEST = re.compile(r'<meta name="content-digest" content="([0-9a-f]{64})">')
_HEAD = 4096  # the digest is in so many first bytes


def page(data: Mapping[str, t.Any]) -> str:
    """The page. Texts are escaped by Jinja2, and for the script as JSON without any character that could end it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = (FOLDER / "page.css").read_text("utf-8"), (FOLDER / "page.js").read_text("utf-8")
    # Only the script reads these; the template writes the rest into the page.
    given = {name: data[name] for name in ("made_at", "columns", "rows", "diagnosis")}
    return environment.get_template("page.html.j2").render(
        data,
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        content_digest=digest(data),
        json_data=safe_json(given),
    )


def safe_json(value: t.Any) -> markupsafe.Markup:
    """JSON for the inside of a script element: ASCII without <, > and &, so that no text can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return markupsafe.Markup(text)


def digest(data: Mapping[str, t.Any]) -> str:
    """A digest of what the page says, without the time at which it was made."""
    told = {name: value for name, value in data.items() if name != "made_at"}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_file(path: str) -> str | None:
    """The digest in an existing page; None if there is no page or no digest."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = _DIGEST.search(file.read(_HEAD))
    except OSError:
        return None
    return found.group(1) if found else None


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
