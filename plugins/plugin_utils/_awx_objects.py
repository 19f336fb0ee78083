# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The objects that AWX needs to run this collection's jobs, as data: a list for each kind, with the options of the modules of awx.awx.

The lists have the names that infra.aap_configuration gives them, so that either can put them into AWX.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError

Object = dict[str, t.Any]

# What the account of each kind of hypervisor is called in its connection, and whether AWX shows it
_FIELDS: dict[str, tuple[tuple[str, bool], ...]] = {
    "kvm": (("ssh_key", True),),
    "xenserver": (("username", False), ("password", True)),
    "vmware": (("username", False), ("password", True)),
}
_DNS_KEY = "EXTERNAL_DHCP_DNS_KEY"
_SECRETS = frozenset(name for fields in _FIELDS.values() for name, secret in fields if secret)
_VM_NAMES = {"question_name": "Names of the VMs, with commas", "variable": "vm_names", "type": "text"}
_MANY = {"ask_limit_on_launch": True, "ask_verbosity_on_launch": True}
_CHANGES = {**_MANY, "ask_job_type_on_launch": True, "ask_diff_mode_on_launch": True}
# AWX shows a question's default and refuses null, so an optional number is a text.
_FORM: tuple[Object, ...] = (
    {"question_name": "Name of the VM", "variable": "form_name", "type": "text", "required": True},
    {
        "question_name": "Hypervisor (a host of the inventory)",
        "variable": "form_hypervisor",
        "type": "multiplechoice",
        "required": True,
    },
    {"question_name": "Template", "variable": "form_template", "type": "text", "required": True},
    {"question_name": "Networks, with commas", "variable": "form_networks", "type": "text", "required": True},
    {"question_name": "Memory in MiB (empty: the template's)", "variable": "form_memory", "type": "text"},
    {"question_name": "CPUs (empty: the template's)", "variable": "form_cpus", "type": "text"},
    {"question_name": "User data", "variable": "form_user_data", "type": "textarea"},
    {"question_name": "SSH keys, one a line", "variable": "form_ssh_keys", "type": "textarea"},
    {"question_name": "Password", "variable": "form_password", "type": "password"},
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The variables of the role configure_awx without their prefix; its argument specification says what they mean."""

    hypervisors: Sequence[Mapping[str, t.Any]]
    project: Mapping[str, t.Any]
    organization: str = "Default"
    prefix: str = "External DHCP"
    execution_environment: t.Optional[Mapping[str, t.Any]] = None
    record_url: t.Optional[str] = None
    dns_key: t.Optional[str] = None
    interval: int = 3
    watch: int = 0
    reconcile_at: str = "02:15"
    retire_at: str = ""
    notification: t.Optional[Mapping[str, t.Any]] = None
    inventory_variables: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)

    def named(self, what: str) -> str:
        return f"{self.prefix}: {what}"


def variable_of(hypervisor: str, field: str) -> str:
    """The environment variable in which a job finds a field of a hypervisor's account."""
    return f"EXTERNAL_DHCP_{re.sub(r'[^A-Za-z0-9]', '_', hypervisor).upper()}_{field.upper()}"


def awx_objects(settings: Settings) -> dict[str, list[Object]]:
    """All objects, in the order in which they must be made. Raises OptionError for settings that make no sense."""
    _check(settings)
    return {
        "controller_organizations": [{"name": settings.organization}],
        "controller_credential_types": [
            *(_type_of(settings, entry) for entry in settings.hypervisors),
            _type(settings, "record", "url", "URL of the record, with its password", "EXTERNAL_DHCP_RECORD"),
            _type(settings, "DNS key", "key", "TSIG key, as in the DNS server's key file", _DNS_KEY),
        ],
        "controller_credentials": _credentials(settings),
        "controller_execution_environments": _environments(settings),
        "controller_projects": [_project(settings)],
        "controller_inventories": [
            {
                "name": settings.named("hypervisors"),
                "organization": settings.organization,
                "variables": _inventory_variables(settings),
            }
        ],
        "controller_hosts": [_host(settings, entry) for entry in settings.hypervisors],
        "controller_notifications": _notifications(settings),
        "controller_templates": _job_templates(settings),
        "controller_schedules": _schedules(settings),
        "controller_workflows": [_workflow(settings)],
    }


def _check(settings: Settings) -> None:
    seen: dict[str, str] = {}
    for entry in settings.hypervisors:
        name, kind = entry.get("name"), (entry.get("hypervisor") or {}).get("type")
        if not isinstance(name, str) or not name.strip():
            raise OptionError("configure_awx_hypervisors: each entry needs a name, which is the inventory host's")
        if kind not in _FIELDS:
            raise OptionError(f"configure_awx_hypervisors: {name}: hypervisor.type is {kind!r}, not one of {', '.join(_FIELDS)}")
        there = _SECRETS & set(entry["hypervisor"])
        if there:
            raise OptionError(
                f"configure_awx_hypervisors: {name}: hypervisor.{sorted(there)[0]} would be readable in AWX's inventory: give it as"
                " credential, beside hypervisor"
            )
        variable = variable_of(name, "")
        if variable in seen:
            raise OptionError(f"configure_awx_hypervisors: {seen[variable]} and {name} give one environment variable: rename one")
        seen[variable] = name
    if not seen:
        raise OptionError(
            "configure_awx_hypervisors: there is none: name at least one, such as {name: kvm01, hypervisor: {type: kvm, uri: …}}"
        )
    _check_time("configure_awx_reconcile_at", settings.reconcile_at)
    if settings.retire_at:
        _check_time("configure_awx_retire_at", settings.retire_at)
    if not 1 <= settings.interval <= 1440:
        raise OptionError(f"configure_awx_interval: {settings.interval} is not between 1 and 1440 minutes")
    if not 0 <= settings.watch < settings.interval * 60:
        raise OptionError(
            f"configure_awx_watch: {settings.watch} seconds do not fit into configure_awx_interval, {settings.interval} minutes: one"
            " job would not have ended when the next one begins"
        )


def _check_time(option: str, text: str) -> None:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise OptionError(f"{option}: {text!r} is no time such as 02:15")


def _type_of(settings: Settings, entry: Mapping[str, t.Any]) -> Object:
    """A credential type for each hypervisor: a job can have one credential of a type, and needs the accounts of all."""
    fields: list[Object] = []
    injectors: dict[str, dict[str, str]] = {"env": {}}
    for name, secret in _FIELDS[entry["hypervisor"]["type"]]:
        variable = variable_of(entry["name"], name)
        field: Object = {"id": name, "label": name.replace("_", " ").capitalize(), "type": "string"}
        if secret:
            field["secret"] = True
        if name == "ssh_key":
            field.update(label="SSH key", multiline=True, format="ssh_private_key")
            injectors["file"] = {"template": "{{ ssh_key }}"}
            injectors["env"][variable] = "{{ tower.filename }}"
        else:
            injectors["env"][variable] = f"{{{{ {name} }}}}"
        fields.append(field)
    return {
        "name": settings.named(f"hypervisor {entry['name']}"),
        "kind": "cloud",
        "inputs": {"fields": fields, "required": [field["id"] for field in fields]},
        "injectors": injectors,
    }


def _type(settings: Settings, what: str, name: str, label: str, variable: str) -> Object:
    """A credential type of one secret: a text in the job's environment, or a file that it names."""
    field: Object = {"id": name, "label": label, "type": "string", "secret": True}
    injectors: Object = {"env": {variable: f"{{{{ {name} }}}}"}}
    if variable == _DNS_KEY:
        field["multiline"] = True
        injectors = {"file": {"template": f"{{{{ {name} }}}}"}, "env": {variable: "{{ tower.filename }}"}}
    inputs = {"fields": [field], "required": [name]}
    return {"name": settings.named(what), "kind": "cloud", "inputs": inputs, "injectors": injectors}


def _credentials(settings: Settings) -> list[Object]:
    made = []
    for entry in settings.hypervisors:
        if entry.get("credential"):
            what = settings.named(f"hypervisor {entry['name']}")
            made.append({"name": what, "credential_type": what, "inputs": dict(entry["credential"])})
    for what, name, secret in (("record", "url", settings.record_url), ("DNS key", "key", settings.dns_key)):
        if secret:
            made.append({"name": settings.named(what), "credential_type": settings.named(what), "inputs": {name: secret}})
    return [{**entry, "organization": settings.organization, "update_secrets": False} for entry in made]


def _environments(settings: Settings) -> list[Object]:
    given = settings.execution_environment
    if not given or "image" not in given:
        return []
    return [{"name": settings.named("environment"), "organization": settings.organization, **given}]


def _environment_name(settings: Settings) -> Object:
    given = settings.execution_environment
    if not given:
        return {}
    return {"execution_environment": given.get("name") or settings.named("environment")}


def _project(settings: Settings) -> Object:
    kind = "manual" if "local_path" in settings.project else "git"
    wait = {} if kind == "manual" else {"scm_update_on_launch": False, "update_project": True}
    return {
        "name": settings.named("project"),
        "organization": settings.organization,
        "scm_type": kind,
        **wait,
        **settings.project,
    }


def _host(settings: Settings, entry: Mapping[str, t.Any]) -> Object:
    """The hypervisor as an inventory host; its account is in the job's environment and nowhere in the inventory."""
    connection = dict(entry["hypervisor"])
    for name, _secret in _FIELDS[connection["type"]]:
        looked_up = f"{{{{ lookup('ansible.builtin.env', '{variable_of(entry['name'], name)}') }}}}"
        if name != "ssh_key":
            connection.setdefault(name, looked_up)
        elif str(connection.get("uri", "")).startswith("qemu+ssh:") and "keyfile=" not in connection["uri"]:
            connection["uri"] += f"{'&' if '?' in connection['uri'] else '?'}keyfile={looked_up}"
    variables = {"hypervisor": connection, "ansible_connection": "local"}
    variables.update({key: entry[key] for key in ("shared_networks", "vms") if key in entry})
    return {"name": entry["name"], "inventory": settings.named("hypervisors"), "variables": variables}


def _inventory_variables(settings: Settings) -> Object:
    """The variables as given, but a DNS server without a key gets the credential's key."""
    variables = dict(settings.inventory_variables)
    servers = variables.get("dns_servers")
    if isinstance(servers, Sequence) and not isinstance(servers, str):
        key = {"key_file": f"{{{{ lookup('ansible.builtin.env', '{_DNS_KEY}') }}}}"}
        keyed = ("key_file", "key_secret")
        variables["dns_servers"] = [
            {**key, **server} if not any(name in server for name in keyed) else server for server in servers
        ]
    return variables


def _notifications(settings: Settings) -> list[Object]:
    if not settings.notification:
        return []
    return [{"name": settings.named("notification"), "organization": settings.organization, **settings.notification}]


def _survey(what: str, *questions: Object) -> Object:
    spec = []
    for question in questions:
        # What AWX would fill in is said here, so that a second run finds no difference.
        plain: Object = {"question_description": "", "required": False, "min": None, "max": 4096, "choices": []}
        if question["type"] != "password":
            plain["default"] = ""  # a password's would be kept encrypted, and be another one each time
        spec.append({**plain, **question})
    return {"survey_enabled": True, "survey_spec": {"name": what, "description": "", "spec": spec}}


def _form(settings: Settings) -> list[Object]:
    hypervisors = [entry["name"] for entry in settings.hypervisors]
    return [{**question, "choices": hypervisors} if question["type"] == "multiplechoice" else question for question in _FORM]


def _job_templates(settings: Settings) -> list[Object]:
    which = {**_VM_NAMES, "required": True}
    maybe = {**_VM_NAMES, "question_name": "Names of the VMs, with commas (empty: all)"}
    new = {"question_name": "New password", "variable": "form_password", "type": "password", "required": True}
    jobs: list[tuple[str, str, Object]] = [
        ("look", "tick_vm_ips.yml", {**_MANY, "extra_vars": {"vm_ip_poll_watch": settings.watch} if settings.watch else {}}),
        ("wait", "poll_vm_ips.yml", _MANY),
        ("list", "list_vms.yml", {**_MANY, **_survey("Which", maybe)}),
        ("deploy", "deploy_vms.yml", _CHANGES),
        ("deploy one", "deploy_form.yml", {**_CHANGES, **_survey("The VM", *_form(settings))}),
        ("start", "start_vms.yml", {**_CHANGES, **_survey("Which", maybe)}),
        ("stop", "stop_vms.yml", {**_CHANGES, **_survey("Which", which)}),
        ("reset password", "reset_password_form.yml", {**_CHANGES, **_survey("Whose", which, new)}),
        ("retire passwords", "retire_passwords.yml", {**_CHANGES, **_survey("Whose", maybe)}),
        ("destroy", "destroy_vms.yml", {**_CHANGES, **_survey("Which", which)}),
        ("reconcile", "reconcile_vms.yml", _CHANGES),
        ("register DNS", "register_dns.yml", _CHANGES),
        ("diagnose", "diagnose.yml", {**_MANY, **_survey("Which", maybe)}),
        ("report", "report_vms.yml", _MANY),
    ]
    credentials = [entry["name"] for entry in _credentials(settings)]
    common: Object = {
        "organization": settings.organization,
        "job_type": "run",
        "inventory": settings.named("hypervisors"),
        "project": settings.named("project"),
        "credentials": credentials,
        "allow_simultaneous": False,
        **_environment_name(settings),
    }
    if settings.notification:
        common["notification_templates_error"] = [settings.named("notification")]
    return [{"name": settings.named(what), "playbook": playbook, **common, **more} for what, playbook, more in jobs]


def _schedules(settings: Settings) -> list[Object]:
    """The schedules. AWX skips runs that it missed and starts some seconds late; the record decides what is due."""
    common = {"organization": settings.organization, "enabled": True}
    daily = [("reconcile", settings.reconcile_at), ("retire passwords", settings.retire_at)]
    return [
        {
            "name": settings.named(f"look every {settings.interval} minutes"),
            "unified_job_template": settings.named("look"),
            "rrule": f"DTSTART:20260101T000000Z RRULE:FREQ=MINUTELY;INTERVAL={settings.interval}",
            **common,
        },
        *(
            {
                "name": settings.named(f"{what} every night"),
                "unified_job_template": settings.named(what),
                "rrule": f"DTSTART:20260101T{at.replace(':', '')}00Z RRULE:FREQ=DAILY;INTERVAL=1",
                **common,
            }
            for what, at in daily
            if at
        ),
    ]


def _workflow(settings: Settings) -> Object:
    """Deploy one, wait for its address, register it, and write the report whatever became of it."""
    steps = ["deploy one", "wait", "register DNS", "report"]
    nodes: list[Object] = []
    for step, after in zip(steps, [*steps[1:], None]):
        job = {"name": settings.named(step), "organization": {"name": settings.organization}, "type": "job_template"}
        node: Object = {"identifier": step.replace(" ", "-"), "unified_job_template": job}
        if after:
            follows = "always_nodes" if after == "report" else "success_nodes"
            node["related"] = {follows: [{"identifier": after.replace(" ", "-")}]}
        nodes.append(node)
    return {
        "name": settings.named("deploy, wait, register, report"),
        "organization": settings.organization,
        "inventory": settings.named("hypervisors"),
        "allow_simultaneous": True,
        **_survey("The VM", *_form(settings)),
        "workflow_nodes": nodes,
    }
