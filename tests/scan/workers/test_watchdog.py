"""Owners whose files have stuck workers: what further ones may cost, and that no other owner pays for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hashscan.model import Batch, BatchResult, FileResult, FileStat, Item, StoredContentData, Verdict
from hashscan.scan.workers.pool import merge_results
from hashscan.scan.workers.watchdog import StuckLimits, StuckOwners

LIMITS = StuckLimits(seconds=10.0, again_seconds=2.0, often=3, owner_seconds=40.0)


def batch(owners: Sequence[int], source: str = "file") -> Batch:
    items = tuple(
        Item(b"%d" % number, FileStat(1, number + 1, 1, 0, 0, 1, owner))
        for number, owner in enumerate(owners)
    )
    return Batch(source, b"/t", b"", 1, 1, items)


def test_an_owner_gets_less_and_less() -> None:
    stuck = StuckOwners(LIMITS)
    assert not stuck
    costs = 0.0
    times = 0
    while (seconds := stuck.patience(batch([7]))) > 0:
        assert seconds == (10.0 if times < 3 else 2.0)
        stuck.charge(batch([7]), seconds)
        costs, times = costs + seconds, times + 1
    assert stuck
    assert (costs, times) == (40.0, 8)
    assert stuck.patience(batch([8])) == stuck.patience(batch([7, 8])) == 10.0


def test_with_the_limits_as_they_are() -> None:
    stuck, limits = StuckOwners(StuckLimits()), StuckLimits()
    times = 0
    while (seconds := stuck.patience(batch([7]))) > 0:
        stuck.charge(batch([7]), seconds)
        times += 1
    # As the module's description and SECURITY.md say.
    assert (times, limits.seconds, limits.again_seconds) == (33, 300, 30)


def test_nobody_pays_for_another() -> None:
    stuck = StuckOwners(LIMITS)
    stuck.charge(batch([7, 8]), 1000.0)
    assert stuck.patience(batch([7])) == stuck.patience(batch([8])) == 10.0
    for _ in range(3):
        stuck.charge(batch([7]), 10.0)
    assert stuck.parts(batch([8, 7, 9, 7, 8]).items) == [[0, 2, 4], [1, 3]]
    assert stuck.parts(batch([7, 7]).items) == [[0, 1]]
    assert stuck.parts(batch([8, 9]).items) == [[0, 1]]


def test_downloads_are_not_watched() -> None:
    stuck = StuckOwners(LIMITS)
    stuck.charge(batch([7]), 1000.0)
    assert stuck.patience(batch([7], "s3")) == math.inf


def test_the_answers_to_parts_come_in_the_order_of_the_batch() -> None:
    whole = batch([8, 7, 9, 7])
    kept = StoredContentData((b"x",), -1, None, confirmed=False)

    def answer(positions: Sequence[int], kept: tuple[StoredContentData | None, ...]) -> BatchResult:
        items = [whole.items[position] for position in positions]
        results = tuple(FileResult(item.name, item.stat, Verdict.CLEAN) for item in items)
        return BatchResult(results, 5, kept=kept, deferred=((1, 99),), hole_bytes=2)

    places = [[0, 2], [1, 3]]
    got = merge_results(places, [answer(places[0], (kept, None)), answer(places[1], ())])
    assert [result.name for result in got.results] == [item.name for item in whole.items]
    assert got.kept == (kept, None, None, None)
    assert got.deferred == ((2, 99), (3, 99))
    assert (got.bytes_read, got.hole_bytes) == (10, 4)
