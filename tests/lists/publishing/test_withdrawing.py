"""Entries that are withdrawn, given again, released in increments and compacted, for owner and
subscribers."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hashscan.errors import ListFormatError, OutputError, UsageError
from hashscan.lists.entries import canary_entries
from hashscan.lists.index.compiled_index import CompiledIndex
from hashscan.lists.publishing import publisher, workspace
from hashscan.lists.publishing.next_version import Pending, PublishedEntries, write_increment
from hashscan.lists.pulling import client
from hashscan.lists.storage import trust
from hashscan.lists.storage.manifest import Manifest
from hashscan.lists.storage.published_columns import write_part
from hashscan.lists.store import ListStore
from hashscan.model import CATEGORIES, Entry, TrustState
from tests.examples import quick_first
from tests.lists.builders import CANARIES, NOW, Owner, some_entries, tree
from tests.lists.conftest import WebServer


def numbers(owner: Owner) -> list[int]:
    return [int(entry.id[1:]) for entry in owner.entries()]


def test_a_withdrawn_entry_is_gone_with_the_next_release(owner: Owner) -> None:
    owner.release(some_entries(9))
    assert owner.publisher.withdraw(["e4", "e0", "e4"]) == 2
    status = owner.publisher.status()
    assert (status.state.waiting, status.state.withdrawing) == (0, 2)
    assert numbers(owner) == list(range(9))
    owner.publisher.add(some_entries(2, start=9), "more")
    info = owner.publisher.release()
    assert (info.version, info.entries) == (2, 9 + CANARIES)
    assert numbers(owner) == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert sum(n for *_, n in info.counts) == 9 + CANARIES
    status = owner.publisher.status()
    assert (status.state.waiting, status.state.withdrawing, status.increments) == (0, 0, 1)
    assert (status.rows, status.compaction_pays) == (11 + CANARIES, True)


def test_an_entry_that_waits_is_taken_out(owner: Owner) -> None:
    owner.publisher.add(some_entries(6), "entries")
    owner.publisher.withdraw(["e1"])
    assert owner.publisher.status().state.waiting == 5
    owner.publisher.release()
    assert numbers(owner) == [0, 2, 3, 4, 5]


def test_a_withdrawn_id_can_be_given_again(owner: Owner) -> None:
    owner.release(some_entries(3))
    corrected = [Entry("e1", "sha512", bytes([number]) * 64, "A2") for number in range(3)]
    with pytest.raises(ListFormatError, match="'e1' is in the list already"):
        owner.publisher.add(corrected[:1], "entries")
    owner.publisher.withdraw(["e1"])
    for entry in corrected[:2]:
        owner.publisher.add([entry], "entries")
        with pytest.raises(ListFormatError, match="'e1' is in the list already"):
            owner.publisher.add([entry], "entries")
        owner.publisher.withdraw(["e1"])
    owner.publisher.add(corrected[2:], "entries")
    assert (owner.publisher.status().state.waiting, owner.publisher.status().state.withdrawing) == (1, 1)
    owner.publisher.release()
    entries = some_entries(3)
    assert owner.entries() == [entries[0], corrected[2], entries[2]]
    # Of the two published rows of that id only the second can be withdrawn still.
    owner.publisher.withdraw(["e1"])
    owner.publisher.release()
    assert owner.entries() == [entries[0], entries[2]]


def test_what_cancels_itself_out_does_not_wait(owner: Owner) -> None:
    owner.release(some_entries(3))
    owner.publisher.add(some_entries(2, start=3), "entries")
    owner.publisher.withdraw(["e3", "e4"])
    with pytest.raises(UsageError, match="nothing waits"):
        owner.publisher.release()
    assert tree(owner.folder / "work" / "pending") == set()


def test_unknown_ids_are_named_and_nothing_changes(owner: Owner) -> None:
    owner.release(some_entries(3))
    owner.publisher.add(some_entries(3, start=3), "entries")
    owner.publisher.withdraw(["e0", "e3"])
    before = tree(owner.folder)
    for ids, message in (
        (["e1", "e9"], "no entry 'e9' in the list$"),
        (["e1", "e77", "e78"], r"no entry 'e77' in the list \(and 1 more"),
        (["e0"], "no entry 'e0'"),
        (["e3"], "no entry 'e3'"),
        (["e1\n"], "can't be the id"),
        (["e1", "é"], "can't be the id"),
        (["\udcff"], "can't be the id"),
        (["x" * 65], "can't be the id"),
        (["e1", canary_entries()[0].id], "the test picture's"),
        ([], "no ids"),
        ([""], "no ids"),
    ):
        with pytest.raises(ListFormatError, match=message) as caught:
            owner.publisher.withdraw(ids)
        assert str(caught.value).isprintable()
    assert tree(owner.folder) == before
    assert (owner.publisher.status().state.waiting, owner.publisher.status().state.withdrawing) == (2, 1)


def test_the_test_picture_is_in_every_base_and_its_ids_are_taken(owner: Owner) -> None:
    with pytest.raises(ListFormatError, match="is in the list already"):
        owner.publisher.add([*some_entries(3), Entry(canary_entries()[0].id, "md5", b"x" * 16, "A1")], "it")
    with pytest.raises(UsageError, match="nothing waits"):
        owner.publisher.release()
    owner.release(some_entries(3))
    owner.release(some_entries(3, start=3))
    owner.publisher.compact()
    counts = [count for count in owner.info().counts if count[1] == "test"]
    assert counts == [(name, "test", 1) for name in ("md5", "pdq", "sha1", "sha256")]


def test_the_last_entry_can_be_withdrawn(owner: Owner, web: WebServer, store: ListStore) -> None:
    """A wrong entry must be silenced even when it is the only one."""
    owner.release(some_entries(1))
    client.add(store, "signed", web.url, owner.root)
    client.pull(store, "signed")
    owner.publisher.withdraw(["e0"])
    owner.publisher.release()
    info = client.pull(store, "signed").info
    assert (info.version, info.state, info.categories) == (2, TrustState.FRESH, ("test",))


def test_compacting_keeps_the_entries_and_what_waits(owner: Owner) -> None:
    with pytest.raises(UsageError, match="no increments"):
        owner.publisher.compact()
    owner.release(some_entries(20))
    with pytest.raises(UsageError, match="no increments"):
        owner.publisher.compact()
    owner.publisher.withdraw(["e3", "e4"])
    owner.release(some_entries(5, start=20))
    owner.publisher.withdraw(["e5", "e21"])
    owner.publisher.add(some_entries(2, start=30), "more")
    before = owner.entries()
    info = owner.publisher.compact()
    assert (info.version, info.entries) == (3, 23 + CANARIES)
    assert owner.entries() == before
    status = owner.publisher.status()
    assert (status.increments, status.rows, status.state.waiting, status.state.withdrawing) == (
        0,
        23 + CANARIES,
        2,
        2,
    )
    owner.publisher.release()
    assert numbers(owner) == [n for n in (*range(25), 30, 31) if n not in (3, 4, 5, 21)]


def test_many_releases_agree_with_a_plain_model(owner: Owner, web: WebServer, store: ListStore) -> None:
    """Random additions, withdrawals, releases and compactions; a subscriber who pulls now and then."""
    chance = random.Random(3)
    published: dict[str, Entry] = {}
    waiting: dict[str, Entry] = {}
    fresh = 0
    owner.release(some_entries(1, start=900))
    published["e900"] = some_entries(1, start=900)[0]
    client.add(store, "signed", web.url, owner.root)
    current = dict(published)
    for _ in range(40):
        action = chance.choice(["add", "add", "withdraw", "withdraw", "release", "compact"])
        if action == "add":
            new = some_entries(chance.randrange(1, 8), start=fresh)
            fresh += len(new)
            again = [name for name in [*published] if name not in current and chance.random() < 0.5]
            new += [Entry(name, "sha1", chance.randbytes(20), "B1") for name in again]
            owner.publisher.add(new, "new")
            current |= {entry.id: entry for entry in new}
        elif action == "withdraw" and len(current) > 1:
            gone = chance.sample(sorted(current), chance.randrange(1, len(current)))
            owner.publisher.withdraw(gone)
            for name in gone:
                del current[name]
        elif action == "release":
            if current == published:
                continue
            owner.publisher.release()
            published = dict(current)
        elif action == "compact" and owner.publisher.status().increments:
            owner.publisher.compact()
        assert {entry.id: entry for entry in owner.entries()} == published
        waiting = {name: entry for name, entry in current.items() if published.get(name) != entry}
        status = owner.publisher.status()
        assert status.state.waiting == len(waiting)
        assert status.state.withdrawing == len([n for n in published if published[n] != current.get(n)])
    pulled = client.pull(store, "signed").info
    assert pulled.entries == len(published) + CANARIES
    with store.open(["signed"], NOW) as opened:
        assert len(CompiledIndex.open(opened.handles)) == len(published) + CANARIES


def test_numbers_of_categories_keep_their_meaning(tmp_path: Path) -> None:
    """In a list whose manifest names fewer categories, in another order."""
    base, increment = tmp_path / "base", tmp_path / "increment"
    base.mkdir()
    increment.mkdir()
    rows = (np.array([b"e0", b"e1"]), np.array([0, 1], dtype=np.uint8), np.zeros((2, 16), dtype=np.uint8))
    part = write_part(base, 1, {"md5": [rows]})
    names = {name: name for name in part.names}
    published = PublishedEntries(base, Manifest("test", 1, NOW, ("B2", "A1"), (part,)), names)
    waiting = [Entry(f"e{2 + n}", "md5", bytes([n]) * 16, name) for n, name in enumerate(CATEGORIES)]
    (tmp_path / "pending").mkdir()
    pending = Pending(tmp_path, (Pending(tmp_path, ()).add("test", waiting, "entries", NOW),))
    manifest = write_increment(increment, published, 2, NOW, pending)
    assert manifest.categories[:2] == ("B2", "A1")
    for path in increment.iterdir():
        path.rename(base / path.name)
    every = PublishedEntries(base, manifest, {name: name for name in manifest.names})
    found = [
        (bytes(entry_id).decode(), CATEGORIES[category])
        for ids, categories, _ in every.active("md5")
        for entry_id, category in zip(ids, categories, strict=True)
    ]
    assert found == [("e0", "B2"), ("e1", "A1"), *((entry.id, entry.category) for entry in waiting)]


def test_an_increment_adds_only_its_own_files(owner: Owner) -> None:
    owner.release(some_entries(30))
    before = tree(owner.targets)
    owner.publisher.withdraw(["e0", "e1"])
    owner.release(some_entries(2, start=30, algorithms=["md5"]))
    assert {name.split(".", 1)[1] for name in tree(owner.targets) - before} == {
        "manifest.json",
        *(f"2.md5.0000.{column}.npy" for column in ("ids", "category", "value")),
        "2.md5.withdrawn.npy",
        "2.pdq.withdrawn.npy",
    }


def test_more_increments_than_can_be_read_are_refused(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "PARTS_MAX", 2)
    monkeypatch.setattr(workspace, "_MANY_INCREMENTS", 1)
    owner.release(some_entries(2))
    owner.release(some_entries(2, start=2))
    owner.publisher.add(some_entries(2, start=4), "more")
    with pytest.raises(UsageError, match="has 1 increments, and subscribers read no more"):
        owner.publisher.release()
    assert owner.publisher.status().compaction_pays
    owner.publisher.compact()
    owner.publisher.release()
    assert numbers(owner) == list(range(6))


def test_damage_to_what_waits_is_named(owner: Owner) -> None:
    owner.release(some_entries(3))
    owner.publisher.withdraw(["e0"])
    (path,) = (owner.folder / "work" / "pending").rglob("ids.npy")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"9")
    with pytest.raises(OutputError, match=r"withdrawals waiting in .* are lost"):
        owner.publisher.release()
    path.unlink()
    with pytest.raises(OutputError, match=r"withdrawals waiting in .* are lost"):
        owner.publisher.add(some_entries(1, start=5), "more")
    path.write_bytes(data)
    owner.publisher.add(some_entries(2, start=5), "more")
    (column,) = (owner.folder / "work" / "pending").rglob("md5.value.npy")
    column.write_bytes(column.read_bytes()[:-1] + b"!")
    with pytest.raises(OutputError, match=r"entries waiting in .* are lost"):
        owner.publisher.release()


def test_an_old_working_folder_is_not_worked_with(owner: Owner) -> None:
    state = owner.folder / "work" / "publisher.json"
    owner.release(some_entries(3))
    old = state.read_bytes()
    owner.release(some_entries(3, start=3))
    state.write_bytes(old)
    # Nothing is lost as long as nothing waits.
    assert owner.publisher.status().state.released == 2
    owner.publisher.add(some_entries(1, start=8), "more")
    document = json.loads(state.read_bytes())
    state.write_bytes(json.dumps(document | {"released": 1}).encode())
    with pytest.raises(OutputError, match="left behind at version 1, but 2 is published") as caught:
        owner.publisher.release()
    assert str(owner.folder / "work" / "pending") in caught.value.remedy


@pytest.mark.parametrize(
    "spoilt",
    [
        {"kind": "add", "name": "0" * 16, "entries": 0},
        {"kind": "add", "name": "../../keys", "entries": 1},
        {"kind": "sell", "name": "0" * 16, "entries": 1},
        {"kind": "withdraw", "name": "0" * 16, "ids": 1, "published": 2, "id_size": 1, "sum": "0" * 32},
        {"kind": "withdraw", "name": "0" * 16, "ids": 1, "published": 1, "id_size": 65, "sum": "0" * 32},
        {"kind": "withdraw", "name": "0" * 16, "ids": 1, "published": 1, "id_size": 1, "sum": "x"},
        ["add"],
    ],
)
def test_spoilt_operations_are_refused(owner: Owner, spoilt: object) -> None:
    path = owner.folder / "work" / "publisher.json"
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | {"pending": [spoilt]}).encode())
    with pytest.raises(OutputError, match="damaged or of another version"):
        owner.publisher.status()


def test_a_file_of_ids_may_be_of_any_length(owner: Owner, tmp_path: Path) -> None:
    owner.release(some_entries(3000, algorithms=["md5"]))
    assert owner.publisher.withdraw(f"e{number}" for number in range(0, 3000, 2)) == 1500
    owner.publisher.release()
    assert numbers(owner) == list(range(1, 3000, 2))


def test_a_list_that_grew_too_long_for_its_subscribers_is_not_published(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.release(some_entries(3))
    owner.publisher.add(some_entries(3, start=3), "more")
    monkeypatch.setattr(trust.LIMITS, "targets_max_length", 3000)
    with pytest.raises(UsageError, match=r"2\.targets\.json would have \d+ bytes, and subscribers"):
        owner.publisher.release()
    monkeypatch.undo()
    assert owner.info().version == 1
    assert owner.publisher.release().version == 2


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from hashscan.errors import OutputError
from hashscan.lists.publishing.publisher import Publisher
from tests.examples import quick_first
publisher = Publisher(Path(sys.argv[1]))
publisher.status()  # imports what is imported on first use
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    getattr(publisher, sys.argv[2])()
except OutputError as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize(
    ("action", "room"),
    quick_first(
        [
            *(("release", 50), ("release", 1000), ("release", 2000)),
            *(("compact", 50), ("compact", 2000), ("refresh", 50), ("rotate", 50), ("rotate", 1000)),
        ],
        2,
    ),
)
def test_a_full_disk_leaves_the_old_version(owner: Owner, action: str, room: int) -> None:
    owner.release(some_entries(300))
    owner.release(some_entries(300, start=300))
    owner.publisher.add(some_entries(300, start=600), "more")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(owner.folder / "work"), action, str(room)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("12 ")
    assert "File too large" in done.stdout
    info = owner.info()
    assert (info.state, info.version) == (TrustState.FRESH, 2)
    assert owner.publisher.status().state.waiting == 300
    getattr(owner.publisher, action)()
    owner.publisher.refresh()
