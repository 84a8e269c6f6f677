"""Whatever fails and whoever dies, every alert reaches every channel, and once where nobody dies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.alerts.alert import Alert, Kind
from hashscan.alerts.channels.base import Channel, DeliveryError
from hashscan.alerts.dispatcher import deliver
from hashscan.cases.ledger import Ledger
from hashscan.cases.outbox import Outbox
from hashscan.state_dir import StateDir
from tests.examples import examples


class Unreliable(Channel):
    """Fails, or takes us along, as it is asked to."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind  # type: ignore[misc]
        super().__init__(name, name)
        self.got: Counter[int] = Counter()
        self.fails = False

    def deliver(self, document: Any, seconds: float) -> None:
        if self.fails:
            raise DeliveryError("down")
        self.got.update(document["cases"])


class Dying(Outbox):
    """A process that dies after it has delivered and before it has noted it."""

    def sent(self, *arguments: Any) -> None:
        raise KeyboardInterrupt


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("alert"), st.integers(0, 30)),
        st.tuples(st.just("down"), st.integers(0, 2)),
        st.tuples(st.just("up"), st.integers(0, 2)),
        st.tuples(st.just("deliver"), st.integers(0, 100_000)),
        st.tuples(st.just("die"), st.integers(0, 100_000)),
    ),
    max_size=25,
)


@settings(max_examples=examples(40), deadline=None)
@given(STEPS)
def test_every_alert_arrives(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    channels = [Unreliable("notify", "one"), Unreliable("notify", "two"), Unreliable("exec", "three")]
    now, made, died = 1000, set[int](), False
    with Ledger(StateDir(Path(folder))) as ledger:
        outbox = Outbox(ledger)
        for step, value in [*steps, ("up", 0), ("up", 1), ("up", 2), ("deliver", 10**6), ("deliver", 0)]:
            if step == "alert":
                document = Alert(Kind.FOUND, (), str(value), cases=(value,)).document("h", "t")
                new = outbox.add([str(value)], now, document, {"notify", "exec"}) is not None
                assert new is (value not in made)
                made.add(value)
            elif step == "deliver":
                now += value
                deliver(outbox, channels, lambda: now)  # noqa: B023
            elif step == "die":
                now += value
                before = sum(channel.got.total() for channel in channels)
                try:
                    deliver(Dying(ledger), channels, lambda: now)  # noqa: B023
                except KeyboardInterrupt:
                    died = True
                else:
                    assert sum(channel.got.total() for channel in channels) == before
            else:
                channels[value].fails = step == "down"
        assert outbox.waiting() == 0
        assert outbox.all_failing() == []
    for channel in channels:
        assert set(channel.got) == made
        assert died or not made or max(channel.got.values()) == 1
