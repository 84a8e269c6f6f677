"""The findings of a report that an authority is to be told of, and why others are not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_from_bytes

from hashscan.errors import UsageError
from hashscan.model import ALGORITHMS, TEST_CATEGORY, Verdict
from hashscan.reports.names import path_bytes
from hashscan.reports.record_lines import Record
from hashscan.reports.report import Report

CLASSES = ("A1", "A2", "baseline", "B1", "B2")
"""The categories that authorities know, the gravest first."""
DIGESTS = ("md5", "sha1", "sha256")

_SILENCED = ("excepted", "doubt", "withheld")
_NEEDED = frozenset({"algorithm", "distance", "threshold"})
_HEX = tuple(
    (name, re.compile(f"[0-9a-f]{{{2 * ALGORITHMS[name].size}}}", re.ASCII).fullmatch) for name in DIGESTS
)
_WORLD = (b"http://", b"https://")
_KEPT = "!$&'()*+,;=:@/~"
"""What may stand in the path of a URL beside letters, digits, `-`, `.` and `_`."""


@dataclass(frozen=True, slots=True)
class Accusation:
    """One finding, with the match that speaks loudest."""

    record: Record
    match: Mapping[str, Any]
    path: bytes
    """Of the file, or an object's URL."""
    digests: Mapping[str, str]
    """In hex by algorithm: those of `DIGESTS` that are known."""
    url: str
    """Where the world sees it; empty where nobody said."""
    customer: str

    @property
    def is_removed(self) -> bool:
        """Whether the sweep itself has moved all of it out of reach."""
        quarantine = self.record.get("quarantine") or {}
        return quarantine.get("outcome") == "done" and not quarantine.get("other_names")

    @property
    def evidence(self) -> str:
        """What speaks against it, in words without names from strangers."""
        match = self.match
        entry = f"entry {match.get('entry')} of list {match.get('list')}"
        if ALGORITHMS[match["algorithm"]].metric == "exact":
            return f"{match['algorithm']} equal to {entry}"
        near = f"{match['distance']} bits of the {match['threshold']} allowed"
        return f"{match['algorithm']} of its picture lies {near} from {entry}"


def accusations(report: Report, left_out: Counter[str]) -> Iterator[Accusation]:
    """The findings to be told, in the report's order.

    Args:
        report: of a sweep.
        left_out: counts the others, by reason.
    """
    for record in report.records():
        match = _loudest(record)
        if match is None:
            if reason := _why_not(record):
                left_out[reason] += 1
            continue
        path = path_bytes(record)
        yield Accusation(
            record,
            match,
            path,
            _digests(report, record),
            path.decode("ascii", "replace") if _is_address(path) else report.context.url_of(record),
            report.customer(record),
        )


def require_digests(report: Report) -> None:
    """Make sure that every finding to be told has digests.

    Raises:
        UsageError: one has none.
    """
    missing = found = 0
    for accusation in accusations(report, Counter()):
        found += 1
        missing += not accusation.digests
    if missing:
        raise UsageError(
            f"{missing} of {found} findings have no digests, and whoever is told needs them",
            advice="Name the --state of the sweep, or sweep with --with-digests.",
        )


def location(accusation: Accusation, host: str) -> str:
    """A URL of the file or object, ASCII: where the world sees it, else where it lies."""
    if accusation.url:
        return accusation.url
    scheme, separator, rest = accusation.path.partition(b"://")
    if separator and not accusation.path.startswith(b"/"):
        return f"{quote_from_bytes(scheme)}://{quote_from_bytes(rest, _KEPT)}"
    return f"file://{quote_from_bytes(host.encode(), '')}{quote_from_bytes(accusation.path, _KEPT)}"


def began(report: Report) -> datetime:
    """When the sweep began; UTC.

    Raises:
        UsageError: the report has no such time.
    """
    try:
        return datetime.fromisoformat(str(report.sweep.get("started"))).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"the report {report.name} doesn't say when its sweep began",
            advice="Name a report as hashscan has written it.",
        ) from error


def zulu(time: datetime) -> str:
    """A time in UTC as RFC 3339 in whole seconds, with a `Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _digests(report: Report, record: Record) -> dict[str, str]:
    known = report.digests(record)
    return {name: known[name] for name, hexadecimal in _HEX if hexadecimal(str(known.get(name, "")))}


def _loudest(record: Record) -> Mapping[str, Any] | None:
    """The gravest and then nearest match of a finding to be told; None for what is not."""
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
    """Why a record is not to be told; empty for what speaks against nothing."""
    if record.get("type") == "standing":
        return "earlier findings that this sweep did not come by"
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
    return path.startswith(_WORLD) and path.isascii() and path.decode("ascii").isprintable()
