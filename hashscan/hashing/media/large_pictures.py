"""Load a picture of 50 megapixels and more, and reduce it at once, as JPEGs are reduced while decoded.

Only decoders with more memory than usual do this, for one picture at a time. All further steps work on means
of blocks of up to 8x8 pixels, as with a JPEG. Means are exact for all that PDQ uses, since PDQ begins with
means. They would not be exact where the stored values are transformed pixel by pixel before they are shown,
and a picture could be hidden in that: so opacity is applied to single pixels, and a picture with a colour
profile that is not ordinary counts as over the pixel limit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.media.colour_tags import ColourInfo
from hashscan.hashing.media.jpeg_header import scale_of
from hashscan.hashing.media.low_contrast import is_grey
from hashscan.hashing.media.luma_alpha import (
    compose_over,
    luma_of,
    opacity_of,
    premultiplied_luma,
    without_transparent_colour,
)
from hashscan.hashing.media.picture_opening import DRAFT_SIDE, UndecodedError, check_pixels
from hashscan.hashing.media.profile_conversion import inverted_cmyk
from hashscan.hashing.media.views import View, over_backgrounds
from hashscan.hashing.pillow_internals import free_webp_decoder
from hashscan.hashing.pread import PictureFile
from hashscan.hashing.variants import ALPHA, APERTURE, INVERTED_CMYK
from hashscan.hashing.webp_scaled import available, decode_scaled
from hashscan.model import Reason

Plane = NDArray[np.uint8]

_LARGE = 4_000_000
"""Pixels from which a picture is reduced; thumbnails and further frames may be smaller."""
_STRIP_PIXELS = 1 << 20
_UNCONVERTED = frozenset({"RGB", "RGBX", "YCbCr", "CMYK", "LAB"})
_WEBP_BYTES = {False: 4, True: 9}
"""Bytes per pixel for decoding a WebP, by whether it has opacity."""


class ReducedPicture(Struct, frozen=True):
    """A picture that was reduced by an integral factor; all planes have the shape of `luma`."""

    image: Image.Image
    """Its colours, without opacity."""
    luma: Plane
    alpha: Plane | None = None
    """Opacity; None if all pixels are equally opaque."""
    black: Plane | None = None
    """Brightness over black, if there is opacity."""
    inverted: Plane | None = None
    """Brightness of a CMYK picture that is taken as inverted."""

    def views(self, tags: ColourInfo, stored: tuple[int, int], scale: int) -> Iterator[View]:
        """Yield all views of the picture, as `views.views_of` does.

        Args:
            stored: width and height in pixels before it was reduced.
            scale: the factor.

        Raises:
            UndecodedError: there is a view that can't be rendered.
        """
        yield from self._seen()
        for left, top, right, bottom in tags.aperture_boxes(*stored):
            part = self._cropped(left // scale, top // scale, -(-right // scale), -(-bottom // scale))
            yield View(APERTURE, part.luma, part.image)
            yield from (view._replace(image=part.image) for view in part._seen())
        if tags.profiles or tags.unreadable:
            raise UndecodedError(Reason.TOO_LARGE if tags.profiles else Reason.UNSUPPORTED)

    def _seen(self) -> Iterator[View]:
        if self.alpha is not None and self.black is not None:
            yield from over_backgrounds(self.black, self.alpha)
            yield View(ALPHA, self.alpha)
        if self.inverted is not None:
            yield View(INVERTED_CMYK, self.inverted)

    def _cropped(self, left: int, top: int, right: int, bottom: int) -> ReducedPicture:
        def part(plane: Plane | None) -> Plane | None:
            return None if plane is None else plane[top:bottom, left:right]

        return ReducedPicture(
            self.image.crop((left, top, right, bottom)),
            self.luma[top:bottom, left:right],
            part(self.alpha),
            part(self.black),
            part(self.inverted),
        )


def scale_for(size: tuple[int, int]) -> int:
    """Return the factor by which a picture of this width and height is reduced; 1 if it is not."""
    return scale_of(size, DRAFT_SIDE) if size[0] * size[1] >= _LARGE else 1


def load_webp(image: Image.Image, file: PictureFile, scale: int, max_pixels: int) -> ReducedPicture | None:
    """Decode a WebP that Pillow has opened; return None if Pillow must decode it.

    Raises:
        UndecodedError: it is too large.
        OSError: it can't be decoded.
        MemoryError: there is not enough memory.
    """
    if getattr(image, "is_animated", False) or not available():
        return None
    # With the pixels of file and picture both in memory.
    needed = image.width * image.height * _WEBP_BYTES[image.mode != "RGB"] + file.size
    # A number of bytes, which `check_pixels` takes as pixels in brightness only.
    check_pixels(needed, max_pixels)
    free_webp_decoder(image)
    file.seek(0)
    found = decode_scaled(file.read(file.size), scale)
    if found is None:
        raise OSError("the picture is broken")
    pixels, reduced = found
    return ReducedPicture(pixels, luma_of(pixels)) if reduced else reduce_picture(pixels, scale, 8)


def reduce_picture(image: Image.Image, scale: int, depth: int) -> ReducedPicture:
    """Reduce a loaded picture to the means of its blocks, in strips.

    Args:
        scale: length in pixels of a block's sides.
        depth: bits of a sample in the file, see `luma_alpha.opacity_of`.
    """
    width, height = image.size
    planes: dict[str, list[Plane]] = {"luma": [], "alpha": [], "black": [], "inverted": []}
    colours: list[Image.Image] = []
    whole = luma_of(image) if image.mode in {"I", "F"} or image.mode.startswith("I;16") else None
    low, high = 255, 0
    step = scale * max(1, _STRIP_PIXELS // (scale * width))
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(top + step, height)))
        luma = luma_of(strip) if whole is None else whole[top : top + step]
        planes["luma"].append(_means(luma, scale))
        if not is_grey(image):
            colours.append(_colours(strip, scale))
        alpha = opacity_of(strip, depth)
        if alpha is not None:
            low, high = min(low, int(alpha.min())), max(high, int(alpha.max()))
            black = premultiplied_luma(strip)
            planes["alpha"].append(_means(alpha, scale))
            planes["black"].append(_means(compose_over(luma, alpha, 0) if black is None else black, scale))
        if image.mode == "CMYK":
            planes["inverted"].append(_means(inverted_cmyk(strip), scale))
    if low >= high:
        planes["alpha"] = planes["black"] = []
    joined = {name: np.concatenate(parts) for name, parts in planes.items() if parts}
    luma = joined["luma"]
    if colours:
        small = Image.new(colours[0].mode, (luma.shape[1], luma.shape[0]))
        for number, part in enumerate(colours):
            small.paste(part, (0, number * step // scale))
    else:
        small = Image.fromarray(luma)
    return ReducedPicture(small, luma, joined.get("alpha"), joined.get("black"), joined.get("inverted"))


def views_of_bitmap(luma: Plane, alpha: Plane, scale: int) -> Iterator[View]:
    """Yield a picture over all backgrounds, and its opacity, reduced.

    Args:
        luma: its brightness as if it were opaque, at full size.
        alpha: its opacity, of the same shape.
    """
    small = _means(alpha, scale)
    yield from over_backgrounds(_means(compose_over(luma, alpha, 0), scale), small)
    yield View(ALPHA, small)


def _means(plane: Plane, scale: int) -> Plane:
    return np.asarray(Image.fromarray(plane).reduce(scale))


def _colours(strip: Image.Image, scale: int) -> Image.Image:
    if strip.mode not in _UNCONVERTED:
        with without_transparent_colour(strip):
            if strip.mode in {"RGBa", "PA"}:
                strip = strip.convert("RGBA")
            strip = strip.convert("RGB")
    return strip.reduce(scale)
