"""Opening RTF documents in a confined decoder: pictures as digits and as bytes, hidden ones, objects."""

from __future__ import annotations

import struct

import pytest

from hashscan.model import Reason
from tests.hashing.documents.compound_files import compound
from tests.hashing.documents.conftest import Open
from tests.hashing.documents.drawn import JPEG, PNG, digests, distance, reasons, zipped
from tests.hashing.documents.metafiles import DIB, bitmap_record, emf, wmf
from tests.hashing.documents.test_compound import BITMAP, blip
from tests.hashing.documents.test_texts import SVG, URL

pytestmark = pytest.mark.integration

DIGITS = JPEG.hex().encode()
LINES = b"\r\n".join(DIGITS[at : at + 128] for at in range(0, len(DIGITS), 128))
UID = rb"{\*\blipuid 0123456789abcdef0123456789abcdef}"


def rtf(*parts: bytes) -> bytes:
    return (
        rb"{\rtf1\ansi\deff0{\fonttbl{\f0 Arial;}} A text with \\pict and \{braces\}."
        + b"".join(parts)
        + b"}"
    )


def packed(content: bytes) -> bytes:
    """A file as Windows packs it."""
    head = b"\2\0a.jpg\0C:\\a.jpg\0" + struct.pack("<HHI", 0, 3, 2) + b"t\0"
    return head + struct.pack("<I", len(content)) + content


def ole_1(content: bytes, shown: bytes = b"") -> bytes:
    names = b"".join(struct.pack("<I", len(name)) + name for name in (b"Package\0", b"", b""))
    made = struct.pack("<II", 0x501, 2) + names + struct.pack("<I", len(content)) + content + shown
    return made.hex().encode()


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(rb"{\pict\jpegblip\picw10\pich10 " + DIGITS + b"}", id="digits"),
        pytest.param(
            rb"{\*\shppict{\pict{\*\picprop{\sp{\sn x}{\sv 75}}}\jpegblip" + UID + LINES + b"}}", id="Word"
        ),
        pytest.param(rb"{\nonshppict{\pict\jpegblip\bin%d " % len(JPEG) + JPEG + b"}}", id="bytes"),
        pytest.param(rb"{\pict\pngblip" + b"\n" + PNG.hex().upper().encode() + b"}", id="PNG"),
        pytest.param(rb"{\pict\wmetafile8 " + wmf((0x0F43, bytes(22) + DIB)).hex().encode() + b"}", id="WMF"),
        pytest.param(rb"{\pict\emfblip " + emf((81, bitmap_record())).hex().encode() + b"}", id="EMF"),
        pytest.param(rb"{\pict\dibitmap0 " + BITMAP.hex().encode() + b"}", id="bitmap"),
        pytest.param(rb"{\*\unknown{\pict\picw5{\*\a{\pict " + DIGITS + b"}}}}", id="in what is ignored"),
        pytest.param(rb"{\object\objemb{\*\objdata " + ole_1(packed(JPEG)) + b"}}", id="packed file"),
        pytest.param(
            rb"{\*\objdata "
            + ole_1(compound({"WordDocument": b"", "Data": blip(0xF01D, 0x46A, JPEG)}))
            + b"}",
            id="document",
        ),
        pytest.param(rb"{\*\themedata " + zipped({"a.jpg": JPEG}).hex().encode() + b"}", id="theme"),
    ],
)
def test_a_picture_in_a_document(opened: Open, part: bytes) -> None:
    members, end = opened(rtf(part))
    assert min(map(distance, members)) <= 8 or digests(JPEG) in {member.exact for member in members}
    assert (end.reason, reasons(members)) == (None, {})


def test_a_packed_file_in_an_older_document(opened: Open) -> None:
    content = packed(JPEG)
    native = struct.pack("<I", len(content)) + content
    shown = {"\1CompObj": b"", "\2OlePres000": bytes(40) + wmf((0x0F43, bytes(22) + DIB))}
    for streams in (
        {"WordDocument": b"", "ObjectPool/\1Ole10Native": native},
        {"\1Ole10Native": native, **shown},
    ):
        members, end = opened(compound(streams))
        assert digests(JPEG) in {member.exact for member in members}
        assert (end.reason, reasons(members)) == (None, {})


def test_a_page_that_begins_like_a_document_is_both(opened: Open) -> None:
    for before in (rtf(), emf((43, bytes(16)))):
        members, end = opened(before + SVG % URL + b"}")
        assert digests(PNG) in {member.exact for member in members} or min(map(distance, members)) <= 8
        assert (end.reason, reasons(members)) == (None, {})


def test_a_text_alone_is_clean(opened: Open) -> None:
    store = rb"{\*\datastore " + ole_1(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2040)) + b"}"
    members, end = opened(rtf(rb"{\b bold}\par \'e4\u228?", store) + b"\n\0")
    assert (members, end.reason) == ([], None)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        pytest.param(
            rb"{\pict\jpegblip " + DIGITS[:900] + rb"{x}\foo " + DIGITS[900:] + b"}", Reason.AMBIGUOUS
        ),
        pytest.param(rb"{\pict\jpegblip " + DIGITS[:900] + b"{" + DIGITS[900:] + b"}}", Reason.AMBIGUOUS),
        pytest.param(rb"{\pict\jpegblip " + DIGITS[:901] + rb"\'41" + DIGITS[901:] + b"}", Reason.AMBIGUOUS),
        pytest.param(rb"\bin%d {\pict " % (len(DIGITS) + 8) + DIGITS + b"}", Reason.AMBIGUOUS),
        pytest.param(rb"{\pict\bin999999 " + JPEG + b"}", Reason.CONTAINER_BROKEN),
        pytest.param(rb"{\pict\macpict " + bytes(600).hex().encode() + b"}", Reason.UNSUPPORTED),
        pytest.param(rb"{\*\objdata " + ole_1(b"of another program") + b"}", Reason.CONTAINER),
        pytest.param(rb"{\*\objdata 0105" + DIGITS + b"}", Reason.CONTAINER),
        pytest.param(rb"{\pict\jpegblip " + DIGITS + rb"{\pict", Reason.CONTAINER_BROKEN),
        pytest.param(rb"{\pict" + b"{}" * 2_100_000 + b"}", Reason.CONTAINER_MEMBERS, id="many groups"),
    ],
    ids=lambda value: getattr(value, "name", "document"),
)
def test_what_programs_read_differently_is_said(opened: Open, part: bytes, reason: Reason) -> None:
    members, end = opened(rtf(part))
    assert reason in {end.reason, *reasons(members).values()}


def test_a_document_that_is_cut_is_broken(opened: Open) -> None:
    members, end = opened(rtf(rb"{\pict\jpegblip " + DIGITS + b"}")[:-2000])
    assert min(map(distance, members)) <= 60
    assert end.reason is Reason.CONTAINER_BROKEN
