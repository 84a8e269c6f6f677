"""The JSON Schemas of all documents that commands, the HTTP interface and alerts consist of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import msgspec

from hashscan.schema import json_schemas

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Schema(NamedTuple):
    """A document, and the types that define it."""

    summary: str
    types: tuple[str, ...]
    """Each as `package.module:Name`; the name of a type, or of a tuple of types."""


_HTTP = "hashscan.service.doors.http.documents"
_API = "hashscan.matching_service_api"
_CASES = "hashscan.cases.export"

SCHEMAS: Mapping[str, Schema] = {
    "alert": Schema("an alert, as --exec and channels get it", ("hashscan.alerts.alert:SentAlert",)),
    "alerts-list": Schema("a line of `alerts list`", ("hashscan.alerts.alert:ListedAlert",)),
    "care-verify": Schema("the output of `care verify`", ("hashscan.cases.care.document:CheckedCare",)),
    "cases-due": Schema("a line of `cases due`", (f"{_CASES}:CaseDocument",)),
    "cases-list": Schema("a line of `cases list`", (f"{_CASES}:CaseDocument",)),
    "cases-queue": Schema("a line of `cases queue`", (f"{_CASES}:CaseDocument",)),
    "cases-mails": Schema("a line of `cases mails`", ("hashscan.cases.mailbox.fetching:ListedMail",)),
    "cases-show": Schema("a line of `cases show`", (f"{_CASES}:WholeCase",)),
    "cases-times": Schema("a line of `cases times`", ("hashscan.cases.statistics.counting:RemovalMonth",)),
    "check": Schema("a line of `check`", ("hashscan.reports.schema:CHECK_RECORDS",)),
    "config-show": Schema("the output of `config show`", ("hashscan.cli.config.effective:SettingsDocument",)),
    "customers": Schema("a line of `customers`", ("hashscan.cli.commands.customers:Answer",)),
    "hash": Schema("a line of `hash`", ("hashscan.reports.schema:FILE_RECORDS",)),
    "http-changes": Schema("the answer of GET /v1/changes", (f"{_API}:Changes",)),
    "http-check": Schema("the answer of POST /v1/check", (f"{_API}:CheckAnswer",)),
    "http-check-request": Schema("the request of POST /v1/check", (f"{_API}:CheckRequest",)),
    "http-error": Schema("the answer to a request that fails", (f"{_HTTP}:ErrorAnswer",)),
    "http-feedback": Schema("the request of POST /v1/feedback", (f"{_API}:FeedbackRequest",)),
    "http-health": Schema("the answer of GET /healthz", (f"{_HTTP}:Health",)),
    "http-info": Schema("the answer of GET /v1/info", (f"{_API}:Info",)),
    "http-lists": Schema("the answer of GET /v1/lists", (f"{_HTTP}:ListsAnswer",)),
    "http-scan": Schema("the answer of POST /v1/scan", (f"{_HTTP}:ScanAnswer",)),
    "hub-audit-list": Schema("a line of `hub audit list`", ("hashscan.cli.hub.audit:ListedAuditLine",)),
    "hub-key-list": Schema("a line of `hub key list`", ("hashscan.cli.hub.keys:ListedHubKey",)),
    "hub-notice-list": Schema("a line of `hub notice list`", ("hashscan.cli.hub.notices:ListedNotice",)),
    "hub-outbox-list": Schema("a line of `hub outbox list`", ("hashscan.cli.hub.outbox:ListedMail",)),
    "hub-org-list": Schema(
        "a line of `hub org list`", ("hashscan.cli.hub.organisations:ListedOrganisation",)
    ),
    "hub-server-list": Schema("a line of `hub server list`", ("hashscan.cli.hub.servers:ListedServer",)),
    "hub-user-list": Schema("a line of `hub user list`", ("hashscan.cli.hub.users:ListedUser",)),
    "keys-list": Schema("a line of `keys list`", ("hashscan.cli.commands.keys:ListedKey",)),
    "lists-diff": Schema(
        "a line of `lists diff`",
        ("hashscan.cli.lists.versions:ChangedEntry", "hashscan.state.queries.export:HitRecord"),
    ),
    "lists-status": Schema("a line of `lists status`", ("hashscan.cli.output.list_status:ListStatus",)),
    "log": Schema("a line of --log-format json", ("hashscan.cli.output.logs:LogLine",)),
    "lookup": Schema("a line of `lookup`", ("hashscan.state.queries.export:KnownRecord",)),
    "quarantine-list": Schema("a line of `quarantine list`", ("hashscan.quarantine.items:ListedItem",)),
    "report": Schema("a line of a report", ("hashscan.reports.schema:RECORDS",)),
    "state-export": Schema("a line of `state export`", ("hashscan.state.queries.export:ExportRecord",)),
    "state-status": Schema("the output of `state status`", ("hashscan.cli.commands.state:StateStatus",)),
    "stats": Schema("the output of `stats`", ("hashscan.cases.statistics.writer:StatisticsDocument",)),
}
"""By name: the words of a command joined by hyphens, or the name of another document."""


def schema_text(name: str) -> str:
    """Return the schema of a name in `SCHEMAS`, as JSON in lines."""
    schema = SCHEMAS[name]
    found, definitions = json_schemas(list(_loaded(schema)), "#/$defs/{name}")
    document: dict[str, Any] = {
        "$schema": DIALECT,
        "title": f"hashscan: {schema.summary}",
        **(found[0] if len(found) == 1 else {"anyOf": list(found)}),
        "$defs": dict(sorted(definitions.items())),
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


def _loaded(schema: Schema) -> Iterator[type]:
    for place in schema.types:
        module, _, name = place.partition(":")
        value = getattr(import_module(module), name)
        yield from value if isinstance(value, tuple) else (value,)
