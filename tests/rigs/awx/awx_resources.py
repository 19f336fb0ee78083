# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of objects in AWX 24.6 that awx_api.py knows, with their fields, as AWX's serializers and models have them."""

from __future__ import annotations

import typing as t

PROMPTS = (
    "limit",
    "verbosity",
    "job_type",
    "diff_mode",
    "variables",
    "inventory",
    "credential",
    "tags",
    "skip_tags",
    "scm_branch",
    "labels",
)
ASK = {f"ask_{name}_on_launch": bool for name in PROMPTS}


class Resource(t.NamedTuple):
    """fields: type, tuple of choices, or "resource" it refers to; needed; what is unique; many-to-many relations; what else it has."""

    kind: str
    fields: dict[str, t.Any]
    needed: tuple[str, ...] = ("name",)
    unique: tuple[str, ...] = ("name",)
    many: dict[str, str] = {}
    related: tuple[str, ...] = ()


_NOTIFIED = {f"notification_templates_{when}": "notification_templates" for when in ("started", "success", "error")}
_COMMON = {"name": str, "description": str}
RESOURCES = {
    "organizations": Resource(
        "organization", {**_COMMON, "max_hosts": int, "default_environment": "execution_environments"}, many=_NOTIFIED
    ),
    "credential_types": Resource(
        "credential_type",
        {**_COMMON, "kind": ("cloud", "net"), "inputs": dict, "injectors": dict},
        ("name", "kind"),
        ("name", "kind"),
    ),
    "credentials": Resource(
        "credential",
        {**_COMMON, "organization": "organizations", "credential_type": "credential_types", "inputs": dict},
        ("name", "credential_type", "organization"),
        ("organization", "name", "credential_type"),
    ),
    "execution_environments": Resource(
        "execution_environment",
        {
            **_COMMON,
            "organization": "organizations",
            "image": str,
            "credential": "credentials",
            "pull": ("", "always", "missing", "never"),
        },
        ("name", "image"),
    ),
    "projects": Resource(
        "project",
        {
            **_COMMON,
            "organization": "organizations",
            "scm_type": ("", "git", "svn", "insights", "archive"),
            **dict.fromkeys(("scm_url", "scm_branch", "scm_refspec", "local_path"), str),
            **dict.fromkeys(("scm_clean", "scm_delete_on_update", "scm_update_on_launch", "allow_override"), bool),
            **dict.fromkeys(("timeout", "scm_update_cache_timeout"), int),
            "credential": "credentials",
        },
        unique=("organization", "name"),
        related=("update",),
    ),
    "inventories": Resource(
        "inventory",
        {**_COMMON, "organization": "organizations", "variables": str, "kind": ("", "smart", "constructed"), "host_filter": str},
        ("name", "organization"),
        ("name", "organization"),
    ),
    "hosts": Resource(
        "host",
        {**_COMMON, "inventory": "inventories", "enabled": bool, "variables": str},
        ("name", "inventory"),
        ("name", "inventory"),
    ),
    "notification_templates": Resource(
        "notification_template",
        {
            **_COMMON,
            "organization": "organizations",
            "notification_type": (
                "awssns",
                "email",
                "grafana",
                "irc",
                "mattermost",
                "pagerduty",
                "rocketchat",
                "slack",
                "twilio",
                "webhook",
            ),
            "notification_configuration": dict,
            "messages": dict,
        },
        ("name", "organization", "notification_type"),
        ("organization", "name"),
    ),
    "job_templates": Resource(
        "job_template",
        {
            **_COMMON,
            **ASK,
            "organization": "organizations",
            "job_type": ("run", "check"),
            "inventory": "inventories",
            "project": "projects",
            "execution_environment": "execution_environments",
            **dict.fromkeys(("playbook", "extra_vars", "limit", "job_tags", "skip_tags", "scm_branch"), str),
            **dict.fromkeys(("survey_enabled", "become_enabled", "diff_mode", "allow_simultaneous", "use_fact_cache"), bool),
            **dict.fromkeys(("forks", "timeout", "job_slice_count"), int),
            "verbosity": (0, 1, 2, 3, 4, 5),
        },
        ("name", "project", "playbook"),
        ("organization", "name"),
        {"credentials": "credentials", **_NOTIFIED},
        ("survey_spec", "launch"),
    ),
    "schedules": Resource(
        "schedule",
        {**_COMMON, "unified_job_template": "unified_job_templates", "rrule": str, "enabled": bool, "extra_data": dict},
        ("name", "unified_job_template", "rrule"),
        ("unified_job_template", "name"),
    ),
    "workflow_job_templates": Resource(
        "workflow_job_template",
        {
            **_COMMON,
            **ASK,
            "organization": "organizations",
            "inventory": "inventories",
            "survey_enabled": bool,
            "allow_simultaneous": bool,
        },
        unique=("organization", "name"),
        many=_NOTIFIED,
        related=("survey_spec",),
    ),
    "workflow_job_template_nodes": Resource(
        "workflow_job_template_node",
        {
            "identifier": str,
            "workflow_job_template": "workflow_job_templates",
            "unified_job_template": "unified_job_templates",
            "extra_data": dict,
            "all_parents_must_converge": bool,
        },
        ("identifier", "workflow_job_template"),
        ("identifier", "workflow_job_template"),
        {f"{when}_nodes": "workflow_job_template_nodes" for when in ("success", "failure", "always")},
    ),
}
