"""Tell pictures by fields of their headers, and PDF by its objects, where no signature is at the start."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

from hashscan.hashing.formats import FORMATS, OTHER_PICTURE, TARGA
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.recogniser import Probed

_HEAD_SIZE = 4096
_TARGA = struct.Struct("<BBBHHBHHHHBB")
_TARGA_END = b"TRUEVISION-XFILE."
_TARGA_END_SEARCHED = 4096
_RUNS = 8
"""Added to the type of a Targa picture that is run-length coded."""
_DEPTHS = {1: {8, 16}, 2: {15, 16, 24, 32}, 3: {1, 8, 16}}
"""Bits of a pixel, by the type of a Targa picture: with a palette, in colours, in grey."""
_PALETTES = frozenset({0, 15, 16, 24, 32})

_QUICKDRAW = b"\0\x11\2\xff\x0c\0", b"\x11\1"
"""The version of a QuickDraw picture (PICT), behind its size and frame."""
_QUICKDRAW_PLACES = 10, 522
"""Its offset, without and with the header that is of zeros alone."""
_PHOTO_CD, _PHOTO_CD_PLACE = b"PCD_", 2048
_SPIDER_WORDS = 27
_SPIDER_TYPES = frozenset({1, 3, -11, -12, -21, -22})

_PDF = next(known for known in FORMATS if known.name == "PDF")
_OBJECT = re.compile(rb"obj(?:\s|%[^\r\n]{0,99}[\r\n]){0,99}<<")
_NUMBERS = re.compile(rb"[0-9]\s{1,9}[0-9]{1,5}\s{1,9}\Z")
"""Numbers before the word that begins an object, and a dictionary behind it. Catalogues and
pages are dictionaries; texts about PDF have the word alone."""
_OBJECTS = 2
"""Objects from which a file is a document: its catalogue and a page at least."""
_PIECE_SIZE, _OVERLAP = 1 << 20, 256


def picture_probe(file: PreadFile) -> Iterator[Probed]:
    """Yield what viewers may take a file for: Targa, QuickDraw, Photo CD, SPIDER."""
    head = file.read(_HEAD_SIZE)
    if _is_targa(head, file.size):
        file.seek(max(0, file.size - _TARGA_END_SEARCHED))
        yield Probed(TARGA, _TARGA_END in file.read(_TARGA_END_SEARCHED), by="fields of Targa")
    if _is_quickdraw(head) or head.startswith(_PHOTO_CD, _PHOTO_CD_PLACE) or _is_spider(head):
        yield Probed(OTHER_PICTURE, True, by="fields of a header")


def document_probe(file: PreadFile) -> Iterator[Probed]:
    """Yield PDF for a file with objects of one, as MuPDF searches for without a header."""
    found, last = 0, b""
    while piece := file.read(_PIECE_SIZE):
        text = last + piece
        for word in _OBJECT.finditer(text):
            found += _NUMBERS.search(text, max(0, word.start() - 24), word.start()) is not None
            if found >= _OBJECTS:
                yield Probed(_PDF, certain=True)
                return
        last = text[-_OVERLAP:]


def _is_targa(head: bytes, size: int) -> bool:
    """Return True for a plausible header of Targa, if the file is as long as it says."""
    if len(head) < _TARGA.size:
        return False
    name, palette, kind, _, colours, bits, _, _, width, height, depth, flags = _TARGA.unpack_from(head)
    plain = kind & ~_RUNS
    if palette > 1 or depth not in _DEPTHS.get(plain, ()) or not width * height or flags & 0xC0:
        return False
    if palette and bits not in _PALETTES:
        return False
    pixels = 0 if kind & _RUNS else -(-width * depth // 8) * height
    table = colours * -(-bits // 8) if palette else 0
    return bool(_TARGA.size + name + table + pixels <= size)


def _is_quickdraw(head: bytes) -> bool:
    for place in _QUICKDRAW_PLACES:
        if head.startswith(_QUICKDRAW, place) and (place < 512 or not any(head[:512])):
            top, left, bottom, right = struct.unpack_from(">4h", head, place - 8)
            # The frame of the first version is all that tells it from other files.
            if top < bottom and left < right:
                return True
    return False


def _is_spider(head: bytes) -> bool:
    """Return True for the header of SPIDER, numbers that must be integers and agree with each other."""
    if len(head) < 4 * _SPIDER_WORDS:
        return False
    for order in "><":
        words = (99.0, *struct.unpack_from(f"{order}{_SPIDER_WORDS}f", head))
        fields = [words[place] for place in (1, 2, 5, 12, 13, 22, 23)]
        if all(math.isfinite(each) and each == int(each) for each in fields):
            kind, records, length, total = int(words[5]), int(words[13]), int(words[23]), int(words[22])
            if kind in _SPIDER_TYPES and length > 0 and total == records * length:
                return True
    return False
