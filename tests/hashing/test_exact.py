"""Exact digests of descriptors, against published values and other implementations."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashscan.hashing.exact import MD5, SHA1, SHA256, SHA512, XXH3, ExactReader, FileGrewError
from hashscan.hashing.hash_algorithms import ExactHash
from hashscan.model import ALGORITHMS

ALL: list[ExactHash] = [MD5(), SHA1(), SHA256(), SHA512(), XXH3()]

# RFC 1321, FIPS 180-4; the reference implementation of XXH3 for the last.
OF_ABC = {
    "md5": "900150983cd24fb0d6963f7d28e17f72",
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha512": "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    "xxh3_128": "06b05ab6733a618578af5f94892f3950",
}


def in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("content")
    os.pwrite(descriptor, content, 0)
    return descriptor


def digested(descriptor: int, hashes: Sequence[ExactHash]) -> tuple[dict[str, bytes], int]:
    reader = ExactReader(hashes)
    reader.begin(descriptor, os.fstat(descriptor).st_size)
    return reader.finish()


def test_published_values() -> None:
    descriptor = in_memory(b"abc")
    digests, count = digested(descriptor, ALL)
    os.close(descriptor)
    assert {name: value.hex() for name, value in digests.items()} == OF_ABC
    assert count == 3
    assert all(len(value) == ALGORITHMS[name].size for name, value in digests.items())


@given(st.binary(max_size=5000), st.integers(0, 200))
@settings(deadline=None)
def test_any_content_of_any_length(content: bytes, times: int) -> None:
    content *= times
    descriptor = in_memory(content)
    digests, count = digested(descriptor, [MD5(), SHA256()])
    os.close(descriptor)
    assert count == len(content)
    assert digests == {"md5": hashlib.md5(content).digest(), "sha256": hashlib.sha256(content).digest()}


def test_offset_is_neither_used_nor_moved(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 100_000)
    descriptor = os.open(path, os.O_RDONLY)
    os.lseek(descriptor, 777, os.SEEK_SET)
    _, count = digested(descriptor, [SHA1()])
    assert count == 1_000_000
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 777
    os.close(descriptor)


def test_file_longer_than_it_says_is_read_to_its_end() -> None:
    descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY)
    assert os.fstat(descriptor).st_size == 0
    digests, count = digested(descriptor, [SHA256()])
    os.close(descriptor)
    content = Path("/proc/self/mountinfo").read_bytes()
    assert (digests["sha256"], count) == (hashlib.sha256(content).digest(), len(content))
    assert count > 0


@pytest.mark.parametrize("said", [0, 5, 64, 100, 10**6, 10**7])
def test_file_of_another_length_than_it_was_said_to_have(said: int) -> None:
    for length in (64, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1):
        descriptor = in_memory(b"x" * length)
        reader = ExactReader([SHA256()])
        assert bytes(reader.begin(descriptor, said)) == b"x" * min(length, 256 * 1024)
        digests, count = reader.finish()
        os.close(descriptor)
        assert (digests["sha256"], count) == (hashlib.sha256(b"x" * length).digest(), length)


def test_a_file_that_grows_without_end_is_given_up() -> None:
    descriptor = in_memory(b"x" * 300_000)
    reader = ExactReader([SHA256()])
    reader.begin(descriptor, 300_000)
    os.ftruncate(descriptor, 1 << 40)
    with pytest.raises(FileGrewError):
        reader.finish()
    os.close(descriptor)


def test_one_file_after_another_is_read_from_its_start() -> None:
    reader = ExactReader([SHA256()])
    for content in (b"long" * 100_000, b"short", b"", b"again"):
        descriptor = in_memory(content)
        assert content.startswith(bytes(reader.begin(descriptor, len(content))))
        digests, count = reader.finish()
        os.close(descriptor)
        assert (digests["sha256"], count) == (hashlib.sha256(content).digest(), len(content))


def test_no_algorithm_still_counts_bytes() -> None:
    descriptor = in_memory(b"x" * 10)
    assert digested(descriptor, []) == ({}, 10)
    os.close(descriptor)


def test_errors_of_the_system_pass_through(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match="directory") as caught:
        digested(folder, ALL)
    os.close(folder)
    assert caught.value.errno == errno.EISDIR
    with pytest.raises(OSError, match="descriptor"):
        digested(folder, ALL)


@pytest.mark.parametrize("length", [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
def test_content_that_is_in_memory_already(length: int) -> None:
    content = (b"0123456789" * 100_001)[:length]
    reader = ExactReader([MD5(), SHA256()])
    assert bytes(reader.begin_content(memoryview(content))) == content[: 256 * 1024]
    digests, count = reader.finish()
    assert count == length
    assert digests == {"md5": hashlib.md5(content).digest(), "sha256": hashlib.sha256(content).digest()}
    # The next file is not taken for the same.
    descriptor = in_memory(b"other")
    reader.begin(descriptor, 5)
    assert reader.finish()[0]["sha256"] == hashlib.sha256(b"other").digest()
    os.close(descriptor)


@pytest.mark.parametrize("size", [0, 1, 100_000, 256 * 1024, 700_000])
@pytest.mark.parametrize("piece", [1000, 300_000, 1 << 20])
def test_what_passes_by_has_the_same_digests(size: int, piece: int) -> None:
    content = os.urandom(size)
    reader = ExactReader([MD5(), SHA256()])
    pieces = [content[at : at + piece] for at in range(0, size, piece)]
    assert bytes(reader.begin_pieces(pieces)) == content[: 256 * 1024]
    # One that was begun and given up leaves nothing behind.
    assert bytes(reader.begin_pieces(pieces)) == content[: 256 * 1024]
    assert reader.finish() == (
        {"md5": hashlib.md5(content).digest(), "sha256": hashlib.sha256(content).digest()},
        size,
    )
    reader.begin_pieces(pieces)
    reader.begin_content(memoryview(b"other"))
    assert reader.finish()[0]["sha256"] == hashlib.sha256(b"other").digest()


@pytest.mark.parametrize("size", [0, 1, 100_000, 256 * 1024, 700_000])
def test_bytes_are_asked_for_before_they_are_read(size: int) -> None:
    asked: list[int] = []
    descriptor = in_memory(os.urandom(size))
    reader = ExactReader([MD5()])
    reader.begin(descriptor, size, asked.append)
    assert sum(asked) == min(size, 256 * 1024)
    assert reader.finish()[1] == sum(asked) == size
    assert max(asked) <= 256 * 1024
    # The next one need not.
    reader.begin(descriptor, size)
    reader.finish()
    assert sum(asked) == size
    os.close(descriptor)
