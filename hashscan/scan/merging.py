"""Joins the reports of a sweep's shards into the report that one sweep would have written."""

from __future__ import annotations

import socket
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from hashscan import __version__
from hashscan.errors import UsageError
from hashscan.model import FolderReason, ListInfo, Reason, Shard, TrustState, Verdict
from hashscan.reports.base import Record
from hashscan.reports.reading import read_report
from hashscan.reports.records import SCHEMA, summary_record
from hashscan.scan.summary import Summary, exit_code_of

SAME: Mapping[str, str] = {
    "targets": "swept other targets",
    "inventory": "took another inventory",
    "algorithms": "computed other digests",
    "thresholds": "matched by other thresholds",
    "variants": "compared pictures in other ways",
    "review_threshold": "had another --review-threshold",
    "fail_on": "had another --fail-on",
    "strict": "differs in --strict",
}
"""What must be the same in all shards of one sweep, and what is said of one where it isn't."""

FEWEST = 0.8
"""A shard that was shown less than this part of what another was shown had not the same before it."""

_NAMED = 30
"""Missing shards that are named; of more, only the number is said."""

_LEVELS = ("off", "partial", "full")
_MODES = ("off", "auto", "required")


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of joining reports."""

    summary: Summary
    shortcomings: tuple[str, ...]
    """Why all of them together are incomplete, in words."""
    shards: int
    exit_code: int


@dataclass(slots=True)
class _Part:
    """The report of one shard."""

    path: Path
    sweep: Record
    shard: Shard
    summary: Record | None = None
    counted: Summary = field(default_factory=Summary)
    """What its records say, which is all there is to know where there is no summary."""

    @property
    def lists(self) -> list[ListInfo]:
        """The hash lists as this shard found them."""
        return [ListInfo(info["name"], TrustState(info["state"])) for info in self.sweep["lists"]]


def merge_reports(paths: Sequence[Path], emit: Callable[[Record], None]) -> Merged:
    """Join the reports of shards; each is read once, and nothing but what shards are is kept.

    Args:
        paths: of one report for each shard, in any order; some may be missing, or be those of killed sweeps.
        emit: takes the records of the new report.

    Raises:
        UsageError: they are not of one sweep, a shard is there twice, or one is no report.
        OutputError: one can't be read to its end.
    """
    parts = sorted((_open(path) for path in paths), key=lambda part: part.shard.index)
    _compare(parts)
    emit(_sweep_record(parts))
    total = Summary()
    for part in parts:
        for record in _records(part):
            emit(record)
        total.take(part.counted.fields() if part.summary is None else part.summary)
    return _conclude(parts, total, emit)


def _open(path: Path) -> _Part:
    sweep = next(read_report(path))
    try:
        shard = sweep.get("shard", {"index": 1, "count": 1})
        part = _Part(path, sweep, Shard(int(shard["index"]), int(shard["count"])))
        _ = [*part.lists, *(sweep[key] for key in ("targets", "uuid", "version", "host", "excepted"))]
        _ = [datetime.fromisoformat(sweep["started"]), _MODES.index(sweep["sandbox"]["mode"])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} does not begin as a report does", advice="Name reports of sweeps."
        ) from error
    if not 1 <= part.shard.index <= part.shard.count:
        raise UsageError(f"{path} says that it is shard {part.shard.index} of {part.shard.count}")
    return part


def _compare(parts: Sequence[_Part]) -> None:
    """Refuse what are not different shards of one sweep."""
    first = parts[0]
    for part in parts[1:]:
        for one in (first, part):
            if "shard" not in one.sweep:
                raise UsageError(
                    f"{one.path} is of a whole sweep, not of a shard, so that nothing can be joined to it",
                    advice="Name reports that `hashscan scan --shard` wrote, or one whole report alone.",
                )
        pair = f"{part.path} and {first.path} are not of one sweep: the first"
        if part.shard.count != first.shard.count:
            raise UsageError(
                f"{pair} is one of {part.shard.count} shards, the second of {first.shard.count}",
                advice="Name the reports of one sweep.",
            )
        for key, words in SAME.items():
            if part.sweep.get(key) != first.sweep.get(key):
                raise UsageError(f"{pair} {words}", advice="Give all shards the same options.")
        if ("files_from" in part.sweep) is not ("files_from" in first.sweep):
            raise UsageError(f"{pair} differs in --files-from", advice="Give all shards the same options.")
        if _versions(part) != _versions(first):
            raise UsageError(
                f"{pair} used {_spoken(part)}, the second {_spoken(first)}",
                advice="Sweep the shards again that used other lists.",
            )
    for before, part in pairwise(parts):
        if before.shard == part.shard:
            raise UsageError(
                f"shard {part.shard.index} is given twice, by {before.path} and {part.path}",
                advice="Leave out the one of a sweep that was repeated.",
            )


def _versions(part: _Part) -> list[tuple[Any, ...]]:
    """What tells the hash lists of a sweep from others."""
    keys = ("name", "version", "entries", "by_algorithm", "categories")
    return sorted(
        (tuple(info.get(key) for key in keys) for info in part.sweep["lists"]), key=lambda row: str(row[0])
    )


def _spoken(part: _Part) -> str:
    lists = [
        f"{name} version {version} ({entries} entries)" for name, version, entries, *_ in _versions(part)
    ]
    return " and ".join(lists) or "no list"


def _records(part: _Part) -> Iterator[Record]:
    """The records of a shard between the first and the summary, which is put down in the part."""
    records = read_report(part.path)
    if next(records)["uuid"] != part.sweep["uuid"]:
        raise UsageError(f"{part.path} was replaced while it was read", advice="Join the reports again.")
    for record in records:
        if part.summary is not None:
            raise UsageError(f"{part.path} goes on after its summary", advice="It is damaged; sweep again.")
        try:
            if record["type"] == "summary":
                part.summary = record
                _check(part, record)
                continue
            _count(part.counted, record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{part.path} has a record that this hashscan doesn't understand: {error}",
                advice="Join reports with the newest version that wrote one of them.",
            ) from error
        yield record


def _count(counted: Summary, record: Record) -> None:
    if record["type"] == "folder":
        counted.close_folder(FolderReason(record["reason"]))
    elif "verdict" in record:
        reason = record.get("reason")
        counted.count(Verdict(record["verdict"]), None if reason is None else Reason(reason))
        matches = record.get("matches", [])
        counted.test_findings += bool(matches) and all(match["category"] == "test" for match in matches)


def _check(part: _Part, summary: Record) -> None:
    """Refuse a report that has lost or gained records."""
    _ = [*summary["incomplete"], datetime.fromisoformat(summary["ended"]), summary["only_test_entries"]]
    said = Summary()
    said.take(summary)
    said.verdicts[Verdict.CLEAN] = 0
    if +said.verdicts != +part.counted.verdicts or +said.folder_reasons != +part.counted.folder_reasons:
        raise UsageError(
            f"the summary of {part.path} counts other records than there are",
            advice="It is damaged; sweep that shard again.",
        )


def _sweep_record(parts: Sequence[_Part]) -> Record:
    first = parts[0].sweep
    excepted = {
        (entry["list"], entry["entry"], entry["algorithm"]): entry
        for part in parts
        for entry in part.sweep.get("excepted", [])
    }
    mode = min((part.sweep["sandbox"]["mode"] for part in parts), key=_MODES.index)
    return {
        **{key: value for key, value in first.items() if key != "shard"},
        "schema": SCHEMA,
        "uuid": str(uuid.uuid4()),
        "version": __version__,
        "host": socket.gethostname(),
        "lists": _worst_lists(parts),
        "excepted": [excepted[key] for key in sorted(excepted)],
        "sandbox": {"mode": mode},
        "started": min(part.sweep["started"] for part in parts),
        "merged": {
            "shards": parts[0].shard.count,
            "from": [
                {
                    "shard": part.shard.index,
                    **{key: part.sweep[key] for key in ("uuid", "version", "host", "started")},
                }
                for part in parts
            ],
        },
    }


def _worst_lists(parts: Sequence[_Part]) -> list[Any]:
    """The hash lists, each as the shard found it that had most to say against it."""
    worst: dict[str, Any] = {}
    for part in parts:
        for info in part.sweep["lists"]:
            kept = worst.setdefault(info["name"], info)
            if kept["state"] in {TrustState.FRESH, TrustState.LOCAL}:
                worst[info["name"]] = info
    return list(worst.values())


def _conclude(parts: Sequence[_Part], total: Summary, emit: Callable[[Record], None]) -> Merged:
    first = parts[0].sweep
    fail_on, strict = first.get("fail_on", "match"), bool(first.get("strict", False))
    lists = [ListInfo(info["name"], TrustState(info["state"])) for info in _worst_lists(parts)]
    short = total.shortcomings(lists, strict=strict) + _missing(parts) + _of_parts(parts, strict=strict)
    exit_code = exit_code_of(found=total.found(fail_on), incomplete=bool(short))
    summaries = [part.summary for part in parts if part.summary is not None]
    levels = [summary["sandbox"] for summary in summaries if "sandbox" in summary]
    ended = max((str(summary["ended"]) for summary in summaries), default=None)
    started = min(part.sweep["started"] for part in parts)
    emit(
        summary_record(
            {
                **total.fields(),
                **(
                    {"sandbox": min(levels, key=lambda level: _LEVELS.index(level["level"]))}
                    if levels
                    else {}
                ),
                "incomplete": short,
                "only_test_entries": bool(summaries) and all(s["only_test_entries"] for s in summaries),
                **({} if ended is None else {"seconds": _seconds(started, ended), "ended": ended}),
                "merged": datetime.now(UTC).isoformat(),
                "exit_code": exit_code,
            }
        )
    )
    return Merged(total, tuple(short), len(parts), exit_code)


def _missing(parts: Sequence[_Part]) -> list[str]:
    count = parts[0].shard.count
    there = {part.shard.index for part in parts}
    missing = [str(index) for index in range(1, count + 1) if index not in there]
    if len(missing) > _NAMED:
        missing = [*missing[:_NAMED], f"{len(missing) - _NAMED} more"]
    if not missing:
        return []
    if len(missing) == 1:
        return [f"shard {missing[0]} of {count} is missing"]
    return [f"shards {', '.join(missing[:-1])} and {missing[-1]} of {count} are missing"]


def _of_parts(parts: Sequence[_Part], *, strict: bool) -> list[str]:
    """What single shards fell short of, beyond what their counts say."""
    short: list[str] = []
    listed = Counter[int]()
    for part in parts:
        index = part.shard.index
        if part.summary is None:
            short.append(f"shard {index} was not swept to its end: {part.path.name} has no summary")
            continue
        own = Summary()
        own.take(part.summary)
        known = own.shortcomings(part.lists, strict=strict)
        short += [f"shard {index}: {words}" for words in part.summary["incomplete"] if words not in known]
        if "listed" in part.summary:
            listed[index] = int(part.summary["listed"])
    if listed:
        (most, number), (least, fewest) = listed.most_common()[0], listed.most_common()[-1]
        named = "files_from" in parts[0].sweep
        if fewest < (number if named else FEWEST * number):
            short.append(
                f"shards did not have the same before them: shard {least} was shown {fewest} files, "
                f"shard {most} {number}"
            )
    return short


def _seconds(started: str, ended: str) -> float:
    between = datetime.fromisoformat(ended) - datetime.fromisoformat(started)
    return round(between.total_seconds(), 3)
