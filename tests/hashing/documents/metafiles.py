"""Metafiles drawn by code: EMF and WMF, of records without their headers."""

from __future__ import annotations

import struct

from tests.hashing.documents.drawn import SCENE
from tests.pictures import encoded

DIB = encoded(SCENE, "BMP")[14:]


def emf(*records: tuple[int, bytes], end: bool = True) -> bytes:
    """An enhanced metafile."""
    made = b"".join(struct.pack("<II", kind, 8 + len(body)) + body for kind, body in records)
    header = struct.pack("<II", 1, 108) + bytes(32) + b" EMF" + bytes(64)
    return header + made + (struct.pack("<IIIII", 14, 20, 0, 16, 20) if end else b"")


def wmf(*records: tuple[int, bytes], placeable: bool = False) -> bytes:
    """A metafile of 16 bits."""
    made = b"".join(struct.pack("<IH", (6 + len(body)) // 2, kind) + body for kind, body in records)
    header = struct.pack("<HHHIHIH", 1, 9, 0x300, 12 + len(made) // 2, 0, 0, 0)
    return (b"\xd7\xcd\xc6\x9a" + bytes(18)) * placeable + header + made + struct.pack("<IH", 3, 0)


def bitmap_record(header: bytes = DIB[:40], pixels: bytes = DIB[40:], before: int = 40) -> bytes:
    """The body of a record that draws a bitmap (EMR_STRETCHDIBITS, or another one that has more before)."""
    place = 8 + before + 40
    stated = struct.pack("<IIII", place, len(header), place + len(header), len(pixels))
    return bytes(before) + stated + bytes(24) + header + pixels


def plus(*records: tuple[int, int, bytes]) -> tuple[int, bytes]:
    """A comment of EMF+, of records with their flags."""
    made = b"".join(
        struct.pack("<HHII", kind, flags, 12 + len(body), len(body)) + body for kind, flags, body in records
    )
    return 70, struct.pack("<I", 4 + len(made)) + b"EMF+" + made
