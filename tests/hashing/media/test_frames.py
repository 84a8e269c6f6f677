"""Files of several pictures: frames as a viewer composes them, pages, previews, and what cuts them off."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from math import inf
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.formats import sniff
from hashscan.hashing.media import animation
from hashscan.hashing.media.animation import Plane
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import MISSING, Frame, Limits, UndecodedError
from hashscan.hashing.media.samples import multi_picture_samples
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.variants import WHOLE, Kind, Part
from hashscan.model import Reason
from tests.hashing.drawings import checker, clouds, rings, scene, tiles
from tests.pictures import counts_faults

SEVERAL = multi_picture_samples()
PICTURES = [Image.fromarray(draw(60, 90)) for draw in (clouds, scene, tiles, rings)]
KINDS = {"AVIF": Kind.FRAME, "PNG": Kind.FRAME, "GIF": Kind.FRAME, "WEBP": Kind.FRAME, "TIFF": Kind.PAGE}


class Decoded(NamedTuple):
    frames: list[Frame]
    reason: Reason | None

    @property
    def parts(self) -> list[Part]:
        return [frame.part for frame in self.frames]


def decode(content: bytes, **limits: float) -> Decoded:
    descriptor = os.memfd_create("picture")
    os.pwrite(descriptor, content, 0)
    known = sniff(content)
    assert known is not None
    frames: list[Frame] = []
    try:
        for frame in decode_frames(PreadFile(descriptor), known, Limits(**limits)):
            frames.append(frame)  # noqa: PERF402 - those before an error count
    except UndecodedError as error:
        return Decoded(frames, error.reason)
    finally:
        os.close(descriptor)
    return Decoded(frames, None)


def saved(images: list[Image.Image], name: str, **options: object) -> bytes:
    file = BytesIO()
    images[0].save(file, name, save_all=True, append_images=images[1:], **options)
    return file.getvalue()


def far_apart(one: np.ndarray, other: np.ndarray | Image.Image) -> float:
    return float(np.abs(one.astype(int) - np.asarray(other).astype(int)).mean())


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("GIF", {}, 6),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 1),
        ("AVIF", {"max_threads": 1, "quality": 95}, 4),
        ("TIFF", {}, 0),
        pytest.param("TIFF", {"compression": "tiff_lzw"}, 0, marks=counts_faults),
    ],
)
def test_every_frame_and_page_is_decoded(name: str, options: dict, tolerance: float) -> None:
    found = decode(saved(PICTURES, name, **options))
    assert found.reason is None
    # An AVIF also has a picture, shown where animations aren't: its first frame.
    beside = [Part(Kind.FURTHER, 2)] if name == "AVIF" else []
    assert found.parts == [WHOLE, *(Part(KINDS[name], number) for number in (2, 3, 4)), *beside]
    for frame, picture in zip(found.frames, [*PICTURES, *PICTURES[: len(beside)]], strict=True):
        assert (frame.width, frame.height) == picture.size
        assert far_apart(frame.luma, picture) <= tolerance


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=counts_faults if name == "JPEG" else ())
        for name in sorted(set(SEVERAL) - MISSING)
    ],
)
def test_samples_of_several_hold_the_gradient_both_ways_up(name: str) -> None:
    found = decode(SEVERAL[name])
    assert found.reason is None
    assert len(found.frames) >= 2
    assert {bool(frame.luma[0, 0] < 40) for frame in found.frames} == {False, True}


@pytest.mark.parametrize("name", ["GIF", "PNG"])
def test_frames_are_composed_as_a_viewer_shows_them(name: str) -> None:
    """A frame that holds only what changed is shown upon the one before it."""
    canvas = Image.new("RGB", (90, 60), "white")
    canvas.paste(PICTURES[0].convert("RGB"))
    patch = canvas.copy()
    patch.paste((0, 0, 0), (10, 10, 30, 30))
    content = saved([canvas, patch], name)
    # It is stored as a patch, or this would prove nothing.
    assert len(content) < 1.5 * len(saved([canvas], name))
    second = decode(content).frames[1].luma
    assert far_apart(second, patch.convert("L")) < 6
    assert not second[12:28, 12:28].any()


def test_composing_goes_on_over_transparent_frames() -> None:
    """Taking a frame's brightness must not take away the colour that the next is composed by."""
    frames = []
    for place in range(4):
        image = Image.new("RGBA", (90, 60))
        image.paste((200, 30 * place, 0, 255), (20 * place, 0, 20 * place + 20, 60))
        frames.append(image)
    for name, options in (("GIF", {"disposal": 1}), ("PNG", {"disposal": 0, "blend": 1})):
        last = decode(saved(frames, name, **options)).frames[-1].luma
        assert all(last[30, 20 * place + 5] > 50 for place in range(4)), name


def test_frames_beyond_the_limit_are_a_reason() -> None:
    for name in ("GIF", "TIFF", "WEBP"):
        found = decode(saved(PICTURES, name), frames=3)
        assert (len(found.frames), found.reason) == (3, Reason.TOO_MANY), name
        assert decode(saved(PICTURES, name), frames=4).reason is None


def test_pixels_of_all_frames_are_limited() -> None:
    content = saved(PICTURES, "GIF")
    assert decode(content, total_pixels=4 * 60 * 90).reason is None
    found = decode(content, total_pixels=4 * 60 * 90 - 1)
    assert (len(found.frames), found.reason) == (3, Reason.TOO_MANY)


def test_time_is_limited() -> None:
    found = decode(saved(PICTURES, "GIF"), seconds=0)
    assert (len(found.frames), found.reason) == (1, Reason.TIMEOUT)


@pytest.mark.parametrize(("name", "first", "later"), [("GIF", 3, 18), ("PNG", 2, 18), ("TIFF", 2, 2)])
def test_frames_after_the_first_may_take_more_memory(name: str, first: int, later: int) -> None:
    content = saved(PICTURES, name)
    found = decode(content, max_pixels=-(-60 * 90 * first // 5))
    assert (len(found.frames), found.reason) == ((4, None) if first == later else (1, Reason.TOO_LARGE))
    assert decode(content, max_pixels=-(-60 * 90 * later // 5)).reason is None


def test_a_page_that_is_too_large_costs_no_other_before_it() -> None:
    found = decode(saved([PICTURES[0], Image.new("L", (900, 900))], "TIFF"), max_pixels=60 * 90)
    assert (len(found.frames), found.reason) == (1, Reason.TOO_LARGE)


@pytest.mark.parametrize("name", ["GIF", "PNG", "TIFF"])
def test_a_frame_that_is_cut_is_decoded_as_far_as_it_goes(name: str) -> None:
    content = saved(PICTURES[:2], name)
    tail = len(saved(PICTURES[1:2], name)) // 4
    if name == "TIFF":
        # Its last page's directory follows the pixels: cut them off from within.
        place = content.rindex(np.asarray(PICTURES[1]).tobytes()[-400:])
        content = content[:place]
    found = decode(content[:-tail] if name != "TIFF" else content)
    assert found.parts[0] == WHOLE
    if name == "TIFF":
        assert found.reason in {Reason.TRUNCATED, Reason.BROKEN}
    else:
        # All that viewers compose of it is known.
        assert found.reason is None
        second = np.asarray(PICTURES[1])[:20]
        assert min(far_apart(frame.luma[:20], second) for frame in found.frames) < 8


def exif(orientation: int, preview: bytes = b"", order: str = "<") -> bytes:
    """EXIF data with an orientation, and a preview in the second directory."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    after = 26 if preview else 0
    first = struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, after)
    second = struct.pack(order + "HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(preview), 0)
    return b"Exif\0\0" + mark + struct.pack(order + "I", 8) + first + second + preview


def jpeg(picture: Image.Image, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


@counts_faults
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read(orientation: int, order: str) -> None:
    data = exif(orientation, order=order)
    for name in ("JPEG", "PNG", "WEBP"):
        file = BytesIO()
        PICTURES[0].save(file, name, exif=data)
        found = decode(file.getvalue())
        assert (found.frames[0].orientation, found.reason) == (orientation, None), name


def test_pillow_turns_a_tiff_itself() -> None:
    file = BytesIO()
    PICTURES[0].save(file, "TIFF", tiffinfo={274: 6})
    (frame,) = decode(file.getvalue()).frames
    assert (frame.orientation, frame.width, frame.height) == (1, 60, 90)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_mean_nothing(orientation: int) -> None:
    assert decode(jpeg(PICTURES[0], exif=exif(orientation))).frames[0].orientation == 1


def test_previews_are_decoded() -> None:
    found = decode(jpeg(PICTURES[0], exif=exif(6, jpeg(PICTURES[1]))))
    assert found.parts == [WHOLE, Part(Kind.PREVIEW)]
    assert far_apart(found.frames[1].luma, PICTURES[1]) < 4


def test_what_is_left_of_a_preview_is_decoded() -> None:
    found = decode(jpeg(PICTURES[0], exif=exif(1, jpeg(PICTURES[1])[:-200])))
    assert len(found.frames) == 2
    assert far_apart(found.frames[1].luma[:20], np.asarray(PICTURES[1])[:20]) < 4


@counts_faults
def test_what_is_no_preview_is_passed_over() -> None:
    for data in (exif(1, b"no JPEG"), exif(1, b"x")[:-1], exif(1, jpeg(PICTURES[1]))[:60]):
        found = decode(jpeg(PICTURES[0], exif=data))
        assert (found.parts, found.reason) == ([WHOLE], None)


def test_the_preview_of_a_picture_that_is_too_large_is_decoded() -> None:
    content = jpeg(Image.fromarray(checker(600, 600)), progressive=True, exif=exif(1, jpeg(PICTURES[1])))
    found = decode(content, max_pixels=90_000)
    assert (found.parts, found.reason) == ([Part(Kind.PREVIEW)], Reason.TOO_LARGE)


@counts_faults
def test_the_preview_of_a_broken_picture_is_decoded() -> None:
    content = jpeg(PICTURES[0], exif=exif(1, jpeg(PICTURES[1])))
    found = decode(content[: content.rindex(b"\xff\xda") + 30])
    assert found.reason is Reason.TRUNCATED
    assert Part(Kind.PREVIEW) in found.parts


def test_further_pictures_of_a_jpeg() -> None:
    content = saved(PICTURES[:3], "MPO")
    found = decode(content)
    assert found.parts == [WHOLE, Part(Kind.FURTHER, 2), Part(Kind.FURTHER, 3)]
    for frame, picture in zip(found.frames, PICTURES, strict=False):
        assert far_apart(frame.luma, picture) < 4
    # Programs that save the first alone keep the index.
    assert decode(content[: content.index(b"\xff\xd9") + 2]).parts == [WHOLE]


@counts_faults
def test_the_preview_of_a_tiff() -> None:
    """As cameras keep it: a JPEG that a directory beneath the first points at."""
    pixels, preview = np.asarray(PICTURES[0]).tobytes(), jpeg(PICTURES[1])
    tags = [(256, 90), (257, 60), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 60)]
    tags += [(279, len(pixels)), (330, 0)]
    start = 8 + len(pixels)
    below = start + 2 + 12 * len(tags) + 4
    tags[-1] = (330, below)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    sub = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, below + 30, 0x0202, 4, 1, len(preview), 0)
    found = decode(struct.pack("<4sI", b"II*\0", start) + pixels + directory + sub + preview)
    assert (found.parts, found.reason) == ([WHOLE, Part(Kind.PREVIEW)], None)
    assert far_apart(found.frames[1].luma, PICTURES[1]) < 4


@counts_faults
def test_the_preview_of_a_psd() -> None:
    preview = jpeg(PICTURES[1])
    thumbnail = bytes(28) + preview + bytes(len(preview) % 2)
    resource = struct.pack(">4sHHI", b"8BIM", 1036, 0, len(preview) + 28) + thumbnail
    head = struct.pack(">4sH6xHIIHHI", b"8BPS", 1, 1, 60, 90, 8, 1, 0)
    content = (
        head + struct.pack(">I", len(resource)) + resource + bytes(6) + np.asarray(PICTURES[0]).tobytes()
    )
    found = decode(content)
    assert (found.parts, found.reason) == ([WHOLE, Part(Kind.PREVIEW)], None)
    assert far_apart(found.frames[1].luma, PICTURES[1]) < 4


@pytest.mark.skipif("HEIF" in MISSING, reason="the extra heif is not installed")
def test_heif_that_is_cut_gives_a_reason_and_no_black() -> None:
    content = SEVERAL["HEIF"]
    for length in range(100, len(content) - 1, 50):
        found = decode(content[:length])
        # A preview that is cut off is no loss to anybody.
        assert found.reason is not None or found.frames[0].width == 48
        assert all(frame.luma.any() for frame in found.frames)


def test_an_icon_gives_all_its_sizes() -> None:
    """Viewers differ in which they show; the first is the largest."""
    file = BytesIO()
    Image.fromarray(scene(128, 128)).save(file, "ICO", sizes=[(16, 16), (128, 128), (48, 48)])
    found = decode(file.getvalue())
    assert [frame.width for frame in found.frames] == [128, 48, 16]
    assert found.frames[0].part == WHOLE


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP"])
def test_how_long_frames_are_shown(name: str) -> None:
    content = saved(PICTURES, name, duration=[100, 250, 10, 100], loop=0)
    # No viewer shows one for a hundredth of a second, and some stay at the last.
    assert [frame.seconds for frame in decode(content).frames] == [inf, 0.25, 0.1, inf]


def test_the_default_picture_of_a_png_has_no_time() -> None:
    content = saved(PICTURES, "PNG", duration=[250, 300, 100], default_image=True)
    assert [frame.seconds for frame in decode(content).frames] == [inf, 0.25, 0.3, inf]


def test_an_animation_may_say_that_it_has_fewer_frames() -> None:
    content = bytearray(saved(PICTURES, "PNG", duration=250))
    place = content.index(b"acTL")
    content[place + 4 : place + 8] = (2).to_bytes(4)
    content[place + 12 : place + 16] = zlib.crc32(content[place : place + 12]).to_bytes(4)
    seconds = {frame.part: frame.seconds for frame in decode(bytes(content)).frames}
    assert seconds[Part(Kind.FRAME, 2)] == inf


def test_pages_stay() -> None:
    pictures = [Image.fromarray(draw(60, 90)) for draw in (clouds, scene)]
    assert {frame.seconds for frame in decode(saved(pictures, "TIFF")).frames} == {inf}


def test_frames_with_faults_are_decoded_within_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a decoder would end at its time limit, and lose the digests of the first picture."""
    content = saved([PICTURES[number % 4] for number in range(20)], "PNG", duration=2000)
    place = content.index(b"acTL") - 4
    decoded: list[int] = []
    decode_png = animation._decode_png

    def counted(build: Callable[[], bytes], depth: int) -> tuple[Plane, Plane]:
        decoded.append(depth)
        return decode_png(build, depth)

    monkeypatch.setattr(animation, "_decode_png", counted)
    # With a second acTL, Pillow reads a still picture.
    found = decode(content[:place] + content[place : place + 20] + content[place:], total_pixels=6 * 60 * 90)
    assert (found.reason, WHOLE in found.parts) == (Reason.TOO_MANY, True)
    assert len(decoded) < 6
