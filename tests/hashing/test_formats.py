"""Telling pictures from other files by their first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import hashscan.hashing.media.picture
from hashscan.hashing.formats import FORMATS, PREFIX_SIZE, TARGA, TEXT, sniff
from hashscan.hashing.media.picture_opening import MISSING
from hashscan.hashing.media.samples import samples

DECODED = [picture_format for picture_format in FORMATS if picture_format.pillow is not None]


def padded(start: bytes, size: int = PREFIX_SIZE) -> bytes:
    return start.ljust(size, b"\0")


def name_of(prefix: bytes) -> str | None:
    """Return the name of a picture's format; None for a container, too."""
    found = sniff(prefix)
    return None if found is None or found.container else found.name


@pytest.mark.parametrize("picture_format", DECODED, ids=lambda known: known.name)
def test_every_decoded_format_has_a_sample_that_is_recognised(picture_format) -> None:
    # One format has no signature.
    expected = None if picture_format == TARGA else picture_format
    assert sniff(samples()[picture_format.pillow]) is expected


def test_every_decoded_format_is_one_of_pillows() -> None:
    assert hashscan.hashing.media.picture.decode_frames
    assert {known.pillow for known in DECODED} - MISSING <= {*Image.OPEN, "SVG"}


def test_names_are_unique() -> None:
    assert len({known.name for known in FORMATS}) == len(FORMATS) < 128


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("JPEG", b"\xff\xd8\xff\xe1\x00\x10Exif"),
        ("JPEG", b"\xff\xd8\xff"),
        ("TIFF", b"II+\0\x08\0\0\0"),
        ("TIFF", b"MM\0*\0\0\0\x08"),
        ("JPEG 2000", b"\xff\x4f\xff\x51\0\x29"),
        ("AVIF", b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"),
        ("AVIF", b"\0\0\0\x20ftypavis\0\0\0\0"),
        ("AVIF", b"\0\0\0\x18ftypisom\0\0\0\0mp42avif"),
        ("AVIF", b"\0\0\0\1ftyp\0\0\0\0\0\0\0\x1cisom\0\0\0\0avif"),
        # The brand may be one that isn't in sight.
        ("AVIF", padded(b"\0\0\1\x14ftypisom\0\0\0\0")),
        ("AVIF", b"\0\0\1\0ftypisom\0\0\0\0" + b"iso4" * 59 + b"avif"),
        ("AVIF", b"\0\0\0\x10ftypmif3avif"),
        ("ICO", padded(b"\0\0\1\0\2\0" + bytes(16) + b"\x10\x10\0\0\1\0\x20\0\0\0\0\0\x26")),
        ("ICO", padded(b"\0\0\1\0\x10\0" + bytes(15 * 16 + 12) + b"\6\1")),
        ("HEIF", b"\0\0\0\x18ftypmsf2\0\0\0\0mif2heic"),
        ("BMP", padded(b"BM\0\0\0\0\0\0\0\0\0\0\0\0\x2a")),
        ("ICO", padded(b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\0\0\0\0\x16")),
        ("HEIF", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("HEIF", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"),
        # Another box than the first can't speak for the file.
        ("HEIF", b"\0\0\0\x14ftypmif1\0\0\0\0mif1avif"),
        ("PNM", b"P5\n# by hand\n640 480\n255\n"),
        ("PNM", b"P4 8 8 \xff"),
        ("PNM", b"P6\n# a comment that is longer than all that is looked at" + b"." * 40),
        ("PNM", b"Pf\n12 12\n-1.0\n"),
        ("PCX", padded(b"\n\5\1\x08\0\0\0\0\x0f\0\x0f\0")),
        ("JPEG XL", b"\xff\x0a\xfa\x1f"),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
        ("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        ("FLIC", b"\0\1\0\0\x12\xaf\4\0\x40\1\xc8\0\x08\0\3\0"),
        ("XCF", b"gimp xcf v011\0"),
        ("other picture", b"Paint Shop Pro Image File\n\x1a"),
        ("other picture", b"SDPX\0\0\x08\0"),
        ("PSB", b"8BPS\0\2"),
        ("ILBM", b"FORM\0\0\1\0ILBM"),
        ("camera raw", b"\0\0\0\x18ftypcrx \0\0\0\1"),
        ("camera raw", b"II\x1a\0\0\0HEAPCCDR"),
    ],
)
def test_recognised(name: str, prefix: bytes) -> None:
    assert name_of(prefix) == name


@pytest.mark.parametrize(
    "prefix",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"BMW is a maker of cars, and of motorcycles, and of engines.",
        b"P1 costs 20 euros",
        b"P6 2020, to be continued in the next part of this",
        b"P5",
        b"Pfingsten 20 20",
        b"P3\n640 x 480 is what it says",
        b"GIF88a",
        b"II is two, MM two thousand",
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"RIFF\x10\0\0\0AVI LIST",
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        b"\0\0\0\x20ftypqt  \0\0\2\0",
        # All brands are in sight.
        padded(b"\0\0\0\x48ftypisom\0\0\0\0" + b"iso4" * 14),
        b"\0\0\0\x10ftypisomavif",
        b"\nline after an empty line, of no particular length or content.....",
        b"\n\5\1\x08",
        b"qoifoo bar baz!",
        b"icns are icons",
        b"#define x_width 16\n#define x_height 16\n",
        b"%!PS-Adobe-3.0\n%%Title: a document",
        b"%PDF-1.7",
        b"\x7fELF\2\1\1",
        b"PK\3\4",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        # Targa, which starts as a cursor without images; an icon without; one that overlaps its header.
        padded(b"\0\0\2\0\0\0\0\0\0\0\0\0\x40\0\x40\0\x18"),
        padded(b"\0\0\1\0\0\0"),
        padded(b"\0\0\1\0\2\0\x10\x10\0\0\1\0\x20\0\x40\0\0\0\x16\0\0\0"),
        padded(b"\1\xda\7\1\0\3"),
        padded(b"\0\0\0\0\x11\xaf\0\0\0\0\0\0\x20"),
    ],
)
def test_no_picture(prefix: bytes) -> None:
    assert name_of(prefix) is None


STARTS = [bytes(part) for known in FORMATS for signature in known.signatures for _, part in signature]


@given(st.one_of(st.binary(max_size=100), st.builds(bytes.__add__, st.sampled_from(STARTS), st.binary())))
def test_any_bytes_at_all(content: bytes) -> None:
    found = sniff(content)
    assert found is None or found in FORMATS
    if found is TEXT or (found is not None and found.container):
        # A text is searched for pictures in all bytes that are given, and a container has all of them, too.
        return
    assert sniff(content[:PREFIX_SIZE]) is found
    first = next((known for known in FORMATS if known.recognises(content[:PREFIX_SIZE])), None)
    assert found is first
