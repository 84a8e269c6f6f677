"""Read animated GIF and PNG files with faults, of which browsers show some frames, or the first picture.

Viewers differ in what they do at a faulty frame: some end the animation there, some leave the frame out, some
show it. So the frames are composed with it and without it; the frames up to it are then hashed as well.

This could be used to hide a picture if two faulty frames were treated in different ways by one viewer. So
with more than one of them, the file is not decoded completely. Many large frames would end the decoder at its
time limit, and lose the digests of the first picture. So each decoding of a frame counts towards the limits
on all frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from msgspec import structs

from hashscan.hashing.embedded.directories import png_chunks
from hashscan.hashing.media.animation import AnimationFrame, Plane, compose_frames, pieces_of, png_frame
from hashscan.hashing.media.picture_opening import Limits, UndecodedError, check_pixels
from hashscan.hashing.pread import PictureFile

Check = Callable[[int, int], None]
"""Function of the pixels of a frame and its number that checks the limits on all frames."""

_CHUNKS_MAX = 1 << 14
_CONTROL_BYTES = 26
_BYTES_PER_PIXEL = 12
"""Memory in bytes for each pixel of a frame that is decoded."""
_READ_BYTES = 1 << 20


class FaultyAnimation(NamedTuple):
    """The frames of an animation with faults, and which of them are faulty."""

    size: tuple[int, int]
    frames: list[AnimationFrame]
    faulty: list[bool]
    """True for each frame that viewers may leave out."""
    known: bool
    """True if all that viewers may show is composed of these frames."""

    def composed(self, limits: Limits) -> Iterator[tuple[Plane, Plane, float]]:
        """Yield the brightness over black, opacity and display time of all that viewers may compose.

        Raises:
            UndecodedError: a picture is too large.
        """
        sound = [frame for frame, bad in zip(self.frames, self.faulty, strict=True) if not bad]
        for frames in (self.frames, sound) if any(self.faulty) else (self.frames,):
            for (black, alpha), frame in zip(
                compose_frames(self.size, frames, limits.max_pixels), frames, strict=True
            ):
                yield black, alpha, frame.seconds


class _Frame(NamedTuple):
    """The chunks of a frame."""

    control: bytes
    spans: list[tuple[int, int]]
    """Offset and length of each piece of its data."""


def has_frames(file: PictureFile) -> bool:
    """Return True if a PNG has frames, whether or not it is marked as an animation.

    Raises:
        NotImplementedError: the file has more chunks than are examined.
    """
    return any(kind == b"fcTL" for kind, _, _ in png_chunks(file, limit=_CHUNKS_MAX))


def read_faulty(file: PictureFile, pillow_format: str, limits: Limits, check: Check) -> FaultyAnimation:
    """Read the frames of a GIF or PNG with faults; each is decoded once to see if it can be.

    Args:
        check: called before each frame is decoded; it raises UndecodedError where a limit is exceeded.

    Raises:
        NotImplementedError: the file has more chunks than are examined.
        UndecodedError: it has more frames than are examined, or they are too large.
    """
    if pillow_format == "GIF":
        size, pieces = pieces_of(file, "GIF")
        return _checked(size, [(piece, False) for piece in pieces], limits, check)
    header, before, chunked, faults = _chunks(file)
    if len(header) < 13:
        return FaultyAnimation((0, 0), [], [], False)
    size = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    found = [
        (frame, number in faults)
        for number, chunks in enumerate(islice(chunked, limits.frames + 1))
        for frame in png_frame(file, header, before, *chunks)
    ]
    return _checked(size, found, limits, check)


def _checked(
    size: tuple[int, int], found: list[tuple[AnimationFrame, bool]], limits: Limits, check: Check
) -> FaultyAnimation:
    """Return the frames that can be decoded, at least in part, and mark those with a fault."""
    frames, faulty = list[AnimationFrame](), list[bool]()
    for number, (frame, bad) in enumerate(found[: limits.frames], start=1):
        pixels = frame.width * frame.height
        try:
            check_pixels(_BYTES_PER_PIXEL * pixels, limits.max_pixels)
        except UndecodedError:
            # No part of it can be decoded either.
            continue
        check(pixels, number)
        outside = frame.left + frame.width > size[0] or frame.top + frame.height > size[1]
        decode, whole = _decoder(frame, limits.max_pixels)
        if decode is not None:
            frames.append(structs.replace(frame, decode=decode))
            faulty.append(bad or outside or not whole)
    return FaultyAnimation(size, frames, faulty, len(found) <= limits.frames and sum(faulty) <= 1)


def _decoder(frame: AnimationFrame, max_pixels: int) -> tuple[Callable[[], tuple[Plane, Plane]] | None, bool]:
    """Return how a frame is decoded, as far as it can be, and True if this is all of it."""
    try:
        frame.decode()
    except MemoryError:
        raise
    except Exception:  # Pillow's plug-ins raise nearly every built-in exception
        step = partial(frame.decode_part, max_pixels)
        try:
            step()
        except MemoryError:
            raise
        except Exception:
            return None, False
        return step, False
    return frame.decode, True


def _chunks(file: PictureFile) -> tuple[bytes, Sequence[bytes], list[_Frame], set[int]]:
    """Return the header, the chunks before the pixels, the chunks of each frame, and the faulty frames."""
    header = b""
    before: list[bytes] = []
    frames: list[_Frame] = []
    faults: set[int] = set()
    following = 0
    for kind, start, length in png_chunks(file, limit=_CHUNKS_MAX):
        if kind == b"IHDR":
            header = file.read(13)
        elif kind in {b"PLTE", b"tRNS"} and length < 1 << 12:
            before.append(length.to_bytes(4) + kind + file.read(length + 4))
        elif kind in {b"fcTL", b"fdAT"} or (kind == b"IDAT" and frames):
            number = following - 1 if kind == b"IDAT" else int.from_bytes(file.read(4))
            _add_chunk(file, frames, kind, start, length)
            if (kind != b"IDAT" and number != following) or not _is_intact(file, kind, start, length):
                faults.add(len(frames) - 1)
            following = number + 1
    faults.update(number for number, frame in enumerate(frames) if not frame.spans)
    return header, before, frames, faults


def _add_chunk(file: PictureFile, frames: list[_Frame], kind: bytes, start: int, length: int) -> None:
    """Begin a frame with its control, or add a piece of data to the last frame."""
    if kind == b"fcTL":
        file.seek(start)
        frames.append(_Frame(file.read(_CONTROL_BYTES).ljust(_CONTROL_BYTES, b"\0"), []))
    elif kind == b"fdAT" and frames:
        frames[-1].spans.append((start + 4, max(0, length - 4)))
    elif len(frames) == 1:
        frames[0].spans.append((start, length))


def _is_intact(file: PictureFile, kind: bytes, start: int, length: int) -> bool:
    """Return True if a chunk's checksum is right."""
    file.seek(start)
    check, left = zlib.crc32(kind), length
    while left > 0 and (content := file.read(min(left, _READ_BYTES))):
        check, left = zlib.crc32(content, check), left - len(content)
    return file.read(4) == check.to_bytes(4)
