"""Parts of an office document that are in doubt although nothing was seen in them."""

from __future__ import annotations

import uuid

import pytest

from hashscan.hashing.archives.office_parts import OfficeParts
from hashscan.model import Reason

BUTTON = uuid.UUID("8BD21D40-EC42-11CE-9E0D-00AA006002F3").bytes_le + b"\0\2\x1c\0\x46\1\xc0\x80" + bytes(40)
PICTURE = uuid.UUID("0BE35204-8F91-11CE-9DE3-00AA004BB851").bytes_le
TABLES = "\ufeffSTREAM_STORAGE_SIGNATURE_)!@#$%^&*(".encode("utf-16-le") + bytes(range(256)) * 4
TARGA = b"\0\0\2\0\0\0\0\0\0\0\0\0\2\0\2\0\x18\0" + b"\x40\x80\xc0" * 4


def doubts(name: bytes, content: bytes) -> list[tuple[bytes, Reason]]:
    parts = OfficeParts()
    parts.add(b"_rels/.rels", b"officeDocument", is_text=True, is_seen=False)
    parts.add(name, content, is_text=False, is_seen=False)
    return parts.doubts()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"xl/activeX/activeX1.bin", BUTTON),
        (b"xl/model/item.data", TABLES),
        (b"xl/customProperty1.bin", "a name".encode("utf-16-le")),
        (b"[trash]/0000.dat", b"\xff" * 100),
    ],
)
def test_parts_that_no_program_shows_as_pictures_are_not_in_doubt(name: bytes, content: bytes) -> None:
    assert doubts(name, content) == []


@pytest.mark.parametrize(
    "content",
    [
        BUTTON + PICTURE,
        TARGA,
        # A QuickDraw picture whose first 512 bytes, which say nothing, are those of another part.
        TABLES[:512] + bytes(2) + bytes((0, 0, 0, 0, 0, 9, 0, 9)) + b"\0\x11\2\xff\x0c\0" + bytes(range(256)),
        BUTTON.ljust(512, b"\0") + bytes((0, 0, 0, 0, 0, 0, 0, 9, 0, 9)) + b"\x11\1" + bytes(range(256)),
        "#define a_width 8\n#define a_height 8".encode("utf-16-le"),
    ],
)
def test_a_picture_is_in_doubt_whatever_its_name_and_its_first_bytes(content: bytes) -> None:
    assert doubts(b"xl/activeX/activeX1.bin", content) == [(b"xl/activeX/activeX1.bin", Reason.UNSUPPORTED)]
