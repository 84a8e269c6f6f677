from __future__ import annotations

import errno
import os
import stat

import pytest

from hashscan.model import FileStat, FolderReason, Reason
from hashscan.sources.base import FileError, UnlistedFolder
from hashscan.sources.posix import (
    closed_folder,
    describe_file_type,
    file_stat,
    file_trouble,
    require_identity,
)

from .trees import write

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
