"""A note in a file's place harms nothing of others', and goes when the file comes back."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.errors import UsageError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Outcome, QuarantineSkipped
from hashscan.quarantine.items import NoteState
from hashscan.quarantine.notes import read_note
from hashscan.quarantine.repair import verify
from hashscan.quarantine.restoring import restore
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir
from tests.quarantine.conftest import needs_root
from tests.quarantine.rooms import NOTE, Room, in_order


@pytest.fixture(params=["room", "far_room"])
def any_room(request: pytest.FixtureRequest) -> Room:
    room: Room = request.getfixturevalue(request.param)
    return room


def put_back(room: Room) -> None:
    with Quarantine(StateDir(room.state)) as quarantine:
        for item in reversed(room.items()):
            restore(quarantine, item)


def at_call(monkeypatch: pytest.MonkeyPatch, name: str, do: Callable[[], object]) -> None:
    """Call a function once, right before a system call."""
    call, todo = getattr(system, name), [do]

    def called(*arguments: Any) -> Any:
        if todo:
            todo.pop()()
        return call(*arguments)

    monkeypatch.setattr(system, name, called)


def test_it_stands_in_the_files_place_until_that_comes_back(any_room: Room) -> None:
    paths = [any_room.file(name) for name in ("a", "b", "c/d")]
    folders = [path.stat() for path in (any_room.files, any_room.files / "c")]
    before = os.umask(0o077)
    try:
        results = any_room.take(*paths, note=NOTE)
    finally:
        os.umask(before)
    assert [(a.outcome, a.no_note) for a in results] == [(Outcome.DONE, "")] * 3
    for path in paths:
        status = path.stat()
        assert (path.read_bytes(), status.st_uid, status.st_mode) == (
            NOTE,
            os.geteuid(),
            stat.S_IFREG | 0o644,
        )
    assert verify(StateDir(any_room.state), None)[1:] == (3, [])
    put_back(any_room)
    assert in_order(any_room, paths[0], b"accused", 0o640) == "there"
    assert [path.read_bytes() for path in paths] == [b"accused"] * 3
    for path, seen in zip((any_room.files, any_room.files / "c"), folders, strict=True):
        assert path.stat().st_mtime_ns == seen.st_mtime_ns


def test_whoever_took_the_name_meanwhile_keeps_it(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = any_room.file("a")
    at_call(monkeypatch, "name_file", lambda: path.symlink_to("/etc/passwd"))
    (answer,) = any_room.take(path, note=NOTE)
    assert (answer.outcome, "exists" in answer.no_note) == (Outcome.DONE, True)
    assert path.is_symlink()
    (item,) = any_room.items()
    assert item.note is not None
    assert item.note.state is NoteState.NO_NOTE


def test_a_folder_that_is_gone_has_no_note(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = any_room.file("d/a")
    at_call(monkeypatch, "create_unnamed", path.parent.rmdir)
    (answer,) = any_room.take(path, note=NOTE)
    assert (answer.outcome, bool(answer.no_note)) == (Outcome.DONE, True)
    assert verify(StateDir(any_room.state), None)[1:] == (1, [])


def test_a_note_goes_where_the_file_was_and_not_where_a_link_leads(
    any_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = any_room.file("d/a")
    outside = any_room.file("outside/b").parent

    def swap() -> None:
        path.parent.rename(any_room.files / "moved")
        path.parent.symlink_to(outside)

    at_call(monkeypatch, "name_file", swap)
    any_room.take(path, note=NOTE)
    assert os.listdir(outside) == ["b"]
    assert (any_room.files / "moved" / "a").read_bytes() == NOTE


def deleted(path: Path) -> None:
    path.unlink()


def other_file(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"mine")


def same_text(path: Path) -> None:
    (path.parent / "aside").write_bytes(NOTE)
    (path.parent / "aside").replace(path)


def edited(path: Path) -> None:
    path.write_bytes(NOTE.replace(b"Moved", b"Taken"))


def made_longer(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(1 << 40)


def linked(path: Path) -> None:
    path.rename(path.parent / "note")
    path.symlink_to("note")


@pytest.mark.parametrize("meddle", [other_file, same_text, edited, made_longer, linked, deleted])
def test_nothing_but_the_very_note_is_removed(meddle: Callable[[Path], None], any_room: Room) -> None:
    path = any_room.file("a")
    any_room.take(path, note=NOTE)
    meddle(path)
    if meddle is deleted:
        put_back(any_room)
        assert in_order(any_room, path, b"accused", 0o640) == "there"
        return
    before = path.lstat()
    with pytest.raises(QuarantineSkipped, match="exists"):
        put_back(any_room)
    assert (path.lstat().st_ino, path.lstat().st_size) == (before.st_ino, before.st_size)
    assert verify(StateDir(any_room.state), None)[1:] == (1, [])


def test_what_was_put_in_its_place_at_the_last_moment_goes_back(
    any_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = any_room.file("a")
    any_room.take(path, note=NOTE)
    at_call(monkeypatch, "rename", lambda: other_file(path))
    with pytest.raises(QuarantineSkipped) as caught:
        put_back(any_room)
    assert caught.value.outcome is Outcome.RACED
    assert path.read_bytes() == b"mine"
    assert verify(StateDir(any_room.state), None)[1:] == (1, [])


def test_what_can_not_go_back_is_kept_and_named(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = any_room.file("a")
    any_room.take(path, note=NOTE)
    rename, calls = system.rename, []

    def renamed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            other_file(path)
        elif len(calls) == 2:
            path.write_bytes(b"a new one")
        rename(*arguments)

    monkeypatch.setattr(system, "rename", renamed)
    with pytest.raises(QuarantineSkipped, match="is kept as") as caught:
        put_back(any_room)
    kept = Path(str(caught.value).split("is kept as ")[1].split(": ")[0])
    assert kept.read_bytes() == b"mine"
    assert path.read_bytes() == b"a new one"
    assert "is kept as" in (any_room.state / "quarantine" / "log.jsonl").read_text()


@needs_root
def test_a_customer_can_delete_it_and_not_change_it(room: Room) -> None:
    path = room.file("a")
    os.chown(room.files, 12345, 12345)
    room.take(path, note=NOTE)
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, os.getegid(), 0o644)


@given(
    content=st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=50)
)
def test_only_text_is_a_note(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "note"
    path.write_bytes(content)
    try:
        assert read_note(path) == content
    except UsageError:
        return
    assert content.decode("utf-8").strip()
    assert b"\0" not in content
    assert b"\x1b" not in content


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"x" * ((1 << 14) + 1), b"a\0b", b"\xff", b"\x1b[31m", b"<SVG>", "ab\x85".encode()],
)
def test_what_is_no_note(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_note(path)
    with pytest.raises(UsageError):
        read_note(tmp_path / "none")


def test_every_language_has_notes(tmp_path: Path) -> None:
    text = "Bonjour\u00a0! 請聯絡我們\r\n\t谢谢\n"
    (tmp_path / "note").write_text(text, newline="")
    assert read_note(tmp_path / "note").decode() == text
