"""Pictures that are reduced as soon as they are loaded: hashed as those that are not."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing import webp_scaled
from hashscan.hashing.formats import sniff
from hashscan.hashing.media import large_pictures
from hashscan.hashing.media.colour_tags import ColourInfo
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import MISSING, Limits, UndecodedError
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.variants import APERTURE, OVER_BLACK, OVER_WHITE
from hashscan.model import Reason
from tests.examples import quick_first
from tests.hashing.drawings import clouds, mirrored, scene

SIZE = 2504, 1803
"""Over the size from which pictures are reduced; not whole blocks."""
PDQ_BITS = 10
FORMATS = [
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "L", {}),
    ("PNG", "LA", {}),
    ("PNG", "P", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
    ("PNG", "1", {}),
    ("TIFF", "CMYK", {}),
    ("TIFF", "YCbCr", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("BMP", "RGB", {}),
    ("BMP", "RGBA", {}),
    ("GIF", "P", {}),
    ("WEBP", "RGB", {"method": 0}),
    ("WEBP", "RGBA", {"method": 0}),
    ("WEBP", "RGB", {"lossless": True, "quality": 0, "method": 0}),
    ("AVIF", "RGB", {"speed": 10}),
    ("AVIF", "RGBA", {"speed": 10}),
]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    bands = [Image.fromarray(made(226, 313)) for made in (clouds, scene, mirrored)]
    return Image.merge("RGB", bands).resize(SIZE, Image.Resampling.BICUBIC)


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    stream = BytesIO()
    # Only PNG has this level: most of the time would go into a small file.
    image.save(stream, name, **{"compress_level": 1} | options)
    return stream.getvalue()


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    match mode:
        case "RGBA" | "LA":
            opaque = picture.convert(mode.removesuffix("A"))
            opaque.putalpha(picture.getchannel(1).rotate(180))
            return opaque
        case "I;16":
            return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return picture.convert(mode)


def digests(content: bytes, folder: Path, *, large: bool) -> tuple[dict[int, int], Reason | None]:
    """The PDQ of each view of the first picture, by look, and the reason why something was not decoded."""
    (folder / "file").write_bytes(content)
    found, reason = {}, None
    with (folder / "file").open("rb") as file:
        kind = sniff(content[:65536])
        assert kind is not None
        try:
            for frame in decode_frames(PreadFile(file.fileno()), kind, Limits(large=large)):
                run = next(PDQ().runs(frame.luma, frame.blocks_of, (0,), ()))
                assert (frame.blocks_of is not None) is large
                assert (frame.width, frame.height) == SIZE
                found.setdefault(frame.look, int.from_bytes(run.values[:32]))
        except UndecodedError as error:
            reason = error.reason
    return found, reason


def compare(content: bytes, folder: Path) -> None:
    usual, reason = digests(content, folder, large=False)
    reduced, other = digests(content, folder, large=True)
    assert reason is other is None
    assert list(usual) == list(reduced)
    assert {
        look: (usual[look] ^ reduced[look]).bit_count()
        for look in usual
        if (usual[look] ^ reduced[look]).bit_count() > PDQ_BITS
    } == {}


@pytest.mark.parametrize(("name", "mode", "options"), quick_first(FORMATS, 4))
def test_views_are_as_without_reduction(picture, tmp_path: Path, name: str, mode: str, options) -> None:
    if name in MISSING:
        pytest.skip(f"{name} is not available here")
    compare(saved(in_mode(picture, mode), name, **options), tmp_path)


def test_pillow_decodes_webp_where_the_interface_is_another(picture, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(large_pictures, "available", lambda: False)
    compare(saved(picture, "WEBP", method=0), tmp_path)


def test_a_picture_in_the_relation_of_colour_and_opacity_is_seen(picture, tmp_path: Path) -> None:
    """Brightness and opacity have the same means in each 2x2 pixels; their product has not."""
    values = np.asarray(picture.convert("L"))[: SIZE[1] // 2, : SIZE[0] // 2].astype(np.uint8)
    shown = np.kron(values, np.ones((2, 2), np.uint8))
    height, width = shown.shape
    board = (np.indices((height, width)).sum(axis=0) & 1).astype(bool)
    luma = np.where(board, 255, 0).astype(np.uint8)
    alpha = np.where(board, shown, 255 - shown).astype(np.uint8)
    hidden = Image.merge("LA", (Image.fromarray(luma), Image.fromarray(alpha)))
    hidden = hidden.resize(SIZE, Image.Resampling.NEAREST)
    content = saved(hidden, "PNG")
    usual, _ = digests(content, tmp_path, large=False)
    reduced, _ = digests(content, tmp_path, large=True)
    for look in (OVER_BLACK, OVER_WHITE):
        assert (usual[look] ^ reduced[look]).bit_count() <= PDQ_BITS


def test_an_odd_profile_is_not_passed_over(picture, tmp_path: Path, odd_profile: bytes) -> None:
    content = saved(picture, "PNG", icc_profile=odd_profile)
    found, reason = digests(content, tmp_path, large=True)
    assert list(found) == [0]
    assert reason is Reason.TOO_LARGE


@pytest.fixture
def odd_profile() -> bytes:
    from hashscan.hashing.media.icc_profiles import make_profile

    light = np.linspace(1, 0, 4096)
    return make_profile(np.eye(3), [light] * 3)


def test_the_part_within_an_aperture_is_a_view(picture) -> None:
    tags = ColourInfo()
    tags.add_aperture(b"".join(n.to_bytes(4) for n in (1600, 1, 1200, 1, 0, 1, 0, 1)))
    scale = large_pictures.scale_for(SIZE)
    assert scale == 4
    views = list(large_pictures.reduce_picture(picture, scale, 8).views(tags, SIZE, scale))
    assert [view.look for view in views] == [APERTURE]
    assert views[0].luma.shape == (301, 400)


@pytest.mark.parametrize("at", [0.5, 0.999])
def test_a_cut_webp_is_undecoded(picture, tmp_path: Path, at: float) -> None:
    content = saved(picture, "WEBP", method=0)
    found, reason = digests(content[: int(len(content) * at)], tmp_path, large=True)
    assert not found
    assert reason is Reason.TRUNCATED


def test_a_webp_is_refused_by_its_header(picture, tmp_path: Path) -> None:
    """Pillow would allocate two pictures before it says how large they are."""
    for options in ({"lossless": True, "quality": 0}, {"method": 0}, {"method": 0, "exif": b"Exif\0\0"}):
        content = saved(picture, "WEBP", **options)
        (tmp_path / "file").write_bytes(content)
        kind = sniff(content[:4096])
        assert kind is not None
        most = 8 * SIZE[0] * SIZE[1] // 5
        with (tmp_path / "file").open("rb") as file, pytest.raises(UndecodedError) as caught:
            list(decode_frames(PreadFile(file.fileno()), kind, Limits(max_pixels=most - 1)))
        assert caught.value.reason is Reason.TOO_LARGE


def test_libwebp_of_pillow_is_used() -> None:
    """If another version of Pillow hides it, such pictures take more memory than the docs say."""
    if "WEBP" in MISSING:
        pytest.skip("WEBP is not available here")
    assert webp_scaled.available()
