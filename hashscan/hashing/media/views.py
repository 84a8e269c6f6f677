"""Render the views of a decoded picture: how viewers show it, where this differs from its stored colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashscan.hashing.media.colour_tags import ColourInfo
from hashscan.hashing.media.luma_alpha import BACKGROUNDS, alpha_of, compose_over, luma_of, premultiplied_luma
from hashscan.hashing.media.profile_conversion import apply_profile, inverted_cmyk, pq_luma
from hashscan.hashing.variants import ALPHA, APERTURE, INVERTED_CMYK, PROFILED

Plane = NDArray[np.uint8]

VIEW_BYTES_PER_PIXEL = 3
"""Extra memory in bytes per pixel for its opacity and its brightness over a background."""


class View(NamedTuple):
    """A view of a picture, as some viewers show it."""

    look: int
    """Index in `variants.LOOKS`."""
    luma: Plane
    image: Image.Image | None = None
    """The view in colours, if they differ from those of the file."""


def views_of(image: Image.Image, luma: Plane, tags: ColourInfo, full: Image.Image) -> Iterator[View]:
    """Yield all views of a picture.

    Args:
        image: the picture, loaded.
        full: the same picture at full size and in colours, loaded; profiles are applied to it.

    Raises:
        NotImplementedError: there is a view that can't be rendered.
        Exception: any exception of Pillow.
    """
    yield from _seen(image, luma, tags, full)
    for box in tags.aperture_boxes(*image.size):
        # Some viewers show only this part, others the whole picture.
        part = image.crop(box)
        inner = luma[box[1] : box[3], box[0] : box[2]]
        yield View(APERTURE, inner, part)
        yield from (
            view._replace(image=part if view.image is None else view.image)
            for view in _seen(part, inner, tags, part)
        )
    if tags.unreadable:
        raise NotImplementedError


def views_of_alpha(luma: Plane, alpha: Plane) -> Iterator[View]:
    """Yield a picture over all backgrounds, and its opacity.

    Args:
        luma: its brightness as if it were opaque.
        alpha: its opacity, of the same shape.
    """
    yield from _over(luma, alpha, 0)
    yield View(ALPHA, alpha)


def _seen(image: Image.Image, luma: Plane, tags: ColourInfo, full: Image.Image) -> Iterator[View]:
    alpha = alpha_of(image, tags.depth)
    if alpha is not None:
        premultiplied = premultiplied_luma(image)
        if premultiplied is None:
            yield from _over(luma, alpha, 0)
        else:
            yield from over_backgrounds(premultiplied, alpha)
        yield View(ALPHA, alpha)
    if image.mode == "CMYK":
        yield View(INVERTED_CMYK, inverted_cmyk(image))
    for primaries in tags.bright:
        mapped = pq_luma(full, primaries)
        yield View(PROFILED, mapped)
        if alpha is not None:
            yield from _over(mapped, alpha, PROFILED)
    for profile in tags.profiles:
        for converted, smaller in apply_profile(full, profile, alpha):
            plain = luma_of(converted)
            yield View(PROFILED, plain, converted)
            if smaller is not None:
                yield from _over(plain, smaller, PROFILED)


def _over(luma: Plane, alpha: Plane, look: int) -> Iterator[View]:
    for place, background in BACKGROUNDS.items():
        yield View(look + place, compose_over(luma, alpha, background))


def over_backgrounds(black: Plane, alpha: Plane) -> Iterator[View]:
    """Yield a picture over each background.

    Args:
        black: its brightness over black; it exceeds the opacity where the picture adds light.
        alpha: its opacity, of the same shape.
    """
    for place, background in BACKGROUNDS.items():
        behind = compose_over(np.zeros_like(alpha), alpha, background)
        yield View(place, np.minimum(black, 255 - behind) + behind)
