"""Reports for the tests of formats, with names in every form that strangers may choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hashscan.model import Reporter
from hashscan.reports.records import line_of
from hashscan.reports.report import ReportContext
from hashscan.text import path_fields

HOSTILE = (
    b"/srv/<script>alert(1)</script>.jpg",
    b'/srv/"><img src=x onerror=alert(1)>.jpg',
    b'/srv/=HYPERLINK("http://evil.example","x").jpg',
    b"=cmd|' /C calc'!A0",
    b"/srv/\x1b[31mred\x1b]0;title\x07.jpg",
    b"/srv/[bold]rich[/bold].jpg",
    b"/srv/two\nlines\r\nthree\ttab\x00.jpg".replace(b"\x00", b"\x01"),
    b"/srv/\xff\xfe invalid \xc3\x28.jpg",
    "/srv/\u202egpj.exe\u2066.jpg".encode(),
    b"/srv/| pipe ` tick * star _ under \\ back ]]> &amp; {{ 7*7 }} ${x}.jpg",
    b"/srv/" + b"n" * 4000,
    "/srv/ünï\u0301 \U0001f600 \ufeff\u200b.jpg".encode(),
)

DIGESTS = {"md5": "0d" * 16, "sha1": "1e" * 20, "sha256": "2f" * 32}
CONTEXT = ReportContext(
    digests=lambda record: DIGESTS,
    reporter=Reporter(
        "A hoster & sons", "abuse@hoster.example", "hoster.example", "Ada van Dam", "+31 20 1234567", "NL"
    ),
)
"""With all that a format may ask for."""

SCAN = {
    "type": "scan",
    "schema": 1,
    "uuid": "6a0f0cfe-0000-4000-8000-000000000000",
    "version": "0.1",
    "host": "web1",
    "targets": [{"path": "/srv"}],
    "lists": [
        {"name": "national", "state": "fresh", "version": 7, "entries": 3, "by_algorithm": {"sha256": 3},
         "categories": ["A1"], "key_ids": ["00"]}
    ],
    "excepted": [],
    "algorithms": ["md5", "sha1", "sha256", "pdq"],
    "thresholds": {"pdq": 31},
    "variants": [],
    "selection": {},
    "sandbox": {"mode": "auto"},
    "fail_on": "match",
    "strict": False,
    "breaker": {"owners": 20, "files": 10000},
    "started": "2026-11-26T01:00:00+00:00",
}  # fmt: skip


def finding(path: bytes, verdict: str = "match", **further: Any) -> dict[str, Any]:
    match = {"list": "national", "entry": "e-1", "algorithm": "sha256", "variant": "as stored",
             "distance": 0, "threshold": 0, "category": "A1"}  # fmt: skip
    return {
        "type": "finding", "schema": 1, **path_fields(path), "verdict": verdict, "size": 1234,
        "mtime_ns": 1_790_000_000_000_000_000, "ctime_ns": 1_790_000_000_000_000_000, "uid": 1000, "links": 1,
        "device": 5, "inode": 77, "matches": [match], "because": "entry e-1 of national", "action": "report",
        **further,
    }  # fmt: skip


def match(**fields: Any) -> list[dict[str, Any]]:
    """One match, as `finding` has it but for these fields."""
    return [{**finding(b"/x")["matches"][0], **fields}]


def unreadable(path: bytes) -> dict[str, Any]:
    return {
        "type": "unreadable", "schema": 1, **path_fields(path), "verdict": "unreadable",
        "reason": "permission denied", "detail": "Permission denied",
    }  # fmt: skip


def summary(records: Sequence[dict[str, Any]], **further: Any) -> dict[str, Any]:
    verdicts = dict.fromkeys(("match", "held", "review", "unreadable", "undecoded", "skipped", "clean"), 0)
    for record in records:
        if "verdict" in record:
            verdicts[record["verdict"]] += 1
    verdicts["clean"] = 10
    found = verdicts["match"] + verdicts["held"] > 0
    return {
        "type": "summary", "schema": 1, "files": sum(verdicts.values()), "verdicts": verdicts, "reasons": {},
        "folders_not_entered": {}, "empty_targets": 0,
        "passed": {"folders": 1, "links": 0, "specials": 0, "excluded_folders": 0}, "test_findings": 0,
        "low_quality_pictures": 0, "bytes": 123_456, "unchanged": 0, "incomplete": [],
        "only_test_entries": False, "seconds": 1.5, "ended": "2026-11-26T01:00:01+00:00",
        "exit_code": 1 if found else 0, **further,
    }  # fmt: skip


def written(path: Path, records: Iterable[dict[str, Any]], *, whole: bool = True, torn: bytes = b"") -> Path:
    """A report in a file: a scan, the records and, where it is whole, their summary."""
    lines = list(records)
    with path.open("wb") as stream:
        stream.write(line_of(SCAN))
        stream.writelines(map(line_of, lines))
        if whole:
            stream.write(line_of(summary(lines)))
        stream.write(torn)
    return path
