"""Pictures that fonts have for letters, and that browsers show, are found or in doubt."""

from __future__ import annotations

import base64
import gzip
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from hashscan.hashing.archives.openers import READ_MAX
from hashscan.hashing.documents.fonts import FontOpener
from hashscan.hashing.font_tables import may_have_pictures
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.recognition.none_kinds import none_kind
from hashscan.model import Reason, Verdict
from tests.hashing.documents.drawn import JPEG, PNG, SCENE
from tests.hashing.documents.test_constructs import checked
from tests.pictures import encoded

pytestmark = pytest.mark.integration


def font(tables: Mapping[bytes, bytes], begin: int = 0) -> bytes:
    """A font of OpenType that lies at this offset of a file."""
    place = begin + 12 + 16 * len(tables)
    directory, content = struct.pack(">IHHHH", 0x10000, len(tables), 0, 0, 0), b""
    for tag, table in tables.items():
        directory += struct.pack(">4s3I", tag, 0, place + len(content), len(table))
        content += table + bytes(-len(table) % 4)
    return directory + content


def web_font(tables: Mapping[bytes, bytes]) -> bytes:
    """A font as WOFF."""
    directory, content, first = b"", b"", 44 + 20 * len(tables)
    for tag, table in tables.items():
        packed = min(zlib.compress(table), table, key=len)
        directory += struct.pack(">4s4I", tag, first + len(content), len(packed), len(table), 0)
        content += packed + bytes(-len(packed) % 4)
    size = first + len(content)
    return (
        struct.pack(">4sIIHHI", b"wOFF", 0x10000, size, len(tables), 0, 0) + bytes(24) + directory + content
    )


def web_font_2(tag: bytes) -> bytes:
    """A font as WOFF2 with one table."""
    entry = tag + b"\x90\0"
    content = b"wOF2\0\1\0\0%b\0\1" % struct.pack(">I", 48 + len(entry) + 20) + bytes(34) + entry
    return content + bytes(20)


HEAD, PROFILE = bytes(18) + b"\4\0" + bytes(34), b"\0\1\0\0\0\2"


def sbix(picture: bytes, kind: bytes = b"png ") -> dict[bytes, bytes]:
    glyph = bytes(4) + kind + picture
    strike = struct.pack(">HH3I", 240, 72, 16, 16, 16 + len(glyph)) + glyph
    return {b"head": HEAD, b"maxp": PROFILE, b"sbix": struct.pack(">HHII", 1, 1, 1, 12) + strike}


def cbdt(picture: bytes, form: int = 17) -> dict[bytes, bytes]:
    size = struct.pack(">4I", 56, 24, 1, 0) + bytes(32)
    index = struct.pack(">HHI", 1, 1, 8) + struct.pack(">HHIII", 1, form, 4, 0, 9 + len(picture))
    data = struct.pack(">HH5sI", 3, 0, bytes(5), len(picture)) + picture
    return {b"CBDT": data, b"CBLC": struct.pack(">HHI", 3, 0, 1) + size + index, b"head": HEAD}


def svg(drawing: bytes) -> dict[bytes, bytes]:
    listed = struct.pack(">HIIHHHII", 0, 10, 0, 1, 1, 1, 14, len(drawing))
    return {b"SVG ": listed + drawing, b"head": HEAD}


URL = b"data:image/png;base64," + base64.b64encode(PNG)
DRAWING = b"<svg xmlns='http://www.w3.org/2000/svg'><g id='glyph1'>%b</g></svg>"
IMAGE = DRAWING % (b"<image y='-750' width='1000' height='750' href='%b'/>" % URL)
SMALL = SCENE.resize((160, 120))
TINY = SCENE.resize((40, 30))
TILES = b"".join(
    b"<rect x='%d' y='%d' width='26' height='26' fill='rgb(%d,%d,%d)'/>"
    % (25 * x, 25 * y - 1000, *TINY.getpixel((x, y)))
    for x in range(40)
    for y in range(30)
)
COLLECTION = b"ttcf\0\1\0\0\0\0\0\2" + struct.pack(">II", 20, 20) + font(sbix(PNG), 20)
FOUND = {
    "sbix.ttf": font(sbix(PNG)),
    "jpeg.ttf": font(sbix(JPEG, b"jpg ")),
    "cbdt.ttf": font(cbdt(PNG)),
    "svg.ttf": font(svg(IMAGE)),
    "packed-svg.ttf": font(svg(gzip.compress(IMAGE))),
    "sbix.woff": web_font(sbix(PNG)),
    "capitals-svg.woff": web_font(svg(IMAGE.replace(b"data:", b"DATA:"))),
    "svg.woff": web_font(svg(IMAGE)),
    "collection.ttc": COLLECTION,
    "no-name": font(sbix(PNG)),
    "page.html": b"<style>@font-face{font-family:x;src:url(data:font/ttf;base64,%b)}</style>A"
    % base64.b64encode(font(sbix(PNG))),
    "begins-like-a-font.html": font(sbix(b"")) + b"<img src='%b'>" % URL,
}
IN_DOUBT = {
    "sbix.woff2": (web_font_2(b"\x25"), Reason.METHOD),
    "named.woff2": (web_font_2(b"\x3fsbix"), Reason.METHOD),
    "pixels.ttf": (font(cbdt(PNG, 1)), Reason.UNSUPPORTED),
    "cut.ttf": (font(sbix(PNG))[:100], Reason.CONTAINER_BROKEN),
}
CLEAN = {
    "emojis.ttf": font(sbix(encoded(SMALL, "PNG"))),
    "outlines.ttf": font({b"head": HEAD, b"maxp": PROFILE}),
    "outlines.woff2": web_font_2(b"\x01"),
    "few-shapes.ttf": font(svg(DRAWING % b"<rect width='9' height='9'/>")),
    "database.mdb": b"\0\1\0\0Standard Jet DB\0" + bytes(5000),
}


def test_pictures_of_letters_are_found(tmp_path: Path) -> None:
    long = gzip.compress(b" " * READ_MAX + IMAGE, 1)
    in_doubt = IN_DOUBT | {"long-svg.woff": (web_font(svg(long)), Reason.CONTAINER_BYTES)}
    found = checked(tmp_path, FOUND | {name: content for name, (content, _) in in_doubt.items()} | CLEAN)
    assert {name: found[name].verdict for name in found} == {
        **dict.fromkeys(FOUND, Verdict.MATCH),
        **dict.fromkeys(in_doubt, Verdict.UNDECODED),
        **dict.fromkeys(CLEAN, Verdict.CLEAN),
    }
    assert {name: found[name].reason for name in in_doubt} == {
        name: reason for name, (_, reason) in in_doubt.items()
    }


def test_letters_drawn_of_many_shapes_are_members() -> None:
    members = FontOpener().members(PreadFile(font(svg(DRAWING % TILES))))
    assert [member.name for member in members] == [b"table=SVG,drawing=14"]


def test_only_fonts_without_pictures_are_proven_to_be_none() -> None:
    for content in (FOUND["sbix.ttf"], FOUND["svg.woff"], web_font_2(b"\x25"), COLLECTION):
        assert may_have_pictures(content)
        assert none_kind(PreadFile(content)) == ""
    for content in (CLEAN["outlines.ttf"], CLEAN["outlines.woff2"], b"true story", CLEAN["database.mdb"]):
        assert not may_have_pictures(content)
    assert none_kind(PreadFile(CLEAN["outlines.ttf"])) == "font"
    assert none_kind(PreadFile(CLEAN["outlines.woff2"])) == "web font"
