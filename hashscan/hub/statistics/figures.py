"""Count checks, detections, findings, notices and removals of organisations by month, for publication.

Months are those of UTC. Numbers below a threshold are suppressed. Where their sum, which is the total less
the other numbers, reveals one of them, the next larger one is, too; or the total, if there is no larger one.

The ranking orders organisations by how long content stays after a notice (`removal_times`). Only notices
count, since of an organisation's own findings it says itself both when they began and when they ended. An
answer counts from when the hub received it, whatever time it states. All notices of the period that the
organisation could know of count, and are followed until the figures are made:

 * content is gone when the organisation says that it was removed, unless somebody outside has seen it since;
   or when somebody outside saw it gone, if that is earlier;
 * every other case is open, however it was answered: closed, disputed, never seen, or not at all.

Numbers below the threshold are rounded in shares, to it or to 0, and shares of less than two times the
threshold are withheld, so that they reveal no small number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, false, func, not_, select

from hashscan.errors import UsageError
from hashscan.hub.accounts.sessions import switches
from hashscan.hub.review.cases import final
from hashscan.hub.statistics.removal_times import HORIZON_HOURS, Estimate, Observed, estimate
from hashscan.hub.storage.tables import (
    CASES,
    CHECKS,
    CONTRADICTED,
    NOTICES,
    ORGANISATIONS,
    SCANS,
    SETTINGS,
)
from hashscan.schema import decode_json
from hashscan.timefmt import format_utc_seconds

MEASURES = ("digests", "detected", "files", "found", "notices", "removed")
THRESHOLD = 5
"""The number below which one is suppressed, unless the table of settings has another one."""
MONTHS_MAX = 24
RANKED_FROM = 10
"""The number of notices below which an organisation is not ranked."""
_DOUBTFUL_SHARE = 0.1
"""Share of removals above which those that somebody outside has contradicted make an organisation's word
doubtful, if they are no small number; below it, content may have come back, or a cache may have kept it."""
_OUTCOMES = ("removed", "closed", "disputed")
"""Times of a notice that say an outcome; an acknowledgement says none."""


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


class Rank(Struct, frozen=True, kw_only=True):
    """The time for which content stays at an organisation after a notice, and the proof of its word."""

    rank: int
    name: str
    title: str
    cases: int | None
    """Cases of notices that count; None where it would reveal the number of a month that is suppressed."""
    hours: float
    """Mean hours until removal, where content that stays longer counts as `horizon_hours`."""
    hours_low: float
    """Limits of 95 % of `hours`."""
    hours_high: float
    median_hours: float | None
    """Hours after which half of the content was removed; None if that is not reached by the horizon."""
    answered: float
    """Share of the notices to which it has said an outcome: removed, closed, not found or disputed."""
    looked_at: int | None
    """Removals that it has said, and that somebody outside has looked at since; None for a few."""
    confirmed: float | None
    """Share of these that were gone; None if none was looked at, or a few."""
    contradicted: bool
    """True if somebody outside has seen so much of what it said to be removed that its word is doubtful."""


class Document(Struct, frozen=True):
    """The published figures of a period."""

    first: str
    last: str
    suppressed_below: int
    months: list[Month]
    organisations: list[Organisation]
    ranking: list[Rank]
    """The fastest first, without organisations with fewer notices than `ranked_from`."""
    ranked_from: int
    horizon_hours: float
    until: str
    """RFC 3339: the time until which cases were observed."""


def months_between(first: str, last: str) -> list[tuple[str, int, int]]:
    """Return the name, begin and end (seconds since 1970, UTC) of each month."""
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


def make_document(connection: Connection, first: str, last: str, now: int) -> Document:
    """Count a period of whole months; cases that are open were observed until `now` (seconds since 1970)."""
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
    secret = {key for key, months in own.items() if any(month.notices is None for month in months)}
    ranked_from = max(RANKED_FROM, 2 * threshold)
    found = {
        key: cases
        for key, cases in _noticed(connection, spans[0][1], spans[-1][2], now).items()
        if len(cases) >= ranked_from
    }
    return Document(
        spans[0][0],
        spans[-1][0],
        threshold,
        totals,
        organisations,
        _ranking(found, names, secret, threshold),
        ranked_from,
        HORIZON_HOURS,
        format_utc_seconds(now),
    )


def _is_rejected(connection: Connection) -> ColumnElement[bool]:
    """Return the condition of cases of which a decision says that they are none."""
    return and_(CASES.c.decision == "rejected", final(two=switches(connection)["decisions_need_two"]))


def _counts(connection: Connection, begin: int, end: int) -> dict[str, dict[int, int]]:
    def count(column: Any, time: Any, *conditions: Any) -> dict[int, int]:
        table = time.table
        query = select(table.c.organisation, column).where(time >= begin, time < end, *conditions)
        rows = connection.execute(query.group_by(table.c.organisation))
        return {int(key): int(value or 0) for key, value in rows}

    counted = and_(CASES.c.verdict.in_(("match", "notice")), not_(_is_rejected(connection)))
    return {
        "digests": count(func.sum(CHECKS.c.exact + CHECKS.c.perceptual), CHECKS.c.hour),
        "detected": count(func.sum(CHECKS.c.detected), CHECKS.c.hour),
        "files": count(func.sum(SCANS.c.files), SCANS.c.started, SCANS.c.complete),
        "found": count(func.count(), CASES.c.found, counted, CASES.c.verdict == "match"),
        "notices": count(func.count(), NOTICES.c.sent, NOTICES.c.withdrawn.is_(None)),
        "removed": count(func.count(), CASES.c.removed, counted, not_(func.coalesce(CONTRADICTED, false()))),
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


class _Case(NamedTuple):
    """A case of a notice."""

    observed: Observed
    answered: bool
    looked_at: bool
    """True if its removal was said, and somebody outside has looked since."""
    contradicted: bool


def _noticed(connection: Connection, begin: int, end: int, now: int) -> dict[int, list[_Case]]:
    """Return by organisation the cases whose notices it could first know of in a period."""
    # A scan's verdict does not matter here: it is the organisation's own word.
    rows = connection.execute(
        select(
            CASES.c.organisation, CASES.c.noticed, CASES.c.removed, CASES.c.seen_there, CASES.c.seen_gone,
            CASES.c.contradicted,
            func.coalesce(CASES.c.removed, CASES.c.closed, *(NOTICES.c[name] for name in _OUTCOMES)),
        )
        .join(NOTICES, CASES.c.notice == NOTICES.c.id)
        .where(
            CASES.c.noticed >= begin, CASES.c.noticed < end, NOTICES.c.withdrawn.is_(None),
            not_(_is_rejected(connection)),
        )
    )  # fmt: skip
    found: defaultdict[int, list[_Case]] = defaultdict(list)
    for key, noticed, removed, there, gone, contradicted, outcome in rows:
        said = removed if there is None or removed is None or there <= removed else None
        ended = min((time for time in (said, gone) if time is not None), default=None)
        hours = max(0, (now if ended is None else ended) - noticed) / 3600
        has_lied = contradicted is not None
        looked_at = has_lied or (removed is not None and gone is not None)
        found[key].append(_Case(Observed(hours, ended is not None), outcome is not None, looked_at, has_lied))
    return found


def _ranking(
    found: Mapping[int, list[_Case]], names: Mapping[int, tuple[str, str]], secret: Set[int], threshold: int
) -> list[Rank]:
    estimates = {key: estimate(case.observed for case in cases) for key, cases in found.items()}
    ordered = sorted(found, key=lambda key: (round(estimates[key].hours, 1), names[key]))
    hours = [round(estimates[key].hours, 1) for key in ordered]
    return [
        _rank(1 + hours.index(mean), *names[key], found[key], estimates[key], key in secret, threshold)
        for key, mean in zip(ordered, hours, strict=True)
    ]


def _rank(
    rank: int, name: str, title: str, cases: list[_Case], times: Estimate, secret: bool, threshold: int
) -> Rank:
    looked_at = sum(case.looked_at for case in cases)
    contradicted = sum(case.contradicted for case in cases)
    is_small = 0 < looked_at < 2 * threshold
    return Rank(
        rank=rank,
        name=name,
        title=title,
        cases=None if secret else len(cases),
        hours=round(times.hours, 1),
        hours_low=round(times.low, 1),
        hours_high=round(times.high, 1),
        median_hours=None if times.median is None else round(times.median, 1),
        answered=_share(sum(case.answered for case in cases), len(cases), threshold),
        looked_at=None if is_small else looked_at,
        confirmed=None
        if is_small or not looked_at
        else _share(looked_at - contradicted, looked_at, threshold),
        contradicted=contradicted >= max(threshold, 1) and contradicted > _DOUBTFUL_SHARE * looked_at,
    )


def _share(part: int, whole: int, threshold: int) -> float:
    """Return a share of at least two times the threshold; a small number on either side is rounded."""
    rest = whole - part
    if 0 < rest < threshold:
        part = whole - _rounded(rest, threshold)
    elif 0 < part < threshold:
        part = _rounded(part, threshold)
    return round(part / whole, 3)


def _rounded(number: int, threshold: int) -> int:
    """Return 0 or the threshold, whichever is nearer."""
    return threshold if 2 * number > threshold else 0
