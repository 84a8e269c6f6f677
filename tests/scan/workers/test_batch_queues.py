"""Tests of scan.workers.batch_queues."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import pytest

from hashscan.model import Batch, FileStat, Item
from hashscan.scan.workers import batch_queues
from hashscan.scan.workers.batch_queues import (
    LEASED_PER_OWNER_MAX,
    OWNER_SPARSE,
    LargeFileQueue,
    LeasedFiles,
    owner_of,
)

LIMIT = 1 << 30


def lone(name: bytes, uid: int, size: int) -> Batch:
    return Batch("file", b"/t", b"", 1, 2, (Item(name, FileStat(1, 3, size, 0, 0, 1, uid)),))


def filled(*files: tuple[int, int]) -> LargeFileQueue:
    """A queue of files by owner and size."""
    waiting = LargeFileQueue()
    for number, (uid, size) in enumerate(files):
        waiting.put(lone(b"%d" % number, uid, size), size)
    return waiting


def order(waiting: LargeFileQueue, workers: int = 1) -> list[tuple[int, int]]:
    """Owner and size of all, each read before the next is taken."""
    found = []
    while (batch := waiting.take(workers, LIMIT)) is not None:
        stat = batch.items[0].stat
        found.append((stat.uid, stat.size))
        waiting.done(batch, stat.size, 0)
    waiting.close()
    return found


def test_one_owners_many_files_do_not_delay_anothers() -> None:
    files = [(7, 50 << 20)] * 1000 + [(8, 100 << 20)]
    found = order(filled(*files))
    assert Counter(found) == Counter(files)
    assert found.index((8, 100 << 20)) < 5


def test_an_owners_smallest_comes_first_and_terabytes_last() -> None:
    found = order(filled((7, 15 << 40), (7, 40 << 20), (8, 1 << 40), (9, 60 << 20)))
    assert found[-2:] == [(8, 1 << 40), (7, 15 << 40)]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_worker_is_left_for_others(workers: int) -> None:
    waiting = filled(*[(7, 1 << 26)] * 10, (8, 1 << 40))
    taken = []
    while len(taken) < workers and (batch := waiting.take(workers, LIMIT)) is not None:
        taken.append(batch.items[0].stat.uid)
    assert taken.count(7) == max(1, workers - 1)
    assert taken.count(8) == (workers > 1)
    waiting.close()


def test_nobody_else_waiting_gives_all_workers() -> None:
    waiting = filled(*[(7, 1 << 26)] * 10)
    assert all(waiting.take(4, LIMIT) for _ in range(4))
    assert waiting.running == 4
    waiting.close()


def test_the_holes_of_an_owner_are_bounded_together() -> None:
    waiting = filled(*[(7, 1 << 40)] * (OWNER_SPARSE + 2), (8, 1 << 41))
    allowed = []
    while (batch := waiting.take(1, LIMIT)) is not None:
        allowed.append((batch.items[0].stat.uid, batch.max_sparse))
        waiting.done(batch, 0, LIMIT if batch.max_sparse else 0)
    assert allowed.count((7, LIMIT)) == OWNER_SPARSE
    assert allowed.count((7, 0)) == 2
    assert allowed.count((8, LIMIT)) == 1
    waiting.close()


def test_a_smaller_file_that_comes_late_is_not_behind_its_owners_larger_ones() -> None:
    waiting = filled((7, 1 << 40), (8, 1 << 30))
    waiting.put(lone(b"late", 7, 1 << 26), 1 << 26)
    assert order(waiting) == [(7, 1 << 26), (8, 1 << 30), (7, 1 << 40)]


def test_nothing_is_lost_between_put_and_take() -> None:
    batch = lone(b"n", 5, 1 << 26)
    waiting = LargeFileQueue()
    waiting.put(batch, 1 << 26)
    assert waiting
    found = waiting.take(1, LIMIT)
    assert found is not None
    assert pickle.dumps(found.items) == pickle.dumps(batch.items)
    assert owner_of(found).uid == 5
    assert not waiting
    waiting.close()


def test_the_temporary_file_may_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hashscan.errors import OutputError

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(OutputError, match="large files"):
        filled((7, 1 << 26))


BATCH = Batch("file", b"/target", b"folder", 1, 2, ())


def item(number: int, uid: int = 5) -> Item:
    return Item(b"%d" % number, FileStat(1, number, 3, 0, 0, 1, uid))


def test_files_come_back_in_their_batches_and_none_is_put_off_twice() -> None:
    files = LeasedFiles()
    assert files.seconds == 0
    other = Batch("file", b"/target", b"other", 1, 3, ())
    for batch, number in ((BATCH, 1), (other, 2), (BATCH, 3)):
        assert files.defer(Batch("file", b"/target", batch.folder, 1, batch.inode, (item(9),)), item(number))
    assert files.seconds > 0
    taken = list(files.take())
    assert [(batch.folder, [i.name for i in batch.items]) for batch in taken] == [
        (b"folder", [b"1", b"3"]),
        (b"other", [b"2"]),
    ]
    assert files.seconds == 0
    assert not files.defer(BATCH, item(1))


def test_one_owner_can_have_only_so_many_put_off() -> None:
    files = LeasedFiles()
    assert all(files.defer(BATCH, item(number)) for number in range(LEASED_PER_OWNER_MAX))
    assert not files.defer(BATCH, item(0))
    assert files.defer(BATCH, item(0, uid=6))


@pytest.mark.parametrize(
    ("setting", "seconds"), [("7\n", 7), ("0", 1), ("100000", 60), ("x", 45), (None, 45)]
)
def test_how_long_is_waited_is_the_systems_to_say_within_limits(
    setting: str | None, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_queues, "_LEASE_BREAK_TIME", tmp_path / "setting")
    if setting is not None:
        (tmp_path / "setting").write_text(setting)
    files = LeasedFiles()
    assert files.defer(BATCH, item(1))
    assert files.seconds == pytest.approx(seconds, abs=0.5)


def test_large_pictures_in_small_files_count_as_their_cost() -> None:
    """So an owner of many doesn't hold back another owner's large file until all of them are decoded."""
    waiting = LargeFileQueue()
    for number in range(100):
        waiting.put(lone(b"%d" % number, 7, 1000), 1 << 30)
    waiting.put(lone(b"film", 8, 3 << 30), 3 << 30)
    found = order(waiting)
    assert found.index((8, 3 << 30)) < 5
    assert len(found) == 101
