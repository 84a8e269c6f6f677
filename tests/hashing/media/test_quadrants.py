from __future__ import annotations

import io
import os
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.formats import sniff
from hashscan.hashing.media.decoder import _decoder
from hashscan.hashing.media.picture_opening import Frame, Limits
from hashscan.hashing.media.quadrants import MIN_SIDE, PDQQuadrants
from hashscan.hashing.media.renderings import hash_frame
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.records import DecodedPicture, pack_request, unpack_reply
from hashscan.hashing.variants import VARIANTS, WHOLE
from hashscan.model import ALGORITHMS, QUADRANTS
from tests.hashing.drawings import scene
from tests.pictures import encoded
from tests.pictures import scene as drawn

BOTH = ("pdq", QUADRANTS)


def parts(value: bytes) -> list[bytes]:
    return [value[at : at + 32] for at in range(0, 128, 32)]


@pytest.mark.parametrize(("height", "width"), [(480, 640), (481, 641)])
def test_each_quadrant_has_its_own_pdq(height: int, width: int) -> None:
    luma = scene(height, width)
    value, _ = PDQQuadrants().digest(luma)
    corners = [luma[y : y + 240, x : x + 320] for y in (0, height - 240) for x in (0, width - 320)]
    assert parts(value) == [PDQ().digest(corner)[0] for corner in corners]


def test_of_a_picture_decoded_at_a_smaller_scale() -> None:
    large = scene(1003, 1337)
    small = np.asarray(Image.fromarray(large).reduce(4))
    whole, reduced = PDQQuadrants().digest(large)[0], PDQQuadrants().digest(small, large.shape)[0]
    for one, other in zip(parts(whole), parts(reduced), strict=True):
        assert (int.from_bytes(one) ^ int.from_bytes(other)).bit_count() <= ALGORITHMS["pdq"].threshold


def test_a_quadrant_without_detail_and_a_small_picture_have_none() -> None:
    luma = scene(480, 640)
    luma[:240, :320] = 90
    value, _ = PDQQuadrants().digest(luma)
    assert [any(part) for part in parts(value)] == [False, True, True, True]
    assert not any(PDQQuadrants().digest(scene(MIN_SIDE, MIN_SIDE - 1))[0])
    assert any(PDQQuadrants().digest(scene(MIN_SIDE, MIN_SIDE))[0])


def test_a_picture_that_resembles_many_has_none() -> None:
    """Pictures of rows and columns, and pictures with one brightness over most of them."""
    random = np.random.default_rng(1)
    rows, columns = random.integers(0, 120, (9, 1)), random.integers(0, 120, (1, 12))
    table = Image.fromarray((rows + columns).astype(np.uint8)).resize((640, 480), Image.Resampling.NEAREST)
    even = np.full((480, 640), 90, np.uint8)
    even[120:360, 160:480] = scene(240, 320)
    for luma in (np.asarray(table), even):
        assert any(PDQQuadrants().digest(luma)[0])
        frame = Frame(luma, luma.shape[1], luma.shape[0])
        found = list(hash_frame(frame, (PDQ(), PDQQuadrants()), ()))
        assert [run.algorithm for run in found[:2]] == list(BOTH)
        assert found[1].values == bytes(128)


def answer(content: bytes, *hashes: type) -> DecodedPicture:
    known = sniff(content)
    assert known is not None
    decode = _decoder([made() for made in hashes], Limits(), VARIANTS, parts=frozenset())
    descriptor = os.memfd_create("picture")
    try:
        os.write(descriptor, content)
        reply = decode(descriptor, pack_request(known))
    finally:
        os.close(descriptor)
    found = unpack_reply(reply, known, [made.name for made in hashes])
    assert isinstance(found, DecodedPicture)
    return found


def animation(frames: int) -> bytes:
    stream = io.BytesIO()
    images = [drawn(seed, 160, 130) for seed in range(frames)]
    images[0].save(stream, "WEBP", save_all=True, append_images=images[1:], duration=2000)
    return stream.getvalue()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: encoded(drawn(1)),
        lambda: animation(60),
        lambda: encoded(drawn(1).convert("L").point(lambda v: 128 + v // 64), "PNG"),
    ],
    ids=["photo", "many frames", "faint"],
)
def test_all_that_is_found_without_quadrants_is_found_with_them(draw: Callable[[], bytes]) -> None:
    """Only the first picture has quadrants, even in an animation that fills a reply."""
    content = draw()
    alone, together = answer(content, PDQ), answer(content, PDQ, PDQQuadrants)
    quadrants = [digest for digest in together.digests if digest.algorithm == QUADRANTS]
    assert [(digest.part, digest.variant, len(digest.value)) for digest in quadrants] == [
        (WHOLE, "as stored", 128)
    ]
    others = [digest for digest in together.digests if digest.algorithm == "pdq"]
    assert set(others) == set(alone.digests)
    assert (together.damage, together.left_out) == (alone.damage, alone.left_out)
