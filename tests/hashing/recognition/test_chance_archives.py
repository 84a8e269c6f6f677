"""Bytes that look like the begin of an archive, and are none."""

from __future__ import annotations

import struct

import pytest

from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.archive_probe import archive_probe


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
