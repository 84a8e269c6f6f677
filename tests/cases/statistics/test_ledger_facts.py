"""Statistics count just the records of the ledger."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.statistics.counting import FOUND, Custody, Outcome, begun, count, facts_of
from hashscan.cases.statistics.periods import Unit, periods
from hashscan.model import Verdict
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.state_dir import StateDir
from tests.cases.statistics.made import DAY, START
from tests.examples import examples

DEADLINES = DeadlineCalculator(CaseSettings(deadline=DAY, deadlines={"A1": DAY / 2}))
NEVER = START + 10**9
moments = st.integers(START - DAY, START + 60 * DAY)


def put_scan(ledger: Ledger, number: int, **values: Any) -> None:
    row = {
        "uuid": f"s-{number}", "known": 0, "shard": "", "started": START, "ended": START, "exit_code": 0,
        "whole": 1, "files": 0, "bytes": 0, "verdicts": "{}", "lists": "[]", "targets": "[]",
        "incomplete": "[]",
    } | values  # fmt: skip
    put(ledger, "scans", row)


def put(ledger: Ledger, table: str, row: dict[str, Any]) -> None:
    with ledger.transaction() as database:
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def put_case(ledger: Ledger, number: int, matches: list[tuple[str, str]], **values: Any) -> None:
    categories = " ".join(sorted({category for _, category in matches}))
    row = {"id": number, "verdict": "match", "categories": categories, "found": START, "seen": START}
    put(ledger, "cases", row | values)
    for place, (name, category) in enumerate(matches):
        put(
            ledger,
            "matches",
            {"id": number, "list": name, "entry": f"e-{place}", "algorithm": "md5", "variant": "",
             "category": category, "distance": 0},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "whole", "outcome"),
    [
        (0, 1, Outcome.COMPLETE),
        (1, 1, Outcome.COMPLETE),
        (12, 1, Outcome.COMPLETE),
        (3, 0, Outcome.INCOMPLETE),
        (4, 0, Outcome.INCOMPLETE),
        (130, 0, Outcome.INCOMPLETE),
        (143, 0, Outcome.INCOMPLETE),
        (12, 0, Outcome.FAILED),
        (70, 0, Outcome.FAILED),
        (None, 0, Outcome.FAILED),
    ],
)
def test_how_scans_ended(tmp_path: Path, code: int | None, whole: int, outcome: Outcome) -> None:
    with Ledger(StateDir(tmp_path)) as ledger:
        put_scan(ledger, 1, exit_code=code, whole=whole, files=7, bytes=9)
        put_scan(ledger, 2, known=1, files=1000)
        (scan,) = facts_of(ledger, DEADLINES).scans
    assert (scan.begun, scan.outcome, scan.files, scan.bytes) == (START, outcome, 7, 9)


def test_a_case_has_each_list_and_category_once_and_the_deadline_of_the_settings(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path)) as ledger:
        put_case(ledger, 1, [("ours", "A2"), ("ours", "A1"), ("national", "A1")], removed=START + 5)
        put_case(ledger, 2, [], verdict="held")
        put_case(ledger, 3, [], verdict="notice", noticed=START, closed=START + 9)
        first, held, notice = facts_of(ledger, DEADLINES).cases
    assert first.found is Verdict.MATCH
    assert first.lists == {"ours", "national"}
    assert first.categories == {"A1", "A2"}
    assert (first.deadline, first.removed, first.closed) == (START + DAY // 2, START + 5, None)
    assert (held.found, held.deadline) == (Verdict.HELD, None)
    assert (notice.found, notice.deadline, notice.closed) == (None, START + DAY, START + 9)


def test_where_nothing_was_put_down_there_is_no_beginning(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path)) as ledger:
        assert begun(ledger) is None
        put_scan(ledger, 1, known=1, started=START - 10)
        assert begun(ledger) is None
        put_scan(ledger, 2, started=START + 10)
        assert begun(ledger) == START + 10
        put_case(ledger, 1, [], found=START + 5)
        assert begun(ledger) == START + 5


@settings(max_examples=examples(15), deadline=None)
@given(
    st.lists(
        st.tuples(moments, st.sampled_from([0, 1, 3, 4, 12, None]), st.booleans(), st.integers(0, 2**50))
    ),
    st.lists(
        st.tuples(
            moments,
            st.sampled_from(["match", "held", "review", "notice"]),
            st.none() | moments,
            st.none() | moments,
            st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["A1", "B2"])), max_size=3),
        ),
        max_size=12,
    ),
    st.lists(
        st.tuples(
            moments, st.sampled_from(["moved", "left", "restored", "released", "withdrawn", "accused"])
        ),
        max_size=12,
    ),
    st.sampled_from(Unit),
)
def test_periods_add_up_to_what_the_database_counts(
    tmp_path_factory: pytest.TempPathFactory,
    scans: list[tuple[int, int | None, bool, int]],
    cases: list[tuple[int, str, int | None, int | None, list[tuple[str, str]]]],
    custody: list[tuple[int, str]],
    unit: Unit,
) -> None:
    with Ledger(StateDir(tmp_path_factory.mktemp("ledger"))) as ledger:
        for number, (started, code, whole, files) in enumerate(scans):
            whole = whole and code is not None
            put_scan(ledger, number, started=started, exit_code=code, whole=whole, files=files, bytes=files)
        for number, (found, verdict, removed, closed, matches) in enumerate(cases, 1):
            noticed = found if verdict == "notice" else None
            put_case(
                ledger, number, matches,
                verdict=verdict, found=found, removed=removed, closed=closed, noticed=noticed,
            )  # fmt: skip
        for line, (at, kind) in enumerate(custody):
            put(
                ledger,
                "custody",
                {"log": "l", "line": line, "at": at, "kind": kind, "item": "i", "version": ""},
            )
        around = periods(unit, date(2025, 12, 1), date(2026, 4, 30), UTC, NEVER)
        made = count(facts_of(ledger, DEADLINES), around, NEVER)
        one = ledger.one
        totals = made.totals
        assert totals.scans.total() == one("SELECT count(*) FROM scans")[0]
        assert totals.files == one("SELECT coalesce(sum(files), 0) FROM scans")[0]
        assert totals.scans[Outcome.COMPLETE] == one("SELECT count(*) FROM scans WHERE whole")[0]
        for found in FOUND:
            (there,) = one("SELECT count(*) FROM cases WHERE verdict=?", found.value)
            assert totals.findings[found] == there
        for name in ("x", "y"):
            query = "SELECT count(DISTINCT id) FROM matches JOIN cases USING (id) WHERE verdict='match' "
            query += "AND list=?"
            assert totals.lists[name] == one(query, name)[0]
        assert totals.removal.cases == one("SELECT count(*) FROM cases WHERE verdict<>'held'")[0]
        assert totals.removal.removed == one(
            "SELECT count(*) FROM cases WHERE verdict<>'held' AND removed IS NOT NULL"
        )[0]  # fmt: skip
        for kind, what in (("moved", Custody.QUARANTINED), ("released", Custody.RELEASED)):
            assert totals.custody[what] == one("SELECT count(*) FROM custody WHERE kind=?", kind)[0]
    for of in ("scans", "findings", "lists", "categories", "custody"):
        parts: Counter[str] = sum((getattr(figures, of) for _, figures in made.periods), Counter())
        assert parts == +getattr(totals, of)
    assert sum(figures.removal.cases for _, figures in made.periods) == totals.removal.cases
