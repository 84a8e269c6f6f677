"""The outbox of alerts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import RETENTION_SECONDS, Outbox
from hashscan.state_dir import StateDir


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Ledger(StateDir(tmp_path)) as ledger:
        yield Outbox(ledger)


def kept(outbox: Outbox, key: str, made: int = 1000, kinds: tuple[str, ...] = ("notify", "exec")) -> int:
    number = outbox.add([key], made, {"key": key}, kinds)
    assert number is not None
    return number


def test_what_was_reported_is_never_reported_again(outbox: Outbox) -> None:
    first = kept(outbox, "overdue:1")
    assert outbox.unreported(["overdue:1", "overdue:2"]) == ["overdue:2"]
    assert outbox.add(["overdue:1"], 1001, {}, ["notify"]) is None
    outbox.drop([first])
    outbox.prune(1000 + RETENTION_SECONDS + 1)
    assert outbox.listed(10) == []
    assert outbox.add(["overdue:1"], 9999, {}, ["notify"]) is None


def test_an_alert_waits_until_all_channels_there_are_have_it(outbox: Outbox) -> None:
    number = kept(outbox, "a")
    outbox.sent([number], "notify:1", "one", 1001)
    outbox.complete_kind("notify", ["notify:1", "notify:2"])
    assert [one.id for one in outbox.waiting_for("notify:2", "notify")] == [number]
    assert outbox.waiting_for("notify:1", "notify") == []
    outbox.sent([number], "notify:2", "two", 1002)
    outbox.complete_kind("notify", ["notify:1", "notify:2"])
    (one,) = outbox.listed(0)
    assert (one.waits, one.sent, one.document) == (("exec",), ("one", "two"), {"key": "a"})
    outbox.complete_kind("exec", [])
    assert outbox.waiting() == 1
    assert outbox.drop([number, 99]) == 1
    assert (outbox.waiting(), outbox.oldest_waiting()) == (0, None)


def test_a_channel_whose_secret_was_mended_gets_what_waited(outbox: Outbox) -> None:
    number = kept(outbox, "a", kinds=("notify",))
    outbox.failed("notify:wrong", "mailto", "no", 1000)
    outbox.sent([number], "notify:right", "mailto", 1001)
    outbox.complete_kind("notify", ["notify:right"])
    outbox.prune(1001)
    assert outbox.waiting() == 0
    assert outbox.all_failing() == []


def test_a_channel_is_left_alone_ever_longer_until_it_works(outbox: Outbox) -> None:
    number = kept(outbox, "a")
    waits = [outbox.failed("notify:1", "one", "down", 1000).again - 1000 for _ in range(40)]
    assert waits[:4] == [60, 120, 240, 480]
    assert waits[-1] == 6 * 3600
    failing = outbox.failing("notify:1")
    assert failing is not None
    assert (failing.failures, failing.error) == (40, "down")
    outbox.sent([number], "notify:1", "one", 1001)
    assert outbox.failing("notify:1") is None


def test_an_old_alert_that_waits_is_not_forgotten(outbox: Outbox) -> None:
    waiting, done = kept(outbox, "a", made=5), kept(outbox, "b", made=6)
    outbox.drop([done])
    outbox.prune(RETENTION_SECONDS * 9)
    assert [one.id for one in outbox.listed(10)] == [waiting]
    assert outbox.oldest_waiting() == 5


def test_it_is_made_with_what_it_tells_of_or_not_at_all(outbox: Outbox) -> None:
    with pytest.raises(KeyError), outbox.transaction():
        raise KeyError(kept(outbox, "a"))
    assert outbox.unreported(["a"]) == ["a"]
    assert outbox.listed(10) == []


def test_what_was_made_where_nobody_is_alerted_waits_for_whoever_is(outbox: Outbox) -> None:
    number = kept(outbox, "a", kinds=())
    assert (outbox.waiting(), outbox.oldest_waiting()) == (0, None)
    assert outbox.waiting_for("notify:1", "notify") == []
    outbox.adopt(())
    assert [one.waits for one in outbox.listed(0)] == [("",)]
    outbox.adopt(["notify", "exec"])
    assert [one.id for one in outbox.waiting_for("notify:1", "notify")] == [number]
    assert outbox.waiting() == 1
    outbox.drop([number])
    outbox.adopt(["notify"])
    assert outbox.waiting() == 0


def test_what_nobody_ever_asked_for_is_forgotten(outbox: Outbox) -> None:
    kept(outbox, "a", made=5, kinds=())
    outbox.prune(6 + RETENTION_SECONDS)
    assert outbox.listed(10) == []
    assert outbox.unreported(["a"]) == []
