"""Merge the reports of a scan's shards into the report that one scan would have written."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from hashscan import __version__
from hashscan.model import ListInfo, TrustState
from hashscan.reports.record_lines import Record
from hashscan.reports.records import SCHEMA, summary_record
from hashscan.reports.sink import ReportFile
from hashscan.reports.summary import Summary, exit_code_of
from hashscan.scan.reporting.deferred_findings import DeferredFindings
from hashscan.scan.sharding.same_scan import listing_differences, require_same_scan, time_gaps
from hashscan.scan.sharding.shard_report import SANDBOX_LEVELS, SANDBOX_MODES, ShardReport, open_report

_NAMED = 30
"""The number of missing shards that a message names; of the others it gives only the number."""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The result of merging reports."""

    summary: Summary
    shortcomings: tuple[str, ...]
    """The reasons why the merged scan is incomplete, for people."""
    shards: int
    exit_code: int
    said: tuple[str, ...]
    """The circuit breaker's messages, a line each."""


def merge_reports(paths: Sequence[Path], sink: ReportFile) -> MergeResult:
    """Merge the reports of shards; each is read once, and only the data about shards stays in memory.

    The matches of an entry are counted over all shards.

    Args:
        paths: one report for each shard, in any order; some may be missing, or be of killed scans.
        sink: gets the records of the new report; the caller finishes it.

    Raises:
        UsageError: the reports are not of one scan, a shard occurs twice, or a file is not a report.
        OutputError: a report can't be read to its end.
    """
    reports = sorted(map(open_report, paths), key=lambda report: report.shard.index)
    require_same_scan(reports)
    sink.write(_scan_record(reports))
    total = Summary()
    with closing(DeferredFindings(reports[0].breaker)) as settlement:
        for report in reports:
            for record in report.records():
                if not settlement.add(record) or sink.destination is not None:
                    sink.write(record)
            total.add_fields(report.counted.fields() if report.summary is None else report.summary)
        settlement.finalize()
        total.hold(settlement.held_records())
        if settlement.changed or sink.destination is None:
            sink.replace_matches(settlement.records())
        return _conclude(reports, total, settlement, sink)


def _scan_record(reports: Sequence[ShardReport]) -> Record:
    first = reports[0].scan
    mode = min((report.scan["sandbox"]["mode"] for report in reports), key=SANDBOX_MODES.index)
    return {
        **{key: value for key, value in first.items() if key != "shard"},
        "schema": SCHEMA,
        "uuid": str(uuid.uuid4()),
        "version": __version__,
        "host": socket.gethostname(),
        "lists": list(_worst_lists(reports).values()),
        "excepted": list(_excepted(reports)),
        "sandbox": {"mode": mode},
        "started": min(report.started for report in reports).isoformat(),
        "merged": {
            "shards": reports[0].shard.count,
            "from": [
                {
                    "shard": report.shard.index,
                    **{key: report.scan[key] for key in ("uuid", "version", "host", "started")},
                }
                for report in reports
            ],
        },
    }


def _worst_lists(reports: Sequence[ShardReport]) -> dict[str, Any]:
    """Return the hash lists by name, each in the worst state that a shard found it in."""
    worst: dict[str, Any] = {}
    for report in reports:
        for info in report.scan["lists"]:
            kept = worst.setdefault(info["name"], info)
            if kept["state"] in {TrustState.FRESH, TrustState.LOCAL}:
                worst[info["name"]] = info
    return worst


def _excepted(reports: Sequence[ShardReport]) -> Iterator[Record]:
    """Yield the entries that were withheld; with the shards' numbers if only some shards withheld them."""
    entries: dict[tuple[str, ...], Record] = {}
    shards: dict[tuple[str, ...], list[int]] = {}
    for report in reports:
        for entry in report.scan["excepted"]:
            key = tuple(entry[name] for name in ("list", "entry", "algorithm"))
            entries[key] = entry
            shards.setdefault(key, []).append(report.shard.index)
    for key in sorted(entries):
        here = {} if len(shards[key]) == len(reports) else {"shards": shards[key]}
        yield {**entries[key], **here}


def _conclude(
    reports: Sequence[ShardReport], total: Summary, settlement: DeferredFindings, sink: ReportFile
) -> MergeResult:
    first = reports[0].scan
    lists = [ListInfo(name, TrustState(info["state"])) for name, info in _worst_lists(reports).items()]
    short = [
        *total.shortcomings(lists, strict=first["strict"]),
        *_missing(reports),
        *_shard_shortcomings(reports, strict=first["strict"]),
        *listing_differences(reports),
        *time_gaps(reports),
    ]
    exit_code = exit_code_of(found=total.found(first["fail_on"]), incomplete=bool(short))
    summaries = [report.summary for report in reports if report.summary is not None]
    levels = [summary["sandbox"] for summary in summaries if "sandbox" in summary]
    ended = max((end for report in reports if (end := report.ended) is not None), default=None)
    fields = {
        **total.fields(),
        **settlement.fields(),
        "incomplete": short,
        "only_test_entries": bool(summaries) and all(s["only_test_entries"] for s in summaries),
        "merged": datetime.now(UTC).isoformat(),
        "exit_code": exit_code,
    }
    if levels:
        fields["sandbox"] = min(levels, key=lambda level: SANDBOX_LEVELS.index(level["level"]))
    if ended is not None:
        began = min(report.started for report in reports)
        fields["seconds"] = round((ended - began).total_seconds(), 3)
        fields["ended"] = ended.isoformat()
    sink.write(summary_record(fields))
    return MergeResult(total, tuple(short), len(reports), exit_code, tuple(settlement.breaker_messages()))


def _missing(reports: Sequence[ShardReport]) -> list[str]:
    count = reports[0].shard.count
    there = {report.shard.index for report in reports}
    number = count - len(there)
    if not number:
        return []
    named = [str(index) for index in islice((i for i in range(1, count + 1) if i not in there), _NAMED)]
    if number > len(named):
        named.append(f"{number - len(named)} more")
    if len(named) == 1:
        return [f"shard {named[0]} of {count} is missing"]
    return [f"shards {', '.join(named[:-1])} and {named[-1]} of {count} are missing"]


def _shard_shortcomings(reports: Sequence[ShardReport], *, strict: bool) -> Iterator[str]:
    """Yield the reasons why single shards are incomplete, beyond what their counts show."""
    for report in reports:
        if report.summary is None:
            yield f"{report.name} was not scanned to its end: {report.path.name} has no summary"
            continue
        own = Summary()
        own.add_fields(report.summary)
        known = own.shortcomings(report.lists, strict=strict)
        for words in report.summary["incomplete"]:
            if words not in known:
                yield f"{report.name}: {words}"
