"""Select the findings of a report that are reported to an authority, and say why others are not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote_from_bytes

from hashscan.errors import UsageError
from hashscan.model import ALGORITHMS, TEST_CATEGORY, Verdict
from hashscan.reports.records import Record, path_bytes
from hashscan.reports.report import Report
from hashscan.timefmt import parse_zoned

CLASSES = ("A1", "A2", "baseline", "B1", "B2")
"""The categories that authorities use, the most severe first."""
DIGESTS = ("md5", "sha1", "sha256")

_SILENCED = ("excepted", "doubt", "withheld")
_NEEDED = frozenset({"algorithm", "distance", "threshold"})
_HEX = tuple(
    (name, re.compile(f"[0-9a-f]{{{2 * ALGORITHMS[name].size}}}", re.ASCII).fullmatch) for name in DIGESTS
)
_WEB_SCHEMES = (b"http://", b"https://")
_KEPT = "!$&'()*+,;=:@/~"
"""Characters allowed in the path of a URL, besides letters, digits, `-`, `.` and `_`."""


@dataclass(frozen=True, slots=True)
class ReportableFinding:
    """A finding to be reported to an authority, with its most severe match."""

    record: Record
    match: Mapping[str, Any]
    path: bytes
    """Path of the file, or URL of the object."""
    digests: Mapping[str, str]
    """Digests in hex by algorithm: those of `DIGESTS` that are known."""
    url: str
    """Public URL; empty if none is known."""
    customer: str

    @property
    def is_removed(self) -> bool:
        """True if the scan itself has moved all names of the file into quarantine."""
        quarantine = self.record.get("quarantine") or {}
        return quarantine.get("outcome") == "done" and not quarantine.get("other_names")

    @property
    def evidence(self) -> str:
        """The match as text, without untrusted names."""
        match = self.match
        entry = f"entry {match.get('entry')} of list {match.get('list')}"
        known = ALGORITHMS[match["algorithm"]]
        if known.metric == "exact":
            return f"{match['algorithm']} equal to {entry}"
        if known.metric == "video":
            return f"{match['algorithm']} finds {100 - match['distance']} % of the frames of {entry}"
        near = f"{match['distance']} {known.unit} of the {match['threshold']} allowed"
        return f"{match['algorithm']} of its picture is {near} from {entry}"


def accusations(report: Report, left_out: Counter[str]) -> Iterator[ReportableFinding]:
    """Yield the findings to be reported, in the report's order; count the others in `left_out`, by reason."""
    for record in report.records():
        match = _most_severe_match(record)
        if match is None:
            if reason := _why_not(record):
                left_out[reason] += 1
            continue
        path = path_bytes(record)
        yield ReportableFinding(
            record,
            match,
            path,
            _digests(report, record),
            path.decode("ascii", "replace") if _is_address(path) else report.context.url_of(record),
            report.customer(record),
        )


def require_digests(report: Report) -> None:
    """Check that every finding to be reported has digests."""
    missing = found = 0
    for accusation in accusations(report, Counter()):
        found += 1
        missing += not accusation.digests
    if missing:
        raise UsageError(
            f"{missing} of {found} findings have no digests, which the recipient needs",
            advice="Name the --state of the scan, or scan with --with-digests.",
        )


def location(accusation: ReportableFinding, host: str) -> str:
    """Return a URL of the file or object, in ASCII: its public URL, else its location."""
    if accusation.url:
        return accusation.url
    scheme, separator, rest = accusation.path.partition(b"://")
    if separator and not accusation.path.startswith(b"/"):
        return f"{quote_from_bytes(scheme)}://{quote_from_bytes(rest, _KEPT)}"
    return f"file://{quote_from_bytes(host.encode(), '')}{quote_from_bytes(accusation.path, _KEPT)}"


def scan_start(report: Report) -> datetime:
    """Return the start time of the scan, in UTC."""
    time = parse_zoned(str(report.scan.get("started")))
    if time is None:
        raise UsageError(
            f"the report {report.name} doesn't say when its scan began",
            advice="Name a report as hashscan has written it.",
        )
    return time


def _digests(report: Report, record: Record) -> dict[str, str]:
    known = report.digests(record)
    return {name: known[name] for name, hexadecimal in _HEX if hexadecimal(str(known.get(name, "")))}


def _most_severe_match(record: Record) -> Mapping[str, Any] | None:
    """Return the most severe, then nearest match of a finding to be reported; None for other records."""
    if record.get("type") != "finding" or record.get("verdict") != Verdict.MATCH or "accepted" in record:
        return None
    accusing = [match for match in record.get("matches", ()) if _accuses(match)]
    return min(accusing, key=lambda m: (CLASSES.index(m["category"]), m["distance"]), default=None)


def _accuses(match: Mapping[str, Any]) -> bool:
    return (
        match.get("category") in CLASSES
        and match.keys() >= _NEEDED
        and match["distance"] <= match["threshold"]
        and match["algorithm"] in ALGORITHMS
        and not ALGORITHMS[match["algorithm"]].review_only
        and not any(key in match for key in _SILENCED)
    )


def _why_not(record: Record) -> str:
    """Return the reason for not reporting a record; empty for a record without a match."""
    if record.get("type") == "standing":
        return "earlier findings that this scan did not reach"
    if record.get("type") != "finding":
        return ""
    if record.get("verdict") == Verdict.HELD:
        return "findings that are held"
    if record.get("verdict") == Verdict.REVIEW:
        return "findings for review"
    if "accepted" in record:
        return "findings that were accepted"
    if any(match.get("category") == TEST_CATEGORY for match in record.get("matches", ())):
        return "findings by test entries"
    return "findings of categories that authorities don't name"


def _is_address(path: bytes) -> bool:
    return path.startswith(_WEB_SCHEMES) and path.isascii() and path.decode("ascii").isprintable()
