"""The file over a shared descriptor, against an ordinary file."""

from __future__ import annotations

import io
import os
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.hashing import pread
from hashscan.hashing.pread import PreadFile


def test_the_size_is_known_without_a_stat(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = in_memory(b"0123456789")
    monkeypatch.setattr(pread, "os", SimpleNamespace(lseek=os.lseek, SEEK_END=os.SEEK_END))
    assert PreadFile(descriptor).size == 10
    assert PreadFile(descriptor, 4).size == 6
    assert PreadFile(descriptor, 12).size == 0
    os.close(descriptor)


def in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("content")
    os.pwrite(descriptor, content, 0)
    return descriptor


STEPS = st.one_of(
    st.tuples(st.just("read"), st.one_of(st.none(), st.integers(-1, 300), st.just(2**70))),
    st.tuples(st.just("seek"), st.integers(-300, 300), st.sampled_from((0, 1, 2))),
)


@given(st.binary(max_size=200), st.lists(STEPS, max_size=12))
@settings(deadline=None)
def test_reads_and_seeks_as_a_file_does(content: bytes, steps: list[tuple]) -> None:
    descriptor = in_memory(content)
    ours, model = PreadFile(descriptor), io.BytesIO(content)
    for name, *arguments in steps:
        if name == "read" and arguments[0] == 2**70:
            assert ours.read(2**70) == model.read()
        elif name == "read":
            # Another process may move the offset.
            os.lseek(descriptor, 5, os.SEEK_SET)
            assert ours.read(*arguments) == model.read(*arguments)
        else:
            offset, whence = arguments
            target = offset + (0, model.tell(), len(content))[whence]
            if target < 0:
                with pytest.raises(ValueError, match="negative"):
                    ours.seek(offset, whence)
            else:
                assert ours.seek(offset, whence) == target == model.seek(target)
        assert ours.tell() == model.tell()
    os.close(descriptor)


@given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 150_000)), max_size=20))
@settings(deadline=None)
def test_blocks_read_ahead_are_the_files(places: list[tuple[int, int]]) -> None:
    content = bytes(range(256)) * 1000 + bytes(range(255, -1, -1)) * 100
    descriptor = in_memory(content)
    file = PreadFile(descriptor)
    for start, size in places:
        file.seek(start)
        assert file.read(size) == content[start : start + size]
        assert file.read(3) == content[start + size : start + size + 3]
    os.close(descriptor)


def test_small_reads_cost_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    pread = os.pread

    def counting(descriptor: int, size: int, offset: int) -> bytes:
        calls.append(size)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", counting)
    descriptor = in_memory(b"0123456789" * 1000)
    file = PreadFile(descriptor)
    assert b"".join(file.read(10) for _ in range(1000)) == b"0123456789" * 1000
    assert len(calls) == 1
    os.close(descriptor)


def test_tells_when_it_was_asked_for_more_than_there_was() -> None:
    descriptor = in_memory(b"12345")
    file = PreadFile(descriptor)
    assert file.read(99) == b"12345"
    assert file.read() == file.read(0) == b""
    assert not file.ran_out
    assert file.read(1) == b""
    assert file.ran_out
    os.close(descriptor)


def test_file_that_shrinks_ends_early() -> None:
    descriptor = in_memory(b"x" * 1000)
    file = PreadFile(descriptor)
    os.ftruncate(descriptor, 100)
    assert len(file.read()) == 100
    assert file.read(1) == b""
    assert file.ran_out
    os.close(descriptor)


def test_descriptor_is_given_to_nobody_and_left_open() -> None:
    descriptor = in_memory(b"x")
    file = PreadFile(descriptor)
    with pytest.raises(io.UnsupportedOperation):
        file.fileno()
    file.close()
    assert os.pread(descriptor, 1, 0) == b"x"
    os.close(descriptor)
    with pytest.raises(OSError, match="descriptor"):
        PreadFile(descriptor)


@given(st.binary(max_size=200), st.integers(0, 250), st.one_of(st.none(), st.integers(0, 250)), st.data())
@settings(deadline=None)
def test_a_file_within_a_file(content: bytes, start: int, length: int | None, data: st.DataObject) -> None:
    descriptor = in_memory(content)
    inner = content[start:] if length is None else content[start : start + length]
    within = PreadFile(descriptor).subfile(start, length)
    assert (within.size, within.read()) == (len(inner), inner)
    deeper = data.draw(st.integers(0, 250))
    assert within.subfile(deeper, 10).read() == inner[deeper : deeper + 10]
    os.close(descriptor)
