"""Pictures without a signature, recognised by the fields of their headers."""

from __future__ import annotations

import struct

import pytest

from hashscan.hashing.formats import OTHER_PICTURE, TARGA
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.other_probes import document_probe, picture_probe
from tests.pictures import encoded, scene

PICTURE = encoded(scene(1, 32, 24), "TGA")
WITHOUT_END = PICTURE[: PICTURE.index(b"TRUEVISION") - 8]
FRAME = struct.pack(">h4h", 0, 0, 0, 24, 32) + b"\0\x11\2\xff\x0c\0"
DRAWING = bytes(512) + FRAME
SPIDER = encoded(scene(1, 32, 24).convert("F"), "SPIDER")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (PICTURE, (TARGA, True)),
        (PICTURE + b"more", (TARGA, True)),
        (WITHOUT_END, (TARGA, False)),
        (encoded(scene(1, 32, 24), "TGA", compression="tga_rle"), (TARGA, True)),
        (DRAWING, (OTHER_PICTURE, True)),
        (FRAME, (OTHER_PICTURE, True)),
        (bytes(2048) + b"PCD_IPI", (OTHER_PICTURE, True)),
        (SPIDER, (OTHER_PICTURE, True)),
    ],
)
def test_pictures(content: bytes, expected: tuple[object, bool]) -> None:
    assert [(found.kind, found.certain) for found in picture_probe(PreadFile(content))] == [expected]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        bytes(1000),
        WITHOUT_END[:-1],
        b"\0\0\2" + bytes(range(40)),
        bytes(512) + FRAME[2:],
        b"x" * 3000,
    ],
)
def test_others(content: bytes) -> None:
    assert list(picture_probe(PreadFile(content))) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"words 1 0 obj <<>> endobj 2 0 obj<<", 1),
        (b"1 0 obj % words\n<< >> 2 \r\n 0\t obj % words\r%\n <<>>", 1),
        (bytes((1 << 20) - 4) + b"1 0 obj<<" + bytes(1 << 20) + b"\n2 0 obj <<", 1),
        (b"1 0 obj <<>> endobj", 0),
        (b"An object is 1 0 obj, the next 2 0 obj, and << begins a dictionary.", 0),
        (b"1 0 object, 2 0 objects, 3.0 obj", 0),
    ],
)
def test_documents_are_told_by_their_objects(content: bytes, found: int) -> None:
    assert [probed.kind.name for probed in document_probe(PreadFile(content))] == ["PDF"] * found
