"""Looks from outside in the ledger: baselines, how long servers refuse, and runs under a mandate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from hashscan.cases.actions import CLOSED, prune_cases, record_action
from hashscan.cases.ledger import Ledger, LedgerError
from hashscan.cases.web_looks import (
    REFUSED_SECONDS,
    baseline_of,
    last_looks,
    record_looks,
    record_run,
)
from hashscan.outside.looking import Cause, Content, Look, Outcome
from hashscan.settings.outside import Mandate
from hashscan.state_dir import StateDir
from tests.alerts.ledgers import DAY, add_case

NOW = 1_800_000_000
REFUSED = Look("192.0.2.1", fresh=False, outcome=Outcome.UNCLEAR, cause=Cause.REFUSED)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(StateDir(tmp_path)) as ledger:
        yield ledger


def answers(content: bytes) -> Look:
    return Look("192.0.2.1", False, Outcome.ANSWERS, Cause.STATUS, 200, Content(content * 32, b"p" * 32))


def test_the_first_content_is_the_baseline_and_stays(ledger: Ledger) -> None:
    case = add_case(ledger, "/a", NOW)
    assert baseline_of(ledger, case, b"f" * 32) == Content(b"f" * 32)
    assert record_looks(ledger, case, [answers(b"a")], NOW) is Outcome.ANSWERS
    assert record_looks(ledger, case, [answers(b"b")], NOW + 1) is Outcome.ANSWERS
    assert baseline_of(ledger, case, b"f" * 32) == Content(b"a" * 32, b"p" * 32)
    (look,) = last_looks(ledger, case)
    assert (look.server, look.fresh, look.outcome, look.status) == ("192.0.2.1", False, Outcome.ANSWERS, 200)


def test_refused_for_a_week_is_gone_and_an_answer_between_begins_anew(ledger: Ledger) -> None:
    case = add_case(ledger, "/a", NOW)
    found = [record_looks(ledger, case, [REFUSED], NOW + day * DAY) for day in range(8)]
    assert found == [Outcome.UNCLEAR] * 7 + [Outcome.GONE]
    assert record_looks(ledger, case, [REFUSED, answers(b"a")], NOW + 8 * DAY) is Outcome.ANSWERS
    assert record_looks(ledger, case, [REFUSED], NOW + 9 * DAY) is Outcome.UNCLEAR
    assert record_looks(ledger, case, [REFUSED], NOW + 9 * DAY + REFUSED_SECONDS) is Outcome.GONE


def test_a_clock_set_back_says_nothing_is_gone(ledger: Ledger) -> None:
    case = add_case(ledger, "/a", NOW)
    assert record_looks(ledger, case, [REFUSED], NOW) is Outcome.UNCLEAR
    assert record_looks(ledger, case, [REFUSED], NOW - 30 * DAY) is Outcome.UNCLEAR


def test_runs_under_a_mandate_are_never_changed(ledger: Ledger) -> None:
    record_run(ledger, Mandate("authority", "law", date(2027, 6, 30)), "check", "ada", 3, NOW)
    (row,) = ledger.rows("SELECT * FROM mandated_runs")
    assert row == (1, NOW, "check", "ada", "authority", "law", "2027-06-30", 3)
    for statement in ("UPDATE mandated_runs SET urls=1", "DELETE FROM mandated_runs"):
        with pytest.raises(LedgerError), ledger.transaction() as database:
            database.execute(statement)


def test_looks_are_pruned_with_their_case(ledger: Ledger) -> None:
    case = add_case(ledger, "/a", NOW)
    record_looks(ledger, case, [answers(b"a")], NOW)
    record_action(ledger, [case], CLOSED, "done", "ada", NOW)
    assert prune_cases(ledger, NOW + 400 * DAY, NOW + 401 * DAY) == 1
    assert last_looks(ledger, case) == []
    assert baseline_of(ledger, case, None) is None
