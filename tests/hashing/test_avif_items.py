"""Pictures of AVIF and HEIF files beside the primary one: alternatives, layers of a pyramid, thumbnails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.media.luma_alpha import luma_of
from hashscan.hashing.media.picture_opening import MISSING
from hashscan.hashing.variants import WHOLE, Kind
from hashscan.model import Reason
from tests.hashing.browser.files.avif_boxes import (
    Item,
    avif,
    children,
    colour,
    extents,
    file_type,
    full_box,
    grid,
)
from tests.hashing.browser.files.drawing import HEIGHT, WIDTH, drawn
from tests.hashing.media.test_frames import decode, far_apart
from tests.pictures import encoded

ONE, OTHER = colour(1, 1), colour(2, 5)


def _files() -> Iterator[tuple[str, bytes]]:
    yield "no group", avif(ONE, OTHER)
    yield "hidden", avif(ONE, replace(OTHER, hidden=True))
    yield "thumbnail", avif(ONE, replace(OTHER, references=((b"thmb", (1,)),)))
    yield "each made of the other", avif(ONE, replace(OTHER, references=((b"dimg", (2,)),)))
    for kind in (b"altr", b"pymd"):
        yield kind.decode(), avif(ONE, OTHER, groups=((kind, (2, 1)),))
    auxiliary = replace(OTHER, references=((b"auxl", (1,)),))
    yield "alternative called auxiliary", avif(ONE, auxiliary, groups=((b"altr", (2, 1)),))


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in _files()])
def test_each_picture_of_an_avif_is_decoded(content: bytes) -> None:
    found = decode(content)
    assert found.reason is None
    assert [part.kind for part in found.parts[:1]] == [WHOLE.kind]
    for seed in (1, 5):
        wanted = luma_of(drawn(seed, WIDTH, HEIGHT))
        assert min(far_apart(frame.luma, wanted) for frame in found.frames) < 8


def test_cells_of_a_grid_are_not_decoded_by_themselves() -> None:
    assert decode(avif(*grid(2, 2, 160, 128))).parts == [WHOLE]


def test_cell_that_is_an_alternative_is_decoded() -> None:
    found = decode(avif(*grid(1, 2, 160, 64), groups=((b"altr", (2, 1)),)))
    assert [part.kind for part in found.parts] == [Kind.PICTURE, Kind.FURTHER]


def test_other_picture_that_is_not_decoded() -> None:
    coded_otherwise = Item(2, b"hvc1", b"data", ((extents(), False),))
    assert decode(avif(ONE, coded_otherwise)).reason is not None


def test_more_pictures_than_are_decoded() -> None:
    others = [replace(OTHER, number=number) for number in range(2, 40)]
    assert decode(avif(ONE, *others)).reason is Reason.UNSUPPORTED


def _heif(*, hidden: bool, grouped: bool) -> bytes:
    items = []
    for number in (1, 2):
        content = encoded(Image.fromarray(np.asarray(drawn(number))), "HEIF", quality=60)
        place = content.index(b"hvcC") - 4
        config = content[place : place + int.from_bytes(content[place : place + 4])]
        data = dict(children(content))[b"mdat"]
        properties = (extents(), False), (config, True), (full_box(b"pixi", b"\3\10\10\10"), False)
        items.append(Item(number, b"hvc1", data, properties, hidden=hidden and number == 2))
    return avif(
        *items,
        head=file_type(b"heic", (b"mif1", b"heic")),
        groups=((b"altr", (2, 1)),) if grouped else (),
    )


@pytest.mark.skipif("HEIF" in MISSING, reason="needs pillow-heif")
@pytest.mark.parametrize(
    ("hidden", "grouped", "number", "reason"),
    [
        (False, False, 2, None),
        (False, True, 2, None),
        (True, False, 1, None),
        (True, True, 1, Reason.UNSUPPORTED),
    ],
)
def test_heif(hidden: bool, grouped: bool, number: int, reason: Reason | None) -> None:
    found = decode(_heif(hidden=hidden, grouped=grouped))
    assert (len(found.frames), found.reason) == (number, reason)
