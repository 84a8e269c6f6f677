"""How things stand by the ledger."""

from __future__ import annotations

from pathlib import Path

from hashscan.cases.ledger import Ledger
from hashscan.cases.ledger_stats import LastScan, LedgerStats, standing
from tests.alerts.ledgers import CLOCK, DAY, add_case, add_sweep

NOW = 1_800_000_000


def test_an_empty_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert standing(ledger, CLOCK, NOW) == LedgerStats(None, None, {}, 0, 0, 0, 0)


def test_all_of_it(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        add_sweep(ledger, "good", NOW)
        add_sweep(ledger, "known", NOW + 100, known=1)
        add_sweep(ledger, "bad", NOW + DAY, exit_code=4, incomplete=["1 unreadable files", "list a is stale"],
                  verdicts='{"match": 2}')  # fmt: skip
        for name, values in (
            ("a", {}), ("b", {"disputed": NOW}), ("c", {"verdict": "held"}), ("d", {"removed": NOW}),
            ("e", {"closed": NOW}),
        ):  # fmt: skip
            add_case(ledger, name, NOW, **values)
        with ledger.transaction() as database:
            database.executemany(
                "INSERT INTO custody VALUES ('log', ?, 1, ?, ?, NULL, '', NULL)",
                [(1, "moved", "x"), (2, "moved", "y"), (3, "withdrawn", "x"), (4, "restored", "y"),
                 (5, "moved", "z"), (6, "released", "z")],
            )  # fmt: skip
        found = standing(ledger, CLOCK, NOW + DAY + 1)
    assert found == LedgerStats(
        LastScan(NOW + DAY, NOW + DAY + 60, 4, {"match": 2}, 5000, 2),
        NOW + 60,
        {"match": 2, "held": 1},
        2,
        1,
        5,
        1,
    )
