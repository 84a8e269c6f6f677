"""Each bound on what is looked at in a picture at its edge: met, all is found; beyond it nothing is clean."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from hashscan.hashing import avif_items
from hashscan.hashing.archives.library import ArchiveMember
from hashscan.hashing.documents.appended import AppendedOpener
from hashscan.hashing.embedded import directories, ends, metadata
from hashscan.hashing.media.picture_opening import MISSING
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.hashing.media.test_hidden_pictures import (
    JPEG,
    THUMBNAIL,
    box,
    gif_with_xmp,
    of,
    segment,
    tiff_with,
    with_segments,
    xmp,
)
from tests.pictures import encoded

MARK = b"something else, which is no padding"


def gif(parts: int) -> bytes:
    """A GIF of a frame and so many comments, and something behind it."""
    plain = of("GIF")
    return plain[:-1] + b"!\xfe\0" * (parts - 1) + b";" + MARK


def png(parts: int) -> bytes:
    """A PNG of so many chunks, with its end, and something behind it."""
    plain = encoded(Image.new("L", (8, 8)), "PNG")
    chunk = struct.pack(">I4sI", 0, b"abcd", 0)
    return plain[:-12] + chunk * (parts - 3) + plain[-12:] + MARK


def heif(unknown: int) -> bytes:
    return box(b"ftyp", b"heic") + box(b"pdin", b"") * 9 + box(b"abcd", MARK) * unknown


def boxes(number: int) -> bytes:
    return box(b"ftyp", b"heic") + box(b"free", b"") * (number - 1)


@pytest.mark.parametrize(
    ("form", "name", "bound", "make", "parts"),
    [
        ("GIF", "_PARTS_MAX", 12, lambda parts: gif(parts - 1), 1),
        ("PNG", "_PARTS_MAX", 12, png, 1),
        ("HEIF", "_UNKNOWN_MAX", 5, heif, 5),
        ("HEIF", "_PARTS_MAX", 12, boxes, 0),
    ],
)
def test_what_lies_behind_many_parts(
    form: str,
    name: str,
    bound: int,
    make: Callable[[int], bytes],
    parts: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ends, name, bound)
    within = ends.behind(PreadFile(make(bound)), form)
    assert (len(within.rest), within.more) == (parts, False)
    beyond = PreadFile(make(bound + 1))
    assert ends.behind(beyond, form).more
    if form != "HEIF":
        with pytest.raises(ContainerError) as caught:
            list(AppendedOpener().members(beyond))
        assert caught.value.reason is Reason.TOO_MANY


def test_jpegs_behind_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "_JPEGS_MAX", 3)
    assert ends.behind(PreadFile(JPEG * 4), "JPEG")[1:] == ((), False)
    beyond = ends.behind(PreadFile(JPEG * 5), "JPEG")
    assert (len(beyond.jpegs), beyond.rest) == (3, ((4 * len(JPEG), len(JPEG)),))


def test_a_jpeg_of_many_segments_ends_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the first mark of an end counts, which lies no later."""
    monkeypatch.setattr(ends, "SEGMENTS_MAX", 20)
    for number in (1, 50):
        content = with_segments(*[segment(0xE5, b"")] * number)
        assert ends.end_of_jpeg(PreadFile(content + MARK)) == len(content)


def test_files_behind_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "_STARTS_MAX", 3)

    def opened(number: int) -> list[ArchiveMember]:
        return list(AppendedOpener().members(PreadFile(JPEG + MARK + b"Rar!\x1a\7" * number)))

    assert len(opened(3)) == 4
    with pytest.raises(ContainerError) as caught:
        opened(4)
    assert caught.value.reason is Reason.TOO_MANY


def found_in(content: bytes, form: str) -> tuple[int, Reason | None]:
    with Image.open(io.BytesIO(content)) as image:
        found = metadata.pictures_in_metadata(image, PreadFile(content), form)
    return len(found.sources), found.reason


def with_thumbnails(number: int) -> bytes:
    return with_segments(*[segment(0xE5, THUMBNAIL)] * number)


def of_segments(number: int) -> bytes:
    """A JPEG of so many segments, with a picture in one: it has eight itself, and the begin of its scan."""
    return with_segments(*[segment(0xE5, b"")] * (number - 10), segment(0xE5, THUMBNAIL))


def tiff(length: int) -> bytes:
    return tiff_with(700, xmp().ljust(length))


def gif_of(size: int) -> bytes:
    return gif_with_xmp() + bytes(size - len(gif_with_xmp()))


XMP_SIZE = len(gif_with_xmp()) + 100
BOUNDS: list[tuple[str, int, Callable[[int], bytes], str, int, Reason]] = [
    ("_MOST", 4, with_thumbnails, "JPEG", 4, Reason.TOO_MANY),
    ("_SEGMENTS_MAX", 20, of_segments, "JPEG", 1, Reason.UNSUPPORTED),
    ("_METADATA_MAX", XMP_SIZE, gif_of, "GIF", 1, Reason.UNSUPPORTED),
]


@pytest.mark.parametrize(("name", "bound", "make", "form", "number", "reason"), BOUNDS)
def test_metadata(
    name: str,
    bound: int,
    make: Callable[[int], bytes],
    form: str,
    number: int,
    reason: Reason,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, name, bound)
    assert found_in(make(bound), form) == (number, None)
    assert found_in(make(bound + 1), form)[1] is reason


def test_bytes_of_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    header = JPEG.index(b"\xff\xda")
    for most, reason in ((header, None), (header - 1, Reason.UNSUPPORTED)):
        monkeypatch.setattr(metadata, "_METADATA_MAX", most)
        assert found_in(JPEG, "JPEG") == (0, reason)


def test_a_picture_of_many_segments_in_metadata_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "_SEGMENTS_MAX", 30)
    many = THUMBNAIL[:2] + segment(0xE5, b"") * 40 + THUMBNAIL[2:]
    assert found_in(with_segments(segment(0xE5, many)), "JPEG") == (1, None)


@pytest.mark.parametrize("filling", [b"\xff" * 5000, b"\xff", b"\0" * 3])
def test_what_lies_between_segments_hides_none(filling: bytes) -> None:
    """As libjpeg, Pillow and browsers skip it."""
    long = segment(0xE5, bytes(60_000))
    content = JPEG[:20] + filling + long * 2 + segment(0xE5, THUMBNAIL) + JPEG[20:]
    assert found_in(content, "JPEG") == (1, None)


def index_of(named: int, empty: int) -> bytes:
    """The index of a JPEG with others: the first picture, entries that name nothing, and others."""
    entries = [bytes(16)] * (1 + empty) + [struct.pack("<IIII", 0, 9, 9, 0)] * named
    tag = struct.pack("<HHII", 0xB002, 7, 16 * len(entries), 26)
    return b"II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4) + b"".join(entries)


@pytest.mark.parametrize("empty", [0, 10, 64])
def test_pictures_in_an_index(empty: int) -> None:
    def read(number: int) -> int:
        content = index_of(number, empty)
        return len(directories.read_picture_index(lambda at, size: content[at : at + size]))

    assert read(64 - empty) == 64 - empty
    for more in (65 - empty, 1000):
        with pytest.raises(NotImplementedError):
            read(more)


def directory(tags: int = 1, following: int = 0) -> bytes:
    """A directory of so many tags; the last one names the strips of a picture."""
    last = struct.pack("<HHII", 0x0111, 4, 1, 8)
    return struct.pack("<H", tags) + bytes(12) * (tags - 1) + last + struct.pack("<I", following)


def chain(number: int) -> bytes:
    """A TIFF of so many pages."""
    places = [8 + 18 * at for at in range(number)]
    return b"II*\0" + struct.pack("<I", 8) + b"".join(map(directory, [1] * number, [*places[1:], 0]))


def below(number: int) -> bytes:
    """A TIFF with so many directories below its page."""
    first = struct.pack("<HHHIII", 1, 0x014A, 4, number, 26, 0)
    places = struct.pack(f"<{number}I", *(26 + 4 * number + 18 * at for at in range(number)))
    return b"II*\0" + struct.pack("<I", 8) + first + places + directory() * number


def tags(number: int) -> bytes:
    """A TIFF of two pages with so many tags."""
    first = directory(60_000, 8 + 6 + 12 * 60_000)
    return b"II*\0" + struct.pack("<I", 8) + first + directory(number - 60_000)


@pytest.mark.parametrize(("make", "bound"), [(chain, 1024), (below, 16), (tags, 65_536)])
def test_directories(make: Callable[[int], bytes], bound: int) -> None:
    image: Any = Image.new("L", (1, 1))
    assert not directories.other_directories(image, PreadFile(make(bound)), "TIFF")[1]
    assert directories.other_directories(image, PreadFile(make(bound + 1)), "TIFF")[1]


@pytest.mark.parametrize(("make", "bound"), [(below, 16), (tags, 65_536)])
def test_directories_of_exif_data(make: Callable[[int], bytes], bound: int) -> None:
    image: Any = Image.new("L", (1, 1))
    for number in (bound, bound + 1):
        image.info["exif"] = make(number)
        assert directories.other_directories(image, PreadFile(b""), "PNG")[1] is (number > bound)


@pytest.mark.parametrize(
    ("module", "name", "read", "content"),
    [
        (directories, "_ICONS_MAX", directories.mac_icons, b"icns" + bytes(4) + b"TOC \0\0\0\x08" * 3),
        (avif_items, "_BOXES_MAX", avif_items.has_hidden_alternatives, boxes(3)),
        (directories, "_BOXES_MAX", directories.swap_avif_brand, boxes(3)),
    ],
)
def test_parts_of_other_pictures(
    module: ModuleType,
    name: str,
    read: Callable[[PreadFile], object],
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One more of the last is needed to see the end of the boxes there.
    monkeypatch.setattr(module, name, 3 + (read is directories.swap_avif_brand))
    read(PreadFile(content))
    monkeypatch.setattr(module, name, 2)
    with pytest.raises(NotImplementedError):
        read(PreadFile(content))


@pytest.mark.skipif("AVIF" in MISSING, reason="Pillow decodes no AVIF")
def test_further_pictures_of_an_avif(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [avif_items._Item(0, b"av01", False)] * 17
    monkeypatch.setattr(avif_items._Meta, "others", lambda _self: list(range(1, len(items))))
    content = of("AVIF", max_threads=1)
    assert len(avif_items.other_pictures(PreadFile(content))) == 16
    items *= 2
    with pytest.raises(NotImplementedError):
        avif_items.other_pictures(PreadFile(content))
