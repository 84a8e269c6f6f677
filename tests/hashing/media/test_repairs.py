"""Files with faults beside the pixels: what browsers show of them is hashed, and nothing else is clean."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hashscan.hashing.embedded.directories import MemoryFile
from hashscan.hashing.formats import sniff
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import Frame, UndecodedError
from hashscan.hashing.media.repairs import PatchedFile, patched, repairs_of
from hashscan.hashing.media.windows_bitmaps import run_length_bitmap
from hashscan.hashing.pdq import PDQ
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests import format_cases
from tests.format_cases import DECOY, SHOWN, chunk, icon, jpeg_with, png_with, segment
from tests.pictures import counts_faults, scene

THRESHOLD = 31

HASHED_IN_PART = {
    "1 ico first broken": Reason.BROKEN,
    "3 avif alpha without ispe": Reason.BROKEN,
    "3 avif two ipma": Reason.BROKEN,
}
"""Files that are undecoded, though what browsers show of them is hashed."""

NOT_HASHED = {
    "1 avif mif1 alone",
    "1 avif mini",
    "1 ico with jpeg",
    "3 jpeg a marker below C0",
    "3 jpeg short quantization table",
    "3 png bad CRC of IHDR",
}
"""Files that no browser shows, or shows as noise."""

OTHERWISE = {
    "2 apng short acTL",
    "2 bmp rle4 delta",
    "2 bmp rle8 delta",
    "3 bmp rle8 top-down",
    "2 bmp rle4 bitmap end early",
    "2 bmp rle4 no line ends",
    "2 bmp rle8 bitmap end early",
    "2 bmp rle8 no line ends",
    "2 bmp rle4 cut",
    "2 bmp rle8 cut",
    "3 bmp os2 rle24 cut",
    "3 bmp cut",
    "3 jpeg DHP",
    "3 jpeg EXP",
    "3 jpeg a reserved marker",
    "3 jpeg without EOI",
    "3 png ancillary chunk between IDAT",
}
"""Files of which browsers show only a part, nothing, the picture turned, or another one."""


def pdq(image: np.ndarray) -> int:
    return int.from_bytes(PDQ().digest(np.ascontiguousarray(image))[0])


WANTED = [pdq(np.asarray(scene(SHOWN, *size).convert("L"))) for size in ((320, 240), (128, 128))]


def decode(content: bytes) -> tuple[list[Frame], Reason | None]:
    descriptor = os.memfd_create("picture")
    os.pwrite(descriptor, content, 0)
    found = sniff(content)
    assert found is not None
    frames = []
    try:
        for frame in decode_frames(PreadFile(descriptor), found):
            frames.append(frame)  # noqa: PERF402 - those before an error count
    except UndecodedError as error:
        return frames, error.reason
    finally:
        os.close(descriptor)
    return frames, None


def distance(frames: list[Frame], wanted: list[int] = WANTED) -> int:
    """The least distance of the frames to the picture."""
    return min(
        ((pdq(f.luma) ^ value).bit_count() for f in frames for value in wanted),
        default=256,
    )


def wrong(name: str, content: bytes) -> str | None:
    """Say what is wrong with what is hashed of a file."""
    found = sniff(content)
    if found is None or found.pillow is None:
        return None
    frames, reason = decode(content)
    if name in NOT_HASHED:
        return None if reason is not None else "clean"
    if name in OTHERWISE:
        return None if frames else f"no frame, {reason}"
    if (away := distance(frames)) > THRESHOLD:
        return f"{away} bits from the picture, {reason}"
    return None if reason == HASHED_IN_PART.get(name) else f"{reason}"


# Not a test for each file, whose names are not known before it is drawn: that would be done at import.
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, marks=counts_faults if make.__name__.strip("_") in {"jpeg", "tiff"} else ())
        for make in format_cases.MAKERS
    ],
    ids=lambda make: make.__name__.strip("_"),
)
def test_what_browsers_show_is_hashed(make: Callable[[], Iterator[tuple[str, bytes]]]) -> None:
    faults = {name: fault for name, content in make() if (fault := wrong(name, content)) is not None}
    assert not faults


def test_frames_of_an_animation_that_pillow_takes_for_a_still_picture() -> None:
    two = struct.pack(">II", 2, 0)
    for counts in ((two, two), (bytes(8), two)):
        frames, _ = decode(format_cases.animated(counts))
        assert distance(frames) <= THRESHOLD
        assert distance(frames, [pdq(np.asarray(scene(DECOY).convert("L")))]) <= THRESHOLD


@pytest.mark.parametrize(
    ("kind", "content"), [(b"tRNS", b"\0\x40\0\x40\0\x40"), (b"gAMA", struct.pack(">I", 1_000_000))]
)
def test_a_part_with_a_wrong_checksum_is_applied_and_not_applied(kind: bytes, content: bytes) -> None:
    """A viewer that overlooks the checksum applies the chunk, so a picture could be hidden in it."""
    frames, reason = decode(png_with(chunk(kind, content, crc=1)))
    sound, _ = decode(png_with(chunk(kind, content)))
    assert reason is None
    assert distance(frames) <= THRESHOLD
    assert [pdq(frame.luma) for frame in frames] == [pdq(frame.luma) for frame in sound]


def test_a_valid_profile_behind_another_fault_is_still_applied() -> None:
    """A text with a fault in front of it must not switch a profile off."""
    gamma = chunk(b"gAMA", struct.pack(">I", 1_000_000))
    plain, _ = decode(png_with(gamma))
    frames, reason = decode(png_with(chunk(b"zTXt", b"a\0\7b"), gamma))
    assert reason is None
    assert [pdq(f.luma) for f in frames] == [pdq(f.luma) for f in plain]
    assert len({frame.look for frame in frames}) > 1


@counts_faults
def test_a_jpeg_keeps_its_orientation_and_further_pictures() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    frames, reason = decode(jpeg_with(b"\xff\1" + segment(0xE1, exif)))
    assert (frames[0].orientation, reason) == (6, None)


@counts_faults
def test_an_embedded_preview_with_a_fault_is_hashed() -> None:
    preview = jpeg_with(segment(0xEE, b"Adobe"))
    content = format_cases.tiff_with_preview(7, preview)
    frames, reason = decode(content)
    assert distance(frames) <= THRESHOLD
    assert reason is None


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_patched_file_reads_as_the_changed_content(in_memory: bool) -> None:
    content = bytes(range(256)) * 4
    patches = [(3, b"abc"), (100, b"d" * 300), (1020, b"wxyz")]
    wanted = bytearray(content)
    for offset, new in patches:
        wanted[offset : offset + len(new)] = new
    descriptor = os.memfd_create("file")
    os.pwrite(descriptor, content, 0)
    file = patched(MemoryFile(content) if in_memory else PreadFile(descriptor), patches)
    assert isinstance(file, PatchedFile) is not in_memory
    for start in range(0, 1030, 7):
        for size in (0, 1, 5, 64, 2000):
            file.seek(start)
            assert file.read(size) == wanted[start : start + size]
    os.close(descriptor)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "AVIF"])
def test_an_endless_number_of_faults_gives_no_repair(name: str) -> None:
    """The memory that a repair takes, and the time to look for one, are bounded."""
    bad = chunk(b"tEXt", b"a\0b", crc=1)
    content = {
        "JPEG": b"\xff\xd8" + b"\xff\1" * 50_000,
        "PNG": png_with(bad * 5000),
        "AVIF": struct.pack(">I4s4x", 12 + 8 * 50_000, b"meta") + struct.pack(">I4s", 8, b"free") * 50_000,
    }[name]
    assert list(repairs_of(MemoryFile(content), name)) == []


def test_runs_end_with_the_time() -> None:
    content = format_cases.bitmap(40, 8, 1, b"\0\2\0\0" * 400_000)
    found = run_length_bitmap(MemoryFile(content), 10**8, 0.0)
    assert found is not None
    assert found[2] is Reason.TIMEOUT


def test_a_palette_with_another_first_colour_does_not_colour_skipped_pixels() -> None:
    content = bytearray(format_cases.bitmap(40, 8, 1, b"\0\1"))
    content[54:58] = b"\xff\xff\xff\0"
    frames, reason = decode(bytes(content))
    assert reason is None
    assert frames[0].luma.max() == 0


def test_an_icon_is_hashed_though_another_entry_is_broken() -> None:
    good = format_cases.icon_png(SHOWN)
    for broken in (good[:60], b"\xff" * 100, struct.pack("<I", 40) + bytes(50)):
        for entries in ([(64, 32, broken), (128, 32, good)], [(128, 32, good), (255, 32, broken)]):
            frames, reason = decode(icon(1, *entries))
            assert distance(frames) <= THRESHOLD
            assert reason is not None


def test_a_chunk_that_reaches_beyond_the_end_hides_no_frame() -> None:
    whole = format_cases.animated((struct.pack(">II", 2, 0),))
    frames, reason = decode(whole[: len(whole) - 3000])
    assert reason is None
    first, second = ([pdq(np.asarray(scene(seed).convert("L")))] for seed in (SHOWN, DECOY))
    assert min(distance(frames, first), distance(frames, second)) <= THRESHOLD
    assert any(frame.part.number for frame in frames)


def test_a_picture_after_a_false_end_is_not_clean() -> None:
    """A chunk whose length hides the pixels behind it ends the file for every viewer."""
    content = format_cases.png()
    hidden = content[:33] + struct.pack(">I", 1 << 30) + b"tEXt" + content[33:]
    frames, reason = decode(hidden)
    assert not frames
    assert reason is not None
