"""Tests of lists.store."""

from __future__ import annotations

import importlib.resources
import json
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashscan.errors import ListFormatError, LockedError, UsageError
from hashscan.lists.index import CompiledIndex
from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore, content_fingerprint
from hashscan.model import Entry, ListInfo, TrustState
from tests.lists.builders import CANARIES, NOW, Owner, some_entries, tree


def info(store: ListStore, name: str) -> ListInfo:
    with store.open([name], NOW) as opened:
        return opened.infos[0]


def pulled(store: ListStore, owner: Owner, count: int = 9) -> None:
    owner.release(some_entries(count))
    client.add(store, "signed", str(owner.repository), owner.root)
    client.pull(store, "signed")


def test_an_empty_store_has_no_lists(store: ListStore) -> None:
    assert store.names() == ()
    assert store.infos(NOW) == ()
    with store.open(None, NOW) as opened:
        assert opened.handles == ()


def test_every_list_asked_for_is_reported_and_usable_ones_open(store: ListStore, owner: Owner) -> None:
    pulled(store, owner)
    store.import_entries("own", some_entries(4), "entries")
    client.add(store, "never", str(owner.repository), owner.root)
    assert store.names() == ("never", "own", "signed")
    with store.open(["signed", "none", "own", "never", "own"], NOW) as opened:
        assert [(found.name, found.state) for found in opened.infos] == [
            ("signed", TrustState.FRESH),
            ("none", TrustState.MISSING),
            ("own", TrustState.LOCAL),
            ("never", TrustState.MISSING),
        ]
        assert [handle.name for handle in opened.handles] == ["signed", "own"]
        assert len(CompiledIndex.open(opened.handles)) == 13 + CANARIES
        assert "hashscan lists pull never" in (opened.infos[3].problem or "")
        assert "hashscan lists add" in (opened.infos[1].problem or "")
    assert [found.name for found in store.infos(NOW)] == ["never", "own", "signed"]


def test_staleness_comes_with_time_and_says_so(store: ListStore, owner: Owner) -> None:
    pulled(store, owner)
    fresh = info(store, "signed")
    assert fresh.expires is not None
    with store.open(None, NOW + timedelta(days=3, hours=2)) as opened:
        stale = opened.infos[0]
        assert (stale.state, stale.expires) == (TrustState.STALE, fresh.expires)
        assert "lists pull" in (stale.problem or "")
        assert len(opened.handles) == 1


def test_decay_and_tampering_are_distinguished(store: ListStore, owner: Owner) -> None:
    pulled(store, owner)
    folder = store.folder("signed")
    (version,) = folder.versions.iterdir()
    (column,) = version.glob("columns/base.pdq.ids.npy")
    good = column.read_bytes()
    column.write_bytes(good[:-1])
    assert info(store, "signed").state is TrustState.DAMAGED
    assert info(store, "signed").key_ids
    column.unlink()
    assert info(store, "signed").state is TrustState.DAMAGED
    column.write_bytes(good)
    assert info(store, "signed").state is TrustState.FRESH
    timestamp = version / "metadata" / "timestamp.json"
    document = json.loads(timestamp.read_bytes())
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"
    timestamp.write_text(json.dumps(document))
    assert info(store, "signed").state is TrustState.UNVERIFIABLE
    timestamp.write_bytes(b"x" * 6_000_000)
    assert info(store, "signed").state is TrustState.UNVERIFIABLE
    with store.open(None, NOW) as opened:
        assert opened.handles == ()


def test_a_store_of_another_root_is_not_trusted(store: ListStore, owner: Owner, tmp_path: Path) -> None:
    pulled(store, owner)
    store.folder("signed").root.write_bytes(Owner.begin(tmp_path / "other").root)
    assert info(store, "signed").state is TrustState.UNVERIFIABLE


def test_a_link_to_nothing_is_damage(store: ListStore, owner: Owner) -> None:
    pulled(store, owner)
    link = store.folder("signed").active_link
    link.unlink()
    link.symlink_to("versions/none")
    assert info(store, "signed").state is TrustState.DAMAGED


# ---- local lists


def test_a_local_list_is_replaced_at_once(store: ListStore) -> None:
    first = store.import_entries("own", some_entries(4), "a.csv")
    assert (first.state, first.version, first.entries) == (TrustState.LOCAL, 1, 4)
    second = store.import_entries("own", some_entries(2), "b.csv")
    assert (second.version, second.entries) == (2, 2)
    assert info(store, "own") == second
    assert second.by_algorithm == (("md5", 1), ("pdq", 1))
    assert second.categories == ("A1", "B2")
    assert len(list(store.folder("own").versions.iterdir())) == 1


def test_a_failed_import_changes_nothing(store: ListStore) -> None:
    def breaking_off() -> object:
        yield from some_entries(3)
        raise ListFormatError("b.csv, line 4: torn")

    with pytest.raises(ListFormatError, match="torn"):
        store.import_entries("own", breaking_off(), "b.csv")  # type: ignore[arg-type]
    assert store.names() == ()
    assert info(store, "own").state is TrustState.MISSING
    store.import_entries("own", some_entries(4), "a.csv")
    before = tree(store.folder("own").path)
    for entries in (breaking_off(), [], [*some_entries(2), *some_entries(1, algorithms=["sha1"])]):
        with pytest.raises(ListFormatError):
            store.import_entries("own", entries, "b.csv")  # type: ignore[arg-type]
    assert tree(store.folder("own").path) == before
    assert info(store, "own").entries == 4


def test_a_signed_list_is_not_overwritten(store: ListStore, owner: Owner) -> None:
    pulled(store, owner)
    with pytest.raises(UsageError, match="not imported"):
        store.import_entries("signed", some_entries(2), "entries")
    assert info(store, "signed").state is TrustState.FRESH


@pytest.mark.parametrize(
    "spoil",
    [
        lambda version: (version / "targets" / "md5.value.npy").write_bytes(b"short"),
        lambda version: (version / "targets" / "md5.ids.npy").unlink(),
        lambda version: (version / "manifest.json").write_bytes(b"{}"),
        lambda version: (version / "manifest.json").unlink(),
        lambda version: (version / "checksums.json").write_bytes(b"\xff"),
        lambda version: (version / "checksums.json").write_bytes(b"[]"),
    ],
)
def test_decay_of_a_local_list_is_noticed(store: ListStore, spoil: object) -> None:
    store.import_entries("own", some_entries(4), "entries")
    (version,) = store.folder("own").versions.iterdir()
    spoil(version)  # type: ignore[operator]
    found = info(store, "own")
    assert found.state is TrustState.DAMAGED
    assert "hashscan lists import" in (found.problem or "")
    store.import_entries("own", some_entries(4), "entries")
    assert info(store, "own").state is TrustState.LOCAL


def test_one_flipped_bit_of_a_local_list_is_noticed(store: ListStore) -> None:
    store.import_entries("own", some_entries(4), "entries")
    (path,) = store.folder("own").versions.glob("*/targets/md5.value.npy")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert info(store, "own").state is TrustState.DAMAGED


# ---- names, removal, use by others


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "é", "-a", ".a", "a\n", "a\0", "x" * 65])
def test_names_play_no_tricks(store: ListStore, name: str) -> None:
    with pytest.raises(UsageError):
        store.open([name], NOW)
    with pytest.raises(UsageError):
        store.import_entries(name, some_entries(1), "entries")
    with pytest.raises(UsageError):
        store.remove(name)
    assert store.names() == ()


def test_removal_leaves_nothing_of_the_list(store: ListStore, owner: Owner) -> None:
    pulled(store, owner)
    store.import_entries("own", some_entries(4), "entries")
    root = store.folder("own").path.parent
    (root / ".tmp-signed-0123456789abcdef" / "left by a killed removal").mkdir(parents=True)
    store.remove("signed")
    store.remove("own")
    assert tree(root) == {".own.lock", ".signed.lock"}
    with pytest.raises(UsageError, match="there is no list"):
        store.remove("own")
    with pytest.raises(UsageError, match="comes with hashscan"):
        store.remove("demo")


def test_an_open_list_is_neither_removed_nor_cleaned_up(store: ListStore, owner: Owner) -> None:
    pulled(store, owner)
    opened = store.open(None, NOW)
    with pytest.raises(LockedError, match="a scan or a service is using"):
        store.remove("signed")
    owner.release(some_entries(3, start=9))
    client.pull(store, "signed")
    assert info(store, "signed").version == 2
    assert len(CompiledIndex.open(opened.handles)) == 9 + CANARIES
    opened.close()
    owner.release(some_entries(3, start=12))
    client.pull(store, "signed")
    assert [path.name[0] for path in store.folder("signed").versions.iterdir()] == ["3"]
    store.remove("signed")


WORKER = """
import pickle, sys
import numpy as np
from hashscan.lists.index import CompiledIndex
index = CompiledIndex.open(pickle.loads(bytes.fromhex(sys.argv[1])))
rows = index.query("pdq", np.zeros((1, 32), dtype=np.uint8), np.array([256]))[1]
print(len(index), sorted(index.entry("pdq", int(row))[1] for row in rows))
print([name for name in ("tuf", "securesystemslib", "cryptography", "urllib3") if name in sys.modules])
"""


@pytest.mark.integration
def test_a_worker_opens_a_handle_without_tuf(store: ListStore, owner: Owner) -> None:
    pulled(store, owner)
    with store.open(None, NOW) as opened:
        handles = pickle.dumps(opened.handles).hex()
        done = subprocess.run(
            [sys.executable, "-c", WORKER, handles], capture_output=True, text=True, check=True
        )
    assert done.stdout == f"{9 + CANARIES} ['canary-4', 'e1', 'e4', 'e7']\n[]\n"


@pytest.mark.integration
def test_importing_the_room_imports_no_tuf() -> None:
    code = """
import sys
from hashscan.lists import index, store
from hashscan.lists.pulling import client
from hashscan.lists.formats import csv_and_ndjson
print([name for name in ("tuf", "securesystemslib", "cryptography", "urllib3") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---- the list that comes with the program


@pytest.fixture
def shipped(tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the installed package of lists."""
    owner.release(some_entries(9, categories=["test"]))
    (tmp_path / "package").mkdir()
    demo = owner.copy("demo").rename(tmp_path / "package" / "demo")
    (demo / "root.json").write_bytes(owner.root)
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path / "package")
    return demo


def test_the_demo_list_opens_by_name_only_and_writes_nothing(store: ListStore, shipped: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [shipped, *shipped.rglob("*")]}
    with store.open(["demo"], NOW) as opened:
        assert opened.infos[0].state is TrustState.FRESH
        assert opened.infos[0].categories == ("test",)
        assert len(CompiledIndex.open(opened.handles)) == 9 + CANARIES
    assert store.names() == ()
    assert {path: path.stat().st_mtime_ns for path in [shipped, *shipped.rglob("*")]} == before
    assert not store.folder("own").path.parent.exists()


def test_a_tampered_demo_list_is_refused(store: ListStore, shipped: Path) -> None:
    (column,) = shipped.glob("targets/*.pdq.0000.value.npy")
    column.write_bytes(column.read_bytes()[:-1] + b"!")
    assert info(store, "demo").state is TrustState.DAMAGED
    (shipped / "root.json").unlink()
    assert info(store, "demo").state is TrustState.MISSING


def test_the_name_demo_is_reserved(store: ListStore, owner: Owner) -> None:
    with pytest.raises(UsageError, match="comes with hashscan"):
        store.import_entries("demo", some_entries(1), "entries")
    with pytest.raises(UsageError, match="comes with hashscan"):
        client.add(store, "demo", str(owner.repository), owner.root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_list_of_another_user_is_reported(store: ListStore) -> None:
    store.import_entries("own", some_entries(4), "entries")
    folder = store.folder("own").path
    folder.chmod(0)
    try:
        assert info(store, "own").state is TrustState.DAMAGED
        assert "Permission denied" in (info(store, "own").problem or "")
        assert [found.name for found in store.infos(NOW)] == ["own"]
    finally:
        folder.chmod(0o700)


ONE, TWO = (Entry(f"e-{n}", "md5", bytes([n]) * 16, "A1") for n in (1, 2))


def fingerprint(folder: Path, *imports: list[Entry], name: str = "ours") -> str:
    store = ListStore(folder)
    for entries in imports:
        store.import_entries(name, entries, "test")
    with store.open([name], datetime.now(UTC)) as opened:
        return content_fingerprint(opened.handles[0])


def test_the_same_entries_imported_elsewhere_and_at_another_time(tmp_path: Path) -> None:
    first = fingerprint(tmp_path / "a", [ONE, TWO])
    # The second version there, the first here.
    assert fingerprint(tmp_path / "b", [ONE], [ONE, TWO]) == first
    assert len(first) == 64


def test_any_difference_tells(tmp_path: Path) -> None:
    other_id = Entry("x-1", "md5", ONE.value, "A1")
    other_category = Entry("e-1", "md5", ONE.value, "B1")
    other_value = Entry("e-1", "md5", bytes(16), "A1")
    other_algorithm = Entry("e-1", "xxh3_128", ONE.value, "A1")
    lists = [[ONE], [TWO], [ONE, TWO], [other_id], [other_category], [other_value], [other_algorithm]]
    found = {fingerprint(tmp_path / str(number), entries) for number, entries in enumerate(lists)}
    assert len(found) == len(lists)
    assert fingerprint(tmp_path / "name", [ONE], name="others") not in found


def test_the_list_that_comes_along_has_one(tmp_path: Path) -> None:
    found = set()
    for folder in (None, tmp_path):
        with ListStore(folder).open(["demo"], datetime.now(UTC)) as opened:
            found.add(content_fingerprint(opened.handles[0]))
    assert len(found) == 1
