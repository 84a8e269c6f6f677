"""Apply ICC colour profiles to pictures, where these are not ordinary (see `icc_profiles`).

littleCMS parses and applies the profiles, inside the sandbox like all code that parses untrusted bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from hashscan.hashing.media.icc_profiles import TABLES, hide_tags, tags_of
from hashscan.hashing.media.luma_alpha import luma_of, strips, without_transparent_colour

Plane = NDArray[np.uint8]

PROFILE_MAX = 16 << 20
"""Maximum length of a profile in bytes; profiles of printing presses have some megabytes."""

_PIXELS = 1 << 19
"""Number of pixels to sample from larger pictures. Each takes half a microsecond."""
_EXACT = ImageCms.Flags.NOOPTIMIZE
"""Flag to keep tables as they are. By default littleCMS resamples them, which smooths steep curves."""
_TRIED = 4096
"""Number of pixels to test whether a profile changes anything."""
_ALIKE, _FLAT = 0.98, 4.0
"""Correlation with the stored values above which a profile changes nothing, and the minimum standard
deviation of the pixels for this test."""
_RAMP = Image.frombytes("L", (256, 1), bytes(range(256)))
_SRGB = ImageCms.createProfile("sRGB")
_CURVES = frozenset({b"rTRC", b"kTRC"})


def apply_profile(
    image: Image.Image, profile: bytes, alpha: Plane | None
) -> Iterator[tuple[Image.Image, Plane | None]]:
    """Yield a loaded picture as viewers show it that apply its profile; viewers may do so in several ways.

    Args:
        image: the picture, loaded; a JPEG at its full size.
        alpha: its opacity, shape (height, width), or None.

    Yields:
        The picture in sRGB and its alpha, at a smaller size if it is large; nothing if the result looks like
        the stored picture.

    Raises:
        NotImplementedError: the profile can't be applied.
        Exception: any exception of Pillow.
    """
    source = _for_space(image, profile[16:20])
    if source is None:
        return
    if source.mode == "L":
        # Convert each of the 256 grey levels once.
        for said, intent in _ways(profile):
            yield source.point(list(_transformed(_RAMP, said, intent).convert("L").tobytes())), alpha
        return
    random = _PixelSampler(source)
    source, alpha = _smaller(source, alpha, random)
    tried = _pixels_of(source, random)
    seen = [luma_of(tried)]
    for said, intent in _ways(profile):
        found = luma_of(_transformed(tried, said, intent))
        if any(_alike(found, other) for other in seen):
            continue
        seen.append(found)
        yield _transformed(source, said, intent), alpha


def _transformed(image: Image.Image, profile: bytes, intent: int) -> Image.Image:
    """Convert a picture to sRGB."""
    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(read, _SRGB, image.mode, "RGB", ImageCms.Intent(intent), _EXACT)
        found = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError) as error:
        raise NotImplementedError from error
    assert found is not None
    return found


def _alike(one: Plane, other: Plane) -> bool:
    """Return True if two brightnesses of the same pixels differ only slightly, and only in contrast."""
    x, y = (plane.ravel() - plane.mean() for plane in (one, other))
    spreads = float(np.sqrt((x * x).mean())), float(np.sqrt((y * y).mean()))
    if min(spreads) < _FLAT or max(spreads) > 2 * min(spreads):
        return False
    return float((x * y).mean()) > _ALIKE * spreads[0] * spreads[1]


def _ways(profile: bytes) -> list[tuple[bytes, int]]:
    """Return the ways in which viewers may read one profile: the profile to use and a rendering intent."""
    places = {signature: offset for signature, offset, _, _ in tags_of(profile)}
    tables = [name for name in TABLES if name in places]
    ways, seen = [(profile, 0)], set[int]()
    for intent in range(3):
        for kind in (b"D2B", b"A2B"):
            name = kind + b"%d" % intent
            if name in places and places[name] not in seen:
                seen.add(places[name])
                if intent:
                    ways.append((profile, intent))
    if any(name.startswith(b"D2B") for name in tables):
        # Not all viewers support these tags.
        ways.append((hide_tags(profile, TABLES[:4]), 0))
    if tables and not _CURVES.isdisjoint(places):
        ways.append((hide_tags(profile, TABLES), 0))
    return list(dict.fromkeys(ways))


def _for_space(image: Image.Image, space: bytes) -> Image.Image | None:
    """Convert a picture to the colour space of a profile; return None if no viewer could apply it."""
    match space:
        case b"GRAY":
            return Image.fromarray(luma_of(image))
        case b"RGB " if image.mode == "CMYK":
            return None
        case b"RGB ":
            if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
                return Image.fromarray(luma_of(image)).convert("RGB")
            with without_transparent_colour(image):
                straight = image.convert("RGBA") if image.mode in {"RGBa", "PA"} else image
                return straight.convert("RGB")
        case b"CMYK":
            return image if image.mode == "CMYK" else None
    raise NotImplementedError


class _PixelSampler:
    """Pseudo-random numbers seeded with all pixels of a picture.

    The sampled pixels cannot be predicted, so nobody can draw one picture on them and another on the others.
    """

    def __init__(self, image: Image.Image) -> None:
        digest = hashlib.sha256()
        for _, strip in strips(image):
            digest.update(strip.tobytes())
        self._seed = digest.digest()

    def below(self, limit: int, *shape: int) -> NDArray[np.uint32]:
        """Return an array of this shape with numbers from 0 to `limit` - 1; different ones at each call."""
        self._seed = hashlib.sha256(self._seed).digest()
        numbers = hashlib.shake_256(self._seed).digest(4 * int(np.prod(shape)))
        return (np.frombuffer(numbers, "<u4") % np.uint32(limit)).reshape(shape)


def _pixels_of(image: Image.Image, random: _PixelSampler) -> Image.Image:
    """Return sampled pixels of a picture, in one row."""
    y, x = random.below(image.height, _TRIED), random.below(image.width, _TRIED)
    return Image.frombytes(image.mode, (_TRIED, 1), np.asarray(image)[y, x].tobytes())


def _smaller(
    image: Image.Image, alpha: Plane | None, random: _PixelSampler
) -> tuple[Image.Image, Plane | None]:
    """Reduce a large picture and its alpha by taking one pixel of each square.

    The mean of a square would be wrong: curves that swap tones map it to something else.
    """
    width, height = image.size
    step = int(np.ceil(np.sqrt(width * height / _PIXELS)))
    if step <= 1:
        return image, alpha
    rows, columns = max(1, height // step), max(1, width // step)
    down, across = height // rows, width // columns
    y = random.below(down, rows, columns)
    x = random.below(across, rows, columns) + np.arange(columns) * across
    out = np.empty((rows, columns, len(image.getbands())), np.uint8)
    for row in range(rows):
        strip = image.crop((0, row * down, width, (row + 1) * down))
        out[row] = np.asarray(strip)[y[row], x[row]]
    small = Image.frombytes(image.mode, (columns, rows), out.tobytes())
    if alpha is not None:
        alpha = alpha[y + np.arange(rows)[:, None] * down, x]
    return small, alpha


def inverted_cmyk(image: Image.Image) -> Plane:
    """Return the brightness of a CMYK picture with its inks inverted, as some viewers show it."""
    luma = np.empty((image.height, image.width), np.uint8)
    for top, strip in strips(image):
        luma[top : top + strip.height] = luma_of(ImageChops.invert(strip))
    return luma


# High dynamic range: the transfer function PQ (SMPTE ST 2084). Chromium reduces the range by the largest of
# a pixel's colours, so that its hue stays, as no profile can. The formula is that of its `ColorTransform`,
# for a picture of 1,000 candelas on a screen of 203.

PQ = 16
"""The number of this transfer function (ITU-T H.273)."""
_BRIGHTEST = 1000 / 203
_VALUES = np.arange(256) / 255
_ROOT = _VALUES ** (32 / 2523)
_LIGHT = ((_ROOT - 0.8359375).clip(0) / (18.8515625 - 18.6875 * _ROOT)) ** (8192 / 1305) * (10_000 / 203)
"""The light of each stored value; 1 is white."""
_TO_SRGB = {
    9: np.array(((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))),
    12: np.array(((1.2249, -0.2247, 0.0), (-0.042, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979))),
}
"""By the number of the primaries, the matrix to those of sRGB (BT.2020 and Display P3)."""
_WEIGHTS = np.array((0.299, 0.587, 0.114))
_STRIP_PIXELS = 1 << 17


def pq_luma(image: Image.Image, primaries: int) -> Plane:
    """Return the brightness of a picture whose values are those of PQ, as ordinary screens show it.

    Args:
        image: the picture, loaded.
        primaries: the number of its primaries.
    """
    matrix = _TO_SRGB.get(primaries, np.eye(3))
    luma = np.empty((image.height, image.width), np.uint8)
    step = max(1, _STRIP_PIXELS // image.width)
    with without_transparent_colour(image):
        for top, strip in strips(image):
            colours = np.asarray(strip.convert("RGB"))
            for start in range(0, len(colours), step):
                light = _LIGHT[colours[start : start + step]]
                most = light.max(axis=2, keepdims=True)
                light *= (1 + most / _BRIGHTEST**2) / (1 + most)
                light = (light @ matrix.T).clip(0, 1)
                values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
                luma[top + start : top + start + len(values)] = np.rint(values @ _WEIGHTS * 255)
    return luma
