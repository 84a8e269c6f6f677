"""A tiny picture in each format we decode, to make Pillow load everything it needs for them."""

from __future__ import annotations

import base64
import struct
from io import BytesIO

from PIL import Image

_SIDE = 16

# Drawn as the others are. Encoding AVIF takes longer than all the others, and starts threads.
_AVIF = base64.b64decode(
    "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOltZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "AA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ0AAAAjAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAAAQAAYXYw"
    "MUNvbG9yAAAAAGhpcHJwAAAASWlwY28AAAAUaXNwZQAAAAAAAAAQAAAAEAAAAA5waXhpAAAAAAEIAAAADGF2MUOBABwAAAAAE2Nv"
    "bHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAK21kYXQSAAoIGAz/22AhoNQyFReGIYAAZQACsVQ/jVxD3wvN"
    "JLNjDA=="
)


def samples() -> dict[str, bytes]:
    """Files by Pillow's name of the format, each a gradient of 16x16 pixels.

    A format whose library Pillow was built without is left out.
    """
    picture = Image.linear_gradient("L").resize((_SIDE, _SIDE)).convert("RGB")
    found = {"AVIF": _AVIF}
    for name in ("BMP", "DDS", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TIFF", "WEBP"):
        file = BytesIO()
        try:
            picture.save(file, name)
        except (OSError, KeyError):
            continue
        found[name] = file.getvalue()
    pixels = picture.tobytes()
    # Pillow has no encoders for these, or slow ones.
    bitmap = BytesIO()
    picture.save(bitmap, "DIB")
    # The height counts the picture and the mask of what is transparent, one bit a pixel in rows of 32 bits.
    icon = bitmap.getvalue() + bytes(4 * _SIDE)
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
    return found


def _icon(kind: int, image: bytes) -> bytes:
    """An icon (1) or cursor (2) file of one image."""
    return struct.pack("<3H4B2H2I", 0, kind, 1, _SIDE, _SIDE, 0, 0, 1, 24, len(image), 22) + image


def _pixmap(pixels: bytes) -> bytes:
    """An X pixmap of grey pixels; each row of a gradient has its own colour."""
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
