"""Tests of sources.filesystem.regular_files."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable

import pytest

from hashscan.model import FileStat, FolderReason, Reason
from hashscan.sources.base import FileError, UnlistedFolder
from hashscan.sources.filesystem import regular_files
from hashscan.sources.filesystem.regular_files import (
    closed_folder,
    describe_file_type,
    file_stat,
    file_trouble,
    open_listed,
    require_identity,
)
from tests.sources.children import in_child, mount, needs_root, own_mounts
from tests.sources.trees import FOLDER, write

YEAR_2400 = 13_569_465_600 * 10**9


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOENT, Reason.VANISHED),
        (errno.EACCES, Reason.PERMISSION),
        (errno.EPERM, Reason.PERMISSION),
        (errno.ELOOP, Reason.REPLACED),
        (errno.ENOTDIR, Reason.REPLACED),
        (errno.ENXIO, Reason.REPLACED),
    ],
)
def test_errors_with_a_reason_of_their_own(number: int, reason: Reason) -> None:
    trouble = file_trouble(OSError(number, os.strerror(number)))
    assert (trouble.reason, trouble.detail) == (reason, "")


def test_all_other_errors_keep_the_words_of_the_system() -> None:
    for number in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.EAGAIN):
        trouble = file_trouble(OSError(number, os.strerror(number), b"/secret/name"))
        assert (trouble.reason, trouble.detail) == (Reason.IO_ERROR, os.strerror(number))
    assert file_trouble(OSError("odd")).detail == "odd"


@pytest.mark.parametrize("reason", [Reason.PERMISSION, Reason.IO_ERROR, Reason.VANISHED, Reason.REPLACED])
def test_folders_have_the_same_troubles(reason: Reason) -> None:
    closed = closed_folder(b"/t", b"f", FileError(reason, "words"))
    assert closed == UnlistedFolder(b"/t", b"f", FolderReason(reason.value), "words")


def test_kinds(tree: bytes) -> None:
    os.mkfifo(tree + b"/fifo")
    os.symlink(b"x", tree + b"/link")
    write(tree + b"/file")
    shown = {
        name: describe_file_type(os.lstat(os.path.join(tree, name)).st_mode) for name in os.listdir(tree)
    }
    assert shown == {b"fifo": "a FIFO", b"link": "a symbolic link", b"file": "a regular file"}
    assert describe_file_type(os.stat(tree).st_mode) == "a folder"
    assert describe_file_type(os.stat("/dev/null").st_mode) == "a character device"
    assert describe_file_type(stat.S_IFSOCK) == "a socket"


@pytest.mark.parametrize("mtime", [YEAR_2400, -(10**9) + 1, 0])
def test_file_stat(tree: bytes, mtime: int) -> None:
    write(tree + b"/f", b"12345")
    os.link(tree + b"/f", tree + b"/g")
    os.utime(tree + b"/f", ns=(0, mtime))
    found = os.stat(tree + b"/f")
    if found.st_mtime_ns != mtime:
        pytest.skip("this file system can't keep that time")
    assert file_stat(found) == FileStat(
        found.st_dev, found.st_ino, 5, mtime, found.st_ctime_ns, links=2, uid=os.geteuid()
    )


def test_expect(tree: bytes) -> None:
    status = os.stat(tree)
    descriptor = os.open(tree, os.O_RDONLY)
    assert require_identity(descriptor, status.st_dev, status.st_ino) == descriptor
    with pytest.raises(FileError) as caught:
        require_identity(descriptor, status.st_dev, status.st_ino + 1)
    assert caught.value.reason is Reason.REPLACED
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.fixture(params=["in C", "by proc", "by name"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.path.exists("/proc/self/fd"), "these tests are for machines with /proc"
    if request.param == "in C" and regular_files._open_listed is regular_files._not_opened:
        pytest.skip("the extension was not built")
    if request.param != "in C":
        monkeypatch.setattr(regular_files, "_open_listed", regular_files._not_opened)
    if request.param == "by name":
        monkeypatch.setattr(regular_files, "_has_proc", lambda: False)


def read(path: bytes, status: os.stat_result | None = None) -> bytes:
    """Read a file if it is still the one of that status."""
    expected = status or os.lstat(path)
    folder = os.open(os.path.dirname(path), FOLDER)
    try:
        descriptor, found, blocks = open_listed(
            folder, os.path.basename(path), expected.st_dev, expected.st_ino
        )
    finally:
        os.close(folder)
    try:
        status = os.fstat(descriptor)
        assert (found[:3], blocks) == (file_stat(status)[:3], status.st_blocks)
        assert not os.get_inheritable(descriptor)
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        return os.pread(descriptor, 100, 0)
    finally:
        os.close(descriptor)


def refusal(path: bytes, status: os.stat_result | None = None) -> tuple[Reason, str]:
    with pytest.raises(FileError) as caught:
        read(path, status)
    return caught.value.reason, caught.value.detail


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("name", [b"f", b"\xff\n", b"n" * 255])
def test_reads(tree: bytes, name: bytes) -> None:
    write(tree + b"/" + name, b"content")
    assert read(tree + b"/" + name) == b"content"


def put_socket(path: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)


def put_link_to_itself(path: bytes) -> None:
    os.symlink(path + b".away", path)


def put_link_to_secret(path: bytes) -> None:
    os.symlink(b"/etc/passwd", path)


def put_file(path: bytes) -> None:
    write(path, b"secret")


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("put", "detail"),
    [
        (os.mkfifo, "it is a FIFO now"),
        (os.mkdir, "it is a folder now"),
        (put_socket, "it is a socket now"),
        (put_link_to_itself, "it is a symbolic link now"),
        (put_link_to_secret, "it is a symbolic link now"),
        (put_file, "it is another file now"),
    ],
)
def test_something_else_in_its_place(tree: bytes, put: Callable[[bytes], object], detail: str) -> None:
    path = tree + b"/f"
    write(path)
    status = os.lstat(path)
    os.rename(path, path + b".away")
    put(path)
    assert refusal(path, status) == (Reason.REPLACED, detail)


@needs_root
@pytest.mark.usefixtures("_way")
def test_device_in_its_place(tree: bytes) -> None:
    write(tree + b"/f")
    status = os.lstat(tree + b"/f")
    os.rename(tree + b"/f", tree + b"/away")
    os.mknod(tree + b"/f", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert refusal(tree + b"/f", status) == (Reason.REPLACED, "it is a character device now")


@pytest.mark.usefixtures("_way")
def test_what_is_refused_is_not_even_opened(tree: bytes) -> None:
    # Whoever waits to write into a FIFO would be let go by a reader, if only for a moment.
    write(tree + b"/f")
    status = os.lstat(tree + b"/f")
    os.rename(tree + b"/f", tree + b"/away")
    os.mkfifo(tree + b"/f")
    opened: list[int] = []
    waiting = threading.Thread(target=lambda: opened.append(os.open(tree + b"/f", os.O_WRONLY)))
    waiting.start()
    time.sleep(0.1)
    for _ in range(20):
        assert refusal(tree + b"/f", status)[0] is Reason.REPLACED
    waiting.join(0.1)
    undisturbed = waiting.is_alive()
    reader = os.open(tree + b"/f", os.O_RDONLY | os.O_NONBLOCK)
    waiting.join()
    os.close(reader)
    os.close(opened.pop())
    assert undisturbed


@pytest.mark.usefixtures("_way")
def test_gone(tree: bytes) -> None:
    write(tree + b"/f")
    status = os.lstat(tree + b"/f")
    os.unlink(tree + b"/f")
    assert refusal(tree + b"/f", status) == (Reason.VANISHED, "")


@pytest.mark.usefixtures("_way")
def test_no_permission(tree: bytes) -> None:
    write(tree + b"/f")
    os.chmod(tree + b"/f", 0)
    assert in_child(lambda: refusal(tree + b"/f"), as_nobody=True) == (Reason.PERMISSION, "")


@pytest.mark.usefixtures("_way")
def test_leased(tree: bytes) -> None:
    write(tree + b"/f", b"content")
    holder = os.open(tree + b"/f", os.O_RDWR)
    previous = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        try:
            fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip("no leases on this file system")
        assert refusal(tree + b"/f")[0] is Reason.LEASED
    finally:
        signal.signal(signal.SIGIO, previous)
        os.close(holder)
    assert read(tree + b"/f") == b"content"


@needs_root
def test_machine_without_proc(tree: bytes) -> None:
    write(tree + b"/f", b"content")

    def without() -> tuple[bool, bytes]:
        own_mounts()
        mount(b"tmpfs", b"none", b"/proc")
        regular_files._has_proc.cache_clear()
        return regular_files._has_proc(), read(tree + b"/f")

    assert in_child(without) == (False, b"content")


@pytest.mark.usefixtures("_way")
def test_exchanged_all_the_time(tree: bytes) -> None:
    """Whatever the moment, what is read is the file that was listed."""
    write(tree + b"/f", b"content")
    write(tree + b"/other", b"secret")
    status = os.lstat(tree + b"/f")
    os.link(tree + b"/f", tree + b"/kept")
    os.symlink(b"other", tree + b"/link")
    os.mkfifo(tree + b"/fifo")
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            for name in (b"other", b"link", b"fifo", b"kept"):
                os.link(tree + b"/" + name, tree + b"/next", follow_symlinks=False)
                os.rename(tree + b"/next", tree + b"/f")
                if os.path.lexists(tree + b"/next"):
                    os.unlink(tree + b"/next")

    exchanging = threading.Thread(target=exchange)
    exchanging.start()
    outcomes: set[object] = set()
    ends = time.monotonic() + 1
    try:
        while time.monotonic() < ends:
            try:
                outcomes.add(read(tree + b"/f", status))
            except FileError as trouble:
                outcomes.add(trouble.reason)
    finally:
        stop.set()
        exchanging.join()
    assert outcomes == {b"content", Reason.REPLACED}


@pytest.mark.parametrize("mtime", [10**18, YEAR_2400, -(10**9) + 1])
def test_the_extension_opens_and_compares_as_python_does(tree: bytes, mtime: int) -> None:
    """For each field that shows a change; and None for each file that Python refuses."""
    extension = pytest.importorskip("hashscan.sources._folder_listing", reason="the extension was not built")
    write(tree + b"/f", b"content")
    os.utime(tree + b"/f", ns=(mtime, mtime))
    os.symlink(b"f", tree + b"/link")
    os.mkfifo(tree + b"/fifo")
    folder = os.open(tree, FOLDER)
    known = os.lstat(tree + b"/f")
    identity = known.st_dev, known.st_ino
    own = regular_files.own_descriptors()
    opened = extension.open_listed(folder, b"f", own, *identity)
    assert opened is not None
    descriptor, status, blocks = opened
    assert (FileStat(*status), blocks) == (file_stat(known), known.st_blocks)
    for compare in (regular_files.is_unchanged, regular_files._unchanged_in_python):
        assert compare(descriptor, *status[:5])
        for place in range(5):
            other = [*status[:5]]
            other[place] += 1
            assert not compare(descriptor, *other)
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            compare(-1, *status[:5])
    os.close(descriptor)
    before = os.listdir("/proc/self/fd")
    for name in (b"", b".", b"..", b"../" + os.path.basename(tree), b"none", b"link", b"fifo"):
        there = os.lstat(tree + b"/" + name) if os.path.lexists(tree + b"/" + name) else known
        assert extension.open_listed(folder, name, own, there.st_dev, there.st_ino) is None
    assert extension.open_listed(folder, b"f", own, known.st_dev, known.st_ino + 1) is None
    assert extension.open_listed(folder, b"f", own, known.st_dev + 1, known.st_ino) is None
    assert extension.open_listed(folder, b"f", -1, *identity) is None
    assert os.listdir("/proc/self/fd") == before
    os.close(folder)
