"""Reports of shards as scans write them, made without scanning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def listed(version: int, state: str = "fresh") -> dict[str, Any]:
    return {"name": "l", "state": state, "version": version, "entries": 9, "fingerprint": "f" * 64}


PASSED = {"folders": 1, "links": 0, "specials": 0, "excluded_folders": 0}


def clean(path: Path, index: int, count: int, **changes: Any) -> Path:
    """A report of a shard with nothing to report, like real ones."""
    scan = {
        "type": "scan", "schema": 1, "uuid": f"u{index}", "version": "0.1.0", "host": "h",
        "targets": [{"path": "/t"}], "shard": {"index": index, "count": count}, "lists": [listed(4)],
        "excepted": [], "algorithms": ["md5"], "thresholds": {}, "variants": [], "sandbox": {"mode": "auto"},
        "fail_on": "match", "strict": False,
        "breaker": {"owners": 20, "files": 10_000}, "started": "2026-11-25T10:00:00+00:00",
    }  # fmt: skip
    summary = {
        "type": "summary", "schema": 1, "verdicts": {"clean": 5}, "reasons": {}, "folders_not_entered": {},
        "empty_targets": 0, "passed": PASSED, "test_findings": 0, "low_quality_pictures": 0,
        "bytes": 7, "unchanged": 0, "incomplete": [], "only_test_entries": False,
        "listed": 10, "listed_sum": "a5",
        "exit_code": 0,
        "ended": "2026-11-25T10:00:01+00:00",
    }  # fmt: skip
    for key, value in changes.items():
        (summary if key in summary and key != "schema" else scan)[key] = value
    records = [{k: v for k, v in r.items() if v is not None} for r in (scan, summary)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def many_findings(path: Path, index: int, number: int) -> Path:
    clean(path, index, 2, verdicts={"match": number, "clean": 0})
    first, last = path.read_text().splitlines(keepends=True)
    with path.open("w") as stream:
        stream.write(first)
        for place in range(number):
            finding = {"type": "finding", "schema": 1, "path": f"/t/{place}", "verdict": "match"}
            stream.write(json.dumps(finding | {"because": "b", "detail": "x" * 200}) + "\n")
        stream.write(last)
    return path
