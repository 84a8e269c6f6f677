"""Statistics made up for the tests of how they are shown."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime

from hashscan.cases.statistics.counting import (
    FOUND,
    CaseFact,
    Custody,
    Facts,
    Outcome,
    ScanFact,
    Statistics,
    count,
)
from hashscan.cases.statistics.periods import Unit, periods
from hashscan.model import Verdict

DAY = 86400
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
NOTHING = Facts((), (), (), ())


def few(name: str = "national") -> Facts:
    """One scan and three findings."""
    begun = START + 3 * DAY
    return Facts(
        [ScanFact(begun, Outcome.COMPLETE, 1200, 5_000_000)],
        [
            CaseFact(
                begun,
                Verdict.MATCH,
                frozenset({name}),
                frozenset({"A1"}),
                begun + DAY,
                begun + 3600,
                None,
            ),
            CaseFact(
                begun,
                Verdict.MATCH,
                frozenset({name, "ours"}),
                frozenset({"A2"}),
                begun + DAY,
                None,
                None,
            ),
            CaseFact(begun, Verdict.HELD, frozenset({"ours"}), frozenset({"A2"}), None, None, None),
        ],
        [(begun + 3600, Custody.QUARANTINED)],
        [begun],
    )


def year() -> Facts:
    """A scan each night of a large hoster, and a finding every other day."""
    chance = random.Random(4)
    scans, cases, custody, notices = [], [], [], []
    for day in range(365):
        begun = START + day * DAY + 7200
        outcome = chance.choices(list(Outcome), [20, 3, 1])[0]
        scans.append(ScanFact(begun, outcome, 40_000_000 + day * 50_000, chance.randrange(10**11)))
        for _ in range(chance.choice([0, 0, 0, 1, 2, 5])):
            found = chance.choices([*FOUND, None], [8, 1, 2, 3])[0]
            gone = begun + int(chance.expovariate(1 / (12 * 3600))) if chance.random() < 0.9 else None
            lists = frozenset(chance.sample(["national", "baseline-of-the-police", "ours"], 2))
            deadline = None if found is Verdict.HELD else begun + DAY
            closed = begun + DAY if gone is None and chance.random() < 0.5 else None
            categories = frozenset({chance.choice(["A1", "A2", "B1", "B2", "baseline"])})
            cases.append(CaseFact(begun, found, lists, categories, deadline, gone, closed))
            if found is None:
                notices.append(begun)
            if gone is not None:
                custody.append((gone, chance.choices(list(Custody), [20, 1, 1])[0]))
    return Facts(scans, cases, custody, notices)


def counted(facts: Facts, unit: Unit = Unit.MONTH, *, days: int = 365) -> Statistics:
    """The numbers of the year's first days, as they are at the end of the last."""
    first = date(2026, 1, 1)
    now = START + days * DAY
    return count(facts, periods(unit, first, date.fromordinal(first.toordinal() + days - 1), UTC, now), now)
