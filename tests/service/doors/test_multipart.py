"""Forms in pieces of any size give the same files, and what two readers could read differently gives none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashscan.service.doors.multipart import (
    HEADERS_MAX,
    EncodedPartError,
    MultipartError,
    MultipartParser,
    Part,
    PartEnd,
    TooManyPartsError,
    boundary_of,
)

BOUNDARY = b"----form7d9"
HEAD = b'Content-Disposition: form-data; name="f"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'


def form(*contents: bytes, head: bytes = HEAD, end: bytes = b"--\r\n") -> bytes:
    parts = b"".join(b"--" + BOUNDARY + b"\r\n" + head + content + b"\r\n" for content in contents)
    return parts + b"--" + BOUNDARY + end


def files(pieces: Iterable[bytes], parts_max: int = 100) -> list[tuple[Part, bytes]]:
    """All files of a body that comes in pieces."""
    parser = MultipartParser(BOUNDARY, parts_max)
    found: list[tuple[Part, bytes]] = []
    is_open = False
    for piece in pieces:
        for event in parser.feed(piece):
            match event:
                case Part():
                    assert not is_open
                    found.append((event, b""))
                    is_open = True
                case PartEnd():
                    assert is_open
                    is_open = False
                case _:
                    assert is_open
                    found[-1] = (found[-1][0], found[-1][1] + event)
    parser.finish()
    assert not is_open
    return found


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[a:b] for a, b in pairwise(ends)]


contents = st.lists(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", BOUNDARY[:-1], b"x"])).map(b"".join),
    ),
    min_size=1,
    max_size=5,
)


@given(contents, st.lists(st.integers(0, 5000), max_size=20))
def test_each_file_comes_out_as_it_went_in(parts: list[bytes], places: list[int]) -> None:
    body = form(*parts)
    assert files(cut(body, places)) == [(Part(b"f", b"a.jpg"), content) for content in parts]
    assert files([body]) == files([body[n : n + 1] for n in range(len(body))])


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_are_read_or_refused_however_they_are_cut(noise: bytes, places: list[int]) -> None:
    for body in (noise, form(noise), form(b"x", head=noise), form(b"x") + noise):
        answers = []
        for pieces in ([body], cut(body, places)):
            try:
                answers.append(files(pieces))
            except MultipartError:
                answers.append([])
        assert answers[0] == answers[1]


@given(contents, st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=3)), max_size=3))
def test_a_standard_reader_sees_no_other_files(parts: list[bytes], changes: list[tuple[int, bytes]]) -> None:
    """Python's own reader is lenient with line ends, text around the form, and lost ends."""
    body = bytearray(form(*parts))
    for place, new in changes:
        body[place % len(body) : place % len(body)] = new
    try:
        ours = [content for _, content in files([bytes(body)])]
    except MultipartError:
        return
    head = b"Content-Type: multipart/form-data; boundary=" + BOUNDARY + b"\r\n\r\n"
    theirs = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + bytes(body))
    assert len(theirs.get_payload()) == len(ours)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        form(b"x")[:-4],
        form(b"x")[:-10],
        b"hidden\r\n" + form(b"x"),
        b"\n" + form(b"x"),
        form(b"x") + b"hidden",
        form(b"x") + form(b"x"),
        form(b"x", end=b" --\r\n"),
        form(b"x", end=b"x--\r\n"),
        form(b"a\n--" + BOUNDARY + b"\n" + HEAD + b"b"),
        form(b"a\n--" + BOUNDARY + b"--\n"),
        form(b"a\r--" + BOUNDARY + b"\r\n" + HEAD + b"b"),
        form(b"a--" + BOUNDARY + b"--"),
        form(b"a\r\n--" + BOUNDARY + b"0\r\n" + HEAD + b"b"),
        form(b"a\r\n--" + BOUNDARY + b" \r\n" + HEAD + b"b"),
        form(b"x", head=b"A: b\r\n c\r\n\r\n"),
        form(b"x", head=b"A: b\nB: c\r\n\r\n"),
        form(b"x", head=b"A: b\0c\r\n\r\n"),
        form(b"x", head=b"A\r\n\r\n"),
        form(b"x", head=b"\r\n"),
        form(b"x", head=b"\r\n" + HEAD),
        form(b"x", head=b": b\r\n\r\n"),
        form(b"x", head=b"A : b\r\n\r\n"),
        form(b"x", head=b"A: b\r\na: b\r\n\r\n"),
        form(b"x", head=b"A: --" + BOUNDARY + b"\r\n\r\n"),
        form(b"x", head=b"A: " + bytes(HEADERS_MAX).replace(b"\0", b"a") + b"\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_readers_disagree_about_is_refused(body: bytes) -> None:
    with pytest.raises(MultipartError):
        files([body])


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Type: multipart/mixed; boundary=x",
        b"content-type:Multipart/form-data; boundary=x",
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: quoted-printable",
        b"Content-Encoding: gzip",
    ],
)
def test_a_part_that_is_stored_otherwise_is_refused(line: bytes) -> None:
    with pytest.raises(EncodedPartError):
        files([form(b"x", head=line + b"\r\n\r\n")])


def test_parts_are_counted() -> None:
    assert len(files([form(b"a", b"b")], parts_max=2)) == 2
    with pytest.raises(TooManyPartsError):
        files([form(b"a", b"b", b"c")], parts_max=2)


def test_names_are_taken_as_they_come() -> None:
    head = b'Content-Disposition: form-data; name=f; filename="a\\"\xff;name=x.jpg"\r\n\r\n'
    assert files([form(b"", head=head)]) == [(Part(b"f", b'a"\xff;name=x.jpg'), b"")]
    assert files([form(b"x", head=b"A: b\r\n\r\n")]) == [(Part(b"", b""), b"x")]
    assert files([b"\r\n" + form(b"x")]) == files([form(b"x")])


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=----x", b"----x"),
        ('Multipart/Form-Data;boundary="a:b"', b"a:b"),
        ("image/jpeg", None),
        ("", None),
        ("application/x-www-form-urlencoded", None),
    ],
)
def test_boundaries(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; charset=utf-16",
        "multipart/form-data; boundary=a, multipart/form-data; boundary=b",
        'multipart/form-data; boundary="a\\"b"',
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=" + "a" * 71,
        "multipart/form-data; boundary*0=a; boundary*1=b",
        "multipart/mixed; boundary=a",
        "text/plain, multipart/form-data; boundary=a",
        "x-multipart/form-data; boundary=a",
        "multipart/related; boundary=a",
    ],
)
def test_a_boundary_that_is_not_clear_is_refused(content_type: str) -> None:
    with pytest.raises(MultipartError):
        boundary_of(content_type)
