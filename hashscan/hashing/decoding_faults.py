"""Count the faults in pictures for which a library makes up pixels, where Pillow doesn't report them.

libjpeg goes on after most faults in a JPEG, and libtiff after those in a fax; Pillow returns the picture like
any other. The module in C counts these faults; `hashscan.hashing` loads it before Pillow.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from functools import cache
from typing import Any

from PIL import Image, JpegImagePlugin, TiffImagePlugin, features

_counter: Any = sys.modules.get("hashscan.hashing._decoding_faults")

_SIDE = 16, 16
_DATA = b"\x3f\x00"
"""The end of the header of a scan of all coefficients; its data follow."""
_BEHIND = 77
_JFIF_END = 20
"""Offset of the segment after JFIF, which Pillow writes first."""
_UNKNOWN_COLOURS = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x09"


def decoding_faults() -> int | None:
    """Return the number of faults for which libjpeg or libtiff has made up pixels in this process so far.

    None without the module in C, or where Pillow contains these libraries: then no JPEG and no TIFF that
    libtiff decodes counts as decoded, since any may have such faults.
    """
    return _counter.count() if _counts_faults() else None


def bytes_behind() -> int | None:
    """Return how many bytes lie behind the JPEG that was just decoded in one piece, as a whole, in memory.

    None where this is not known, and the end must be searched for.
    """
    return int(_counter.behind()) if _counts_faults() else None


@cache
def _counts_faults() -> bool:
    """Return True if faults are counted; first name the warnings that are none to the module in C.

    The numbers of libjpeg's warnings differ between its versions.
    """
    if _counter is None:
        return False
    plain = _saved("L", "JPEG")
    harmless = _harmless(plain)
    for place, content in enumerate(harmless):
        if _faults_of(content):
            _counter.pass_over(_counter.last_code(), place == 0)
    faulty = [plain[: plain.rindex(_DATA) + len(_DATA)] + b"\xff\xd9"]
    if features.check("libtiff"):
        # The data of zlib begin with this byte.
        faulty.append(_saved("L", "TIFF", compression="tiff_adobe_deflate").replace(b"\x78", b"\xff", 1))
    if not all(map(_faults_of, faulty)) or any(map(_faults_of, (plain, *harmless))):
        return False
    _faults_of(plain + bytes(_BEHIND))
    return bool(_counter.behind() == _BEHIND)


def _harmless(plain: bytes) -> tuple[bytes, ...]:
    """Return JPEGs of which libjpeg warns, and makes up nothing; some cameras and programs write such.

    They have bytes that libjpeg skips, another version of JFIF, a baseline scan that names other
    coefficients, and Adobe's mark of colours with a number that nobody has defined.
    """
    return (
        plain.replace(b"\xff\xc0", b"\0\0\xff\xc0", 1),
        plain.replace(b"JFIF\0\1", b"JFIF\0\x07", 1),
        plain.replace(_DATA, b"\0\0", 1),
        b"\xff\xd8" + _UNKNOWN_COLOURS + _saved("RGB", "JPEG")[_JFIF_END:],
    )


def _saved(mode: str, pillow_format: str, **options: str) -> bytes:
    stored = io.BytesIO()
    Image.new(mode, _SIDE).save(stored, pillow_format, **options)
    return stored.getvalue()


def _faults_of(content: bytes) -> int:
    """Return the number of faults that are counted in a JPEG or TIFF."""
    plugin = JpegImagePlugin.JpegImageFile if content.startswith(b"\xff") else TiffImagePlugin.TiffImageFile
    before: int = _counter.count()
    with suppress(Exception):
        plugin(io.BytesIO(content)).load()
    return int(_counter.count()) - before
