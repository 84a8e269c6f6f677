"""Bounds what is taken of objects whose size nobody says: they might never end, and fill the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hashscan.model import Reason
from hashscan.sources.base import FileTrouble
from hashscan.sources.objects.store import UNKNOWN_SIZE, Chunk

UNSIZED_MAX = 1 << 30
"""Bytes."""


def bounded(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """Hand chunks on; too many of an object of unknown size are its trouble.

    Raises:
        FileTrouble: there were too many.
    """
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if size == UNKNOWN_SIZE and total > UNSIZED_MAX:
            raise FileTrouble(
                Reason.IO_ERROR, f"nobody says how large it is, and it has more than {UNSIZED_MAX} bytes"
            )
        yield chunk
