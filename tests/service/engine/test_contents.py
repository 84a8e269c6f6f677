"""Bytes of uploads: bounded in all, never changed, and descriptors that clients pass."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from hashscan.service.engine.contents import Content, PassedDescriptors, Receiving, Room
from hashscan.service.engine.uploads import Overloaded, TooLarge, UnusableDescriptor
from tests.service.engine.serving import open_as
from tests.waiting import until


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_arrives_is_held_and_nobody_can_change_it() -> None:
    room = Room(100, 1000)
    receiving = Receiving(room)
    receiving.write(b"abc")
    receiving.write(memoryview(b"def"))
    assert room.taken == 6
    with receiving.finish() as content:
        assert (content.size, content.sealed) == (6, True)
        assert os.pread(content.descriptor, 10, 0) == b"abcdef"
        for change in (
            lambda: os.pwrite(content.descriptor, b"x", 0),
            lambda: os.ftruncate(content.descriptor, 0),
            lambda: os.ftruncate(content.descriptor, 100),
        ):
            with pytest.raises(PermissionError):
                change()
    assert (room.taken, room.contents) == (0, 0)


def test_one_upload_is_bounded() -> None:
    room = Room(10, 1000)
    with pytest.raises(TooLarge):
        Receiving(room, 11)
    with Receiving(room) as receiving:
        receiving.write(b"x" * 10)
        with pytest.raises(TooLarge):
            receiving.write(b"x")
    assert (room.taken, room.contents) == (0, 0)


def test_all_uploads_together_are_bounded() -> None:
    room = Room(100, 150)
    first = Receiving(room)
    first.write(b"x" * 100)
    with Receiving(room) as second:
        second.write(b"x" * 50)
        with pytest.raises(Overloaded):
            second.write(b"x")
        with pytest.raises(Overloaded):
            Receiving(room, 1)
    assert room.taken == 100
    content = first.finish()
    assert room.taken == 100
    content.close()
    content.close()
    assert (room.taken, room.contents) == (0, 0)


def test_only_what_has_arrived_takes_room() -> None:
    room = Room(100, 100)
    with Receiving(room, 90) as receiving, Receiving(room, 90):
        receiving.write(b"x" * 8)
        assert room.taken == 8
    assert (room.taken, room.contents) == (0, 0)


def test_nothing_is_leaked_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(100, 100)

    def refused(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refused)
    with pytest.raises(Overloaded):
        Receiving(room, 50)
    assert (room.taken, room.contents) == (0, 0)


def a_folder(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY)


def a_fifo(tmp_path: Path) -> int:
    os.mkfifo(tmp_path / "fifo")
    return os.open(tmp_path / "fifo", os.O_RDWR)


def a_pipe(tmp_path: Path) -> int:
    reader, writer = os.pipe()
    os.close(writer)
    return reader


def a_device(tmp_path: Path) -> int:
    return os.open("/dev/zero", os.O_RDONLY)


def a_socket(tmp_path: Path) -> int:
    return socket.socket(socket.AF_UNIX).detach()


def one_to_write_to(tmp_path: Path) -> int:
    return os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)


def one_to_examine(tmp_path: Path) -> int:
    (tmp_path / "file").write_bytes(b"secret")
    return os.open(tmp_path / "file", os.O_PATH)


def an_event(tmp_path: Path) -> int:
    return os.eventfd(0)


@pytest.mark.parametrize(
    "opened",
    [a_folder, a_fifo, a_pipe, a_device, a_socket, one_to_write_to, one_to_examine, an_event],
)
def test_what_is_no_file_to_read_is_refused(opened: Callable[[Path], int], tmp_path: Path) -> None:
    room = Room(100, 100)
    before = descriptors()
    passed = PassedDescriptors(room)
    with pytest.raises(UnusableDescriptor):
        passed.take(opened(tmp_path))
    until(lambda: descriptors() <= before)
    assert (room.taken, room.contents) == (0, 0)


def test_a_number_that_is_not_open_is_refused() -> None:
    with pytest.raises(UnusableDescriptor):
        PassedDescriptors(Room(100, 100)).take(1 << 30)


def taken(room: Room, path: Path) -> Content:
    return PassedDescriptors(room).take(os.open(path, os.O_RDONLY))


def test_a_file_is_taken_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 60)
    room = Room(100, 100)
    content = taken(room, tmp_path / "file")
    assert (content.size, content.sealed, room.taken) == (60, False, 60)
    with pytest.raises(Overloaded):
        taken(room, tmp_path / "file")
    content.close()
    until(lambda: not open_as(str(tmp_path)))
    assert (room.taken, room.contents) == (0, 0)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(10 << 30)
    room = Room(100, 1 << 40)
    with pytest.raises(TooLarge):
        taken(room, tmp_path / "file")
    assert room.taken == 0


def test_a_copy_takes_its_place() -> None:
    room = Room(100, 100)
    passed = os.memfd_create("passed")
    os.write(passed, b"x" * 50)
    content = PassedDescriptors(room).take(passed)
    copy = os.memfd_create("copy")
    content.replace(copy, 30)
    assert (content.descriptor, content.size, content.sealed, room.taken) == (copy, 30, True, 30)
    content.close()
    until(lambda: not open_as("memfd:passed"))
    assert not open_as("memfd:copy")
    assert (room.taken, room.contents) == (0, 0)
