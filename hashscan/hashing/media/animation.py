"""Compose the frames of GIF and PNG animations as browsers do, where Pillow does it differently.

Browsers begin with a transparent canvas, and clear the area of a disposed frame to transparent; Pillow clears
it to the background's colour, or to black, if the current frame has no transparent colour. A picture can be
hidden in this difference. So each frame is decoded by Pillow as a picture of its own, and composed here.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.embedded.directories import PNG_SIGNATURE, MemoryFile, png_chunks
from hashscan.hashing.media.luma_alpha import luma_of, opacity_of
from hashscan.hashing.media.partial_pictures import decoded_part
from hashscan.hashing.media.picture_opening import check_pixels
from hashscan.hashing.pread import PictureFile

Plane = NDArray[np.uint8]

_KEEP, _CLEAR, _RESTORE = 1, 2, 3
"""GIF's disposal methods: how a frame is removed before the next one; 0 means the same as 1."""
_WAIT_FOR_KEY = 2
"""Flag of a GIF frame that is shown until the user presses a key."""
_NO_TIME, _CUSTOMARY = 0.01, 0.1
"""Longest display time in seconds that browsers ignore, and the time that they use in its place."""
_GREYS = bytes(grey for grey in range(256) for _ in range(3))
_CHUNKS_MAX = 1 << 17
_PNG_CONTROL = struct.Struct(">5I2H2B")
"""Layout of an fcTL chunk."""
_BYTES_PER_PIXEL = 12
"""Memory in bytes for each pixel of a canvas, and of the frame that is being put on it."""


class AnimationFrame(Struct, frozen=True):
    """One frame of an animation before it is composed."""

    left: int
    top: int
    width: int
    height: int
    disposal: int
    opaque: bool
    over: bool
    """True if it is blended over the canvas, False if it replaces the canvas."""
    seconds: float
    decode: Callable[[], tuple[Plane, Plane]]
    """Function that returns the frame's brightness and its alpha."""
    decode_part: Callable[[int], tuple[Plane, Plane]]
    """Function that returns the same of a damaged frame, given the limit on pixels; see `decoded_part`."""


def effective_seconds(seconds: float) -> float:
    """Return how long browsers show a frame whose file asks for this display time, both in seconds."""
    return seconds if seconds > _NO_TIME else _CUSTOMARY


def frame_seconds(image: Image.Image, place: int, pieces: list[AnimationFrame] | None) -> float:
    """Return the display time of the frame that was just loaded; infinite if it is the last one.

    Endless animations are treated as ending, too: viewers differ in how often they repeat them.

    Args:
        place: index of the frame, from 0.
        pieces: its frames, if the format is GIF or PNG.
    """
    if pieces is None:
        last = place + 1 >= frames_known(image)
        return inf if last else effective_seconds(float(image.info.get("duration", inf)) / 1000)
    if image.format == "PNG":
        place -= bool(getattr(image, "default_image", False))
        pieces = pieces[: frames_known(image)]
    return pieces[place].seconds if place + 1 < len(pieces) else inf


def frames_known(image: Image.Image) -> int:
    """Return how many frames Pillow finds in an animation."""
    return int(getattr(image, "n_frames", 1)) - bool(getattr(image, "default_image", False))


def is_animated_png(file: PictureFile) -> bool:
    """Return True if a PNG has an animation chunk (acTL) before its pixels.

    Browsers accept this chunk however often it occurs and whatever precedes it.

    Raises:
        NotImplementedError: the file has more chunks than are examined.
    """
    kinds = (kind for kind, _, _ in png_chunks(file, limit=_CHUNKS_MAX))
    return next((kind for kind in kinds if kind in {b"acTL", b"IDAT"}), b"") == b"acTL"


def pieces_of(file: PictureFile, pillow_format: str) -> tuple[tuple[int, int], list[AnimationFrame]]:
    """Read the frames of an animation, without decoding them; none if the file is malformed.

    Args:
        file: the animation; its position is restored.
        pillow_format: "GIF" or "PNG".

    Returns:
        Width and height of the canvas, and the frames.

    Raises:
        NotImplementedError: the file has more chunks than are examined.
    """
    place = file.tell()
    file.seek(0)
    read = _gif if pillow_format == "GIF" else _png
    try:
        return read(file)
    except (struct.error, IndexError):
        return (0, 0), []
    finally:
        file.seek(place)


def composition_differs(size: tuple[int, int], pieces: list[AnimationFrame], pillow_format: str) -> bool:
    """Return True if Pillow composes an animation differently from browsers."""
    if not pieces:
        return False
    first = pieces[0]
    if first.opaque and (first.left, first.top, first.width, first.height) != (0, 0, *size):
        return True
    if first.disposal == _RESTORE or any(piece.disposal == _CLEAR and piece.opaque for piece in pieces):
        return True
    if pillow_format == "PNG":
        # Pillow's way to put one translucent colour over another isn't that of browsers.
        blended = any(piece.over and not piece.opaque for piece in pieces[1:])
        return blended or any(piece.disposal == _CLEAR for piece in pieces)
    # Pillow enlarges the canvas for a later frame, and takes undefined methods for the highest one.
    if any(piece.left + piece.width > size[0] or piece.top + piece.height > size[1] for piece in pieces):
        return True
    if any(piece.disposal > _RESTORE for piece in pieces):
        return True
    # Pillow keeps the previous disposal method if a frame has none.
    later = False
    for piece in pieces:
        if later and piece.disposal == 0:
            return True
        later |= piece.disposal in {_CLEAR, _RESTORE}
    return False


def compose_frames(
    size: tuple[int, int], pieces: list[AnimationFrame], max_pixels: int
) -> Iterator[tuple[Plane, Plane]]:
    """Yield each frame of an animation as browsers compose it.

    Args:
        size: width and height of the canvas.

    Yields:
        Its brightness over black and its alpha, shape (height, width); the next step overwrites both arrays.

    Raises:
        UndecodedError: the canvas or a frame is too large.
        Exception: any exception of Pillow.
    """
    check_pixels(_BYTES_PER_PIXEL * size[0] * size[1], max_pixels)
    black = np.zeros(size[::-1], np.uint8)
    alpha = np.zeros(size[::-1], np.uint8)
    for piece in pieces:
        check_pixels(_BYTES_PER_PIXEL * piece.width * piece.height, max_pixels)
        here = np.s_[piece.top : piece.top + piece.height, piece.left : piece.left + piece.width]
        before = (black[here].copy(), alpha[here].copy()) if piece.disposal == _RESTORE else None
        luma, opacity = piece.decode()
        rows, columns = black[here].shape
        _put(black[here], alpha[here], luma[:rows, :columns], opacity[:rows, :columns], over=piece.over)
        yield black, alpha
        if before is not None:
            black[here], alpha[here] = before
        elif piece.disposal == _CLEAR:
            black[here] = alpha[here] = 0


def _put(black: Plane, alpha: Plane, luma: Plane, opacity: Plane, *, over: bool) -> None:
    weight = opacity.astype(np.uint16)
    rest = np.uint16(255) - weight if over else np.uint16(0)
    black[...] = (luma * weight + black * rest + np.uint16(127)) // np.uint16(255)
    alpha[...] = (weight * np.uint16(255) + alpha * rest + np.uint16(127)) // np.uint16(255)


def _gif(file: PictureFile) -> tuple[tuple[int, int], list[AnimationFrame]]:
    """Read the blocks of a GIF (GIF89a specification, sections 17 to 26) up to the first incomplete one."""
    width, height, flags = struct.unpack("<6xHHB2x", file.read(13))
    common = file.read(3 << (flags & 7) + 1) if flags & 0x80 else b""
    pieces: list[AnimationFrame] = []
    control = _GifControl()
    while (mark := file.read(1)) in {b"!", b","}:
        if mark == b"!":
            found = _gif_control(file, control)
            if found is None:
                break
            control = found
            continue
        frame = _gif_frame(file, common, control)
        if frame is None:
            # Viewers show the frames before this one.
            break
        if not pieces:
            width, height = max(width, frame.left + frame.width), max(height, frame.top + frame.height)
        pieces.append(frame)
        control = _GifControl()
    return (width, height), pieces


class _GifControl(NamedTuple):
    """The control of the next frame (GIF89a, section 23)."""

    disposal: int = 0
    transparent: int = -1
    """Index of the transparent colour; below 0 if there is none."""
    seconds: float = 0.0


def _gif_control(file: PictureFile, control: _GifControl) -> _GifControl | None:
    """Read an extension, and return the control of the next frame, None if it is incomplete."""
    label = file.read(1)
    start = file.tell()
    _pass_blocks(file)
    if label != b"\xf9":
        return control
    after = file.tell()
    file.seek(start)
    fields = file.read(5)
    if len(fields) < 5:
        return None
    file.seek(after)
    _, flags, delay, index = struct.unpack("<BBHB", fields)
    seconds = inf if flags & _WAIT_FOR_KEY else delay / 100
    return _GifControl(flags >> 2 & 7, index if flags & 1 else -1, seconds)


def _gif_frame(file: PictureFile, common: bytes, control: _GifControl) -> AnimationFrame | None:
    """Read a frame without decoding it; return None if it is incomplete."""
    descriptor = file.read(9)
    if len(descriptor) < 9:
        return None
    left, top, width, height, flags = struct.unpack("<4HB", descriptor)
    palette = file.read(3 << (flags & 7) + 1) if flags & 0x80 else common
    start = file.tell()
    file.read(1)
    complete = _pass_blocks(file)
    span, size = (start, min(file.tell(), file.size) - start), (width, height)
    disposal, transparent, seconds = control
    build = partial(_gif_file, file, span, size, flags & 0x40)
    decode = partial(_decode_gif, build, palette, transparent)
    decode_part = partial(_decode_part_of_gif, build, palette, transparent)
    seconds = effective_seconds(seconds)
    # Browsers take 4 for it, too, and keep a frame for 5 to 7.
    disposal = _RESTORE if disposal == _RESTORE + 1 else disposal
    opaque = complete and transparent < 0
    return AnimationFrame(left, top, width, height, disposal, opaque, True, seconds, decode, decode_part)


def _pass_blocks(file: PictureFile) -> bool:
    """Skip the data blocks; return False if their end is missing."""
    while length := file.read(1):
        if length == b"\0":
            return True
        file.seek(file.tell() + length[0])
    return False


def _gif_file(file: PictureFile, span: tuple[int, int], size: tuple[int, int], interlaced: int) -> bytes:
    """Return a frame as a file of its own, whose colours are the grey of their index."""
    start, length = span
    file.seek(start)
    head = b"GIF89a" + struct.pack("<HHBBB", *size, 0xF7, 0, 0) + _GREYS
    return head + struct.pack("<BHHHHB", 0x2C, 0, 0, *size, interlaced) + file.read(length) + b";"


def _decode_gif(build: Callable[[], bytes], palette: bytes, transparent: int) -> tuple[Plane, Plane]:
    return _in_colours(np.asarray(Image.open(io.BytesIO(build()), formats=["GIF"])), palette, transparent)


def _decode_part_of_gif(
    build: Callable[[], bytes], palette: bytes, transparent: int, max_pixels: int
) -> tuple[Plane, Plane]:
    found, covered = _part_of(build(), "GIF", max_pixels)
    luma, alpha = _in_colours(found, palette, transparent)
    return luma, np.minimum(alpha, covered)


def _part_of(content: bytes, pillow_format: str, max_pixels: int) -> tuple[Plane, Plane]:
    """Return the brightness and opacity of the part of a picture that can be decoded.

    Raises:
        NotImplementedError: nothing of it can be decoded.
    """
    found = decoded_part(MemoryFile(content), pillow_format, max_pixels)
    alpha = None if found is None else opacity_of(found.image)
    if found is None or alpha is None:
        raise NotImplementedError
    return luma_of(found.image), alpha


def _in_colours(indices: Plane, palette: bytes, transparent: int) -> tuple[Plane, Plane]:
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    greys, opacity = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    # Pillow's weights. Indices without a colour are not shown.
    weighed = colours.astype(np.uint32) @ np.array((19595, 38470, 7471), np.uint32) + 0x8000 >> 16
    greys[: len(colours)], opacity[: len(colours)] = weighed, 255
    if transparent >= 0:
        opacity[transparent] = 0
    return greys[indices], opacity[indices]


def _png(file: PictureFile) -> tuple[tuple[int, int], list[AnimationFrame]]:
    """Read the frames of an animated PNG (third edition, sections 11.3.6.1 to 11.3.6.3)."""
    header = b""
    before: list[bytes] = []
    pieces: list[AnimationFrame] = []
    control = b""
    spans: list[tuple[int, int]] = []
    for kind, start, length in png_chunks(file, limit=_CHUNKS_MAX):
        if kind == b"IHDR":
            header = file.read(13)
        elif kind in {b"PLTE", b"tRNS"} and length < 1 << 12:
            before.append(struct.pack(">I", length) + kind + file.read(length + 4))
        elif kind == b"fcTL":
            pieces += png_frame(file, header, before, control, spans)
            control, spans = file.read(_PNG_CONTROL.size), []
            if len(control) < _PNG_CONTROL.size:
                break
        elif kind == b"IDAT" and control:
            spans.append((start, length))
        elif kind == b"fdAT":
            spans.append((start + 4, length - 4))
    pieces += png_frame(file, header, before, control, spans)
    return struct.unpack(">II", header[:8]), pieces


def png_frame(
    file: PictureFile,
    header: bytes,
    before: Sequence[bytes],
    control: bytes,
    spans: Sequence[tuple[int, int]],
) -> tuple[AnimationFrame, ...]:
    """Return the frame whose chunks were read; none if its control or its data are missing."""
    if not (control and spans):
        return ()
    _, width, height, left, top, count, per_second, disposal, blend = _PNG_CONTROL.unpack(control)
    opaque = header[9] in {0, 2, 3} and b"tRNS" not in {kind[4:8] for kind in before}
    build = partial(_png_file, file, spans, header[8:13], (width, height), b"".join(before))
    decode = partial(_decode_png, build, header[8])
    decode_part = partial(_decode_part_of_png, build)
    seconds = effective_seconds(count / (per_second or 100))
    # PNG's disposal values 0 to 2 are keep, clear and restore.
    over, box = blend == 1, (left, top, width, height)
    return (AnimationFrame(*box, disposal + 1, opaque, over, seconds, decode, decode_part),)


def _png_file(
    file: PictureFile, spans: Sequence[tuple[int, int]], about: bytes, size: tuple[int, int], before: bytes
) -> bytes:
    parts = [PNG_SIGNATURE, _chunk(b"IHDR", struct.pack(">II", *size) + about), before]
    for start, length in spans:
        file.seek(start)
        parts.append(_chunk(b"IDAT", file.read(length)))
    return b"".join((*parts, _chunk(b"IEND", b"")))


def _decode_png(build: Callable[[], bytes], depth: int) -> tuple[Plane, Plane]:
    image = Image.open(io.BytesIO(build()), formats=["PNG"])
    image.load()
    luma = luma_of(image)
    alpha = opacity_of(image, depth)
    return luma, np.full_like(luma, 255) if alpha is None else alpha


def _decode_part_of_png(build: Callable[[], bytes], max_pixels: int) -> tuple[Plane, Plane]:
    return _part_of(build(), "PNG", max_pixels)


def _chunk(kind: bytes, content: bytes) -> bytes:
    # Pillow checks the CRC of the chunks that it needs.
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
