"""Check that reports are different shards of one scan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hashscan.errors import UsageError
from hashscan.model import ListInfo, TrustState
from hashscan.scan.sharding.shard_report import ShardReport

SAME_FIELDS: Mapping[str, str] = {
    "targets": "scanned other targets than the second",
    "inventory": "took another inventory than the second",
    "files_from": "differs from the second in --files-from",
    "algorithms": "computed other digests than the second",
    "thresholds": "matched by other thresholds than the second",
    "variants": "compared pictures in other ways than the second",
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
"""The number of characters of a value that an error shows."""


def require_same_scan(reports: Sequence[ShardReport]) -> None:
    """Raise an error unless the reports are different shards of one scan.

    Args:
        reports: the reports, sorted by shard.

    Raises:
        UsageError: two reports differ in their scan's options or lists, or are of the same shard.
    """
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
        for words in _differences(report, first):
            raise UsageError(f"{pair} {words}", advice="Scan again with the same options for all shards.")
        for words in _other_lists(report, first):
            raise UsageError(
                f"{pair} {words}", advice="Pull or import the same lists everywhere and scan again."
            )
    for before, report in pairwise(reports):
        if before.shard == report.shard:
            raise UsageError(
                f"{report.name} is given twice, by {before.path} and {report.path}",
                advice="Leave out the one of a scan that was repeated.",
            )


def _differences(report: ShardReport, first: ShardReport) -> Iterator[str]:
    for key, words in SAME_FIELDS.items():
        ours, theirs = report.scan.get(key), first.scan.get(key)
        # The path of a list of names may differ between machines; the names are compared by their checksum.
        if ours != theirs and (key != "files_from" or ours is None or theirs is None):
            yield words
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
        # Versions of a local list are counted on each machine.
        local = ours.state is theirs.state is TrustState.LOCAL
        if not local and ours.version != theirs.version:
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


def listing_differences(reports: Sequence[ShardReport]) -> list[str]:
    """Return reasons to assume that shards listed different files; call it after reading the reports."""
    scanned = [report for report in reports if report.summary is not None and "listed" in report.summary]
    if not scanned:
        return []

    def listed(report: ShardReport) -> int:
        return 0 if report.summary is None else int(report.summary["listed"])

    least, most = min(scanned, key=listed), max(scanned, key=listed)
    named = "files_from" in reports[0].scan
    if listed(least) < listed(most) * (1 if named else LISTED_RATIO_MIN):
        return [
            f"shards did not have the same before them: {least.name} was shown {listed(least)} files, "
            f"{most.name} {listed(most)}"
        ]
    if named:
        for report in scanned[1:]:
            if _sum(report) != _sum(scanned[0]):
                return [
                    f"shards did not have the same before them: --files-from named other files to "
                    f"{report.name} than to {scanned[0].name}"
                ]
    return []


def _sum(report: ShardReport) -> str:
    return "" if report.summary is None else str(report.summary["listed_sum"])


def time_gaps(reports: Sequence[ShardReport]) -> list[str]:
    """Return messages about shards that may be of an earlier scan: they ended long before others began."""
    by_start = sorted(reports, key=lambda report: report.started)
    last = by_start[0]
    short = []
    for report in by_start[1:]:
        gap = report.started - (last.ended or last.started)
        if gap > GAP_MAX:
            short.append(
                f"{last.name} was done {gap // timedelta(hours=1)} hours before {report.name} began, "
                f"and may be of an earlier scan"
            )
        if (report.ended or report.started) > (last.ended or last.started):
            last = report
    return short
