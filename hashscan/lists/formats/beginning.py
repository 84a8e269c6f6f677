"""Detects by its first bytes that a file is compressed or not UTF-8."""

from __future__ import annotations

from hashscan.lists.raw_entries import LineError

_COMPRESSED = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\x00", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "7z x"),
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def refuse_compressed(head: bytes) -> None:
    """Check that a file is not compressed.

    Raises:
        LineError: the file is compressed.
    """
    for magic, name, command in _COMPRESSED:
        if head.startswith(magic):
            raise LineError(1, f"the file is compressed with {name}", f"Unpack it with `{command}`")


def refuse_not_utf8(head: bytes) -> None:
    """Check that a text file is not compressed and not encoded with two or four bytes for each letter.

    Raises:
        LineError: the file is.
    """
    refuse_compressed(head)
    if head.startswith(_UTF16) or b"\0" in head[:4]:
        raise LineError(1, "the text is not UTF-8 but UTF-16 or UTF-32, or no text", "Save the file as UTF-8")
