"""Shows pictures as their colour profiles say, where these are odd (see `profiles`).

littleCMS parses and applies them, inside the sandbox as all that strangers' bytes meet.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from hashscan.hashing.luma import luma_of, strips, without_key
from hashscan.hashing.profiles import TABLES, tags_of, without

Plane = NDArray[np.uint8]

PROFILE_MAX = 16 << 20
"""Longest profile in bytes; those of presses have some megabytes."""

_PIXELS = 1 << 19
"""Of larger pictures so many are taken. Each takes half a microsecond."""
_EXACT = ImageCms.Flags.NOOPTIMIZE
"""By default littleCMS resamples tables, which smooths what was made to be steep."""
_TRIED = 4096
"""Pixels by which it is judged whether a profile changes anything."""
_ALIKE, _FLAT = 0.98, 4.0
"""Correlation with what is stored from which on it does not; the least standard deviation to say so of."""
_RAMP = Image.frombytes("L", (256, 1), bytes(range(256)))
_SRGB = ImageCms.createProfile("sRGB")
_CURVES = frozenset({b"rTRC", b"kTRC"})


def shown(
    image: Image.Image, profile: bytes, alpha: Plane | None
) -> Iterator[tuple[Image.Image, Plane | None]]:
    """A loaded picture as viewers show it that heed its profile, which may leave more than one way.

    Args:
        image: loaded, a JPEG at its full size.
        profile: its profile.
        alpha: how opaque it is, shape (height, width), or None.

    Yields:
        The picture in sRGB and its alpha, at a smaller size if it is large; nothing where that looks like
        what is stored.

    Raises:
        NotImplementedError: the profile can't be applied.
        Exception: whatever Pillow raises.
    """
    source = _for_space(image, profile[16:20])
    if source is None:
        return
    if source.mode == "L":
        # Of all greys each is looked up.
        for said, intent in _ways(profile):
            yield source.point(list(_transformed(_RAMP, said, intent).convert("L").tobytes())), alpha
        return
    random = _Random(source)
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
    """A picture in sRGB.

    Raises:
        NotImplementedError: littleCMS makes nothing of the profile; other libraries may.
    """
    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(read, _SRGB, image.mode, "RGB", ImageCms.Intent(intent), _EXACT)
        found = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError) as error:
        raise NotImplementedError from error
    assert found is not None
    return found


def _alike(one: Plane, other: Plane) -> bool:
    """Whether the brightness of some pixels differs by contrast alone, and by no more than a little."""
    x, y = (plane.ravel() - plane.mean() for plane in (one, other))
    spreads = float(np.sqrt((x * x).mean())), float(np.sqrt((y * y).mean()))
    if min(spreads) < _FLAT or max(spreads) > 2 * min(spreads):
        return False
    return float((x * y).mean()) > _ALIKE * spreads[0] * spreads[1]


def _ways(profile: bytes) -> list[tuple[bytes, int]]:
    """How viewers may read one profile: as a profile for them, and a rendering intent."""
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
        # Not all know these.
        ways.append((without(profile, TABLES[:4]), 0))
    if tables and not _CURVES.isdisjoint(places):
        ways.append((without(profile, TABLES), 0))
    return list(dict.fromkeys(ways))


def _for_space(image: Image.Image, space: bytes) -> Image.Image | None:
    """A picture in the colours that a profile is for; None where no viewer could apply it.

    Raises:
        NotImplementedError: it is for colours that pictures aren't stored in.
    """
    match space:
        case b"GRAY":
            return Image.fromarray(luma_of(image))
        case b"RGB " if image.mode == "CMYK":
            return None
        case b"RGB ":
            if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
                return Image.fromarray(luma_of(image)).convert("RGB")
            with without_key(image):
                straight = image.convert("RGBA") if image.mode in {"RGBa", "PA"} else image
                return straight.convert("RGB")
        case b"CMYK":
            return image if image.mode == "CMYK" else None
    raise NotImplementedError


class _Random:
    """Numbers that follow from each pixel of a picture.

    So nobody can draw one picture on the pixels that are taken by them, and another on the others.
    """

    def __init__(self, image: Image.Image) -> None:
        digest = hashlib.sha256()
        for _, strip in strips(image):
            digest.update(strip.tobytes())
        self._seed = digest.digest()

    def below(self, limit: int, *shape: int) -> NDArray[np.uint32]:
        """As many as a shape has places; others each time."""
        self._seed = hashlib.sha256(self._seed).digest()
        numbers = hashlib.shake_256(self._seed).digest(4 * int(np.prod(shape)))
        return (np.frombuffer(numbers, "<u4") % np.uint32(limit)).reshape(shape)


def _pixels_of(image: Image.Image, random: _Random) -> Image.Image:
    """Some pixels of a picture, in a row."""
    y, x = random.below(image.height, _TRIED), random.below(image.width, _TRIED)
    return Image.frombytes(image.mode, (_TRIED, 1), np.asarray(image)[y, x].tobytes())


def _smaller(image: Image.Image, alpha: Plane | None, random: _Random) -> tuple[Image.Image, Plane | None]:
    """A large picture made smaller by taking one pixel of each square.

    Their means would not do: curves that swap tones make something else of them.
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
    """The brightness of a picture in CMYK if its inks are stored inverted; viewers don't agree on that."""
    luma = np.empty((image.height, image.width), np.uint8)
    for top, strip in strips(image):
        luma[top : top + strip.height] = luma_of(ImageChops.invert(strip))
    return luma
