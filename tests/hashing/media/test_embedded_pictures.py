"""TIFF directories as cameras write them, and as strangers do."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hashscan.hashing.embedded.directories import ReadAt, TiffTags, read_directories, read_picture_index


def reader(content: bytes) -> ReadAt:
    return lambda offset, size: content[offset : offset + size]


def directory(order: str, *entries: tuple[int, int, int, bytes], following: int = 0) -> bytes:
    packed = b"".join(
        struct.pack(order + "HHI", tag, kind, number) + value for tag, kind, number, value in entries
    )
    return struct.pack(order + "H", len(entries)) + packed + struct.pack(order + "I", following)


def start(order: str, offset: int = 8) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", offset)


def number(order: str, value: int) -> bytes:
    return struct.pack(order + "I", value)


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_pillow_writes(order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = 6
    exif[0x010F] = "A maker of cameras"
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    assert read_directories(reader(content)) == TiffTags(6, ())


@pytest.mark.parametrize("order", ["<", ">"])
def test_previews_in_later_directories_and_beneath(order: str) -> None:
    def preview(at: int) -> tuple[tuple[int, int, int, bytes], ...]:
        return (0x0201, 4, 1, number(order, at)), (0x0202, 4, 1, number(order, 7))

    size = len(directory(order, *preview(0)))
    first = directory(order, (0x014A, 4, 2, number(order, 1000)), following=200)
    content = (start(order) + first).ljust(200, b"\0") + directory(order, *preview(1))
    content = content.ljust(400, b"\0") + directory(order, *preview(2))
    content += directory(order, *preview(3))
    content = content.ljust(1000, b"\0") + number(order, 400) + number(order, 400 + size)
    # Those beneath the first come before the one that follows it.
    assert read_directories(reader(content)).previews == ((2, 7), (3, 7), (1, 7))


def test_directories_that_lead_in_circles() -> None:
    preview = (0x0201, 4, 1, number("<", 50)), (0x0202, 4, 1, number("<", 60))
    content = start("<") + directory("<", *preview, (0x014A, 4, 1, number("<", 8)), following=8)
    assert read_directories(reader(content)).previews == ((50, 60),)


def test_an_endless_chain_is_left_after_a_while() -> None:
    asked = []

    def read(offset: int, size: int) -> bytes:
        asked.append(offset)
        if offset == 0:
            return start("<")
        return directory("<", following=offset + 6)[:size] if size == 2 else number("<", offset + 4)

    assert read_directories(read) == TiffTags(more=True)
    assert len(asked) < 2100


def test_a_directory_that_claims_more_than_there_is() -> None:
    content = start("<") + struct.pack("<HHHII", 65535, 0x0112, 3, 1, 8)
    assert read_directories(reader(content)).orientation == 8
    content = start("<") + directory("<", (0x014A, 4, 2**32 - 1, number("<", 8)))
    assert read_directories(reader(content)) == TiffTags(more=True)


def test_the_index_of_several_pictures() -> None:
    def picture() -> Image.Image:
        return Image.new("L", (20, 20))

    file = io.BytesIO()
    picture().save(file, "MPO", save_all=True, append_images=[picture(), picture()])
    image = Image.open(io.BytesIO(file.getvalue()), formats=["JPEG"])
    index = image.info["mp"]
    base = file.getvalue().index(b"MPF\0") + 4
    found = read_picture_index(reader(index))
    assert len(found) == 2
    for offset, length in found:
        one = file.getvalue()[base + offset : base + offset + length]
        assert one.startswith(b"\xff\xd8\xff")
        assert one.endswith(b"\xff\xd9")


@given(st.binary(max_size=400), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_any_bytes_at_all(content: bytes, head: bytes) -> None:
    found = read_directories(reader(head + content))
    assert 1 <= found.orientation <= 8
    assert len(found.previews) <= 400
    assert all(length > 0 for _, length in found.previews)
    assert len(read_picture_index(reader(head + content))) <= 64
