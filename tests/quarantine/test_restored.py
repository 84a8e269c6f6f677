"""Restored items by the quarantine's log."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import OutputError
from hashscan.model import MATCHES_MAX, Match
from hashscan.quarantine import store
from hashscan.quarantine.items import State
from hashscan.quarantine.restored import quarantine_states, remember_quarantines
from hashscan.quarantine.store import Quarantine, read_restored
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
    assert read_restored([]) == {}
    assert read_restored([StateDir(tmp_path)]) == {}


def test_what_is_kept_gone_or_was_moved_by_hand_is_not_put_back(log: Log) -> None:
    log.say("1", State.MOVING, State.MOVED, accusation=accused("e-1"))
    log.say("2", State.MOVING, State.MOVED, State.RESTORING, State.STAYS, accusation=accused("e-1"))
    log.say("3", State.MOVING, State.LEFT, accusation=accused("e-1"))
    log.say("4", State.MOVING, State.MOVED, State.RELEASING, State.RELEASED, accusation=accused("e-1"))
    log.say("5", State.MOVING, State.MOVED, State.RESTORING, State.RESTORED, accusation={"reason": "order"})
    # Another content than the one that was accused.
    log.say("6", State.MOVING, State.DISPLACED, State.RESTORED, accusation=accused("e-1"))
    assert read_restored([StateDir(log.state)]) == {}


def test_what_went_back_because_its_entries_were_withdrawn_was_not_judged_here(log: Log) -> None:
    """If their owner accuses it again, that is meant."""
    log.say("1", State.MOVING, State.MOVED, accusation=accused("e-1"))
    with Quarantine(StateDir(log.state)) as quarantine:
        quarantine.log_event(State.RESTORING, "1", withdrawals=[{"list": "ours", "entries": ["e-1"]}])
        quarantine.log_event(State.RESTORED, "1")
    assert read_restored([StateDir(log.state)]) == {}


def test_what_was_put_back(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_operator", lambda: {"uid": 0, "user": "root", "sudo": "alice"})
    log.say("1", State.MOVING, State.MOVED, accusation=accused("e-1"))
    log.say("1", State.RESTORING, State.RESTORED)
    back = read_restored([StateDir(log.state)])[SHA256]
    assert (back.by, len(back.day)) == ("alice", 10)
    assert back.entries == {("ours", "e-1")}
    assert back.covers(MATCH.list_name, MATCH.entry_id)
    log.say("2", State.MOVING, State.MOVED, State.RESTORING, State.RESTORED, accusation=accused("e-2"))
    # Moved once more, by an entry of which the operator knows nothing.
    log.say("3", State.MOVING, State.MOVED, accusation=accused("e-3"))
    assert read_restored([StateDir(log.state)])[SHA256].entries == {("ours", "e-1"), ("ours", "e-2")}


def test_of_more_entries_than_a_finding_names_the_whole_list_was_known(log: Log) -> None:
    for number, known in ((MATCHES_MAX - 1, False), (MATCHES_MAX, True)):
        entries = accused(*(f"x-{place}" for place in range(number)))
        log.say(f"{number}", State.MOVING, State.MOVED, State.RESTORING, State.RESTORED, accusation=entries)
        assert read_restored([StateDir(log.state)])[SHA256].covers(MATCH.list_name, MATCH.entry_id) is known


def test_a_damaged_log_is_an_error(log: Log) -> None:
    log.say("1", State.MOVING, accusation=accused("e-1"))
    path = log.state / "quarantine" / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b"e-1", b"e-2"))
    with pytest.raises(OutputError, match="line 1"):
        read_restored([StateDir(log.state)])


def test_the_other_quarantines_are_remembered_until_a_scan_names_others(tmp_path: Path) -> None:
    own, one, two = (StateDir(tmp_path / name) for name in ("own", "one\n\udcff", "two"))
    assert list(quarantine_states(None, [one])) == [one]
    assert list(quarantine_states(own)) == [own]
    remember_quarantines(own, [one, two])
    remember_quarantines(own, [])
    assert list(quarantine_states(own, [two])) == [own, two, one]
    remember_quarantines(own, [two])
    assert list(quarantine_states(own)) == [own, two]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_read_another_quarantine_goes_without(log: Log, tmp_path: Path) -> None:
    log.say("1", State.MOVING, State.MOVED, State.RESTORING, State.RESTORED, accusation=accused("e-1"))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        own = StateDir(folder)
        remember_quarantines(own, [StateDir(log.state)])
        (own.quarantine_states).chmod(0o644)
        assert SHA256 in read_restored(quarantine_states(own))
        os.seteuid(65534)
        try:
            assert list(quarantine_states(own)) == [own]
        finally:
            os.seteuid(0)


def test_two_logs_know_more_than_one(log: Log, tmp_path: Path) -> None:
    other = Log(tmp_path / "other")
    for one, entry in ((log, "e-1"), (other, "e-2")):
        one.say("1", State.MOVING, State.MOVED, State.RESTORING, State.RESTORED, accusation=accused(entry))
    found = read_restored([StateDir(log.state), StateDir(other.state)])
    assert found[SHA256].entries == {("ours", "e-1"), ("ours", "e-2")}
