"""Read and validate the report of one shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.model import ALGORITHMS, FolderReason, ListInfo, Reason, Shard, TrustState, Verdict
from hashscan.reports.records import FINDINGS, Record
from hashscan.reports.report import read_report
from hashscan.reports.schema import NO_FINDING
from hashscan.reports.summary import Summary
from hashscan.settings.matching import BreakerLimits
from hashscan.timefmt import parse_utc

_SHOWN = 60
_OF_THIS_SCAN = frozenset({"finding", *NO_FINDING})
_WITHOUT_FILE = frozenset({"standing", "silent-change"})
"""Types of records about findings of earlier scans, and about files that have a record of their own."""


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
