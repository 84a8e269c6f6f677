"""Merge the reports of a scan's shards into the report that one scan would have written, after checking that
they are of one scan.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from msgspec import structs

from hashscan import __version__
from hashscan.errors import UsageError
from hashscan.model import ALGORITHMS, FolderReason, ListInfo, Reason, Shard, TrustState, Verdict
from hashscan.reports.records import FINDINGS, Record, summary_record
from hashscan.reports.report import read_report
from hashscan.reports.report_file import ReportFile
from hashscan.reports.schema import NO_FINDING, SANDBOX_LEVELS, SANDBOX_MODES, SCHEMA
from hashscan.reports.summary import Summary, exit_code_of
from hashscan.scan.reporting.report_writer import DeferredFindings
from hashscan.settings.matching import BreakerLimits
from hashscan.shortcomings import Shortcoming, ShortcomingCode, fields_of, shortcomings_of
from hashscan.timefmt import parse_utc

_SHOWN = 60
_OF_THIS_SCAN = frozenset({"finding", *NO_FINDING})
_WITHOUT_FILE = frozenset({"standing", "silent-change"})
"""Types of records about findings of earlier scans, and about files that have a record of their own."""
SAME_FIELDS: Mapping[str, str] = {
    "targets": "scanned other targets than the second",
    "inventory": "took another inventory than the second",
    "files_from": "differs from the second in --files-from",
    "algorithms": "computed other digests than the second",
    "thresholds": "matched by other thresholds than the second",
    "variants": "compared pictures in other ways than the second",
    "photodna": "differs from the second in [[photodna_distance]]",
    "review_threshold": "differs from the second in --review-threshold",
    "policy": "followed another policy than the second",
    "fail_on": "differs from the second in --fail-on",
    "strict": "differs from the second in --strict",
    "baseline": "accepted other findings than the second",
    "breaker": "differs from the second in --breaker-owners or --breaker-files",
}
"""The fields that must be equal in all shards of one scan, and the message if one differs."""

SELECTION: Mapping[str, str] = {
    "exclude": "--exclude or --ignore-file",
    "max_file_size": "--max-file-size",
    "max_sparse": "--max-sparse",
    "one_file_system": "--one-file-system",
    "all_versions": "--all-versions",
    "endpoint": "--endpoint",
    "anonymous": "--anonymous",
    "max_pixels": "--max-pixels",
    "decoder_memory": "--decoder-memory",
    "large_decoder_memory": "--large-decoder-memory",
    "decoder_seconds": "--decoder-seconds",
}
"""The options behind the fields that `selection_fields` writes into a report."""

LISTED_RATIO_MIN = 0.8
"""The fraction of files: a shard that listed less than this part of another shard's files listed another
tree."""

GAP_MAX = timedelta(hours=12)
"""The longest plausible gap between two shards of one scan. If one ends longer before the next begins, its
report may be left over from an earlier scan."""

_SHOWN = 60


def require_same_scan(reports: Sequence[ShardReport]) -> None:
    """Raise an error unless the reports, sorted by shard, are different shards of one scan."""
    first = reports[0]
    for report in reports[1:]:
        for one in (first, report):
            if "shard" not in one.scan:
                raise UsageError(
                    f"{one.path} is of a whole scan, not of a shard, so that nothing can be joined to it",
                    advice="Name reports that `hashscan scan --shard` wrote, or one whole report alone.",
                )
        pair = f"{report.path} and {first.path} are not of one scan: the first"
        if report.shard.count != first.shard.count:
            raise UsageError(
                f"{pair} is one of {report.shard.count} shards, the second of {first.shard.count}",
                advice="Name the reports of one scan.",
            )
        for message in _differences(report, first):
            raise UsageError(f"{pair} {message}", advice="Scan again with the same options for all shards.")
        for message in _other_lists(report, first):
            raise UsageError(
                f"{pair} {message}", advice="Pull or import the same lists everywhere and scan again."
            )
    for before, report in pairwise(reports):
        if before.shard == report.shard:
            raise UsageError(
                f"{report.name} is given twice, by {before.path} and {report.path}",
                advice="Leave out the one of a scan that was repeated.",
            )


def _differences(report: ShardReport, first: ShardReport) -> Iterator[str]:
    for key, message in SAME_FIELDS.items():
        ours, theirs = report.scan.get(key), first.scan.get(key)
        # The path of a list of names may differ between machines; the names are compared by their checksum.
        if ours != theirs and (key != "files_from" or ours is None or theirs is None):
            yield message
    mine, other = report.scan.get("selection", {}), first.scan.get("selection", {})
    for key in dict.fromkeys((*SELECTION, *mine, *other)):
        ours, theirs = mine.get(key), other.get(key)
        if ours != theirs:
            option = SELECTION.get(key, "an option that this hashscan doesn't know")
            yield f"differs from the second in {option}: {_shown(ours)} and {_shown(theirs)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict) and "patterns" in value:
        value = value["patterns"]
    shown = json.dumps(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _other_lists(report: ShardReport, first: ShardReport) -> Iterator[str]:
    mine, other = ({info.name: info for info in one.lists} for one in (report, first))
    if mine.keys() != other.keys():
        yield f"used {_named(mine)}, the second {_named(other)}"
    for name in sorted(mine.keys() & other.keys()):
        ours, theirs = mine[name], other[name]
        counted_here = ours.state is theirs.state and ours.state.is_unsigned
        if not counted_here and ours.version != theirs.version:
            yield f"used {_list_label(ours)}, the second {_list_label(theirs)}"
        if ours.fingerprint != theirs.fingerprint:
            yield (
                f"has other content in the list {name} ({_list_label(ours)}) than the second "
                f"({_list_label(theirs)})"
            )


def _named(lists: Mapping[str, ListInfo]) -> str:
    return " and ".join(_list_label(lists[name]) for name in sorted(lists)) or "no list"


def _list_label(info: ListInfo) -> str:
    state = "" if info.state in {TrustState.FRESH, TrustState.STALE} else f", {info.state.value}"
    return f"{info.name} version {info.version} ({info.entries} entries{state})"


def listing_differences(reports: Sequence[ShardReport]) -> list[Shortcoming]:
    """Return reasons to assume that shards listed different files; call it after reading the reports."""
    scanned = [report for report in reports if report.summary is not None and "listed" in report.summary]
    if not scanned:
        return []

    def listed(report: ShardReport) -> int:
        return 0 if report.summary is None else int(report.summary["listed"])

    least, most = min(scanned, key=listed), max(scanned, key=listed)
    named = "files_from" in reports[0].scan
    if listed(least) < listed(most) * (1 if named else LISTED_RATIO_MIN):
        message = f"{least.name} was shown {listed(least)} files, {most.name} {listed(most)}"
        return [_listed_apart(message)]
    if named:
        for report in scanned[1:]:
            if _sum(report) != _sum(scanned[0]):
                message = f"--files-from named other files to {report.name} than to {scanned[0].name}"
                return [_listed_apart(message)]
    return []


def _listed_apart(message: str) -> Shortcoming:
    return Shortcoming(ShortcomingCode.LISTING, f"shards did not have the same before them: {message}")


def _sum(report: ShardReport) -> str:
    return "" if report.summary is None else str(report.summary["listed_sum"])


def time_gaps(reports: Sequence[ShardReport]) -> list[Shortcoming]:
    """Return the shards that may be of an earlier scan: they ended long before others began."""
    by_start = sorted(reports, key=lambda report: report.started)
    last = by_start[0]
    short = []
    for report in by_start[1:]:
        gap = report.started - (last.ended or last.started)
        if gap > GAP_MAX:
            hours = gap // timedelta(hours=1)
            message = f"was done {hours} hours before {report.name} began, and may be of an earlier scan"
            short.append(Shortcoming(ShortcomingCode.APART, f"{last.name} {message}", last.name))
        if (report.ended or report.started) > (last.ended or last.started):
            last = report
    return short


_NAMED = 30
"""The number of missing shards that a message names; of the others it gives only the number."""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The result of merging reports."""

    summary: Summary
    shortcomings: tuple[Shortcoming, ...]
    shards: int
    exit_code: int
    said: tuple[str, ...]


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
    services = {info.name for info in reports[0].lists if info.state is TrustState.SERVICE}
    with closing(DeferredFindings(reports[0].breaker, services)) as deferred:
        for report in reports:
            for record in report.records():
                if not deferred.add(record) or sink.destination is not None:
                    sink.write(record)
                total.breaker_held += "breaker" in record and "accepted" not in record
            total.add_fields(report.counted.fields() if report.summary is None else report.summary)
        deferred.finalize()
        total.hold(deferred.held_records())
        if deferred.changed or sink.destination is None:
            sink.replace_matches(deferred.records())
        return _conclude(reports, total, deferred, sink)


def _scan_record(reports: Sequence[ShardReport]) -> Record:
    first = reports[0].scan
    contents = list(_excepted(reports, "excepted_contents", ("since", "until", "by", "reason")))
    mode = min((report.scan["sandbox"]["mode"] for report in reports), key=SANDBOX_MODES.index)
    return {
        **{key: value for key, value in first.items() if key != "shard"},
        "schema": SCHEMA,
        "uuid": str(uuid.uuid4()),
        "version": __version__,
        "host": socket.gethostname(),
        "lists": list(_worst_lists(reports).values()),
        "excepted": list(_excepted(reports, "excepted", ("list", "entry", "algorithm"))),
        **({"excepted_contents": contents} if contents else {}),
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
            if TrustState(kept["state"]).is_good:
                worst[info["name"]] = info
    return worst


def _excepted(reports: Sequence[ShardReport], field: str, names: tuple[str, ...]) -> Iterator[Record]:
    """Yield what was withheld; with the shards' numbers if only some shards withheld it. `names` are the
    fields that identify one."""
    entries: dict[tuple[str, ...], Record] = {}
    shards: dict[tuple[str, ...], list[int]] = {}
    for report in reports:
        for entry in report.scan.get(field, ()):
            key = tuple(entry[name] for name in names)
            entries[key] = entry
            shards.setdefault(key, []).append(report.shard.index)
    for key in sorted(entries):
        here = {} if len(shards[key]) == len(reports) else {"shards": shards[key]}
        yield {**entries[key], **here}


def _conclude(
    reports: Sequence[ShardReport], total: Summary, deferred: DeferredFindings, sink: ReportFile
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
        **deferred.fields(),
        "incomplete": fields_of(short),
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
    return MergeResult(total, tuple(short), len(reports), exit_code, tuple(deferred.breaker_messages()))


def _missing(reports: Sequence[ShardReport]) -> list[Shortcoming]:
    count = reports[0].shard.count
    there = {report.shard.index for report in reports}
    number = count - len(there)
    if not number:
        return []
    named = [str(index) for index in islice((i for i in range(1, count + 1) if i not in there), _NAMED)]
    if number > len(named):
        named.append(f"{number - len(named)} more")
    if len(named) == 1:
        message = f"shard {named[0]} of {count} is missing"
    else:
        message = f"shards {', '.join(named[:-1])} and {named[-1]} of {count} are missing"
    return [Shortcoming(ShortcomingCode.SHARDS, message)]


def _shard_shortcomings(reports: Sequence[ShardReport], *, strict: bool) -> Iterator[Shortcoming]:
    """Yield the reasons why single shards are incomplete, beyond what their counts show."""
    for report in reports:
        if report.summary is None:
            message = f"{report.name} was not scanned to its end: {report.path.name} has no summary"
            yield Shortcoming(ShortcomingCode.UNFINISHED, message, report.name)
            continue
        own = Summary()
        own.add_fields(report.summary)
        known = {(one.code, one.subject) for one in own.shortcomings(report.lists, strict=strict)}
        for one in shortcomings_of(report.summary):
            if (one.code, one.subject) not in known:
                yield structs.replace(one, message=f"{report.name}: {one.message}")


@dataclass(slots=True)
class ShardReport:
    """The report of one shard; only the first record is kept in memory, and the summary when it was read."""

    path: Path
    scan: Record
    shard: Shard
    summary: Record | None = None
    counted: Summary = field(default_factory=Summary)
    """The counts of the records, which are all that is known if there is no summary."""

    @property
    def name(self) -> str:
        return f"shard {self.shard.index}"

    @property
    def lists(self) -> list[ListInfo]:
        return [
            ListInfo(
                info["name"],
                TrustState(info["state"]),
                info["version"],
                info["entries"],
                fingerprint=info.get("fingerprint", ""),
            )
            for info in self.scan["lists"]
        ]

    @property
    def started(self) -> datetime:
        return parse_utc(self.scan["started"])

    @property
    def breaker(self) -> BreakerLimits:
        """The limits of how many files one entry may match in the whole scan."""
        limits = self.scan["breaker"]
        return BreakerLimits(limits["owners"], limits["files"])

    @property
    def ended(self) -> datetime | None:
        return (
            None if self.summary is None or "ended" not in self.summary else parse_utc(self.summary["ended"])
        )

    def records(self) -> Iterator[Record]:
        """Yield the records between the first one and the summary, which is stored in `summary`."""
        records = read_report(self.path)
        if next(records) != self.scan:
            raise UsageError(f"{self.path} was replaced while it was read", advice="Join the reports again.")
        for record in records:
            if self.summary is not None:
                raise UsageError(
                    f"{self.path} goes on after its summary", advice="It is damaged; scan again."
                )
            try:
                if record["type"] == "summary":
                    Summary().add_fields(record)
                    self.summary = record
                else:
                    _count(self.counted, record)
            except ValueError as error:
                raise UsageError(
                    f"{self.path} has a record that this hashscan doesn't understand: {error}",
                    advice="Join reports with the newest version that wrote one of them.",
                ) from error
            if self.summary is None:
                yield record
            else:
                self._compare(self.summary)

    def _compare(self, summary: Record) -> None:
        said = Summary()
        said.add_fields(summary)
        # Reports list only some clean files, or none.
        unlisted = said.verdicts[Verdict.CLEAN] - self.counted.verdicts[Verdict.CLEAN]
        said.verdicts[Verdict.CLEAN] -= max(unlisted, 0)
        if said.accepted != self.counted.accepted:
            raise UsageError(
                f"the summary of {self.path} accepts other findings than its records",
                advice="It is damaged; scan that shard again.",
            )
        if +said.verdicts != +self.counted.verdicts or +said.folder_reasons != +self.counted.folder_reasons:
            raise UsageError(
                f"the summary of {self.path} counts other records than there are",
                advice="It is damaged; scan that shard again.",
            )


def open_report(path: Path) -> ShardReport:
    """Read the first record of a report."""
    scan = next(read_report(path))
    shard = scan.get("shard", {"index": 1, "count": 1})
    return ShardReport(path, scan, Shard(shard["index"], shard["count"]))


def _count(counted: Summary, record: Record) -> None:
    """Count one record; a type or reason that this version does not know is an error."""
    if record["type"] in _WITHOUT_FILE:
        return
    if record["type"] == "folder":
        counted.close_folder(FolderReason(record["reason"]))
        return
    if record["type"] not in _OF_THIS_SCAN:
        raise ValueError(f"{record['type'][:_SHOWN]!r} is not a type of record")
    verdict = Verdict(record["verdict"])
    counted.count(verdict, Reason(record["reason"]) if "reason" in record else None)
    if "accepted" in record and verdict in FINDINGS:
        counted.accept(verdict)
    matches = record.get("matches", ())
    counted.test_findings += {match["category"] for match in matches} == {"test"}
    if unknown := {match["algorithm"] for match in matches} - ALGORITHMS.keys():
        # The circuit breaker would not count these matches.
        raise ValueError(f"{min(unknown)[:_SHOWN]!r} is not an algorithm")
