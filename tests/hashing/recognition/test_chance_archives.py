"""Bytes that look like the begin of an archive, and are none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import tracemalloc
from collections.abc import Callable

import pytest

from hashscan.hashing.archives.library import is_empty
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.archive_probe import archive_probe

RANDOM = random.Random(3)
PLAIN = [b"the", b"quick", b"brown", b"fox", b"jumps", b"over", b"a", b"lazy", b"dog", b"indeed"]


def kinds(content: bytes) -> list[str]:
    return [probed.kind.name for probed in archive_probe(PreadFile(content))]


def superblock(revision: int, inode: int) -> bytes:
    fields = bytearray(1024)
    struct.pack_into("<IIII4xI I", fields, 0, 64, 512, 0, 0, 1, 0)
    struct.pack_into("<IIII", fields, 32, 8192, 8192, 64, 0)
    struct.pack_into("<H", fields, 56, 0xEF53)
    struct.pack_into("<I", fields, 76, revision)
    struct.pack_into("<H", fields, 88, inode)
    return bytes(fields)


@pytest.mark.parametrize(
    "content", [b"0707" + b"01" * 400, bytes(2000) + superblock(0x1B87, 0), bytes(2000) + superblock(1, 129)]
)
def test_bytes_that_are_no_archive(content: bytes) -> None:
    assert kinds(bytes(7) + content) == []


@pytest.mark.parametrize(("revision", "inode"), [(0, 0), (1, 128), (1, 256)])
def test_a_disk_behind_something_else(revision: int, inode: int) -> None:
    assert kinds(bytes(2000) + superblock(revision, inode)) == ["disk image"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_stream_that_breaks_counts_by_what_it_shows_before(pack: Callable[[bytes], bytes]) -> None:
    text = b" ".join(RANDOM.choices(PLAIN, k=400_000))
    picture = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + RANDOM.randbytes(1_300_000)
    for content, is_certain in ((text, False), (picture, True)):
        whole = pack(content)
        # As in a stored block of another compressed file, of which the next one follows.
        broken = whole[: len(whole) * 3 // 4] + RANDOM.randbytes(100_000)
        for stream, is_sure in ((whole, True), (broken, is_certain)):
            (found,) = archive_probe(PreadFile(bytes(100) + stream))
            assert (found.certain, found.start) == (is_sure, 100)


def test_a_stream_behind_one_that_breaks_is_found() -> None:
    text = gzip.compress(b" ".join(RANDOM.choices(PLAIN, k=4000)))
    behind = gzip.compress(b"x" * 100)
    found = archive_probe(PreadFile(b"\0" + text[:3000] + behind + RANDOM.randbytes(5000)))
    assert [(each.certain, each.start) for each in found] == [(False, 1), (True, 3001)]


def test_no_more_is_unpacked_of_a_bomb_than_is_looked_at() -> None:
    bomb = bz2.compress(bytes(50_000_000))
    tracemalloc.start()
    found = list(archive_probe(PreadFile(b"\0" + bomb)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(each.certain, each.start) for each in found] == [(True, 1)]
    assert peak < 30_000_000


def test_frames_of_zstandard_in_a_program_are_told_from_its_signature() -> None:
    # 1,000 times "a": a block that is packed; then the end of the frame.
    frame = bytes.fromhex("28b52ffd60e8024d00001061610100e32b8005")
    assert [(each.certain, each.start) for each in archive_probe(PreadFile(bytes(100) + frame * 20))] == [
        (True, 100)
    ]
    chance = b"\x28\xb5\x2f\xfd\0\x58\x3d\0\0\xff\xff\xff\xff\xff\xff\xff\xff"
    assert [each.certain for each in archive_probe(PreadFile(b"\0" + chance))] == [False]


@pytest.mark.parametrize(("mode", "size", "kinds_found"), [(8, 3, ["binary cpio"]), (1, 3, []), (8, 0, [])])
def test_binary_cpio_begins_with_a_file_with_content(mode: int, size: int, kinds_found: list[str]) -> None:
    head = struct.pack("<13H", 0o70707, 0, 1, mode << 12, 0, 0, 1, 0, 0, 0, 6, 0, size)
    assert kinds(b"before" + head + b"a.jpg\0" + b"abc\0") == kinds_found


def test_an_archive_of_a_library_without_members_is_empty() -> None:
    assert is_empty(PreadFile(b"!<arch>\n"), "ar")
    assert not is_empty(PreadFile(b"!<arch>\n\0"), "ar")


def test_a_cpio_archive_behind_something_else() -> None:
    def header(magic: bytes, size: int, name: bytes) -> bytes:
        values = [1, 0o100644, 0, 0, 1, 0, 3, 0, 0, 0, 0, len(name), 0]
        fields = b"".join(b"%08x" % value for value in values)
        octal = b"".join(
            b"%0*o" % (width, value)
            for width, value in zip((6, 6, 6, 6, 6, 6, 6, 11, 6, 11), [1] * 8 + [len(name), 3], strict=True)
        )
        return magic + (octal if magic.endswith(b"7") else fields)[:size] + name

    for magic, size in ((b"070701", 104), (b"070702", 104), (b"070707", 70)):
        assert kinds(b"before " + header(magic, size, b"a/picture.jpg\0") + b"abc") == ["cpio"]
