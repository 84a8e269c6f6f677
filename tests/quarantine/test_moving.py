"""Moving, while others change the files."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hashscan.errors import LockedError, OutputError, UsageError
from hashscan.quarantine import system
from hashscan.quarantine.captured_file import Identity, Outcome, QuarantineRequest, QuarantineSkipped
from hashscan.quarantine.folder import QuarantineFolders
from hashscan.quarantine.items import State
from hashscan.quarantine.log import LogWriter
from hashscan.quarantine.moving import move
from hashscan.quarantine.repair import verify
from hashscan.quarantine.restoring import restore
from hashscan.quarantine.store import Quarantine
from hashscan.state_dir import StateDir
from tests.quarantine.conftest import needs_root
from tests.quarantine.rooms import TERMS, Room, in_order, mended, request


@pytest.fixture(params=["room", "far_room"])
def any_room(request: pytest.FixtureRequest) -> Room:
    room: Room = request.getfixturevalue(request.param)
    return room


def before_rename(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Call a function once, after a file's last check and before it is moved."""
    rename, todo = system.rename, [do]

    def renamed(*arguments: Any) -> None:
        if todo:
            todo.pop()()
        rename(*arguments)

    monkeypatch.setattr(system, "rename", renamed)


def test_a_file_is_moved_and_sealed(any_room: Room) -> None:
    path = any_room.file("a/b")
    (answer,) = any_room.take(path)
    assert (answer.outcome, answer.path) == (Outcome.DONE, os.fsencode(path))
    assert in_order(any_room, path, b"accused", 0o640) == "kept"
    (item,) = any_room.items()
    assert item.id == answer.item
    assert item.id.startswith(item.sha256[:16])
    entry = (Path(os.fsdecode(item.place)) / item.id).stat()
    assert entry.st_uid == os.geteuid()
    assert stat.S_IMODE(Path(os.fsdecode(item.place)).stat().st_mode) == 0o700
    record = item.record
    assert set(record["digests"]) == {"md5", "sha1", "sha256"}
    assert record["file"]["mtime_ns"] == 1_100_000_000_987_654_321
    assert record["file"]["atime_ns"] == 1_000_000_000_123_456_789
    assert record["operator"]["uid"] == os.geteuid()
    assert record["host"] == socket.gethostname()


def test_nothing_is_moved_by_a_clock_that_began_in_1970() -> None:
    """Or `release` would destroy it as soon as the clock is set."""
    with pytest.raises(OutputError):
        TERMS.terms(datetime(1970, 1, 1, 0, 5, tzinfo=UTC))


def test_the_place_is_marked_for_backups(room: Room) -> None:
    room.take(room.file("a"))
    tag = room.state / "quarantine" / ".hashscan-quarantine" / "CACHEDIR.TAG"
    assert tag.read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


def test_a_file_that_grows_for_ever_holds_up_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = room.file("a", b"accused" * 50_000)
    pread, calls = os.pread, []

    def growing(descriptor: int, size: int, offset: int) -> bytes:
        calls.append(offset)
        assert len(calls) < 100
        os.truncate(path, offset + 2 * size)
        return pread(descriptor, size, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", growing)
        (answer,) = room.take(path)
    assert answer.outcome is Outcome.CHANGED
    # One that is longer than what was found is not read at all.
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 43)
    found = Identity(path.stat().st_ino, 350_000, 0, 0)
    with Quarantine(StateDir(room.state)) as quarantine:
        (answer,) = move(quarantine, [QuarantineRequest(os.fsencode(path), {}, "0" * 64, found)], TERMS)
    assert answer.outcome is Outcome.CHANGED


def test_equal_files_are_kept_apart(room: Room) -> None:
    paths = [room.file(f"{n}") for n in range(130)]
    results = room.take(*paths)
    assert len({answer.item for answer in results}) == 130
    assert verify(StateDir(room.state), None)[1:] == (130, [])


@pytest.mark.parametrize("together", [True, False])
def test_all_names_of_a_file_are_moved_and_come_back_as_they_were(together: bool, any_room: Room) -> None:
    paths = [any_room.file("a"), any_room.files / "b", any_room.files / "c"]
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    before = paths[0].stat()
    seen = Identity(before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
    requests = [QuarantineRequest(os.fsencode(path), {}, None, seen) for path in paths]
    for some in [requests] if together else [requests[:1], requests[1:]]:
        with Quarantine(StateDir(any_room.state)) as quarantine:
            assert {answer.outcome for answer in move(quarantine, some, TERMS)} == {Outcome.DONE}
    assert not [path for path in paths if path.exists()]
    assert verify(StateDir(any_room.state), None)[1:] == (3, [])
    for item in any_room.items():
        assert (item.record["file"]["mode"], item.record["file"]["uid"]) == (0o640, before.st_uid)
        with Quarantine(StateDir(any_room.state)) as quarantine:
            restore(quarantine, quarantine.items()[item.id])
    for path in paths:
        status = path.stat()
        assert (status.st_mode, status.st_uid, status.st_mtime_ns) == (
            before.st_mode,
            before.st_uid,
            before.st_mtime_ns,
        )


def test_what_is_back_by_another_name_is_its_owners(room: Room) -> None:
    """Though the second name can't be had again, and though a command dies over it."""
    path, other = room.file("a"), room.files / "b"
    other.hardlink_to(path)
    room.take(path, other)
    first, second = room.items()
    with Quarantine(StateDir(room.state)) as quarantine:
        restore(quarantine, quarantine.items()[first.id])
        path.chmod(0o600)
        other.write_bytes(b"taken")
        with pytest.raises(QuarantineSkipped):
            restore(quarantine, quarantine.items()[second.id])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        quarantine.log_event(State.RESTORING, second.id, way="rename")
    assert mended(room.state) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other.unlink()
    with Quarantine(StateDir(room.state)) as quarantine:
        restore(quarantine, quarantine.items()[second.id])
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert path.samefile(other)


def test_what_was_found_must_still_be_there(room: Room) -> None:
    path = room.file("a")
    seen = path.stat()
    right = Identity(seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    with Quarantine(StateDir(room.state)) as quarantine:
        for wrong in (
            request(path, b"other"),
            *(
                QuarantineRequest(os.fsencode(path), {}, None, Identity(*changed))
                for changed in (
                    (right.inode + 1, right.size, right.mtime_ns, right.ctime_ns),
                    (right.inode, right.size + 1, right.mtime_ns, right.ctime_ns),
                    (right.inode, right.size, right.mtime_ns + 1, right.ctime_ns),
                    (right.inode, right.size, right.mtime_ns, right.ctime_ns + 1),
                )
            ),
        ):
            (answer,) = move(quarantine, [wrong], TERMS)
            assert answer.outcome is Outcome.CHANGED
        (answer,) = move(quarantine, [QuarantineRequest(os.fsencode(path), {}, None, right)], TERMS)
        assert answer.outcome is Outcome.DONE


def test_nothing_but_files_beneath_plain_folders_is_moved(room: Room) -> None:
    path = room.file("real/a")
    (room.files / "link").symlink_to("real")
    (room.files / "name").symlink_to("real/a")
    os.mkfifo(room.files / "fifo")
    tried = [
        room.files / "link" / "a",
        room.files / "name",
        room.files / "fifo",
        room.files / "real",
        room.files / "none",
        room.files / "none" / "a",
        room.state / "quarantine" / ".hashscan-quarantine" / "CACHEDIR.TAG",
        Path("relative"),
        Path("/"),
    ]
    results = room.take(*tried)
    assert [answer.path for answer in results] == [os.fsencode(path) for path in tried]
    assert not [answer for answer in results if answer.outcome is Outcome.DONE]
    assert results[4].outcome is Outcome.GONE
    assert path.read_bytes() == b"accused"
    with Quarantine(StateDir(room.state)) as quarantine:
        for odd in (b"", b"//a", b"/a/../b", b"/a\0b", b"/" + b"x" * 300, b"/x" * 5000):
            (answer,) = move(quarantine, [QuarantineRequest(odd, {})], TERMS)
            assert answer.outcome in {Outcome.REFUSED, Outcome.GONE}


def test_a_path_longer_than_the_kernel_takes(room: Room) -> None:
    names = ["n" * 200] * 22
    descriptor = os.open(room.files, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=descriptor)
        deeper = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    path = Path(room.files, *names, "file")
    assert len(os.fsencode(path)) > 4096
    (answer,) = room.take(path)
    assert answer.outcome is Outcome.DONE
    assert os.listdir(descriptor) == []
    os.close(descriptor)


def test_names_that_are_no_text(room: Room) -> None:
    path = Path(os.fsdecode(os.fsencode(room.files) + b"/\xff\n\x1b[31m"))
    path.write_bytes(b"accused")
    (answer,) = room.take(path)
    assert answer.outcome is Outcome.DONE
    assert room.items()[0].path == os.fsencode(path)


def test_another_file_in_its_place_goes_back(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = any_room.file("a")
    other = any_room.file("other", b"innocent")
    before_rename(monkeypatch, lambda: os.replace(other, path))
    (answer,) = any_room.take(path)
    assert answer.outcome is Outcome.RACED
    assert in_order(any_room, path, b"innocent", 0o640) == "there"


def folder(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [folder, link, os.mkfifo])
def test_whatever_is_in_its_place_goes_back(
    make: Callable[[Path], None], any_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = any_room.file("a")

    def swap() -> None:
        path.rename(any_room.files / "kept")
        make(path)

    before_rename(monkeypatch, swap)
    (answer,) = any_room.take(path)
    assert answer.outcome is Outcome.RACED
    assert not stat.S_ISREG(path.lstat().st_mode)
    assert sorted(os.listdir(any_room.files)) == ["a", "kept"]
    assert verify(StateDir(any_room.state), None)[1:] == (0, [])


def test_what_can_not_go_back_is_kept_with_a_record(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = any_room.file("a")
    other = any_room.file("other", b"innocent")
    rename, calls = system.rename, []

    def renamed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            os.replace(other, path)
        elif len(calls) == 2:
            path.write_bytes(b"a new one")
        rename(*arguments)

    monkeypatch.setattr(system, "rename", renamed)
    (answer,) = any_room.take(path)
    assert (answer.outcome, "is kept as" in answer.detail) == (Outcome.RACED, True)
    assert path.read_bytes() == b"a new one"
    (item,) = any_room.items()
    assert (item.state, item.id) == (State.DISPLACED, answer.item)
    assert (Path(os.fsdecode(item.place)) / item.id).read_bytes() == b"innocent"
    assert verify(StateDir(any_room.state), None)[1:] == (1, [])


def test_its_folder_exchanged_for_a_link(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = any_room.file("d/a")
    outside = any_room.file("outside/a", b"innocent").parent
    sync = LogWriter.sync

    def swapped(self: LogWriter) -> None:
        sync(self)
        if not path.parent.is_symlink():
            path.parent.rename(any_room.files / "moved")
            path.parent.symlink_to(outside)

    monkeypatch.setattr(LogWriter, "sync", swapped)
    (answer,) = any_room.take(path)
    assert answer.outcome is Outcome.RACED
    assert (outside / "a").read_bytes() == b"innocent"
    assert (any_room.files / "moved" / "a").read_bytes() == b"accused"
    assert os.listdir(any_room.state / "quarantine" / ".hashscan-quarantine") == ["CACHEDIR.TAG"]


def test_changed_as_it_is_moved_it_goes_back(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = any_room.file("a")
    mode = path.stat().st_mode
    before_rename(monkeypatch, lambda: path.write_bytes(b"changed"))
    (answer,) = any_room.take(path)
    assert answer.outcome is Outcome.CHANGED
    assert path.read_bytes() == b"changed"
    assert path.stat().st_mode == mode
    assert verify(StateDir(any_room.state), None)[1:] == (0, [])


def test_a_name_that_is_taken_in_quarantine(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = room.file("a")
    monkeypatch.setattr("secrets.token_hex", lambda number: "0" * 8)
    room.take(room.file("first"))
    (answer,) = room.take(path)
    assert answer.outcome is Outcome.REFUSED
    assert path.read_bytes() == b"accused"


@needs_root
def test_other_names_of_a_file_open_nothing_any_more(any_room: Room) -> None:
    path = any_room.file("a", mode=0o644)
    (any_room.files / "second").hardlink_to(path)
    (answer,) = any_room.take(path)
    assert (answer.outcome, answer.links) == (Outcome.DONE, 2)
    status = (any_room.files / "second").stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0)


def test_a_name_that_is_given_at_the_last_moment_opens_nothing_either(
    any_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other, plain = any_room.file("a"), any_room.files / "other", system.rename

    def rename(*arguments: Any) -> None:
        if not other.exists():
            other.hardlink_to(path)
        plain(*arguments)

    monkeypatch.setattr(system, "rename", rename)
    (answer,) = any_room.take(path)
    assert answer.outcome is Outcome.DONE
    assert stat.S_IMODE(other.stat().st_mode) == (0 if os.geteuid() == 0 else 0o400)


def test_who_has_it_mapped_is_noticed(any_room: Room) -> None:
    path, other = any_room.file("a"), any_room.file("b")
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with mapped, other.open("rb"):
        results = any_room.take(path, other)
    assert [answer.writers for answer in results] == [("a program that can't be seen, or has it mapped",), ()]


def test_open_writers_are_named(room: Room) -> None:
    path = room.file("a", mode=0o600)
    code = "import sys, time; f = open(sys.argv[1], 'r+b'); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        (answer,) = room.take(path)
        writer.communicate(b"")
    assert [f"(pid {writer.pid})" in program for program in answer.writers] == [True]
    assert room.items()[0].latest["writers"][0]["pid"] == writer.pid


def test_one_process_at_a_time(room: Room) -> None:
    code = (
        "import sys; from hashscan.quarantine.store import Quarantine\n"
        "from hashscan.state_dir import StateDir\n"
        "with Quarantine(StateDir(sys.argv[1])): print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(room.state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(LockedError):
            Quarantine(StateDir(room.state))
        holder.kill()
    Quarantine(StateDir(room.state)).close()


def test_a_full_disk_leaves_the_file(far_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = far_room.file("a"), far_room.file("b", b"small")
    write = system.write

    def full(descriptor: int, data: bytes) -> None:
        if data == b"accused":
            raise OSError(28, "No space left on device")
        write(descriptor, data)

    monkeypatch.setattr(system, "write", full)
    results = {answer.path: answer for answer in far_room.take(path, other)}
    assert results[os.fsencode(path)].outcome is Outcome.REFUSED
    assert "No space left" in results[os.fsencode(path)].detail
    # One that is too large keeps no other from being moved.
    assert results[os.fsencode(other)].outcome is Outcome.DONE
    assert [item.path for item in far_room.items() if item.state is State.MOVED] == [os.fsencode(other)]
    assert path.read_bytes() == b"accused"
    assert mended(far_room.state) == []
    assert verify(StateDir(far_room.state), None)[1:] == (1, [])


def test_a_disk_that_fails_as_the_ends_of_moves_are_logged(
    any_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = any_room.file("a")

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(system, "sync_file_system", failing)
        with pytest.raises(OutputError, match="Input/output error"):
            any_room.take(path)
    assert in_order(any_room, path, b"accused", 0o640) in {"kept", "there"}


@needs_root
def test_a_place_that_others_could_exchange_is_refused(room: Room, tmp_path: Path) -> None:
    for mode, owner in ((0o777, 0), (0o755, 12345)):
        unsafe = tmp_path / f"unsafe{owner}"
        unsafe.mkdir()
        unsafe.chmod(mode)
        os.chown(unsafe, owner, owner)
        with pytest.raises(UsageError, match="can rename"):
            QuarantineFolders(tmp_path, [unsafe])
    taken = tmp_path / "taken"
    (taken / ".hashscan-quarantine").mkdir(parents=True)
    os.chown(taken / ".hashscan-quarantine", 12345, 12345)
    with pytest.raises(UsageError, match="not this user's alone"):
        QuarantineFolders(tmp_path, [taken])


@needs_root
def test_a_chosen_place_is_used_for_its_file_system(room: Room, shared: Path) -> None:
    path = shared / "files" / "a"
    path.parent.mkdir()
    path.write_bytes(b"accused")
    with Quarantine(StateDir(room.state), [shared]) as quarantine:
        (answer,) = move(quarantine, [request(path)], TERMS)
    assert (shared / ".hashscan-quarantine" / answer.item).read_bytes() == b"accused"
    assert room.items()[0].record["way"] == "rename"


@needs_root
@pytest.mark.parametrize(("flag", "word"), [("i", "immutable"), ("a", "append-only")])
@pytest.mark.parametrize("of", ["it", "its folder"])
def test_what_may_not_be_moved_stays_and_the_remedy_is_said(
    of: str, flag: str, word: str, any_room: Room
) -> None:
    path = any_room.file("d/it's")
    fixed = path if of == "it" else path.parent
    if subprocess.run(["chattr", f"+{flag}", fixed], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no such flags")
    (answer,) = any_room.take(path)
    assert answer.outcome is Outcome.REFUSED
    start = f"{of} is {word}: run `"
    assert answer.detail.startswith(start)
    # Nothing was begun.
    assert any_room.items() == []
    remedy = answer.detail.removeprefix(start).split("`")[0]
    subprocess.run(["sh", "-c", remedy], check=True)
    assert in_order(any_room, path, b"accused", 0o640) == "there"
    (answer,) = any_room.take(path)
    assert answer.outcome is Outcome.DONE


@needs_root
def test_a_file_that_is_made_immutable_at_the_last_moment(
    any_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = any_room.file("a")
    fixed: list[int] = []
    chattr = ["chattr", "+i", path]
    before_rename(monkeypatch, lambda: fixed.append(subprocess.run(chattr, check=False).returncode))
    (answer,) = any_room.take(path)
    if fixed != [0]:
        pytest.skip("this file system knows no such flags")
    subprocess.run(["chattr", "-i", path], check=True)
    assert answer.outcome is Outcome.REFUSED
    assert in_order(any_room, path, b"accused", 0o640) == "there"


@needs_root
def test_a_file_keeps_extended_attributes_that_are_too_large_for_its_record(room: Room, shared: Path) -> None:
    path = shared / "a"
    path.write_bytes(b"accused")
    try:
        for number in range(5):
            os.setxattr(path, f"user.{number}", b"x" * 65_000)
    except OSError:
        pytest.skip("this file system keeps no large attributes")
    (answer,) = room.take(path)
    assert answer.outcome is Outcome.DONE
    (item,) = room.items()
    assert item.record["file"]["xattrs_left"] == 4
    with Quarantine(StateDir(room.state)) as quarantine:
        restore(quarantine, quarantine.items()[item.id])
    assert {len(os.getxattr(path, f"user.{number}")) for number in range(5)} == {65_000}


TO_BIND_LOW_PORTS = bytes.fromhex("0100000200200000000000000000000000000000")


def held_by(path: Path, code: str) -> subprocess.Popen[bytes]:
    """A process that holds a write lease on a file."""
    start = (
        "import fcntl, os, signal, sys, time\n"
        "file = os.open(sys.argv[1], os.O_RDWR)\n"
        "def lease(kind): fcntl.fcntl(file, fcntl.F_SETLEASE, kind)\n"
        f"{code}\n"
        "lease(fcntl.F_WRLCK)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", start, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    return holder


SLOW = "signal.signal(signal.SIGIO, lambda *_: (time.sleep(1), lease(fcntl.F_UNLCK)))"
KEPT = "signal.signal(signal.SIGIO, signal.SIG_IGN)"
"""Until the kernel takes it away, after `/proc/sys/fs/lease-break-time`: 45 s."""


@pytest.mark.parametrize(("code", "outcome"), [(SLOW, Outcome.DONE), (KEPT, Outcome.REFUSED)])
def test_a_lease_is_waited_for_and_not_for_ever(code: str, outcome: Outcome, room: Room) -> None:
    path, other = room.file("a"), room.file("b")
    with held_by(path, code) as holder, Quarantine(StateDir(room.state)) as quarantine:
        quarantine.search_budget.seconds = 3 if outcome is Outcome.REFUSED else 60
        asked = [request(path, b"accused"), request(other, b"accused")]
        results = {answer.path: answer for answer in move(quarantine, asked, TERMS)}
        holder.communicate(b"")
    assert results[os.fsencode(path)].outcome is outcome
    assert ("lease" in results[os.fsencode(path)].detail) is (outcome is Outcome.REFUSED)
    assert results[os.fsencode(other)].outcome is Outcome.DONE


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of XFS, with projects and as many attributes as one likes."""
    image, top = tmp_path / "image", tmp_path / "mounted"
    top.mkdir()
    with image.open("wb") as file:
        file.truncate(400 << 20)
    for command in (
        ["mkfs.xfs", "-q", image],
        ["mount", "-o", "loop", image, top],
    ):
        try:
            failed = subprocess.run(command, capture_output=True, check=False).returncode != 0
        except FileNotFoundError:
            failed = True
        if failed:
            pytest.skip("no XFS can be mounted here")
    yield top
    subprocess.run(["umount", top], check=True)


@needs_root
@pytest.mark.parametrize("far", [False, True])
def test_projects_keep_nothing_from_being_moved(
    far: bool, room: Room, xfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder hands its project on, and takes no file of another by a rename."""
    subprocess.run(["chattr", "+P", "-p", "5", xfs], check=True)
    if far:
        monkeypatch.setattr(QuarantineFolders, "_at_mount_point", lambda self, mount: None)
    path = xfs / "folder" / "a"
    path.parent.mkdir()
    path.write_bytes(b"accused")
    subprocess.run(["chattr", "-p", "7", path], check=True)
    with Quarantine(StateDir(room.state)) as quarantine:
        (answer,) = move(quarantine, [request(path, b"accused")], TERMS)
    assert answer.outcome is Outcome.DONE, answer
    (item,) = room.items()
    assert item.record["way"] == ("copy" if far else "rename")
    with Quarantine(StateDir(room.state)) as quarantine:
        restore(quarantine, quarantine.items()[item.id])
    assert path.read_bytes() == b"accused"


@needs_root
def test_more_attributes_than_the_kernel_lists(room: Room, xfs: Path) -> None:
    path = xfs / "a"
    path.write_bytes(b"accused")
    for number in range(400):
        os.setxattr(path, "user." + f"{number:04}" + "n" * 240, b"")
    with pytest.raises(OSError, match="too long"):
        os.listxattr(path)
    os.setxattr(path, "security.capability", TO_BIND_LOW_PORTS)
    (answer,) = room.take(path)
    assert answer.outcome is Outcome.DONE
    (item,) = room.items()
    assert list(item.record["file"]["xattrs"]) == ["security.capability"]
    with Quarantine(StateDir(room.state)) as quarantine:
        restore(quarantine, quarantine.items()[item.id])
    assert os.getxattr(path, "user.0399" + "n" * 240) == b""
    assert os.getxattr(path, "security.capability") == TO_BIND_LOW_PORTS


def test_what_can_not_be_renamed_into_its_place_is_copied_there(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = room.file("a"), system.rename

    def crossing(folder: int, name: bytes, new_folder: int, new_name: bytes) -> None:
        if name == b"a" and b"/files/" not in os.readlink(f"/proc/self/fd/{new_folder}").encode():
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(folder, name, new_folder, new_name)

    monkeypatch.setattr(system, "rename", crossing)
    with Quarantine(StateDir(room.state)) as quarantine:
        (answer,) = move(quarantine, [request(path, b"accused")], TERMS)
    monkeypatch.undo()
    assert answer.outcome is Outcome.DONE
    assert [item.state for item in room.items()] == [State.LEFT, State.MOVED]
    assert in_order(room, path, b"accused", 0o640) == "kept"


@pytest.mark.parametrize("moved", ["folder", "file", "both"])
def test_what_was_moved_elsewhere_since_it_was_found_is_looked_for(moved: str, room: Room) -> None:
    path, innocent = room.file("a/b/c"), room.file("other/c", b"innocent")
    status = path.stat()
    found = Identity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    asked = QuarantineRequest(os.fsencode(path), {}, hashlib.sha256(b"accused").hexdigest(), found)
    if moved != "file":
        (room.files / "a" / "b").rename(room.files / "a" / "new")
        path = room.files / "a" / "new" / "c"
    if moved != "folder":
        path.rename(path.with_name("renamed"))
    with Quarantine(StateDir(room.state)) as quarantine:
        (answer,) = move(quarantine, [asked], TERMS)
    assert (answer.outcome, answer.path) == (Outcome.DONE, asked.path)
    assert [p for p in room.files.rglob("*") if p.is_file()] == [innocent]


def test_what_is_known_by_its_content_may_change_in_all_else(
    any_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the last moment: it has another name, mode and time, and its folder is a link to another's."""
    path, outside = any_room.file("d/a"), any_room.file("outside/a", b"innocent")

    def change() -> None:
        path.chmod(0o604)
        os.utime(path)
        path.rename(path.with_name("other"))
        path.parent.rename(any_room.files / "moved")
        path.parent.symlink_to(outside.parent)

    before_rename(monkeypatch, change)
    with Quarantine(StateDir(any_room.state)) as quarantine:
        (answer,) = move(quarantine, [request(path, b"accused")], TERMS)
    assert answer.outcome is Outcome.DONE
    assert os.listdir(any_room.files / "moved") == []
    assert outside.read_bytes() == b"innocent"
    assert verify(StateDir(any_room.state), None)[1:] == (1, [])


def test_another_content_at_the_last_moment_goes_back_as_it_is(
    any_room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = any_room.file("a")

    def change() -> None:
        path.write_bytes(b"changed")
        path.chmod(0o604)
        os.utime(path, ns=(10**18, 10**18))

    before_rename(monkeypatch, change)
    with Quarantine(StateDir(any_room.state)) as quarantine:
        (answer,) = move(quarantine, [request(path, b"accused")], TERMS)
    assert answer.outcome is Outcome.CHANGED
    assert path.read_bytes() == b"changed"
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o604, 10**18)
    assert verify(StateDir(any_room.state), None)[1:] == (0, [])
