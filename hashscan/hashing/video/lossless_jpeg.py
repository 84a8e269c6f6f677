"""Decode lossless JPEG (ITU-T T.81, annex H) and JPEG-LS (T.87) by FFmpeg, which Pillow can't.

PyAV takes 40 ms to load, and makes each decoder that is forked afterwards slower; such pictures are rare. So
it is used only where it was loaded before: in the sandbox of containers, to which the scan gives such files.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import av
from av import VideoFrame
from msgspec import Struct
from PIL import Image

from hashscan.hashing.media.jpeg_header import JPEG_LS, LOSSLESS, LosslessHeader
from hashscan.hashing.media.picture_opening import UndecodedError, check_pixels
from hashscan.model import Reason

_CODECS = {LOSSLESS: "mjpeg", JPEG_LS: "jpegls"}
"""FFmpeg's names of the decoders, by marker of the frame."""
_PIXEL_BYTES = 24
"""Memory for a pixel: its samples of up to 16 bits in FFmpeg, as an array and in Pillow, and as PNG."""


class Decoded(Struct, frozen=True):
    """A picture that was decoded."""

    png: bytes
    """The picture as PNG, with the EXIF data and the profile of the file."""
    whole: bool
    """False if the data have faults, and only a part of it was decoded."""


def decode_lossless(content: bytes, header: LosslessHeader, max_pixels: int) -> Decoded:
    """Decode a lossless JPEG or JPEG-LS; UndecodedError with UNSUPPORTED, TOO_LARGE or BROKEN."""
    codec = _CODECS.get(header.marker)
    width, height = header.plain.size
    if codec is None or not width * height:
        raise UndecodedError(Reason.UNSUPPORTED)
    check_pixels(_PIXEL_BYTES * width * height, max_pixels)
    for strict in (True, False):
        # Without an option, FFmpeg returns a picture with faults like any other.
        context: Any = av.CodecContext.create(codec, "r")
        context.thread_count = 1
        context.options = {"err_detect": "explode"} if strict else {}
        try:
            frames: list[VideoFrame] = [*context.decode(av.Packet(content)), *context.decode(None)]
            (frame,) = frames
            if (frame.width, frame.height) != (width, height):
                raise UndecodedError(Reason.UNSUPPORTED)
            return Decoded(_as_png(_image_of(frame), header), strict and not frame.is_corrupt)
        except av.error.PatchWelcomeError as error:
            raise UndecodedError(Reason.UNSUPPORTED) from error
        except (av.FFmpegError, ValueError):
            pass
    raise UndecodedError(Reason.BROKEN)


def _image_of(frame: VideoFrame) -> Image.Image:
    """Return a frame; FFmpeg has scaled its samples to 8 bits, or to 16."""
    if frame.format.name in {"gray", "gray16le"}:
        return Image.fromarray(frame.to_ndarray())
    if any(component.bits != 8 for component in frame.format.components):
        # Pillow has no mode for them.
        raise UndecodedError(Reason.UNSUPPORTED)
    return Image.fromarray(frame.reformat(format="rgb24", threads=1).to_ndarray())


def _as_png(image: Image.Image, header: LosslessHeader) -> bytes:
    stored = io.BytesIO()
    options: dict[str, Any] = {"compress_level": 1}
    exif = header.plain.info.get("exif")
    if isinstance(exif, bytes):
        options["exif"] = exif
    if header.profiles:
        options["icc_profile"] = header.profiles[0]
    image.save(stored, "PNG", **options)
    return stored.getvalue()


def warm_up() -> None:
    """Decode nothing with each decoder, so that FFmpeg's tables are there when decoders are forked."""
    for codec in _CODECS.values():
        context: Any = av.CodecContext.create(codec, "r")
        context.thread_count = 1
        with suppress(av.FFmpegError):
            context.decode(av.Packet(b"\xff\xd8\xff\xd9"))
