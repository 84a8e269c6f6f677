from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hashscan.errors import OutputError
from hashscan.state.store import database as module
from hashscan.state.store.database import FILE, FORMAT, OtherStateError, errors_explained, open_database
from hashscan.state_dir import StateDir


def test_it_is_for_its_user_alone(tmp_path: Path) -> None:
    database, folder, remark = open_database(StateDir(tmp_path))
    database.execute("INSERT INTO meta VALUES ('a', 'b')")
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
    assert len(list(folder.iterdir())) == 3
    assert not remark
    database.close()


@pytest.mark.parametrize("version", [-1, FORMAT + 1])
def test_one_of_another_version_is_left_alone(tmp_path: Path, version: int) -> None:
    open_database(StateDir(tmp_path))[0].close()
    with sqlite3.connect(StateDir(tmp_path).scans / FILE) as database:
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    with pytest.raises(OtherStateError):
        open_database(StateDir(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [StateDir(tmp_path).scans.name]


def test_a_damaged_one_is_set_aside(tmp_path: Path) -> None:
    open_database(StateDir(tmp_path))[0].close()
    (StateDir(tmp_path).scans / FILE).write_bytes(b"no database" * 1000)
    database, folder, remark = open_database(StateDir(tmp_path))
    assert database.execute("SELECT count(*) FROM folders").fetchone() == (0,)
    (aside,) = (path for path in tmp_path.iterdir() if path != folder)
    assert str(aside) in remark
    assert (aside / FILE).read_bytes().startswith(b"no database")
    database.close()


def test_one_found_damaged_in_use_is_set_aside_the_next_time(tmp_path: Path) -> None:
    database, folder, _ = open_database(StateDir(tmp_path))
    database.close()
    with pytest.raises(OutputError, match="damaged") as raised, errors_explained(folder):
        raise ValueError("contradicts itself")
    assert "Scan again" in raised.value.remedy
    database, folder, remark = open_database(StateDir(tmp_path))
    assert "found damaged" in remark
    database.close()


def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "type_of", lambda folder: "nfs4")
    with pytest.raises(OutputError, match="nfs4") as raised:
        open_database(StateDir(tmp_path))
    assert "disk of this machine" in raised.value.remedy


def test_a_place_that_can_not_be_written_is_no_damage(tmp_path: Path) -> None:
    (StateDir(tmp_path).scans).write_bytes(b"a file")
    with pytest.raises(OutputError):
        open_database(StateDir(tmp_path))
    assert (StateDir(tmp_path).scans).read_bytes() == b"a file"
