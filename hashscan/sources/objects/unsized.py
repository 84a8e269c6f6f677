"""Limit the bytes read of objects of unknown size, which might never end and fill the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hashscan.model import Reason
from hashscan.sources.base import FileError
from hashscan.sources.objects.store import UNKNOWN_SIZE, Chunk

UNSIZED_MAX = 1 << 30
"""Maximum size in bytes of such an object."""


def bounded(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """Yield chunks unchanged; reject an object of unknown size that is too large.

    Raises:
        FileError: it has more than UNSIZED_MAX bytes.
    """
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if size == UNKNOWN_SIZE and total > UNSIZED_MAX:
            raise FileError(
                Reason.IO_ERROR, f"nobody says how large it is, and it has more than {UNSIZED_MAX} bytes"
            )
        yield chunk
