from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.errors import NoUsableListError, UsageError
from hashscan.lists import difference as module
from hashscan.lists.difference import activate, difference, discard
from hashscan.lists.pulling import client
from hashscan.lists.store import ListStore
from hashscan.model import ALGORITHMS, Entry
from tests.examples import examples
from tests.lists.builders import Owner, some_entries
from tests.lists.parts import PartwiseOwner
from tests.lists.pulling.test_activation import damage


@pytest.fixture
def parts(owner: Owner, store: ListStore) -> PartwiseOwner:
    """A list of twelve entries, in use as `mine`."""
    parts = PartwiseOwner(owner)
    parts.release(some_entries(12))
    client.add(store, "mine", str(owner.repository), owner.root)
    client.pull(store, "mine")
    return parts


def found(store: ListStore) -> tuple[Counter[str], Counter[str]]:
    """Ids with algorithm and category of what went and what came, after staging what is published."""
    client.pull(store, "mine", stage=True)
    went, came = Counter[str](), Counter[str]()
    with difference(store, "mine") as compared:
        for change in compared.changes():
            assert len(change) == len(change.ids)
            assert change.values.shape == (len(change), ALGORITHMS[change.algorithm].size)
            names = [f"{change.algorithm} {change.category} {name}" for name in change.ids]
            (came if change.came else went).update(names)
    return went, came


def names(entries: list[Entry]) -> Counter[str]:
    return Counter(f"{entry.algorithm} {entry.category} {entry.id}" for entry in entries)


def test_an_increment_and_its_withdrawals(parts: PartwiseOwner, store: ListStore) -> None:
    before = parts.entries
    parts.release(some_entries(5, start=12), {"md5": [0, 2], "pdq": [3]})
    went, came = found(store)
    assert went == names([entry for entry in before if entry not in parts.entries])
    assert sum(went.values()) == 3
    assert came == names(some_entries(5, start=12))


def test_a_compacted_list_is_the_same_list(parts: PartwiseOwner, store: ListStore) -> None:
    parts.release(some_entries(5, start=12), {"md5": [0, 2]})
    client.pull(store, "mine")
    parts.compact(3)
    assert found(store) == (Counter(), Counter())
    parts.release(some_entries(1, start=20), {"md5": [0]})
    went, came = found(store)
    assert (sum(went.values()), sum(came.values())) == (1, 1)


def test_a_changed_entry_went_and_came(parts: PartwiseOwner, store: ListStore) -> None:
    old = parts.rows["md5"][1]
    new = Entry(old.id, "md5", old.value, "other")
    parts.release([new], {"md5": [1]})
    assert found(store) == (names([old]), names([new]))


def test_an_entry_that_went_and_came_again_is_no_change(parts: PartwiseOwner, store: ListStore) -> None:
    """Its shard then stands twice in the list, word for word."""
    only = some_entries(1, start=50, algorithms=["sha1"])
    parts.release(only)
    client.pull(store, "mine")
    parts.release([], {"sha1": [0]})
    assert found(store) == (names(only), Counter())
    parts.release(only)
    assert found(store) == (Counter(), Counter())
    activate(store, "mine")
    parts.release([], {"sha1": [1]})
    assert found(store) == (names(only), Counter())


def test_a_first_version_came(owner: Owner, store: ListStore) -> None:
    PartwiseOwner(owner).release(some_entries(7))
    client.add(store, "mine", str(owner.repository), owner.root)
    assert found(store) == (Counter(), names(some_entries(7)))
    with difference(store, "mine") as compared:
        assert compared.old is None
        assert compared.new.version == 1


def test_what_both_share_is_not_read(
    parts: PartwiseOwner, store: ListStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.release(some_entries(2, start=12, algorithms=["pdq"]), {"md5": [0]})
    client.pull(store, "mine", stage=True)
    read = []
    block = module._Shard.block

    def noted(shard: module._Shard) -> object:
        read.append(shard.columns.place)
        return block(shard)

    monkeypatch.setattr(module._Shard, "block", noted)
    with difference(store, "mine") as compared:
        assert sum(len(change) for change in compared.changes()) == 3
    assert set(read) == {"base.md5", "delta.pdq"}


def test_versions_are_kept_while_they_are_compared(parts: PartwiseOwner, store: ListStore) -> None:
    parts.release(some_entries(2, start=12))
    client.pull(store, "mine", stage=True)
    with difference(store, "mine") as compared:
        discard(store, "mine")
        assert sum(len(change) for change in compared.changes()) == 2


def test_without_two_versions(parts: PartwiseOwner, store: ListStore) -> None:
    for name in ("mine", "none"):
        with pytest.raises(UsageError, match="nothing to compare"), difference(store, name):
            pass


@pytest.mark.parametrize("which", ["active", "staged"])
def test_a_damaged_version(parts: PartwiseOwner, store: ListStore, which: str) -> None:
    parts.release(some_entries(2, start=12))
    client.pull(store, "mine", stage=True)
    folder = store.folder("mine")
    for version in folder.versions.iterdir():
        shutil.copy(version / "columns" / "base.pdq.value.npy", version / "own")
        (version / "own").rename(version / "columns" / "base.pdq.value.npy")
    damage(folder.active() if which == "active" else folder.staged())
    with pytest.raises(NoUsableListError, match="can't be relied on"), difference(store, "mine"):
        pass


@given(data=st.data())
@settings(deadline=None, max_examples=examples(15))
def test_any_history(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("history")
    owner, store = Owner.begin(folder / "owner"), ListStore(folder / "lists")
    parts = PartwiseOwner(owner)
    parts.release(some_entries(6, algorithms=["md5", "pdq"]))
    client.add(store, "mine", str(owner.repository), owner.root)
    client.pull(store, "mine")
    fresh = 6
    in_use = parts.entries
    for _ in range(data.draw(st.integers(1, 4))):
        step: Callable[[], object]
        if data.draw(st.booleans()):
            step = lambda: parts.compact(parts.parts[-1].version + 1)  # noqa: E731
        else:
            added = some_entries(data.draw(st.integers(1, 4)), start=fresh, algorithms=["md5", "pdq"])
            fresh += len(added)
            active = {
                name: [row for row in range(len(rows)) if row not in parts.gone.get(name, set())]
                for name, rows in parts.rows.items()
            }
            gone = {
                name: sorted(data.draw(st.sets(st.sampled_from(rows), max_size=2)))
                for name, rows in active.items()
                if len(rows) > 2
            }
            step = lambda: parts.release(added, {name: rows for name, rows in gone.items() if rows})  # noqa: B023, E731
        step()
        went, came = found(store)
        now = parts.entries
        assert went == names([entry for entry in in_use if entry not in now])
        assert came == names([entry for entry in now if entry not in in_use])
        if data.draw(st.booleans()) and store.folder("mine").staged() is not None:
            activate(store, "mine")
            in_use = now
    shutil.rmtree(Path(folder))
