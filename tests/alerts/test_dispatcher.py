"""Alerts are delivered from the outbox to channels."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hashscan.alerts.alert import Alert, Kind
from hashscan.alerts.channels.base import Channel, DeliveryError
from hashscan.alerts.channels.local import HookChannel
from hashscan.alerts.dispatcher import DeliveryResult, deliver
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.state_dir import StateDir


class Listener(Channel):
    """Takes alerts, as long as it is well."""

    kind = "notify"

    def __init__(self, name: str) -> None:
        super().__init__(name, name)
        self.got: list[dict[str, Any]] = []
        self.trouble: str | None = None
        self.tried = 0

    def deliver(self, document: Any, seconds: float) -> None:
        self.tried += 1
        if self.trouble is not None:
            raise DeliveryError(self.trouble)
        self.got.append(document)

    @property
    def ids(self) -> list[int]:
        return [document["id"] for document in self.got]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Ledger(StateDir(tmp_path)) as ledger:
        yield Outbox(ledger)


def add(outbox: Outbox, *keys: str, kinds: tuple[str, ...] = ("notify",)) -> None:
    for key in keys:
        outbox.add([key], 1000, Alert(Kind.FOUND, (key,), key).document("web1", "now"), kinds)


def at(seconds: int) -> Callable[[], float]:
    return lambda: seconds


def test_each_channel_gets_each_alert_once_in_order(outbox: Outbox) -> None:
    one, two = Listener("one"), Listener("two")
    add(outbox, "a", "b")
    assert deliver(outbox, [one, two], at(1000)) == DeliveryResult(4, 0, (), ())
    add(outbox, "c")
    assert deliver(outbox, [one, two], at(1001)) == DeliveryResult(2, 0, (), ())
    assert one.ids == two.ids == [1, 2, 3]


def test_one_that_is_down_holds_up_no_other_and_gets_all_later(outbox: Outbox) -> None:
    one, two = Listener("one"), Listener("two")
    one.trouble = "down"
    add(outbox, "a", "b")
    done = deliver(outbox, [one, two], at(1000))
    assert done == DeliveryResult(2, 2, (f"{one.label}: down",), ())
    assert one.tried == 1
    # Left alone for a while, unless a person asks.
    assert deliver(outbox, [one, two], at(1030)) == DeliveryResult(0, 2, (), (one.label,))
    assert deliver(outbox, [one, two], at(1030), at_once=True).failures
    assert one.tried == 2
    one.trouble = None
    assert deliver(outbox, [one, two], at(2000)) == DeliveryResult(2, 0, (), ())
    assert one.ids == two.ids == [1, 2]


def test_what_has_waited_long_comes_as_one(outbox: Outbox) -> None:
    one = Listener("one")
    add(outbox, *map(str, range(30)))
    assert deliver(outbox, [one], at(1000)) == DeliveryResult(1, 0, (), ())
    assert "30 alerts have waited" in one.got[0]["subject"]


def test_alerts_wait_for_the_kinds_that_were_asked_for(outbox: Outbox) -> None:
    add(outbox, "a", kinds=("notify", "exec"))
    assert deliver(outbox, [Listener("one")], at(1000)).waiting == 1
    assert deliver(outbox, [], at(1000)) == DeliveryResult(0, 1, (), ())
    assert deliver(outbox, [HookChannel(["true"])], at(1000)) == DeliveryResult(1, 0, (), ())


def test_nothing_is_begun_when_the_time_is_over(outbox: Outbox) -> None:
    one = Listener("one")
    add(outbox, "a", "b")
    assert deliver(outbox, [one], at(1000), all_seconds=0) == DeliveryResult(0, 2, (), ())
    assert one.tried == 0


def test_channels_are_notified_concurrently(outbox: Outbox) -> None:
    """Each waits for the other, so one after the other they would fail."""
    both = threading.Barrier(2, timeout=30)

    class Waiting(Listener):
        def deliver(self, document: Any, seconds: float) -> None:
            both.wait()

    add(outbox, "a")
    assert deliver(outbox, [Waiting("one"), Waiting("two")], at(1000)) == DeliveryResult(2, 0, (), ())


KILLED = """
import os, sys
from hashscan.alerts.dispatcher import deliver
from hashscan.alerts.channels.local import HookChannel
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.state_dir import StateDir

class Dying(Outbox):
    def sent(self, *arguments):
        os.kill(os.getpid(), 9)

outbox = Dying(Ledger(StateDir(sys.argv[1])))
deliver(outbox, [HookChannel(["sh", "-c", f"cat >> {sys.argv[2]}"])], lambda: 1000)
"""


def test_killed_between_telling_and_marking_it_tells_again(tmp_path: Path, outbox: Outbox) -> None:
    add(outbox, "a", kinds=("exec",))
    delivered = tmp_path / "told"
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path, delivered], check=False, timeout=60)
    assert killed.returncode == -9
    assert len(delivered.read_text().splitlines()) == 1
    assert deliver(outbox, [HookChannel(["sh", "-c", f"cat >> {delivered}"])], at(1001)).waiting == 0
    assert len(delivered.read_text().splitlines()) == 2
