from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import threading
from collections.abc import Callable

import pytest

from hashscan.model import Reason
from hashscan.sources.filesystem import safe_open
from hashscan.sources.filesystem.regular_files import file_trouble
from hashscan.sources.filesystem.safe_open import (
    FILE_FLAGS,
    LIST_FLAGS,
    PASS_FLAGS,
    open_absolute,
    open_beneath,
    open_by_openat2,
    open_by_steps,
    open_child,
)
from tests.sources.children import OPENAT2, fail_call, in_child, needs_numbers
from tests.sources.trees import FOLDER, make_chain, write

Opener = Callable[[int, bytes, int], int]


@pytest.fixture(params=[open_by_openat2, open_by_steps, open_beneath])
def opener(request: pytest.FixtureRequest) -> Opener:
    chosen: Opener = request.param
    if chosen is open_by_openat2 and not safe_open._has_openat2():
        pytest.skip("this kernel or container has no openat2")
    return chosen


def reading(opener: Opener, root: bytes, path: bytes) -> bytes:
    top = os.open(root, FOLDER)
    try:
        descriptor = opener(top, path, FILE_FLAGS)
    finally:
        os.close(top)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def refusal(opener: Opener, root: bytes, path: bytes, flags: int = FILE_FLAGS) -> OSError:
    top = os.open(root, FOLDER)
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            opener(top, path, flags)
    finally:
        os.close(top)
    return caught.value


def identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    os.close(descriptor)
    return status.st_dev, status.st_ino


def test_opens_files_and_folders(opener: Opener, tree: bytes) -> None:
    write(tree + b"/a/b/f", b"content")
    write(tree + b"/a/\xff\n/f", b"odd")
    assert reading(opener, tree, b"a/b/f") == b"content"
    assert reading(opener, tree, b"a/\xff\n/f") == b"odd"
    top = os.open(tree, FOLDER)
    for flags in (LIST_FLAGS, PASS_FLAGS):
        status = os.stat(tree + b"/a/b")
        assert identity(opener(top, b"a/b", flags)) == (status.st_dev, status.st_ino)
        assert identity(opener(top, b"", flags)) == (os.stat(tree).st_dev, os.stat(tree).st_ino)
    os.close(top)


def test_descriptors_are_not_inherited(opener: Opener, tree: bytes) -> None:
    write(tree + b"/a/f")
    top = os.open(tree, FOLDER)
    for path, flags in ((b"a/f", FILE_FLAGS), (b"a", LIST_FLAGS), (b"a", PASS_FLAGS)):
        descriptor = opener(top, path, flags)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
    os.close(top)


@pytest.mark.parametrize("path", [b"link/f", b"in/link/f", b"in/leaf", b"up/f", b"absolute/f"])
def test_follows_no_link(opener: Opener, tree: bytes, path: bytes) -> None:
    write(tree + b"/real/f")
    os.mkdir(tree + b"/in")
    os.symlink(b"real", tree + b"/link")
    os.symlink(b"../real", tree + b"/in/link")
    os.symlink(b"../real/f", tree + b"/in/leaf")
    os.symlink(b"..", tree + b"/up")
    os.symlink(tree + b"/real", tree + b"/absolute")
    error = refusal(opener, tree, path)
    assert error.errno in {errno.ELOOP, errno.ENOTDIR}
    assert file_trouble(error).reason is Reason.REPLACED


@pytest.mark.parametrize("flags", [LIST_FLAGS, PASS_FLAGS])
def test_folder_must_be_one(opener: Opener, tree: bytes, flags: int) -> None:
    write(tree + b"/f")
    os.symlink(tree, tree + b"/link")
    os.mkfifo(tree + b"/fifo")
    for name in (b"f", b"link", b"fifo"):
        assert file_trouble(refusal(opener, tree, name, flags)).reason is Reason.REPLACED


def test_magic_links_are_links(opener: Opener) -> None:
    error = refusal(opener, b"/proc/%d" % os.getpid(), b"root/tmp", PASS_FLAGS)
    assert error.errno in {errno.ELOOP, errno.ENOTDIR}


def test_missing(opener: Opener, tree: bytes) -> None:
    write(tree + b"/a/f")
    assert refusal(opener, tree, b"a/g").errno == errno.ENOENT
    assert refusal(opener, tree, b"b/f").errno == errno.ENOENT
    assert refusal(opener, tree, b"a/f/g").errno == errno.ENOTDIR
    assert refusal(opener, tree, b"x" * 5000).errno == errno.ENAMETOOLONG


@pytest.mark.parametrize(
    "path", [b"..", b"a/../b", b"../a", b".", b"a/./b", b"/a", b"a/", b"a//b", b"/", b"a\0b", b"a/.."]
)
def test_odd_paths_are_bugs(opener: Opener, tree: bytes, path: bytes) -> None:
    top = os.open(tree, FOLDER)
    with pytest.raises(ValueError, match="not a plain path"):
        opener(top, path, PASS_FLAGS)
    os.close(top)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/"])
def test_odd_names_are_bugs(tree: bytes, name: bytes) -> None:
    top = os.open(tree, FOLDER)
    with pytest.raises(ValueError, match="not a name"):
        open_child(top, name, FILE_FLAGS)
    os.close(top)


# 4000 and its neighbours are where a path is cut; 255 is the longest name.
@pytest.mark.parametrize("length", [3998, 3999, 4000, 4001, 4002, 4094, 4095, 4096, 4097, 8001, 20_000])
def test_long_paths(opener: Opener, tree: bytes, length: int) -> None:
    names = [b"n" * 99] * (length // 100)
    rest = length - 100 * len(names)
    names += [b"m" * rest] if rest else []
    make_chain(tree, names, file=b"f")
    path = b"/".join(names)
    assert reading(opener, tree, path + b"/f") == b""
    assert refusal(opener, tree, path + b"/g").errno == errno.ENOENT


def test_link_where_a_long_path_is_cut(opener: Opener, tree: bytes) -> None:
    names = [b"n" * 99] * 80
    make_chain(tree, names)
    os.rename(tree + b"/" + b"/".join(names[:39]), tree + b"/away")
    os.symlink(tree + b"/away", tree + b"/" + b"/".join(names[:39]))
    assert file_trouble(refusal(opener, tree, b"/".join(names), PASS_FLAGS)).reason is Reason.REPLACED


def test_ten_thousand_folders_deep(opener: Opener, deep_tree: bytes) -> None:
    assert reading(opener, deep_tree, b"d/" * 10_000 + b"f") == b""
    assert refusal(opener, deep_tree, b"d/" * 10_001 + b"f").errno == errno.ENOENT


def test_search_permission_is_enough_to_pass(opener: Opener, tree: bytes) -> None:
    write(tree + b"/closed/in/f", b"content")
    os.chmod(tree + b"/closed", 0o711)
    if os.geteuid() != 0:
        os.chmod(tree + b"/closed", 0o111)
    assert in_child(lambda: reading(opener, tree, b"closed/in/f"), as_nobody=True) == b"content"
    os.chmod(tree + b"/closed", 0o600)
    error = in_child(lambda: refusal(opener, tree, b"closed/in/f").errno, as_nobody=True)
    assert error == errno.EACCES
    os.chmod(tree + b"/closed", 0o700)


def test_neither_fifo_nor_socket_holds_us_up(opener: Opener, tree: bytes) -> None:
    os.mkfifo(tree + b"/fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(tree + b"/socket")
    assert reading(opener, tree, b"fifo") == b""
    assert file_trouble(refusal(opener, tree, b"socket")).reason is Reason.REPLACED
    listening.close()


def test_absolute(tree: bytes) -> None:
    write(tree + b"/a/f")
    status = os.stat(tree + b"/a")
    assert identity(open_absolute(tree + b"/a", PASS_FLAGS)) == (status.st_dev, status.st_ino)
    assert identity(open_absolute(b"/", LIST_FLAGS)) == (os.stat("/").st_dev, os.stat("/").st_ino)
    os.symlink(tree + b"/a", tree + b"/link")
    with pytest.raises(OSError, match=r"symbolic|directory"):
        open_absolute(tree + b"/link/f", FILE_FLAGS)
    with pytest.raises(ValueError, match="absolute"):
        open_absolute(b"a", PASS_FLAGS)


@needs_numbers
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_kernel_or_container_without_openat2(tree: bytes, error: int) -> None:
    write(tree + b"/a/b/f", b"content")
    os.symlink(b"b", tree + b"/a/link")

    def without() -> tuple[bytes, int | None, int | None]:
        fail_call(OPENAT2, error)
        safe_open._has_openat2.cache_clear()
        top = os.open(tree, FOLDER)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            open_by_openat2(top, b"a/b/f", FILE_FLAGS)
        os.close(top)
        return (
            reading(open_beneath, tree, b"a/b/f"),
            refusal(open_beneath, tree, b"a/link/f").errno,
            caught.value.errno,
        )

    assert in_child(without) == (b"content", errno.ENOTDIR, error)


def test_leases_are_waited_for_but_not_long(opener: Opener, tree: bytes) -> None:
    # The owner of a file may take a lease on it, and the kernel then refuses us until it lets go.
    write(tree + b"/a/f", b"content")
    holder = os.open(tree + b"/a/f", os.O_RDWR)
    previous = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        try:
            fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip("no leases on this file system")
        assert refusal(opener, tree, b"a/f").errno == errno.EAGAIN
        letting_go = threading.Timer(0.02, fcntl.fcntl, (holder, fcntl.F_SETLEASE, fcntl.F_UNLCK))
        letting_go.start()
        assert reading(opener, tree, b"a/f") == b"content"
        letting_go.join()
    finally:
        signal.signal(signal.SIGIO, previous)
        os.close(holder)


def test_threads_see_their_own_errors(opener: Opener, tree: bytes) -> None:
    write(tree + b"/a/f")
    os.symlink(b"a", tree + b"/link")
    wrong: list[object] = []

    def ask(path: bytes, expected: int) -> None:
        top = os.open(tree, FOLDER)
        for _ in range(500):
            try:
                os.close(opener(top, path, FILE_FLAGS))
                wrong.append(path)
            except OSError as error:
                if error.errno != expected:
                    wrong.append((path, error))
        os.close(top)

    link = refusal(opener, tree, b"link/f").errno
    assert link is not None
    threads = [
        threading.Thread(target=ask, args=case)
        for case in ((b"a/g", errno.ENOENT), (b"link/f", link), (b"a/f/f", errno.ENOTDIR))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_interruptions_do_no_harm(opener: Opener, tree: bytes) -> None:
    write(tree + b"/a/f")
    seen: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    timer = signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while len(seen) < 50:
            assert reading(opener, tree, b"a/f") == b"x"
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, previous)


def test_a_forked_child_reads_its_own_descriptors(tree: bytes) -> None:
    """Not its parent's, where the same number leads to another file, or to none."""
    write(tree + b"/ours", b"ours")
    safe_open.own_descriptors()

    def read() -> bytes:
        return os.read(safe_open.reopen_for_reading(os.open(tree + b"/ours", safe_open.EXAMINE_FLAGS)), 9)

    assert in_child(read) == b"ours"
