"""Legal bases: reading the tables, their last second, and one alert before and one after."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from hashscan.alerts.builder import AlertBuilder, legal_basis_alerts
from hashscan.cases.ledger import Ledger
from hashscan.errors import UsageError
from hashscan.settings.legal_basis import LegalBasis, ended_door, ended_lists, legal_bases
from hashscan.state_dir import StateDir
from tests.alerts.ledgers import DEADLINES

ROW = {"door": "icap", "legal_basis": "Some law", "legal_basis_until": date(2026, 4, 3)}
LAST = datetime(2026, 4, 3, 23, 59, 59, tzinfo=UTC).timestamp()


def test_a_basis_holds_on_its_last_day() -> None:
    rows = [ROW, {**ROW, "door": "http", "after_legal_basis": "continue"}]
    bases = legal_bases(rows, "file")
    assert ended_door(bases, "icap", LAST) is None
    assert ended_door(bases, "icap", LAST + 1) is bases[0]
    assert ended_door(bases, "http", LAST + 1) is None
    assert ended_door(bases, "clamd", LAST + 1) is None
    of_list = LegalBasis("x", date(2026, 4, 3), list="national", after_legal_basis="continue")
    assert list(ended_lists([of_list], ["national"], LAST + 1)) == [of_list]
    assert list(ended_lists([of_list], ["national"], LAST)) == []
    assert list(ended_lists([of_list, *bases], ["other", ""], LAST)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"list": "national"},
        {"door": "smtp"},
        {"legal_basis_until": "soon"},
        {"legal_basis": ""},
        {"legal_basis_until": datetime(2026, 4, 3, tzinfo=UTC)},
        {"after_legal_basis": "stop"},
        {"until": "x"},
    ],
)
def test_a_row_that_cannot_be_used_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        legal_bases([{**ROW, **change}], "file")


def test_there_is_one_alert_30_days_before_the_end_and_one_after(tmp_path: Path) -> None:
    bases = legal_bases([ROW], "file")
    day = 86_400
    with Ledger(StateDir(tmp_path)) as ledger:
        builder = AlertBuilder(ledger, DEADLINES, on="trouble", details=False, host="web1")

        def made(now: float) -> int:
            return builder.build_all(now, {"notify"}, others=legal_basis_alerts(bases, now))

        first = LAST + 1 - 30 * day
        assert [made(now) for now in (first - 1, first, first + day, LAST, LAST + 1, LAST + day)] == [
            0, 1, 0, 0, 1, 0
        ]  # fmt: skip
