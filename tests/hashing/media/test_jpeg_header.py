"""JPEGs decoded without Pillow's opening: they come out as by it, and whatever is odd is left to it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from hashscan.hashing.formats import FORMATS
from hashscan.hashing.media import picture
from hashscan.hashing.media.jpeg_header import read_header, scale_of
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import Frame, Limits, UndecodedError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.examples import examples

JPEG = next(known for known in FORMATS if known.pillow == "JPEG")


def jpeg(size: tuple[int, int] = (120, 90), mode: str = "RGB", **options: object) -> bytes:
    rng = np.random.default_rng(7)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def behind_start(content: bytes, inserted: bytes) -> bytes:
    return content[:2] + inserted + content[2:]


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PLAIN = {
    "colour": jpeg(),
    "grey": jpeg(mode="L"),
    "reduced": jpeg((1030, 520)),
    "odd sides": jpeg((1027, 601), subsampling=2),
    "restarts": jpeg(restart_marker_blocks=3),
    "comment": jpeg(comment=b"words", dpi=(72, 72)),
    "profile": jpeg(icc_profile=SRGB),
    "profile in pieces": jpeg(icc_profile=SRGB + bytes(70_000)),
    "red, green, blue": jpeg(keep_rgb=True),
    "turned": jpeg(exif=exif(6)),
    "with more behind": jpeg() + b"more",
}
ODD = {
    "progressive": jpeg(progressive=True),
    "no profile": jpeg(icc_profile=bytes(70_000)),
    "four inks": jpeg(mode="CMYK"),
    "padded": behind_start(jpeg(), b"\xff\xff"),
    "EXIF twice": behind_start(jpeg(exif=exif(3)), segment(0xE1, b"Exif\0\0")),
    "Photoshop": behind_start(jpeg(), segment(0xED, b"Photoshop 3.0\x008BIM")),
    "short JFIF": behind_start(jpeg(), segment(0xE0, b"JFIF")),
    "short profile": behind_start(jpeg(), segment(0xE2, b"ICC_PROFILE\0")),
    "short Adobe": behind_start(jpeg(), segment(0xEE, b"Adobe")),
    "no length": behind_start(jpeg(), b"\xff\xe5\0\1"),
    "unknown segment": behind_start(jpeg(), segment(0xF3, b"")),
    "wide table": behind_start(jpeg(), segment(0xDB, bytes((0x10,)) + bytes(128))),
    "table with a high number": behind_start(jpeg(), segment(0xDB, bytes((7,)) + bytes(64))),
}


def frames(file: Path) -> list[Frame | str]:
    """Return the decoded frames of a file, and the messages about the rest."""
    descriptor = os.open(file, os.O_RDONLY)
    found: list[Frame | str] = []

    def seen() -> Iterator[Frame | str]:
        try:
            yield from decode_frames(PreadFile(descriptor), JPEG, Limits(max_pixels=1_000_000))
        except UndecodedError as error:
            yield str(error)

    try:
        found += seen()
    finally:
        os.close(descriptor)
    return found


def same(one: list[Frame | str], other: list[Frame | str]) -> bool:
    def known(found: Frame | str) -> object:
        if isinstance(found, str):
            return found
        rest = found.width, found.height, found.blocks_of, found.orientation, found.part
        return found.luma.shape, found.luma.tobytes(), rest

    return [known(found) for found in one] == [known(found) for found in other]


def both_ways(content: bytes, folder: Path) -> tuple[list[Frame | str], list[Frame | str]]:
    file = folder / "file.jpg"
    file.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        quick = frames(file)
        patch.setattr(picture, "read_header", lambda content: None)
        return quick, frames(file)


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_what_is_plain_comes_out_as_by_pillow(content: bytes, tmp_path: Path) -> None:
    assert read_header(content) is not None
    quick, slow = both_ways(content, tmp_path)
    assert isinstance(quick[0], Frame)
    assert same(quick, slow)


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_what_is_odd_is_left_to_pillow(content: bytes, tmp_path: Path) -> None:
    assert read_header(content) is None
    assert same(*both_ways(content, tmp_path))


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_the_file_of_a_plain_header_is_not_opened_by_pillow(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise AssertionError

    monkeypatch.setattr(picture, "open_picture", refused)
    (tmp_path / "file.jpg").write_bytes(content)
    assert isinstance(frames(tmp_path / "file.jpg")[0], Frame)


def test_a_header_names_size_turn_and_further_pictures() -> None:
    content = behind_start(jpeg(exif=exif(6)), segment(0xE2, b"MPF\0index"))
    header = read_header(content)
    assert header is not None
    assert header.size == (120, 90)
    assert header.info["mp"] == b"index"
    assert header.info["mpoffset"] == content.index(b"index")
    assert bytes(header.info["exif"]).startswith(b"Exif\0\0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "scale"),
    [((480, 320), 1), ((512, 511), 1), ((512, 512), 2), ((1030, 4000), 4), ((9000, 9000), 8)],
)
def test_scale(size: tuple[int, int], scale: int) -> None:
    assert scale_of(size, 256) == scale


def test_a_picture_too_large_is_so_either_way(tmp_path: Path) -> None:
    # At the scale it is decoded at: 1,000,000 pixels take as much as 2,500,000 grey ones.
    quick, slow = both_ways(jpeg((255, 12_000), quality=20), tmp_path)
    assert quick == slow == [Reason.TOO_LARGE.value]


@settings(max_examples=examples(150), deadline=None)
@given(data=st.data())
def test_damage_comes_out_as_by_pillow(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(data.draw(st.sampled_from([*PLAIN.values(), *ODD.values()])))
    scan = content.find(b"\xff\xda")
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(3, len(content))) :]
    end = data.draw(st.sampled_from([min(scan + 14, len(content)), len(content)])) - 1
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(2, end))] = data.draw(st.integers(0, 255))
    assert same(*both_ways(bytes(content), tmp_path_factory.mktemp("damaged")))
