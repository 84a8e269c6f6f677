"""Tests of sources.filesystem.mounts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from hashscan.model import Batch, FolderReason, Reason
from hashscan.sources.base import FileError, ListingOptions, UnlistedFolder
from hashscan.sources.filesystem import mounts, regular_files
from hashscan.sources.filesystem.mounts import ForeignMountError, identity_in_python, is_pseudo, seen
from hashscan.sources.filesystem.safe_open import (
    FILE_FLAGS,
    LIST_FLAGS,
    PASS_FLAGS,
    open_absolute,
    open_by_steps,
)
from hashscan.sources.filesystem.source import FilesystemSource
from hashscan.sources.filesystem.targets import real_path
from tests.small_fuse import SmallFile, silent_filesystem, small_filesystem
from tests.sources.children import in_child, mount, needs_root, own_mounts

T = TypeVar("T")
PATIENCE_SECONDS = 60


def ended(function: Callable[[], T]) -> T:
    """Return a function's result, unless it hangs: then the child is killed, and the test fails."""

    def limited() -> T:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_SECONDS)
        return function()

    return in_child(limited)


def refused(function: Callable[[], object]) -> bool:
    try:
        function()
    except ForeignMountError:
        return True
    return False


@pytest.mark.parametrize("path", ["/", "/proc", "/dev/shm", __file__])
def test_what_is_seen(path: str) -> None:
    descriptor = os.open(path, os.O_PATH)
    found, status = seen(descriptor), os.fstat(descriptor)
    assert found == identity_in_python(descriptor)
    assert found[:3] == (status.st_dev, status.st_ino, status.st_mode)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        seen(descriptor)


@pytest.mark.parametrize(
    ("line", "user"),
    [
        (b"36 35 98:0 /a /b rw,noatime master:1 - ext4 /dev/vda rw,user_id=7", None),
        (b"36 35 0:50 / /b rw - fuse.sshfs a\\040-\\040b rw,user_id=1000,group_id=5,allow_other", 1000),
        (b"36 35 0:50 / /b rw shared:1 master:2 - fuse x rw,user_id=0,group_id=0", 0),
        (b"36 35 0:50 / /b rw - fuseblk /dev/sdb1 rw,user_id=33", 33),
        (b"36 35 0:50 / /b rw - fusectl fusectl rw", None),
    ],
)
def test_whose_a_mount_is(line: bytes, user: int | None) -> None:
    assert mounts.mount_and_user(line) == (36, user)


@needs_root
@pytest.mark.parametrize("python", [False, True])
def test_paths_end_at_its_root(tree: bytes, python: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if python:
        monkeypatch.setattr(mounts, "identity", identity_in_python)
        monkeypatch.setattr(regular_files, "identity", identity_in_python)
    os.makedirs(tree + b"/m")
    os.symlink(b"m", tree + b"/link")
    Path(os.fsdecode(tree + b"/f")).touch()

    def attempts() -> list[bool]:
        top = os.open("/", PASS_FLAGS)
        return [
            refused(attempt)
            for attempt in (
                lambda: open_absolute(tree + b"/m", PASS_FLAGS),
                lambda: open_absolute(tree + b"/m", LIST_FLAGS),
                lambda: open_absolute(tree + b"/m/x/y", LIST_FLAGS),
                lambda: open_absolute(tree + b"/f", FILE_FLAGS),
                lambda: open_by_steps(top, tree[1:] + b"/m/x", FILE_FLAGS),
                lambda: real_path(tree + b"/link/x"),
            )
        ]

    with (
        silent_filesystem(Path(os.fsdecode(tree)) / "m", 1000),
        silent_filesystem(Path(os.fsdecode(tree)) / "f", 1000),
    ):
        assert ended(attempts) == [True] * 6
    with small_filesystem(Path(os.fsdecode(tree)) / "m", "ours", {b"x": SmallFile(b"x", 5)}):
        assert not refused(lambda: os.close(open_absolute(tree + b"/m/x", FILE_FLAGS)))


@needs_root
def test_the_user_who_scans_may_have_one(tree: bytes) -> None:
    os.makedirs(tree + b"/m")

    def attempt() -> bool:
        os.seteuid(1000)
        return refused(lambda: open_absolute(tree + b"/m", PASS_FLAGS))

    os.chmod(tree, 0o755)
    with silent_filesystem(Path(os.fsdecode(tree)) / "m", 1000):
        assert not ended(attempt)


@needs_root
def test_a_mount_that_comes_later_is_seen(tree: bytes) -> None:
    for name in (b"/a", b"/m"):
        os.makedirs(tree + name)

    def attempt() -> list[bool]:
        own_mounts()
        mount(b"tmpfs", b"none", tree + b"/a")
        before = refused(lambda: open_absolute(tree + b"/a", PASS_FLAGS))
        # The numbers of the mount that is gone are free for the next.
        mounts._libc.umount2(tree + b"/a", 2)
        with silent_filesystem(Path(os.fsdecode(tree)) / "m", 1000):
            return [before, refused(lambda: open_absolute(tree + b"/m", PASS_FLAGS))]

    assert ended(attempt) == [False, True]


@needs_root
@pytest.mark.parametrize("over", ["folder", "above", "file"])
def test_one_that_is_mounted_between_listing_and_reading(tree: bytes, over: str) -> None:
    place = Path(os.fsdecode(tree))
    (place / "above" / "folder").mkdir(parents=True)
    (place / "above" / "folder" / "file").write_bytes(b"x")
    at = {"above": place / "above", "folder": place / "above/folder", "file": place / "above/folder/file"}
    (batch,) = [
        listing
        for listing in FilesystemSource([tree], ListingOptions()).listings()
        if isinstance(listing, Batch)
    ]

    def attempt() -> Reason | None:
        try:
            with FilesystemSource.opener(None).reopen(batch) as folder:  # type: ignore[arg-type]
                folder.open(batch.items[0])
        except FileError as trouble:
            return trouble.reason
        return None

    with silent_filesystem(at[over], 1000):
        assert ended(attempt) in {Reason.FUSE, Reason.REPLACED}


@needs_root
def test_a_walk_goes_on_beside_it(tree: bytes) -> None:
    place = Path(os.fsdecode(tree))
    for number in range(3):
        (place / str(number)).mkdir()
        (place / str(number) / "f").write_bytes(b"x")

    def attempt() -> tuple[list[object], int]:
        listings = list(FilesystemSource([tree], ListingOptions()).listings())
        closed = [one for one in listings if isinstance(one, UnlistedFolder)]
        files = sum(len(one.items) for one in listings if isinstance(one, Batch))
        return [(one.folder, one.reason) for one in closed], files

    with silent_filesystem(place / "1", 1000):
        assert ended(attempt) == ([(b"1", FolderReason.FUSE)], 2)


@needs_root
def test_other_things_mounted_over_files_are_read(tree: bytes) -> None:
    place = Path(os.fsdecode(tree))
    (place / "f").write_bytes(b"beneath")
    (place / "g").write_bytes(b"other")

    def attempt() -> dict[bytes, int]:
        own_mounts()
        mount(b"none", tree + b"/g", tree + b"/f", bind=True)
        listings = list(FilesystemSource([tree], ListingOptions()).listings())
        return {i.name: i.stat.size for one in listings if isinstance(one, Batch) for i in one.items}

    assert ended(attempt) == {b"f": 5, b"g": 5}


def asked(path: str | bytes) -> bool:
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        return is_pseudo(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("path", ["/proc", "/sys", "/proc/self/task", "/dev/pts"])
def test_where_the_kernel_shows_itself(path: str) -> None:
    if not os.path.isdir(path):
        pytest.skip(f"no {path} here")
    assert asked(path)


def test_where_files_are_kept(tree: bytes) -> None:
    assert not asked(tree)


def test_what_cannot_be_asked_is_looked_at() -> None:
    assert not is_pseudo(-1)


@needs_root
def test_file_systems_by_kind(tree: bytes) -> None:
    def kinds() -> dict[bytes, bool]:
        own_mounts()
        answers = {}
        for kind in (b"proc", b"tmpfs", b"mqueue", b"sysfs"):
            where = tree + b"/" + kind
            os.mkdir(where)
            mount(kind, b"none", where)
            answers[kind] = asked(where)
        return answers

    assert in_child(kinds) == {b"proc": True, b"tmpfs": False, b"mqueue": True, b"sysfs": True}
