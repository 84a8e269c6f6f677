"""Tests of recognising texts that contain pictures as data URLs, in C and in Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.hashing.formats import TEXT, has_data_url, search_in_python, sniff
from tests.format_cases import texts

URL = b"data:image/png;base64,iVBOR"


@pytest.mark.parametrize("name", ["1 html", "1 css"])
def test_texts_with_pictures(name: str) -> None:
    assert sniff(dict(texts())[name]) is TEXT


@pytest.mark.parametrize(
    "text",
    [
        b"<img src='" + URL,
        b"<img src=" + URL,
        b'<img src="  ' + URL,
        b"<IMG SRC='DATA:IMAGE/PNG,x'>",
        b"<img src='data:,x'>",
        b"<img srcset='a 1x, " + URL,
        b"<p style='background: url(" + URL,
        b"<a>&quot;data:;base64,",
        b"\xef\xbb\xbf\n  <p>" + b" " * 9000 + b"'" + URL,
        b"\n" * 4000 + b"<img src='" + URL,
        b"a { b: c(" + b"x" * 5000 + b"); d: url( " + URL,
        b"a{b:url('" + URL,
        b'a{b:URL( " data:' + b",x",
        b"@import 'x';a{b:url(" + URL,
        b"/* < */a{b:url(" + URL,
        b"\xff\xfe" + ("<img src='" + URL.decode()).encode("utf-16-le"),
        b"\xfe\xff" + ("a { b: url(" + URL.decode()).encode("utf-16-be"),
        # The first is none, a later one is.
        b"data: data: {b:url(" + URL,
    ],
)
def test_a_picture_in_a_text(text: bytes) -> None:
    assert sniff(text) is TEXT
    assert sniff(memoryview(bytearray(text))) is TEXT


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"\xfe\xff\0\0",
        b"data:",
        b"The data: all of it, and url(x) too. " * 100,
        b"{'data': 1, 'data:image': 2}",
        b"<script>$.ajax({data: {a: 1}, url: 'x'})</script>",
        b"<script>f({a:1,data:t,url:u})</script>",
        b"<p>We keep your data: never.</p>",
        b"a { content: 'data:'; background: url(data.png) }",
        b"\x7fELF url(" + URL,
        b"\0\0url(" + URL,
        b"PK\3\4" + b"\0" * 300,
    ],
)
def test_a_text_without_a_picture(text: bytes) -> None:
    found = sniff(text)
    assert found is None or found.container


PIECES = st.sampled_from(
    [
        b"data:",
        b"DaTa:",
        b"dat",
        b":",
        b"url(",
        b"URL (",
        b" ",
        b"\n",
        b"'",
        b'"',
        b"=",
        b"(",
        b"a/",
        b"+",
        b";",
        b",",
    ]
)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=3)), max_size=12).map(b"".join), st.booleans())
def test_c_and_python_find_the_same(text: bytes, markup: bool) -> None:
    assert has_data_url(text, markup) is search_in_python(text, markup)
    assert has_data_url(memoryview(text), markup) is search_in_python(text, markup)
