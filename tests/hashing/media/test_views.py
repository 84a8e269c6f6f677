"""Pictures as viewers show them: over backgrounds, by their colours, with more contrast."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.media.low_contrast import chroma_planes, raise_contrast
from hashscan.hashing.media.luma_alpha import alpha_of, compose_over
from hashscan.hashing.variants import (
    LOOK,
    LOOKS,
    RAISED,
    RENDERINGS,
    RESTORED,
    SECTION,
    TRIMMED,
    is_basic,
    is_shown,
    is_trimmed,
)
from hashscan.model import Reason
from tests.hashing.media.test_icc_profiles import decoded
from tests.pictures import scene
from tests.viewer_attacks import ATTACKS, chroma_alone, chunk, grey, saved


def looks(content: bytes) -> list[str]:
    frames, reason = decoded(content)
    assert reason is None
    return [LOOKS[frame.look] for frame in frames]


OVER = ["over white", "over black", "over grey", "over light grey", "over dark grey"]


def test_what_is_opaque_has_one_look() -> None:
    image = scene(1, 64, 48).convert("RGBA")
    assert looks(saved(image, "PNG")) == [""]
    image.putalpha(128)
    # Contrast alone changes.
    assert looks(saved(image, "PNG")) == [""]


@pytest.mark.parametrize(
    "name", ["alpha.png", "alpha-grey.png", "alpha.webp", "palette.png", "key-two-bits.png"]
)
def test_what_is_translucent_has_all(name: str) -> None:
    assert looks(ATTACKS[name]()) == ["", *OVER, "alpha plane"]


def test_composed_as_pillow_does() -> None:
    image = Image.fromarray(np.dstack([grey(1), grey(2)]), "LA")
    alpha = alpha_of(image)
    assert alpha is not None
    for background in (0, 128, 255):
        below = Image.new("L", image.size, background)
        below.paste(image.getchannel(0), mask=image.getchannel(1))
        found = compose_over(np.asarray(image.getchannel(0)), alpha, background)
        assert np.abs(found.astype(int) - np.asarray(below)).max() <= 1


def test_a_transparent_colour_of_sixteen_bits_is_a_reason() -> None:
    # Which pixels it is of can't be told by the eight bits that are decoded.
    rows = np.zeros((16, 16, 6), np.uint8)
    rows[:, :8, 1] = 1
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    content = b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(">3H", 1, 0, 0)),
            chunk(b"IDAT", zlib.compress(lines)),
            chunk(b"IEND", b""),
        )
    )
    assert decoded(content)[1] is Reason.UNSUPPORTED


def test_raised_contrast_keeps_spots_from_hiding_a_faint_picture() -> None:
    faint = grey(1, 120, 136).copy()
    faint[::40, ::40], faint[5::40, ::40] = 0, 255
    clear = raise_contrast(faint)
    assert clear is not None
    assert clear.std() > 50


def test_contrast_is_raised_only_where_there_is_something_to_see() -> None:
    assert raise_contrast(np.full((32, 32), 90, np.uint8)) is None
    assert raise_contrast(grey(1, 100, 104)) is None
    full = np.where(grey(1) > 127, np.uint8(255), np.uint8(0))
    assert raise_contrast(full) is full


def test_planes_of_colour() -> None:
    assert chroma_planes(scene(1).convert("L")) == []
    ((look, plane),) = chroma_planes(chroma_alone().convert("RGB"))
    assert LOOKS[look] == "Cb plane"
    assert np.corrcoef(plane.ravel(), grey(1).ravel())[0, 1] > 0.99


def test_places_of_renderings() -> None:
    assert len(RENDERINGS) - 2 == LOOK * 2 * RAISED == RESTORED < 255
    assert RENDERINGS[RESTORED:] == ("restored", "section")
    assert not any(map(is_basic, (RESTORED, SECTION)))
    assert len(set(RENDERINGS)) == len(RENDERINGS)
    for place, rendering in enumerate(RENDERINGS):
        assert is_trimmed(place) == ("borders trimmed" in rendering)
        assert is_shown(place) == all(plane not in rendering for plane in ("plane", "contrast raised"))
    assert RENDERINGS[TRIMMED] == "borders trimmed"
