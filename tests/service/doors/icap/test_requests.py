"""Requests in pieces of any size are the same requests; whatever is written otherwise is an error."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.service.doors.icap.requests import (
    CHUNK_LINE_MAX,
    HEAD_MAX,
    BodyEnd,
    PreviewEnd,
    Request,
)
from tests.service.doors.icap.sessions import (
    REQUEST_HEAD,
    RESPONSE_HEAD,
    chunked,
    cut,
    parse,
    reqmod,
    request,
    respmod,
)


def error_of(data: bytes) -> int:
    """Status of the error that ends a session."""
    status = parse([data])[-1]
    assert isinstance(status, int), status
    return status


def events(data: bytes, *, proceeds: bool = True) -> list[object]:
    """The events after the beginning of the only request."""
    seen = parse([data], proceeds=proceeds)
    assert isinstance(seen[0], Request)
    return list(seen[1:])


EXTENSIONS = ["", ";a", "; a=b", ' ;\ta = "x;ieof"', ';a="\\""']
pieces_of_body = st.lists(st.binary(min_size=1, max_size=300), max_size=6)
places = st.lists(st.integers(0, 5000), max_size=20)


@given(
    st.lists(st.tuples(st.sampled_from([reqmod, respmod]), pieces_of_body), min_size=1, max_size=4),
    st.sampled_from(EXTENSIONS),
    st.sampled_from([b"0\r\n\r\n", b"000;x\r\n\r\n", b"0\r\nA: b\r\nB: c\r\n\r\n"]),
    places,
)
def test_pipelined_requests(requests: list, extension: str, end: bytes, places: list[int]) -> None:
    session = b""
    expected: list[bytes] = []
    for make, pieces in requests:
        body = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension.encode(), piece) for piece in pieces)
        session += make(body + end)
        expected.append(b"".join(pieces))
    seen = parse(cut(session, places))
    found: list[bytes] = []
    for event in seen:
        match event:
            case Request():
                assert event.request_head == REQUEST_HEAD
                assert event.response_head == (RESPONSE_HEAD if event.method == "RESPMOD" else b"")
                found.append(b"")
            case bytes():
                found[-1] += event
            case _:
                assert event == BodyEnd()
    assert found == expected


@given(st.binary(max_size=600), st.integers(0, 700), places)
def test_previews(body: bytes, preview: int, places: list[int]) -> None:
    begin, rest = body[:preview], body[preview:]
    if rest:
        session = reqmod(chunked([begin]) + chunked([rest]), f"Preview: {preview}")
        ends = [PreviewEnd(complete=False), BodyEnd()]
    else:
        session = reqmod(chunked([begin], b"0; ieof\r\n\r\n"), f"Preview: {preview}")
        ends = [PreviewEnd(complete=True)]
    seen = parse(cut(session + request("OPTIONS", []), places))
    assert b"".join(event for event in seen if isinstance(event, bytes)) == body
    assert [event for event in seen if isinstance(event, PreviewEnd | BodyEnd)] == ends
    assert isinstance(seen[-1], Request)
    assert seen[-1].method == "OPTIONS"


def test_after_a_preview_that_was_answered_the_next_request_begins() -> None:
    session = reqmod(chunked([b"abc"]), "Preview: 3") + request("OPTIONS", [])
    assert [type(event) for event in parse([session], proceeds=False)] == [
        Request,
        bytes,
        PreviewEnd,
        Request,
    ]


@given(st.binary(max_size=300), places)
def test_any_bytes_are_the_same_however_they_are_cut(noise: bytes, places: list[int]) -> None:
    for session in (noise, reqmod(noise), reqmod(noise, "Preview: 10"), reqmod(chunked([b"x"])) + noise):
        assert parse(cut(session, places)) == parse([session]) == parse([bytes([b]) for b in session])


@given(
    st.sampled_from([reqmod(chunked([b"abc", b"d" * 20])), respmod(chunked([b"x" * 9]), "Preview: 9")]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=4)), max_size=4),
    places,
)
def test_damaged_requests_are_the_same_however_they_are_cut(
    session: bytes, changes: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    damaged = bytearray(session)
    for place, removed, new in changes:
        place %= len(damaged) + 1
        damaged[place : place + removed] = new
    assert parse(cut(bytes(damaged), places)) == parse([bytes(damaged)])


@pytest.mark.parametrize(
    ("chunks", "fields"),
    [
        (b"3\nabc\r\n0\r\n\r\n", ()),
        (b"3\r\nabcd\r\n0\r\n\r\n", ()),
        (b"3\r\nab\r\n0\r\n\r\n", ()),
        (b" 3\r\nabc\r\n0\r\n\r\n", ()),
        (b"+3\r\nabc\r\n0\r\n\r\n", ()),
        (b"-3\r\nabc\r\n0\r\n\r\n", ()),
        (b"0x3\r\nabc\r\n0\r\n\r\n", ()),
        (b"3_0\r\nabc\r\n0\r\n\r\n", ()),
        (b"\r\nabc\r\n0\r\n\r\n", ()),
        (b"3;\r\nabc\r\n0\r\n\r\n", ()),
        (b'3;a="b\r\nabc\r\n0\r\n\r\n', ()),
        (b"3;=b\r\nabc\r\n0\r\n\r\n", ()),
        (b"3 3\r\nabc\r\n0\r\n\r\n", ()),
        (b"1" * 16 + b"\r\n", ()),
        (b"3;" + b"a" * CHUNK_LINE_MAX + b"\r\nabc\r\n0\r\n\r\n", ()),
        (b"3\r\nabc\r\n0\r\nno header\r\n\r\n", ()),
        (b"3\r\nabc\r\n0\r\n A: folded\r\n\r\n", ()),
        (b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * HEAD_MAX, ()),
        (b"3\r\nabc\r\n0; ieof\r\n\r\n", ()),
        (b"3; ieof\r\nabc\r\n0\r\n\r\n", ("Preview: 3",)),
        (b"3\r\nabc\r\n0; ieof\r\n\r\n", ("Preview: 2",)),
        (b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", ("Preview: 2",)),
        (b"2\r\nab\r\n0\r\n\r\n0; ieof\r\n\r\n", ("Preview: 2",)),
    ],
)
def test_chunks_are_written_in_one_way(chunks: bytes, fields: Sequence[str]) -> None:
    assert error_of(reqmod(chunks, *fields)) == 400


@pytest.mark.parametrize(
    ("last", "complete"),
    [
        (b"0; ieof", True),
        (b"0;ieof", True),
        (b"00 ; a=b ; IEOF ", True),
        (b"0;ieof=1", True),
        (b"0", False),
        (b'0; a="; ieof"', False),
        (b"0; a=ieof", False),
        (b"0; ieof2", False),
    ],
)
def test_the_end_of_a_body_in_its_preview(last: bytes, complete: bool) -> None:
    session = reqmod(b"1\r\na\r\n" + last + b"\r\n\r\n", "Preview: 4")
    assert events(session, proceeds=False) == [b"a", PreviewEnd(complete)]


@pytest.mark.parametrize(
    "encapsulated",
    [
        "",
        "req-body",
        "req-body=",
        "req-body=-1",
        "req-body=1",
        "req-hdr=1, req-body=60",
        "req-hdr=0, req-body=0",
        f"req-hdr=0, req-body={len(REQUEST_HEAD) - 1}",
        f"req-hdr=0, req-body={len(REQUEST_HEAD) + 1}",
        f"req-hdr=0, req-body={len(REQUEST_HEAD) - 2}",
        "req-hdr=0, req-body=9999999",
        "req-hdr=0, req-body=99999999999999999999",
        f"req-body={len(REQUEST_HEAD)}, req-hdr=0",
        f"req-hdr=0, res-body={len(REQUEST_HEAD)}",
        f"res-hdr=0, req-body={len(REQUEST_HEAD)}",
        f"req-hdr=0, req-hdr=10, req-body={len(REQUEST_HEAD)}",
        f"req-hdr=0, req-body={len(REQUEST_HEAD)}, null-body={len(REQUEST_HEAD)}",
        f"req-hdr=0; req-body={len(REQUEST_HEAD)}",
        f"Req-Hdr=0, req-body={len(REQUEST_HEAD)}",
        f"req-hdr=0, req-body={len(REQUEST_HEAD)}\r\nEncapsulated: null-body=0",
        "opt-body=0",
    ],
)
def test_wrong_offsets_are_refused(encapsulated: str) -> None:
    head = f"REQMOD icap://h/hashscan ICAP/1.0\r\nEncapsulated: {encapsulated}\r\n\r\n".encode()
    seen = parse([head + REQUEST_HEAD + chunked([b"abc"]) + bytes(1 << 19)])
    assert seen[-1] == 400
    assert BodyEnd() not in seen


def test_a_blank_line_within_a_head_is_refused() -> None:
    """Or the rest of it would be a body for whoever looks for its end."""
    head = REQUEST_HEAD + REQUEST_HEAD
    assert error_of(reqmod(chunked([b"abc"]), head=head)) == 400


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("OPTIONS icap://h/hashscan ICAP/1.1", 505),
        ("OPTIONS icap://h/hashscan ICAP/2.0", 505),
        ("OPTIONS icap://h/hashscan HTTP/1.1", 400),
        ("GET icap://h/hashscan ICAP/1.0", 501),
        ("options icap://h/hashscan ICAP/1.0", 501),
        ("OPTIONS http://h/hashscan ICAP/1.0", 400),
        ("OPTIONS  icap://h/hashscan ICAP/1.0", 400),
        ("OPTIONS icap://h/hash scan ICAP/1.0", 400),
        ("OPTIONS icap://h/hashscan", 400),
        (" OPTIONS icap://h/hashscan ICAP/1.0", 400),
        ("\r\n\r\nOPTIONS icap://h/hashscan ICAP/1.0", 400),
        ("OPTIONS icap://h/hashscan ICAP/1.0\r\nno header", 400),
        ("OPTIONS icap://h/hashscan ICAP/1.0\r\nA: b\r\n folded", 400),
        ("OPTIONS icap://h/hashscan ICAP/1.0\r\nA : b", 400),
        ("OPTIONS icap://h/hashscan ICAP/1.0\r\nA: b\nB: c", 400),
        ("OPTIONS icap://h/hashscan ICAP/1.0\r\nA: b\0", 400),
        ("OPTIONS icap://h/hashscan ICAP/1.0\r\nPreview: x", 400),
        ("OPTIONS icap://h/hashscan ICAP/1.0\r\nPreview: 1\r\nPreview: 1", 400),
        ("OPTIONS icap://h/hashscan ICAP/1.0\r\nA: " + "b" * HEAD_MAX, 400),
        ("a" * (HEAD_MAX + 10), 400),
    ],
)
def test_errors(line: str, status: int) -> None:
    assert error_of(line.encode() + b"\r\n\r\n") == status


@pytest.mark.parametrize("uri", ["icap://h:1344/hashscan", "ICAP://h/hashscan?allow204=on", "/hashscan"])
def test_uris(uri: str) -> None:
    (seen,) = parse([f"OPTIONS {uri} ICAP/1.0\r\n\r\n".encode()])
    assert isinstance(seen, Request)
    assert seen.service == "hashscan"


def test_headers() -> None:
    (seen,) = parse(
        [request("OPTIONS", [], "ALLOW:\t204 , 206 ", "Connection: Close", "X-A: 1", "x-a: 2", "X-B:")]
    )
    assert isinstance(seen, Request)
    assert seen.allows_204
    assert seen.closes
    assert seen.values("x-a") == ["1", "2"]
    assert seen.values("x-b") == [""]


def test_a_message_without_a_body_has_no_preview() -> None:
    sections = [("req-hdr", REQUEST_HEAD), ("null-body", b"")]
    seen = parse([request("REQMOD", sections, "Preview: 0") * 2])
    assert [(type(event), event.has_body, event.preview) for event in seen if isinstance(event, Request)] == [
        (Request, False, None)
    ] * 2


def test_one_line_end_too_many_between_requests() -> None:
    session = reqmod(chunked([b"abc"])) + b"\r\n" + request("OPTIONS", [])
    assert [type(event) for event in parse([session])] == [Request, bytes, BodyEnd, Request]
    assert error_of(reqmod(chunked([b"abc"])) + b"\r\n\r\n") == 400
