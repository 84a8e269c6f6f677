from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from hashscan.lists.index import CompiledIndex, segments
from hashscan.lists.index.segments import compile_segment
from hashscan.lists.pulling import client
from hashscan.lists.storage.stored_version import VerificationLevel
from hashscan.lists.store import ListStore
from hashscan.model import TrustState
from tests.lists.builders import NOW, Owner, some_entries


@pytest.fixture(autouse=True)
def _all_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SMALL", 1)


@pytest.fixture(params=["signed", "own"])
def version(request: pytest.FixtureRequest, store: ListStore, owner: Owner) -> Path:
    """The folder of the one list's version."""
    if request.param == "signed":
        owner.release(some_entries(30))
        client.add(store, "signed", str(owner.repository), owner.root)
        client.pull(store, "signed")
    else:
        store.import_entries("own", some_entries(30), "entries")
    (folder,) = store.folder(request.param).versions.iterdir()
    return folder


def problem(store: ListStore, thoroughness: VerificationLevel = VerificationLevel.CHECKSUMS) -> str | None:
    """Return the problem that opening the list reports, after finding all of its entries."""
    with store.open(None, NOW, thoroughness) as opened:
        (info,) = opened.infos
        assert info.state in (TrustState.FRESH, TrustState.LOCAL)
        index = CompiledIndex.open(opened.handles)
        for entry in some_entries(30):
            asked = np.frombuffer(entry.value, dtype=np.uint8).reshape(1, -1)
            _, rows, _ = index.query(entry.algorithm, asked, np.array([0]))
            assert [index.entry(entry.algorithm, int(row))[1] for row in rows] == [entry.id]
        return info.problem


def test_it_is_compiled_when_put_in_use(store: ListStore, version: Path) -> None:
    # A signed list has the test picture's sha1, too.
    canary = set() if "own" in str(version) else {"sha1.json"}
    compiled = {path.name for path in (version / "index").glob("*/*.json")}
    assert compiled == {"md5.json", "pdq.json", "sha256.json"} | canary
    for thoroughness in VerificationLevel:
        assert problem(store, thoroughness) is None


def test_a_missing_index_is_compiled_and_said(store: ListStore, version: Path) -> None:
    shutil.rmtree(version / "index")
    assert "missing" in (problem(store, VerificationLevel.SIZES) or "")
    assert problem(store) is None


def test_a_flipped_bit_is_said_by_a_scan_and_mended(store: ListStore, version: Path) -> None:
    (path,) = version.glob("index/*/pdq-*/near.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "damaged" in (problem(store) or "")
    assert problem(store) is None


def test_a_flipped_bit_of_a_column_makes_the_list_unusable(store: ListStore, version: Path) -> None:
    (path,) = version.glob("*/*pdq.value.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for thoroughness in (VerificationLevel.CHECKSUMS, VerificationLevel.SIGNED):
        with store.open(None, NOW, thoroughness) as opened:
            assert opened.infos[0].state is TrustState.DAMAGED
            assert opened.handles == ()


def test_without_a_record_the_signed_hashes_are_compared(store: ListStore, version: Path) -> None:
    (version / "checksums.json").unlink()
    with store.open(None, NOW) as opened:
        expected = TrustState.FRESH if opened.infos[0].name == "signed" else TrustState.DAMAGED
        assert opened.infos[0].state is expected


@pytest.fixture
def _nowhere_to_write(version: Path) -> None:
    shutil.rmtree(version / "index")
    (version / "index").write_bytes(b"in the way of the folder")


@pytest.mark.usefixtures("_nowhere_to_write")
def test_where_it_can_t_be_written_a_temporary_one_is_used(
    store: ListStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert "a temporary one is used" in (problem(store) or "")
    assert list((tmp_path / "tmp").iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert "searched without" in (problem(store) or "")


def test_several_lists_look_like_one(store: ListStore) -> None:
    store.import_entries("a", some_entries(30), "entries")
    store.import_entries("b", some_entries(30, start=20), "entries")
    with store.open(None, NOW) as opened:
        index = CompiledIndex.open(opened.handles)
    entry = some_entries(1, start=25)[0]
    asked = np.frombuffer(entry.value, dtype=np.uint8).reshape(1, -1)
    query_rows, rows, _ = index.query(entry.algorithm, asked, np.array([0]))
    assert query_rows.tolist() == [0, 0]
    assert [index.entry(entry.algorithm, row)[:2] for row in rows.tolist()] == [("a", "e25"), ("b", "e25")]
    with pytest.raises(IndexError):
        index.entry("pdq", 10_000)


def test_an_increment_leaves_the_base_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base, more = (rng.integers(0, 256, (count, 32), dtype=np.uint8) for count in (500, 20))
    compile_segment(tmp_path / "base", "pdq", base, "a 1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "base").rglob("*")}
    compile_segment(tmp_path / "increment", "pdq", more, "a 2")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "base").rglob("*")} == before
