"""Decoding to brightness: every format and mode, the limits, and files that are damaged or made to harm."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from hashscan.hashing.format_signatures import FileFormat
from hashscan.hashing.formats import FORMATS, sniff
from hashscan.hashing.media.luma_alpha import luma_of
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import DRAFT_SIDE, MISSING, Frame, Limits, UndecodedError
from hashscan.hashing.media.samples import samples
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.examples import examples
from tests.hashing.drawings import clouds, scene
from tests.pictures import counts_faults

BY_PILLOW = {known.pillow: known for known in FORMATS if known.pillow}
SAMPLES = samples()


class Decoded(NamedTuple):
    frames: list[Frame]
    damage: Reason | None

    @property
    def luma(self) -> np.ndarray:
        return self.frames[0].luma

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].width, self.frames[0].height


def decode(content: bytes, picture_format: FileFormat | None = None, **limits: int) -> Decoded:
    descriptor = os.memfd_create("picture")
    os.pwrite(descriptor, content, 0)
    found = picture_format or sniff(content)
    assert found is not None
    frames: list[Frame] = []
    damage = None
    try:
        for frame in decode_frames(PreadFile(descriptor), found, Limits(**limits)):
            frames.append(frame)  # noqa: PERF402 - those before an error count
    except UndecodedError as error:
        damage = error.reason
        if not frames:
            raise
    finally:
        os.close(descriptor)
    return Decoded(frames, damage)


def reason_for(content: bytes, picture_format: FileFormat | None = None, **limits: int) -> Reason:
    """Return the reason for which a picture was not decoded, or not in full."""
    try:
        decoded = decode(content, picture_format, **limits)
    except UndecodedError as error:
        return error.reason
    assert decoded.damage is not None, "it was decoded in full"
    return decoded.damage


def saved(image: Image.Image, name: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def far_apart(one: np.ndarray, other: np.ndarray | Image.Image) -> float:
    return float(np.abs(one.astype(int) - np.asarray(other).astype(int)).mean())


GREY = Image.fromarray(clouds(60, 90))
COLOURS = Image.merge("RGB", [Image.fromarray(draw(60, 90)) for draw in (clouds, scene, clouds)])
WEIGHED = np.asarray(COLOURS.convert("L"))


@pytest.mark.parametrize("name", sorted(set(BY_PILLOW) - MISSING - {"SVG", "XBM"}))
def test_samples_decode_to_their_gradient(name: str) -> None:
    found = decode(SAMPLES[name], BY_PILLOW[name])
    assert (*found.size, found.luma.shape, found.luma.dtype) == (16, 16, (16, 16), np.uint8)
    gradient = np.asarray(Image.linear_gradient("L").resize((16, 16)))
    assert far_apart(found.luma, gradient) < 6


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("GIF", {}, 6),
        ("BMP", {}, 0),
        ("PPM", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "tiff_deflate"}, 0),
        ("TIFF", {"compression": "jpeg"}, 3),
        ("TIFF", {"big_tiff": True}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("AVIF", {"max_threads": 1}, 4),
        ("JPEG2000", {}, 0),
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 3),
        ("JPEG", {"quality": 95, "keep_rgb": True}, 3),
        ("ICO", {"sizes": [(90, 60)]}, 0),
    ],
)
def test_colours_are_weighed_as_pillow_does(name: str, options: dict, tolerance: float) -> None:
    assert far_apart(decode(saved(COLOURS, name, **options)).luma, WEIGHED) <= tolerance


@pytest.mark.parametrize(
    ("mode", "name", "expected"),
    [
        ("1", "PNG", COLOURS.convert("1").convert("L")),
        ("L", "PNG", COLOURS.convert("L")),
        ("P", "PNG", COLOURS.convert("P").convert("RGB").convert("L")),
        ("P", "TIFF", COLOURS.convert("P").convert("RGB").convert("L")),
        ("1", "TIFF", COLOURS.convert("1").convert("L")),
        ("CMYK", "TIFF", COLOURS.convert("CMYK").convert("RGB").convert("L")),
        ("CMYK", "JPEG", COLOURS.convert("CMYK").convert("RGB").convert("L")),
    ],
)
def test_modes(mode: str, name: str, expected: Image.Image) -> None:
    found = decode(saved(COLOURS.convert(mode), name))
    assert far_apart(found.luma, np.asarray(expected)) < (4 if name == "JPEG" else 1)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "PA", "RGBa", "La"])
def test_modes_of_rare_files(mode: str) -> None:
    if mode in {"RGBa", "La"}:
        # Premultiplied by an opacity of one half.
        image = COLOURS.convert("RGBA" if mode == "RGBa" else "LA")
        image.putalpha(128)
        image = image.convert(mode)
    else:
        image = COLOURS.convert(mode)
    expected = COLOURS.convert("P").convert("RGB").convert("L") if mode == "PA" else WEIGHED
    assert far_apart(luma_of(image), expected) < 3


def test_lightness_serves_as_brightness() -> None:
    image = Image.merge("LAB", [GREY, Image.new("L", GREY.size, 7), Image.new("L", GREY.size, 9)])
    assert far_apart(luma_of(image), GREY) == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_dropped(mode: str, name: str) -> None:
    image = COLOURS.convert(mode)
    image.putalpha(Image.fromarray(scene(60, 90)))
    options = {"lossless": True, "exact": True} if name == "WEBP" else {}
    assert far_apart(decode(saved(image, name, **options)).luma, WEIGHED) < 1


@pytest.mark.parametrize("transparency", [0, 3, bytes(range(256))])
def test_transparent_palettes(transparency: int | bytes) -> None:
    content = saved(COLOURS.convert("P"), "PNG", transparency=transparency)
    expected = np.asarray(COLOURS.convert("P").convert("RGB").convert("L"))
    assert far_apart(decode(content).luma, expected) == 0


def test_transparent_colour() -> None:
    assert far_apart(decode(saved(COLOURS, "PNG", transparency=(1, 2, 3))).luma, WEIGHED) == 0
    assert far_apart(decode(saved(GREY, "PNG", transparency=9)).luma, np.asarray(GREY)) == 0


@pytest.mark.parametrize("name", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(name: str) -> None:
    values = clouds(60, 90).astype(np.uint16) * 257
    image = Image.fromarray(values)
    content = saved(image, name)
    assert far_apart(decode(content).luma, clouds(60, 90)) < 1


def test_twelve_bits_fill_the_range() -> None:
    values = (clouds(40, 64).astype(np.uint16) * 16).ravel()
    low, high = values[0::2], values[1::2]
    packed = np.stack([low >> 4, (low & 15) << 4 | high >> 8, high & 255], axis=1).astype(np.uint8).tobytes()
    tags = [(256, 64), (257, 40), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 40)]
    tags.append((279, len(packed)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    content = struct.pack("<4sI", b"II*\0", 8 + len(packed)) + packed + directory
    assert far_apart(decode(content).luma, clouds(40, 64)) < 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (clouds(60, 90) / np.float32(255), clouds(60, 90)),
        (clouds(60, 90).astype(np.float32), clouds(60, 90)),
        # Of no customary range: from its darkest to its brightest.
        (clouds(60, 90) * np.float32(1e6) - np.float32(1e8), None),
        (clouds(60, 90).astype(np.int32) * 1000 - 50_000, None),
        (clouds(60, 90).astype(np.int32), clouds(60, 90)),
        (clouds(60, 90).astype(np.int32) * 257, clouds(60, 90)),
        (np.zeros((60, 90), np.float32), np.zeros((60, 90))),
        (np.full((60, 90), -5, np.int32), np.zeros((60, 90))),
    ],
)
def test_wide_values(values: np.ndarray, expected: np.ndarray | None) -> None:
    if expected is None:
        expected = (values - values.min()) * (255.0 / (values.max() - values.min()))
    assert far_apart(decode(saved(Image.fromarray(values), "TIFF")).luma, expected) < 1


def test_values_that_are_no_numbers() -> None:
    values = clouds(60, 90).astype(np.float32)
    expected = values.copy()
    values[3, :3] = np.nan, np.inf, -np.inf
    expected[3, :3] = 0, 255, 0
    assert far_apart(decode(saved(Image.fromarray(values), "TIFF")).luma, expected) == 0
    nothing = np.full((60, 90), np.nan, np.float32)
    assert not decode(saved(Image.fromarray(nothing), "TIFF")).luma.any()


def test_large_pictures_are_put_together_from_strips() -> None:
    luma = clouds(1500, 1400)
    image = Image.merge("RGB", [Image.fromarray(luma)] * 3)
    assert np.array_equal(decode(saved(image, "BMP")).luma, luma)
    wide = Image.fromarray(luma.astype(np.uint16) * 257)
    assert far_apart(decode(saved(wide, "TIFF")).luma, luma) < 1


def test_first_frame_of_several() -> None:
    second = Image.new("L", (90, 60))
    for name in ("GIF", "PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if name == "WEBP" else {}
        content = saved(GREY, name, save_all=True, append_images=[second], **options)
        assert far_apart(decode(content).luma, np.asarray(GREY)) <= 1, name
    assert far_apart(decode(saved(GREY, "MPO", save_all=True, append_images=[second])).luma, GREY) < 3


def test_first_jpeg_of_an_mpo_whose_index_is_broken() -> None:
    content = saved(GREY, "MPO", save_all=True, append_images=[GREY])
    place = content.index(b"MPF\0")
    assert far_apart(decode(content[: place + 4] + b"\xff" * 60 + content[place + 64 :]).luma, GREY) < 3


def test_jpegs_are_decoded_at_a_smaller_scale() -> None:
    content = saved(Image.fromarray(scene(DRAFT_SIDE * 2, DRAFT_SIDE * 4 + 4)), "JPEG")
    found = decode(content)
    assert found.size == (DRAFT_SIDE * 4 + 4, DRAFT_SIDE * 2)
    assert found.luma.shape == (DRAFT_SIDE, DRAFT_SIDE * 2 + 2)
    small = scene(DRAFT_SIDE, DRAFT_SIDE * 2 + 2)
    assert far_apart(found.luma, small) < 8


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        *((name, 5) for name in ("PNG", "BMP", "TIFF", "PPM", "SGI")),
        *(("GIF", 3), ("QOI", 7), ("WEBP", 16), ("AVIF", 9), ("JPEG2000", 20)),
    ],
)
def test_pixel_limit_stands_for_five_bytes_a_pixel(name: str, cost: int) -> None:
    content = saved(COLOURS, name)
    needed = -(-60 * 90 * cost // 5)
    whole = -(-len(content) // 5) if name in {"WEBP", "AVIF", "JPEG2000"} else 0
    assert decode(content, max_pixels=needed + whole).luma.size == 60 * 90
    assert reason_for(content, max_pixels=needed - 5) is Reason.TOO_LARGE
    if whole:
        # The file itself is held in memory too.
        assert reason_for(content, max_pixels=needed + whole - 1) is Reason.MEMORY


def test_pixel_limit_of_jpegs_is_for_the_scale_they_are_decoded_at() -> None:
    image = Image.fromarray(scene(DRAFT_SIDE * 2, DRAFT_SIDE * 2))
    needed = -(-2 * DRAFT_SIDE**2 // 5)
    assert decode(saved(image, "JPEG"), max_pixels=needed).luma.size == DRAFT_SIDE**2
    assert reason_for(saved(image, "JPEG"), max_pixels=needed - 1) is Reason.TOO_LARGE


def in_scans_of_one_component(content: bytes) -> bytes:
    """A baseline JPEG that claims its first scan to hold only the first of its components."""
    place = content.index(b"\xff\xda")
    return content[:place] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + content[place + 14 :]


@pytest.mark.parametrize(
    ("content", "samples_per_pixel"),
    [
        (saved(Image.fromarray(scene(512, 512)), "JPEG", progressive=True), 1),
        (saved(COLOURS.resize((512, 512)), "JPEG", progressive=True, subsampling=2), 1.5),
        (saved(COLOURS.resize((512, 512)), "JPEG", progressive=True, subsampling=0), 3),
        (in_scans_of_one_component(saved(COLOURS.resize((512, 512)), "JPEG", subsampling=0)), 3),
    ],
)
def test_coefficients_of_jpegs_in_several_scans_count(content: bytes, samples_per_pixel: float) -> None:
    needed = (512 * 512 * 2 * samples_per_pixel + 256 * 256 * 2) / 5
    assert decode(content, max_pixels=int(needed) + 1).luma.size == 256 * 256
    assert reason_for(content, max_pixels=int(needed) - 1) is Reason.TOO_LARGE


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_bomb_inside_an_icon() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    inner = png((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    content = struct.pack("<3H4B2H2I", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(inner), 22) + inner
    assert reason_for(content) is Reason.TOO_LARGE
    assert reason_for(inner) is Reason.TOO_LARGE


def test_long_comment_does_not_hide_a_picture() -> None:
    text = b"note\0\0" + zlib.compress(b"x" * (3 << 20))
    content = saved(GREY, "PNG")
    header = content[8:33]
    rest = content[33:]
    assert header[4:8] == b"IHDR"
    assert far_apart(decode(content[:8] + header + png((b"zTXt", text))[8:] + rest).luma, GREY) == 0


def test_oddities_that_pillow_warns_of() -> None:
    broken_exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40
    assert decode(saved(GREY, "JPEG", exif=broken_exif)).luma.shape == (60, 90)
    # Between the limit and twice Pillow's own notion of it.
    assert decode(saved(GREY, "PNG"), max_pixels=60 * 90 + 1).luma.shape == (60, 90)


SHOWN_IN_PART = {"BMP", "GIF", "JPEG", "PNG"}
"""Formats of which it is known what viewers show of a damaged picture."""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[(name, {}) for name in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "SGI", "PCX", "QOI")],
        ("JPEG", {"progressive": True}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_truncated(name: str, options: dict, share: float) -> None:
    content = saved(COLOURS, name, **options)
    part = content[: int(len(content) * share)]
    if name in SHOWN_IN_PART:
        # All that is shown of it is known, and hashed over all backgrounds.
        assert decode(part).size == decode(content).size
    else:
        assert reason_for(part) is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("JPEG", {}, marks=counts_faults),
        pytest.param("JPEG", {"progressive": True}, marks=counts_faults),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("PPM", {}),
    ],
)
def test_a_cut_picture_is_hashed_by_what_is_left(name: str, options: dict) -> None:
    """A picture that lost its last bytes looks the same in a viewer; it must not go unfound for that."""
    content = saved(COLOURS, name, **options)
    whole = decode(content)
    cut = decode(content[: int(len(content) * 0.97)])
    assert whole.damage is None
    assert cut.damage is (None if name in SHOWN_IN_PART else Reason.TRUNCATED)
    assert cut.size == whole.size
    same = (np.abs(whole.luma.astype(int) - cut.luma) < 16).mean()
    assert same > 0.9


def test_salvaging_leaves_no_trace() -> None:
    content = saved(COLOURS, "PNG")
    decode(content[: len(content) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("name", ["AVIF", "JPEG2000", "ICNS", "ICO", "PSD"])
def test_cut_files_are_never_taken_for_whole(name: str) -> None:
    content = SAMPLES[name]
    assert reason_for(content[: len(content) * 3 // 5]) in {Reason.TRUNCATED, Reason.BROKEN}


def test_broken() -> None:
    content = bytearray(saved(COLOURS, "PNG"))
    content[60:70] = bytes(10)
    assert reason_for(bytes(content)) is Reason.BROKEN
    # What it was sniffed to be is all it is tried as.
    assert reason_for(saved(COLOURS, "PNG"), BY_PILLOW["JPEG"]) is Reason.BROKEN
    assert reason_for(saved(COLOURS, "JPEG"), BY_PILLOW["PNG"]) is Reason.BROKEN


@pytest.mark.parametrize("picture_format", [known for known in FORMATS if known.pillow is None])
def test_formats_that_are_only_recognised(picture_format: FileFormat) -> None:
    assert reason_for(b"", picture_format) is Reason.UNSUPPORTED


def test_variants_that_pillow_does_not_know() -> None:
    # A bitmap of three bits a pixel.
    content = bytearray(saved(GREY, "BMP"))
    content[28] = 3
    assert reason_for(bytes(content)) is Reason.UNSUPPORTED
    # A texture in a layout that nobody knows.
    content = bytearray(SAMPLES["DDS"])
    content[80:88] = struct.pack("<I4s", 4, b"ZZZZ")
    assert reason_for(bytes(content)) is Reason.UNSUPPORTED


MEMORY_LIMIT = """
import resource
from PIL import Image
from tests.hashing.media.test_picture import reason_for, saved
content = saved(Image.new("RGB", (9000, 9000)), "PNG")
with open("/proc/self/statm", encoding="ascii") as file:
    mapped = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + (64 << 20), -1))
print(reason_for(content, max_pixels=10**9).value)
"""


@pytest.mark.integration
def test_memory_limit_is_a_reason() -> None:
    # In a process of its own: others may have freed as much memory before as the picture takes.
    done = subprocess.run([sys.executable, "-c", MEMORY_LIMIT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == Reason.MEMORY


def test_no_library_reads_at_the_descriptors_offset() -> None:
    for name, content in SAMPLES.items():
        found = BY_PILLOW[name]
        if found.pillow in MISSING:
            continue
        descriptor = os.memfd_create("picture")
        os.pwrite(descriptor, content, 0)
        os.lseek(descriptor, 5, os.SEEK_SET)
        assert next(decode_frames(PreadFile(descriptor), found))
        assert os.lseek(descriptor, 0, os.SEEK_CUR) in {5, len(content)}
        os.close(descriptor)


DAMAGE = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 2000), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("cut"), st.integers(0, 2000), st.just(b"")),
    st.tuples(st.just("insert"), st.integers(0, 2000), st.binary(min_size=1, max_size=20)),
)


@given(st.sampled_from(sorted(SAMPLES)), st.lists(DAMAGE, min_size=1, max_size=4))
@settings(max_examples=examples(600), deadline=None)
def test_damaged_files_give_a_picture_or_a_reason(name: str, damages: list[tuple[str, int, bytes]]) -> None:
    content = SAMPLES[name]
    for what, place, data in damages:
        place %= len(content) + 1
        if what == "cut":
            content = content[:place]
        else:
            content = content[:place] + data + content[place + (len(data) if what == "set" else 0) :]
    try:
        found = decode(content, BY_PILLOW[name], max_pixels=300_000)
    except UndecodedError:
        return
    assert found.luma.dtype == np.uint8
    assert found.luma.ndim == 2
    assert min(*found.size, found.luma.size) > 0
