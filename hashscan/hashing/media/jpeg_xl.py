"""Open JPEG XL pictures with pillow-jxl-plugin (extra `jxl`); ISO/IEC 18181.

The plug-in for Pillow decodes a picture as it opens it, and only the first frame. So the header is read here:
for the size, to refuse large pictures, and to tell animations.
"""

from __future__ import annotations

import importlib.util
import io
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin

from hashscan.hashing.pread import PictureFile

_CODESTREAM = b"\xff\x0a"
_HEADER_BYTES = 32
"""Bytes that hold all fields up to those of the animation."""
_SELECTED = 3
"""Selects the last of four forms of a number, which has further bits."""
_NO_INKS = frozenset({0, 1})
"""Types of an extra channel: opacity, depth."""
_RATIOS = (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1)
_PIECE_NUMBER_BYTES = 4
_BOXES_MAX = 1000


class JxlHeader(NamedTuple):
    """The fields at the start of a codestream."""

    size: tuple[int, int]
    """Width and height in pixels, as stored."""
    animated: bool
    inks: bool = False
    """True if it may have a channel of black ink, or of another kind that the plug-in leaves out."""


def jxl_available() -> bool:
    """Return True if the extra is installed."""
    return importlib.util.find_spec("pillow_jxl") is not None


class _Bits:
    """Numbers in a codestream, the lowest bit of each byte first."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "little")

    def read(self, count: int) -> int:
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value


def read_jxl_header(file: PictureFile) -> JxlHeader:
    """Read the header of a picture, in a container or not.

    Raises:
        ValueError: there is none.
    """
    file.seek(0)
    if file.read(2) != _CODESTREAM:
        file.seek(_start_in_container(file))
        if file.read(2) != _CODESTREAM:
            raise ValueError
    bits = _Bits(file.read(_HEADER_BYTES))
    size = _read_size(bits)
    animated = False
    default = bits.read(1)
    if not default and bits.read(1):
        # Not all fields have their default; the further ones are there.
        bits.read(3)
        if bits.read(1):
            _read_size(bits)
        # A picture with a preview counts as animated, since the size of the preview is not read.
        animated = bool(bits.read(1) or bits.read(1))
    return JxlHeader(size, animated, not animated and not default and _has_inks(bits))


def _has_inks(bits: _Bits) -> bool:
    """Read the extra channels: none, and one of opacity or depth, are no inks; others may be."""
    if bits.read(1):
        # Floating-point samples: their bits, and those of the exponent.
        if bits.read(2) == _SELECTED:
            bits.read(6)
        bits.read(4)
    elif bits.read(2) == _SELECTED:
        bits.read(6)
    bits.read(1)
    number = bits.read(2)
    if number != 1:
        return number > 1
    default_opacity = bits.read(1)
    return not default_opacity and bits.read(2) not in _NO_INKS


def _start_in_container(file: PictureFile) -> int:
    """Return where the codestream begins, or its first piece.

    Raises:
        ValueError: there is none.
    """
    place = 0
    for _ in range(_BOXES_MAX):
        file.seek(place)
        head = file.read(16)
        length, kind, first = int.from_bytes(head[:4]), head[4:8], place + 8
        if length == 1:
            length, first = int.from_bytes(head[8:16]), place + 16
        if kind in {b"jxlc", b"jxlp"}:
            return first + (_PIECE_NUMBER_BYTES if kind == b"jxlp" else 0)
        if length < 8:
            break
        place += length
    raise ValueError


def _read_size(bits: _Bits) -> tuple[int, int]:
    """Read SizeHeader."""

    def side() -> int:
        if small:
            return 8 * (bits.read(5) + 1)
        return bits.read((9, 13, 18, 30)[bits.read(2)]) + 1

    small = bits.read(1)
    height = side()
    ratio = bits.read(3)
    if not ratio:
        return side(), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


def open_jxl(stream: IO[bytes]) -> Image.Image:
    """Decode a picture, upright.

    Raises:
        Exception: any exception of the library.
    """
    import pillow_jxl

    # The plug-in has incomplete annotations, and may not be installed.
    decoder: Any = pillow_jxl.Decoder(num_threads=0)
    is_jpeg, about, data, profile, _ = decoder(stream.read())
    if is_jpeg:
        # The original file, of which the picture was made.
        return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    size = about.width, about.height
    if about.mode == "F;16":
        image = Image.fromarray(np.frombuffer(data, np.float16).reshape(size[::-1]).astype(np.float32))
    else:
        image = Image.frombytes(about.mode, size, data)
    if profile:
        image.info["icc_profile"] = profile
    return image
