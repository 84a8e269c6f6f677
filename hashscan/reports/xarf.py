"""Write findings as XARF 4, the format for abuse reports between networks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, BinaryIO, ClassVar
from urllib.parse import urlsplit
from uuid import UUID

from hashscan.model import Reporter
from hashscan.reports.report import Report, ReportFormat, require_reporter
from hashscan.reports.reportable_findings import (
    ReportableFinding,
    accusations,
    location,
    require_digests,
    scan_start,
)
from hashscan.timefmt import format_utc

VERSION = "4.2.0"

_DESCRIPTION_MAX = 1000
_ORGANISATION_MAX = 200
_encode = json.JSONEncoder(separators=(",", ":")).encode
_DOMAIN = re.compile(r"([a-z0-9]+(-[a-z0-9]+)*\.)+[a-z]{2,}", re.ASCII)


class Xarf(ReportFormat):
    """A line of JSON for each finding, each a complete report; the file itself is never included.

    A finding that is reported again after another scan has the same report_id as before.
    """

    name = "xarf"
    suffix = ".xarf.jsonl"
    needs_digests: ClassVar[bool] = True
    needs_reporter: ClassVar[bool] = True

    def write(self, report: Report, stream: BinaryIO) -> None:
        """Write one report per line."""
        reporter = require_reporter(report.context)
        require_digests(report)
        time = format_utc(scan_start(report))
        host = str(report.scan.get("host", ""))
        for accusation in accusations(report, self.left_out):
            document = {
                **_begin(_identity(accusation, host), time),
                **_fields(accusation, host),
                "evidence_source": "automated_scan",
            }
            stream.write(_encode(sent_by(document, reporter)).encode("ascii") + b"\n")


def notice_report(report_id: UUID, time: str, url: str, category: str, description: str) -> dict[str, str]:
    """Return the report of a notice, without its sender; see `sent_by`.

    Args:
        report_id: a UUID of version 4, the same if the notice is sent again.
        time: RFC 3339.
        url: in ASCII.
        category: one of `reportable_findings.CLASSES`.
        description: for people; it is cut at 1,000 characters.
    """
    return {
        **_begin(report_id, time),
        **_place(url, _host(url), with_domain=True),
        "classification": category,
        "detection_method": "manual_review",
        "description": description[:_DESCRIPTION_MAX],
    }


def sent_by(document: Mapping[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Return a report with its sender."""
    contact = _contact(reporter)
    return {**document, "reporter": contact, "sender": contact}


def _begin(report_id: UUID, time: str) -> dict[str, str]:
    return {"xarf_version": VERSION, "report_id": str(report_id), "timestamp": time}


def _contact(reporter: Reporter) -> dict[str, str]:
    return {
        "org": reporter.organisation[:_ORGANISATION_MAX],
        "contact": reporter.email,
        "domain": reporter.domain or reporter.email.rpartition("@")[2],
    }


def _identity(accusation: ReportableFinding, host: str) -> UUID:
    """Return a version 4 UUID that is always the same for the same content in the same place."""
    parts = (
        host.encode("utf-8", "surrogatepass"),
        accusation.path,
        str(accusation.record.get("version", "")).encode("utf-8", "surrogatepass"),
        ",".join(map(":".join, sorted(accusation.digests.items()))).encode("ascii"),
    )
    lengths = b"".join(len(part).to_bytes(8) for part in parts)
    return UUID(bytes=hashlib.sha256(lengths + b"".join(parts)).digest()[:16], version=4)


def _fields(accusation: ReportableFinding, host: str) -> dict[str, Any]:
    url = location(accusation, host)
    fields: dict[str, Any] = _place(url, _host(url) or host, with_domain=bool(accusation.url))
    fields["classification"] = accusation.match["category"]
    fields["detection_method"] = "hash_match"
    if "picture" in accusation.record:
        fields["media_type"] = "image"
    fields["hash_values"] = dict(accusation.digests)
    if accusation.is_removed:
        fields["content_removed"] = True
    fields["description"] = _description(accusation)
    return fields


def _place(url: str, source: str, *, with_domain: bool) -> dict[str, str]:
    fields = {"source_identifier": source, "category": "content", "type": "csam", "url": url}
    if with_domain and _DOMAIN.fullmatch(source):
        fields["domain"] = source
    return fields


def _description(accusation: ReportableFinding) -> str:
    description = f"Found by its hash, without a look at it: {accusation.evidence}."
    if accusation.customer:
        description = f"{description} It is a customer's: {accusation.customer}"
    return description[:_DESCRIPTION_MAX]


def _host(url: str) -> str:
    """Return the host of a URL, or what replaces it; empty if there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
