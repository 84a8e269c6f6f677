"""Describe a file format by the signatures (magic numbers) that its files have, and search for bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import Struct

from hashscan.c_parts import BUILT

Signature = tuple[tuple[int, bytes], ...]


class FileFormat(Struct, frozen=True):
    """One format of pictures, or of containers."""

    name: str

    pillow: str | None
    """Pillow's name for it; None if it is recognised but not decoded."""

    signatures: tuple[Signature, ...] = ()
    """Alternative signatures, each of bytes with their offsets; the file must match one of them."""

    check: Callable[[bytes], bool] | None = None
    """A further test of the first bytes, if the signature alone would match ordinary files too."""

    extra: str = ""
    """The extra of this package that decodes it, if the package alone doesn't."""

    container: bool = False
    """True if it may contain pictures, and is no picture itself: an archive, a document, a mail, a video."""

    def recognises(self, prefix: bytes) -> bool:
        """Return True if a file with these first bytes is of this format."""
        return self.has_signature(prefix) and (self.check is None or self.check(prefix))

    def has_signature(self, prefix: bytes) -> bool:
        """Return True if a file with these first bytes has one of the signatures."""
        # Plain loops: this runs for every scanned file, and generators take three times as long.
        for signature in self.signatures:
            for offset, magic in signature:
                if not prefix.startswith(magic, offset):
                    break
            else:
                return True
        return False


class Candidates(NamedTuple):
    """The formats that are possible for files with one first byte."""

    formats: tuple[FileFormat, ...]
    pattern: re.Pattern[bytes]
    """Matches all files with one of their signatures: one match takes the time of two comparisons."""

    def first(self, start: bytes, prefix: bytes | memoryview) -> FileFormat | None:
        """Return the first format with a signature in `start`, and a check that the prefix passes."""
        if self.pattern.match(start) is not None:
            for known in self.formats:
                if known.has_signature(start) and (known.check is None or known.check(bytes(prefix))):
                    return known
        return None


def starting_with(formats: Iterable[FileFormat], first_byte: int) -> Candidates:
    """Return the formats that have a signature possible for a file that starts with this byte."""
    possible = [
        (known, signature)
        for known in formats
        for signature in known.signatures
        if all(magic[0] == first_byte for offset, magic in signature if offset == 0)
    ]
    pattern = b"|".join(_pattern(signature) for _, signature in possible)
    return Candidates(
        tuple(dict.fromkeys(known for known, _ in possible)), re.compile(pattern or b"(?!)", re.DOTALL)
    )


def _pattern(signature: Signature) -> bytes:
    pattern, end = b"", 0
    for offset, magic in sorted(signature):
        assert offset >= end
        pattern += b".{%d}%b" % (offset - end, re.escape(magic))
        end = offset + len(magic)
    return pattern


def at(*parts: bytes | tuple[int, bytes]) -> Signature:
    """Return a signature; bytes without an offset are at the start of the file."""
    return tuple((0, part) if isinstance(part, bytes) else part for part in parts)


def number(prefix: bytes, offset: int, size: int) -> int:
    """Return a little-endian number; bytes beyond the end count as zero."""
    return int.from_bytes(prefix[offset : offset + size], "little")


def search_in_python(data: bytes, sought: bytes, /) -> bool:
    """Return True if `sought` is in the data."""
    return sought in data


if BUILT:
    from hashscan.hashing._text import contains as contains  # noqa: PLC0414 - exported
else:
    contains = search_in_python
