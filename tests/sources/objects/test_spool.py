"""Bytes gather in memory or in a file, and what comes out can't be changed by whoever has the descriptor."""

from __future__ import annotations

import os
import resource
from contextlib import closing
from pathlib import Path

import pytest

from hashscan.errors import OutputError
from hashscan.sources.objects.spool import NoSpaceError, Spool

CHUNKS = [b"a" * 10, b"b" * 3000, b"", b"c"]
WHOLE = b"".join(CHUNKS)


def spool(limit: int = 1 << 20, *, in_memory: bool = True) -> Spool:
    return Spool(in_memory=in_memory, may_grow=lambda size: size <= limit)


@pytest.mark.parametrize(("limit", "in_memory"), [(1 << 20, True), (100, True), (5, True), (0, False)])
@pytest.mark.parametrize("chunks", [CHUNKS, CHUNKS[:1], [WHOLE], [], [b""]])
def test_what_comes_out_is_what_went_in(chunks: list[bytes], limit: int, in_memory: bool) -> None:
    with closing(spool(limit, in_memory=in_memory)) as kept:
        for chunk in chunks:
            kept.write(chunk)
        whole = b"".join(chunks)
        assert kept.size == len(whole)
        if kept.content is not None:
            assert bytes(kept.content) == whole
        assert os.pread(kept.descriptor, 10_000, 0) == whole
        assert kept.descriptor == kept.descriptor
        assert os.lseek(kept.descriptor, 0, os.SEEK_CUR) == 0


@pytest.mark.parametrize("in_memory", [True, False])
def test_nobody_can_write_through_it(in_memory: bool) -> None:
    with closing(spool(in_memory=in_memory)) as kept:
        kept.write(WHOLE)
        for change in (
            lambda: os.pwrite(kept.descriptor, b"x", 0),
            lambda: os.ftruncate(kept.descriptor, 1),
            lambda: os.ftruncate(kept.descriptor, 10_000),
        ):
            with pytest.raises(OSError, match=r"not permitted|Bad file|Invalid"):
                change()
        assert os.pread(kept.descriptor, 10_000, 0) == WHOLE


@pytest.mark.parametrize("limit", [1 << 20, 100])
def test_begun_again(limit: int) -> None:
    with closing(spool(limit)) as kept:
        kept.write(b"x" * 50)
        kept.write(b"x" * 100)
        kept.restart()
        assert kept.size == 0
        kept.write(b"new")
        assert os.pread(kept.descriptor, 100, 0) == b"new"


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with closing(spool(in_memory=False)) as kept:
        kept.write(WHOLE)
        assert os.readlink(f"/proc/self/fd/{kept.descriptor}").startswith(f"{tmp_path}/hashscan-")
        assert not list(tmp_path.iterdir())


def test_no_room_is_distinguished_from_other_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(spool(in_memory=False)) as kept:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            kept.write(WHOLE)
            with pytest.raises(NoSpaceError):
                kept.write(WHOLE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    monkeypatch.setattr("hashscan.sources.objects.spool.temporary_folder", lambda: "/nowhere/at/all")
    with pytest.raises(OutputError, match="/nowhere/at/all") as caught:
        spool(in_memory=False)
    assert "TMPDIR" in caught.value.remedy


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_not_allowed_to_the_file_is_no_room(in_memory: bool) -> None:
    asked: list[int] = []

    def may_fill(size: int) -> bool:
        asked.append(size)
        return size <= 4000

    kept = Spool(in_memory=in_memory, may_grow=lambda size: size <= 100, may_fill=may_fill)
    with closing(kept):
        kept.write(b"x" * 50)
        kept.write(b"x" * 3000)
        with pytest.raises(NoSpaceError):
            kept.write(b"x" * 1000)
    assert asked[-2:] == [3050, 4050]


def test_more_than_the_disk_has_is_not_begun() -> None:
    with pytest.raises(NoSpaceError):
        Spool(in_memory=False, may_grow=lambda size: True, expected=1 << 60)


def test_without_files_in_memory_it_is_one_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(38, "not here")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with closing(spool()) as kept:
        for chunk in CHUNKS:
            kept.write(chunk)
        assert kept.content is None
        assert os.pread(kept.descriptor, 10_000, 0) == WHOLE
