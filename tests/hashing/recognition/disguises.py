"""Cheap edits after which a viewer may still show a file: bytes put before it, and behind it."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

LENGTHS = (1, 100, 1000, 64 << 10)
"""Numbers of bytes that are put before or behind a file."""


class Disguised(NamedTuple):
    """An altered file."""

    how: str
    """Such as "100 zeros before"."""
    content: bytes


def disguised(content: bytes, lengths: tuple[int, ...] = LENGTHS) -> Iterator[Disguised]:
    """Yield a file as it is, and with zeros, random bytes and text before it and behind it."""
    yield Disguised("as it is", content)
    for length in lengths:
        added = {
            "zeros": bytes(length),
            "random bytes": random.Random(length).randbytes(length),
            "letters": (b"abcdefgh 12345\n" * (length // 15 + 1))[:length],
        }
        for name, junk in added.items():
            yield Disguised(f"{length} {name} before", junk + content)
            yield Disguised(f"{length} {name} behind", content + junk)


def tar_of(content: bytes) -> bytes:
    """A tar archive with one picture."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("p.jpg")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()
