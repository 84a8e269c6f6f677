"""Harmless pictures that a viewer shows otherwise than their colours are stored, drawn by code.

    python -m tests.viewer_attacks FOLDER

writes each as a file, and as NAME.shown.png the picture that is to be seen in it.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.media.icc_profiles import SRGB_COLORANTS, make_profile
from tests.pictures import scene

Plane = NDArray[np.uint8]
Floats = NDArray[np.float64]

SIZE = 320, 240
_VALUES = np.arange(256) / 255
_LIGHT = np.where(_VALUES <= 0.04045, _VALUES / 12.92, ((_VALUES + 0.055) / 1.055) ** 2.4)
"""Light of sRGB's values."""
_SWAPPED = np.arange(256).reshape(16, 16).T.ravel()
"""The value shown for each that is stored: the two halves of its bits swapped."""

SHOWN = 1
"""Seed of the picture that is seen."""
STORED = 2
"""Seed of the one that is seen by who passes over transparency and profiles."""


def grey(seed: int, low: int = 0, high: int = 255) -> Plane:
    """A picture's brightness, between two values."""
    plane = np.asarray(scene(seed, *SIZE).convert("L")).astype(float)
    plane = (plane - plane.min()) / (plane.max() - plane.min())
    return np.rint(low + plane * (high - low)).astype(np.uint8)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """As a file's content."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """One of PNG's."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def as_alpha(mode: str, value: int = 0) -> Image.Image:
    """The picture in the opacity of one colour; over white where that is black."""
    plane = grey(SHOWN)
    image = Image.new(mode[:-1].replace("LA", "L") or "L", SIZE, (value,) * (len(mode) - 1))
    image.putalpha(Image.fromarray(255 - plane if value < 128 else plane))
    return image


def decoy_over_white() -> Image.Image:
    """Colours of one picture, with an opacity that makes them another over white."""
    shown, stored = grey(SHOWN, 90, 250).astype(float), grey(STORED, 0, 60).astype(float)
    alpha = (255 - shown) / (255 - stored) * 255
    image = Image.fromarray(stored.astype(np.uint8)).convert("RGB")
    image.putalpha(Image.fromarray(np.rint(alpha).astype(np.uint8)))
    return image


def dithered() -> Plane:
    """The picture in black (1) and white (0) dots."""
    return (np.asarray(Image.fromarray(grey(SHOWN)).convert("1")) == 0).astype(np.uint8)


def palette_of_opacity() -> bytes:
    """A palette all black, whose entries are of different opacity."""
    image = Image.frombytes("P", SIZE, grey(SHOWN).tobytes())
    image.putpalette(bytes(768))
    return saved(image, "PNG", transparency=bytes(range(255, -1, -1)))


def key(mode: str, form: str = "PNG") -> bytes:
    """Dots of two colours hardly apart, of which one is transparent."""
    dots = dithered()
    if mode == "RGB":
        image = Image.fromarray(np.dstack([dots * 0, dots * 0, dots]))
        return saved(image, form, transparency=(0, 0, 0))
    image = Image.frombytes(mode, SIZE, dots.tobytes())
    if mode == "P":
        image.putpalette(bytes(768))
    return saved(image, form, transparency=0)


def key_of_two_bits() -> bytes:
    """A grey PNG of two bits, which Pillow writes none of."""
    dots = dithered().reshape(-1, 4)
    packed = (dots[:, 0] << 6 | dots[:, 1] << 4 | dots[:, 2] << 2 | dots[:, 3]).reshape(SIZE[1], -1)
    rows = np.pad(packed, ((0, 0), (1, 0))).astype(np.uint8)
    header = struct.pack(">IIBBBBB", *SIZE, 2, 0, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            # The dots' neighbour, which in eight bits is 85.
            chunk(b"tRNS", struct.pack(">H", 1)),
            chunk(b"IDAT", zlib.compress(rows.tobytes())),
            chunk(b"IEND", b""),
        )
    )


def swapped_profile() -> bytes:
    """A profile by which tones change places."""
    return make_profile(SRGB_COLORANTS, [_LIGHT[_SWAPPED]] * 3)


def swapped(mode: str = "RGB") -> Image.Image:
    """The picture so that this profile shows it."""
    return Image.fromarray(np.argsort(_SWAPPED).astype(np.uint8)[grey(SHOWN)]).convert(mode)


def folded_profile() -> bytes:
    """A profile by which the middle is black, and black is as white as white."""
    return make_profile(SRGB_COLORANTS, [_curve(np.abs(2 * _VALUES - 1))] * 3)


def folded() -> Image.Image:
    """The picture for it: in the upper half of the tones where another is bright, else in the lower."""
    half = grey(SHOWN).astype(float) / 2
    upper = grey(STORED) > 127
    return Image.fromarray(np.where(upper, 127.5 + half, 127.5 - half).round().astype(np.uint8)).convert(
        "RGB"
    )


def stretching_profile() -> bytes:
    """A profile that makes black of 112 and white of 143."""
    return make_profile(SRGB_COLORANTS, [_curve((_VALUES * 255 - 112) / 31)] * 3)


def _curve(shown: Floats) -> Floats:
    return np.interp(shown.clip(0, 1), _VALUES, _LIGHT)


def table_profile() -> bytes:
    """The tones that change places by a table (A2B0, of type mft2) in place of curves."""
    ramp = np.rint(_LIGHT[_SWAPPED] * 65535).astype(">u2").tobytes()
    corners = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)])
    cube = np.rint(corners @ SRGB_COLORANTS * 32768).clip(0, 65535).astype(">u2").tobytes()
    straight = struct.pack(">2H", 0, 65535) * 3
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft2\0\0\0\0" + bytes((3, 3, 2, 0)) + identity + struct.pack(">2H", 256, 2)
    table += ramp * 3 + cube + straight
    profile = make_profile(SRGB_COLORANTS, [_LIGHT] * 3)
    return added_tag(profile, b"A2B0", table)


def added_tag(profile: bytes, name: bytes, tag: bytes) -> bytes:
    """A profile with one more tag."""
    count = int.from_bytes(profile[128:132])
    moved = bytearray()
    for place in range(132, 132 + 12 * count, 12):
        kind, offset, length = struct.unpack_from(">4sII", profile, place)
        moved += struct.pack(">4sII", kind, offset + 12, length)
    made = profile[:128] + struct.pack(">I", count + 1) + moved
    body = profile[132 + 12 * count :]
    made += struct.pack(">4sII", name, len(profile) + 12, len(tag)) + body + tag
    return struct.pack(">I", len(made)) + made[4:]


def blue_profile() -> bytes:
    """A profile that shows what is in blue alone, in grey."""
    black = np.full(256, 0.0)
    white = np.array((0.9642, 1.0, 0.8249))
    return make_profile(np.array([0 * white, 0 * white, white]), [black, black, _LIGHT])


def in_blue() -> Image.Image:
    """One picture in red and green, another in blue."""
    return Image.fromarray(np.dstack([grey(STORED), grey(STORED), grey(SHOWN)]))


def for_gamma(factor: float) -> Image.Image:
    """The picture so that a curve shows it that is steeper than usual by a factor; bright and faint."""
    return Image.fromarray(np.rint((grey(SHOWN) / 255) ** (1 / factor) * 255).astype(np.uint8)).convert("RGB")


def chroma_alone(*, other: bool = False) -> Image.Image:
    """The picture in a plane of colour, at one brightness."""
    flat = np.full(SIZE[::-1], 128, np.uint8)
    planes = [flat, grey(SHOWN, 70, 186), grey(STORED, 70, 186) if other else flat]
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in planes])


def checks(height: int, width: int, *, coloured: bool = False, side: int = 20) -> Plane:
    """Squares in black and white of one grey colour or of many; brightness and two planes of colour."""
    random = np.random.default_rng(3)
    planes = [random.integers(0, 2, (-(-height // side), -(-width // side)), np.uint8) * np.uint8(255)]
    for _ in range(2):
        colours = random.integers(60, 200, planes[0].shape, np.uint8)
        planes.append(colours if coloured else np.full_like(colours, 128))
    whole = [np.kron(plane, np.ones((side, side), np.uint8))[:height, :width] for plane in planes]
    return np.dstack(whole)


def beside_checks(*parts: Image.Image, coloured: bool = False) -> Image.Image:
    """Pictures with a strip of squares behind each."""
    strip = checks(SIZE[1], 100, coloured=coloured)
    pieces = [piece for part in parts for piece in (np.asarray(part.convert("YCbCr")), strip)]
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in np.moveaxis(np.hstack(pieces), 2, 0)])


def within_checks(image: Image.Image, *, coloured: bool = False, side: int = 20) -> Image.Image:
    """A picture with squares around it."""
    width, height = image.size
    out = checks(height + height // 3, width + width // 4, coloured=coloured, side=side)
    out[height // 6 : height // 6 + height, width // 8 : width // 8 + width] = image.convert("YCbCr")
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in np.moveaxis(out, 2, 0)])


def chroma_of(seed: int, noise: float = 0.0) -> Image.Image:
    """A picture in a plane of colour, at one brightness but for some noise."""
    shape = SIZE[::-1]
    brightness = np.random.default_rng(4).normal(128, noise, shape).clip(0, 255).astype(np.uint8)
    planes = brightness, grey(seed, 70, 186), np.full(shape, 128, np.uint8)
    return Image.merge("YCbCr", [Image.fromarray(plane) for plane in planes])


def faint() -> Image.Image:
    """The picture in few greys."""
    return Image.fromarray(grey(SHOWN, 120, 138)).convert("RGB")


def framed(image: Image.Image) -> Image.Image:
    """A picture within a border of much contrast."""
    out = Image.new("RGB", (SIZE[0] + 80, SIZE[1] + 80), "black")
    out.paste(image.convert("RGB"), (40, 40))
    return out


def light(values: Floats) -> bytes:
    """Return sRGB values as a file has them that declares linear light."""
    return np.rint(values * 255).astype(np.uint8).tobytes()


def linear() -> Image.Image:
    """The picture stored as light."""
    return Image.frombytes("L", SIZE, light(_LIGHT[grey(SHOWN)])).convert("RGB")


def animated(form: str, image: Image.Image, **options: object) -> bytes:
    """A picture as the second frame."""
    first = Image.fromarray(grey(STORED)).convert(image.mode)
    return saved(first, form, save_all=True, append_images=[image], duration=100, **options)


def without_adobe() -> bytes:
    """A JPEG of four inks that doesn't say they are inverted, as browsers take them to be."""
    ink = Image.fromarray(grey(SHOWN))
    white = Image.new("L", SIZE, 255)
    content = saved(Image.merge("CMYK", [white, ink, ink, ink]), "JPEG", quality=95)
    place = content.index(b"\xff\xee")
    return content[:place] + content[place + 2 + int.from_bytes(content[place + 2 : place + 4]) :]


def gif(frames: list[tuple[Plane, int | None, int]], palette: bytes, background: int = 0) -> bytes:
    """An animation of whole frames: indices, the transparent one, and how each is disposed of."""
    bits = max(1, (len(palette) // 3 - 1).bit_length())
    pieces = [b"GIF89a", struct.pack("<HHBBB", *SIZE, 0xF0 | (bits - 1), background, 0), palette]
    for indices, transparent, disposal in frames:
        height, width = indices.shape
        image = Image.frombytes("P", (width, height), indices.tobytes())
        image.putpalette(palette)
        whole = saved(image, "GIF", optimize=False, interlace=False)
        # What follows the size, the flags and the table of colours of its descriptor.
        start = whole.index(struct.pack("<BHHHH", 0x2C, 0, 0, width, height)) + 9
        flags = whole[start]
        data = whole[start + 1 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) : -1]
        control = struct.pack(
            "<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | (transparent is not None), 9, transparent or 0, 0
        )
        pieces += [control, struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0), data]
    return b"".join((*pieces, b";"))


def gif_of_cleared_frame() -> bytes:
    """A frame that leaves nothing behind, then dots of ink. To who fills it with the background, which is of
    the same ink, there is nothing to see."""
    ink = bytes((0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0))
    first = np.asarray(Image.fromarray(grey(STORED)).convert("1")).astype(np.uint8)
    return gif([(first, None, 2), (dithered() * 2 + 1 - dithered(), 1, 1)], ink)


def gif_of_small_first_frame() -> bytes:
    """A first frame of some pixels; around it browsers show the page, others the first colour."""
    ink = bytes((0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0))
    return gif([(np.zeros((4, 4), np.uint8), None, 1), (dithered() * 2 + 1 - dithered(), 1, 1)], ink)


def png_of_cleared_frame() -> bytes:
    """Return an animated PNG in which a frame clears to transparent, not to the first colour of its
    palette."""
    palette = chunk(b"PLTE", bytes((0, 0, 0, 255, 255, 255, 0, 0, 0)))
    frames = [np.asarray(Image.fromarray(grey(STORED)).convert("1")).astype(np.uint8), dithered() + 1]
    pieces = [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, 8, 3, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        palette,
        # The white of the second frame lets through what is beneath.
        chunk(b"tRNS", bytes((255, 0, 255))),
    ]
    for number, frame in enumerate(frames):
        rows = np.pad(frame, ((0, 0), (1, 0))).astype(np.uint8).tobytes()
        # Cleared after it, and the other put over what is left.
        fields = number, *SIZE, 0, 0, 1, 10, 1 - number, number
        pieces.append(chunk(b"fcTL", struct.pack(">5I2H2B", *fields)))
        data = zlib.compress(rows)
        pieces.append(chunk(b"fdAT", struct.pack(">I", 2) + data) if number else chunk(b"IDAT", data))
    return b"".join((*pieces, chunk(b"IEND", b"")))


ATTACKS: dict[str, Callable[[], bytes]] = {
    "alpha.png": lambda: saved(as_alpha("RGBA"), "PNG"),
    "alpha-grey.png": lambda: saved(as_alpha("LA"), "PNG"),
    "alpha-white.png": lambda: saved(as_alpha("RGBA", 255), "PNG"),
    "alpha-middle.png": lambda: saved(as_alpha("RGBA", 127), "PNG"),
    "alpha.webp": lambda: saved(as_alpha("RGBA"), "WEBP", lossless=True, exact=True),
    "alpha.avif": lambda: saved(as_alpha("RGBA"), "AVIF", quality=90, max_threads=1),
    "alpha.tif": lambda: saved(as_alpha("RGBA"), "TIFF"),
    "alpha.jp2": lambda: saved(as_alpha("RGBA"), "JPEG2000"),
    "alpha.ico": lambda: saved(as_alpha("RGBA").resize((256, 192)), "ICO", sizes=[(256, 192)]),
    "alpha.sgi": lambda: saved(as_alpha("RGBA"), "SGI"),
    "alpha.dds": lambda: saved(as_alpha("RGBA"), "DDS"),
    "alpha.qoi": lambda: saved(as_alpha("RGBA"), "QOI"),
    "alpha-frame.png": lambda: animated("PNG", as_alpha("RGBA")),
    "alpha-frame.webp": lambda: animated("WEBP", as_alpha("RGBA"), lossless=True, exact=True),
    "decoy.png": lambda: saved(decoy_over_white(), "PNG"),
    "palette.png": palette_of_opacity,
    "key.png": lambda: key("RGB"),
    "key-grey.png": lambda: key("L"),
    "key-two-bits.png": key_of_two_bits,
    "key-palette.png": lambda: key("P"),
    "key.gif": lambda: key("P", "GIF"),
    "profile.png": lambda: saved(swapped(), "PNG", icc_profile=swapped_profile()),
    "profile.webp": lambda: saved(swapped(), "WEBP", lossless=True, icc_profile=swapped_profile()),
    "profile.tif": lambda: saved(swapped(), "TIFF", icc_profile=swapped_profile()),
    "profile.jpg": lambda: saved(folded(), "JPEG", quality=98, icc_profile=folded_profile()),
    "profile-large.jpg": lambda: saved(
        folded().resize((1600, 1200), Image.Resampling.NEAREST),
        "JPEG",
        quality=95,
        icc_profile=folded_profile(),
    ),
    "profile-table.png": lambda: saved(swapped(), "PNG", icc_profile=table_profile()),
    "profile-blue.png": lambda: saved(in_blue(), "PNG", icc_profile=blue_profile()),
    "profile-stretch.png": lambda: saved(
        Image.fromarray(grey(SHOWN, 112, 143)).convert("RGB"), "PNG", icc_profile=stretching_profile()
    ),
    "profile-icon.ico": lambda: _icon(
        saved(swapped().resize((256, 192), Image.Resampling.NEAREST), "PNG", icc_profile=swapped_profile())
    ),
    "profile-twice.png": lambda: with_chunks(
        saved(swapped(), "PNG"),
        chunk(b"iCCP", b"a\0\0" + zlib.compress(swapped_profile())),
        chunk(b"iCCP", b"b\0\0" + zlib.compress(make_profile(SRGB_COLORANTS, [_LIGHT] * 3))),
    ),
    "profile-alpha.png": lambda: _profile_and_alpha(),
    "gamma.png": lambda: with_chunks(
        saved(for_gamma(12), "PNG"), chunk(b"gAMA", struct.pack(">I", round(1e5 / 2.2 / 12)))
    ),
    "coding.png": lambda: with_chunks(saved(linear(), "PNG"), chunk(b"cICP", bytes((1, 8, 0, 1)))),
    "chroma.png": lambda: saved(chroma_alone().convert("RGB"), "PNG"),
    "chroma.jpg": lambda: saved(chroma_alone(), "JPEG", quality=90),
    "chroma-two.jpg": lambda: saved(chroma_alone(other=True), "JPEG", quality=90),
    "chroma-framed.jpg": lambda: saved(framed(chroma_alone()), "JPEG", quality=90),
    "chroma-beside.png": lambda: saved(beside_checks(chroma_alone()).convert("RGB"), "PNG"),
    "chroma-beside.jpg": lambda: saved(beside_checks(chroma_alone(), coloured=True), "JPEG", quality=90),
    "chroma-within.jpg": lambda: saved(within_checks(chroma_alone()), "JPEG", quality=85),
    "chroma-within.webp": lambda: saved(
        within_checks(chroma_alone(), coloured=True).convert("RGB"), "WEBP", quality=90
    ),
    "chroma-within.gif": lambda: saved(within_checks(chroma_alone()).convert("RGB"), "GIF"),
    "chroma-noise.png": lambda: saved(within_checks(chroma_of(SHOWN, noise=6)).convert("RGB"), "PNG"),
    "chroma-pair.jpg": lambda: saved(
        beside_checks(chroma_of(STORED), chroma_of(SHOWN), coloured=True), "JPEG", quality=90
    ),
    "chroma-large.jpg": lambda: saved(
        within_checks(chroma_alone().resize((1600, 1200)), side=97), "JPEG", quality=85
    ),
    "faint.png": lambda: saved(faint(), "PNG"),
    "faint-framed.png": lambda: saved(framed(faint()), "PNG"),
    "inks.jpg": without_adobe,
    "cleared.gif": gif_of_cleared_frame,
    "cleared.png": png_of_cleared_frame,
    "small-first.gif": gif_of_small_first_frame,
}
"""By file name. In each a viewer shows the picture of seed `SHOWN`."""


def _icon(png: bytes) -> bytes:
    return struct.pack("<3H4B2H2I", 0, 1, 1, 0, 192, 0, 0, 1, 32, len(png), 22) + png


def _profile_and_alpha() -> bytes:
    """Dots of two tones, by their opacity seen over white; the profile makes black of white."""
    image = Image.new("RGB", SIZE, "white")
    image.putalpha(Image.fromarray(255 - grey(SHOWN)))
    return saved(image, "PNG", icc_profile=make_profile(SRGB_COLORANTS, [1 - _LIGHT] * 3))


def shown() -> Image.Image:
    """The picture that is seen."""
    return Image.fromarray(grey(SHOWN))


def main() -> None:
    folder = Path(sys.argv[1])
    for name, draw in ATTACKS.items():
        (folder / name).write_bytes(draw())
    shown().save(folder / "shown.png")


if __name__ == "__main__":
    main()
