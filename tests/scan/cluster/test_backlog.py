"""Distribution of batches, and the cause when a worker is lost."""

from __future__ import annotations

from unittest.mock import sentinel

import pytest

from hashscan.model import Batch, BatchResult, FileResult, FileStat, Item, Verdict

pytest.importorskip("distributed")

from hashscan.scan.cluster.backlog import BATCHES_PER_WORKER, LOSSES_MAX, RETURN_SECONDS, Backlog, Slot, Work
from hashscan.scan.cluster.messages import Ready

STAT = FileStat(1, 2, 3, 4, 5, 6, 7)


class Owed:
    """Work, and what became of it."""

    def __init__(self, *names: str) -> None:
        self.results: list[BatchResult] = []
        items = tuple(Item(name.encode(), STAT) for name in names)
        self.work = Work(Batch("file", b"/t", b"", 1, 2, items), self.results.append, self.fail)

    def fail(self, error: BaseException) -> None:
        raise error

    @property
    def details(self) -> list[str]:
        (answer,) = self.results
        return [result.detail for result in answer.results]


def slots(*nodes: str) -> list[Slot]:
    return [Slot(f"{node}:{number}", Ready(node, "h", "1", "p")) for number, node in enumerate(nodes)]


def hand_out(backlog: Backlog, to: list[Slot]) -> list[tuple[Slot, Work]]:
    given = []
    for slot, work in backlog.assign(to):
        slot.busy[work] = sentinel.future
        given.append((slot, work))
    return given


def lose(backlog: Backlog, slot: Slot, now: float) -> None:
    works = list(slot.busy)
    slot.busy.clear()
    backlog.lost(works, slot.ready.node, now)


def test_no_worker_has_more_than_two() -> None:
    backlog, workers = Backlog(), slots("n", "n", "m")
    owed = [Owed("a", "b") for _ in range(9)]
    for one in owed:
        backlog.add(one.work)
    given = hand_out(backlog, workers)
    assert [work for _, work in given] == [one.work for one in owed[:6]]
    assert [len(slot.busy) for slot in workers] == [BATCHES_PER_WORKER] * 3
    assert not hand_out(backlog, workers)
    del workers[1].busy[owed[1].work]
    assert hand_out(backlog, workers) == [(workers[1], owed[6].work)]


def test_what_is_put_back_comes_first_and_in_order() -> None:
    backlog, workers = Backlog(), slots("n")
    owed = [Owed(str(number)) for number in range(4)]
    for one in owed:
        backlog.add(one.work)
    hand_out(backlog, workers)
    works = list(workers[0].busy)
    workers[0].busy.clear()
    for _ in range(20):
        # However often: nothing of it is to blame.
        backlog.requeue(works)
        assert [work for _, work in hand_out(backlog, workers)] == works == [one.work for one in owed[:2]]
        workers[0].busy.clear()


def test_a_file_that_kills_two_workers_of_a_node_is_given_up_alone() -> None:
    backlog, workers = Backlog(), slots("n")
    owed = Owed("good", "bad")
    backlog.add(owed.work)
    hand_out(backlog, workers)
    lose(backlog, workers[0], 0.0)
    tried = []
    for _ in range(2):
        ((_, work),) = hand_out(backlog, workers)
        assert work.alone
        # Nothing else goes to a worker that has a file alone.
        assert not hand_out(backlog, workers)
        tried.append(work.batch.items[0].name)
        if work.batch.items[0].name == b"bad":
            lose(backlog, workers[0], 1.0)
            assert not owed.results
            backlog.node_has_new_worker("elsewhere")
            assert not owed.results
            backlog.node_has_new_worker("n")
        else:
            del workers[0].busy[work]
            work.finish(BatchResult((FileResult(b"good", STAT, Verdict.CLEAN),)))
    assert tried == [b"good", b"bad"]
    (answer,) = owed.results
    assert [result.verdict for result in answer.results] == [Verdict.CLEAN, Verdict.UNREADABLE]


def test_machines_that_are_lost_are_no_fault_of_a_file_but_not_for_ever() -> None:
    backlog, workers = Backlog(), slots("a", "b", "c", "d")
    owed = Owed("unlucky")
    backlog.add(owed.work)
    now = 0.0
    ((slot, _),) = hand_out(backlog, workers)
    lose(backlog, slot, now)
    for number in range(LOSSES_MAX):
        assert not owed.results
        ((slot, work),) = hand_out(backlog, workers)
        assert work.alone
        lose(backlog, slot, now)
        backlog.retry_expired_suspects(now + RETURN_SECONDS - 1)
        assert not hand_out(backlog, workers), number
        now += RETURN_SECONDS + 1
        backlog.retry_expired_suspects(now)
    assert owed.details == [f"{LOSSES_MAX} machines were lost while they had it"]


def test_everything_is_given_back_at_the_end() -> None:
    backlog, workers = Backlog(), slots("n", "m")
    alone, suspect, waiting = Owed("a"), Owed("s"), Owed("w")
    for one in (alone, suspect):
        backlog.add(one.work)
    hand_out(backlog, workers)
    for slot in workers:
        lose(backlog, slot, 0.0)
    ((slot, _), _) = hand_out(backlog, workers)
    lose(backlog, slot, 0.0)
    works = list(workers[1].busy)
    workers[1].busy.clear()
    backlog.requeue(works)
    backlog.add(waiting.work)
    for work in backlog.drain():
        work.give_up("over")
    assert [one.details for one in (alone, suspect, waiting)] == [["over"]] * 3
    assert not backlog.drain()
