"""Validate reports, count over all of them what each entry matches, and make quarantine requests from their
findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from hashscan.errors import UsageError
from hashscan.matching.circuit_breaker import CircuitBreaker, Owner, owner_of
from hashscan.matching.list_limits import LimitedList, ListLimits
from hashscan.model import TrustState, Weak
from hashscan.quarantine.captured_file import Outcome, QuarantineRequest, is_url
from hashscan.quarantine.items import path_of
from hashscan.quarantine.selection import (
    blocking_weakness,
    request_of,
    staying_message,
    stays_as_container,
)
from hashscan.quarantine.store import read_items
from hashscan.quarantine.trust_weakness import weakness_messages
from hashscan.reports.records import Record, path_bytes
from hashscan.reports.report import read_report
from hashscan.settings.matching import BreakerLimits
from hashscan.sources.filesystem.safe_open import stat_absolute
from hashscan.state_dir import StateDir

_IDENTITY = frozenset({"inode", "size", "mtime_ns", "ctime_ns"})


def validated_records(report: Path) -> Iterator[Record]:
    """Yield the records of a report, the scan's record first, with all fields that a move needs."""
    for number, record in enumerate(read_report(report), 1):
        if problem := _problem(record):
            raise UsageError(
                f"{report}, line {number}: this record can't be understood: {problem}",
                advice="Name reports as scans write them; scan again if this one is damaged.",
            )
        yield record


def _problem(record: Record) -> str:
    places = [record] if record["type"] == "finding" else record.get("targets", ())
    if any("\0" in place["path"] or b"\0" in path_bytes(place) for place in places):
        return "a path contains NUL"
    if record["type"] == "finding" and "inode" in record and not record.keys() >= _IDENTITY:
        return "size, mtime_ns or ctime_ns is missing"
    return ""


class QuarantineRequests:
    """The findings of reports that are to be moved.

    Each report is read twice, and nothing of it is kept in memory.
    """

    def __init__(
        self,
        reports: Sequence[Path],
        limits: BreakerLimits,
        state: StateDir,
        act_on: Collection[Weak] = (),
        *,
        containers: bool = False,
    ) -> None:
        """Count the matches of every entry, also for reports that were made with other limits.

        Args:
            state: the state folder, whose quarantine and lists say how many files a list may move.
            act_on: kinds of weakly trusted matches that are acted on, besides matches with fresh signed
                lists.
            containers: True if a member's match moves its container.

        Raises:
            UsageError: a file is not a report, is not valid, or the report is not of a whole scan that has
                ended.
            OutputError: a report can't be read.
        """
        self._reports = reports
        self._state = state
        self._breaker = CircuitBreaker(limits, set(_services(reports)))
        self._act_on = act_on
        self._unbacked = Counter[Weak]()
        self._accepted = self._staying = 0
        self._containers = containers
        self.limited: list[LimitedList] = []
        """Lists because of which matches stay; known when all requests were consumed."""
        self.urls: set[bytes] = set()
        """The scans' targets that are not on this machine."""
        for report in reports:
            self._count(report)

    def _count(self, report: Path) -> None:
        ended = False
        records = validated_records(report)
        scan = next(records)
        self.urls.update(filter(is_url, map(path_of, scan.get("targets", ()))))
        if "shard" in scan:
            raise UsageError(
                f"{report} is of one shard, and what an entry hits is known only over all of them",
                advice="Join the reports of all shards with `hashscan report merge`, and name that.",
            )
        for record in records:
            ended = record["type"] == "summary"
            if record["type"] == "finding":
                self._breaker.count(record, _owner(record))
        if not ended:
            raise UsageError(
                f"{report} is of a scan that did not come to its end, and only then it is known what an "
                "entry hits",
                advice="Scan again, which does not read again what has not changed; or name files by PATH, "
                "with --reason.",
            )

    def breaker_messages(self) -> list[str]:
        """Return a warning line for each entry that matches too many files."""
        return [f"BREAKER: {message}: too many matches" for message in self._breaker.said()]

    def requests(self) -> Iterator[QuarantineRequest]:
        """Yield the requests to move files; lock the quarantine before the first."""
        limits = ListLimits(self._state, read_items(self._state).values())
        for request in self._justified():
            limits.count(request)
        self._accepted = self._staying = 0
        self._unbacked.clear()
        for request in self._justified():
            admitted = limits.admit(request)
            if isinstance(admitted, QuarantineRequest):
                yield admitted
        self.limited.extend(limits.limited())

    def _justified(self) -> Iterator[QuarantineRequest]:
        """Yield the requests to move files, and count the findings that stay."""
        for report in self._reports:
            records = validated_records(report)
            scan = next(records)
            for record in records:
                if _is_moved(record):
                    continue
                self._accepted += "accepted" in record and record["type"] == "finding"
                judged = self._with_breaker(record)
                request = request_of(judged, scan, self._act_on, containers=self._containers)
                if request is not None:
                    yield request
                elif stays_as_container(judged, scan, self._act_on):
                    self._staying += 1
                elif (weak := blocking_weakness(judged, scan, self._act_on)) is not None:
                    self._unbacked[weak] += 1

    def unmoved_messages(self) -> list[str]:
        """Return messages about matches that no move is requested for.

        Call it when all requests were consumed.
        """
        said = [*weakness_messages(self._unbacked), *(one.message for one in self.limited)]
        if self._accepted:
            stay = "finding stays" if self._accepted == 1 else "findings stay"
            said.append(f"{self._accepted} {stay} that a baseline accepts")
        if self._staying:
            said.append(staying_message(self._staying))
        return said

    def _with_breaker(self, record: Record) -> Record:
        return self._breaker.judge(record) if record["type"] == "finding" else record


def _services(reports: Sequence[Path]) -> Iterator[str]:
    for report in reports:
        scan = next(validated_records(report))
        yield from (info["name"] for info in scan["lists"] if info["state"] == TrustState.SERVICE)


def _is_moved(record: Record) -> bool:
    return bool(record.get("quarantine", {}).get("outcome") == Outcome.DONE)


def _owner(finding: Record) -> Owner | None:
    """Return a file's owner; if the finding has none because the file was not read, stat the file."""
    owner = owner_of(finding)
    if owner is None:
        try:
            return stat_absolute(path_of(finding)).st_uid
        except (OSError, ValueError):
            return None  # It does not exist or lies on another user's FUSE, so it is not moved.
    return owner
