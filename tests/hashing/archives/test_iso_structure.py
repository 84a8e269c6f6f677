"""Images of discs whose records lead the library in a circle, or to the same place again and again."""

from __future__ import annotations

import struct

import pytest

from hashscan.hashing.archives.iso_structure import readings
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason

pytestmark = pytest.mark.unit

SECTOR, ROOT = 2048, 18


def both(*values: int) -> bytes:
    return b"".join(struct.pack("<I", value) + struct.pack(">I", value) for value in values)


def record(name: bytes, sector: int, *, folder: bool = False, further: bytes = b"") -> bytes:
    body = b"\0" + both(sector, SECTOR) + bytes(7) + bytes((2 * folder, 0, 0, 1, 0, 0, 1, len(name))) + name
    body += b"\0" * (len(body) % 2 == 0) + further
    return bytes((len(body) + 1,)) + body


def goes_on(sector: int, length: int) -> bytes:
    """A field of Rock Ridge that says where the next ones are."""
    return b"CE\x1c\1" + both(sector, 0, length)


def disc(*sectors: bytes) -> bytes:
    """An image with one tree, whose root and other content lie in these sectors."""
    descriptor = b"\1CD001\1" + bytes(149) + record(b"\0", ROOT, folder=True)
    last = b"\xffCD001\1"
    return bytes(16 * SECTOR) + b"".join(part.ljust(SECTOR, b"\0") for part in (descriptor, last, *sectors))


def in_levels(levels: int, wide: int) -> bytes:
    """An image each of whose folders is referred to many times from the one above."""
    sectors = (
        b"".join(record(b"%c" % (65 + n), ROOT + level, folder=True) for n in range(wide))
        for level in range(1, levels)
    )
    return disc(*sectors, b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (disc(record(b"A", 20, further=goes_on(19, 56)), 2 * goes_on(19, 56)), Reason.CONTAINER_BROKEN),
        (disc(record(b"A", ROOT, folder=True)), Reason.CONTAINER_MEMBERS),
        (in_levels(20, 10), Reason.CONTAINER_MEMBERS),
    ],
    ids=lambda value: getattr(value, "name", "image"),
)
def test_what_would_not_end_is_not_given_to_the_library(content: bytes, reason: Reason) -> None:
    with pytest.raises(ContainerError) as caught:
        readings(PreadFile(content), 1000)
    assert caught.value.reason is reason


def test_honest_trees() -> None:
    further = record(b"A", 20, further=goes_on(19, 28))
    folders = disc(further, b"", record(b"B", 21, folder=True))
    assert readings(PreadFile(folders), 1000) == (b"",)
