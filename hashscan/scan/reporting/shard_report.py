"""Read and validate the report of one shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hashscan.errors import UsageError
from hashscan.lists.storage.manifest import LIST_NAME
from hashscan.model import ALGORITHMS, FolderReason, ListInfo, Reason, Shard, TrustState, Verdict
from hashscan.reports.record_validation import InvalidValueError, array, flag, moment, number, table, text
from hashscan.reports.records import FINDINGS, Record
from hashscan.reports.report import read_report
from hashscan.reports.summary import Summary
from hashscan.settings.matching import BreakerLimits

SANDBOX_MODES = ("off", "auto", "required")
SANDBOX_LEVELS = ("off", "partial", "full")
"""The levels, the weakest first; so are the modes above."""

_SHARDS_MAX = 999_999
"""The largest number that `--shard` accepts."""
_FAIL_ON = ("match", "review", "never")
_EXCEPTED = ("list", "entry", "algorithm", "category", "reason", "until", "by", "since")


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
        """The shard's name in messages."""
        return f"shard {self.shard.index}"

    @property
    def lists(self) -> list[ListInfo]:
        """The hash lists in the state in which this shard found them."""
        return [
            ListInfo(
                text(info["name"]),
                TrustState(text(info["state"])),
                number(info["version"]),
                number(info["entries"]),
                fingerprint=text(info.get("fingerprint", "")),
            )
            for info in map(table, array(self.scan["lists"]))
        ]

    @property
    def started(self) -> datetime:
        """The start time of this shard's scan."""
        return moment(self.scan["started"])

    @property
    def breaker(self) -> BreakerLimits:
        """The limits of how many files one entry may match in the whole scan."""
        limits = table(self.scan["breaker"])
        return BreakerLimits(number(limits["owners"]), number(limits["files"]))

    @property
    def ended(self) -> datetime | None:
        """The end time of this shard's scan, if it is known."""
        return None if self.summary is None or "ended" not in self.summary else moment(self.summary["ended"])

    def records(self) -> Iterator[Record]:
        """Yield the records between the first one and the summary, which is stored in `summary`.

        Raises:
            UsageError: records are missing or added, or a record is not valid.
            OutputError: the report can't be read to its end.
        """
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
                    _check_summary(record)
                    self.summary = record
                else:
                    _count(self.counted, record)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise UsageError(
                    f"{self.path} has a record that this hashscan doesn't understand: {_words(error)}",
                    advice="Join reports with the newest version that wrote one of them.",
                ) from error
            if self.summary is None:
                yield record
            else:
                self._compare(self.summary)

    def _compare(self, summary: Record) -> None:
        said = Summary()
        said.add_fields(summary)
        said.verdicts[Verdict.CLEAN] = 0
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
    """Read the first record of a report.

    Raises:
        UsageError: the file is not the report of a scan.
        OutputError: it can't be read.
    """
    scan = next(read_report(path))
    try:
        shard = table(scan.get("shard", {"index": 1, "count": 1}))
        index, count = number(shard["index"]), number(shard["count"])
        report = ShardReport(path, scan, Shard(index, count))
        _check_scan(report)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} does not begin as a report does: {_words(error)}", advice="Name reports of scans."
        ) from error
    if not 1 <= index <= count <= _SHARDS_MAX:
        raise UsageError(
            f"{path} says that it is shard {index} of {count}",
            advice="It is damaged; scan that shard again.",
        )
    return report


def _check_scan(report: ShardReport) -> None:
    scan = report.scan
    for info in report.lists:
        if not LIST_NAME.fullmatch(info.name):
            raise InvalidValueError("a list has a name that none can have")
    for key in ("uuid", "version", "host"):
        text(scan[key])
    for target in array(scan["targets"]):
        table(target)
    for entry in array(scan["excepted"]):
        for key in _EXCEPTED:
            text(table(entry)[key])
    table(scan.get("selection", {}))
    table(scan.get("policy", {}))
    _ = report.started, report.breaker
    _one_of(table(scan["sandbox"])["mode"], SANDBOX_MODES)
    _one_of(scan["fail_on"], _FAIL_ON)
    flag(scan["strict"])


def _check_summary(summary: Record) -> None:
    Summary().add_fields(summary)
    for words in array(summary["incomplete"]):
        text(words)
    flag(summary["only_test_entries"])
    if "ended" in summary:
        moment(summary["ended"])
    if "listed" in summary:
        number(summary["listed"])
        text(summary["listed_sum"])
    if "sandbox" in summary:
        _one_of(table(summary["sandbox"])["level"], SANDBOX_LEVELS)


def _count(counted: Summary, record: Record) -> None:
    """Count one record, which must be of a kind that scans write."""
    text(record["path"])
    text(record.get("customer", ""))
    if record["type"] == "folder":
        counted.close_folder(FolderReason(text(record["reason"])))
        return
    if record["type"] == "standing":
        # The finding is of an earlier scan, so it is none of this scan's files.
        _one_of(record["was"], tuple(FINDINGS))
        return
    if record["type"] == "silent-change":
        return
    verdict, reason = Verdict(text(record["verdict"])), record.get("reason")
    if record["type"] != ("finding" if verdict in FINDINGS else verdict.value):
        raise InvalidValueError("its verdict is of another type")
    counted.count(verdict, None if reason is None else Reason(text(reason)))
    if "accepted" in record and verdict in FINDINGS:
        for key in ("reason", "until"):
            text(table(record["accepted"])[key])
        counted.accept(verdict)
    categories = [_category(table(match)) for match in array(record.get("matches", []))]
    if verdict in FINDINGS:
        text(record["because"])
    counted.test_findings += bool(categories) and set(categories) == {"test"}


def _category(match: dict[str, Any]) -> str:
    """Return a match's category, after checking that it has all fields that the circuit breaker needs."""
    for key in ("list", "entry"):
        text(match[key])
    for key in ("distance", "threshold"):
        number(match[key])
    _one_of(match["algorithm"], tuple(ALGORITHMS))
    return text(match["category"])


def _one_of(value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidValueError("a value is not one of the permitted ones")


def _words(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)
