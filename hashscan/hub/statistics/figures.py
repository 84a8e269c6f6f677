"""Count checks, detections, findings, notices and removals of organisations by month, for publication.

Months are those of UTC. Numbers below a threshold are suppressed. Where their sum, which is the total less
the other numbers, reveals one of them, the next larger one is, too; or the total, if there is no larger one.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, func, not_, select

from hashscan.errors import UsageError
from hashscan.hub.accounts.sessions import switches
from hashscan.hub.review.cases import final
from hashscan.hub.storage.tables import CASES, CHECKS, NOTICES, ORGANISATIONS, SCANS, SETTINGS
from hashscan.schema import decode_json

MEASURES = ("digests", "detected", "files", "found", "notices", "removed")
THRESHOLD = 5
"""The number below which one is suppressed, unless the table of settings has another one."""
MONTHS_MAX = 24


class Month(Struct, frozen=True):
    """The figures of a month; None for one that is suppressed."""

    month: str
    digests: int | None
    """Digests that were asked about."""
    detected: int | None
    """Those of them that an entry matches."""
    files: int | None
    """Files that complete scans have checked."""
    found: int | None
    """Cases of matches that scans have found."""
    notices: int | None
    """Notices that were sent, without withdrawn ones."""
    removed: int | None
    """Files that were removed."""


class Organisation(Struct, frozen=True):
    """The figures of an organisation."""

    name: str
    title: str
    months: list[Month]


class Rank(Struct, frozen=True):
    """An organisation's time until removal, from the notice, else from the finding; in hours."""

    rank: int
    name: str
    title: str
    removed: int | None
    """None where it would reveal the number of a month that is suppressed."""
    median_hours: float
    mean_hours: float


class Document(Struct, frozen=True):
    """The published figures of a period."""

    first: str
    last: str
    suppressed_below: int
    months: list[Month]
    organisations: list[Organisation]
    ranking: list[Rank]
    """The fastest first, without organisations with fewer removals than the threshold."""


def months_between(first: str, last: str) -> list[tuple[str, int, int]]:
    """Return the name, begin and end (seconds since 1970, UTC) of each month.

    Raises:
        UsageError: a text is no month, or there are none or too many.
    """
    made: list[tuple[str, int, int]] = []
    try:
        at, end = (datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC) for text in (first, last))
    except ValueError:
        raise UsageError(f"{first!r} to {last!r} are no months", advice="Write months as 2026-10.") from None
    while at <= end and len(made) <= MONTHS_MAX:
        after = at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
        made.append((at.strftime("%Y-%m"), int(at.timestamp()), int(after.timestamp())))
        at = after
    if not 0 < len(made) <= MONTHS_MAX:
        raise UsageError(f"a publication has 1 to {MONTHS_MAX} months", advice="Choose other months.")
    return made


def make_document(connection: Connection, first: str, last: str) -> Document:
    """Count a period of whole months.

    Raises:
        UsageError: the months are not valid.
    """
    spans = months_between(first, last)
    stored = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.name == "suppress_below")).scalar()
    threshold = THRESHOLD if stored is None else int(decode_json(stored.encode()))
    named = connection.execute(
        select(ORGANISATIONS.c.id, ORGANISATIONS.c.name, ORGANISATIONS.c.title).order_by(ORGANISATIONS.c.name)
    ).all()
    totals: list[Month] = []
    own: dict[int, list[Month]] = {row.id: [] for row in named}
    for name, begin, end in spans:
        counts = _counts(connection, begin, end)
        shown = {measure: _suppressed(counts[measure], threshold) for measure in MEASURES}
        totals.append(
            Month(name, **{m: _total(counts[m], shown[m], threshold) for m in MEASURES}),
        )
        for key, months in own.items():
            months.append(Month(name, **{m: shown[m].get(key, 0) for m in MEASURES}))
    organisations = [
        Organisation(row.name, row.title, own[row.id])
        for row in named
        if any(getattr(month, m) != 0 for month in own[row.id] for m in MEASURES)
    ]
    names = {row.id: (row.name, row.title) for row in named}
    secret = {key for key, months in own.items() if any(month.removed is None for month in months)}
    ranking = [
        Rank(rank, *names[key], None if key in secret else removed, median, mean)
        for rank, key, removed, median, mean in _ranking(
            connection, spans[0][1], spans[-1][2], names, threshold
        )
    ]
    return Document(spans[0][0], spans[-1][0], threshold, totals, organisations, ranking)


def _is_counted(connection: Connection) -> ColumnElement[bool]:
    """Return the condition of cases that count: those of which no decision says that they are none."""
    rejected = and_(CASES.c.decision == "rejected", final(two=switches(connection)["decisions_need_two"]))
    return and_(CASES.c.verdict.in_(("match", "notice")), not_(rejected))


def _counts(connection: Connection, begin: int, end: int) -> dict[str, dict[int, int]]:
    def count(column: Any, time: Any, *conditions: Any) -> dict[int, int]:
        table = time.table
        query = select(table.c.organisation, column).where(time >= begin, time < end, *conditions)
        rows = connection.execute(query.group_by(table.c.organisation))
        return {int(key): int(value or 0) for key, value in rows}

    counted = _is_counted(connection)
    return {
        "digests": count(func.sum(CHECKS.c.exact + CHECKS.c.perceptual), CHECKS.c.hour),
        "detected": count(func.sum(CHECKS.c.detected), CHECKS.c.hour),
        "files": count(func.sum(SCANS.c.files), SCANS.c.started, SCANS.c.complete),
        "found": count(func.count(), CASES.c.found, counted, CASES.c.verdict == "match"),
        "notices": count(func.count(), NOTICES.c.sent, NOTICES.c.withdrawn.is_(None)),
        "removed": count(func.count(), CASES.c.removed, counted),
    }


def _suppressed(counts: Mapping[int, int], threshold: int) -> dict[int, int | None]:
    hidden = {key for key, value in counts.items() if 0 < value < threshold}
    others = [(value, key) for key, value in counts.items() if value >= max(threshold, 1)]
    if others and _is_revealed([counts[key] for key in hidden], threshold):
        hidden.add(min(others)[1])
    return {key: None if key in hidden else value for key, value in counts.items()}


def _is_revealed(hidden: Sequence[int], threshold: int) -> bool:
    """Return True if suppressed numbers follow from their sum, or the sum itself is small."""
    total, least, most = sum(hidden), len(hidden), len(hidden) * (threshold - 1)
    return len(hidden) == 1 or 0 < total < threshold or (bool(hidden) and total in {least, most})


def _total(counts: Mapping[int, int], shown: Mapping[int, int | None], threshold: int) -> int | None:
    hidden = [counts[key] for key, value in shown.items() if value is None]
    small = max(hidden, default=0) < threshold
    return None if small and _is_revealed(hidden, threshold) else sum(counts.values())


def _ranking(
    connection: Connection, begin: int, end: int, names: Mapping[int, tuple[str, str]], threshold: int
) -> list[tuple[int, int, int, float, float]]:
    """Return rank, id, number of removals, median and mean hours of each organisation that is ranked."""
    since = func.coalesce(NOTICES.c.sent, CASES.c.found)
    rows = connection.execute(
        select(CASES.c.organisation, since, CASES.c.removed)
        .select_from(CASES.outerjoin(NOTICES, CASES.c.notice == NOTICES.c.id))
        .where(CASES.c.removed >= begin, CASES.c.removed < end, _is_counted(connection))
    )
    taken: defaultdict[int, list[float]] = defaultdict(list)
    for key, start, removed in rows:
        taken[key].append(max(0, removed - start) / 3600)
    ordered = sorted(
        (round(statistics.median(each), 2), round(statistics.fmean(each), 2), *names[key], key, len(each))
        for key, each in taken.items()
        if len(each) >= threshold
    )
    medians: Sequence[float] = [row[0] for row in ordered]
    return [
        (1 + medians.index(median), key, removed, median, mean)
        for median, mean, _, _, key, removed in ordered
    ]
