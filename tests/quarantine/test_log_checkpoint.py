"""The state detects that the log and the head beside it were cut."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hashscan.errors import OutputError
from hashscan.hash_chain import EMPTY, LogHead
from hashscan.quarantine.log import BrokenLogError, LostLogError, read_log
from hashscan.quarantine.log_checkpoint import LogCheckpoint, checkpoint_fields, read_checkpoint
from hashscan.quarantine.repair import verify
from hashscan.quarantine.store import Quarantine, read_items
from hashscan.state_dir import StateDir
from tests.quarantine.rooms import Room


def cut(room: Room, left: int) -> None:
    """Take lines off the end of the log, and set the head beside it back."""
    folder = StateDir(room.state).quarantine
    heads = [EMPTY, *(head for _, head in read_log(folder))]
    lines = (folder / "log.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "log.jsonl").write_bytes(b"".join(lines[:left]))
    (folder / "head").write_text(f"{heads[left]}\n")


def head_of(room: Room) -> LogHead:
    found = read_checkpoint(StateDir(room.state))
    assert found is not None
    return found.head


def test_it_goes_with_the_log(room: Room) -> None:
    assert read_checkpoint(StateDir(room.state)) is None
    assert checkpoint_fields(StateDir(room.state)) == checkpoint_fields(None) == {}
    for number in (1, 2):
        room.take(room.file(f"{number}"))
        head, _, _ = verify(StateDir(room.state), None)
        assert read_checkpoint(StateDir(room.state)) == LogCheckpoint(head, number)
        assert checkpoint_fields(StateDir(room.state)) == {"quarantine": {"head": str(head), "items": number}}
    assert (room.state / "quarantine-head").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_cut_of_log_and_head_is_found_out(room: Room, left: int) -> None:
    room.take(room.file("a"), room.file("b"))
    cut(room, left)
    for do in (
        lambda: verify(StateDir(room.state), None),
        lambda: read_items(StateDir(room.state)),
        lambda: Quarantine(StateDir(room.state)),
    ):
        with pytest.raises(BrokenLogError, match=r"4 lines or more, says .*/quarantine-head$") as caught:
            do()
        assert caught.value.line == left + 1
    # What is added meanwhile doesn't hide it.
    shutil.copy(room.state / "quarantine-head", room.state / "aside")
    (room.state / "quarantine-head").write_text(json.dumps({"head": str(EMPTY), "items": 0}))
    room.take(room.file("c"), room.file("d"))
    shutil.copy(room.state / "aside", room.state / "quarantine-head")
    with pytest.raises(BrokenLogError, match=r"says .*/quarantine-head$"):
        verify(StateDir(room.state), None)


def test_a_quarantine_that_is_gone_is_not_begun_anew(room: Room) -> None:
    room.take(room.file("a"))
    shutil.rmtree(StateDir(room.state).quarantine)
    for do in (
        lambda: verify(StateDir(room.state), None),
        lambda: read_items(StateDir(room.state)),
        lambda: Quarantine(StateDir(room.state)),
    ):
        with pytest.raises(LostLogError, match="is gone; it had 2 lines or more"):
            do()


def test_what_the_state_knows_is_missed(room: Room) -> None:
    """The log can be verified still, and its head be written there again."""
    room.take(room.file("a"))
    path = room.state / "quarantine-head"
    head = head_of(room)
    for spoilt in (
        None,
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"head": "x", "items": 1}),
        json.dumps({"head": str(head)}),
    ):
        path.unlink()
        if spoilt is not None:
            path.write_text(spoilt)
        for do in (lambda: read_items(StateDir(room.state)), lambda: Quarantine(StateDir(room.state))):
            with pytest.raises(OutputError, match="quarantine-head is"):
                do()
        assert verify(StateDir(room.state), head)[0] == head
        (trouble,) = verify(StateDir(room.state), None)[2]
        assert "Then write it there" in trouble
        with pytest.raises(BrokenLogError, match="says --head"):
            verify(StateDir(room.state), LogHead(head.count + 1, head.digest))
        path.write_text(json.dumps({"head": str(head), "items": 0}))
    assert verify(StateDir(room.state), None)[2] == []
    room.take(room.file("b"))
    assert read_checkpoint(StateDir(room.state)) == LogCheckpoint(head_of(room), 2)


def test_no_quarantine_is_no_trouble(room: Room, tmp_path: Path) -> None:
    assert verify(StateDir(tmp_path / "none"), None) == (EMPTY, 0, [])
    with pytest.raises(LostLogError, match="says --head"):
        verify(StateDir(tmp_path / "none"), LogHead(1, "0" * 64))


def test_a_spoilt_one_costs_no_report(room: Room) -> None:
    room.state.mkdir()
    (room.state / "quarantine-head").write_text("x")
    assert "trouble" in str(checkpoint_fields(StateDir(room.state)))
