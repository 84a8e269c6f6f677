from __future__ import annotations

from datetime import timedelta

import pytest

from hashscan.lists.storage import published_columns
from hashscan.lists.storage.signed_list import OpenedList, open_published
from hashscan.model import TrustState
from tests.lists.builders import NOW, Owner, some_entries
from tests.lists.parts import PartwiseOwner


@pytest.fixture
def partwise(owner: Owner) -> PartwiseOwner:
    return PartwiseOwner(owner)


def opened(partwise: PartwiseOwner, days: int = 0) -> OpenedList:
    owner = partwise.owner
    now = NOW + timedelta(days=days)
    return open_published("test", owner.repository, owner.root, now, remedy="restore it")


def test_a_base_in_single_shards_can_be_opened_as_it_is(partwise: PartwiseOwner) -> None:
    manifest = partwise.release(some_entries(9))
    found = opened(partwise)
    assert (found.info.state, found.info.entries, found.manifest) == (TrustState.FRESH, 9, manifest)
    assert found.handle is not None
    assert found.handle.entries == 9
    assert {files.id_size for files in found.handle.columns} == {2}
    stale = opened(partwise, days=100)
    assert (stale.info.state, stale.manifest) == (TrustState.STALE, manifest)
    assert "restore it" in (stale.info.problem or "")


def test_several_parts_or_shards_are_verified_but_not_opened(
    partwise: PartwiseOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    partwise.release(some_entries(9, categories=["A1"]))
    partwise.release(some_entries(1, start=9, categories=["B2"]), {"md5": [0, 2], "pdq": [1]})
    found = opened(partwise)
    assert (found.info.state, found.info.entries, found.handle) == (TrustState.FRESH, 7, None)
    assert found.info.counts == (("md5", "A1", 1), ("md5", "B2", 1), ("pdq", "A1", 2), ("sha256", "A1", 3))
    monkeypatch.setattr(published_columns, "SHARD_SIZE", 100)
    partwise.compact(3)
    found = opened(partwise)
    assert (found.info.entries, found.handle) == (7, None)
    assert found.manifest is not None
    assert len(found.manifest.parts) == 1


@pytest.mark.parametrize("name", ["1.pdq.0000.ids.npy", "2.md5.withdrawn.npy", "2.pdq.0000.category.npy"])
def test_damage_is_noticed(partwise: PartwiseOwner, name: str) -> None:
    partwise.release(some_entries(9))
    partwise.release(some_entries(3, start=9), {"md5": [0]})
    path = partwise.owner.target(name)
    good = path.read_bytes()
    for spoilt in (good[:-1] + bytes([good[-1] ^ 1]), good[:-1], b""):
        path.write_bytes(spoilt)
        found = opened(partwise)
        assert (found.info.state, found.manifest, found.handle) == (TrustState.DAMAGED, None, None)
        assert "restore it" in (found.info.problem or "")
    path.unlink()
    assert opened(partwise).info.state is TrustState.DAMAGED


@pytest.mark.parametrize(
    ("name", "end"),
    [("1.pdq.0000.category.npy", b"\x63"), ("1.pdq.0000.ids.npy", b"\n"), ("2.md5.withdrawn.npy", b"\x7f")],
)
def test_rows_without_meaning_are_the_owners_fault(partwise: PartwiseOwner, name: str, end: bytes) -> None:
    partwise.release(some_entries(9))
    partwise.release(some_entries(3, start=9), {"md5": [0]})
    partwise.files[name] = partwise.files[name][:-1] + end
    partwise.sign(partwise.files)
    found = opened(partwise)
    assert (found.info.state, found.manifest) == (TrustState.DAMAGED, None)
    assert "owner signed columns that can't be used" in (found.info.problem or "")
