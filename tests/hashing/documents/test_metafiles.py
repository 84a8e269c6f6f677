"""Opening metafiles in a confined decoder: their bitmaps, and what has none."""

from __future__ import annotations

import struct

import pytest

from hashscan.model import Reason
from tests.hashing.documents.conftest import Open
from tests.hashing.documents.drawn import JPEG, PNG, digests, distance, reasons, zipped
from tests.hashing.documents.metafiles import DIB, bitmap_record, emf, plus, wmf

pytestmark = pytest.mark.integration

WIDTH, HEIGHT = struct.unpack_from("<ii", DIB, 4)


def image(body: bytes) -> bytes:
    return b"\1\x10\xc0\xdb\1\0\0\0" + body


def packed(picture: bytes) -> bytes:
    return image(bytes(16) + struct.pack("<I", 1) + picture)


def plain() -> bytes:
    """Pixels from above, which are the picture upside down."""
    return image(struct.pack("<iiiII", WIDTH, HEIGHT, (WIDTH * 3 + 3) // 4 * 4, 0x21808, 0) + DIB[40:])


JPEG_HEADER = DIB[:16] + b"\4" + DIB[17:40]
TEXTURE = struct.pack("<IIII", 0, 2, 0, 0)
HALVES = [(0x4008, 0x8500, struct.pack("<I", len(packed(JPEG))) + packed(JPEG)[:900])]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(emf((81, bitmap_record())), id="EMR_STRETCHDIBITS"),
        pytest.param(emf((76, bitmap_record(before=76))), id="EMR_BITBLT"),
        pytest.param(emf((94, bitmap_record(before=8))), id="EMR_CREATEDIBPATTERNBRUSHPT"),
        pytest.param(emf((80, bitmap_record(JPEG_HEADER, JPEG))), id="JPEG in EMR_SETDIBITSTODEVICE"),
        pytest.param(emf(plus((0x4008, 0x500, packed(PNG)))), id="image of EMF+"),
        pytest.param(emf(plus((0x4008, 0x500, plain()))), id="pixels of EMF+"),
        pytest.param(emf(plus((0x4008, 0x100, TEXTURE + packed(PNG)))), id="texture"),
        pytest.param(
            emf(plus(*HALVES), plus((0x4008, 0x500, packed(JPEG)[900:]))), id="object of EMF+ in two parts"
        ),
        pytest.param(emf((70, struct.pack("<I", 0) + wmf((0x0F43, bytes(22) + DIB)))), id="WMF in EMF"),
        pytest.param(wmf((0x0F43, bytes(22) + DIB)), id="META_STRETCHDIB"),
        pytest.param(wmf((0x0B41, bytes(20) + DIB), placeable=True), id="META_DIBSTRETCHBLT"),
        pytest.param(wmf((0x0626, b"\x0f\0\0\0" + JPEG + b"\0" * (len(JPEG) % 2))), id="META_ESCAPE"),
        pytest.param(zipped({"word/media/image1.emf": emf((81, bitmap_record()))}), id="in a document"),
    ],
)
def test_a_picture_in_a_metafile(opened: Open, content: bytes) -> None:
    members, end = opened(content)
    assert min(map(distance, members)) <= 8 or digests(JPEG) in {member.exact for member in members}
    assert (end.reason, reasons(members)) == (None, {})


@pytest.mark.parametrize(
    "content",
    [
        wmf((0x0F43, bytes(22)), (0x0F43, bytes(22) + DIB)),
        emf(plus((0x4008, 0x500, image(struct.pack("<iii", 1, 1, 4))), (0x4008, 0x500, packed(PNG)))),
        emf(plus((0x4008, 0x100, TEXTURE[:8]), (0x4008, 0x500, packed(PNG)))),
    ],
    ids=["WMF", "pixels of EMF+", "texture"],
)
def test_a_record_that_is_too_short_costs_no_other_one(opened: Open, content: bytes) -> None:
    members, end = opened(content)
    assert min(map(distance, members)) <= 8
    assert (end.reason, list(reasons(members).values())) == (None, [Reason.CONTAINER_BROKEN])


@pytest.mark.parametrize("content", [emf((43, bytes(16)), (54, bytes(8))), wmf((0x041B, bytes(8)))], ids=len)
def test_lines_and_shapes_are_no_pictures(opened: Open, content: bytes) -> None:
    members, end = opened(content)
    assert (members, end.reason) == ([], None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (emf((81, bitmap_record()), end=False), Reason.CONTAINER_BROKEN),
        (emf((81, bitmap_record()[:-100])), Reason.CONTAINER_BROKEN),
        (wmf((0x0F43, bytes(22) + DIB))[:-20], Reason.CONTAINER_BROKEN),
        (emf()[:108] + struct.pack("<II", 2, 8) * 1_000_000, Reason.CONTAINER_MEMBERS),
        (wmf((0x0922, bytes(30))), Reason.UNSUPPORTED),
        (emf(*[(15, bytes(12))] * 4097), Reason.UNSUPPORTED),
        (emf(plus((0x400A, 0, bytes(4) + struct.pack("<I", 5000)))), Reason.UNSUPPORTED),
        (emf(plus((0x4008, 0x500, plain()[:20] + b"\7" + plain()[21:]))), Reason.UNSUPPORTED),
    ],
    ids=lambda value: getattr(value, "name", "document"),
)
def test_what_could_not_be_looked_at_is_said(opened: Open, content: bytes, reason: Reason) -> None:
    members, end = opened(content)
    assert reason in {end.reason, *reasons(members).values()}
