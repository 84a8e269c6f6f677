"""Opening texts with pictures in a confined decoder: SVG, HTML and CSS, escapes, and Office documents."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from hashscan.hashing.documents import texts
from hashscan.hashing.documents.text_probe import texts_with_pictures
from hashscan.hashing.documents.texts import TextOpener, base64_files, members_of_text
from hashscan.hashing.formats import TEXT
from hashscan.hashing.member_records import ContainerError
from hashscan.hashing.pread import PreadFile
from hashscan.hashing.records import DecodedPicture
from hashscan.model import Reason
from tests.hashing.documents.conftest import Open
from tests.hashing.documents.drawn import JPEG, PNG, by_place, digests, distance, reasons, zipped

pytest.importorskip("libarchive")
pytestmark = pytest.mark.integration

BASE64 = base64.b64encode(JPEG)
URL = b"data:image/jpeg;base64," + BASE64
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='%b'/></svg>"


@pytest.mark.parametrize(
    ("content", "places"),
    [
        (SVG % URL, ["data=1"]),
        (b'<img src="' + URL + b'">', ["data=1"]),
        (b"<img src=" + URL + b">", ["data=1"]),
        (b"<img src=' data:IMAGE/PNG ; charset=x ; BASE64 ," + base64.encodebytes(JPEG) + b"'>", ["data=1"]),
        (b"a { background: url(" + URL + b") }", ["data=1"]),
        (b"a { background: url( '" + URL + b"' ) }", ["data=1"]),
        (b"<img src='data:," + quote(JPEG).encode() + b"'>", ["data=1"]),
        (b"<img src='data:;base64," + quote(BASE64.decode(), safe="").encode() + b"'>", ["data=1"]),
        (b"<img srcset='a.png 1x, " + URL.rstrip(b"=") + b" 2x'>", ["data=1"]),
        (b"<img srcset='" + URL + b" 1x, b.png 2x'>", ["data=1"]),
        (b"<iframe srcdoc=\"<img src='" + URL + b"'>\">", ["data=1"]),
        (b"<iframe srcdoc='&lt;img src=&quot;" + URL + b"&quot;>'>", ["data=1"]),
        (b"<img src='data:,x'><img src='d&#97;ta&colon;image/jpeg;base64&#x2c;" + BASE64 + b"'>", None),
        (b"a{b:url(data:,x);c:url(d\\61 ta\\3a image/jpeg;base64\\2c " + BASE64 + b")}", None),
        (
            b"<p>'data:,x'<script>x={a:\"data:image\\/jpeg;base64," + BASE64.replace(b"/", b"\\/") + b'"}',
            None,
        ),
        (b"<p>'data:,x'<script>x='\\x64\\u0061ta:image/jpeg;base64," + BASE64 + b"'", None),
        (("<img src='" + URL.decode() + "'>").encode("utf-16"), ["data=1"]),
        (
            SVG % (b"data:image/svg+xml;base64," + base64.b64encode(SVG % URL)),
            ["data=1", "data=1#data=1"],
        ),
        (SVG % (b"data:image/svg+xml," + quote(SVG % URL).encode()), ["data=1", "data=1#data=1"]),
        (b"<img src='" + URL + b"'><img src='" + URL + b"'>", ["data=1"]),
        (gzip.compress(SVG % URL, mtime=0), ["data", "data#data=1"]),
        (
            b"<a href='data:application/zip;base64," + base64.b64encode(zipped({"b.jpg": JPEG})) + b"'>",
            ["data=1", "data=1!b.jpg"],
        ),
        (b"<p title='data: none, and data:" + b"'><img src='" + URL + b"'>", None),
    ],
)
def test_a_picture_in_a_text(opened: Open, content: bytes, places: list[str] | None) -> None:
    members, end = opened(content)
    assert digests(JPEG) in {member.exact for member in members}, by_place(members)
    assert places is None or [member.place.decode() for member in members] == places
    assert min(map(distance, members)) <= 8
    assert (end.reason, reasons(members)) == (None, {})


def test_several_pictures_each_of_its_own(opened: Open) -> None:
    png = b"data:image/png;base64," + base64.b64encode(PNG)
    members, _ = opened(b"<img src='" + URL + b"'><img src='" + png + b"'>")
    assert [member.exact for member in members] == [digests(JPEG), digests(PNG)]


@pytest.mark.parametrize(
    "content",
    [
        b"<p title='data: none and data:'>",
        b"<p title='data:" + b"x" * 100_000 + b"'>",
        b"<img src='data:image/png;base64,!'>",
        b"<img src='data:image/png;base64,A'>",
        b"<img src='data:,'>",
        b"'data:" * 10_000,
        b"<" + b"&#100;ata:" * 1000 + b"'data:",
    ],
)
def test_a_text_without_a_picture(opened: Open, content: bytes) -> None:
    members, end = opened(content, TEXT)
    assert (members, end.reason) == ([], None)


def test_bytes_that_are_not_ascii_are_no_references(opened: Open) -> None:
    text = "<p>é &# &eacute;</p>".encode() + bytes(range(128, 256)) + b" &#&"
    members, end = opened(text, TEXT)
    assert (members, end.reason) == ([], None)
    members, end = opened(text + b"<img src=&quot;" + URL + b"&quot;>", TEXT)
    assert ([member.exact for member in members], end.reason) == ([digests(JPEG)], None)


def test_a_broken_picture_is_said(opened: Open) -> None:
    cut = base64.b64encode(PNG[:300])
    (member,), _ = opened(b"<img src='data:image/png;base64," + cut + b"'>")
    found = member.decoded(("pdq",))
    assert isinstance(found, DecodedPicture)
    assert found.damage is Reason.TRUNCATED


def test_drawings_within_drawings_end_at_the_limit_of_depth(opened: Open) -> None:
    content = SVG % URL
    for _ in range(6):
        content = SVG % (b"data:image/svg+xml;base64," + base64.b64encode(content))
    members, end = opened(content)
    found = members[-1].decoded(("pdq",))
    assert isinstance(found, DecodedPicture)
    assert (found.damage, end.reason) == (Reason.CONTAINER, None)


def test_a_very_long_text_is_searched_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "READ_MAX", 30_000)
    members = TextOpener().members(PreadFile(SVG % URL + b" " * 30_000))
    assert b"".join(next(members).pieces) == JPEG
    with pytest.raises(ContainerError) as caught:
        next(members)
    assert caught.value.reason is Reason.CONTAINER_BYTES


def office(main: str, picture: str) -> Callable[[], bytes]:
    """An Office or OpenDocument file, which is a ZIP archive."""
    return lambda: zipped({"[Content_Types].xml": b"<Types/>", main: b"<x/>", picture: JPEG})


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (office("word/document.xml", "word/media/image1.jpeg"), "word/media/image1.jpeg"),
        (office("xl/workbook.xml", "xl/media/image1.jpeg"), "xl/media/image1.jpeg"),
        (office("ppt/presentation.xml", "ppt/media/image1.jpeg"), "ppt/media/image1.jpeg"),
        (office("content.xml", "Pictures/1.jpg"), "Pictures/1.jpg"),
        (office("OEBPS/a.xhtml", "OEBPS/1.jpg"), "OEBPS/1.jpg"),
    ],
)
def test_an_office_document_is_an_archive(opened: Open, content: Callable[[], bytes], place: str) -> None:
    members, end = opened(content())
    assert by_place(members)[place][0].exact == digests(JPEG)
    assert (end.reason, reasons(members)) == (None, {})


class _Counting(bytes):
    """A text that counts the bytes that are searched."""

    searched = 0

    def find(self, *arguments: Any) -> int:
        found = super().find(*arguments)
        self.searched += (len(self) if found < 0 else found) - arguments[1]
        return found


@pytest.mark.parametrize(
    "piece", [b'"data:', b"data:,", b"(data:,#", b'"data:' + b"x" * 600 + b",", b"'data:;base64,"]
)
def test_the_begins_of_many_urls_are_searched_once(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    text = _Counting(piece * 200)

    class Ends(NamedTuple):
        pattern: re.Pattern[bytes]

        def search(self, text: _Counting, at: int) -> re.Match[bytes] | None:
            found = self.pattern.search(text, at)
            text.searched += (found.start() if found else len(text)) - at
            return found

    monkeypatch.setattr(texts, "_ENDS", {before: Ends(end) for before, end in texts._ENDS.items()})
    list(texts._contents(text))
    assert text.searched <= 3 * len(text)


@pytest.mark.parametrize(
    "text",
    [
        b"'/wp-includes/js/mediaelement/mediaelementplayer-legacy.css'",
        b"add_filter( '_wp_keep_alive_customize_changeset_dependent_auto_drafts' );",
        b"path /would/selectin/load/only/from/given/mapper",
        b"AAABACADAEAFAGAHAIAJAKALAMANAOAPAQARASATAUAVAWAXAYAZ",
        b"x = 'data:image/gif;base64,R0lGODlhAQABAAD/ACwAAAAAAQABAAACADs='",
        b"example iVBORw0KGgoAAAANSUhEUgAAAlgAAAGQEAYAAAAi...",
    ],
)
def test_a_path_a_table_and_a_single_pixel_are_no_pictures(text: bytes) -> None:
    assert list(texts_with_pictures(PreadFile(text))) == []


def test_pictures_with_a_short_signature_are_found_in_base64() -> None:
    codestream = b"\xff\n" + hashlib.sha256(b"a").digest() * 8
    icon = b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + (300).to_bytes(4, "little") + b"\x16\0\0\0" + bytes(300)

    for content in (codestream, icon):
        assert list(base64_files(b"<data>" + base64.b64encode(content) + b"</data>")) == [content]


def test_an_url_in_an_escaped_string_ends_before_the_backslash() -> None:
    drawing = b"<svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0h8v8'/></svg>"
    text = b'a="b:url(\\"data:image/svg+xml,%b\\")";c=\'%b\'' % (
        drawing,
        b"d:url(\\'data:image/svg+xml,<svg xmlns=\\'x\\'/>\\')",
    )

    assert [member for member in members_of_text(text) if b"\\" in b"".join(member.pieces)] == []
