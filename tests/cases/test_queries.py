"""Tests of cases.queries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.cases.deadlines import DeadlineCalculator
from hashscan.cases.ledger import Ledger
from hashscan.cases.queries import LedgerStats, Queries, ScanRun, ledger_stats
from hashscan.settings.cases_and_alerts import CaseSettings
from hashscan.shortcomings import shortcomings_of
from hashscan.state_dir import StateDir
from tests.alerts.ledgers import DAY, DEADLINES, add_case, add_scan
from tests.shortcomings import shortcoming


@pytest.fixture
def queries(tmp_path: Path) -> Iterator[Queries]:
    """Cases of three customers, due at their hour plus 24."""
    with Ledger(StateDir(tmp_path)) as ledger:
        with ledger.transaction() as database:
            database.executemany(
                "INSERT INTO cases (path, verdict, customer, found, seen, removed, closed) "
                "VALUES (?, ?, ?, ? * 3600, 0, ?, ?)",
                [
                    (b"/1", "match", "bob", 5, None, None),
                    (b"/2", "match", "alice", 3, None, None),
                    (b"/3", "notice", "bob", 1, None, None),
                    (b"/4", "held", "bob", 0, None, None),
                    (b"/5", "match", "", 2, 90_000, None),
                    (b"/6", "match", "", 2, None, 90_000),
                    (b"/7", "review", "", 2, None, None),
                ],
            )
            database.execute("UPDATE cases SET witness='scan' WHERE verdict<>'notice'")
        yield Queries(ledger, DeadlineCalculator(CaseSettings()))


def test_cases_are_in_order_of_deadlines_and_those_without_are_last(queries: Queries) -> None:
    assert [case.id for case in queries.open_cases()] == [3, 2, 1, 7, 4]


def test_what_is_due_ends_at_the_moment(queries: Queries) -> None:
    assert [case.id for case in queries.due_by_customer(25 * 3600)] == []
    assert [case.id for case in queries.due_by_customer(25 * 3600 + 1)] == [3]


def test_customers_come_by_what_is_longest_due(queries: Queries) -> None:
    assert [case.id for case in queries.due_by_customer(90 * 3600)] == [3, 1, 2]


def test_removed_cases_are_those_with_a_time_of_removal(queries: Queries) -> None:
    assert [case.id for case in queries.removed_cases()] == [5]


def test_a_word_says_how_far_a_case_is(queries: Queries) -> None:
    states = [case.state for case in queries.all_cases()]
    assert states == ["found", "found", "never_seen", "found", "removed", "closed", "found"]
    removed = queries.case(5)
    assert removed is not None
    assert (removed.hours, removed.open, removed.overdue(1e12)) == (23.0, False, False)
    assert queries.case(99) is None


def test_all_are_found_whatever_a_notice_says_of_its_time(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path)) as ledger:
        with ledger.transaction() as database:
            database.execute("INSERT INTO cases (verdict, found, seen) VALUES ('notice', -62135596800, 0)")
        assert len(list(Queries(ledger, DeadlineCalculator(CaseSettings())).all_cases())) == 1


NOW = 1_800_000_000


def test_an_empty_ledger(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path)) as ledger:
        assert ledger_stats(ledger, DEADLINES, NOW) == LedgerStats(None, None, {}, 0, 0, 0, 0)


def test_all_of_it(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path)) as ledger:
        add_scan(ledger, "good", NOW)
        add_scan(ledger, "known", NOW + 100, known=1)
        short = [shortcoming("1 unreadable files"), shortcoming("list a is stale", "list", "a")]
        add_scan(ledger, "bad", NOW + DAY, exit_code=4, incomplete=short, verdicts='{"match": 2}')
        for name, values in (
            ("a", {}), ("b", {"disputed": NOW}), ("c", {"verdict": "held"}), ("d", {"removed": NOW}),
            ("e", {"closed": NOW}),
        ):  # fmt: skip
            add_case(ledger, name, NOW, **values)
        with ledger.transaction() as database:
            database.executemany(
                "INSERT INTO custody VALUES ('log', ?, 1, ?, ?, NULL, '', NULL, '')",
                [(1, "moved", "x"), (2, "moved", "y"), (3, "withdrawn", "x"), (4, "restored", "y"),
                 (5, "moved", "z"), (6, "released", "z")],
            )  # fmt: skip
        found = ledger_stats(ledger, DEADLINES, NOW + DAY + 1)
    assert found == LedgerStats(
        ScanRun(
            "bad",
            NOW + DAY,
            NOW + DAY + 60,
            4,
            100,
            5000,
            {"match": 2},
            shortcomings_of({"incomplete": short}),
            {},
        ),
        NOW + 60,
        {"match": 2, "held": 1},
        2,
        1,
        5,
        1,
    )
