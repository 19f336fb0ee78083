# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of AWX's REST API that putting objects into it needs, in this process: fields, choices, relations and checks of AWX 24.6.

Modelled on AWX's published source (serializers, models, awx/main/fields.py, the survey's and the schedules' checks). What it does not do:
run jobs (a launched one is successful at once), know permissions, keep anything. An unknown field is an error here; AWX would ignore it,
but it is a mistake of ours.
"""

from __future__ import annotations

import base64
import binascii
import http.server
import json
import pathlib
import re
import threading
import typing as t
import urllib.parse

import jinja2.sandbox
import yaml
from awx_resources import RESOURCES

VERSION = "24.6.1"
ENCRYPTED = "$encrypted$"
READ_ONLY = frozenset({"managed"})  # what awx.awx sends all the same
UNIFIED = ("projects", "job_templates", "workflow_job_templates")
SURVEY_TYPES = {
    "text": str,
    "textarea": str,
    "password": str,
    "integer": int,
    "float": float,
    "multiplechoice": str,
    "multiselect": str,
}


class Refused(Exception):
    """A request that AWX answers with 400, and the answer's text."""

    def __init__(self, **problems: t.Any) -> None:
        super().__init__(str(problems))
        self.problems = problems


class Awx:
    """The objects. playbooks: folder whose files are the playbooks of every project."""

    def __init__(self, playbooks: pathlib.Path, username: str = "admin", password: str = "secret") -> None:
        self.playbooks = {path.name for path in playbooks.glob("*.yml")}
        self.account = (username, password)
        self.tokens: dict[int, str] = {}
        self.objects: dict[str, dict[int, dict[str, t.Any]]] = {name: {} for name in RESOURCES}
        self.linked: dict[tuple[str, int, str], list[int]] = {}
        self.surveys: dict[tuple[str, int], dict[str, t.Any]] = {}
        self.jobs: list[dict[str, t.Any]] = []
        self.requests: list[tuple[str, str]] = []
        self._next = 0
        self.lock = threading.Lock()

    def number(self) -> int:
        self._next += 1
        return self._next

    # Finding

    def find(self, resource: str, query: dict[str, str]) -> list[dict[str, t.Any]]:
        places = UNIFIED if resource == "unified_job_templates" else (resource,)
        return [
            self.shown(place, entry)
            for place in places
            for entry in self.objects[place].values()
            if self._matches(place, entry, query)
        ]

    def _matches(self, place: str, entry: dict[str, t.Any], query: dict[str, str]) -> bool:
        for key, wanted in query.items():
            if key == "type":
                if RESOURCES[place].kind != wanted:
                    return False
            elif key not in entry:
                raise Refused(detail=f"{RESOURCES[place].kind} has no field named '{key}'")
            elif str(entry[key]) != wanted:
                return False
        return True

    def shown(self, place: str, entry: dict[str, t.Any]) -> dict[str, t.Any]:
        url = f"/api/v2/{place}/{entry['id']}/"
        shown = {**entry, "type": RESOURCES[place].kind, "url": url, "summary_fields": {}}
        shown["related"] = {name: f"{url}{name}/" for name in (*RESOURCES[place].many, *RESOURCES[place].related)}
        if entry.get("organization"):
            shown["summary_fields"]["organization"] = {"name": self.objects["organizations"][entry["organization"]]["name"]}
        if place == "credential_types":
            shown["managed"] = False
        if place == "projects":
            shown["scm_revision"] = "4b825dc6"
        if place == "credentials":
            fields = self.objects["credential_types"][entry["credential_type"]]["inputs"].get("fields", ())
            secret = {field["id"] for field in fields if field.get("secret")}
            shown["inputs"] = {key: ENCRYPTED if key in secret else value for key, value in entry["inputs"].items()}
        return shown

    # Changing

    def create(self, place: str, given: dict[str, t.Any]) -> dict[str, t.Any]:
        missing = [name for name in RESOURCES[place].needed if given.get(name) in (None, "")]
        if missing:
            raise Refused(**{name: ["This field is required."] for name in missing})
        empty = {name: _empty(kind) for name, kind in RESOURCES[place].fields.items()}
        return self._save(place, {**empty, **given, "id": self.number()}, given)

    def change(self, place: str, number: int, given: dict[str, t.Any]) -> dict[str, t.Any]:
        old = self.objects[place][number]
        if "inputs" in given and place == "credentials":
            kept = {key: old["inputs"].get(key) if value == ENCRYPTED else value for key, value in given["inputs"].items()}
            given = {**given, "inputs": kept}
        return self._save(place, {**old, **given}, given)

    def _save(self, place: str, entry: dict[str, t.Any], given: dict[str, t.Any]) -> dict[str, t.Any]:
        for name, value in given.items():
            if name not in RESOURCES[place].fields:
                raise Refused(**{name: [f"{RESOURCES[place].kind} has no such field"]})
            self._check_value(name, RESOURCES[place].fields[name], value)
        same = [
            other
            for other in self.objects[place].values()
            if other["id"] != entry["id"] and all(other[name] == entry[name] for name in RESOURCES[place].unique)
        ]
        if same:
            raise Refused(__all__=[f"{RESOURCES[place].kind} with this {', '.join(RESOURCES[place].unique)} already exists."])
        getattr(self, f"_check_{place}", lambda _entry: None)(entry)
        self.objects[place][entry["id"]] = entry
        return self.shown(place, entry)

    def _check_value(self, name: str, kind: t.Any, value: t.Any) -> None:
        if isinstance(kind, tuple):
            if value not in kind:
                raise Refused(**{name: [f'"{value}" is not a valid choice.']})
        elif isinstance(kind, str):
            places = UNIFIED if kind == "unified_job_templates" else (kind,)
            if value is not None and not any(value in self.objects[place] for place in places):
                raise Refused(**{name: [f'Invalid pk "{value}" - object does not exist.']})
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Refused(**{name: [f"Not a valid {kind.__name__}."]})

    def _check_credential_types(self, entry: dict[str, t.Any]) -> None:
        known: dict[str, t.Any] = {}
        for field in entry["inputs"].get("fields", ()):
            strange = set(field) - {
                "id",
                "label",
                "type",
                "secret",
                "multiline",
                "format",
                "help_text",
                "default",
                "choices",
                "ask_at_runtime",
            }
            if (
                strange
                or not re.fullmatch(r"[a-zA-Z_]+[a-zA-Z0-9_]*", field["id"])
                or field["id"] in known
                or field["id"] == "tower"
            ):
                raise Refused(inputs=[f"{field} is not valid"])
            if field.get("format") not in (None, "ssh_private_key", "url") or not field.get("label"):
                raise Refused(inputs=[f"{field['id']}: format or label is not valid"])
            known[field["id"]] = "EXAMPLE"
        if not set(entry["inputs"].get("required", ())) <= set(known):
            raise Refused(inputs=["required names no field"])
        injectors = entry["injectors"]
        if not set(injectors) <= {"file", "env", "extra_vars"}:
            raise Refused(injectors=["Additional properties are not allowed"])
        if "template" in injectors.get("file", {}):
            known["tower"] = {"filename": "EXAMPLE_FILENAME"}
        for name in injectors.get("env", {}):
            if not re.fullmatch(r"[a-zA-Z_]+[a-zA-Z0-9_]*", name) or name.startswith("ANSIBLE_"):
                raise Refused(injectors=[f"Environment variable {name} is not allowed to be used in credentials."])
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        for kind in injectors:
            for name, template in injectors[kind].items():
                try:
                    environment.from_string(template).render(known)
                except jinja2.TemplateError as error:
                    raise Refused(injectors=[f"{name} uses an undefined field ({error})"]) from None

    def _check_credentials(self, entry: dict[str, t.Any]) -> None:
        inputs = self.objects["credential_types"][entry["credential_type"]]["inputs"]
        fields = {field["id"]: field for field in inputs.get("fields", ())}
        strange = set(entry["inputs"]) - set(fields)
        if strange:
            raise Refused(inputs=[f"Additional properties are not allowed ({sorted(strange)})"])
        missing = [name for name in inputs.get("required", ()) if not entry["inputs"].get(name)]
        if missing:
            raise Refused(inputs={name: [f"required for {entry['name']}"] for name in missing})
        for name, value in entry["inputs"].items():
            if fields[name].get("format") == "ssh_private_key":
                _check_key(name, value)

    def _check_inventories(self, entry: dict[str, t.Any]) -> None:
        _check_variables("variables", entry["variables"])

    _check_hosts = _check_inventories

    def _check_projects(self, entry: dict[str, t.Any]) -> None:
        if entry["scm_type"] == "git" and not entry["scm_url"]:
            raise Refused(scm_url=["SCM URL is required."])
        if entry["scm_type"] == "" and not entry["local_path"]:
            raise Refused(local_path=["This field is required for a manual project."])

    def _check_job_templates(self, entry: dict[str, t.Any]) -> None:
        _check_variables("extra_vars", entry["extra_vars"])
        if entry["playbook"] not in self.playbooks:
            raise Refused(playbook=["Playbook not found for project."])
        if entry["inventory"] is None and not entry["ask_inventory_on_launch"]:
            raise Refused(inventory=["Job Template must provide 'inventory' or allow prompting for it."])

    def _check_schedules(self, entry: dict[str, t.Any]) -> None:
        rule = entry["rrule"]
        problems = []
        if len(re.findall(r"DTSTART:[0-9]{8}T[0-9]{6}Z", rule)) != 1:
            problems.append("Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ")
        if "RRULE:" not in rule or "INTERVAL" not in rule:
            problems.append("INTERVAL required in rrule")
        if "SECONDLY" in rule:
            problems.append("SECONDLY is not supported")
        if problems:
            raise Refused(rrule=problems)
        for place in ("job_templates", "workflow_job_templates"):
            if entry["unified_job_template"] in self.objects[place]:
                self._needs_answers(place, entry)

    def _needs_answers(self, place: str, schedule: dict[str, t.Any]) -> None:
        survey = self.surveys.get((place, schedule["unified_job_template"]), {})
        asked = [question["variable"] for question in survey.get("spec", ()) if question["required"]]
        missing = set(asked) - set(schedule["extra_data"] or {})
        if missing:
            raise Refused(variables_needed_to_start=sorted(missing))

    def link(self, place: str, number: int, relation: str, given: dict[str, t.Any]) -> None:
        there = self.linked.setdefault((place, number, relation), [])
        other = RESOURCES[place].many[relation]
        if set(given) - {"id", "disassociate"} or given.get("id") not in self.objects[other]:
            raise Refused(detail=f"{given} names none of {other}")
        if given.get("disassociate"):
            there.remove(given["id"])
            return
        if relation == "credentials":
            types = {self.objects["credentials"][one]["credential_type"] for one in there}
            if self.objects["credentials"][given["id"]]["credential_type"] in types:
                raise Refused(error="Cannot assign multiple credentials of one type.")
        there.append(given["id"])

    def put_survey(self, place: str, number: int, spec: dict[str, t.Any]) -> None:
        if set(spec) != {"name", "description", "spec"} or not spec["spec"]:
            raise Refused(error="Field missing from survey spec, or it has no items.")
        variables = set()
        for index, question in enumerate(spec["spec"]):
            for key, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
                if not isinstance(question.get(key), kind):
                    raise Refused(error=f"'{key}' in survey question {index} is missing or no {kind.__name__}.")
            if question["type"] not in SURVEY_TYPES or question["variable"] in variables:
                raise Refused(error=f"survey question {index}: unknown type, or a variable that is there already")
            variables.add(question["variable"])
            if question.get("default", "") != "" and not isinstance(question["default"], SURVEY_TYPES[question["type"]]):
                raise Refused(error=f"Default value in survey question {index} is of the wrong type.")
            if question["type"].startswith("multi") and not question.get("choices"):
                raise Refused(error=f"Survey question {index} must specify choices.")
        self.surveys[place, number] = spec

    def launch(self, number: int, given: dict[str, t.Any]) -> dict[str, t.Any]:
        """Launches a job. As in AWX, values that are neither prompted for nor asked by the survey are ignored, and listed."""
        template, survey = self.objects["job_templates"][number], {}
        if template["survey_enabled"]:
            survey = {question["variable"]: question for question in self.surveys["job_templates", number]["spec"]}
        answers = given.get("extra_vars") or {}
        wrong = [name for name in answers if name in survey and not isinstance(answers[name], SURVEY_TYPES[survey[name]["type"]])]
        missing = [name for name in survey if survey[name]["required"] and name not in answers]
        if wrong or missing:
            raise Refused(variables_needed_to_start=[*(f"'{name}' value missing" for name in missing), *wrong])
        job: dict[str, t.Any] = {"id": self.number(), "type": "job", "name": template["name"], "status": "successful"}
        job.update(url=f"/api/v2/jobs/{job['id']}/", created="2026-01-01T00:00:00Z", artifacts={}, ignored_fields={})
        for name, value in given.items():
            (job if template.get(f"ask_{name}_on_launch") else job["ignored_fields"])[name] = value
        kept = answers if template["ask_variables_on_launch"] else {name: answers[name] for name in answers if name in survey}
        job["extra_vars"] = json.dumps(kept)
        job["ignored_fields"]["extra_vars"] = {name: answers[name] for name in answers if name not in kept}
        self.jobs.append(job)
        return job


def _empty(kind: t.Any) -> t.Any:
    if isinstance(kind, tuple):
        return kind[0]
    return None if isinstance(kind, str) else kind()


def _cleaned(place: str, given: dict[str, t.Any]) -> dict[str, t.Any]:
    """The body as AWX's serializers take it: without read-only fields, with an empty text for null in a text or choice."""
    kinds = RESOURCES[place].fields
    return {
        name: "" if value is None and (kinds.get(name) is str or isinstance(kinds.get(name), tuple)) else value
        for name, value in given.items()
        if name not in READ_ONLY
    }


def _check_key(name: str, value: str) -> None:
    """Checks a key as awx/main/validators.py does; AWX 24.6.1 answers a text that is not base64 with 500."""
    if "PRIVATE KEY-----" not in value:
        raise Refused(inputs={name: ["Invalid certificate or key: it is no private key"]})
    try:
        base64.b64decode("".join(line for line in value.splitlines() if not line.startswith("-----")))
    except binascii.Error:
        raise Refused(inputs={name: ["Invalid base64-encoded data"]}) from None


def _check_variables(name: str, text: str) -> None:
    try:
        value = yaml.safe_load(text or "{}")
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict):
        raise Refused(**{name: ["Cannot parse as JSON or YAML."]})


class Handler(http.server.BaseHTTPRequestHandler):
    """The HTTP side. The server's attribute `awx` holds the objects."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: t.Any) -> None:
        pass

    def _answer(self, status: int, body: t.Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", VERSION)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _handle(self) -> None:
        awx: Awx = self.server.awx  # type: ignore[attr-defined]
        length = int(self.headers.get("Content-Length") or 0)
        given = json.loads(self.rfile.read(length) or b"{}")
        address = urllib.parse.urlsplit(self.path)
        with awx.lock:
            awx.requests.append((self.command, address.path))
            if not self._is_known(awx, address.path):
                return self._answer(401, {"detail": "Authentication credentials were not provided."})
            try:
                return self._answer(*self._route(awx, address, given))
            except Refused as refused:
                return self._answer(400, refused.problems)
            except (KeyError, ValueError):
                return self._answer(404, {"detail": "Not found."})

    do_GET = do_POST = do_PATCH = do_DELETE = _handle

    def _is_known(self, awx: Awx, path: str) -> bool:
        kind, _space, value = self.headers.get("Authorization", "").partition(" ")
        if path.startswith("/api/v2/tokens/"):
            return kind == "Basic" and tuple(base64.b64decode(value).decode().split(":", 1)) == awx.account
        return kind == "Bearer" and value in awx.tokens.values()

    def _route(self, awx: Awx, address: urllib.parse.SplitResult, given: dict[str, t.Any]) -> tuple[int, t.Any]:
        words = address.path.strip("/").split("/")[2:]
        place = words[0]
        if place == "tokens":
            return self._token(awx, words)
        if place == "project_updates":
            done = {
                "id": int(words[1]),
                "status": "successful",
                "failed": False,
                "finished": "2026-01-01T00:00:00Z",
                "scm_revision": "4b825dc6",
            }
            return 200, done
        if place == "config":
            return 200, {"version": VERSION}
        if len(words) == 1 and self.command == "GET":
            query = {key: values[-1] for key, values in urllib.parse.parse_qs(address.query).items()}
            if place == "jobs":
                found = [job for job in awx.jobs if str(job["id"]) in query["id__in"].split(",")]
            else:
                found = awx.find(place, query)
            return 200, {"count": len(found), "next": None, "previous": None, "results": found}
        if len(words) == 1:
            return 201, awx.create(place, _cleaned(place, given))
        number = int(words[1])
        entry = awx.objects[place][number]
        if len(words) == 2:
            return 200, awx.change(place, number, _cleaned(place, given)) if self.command == "PATCH" else awx.shown(place, entry)
        return self._related(awx, place, number, words[2], given)

    def _token(self, awx: Awx, words: list[str]) -> tuple[int, t.Any]:
        if self.command == "DELETE":
            del awx.tokens[int(words[1])]
            return 204, None
        number = awx.number()
        awx.tokens[number] = f"token-{number}"
        return 201, {"id": number, "token": awx.tokens[number]}

    def _related(self, awx: Awx, place: str, number: int, relation: str, given: dict[str, t.Any]) -> tuple[int, t.Any]:
        if relation == "survey_spec" and relation in RESOURCES[place].related:
            if self.command == "POST":
                awx.put_survey(place, number, given)
                return 200, None
            return 200, awx.surveys.get((place, number), {})
        if relation == "launch" and relation in RESOURCES[place].related:
            return 201, awx.launch(number, given)
        if relation == "update" and relation in RESOURCES[place].related:
            return 202, {"id": number, "url": f"/api/v2/project_updates/{number}/"}
        other = RESOURCES[place].many[relation]
        if self.command == "POST":
            awx.link(place, number, relation, given)
            return 204, None
        found = [awx.shown(other, awx.objects[other][one]) for one in awx.linked.get((place, number, relation), ())]
        return 200, {"count": len(found), "next": None, "previous": None, "results": found}


class Server:
    """A running API on a loopback address; a context manager."""

    def __init__(self, awx: Awx) -> None:
        self.awx = awx
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.awx = awx  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
