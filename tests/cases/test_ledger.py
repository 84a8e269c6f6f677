"""Tests of cases.ledger."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from hashscan.cases.ledger import (
    FORMAT,
    DamagedLedgerError,
    Ledger,
    LedgerError,
    OtherLedgerError,
    waiting_cases,
)
from hashscan.state_dir import StateDir
from tests.quick_disk import SYNCED_CONNECT


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path / "state")) as ledger:
        assert ledger.one("SELECT count(*) FROM cases") == (0,)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()} == {0o600}


def test_what_is_written_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "connect", SYNCED_CONNECT)
    with Ledger(StateDir(tmp_path)) as ledger:
        assert ledger.one("PRAGMA synchronous") == (2,)
        assert ledger.one("PRAGMA journal_mode") == ("wal",)


def test_several_may_make_it_at_once(tmp_path: Path) -> None:
    def make(_: int) -> int:
        with Ledger(StateDir(tmp_path)) as ledger:
            return int(ledger.one("PRAGMA user_version")[0])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(make, range(24))) == {FORMAT}


@pytest.mark.parametrize("version", [-1, FORMAT + 1])
def test_one_of_another_version_is_left_alone(tmp_path: Path, version: int) -> None:
    Ledger(StateDir(tmp_path)).close()
    with sqlite3.connect(StateDir(tmp_path).ledger) as database:
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    with pytest.raises(OtherLedgerError):
        Ledger(StateDir(tmp_path))


@pytest.mark.parametrize("content", [b"no database", b"\0" * 8192, b"SQLite format 3\0" + b"x" * 9000])
def test_a_damaged_one_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (StateDir(tmp_path).ledger).write_bytes(content)
    with pytest.raises(LedgerError) as caught:
        Ledger(StateDir(tmp_path))
    assert isinstance(caught.value, DamagedLedgerError)
    assert "backup" in caught.value.remedy
    assert (StateDir(tmp_path).ledger).read_bytes() == content


def test_damage_that_is_met_later_is_reported_the_same_way(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path)) as ledger:
        with ledger.transaction() as database:
            database.executemany(
                "INSERT INTO cases (path, verdict, found, seen) VALUES (?, 'match', 1, 1)",
                ((b"%09d" % n * 30,) for n in range(2000)),
            )
        ledger.one("PRAGMA wal_checkpoint(TRUNCATE)")
    with (StateDir(tmp_path).ledger).open("r+b") as file:
        file.seek(4096 * 100)
        file.write(b"\xff" * 4096 * 40)
    with Ledger(StateDir(tmp_path)) as ledger, pytest.raises(DamagedLedgerError):
        list(ledger.rows("SELECT * FROM cases ORDER BY path"))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    (StateDir(tmp_path).ledger).symlink_to(other)
    with pytest.raises(LedgerError):
        Ledger(StateDir(tmp_path))
    assert other.read_bytes() == b""


def test_it_does_not_lie_on_a_network_filesystem(tmp_path: Path) -> None:
    with (
        mock.patch("hashscan.cases.ledger.type_of", return_value="nfs4"),
        pytest.raises(LedgerError, match="network filesystem"),
    ):
        Ledger(StateDir(tmp_path))


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def half() -> None:
        with Ledger(StateDir(tmp_path)) as ledger, ledger.transaction() as database:
            database.execute("INSERT INTO followed VALUES ('state', 1, '')")
            raise StopError

    with pytest.raises(StopError):
        half()
    with Ledger(StateDir(tmp_path)) as ledger:
        assert ledger.one("SELECT count(*) FROM followed") == (0,)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LedgerError, match="can't use the ledger"):
        Ledger(StateDir(tmp_path))


def test_cases_that_wait_the_oldest_first(tmp_path: Path) -> None:
    state = tmp_path / "a ?#%\n state"
    with Ledger(StateDir(state)) as ledger, ledger.transaction() as database:
        for found, removed, closed in ((30, None, None), (20, 25, None), (20, None, 21), (10, None, None)):
            database.execute(
                "INSERT INTO cases (verdict, categories, customer, found, seen, removed, closed) "
                "VALUES ('match', 'A1', 'acme', ?, ?, ?, ?)",
                (found, found, removed, closed),
            )
    assert waiting_cases(StateDir(state)) == [(4, "acme", "A1"), (1, "acme", "A1")]


def test_no_ledger_is_made_or_mended(tmp_path: Path) -> None:
    assert waiting_cases(StateDir(tmp_path)) == []
    assert not list(tmp_path.iterdir())
    (StateDir(tmp_path).ledger).write_bytes(b"no ledger" * 1000)
    assert waiting_cases(StateDir(tmp_path)) == []
    assert (StateDir(tmp_path).ledger).read_bytes() == b"no ledger" * 1000


def test_a_ledger_that_is_being_written_is_not_waited_for(tmp_path: Path) -> None:
    with Ledger(StateDir(tmp_path)) as ledger, ledger.transaction() as database:
        database.execute("INSERT INTO cases (verdict, found, seen) VALUES ('match', 1, 1)")
        assert waiting_cases(StateDir(tmp_path)) == []
