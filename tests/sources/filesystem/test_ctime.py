from __future__ import annotations

import errno
import mmap
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashscan.model import CtimeTrust
from hashscan.sources.filesystem import ctime
from hashscan.sources.filesystem.ctime import (
    TRUSTED_TYPES,
    TYPES_TRUSTED_BY_OPTION,
    FilesystemTypes,
    ctime_trust,
)
from hashscan.sources.filesystem.mounts import filesystem_type
from tests.sources.children import in_child, needs_root

EXT4, XFS, TMPFS = TRUSTED_TYPES["ext4"], TYPES_TRUSTED_BY_OPTION["xfs"], 0x01021994
LEASES = {"C": ctime._lease, "Python": ctime._lease_in_python}
WRITING_OUT = {"C": ctime._write_out, "Python": ctime._write_out_in_python}


@pytest.fixture(params=["C", "Python"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctime, "_lease", LEASES[request.param])
    monkeypatch.setattr(ctime, "_write_out", WRITING_OUT[request.param])


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "file"
        path.write_bytes(b"content")
        yield path


@pytest.fixture
def file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.usefixtures("_way")
def test_without_a_writer_a_proven_type_is_trusted(file: int) -> None:
    assert ctime_trust(file, EXT4) is CtimeTrust.PROVEN
    # The lease was given back, so that it can be had again.
    assert ctime_trust(file, EXT4) is CtimeTrust.PROVEN


@pytest.mark.usefixtures("_way")
def test_who_writes_is_seen_until_the_last_way_to_write_is_gone(path: Path, file: int) -> None:
    writer = os.open(path, os.O_RDWR)
    assert ctime_trust(file, EXT4) is CtimeTrust.WRITER
    mapping = mmap.mmap(writer, 7)
    os.close(writer)
    assert ctime_trust(file, EXT4) is CtimeTrust.WRITER
    mapping.close()
    assert ctime_trust(file, EXT4) is CtimeTrust.PROVEN


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("kind", [XFS, TMPFS, None, 0])
def test_other_types_are_not_trusted(file: int, kind: int | None) -> None:
    assert ctime_trust(file, kind) is CtimeTrust.FILESYSTEM
    assert ctime_trust(file, kind, ("nfs",)) is CtimeTrust.FILESYSTEM


@pytest.mark.usefixtures("_way")
def test_a_type_on_trust_is_never_proven(path: Path, file: int) -> None:
    assert ctime_trust(file, XFS, ("nfs", "xfs")) is CtimeTrust.ON_TRUST
    with path.open("r+b"):
        assert ctime_trust(file, XFS, ("xfs",)) is CtimeTrust.WRITER


@needs_root
@pytest.mark.usefixtures("_way")
def test_of_another_users_file_nothing_is_proven(path: Path) -> None:
    def ask() -> CtimeTrust:
        return ctime_trust(os.open(path, os.O_RDONLY), EXT4)

    assert in_child(ask, as_nobody=True) is CtimeTrust.UNPROVEN


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EIO, errno.ENOMEM])
def test_where_the_kernel_fails_the_file_is_read_again(
    file: int, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctime, "_lease", lambda _: error)
    assert ctime_trust(file, EXT4) is CtimeTrust.WRITER


def test_where_nothing_can_be_written_out_the_file_is_read_again(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctime, "_lease", lambda _: errno.EACCES)
    assert ctime_trust(file, EXT4) is CtimeTrust.UNPROVEN
    monkeypatch.setattr(ctime, "_write_out", lambda _: errno.EIO)
    assert ctime_trust(file, EXT4) is CtimeTrust.WRITER


@pytest.mark.parametrize("lease", LEASES.values(), ids=LEASES)
def test_a_writer_that_comes_in_between_does_not_end_the_process(
    lease: Callable[[int], int], path: Path
) -> None:
    met = False

    def probe_on() -> None:
        # SIGIO is what the kernel would send, and it ends a process.
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        descriptor = os.open(path, os.O_RDONLY)
        while os.getppid() == parent:
            lease(descriptor)

    parent = os.getpid()
    child = os.fork()
    if child == 0:
        probe_on()
        os._exit(0)
    try:
        for _ in range(1_000_000):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except BlockingIOError:
                met = True
                break
        if not met:
            pytest.skip("no writer came in between")
    finally:
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_errors_are_numbers() -> None:
    closed = os.open("/", os.O_PATH)
    os.close(closed)
    for function in (*LEASES.values(), *WRITING_OUT.values()):
        assert function(closed) == errno.EBADF


def test_the_type_is_that_of_the_file_itself(path: Path, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def count(descriptor: int) -> int | None:
        asked.append(descriptor)
        return filesystem_type(descriptor)

    monkeypatch.setattr(ctime, "filesystem_type", count)
    device = os.fstat(file).st_dev
    types = FilesystemTypes(device)
    assert types.of(file, device) == types.of(file, device) == filesystem_type(file)
    assert len(asked) == 1
    memory = os.memfd_create("file")
    try:
        # A file beneath an overlay, or a mount point, may be on another device than its folder.
        for _ in range(2):
            assert types.of(memory, os.fstat(memory).st_dev) == TMPFS
    finally:
        os.close(memory)
    assert len(asked) == 3
