"""What the quarantine's log says was put back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import OutputError
from hashscan.matching.policy import read_put_back
from hashscan.model import MATCHES_MAX, Match
from hashscan.quarantine import store
from hashscan.quarantine.items import State
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir

MATCH = Match("ours", "e-1", "sha256", "A1", 0, 0)
SHA256 = hashlib.sha256(b"x").digest()


def accused(*entries: str) -> dict[str, Any]:
    return {"matches": [{"list": "ours", "entry": entry} for entry in entries]}


class Log:
    """A quarantine of which only the log is written."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def say(self, item: str, *states: State, **more: Any) -> None:
        with Quarantine(StateDir(self.state)) as quarantine:
            for state in states:
                place = {"path": "/q"}
                first = {"path": "/a", "place": place, "digests": {"sha256": SHA256.hex()}, **more}
                quarantine.log_event(state, item, **(first if state is State.MOVING else {"place": place}))
            quarantine.sync()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_no_quarantine_and_no_state(tmp_path: Path) -> None:
    assert read_put_back(None) == {}
    assert read_put_back(StateDir(tmp_path)) == {}


def test_what_is_kept_gone_or_was_moved_by_hand_is_not_put_back(log: Log) -> None:
    log.say("1", State.MOVING, State.MOVED, accusation=accused("e-1"))
    log.say("2", State.MOVING, State.MOVED, State.RESTORING, State.STAYS, accusation=accused("e-1"))
    log.say("3", State.MOVING, State.LEFT, accusation=accused("e-1"))
    log.say("4", State.MOVING, State.MOVED, State.RELEASING, State.RELEASED, accusation=accused("e-1"))
    log.say("5", State.MOVING, State.MOVED, State.RESTORING, State.RESTORED, accusation={"reason": "order"})
    # Another content than the one that was accused.
    log.say("6", State.MOVING, State.DISPLACED, State.RESTORED, accusation=accused("e-1"))
    assert read_put_back(StateDir(log.state)) == {}


def test_what_went_back_because_its_entries_were_withdrawn_was_not_judged_here(log: Log) -> None:
    """If their owner accuses it again, that is meant."""
    log.say("1", State.MOVING, State.MOVED, accusation=accused("e-1"))
    with Quarantine(StateDir(log.state)) as quarantine:
        quarantine.log_event(State.RESTORING, "1", withdrawals=[{"list": "ours", "entries": ["e-1"]}])
        quarantine.log_event(State.RESTORED, "1")
    assert read_put_back(StateDir(log.state)) == {}


def test_what_was_put_back(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_operator", lambda: {"uid": 0, "user": "root", "sudo": "alice"})
    log.say("1", State.MOVING, State.MOVED, accusation=accused("e-1"))
    log.say("1", State.RESTORING, State.RESTORED)
    back = read_put_back(StateDir(log.state))[SHA256]
    assert (back.by, len(back.day)) == ("alice", 10)
    assert back.entries == {("ours", "e-1")}
    assert back.covers(MATCH)
    log.say("2", State.MOVING, State.MOVED, State.RESTORING, State.RESTORED, accusation=accused("e-2"))
    # Moved once more, by an entry of which the operator knows nothing.
    log.say("3", State.MOVING, State.MOVED, accusation=accused("e-3"))
    assert read_put_back(StateDir(log.state))[SHA256].entries == {("ours", "e-1"), ("ours", "e-2")}


def test_of_more_entries_than_a_finding_names_the_whole_list_was_known(log: Log) -> None:
    for number, known in ((MATCHES_MAX - 1, False), (MATCHES_MAX, True)):
        entries = accused(*(f"x-{place}" for place in range(number)))
        log.say(f"{number}", State.MOVING, State.MOVED, State.RESTORING, State.RESTORED, accusation=entries)
        assert read_put_back(StateDir(log.state))[SHA256].covers(MATCH) is known


def test_a_damaged_log_is_an_error(log: Log) -> None:
    log.say("1", State.MOVING, accusation=accused("e-1"))
    path = log.state / "quarantine" / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b"e-1", b"e-2"))
    with pytest.raises(OutputError, match="line 1"):
        read_put_back(StateDir(log.state))
