"""Write a report as SARIF, for code scanning and its viewers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import quote, quote_from_bytes

from hashscan.errors import EXIT_CLEAN, EXIT_FOUND, EXIT_MEANINGS
from hashscan.model import ACTING_CATEGORIES, CATEGORIES, TEST_CATEGORY, Verdict
from hashscan.reports.common import (
    MATCHING_TYPES,
    TYPES,
    deciding_match,
    reason_of,
    shortcomings,
    utc,
    verdict_of,
)
from hashscan.reports.records import Record, path_bytes
from hashscan.reports.report import Report, ReportFormat
from hashscan.text import printable

_SEGMENT = "/:@!$&'()*+,;=~"
"""Characters that are not escaped in a path, besides letters, digits and `-._`."""

_SCHEME = re.compile(rb"([a-z][a-z0-9]*)://([^/]*)(.*)", re.DOTALL)
_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def uri_of(path: bytes) -> str:
    """Return the URI of a file's path or an object's URL, in ASCII, from which its bytes can be recovered.

    Keys of objects may contain any bytes and are escaped. Web addresses are escaped already, so only
    characters that are not allowed are changed.
    """
    if path.startswith(b"/"):
        return "file://" + quote_from_bytes(path, _SEGMENT)
    found = _SCHEME.fullmatch(path)
    if found is None:
        # A part before a colon would be taken for a scheme.
        return quote_from_bytes(path, _SEGMENT.replace(":", ""))
    scheme, host, key = found.groups()
    begin = f"{scheme.decode()}://{quote_from_bytes(host, ':@[]')}"
    if scheme in {b"http", b"https"}:
        return begin + _NO_ESCAPE.sub("%25", quote(key, _SEGMENT + "?%"))
    return begin + quote_from_bytes(key, _SEGMENT)


_OTHER = "other"

_MEANINGS = {
    "baseline": ("Known child-abuse material", "illegal wherever it is, by an international baseline"),
    "A1": ("Known child-abuse material, A1", "prepubescent minor, sex act"),
    "A2": ("Known child-abuse material, A2", "prepubescent minor, lascivious exhibition"),
    "B1": ("Known child-abuse material, B1", "pubescent minor, sex act"),
    "B2": ("Known child-abuse material, B2", "pubescent minor, lascivious exhibition"),
    "other": ("Content of a hash list, for review", "a list has it under no category that accuses"),
    "known-good": ("Content known to be good", "a list of known-good content has it"),
    "test": ("Test entry", "a harmless entry that is there for tests"),
    "terrorism": ("Terrorist content, for review", "a list of terrorist content has it"),
    "ncii": ("Intimate picture, for review", "a list of pictures shared without consent has it"),
    "listed": ("Known child-abuse material", "a service has it, and says nothing of its category"),
}

_HELP = (
    "The file need not be opened. Act by the notice-and-takedown rules of your country; the record says "
    "which entry of which list it matches."
)


def rule_of(category: str) -> str:
    """Return the id of the rule for a category; an unknown category is for review."""
    return f"known-{category if category in _MEANINGS else _OTHER}"


def _rule(category: str) -> dict[str, Any]:
    short, full = _MEANINGS[category]
    accuses = category in ACTING_CATEGORIES and category != TEST_CATEGORY
    return {
        "id": rule_of(category),
        "name": "Known" + "".join(part.capitalize() for part in category.split("-")),
        "shortDescription": {"text": f"{short}."},
        "fullDescription": {"text": f"By a hash list: {full}."},
        "help": {"text": _HELP},
        "defaultConfiguration": {"level": "error" if accuses else "note"},
        "properties": {
            "category": category,
            "tags": ["security"] if accuses else [],
            **({"security-severity": "10.0"} if accuses else {}),
        },
    }


RULES = [_rule(category) for category in CATEGORIES]
RULE_INDEX = {rule["id"]: place for place, rule in enumerate(RULES)}

NOTICES = [
    {
        "id": kind,
        "shortDescription": {"text": description},
        "fullDescription": {"text": description},
        "help": {
            "text": "The message of each result has the reason. "
            "Until it is resolved, the content may be on a list."
        },
    }
    for kind, description in (
        ("incomplete", "The scan did not check everything."),
        ("unreadable", "A file whose bytes could not be read."),
        ("folder", "A folder that could not be entered."),
        ("undecoded", "A picture or a container that was checked by its bytes only."),
        ("skipped", "A file that was left out on purpose."),
        ("silent-change", "A file whose content changed though it seemed unchanged."),
    )
]
NOTICE_INDEX = {notice["id"]: place for place, notice in enumerate(NOTICES)}


_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_LEVELS = {Verdict.MATCH.value: "error", Verdict.HELD.value: "warning"}
_NOTICE_LEVELS = {"unreadable": "error", "folder": "error", "silent-change": "error", "undecoded": "warning"}

_MEANT = str.maketrans({"{": "{{", "}": "}}", "[": r"\[", "]": r"\]", "\\": "\\\\"})
"""Escapes for characters that viewers would take for placeholders and links."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Sarif(ReportFormat):
    """SARIF 2.1.0: a result for each finding, a notification for each file that was not checked."""

    name = "sarif"
    suffix = ".sarif"

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write one log with one run; a result or notification per line."""
        run = _encode(_run(report))
        stream.write(f'{{"$schema":"{_SCHEMA}","version":"2.1.0","runs":[\n{run[:-1]},"results":['.encode())
        begin, others = b"\n", False
        for record in report.records():
            if record["type"] in MATCHING_TYPES:
                stream.write(begin + _encode(_result(record)).encode())
                begin = b",\n"
            elif record["type"] in TYPES:
                others = True
        invocation = _encode(_invocation(report))[:-1]
        stream.write(f'],\n"invocations":[{invocation},"toolExecutionNotifications":['.encode())
        begin = b"\n"
        for reason in shortcomings(report):
            stream.write(begin + _encode(_notice("incomplete", reason)).encode())
            begin = b",\n"
        if others:
            # There may be as many of these as results, so they are read again and not kept in memory.
            for record in report.records():
                if record["type"] in TYPES and record["type"] not in MATCHING_TYPES:
                    stream.write(begin + _encode(_file_notice(record)).encode())
                    begin = b",\n"
        stream.write(b"]}]}]}\n")


def _run(report: Report) -> dict[str, Any]:
    scan = report.scan
    uuid, version = printable(scan["uuid"]), printable(scan["version"])
    # The part up to the last slash identifies the run that the next scan replaces. It must not contain the
    # host name, which may differ each time.
    automation = {"id": f"hashscan/{uuid}", **({"guid": uuid} if _UUID.fullmatch(uuid) else {})}
    return {
        "tool": {
            "driver": {
                "name": "hashscan",
                "fullName": f"hashscan {version}",
                "version": version,
                "rules": RULES,
                "notifications": NOTICES,
            }
        },
        "automationDetails": automation,
        "columnKind": "unicodeCodePoints",
    }


def _result(record: Record) -> dict[str, Any]:
    path = path_bytes(record)
    match = deciding_match(record)
    rule = rule_of(match.get("category", ""))
    verdict = verdict_of(record)
    properties: dict[str, Any] = {"verdict": verdict}
    for key in ("customer", "action", "matches", "digests", "size", "version", "first", "last"):
        if key in record:
            properties[key] = record[key]
    result: dict[str, Any] = {
        "ruleId": rule,
        "ruleIndex": RULE_INDEX[rule],
        "level": _LEVELS.get(verdict, "note"),
        "message": {"text": _meant(reason_of(record))},
        "locations": [_location(path, match.get("member", ""))],
        "partialFingerprints": {"primaryLocationLineHash": _fingerprint(path, record, match)},
        "properties": properties,
    }
    if verdict == Verdict.HELD or "accepted" in record:
        result["suppressions"] = [_suppression(record, match)]
    return result


def _fingerprint(path: bytes, record: Record, match: Mapping[str, Any]) -> str:
    """Return a fingerprint that is the same in each scan for the same place and the same entry."""
    facts = (record.get("version", ""), match.get("list", ""), match.get("entry", ""))
    parts = (path, *(fact.encode("utf-8", errors="surrogatepass") for fact in facts))
    return f"{hashlib.sha256(bytes(1).join(parts)).hexdigest()[:16]}:1"


def _suppression(record: Record, match: Mapping[str, Any]) -> dict[str, Any]:
    """Return a suppression: accepted if a person accepted or excepted the finding, else under review."""
    status = "accepted" if "accepted" in record or "excepted" in match else "underReview"
    return {"kind": "external", "status": status, "justification": printable(reason_of(record))}


def _location(path: bytes, member: str = "") -> dict[str, Any]:
    # Code scanning does not show results without a line.
    physical = {"artifactLocation": {"uri": uri_of(path)}, "region": {"startLine": 1}}
    logical = {"logicalLocations": [{"fullyQualifiedName": printable(member), "kind": "member"}]}
    return {"physicalLocation": physical, **(logical if member else {})}


def _invocation(report: Report) -> dict[str, Any]:
    scan, summary = report.scan, report.summary
    invocation: dict[str, Any] = {"executionSuccessful": False}
    if summary is not None:
        code = summary["exit_code"]
        invocation = {
            "executionSuccessful": code in {EXIT_CLEAN, EXIT_FOUND},
            "exitCode": code,
            "exitCodeDescription": EXIT_MEANINGS.get(code, ""),
        }
    for key, when in (
        ("startTimeUtc", scan["started"]),
        ("endTimeUtc", "" if summary is None else summary.get("ended", "")),
    ):
        if moment := utc(when):
            invocation[key] = moment
    return {**invocation, "machine": printable(scan["host"])}


def _file_notice(record: Record) -> dict[str, Any]:
    notice = _notice(record["type"], reason_of(record))
    return {**notice, "locations": [_location(path_bytes(record))]}


def _notice(kind: str, message: str) -> dict[str, Any]:
    return {
        "descriptor": {"id": kind, "index": NOTICE_INDEX[kind]},
        "level": _NOTICE_LEVELS.get(kind, "error" if kind == "incomplete" else "note"),
        "message": {"text": _meant(message)},
    }


def _meant(text: str) -> str:
    """Escape text for SARIF viewers; return a replacement if it is empty, since SARIF requires text."""
    return printable(text).translate(_MEANT) or "no more is known"
