"""Make tiny sample pictures in each supported format, to load all modules of Pillow and to check decoders."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, MpoImagePlugin, features

from hashscan.hashing.media.icc_profiles import SRGB_COLORANTS, make_profile

_SIDE = 16
_DRAWING = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" width="16" height="16">
<linearGradient id="g" x2="0" y2="1"><stop/><stop offset="1" stop-color="#fff"/></linearGradient>
<path d="M0 0h16v16H0z" fill="url(#g)"/></svg>
"""
"""The gradient as a drawing."""


def _stored(name: str) -> bytes:
    """Return a sample that is stored: encoding AVIF takes long, HEIF and JPEG XL need an extra.

    The gradients are those of the other formats. `frames` is a sequence of the gradient and of it upside
    down, `several` a picture upside down with a preview, and the gradient as a further picture.
    """
    return (Path(__file__).with_name("sample_files") / name).read_bytes()


def _saved(picture: Image.Image, pillow_format: str, **options: Any) -> bytes:
    """Return a picture as a file; empty if this build of Pillow can't write the format."""
    file = BytesIO()
    try:
        picture.save(file, pillow_format, **options)
    except (OSError, KeyError):
        return b""
    return file.getvalue()


_SAVED = "BMP", "DDS", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA"


@cache
def samples() -> dict[str, bytes]:
    """Return sample files by Pillow's name of the format, each a gradient of 16x16 pixels.

    Formats whose library is missing in this build of Pillow are left out.
    """
    picture = Image.linear_gradient("L").resize((_SIDE, _SIDE)).convert("RGB")
    found = {
        "AVIF": _stored("gradient.avif"),
        "HEIF": _stored("gradient.heic"),
        "JXL": _stored("gradient.jxl"),
    }
    for name in (*_SAVED, "TIFF", "WEBP"):
        if content := _saved(picture, name):
            found[name] = content
    pixels = picture.tobytes()
    # Pillow has no encoders for the following formats, or slow ones.
    # The height includes the picture and the transparency mask, which has one bit a pixel in rows of 32 bits.
    icon = _saved(picture, "DIB") + bytes(4 * _SIDE)
    icon = icon[:8] + struct.pack("<i", 2 * _SIDE) + icon[12:]
    found["ICO"] = _icon(1, icon)
    found["CUR"] = _icon(2, icon)
    png = found["PNG"]
    found["ICNS"] = struct.pack(">4sI4sI", b"icns", 16 + len(png), b"icp4", 8 + len(png)) + png
    found["DCX"] = struct.pack("<III", 0x3ADE68B1, 12, 0) + found["PCX"]
    found["SUN"] = struct.pack(">8I", 0x59A66A95, _SIDE, _SIDE, 24, len(pixels), 1, 0, 0) + pixels
    planes = b"".join(pixels[band::3] for band in range(3))
    # Three empty sections, then one uncompressed plane after another.
    found["PSD"] = struct.pack(">4sH6xHIIHH12xH", b"8BPS", 1, 3, _SIDE, _SIDE, 8, 3, 0) + planes
    found["XPM"] = _pixmap(pixels)
    found["FLI"] = _flic([picture.convert("L").tobytes()])
    found["SVG"] = _DRAWING
    found["XBM"] = _saved(picture.convert("1"), "XBM")
    return found


@cache
def multi_picture_samples() -> dict[str, bytes]:
    """Return samples with two pictures, for the formats that support it: the gradient, and it upside down.

    The JPEG has a preview, too.
    """
    one = Image.linear_gradient("L").resize((_SIDE, _SIDE)).convert("RGB")
    other = one.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    found = {"AVIF": _stored("frames.avif"), "HEIF": _stored("several.heic")}
    found["FLI"] = _flic([image.convert("L").tobytes() for image in (one, other)])
    for name in ("GIF", "PNG", "TIFF", "WEBP"):
        if content := _saved(one, name, save_all=True, append_images=[other]):
            found[name] = content
    # By its class: for a format not yet imported, Pillow imports all its plug-ins.
    several = MpoImagePlugin.MpoImageFile.format
    if content := _saved(one, several, save_all=True, append_images=[other], exif=_exif(one)):
        found["JPEG"] = content
    pages = [_saved(image, "PCX") for image in (one, other)]
    found["DCX"] = struct.pack("<4I", 0x3ADE68B1, 16, 16 + len(pages[0]), 0) + b"".join(pages)
    return found


def photograph() -> bytes:
    """Return a small JPEG that is hashed as a photograph is.

    A decoder that has hashed it hashes a photograph of 640x480 pixels in 110 % of the time that it takes
    after one of this size, which would take eight times as long itself.
    """
    # Not by numpy.random: every decoder would have a copy of the pages of its libraries.
    coarse = bytes((place * place * 40503 >> 7) % 256 for place in range(16 * 12 * 3))
    picture = Image.frombytes("RGB", (16, 12), coarse).resize((160, 120), Image.Resampling.BICUBIC)
    return _saved(picture, "JPEG", quality=80)


@cache
def samples_of_colours() -> dict[str, bytes]:
    """Return samples with a profile that swaps tones; translucent if the format supports it."""
    picture = Image.linear_gradient("L").resize((_SIDE, _SIDE))
    profile = make_profile(SRGB_COLORANTS, [np.linspace(1, 0, 16)] * 3)
    translucent = picture.convert("RGBA")
    translucent.putalpha(picture)
    found = {
        "JPEG": _saved(picture.convert("RGB"), "JPEG", icc_profile=profile),
        "PNG": _saved(translucent, "PNG", icc_profile=profile),
        "JXL": _stored("jpeg.jxl"),
    }
    return {name: content for name, content in found.items() if content}


def _exif(picture: Image.Image) -> bytes:
    """Return EXIF data for a picture, with the orientation upside down and the picture itself as preview."""
    preview = _saved(picture, "JPEG")
    turned = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 3, 0, 26)
    ranges = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(preview), 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + turned + ranges + preview


def _flic(frames: list[bytes]) -> bytes:
    """Return a FLIC animation of grey pictures, each stored uncompressed."""
    pieces = []
    for pixels in frames:
        chunk = struct.pack("<IH", 6 + len(pixels), 16) + pixels
        pieces.append(struct.pack("<IHH8x", 16 + len(chunk), 0xF1FA, 1) + chunk)
    size = 128 + sum(map(len, pieces))
    header = struct.pack("<I6HI", size, 0xAF12, len(frames), _SIDE, _SIDE, 8, 0, 70)
    return header.ljust(128, b"\0") + b"".join(pieces)


def _icon(kind: int, image: bytes) -> bytes:
    """Return an icon (1) or cursor (2) file with one image."""
    return struct.pack("<3H4B2H2I", 0, kind, 1, _SIDE, _SIDE, 0, 0, 1, 24, len(image), 22) + image


def _pixmap(pixels: bytes) -> bytes:
    """Return an X pixmap of grey pixels; each row of the gradient has its own colour."""
    greys = sorted(set(pixels))
    letters = {grey: chr(ord("A") + place) for place, grey in enumerate(greys)}
    colours = [f"{letters[grey]} c #{grey:02x}{grey:02x}{grey:02x}" for grey in greys]
    rows = [
        "".join(letters[grey] for grey in pixels[start : start + 3 * _SIDE : 3])
        for start in range(0, len(pixels), 3 * _SIDE)
    ]
    lines = [f"{_SIDE} {_SIDE} {len(greys)} 1", *colours, *rows]
    return (
        "/* XPM */\nstatic char *x[] = {\n" + ",\n".join(f'"{line}"' for line in lines) + "\n};\n"
    ).encode()


_ENCODINGS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 100},
    "JPEG in several scans": {"quality": 100, "progressive": True},
    "PNG": {},
    "GIF": {},
    "WebP": {"lossless": True},
    "AVIF": {"quality": 100, "max_threads": 1},
}
_FEATURES = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp", "AVIF": "avif"}


def builtin_pictures() -> list[tuple[str, bytes]]:
    """Return small pictures with Pillow's names of their formats, as far as supported here; two JPEGs."""
    drawn = samples()
    several = dict(encodings(drawn["PPM"]))["JPEG in several scans"]
    return [*drawn.items(), ("JPEG", several)]


def encodings(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a built-in picture in the most common formats, each with a readable name of the format."""
    with Image.open(BytesIO(content)) as picture:
        for name, options in _ENCODINGS.items():
            form = name.partition(" ")[0]
            if form in _FEATURES and not features.check(_FEATURES[form]):
                continue
            yield name, _saved(picture.convert("RGB"), form, **options)
