"""A picture for which a library makes up pixels is undecoded; one of which it only warns is not."""

from __future__ import annotations

import os
import struct
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hashscan.hashing.container_kinds import LOSSLESS_DECODER
from hashscan.hashing.formats import sniff
from hashscan.hashing.media.jpeg_xl import jxl_available
from hashscan.hashing.media.picture import decode_frames
from hashscan.hashing.media.picture_opening import UndecodedError
from hashscan.hashing.pread import PreadFile
from hashscan.model import Reason
from tests.hashing.browser import files as browser_files
from tests.hashing.drawings import scene
from tests.pictures import counts_faults

pytestmark = counts_faults

EOI = b"\xff\xd9"


def saved(name: str = "JPEG", **options: object) -> bytes:
    held = BytesIO()
    Image.fromarray(scene(240, 320)).convert("RGB").save(held, name, **options)
    return held.getvalue()


def decoded(content: bytes) -> tuple[int, Reason | None]:
    """Return how many frames are hashed, and why not all is decoded."""
    descriptor = os.memfd_create("picture")
    os.pwrite(descriptor, content, 0)
    known = sniff(content)
    assert known is not None
    count = 0
    try:
        with PreadFile(descriptor) as file:
            for _ in decode_frames(file, known):
                count += 1
    except UndecodedError as error:
        return count, error.reason
    finally:
        os.close(descriptor)
    return count, None


def data_of(content: bytes) -> int:
    """Return the offset of the data of the first scan."""
    scan = content.index(b"\xff\xda")
    return scan + 2 + int.from_bytes(content[scan + 2 : scan + 4])


def ending_early(content: bytes, part: float = 0.5) -> bytes:
    """Return a JPEG whose end is said where pixels are missing."""
    start = data_of(content)
    return content[: start + int(part * (len(content) - start))].rstrip(b"\xff") + EOI


def spoilt(content: bytes) -> bytes:
    """Return a JPEG with codes that its table does not have."""
    start = data_of(content)
    return content[: start + 300] + b"\xff\0" * 40 + content[start + 380 :]


PLAIN = saved()
RESTARTS = saved(restart_marker_blocks=9)
PROGRESSIVE = saved(progressive=True)
INKS = BytesIO()
Image.fromarray(scene(240, 320)).convert("CMYK").save(INKS, "JPEG")


FAULTY = {
    "without data": ending_early(PLAIN, 0.0),
    "half": ending_early(PLAIN),
    "half progressive": ending_early(PROGRESSIVE, 0.9),
    "half of four inks": ending_early(INKS.getvalue()),
    "spoilt": spoilt(PLAIN),
    "spoilt progressive": spoilt(PROGRESSIVE),
    "restart out of order": RESTARTS.replace(b"\xff\xd1", b"\xff\xd5", 1),
    "restart out of order, and truncated": RESTARTS.replace(b"\xff\xd1", b"\xff\xd5", 1)[:-400],
    "bytes in front of a restart": RESTARTS.replace(b"\xff\xd1", bytes(200) + b"\xff\xd1", 1),
    "another number of lines": PLAIN.removesuffix(EOI) + bytes(200) + b"\xff\xdc\0\4\1\0" + EOI,
}


@pytest.mark.parametrize("name", FAULTY)
def test_made_up_pixels_are_undecoded(name: str) -> None:
    """The picture is hashed nevertheless, as most viewers show it."""
    count, reason = decoded(FAULTY[name])
    assert count > 0
    assert reason is Reason.BROKEN


JFIF = b"JFIF\0\1"
HARMLESS = {
    "bytes in front of the end": PLAIN.removesuffix(EOI) + bytes(500) + EOI,
    "bytes in front of the header": PLAIN.replace(b"\xff\xdb", b"junk\xff\xdb", 1),
    "another version of JFIF": PLAIN.replace(JFIF, b"JFIF\0\7", 1),
    "other coefficients": PLAIN[: data_of(PLAIN) - 3] + bytes(3) + PLAIN[data_of(PLAIN) :],
    "unknown colours": PLAIN[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x05" + PLAIN[20:],
    "bytes behind the end": PLAIN + bytes(400),
    "bytes between scans": PROGRESSIVE.replace(b"\xff\xc4", bytes(50) + b"\xff\xc4", 3),
    "fill bytes in front of a restart": RESTARTS.replace(b"\xff\xd1", b"\xff\xff\xff\xd1", 1),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_warnings_about_other_things_are_passed_over(name: str) -> None:
    assert decoded(HARMLESS[name])[1] is None


def test_a_faulty_jpeg_does_not_spoil_the_next() -> None:
    assert decoded(FAULTY["spoilt"])[1] is Reason.BROKEN
    assert decoded(PLAIN) == (1, None)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_faulty_fax(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    held = BytesIO()
    Image.fromarray(scene(240, 320)).convert("1").save(held, "TIFF", compression=compression)
    content = held.getvalue()
    assert decoded(content) == (1, None)
    middle = len(content) // 2
    assert decoded(content[:middle] + b"\x01\xff" * 20 + content[middle + 40 :]) == (1, Reason.BROKEN)
    assert capfd.readouterr().err == ""


def test_a_jpeg_in_a_tiff() -> None:
    content = saved("TIFF", compression="jpeg")
    assert decoded(content)[1] is None
    start = data_of(content)
    broken = content[: start + 300] + b"\xff\0" * 40 + content[start + 380 :]
    assert decoded(broken)[1] is Reason.BROKEN


def test_in_a_preview() -> None:
    """Programs cut previews off, so that a truncated one is hashed as far as it goes."""
    small = BytesIO()
    Image.fromarray(np.asarray(scene(96, 128))).convert("RGB").save(small, "JPEG")

    def with_preview(preview: bytes) -> bytes:
        directory = b"\2\0" + b"\1\2\4\0\1\0\0\0" + (44).to_bytes(4, "little")
        directory += b"\2\2\4\0\1\0\0\0" + len(preview).to_bytes(4, "little") + bytes(4)
        head = b"Exif\0\0II*\0\x08\0\0\0" + bytes(2) + (14).to_bytes(4, "little") + directory
        return PLAIN[:2] + segment(head + preview) + PLAIN[2:]

    def segment(content: bytes) -> bytes:
        return b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content

    assert decoded(with_preview(small.getvalue())) == (2, None)
    assert decoded(with_preview(small.getvalue()[:-300])) == (2, None)
    assert decoded(with_preview(spoilt(small.getvalue()))) == (2, Reason.BROKEN)


def _with_frame(marker: int, bits: int = 8) -> bytes:
    """Return a JPEG whose frame is said to be of another kind."""
    content = saved()
    return content.replace(b"\xff\xc0\x00\x11\x08", bytes((0xFF, marker, 0, 0x11, bits)), 1)


@pytest.mark.parametrize(
    ("marker", "bits", "reason"),
    [
        (0xC0, 8, None),
        (0xC0, 12, Reason.UNSUPPORTED),
        (0xC1, 12, Reason.UNSUPPORTED),
        (0xC3, 8, Reason.UNSUPPORTED),
        (0xC5, 8, Reason.UNSUPPORTED),
        (0xF7, 8, Reason.UNSUPPORTED),
    ],
)
def test_kinds_that_are_not_decoded_have_their_own_reason(
    marker: int, bits: int, reason: Reason | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, LOSSLESS_DECODER, raising=False)
    assert decoded(_with_frame(marker, bits))[1] is reason


@pytest.mark.parametrize("compression", [34887, 50002])
def test_compressions_of_tiff_that_are_not_decoded(compression: int) -> None:
    tag = struct.pack("<HHIH", 259, 3, 1, 5)
    content = saved("TIFF", compression="tiff_lzw").replace(tag, struct.pack("<HHIH", 259, 3, 1, compression))
    assert decoded(content) == (0, Reason.UNSUPPORTED)


@pytest.mark.skipif(not jxl_available(), reason="the extra jxl is not installed")
@pytest.mark.parametrize(("name", "reason"), [("ink", Reason.UNSUPPORTED), ("depth", None), ("alpha", None)])
def test_a_jpeg_xl_with_another_channel(name: str, reason: Reason | None) -> None:
    """The plug-in leaves black ink out, which would darken the picture."""
    content = (Path(browser_files.__file__).parent / "coded" / f"{name}.jxl").read_bytes()
    frames, why = decoded(content)
    assert frames > 0
    assert why is reason
