"""Base64 in pieces of any size is decoded as Python does, or refused."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

from hashscan.service.doors.icap.forms import Base64Decoder
from hashscan.service.doors.icap.http_heads import body_facts
from hashscan.service.doors.multipart import (
    SNIFF_BYTES,
    MultipartError,
    MultipartParser,
    Part,
    any_boundary_of,
    looks_like_form,
)
from tests.service.doors.icap.sessions import REQUEST_HEAD, cut, form

PIECES = [b"\r\n", b"\n", b"\r", b"--b7", b"--b7--", b"--", b" ", b"\r\n\r\n", b"b7", b";", b"\0", b"", b'"']


def decoded(pieces: Sequence[bytes]) -> bytes | None:
    decoder = Base64Decoder()
    try:
        found = b"".join(map(decoder.feed, pieces))
        decoder.finish()
    except MultipartError:
        return None
    return found


@given(st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=9))
def test_base64_comes_out_as_it_went_in(content: bytes, places: list[int]) -> None:
    for text in (base64.b64encode(content), base64.encodebytes(content).replace(b"\n", b"\r\n")):
        assert decoded(cut(text, places)) == content


@given(
    st.lists(st.sampled_from([b"YWJj", b"YQ==", b"=", b"\r\n", b"A", b"-", b" ", b"\xff"])).map(b"".join),
    st.lists(st.integers(0, 500), max_size=9),
)
@example(b"YWJj=", [])
def test_faulty_base64_is_refused_however_it_is_cut(text: bytes, places: list[int]) -> None:
    found = decoded([text])
    assert decoded(cut(text, places)) == found
    plain = text.translate(None, b"\r\n")
    try:
        strict = binascii.a2b_base64(plain, strict_mode=True)
    except binascii.Error:
        strict = None
    # It takes padding behind complete groups.
    assert found == (strict if strict is not None and base64.b64encode(strict) == plain else None)


@given(st.binary(max_size=300))
def test_any_head_has_facts(noise: bytes) -> None:
    for of_response in (False, True):
        body_facts(noise + b"\r\n\r\n", noise + b"\r\n\r\n", of_response=of_response)
        body_facts(b"", REQUEST_HEAD[:-2] + noise + b"\r\n\r\n", of_response=of_response)
    looks_like_form(noise)


def test_the_search_for_a_form_is_quick() -> None:
    for begin in (
        b"--a\r\n" + b"a:\r\n" * 400,
        b"--" + b"a" * 2000,
        b"--a\n" + b"content-\n" * 300,
        b"-" * 2000,
    ):
        assert not looks_like_form(begin)
    assert looks_like_form(form(b"b7", [b"x"]))
    assert len(form(b"b7", [b"x"])) < SNIFF_BYTES


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("text/plain", None),
        ("", None),
        ("multipart/form-data; boundary=----WebKitFormBoundaryAbC123", b"----WebKitFormBoundaryAbC123"),
        ('multipart/related; type="a/b"; boundary="c:d"; start="<x>"', b"c:d"),
        ("Multipart/Mixed;BOUNDARY=x ;charset=utf-8;", b"x"),
        *(
            (f"multipart/form-data; boundary={text}", text.encode())
            for text in (
                "----WebKitFormBoundary7MA4YWxkTrZu0gW",  # Chrome, Safari
                "----geckoformboundary7e1b2a9d4f0c",  # Firefox
                "------------------------d74496d66958873e",  # curl
                "----formdata-undici-012345678901",  # Node
                "Boundary-3F2504E0-4F89-11D3-9A0C-0305E82C3301",  # Apple
                "Boundary+0xAbCdEf0123456789",
                "dart-http-boundary-qV.x_1+~'"[:-2],
            )
        ),
        (
            'multipart/form-data; boundary="0f8fad5b-d9cb-469f-a165-70867728950e"',
            b"0f8fad5b-d9cb-469f-a165-70867728950e",
        ),
        ('multipart/related; boundary="===============0123456789=="', b"===============0123456789=="),
    ],
)
def test_boundaries(content_type: str, boundary: bytes | None) -> None:
    assert any_boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; Boundary=a",
        "multipart/form-data; xboundary=a; boundary=b",
        'multipart/form-data; name="boundary=a"; boundary=b',
        "multipart/form-data; name=boundary; boundary=b",
        'multipart/form-data; boundary=b; name="x boundary=a"',
        'multipart/form-data; boundary="boundary=a"',
        'multipart/form-data; boundary="a\\b"',
        'multipart/form-data; boundary="a b"',
        'multipart/form-data; boundary="a;b"',
        "multipart/form-data; boundary=a, text/plain",
        "multipart/form-data, boundary=a",
        "multipart/form-data boundary=a",
        "multipart/form-data; boundary*=utf-8''a",
        "text/plain; multipart/form-data; boundary=a",
        "multipart; boundary=a",
        "multipart/form-data; boundary=" + "a" * 71,
    ],
)
def test_a_boundary_that_is_not_clear_is_refused(content_type: str) -> None:
    with pytest.raises(MultipartError):
        any_boundary_of(content_type)


@given(
    st.lists(st.sampled_from([b"x", b"\r\n", b"\n--b7", b"--b7", b"a" * 50]).map(bytes), max_size=4),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.sampled_from(PIECES)), max_size=3),
)
@example([b"x"], [(4, 0, b"\r\n")])
def test_another_program_finds_the_same_files(
    contents: list[bytes], changes: list[tuple[int, int, bytes]]
) -> None:
    """Werkzeug, which Flask uses, looks for the boundary in its own way."""
    body = bytearray(form(b"b7", contents))
    for place, removed, new in changes:
        place %= len(body) + 1
        body[place : place + removed] = new
    parser = MultipartParser(b"b7", 100, inner=True)
    ours: list[bytes] = []
    try:
        for event in parser.feed(bytes(body)):
            if isinstance(event, Part):
                ours.append(b"")
            elif isinstance(event, bytes):
                ours[-1] += event
        parser.finish()
    except MultipartError:
        return
    theirs: list[bytes] = []
    decoder = MultipartDecoder(b"b7")
    decoder.receive_data(bytes(body))
    decoder.receive_data(None)
    try:
        while not isinstance(found := decoder.next_event(), Epilogue):
            if isinstance(found, Field | File):
                theirs.append(b"")
            elif isinstance(found, Data):
                theirs[-1] += found.data
    except (ValueError, KeyError):
        return  # it takes no file out of it
    assert theirs == ours
