from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable

import pytest

from hashscan.model import Reason
from hashscan.sources import regular
from hashscan.sources.base import FileError
from hashscan.sources.regular import open_regular

from .children import in_child, mount, needs_root, own_mounts
from .trees import FOLDER, write


@pytest.fixture(params=[True, False], ids=["by proc", "by name"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        assert regular._has_proc(), "these tests are for machines with /proc"
    else:
        monkeypatch.setattr(regular, "_has_proc", lambda: False)


def read(path: bytes, status: os.stat_result | None = None) -> bytes:
    """Read a file if it is still the one of that status."""
    expected = status or os.lstat(path)
    folder = os.open(os.path.dirname(path), FOLDER)
    try:
        descriptor, found = open_regular(folder, os.path.basename(path), expected.st_dev, expected.st_ino)
    finally:
        os.close(folder)
    try:
        assert os.path.samestat(found, os.fstat(descriptor))
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
        regular._has_proc.cache_clear()
        return regular._has_proc(), read(tree + b"/f")

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
