"""Compute a proof of care from what a ledger or a hub knows. Times are seconds since 1970."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from hashscan.cases.care.document import (
    CareOrder,
    CareScan,
    CareServer,
    CareTarget,
    CaseKind,
    Coverage,
    Durations,
    Gap,
    Outcome,
    Overdue,
    UsedList,
)
from hashscan.cases.deadlines import DUE, DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.statistics.counting import percentile
from hashscan.cases.tracker import INFORM, REFUSED
from hashscan.errors import EXIT_CLEAN, EXIT_FOUND, EXIT_FOUND_INCOMPLETE, EXIT_INCOMPLETE
from hashscan.model import Reason, Verdict
from hashscan.reports.records import path_bytes
from hashscan.shortcomings import ShortcomingCode
from hashscan.timefmt import format_utc_seconds, parse_zoned

KINDS: tuple[CaseKind, ...] = ("match", "held", "review", "notice", "order")
_ENDED = frozenset({EXIT_CLEAN, EXIT_FOUND, EXIT_INCOMPLETE, EXIT_FOUND_INCOMPLETE})
_UNWALKED = frozenset(
    {
        ShortcomingCode.EMPTY_TARGETS,
        ShortcomingCode.FAILED,
        ShortcomingCode.FOLDERS,
        ShortcomingCode.SHARDS,
        ShortcomingCode.SHRUNKEN,
        ShortcomingCode.STOPPED,
        ShortcomingCode.TIME,
        ShortcomingCode.UNFINISHED,
    }
)
"""Shortcomings of a scan that may have left out files without counting them."""


@dataclass(frozen=True, slots=True)
class ScanFact:
    """A scan."""

    started: int
    ended: int | None
    exit_code: int | None
    cached: bool
    targets: tuple[str, ...]
    """Labels."""
    files: int
    verdicts: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    lists: Sequence[Mapping[str, Any]]
    incomplete: tuple[str, ...]

    @property
    def covers(self) -> bool:
        """True if it read files, and ended its walk through its targets."""
        return not self.cached and self.exit_code in _ENDED and _UNWALKED.isdisjoint(self.incomplete)


@dataclass(frozen=True, slots=True)
class CaseFact:
    """A case."""

    number: str
    kind: str
    began: int
    due: int | None
    removed: int | None
    refused: bool
    closed: int | None


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server with its scans, in the order of their starts, also those before the period."""

    label: str
    scans: Sequence[ScanFact]
    silent_since: int | None = None


@dataclass(slots=True)
class CareFacts:
    """All facts of a proof of care."""

    servers: list[ServerFacts] = field(default_factory=list)
    cases: list[CaseFact] = field(default_factory=list)
    orders: list[CareOrder] = field(default_factory=list)


class TargetLabels:
    """The labels of targets: those that the operator has given, and numbers for the others.

    A path or bucket may name a customer, so it is never shown.
    """

    def __init__(self, given: Mapping[bytes, str]) -> None:
        self._given = given
        self.numbered: dict[bytes, str] = {}
        """Labels by path, of targets without one from the operator."""

    def of(self, path: bytes) -> str:
        """Return the label of a target."""
        if path in self._given:
            return self._given[path]
        return self.numbered.setdefault(path, f"target {len(self.numbered) + 1}")


def ledger_facts(
    ledger: Ledger, deadlines: DeadlineCalculator, server: str, labels: TargetLabels, begin: int, end: int
) -> CareFacts:
    """Return the facts of this server.

    Raises:
        LedgerError: the ledger can't be read.
    """
    deadlines.register(ledger)
    with ledger.reading():
        query = (
            "SELECT started, ended, exit_code, known, shard, targets, files, verdicts, reasons, lists, "
            "incomplete FROM scans WHERE started<? ORDER BY started, id"
        )
        scans = [_scan_of(row, labels) for row in ledger.rows(query, end)]
        return CareFacts(
            [ServerFacts(server, scans)], list(_cases(ledger)), list(_orders(ledger, begin, end))
        )


def _scan_of(row: Sequence[Any], labels: TargetLabels) -> ScanFact:
    started, ended, code, known, shard, targets, files, *documents = row
    verdicts, reasons, lists, incomplete = map(json.loads, documents)
    part = f" (shard {shard})" if shard else ""
    return ScanFact(
        started,
        ended,
        code,
        bool(known),
        tuple(f"{labels.of(path_bytes(one))}{part}" for one in json.loads(targets)),
        files,
        verdicts,
        reasons,
        lists,
        tuple(one["code"] for one in incomplete),
    )


def _cases(ledger: Ledger) -> Iterator[CaseFact]:
    query = (
        "SELECT id, iif(ordered IS NOT NULL, 'order', verdict), coalesce(began, found), "  # noqa: S608
        f"{DUE}, removed, how='{REFUSED}', closed FROM cases WHERE verdict<>'{INFORM}' ORDER BY id"
    )
    for number, kind, began, due, removed, refused, closed in ledger.rows(query):
        yield CaseFact(str(number), kind, began, due, removed, bool(refused), closed)


def _orders(ledger: Ledger, begin: int, end: int) -> Iterator[CareOrder]:
    query = (
        "SELECT number, kind, member_state, received, acknowledged, answered, "
        "(SELECT json_group_array(id) FROM (SELECT DISTINCT id FROM notice_items WHERE notice=number "
        "ORDER BY id)) FROM notices WHERE kind<>'notice' AND received>=? AND received<? ORDER BY number"
    )
    for number, kind, state, received, acknowledged, answered, cases in ledger.rows(query, begin, end):
        ids = json.loads(cases)
        ends = [ledger.one("SELECT coalesce(removed, closed) FROM cases WHERE id=?", each)[0] for each in ids]
        acted = answered if kind == INFORM else max(ends) if ends and None not in ends else None
        yield CareOrder(
            number,
            kind,
            state,
            format_utc_seconds(received),
            _hours_between(received, acknowledged, end),
            _hours_between(received, acted, end),
            [str(each) for each in ids],
        )


def server_of(facts: ServerFacts, begin: int, end: int, interval: float) -> CareServer:
    """Return what is shown of a server in a period; `interval` in seconds."""
    within = [scan for scan in facts.scans if begin <= scan.started < end]
    labels = sorted({label for scan in facts.scans for label in scan.targets})
    targets = []
    for label in labels:
        starts = [scan.started for scan in facts.scans if scan.covers and label in scan.targets]
        targets.append(
            CareTarget(label, sum(at >= begin for at in starts), list(_gaps(starts, begin, end, interval)))
        )
    if not targets:
        targets = [CareTarget("", 0, list(_gaps([], begin, end, interval)))]
    return CareServer(
        facts.label,
        None if facts.silent_since is None else format_utc_seconds(facts.silent_since),
        targets,
        [_shown(scan) for scan in within],
        _coverage(scan for scan in within if not scan.cached),
    )


def _gaps(starts: Sequence[int], begin: int, end: int, interval: float) -> Iterator[Gap]:
    """Yield the gaps that reach into a period, after the last start before it, or else from its begin."""
    last = max((at for at in starts if at < begin), default=begin)
    for at in (*(at for at in starts if at >= begin), end):
        if at - last > interval:
            yield Gap(format_utc_seconds(last), format_utc_seconds(at), _hours(at - last), at == end)
        last = at


def _shown(scan: ScanFact) -> CareScan:
    outcome: Outcome = (
        "failed" if scan.exit_code not in _ENDED else "incomplete" if scan.incomplete else "complete"
    )
    return CareScan(
        format_utc_seconds(scan.started),
        None if scan.ended is None else format_utc_seconds(scan.ended),
        outcome,
        scan.covers,
        scan.cached,
        list(scan.targets),
        scan.files,
        scan.verdicts.get(Verdict.UNDECODED, 0),
        scan.verdicts.get(Verdict.UNREADABLE, 0),
        [_list_of(one, scan.started) for one in scan.lists],
        sorted(set(scan.incomplete)),
    )


def _list_of(fields: Mapping[str, Any], started: int) -> UsedList:
    made = parse_zoned(fields.get("made") or "")
    age = None if made is None else _hours(max(0, started - made.timestamp()))
    return UsedList(fields["name"], fields["version"], fields["state"], fields["entries"], age)


def _coverage(scans: Iterable[ScanFact]) -> Coverage:
    files = undecoded = unreadable = 0
    reasons: dict[str, Counter[str]] = {}
    for scan in scans:
        files += scan.files
        undecoded += scan.verdicts.get(Verdict.UNDECODED, 0)
        unreadable += scan.verdicts.get(Verdict.UNREADABLE, 0)
        for verdict, counts in scan.reasons.items():
            for reason, number in counts.items():
                reasons.setdefault(verdict, Counter())[_code(reason)] += number
    return Coverage(
        files,
        undecoded,
        _share(undecoded, files),
        unreadable,
        _share(unreadable, files),
        {verdict: dict(sorted(counts.items())) for verdict, counts in sorted(reasons.items())},
    )


def _code(reason: str) -> str:
    """Return the code of a reason; `other` for one that this version doesn't know, which may be any text."""
    with suppress(ValueError):
        return Reason(reason).name.lower()
    return "other"


def durations(cases: Iterable[CaseFact], begin: int, end: int) -> list[Durations]:
    """Return the times of cases that began in a period, by kind."""
    found = []
    own = [case for case in cases if begin <= case.began < end]
    for kind in KINDS:
        each = [case for case in own if case.kind == kind]
        refused = sum(case.refused for case in each)
        removed = [
            (_hours(max(0, case.removed - case.began)), case.number)
            for case in each
            if not case.refused and case.removed is not None and case.removed < end
        ]
        closed = sum(case.removed is None and case.closed is not None and case.closed < end for case in each)
        hours = [one for one, _ in removed]
        longest = max(removed, key=lambda one: one[0], default=(None, ""))
        found.append(
            Durations(
                kind,
                len(each),
                len(removed),
                refused,
                closed,
                len(each) - len(removed) - refused - closed,
                round(median(hours), 3) if hours else None,
                percentile(hours, 90) if hours else None,
                *longest,
            )
        )
    return found


def overdue(cases: Iterable[CaseFact], end: int) -> list[Overdue]:
    """Return the cases that were overdue at a time: orders first, then the oldest deadline."""
    late = [
        (case.kind != "order", case.due, case)
        for case in cases
        if not case.refused
        and case.began < end
        and case.due is not None
        and case.due < end
        and not any(at is not None and at < end for at in (case.removed, case.closed))
    ]
    return [
        Overdue(case.number, case.kind, _hours(end - due))
        for _, due, case in sorted(late, key=lambda one: (one[0], one[1], one[2].number))
    ]


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 3)


def _hours_between(begin: int, ended: int | None, until: int) -> float | None:
    return None if ended is None or ended >= until else _hours(max(0, ended - begin))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
