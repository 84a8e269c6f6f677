from __future__ import annotations

from pathlib import Path

from hashscan.cases.completion import waiting_cases
from hashscan.cases.ledger import FILE, Ledger


def test_cases_that_wait_the_oldest_first(tmp_path: Path) -> None:
    state = tmp_path / "a ?#%\n state"
    with Ledger(state) as ledger, ledger.transaction() as database:
        for found, removed, closed in ((30, None, None), (20, 25, None), (20, None, 21), (10, None, None)):
            database.execute(
                "INSERT INTO cases (verdict, categories, customer, found, seen, removed, closed) "
                "VALUES ('match', 'A1', 'acme', ?, ?, ?, ?)",
                (found, found, removed, closed),
            )
    assert waiting_cases(state) == [(4, "acme", "A1"), (1, "acme", "A1")]


def test_no_ledger_is_made_or_mended(tmp_path: Path) -> None:
    assert waiting_cases(tmp_path) == []
    assert not list(tmp_path.iterdir())
    (tmp_path / FILE).write_bytes(b"no ledger" * 1000)
    assert waiting_cases(tmp_path) == []
    assert (tmp_path / FILE).read_bytes() == b"no ledger" * 1000


def test_a_ledger_that_is_being_written_is_not_waited_for(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger, ledger.transaction() as database:
        database.execute("INSERT INTO cases (verdict, found, seen) VALUES ('match', 1, 1)")
        assert waiting_cases(tmp_path) == []
